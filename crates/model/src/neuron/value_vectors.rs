//! Value vectors as words: what does a neuron write, read as words?
//!
//! # Idea
//! The MLP of layer `l` writes `sum over u of a[l, u] w[l, u]` to the stream, with `w[l, u]` the column of its output projection that belongs
//! to neuron `u`, its value vector. Read by the unembedding `U` it is a score of every word,
//!
//! ```text
//! logits[l, u] = U fold(w[l, u])      fold(w) = g (w - mean w) with the gain g of the last norm (without the mean for an RMS norm), or w
//! stands out   = (largest logit - their mean) / their standard deviation, over the vocabulary
//! ```
//!
//! If the neuron holds a negative value, it is its lowest words that it writes.
//!
//! # In and out
//! In: a [`Case`]. Out, of the neurons chosen, called `layer.neuron`:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `words` | neuron, rank | text | words of the largest logits |
//! | `logits` | neuron, rank | logit | theirs, per unit of activation |
//! | `lowest words`, `lowest logits` | neuron, rank | text, logit | the same from the other end, the lowest first |
//! | `activation` | neuron | activation | what the neuron holds where the answer is read: in the mean, where that is several positions |
//! | `length` | neuron | ratio | the length of its value vector |
//! | `stands out` | neuron | ratio | as above, dividing by the number of words |
//! | `shuffled stands out` | neuron | ratio | the same of the value vector with its coordinates shuffled: what chance gives |
//!
//! # Settings
//! - `neurons`: none are named, so that those are shown whose `abs(activation) x length` is largest, of equal ones the earlier; or some,
//!   as `["2.17", "3.5"]`, in this order ([`NeuronAt`]).
//! - `count`: 20 are shown where none are named; `layers`: among all layers, or some ([`Indices`]).
//! - `top`: 10 words.
//! - `fold`: `norm`, the gain of the last norm is folded in; `none`, as the references have it ([`Fold`]).
//! - `seed`: 0, of what is shuffled.
//!
//! # Cost
//! One pass (more where not all layers fit at once), which ends at the last of the layers, and a product with the unembedding for each
//! neuron shown. Memory: the logits of those, twice.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no words or neurons. Running: [`AnalysisError::Input`] for a subject whose language model shows no
//! weights, or whose stream is normed behind its sums, an objective that looks at no position of the output, several rows;
//! [`AnalysisError::Setting`] for a neuron or layer that there is not; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Later layers read the stream before the unembedding does: a neuron of an early layer need not mean the words that it writes.
//! - Many value vectors say nothing: see `stands out` beside `shuffled stands out`.
//! - A neuron that writes a word also writes a thousand others a little; sums of many decide.
//! - Frequent and rare words have long rows in the unembedding, and come first for no reason of the neuron.
//!
//! # Agreement
//! torch on the weights of `llava-a` (RMS norm), `gpt2-a` (layer norm) and `gemma2-a` (norm behind the MLP), with and without folding: words
//! equal, logits within 1e-6. Identities tested: the sum of all value vectors times their activations, read so, is what the MLP's
//! output is read as; the lowest words are those of the negative vector.
//!
//! # Reference
//! Geva et al.: Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the Vocabulary Space. EMNLP 2022.
//! <https://arxiv.org/abs/2203.14680>; in multimodal models Pan et al.: Finding and Editing Multi-Modal Neurons in Pre-Trained Transformers.
//! ACL Findings 2024. <https://arxiv.org/abs/2311.07470>. Both leave out the norm. What stands out, and chance, are ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Sample};
//! use mmlens_model::value_vectors::{Settings, ValueVectors};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let method = ValueVectors::new(Settings { count: 3, top: 2, ..Settings::default() })?;
//! let finding = method.run(&toy, &Case::new(Sample::text("abc")))?;
//! println!("{:?}", finding.table("words")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Leaf, Need, On, Part, Seed, Subject,
};
use mmlens_engine::distribution::largest;
use mmlens_engine::{Fold, Indices, NeuronAt, Progress, Unembedding, shuffled};
use serde::{Deserialize, Serialize};

