//! Does the answer go where the map says it comes from? Curves of what is hidden, and of what is shown.
//!
//! # Idea
//! The sample is cut into `n` units. They are put in order by the map's mass on them, the largest first, equal ones as they stand in the sample. With
//! `f` what is explained, `x` the sample, and `c_k = ceil(k n / steps)` units after step `k`,
//!
//! ```text
//! deletion            d_k = f(x without the first c_k),   k = 0 .. steps
//! insertion           i_k = f(x with the first c_k alone)
//! area                sum over k of (c_k - c_(k-1)) / n  (y_k + y_(k-1)) / 2                  trapezoids over the share of units
//! comprehensiveness   mean over bins q of f(x) - f(x without the first ceil(q n))
//! sufficiency         mean over bins q of f(x) - f(x with the first ceil(q n) alone)
//! ```
//!
//! What is explained may be a logit here and a cosine there, so that numbers of two cases are no numbers of one kind. With `normalise` they are shares of what all units make:
//! areas `(area - f(none)) / (f(x) - f(none))`, the other two divided by `f(x) - f(none)`, where `f(none)` has every unit absent. Then 1 is the whole
//! sample and 0 one without units.
//!
//! # In and out
//! | column | unit | better | meaning |
//! |---|---|---|---|
//! | `deletion` | ratio, or that of what is explained | lower | the area under `d` |
//! | `insertion` | same | higher | the area under `i` |
//! | `comprehensiveness` | same | higher | how much goes without the places named |
//! | `sufficiency` | same | lower | how much is missing with them alone |
//!
//! # Settings
//! - `over`: the units ([`Over`]), by default cells of an 8 x 8 grid over the picture.
//! - `instead`: what stands in the place of absent ones ([`Instead`]), by default the picture's own mean colour, of words their mean vector.
//! - `steps` of `deletion` and `insertion`: 16. `n` or more: one unit at a time.
//! - `bins` of the others: 0.01, 0.05, 0.1, 0.2 and 0.5, as in ERASER.
//! - `sign`: `signed`, since what speaks against the answer is to go last.
//! - `normalise`: true.
//!
//! # Cost
//! `steps` passes, and one; for the others one for each bin, and two. One more where words are replaced. The passes are packed within memory.
//!
//! # Errors
//! No score for a sample without such units, or, where numbers are shares, if the sample makes no more of the answer than one without units: less than
//! 0.1 logits or nats, or 0.01 of a probability or cosine ([`least_difference`](mmlens_core::caution::least_difference)).
//!
//! # When it misleads
//! - A sample with holes is one that the model never saw; what falls may be its surprise (Hooker et al. 2019). Choose `instead` with care, and look at two.
//! - A method that hides the same units in the same way (occlusion) is measured by its own means.
//! - A map of few levels has its ties broken by place, from the top left.
//!
//! # Agreement
//! Quantus 0.6 `PixelFlipping` on `llava-a` and `clip-a`, a cell of all colours at a time, to 2e-5: its area, `trapz` over steps from the first change on, is `steps * area - (d_0 + d_1) / 2` of
//! ours. The identity tested: on a model that is a sum over units, areas and both measures of ERASER have a closed form.
//!
//! # Reference
//! Petsiuk, Das, Saenko: RISE, BMVC 2018. <https://arxiv.org/abs/1806.07421>. DeYoung et al.: ERASER, ACL 2020. <https://arxiv.org/abs/1911.03429>: its
//! formula divides the sum over bins by one more than there are, and it measures a probability.

use mmlens_core::{AnalysisError, caution};
use mmlens_engine::{Coalition, Hiding, Progress};
use serde::{Deserialize, Serialize};

use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws, setting};
use crate::{Instead, Map, Over, Side, Sign};

/// What is hidden of a case, and in which order.
struct Ordered<'a> {
    hiding: Hiding<'a>,
    order: Vec<usize>,
}

/// What was measured of coalitions.
struct Measured {
    whole: f64,
    values: Vec<f64>,
}

