//! The design of two modalities, each present or exchanged, and what is measured in its cells.

use mmlens_core::check::input;
use mmlens_core::finding::{Axis, Labelled, Role, TableError, Unit};
use mmlens_core::{
    AnalysisError, AnyTensor, Card, Case, Custom, HookError, Need, Objective, On, Output, Position, Sample,
    Site, Target, kind,
};
use mmlens_engine::{Pass, Pictures, Wording};
use serde::{Deserialize, Serialize};

/// What is measured of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measured {
    /// The logarithm of how much likelier the answer is than not, `ln p - ln (1 - p)`.
    LogOdds,
    /// The objective of the case as it is.
    Objective,
}

/// What stands in the places of both modalities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exchange {
    /// Of the pictures; `None` leaves them, or there are none.
    pub pictures: Option<Pictures>,
    /// Of the words.
    pub words: Option<Wording>,
}

/// One cell of the design: what is exchanged in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) pictures: bool,
    pub(super) words: bool,
}

impl Exchange {
    /// Of the modalities that were asked for, those that a sample holds.
    pub(super) fn held(self, card: &Card, sample: &Sample) -> Result<Self, AnalysisError> {
        let pictures = self.pictures.filter(|_| Pictures::held(sample));
        let words = self.words.filter(|_| Wording::held(sample));
        match (pictures, words) {
            (None, None) => {
                Err(input(card, "a sample with the modalities that are to be exchanged", "it has none"))
            }
            _ => Ok(Self { pictures, words }),
        }
    }

    /// What is exchanged, in words.
    pub(super) fn describe(self, on: &On<'_>) -> String {
        let pictures = self.pictures.map(|own| own.describe(on.subject()));
        let said = [pictures, self.words.map(|own| own.describe().to_owned())];
        said.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// Where it enters.
    pub(super) fn sites(self, on: &On<'_>) -> Vec<Site> {
        let pictures = self.pictures.map(|_| kind::perceives_at(on.subject()));
        pictures.into_iter().flatten().chain(self.words.map(|_| kind::words_enter(on.subject()))).collect()
    }

    /// Whether one of both comes from another case.
    pub(super) fn drawn(self) -> bool {
        self.pictures == Some(Pictures::Another) || self.words == Some(Wording::Another)
    }

    /// The cells: as it is, without pictures, without words, without both.
    pub(super) fn cells(self) -> Vec<Cell> {
        let all = [(false, false), (true, false), (false, true), (true, true)];
        let there = |(pictures, words): &(bool, bool)| {
            (!pictures || self.pictures.is_some()) && (!words || self.words.is_some())
        };
        all.into_iter().filter(there).map(|(pictures, words)| Cell { pictures, words }).collect()
    }

    /// How often a cell is measured, with so many draws.
    pub(super) fn times(self, cell: Cell, draws: usize) -> usize {
        let pictures = cell.pictures && self.pictures == Some(Pictures::Another);
        if pictures || (cell.words && self.words == Some(Wording::Another)) { draws } else { 1 }
    }

    /// Names of what is exchanged.
    pub(super) fn names(self) -> Vec<&'static str> {
        [self.pictures.map(|_| "pictures"), self.words.map(|_| "words")].into_iter().flatten().collect()
    }

    /// A case with a cell's modalities exchanged, by what two other samples have.
    fn of(self, cell: Cell, own: &Sample, [seen, said]: [&Sample; 2]) -> Result<Sample, AnalysisError> {
        let mut sample = own.clone();
        if let (true, Some(pictures)) = (cell.pictures, self.pictures) {
            sample = pictures.of(&sample, seen)?;
        }
        if let (true, Some(words)) = (cell.words, self.words) {
            sample = words.of(&sample, said);
        }
        Ok(sample)
    }
}

/// The tokens that an objective is about, one after the other, and where each is decided.
fn tokens(objective: &Objective) -> Option<Vec<(Position, u32)>> {
    match objective {
        Objective::Logit { at, token }
        | Objective::LogProbability { at, token }
        | Objective::Probability { at, token } => Some(vec![(*at, *token)]),
        Objective::Span { tokens, .. } => {
            let places = objective.read_at();
            (places.len() == tokens.len()).then(|| places.into_iter().zip(tokens.iter().copied()).collect())
        }
        _ => None,
    }
}

