//! The field `keys` of an issuer, compiled: durations within bounds.

use crate::cache::KeyTimes;
use crate::config::{ConfigError, KeyFetching};
use crate::time::parse_duration;
use std::time::Duration;

/// Least and most, as the configuration writes them.
pub(super) type Bounds = [&'static str; 2];

const CACHE_DURATION: Bounds = ["1s", "24h"];
const STALE_IF_ERROR: Bounds = ["0s", "24h"];
const COOLDOWN: Bounds = ["100ms", "5m"];
const TIMEOUT: Bounds = ["100ms", "30s"];

/// How long one callout may take, as the configuration writes it; else why not, and what to write.
pub(super) fn compile_timeout(written: &str) -> Result<Duration, (&'static str, String)> {
    compile_duration(written, TIMEOUT)
}

pub(super) fn compile_key_times(index: usize, keys: &KeyFetching) -> Result<KeyTimes, ConfigError> {
    let KeyFetching { cache_duration, stale_if_error, cooldown, timeout } = keys;
    let compile = |field: &str, written: &str, bounds: Bounds| {
        compile_duration(written, bounds).map_err(|(reason, fix)| {
            ConfigError::new(format!("issuers[{index}].keys.{field}"), reason, fix).value(written)
        })
    };
    Ok(KeyTimes {
        cache_duration: compile("cache_duration", cache_duration, CACHE_DURATION)?,
        stale_if_error: compile("stale_if_error", stale_if_error, STALE_IF_ERROR)?,
        cooldown: compile("cooldown", cooldown, COOLDOWN)?,
        timeout: compile("timeout", timeout, TIMEOUT)?,
    })
}

pub(super) fn compile_duration(
    written: &str,
    [least, most]: Bounds,
) -> Result<Duration, (&'static str, String)> {
    let duration = parse_duration(written).map_err(|wanted| ("is no duration", format!("write {wanted}")))?;
    let bound = |text| parse_duration(text).unwrap_or_default();
    if (bound(least)..=bound(most)).contains(&duration) {
        Ok(duration)
    } else {
        Err(("is out of bounds", format!("use `{least}` to `{most}`")))
    }
}