impl<'a> Ordered<'a> {
    fn of(
        asked: &'a AtHand<'a>,
        map: &Map,
        (over, sign, instead): (Over, Sign, &Instead),
    ) -> Result<Self, NoScore> {
        let units = over.units(asked.inputs, asked.picture)?.instead(instead.absent(asked.seed));
        let masses = map.signed(sign).on(&units);
        let mut order: Vec<usize> = (0..units.len()).collect();
        let mass = |unit: usize| masses.get(unit).copied().unwrap_or(f64::NEG_INFINITY);
        order.sort_by(|a, b| mass(*b).total_cmp(&mass(*a)));
        let hiding = Hiding::new(asked.on.subject(), &asked.case.sample, asked.inputs, units)?;
        Ok(Self { hiding, order })
    }

    /// Only the first units, in the order.
    fn first(&self, count: usize) -> Coalition {
        Coalition::of(self.order.len(), self.order.iter().take(count).copied())
    }

    fn measure(
        &self,
        asked: &AtHand<'_>,
        coalitions: &[Coalition],
        id: &'static str,
    ) -> Result<Measured, NoScore> {
        let mut progress = Progress::new(asked.on.watch(), id, coalitions.len());
        let metrics = [asked.objective.into()];
        let found = self.hiding.measure(&metrics, coalitions, &asked.on.memory(), &mut progress)?;
        let found = found.first().ok_or_else(|| NoScore::Refused("nothing was measured".to_owned()))?;
        let values: Vec<f64> = found.values.iter().map(|value| f64::from(*value)).collect();
        let whole = f64::from(found.unedited);
        match whole.is_finite() && values.iter().all(|value| value.is_finite()) {
            true => Ok(Measured { whole, values }),
            false => Err(NoScore::Undefined("what is explained is no finite number".to_owned())),
        }
    }
}

/// What all units make of the objective, if that is enough to share.
fn all_make(asked: &AtHand<'_>, whole: f64, none: f64) -> Result<f64, NoScore> {
    let size = whole.abs().max(none.abs()); // no NaN: both finite
    let least = caution::least_difference(asked.objective.unit(), size);
    match whole - none >= least {
        true => Ok(whole - none),
        false => Err(NoScore::Undefined(format!(
            "the sample makes no more of the answer than one without units by {least}"
        ))),
    }
}

fn passes(over: Over, coalitions: usize) -> u64 {
    // The unedited pass, and where words are replaced the one that makes what stands there.
    coalitions as u64 + 1 + u64::from(over.side() == Side::Words)
}

/// How curves are made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CurveSettings {
    /// Over which units.
    pub over: Over,
    /// What stands in the place of absent ones.
    pub instead: Instead,
    /// Into how many steps the units are cut.
    pub steps: usize,
    /// Which way numbers of the map count.
    pub sign: Sign,
    /// Whether areas are shares of what all units make.
    pub normalise: bool,
}

impl Default for CurveSettings {
    fn default() -> Self {
        Self {
            over: Over::default(),
            instead: Instead::default(),
            steps: 16,
            sign: Sign::Signed,
            normalise: true,
        }
    }
}

impl CurveSettings {
    fn check(&self, card: &MetricCard) -> Result<(), AnalysisError> {
        match self.steps {
            0 => Err(setting(card, "steps", 0, "it must be at least 1")),
            _ => Ok(()),
        }
    }

    /// How many units are done after each step, from none to all, each count once.
    fn counts(&self, units: usize) -> Vec<usize> {
        // More steps than units are as many.
        let steps = self.steps.min(units.max(1)); // no NaN: counts
        let mut counts: Vec<usize> = (0..=steps).map(|step| (step * units).div_ceil(steps)).collect();
        counts.dedup();
        counts
    }

    fn cost(&self, asked: &AtHand<'_>) -> Result<u64, NoScore> {
        let units = self.over.units(asked.inputs, asked.picture)?.len();
        Ok(passes(self.over, self.counts(units).len() - 1))
    }

