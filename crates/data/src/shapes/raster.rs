//! Outlines to pixels: exact spans on a grid of 4 x 4 samples per pixel.

use std::fmt;

use super::scene::SIDE;
use super::vocabulary::Shape;

/// Samples per pixel along one axis.
const FINE: usize = 4;
/// Samples per picture along one axis.
const FINE_SIDE: usize = SIDE * FINE;
/// Samples per pixel.
pub(super) const SAMPLES: u32 = (FINE * FINE) as u32;
/// The 64-bit words that hold one row of samples.
const WORDS: usize = FINE_SIDE / 64;

/// A set of pixels of a picture: those on which an object can be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    /// One word per row; bit x is pixel x.
    rows: [u64; SIDE],
}

impl Mask {
    /// The empty set.
    pub const fn empty() -> Self {
        Self { rows: [0; SIDE] }
    }

    /// Whether pixel `(x, y)` is in the set; false outside the picture.
    pub fn contains(&self, x: u32, y: u32) -> bool {
        x < SIDE as u32 && self.rows.get(y as usize).is_some_and(|row| row >> x & 1 == 1)
    }

    /// The number of pixels in the set.
    pub fn count(&self) -> u32 {
        self.rows.iter().map(|row| row.count_ones()).sum()
    }

    /// The pixels `(x, y)` of the set, row by row.
    pub fn pixels(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..SIDE as u32)
            .flat_map(move |y| (0..SIDE as u32).map(move |x| (x, y)))
            .filter(|&(x, y)| self.contains(x, y))
    }

    /// All 4096 values row by row, as a dense array for arithmetic.
    pub fn to_vec(&self) -> Vec<bool> {
        self.rows.iter().flat_map(|row| (0..SIDE).map(move |x| row >> x & 1 == 1)).collect()
    }

    /// The number of pixels in both sets.
    pub fn overlap(&self, other: &Self) -> u32 {
        self.rows.iter().zip(&other.rows).map(|(a, b)| (a & b).count_ones()).sum()
    }

    /// The smallest box around the set: x0, y0, x1, y1, the last two exclusive; all zero for the empty set.
    pub fn bbox(&self) -> [u32; 4] {
        let columns = self.rows.iter().fold(0, |all, row| all | row);
        let Some(top) = self.rows.iter().position(|&row| row != 0) else { return [0; 4] };
        let bottom = self.rows.iter().rposition(|&row| row != 0).map_or(SIDE, |last| last + 1);
        [columns.trailing_zeros(), top as u32, SIDE as u32 - columns.leading_zeros(), bottom as u32]
    }

    fn insert(&mut self, x: usize, y: usize) {
        self.rows[y] |= 1 << x;
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} pixels in {:?})", self.count(), self.bbox())
    }
}

/// The samples an object covers.
pub(super) struct Cover {
    /// The row of samples that `rows[0]` is.
    first: usize,
    rows: Vec<[u64; WORDS]>,
}

impl Cover {
    /// The samples inside an outline. What lies outside the picture is left out.
    pub(super) fn of(shape: Shape, centre: (f32, f32), radius: f32) -> Self {
        let first = fine_index(centre.1 - radius);
        let last = fine_index(centre.1 + radius);
        let mut rows = vec![[0; WORDS]; last.saturating_sub(first)];
        for (offset, row) in rows.iter_mut().enumerate() {
            let y = ((first + offset) as f32 + 0.5) / FINE as f32;
            for (from, to) in spans(shape, (y - centre.1) / radius) {
                if from < to {
                    fill(row, fine_index(centre.0 + from * radius), fine_index(centre.0 + to * radius));
                }
            }
        }
        Self { first, rows }
    }

    /// The number of samples covered.
    pub(super) fn count(&self) -> u32 {
        self.rows.iter().flatten().map(|word| word.count_ones()).sum()
    }

    /// Uncovers whatever `above` covers.
    pub(super) fn hide_under(&mut self, above: &Self) {
        let from = self.first.max(above.first);
        let to = (self.first + self.rows.len()).min(above.first + above.rows.len());
        for y in from..to {
            for (word, over) in self.rows[y - self.first].iter_mut().zip(&above.rows[y - above.first]) {
                *word &= !over;
            }
        }
    }

