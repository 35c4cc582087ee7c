//! The targets: ratios within this run.

use crate::case::Variant::{self, Buffer, EmptyWasm, Native, NativeCached};
use crate::report::{Row, Target};

/// Each target whose case was measured.
pub fn judge(rows: &[Row]) -> Vec<Target> {
    let warm = "656 B, one token";
    let at_least = |what, case, to: Variant, wanted: f64| {
        let measured = row(rows, case, to)?.rate_ratio;
        Some(Target { what, wanted: format!(">= {wanted}"), measured, met: measured >= wanted })
    };
    let at_most = |what, case, to: Variant, wanted: f64| {
        let measured = row(rows, case, to)?.cpu_ratio;
        Some(Target { what, wanted: format!("<= {wanted}"), measured, met: measured <= wanted })
    };
    [
        at_least("warm, requests per second to jwt_authn + mcp + rbac", warm, Native, 1.75),
        at_least("warm, requests per second to the same with its JWT cache", warm, NativeCached, 1.2),
        at_least("warm, requests per second to an empty Wasm filter", warm, EmptyWasm, 0.8),
        at_least("cold RS256, requests per second to jwt_authn + mcp + rbac", "cold RS256", Native, 1.0),
        at_most("64 KiB, Envoy's CPU to the buffer filter", "64 KiB text", Buffer, 1.5),
        at_most("1 MiB, Envoy's CPU to the buffer filter", "1 MiB text", Buffer, 1.4),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn row<'a>(rows: &'a [Row], case: &str, to: Variant) -> Option<&'a Row> {
    rows.iter().find(|row| row.case == case && row.variant == to.name())
}
