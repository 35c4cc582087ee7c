//! The access log, which writes the filter's records: to which sinks, and with what around each record.

use super::address::Endpoint;
use super::plan::Cluster;
use super::yaml::{indent, scalar};
use crate::fault::Fault;
use std::fmt::Write as _;

/// What Envoy writes around the record: names, its operators, and which of them are numbers. Nothing that a client
/// chose is among them: a text format does not escape.
const AROUND: [(&str, &str, bool); 8] = [
    ("time", "%START_TIME%", false),
    ("status", "%RESPONSE_CODE%", true),
    ("duration_ms", "%DURATION%", true),
    ("bytes_received", "%BYTES_RECEIVED%", true),
    ("bytes_sent", "%BYTES_SENT%", true),
    ("source", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", false),
    ("flags", "%RESPONSE_FLAGS%", false),
    ("details", "%RESPONSE_CODE_DETAILS%", false),
];
const RECORD: &str = "%FILTER_STATE(wasm.mcp_iap:PLAIN)%";

/// Where records go: `--access-log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    Stdout,
    File(String),
    /// Envoy's gRPC access log service.
    Als(Endpoint),
    /// OpenTelemetry's collector, by gRPC.
    Otlp(Endpoint),
}

impl Sink {
    /// `stdout`, `file=PATH`, `als=URL` or `otlp=URL`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let endpoint = |url: &str| {
            let (scheme, authority) = url.split_once("://")?;
            Endpoint::parse(scheme, authority.strip_suffix('/').unwrap_or(authority))
        };
        let wanted =
            "write `stdout`, `file=PATH`, `als=URL` or `otlp=URL`, a URL like `http://127.0.0.1:4317`";
        match text.split_once('=') {
            None if text == "stdout" => Ok(Self::Stdout),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            Some(("als", url)) => endpoint(url).map(Self::Als).ok_or_else(|| wanted.to_owned()),
            Some(("otlp", url)) => endpoint(url).map(Self::Otlp).ok_or_else(|| wanted.to_owned()),
            _ => Err(wanted.to_owned()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Als(_) => "als",
            Self::Otlp(_) => "otlp",
        }
    }

    /// The collector's cluster; who else has its name is among `others`.
    fn cluster(&self, others: &[&str]) -> Option<Cluster> {
        let (Self::Als(endpoint) | Self::Otlp(endpoint)) = self else { return None };
        let mut name = format!("access_log_{}", self.kind());
        while others.contains(&name.as_str()) {
            name.push('_');
        }
        let purpose = "The collector of the access log".to_owned();
        let endpoint = endpoint.clone();
        Some(Cluster { name, endpoint, credential: None, gives_tokens: false, is_grpc: true, purpose })
    }
}

/// A sink, and the cluster by which a collector is reached.
#[derive(Clone, Debug)]
pub struct Logger {
    pub sink: Sink,
    pub cluster: Option<Cluster>,
}

/// The loggers for these sinks; `others` are the names of the other clusters.
///
/// # Errors
/// One sink twice.
pub fn loggers(sinks: &[Sink], others: &[&str]) -> Result<Vec<Logger>, Fault> {
    let mut loggers = Vec::new();
    for (at, sink) in sinks.iter().enumerate() {
        if sinks.iter().take(at).any(|other| other.kind() == sink.kind()) {
            return Err(Fault::Usage(format!("--access-log {} is there twice", sink.kind())));
        }
        loggers.push(Logger { sink: sink.clone(), cluster: sink.cluster(others) });
    }
    Ok(loggers)
}

/// The list entries below `access_log`.
pub fn access_log(loggers: &[Logger]) -> String {
    let entry = |logger: &Logger| {
        let cluster = logger.cluster.as_ref().map(|cluster| scalar(&cluster.name)).unwrap_or_default();
        match &logger.sink {
            // A file log of /dev/stdout opens it anew: that fails on a socket, and where standard error goes to the same
            // file, each writes over the other.
            Sink::Stdout => lines("stdout", "stream.v3.StdoutAccessLog", ""),
            Sink::File(path) => {
                lines("file", "file.v3.FileAccessLog", &format!("path: {}\n    ", scalar(path)))
            }
            Sink::Als(_) => als(&cluster),
            Sink::Otlp(_) => otlp(&cluster),
        }
    };
    loggers.iter().map(entry).collect()
}

