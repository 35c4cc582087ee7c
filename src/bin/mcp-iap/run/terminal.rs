//! What may go to a terminal: clients choose names, and a terminal obeys control characters.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub coloured: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

impl Style {
    /// Of standard output: colours on a terminal, unless `NO_COLOR` is set (no-color.org) or it has none.
    pub fn of_stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { coloured: std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb }
    }

    pub fn paint(self, colour: Colour, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8) } else { text.to_owned() }
    }
}

/// Text in which everything that is not plainly visible is written out: control and format characters
/// (also those that turn the direction), lone spaces of other kinds, what joins the character before.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' => escaped.push(c),
            _ => escaped.extend(c.escape_debug()),
        }
    }
    escaped
}

/// JSON in which the same characters are written as JSON writes them; outside of texts there are none.
pub fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c.is_ascii_graphic() || c == ' ' || (!c.is_ascii() && c.escape_debug().eq([c])) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                // To `String` nothing fails.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const ATTACKS: &[&str] = &[
        "\u{1b}[2J\u{1b}[31mallowed",
        "\u{1b}]0;title\u{7}",
        "\u{9b}31m",
        "\u{85}",
        "\r\n12:00:00 allowed",
        "\u{8}\u{8}",
        "\u{7f}",
        "\u{202e}dewolla",
        "\u{2066}x\u{2069}",
        "\u{200b}",
        "\u{feff}",
        "\u{2028}",
        "\u{2029}",
        "\u{e0041}",
        "a\u{301}\u{301}\u{301}",
        "\0",
        "\t",
        "\u{a0}",
        "\u{e000}",
    ];

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        for attack in ATTACKS {
            let shown = escape(attack);
            assert!(shown.contains('\\'), "{attack:?}");
            assert!(shown.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{attack:?} gives {shown:?}");
            let json = serde_json::to_string(attack).unwrap();
            let escaped = escape_json(&json);
            assert!(
                escaped.chars().all(|c| c.is_ascii_graphic() || c == ' '),
                "{attack:?} gives {escaped:?}"
            );
            assert_eq!(serde_json::from_str::<Value>(&escaped).unwrap(), *attack, "means the same");
        }
        assert_eq!(escape("\\u{1b}"), "\\\\u{1b}", "what is written out can't be feigned");
    }

    #[test]
    fn what_is_visible_stays() {
        for text in ["get_pods", "it's \"ö\"", "名前", "🦀 x"] {
            assert_eq!((escape(text).as_str(), escape_json(text).as_str()), (text, text));
        }
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        assert_eq!(Style { coloured: true }.paint(Colour::Red, "no"), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(Style { coloured: false }.paint(Colour::Red, "no"), "no");
    }
}
