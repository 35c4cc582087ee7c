//! YAML 1.2, of which JSON is a part, read into one value.
//!
//! What readers of YAML take in different ways is refused: a name twice, tags, merge keys, and plain scalars
//! that are a number to one reader and a text to another (`0127`, `1_000`, `0x1f`). Aliases are copies, and what
//! they grow to is bounded.

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, options};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// How many nodes a document may have, those of an alias counted wherever it stands.
const MAX_NODES: usize = 250_000;
/// How many bytes of text its aliases may stand for, all together.
const MAX_COPIED: usize = 4 * 1024 * 1024;
/// How deep lists and mappings may stand in each other.
const MAX_DEPTH: usize = 64;

/// Why a text is no YAML, or none that is read here.
#[derive(Debug)]
pub struct Fault {
    /// From 1.
    line: usize,
    /// From 1.
    column: usize,
    message: Cow<'static, str>,
}

impl Fault {
    fn new(place: Marker, message: impl Into<Cow<'static, str>>) -> Self {
        Self { line: place.line(), column: place.col().saturating_add(1), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}: {}", self.line, self.column, self.message)
    }
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        Self::new(*error.marker(), error.info())
    }
}

/// Reads the only document of `text`; `null` if there is none.
///
/// # Errors
/// The first fault, with its place.
pub fn read(text: &str) -> Result<Value, Fault> {
    // Line breaks of YAML 1.1, which YAML 1.2 has not: behind one of them, what is a comment here is a rule to another.
    if let Some(at) = text.find(['\u{85}', '\u{2028}', '\u{2029}']) {
        let before = text.get(..at).unwrap_or_default();
        let (line, column) = (before.matches('\n').count(), before.rsplit('\n').next().unwrap_or_default());
        let message = "a line break of YAML 1.1 (U+0085, U+2028 or U+2029) may hide what follows".into();
        return Err(Fault {
            line: line.saturating_add(1),
            column: column.chars().count().saturating_add(1),
            message,
        });
    }
    let options = options! { flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    let mut reading = Reading::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event?;
        reading.take(event).map_err(|message| Fault::new(span.start, message))?;
    }
    Ok(reading.document.unwrap_or_default())
}

/// A list or mapping whose end has not come, and its anchor; 0 is none.
enum Open {
    List(usize, Vec<Value>),
    Mapping(usize, Map<String, Value>, Option<String>),
}

#[derive(Default)]
struct Reading {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Value>,
    nodes: usize,
    copied: usize,
    has_begun: bool,
    document: Option<Value>,
}

type Message = Cow<'static, str>;

impl Reading {
    fn take(&mut self, event: Event<'_>) -> Result<(), Message> {
        match event {
            Event::DocumentStart(..) if self.has_begun => Err("multiple YAML documents detected".into()),
            Event::DocumentStart(..) => {
                self.has_begun = true;
                Ok(())
            }
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(.., Some(_))
            | Event::MappingStart(.., Some(_)) => Err("tags are not read".into()),
            Event::Scalar(text, style, anchor, None) => match self.open.last_mut() {
                Some(Open::Mapping(_, members, name @ None)) => {
                    *name = Some(new_name(&text, style, members)?);
                    Ok(())
                }
                _ if style == ScalarStyle::Plain => self.put(anchor, plain(&text)?),
                _ => self.put(anchor, Value::String(text.into_owned())),
            },
            Event::SequenceStart(_, anchor, None) => self.enter(Open::List(anchor, Vec::new())),
            Event::MappingStart(_, anchor, None) => self.enter(Open::Mapping(anchor, Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(anchor, elements)) => self.put(anchor, Value::Array(elements)),
                Some(Open::Mapping(anchor, members, _)) => self.put(anchor, Value::Object(members)),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                self.no_name()?;
                // What is still open has no value yet.
                let value = self.anchors.get(&anchor).ok_or("an alias stands within what it names")?;
                let Size { nodes, depth, bytes } = measure(value);
                if self.open.len().saturating_add(depth) > MAX_DEPTH {
                    return Err("is nested too deep by aliases".into());
                }
                self.copied = self.copied.saturating_add(bytes);
                if self.copied > MAX_COPIED {
                    return Err("aliases stand for more than 4 MiB".into());
                }
                self.nodes = self.nodes.saturating_add(nodes);
                let value = value.clone();
                self.put(0, value)
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, open: Open) -> Result<(), Message> {
        self.no_name()?;
        self.open.push(open);
        Ok(())
    }

    /// Where a name is due, only a text may stand.
    fn no_name(&self) -> Result<(), Message> {
        match self.open.last() {
            Some(Open::Mapping(_, _, None)) => Err("a name in a mapping is no text".into()),
            _ => Ok(()),
        }
    }

    /// A value that is whole.
    fn put(&mut self, anchor: usize, value: Value) -> Result<(), Message> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            return Err(format!("there are more than {MAX_NODES} values").into());
        }
        if anchor != 0 {
            self.nodes = self.nodes.saturating_add(measure(&value).nodes);
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            Some(Open::List(_, elements)) => elements.push(value),
            Some(Open::Mapping(_, members, name)) => {
                members.insert(name.take().unwrap_or_default(), value);
            }
            None => self.document = Some(value),
        }
        Ok(())
    }
}

