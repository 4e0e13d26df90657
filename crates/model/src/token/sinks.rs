//! Sinks and registers: which positions draw attention far beyond their share, and which hold states unlike all others?
//!
//! # Idea
//! With `A[h, q, k]` the attention weights of a layer over `n` positions and `x[k, d]` the stream behind it, each position `k` has
//!
//! ```text
//! share[k]  = mean over h and q of A[h, q, k]           even[k] = mean over q of (1 / s(q) where q sees k, else 0)
//! to h      = mean of A[h, q, k] over the q other than k with A[h, q, k] > 0
//! norm[k]   = sqrt(sum over d of x[k, d]^2)             largest[k] = max over d of |x[k, d]|
//! spike[k]  = max over d in D of |x[k, d]| / sqrt(mean over d of x[k, d]^2)
//! ```
//!
//! `s(q)` is how many positions `q` sees: those to which some head gives a weight above zero. Five kinds are told apart, each by a bound of
//! its own; a position may be of several:
//!
//! | kind | `k` is one if |
//! |---|---|
//! | `beyond even share` | `share[k] >= times * even[k]` |
//! | `sink` | `to h` is above `above` in more than the share `most` of the layer's heads (Gu et al. 2025) |
//! | `outlying norm` | `norm[k]` is at least `norm`: so many times the median over the positions, or a number (registers, Darcet et al. 2024) |
//! | `massive activation` | `largest[k]` is above `magnitude` and at least `over_median` times the median of `abs(x)` over positions and coordinates (Sun et al. 2024) |
//! | `spike` | `spike[k] >= spike` (visual sinks, Kang et al. 2025) |
//!
//! A median of an even number of values is the mean of the middle two.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `over even share` | layer, token | ratio | `share / even` |
//! | `attention` | layer, token | ratio | `share`: sums to one over positions |
//! | `even attention` | layer, token | ratio | `even`: likewise |
//! | `sink heads` | layer, token | ratio | the share of heads to which a position is a sink |
//! | `norm`, `norm over median` | layer, token | activation, ratio | `norm`, and over its median |
//! | `largest`, `largest over median` | layer, token | activation, ratio | `largest`, and over the median of all magnitudes |
//! | `spike` | layer, token | ratio | `spike` |
//! | `found` | kind, layer, token | | 1 where a position is of a kind, else 0 |
//! | `positions` | kind, layer | text | their numbers |
//! | `count` | kind, layer | count | how many they are |
//! | `held` | kind, layer | ratio | the share of all attention that lies on them |
//! | `held evenly` | kind, layer | ratio | the same of even attention: chance |
//!
//! Of a tower tokens are its positions (patches, and a class token); of several pictures each has its tables, `attention/0` and so on, and
//! medians of its own.
//!
//! # Settings
//! - `part`: the language model; where it has no attention, or an encoder of its own reads the words, the tower ([`Part`]).
//! - `layers`: all, or some by number ([`Indices`]).
//! - `point`: where in a block the stream is read: `resid_post`, before a norm behind it ([`Point`]).
//! - `times`: 10. Ours; no paper gives one.
//! - `above`: 0.3, and `most`: 0.5 of the heads. The first is that of Gu et al.; the second that of
//!   [`attention_rollout`](crate::layer::attention_rollout).
//! - `norm`: `{"median": 3.0}`. Darcet et al. cut the last layer of DINOv2-g at 150, seen in a histogram; `{"above": 150.0}` is that. For other
//!   models that number means nothing, and three medians lie about there.
//! - `magnitude`: 100, `over_median`: 1000, as Sun et al.
//! - `spike`: 20, as Kang et al.; `dimensions`: `D`, all. They name, for each model, the few where the first token is massive: `[1415, 2533]` for
//!   LLaMA-2-7B.
//!
//! # Cost
//! One forward pass with explicit attention, some queries at a time, in which each layer's stream is looked at as it passes. Memory: one
//! layer's stream, and some numbers a position and head.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for a bound that is negative or no number, a share above one. Running: [`AnalysisError::Input`] for a
//! subject or part without attention, a sample of several rows or without a picture; [`AnalysisError::Setting`] for a layer or dimension past
//! the end, a point outside of blocks; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A weight on a sink need not fetch anything: its value may be near zero (Gu et al. 2025). What its removal does, ablation says.
//! - The last positions of a causal decoder are looked at by few others, and means over few are large by chance; the finding counts such
//!   sinks.
//! - Bounds were read off large models. A state of width `D` cannot spike beyond `sqrt(D)`: below a width of 400 the published bound of
//!   20 finds nothing, and the finding says so.
//! - High norms also come from what is shown: a few bright patches on an empty background. Look whether positions repeat over pictures
//!   ([`sinks_over_cases`](super::sinks_over_cases)).
//!
//! # Agreement
//! NumPy on transformers' weights and states of `llava-a` (language model) and `clip-a` (tower): largest difference relative to the largest
//! value 5.4e-7. Identities tested: shares sum to one; all positions together hold all; with bounds at zero every position is found, with
//! bounds above the largest value none is.
//!
//! # Reference
//! Sun, Chen, Kolter, Liu: Massive Activations in Large Language Models. COLM 2024. <https://arxiv.org/abs/2402.17762>; Darcet, Oquab, Mairal,
//! Bojanowski: Vision Transformers Need Registers. ICLR 2024. <https://arxiv.org/abs/2309.16588>; Kang, Kim, Kim, Hwang: See What You Are
//! Told: Visual Attention Sink in Large Multimodal Models. ICLR 2025. <https://arxiv.org/abs/2503.03321>; Gu et al.: When Attention Sink Emerges
//! in Language Models. ICLR 2025. <https://arxiv.org/abs/2410.10781>. Departures: Gu et al. count a position's weight on itself, too; Kang et al. look
//! at visual tokens and a few dimensions alone, here all positions and dimensions are looked at unless `dimensions` says otherwise; Sun
//! et al. say "at least or around" 1000 medians, here it is at least.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Sample};
//! use mmlens_model::Sinks;
//! let toy = mmlens_testkit::Toy::curved(1);
//! let finding = Sinks::default().run(&toy, &Case::new(Sample::text("abcab")))?;
//! println!("{:?}", finding.table("positions")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Inputs, Leaf, On, Part, Point, Site,
    Subject, kind,
};
use mmlens_engine::{Indices, Progress, label, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{given, input, part_with_attention, setting};

pub(crate) mod measured;

use measured::{KINDS, Layer, Looked};

/// What this method is.
pub const CARD: Card = Card {
    id: "sinks-and-registers",
    short: "sinks",
    name: "Sinks and registers",
    question: "Which positions draw attention far beyond their share, and which hold states unlike all others?",
    citation: "Sun, Chen, Kolter, Liu: Massive Activations in Large Language Models. COLM 2024. https://arxiv.org/abs/2402.17762",
    leaf: Leaf::Token,
    cost: "1 forward with explicit attention",
    needs: &[Capability::Attention],
    misleads: &[
        "A weight on a sink need not fetch anything.",
        "Late positions are looked at by few, and means over few are large by chance.",
        "Published bounds were read off large models.",
    ],
    first: false,
};

/// What counts as far beyond.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where it does not look at words itself, the tower.
    pub part: Option<Part>,
    /// In which layers.
    pub layers: Indices,
    /// Where in a block the stream is read.
    pub point: Point,
    /// So many times its even share of attention is far beyond it.
    pub times: f32,
    /// A position is a sink to a head that gives it more than this, in the mean over those that look at it.
    pub above: f32,
    /// A position is a sink if it is one to more than this share of the heads.
    pub most: f32,
    /// A norm that is no longer ordinary.
    pub norm: Bound,
    /// A massive activation is above this,
    pub magnitude: f32,
    /// and at least so many times the median magnitude.
    pub over_median: f32,
    /// A coordinate that is so many times the root mean square of its state is a spike.
    pub spike: f32,
    /// Among these coordinates.
    pub dimensions: Indices,
}

