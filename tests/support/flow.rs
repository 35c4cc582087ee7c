//! The gate without a host: one request at a time against scripted callouts.

use super::issuer::Issuer;
use mcp_iap::cache::{NoSharedData, SharedData};
use mcp_iap::callout::{Callout, CalloutError, Reply, StreamId};
use mcp_iap::config::Environment;
use mcp_iap::gate::{Answer, Exit, Request, Settings, Shared};
use mcp_iap::head::Head;
use mcp_iap::jose::{HostCrypto, NoHost, Sender};
use mcp_iap::reason::Reason;
use mcp_iap::time::UnixTime;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The time at which requests arrive.
pub const NOW: u64 = 1_800_000_000;

/// What a callout to this path is answered with.
pub type Script<'a> = &'a dyn Fn(&str) -> Result<Reply, CalloutError>;

/// A worker: one configuration and what its requests share.
pub struct Worker {
    pub settings: Rc<Settings>,
    pub shared: Rc<Shared>,
    /// How long bodies take, in seconds.
    pub body_takes: u64,
    /// Whether the body is there before the first callout is made.
    pub body_is_early: bool,
    /// SHA-256 of the certificate that the client of the next request shows.
    pub certificate: Rc<Cell<Option<[u8; 32]>>>,
    /// All callouts that were made for requests.
    pub sent: RefCell<Vec<Callout>>,
    /// The URI among its names.
    pub uri: Rc<RefCell<Option<String>>>,
    /// Where the next request comes from.
    pub address: Rc<Cell<Option<IpAddr>>>,
}

/// What the provider https://login.example.com answers when all is well.
pub fn provider(issuer: &Issuer, path: &str) -> Result<Reply, CalloutError> {
    match path {
        "/.well-known/openid-configuration" => reply(
            "200",
            br#"{"issuer":"https://login.example.com","jwks_uri":"https://login.example.com/jwks"}"#,
        ),
        "/jwks" => reply("200", issuer.jwks().to_string().as_bytes()),
        _ => reply("404", b"{}"),
    }
}

struct Client(Rc<Cell<Option<[u8; 32]>>>, Rc<RefCell<Option<String>>>, Rc<Cell<Option<IpAddr>>>);

impl Sender for Client {
    fn certificate(&self) -> Option<[u8; 32]> {
        self.0.get()
    }

    fn address(&self) -> Option<IpAddr> {
        self.2.get()
    }

    fn uri(&self) -> Option<String> {
        self.1.borrow().clone()
    }
}

/// How one request ended.
pub struct Ended {
    /// The answer given here; `None` where the request was forwarded.
    pub answer: Option<Answer>,
    /// The audit record.
    pub record: Value,
    /// Whether the head went on before the body was decided.
    pub head_released: bool,
    /// The headers that don't go on, as far as was known when the head went.
    pub withheld: Vec<String>,
    /// The callouts that were made, by path.
    pub callouts: Vec<String>,
    /// `Authorization` of what was forwarded.
    pub credential: Option<String>,
    /// The request.
    pub request: Rc<Request>,
}

impl Worker {
    pub fn new(configuration: &str) -> Self {
        Self::in_environment(configuration, &|_| None)
    }

    pub fn in_environment(configuration: &str, environment: Environment<'_>) -> Self {
        let settings = Settings::load_in(configuration.as_bytes(), environment).unwrap();
        Self::with_host(settings, Box::new(NoHost))
    }

    pub fn with_host(settings: Settings, host: Box<dyn HostCrypto>) -> Self {
        Self::with_data(settings, host, &(Rc::new(NoSharedData) as Rc<dyn SharedData>))
    }

    /// One of several workers that share data.
    pub fn with_data(settings: Settings, host: Box<dyn HostCrypto>, data: &Rc<dyn SharedData>) -> Self {
        let certificate = Rc::new(Cell::new(None));
        let uri = Rc::new(RefCell::new(None));
        let address = Rc::new(Cell::new(None));
        let sender = Client(Rc::clone(&certificate), Rc::clone(&uri), Rc::clone(&address));
        let shared = Rc::new(Shared::new(host, data, &settings).with_sender(Box::new(sender)));
        shared.set_now(UnixTime(NOW));
        Self {
            settings: Rc::new(settings),
            shared,
            body_takes: 0,
            body_is_early: false,
            certificate,
            uri,
            address,
            sent: RefCell::default(),
        }
    }

