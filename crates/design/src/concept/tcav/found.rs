//! Directions and slopes along them, and what came of all runs, as tables.

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{AnalysisError, Ended, HookError, caution};
use mmlens_engine::{Welch, dot};

use crate::learned::stopped;

/// From this p on random concepts are said to score like the concept.
const BY_CHANCE: f64 = 0.05;
/// Fewer groups learned from than this, of a concept, are few.
const FEW: usize = 10;

/// A direction, how well it tells examples apart that were held out, and how its search ended.
pub(super) struct Direction {
    pub(super) vector: Vec<f64>,
    pub(super) accuracy: f64,
    pub(super) held_out: usize,
    pub(super) ended: Ended,
}

/// All that runs found of one concept, or of random ones.
#[derive(Default)]
pub(super) struct Tested {
    /// The sum of all directions.
    sum: Vec<f64>,
    /// Of each run.
    accuracies: Vec<f64>,
    /// Rows that are held out of a run.
    held_out: usize,
    /// How searches ended.
    ended: Vec<Ended>,
    /// Slopes of each run, of each explained case.
    slopes: Vec<Vec<f64>>,
}

impl Tested {
    pub(super) fn add(&mut self, direction: Direction, slopes: &[Vec<f64>]) {
        let Direction { vector, accuracy, held_out, ended } = direction;
        self.slopes.push(slopes.iter().map(|slope| dot(slope, &vector)).collect());
        self.accuracies.push(accuracy);
        self.held_out = held_out;
        self.ended.push(ended);
        self.sum.resize(vector.len(), 0.0);
        self.sum.iter_mut().zip(&vector).for_each(|(sum, x)| *sum += x);
    }

    /// Of each run the share of cases in which the slope is above zero.
    fn scores(&self) -> Vec<f64> {
        let above = |run: &Vec<f64>| run.iter().filter(|slope| **slope > 0.0).count() as f64;
        self.slopes.iter().map(|run| above(run) / run.len().max(1) as f64).collect()
    }

    /// Of each run the share of all magnitudes that is of slopes above zero; half, where all are zero.
    fn magnitudes(&self) -> Vec<f64> {
        let share = |run: &Vec<f64>| {
            let all: f64 = run.iter().map(|slope| slope.abs()).sum();
            let above: f64 = run.iter().filter(|slope| **slope > 0.0).sum();
            if all > 0.0 { above / all } else { 0.5 }
        };
        self.slopes.iter().map(share).collect()
    }

    fn accuracies(&self) -> Vec<f64> {
        self.accuracies.clone()
    }

    /// The mean cosine of the directions of two runs.
    fn agreement(&self) -> f64 {
        let n = self.accuracies.len() as f64;
        (dot(&self.sum, &self.sum) - n) / (n * (n - 1.0))
    }

