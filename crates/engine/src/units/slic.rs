//! SLIC: a picture in segments of like colour (Achanta et al. 2012), label for label as `scikit-image` 0.26 has them.
//!
//! Colours in Lab and places are clustered by k-means from a regular grid, each pixel looking at centres near it. Then parts that
//! hang together are numbered anew in the order of their first pixel, and small ones join a neighbour.

use image::RgbImage;

use super::gauss::blurred;
use super::{Segments, UnitError};

/// How a picture is cut into segments; defaults are `scikit-image`'s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slic {
    /// About how many segments; at least 1.
    pub segments: usize,
    /// How much place counts beside colour: larger is squarer. Above 0.
    pub compactness: f64,
    /// At most so many steps of k-means.
    pub steps: usize,
    /// Deviation of a Gaussian blur before, in pixels; 0 for none.
    pub sigma: f64,
    /// Whether segments are made to hang together, those below half the even size joined to a neighbour.
    pub connected: bool,
    /// The number of the first segment, 0 or 1.
    pub start_label: u32,
}

impl Default for Slic {
    fn default() -> Self {
        Self { segments: 100, compactness: 10.0, steps: 10, sigma: 0.0, connected: true, start_label: 1 }
    }
}

impl Slic {
    /// The segments of a picture.
    ///
    /// # Errors
    /// [`UnitError::Setting`] for settings that cannot be, [`UnitError::Segments`] for a picture without pixels.
    ///
    /// # Cost
    /// `16 steps` distances for each pixel at most; eight doubles for each pixel.
    pub fn of(&self, picture: &RgbImage) -> Result<Segments, UnitError> {
        let wrong = |setting, found: String, expected| Err(UnitError::Setting { setting, found, expected });
        if self.segments == 0 {
            return wrong("segments", "0".to_owned(), "at least 1");
        }
        if !self.compactness.is_finite() || self.compactness <= 0.0 {
            return wrong("compactness", self.compactness.to_string(), "a number above 0");
        }
        if !self.sigma.is_finite() || self.sigma < 0.0 {
            return wrong("sigma", self.sigma.to_string(), "0 or a number above");
        }
        if self.start_label > 1 {
            return wrong("start_label", self.start_label.to_string(), "0 or 1");
        }
        let size = [picture.height() as usize, picture.width() as usize];
        let grid = Seeds::of(size, self.segments);
        let found = Clusters::new(&self.colours(picture, size), size, &grid).run(self.steps);
        let labels = if self.connected {
            let each = (size[0] * size[1]) as f64 / grid.len() as f64;
            connected(&found, size, (0.5 * each) as usize, (3.0 * each) as usize)
        } else {
            found
        };
        let labels = labels.into_iter().map(|label| label + self.start_label).collect();
        Segments::new(picture.width(), picture.height(), labels)
    }

    /// Lab of every pixel, stretched to the whole range before, blurred, and by the compactness made smaller.
    fn colours(&self, picture: &RgbImage, size: [usize; 2]) -> Vec<[f64; 3]> {
        let levels = || picture.as_raw().iter().map(|level| f64::from(*level) / 255.0);
        let (low, high) = levels().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), level| {
            (low.min(level), high.max(level)) // no NaN: levels of 8 bits
        });
        let range = if high == low { 1.0 } else { high - low };
        let stretched: Vec<f64> = levels().map(|level| (level - low) / range).collect();
        let lab: Vec<[f64; 3]> = stretched.as_chunks::<3>().0.iter().map(|rgb| to_lab(*rgb)).collect();
        let channels = [0, 1, 2].map(|c| {
            let own = lab.iter().map(|lab| lab[c]).collect();
            blurred(own, size, self.sigma)
        });
        let ratio = 1.0 / self.compactness;
        let [l, a, b] = &channels;
        l.iter().zip(a).zip(b).map(|((l, a), b)| [l * ratio, a * ratio, b * ratio]).collect()
    }
}