    /// How many of the samples of pixel `(x, y)` are covered: 0 to 16.
    pub(super) fn at(&self, x: usize, y: usize) -> u32 {
        let mut samples = 0;
        for fine in y * FINE..(y + 1) * FINE {
            let Some(row) = fine.checked_sub(self.first).and_then(|row| self.rows.get(row)) else { continue };
            samples += (row[x * FINE / 64] >> (x * FINE % 64) & 0xF).count_ones();
        }
        samples
    }

    /// The rows of pixels that may hold a covered sample.
    pub(super) fn pixel_rows(&self) -> std::ops::Range<usize> {
        self.first / FINE..(self.first + self.rows.len()).div_ceil(FINE)
    }

    /// The pixels of which half the samples or more are covered. Where two objects share a pixel half and
    /// half, both would hold it, so `taken` (the masks of the objects drawn later) goes first.
    pub(super) fn mask(&self, taken: &[Mask]) -> Mask {
        let mut mask = Mask::empty();
        for y in self.pixel_rows() {
            for x in 0..SIDE {
                if self.at(x, y) * 2 >= SAMPLES
                    && !taken.iter().any(|other| other.contains(x as u32, y as u32))
                {
                    mask.insert(x, y);
                }
            }
        }
        mask
    }
}

/// The first sample whose centre is not before a coordinate in pixels, kept within the picture.
fn fine_index(at: f32) -> usize {
    (at * FINE as f32 - 0.5).ceil().clamp(0.0, FINE_SIDE as f32) as usize
}

fn fill(row: &mut [u64; WORDS], from: usize, to: usize) {
    for (index, word) in row.iter_mut().enumerate() {
        let low = from.clamp(index * 64, (index + 1) * 64) - index * 64;
        let high = to.clamp(index * 64, (index + 1) * 64) - index * 64;
        if low < high {
            *word |= (u64::MAX >> (64 - (high - low))) << low;
        }
    }
}

const SQUARE_HALF: f32 = 0.86;
const RING_HOLE: f32 = 0.55;
const CROSS_HALF: f32 = 0.33;
const TRIANGLE_TOP: f32 = -0.95;
const TRIANGLE_BASE: f32 = 0.8;

/// The corners of the star, x and y from its centre: radius 1.05 outside and 0.5 inside, points every 72
/// degrees from the top, the whole shifted down by 0.06 to lie within the unit box. Written out, since sine
/// is not the same bits everywhere.
const STAR: [(f32, f32); 10] = [
    (0.0, -0.99),
    (0.293_893, -0.344_508),
    (0.998_609, -0.264_468),
    (0.475_528, 0.214_508),
    (0.617_175, 0.909_468),
    (0.0, 0.56),
    (-0.617_175, 0.909_468),
    (-0.475_528, 0.214_508),
    (-0.998_609, -0.264_468),
    (-0.293_893, -0.344_508),
];

/// The spans of an outline on the horizontal line at `y`, both in units of the radius. An unused span is
/// empty.
fn spans(shape: Shape, y: f32) -> [(f32, f32); 2] {
    const NONE: (f32, f32) = (0.0, 0.0);
    let chord = |radius: f32| (radius * radius - y * y).max(0.0).sqrt();
    let around = |half: f32| [(-half, half), NONE];
    match shape {
        Shape::Circle => around(chord(1.0)),
        Shape::Square if y.abs() < SQUARE_HALF => around(SQUARE_HALF),
        Shape::Square => [NONE; 2],
        Shape::Triangle if (TRIANGLE_TOP..TRIANGLE_BASE).contains(&y) => {
            around((y - TRIANGLE_TOP) / (TRIANGLE_BASE - TRIANGLE_TOP))
        }
        Shape::Triangle => [NONE; 2],
        Shape::Ring => {
            let (outer, inner) = (chord(1.0), chord(RING_HOLE));
            [(-outer, -inner), (inner, outer)]
        }
        Shape::Cross if y.abs() < CROSS_HALF => around(1.0),
        Shape::Cross if y.abs() < 1.0 => around(CROSS_HALF),
        Shape::Cross => [NONE; 2],
        Shape::Star => star_spans(y),
    }
}

