//! Which rules are looked at for a name: found by the name itself and by what it begins with, so that a
//! call costs what its own rules cost, however many there are.

use super::pattern::Pattern;

/// Rules by name, for one kind of operation. Rules are numbers, their places in the document.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By a whole name; sorted.
    names: Vec<(Box<str>, Vec<u32>)>,
    /// By what a name begins with; sorted.
    prefixes: Vec<Prefix>,
    /// Of patterns that begin with `*`.
    every: Vec<u32>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    /// The rules of this prefix and of those that it begins with.
    rules: Vec<u32>,
    /// The longest other one that it begins with.
    shorter: Option<usize>,
}

impl Index {
    /// Of patterns with their rules, which come in their order. `whole_names`: whether a pattern without `*`
    /// matches nothing but itself.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (&'a Pattern, u32)>, whole_names: bool) -> Self {
        let mut index = Self::default();
        let mut names: Vec<(&str, u32)> = Vec::new();
        let mut prefixes: Vec<(&str, u32)> = Vec::new();
        for (pattern, rule) in patterns {
            match pattern.literal().filter(|_| whole_names) {
                Some(name) => names.push((name, rule)),
                None if pattern.prefix().is_empty() => index.every.push(rule),
                None => prefixes.push((pattern.prefix(), rule)),
            }
        }
        index.every.dedup();
        names.sort_unstable();
        for (name, rule) in names {
            match index.names.last_mut() {
                Some((last, rules)) if **last == *name => rules.push(rule),
                _ => index.names.push((name.into(), vec![rule])),
            }
        }
        prefixes.sort_unstable();
        for (text, rule) in prefixes {
            match index.prefixes.last_mut() {
                Some(last) if *last.text == *text => last.rules.push(rule),
                _ => {
                    let last = index.prefixes.len().checked_sub(1);
                    let shorter = index.longest_from(last, text);
                    index.prefixes.push(Prefix { text: text.into(), rules: vec![rule], shorter });
                }
            }
        }
        for place in 0..index.prefixes.len() {
            // A shorter one stands before, and has those of its own shorter ones already.
            let above = index.prefixes.get(place).and_then(|prefix| index.prefixes.get(prefix.shorter?));
            let inherited = above.map(|above| above.rules.clone()).unwrap_or_default();
            if let Some(prefix) = index.prefixes.get_mut(place) {
                prefix.rules.extend(inherited);
                prefix.rules.sort_unstable();
                prefix.rules.dedup();
            }
        }
        for (_, rules) in &mut index.names {
            rules.dedup();
        }
        index
    }

    /// The rules that may be about this name, in three sorted lists.
    pub(super) fn find(&self, name: &str) -> [&[u32]; 3] {
        let whole = self.names.binary_search_by(|(known, _)| (**known).cmp(name)).ok();
        let whole = whole.and_then(|place| self.names.get(place)).map(|(_, rules)| rules.as_slice());
        let last = self.prefixes.partition_point(|prefix| &*prefix.text <= name).checked_sub(1);
        let prefix = self.longest_from(last, name).and_then(|place| self.prefixes.get(place));
        [
            whole.unwrap_or_default(),
            prefix.map(|prefix| prefix.rules.as_slice()).unwrap_or_default(),
            &self.every,
        ]
    }

    /// The longest prefix of a name: the last one that is not behind it, or one that this begins with.
    fn longest_from(&self, last: Option<usize>, name: &str) -> Option<usize> {
        let mut place = last;
        while let Some(prefix) = place.and_then(|place| self.prefixes.get(place)) {
            if name.starts_with(&*prefix.text) {
                return place;
            }
            place = prefix.shorter;
        }
        None
    }
}

/// Sorted lists as one, without what is twice; nothing is copied.
pub(super) struct Merged<'a, const N: usize>(pub(super) [&'a [u32]; N]);

impl<const N: usize> Iterator for Merged<'_, N> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let least = self.0.iter().filter_map(|list| list.first().copied()).min()?;
        for list in &mut self.0 {
            if let Some((first, rest)) = list.split_first()
                && *first == least
            {
                *list = rest;
            }
        }
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(patterns: &[Pattern], name: &str) -> Vec<u32> {
        let index = Index::new(patterns.iter().zip(0..), true);
        Merged(index.find(name)).collect()
    }

    #[test]
    fn finds_by_name_and_by_what_it_begins_with() {
        let patterns: Vec<_> = ["get_*", "get_pods", "*", "get_pod*", "list_*", "get_pods", "ge*", "getter"]
            .map(Pattern::new)
            .into();
        for (name, rules) in [
            ("get_pods", &[0, 1, 2, 3, 5, 6][..]),
            ("get_pod", &[0, 2, 3, 6]),
            ("get_", &[0, 2, 6]),
            ("getter", &[2, 6, 7]),
            ("getters", &[2, 6]),
            ("g", &[2]),
            ("zzz", &[2]),
            ("", &[2]),
        ] {
            assert_eq!(find(&patterns, name), rules, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Whatever matches is found; what is found begins as the name does.
        #[test]
        fn nothing_that_matches_is_missed(
            patterns in proptest::collection::vec("[ab]{0,4}\\\\*?[ab]{0,2}", 0..20),
            name in "[ab]{0,6}",
        ) {
            let patterns: Vec<_> = patterns.iter().map(|text| Pattern::new(text)).collect();
            let found = find(&patterns, &name);
            for (pattern, rule) in patterns.iter().zip(0_u32..) {
                prop_assert!(!pattern.matches(&name) || found.contains(&rule), "{pattern:?}");
                prop_assert!(!found.contains(&rule) || name.starts_with(pattern.prefix()), "{pattern:?}");
            }
            prop_assert!(found.is_sorted());
        }
    }
}
