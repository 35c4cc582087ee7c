//! How often what others said of a token was remembered, by what they had been asked for. The misses have counters of
//! their own, with what came of each.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// The counts of one root; the names are those of the counters of what was asked.
#[derive(Default)]
pub struct Remembered(RefCell<BTreeMap<&'static str, u64>>);

impl Remembered {
    /// Counts an answer of this kind where it `is_cached`.
    pub(super) fn count(&self, of: &'static str, is_cached: bool) {
        if is_cached {
            let mut counts = self.0.borrow_mut();
            let count = counts.entry(of).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Those since the last call.
    pub fn take(&self) -> BTreeMap<&'static str, u64> {
        self.0.take()
    }
}