/// sRGB in 0 to 1 as CIE Lab under D65 (2 degrees).
fn to_lab(rgb: [f64; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(|v| if v > 0.04045 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 });
    let xyz = [
        0.412_453 * r + 0.357_580 * g + 0.180_423 * b,
        0.212_671 * r + 0.715_160 * g + 0.072_169 * b,
        0.019_334 * r + 0.119_193 * g + 0.950_227 * b,
    ];
    let white = [0.950_47, 1.0, 1.088_83];
    let root = |v: f64| if v > 0.008_856 { v.cbrt() } else { 7.787 * v + 16.0 / 116.0 };
    let [x, y, z] = [0, 1, 2].map(|c| root(xyz[c] / white[c]));
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// Where k-means begins: rows and columns of a regular grid, and how far they lie apart.
#[derive(Debug, PartialEq)]
struct Seeds {
    rows: Vec<usize>,
    cols: Vec<usize>,
    apart: [usize; 2],
}

impl Seeds {
    fn len(&self) -> usize {
        self.rows.len() * self.cols.len()
    }

    /// About so many points, evenly spaced along both sides, as `skimage.util.regular_grid` of a picture one deep.
    fn of([height, width]: [usize; 2], points: usize) -> Self {
        let all = height * width;
        if all <= points {
            return Self { rows: (0..height).collect(), cols: (0..width).collect(), apart: [1, 1] };
        }
        // Sides in ascending order, the depth first; a side shorter than a step is one step.
        let sides = [1.0, height.min(width) as f64, height.max(width) as f64];
        let even = (all as f64 / points as f64).powf(1.0 / 3.0);
        let mut steps = [even; 3];
        if sides.iter().any(|side| *side < even) {
            for at in 0..3 {
                steps[at] = sides[at];
                let (rest, many) = (sides.iter().skip(at + 1).product::<f64>(), 2 - at.min(2));
                let even = (rest / points as f64).powf(1.0 / many as f64);
                steps.iter_mut().skip(at + 1).for_each(|step| *step = even);
                if sides.iter().zip(&steps).all(|(side, step)| side >= step) {
                    break;
                }
            }
        }
        let (short, long) = (steps[1], steps[2]);
        let [down, across] = if height <= width { [short, long] } else { [long, short] };
        let along = |length: usize, step: f64| -> (Vec<usize>, usize) {
            let (start, step) = ((step / 2.0).floor() as usize, (step.round_ties_even() as usize).max(1));
            ((start..length).step_by(step).collect(), step)
        };
        let ((rows, down), (cols, across)) = (along(height, down), along(width, across));
        Self { rows, cols, apart: [down, across] }
    }
}

/// A centre: its row, its column and its colour.
type Centre = [f64; 5];

struct Clusters<'a> {
    colours: &'a [[f64; 3]],
    size: [usize; 2],
    /// Distances count in steps of the grid.
    step: usize,
    /// How far down and across a centre looks, half.
    near: [usize; 2],
    centres: Vec<Centre>,
    nearest: Vec<u32>,
}

impl<'a> Clusters<'a> {
    fn new(colours: &'a [[f64; 3]], size: [usize; 2], seeds: &Seeds) -> Self {
        let centre = |row: usize, col: usize| [row as f64, col as f64, 0.0, 0.0, 0.0];
        let centres = seeds.rows.iter().flat_map(|row| seeds.cols.iter().map(move |col| centre(*row, *col)));
        Self {
            colours,
            size,
            step: seeds.apart[0].max(seeds.apart[1]),
            // scikit-image makes a grid anew of as many points as there came to be.
            near: Seeds::of(size, seeds.len()).apart,
            centres: centres.collect(),
            nearest: vec![0; colours.len()],
        }
    }

    fn run(mut self, steps: usize) -> Vec<u32> {
        for _ in 0..steps {
            self.assign();
            self.gather();
        }
        self.nearest
    }

    /// Every pixel to the nearest of the centres within two steps; of equal ones the first.
    fn assign(&mut self) {
        let [height, width] = self.size;
        let [down, across] = self.near.map(|near| near as f64);
        // scikit-image keeps the step in single precision.
        let step = self.step as f32;
        let weight = 1.0 / f64::from(step * step);
        let mut distance = vec![f64::MAX; self.colours.len()];
        for (k, centre) in self.centres.iter().enumerate() {
            let [cy, cx, l, a, b] = *centre;
            let span = |at: f64, apart: f64, length: usize| {
                let from = (at - 2.0 * apart).max(0.0) as usize; // no NaN: a centre without pixels has none
                from..((at + 2.0 * apart + 1.0).min(length as f64) as usize).max(from)
            };
            if !cy.is_finite() {
                continue;
            }
            for y in span(cy, down, height) {
                let dy = (cy - y as f64) * (cy - y as f64);
                for x in span(cx, across, width) {
                    let at = y * width + x;
                    let (Some([pl, pa, pb]), Some(least), Some(nearest)) =
                        (self.colours.get(at), distance.get_mut(at), self.nearest.get_mut(at))
                    else {
                        continue;
                    };
                    let dx = (cx - x as f64) * (cx - x as f64);
                    let colour = [pl - l, pa - a, pb - b].iter().fold(0.0, |sum, t| sum + t * t);
                    let away = (dy + dx) * weight + colour;
                    if *least > away {
                        (*least, *nearest) = (away, k as u32);
                    }
                }
            }
        }
    }

