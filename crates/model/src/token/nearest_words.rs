//! Nearest words: to which words of the vocabulary does what the connector made of the picture lie nearest, and is that nearer than chance?
//!
//! # Idea
//! With `h[l, k]` the stream at position `k` before block 0 (there what the connector gives) or behind a block, and `e[w]` the vector of word
//! `w`,
//!
//! ```text
//! cosine = h . e / (|h| |e|)      dot = h . e      distance = |h - e|
//! ```
//!
//! and the words are told that lie nearest: with the largest cosine or product, or the smallest distance; of equally near ones those with the
//! smaller number first. Beside each state stands a random vector of the same length: normal draws, scaled. A state that lies no nearer to
//! any word than random ones do is no word.
//!
//! A *word* is a token with two letters or more and nothing else, once a mark or space in front (`▁`, `Ġ`) or `</w>` behind is taken away.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `nearest` | layer, token | cosine, or of another measure activation | the score of the nearest word |
//! | `words` | layer, token, rank | text | the nearest words, nearest first |
//! | `scores` | layer, token, rank | as `nearest` | their scores |
//! | `ids` | layer, token, rank | | their numbers |
//! | `random` | layer, token | as `nearest` | the score of the nearest word of the random vector |
//! | `beyond random` | layer | ratio | the share of positions that lie nearer than every random vector of that depth |
//! | `word share`, `random word share` | layer | ratio | the share of positions (of random vectors) whose nearest token is a word |
//! | `vocabulary word share` | | ratio | the share of all tokens that are words |
//!
//! # Settings
//! - `dictionary`: `embedding`, the vectors that tokens enter with (Gemma's times their factor); `unembedding`, those that logits are made with.
//! - `measure`: `cosine`; products favour long vectors, distances short ones ([`Nearness`]).
//! - `positions`: those that show pictures; where none does, words ([`Positions`]).
//! - `layers`: behind all blocks, or some ([`Indices`]); before block 0 always.
//! - `top`: 5 words. `seed`: 0, of the random vectors.
//!
//! # Cost
//! One forward pass for as many depths as a quarter of the memory holds; then every state and as many random vectors times the dictionary, some
//! rows at a time: `2 x depths x positions x vocabulary x width` products. The dictionary is read once for each such pass.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no words. Running: [`AnalysisError::Input`] for a subject that shows no such weights, several rows,
//! positions that are not there; [`AnalysisError::Setting`] for a layer past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - What the connector gives need not live where words do: in most models it lies in a cone of its own, and its nearest words are few, the
//!   same everywhere, and mean nothing. The finding says when one token is nearest to most positions.
//! - A nearest word there always is. Look at `random` before at `words`.
//! - Behind blocks a state is on its way to an output; its nearest word by the embedding is not what the model would say.
//!   [`logit_lens`](crate::layer::logit_lens) reads it through the last norm.
//! - Pieces of words, names and other scripts are nearest as readily as words: see `word share` beside that of the vocabulary.
//!
//! # Agreement
//! NumPy in double precision on transformers' states and weights of `llava-a` and `gemma2-a`, every measure and both dictionaries: words equal,
//! largest difference of scores relative to the largest 4.5e-7. Identities tested: a token before block 0 is nearest to itself, with a cosine of 1
//! and a distance of 0, in a model without learned positions; of vectors of one length all measures agree.
//!
//! # Reference
//! Krojer et al.: LatentLens. 2026. <https://arxiv.org/abs/2602.00462> (as `EmbeddingLens`, by cosine); Yu, Ananiadou: Understanding
//! Multimodal LLMs: the Mechanistic Interpretability of LLaVA in Visual Question Answering. 2024. <https://arxiv.org/abs/2411.10950>. Both judge words by
//! hand or by another model; what a word is, and random vectors, are ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Sample};
//! use mmlens_model::NearestWords;
//! let finding = NearestWords::default().run(&mmlens_testkit::Toy::curved(1), &Case::new(Sample::text("abcab")))?;
//! println!("{:?}", finding.table("words")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Case, Cost, Leaf, On, Part, Seed, Subject,
    SubjectError, Through, WeightSpec,
};
use mmlens_engine::{Indices, Near, Nearest, Nearness, Positions, Progress, batches, normal, of_range};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::depths::Depths;
use crate::check::{at_least_one, input};

