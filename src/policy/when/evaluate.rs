//! The evaluation of a checked expression: each node once, `None` for every error.

use super::super::call::Call;
use super::super::utc_offset;
use super::super::window::{DAY, date, weekday};
use super::node::{Function, Node, Operator, Variable};
use super::value::{MAX_TEXT, Value, all, duration, instant};
use crate::head::One;
use crate::json;
use crate::mcp::Operation;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Whether the expression holds; `None` where an error keeps it from being said.
pub(super) fn condition(node: &Node, call: &Call<'_>) -> Option<bool> {
    truth(node, call)
}

/// A truth value; anything else is an error.
fn truth(node: &Node, call: &Call<'_>) -> Option<bool> {
    match evaluate(node, call)? {
        Value::Bool(bool) => Some(bool),
        _ => None,
    }
}

fn evaluate<'a>(node: &'a Node, call: &Call<'a>) -> Option<Value<'a>> {
    let value = |node: &'a Node| evaluate(node, call);
    Some(match node {
        Node::Null => Value::Null,
        Node::Bool(bool) => Value::Bool(*bool),
        Node::Integer(number) => Value::Integer(*number),
        Node::Decimal(number) => Value::decimal(*number)?,
        Node::Text(text) => Value::Text(Cow::Borrowed(text)),
        Node::Timestamp(seconds) => Value::Timestamp(*seconds),
        Node::Duration(seconds) => Value::Duration(*seconds),
        Node::List(elements) => Value::List(elements.iter().map(value).collect::<Option<_>>()?),
        Node::Variable(variable) => read(*variable, call)?,
        Node::Claim(path) => Value::of(call.caller.claim(path)?)?,
        Node::Argument(name) => {
            let raw = call.arguments?.get(name)?;
            if raw.len() > MAX_TEXT {
                return None;
            }
            Value::of_owned(json::parse(raw).ok()?)?
        }
        Node::Header(name) => Value::text(Cow::Borrowed(call.head?.one(name).text()?))?,
        Node::Member(target, name) => value(target)?.member(name)?,
        Node::Index(target, index) => {
            let (Value::List(mut list), Value::Integer(index)) = (value(target)?, value(index)?) else {
                return None;
            };
            let index = usize::try_from(index).ok().filter(|index| *index < list.len())?;
            list.swap_remove(index)
        }
        Node::Has(target) => Value::Bool(has(target, call)?),
        Node::Not(operand) => Value::Bool(!truth(operand, call)?),
        Node::Negate(operand) => match value(operand)? {
            Value::Integer(number) => Value::Integer(number.checked_neg()?),
            Value::Decimal(number) => Value::decimal(-number)?,
            _ => return None,
        },
        // Either side decides alone, whatever the other is (CEL language definition, "Logical Operators").
        Node::And(left, right) => match truth(left, call) {
            Some(false) => Value::Bool(false),
            left => match (left, truth(right, call)) {
                (_, Some(false)) => Value::Bool(false),
                (Some(true), Some(true)) => Value::Bool(true),
                _ => return None,
            },
        },
        Node::Or(left, right) => match truth(left, call) {
            Some(true) => Value::Bool(true),
            left => match (left, truth(right, call)) {
                (_, Some(true)) => Value::Bool(true),
                (Some(false), Some(false)) => Value::Bool(false),
                _ => return None,
            },
        },
        Node::Choice(condition, first, second) => {
            value(if truth(condition, call)? { first } else { second })?
        }
        Node::Binary(operator, left, right) => {
            let asks_for_null = matches!((&**left, &**right), (Node::Null, _) | (_, Node::Null));
            binary(*operator, value(left)?, value(right)?, asks_for_null)?
        }
        Node::Call(function, arguments) => {
            let mut arguments = arguments.iter().map(value);
            let first = arguments.next()??;
            let second = match arguments.next() {
                Some(argument) => Some(argument?),
                None => None,
            };
            function_of(*function, first, second)?
        }
    })
}

