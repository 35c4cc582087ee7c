//! An MCP server's tools: `tools/list` with all its pages (MCP, "Tools"), first as 2026-07-28 has it,
//! without a session, then as the legacy revisions do, behind `initialize`.

use super::http::MAX_ANSWER;
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use ureq::Agent;

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
/// How many pages a server may have.
const MAX_PAGES: usize = 100;

/// The definitions of a server's tools, as it lists them. One listed twice is none: nobody could say which counts.
pub fn list_tools(agent: &Agent, url: &str, headers: &[(String, String)]) -> Result<Vec<Value>> {
    let mut client = Client { agent, url, headers, session: None, version: MODERN.to_owned() };
    let tools = client.pages().or_else(|modern| {
        let tools = client.initialize().and_then(|()| client.pages());
        client.end();
        tools.map_err(|legacy| {
            let (modern, legacy) = (format!("{modern:#}"), format!("{legacy:#}"));
            // Nobody there is nobody there in both ways.
            if modern == legacy {
                anyhow!(legacy)
            } else {
                anyhow!("{legacy}; before that, in the way of {MODERN}: {modern}")
            }
        })
    })?;
    let mut names = BTreeSet::new();
    for name in tools.iter().filter_map(|tool| tool["name"].as_str()) {
        if !names.insert(name) {
            bail!("lists the tool {} twice", Value::from(name));
        }
    }
    Ok(tools)
}

struct Client<'a> {
    agent: &'a Agent,
    url: &'a str,
    headers: &'a [(String, String)],
    session: Option<String>,
    version: String,
}

impl Client<'_> {
    fn pages(&self) -> Result<Vec<Value>> {
        let (mut tools, mut cursor) = (Vec::new(), None::<String>);
        let mut seen = BTreeSet::new();
        for _ in 0..MAX_PAGES {
            let mut params = json!({});
            if let Some(cursor) = &cursor {
                params["cursor"] = json!(cursor);
            }
            let mut page = self.request("tools/list", params)?;
            let Some(Value::Array(listed)) = page.get_mut("tools").map(Value::take) else {
                bail!("answered tools/list without `tools`");
            };
            tools.extend(listed);
            cursor = page.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
            match &cursor {
                None => return Ok(tools),
                Some(cursor) if seen.insert(cursor.clone()) => {}
                Some(_) => bail!("lists its tools in a circle"),
            }
        }
        bail!("has more than {MAX_PAGES} pages of tools")
    }

    fn initialize(&mut self) -> Result<()> {
        LEGACY.clone_into(&mut self.version);
        let client = json!({"name": "mcp-iap", "version": env!("CARGO_PKG_VERSION")});
        let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client});
        let result = self.request_noting_session("initialize", &params)?;
        if let Some(version) = result.get("protocolVersion").and_then(Value::as_str) {
            version.clone_into(&mut self.version);
        }
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).map(|_| ())
    }

    /// Ends the session, where there is one; a server may refuse that.
    fn end(&self) {
        if let Some(session) = &self.session {
            let request = self.agent.delete(self.url).header("mcp-session-id", session);
            drop(
                self.headers
                    .iter()
                    .fold(request, |request, (name, value)| request.header(name, value))
                    .call(),
            );
        }
    }

    fn request(&self, method: &str, mut params: Value) -> Result<Value> {
        if self.version == MODERN {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "mcp-iap", "version": env!("CARGO_PKG_VERSION")},
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let (_, body) = self.send(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))?;
        result_of(method, &body)
    }

    fn request_noting_session(&mut self, method: &str, params: &Value) -> Result<Value> {
        let (session, body) =
            self.send(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))?;
        self.session = session;
        result_of(method, &body)
    }

    /// Answers the session id and the body of the answer.
    fn send(&self, message: &Value) -> Result<(Option<String>, String)> {
        let mut request = self
            .agent
            .post(self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        let method = message["method"].as_str().unwrap_or_default();
        if method != "initialize" {
            request = request.header("mcp-protocol-version", &self.version);
        }
        if self.version == MODERN {
            request = request.header("mcp-method", method);
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let mut answer = request.send(message.to_string()).context("did not answer")?;
        let status = answer.status().as_u16();
        match status {
            200..=299 => {}
            401 | 403 => {
                bail!("answered {method} with {status}: it asks for a credential, give it by `--header`")
            }
            404 => bail!("answered {method} with 404: is this the path of its MCP endpoint?"),
            300..=399 => bail!("answered {method} with a redirect ({status}): give the URL that it leads to"),
            _ => bail!("answered {method} with status {status}"),
        }
        let session =
            answer.headers().get("mcp-session-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string()?;
        Ok((session, body))
    }
}

/// The result in an answer: a JSON body, or the event of a stream that answers the request.
fn result_of(method: &str, body: &str) -> Result<Value> {
    let is_answer = |message: &Value| message["id"] == 1 && message.get("method").is_none();
    let message = match serde_json::from_str::<Value>(body) {
        Ok(message) => Some(message),
        Err(_) => events(body).filter_map(|event| serde_json::from_str(&event).ok()).find(is_answer),
    };
    let mut message = message.with_context(|| format!("answered {method} with neither JSON nor events"))?;
    if let Some(error) = message.get("error") {
        bail!("answered {method} with error {}: {}", error["code"], error["message"]);
    }
    message.get_mut("result").map(Value::take).with_context(|| format!("answered {method} without a result"))
}

/// The data of each event of a stream (HTML, "Server-sent events").
fn events(body: &str) -> impl Iterator<Item = String> {
    let blocks: Vec<String> = body.replace("\r\n", "\n").split("\n\n").map(str::to_owned).collect();
    blocks.into_iter().map(|block| {
        let data = block.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(|data| data.strip_prefix(' ').unwrap_or(data)).collect::<Vec<_>>().join("\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_answer_among_events() {
        let stream = "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"id\":1}\r\n\r\nid: 7\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{\"tools\":[]}}\n\n";
        assert_eq!(result_of("m", stream).unwrap(), json!({"tools": []}));
        assert_eq!(result_of("m", r#"{"id":1,"result":{"a":1}}"#).unwrap(), json!({"a": 1}));
        for bad in ["", "<html>", "data: {}\n\n", r#"{"id":1,"error":{"code":-32601,"message":"x"}}"#, "{}"] {
            assert!(result_of("m", bad).is_err(), "{bad}");
        }
    }
}
