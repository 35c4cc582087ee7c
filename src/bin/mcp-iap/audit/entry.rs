//! One line of the access log: what Envoy wrote around the record, and the record. What Envoy writes is the
//! operator's to change, so of that nothing need be there.

use mcp_iap::audit::Document;
use mcp_iap::policy::parse_instant;
use serde::de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::fmt;

/// The version of records that is known here.
const KNOWN_SCHEMA: u32 = mcp_iap::audit::SCHEMA;

/// A line with a record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What Envoy wrote around it.
    pub around: Around,
    pub record: Document,
}

/// A line of the access log, with a record or without one.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What Envoy wrote.
    pub around: Around,
    /// What the filter wrote, where it saw the request.
    pub record: Option<Document>,
}

impl Seen {
    /// The line, if it has a record.
    pub fn into_entry(self) -> Option<Entry> {
        let Self { around, record } = self;
        Some(Entry { around, record: record? })
    }
}

impl From<Entry> for Seen {
    fn from(entry: Entry) -> Self {
        Self { around: entry.around, record: Some(entry.record) }
    }
}

/// Members of the line beside the record (docs/audit.md, "The line").
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// When the request began, RFC 3339, as it is written.
    pub time: Option<String>,
    /// The same in milliseconds since the epoch.
    pub millis: Option<i64>,
    /// HTTP status that the client got; 0 where it got none.
    pub status: Option<u16>,
    /// The client's address.
    pub source: Option<String>,
    /// Envoy's response flags.
    pub flags: Option<String>,
    /// Envoy's word for how the request ended.
    pub details: Option<String>,
}

/// What a line is.
#[derive(Debug)]
pub enum Line {
    /// A record, and what stands around it.
    Entry(Box<Entry>),
    /// A line of the access log, of a request for which there is no record.
    WithoutRecord(Around),
    /// A record of another version than the one that is known here.
    OtherSchema(u32),
    /// Nothing that is known here; why.
    Unknown(String),
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    time: Value,
    #[serde(default)]
    status: Value,
    #[serde(default)]
    source: Value,
    #[serde(default)]
    flags: Value,
    #[serde(default)]
    details: Value,
    mcp_iap: Option<Records>,
}

/// The list with one record or none; the record as it is; or as a text, where it stands in a `json_format`.
struct Records(Option<Box<Document>>);

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RecordsVisitor)
    }
}

struct RecordsVisitor;

