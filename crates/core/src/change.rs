//! Changing the chosen part of a value.

use std::ops::Range;

use burn::tensor::{Bool, Tensor, TensorData};

use crate::mean::{batch_means, filled};
use crate::tensor::with_rank;
use crate::{AnyTensor, AxisName, Change, HookError, Inputs, Region, Site, SiteSpec, Strip};

/// The score of a pair that must not attend: the lowest finite f32, so that masked rows stay free of NaN.
pub const MASKED: f32 = f32::MIN;

/// Whether a site has the axes a region names, and indices where their length is known.
pub(crate) fn check_axes(spec: &SiteSpec, region: &Region) -> Result<(), HookError> {
    for (axis, indices) in &region.chosen {
        let Some(at) = spec.axis(*axis) else {
            let (axes, axis) = (spec.describe(), axis.name().to_owned());
            return Err(HookError::NoAxis { site: spec.site, axes, axis });
        };
        if let Some((_, Some(len))) = spec.axes.get(at) {
            check_indices(spec.site, *axis, indices, *len)?;
        }
    }
    Ok(())
}

/// The value of a site with a region changed, in a pass over some inputs, where they are known. Of scores, `strip` says where
/// those given lie, if they are not all.
pub(crate) fn apply(
    spec: &SiteSpec,
    x: AnyTensor,
    region: &Region,
    change: &Change,
    inputs: Option<&Inputs>,
    strip: Option<&Strip>,
) -> Result<AnyTensor, HookError> {
    let dims = x.dims();
    let part = Part::of(spec, &dims, region)?;
    let wrong =
        |given: Vec<usize>, verb| HookError::Operand { site: spec.site, holds: dims.clone(), given, verb };
    let operand = |value: &AnyTensor, verb: &'static str| {
        let given = value.dims();
        let fits = given.len() == dims.len() && given.iter().zip(&dims).all(|(g, d)| g == d || *g == 1);
        if fits { value.beside(&x) } else { Err(wrong(given, verb)) }
    };
    match change {
        Change::With(change) => {
            let changed = change(x.clone())?;
            let to = changed.dims();
            if to != dims {
                return Err(HookError::Reshaped { site: spec.site, from: dims, to });
            }
            if region.is_all() {
                return Ok(changed);
            }
            with_rank!(x, x => part.put(x, changed, spec.site))?
        }
        Change::Zero => with_rank!(x, x => part.map(x, |x, _| x.zeros_like())),
        Change::Scale(by) => with_rank!(x, x => part.map(x, |x, _| x.mul_scalar(*by))),
        Change::Add(value) => {
            let value = operand(value, "added")?;
            with_rank!(x, x => {
                let value = value.rank_of(spec.site)?;
                Ok(part.map(x, |x, cell| x + cut(&value, cell)))
            })?
        }
        Change::Set(value) => {
            let value = operand(value, "set")?;
            with_rank!(x, x => part.put(x, value, spec.site))?
        }
        Change::Mean => {
            let means = batch_means(spec, x.clone(), inputs)?;
            with_rank!(x, x => part.put(x, means, spec.site))?
        }
        Change::Fill(given) => {
            let positions = region.indices(AxisName::Pos);
            let given = filled(spec, x.clone(), given, positions, inputs)?;
            with_rank!(x, x => part.put(x, given, spec.site))?
        }
        Change::Mask => {
            let masked = with_rank!(x, x => part.map(x, |x, _| x.full_like(MASKED)))?;
            check_rows(spec, &masked, region, strip.map_or(0, |strip| strip.queries.start))?;
            Ok(masked)
        }
        Change::MaskOthers => {
            let axis = |axis: AxisName| {
                let (site, axes, name) = (spec.site, spec.describe(), axis.name().to_owned());
                spec.axis(axis).ok_or(HookError::NoAxis { site, axes, axis: name })
            };
            let axes = [axis(AxisName::Query)?, axis(AxisName::Key)?];
            // With cached positions, queries are the last of the keys.
            let [high, wide] = axes.map(|axis| dims.get(axis).copied().unwrap_or(0));
            let before = match strip {
                None => [wide.saturating_sub(high), 0],
                Some(Strip { queries, keys, of: [_, high, wide], .. }) => {
                    [queries.start + wide.saturating_sub(*high), keys.start]
                }
            };
            with_rank!(x, x => part.map(x, |x, cell| {
                let others = others(&x, cell, axes, before);
                x.mask_fill(others, MASKED)
            }))
        }
    }
}

