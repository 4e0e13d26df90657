//! How large a picture is made, and how many tiles it is cut into, in the arithmetic of transformers.

/// No side becomes longer than this, before it is brought to whole tiles.
const LONGEST: usize = 4096;

/// How the first resizing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The longer edge gets this length, the other an even one; proportions are kept.
    Longest(usize),
    /// Exactly this height and width.
    Exactly(usize, usize),
}

impl First {
    /// Height and width of a picture after the first resizing.
    pub fn of(self, (height, width): (usize, usize)) -> (usize, usize) {
        let Self::Longest(edge) = self else {
            let Self::Exactly(height, width) = self else { return (height, width) };
            return (height, width);
        };
        let ratio = width as f64 / height as f64;
        let even = |side: f64| (whole(side) + whole(side) % 2).max(1);
        let (height, width) = if width >= height {
            (even(edge as f64 / ratio), edge.max(1))
        } else {
            (edge.max(1), even(edge as f64 * ratio))
        };
        bounded((height, width))
    }
}

fn bounded((height, width): (usize, usize)) -> (usize, usize) {
    let ratio = width as f64 / height as f64;
    if width >= height && width > LONGEST {
        (whole(LONGEST as f64 / ratio).max(1), LONGEST)
    } else if height > width && height > LONGEST {
        (LONGEST, whole(LONGEST as f64 * ratio).max(1))
    } else {
        (height, width)
    }
}

/// Height and width in whole tiles. A side may be zero, where a picture is too long for its breadth.
pub fn tiled((height, width): (usize, usize), tile: usize) -> (usize, usize) {
    let ratio = width as f64 / height as f64;
    let up = |side: usize| side.div_ceil(tile) * tile;
    if width >= height {
        let width = up(width);
        (up(whole(width as f64 / ratio)), width)
    } else {
        let height = up(height);
        (height, up(whole(height as f64 * ratio)))
    }
}

/// Towards zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn whole(x: f64) -> usize {
    x as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_transformers_gives() {
        let both = |size| (First::Longest(1456).of(size), tiled(First::Longest(1456).of(size), 364));
        assert_eq!(both((480, 640)), ((1092, 1456), (1092, 1456)));
        assert_eq!(both((31, 47)), ((960, 1456), (1092, 1456)));
        assert_eq!(both((83, 19)), ((1456, 334), (1456, 364)));
        assert_eq!(both((3, 2000)), ((2, 1456), (364, 1456)));
        assert_eq!(First::Longest(9000).of((100, 200)), (2048, 4096));
        assert_eq!(First::Exactly(7, 9).of((100, 200)), (7, 9));
    }
}
