//! OAuth as a protected resource speaks it: the bearer token that comes in (RFC 6750), the challenge
//! and the metadata document that go out (RFC 6750, RFC 9728), and the issuer's discovery document
//! (OpenID Connect Discovery 1.0, RFC 8414). And as a client of a token endpoint: what is asked and answered there
//! (RFC 6749, RFC 7523, RFC 8693), and whether a token is active (RFC 7662).
//!
//! No token is issued or verified here.

mod bearer;
mod challenge;
mod discovery;
mod form;
mod introspection;
mod protected_resource;
mod scope;
mod token_request;
mod token_response;

pub use bearer::BearerToken;
pub use challenge::Challenge;
pub use discovery::{DiscoveryError, jwks_uri, token_endpoint, well_known_paths};
pub use form::{FORM, Form, basic};
pub use introspection::{NoIntrospection, introspection_request, read_introspection};
pub use protected_resource::{ProtectedResource, ResourceError, WELL_KNOWN, is_one_path};
pub use scope::{Scope, ScopeError};
pub use token_request::{ACCESS_TOKEN, Asked, ClientProof, Grant, JWT, TokenRequest};
pub use token_response::{BadToken, IssuedToken, OAuthError};