pub(crate) fn check_indices(
    site: Site,
    axis: AxisName,
    indices: &[usize],
    len: usize,
) -> Result<(), HookError> {
    match indices.iter().find(|i| **i >= len) {
        Some(&index) => Err(HookError::Index { site, axis: axis.name().to_owned(), index, len }),
        None => Ok(()),
    }
}

type Cell = Vec<Range<usize>>;

/// A region of a value of known lengths.
enum Part {
    /// Rectangles that do not overlap: each is cut out, changed and put back, and the rest is not touched.
    Cells(Vec<Cell>),
    /// Too many of them: which entries of the smallest rectangle around them all, row-major.
    Mask(Vec<bool>, Cell),
}

/// Beyond so many rectangles, one mask over all of them is cheaper.
const CELLS: usize = 64;

impl Part {
    fn of(spec: &SiteSpec, dims: &[usize], region: &Region) -> Result<Self, HookError> {
        let mut around: Cell = dims.iter().map(|len| 0..*len).collect();
        let mut kept = vec![None; dims.len()];
        for (axis, indices) in &region.chosen {
            let Some(at) = spec.axis(*axis) else { continue };
            let len = dims.get(at).copied().unwrap_or(0);
            check_indices(spec.site, *axis, indices, len)?;
            let mut keep = vec![false; len];
            indices.iter().filter_map(|i| keep.get_mut(*i).map(|slot| *slot = true)).count();
            if let (Some(slot), Some(around)) = (kept.get_mut(at), around.get_mut(at)) {
                let first = keep.iter().position(|keep| *keep).unwrap_or(0);
                *around = first..keep.iter().rposition(|keep| *keep).map_or(first, |last| last + 1);
                *slot = Some(keep);
            }
        }
        let mut cells: Vec<Cell> = vec![Vec::new()];
        for (keep, all) in kept.iter().zip(&around) {
            let runs = keep.as_ref().map_or_else(|| vec![all.clone()], |keep| runs(keep));
            if cells.len() * runs.len() > CELLS {
                return Ok(Self::Mask(mask(&around, &kept), around));
            }
            cells = cells
                .iter()
                .flat_map(|cell| {
                    runs.iter().map(move |run| [cell.as_slice(), std::slice::from_ref(run)].concat())
                })
                .collect();
        }
        Ok(Self::Cells(cells))
    }

    /// Every cell changed, given what it holds and where it lies.
    fn map<const D: usize>(
        &self,
        x: Tensor<D>,
        change: impl Fn(Tensor<D>, &[Range<usize>]) -> Tensor<D>,
    ) -> AnyTensor {
        let within =
            |x: &Tensor<D>, cell: &Cell| cell.iter().zip(x.dims()).all(|(run, len)| *run == (0..len));
        AnyTensor::new(match self {
            Self::Cells(cells) => match cells.as_slice() {
                [cell] if within(&x, cell) => change(x, cell),
                cells => cells.iter().fold(x, |x, cell| {
                    let at = slices::<D>(cell);
                    let changed = change(x.clone().slice(at.clone()), cell);
                    x.slice_assign(at, changed)
                }),
            },
            Self::Mask(mask, around) => {
                let device = x.device().without_autodiff();
                let change = |x: Tensor<D>| {
                    let mask = Tensor::<D, Bool>::from_data(TensorData::new(mask.clone(), x.dims()), &device);
                    let changed = change(x.clone(), around);
                    x.mask_where(mask, changed)
                };
                match within(&x, around) {
                    true => change(x),
                    false => {
                        let at = slices::<D>(around);
                        let changed = change(x.clone().slice(at.clone()));
                        x.slice_assign(at, changed)
                    }
                }
            }
        })
    }

