//! One JSON-RPC message as a client posts it, read in a single pass and borrowed from the body.
//!
//! What is read here is what the decision rests on, so every object on the way there is visited with
//! [`crate::json::Reader::object`]'s strictness, and a name that some parser may take for one that is
//! read is refused. Everything else is passed over.

use super::method::{Operation, Shape, shape};
use super::uri::is_unambiguous;
use crate::json::{Kind, Reader, same_when_folded};
use crate::reason::Reason;
use std::borrow::Cow;

/// How many resources and tasks one `subscriptions/listen` may name.
const MAX_SUBSCRIPTIONS: usize = 256;

/// How long a request's id may be, as it is written.
const MAX_ID: usize = 256;

/// What a message is in JSON-RPC 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has a method and an id.
    Request,
    /// Has a method and no id.
    Notification,
    /// Has a result or an error: a client's answer to a server's request.
    Response,
}

/// One message.
#[derive(Debug)]
pub struct Message<'a> {
    /// Request, notification or response.
    pub role: Role,
    /// The id as it is written, a string or a number.
    pub id: Option<&'a str>,
    /// The method; empty for a response.
    pub method: Cow<'a, str>,
    /// `_meta["io.modelcontextprotocol/protocolVersion"]`.
    pub meta_version: Option<Cow<'a, str>>,
    /// Whether `_meta["io.modelcontextprotocol/clientCapabilities"]` is an object.
    pub has_client_capabilities: bool,
    /// `_meta.traceparent`, where it is a text.
    pub traceparent: Option<Cow<'a, str>>,
    /// `params.arguments` of `tools/call` and `prompts/get`; empty for every other method, where a server
    /// would not read them.
    pub arguments: Arguments<'a>,
    /// The same as they are written, where there are some.
    pub written_arguments: Option<&'a [u8]>,
    name: Option<Cow<'a, str>>,
    uri: Option<Cow<'a, str>>,
    task_id: Option<Cow<'a, str>>,
    reference: Option<Reference<'a>>,
    subscriptions: Vec<Subscription<'a>>,
}

/// The members of `params.arguments`, each with its value as it is written.
#[derive(Debug, Default)]
pub struct Arguments<'a>(Vec<(Cow<'a, str>, &'a [u8])>);

impl<'a> Arguments<'a> {
    /// The value of the argument `name` as it is written, `None` where it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(candidate, _)| candidate == name).map(|(_, raw)| *raw)
    }

    /// The argument that some server may take for `name`: itself, or else another spelling, with its value as it is
    /// written.
    #[must_use]
    pub fn spelt(&self, name: &str) -> Option<(&str, &'a [u8])> {
        let is_name = |(candidate, _): &&(Cow<'a, str>, &'a [u8])| candidate == name;
        let is_variant = |(candidate, _): &&(Cow<'a, str>, &'a [u8])| same_when_folded(candidate, name);
        let found = self.0.iter().find(is_name).or_else(|| self.0.iter().find(is_variant));
        found.map(|(name, raw)| (&**name, *raw))
    }

    /// Whether there is an argument that some server may take for `name`, which it is not to the letter.
    #[must_use]
    pub fn has_variant_of(&self, name: &str) -> bool {
        self.0.iter().any(|(candidate, _)| candidate != name && same_when_folded(candidate, name))
    }

    /// How long their names are, and their values as they are written, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, raw)| name.len().saturating_add(raw.len())).fold(0, usize::saturating_add)
    }

    /// Arguments from their names and their values as JSON; for tests and the command line.
    #[must_use]
    pub fn from_pairs(pairs: Vec<(&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().map(|(name, raw)| (Cow::Borrowed(name), raw.as_bytes())).collect())
    }
}

