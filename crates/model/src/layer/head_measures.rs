//! Head measures: which heads look at the picture when the answer is decided, and how narrowly?
//!
//! # Idea
//! With `A[l, h, n, k]` the attention weights of the position `n` at which an answer is read, and `I` the positions of the picture (or others),
//!
//! ```text
//! share    = sum over k in I of A[l, h, n, k]
//! evenness = -sum over k in I of p ln p / ln |I|,   p = A[l, h, n, k] / share
//! score    = share (1 - evenness)
//! ```
//!
//! A head with a large share that lies on few patches has a high score: it fetches something from a place. Even attention over all positions
//! that `n` sees has the share `|I| / seen` and the score zero; it stands beside as what says nothing.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `score` | layer, head | ratio | the score; also by answer token |
//! | `share` | layer, head | ratio | how much lies on the picture; also by answer token |
//! | `evenness` | layer, head | ratio | 1 where all its positions have the same, 0 where one has all, or none has any |
//! | `entropy` | layer, head | nat | of all weights |
//! | `even share` | layer | ratio | what even attention has on the picture |
//! | `even entropy` | layer | nat | its entropy, the logarithm of how many positions are seen |
//! | `cautions` | rank | text | no head with more than even attention has; nearly all on the first token or a marker; one position with more than half of all that is looked at |
//!
//! Of an answer of several tokens the means over the positions that decide them.
//!
//! # Settings
//! - `part`: the language model; where it has no attention, or an encoder of its own reads the words, the tower ([`Part`]).
//! - `among`: what is looked at, `I`: positions of pictures, or where the sample shows none its question; any others of the prompt
//!   ([`Positions`]). Of a tower its patches; positions are those of its own sequence, and the mean over pictures and tiles is told.
//! - `positions`: who looks: the last, where the answer is read; any others, of which the mean is told. Of a tower the class token; of one that has none
//!   all positions.
//! - `layers`: all, or some by number ([`Indices`]).
//!
//! # Cost
//! One forward pass with explicit attention, some queries at a time.
//!
//! # Errors
//! Running: [`AnalysisError::Input`] for a subject or part without attention, a sample without what is looked at, several rows,
//! positions that are not there; [`AnalysisError::Setting`] for a layer past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A head that looks somewhere need not use what it finds there; cut its edges
//!   ([`attention_knockout`](super::attention_knockout) with `heads`) before you say so.
//! - One sample says little: heads that look at this picture may look elsewhere in the next. Compare several (`--cases`).
//! - Many positions make a large share easy: read `share` beside `even share`. Where no head has more it is spoken of.
//! - Sinks among the patches (registers) draw narrow attention without being looked at for their place
//!   (Darcet et al. 2024, "Vision Transformers Need Registers"). Where one of four positions or more has over half of what all heads of all layers give to
//!   them, it is spoken of: heads that seek the same place look like that too, but rarely all of them.
//! - Shares are of what a sink outside of the picture leaves: nine tenths on the first token or a marker are spoken of (of a language model).
//!
//! # Agreement
//! NumPy on transformers' weights of `llava-a`'s language model and, from the class token, of `clip-a`'s tower: largest difference 3.6e-7. Identities tested: shares over all kinds of positions sum to one;
//! even weights have the even share and no score; some layers are rows of all.
//!
//! # Reference
//! The share is that of Kang et al.: Your Large Vision-Language Model Only Needs A Few Attention Heads For Visual Grounding. CVPR 2025.
//! <https://arxiv.org/abs/2503.06287>, who rank heads by the sum over the picture and by the spatial entropy of where it lies; here the entropy
//! is that of the weights themselves, without regard to which patches lie side by side.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::HeadMeasures;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = HeadMeasures::default().run(subject, case)?;
//! println!("{:?}", finding.table("score")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use mmlens_core::finding::{
    Axis, Caution, CautionKind, Labelled, NotFinite, Role, TokenLabel, Unit, largest, top,
};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Inputs, Leaf, Objective, On, Part, Point,
    Site, caution, kind,
};
use mmlens_engine::{Indices, Looks, Positions, Progress, Spoken, looks, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{not_finite, part_with_attention, passes_of_reading, positions_read};
use crate::sequence::Sequence;

/// What this method is.
pub const CARD: Card = Card {
    id: "head-measures",
    short: "heads",
    name: "Head measures",
    question: "Which heads look at the picture when the answer is decided, and how narrowly?",
    citation: "Kang et al.: Your Large Vision-Language Model Only Needs A Few Attention Heads For Visual Grounding. CVPR 2025. https://arxiv.org/abs/2503.06287",
    leaf: Leaf::Layer,
    cost: "1 forward with explicit attention",
    needs: &[Capability::Attention],
    misleads: &[
        "A head that looks somewhere need not use what it finds there.",
        "One sample says little.",
        "Many positions make a large share easy.",
    ],
    first: false,
};

/// Who looks at what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or, where it has no attention, or an encoder of its own reads the words, the tower.
    pub part: Option<Part>,
    /// What is looked at; `None` for pictures, or of a sample that shows none the question.
    pub among: Option<Positions>,
    /// Which positions look.
    pub positions: Positions,
    /// In which layers.
    pub layers: Indices,
}

