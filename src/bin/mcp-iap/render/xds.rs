//! `--xds-dir DIR`: bootstrap, listener, filter and clusters in files of their own, which Envoy reads anew
//! when one is moved into their folder. New rules are then a new filter behind the connections that there
//! are; only a change of the listener itself makes Envoy take new ones.

use super::yaml::{indent, scalar};
use super::{Options, Plan, around, check_fit, cluster, filter, listener, node, read_back};
use crate::fault::Fault;
use mcp_iap::config::yaml;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

const CLUSTERS: &str = "clusters.yaml";
const FILTER: &str = "filter.yaml";
const LISTENER: &str = "listener.yaml";
const BOOTSTRAP: &str = "envoy.yaml";
/// For so long a cluster is there ahead of who names it. Envoy reads a file within milliseconds, but may read all that
/// changed in any order.
const AHEAD: Duration = Duration::from_millis(500);

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
    /// Writes what changed, each file moved into its place. Says what was written.
    ///
    /// A cluster is there before who names it, and goes after who named it: else requests would be lost between.
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
        let filter = read_back(filter_file(plan, wasm), plan)?;
        let listener = self.listener(plan, options)?;
        let clusters = clusters_file(plan, options);
        let known = fs::read_to_string(self.path(CLUSTERS)).unwrap_or_default();
        let meanwhile = format!("{clusters}{}", leaving(&known, &clusters));
        let is_running = !known.is_empty() && known != clusters;
        let mut written = vec![(CLUSTERS, self.put(CLUSTERS, &meanwhile)?)];
        if is_running {
            thread::sleep(AHEAD);
        }
        written.push((FILTER, self.put(FILTER, &filter)?));
        written.push((LISTENER, self.put(LISTENER, &listener)?));
        if meanwhile != clusters {
            thread::sleep(AHEAD);
            self.put(CLUSTERS, &clusters)?;
        }
        written.push((BOOTSTRAP, self.put(BOOTSTRAP, &self.bootstrap(plan, options, written_by))?));
        let mut said = String::new();
        for (name, is_new) in written {
            let _ = writeln!(said, "{} {}", if is_new { "written  " } else { "unchanged" }, self.path(name));
        }
        Ok(said)
    }

    /// Writes a file whose text is another: beside its place first, then moved into it. Tells whether it did.
    fn put(&self, name: &str, text: &str) -> Result<bool, Fault> {
        let fault = |error: io::Error| Fault::Failed(format!("{}: {error}", self.path(name)));
        let file = self.path(name);
        match fs::read(&file) {
            Ok(known) if known == text.as_bytes() => return Ok(false),
            _ => fs::create_dir_all(&self.0).map_err(fault)?,
        }
        let beside = self.path(&format!(".{name}.{}", std::process::id()));
        fs::write(&beside, text).map_err(fault)?;
        fs::rename(&beside, &file).map_err(fault)?;
        Ok(true)
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
        let collectors: String = plan.collectors().map(|one| cluster::cluster(one, &options.ca)).collect();
        let collectors = if collectors.is_empty() {
            collectors
        } else {
            format!(
                "static_resources:\n  # Envoy wants these from the start.\n  clusters:\n{}",
                indent(&collectors, 2)
            )
        };
        let resources = format!(
            "{}# Read anew when a file is moved into the folder; where Envoy refuses one, it goes on with what it has.
dynamic_resources:
  cds_config:
{}  lds_config:
{}{collectors}",
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

/// The clusters of the file `before` that the file `after` does not have, as further entries of it.
fn leaving(before: &str, after: &str) -> String {
    let entries = |text: &str| -> Vec<Value> {
        let file: Value = yaml::read(text).unwrap_or_default();
        file["resources"].as_array().cloned().unwrap_or_default()
    };
    let staying = entries(after);
    let is_leaving = |entry: &Value| staying.iter().all(|other| other["name"] != entry["name"]);
    // JSON is YAML.
    entries(before).iter().filter(|entry| is_leaving(entry)).map(|entry| format!("- {entry}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_stays_for_a_while() {
        let before = "resources:\n- {name: a, x: 1}\n- {name: \"b c\", x: [2]}\n";
        let after = "resources:\n# A comment.\n- name: a\n  x: 3\n";
        let meanwhile: Value = yaml::read(&format!("{after}{}", leaving(before, after))).unwrap();
        assert_eq!(
            meanwhile,
            serde_json::json!({"resources": [{"name": "a", "x": 3}, {"name": "b c", "x": [2]}]})
        );
        for other in ["", "no list", "resources: 1", "{"] {
            assert_eq!(leaving(other, after), "", "{other}");
        }
    }
}
