//! What is decided on: who calls, what for, from where and when.

use super::attribute::Attribute;
use super::rate::{Spent, Unspent};
use crate::head::{Head, One};
use crate::identity::Caller;
use crate::jose::{Sender, Unproven};
use crate::mcp::{Arguments, Operation};
use crate::time::UnixTime;

/// One request as rules see it. What is `None` is not known: a decision that depends on it can't be made.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// What of it is known as a whole.
    pub known: Known<'a>,
    /// The JSON-RPC method; empty where there is none.
    pub method: &'a str,
    /// What is asked for; each one must be allowed.
    pub operations: &'a [Operation<'a>],
    /// The arguments of the call.
    pub arguments: Option<&'a Arguments<'a>>,
    /// The target of `token_exchange` that the call is for.
    pub target: Option<&'a str>,
    /// Whether the target is one that a rule names for the exchange: then the others that name one name this.
    pub is_exchanged: bool,
    /// The request's head, for headers that Envoy sets.
    pub head: Option<&'a Head>,
    /// The client's connection, which knows its address.
    pub sender: Option<&'a dyn Sender>,
    /// The time.
    pub now: Option<UnixTime>,
    /// The rules whose rate the caller has used up.
    pub spent: &'a dyn Spent,
}

/// Which parts of a call are known as a whole. Of the others, what is not there is not known: a record may not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// The caller's claims.
    pub claims: bool,
    /// The headers, where there is a head.
    pub headers: bool,
    /// The caller's groups.
    pub groups: bool,
    /// The arguments, where there are any.
    pub arguments: bool,
    /// The attributes that are known not to be there, as a record names them.
    pub absent: &'a [String],
}

impl Known<'_> {
    /// A request, or what is to be taken for one.
    pub const ALL: Self = Self { claims: true, headers: true, groups: true, arguments: true, absent: &[] };
}

/// Nothing is asked for.
const NOTHING: &[Operation<'static>] = &[];

impl<'a> Call<'a> {
    /// Whether it is known what stands under this name, or that nothing does.
    pub(super) fn knows(&self, attribute: Attribute<'_>) -> bool {
        let is_known = match attribute {
            Attribute::Claim(path) => self.known.claims || self.caller.claim(path).is_some(),
            Attribute::Header(name) => {
                self.head.is_some_and(|head| self.known.headers || head.one(name) != One::Absent)
            }
            Attribute::Argument(name) => {
                self.arguments.is_some_and(|given| self.known.arguments || given.get(name).is_some())
            }
        };
        is_known || self.known.absent.iter().any(|absent| attribute.is_named(absent))
    }

    /// Of a caller, with nothing asked for yet, from nowhere, at the epoch.
    #[must_use]
    pub fn of(caller: &'a Caller) -> Self {
        Self {
            caller,
            known: Known::ALL,
            method: "",
            operations: NOTHING,
            arguments: None,
            target: None,
            is_exchanged: false,
            head: None,
            sender: Some(&Unproven),
            now: Some(UnixTime(0)),
            spent: &Unspent,
        }
    }

    /// The same, for these operations with these arguments.
    #[must_use]
    pub fn to(self, operations: &'a [Operation<'a>], arguments: &'a Arguments<'a>) -> Self {
        Self { operations, arguments: Some(arguments), ..self }
    }
}
