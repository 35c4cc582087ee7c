//! The newest lines of many, in bounded memory.

use super::entry::Seen;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Lines by time, of those without or with the same one by their place; no more than a bound.
pub struct Newest {
    most: usize,
    kept: BinaryHeap<Reverse<Kept>>,
}

struct Kept {
    key: (i64, i64),
    seen: Box<Seen>,
    line: Vec<u8>,
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl Newest {
    pub fn new(most: usize) -> Self {
        Self { most, kept: BinaryHeap::new() }
    }

    /// `place`: of lines with one time, the greater is the newer.
    pub fn add(&mut self, seen: Box<Seen>, line: &[u8], place: i64) {
        let key = (seen.around.millis.unwrap_or(i64::MIN), place);
        if self.kept.len() >= self.most && self.kept.peek().is_none_or(|oldest| key < oldest.0.key) {
            return;
        }
        self.kept.push(Reverse(Kept { key, seen, line: line.to_vec() }));
        if self.kept.len() > self.most {
            self.kept.pop();
        }
    }

    /// Whether there are as many as are kept.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= self.most
    }

    /// From the oldest to the newest.
    pub fn into_lines(self) -> Vec<(Box<Seen>, Vec<u8>)> {
        let mut kept: Vec<_> = self.kept.into_iter().map(|Reverse(kept)| kept).collect();
        kept.sort();
        kept.into_iter().map(|Kept { seen, line, .. }| (seen, line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Line, read};
    use super::*;

    #[test]
    fn the_newest_are_kept_in_their_order() {
        for (most, wanted) in [(0, ""), (2, "8,9"), (3, "7,8,9"), (99, "3,5,5,7,8,9")] {
            let mut newest = Newest::new(most);
            for (place, second) in (0..).zip([5, 9, 3, 7, 5, 8]) {
                let line = format!(
                    r#"{{"time":"2026-11-21T10:00:0{second}Z","mcp_iap":[{{"schema":1,"decision":"d","outcome":"allowed","reason":"allowed"}}]}}"#
                );
                let Line::Entry(entry) = read(line.as_bytes()) else { panic!("{line}") };
                newest.add(Box::new((*entry).into()), second.to_string().as_bytes(), place);
                assert!(newest.kept.len() <= most);
            }
            let seen: Vec<String> =
                newest.into_lines().into_iter().map(|(_, line)| String::from_utf8(line).unwrap()).collect();
            assert_eq!(seen.join(","), wanted);
        }
    }
}
