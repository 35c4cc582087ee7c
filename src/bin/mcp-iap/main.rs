//! The command line of mcp-iap: the filter's own code, run on files.
//!
//! Exit codes: 0 all is well; 1 the document is refused, or it did not work; 2 the command can't be
//! carried out as it was given (usage, a file that can't be read); 3 nothing could be decided. docs/guide.md has them
//! with examples.

// What nobody reads must not end a command by a panic: see `fault::say` and `fault::complain`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod audit;
mod check;
mod digest;
mod environment;
mod fault;
mod hash_key;
mod init;
mod policy;
mod render;
mod run;
mod schema;

use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;

/// Identity-aware proxy for MCP: the filter's own code on the command line.
#[derive(Parser)]
#[command(name = "mcp-iap", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a first configuration, from what an MCP server and an issuer say of themselves.
    Init(init::Options),
    /// Checks a configuration as the filter does when Envoy loads it.
    Check(check::Options),
    /// Says rule by rule what the policy says of a call, from a file of cases or a line of the access log.
    Explain(policy::explain::Options),
    /// Says what another policy would have decided of the requests in an access log.
    ///
    /// Exit code 1 where one would be decided differently for certain, 0 where none would, 3 where of none it can be said.
    Replay(policy::replay::Options),
    /// Puts files of cases to the policy and says what differs from what they expect.
    Test(policy::test::Options),
    /// Says what was asked and how it was decided: searches the access log.
    Audit(Box<audit::Options>),
    /// Prints the configuration of the proxy that runs the filter, with the document in it.
    Render {
        #[command(subcommand)]
        target: Box<render::Target>,
    },
    /// Starts Envoy with the document and shows each decision as it comes; Ctrl-C ends it.
    Run(Box<run::Run>),
    /// Makes the configuration's entry of an API key, from a key on standard input or a new one.
    HashKey(hash_key::Options),
    /// Prints the JSON Schema of the configuration, or of the audit record.
    Schema(schema::Options),
    /// Becomes Envoy, tethered to the process that is named; `run` starts this.
    #[command(hide = true)]
    RunEnvoy(run::Tethered),
}

/// How a result is written.
#[derive(Clone, Copy, Default, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines: JSON, one object a line.
    Json,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Init(options) => init::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Explain(options) => policy::explain::run(&options),
        Command::Replay(options) => policy::replay::run(&options),
        Command::Test(options) => policy::test::run(&options),
        Command::Audit(options) => audit::run(&options),
        Command::Render { target } => render::run(&target),
        Command::Run(options) => run::run(&options),
        Command::HashKey(options) => hash_key::run(&options),
        Command::Schema(options) => schema::run(&options),
        Command::RunEnvoy(options) => run::run_envoy(&options),
    }
}
