//! What must not stand in a record: what proves somebody, and what the configuration names.
//!
//! Only that is masked, and not the text around it: else who adds something secret to a name hides what he asked for.

use crate::policy::Pattern;
use std::ops::Range;
use std::rc::Rc;

/// What stands in the place of what is masked, where the configuration says nothing else.
pub const MASK: &str = "***REDACTED***";

/// How much of a text may stand in a record at all, in bytes: more than is kept of it.
const SHOWN: usize = 16 * 1024;
/// How much of it is searched: what begins where it may stand, and is as long as a token may be, is found whole.
const SEARCHED: usize = 2 * SHOWN;

/// What is masked beside credentials.
#[derive(Clone, Debug)]
pub struct Masks {
    /// What stands in its place.
    pub mask: Rc<str>,
    /// Names of arguments, in lower case.
    pub names: Vec<Pattern>,
    /// Names of what rules read (`claims.NAME`, `headers.NAME`, `arguments.NAME`), in lower case.
    pub attributes: Vec<Pattern>,
    /// Forms of texts.
    pub forms: Vec<Form>,
}

impl Masks {
    /// Credentials alone are masked.
    #[must_use]
    pub fn none() -> Self {
        Self { mask: MASK.into(), names: Vec::new(), attributes: Vec::new(), forms: Vec::new() }
    }

    /// Whether an argument of this name is masked, whatever it holds.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        is_one(&self.names, name)
    }

    /// Whether what a rule reads under this name is masked, whatever it holds.
    #[must_use]
    pub fn has_attribute(&self, name: &str) -> bool {
        is_one(&self.attributes, name)
    }

    /// With what proves the caller of one request.
    #[must_use]
    pub fn and<'a>(&'a self, credential: Option<&'a str>) -> Secrets<'a> {
        Secrets { masks: self, credential: credential.filter(|credential| !credential.is_empty()) }
    }
}

fn is_one(patterns: &[Pattern], name: &str) -> bool {
    !patterns.is_empty() && {
        let lower = name.to_lowercase();
        patterns.iter().any(|pattern| pattern.matches(&lower))
    }
}

/// What must not stand in the record of one request.
#[derive(Clone, Copy, Debug)]
pub struct Secrets<'a> {
    pub(super) masks: &'a Masks,
    credential: Option<&'a str>,
}

impl Secrets<'_> {
    /// The text with the mask in the place of each secret; `None` where it has none. Of a text that is too long to be
    /// searched the rest is left out.
    #[must_use]
    pub fn hide(&self, text: &str) -> Option<String> {
        let searched = front(text, SEARCHED);
        let is_cut = searched.len() < text.len();
        let mut found = Vec::new();
        // What is searched for costs as well, and a token is long, where most texts are names.
        if let Some(credential) = self.credential.filter(|credential| credential.len() <= searched.len()) {
            let each = searched.match_indices(credential);
            found.extend(each.map(|(at, matched)| at..at.saturating_add(matched.len())));
        }
        find_jwts(searched, is_cut, dots, &mut found);
        for form in &self.masks.forms {
            form.find(searched, is_cut, &mut found);
        }
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by_key(|range| range.start);
        let shown = if is_cut { front(searched, SHOWN) } else { searched };
        let (mut hidden, mut at) = (String::new(), 0_usize);
        for Range { start, end } in found {
            if start >= at {
                hidden.push_str(shown.get(at..start.min(shown.len())).unwrap_or_default());
                hidden.push_str(&self.masks.mask);
            }
            at = at.max(end);
            if hidden.len() > SHOWN {
                return Some(hidden);
            }
        }
        hidden.push_str(shown.get(at..).unwrap_or_default());
        Some(hidden)
    }
}

/// A form of texts: pieces in this order, with any text between them. It stands in a text from the first to the last; a
/// `*` at its beginning or end takes the text up to there as well.
#[derive(Clone, Debug)]
pub struct Form {
    pieces: Vec<String>,
    from_beginning: bool,
    to_end: bool,
}

impl Form {
    /// Of a text in which `*` stands for any text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let pieces = text.split('*').filter(|piece| !piece.is_empty());
        Self {
            pieces: pieces.map(str::to_owned).collect(),
            from_beginning: text.starts_with('*'),
            to_end: text.ends_with('*'),
        }
    }

    fn find(&self, text: &str, is_cut: bool, found: &mut Vec<Range<usize>>) {
        let mut at = 0;
        while let Some(Range { start, end }) = self.next(text, at, is_cut) {
            found.push(start..end);
            if end <= at {
                break;
            }
            at = end;
        }
    }

    /// Where it stands next. The earliest place of each piece leaves the most for what follows.
    fn next(&self, text: &str, from: usize, is_cut: bool) -> Option<Range<usize>> {
        let (mut start, mut end) = (None, from);
        for piece in &self.pieces {
            match text.get(end..).and_then(|rest| rest.find(piece.as_str())) {
                Some(at) => {
                    let begin = end.saturating_add(at);
                    start = start.or(Some(begin));
                    end = begin.saturating_add(piece.len());
                }
                // The rest of it may stand in what is not searched.
                None if is_cut && start.is_some() => end = text.len(),
                None => return None,
            }
        }
        let start = if self.from_beginning { from } else { start.unwrap_or(from) };
        let end = if self.to_end { text.len() } else { end };
        (start < end).then_some(start..end)
    }
}

/// At most that much of its beginning.
fn front(text: &str, size: usize) -> &str {
    let end = if text.len() <= size { text.len() } else { text.floor_char_boundary(size) };
    text.get(..end).unwrap_or_default()
}