fn read<'a>(variable: Variable, call: &Call<'a>) -> Option<Value<'a>> {
    let caller = call.caller;
    let operation = call.operations.first();
    // Of what the call is not about the name is empty.
    let name = |name: Option<&'a str>| Value::text(Cow::Borrowed(name.unwrap_or_default()));
    match variable {
        // Empty where no token names them: what nobody says is equal to nothing.
        Variable::Issuer => given(&caller.issuer),
        Variable::Subject => given(&caller.subject),
        Variable::ClientId => Value::text(Cow::Borrowed(caller.client_id.as_deref()?)),
        Variable::KubernetesUser => Value::text(Cow::Borrowed(caller.kubernetes_user()?)),
        Variable::ApiKey => Value::text(Cow::Borrowed(caller.api_key()?)),
        Variable::SpiffeId => Value::text(Cow::Borrowed(caller.spiffe_id()?)),
        Variable::Groups => texts(caller.groups.iter().map(String::as_str)),
        Variable::Scopes => texts(caller.scope.names()),
        Variable::Method => name(Some(call.method)),
        Variable::Tool => name(match operation {
            Some(Operation::Tool(name)) => Some(name),
            _ => None,
        }),
        Variable::Prompt => name(match operation {
            Some(Operation::Prompt(name)) => Some(name),
            _ => None,
        }),
        Variable::Resource => name(match operation {
            Some(Operation::Resource(uri)) => Some(uri),
            _ => None,
        }),
        Variable::Task => name(match operation {
            Some(Operation::Task(id)) => Some(id),
            _ => None,
        }),
        Variable::SourceAddress => {
            Value::text(Cow::Owned(call.sender?.address()?.to_canonical().to_string()))
        }
        Variable::Now => i64::try_from(call.now?.0).ok().map(Value::Timestamp),
    }
}

fn given(text: &str) -> Option<Value<'_>> {
    if text.is_empty() { None } else { Value::text(Cow::Borrowed(text)) }
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Value<'a>> {
    texts.map(|text| Value::text(Cow::Borrowed(text))).collect::<Option<_>>().map(Value::List)
}

/// Whether it is there. Of what is no object nothing can be said.
fn has(target: &Node, call: &Call<'_>) -> Option<bool> {
    match target {
        Node::Claim(path) => Some(call.caller.claim(path).is_some()),
        Node::Argument(name) => match call.arguments?.get(name) {
            Some(_) => Some(true),
            None if call.arguments?.has_variant_of(name) => None,
            None => Some(false),
        },
        Node::Header(name) => match call.head?.one(name) {
            One::Text(_) => Some(true),
            One::Absent => Some(false),
            One::Unusable => None,
        },
        Node::Member(target, name) => match evaluate(target, call)? {
            Value::Object(members) => has_member(&members, name),
            _ => None,
        },
        _ => None,
    }
}

/// Whether an object has this member; `None` where it has one that some server may take for it.
fn has_member(members: &json::Map<String, json::Value>, name: &str) -> Option<bool> {
    if members.contains_key(name) {
        return Some(true);
    }
    let has_variant = members.keys().any(|candidate| json::same_when_folded(candidate, name));
    (!has_variant).then_some(false)
}

/// `asks_for_null`: one side is a `null` that is written in the expression, which is compared with every kind.
fn binary<'a>(
    operator: Operator,
    left: Value<'a>,
    right: Value<'a>,
    asks_for_null: bool,
) -> Option<Value<'a>> {
    let differs = |one: &Value<'_>, other: &Value<'_>| {
        one.equals(other).map_or(asks_for_null.then_some(true), |same| Some(!same))
    };
    let ordered = |holds: fn(Ordering) -> bool| left.compare(&right).map(holds).map(Value::Bool);
    match operator {
        Operator::Equal => differs(&left, &right).map(|differ| Value::Bool(!differ)),
        Operator::Unequal => differs(&left, &right).map(Value::Bool),
        Operator::Less => ordered(Ordering::is_lt),
        Operator::AtMost => ordered(Ordering::is_le),
        Operator::Greater => ordered(Ordering::is_gt),
        Operator::AtLeast => ordered(Ordering::is_ge),
        Operator::In => match (left, right) {
            (left, Value::List(list)) => {
                // One that is the same decides, whatever the others are.
                all(list.iter().map(|element| differs(&left, element))).map(|differ| Value::Bool(!differ))
            }
            (Value::Text(name), Value::Object(members)) => has_member(&members, &name).map(Value::Bool),
            _ => None,
        },
        Operator::Add => match (left, right) {
            (Value::Text(left), Value::Text(right)) => {
                let mut text = left.into_owned();
                text.push_str(&right);
                Value::text(Cow::Owned(text))
            }
            (Value::Integer(left), Value::Integer(right)) => left.checked_add(right).map(Value::Integer),
            (Value::Decimal(left), Value::Decimal(right)) => Value::decimal(left + right),
            (Value::Duration(left), Value::Duration(right)) => left.checked_add(right).map(Value::Duration),
            (Value::Timestamp(at), Value::Duration(span)) | (Value::Duration(span), Value::Timestamp(at)) => {
                at.checked_add(span).map(Value::Timestamp)
            }
            _ => None,
        },
        Operator::Subtract => match (left, right) {
            (Value::Integer(left), Value::Integer(right)) => left.checked_sub(right).map(Value::Integer),
            (Value::Decimal(left), Value::Decimal(right)) => Value::decimal(left - right),
            (Value::Duration(left), Value::Duration(right)) => left.checked_sub(right).map(Value::Duration),
            (Value::Timestamp(left), Value::Timestamp(right)) => left.checked_sub(right).map(Value::Duration),
            (Value::Timestamp(at), Value::Duration(span)) => at.checked_sub(span).map(Value::Timestamp),
            _ => None,
        },
        Operator::Multiply => match (left, right) {
            (Value::Integer(left), Value::Integer(right)) => left.checked_mul(right).map(Value::Integer),
            (Value::Decimal(left), Value::Decimal(right)) => Value::decimal(left * right),
            _ => None,
        },
        Operator::Divide => match (left, right) {
            (Value::Integer(left), Value::Integer(right)) => left.checked_div(right).map(Value::Integer),
            (Value::Decimal(left), Value::Decimal(right)) => Value::decimal(left / right),
            _ => None,
        },
        Operator::Remainder => match (left, right) {
            (Value::Integer(left), Value::Integer(right)) => left.checked_rem(right).map(Value::Integer),
            _ => None,
        },
    }
}

