//! Gradient similarity: which training cases would the model learn from in the same way as from this one?
//!
//! # Idea
//! The cosine of the gradients of two cases: [TracIn](super::trac_in) without their lengths, so that outliers are not high for every answer.
//!
//! ```text
//! s(z, z') = <g, g'> / (|g| |g'|),    g = grad L(w, z)
//! ```
//!
//! # In and out
//! As of [TracIn](super::trac_in), in cosines. The finding of the fit has `longest` (rank, gradient), the training cases with the longest gradients.
//!
//! # Settings
//! As of [TracIn](super::trac_in); `rate` says nothing here.
//!
//! # Cost
//! As of [TracIn](super::trac_in).
//!
//! # Errors
//! As of [TracIn](super::trac_in).
//!
//! # When it misleads
//! - Alike is not influential: a case that is never misjudged has a gradient with a direction, too, and moved nothing.
//! - Gradients of one layer may share a mean, and all cosines are near one: see `spread`.
//! - A sketch of `k` features has a deviation of about `sqrt(1 / k)` to `sqrt(8 / k)` around a cosine of zero.
//!
//! # Agreement
//! scikit-learn 1.9 (`cosine_similarity`) on gradients of torch, of `llava-a` and `vit-a`: 6.4e-7 at most. Identities tested: a training case has a cosine of one with itself, and an exchanged pair the same.
//!
//! # Reference
//! Charpiat, Girard, Felardos, Tarabalka: Input Similarity from the Neural Network Perspective. NeurIPS 2019. <https://arxiv.org/abs/2102.05262>; compared with others by Hanawa, Yokoi, Hara, Inui: Evaluation of Similarity-based
//! Explanations. ICLR 2021. <https://arxiv.org/abs/2006.04528>.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_training::{GradientSimilarity, influence::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let data = from_fn("words", 6, |i| Ok(Case::new(Sample::text("abcdefg"[i..].to_owned()))));
//! let learned = GradientSimilarity::new(Settings::default())?.learn(&On::new(&toy), &data, Seed(1))?;
//! let finding = learned.fitted.run(&toy, &Case::new(Sample::text("cde")))?;
//! println!("{:?}", finding.table("highest")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::Unit;
use mmlens_core::{AnalysisError, Capability, Card, Leaf, On, Seed};
use mmlens_engine::Matrix;

use super::gradients::{Ready, Settings, plain};
use super::measure::{Learner, Measure, Weighed, unit_rows};

/// What this method is.
pub const CARD: Card = Card {
    id: "gradient-similarity",
    short: "grad-cos",
    name: "Gradient similarity",
    question: "Which training cases would the model learn from in the same way as from this one?",
    citation: "Charpiat, Girard, Felardos, Tarabalka: Input Similarity from the Neural Network Perspective. NeurIPS 2019. https://arxiv.org/abs/2102.05262",
    leaf: Leaf::Training,
    cost: "1 forward and backward for each training case; of a case 1 forward and backward",
    needs: &[Capability::Gradients],
    misleads: &[
        "Alike is not influential.",
        "Gradients may share a mean, and all cosines are near one.",
        "A sketch of few features is noisy around zero.",
    ],
    first: false,
};

/// Cosines of gradients.
#[derive(Debug, Clone, Copy)]
pub struct Cosines;

/// What learns gradient similarity of training cases.
pub type GradientSimilarity = Learner<Cosines>;

impl Measure for Cosines {
    type Settings = Settings;
    type Ready = Ready;
    const CARD: Card = CARD;
    const UNIT: Unit = Unit::Cosine;
    const COSINE: bool = true;
    const SUMMED: bool = false;

    fn check(settings: &Settings) -> Result<(), AnalysisError> {
        settings.check(&CARD)
    }

    fn ready(settings: &Settings, on: &On<'_>, seed: Seed) -> Result<Ready, AnalysisError> {
        Ready::new(&CARD, settings, on, (seed, plain))
    }

    fn weigh(_: &Settings, rows: Matrix, _: &[f64]) -> Result<Weighed, AnalysisError> {
        let gains = vec![1.0; rows.len()];
        Ok(Weighed { rows: unit_rows(rows), gains, own: None, cautions: Vec::new() })
    }
}
