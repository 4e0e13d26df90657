//! Values of another run put in at chosen positions, another choice in every row of the batch.

use burn::tensor::{Bool, Tensor, TensorData};
use mmlens_core::{AnyTensor, AxisName, Change, HookError, Plan, Region, Selector, Site};

use crate::reshaped;

/// Row `i` of the batch takes the values of `other` at the positions `places[i]`, all rows in one operation.
///
/// The site has axes `[batch, pos, ...]`; `other` is `[1 or batch, pos, ...]`.
///
/// # Errors
/// While planning none; during the pass [`HookError::Edit`] where rows or shapes do not fit,
/// [`HookError::Index`] for a position past the end.
pub fn put(plan: Plan, site: Site, places: Vec<Vec<usize>>, other: AnyTensor) -> Result<Plan, HookError> {
    plan.edit(site, move |x| {
        let dims = x.dims();
        let [rows, positions] = first_two(site, &dims, &places)?;
        let given = other.dims();
        let fits = given.get(1..) == dims.get(1..) && given.first().is_some_and(|n| *n == 1 || *n == rows);
        if !fits {
            return Err(HookError::Operand { site, holds: dims, given, verb: "put" });
        }
        let rest = dims.iter().skip(2).product();
        let wide = [rows, positions, rest];
        let x = reshaped(x, wide)?;
        let other = reshaped(other.clone(), [given.first().copied().unwrap_or(1), positions, rest])?;
        let chosen = TensorData::new(mask(site, &places, rows, positions)?, [rows, positions, 1]);
        let chosen = Tensor::<3, Bool>::from_data(chosen, &x.device().without_autodiff());
        crate::unfolded(x.mask_where(chosen.expand(wide), other.expand(wide)), &dims)
    })
}

/// In row `i` of the batch nobody but the position itself attends to the positions `places[i]`: their scores
/// become minus infinity, so that the remaining weights still sum to one.
///
/// The sites have axes `[batch, head, query, key]`.
///
/// # Errors
/// [`HookError::Syntax`] if the selector does not parse; during the pass [`HookError::Index`] for a row or a position past the end.
pub fn unattended(mut plan: Plan, scores: &str, places: Vec<Vec<usize>>) -> Result<Plan, HookError> {
    let selector: Selector = scores.parse()?;
    for (row, places) in places.into_iter().enumerate() {
        let edges = Region::all().rows([row]).of(AxisName::Key, places);
        plan = plan.change(selector.clone(), edges, Change::MaskOthers)?;
    }
    Ok(plan)
}

fn first_two(site: Site, dims: &[usize], places: &[Vec<usize>]) -> Result<[usize; 2], HookError> {
    match *dims {
        [rows, positions, _, ..] if rows == places.len() => Ok([rows, positions]),
        _ => {
            let reason = format!("{} rows were prepared for a value of shape {dims:?}", places.len());
            Err(HookError::Edit { site, reason })
        }
    }
}

fn mask(site: Site, places: &[Vec<usize>], rows: usize, positions: usize) -> Result<Vec<bool>, HookError> {
    let mut mask = vec![false; rows * positions];
    for (row, places) in places.iter().enumerate() {
        for &index in places {
            if index >= positions {
                return Err(HookError::Index { site, axis: "pos".to_owned(), index, len: positions });
            }
            if let Some(slot) = mask.get_mut(row * positions + index) {
                *slot = true;
            }
        }
    }
    Ok(mask)
}
