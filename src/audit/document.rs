//! The record as who reads it finds it: its types, and by them its JSON Schema (`docs/audit-record.schema.json`).
//!
//! Natively only: the filter writes records and reads none. A reader takes fields that it does not know, since within
//! one version fields are added; the schema has no others than those that this version writes.

use super::attributes::{MAX_ATTRIBUTES, MAX_ELEMENTS};
use super::{MAX_GROUPS, MAX_NAME, Outcome, SCHEMA};
use crate::identity::{CallerKind, MAX_ACTORS};
use crate::reason::Reason;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// How many arguments may stand in a record.
const MAX_ARGUMENTS: usize = 32;

/// What one request was, who made it, how it was decided and why. Fields that are not known are left out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "mcp-iap audit record")]
pub struct Document {
    /// Version of the record.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Id of this decision, 128 random bits. Refusals carry it as `error.data.decision`.
    #[schemars(extend("pattern" = "^[0-9a-f]{32}$"))]
    pub decision: String,
    /// How the request ended.
    #[schemars(extend("enum" = Outcome::ALL.map(Outcome::name)))]
    pub outcome: String,
    /// Why: a reason code.
    #[schemars(extend("enum" = codes()))]
    pub reason: String,
    /// `id` of the rule that allowed or denied; else of the allow rule that came nearest.
    pub rule: Option<String>,
    /// Name of the argument that failed.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub argument: Option<String>,
    /// The scope that the call needs and the token lacks.
    pub scope: Option<String>,
    /// Identifier of the resource of the configuration that the request is for.
    pub protected_resource: Option<String>,
    /// Who calls, where the credential was verified.
    pub caller: Option<CallerDocument>,
    /// `modern` (2026-07-28) or `legacy` (older revisions).
    #[schemars(extend("enum" = ["modern", "legacy"]))]
    pub era: Option<String>,
    /// HTTP method, as it was sent.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub http_method: Option<String>,
    /// JSON-RPC method. Absent for an answer that a client posts.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub method: Option<String>,
    /// Tool of a `tools/call`.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub tool: Option<String>,
    /// Prompt.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub prompt: Option<String>,
    /// URI of an MCP resource; of several in one request, the last.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub resource: Option<String>,
    /// Id of a task, in the same way.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub task: Option<String>,
    /// The trace that the request belongs to (W3C Trace Context), by its header or `_meta.traceparent`.
    #[schemars(extend("pattern" = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"))]
    pub traceparent: Option<String>,
    /// Values of arguments, of those that `audit.clear_arguments` lists: texts, integers, truth values and `null`.
    #[serde(default)]
    #[schemars(extend("maxProperties" = MAX_ARGUMENTS,
        "additionalProperties" = {"type": ["string", "integer", "boolean", "null"]}))]
    pub arguments: BTreeMap<String, Value>,
    /// In what something is masked: `http_method`, `method`, `tool`, `prompt`, `resource`, `task`, `arguments.NAME`, or one of
    /// `attributes`.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_ARGUMENTS + MAX_ATTRIBUTES + 3))]
    pub masked: Vec<String>,
    /// Of all arguments as they were written, where `audit.digest_key` is set.
    pub arguments_digest: Option<DigestDocument>,
    /// The session that the request is of, by a digest of its `Mcp-Session-Id`.
    pub session: Option<SessionDocument>,
    /// What the rules read that are about the request, live and shadow ones, beside what stands in each record.
    pub attributes: Option<AttributesDocument>,
    /// Of what the threshold of failed authentications is reached: `source`, `subject`, `claimed_subject`.
    #[serde(default)]
    #[schemars(extend("maxItems" = 2))]
    pub failing: Vec<String>,
    /// What shadow rules would have decided, where it differs or can't be told.
    pub shadow: Option<ShadowDocument>,
    /// The token for the upstream that was asked for.
    pub exchange: Option<ExchangeDocument>,
    /// The entries of lists in the answer.
    pub listed: Option<ListedDocument>,
    /// How long services were waited for on the way to the decision, in milliseconds, where it was a millisecond.
    pub waited_ms: Option<WaitedDocument>,
    /// Status with which the upstream refused, or answered too early.
    #[schemars(range(min = 100, max = 599))]
    pub upstream_status: Option<u16>,
    /// How the upstream answered, where `audit.read_answers` is set and it was no success.
    pub answer: Option<AnswerDocument>,
}

