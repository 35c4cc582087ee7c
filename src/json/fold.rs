//! Which member names some parser takes for the same.
//!
//! Go's `encoding/json` matches a struct's fields without regard to case, with Unicode's simple
//! folding (`ſ` for `s`, the Kelvin sign for `k`); what is written in C ends a string at a NUL.

use crate::bytes::leading;
use std::borrow::Cow;

/// The form in which two names are equal if any known parser may confuse them.
#[must_use]
pub fn fold(name: &str) -> Cow<'_, str> {
    let is_folded = |b: u8| b.is_ascii() & (b != 0) & !b.is_ascii_uppercase();
    if leading(name.as_bytes(), is_folded) == name.len() {
        return Cow::Borrowed(name);
    }
    if is_plain(name) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Owned(folded(name).collect())
}

fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().take_while(|c| *c != '\0').flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Whether `name` is not `known` but may be taken for it.
#[must_use]
pub fn same_when_folded(name: &str, known: &str) -> bool {
    if name.eq_ignore_ascii_case(known) {
        return name != known;
    }
    // Names are as long as bodies may be: they are compared to the first difference.
    let beginnings = (name.as_bytes().first(), known.as_bytes().first());
    if let (Some(b), Some(other)) = beginnings
        && b.is_ascii()
        && other.is_ascii()
        && !b.eq_ignore_ascii_case(other)
    {
        return false;
    }
    !(is_plain(known) && is_plain(name)) && folded(name).eq(folded(known))
}

/// ASCII without a NUL: there only upper and lower case are confused.
fn is_plain(name: &str) -> bool {
    leading(name.as_bytes(), |b| b.is_ascii() & (b != 0)) == name.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_what_parsers_confuse() {
        for variant in ["Params", "PARAMS", "param\u{17f}", "params\0", "params\0x", "PARAM\u{17f}"] {
            assert!(same_when_folded(variant, "params"), "{variant:?}");
        }
        assert!(same_when_folded("to\u{212a}en", "token"));
        assert!(!same_when_folded("params", "params"));
        assert!(!same_when_folded("param", "params"));
        assert!(!same_when_folded("_params", "params"));
        assert!(!same_when_folded("", "params") && same_when_folded("\0", "") && !same_when_folded("", ""));
    }

    /// Who sends a long name must not keep a worker from everybody else.
    #[test]
    fn long_names_are_compared_to_the_first_difference() {
        let name = format!("p{}\u{e9}", "x".repeat(1_000_000));
        let quickest = |what: &dyn Fn() -> bool| {
            let timed = (0..5).map(|_| {
                let begun = std::time::Instant::now();
                assert!(!what());
                begun.elapsed()
            });
            timed.min().unwrap_or_default()
        };
        let compared = quickest(&|| same_when_folded(&name, "parameters"));
        let folded = quickest(&|| fold(&name).is_empty());
        assert!(compared * 3 < folded, "{compared:?}, {folded:?}");
    }
}
