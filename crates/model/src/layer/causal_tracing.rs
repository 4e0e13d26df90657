//! Causal tracing: in which state, put back into a run blinded by noise, does the answer stand again?
//!
//! # Idea
//! What enters the model at some positions (the words of a subject, the patches of a picture) is drowned in noise, `K` times; `p` is
//! the probability of the answer. With the state of the clean run at one point, layer `l` and position `n` put into run `k`:
//!
//! ```text
//! x_i^(k)  = x_i + sigmas sigma z_i^(k),   z normal                                            noise
//! TE       = p_clean - mean_k p^(k)                                                            total effect
//! IE[l, n] = mean_k ( p^(k) with the clean state at l, n  -  p^(k) )                           indirect effect
//! ```
//!
//! Standard errors are those of these means of differences: the standard deviation over the draws, divisor `K - 1`, by the root of `K`.
//!
//! # In and out
//! In: a [`Case`] of one row. `p` is the probability of the token or the phrase that its objective names; where it names none (a
//! difference, a similarity, a neuron), everything is said of the objective itself, in its unit. Out, for every point `P` such as `resid_post`:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `P` | layer, token | probability | the indirect effect |
//! | `P/standard error` | layer, token | probability | its standard error; of two draws or more |
//! | `P/objective` | layer, token | objective | the indirect effect on the objective; where that is no probability |
//! | `P/exchanged` | layer | probability | what stands beside it by chance: for each draw `k` one of the `G` places, number `floor(u G)` with `u = seed.at(2^32).at(k).at(c).unit()`, `c` counting points and layers row by row, is given what the next noisy run holds there (behind the last, the first); the mean over draws. Nothing clean comes with it; of two draws or more |
//! | `total effect`, `total effect/standard error` | | probability | TE, and its standard error |
//! | `clean`, `corrupted` | | probability | `p_clean`, and the mean of `p^(k)` |
//! | `clean objective`, `corrupted objective` | | objective | the same of the objective; where that is no probability |
//! | `corrupted by draw` | sample | probability | `p^(k)` |
//! | `corrupted tokens` | token | | the positions that noise is added at, where they are those of a prompt |
//!
//! With `heads` the tables have a third axis between these: layer, head, token.
//!
//! # Settings
//! - `site`: where noise is added. By default what enters the first block of the words: `text.input`, or `encoder.input` where an encoder of its own
//!   reads them; of a subject that reads none the pixels. Any site will do: `vision.pixels`, `connector.out`.
//! - `corrupted`: at which positions of the prompt, at sites that have these. By default those of the question ([`Positions::Question`]); a
//!   phrase (`{"phrase": "red circle"}`), the pictures, some by number. At other sites (pixels, towers, the connector) all of it is.
//! - `sigmas`: 3 standard deviations, as published.
//! - `sigma`: the standard deviation. By default that of all numbers that the site holds at the corrupted positions in the clean run, divisor
//!   `n - 1`. Published is that of the subjects of a whole data set: [`CausalTracing::over`] measures it.
//! - `draws`: 10, as published. `seed`: 0. Number `i` of what the site holds, counted row by row over all its positions, is given in draw `k` the noise of
//!   `normal(seed.at(k).at(i))` ([`mmlens_engine::normal`]): which positions are corrupted changes no draw.
//! - `part`: in which part states are put back. By default the one where noise enters; of noise in a tower or on its way to the language model
//!   that model, except where captions are compared with pictures.
//! - `points`: `resid_post`, `mlp_out` and `attn_out`, as published.
//! - `window`: 10 layers of what an MLP or attention adds are put back together, as published: of layer `l` those from `l - floor(w / 2)` to
//!   `l + ceil(w / 2) - 1`, as far as there are. The stream is put back at one layer alone.
//! - `places`, `layers`, `heads`: as in [activation patching](super::activation_patching).
//! - `rows`: 32 variants share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! # Cost
//! One pass for the standard deviation, one for the clean run, two for each draw, then `draws x points x layers x (positions + 1)` passes, each
//! from the layer it is put back at (a window: its first) and from that position on, as far as the subject allows. Where states do not fit
//! in half of the memory, some layers are held at a time, with those passes again. Peak memory: the streams of two runs, keys and values of one, and
//! `rows` copies of a stream. Name the positions: of a picture of 576 patches all of them are seldom worth it; `{"each": "words"}`.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no draws, rows, window or points, a point twice or outside of blocks, a `sigma` or `sigmas` that is
//! not above zero. Running: [`AnalysisError::Input`] for several rows, positions that the sample does not have, noise that changes no
//! state (as pixels do none of a text tower) or leaves the objective as it was, a sample without a picture whose pixels are asked for;
//! [`AnalysisError::Setting`] for positions of a site that has none of a prompt, a layer or head past the end; [`AnalysisError::Subject`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Noise takes the model where it was never trained; what breaks there, and mends, need not be how it works on clean input (Zhang,
//!   Nanda: Towards Best Practices of Activation Patching in Language Models. ICLR 2024). A semantic pair stays within what it was trained
//!   on: [activation patching](super::activation_patching).
//! - A window mends more the wider it is, and its peak lies near the middle of what it holds: compare windows of one width only (same paper).
//! - Where a fact can be read need not be where it is best edited (Hase et al.: Does Localization Inform Editing? NeurIPS 2023).
//! - The stream at the last position of the last layers holds the answer itself: a large effect there says nothing of where it comes from.
//! - Noise of three deviations of *this* site: features of a picture have other sizes than words, and are blinded more or less.
//!
//! # Agreement
//! Direct computation in torch with hooks and the same draws: on `llava-a` noise on words and on the picture, on `gpt2-a` on words; largest
//! difference in `oracles/fixtures/methods/why.json`. Identities tested: all positions of the stream put back at one layer give the clean run, so that
//! IE is TE; a position in front of the first corrupted one gives nothing; a larger batch or another choice of layers changes nothing.
//!
//! # Reference
//! Meng, Bau, Andonian, Belinkov: Locating and Editing Factual Associations in GPT. NeurIPS 2022. <https://arxiv.org/abs/2202.05262>. On pictures: Palit,
//! Pandey, Arora, Liang: Towards Vision-Language Mechanistic Interpretability: A Causal Tracing Tool for BLIP. 2023.
//! <https://arxiv.org/abs/2308.14179>. Published is the average over a data set; here it is one case. The exchange with another noisy run is ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_engine::Positions;
//! use mmlens_model::{CausalTracing, causal_tracing::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let corrupted = Some(Positions::Phrase("triangle".to_owned()));
//! let finding = CausalTracing::new(Settings { corrupted, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?}", finding.table("resid_post")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, Labelled, Role, Unit};
use mmlens_core::{
    Alteration, Altered, Analysis, AnalysisError, Answer, AnyTensor, AxisName, Capability, Card, Case, Cases,
    Change, Copies, Cost, HookError, Inputs, Leaf, Measure, Objective, On, Part, Plan, Point, Position,
    Region, Seed, Site, SiteSpec, Subject, caution, kind,
};
use mmlens_engine::{Indices, Measured, Metric, Positions, Progress, label, normal, one_row, score};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::restoring::{Places, PutBack, Restoring, Run};
use crate::check::{
    above_zero, at_least_one, fit_at_once, given, input, part_with_blocks, points_of_blocks, setting,
};

