//! Checkpoint difference: what did a training change in the states of a model, is it the same in all cases, and does it change the answers?
//!
//! # Idea
//! With `a_i` what a site holds of case `i` before a training and `b_i` what it holds after it, `d_i = b_i - a_i` and `v = mean d`,
//!
//! ```text
//! size         = sqrt(sum |d_i|^2 / sum |a_i|^2)
//! beside cases = sqrt(mean |d_i|^2 / mean |a_i - mean a|^2)
//! shared       = (n |v|^2 / mean |d_i|^2 - 1) / (n - 1)         1 where all d_i are one vector, 0 in the mean where their signs are drawn
//! halves       = cos(v of kept cases, v of cases held out)
//! ```
//!
//! `v` is the *task vector* of the site. Whether it is what the training did is asked of the cases held out: the model before is run with the `v` of the kept
//! cases added there, and its distribution over next tokens (or classes) is compared with that of the model after.
//!
//! # In and out
//! In: [`ManyCases`], a data set, and the model after the training beside the one before. Answers that cases hold are left out. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `difference` | layer, metric | ratio | of every site `size`, `beside cases`, `shared`, `halves`, and `halves, random signs`: `halves` with a sign drawn for each case, what chance gives. 0 where nothing differs |
//! | `effect` | layer, metric | nat | KL of the model after from the model before, in the mean over cases held out: `before` as it is, `with the vector` added at the site, `with random vectors` of its length. Only where both give logits |
//! | `brought` | layer, metric | ratio | the share of `before` that is gone `with the vector`, and `with random vectors`; below zero where they lead away |
//! | `cases` | concept | count | aside: all, and held out |
//! | a site | channel | activation | aside: its task vector, of all cases, named as the site: `--edit SITE=add:FILE#SITE` adds it |
//!
//! # Settings
//! - `sites`: selectors, by default the stream behind every block of the last part. Any site whose rows have a fixed length and that both models have.
//! - `positions`: `last`, where the answer is decided; the mean over them, if there are more, and the vector is added at all of them. Sites without positions of a prompt take all their rows.
//! - `held_out`: 0.5 of the cases.
//! - `strength`: 1, what the vector is multiplied by.
//! - `draws`: 2 random vectors for each site and case; `seed`: 0, of the split, of signs and of vectors.
//!
//! # Cost
//! Two passes for each case; for each case held out two more, and for each of these and each site `1 + draws`. Memory: a pass, and six rows of each site in double precision.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`]. Running: [`AnalysisError::Input`] without a data set or a second model, for fewer than two cases, for sites that the second does not have or whose rows are of another length,
//! for logits of another number; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Directions of two models trained apart mean different things: only a model and what was trained from it have states that can be subtracted (Ilharco et al. 2023; Neyshabur, Sedghi, Zhang: What is being transferred in
//!   transfer learning? NeurIPS 2020. <https://arxiv.org/abs/2008.11687>). Compare [CKA](https://arxiv.org/abs/1905.00414), which asks no such thing.
//! - A vector at a late site may bring the answers of the model after although the training changed nothing there: it hands on what was changed before.
//! - A large difference need not matter, and a small one may decide: `effect` says which.
//! - Streams share a mean: differences of layer norms alone move it, and look shared in all cases.
//!
//! # Agreement
//! NumPy 2.4.6 on states and logits of transformers, of `llava-a` and `vit-a` as they are and with the first block scaled: largest differences 5e-7 of the largest value, of `effect` 1e-6. Identities tested: a model beside itself differs nowhere; one vector added by a
//! standing edit is found to the last digits, is shared in all cases, and brings the whole effect.
//!
//! # Reference
//! States before and after, and vectors that are added: Hendel, Geva, Globerson: In-Context Learning Creates Task Vectors. EMNLP Findings 2023. <https://arxiv.org/abs/2310.15916>; differences of weights: Ilharco et al.: Editing Models with
//! Task Arithmetic. ICLR 2023. <https://arxiv.org/abs/2212.04089>. Here differences are of states, so that any two models with the same sites can be compared; the split, the random vectors and the correction of `shared` are ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Sample, from_fn};
//! use mmlens_training::{CheckpointDifference, checkpoint_difference::Settings};
//! let words = from_fn("words", 8, |i| Ok(Case::new(Sample::text("ab".repeat(1 + i % 3)))));
//! let (before, after) = (mmlens_testkit::Toy::curved(1), mmlens_testkit::Toy::curved(2));
//! let finding = CheckpointDifference::new(Settings::default())?.run(&before, &ManyCases::over(words)?.beside(after))?;
//! println!("{:?}", finding.table("brought")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::check::{at_most, input, setting, share};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, AxisName, Card, Change, Copies, Cost, HookError, Inputs,
    Leaf, ManyCases, On, Plan, Point, Position, Region, Sample, Seed, Selector, Site, Subject, device,
};
use mmlens_engine::{
    Held, Positions, Progress, direction, dot, drawn_order, numbers, published, row_width, rows_at,
    rows_shown,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What this method is.
pub const CARD: Card = Card {
    id: "checkpoint-difference",
    short: "checkpoint-diff",
    name: "Checkpoint difference",
    question: "What did a training change in the states of a model, is it the same in all cases, and does it change the answers?",
    citation: "Hendel, Geva, Globerson: In-Context Learning Creates Task Vectors. EMNLP Findings 2023. https://arxiv.org/abs/2310.15916",
    leaf: Leaf::Training,
    cost: "2 forward for each case; for each case held out 2 more, and 1 + draws for each site",
    needs: &[],
    misleads: &[
        "Directions of two models that were trained apart mean different things.",
        "A late site hands on what was changed before it.",
        "A large difference need not matter, and a small one may decide.",
    ],
    first: false,
};

/// What is compared, and how often it is tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where; without them the stream behind every block of the last part.
    pub sites: Option<Vec<Selector>>,
    /// At which positions of a prompt.
    pub positions: Positions,
    /// The share of cases that vectors are tried on.
    pub held_out: f64,
    /// What vectors are multiplied by.
    pub strength: f32,
    /// Random vectors for each site and case.
    pub draws: usize,
    /// The seed of all draws.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sites: None,
            positions: Positions::Last,
            held_out: 0.5,
            strength: 1.0,
            draws: 2,
            seed: Seed(0),
        }
    }
}