use super::written::{Written, value_vectors};
use crate::check::{at_least_one, input, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "value-vectors",
    short: "values",
    name: "Value vectors as words",
    question: "What does a neuron write, read as words?",
    citation: "Geva et al.: Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the Vocabulary Space. EMNLP 2022. https://arxiv.org/abs/2203.14680",
    leaf: Leaf::Neuron,
    cost: "1 forward, 1 product with the unembedding for each neuron shown",
    needs: &[
        Capability::Neurons,
        Capability::Blocks(Part::Text),
        Capability::RunningSum(Part::Text),
        Capability::ReadOut(Part::Text),
        Capability::Unembedding,
    ],
    misleads: &[
        "Later layers read the stream before the unembedding does.",
        "Many value vectors say nothing: compare with shuffled ones.",
        "Frequent and rare words come first for no reason of the neuron.",
    ],
    first: false,
};

/// Fewer than this share of the neurons that stand out beyond chance are cautioned of.
const BEYOND: f64 = 0.5;

/// What is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which neurons; `None` for those that write most in this case.
    pub neurons: Option<Vec<NeuronAt>>,
    /// How many, where none are named.
    pub count: usize,
    /// Among which layers, where none are named.
    pub layers: Indices,
    /// How many words.
    pub top: usize,
    /// What becomes of a value vector in front of the unembedding.
    pub fold: Fold,
    /// The seed of what is shuffled.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { neurons: None, count: 20, layers: Indices::All, top: 10, fold: Fold::Norm, seed: Seed(0) }
    }
}

/// Value vectors with checked settings.
#[derive(Debug, Clone)]
pub struct ValueVectors {
    settings: Settings,
}

impl ValueVectors {
    /// What is read: the layers that are named, or those of the neurons that are.
    fn written<'a>(&self, on: &On<'a>, case: &'a Case) -> Result<Written<'a>, AnalysisError> {
        let layers = match &self.settings.neurons {
            Some(some) => Indices::At(some.iter().map(|own| own.layer).collect()),
            None => self.settings.layers.clone(),
        };
        Written::of(&CARD, on, case, &layers)
    }

    /// Which neurons are shown, each with what it holds and the length of its value vector.
    fn chosen(
        &self,
        subject: &dyn Subject,
        written: &Written<'_>,
        held: &[Vec<f32>],
    ) -> Result<Vec<Chosen>, AnalysisError> {
        let mut all = Vec::new();
        for (layer, held) in written.neurons.layers().iter().zip(held) {
            let lengths = value_vectors(&CARD, subject, *layer)?.lengths()?;
            for (neuron, (activation, length)) in held.iter().zip(lengths).enumerate() {
                all.push(Chosen { at: NeuronAt { layer: *layer, neuron }, activation: *activation, length });
            }
        }
        let Some(named) = &self.settings.neurons else {
            let size = |own: &Chosen| f64::from(own.activation.abs()) * f64::from(own.length);
            all.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.at.cmp(&b.at))); // no NaN: what is read is finite
            all.truncate(self.settings.count);
            return Ok(all);
        };
        let find = |wanted: &NeuronAt| {
            let found = all.iter().find(|own| own.at == *wanted).copied();
            let width = written.neurons.width();
            found.ok_or_else(|| {
                setting(
                    &CARD,
                    "neurons",
                    format!("{wanted}, of {width} in a layer"),
                    "neurons that there are",
                )
            })
        };
        named.iter().map(find).collect()
    }
}

/// A neuron that is shown.
#[derive(Clone, Copy)]
struct Chosen {
    at: NeuronAt,
    activation: f32,
    length: f32,
}