/// The log-odds of a token: its logit less the logarithm of the sum of what all others are raised to. In double precision, so that what is left of a probability
/// that is all but one is no rounding.
fn log_odds(at: Position, token: u32) -> Objective {
    let value = move |output: &Output| {
        let logits = output.at(at)?;
        let ([_, vocab], device) = (logits.dims(), logits.device());
        let values = AnyTensor::new(logits).finite_values(format!("the logits at {at}"))?;
        let outside = || HookError::Objective { what: "token", index: token as usize, len: vocab };
        let odds = values.chunks(vocab.max(1)).map(|row| {
            let own = f64::from(*row.get(token as usize).ok_or_else(outside)?);
            let others = row.iter().enumerate().filter(|(i, _)| *i != token as usize);
            let others: Vec<f64> = others.map(|(_, logit)| f64::from(*logit)).collect();
            let highest = others.iter().copied().fold(f64::NEG_INFINITY, f64::max); // no NaN: finite logits
            let sum: f64 = others.iter().map(|logit| (logit - highest).exp()).sum();
            Ok((own - highest - sum.ln()) as f32)
        });
        let odds = odds.collect::<Result<Vec<f32>, HookError>>()?;
        Ok(mmlens_core::burn::tensor::Tensor::from_floats(odds.as_slice(), &device))
    };
    let name = format!("log-odds of token {token} at {at}");
    Custom::new(name, Unit::Logit, value).at([at]).into()
}

/// The log-odds of tokens that follow one another, of those of each: `ln P - ln (1 - P)` with `P` the product of their probabilities.
pub(super) fn joined(odds: &[f64]) -> f64 {
    match odds {
        [one] => *one,
        // ln p = -ln(1 + e^-o), without overflow on either side.
        all => {
            let log: f64 = all.iter().map(|o| o.min(0.0) - (-o.abs()).exp().ln_1p()).sum(); // no NaN: finite
            log - (-log.exp_m1()).ln()
        }
    }
}

/// A case with what is measured of it.
pub(super) struct Observed {
    pass: Pass,
    /// Whether what is looked at are log-odds of tokens that follow one another.
    odds: bool,
    pub(super) unit: Unit,
    /// The target of the case, settled.
    pub(super) target: Target,
    /// What is explained.
    pub(super) objective: Objective,
}

impl Observed {
    pub(super) fn new(on: &On<'_>, case: &Case, measured: Option<Measured>) -> Result<Self, AnalysisError> {
        let (inputs, objective) = on.open(case)?;
        let target = match &case.target {
            Target::Answer { .. } => case.target.clone(),
            _ => Target::Objective(objective.clone()),
        };
        let spoken = tokens(&objective).filter(|_| measured != Some(Measured::Objective));
        let odds = spoken.is_some();
        let unit = if odds { Unit::Logit } else { objective.unit() };
        let looks = match spoken {
            Some(tokens) => tokens.into_iter().map(|(at, token)| log_odds(at, token)).collect(),
            None => vec![objective.clone()],
        };
        Ok(Self { pass: Pass::new(case.sample.clone(), inputs, looks), odds, unit, target, objective })
    }

    pub(super) fn measured(&self) -> Measured {
        if self.odds { Measured::LogOdds } else { Measured::Objective }
    }

    pub(super) fn rows(&self) -> usize {
        self.pass.inputs().rows()
    }

    pub(super) fn need(&self, on: &On<'_>) -> Result<Need, HookError> {
        self.pass.need(on.subject())
    }

    /// What is measured: of a case of several rows that of the first.
    fn value(&self, card: &Card, on: &On<'_>, hidden: bool) -> Result<f64, AnalysisError> {
        let found = self.pass.made(card, on, hidden)?;
        let first = found.iter().map(|rows| rows.first().map(|value| f64::from(*value)));
        let first = first.collect::<Option<Vec<f64>>>().ok_or(HookError::NoObjective)?;
        match (self.odds, first.as_slice()) {
            (true, all) => Ok(joined(all)),
            (false, [one]) => Ok(*one),
            (false, _) => Err(HookError::NoObjective.into()),
        }
    }

    /// That log-odds were not asked of what is no token, and an objective means the same where words are others.
    pub(super) fn fits(
        &self,
        card: &Card,
        exchange: Exchange,
        measured: Option<Measured>,
    ) -> Result<(), AnalysisError> {
        if measured == Some(Measured::LogOdds) && !self.odds {
            let found = format!("this one is the {}", self.objective);
            return Err(input(card, "an objective that is about tokens, for log-odds", found));
        }
        let own = self.objective.read_at().iter().any(|at| matches!(at, Position::At(_)));
        match (&self.target, exchange.words) {
            (Target::Objective(_), Some(Wording::Another)) if own => {
                let found =
                    format!("this one is the {}, and other words have other positions", self.objective);
                Err(input(card, "an objective at the last position, or an answer", found))
            }
            _ => Ok(()),
        }
    }
}