/// What this method is.
pub const CARD: Card = Card {
    id: "causal-tracing",
    short: "tracing",
    name: "Causal tracing",
    question: "In which state, put back into a run blinded by noise, does the answer stand again?",
    citation: "Meng, Bau, Andonian, Belinkov: Locating and Editing Factual Associations in GPT. NeurIPS 2022. https://arxiv.org/abs/2202.05262",
    leaf: Leaf::Layer,
    cost: "2 + 2 draws forward + draws x points x layers (x heads) x positions forward from the layer on, in batches",
    needs: &[Capability::AnyBlocks],
    misleads: &[
        "Noise takes the model where it was never trained.",
        "A wider window mends more: compare windows of one width.",
        "A large effect at the last position of the last layers is the answer itself.",
    ],
    first: false,
};

/// What is corrupted, and what is put back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where noise is added; `None` for what enters the first block of the words, or where there are none, the pixels.
    pub site: Option<Site>,
    /// At which positions of the prompt; `None` for the question, at sites that have no positions of a prompt for all of it.
    pub corrupted: Option<Positions>,
    /// How many standard deviations of noise.
    pub sigmas: f32,
    /// The standard deviation; `None` for that of what is corrupted, in the clean run.
    pub sigma: Option<f32>,
    /// How many draws of noise.
    pub draws: usize,
    /// What they follow from.
    pub seed: Seed,
    /// In which part states are put back; `None` for the one that noise enters, or the language model behind a tower.
    pub part: Option<Part>,
    /// Which values of a block.
    pub points: Vec<Point>,
    /// Which positions are put back together.
    pub places: Places,
    /// Of which layers.
    pub layers: Indices,
    /// Which heads, each by itself; `None` for whole values.
    pub heads: Option<Indices>,
    /// Over how many layers around each what they add is put back together.
    pub window: usize,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            site: None,
            corrupted: None,
            sigmas: 3.0,
            sigma: None,
            draws: 10,
            seed: Seed(0),
            part: None,
            points: vec![Point::ResidPost, Point::MlpOut, Point::AttnOut],
            places: Places::default(),
            layers: Indices::All,
            heads: None,
            window: 10,
            rows: 32,
        }
    }
}

