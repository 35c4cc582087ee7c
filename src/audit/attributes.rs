//! What rules read of a request beside what each record has (`policy::Attribute`), so that a record can be put to
//! another policy: values as far as they may stand there, and the names of what was absent or does not stand there whole.
//!
//! Where no rule reads such a thing there is nothing here, and nothing is allocated.

use super::MAX_NAME;
use super::arguments::{cut_as_written, plain};
use super::line::Line;
use super::mask::Secrets;
use crate::json::Value;
use crate::policy::{Attribute, Call, Read};
use std::rc::Rc;

/// How many stand in a record.
pub(super) const MAX_ATTRIBUTES: usize = 32;
/// How many elements of a list.
pub(super) const MAX_ELEMENTS: usize = 32;
/// How long all of them are in a record, names and values as they are written, in bytes.
const MAX_BYTES: usize = 4096;

/// Of which arguments it may be told whether they are there, and what they hold.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Whether of all that rules read.
    pub all_arguments: bool,
    /// Those that stand in the record anyway.
    pub clear_arguments: &'a [Rc<str>],
}

impl Shown<'_> {
    /// Whether something of this attribute stands in a record.
    #[must_use]
    pub fn has(&self, attribute: Attribute<'_>) -> bool {
        match attribute {
            Attribute::Claim(_) | Attribute::Header(_) => true,
            Attribute::Argument(name) => self.all_arguments || self.is_clear(name),
        }
    }

    fn is_clear(&self, name: &str) -> bool {
        self.clear_arguments.iter().any(|clear| **clear == *name)
    }
}

/// What rules read.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    values: Line,
    /// The names of all, each once.
    seen: Vec<String>,
    absent: Vec<String>,
    not_whole: Vec<String>,
    masked: Vec<String>,
}

impl Attributes {
    /// `None` where there are none.
    pub(super) fn of(
        reads: &mut dyn Iterator<Item = Attribute<'_>>,
        call: &Call<'_>,
        shown: &Shown<'_>,
        secrets: &Secrets<'_>,
    ) -> Option<Self> {
        let mut all: Option<Self> = None;
        let mut room = MAX_BYTES;
        for attribute in reads.filter(|attribute| shown.has(*attribute)) {
            let is_told = |all: &Self| all.seen.iter().any(|name| attribute.is_named(name));
            if all.as_ref().is_some_and(is_told) {
                continue;
            }
            let name = attribute.to_string();
            // A name counts twice at most: with its value, and among those that are not whole or masked.
            let Some(left) = room.checked_sub(name.len()).filter(|_| name.len() <= MAX_NAME) else {
                continue;
            };
            room = left;
            let all = all.get_or_insert_with(Self::none);
            if all.seen.len() >= MAX_ATTRIBUTES {
                break;
            }
            all.seen.push(name.clone());
            all.add(name, attribute, attribute.read(call), shown, secrets, &mut room);
        }
        all
    }

    fn none() -> Self {
        let [seen, absent, not_whole, masked] = [const { Vec::new() }; 4];
        Self { values: Line::part(), seen, absent, not_whole, masked }
    }

    fn add(
        &mut self,
        name: String,
        attribute: Attribute<'_>,
        read: Read<'_>,
        shown: &Shown<'_>,
        secrets: &Secrets<'_>,
        room: &mut usize,
    ) {
        let is_clear = matches!(attribute, Attribute::Argument(argument) if shown.is_clear(argument));
        let is_named = secrets.masks.has_attribute(&name)
            || matches!(attribute, Attribute::Argument(argument) if secrets.masks.has_name(argument));
        let shown = match read {
            Read::Absent => return self.absent.push(name),
            // It stands in the record already.
            Read::Argument(_) if is_clear => return,
            _ if is_named => Some(Seen::masked(Value::from(&*secrets.masks.mask))),
            Read::Unclear => None,
            Read::Text(text) => Some(Seen::text(text, secrets)),
            Read::Claim(value) => Seen::of(value, secrets),
            Read::Argument(raw) => plain(raw).and_then(|value| {
                // A number may stand there as a text: which it was is not told by that.
                let is_whole = value.is_string() == raw.starts_with(b"\"");
                Seen::of(&value, secrets).map(|seen| Seen { is_whole: seen.is_whole && is_whole, ..seen })
            }),
        };
        let Some(Seen { value, is_masked, is_whole }) = shown else { return self.not_whole.push(name) };
        if !self.values.within(room, |line| line.value(&name, &value)) {
            return self.not_whole.push(name);
        }
        if is_masked {
            self.masked.push(name);
        } else if !is_whole {
            self.not_whole.push(name);
        }
    }

    /// In which of the values something is masked.
    pub(super) fn masked(&self) -> &[String] {
        &self.masked
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.absent.is_empty() && self.not_whole.is_empty()
    }

