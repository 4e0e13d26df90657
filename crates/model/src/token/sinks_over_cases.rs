//! Sinks over cases: do the same positions draw attention, or hold states unlike all others, whatever is shown?
//!
//! # Idea
//! Every case is looked at as [`sinks`](super::sinks) does, with the same bounds, and over `N` cases (of towers: over all their pictures)
//!
//! ```text
//! cases[K, l]     = share of the cases in which some position is of kind K in layer l
//! held[K, l]      = mean over cases of the share of attention that lies on positions of kind K;  held evenly: of even attention
//! frequency[K, l, k] = share of the cases in which position k is of kind K
//! ```
//!
//! A position that is of a kind in every case is so whatever it shows (a first token, a register that a place of the picture became); one
//! that is so now and then depends on it.
//!
//! # In and out
//! In: [`ManyCases`], each of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `cases` | kind, layer | ratio | `cases` |
//! | `held`, `held evenly` | kind, layer | ratio | `held`; the second is chance |
//! | `held, deviation` | kind, layer | ratio | standard deviation over cases of what lies on them (`N` in the denominator) |
//! | `count by kind of position` | kind, layer, place | count | how many positions are of the kind, in the mean over cases: `first` (the first of all), `image`, `text`, `special` |
//! | `frequency` | kind, layer, token or patch | ratio | `frequency`, where all cases have as many positions |
//! | `looked at` | | count | `N` |
//!
//! The kinds are those of [`sinks`](super::sinks). The first position is counted as `first` alone; those of clips count as `image`. Of a
//! tower a class token is `special`.
//!
//! # Settings
//! Those of [`sinks`](super::sinks::Settings).
//!
//! # Cost
//! One forward pass with explicit attention for each case.
//!
//! # Errors
//! As [`sinks`](super::sinks); [`AnalysisError::Input`] for a data set without cases.
//!
//! # When it misleads
//! - Positions of prompts of unlike lengths do not correspond; `frequency` is told where all have one length alone, and even then the same
//!   number may stand for another word.
//! - Cases that resemble one another are one case told often.
//! - Shares are of positions found by bounds: a position just below them in every case counts as none. Look at single cases, too.
//!
//! # Agreement
//! NumPy on transformers' weights and states of two questions about two pictures to `llava-a`: largest difference relative to the largest
//! value 4.0e-7. Identity tested: over one case, or the same case many times, everything is what [`sinks`](super::sinks) finds of it, and the deviation is zero.
//!
//! # Reference
//! Sun, Chen, Kolter, Liu: Massive Activations in Large Language Models. COLM 2024. <https://arxiv.org/abs/2402.17762>, who look at 100
//! sequences; Darcet et al.: Vision Transformers Need Registers. ICLR 2024. <https://arxiv.org/abs/2309.16588>, who count norms over pictures. Which
//! positions repeat is ours to tell.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Sample, from_fn};
//! use mmlens_model::SinksOverCases;
//! let words = from_fn("words", 4, |i| Ok(Case::new(Sample::text("ab".repeat(i + 2)))));
//! let toy = mmlens_testkit::Toy::curved(1);
//! let finding = SinksOverCases::default().run(&toy, &ManyCases::over(words)?)?;
//! println!("{:?}", finding.table("held")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Labels, Modality, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cost, Inputs, Leaf, ManyCases, On, Part, kind,
};
use mmlens_engine::{Indices, Progress, label};
use serde_json::json;

use super::sinks::Settings;
use super::sinks::measured::{KINDS, Looked};
use crate::check::input;

/// What this method is.
pub const CARD: Card = Card {
    id: "sinks-over-cases",
    short: "sinks-often",
    name: "Sinks over cases",
    question: "Do the same positions draw attention, or hold states unlike all others, whatever is shown?",
    citation: "Sun, Chen, Kolter, Liu: Massive Activations in Large Language Models. COLM 2024. https://arxiv.org/abs/2402.17762",
    leaf: Leaf::Token,
    cost: "1 forward with explicit attention for each case",
    needs: &[Capability::Attention],
    misleads: &[
        "Positions of prompts of unlike lengths do not correspond.",
        "Cases that resemble one another are one case told often.",
        "A position just below the bounds in every case counts as none.",
    ],
    first: false,
};

/// Sinks over cases with checked settings.
#[derive(Debug, Clone, Default)]
pub struct SinksOverCases {
    settings: Settings,
}

/// Places that positions are counted by.
const PLACES: [&str; 4] = ["first", "image", "text", "special"];
/// Fewer cases than this say little of how often.
const FEW: usize = 10;

/// What is gathered: of every kind and layer, one after the other.
#[derive(Default)]
struct Gathered {
    cases: usize,
    some: Vec<usize>,
    /// The mean so far, and the sum of squared differences from it (Welford 1962).
    held: Vec<[f64; 2]>,
    evenly: Vec<f64>,
    /// `[kind, layer, place]`.
    counts: Vec<[usize; 4]>,
    /// `[kind, layer, position]`, where all cases have as many.
    often: Option<Vec<Vec<usize>>>,
}

