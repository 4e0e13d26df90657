//! A file as records: lines, rows of a table, elements of a list or an object of JSON. One is held at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::benchmark::ReadError;

/// The most bytes of one record: a picture of the largest size that is read, as base64.
pub(crate) const MOST_RECORD: usize = 3 << 27;
/// The most records of a file.
pub(crate) const MOST_RECORDS: usize = 1 << 28;
/// How deep what is passed over may be nested, as [`mmlens_files::parse_json`] has it.
const DEEPEST: usize = 127;

/// How a file is cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// One on each line. Lines of nothing but white space are passed over.
    Lines,
    /// Rows whose cells may be quoted, and then hold line breaks.
    Rows {
        /// What stands between cells.
        delimiter: u8,
    },
    /// The elements of a JSON list, or the values of a JSON object: of the whole file, or of a field of its object.
    Elements {
        /// Which field.
        under: Option<&'static str>,
    },
}

/// A record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its first line, counted from one.
    pub(crate) line: usize,
    /// Of an object of JSON the name of the field, with its quotes.
    pub(crate) key: Vec<u8>,
    /// What it holds.
    pub(crate) bytes: Vec<u8>,
}

/// Where a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    at: u64,
    line: usize,
    ready: bool,
}

/// The records of a file, one after the other.
#[derive(Debug)]
pub(crate) struct Frames {
    file: PathBuf,
    input: BufReader<File>,
    at: u64,
    line: usize,
    cut: Cut,
    /// What ends the list or object of the records: `]` or `}`.
    end: u8,
    /// Whether it has ended, and the object stands open whose field it is.
    after: bool,
    /// Whether the records are those of a field.
    within_field: bool,
    /// Whether the next thing is an element, and not what stands between two.
    ready: bool,
    done: bool,
}

impl Frames {
    /// Opens a file, and stands before its first record.
    pub(crate) fn open(file: &Path, cut: Cut) -> Result<Self, ReadError> {
        let (input, _) = mmlens_files::open(file).map_err(ReadError::io(file))?;
        let input = BufReader::with_capacity(1 << 16, input);
        let mut frames = Self {
            file: file.to_owned(),
            input,
            at: 0,
            line: 1,
            cut,
            end: 0,
            after: false,
            within_field: false,
            ready: true,
            done: false,
        };
        frames.pass_byte_order_mark()?;
        if let Cut::Elements { under } = cut {
            frames.enter(under)?;
        }
        Ok(frames)
    }

    /// Where the next record begins, or what stands before it.
    pub(crate) fn mark(&self) -> Mark {
        Mark { at: self.at, line: self.line, ready: self.ready }
    }

    /// Goes to where [`Frames::mark`] was said.
    pub(crate) fn seek(&mut self, mark: Mark) -> Result<(), ReadError> {
        self.input.seek(SeekFrom::Start(mark.at)).map_err(ReadError::io(&self.file))?;
        (self.at, self.line, self.ready) = (mark.at, mark.line, mark.ready);
        (self.after, self.done) = (false, false);
        Ok(())
    }

    /// The next record, put into one that is there already; whether there was one.
    pub(crate) fn next(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        record.key.clear();
        record.bytes.clear();
        match self.cut {
            Cut::Lines => self.next_line(record),
            Cut::Rows { delimiter } => self.next_row(delimiter, record),
            Cut::Elements { .. } => self.next_element(record),
        }
    }

    /// The value of a field of the file's object, if it has it. It stands behind the field then.
    pub(crate) fn field(file: &Path, name: &str) -> Result<Option<Record>, ReadError> {
        let mut frames = Self::open(file, Cut::Elements { under: None })?;
        let mut record = Record::default();
        let quoted = serde_json::to_vec(name).map_err(|e| ReadError::io(file)(e.into()))?;
        // Lists may be long, and none is what is asked for: they are passed over unheld.
        while frames.next_key(&mut record.key)? {
            record.line = frames.line;
            if record.key == quoted {
                frames.value(Some(&mut record.bytes))?;
                return Ok(Some(record));
            }
            frames.value(None)?;
            record.key.clear();
        }
        Ok(None)
    }

