//! TRAK: which training cases would change this answer if the model were trained without them, as far as it is linear in its weights?
//!
//! # Idea
//! With `p` the probability of a case's answer, `f = ln(p / (1 - p))` is what a logistic regression is linear in. Of the gradients `phi = grad f`, kept as sketches, in rows `Phi` over training cases,
//!
//! ```text
//! score(z') = phi(z')^T (Phi^T Phi + lambda)^-1 Phi^T Q,    Q = diag(1 - p)
//! ```
//!
//! is one Newton step of leaving each training case out. `lambda` is `ridge` times the mean of the diagonal of `Phi^T Phi`.
//!
//! # In and out
//! In: training cases of which a log-probability is explained, as that of an answer ([`Case::answer`](mmlens_core::Case::answer)). Out: as of [TracIn](super::trac_in), in logits (of `f`); the finding of the fit has `highest self-influence`.
//!
//! # Settings
//! As of [TracIn](super::trac_in), but `rate`:
//! - `features`: 512, in single sketches the authors take 1000s; there should be fewer than training cases (of 200 cases 64 features predict subsets better than 512: docs/training.md).
//! - `ridge`: 0.001. The paper has none, and cannot be computed then where features outnumber cases.
//!
//! # Cost
//! As of [TracIn](super::trac_in), and `features^3 / 3 + 2 cases features^2` operations.
//!
//! # Errors
//! As of [TracIn](super::trac_in); [`AnalysisError::Input`] where something else than a log-probability is explained, or `Phi^T Phi` cannot be inverted.
//!
//! # When it misleads
//! - A single sketch of a single model is noisy: the paper averages over models that were trained from other seeds or on parts of the cases, each with its sketch ([`Ensemble`](super::Ensemble)); with one its scores are a fraction as good (Park et al., figure 2).
//! - Where `p` is one within rounding nothing is left to differentiate: `1 - p` is not taken below 2^-24, and a caution says of how many training cases; of what is explained one comes below 1e-4.
//! - Where features outnumber training cases `ridge` decides.
//!
//! # Agreement
//! traker 0.3.2 (`BasicScoreComputer`) on the same gradients of a classifier, without a sketch and with the same ridge: 2e-6 of the largest value with its inverse in single precision, 4e-7 with the same in double; means over two models 3e-7; on a matrix each of tower, connector and language model of `llava-a` 6.4e-5 and 9.7e-7.
//! Against retraining: docs/training.md.
//!
//! # Reference
//! Park, Georgiev, Ilyas, Leclerc, Madry: TRAK: Attributing Model Behavior at Scale. ICML 2023. <https://arxiv.org/abs/2303.14186>. The sketch is that of [TracIn](super::trac_in); the authors' is of Gaussian or sign matrices. The ridge is ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Fit, On, Reply, Sample, Seed, from_fn};
//! use mmlens_training::{Trak, trak::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let of = |i: usize| Case::answer(Sample::text("abcdefg"[i..].to_owned()).answered(Reply::Text("b".to_owned())));
//! let data = from_fn("words", 6, move |i| Ok(of(i)));
//! let learned = Trak::new(Settings { features: 16, ..Settings::default() })?.learn(&On::new(&toy), &data, Seed(1))?;
//! let finding = learned.fitted.run(&toy, &of(2))?;
//! println!("{:?}", finding.table("highest")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::check::{at_least_one, input, not_below_zero, setting};
use mmlens_core::finding::{Caution, CautionKind, Unit};
use mmlens_core::{AnalysisError, Capability, Card, Leaf, Objective, On, Seed};
use mmlens_engine::{Cholesky, Matrix, dot};
use serde::{Deserialize, Serialize};

use super::gradients::{self, Projected, Ready};
use super::measure::{Learner, Measure, Weighed};

/// What this method is.
pub const CARD: Card = Card {
    id: "trak",
    short: "trak",
    name: "TRAK",
    question: "Which training cases would change this answer if the model were trained without them, as far as it is linear in its weights?",
    citation: "Park, Georgiev, Ilyas, Leclerc, Madry: TRAK: Attributing Model Behavior at Scale. ICML 2023. https://arxiv.org/abs/2303.14186",
    leaf: Leaf::Training,
    cost: "1 forward and backward for each training case; of a case 1 forward and backward",
    needs: &[Capability::Gradients],
    misleads: &[
        "A single sketch of a single model is noisy.",
        "Where an answer is certain within rounding nothing is left to differentiate.",
        "Where features outnumber training cases the ridge decides.",
    ],
    first: false,
};

/// How gradients are taken, and what is inverted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which weights, by patterns; without one of all that are covered.
    pub weights: Vec<String>,
    /// Whether they are sketched.
    pub projected: Projected,
    /// Numbers of a sketch.
    pub features: usize,
    /// What is added to the diagonal, as a share of its mean.
    pub ridge: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { weights: Vec::new(), projected: Projected::Signs, features: 512, ridge: 1e-3 }
    }
}