/// What this method is.
pub const CARD: Card = Card {
    id: "nearest-words",
    short: "words",
    name: "Nearest words of visual tokens",
    question: "To which words of the vocabulary does what the connector made of the picture lie nearest, and is that nearer than chance?",
    citation: "Krojer et al.: LatentLens: Revealing Highly Interpretable Visual Tokens in LLMs. 2026. https://arxiv.org/abs/2602.00462",
    leaf: Leaf::Token,
    cost: "1 forward + depths x positions x vocabulary products",
    needs: &[Capability::OwnWords, Capability::Weights(Part::Text)],
    misleads: &[
        "What the connector gives need not live where words do.",
        "A nearest word there always is: compare with random vectors.",
        "Behind blocks a state is on its way to an output.",
    ],
    first: false,
};

/// Which vectors stand for words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dictionary {
    /// Those that tokens enter with.
    #[default]
    Embedding,
    /// Those that logits are made with.
    Unembedding,
}

/// What is compared.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// With which vectors.
    pub dictionary: Dictionary,
    /// How near is near.
    pub measure: Nearness,
    /// At which positions; `None` for those that show pictures, or where none does, words.
    pub positions: Option<Positions>,
    /// Behind which blocks, beside before the first.
    pub layers: Indices,
    /// How many words are told.
    pub top: usize,
    /// The seed of the random vectors.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dictionary: Dictionary::Embedding,
            measure: Nearness::Cosine,
            positions: None,
            layers: Indices::All,
            top: 5,
            seed: Seed(0),
        }
    }
}

/// Nearest words with checked settings.
#[derive(Debug, Clone)]
pub struct NearestWords {
    settings: Settings,
    top: NonZeroUsize,
}

impl Default for NearestWords {
    fn default() -> Self {
        Self { settings: Settings::default(), top: NonZeroUsize::MIN.saturating_add(4) }
    }
}

/// A dictionary as it is stored, and what its rows are multiplied by.
struct Words {
    table: AnyTensor,
    rows: usize,
    width: usize,
    scale: f32,
}

impl Words {
    /// The dictionary as the subject publishes it.
    fn published(subject: &dyn Subject, dictionary: Dictionary) -> Result<&WeightSpec, SubjectError> {
        let name = match dictionary {
            Dictionary::Embedding => "text.embed",
            Dictionary::Unembedding => "text.unembed",
        };
        let spec = subject.weights().iter().find(|spec| spec.name == name);
        spec.ok_or_else(|| SubjectError::no_weight(subject, name))
    }

    fn of(subject: &dyn Subject, dictionary: Dictionary) -> Result<Self, AnalysisError> {
        let spec = Self::published(subject, dictionary)?;
        let name = spec.name.as_str();
        let [rows, width] = spec.dims()[..] else {
            return Err(input(
                &CARD,
                "a dictionary of rows",
                format!("`{name}` has {} axes", spec.axes.len()),
            ));
        };
        let through = spec.writes.as_ref().and_then(|port| port.through.as_ref());
        let scale = match (dictionary, through) {
            (Dictionary::Embedding, Some(Through::Scale(scale))) => *scale,
            _ => 1.0,
        };
        Ok(Self { table: subject.weight(name)?, rows, width, scale })
    }

    fn some(&self, range: &std::ops::Range<usize>) -> Result<Vec<f32>, AnalysisError> {
        let mut rows = self.table.part(0, range.start, range.len())?.finite_values("the dictionary")?;
        if self.scale != 1.0 {
            rows.iter_mut().for_each(|x| *x *= self.scale);
        }
        Ok(rows)
    }
}