/// Causal tracing with checked settings.
#[derive(Debug, Clone)]
pub struct CausalTracing {
    settings: Settings,
    draws: NonZeroUsize,
    window: NonZeroUsize,
    rows: NonZeroUsize,
}

/// What is corrupted in one sample.
struct Corrupted {
    site: Site,
    /// Positions of the prompt; `None` for all of the site.
    positions: Option<Vec<usize>>,
}

impl Corrupted {
    /// What of a site's value is corrupted: its numbers by place.
    fn numbers(&self, spec: &SiteSpec, dims: &[usize]) -> Vec<bool> {
        let Some((at, positions)) = spec.axis(AxisName::Pos).zip(self.positions.as_ref()) else {
            return vec![true; dims.iter().product()];
        };
        let (length, inner) =
            (dims.get(at).copied().unwrap_or(1), dims.iter().skip(at + 1).product::<usize>());
        let of = |i: usize| positions.binary_search(&(i / inner.max(1) % length.max(1))).is_ok();
        (0..dims.iter().product()).map(of).collect()
    }
}

/// How many numbers there were, their mean, and the sum of squares about it (Welford; Chan, Golub, LeVeque 1983).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        values.into_iter().fold(Self::default(), |mut all, value| {
            all.add(value);
            all
        })
    }

    /// With the divisor `n - 1`; of two numbers or more.
    fn deviation(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.squares / (self.count - 1.0)).sqrt())
    }

    /// Of the mean.
    fn error(&self) -> Option<f64> {
        self.deviation().map(|deviation| deviation / self.count.sqrt())
    }
}

/// The probability of what an objective names: a token, or a phrase.
fn probability(objective: &Objective) -> Option<Objective> {
    match objective {
        Objective::Span { from, tokens, .. } => {
            Some(Objective::Span { from: *from, tokens: tokens.clone(), measure: Measure::Probability })
        }
        other => other
            .token()
            .zip(other.at())
            .map(|(token, at): (u32, Position)| Objective::Probability { at, token }),
    }
}