fn new_name(text: &str, style: ScalarStyle, members: &Map<String, Value>) -> Result<String, Message> {
    match text {
        "" | "~" | "null" if style == ScalarStyle::Plain => Err("a name in a mapping is no text".into()),
        "<<" if style == ScalarStyle::Plain => Err("merge keys are not read".into()),
        _ if members.contains_key(text) => Err(format!("duplicate mapping key: {text}").into()),
        _ => Ok(text.to_owned()),
    }
}

/// A scalar without quotes (YAML 1.2.2, 10.3.2), of whose numbers those of JSON are read.
fn plain(text: &str) -> Result<Value, Message> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text) {
            Some(number) => Value::Number(number),
            None if looks_numeric(text) => {
                return Err(format!("`{text}` may be read as a number or as a text").into());
            }
            None => Value::String(text.to_owned()),
        },
    })
}

fn number(text: &str) -> Option<Number> {
    let is_due = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    serde_json::from_str(text).ok().filter(|_| is_due)
}

/// Whether some reader of YAML 1.1 or 1.2 takes it for a number.
fn looks_numeric(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let radix = ["0x", "0X", "0o", "0O", "0b", "0B"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    if let Some(rest) = radix {
        return rest.bytes().all(|byte| byte == b'_' || byte.is_ascii_hexdigit());
    }
    let special = [".inf", ".nan"].iter().any(|name| digits.eq_ignore_ascii_case(name));
    let begins = digits.trim_start_matches('.').starts_with(|first: char| first.is_ascii_digit());
    special || begins && digits.replace('_', "").parse::<f64>().is_ok()
}

/// Of a value: how many nodes are in it, itself not counted, how deep they stand, and how long its texts are.
#[derive(Default)]
struct Size {
    nodes: usize,
    depth: usize,
    bytes: usize,
}

fn measure(value: &Value) -> Size {
    let mut size = Size::default();
    let mut add = |name: &str, value: &Value| {
        let inner = measure(value);
        size.nodes = size.nodes.saturating_add(inner.nodes).saturating_add(1);
        size.depth = size.depth.max(inner.depth);
        size.bytes = size.bytes.saturating_add(inner.bytes).saturating_add(name.len());
    };
    match value {
        Value::Array(elements) => elements.iter().for_each(|value| add("", value)),
        Value::Object(members) => members.iter().for_each(|(name, value)| add(name, value)),
        Value::String(text) => return Size { bytes: text.len(), ..size },
        _ => return size,
    }
    Size { depth: size.depth.saturating_add(1), ..size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn reads_what_authors_write() {
        let text = "# c\na: &x [1, -2.5, 'q', \"\\u00e9\", yes, ~, true]\nb: *x\nc:\n  d: |\n    two\n    lines\n\
                    e: 10.0.0.0/8\nf: 2026-12-20\ng: 09:30\nh: 1.2.3\ni: 1h\nj: e5\nk: -\n";
        let list = json!([1, -2.5, "q", "é", "yes", null, true]);
        let value = json!({
            "a": list, "b": list, "c": {"d": "two\nlines\n"}, "e": "10.0.0.0/8", "f": "2026-12-20",
            "g": "09:30", "h": "1.2.3", "i": "1h", "j": "e5",
        });
        assert_eq!(read(text.trim_end_matches("k: -\n")).unwrap(), value);
        assert_eq!(read("# nothing\n").unwrap(), Value::Null);
        // What its author is told to write for a line break of YAML 1.1.
        assert_eq!(read("a: \"\\N\\L\\P\"").unwrap(), json!({"a": "\u{85}\u{2028}\u{2029}"}));
    }

    #[test]
    fn refuses_what_readers_take_in_different_ways() {
        let cases = [
            ("a: 0127", "line 1 column 4: `0127` may be read as a number or as a text"),
            ("a: 1_000", "`1_000` may be"),
            ("a: +1", "`+1` may be"),
            ("a: 0x1f", "`0x1f` may be"),
            ("a: 0o17", "`0o17` may be"),
            ("a: .5", "`.5` may be"),
            ("a: 1.", "`1.` may be"),
            ("a: .inf", "`.inf` may be"),
            ("a: -.NaN", "`-.NaN` may be"),
            ("a: 1e999", "`1e999` may be"),
            ("a: !!str 1", "line 1 column 10: tags are not read"),
            ("a: !x [1]", "tags are not read"),
            ("b: &x {c: 1}\na:\n  <<: *x", "line 3 column 3: merge keys are not read"),
            ("{a: 1, b: 2, \"a\": 3}", "line 1 column 14: duplicate mapping key: a"),
            ("? [a]\n: b", "a name in a mapping is no text"),
            ("~: b", "a name in a mapping is no text"),
            ("a: &x 1\n*x : 2", "a name in a mapping is no text"),
            ("a: &x [*x]", "line 1 column 8: an alias stands within what it names"),
            ("a: 1\n---\nb: 2", "multiple YAML documents detected"),
            ("a: 1\nb: 2 # c\u{2028}d: 3", "line 2 column 9: a line break of YAML 1.1"),
            ("a: 1 # c\u{85}b: 2", "a line break of YAML 1.1"),
            ("a: 'x\u{2029}y'", "a line break of YAML 1.1"),
        ];
        for (text, message) in cases {
            let fault = read(text).unwrap_err().to_string();
            assert!(fault.contains(message), "{text:?}: {fault}");
        }
    }

    #[test]
    fn aliases_of_aliases_are_bounded() {
        let level = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
        let bomb: String = (1..9).map(level).collect();
        let fault = read(&format!("a0: &a0 [1]\n{bomb}")).unwrap_err().to_string();
        assert!(fault.contains("more than 250000 values"), "{fault}");
        let level = |n: usize| format!("a{n}: &a{n} [[[[*a{}]]]]\n", n - 1);
        let deep: String = (1..20).map(level).collect();
        let fault = read(&format!("a0: &a0 [1]\n{deep}")).unwrap_err().to_string();
        assert!(fault.contains("nested too deep by aliases"), "{fault}");
        let text = "x".repeat(100_000);
        let fault =
            read(&format!("a: &x {text}\nb: [{}]", vec!["*x"; 100].join(","))).unwrap_err().to_string();
        assert!(fault.contains("aliases stand for more than 4 MiB"), "{fault}");
        let fault = read(&"[".repeat(100)).unwrap_err().to_string();
        assert!(fault.contains("recursion limit"), "{fault}");
    }

    proptest! {
        #[test]
        fn json_reads_as_json(text in r#"[\[\]{}:, "a-c0-3.eE+\-]{0,24}"#) {
            if let Ok(value) = crate::json::parse(text.as_bytes()) {
                prop_assert_eq!(read(&text).unwrap(), value);
            }
        }
    }
}
