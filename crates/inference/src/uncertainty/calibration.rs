//! Calibration: is the model right as often as it is sure, and does it know when it is wrong?
//!
//! # Idea
//! Of each case of a data set with right answers the model answers greedily, with a confidence `c` made of the probabilities of its tokens. An answer is right if its words are those of the right one. With
//! the cases in bins `b` of like confidence,
//!
//! ```text
//! ECE   = sum_b n_b / n |right_b - confidence_b|
//! Brier = mean of (c - right)^2
//! AUROC = share of pairs of a right and a wrong case in which the right one is the surer, half of equals counted
//! ```
//!
//! # In and out
//! In: [`ManyCases`]; of each case the answer that it holds is the right one. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `calibration error` | method | ratio | ECE in bins of `equal width` and of `equal mass`, each with as many cases |
//! | `brier score` | | ratio | 0 is best; that of a confidence of one half is 0.25 |
//! | `auroc` | | ratio | one half is no better than chance; left out where all are right, or none |
//! | `accuracy`, `mean confidence` | | ratio | their difference is the over-confidence |
//! | `bins` | rank, metric | ratio | of the bins of equal width that have cases: `confidence`, `right`, and `share` of all cases |
//! | `confidence` | sample | probability | aside: of each case |
//! | `right` | sample | ratio | aside: 1 or 0 |
//! | `answers` | sample | texts | aside: what was said |
//!
//! # Settings
//! - `confidence`: `"likelihood"`, the product of the probabilities of all tokens; or `"mean"`, its root by the number of tokens, or `"least"`, the smallest of them.
//! - `bins`: 15, as Guo et al. have.
//! - `max_new`: 16 tokens at most.
//!
//! # Cost
//! An answer for each case: `max_new` rows at most. Memory: one pass.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no bins or no tokens. Running: [`AnalysisError::Input`] without a data set, for one without cases, a case without an answer in words, a subject that writes no answers; whatever
//! writing reports; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The error depends on the bins, and is biased upwards with few cases in them: a perfect model has none of zero (Nixon et al.: Measuring Calibration in Deep Learning. 2019. <https://arxiv.org/abs/1904.01685>). Read both
//!   ways of binning, and compare models on the same cases and bins alone.
//! - A constant confidence that equals the accuracy is calibrated and worth nothing: see `auroc`.
//! - Right is here what has the words of the right answer. One that says the same otherwise is wrong, and its confidence counts against the model.
//! - A long answer is unlikely however sure it is: `likelihood` ranks by length. `mean` takes that out, and is no probability of being right.
//!
//! # Agreement
//! scikit-learn 1.9 (`roc_auc_score`, `brier_score_loss`) and NumPy on 200 drawn confidences, ties among them: below 1e-12. transformers 5.23 on `llava-a` and `llama-b` (words alone), eight cases
//! each: tokens equal, confidences 5.0e-7 and 4.9e-7 apart at most. Identities tested: a confidence of 1 has an error of 1 less the accuracy, and so its Brier score; AUROC of the reversed order is 1 less it.
//!
//! # Reference
//! Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017. <https://arxiv.org/abs/1706.04599>; Brier: Verification of Forecasts Expressed in Terms of Probability. 1950.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Reply, Sample, from_fn};
//! use mmlens_inference::{Calibration, calibration::Settings};
//! let said = |i: usize| Ok(Case::new(Sample::text(["ab", "b", "ca"][i]).answered(Reply::Text(["j", "k", "z"][i].to_owned()))));
//! let method = Calibration::new(Settings { max_new: 1, ..Settings::default() })?;
//! let finding = method.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(from_fn("letters", 3, said))?)?;
//! println!("{:?}", finding.table("calibration error")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Copies, Cost, Generated, Generation, HookError,
    Inputs, Leaf, ManyCases, On, Part, Plan, Point, Reply, Sample, Site,
};
use mmlens_engine::Progress;
use serde::{Deserialize, Serialize};

use super::clusters::normalised;
use super::drawn::{CUT, cut, mean_log};
use super::reliability::{Bin, Reliability};
use mmlens_core::check::{at_least_one, input};