impl Observed {
    /// That a position counted from the front is the same place with something else in the place of a modality.
    fn lies_where_it_did(&self, card: &Card, cell: &Self) -> Result<(), AnalysisError> {
        let counted = self.objective.read_at().iter().any(|at| matches!(at, Position::At(_)));
        let [own, other] = [self, cell].map(|asked| asked.pass.inputs().map().tokens.len());
        match &self.target {
            Target::Objective(_) if counted && own != other => {
                let found = format!(
                    "this one is the {} of {own} tokens, and with what stands in there are {other}",
                    self.objective
                );
                Err(input(card, "an objective at the last position, or an answer", found))
            }
            _ => Ok(()),
        }
    }
}

/// What there is to measure of a case: its cells, each as often as is drawn.
pub(super) struct Crossed<'a> {
    pub(super) card: &'a Card,
    pub(super) exchange: Exchange,
    pub(super) measured: Option<Measured>,
    pub(super) draws: usize,
}

/// What was measured of a case.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) exchange: Exchange,
    /// For each cell its values, one for each draw.
    pub(super) cells: Vec<Vec<f64>>,
}

impl Crossed<'_> {
    /// Steps of a case.
    pub(super) fn steps(&self) -> usize {
        self.exchange.cells().iter().map(|cell| self.exchange.times(*cell, self.draws)).sum()
    }

    /// Everything that is measured of a case: which cell, and the case with the cell's modalities exchanged. `others` gives what stands in, of a draw.
    pub(super) fn each(
        &self,
        own: &Sample,
        target: &Target,
        others: &dyn Fn(usize) -> Result<[Sample; 2], AnalysisError>,
        see: &mut dyn FnMut(usize, bool, Case) -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        for draw in 0..self.draws.max(1) {
            let [seen, said] = if self.exchange.drawn() { others(draw)? } else { [own.clone(), own.clone()] };
            for (at, cell) in self.exchange.cells().into_iter().enumerate() {
                if draw >= self.exchange.times(cell, self.draws) {
                    continue;
                }
                let sample = self.exchange.of(cell, own, [&seen, &said])?;
                let hidden = cell.words && self.exchange.words == Some(Wording::Unattended);
                see(at, hidden, Case { sample, target: target.clone() })?;
            }
        }
        Ok(())
    }

    /// Measures a case.
    pub(super) fn measure(
        &self,
        on: &On<'_>,
        (own, asked): (&Sample, &Observed),
        others: &dyn Fn(usize) -> Result<[Sample; 2], AnalysisError>,
        step: &mut dyn FnMut() -> Result<(), AnalysisError>,
    ) -> Result<Found, AnalysisError> {
        let mut cells = vec![Vec::new(); self.exchange.cells().len()];
        self.each(own, &asked.target, others, &mut |at, hidden, case| {
            let cell = Observed::new(on, &case, Some(asked.measured()))?;
            asked.lies_where_it_did(self.card, &cell)?;
            let value = cell.value(self.card, on, hidden)?;
            if let Some(own) = cells.get_mut(at) {
                own.push(value);
            }
            step()
        })?;
        Ok(Found { exchange: self.exchange, cells })
    }

    /// Rows of a case, and what its widest pass takes.
    pub(super) fn rows(
        &self,
        on: &On<'_>,
        own: &Sample,
        target: &Target,
        others: &dyn Fn(usize) -> Result<[Sample; 2], AnalysisError>,
    ) -> Result<(usize, u64), AnalysisError> {
        let (mut rows, mut bytes) = (0, 0);
        self.each(own, target, others, &mut |_, _, case| {
            let asked = Observed::new(on, &case, self.measured)?;
            rows += asked.rows();
            bytes = u64::max(bytes, asked.need(on)?.bytes); // no NaN: whole numbers
            Ok(())
        })?;
        Ok((rows, bytes))
    }
}

/// Effects of one draw, or of means.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Effects {
    /// What each modality changes where the other is there, and how both interact, where there are both.
    pub(super) total: Vec<f64>,
    /// What each modality changes where the other is exchanged.
    pub(super) alone: Vec<f64>,
    /// What both change together.
    pub(super) joint: f64,
}

impl Effects {
    pub(super) fn of(cells: &[f64]) -> Result<Self, AnalysisError> {
        match *cells {
            [own, without] => {
                let effect = own - without;
                Ok(Self { total: vec![effect], alone: vec![effect], joint: effect })
            }
            [own, pictures, words, both] => Ok(Self {
                total: vec![own - pictures, own - words, own - pictures - words + both],
                alone: vec![words - both, pictures - both],
                joint: own - both,
            }),
            _ => Err(HookError::NoObjective.into()),
        }
    }
}

