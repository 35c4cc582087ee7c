//! What a policy says of a call: `explain` tells it rule by rule, `test` compares it with what was expected.

mod case;
pub mod explain;
mod judgement;
mod junit;
mod listing;
mod record;
pub mod replay;
pub mod test;
pub mod written;

use crate::check;
use crate::environment::Environment;
use crate::fault::Fault;
use mcp_iap::config;
use mcp_iap::gate::Settings;
use std::path::Path;

/// The policies of a document, or of each document in an Envoy configuration.
fn load(file: &Path) -> Result<Vec<Settings>, Fault> {
    let text = check::read(file).map_err(|error| Fault::Usage(format!("{}: {error}", file.display())))?;
    let documents = check::configurations(&text)
        .map_or_else(|| vec![text], |documents| documents.into_iter().map(String::into_bytes).collect());
    if documents.is_empty() {
        let message = format!("{}: is an Envoy configuration without a filter of mcp-iap", file.display());
        return Err(Fault::Usage(message));
    }
    let compile = |text: Vec<u8>| {
        let environment = Environment::default();
        let config = config::load(&text)?;
        Ok(Settings::compile(&config, &|name| environment.get(name))?)
    };
    documents.into_iter().map(compile).collect()
}