/// What this method is.
pub const CARD: Card = Card {
    id: "calibration",
    short: "calibration",
    name: "Calibration of confidence",
    question: "Is the model right as often as it is sure, and does it know when it is wrong?",
    citation: "Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017. https://arxiv.org/abs/1706.04599",
    leaf: Leaf::Inference,
    cost: "1 answer for each case",
    needs: &[Capability::Generation],
    misleads: &[
        "The error depends on the bins, and is biased upwards with few cases.",
        "A constant confidence that equals the accuracy is calibrated and worth nothing: see auroc.",
        "An answer that says the same in other words counts as wrong.",
        "A long answer is unlikely however sure it is.",
    ],
    first: false,
};

/// What is made of the probabilities of an answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Their product.
    #[default]
    Likelihood,
    /// The root of their product by their number.
    Mean,
    /// The smallest of them.
    Least,
}

impl Confidence {
    fn of(self, answer: &Generated) -> f64 {
        match self {
            Self::Likelihood => (mean_log(answer) * answer.probabilities.len() as f64).exp(),
            Self::Mean => mean_log(answer).exp(),
            Self::Least => {
                let shares = answer.probabilities.iter().map(|share| f64::from(*share));
                shares.fold(1.0, f64::min) // no NaN: shares of finite logits
            }
        }
    }
}

/// How sure an answer is, and in how many bins.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is made of the probabilities of its tokens.
    pub confidence: Confidence,
    /// How many bins.
    pub bins: usize,
    /// The most tokens of an answer.
    pub max_new: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { confidence: Confidence::default(), bins: 15, max_new: 16 }
    }
}

/// Fewer cases than this are cautioned of.
const FEW: usize = 30;

/// Calibration with checked settings.
#[derive(Debug, Clone)]
pub struct Calibration {
    settings: Settings,
}

/// A case's prompt, and its right answer.
fn opened(on: &On<'_>, many: &ManyCases, index: usize) -> Result<(Inputs, String), AnalysisError> {
    let sample = many.data().case(index)?.sample;
    let refused = |found: String| input(&CARD, "cases with a right answer in words, as their answer", found);
    let right = match &sample.reply {
        Some(Reply::Text(text)) => text.clone(),
        Some(Reply::Tokens(_)) => return Err(refused(format!("case {index} has one in tokens"))),
        None => return Err(refused(format!("case {index} has none"))),
    };
    let inputs = on.encode(&Sample { reply: None, ..sample })?;
    match inputs.rows() {
        1 => Ok((inputs, right)),
        rows => Err(input(&CARD, "a single prompt in each case", format!("case {index} has {rows}"))),
    }
}

impl Analysis for Calibration {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "bins", settings.bins)?;
        at_least_one(&CARD, "max_new", settings.max_new)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let mut bytes = 0;
        for index in 0..many.len() {
            let (inputs, _) = opened(on, many, index)?;
            let need = on.subject().need(&inputs, &Plan::new().to_output(), Copies::ONE)?;
            bytes = u64::max(bytes, need.bytes); // no NaN: whole numbers
        }
        Ok(Cost::rows(many.len() * self.settings.max_new).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        if many.is_empty() {
            return Err(input(&CARD, "at least one case", format!("`{}` has none", many.data().name())));
        }
        let how = Generation { max_new: self.settings.max_new, ..Generation::default() };
        let mut progress = Progress::new(on.watch(), CARD.id, many.len());
        let (mut answers, mut cases) = (Vec::new(), Vec::new());
        for index in 0..many.len() {
            let (inputs, right) = opened(on, many, index)?;
            let need = on.subject().need(&inputs, &Plan::new().to_output(), Copies::ONE)?;
            on.memory().hold(CARD.id, 0, need)?;
            let said = on.subject().generate(&inputs, &how)?.into_iter().next();
            let said = said.ok_or_else(|| HookError::NoOutput("an answer".to_owned()))?;
            cases.push((self.settings.confidence.of(&said), normalised(&said.text) == normalised(&right)));
            answers.push(said);
            progress.advance(1)?;
        }
        let known = Reliability::new(cases.clone())
            .map_err(|error| HookError::not_finite("confidences", &[cases.len()], 0, error))?;
        let (tables, cautions) = (self.tables(&known, &cases, &answers)?, cautions(&known, &cases, &answers));
        Ok(Answer::new(tables, [Site::of(Part::Text, Point::Logits)]).cautioned(cautions))
    }
}

