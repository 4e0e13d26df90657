//! What a site holds, as an objective.

use std::fmt;

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::Output;
use super::output::Kept;
use crate::change::check_axes;
use crate::tensor::with_rank;
use crate::{AnyTensor, AxisName, HookError, Inputs, Region, Site, SiteSpec};

/// What a site holds, after edits, as an objective: the sum over a region of it, or what of the region points in a direction.
///
/// A region of one neuron at one position is that neuron; of the coordinates of a head and a direction among them, how far the
/// head points there. Positions are counted from the start of the (padded) sequence, pictures within the row that shows them.
///
/// ```
/// use mmlens_core::{Objective, Reading, Region};
/// let neuron = Reading::at("text.blocks.2.mlp.post".parse()?).within(Region::all().neurons([5]).positions([7]));
/// let objective = Objective::from(neuron);
/// assert_eq!(objective.to_string(), "`text.blocks.2.mlp.post[pos=7,neuron=5]`");
/// # Ok::<(), mmlens_core::HookError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    site: Site,
    #[serde(default, skip_serializing_if = "Region::is_all")]
    region: Region,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    direction: Option<Vec<f32>>,
}

/// Why a site cannot be an objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Rows of the batch are named.
    #[error("an objective has a value for every row, so that its region names no rows")]
    NamesRows,
    /// A direction of another length.
    #[error("the direction has {found} numbers, the last axis {expected}")]
    Direction {
        /// Its length.
        found: usize,
        /// That of the last axis, or of what the region leaves of it.
        expected: usize,
    },
    /// A pass over some positions alone.
    #[error("the pass goes on from some positions alone, and has nothing of the others")]
    SomePositions,
    /// All pictures in one sequence, which rows do not share.
    #[error("all pictures are one sequence there, and rows show different ones")]
    Packed,
    /// A picture that a row does not show.
    #[error("picture {index} is named, but row {row} shows {shown}")]
    Picture {
        /// Which.
        index: usize,
        /// The row.
        row: usize,
        /// How many it shows.
        shown: usize,
    },
    /// Values that do not belong to a row each.
    #[error("its values do not belong to a row each, and there are {rows}")]
    NoRows {
        /// Rows of the batch.
        rows: usize,
    },
}

impl Reading {
    /// All that a site holds, added up.
    #[must_use]
    pub fn at(site: Site) -> Self {
        Self { site, region: Region::all(), direction: None }
    }

    /// A region of it.
    #[must_use]
    pub fn within(self, region: Region) -> Self {
        Self { region, ..self }
    }

    /// What of it points in a direction: every vector along the last axis (what the region leaves of it) times these numbers.
    #[must_use]
    pub fn along(self, direction: Vec<f32>) -> Self {
        Self { direction: Some(direction), ..self }
    }

    /// Where.
    #[must_use]
    pub fn site(&self) -> Site {
        self.site
    }

    /// Which part of it.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The direction, if there is one.
    #[must_use]
    pub fn direction(&self) -> Option<&[f32]> {
        self.direction.as_deref()
    }

    fn unreadable(&self, why: Unreadable) -> HookError {
        HookError::Unreadable { reading: self.to_string(), why }
    }

    pub(super) fn check(&self, published: &[SiteSpec]) -> Result<(), HookError> {
        let spec = published.iter().find(|spec| spec.site == self.site);
        let spec = spec.ok_or(HookError::Unpublished(self.site))?;
        let pictures = spec.axes.first() == Some(&(AxisName::Image, None));
        // Which pictures a row shows is known in the pass.
        let region = match pictures {
            true => self.region.without(AxisName::Image),
            false => self.region.clone(),
        };
        check_axes(spec, &region)?;
        if self.region.indices(AxisName::Batch).is_some() {
            return Err(self.unreadable(Unreadable::NamesRows));
        }
        match spec.axes.last() {
            Some((_, Some(length))) => self.fits(*length),
            _ => Ok(()),
        }
        .and_then(|()| match spec.axes.last() {
            Some((axis, _)) => self.region.indices(*axis).map_or(Ok(()), |own| self.fits(own.len())),
            None => Ok(()),
        })
    }

