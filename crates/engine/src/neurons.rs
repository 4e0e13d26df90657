//! Neurons over a data set, or features of a dictionary: what all of them hold, row by row and case by case, in one pass for each case.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;

use mmlens_core::finding::{Axis, Role};
use mmlens_core::{
    AnalysisError, AxisName, Cases, Copies, Cost, HookError, Inputs, Memory, Need, On, Part, Plan, Point,
    Seed, Site, SiteSpec, kind,
};
use serde::{Deserialize, Serialize};

use crate::{
    Held, Indices, Positions, Progress, numbers, of_range, row_count, row_width, rows_at, rows_shown,
};

/// The neurons of some layers, or the features of a dictionary there, and the positions at which they are looked at.
#[derive(Debug, Clone)]
pub struct Neurons {
    sites: Vec<Site>,
    layers: Vec<usize>,
    blocks: usize,
    /// What they are: [`AxisName::Neuron`] or [`AxisName::Feature`].
    axis: AxisName,
    /// How many a layer has.
    all: usize,
    /// Those of a layer that are looked at, by number.
    chosen: Vec<usize>,
    positions: Positions,
}

impl Neurons {
    /// The neurons of a part at a point that has them, or the features of dictionaries, where that is the point (`resid_post.sae.features`). All layers
    /// are those that have the point; a point outside the blocks is one layer, and called by its name.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for a layer past the end, or named of a point outside the blocks; [`AnalysisError::Input`] for a point without neurons or
    /// features, or layers of which one has more than another; [`HookError::NoSuchSite`].
    pub fn of(
        (on, method): (&On<'_>, &'static str),
        (part, point): (Part, Point),
        layers: &Indices,
        positions: &Positions,
    ) -> Result<Self, AnalysisError> {
        let refused = |needs: &'static str, found: String| {
            Err(AnalysisError::Input { method, needs: needs.into(), found })
        };
        let (layers, blocks, sites) = placed((on, method), (part, point), layers)?;
        let (mut all, mut axis) = (0, AxisName::Neuron);
        for site in &sites {
            let (own, _) = row_width((on, method), *site, positions)?;
            let spec = SiteSpec::among(on.subject().sites(), *site)?;
            let counted =
                [AxisName::Neuron, AxisName::Feature].into_iter().find(|axis| spec.axis(*axis).is_some());
            let Some(counted) = counted else {
                return refused("a point that has neurons", format!("`{site}` has {}", spec.describe()));
            };
            if all != 0 && own != all {
                let called = counted.name();
                return refused("layers of one width", format!("one has {all} {called}s, another {own}"));
            }
            (all, axis) = (own, counted);
        }
        Ok(Self {
            sites,
            layers,
            blocks,
            axis,
            all,
            chosen: (0..all).collect(),
            positions: positions.clone(),
        })
    }

    /// Of every layer only these.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for none, or a number past the end. `setting` is what the method calls them.
    pub fn only(
        self,
        method: &'static str,
        setting: &'static str,
        some: &Indices,
    ) -> Result<Self, AnalysisError> {
        Ok(Self { chosen: some.chosen(method, setting, self.all)?, ..self })
    }

    /// Whether they are features of a dictionary, which are zero wherever they are not active.
    pub fn are_features(&self) -> bool {
        self.axis == AxisName::Feature
    }

    /// Where they are read.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Which layers they are of.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// How many of a layer are looked at.
    pub fn width(&self) -> usize {
        self.chosen.len()
    }

    /// How many are looked at in all.
    pub fn len(&self) -> usize {
        self.width() * self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Layers, and neurons of each.
    pub fn axes(&self) -> [Axis; 2] {
        let outside = self.sites.first().filter(|site| site.block_index().is_none());
        let layer = match outside {
            Some(site) => Axis::names(Role::Layer, [site.point().name()]),
            None => Indices::axis(Role::Layer, &self.layers, self.blocks),
        };
        let role = if self.are_features() { Role::Feature } else { Role::Neuron };
        [layer, Indices::axis(role, &self.chosen, self.all)]
    }

    /// One of them by its number among all that are looked at, layer after layer.
    pub fn named(&self, unit: usize) -> NeuronAt {
        let width = self.width().max(1);
        NeuronAt {
            layer: self.layers.get(unit / width).copied().unwrap_or(self.blocks),
            neuron: self.chosen.get(unit % width).copied().unwrap_or(self.all),
        }
    }

    /// Where the exemplar of a row stands: rows of a case at these positions.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Layers, in ranges of which half of the memory holds what is kept, so many bytes of each.
    pub fn chunks(&self, memory: &Memory, each: u64) -> Vec<Range<usize>> {
        let fit = (memory.left() / 2 / each.max(1)).max(1) as usize; // no NaN: whole numbers
        let fit = NonZeroUsize::new(fit.min(self.layers.len())).unwrap_or(NonZeroUsize::MIN);
        crate::batches(self.layers.len(), fit).collect()
    }

    /// Reads some of the layers in every case, and shows what they hold: the case, the layer by its place among those chosen, and its rows.
    /// So many bytes are `kept` meanwhile. A step is a case.
    ///
    /// # Errors
    /// [`AnalysisError::Memory`]; whatever a pass or `see` reports; [`AnalysisError::Cancelled`].
    ///
    /// # Cost
    /// One pass for each case; more where not all of the layers fit beside one another.
    pub fn scan(
        &self,
        (on, method): (&On<'_>, &'static str),
        data: &dyn Cases,
        (layers, kept): (Range<usize>, u64),
        progress: &mut Progress<'_>,
        see: &mut dyn FnMut(usize, usize, &Held) -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        for case in 0..data.len() {
            let inputs = on.subject().encode(&data.case(case)?.sample)?;
            let fit = self.fit((on, method), &inputs, &layers, kept)?.0;
            for some in crate::batches(layers.len(), fit) {
                let some = layers.start + some.start..layers.start + some.end;
                let asked: Vec<(Site, Positions)> = of_range(&self.sites, some.clone())?
                    .iter()
                    .map(|site| (*site, self.positions.clone()))
                    .collect();
                for (layer, held) in some.zip(rows_at((on, method), &inputs, &asked)?) {
                    see(case, layer, &self.those(held))?;
                }
            }
            progress.advance(1)?;
        }
        Ok(())
    }

    /// Rows with those that are looked at alone.
    fn those(&self, held: Held) -> Held {
        if self.chosen.len() == self.all {
            return held;
        }
        let own =
            |row: &[f32]| self.chosen.iter().filter_map(|at| row.get(*at).copied()).collect::<Vec<f32>>();
        let values = held.rows().flat_map(own).collect();
        Held { values, width: self.chosen.len(), ..held }
    }

    /// How many of some layers fit into a pass, and what it takes then.
    fn fit(
        &self,
        (on, method): (&On<'_>, &'static str),
        inputs: &Inputs,
        layers: &Range<usize>,
        kept: u64,
    ) -> Result<(NonZeroUsize, u64), AnalysisError> {
        let subject = on.subject();
        let need = |count: usize| -> Result<Need, HookError> {
            // The last of them: a pass to those is as long as any.
            let some = of_range(&self.sites, layers.end.saturating_sub(count)..layers.end)?;
            let plan = some.iter().try_fold(Plan::new(), |plan, site| plan.read(*site))?;
            // A copy on the host, and the rows that are chosen.
            Ok(subject.need(inputs, &plan, Copies::ONE)?.and(2 * numbers(subject, inputs, some)?))
        };
        let most = NonZeroUsize::new(layers.len()).unwrap_or(NonZeroUsize::MIN);
        let fit = on.memory().most(method, kept, most, need)?;
        Ok((fit, need(fit.get())?.bytes))
    }

    /// Rows through the model, bytes at once, and rows that are looked at, of scans over some ranges of layers with so much kept of each.
    ///
    /// # Errors
    /// As [`Neurons::scan`], as far as it can be told before a pass.
    ///
    /// # Cost
    /// Every case is encoded.
    pub fn cost(
        &self,
        (on, method): (&On<'_>, &'static str),
        data: &dyn Cases,
        scans: &[(Range<usize>, u64)],
    ) -> Result<Cost, AnalysisError> {
        let (mut rows, mut most) = (0, 0_u64);
        for case in 0..data.len() {
            let inputs = on.subject().encode(&data.case(case)?.sample)?;
            if let Some(site) = self.sites.first() {
                // That it has such positions.
                rows_shown((on, method), &inputs, *site, &self.positions)?;
            }
            for (layers, kept) in scans {
                let (fit, bytes) = self.fit((on, method), &inputs, layers, *kept)?;
                rows += inputs.rows() * layers.len().div_ceil(fit.get());
                most = most.max(kept.saturating_add(bytes)); // no NaN: whole numbers
            }
        }
        Ok(Cost::rows(rows).taking(most, on.memory().budget()))
    }

    /// How many rows all cases have at these positions.
    ///
    /// # Errors
    /// As [`row_count`].
    ///
    /// # Cost
    /// Every case is encoded.
    pub fn rows(
        &self,
        (on, method): (&On<'_>, &'static str),
        data: &dyn Cases,
    ) -> Result<usize, AnalysisError> {
        let Some(site) = self.sites.first() else { return Ok(0) };
        let each = (0..data.len()).map(|case| {
            let inputs = on.subject().encode(&data.case(case)?.sample)?;
            row_count((on, method), &inputs, *site, &self.positions)
        });
        each.sum()
    }
}