    /// The root's tick: what is due is fetched, as far as others don't do it just now. Answers the callouts that
    /// were made, by path.
    pub fn tick(&self, script: Script<'_>) -> Vec<String> {
        self.shared.callouts.tick();
        self.shared.keys.tick(&self.shared.callouts);
        let mut made = Vec::new();
        while self.shared.callouts.is_ready() {
            let mut sent = Vec::new();
            self.shared.callouts.run(|callout| {
                made.push(callout.endpoint.path.clone());
                sent.push(script(&callout.endpoint.path));
                Ok(made.len() as u32)
            });
            for (token, reply) in (1 + made.len() as u32 - sent.len() as u32..).zip(sent) {
                self.shared.callouts.deliver(token, reply);
            }
        }
        made
    }

    /// Runs a POST with this token, further headers and this body to its end.
    pub fn post(&self, token: &str, more: &[(&str, &str)], body: &[u8], script: Script<'_>) -> Ended {
        let authorization = format!("Bearer {token}");
        let head = [
            (":method", "POST"),
            (":path", "/mcp"),
            ("content-type", "application/json"),
            ("authorization", authorization.as_str()),
        ];
        self.run(&[&head[..], more].concat(), Ok(body), script)
    }

    /// Runs one request to its end. The body comes after the first callouts were made.
    pub fn run(&self, head: &[(&str, &str)], body: Result<&[u8], Reason>, script: Script<'_>) -> Ended {
        let head = Head::from_pairs(head.iter().copied());
        let request = Rc::new(Request::new(
            Rc::clone(&self.settings),
            Rc::clone(&self.shared),
            StreamId(1),
            head.clone(),
        ));
        if head.one(":method").text() != Some("POST") && body == Ok(b"") {
            request.complete_body(|| Ok(Vec::new()));
        }
        let mut flow = pin!(Rc::clone(&request).run());
        let mut context = Context::from_waker(Waker::noop());
        let (mut head_released, mut callouts) = (false, Vec::new());
        let withheld = |request: &Request| request.withheld_headers().map(str::to_owned).collect();
        let mut withheld_early = None;
        for _ in 0..100 {
            if let Poll::Ready(exit) = flow.as_mut().poll(&mut context) {
                let (answer, credential) = match exit {
                    Exit::Forward(forward) => (None, forward.credential().authorization().map(str::to_owned)),
                    Exit::Answer(answer) => (Some(answer), None),
                };
                let record = serde_json::from_str(&request.note(|record| record.to_json())).unwrap();
                let request = Rc::clone(&request);
                let withheld = withheld_early.unwrap_or_else(|| withheld(&request));
                return Ended { answer, record, head_released, withheld, callouts, credential, request };
            }
            if request.take_released_head().is_some() {
                head_released = true;
                withheld_early = Some(withheld(&request));
            }
            if self.body_is_early {
                let body = body.map(<[u8]>::to_vec);
                request.complete_body(|| body);
            }
            if self.shared.callouts.is_ready() {
                // The root sends callouts at its next tick.
                self.shared.set_now(self.shared.now().plus(Duration::from_millis(1)));
            }
            let mut sent = Vec::new();
            self.shared.callouts.run(|callout| {
                callouts.push(callout.endpoint.path.clone());
                self.sent.borrow_mut().push(callout.clone());
                match script(&callout.endpoint.path) {
                    Err(error @ (CalloutError::UnknownCluster | CalloutError::NotSent)) => Err(error),
                    reply => {
                        sent.push(reply);
                        Ok(sent.len() as u32)
                    }
                }
            });
            let woken = !self.shared.callouts.take_woken().is_empty();
            if self.shared.callouts.waits_for_tick() {
                self.shared.set_now(self.shared.now().plus(Duration::from_millis(100)));
                self.shared.callouts.tick();
            } else if sent.is_empty() && !woken {
                if self.body_takes > 0 {
                    self.shared.set_now(UnixTime(NOW + self.body_takes));
                }
                let body = body.map(<[u8]>::to_vec);
                request.complete_body(|| body);
            }
            for (token, reply) in (1..).zip(sent) {
                self.shared.callouts.deliver(token, reply);
            }
        }
        panic!("the request does not end");
    }
}

/// A reply with this status and body.
pub fn reply(status: &str, body: &[u8]) -> Result<Reply, CalloutError> {
    Ok(Reply { head: Head::from_pairs([(":status", status)]), body: body.to_vec() })
}
