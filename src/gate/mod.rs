//! The gate: the way of one request from its head to a decision, and every way out.
//!
//! [`admit`] is the whole story, top to bottom. It knows no host: [`Request`] is what it sees of one,
//! and the filter (or a test) brings the body, the clock and the replies.

mod admit;
mod advice;
mod api_keys;
mod audit_settings;
mod cors;
mod credential;
mod exchange;
mod failures;
mod framing;
mod global_rate;
mod introspection;
mod issuer;
mod judges;
mod key_times;
mod keys;
mod limits;
mod lists;
mod mesh;
mod messages;
mod noted;
mod outgoing;
mod random;
mod refusal;
mod remembered;
mod request;
mod resource;
mod route;
mod settings;
mod shadow;
mod signatures;
mod source;
mod token;
mod token_review;
mod url;

pub use admit::admit;
pub use api_keys::ApiKeySettings;
pub use audit_settings::AuditSettings;
pub use cors::Cors;
pub use exchange::Exchange;
pub use failures::{FailureSettings, Failures, Who};
pub use global_rate::{DESCRIPTORS, Descriptor, GlobalRate};
pub use introspection::IntrospectionSettings;
pub use issuer::{IssuerSettings, Keys};
pub use judges::Judges;
pub use keys::KeyStore;
pub use lists::{Lists, News};
pub use mesh::MeshSettings;
pub use messages::Message;
pub use outgoing::{ExchangeSettings, Outgoing};
pub use refusal::{Answer, DECISION, told};
pub use remembered::Remembered;
pub use request::{Exit, Forward, Request, Shared};
pub use resource::ResourceSettings;
pub use settings::Settings;
pub use shadow::{Difference, Differences};
pub use signatures::{Signatures, VerifiedBy};
pub use token_review::ReviewSettings;
