//! How much of some rows a dictionary leaves unexplained, and what else could explain as much.

use mmlens_core::burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::{AnalysisError, AnyTensor, Rows, Seed};
use mmlens_engine::dictionary::{Kept, Of, Weights};
use mmlens_engine::{Dictionary, normal};
use rayon::prelude::*;

use super::CARD;
use super::training::unit;
use crate::check::input;

/// Rows that are held at once.
pub(super) const AT_ONCE: usize = 1024;

/// Calls `see` with rows, so many at a time.
fn by_batch(
    rows: &dyn Rows,
    some: &[usize],
    mut see: impl FnMut(&[f32]) -> Result<(), AnalysisError>,
) -> Result<(), AnalysisError> {
    some.chunks(AT_ONCE).try_for_each(|chunk| see(&rows.read(chunk)?))
}

/// The mean of some rows.
pub(super) fn mean(rows: &dyn Rows, some: &[usize]) -> Result<Vec<f64>, AnalysisError> {
    let mut sum = vec![0.0; rows.width()];
    by_batch(rows, some, |values| {
        for row in values.chunks_exact(rows.width()) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        Ok(())
    })?;
    Ok(sum.into_iter().map(|sum| sum / some.len().max(1) as f64).collect())
}

/// The covariance of some rows, `[width, width]`, around a mean; the sum of its diagonal is the mean squared distance from it.
pub(super) fn covariance(rows: &dyn Rows, some: &[usize], mean: &[f64]) -> Result<Vec<f64>, AnalysisError> {
    let width = rows.width();
    let mut all = vec![0.0; width * width];
    by_batch(rows, some, |values| {
        let centred: Vec<f64> = values
            .chunks_exact(width)
            .flat_map(|row| row.iter().zip(mean).map(|(x, mean)| f64::from(*x) - mean))
            .collect();
        all.par_chunks_exact_mut(width).enumerate().for_each(|(at, line)| {
            for row in centred.chunks_exact(width) {
                let own = row.get(at).copied().unwrap_or_default();
                line.iter_mut().zip(row).for_each(|(sum, x)| *sum += own * x);
            }
        });
        Ok(())
    })?;
    let count = some.len().max(1) as f64;
    Ok(all.into_iter().map(|sum| sum / count).collect())
}

/// The sum of the diagonal of a square matrix.
pub(super) fn trace(matrix: &[f64], width: usize) -> f64 {
    matrix.iter().step_by(width + 1).sum()
}

/// So many steps an iteration may take, and by how much less of what it captures it must gain to end.
const ITERATIONS: usize = 500;
const GAIN: f64 = 1e-12;

/// The directions in which most varies, `[count, width]`: orthogonal iteration on a covariance (Golub and Van Loan, section 8.2).
pub(super) fn principal(covariance: &[f64], width: usize, count: usize, seed: Seed) -> Vec<f64> {
    let mut found: Vec<f64> = (0..count * width).map(|at| normal(seed.at(at as u64))).collect();
    orthonormal(&mut found, width);
    let mut before = 0.0;
    for _ in 0..ITERATIONS {
        let mut next = vec![0.0; count * width];
        next.par_chunks_exact_mut(width).zip(found.par_chunks_exact(width)).for_each(|(to, from)| {
            for (line, x) in covariance.chunks_exact(width).zip(from) {
                to.iter_mut().zip(line).for_each(|(to, c)| *to += x * c);
            }
        });
        let captured: f64 = next.iter().zip(&found).map(|(a, b)| a * b).sum();
        found = next;
        orthonormal(&mut found, width);
        if captured - before <= GAIN * captured {
            break;
        }
        before = captured;
    }
    found
}

/// Rows made orthogonal and of length one, in their order, twice for the sake of rounding; what has no length left becomes zero.
fn orthonormal(rows: &mut [f64], width: usize) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for at in 0..rows.len() / width.max(1) {
        let (done, rest) = rows.split_at_mut(at * width);
        let Some(row) = rest.get_mut(..width) else { continue };
        let whole = dot(row, row).sqrt();
        for other in (0..2).flat_map(|_| done.chunks_exact(width)) {
            let along = dot(row, other);
            row.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
        }
        let length = dot(row, row).sqrt();
        // Below rounding nothing is left of it.
        let scale = if length > 1e-12 * whole { 1.0 / length } else { 0.0 };
        row.iter_mut().for_each(|x| *x *= scale);
    }
}

