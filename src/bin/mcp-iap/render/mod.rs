//! `mcp-iap render envoy FILE`: a complete Envoy bootstrap around the user's document, which stands in it
//! to the letter; or the same in files that Envoy reads anew when they change. `istio/` has what Istio takes.
//!
//! Nothing that a user gives can change the shape of what is written: texts are quoted, and the result is
//! read back before it is given out.

mod address;
mod cluster;
mod filter;
mod istio;
mod listener;
mod log;
mod options;
mod plan;
pub mod rate_limit;
mod route;
mod xds;
pub mod yaml;

pub use istio::forged;
pub use log::Sink;
pub use options::Options;
pub use plan::Plan;

use crate::check;
use crate::environment::Environment;
use crate::fault::{Fault, conclude};
use clap::{Args, Subcommand};
use mcp_iap::gate::Settings;
use options::{Credential, ForResource};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use xds::XdsDir;
use yaml::indent;

/// Where `make build` puts the module.
pub const WASM: &str = "dist/mcp_iap.wasm";

#[derive(Subcommand)]
pub enum Target {
    /// A bootstrap for Envoy 1.36 or later, to standard output.
    Envoy(Envoy),
    /// Manifests for Istio around a WasmPlugin: the upstream may see the head of a call that is refused.
    IstioWasmplugin(istio::WasmPlugin),
    /// Manifests for Istio around an EnvoyFilter, with which the upstream sees nothing of a refused call.
    IstioEnvoyfilter(istio::EnvoyFilter),
    /// The limits of rates with `global: true`, for a rate limit service that reads the form of envoyproxy/ratelimit.
    RateLimitService {
        /// The configuration of mcp-iap, YAML or JSON; `-` for standard input.
        file: PathBuf,
    },
}

#[derive(Args)]
pub struct Envoy {
    #[command(flatten)]
    options: Options,
    /// Only the filter, its access log and the issuers' clusters, to paste into the configuration of an
    /// Envoy that already runs; with `--upstream` also routes and cluster of the MCP server.
    #[arg(long, conflicts_with_all = ["listen", "admin", "tls_certificate", "tls_sds", "client_ca"])]
    filter: bool,
    /// Writes the bootstrap as DIR/envoy.yaml, and listener, filter and clusters beside it, which a running
    /// Envoy reads anew: run the command again, and what changed takes effect without a restart.
    #[arg(long, value_name = "DIR", conflicts_with = "filter")]
    xds_dir: Option<XdsDir>,
}

pub fn run(target: &Target) -> ExitCode {
    let (rendered, file) = match target {
        Target::Envoy(envoy) => (render(envoy), envoy.options.file.as_path()),
        Target::IstioWasmplugin(plugin) => (plugin.render(), plugin.file()),
        Target::IstioEnvoyfilter(filter) => (filter.render(), filter.file()),
        Target::RateLimitService { file } => (limits(file), file.as_path()),
    };
    match rendered {
        Ok(text) => conclude(&text, ExitCode::SUCCESS),
        Err(fault) => fault.report(file),
    }
}

/// What is needed for the document in this file.
fn read(file: &Path, upstreams: &[ForResource], credentials: &[Credential]) -> Result<Plan, Fault> {
    let text = text(file)?;
    // What is rendered holds no secret: Envoy gives it to the filter.
    let environment = Environment::default();
    Plan::new(&text, upstreams, credentials, &|name| environment.get(name))
}

fn text(file: &Path) -> Result<Vec<u8>, Fault> {
    check::read(file).map_err(|error| Fault::Usage(format!("{}: {error}", file.display())))
}

/// What goes to standard output, for the rate limit service.
fn limits(file: &Path) -> Result<String, Fault> {
    let environment = Environment::default();
    let settings = Settings::load_in(&text(file)?, &|name| environment.get(name))?;
    rate_limit::service(&settings)
        .ok_or_else(|| Fault::Failed("no rule has a rate with `global: true`".to_owned()))
}

/// What goes to standard output.
fn render(Envoy { options, filter, xds_dir }: &Envoy) -> Result<String, Fault> {
    let plan = read(&options.file, &options.upstream, &options.credential)?;
    let plan = plan.counted_by(options.rate_limit_service.as_ref())?.logging(&options.access_log)?;
    let wasm = options.wasm.as_deref().unwrap_or(WASM);
    match xds_dir {
        Some(folder) => folder.write(&plan, options, wasm, &command()),
        None if *filter => read_back(parts(&plan, options, wasm), &plan),
        None => read_back(bootstrap(&plan, options, wasm, &command())?, &plan),
    }
}