fn function_of<'a>(function: Function, first: Value<'a>, second: Option<Value<'a>>) -> Option<Value<'a>> {
    let texts = |holds: fn(&str, &str) -> bool| match (&first, &second) {
        (Value::Text(text), Some(Value::Text(part))) => Some(Value::Bool(holds(text, part))),
        _ => None,
    };
    let size = |size: usize| i64::try_from(size).ok().map(Value::Integer);
    match function {
        Function::StartsWith => texts(|text, part| text.starts_with(part)),
        Function::EndsWith => texts(|text, part| text.ends_with(part)),
        Function::Contains => texts(|text, part| text.contains(part)),
        Function::Size => match first {
            Value::Text(text) => size(text.chars().count()),
            Value::List(list) => size(list.len()),
            Value::Object(members) => size(members.len()),
            _ => None,
        },
        Function::Integer => match first {
            Value::Integer(number) | Value::Timestamp(number) => Some(Value::Integer(number)),
            Value::Text(text) => text.parse().ok().map(Value::Integer),
            Value::Decimal(number) => whole(number).map(Value::Integer),
            _ => None,
        },
        Function::Decimal => match first {
            #[expect(clippy::cast_precision_loss, reason = "as CEL has it: the nearest one")]
            Value::Integer(number) => Value::decimal(number as f64),
            Value::Decimal(number) => Value::decimal(number),
            Value::Text(text) => Value::decimal(text.parse().ok()?),
            _ => None,
        },
        Function::Text => match first {
            Value::Text(text) => Some(Value::Text(text)),
            Value::Integer(number) => Value::text(Cow::Owned(number.to_string())),
            Value::Bool(bool) => Value::text(Cow::Borrowed(if bool { "true" } else { "false" })),
            _ => None,
        },
        Function::Timestamp => match first {
            Value::Text(text) => instant(&text).map(Value::Timestamp),
            Value::Timestamp(at) => Some(Value::Timestamp(at)),
            _ => None,
        },
        Function::Duration => match first {
            Value::Text(text) => duration(&text).map(Value::Duration),
            Value::Duration(span) => Some(Value::Duration(span)),
            _ => None,
        },
        Function::FullYear
        | Function::Month
        | Function::DayOfMonth
        | Function::Date
        | Function::DayOfWeek
        | Function::Hours
        | Function::Minutes
        | Function::Seconds => {
            let Value::Timestamp(at) = first else { return None };
            let offset = match second {
                Some(Value::Text(zone)) => utc_offset(&zone, at)?,
                _ => 0,
            };
            part_of(function, at.checked_add(offset)?).map(Value::Integer)
        }
    }
}

/// A part of a local time, counted as CEL does: months, days of the month and of the week from zero.
fn part_of(function: Function, local: i64) -> Option<i64> {
    let (day, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    let (year, month, date) = date(day);
    Some(match function {
        Function::FullYear => year,
        Function::Month => month.checked_sub(1)?,
        Function::DayOfMonth => date.checked_sub(1)?,
        Function::Date => date,
        Function::DayOfWeek => weekday(day),
        Function::Hours => second / 3_600,
        Function::Minutes => (second / 60) % 60,
        _ => second % 60,
    })
}

fn whole(number: f64) -> Option<i64> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within 64 bits; the fraction is cut off, as CEL has it"
    )]
    let whole = (number > -BEYOND && number < BEYOND).then(|| number.trunc() as i64);
    whole
}
