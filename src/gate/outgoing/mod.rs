//! What the upstream of a resource gets as credential, compiled: none, a token that the caller's is exchanged for, or
//! the caller's own; and which target a request is for.

mod compile;

pub(super) use compile::compile;

use super::token_review::ReviewSettings;
use crate::callout::{Endpoint, IssuerPlace};
use crate::jose::ClientKey;
use crate::json::{Kind, Reader};
use crate::mcp::{Arguments, Operation};
use crate::oauth::{ClientProof, TokenRequest};
use crate::policy::{Denial, Pattern, Permit};
use crate::reason::Reason;
use std::rc::Rc;
use std::time::Duration;

/// What a resource's upstream gets.
#[derive(Debug)]
pub enum Outgoing {
    /// No credential.
    Stripped,
    /// A token of its own.
    Exchanged(Rc<ExchangeSettings>),
    /// The caller's token.
    Passthrough,
}

/// How tokens for an upstream are come by.
#[derive(Debug)]
pub struct ExchangeSettings {
    /// The field's path in the document.
    pub path: String,
    /// Where the token endpoint is.
    pub place: TokenPlace,
    /// How long each callout may take.
    pub timeout: Duration,
    /// The gate's own id there; empty where Envoy adds it.
    pub client_id: String,
    /// How it proves that.
    pub client: Client,
    argument: Option<Rc<str>>,
    /// The first is the default.
    targets: Vec<Rc<Target>>,
}

/// Where a token endpoint is.
#[derive(Clone, Debug)]
pub enum TokenPlace {
    /// The configuration names it.
    Configured(Rc<Endpoint>),
    /// The issuer's discovery document does.
    Discovered(Rc<IssuerPlace>),
}

/// How the gate proves itself to a token endpoint.
#[derive(Debug)]
pub enum Client {
    /// In the same way each time.
    Fixed(ClientProof),
    /// By an assertion that is signed each time.
    Key(Box<ClientKey>),
    /// The key is not set where the document is only looked at: nothing can be asked for.
    NotSet,
}

/// One target.
#[derive(Debug)]
pub(in crate::gate) struct Target {
    /// Its name; of the only one, what the token is asked for.
    pub(super) name: Rc<str>,
    /// Its place among the targets.
    pub(super) index: usize,
    /// The tools whose calls are for it.
    pub(super) tools: Vec<Pattern>,
    /// What is asked.
    pub(super) request: Rc<TokenRequest>,
    /// What `aud` of the token must hold.
    pub(super) issued_audience: Option<String>,
    /// Who must say whose the token is.
    pub(in crate::gate) review: Option<Rc<ReviewSettings>>,
}

impl Outgoing {
    /// How tokens are come by, where they are.
    #[must_use]
    pub fn exchange(&self) -> Option<&ExchangeSettings> {
        match self {
            Self::Exchanged(exchange) => Some(exchange),
            Self::Stripped | Self::Passthrough => None,
        }
    }

