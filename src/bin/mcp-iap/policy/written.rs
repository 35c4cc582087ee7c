//! Cases as a file has them: where the caller or the call is a list, one entry is a case for each of its combinations,
//! with a name that tells which.

use super::case::{Case, Expected, What, Who};
use mcp_iap::config::yaml;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::PathBuf;

/// How much of the arguments a name shows, in characters.
const SHOWN: usize = 60;

/// Cases for a policy, as `mcp-iap test` and `mcp-iap explain` take them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "mcp-iap cases")]
pub struct File {
    /// The document whose rules are asked, seen from this file.
    policy: Option<PathBuf>,
    cases: Vec<Entry>,
}

/// A call, or several, and what is expected of each.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// What is shown.
    name: String,
    /// Which resource, where the document has several.
    resource: Option<String>,
    /// Who calls; a list is a case for each.
    #[serde(default)]
    caller: Several<Who>,
    /// What is called; a list is a case for each.
    call: Several<What>,
    /// When (RFC 3339). Without it the time is not known.
    time: Option<String>,
    /// From which address. Without it the address is not known.
    source: Option<IpAddr>,
    /// Headers that Envoy sets.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What is decided; `mcp-iap test` needs it.
    expect: Option<Expected>,
}

/// One, or a list of them.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
enum Several<T> {
    One(T),
    #[schemars(extend("minItems" = 1))]
    List(Vec<T>),
}

impl<T: Default> Default for Several<T> {
    fn default() -> Self {
        Self::One(T::default())
    }
}

impl<T> Several<T> {
    fn all(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::List(list) => list,
        }
    }

    fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }
}

/// Not `untagged`, whose errors name no field.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Several<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields, or a list of such")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Several::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                let list: Vec<Fields<T>> = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                if list.is_empty() {
                    return Err(A::Error::custom("an empty list tests nothing"));
                }
                Ok(Several::List(list.into_iter().map(|Fields(one)| one).collect()))
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// By its fields' names only: serde reads a list as fields in their order too.
struct Fields<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Named<T> {
            type Value = Fields<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Fields)
            }
        }

        deserializer.deserialize_any(Named(PhantomData))
    }
}

/// A file of cases, each by itself.
#[derive(Debug)]
pub struct Cases {
    /// The document whose rules are asked, beside this file.
    pub policy: Option<PathBuf>,
    pub cases: Vec<Case>,
}

impl Cases {
    /// Reads a file of cases.
    pub fn read(text: &str) -> Result<Self, String> {
        let value = yaml::read(text).map_err(|fault| format!("is no YAML or JSON: {fault}"))?;
        let file: File = serde_path_to_error::deserialize(&value)
            .map_err(|error| format!("`{}`: {}", error.path(), error.inner()))?;
        let File { policy, cases } = file;
        let mut all = Vec::new();
        for (index, entry) in cases.iter().enumerate() {
            entry.expand(index, &mut all)?;
        }
        Ok(Self { policy, cases: all })
    }
}

impl Entry {
    /// Its cases, each with all that can be read of it.
    fn expand(&self, index: usize, into: &mut Vec<Case>) -> Result<(), String> {
        let Self { name, resource, caller, call, time, source, headers, expect } = self;
        let callers = names(caller.all(), Who::shown, |_| String::new());
        let calls = names(call.all(), What::shown, What::shown_arguments);
        for (who, caller_name) in caller.all().iter().zip(&callers) {
            for (place, (what, call_name)) in call.all().iter().zip(&calls).enumerate() {
                let of_list = [(caller.is_list(), caller_name), (call.is_list(), call_name)];
                let parts: Vec<&str> =
                    of_list.iter().filter(|(is_list, _)| *is_list).map(|(_, part)| part.as_str()).collect();
                let shown =
                    if parts.is_empty() { name.clone() } else { format!("{name}: {}", parts.join(", ")) };
                let case = Case {
                    name: shown,
                    entry: name.clone(),
                    resource: resource.clone(),
                    caller: who.clone(),
                    call: what.clone(),
                    time: time.clone(),
                    source: *source,
                    headers: headers.clone(),
                    expect: expect.clone(),
                    is_recorded: false,
                    has_all_groups: false,
                    absent: Vec::new(),
                    is_spent: false,
                };
                case.now().map_err(|fault| format!("{name}: `cases[{index}].time`: {fault}"))?;
                let element = if call.is_list() { format!("[{place}]") } else { String::new() };
                case.operation()
                    .map_err(|fault| format!("{name}: `cases[{index}].call{element}` {fault}"))?;
                into.push(case);
            }
        }
        Ok(())
    }
}

/// A name for each, no two alike: with `more` where it takes that, else with its number.
fn names<T>(all: &[T], name: impl Fn(&T) -> Option<String>, more: impl Fn(&T) -> String) -> Vec<String> {
    let plain: Vec<_> = all.iter().map(|one| name(one).unwrap_or_default()).collect();
    let is_alone = |names: &[String], one: &String| names.iter().filter(|other| *other == one).count() == 1;
    let longer: Vec<String> = all
        .iter()
        .zip(&plain)
        .map(
            |(one, name)| if is_alone(&plain, name) { name.clone() } else { format!("{name} {}", more(one)) },
        )
        .map(|name| name.trim().to_owned())
        .collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let numbered = longer.iter().enumerate().map(|(index, name)| {
        let is_plain = !name.is_empty() && is_alone(&longer, name) && !taken.contains(name);
        let name = if is_plain { name.clone() } else { format!("{name} #{}", index + 1).trim().to_owned() };
        taken.insert(name.clone());
        name
    });
    numbered.collect()
}

impl Who {
    fn shown(&self) -> Option<String> {
        let subject = Some(&self.subject).filter(|subject| !subject.is_empty());
        let texts = [subject, self.kubernetes_user.as_ref(), self.api_key.as_ref(), self.spiffe_id.as_ref()];
        let named = texts.into_iter().flatten().next().or(self.client_id.as_ref()).cloned();
        named.or_else(|| Some(self.groups.join("+")).filter(|groups| !groups.is_empty()))
    }
}

impl What {
    fn shown(&self) -> Option<String> {
        let texts = [&self.tool, &self.prompt, &self.resource, &self.task, &self.method];
        texts.into_iter().flatten().next().cloned()
    }

    fn shown_arguments(&self) -> String {
        let Some(arguments) = &self.arguments else { return String::new() };
        let text = serde_json::Value::from(arguments.clone()).to_string();
        if text.chars().count() <= SHOWN { text } else { text.chars().take(SHOWN).chain(['…']).collect() }
    }
}
