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
//! # In and out
//! | column | unit | better | meaning |
//! |---|---|---|---|
//! | `infidelity` | ratio; that of what is explained, squared | lower | as above |
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
//! ([`caution::rounding`](mmlens_core::caution::rounding)).
//!
//! # When it misleads
//! - Where the answer hangs on one unit, half of what is lost is told by naming that one, whatever else the map says.
//! - It asks what is lost at once; where evidence stands twice no map of numbers can tell (Yeh et al. 2019, section 2).
//!
//! # Agreement
//! captum 0.9 `infidelity` with and without `normalize`, on the same sets of hidden units, on `llava-a` and `clip-a`: to 1e-4 of the value. A linear model's own contributions have 0.
//!
//! # Reference
//! Yeh et al.: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019. <https://arxiv.org/abs/1901.09392>. Quantus hides the blocks of a grid one on top of the other, all of
//! them in every sample: that is another number.

use mmlens_core::AnalysisError;
use mmlens_core::finding::Unit;
use serde::{Deserialize, Serialize};

use crate::hidden::Hidden;
use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws};
use crate::{Instead, Map, Over, Side, Sign};

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
        question: "Do the map's numbers say what is lost when places go together?",
        needs: "passes of the subject",
        cost: "draws + 1",
        citation: "Yeh et al.: On the (In)fidelity and Sensitivity of Explanations. NeurIPS 2019. https://arxiv.org/abs/1901.09392",
        misleads: &[
            "Evidence that stands in two places is beyond what any map of numbers can tell.",
            "A sample with holes is one that the model never saw.",
        ],
    };

    fn new(settings: InfidelitySettings) -> Result<Self, AnalysisError> {
        Hidden::check(&Self::CARD, settings.draws, settings.share)?;
        Ok(Self(settings))
    }

    fn settings(&self) -> &InfidelitySettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        let column = Column::new("infidelity", Better::Lower);
        vec![if self.0.relative { column } else { Column { unit: Unit::None, ..column } }]
    }

    fn side(&self) -> Side {
        self.0.over.side()
    }

    fn cost(&self, _: &AtHand<'_>) -> Result<u64, NoScore> {
        Ok(self.0.draws as u64 + 1 + u64::from(self.side() == Side::Words))
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let InfidelitySettings { over, ref instead, draws, share, scaled, relative, sign } = self.0;
        let (told, lost) = Hidden { over, instead, draws, share, sign }.told(asked, map, Self::CARD.id)?;
        Ok(vec![missed(&told, &lost, scaled, relative)?])
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
