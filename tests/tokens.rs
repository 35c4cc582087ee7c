//! Tokens as an attacker or a careless issuer makes them, signed with real keys (RFC 8725 section 2).

mod support;

use mcp_iap::jose::{
    Algorithm, Expected, Jws, KeySet, Library, Signed, Unproven, Verdict, VerifiedClaims, Verifier,
};
use mcp_iap::reason::Reason;
use mcp_iap::time::UnixTime;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;
use support::issuer::{Issuer, b64};

const NOW: u64 = 1_800_000_000;
static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("i"));
static STRANGER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("i"));

fn keys() -> KeySet {
    let (rsa, ec) = (ISSUER.rsa_jwk(), ISSUER.ec_jwk());
    let with = |jwk: &Value, changes: Value| {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        jwk
    };
    let jwks = json!({"keys": [
        {"kty": "oct", "kid": "oct", "alg": "HS256", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": "small", "n": b64([0xff; 128]), "e": "AQAB"},
        {"kty": "RSA", "kid": "empty", "n": "", "e": ""},
        with(&rsa, json!({"kid": "enc", "use": "enc"})),
        with(&rsa, json!({"kid": "rs512", "alg": "RS512"})),
        with(&ec, json!({"kid": "sign", "key_ops": ["sign"]})),
        with(&ec, json!({"kid": "off", "y": ec["x"]})),
        rsa, ec, 7, null, {}
    ]});
    KeySet::parse(jwks.to_string().as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({"iss": "https://i", "sub": "dana", "aud": "https://r", "exp": NOW + 60, "iat": NOW})
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn verify(token: &str) -> Result<VerifiedClaims, Reason> {
    verify_by(token, &Library)
}

fn verify_by(token: &str, verifier: &dyn Verifier) -> Result<VerifiedClaims, Reason> {
    let audiences = ["https://r".to_owned()];
    let expected = Expected {
        issuer: "https://i",
        algorithms: &Algorithm::asymmetric(),
        audiences: &audiences,
        clock_skew: Duration::from_secs(30),
        now: UnixTime(NOW),
    };
    let (claims, _) = VerifiedClaims::verify(Jws::parse(token)?, &keys(), &expected, verifier)?;
    claims.validity().check(&expected, &Unproven)?;
    Ok(claims)
}

fn verdict(token: &str) -> Result<(), Reason> {
    verify(token).map(|_| ())
}

#[test]
fn accepts_both_algorithms() {
    let claims = with("groups", json!(["dev"]));
    for token in [ISSUER.rs256(&claims), ISSUER.es256(&claims)] {
        let verified = verify(&token).unwrap();
        assert_eq!(verified.text("sub"), Some("dana"));
        assert_eq!(verified.text("iss"), Some("https://i"));
        assert_eq!(verified.get("groups"), Some(&json!(["dev"])));
    }
}

#[test]
fn looks_up_claims_by_path() {
    let claims = with("realm_access", json!({"roles": ["a"]}));
    let verified = verify(&ISSUER.es256(&claims)).unwrap();
    assert_eq!(verified.get("realm_access.roles"), Some(&json!(["a"])));
    assert_eq!(verified.get("realm_access.none"), None);
    let named = verify(&ISSUER.es256(&with("https://x.y/roles", json!(["b"])))).unwrap();
    assert_eq!(named.get("https://x.y/roles"), Some(&json!(["b"])));
}

#[test]
fn checks_the_claims() {
    let cases = [
        (without("exp"), Err(Reason::InvalidClaim)),
        (without("sub"), Err(Reason::InvalidClaim)),
        (without("aud"), Err(Reason::WrongAudience)),
        (without("iss"), Err(Reason::UnknownIssuer)),
        (without("iat"), Ok(())),
        (with("iss", "https://i/"), Err(Reason::UnknownIssuer)),
        (with("sub", ""), Err(Reason::InvalidClaim)),
        (with("aud", json!(["x", "https://r"])), Ok(())),
        (with("aud", json!(["x"])), Err(Reason::WrongAudience)),
        (with("aud", json!([])), Err(Reason::WrongAudience)),
        (with("aud", "https://r/"), Err(Reason::WrongAudience)),
        (with("aud", "https://R"), Err(Reason::WrongAudience)),
        (with("exp", NOW - 29), Ok(())),
        (with("exp", NOW - 30), Err(Reason::TokenExpired)),
        (with("exp", 0), Err(Reason::TokenExpired)),
        (with("exp", NOW as f64 + 1.5), Ok(())),
        (with("nbf", NOW + 30), Ok(())),
        (with("nbf", NOW + 31), Err(Reason::TokenNotYetValid)),
        (with("iat", NOW + 3600), Err(Reason::TokenNotYetValid)),
        (with("nonce", "n"), Err(Reason::NotAnAccessToken)),
        (with("at_hash", "h"), Err(Reason::NotAnAccessToken)),
        (with("typ", "ID"), Err(Reason::NotAnAccessToken)),
        (with("cnf", json!({"jkt": "x"})), Err(Reason::SenderConstraintUnsupported)),
    ];
    for (claims, expected) in cases {
        assert_eq!(verdict(&ISSUER.rs256(&claims)), expected, "{claims}");
    }
    for exp in ["\"9999999999\"", "null", "-1", "true", "{}", "1e400", "NaN"] {
        let text = format!(r#"{{"iss":"https://i","sub":"dana","aud":"https://r","exp":{exp}}}"#);
        let token = ISSUER.token_of_texts(&json!({"alg": "ES256", "kid": ISSUER.ec_id()}).to_string(), &text);
        assert!(matches!(verdict(&token), Err(Reason::InvalidClaim | Reason::MalformedToken)), "{exp}");
    }
}

#[test]
fn refuses_attacks_on_the_header() {
    let (rsa, ec) = (ISSUER.rsa_id(), ISSUER.ec_id());
    let cases = [
        (json!({"alg": "none"}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "None", "kid": rsa}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "", "kid": rsa}), Reason::AlgorithmNotAccepted),
        (json!({"kid": rsa}), Reason::AlgorithmNotAccepted),
        (json!({"alg": ["RS256"], "kid": rsa}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "rs256", "kid": rsa}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "HS256", "kid": rsa}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "HS256", "kid": "oct"}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "RS256", "kid": ec}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "ES256", "kid": rsa}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "RS256", "kid": "nobody"}), Reason::UnknownKey),
        (json!({"alg": "RS256", "kid": "enc"}), Reason::UnknownKey),
        (json!({"alg": "RS256", "kid": "rs512"}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "ES256", "kid": "sign"}), Reason::UnknownKey),
        (json!({"alg": "ES256", "kid": "off"}), Reason::UnknownKey),
        (json!({"alg": "RS256", "kid": 7}), Reason::MalformedToken),
        (json!({"alg": "RS256", "kid": rsa, "crit": ["b64"], "b64": false}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "RS256", "kid": rsa, "crit": []}), Reason::AlgorithmNotAccepted),
        (json!({"alg": "RS256", "kid": rsa, "typ": "oauth-id-jag+jwt"}), Reason::NotAnAccessToken),
        (json!({"alg": "RS256", "kid": rsa, "typ": "dpop+jwt"}), Reason::NotAnAccessToken),
        (json!({"alg": "RS256", "kid": rsa, "typ": 1}), Reason::NotAnAccessToken),
        (json!({"alg": "RS256", "jwk": STRANGER.rsa_jwk(), "kid": rsa}), Reason::MalformedToken),
        (json!({"alg": "RS256", "jku": "https://evil.example/keys", "kid": rsa}), Reason::MalformedToken),
        (json!({"alg": "RS256", "x5u": "https://evil.example/cert", "kid": rsa}), Reason::MalformedToken),
        (json!({"alg": "RS256", "x5c": [], "kid": rsa}), Reason::MalformedToken),
    ];
    for (header, expected) in cases {
        assert_eq!(verdict(&ISSUER.token(&header, &claims())), Err(expected), "{header}");
    }
    for typ in ["JWT", "at+jwt", "AT+JWT", "application/at+jwt"] {
        let header = json!({"alg": "ES256", "kid": ec, "typ": typ});
        assert_eq!(verdict(&ISSUER.token(&header, &claims())), Ok(()), "{typ}");
    }
    let unnamed = json!({"alg": "ES256"});
    assert_eq!(verdict(&ISSUER.token(&unnamed, &claims())), Ok(()), "the only ES256 key needs no kid");
}

