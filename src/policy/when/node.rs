//! What an expression is made of once its names and types are checked.

use std::rc::Rc;

/// What a part of an expression is, as far as it can be told before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Bool,
    Integer,
    Decimal,
    Text,
    Timestamp,
    Duration,
    List,
    /// Told by the call: a claim, an argument, or a part of one.
    Any,
}

/// A checked expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Integer(i64),
    Decimal(f64),
    Text(String),
    /// Seconds since the epoch.
    Timestamp(i64),
    /// Seconds.
    Duration(i64),
    List(Vec<Node>),
    Variable(Variable),
    Claim(Rc<str>),
    Argument(String),
    Header(String),
    Member(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    /// Whether a claim, an argument, a header or a member is there.
    Has(Box<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Issuer,
    Subject,
    ClientId,
    KubernetesUser,
    ApiKey,
    SpiffeId,
    Groups,
    Scopes,
    Method,
    Tool,
    Prompt,
    Resource,
    Task,
    SourceAddress,
    Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    Integer,
    Decimal,
    Text,
    Timestamp,
    Duration,
    FullYear,
    Month,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
}