/// The star is crossed by a horizontal line at most four times; the crossings, sorted, pair up to spans.
fn star_spans(y: f32) -> [(f32, f32); 2] {
    let mut crossings = [f32::INFINITY; 4];
    let mut found = 0;
    for (index, &(x0, y0)) in STAR.iter().enumerate() {
        let (x1, y1) = STAR[(index + 1) % STAR.len()];
        if (y0 <= y) != (y1 <= y) && found < crossings.len() {
            crossings[found] = x0 + (x1 - x0) * (y - y0) / (y1 - y0);
            found += 1;
        }
    }
    crossings.sort_by(f32::total_cmp);
    let span =
        |from: usize| if from + 1 < found { (crossings[from], crossings[from + 1]) } else { (0.0, 0.0) };
    [span(0), span(2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(shape: Shape) -> f32 {
        let radius = 20.0;
        Cover::of(shape, (31.3, 32.9), radius).count() as f32 / SAMPLES as f32 / (radius * radius)
    }

    #[test]
    fn areas_follow_from_the_outlines() {
        use std::f32::consts::PI;
        let expected = [
            (Shape::Circle, PI),
            (Shape::Square, 4.0 * 0.86 * 0.86),
            // base 2, height 1.75
            (Shape::Triangle, 1.75),
            (Shape::Ring, PI * (1.0 - 0.55 * 0.55)),
            // two bars of 2 x 0.66, less the square they share
            (Shape::Cross, 2.0 * 2.0 * 0.66 - 0.66 * 0.66),
            // ten triangles of sides 1.05 and 0.5 about an angle of 36 degrees
            (Shape::Star, 10.0 * 0.5 * 1.05 * 0.5 * (PI / 5.0).sin()),
        ];
        for (shape, expected) in expected {
            let found = area(shape);
            assert!((found / expected - 1.0).abs() < 0.01, "{shape}: {found}, expected {expected}");
        }
    }

    #[test]
    fn the_corners_of_the_star_are_where_the_angles_put_them() {
        for (index, &(x, y)) in STAR.iter().enumerate() {
            let angle = index as f64 * std::f64::consts::PI / 5.0;
            let radius = if index % 2 == 0 { 1.05 } else { 0.5 };
            let (to_x, to_y) = (radius * angle.sin(), 0.06 - radius * angle.cos());
            assert!(
                (f64::from(x) - to_x).abs() < 1e-6 && (f64::from(y) - to_y).abs() < 1e-6,
                "corner {index}"
            );
        }
    }

    #[test]
    fn what_is_hidden_is_counted_once() {
        let mut below = Cover::of(Shape::Square, (32.0, 32.0), 10.0);
        let whole = below.count();
        // the right half: a square whose left side is at x = 32
        let half = Cover::of(Shape::Square, (32.0 + 8.6 * 2.0, 32.0), 20.0);
        below.hide_under(&half);
        assert_eq!(below.count() * 2, whole);
        below.hide_under(&half);
        assert_eq!(below.count() * 2, whole);
    }

    #[test]
    fn a_mask_knows_its_pixels_and_its_box() {
        // x from 10 to 20 and y from 30 to 40 exactly, if the half side is 5 = 0.86 r
        let mask = Cover::of(Shape::Square, (15.0, 35.0), 5.0 / 0.86).mask(&[]);
        assert_eq!((mask.count(), mask.bbox()), (100, [10, 30, 20, 40]));
        assert_eq!(mask.pixels().next(), Some((10, 30)));
        assert!(
            mask.contains(19, 39)
                && !mask.contains(20, 39)
                && !mask.contains(64, 39)
                && !mask.contains(19, 64)
        );
        assert_eq!(mask.to_vec().iter().filter(|&&seen| seen).count(), 100);
        assert_eq!(mask.overlap(&mask), 100);
        assert_eq!(Mask::empty().bbox(), [0; 4]);
        assert_eq!(format!("{mask:?}"), "Mask(100 pixels in [10, 30, 20, 40])");
    }

    #[test]
    fn outlines_are_cut_at_the_edge_of_the_picture() {
        let corner = Cover::of(Shape::Circle, (0.0, 0.0), 20.0).count() as f32;
        let whole = Cover::of(Shape::Circle, (32.0, 32.0), 20.0).count() as f32;
        assert!((corner / whole - 0.25).abs() < 0.01);
        assert_eq!(Cover::of(Shape::Star, (200.0, -90.0), 20.0).count(), 0);
        assert_eq!(Cover::of(Shape::Cross, (f32::NAN, f32::NAN), 20.0).count(), 0);
    }
}
