//! Opening and reading: regular files alone, up to a size.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Why a file is not read. It comes inside an [`io::Error`], so that whoever reads has one error for what the system
/// refuses and for what is refused here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Something else than a regular file, or a link to one.
    #[error("it is {found}, expected a regular file")]
    Kind {
        /// What it is.
        found: &'static str,
    },
    /// A file that is too large.
    #[error("it has {found} bytes, expected at most {most}")]
    Size {
        /// Its size; of a file that grows while it is read, what was read of it.
        found: u64,
        /// The most that is read of such a file.
        most: u64,
    },
    /// Bytes that are no text.
    #[error("byte {at} is not UTF-8, expected text")]
    Text {
        /// Which byte, counted from zero.
        at: usize,
    },
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::Kind { found: FOLDER } => io::ErrorKind::IsADirectory,
            Refused::Kind { .. } => io::ErrorKind::InvalidInput,
            Refused::Size { .. } => io::ErrorKind::FileTooLarge,
            Refused::Text { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, refused)
    }
}

const FOLDER: &str = "a folder";

/// Opens a regular file to be read, and says what the system knows of it. Links are followed.
///
/// # Errors
/// What the system says; [`Refused::Kind`] for a folder, a pipe, a socket or a device, none of which is opened.
pub fn open(path: impl AsRef<Path>) -> io::Result<(File, Metadata)> {
    let path = path.as_ref();
    // Before it is opened: opening a pipe waits for a writer, and opening a device can do something.
    regular(std::fs::metadata(path)?.file_type())?;
    let file = at_once().open(path)?;
    // Again, since the name may stand for something else by now.
    let about = file.metadata()?;
    regular(about.file_type())?;
    Ok((file, about))
}

/// Without waiting: some files of /proc are regular by their kind, and reading them waits for what may never come; and a
/// name that has become a pipe since it was looked at would wait for a writer.
fn at_once() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options
}

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`]; [`Refused::Size`] for a larger file, of which nothing is read where the system knows its size.
///
/// # Memory
/// The size of the file.
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let (file, about) = open(path)?;
    let length = about.len();
    if length > most {
        return Err(Refused::Size { found: length, most }.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // What the system says of its size is not always so: files of /proc have none.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let found = bytes.len() as u64;
    if found > most { Err(Refused::Size { found, most }.into()) } else { Ok(bytes) }
}

/// The text of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`read`]; [`Refused::Text`] for bytes that are not UTF-8.
pub fn read_text(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|e| Refused::Text { at: e.utf8_error().valid_up_to() }.into())
}

/// The lines of a regular file, one at a time, without what ends them; each may have `most` bytes. Behind an error there are no more.
///
/// # Errors
/// As [`open`]; of each line what the system says, [`Refused::Size`] for a longer one, and [`Refused::Text`] for bytes that are not UTF-8.
///
/// # Memory
/// One line.
pub fn lines(path: impl AsRef<Path>, most: u64) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    let mut reader = BufReader::new(open(path)?.0);
    let mut over = false;
    Ok(std::iter::from_fn(move || {
        if over {
            return None;
        }
        let line = next_line(&mut reader, most).transpose();
        over = !matches!(line, Some(Ok(_)));
        line
    }))
}

fn next_line(reader: &mut impl BufRead, most: u64) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    // Two bytes more: what ends a line does not count.
    if reader.take(most.saturating_add(2)).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
    let found = line.len() as u64;
    if found > most {
        return Err(Refused::Size { found, most }.into());
    }
    String::from_utf8(line).map(Some).map_err(|e| Refused::Text { at: e.utf8_error().valid_up_to() }.into())
}

pub(crate) fn regular(kind: FileType) -> Result<(), Refused> {
    match other(kind) {
        None => Ok(()),
        Some(found) => Err(Refused::Kind { found }),
    }
}

/// What something is that is no regular file.
pub(crate) fn other(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some(FOLDER)
    } else if kind.is_symlink() {
        Some("a link")
    } else {
        Some(special(kind))
    }
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "something else"
    }
}

#[cfg(not(unix))]
fn special(_kind: FileType) -> &'static str {
    "something else"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &Path, most: u64) -> (io::ErrorKind, String) {
        let error = read(path, most).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"abc");
        assert_eq!(
            said(&path, 2),
            (io::ErrorKind::FileTooLarge, "it has 3 bytes, expected at most 2".to_owned())
        );
        std::fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(read_text(&path, 3).unwrap_err().to_string(), "byte 2 is not UTF-8, expected text");
        let kind = said(&folder.path().join("none"), 2).0;
        assert_eq!(kind, io::ErrorKind::NotFound);
        assert_eq!(
            said(folder.path(), 2),
            (io::ErrorKind::IsADirectory, "it is a folder, expected a regular file".to_owned())
        );
        // A sparse file takes no room on disk, however large it claims to be.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(said(&path, 1 << 20).1, "it has 1099511627776 bytes, expected at most 1048576");
    }

    #[test]
    fn lines_are_read_one_at_a_time_up_to_their_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let read = |most: u64| -> Vec<Result<String, String>> {
            lines(&path, most).unwrap().map(|line| line.map_err(|error| error.to_string())).collect()
        };
        std::fs::write(&path, "abc\r\n\nde\rf\nä").unwrap();
        assert_eq!(read(4), ["abc", "", "de\rf", "ä"].map(|line| Ok(line.to_owned())));
        let long = read(3);
        assert_eq!(long.len(), 3, "behind an error there is nothing: {long:?}");
        assert_eq!(long[2], Err("it has 4 bytes, expected at most 3".to_owned()));
        std::fs::write(&path, b"a\nb\xff\nc\n").unwrap();
        assert_eq!(read(9)[1..], [Err("byte 1 is not UTF-8, expected text".to_owned())]);
        // One line of a terabyte, of which no more is read than is needed to refuse it.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(9), [Err("it has 11 bytes, expected at most 9".to_owned())]);
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(said(&pipe, 9).1, "it is a pipe, expected a regular file");
        // Even if it became a pipe after it was looked at.
        let (to, opened) = std::sync::mpsc::channel();
        std::thread::spawn(move || to.send(at_once().open(pipe).is_ok()));
        assert_eq!(opened.recv_timeout(std::time::Duration::from_secs(20)), Ok(true));
        let zero = folder.path().join("zero");
        std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
        assert_eq!(said(&zero, 9).1, "it is a device, expected a regular file");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_hides_its_size_is_bounded_too() {
        assert_eq!(std::fs::metadata("/proc/cpuinfo").unwrap().len(), 0);
        assert_eq!(said(Path::new("/proc/cpuinfo"), 9).1, "it has 10 bytes, expected at most 9");
    }
}
