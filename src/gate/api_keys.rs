//! The API keys of a configuration, compiled, and which of them a request brings.
//!
//! Several count at one time, so that a key is changed without a moment in which none does. One that counts no more
//! stays in the configuration for as long as its use is to be told from a stranger's.

use crate::api_key::{KeyHash, MAX_KEY, MIN_PEPPER};
use crate::config::{self, ConfigError, Environment, Guarded};
use crate::head::{Head, One};
use crate::identity::Caller;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::{UnixTime, parse_duration, parse_time};
use std::collections::BTreeSet;

/// How many keys there may be: each is compared.
const MAX_KEYS: usize = 1000;
/// The longest name, in bytes.
const MAX_NAME: usize = 64;
/// Headers that mean something else, beside `mcp-*`.
const TAKEN: &[&str] = &[
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "origin",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-forwarded-client-cert",
    "x-forwarded-for",
];

/// The API keys.
#[derive(Debug)]
pub struct ApiKeySettings {
    header: String,
    pepper: Secret,
    keys: Vec<Entry>,
}

/// One key.
#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    hash: KeyHash,
    groups: Vec<String>,
    from: UnixTime,
    /// From when on it counts no more.
    pub(super) until: Option<UnixTime>,
}

impl ApiKeySettings {
    /// The header in which keys come, in lower case.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Whether there is a key with this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|entry| entry.name == name)
    }

    /// The key that a request brings, as it came; `None` for none. Another spelling of its header was refused before.
    pub(super) fn presented<'a>(&self, head: &'a Head) -> Result<Option<&'a str>, Reason> {
        let key = match head.one(&self.header) {
            One::Absent => return Ok(None),
            One::Unusable => return Err(Reason::MalformedApiKey),
            One::Text(key) => key,
        };
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Reason::MalformedApiKey);
        }
        if head.repeats(&self.header, key) {
            return Err(Reason::TokenRepeated);
        }
        Ok(Some(key))
    }

    /// The entry of a key. All are compared, whichever is the one.
    pub(super) fn find(&self, key: &str) -> Result<&Entry, Reason> {
        let hash = KeyHash::of(key.as_bytes(), &self.pepper);
        let found = self
            .keys
            .iter()
            .fold(None, |found, entry| if entry.hash.is(&hash) { Some(entry) } else { found });
        found.ok_or(Reason::UnknownApiKey)
    }
}

impl Entry {
    /// Who has this key.
    pub(super) fn caller(&self) -> Caller {
        Caller::of_api_key(&self.name, &self.groups)
    }

    /// Whether it counts at this time.
    pub(super) fn check(&self, now: UnixTime) -> Result<(), Reason> {
        if now < self.from {
            return Err(Reason::ApiKeyNotYetValid);
        }
        if self.until.is_some_and(|until| until <= now) { Err(Reason::ApiKeyExpired) } else { Ok(()) }
    }
}

pub(super) fn compile_api_keys(
    written: &config::ApiKeys,
    environment: Environment<'_>,
    errors: &mut Vec<ConfigError>,
) -> Option<ApiKeySettings> {
    let config::ApiKeys { header, pepper, keys } = written;
    check_header(header, errors);
    if keys.is_empty() || keys.len() > MAX_KEYS {
        let fix = "name 1 to 1000, or leave `api_keys` out";
        errors.push(ConfigError::new("api_keys.keys", "has no key, or too many", fix));
    }
    let (mut names, mut hashes, mut compiled) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (index, key) in keys.iter().enumerate() {
        let path = |field: &str| format!("api_keys.keys[{index}].{field}");
        if !names.insert(key.name.as_str()) {
            let error = ConfigError::new(path("name"), "is another key's name as well", "give each its own");
            errors.push(error.value(key.name.as_str()));
        }
        match compile_entry(key, path) {
            Ok(entry) if !hashes.insert(entry.hash) => {
                let reason = "is another key's hash as well: which of the two is it?";
                errors.push(ConfigError::new(path("hash"), reason, "make a new key for each"));
            }
            Ok(entry) => compiled.push(entry),
            Err(error) => errors.push(error),
        }
    }
    let fault = |reason: String, fix: String| ConfigError::new("api_keys.pepper", reason, fix);
    match pepper.resolve(environment) {
        Ok(pepper) if pepper.expose().len() < MIN_PEPPER => {
            let fix = "use 32 random bytes or more, like `openssl rand -base64 32` makes";
            errors.push(fault(format!("is shorter than {MIN_PEPPER} bytes"), fix.to_owned()));
            None
        }
        Ok(pepper) => Some(ApiKeySettings { header: header.to_ascii_lowercase(), pepper, keys: compiled }),
        Err((reason, fix)) => {
            errors.push(fault(reason, fix));
            None
        }
    }
}

