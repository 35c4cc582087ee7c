//! What a token endpoint is asked for on behalf of a caller: token exchange (RFC 8693 section 2.1), the JWT bearer
//! grant (RFC 7523 section 2.1; with `requested_token_use`, Microsoft Entra's on-behalf-of flow), or client
//! credentials (RFC 6749 section 4.4), each with RFC 8707's `resource`.

use super::form::Form;
use crate::secret::Secret;
use std::fmt;

/// `urn:ietf:params:oauth:token-type:access_token` (RFC 8693 section 3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// `urn:ietf:params:oauth:token-type:jwt` (RFC 8693 section 3).
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer` (RFC 7523 section 2.2).
const JWT_BEARER_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The grant, by its `grant_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// RFC 8693: the caller's token is `subject_token`.
    TokenExchange,
    /// RFC 7523: the caller's token is `assertion`.
    JwtBearer,
    /// RFC 6749 section 4.4: for the client itself; nothing of the caller is sent.
    ClientCredentials,
}

impl Grant {
    /// Its `grant_type`.
    #[must_use]
    pub fn grant_type(self) -> &'static str {
        match self {
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// What a token is asked for, by the parameters' own names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `audience` (RFC 8693 section 2.1)
    pub audience: Option<String>,
    /// `resource` (RFC 8707)
    pub resource: Option<String>,
    /// `scope`
    pub scope: Option<String>,
    /// `requested_token_type` (RFC 8693 section 2.1)
    pub requested_token_type: Option<String>,
}

/// Everything about a request but the caller's token and the client's authentication.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The grant.
    pub grant: Grant,
    /// `subject_token_type` of a token exchange.
    pub subject_token_type: String,
    /// `requested_token_use` of a JWT bearer grant.
    pub requested_token_use: Option<String>,
    /// `actor_token` and its type.
    pub actor: Option<(Secret, String)>,
    /// What is asked for.
    pub asked: Asked,
}

impl TokenRequest {
    /// The parameters, for the caller's token. `None` where the actor's token is no text.
    #[must_use]
    pub fn form(&self, caller_token: &str) -> Option<Form> {
        let Asked { audience, resource, scope, requested_token_type } = &self.asked;
        let form = Form::default().with("grant_type", self.grant.grant_type());
        let form = match self.grant {
            Grant::TokenExchange => {
                let form = form
                    .with("subject_token", caller_token)
                    .with("subject_token_type", &self.subject_token_type)
                    .with_some("requested_token_type", requested_token_type.as_deref());
                match &self.actor {
                    None => form,
                    Some((token, token_type)) => form
                        .with("actor_token", std::str::from_utf8(token.expose()).ok()?)
                        .with("actor_token_type", token_type),
                }
            }
            Grant::JwtBearer => form
                .with("assertion", caller_token)
                .with_some("requested_token_use", self.requested_token_use.as_deref()),
            Grant::ClientCredentials => form,
        };
        let form = form.with_some("audience", audience.as_deref()).with_some("resource", resource.as_deref());
        Some(form.with_some("scope", scope.as_deref()))
    }
}

/// How the gate proves to the token endpoint who it is, by the names of RFC 7591 section 2
/// (`token_endpoint_auth_method`). A credential that Envoy adds is none of the filter's.
#[derive(Clone)]
pub enum ClientProof {
    /// `client_secret_basic`: the value of `Authorization`.
    Basic(Secret),
    /// `client_secret_post`
    Post(Secret),
    /// `private_key_jwt` (RFC 7523 section 2.2): the signed assertion.
    Assertion(Secret),
    /// `none`, and `tls_client_auth` (RFC 8705), whose certificate is the cluster's: the id alone.
    Id,
    /// Everything is added on the way out.
    Injected,
}

impl ClientProof {
    /// Adds to the parameters what belongs there. `None` where a secret is no text.
    #[must_use]
    pub fn add_to(&self, form: Form, client_id: &str) -> Option<Form> {
        let text = |secret: &'_ Secret| std::str::from_utf8(secret.expose()).ok().map(str::to_owned);
        Some(match self {
            Self::Basic(_) | Self::Injected => form,
            Self::Id => form.with("client_id", client_id),
            Self::Post(secret) => form.with("client_id", client_id).with("client_secret", &text(secret)?),
            Self::Assertion(assertion) => form
                .with("client_id", client_id)
                .with("client_assertion_type", JWT_BEARER_ASSERTION)
                .with("client_assertion", &text(assertion)?),
        })
    }
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientProof(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(request: &TokenRequest, proof: &ClientProof) -> String {
        let form = proof.add_to(request.form("t.o.k").unwrap(), "gate").unwrap();
        let text = String::from_utf8(form.into_body().expose().to_vec()).unwrap();
        text.replace("%3A", ":").replace("%2F", "/")
    }

    fn request(grant: Grant) -> TokenRequest {
        TokenRequest {
            grant,
            subject_token_type: ACCESS_TOKEN.into(),
            requested_token_use: None,
            actor: None,
            asked: Asked { audience: Some("k8s".into()), ..Asked::default() },
        }
    }

    #[test]
    fn each_grant_has_its_parameters_and_no_others() {
        let asked = Asked {
            audience: Some("k8s".into()),
            resource: Some("https://api/".into()),
            scope: Some("a b".into()),
            requested_token_type: Some(JWT.into()),
        };
        let all = |grant| TokenRequest {
            requested_token_use: Some("on_behalf_of".into()),
            actor: Some((Secret::new(b"actor".to_vec()), JWT.into())),
            asked: asked.clone(),
            ..request(grant)
        };
        assert_eq!(
            sent(&all(Grant::TokenExchange), &ClientProof::Injected),
            format!(
                "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=t.o.k\
                 &subject_token_type={ACCESS_TOKEN}&requested_token_type={JWT}&actor_token=actor\
                 &actor_token_type={JWT}&audience=k8s&resource=https://api/&scope=a+b"
            )
        );
        assert_eq!(
            sent(&all(Grant::JwtBearer), &ClientProof::Injected),
            "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=t.o.k\
             &requested_token_use=on_behalf_of&audience=k8s&resource=https://api/&scope=a+b"
        );
        assert_eq!(
            sent(&all(Grant::ClientCredentials), &ClientProof::Injected),
            "grant_type=client_credentials&audience=k8s&resource=https://api/&scope=a+b",
            "nothing of the caller"
        );
    }

    #[test]
    fn the_client_proves_itself_in_one_way() {
        let request = request(Grant::ClientCredentials);
        let secret = || Secret::new(b"s3".to_vec());
        let plain = "grant_type=client_credentials&audience=k8s";
        for (proof, added) in [
            (ClientProof::Injected, ""),
            (ClientProof::Basic(secret()), ""),
            (ClientProof::Id, "&client_id=gate"),
            (ClientProof::Post(secret()), "&client_id=gate&client_secret=s3"),
            (
                ClientProof::Assertion(secret()),
                "&client_id=gate&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion=s3",
            ),
        ] {
            assert_eq!(sent(&request, &proof), format!("{plain}{added}"));
            assert_eq!(format!("{proof:?}"), "ClientProof(***)");
        }
        let binary = ClientProof::Post(Secret::new(vec![0xff]));
        assert!(binary.add_to(Form::default(), "gate").is_none());
    }
}
