//! What the filter costs, side by side with Envoy's own filters: for each case one Envoy with a listener a
//! variant, measured in alternating rounds; medians, and the targets that the project promises.
//!
//! Envoy has one worker and one processor for itself; the load and the upstream share another.

mod case;
mod collector;
mod configuration;
mod counted;
mod envoy;
#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/support/issuer.rs"]
mod issuer;
mod load;
mod profile;
mod report;
mod server;
mod target;

use anyhow::{Context as _, Result, bail};
use case::{CASES, Case, Kind, SINKS, Variant};
use clap::Parser;
use collector::Collector;
use report::{Report, Row, Sample};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Measures the filter against Envoy's own filters. Exits with 1 where a target is missed, with 2 where
/// nothing could be measured.
#[derive(Parser)]
struct Options {
    /// The Envoy to measure with.
    #[arg(long, default_value = "envoy")]
    envoy: PathBuf,
    /// The filter.
    #[arg(long, default_value = "dist/mcp_iap.wasm")]
    module: PathBuf,
    /// The filter that does nothing.
    #[arg(long, default_value = "bench/empty/target/wasm32-wasip1/release/empty.wasm")]
    empty: PathBuf,
    /// Another build of the filter: measures the two beside the filter that does nothing, and no others.
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Rounds of each variant; the median counts, of ratios the median of those of each round.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Seconds of each round.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Connections (streams with HTTP/2), each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Tells of each variant where Envoy's processor time goes, in one more round of it: needs `perf`.
    #[arg(long)]
    profile: bool,
    /// Only these cases, by the beginning of their names.
    #[arg(long)]
    case: Vec<String>,
    /// Measures what records cost at each sink instead.
    #[arg(long, conflicts_with_all = ["case", "baseline", "instructions"])]
    sinks: bool,
    /// Counts instructions instead, in an interpreter and without an Envoy, and compares with this file: exits with 1
    /// where a case takes a twentieth more than it says.
    #[arg(long)]
    instructions: Option<PathBuf>,
    /// Writes the file of `--instructions` anew.
    #[arg(long, requires = "instructions")]
    update: bool,
    /// Where results.json, the configurations and the logs go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// How long a profile is.
const PROFILED: Duration = Duration::from_secs(5);

/// How long a record is at least, in bytes.
const LEAST: u64 = 400;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all targets are met.
fn run(options: &Options) -> Result<bool> {
    std::fs::create_dir_all(&options.out)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let issuer = issuer::Issuer::new("bench");
    let wanted = |case: &&Case| {
        options.case.is_empty() || options.case.iter().any(|name| case.name.starts_with(name.as_str()))
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    if let Some(file) = &options.instructions {
        return counted::compare(options, &cases, &issuer, file);
    }
    let cases: Vec<&Case> = if options.sinks {
        vec![&SINKS]
    } else {
        cases.into_iter().filter(|case| !case.variants.is_empty()).collect()
    };
    if cases.is_empty() {
        bail!("no such case; there are {}", CASES.map(|case| case.name).join(", "));
    }
    let mut report = Report::default();
    for case in cases {
        let rows = runtime.block_on(measure(case, options, &issuer)).context(case.name)?;
        report::print(case, &rows);
        report::print_shares(&rows);
        report.rows.extend(rows);
    }
    report.targets = target::judge(&report.rows);
    if !report.targets.is_empty() {
        report::print_targets(&report.targets);
    }
    let path = options.out.join("results.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    println!("\n{}", path.display());
    Ok(report.targets.iter().all(|target| target.met))
}

async fn measure(case: &Case, options: &Options, issuer: &issuer::Issuer) -> Result<Vec<Row>> {
    let server = server::start(issuer).await?;
    let requests = case.requests(issuer, server.port);
    let variants = match options.baseline {
        Some(_) => &[Variant::EmptyWasm, Variant::McpIap, Variant::Baseline],
        None => case.variants,
    };
    let collector = if options.sinks { Some(Collector::start().await?) } else { None };
    let port = collector.as_ref().map(|collector| collector.port);
    let envoy = envoy::Envoy::start(case, variants, options, &server, port).await?;
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); variants.len()];
    // What is warm in service is warm here: keys are there, each token was seen once.
    let half = case::list().len() * 3 / 4;
    for (variant, port) in &envoy.variants {
        let size = load::warm(case, *port, &requests).await?;
        let hides = variant.is_filter();
        if case.kind == Kind::List && hides != (size < half) {
            bail!("{}: a list of {size} bytes", variant.name());
        }
    }
    for round in 0..options.rounds {
        for (index, (variant, port)) in envoy.variants.iter().enumerate() {
            eprint!("\r{}: round {} of {}, {}        ", case.name, round + 1, options.rounds, variant.name());
            let before = envoy.cpu()?;
            let start = Instant::now();
            let time = Duration::from_secs_f64(options.seconds);
            let mut latencies = load::run(case, *port, &requests, options.connections, time).await?;
            let cpu = envoy.cpu()?.saturating_sub(before);
            if let Some(collector) =
                collector.as_ref().filter(|_| matches!(variant, Variant::Als | Variant::Otlp))
            {
                let each = collector.take_received() / latencies.len() as u64;
                if each < LEAST {
                    bail!("{}: of each record {each} bytes came to the collector", variant.name());
                }
            }
            samples[index].push(Sample::of(&mut latencies, start.elapsed(), cpu));
        }
    }
    let mut shares = vec![None; variants.len()];
    if options.profile {
        for (index, (variant, port)) in envoy.variants.iter().enumerate() {
            eprint!("\r{}: profile of {}        ", case.name, variant.name());
            let profile = profile::Profile::start(envoy.pid(), &options.out)?;
            load::run(case, *port, &requests, options.connections, PROFILED).await?;
            shares[index] = Some(profile.end()?);
        }
    }
    eprint!("\r{:80}\r", "");
    let own = variants.iter().position(|variant| *variant == Variant::McpIap);
    let own = samples.get(own.unwrap_or_default()).context("nothing to compare with")?;
    let row = |((variant, samples), shares): ((&Variant, &Vec<Sample>), _)| Row {
        shares,
        ..Row::of(case, *variant, samples, own)
    };
    Ok(variants.iter().zip(&samples).zip(shares).map(row).collect())
}