fn check_header(header: &str, errors: &mut Vec<ConfigError>) {
    let lower = header.to_ascii_lowercase();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let reason = if header.is_empty() || !header.bytes().all(is_plain) {
        "is no name of a header"
    } else if TAKEN.contains(&lower.as_str()) || lower.starts_with("mcp-") {
        "is a header that means something else"
    } else {
        return;
    };
    let fix = "use letters, digits and `-`, or leave it out for `X-API-Key`";
    errors.push(ConfigError::new("api_keys.header", reason, fix).value(header));
}

fn compile_entry(key: &config::ApiKey, path: impl Fn(&str) -> String) -> Result<Entry, ConfigError> {
    let config::ApiKey { name, hash, groups, created_at, not_before, expires_at, max_age } = key;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
        let fix = "use 1 to 64 letters, digits, `-`, `_` and `.`";
        return Err(ConfigError::new(path("name"), "is no usable name", fix).value(name.as_str()));
    }
    // What stands there may be the key itself: it is not shown.
    let hash = KeyHash::parse(hash).ok_or_else(|| {
        let reason = "is no HMAC-SHA-256 in hexadecimal or base64url";
        ConfigError::new(
            path("hash"),
            reason,
            "have `mcp-iap hash-key` make it; a key itself never stands here",
        )
    })?;
    if groups.iter().any(String::is_empty) {
        return Err(ConfigError::new(path("groups"), "has an empty entry", "name it, or remove it"));
    }
    let time = |field: &str, written: &Option<String>| match written.as_deref().map(parse_time) {
        None => Ok(None),
        Some(Ok(time)) => Ok(Some(time)),
        Some(Err(wanted)) => {
            let error = ConfigError::new(path(field), "is no point in time", format!("write {wanted}"));
            Err(error.value(written.as_deref().unwrap_or_default()))
        }
    };
    let created_at = time("created_at", created_at)?;
    let from = time("not_before", not_before)?.unwrap_or_default();
    let mut until = time("expires_at", expires_at)?;
    if let Some(written) = max_age {
        let age = parse_duration(written).map_err(|wanted| {
            ConfigError::new(path("max_age"), "is no duration", format!("write {wanted}"))
                .value(written.as_str())
        })?;
        let Some(created_at) = created_at else {
            let fix = "give `created_at` as well, or `expires_at` instead";
            return Err(
                ConfigError::new(path("max_age"), "is counted from nothing", fix).value(written.as_str())
            );
        };
        let aged = created_at.plus(age);
        until = Some(until.map_or(aged, |until| until.min(aged)));
    }
    if until.is_some_and(|until| until <= from) {
        let fix = "put its end behind `not_before`; `created_at` and `max_age` make an end, too";
        return Err(ConfigError::new(path("expires_at"), "lets the key never count", fix));
    }
    Ok(Entry { name: name.clone(), hash, groups: groups.clone(), from, until })
}

/// Keys that rules name must be there.
pub(super) fn check_named_keys(
    guarded: &Guarded<'_>,
    keys: Option<&config::ApiKeys>,
    errors: &mut Vec<ConfigError>,
) {
    for (index, rule) in guarded.rules.iter().enumerate() {
        let named = rule.to.as_ref().and_then(|to| to.api_keys.as_deref()).unwrap_or_default();
        for (at, name) in named.iter().enumerate().filter(|(_, name)| !name.contains('*')) {
            let mut known = keys.into_iter().flat_map(|keys| &keys.keys);
            if !known.any(|key| key.name == *name) {
                let path = guarded.rule_path(index, &format!("to.api_keys[{at}]"));
                let fix = "name one of `api_keys.keys`, to the letter";
                errors.push(ConfigError::new(path, "is no API key", fix).value(name.as_str()));
            }
        }
        if keys.is_none() && named.iter().any(|name| name.contains('*')) {
            let path = guarded.rule_path(index, "to.api_keys");
            errors.push(ConfigError::new(path, "can't hold: there is no API key", "give `api_keys`"));
        }
    }
}
