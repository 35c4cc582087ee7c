//! Lines of a text of any size, in bounded memory: of a line that is too long nothing is kept.

use std::io::{self, BufRead, Read as _};

/// How long a line may be, in bytes. Envoy's are of some kilobytes.
pub const MAX_LINE: usize = 1024 * 1024;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A line stands in the buffer, without its end; how many bytes it took with it.
    Line(u64),
    /// One that is too long, of which nothing is kept.
    TooLong(u64),
    /// What has no end yet stands in the buffer: the text ends here.
    Unfinished,
    /// There is no more.
    End,
}

/// Reads one line into the buffer, in place of what it held.
pub fn next(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Read> {
    line.clear();
    let most = MAX_LINE as u64 + 1;
    let taken = from.by_ref().take(most).read_until(b'\n', line)? as u64;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Read::Line(taken));
    }
    if taken == most {
        line.clear();
        return Ok(Read::TooLong(most.saturating_add(from.skip_until(b'\n')? as u64)));
    }
    Ok(if taken == 0 { Read::End } else { Read::Unfinished })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let long = "x".repeat(MAX_LINE + 1);
        let text = format!("a\n\nbc\n{long}\nd");
        for size in [1, 3, 64 * 1024] {
            let mut from = BufReader::with_capacity(size, text.as_bytes());
            let (mut line, mut seen) = (Vec::new(), Vec::new());
            loop {
                let read = next(&mut from, &mut line).unwrap();
                seen.push((read, String::from_utf8(line.clone()).unwrap()));
                if matches!(read, Read::Unfinished | Read::End) {
                    break;
                }
            }
            let wanted = [
                (Read::Line(2), "a"),
                (Read::Line(1), ""),
                (Read::Line(3), "bc"),
                (Read::TooLong(MAX_LINE as u64 + 2), ""),
                (Read::Unfinished, "d"),
            ];
            assert_eq!(seen, wanted.map(|(read, text)| (read, text.to_owned())), "{size}");
            assert_eq!(next(&mut from, &mut line).unwrap(), Read::End);
            assert!(line.capacity() <= 2 * MAX_LINE);
        }
    }
}
