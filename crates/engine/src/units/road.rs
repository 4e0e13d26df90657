//! ROAD's noisy linear interpolation (Rong et al. 2022): missing pixels as weighted means of those around them.
//!
//! "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022, <https://arxiv.org/abs/2202.00449>. A missing
//! pixel is the mean of its neighbours, those beside it with weight 1/6, those at its corners with 1/12, over the neighbours that lie on
//! the picture; missing neighbours are unknowns of the same linear system. Noise is added, so that what is missing cannot be told by its smoothness.

use crate::normal;
use mmlens_core::Seed;

const BESIDE: f64 = 1.0 / 6.0;
const CORNER: f64 = 1.0 / 12.0;
/// The residual, relative to the right side, at which the system counts as solved.
const SOLVED: f64 = 1e-10;

/// The missing pixels of a picture filled: `channels` of `[height, width]` each, `missing` of that length. Noise of the given
/// deviation is added to every filled value, a draw for each counted by channel and pixel. Where no pixel is left, nothing is known,
/// and each channel takes its own mean.
///
/// # Cost
/// Conjugate gradients, a few hundred steps of nine operations for each missing pixel and channel; five doubles for each.
pub(super) fn filled(
    channels: &mut [Vec<f64>],
    [height, width]: [usize; 2],
    missing: &[bool],
    deviation: f64,
    seed: Seed,
) {
    let unknown: Vec<usize> = (0..height * width).filter(|i| missing.get(*i) == Some(&true)).collect();
    let system = System::of([height, width], &unknown);
    for (c, channel) in channels.iter_mut().enumerate() {
        let values = if unknown.len() == height * width {
            let mean = channel.iter().sum::<f64>() / channel.len().max(1) as f64;
            vec![mean; unknown.len()]
        } else {
            system.solved(channel)
        };
        let seed = seed.at(c as u64);
        for (at, value) in unknown.iter().zip(values) {
            if let Some(slot) = channel.get_mut(*at) {
                *slot = value + deviation * normal(seed.at(*at as u64));
            }
        }
    }
}

/// One equation for each missing pixel: its weight times itself, less the weighted missing neighbours, is the weighted known ones.
struct System {
    /// The sum of the weights of the neighbours that lie on the picture.
    own: Vec<f64>,
    /// Missing neighbours, by their number among the missing.
    inner: Vec<Vec<(usize, f64)>>,
    /// Known neighbours, by their place.
    outer: Vec<Vec<(usize, f64)>>,
}

