//! The names that an expression may use: variables, functions, and what CEL has and this has not.

use super::node::{Function, Type, Variable};

pub(super) const CALLER: &[(&str, Variable, Type)] = &[
    ("issuer", Variable::Issuer, Type::Text),
    ("subject", Variable::Subject, Type::Text),
    ("client_id", Variable::ClientId, Type::Text),
    ("kubernetes_user", Variable::KubernetesUser, Type::Text),
    ("api_key", Variable::ApiKey, Type::Text),
    ("spiffe_id", Variable::SpiffeId, Type::Text),
    ("groups", Variable::Groups, Type::List),
    ("scopes", Variable::Scopes, Type::List),
];

pub(super) const VARIABLES: &[(&str, Variable, Type)] = &[
    ("method", Variable::Method, Type::Text),
    ("tool", Variable::Tool, Type::Text),
    ("prompt", Variable::Prompt, Type::Text),
    ("resource", Variable::Resource, Type::Text),
    ("task", Variable::Task, Type::Text),
    ("now", Variable::Now, Type::Timestamp),
];

/// Names that lead to others.
pub(super) const ROOTS: &[&str] = &["caller", "args", "source", "headers"];

/// By name: of what, with which argument, to what.
pub(super) const METHODS: &[(&str, Function, Type, Type)] = &[
    ("startsWith", Function::StartsWith, Type::Text, Type::Bool),
    ("endsWith", Function::EndsWith, Type::Text, Type::Bool),
    ("contains", Function::Contains, Type::Text, Type::Bool),
    ("getFullYear", Function::FullYear, Type::Timestamp, Type::Integer),
    ("getMonth", Function::Month, Type::Timestamp, Type::Integer),
    ("getDayOfMonth", Function::DayOfMonth, Type::Timestamp, Type::Integer),
    ("getDate", Function::Date, Type::Timestamp, Type::Integer),
    ("getDayOfWeek", Function::DayOfWeek, Type::Timestamp, Type::Integer),
    ("getHours", Function::Hours, Type::Timestamp, Type::Integer),
    ("getMinutes", Function::Minutes, Type::Timestamp, Type::Integer),
    ("getSeconds", Function::Seconds, Type::Timestamp, Type::Integer),
];

pub(super) const CONVERSIONS: &[(&str, Function, Type)] = &[
    ("int", Function::Integer, Type::Integer),
    ("double", Function::Decimal, Type::Decimal),
    ("string", Function::Text, Type::Text),
    ("timestamp", Function::Timestamp, Type::Timestamp),
    ("duration", Function::Duration, Type::Duration),
];

pub(super) const COMPREHENSIONS: &[&str] =
    &["all", "exists", "exists_one", "map", "filter", "existsOne", "transformList", "transformMap"];
