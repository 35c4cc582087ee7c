//! The configuration as its author writes it: one document in YAML or JSON.
//!
//! The types here are the language: unknown fields are refused, each field's comment is its
//! documentation, and the JSON Schema (`docs/configuration.schema.json`) is made from them. What the
//! fields mean is the business of those who compile them ([`crate::policy`], [`crate::gate`]).

mod document;
mod environment;
mod error;
mod faults;
mod guarded;
mod load;
mod nearest;
mod node;
mod token_exchange;
pub mod yaml;

pub use document::{
    Answers, ApiKey, ApiKeys, ArgumentCondition, Audit, AuditAttributes, Catalogue, Config,
    FailedAuthentication, ForwardedClientCert, IntegerRange, Introspection, Issuer, KeyFetching, Limits,
    MeshIdentity, NumberRange, OnFailures, Operations, RateLimit, Resource, Rule, Scalar, Subjects,
    TimeWindow, TokenReview, Tool,
};
pub use environment::{Environment, STAND_IN, SecretReference, process_environment};
pub use error::{ConfigError, Errors};
pub use guarded::Guarded;
pub use load::load;
pub use nearest::nearest;
pub use token_exchange::{AuthMethod, GrantType, RequestedTokenUse, Target, TargetArgument, TokenExchange};
