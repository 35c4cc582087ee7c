//! `mcp-iap audit`: which records there are in lines of the access log, or in an index of them.
//!
//! Lines are read one at a time, so that a log of any size takes the same memory. What is no record is counted and told
//! on standard error; of records nothing that a terminal obeys is printed.

pub mod entry;
mod follow;
mod html;
mod index;
mod lines;
mod newest;
mod print;
mod progress;
mod query;
pub mod sources;

use crate::Output;
use crate::fault::{Fault, complain};
use clap::Args;
use entry::Seen;
use follow::Followed;
use html::Page;
use index::Index;
use newest::Newest;
use print::Printer;
use query::Query;
use sources::Counts;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const LOOKS_EACH: Duration = Duration::from_millis(200);
/// How many records can be kept to find the newest: some hundred megabytes.
const MAX_LIMIT: u64 = 100_000;

#[derive(Args)]
pub struct Options {
    /// Files of the access log, also rotated and compressed ones (gzip), in any order; `-` for standard input.
    #[arg(required_unless_present = "index")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    query: Query,
    /// The newest ones alone, so many.
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=MAX_LIMIT))]
    limit: Option<u64>,
    /// A SQLite file with the records that were read before: takes up what is new in the files, and answers from it. Not
    /// with --follow.
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    index: Option<PathBuf>,
    /// After the files were taken up the index keeps the newest ones alone, so many; the others are removed from it.
    #[arg(long, value_name = "COUNT", requires = "index")]
    max_records: Option<u64>,
    /// Writes one page for a browser instead of printing: who called what, and what decided it. Not with --follow.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "output"])]
    html: Option<PathBuf>,
    /// Goes on with what is added to the files, also where they are renamed or truncated; Ctrl-C ends it. Only prints: not
    /// with --html or --index.
    #[arg(short, long)]
    follow: bool,
    /// How records are written: a table, or the lines as they are.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(options: &Options) -> ExitCode {
    let done = if options.follow { follow(options) } else { search(options) };
    done.unwrap_or_else(|fault| fault.report(Path::new("")))
}

/// Prints what is there.
fn search(options: &Options) -> Result<ExitCode, Fault> {
    let mut sink = Sink::new(options);
    let mut counts = Counts::default();
    if options.max_records.is_some() && options.files.is_empty() {
        let what = "--max-records removes records, after files were taken up: name the files as well";
        return Err(Fault::Usage(what.to_owned()));
    }
    if let Some(page) = &options.html {
        Page::may_replace(page)?;
    }
    let files = sources::in_order(&options.files)?;
    let may_be_new = !files.is_empty();
    let mut index = options.index.as_deref().map(|path| Index::open(path, may_be_new)).transpose()?;
    for path in files {
        if let Some(index) = &mut index {
            index.add(&path, &mut counts)?;
            continue;
        }
        let name = path.display().to_string();
        let (text, _) = sources::open(&path, 0).map_err(|error| Fault::Usage(format!("{name}: {error}")))?;
        sources::each(text, &name, &mut counts, &mut |counts, seen, line| sink.take(counts, seen, line))?;
    }
    if let Some(index) = &mut index {
        if let Some(most) = options.max_records {
            index.keep(most)?;
        }
        // Of the newest no more are looked at than are wanted.
        let is_newest_first = options.limit.is_some() && options.html.is_none();
        sink.place.1 = if is_newest_first { -1 } else { 1 };
        counts.without_time = if options.query.asks_for_time() { index.without_time()? } else { 0 };
        index.each(&options.query, is_newest_first, &mut |seen, line| {
            sink.take(&mut counts, seen, line)?;
            Ok(!is_newest_first || !sink.is_full())
        })?;
    }
    let is_nothing = sink.found == 0;
    let printed = sink.end();
    counts.tell();
    if is_nothing {
        complain("mcp-iap: no record is like that");
    }
    printed?;
    Ok(if counts.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what is there and what comes, until nobody reads it any more.
fn follow(options: &Options) -> Result<ExitCode, Fault> {
    let mut sink = Sink::new(options);
    let mut counts = Counts { tells_each: true, ..Counts::default() };
    if options.files.iter().any(|path| sources::is_stdin(path)) {
        return Err(Fault::Usage("standard input can't be followed: it ends by itself".to_owned()));
    }
    let mut files: Vec<_> =
        options.files.iter().map(|path| (path.display().to_string(), Followed::new(path))).collect();
    loop {
        for (name, file) in &mut files {
            let looked = file.look(&mut |number, line| match counts.line(line, name, number) {
                Some(seen) => sink.take(&mut counts, seen, line),
                None => Ok(()),
            });
            looked.map_err(|error| Fault::Failed(format!("{name}: {error}")))??;
        }
        // From here on each is printed as it comes.
        sink.release()?;
        std::thread::sleep(LOOKS_EACH);
    }
}

/// Where records go that are wanted.
struct Sink<'o> {
    query: &'o Query,
    newest: Option<Newest>,
    page: Option<Page>,
    printer: Printer,
    found: u64,
    /// The place of the last record among all, and how far the next one is from it.
    place: (i64, i64),
}

impl<'o> Sink<'o> {
    fn new(options: &'o Options) -> Self {
        let limit = options.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let page = options.html.as_deref().map(|file| Page::new(file, limit));
        Self {
            query: &options.query,
            newest: limit.map(Newest::new),
            page,
            printer: Printer::new(options.output),
            found: 0,
            place: (0, 1),
        }
    }

    fn take(&mut self, counts: &mut Counts, seen: Box<Seen>, line: &[u8]) -> Result<(), Fault> {
        if self.query.asks_for_time() && seen.around.millis.is_none() {
            counts.without_time = counts.without_time.saturating_add(1);
        }
        if !self.query.holds(&seen) {
            return Ok(());
        }
        self.found = self.found.saturating_add(1);
        let (place, step) = self.place;
        self.place.0 = place.saturating_add(step);
        match (&mut self.page, &mut self.newest) {
            (Some(page), _) => page.add(seen, place),
            (None, Some(newest)) => newest.add(seen, line, place),
            (None, None) => self.printer.print(&seen, line)?,
        }
        Ok(())
    }

    /// Whether no older record is wanted.
    fn is_full(&self) -> bool {
        self.newest.as_ref().is_some_and(Newest::is_full)
    }

    /// Prints what was kept back, and keeps nothing back any more.
    fn release(&mut self) -> Result<(), Fault> {
        for (seen, line) in self.newest.take().map(Newest::into_lines).unwrap_or_default() {
            self.printer.print(&seen, &line)?;
        }
        self.printer.flush()
    }

    fn end(mut self) -> Result<(), Fault> {
        self.release()?;
        self.page.map_or(Ok(()), Page::write)
    }
}