impl CausalTracing {
    /// The same with the standard deviation of what is corrupted in all cases of a data set together, as published.
    ///
    /// # Errors
    /// As [`Analysis::run`] for what is corrupted, and whatever a pass reports.
    ///
    /// # Cost
    /// One pass for each case, up to the site.
    pub fn over(self, on: &On<'_>, data: &dyn Cases) -> Result<Self, AnalysisError> {
        let mut progress = Progress::new(on.watch(), CARD.id, data.len());
        let mut moments = Moments::default();
        for index in 0..data.len() {
            let inputs = on.encode(&data.case(index)?.sample)?;
            let corrupted = self.corrupted(on.subject(), &inputs)?;
            let plan = Plan::new().read(corrupted.site)?;
            on.memory().hold(CARD.id, 0, on.subject().need(&inputs, &plan, Copies::ONE)?)?;
            let trace = on.subject().run(&inputs, plan)?;
            let spec = SiteSpec::among(on.subject().sites(), corrupted.site)?;
            each_of(&corrupted, spec, trace.get(corrupted.site)?, |value| moments.add(value))?;
            progress.advance(1)?;
        }
        let sigma = moments.deviation().ok_or_else(|| input(&CARD, "at least one case", "there is none"))?;
        Self::new(Settings { sigma: Some(sigma as f32), ..self.settings })
    }

    /// The standard deviation that was given, or measured ([`CausalTracing::over`]).
    pub fn sigma(&self) -> Option<f32> {
        self.settings.sigma
    }

    /// Where noise is added, and at which positions.
    fn corrupted(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Corrupted, AnalysisError> {
        let map = one_row(CARD.id, inputs)?;
        let words = Site::of(kind::words_enter(subject).part(), Point::Input);
        let tower = inputs.towers().next().unwrap_or(Part::Vision);
        let entrance = tower.entrance().unwrap_or(words);
        let site = self.settings.site.unwrap_or(if kind::has(subject, words) { words } else { entrance });
        let spec = SiteSpec::among(subject.sites(), site)?;
        given(&CARD, inputs, site.part())?;
        let prompt = site.part() == words.part() && spec.axis(AxisName::Pos).is_some();
        let positions = match (&self.settings.corrupted, prompt) {
            (None, false) => None,
            (Some(positions), true) => Some(positions.chosen(CARD.id, map)?),
            (None, true) => Some(Positions::Question.chosen(CARD.id, map)?),
            (Some(positions), false) => {
                let found = format!("`{positions}`, at `{site}`");
                return Err(setting(
                    &CARD,
                    "corrupted",
                    found,
                    "only the words' sites have positions of a prompt",
                ));
            }
        };
        Ok(Corrupted { site, positions })
    }

    /// Where states are put back.
    fn restoring(&self, subject: &dyn Subject, corrupted: &Corrupted) -> Restoring<'_> {
        let Settings { part, points, places, layers, heads, .. } = &self.settings;
        let entered = corrupted.site.part();
        let own = matches!(entered, Part::Text | Part::Encoder) || kind::compares(subject);
        let part = part.or(own.then_some(entered));
        let part = part_with_blocks(subject, part);
        Restoring { card: &CARD, part, points, places, layers, heads: heads.as_ref(), window: self.window }
    }

    /// How many sites are held at once: those of two runs, where another one's states are put in as well.
    fn at_once(&self, on: &On<'_>, inputs: &Inputs, sites: &[Site]) -> Result<usize, AnalysisError> {
        Ok(fit_at_once(on, inputs, sites)?.div_ceil(if self.exchanges() { 2 } else { 1 }))
    }

    fn exchanges(&self) -> bool {
        self.draws.get() > 1
    }

    /// The noise of one draw, of the shape of what the site holds.
    fn noise(
        &self,
        like: &AnyTensor,
        there: &[bool],
        (sigma, draw): (f64, usize),
    ) -> Result<AnyTensor, HookError> {
        let (deviation, seed) = (f64::from(self.settings.sigmas) * sigma, self.settings.seed.at(draw as u64));
        let number = |(i, there): (usize, &bool)| match there {
            true => (deviation * normal(seed.at(i as u64))) as f32,
            false => 0.0,
        };
        like.filled(there.iter().enumerate().map(number).collect())
    }
}

