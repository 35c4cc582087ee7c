//! How far a file was read that grows, and whether what was read of it is still there: by a digest of the last lines.

use super::sources::{self, Text};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read as _};
use std::path::Path;

/// How much of a text is compared, in bytes.
const TAIL: usize = 4096;

/// How far a file was read the last time.
pub struct Known {
    /// How much of its text, in bytes.
    pub read: u64,
    pub lines: u64,
    /// How many bytes before that the digest is of.
    pub tail: u64,
    pub digest: String,
}

/// How far it is read now.
#[derive(Default)]
pub struct Progress {
    /// How much of its text, in bytes.
    pub read: u64,
    pub lines: u64,
    /// At least the last bytes that were read, without a gap.
    last: Vec<u8>,
}

impl Progress {
    /// Opens a file behind what was read of it, and says whether it is compressed; at its beginning where it is not what
    /// was read.
    pub fn resume(path: &Path, known: Option<Known>) -> io::Result<(Text, bool, Self)> {
        let from = known.as_ref().map_or(0, |known| known.read.saturating_sub(known.tail));
        let (mut text, is_compressed) = sources::open(path, from)?;
        let Some(known) = known.filter(|known| known.tail > 0) else {
            let (text, is_compressed) =
                if from == 0 { (text, is_compressed) } else { sources::open(path, 0)? };
            return Ok((text, is_compressed, Self::default()));
        };
        if is_compressed {
            io::copy(&mut text.by_ref().take(from), &mut io::sink())?;
        }
        let mut last = Vec::new();
        text.by_ref().take(known.tail).read_to_end(&mut last)?;
        let is_whole = last.len() as u64 == known.tail;
        let resumed = Self { read: known.read, lines: known.lines, last };
        if is_whole && resumed.digest() == known.digest {
            return Ok((text, is_compressed, resumed));
        }
        let (text, is_compressed) = sources::open(path, 0)?;
        Ok((text, is_compressed, Self::default()))
    }

    pub fn note_line(&mut self, line: &[u8], end: &[u8]) {
        self.note(line.len().saturating_add(end.len()) as u64);
        let behind = line.len().saturating_sub(TAIL);
        if behind > 0 {
            self.last.clear();
        }
        self.last.extend_from_slice(line.get(behind..).unwrap_or(line));
        self.last.extend_from_slice(end);
        if self.last.len() > 16 * TAIL {
            self.last = self.kept().to_vec();
        }
    }

    /// A line of which nothing is kept.
    pub fn note_long(&mut self, length: u64) {
        self.note(length);
        self.last.clear();
    }

    fn note(&mut self, length: u64) {
        self.read = self.read.saturating_add(length);
        self.lines = self.lines.saturating_add(1);
    }

    fn kept(&self) -> &[u8] {
        self.last.get(self.last.len().saturating_sub(TAIL)..).unwrap_or_default()
    }

    /// How many bytes the digest is of; without any the file is read anew.
    pub fn tail(&self) -> u64 {
        self.kept().len() as u64
    }

    pub fn digest(&self) -> String {
        Sha256::digest(self.kept()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