impl Analysis for NearestWords {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let top = at_least_one(&CARD, "top", settings.top)?;
        Ok(Self { settings, top })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let chosen = (self.settings.positions.as_ref(), &self.settings.layers);
        let (depths, _) = Depths::of(&CARD, on, &inputs, chosen)?;
        Words::published(on.subject(), self.settings.dictionary)?;
        let passes = depths.sites.len().div_ceil(depths.at_once(on, COPIES).get());
        let cost = Cost::rows(passes);
        Ok(cost.taking(on.row(case, &inputs, &[])?.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, Settings { dictionary, measure, seed, .. }) = (on.subject(), &self.settings);
        let inputs = on.encode(&case.sample)?;
        let chosen = (self.settings.positions.as_ref(), &self.settings.layers);
        let (depths, positions) = Depths::of(&CARD, on, &inputs, chosen)?;
        let words = Words::of(subject, *dictionary)?;
        if words.width != depths.width {
            let found = format!("states have {} and words {}", depths.width, words.width);
            return Err(input(&CARD, "states and words of one width", found));
        }
        let at_once = depths.at_once(on, COPIES);
        let rounds = depths.sites.len().div_ceil(at_once.get());
        let mut progress = Progress::new(on.watch(), CARD.id, rounds * words.rows);
        let (mut near, mut random) = (Vec::new(), Vec::new());
        for range in batches(depths.sites.len(), at_once) {
            let first = range.start * depths.places.len();
            let (mut states, like) = depths.states(&CARD, on, &inputs, of_range(&depths.sites, range)?)?;
            let drawn = matched(&states, depths.width, *seed, first as u64);
            let count = states.len() / depths.width.max(1);
            states.extend(drawn);
            let mut nearest = Nearest::new(states, depths.width, (*measure, self.top), &like)?;
            let fit = on.memory().left() / 4 / nearest.of_a_row().max(1);
            let rows = NonZeroUsize::new(fit.clamp(1, MOST) as usize).unwrap_or(NonZeroUsize::MIN);
            for range in batches(words.rows, rows) {
                nearest.offer(&words.some(&range)?, range.start as u64)?;
                progress.advance(range.len())?;
            }
            let mut found = nearest.found();
            random.extend(found.split_off(count));
            near.extend(found);
        }
        let whole: Vec<bool> = (0..words.rows).map(|id| is_word(&subject.token(id as u32))).collect();
        let found = Found { measure: *measure, places: depths.places.len(), near, random, whole };
        let tables = found.tables(subject, &depths, self.top)?;
        let answer = Answer::new(tables, depths.sites.clone())
            .seeded(*seed)
            .cautioned(found.cautions(subject, &depths));
        Ok(answer.against("random vectors of the same lengths").settled("positions", json!(positions)))
    }
}

/// Numbers that are held for each of a state: itself and a random one, on the host and on the device.
pub(super) const COPIES: usize = 5;
/// So many words are compared at a time, at most.
const MOST: u64 = 8192;
/// One token that is nearest to more than this share of the positions is a hub.
const HUB: f64 = 0.5;

/// For each vector a random one of the same length.
pub(super) fn matched(states: &[f32], width: usize, seed: Seed, first: u64) -> Vec<f32> {
    let norm = |own: &[f64]| own.iter().map(|x| x * x).sum::<f64>().sqrt();
    let of = |(at, state): (usize, &[f32])| {
        let seed = seed.at(first + at as u64);
        let drawn: Vec<f64> = (0..width).map(|d| normal(seed.at(d as u64))).collect();
        let wide: Vec<f64> = state.iter().map(|x| f64::from(*x)).collect();
        let scale = norm(&wide) / norm(&drawn).max(f64::MIN_POSITIVE); // no NaN: finite draws
        drawn.into_iter().map(move |x| (x * scale) as f32).collect::<Vec<_>>()
    };
    states.chunks(width.max(1)).enumerate().flat_map(of).collect()
}

/// Whether a token is two letters or more and nothing else, but for marks around it.
pub(super) fn is_word(token: &str) -> bool {
    let bare = token.trim_start_matches(['▁', 'Ġ', ' ']).trim_end_matches("</w>");
    bare.chars().count() > 1 && bare.chars().all(char::is_alphabetic)
}

/// Of each depth, so many positions, the share of these that lie nearer than every random vector.
pub(super) fn beyond(measure: Nearness, near: &[Vec<Near>], random: &[Vec<Near>], places: usize) -> Vec<f64> {
    let score = |near: &Vec<Near>| near.first().map_or(0.0, |own| own.score);
    let depth = |(near, random): (&[Vec<Near>], &[Vec<Near>])| {
        let nearest = random.iter().map(score).reduce(|a, b| if measure.nearer(b, a) { b } else { a });
        let beyond = near.iter().filter(|own| nearest.is_none_or(|other| measure.nearer(score(own), other)));
        beyond.count() as f64 / near.len().max(1) as f64
    };
    near.chunks(places.max(1)).zip(random.chunks(places.max(1))).map(depth).collect()
}

/// What was found, `[depth, place]`.
struct Found {
    measure: Nearness,
    places: usize,
    near: Vec<Vec<Near>>,
    random: Vec<Vec<Near>>,
    whole: Vec<bool>,
}

impl Found {
    fn is_word(&self, near: &[Near]) -> bool {
        near.first().is_some_and(|own| self.whole.get(own.row as usize) == Some(&true))
    }

    fn beyond(&self) -> Vec<f64> {
        beyond(self.measure, &self.near, &self.random, self.places)
    }