/// Every number of what is corrupted.
fn each_of(
    corrupted: &Corrupted,
    spec: &SiteSpec,
    value: &AnyTensor,
    mut look: impl FnMut(f64),
) -> Result<(), HookError> {
    let there = corrupted.numbers(spec, &value.dims());
    let values = value.finite_values(corrupted.site)?;
    values.iter().zip(there).filter(|(_, there)| *there).for_each(|(value, _)| look(f64::from(*value)));
    Ok(())
}

impl Analysis for CausalTracing {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        points_of_blocks(&CARD, &settings.points)?;
        for (name, value) in [("sigmas", Some(settings.sigmas)), ("sigma", settings.sigma)] {
            value.map_or(Ok(()), |value| above_zero(&CARD, name, value))?;
        }
        let draws = at_least_one(&CARD, "draws", settings.draws)?;
        let window = at_least_one(&CARD, "window", settings.window)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, draws, window, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let (subject, inputs) = (on.subject(), on.encode(&case.sample)?);
        let corrupted = self.corrupted(subject, &inputs)?;
        let restoring = self.restoring(subject, &corrupted);
        restoring.groups(subject, &inputs)?;
        let at_once = self.at_once(on, &inputs, &restoring.sites(subject)?)?;
        let rows = restoring.rows(subject, &inputs, (at_once, self.draws.get(), self.exchanges()))?;
        let cost = Cost::rows(case.settling() + 1 + rows);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let corrupted = self.corrupted(subject, &inputs)?;
        let restoring = self.restoring(subject, &corrupted);
        let (groups, places) = restoring.groups(subject, &inputs)?;
        let sites = restoring.sites(subject)?;
        let at_once = self.at_once(on, &inputs, &sites)?;
        let memory = on.memory().at_most(self.rows);
        // What is said of probabilities stands in front, and the objective behind it, where it is another.
        let said: Vec<Objective> = match probability(&objective) {
            Some(own) if own != objective => vec![own, objective.clone()],
            _ => vec![objective.clone()],
        };
        let plan = said.iter().fold(Plan::new().read(corrupted.site)?.objective(&objective), Plan::also);
        memory.hold(CARD.id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let trace = subject.run(&inputs, plan)?;
        let mut clean = Vec::with_capacity(said.len());
        for own in &said {
            clean.push(match *own == objective {
                true => f64::from(score(&trace)?),
                false => one(own, &trace)?,
            });
        }
        let entered = trace.get(corrupted.site)?;
        let spec = SiteSpec::among(subject.sites(), corrupted.site)?;
        let sigma = match self.settings.sigma {
            Some(sigma) => f64::from(sigma),
            None => {
                let mut moments = Moments::default();
                each_of(&corrupted, spec, entered, |value| moments.add(value))?;
                // As the finding tells it, so that it is made again with the same noise.
                let found =
                    moments.deviation().map(|sigma| f64::from(sigma as f32)).filter(|sigma| *sigma > 0.0);
                found.ok_or_else(|| {
                    input(&CARD, "values that differ to be corrupted", "all of them are the same")
                })?
            }
        };
        let there = corrupted.numbers(spec, &entered.dims());
        let noisy = |draw: usize| -> Result<Altered<&dyn Subject>, HookError> {
            let noise = self.noise(entered, &there, (sigma, draw))?;
            Altered::new(subject, [Alteration::new(corrupted.site, Region::all(), Change::Add(noise))?])
        };
        let noisy: Vec<Altered<&dyn Subject>> = (0..self.draws.get()).map(noisy).collect::<Result<_, _>>()?;
        let runs: Vec<Run<'_>> = noisy.iter().map(|subject| Run { subject, inputs: &inputs }).collect();
        let metrics: Vec<Metric> = said.iter().map(Metric::from).collect();
        let exchange = self.exchanges().then(|| self.settings.seed.at(EXCHANGE));
        let centres = self.settings.points.len() * restoring.layers(subject)?.len();
        let steps = runs.len() * centres * (groups.len() + usize::from(self.exchanges()));
        let mut progress = Progress::new(on.watch(), CARD.id, steps);
        let put = restoring.put_back(
            (Run { subject, inputs: &inputs }, &runs),
            (&objective, &metrics),
            (&memory, at_once),
            exchange,
            &mut progress,
        )?;
        let axes = [vec![restoring.layer_axis(subject)?], places].concat();
        let found = Found { said: &said, clean: &clean, put: &put, axes, groups: groups.len() };
        let (mut tables, effects) = found.tables(&self.settings.points)?;
        if let Some(positions) = &corrupted.positions {
            let map = inputs.map();
            let texts = positions.iter().filter_map(|at| map.tokens.get(*at)).map(|token| token.text.clone());
            let axes = vec![label::token_axis_at(map, positions)];
            tables.push(Labelled::texts("corrupted tokens", axes, texts.collect())?.aside());
        }
        let cautions = found.cautions(&effects)?;
        let of =
            corrupted.positions.as_ref().map_or_else(String::new, |own| format!(", {} positions", own.len()));
        let against = format!(
            "noise of {} x {sigma:.4} at `{}`{of}, {} draws",
            self.settings.sigmas, corrupted.site, self.draws
        );
        let answer =
            Answer::new(tables, sites).explaining(&objective).against(against).seeded(self.settings.seed);
        let positions = corrupted.positions.map(Positions::At);
        let answer = answer.settled("part", json!(restoring.part)).settled("site", json!(corrupted.site));
        Ok(answer
            .cautioned(cautions)
            .settled("corrupted", json!(positions))
            .settled("sigma", json!(sigma as f32)))
    }
}

