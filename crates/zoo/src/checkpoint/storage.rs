//! Where the bytes of a checkpoint are: in a mapped file, in the program itself, or in a file read piece by piece.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use memmap2::Mmap;

use super::error::{CheckpointError, HeaderProblem};
use super::header::{self, Header};

/// How the bytes of a file come into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// The file is mapped: nothing is read before it is used, and `f32` weights are never copied.
    ///
    /// The file must not be changed or cut short while the checkpoint, or a tensor made from it, is there; with the last of them the
    /// mapping ends. Replacing the file by another (as a rename does) is harmless.
    #[default]
    Mapped,
    /// Each tensor is read into memory of its own when it is asked for. The file may be changed afterwards.
    Copied,
}

/// The bytes of one file.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) path: PathBuf,
    bytes: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Bytes),
    /// Mapped, and open for what is read away from the mapping.
    Mapped(Bytes, Mutex<File>),
    File(Mutex<File>),
}

impl Storage {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, CheckpointError> {
        let fail = |doing| move |source| CheckpointError::Io { file: path.to_owned(), doing, source };
        let (file, about) = mmlens_files::open(path).map_err(fail("open it"))?;
        let bytes = about.len();
        let place = match access {
            Access::Mapped if bytes > 0 => {
                Place::Mapped(map(&file).map_err(fail("map it into memory"))?, Mutex::new(file))
            }
            _ => Place::File(Mutex::new(file)),
        };
        Ok(Self { path: path.to_owned(), bytes, place })
    }

    pub(super) fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        let (path, length) = (PathBuf::from(name), bytes.len() as u64);
        Self { path, bytes: length, place: Place::Memory(Bytes::from_static(bytes)) }
    }

    /// The header, checked.
    pub(super) fn header(&self) -> Result<Header, CheckpointError> {
        let complain = |problem| CheckpointError::Header { file: self.path.clone(), problem };
        if self.bytes < 8 {
            return Err(complain(HeaderProblem::TooShort { found: self.bytes, needed: 8 }));
        }
        let mut first = [0; 8];
        first.copy_from_slice(&self.read(0..8)?);
        let length = header::json_length(first, self.bytes).map_err(complain)?;
        header::parse(&self.path, &self.read(8..8 + length as u64)?, self.bytes)
    }

    /// Bytes that stay where they are for as long as anybody holds them, where this storage has such.
    pub(super) fn lasting(&self, range: &Range<u64>) -> Option<Bytes> {
        match &self.place {
            Place::Memory(bytes) | Place::Mapped(bytes, _) => {
                let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
                (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
            }
            Place::File(_) => None,
        }
    }

    /// The same, borrowed.
    fn there(&self, range: &Range<u64>) -> Option<&[u8]> {
        match &self.place {
            Place::Memory(bytes) | Place::Mapped(bytes, _) => {
                bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
            }
            Place::File(_) => None,
        }
    }

    /// The bytes of `range`, copied only where they have to be.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, CheckpointError> {
        match self.there(&range) {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => self.read_away(range),
        }
    }

    /// The bytes of `range`, to be looked at once: read into memory of their own where there is a file, since pages of a
    /// mapping count as this process's memory until the system wants them back.
    pub(super) fn read_away(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let fail = |source| CheckpointError::Io { file: self.path.clone(), doing: "read from it", source };
        let file = match &self.place {
            Place::Mapped(_, file) | Place::File(file) => file,
            Place::Memory(_) => {
                let inside = self.there(&range).map(Cow::Borrowed);
                return inside.ok_or_else(|| fail(std::io::ErrorKind::UnexpectedEof.into()));
            }
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let length = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| fail(std::io::ErrorKind::OutOfMemory.into()))?;
        let mut bytes = vec![0; length];
        file.seek(SeekFrom::Start(range.start)).map_err(fail)?;
        file.read_exact(&mut bytes).map_err(fail)?;
        Ok(Cow::Owned(bytes))
    }
}

/// Maps a file, for as long as anybody holds some of its bytes: tensors do that refer to them.
#[allow(unsafe_code, reason = "a memory map is only as constant as the file behind it")]
fn map(file: &File) -> std::io::Result<Bytes> {
    // SAFETY: the mapping is read only, and is owned by the bytes, which unmap it when the last of them is gone. That
    // nobody shortens or rewrites the file meanwhile is asked of the caller of `Access::Mapped`.
    let mapping = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(mapping))
}