impl<'de> Visitor<'de> for RecordsVisitor {
    type Value = Records;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record, or a list of one")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Records, A::Error> {
        let first = seq.next_element()?;
        if seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
            return Err(serde::de::Error::custom("several records"));
        }
        Ok(Records(first))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Records, A::Error> {
        Document::deserialize(MapAccessDeserializer::new(map)).map(|record| Records(Some(Box::new(record))))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Records, E> {
        if text.is_empty() {
            return Ok(Records(None));
        }
        let record = serde_json::from_str(text).map_err(E::custom)?;
        Ok(Records(Some(record)))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Records, E> {
        Ok(Records(None))
    }
}

/// Reads a line.
pub fn read(line: &[u8]) -> Line {
    let unknown = |error: serde_json::Error| {
        // Of one line the number is always the same.
        let why = error.to_string().replace(" at line 1 column", " at column");
        Line::Unknown(format!("is no line of the access log: {why}"))
    };
    let members: Members = match serde_json::from_slice(line) {
        Ok(members) => members,
        Err(error) => return unknown(error),
    };
    let Members { time, status, source, flags, details, mcp_iap } = members;
    let text = |value: Value| if let Value::String(text) = value { Some(text) } else { None };
    let time = text(time);
    let status = status.as_u64().or_else(|| status.as_str()?.parse().ok());
    let around = Around {
        millis: time.as_deref().and_then(millis),
        time,
        status: status.and_then(|status| u16::try_from(status).ok()),
        source: text(source),
        flags: text(flags).filter(|flags| !matches!(flags.as_str(), "" | "-")),
        details: text(details).filter(|details| !matches!(details.as_str(), "" | "-")),
    };
    let record = match mcp_iap {
        Some(Records(Some(record))) => *record,
        Some(Records(None)) => return Line::WithoutRecord(around),
        None => match serde_json::from_slice(line) {
            Ok(record) => record,
            Err(error) => return unknown(error),
        },
    };
    if record.schema != KNOWN_SCHEMA {
        return Line::OtherSchema(record.schema);
    }
    Line::Entry(Box::new(Entry { around, record }))
}

/// An instant with or without a fraction of a second, in milliseconds since the epoch.
pub fn millis(text: &str) -> Option<i64> {
    let (seconds, fraction) = match text.split_once('.') {
        Some((seconds, rest)) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (digits, zone) = rest.split_at(end);
            let thousandths = format!("{digits:0<3}").get(..3)?.parse::<i64>().ok()?;
            (parse_instant(&format!("{seconds}{zone}"))?, thousandths)
        }
        None => (parse_instant(text)?, 0),
    };
    seconds.checked_mul(1000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"schema":1,"decision":"d","outcome":"allowed","reason":"allowed"}"#;

    fn entry(line: &str) -> Entry {
        match read(line.as_bytes()) {
            Line::Entry(entry) => *entry,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_record_is_found_however_it_stands_in_its_line() {
        let quoted = serde_json::to_string(RECORD).unwrap();
        for line in [
            RECORD.to_owned(),
            format!("{{\"mcp_iap\":[{RECORD}]}}"),
            format!("{{\"mcp_iap\":{RECORD}}}"),
            format!("{{\"mcp_iap\":{quoted}}}"),
            format!("{{\"other\":[1],\"mcp_iap\":[{}]}}", RECORD.replace('}', ",\"later_field\":1}")),
        ] {
            assert_eq!(entry(&line).record.decision, "d", "{line}");
        }
        let line =
            format!(r#"{{"time":"1970-01-01T00:00:01.5Z","status":"403","flags":"-","mcp_iap":[{RECORD}]}}"#);
        let Around { millis, status, flags, .. } = entry(&line).around;
        assert_eq!((millis, status, flags), (Some(1500), Some(403), None));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [r#"{"mcp_iap":[]}"#, r#"{"mcp_iap":""}"#, r#"{"status":400,"mcp_iap":[]}"#] {
            assert!(matches!(read(line.as_bytes()), Line::WithoutRecord(_)), "{line}");
        }
        for line in [
            String::new(),
            "{}".to_owned(),
            "[2026-11-21] started".to_owned(),
            "{\"mcp_iap\":[1]}".to_owned(),
            "{\"mcp_iap\":[{}]}".to_owned(),
            format!("{{\"mcp_iap\":[{RECORD},{RECORD}]}}"),
            format!("{{\"mcp_iap\":[{RECORD}],\"mcp_iap\":[]}}"),
            format!("{{\"mcp_iap\":[{RECORD}]"),
            "[".repeat(100_000),
        ] {
            assert!(matches!(read(line.as_bytes()), Line::Unknown(_)), "{line}");
        }
        let newer = RECORD.replace("\"schema\":1", "\"schema\":2");
        assert!(matches!(read(newer.as_bytes()), Line::OtherSchema(2)));
        assert!(matches!(read(b"{\"mcp_iap\":[{\"decision\":\"\xff\"}]}"), Line::Unknown(_)));
    }

    #[test]
    fn fractions_count_to_the_millisecond() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:00.1Z", Some(100)),
            ("1970-01-01T00:00:00.1239Z", Some(123)),
            ("1970-01-01T01:00:00.001+01:00", Some(1)),
            ("1970-01-01T00:00:00.Z", Some(0)),
            ("1970-01-01T00:00:00.5", None),
            ("noon", None),
        ] {
            assert_eq!(millis(text), wanted, "{text}");
        }
    }
}