impl Default for Settings {
    fn default() -> Self {
        Self { part: None, among: None, positions: Positions::Last, layers: Indices::All }
    }
}

/// Head measures with checked settings.
#[derive(Debug, Clone, Default)]
pub struct HeadMeasures {
    settings: Settings,
}

impl Analysis for HeadMeasures {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let subject = on.subject();
        let read = match part_with_attention(&CARD, subject, self.settings.part)? {
            Part::Text if Capability::Answer.lacking(subject).is_none() => {
                case.settling() + passes_of_reading(subject, &on.form(case, &inputs)?)
            }
            Part::Text => 0,
            // First of all it says what is wrong with the positions.
            part => {
                self.in_tower(on, case, part)?;
                0
            }
        };
        let cost = Cost::rows(read + 1);
        Ok(cost.taking(on.row(case, &inputs, &[])?.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, memory) = (on.subject(), on.memory());
        let part = part_with_attention(&CARD, subject, self.settings.part)?;
        let Looked { inputs, objective, among, there, queries, spoken } = match part {
            Part::Text => self.among_words(on, case)?,
            _ => self.in_tower(on, case, part)?,
        };
        let of = kind::blocks(subject, part);
        let layers = self.settings.layers.chosen(CARD.id, "layers", of)?;
        let sites: Vec<Site> = layers.iter().map(|layer| Site::block(part, *layer, Point::Pattern)).collect();
        let mut progress = Progress::new(on.watch(), CARD.id, 1);
        let seen = looks(subject, &inputs, &sites, &queries, (&memory, CARD.id))?;
        progress.advance(1)?;
        let layer = Indices::axis(Role::Layer, &layers, of);
        let heads = Axis::count(Role::Head, seen.first().map_or(0, |looks| looks.heads));
        let axes = vec![layer.clone(), heads];
        let made = |some: &[usize]| -> Result<Vec<Labelled>, AnalysisError> {
            let all: Vec<Measures> = seen.iter().flat_map(|looks| measured(looks, some, &there)).collect();
            let each = |name: &str, unit, of: fn(&Measures) -> f64| {
                let values = all.iter().map(|own| of(own) as f32).collect();
                Labelled::numbers(name, unit, axes.clone(), values)
            };
            Ok(vec![
                each("score", Unit::Ratio, |own| own.score)?,
                each("share", Unit::Ratio, |own| own.share)?,
                each("evenness", Unit::Ratio, |own| own.evenness)?.aside(),
                each("entropy", Unit::Nat, |own| own.entropy)?.aside(),
            ])
        };
        let all: Vec<usize> = (0..queries.len()).collect();
        let each = (0..spoken.objectives().len()).map(|at| made(&[at]));
        let mut tables = spoken.with_each(std::iter::once(made(&all)).chain(each))?;
        let even: Vec<(f64, f64)> = seen.iter().map(|looks| even(looks, &all, &there)).collect();
        let of_layer =
            |name: &str, unit, values: Vec<f32>| Labelled::numbers(name, unit, vec![layer.clone()], values);
        tables.push(of_layer("even share", Unit::Ratio, even.iter().map(|own| own.0 as f32).collect())?);
        tables.push(of_layer("even entropy", Unit::Nat, even.iter().map(|own| own.1 as f32).collect())?);
        let most = seen.iter().map(|looks| most(&measured(looks, &all, &there)));
        let most = most.collect::<Result<Vec<f64>, _>>().map_err(|own| not_finite(&CARD, "share", own))?;
        let tokens = if part == Part::Text { inputs.map().tokens.as_slice() } else { &[] };
        let cautions = cautions((&most, &even), &overall(&seen, &all), (&there, tokens));
        let cautions = cautions.map_err(|own| not_finite(&CARD, "share", own))?;
        let answer = Answer::new(tables, sites).cautioned(cautions);
        let answer = answer.settled("among", json!(among)).settled("part", json!(part));
        Ok(if let Some(objective) = &objective { answer.explaining(objective) } else { answer })
    }
}