/// Checkpoint difference with checked settings.
#[derive(Debug, Clone)]
pub struct CheckpointDifference {
    settings: Settings,
}

/// Fewer cases than this are cautioned of.
const FEW: usize = 20;
/// Draws of signs and of vectors, apart from the order.
const SIGNS: u64 = 1 << 32;
const RANDOM: u64 = 1 << 33;

/// A sum whose square is smaller than this share of the squares it is made of is rounding.
const ROUNDING: f64 = 1e-10;

/// Sums over cases, of one site.
struct Sums {
    /// Of differences: of kept cases and of those held out.
    halves: [Vec<f64>; 2],
    /// The same with a sign drawn for each case.
    signed: [Vec<f64>; 2],
    before: Vec<f64>,
    /// Of squared lengths: of differences, and of states before.
    squares: [f64; 2],
}

impl Sums {
    fn new(width: usize) -> Self {
        let zeros = || vec![0.0; width];
        Self { halves: [zeros(), zeros()], signed: [zeros(), zeros()], before: zeros(), squares: [0.0; 2] }
    }

    fn take(&mut self, [before, after]: [&[f64]; 2], (half, sign): (usize, f64)) {
        let Self { halves, signed, before: all, squares } = self;
        let (Some(own), Some(signed)) = (halves.get_mut(half), signed.get_mut(half)) else { return };
        for ((((a, b), own), signed), all) in before.iter().zip(after).zip(own).zip(signed).zip(all) {
            let d = b - a;
            *own += d;
            *signed += sign * d;
            *all += a;
            squares[0] += d * d;
            squares[1] += a * a;
        }
    }

    /// The mean difference over all cases, of which there are so many.
    fn vector(&self, cases: usize) -> Vec<f64> {
        let [kept, held] = &self.halves;
        kept.iter().zip(held).map(|(kept, held)| (kept + held) / cases as f64).collect()
    }

