//! The words of an expression (CEL language definition, "Syntax").

use super::Fault;

/// One word, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) word: Word,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Name(String),
    /// Without a sign: what stands before it is an operator.
    Integer(u64),
    Decimal(f64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// The longer ones first.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")", "[", "]",
    ".", ",",
];

/// Cuts an expression into its words, the last being [`Word::End`].
pub(super) fn words(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let at = text.len().saturating_sub(rest.len());
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { word: Word::End, at });
            return Ok(tokens);
        };
        let (word, behind) = if first.is_ascii_digit() {
            number(rest, at)?
        } else if first == '"' || first == '\'' {
            string(rest, at, false)?
        } else if let Some(raw) = rest.strip_prefix('r').filter(|raw| raw.starts_with(['"', '\''])) {
            string(raw, at, true)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
            if behind.starts_with(['"', '\'']) {
                return Err(Fault::at(
                    at,
                    "is no text that is known here",
                    "write texts like \"a\" or r\"a\"",
                ));
            }
            (Word::Name(name.to_owned()), behind)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Word::Sign(sign), rest.strip_prefix(sign).unwrap_or_default())
        } else {
            return Err(Fault::at(at, "has a character that no expression has", "mend it"));
        };
        tokens.push(Token { word, at });
        rest = behind;
    }
}

fn number(text: &str, at: usize) -> Result<(Word, &str), Fault> {
    let wrong = || Fault::at(at, "is no number that is known here", "write it like `10` or `1.5`");
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let end = digits(text);
    let fraction = text.get(end..).and_then(|rest| rest.strip_prefix('.')).map_or(0, digits);
    let end_of_all = if fraction > 0 { end.saturating_add(1).saturating_add(fraction) } else { end };
    let (number, behind) = text.split_at_checked(end_of_all).ok_or_else(wrong)?;
    if behind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
        return Err(wrong());
    }
    let word = match fraction {
        0 => Word::Integer(number.parse().map_err(|_| wrong())?),
        _ => Word::Decimal(number.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(wrong)?),
    };
    Ok((word, behind))
}

/// A text from its opening quote on.
fn string(text: &str, at: usize, is_raw: bool) -> Result<(Word, &str), Fault> {
    let wrong = |reason| Fault::at(at, reason, "end it with the quote that it begins with; escape with `\\`");
    let mut chars = text.chars();
    let quote = chars.next().unwrap_or('"');
    let mut content = String::new();
    while let Some(char) = chars.next() {
        match char {
            _ if char == quote => return Ok((Word::Text(content), chars.as_str())),
            '\\' if !is_raw => content.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(plain @ ('\\' | '"' | '\'' | '`' | '?')) => plain,
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                    code.and_then(char::from_u32).ok_or_else(|| wrong("has an escape that is none"))?
                }
                _ => return Err(wrong("has an escape that is none")),
            }),
            '\n' | '\r' => break,
            _ => content.push(char),
        }
    }
    Err(wrong("has a text without an end"))
}