impl Analysis for ValueVectors {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "count", settings.count)?;
        at_least_one(&CARD, "top", settings.top)?;
        match &settings.neurons {
            Some(none) if none.is_empty() => Err(setting(&CARD, "neurons", "none", "there must be one")),
            _ => Ok(Self { settings }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        self.written(on, case)?.cost(on)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Settings { top, fold, seed, .. } = self.settings;
        let subject = on.subject();
        let written = self.written(on, case)?;
        let held = written.means(on, &mut Progress::new(on.watch(), CARD.id, 1))?;
        let chosen = self.chosen(subject, &written, &held)?;
        let lacking = || {
            input(
                &CARD,
                "the weights that read the stream",
                "there is no unembedding behind the last norm among them",
            )
        };
        let unembedding = Unembedding::of(subject)?.ok_or_else(lacking)?;
        let words = unembedding.words();
        let at = *written.neurons.sites().first().ok_or_else(lacking)?;
        on.memory().hold(CARD.id, 0, Need { bytes: 16 * words as u64, at })?;

        let mut said: [Vec<(usize, f64)>; 2] = [Vec::new(), Vec::new()];
        let mut out: [Vec<f32>; 2] = [Vec::new(), Vec::new()];
        for own in &chosen {
            let vector = value_vectors(&CARD, subject, own.at.layer)?.some(&[own.at.neuron])?.concat();
            let draws = seed.at(own.at.layer as u64).at(own.at.neuron as u64);
            let mixed: Vec<f64> =
                shuffled(vector.len(), draws).iter().filter_map(|at| vector.get(*at).copied()).collect();
            let logits = unembedding.logits(&[vector, mixed], fold)?;
            let wide: Vec<Vec<f64>> =
                logits.chunks(words.max(1)).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
            for (out, row) in out.iter_mut().zip(&wide) {
                out.push(stands_out(row) as f32);
            }
            let own = wide.into_iter().next().unwrap_or_default();
            let turned: Vec<f64> = own.iter().map(|logit| -logit).collect();
            said[0].extend(largest(&own, top));
            said[1].extend(largest(&turned, top).into_iter().map(|(at, logit)| (at, -logit)));
        }
        let [stand, chance] = &out;
        let caution = beyond(stand, chance);
        let tables = tables(subject, &chosen, &said, (stand, chance), top.min(words))?;
        let answer = Answer::new(tables, written.neurons.sites().iter().copied());
        Ok(answer.seeded(seed).cautioned(caution))
    }
}

/// How far the largest of some logits lies above their mean, in standard deviations.
fn stands_out(logits: &[f64]) -> f64 {
    let n = logits.len().max(1) as f64;
    let mean = logits.iter().sum::<f64>() / n;
    let deviation = (logits.iter().map(|logit| (logit - mean).powi(2)).sum::<f64>() / n).sqrt();
    let most = largest(logits, 1).first().map_or(mean, |(_, logit)| *logit);
    if deviation > 0.0 { (most - mean) / deviation } else { 0.0 }
}

/// That few of the neurons stand out more than shuffled ones do.
fn beyond(stand: &[f32], chance: &[f32]) -> Option<Caution> {
    let most = mmlens_core::finding::largest(chance).ok()?;
    let count = stand.iter().filter(|own| f64::from(**own) > most).count();
    let share = count as f64 / stand.len().max(1) as f64;
    (share < BEYOND).then(|| {
        let text = format!(
            "{count} of {} value vectors stand out more than all shuffled ones ({most:.1} deviations): the words of the others may be chance",
            stand.len()
        );
        Caution::new(CautionKind::Chance, 1.0 - share as f32, text)
    })
}

fn tables(
    subject: &dyn Subject,
    chosen: &[Chosen],
    [high, low]: &[Vec<(usize, f64)>; 2],
    (stand, chance): (&[f32], &[f32]),
    ranks: usize,
) -> Result<Vec<Labelled>, AnalysisError> {
    let neuron = Axis::names(Role::Neuron, chosen.iter().map(|own| own.at.to_string()));
    let ranked = || vec![neuron.clone(), Axis::count(Role::Rank, ranks)];
    let words = |name: &str, said: &[(usize, f64)]| {
        Labelled::texts(name, ranked(), said.iter().map(|(word, _)| subject.token(*word as u32)).collect())
    };
    let logits = |name: &str, said: &[(usize, f64)]| {
        let values = said.iter().map(|(_, logit)| *logit as f32).collect();
        Labelled::numbers(name, Unit::Logit, ranked(), values)
    };
    let each =
        |name: &str, unit, values: Vec<f32>| Labelled::numbers(name, unit, vec![neuron.clone()], values);
    Ok(vec![
        words("words", high)?,
        logits("logits", high)?,
        each("activation", Unit::Activation, chosen.iter().map(|own| own.activation).collect())?,
        words("lowest words", low)?,
        logits("lowest logits", low)?,
        each("length", Unit::Ratio, chosen.iter().map(|own| own.length).collect())?,
        each("stands out", Unit::Ratio, stand.to_vec())?,
        each("shuffled stands out", Unit::Ratio, chance.to_vec())?,
    ])
}