/// The logger `name` of this type, which writes a line for each request; `place` is where.
fn lines(name: &str, kind: &str, place: &str) -> String {
    let around: String = AROUND
        .iter()
        .map(|(member, operator, is_number)| {
            if *is_number {
                format!("\"{member}\":{operator},")
            } else {
                format!("\"{member}\":\"{operator}\",")
            }
        })
        .collect();
    format!(
        r#"- name: envoy.access_loggers.{name}
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.{kind}
    {place}log_format:
      # One JSON object a line. Nothing that a client chose stands outside the record, which
      # the filter wrote as JSON itself: a text format does not escape.
      omit_empty_values: true
      text_format_source:
        inline_string: |
          {{{around}"mcp_iap":[{RECORD}]}}
"#
    )
}

/// A logger that sends to a service by gRPC; `rest`: what follows its cluster.
fn by_grpc(name: &str, config: &str, cluster: &str, rest: &str) -> String {
    format!(
        r#"- name: envoy.access_loggers.{name}
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.{config}
    common_config:
      log_name: mcp_iap
      transport_api_version: V3
      grpc_service: {{ envoy_grpc: {{ cluster_name: {cluster} }} }}
{rest}"#
    )
}

fn als(cluster: &str) -> String {
    let rest = "      # The record is a BytesValue among `filter_state_objects`. This logger has path, query and some headers
      # of each request beside it, and a token that a client put into its query.
      filter_state_objects_to_log: [wasm.mcp_iap]
";
    by_grpc("http_grpc", "grpc.v3.HttpGrpcAccessLogConfig", cluster, rest)
}

fn otlp(cluster: &str) -> String {
    let mut attributes = String::new();
    for (name, operator, _) in AROUND.iter().filter(|(name, ..)| *name != "time") {
        let _ = writeln!(attributes, "- {{ key: {name}, value: {{ string_value: \"{operator}\" }} }}");
    }
    let rest = format!(
        r#"      # Else what is sent while the collector is away is lost.
      grpc_stream_retry_policy:
        num_retries: 10
        retry_back_off: {{ base_interval: 0.2s, max_interval: 5s }}
    # The record as a text that is JSON, `-` where there is none.
    body: {{ string_value: "{RECORD}" }}
    attributes:
      values:
{}"#,
        indent(&attributes, 6)
    );
    by_grpc("open_telemetry", "open_telemetry.v3.OpenTelemetryAccessLogConfig", cluster, &rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_is_one_of_four() {
        let at = |scheme: &str, authority: &str| Endpoint::parse(scheme, authority).unwrap();
        for (text, sink) in [
            ("stdout", Sink::Stdout),
            ("file=/var/log/a=b", Sink::File("/var/log/a=b".to_owned())),
            ("als=http://127.0.0.1:9001", Sink::Als(at("http", "127.0.0.1:9001"))),
            ("otlp=https://collector.example.com/", Sink::Otlp(at("https", "collector.example.com"))),
        ] {
            assert_eq!(Sink::parse(text), Ok(sink), "{text}");
        }
        for text in [
            "",
            "file",
            "file=",
            "stdout=",
            "als",
            "als=127.0.0.1:1",
            "otlp=http://a/b",
            "otlp=ftp://a",
            "x=http://a",
        ] {
            assert!(Sink::parse(text).is_err_and(|error| error.starts_with("write")), "{text}");
        }
    }

    #[test]
    fn a_collector_has_a_name_that_nobody_else_has() {
        let sinks = ["otlp=http://127.0.0.1:1", "stdout"].map(|text| Sink::parse(text).unwrap());
        let loggers = loggers(&sinks, &["access_log_otlp"]).unwrap();
        let names: Vec<_> = loggers.iter().map(|one| one.cluster.as_ref().map(|one| &*one.name)).collect();
        assert_eq!(names, [Some("access_log_otlp_"), None]);
    }
}
