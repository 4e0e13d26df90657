//! CLIP-Dissect: which words go with the pictures at which a neuron fires?
//!
//! # Idea
//! A dual encoder compares every picture `i` of the data set with every word `m`: `P[i, m]` is their cosine. A neuron gives one number `a[u, i]` of
//! every case, the mean or the largest at its positions. With `top` pictures `i(1), i(2), ...` of largest `a[u, .]` (of equal ones the earlier
//! first), `K` neurons, and `S = softmax over words of scale P`,
//!
//! ```text
//! soft-wpmi:    s[u, m] = sum over j of ln(1 + p(j) (S[i(j), m] - 1) + 1e-7),  p(j) = 0.998 - (j - 1) / top (0.998 - 0.97)
//! wpmi:         s[u, m] = sum over j of ln(S[i(j), m] + 1e-7)
//!               score[u, m] = s[u, m] - lambda (ln sum over u of exp s[u, m] - ln K)
//! cosine:       of the columns a[u, .] and P[., m]
//! cosine-cubed: of the same, each less its mean and raised to the third power, lengths below 1e-3 counted as that
//! ```
//!
//! # In and out
//! In: [`ManyCases`], a data set with pictures, and a dual encoder beside it; a dual encoder that is looked at itself needs none. Of a case
//! with several pictures the first is compared. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `words` | layer, neuron, rank | text | the words of the largest scores, of equal ones the earlier first |
//! | `scores` | layer, neuron, rank | nat (cosine for cosines) | theirs |
//! | `beyond chance` | | ratio | neurons whose best score is above the 0.95 quantile of those with pictures shuffled; of chance 0.05 |
//! | `shuffled` | step | nat, cosine | the 0.95 quantile of best scores, for each shuffle of the rows of `P` |
//! | `every score` | layer, neuron, concept | nat, cosine | of every word |
//! | `cosine of words` | sample, concept | cosine | `P` |
//!
//! # Settings
//! - `words`: the classes of the data set, or a list.
//! - `similarity`: `soft-wpmi`; `wpmi`, `cosine`, `cosine-cubed`.
//! - `top`, `scale`, `lambda`: as published, 100, 10 and 1 of soft-wpmi, 28, 2 and 0.6 of wpmi; `top` no more than there are cases.
//! - `pool`: `mean`, or `max`.
//! - `part`: the tower, or where there is none the language model ([`Part`]); `point`: `mlp.post` ([`Point`]); `layers`: all, or some by number
//!   ([`Indices`]); `positions`: `all` ([`Positions`]).
//! - `ranks`: 5 words; `shuffles`: 3; `seed`: 0.
//!
//! # Cost
//! One pass for each case (more where the numbers of not all layers fit), which ends at the last of the layers; of the dual encoder one row for
//! each word and one for each case. Memory for each neuron: 4 bytes for every case, a group of layers at a time, and `8 (shuffles + 1)` for
//! every word.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for numbers that are not above zero, words twice. Running: [`AnalysisError::Input`] without a dual encoder, without
//! words, for an empty data set or a case without a picture, a part or point without neurons; [`AnalysisError::Setting`] for a layer past the end;
//! [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Some word always comes first: see `beyond chance`, and the score beside those of other neurons.
//! - It names what the pictures of the set have in common for the dual encoder; what that does not know, no neuron is called.
//! - Scores of soft-wpmi compare neurons of one run: another set of layers changes what they are less than.
//! - A few pictures decide: with fewer cases than `top` every neuron has the same ones, and the weights `p(j)` alone tell them apart.
//!
//! # Agreement
//! NumPy, following the authors' functions, on `llava-a`'s tower named by `clip-a` in transformers: all four scores within 3e-6. Identities tested: a
//! neuron that is a column of `P` gets its word; the order of cases changes nothing.
//!
//! # Reference
//! Oikarinen, Weng: CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision Networks. ICLR 2023.
//! <https://arxiv.org/abs/2204.10965>. Their fifth function, rank reordering, divides by the root of a mean cosine, which may be negative, and by a
//! baseline that is drawn anew each time; it is left out. Shuffled pictures are ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, ManyCases};
//! use mmlens_model::clip_dissect::{ClipDissect, Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, cases: ManyCases, clip: std::sync::Arc<dyn mmlens_core::Subject>) -> Result<(), mmlens_core::AnalysisError> {
//! let words = ["red", "blue", "circle"].map(str::to_owned).to_vec();
//! let method = ClipDissect::new(Settings { words: Some(words), ..Settings::default() })?;
//! let finding = method.run(subject, &cases.beside(clip))?;
//! println!("{:?}", finding.table("words")?.as_texts());
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cost, Leaf, ManyCases, On, Part, Point, Seed, Subject,
    kind,
};
use mmlens_engine::distribution::largest;
use mmlens_engine::{Indices, Neurons, Positions, Progress, quantile, shuffled};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use super::groups::Pool;
use super::groups::Pooled;
use crate::check::{above_zero, at_least_one, input, part_with_neurons, setting};

