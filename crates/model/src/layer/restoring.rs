//! States of a clean run put back into corrupted ones, place by place: what the methods share that do so.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::Range;

use mmlens_core::finding::{Axis, Modality, Role};
use mmlens_core::{
    AnalysisError, AnyTensor, Card, Copies, HookError, Inputs, Memory, Objective, Part, Plan, Point, Region,
    Seed, Site, Subject, Trace, kind,
};
use mmlens_engine::{Edit, Indices, Measured, Metric, Positions, Progress, Sweep, held, of_range, score};
use serde::{Deserialize, Serialize};

use crate::check::{heads_at, input, setting, window_around};
use crate::sequence::Sequence;

/// Which positions are put back together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Places {
    /// Every one of these by itself.
    Each(Positions),
    /// Pictures, words and markers, each kind as one.
    Modalities,
    /// All positions at once.
    Together,
}

fn all_positions() -> Axis {
    Axis::names(Role::Concept, ["all positions"])
}

impl Default for Places {
    fn default() -> Self {
        Self::Each(Positions::All)
    }
}

impl Places {
    /// The groups of positions, and the axis that names them.
    fn groups(&self, card: &Card, sequence: &Sequence<'_>) -> Result<(Vec<Region>, Axis), AnalysisError> {
        let map = sequence.map();
        match self {
            Self::Each(positions) => {
                let positions = sequence.chosen(positions)?;
                Ok((sequence.regions(&positions), sequence.axis(&positions)))
            }
            Self::Together if sequence.is_tower() => Ok((vec![Region::all()], all_positions())),
            Self::Together => Ok((vec![Region::all().positions(0..map.len())], all_positions())),
            Self::Modalities if sequence.is_tower() => {
                let found = serde_json::to_string(self).unwrap_or_default();
                let expected = "a tower's are each of all, each of some by number, or all together";
                Err(setting(card, "places", found, expected))
            }
            Self::Modalities => {
                let mut groups: BTreeMap<Modality, Vec<usize>> = BTreeMap::new();
                for (position, token) in map.tokens.iter().enumerate() {
                    groups.entry(token.modality).or_default().push(position);
                }
                let names = groups.keys().map(|kind| format!("{kind:?}").to_lowercase());
                let axis = Axis::names(Role::Concept, names);
                Ok((groups.into_values().map(|group| Region::all().positions(group)).collect(), axis))
            }
        }
    }
}

/// Where states are put back.
pub(crate) struct Restoring<'a> {
    pub(crate) card: &'static Card,
    pub(crate) part: Part,
    pub(crate) points: &'a [Point],
    pub(crate) places: &'a Places,
    pub(crate) layers: &'a Indices,
    pub(crate) heads: Option<&'a Indices>,
    /// Over how many layers; of the stream over one, whatever is asked for.
    pub(crate) window: NonZeroUsize,
}

/// What is put back of a point around a layer.
type Centre = Vec<Site>;

/// A subject on inputs.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) subject: &'a dyn Subject,
    pub(crate) inputs: &'a Inputs,
}

/// What became of corrupted runs with states put back.
pub(crate) struct PutBack {
    /// The objective of the clean run.
    pub(crate) at_clean: f32,
    /// For each corrupted run each metric, of every point, layer and group.
    pub(crate) measured: Vec<Vec<Measured>>,
    /// For each corrupted run each metric, of every point and layer: one group, drawn, with what another corrupted run has there.
    pub(crate) exchanged: Vec<Vec<Vec<f32>>>,
}

/// Whether a point is the stream itself, which holds all that was written before.
fn is_stream(point: Point) -> bool {
    use Point::{
        NormalizedResidCross, NormalizedResidMid, NormalizedResidPost, ResidCross, ResidMid, ResidPost,
        ResidPre,
    };
    let streams = [
        ResidPre,
        ResidMid,
        NormalizedResidMid,
        ResidCross,
        NormalizedResidCross,
        ResidPost,
        NormalizedResidPost,
    ];
    streams.contains(&point)
}