    /// Every centre to the mean of its pixels; one without pixels is no centre any more.
    fn gather(&mut self) {
        let width = self.size[1].max(1);
        let mut sums = vec![([0.0; 5], 0_usize); self.centres.len()];
        for (at, (k, [l, a, b])) in self.nearest.iter().zip(self.colours).enumerate() {
            let Some((sum, count)) = sums.get_mut(*k as usize) else { continue };
            *count += 1;
            let own = [(at / width) as f64, (at % width) as f64, *l, *a, *b];
            sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        self.centres = sums.into_iter().map(|(sum, count)| sum.map(|sum| sum / count as f64)).collect();
    }
}

/// Parts that hang together, numbered in the order of their first pixel; a part below `least` pixels joins one beside it,
/// and one of `most` is cut there.
fn connected(labels: &[u32], [height, width]: [usize; 2], least: usize, most: usize) -> Vec<u32> {
    let mut found: Vec<Option<u32>> = vec![None; labels.len()];
    let mut next = 0;
    for first in 0..labels.len() {
        if found.get(first).copied().flatten().is_some() {
            continue;
        }
        let label = labels.get(first);
        let mut beside = next;
        let mut part = vec![first];
        set(&mut found, first, next);
        let mut visited = 0;
        while visited < part.len() && part.len() < most {
            let Some(&at) = part.get(visited) else { break };
            let (y, x) = (at / width, at % width);
            let around = [
                (x + 1 < width).then_some(at + 1),
                x.checked_sub(1).map(|_| at.saturating_sub(1)),
                (y + 1 < height).then_some(at + width),
                y.checked_sub(1).map(|_| at.saturating_sub(width)),
            ];
            for other in around.into_iter().flatten() {
                match found.get(other).copied().flatten() {
                    None if labels.get(other) == label => {
                        set(&mut found, other, next);
                        part.push(other);
                        if part.len() >= most {
                            break;
                        }
                    }
                    Some(own) if own != next => beside = own,
                    _ => {}
                }
            }
            visited += 1;
        }
        if part.len() < least {
            part.into_iter().for_each(|at| set(&mut found, at, beside));
        } else {
            next += 1;
        }
    }
    found.into_iter().flatten().collect()
}

fn set(found: &mut [Option<u32>], at: usize, label: u32) {
    if let Some(slot) = found.get_mut(at) {
        *slot = Some(label);
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::Picture;
    use mmlens_testkit::{Oracle, picture};

    use super::{Seeds, Slic, connected, to_lab};

    #[test]
    fn segments_are_those_of_scikit_image_label_for_label() {
        let oracle = Oracle::open("units/units").unwrap();
        let few = Slic { segments: 12, ..Slic::default() };
        let plain = Slic { segments: 40, compactness: 20.0, start_label: 0, ..Slic::default() };
        let blurred = Slic { segments: 25, compactness: 5.0, sigma: 1.0, ..Slic::default() };
        let apart = Slic { segments: 30, compactness: 0.5, connected: false, steps: 4, ..Slic::default() };
        for (name, kind, slic) in [
            ("square", "few", few),
            ("wide", "few", few),
            ("tall", "few", few),
            ("square", "plain", plain),
            ("wide", "blurred", blurred),
            ("tall", "apart", apart),
        ] {
            let image = Picture::open(picture(name)).unwrap().image.to_rgb8();
            let wanted = oracle.array(&format!("slic/{name}/{kind}")).unwrap();
            let found = slic.of(&image).unwrap();
            assert_eq!(wanted.dims, [found.size().1 as usize, found.size().0 as usize]);
            assert_eq!(found.labels(), wanted.ids(), "{name} {kind}");
            assert!(found.labels().iter().max() > Some(&7), "{name} {kind}");
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let said = |slic: Slic| slic.of(&image::RgbImage::new(4, 4)).unwrap_err().to_string();
        let usual = Slic::default();
        assert_eq!(said(Slic { segments: 0, ..usual }), "segments = 0, expected at least 1");
        assert_eq!(
            said(Slic { compactness: f64::NAN, ..usual }),
            "compactness = NaN, expected a number above 0"
        );
        assert_eq!(said(Slic { sigma: -1.0, ..usual }), "sigma = -1, expected 0 or a number above");
        assert_eq!(said(Slic { start_label: 2, ..usual }), "start_label = 2, expected 0 or 1");
        assert!(usual.of(&image::RgbImage::new(0, 4)).is_err());
    }

    /// The examples of `skimage.util.regular_grid`: of 20 x 40 pixels 8 points lie 10 apart, 32 points 5 apart.
    #[test]
    fn seeds_lie_evenly() {
        let eight = Seeds::of([20, 40], 8);
        assert_eq!((eight.rows, eight.cols), (vec![5, 15], vec![5, 15, 25, 35]));
        assert_eq!(Seeds::of([20, 40], 32).len(), 32);
        assert_eq!(Seeds::of([2, 3], 6).len(), 6);
    }

    /// White is (100, 0, 0), up to the rounding of the table of white points.
    #[test]
    fn white_has_no_colour() {
        let [l, a, b] = to_lab([1.0; 3]);
        assert!((l - 100.0).abs() < 1e-9 && a.abs() < 0.01 && b.abs() < 0.02, "{l} {a} {b}");
    }

    #[test]
    fn what_is_too_small_joins_what_lies_beside_it() {
        // 1 1 2
        // 1 1 3
        assert_eq!(connected(&[1, 1, 2, 1, 1, 3], [2, 3], 2, 9), [0, 0, 0, 0, 0, 0]);
        assert_eq!(connected(&[1, 1, 2, 1, 1, 3], [2, 3], 1, 9), [0, 0, 1, 0, 0, 2]);
        // One label in two places is two parts.
        assert_eq!(connected(&[1, 2, 1], [1, 3], 1, 9), [0, 1, 2]);
    }
}