    /// The area under a curve, of which `deletes` says whether units go or come.
    fn area(&self, asked: &AtHand<'_>, map: &Map, id: &'static str, deletes: bool) -> Result<f64, NoScore> {
        let ordered = Ordered::of(asked, map, (self.over, self.sign, &self.instead))?;
        let n = ordered.order.len();
        let counts = self.counts(n);
        let some = |count: &usize| {
            let first = ordered.first(*count);
            if deletes { first.others() } else { first }
        };
        // What is whole was measured already.
        let (coalitions, whole_at): (Vec<Coalition>, usize) = match deletes {
            true => (counts.iter().skip(1).map(some).collect(), 0),
            false => {
                (counts.iter().take(counts.len().saturating_sub(1)).map(some).collect(), counts.len() - 1)
            }
        };
        let Measured { whole, mut values } = ordered.measure(asked, &coalitions, id)?;
        values.insert(whole_at, whole);
        let none = values.get(if deletes { counts.len() - 1 } else { 0 }).copied();
        let none = none.ok_or_else(|| NoScore::Refused("nothing was measured".to_owned()))?;
        let area = area(&counts, &values);
        match self.normalise {
            true => Ok((area - none) / all_make(asked, whole, none)?),
            false => Ok(area),
        }
    }
}

/// The area under values at counts, over the share of the last count.
fn area(counts: &[usize], values: &[f64]) -> f64 {
    let all = counts.last().copied().unwrap_or(0) as f64;
    let pairs = counts.windows(2).zip(values.windows(2));
    let strips = pairs.map(|(at, y)| match (at, y) {
        ([a, b], [left, right]) => (b - a) as f64 / all * (left + right) / 2.0,
        _ => 0.0,
    });
    strips.sum()
}

fn columns(id: &str, better: Better, normalise: bool) -> Vec<Column> {
    let column = Column::new(id, better);
    let unit = if normalise { column.unit } else { mmlens_core::finding::Unit::None };
    vec![Column { unit, ..column }]
}

macro_rules! curve {
    ($(#[$doc:meta])* $name:ident, $id:literal, $deletes:literal, $better:expr, $question:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(CurveSettings);

        impl Metric for $name {
            type Settings = CurveSettings;
            const CARD: MetricCard = MetricCard {
                id: $id,
                question: $question,
                needs: "passes of the subject",
                cost: "steps + 1",
                citation: "Petsiuk, Das, Saenko: RISE. BMVC 2018. https://arxiv.org/abs/1806.07421",
                misleads: &[
                    "A sample with holes is one that the model never saw.",
                    "A method that hides the same units in the same way is measured by its own means.",
                ],
            };

            fn new(settings: CurveSettings) -> Result<Self, AnalysisError> {
                settings.check(&Self::CARD)?;
                Ok(Self(settings))
            }

            fn settings(&self) -> &CurveSettings {
                &self.0
            }

            fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
                columns($id, $better, self.0.normalise)
            }

            fn side(&self) -> Side {
                self.0.over.side()
            }

            fn cost(&self, asked: &AtHand<'_>) -> Result<u64, NoScore> {
                self.0.cost(asked)
            }

            fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
                Ok(vec![self.0.area(asked, map, $id, $deletes)?])
            }
        }
    };
}

curve!(
    /// The area under what is left of the answer as the most important units go.
    Deletion,
    "deletion",
    true,
    Better::Lower,
    "How fast does the answer go as the places go that the map names first?"
);
curve!(
    /// The area under what there is of the answer as the most important units come.
    Insertion,
    "insertion",
    false,
    Better::Higher,
    "How fast does the answer come as the places come that the map names first?"
);

/// How much is taken away, or left.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErasureSettings {
    /// Over which units.
    pub over: Over,
    /// What stands in the place of absent ones.
    pub instead: Instead,
    /// Which shares of the units.
    pub bins: Vec<f64>,
    /// Which way numbers of the map count.
    pub sign: Sign,
    /// Whether differences are shares of what all units make.
    pub normalise: bool,
}

impl Default for ErasureSettings {
    fn default() -> Self {
        Self {
            over: Over::default(),
            instead: Instead::default(),
            bins: vec![0.01, 0.05, 0.1, 0.2, 0.5],
            sign: Sign::Signed,
            normalise: true,
        }
    }
}

impl ErasureSettings {
    fn check(&self, card: &MetricCard) -> Result<(), AnalysisError> {
        match !self.bins.is_empty() && self.bins.iter().all(|bin| *bin > 0.0 && *bin <= 1.0) {
            true => Ok(()),
            false => Err(setting(
                card,
                "bins",
                format!("{:?}", self.bins),
                "there must be one, and each lie above 0, up to 1",
            )),
        }
    }

