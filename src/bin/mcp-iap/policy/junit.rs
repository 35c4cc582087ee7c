//! Results as JUnit XML, as build servers read it.

use std::fmt::Write as _;

/// One case: its file, its name, and what differs.
pub struct Result<'a> {
    pub file: &'a str,
    pub name: &'a str,
    pub differences: &'a [String],
}

/// The whole document.
pub fn document(results: &[Result<'_>]) -> String {
    let failures = results.iter().filter(|result| !result.differences.is_empty()).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"mcp-iap\" tests=\"{}\" failures=\"{failures}\">\n",
        results.len()
    );
    for Result { file, name, differences } in results {
        let _ = write!(xml, "<testcase classname=\"{}\" name=\"{}\"", escape(file), escape(name));
        let _ = if differences.is_empty() {
            writeln!(xml, "/>")
        } else {
            writeln!(xml, "><failure message=\"{}\"/></testcase>", escape(&differences.join("; ")))
        };
    }
    xml + "</testsuite>\n</testsuites>\n"
}

/// Text for an attribute; what XML can't hold is replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_texts_of_xml() {
        let differences = ["a < \"b\"".to_owned()];
        let results = [
            Result { file: "f", name: "a&b\u{1}", differences: &[] },
            Result { file: "f", name: "c", differences: &differences },
        ];
        let xml = document(&results);
        assert!(xml.contains("tests=\"2\" failures=\"1\""));
        assert!(xml.contains("name=\"a&amp;b\u{fffd}\"/>"));
        assert!(xml.contains("<failure message=\"a &lt; &quot;b&quot;\"/>"));
    }
}