/// What is put together of rows of some numbers.
pub(super) trait Explains {
    fn explained(&self, rows: &[f32]) -> Result<Vec<f32>, AnalysisError>;
}

impl Explains for Dictionary {
    fn explained(&self, rows: &[f32]) -> Result<Vec<f32>, AnalysisError> {
        let features = self.encode(matrix(rows, self.width()))?;
        Ok(AnyTensor::new(self.decode(features)).to_values()?)
    }
}

/// A mean and some directions.
pub(super) struct Principal<'a> {
    pub(super) mean: &'a [f64],
    pub(super) directions: &'a [f64],
}

impl Explains for Principal<'_> {
    fn explained(&self, rows: &[f32]) -> Result<Vec<f32>, AnalysisError> {
        let width = self.mean.len();
        let each = rows.par_chunks_exact(width).flat_map_iter(|row| {
            let centred: Vec<f64> = row.iter().zip(self.mean).map(|(x, mean)| f64::from(*x) - mean).collect();
            let mut put = self.mean.to_vec();
            for direction in self.directions.chunks_exact(width) {
                let along: f64 = direction.iter().zip(&centred).map(|(a, b)| a * b).sum();
                put.iter_mut().zip(direction).for_each(|(x, d)| *x += along * d);
            }
            put.into_iter().map(|x| x as f32)
        });
        Ok(each.collect())
    }
}

/// Rows as a tensor where dictionaries compute.
fn matrix(rows: &[f32], width: usize) -> Tensor<2> {
    let count = rows.len() / width.max(1);
    Tensor::from_data(TensorData::new(rows.to_vec(), [count, width]), &Device::default())
}

/// The share of what varies that is left unexplained: the sum of squares of what is missed over that of the distance from a mean.
pub(super) fn unexplained(
    (rows, some): (&dyn Rows, &[usize]),
    mean: &[f64],
    by: &dyn Explains,
) -> Result<f64, AnalysisError> {
    let (mut missed, mut all) = (0.0, 0.0);
    by_batch(rows, some, |values| {
        let put = by.explained(values)?;
        for (row, put) in values.chunks_exact(mean.len()).zip(put.chunks_exact(mean.len())) {
            for ((x, put), mean) in row.iter().zip(put).zip(mean) {
                missed += (f64::from(*x) - f64::from(*put)).powi(2);
                all += (f64::from(*x) - mean).powi(2);
            }
        }
        Ok(())
    })?;
    if all > 0.0 {
        return Ok(missed / all);
    }
    Err(input(&CARD, "held-out rows that differ from the mean", "none of them does"))
}

/// A dictionary of directions drawn evenly, each found by itself, around a mean.
pub(super) fn random(
    mean: &[f64],
    features: usize,
    k: usize,
    seed: Seed,
) -> Result<Dictionary, AnalysisError> {
    let width = mean.len();
    let decoder: Vec<f32> = (0..features).flat_map(|at| unit(width, seed.at(at as u64))).collect();
    let encoder = (0..width).flat_map(|at| decoder.iter().skip(at).step_by(width).copied()).collect();
    let weights = Weights {
        width,
        features,
        encoder,
        encoder_bias: vec![0.0; features],
        decoder,
        decoder_bias: mean.iter().map(|x| *x as f32).collect(),
    };
    Dictionary::new(weights, Kept::Largest(k), Of::default())
        .map_err(|error| input(&CARD, "directions", error.to_string()))
}

/// In how many of some rows each feature is active.
pub(super) fn active(
    rows: &dyn Rows,
    some: &[usize],
    dictionary: &Dictionary,
    mut each: impl FnMut(usize) -> Result<(), AnalysisError>,
) -> Result<Vec<u64>, AnalysisError> {
    let mut counts = vec![0; dictionary.features()];
    let mut done = 0;
    by_batch(rows, some, |values| {
        let found = AnyTensor::new(dictionary.encode(matrix(values, rows.width()))?).to_values()?;
        for row in found.chunks_exact(dictionary.features()) {
            for (count, much) in counts.iter_mut().zip(row) {
                *count += u64::from(*much > 0.0);
            }
        }
        done += values.len() / rows.width();
        each(done)
    })?;
    Ok(counts)
}
