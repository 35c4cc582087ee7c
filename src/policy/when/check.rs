//! Names and types of an expression: what is not declared, or can't be right whatever the call, is refused.

use super::names::{CALLER, COMPREHENSIONS, CONVERSIONS, METHODS, ROOTS, VARIABLES};
use super::node::{Function, Node, Operator, Type, Variable};
use super::parser::{Ast, Kind};
use super::value::{duration, instant};
use super::{Fault, Reads};
use crate::config::nearest;
use std::rc::Rc;

pub(super) struct Context<'a> {
    pub(super) trusted_headers: &'a [String],
    pub(super) reads: &'a mut Reads,
}

impl Context<'_> {
    /// The whole expression, which must be a truth value.
    pub(super) fn condition(&mut self, ast: &Ast) -> Result<Node, Fault> {
        self.of(ast, Type::Bool)
    }

    /// Of this type, or of one that the call tells.
    fn of(&mut self, ast: &Ast, wanted: Type) -> Result<Node, Fault> {
        let (node, found) = self.node(ast)?;
        if found == wanted || found == Type::Any {
            return Ok(node);
        }
        let reason = format!("is {} where {} is needed", told(found), told(wanted));
        Err(Fault::at(ast.at, reason, "compare it, or convert it with `int`, `double` or `string`"))
    }

    fn boxed(&mut self, ast: &Ast, wanted: Type) -> Result<Box<Node>, Fault> {
        self.of(ast, wanted).map(Box::new)
    }

    fn node(&mut self, ast: &Ast) -> Result<(Node, Type), Fault> {
        Ok(match &ast.kind {
            Kind::Null => (Node::Null, Type::Null),
            Kind::Bool(bool) => (Node::Bool(*bool), Type::Bool),
            Kind::Integer(number) => (Node::Integer(*number), Type::Integer),
            Kind::Decimal(number) => (Node::Decimal(*number), Type::Decimal),
            Kind::Text(text) => (Node::Text(text.clone()), Type::Text),
            Kind::List(elements) => {
                let elements = elements.iter().map(|element| Ok(self.node(element)?.0));
                (Node::List(elements.collect::<Result<_, Fault>>()?), Type::List)
            }
            Kind::Name(name) => self.name(ast, name)?,
            Kind::Member(target, name) => self.member(ast, target, name)?,
            Kind::Index(target, index) => self.index(ast, target, index)?,
            Kind::Not(operand) => (Node::Not(self.boxed(operand, Type::Bool)?), Type::Bool),
            Kind::Negate(operand) => {
                let (node, found) = self.node(operand)?;
                if !matches!(found, Type::Integer | Type::Decimal | Type::Any) {
                    return Err(Fault::at(
                        ast.at,
                        "has a minus sign before what is no number",
                        "write a number",
                    ));
                }
                (Node::Negate(node.into()), found)
            }
            Kind::Choice(condition, first, second) => {
                let condition = self.boxed(condition, Type::Bool)?;
                let ((first, one), (second, other)) = (self.node(first)?, self.node(second)?);
                let kind = if one == other { one } else { Type::Any };
                (Node::Choice(condition, first.into(), second.into()), kind)
            }
            Kind::Binary("&&", left, right) => {
                (Node::And(self.boxed(left, Type::Bool)?, self.boxed(right, Type::Bool)?), Type::Bool)
            }
            Kind::Binary("||", left, right) => {
                (Node::Or(self.boxed(left, Type::Bool)?, self.boxed(right, Type::Bool)?), Type::Bool)
            }
            Kind::Binary(sign, left, right) => self.binary(ast, sign, left, right)?,
            Kind::Call(None, name, arguments) => self.function(ast, name, arguments)?,
            Kind::Call(Some(target), name, arguments) => self.method(ast, target, name, arguments)?,
        })
    }

    fn name(&mut self, ast: &Ast, name: &str) -> Result<(Node, Type), Fault> {
        if let Some((_, variable, kind)) = VARIABLES.iter().find(|(known, ..)| *known == name) {
            self.reads.now |= *variable == Variable::Now;
            self.reads.names |=
                matches!(variable, Variable::Tool | Variable::Prompt | Variable::Resource | Variable::Task);
            return Ok((Node::Variable(*variable), *kind));
        }
        if ROOTS.contains(&name) {
            let fix = match name {
                "caller" => "write `caller.subject`, `caller.groups`, `caller.claims.NAME` and the like",
                "args" => "name an argument: `args.NAME` or `args[\"NAME\"]`",
                "source" => "write `source.address`",
                _ => "name a header: `headers[\"NAME\"]`",
            };
            return Err(Fault::at(ast.at, format!("has `{name}` by itself"), fix));
        }
        let known = VARIABLES.iter().map(|(name, ..)| *name).chain(ROOTS.iter().copied());
        Err(undeclared(ast.at, name, known))
    }

    fn member(&mut self, ast: &Ast, target: &Ast, name: &str) -> Result<(Node, Type), Fault> {
        match &target.kind {
            Kind::Name(root) if root == "caller" => {
                if name == "claims" {
                    let fix = "name a claim: `caller.claims.NAME` or `caller.claims[\"NAME\"]`";
                    return Err(Fault::at(ast.at, "has `caller.claims` by itself", fix));
                }
                let found = CALLER.iter().find(|(known, ..)| *known == name);
                let known = CALLER.iter().map(|(name, ..)| *name).chain(["claims"]);
                let (_, variable, kind) = found.ok_or_else(|| undeclared(ast.at, name, known))?;
                self.reads.groups |= *variable == Variable::Groups;
                Ok((Node::Variable(*variable), *kind))
            }
            Kind::Name(root) if root == "source" => {
                if name != "address" {
                    return Err(undeclared(ast.at, name, ["address"].into_iter()));
                }
                self.reads.source = true;
                Ok((Node::Variable(Variable::SourceAddress), Type::Text))
            }
            Kind::Name(root) if root == "args" => Ok(self.argument(name)),
            Kind::Name(root) if root == "headers" => self.header(ast, name),
            Kind::Member(root, claims) if claims == "claims" && is_name(root, "caller") => {
                Ok(self.claim(name.to_owned()))
            }
            _ => {
                let (target, kind) = self.node(target)?;
                match (target, kind) {
                    // The longest path that can be told is what is kept of a token.
                    (Node::Claim(path), _) => {
                        self.reads.claims.pop();
                        Ok(self.claim(format!("{path}.{name}")))
                    }
                    (target, Type::Any) => Ok((Node::Member(target.into(), name.to_owned()), Type::Any)),
                    (_, kind) => {
                        let reason = format!("asks {} for its `{name}`", told(kind));
                        Err(Fault::at(ast.at, reason, "only claims and arguments have parts"))
                    }
                }
            }
        }
    }

    fn index(&mut self, ast: &Ast, target: &Ast, index: &Ast) -> Result<(Node, Type), Fault> {
        let literal = match &index.kind {
            Kind::Text(text) => Some(text.as_str()),
            _ => None,
        };
        let is_claims =
            matches!(&target.kind, Kind::Member(root, name) if name == "claims" && is_name(root, "caller"));
        let root = ["args", "headers"].into_iter().find(|root| is_name(target, root));
        match (literal, root) {
            (Some(name), Some("args")) => return Ok(self.argument(name)),
            (Some(name), Some(_)) => return self.header(ast, name),
            (Some(name), None) if is_claims => return Ok(self.claim(name.to_owned())),
            (None, None) if !is_claims => {}
            (None, _) => {
                return Err(Fault::at(
                    ast.at,
                    "asks for a name that is not written",
                    "write the name as a text",
                ));
            }
            (Some(name), None) => {
                let (target, kind) = self.node(target)?;
                if kind != Type::Any {
                    return Err(Fault::at(
                        ast.at,
                        format!("asks {} for a part", told(kind)),
                        "only claims and arguments have parts",
                    ));
                }
                return Ok((Node::Member(target.into(), name.to_owned()), Type::Any));
            }
        }
        let (target, kind) = self.node(target)?;
        if !matches!(kind, Type::List | Type::Any) {
            return Err(Fault::at(
                ast.at,
                format!("asks {} for a part", told(kind)),
                "only lists have numbered parts",
            ));
        }
        let index = self.boxed(index, Type::Integer)?;
        Ok((Node::Index(target.into(), index), Type::Any))
    }

    fn argument(&mut self, name: &str) -> (Node, Type) {
        self.reads.arguments.push(name.to_owned());
        (Node::Argument(name.to_owned()), Type::Any)
    }

    fn claim(&mut self, path: String) -> (Node, Type) {
        let path: Rc<str> = path.into();
        self.reads.claims.push(Rc::clone(&path));
        (Node::Claim(path), Type::Any)
    }

    fn header(&mut self, ast: &Ast, name: &str) -> Result<(Node, Type), Fault> {
        if !self.trusted_headers.iter().any(|trusted| trusted == name) {
            let fix =
                "name it in `trusted_headers` if Envoy sets it and removes what clients send by that name";
            return Err(Fault::at(
                ast.at,
                format!("reads `{name}`, which is none of `trusted_headers`"),
                fix,
            ));
        }
        self.reads.headers.push(name.to_owned());
        Ok((Node::Header(name.to_owned()), Type::Text))
    }

    fn binary(&mut self, ast: &Ast, sign: &str, left: &Ast, right: &Ast) -> Result<(Node, Type), Fault> {
        use Type::{Any, Bool, Decimal, Duration, Integer, List, Text, Timestamp};
        let ((left, one), (right, other)) = (self.node(left)?, self.node(right)?);
        let is = |types: &[Type]| [one, other].iter().all(|kind| *kind == Any || types.contains(kind));
        let alike = one == other || one == Any || other == Any;
        let (operator, kind) = match sign {
            "==" | "!=" if alike => {
                (if sign == "==" { Operator::Equal } else { Operator::Unequal }, Some(Bool))
            }
            "<" | "<=" | ">" | ">=" => {
                let operator = match sign {
                    "<" => Operator::Less,
                    "<=" => Operator::AtMost,
                    ">" => Operator::Greater,
                    _ => Operator::AtLeast,
                };
                let comparable = alike && is(&[Integer, Decimal, Text, Timestamp, Duration]);
                (operator, comparable.then_some(Bool))
            }
            "in" => (Operator::In, matches!(other, List | Any).then_some(Bool)),
            "+" | "-" => {
                let adds = sign == "+";
                let kind = match (one, other) {
                    (Timestamp, Duration | Any) => Some(if other == Any { Any } else { Timestamp }),
                    (Duration, Timestamp) if adds => Some(Timestamp),
                    (Timestamp, Timestamp) if !adds => Some(Duration),
                    (Text, Text) if !adds => None,
                    _ if alike && is(&[Integer, Decimal, Text, Duration]) => Some(common(one, other)),
                    _ => None,
                };
                (if adds { Operator::Add } else { Operator::Subtract }, kind)
            }
            "*" | "/" | "%" => {
                let operator = match sign {
                    "*" => Operator::Multiply,
                    "/" => Operator::Divide,
                    _ => Operator::Remainder,
                };
                let numbers: &[Type] = if sign == "%" { &[Integer] } else { &[Integer, Decimal] };
                (operator, (alike && is(numbers)).then_some(common(one, other)))
            }
            _ => (Operator::Equal, None),
        };
        let Some(kind) = kind else {
            let reason = format!("has `{sign}` between {} and {}", told(one), told(other));
            return Err(Fault::at(
                ast.at,
                reason,
                "make both of one kind: `int`, `double` and `string` convert",
            ));
        };
        Ok((Node::Binary(operator, left.into(), right.into()), kind))
    }

    fn function(&mut self, ast: &Ast, name: &str, arguments: &[Ast]) -> Result<(Node, Type), Fault> {
        let wrong =
            || Fault::at(ast.at, format!("gives `{name}` not just one value"), format!("write `{name}(x)`"));
        let one = || match arguments {
            [one] => Ok(one),
            _ => Err(wrong()),
        };
        match name {
            "has" => {
                let one = one()?;
                let (node, _) = self.node(one)?;
                if !matches!(node, Node::Claim(_) | Node::Argument(_) | Node::Header(_) | Node::Member(..)) {
                    let fix = "write `has(args.NAME)` or `has(caller.claims.NAME)`";
                    return Err(Fault::at(ast.at, "asks `has` of what is always there", fix));
                }
                Ok((Node::Has(node.into()), Type::Bool))
            }
            "size" => {
                let (node, kind) = self.node(one()?)?;
                self.size(ast, node, kind)
            }
            _ => {
                let Some((_, function, kind)) = CONVERSIONS.iter().find(|(known, ..)| *known == name) else {
                    let known = CONVERSIONS.iter().map(|(name, ..)| *name).chain(["has", "size"]);
                    return Err(undeclared(ast.at, name, known));
                };
                let (node, given) = self.node(one()?)?;
                let takes: &[Type] = match function {
                    Function::Integer => &[Type::Integer, Type::Decimal, Type::Text, Type::Timestamp],
                    Function::Decimal => &[Type::Integer, Type::Decimal, Type::Text],
                    Function::Text => &[Type::Integer, Type::Text, Type::Bool],
                    Function::Timestamp => &[Type::Text, Type::Timestamp],
                    _ => &[Type::Text, Type::Duration],
                };
                if given != Type::Any && !takes.contains(&given) {
                    let reason = format!("has `{name}` of {}", told(given));
                    return Err(Fault::at(ast.at, reason, "it can't be converted"));
                }
                let node = match (function, node) {
                    (Function::Timestamp, Node::Text(text)) => {
                        Node::Timestamp(instant(&text).ok_or_else(|| {
                            Fault::at(
                                ast.at,
                                "has no instant in `timestamp`",
                                "write it like `2026-12-20T00:00:00Z`",
                            )
                        })?)
                    }
                    (Function::Duration, Node::Text(text)) => {
                        Node::Duration(duration(&text).ok_or_else(|| {
                            Fault::at(
                                ast.at,
                                "has no duration in `duration`",
                                "write it like `90s` or `1h30m`",
                            )
                        })?)
                    }
                    (_, node) => Node::Call(*function, vec![node]),
                };
                Ok((node, *kind))
            }
        }
    }

    fn size(&self, ast: &Ast, node: Node, kind: Type) -> Result<(Node, Type), Fault> {
        if !matches!(kind, Type::Text | Type::List | Type::Any) {
            return Err(Fault::at(
                ast.at,
                format!("asks for the size of {}", told(kind)),
                "only texts and lists have one",
            ));
        }
        Ok((Node::Call(Function::Size, vec![node]), Type::Integer))
    }

    fn method(
        &mut self,
        ast: &Ast,
        target: &Ast,
        name: &str,
        arguments: &[Ast],
    ) -> Result<(Node, Type), Fault> {
        if COMPREHENSIONS.contains(&name) {
            let fix =
                "compare with `in`, or use the rule's `to` and `arguments`; nothing in a condition repeats";
            return Err(Fault::at(ast.at, format!("has the comprehension `{name}`"), fix));
        }
        if name == "matches" {
            let fix = "use `startsWith`, `endsWith`, `contains`, or `glob` in the rule's `arguments`";
            return Err(Fault::at(ast.at, "has a regular expression", fix));
        }
        let (node, kind) = self.node(target)?;
        if name == "size" && arguments.is_empty() {
            return self.size(ast, node, kind);
        }
        let Some((_, function, of, result)) = METHODS.iter().find(|(known, ..)| *known == name) else {
            return Err(undeclared(ast.at, name, METHODS.iter().map(|(name, ..)| *name).chain(["size"])));
        };
        if kind != *of && kind != Type::Any {
            let reason = format!("has `{name}` of {}", told(kind));
            return Err(Fault::at(ast.at, reason, format!("it is for {}", told(*of))));
        }
        let mut nodes = vec![node];
        match (of, arguments) {
            (Type::Text, [one]) => nodes.push(self.of(one, Type::Text)?),
            (Type::Timestamp, []) => {}
            (Type::Timestamp, [zone]) => match &zone.kind {
                Kind::Text(zone) if super::super::utc_offset(zone, 0).is_some() => {
                    nodes.push(Node::Text(zone.clone()));
                }
                _ => {
                    return Err(Fault::at(
                        zone.at,
                        "names no time zone that is known here",
                        "write it like \"Europe/Zurich\"",
                    ));
                }
            },
            _ => {
                return Err(Fault::at(
                    ast.at,
                    format!("gives `{name}` a wrong number of values"),
                    "see docs/configuration.md",
                ));
            }
        }
        Ok((Node::Call(*function, nodes), *result))
    }
}

/// What an operation on two of one kind gives, where one of them may be told by the call only.
fn common(one: Type, other: Type) -> Type {
    match (one, other) {
        _ if one == other => one,
        (Type::Any, told @ (Type::Integer | Type::Decimal | Type::Text)) => told,
        (told @ (Type::Integer | Type::Decimal | Type::Text), Type::Any) => told,
        _ => Type::Any,
    }
}

fn is_name(ast: &Ast, wanted: &str) -> bool {
    matches!(&ast.kind, Kind::Name(name) if name == wanted)
}

fn undeclared<'a>(at: usize, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Fault {
    let fix = match nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use one of `{}`", known.collect::<Vec<_>>().join("`, `")),
    };
    Fault::at(at, format!("has `{name}`, which is not declared"), fix)
}

fn told(kind: Type) -> &'static str {
    match kind {
        Type::Null => "null",
        Type::Bool => "a truth value",
        Type::Integer => "an integer",
        Type::Decimal => "a decimal number",
        Type::Text => "a text",
        Type::Timestamp => "a timestamp",
        Type::Duration => "a duration",
        Type::List => "a list",
        Type::Any => "anything",
    }
}
