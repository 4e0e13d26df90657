//! What a map says of sets of units drawn at random, beside what is lost without them.

use mmlens_core::{AnalysisError, caution};
use mmlens_engine::{Coalition, Hiding, Progress};

use crate::metric::{AtHand, MetricCard, NoScore, setting};
use crate::{Instead, Map, Over, Sign};

/// The most sets: all of them are held.
const MOST: usize = 1_000_000;

/// How sets of units are drawn and hidden, and which way numbers of the map count.
pub(crate) struct Hidden<'a> {
    pub(crate) over: Over,
    pub(crate) instead: &'a Instead,
    pub(crate) draws: usize,
    pub(crate) share: f64,
    pub(crate) sign: Sign,
}

impl Hidden<'_> {
    /// Checks what a metric's settings say of draws.
    pub(crate) fn check(card: &MetricCard, draws: usize, share: f64) -> Result<(), AnalysisError> {
        if draws == 0 || draws > MOST {
            return Err(setting(card, "draws", draws, "it must lie between 1 and 1000000"));
        }
        match share > 0.0 && share < 1.0 {
            true => Ok(()),
            false => Err(setting(card, "share", share, "it must lie between 0 and 1")),
        }
    }

    /// Of every set of units, the map's mass on them, and what is lost where they are hidden.
    pub(crate) fn told(
        &self,
        asked: &AtHand<'_>,
        map: &Map,
        id: &'static str,
    ) -> Result<(Vec<f64>, Vec<f64>), NoScore> {
        let units = self.over.units(asked.inputs, asked.picture)?.instead(self.instead.absent(asked.seed));
        let masses = map.signed(self.sign).on(&units);
        let draw = |i: usize| {
            let hidden =
                |unit: &usize| f64::from(asked.seed.at(i as u64).at(*unit as u64).unit()) < self.share;
            Coalition::of(masses.len(), (0..masses.len()).filter(|unit| !hidden(unit)))
        };
        let drawn: Vec<Coalition> = (0..self.draws).map(draw).collect();
        let hiding = Hiding::new(asked.on.subject(), &asked.case.sample, asked.inputs, units)?;
        let mut progress = Progress::new(asked.on.watch(), id, drawn.len());
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
        match lost.iter().chain(&told).all(|value| value.is_finite()) {
            true => Ok((told, lost)),
            false => Err(NoScore::Undefined("what is explained is no finite number".to_owned())),
        }
    }
}
