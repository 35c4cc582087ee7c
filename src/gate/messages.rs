//! What the operator should read in the log of the services that are asked: a failure once, until it is another one or over.
//! Kept until somebody logs it, up to a bound. Holds no secret.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;

/// How many messages are kept until somebody logs them.
const MAX_MESSAGES: usize = 16;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Something does not work.
    Complaint(String),
    /// It works again, or for the first time.
    News(String),
}

impl Message {
    /// What it says.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Complaint(text) | Self::News(text) => text,
        }
    }
}

/// Messages about services, of which each fails by an `E`.
pub(super) struct Messages<E> {
    kept: RefCell<Vec<Message>>,
    /// How each service that the document names failed last, where it did.
    failing: RefCell<BTreeMap<String, E>>,
}

impl<E> Default for Messages<E> {
    fn default() -> Self {
        Self { kept: RefCell::default(), failing: RefCell::default() }
    }
}

impl<E> Messages<E> {
    /// What is to be logged since the last call.
    pub(super) fn take(&self) -> Vec<Message> {
        self.kept.take()
    }

    /// Tells this whatever was told before.
    pub(super) fn keep(&self, message: Message) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < MAX_MESSAGES {
            kept.push(message);
        }
    }

    /// The service `who` answers as it must: told where it did not.
    pub(super) fn is_well(&self, who: &str, told: &str) {
        if self.failing.borrow_mut().remove(who).is_some() {
            self.keep(Message::News(format!("{who}: {told}")));
        }
    }
}

impl<E: PartialEq + Display> Messages<E> {
    /// The service `who` failed: told where it did not fail so before.
    pub(super) fn fails(&self, who: &str, error: E) {
        let mut failing = self.failing.borrow_mut();
        if failing.get(who) != Some(&error) {
            self.keep(Message::Complaint(format!("{who}: {error}")));
            failing.insert(who.to_owned(), error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_told_once_until_it_is_another_or_over() {
        let messages = Messages::default();
        messages.is_well("a", "works");
        assert!(messages.take().is_empty(), "that all is well from the beginning is no news");
        for error in ["down", "down", "slow", "down"] {
            messages.fails("a", error);
        }
        messages.fails("b", "down");
        messages.is_well("a", "works");
        messages.is_well("a", "works");
        messages.fails("a", "down");
        let told = messages.take();
        let told: Vec<_> = told.iter().map(Message::text).collect();
        assert_eq!(told, ["a: down", "a: slow", "a: down", "b: down", "a: works", "a: down"]);
    }

    #[test]
    fn what_nobody_logs_is_bounded() {
        let messages = Messages::default();
        for n in 0..100 {
            messages.fails("a", n);
            messages.keep(Message::News(String::new()));
        }
        assert_eq!(messages.take().len(), MAX_MESSAGES);
        messages.is_well("a", "works");
        assert_eq!(
            messages.take(),
            [Message::News("a: works".to_owned())],
            "what was too much is told no more"
        );
    }
}