    fn wrong(&self, found: impl Into<String>, expected: &str) -> ReadError {
        ReadError::field(&self.file, self.line, "", found, expected)
    }

    fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        let bytes = self.input.fill_buf().map_err(ReadError::io(&self.file))?;
        Ok(bytes.first().copied())
    }

    fn bump(&mut self, byte: u8) {
        self.input.consume(1);
        self.at += 1;
        self.line += usize::from(byte == b'\n');
    }

    fn take(&mut self) -> Result<Option<u8>, ReadError> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.bump(byte);
        }
        Ok(byte)
    }

    fn pass_byte_order_mark(&mut self) -> Result<(), ReadError> {
        let bytes = self.input.fill_buf().map_err(ReadError::io(&self.file))?;
        if bytes.starts_with(b"\xef\xbb\xbf") {
            self.input.consume(3);
            self.at += 3;
        }
        Ok(())
    }

    fn next_line(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        loop {
            record.line = self.line;
            record.bytes.clear();
            let mut ended = false;
            while !ended {
                let bytes = self.input.fill_buf().map_err(ReadError::io(&self.file))?;
                if bytes.is_empty() {
                    break;
                }
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                record.bytes.extend_from_slice(part);
                let used = part.len() + usize::from(end.is_some());
                ended = end.is_some();
                self.input.consume(used);
                self.at += used as u64;
                self.line += usize::from(ended);
                self.within(record)?;
            }
            if !record.bytes.iter().all(u8::is_ascii_whitespace) {
                if record.bytes.last() == Some(&b'\r') {
                    record.bytes.pop();
                }
                return Ok(true);
            }
            if !ended {
                return Ok(false);
            }
        }
    }

    /// As RFC 4180 has it: a quote that begins a cell opens it, two quotes within are one, and a line break ends the row outside
    /// of quotes alone.
    fn next_row(&mut self, delimiter: u8, record: &mut Record) -> Result<bool, ReadError> {
        while self.peek()?.is_some_and(|byte| byte == b'\n' || byte == b'\r') {
            self.take()?;
        }
        record.line = self.line;
        let (mut quoted, mut begins) = (false, true);
        while let Some(byte) = self.take()? {
            if byte == b'\n' && !quoted {
                break;
            }
            record.bytes.push(byte);
            match byte {
                // Of two within quotes the first closes and the second opens again.
                b'"' if quoted || begins => (quoted, begins) = (!quoted, quoted),
                _ if quoted => {}
                _ => begins = byte == delimiter,
            }
            if record.bytes.len() > MOST_RECORD {
                self.within(record)?;
            }
        }
        if quoted {
            return Err(ReadError::field(
                &self.file,
                record.line,
                "",
                "a cell whose quotes do not close",
                "a closing quote",
            ));
        }
        if record.bytes.last() == Some(&b'\r') {
            record.bytes.pop();
        }
        Ok(!record.bytes.is_empty())
    }

    fn within(&self, record: &Record) -> Result<(), ReadError> {
        match record.bytes.len() {
            0..=MOST_RECORD => Ok(()),
            _ => Err(ReadError::field(
                &self.file,
                record.line,
                "",
                format!("a record of more than {MOST_RECORD} bytes"),
                format!("at most {MOST_RECORD}"),
            )),
        }
    }
}

