//! What came of all prompts, as tables.

use std::collections::BTreeMap;

use mmlens_core::AnalysisError;
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};

use super::{Condition, Judged};

/// Fewer cases than this are cautioned of.
const FEW: usize = 30;

/// What came of all prompts.
pub(super) struct Found<'a> {
    pub(super) conditions: &'a [Condition],
    /// Case by case, of every condition.
    pub(super) judgements: Vec<Judged>,
    /// Of every case its right answer, and those of its demonstrations.
    pub(super) answers: Vec<(String, Vec<String>)>,
    pub(super) chosen: Vec<Vec<usize>>,
}

impl Found<'_> {
    fn of(&self, condition: Condition) -> Option<Vec<Judged>> {
        let at = self.conditions.iter().position(|own| *own == condition)?;
        Some(self.judgements.iter().skip(at).step_by(self.conditions.len()).copied().collect())
    }

    fn right(&self, condition: Condition) -> Option<f64> {
        let own = self.of(condition)?;
        Some(own.iter().filter(|own| own.right).count() as f64 / own.len().max(1) as f64)
    }

    /// Trivial answers, and how often they are right.
    fn trivial(&self) -> [(&'static str, f64); 3] {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (answer, _) in &self.answers {
            *counts.entry(answer).or_default() += 1;
        }
        let share = |count: usize| count as f64 / self.answers.len().max(1) as f64;
        let copied = |right: fn(&(String, Vec<String>)) -> bool| {
            share(self.answers.iter().filter(|own| right(own)).count())
        };
        [
            ("the most common answer", share(counts.values().copied().max().unwrap_or(0))),
            ("that of the last demonstration", copied(|(own, others)| others.last() == Some(own))),
            ("that of any demonstration", copied(|(own, others)| others.contains(own))),
        ]
    }

    pub(super) fn tables(&self, first: String) -> Result<Vec<Labelled>, AnalysisError> {
        let names = || Axis::names(Role::Concept, self.conditions.iter().map(|own| own.name()));
        let count = self.answers.len().max(1) as f64;
        let full = self.of(Condition::Full).unwrap_or_default();
        let (mut right, mut logs, mut changes, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for condition in self.conditions {
            let own = self.of(*condition).unwrap_or_default();
            right.push(self.right(*condition).unwrap_or_default() as f32);
            logs.push((own.iter().map(|own| own.log).sum::<f64>() / count) as f32);
            let apart: Vec<f64> = own.iter().zip(&full).map(|(own, full)| own.log - full.log).collect();
            let mean = apart.iter().sum::<f64>() / count;
            let squares: f64 = apart.iter().map(|own| (own - mean).powi(2)).sum();
            changes.push(mean as f32);
            errors.push((squares / (count - 1.0) / count).sqrt() as f32);
        }
        let nat = Unit::LogProbability;
        let trivial = self.trivial();
        let samples = || Axis::count(Role::Sample, self.answers.len());
        let each = |value: fn(&Judged) -> f32| self.judgements.iter().map(value).collect::<Vec<_>>();
        let most = self.chosen.first().map_or(0, Vec::len);
        let before = self.chosen.iter().flatten().map(|index| *index as f32).collect();
        Ok(vec![
            Labelled::numbers("right", Unit::Ratio, vec![names()], right)?,
            Labelled::numbers("log-probability", nat, vec![names()], logs)?,
            Labelled::numbers("change", nat, vec![names()], changes)?,
            Labelled::numbers("change error", nat, vec![names()], errors)?,
            Labelled::numbers(
                "trivial",
                Unit::Ratio,
                vec![Axis::names(Role::Concept, trivial.map(|(name, _)| name))],
                trivial.map(|(_, share)| share as f32).to_vec(),
            )?,
            Labelled::texts("first prompt", Vec::new(), vec![first])?,
            Labelled::numbers("by case", nat, vec![samples(), names()], each(|own| own.log as f32))?.aside(),
            Labelled::numbers(
                "right by case",
                Unit::Ratio,
                vec![samples(), names()],
                each(|own| f32::from(u8::from(own.right))),
            )?
            .aside(),
            Labelled::numbers(
                "demonstrations",
                Unit::Count,
                vec![samples(), Axis::count(Role::Rank, most)],
                before,
            )?
            .aside(),
        ])
    }

    pub(super) fn cautions(&self) -> Vec<Caution> {
        let mut said = Vec::new();
        let cases = self.answers.len();
        if cases < FEW {
            let text = format!(
                "{cases} cases are few: a share of them is off by {:.0} points and more",
                50.0 / (cases as f64).sqrt()
            );
            said.push(Caution::new(CautionKind::FewRows, cases as f32, text));
        }
        let (full, none) = (self.right(Condition::Full), self.right(Condition::None));
        if let (Some(full), Some(none)) = (full, none) {
            let percent = |share: f64| (100.0 * share).round();
            if full <= none {
                let text = match none {
                    1.0 => "without demonstrations all are right: there is nothing that they could bring"
                        .to_owned(),
                    _ => format!(
                        "with demonstrations {} % are right, and {} % without: the model does not learn from them, or not in this form",
                        percent(full),
                        percent(none)
                    ),
                };
                said.push(Caution::new(CautionKind::NoBetter, (full - none) as f32, text));
            }
        }
        if let (Some(full), Some((name, share))) = (
            full,
            self.trivial().into_iter().take(2).find(|(_, share)| full.is_some_and(|full| full <= *share)),
        ) {
            let text = format!(
                "{name} is right in {:.0} % of the cases, and the model with demonstrations in {:.0} %",
                100.0 * share,
                100.0 * full
            );
            said.push(Caution::new(CautionKind::NoBetter, (full - share) as f32, text));
        }
        said
    }
}
