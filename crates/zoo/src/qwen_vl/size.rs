//! How large pictures and frames become: whole merged patches, and a number of pixels between two limits.

use crate::processor::ProcessorError;

/// One side may be so many times the other.
const MOST_NARROW: f64 = 200.0;

/// Height and width of a picture, or of a frame on its own.
///
/// # Errors
/// [`ProcessorError::Narrow`].
pub(super) fn near(
    (height, width): (usize, usize),
    factor: usize,
    (least, most): (usize, usize),
) -> Result<(usize, usize), ProcessorError> {
    fit(1, 1, (height, width), factor, (least, most))
}

/// Height and width of the frames of a clip whose limits count the pixels of all frames, rounded to whole patches in time.
///
/// # Errors
/// [`ProcessorError::Narrow`].
pub(super) fn near_in_time(
    (frames, together): (usize, usize),
    (height, width): (usize, usize),
    factor: usize,
    limits: (usize, usize),
) -> Result<(usize, usize), ProcessorError> {
    let (mut h, mut w) = (height, width);
    if h < factor || w < factor {
        let scale = (factor as f64 / h as f64).max(factor as f64 / w as f64);
        (h, w) = (whole(h as f64 * scale), whole(w as f64 * scale));
    }
    let rounded = whole((frames as f64 / together as f64).round_ties_even()) * together;
    fit(frames, rounded, (h, w), factor, limits)
}

/// `rounded` frames are compared with the limits, `frames` are what they are divided among.
fn fit(
    frames: usize,
    rounded: usize,
    (height, width): (usize, usize),
    factor: usize,
    (least, most): (usize, usize),
) -> Result<(usize, usize), ProcessorError> {
    let (h, w, f) = (height as f64, width as f64, factor as f64);
    if h.max(w) / h.min(w) > MOST_NARROW {
        return Err(ProcessorError::Narrow { width, height });
    }
    let round = |side: f64| whole((side / f).round_ties_even()) * factor;
    let (high, wide) = (round(h), round(w));
    let pixels = rounded.saturating_mul(high).saturating_mul(wide);
    let all = frames as f64 * h * w;
    Ok(if pixels > most {
        let beta = (all / most as f64).sqrt();
        let floor = |side: f64| (whole((side / beta / f).floor()) * factor).max(factor);
        (floor(h), floor(w))
    } else if pixels < least {
        let beta = (least as f64 / all).sqrt();
        let ceil = |side: f64| whole((side * beta / f).ceil()) * factor;
        (ceil(h), ceil(w))
    } else {
        (high, wide)
    })
}

/// Towards zero; what is beyond every picture becomes the largest number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn whole(x: f64) -> usize {
    x as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sides_are_rounded_to_even_multiples() {
        // 12 / 8 = 1.5 and 20 / 8 = 2.5 both become 2.
        assert_eq!(near((12, 20), 8, (1, 4096)).unwrap(), (16, 16));
        assert_eq!(near((3, 5), 8, (256, 640)).unwrap(), (16, 24));
        assert_eq!(near((200, 200), 8, (256, 640)).unwrap(), (24, 24));
    }

    #[test]
    fn narrow_pictures_are_refused() {
        assert_eq!(near((1, 200), 8, (64, 640)).unwrap().0, 8);
        let said = near((1, 201), 8, (64, 640)).unwrap_err().to_string();
        assert_eq!(said, "the picture is 201 x 1: one side is more than 200 times the other");
    }

    #[test]
    fn five_frames_count_as_four() {
        // 5 / 2 = 2.5 becomes 2, so that 4 * 16 * 16 = 1024 is within the limits.
        assert_eq!(near_in_time((5, 2), (16, 16), 8, (64, 1024)).unwrap(), (16, 16));
        assert_eq!(near_in_time((6, 2), (16, 16), 8, (64, 1024)).unwrap(), (8, 8));
        assert_eq!(near_in_time((2, 2), (3, 16), 8, (64, 4096)).unwrap(), (8, 40));
    }

    proptest! {
        #[test]
        fn sizes_are_whole_merged_patches(
            h in 1_usize..3000, w in 1_usize..3000, factor in 1_usize..60, least in 1_usize..100_000, room in 0_usize..100_000,
        ) {
            match near((h, w), factor, (least, least + room)) {
                Err(_) => prop_assert!(h.max(w) > 200 * h.min(w)),
                Ok((high, wide)) => {
                    prop_assert!(high % factor == 0 && wide % factor == 0 && high > 0 && wide > 0);
                    // What is shrunk does not exceed the limit again, unless a side is one merged patch already.
                    let shrunk = high * wide < h.div_ceil(factor) * w.div_ceil(factor) * factor * factor;
                    prop_assert!(high * wide >= least || shrunk);
                }
            }
        }
    }
}
