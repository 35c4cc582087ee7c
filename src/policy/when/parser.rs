//! From words to a tree (CEL language definition, "Grammar"), bounded in size and depth.

use super::Fault;
use super::lexer::{Token, Word, words};

/// How many nodes an expression may have: each is evaluated at most once.
const MAX_NODES: usize = 256;
/// How deep they may nest.
const MAX_DEPTH: usize = 32;

/// An expression as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ast {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Integer(i64),
    Decimal(f64),
    Text(String),
    List(Vec<Ast>),
    Name(String),
    Member(Box<Ast>, String),
    Index(Box<Ast>, Box<Ast>),
    /// A function, of a target or by itself.
    Call(Option<Box<Ast>>, String, Vec<Ast>),
    Not(Box<Ast>),
    Negate(Box<Ast>),
    Binary(&'static str, Box<Ast>, Box<Ast>),
    Choice(Box<Ast>, Box<Ast>, Box<Ast>),
}

/// Operators that go from left to right, by how tightly they bind, the loosest first.
const LEVELS: &[&[&str]] =
    &[&["||"], &["&&"], &["==", "!=", "<=", ">=", "<", ">", "in"], &["+", "-"], &["*", "/", "%"]];

/// Names that CEL keeps for itself.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

pub(super) fn parse(text: &str) -> Result<Ast, Fault> {
    let mut parser = Parser { words: words(text)?.into_iter(), nodes: 0, depth: 0 };
    let ast = parser.choice()?;
    match parser.peek() {
        Word::End => Ok(ast),
        _ => Err(parser.unexpected()),
    }
}

struct Parser {
    words: std::vec::IntoIter<Token>,
    nodes: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Word {
        self.words.as_slice().first().map_or(Word::End, |token| token.word.clone())
    }

    fn at(&self) -> usize {
        self.words.as_slice().first().map_or(0, |token| token.at)
    }

    /// Takes the sign, or the word `in`, if it comes next.
    fn take(&mut self, sign: &str) -> bool {
        let comes = match self.peek() {
            Word::Sign(next) => next == sign,
            Word::Name(name) => name == "in" && sign == "in",
            _ => false,
        };
        if comes {
            self.words.next();
        }
        comes
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Fault {
        let reason = if self.peek() == Word::End { "ends too early" } else { "has something unexpected" };
        Fault::at(self.at(), reason, "write one expression of CEL, like `args.replicas <= 10`")
    }

    fn node(&mut self, at: usize, kind: Kind) -> Result<Ast, Fault> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            return Err(Fault::at(at, "is too large", "write at most 256 names, values and operators"));
        }
        Ok(Ast { at, kind })
    }

    fn choice(&mut self) -> Result<Ast, Fault> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(Fault::at(self.at(), "nests too deep", "nest at most 32 times"));
        }
        let at = self.at();
        let condition = self.level(LEVELS)?;
        let ast = if self.take("?") {
            let first = self.choice()?;
            self.expect(":")?;
            let second = self.choice()?;
            self.node(at, Kind::Choice(condition.into(), first.into(), second.into()))?
        } else {
            condition
        };
        self.depth = self.depth.saturating_sub(1);
        Ok(ast)
    }

    fn level(&mut self, levels: &[&[&'static str]]) -> Result<Ast, Fault> {
        let Some((signs, tighter)) = levels.split_first() else { return self.unary() };
        let mut left = self.level(tighter)?;
        loop {
            let at = self.at();
            let Some(sign) = signs.iter().find(|sign| self.take(sign)) else { return Ok(left) };
            let right = self.level(tighter)?;
            left = self.node(at, Kind::Binary(sign, left.into(), right.into()))?;
        }
    }

    fn unary(&mut self) -> Result<Ast, Fault> {
        let at = self.at();
        let sign = match self.peek() {
            Word::Sign(sign @ ("!" | "-")) => sign,
            _ => return self.member(),
        };
        self.words.next();
        if let (Word::Integer(number), "-") = (self.peek(), sign) {
            let number = 0_i64.checked_sub_unsigned(number).ok_or_else(|| too_large(at))?;
            self.words.next();
            let literal = self.node(at, Kind::Integer(number))?;
            return self.members(literal);
        }
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(Fault::at(at, "nests too deep", "nest at most 32 times"));
        }
        let operand = Box::new(self.unary()?);
        self.depth = self.depth.saturating_sub(1);
        self.node(at, if sign == "!" { Kind::Not(operand) } else { Kind::Negate(operand) })
    }

    fn member(&mut self) -> Result<Ast, Fault> {
        let primary = self.primary()?;
        self.members(primary)
    }

    fn members(&mut self, mut ast: Ast) -> Result<Ast, Fault> {
        loop {
            let at = self.at();
            if self.take(".") {
                let Word::Name(name) = self.peek() else { return Err(self.unexpected()) };
                self.words.next();
                ast = if self.take("(") {
                    let arguments = self.list(")")?;
                    self.node(at, Kind::Call(Some(ast.into()), name, arguments))?
                } else {
                    self.node(at, Kind::Member(ast.into(), name))?
                };
            } else if self.take("[") {
                let index = self.choice()?;
                self.expect("]")?;
                ast = self.node(at, Kind::Index(ast.into(), index.into()))?;
            } else {
                return Ok(ast);
            }
        }
    }

    fn primary(&mut self) -> Result<Ast, Fault> {
        let at = self.at();
        let kind = match self.peek() {
            Word::Integer(number) => Kind::Integer(i64::try_from(number).map_err(|_| too_large(at))?),
            Word::Decimal(number) => Kind::Decimal(number),
            Word::Text(text) => Kind::Text(text),
            Word::Name(name) => {
                self.words.next();
                let kind = match name.as_str() {
                    "true" => Kind::Bool(true),
                    "false" => Kind::Bool(false),
                    "null" => Kind::Null,
                    name if RESERVED.contains(&name) => {
                        return Err(Fault::at(
                            at,
                            "has a word that CEL keeps for itself",
                            "use another name",
                        ));
                    }
                    _ if self.take("(") => Kind::Call(None, name, self.list(")")?),
                    _ => Kind::Name(name),
                };
                return self.node(at, kind);
            }
            Word::Sign("(") => {
                self.words.next();
                let inner = self.choice()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Word::Sign("[") => {
                self.words.next();
                let elements = self.list("]")?;
                return self.node(at, Kind::List(elements));
            }
            Word::Sign(_) | Word::End => return Err(self.unexpected()),
        };
        self.words.next();
        self.node(at, kind)
    }

    /// Expressions with commas between, up to the closing sign.
    fn list(&mut self, close: &str) -> Result<Vec<Ast>, Fault> {
        let mut elements = Vec::new();
        if self.take(close) {
            return Ok(elements);
        }
        loop {
            elements.push(self.choice()?);
            if self.take(close) {
                return Ok(elements);
            }
            self.expect(",")?;
        }
    }
}

fn too_large(at: usize) -> Fault {
    Fault::at(at, "has a number that is too large", "use 64 bits")
}