#[derive(Debug)]
enum Reference<'a> {
    Prompt(Cow<'a, str>),
    Resource(Cow<'a, str>),
}

#[derive(Debug)]
enum Subscription<'a> {
    Resource(Cow<'a, str>),
    Task(Cow<'a, str>),
}

impl<'a> Message<'a> {
    /// Reads the message in `body`.
    ///
    /// # Errors
    /// The reason for which it can't be read without doubt.
    pub fn parse(body: &'a [u8]) -> Result<Self, Reason> {
        let mut reader = Reader::new(body);
        match reader.kind()? {
            Kind::Object => {}
            Kind::Array => return Err(Reason::Batch),
            _ => return Err(Reason::InvalidMessage),
        }
        let message = Draft::read(&mut reader)?;
        reader.end()?;
        message.finish()
    }

    /// What the message asks to act on; every one of them must be allowed. Never empty.
    ///
    /// # Errors
    /// [`Reason::InvalidMessage`] where the method's parameters don't say what it acts on.
    pub fn operations(&self) -> Result<Vec<Operation<'_>>, Reason> {
        if self.role == Role::Response {
            return Ok(vec![Operation::Open]);
        }
        let Some(shape) = shape(&self.method) else { return Ok(vec![Operation::Unknown]) };
        if (shape == Shape::Notification) != (self.role == Role::Notification) {
            return Err(Reason::InvalidMessage);
        }
        Ok(vec![match shape {
            Shape::Open | Shape::Notification => Operation::Open,
            Shape::TaskList => Operation::Task(""),
            Shape::ToolName => Operation::Tool(name(self.name.as_deref())?),
            Shape::PromptName => Operation::Prompt(name(self.name.as_deref())?),
            Shape::ResourceUri => Operation::Resource(uri(self.uri.as_deref())?),
            Shape::TaskId => Operation::Task(name(self.task_id.as_deref())?),
            Shape::Reference => match &self.reference {
                Some(Reference::Prompt(prompt)) => Operation::Prompt(name(Some(prompt))?),
                Some(Reference::Resource(template)) => Operation::Resource(uri(Some(template))?),
                None => return Err(Reason::InvalidMessage),
            },
            Shape::Subscriptions if self.subscriptions.is_empty() => Operation::Open,
            Shape::Subscriptions => return self.subscriptions.iter().map(Subscription::operation).collect(),
        }])
    }

    /// What `Mcp-Name` must say (MCP 2026-07-28, "Standard Request Headers"; SEP-2663 for tasks).
    #[must_use]
    pub fn mirrored_name(&self) -> Option<&str> {
        match self.method.as_ref() {
            "tools/call" | "prompts/get" => self.name.as_deref(),
            "resources/read" => self.uri.as_deref(),
            "tasks/get" | "tasks/update" | "tasks/cancel" => self.task_id.as_deref(),
            _ => None,
        }
    }
}

impl Subscription<'_> {
    fn operation(&self) -> Result<Operation<'_>, Reason> {
        match self {
            Self::Resource(resource) => uri(Some(resource)).map(Operation::Resource),
            Self::Task(id) => name(Some(id)).map(Operation::Task),
        }
    }
}

/// Whether a request can name this tool or prompt.
pub(super) fn is_usable_name(text: &str) -> bool {
    name(Some(text)).is_ok()
}

/// Whether a request can name this resource.
pub(super) fn is_usable_uri(text: &str) -> bool {
    uri(Some(text)).is_ok()
}

/// A name that every server reads alike: not empty, no control character, no white space at an end.
fn name(text: Option<&str>) -> Result<&str, Reason> {
    let text = text.ok_or(Reason::InvalidMessage)?;
    let is_plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
    if is_plain { Ok(text) } else { Err(Reason::InvalidMessage) }
}

/// A URI that says in one way what it names; see [`is_unambiguous`].
fn uri(text: Option<&str>) -> Result<&str, Reason> {
    let text = name(text)?;
    if is_unambiguous(text) { Ok(text) } else { Err(Reason::AmbiguousUri) }
}

/// Refuses a name that is not one of `read` but may be taken for it.
pub(super) fn no_variant(name: &str, read: &[&str]) -> Result<(), Reason> {
    if read.iter().any(|known| same_when_folded(name, known)) {
        return Err(Reason::KeyVariant);
    }
    Ok(())
}

/// What has been read of a message so far: its members come in any order.
#[derive(Default)]
struct Draft<'a> {
    version: Option<Cow<'a, str>>,
    id: Option<&'a str>,
    method: Option<Cow<'a, str>>,
    has_result: bool,
    has_error: bool,
    name: Option<Cow<'a, str>>,
    uri: Option<Cow<'a, str>>,
    task_id: Option<Cow<'a, str>>,
    reference: Option<Reference<'a>>,
    subscriptions: Vec<Subscription<'a>>,
    arguments: Arguments<'a>,
    written_arguments: Option<&'a [u8]>,
    meta_version: Option<Cow<'a, str>>,
    has_client_capabilities: bool,
    traceparent: Option<Cow<'a, str>>,
}

const ENVELOPE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: &[&str] = &["name", "uri", "taskId", "ref", "notifications", "arguments", "_meta"];
const REFERENCE: &[&str] = &["type", "name", "uri"];
const SUBSCRIPTIONS: &[&str] = &["resourceSubscriptions", "taskIds"];
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

