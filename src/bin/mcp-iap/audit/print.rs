//! Records on standard output: a table for people, or the lines as they are, of which a terminal obeys nothing.

use super::entry::Seen;
use crate::Output;
use crate::fault::Fault;
use crate::run::decision::{Clock, decision, header};
use crate::run::terminal::{Style, escape_json};
use crate::run::words::Words;
use std::io::{self, BufWriter, StdoutLock, Write as _};

/// Standard output.
pub struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    output: Output,
    style: Style,
    words: Words,
    has_header: bool,
}

impl Printer {
    pub fn new(output: Output) -> Self {
        let out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
        Self { out, output, style: Style::of_stdout(), words: Words::default(), has_header: false }
    }

    /// A request, with its line.
    pub fn print(&mut self, seen: &Seen, line: &[u8]) -> Result<(), Fault> {
        let is_plain = line.iter().all(|byte| (0x20..0x7f).contains(byte));
        let printed = match self.output {
            Output::Json if is_plain => self.out.write_all(line).and_then(|()| self.out.write_all(b"\n")),
            Output::Json => writeln!(self.out, "{}", escape_json(&String::from_utf8_lossy(line))),
            Output::Text => {
                let is_first = !std::mem::replace(&mut self.has_header, true);
                let head = if is_first { header(Clock::Date) + "\n" } else { String::new() };
                let Seen { around, record } = seen;
                let row = decision(around, record.as_ref(), &self.words, Clock::Date, self.style);
                writeln!(self.out, "{head}{row}")
            }
        };
        printed.map_err(|error| Fault::of_stdout(&error))
    }

    /// What was printed is out.
    pub fn flush(&mut self) -> Result<(), Fault> {
        self.out.flush().map_err(|error| Fault::of_stdout(&error))
    }
}
