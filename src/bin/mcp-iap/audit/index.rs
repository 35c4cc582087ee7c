//! An index of records in one SQLite file: what was read once is not read again, and a query looks only where records
//! can be that it wants. The lines stand in it as they were, so that it answers as the files do.
//!
//! A file is known by the first record in it, whose decision has an id of 128 random bits: so a file that was renamed or
//! compressed since is the same, and one that was truncated is another. Of a plain file only what was added is read. That
//! is so where the last lines that were read stand where they stood: else it is another file with the same beginning, an
//! excerpt say, and read as a whole.

use super::entry::{Line, Seen, read};
use super::lines;
use super::progress::{Known, Progress};
use super::query::{Narrowed, Query, names};
use super::sources::{self, Counts};
use crate::fault::{Fault, complain};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params, params_from_iter};
use rustix::fs::OFlags;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Marks the file as ours, in the place that SQLite has for that ("mIAP").
const APPLICATION: i64 = 0x6d49_4150;
/// The version of what stands in it.
const VERSION: i64 = 3;
/// How many records are written at once.
const BATCH: u64 = 20_000;

const TABLES: &str = "
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    time INTEGER,
    decision TEXT,
    outcome TEXT,
    reason TEXT,
    rule TEXT,
    tool TEXT,
    subject TEXT,
    kubernetes_user TEXT,
    api_key TEXT,
    spiffe_id TEXT,
    client_id TEXT,
    line TEXT NOT NULL
);
CREATE UNIQUE INDEX by_decision ON records (decision, ifnull(time, -1));
CREATE UNIQUE INDEX by_line ON records (line) WHERE decision IS NULL;
CREATE INDEX by_time ON records (time);
CREATE INDEX by_reason ON records (reason, time);
CREATE INDEX by_tool ON records (tool, time) WHERE tool IS NOT NULL;
CREATE INDEX by_rule ON records (rule, time) WHERE rule IS NOT NULL;
CREATE INDEX by_subject ON records (subject, time) WHERE subject IS NOT NULL;
CREATE INDEX by_kubernetes_user ON records (kubernetes_user, time) WHERE kubernetes_user IS NOT NULL;
CREATE INDEX by_api_key ON records (api_key, time) WHERE api_key IS NOT NULL;
CREATE INDEX by_spiffe_id ON records (spiffe_id, time) WHERE spiffe_id IS NOT NULL;
CREATE INDEX by_client_id ON records (client_id, time) WHERE client_id IS NOT NULL;
CREATE TABLE files (
    first TEXT PRIMARY KEY,
    read INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    tail INTEGER NOT NULL,
    digest TEXT NOT NULL
) WITHOUT ROWID;
";

/// The names of callers, in the order of [`names`].
const USERS: [&str; 5] = ["subject", "kubernetes_user", "api_key", "spiffe_id", "client_id"];

pub struct Index {
    path: PathBuf,
    database: Connection,
}