    /// What stands in `difference`.
    fn ratios(&self, cases: usize) -> [f64; 5] {
        let n = cases as f64;
        let [apart, before] = self.squares.map(|sum| sum / n);
        let mean = dot(&self.before, &self.before) / (n * n);
        let ratio = |above: f64, below: f64| if below > 0.0 { above / below } else { 0.0 };
        let vector = self.vector(cases);
        let shared = match apart > 0.0 {
            true => (n * dot(&vector, &vector) / apart - 1.0) / (n - 1.0),
            false => 0.0,
        };
        // What is left of sums that cancel is rounding, and has no direction.
        let some = |sum: &[f64]| dot(sum, sum) > ROUNDING * self.squares[0];
        let cosine = |[a, b]: &[Vec<f64>; 2]| match some(a) && some(b) {
            true => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
            false => 0.0,
        };
        [
            ratio(apart, before).sqrt(),
            ratio(apart, before - mean).sqrt(),
            shared,
            cosine(&self.halves),
            cosine(&self.signed),
        ]
    }
}

/// A site, where it is looked at, and how long its rows are.
struct Place {
    site: Site,
    positions: Positions,
    width: usize,
    /// Whether its rows are positions of a prompt.
    prompt: bool,
}

/// Both models and what is read of them.
struct Pair<'a> {
    sides: [On<'a>; 2],
    input: &'a ManyCases,
    places: Vec<Place>,
    plan: Plan,
    /// Whether both give logits.
    speaks: bool,
}

/// The distribution that a pass ends in, as logarithms.
fn log_shares(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().map(|x| f64::from(*x)).fold(f64::NEG_INFINITY, f64::max); // no NaN: checked where they are read
    let sum = most + logits.iter().map(|x| (f64::from(*x) - most).exp()).sum::<f64>().ln();
    logits.iter().map(|x| f64::from(*x) - sum).collect()
}

/// KL of one distribution from another, both as logarithms.
fn divergence(of: &[f64], from: &[f64]) -> f64 {
    of.iter().zip(from).map(|(p, q)| p.exp() * (p - q)).sum()
}

impl<'a> Pair<'a> {
    fn of(settings: &Settings, on: &On<'a>, many: &'a ManyCases) -> Result<Self, AnalysisError> {
        let Some(other) = many.other() else {
            let found = "there is one model: the one after the training stands beside it";
            return Err(input(&CARD, "a model before a training, and one after it", found));
        };
        if many.len() < 2 {
            return Err(input(&CARD, "two cases or more", format!("there are {}", many.len())));
        }
        let after = On::new(other).watched(on.watch()).within(on.memory());
        let (mut places, mut plan) = (Vec::new(), Plan::new());
        for site in sites(CARD.id, on.subject(), settings.sites.as_deref())? {
            let (width, suits) = row_width((on, CARD.id), site, &settings.positions)?;
            let (own, _) = row_width((&after, CARD.id), site, &settings.positions)?;
            if own != width {
                let found = format!("rows of `{site}` have {width} numbers before and {own} after");
                return Err(input(&CARD, "two models of the same sites", found));
            }
            let spec = published(on.subject(), site)?;
            let batched = matches!(spec.axes.as_slice(), [(AxisName::Batch, _), (AxisName::Pos, _), ..]);
            let prompt = batched && suits;
            let positions = if prompt { settings.positions.clone() } else { Positions::All };
            places.push(Place { site, positions, width, prompt });
            plan = plan.read(site)?;
        }
        let logits =
            |subject: &dyn Subject| subject.sites().iter().any(|spec| spec.site.point() == Point::Logits);
        let speaks = logits(on.subject()) && logits(other);
        Ok(Self { sides: [*on, after], input: many, places, plan, speaks })
    }

    /// Case `index` as one of the models takes it, without its answer.
    fn inputs(&self, side: usize, index: usize) -> Result<Inputs, AnalysisError> {
        let [before, after] = &self.sides;
        let (on, data) = if side == 0 { (before, self.input.data()) } else { (after, self.input.others()) };
        let sample = Sample { reply: None, ..data.case(index)?.sample };
        Ok(on.subject().encode(&sample)?)
    }