impl Found {
    /// How many draws there are.
    pub(super) fn draws(&self) -> usize {
        self.cells.iter().map(Vec::len).max().unwrap_or(0) // no NaN: whole numbers
    }

    /// The cells of a draw: what is not drawn is the same in all.
    fn of_draw(&self, draw: usize) -> Vec<f64> {
        self.cells.iter().filter_map(|own| own.get(draw).or(own.first()).copied()).collect()
    }

    /// Means of the cells over draws.
    pub(super) fn means(&self) -> Vec<f64> {
        self.cells.iter().map(|own| own.iter().sum::<f64>() / own.len() as f64).collect()
    }

    pub(super) fn effects(&self) -> Result<Effects, AnalysisError> {
        Effects::of(&self.means())
    }

    /// Effects of every draw.
    pub(super) fn by_draw(&self) -> Result<Vec<Effects>, AnalysisError> {
        (0..self.draws()).map(|draw| Effects::of(&self.of_draw(draw))).collect()
    }

    /// Of each modality that is drawn: how far one stand-in lies from the next, in the mean. `None` of one draw.
    pub(super) fn stand_ins(&self) -> Option<Vec<(&'static str, f64)>> {
        let drawn = [
            ("pictures", self.exchange.pictures == Some(Pictures::Another), true),
            ("words", self.exchange.words == Some(Wording::Another), false),
        ];
        let cells = self.exchange.cells();
        let apart = |pictures: bool| {
            let only = Cell { pictures, words: !pictures };
            let own = self.cells.get(cells.iter().position(|cell| *cell == only)?)?;
            let gaps: Vec<f64> = own.windows(2).map(|two| (two[1] - two[0]).abs()).collect();
            (!gaps.is_empty()).then(|| gaps.iter().sum::<f64>() / gaps.len() as f64)
        };
        let found = drawn.into_iter().filter(|(_, drawn, _)| *drawn);
        let found: Vec<_> = found.filter_map(|(name, _, pictures)| Some((name, apart(pictures)?))).collect();
        (!found.is_empty()).then_some(found)
    }
}

/// Names of effects: each modality, and the interaction of both.
pub(super) fn effect_axis(exchange: Exchange) -> Axis {
    let mut names = exchange.names();
    if names.len() == 2 {
        names.push("interaction");
    }
    Axis::names(Role::Concept, names)
}

/// Names of cells.
pub(super) fn cell_axis(exchange: Exchange) -> Axis {
    let name = |cell: Cell| match (cell.pictures, cell.words) {
        (false, false) => "as it is",
        (true, false) => "other pictures",
        (false, true) => "other words",
        (true, true) => "both others",
    };
    Axis::names(Role::Concept, exchange.cells().into_iter().map(name))
}

/// Numbers in f32.
pub(super) fn narrow(values: impl IntoIterator<Item = f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

/// How the joint effect is shared out: what each does alone, and the interaction, which add up to it.
pub(super) fn shares(exchange: Exchange, effects: &Effects) -> Result<Option<Labelled>, TableError> {
    let parts = match (effects.alone.as_slice(), effects.total.as_slice()) {
        ([pictures, words], [_, _, interaction]) => [*pictures, *words, *interaction],
        _ => return Ok(None),
    };
    let values = narrow(parts.map(|part| part / effects.joint));
    Labelled::numbers("share", Unit::Ratio, vec![effect_axis(exchange)], values).map(Some)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn odds_of_tokens_that_follow_one_another() {
        // Probabilities of 1/2 and 1/3: of both 1/6, with odds of 1 to 5.
        let odds = [0.0, 0.5_f64.ln()];
        assert!((joined(&odds) - 0.2_f64.ln()).abs() < 1e-14);
        assert!((joined(&[1.5]) - 1.5).abs() == 0.0);
        // All but certain: what is left of one is e^-40 twice.
        assert!((joined(&[40.0, 40.0]) - (40.0 - 2.0_f64.ln())).abs() < 1e-9);
        // All but impossible.
        assert!((joined(&[-50.0, -60.0]) + 110.0).abs() < 1e-9);
    }

    #[test]
    fn effects_by_hand() {
        // As it is 5, without the picture 1, without the words 2, without both 0.
        let found = Effects::of(&[5.0, 1.0, 2.0, 0.0]).unwrap();
        assert_eq!(
            (found.total.clone(), found.alone.clone(), found.joint),
            (vec![4.0, 3.0, 2.0], vec![2.0, 1.0], 5.0)
        );
        assert_eq!(found.alone.iter().sum::<f64>() + found.total[2], found.joint);
        assert_eq!(Effects::of(&[3.0, 1.0]).unwrap().total, [2.0]);
    }
}
