//! The Envoy configuration of a case: a listener a variant, from the texts in `variants/`.

use crate::Options;
use crate::case::{Case, Kind, TOOL, Variant};
use crate::server::Server;
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;

const LISTENER: &str = include_str!("../variants/listener.yaml");
const BUFFER: &str = include_str!("../variants/buffer.yaml");
const EMPTY: &str = include_str!("../variants/empty-wasm.yaml");
const MCP_IAP: &str = include_str!("../variants/mcp-iap.yaml");
const NATIVE: &str = include_str!("../variants/native.yaml");
const NATIVE_POLICY: &str = include_str!("../variants/native-policy.yaml");
const NATIVE_LISTS: &str = include_str!("../variants/native-lists.yaml");
const EXT_AUTHZ: &str = include_str!("../variants/ext-authz.yaml");

const LOG_FILE: &str = include_str!("../variants/log-file.yaml");
const LOG_STDOUT: &str = include_str!("../variants/log-stdout.yaml");
const LOG_ALS: &str = include_str!("../variants/log-als.yaml");
const LOG_OTLP: &str = include_str!("../variants/log-otlp.yaml");

/// The record of mcp-iap, as `mcp-iap render` writes it.
const RECORD: &str = r#"{"time":"%START_TIME%","status":%RESPONSE_CODE%,"duration_ms":%DURATION%,"bytes_received":%BYTES_RECEIVED%,"bytes_sent":%BYTES_SENT%,"source":"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%","flags":"%RESPONSE_FLAGS%","details":"%RESPONSE_CODE_DETAILS%","mcp_iap":[%FILTER_STATE(wasm.mcp_iap:PLAIN)%]}"#;
/// The six fields of the native filters: status, method, tool, subject, outcome, duration.
const NATIVE_LOG: &str = r#"{"status":%RESPONSE_CODE%,"method":%DYNAMIC_METADATA(envoy.filters.http.mcp:method)%,"tool":%DYNAMIC_METADATA(envoy.filters.http.mcp:params:name)%,"subject":%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:jwt:sub)%,"outcome":"%RESPONSE_CODE_DETAILS%","duration_ms":%DURATION%}"#;
/// The same fields as far as a chain that reads neither body nor token knows them.
const OTHER_LOG: &str = r#"{"status":%RESPONSE_CODE%,"method":"%REQ(mcp-method)%","tool":"%REQ(mcp-name)%","subject":null,"outcome":"%RESPONSE_CODE_DETAILS%","duration_ms":%DURATION%}"#;

/// The bootstrap, with each variant at its port; logs go into `folder`.
pub fn bootstrap(
    case: &Case,
    options: &Options,
    server: &Server,
    folder: &Path,
    admin: u16,
    collector: Option<u16>,
    variants: &[(Variant, u16)],
) -> Result<String> {
    let mut out = format!(
        "admin:\n  address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }}\nstatic_resources:\n  listeners:\n"
    );
    for (variant, port) in variants {
        let filters = filters(*variant, case, options, server)?;
        let log = match variant {
            _ if variant.is_filter() => RECORD,
            Variant::Native | Variant::NativeCached => NATIVE_LOG,
            _ => OTHER_LOG,
        };
        let sink = match variant {
            Variant::NoLog => "",
            Variant::Stdout => LOG_STDOUT,
            Variant::Als => LOG_ALS,
            Variant::Otlp => LOG_OTLP,
            _ => LOG_FILE,
        };
        out += &fill(
            LISTENER,
            &[
                ("access_log", &indent(sink, 10)),
                ("name", &format!("{variant:?}")),
                ("port", &port.to_string()),
                ("folder", &folder.display().to_string()),
                ("log", log),
                ("filters", &indent(&filters, 10)),
            ],
        );
    }
    out += "  clusters:\n";
    for name in ["mcp_server", "login"] {
        write!(
            out,
            "  - name: {name}\n    type: STATIC\n    connect_timeout: 2s\n    load_assignment:\n      cluster_name: {name}\n      \
             endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }} }}] }}]\n",
            server.port
        )?;
    }
    if let Some(collector) = collector {
        write!(
            out,
            "  - name: collector\n    type: STATIC\n    connect_timeout: 2s\n    typed_extension_protocol_options:\n      \
             envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \
             \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        \
             explicit_http_config: {{ http2_protocol_options: {{}} }}\n    load_assignment:\n      cluster_name: collector\n      \
             endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {collector} }} }} }} }}] }}]\n",
        )?;
    }
    Ok(out)
}