    /// Every cell replaced by what `value` holds there.
    fn put<const D: usize>(
        &self,
        x: Tensor<D>,
        value: AnyTensor,
        site: Site,
    ) -> Result<AnyTensor, HookError> {
        let value: Tensor<D> = value.rank_of(site)?;
        Ok(self.map(x, |x, cell| x.zeros_like() + cut(&value, cell)))
    }
}

/// What a value holds at a cell of a larger one; axes of length 1 stay as they are.
fn cut<const D: usize>(value: &Tensor<D>, cell: &[Range<usize>]) -> Tensor<D> {
    let dims = value.dims();
    let at: Cell =
        cell.iter().zip(dims).map(|(run, len)| if len == 1 { 0..1 } else { run.clone() }).collect();
    if at.iter().zip(dims).all(|(run, len)| *run == (0..len)) {
        return value.clone();
    }
    value.clone().slice(slices::<D>(&at))
}

fn slices<const D: usize>(cell: &[Range<usize>]) -> [Range<usize>; D] {
    std::array::from_fn(|axis| cell.get(axis).cloned().unwrap_or_default())
}

/// The longest runs of what is kept.
fn runs(keep: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
        match runs.last_mut() {
            Some(run) if run.end == i => run.end += 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// Which entries within a rectangle are kept.
fn mask(around: &[Range<usize>], kept: &[Option<Vec<bool>>]) -> Vec<bool> {
    let mut mask = vec![true; around.iter().map(Range::len).product()];
    for (at, keep) in kept.iter().enumerate().filter_map(|(at, keep)| Some((at, keep.as_ref()?))) {
        let inner: usize = around.iter().skip(at + 1).map(Range::len).product();
        let Some(keep) = around.get(at).and_then(|run| keep.get(run.clone())) else { continue };
        for (i, slot) in mask.iter_mut().enumerate() {
            *slot &= keep.get(i / inner.max(1) % keep.len().max(1)).copied().unwrap_or(false);
        }
    }
    mask
}

/// Which entries of a cell of scores are edges between two positions.
fn others<const D: usize>(
    x: &Tensor<D>,
    cell: &[Range<usize>],
    [query, key]: [usize; 2],
    [query_before, key_before]: [usize; 2],
) -> Tensor<D, Bool> {
    let from = |axis: usize| cell.get(axis).map_or(0, |run| run.start);
    let dims = x.dims();
    let mut shape = [1; D];
    let mut apart = Vec::new();
    if let (Some(high), Some(wide)) = (dims.get(query).copied(), dims.get(key).copied()) {
        let edge = |i: usize| {
            from(query) + query_before + i / wide.max(1) != from(key) + key_before + i % wide.max(1)
        };
        apart.extend((0..high * wide).map(edge));
        shape.iter_mut().enumerate().for_each(|(axis, len)| {
            if axis == query || axis == key {
                *len = dims.get(axis).copied().unwrap_or(1);
            }
        });
    }
    let device = x.device().without_autodiff();
    Tensor::<D, Bool>::from_data(TensorData::new(apart, shape), &device).expand(dims)
}

/// Every masked query must keep a key. `before` queries come before those given.
fn check_rows(spec: &SiteSpec, x: &AnyTensor, region: &Region, before: usize) -> Result<(), HookError> {
    let mut rows = region.clone();
    rows.chosen.remove(&AxisName::Key);
    let dims = x.dims();
    let cells = match Part::of(spec, &dims, &rows)? {
        Part::Cells(cells) => cells,
        Part::Mask(_, around) => vec![around],
    };
    let first = |cell: &Cell| cell.iter().rev().nth(1).map_or(0..1, Clone::clone);
    for cell in cells {
        let scores = with_rank!(x.clone(), x => AnyTensor::new(cut(&x, &cell)))?.to_values()?;
        let (queries, keys) = (first(&cell), dims.last().copied().unwrap_or(1).max(1));
        for (row, scores) in scores.chunks(keys).enumerate() {
            let query = queries.start + row % queries.len().max(1);
            let chosen = region.chosen.get(&AxisName::Query).is_none_or(|q| q.contains(&query));
            if chosen && scores.iter().all(|s| *s <= MASKED / 2.0) {
                return Err(HookError::NothingLeft { site: spec.site, query: before + query });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::{AxisName, Point};

    const AXES: [AxisName; 3] = [AxisName::Batch, AxisName::Pos, AxisName::DModel];

    fn subset(len: usize) -> impl Strategy<Value = Option<Vec<usize>>> {
        proptest::option::of(proptest::collection::vec(0..len, 0..=len))
    }

    fn case() -> impl Strategy<Value = ([usize; 3], Vec<Option<Vec<usize>>>)> {
        (1..4_usize, 1..6_usize, 1..90_usize).prop_flat_map(|(b, p, d)| {
            (Just([b, p, d]), (subset(b), subset(p), subset(d)).prop_map(|(b, p, d)| vec![b, p, d]))
        })
    }

    fn tensor(dims: &[usize], scale: f32) -> AnyTensor {
        let values = (0..dims.iter().product::<usize>()).map(|i| scale * (i as f32 + 1.0)).collect();
        AnyTensor::from_values(values, dims, &Device::flex()).unwrap_or_else(|e| panic!("{e}"))
    }

    proptest! {
        /// Scattered indices make many rectangles, and beyond `CELLS` a mask: both give what is reckoned entry by entry.
        #[test]
        fn exactly_the_region_changes((dims, chosen) in case()) {
            let spec = SiteSpec::new(Site::of(crate::Part::Text, Point::Input), AXES.map(|axis| (axis, None)));
            let region = AXES.iter().zip(&chosen).fold(Region::all(), |region, (axis, chosen)| match chosen {
                Some(indices) => region.of(*axis, indices.iter().copied()),
                None => region,
            });
            let x = tensor(&dims, 1.0);
            let (full, row) = (tensor(&dims, -3.0), tensor(&[1, dims[1], 1], 0.5));
            let before = x.to_values()?;
            let operand = full.to_values()?;
            let inside = |i: usize| {
                let place = [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
                chosen.iter().zip(place).all(|(chosen, at)| chosen.as_ref().is_none_or(|c| c.contains(&at)))
            };
            let broadcast = |i: usize| 0.5 * ((i / dims[2] % dims[1]) as f32 + 1.0);
            type Expected<'a> = Box<dyn Fn(usize) -> f32 + 'a>;
            let expected: [(Change, Expected<'_>); 6] = [
                (Change::Zero, Box::new(|_| 0.0)),
                (Change::Scale(-2.0), Box::new(|i| -2.0 * before[i])),
                (Change::Set(full.clone()), Box::new(|i| operand[i])),
                (Change::Set(row.clone()), Box::new(broadcast)),
                (Change::Add(row), Box::new(|i| before[i] + broadcast(i))),
                (Change::With(std::sync::Arc::new(move |_| Ok(full.clone()))), Box::new(|i| operand[i])),
            ];
            for (change, value) in expected {
                let after = apply(&spec, x.clone(), &region, &change, None, None)?.to_values()?;
                for (i, got) in after.iter().enumerate() {
                    prop_assert_eq!(*got, if inside(i) { value(i) } else { before[i] }, "{:?} at {}", change, i);
                }
            }
        }
    }
}
