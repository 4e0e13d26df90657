//! What a standing edit is in one pass: over these rows, these pictures and these positions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};

use super::Alteration;
use crate::change::check_axes;
use crate::mean::{filled, row_means};
use crate::plan::{ChangeFn, Stood};
use crate::tensor::with_rank;
use crate::{
    AnyTensor, AxisName, Change, Entries, HookError, Inputs, LogitsAt, Part, Point, Region, Site, SiteSpec,
    Unfit,
};

/// Which positions a pass is over.
pub(super) enum Pass<'a> {
    /// Those of the inputs, from one on.
    Over { inputs: &'a Inputs, from: usize },
    /// One of an answer, behind a prompt whose rows begin with so much padding.
    Answer { pads: &'a [usize] },
}

/// A standing edit at one site.
pub(super) struct Standing {
    spec: SiteSpec,
    region: Region,
    change: Change,
    words: String,
}

impl Standing {
    /// An alteration at one of its sites.
    pub(super) fn new(spec: &SiteSpec, alteration: &Alteration) -> Result<Self, HookError> {
        check_axes(spec, alteration.region())?;
        let change = match alteration.change() {
            Change::Add(value) => Change::Add(raised(value, spec.rank())?),
            Change::Set(value) => Change::Set(raised(value, spec.rank())?),
            other => other.clone(),
        };
        let own = Self {
            spec: spec.clone(),
            region: alteration.region().clone(),
            change,
            words: alteration.to_string(),
        };
        if own.region.indices(AxisName::Batch).is_some() {
            return Err(own.unfit(Unfit::NamesRows));
        }
        match &own.change {
            Change::Add(value) | Change::Set(value) => own.takes(value)?,
            Change::Fill(given) => given.values().try_for_each(|value| own.takes(value))?,
            Change::Mean if !own.has_mean() => {
                return Err(HookError::NoMean { site: spec.site, axes: spec.describe() });
            }
            _ => {}
        }
        Ok(own)
    }

    pub(super) fn site(&self) -> Site {
        self.spec.site
    }

    pub(super) fn spec(&self) -> &SiteSpec {
        &self.spec
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    pub(super) fn change(&self) -> &Change {
        &self.change
    }

    pub(super) fn words(&self) -> &str {
        &self.words
    }

    fn unfit(&self, unfit: Unfit) -> HookError {
        HookError::Standing { place: self.site().to_string(), edit: self.words.clone(), unfit }
    }

    /// Whether some value could have the lengths of an operand: those the model fixes, and one row.
    fn takes(&self, value: &AnyTensor) -> Result<(), HookError> {
        let given = value.dims();
        let fits = given.len() == self.spec.rank()
            && self.spec.axes.iter().zip(&given).all(|((axis, fixed), len)| match (axis, fixed) {
                (AxisName::Batch, _) => *len == 1,
                (_, Some(fixed)) => len == fixed || *len == 1,
                _ => *len > 0,
            });
        match fits {
            true => Ok(()),
            false => Err(self.unfit(Unfit::Operand { given, axes: self.spec.describe() })),
        }
    }

    fn has_mean(&self) -> bool {
        self.site().point().is_entrance() || self.spec.axis(AxisName::Pos).is_some_and(|at| at > 0)
    }

    /// Whether it can be made at some positions without those before.
    pub(super) fn resumes_from_suffix(&self) -> bool {
        let whole = matches!(self.change, Change::Mean | Change::With(_));
        self.site().part() != Part::Text || (!whole && self.site().point() != Point::Logits)
    }

    /// Whether it does the same at every position and for every picture and recording, whichever it is.
    pub(super) fn is_alike(&self) -> bool {
        let alike = match &self.change {
            Change::Zero | Change::Scale(_) => true,
            Change::Add(value) | Change::Set(value) => {
                let entries = self.spec.tower().and_then(|_| value.dims().first().copied());
                self.positions_of(value).is_none() && entries.is_none_or(|entries| entries == 1)
            }
            _ => false,
        };
        let named = |axis| self.region.indices(axis).is_some();
        let entries = self.spec.axes.first().is_some_and(|(axis, _)| axis.tower().is_some() && named(*axis));
        alike && !named(AxisName::Pos) && !entries
    }

    /// The axes that count positions of a prompt.
    fn sequence(&self) -> impl Iterator<Item = (usize, AxisName)> + '_ {
        let point = self.site().point();
        let crossed = (Point::CrossQ..=Point::CrossResult).contains(&point);
        let seen = matches!(point, Point::CrossK | Point::CrossV);
        let words = matches!(self.site().part(), Part::Text | Part::Encoder);
        self.spec.axes.iter().enumerate().map(|(at, (axis, _))| (at, *axis)).filter(move |(_, axis)| {
            match axis {
                AxisName::Pos => words && !seen,
                AxisName::Query => words,
                AxisName::Key => words && !crossed,
                _ => false,
            }
        })
    }

    /// The axis along which a pass has the positions that it computes.
    fn computed(&self) -> Option<(usize, AxisName)> {
        self.sequence().find(|(_, axis)| matches!(axis, AxisName::Pos | AxisName::Query))
    }

    /// How many positions of a prompt a value has one entry for, if for each.
    fn positions_of(&self, value: &AnyTensor) -> Option<usize> {
        let dims = value.dims();
        self.sequence().filter_map(|(at, _)| dims.get(at).copied()).find(|len| *len > 1)
    }

    /// The edit in a pass: none where it concerns nothing of it. `apart`: the words of a prompt are positions of an encoder of
    /// their own, and those of the language model are of what it says.
    pub(super) fn local(&self, pass: &Pass<'_>, apart: bool) -> Result<Vec<Stood>, HookError> {
        let local = match pass {
            Pass::Over { inputs, from } => self.over(inputs, *from, apart)?,
            Pass::Answer { pads } => self.in_answer(pads, apart)?,
        };
        let stood = |(region, change)| Stood { site: self.site(), region, change };
        Ok(local.into_iter().map(stood).collect())
    }

    fn over(&self, inputs: &Inputs, from: usize, apart: bool) -> Result<Vec<(Region, Change)>, HookError> {
        let text = self.site().part() == Part::Text;
        let from = if text { from } else { 0 };
        if from > 0 && !self.resumes_from_suffix() {
            return Err(self.unfit(Unfit::SomePositions));
        }
        let (region, change) = self.of_pictures(inputs)?;
        // Of the logits the last position alone may be asked for.
        let logits =
            text && self.site().point() == Point::Logits && inputs.logits_at == LogitsAt::Last && !apart;
        let first = if logits { inputs.positions().saturating_sub(1) } else { from };
        let change = self.behind_known(change, inputs, first, apart)?;
        let rows = self.regions(&region, inputs, first, apart)?;
        let local = |region: Region| {
            let change = self.bound(&change, &region, Some(inputs));
            (region, change)
        };
        Ok(rows.into_iter().map(local).collect())
    }

    fn in_answer(&self, pads: &[usize], apart: bool) -> Result<Vec<(Region, Change)>, HookError> {
        // What shows pictures, or reads the question, is behind.
        if self.site().part() != Part::Text {
            return Ok(Vec::new());
        }
        let named = |(_, axis): (usize, AxisName)| self.region.indices(axis).is_some();
        if self.computed().is_some_and(named) {
            return Ok(Vec::new());
        }
        let several = match &self.change {
            Change::Add(value) | Change::Set(value) => self.positions_of(value),
            Change::Fill(given) => given.values().find_map(|value| self.positions_of(value)),
            Change::Mean | Change::With(_) => return Err(self.unfit(Unfit::SomePositions)),
            _ => None,
        };
        if let Some(positions) = several {
            return Err(self.unfit(Unfit::Answer { positions }));
        }
        let change = self.bound(&self.change, &self.region, None);
        let shifts: BTreeSet<usize> = pads.iter().copied().collect();
        let keys = self
            .region
            .indices(AxisName::Key)
            .filter(|_| self.sequence().any(|(_, axis)| axis == AxisName::Key));
        let (Some(keys), false) = (keys, apart) else { return Ok(vec![(self.region.clone(), change)]) };
        let of = |shift: &usize| {
            let rows = (0..pads.len()).filter(|row| pads.get(*row) == Some(shift));
            let region = self.region.clone().of(AxisName::Key, keys.iter().map(|key| key + shift));
            (if shifts.len() > 1 { region.rows(rows) } else { region }, change.clone())
        };
        Ok(shifts.iter().map(of).collect())
    }

    /// Pictures and recordings are counted within their row; a pass counts those of the batch.
    fn of_pictures(&self, inputs: &Inputs) -> Result<(Region, Change), HookError> {
        let (mut region, mut change) = (self.region.clone(), self.change.clone());
        let entries = self.spec.tower().and_then(|tower| inputs.entries(tower));
        let (Some(entries), Some(axis)) = (entries, self.spec.axes.first().map(|(axis, _)| *axis)) else {
            return Ok((region, change));
        };
        if self.spec.apart().is_none() {
            // One sequence of all pictures, whose entries nothing tells apart.
            return match self.looks_apart() && differs(entries) {
                true => Err(self.unfit(Unfit::Packed)),
                false => Ok((region, change)),
            };
        }
        if entries.is_empty() {
            return Ok((region, change));
        }
        let owners = entries.owners();
        let within: Vec<usize> =
            owners.iter().enumerate().map(|(entry, owner)| owner.map_or(entry, |(_, own)| own)).collect();
        let shown = within.iter().max().map_or(0, |most| most + 1);
        let missing = |index: usize| self.unfit(Unfit::Picture { index, shown });
        if let Some(named) = self.region.indices(axis) {
            if let Some(index) = named.iter().copied().find(|index| *index >= shown) {
                return Err(missing(index));
            }
            let entries =
                within.iter().enumerate().filter(|(_, own)| named.contains(own)).map(|(entry, _)| entry);
            region = region.of(axis, entries);
        }
        let gathered = |value: &AnyTensor| match value.dims().first() {
            Some(&given) if given > 1 => match given < shown {
                true => Err(missing(given)),
                false => picked(value, &within),
            },
            _ => Ok(value.clone()),
        };
        change = match &change {
            Change::Add(value) => Change::Add(gathered(value)?),
            Change::Set(value) => Change::Set(gathered(value)?),
            Change::Fill(given) => {
                let each = given.iter().map(|(content, value)| Ok((*content, gathered(value)?)));
                Change::Fill(each.collect::<Result<_, HookError>>()?)
            }
            other => other.clone(),
        };
        Ok((region, change))
    }

    /// Whether it treats positions of a tower differently.
    fn looks_apart(&self) -> bool {
        let several = |value: &AnyTensor| {
            self.spec.axis(AxisName::Pos).is_some_and(|at| value.dims().get(at) > Some(&1))
        };
        match &self.change {
            Change::With(_) => true,
            Change::Add(value) | Change::Set(value) if several(value) => true,
            Change::Fill(given) if given.values().any(several) => true,
            _ => [AxisName::Pos, AxisName::Query, AxisName::Key]
                .iter()
                .any(|axis| self.region.indices(*axis).is_some()),
        }
    }

    /// Of a value with an entry for every position those from one on.
    fn behind_known(
        &self,
        change: Change,
        inputs: &Inputs,
        first: usize,
        apart: bool,
    ) -> Result<Change, HookError> {
        let positions = inputs.positions();
        let cut = |value: AnyTensor| {
            let Some(several) = self.positions_of(&value) else { return Ok(value) };
            if !apart && inputs.pads.iter().any(|pad| *pad > 0) {
                return Err(self.unfit(Unfit::Padded { positions: several }));
            }
            match self.computed() {
                Some((at, _)) if first > 0 && value.dims().get(at) == Some(&positions) => {
                    value.part(at, first, positions - first)
                }
                _ => Ok(value),
            }
        };
        Ok(match change {
            Change::Add(value) => Change::Add(cut(value)?),
            Change::Set(value) => Change::Set(cut(value)?),
            Change::Fill(given) => {
                let each = given.into_iter().map(|(content, value)| Ok((content, cut(value)?)));
                Change::Fill(each.collect::<Result<_, HookError>>()?)
            }
            other => other,
        })
    }

    /// The region by the positions of a pass, for rows that begin with the same padding; none where the pass computes none of
    /// its positions.
    fn regions(
        &self,
        region: &Region,
        inputs: &Inputs,
        first: usize,
        apart: bool,
    ) -> Result<Vec<Region>, HookError> {
        let named: Vec<AxisName> =
            self.sequence().map(|(_, axis)| axis).filter(|axis| region.indices(*axis).is_some()).collect();
        if named.is_empty() {
            return Ok(vec![region.clone()]);
        }
        let pads = |row: usize| match (apart, self.site().part()) {
            (true, Part::Text) => 0,
            _ => inputs.pads.get(row).copied().unwrap_or(0),
        };
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for row in 0..inputs.rows() {
            groups.entry(pads(row)).or_default().push(row);
            let tail = inputs.tails.get(row).copied().unwrap_or(0);
            let length = inputs.positions().saturating_sub(pads(row) + tail);
            let beyond =
                |axis: &AxisName| region.indices(*axis)?.iter().copied().find(|index| *index >= length);
            // How many words an answer has so far, an encoder of questions does not tell.
            if let (false, Some(index)) = (apart, named.iter().find_map(beyond)) {
                return Err(self.unfit(Unfit::Position { index, row, length }));
            }
        }
        let several = groups.len() > 1;
        let of_group = |(pad, rows): (usize, Vec<usize>)| {
            let mut own = region.clone();
            for axis in &named {
                let from = if *axis == AxisName::Key { 0 } else { first };
                let indices = region.indices(*axis).unwrap_or_default();
                let indices: Vec<usize> =
                    indices.iter().filter_map(|index| (index + pad).checked_sub(from)).collect();
                if indices.is_empty() {
                    return None;
                }
                own = own.of(*axis, indices);
            }
            Some(if several { own.rows(rows) } else { own })
        };
        Ok(groups.into_iter().filter_map(of_group).collect())
    }

    /// What looks at more than one entry, told what a pass is over, and kept from looking at other rows.
    fn bound(&self, change: &Change, region: &Region, inputs: Option<&Inputs>) -> Change {
        let (spec, inputs) = (self.spec.clone(), inputs.cloned());
        match change {
            Change::Mean => Change::With(Arc::new(move |x| row_means(&spec, x, inputs.as_ref()))),
            Change::Fill(given) => {
                let (given, positions) = (given.clone(), region.indices(AxisName::Pos).map(<[_]>::to_vec));
                Change::With(Arc::new(move |x| {
                    filled(&spec, x, &given, positions.as_deref(), inputs.as_ref())
                }))
            }
            Change::With(change) => {
                let change = change.clone();
                Change::With(Arc::new(move |x| row_by_row(&spec, x, &change)))
            }
            other => other.clone(),
        }
    }
}

/// A value of fewer axes has the last ones.
fn raised(value: &AnyTensor, rank: usize) -> Result<AnyTensor, HookError> {
    let missing = rank.saturating_sub(value.rank());
    match missing {
        0 => Ok(value.clone()),
        _ => value.shaped(value.to_values()?, &[vec![1; missing], value.dims()].concat()),
    }
}

/// Whether rows show other entries than the first.
fn differs(entries: &Entries) -> bool {
    entries.of_rows.iter().any(|own| Some(own) != entries.of_rows.first())
}

/// Entries of the first axis, in this order.
fn picked(value: &AnyTensor, entries: &[usize]) -> Result<AnyTensor, HookError> {
    let entries: Vec<i64> = entries.iter().map(|entry| *entry as i64).collect();
    with_rank!(value.clone(), x => {
        let (count, device) = (entries.len(), x.device().without_autodiff());
        let entries = Tensor::<1, Int>::from_data(TensorData::new(entries, [count]), &device);
        AnyTensor::new(x.select(0, entries))
    })
}

/// A closure on each entry of the first axis by itself.
fn row_by_row(spec: &SiteSpec, x: AnyTensor, change: &ChangeFn) -> Result<AnyTensor, HookError> {
    let rows = x.dims().first().copied().unwrap_or(0);
    if rows <= 1 {
        return change(x);
    }
    let mut changed = Vec::with_capacity(rows);
    for row in 0..rows {
        let own = x.rows(row, 1)?;
        let (from, made) = (own.dims(), change(own)?);
        if made.dims() != from {
            return Err(HookError::Reshaped { site: spec.site, from, to: made.dims() });
        }
        changed.push(made);
    }
    with_rank!(x, x => joined(&x, changed, spec.site))?
}

fn joined<const D: usize>(_: &Tensor<D>, rows: Vec<AnyTensor>, site: Site) -> Result<AnyTensor, HookError> {
    let rows: Result<Vec<Tensor<D>>, HookError> = rows.into_iter().map(|row| row.rank_of(site)).collect();
    Ok(Tensor::cat(rows?, 0).into())
}
