//! Envoy's shared data, without Envoy.

use mcp_iap::cache::{SharedData, Stored};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Envoy's shared data: places with versions.
#[derive(Default)]
pub struct Data {
    pub places: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    /// So many changes come just before ours.
    pub intruders: Cell<u32>,
}

impl SharedData for Data {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.places.borrow().get(key).cloned()
    }

    fn set(&self, key: &str, value: &[u8], version: Option<u32>) -> Stored {
        if self.intruders.get() > 0 {
            self.intruders.set(self.intruders.get() - 1);
            return Stored::Changed;
        }
        let mut places = self.places.borrow_mut();
        // A version is not compared where nothing stands.
        let next = match places.get(key) {
            Some((_, known)) if Some(*known) != version => return Stored::Changed,
            Some((_, known)) => known + 1,
            None => 1,
        };
        places.insert(key.to_owned(), (value.to_vec(), next));
        Stored::Done
    }
}
