//! TracIn: which training cases moved the weights so that this answer became likelier?
//!
//! # Idea
//! A step of gradient descent on a training case `z` with rate `eta` changes the loss of a case `z'`, to first order, by minus
//!
//! ```text
//! TracIn(z, z') = eta <grad L(w, z), grad L(w, z')>
//! ```
//!
//! summed over checkpoints `w` of the training; an [`Influence`](super::Influence) is of one checkpoint, an [`Ensemble`](super::Ensemble) of several. The loss is minus what is explained of a case, so that
//! the sign is gone from the product. The gradient of a product's weight is made of the sites it reads and writes; that of all weights together is kept as a sketch of random signs.
//!
//! # In and out
//! In: training cases with the target each was trained for (an answer, as [`Case::answer`](mmlens_core::Case::answer)). Out: an [`Influence`](super::Influence), a method of single cases, and a finding: `highest self-influence` (rank, gradient), the
//! training cases that weigh the most for themselves: those the model had to learn by heart, mislabelled ones among them; aside `self-influence` (sample, gradient) and `what is explained` (sample). Of a case an [`Influence`](super::Influence) gives:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `highest`, `lowest` | rank | gradient | training cases that speak for the answer, and against it |
//! | `by part` | rank, concept | gradient | of the highest: what each part of the model adds, in the language model at pictures and at words; sums to the score |
//! | `by chance` | rank | gradient | as many training cases drawn by chance, with their scores |
//! | `spread` | metric | gradient | `mean` and `deviation` of all scores |
//! | `scores` | sample | gradient | aside: of every training case |
//!
//! # Settings
//! - `weights`: patterns of names such as `text.blocks.*.mlp`; none for all that are covered: products between two sites that are no other weight too, of towers, connector and language model (docs/training.md). Norms, biases, tables and convolutions are not covered.
//! - `projected`: `"signs"`, a sketch; `"none"` keeps gradients whole, up to 2^16 numbers.
//! - `features`: 512 numbers of a sketch. The deviation of a product by chance is about `sqrt(2 / features)` of the product of lengths, and up to `sqrt(8 / features)` where one weight holds all.
//! - `rate`: 1, the learning rate at this checkpoint.
//!
//! # Cost
//! One pass with gradients for each training case, and one for a case. Memory: one pass, a row of `features` numbers for each training case.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`]. Learning: [`AnalysisError::Input`] for no training cases, a subject that shows no weights; `NoWeight` for a pattern that means none; whatever a pass reports. Running: [`AnalysisError::Input`]
//! for another model than the one learned from, by the hash of its weights; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - One checkpoint, the last (an [`Ensemble`](super::Ensemble) takes several): gradients of cases that are learned are small there, and what happened early is not seen (Pruthi et al. 2020, section 3).
//! - Cases with long gradients, outliers and mislabelled ones, are high for every answer (Barshan, Brunet, Dziugaite: RelatIF. AISTATS 2020. <https://arxiv.org/abs/2003.11630>). Compare [gradient similarity](super::gradient_similarity).
//! - What a case would do if it were left out is another question: on a convex model its ranks of single cases correlate by 0.11 with training again without them (docs/training.md).
//! - Of an answer that is all but certain the gradient is all but zero, and so is every score: a caution comes from a probability of 0.99 on.
//! - Momentum, weight decay and adaptive steps of the training are not in the formula.
//!
//! # Agreement
//! torch 2.15 (autograd of every covered weight, case by case) and captum 0.9 (`TracInCP`): largest differences 1.3e-6 and 5e-7 of the largest value, over two checkpoints 5e-7. Of towers and connectors (`llava-a`) every matrix by itself:
//! two rows within 1e-5 of their largest number (f32 against f64) on `llava-a`, products of all pairs 7e-7; captum on a matrix each of tower, connector and language model of `llava-a`: 1.3e-6 of the largest value. Identities tested: sketches of more features come nearer to the exact product; parts sum to the score; checkpoints
//! are summed; a pair is the same exchanged.
//!
//! # Reference
//! Pruthi, Liu, Kale, Sundararajan: Estimating Training Data Influence by Tracing Gradient Descent. NeurIPS 2020. <https://arxiv.org/abs/2002.08484>. The sketch is ours: a product of two sign projections for each
//! feature, as in Choe et al.: What is Your Data Worth to GPT? 2024. <https://arxiv.org/abs/2405.13954>.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_training::{TracIn, influence::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let data = from_fn("words", 6, |i| Ok(Case::new(Sample::text("abcdefg"[i..].to_owned()))));
//! let learned = TracIn::new(Settings::default())?.learn(&On::new(&toy), &data, Seed(1))?;
//! let finding = learned.fitted.run(&toy, &Case::new(Sample::text("cde")))?;
//! println!("{:?}", finding.table("highest")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::Unit;
use mmlens_core::{AnalysisError, Capability, Card, Leaf, On, Seed};
use mmlens_engine::{Matrix, dot};

use super::gradients::{Ready, Settings, plain};
use super::measure::{Learner, Measure, Weighed};

/// What this method is.
pub const CARD: Card = Card {
    id: "tracin",
    short: "tracin",
    name: "TracIn",
    question: "Which training cases moved the weights so that this answer became likelier?",
    citation: "Pruthi, Liu, Kale, Sundararajan: Estimating Training Data Influence by Tracing Gradient Descent. NeurIPS 2020. https://arxiv.org/abs/2002.08484",
    leaf: Leaf::Training,
    cost: "1 forward and backward for each training case; of a case 1 forward and backward",
    needs: &[Capability::Gradients],
    misleads: &[
        "At the last checkpoint alone gradients of learned cases are small, and what happened early is not seen.",
        "Cases with long gradients, outliers, are high for every answer.",
        "It does not say what retraining without a case would do.",
        "Momentum and weight decay are not in the formula.",
    ],
    first: false,
};

/// Products of gradients.
#[derive(Debug, Clone, Copy)]
pub struct Products;

/// What learns TracIn of training cases.
pub type TracIn = Learner<Products>;

impl Measure for Products {
    type Settings = Settings;
    type Ready = Ready;
    const CARD: Card = CARD;
    const UNIT: Unit = Unit::Gradient;
    const COSINE: bool = false;
    const SUMMED: bool = true;

    fn check(settings: &Settings) -> Result<(), AnalysisError> {
        settings.check(&CARD)
    }

    fn ready(settings: &Settings, on: &On<'_>, seed: Seed) -> Result<Ready, AnalysisError> {
        Ready::new(&CARD, settings, on, (seed, plain))
    }

    fn weigh(settings: &Settings, rows: Matrix, _: &[f64]) -> Result<Weighed, AnalysisError> {
        let own = rows.rows().map(|row| settings.rate * dot(row, row)).collect();
        let gains = vec![settings.rate; rows.len()];
        Ok(Weighed { rows, gains, own: Some(own), cautions: Vec::new() })
    }
}