/// A norm that is no longer ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// So many times the median over positions.
    Median(f32),
    /// This number.
    Above(f32),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            layers: Indices::All,
            point: Point::ResidPost,
            times: 10.0,
            above: 0.3,
            most: 0.5,
            norm: Bound::Median(3.0),
            magnitude: 100.0,
            over_median: 1000.0,
            spike: 20.0,
            dimensions: Indices::All,
        }
    }
}

impl Settings {
    pub(crate) fn check(&self, card: &Card) -> Result<(), AnalysisError> {
        let (Bound::Median(norm) | Bound::Above(norm)) = self.norm;
        for (name, bound) in [
            ("times", self.times),
            ("norm", norm),
            ("magnitude", self.magnitude),
            ("over_median", self.over_median),
            ("spike", self.spike),
        ] {
            if !(bound >= 0.0 && bound.is_finite()) {
                return Err(setting(card, name, bound, "a bound is a number that is not negative"));
            }
        }
        for (name, share) in [("above", self.above), ("most", self.most)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(setting(card, name, share, "a share lies between 0 and 1"));
            }
        }
        match self.point.in_block() {
            true => Ok(()),
            false => Err(setting(card, "point", self.point.name(), "a point must lie in a block")),
        }
    }
}

/// Sinks and registers with checked settings.
#[derive(Debug, Clone, Default)]
pub struct Sinks {
    settings: Settings,
}