impl Calibration {
    fn tables(
        &self,
        known: &Reliability,
        cases: &[(f64, bool)],
        answers: &[Generated],
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let bins: Vec<(usize, Bin)> = known
            .of_equal_width(self.settings.bins)
            .into_iter()
            .enumerate()
            .filter_map(|(at, bin)| Some((at, bin?)))
            .collect();
        let wide: Vec<Bin> = bins.iter().map(|(_, bin)| *bin).collect();
        let even = known.of_equal_mass(self.settings.bins);
        let errors = [&wide, &even].map(|bins| Reliability::calibration_error(bins) as f32);
        let count = cases.len() as f64;
        let ratio = |name: &str, value: f64| Labelled::scalar(name, Unit::Ratio, value as f32);
        let ways = vec![Axis::names(Role::Method, ["equal width", "equal mass"])];
        let mut tables = vec![
            Labelled::numbers("calibration error", Unit::Ratio, ways, errors.to_vec())?,
            ratio("brier score", known.brier()),
        ];
        tables.extend(known.auroc().map(|auroc| ratio("auroc", auroc)));
        let right = cases.iter().filter(|(_, right)| *right).count() as f64;
        tables.push(ratio("accuracy", right / count));
        tables.push(ratio("mean confidence", cases.iter().map(|(own, _)| own).sum::<f64>() / count));
        let width = self.settings.bins as f64;
        let name = |at: &usize| format!("{:.2} to {:.2}", *at as f64 / width, (*at + 1) as f64 / width);
        let axes = vec![
            Axis::names(Role::Rank, bins.iter().map(|(at, _)| name(at))),
            Axis::names(Role::Metric, ["confidence", "right", "share"]),
        ];
        let row = |bin: &Bin| [bin.confidence, bin.right, bin.cases as f64 / count].map(|value| value as f32);
        tables.push(Labelled::numbers("bins", Unit::Ratio, axes, wide.iter().flat_map(row).collect())?);
        let samples = || vec![Axis::count(Role::Sample, cases.len())];
        let own = cases.iter().map(|(confidence, _)| *confidence as f32).collect();
        let right = cases.iter().map(|(_, right)| f32::from(u8::from(*right))).collect();
        let texts = answers.iter().map(|answer| answer.text.trim().to_owned()).collect();
        tables.push(Labelled::numbers("confidence", Unit::Probability, samples(), own)?.aside());
        tables.push(Labelled::numbers("right", Unit::Ratio, samples(), right)?.aside());
        tables.push(Labelled::texts("answers", samples(), texts)?.aside());
        Ok(tables)
    }
}

fn cautions(known: &Reliability, cases: &[(f64, bool)], answers: &[Generated]) -> Vec<Caution> {
    let mut cautions = Vec::new();
    if cases.len() < FEW {
        let text = format!(
            "{} cases are few: the error of a calibrated model is not near zero with so few",
            cases.len()
        );
        cautions.push(Caution::new(CautionKind::FewRows, cases.len() as f32, text));
    }
    if known.auroc().is_none() {
        let all = if cases.iter().all(|(_, right)| *right) { "all" } else { "none" };
        let text = format!(
            "{all} of {} answers are right: whether confidence tells right from wrong is not seen",
            cases.len()
        );
        cautions.push(Caution::new(CautionKind::Other, cases.len() as f32, text));
    }
    let share = cut(answers);
    if share > CUT {
        let text = format!("{:.0} % of the answers were cut off after the most tokens", 100.0 * share);
        cautions.push(Caution::new(CautionKind::CutOff, share as f32, text));
    }
    cautions
}
