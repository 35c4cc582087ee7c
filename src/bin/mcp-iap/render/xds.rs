//! `--xds-dir DIR`: bootstrap, listener, filter and clusters in files of their own, which Envoy reads anew
//! when one is moved into their folder. New rules are then a new filter behind the connections that there
//! are; only a change of the listener itself makes Envoy take new ones.

use super::yaml::{indent, scalar};
use super::{Options, Plan, around, check_fit, cluster, filter, listener, node, read_back};
use crate::fault::Fault;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

const CLUSTERS: &str = "clusters.yaml";
const FILTER: &str = "filter.yaml";
const LISTENER: &str = "listener.yaml";
const BOOTSTRAP: &str = "envoy.yaml";

/// The folder, as it is named here and to Envoy.
#[derive(Clone, Debug)]
pub struct XdsDir(String);

impl FromStr for XdsDir {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = if text.len() > 1 { text.trim_end_matches('/') } else { text };
        if text.is_empty() { Err("name a folder") } else { Ok(Self(text.to_owned())) }
    }
}

impl XdsDir {
    /// Writes what changed, in the order in which Envoy is to read it, each file moved into its place.
    /// Says what was written.
    ///
    /// # Errors
    /// What of the options is missing or can't be, or a file that can't be written.
    pub fn write(
        &self,
        plan: &Plan,
        options: &Options,
        wasm: &str,
        written_by: &str,
    ) -> Result<String, Fault> {
        check_fit(plan, options)?;
        let files = [
            // A filter or a listener never names a cluster that is yet to come.
            (CLUSTERS, clusters_file(plan, options)),
            (FILTER, read_back(filter_file(plan, wasm), plan)?),
            (LISTENER, self.listener(plan, options)?),
            (BOOTSTRAP, self.bootstrap(plan, options, written_by)),
        ];
        let mut said = String::new();
        for (name, text) in files {
            let written = put(Path::new(&self.0), name, &text)
                .map_err(|error| Fault::Failed(format!("{}: {error}", self.path(name))))?;
            let _ = writeln!(said, "{} {}", if written { "written  " } else { "unchanged" }, self.path(name));
        }
        Ok(said)
    }

    fn path(&self, name: &str) -> String {
        if self.0 == "/" { format!("/{name}") } else { format!("{}/{name}", self.0) }
    }

    fn source(&self, name: &str) -> String {
        format!(
            "resource_api_version: V3
path_config_source: {{ path: {}, watched_directory: {{ path: {} }} }}\n",
            scalar(&self.path(name)),
            scalar(&self.0)
        )
    }

    fn bootstrap(&self, plan: &Plan, options: &Options, written_by: &str) -> String {
        let resources = format!(
            "{}# Read anew when a file is moved into the folder; where Envoy refuses one, it goes on with what it has.
dynamic_resources:
  cds_config:
{}  lds_config:
{}",
            node("xDS"),
            indent(&self.source(CLUSTERS), 4),
            indent(&self.source(LISTENER), 4)
        );
        let document = format!("Your document stands in\n# {FILTER}, which `mcp-iap check` reads too.");
        around(plan, options, written_by, &document, &resources)
    }

    fn listener(&self, plan: &Plan, options: &Options) -> Result<String, Fault> {
        let discovered = format!(
            "- name: mcp_iap
  # A new one is for the requests to come, on the connections that there are: none is closed for it.
  config_discovery:
    config_source:
{}    type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]\n",
            indent(&self.source(FILTER), 6)
        );
        let listener = listener::listener(plan, options, &discovered, true)?;
        let about = "# The listener. A change makes Envoy take a new one; of the old one's connections those that live
# longer than Envoy's `--drain-time-s` (600) are closed.\n";
        Ok(resources(about, "envoy.config.listener.v3.Listener", [listener]))
    }
}

fn filter_file(plan: &Plan, wasm: &str) -> String {
    let about =
        "# The filter and the document in it. A new module has a new file name: Envoy reads a name once.\n";
    resources(about, "envoy.config.core.v3.TypedExtensionConfig", [filter::filter(plan, wasm)])
}

fn clusters_file(plan: &Plan, options: &Options) -> String {
    let clusters = plan.clusters().map(|cluster| cluster::cluster(cluster, &options.ca));
    resources("", "envoy.config.cluster.v3.Cluster", clusters)
}

/// A file of xDS resources, each of which is a list entry.
fn resources(about: &str, kind: &str, entries: impl IntoIterator<Item = String>) -> String {
    let entries = entries.into_iter().map(|entry| {
        // Before the entry there may be a comment.
        let at = entry.find("\n- ").map_or(0, |at| at + 1);
        let (comment, entry) = (&entry[..at], &entry[at + 2..]);
        format!("{comment}- \"@type\": type.googleapis.com/{kind}\n  {entry}")
    });
    format!("{about}resources:\n{}", entries.collect::<String>())
}

/// Writes a file whose text is another: beside its place first, then moved into it. Tells whether it did.
fn put(folder: &Path, name: &str, text: &str) -> io::Result<bool> {
    let file = folder.join(name);
    match fs::read(&file) {
        Ok(known) if known == text.as_bytes() => return Ok(false),
        _ => fs::create_dir_all(folder)?,
    }
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&beside, text)?;
    fs::rename(&beside, &file)?;
    Ok(true)
}