    pub(super) fn write(&self, line: &mut Line) {
        let Self { values, seen: _, absent, not_whole, masked: _ } = self;
        if !values.is_empty() {
            line.written("values", values);
        }
        for (name, names) in [("absent", absent), ("not_whole", not_whole)] {
            if !names.is_empty() {
                line.texts(name, names.iter().map(String::as_str));
            }
        }
    }
}

/// A value as it stands in a record.
struct Seen {
    value: Value,
    /// Whether something of it does not, which is secret.
    is_masked: bool,
    /// Whether all of it does.
    is_whole: bool,
}

impl Seen {
    fn masked(value: Value) -> Self {
        Self { value, is_masked: true, is_whole: false }
    }

    fn text(text: &str, secrets: &Secrets<'_>) -> Self {
        match secrets.hide(text) {
            Some(hidden) => Self::masked(Value::from(cut_as_written(&hidden))),
            None => {
                let kept = cut_as_written(text);
                Self { value: Value::from(kept), is_masked: false, is_whole: kept.len() == text.len() }
            }
        }
    }

    /// Of a value that is no object, and no list of lists or objects.
    fn of(value: &Value, secrets: &Secrets<'_>) -> Option<Self> {
        let Value::Array(elements) = value else { return Self::of_one(value, secrets) };
        let mut list =
            Self { value: Value::Null, is_masked: false, is_whole: elements.len() <= MAX_ELEMENTS };
        let mut kept = Vec::new();
        for element in elements.iter().take(MAX_ELEMENTS) {
            let Self { value, is_masked, is_whole } = Self::of_one(element, secrets)?;
            kept.push(value);
            list.is_masked |= is_masked;
            list.is_whole &= is_whole;
        }
        Some(Self { value: Value::Array(kept), ..list })
    }

