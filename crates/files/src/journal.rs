//! A file of lines that survives its process: a line is either there whole, or not at all.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::read::{read, regular};
use crate::target::{Held, sync};

/// The most bytes of a file of lines that is read.
const MOST: u64 = 1 << 32;

/// A file that lines are appended to. Each is on disk when [`Journal::append`] returns. What a killed process or a full disk
/// left of a line does not count, and is cut off before the next is written. One process writes at a time.
#[derive(Debug)]
pub struct Journal {
    file: Held,
    /// Where each line ends, in bytes.
    ends: Vec<u64>,
    /// Whether something lies behind the last line, to be cut off before the next is written.
    behind: bool,
}

impl Journal {
    /// Opens or makes a file to go on with; gives the lines it has.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::WouldBlock`] if another process, or this one, has it open;
    /// [`io::ErrorKind::InvalidInput`] for what is no regular file; [`io::ErrorKind::FileTooLarge`] beyond 4 GiB.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<String>)> {
        let refused = || io::Error::new(io::ErrorKind::WouldBlock, "another process writes to it");
        loop {
            match fs::metadata(path) {
                Ok(found) => regular(found.file_type())?,
                Err(none) if none.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            let file = Held::new(file)?.ok_or_else(refused)?;
            // Somebody may have removed it before it was locked.
            let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            if !file.is_at(&real)? {
                continue;
            }
            let lines = lines(read(path, MOST)?)?;
            let mut end = 0;
            let ends = lines.iter().map(|line| {
                end += line.len() as u64 + 1;
                end
            });
            let journal = Self { file, ends: ends.collect(), behind: true };
            sync(&real)?;
            return Ok((journal, lines));
        }
    }

    /// The whole lines of a file; none, if there is no file.
    ///
    /// # Errors
    /// As [`Journal::open`], but that it does not matter who else has it open.
    pub fn read(path: &Path) -> io::Result<Vec<String>> {
        match read(path, MOST) {
            Ok(bytes) => lines(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Adds a line, which must not hold a line break. If that fails, the file is as it was before.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a line that is several; what the system says.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        if line.contains('\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a line with a line break in it"));
        }
        if self.behind {
            self.cut(self.end())?;
        }
        let line = format!("{line}\n");
        let written = self.file.0.write_all(line.as_bytes()).and_then(|()| self.file.0.sync_data());
        if written.is_err() {
            // The error that matters is the one above, and what cannot be cut off now is so before the next line.
            self.behind = true;
            let _ = self.cut(self.end());
        }
        written?;
        self.ends.push(self.end() + line.len() as u64);
        Ok(())
    }

    /// Keeps the first lines alone.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(&mut self, lines: usize) -> io::Result<()> {
        let end = lines.checked_sub(1).map_or(0, |last| self.ends.get(last).copied().unwrap_or(self.end()));
        self.cut(end)?;
        self.ends.truncate(lines);
        self.file.0.sync_data()
    }

    fn end(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn cut(&mut self, to: u64) -> io::Result<()> {
        self.file.0.set_len(to)?;
        self.file.0.seek(SeekFrom::Start(to))?;
        self.behind = false;
        Ok(())
    }
}

/// The whole lines of a text.
fn lines(mut bytes: Vec<u8>) -> io::Result<Vec<String>> {
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    let text = String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(text.split_terminator('\n').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        assert!(Journal::read(&path).unwrap().is_empty());
        let text = "one\ntwo: \u{e4}\n";
        for cut in 0..=text.len() {
            std::fs::write(&path, &text.as_bytes()[..cut]).unwrap();
            let whole = text.as_bytes()[..cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(Journal::read(&path).unwrap().len(), whole, "{cut}");
            let (mut journal, lines) = Journal::open(&path).unwrap();
            assert_eq!(lines.len(), whole);
            journal.append("next").unwrap();
            let lines = Journal::read(&path).unwrap();
            assert_eq!((lines.len(), lines[whole].as_str()), (whole + 1, "next"), "{cut}");
        }
    }

    #[test]
    fn one_writes_and_lines_are_single() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let (mut journal, _) = Journal::open(&path).unwrap();
        assert_eq!(Journal::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(journal.append("a\nb").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        for line in ["a", "b\r", "c"] {
            journal.append(line).unwrap();
        }
        journal.keep(2).unwrap();
        journal.append("d").unwrap();
        drop(journal);
        let (mut journal, lines) = Journal::open(&path).unwrap();
        assert_eq!(lines, ["a", "b\r", "d"]);
        journal.keep(9).unwrap();
        journal.keep(1).unwrap();
        assert_eq!(Journal::read(&path).unwrap(), ["a"]);
        journal.keep(0).unwrap();
        journal.append("e").unwrap();
        assert_eq!(Journal::read(&path).unwrap(), ["e"]);
    }

    #[cfg(unix)]
    #[test]
    fn only_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        for (path, found) in [(folder.path(), "a folder"), (Path::new("/dev/zero"), "a device")] {
            for error in [Journal::open(path).map(|_| ()), Journal::read(path).map(|_| ())] {
                assert_eq!(error.unwrap_err().to_string(), format!("it is {found}, expected a regular file"));
            }
        }
    }

    #[test]
    fn what_is_far_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        File::create(&path).unwrap().set_len(MOST + 1).unwrap();
        let said = Journal::read(&path).unwrap_err().to_string();
        assert_eq!(said, "it has 4294967297 bytes, expected at most 4294967296");
    }
}
