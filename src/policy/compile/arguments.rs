//! Conditions on arguments: just one each, and one that can hold.

use super::super::argument::Condition;
use super::super::pattern::Pattern;
use super::{check_list, fault};
use crate::config::{self, ConfigError};

const ONE_OF: &str = "give one of `in`, `glob`, `prefix`, `integer`, `number`, `boolean` or `present`";

pub(super) fn compile(
    written: &config::ArgumentCondition,
    path: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<Condition> {
    let config::ArgumentCondition { one_of, glob, prefix, integer, number, boolean, present } = written;
    let given = [
        one_of.is_some(),
        glob.is_some(),
        prefix.is_some(),
        integer.is_some(),
        number.is_some(),
        boolean.is_some(),
        present.is_some(),
    ];
    match given.iter().filter(|given| **given).count() {
        0 => {
            errors.push(ConfigError::new(path, "is no condition", ONE_OF));
            return None;
        }
        1 => {}
        _ => {
            errors.push(ConfigError::new(path, "has several conditions", ONE_OF));
            return None;
        }
    }
    if let Some(values) = one_of {
        if values.is_empty() {
            errors.push(fault(path, "in", "can't hold: the list is empty", "name at least one value"));
        }
        return Some(Condition::OneOf(values.clone()));
    }
    if let Some(patterns) = glob {
        check_list(patterns, &format!("{path}.glob"), errors);
        return Some(Condition::Glob(patterns.iter().map(|pattern| Pattern::new(pattern)).collect()));
    }
    if let Some(prefixes) = prefix {
        check_list(prefixes, &format!("{path}.prefix"), errors);
        return Some(Condition::Prefix(prefixes.clone()));
    }
    if let Some(config::IntegerRange { min, max }) = *integer {
        check_range("integer", min, max, path, errors);
        return Some(Condition::Integer { min, max });
    }
    if let Some(config::NumberRange { min, max }) = *number {
        check_range("number", min, max, path, errors);
        return Some(Condition::Number { min, max });
    }
    boolean.map(Condition::Boolean).or_else(|| present.map(Condition::Present))
}

fn check_range<T: PartialOrd>(
    field: &str,
    min: Option<T>,
    max: Option<T>,
    path: &str,
    errors: &mut Vec<ConfigError>,
) {
    match (min, max) {
        (None, None) => errors.push(fault(path, field, "sets no bound", "give `min` or `max`")),
        (Some(min), Some(max)) if min > max => {
            errors.push(fault(path, field, "can't hold: `min` is above `max`", "exchange them"));
        }
        _ => {}
    }
}
