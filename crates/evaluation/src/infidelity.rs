//! Do the numbers of a map say what becomes of the answer when places go?
//!
//! # Idea
//! Of `n` units each is hidden by a coin: in draw `i` the units `H_i`. A map that is right says beforehand what is lost: the sum of its mass on them, `s_i`; what is
//! lost is `d_i = f(x) - f(x without H_i)`. With a scale `b` that no map is asked to know,
//!
//! ```text
//! infidelity = mean over i of (b s_i - d_i)^2,   b = sum s_i d_i / sum s_i^2   (1, where `scaled` is off; 0, where every s_i is 0)
//! ```
//!
//! and, `relative`, divided by the mean of `d_i^2`: which share of what is lost the map does not tell. 0 is a map that says it to the number; a map that
//! says nothing has 1, and with the best scale none has more.
//!
//! A map is a linear surrogate, whatever made it: a sum over units. `fidelity` is the correlation of `s_i` and `d_i` (Pearson), whose square, where it is above zero, is `R^2`: the share of the variance of what is lost that the
//! best line tells; `fidelity rank` is that of their ranks (Spearman), equal values having the mean of their ranks. Neither knows of a scale or a number added to all; a side that does not vary gives 0.
//!
//! # In and out
//! | column | unit | better | meaning |
//! |---|---|---|---|
//! | `infidelity` | ratio; that of what is explained, squared | lower | as above |
//! | `fidelity`, `fidelity rank` | ratio | higher | as above; 0 says nothing, -1 says the opposite |
//!
//! # Settings
//! - `over`, `instead`: the units, and what stands in the place of hidden ones, as in [`perturbation`](crate::perturbation).
//! - `draws`: 64 sets of hidden units; captum takes 10, which leave more chance than methods differ by.
//! - `share`: 0.25: unit `u` is hidden in draw `i` where `seed.at(i).at(u).unit()` is below it.
//! - `scaled`: true, as captum's `normalize`: maps of attention have no unit of the answer. `relative`: true.
//! - `sign`: `signed`.
//!
//! # Cost
//! `draws` passes, and one; one more where words are replaced.
//!
//! # Errors
//! No score for a sample without such units, or where what is hidden changes the answer by no more than rounding
//! ([`caution::rounding`]).
//!
//! # When it misleads
//! - Where the answer hangs on one unit, half of what is lost is told by naming that one, whatever else the map says.
//! - A model that is no sum has no linear surrogate, and the best map there is may have little. With few draws a correlation is near nothing by chance alone: of 64, a random map has one beyond 0.25 in 5 % of cases.
//! - It asks what is lost at once; where evidence stands twice no map of numbers can tell (Yeh et al. 2019, section 2).
//!
//! # Agreement
//! captum 0.9 `infidelity` with and without `normalize`, on the same sets of hidden units, on `llava-a` and `clip-a`: to 1e-4 of the value. A linear model's own contributions have 0, and a fidelity of 1; correlations are those of scipy 1.17 to 1e-4.
//!
//! # Reference
//! Yeh et al.: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019. <https://arxiv.org/abs/1901.09392>. Quantus hides the blocks of a grid one on top of the other, all of
//! them in every sample: that is another number. The correlation: Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020. <https://arxiv.org/abs/2005.00631>; Quantus calls it
//! `FaithfulnessCorrelation`, and hides sets of one size.

use mmlens_core::finding::{Unit, correlation, ranks};
use mmlens_core::{AnalysisError, caution};
use mmlens_engine::{Coalition, Hiding, Progress};
use serde::{Deserialize, Serialize};

use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws, setting};
use crate::{Instead, Map, Over, Side, Sign};

/// The most sets: all of them are held.
const MOST: usize = 1_000_000;

/// How sets of units are drawn and hidden.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InfidelitySettings {
    /// Over which units.
    pub over: Over,
    /// What stands in the place of hidden ones.
    pub instead: Instead,
    /// How many sets.
    pub draws: usize,
    /// Which share of the units is hidden.
    pub share: f64,
    /// Whether the map is scaled to fit.
    pub scaled: bool,
    /// Whether it is a share of what is lost.
    pub relative: bool,
    /// Which way numbers of the map count.
    pub sign: Sign,
}

impl Default for InfidelitySettings {
    fn default() -> Self {
        Self {
            over: Over::default(),
            instead: Instead::default(),
            draws: 64,
            share: 0.25,
            scaled: true,
            relative: true,
            sign: Sign::Signed,
        }
    }
}

/// What is lost, and what the map says of it.
#[derive(Debug, Clone)]
pub struct Infidelity(InfidelitySettings);

impl Metric for Infidelity {
    type Settings = InfidelitySettings;
    const CARD: MetricCard = MetricCard {
        id: "infidelity",
        question: "Do the map's numbers, read as a sum, say what is lost when places go together?",
        needs: "passes of the subject",
        cost: "draws + 1",
        citation: "Yeh et al.: On the (In)fidelity and Sensitivity of Explanations. NeurIPS 2019. https://arxiv.org/abs/1901.09392",
        misleads: &[
            "Evidence that stands in two places is beyond what any map of numbers can tell.",
            "A sample with holes is one that the model never saw.",
        ],
    };