mod named;

use named::Named;
pub use named::Similarity;

/// What this method is.
pub const CARD: Card = Card {
    id: "clip-dissect",
    short: "clip-dissect",
    name: "CLIP-Dissect",
    question: "Which words go with the pictures at which a neuron fires?",
    citation: "Oikarinen, Weng: CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision Networks. ICLR 2023. https://arxiv.org/abs/2204.10965",
    leaf: Leaf::Neuron,
    cost: "1 forward for each case; of the dual encoder 1 for each case and word",
    needs: &[Capability::Neurons, Capability::Pictures],
    misleads: &[
        "Some word always comes first: see how many neurons are beyond chance.",
        "What the dual encoder does not know, no neuron is called.",
        "Scores compare neurons of one run.",
    ],
    first: false,
};

/// Fewer neurons than this beyond chance are cautioned of: twice what chance gives.
const BEYOND: f64 = 0.1;
/// The quantile of best scores with pictures shuffled that a neuron must pass.
const CHANCE: f64 = 0.95;

/// How neurons are named.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The words; `None` for the classes of the data set.
    pub words: Option<Vec<String>>,
    /// How a neuron and a word are compared.
    pub similarity: Similarity,
    /// How many pictures speak for a neuron; `None` as published.
    pub top: Option<usize>,
    /// What cosines are multiplied by; `None` as published.
    pub scale: Option<f64>,
    /// How much of what a word has anyway is taken off; `None` as published.
    pub lambda: Option<f64>,
    /// What a case gives of a neuron.
    pub pool: Pool,
    /// Of which part; `None` for the tower, or the language model where there is none with neurons.
    pub part: Option<Part>,
    /// Where neurons are read.
    pub point: Point,
    /// In which layers.
    pub layers: Indices,
    /// At which positions.
    pub positions: Positions,
    /// How many words are shown.
    pub ranks: usize,
    /// How often pictures are shuffled.
    pub shuffles: usize,
    /// The seed of what is shuffled.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            words: None,
            similarity: Similarity::SoftWpmi,
            top: None,
            scale: None,
            lambda: None,
            pool: Pool::Mean,
            part: None,
            point: Point::MlpPost,
            layers: Indices::All,
            positions: Positions::All,
            ranks: 5,
            shuffles: 3,
            seed: Seed(0),
        }
    }
}

/// CLIP-Dissect with checked settings.
#[derive(Debug, Clone)]
pub struct ClipDissect {
    settings: Settings,
}

impl ClipDissect {
    fn neurons(&self, on: &On<'_>) -> Result<(Part, Neurons), AnalysisError> {
        let Settings { part, point, layers, positions, .. } = &self.settings;
        let tower = kind::publishes(on.subject(), Part::Vision, Point::MlpPost).then_some(Part::Vision);
        let part = part_with_neurons(&CARD, on.subject(), (part.or(tower), *point))?;
        Ok((part, Neurons::of((on, CARD.id), (part, *point), layers, positions)?))
    }

    fn words(&self, many: &ManyCases) -> Result<Vec<String>, AnalysisError> {
        let words = self.settings.words.clone().unwrap_or_else(|| many.data().classes().to_vec());
        match words.is_empty() {
            true => Err(input(
                &CARD,
                "words, or a data set with classes",
                format!("`{}` has none", many.data().name()),
            )),
            false => Ok(words),
        }
    }

    /// Bytes of what is found of all neurons.
    fn found(&self, neurons: &Neurons, words: usize) -> u64 {
        (8 * neurons.len() * words * (self.settings.shuffles + 1)) as u64
    }
}

/// The dual encoder: the second subject, or the first where there is no other.
fn encoder<'a>(on: &On<'a>, many: &'a ManyCases) -> Result<&'a dyn Subject, AnalysisError> {
    let encoder = many.other().unwrap_or(on.subject());
    match kind::compares(encoder) {
        true => Ok(encoder),
        false => {
            let found = format!("`{}` compares no pictures with captions", encoder.name());
            Err(input(&CARD, "a dual encoder beside the subject, or as the subject", found))
        }
    }
}