/// Which layers a point is looked at in, of how many, and its sites.
fn placed(
    (on, method): (&On<'_>, &'static str),
    (part, point): (Part, Point),
    layers: &Indices,
) -> Result<(Vec<usize>, usize, Vec<Site>), AnalysisError> {
    if !point.in_block() {
        if let Indices::At(some) = layers {
            let found = format!("{some:?}, of `{}`", Site::of(part, point));
            let expected = "none of a point outside the blocks";
            return Err(AnalysisError::Setting { method, setting: "layers", found, expected });
        }
        return Ok((vec![0], 1, vec![Site::of(part, point)]));
    }
    let blocks = kind::blocks(on.subject(), part);
    let mut chosen = layers.chosen(method, "layers", blocks)?;
    let has = |layer: &usize| kind::has(on.subject(), Site::block(part, *layer, point));
    // Where no layer has it, the first is refused, with the nearest name.
    if *layers == Indices::All && chosen.iter().any(has) {
        chosen.retain(has);
    }
    let sites = chosen.iter().map(|layer| Site::block(part, *layer, point)).collect();
    Ok((chosen, blocks, sites))
}

/// A neuron, or a feature, by its layer and its number there, written `3.17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NeuronAt {
    /// The layer.
    pub layer: usize,
    /// Its number in the layer.
    pub neuron: usize,
}