    /// The mean over runs, case by case.
    fn mean_slopes(&self) -> Vec<f64> {
        let cases = self.slopes.first().map_or(0, Vec::len);
        let of = |case: usize| {
            mean(&self.slopes.iter().filter_map(|run| run.get(case).copied()).collect::<Vec<_>>())
        };
        (0..cases).map(of).collect()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// What came of all runs.
pub(super) struct Found {
    pub(super) names: Vec<String>,
    /// Of each concept, and last of random ones.
    pub(super) tested: Vec<Tested>,
    pub(super) objectives: Vec<f32>,
    pub(super) unit: Unit,
    pub(super) size: usize,
    pub(super) out: usize,
    /// The most steps of a search.
    pub(super) steps: usize,
}

impl Found {
    pub(super) fn tables(&self) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let Self { names, tested, objectives, unit, size, out, steps } = self;
        let (random, concepts) = tested.split_last().ok_or(HookError::NoObjective)?;
        let by_chance = random.scores();
        let p: Vec<f64> = concepts
            .iter()
            .map(|own| {
                let p = Welch::of(&own.scores(), &by_chance).map_or(1.0, |test| test.p);
                (p * names.len() as f64).clamp(0.0, 1.0)
            })
            .collect();
        let middle = mean(&by_chance);
        let by_rank: Vec<f64> = concepts
            .iter()
            .map(|own| {
                let far = (mean(&own.scores()) - middle).abs();
                let as_far = by_chance.iter().filter(|score| (**score - middle).abs() >= far - 1e-12).count();
                (1 + as_far) as f64 / (1 + by_chance.len()) as f64
            })
            .collect();
        let own = || Axis::names(Role::Concept, names.iter().map(String::as_str));
        let all = || Axis::names(Role::Concept, names.iter().map(String::as_str).chain(["random concepts"]));
        let sample = || Axis::count(Role::Sample, objectives.len());
        let runs = || Axis::count(Role::Step, random.slopes.len());
        let f32s = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
        let means =
            |of: &dyn Fn(&Tested) -> Vec<f64>| f32s(tested.iter().map(|own| mean(&of(own))).collect());
        let each = |of: &dyn Fn(&Tested) -> Vec<f64>| f32s(tested.iter().flat_map(of).collect());
        let scores = means(&Tested::scores);
        let accuracies = means(&Tested::accuracies);
        let agreement = f32s(tested.iter().map(Tested::agreement).collect());
        let counts = Axis::names(Role::Concept, ["learned from", "held out"]);
        let tables = vec![
            Labelled::numbers("score", Unit::Ratio, vec![all()], scores.clone())?,
            Labelled::numbers("p", Unit::Probability, vec![own()], f32s(p.clone()))?,
            Labelled::numbers("p by rank", Unit::Probability, vec![own()], f32s(by_rank.clone()))?,
            Labelled::numbers("magnitude", Unit::Ratio, vec![all()], means(&Tested::magnitudes))?,
            Labelled::numbers("accuracy", Unit::Ratio, vec![all()], accuracies.clone())?,
            Labelled::numbers("agreement", Unit::Cosine, vec![all()], agreement)?,
            Labelled::numbers(
                "sensitivity",
                Unit::Gradient,
                vec![all(), sample()],
                each(&Tested::mean_slopes),
            )?
            .aside(),
            Labelled::numbers("scores", Unit::Ratio, vec![all(), runs()], each(&Tested::scores))?.aside(),
            Labelled::numbers("accuracies", Unit::Ratio, vec![all(), runs()], each(&Tested::accuracies))?
                .aside(),
            Labelled::numbers("examples", Unit::Count, vec![counts], vec![(size - out) as f32, *out as f32])?
                .aside(),
            Labelled::numbers("objective", *unit, vec![sample()], objectives.clone())?.aside(),
        ];
        let mut said = Vec::new();
        let slopes = f32s(tested.iter().flat_map(|own| own.slopes.concat()).collect());
        if let Some(nothing) = caution::nothing(&slopes, "slopes") {
            return Ok((tables, vec![nothing]));
        }
        for (((name, p), by_rank), at) in names.iter().zip(&p).zip(&by_rank).zip(0..) {
            let of = |values: &[f32], at: usize| values.get(at).copied().unwrap_or_default();
            let (score, chance) = (of(&scores, at), of(&scores, names.len()));
            let worse = if p > by_rank { *p } else { *by_rank };
            if worse > BY_CHANCE {
                let text = format!(
                    "`{name}` scores {score:.3}, and random concepts {chance:.3} in the mean (p = {p:.2}, by rank {by_rank:.2}): that the answer depends on it does not follow"
                );
                said.push(Caution::new(CautionKind::Chance, worse as f32, text));
            }
            // Two standard errors of who guesses, of one run's examples: runs share them.
            let held = concepts.get(at).map_or(1, |own| own.held_out);
            let (accuracy, guess) = (f64::from(of(&accuracies, at)), 0.5 + 1.0 / (held.max(1) as f64).sqrt());
            if accuracy <= guess {
                let text = format!(
                    "directions of `{name}` are right in {accuracy:.3} of the examples held out, and of so few who guesses may be in {guess:.3}: they may not be those of the concept"
                );
                said.push(Caution::new(CautionKind::NoBetter, (accuracy - 0.5) as f32, text));
            }
        }
        let searches = tested.iter().flat_map(|own| own.ended.iter().copied());
        said.extend(stopped("searches for a direction", searches, *steps));
        let learned = size - out;
        if learned < FEW {
            let text = format!(
                "directions are learned from {learned} groups of examples of each side: they are as much of what these have in common by chance"
            );
            said.push(Caution::new(CautionKind::FewRows, learned as f32, text));
        }
        Ok((tables, said))
    }
}
