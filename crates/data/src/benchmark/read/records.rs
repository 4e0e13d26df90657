//! The records of a file by their number.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::frame::{Cut, Frames, MOST_RECORDS, Mark, Record};
use crate::benchmark::ReadError;

/// Of so many records one place is kept.
const APART: usize = 64;

/// The records of a file, of which any can be read. Of each `apart` one place is held, 24 bytes; the others are counted from there.
/// One after the other they are read without going back.
#[derive(Debug)]
pub(crate) struct Records {
    file: PathBuf,
    marks: Vec<Mark>,
    apart: usize,
    len: usize,
    /// The file, and which record it stands before.
    stands: Mutex<(Frames, usize)>,
}

impl Records {
    /// Goes through a file once; `see` is given each record.
    pub(crate) fn open(
        file: &Path,
        cut: Cut,
        skip: usize,
        see: impl FnMut(usize, &Record) -> Result<(), ReadError>,
    ) -> Result<Self, ReadError> {
        Self::with_places(file, (cut, APART), skip, see)
    }

    /// The same with a place for every `apart` records: for 1, none is passed over to read another.
    pub(crate) fn with_places(
        file: &Path,
        (cut, apart): (Cut, usize),
        skip: usize,
        mut see: impl FnMut(usize, &Record) -> Result<(), ReadError>,
    ) -> Result<Self, ReadError> {
        let mut frames = Frames::open(file, cut)?;
        let mut record = Record::default();
        for _ in 0..skip {
            frames.next(&mut record)?;
        }
        let (mut marks, mut len) = (Vec::new(), 0);
        loop {
            let mark = frames.mark();
            if !frames.next(&mut record)? {
                break;
            }
            if len == MOST_RECORDS {
                let found = format!("more than {MOST_RECORDS} records");
                return Err(ReadError::field(
                    file,
                    record.line,
                    "",
                    found,
                    format!("at most {MOST_RECORDS}"),
                ));
            }
            if len % apart == 0 {
                marks.push(mark);
            }
            see(len, &record)?;
            len += 1;
        }
        marks.shrink_to_fit();
        Ok(Self { file: file.to_owned(), marks, apart, len, stands: Mutex::new((frames, usize::MAX)) })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// A record by its number.
    pub(crate) fn get(&self, index: usize) -> Result<Record, ReadError> {
        let past = || ReadError::Past { file: self.file.clone(), index, len: self.len };
        let mark = self.marks.get(index / self.apart).filter(|_| index < self.len).ok_or_else(past)?;
        let mut stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        let (frames, next) = &mut *stands;
        if *next > index || *next < index - index % self.apart {
            frames.seek(*mark)?;
            *next = index - index % self.apart;
        }
        let mut record = Record::default();
        loop {
            // What fails leaves no place to go on from.
            let at = std::mem::replace(next, usize::MAX);
            if !frames.next(&mut record)? {
                return Err(past());
            }
            *next = at + 1;
            if at == index {
                return Ok(record);
            }
        }
    }
}