/// Who looks at what, of a case.
struct Looked {
    inputs: Inputs,
    /// Of a language model, what its answer is.
    objective: Option<Objective>,
    among: Positions,
    there: Vec<usize>,
    queries: Vec<usize>,
    spoken: Spoken,
}

impl HeadMeasures {
    /// Of a language model.
    fn among_words(&self, on: &On<'_>, case: &Case) -> Result<Looked, AnalysisError> {
        let answers = Capability::Answer.lacking(on.subject()).is_none();
        let (inputs, objective) = match answers {
            true => on.open(case).map(|(inputs, objective)| (inputs, Some(objective)))?,
            false => (on.encode(&case.sample)?, None),
        };
        let map = one_row(CARD.id, &inputs)?;
        let among = match &self.settings.among {
            Some(among) => among.clone(),
            None => match Positions::perceived(map) {
                shown if shown.of(map).is_ok_and(|some| !some.is_empty()) => shown,
                _ => Positions::Question,
            },
        };
        let there = among.chosen(CARD.id, map)?;
        let positions = &self.settings.positions;
        let (queries, spoken) = match &objective {
            Some(objective) => positions_read(&CARD, on, case, (&inputs, objective), positions)?,
            None => (positions.chosen(CARD.id, map)?, Spoken::none()),
        };
        Ok(Looked { objective, among, there, queries, spoken, inputs })
    }

    /// Of a tower.
    fn in_tower(&self, on: &On<'_>, case: &Case, part: Part) -> Result<Looked, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let sequence = Sequence::of_part(&CARD, on.subject(), &inputs, part)?;
        let among = match (&self.settings.among, sequence.has_class()) {
            (Some(among), _) => among.clone(),
            (None, Some(_)) => Positions::Pictures,
            (None, None) => Positions::All,
        };
        let there = sequence.chosen(&among)?;
        let queries = match (&self.settings.positions, sequence.has_class()) {
            // Most of what is padded is padding.
            (Positions::Last, Some(false)) if part == Part::Audio => {
                sequence.chosen(&Positions::Recordings)?
            }
            (Positions::Last, Some(false) | None) => sequence.chosen(&Positions::All)?,
            (positions, _) => sequence.chosen(positions)?,
        };
        Ok(Looked { objective: None, among, there, queries, spoken: Spoken::none(), inputs })
    }
}

/// What is said of a head, in the mean over some queries.
#[derive(Debug, Clone, Copy, Default)]
struct Measures {
    score: f64,
    share: f64,
    evenness: f64,
    entropy: f64,
}

/// Some queries of every row: of a tower of every picture and tile.
fn of_rows<'a>(looks: &Looks, queries: &'a [usize]) -> impl Iterator<Item = (usize, usize)> + 'a {
    (0..looks.rows).flat_map(move |row| queries.iter().map(move |query| (row, *query)))
}

/// Of every head of a layer.
fn measured(looks: &Looks, queries: &[usize], among: &[usize]) -> Vec<Measures> {
    let mut all = vec![Measures::default(); looks.heads];
    let count = (looks.rows * queries.len()).max(1) as f64;
    for (row, query) in of_rows(looks, queries) {
        for (own, weights) in all.iter_mut().zip(looks.of(row, query).chunks(looks.keys.max(1))) {
            let there: Vec<f64> =
                among.iter().filter_map(|at| weights.get(*at)).map(|v| f64::from(*v)).collect();
            let share: f64 = there.iter().sum();
            // Over one position, or with nothing there, there is nothing to be even about.
            let evenness = match share > 0.0 && there.len() > 1 {
                true => entropy(there.iter().map(|v| v / share)) / (there.len() as f64).ln(),
                false => 0.0,
            };
            own.share += share / count;
            own.evenness += evenness / count;
            own.score += share * (1.0 - evenness) / count;
            own.entropy += entropy(weights.iter().map(|v| f64::from(*v))) / count;
        }
    }
    all
}

/// What even attention over the positions that some queries see has on others, and its entropy, in the mean over the queries.
fn even(looks: &Looks, queries: &[usize], among: &[usize]) -> (f64, f64) {
    let (mut share, mut entropy, count) = (0.0, 0.0, (looks.rows * queries.len()).max(1) as f64);
    for (row, query) in of_rows(looks, queries) {
        let rows: Vec<&[f32]> = looks.of(row, query).chunks(looks.keys.max(1)).collect();
        let sees = |key: usize| rows.iter().any(|row| row.get(key).is_some_and(|v| *v > 0.0));
        let seen = (0..looks.keys).filter(|key| sees(*key)).count().max(1) as f64;
        let there = among.iter().filter(|key| sees(**key)).count() as f64;
        share += there / seen / count;
        entropy += seen.ln() / count;
    }
    (share, entropy)
}

