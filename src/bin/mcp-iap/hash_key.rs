//! `mcp-iap hash-key`: the entry of an API key for the configuration. The one place where a plain key is known, so
//! here it is looked at whether it is strong enough.

use crate::Output;
use crate::fault::{Fault, complained, say};
use clap::Args;
use mcp_iap::api_key::{KeyHash, MAX_KEY, MIN_PEPPER, weakness};
use mcp_iap::secret::Secret;
use mcp_iap::time::{UnixTime, format_time, parse_duration, parse_time};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Before a generated key, so that it is found where it should not be.
const PREFIX: &str = "mcp_iap_";

/// The options of `hash-key`.
#[derive(Args)]
pub struct Options {
    /// The key's name in rules and audit records.
    name: String,
    /// Make a key of 256 random bits, instead of reading one from standard input. It is told once, on standard error.
    #[arg(long)]
    generate: bool,
    /// The environment variable that has the pepper: the one of `api_keys.pepper`.
    #[arg(long, value_name = "NAME", default_value = "API_KEY_PEPPER")]
    pepper_env: String,
    /// A group that the key's caller is in; may be given several times.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// From when on the key counts, like `2026-11-21T08:00:00Z`.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// From when on it counts no more.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// How long it counts from now on, like `720h`.
    #[arg(long, value_name = "DURATION")]
    max_age: Option<String>,
    /// How to print the entry; as JSON with the key, if it was generated.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(options: &Options) -> ExitCode {
    match hash(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(Path::new("-")),
    }
}

fn hash(options: &Options) -> Result<(), Fault> {
    let usage = |text: String| Fault::Usage(text);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if options.name.is_empty() || options.name.len() > 64 || !options.name.bytes().all(is_plain) {
        return Err(usage("the name must be 1 to 64 letters, digits, `-`, `_` and `.`".to_owned()));
    }
    for (option, time) in [("--not-before", &options.not_before), ("--expires-at", &options.expires_at)] {
        if let Some(Err(wanted)) = time.as_deref().map(parse_time) {
            return Err(usage(format!("{option}: write {wanted}")));
        }
    }
    if let Some(Err(wanted)) = options.max_age.as_deref().map(parse_duration) {
        return Err(usage(format!("--max-age: write {wanted}")));
    }
    let pepper = pepper(&options.pepper_env)?;
    let key = if options.generate { generate()? } else { read()? };
    if let Some(why) = weakness(&key) {
        return Err(Fault::Failed(format!("the key {why}; `--generate` makes one")));
    }
    let entry = entry(options, &KeyHash::of(key.as_bytes(), &pepper));
    match options.output {
        Output::Json if options.generate => say(&format!("{}\n", json!({"key": key, "entry": entry}))),
        Output::Json => say(&format!("{}\n", json!({ "entry": entry }))),
        Output::Text => {
            if options.generate {
                complained(format_args!("the key, which is told only here:\n{key}")).map_err(|error| {
                    Fault::Failed(format!("standard error, where the key is told: {error}"))
                })?;
            }
            say(&yaml(&entry))
        }
    }
}

fn pepper(name: &str) -> Result<Secret, Fault> {
    let Ok(pepper) = std::env::var(name) else {
        let fix = "give it by the same variable as to the filter; `openssl rand -base64 32` makes one";
        return Err(Fault::Usage(format!("the environment variable `{name}` is not set: {fix}")));
    };
    // As the filter takes it.
    if pepper.trim() != pepper || pepper.len() < MIN_PEPPER {
        let wanted = format!("at least {MIN_PEPPER} bytes without white space around them");
        return Err(Fault::Failed(format!("the pepper in `{name}` is none: it must have {wanted}")));
    }
    Ok(Secret::new(pepper.into_bytes()))
}

fn read() -> Result<String, Fault> {
    let mut text = String::new();
    let most = u64::try_from(MAX_KEY).unwrap_or(u64::MAX).saturating_add(16);
    std::io::stdin()
        .take(most)
        .read_to_string(&mut text)
        .map_err(|error| Fault::Usage(format!("the key can't be read from standard input: {error}")))?;
    Ok(text
        .strip_suffix('\n')
        .map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text))
        .to_owned())
}

fn generate() -> Result<String, Fault> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut bytes = [0; 32];
    // One in thousands lacks a class; `weakness` would refuse it.
    loop {
        getrandom::fill(&mut bytes)
            .map_err(|error| Fault::Failed(format!("there is no randomness: {error}")))?;
        let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        if weakness(&key).is_none() {
            return Ok(key);
        }
    }
}

/// The entry, its members in the order of the documentation.
fn entry(options: &Options, hash: &KeyHash) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut entry = json!({ "name": options.name, "hash": hash.to_hex() });
    let members = [
        ("groups", (!options.groups.is_empty()).then(|| json!(options.groups))),
        ("created_at", Some(json!(format_time(UnixTime(now.as_secs()))))),
        ("not_before", options.not_before.as_ref().map(|time| json!(time))),
        ("expires_at", options.expires_at.as_ref().map(|time| json!(time))),
        ("max_age", options.max_age.as_ref().map(|age| json!(age))),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            entry[name] = value;
        }
    }
    entry
}

/// The entry as it stands below `api_keys.keys`. Texts are written as JSON has them, which is YAML too.
fn yaml(entry: &Value) -> String {
    let order = ["name", "hash", "groups", "created_at", "not_before", "expires_at", "max_age"];
    let lines = order.iter().filter(|name| !entry[**name].is_null());
    let mut text = String::new();
    for (index, name) in lines.enumerate() {
        text.push_str(if index == 0 { "    - " } else { "      " });
        text.push_str(&format!("{name}: {}\n", entry[*name]));
    }
    text
}