/// Which item of a seed the places of the exchange follow from; draws of noise are counted from zero.
const EXCHANGE: u64 = 1 << 32;

/// An objective of a pass of one row.
fn one(objective: &Objective, trace: &mmlens_core::Trace) -> Result<f64, HookError> {
    let values = AnyTensor::new(objective.score(trace.output())?).finite_values(objective)?;
    values.first().map(|value| f64::from(*value)).ok_or(HookError::NoObjective)
}

/// What was found, of the answer's probability first.
struct Found<'a> {
    said: &'a [Objective],
    clean: &'a [f64],
    put: &'a PutBack,
    axes: Vec<Axis>,
    groups: usize,
}

impl Found<'_> {
    /// Of each draw one metric.
    fn draws(&self, metric: usize) -> impl Iterator<Item = &Measured> + Clone {
        self.put.measured.iter().filter_map(move |run| run.get(metric))
    }

    /// Of each point and layer and group its effects over the draws.
    fn effects(&self, metric: usize) -> Vec<Moments> {
        let count = self.draws(metric).map(|run| run.values.len()).min().unwrap_or(0);
        let of = |i: usize| {
            let each = self
                .draws(metric)
                .filter_map(move |run| Some(f64::from(*run.values.get(i)?) - f64::from(run.unedited)));
            Moments::of(each)
        };
        (0..count).map(of).collect()
    }

    /// The effect of all that noise takes, over the draws.
    fn total(&self, metric: usize) -> Moments {
        let clean = self.clean.get(metric).copied().unwrap_or(f64::NAN);
        Moments::of(self.draws(metric).map(|run| clean - f64::from(run.unedited)))
    }

    /// All tables, and the effects on what stands in front.
    fn tables(&self, points: &[Point]) -> Result<(Vec<Labelled>, Vec<f32>), AnalysisError> {
        let unit = self.said.first().map_or(Unit::None, Objective::unit);
        let layers = self.axes.first().cloned().into_iter().collect::<Vec<_>>();
        let each = layers.first().map_or(0, Axis::len) * self.groups;
        let all: Vec<Vec<Moments>> = (0..self.said.len()).map(|metric| self.effects(metric)).collect();
        let means = |own: &[Moments]| own.iter().map(|own| own.mean as f32).collect::<Vec<f32>>();
        let front = all.first().map_or(&[][..], Vec::as_slice);
        let (mut tables, mut aside) = (Vec::new(), Vec::new());
        for (at, point) in points.iter().enumerate() {
            let own = front.get(at * each..(at + 1) * each).unwrap_or_default();
            let name = point.name();
            tables.push(Labelled::numbers(name, unit, self.axes.clone(), means(own))?);
            let errors: Option<Vec<f32>> = own.iter().map(|own| Some(own.error()? as f32)).collect();
            if let Some(errors) = errors {
                let name = format!("{name}/standard error");
                aside.push(Labelled::numbers(name, unit, self.axes.clone(), errors)?);
            }
            if let (Some(second), Some(objective)) = (all.get(1), self.said.get(1)) {
                let own = second.get(at * each..(at + 1) * each).unwrap_or_default();
                let name = format!("{name}/objective");
                aside.push(Labelled::numbers(name, objective.unit(), self.axes.clone(), means(own))?);
            }
            let exchanged = self.exchanged(at, layers.first().map_or(0, Axis::len));
            if !exchanged.is_empty() {
                aside.push(Labelled::numbers(format!("{name}/exchanged"), unit, layers.clone(), exchanged)?);
            }
        }
        let front: Vec<f32> = means(front);
        let total = self.total(0);
        let scalar = |name: &str, unit, value: f64| Labelled::scalar(name, unit, value as f32);
        tables.push(scalar("total effect", unit, total.mean));
        if let Some(error) = total.error() {
            tables.push(scalar("total effect/standard error", unit, error));
        }
        for (metric, (own, suffix)) in self.said.iter().zip(["", " objective"]).enumerate() {
            let clean = self.clean.get(metric).copied().ok_or(HookError::NoObjective)?;
            let corrupted = Moments::of(self.draws(metric).map(|run| f64::from(run.unedited)));
            tables.push(scalar(&format!("clean{suffix}"), own.unit(), clean));
            tables.push(scalar(&format!("corrupted{suffix}"), own.unit(), corrupted.mean));
        }
        let draws: Vec<f32> = self.draws(0).map(|run| run.unedited).collect();
        let axis = vec![Axis::count(Role::Sample, draws.len())];
        aside.push(Labelled::numbers("corrupted by draw", unit, axis, draws)?);
        tables.extend(aside.into_iter().map(Labelled::aside));
        Ok((tables, front))
    }

    /// Of each layer of a point the mean effect of another noisy run's state; nothing, if there was no exchange.
    fn exchanged(&self, point: usize, layers: usize) -> Vec<f32> {
        let of = |layer: usize| {
            let each = self.put.exchanged.iter().zip(self.draws(0)).filter_map(move |(run, own)| {
                let value = run.first()?.get(point * layers + layer)?;
                Some(f64::from(*value) - f64::from(own.unedited))
            });
            let all = Moments::of(each);
            (all.count > 0.0).then_some(all.mean as f32)
        };
        (0..layers).filter_map(of).collect()
    }

    fn cautions(&self, effects: &[f32]) -> Result<Vec<Caution>, AnalysisError> {
        let said = self.said.first().ok_or(HookError::NoObjective)?;
        let clean = self.clean.first().copied().ok_or(HookError::NoObjective)? as f32;
        let total = self.total(0);
        let noisy = clean - total.mean as f32;
        let contrast =
            caution::contrast(said, (clean, "in the clean run"), (noisy, "with noise, on average"));
        let unsteady =
            contrast.is_none().then(|| caution::unsteady(total.mean, total.error(), "the total effect"));
        let rounding = caution::rounding(effects, (said.unit(), clean), "indirect effects");
        Ok(contrast.into_iter().chain(unsteady.flatten()).chain(rounding).collect())
    }
}
