//! A case: a call as data, and what is expected of it.

use mcp_iap::head::Head;
use mcp_iap::identity::Caller;
use mcp_iap::jose::{Sender, claim_at};
use mcp_iap::kube::User;
use mcp_iap::mcp::{Operation, Shape, shape};
use mcp_iap::oauth::Scope;
use mcp_iap::policy::{Known, parse_instant};
use mcp_iap::spiffe::SpiffeId;
use mcp_iap::time::UnixTime;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A call, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// The name of the entry that it is of, whose caller or call may be a list.
    pub entry: String,
    /// Which resource of several it is for.
    pub resource: Option<String>,
    pub caller: Who,
    pub call: What,
    /// An instant (RFC 3339). Without it the time is not known.
    pub time: Option<String>,
    /// The client's address. Without it the address is not known.
    pub source: Option<IpAddr>,
    /// Headers that Envoy sets.
    pub headers: BTreeMap<String, String>,
    pub expect: Option<Expected>,
    /// Whether it is that of a record, which has not everything.
    pub is_recorded: bool,
    /// Of a record, whether the caller is in no other groups than those.
    pub has_all_groups: bool,
    /// Of a record, the attributes that it says were not there.
    pub absent: Vec<String>,
    /// Whether the caller has used up the rates that there are, as a record says; else none.
    pub is_spent: bool,
}

/// The caller, as the token names it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// Default: the first of `issuers`; none for a Kubernetes user, who has an API key, or is a workload without a `subject`.
    pub issuer: Option<String>,
    #[serde(default)]
    pub subject: String,
    pub client_id: Option<String>,
    #[serde(default)]
    pub groups: Vec<String>,
    /// The user that Kubernetes names.
    pub kubernetes_user: Option<String>,
    /// The name of the API key.
    pub api_key: Option<String>,
    /// The workload that the connection comes from.
    pub spiffe_id: Option<String>,
    #[serde(default)]
    pub scope: String,
    /// Other claims of the token.
    #[serde(default)]
    pub claims: Map<String, Value>,
}

/// What is asked for: one of the five, or a method by itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct What {
    pub method: Option<String>,
    pub tool: Option<String>,
    pub prompt: Option<String>,
    pub resource: Option<String>,
    pub task: Option<String>,
    /// Of a recorded call those that are known, and there may be others; else all there are.
    pub arguments: Option<Map<String, Value>>,
}

/// What is decided, and as far as it matters by what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub decision: Decision,
    /// The rule that decides, or comes nearest.
    pub rule: Option<String>,
    /// The reason code.
    pub reason: Option<String>,
    /// The argument that fails.
    pub argument: Option<String>,
    /// The target of `token_exchange` whose token the upstream gets, or would have got.
    pub target: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
    /// It depends on what is not known.
    Undecided,
}

impl Decision {
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Undecided => "undecided",
        }
    }
}

/// Where a case's call comes from.
pub struct From(pub Option<IpAddr>);

impl Sender for From {
    fn certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn address(&self) -> Option<IpAddr> {
        self.0
    }
}

impl Case {
    /// Whether the caller may be in more groups than a record says.
    pub fn lacks_groups(&self) -> bool {
        self.is_recorded && !self.has_all_groups
    }

    /// What is known of it: a record does not say everything.
    pub fn known(&self) -> Known<'_> {
        if self.is_recorded {
            let groups = self.has_all_groups;
            Known { claims: false, headers: false, groups, arguments: false, absent: &self.absent }
        } else {
            Known::ALL
        }
    }

    pub fn now(&self) -> Result<Option<UnixTime>, String> {
        let Some(text) = &self.time else { return Ok(None) };
        let seconds = parse_instant(text).and_then(|seconds| u64::try_from(seconds).ok());
        let wanted = || format!("`{text}` is no instant: write it like `2026-12-20T00:00:00Z`");
        seconds.map(|seconds| Some(UnixTime(seconds))).ok_or_else(wanted)
    }

    /// The JSON-RPC method and what it acts on.
    pub fn operation(&self) -> Result<(&str, Operation<'_>), String> {
        let What { method, tool, prompt, resource, task, arguments: _ } = &self.call;
        let method = |default| method.as_deref().unwrap_or(default);
        Ok(match (tool, prompt, resource, task) {
            (Some(tool), None, None, None) => (method("tools/call"), Operation::Tool(tool)),
            (None, Some(prompt), None, None) => (method("prompts/get"), Operation::Prompt(prompt)),
            (None, None, Some(uri), None) => (method("resources/read"), Operation::Resource(uri)),
            (None, None, None, Some(id)) => (method("tasks/get"), Operation::Task(id)),
            (None, None, None, None) => match (&self.call.method, self.call.method.as_deref().map(shape)) {
                (Some(method), Some(Some(shape))) if shape.is_open() => (method, Operation::Open),
                (Some(method), Some(None)) => (method, Operation::Unknown),
                (Some(method), Some(Some(Shape::TaskList))) => (method, Operation::Task("")),
                (Some(_), Some(Some(_))) if self.is_recorded => (method(""), Operation::Open),
                (Some(method), _) => {
                    return Err(format!(
                        "`{method}` acts on something: name the `tool`, `prompt`, `resource` or `task`"
                    ));
                }
                (None, _) if self.is_recorded => ("", Operation::Open),
                (None, _) => {
                    return Err(
                        "says not what is called: give `tool`, `prompt`, `resource`, `task` or `method`"
                            .to_owned(),
                    );
                }
            },
            _ => {
                return Err(
                    "calls several things: give one of `tool`, `prompt`, `resource` and `task`".to_owned()
                );
            }
        })
    }

    /// The caller, with the claims at these paths.
    pub fn caller(&self, first_issuer: &str, paths: &[std::rc::Rc<str>]) -> Result<Caller, String> {
        let Who { issuer, subject, client_id, groups, kubernetes_user, api_key, spiffe_id, scope, claims } =
            &self.caller;
        let claim = |path: &str| claim_at(claims, path).cloned();
        let has_token = kubernetes_user.is_none()
            && api_key.is_none()
            && (spiffe_id.is_none() || !subject.is_empty())
            && !self.is_recorded;
        let default = if has_token { first_issuer } else { "" };
        let caller = Caller {
            issuer: issuer.as_deref().unwrap_or(default).into(),
            subject: subject.clone(),
            client_id: client_id.clone(),
            groups: groups.clone(),
            scope: Scope::granted(&Value::from(scope.as_str())).ok_or("`scope` is no scope")?,
            beside: match (kubernetes_user, api_key) {
                (Some(name), _) => {
                    Caller::of_kubernetes(User { name: name.clone(), groups: Vec::new() }).beside
                }
                (None, Some(name)) => Caller::of_api_key(name, &[]).beside,
                (None, None) => None,
            },
        };
        let kept = paths.iter().filter_map(|path| Some((path.clone(), claim(path)?)));
        let caller = caller.with_claims(kept.collect());
        Ok(match spiffe_id {
            Some(id) => caller.through(SpiffeId::parse(id).ok_or("`spiffe_id` is no SPIFFE ID")?),
            None => caller,
        })
    }

    pub fn head(&self) -> Head {
        Head::from_pairs(&self.headers)
    }
}
