//! What swaps are to bring about, and what came of them, as tables.

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{AnalysisError, Objective, Position, caution};
use mmlens_engine::Metric;

use super::{Cells, Step, Swap};

/// What is measured behind swaps: what they are to move, and how many tokens are likelier than the other answer.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub(super) value: f32,
    pub(super) rank: Option<f32>,
}

/// The answers of both samples, where they part.
pub(super) struct Answers {
    pub(super) at: Position,
    pub(super) target: u32,
    pub(super) texts: [String; 2],
}

/// What swaps are to bring about.
pub(super) struct Aim {
    pub(super) measure: Objective,
    /// Up or down.
    pub(super) towards: f64,
    /// Its value for the other sample, where it is an objective.
    pub(super) there: Option<f32>,
    pub(super) answers: Option<Answers>,
}

impl Aim {
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let rank = self.answers.as_ref().map(|own| Metric::Rank { at: own.at, token: own.target });
        [Metric::from(&self.measure)].into_iter().chain(rank).collect()
    }

    pub(super) fn further(&self, value: f32, than: f32) -> bool {
        self.towards * f64::from(value) > self.towards * f64::from(than)
    }
}

/// What came of all swaps.
pub(super) struct Found {
    pub(super) aim: Aim,
    pub(super) path: Vec<Step>,
    pub(super) alone: Vec<f64>,
    /// Without any.
    pub(super) start: Said,
    /// The same for orders drawn by chance, one after the other.
    pub(super) random: Vec<Said>,
    pub(super) drawn: usize,
}

impl Found {
    /// After how many swaps the answer was the other one.
    fn needed(&self) -> Option<usize> {
        self.path.iter().position(|step| step.said.rank == Some(0.0)).map(|at| at + 1)
    }

    /// Behind so many swaps drawn by chance, the mean of some values.
    fn drawn(&self, swaps: usize, value: impl Fn(&Said) -> f64) -> f64 {
        let steps = self.path.len().max(1);
        let at = |draw: usize| draw * steps + swaps - 1;
        let own = (0..self.drawn).filter_map(|draw| Some(value(self.random.get(at(draw))?)));
        own.sum::<f64>() / self.drawn.max(1) as f64
    }

    /// In which share of the orders drawn the answer was the other one by then.
    fn flipped_by(&self, swaps: usize) -> f64 {
        let orders = self.random.chunks(self.path.len().max(1));
        let flipped = |own: &&[Said]| own.iter().take(swaps).any(|said| said.rank == Some(0.0));
        orders.filter(flipped).count() as f64 / self.drawn.max(1) as f64
    }

    /// How far it came on the way to the other sample, from 0 to 1.
    fn way(&self, value: f64) -> Option<f64> {
        let start = f64::from(self.start.value);
        Some((value - start) / (f64::from(self.aim.there?) - start))
    }

    /// Something of every step, from none on, of this order and in the mean of those drawn by chance.
    fn both(&self, value: impl Fn(&Said) -> f64) -> Vec<f32> {
        let start = value(&self.start) as f32;
        let mut all = vec![start];
        all.extend(self.path.iter().map(|step| value(&step.said) as f32));
        if self.drawn > 0 {
            all.push(start);
            all.extend((1..=self.path.len()).map(|swaps| self.drawn(swaps, &value) as f32));
        }
        all
    }

