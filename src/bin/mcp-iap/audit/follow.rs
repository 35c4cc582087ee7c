//! Files that are written while they are read: what is added is shown as it comes. A file that is renamed is read on for
//! as long as it grows, since who writes it may take a while to open the new one; that one is read from its beginning, and
//! so is one that is truncated.

use super::lines::{self, Read};
use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a renamed file that does not grow is still looked at. Envoy writes each 10 seconds, unless it is told to.
const STAYS: Duration = Duration::from_mins(1);
/// How many renamed files are looked at.
const MAX_RENAMED: usize = 8;

/// One file that is followed.
pub struct Followed {
    path: PathBuf,
    file: Option<Open>,
    /// Those that had its name before, the oldest first.
    renamed: Vec<Open>,
}

struct Open {
    text: BufReader<Beginning>,
    /// How much of it was read, in bytes, and how many lines.
    read: u64,
    lines: u64,
    /// When it grew last, as far as was seen.
    grew: Instant,
    /// The file by its device and its number there.
    id: (u64, u64),
}

/// A file, before which stands what was read of it without coming to a line's end.
struct Beginning {
    begun: io::Cursor<Vec<u8>>,
    file: File,
}

impl io::Read for Beginning {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.begun.read(into)? {
            0 => self.file.read(into),
            some => Ok(some),
        }
    }
}

impl Open {
    fn new(mut file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        file.seek(SeekFrom::Start(0))?;
        let text = BufReader::new(Beginning { begun: io::Cursor::new(Vec::new()), file });
        Ok(Self { text, read: 0, lines: 0, grew: Instant::now(), id: (metadata.dev(), metadata.ino()) })
    }

    /// Shows the lines that have come, with their numbers. With `is_last`, also what has no end and gets none.
    fn drain<E>(
        &mut self,
        is_last: bool,
        show: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        let mut line = Vec::new();
        loop {
            let read = lines::next(&mut self.text, &mut line)?;
            if let Read::Line(length) | Read::TooLong(length) = read {
                self.read = self.read.saturating_add(length);
                self.lines = self.lines.saturating_add(1);
                self.grew = Instant::now();
            }
            match read {
                Read::Line(_) => {
                    if let Err(error) = show(self.lines, &line) {
                        return Ok(Err(error));
                    }
                }
                Read::TooLong(_) => {}
                Read::Unfinished if is_last => return Ok(show(self.lines.saturating_add(1), &line)),
                Read::Unfinished => {
                    // It is read again, with what comes.
                    self.text.get_mut().begun = io::Cursor::new(line);
                    return Ok(Ok(()));
                }
                Read::End => return Ok(Ok(())),
            }
        }
    }
}

impl Followed {
    /// One that is not there yet is waited for.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, renamed: Vec::new() }
    }

    /// Shows what has come since.
    pub fn look<E>(
        &mut self,
        show: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        if let Err(error) = self.look_behind(show)? {
            return Ok(Err(error));
        }
        let now = match self.path.metadata() {
            Ok(now) => Some(now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(open) = &mut self.file {
            let is_same = now.as_ref().is_none_or(|now| (now.dev(), now.ino()) == open.id);
            let file = &open.text.get_ref().file;
            if file.metadata()?.len() < open.read {
                *open = Open::new(file.try_clone()?)?;
            }
            if let Err(error) = open.drain(false, show)? {
                return Ok(Err(error));
            }
            if is_same {
                return Ok(Ok(()));
            }
        }
        if now.is_none() {
            return Ok(Ok(()));
        }
        let mut new = Open::new(File::open(&self.path)?)?;
        let shown = new.drain(false, show)?;
        self.renamed.extend(self.file.replace(new));
        Ok(shown)
    }

    /// Shows what has come to files that were renamed; one that grows no more is closed.
    fn look_behind<E>(
        &mut self,
        show: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        let mut others = self.renamed.len();
        for mut open in std::mem::take(&mut self.renamed) {
            let is_last = open.grew.elapsed() > STAYS || others > MAX_RENAMED;
            if let Err(error) = open.drain(is_last, show)? {
                return Ok(Err(error));
            }
            others = others.saturating_sub(1);
            if !is_last {
                self.renamed.push(open);
            }
        }
        Ok(Ok(()))
    }
}
