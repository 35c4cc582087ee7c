//! The attack list as data (RFC 8725, and what JWT libraries got wrong): each row a credential and the
//! reason with which it must end. Run against the gate natively and on a real Envoy.

use super::forgery;
use super::issuer::{ALGORITHMS, Issuer, b64};
use rsa::pkcs1::EncodeRsaPublicKey as _;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Map, Value, json};

/// The guarded resource.
pub const RESOURCE: &str = "http://127.0.0.1:10000/mcp";
/// The issuer whose keys are public.
pub const MAIN: &str = "http://127.0.0.1:9400";
/// Another one, whose key has the same id.
pub const PARTNER: &str = "http://127.0.0.1:9400/partner";
/// One that signs with a secret.
pub const SHARED: &str = "http://127.0.0.1:9400/shared";
/// One that may sign with ES256 only.
pub const NARROW: &str = "http://127.0.0.1:9400/narrow";
/// The secret, in the variable `SHARED_SECRET`.
pub const SECRET: &str = "a-secret-of-48-bytes-for-HS256-and-HS384-0123456";

/// The configuration under attack.
pub const CONFIGURATION: &str = r#"
resource: http://127.0.0.1:10000/mcp
issuers:
  - { issuer: "http://127.0.0.1:9400", insecure_http: true, cluster: identity_provider, keys: { cooldown: 100ms } }
  - { issuer: "http://127.0.0.1:9400/partner", insecure_http: true, cluster: identity_provider, jwks_uri: "http://127.0.0.1:9400/partner-keys" }
  - { issuer: "http://127.0.0.1:9400/shared", insecure_http: true, hmac_secret: "${SHARED_SECRET}", algorithms: [HS256, HS384] }
  - { issuer: "http://127.0.0.1:9400/narrow", insecure_http: true, cluster: identity_provider, jwks_uri: "http://127.0.0.1:9400/jwks", algorithms: [ES256] }
rules:
  - id: reads
    allow: { tools: ["get_*"] }
"#;

/// One attack, or one honest token beside it.
#[derive(Clone)]
pub struct Row {
    pub name: String,
    /// The values of the `Authorization` headers.
    pub authorization: Vec<String>,
    /// Reason code.
    pub reason: &'static str,
}

/// Who signs what.
pub struct Cast {
    pub main: Issuer,
    pub partner: Issuer,
    pub stranger: Issuer,
    /// When tokens are checked.
    pub now: u64,
}

impl Cast {
    /// New keys; the partner's have the same ids as the main issuer's.
    pub fn new(now: u64) -> Self {
        Self { main: Issuer::new("k"), partner: Issuer::new("k"), stranger: Issuer::new("k"), now }
    }

