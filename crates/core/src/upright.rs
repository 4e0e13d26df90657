//! Which way up a picture is: what EXIF says, or else XMP, as Pillow's `exif_transpose` reads them.

use image::ImageDecoder;
use image::metadata::Orientation;

/// The tag of the orientation.
const TAG: u16 = 0x0112;
/// What stands before the orientation in XMP.
const NAME: &[u8] = b"tiff:Orientation";

/// The orientation of a picture that is about to be decoded. EXIF goes before XMP, also where its value means nothing; what
/// means nothing turns nothing. (Pillow reads neither of a GIF.)
pub(crate) fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    let exif = decoder.exif_metadata().ok().flatten().and_then(|chunk| of_exif(&chunk));
    let said = exif.or_else(|| decoder.xmp_metadata().ok().flatten().and_then(|text| of_xmp(&text)));
    said.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// The value of the tag, if the first directory has it; zero for one that is no number.
fn of_exif(chunk: &[u8]) -> Option<u8> {
    let mut chunk = chunk;
    for _ in 0..2 {
        chunk = chunk.strip_prefix(b"Exif\0\0").unwrap_or(chunk);
    }
    let little = match chunk.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = chunk.get(at..at.checked_add(length)?)?;
        let digit = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        Some(if little { bytes.iter().rev().fold(0, digit) } else { bytes.iter().fold(0, digit) })
    };
    let directory = number(4, 4)?;
    for entry in 0..number(directory, 2)? {
        let at = directory + 2 + 12 * entry;
        if number(at, 2)? != usize::from(TAG) {
            continue;
        }
        // Of one byte, of two or of four.
        let value = match (number(at + 2, 2)?, number(at + 4, 4)?) {
            (1 | 6, 1) => number(at + 8, 1)?,
            (3 | 8, 1) => number(at + 8, 2)?,
            (4 | 9, 1) => number(at + 8, 4)?,
            _ => 0,
        };
        return Some(u8::try_from(value).unwrap_or(0));
    }
    None
}

/// The first digit that XMP gives as an attribute or as an element.
fn of_xmp(text: &[u8]) -> Option<u8> {
    let found = text.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    found
        .filter_map(|(at, _)| {
            let rest = text.get(at + NAME.len()..)?;
            let rest = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
            rest.first().filter(|digit| digit.is_ascii_digit()).map(|digit| digit - b'0')
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One directory of one entry.
    fn exif(tag: u16, kind: u16, count: u32, value: &[u8; 4]) -> Vec<u8> {
        let head = b"MM\0*\0\0\0\x08\0\x01".to_vec();
        [
            head,
            tag.to_be_bytes().into(),
            kind.to_be_bytes().into(),
            count.to_be_bytes().into(),
            value.to_vec(),
        ]
        .concat()
    }

    #[test]
    fn exif_has_the_tag_in_several_widths() {
        assert_eq!(of_exif(&exif(TAG, 3, 1, &[0, 6, 0, 0])), Some(6));
        assert_eq!(of_exif(&exif(TAG, 4, 1, &[0, 0, 0, 8])), Some(8));
        assert_eq!(of_exif(&exif(TAG, 1, 1, &[3, 0, 0, 0])), Some(3));
        // There, and of no use: XMP is not asked then.
        assert_eq!(of_exif(&exif(TAG, 3, 2, &[0, 6, 0, 1])), Some(0));
        assert_eq!(of_exif(&exif(TAG, 3, 1, &[2, 0, 0, 0])), Some(0));
        assert_eq!(of_exif(&exif(0x0110, 3, 1, &[0, 6, 0, 0])), None);
        let prefixed = [b"Exif\0\0".as_slice(), &exif(TAG, 3, 1, &[0, 6, 0, 0])].concat();
        assert_eq!(of_exif(&prefixed), Some(6));
        for cut in 0..22 {
            assert_eq!(of_exif(&exif(TAG, 3, 1, &[0, 6, 0, 0])[..cut.min(19)]), None);
        }
    }

    #[test]
    fn xmp_has_it_as_attribute_or_element() {
        assert_eq!(of_xmp(br#"<rdf:Description tiff:Orientation="6" x="1">"#), Some(6));
        assert_eq!(of_xmp(b"<tiff:Orientation>8</tiff:Orientation>"), Some(8));
        assert_eq!(of_xmp(b"tiff:Orientation=6 tiff:Orientation='3' tiff:Orientation=\"5\""), Some(5));
        assert_eq!(of_xmp(b"<tiff:Orientation>x</tiff:Orientation>"), None);
        assert_eq!(of_xmp(b"tiff:Orientation"), None);
    }
}
