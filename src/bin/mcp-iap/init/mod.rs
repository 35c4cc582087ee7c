//! `mcp-iap init`: asks an MCP server for its tools and an issuer for its discovery document, and writes a
//! first configuration with a catalogue, to be read by a person before it guards anything.

mod document;
pub mod http;
mod issuer;
pub mod server;

use crate::check::UNUSABLE;
use crate::fault::{Fault, complain, conclude};
use crate::run::terminal::escape;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The listener of `mcp-iap run`.
const LOCAL_LISTENER: &str = "http://127.0.0.1:10000";

#[derive(Args)]
pub struct Options {
    /// The MCP server's URL, as Envoy will reach it: `http://127.0.0.1:8000/mcp`.
    #[arg(long, value_name = "URL")]
    upstream: String,
    /// The authorization server's issuer identifier, as its tokens' `iss` has it.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// What clients will call. Default: Envoy on this machine, port 10000, with the upstream's path.
    #[arg(long, value_name = "URL")]
    resource: Option<String>,
    /// A header for the MCP server alone, `NAME: VALUE`, where it asks for one. It is not written.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Certificate authorities in PEM, instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where the configuration is written; `-` for standard output.
    #[arg(short, long, value_name = "FILE", default_value = "mcp-iap.yaml")]
    write: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

/// Exit codes: 0 written; 1 the server or the issuer did not answer as they must; 2 a mistake in the
/// options, or a file that can't be written.
pub fn run(options: &Options) -> ExitCode {
    let is_file = options.write != Path::new("-");
    if is_file && options.write.exists() && !options.force {
        complain(format_args!(
            "mcp-iap: {} is there already; name another with `--write`, or give `--force`",
            options.write.display()
        ));
        return ExitCode::from(UNUSABLE);
    }
    let text = match ask(options) {
        Ok(text) => text,
        Err(fault) => return fault.report(&options.write),
    };
    if !is_file {
        return conclude(&text, ExitCode::SUCCESS);
    }
    if let Err(error) = write(&options.write, &text, options.force) {
        complain(format_args!("mcp-iap: {}: {error}", options.write.display()));
        return ExitCode::from(UNUSABLE);
    }
    let (file, upstream) = (options.write.display(), &options.upstream);
    let program = std::env::args().next().unwrap_or_else(|| "mcp-iap".to_owned());
    let next = format!(
        "wrote {file}\n\nNext:\n  1. Read it: what the server says of its tools is its own word, and no rule has a `to` yet.\n  \
         2. {program} check {file}\n  3. {program} run {file} --upstream {upstream}{}\n",
        more(options)
    );
    conclude(&next, ExitCode::SUCCESS)
}

/// What `run` must be told as well, after what was told here.
fn more(options: &Options) -> String {
    let mut more = String::new();
    // On this machine clients call the listener itself.
    let authority = options.resource.as_deref().and_then(|resource| {
        let (origin, _) = http::split(resource).ok()?;
        origin.strip_prefix("http://")
    });
    if let Some(authority) = authority.filter(|authority| authority.starts_with("127.0.0.1:")) {
        more += &format!(" --listen {authority}");
    }
    if let Some(ca) = &options.ca {
        more += &format!(" --ca {}", ca.display());
    }
    more
}

fn ask(options: &Options) -> Result<String, Fault> {
    let usage = |error: anyhow::Error| Fault::Usage(format!("{error:#}"));
    let agent = http::agent(options.ca.as_deref()).map_err(usage)?;
    let headers = http::headers(&options.headers).map_err(usage)?;
    let (_, path) = http::split(&options.upstream).context("--upstream").map_err(usage)?;
    http::split(&options.issuer).context("--issuer").map_err(usage)?;
    let resource = match &options.resource {
        Some(resource) => {
            http::split(resource).context("--resource").map(|_| resource.clone()).map_err(usage)?
        }
        None => format!("{LOCAL_LISTENER}{path}"),
    };
    first_version(options, &agent, &resource, &headers).map_err(|error| Fault::Failed(format!("{error:#}")))
}

fn first_version(
    options: &Options,
    agent: &ureq::Agent,
    resource: &str,
    headers: &[(String, String)],
) -> Result<String> {
    complain(format_args!("asking {} for its tools", options.upstream));
    let listing = server::list_tools(agent, &options.upstream, headers)
        .with_context(|| format!("the MCP server {}", options.upstream))?;
    complain(format_args!("asking {} for its keys", options.issuer));
    let issuer =
        issuer::ask(agent, &options.issuer).with_context(|| format!("the issuer {}", options.issuer))?;
    let text = document::write(resource, &options.upstream, &issuer, &listing)?;
    // What is written is what `check` accepts, or it is not written.
    if let Err(errors) = mcp_iap::gate::Settings::load(text.as_bytes()) {
        // Its names are the server's.
        let errors: Vec<_> = errors.0.iter().map(|error| escape(&error.to_string())).collect();
        bail!("no configuration can be made of it: {}", errors.join("\n"));
    }
    Ok(text)
}

fn write(file: &Path, text: &str, force: bool) -> std::io::Result<()> {
    let mut open = OpenOptions::new();
    open.write(true);
    if force {
        open.create(true).truncate(true)
    } else {
        open.create_new(true)
    };
    open.open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_here_is_told_to_run_as_well() {
        let options = |resource: Option<&str>, ca: Option<&str>| Options {
            upstream: "http://127.0.0.1:8000/mcp".to_owned(),
            issuer: "http://127.0.0.1:9400".to_owned(),
            resource: resource.map(str::to_owned),
            headers: Vec::new(),
            ca: ca.map(PathBuf::from),
            write: PathBuf::from("-"),
            force: false,
        };
        for (resource, ca, expected) in [
            (None, None, ""),
            (Some("http://127.0.0.1:7300/x"), None, " --listen 127.0.0.1:7300"),
            (Some("https://mcp.example.com/mcp"), Some("ca.pem"), " --ca ca.pem"),
            (Some("http://127.0.0.1.example.com:1/x"), None, ""),
        ] {
            assert_eq!(more(&options(resource, ca)), expected, "{resource:?}");
        }
    }
}
