//! What of a PNG is left out before it is decoded.

/// The bytes of a PNG without its colour profile. Pixels are taken as they stand, so that nothing looks at a profile; but it is compressed, and
/// decoders make it whole before they say how large the picture is: a thousand times the file's size.
///
/// What is no PNG, or ends early, stays as it is from there on: the decoder says what is wrong.
pub(crate) fn without_profile(bytes: Vec<u8>) -> Vec<u8> {
    let (mut kept, mut at) = (Vec::new(), SIGNATURE);
    // Up to where the bytes are known to be kept.
    let mut behind = 0;
    while let Some((kind, next)) = chunk(&bytes, at) {
        if kind == b"iCCP" {
            kept.extend(bytes.get(behind..at).unwrap_or_default());
            behind = next;
        }
        at = next;
    }
    if behind == 0 {
        return bytes;
    }
    kept.extend(bytes.get(behind..).unwrap_or_default());
    kept
}

/// Width and height as the first chunk has them: the decoder refuses the largest without saying what they are.
pub(crate) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let (kind, _) = chunk(bytes, SIGNATURE).filter(|(kind, _)| *kind == b"IHDR")?;
    let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let sides = SIGNATURE + 4 + kind.len();
    Some((number(sides)?, number(sides + 4)?))
}

/// The bytes before the first chunk.
const SIGNATURE: usize = 8;
/// Of a chunk: its length, its kind, and behind its content a sum.
const AROUND: usize = 12;

/// The kind of the chunk that begins there, and where the next does; it may end early.
fn chunk(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let length = bytes.get(at..at.checked_add(4)?)?.first_chunk::<4>()?;
    let kind = bytes.get(at + 4..at.checked_add(8)?)?;
    let next = at.checked_add(AROUND)?.checked_add(u32::from_be_bytes(*length) as usize)?;
    Some((kind, next.min(bytes.len()))) // no NaN: whole numbers
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};

    use super::*;

    fn chunk_of(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = (content.len() as u32).to_be_bytes().to_vec();
        bytes.extend(kind);
        bytes.extend(content);
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn profiles_are_left_out_wherever_they_stand() {
        let mut plain = Vec::new();
        RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 9]))
            .write_to(&mut Cursor::new(&mut plain), ImageFormat::Png)
            .unwrap();
        assert_eq!(without_profile(plain.clone()), plain);
        let profile = chunk_of(b"iCCP", &[7; 300]);
        // Behind the header, before the end, and twice.
        let (header, end) = (8 + 25, plain.len() - 12);
        for places in [vec![header], vec![end], vec![header, end]] {
            let mut with = plain.clone();
            for at in places.iter().rev() {
                with.splice(at..at, profile.iter().copied());
            }
            assert_eq!(without_profile(with), plain, "{places:?}");
        }
        // Cut in the middle of a profile: it goes, and what decodes it says that the rest is missing.
        let mut cut = plain[..header].to_vec();
        cut.extend(&profile[..100]);
        assert_eq!(without_profile(cut), plain[..header]);
        assert_eq!(without_profile(b"no PNG".to_vec()), b"no PNG");
        let other = chunk_of(b"tEXt", b"iCCP");
        let mut with = plain.clone();
        with.splice(header..header, other.iter().copied());
        assert_eq!(without_profile(with.clone()), with);
    }
}