    /// Bytes held beside a pass.
    fn beside(&self, side: usize, inputs: &Inputs) -> Result<u64, HookError> {
        let sites: Vec<Site> = self.places.iter().map(|place| place.site).collect();
        let read = 12 * numbers(self.sides[side.min(1)].subject(), inputs, &sites)? as u64;
        let sums: usize = self.places.iter().map(|place| 8 * 6 * place.width).sum();
        Ok(read + sums as u64)
    }

    /// What a model holds of a case at every site.
    fn rows(&self, side: usize, index: usize) -> Result<Vec<Held>, AnalysisError> {
        let (on, inputs) = (&self.sides[side.min(1)], self.inputs(side, index)?);
        let need = on.subject().need(&inputs, &self.plan, Copies::ONE)?;
        on.memory().hold(CARD.id, self.beside(side, &inputs)?, need)?;
        let asked: Vec<(Site, Positions)> =
            self.places.iter().map(|place| (place.site, place.positions.clone())).collect();
        rows_at((on, CARD.id), &inputs, &asked)
    }

    /// What a model says of a case under a plan.
    fn said(&self, side: usize, inputs: &Inputs, plan: Plan) -> Result<Vec<f64>, AnalysisError> {
        let on = &self.sides[side.min(1)];
        let plan = plan.to_output();
        on.memory().hold(
            CARD.id,
            self.beside(side, inputs)?,
            on.subject().need(inputs, &plan, Copies::ONE)?,
        )?;
        let logits = on.subject().run(inputs, plan)?.output().at(Position::Last)?;
        let (dims, values) = (logits.dims(), AnyTensor::new(logits).to_values()?);
        mmlens_core::finding::finite(&values)
            .map_err(|error| HookError::not_finite("logits", &dims, 0, error))?;
        Ok(log_shares(&values))
    }
}

/// The sites that selectors choose, or the stream behind every block of the last part.
pub(super) fn sites(
    method: &'static str,
    subject: &dyn Subject,
    selectors: Option<&[Selector]>,
) -> Result<Vec<Site>, AnalysisError> {
    let mut all = Vec::new();
    match selectors {
        Some(selectors) => {
            for selector in selectors {
                all.extend(selector.resolve(subject.name(), subject.sites())?);
            }
        }
        None => {
            let last = subject.anatomy().last().map_or((0, None), |own| (own.blocks, Some(own.part)));
            let stream = |block| last.1.map(|part| Site::block(part, block, Point::ResidPost));
            all.extend((0..last.0).filter_map(stream));
        }
    }
    all.sort_unstable();
    all.dedup();
    match all.is_empty() {
        true => {
            let found = format!("`{}` has no block", subject.name());
            Err(AnalysisError::Input { method, needs: "a site".into(), found })
        }
        false => Ok(all),
    }
}

impl CheckpointDifference {
    /// Whether each case is held out.
    fn split(&self, cases: usize) -> Vec<bool> {
        let held = ((self.settings.held_out * cases as f64).round() as usize).clamp(1, cases - 1);
        let mut out = vec![false; cases];
        for at in drawn_order(cases, self.settings.seed).into_iter().take(held) {
            if let Some(slot) = out.get_mut(at) {
                *slot = true;
            }
        }
        out
    }

    /// A plan that adds a vector at a place.
    fn adding(
        &self,
        pair: &Pair<'_>,
        inputs: &Inputs,
        place: &Place,
        vector: &[f64],
    ) -> Result<Plan, AnalysisError> {
        let on = &pair.sides[0];
        let dims = on.subject().dims(inputs, place.site)?;
        let own =
            (0..dims.len()).rev().find(|from| dims.iter().skip(*from).product::<usize>() == place.width);
        let lead = own.unwrap_or(dims.len().saturating_sub(1));
        let shape: Vec<usize> =
            dims.iter().enumerate().map(|(at, length)| if at < lead { 1 } else { *length }).collect();
        let values = vector.iter().map(|x| (f64::from(self.settings.strength) * x) as f32).collect();
        let value = AnyTensor::from_values(values, &shape, &device::host())?;
        let region = match place.prompt {
            true => {
                Region::all().positions(rows_shown((on, CARD.id), inputs, place.site, &place.positions)?.0)
            }
            false => Region::all(),
        };
        Ok(Plan::new().change(place.site, region, Change::Add(value))?)
    }