impl Index {
    /// Opens an index; where it `may_be_new`, or makes one that its owner alone can read.
    pub fn open(path: &Path, may_be_new: bool) -> Result<Self, Fault> {
        let fault = |error: &dyn std::fmt::Display| Fault::Failed(format!("{}: {error}", path.display()));
        let usage = |what: &str| Fault::Usage(format!("{}: {what}", path.display()));
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound if !may_be_new => {
                usage("there is no such index: name the files of the access log to make one of")
            }
            _ => fault(&error),
        };
        let at = absolute(path).map_err(missing)?;
        match at.symlink_metadata() {
            Ok(there) if !there.is_file() => return Err(usage("is no regular file: name the index itself")),
            Err(error) if !may_be_new => return Err(missing(error)),
            _ => {}
        }
        let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(may_be_new)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_link)
            .open(&at);
        let there = file.and_then(|file| file.metadata()).map_err(|error| fault(&error))?;
        let is_new = there.len() == 0;
        if !is_trusted(there.uid(), rustix::process::geteuid().as_raw()) {
            let what =
                format!("is another user's ({}), and so what it answers: name one of your own", there.uid());
            return Err(fault(&what));
        }
        let mode = there.mode() & 0o777;
        if mode & 0o022 != 0 {
            let what = format!("others can write it (mode {mode:o}), and so what it answers: chmod 600 it");
            return Err(fault(&what));
        }
        if mode & 0o077 != 0 {
            complain(format_args!(
                "mcp-iap: {}: others can read it (mode {mode:o}): it holds what the log holds",
                crate::run::terminal::escape(&path.display().to_string())
            ));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let database = Connection::open_with_flags(&at, flags).map_err(|error| fault(&error))?;
        let opened = at.symlink_metadata().map_err(|error| fault(&error))?;
        if (opened.dev(), opened.ino()) != (there.dev(), there.ino()) {
            return Err(fault(&"was replaced while it was opened"));
        }
        let made = || -> rusqlite::Result<bool> {
            if is_new {
                database.execute_batch(&format!(
                    "PRAGMA journal_mode = WAL; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {TABLES}"
                ))?;
            }
            database.execute_batch(
                "PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON",
            )?;
            let number = |pragma: &str| {
                database.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            };
            Ok(number("application_id")? == APPLICATION && number("user_version")? == VERSION)
        };
        match made() {
            Ok(true) => Ok(Self { path: path.to_owned(), database }),
            Ok(false) => Err(fault(&"is no index of this version of mcp-iap: name another file")),
            Err(error) => Err(fault(&error)),
        }
    }

    fn fault(&self) -> impl Fn(rusqlite::Error) -> Fault + use<> {
        let path = self.path.display().to_string();
        move |error| Fault::Failed(format!("{path}: {error}"))
    }

    /// How far a file was read.
    fn progress(&self, first: &str) -> Result<Option<Known>, Fault> {
        let known = self.database.query_row(
            "SELECT read, lines, tail, digest FROM files WHERE first = ?1",
            [first],
            |row| {
                let number = |at| row.get(at).map(|number: i64| u64::try_from(number).unwrap_or_default());
                Ok(Known { read: number(0)?, lines: number(1)?, tail: number(2)?, digest: row.get(3)? })
            },
        );
        known.optional().map_err(self.fault())
    }

    /// Reads what is new in a file.
    pub fn add(&mut self, path: &Path, counts: &mut Counts) -> Result<(), Fault> {
        let name = path.display().to_string();
        let unreadable = |error: io::Error| Fault::Usage(format!("{name}: {error}"));
        let fault = self.fault();
        // Standard input has no beginning that could be read again.
        let first = if sources::is_stdin(path) { None } else { first_decision(path).map_err(unreadable)? };
        let known = first.as_deref().map(|first| self.progress(first)).transpose()?.flatten();
        let (mut text, is_compressed, mut progress) = Progress::resume(path, known).map_err(unreadable)?;
        let mut line = Vec::new();
        let mut is_end = false;
        while !is_end {
            let transaction = self.database.transaction().map_err(&fault)?;
            for _ in 0..BATCH {
                match lines::next(&mut text, &mut line) {
                    Ok(lines::Read::Line(_)) => progress.note_line(&line, b"\n"),
                    Ok(lines::Read::TooLong(length)) => {
                        progress.note_long(length);
                        counts.unknown(&name, progress.lines, &format!("of {length} bytes is too long"));
                        continue;
                    }
                    // What has no end yet is read when it has one; what will get none, now.
                    Ok(lines::Read::Unfinished) if is_compressed || first.is_none() => {
                        progress.note_line(&line, b"");
                    }
                    Ok(lines::Read::Unfinished | lines::Read::End) => {
                        is_end = true;
                        break;
                    }
                    Err(error) => {
                        counts.broken = counts.broken.saturating_add(1);
                        complain(format_args!(
                            "mcp-iap: {}: can't be read further: {error}",
                            crate::run::terminal::escape(&name)
                        ));
                        is_end = true;
                        break;
                    }
                }
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                if let Some(seen) = counts.line(&line, &name, progress.lines) {
                    insert(&transaction, &seen, &line).map_err(&fault)?;
                }
            }
            if let Some(first) = &first {
                let [read, lines, tail] = [progress.read, progress.lines, progress.tail()]
                    .map(|number| i64::try_from(number).unwrap_or(i64::MAX));
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5)")
                    .and_then(|mut statement| {
                        statement.execute(params![first, read, lines, tail, progress.digest()])
                    })
                    .map_err(&fault)?;
            }
            transaction.commit().map_err(&fault)?;
        }
        Ok(())
    }

    /// Keeps the newest records alone, so many.
    pub fn keep(&mut self, most: u64) -> Result<(), Fault> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let keep = || -> rusqlite::Result<()> {
            let removed = self.database.execute(
                "DELETE FROM records WHERE id IN (SELECT id FROM records ORDER BY time DESC, id DESC LIMIT -1 OFFSET ?1)",
                [most],
            )?;
            if removed > 0 {
                self.database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
            }
            Ok(())
        };
        keep().map_err(self.fault())
    }

    /// How many records have no time.
    pub fn without_time(&self) -> Result<u64, Fault> {
        let count: i64 = self
            .database
            .query_row("SELECT count(*) FROM records WHERE time IS NULL", [], |row| row.get(0))
            .map_err(self.fault())?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Shows the records that a query may want, by their times; which of them it does, it decides itself.
    pub fn each(
        &self,
        query: &Query,
        is_newest_first: bool,
        show: &mut dyn FnMut(Box<Seen>, &[u8]) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let fault = self.fault();
        let (mut wheres, mut values) = (Vec::new(), Vec::new());
        let Narrowed { since, until, exact, users } = query.narrowed();
        for (bound, sign) in [(since, ">="), (until, "<")] {
            if let Some(bound) = bound {
                wheres.push(format!("time {sign} ?"));
                values.push(Value::Integer(bound));
            }
        }
        let mut is_one_of = |column: &str, wanted: &[&str]| {
            values.extend(wanted.iter().map(|text| Value::Text((*text).to_owned())));
            format!("{column} IN ({})", vec!["?"; wanted.len()].join(","))
        };
        for (column, wanted) in exact {
            wheres.push(is_one_of(column, &wanted));
        }
        if let Some(users) = users {
            let each: Vec<String> = USERS.iter().map(|column| is_one_of(column, &users)).collect();
            wheres.push(format!("({})", each.join(" OR ")));
        }
        let wheres =
            if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
        let order = if is_newest_first { "DESC" } else { "ASC" };
        let sql = format!("SELECT line FROM records {wheres} ORDER BY time {order}, id {order}");
        let mut statement = self.database.prepare(&sql).map_err(&fault)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(&fault)?;
        while let Some(row) = rows.next().map_err(&fault)? {
            let line = row.get_ref(0).and_then(|value| Ok(value.as_str()?)).map_err(&fault)?;
            let seen = match read(line.as_bytes()) {
                Line::Entry(entry) => (*entry).into(),
                Line::WithoutRecord(around) => Seen { around, record: None },
                Line::OtherSchema(_) | Line::Unknown(_) => {
                    return Err(Fault::Failed(format!(
                        "{}: holds a line that is none of the access log",
                        self.path.display()
                    )));
                }
            };
            if !show(Box::new(seen), line.as_bytes())? {
                break;
            }
        }
        Ok(())
    }
}

