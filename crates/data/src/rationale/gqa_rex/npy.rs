//! Boxes as NumPy saves them.
//!
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::path::Path;

use crate::benchmark::ReadError;
use crate::benchmark::error::cut;

/// The most bytes of a file: boxes are few.
const MOST_BYTES: u64 = 1 << 20;
const MAGIC: &[u8] = b"\x93NUMPY";

/// Rows of four numbers, of a file of single precision: corners x0, y0, x1, y1, the first not behind the second.
pub(super) fn boxes(file: &Path) -> Result<Vec<[f32; 4]>, ReadError> {
    let bytes = mmlens_files::read(file, MOST_BYTES).map_err(ReadError::io(file))?;
    let wrong =
        |field: &str, found: &str, expected: &str| ReadError::field(file, 1, field, cut(found), expected);
    let (header, data) =
        split(&bytes).ok_or_else(|| wrong("", "another file", "an array that NumPy saved"))?;
    let header = String::from_utf8_lossy(header).replace(' ', "");
    let field = |name: &str| header.split_once(&format!("'{name}':")).map_or("", |(_, rest)| rest);
    if !field("descr").starts_with("'<f4'") {
        return Err(wrong("descr", field("descr"), "`<f4`"));
    }
    if !field("fortran_order").starts_with("False") {
        return Err(wrong("fortran_order", field("fortran_order"), "False"));
    }
    let rows = field("shape").strip_prefix('(').and_then(|shape| shape.split_once(",4)"));
    let rows: Option<usize> = rows.and_then(|(rows, _)| rows.parse().ok());
    let rows = rows.ok_or_else(|| wrong("shape", field("shape"), "rows of 4"))?;
    if rows.checked_mul(16) != Some(data.len()) {
        return Err(wrong(
            "shape",
            &format!("{rows} rows and {} bytes", data.len()),
            "16 bytes for each row",
        ));
    }
    let numbers: Vec<f32> = data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let all = numbers.as_chunks::<4>().0;
    let whole = |[x0, y0, x1, y1]: &[f32; 4]| {
        [x0, y0, x1, y1].iter().all(|at| at.is_finite()) && x0 <= x1 && y0 <= y1
    };
    match all.iter().position(|bbox| !whole(bbox)) {
        None => Ok(all.to_vec()),
        Some(at) => {
            let found = format!("{:?}", all.get(at).unwrap_or(&[f32::NAN; 4]));
            Err(wrong(&format!("row {at}"), &found, "two corners, the one at the top left before the other"))
        }
    }
}

/// The header and what stands behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let ([major, _minor], rest) = rest.split_first_chunk::<2>()?;
    let (len, rest) = match major {
        1 => {
            rest.split_first_chunk::<2>().map(|(len, rest)| (usize::from(u16::from_le_bytes(*len)), rest))?
        }
        2 | 3 => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            (usize::try_from(u32::from_le_bytes(*len)).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use super::boxes;

    fn saved(header: &str, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    #[test]
    fn what_is_no_array_of_boxes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("1.npy");
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }\n";
        let numbers = [0.0, 1.0, 2.0, 3.5, 4.0, 4.0, 4.0, 4.0];
        std::fs::write(&file, saved(good, &numbers)).unwrap();
        assert_eq!(boxes(&file).unwrap(), [[0.0, 1.0, 2.0, 3.5], [4.0; 4]]);
        let turned = [0.0, 1.0, 2.0, 0.5, 4.0, 4.0, 4.0, 4.0];
        for (bytes, wanted) in [
            (b"\x93NUMPY\x09\x00".to_vec(), "another file; expected an array that NumPy saved"),
            (
                saved(&good.replace("<f4", "<f8"), &numbers),
                "`descr`: '<f8','fortran_order':False,'shape':(2,4),}\n; expected `<f4`",
            ),
            (saved(&good.replace("False", "True"), &numbers), "expected False"),
            (saved(&good.replace("(2, 4)", "(2, 5)"), &numbers), "expected rows of 4"),
            (saved(good, &numbers[1..]), "`shape`: 2 rows and 28 bytes; expected 16 bytes for each row"),
            (saved(&good.replace("(2, 4)", "(99999999999999999999, 4)"), &numbers), "expected rows of 4"),
            (saved(good, &turned), "`row 0`: [0.0, 1.0, 2.0, 0.5]; expected two corners"),
            (saved(good, &[f32::NAN; 8]), "expected two corners"),
        ] {
            std::fs::write(&file, bytes).unwrap();
            let said = boxes(&file).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("{}, line 1: ", file.display())) && said.contains(wanted),
                "{said}"
            );
        }
    }
}
