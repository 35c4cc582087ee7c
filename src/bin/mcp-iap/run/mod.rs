//! `mcp-iap run FILE --upstream URL`: starts Envoy with what `render` writes, and shows each decision as it
//! comes. Ends in order at Ctrl-C, and with Envoy.

pub mod decision;
mod find;
mod process;
mod summary;
pub mod terminal;
mod tether;
pub mod words;

use crate::fault::{Fault, complain};
use crate::render::{self, Plan, Sink};
use crate::{Output, check};
use clap::Args;
use mcp_iap::config::{self, Rule, process_environment};
use mcp_iap::gate::{IssuerSettings, Keys};
use process::{Envoy, Event};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use terminal::{Style, escape};
use words::Words;

pub use tether::{Tethered, run as run_envoy};

const READY_WITHIN: Duration = Duration::from_secs(30);
/// A callout's timeout, twice: discovery and key set.
const KEYS_WITHIN: Duration = Duration::from_secs(11);
const SHORT: Duration = Duration::from_millis(50);

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    render: render::Options,
    /// The Envoy to start. Default: the one on PATH, else the newest that `make envoy` brought.
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// How decisions are written; the summary goes to standard error if it is JSON.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(options: &Run) -> ExitCode {
    match work(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(&options.render.file),
    }
}

fn work(options: &Run) -> Result<(), Fault> {
    let file = &options.render.file;
    // What it shows is what comes there.
    let shown = options.render.access_log.iter().filter(|sink| **sink != Sink::Stdout);
    let sinks: Vec<_> = std::iter::once(&Sink::Stdout).chain(shown).cloned().collect();
    let text = check::read(file).map_err(|error| Fault::Usage(format!("{}: {error}", file.display())))?;
    let plan = Plan::new(&text, &options.render.upstream, &options.render.credential, &process_environment)?
        .counted_by(options.render.rate_limit_service.as_ref())?
        .logging(&sinks)?;
    let config = config::load(&text)?;
    let rules: Vec<&Rule> = config.guarded()?.into_iter().flat_map(|one| one.rules).collect();
    let wasm = find::wasm(options.render.wasm.as_deref())?;
    let binary = find::envoy(options.envoy.as_deref())?;
    let wasm = wasm.to_str().ok_or_else(|| Fault::Usage(format!("{} is no UTF-8", wasm.display())))?;
    let bootstrap = render::bootstrap(&plan, &options.render, wasm, &render::command())?;
    let bootstrap = render::read_back(bootstrap, &plan)?;
    check_port(options.render.listen, "Envoy's listener", "--listen")?;
    check_port(options.render.admin, "Envoy's admin interface", "--admin")?;
    let started = Envoy::start(&binary, &bootstrap, options.render.admin);
    let mut envoy = started.map_err(|error| Fault::Failed(format!("{}: {error}", binary.display())))?;
    let mut screen = Screen::new(options.output, &rules);
    screen.say(&summary::summary(&plan, &rules, &options.render, &binary));
    let end = match wait_until_ready(&mut envoy, &plan, &mut screen) {
        Ok(true) => follow(&mut envoy, &mut screen),
        Ok(false) => Ok(()),
        Err(fault) => Err(fault),
    };
    if end.is_ok() {
        envoy.end(|event| screen.show(&event));
    }
    end
}

/// # Errors
/// Somebody else has it.
fn check_port(socket: SocketAddr, who: &str, option: &str) -> Result<(), Fault> {
    let bound = TcpListener::bind(socket);
    bound.map(drop).map_err(|error| {
        Fault::Failed(format!("{socket} can't be had, and {who} needs it: {error}; {option} names another"))
    })
}