/// Who calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CallerDocument {
    /// What said who calls. Absent for a token's caller.
    #[schemars(extend("enum" = kinds()))]
    pub kind: Option<String>,
    /// `iss`.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub issuer: Option<String>,
    /// `sub`.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub subject: Option<String>,
    /// `client_id`, or else `azp`.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub client_id: Option<String>,
    /// User that Kubernetes names.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub kubernetes_user: Option<String>,
    /// Name of the API key.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub api_key: Option<String>,
    /// SPIFFE ID of the workload that the connection comes from.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub spiffe_id: Option<String>,
    /// The first groups.
    #[schemars(extend("maxItems" = MAX_GROUPS))]
    pub groups: Vec<String>,
    /// The token's scopes, with spaces between.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub scope: Option<String>,
    /// Who acts for the subject (`act`, RFC 8693 section 4.1), the one that does now first.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_ACTORS))]
    pub actors: Vec<ActorDocument>,
    /// More acts than stands in `actors`, or somebody whom the claim does not name.
    pub actors_incomplete: Option<bool>,
}

/// Who acts for a subject.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ActorDocument {
    /// `iss`.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub issuer: Option<String>,
    /// `sub`.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub subject: Option<String>,
    /// `client_id`.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub client_id: Option<String>,
}

/// A digest of a session's id; one of these.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SessionDocument {
    /// HMAC-SHA-256, in hexadecimal, where `audit.digest_key` is set.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub hmac_sha256: Option<String>,
    /// SHA-256, in hexadecimal, where it is not.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}

/// What rules read, by its names: `claims.NAME`, `headers.NAME`, `arguments.NAME`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AttributesDocument {
    /// What stood there.
    #[serde(default)]
    #[schemars(extend("maxProperties" = MAX_ATTRIBUTES,
        "additionalProperties" = {"type": ["string", "number", "boolean", "null", "array"],
            "maxItems": MAX_ELEMENTS, "items": {"type": ["string", "number", "boolean", "null"]}}))]
    pub values: BTreeMap<String, Value>,
    /// Where nothing stood.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_ATTRIBUTES))]
    pub absent: Vec<String>,
    /// Of which not all stands in `values`, or nothing.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_ATTRIBUTES))]
    pub not_whole: Vec<String>,
}

/// A digest of arguments.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DigestDocument {
    /// HMAC-SHA-256 of their first 16 KiB, in hexadecimal.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    pub hmac_sha256: String,
    /// How long all of them are.
    pub bytes: u64,
}

/// What shadow rules would have decided.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ShadowDocument {
    /// `error` where it would have taken too long.
    #[schemars(extend("enum" = ["allowed", "refused", "error"]))]
    pub outcome: String,
    /// Why.
    #[schemars(extend("enum" = codes()))]
    pub reason: Option<String>,
    /// By which of the shadow rules.
    pub rule: Option<String>,
}

/// A token for the upstream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ExchangeDocument {
    /// The target for which it was asked for.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub target: Option<String>,
    /// Whether the answer was remembered.
    pub cached: bool,
    /// How long it was waited for, in milliseconds.
    pub waited_ms: Option<u64>,
    /// Why there is none.
    pub error: Option<String>,
    /// Whose it is by the target's API server.
    #[schemars(extend("maxLength" = MAX_NAME))]
    pub kubernetes_user: Option<String>,
}

/// Entries of lists in the answer.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ListedDocument {
    /// How many the caller saw.
    pub shown: u64,
    /// How many he did not.
    pub hidden: u64,
    /// How many messages of a stream could not be read and became an error.
    pub replaced: Option<u64>,
}

/// How long services were waited for, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct WaitedDocument {
    /// Issuers, for their keys.
    pub keys: Option<u64>,
    /// Issuers, about opaque tokens.
    pub introspection: Option<u64>,
    /// API servers, about callers' tokens and about issued ones.
    pub token_review: Option<u64>,
}

/// How the upstream answered; one of these.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AnswerDocument {
    /// Code of JSON-RPC's error.
    pub error: Option<i64>,
    /// The tool says that it failed (`isError`).
    pub is_error: Option<bool>,
    /// It can't be told: too long, cut off, encoded, or no answer of JSON-RPC.
    pub unread: Option<bool>,
}

fn codes() -> Vec<&'static str> {
    Reason::ALL.iter().map(|reason| reason.code()).collect()
}

/// Those that stand in a record.
fn kinds() -> Vec<&'static str> {
    let kinds = CallerKind::ALL.iter().filter(|kind| **kind != CallerKind::Token);
    kinds.map(|kind| kind.name()).collect()
}

impl Document {
    /// What the request is about, where it names something: the kind of it, and its name.
    #[must_use]
    pub fn operand(&self) -> Option<(&'static str, &str)> {
        let Self { tool, prompt, resource, task, .. } = self;
        [("tool", tool), ("prompt", prompt), ("resource", resource), ("task", task)]
            .into_iter()
            .find_map(|(kind, name)| Some((kind, name.as_deref()?)))
    }
}

impl CallerDocument {
    /// Who it is, by what names him: subject, Kubernetes user, API key, workload, client, or else the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        let Self { kind, subject, client_id, kubernetes_user, api_key, spiffe_id, .. } = self;
        let known = [subject, kubernetes_user, api_key, spiffe_id, client_id, kind];
        known.into_iter().find_map(Option::as_deref).unwrap_or("-")
    }
}