fn filters(variant: Variant, case: &Case, options: &Options, server: &Server) -> Result<String> {
    let port = server.port.to_string();
    let module = match variant {
        Variant::Baseline => options.baseline.as_deref().unwrap_or(&options.module),
        _ => &options.module,
    };
    Ok(match variant {
        Variant::None => String::new(),
        Variant::Buffer => BUFFER.to_owned(),
        Variant::EmptyWasm => fill(EMPTY, &[("empty", &absolute(&options.empty)?)]),
        _ if variant.is_filter() => fill(
            MCP_IAP,
            &[
                ("vm", &format!("{variant:?}")),
                ("module", &absolute(module)?),
                ("document", &indent(&document(case, server), 10)),
            ],
        ),
        Variant::Native | Variant::NativeCached => fill(
            NATIVE,
            &[
                ("server", &port),
                ("jwks", &server.jwks),
                (
                    "jwt_cache",
                    if variant == Variant::Native {
                        ""
                    } else {
                        "jwt_cache_config: { jwt_cache_size: 10000 }"
                    },
                ),
                ("policies", &indent(&policies(case), 8)),
            ],
        ),
        _ => fill(EXT_AUTHZ, &[("server", &port)]),
    })
}

fn absolute(path: &Path) -> Result<String> {
    Ok(std::path::absolute(path)?.display().to_string())
}

/// Our document: the rule that decides is the last one.
pub fn document(case: &Case, server: &Server) -> String {
    let issuer = format!("http://127.0.0.1:{}", server.port);
    let mut out = format!(
        "resource: http://127.0.0.1/mcp\nissuers:\n  - issuer: {issuer}\n    insecure_http: true\n    cluster: login\n    \
         algorithms: [{}]\nlimits: {{ body_bytes: 2097152, cached_tokens: {} }}\nrules:\n",
        case.algorithm,
        if case.cache { 10_000 } else { 0 },
    );
    for number in 2..case.rules {
        let _ = writeln!(
            out,
            "  - {{ id: r{number}, allow: {{ tools: [get_{number}, list_{number}_*] }}, to: {{ groups: [g{number}] }} }}"
        );
    }
    let _ = writeln!(out, "  - {{ id: dev-reads, allow: {{ tools: [read_*] }}, to: {{ groups: [dev] }} }}");
    let _ = writeln!(
        out,
        "  - {{ id: dev, allow: {{ tools: [{TOOL}] }}, to: {{ groups: [dev] }}, arguments: {{ priority: {{ in: [low, high] }} }} }}"
    );
    out
}

/// The same as policies of RBAC, which takes them by their names in order; it has no conditions on arguments
/// that are typed.
fn policies(case: &Case) -> String {
    let mut out = String::new();
    for number in 1..case.rules {
        let id = format!("r{number:05}");
        let tool = format!("prefix: get_{number}_");
        out += &fill(NATIVE_POLICY, &[("id", &id), ("match", &tool), ("group", &format!("g{number}"))]);
    }
    if case.kind == Kind::List {
        return out + NATIVE_LISTS;
    }
    out + &fill(NATIVE_POLICY, &[("id", "z"), ("match", &format!("exact: {TOOL}")), ("group", "dev")])
}

fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect::<String>().trim_end().to_owned()
}