impl<'a> Draft<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Reason> {
        let mut draft = Self::default();
        reader.object(|reader, name| {
            match name.as_ref() {
                "jsonrpc" => draft.version = Some(string(reader)?),
                "method" => draft.method = Some(string(reader)?),
                "id" => draft.id = Some(id(reader)?),
                "params" => draft.params(reader)?,
                "result" => {
                    draft.has_result = true;
                    reader.skip()?;
                }
                "error" => {
                    draft.has_error = true;
                    reader.skip()?;
                }
                other => {
                    no_variant(other, ENVELOPE)?;
                    reader.skip()?;
                }
            }
            Ok::<_, Reason>(())
        })?;
        Ok(draft)
    }

    fn params(&mut self, reader: &mut Reader<'a>) -> Result<(), Reason> {
        object(reader)?;
        reader.object(|reader, name| {
            match name.as_ref() {
                "name" => self.name = Some(string(reader)?),
                "uri" => self.uri = Some(string(reader)?),
                "taskId" => self.task_id = Some(string(reader)?),
                "ref" => self.reference = Some(reference(reader)?),
                "notifications" => subscriptions(reader, &mut self.subscriptions)?,
                // Some clients write null for none; no server takes it for more.
                "arguments" if reader.kind()? == Kind::Null => reader.skip()?,
                "arguments" => {
                    object(reader)?;
                    let start = reader.position();
                    reader.object(|reader, name| {
                        let raw = reader.raw()?;
                        self.arguments.0.push((name, raw));
                        Ok::<_, Reason>(())
                    })?;
                    self.written_arguments = Some(reader.since(start));
                }
                "_meta" => self.meta(reader)?,
                other => {
                    no_variant(other, PARAMS)?;
                    reader.skip()?;
                }
            }
            Ok::<_, Reason>(())
        })
    }

    fn meta(&mut self, reader: &mut Reader<'a>) -> Result<(), Reason> {
        object(reader)?;
        reader.object(|reader, name| {
            match name.as_ref() {
                VERSION => self.meta_version = Some(string(reader)?),
                CAPABILITIES => {
                    self.has_client_capabilities = reader.kind()? == Kind::Object;
                    reader.skip()?;
                }
                // Nothing rests on it: other spellings of it and other types pass.
                "traceparent" if reader.kind()? == Kind::String => {
                    self.traceparent = Some(string(reader)?);
                }
                other => {
                    no_variant(other, &[VERSION, CAPABILITIES])?;
                    reader.skip()?;
                }
            }
            Ok::<_, Reason>(())
        })
    }

    fn finish(self) -> Result<Message<'a>, Reason> {
        if self.version.as_deref() != Some("2.0") {
            return Err(Reason::InvalidMessage);
        }
        let answers = [self.has_result, self.has_error].iter().filter(|has| **has).count();
        let role = match (&self.method, self.id, answers) {
            (Some(_), Some(_), 0) => Role::Request,
            (Some(_), None, 0) => Role::Notification,
            (None, Some(_), 1) => Role::Response,
            _ => return Err(Reason::InvalidMessage),
        };
        let method = self.method.unwrap_or_default();
        let has_arguments = matches!(method.as_ref(), "tools/call" | "prompts/get");
        Ok(Message {
            role,
            id: self.id,
            method,
            meta_version: self.meta_version,
            has_client_capabilities: self.has_client_capabilities,
            traceparent: self.traceparent,
            arguments: if has_arguments { self.arguments } else { Arguments::default() },
            written_arguments: self.written_arguments.filter(|_| has_arguments),
            name: self.name,
            uri: self.uri,
            task_id: self.task_id,
            reference: self.reference,
            subscriptions: self.subscriptions,
        })
    }
}

pub(super) fn string<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, Reason> {
    if reader.kind()? != Kind::String {
        return Err(Reason::InvalidMessage);
    }
    Ok(reader.string()?)
}

pub(super) fn object(reader: &mut Reader<'_>) -> Result<(), Reason> {
    if reader.kind()? != Kind::Object {
        return Err(Reason::InvalidMessage);
    }
    Ok(())
}

/// A request's id: a string or a number, never null (MCP, "Requests").
fn id<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Reason> {
    if !matches!(reader.kind()?, Kind::String | Kind::Number) {
        return Err(Reason::InvalidMessage);
    }
    let raw = reader.raw()?;
    if raw.len() > MAX_ID {
        return Err(Reason::InvalidMessage);
    }
    std::str::from_utf8(raw).map_err(|_| Reason::InvalidJson)
}

fn reference<'a>(reader: &mut Reader<'a>) -> Result<Reference<'a>, Reason> {
    object(reader)?;
    let (mut kind, mut name, mut uri) = (None, None, None);
    reader.object(|reader, member| {
        match member.as_ref() {
            "type" => kind = Some(string(reader)?),
            "name" => name = Some(string(reader)?),
            "uri" => uri = Some(string(reader)?),
            other => {
                no_variant(other, REFERENCE)?;
                reader.skip()?;
            }
        }
        Ok::<_, Reason>(())
    })?;
    match (kind.as_deref(), name, uri) {
        (Some("ref/prompt"), Some(name), None) => Ok(Reference::Prompt(name)),
        (Some("ref/resource"), None, Some(uri)) => Ok(Reference::Resource(uri)),
        _ => Err(Reason::InvalidMessage),
    }
}

fn subscriptions<'a>(reader: &mut Reader<'a>, into: &mut Vec<Subscription<'a>>) -> Result<(), Reason> {
    object(reader)?;
    reader.object(|reader, name| {
        let wrap: fn(Cow<'a, str>) -> Subscription<'a> = match name.as_ref() {
            "resourceSubscriptions" => Subscription::Resource,
            "taskIds" => Subscription::Task,
            other => {
                no_variant(other, SUBSCRIPTIONS)?;
                return Ok(reader.skip()?);
            }
        };
        if reader.kind()? != Kind::Array {
            return Err(Reason::InvalidMessage);
        }
        reader.array(|reader| {
            if into.len() >= MAX_SUBSCRIPTIONS {
                return Err(Reason::TooManyMembers);
            }
            into.push(wrap(string(reader)?));
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests;
