//! Which names an object has had so far, so that none comes twice.

use super::fold::fold;
use super::reader::{Error, MAX_MEMBERS};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The names of one object so far, folded. Most objects have few members: a list serves them, a set
/// the others.
#[derive(Default)]
pub(super) struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: BTreeSet<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    const FEW: usize = 16;
    /// As many as most objects have: room is made once.
    const MOST: usize = 8;

    pub(super) fn add(&mut self, name: Cow<'a, str>) -> Result<(), Error> {
        let name = match name {
            Cow::Borrowed(name) => fold(name),
            Cow::Owned(name) => Cow::Owned(fold(&name).into_owned()),
        };
        if self.few.contains(&name) {
            return Err(Error::DuplicateKey);
        }
        if self.few.len() < Self::FEW {
            if self.few.is_empty() {
                self.few.reserve_exact(Self::MOST);
            }
            self.few.push(name);
            return Ok(());
        }
        if !self.many.insert(name) {
            return Err(Error::DuplicateKey);
        }
        let members = self.few.len().saturating_add(self.many.len());
        if members > MAX_MEMBERS { Err(Error::TooManyMembers) } else { Ok(()) }
    }
}
