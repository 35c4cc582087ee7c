//! Files that are written while they are read: what is added is shown as it comes. A file that is renamed is read to
//! its end, and the new one under its name from its beginning; one that is truncated, from its beginning as well.

use super::lines::{self, Read};
use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// One file that is followed.
pub struct Followed {
    path: PathBuf,
    file: Option<Open>,
}

struct Open {
    text: BufReader<Beginning>,
    /// How much of it was read, in bytes.
    read: u64,
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
        Ok(Self { text, read: 0, id: (metadata.dev(), metadata.ino()) })
    }

    /// Shows the lines that have come. With `is_last`, also what has no end and gets none.
    fn drain<E>(
        &mut self,
        is_last: bool,
        show: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        let mut line = Vec::new();
        loop {
            match lines::next(&mut self.text, &mut line)? {
                Read::Line(length) => {
                    self.read = self.read.saturating_add(length);
                    if let Err(error) = show(&line) {
                        return Ok(Err(error));
                    }
                }
                Read::TooLong(length) => self.read = self.read.saturating_add(length),
                Read::Unfinished if is_last => return Ok(show(&line)),
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
        Self { path: path.to_owned(), file: None }
    }

    /// Shows what has come since.
    pub fn look<E>(&mut self, show: &mut impl FnMut(&[u8]) -> Result<(), E>) -> io::Result<Result<(), E>> {
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
            if let Err(error) = open.drain(!is_same, show)? {
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
        self.file = Some(new);
        Ok(shown)
    }
}