impl Analysis for SinksOverCases {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.check(&CARD)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, cases: &ManyCases) -> Result<Cost, AnalysisError> {
        let cost = Cost::rows(cases.len());
        if cases.is_empty() {
            return Ok(cost);
        }
        let case = cases.data().case(0)?;
        let inputs = on.encode(&case.sample)?;
        Ok(cost.taking(on.row(&case, &inputs, &[])?.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, cases: &ManyCases) -> Result<Answer, AnalysisError> {
        let mut progress = Progress::new(on.watch(), CARD.id, cases.len());
        let (mut all, mut last) = (Gathered::default(), None);
        for index in 0..cases.len() {
            let inputs = on.subject().encode(&cases.data().case(index)?.sample)?;
            let looked = Looked::of(&CARD, &self.settings, on, &inputs)?;
            all.take(&looked, &inputs, &self.settings)?;
            last = Some((looked.part, looked.layers, looked.sites));
            progress.advance(1)?;
        }
        let none = || input(&CARD, "at least one case", format!("`{}` has none", cases.data().name()));
        let (part, layers, sites) = last.ok_or_else(none)?;
        let layer = Indices::axis(Role::Layer, &layers, kind::blocks(on.subject(), part));
        let few = (all.cases < FEW).then(|| {
            let text = format!("{} cases were looked at: how often something happens takes more", all.cases);
            Caution::new(CautionKind::FewRows, all.cases as f32, text)
        });
        let tables = all.tables(layer, part)?;
        Ok(Answer::new(tables, sites).cautioned(few).settled("part", json!(part)))
    }
}

impl Gathered {
    /// One more case: every picture of a tower is one.
    fn take(&mut self, looked: &Looked, inputs: &Inputs, settings: &Settings) -> Result<(), AnalysisError> {
        let (rows, positions) = looked.shape();
        let cells = KINDS.len() * looked.seen.len();
        if self.cases == 0 {
            self.some = vec![0; cells];
            self.held = vec![[0.0; 2]; cells];
            self.evenly = vec![0.0; cells];
            self.counts = vec![[0; 4]; cells];
            self.often = Some(vec![vec![0; positions]; cells]);
        }
        if self.often.as_ref().is_some_and(|own| own.iter().any(|own| own.len() != positions)) {
            self.often = None;
        }
        for row in 0..rows {
            self.cases += 1;
            let cases = self.cases as f64;
            let places = places(looked, inputs, (row, rows, positions));
            for (at, layer) in looked.seen.iter().enumerate() {
                for (kind, found) in layer.found(settings, row).into_iter().enumerate() {
                    let cell = kind * looked.seen.len() + at;
                    let numbers: Vec<usize> =
                        (0..positions).filter(|k| found.get(*k) == Some(&true)).collect();
                    let sum = |of: &[f64]| -> f64 {
                        numbers.iter().filter_map(|k| of.get(row * positions + k)).sum()
                    };
                    let Self { some, held, evenly, counts, often, .. } = self;
                    if let (Some(some), Some(held), Some(evenly), Some(counts)) =
                        (some.get_mut(cell), held.get_mut(cell), evenly.get_mut(cell), counts.get_mut(cell))
                    {
                        *some += usize::from(!numbers.is_empty());
                        let ([mean, squares], value) = (held, sum(&layer.drawn.share));
                        let apart = value - *mean;
                        *mean += apart / cases;
                        *squares += apart * (value - *mean);
                        *evenly += sum(&layer.drawn.even);
                        for place in numbers.iter().filter_map(|k| places.get(*k)) {
                            counts.get_mut(*place).into_iter().for_each(|count| *count += 1);
                        }
                    }
                    if let Some(often) = often.as_mut().and_then(|often| often.get_mut(cell)) {
                        often.iter_mut().zip(&found).for_each(|(count, is)| *count += usize::from(*is));
                    }
                }
            }
        }
        Ok(())
    }

    fn tables(&self, layer: Axis, part: Part) -> Result<Vec<Labelled>, AnalysisError> {
        let all = self.cases.max(1) as f64;
        let axes = vec![Axis::names(Role::Concept, KINDS), layer];
        let table = |name: &str, values: Vec<f64>| {
            let values = values.into_iter().map(|value| value as f32).collect();
            Labelled::numbers(name, Unit::Ratio, axes.clone(), values)
        };
        let mut tables = vec![
            table("cases", self.some.iter().map(|some| *some as f64 / all).collect())?,
            table("held", self.held.iter().map(|[mean, _]| *mean).collect())?,
            table("held evenly", self.evenly.iter().map(|sum| sum / all).collect())?,
            table("held, deviation", self.held.iter().map(|[_, squares]| (squares / all).sqrt()).collect())?,
        ];
        let places = [axes.clone(), vec![Axis::names(Role::Key, PLACES)]].concat();
        let counts = self.counts.iter().flatten().map(|count| (*count as f64 / all) as f32).collect();
        tables.push(Labelled::numbers("count by kind of position", Unit::Count, places, counts)?);
        if let Some(often) = &self.often {
            let role = if part.entrance().is_some() { Role::Patch } else { Role::Token };
            let positions = Axis::count(role, often.first().map_or(0, Vec::len));
            let places = [axes, vec![positions]].concat();
            let often = often.iter().flatten().map(|count| (*count as f64 / all) as f32).collect();
            tables.push(Labelled::numbers("frequency", Unit::Ratio, places, often)?);
        }
        tables.push(Labelled::scalar("looked at", Unit::Count, self.cases as f32));
        Ok(tables)
    }
}

/// Of each position of a row, by which of [`PLACES`] it is counted.
fn places(looked: &Looked, inputs: &Inputs, (row, rows, positions): (usize, usize, usize)) -> Vec<usize> {
    let map = inputs.map();
    let of = |modality: Modality| match modality {
        Modality::Image | Modality::Video | Modality::Audio => 1,
        Modality::Special => 3,
        _ => 2,
    };
    let mut places: Vec<usize> = match looked.part {
        tower @ (Part::Vision | Part::Audio) => {
            match label::tower_axis(map, tower, row, rows, positions).labels {
                Labels::Tokens(tokens) => tokens.iter().map(|token| of(token.modality)).collect(),
                _ => vec![1; positions],
            }
        }
        _ => map.tokens.iter().map(|token| of(token.modality)).collect(),
    };
    places.resize(positions, 2);
    if let Some(first) = places.first_mut() {
        *first = 0;
    }
    places
}