/// How a JSON object begins in base64url: `{"`, or white space behind the brace.
const BEGINNINGS: [&str; 5] = ["eyJ", "eyA", "ewo", "ew0", "ewk"];

fn dots(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'.').count()
}

/// Where a JWS or a JWE stands in a text, unencoded: a JSON object in base64url, and at least two dots behind it. What
/// `dots` is asked is what the text is gone through for.
fn find_jwts(text: &str, is_cut: bool, dots: impl Fn(&str) -> usize, found: &mut Vec<Range<usize>>) {
    // Most texts are names.
    if !is_cut && dots(text) < 2 {
        return;
    }
    let is_other = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let mut behind = 0_usize;
    for piece in text.split_inclusive(is_other) {
        let begin = behind;
        behind = behind.saturating_add(piece.len());
        let run = piece.trim_end_matches(is_other);
        // Of several beginnings in one run the first has the most dots behind it.
        let first = BEGINNINGS.iter().filter_map(|beginning| run.find(beginning)).min();
        let Some((at, token)) = first.and_then(|at| Some((at, run.get(at..)?))) else { continue };
        let may_go_on = is_cut && begin.saturating_add(run.len()) == text.len();
        if may_go_on || dots(token) >= 2 {
            let start = begin.saturating_add(at);
            found.push(start..start.saturating_add(token.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn hidden(forms: &[&str], credential: Option<&str>, text: &str) -> String {
        let forms = forms.iter().map(|form| Form::new(form)).collect();
        let masks = Masks { mask: "#".into(), forms, ..Masks::none() };
        masks.and(credential).hide(text).unwrap_or_else(|| "-".to_owned())
    }

    #[test]
    fn what_only_looks_like_it_is_no_token() {
        for (text, expected) in [
            ("eyJ.a.b", "#"),
            ("see eyJx.y.z. then", "see # then"),
            ("eyJ", "-"),
            ("eyJx.y", "-"),
            ("eyJ a.b.c", "-"),
            ("a.b.c", "-"),
            ("web", "-"),
            ("a.b.eyJ.c", "-"),
            ("eyJ.a eyJ.b", "-"),
            ("eyJeyJ.a.b", "#"),
            ("eyAieHAiOjF9.a.b", "#"),
            ("ewogICJ4IjoxfQ.a.b", "#"),
            ("a.eyJ.a.b/../é/eyJ.a.b?eyJ.a", "a.#/../é/#?eyJ.a"),
        ] {
            assert_eq!(hidden(&[], None, text), expected, "{text}");
        }
    }

    /// Else who sends many of them keeps a worker for a second: each would be followed to the end.
    #[test]
    fn many_beginnings_of_a_token_are_gone_through_once() {
        for piece in ["eyJ", "eyJ ", "eyJeyJ/"] {
            let text = format!(". .{}", piece.repeat(2_000));
            let looked_at = Cell::new(0);
            let mut found = Vec::new();
            let counting = |text: &str| {
                looked_at.set(looked_at.get() + text.len());
                dots(text)
            };
            find_jwts(&text, false, counting, &mut found);
            assert!(found.is_empty());
            // All of it to begin with, and then each run at most.
            assert!(looked_at.get() <= 2 * text.len(), "{} of {}", looked_at.get(), text.len());
        }
    }

    /// Else who reads what he should not hides that behind something that is masked.
    #[test]
    fn what_stands_around_a_secret_stays() {
        for (forms, credential, text, expected) in [
            (&[][..], Some("opaque-1"), "file:///etc/passwd?opaque-1&opaque-1", "file:///etc/passwd?#&#"),
            (&[], Some(""), "web", "-"),
            (&["AKIA"], None, "file:///etc/passwd?AKIA", "file:///etc/passwd?#"),
            (&["AKIA*"], None, "a AKIA0123 b", "a #"),
            (&["*AKIA"], None, "a AKIA0123 b", "#0123 b"),
            (&["*AKIA*"], None, "a AKIA0123 b", "#"),
            (&["<p>*</p>"], None, "x<p>1</p>y<p>2</p>z<p>", "x#y#z<p>"),
            (&["<p>*</p>"], None, "</p>", "-"),
            (&["*"], None, "any", "#"),
            (&["*"], None, "", "-"),
            (&["akia"], None, "AKIA", "-"),
            (&["abc", "bcd"], None, "abcd", "#"),
            (&["a", "b"], None, "ab-a", "##-#"),
            // What stands in the place of one is not searched for another.
            (&["x", "#"], None, "x", "#"),
        ] {
            assert_eq!(hidden(forms, credential, text), expected, "{forms:?} {text}");
        }
    }

    /// What is too long to be searched is none that is known to be harmless.
    #[test]
    fn a_secret_on_the_edge_of_what_is_searched_is_hidden() {
        let token = format!("eyJ{}.b.c", "x".repeat(2 * SEARCHED));
        assert_eq!(hidden(&[], None, &token), "#");
        assert_eq!(hidden(&["<p>*</p>"], None, &format!("x<p>{}</p>y", "1".repeat(2 * SEARCHED))), "x#");
        let secret = "s".repeat(SHOWN);
        let text = format!("{}{secret}{}", "é".repeat(SHOWN / 2 - 1), "z".repeat(SEARCHED));
        assert_eq!(hidden(&[], Some(&secret), &text), format!("{}#", "é".repeat(SHOWN / 2 - 1)));
        // Of a long text without one all may stand there; it is cut where it is written.
        assert_eq!(hidden(&["y"], None, &"x".repeat(3 * SEARCHED)), "-");
        assert!(hidden(&["x"], None, &"x".repeat(3 * SEARCHED)).len() <= SHOWN + 1);
    }
}