impl Restoring<'_> {
    pub(crate) fn layers(&self, subject: &dyn Subject) -> Result<Vec<usize>, AnalysisError> {
        self.layers.chosen(self.card.id, "layers", kind::blocks(subject, self.part))
    }

    /// The layers as an axis.
    pub(crate) fn layer_axis(&self, subject: &dyn Subject) -> Result<Axis, AnalysisError> {
        Ok(Indices::axis(Role::Layer, &self.layers(subject)?, kind::blocks(subject, self.part)))
    }

    /// What is put back, layer by layer for each point.
    fn centres(&self, subject: &dyn Subject) -> Result<Vec<Centre>, AnalysisError> {
        let (layers, blocks) = (self.layers(subject)?, kind::blocks(subject, self.part));
        let of = |point: &Point, layer: usize| {
            let wide = if is_stream(*point) { 1 } else { self.window.get() };
            let around = window_around(layer, wide, blocks);
            around.map(|layer| Site::block(self.part, layer, *point)).collect::<Centre>()
        };
        Ok(self.points.iter().flat_map(|point| layers.iter().map(move |layer| of(point, *layer))).collect())
    }

    /// Every site that is put back, in the order of points and layers, each once.
    pub(crate) fn sites(&self, subject: &dyn Subject) -> Result<Vec<Site>, AnalysisError> {
        let (mut seen, mut sites) = (BTreeSet::new(), Vec::new());
        for centre in self.centres(subject)? {
            sites.extend(centre.into_iter().filter(|site| seen.insert(*site)));
        }
        Ok(sites)
    }

    /// What is put back together at a site, and the axes that name it: groups of positions, of each head if there are heads; of a
    /// subject that has the part.
    pub(crate) fn groups(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
    ) -> Result<(Vec<Region>, Vec<Axis>), AnalysisError> {
        let (groups, places) = self.places(subject, inputs)?;
        let Some(heads) = self.heads else { return Ok((groups, vec![places])) };
        let count = self.heads_there(subject, inputs)?;
        let heads = heads.chosen(self.card.id, "heads", count)?;
        let each = |head: &usize| groups.iter().map(|group| group.clone().heads([*head])).collect::<Vec<_>>();
        Ok((heads.iter().flat_map(each).collect(), vec![Indices::axis(Role::Head, &heads, count), places]))
    }

    /// How many heads the points have.
    fn heads_there(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<usize, AnalysisError> {
        let mut all: Option<(usize, Point)> = None;
        for point in self.points {
            let site = Site::block(self.part, 0, *point);
            let count = heads_at(self.card, subject, inputs, site)?;
            if let Some((other, first)) = all.filter(|(other, _)| *other != count) {
                let found = format!("`{}` has {other}, `{}` {count}", first.name(), point.name());
                return Err(input(self.card, "points with equally many heads", found));
            }
            all = Some((count, *point));
        }
        all.map(|(count, _)| count).ok_or_else(|| input(self.card, "points that have heads", "none is named"))
    }

    /// The groups of positions that are put back together, and the axis that names them.
    fn places(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<(Vec<Region>, Axis), AnalysisError> {
        let point = self.points.first().copied().unwrap_or(Point::ResidPre);
        let sequence = Sequence::of(self.card, subject, inputs, Site::block(self.part, 0, point))?;
        self.places.groups(self.card, &sequence)
    }

    /// Points and layers whose states are held at once, where so many sites fit.
    fn chunks(centres: &[Centre], at_once: usize) -> Vec<Range<usize>> {
        let (mut chunks, mut from, mut sites) = (Vec::new(), 0, BTreeSet::new());
        for (at, centre) in centres.iter().enumerate() {
            let more: BTreeSet<Site> = sites.iter().chain(centre).copied().collect();
            if at > from && more.len() > at_once {
                chunks.push(from..at);
                (from, sites) = (at, centre.iter().copied().collect());
            } else {
                sites = more;
            }
        }
        if from < centres.len() {
            chunks.push(from..centres.len());
        }
        chunks
    }

    /// Rows that [`Restoring::put_back`] passes through the model for so many corrupted runs.
    pub(crate) fn rows(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        (at_once, runs, exchange): (usize, usize, bool),
    ) -> Result<usize, AnalysisError> {
        let (centres, groups) = (self.centres(subject)?, self.groups(subject, inputs)?.0.len());
        let chunks = Self::chunks(&centres, at_once).len();
        let other = usize::from(exchange);
        Ok(1 + chunks * (1 + runs * (1 + other)) + runs * centres.len() * (groups + other))
    }

    /// Puts every state of the clean run back into each of the corrupted ones, and measures what becomes of it. With `exchange`, a
    /// group drawn for every point and layer is also given what the next corrupted run has there.
    pub(crate) fn put_back(
        &self,
        (clean, corrupted): (Run<'_>, &[Run<'_>]),
        (objective, metrics): (&Objective, &[Metric]),
        (memory, at_once): (&Memory, usize),
        exchange: Option<Seed>,
        progress: &mut Progress<'_>,
    ) -> Result<PutBack, AnalysisError> {
        let card = self.card;
        let (groups, _) = self.groups(clean.subject, clean.inputs)?;
        let centres = self.centres(clean.subject)?;
        let read = |run: Run<'_>, sites: &[Site]| -> Result<(Trace, f32), AnalysisError> {
            let plan = reading(sites)?.objective(objective);
            memory.hold(card.id, 0, run.subject.need(run.inputs, &plan, Copies::ONE)?)?;
            let trace = run.subject.run(run.inputs, plan)?;
            let score = score(&trace)?;
            Ok((trace, score))
        };
        // Places that hold the same in both runs bring nothing back, and rounding would be shown as if it did.
        let per_point = centres.len() / self.points.len().max(1);
        let last = centres.chunks(per_point.max(1)).filter_map(|own| own.last()?.last().copied());
        let last: Vec<Site> = last.collect();
        let first = corrupted.first().ok_or_else(|| input(card, "a corrupted run", "there is none"))?;
        let (other, at_corrupted) = read(*first, &last)?;
        let other: BTreeMap<Site, AnyTensor> = last
            .iter()
            .map(|site| Ok((*site, other.get(*site)?.clone())))
            .collect::<Result<_, HookError>>()?;
        let beside: usize = other.values().map(|x| 4 * x.dims().iter().product::<usize>()).sum();
        let (mut differ, mut at_clean) = (false, at_corrupted);
        let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); corrupted.len()];
        let mut exchanged: Vec<Vec<Vec<f32>>> = vec![vec![Vec::new(); metrics.len()]; corrupted.len()];
        for range in Self::chunks(&centres, at_once) {
            let some = of_range(&centres, range.clone())?;
            let sites: BTreeSet<Site> = some.iter().flat_map(|centre| centre.iter().copied()).collect();
            let sites: Vec<Site> = sites.into_iter().collect();
            let (right, score) = read(clean, &sites)?;
            at_clean = score;
            apart(card, objective, (at_clean, at_corrupted))?;
            for (site, other) in other.iter().filter(|(site, _)| sites.contains(site)) {
                differ |= right.get(*site)?.to_values()? != other.to_values()?;
            }
            for (at, run) in corrupted.iter().enumerate() {
                let mut kept = held(&right) + beside as u64;
                let own = some.iter().map(|centre| patches(centre, &right)).collect::<Result<Vec<_>, _>>()?;
                let mut others = Vec::new();
                if let Some(seed) = exchange {
                    let next = corrupted.get((at + 1) % corrupted.len()).unwrap_or(run);
                    let (left, _) = read(*next, &sites)?;
                    kept += held(&left);
                    for (centre, number) in some.iter().zip(range.clone()) {
                        let draw = seed.at(at as u64).at(number as u64).unit();
                        let group = (f64::from(draw) * groups.len() as f64) as usize;
                        if let Some(group) = groups.get(group) {
                            others.push(within(&patches(centre, &left)?, group));
                        }
                    }
                }
                // Made when they are due: of all places together they would take more than a pass.
                let (count, regions) = (own.len() * groups.len() + others.len(), groups.clone());
                let sweep = Sweep::over(vec![Axis::count(Role::Sample, count)], move |point| {
                    let variant = point.first().copied().unwrap_or(0);
                    let each = regions.len().max(1);
                    match (own.get(variant / each), regions.get(variant % each)) {
                        (Some(patches), Some(region)) => within(patches, region),
                        _ => others.get(variant - own.len() * regions.len()).cloned().unwrap_or_default(),
                    }
                });
                let sweep = metrics.iter().fold(sweep, |sweep, metric| sweep.measure(metric.clone()));
                let found = sweep.run(run.subject, run.inputs, &memory.less(kept), progress)?.measured;
                let (Some(own), Some(swapped)) = (measured.get_mut(at), exchanged.get_mut(at)) else {
                    continue;
                };
                for (found, swapped) in found.iter().zip(swapped) {
                    swapped.extend(found.values.iter().skip(some.len() * groups.len()));
                }
                let found = found.into_iter().map(|mut found| {
                    found.values.truncate(some.len() * groups.len());
                    found
                });
                match own.is_empty() {
                    true => *own = found.collect(),
                    false => own.iter_mut().zip(found).for_each(|(all, some)| all.values.extend(some.values)),
                }
            }
        }
        if !differ {
            let found =
                last.first().map_or_else(String::new, |site| format!("both hold the same at `{site}`"));
            return Err(input(card, "two samples that differ in the states patched", found));
        }
        Ok(PutBack { at_clean, measured, exchanged })
    }
}

/// How far the objective of both lies apart, if it tells them apart.
pub(crate) fn apart(
    card: &Card,
    objective: &Objective,
    (at_clean, at_corrupted): (f32, f32),
) -> Result<f64, AnalysisError> {
    let apart = f64::from(at_clean) - f64::from(at_corrupted);
    if apart == 0.0 || !apart.is_finite() {
        let found =
            format!("the {objective} is {at_clean} for the clean and {at_corrupted} for the corrupted one");
        return Err(input(card, "two samples that the objective tells apart", found));
    }
    Ok(apart)
}

/// What another run held at some sites.
fn patches(sites: &[Site], from: &Trace) -> Result<Vec<Edit>, HookError> {
    sites.iter().map(|site| Edit::patch(*site, from)).collect()
}

/// Edits in a region alone.
fn within(edits: &[Edit], region: &Region) -> Vec<Edit> {
    edits.iter().map(|edit| edit.clone().within(region.clone())).collect()
}

fn reading(sites: &[Site]) -> Result<Plan, HookError> {
    sites.iter().try_fold(Plan::new(), |plan, site| plan.read(*site))
}