/// Fewer others than this say little of a position in the mean.
const FEW: f64 = 8.0;

impl Analysis for Sinks {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.check(&CARD)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let cost = Cost::rows(inputs.rows());
        Ok(cost.taking(on.row(case, &inputs, &[])?.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1);
        let looked = Looked::of(&CARD, &self.settings, on, &inputs)?;
        progress.advance(1)?;
        let axes = axes(on.subject(), &inputs, &looked);
        let layer = Indices::axis(Role::Layer, &looked.layers, kind::blocks(on.subject(), looked.part));
        let mut tables = Vec::new();
        for (row, axis) in axes.iter().enumerate() {
            let named = |table: Labelled| {
                let name = format!("{}/{row}", table.name());
                if axes.len() > 1 { table.renamed(name) } else { table }
            };
            tables.extend(self.tables(&looked, row, (&layer, axis))?.into_iter().map(named));
        }
        let answer = Answer::new(tables, looked.sites.clone()).cautioned(self.cautions(&looked));
        Ok(answer.settled("part", json!(looked.part)))
    }
}

/// The positions that a part looks at, of each row or picture.
fn axes(subject: &dyn Subject, inputs: &Inputs, looked: &Looked) -> Vec<Axis> {
    let (rows, positions) = looked.shape();
    let own = kind::has(subject, Site::of(looked.part, Point::Embed)) && looked.part.entrance().is_none();
    let axis = |row: usize| match own {
        true if inputs.map().len() == positions => label::token_axis(inputs.map()),
        true => Axis::count(Role::Token, positions),
        false => label::tower_axis(inputs.map(), looked.part, row, rows, positions),
    };
    (0..rows).map(axis).collect()
}

/// A number of one position in one layer.
type Of<'a> = &'a dyn Fn(&Layer, usize) -> f64;