    pub(super) fn tables(&self, cells: &Cells) -> Result<Vec<Labelled>, AnalysisError> {
        let unit = self.aim.measure.unit();
        let tokens = || vec![cells.axis.clone()];
        let mut swapped = vec![0.0; cells.regions.len()];
        for Step { swap: (cell, _), change, .. } in &self.path {
            if let Some(slot) = swapped.get_mut(*cell) {
                *slot = *change as f32;
            }
        }
        let alone = self.alone.iter().map(|change| *change as f32).collect();
        let mut tables = vec![
            Labelled::numbers("swapped", unit, tokens(), swapped)?,
            Labelled::numbers("alone", unit, tokens(), alone)?,
        ];
        let steps = self.path.len();
        let whom: &[&str] = if self.drawn > 0 { &["greedy", "random"] } else { &["greedy"] };
        let axes =
            || vec![Axis::names(Role::Concept, whom.iter().copied()), Axis::count(Role::Step, steps + 1)];
        tables.push(Labelled::numbers("path", unit, axes(), self.both(|said| f64::from(said.value)))?);
        if let Some(Answers { texts, .. }) = &self.aim.answers {
            let flipped = self.both(|said| f64::from(u8::from(said.rank == Some(0.0))));
            tables.push(Labelled::numbers("flipped", Unit::Ratio, axes(), flipped)?);
            tables.extend(self.needed().map(|swaps| Labelled::scalar("needed", Unit::Count, swaps as f32)));
            let names = Axis::names(Role::Concept, ["of this", "of the other"]);
            tables.push(Labelled::texts("answers", vec![names], texts.to_vec())?);
        }
        if let Some(there) = self.aim.there {
            let way = self.both(|said| self.way(f64::from(said.value)).unwrap_or_default());
            tables.push(Labelled::numbers("way", Unit::Ratio, axes(), way)?);
            tables.push(Labelled::scalar("of the other", unit, there));
        }
        let each = || vec![Axis::count(Role::Step, steps)];
        let name = |Step { swap: (cell, other), .. }: &Step| match cell == other {
            true => cells.name(*cell),
            false => format!("{} from {}", cells.name(*cell), cells.name(*other)),
        };
        tables.push(Labelled::texts("swaps", each(), self.path.iter().map(name).collect())?);
        let position = |cell: usize| cells.places.get(cell).map_or(0, |(_, at)| *at) as f32;
        let [to, from] = [|swap: Swap| swap.0, |swap: Swap| swap.1]
            .map(|end| self.path.iter().map(|step| position(end(step.swap))).collect::<Vec<f32>>());
        tables.push(Labelled::numbers("cell", Unit::Count, each(), to)?.aside());
        tables.push(Labelled::numbers("taken from", Unit::Count, each(), from)?.aside());
        Ok(tables)
    }

    pub(super) fn cautions(&self, (count, words): (usize, bool)) -> Vec<Caution> {
        let steps = self.path.len();
        let mut said = Vec::new();
        match (self.needed(), &self.aim.answers) {
            (None, Some(Answers { texts: [_, wanted], .. })) => {
                let text = format!(
                    "with {steps} of {count} patches swapped the answer is not yet `{wanted}`: `steps` takes more"
                );
                said.push(Caution::new(CautionKind::NotConverged, steps as f32, text));
            }
            (Some(needed), _) if self.drawn > 0 => {
                let share = self.flipped_by(needed);
                if share >= 0.5 {
                    let percent = (100.0 * share).round();
                    let text = format!(
                        "{percent} % of {} orders drawn by chance turn the answer with {needed} or fewer patches too: which they are says little",
                        self.drawn
                    );
                    said.push(Caution::new(CautionKind::Chance, share as f32, text));
                }
            }
            _ => {}
        }
        if let (Some(greedy), true) =
            (self.path.last().and_then(|step| self.way(f64::from(step.said.value))), self.drawn > 0)
        {
            let random = self.drawn(steps, |said| self.way(f64::from(said.value)).unwrap_or_default());
            let share = random / greedy;
            if share >= 0.5 {
                let text = format!(
                    "{steps} patches drawn by chance come {:.0} % as far as those that were looked for: which they are says little",
                    100.0 * share
                );
                said.push(Caution::new(CautionKind::Chance, share as f32, text));
            }
        }
        if words {
            let text =
                "the samples differ in words too, which are not swapped: the other answer may owe to those";
            said.push(Caution::new(CautionKind::Other, 1.0, text));
        }
        let changes: Vec<f32> = self.alone.iter().map(|change| *change as f32).collect();
        let what = "what any one patch brings";
        said.extend(caution::rounding(&changes, (self.aim.measure.unit(), self.start.value), what));
        said
    }
}
