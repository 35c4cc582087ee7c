//! Rows of the result, for machines and for people.

use crate::case::{Case, Variant};
use crate::profile::Shares;
use serde::Serialize;
use std::time::Duration;

/// One round of one variant.
#[derive(Clone)]
pub struct Sample {
    rate: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
}

impl Sample {
    /// Of the latencies in ns, the time that passed, and the processor time of Envoy.
    pub fn of(latencies: &mut [u64], elapsed: Duration, cpu: Duration) -> Self {
        latencies.sort_unstable();
        let count = latencies.len();
        let at =
            |part: f64| latencies.get((count as f64 * part) as usize).map_or(f64::NAN, |ns| *ns as f64 / 1e3);
        Self {
            rate: count as f64 / elapsed.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / count as f64,
            p50: at(0.5),
            p99: at(0.99),
        }
    }
}

/// Medians over the rounds; times in µs.
#[derive(Clone, Serialize)]
pub struct Row {
    pub case: &'static str,
    pub variant: &'static str,
    pub requests_per_second: f64,
    /// The slowest and the fastest round.
    pub spread: [f64; 2],
    pub envoy_cpu_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// How many times this rate the filter has: of each round, whose neighbours had the same machine.
    pub rate_ratio: f64,
    /// How many times this processor time the filter takes, of each round.
    pub cpu_ratio: f64,
    /// Where Envoy's processor time goes; `null` where nobody asked.
    pub shares: Option<Shares>,
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    /// Of all rounds; `own` are those of the filter.
    pub fn of(case: &Case, variant: Variant, samples: &[Sample], own: &[Sample]) -> Self {
        let middle = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        let ratio = |value: fn(&Sample) -> f64| {
            median(own.iter().zip(samples).map(|(own, other)| value(own) / value(other)))
        };
        let rates = samples.iter().map(|sample| sample.rate);
        Self {
            case: case.name,
            variant: variant.name(),
            requests_per_second: middle(|sample| sample.rate),
            spread: [rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max)],
            envoy_cpu_us: middle(|sample| sample.cpu),
            p50_us: middle(|sample| sample.p50),
            p99_us: middle(|sample| sample.p99),
            rate_ratio: ratio(|sample| sample.rate),
            cpu_ratio: ratio(|sample| sample.cpu),
            shares: None,
        }
    }
}

/// What `results.json` holds.
#[derive(Default, Serialize)]
pub struct Report {
    pub rows: Vec<Row>,
    pub targets: Vec<Target>,
}

/// A promise, and what was measured of it in this run.
#[derive(Serialize)]
pub struct Target {
    pub what: &'static str,
    pub wanted: String,
    pub measured: f64,
    pub met: bool,
}

/// A table of one case.
pub fn print(case: &Case, rows: &[Row]) {
    let is_own = rows.iter().any(|row| row.variant == Variant::McpIap.name());
    let ratio = if is_own { "mcp-iap x" } else { "no log x" };
    println!("\n{}", case.name);
    println!(
        "  {:<24}{:>8}{:>17}{:>12}{:>9}{:>9}{:>9}",
        "", "req/s", "spread", ratio, "CPU us", "p50 us", "p99 us"
    );
    for row in rows {
        println!(
            "  {:<24}{:>8.0}{:>17}{:>12.2}{:>9.1}{:>9.0}{:>9.0}",
            row.variant,
            row.requests_per_second,
            format!("{:.0}-{:.0}", row.spread[0], row.spread[1]),
            row.rate_ratio,
            row.envoy_cpu_us,
            row.p50_us,
            row.p99_us
        );
    }
}

/// Where processor time goes, in µs a request.
pub fn print_shares(rows: &[Row]) {
    let found: Vec<_> = rows.iter().filter_map(|row| Some((row, row.shares?))).collect();
    if found.is_empty() {
        return;
    }
    println!("  {:<24}{:>8}{:>17}{:>18}", "of that, CPU us", "Envoy", "compiled module", "kernel");
    for (row, shares) in found {
        let [envoy, module, kernel] =
            [shares.envoy, shares.module, shares.kernel].map(|share| share * row.envoy_cpu_us);
        println!("  {:<24}{envoy:>8.1}{module:>17.1}{kernel:>18.1}", row.variant);
    }
}

/// The targets, one a line.
pub fn print_targets(targets: &[Target]) {
    println!();
    for target in targets {
        let word = if target.met { "met " } else { "MISSED" };
        println!("{word:<7}{:<74}{:>8} {:>6.2}", target.what, target.wanted, target.measured);
    }
}
