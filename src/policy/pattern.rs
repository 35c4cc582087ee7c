//! Names with `*` for any text, matched byte for byte: tool names are case-sensitive (MCP, "Tools").

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    first: String,
    /// What must come after each `*`, in order; the last one ends the name.
    after: Vec<String>,
    /// What stands before its first `?` and what behind it.
    halves: Option<Box<(Self, Self)>>,
}

impl Pattern {
    /// Of a text in which `*` stands for any text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let halves = text.split_once('?').map(|(before, query)| (Self::whole(before), Self::whole(query)));
        Self { halves: halves.map(Box::new), ..Self::whole(text) }
    }

    fn whole(text: &str) -> Self {
        let mut pieces = text.split('*').map(str::to_owned);
        Self { first: pieces.next().unwrap_or_default(), after: pieces.collect(), halves: None }
    }

    /// The URIs of a template (RFC 6570), and more: any text for each expression.
    pub(super) fn of_template(template: &str) -> Self {
        let mut pieces = template.split('{');
        let first = pieces.next().unwrap_or_default().to_owned();
        // Behind an expression that does not end nothing is known.
        let after = pieces.map(|piece| piece.split_once('}').map_or("", |(_, text)| text).to_owned());
        Self { first, after: after.collect(), halves: None }
    }

    /// Whether this is a name of it.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((last, middle)) = self.after.split_last() else { return name == self.first };
        let Some(mut rest) = name.strip_prefix(&self.first) else { return false };
        for piece in middle {
            // The earliest place leaves the most for what follows.
            let Some((_, behind)) = rest.split_once(piece.as_str()) else { return false };
            rest = behind;
        }
        rest.ends_with(last.as_str())
    }

    /// The name, where it is one.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        self.after.is_empty().then_some(self.first.as_str())
    }

    /// What every name of it begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.first
    }

    /// A name that stands for every one of it. A NUL, which no pattern has, stands for whatever its `*` stand for:
    /// only a `*` can take it. What matches it matches each name of this pattern.
    pub(super) fn every_name(&self) -> String {
        let mut name = self.first.clone();
        for piece in &self.after {
            name.push('\0');
            name.push_str(piece);
        }
        name
    }

    /// Whether some name is one of both.
    fn meets(&self, other: &Self) -> bool {
        let (Some(last), Some(others)) = (self.after.last(), other.after.last()) else {
            // One of them is a name.
            return match self.literal() {
                Some(name) => other.matches(name),
                None => self.matches(&other.first),
            };
        };
        // What stands in the middle of either goes where the other has a `*`.
        let begins = self.first.starts_with(&other.first) || other.first.starts_with(&self.first);
        begins && (last.ends_with(others.as_str()) || others.ends_with(last.as_str()))
    }

    /// Whether an allow rule takes some URI of a template; see [`Self::matches_uri`].
    pub(super) fn meets_template(&self, template: &Self) -> bool {
        let has_query = template.first.contains('?') || template.after.iter().any(|text| text.contains('?'));
        (!has_query || self.halves.is_some()) && self.meets(template)
    }

    /// Whether a deny rule takes every URI of a template, of which this stands for all ([`Self::every_name`]).
    pub(super) fn covers_template(&self, every_uri: &str) -> bool {
        // Where an expression may have brought the `?`, what stands before it is not known.
        let before_query = every_uri.split_once('?').map(|(before, _)| before);
        let before_query = before_query.filter(|before| !before.contains('\0'));
        self.matches(every_uri) || before_query.is_some_and(|before| self.matches(before))
    }

    /// As [`Self::matches`], for a resource: many servers look at what stands before a query alone. So an
    /// allow pattern without `?` takes no URI with a query, one with `?` must match before it and behind it, and
    /// a deny pattern takes it with and without.
    pub(super) fn matches_uri(&self, uri: &str, denies: bool) -> bool {
        let Some((before, query)) = uri.split_once('?') else { return self.matches(uri) };
        match (denies, self.halves.as_deref()) {
            (true, _) => self.matches(uri) || self.matches(before),
            (false, Some((ours, theirs))) => ours.matches(before) && theirs.matches(query),
            (false, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_what_it_matches_whatever_stands_for_the_stars() {
        for (pattern, other, covers) in [
            ("*", "*", true),
            ("*", "", true),
            ("get_*", "get_x", true),
            ("get_*", "get_*", true),
            ("get_*", "get_x*y", true),
            ("get_*", "*", false),
            ("get_x", "get_*", false),
            ("*_x", "get_*_x", true),
            ("*_x", "get_*", false),
            ("a*b*c", "a*c", false),
            ("a*c", "a*b*c", true),
        ] {
            let every = Pattern::new(other).every_name();
            assert_eq!(Pattern::new(pattern).matches(&every), covers, "{pattern} {other}");
        }
    }

    #[test]
    fn a_query_widens_no_allow_and_narrows_no_deny() {
        for (pattern, uri, allows, denies) in [
            ("docs://*.md", "docs://a.md", true, true),
            ("docs://*.md", "docs://secret?.md", false, true),
            ("docs://*", "docs://a?x=1", false, true),
            ("docs://*?x=*", "docs://a?x=1", true, true),
            // A `*` before the `?` takes none.
            ("docs://*?x=*", "docs://secret?y=2&?x=1", false, true),
            ("docs://*.md?x=*", "docs://secret?a.md?x=1", false, true),
            ("docs://*?*", "docs://a?x?y", true, true),
            ("docs://*?x", "docs://a", false, false),
            ("docs://secret", "docs://secret?x", false, true),
            ("docs://other", "docs://secret?x", false, false),
        ] {
            let pattern = Pattern::new(pattern);
            assert_eq!(
                (pattern.matches_uri(uri, false), pattern.matches_uri(uri, true)),
                (allows, denies),
                "{uri}"
            );
        }
    }

    /// What follows a `*` is looked for from its earliest place on and never again: the time is that of one
    /// pass, however many `*` there are.
    #[test]
    fn a_hostile_pattern_takes_one_pass() {
        let pattern = Pattern::new(&"a*".repeat(500).replace("a*a*a*a*", "a**a*aa*"));
        let name = "a".repeat(1 << 20);
        assert!(pattern.matches(&name));
        let never = Pattern::new(&format!("{}b", "*a".repeat(500)));
        assert!(!never.matches(&name));
        assert!(!never.matches(&Pattern::new(&name).every_name()));
    }

    #[test]
    fn matches_names() {
        for (pattern, name, expected) in [
            ("get_x", "get_x", true),
            ("get_x", "get_xy", false),
            ("get_x", "GET_X", false),
            ("get_*", "get_", true),
            ("get_*", "get_pods", true),
            ("get_*", "xget_", false),
            ("*", "", true),
            ("*", "anything", true),
            ("*_pods", "list_pods", true),
            ("*_pods", "list_pods2", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("**", "x", true),
            ("file:///srv/*", "file:///srv/../etc", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }
}