impl NeuronAt {
    /// The neurons that a table of texts names, each in front of a colon, if there is one: such as `neurons` of a finding.
    ///
    /// # Errors
    /// [`NoNeuron`].
    pub fn listed<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Self>, NoNeuron> {
        let one =
            |text: &S| Self::try_from(text.as_ref().split(':').next().unwrap_or_default().trim().to_owned());
        texts.iter().map(one).collect()
    }
}

/// What is no neuron.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no neuron; expected its layer and its number, such as 3.17")]
pub struct NoNeuron(String);

impl std::fmt::Display for NeuronAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.layer, self.neuron)
    }
}

impl From<NeuronAt> for String {
    fn from(at: NeuronAt) -> Self {
        at.to_string()
    }
}

impl TryFrom<String> for NeuronAt {
    type Error = NoNeuron;

    fn try_from(text: String) -> Result<Self, NoNeuron> {
        let parts = text.split_once('.').and_then(|(layer, neuron)| {
            Some(Self { layer: layer.parse().ok()?, neuron: neuron.parse().ok()? })
        });
        parts.ok_or(NoNeuron(text))
    }
}

/// A value, and the case and the row where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// The value.
    pub value: f32,
    /// The case.
    pub case: u32,
    /// The row of the site.
    pub place: u32,
}

/// The largest values of many units, largest first; of equal ones the one that came first.
#[derive(Debug, Clone)]
pub struct Largest {
    count: usize,
    units: Vec<Vec<Seen>>,
}

impl Largest {
    /// So many of each of so many units.
    pub fn new(units: usize, count: usize) -> Self {
        Self { count, units: vec![Vec::new(); units] }
    }

    /// Bytes that one takes at most.
    pub fn bytes(units: usize, count: usize) -> u64 {
        let each = size_of::<Vec<Seen>>() + (count + 1) * size_of::<Seen>();
        units as u64 * each as u64
    }

    /// Takes a value into account.
    pub fn offer(&mut self, unit: usize, seen: Seen) {
        let Some(own) = self.units.get_mut(unit) else { return };
        let kept = |other: &Seen| other.value >= seen.value;
        if own.len() == self.count && own.last().is_none_or(kept) {
            return;
        }
        let at = own.partition_point(kept);
        own.insert(at, seen);
        own.truncate(self.count);
    }

    /// Those of each unit.
    pub fn units(&self) -> &[Vec<Seen>] {
        &self.units
    }
}

/// Which of many rows stand for all: as many as there is room for, drawn without replacement. Row `i` is drawn the number
/// `seed.at(i)`, and those with the smallest are kept.
#[derive(Debug, Clone)]
pub struct RowSample {
    seed: Seed,
    room: usize,
    rows: u64,
    kept: BTreeMap<(u64, u64), usize>,
}

impl RowSample {
    /// Room for so many rows.
    pub fn new(room: usize, seed: Seed) -> Self {
        Self { seed, room, rows: 0, kept: BTreeMap::new() }
    }

