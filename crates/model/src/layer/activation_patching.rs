//! Activation patching: which state, put back into a run that goes wrong, brings the answer back?
//!
//! # Idea
//! A clean and a corrupted prompt of equal length give the objective `f` the values `f_clean` and
//! `f_corrupted`. With the value of one place of the clean run (a site at layer `l`, position `n`) put into the
//! corrupted run, it becomes `f_l,n`:
//!
//! ```text
//! effect    = f_l,n - f_corrupted
//! recovered = (f_l,n - f_corrupted) / (f_clean - f_corrupted)
//! ```
//!
//! `recovered` is 1 where the place carries all of the difference, 0 where it carries nothing.
//!
//! # In and out
//! In: a [`Pair`]; the objective is settled by the clean case. Out, for every point `P` such as `resid_pre`:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `P` | layer, token | ratio | recovered |
//! | `P/effect` | layer, token | objective | the effect |
//! | `P/patched` | layer, token | objective | `f_l,n` |
//! | `P by answer token` | answer, layer, token | ratio | of each token of an answer its effect, as a share of `f_clean - f_corrupted` of the whole |
//! | `clean`, `corrupted` | | objective | `f_clean`, `f_corrupted` |
//! | `corrupted tokens` | token | | what the corrupted prompt has at each position |
//! | `cautions` | rank | text | that `f_clean` is below `f_corrupted`; only where it is |
//!
//! Tokens are those of the clean prompt, or of a tower its class token and patches. With groups of positions the axis holds their names instead.
//! With `heads` the tables have a third axis between these: layer, head, token.
//!
//! # Settings
//! - `part`: by default the language model, `text`, and the tower where there is none or an encoder of its own reads the words; or a
//!   tower or an encoder of questions, by its name. Positions of a tower are those of its own
//!   sequence, picture by picture and tile by tile: patches, and a class token where it has one.
//! - `points`: [`Point::ResidPre`]; also [`Point::AttnOut`] and [`Point::MlpOut`], and any other point of a
//!   block whose axes are `[batch, pos, ...]`.
//! - `places`: every position by itself ([`Places::Each`]); all positions that hold pictures or words together
//!   ([`Places::Modalities`]); all at once ([`Places::Together`]). Of a tower each of all or of some by number, or all at once.
//! - `layers`: all, or some by number ([`Indices`]).
//! - `heads`: `None`, so that a value is put back whole; all or some by number are put back one by one, at points that have heads, such
//!   as [`Point::Z`].
//! - `rows`: 32 patches share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! # Cost
//! One pass for the clean and one for the corrupted prompt, then `points x layers x heads x positions` passes (heads only where they are asked for), each
//! from the layer it patches on and, where the subject goes on from some positions alone, from the first position it
//! patches on: on average a quarter of the language model, and the tower where it is patched. Peak memory: the streams of both runs, keys and
//! values of one, and `rows` copies of a stream.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no points, a point twice or outside blocks, no rows. Running:
//! [`AnalysisError::Input`] for states that are the same in both runs, prompts of different length or with pictures at different positions, an
//! objective that both answer alike, several rows, a position past the end, heads of points that have none or not equally many; [`AnalysisError::Setting`] for a layer or
//! head past the end; [`AnalysisError::Subject`] for a
//! point the subject does not have; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Effects hold for this pair: another corruption asks another question (Zhang, Nanda 2024, "Towards Best
//!   Practices of Activation Patching in Language Models").
//! - Redundant routes hide one another: with one patched, the other still carries the corrupted answer (Wang et
//!   al. 2023, "Interpretability in the Wild"; McGrath et al. 2023, "The Hydra Effect").
//! - The stream carries everything that passes by: a large effect at `resid_pre` says that information is
//!   there, not that this layer made it.
//! - Where the clean and the corrupted objective lie close together, `recovered` divides by little; read
//!   `P/effect`.
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a`, another picture and another question, two objectives: largest
//! difference relative to the largest value 2.2e-6 patched, 1.8e-6 recovered. Identities tested: all positions
//! of one depth of the stream give the clean run; no position gives the corrupted one; the same for any `rows`.
//!
//! # Reference
//! Meng, Bau, Andonian, Belinkov: Locating and Editing Factual Associations in GPT. NeurIPS 2022.
//! <https://arxiv.org/abs/2202.05262>. There the corruption is noise on embeddings; here it is another prompt,
//! as in Golovanevsky et al.: What Do VLMs NOTICE? NAACL 2025. <https://arxiv.org/abs/2406.16320>.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Pair};
//! use mmlens_model::{ActivationPatching, activation_patching::{Places, Settings}};
//! # fn explain(subject: &dyn mmlens_core::Subject, pair: &Pair) -> Result<(), mmlens_core::AnalysisError> {
//! let method = ActivationPatching::new(Settings { places: Places::Modalities, ..Settings::default() })?;
//! let finding = method.run(subject, pair)?;
//! println!("{:?}", finding.table("resid_pre")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labelled, Modality, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, AxisName, Capability, Card, Copies, Cost, HookError, Inputs,
    Leaf, Objective, On, Pair, Part, Plan, Point, Region, Site, SiteSpec, Subject, TokenMap, Trace, kind,
};
use mmlens_engine::{
    Edit, Indices, Measured, Positions, Progress, Spoken, Sweep, held, label, one_row, score,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pair::Opened;
use crate::check::{at_least_one, fit_at_once, heads_at, input, part_with_blocks, points_of_blocks, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "activation-patching",
    short: "patching",
    name: "Activation patching",
    question: "Which state, put back into a run that goes wrong, brings the answer back?",
    citation: "Meng, Bau, Andonian, Belinkov: Locating and Editing Factual Associations in GPT. NeurIPS 2022. https://arxiv.org/abs/2202.05262",
    leaf: Leaf::Layer,
    cost: "2 forward + points x layers (x heads) x positions forward from the layer on, in batches, without the tower",
    needs: &[Capability::AnyBlocks],
    misleads: &[
        "Effects hold for this pair of prompts.",
        "Redundant routes hide one another.",
        "A large effect in the stream says that information is there, not that this layer made it.",
    ],
    first: true,
};

/// Which positions are patched together.
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
    fn groups(&self, map: &TokenMap) -> Result<(Vec<Region>, Axis), AnalysisError> {
        let (groups, axis) = match self {
            Self::Each(positions) => {
                let positions = positions.chosen(CARD.id, map)?;
                let axis = label::token_axis_at(map, &positions);
                (positions.into_iter().map(|p| vec![p]).collect(), axis)
            }
            Self::Modalities => {
                let mut groups: BTreeMap<Modality, Vec<usize>> = BTreeMap::new();
                for (position, token) in map.tokens.iter().enumerate() {
                    groups.entry(token.modality).or_default().push(position);
                }
                let axis =
                    Axis::names(Role::Concept, groups.keys().map(|kind| format!("{kind:?}").to_lowercase()));
                (groups.into_values().collect::<Vec<_>>(), axis)
            }
            Self::Together => (vec![(0..map.len()).collect()], all_positions()),
        };
        Ok((groups.into_iter().map(|group| Region::all().positions(group)).collect(), axis))
    }

    /// The same of a tower, which has positions of its own at a site, for each of its pictures.
    fn groups_of_tower(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        site: Site,
    ) -> Result<(Vec<Region>, Axis), AnalysisError> {
        let dims = subject.dims(inputs, site)?;
        let spec = SiteSpec::among(subject.sites(), site)?;
        let length = spec.axis(AxisName::Pos).and_then(|at| dims.get(at)).copied();
        let length =
            length.ok_or_else(|| input(&CARD, "points with positions", format!("`{site}` has none")))?;
        let pictures = match (spec.axes.first(), dims.first()) {
            (Some((AxisName::Image, None)), Some(pictures)) => Some(*pictures),
            _ => None,
        };
        let chosen: Vec<usize> = match self {
            Self::Together => return Ok((vec![Region::all()], all_positions())),
            Self::Each(Positions::All) => (0..length).collect(),
            Self::Each(Positions::At(some)) => some.clone(),
            _ => {
                let found = serde_json::to_string(self).unwrap_or_default();
                return Err(setting(
                    &CARD,
                    "places",
                    found,
                    "a tower's are each of all, each of some by number, or all together",
                ));
            }
        };
        if chosen.is_empty() {
            return Err(input(&CARD, "at least one position", "none of the tower was named"));
        }
        if let Some(past) = chosen.iter().find(|position| **position >= length) {
            let found = format!("position {past} was asked for of {length}");
            return Err(input(&CARD, "positions that the tower has", found));
        }
        let mut groups = Vec::new();
        for picture in 0..pictures.unwrap_or(1) {
            groups.extend(chosen.iter().map(|position| {
                let region = Region::all().positions([*position]);
                if pictures.is_some() { region.of(AxisName::Image, [picture]) } else { region }
            }));
        }
        let axis = label::tower_axis_at(inputs.map(), pictures.unwrap_or(1), length, &chosen);
        Ok((groups, axis))
    }
}

/// What is patched.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Which values of a block.
    pub points: Vec<Point>,
    /// Which positions are patched together.
    pub places: Places,
    /// Of which layers.
    pub layers: Indices,
    /// Which heads, each by itself; `None` for whole values.
    pub heads: Option<Indices>,
    /// How many patches share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            points: vec![Point::ResidPre],
            places: Places::default(),
            layers: Indices::All,
            heads: None,
            rows: 32,
        }
    }
}

/// Activation patching with checked settings.
#[derive(Debug, Clone)]
pub struct ActivationPatching {
    settings: Settings,
    rows: NonZeroUsize,
}

impl ActivationPatching {
    /// The part whose states are patched.
    fn part(&self, subject: &dyn Subject) -> Part {
        part_with_blocks(subject, self.settings.part)
    }

    /// What is patched, layer by layer for each point.
    fn sites(&self, subject: &dyn Subject) -> Result<Vec<Site>, AnalysisError> {
        let (part, layers) = (self.part(subject), self.layers(subject)?);
        let of = |point: &Point| {
            let point = *point;
            layers.iter().map(move |layer| Site::block(part, *layer, point))
        };
        Ok(self.settings.points.iter().flat_map(of).collect())
    }

    fn layers(&self, subject: &dyn Subject) -> Result<Vec<usize>, AnalysisError> {
        self.settings.layers.chosen(CARD.id, "layers", kind::blocks(subject, self.part(subject)))
    }

    /// What is patched together at a site, and the axes that name it: groups of positions, of each head if there are heads; of a
    /// subject that has the part.
    fn groups(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
    ) -> Result<(Vec<Region>, Vec<Axis>), AnalysisError> {
        let (groups, places) = self.places(subject, inputs)?;
        let Some(heads) = &self.settings.heads else { return Ok((groups, vec![places])) };
        let count = self.heads(subject, inputs)?;
        let heads = heads.chosen(CARD.id, "heads", count)?;
        let each = |head: &usize| groups.iter().map(|group| group.clone().heads([*head])).collect::<Vec<_>>();
        Ok((heads.iter().flat_map(each).collect(), vec![Indices::axis(Role::Head, &heads, count), places]))
    }

    /// How many heads the points have.
    fn heads(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<usize, AnalysisError> {
        let mut all: Option<(usize, Point)> = None;
        for point in &self.settings.points {
            let site = Site::block(self.part(subject), 0, *point);
            let count = heads_at(&CARD, subject, inputs, site)?;
            if let Some((other, first)) = all.filter(|(other, _)| *other != count) {
                let found = format!("`{}` has {other}, `{}` {count}", first.name(), point.name());
                return Err(input(&CARD, "points with equally many heads", found));
            }
            all = Some((count, *point));
        }
        all.map(|(count, _)| count).ok_or_else(|| input(&CARD, "points that have heads", "none is named"))
    }

    /// The groups of positions that are patched together, and the axis that names them.
    fn places(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<(Vec<Region>, Axis), AnalysisError> {
        let (part, Settings { points, places, .. }) = (self.part(subject), &self.settings);
        Capability::Blocks(part).check(&CARD, subject)?;
        let map = one_row(CARD.id, inputs)?;
        match (part, points.first()) {
            (Part::Text, _) => {
                Capability::OwnWords.check(&CARD, subject)?;
                places.groups(map)
            }
            (Part::Encoder, _) | (_, None) => places.groups(map),
            (_, Some(point)) => places.groups_of_tower(subject, inputs, Site::block(part, 0, *point)),
        }
    }
}

impl Analysis for ActivationPatching {
    type Input = Pair;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        points_of_blocks(&CARD, &settings.points)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, pair: &Pair) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&pair.clean.sample)?;
        let (groups, _) = self.groups(on.subject(), &inputs)?;
        let sites = self.sites(on.subject())?;
        let chunks = sites.len().div_ceil(fit_at_once(on, &inputs, &sites)?);
        let cost = Cost::rows(pair.clean.settling() + 1 + 2 * chunks + sites.len() * groups.len());
        Ok(cost.at_once(self.rows.get(), on.row(&pair.clean, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, pair: &Pair) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let opened = Opened::new(&CARD, on, pair)?;
        let Opened { clean, corrupted, objective } = &opened;
        let (groups, places) = self.groups(subject, clean)?;
        let layers = self.layers(subject)?;
        let all = self.sites(subject)?;
        let at_once = fit_at_once(on, clean, &all)?;
        let memory = on.memory().at_most(self.rows);
        let answer = |inputs: &Inputs, sites: &[Site]| -> Result<(Trace, f32), AnalysisError> {
            let plan = reading(sites.iter().copied())?.objective(objective);
            memory.hold(CARD.id, 0, subject.need(inputs, &plan, Copies::ONE)?)?;
            let trace = subject.run(inputs, plan)?;
            let score = score(&trace)?;
            Ok((trace, score))
        };
        // Places that hold the same in both runs bring nothing back, and rounding would be shown as if it did.
        let last: Vec<Site> = all.chunks(layers.len().max(1)).filter_map(|own| own.last().copied()).collect();
        let (other, at_corrupted) = answer(corrupted, &last)?;
        let other: BTreeMap<Site, AnyTensor> = last
            .iter()
            .map(|site| Ok((*site, other.get(*site)?.clone())))
            .collect::<Result<_, HookError>>()?;
        let mut differ = false;
        let mut progress = Progress::new(on.watch(), CARD.id, all.len() * groups.len());
        let spoken = Spoken::of(on, &pair.clean, clean, objective)?;
        let metrics = spoken.beside(objective);
        let (mut at_clean, mut swept) = (at_corrupted, Vec::new());
        for sites in all.chunks(at_once) {
            let (right, score) = answer(clean, sites)?;
            at_clean = score;
            apart(objective, at_clean, at_corrupted)?;
            for (site, other) in other.iter().filter(|(site, _)| sites.contains(site)) {
                differ |= right.get(*site)?.to_values()? != other.to_values()?;
            }
            let mut patches = Vec::with_capacity(sites.len());
            for site in sites {
                patches.push(Edit::patch(*site, &right)?);
            }
            let beside: usize = other.values().map(|x| 4 * x.dims().iter().product::<usize>()).sum();
            let kept = held(&right) + beside as u64;
            drop(right);
            let grid = [sites.len(), groups.len()].map(|len| Axis::count(Role::Sample, len)).to_vec();
            // Row-major: sites, groups.
            let each = |patch: &Edit, group: &Region| vec![patch.clone().within(group.clone())];
            let variants =
                patches.iter().flat_map(|patch| groups.iter().map(move |group| each(patch, group)));
            let sweep = Sweep::of(grid, variants.collect())?;
            let sweep = metrics.iter().fold(sweep, |sweep, metric| sweep.measure(metric.clone()));
            let found = sweep.run(subject, corrupted, &memory.less(kept), &mut progress)?.measured;
            match swept.is_empty() {
                true => swept = found,
                false => swept.iter_mut().zip(found).for_each(|(all, some)| all.values.extend(some.values)),
            }
        }
        if !differ {
            let found =
                last.first().map_or_else(String::new, |site| format!("both hold the same at `{site}`"));
            return Err(input(&CARD, "two samples that differ in the states patched", found));
        }
        let apart = apart(objective, at_clean, at_corrupted)?;
        let unit = objective.unit();
        let of_all = kind::blocks(subject, self.part(subject));
        let axes = [vec![Indices::axis(Role::Layer, &layers, of_all)], places].concat();
        // Of every token as a share of the whole, so that the shares of a place add up to its own.
        let shown = |measured: &Measured| -> Result<Vec<Labelled>, AnalysisError> {
            let mut tables = Vec::new();
            let each = measured.values.chunks((layers.len() * groups.len()).max(1));
            for (point, patched) in self.settings.points.iter().zip(each) {
                let effects: Vec<f64> =
                    patched.iter().map(|score| f64::from(*score) - f64::from(measured.unedited)).collect();
                let recovered = effects.iter().map(|effect| (effect / apart) as f32).collect();
                let effects = effects.iter().map(|effect| *effect as f32).collect();
                let name = point.name();
                tables.push(Labelled::numbers(name, Unit::Ratio, axes.clone(), recovered)?);
                // The same in units of the objective.
                let effects = Labelled::numbers(format!("{name}/effect"), unit, axes.clone(), effects)?;
                let (name, patched) = (format!("{name}/patched"), patched.to_vec());
                let patched = Labelled::numbers(name, unit, axes.clone(), patched)?;
                tables.extend([effects.aside(), patched.aside()]);
            }
            Ok(tables)
        };
        let mut tables = spoken.with_each(swept.iter().map(shown))?;
        tables.push(Labelled::scalar("clean", unit, at_clean));
        tables.push(Labelled::scalar("corrupted", unit, at_corrupted));
        tables.push(opened.other_tokens()?);
        let cautions = opened.caution(at_clean, at_corrupted);
        let answer = Answer::new(tables, all).explaining(objective).against(pair.difference());
        Ok(answer.cautioned(cautions).settled("part", json!(self.part(subject))))
    }
}

/// How far the objective of both lies apart, if it tells them apart.
fn apart(objective: &Objective, at_clean: f32, at_corrupted: f32) -> Result<f64, AnalysisError> {
    let apart = f64::from(at_clean) - f64::from(at_corrupted);
    if apart == 0.0 || !apart.is_finite() {
        let found =
            format!("the {objective} is {at_clean} for the clean and {at_corrupted} for the corrupted one");
        return Err(input(&CARD, "two samples that the objective tells apart", found));
    }
    Ok(apart)
}

fn reading(sites: impl IntoIterator<Item = Site>) -> Result<Plan, HookError> {
    let mut plan = Plan::new();
    for site in sites {
        plan = plan.read(site)?;
    }
    Ok(plan)
}
