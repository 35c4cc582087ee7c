//! One line of the access log as one line for people.

use super::terminal::{Colour, Style, escape};
use super::words::Words;
use serde_json::Value;

/// Widths of the columns before the last two, in characters.
const WIDTHS: [usize; 6] = [8, 8, 3, 18, 20, 24];

/// The head of the columns.
pub fn header() -> String {
    row(
        &["TIME", "OUTCOME", "", "CALLER", "METHOD", "TOOL", "RULE OR REASON, MESSAGE"].map(str::to_owned),
        "",
        |outcome| outcome,
    )
}

/// A decision. A line that is no record is shown as it is.
pub fn line(text: &str, words: &Words, style: Style) -> String {
    let Ok(line) = serde_json::from_str::<Value>(text) else { return escape(text) };
    let record = &line["mcp_iap"][0];
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let outcome = match record["outcome"].as_str() {
        Some(outcome) => escape(outcome),
        None => "no record".to_owned(),
    };
    let named = ["tool", "prompt", "resource", "task"].iter().find_map(|kind| record[kind].as_str());
    let method = if record["method"].is_null() { &record["http_method"] } else { &record["method"] };
    let is_allowed = record["outcome"] == "allowed";
    let rule = record["rule"].as_str();
    let why = match rule {
        Some(rule) if is_allowed => escape(rule),
        Some(rule) => format!("{} ({})", text(&record["reason"]), escape(rule)),
        None => text(&record["reason"]),
    };
    let columns = [
        line["time"].as_str().and_then(|time| time.get(11..19)).map(escape).unwrap_or_default(),
        outcome,
        line["status"].as_u64().map(|status| status.to_string()).unwrap_or_default(),
        caller(&record["caller"]),
        text(method),
        escape(named.unwrap_or_default()),
        why,
    ];
    let colour = match record["outcome"].as_str() {
        Some("allowed") => Colour::Green,
        Some("refused") => Colour::Red,
        Some("answered") => Colour::Cyan,
        _ => Colour::Yellow,
    };
    let is_refused = record["outcome"] == "refused";
    let message = message(&line, is_refused.then(|| words.of(record)).flatten());
    row(&columns, &message, |outcome| style.paint(colour, &outcome))
}

fn caller(caller: &Value) -> String {
    // Who has no subject is told by what he has.
    let known = ["subject", "kubernetes_user", "api_key", "spiffe_id", "client_id", "kind"]
        .iter()
        .find_map(|field| caller[field].as_str());
    let subject = escape(known.unwrap_or("-"));
    match caller["client_id"].as_str() {
        Some(client) if caller["subject"] != client => format!("{subject} by {}", escape(client)),
        _ => subject,
    }
}

/// What else is worth knowing: what the caller was told, how the upstream answered.
fn message(line: &Value, told: Option<String>) -> String {
    let record = &line["mcp_iap"][0];
    let mut parts = Vec::new();
    parts.extend(told.map(|message| escape(&message)));
    let upstream = record["upstream_status"].as_u64().filter(|status| *status >= 400);
    parts.extend(upstream.map(|status| format!("the upstream answered {status}")));
    let flags = line["flags"].as_str().filter(|flags| !matches!(*flags, "" | "-"));
    parts.extend(flags.map(|flags| {
        let known = FLAGS.iter().find(|(flag, _)| *flag == flags);
        let words = known.map(|(_, words)| format!("{words} ")).unwrap_or_default();
        format!("{words}(Envoy's flags {})", escape(flags))
    }));
    parts.join("; ")
}

/// Envoy's response flags that say why there is no answer of the upstream (Envoy, "Access logging", `%RESPONSE_FLAGS%`).
const FLAGS: &[(&str, &str)] = &[
    ("UF", "the upstream can't be reached"),
    ("UF,URX", "the upstream can't be reached"),
    ("UC", "the upstream broke the connection"),
    ("UPE", "the upstream's answer is no HTTP"),
    ("UT", "the upstream took too long"),
    ("UH", "the upstream's cluster has no healthy host"),
    ("NR", "no route leads there"),
    ("NC", "the route's cluster is not there"),
    ("DC", "the client left"),
];