/// The largest share that a head has.
fn most(heads: &[Measures]) -> Result<f64, NotFinite> {
    largest(&heads.iter().map(|own| own.share).collect::<Vec<f64>>())
}

/// What each position has of the weights of some queries, in the mean over layers and heads.
fn overall(seen: &[Looks], queries: &[usize]) -> Vec<f64> {
    let mut sums: Vec<f64> = Vec::new();
    let mut count = 0.0;
    for looks in seen {
        for (row, query) in of_rows(looks, queries) {
            for weights in looks.of(row, query).chunks(looks.keys.max(1)) {
                sums.resize(sums.len().max(weights.len()), 0.0);
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += f64::from(*weight));
                count += 1.0;
            }
        }
    }
    sums.into_iter().map(|sum| sum / f64::max(count, 1.0)).collect() // no NaN: a number of rows
}

/// From so many positions on one that has more than half of them is told from chance.
const SEVERAL: usize = 4;

/// What speaks against the measures: the largest share of a head and what even attention has, layer by layer; what each position has of all; what is looked at, and
/// what the positions are, where a sink of the whole sequence is known by its token.
fn cautions(
    (most, even): (&[f64], &[(f64, f64)]),
    overall: &[f64],
    (there, tokens): (&[usize], &[TokenLabel]),
) -> Result<Vec<Caution>, NotFinite> {
    let mut said = Vec::new();
    let ahead: Vec<f64> = most.iter().zip(even).map(|(own, (even, _))| own - even).collect();
    let furthest = top(&ahead)?.and_then(|layer| ahead.get(layer).copied());
    if let Some(ahead) = furthest.filter(|ahead| *ahead <= 0.0) {
        let text = format!(
            "no head gives what is looked at more than even attention would: the nearest has {:.3} less, so that the scores rank what is left over",
            -ahead
        );
        said.push(Caution::new(CautionKind::NoBetter, ahead as f32, text));
    }
    let narrow: Vec<f32> = overall.iter().map(|share| *share as f32).collect();
    let hint = ", in the mean over layers and heads: shares are of what is left";
    said.extend(caution::sink(&narrow, tokens, hint));
    let own: Vec<f64> = there.iter().filter_map(|at| overall.get(*at)).copied().collect();
    let all: f64 = own.iter().sum();
    let looked_at = top(&own)?.and_then(|place| Some((there.get(place)?, own.get(place)?)));
    if let Some((at, most)) = looked_at.filter(|(_, most)| own.len() >= SEVERAL && **most > 0.5 * all) {
        let share = most / all;
        let text = format!(
            "of all that heads of all layers give to what is looked at, {:.0} % lies at position {at}: a sink draws narrow attention without being looked at for its place",
            100.0 * share
        );
        said.push(Caution::new(CautionKind::Sink, share as f32, text));
    }
    Ok(said)
}

fn entropy(shares: impl Iterator<Item = f64>) -> f64 {
    shares.filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}

#[cfg(test)]
mod tests {
    use mmlens_engine::Looks;

    use super::{even, measured};

    /// Two heads that see four positions: one evenly, one at a single place of the picture, which is the last two.
    #[test]
    fn an_even_head_has_no_score_and_a_narrow_one_all_of_its_share() {
        let values = vec![0.25, 0.25, 0.25, 0.25, 0.0, 0.25, 0.0, 0.75];
        let looks = Looks { rows: 1, heads: 2, queries: 1, keys: 4, values };
        let [one, two] = measured(&looks, &[0], &[2, 3])[..] else { unreachable!() };
        assert!(
            (one.share, one.evenness, one.score) == (0.5, 1.0, 0.0)
                && (one.entropy - 4_f64.ln()).abs() < 1e-12
        );
        assert_eq!((two.share, two.evenness, two.score), (0.75, 0.0, 0.75));
        assert_eq!(even(&looks, &[0], &[2, 3]), (0.5, 4_f64.ln()));
        // Two pictures of a tower, one head: the mean over both.
        let values = vec![0.25, 0.25, 0.25, 0.25, 0.0, 0.25, 0.0, 0.75];
        let pictures = Looks { rows: 2, heads: 1, queries: 1, keys: 4, values };
        let [both] = measured(&pictures, &[0], &[2, 3])[..] else { unreachable!() };
        assert_eq!((both.share, both.evenness, both.score), (0.625, 0.5, 0.375));
        assert_eq!(even(&pictures, &[0], &[2, 3]).0, 0.5);
        let none = measured(&looks, &[0], &[0]);
        assert_eq!((none[1].share, none[1].evenness, none[1].score), (0.0, 0.0, 0.0));
    }
}