impl System {
    fn of([height, width]: [usize; 2], unknown: &[usize]) -> Self {
        let mut number = vec![None; height * width];
        for (k, at) in unknown.iter().enumerate() {
            if let Some(slot) = number.get_mut(*at) {
                *slot = Some(k);
            }
        }
        let mut system = Self { own: Vec::new(), inner: Vec::new(), outer: Vec::new() };
        for at in unknown {
            let (y, x) = ((at / width) as i64, (at % width) as i64);
            let (mut own, mut inner, mut outer) = (0.0, Vec::new(), Vec::new());
            for (dy, dx) in [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)] {
                let (y, x) = (y + dy, x + dx);
                if y < 0 || x < 0 || y >= height as i64 || x >= width as i64 {
                    continue;
                }
                let weight = if dy == 0 || dx == 0 { BESIDE } else { CORNER };
                own += weight;
                let at = y as usize * width + x as usize;
                match number.get(at).copied().flatten() {
                    Some(k) => inner.push((k, weight)),
                    None => outer.push((at, weight)),
                }
            }
            system.own.push(own);
            system.inner.push(inner);
            system.outer.push(outer);
        }
        system
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        let of = |others: &[(usize, f64)]| -> f64 {
            others.iter().map(|(k, weight)| weight * x.get(*k).copied().unwrap_or(0.0)).sum()
        };
        self.own.iter().zip(&self.inner).zip(x).map(|((own, inner), x)| own * x - of(inner)).collect()
    }

    /// By conjugate gradients: the system is symmetric, and positive definite as long as a pixel is known.
    fn solved(&self, known: &[f64]) -> Vec<f64> {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let right = self.outer.iter().map(|outer| {
            outer.iter().map(|(at, weight)| weight * known.get(*at).copied().unwrap_or(0.0)).sum()
        });
        let mut residual: Vec<f64> = right.collect();
        let mut x = vec![0.0; residual.len()];
        let mut way = residual.clone();
        let mut size = dot(&residual, &residual);
        let enough = size * SOLVED * SOLVED;
        for _ in 0..10 * residual.len() {
            if size <= enough {
                break;
            }
            let pushed = self.times(&way);
            let step = size / dot(&way, &pushed);
            x.iter_mut().zip(&way).for_each(|(x, way)| *x += step * way);
            residual.iter_mut().zip(&pushed).for_each(|(r, pushed)| *r -= step * pushed);
            let next = dot(&residual, &residual);
            way.iter_mut().zip(&residual).for_each(|(way, r)| *way = r + next / size * *way);
            size = next;
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::finding::Tolerance;
    use mmlens_core::{Picture, Seed};
    use mmlens_testkit::{Oracle, picture};

    use super::filled;

    /// The same system, solved directly by SciPy.
    #[test]
    fn holes_are_filled_as_the_linear_system_says() {
        let oracle = Oracle::open("units/units").unwrap();
        let image = Picture::open(picture("wide")).unwrap().image.to_rgb8();
        let green: Vec<f64> = image.pixels().map(|pixel| f64::from(pixel.0[1])).collect();
        let missing: Vec<bool> =
            oracle.array("road/wide/missing").unwrap().values.iter().map(|gone| *gone > 0.5).collect();
        // What stands in a hole has no say.
        let holed = green.iter().zip(&missing).map(|(level, gone)| if *gone { -1e3 } else { *level });
        let mut channels = vec![holed.collect::<Vec<f64>>()];
        filled(&mut channels, [31, 47], &missing, 0.0, Seed(0));
        let own = |gone: bool, values: &[f64]| -> Vec<f64> {
            values.iter().zip(&missing).filter(|(_, own)| **own == gone).map(|(v, _)| *v).collect()
        };
        assert_eq!(own(false, &channels[0]), own(false, &green));
        let wanted = oracle.array("road/wide").unwrap();
        assert!(wanted.values.len() > 200);
        Tolerance::either(1e-6, 0.0).check("holes", &own(true, &channels[0]), &wanted.values).unwrap();
    }

    /// Of `n` draws the mean is off by `d / sqrt(n)`, the variance by `sqrt(2 / n)` of itself: bounds are four of these.
    #[test]
    fn noise_has_the_deviation_asked_for() {
        let missing: Vec<bool> = (0..4000).map(|i| i % 40 > 0).collect();
        let mut channels = vec![vec![100.0; 4000]; 2];
        filled(&mut channels, [100, 40], &missing, 2.5, Seed(3));
        let drawn = |channel: &[f64]| -> Vec<f64> {
            channel.iter().zip(&missing).filter(|(_, gone)| **gone).map(|(v, _)| (v - 100.0) / 2.5).collect()
        };
        let own = drawn(&channels[0]);
        assert_ne!(own, drawn(&channels[1]));
        let n = own.len() as f64;
        let mean = own.iter().sum::<f64>() / n;
        let variance = own.iter().map(|x| x * x).sum::<f64>() / n;
        assert!(
            mean.abs() < 4.0 / n.sqrt() && (variance - 1.0).abs() < 4.0 * (2.0 / n).sqrt(),
            "{mean} {variance}"
        );
    }

    /// A ramp is the mean of its neighbours everywhere inside.
    #[test]
    fn a_ramp_is_filled_by_itself() {
        let ramp: Vec<f64> = (0..48).map(|i| f64::from(i / 8) + 2.0 * f64::from(i % 8)).collect();
        let missing: Vec<bool> =
            (0..48).map(|i| (1..5).contains(&(i / 8)) && (2..7).contains(&(i % 8))).collect();
        let mut channels =
            vec![ramp.iter().zip(&missing).map(|(v, gone)| if *gone { 0.0 } else { *v }).collect()];
        filled(&mut channels, [6, 8], &missing, 0.0, Seed(1));
        for (found, wanted) in channels[0].iter().zip(&ramp) {
            assert!((found - wanted).abs() < 1e-7, "{found} {wanted}");
        }
    }

    #[test]
    fn where_nothing_is_left_the_mean_stands() {
        let mut channels = vec![vec![1.0, 2.0, 3.0, 6.0]];
        filled(&mut channels, [2, 2], &[true; 4], 0.0, Seed(1));
        assert_eq!(channels, [[3.0; 4]]);
    }
}
