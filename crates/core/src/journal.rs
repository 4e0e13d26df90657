//! A file of lines that survives its process: a line is either there whole, or not at all.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A file that lines are appended to. Each is on disk when [`Journal::append`] returns. What a killed process left of a
/// line is cut off when the file is opened again. One process writes at a time.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Opens or makes a file to go on with; gives the lines it has.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::WouldBlock`] if another process, or this one, has it open.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<String>)> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|refused| match refused {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "another process writes to it")
            }
            TryLockError::Error(error) => error,
        })?;
        let (lines, whole) = lines(&mut file)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Self(file), lines))
    }

    /// The whole lines of a file; none, if there is no file.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(path: &Path) -> io::Result<Vec<String>> {
        match File::open(path) {
            Ok(mut file) => Ok(lines(&mut file)?.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Adds a line, which must not hold a line break.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a line that is several; what the system says.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        if line.contains('\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a line with a line break in it"));
        }
        self.0.write_all(format!("{line}\n").as_bytes())?;
        self.0.sync_data()
    }
}

/// Whole lines, and how many bytes they take.
fn lines(file: &mut File) -> io::Result<(Vec<String>, u64)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    bytes.truncate(whole);
    let text = String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok((text.lines().map(str::to_owned).collect(), whole as u64))
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
        drop(journal);
        assert!(Journal::open(&path).is_ok());
    }
}
