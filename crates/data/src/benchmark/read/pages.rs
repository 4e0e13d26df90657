//! The headers of a Parquet file's pages: what each says it unpacks to, before anything is.
//!
//! The layout is Thrift's compact protocol (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>) with the fields of
//! `PageHeader` in <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use std::io::{self, BufRead, Error, ErrorKind, Seek, SeekFrom};

use super::frame::MOST_RECORD;

/// The most values of a dictionary; each takes some 32 bytes beside its own.
const MOST_WORDS: i64 = 1 << 20;
/// How deep headers are nested at most; those that are written have four.
const DEEPEST: usize = 16;
/// Encodings that take no more memory than their pages: plain, both of dictionaries, runs, differences of numbers, split bytes. Of the
/// others a few bytes may be any number of lengths, or texts that begin like the one before.
const ENCODINGS: [i64; 6] = [0, 2, 3, 5, 8, 9];

/// Numbers of a header, by the fields around them.
type Numbers = Vec<(Vec<i16>, i64)>;

/// Refuses a column whose pages would take more than a record may. It lies in so many bytes from `start` on.
pub(super) fn check(input: &mut (impl BufRead + Seek), start: u64, len: u64) -> io::Result<()> {
    let end = start.checked_add(len).ok_or_else(|| wrong("a column without an end"))?;
    let mut at = start;
    while at < end {
        input.seek(SeekFrom::Start(at))?;
        let mut numbers = Numbers::new();
        structure(input, &mut Vec::new(), &mut numbers)?;
        let of = |path: &[i16]| numbers.iter().find(|(own, _)| own == path).map(|(_, number)| *number);
        let size = |id| of(&[id]).and_then(|size| usize::try_from(size).ok());
        let (Some(unpacked), Some(packed)) = (size(2), size(3)) else {
            return Err(wrong("a page without a size"));
        };
        if unpacked.max(packed) > MOST_RECORD {
            return Err(wrong(format!("a page of {unpacked} bytes, {packed} packed; at most {MOST_RECORD}")));
        }
        // Data pages of both kinds, and dictionaries.
        for path in [[5, 2], [8, 4], [7, 2]] {
            if let Some(other) = of(&path).filter(|encoding| !ENCODINGS.contains(encoding)) {
                return Err(wrong(format!("a page of encoding {other}; one of {ENCODINGS:?}")));
            }
        }
        if let Some(words) = of(&[7, 1]).filter(|words| *words > MOST_WORDS) {
            return Err(wrong(format!("a dictionary of {words} values; at most {MOST_WORDS}")));
        }
        at = input.stream_position()? + packed as u64;
    }
    Ok(())
}

fn wrong(found: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, found.into())
}

fn byte(input: &mut impl BufRead) -> io::Result<u8> {
    let mut one = [0];
    input.read_exact(&mut one)?;
    Ok(one[0])
}

/// A number of seven bits a byte, the lowest first.
fn varint(input: &mut impl BufRead) -> io::Result<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = byte(input)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(wrong("a number of more than 64 bits"))
}

/// A number with a sign, which is its lowest bit.
fn signed(input: &mut impl BufRead) -> io::Result<i64> {
    let number = varint(input)?;
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}

fn structure(
    input: &mut (impl BufRead + Seek),
    path: &mut Vec<i16>,
    numbers: &mut Numbers,
) -> io::Result<()> {
    let mut id = 0_i16;
    loop {
        let head = byte(input)?;
        if head == 0 {
            return Ok(());
        }
        let next = match head >> 4 {
            0 => i16::try_from(signed(input)?).ok(),
            more => id.checked_add(i16::from(more)),
        };
        id = next.ok_or_else(|| wrong("a field without a number"))?;
        path.push(id);
        // A truth is its own kind.
        if !matches!(head & 15, 1 | 2) {
            value(input, head & 15, path, numbers)?;
        }
        path.pop();
    }
}

