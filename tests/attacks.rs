//! The attack list against the gate, natively: signatures by the library.

mod support;

use mcp_iap::callout::{CalloutError, Reply};
use support::attacks::{CONFIGURATION, Cast, MAIN, SECRET};
use support::flow::{NOW, Worker, reply};

fn environment(name: &str) -> Option<String> {
    (name == "SHARED_SECRET").then(|| SECRET.to_owned())
}

#[test]
fn each_attack_ends_with_its_reason() {
    let cast = Cast::new(NOW);
    let (main, partner) = (cast.main_jwks().to_string(), cast.partner_jwks().to_string());
    let providers = |path: &str| -> Result<Reply, CalloutError> {
        let discovery = format!(r#"{{"issuer":"{MAIN}","jwks_uri":"{MAIN}/jwks"}}"#);
        match path {
            "/.well-known/openid-configuration" => reply("200", discovery.as_bytes()),
            "/jwks" => reply("200", main.as_bytes()),
            "/partner-keys" => reply("200", partner.as_bytes()),
            _ => reply("404", b""),
        }
    };
    let rows = cast.rows();
    assert!(rows.len() > 500, "{} rows", rows.len());
    // Nobody here can verify these: right or wrong, they are refused.
    let mut rows = rows;
    rows.extend(cast.only_by_the_host());
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x"}}"#;
    let mut wrong = Vec::new();
    let mut worker = Worker::in_environment(CONFIGURATION, &environment);
    for row in &rows {
        let mut head = vec![(":method", "POST"), (":path", "/mcp"), ("content-type", "application/json")];
        head.extend(row.authorization.iter().map(|value| ("authorization", value.as_str())));
        // Made-up key ids keep their distance; a new worker has met none yet.
        if row.reason == "unknown_key" {
            worker = Worker::in_environment(CONFIGURATION, &environment);
        }
        let ended = worker.run(&head, Ok(body), &providers);
        let seen = ended.record["reason"].as_str().unwrap().to_owned();
        let is_es512 =
            row.name.contains("ES512:") || row.name.contains("honest ES512") || row.name.contains("ES512 by");
        if seen != row.reason && !(is_es512 && seen == "algorithm_not_accepted") {
            wrong.push(format!("{}: {seen}, not {}", row.name, row.reason));
        }
        let texts = format!("{} {:?}", ended.record, ended.answer);
        for value in &row.authorization {
            for part in value.split([' ', '.']).filter(|part| part.len() > 20) {
                assert!(!texts.contains(part), "{}: its token shows in {texts}", row.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
