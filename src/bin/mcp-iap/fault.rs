//! Why a command ends without having done its work, with the exit code for it.

use crate::check;
use crate::run::terminal::escape;
use mcp_iap::config::{ConfigError, Errors};
use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Prints on standard output.
pub fn say(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Fault::of_stdout(&error))
}

/// Prints a result, and gives the exit code that it has, whether or not somebody reads it to its end.
pub fn conclude(text: &str, code: ExitCode) -> ExitCode {
    match say(text) {
        Ok(()) | Err(Fault::Unread) => code,
        Err(fault) => fault.report(Path::new("")),
    }
}

/// Prints a line on standard error. Where nobody reads that there is nobody to tell, and the exit code says what it says.
pub fn complain(text: impl fmt::Display) {
    let _ = complained(text);
}

/// The same, of what must not be lost.
///
/// # Errors
/// It could not be written.
pub fn complained(text: impl fmt::Display) -> io::Result<()> {
    io::stderr().lock().write_all(format!("{text}\n").as_bytes())
}

/// The exit code where nothing could be decided.
const UNDECIDED: u8 = 3;

/// What went wrong.
#[derive(Debug)]
pub enum Fault {
    /// The document is refused; exit code 1.
    Refused(Errors),
    /// Something did not work; exit code 1.
    Failed(String),
    /// The command can't be carried out as it was given; exit code 2.
    Usage(String),
    /// What was given says nothing of what was asked; exit code 3.
    Undecided(String),
    /// Nobody reads what is written any more; exit code 0, for who reads has seen enough.
    Unread,
}

impl Fault {
    /// Of what could not be written: who reads may have seen enough, as `head` does.
    pub fn of_stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::Failed(format!("standard output: {error}"))
    }

    /// Says it on standard error.
    pub fn report(self, file: &Path) -> ExitCode {
        match self {
            Self::Refused(errors) => {
                complain(check::faults(file, &errors.0).trim_end());
                ExitCode::FAILURE
            }
            Self::Failed(message) => {
                complain(format_args!("mcp-iap: {}", shown(&message)));
                ExitCode::FAILURE
            }
            Self::Usage(message) => {
                complain(format_args!("mcp-iap: {}", shown(&message)));
                ExitCode::from(check::UNUSABLE)
            }
            Self::Undecided(message) => {
                complain(format_args!("mcp-iap: {}", shown(&message)));
                ExitCode::from(UNDECIDED)
            }
            Self::Unread => ExitCode::SUCCESS,
        }
    }
}

/// The lines of a message, of which a terminal obeys nothing but their ends.
fn shown(message: &str) -> String {
    message.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

impl From<Errors> for Fault {
    fn from(errors: Errors) -> Self {
        Self::Refused(errors)
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        Self::Refused(error.into())
    }
}
