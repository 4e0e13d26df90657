//! Edits that take directions off every vector of a site: all of their span, or what points along one.

use std::sync::Arc;

use mmlens_files::sha256;

use super::Alteration;
use super::alteration::moderate;
use crate::{AnyTensor, Change, HookError, Region, Selector};

/// A direction of which less than this share is left, once those before it are taken off, lies in their span.
const LEAST: f64 = 1e-8;

/// Directions at right angles and of length one that span what some directions span, in their order.
///
/// # Errors
/// [`HookError::Values`] for directions of several lengths, or numbers that are not finite; [`HookError::NoOutput`] if they span nothing.
pub fn orthonormal(directions: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, HookError> {
    let width = directions.first().map_or(0, Vec::len);
    let mut span: Vec<Vec<f64>> = Vec::new();
    for direction in directions {
        if direction.len() != width || direction.iter().any(|x| !x.is_finite()) {
            return Err(HookError::Values { dims: vec![width], given: direction.len() });
        }
        let whole = product(direction, direction).sqrt();
        let mut own = direction.clone();
        // Twice, for the digits that are lost where little is left.
        for _ in 0..2 {
            for other in &span {
                let along = product(&own, other);
                own.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
            }
        }
        let left = product(&own, &own).sqrt();
        if left > LEAST * whole {
            own.iter_mut().for_each(|x| *x /= left);
            span.push(own);
        }
    }
    if span.is_empty() { Err(HookError::NoOutput("the span of directions".to_owned())) } else { Ok(span) }
}

fn product(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

impl Alteration {
    /// Every vector along the last axis of a site less its projection on the span of some directions.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse; as [`orthonormal`].
    pub fn without<S>(places: S, region: Region, directions: &[Vec<f64>]) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        let (print, span) = (printed(directions), orthonormal(directions)?);
        let width = directions.first().map_or(0, Vec::len);
        let change = by_vector(width, move |x, change| {
            change.copy_from_slice(x);
            for direction in &span {
                let along = product(x, direction);
                change.iter_mut().zip(direction).for_each(|(x, d)| *x -= along * d);
            }
        });
        Ok(Self::told(places.try_into()?, region, change, format!("without:{print}"), print))
    }

    /// Every vector along the last axis of a site that points along a direction `t` at all, `p = x . t / t . t > 0`, less `weight` times `p t` (ProjectAway).
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse, [`HookError::Large`]; as [`orthonormal`].
    pub fn away<S>(places: S, region: Region, direction: &[f64], weight: f64) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        let print = printed(&[direction.to_vec()]);
        moderate([weight as f32])?;
        orthonormal(&[direction.to_vec()])?;
        let (direction, square) = (direction.to_vec(), product(direction, direction));
        let change = by_vector(direction.len(), move |x, change| {
            let along = product(x, &direction) / square;
            let by = if along > 0.0 { weight * along } else { 0.0 };
            change.iter_mut().zip(x.iter().zip(&direction)).for_each(|(to, (x, d))| *to = x - by * d);
        });
        Ok(Self::told(places.try_into()?, region, change, format!("away:{print}*{weight}"), print))
    }
}

/// A change of every vector along the last axis by itself, in double precision on the host.
fn by_vector(width: usize, change: impl Fn(&[f64], &mut [f64]) + Send + Sync + 'static) -> Change {
    Change::With(Arc::new(move |x: AnyTensor| {
        let found = x.dims().last().copied().unwrap_or(0);
        if found != width {
            return Err(HookError::Values { dims: vec![found], given: width });
        }
        let mut values = x.to_values()?;
        let (mut before, mut after) = (vec![0.0; width], vec![0.0; width]);
        for row in values.chunks_mut(width) {
            before.iter_mut().zip(row.iter()).for_each(|(to, x)| *to = f64::from(*x));
            change(&before, &mut after);
            row.iter_mut().zip(&after).for_each(|(to, x)| *to = *x as f32);
        }
        x.filled(values)
    }))
}

/// `[2, 6] sha256 0123456789ab`.
fn printed(directions: &[Vec<f64>]) -> String {
    let bytes: Vec<u8> = directions.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    let hash: String = sha256(&bytes).chars().take(12).collect();
    format!("[{}, {}] sha256 {hash}", directions.len(), directions.first().map_or(0, Vec::len))
}
