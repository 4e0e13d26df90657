//! What a site holds, as an objective.

use std::fmt;

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::Output;
use super::output::Kept;
use crate::change::{check_axes, check_indices};
use crate::tensor::with_rank;
use crate::{AxisName, HookError, Inputs, Region, Site, SiteSpec};

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
        let spec = SiteSpec::among(published, self.site)?;
        // Which pictures a row shows, and which recordings it plays, is known in the pass.
        let region = match spec.apart() {
            Some(axis) => self.region.without(axis),
            None => self.region.clone(),
        };
        check_axes(spec, &region)?;
        if self.region.indices(AxisName::Batch).is_some() {
            return Err(self.unreadable(Unreadable::NamesRows));
        }
        let left = spec
            .axes
            .last()
            .and_then(|(axis, length)| self.region.indices(*axis).map(<[_]>::len).or(*length));
        left.map_or(Ok(()), |left| self.fits(left))
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
        let added =
            |left, region: &Region| with_rank!(value.clone(), x => self.added(spec, x, left, region))?;
        match rows {
            Rows::First => added(0, &self.region),
            Rows::Own { axis, at, entries } => {
                let each = added(*at, &self.region.without(*axis))?;
                let chosen = self.region.indices(*axis);
                let own = entries.iter().map(|own| match chosen {
                    None => Ok(own.clone()),
                    Some(chosen) => {
                        check_indices(self.site, *axis, chosen, own.len())?;
                        Ok(chosen.iter().filter_map(|index| own.get(*index).copied()).collect())
                    }
                });
                by_row(each, &own.collect::<Result<Vec<_>, HookError>>()?)
            }
            Rows::Whole { rows, alike } if *alike || *rows == 1 => {
                Ok(added(0, &self.region)?.sum().expand([*rows]))
            }
            Rows::Whole { rows, .. } => Err(self.unreadable(Unreadable::NoRows { rows: *rows })),
        }
    }

    /// A region of a value, times the direction, added up over all axes but one.
    fn added<const D: usize>(
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
            check_indices(self.site, *axis, indices, len)?;
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
    /// Of an axis, and where it stands, for each row its own: its pictures, or their positions in the sequence of all pictures.
    Own { axis: AxisName, at: usize, entries: Vec<Vec<usize>> },
    /// Nothing tells them apart; so many rows there are, and whether pictures are one sequence there and all rows show the same ones.
    Whole { rows: usize, alike: bool },
}

impl Rows {
    /// Of a value in a pass over some inputs; without them it is one row, unless the site has an axis of rows.
    pub(crate) fn of(spec: &SiteSpec, dims: &[usize], inputs: Option<&Inputs>) -> Self {
        if spec.axes.first() == Some(&(AxisName::Batch, None)) {
            return Self::First;
        }
        let Some(inputs) = inputs else { return Self::Whole { rows: 1, alike: true } };
        let own = |axis, at, entries| Self::Own { axis, at, entries };
        let seen = spec.tower().or_else(|| inputs.towers().next()).and_then(|tower| inputs.entries(tower));
        let seen = seen.unwrap_or(&inputs.seen);
        match (spec.apart(), spec.axis(AxisName::Pos)) {
            (Some(axis), _) => own(axis, 0, seen.of_rows.clone()),
            (_, Some(at)) if !seen.grids.is_empty() => {
                let places = seen.in_sequence(dims.get(at).copied().unwrap_or_default());
                let of_row = |own: &Vec<usize>| {
                    own.iter().filter_map(|entry| places.get(*entry).cloned()).flatten().collect()
                };
                own(AxisName::Pos, at, seen.of_rows.iter().map(of_row).collect())
            }
            _ => {
                let same = |own: &Vec<usize>| Some(own) == seen.of_rows.first();
                let alike = !seen.grids.is_empty() && seen.of_rows.iter().all(same);
                Self::Whole { rows: inputs.rows(), alike }
            }
        }
    }
}
