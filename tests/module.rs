//! The built module: what it asks of its host. An import that an old Envoy lacks keeps it from loading.

use std::path::Path;
use wasmparser::{Parser, Payload};

/// What the module may import. Of the host: what `src/filter/abi.rs` declares.
const HOST: &[&str] = &[
    "env.proxy_add_header_map_value",
    "env.proxy_call_foreign_function",
    "env.proxy_continue_stream",
    "env.proxy_define_metric",
    "env.proxy_get_buffer_bytes",
    "env.proxy_get_current_time_nanoseconds",
    "env.proxy_get_header_map_pairs",
    "env.proxy_get_header_map_value",
    "env.proxy_get_property",
    "env.proxy_get_shared_data",
    "env.proxy_http_call",
    "env.proxy_increment_metric",
    "env.proxy_log",
    "env.proxy_record_metric",
    "env.proxy_remove_header_map_value",
    "env.proxy_replace_header_map_value",
    "env.proxy_send_local_response",
    "env.proxy_set_buffer_bytes",
    "env.proxy_set_effective_context",
    "env.proxy_set_property",
    "env.proxy_set_shared_data",
    "env.proxy_set_tick_period_milliseconds",
];

/// Of WASI: what every supported Envoy serves.
const WASI: &[&str] = &[
    "wasi_snapshot_preview1.clock_time_get",
    "wasi_snapshot_preview1.environ_get",
    "wasi_snapshot_preview1.environ_sizes_get",
    "wasi_snapshot_preview1.fd_write",
    "wasi_snapshot_preview1.proc_exit",
    "wasi_snapshot_preview1.random_get",
];

/// The largest module, in bytes.
const MAX_SIZE: usize = 2 * 1024 * 1024;

#[test]
fn imports_only_what_every_supported_envoy_serves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/mcp_iap.wasm");
    let module = std::fs::read(&path).expect("dist/mcp_iap.wasm is missing: run `make build`");
    assert!(module.len() <= MAX_SIZE, "the module has {} bytes", module.len());
    let mut imports = Vec::new();
    for payload in Parser::new(0).parse_all(&module) {
        if let Payload::ImportSection(section) = payload.unwrap() {
            for import in section.into_imports() {
                let import = import.unwrap();
                imports.push(format!("{}.{}", import.module, import.name));
            }
        }
    }
    assert!(imports.len() > 10);
    imports.retain(|import| ![HOST, WASI].iter().any(|list| list.contains(&import.as_str())));
    assert!(imports.is_empty(), "not served by every Envoy: {imports:?}");
}