    /// The name of the target of a request for these operations with these arguments, where there are targets.
    ///
    /// # Errors
    /// As for the request.
    pub fn target_name(
        &self,
        operations: &[Operation<'_>],
        arguments: &Arguments<'_>,
    ) -> Result<Option<Rc<str>>, Denial> {
        Ok(self.target(operations, arguments)?.map(|target| Rc::clone(&target.name)))
    }

    /// The name of the target of a request with these arguments; `None` where there is none, or they are not known and
    /// it depends on them.
    #[must_use]
    pub fn target_name_if_known(
        &self,
        operations: &[Operation<'_>],
        arguments: Option<&Arguments<'_>>,
    ) -> Option<Rc<str>> {
        self.target_if_known(operations, arguments).map(|target| Rc::clone(&target.name))
    }

    /// Whether the target of a request depends on an argument that is not among these.
    #[must_use]
    pub fn depends_on_others(&self, operations: &[Operation<'_>], arguments: &Arguments<'_>) -> bool {
        self.exchange().is_some_and(|exchange| {
            exchange.target_of_tool(operations).is_none()
                && exchange.argument.as_deref().is_some_and(|name| arguments.get(name).is_none())
        })
    }

    /// The target of a request with these arguments; `None` where they are not known and it depends on them.
    pub(super) fn target_if_known(
        &self,
        operations: &[Operation<'_>],
        arguments: Option<&Arguments<'_>>,
    ) -> Option<Rc<Target>> {
        let exchange = self.exchange()?;
        let none = Arguments::default();
        if let Some(target) = exchange.target_of_tool(operations) {
            return Some(Rc::clone(target));
        }
        let known = arguments.or_else(|| exchange.argument.is_none().then_some(&none))?;
        exchange.target(operations, known).ok()
    }

    /// The target of a request for these operations with these arguments; `None` where there are no tokens to be had.
    ///
    /// # Errors
    /// [`Reason::UnknownTarget`] where the argument names none, [`Reason::KeyVariant`] where a server may read
    /// another argument for it.
    pub(super) fn target(
        &self,
        operations: &[Operation<'_>],
        arguments: &Arguments<'_>,
    ) -> Result<Option<Rc<Target>>, Denial> {
        self.exchange().map(|exchange| exchange.target(operations, arguments)).transpose()
    }
}

impl Target {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl ExchangeSettings {
    /// The endpoint that is configured, or the issuer that is asked for it.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        match &self.place {
            TokenPlace::Configured(endpoint) => endpoint,
            TokenPlace::Discovered(issuer) => &issuer.endpoint,
        }
    }

    /// The names of its targets.
    pub fn target_names(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| target.name())
    }

    /// Who is asked about tokens for its targets.
    pub fn reviews(&self) -> impl Iterator<Item = &ReviewSettings> {
        self.targets.iter().filter_map(|target| target.review.as_deref())
    }

    /// The target whose token goes upstream: the one that the rule names which allowed the request, else its own.
    ///
    /// # Errors
    /// There is no such target.
    pub(super) fn target_of(&self, permit: &Permit, own: Rc<Target>) -> Result<Rc<Target>, Reason> {
        let Some(named) = permit.exchange() else { return Ok(own) };
        self.targets.iter().find(|target| *target.name == *named).map(Rc::clone).ok_or(Reason::Internal)
    }

    /// The target that names the tool which is called.
    fn target_of_tool(&self, operations: &[Operation<'_>]) -> Option<&Rc<Target>> {
        let [Operation::Tool(name)] = operations else { return None };
        let named = self.targets.iter().filter(|target| target.tools.iter().any(|tool| tool.matches(name)));
        named.min_by_key(|target| target.index)
    }

    fn target(&self, operations: &[Operation<'_>], arguments: &Arguments<'_>) -> Result<Rc<Target>, Denial> {
        if let Some(target) = self.target_of_tool(operations) {
            return Ok(Rc::clone(target));
        }
        let default = || self.targets.first().map(Rc::clone).ok_or_else(|| Reason::Internal.into());
        let Some(argument) = &self.argument else { return default() };
        if arguments.has_variant_of(argument) {
            return Err(Reason::KeyVariant.into());
        }
        let Some(raw) = arguments.get(argument) else { return default() };
        let named = text(raw).and_then(|name| self.targets.iter().find(|target| *target.name == *name));
        named.map(Rc::clone).ok_or_else(|| Denial {
            argument: Some(Rc::clone(argument)),
            message: Some(format!("{argument}: names no target").into()),
            ..Reason::UnknownTarget.into()
        })
    }
}

/// A JSON text; `None` for every other value.
fn text(raw: &[u8]) -> Option<String> {
    let mut reader = Reader::new(raw);
    match reader.kind().ok()? {
        Kind::String => Some(reader.string().ok()?.into_owned()),
        _ => None,
    }
}
