//! Random numbers of 128 bits, drawn from the host sixteen at a time: each way to it and back costs time.

use std::cell::RefCell;

const DRAWN: usize = 16;

/// Those of one root that were drawn and not used yet.
#[derive(Default)]
pub(super) struct Random(RefCell<Vec<u8>>);

impl Random {
    /// One in hexadecimal; `None` where the host gives none.
    pub(super) fn id(&self) -> Option<String> {
        let mut drawn = self.0.borrow_mut();
        if drawn.is_empty() {
            drawn.resize(16 * DRAWN, 0);
            if getrandom::fill(&mut drawn).is_err() {
                drawn.clear();
            }
        }
        let number = *drawn.last_chunk::<16>()?;
        let rest = drawn.len().saturating_sub(number.len());
        drawn.truncate(rest);
        let digits = number.map(|byte| [hexadecimal(byte >> 4), hexadecimal(byte & 15)]);
        String::from_utf8(digits.as_flattened().to_vec()).ok()
    }
}

/// The digit of a number below 16.
fn hexadecimal(number: u8) -> u8 {
    number.wrapping_add(if number < 10 { b'0' } else { b'a' - 10 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_id_comes_twice() {
        let random = Random::default();
        let ids: BTreeSet<String> = (0..DRAWN * 3 + 1).filter_map(|_| random.id()).collect();
        assert_eq!(ids.len(), DRAWN * 3 + 1);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }
}
