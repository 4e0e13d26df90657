//! Semantic entropy: when it is asked again and again, how many different things does the model say?
//!
//! # Idea
//! Of one prompt `n` answers are drawn. Answers that say the same are one cluster `c`; with `p(c)` its share,
//!
//! ```text
//! SE = - sum_c p(c) ln p(c)
//! ```
//!
//! `p(c)` is counted, or each answer counts as much as it is likely: with `l` the mean log-probability of its tokens, `p(c) = sum of exp l in c / sum of all exp l`.
//!
//! Which answers say the same? Here those whose words are the same: lower case, without punctuation and articles ([`clusters::normalised`](super::clusters::normalised)). That is exact for answers of a
//! word or a few, which benchmarks ask for, and it is *not* what the paper does, who has a second model say whether either answer entails the other. A caller who has such a model clusters by it with
//! [`clusters::clustered`](super::clusters::clustered), of the texts in the table `answers`, and takes the same entropies of that.
//!
//! # In and out
//! In: a [`Case`] of one row; an answer that it holds is not looked at. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `semantic entropy` | | nat | by counts: from 0, where all are one, to `ln n` |
//! | `weighted entropy` | | nat | by likelihoods |
//! | `predictive entropy` | | nat | `- mean l`, without clusters: how unlikely answers are, per token |
//! | `share` | concept | ratio | of each cluster, the largest first, named by its first answer |
//! | `weighted share` | concept | ratio | by likelihoods |
//! | `answers` | sample | texts | aside: all of them |
//! | `cluster` | sample | | aside: of each, counted along `share` |
//! | `log probability` | sample | log probability | aside: `l` |
//!
//! # Settings
//! - `draws`: 10 `samples` at `temperature` 1 of all of the probability (`top_p` 1), each of at most 32 tokens (`max_new`), from `seed` 0. The paper draws 10 at temperature 1.
//!
//! # Cost
//! The prompt once, `samples x (max_new - 1)` steps at most. Memory: one pass over the prompt, and two copies of its cache.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for fewer than two samples, no tokens, a temperature or share that cannot be. Running: [`AnalysisError::Input`] for a subject that writes no answers, a case of several
//! rows; whatever drawing reports; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Long answers never coincide word by word: the entropy is `ln n` whatever they say. The finding says so.
//! - A model that is wrong for one reason is wrong each time: confident confabulation has no entropy (Farquhar et al. 2024, on what it does not detect).
//! - Entropy depends on the temperature, and its estimate from a few draws lies below that of many. Compare runs of the same `draws` alone.
//!
//! # Agreement
//! transformers 5.23 and NumPy on `llava-a` and `llama-b` (words alone): twelve answers drawn from the same numbers are equal, entropies by the formulas of the authors' code 5.3e-7 and 4.8e-7 apart at most, log-probabilities
//! 1.6e-6 and 2.1e-6. The normalisation is that of SQuAD's script, on 12 texts. Identities tested: from 0 to `ln n`; shares sum
//! to one; answers are those that drawing one by one gives; drawn at a temperature near zero all are the greedy answer.
//!
//! # Reference
//! Farquhar, Kossen, Kuhn, Gal: Detecting hallucinations in large language models using semantic entropy. Nature 630, 2024. <https://doi.org/10.1038/s41586-024-07421-0>, code jlko/semantic_uncertainty
//! (`semantic entropy` is its `cluster_assignment_entropy`, `weighted entropy` its `semantic_entropy`); Kuhn, Gal, Farquhar: Semantic Uncertainty. ICLR 2023. <https://arxiv.org/abs/2302.09664>.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Sample};
//! use mmlens_inference::{SemanticEntropy, semantic_entropy::{Draws, Settings}};
//! let draws = Draws { samples: 5, max_new: 2, ..Draws::default() };
//! let method = SemanticEntropy::new(Settings { draws })?;
//! let finding = method.run(&mmlens_testkit::Toy::curved(1), &Case::new(Sample::text("ab")))?;
//! println!("{:?}", finding.table("semantic entropy")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Generated, Leaf, On, Part, Point, Site,
};
use serde::{Deserialize, Serialize};

use super::clusters::{by_words, entropy, normalised, shares, weighted_shares};
pub use super::drawn::Draws;
use super::drawn::{CUT, cut, mean_log};