/// Waits until Envoy serves and each issuer's keys are there or said to be not; `false` where a signal came.
fn wait_until_ready(envoy: &mut Envoy, plan: &Plan, screen: &mut Screen) -> Result<bool, Fault> {
    let fetched = |issuer: &'_ IssuerSettings| matches!(issuer.keys, Keys::Fetched(..));
    let issuers = plan.settings.issuers.iter().filter(|issuer| fetched(issuer));
    let mut open: BTreeSet<&str> = issuers.map(|issuer| &*issuer.identifier).collect();
    let mut is_ready = false;
    let mut until = Instant::now() + READY_WITHIN;
    while !is_ready || !open.is_empty() {
        match envoy.next(SHORT) {
            Some(Event::Signal) => return Ok(false),
            Some(event) => {
                if let Event::Log(line) = &event {
                    let about = |issuer: &&str| line.contains(&format!("mcp-iap: keys of {issuer} through "));
                    open.retain(|issuer| !about(issuer));
                }
                screen.show(&event);
            }
            None if let Some(fault) = death(envoy) => return Err(fault),
            None if !is_ready && envoy.is_ready() => {
                is_ready = true;
                until = Instant::now() + KEYS_WITHIN;
            }
            None => {}
        }
        if Instant::now() > until && !is_ready {
            return Err(Fault::Failed(format!("Envoy is not ready after {} s", READY_WITHIN.as_secs())));
        }
        if Instant::now() > until {
            for issuer in &open {
                screen.say(&format!("keys of {issuer}: no answer yet\n"));
            }
            break;
        }
    }
    screen.begin();
    Ok(true)
}

/// Shows what happens until a signal comes, or the one who reads has gone.
fn follow(envoy: &mut Envoy, screen: &mut Screen) -> Result<(), Fault> {
    loop {
        match envoy.next(SHORT) {
            Some(Event::Signal) => return Ok(()),
            Some(event) => screen.show(&event),
            None if let Some(fault) = death(envoy) => return Err(fault),
            None => {}
        }
        if screen.is_gone {
            return Ok(());
        }
    }
}

/// That Envoy ended by itself, with the last that it said.
fn death(envoy: &mut Envoy) -> Option<Fault> {
    let (status, last) = envoy.ended()?;
    let last: String = last.iter().map(|line| format!("\n  {line}")).collect();
    Some(Fault::Failed(format!("Envoy ended by itself, {status}; its log ends so:{last}")))
}

/// Where decisions and messages go.
struct Screen {
    output: Output,
    style: Style,
    words: Words,
    said: BTreeMap<String, Instant>,
    /// Whether nobody reads any more.
    is_gone: bool,
}

/// Each worker says the same; for so long it is said once.
const SAID: Duration = Duration::from_secs(5);

impl Screen {
    fn new(output: Output, rules: &[&Rule]) -> Self {
        let words = Words::new(rules);
        Self { output, style: Style::of_stdout(), words, said: BTreeMap::new(), is_gone: false }
    }

    fn begin(&mut self) {
        self.say("ready; Ctrl-C ends it\n");
        if matches!(self.output, Output::Text) {
            self.write(&format!("\n{}", decision::header(decision::Clock::Time)));
        }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::Access(line) => {
                let line = match self.output {
                    Output::Text => decision::line(line, &self.words, self.style),
                    Output::Json => terminal::escape_json(line),
                };
                self.write(&line);
            }
            Event::Log(line) => self.log(line),
            Event::Closed | Event::Signal => {}
        }
    }

    /// What the filter says, and errors of Envoy.
    fn log(&mut self, line: &str) {
        let message = match line.split_once(" mcp_iap: mcp-iap: ") {
            Some((_, message)) => message,
            None if line.contains("][error]") || line.contains("][critical]") => line,
            None => return,
        };
        self.said.retain(|_, at| at.elapsed() < SAID);
        if self.said.insert(message.to_owned(), Instant::now()).is_none() {
            self.say(&format!("{}\n", escape(message)));
        }
    }

    /// For people: beside the records, where these are for machines.
    fn say(&mut self, text: &str) {
        match self.output {
            Output::Text => self.write(text.trim_end()),
            Output::Json => complain(text.trim_end()),
        }
    }

    fn write(&mut self, line: &str) {
        let mut stdout = std::io::stdout().lock();
        if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
            self.is_gone = true;
        }
    }
}