    /// The main issuer's key set: good keys between junk.
    pub fn main_jwks(&self) -> Value {
        let (rsa, ec) = (self.main.rsa_jwk(), self.main.ec_jwk());
        let mut keys = vec![
            json!({"kty": "oct", "kid": "oct", "alg": "HS256", "k": b64(SECRET)}),
            json!({"kty": "oct", "kid": self.main.rsa_id(), "k": b64(SECRET)}),
            json!({"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"}),
            json!({"kty": "RSA", "kid": "empty", "n": "", "e": ""}),
            json!({"kty": "RSA", "kid": "small", "n": b64([0xff; 128]), "e": "AQAB"}),
            json!({"kty": "RSA", "kid": "large", "n": b64([0xff; 1024]), "e": "AQAB"}),
            changed(&rsa, json!({"kid": "e3", "e": "Aw"})),
            changed(&rsa, json!({"kid": "e1", "e": "AQ"})),
            changed(&rsa, json!({"kid": "published", "d": b64([1; 256])})),
            changed(&rsa, json!({"kid": "enc", "use": "enc"})),
            changed(&rsa, json!({"kid": "rs512", "alg": "RS512"})),
            changed(&self.partner.rsa_jwk(), json!({"kid": "second", "alg": "PS512"})),
            changed(&rsa, json!({"kid": "oaep", "alg": "RSA-OAEP"})),
            changed(&rsa, json!({"kid": "hs", "alg": "HS256"})),
            changed(&rsa, json!({"kid": 7})),
            changed(&ec, json!({"kid": "sign", "key_ops": ["sign"]})),
            changed(&ec, json!({"kid": "off", "y": ec["x"]})),
            changed(&ec, json!({"kid": "zero", "x": b64([0; 32]), "y": b64([0; 32])})),
            json!({"kty": "EC", "crv": "P-521", "kid": "off-521", "x": b64([1; 66]), "y": b64([1; 66])}),
            changed(&ec, json!({"kid": "k256", "crv": "secp256k1"})),
            json!({"kty": "OKP", "crv": "Ed448", "kid": "ed448", "x": b64([1; 57])}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "weak", "x": b64([0; 32])}),
            json!({"kty": "AKP", "kid": "later", "alg": "ML-DSA-44", "pub": "AA"}),
            json!(7),
            json!(null),
            json!({}),
        ];
        // Beside each of these stands a good key with its id, for another algorithm.
        for (id, members) in junk(&rsa) {
            keys.push(changed(&changed(&rsa, members), json!({ "kid": id })));
            keys.push(changed(&ec, json!({ "kid": id })));
        }
        keys.extend(self.main.all_jwks());
        json!({"keys": keys})
    }

    /// The partner's key set.
    pub fn partner_jwks(&self) -> Value {
        self.partner.jwks()
    }

    /// Claims of a good token.
    pub fn claims(&self) -> Value {
        json!({"iss": MAIN, "sub": "dana", "client_id": "agent", "aud": RESOURCE, "exp": self.now + 300,
            "iat": self.now, "jti": "0123456789abcdef"})
    }

    /// The table.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Table::default();
        self.honest(&mut rows);
        self.algorithms(&mut rows);
        self.keys(&mut rows);
        self.headers(&mut rows);
        self.claims_rows(&mut rows);
        self.encodings(&mut rows);
        self.signatures(&mut rows);
        self.schemes(&mut rows);
        rows.0
    }

    /// What only a host can verify: ES512, honest and forged. Where the host can't, all of it is refused with
    /// `algorithm_not_accepted`, but for signatures of a wrong length.
    pub fn only_by_the_host(&self) -> Vec<Row> {
        let mut rows = Table::default();
        let claims = self.claims();
        rows.add("honest ES512", self.main.by("ES512", &claims), "allowed");
        rows.add("ES512 by a stranger", self.stranger.by("ES512", &claims), "bad_signature");
        for (name, token) in forgery::ecdsa(&self.main, "ES512", 66, forgery::P521_ORDER, &claims) {
            rows.add(format!("ES512: {name}"), token, "bad_signature");
        }
        let off = json!({"alg": "ES512", "kid": "off-521"});
        rows.add("ES512 by a point off the curve", self.main.token(&off, &claims), "bad_signature");
        rows.0
    }

    fn honest(&self, rows: &mut Table) {
        for algorithm in ALGORITHMS.iter().filter(|name| **name != "ES512") {
            rows.add(format!("honest {algorithm}"), self.main.by(algorithm, &self.claims()), "allowed");
        }
        let partner = changed(&self.claims(), json!({"iss": PARTNER}));
        rows.add("honest, of the partner", self.partner.rs256(&partner), "allowed");
        rows.add("honest, without kid", self.main.token(&json!({"alg": "ES384"}), &self.claims()), "allowed");
        for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
            let header = json!({"alg": "ES256", "kid": self.main.ec_id(), "typ": typ});
            rows.add(format!("typ {typ}"), self.main.token(&header, &self.claims()), "allowed");
        }
        rows.add("HS256 by the secret", self.shared("HS256", &json!({}), SECRET.as_bytes()), "allowed");
        rows.add(
            "HS256, any kid",
            self.shared("HS256", &json!({"kid": "../x"}), SECRET.as_bytes()),
            "allowed",
        );
    }

    /// Which algorithm counts: never what the token says alone.
    fn algorithms(&self, rows: &mut Table) {
        let claims = self.claims();
        let rsa = self.main.rsa_id();
        for none in [
            "none",
            "None",
            "NONE",
            "nOnE",
            "none ",
            " none",
            "none\0",
            "\u{ff4e}one",
            "null",
            "",
            "0",
            "HS256\0",
            "rs256",
            "RS256 ",
        ] {
            for kid in [Some(&rsa), None] {
                let header = json!({"alg": none, "kid": kid});
                let header = if kid.is_some() { header } else { json!({"alg": none}) };
                let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
                rows.add(
                    format!("alg {none:?}, no signature"),
                    format!("{input}."),
                    "algorithm_not_accepted",
                );
                let signed = self.main.token_of_texts(&header.to_string(), &claims.to_string());
                rows.add(format!("alg {none:?}, signed"), signed, "algorithm_not_accepted");
            }
        }
        for alg in [
            json!(null),
            json!(0),
            json!([]),
            json!(["RS256"]),
            json!({}),
            json!({"alg": "RS256"}),
            json!(true),
        ] {
            let header = json!({"alg": alg, "kid": rsa});
            rows.add(format!("alg {alg}"), self.main.token(&header, &claims), "algorithm_not_accepted");
        }
        rows.add("no alg", self.main.token(&json!({"kid": rsa}), &claims), "algorithm_not_accepted");
        let public = self.main.rsa_public();
        let jwk = self.main.rsa_jwk();
        let secrets: Vec<(&str, Vec<u8>)> = vec![
            ("SPKI PEM", public.to_public_key_pem(LineEnding::LF).unwrap().into_bytes()),
            ("SPKI PEM, CRLF", public.to_public_key_pem(LineEnding::CRLF).unwrap().into_bytes()),
            ("SPKI PEM without line end", public.to_public_key_pem(LineEnding::LF).unwrap().trim().into()),
            ("PKCS #1 PEM", public.to_pkcs1_pem(LineEnding::LF).unwrap().into_bytes()),
            ("SPKI DER", public.to_public_key_der().unwrap().into_vec()),
            ("PKCS #1 DER", public.to_pkcs1_der().unwrap().as_bytes().to_vec()),
            ("JWK", jwk.to_string().into_bytes()),
            ("JWKS", self.main_jwks().to_string().into_bytes()),
            ("modulus", public.n().to_bytes_be()),
            ("modulus in base64url", jwk["n"].as_str().unwrap().into()),
            ("oct key of the set", SECRET.into()),
            ("nothing", Vec::new()),
        ];
        for (form, secret) in &secrets {
            for kid in [rsa.as_str(), "oct", "hs"] {
                let token = hs("HS256", &json!({"kid": kid}), &claims, secret);
                rows.add(format!("HS256 with the {form}, kid {kid}"), token, "algorithm_not_accepted");
            }
            let token = self.shared("HS256", &json!({}), secret);
            if form != &"oct key of the set" {
                rows.add(format!("the secret's issuer, HS256 with the {form}"), token, "bad_signature");
            }
        }
        for (alg, kid) in [
            ("RS256", "ES256"),
            ("ES256", "RS256"),
            ("ES384", "ES256"),
            ("ES256", "ES384"),
            ("EdDSA", "RS256"),
            ("RS256", "EdDSA"),
            ("PS256", "ES256"),
        ] {
            let header = json!({"alg": alg, "kid": self.main.id(kid)});
            rows.add(
                format!("{alg} with the {kid} key's id"),
                self.main.token(&header, &claims),
                "algorithm_not_accepted",
            );
        }
        for (alg, by) in [
            ("RS256", "PS256"),
            ("PS256", "RS256"),
            ("RS512", "RS256"),
            ("RS256", "RS384"),
            ("PS512", "PS256"),
        ] {
            let header = json!({"alg": alg, "kid": rsa});
            let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
            let token = format!("{input}.{}", b64(self.main.sign(by, input.as_bytes())));
            rows.add(format!("{alg}, signed as {by}"), token, "bad_signature");
        }
        let shared = changed(&claims, json!({"iss": SHARED}));
        rows.add("RS256 at the secret's issuer", self.main.rs256(&shared), "algorithm_not_accepted");
        rows.add(
            "HS512 where it is not accepted",
            self.shared("HS512", &json!({}), SECRET.as_bytes()),
            "algorithm_not_accepted",
        );
        let cut = self.shared("HS256", &json!({}), SECRET.as_bytes());
        rows.add("HS256, cut", &cut[..cut.len() - 7], "bad_signature");
        rows.add("HS256, empty", format!("{}.", cut.rsplit_once('.').unwrap().0), "bad_signature");
        let narrow = changed(&claims, json!({"iss": NARROW}));
        rows.add("ES256 where it is accepted", self.main.es256(&narrow), "allowed");
        rows.add("RS256 where only ES256 is accepted", self.main.rs256(&narrow), "algorithm_not_accepted");
        for alg in ["ES256K", "RSA-OAEP", "dir", "A128KW", "PBES2-HS256+A128KW", "ML-DSA-44", "HS1", "RS1"] {
            rows.add(
                format!("alg {alg}"),
                self.main.token(&json!({"alg": alg, "kid": rsa}), &claims),
                "algorithm_not_accepted",
            );
        }
    }

    /// Which key counts.
    fn keys(&self, rows: &mut Table) {
        let claims = self.claims();
        for kid in [
            "broken",
            "empty",
            "small",
            "large",
            "e3",
            "e1",
            "published",
            "K-RSA",
            "k-rsa ",
            "enc",
            "oaep",
            "hs",
            "oct",
            "nobody",
        ] {
            rows.add(
                format!("RS256, kid {kid}"),
                self.main.token(&json!({"alg": "RS256", "kid": kid}), &claims),
                "unknown_key",
            );
        }
        for (kid, _) in junk(&self.main.rsa_jwk()) {
            let by_junk = self.main.token(&json!({"alg": "RS256", "kid": kid}), &claims);
            rows.add(format!("RS256 by the junk key {kid}"), by_junk, "algorithm_not_accepted");
            let by_good = self.main.token(&json!({"alg": "ES256", "kid": kid}), &claims);
            rows.add(format!("ES256 by the good key beside {kid}"), by_good, "allowed");
        }
        for kid in ["sign", "off", "zero", "k256"] {
            rows.add(
                format!("ES256, kid {kid}"),
                self.main.token(&json!({"alg": "ES256", "kid": kid}), &claims),
                "unknown_key",
            );
        }
        for kid in ["ed448", "weak"] {
            rows.add(
                format!("EdDSA, kid {kid}"),
                self.main.token(&json!({"alg": "EdDSA", "kid": kid}), &claims),
                "unknown_key",
            );
        }
        rows.add(
            "RS256, kid of an RS512 key",
            self.main.token(&json!({"alg": "RS256", "kid": "rs512"}), &claims),
            "algorithm_not_accepted",
        );
        for kid in [
            "",
            "../../../../dev/null",
            "' UNION SELECT 'x' -- ",
            "|id",
            "\0",
            "https://evil.example/key",
            &"k".repeat(250),
        ] {
            rows.add(
                format!("kid {kid:?}"),
                self.main.token(&json!({"alg": "RS256", "kid": kid}), &claims),
                "unknown_key",
            );
        }
        for kid in [json!(7), json!(null), json!([self.main.rsa_id()]), json!({}), json!(true)] {
            rows.add(
                format!("kid {kid}"),
                self.main.token(&json!({"alg": "RS256", "kid": kid}), &claims),
                "malformed_token",
            );
        }
        rows.add("no kid, one key", self.main.token(&json!({"alg": "RS256"}), &claims), "allowed");
        rows.add("no kid, two keys", self.main.token(&json!({"alg": "PS512"}), &claims), "unknown_key");
        let partner = changed(&claims, json!({"iss": PARTNER}));
        for algorithm in ["RS256", "ES256"] {
            rows.add(
                format!("{algorithm}, the partner's key, our kid"),
                self.partner.by(algorithm, &claims),
                "bad_signature",
            );
            rows.add(
                format!("{algorithm}, our key, the partner's iss"),
                self.main.by(algorithm, &partner),
                "bad_signature",
            );
            rows.add(
                format!("{algorithm}, a stranger's key, our kid"),
                self.stranger.by(algorithm, &claims),
                "bad_signature",
            );
        }
        let certificate = json!(["MIIB"]);
        let url = json!("https://evil.example/keys");
        for (member, value) in [
            ("jwk", &self.stranger.rsa_jwk()),
            ("jwk", &self.main.rsa_jwk()),
            ("jku", &url),
            ("x5u", &url),
            ("x5c", &certificate),
            ("x5c", &json!([])),
            ("jwk", &json!(null)),
            ("jku", &json!(null)),
        ] {
            let header = changed(&json!({"alg": "RS256", "kid": self.main.rsa_id()}), json!({member: value}));
            rows.add(format!("{member} {value}"), self.stranger.token(&header, &claims), "malformed_token");
            rows.add(
                format!("{member} {value}, honest"),
                self.main.token(&header, &claims),
                "malformed_token",
            );
        }
    }

    /// What else the header says.
    fn headers(&self, rows: &mut Table) {
        let claims = self.claims();
        let base = json!({"alg": "RS256", "kid": self.main.rsa_id()});
        let mut with = |members: Value, reason| {
            let header = changed(&base, members.clone());
            rows.add(format!("header {members}"), self.main.token(&header, &claims), reason);
        };
        for crit in [
            json!([]),
            json!(["b64"]),
            json!(["exp"]),
            json!(["alg"]),
            json!("b64"),
            json!(null),
            json!({}),
            json!(["http://openbanking.org.uk/iat"]),
        ] {
            with(json!({"crit": crit, "b64": false}), "algorithm_not_accepted");
        }
        for typ in [
            json!("oauth-id-jag+jwt"),
            json!("dpop+jwt"),
            json!("logout+jwt"),
            json!("secevent+jwt"),
            json!("token-introspection+jwt"),
            json!("kb+jwt"),
            json!("JWE"),
            json!("JOSE"),
            json!("application/jwt"),
            json!("at+jwt "),
            json!("at+jwt; x=y"),
            json!(""),
            json!(null),
            json!(1),
            json!(["at+jwt"]),
        ] {
            with(json!({"typ": typ}), "not_an_access_token");
        }
        for members in [
            json!({"cty": 1}),
            json!({"x5t": 1}),
            json!({"x5t#S256": []}),
            json!({"salt": "x"}),
            json!({"salt": 1}),
        ] {
            with(members, "malformed_token");
        }
        with(json!({"cty": "JWT", "x5t": "AA", "b64": true, "zip": "DEF"}), "allowed");
        let rsa = self.main.rsa_id();
        let text = claims.to_string();
        for header in [
            format!(r#"{{"alg":"RS256","alg":"none","kid":"{rsa}"}}"#),
            format!(r#"{{"alg":"none","alg":"RS256","kid":"{rsa}"}}"#),
            format!(r#"{{"alg":"RS256","\u0061lg":"none","kid":"{rsa}"}}"#),
            format!(r#"{{"alg":"RS256","Alg":"none","kid":"{rsa}"}}"#),
            format!(r#"{{"alg":"RS256","kid":"{rsa}","kid":"oct"}}"#),
            format!(r#"{{"alg":"RS256","kid":"{rsa}","\u006bid":"oct"}}"#),
            format!(r#"{{"alg":"RS256","kid":"{rsa}","\u006aku":"https://evil.example"}}"#),
            format!(r#"{{"alg":"RS256","kid":"{rsa}"}} "#) + "{}",
            format!("\u{feff}{{\"alg\":\"RS256\",\"kid\":\"{rsa}\"}}"),
            format!(r#"{{"alg":"RS256","kid":"{rsa}",}}"#),
            format!(r#"{{'alg':'RS256',"kid":"{rsa}"}}"#),
            format!(r#"[{{"alg":"RS256","kid":"{rsa}"}}]"#),
            "\"RS256\"".into(),
            "null".into(),
            String::new(),
        ] {
            rows.add(format!("header {header}"), self.main.token_of_texts(&header, &text), "malformed_token");
        }
        let escaped = format!(r#"{{"\u0061lg":"RS25\u0036","kid":"{rsa}"}}"#);
        rows.add(
            "an escaped header that says the same",
            self.main.token_of_texts(&escaped, &text),
            "allowed",
        );
        let critical = format!(r#"{{"alg":"RS256","kid":"{rsa}","\u0063rit":["x"]}}"#);
        rows.add("crit, escaped", self.main.token_of_texts(&critical, &text), "algorithm_not_accepted");
    }

    /// What the claims say.
    fn claims_rows(&self, rows: &mut Table) {
        let now = self.now;
        let mut with = |members: Value, reason| {
            let claims = changed(&self.claims(), members.clone());
            rows.add(format!("claims {members}"), self.main.es256(&claims), reason);
        };
        with(json!({"exp": now - 60}), "token_expired");
        with(json!({"nbf": now + 20, "iat": now + 20}), "allowed");
        with(json!({"exp": 0}), "token_expired");
        with(json!({"exp": now as f64 + 300.5}), "allowed");
        with(json!({"exp": u64::MAX}), "allowed");
        with(json!({"nbf": now + 3600}), "token_not_yet_valid");
        with(json!({"iat": now + 3600}), "token_not_yet_valid");
        with(json!({"iat": u64::MAX}), "token_not_yet_valid");
        with(json!({"nbf": now, "iat": 0}), "allowed");
        for date in [
            json!("9999999999"),
            json!(""),
            json!(null),
            json!(-1),
            json!(-1.5),
            json!(true),
            json!([]),
            json!({}),
            json!([9_999_999_999_u64]),
            json!(1e16),
            json!(1e300),
        ] {
            for claim in ["exp", "nbf", "iat"] {
                with(json!({ claim: date }), "invalid_claim");
            }
        }
        for (aud, reason) in [
            (json!([RESOURCE]), "allowed"),
            (json!(["x", RESOURCE]), "allowed"),
            (json!([]), "wrong_audience"),
            (json!(["x"]), "wrong_audience"),
            (json!(""), "wrong_audience"),
            (json!(format!("{RESOURCE}/")), "wrong_audience"),
            (json!(format!("{RESOURCE}?x")), "wrong_audience"),
            (json!(RESOURCE.to_uppercase()), "wrong_audience"),
            (json!(format!("x {RESOURCE}")), "wrong_audience"),
            (json!("http://127.0.0.1:10000"), "wrong_audience"),
            (json!("*"), "wrong_audience"),
            (json!(null), "invalid_claim"),
            (json!(7), "invalid_claim"),
            (json!({RESOURCE: true}), "invalid_claim"),
            (json!([RESOURCE, 7]), "invalid_claim"),
            (json!([[RESOURCE]]), "invalid_claim"),
        ] {
            with(json!({ "aud": aud }), reason);
        }
        for (iss, reason) in [
            (json!("http://127.0.0.1:9400/"), "unknown_issuer"),
            (json!("http://127.0.0.1:9400.evil.example"), "unknown_issuer"),
            (json!("HTTP://127.0.0.1:9400"), "unknown_issuer"),
            (json!("http://127.0.0.1:9400\0"), "unknown_issuer"),
            (json!("https://evil.example"), "unknown_issuer"),
            (json!(""), "unknown_issuer"),
            (json!([MAIN]), "unknown_issuer"),
            (json!(null), "unknown_issuer"),
        ] {
            with(json!({ "iss": iss }), reason);
        }
        for (sub, reason) in [
            (json!(""), "invalid_claim"),
            (json!(7), "invalid_claim"),
            (json!(null), "invalid_claim"),
            (json!(["dana"]), "invalid_claim"),
        ] {
            with(json!({ "sub": sub }), reason);
        }
        for members in [
            json!({"nonce": "n"}),
            json!({"at_hash": "h"}),
            json!({"c_hash": "h"}),
            json!({"s_hash": "h"}),
            json!({"typ": "ID"}),
            json!({"events": {}}),
        ] {
            with(members, "not_an_access_token");
        }
        with(json!({"jti": 7}), "invalid_claim");
        // Bound to a key or a certificate: here no connection has one (RFC 7800, RFC 8705, RFC 9449).
        let thumbprint = b64([7; 32]);
        for cnf in [
            json!({"jkt": thumbprint}),
            json!({"jkt": thumbprint, "x5t#S256": thumbprint}),
            json!({"jwk": self.main.rsa_jwk()}),
            json!({"kid": self.main.rsa_id()}),
            json!({"jku": "https://evil.example/keys"}),
            json!({"x5t": thumbprint}),
            json!({"X5T#S256": thumbprint}),
            json!({"x5t#S256": thumbprint, "later": true}),
        ] {
            with(json!({ "cnf": cnf }), "sender_constraint_unsupported");
        }
        with(json!({"cnf": {"x5t#S256": thumbprint}}), "client_certificate_missing");
        for cnf in [
            json!({}),
            json!(null),
            json!("x"),
            json!([]),
            json!({"x5t#S256": ""}),
            json!({"x5t#S256": null}),
            json!({"x5t#S256": format!("{thumbprint}=")}),
            json!({"x5t#S256": "07".repeat(32)}),
        ] {
            with(json!({ "cnf": cnf }), "invalid_claim");
        }
        for (absent, reason) in [
            ("exp", "invalid_claim"),
            ("aud", "wrong_audience"),
            ("sub", "invalid_claim"),
            ("iss", "unknown_issuer"),
            ("iat", "allowed"),
            ("jti", "allowed"),
        ] {
            let mut claims = self.claims();
            claims.as_object_mut().unwrap().remove(absent);
            rows.add(format!("no {absent}"), self.main.es256(&claims), reason);
        }
        let good = self.claims().to_string();
        let header = json!({"alg": "ES256", "kid": self.main.ec_id()}).to_string();
        let inside = &good[1..good.len() - 1];
        for text in [
            format!(r#"{{{inside},"sub":"admin"}}"#),
            format!(r#"{{{inside},"\u0073ub":"admin"}}"#),
            format!(r#"{{{inside},"Sub":"admin"}}"#),
            format!(r#"{{{inside},"\u017fub":"admin"}}"#),
            format!(r#"{{{inside},"aud":"x"}}"#),
            format!(r#"{{{inside},"exp":9999999999}}"#),
            format!(r#"{{{inside},"\u0065xp":9999999999}}"#),
            good.replacen(&format!("\"exp\":{}", now + 300), "\"exp\":NaN", 1),
            good.replacen(&format!("\"exp\":{}", now + 300), "\"exp\":Infinity", 1),
            good.replacen(&format!("\"exp\":{}", now + 300), "\"exp\":1e400", 1),
            good.replacen(&format!("\"exp\":{}", now + 300), "\"exp\":9999999999.", 1),
            good.replacen(&format!("\"exp\":{}", now + 300), "\"exp\":+9999999999", 1),
            good.replacen(&format!("\"iat\":{now}"), "\"iat\":-Infinity", 1),
            format!(r#"{{{inside},"nbf":0,"nbf":9999999999}}"#),
            format!(r#"{{{inside},"cnf":{{"x5t\u0023S256":"a","x5t#S256":"b"}}}}"#),
            format!(r#"{{{inside},"a":NaN}}"#),
            format!(r#"{{{inside},"a":Infinity}}"#),
            format!(r#"{{{inside},"a":1e400}}"#),
            format!(r#"{{{inside},"a":0x10}}"#),
            format!(r#"{{{inside},"a":01}}"#),
            format!(r#"{{{inside},"a":{}}}"#, "[".repeat(70) + &"]".repeat(70)),
            format!(r#"{{{inside},"a":{{"b":1,"b":2}}}}"#),
            format!("{good}{good}"),
            format!("{good}\0"),
            format!("[{good}]"),
            format!("\u{feff}{good}"),
            good.replace("dana", "\\ud800"),
            String::new(),
        ] {
            rows.add(format!("claims {text}"), self.main.token_of_texts(&header, &text), "malformed_token");
        }
    }

    /// How the token is written.
    fn encodings(&self, rows: &mut Table) {
        let token = self.main.rs256(&self.claims());
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { unreachable!() };
        for (name, text) in [
            ("two parts", format!("{header}.{claims}")),
            ("one part", header.to_owned()),
            ("a dot behind", format!("{token}.")),
            ("a dot in front", format!(".{token}")),
            ("dots", "..".to_owned()),
            ("an empty part", format!("{header}..{claims}.{signature}")),
            ("detached", format!("{header}..{signature}")),
            ("five parts, a JWE", format!("{header}.{claims}.{signature}.AAAA.AAAA")),
            ("five empty parts", "....".to_owned()),
            ("padded signature", format!("{token}=")),
            ("padded signature twice", format!("{token}==")),
            ("standard alphabet +", format!("{header}.{claims}.+{}", &signature[1..])),
            ("standard alphabet /", format!("{header}.{claims}./{}", &signature[1..])),
            ("another character", format!("{header}.{claims}.~{}", &signature[1..])),
            ("claims in the standard alphabet", format!("{header}.{}+.{signature}", &claims[1..])),
            ("opaque", "2YotnFZFEjr1zCsicMWpAA".to_owned()),
        ] {
            rows.add(name, text, "malformed_token");
        }
        // 256 bytes leave four bits of the last character unused, 64 bytes too.
        for token in [token.clone(), self.main.es256(&self.claims())] {
            for bits in 1..16_u8 {
                rows.add(
                    format!("unused bits {bits} in a signature"),
                    unused_bits(&token, bits),
                    "malformed_token",
                );
            }
        }
        for (name, text) in [
            (
                "JSON serialisation",
                json!({"protected": header, "payload": claims, "signature": signature}).to_string(),
            ),
            (
                "general JSON serialisation",
                json!({"payload": claims, "signatures": [{"protected": header, "signature": signature}]})
                    .to_string(),
            ),
            ("padded header", format!("{header}=.{claims}.{signature}")),
            ("percent", format!("{header}%2E{claims}%2E{signature}")),
            ("space inside", format!("{header}. {claims}.{signature}")),
            ("tab inside", format!("{header}.\t{claims}.{signature}")),
        ] {
            rows.add(name, text, "malformed_authorization");
        }
        let nested = b64(&token);
        rows.add("a token as claims", format!("{header}.{nested}.{signature}"), "malformed_token");
        let other = b64(changed(&self.claims(), json!({"sub": "admin"})).to_string());
        rows.add("other claims", format!("{header}.{other}.{signature}"), "bad_signature");
        let spaced = b64(format!(" {}", self.claims()));
        rows.add(
            "the same claims, written otherwise",
            format!("{header}.{spaced}.{signature}"),
            "bad_signature",
        );
    }

    /// What the signature is.
    fn signatures(&self, rows: &mut Table) {
        for (name, token) in forgery::rsa(&self.main, &self.claims()) {
            rows.add(format!("RSA: {name}"), token, "bad_signature");
        }
        let claims = self.claims();
        for (algorithm, half, order) in forgery::CURVES {
            for (name, token) in forgery::ecdsa(&self.main, algorithm, *half, order, &claims) {
                rows.add(format!("{algorithm}: {name}"), token, "bad_signature");
            }
        }
        for (name, token) in forgery::ed25519(&self.main, &claims) {
            rows.add(format!("EdDSA: {name}"), token, "bad_signature");
        }
        // RFC 7518 section 3.4 does not ask for the low one of the two values of s: both verify, as everywhere.
        rows.add("ES256: the other s", forgery::other_s(&self.main, &claims), "allowed");
    }

    /// How the credential is presented.
    fn schemes(&self, rows: &mut Table) {
        let token = self.main.es256(&self.claims());
        let mut with = |value: String, reason| {
            let name = format!("Authorization: {}", value.replace(&token, "TOKEN"));
            rows.0.push(Row { name, authorization: vec![value], reason });
        };
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            with(format!("{scheme} {token}"), "allowed");
        }
        with(format!("Bearer  {token}"), "allowed");
        with(format!("Bearer \t{token}"), "malformed_authorization");
        with(format!("Bearer\t{token}"), "missing_token");
        with(format!("Bearer \u{a0}{token}"), "malformed_authorization");
        with(format!("Bearer\u{a0}{token}"), "missing_token");
        with(format!("Bearer {token};"), "malformed_authorization");
        with(format!("Bearer {token},"), "malformed_authorization");
        with(format!("Bearer <{token}>"), "malformed_authorization");
        with(format!("Bearer realm=\"x\", {token}"), "malformed_authorization");
        with(format!("\"Bearer\" {token}"), "missing_token");
        with(format!("Bеarer {token}"), "missing_token"); // a Cyrillic letter
        with(token.clone(), "missing_token");
        with(format!("Bearer{token}"), "missing_token");
        with(format!("Bearer:{token}"), "missing_token");
        with(format!("Token {token}"), "missing_token");
        with(format!("JWT {token}"), "missing_token");
        with(format!("DPoP {token}"), "missing_token");
        with(format!("Basic {token}"), "missing_token");
        with(format!("Bearer {token} {token}"), "malformed_authorization");
        with(format!("Bearer {token},Bearer {token}"), "malformed_authorization");
        with(format!("Bearer {token}, Basic YTpi"), "malformed_authorization");
        with(format!("Bearer token=\"{token}\""), "malformed_authorization");
        with(format!("Bearer \"{token}\""), "malformed_authorization");
        with(format!("Bearer Bearer {token}"), "malformed_authorization");
        with("Bearer".to_owned(), "malformed_authorization");
        with(format!("Bearer {}", "a".repeat(20_000)), "malformed_authorization");
        // An empty one beside it is dropped by Envoy before it comes here.
        for second in [format!("Bearer {token}"), "Basic YTpi".to_owned(), "Bearer x".to_owned()] {
            let authorization = vec![format!("Bearer {token}"), second];
            let name = format!("Authorization twice: {}", authorization[1].replace(&token, "TOKEN"));
            rows.0.push(Row { name, authorization, reason: "malformed_authorization" });
        }
    }

    /// A token of the issuer that has a secret, signed with `secret`.
    fn shared(&self, algorithm: &str, header: &Value, secret: &[u8]) -> String {
        hs(algorithm, header, &changed(&self.claims(), json!({"iss": SHARED})), secret)
    }
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, name: impl Into<String>, token: impl AsRef<str>, reason: &'static str) {
        let authorization = vec![format!("Bearer {}", token.as_ref())];
        self.0.push(Row { name: name.into(), authorization, reason });
    }
}

/// An object with members set.
#[expect(clippy::needless_pass_by_value, reason = "written with `json!` at each call")]
pub fn changed(object: &Value, members: Value) -> Value {
    let mut object: Map<String, Value> = object.as_object().unwrap().clone();
    object.extend(members.as_object().unwrap().clone());
    Value::Object(object)
}

/// What makes an RSA key unusable: members that take the place of its own.
fn junk(rsa: &Value) -> Vec<(&'static str, Value)> {
    let modulus = rsa["n"].as_str().unwrap();
    vec![
        ("bits-2047", json!({"n": b64([[0x7f].as_slice(), &[0xff; 255]].concat())})),
        ("padded", json!({"n": format!("{modulus}=")})),
        ("no-exponent", json!({"e": ""})),
        ("even-exponent", json!({"e": "AQAA"})),
        ("no-use", json!({"use": ""})),
        ("use-list", json!({"use": ["sig"]})),
        ("use-null", json!({"use": null})),
        ("use-upper", json!({"use": "SIG"})),
        ("ops-none", json!({"key_ops": []})),
        ("ops-text", json!({"key_ops": "verify"})),
        ("ops-null", json!({"key_ops": null})),
        ("ops-wrap", json!({"key_ops": ["wrapKey", "encrypt"]})),
        ("use-against-ops", json!({"use": "enc", "key_ops": ["verify"]})),
        ("alg-null", json!({"alg": null})),
        ("alg-list", json!({"alg": ["RS256"]})),
        ("kty-ec", json!({"kty": "EC"})),
        ("kty-oct", json!({"kty": "oct", "k": modulus})),
        ("private", json!({"p": "AQAB"})),
    ]
}

fn hs(algorithm: &str, header: &Value, claims: &Value, secret: &[u8]) -> String {
    let header = changed(header, json!({"alg": algorithm}));
    let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let mac = match algorithm {
        "HS512" => hmac_sha512::HMAC::mac(input.as_bytes(), secret).to_vec(),
        _ => hmac_sha256::HMAC::mac(input.as_bytes(), secret).to_vec(),
    };
    format!("{input}.{}", b64(mac))
}

/// The same token with other bits where the last character of the signature has more than its byte needs.
fn unused_bits(token: &str, bits: u8) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let value = ALPHABET.iter().position(|c| *c == last.as_bytes()[0]).unwrap();
    format!("{rest}{}", char::from(ALPHABET[value | usize::from(bits)]))
}