/// What this method is.
pub const CARD: Card = Card {
    id: "semantic-entropy",
    short: "semantic-entropy",
    name: "Semantic entropy",
    question: "When it is asked again and again, how many different things does the model say?",
    citation: "Farquhar, Kossen, Kuhn, Gal: Detecting hallucinations in large language models using semantic entropy. Nature 630, 2024. https://doi.org/10.1038/s41586-024-07421-0",
    leaf: Leaf::Inference,
    cost: "1 forward, samples x tokens steps",
    needs: &[Capability::Generation],
    misleads: &[
        "Long answers never coincide word by word: the entropy is then that of the number of draws.",
        "A model that is wrong for one reason is wrong each time.",
        "It depends on the temperature, and a few draws estimate it too low.",
    ],
    first: false,
};

/// How answers are drawn.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many, and how.
    pub draws: Draws,
}

/// Semantic entropy with checked settings.
#[derive(Debug, Clone)]
pub struct SemanticEntropy {
    settings: Settings,
}

/// Some answers, in clusters, the largest first.
pub(super) struct Clustered {
    /// What each cluster is called.
    pub(super) names: Vec<String>,
    /// The cluster of each answer.
    pub(super) of: Vec<usize>,
    /// The share of each cluster.
    pub(super) shares: Vec<f64>,
}

impl Clustered {
    /// By their words.
    pub(super) fn new(texts: &[String]) -> Self {
        let found = by_words(texts);
        let own = shares(&found);
        let mut order: Vec<usize> = (0..own.len()).collect();
        let share = |cluster: usize| own.get(cluster).copied().unwrap_or(0.0);
        order.sort_by(|a, b| share(*b).total_cmp(&share(*a)).then(a.cmp(b)));
        let place = |cluster: &usize| order.iter().position(|own| own == cluster).unwrap_or(0);
        let name = |cluster: &usize| {
            let first = found.iter().position(|own| own == cluster).and_then(|at| texts.get(at));
            match first.map(|text| normalised(text)) {
                Some(words) if !words.is_empty() => words,
                _ => "(no words)".to_owned(),
            }
        };
        Self {
            names: order.iter().map(name).collect(),
            of: found.iter().map(place).collect(),
            shares: order.iter().map(|cluster| share(*cluster)).collect(),
        }
    }
}

/// What is told of how answers were drawn.
pub(super) fn cautions(answers: &[Generated], clusters: usize) -> Vec<Caution> {
    let (mut cautions, share) = (Vec::new(), cut(answers));
    if clusters == answers.len() {
        let text = format!(
            "each of {clusters} answers says something else, word by word: whether they mean the same is not seen, and the entropy is that of \
             {clusters} even shares"
        );
        cautions.push(Caution::new(CautionKind::Other, clusters as f32, text));
    }
    if share > CUT {
        let text = format!("{:.0} % of the answers were cut off after the most tokens", 100.0 * share);
        cautions.push(Caution::new(CautionKind::CutOff, share as f32, text));
    }
    cautions
}

impl Analysis for SemanticEntropy {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.draws.checked(&CARD)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        self.settings.draws.cost(&CARD, on, &case.sample, false)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let answers = self.settings.draws.answers(&CARD, on, &case.sample, false)?;
        let texts: Vec<String> = answers.iter().map(|answer| answer.text.trim().to_owned()).collect();
        let logs: Vec<f64> = answers.iter().map(mean_log).collect();
        let clusters = Clustered::new(&texts);
        let weighted = weighted_shares(&clusters.of, &logs)?;
        let predictive = -logs.iter().sum::<f64>() / logs.len() as f64;
        let scalar = |name: &str, value: f64| Labelled::scalar(name, Unit::Nat, value as f32);
        let samples = || vec![Axis::count(Role::Sample, texts.len())];
        let concepts = || vec![Axis::names(Role::Concept, clusters.names.iter().map(String::as_str))];
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let numbers = clusters.of.iter().map(|cluster| *cluster as f32).collect();
        let tables = vec![
            scalar("semantic entropy", entropy(&clusters.shares)),
            scalar("weighted entropy", entropy(&weighted)),
            scalar("predictive entropy", predictive),
            Labelled::numbers("share", Unit::Ratio, concepts(), narrow(&clusters.shares))?,
            Labelled::numbers("weighted share", Unit::Ratio, concepts(), narrow(&weighted))?,
            Labelled::texts("answers", samples(), texts.clone())?.aside(),
            Labelled::numbers("cluster", Unit::None, samples(), numbers)?.aside(),
            Labelled::numbers("log probability", Unit::LogProbability, samples(), narrow(&logs))?.aside(),
        ];
        let cautions = cautions(&answers, clusters.shares.len());
        let answer = Answer::new(tables, [Site::of(Part::Text, Point::Logits)]);
        Ok(answer.seeded(self.settings.draws.seed).cautioned(cautions))
    }
}