    /// The next row: which of the places it takes, if it takes one.
    pub fn next_row(&mut self) -> Option<usize> {
        let row = self.rows;
        self.rows += 1;
        let own = (self.seed.at(row).value(), row);
        let place = match self.kept.len() < self.room {
            true => self.kept.len(),
            false => {
                let (last, place) = self.kept.last_key_value().map(|(last, place)| (*last, *place))?;
                if last < own {
                    return None;
                }
                self.kept.remove(&last);
                place
            }
        };
        self.kept.insert(own, place);
        Some(place)
    }

    /// Rows that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Rows there were.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// A quantile of sorted values, between two of them in proportion: at place `q (n - 1)`, counted from 0. `None` of no values.
pub fn quantile<A: Copy + Into<f64>>(sorted: &[A], q: f64) -> Option<f64> {
    let place = q * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    let (low, high): (f64, f64) = ((*low).into(), (*high).into());
    Some(low + (high - low) * (place - place.floor()))
}

/// `0 .. count` in an order that follows from a seed: by the number `seed.at(i)` of each.
pub fn shuffled(count: usize, seed: Seed) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|at| (seed.at(*at as u64).value(), *at));
    order
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_of_equal_ones_the_earlier() {
        let mut top = Largest::new(2, 3);
        for (at, value) in [1.0, 5.0, 5.0, -2.0, 7.0, 5.0].into_iter().enumerate() {
            top.offer(1, Seen { value, case: at as u32, place: 0 });
        }
        let cases: Vec<u32> = top.units()[1].iter().map(|seen| seen.case).collect();
        assert_eq!(cases, [4, 1, 2]);
        assert!(top.units()[0].is_empty());
    }

    #[test]
    fn a_sample_is_all_while_there_is_room_and_then_the_smallest_draws() {
        let (room, seed) = (4, Seed(3));
        let mut sample = RowSample::new(room, seed);
        let mut held = vec![None; room];
        for row in 0..50_u64 {
            let place = sample.next_row();
            if row < room as u64 {
                assert_eq!(place, Some(row as usize));
            }
            if let Some(place) = place {
                held[place] = Some(row);
            }
        }
        let mut wanted: Vec<u64> = (0..50).collect();
        wanted.sort_by_key(|row| seed.at(*row).value());
        wanted.truncate(room);
        wanted.sort_unstable();
        let mut held: Vec<u64> = held.into_iter().map(Option::unwrap).collect();
        held.sort_unstable();
        assert_eq!((held, sample.rows(), sample.len()), (wanted, 50, 4));
    }

    #[test]
    fn layers_are_looked_at_as_many_at_a_time_as_half_of_the_memory_holds() {
        let layers: Vec<usize> = (0..5).collect();
        let (sites, axis, positions) = (Vec::new(), AxisName::Neuron, Positions::All);
        let neurons = Neurons { sites, layers, blocks: 5, axis, all: 2, chosen: vec![0, 1], positions };
        let of = |bytes, each| neurons.chunks(&Memory::bytes(bytes), each);
        assert_eq!(of(100, 20), [0..2, 2..4, 4..5]);
        assert_eq!((of(1000, 20), of(1, 20).len()), (std::iter::once(0..5).collect::<Vec<_>>(), 5));
        let names = [0, 3, 9].map(|unit| neurons.named(unit).to_string());
        assert_eq!(names, ["0.0", "1.1", "4.1"]);
        let few = neurons.only("exemplars", "units", &Indices::At(vec![1])).unwrap();
        assert_eq!((few.len(), few.named(3).to_string()), (5, "3.1".to_owned()));
        let said = few.only("exemplars", "units", &Indices::At(vec![2])).unwrap_err().to_string();
        assert_eq!(said, "exemplars: units = 2, of 2, but numbers from 0 that the model has");
    }

    #[test]
    fn quantiles_lie_between_values_in_proportion() {
        let sorted = [1.0, 2.0, 4.0];
        let of = |q| quantile(&sorted, q).unwrap();
        // 0.25 * 2 = 0.5: half way from 1 to 2; 0.75 * 2 = 1.5: half way from 2 to 4
        assert_eq!([of(0.0), of(0.25), of(0.5), of(0.75), of(1.0)], [1.0, 1.5, 2.0, 3.0, 4.0]);
        assert_eq!(quantile::<f32>(&[], 0.5), None);
    }

    #[test]
    fn neurons_are_read_as_they_are_written() {
        let at = NeuronAt { layer: 3, neuron: 17 };
        assert_eq!((at.to_string().as_str(), NeuronAt::try_from("3.17".to_owned())), ("3.17", Ok(at)));
        let said = NeuronAt::try_from("3.x".to_owned()).unwrap_err().to_string();
        assert_eq!(said, "`3.x` is no neuron; expected its layer and its number, such as 3.17");
        let mut order = shuffled(9, Seed(2));
        assert_ne!(order, (0..9).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..9).collect::<Vec<_>>());
    }
}
