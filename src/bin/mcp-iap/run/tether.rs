//! Ends Envoy with the process that started it, also where that is killed and can't do anything about it: the
//! kernel does (prctl(2), `PR_SET_PDEATHSIG`). What is set so stays set through exec(2) and is lost by fork(2),
//! so this program starts itself once more, sets it, and becomes Envoy.

use crate::fault::complain;
use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The hidden command's name.
const COMMAND: &str = "run-envoy";

#[derive(Args)]
pub struct Tethered {
    /// The process with which the program ends.
    parent: u32,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The command that starts this program as that one, tethered to this process.
///
/// # Errors
/// What the system says of this program's path.
pub fn command(program: &Path) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(COMMAND).arg(std::process::id().to_string()).arg(program);
    Ok(command)
}

/// Becomes the program; comes back only where that fails.
pub fn run(options: &Tethered) -> ExitCode {
    let error = match tether(options.parent) {
        Ok(()) => {
            let [program, arguments @ ..] = options.command.as_slice() else { return ExitCode::FAILURE };
            Command::new(program).args(arguments).exec()
        }
        Err(error) => error,
    };
    complain(format_args!("mcp-iap: {}: {error}", options.command.join(" ".as_ref()).display()));
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn tether(parent: u32) -> std::io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before.
    match getppid() {
        Some(now) if now.as_raw_nonzero().get().unsigned_abs() == parent => Ok(()),
        _ => Err(std::io::Error::other("who started this is gone")),
    }
}

/// Elsewhere there is no such thing.
#[cfg(not(target_os = "linux"))]
fn tether(_: u32) -> std::io::Result<()> {
    Ok(())
}