    fn tables(
        &self,
        subject: &dyn Subject,
        depths: &Depths,
        top: NonZeroUsize,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let unit = if self.measure == Nearness::Cosine { Unit::Cosine } else { Unit::Activation };
        let (layer, ranks) = (depths.axis(), top.get().min(self.whole.len()));
        let places = vec![layer.clone(), depths.tokens.clone()];
        let ranked = [places.clone(), vec![Axis::count(Role::Rank, ranks)]].concat();
        let first = |of: &[Vec<Near>]| {
            of.iter().map(|own| own.first().map_or(0.0, |own| own.score as f32)).collect::<Vec<_>>()
        };
        let all = || self.near.iter().flatten();
        let share = |of: &[Vec<Near>]| {
            let depth = |own: &[Vec<Near>]| {
                own.iter().filter(|near| self.is_word(near)).count() as f32 / own.len().max(1) as f32
            };
            of.chunks(self.places.max(1)).map(depth).collect::<Vec<_>>()
        };
        let by_depth = |name: &str, values| Labelled::numbers(name, Unit::Ratio, vec![layer.clone()], values);
        let whole = self.whole.iter().filter(|own| **own).count() as f32 / self.whole.len().max(1) as f32;
        Ok(vec![
            Labelled::numbers("nearest", unit, places.clone(), first(&self.near))?,
            Labelled::texts(
                "words",
                ranked.clone(),
                all().map(|own| subject.token(own.row as u32)).collect(),
            )?,
            Labelled::numbers("scores", unit, ranked.clone(), all().map(|own| own.score as f32).collect())?,
            Labelled::numbers("ids", Unit::None, ranked, all().map(|own| own.row as f32).collect())?.aside(),
            Labelled::numbers("random", unit, places, first(&self.random))?.aside(),
            by_depth("beyond random", self.beyond().into_iter().map(|share| share as f32).collect())?,
            by_depth("word share", share(&self.near))?,
            by_depth("random word share", share(&self.random))?,
            Labelled::scalar("vocabulary word share", Unit::Ratio, whole),
        ])
    }

    fn cautions(&self, subject: &dyn Subject, depths: &Depths) -> Vec<Caution> {
        let mut said = Vec::new();
        if let Some(share) = self.beyond().first().copied().filter(|share| *share <= HUB) {
            let text = format!(
                "before block 0 {:.0} % of the positions lie nearer to a word than every random vector of their lengths: the nearest words of the others may be chance",
                100.0 * share
            );
            said.push(Caution::new(CautionKind::Other, share as f32, text));
        }
        let hub = |(depth, near): (usize, &[Vec<Near>])| {
            let mut counts = BTreeMap::<u64, usize>::new();
            near.iter()
                .filter_map(|own| own.first())
                .for_each(|own| *counts.entry(own.row).or_default() += 1);
            let (row, count) =
                counts.into_iter().max_by_key(|(row, count)| (*count, std::cmp::Reverse(*row)))?;
            Some((depth, row, count as f64 / near.len().max(1) as f64))
        };
        let hubs = self.near.chunks(self.places.max(1)).enumerate().filter_map(hub);
        let worst = hubs.filter(|_| self.places > 3).reduce(|a, b| if b.2 > a.2 { b } else { a }); // no NaN: shares of a count
        if let Some((depth, row, share)) = worst.filter(|(_, _, share)| *share > HUB) {
            let text = format!(
                "`{}` is the nearest word of {:.0} % of the positions {}: a hub, whatever they show",
                subject.token(row as u32),
                100.0 * share,
                depths.sites.get(depth).map_or_else(String::new, |site| super::depths::called(*site)),
            );
            said.push(Caution::new(CautionKind::Sink, share as f32, text));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::{is_word, matched};
    use mmlens_core::Seed;

    #[test]
    fn words_are_letters_alone() {
        for word in ["▁red", "Ġcat", "über", "dog</w>", "  yes"] {
            assert!(is_word(word), "{word}");
        }
        for other in ["a", "##ing", "<s>", "12", "▁", "▁x", "don't", ""] {
            assert!(!is_word(other), "{other}");
        }
    }

    #[test]
    fn random_vectors_have_the_lengths_of_states() {
        let states = [3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0];
        let drawn = matched(&states, 3, Seed(1), 0);
        let length = |own: &[f32]| own.iter().map(|x| x * x).sum::<f32>().sqrt();
        let lengths: Vec<f32> = drawn.chunks(3).map(length).collect();
        assert!(lengths.iter().zip([5.0, 0.0, 0.5]).all(|(a, b)| (a - b).abs() < 1e-6), "{lengths:?}");
        assert_eq!(matched(&states[3..], 3, Seed(1), 1), drawn[3..]);
    }
}