    /// KL of the model after from the one before, with the vectors of each place and with random ones, in the mean over cases held out.
    fn effects(
        &self,
        pair: &Pair<'_>,
        (out, vectors): (&[bool], &[Vec<f64>]),
        progress: &mut Progress<'_>,
    ) -> Result<(f64, Vec<[f64; 2]>), AnalysisError> {
        let Settings { draws, seed, .. } = self.settings;
        let held: Vec<usize> = out.iter().enumerate().filter(|(_, out)| **out).map(|(at, _)| at).collect();
        let count = held.len() as f64;
        let (mut plain, mut with) = (0.0, vec![[0.0; 2]; pair.places.len()]);
        for index in held {
            let (inputs, others) = (pair.inputs(0, index)?, pair.inputs(1, index)?);
            let [before, after] = [pair.said(0, &inputs, Plan::new())?, pair.said(1, &others, Plan::new())?];
            if before.len() != after.len() {
                let found = format!("{} logits before and {} after", before.len(), after.len());
                return Err(input(&CARD, "two models that say the same words or classes", found));
            }
            plain += divergence(&after, &before) / count;
            progress.advance(2)?;
            for (at, ((place, vector), sums)) in pair.places.iter().zip(vectors).zip(&mut with).enumerate() {
                let own = pair.said(0, &inputs, self.adding(pair, &inputs, place, vector)?)?;
                sums[0] += divergence(&after, &own) / count;
                progress.advance(1)?;
                let length = dot(vector, vector).sqrt();
                for draw in 0..draws as u64 {
                    let seed = seed.at(RANDOM + draw).at(index as u64).at(at as u64);
                    let drawn: Vec<f64> = direction(place.width, seed).iter().map(|x| length * x).collect();
                    let own = pair.said(0, &inputs, self.adding(pair, &inputs, place, &drawn)?)?;
                    sums[1] += divergence(&after, &own) / (count * draws as f64);
                    progress.advance(1)?;
                }
            }
        }
        Ok((plain, with))
    }

    fn steps(&self, pair: &Pair<'_>) -> usize {
        let cases = pair.input.len();
        let held = self.split(cases).iter().filter(|out| **out).count();
        let tried = if pair.speaks { held * (2 + pair.places.len() * (1 + self.settings.draws)) } else { 0 };
        2 * cases + tried
    }
}