/// A value of some kind, of which whole numbers are kept.
fn value(
    input: &mut (impl BufRead + Seek),
    kind: u8,
    path: &mut Vec<i16>,
    numbers: &mut Numbers,
) -> io::Result<()> {
    if path.len() > DEEPEST {
        return Err(wrong("a header that is nested too deep"));
    }
    match kind {
        1..=3 => byte(input).map(drop),
        4..=6 => {
            let number = signed(input)?;
            // No header has so many; lists could.
            if numbers.len() < 64 {
                numbers.push((path.clone(), number));
            }
            Ok(())
        }
        7 => pass(input, 8),
        8 => {
            let len = varint(input)?;
            pass(input, len)
        }
        9 | 10 => {
            let head = byte(input)?;
            let len = if head >> 4 == 15 { varint(input)? } else { u64::from(head >> 4) };
            (0..len).try_for_each(|_| element(input, head & 15, path))
        }
        11 => {
            let len = varint(input)?;
            let kinds = if len > 0 { byte(input)? } else { 0 };
            (0..len).try_for_each(|_| {
                element(input, kinds >> 4, path)?;
                element(input, kinds & 15, path)
            })
        }
        12 => structure(input, path, numbers),
        other => Err(wrong(format!("a field of kind {other}"))),
    }
}

/// An element of a list or a map: passed over.
fn element(input: &mut (impl BufRead + Seek), kind: u8, path: &mut Vec<i16>) -> io::Result<()> {
    path.push(0);
    value(input, kind, path, &mut Numbers::new())?;
    path.pop();
    Ok(())
}

/// Passes over so many bytes: the end of the file is where something is read next.
fn pass(input: &mut impl Seek, len: u64) -> io::Result<()> {
    let len = i64::try_from(len).map_err(|_| wrong("a text without an end"))?;
    input.seek_relative(len)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A number as the protocol writes it.
    fn packed(number: i64) -> Vec<u8> {
        let mut number = ((number << 1) ^ (number >> 63)) as u64;
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    /// A page of so many bytes, unpacked; its values are of an encoding, of a dictionary or not.
    fn page(unpacked: i64, dictionary: bool, values: i64, encoding: i64) -> Vec<u8> {
        let mut bytes = vec![0x15, 0, 0x15];
        bytes.extend(packed(unpacked));
        bytes.push(0x15);
        bytes.extend(packed(3));
        // A field with its number written out, and one that says how much larger its number is.
        bytes.extend(if dictionary { vec![0x4c, 0x15] } else { vec![0x0c, 10, 0x15] });
        bytes.extend(packed(values));
        bytes.push(0x15);
        bytes.extend(packed(encoding));
        // Statistics: a structure with a text, and a list of two truths.
        bytes.extend([0x1c, 0x18, 2, b'a', b'b', 0, 0x19, 0x21, 1, 2, 0, 0]);
        bytes.extend(*b"xyz");
        bytes
    }

    fn said(pages: &[Vec<u8>]) -> Result<(), String> {
        let bytes = pages.concat();
        let len = bytes.len() as u64;
        let whole = [b"PAR1".to_vec(), bytes].concat();
        check(&mut Cursor::new(whole), 4, len).map_err(|error| error.to_string())
    }

    #[test]
    fn pages_that_would_take_more_than_a_record_are_refused() {
        let small = || page(100, true, 5, 0);
        assert_eq!(said(&[small(), page(MOST_RECORD as i64, false, 1 << 30, 8)]), Ok(()));
        let error = said(&[small(), page(MOST_RECORD as i64 + 1, false, 1, 0)]).unwrap_err();
        assert_eq!(error, "a page of 402653185 bytes, 3 packed; at most 402653184");
        let error = said(&[page(100, true, (1 << 20) + 1, 0)]).unwrap_err();
        assert_eq!(error, "a dictionary of 1048577 values; at most 1048576");
        for encoding in [4, 6, 7] {
            let error = said(&[small(), page(100, false, 1, encoding)]).unwrap_err();
            assert!(error.starts_with(&format!("a page of encoding {encoding}; one of")), "{error}");
        }
        assert_eq!(said(&[page(-1, false, 1, 0)]).unwrap_err(), "a page without a size");
        // What is cut off, or nested without end.
        assert!(said(&[small()[..9].to_vec()]).is_err());
        assert_eq!(said(&[vec![0x1c; 99]]).unwrap_err(), "a header that is nested too deep");
    }
}
