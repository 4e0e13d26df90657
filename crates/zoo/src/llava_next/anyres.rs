//! Which tiles a picture of any size is cut into, and which of their patches are kept.

use std::ops::Range;

/// The resolutions a picture may be brought to, each as height and width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinpoints(pub Vec<(usize, usize)>);

impl Pinpoints {
    /// What a checkpoint leaves out.
    pub fn usual() -> Self {
        Self(vec![(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)])
    }

    /// The resolution that keeps most of a picture of a height and width, and of those the one that wastes least.
    pub fn best(&self, (height, width): (usize, usize)) -> (usize, usize) {
        let mut best = (0, 0);
        let (mut most, mut least) = (0, usize::MAX);
        for &(h, w) in &self.0 {
            let scale = (w as f64 / width as f64).min(h as f64 / height as f64);
            let shrunk = (width as f64 * scale) as usize * (height as f64 * scale) as usize;
            let kept = shrunk.min(width * height);
            let wasted = (w * h).saturating_sub(kept);
            if kept > most || (kept == most && wasted < least) {
                (most, least, best) = (kept, wasted, (h, w));
            }
        }
        best
    }
}

/// Height and width of a picture fitted into a resolution, keeping its proportions.
pub fn fitted((height, width): (usize, usize), (to_height, to_width): (usize, usize)) -> (usize, usize) {
    let scale_w = to_width as f64 / width as f64;
    let scale_h = to_height as f64 / height as f64;
    if scale_w < scale_h {
        (((height as f64 * scale_w).ceil() as usize).min(to_height), to_width)
    } else {
        (to_height, ((width as f64 * scale_h).ceil() as usize).min(to_width))
    }
}

/// The rows and columns of patches that are kept of a grid, once the padding around a picture is cut away.
pub fn unpadded(
    (height, width): (usize, usize),
    (rows, cols): (usize, usize),
) -> (Range<usize>, Range<usize>) {
    let whole = |x: f64| ((x * 1e7).round_ties_even() / 1e7) as usize;
    if width as f64 / height as f64 > cols as f64 / rows as f64 {
        let kept = whole(height as f64 * (cols as f64 / width as f64));
        let padding = rows.saturating_sub(kept) / 2;
        (padding..rows - padding, 0..cols)
    } else {
        let kept = whole(width as f64 * (rows as f64 / height as f64));
        let padding = cols.saturating_sub(kept) / 2;
        (0..rows, padding..cols - padding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_of_the_published_models() {
        let usual = Pinpoints::usual();
        assert_eq!(usual.best((336, 336)), (336, 672));
        assert_eq!(usual.best((1000, 300)), (1008, 336));
        assert_eq!(usual.best((480, 640)), (672, 672));
        assert_eq!(fitted((480, 640), (672, 672)), (504, 672));
        assert_eq!(unpadded((480, 640), (48, 48)), (6..42, 0..48));
    }
}
