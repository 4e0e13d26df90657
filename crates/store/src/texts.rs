//! The lines of a file of texts, as a data set.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use mmlens_core::{Case, Cases, Sample, SubjectError, Words};
use sha2::{Digest, Sha256};

/// A file with a text on each line, as a data set. Lines of white space alone are left out, and white space around the others. Only the places of
/// lines are held, sixteen bytes for each, however long the file.
///
/// Its name is that of the file with the first digits of its SHA-256, so that a recording of a file that was changed is another recording.
#[derive(Debug, Clone)]
pub struct Texts {
    path: PathBuf,
    name: String,
    sha256: String,
    /// Where each begins, its bytes, and the beginning of their SHA-256.
    lines: Vec<(u64, u32, u32)>,
    captions: bool,
}

/// A line is no longer than this.
const MOST: u64 = 1 << 20;
/// So many digits of a hash are told.
const DIGITS: usize = 12;

impl Texts {
    /// The texts of a file.
    ///
    /// # Errors
    /// What the system says; a line of more than 1 MiB or that is no UTF-8, with its number.
    ///
    /// # Cost
    /// The file is read once.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let wrong = |number: u64, reason: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {reason}"))
        };
        let mut reader = BufReader::new(mmlens_files::open(path)?.0);
        let (mut hash, mut line, mut lines, mut from) = (Sha256::new(), Vec::new(), Vec::new(), 0_u64);
        for number in 1_u64.. {
            line.clear();
            let read = reader.by_ref().take(MOST + 1).read_until(b'\n', &mut line)? as u64;
            if read == 0 {
                break;
            }
            if read > MOST {
                return Err(wrong(number, format!("more than {MOST} bytes, expected one text on a line")));
            }
            let text = std::str::from_utf8(&line).map_err(|error| wrong(number, error.to_string()))?;
            let begins = text.len() - text.trim_start().len();
            let length = text.trim().len();
            if length > 0 {
                lines.push((from + begins as u64, length as u32, known(text.trim())));
            }
            hash.update(&line);
            from += read;
        }
        let sha256: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let called = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let name = format!("{called} sha256 {}", sha256.get(..DIGITS).unwrap_or_default());
        Ok(Self { path: path.to_owned(), name, sha256, lines, captions: false })
    }

    /// As captions, for models that take no prompts.
    #[must_use]
    pub fn captions(self, captions: bool) -> Self {
        Self { captions, ..self }
    }

    /// A text by its index; `None` past the end.
    ///
    /// # Errors
    /// What the system says; a file that was changed since.
    pub fn text(&self, index: usize) -> io::Result<Option<String>> {
        let Some((from, length, own)) = self.lines.get(index) else { return Ok(None) };
        let (mut file, _) = mmlens_files::open(&self.path)?;
        file.seek(SeekFrom::Start(*from))?;
        let mut bytes = vec![0; *length as usize];
        let changed = || io::Error::new(io::ErrorKind::InvalidData, "it was changed while it was read");
        file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => error,
        })?;
        let text = String::from_utf8(bytes).ok().filter(|text| known(text) == *own);
        text.map(Some).ok_or_else(changed)
    }
}

/// What a text is known again by.
fn known(text: &str) -> u32 {
    Sha256::digest(text).first_chunk().map_or(0, |first| u32::from_le_bytes(*first))
}

impl Cases for Texts {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.lines.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let text = self.text(index).map_err(|error| SubjectError::Sample {
            subject: self.name.clone(),
            reason: format!("{}: {error}", self.path.display()),
        })?;
        let past = || SubjectError::NoCase { data: self.name.clone(), index, len: self.lines.len() };
        let text = text.ok_or_else(past)?;
        Ok(Case::new(match self.captions {
            true => Sample::new(Vec::new(), Words::Texts(vec![text])),
            false => Sample::text(text),
        }))
    }

    fn hash(&self) -> Result<String, SubjectError> {
        Ok(self.sha256.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_texts_without_the_white_space_around_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("texts.txt");
        std::fs::write(&file, "\n  ab c \r\n\t\nd\u{e9}f\n\nlast").unwrap();
        let texts = Texts::open(&file).unwrap();
        let all: Vec<String> = (0..texts.len()).map(|at| texts.text(at).unwrap().unwrap()).collect();
        assert_eq!(all, ["ab c", "d\u{e9}f", "last"]);
        assert_eq!((texts.text(3).unwrap(), texts.case(3).is_err()), (None, true));
        assert_eq!(texts.case(1).unwrap().sample.words, Sample::text("d\u{e9}f").words);
        let captions = texts.clone().captions(true).case(0).unwrap().sample;
        assert_eq!(captions.words, Words::Texts(vec!["ab c".to_owned()]));
        // Another file has another name, and what was changed meanwhile is not read as if it were not.
        std::fs::write(&file, "\n  ab d \r\n\t\nd\u{e9}f\n\nlast").unwrap();
        assert!(texts.name().starts_with("texts.txt sha256 "));
        assert_ne!(Texts::open(&file).unwrap().name(), texts.name());
        std::fs::write(&file, "ab\ncd").unwrap();
        assert!(texts.text(0).unwrap_err().to_string().contains("it was changed"), "a line ends in it");
        assert!(texts.text(2).unwrap_err().to_string().contains("it was changed"), "the file is shorter");
        // As many bytes of other letters.
        std::fs::write(&file, "\n  ab x \r\n\t\nd\u{e9}f\n\nlast").unwrap();
        assert!(texts.text(0).unwrap_err().to_string().contains("it was changed"), "another letter");
        std::fs::write(&file, b"ab\nc\xff\n").unwrap();
        assert!(Texts::open(&file).unwrap_err().to_string().starts_with("line 2: "));
        std::fs::write(&file, "a".repeat(1 + (1 << 20))).unwrap();
        let said = Texts::open(&file).unwrap_err().to_string();
        assert_eq!(said, "line 1: more than 1048576 bytes, expected one text on a line");
    }
}