    fn new(settings: InfidelitySettings) -> Result<Self, AnalysisError> {
        if settings.draws == 0 || settings.draws > MOST {
            return Err(setting(&Self::CARD, "draws", settings.draws, "it must lie between 1 and 1000000"));
        }
        match settings.share > 0.0 && settings.share < 1.0 {
            true => Ok(Self(settings)),
            false => Err(setting(&Self::CARD, "share", settings.share, "it must lie between 0 and 1")),
        }
    }

    fn settings(&self) -> &InfidelitySettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        let column = Column::new("infidelity", Better::Lower);
        let missed = if self.0.relative { column } else { Column { unit: Unit::None, ..column } };
        let [linear, ranked] = ["fidelity", "fidelity rank"].map(|name| Column::new(name, Better::Higher));
        vec![missed, linear, ranked]
    }

    fn side(&self) -> Side {
        self.0.over.side()
    }

    fn cost(&self, _: &AtHand<'_>) -> Result<u64, NoScore> {
        Ok(self.0.draws as u64 + 1 + u64::from(self.side() == Side::Words))
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let own = &self.0;
        let units = own.over.units(asked.inputs, asked.picture)?.instead(own.instead.absent(asked.seed));
        let masses = map.signed(own.sign).on(&units);
        let draw = |i: usize| {
            let hidden =
                |unit: &usize| f64::from(asked.seed.at(i as u64).at(*unit as u64).unit()) < own.share;
            Coalition::of(masses.len(), (0..masses.len()).filter(|unit| !hidden(unit)))
        };
        let drawn: Vec<Coalition> = (0..own.draws).map(draw).collect();
        let hiding = Hiding::new(asked.on.subject(), &asked.case.sample, asked.inputs, units)?;
        let mut progress = Progress::new(asked.on.watch(), Self::CARD.id, drawn.len());
        let found = hiding.measure(&[asked.objective.into()], &drawn, &asked.on.memory(), &mut progress)?;
        let found = found.first().ok_or_else(|| NoScore::Refused("nothing was measured".to_owned()))?;
        let drops: Vec<f32> = found.values.iter().map(|value| found.unedited - value).collect();
        let about = (asked.objective.unit(), found.unedited);
        if let Some(rounding) = caution::rounding(&drops, about, "changes by what was hidden") {
            return Err(NoScore::Undefined(rounding.text));
        }
        let lost: Vec<f64> =
            found.values.iter().map(|value| f64::from(found.unedited) - f64::from(*value)).collect();
        let told: Vec<f64> = drawn
            .iter()
            .map(|coalition| coalition.absent().filter_map(|unit| masses.get(unit)).sum())
            .collect();
        if lost.iter().chain(&told).any(|value| !value.is_finite()) {
            return Err(NoScore::Undefined("what is explained is no finite number".to_owned()));
        }
        // Where either does not vary no line tells anything.
        let alike = |a: &[f64], b: &[f64]| correlation(a, b).unwrap_or(0.0);
        let ranked = alike(&ranks(&told), &ranks(&lost));
        Ok(vec![missed(&told, &lost, own.scaled, own.relative)?, alike(&told, &lost), ranked])
    }
}

/// The mean square of what is not told.
fn missed(told: &[f64], lost: &[f64], scaled: bool, relative: bool) -> Result<f64, NoScore> {
    let products = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (size, all) = (products(told, told), products(lost, lost));
    let scale = match (scaled, size > 0.0) {
        (true, true) => products(told, lost) / size,
        (true, false) => 0.0,
        (false, _) => 1.0,
    };
    let squares: f64 = told.iter().zip(lost).map(|(told, lost)| (scale * told - lost).powi(2)).sum();
    match (relative, all > 0.0) {
        (true, true) => Ok(squares / all),
        (true, false) => Err(NoScore::Undefined("nothing that was hidden changes the answer".to_owned())),
        (false, _) => Ok(squares / lost.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_to_a_scale_is_not_missed() {
        let lost = [1.0, -2.0, 0.5];
        let told = lost.map(|lost| 3.0 * lost);
        assert!(missed(&told, &lost, true, true).unwrap() < 1e-12);
        // (3 - 1)^2 = 4 times the squares, of which there are as many as in what is lost.
        assert!((missed(&told, &lost, false, true).unwrap() - 4.0).abs() < 1e-12);
        // 4 (1 + 4 + 0.25) / 3 = 7
        assert!((missed(&told, &lost, false, false).unwrap() - 7.0).abs() < 1e-12);
        // A map of nothing tells nothing, and one that is at right angles to what is lost no more.
        assert_eq!(missed(&[0.0; 3], &lost, true, true), Ok(1.0));
        assert_eq!(missed(&[2.0, 1.0, 0.0], &lost, true, true), Ok(1.0));
        assert!(missed(&told, &[0.0; 3], true, true).is_err());
    }
}