    fn of_one(value: &Value, secrets: &Secrets<'_>) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::text(text, secrets)),
            Value::Number(number) => Some(match secrets.hide(&number.to_string()) {
                Some(hidden) => Self::masked(Value::from(cut_as_written(&hidden))),
                None => Self { value: value.clone(), is_masked: false, is_whole: true },
            }),
            Value::Bool(_) | Value::Null => {
                Some(Self { value: value.clone(), is_masked: false, is_whole: true })
            }
            Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mask::{Form, Masks};
    use super::*;
    use crate::head::Head;
    use crate::identity::Caller;
    use crate::mcp::Arguments;
    use crate::policy::Pattern;
    use Attribute::{Argument, Claim, Header};
    use proptest::prelude::*;
    use serde_json::json;

    /// As it stands in a record, and what of it is masked.
    fn written(
        reads: &[Attribute<'_>],
        claims: &[(&str, Value)],
        arguments: &[(&str, &str)],
        (all_arguments, clear): (bool, &[&str]),
        masks: &Masks,
    ) -> (Value, Vec<String>) {
        let claims = claims.iter().map(|(path, value)| (Rc::from(*path), value.clone())).collect();
        let caller = Caller::default().with_claims(claims);
        let head = Head::from_pairs([("x-device", "managed"), ("x-two", "a"), ("x-two", "b")]);
        let arguments = Arguments::from_pairs(arguments.to_vec());
        let call = Call { head: Some(&head), ..Call::of(&caller).to(&[], &arguments) };
        let clear: Vec<Rc<str>> = clear.iter().map(|name| Rc::from(*name)).collect();
        let shown = Shown { all_arguments, clear_arguments: &clear };
        let secrets = masks.and(Some("opaque-token"));
        let Some(attributes) = Attributes::of(&mut reads.iter().copied(), &call, &shown, &secrets) else {
            return (Value::Null, Vec::new());
        };
        let mut line = Line::part();
        attributes.write(&mut line);
        let text = line.end();
        assert!(text.len() <= 2 * MAX_BYTES, "{}", text.len());
        (serde_json::from_str(&text).unwrap(), attributes.masked)
    }

    #[test]
    fn what_is_read_stands_there_and_what_is_absent_is_named() {
        let claims = [
            ("team", json!("a")),
            ("level", json!(3)),
            ("ratio", json!(0.5)),
            ("active", json!(true)),
            ("none", json!(null)),
            ("roles", json!(["a", 1, null])),
            ("address", json!({"city": "x"})),
            ("deep", json!([["x"]])),
            ("not_read", json!("x")),
        ];
        let reads = [
            Claim("team"),
            Claim("level"),
            Claim("ratio"),
            Claim("active"),
            Claim("none"),
            Claim("roles"),
            Claim("address"),
            Claim("deep"),
            Claim("gone"),
            Claim("team"),
            Header("x-device"),
            Header("x-two"),
            Header("x-gone"),
            Argument("namespace"),
        ];
        let (seen, masked) =
            written(&reads, &claims, &[("namespace", "\"web\"")], (false, &[]), &Masks::none());
        let wanted = json!({
            "values": {"claims.team": "a", "claims.level": 3, "claims.ratio": 0.5, "claims.active": true,
                "claims.none": null, "claims.roles": ["a", 1, null], "headers.x-device": "managed"},
            "absent": ["claims.gone", "headers.x-gone"],
            "not_whole": ["claims.address", "claims.deep", "headers.x-two"],
        });
        assert_eq!((seen, masked), (wanted, Vec::new()));
        assert_eq!(written(&[], &claims, &[], (true, &[]), &Masks::none()).0, Value::Null);
    }

    /// Arguments are secret unless they are listed, or all that rules read shall stand there.
    #[test]
    fn arguments_stand_there_where_that_is_wanted() {
        let arguments = [
            ("secret", "\"s\""),
            ("clear", "\"c\""),
            ("n", "7"),
            ("fraction", "5.0"),
            ("list", "[1]"),
            ("Other", "1"),
        ];
        let reads = ["secret", "clear", "n", "fraction", "list", "other", "gone", "lost"].map(Argument);
        let seen = |all, clear: &[&str]| written(&reads, &[], &arguments, (all, clear), &Masks::none()).0;
        assert_eq!(seen(false, &[]), Value::Null);
        assert_eq!(seen(false, &["clear"]), json!({}));
        assert_eq!(seen(false, &["clear", "gone"]), json!({"absent": ["arguments.gone"]}));
        let wanted = json!({
            "values": {"arguments.secret": "s", "arguments.n": 7, "arguments.fraction": "5.0"},
            "absent": ["arguments.gone", "arguments.lost"],
            "not_whole": ["arguments.fraction", "arguments.list", "arguments.other"],
        });
        assert_eq!(seen(true, &["clear"]), wanted);
    }

    #[test]
    fn secrets_are_masked_by_name_and_by_form() {
        let masks = Masks {
            forms: vec![Form::new("AKIA*"), Form::new("4111")],
            names: vec![Pattern::new("pin")],
            attributes: vec![Pattern::new("claims.ssn"), Pattern::new("headers.x-d*")],
            ..Masks::none()
        };
        let claims = [
            ("SSN", json!({"a": 1})),
            ("key", json!("x AKIA1")),
            ("card", json!(41_110)),
            ("list", json!(["a", "my opaque-token", 4111])),
            ("jwt", json!("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkYW5hIn0.c2ln")),
        ];
        let reads = [
            Claim("SSN"),
            Claim("key"),
            Claim("card"),
            Claim("list"),
            Claim("jwt"),
            Header("x-device"),
            Argument("Pin"),
        ];
        let (seen, masked) = written(&reads, &claims, &[("Pin", "1234")], (true, &[]), &masks);
        let mask = "***REDACTED***";
        assert_eq!(
            seen,
            json!({"values": {"claims.SSN": mask, "claims.key": format!("x {mask}"), "claims.card": format!("{mask}0"),
                "claims.list": ["a", format!("my {mask}"), mask], "claims.jwt": mask, "headers.x-device": mask,
                "arguments.Pin": mask}})
        );
        assert_eq!(masked.len(), reads.len());
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let names: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
        let reads: Vec<_> = names.iter().map(|name| Claim(name)).collect();
        let of = |value: Value| {
            let claims: Vec<_> = names.iter().map(|name| (name.as_str(), value.clone())).collect();
            written(&reads, &claims, &[], (false, &[]), &Masks::none()).0
        };
        let count = |seen: &Value, part: &str| {
            seen[part]
                .as_object()
                .map_or_else(|| seen[part].as_array().map_or(0, Vec::len), serde_json::Map::len)
        };
        let few = of(json!(1));
        assert_eq!((count(&few, "values"), count(&few, "not_whole")), (MAX_ATTRIBUTES, 0));
        let long = of(json!("é\u{1b}".repeat(300)));
        assert!((10..20).contains(&count(&long, "values")), "{long}");
        assert!((25..=MAX_ATTRIBUTES).contains(&count(&long, "not_whole")), "{long}");
        let lists = of(Value::from(vec!["x".repeat(100); 33]));
        assert_eq!(lists["values"]["claims.c0"].as_array().map(Vec::len), Some(32));
        assert_eq!(count(&lists, "values"), 1);
        assert!((25..=MAX_ATTRIBUTES).contains(&count(&lists, "not_whole")), "{lists}");
        let long_name = "n".repeat(MAX_NAME);
        assert_eq!(written(&[Claim(&long_name)], &[], &[], (false, &[]), &Masks::none()).0, Value::Null);
    }

    proptest! {
        #[test]
        fn whatever_is_read_the_part_is_json_and_bounded(
            texts in proptest::collection::vec(any::<String>(), 0..40),
            long in 0..400_usize,
        ) {
            let names: Vec<String> = (0..texts.len()).map(|number| format!("\"c{number}\\")).collect();
            let reads: Vec<_> = names.iter().map(|name| Claim(name)).collect();
            let claims: Vec<_> =
                names.iter().zip(&texts).map(|(name, text)| (name.as_str(), json!(text.repeat(long)))).collect();
            written(&reads, &claims, &[], (false, &[]), &Masks::none());
        }
    }
}
