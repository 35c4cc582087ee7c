//! One line of the access log as one line for people.

use super::terminal::{Colour, Style, escape};
use super::words::Words;
use crate::audit::entry::{Around, Line, read};
use mcp_iap::audit::{CallerDocument, Document};

/// Widths of the columns between the first and the last two, in characters.
const WIDTHS: [usize; 5] = [8, 3, 18, 20, 24];

/// How much of a time is shown.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The hour: of what is now.
    Time,
    /// The day as well.
    Date,
}

impl Clock {
    fn width(self) -> usize {
        match self {
            Self::Time => 8,
            Self::Date => 19,
        }
    }

    /// Of an instant as RFC 3339 writes it.
    fn show(self, time: &str) -> String {
        let shown = match self {
            Self::Time => time.get(11..19),
            Self::Date => time.get(..19),
        };
        escape(&shown.unwrap_or(time).replace('T', " "))
    }
}

/// The head of the columns.
pub fn header(clock: Clock) -> String {
    let names = ["TIME", "OUTCOME", "", "CALLER", "METHOD", "TOOL", "RULE OR REASON, MESSAGE"];
    row(&names.map(str::to_owned), "", clock, |outcome| outcome)
}

/// A line of the access log. One that is none is shown as it is.
pub fn line(text: &str, words: &Words, style: Style) -> String {
    match read(text.as_bytes()) {
        Line::Entry(entry) => decision(&entry.around, Some(&entry.record), words, Clock::Time, style),
        Line::WithoutRecord(around) => decision(&around, None, words, Clock::Time, style),
        Line::OtherSchema(_) | Line::Unknown(_) => escape(text),
    }
}

/// A decision, and what Envoy says of the request.
pub fn decision(
    around: &Around,
    record: Option<&Document>,
    words: &Words,
    clock: Clock,
    style: Style,
) -> String {
    let text = |text: Option<&str>| escape(text.unwrap_or_default());
    let outcome = record.map(|record| record.outcome.as_str());
    let (is_allowed, is_refused) = (outcome == Some("allowed"), outcome == Some("refused"));
    let why = record.map(|record| match &record.rule {
        Some(rule) if is_allowed => escape(rule),
        Some(rule) => format!("{} ({})", escape(&record.reason), escape(rule)),
        None => escape(&record.reason),
    });
    let columns = [
        around.time.as_deref().map(|time| clock.show(time)).unwrap_or_default(),
        outcome.map_or_else(|| "-".to_owned(), escape),
        around.status.map(|status| status.to_string()).unwrap_or_default(),
        caller(record.and_then(|record| record.caller.as_ref())),
        text(record.and_then(|record| record.method.as_deref().or(record.http_method.as_deref()))),
        text(record.and_then(|record| Some(record.operand()?.1))),
        why.unwrap_or_else(|| without(around)),
    ];
    let colour = match outcome {
        Some("allowed") => Colour::Green,
        Some("refused") => Colour::Red,
        Some("answered") => Colour::Cyan,
        _ => Colour::Yellow,
    };
    let told = record.filter(|_| is_refused).and_then(|record| words.of(record));
    let id = record.filter(|_| is_refused && matches!(clock, Clock::Time)).map(|record| &*record.decision);
    let message = message(around, record, told, id);
    row(&columns, &message, clock, |outcome| style.paint(colour, &outcome))
}

/// Of a request without a record, Envoy's word for how it ended.
fn without(around: &Around) -> String {
    around.details.as_deref().map_or("no record".to_owned(), |end| format!("no record ({})", escape(end)))
}

fn caller(caller: Option<&CallerDocument>) -> String {
    let Some(caller) = caller else { return "-".to_owned() };
    let name = escape(caller.name());
    match caller.client_id.as_deref() {
        Some(client) if caller.subject.as_deref() != Some(client) => format!("{name} by {}", escape(client)),
        _ => name,
    }
}

/// What else is worth knowing: what the caller was told, how the upstream answered, and by which `id` the refusal that is
/// just seen is found again.
fn message(around: &Around, record: Option<&Document>, told: Option<String>, id: Option<&str>) -> String {
    let mut parts = Vec::new();
    parts.extend(told.map(|message| escape(&message)));
    let upstream = record.and_then(|record| record.upstream_status).filter(|status| *status >= 400);
    parts.extend(upstream.map(|status| format!("the upstream answered {status}")));
    parts.extend(around.flags.as_deref().map(|flags| {
        let known = FLAGS.iter().find(|(flag, _)| *flag == flags);
        let words = known.map(|(_, words)| format!("{words} ")).unwrap_or_default();
        format!("{words}(Envoy's flags {})", escape(flags))
    }));
    parts.extend(id.map(|id| format!("decision {}", escape(id))));
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

fn row(columns: &[String; 7], message: &str, clock: Clock, paint: impl Fn(String) -> String) -> String {
    let mut line = String::new();
    for (index, (column, width)) in columns.iter().zip([clock.width()].into_iter().chain(WIDTHS)).enumerate()
    {
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
    use serde_json::{Value, json};

    const PLAIN: Style = Style { coloured: false };

    fn record(record: &Value) -> String {
        let mut whole = json!({"schema": 1, "decision": "d", "outcome": "aborted", "reason": "r", "caller": {"groups": []}});
        for (name, value) in record.as_object().unwrap() {
            match (&mut whole[name], value) {
                (Value::Object(known), Value::Object(more)) => known.extend(more.clone()),
                (place, value) => *place = value.clone(),
            }
        }
        json!({"time": "2026-11-21T10:20:11.233Z", "status": 403, "flags": "-", "mcp_iap": [whole]})
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
            "10:20:11  refused   403  sam by agent        tools/call            scale                     argument_out_of_range (sre-scales)  replicas: an argument is out of range; decision d"
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
        assert!(line("{\"mcp_iap\":[]}", &Words::default(), PLAIN).contains("no record"));
        assert_eq!(line("{}", &Words::default(), PLAIN), "{}");
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
            let at = header(Clock::Time).find(name).unwrap();
            assert!(refused[at..].starts_with(value), "{name}");
        }
    }
}