impl Analysis for ClipDissect {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "ranks", settings.ranks)?;
        at_least_one(&CARD, "shuffles", settings.shuffles)?;
        if let Some(top) = settings.top {
            at_least_one(&CARD, "top", top)?;
        }
        for (name, value) in [("scale", settings.scale), ("lambda", settings.lambda)] {
            value.map_or(Ok(()), |value| above_zero(&CARD, name, value))?;
        }
        let mut seen = BTreeSet::new();
        match settings.words.iter().flatten().find(|word| !seen.insert(word.as_str())) {
            Some(twice) => Err(setting(&CARD, "words", format!("`{twice}` twice"), "a word is named once")),
            None => Ok(Self { settings }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let (_, neurons) = self.neurons(on)?;
        let words = self.words(many)?;
        encoder(on, many)?;
        let found = self.found(&neurons, words.len());
        let scans = Pooled::scans(&neurons, &on.memory(), many.len(), found);
        let cost = neurons.cost((on, CARD.id), many.data(), &scans)?;
        Ok(Cost { forward: cost.forward + (words.len() + many.len()) as u64, ..cost })
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { pool, shuffles, seed, .. } = self.settings;
        let (part, neurons) = self.neurons(on)?;
        let (data, words) = (many.data(), self.words(many)?);
        let encoder = encoder(on, many)?;
        if many.is_empty() {
            return Err(input(&CARD, "at least one case", "there is none"));
        }
        let scans = Pooled::scans(&neurons, &on.memory(), many.len(), self.found(&neurons, words.len()));
        let mut progress = Progress::new(on.watch(), CARD.id, (scans.len() + 1) * data.len());
        let there = On::new(encoder).watched(on.watch()).within(on.memory());
        let cosines = named::cosines(&there, many.others(), &words, &mut progress)?;
        let orders: Vec<Vec<usize>> =
            (0..shuffles).map(|at| shuffled(data.len(), seed.at(at as u64))).collect();
        let own: Vec<usize> = (0..data.len()).collect();
        let mut each: Vec<Named> = std::iter::once(&own)
            .chain(&orders)
            .map(|order| Named::new(&self.settings, &cosines, words.len(), order))
            .collect();
        for scan in scans {
            let pooled = Pooled::read((on, CARD.id), data, &neurons, scan, pool, &mut progress)?;
            for values in pooled.units() {
                each.iter_mut().for_each(|named| named.see(values));
            }
        }
        let scores: Vec<Vec<f64>> = each.into_iter().map(Named::scores).collect();
        let (tables, caution) = self.tables(&neurons, (&words, &cosines), &scores)?;
        let answer = Answer::new(tables, neurons.sites().iter().copied()).seeded(seed).cautioned(caution);
        Ok(answer.settled("part", json!(part)).settled("words", json!(words)))
    }
}

impl ClipDissect {
    fn tables(
        &self,
        neurons: &Neurons,
        (words, cosines): (&[String], &[f64]),
        scores: &[Vec<f64>],
    ) -> Result<(Vec<Labelled>, Option<Caution>), AnalysisError> {
        let (own, mixed) =
            scores.split_first().map_or((&[][..], &[][..]), |(own, mixed)| (own.as_slice(), mixed));
        let ranks = self.settings.ranks.min(words.len());
        let best = |all: &[f64]| -> Vec<f32> {
            let most = |own: &[f64]| largest(own, 1).first().map_or(0.0, |(_, score)| *score as f32);
            all.chunks(words.len().max(1)).map(most).collect()
        };
        let chance: Vec<f32> = mixed
            .iter()
            .map(|all| {
                let mut best = best(all);
                best.sort_unstable_by(f32::total_cmp); // no NaN: sums of logarithms of numbers above zero
                quantile(&best, CHANCE).unwrap_or(0.0) as f32
            })
            .collect();
        let bar = chance.iter().map(|own| f64::from(*own)).sum::<f64>() / chance.len().max(1) as f64;
        let beyond =
            best(own).iter().filter(|own| f64::from(**own) > bar).count() as f64 / neurons.len() as f64;
        let (mut said, mut values) = (Vec::new(), Vec::new());
        for row in own.chunks(words.len().max(1)) {
            for (word, score) in largest(row, ranks) {
                said.push(words.get(word).cloned().unwrap_or_default());
                values.push(score as f32);
            }
        }
        let unit = self.settings.similarity.unit();
        let units = neurons.axes().to_vec();
        let ranked = [units.clone(), vec![Axis::count(Role::Rank, ranks)]].concat();
        let word = Axis::names(Role::Concept, words.iter().cloned());
        let cases = Axis::count(Role::Sample, cosines.len() / words.len().max(1));
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let tables = vec![
            Labelled::texts("words", ranked.clone(), said)?,
            Labelled::numbers("scores", unit, ranked, values)?,
            Labelled::scalar("beyond chance", Unit::Ratio, beyond as f32),
            Labelled::numbers("shuffled", unit, vec![Axis::count(Role::Step, chance.len())], chance)?,
            Labelled::numbers("every score", unit, [units, vec![word.clone()]].concat(), narrow(own))?
                .aside(),
            Labelled::numbers("cosine of words", Unit::Cosine, vec![cases, word], narrow(cosines))?.aside(),
        ];
        let caution = (beyond < BEYOND).then(|| {
            let text = format!(
                "{:.0} % of the neurons go with a word beyond chance, of which 5 % would do so by chance",
                100.0 * beyond
            );
            Caution::new(CautionKind::Chance, 1.0 - beyond as f32, text)
        });
        Ok((tables, caution))
    }
}
