//! What an explanation is worth: metrics of maps, and methods beside baselines.
//!
//! A [`Map`] says how much each place of a picture matters, or each word. A [`Metric`] scores it against the model that is explained, a mask of what is known to matter, a person's map, or by
//! itself; [`METRICS`] lists them. An [`Evaluation`] runs methods on the cases of a data set beside a random map, a blob, an edge filter and each method on a model with random weights, and gives a
//! finding: the mean of each metric for each of them, with its interval and the number of cases.
//!
//! | file | metrics |
//! |---|---|
//! | [`perturbation`] | `deletion`, `insertion`, `comprehensiveness`, `sufficiency` |
//! | [`infidelity`] | `infidelity`, `fidelity`, `fidelity rank` |
//! | [`sensitivity`] | `sensitivity max`, `sensitivity mean` |
//! | [`stability`] | `stability`, `stability least` |
//! | [`randomisation`] | `cascade: ...`, `independent: ...` |
//! | [`localisation`] | `mass-accuracy`, `rank-accuracy`, `top-k`, `pointing-game` |
//! | [`sparseness`] | `sparseness` |
//! | [`agreement`] | `agreement` |

pub mod agreement;
mod alike;
mod baselines;
pub mod comparison;
mod filters;
pub mod infidelity;
mod journal;
pub mod localisation;
mod map;
mod metric;
mod over;
pub mod perturbation;
pub mod randomisation;
pub mod run;
pub mod sensitivity;
pub mod sparseness;
pub mod stability;
mod summary;

pub use agreement::Agreement;
pub use alike::{gini, rank_correlation, ssim};
pub use baselines::{CentredBlob, Contestant, RandomMap};
pub use comparison::{ComparisonSettings, NoComparison, compare};
pub use filters::{EdgeFilter, Loudness};
pub use infidelity::Infidelity;
pub use journal::EvaluationError;
pub use localisation::{MassAccuracy, PointingGame, RankAccuracy, TopK};
pub use map::{Map, NoMap, Place, Side, Sign};
pub use metric::{
    AnyMetric, AtHand, Better, Column, Explainer, Metric, MetricCard, MetricRow, NoScore, Redrawn, Redraws,
};
pub use over::{Instead, Over};
pub use perturbation::{Comprehensiveness, Deletion, Insertion, Sufficiency};
pub use randomisation::{CascadingRandomisation, IndependentRandomisation, Similarity};
pub use run::{Evaluation, EvaluationSettings, Models};
pub use sensitivity::Sensitivity;
pub use sparseness::Sparseness;
pub use stability::Stability;
pub use summary::league;

/// Every metric.
pub static METRICS: &[MetricRow] = &[
    MetricRow::of::<Deletion>(),
    MetricRow::of::<Insertion>(),
    MetricRow::of::<Comprehensiveness>(),
    MetricRow::of::<Sufficiency>(),
    MetricRow::of::<Infidelity>(),
    MetricRow::of::<Sensitivity>(),
    MetricRow::of::<Stability>(),
    MetricRow::of::<CascadingRandomisation>(),
    MetricRow::of::<IndependentRandomisation>(),
    MetricRow::of::<MassAccuracy>(),
    MetricRow::of::<RankAccuracy>(),
    MetricRow::of::<TopK>(),
    MetricRow::of::<PointingGame>(),
    MetricRow::of::<Sparseness>(),
    MetricRow::of::<Agreement>(),
];
