//! A Gaussian blur of one channel, as `scipy.ndimage.gaussian_filter` has it: cut at four deviations, mirrored at the edges.

/// The channel `[height, width]` convolved with a Gaussian of deviation `sigma`, in pixels, along rows, then along columns.
/// A deviation of zero or less changes nothing.
pub(super) fn blurred(channel: Vec<f64>, [height, width]: [usize; 2], sigma: f64) -> Vec<f64> {
    if sigma <= 0.0 || channel.is_empty() {
        return channel;
    }
    let weights = weights(sigma);
    let down = along(&channel, &weights, height, width, width);
    // Columns lie one apart, rows a width.
    (0..height)
        .flat_map(|row| {
            let start = row * width;
            let line = down.get(start..start + width).unwrap_or_default();
            along(line, &weights, width, 1, 1)
        })
        .collect()
}

/// Weights from the middle outwards; they and their mirror sum to one.
fn weights(sigma: f64) -> Vec<f64> {
    let radius = (4.0 * sigma + 0.5) as usize;
    let bell = |at: usize| (-0.5 / (sigma * sigma) * (at * at) as f64).exp();
    let sum = bell(0) + 2.0 * (1..=radius).map(bell).sum::<f64>();
    (0..=radius).map(|at| bell(at) / sum).collect()
}

/// `length` values `stride` apart, for each of `lines` that begin one apart.
fn along(values: &[f64], weights: &[f64], length: usize, stride: usize, lines: usize) -> Vec<f64> {
    let mut out = vec![0.0; values.len()];
    let at = |line: usize, i: i64| values.get(line + mirrored(i, length) * stride).copied().unwrap_or(0.0);
    for line in 0..lines {
        for i in 0..length {
            let mut sum = at(line, i as i64) * weights.first().copied().unwrap_or(1.0);
            for (away, weight) in weights.iter().enumerate().skip(1) {
                let (i, away) = (i as i64, away as i64);
                sum += weight * (at(line, i - away) + at(line, i + away));
            }
            if let Some(slot) = out.get_mut(line + i * stride) {
                *slot = sum;
            }
        }
    }
    out
}

/// A place beyond the edges as that within which it mirrors: `d c b a | a b c d | d c b a`.
fn mirrored(i: i64, length: usize) -> usize {
    let length = length.max(1) as i64;
    let i = i.rem_euclid(2 * length);
    (if i < length { i } else { 2 * length - 1 - i }) as usize
}

#[cfg(test)]
mod tests {
    use mmlens_core::Picture;
    use mmlens_core::finding::Tolerance;
    use mmlens_testkit::{Oracle, picture};

    use super::{blurred, mirrored};

    #[test]
    fn a_blur_is_that_of_scipy() {
        let oracle = Oracle::open("units/units").unwrap();
        let image = Picture::open(picture("square")).unwrap().image.to_rgb8();
        let green: Vec<f64> = image.pixels().map(|pixel| f64::from(pixel.0[1])).collect();
        for sigma in [0.7, 3.0] {
            let wanted = oracle.array(&format!("blur/square/{sigma:?}")).unwrap();
            let found = blurred(green.clone(), [40, 40], sigma);
            let rows: Vec<f64> = found.chunks(40).step_by(13).flatten().copied().collect();
            Tolerance::either(1e-10, 0.0).check("blur", &rows, &wanted.values).unwrap();
        }
    }

    #[test]
    fn edges_are_mirrored_with_their_last_pixel_twice() {
        let found: Vec<usize> = (-4..8).map(|i| mirrored(i, 3)).collect();
        assert_eq!(found, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
    }

    /// A blur shares out: the sum stays, and what is even stays even.
    #[test]
    fn a_blur_keeps_the_sum() {
        let one: Vec<f64> = (0..35).map(|i| f64::from(u8::from(i == 9))).collect();
        let found = blurred(one, [5, 7], 1.3);
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{found:?}");
        assert!(found.iter().all(|v| *v > 0.0));
        let even = blurred(vec![0.25; 6], [2, 3], 3.0);
        assert!(even.iter().all(|v| (v - 0.25).abs() < 1e-12), "{even:?}");
        assert_eq!(blurred(vec![1.0, 2.0], [1, 2], 0.0), [1.0, 2.0]);
    }
}
