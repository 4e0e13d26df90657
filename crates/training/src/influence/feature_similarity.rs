//! Feature similarity: which training cases does the model hold in a state like this one's?
//!
//! # Idea
//! With `h` the mean of a site over some positions of a case,
//!
//! ```text
//! s(z, z') = <h, h'> / (|h| |h'|)
//! ```
//!
//! A floor for [TracIn](super::trac_in) and [TRAK](super::trak): it costs a pass without gradients, and says what is near, whoever learned what from it.
//!
//! # In and out
//! As of [TracIn](super::trac_in), in cosines, and without parts. The finding of the fit has `longest` (rank), the training cases with the longest states.
//!
//! # Settings
//! - `site`: `text.blocks.0.resid_post`. Any site whose rows have a fixed length.
//! - `positions`: the last, where the answer is decided. A site without positions of a prompt takes `all`.
//!
//! # Cost
//! One pass for each training case, which ends at the site, and one for a case.
//!
//! # Errors
//! As of [TracIn](super::trac_in); [`AnalysisError::Input`] for positions that a case does not have.
//!
//! # When it misleads
//! - It does not know what is explained: two answers about one picture have the same neighbours if the state is the picture's.
//! - States share a mean, and cosines without it are all near one: ranks say more than values (Ethayarajh: How Contextual are Contextualized Word Representations? EMNLP 2019. <https://arxiv.org/abs/1909.00512>).
//! - A neighbour with the other label is a neighbour.
//!
//! # Agreement
//! scikit-learn 1.9 (`cosine_similarity`) on states of transformers, of `llava-a` and `vit-a`: 1.5e-7. Identities tested: a training case has a cosine of one with itself, and an exchanged pair the same.
//!
//! # Reference
//! Caruana, Kangarloo, Dionisio, Sinha, Johnson: Case-based Explanation of Non-case-based Learning Methods. AMIA 1999. <https://pmc.ncbi.nlm.nih.gov/articles/PMC2232607/>; as a baseline of data attribution in Park et al. 2023, <https://arxiv.org/abs/2303.14186>.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_training::{FeatureSimilarity, feature_similarity::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let data = from_fn("words", 6, |i| Ok(Case::new(Sample::text("abcdefg"[i..].to_owned()))));
//! let learned = FeatureSimilarity::new(Settings::default())?.learn(&On::new(&toy), &data, Seed(1))?;
//! let finding = learned.fitted.run(&toy, &Case::new(Sample::text("cde")))?;
//! println!("{:?}", finding.table("highest")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::Unit;
use mmlens_core::{AnalysisError, Card, Case, Cost, Leaf, On, Part, Point, Seed, Site};
use mmlens_engine::{Matrix, Positions, row_width, rows_of};
use serde::{Deserialize, Serialize};

use super::measure::{Learner, Measure, Represent, Represented, Weighed, finite, unit_rows};

/// What this method is.
pub const CARD: Card = Card {
    id: "feature-similarity",
    short: "feature-cos",
    name: "Feature similarity",
    question: "Which training cases does the model hold in a state like this one's?",
    citation: "Caruana, Kangarloo, Dionisio, Sinha, Johnson: Case-based Explanation of Non-case-based Learning Methods. AMIA 1999. https://pmc.ncbi.nlm.nih.gov/articles/PMC2232607/",
    leaf: Leaf::Training,
    cost: "1 forward for each training case; of a case 1 forward",
    needs: &[],
    misleads: &[
        "It does not know what is explained.",
        "States share a mean, and cosines are all near one: ranks say more than values.",
        "A neighbour with the other label is a neighbour.",
    ],
    first: false,
};

/// Which state is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read.
    pub site: Site,
    /// At which positions, over which the mean is taken.
    pub positions: Positions,
}

impl Default for Settings {
    fn default() -> Self {
        Self { site: Site::block(Part::Text, 0, Point::ResidPost), positions: Positions::Last }
    }
}

/// Cosines of states.
#[derive(Debug, Clone, Copy)]
pub struct States;

/// What learns feature similarity of training cases.
pub type FeatureSimilarity = Learner<States>;

impl Represent for Settings {
    fn sites(&self) -> Vec<Site> {
        vec![self.site]
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        Ok(on.cost_of_pass(case)?)
    }

    fn represent(&self, on: &On<'_>, case: &Case, _: bool) -> Result<Represented, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let held = rows_of((on, CARD.id), &inputs, self.site, &self.positions)?;
        let mean: Vec<f32> = held.mean().into_iter().map(|value| value as f32).collect();
        finite("states", &mean)?;
        Ok(Represented {
            shares: vec![("all".to_owned(), mean)],
            value: 0.0,
            unit: Unit::None,
            cautions: Vec::new(),
        })
    }
}

impl Measure for States {
    type Settings = Settings;
    type Ready = Settings;
    const CARD: Card = CARD;
    const UNIT: Unit = Unit::Cosine;
    const COSINE: bool = true;
    const SUMMED: bool = false;

    fn check(_: &Settings) -> Result<(), AnalysisError> {
        Ok(())
    }

    fn ready(settings: &Settings, on: &On<'_>, _: Seed) -> Result<Settings, AnalysisError> {
        row_width((on, CARD.id), settings.site, &settings.positions)?;
        Ok(settings.clone())
    }

    fn weigh(_: &Settings, rows: Matrix, _: &[f64]) -> Result<Weighed, AnalysisError> {
        let gains = vec![1.0; rows.len()];
        Ok(Weighed { rows: unit_rows(rows), gains, own: None, cautions: Vec::new() })
    }
}
