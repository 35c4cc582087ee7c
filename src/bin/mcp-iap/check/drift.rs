//! The catalogue against the server: tools that came, went, or are not what was reviewed.

use super::Findings;
use crate::digest::digest_of;
use crate::fault::Fault;
use crate::init::{http, server};
use anyhow::Context as _;
use mcp_iap::config::{Config, ConfigError};
use std::collections::BTreeMap;
use std::path::Path;

/// Compares the catalogue of a document that guards one resource with what its server lists now.
///
/// # Errors
/// There is nothing to compare, or the server does not answer as it must.
pub fn compare(
    config: &Config,
    upstream: &str,
    headers: &[String],
    ca: Option<&Path>,
    findings: &mut Findings,
) -> Result<(), Fault> {
    let usage = |error: anyhow::Error| Fault::Usage(format!("{error:#}"));
    let Some(catalogue) = &config.catalogue else {
        return Err(Fault::Usage(format!(
            "the document has no `catalogue` at its top to compare with {upstream}"
        )));
    };
    let agent = http::agent(ca).map_err(usage)?;
    let headers = http::headers(headers).map_err(usage)?;
    http::split(upstream).context("--upstream").map_err(usage)?;
    let listed = server::list_tools(&agent, upstream, &headers)
        .map_err(|error| Fault::Failed(format!("the MCP server {upstream}: {error:#}")))?;
    let listed: BTreeMap<&str, _> =
        listed.iter().filter_map(|tool| Some((tool["name"].as_str()?, tool))).collect();
    for (name, tool) in &catalogue.tools {
        let path = format!("catalogue.tools.{name}");
        match (listed.get(name.as_str()), &tool.digest) {
            (None, _) => {
                let fix = "take it out, and look at the rules that name it";
                findings.warnings.push(ConfigError::new(path, "is not listed by the server any more", fix));
            }
            (Some(now), Some(digest)) if digest_of(now) != *digest => {
                let fix = "review it, then take its new definition and digest from `mcp-iap init`";
                findings.errors.push(ConfigError::new(path, "is not the definition that was reviewed", fix));
            }
            (Some(_), _) => {}
        }
    }
    for name in listed.keys().filter(|name| !catalogue.tools.contains_key(**name)) {
        let fix = "review it and add it; until then only rules by name can allow it";
        findings
            .warnings
            .push(ConfigError::new("catalogue.tools", "lacks a tool of the server", fix).value(*name));
    }
    Ok(())
}
