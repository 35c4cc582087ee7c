//! Where records come from: files as Envoy writes them, rotated and compressed ones, standard input. Read one after
//! the other, in the order of their first records, a line at a time.

use super::entry::{Line, Seen, read};
use super::lines::{self, Read};
use crate::fault::{Fault, complain};
use crate::run::terminal::escape;
use flate2::bufread::MultiGzDecoder;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

const BUFFER: usize = 256 * 1024;
/// RFC 1952 section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How many lines that are none are told one by one.
const TOLD: u64 = 3;

/// How many ways in which requests without a record ended are told apart.
const ENDS: usize = 8;

/// A text that is read line by line, compressed or not.
pub type Text = Box<dyn BufRead>;

/// What was read, beside the records that are wanted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Lines with a record.
    pub records: u64,
    /// Lines of the access log without one.
    pub without_record: u64,
    /// How these ended, by Envoy's details, and how often.
    pub ends: BTreeMap<String, u64>,
    /// Lines that are none of the access log.
    pub unknown: u64,
    /// Lines whose time is not known, where the time was asked for.
    pub without_time: u64,
    /// Files that could not be read to their end.
    pub broken: u64,
    /// Whether each line that is none is told, and not just the first ones.
    pub tells_each: bool,
}

impl Counts {
    /// What a line of the access log says, with what is no record counted; of the first that are none of it it is told
    /// why. `number`: which line of the file it is, from 1.
    pub fn line(&mut self, line: &[u8], name: &str, number: u64) -> Option<Box<Seen>> {
        match read(line) {
            Line::Entry(entry) => {
                self.records = self.records.saturating_add(1);
                Some(Box::new((*entry).into()))
            }
            Line::WithoutRecord(around) => {
                self.without_record = self.without_record.saturating_add(1);
                let end = around.details.clone().or_else(|| around.flags.clone());
                let end = end.unwrap_or_else(|| "unknown".to_owned());
                if self.ends.len() < ENDS || self.ends.contains_key(&end) {
                    let count = self.ends.entry(end).or_default();
                    *count = count.saturating_add(1);
                }
                Some(Box::new(Seen { around, record: None }))
            }
            Line::OtherSchema(schema) => {
                self.unknown(name, number, &format!("has schema {schema}, which is not known here"));
                None
            }
            Line::Unknown(why) => {
                self.unknown(name, number, &why);
                None
            }
        }
    }

    /// Counts a line that is none of the access log.
    pub fn unknown(&mut self, name: &str, number: u64, why: &str) {
        self.unknown = self.unknown.saturating_add(1);
        if self.tells_each || self.unknown <= TOLD {
            complain(format_args!("mcp-iap: {}: line {number} {}", escape(name), escape(why)));
        }
    }

    /// Says on standard error what was not shown, and why.
    pub fn tell(&self) {
        let Self { records: _, without_record, ends, unknown, without_time, broken: _, tells_each: _ } = self;
        if *without_record > 0 {
            let ends: Vec<_> = ends.iter().map(|(end, count)| format!("{} {count}", escape(end))).collect();
            complain(format_args!(
                "mcp-iap: {without_record} {} no record: Envoy ended the request before the filter saw it, or \
                 the filter failed ({})",
                if *without_record == 1 { "line has" } else { "lines have" },
                ends.join(", ")
            ));
        }
        for (count, one, several) in [
            (unknown, "line is none of the access log", "lines are none of the access log"),
            (
                without_time,
                "line has no time, and is not shown where a time is asked for",
                "lines have no time, and are not shown where a time is asked for",
            ),
        ] {
            match count {
                0 => {}
                1 => complain(format_args!("mcp-iap: 1 {one}")),
                _ => complain(format_args!("mcp-iap: {count} {several}")),
            }
        }
    }
}

/// What standard input is called.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens a file, from a place in its text on where it is not compressed; whether it is.
pub fn open(path: &Path, from: u64) -> io::Result<(Text, bool)> {
    if is_stdin(path) {
        return of(BufReader::with_capacity(BUFFER, io::stdin()));
    }
    let mut file = File::open(path)?;
    let mut begin = Vec::new();
    (&mut file).take(GZIP.len() as u64).read_to_end(&mut begin)?;
    let is_compressed = begin == GZIP;
    file.seek(SeekFrom::Start(if is_compressed { 0 } else { from }))?;
    if is_compressed {
        return of(BufReader::with_capacity(BUFFER, file));
    }
    Ok((Box::new(BufReader::with_capacity(BUFFER, file)), false))
}

fn of(mut from: impl BufRead + 'static) -> io::Result<(Text, bool)> {
    let is_compressed = from.fill_buf()?.starts_with(&GZIP);
    Ok(if is_compressed {
        (Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(from))), true)
    } else {
        (Box::new(from), false)
    })
}

/// The files that are there, by the time of their first record; standard input comes first.
pub fn in_order(files: &[PathBuf]) -> Result<Vec<PathBuf>, Fault> {
    let mut timed = Vec::new();
    for path in files {
        if is_stdin(path) {
            timed.push((None, path));
            continue;
        }
        let fault = |error: io::Error| Fault::Usage(format!("{}: {error}", path.display()));
        if path.metadata().map_err(fault)?.is_dir() {
            return Err(Fault::Usage(format!("{}: is a folder", path.display())));
        }
        let first = open(path, 0).map_err(fault)?.0;
        timed.push((first_time(first), path));
    }
    timed.sort_by_key(|(time, _)| *time);
    Ok(timed.into_iter().map(|(_, path)| path.clone()).collect())
}

fn first_time(mut text: Text) -> Option<i64> {
    let mut line = Vec::new();
    for _ in 0..100 {
        match lines::next(&mut text, &mut line) {
            Ok(Read::Line(_) | Read::Unfinished) => {}
            Ok(Read::TooLong(_)) => continue,
            Ok(Read::End) | Err(_) => return None,
        }
        match read(&line) {
            Line::Entry(entry) => return entry.around.millis,
            Line::WithoutRecord(around) if around.millis.is_some() => return around.millis,
            Line::WithoutRecord(_) | Line::OtherSchema(_) | Line::Unknown(_) => {}
        }
    }
    None
}

/// Shows each line of the access log in a text, and how it stands there. What can't be read to its end is told, and counted as broken.
pub fn each(
    mut text: Text,
    name: &str,
    counts: &mut Counts,
    show: &mut dyn FnMut(&mut Counts, Box<Seen>, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        number = number.saturating_add(1);
        match lines::next(&mut text, &mut line) {
            Ok(Read::Line(_) | Read::Unfinished) => {}
            Ok(Read::TooLong(length)) => {
                counts.unknown(name, number, &format!("of {length} bytes is too long"));
                continue;
            }
            Ok(Read::End) => return Ok(()),
            Err(error) => {
                counts.broken = counts.broken.saturating_add(1);
                complain(format_args!(
                    "mcp-iap: {}: can't be read further: {}",
                    escape(name),
                    escape(&error.to_string())
                ));
                return Ok(());
            }
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(seen) = counts.line(&line, name, number) {
            show(counts, seen, &line)?;
        }
    }
}