/// The bootstrap; `written_by` is the command for it.
///
/// # Errors
/// What of the options is missing or can't be.
pub fn bootstrap(plan: &Plan, options: &Options, wasm: &str, written_by: &str) -> Result<String, Fault> {
    check_fit(plan, options)?;
    let by_sds = options.tls_sds.is_some() || !options.credential.is_empty();
    let node = if by_sds { node("SDS") } else { String::new() };
    let listener = listener::listener(plan, options, &filter::filter(plan, wasm), false)?;
    let clusters: String =
        plan.clusters().chain(plan.collectors()).map(|one| cluster::cluster(one, &options.ca)).collect();
    let resources = format!(
        "{node}static_resources:\n  listeners:\n{}\n  clusters:\n{}",
        indent(&listener, 2),
        indent(&clusters, 2)
    );
    let document = "`mcp-iap check` reads this file too: it\n# checks the text below `configuration`.";
    Ok(around(plan, options, written_by, document, &resources))
}

/// Without a name for itself Envoy reads no file of this kind.
fn node(kind: &str) -> String {
    format!(
        "# Envoy wants a name for itself where it reads {kind} files.\nnode: {{ id: mcp_iap, cluster: mcp_iap }}\n\n"
    )
}

/// # Errors
/// What of the options is missing or can't be.
fn check_fit(plan: &Plan, options: &Options) -> Result<(), Fault> {
    if plan.resources.is_empty() {
        let message = "give --upstream URL, the MCP server to guard";
        return Err(Fault::Usage(message.to_owned()));
    }
    if options.client_ca.is_some() && options.tls_certificate.is_none() && options.tls_sds.is_none() {
        let message = "--client-ca needs TLS: give --tls-certificate and --tls-private-key, or --tls-sds";
        return Err(Fault::Usage(message.to_owned()));
    }
    if options.listen == options.admin {
        return Err(Fault::Usage(format!("--listen and --admin are both {}", options.listen)));
    }
    Ok(())
}

/// A bootstrap around its resources; `document` says where the user's stands.
fn around(plan: &Plan, options: &Options, written_by: &str, document: &str, resources: &str) -> String {
    let guarded: String =
        plan.resources.iter().map(|one| format!("#   {} at {}\n", one.identifier, one.upstream)).collect();
    format!(
        r#"# mcp-iap in front of an MCP server: a complete bootstrap for Envoy 1.36 or later. It guards
{guarded}#
# Written by
#   {written_by}
#
# File names are relative to the folder in which Envoy starts. {document}

admin:
  # For the machine itself: whoever gets here can read this configuration and end Envoy.
  address: {}

stats_config:
{}
{resources}"#,
        listener::address(&options.admin),
        indent(filter::stats_tags(), 2),
    )
}

/// What is pasted into an Envoy that already runs.
fn parts(plan: &Plan, options: &Options, wasm: &str) -> String {
    let clusters: String =
        plan.clusters().chain(plan.collectors()).map(|one| cluster::cluster(one, &options.ca)).collect();
    let routes = if plan.resources.is_empty() { String::new() } else { route::pasted(plan) };
    let static_ones =
        if plan.collectors().next().is_some() { "; that of a collector not by CDS" } else { "" };
    let node = if options.credential.is_empty() {
        ""
    } else {
        " For SDS it needs a `node`\n# with `id` and `cluster`."
    };
    format!(
        r#"# mcp-iap for an Envoy that already runs. Its listener needs `per_connection_buffer_limit_bytes` of at
# least {}, its HTTP connection manager a long `stream_idle_timeout`, the route to the MCP server
# `timeout: 0s` and no retry policy.{node}

# Into `http_filters` of the HTTP connection manager, as the first. It guards every route there: for those
# that are not an MCP server's, say that it is off, in the route or in its virtual host:
#
#   typed_per_filter_config:
#     mcp_iap: {{ "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }}
http_filters:
{}
{routes}# Into `access_log` of the HTTP connection manager: each line holds a request's audit record.
access_log:
{}
# Into the bootstrap, for metrics with the tags `outcome` and `reason`.
stats_config:
{}
# Into `clusters` of `static_resources`, or by CDS{static_ones}.
clusters:
{clusters}"#,
        plan.buffer,
        filter::filter(plan, wasm) + &rate_limit::filter(plan),
        log::access_log(&plan.loggers),
        indent(filter::stats_tags(), 2),
    )
}

/// Gives out only what holds the document to the letter, once.
///
/// # Errors
/// It does not.
pub fn read_back(rendered: String, plan: &Plan) -> Result<String, Fault> {
    match check::configurations(rendered.as_bytes()).as_deref() {
        Some([document]) if *document == plan.document => Ok(rendered),
        _ => Err(Fault::Failed(
            "the document can't stand in an Envoy configuration as it is written".to_owned(),
        )),
    }
}

/// This command, on one line whatever it holds.
pub fn command() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=,@%+-[]".contains(c);
    let words = std::env::args_os().skip(1).map(|word| {
        let word = word.to_string_lossy().into_owned();
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.escape_default())
        }
    });
    std::iter::once("mcp-iap".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