    fn drop(&self, asked: &AtHand<'_>, map: &Map, id: &'static str, deletes: bool) -> Result<f64, NoScore> {
        let ordered = Ordered::of(asked, map, (self.over, self.sign, &self.instead))?;
        let n = ordered.order.len();
        let some = |bin: &f64| {
            let first = ordered.first((bin * n as f64).ceil() as usize);
            if deletes { first.others() } else { first }
        };
        let mut coalitions: Vec<Coalition> = self.bins.iter().map(some).collect();
        coalitions.push(Coalition::none(n));
        let Measured { whole, values } = ordered.measure(asked, &coalitions, id)?;
        let Some((none, values)) = values.split_last() else {
            return Err(NoScore::Refused("nothing was measured".to_owned()));
        };
        let drop = values.iter().map(|value| whole - value).sum::<f64>() / values.len() as f64;
        match self.normalise {
            true => Ok(drop / all_make(asked, whole, *none)?),
            false => Ok(drop),
        }
    }
}

macro_rules! erasure {
    ($(#[$doc:meta])* $name:ident, $id:literal, $deletes:literal, $better:expr, $question:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(ErasureSettings);

        impl Metric for $name {
            type Settings = ErasureSettings;
            const CARD: MetricCard = MetricCard {
                id: $id,
                question: $question,
                needs: "passes of the subject",
                cost: "bins + 2",
                citation: "DeYoung et al.: ERASER: A Benchmark to Evaluate Rationalized NLP Models. ACL 2020. https://arxiv.org/abs/1911.03429",
                misleads: &[
                    "A sample with holes is one that the model never saw.",
                    "A method that hides the same units in the same way is measured by its own means.",
                ],
            };

            fn new(settings: ErasureSettings) -> Result<Self, AnalysisError> {
                settings.check(&Self::CARD)?;
                Ok(Self(settings))
            }

            fn settings(&self) -> &ErasureSettings {
                &self.0
            }

            fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
                columns($id, $better, self.0.normalise)
            }

            fn side(&self) -> Side {
                self.0.over.side()
            }

            fn cost(&self, _: &AtHand<'_>) -> Result<u64, NoScore> {
                Ok(passes(self.0.over, self.0.bins.len() + 1))
            }

            fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
                Ok(vec![self.0.drop(asked, map, $id, $deletes)?])
            }
        }
    };
}

erasure!(
    /// How much of the answer goes without the places that a map names first.
    Comprehensiveness,
    "comprehensiveness",
    true,
    Better::Higher,
    "How much of the answer goes without the places that the map names first?"
);
erasure!(
    /// How much of the answer is missing with those places alone.
    Sufficiency,
    "sufficiency",
    false,
    Better::Lower,
    "How much of the answer is missing with the places alone that the map names first?"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cut_units_into_parts_that_hold_all() {
        let counts = |steps, units| CurveSettings { steps, ..CurveSettings::default() }.counts(units);
        assert_eq!(counts(4, 8), [0, 2, 4, 6, 8]);
        // ceil(10 k / 4) = 0, 3, 5, 8, 10
        assert_eq!(counts(4, 10), [0, 3, 5, 8, 10]);
        assert_eq!(counts(16, 3), [0, 1, 2, 3]);
    }

    #[test]
    fn areas_are_trapezoids_over_shares() {
        // Two fifths at (1 + 0) / 2, three fifths at (0 + 2) / 2: 0.2 + 0.6.
        assert!((area(&[0, 2, 5], &[1.0, 0.0, 2.0]) - 0.8).abs() < 1e-12);
    }

    #[test]
    fn settings_are_checked() {
        let said = Deletion::new(CurveSettings { steps: 0, ..CurveSettings::default() }).unwrap_err();
        assert_eq!(said.to_string(), "deletion: steps = 0, but it must be at least 1");
        let bins = vec![0.5, f64::NAN];
        let said = Sufficiency::new(ErasureSettings { bins, ..ErasureSettings::default() }).unwrap_err();
        assert_eq!(
            said.to_string(),
            "sufficiency: bins = [0.5, NaN], but there must be one, and each lie above 0, up to 1"
        );
    }
}