/// JSON, cut where its elements are.
impl Frames {
    fn white(&mut self) -> Result<Option<u8>, ReadError> {
        while let Some(byte) = self.peek()? {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(Some(byte));
            }
            self.bump(byte);
        }
        Ok(None)
    }

    fn shown(byte: Option<u8>) -> String {
        byte.map_or_else(|| "the end of the file".to_owned(), |byte| format!("`{}`", byte.escape_ascii()))
    }

    fn enter(&mut self, under: Option<&str>) -> Result<(), ReadError> {
        let open = |frames: &mut Self, expected| match frames.white()? {
            Some(byte @ (b'[' | b'{')) => {
                frames.bump(byte);
                frames.end = if byte == b'[' { b']' } else { b'}' };
                frames.ready = true;
                Ok(())
            }
            other => Err(frames.wrong(Self::shown(other), expected)),
        };
        open(self, "a list or an object of JSON")?;
        let Some(name) = under else { return Ok(()) };
        if self.end != b'}' {
            return Err(self.wrong("a list", &format!("an object with a list `{name}`")));
        }
        let quoted = format!("\"{name}\"").into_bytes();
        let mut key = Vec::new();
        while self.next_key(&mut key)? {
            if key == quoted {
                self.within_field = true;
                return open(self, "a list of JSON");
            }
            self.value(None)?;
            key.clear();
        }
        Err(ReadError::field(&self.file, self.line, name, "nothing", "a list"))
    }

    /// Behind the records: the other fields of the object that they are a field of, and then nothing.
    fn finish(&mut self) -> Result<(), ReadError> {
        if let Cut::Elements { under: Some(name) } = self.cut
            && !self.after
            && self.within_field
        {
            self.after = true;
            let (quoted, mut key) = (format!("\"{name}\"").into_bytes(), Vec::new());
            while self.next_key(&mut key)? {
                if key == quoted {
                    return Err(self.wrong(format!("a second field `{name}`"), "one"));
                }
                self.value(None)?;
                key.clear();
            }
            return Ok(());
        }
        self.done = true;
        match self.white()? {
            None => Ok(()),
            other => Err(self.wrong(Self::shown(other), "the end of the file")),
        }
    }

    /// To the next element; false at the end.
    fn next_start(&mut self) -> Result<bool, ReadError> {
        if self.done {
            return Ok(false);
        }
        let end = if self.after { b'}' } else { self.end };
        let first = std::mem::take(&mut self.ready);
        let mut byte = self.white()?;
        if !first && byte == Some(b',') {
            self.bump(b',');
            byte = self.white()?;
        } else if byte == Some(end) {
            self.bump(end);
            return self.finish().map(|()| false);
        } else if !first {
            let expected = format!("`,` or `{}`", char::from(end));
            return Err(self.wrong(Self::shown(byte), &expected));
        }
        match byte {
            Some(_) => Ok(true),
            None => Err(self.wrong("the end of the file", "an element")),
        }
    }

    fn next_key(&mut self, key: &mut Vec<u8>) -> Result<bool, ReadError> {
        if !self.next_start()? {
            return Ok(false);
        }
        match self.white()? {
            Some(b'"') => self.value(Some(key))?,
            other => return Err(self.wrong(Self::shown(other), "the name of a field")),
        }
        match self.white()? {
            Some(b':') => self.bump(b':'),
            other => return Err(self.wrong(Self::shown(other), "`:`")),
        }
        self.white()?;
        Ok(true)
    }

    fn next_element(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        let some = if self.end == b'}' { self.next_key(&mut record.key)? } else { self.next_start()? };
        record.line = self.line;
        if some {
            self.value(Some(&mut record.bytes))?;
        }
        Ok(some)
    }

    /// Passes over a value, and keeps its bytes if somebody wants them. What it is beyond its brackets and quotes, whoever parses it
    /// finds out.
    fn value(&mut self, mut kept: Option<&mut Vec<u8>>) -> Result<(), ReadError> {
        let line = self.line;
        let (mut depth, mut quoted, mut escaped, mut began) = (0_usize, false, false, false);
        loop {
            let Some(byte) = self.peek()? else {
                // A number or a word may end with the file.
                return if depth == 0 && !quoted && began {
                    Ok(())
                } else {
                    Err(self.wrong("the end of the file", "the rest of a value"))
                };
            };
            if depth == 0
                && !quoted
                && began
                && matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' | b':')
            {
                return Ok(());
            }
            began = true;
            self.bump(byte);
            if let Some(kept) = kept.as_deref_mut() {
                kept.push(byte);
                if kept.len() > MOST_RECORD {
                    let found = format!("a record of more than {MOST_RECORD} bytes");
                    let expected = format!("at most {MOST_RECORD}");
                    return Err(ReadError::field(&self.file, line, "", found, expected));
                }
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => continue,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth > DEEPEST {
                return Err(self.wrong(format!("a value nested more than {DEEPEST} deep"), "less"));
            }
            if depth == 0 && !quoted && matches!(byte, b'"' | b']' | b'}') {
                return Ok(());
            }
        }
    }
}