impl Analysis for CheckpointDifference {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        if settings.sites.as_ref().is_some_and(Vec::is_empty) {
            return Err(setting(&CARD, "sites", "none", "there must be one"));
        }
        share(&CARD, "held_out", settings.held_out)?;
        at_most(&CARD, "draws", settings.draws)?;
        if settings.draws == 0 {
            return Err(setting(
                &CARD,
                "draws",
                0,
                "it must be at least 1: chance stands beside every effect",
            ));
        }
        match settings.strength.is_finite() {
            true => Ok(Self { settings }),
            false => Err(setting(&CARD, "strength", settings.strength, "it must be a finite number")),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let pair = Pair::of(&self.settings, on, many)?;
        let mut bytes = 0;
        for index in 0..many.len() {
            for side in 0..2 {
                let inputs = pair.inputs(side, index)?;
                let need =
                    pair.sides[side].subject().need(&inputs, &pair.plan.clone().to_output(), Copies::ONE)?;
                bytes = u64::max(bytes, need.bytes + pair.beside(side, &inputs)?); // no NaN: whole numbers
            }
        }
        Ok(Cost::rows(self.steps(&pair)).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let pair = Pair::of(&self.settings, on, many)?;
        let (cases, seed) = (many.len(), self.settings.seed);
        let out = self.split(cases);
        let mut progress = Progress::new(on.watch(), CARD.id, self.steps(&pair));
        let mut sums: Vec<Sums> = pair.places.iter().map(|place| Sums::new(place.width)).collect();
        for (index, held_out) in out.iter().enumerate() {
            let before = pair.rows(0, index)?;
            progress.advance(1)?;
            let after = pair.rows(1, index)?;
            progress.advance(1)?;
            let sign = if seed.at(SIGNS + index as u64).unit() < 0.5 { -1.0 } else { 1.0 };
            for ((sums, before), after) in sums.iter_mut().zip(&before).zip(&after) {
                sums.take([&before.mean(), &after.mean()], (usize::from(*held_out), sign));
            }
        }
        let layers = Axis::names(Role::Layer, pair.places.iter().map(|place| place.site));
        let table = |name: &str, unit: Unit, metrics: &[&str], values: Vec<f64>| {
            let axes = vec![layers.clone(), Axis::names(Role::Metric, metrics.iter().copied())];
            Labelled::numbers(name, unit, axes, values.into_iter().map(|x| x as f32).collect())
        };
        let metrics = ["size", "beside cases", "shared", "halves", "halves, random signs"];
        let ratios = sums.iter().flat_map(|sums| sums.ratios(cases)).collect();
        let mut tables = vec![table("difference", Unit::Ratio, &metrics, ratios)?];
        let kept = out.iter().filter(|out| !**out).count();
        let mut best = None;
        if pair.speaks {
            let vector = |sums: &Sums| sums.halves[0].iter().map(|sum| sum / kept as f64).collect();
            let vectors: Vec<Vec<f64>> = sums.iter().map(vector).collect();
            let (plain, with) = self.effects(&pair, (&out, &vectors), &mut progress)?;
            let metrics = ["before", "with the vector", "with random vectors"];
            let values = with.iter().flat_map(|[own, random]| [plain, *own, *random]).collect();
            tables.push(table("effect", Unit::Nat, &metrics, values)?);
            let brought = |with: f64| if plain > 0.0 { 1.0 - with / plain } else { 0.0 };
            let shares: Vec<[f64; 2]> = with.iter().map(|own| own.map(brought)).collect();
            tables.push(table("brought", Unit::Ratio, &metrics[1..], shares.concat())?);
            let gains = shares.iter().map(|[own, random]| own - random);
            best = gains.max_by(f64::total_cmp); // no NaN: quotients of finite numbers
        }
        let counts = Axis::names(Role::Concept, ["all", "held out"]);
        let values = vec![cases as f32, (cases - kept) as f32];
        tables.push(Labelled::numbers("cases", Unit::Count, vec![counts], values)?.aside());
        for (place, sums) in pair.places.iter().zip(&sums) {
            let axes = vec![Axis::count(Role::Channel, place.width)];
            let values = sums.vector(cases).into_iter().map(|x| x as f32).collect();
            tables.push(Labelled::numbers(place.site.to_string(), Unit::Activation, axes, values)?.aside());
        }
        let sites: Vec<Site> = pair.places.iter().map(|place| place.site).collect();
        let nothing = sums.iter().all(|sums| sums.squares[0] == 0.0);
        Ok(Answer::new(tables, sites.clone())
            .against("random vectors of the same length")
            .seeded(seed)
            .cautioned(cautions((cases, pair.places.iter().map(|place| place.width).sum()), nothing, best))
            .settled("sites", json!(sites)))
    }
}

/// What speaks against the numbers.
fn cautions((cases, values): (usize, usize), nothing: bool, best: Option<f64>) -> Vec<Caution> {
    let mut said = Vec::new();
    if nothing {
        let text = "no number differs between the two models at these sites".to_owned();
        said.push(Caution::new(CautionKind::NothingMoved, (cases * values) as f32, text));
    }
    if cases < FEW {
        let text = format!("{cases} cases are few: half of them make a vector, and half try it");
        said.push(Caution::new(CautionKind::FewRows, cases as f32, text));
    }
    if let Some(best) = best.filter(|best| *best <= 0.0) {
        let text = format!(
            "at no site does the mean difference bring more of what the training did to the answers than random vectors do: the best brings {best:.3} more"
        );
        said.push(Caution::new(CautionKind::NoBetter, best as f32, text));
    }
    said
}