impl Settings {
    fn gradients(&self) -> gradients::Settings {
        let Self { weights, projected, features, .. } = self.clone();
        gradients::Settings { weights, projected, features, ..Default::default() }
    }
}

/// What is left of one of a probability, at least.
const LEFT: f64 = 1.0 / (1 << 24) as f64;
/// With less than this left of one, a margin is cautioned of: logits of single precision are uncertain by some 1e-6.
const CERTAIN: f64 = 1e-4;
/// The most features: their square is held and inverted.
const MOST: usize = 1 << 13;

/// One Newton step.
#[derive(Debug, Clone, Copy)]
pub struct Newton;

/// What learns TRAK of training cases.
pub type Trak = Learner<Newton>;

/// What is left of one of a probability, by its logarithm.
fn left(log: f64) -> f64 {
    let left = -log.exp_m1();
    if left > LEFT { left } else { LEFT }
}

/// The derivative of `ln(p / (1 - p))` by `ln p`, and whether rounding is a good part of it.
fn margin(objective: &Objective, log: f64) -> Result<(f64, Option<Caution>), AnalysisError> {
    match objective.unit() {
        Unit::LogProbability => Ok((1.0 / left(log), certain(left(log)))),
        other => {
            let found = format!("a {other} is explained: name an answer");
            Err(input(&CARD, "cases of which a log-probability is explained", found))
        }
    }
}

/// That so little is left of one that the margin is a quotient of two numbers near the rounding of logits.
fn certain(left: f64) -> Option<Caution> {
    (left < CERTAIN).then(|| {
        let text = format!(
            "only {left:.1e} is left of a probability of one: the gradient of the margin is a gradient near rounding, divided by that"
        );
        Caution::new(CautionKind::Saturated, left as f32, text)
    })
}

impl Measure for Newton {
    type Settings = Settings;
    type Ready = Ready;
    const CARD: Card = CARD;
    const UNIT: Unit = Unit::Logit;
    const COSINE: bool = false;
    const SUMMED: bool = false;

    fn check(settings: &Settings) -> Result<(), AnalysisError> {
        at_least_one(&CARD, "features", settings.features)?;
        if settings.features > MOST {
            return Err(setting(&CARD, "features", settings.features, "it must be at most 8192"));
        }
        not_below_zero(&CARD, "ridge", settings.ridge)
    }

    fn ready(settings: &Settings, on: &On<'_>, seed: Seed) -> Result<Ready, AnalysisError> {
        Ready::new(&CARD, &settings.gradients(), on, (seed, margin))
    }

    fn weigh(settings: &Settings, rows: Matrix, values: &[f64]) -> Result<Weighed, AnalysisError> {
        let (wide, count) = (rows.width(), rows.len());
        if wide > MOST {
            let found = format!("a row has {wide}");
            return Err(input(&CARD, "rows of at most 8192 numbers, whose square is inverted", found));
        }
        let mut square = vec![0.0_f64; wide * wide];
        for row in rows.rows() {
            for (line, x) in square.chunks_mut(wide.max(1)).zip(row) {
                line.iter_mut().zip(row).for_each(|(slot, y)| *slot += x * y);
            }
        }
        let mean = square.iter().step_by(wide + 1).sum::<f64>() / wide.max(1) as f64;
        square.iter_mut().step_by(wide + 1).for_each(|own| *own += settings.ridge * mean);
        let factor = Cholesky::of(square, wide).ok_or_else(|| {
            let found = format!("{count} cases of {wide} features with a ridge of {}", settings.ridge);
            input(
                &CARD,
                "gradients whose square can be inverted: more cases, fewer features or a ridge",
                found,
            )
        })?;
        let solved: Vec<f64> = rows.rows().flat_map(|row| factor.solve(row)).collect();
        let solved = Matrix::new(solved, wide)?;
        let gains: Vec<f64> = values.iter().map(|log| left(*log)).collect();
        let own =
            rows.rows().zip(solved.rows()).zip(&gains).map(|((row, solved), gain)| gain * dot(row, solved));
        let own = Some(own.collect());
        let mut cautions = Vec::new();
        let certain = gains.iter().filter(|left| **left <= LEFT).count();
        if certain > 0 {
            let text = format!(
                "the answers of {certain} of {count} training cases are certain within rounding: they weigh nothing"
            );
            cautions.push(Caution::new(CautionKind::Saturated, certain as f32, text));
        }
        if wide > count {
            let text = format!("{wide} features of {count} training cases: the ridge decides");
            cautions.push(Caution::new(CautionKind::FewRows, count as f32, text));
        }
        Ok(Weighed { rows: solved, gains, own, cautions })
    }
}