fn row(columns: &[String; 7], message: &str, paint: impl Fn(String) -> String) -> String {
    let mut line = String::new();
    for (index, (column, width)) in columns.iter().zip(WIDTHS).enumerate() {
        let column = fit(column, width);
        line.push_str(&if index == 1 { paint(column) } else { column });
        line.push_str("  ");
    }
    line.push_str(&columns[6]);
    if !message.is_empty() {
        line.push_str("  ");
        line.push_str(message);
    }
    line
}

/// Cut or filled up to `width`.
fn fit(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{text:width$}");
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLAIN: Style = Style { coloured: false };

    fn record(record: &Value) -> String {
        json!({"time": "2026-11-21T10:20:11.233Z", "status": 403, "flags": "-", "mcp_iap": [record]})
            .to_string()
    }

    #[test]
    fn a_refusal_says_who_what_and_why() {
        let refused = record(
            &json!({"outcome": "refused", "reason": "argument_out_of_range", "rule": "sre-scales",
            "argument": "replicas", "caller": {"subject": "sam", "client_id": "agent"}, "method": "tools/call", "tool": "scale"}),
        );
        assert_eq!(
            line(&refused, &Words::default(), PLAIN),
            "10:20:11  refused   403  sam by agent        tools/call            scale                     argument_out_of_range (sre-scales)  replicas: an argument is out of range"
        );
        assert!(
            line(&refused, &Words::default(), Style { coloured: true })
                .contains("\u{1b}[31mrefused \u{1b}[0m")
        );
    }

    #[test]
    fn what_a_client_chose_is_escaped_and_cut() {
        let evil = "\u{1b}[2J\u{9b}1m\u{202e}\r\n".repeat(20);
        for field in ["outcome", "reason", "rule", "method", "http_method", "tool", "argument", "task"] {
            for style in [PLAIN, Style { coloured: true }] {
                let text = line(
                    &record(
                        &json!({field: evil, "caller": {"subject": evil, "client_id": format!("{evil}x")}}),
                    ),
                    &Words::default(),
                    style,
                );
                let text = text.replace("\u{1b}[33m", "").replace("\u{1b}[0m", "");
                assert!(
                    text.chars().all(|c| c.is_ascii_graphic() || matches!(c, ' ' | '…')),
                    "{field}: {text:?}"
                );
            }
        }
        assert_eq!(line("no json \u{1b}[2J", &Words::default(), PLAIN), "no json \\u{1b}[2J");
    }

    #[test]
    fn a_line_without_record_is_shown_too() {
        let text = json!({"time": "2026-11-21T10:20:11.233Z", "status": 400, "flags": "DPE", "mcp_iap": []})
            .to_string();
        assert!(line(&text, &Words::default(), PLAIN).ends_with(" (Envoy's flags DPE)"));
        let unreachable = text.replace("DPE", "UF");
        assert!(
            line(&unreachable, &Words::default(), PLAIN)
                .ends_with("the upstream can't be reached (Envoy's flags UF)")
        );
        assert!(line("{}", &Words::default(), PLAIN).contains("no reco"));
    }

    #[test]
    fn the_header_stands_above_its_columns() {
        let refused = record(
            &json!({"outcome": "refused", "reason": "r", "method": "m", "tool": "t", "caller": {"subject": "s"}}),
        );
        let refused = line(&refused, &Words::default(), PLAIN);
        for (name, value) in [
            ("OUTCOME", "refused"),
            ("CALLER", "s "),
            ("METHOD", "m "),
            ("TOOL", "t "),
            ("RULE OR REASON", "r"),
        ] {
            let at = header().find(name).unwrap();
            assert!(refused[at..].starts_with(value), "{name}");
        }
    }
}
