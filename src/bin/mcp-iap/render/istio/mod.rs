//! `mcp-iap render istio-wasmplugin` and `istio-envoyfilter`: the filter in a sidecar or a gateway, and what must stand
//! around it: who may reach the server, how issuers are reached, where records and counters go.
//!
//! Nothing that a user gives changes the shape of what is written, and the result is read back before it is given out.

mod filter;
mod mesh;
mod options;
mod plugin;
mod reach;

use super::address::Endpoint;
use super::options::service;
use super::plan::Plan;
use super::{command, read};
use crate::fault::Fault;
use clap::Args;
use mcp_iap::config::{self, ConfigError, Errors, yaml};
use options::{Options, Place};
use plugin::Api;
use serde_json::Value;
use std::path::Path;

/// The oldest Istio whose Envoy the filter runs in.
const SINCE: &str = "1.28";

#[derive(Args)]
pub struct WasmPlugin {
    #[command(flatten)]
    options: Options,
    /// The Secret with which the image is pulled, in the namespace of the workload.
    #[arg(long, value_name = "NAME", value_parser = options::name)]
    pull_secret: Option<String>,
    /// Writes a TrafficExtension instead, which Istio has from 1.30 on.
    #[arg(long)]
    traffic_extension: bool,
}

#[derive(Args)]
pub struct EnvoyFilter {
    #[command(flatten)]
    options: Options,
    /// The service that counts rates with `global: true`, by gRPC (RLS v3): a Service of the cluster by its whole name, like
    /// `http://ratelimit.mcp.svc.cluster.local:8081`, or another.
    #[arg(long, value_name = "URL", value_parser = service)]
    rate_limit_service: Option<Endpoint>,
}

impl WasmPlugin {
    pub fn file(&self) -> &Path {
        &self.options.file
    }

    /// What goes to standard output.
    ///
    /// # Errors
    /// The document's faults, what of the options does not fit it, and what a WasmPlugin can't do.
    pub fn render(&self) -> Result<String, Fault> {
        let plan = read(&self.options.file, &[], &[])?;
        let config = plugin::config(&plan)?;
        let api = if self.traffic_extension { Api::TrafficExtension } else { Api::WasmPlugin };
        let since = if self.traffic_extension { "1.30" } else { SINCE };
        let manifest = plugin::manifest(&self.options, &plan, api, self.pull_secret.as_deref(), &config);
        let holds = |manifest: &Value| manifest.pointer(api.document()) == Some(&config);
        Ok(head(&self.options, &plan, since) + &manifests(&self.options, &plan, manifest, holds)?)
    }
}

impl EnvoyFilter {
    pub fn file(&self) -> &Path {
        &self.options.file
    }

    /// What goes to standard output.
    ///
    /// # Errors
    /// The document's faults, or what of the options does not fit it.
    pub fn render(&self) -> Result<String, Fault> {
        let plan = read(&self.options.file, &[], &[])?.counted_by(self.rate_limit_service.as_ref())?;
        let plan = reach::by_name(plan)?;
        let manifest = filter::manifest(&self.options, &plan);
        let holds = |manifest: &Value| {
            let patches = manifest["spec"]["configPatches"].as_array().into_iter().flatten();
            let document = "/patch/value/typed_config/config/configuration/value";
            let mut documents = patches.filter_map(|patch| patch.pointer(document));
            documents.next().is_some_and(|text| *text == plan.document) && documents.next().is_none()
        };
        Ok(head(&self.options, &plan, SINCE) + &manifests(&self.options, &plan, manifest, holds)?)
    }
}

/// All manifests, the filter's first; `holds` tells whether the document stands in that one.
fn manifests(
    options: &Options,
    plan: &Plan,
    filter: String,
    holds: impl Fn(&Value) -> bool,
) -> Result<String, Fault> {
    options.check()?;
    check_source(options, plan)?;
    let mut texts = vec![filter, mesh::only_mutual_tls(options)];
    texts.extend(mesh::only_by_the_filter(options));
    texts.extend(reach::manifests(options, plan)?);
    texts.extend([mesh::records(options), mesh::counters(options)]);
    let read: Result<Vec<Value>, _> = texts.iter().map(|text| yaml::read(text)).collect();
    if !read.is_ok_and(|read| read.iter().all(is_manifest) && read.first().is_some_and(holds)) {
        let message = "the document can't stand in a manifest as it is written";
        return Err(Fault::Failed(message.to_owned()));
    }
    Ok(texts.join("---\n"))
}

/// In a sidecar istiod sets `use_remote_address: false`: the client's address is what the caller wrote into
/// `x-forwarded-for`. A gateway takes that of the connection.
fn check_source(options: &Options, plan: &Plan) -> Result<(), Fault> {
    if options.at == Place::Gateway {
        return Ok(());
    }
    let config = config::load(plan.document.as_bytes())?;
    let errors: Vec<_> = plan.settings.by_source(&config).into_iter().map(forged).collect();
    if errors.is_empty() { Ok(()) } else { Err(Fault::Refused(Errors(errors))) }
}

/// What is wrong in a sidecar with a field that goes by the client's address.
pub fn forged(path: String) -> ConfigError {
    let reason = "goes by the client's address, which behind Istio's sidecar is whatever the caller writes into \
                  `x-forwarded-for`";
    let fix = "take it out, or render `--at gateway` (docs/istio.md, traps)";
    ConfigError::new(path, reason, fix)
}

fn is_manifest(manifest: &Value) -> bool {
    let is_text = |pointer: &str| manifest.pointer(pointer).is_some_and(Value::is_string);
    ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"].into_iter().all(is_text)
}

fn head(options: &Options, plan: &Plan, since: &str) -> String {
    let guarded: Vec<_> =
        plan.settings.resources.iter().map(|one| one.protected.identifier().to_owned()).collect();
    let place = match options.at {
        Place::Sidecar => "the sidecar of an MCP server",
        Place::Gateway => "a gateway in front of an MCP server",
    };
    format!(
        "# mcp-iap in {place}, for Istio {since} or later. It guards
#   {}
#
# Written by
#   {}
#
# The mesh must know what a record is before: istio/mesh.yaml. docs/istio.md goes through all of it.

",
        guarded.join("\n#   "),
        command(),
    )
}