#[test]
fn refuses_attacks_on_the_form() {
    let token = ISSUER.rs256(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { unreachable!() };
    for malformed in [
        String::new(),
        "..".into(),
        format!("{header}.{payload}"),
        format!("{token}."),
        format!("{token}.x.y"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}.+{signature}"),
        format!("{}.{payload}.{signature}", b64("[]")),
        format!("{}.{payload}.{signature}", b64("{\"alg\":\"RS256\",\"alg\":\"none\"}")),
        format!("{header}.{}.{signature}", b64("{\"sub\":\"a\",\"sub\":\"b\"}")),
        format!("{header}.{}.{signature}", b64("\u{feff}{}")),
        json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
    ] {
        assert_eq!(verdict(&malformed), Err(Reason::MalformedToken), "{malformed}");
    }
    let other = b64(with("sub", "admin").to_string());
    for tampered in [
        format!("{header}.{other}.{signature}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{}", b64([0; 256])),
        format!("{header}.{payload}.{}", b64([0xff; 256])),
        format!("{header}.{payload}.{}", b64([0; 64])),
        STRANGER.rs256(&claims()),
        STRANGER.es256(&claims()),
    ] {
        assert_eq!(verdict(&tampered), Err(Reason::BadSignature), "{tampered}");
    }
    let es = ISSUER.es256(&claims());
    let input = es.rsplit_once('.').unwrap().0;
    for signature in [vec![0; 64], vec![0xff; 64], vec![1; 63], vec![1; 65], Vec::new()] {
        assert_eq!(verdict(&format!("{input}.{}", b64(signature))), Err(Reason::BadSignature));
    }
}

#[test]
fn a_set_is_bounded() {
    let keys = vec![ISSUER.ec_jwk(); 100];
    assert_eq!(KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap().len(), 64);
}

/// Keys that share an id are tried, but not without a bound.
#[test]
fn a_few_keys_with_one_id_are_tried() {
    let verdict_behind = |others: usize| {
        let mut keys = vec![STRANGER.rsa_jwk(); others];
        keys.push(ISSUER.rsa_jwk());
        let keys = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
        let audiences = ["https://r".to_owned()];
        let expected = Expected {
            issuer: "https://i",
            algorithms: &Algorithm::asymmetric(),
            audiences: &audiences,
            clock_skew: Duration::ZERO,
            now: UnixTime(NOW),
        };
        let token = ISSUER.rs256(&claims());
        VerifiedClaims::verify(Jws::parse(&token).unwrap(), &keys, &expected, &Library).map(|_| ())
    };
    assert_eq!(verdict_behind(3), Ok(()));
    assert_eq!(verdict_behind(4), Err(Reason::BadSignature));
}

#[test]
fn a_set_without_a_usable_key_is_none() {
    for document in
        ["", "[]", "{}", r#"{"keys":7}"#, r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"YQ"}]}"#, "<html>"]
    {
        assert!(KeySet::parse(document.as_bytes()).is_none(), "{document}");
    }
}

/// A verifier that looks at the signature alone, as a host does, of tokens that are truly signed.
struct Signature;

impl Verifier for Signature {
    fn verify(&self, _: &Signed<'_>) -> Verdict {
        Verdict::Holds
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        (NOW - 100..NOW + 100).prop_map(Value::from),
        prop_oneof![".{0,8}", "JWT|at[+]jwt|https://[ir]|ES256|[A-Za-z0-9_=-]{4}"].prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// The library reads header and claims too, the host does not: the verdict must be the same.
    #[test]
    fn the_verdict_does_not_depend_on_who_verifies(
        header in proptest::collection::btree_map("typ|cty|x5t|x5t#S256|crit|salt|jwk|jku|b64|zip|epk|nonce|[a-z]{2}", any_value(), 0..3),
        changes in proptest::collection::btree_map("iss|sub|aud|exp|nbf|iat|jti|nonce|kid|cnf|scope|custom|[a-z]{2}", any_value(), 0..4),
    ) {
        let mut all = json!({"alg": "ES256", "kid": ISSUER.ec_id()});
        all.as_object_mut().unwrap().extend(header);
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(changes);
        let token = ISSUER.token(&all, &claims);
        let by_library = verify(&token).map(|_| ());
        prop_assert_eq!(by_library, verify_by(&token, &Signature).map(|_| ()), "{} {}", all, claims);
    }
}