impl Sinks {
    fn tables(
        &self,
        looked: &Looked,
        row: usize,
        (layer, axis): (&Axis, &Axis),
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let layers = &looked.seen;
        let places = vec![layer.clone(), axis.clone()];
        let from = row * axis.len();
        let table = |name: &str, unit, of: Of<'_>| {
            let each =
                |layer: &Layer| (from..from + axis.len()).map(|at| of(layer, at) as f32).collect::<Vec<_>>();
            Labelled::numbers(name, unit, places.clone(), layers.iter().flat_map(each).collect())
        };
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let at = |of: &[f64], at: usize| of.get(at).copied().unwrap_or_default();
        let median = |of: &[f64]| at(of, row);
        let mut tables = vec![
            table("over even share", Unit::Ratio, &|l, k| {
                ratio(at(&l.drawn.share, k), at(&l.drawn.even, k))
            })?,
            table("attention", Unit::Ratio, &|l, k| at(&l.drawn.share, k))?,
            table("even attention", Unit::Ratio, &|l, k| at(&l.drawn.even, k))?.aside(),
        ];
        let heads = |layer: &Layer| {
            let all = layer.drawn.heads.max(1) as f32;
            layer
                .drawn
                .sinks(row, self.settings.above)
                .into_iter()
                .map(move |n| n as f32 / all)
                .collect::<Vec<_>>()
        };
        let sunk = layers.iter().flat_map(heads).collect();
        tables.extend([
            Labelled::numbers("sink heads", Unit::Ratio, places.clone(), sunk)?,
            table("norm", Unit::Activation, &|l, k| at(&l.stream.norms, k))?,
            table("norm over median", Unit::Ratio, &|l, k| {
                ratio(at(&l.stream.norms, k), median(&l.stream.median_norms))
            })?
            .aside(),
            table("largest", Unit::Activation, &|l, k| at(&l.stream.largest, k))?,
            table("largest over median", Unit::Ratio, &|l, k| {
                ratio(at(&l.stream.largest, k), median(&l.stream.medians))
            })?
            .aside(),
            table("spike", Unit::Ratio, &|l, k| at(&l.stream.spikes, k))?,
        ]);
        let found: Vec<_> = layers.iter().map(|layer| layer.found(&self.settings, row)).collect();
        let of_kinds = Axis::names(Role::Concept, KINDS);
        let by_kind = vec![of_kinds.clone(), layer.clone()];
        // What is said of one kind in one layer, kind by kind.
        let (mut all, mut positions) = (Vec::new(), Vec::new());
        let [mut count, mut held, mut evenly] = [(); 3].map(|()| Vec::new());
        for kind in 0..KINDS.len() {
            for (layer, found) in layers.iter().zip(&found) {
                let own = found.get(kind).map(Vec::as_slice).unwrap_or_default();
                all.extend(own.iter().map(|is| f32::from(u8::from(*is))));
                let numbers: Vec<usize> = (0..own.len()).filter(|at| own.get(*at) == Some(&true)).collect();
                let sum = |of: &[f64]| numbers.iter().map(|k| at(of, from + k)).sum::<f64>() as f32;
                count.push(numbers.len() as f32);
                held.push(sum(&layer.drawn.share));
                evenly.push(sum(&layer.drawn.even));
                positions.push(numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            }
        }
        let places = vec![of_kinds, layer.clone(), axis.clone()];
        tables.extend([
            Labelled::texts("positions", by_kind.clone(), positions)?,
            Labelled::numbers("count", Unit::Count, by_kind.clone(), count)?,
            Labelled::numbers("held", Unit::Ratio, by_kind.clone(), held)?,
            Labelled::numbers("held evenly", Unit::Ratio, by_kind, evenly)?,
            Labelled::numbers("found", Unit::None, places, all)?.aside(),
        ]);
        Ok(tables)
    }

    fn cautions(&self, looked: &Looked) -> Vec<Caution> {
        let mut said = Vec::new();
        let (rows, positions) = looked.shape();
        let few = |layer: &Layer| {
            let of_row = |row: usize| {
                let sinks = layer.found(&self.settings, row).into_iter().nth(1).unwrap_or_default();
                let seen = layer.drawn.seen_by.iter().skip(row * positions);
                sinks.into_iter().zip(seen).filter(|(is, seen)| *is && **seen < FEW).count()
            };
            (0..rows).map(of_row).sum::<usize>()
        };
        let count: usize = looked.seen.iter().map(few).sum();
        if count > 0 {
            let text = format!(
                "{count} of the sinks found, over all layers, are seen by fewer than {FEW} other positions: a mean over few is large by chance"
            );
            said.push(Caution::new(CautionKind::FewRows, count as f32, text));
        }
        let most = (looked.width as f32).sqrt();
        if self.settings.spike > most {
            let text = format!(
                "no state of width {} can spike beyond {most:.1}, and `spike` asks for {}: none can be found",
                looked.width, self.settings.spike
            );
            said.push(Caution::new(CautionKind::Other, most, text));
        }
        said
    }
}

/// The part looked at, and its sites of attention weights and of the stream.
fn sites(
    card: &Card,
    settings: &Settings,
    subject: &dyn Subject,
    inputs: &Inputs,
) -> Result<(Part, Vec<usize>, [Vec<Site>; 2]), AnalysisError> {
    let part = part_with_attention(card, subject, settings.part)?;
    match part {
        Part::Text => drop(one_row(card.id, inputs)?),
        _ => given(card, inputs, part)?,
    }
    let layers = settings.layers.chosen(card.id, "layers", kind::blocks(subject, part))?;
    let at = |point| layers.iter().map(|layer| Site::block(part, *layer, point)).collect::<Vec<_>>();
    let streams = at(settings.point);
    if let Some(none) = streams.iter().find(|site| !kind::has(subject, **site)) {
        return Err(input(card, "a point that the part publishes", format!("`{none}` is not published")));
    }
    Ok((part, layers.clone(), [at(Point::Pattern), streams]))
}