/// Its name from the root, with the links above it followed: SQLite, as it is built, takes `file:` at the beginning of a
/// name for a URI and `:memory:` for no file, and is told to follow no link.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(folder.unwrap_or(Path::new(".")).canonicalize()?.join(path.file_name().unwrap_or_default()))
}

/// Whose file a caller may be answered from: whoever owns it can write it, whatever its mode says.
fn is_trusted(owner: u32, caller: u32) -> bool {
    owner == caller || owner == 0
}

fn insert(transaction: &Transaction<'_>, seen: &Seen, line: &[u8]) -> rusqlite::Result<()> {
    let record = seen.record.as_ref();
    let users = record.and_then(|record| record.caller.as_ref()).map(names).unwrap_or_default();
    let [subject, kubernetes_user, api_key, spiffe_id, client_id] = users;
    let mut statement = transaction.prepare_cached(
        "INSERT OR IGNORE INTO records (time, decision, outcome, reason, rule, tool, subject, kubernetes_user, api_key, \
         spiffe_id, client_id, line) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    // A line that was read as JSON is UTF-8.
    let line = String::from_utf8_lossy(line);
    statement.execute(params![
        seen.around.millis,
        record.map(|record| &record.decision),
        record.map(|record| &record.outcome),
        record.map(|record| &record.reason),
        record.and_then(|record| record.rule.as_ref()),
        record.and_then(|record| record.tool.as_ref()),
        subject,
        kubernetes_user,
        api_key,
        spiffe_id,
        client_id,
        line
    ])?;
    Ok(())
}

/// The id of the first record's decision.
fn first_decision(path: &Path) -> io::Result<Option<String>> {
    let (mut text, _) = sources::open(path, 0)?;
    let mut line = Vec::new();
    loop {
        match lines::next(&mut text, &mut line)? {
            lines::Read::Line(_) | lines::Read::TooLong(_) => {}
            lines::Read::Unfinished | lines::Read::End => return Ok(None),
        }
        if let Line::Entry(entry) = read(&line) {
            return Ok(Some(entry.record.decision));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_trusted;

    /// That it is asked is tested where a file can be given away: by root.
    #[test]
    fn a_file_of_the_callers_or_of_roots_is_trusted() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }
}