    /// Whether the direction fits a last axis of a length, of which the region leaves nothing out.
    fn fits(&self, expected: usize) -> Result<(), HookError> {
        match self.direction.as_ref().map(Vec::len) {
            Some(found) if found != expected => {
                Err(self.unreadable(Unreadable::Direction { found, expected }))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn score(&self, output: &Output) -> Result<Tensor<1>, HookError> {
        let Kept { spec, value, rows } = output.kept_of(self.site)?;
        let named = |axis| self.region.indices(axis);
        match rows {
            Rows::First => self.added(spec, value, None, &self.region),
            Rows::Entries(own) => {
                let each = self.added(spec, value, None, &self.region.without(AxisName::Image))?;
                let chosen = named(AxisName::Image);
                let own = own.iter().enumerate().map(|(row, own)| match chosen {
                    None => Ok(own.clone()),
                    Some(chosen) => {
                        let entry = |index: &usize| {
                            let (index, shown) = (*index, own.len());
                            own.get(index)
                                .copied()
                                .ok_or_else(|| self.unreadable(Unreadable::Picture { index, row, shown }))
                        };
                        chosen.iter().map(entry).collect()
                    }
                });
                by_row(each, &own.collect::<Result<Vec<_>, _>>()?)
            }
            Rows::Packed(own) => {
                let rows = own.len();
                let alike = own.iter().all(|other| Some(other) == own.first());
                match spec.axis(AxisName::Pos) {
                    Some(at) => {
                        let each = self.added(spec, value, Some(at), &self.region.without(AxisName::Pos))?;
                        let chosen = named(AxisName::Pos);
                        let own = own.iter().map(|own| match chosen {
                            None => Ok(own.clone()),
                            Some(chosen) => {
                                let place = |index: &usize| {
                                    let (index, len) = (*index, own.len());
                                    let axis = AxisName::Pos.name().to_owned();
                                    let outside = HookError::Index { site: self.site, axis, index, len };
                                    own.get(index).copied().ok_or(outside)
                                };
                                chosen.iter().map(place).collect()
                            }
                        });
                        by_row(each, &own.collect::<Result<Vec<_>, _>>()?)
                    }
                    None if alike => {
                        let one = self.added(spec, value, None, &self.region)?.sum();
                        Ok(one.expand([rows]))
                    }
                    None => Err(self.unreadable(Unreadable::Packed)),
                }
            }
            Rows::Whole(1) => Ok(self.added(spec, value, None, &self.region)?.sum()),
            Rows::Whole(rows) => Err(self.unreadable(Unreadable::NoRows { rows: *rows })),
        }
    }

    /// A region of a value, times the direction, added up over all axes but one: the first, if none is named.
    fn added(
        &self,
        spec: &SiteSpec,
        value: &AnyTensor,
        left: Option<usize>,
        region: &Region,
    ) -> Result<Tensor<1>, HookError> {
        check_axes(spec, region)?;
        let left = left.unwrap_or(0);
        with_rank!(value.clone(), x => self.added_of(spec, x, left, region))?
    }

    fn added_of<const D: usize>(
        &self,
        spec: &SiteSpec,
        mut x: Tensor<D>,
        left: usize,
        region: &Region,
    ) -> Result<Tensor<1>, HookError> {
        let device = x.device().without_autodiff();
        for (axis, indices) in &region.chosen {
            let Some(at) = spec.axis(*axis) else { continue };
            let len = x.dims().get(at).copied().unwrap_or_default();
            if let Some(&index) = indices.iter().find(|index| **index >= len) {
                return Err(HookError::Index { site: self.site, axis: axis.name().to_owned(), index, len });
            }
            let indices: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
            let count = indices.len();
            x = x.select(at, Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &device));
        }
        let dims = x.dims();
        if let Some(direction) = &self.direction {
            self.fits(dims[D - 1])?;
            let shape: [usize; D] = std::array::from_fn(|axis| if axis + 1 == D { dims[axis] } else { 1 });
            let direction = TensorData::new(direction.clone(), shape);
            x = x * Tensor::<D>::from_data(direction, &device);
        }
        let kept = dims[left];
        let x = x.swap_dims(0, left);
        Ok(x.reshape([kept as i32, -1]).sum_dim(1).squeeze_dim(1))
    }
}

/// For each row the sum over its own entries.
fn by_row(each: Tensor<1>, own: &[Vec<usize>]) -> Result<Tensor<1>, HookError> {
    let [entries] = each.dims();
    let mut belongs = vec![0.0_f32; own.len() * entries];
    for (row, own) in own.iter().enumerate() {
        for entry in own {
            let place = belongs.get_mut(row * entries + entry).filter(|_| *entry < entries);
            let index = *entry;
            *place.ok_or(HookError::Objective { what: "image", index, len: entries })? += 1.0;
        }
    }
    let device = each.device().without_autodiff();
    let belongs = Tensor::<2>::from_data(TensorData::new(belongs, [own.len(), entries]), &device);
    Ok(belongs.matmul(each.unsqueeze_dim(1)).squeeze_dim(1))
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}{}`", self.site, self.region)?;
        if self.direction.is_some() { f.write_str(" along a direction") } else { Ok(()) }
    }
}

/// Which entries of a value belong to which row of the batch.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// One of the first axis each.
    First,
    /// Those of the first axis that are a row's pictures.
    Entries(Vec<Vec<usize>>),
    /// All pictures are one sequence: the positions that are a row's.
    Packed(Vec<Vec<usize>>),
    /// Nothing says; so many rows there are.
    Whole(usize),
}

impl Rows {
    /// Of a value in a pass over some inputs; without them it is one row, unless the site has an axis of rows.
    pub(crate) fn of(spec: &SiteSpec, dims: &[usize], inputs: Option<&Inputs>) -> Self {
        let Some((first, fixed)) = spec.axes.first() else {
            return Self::Whole(inputs.map_or(1, |inputs| inputs.rows()));
        };
        match (first, fixed, inputs) {
            (AxisName::Batch, None, _) => Self::First,
            (AxisName::Image, None, Some(inputs)) => Self::Entries(inputs.images.clone()),
            (_, _, Some(inputs)) if !inputs.grids.is_empty() => {
                let length =
                    spec.axis(AxisName::Pos).and_then(|at| dims.get(at)).copied().unwrap_or_default();
                Self::Packed(packed(inputs, length))
            }
            (_, _, inputs) => Self::Whole(inputs.map_or(1, |inputs| inputs.rows())),
        }
    }
}

/// For each row the positions of its pictures in the sequence of all of them.
fn packed(inputs: &Inputs, length: usize) -> Vec<Vec<usize>> {
    let sizes: Vec<usize> = inputs.grids.iter().map(|grid| grid.frames * grid.rows * grid.cols).collect();
    // As many patches as were merged into one position.
    let merged = (sizes.iter().sum::<usize>() / length.max(1)).max(1);
    let mut starts = Vec::with_capacity(sizes.len());
    let mut from = 0;
    for size in &sizes {
        starts.push(from..from + size / merged);
        from += size / merged;
    }
    let of_row =
        |own: &Vec<usize>| own.iter().filter_map(|entry| starts.get(*entry).cloned()).flatten().collect();
    inputs.images.iter().map(of_row).collect()
}
