//! How well scores agree with the truth, with intervals, as a table.

use std::fmt::Write as _;

use anyhow::Result;
use mmlens::finding::{correlation, ranks};
use mmlens::prelude::*;

use super::truth::{Said, Size, Trained};

/// Something measured, and the same of targets, subsets and cases that were drawn again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    pub(crate) value: f64,
    drawn: Vec<f64>,
    /// Of each seed.
    each: Vec<f64>,
}

impl Measured {
    /// Of `measure`, given rows that are drawn again: `[rows, columns]` numbers of each.
    fn of(
        [rows, columns]: [usize; 2],
        (draws, seed): (u64, Seed),
        measure: &dyn Fn(&[usize], &[usize]) -> f64,
    ) -> Self {
        let again = |count: usize, seed: Seed| -> Vec<usize> {
            (0..count).map(|at| (seed.at(at as u64).value() % count.max(1) as u64) as usize).collect()
        };
        let all = |count: usize| (0..count).collect::<Vec<_>>();
        let drawn = (0..draws).map(|draw| {
            let seed = seed.at(draw);
            measure(&again(rows, seed.at(0)), &again(columns, seed.at(1)))
        });
        let value = measure(&all(rows), &all(columns));
        Self { value, drawn: drawn.collect(), each: vec![value] }
    }

    fn add(&mut self, other: &Self) {
        self.value += other.value;
        self.each.extend(&other.each);
        if self.drawn.is_empty() {
            self.drawn = vec![0.0; other.drawn.len()];
        }
        self.drawn.iter_mut().zip(&other.drawn).for_each(|(sum, own)| *sum += own);
    }

    fn by_seed(&self) -> String {
        self.each.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(", ")
    }

    /// Of so many, the mean and the 2.5 % below and above the draws.
    fn told(&self, of: f64) -> String {
        let mut drawn = self.drawn.clone();
        drawn.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = ((share * drawn.len() as f64).ceil() as usize).saturating_sub(1);
            drawn.get(place).map_or(f64::NAN, |value| value / of)
        };
        format!("{:.3} [{:.3}, {:.3}]", self.value / of, at(0.025), at(0.975))
    }
}

/// The correlation of ranks of two tables, row by row, in the mean over rows; a row that does not vary counts as none.
fn agreement(found: &[Vec<f64>], truth: &[Vec<f64>], (size, seed): (Size, Seed)) -> Measured {
    let columns = truth.first().map_or(0, Vec::len);
    let of = |rows: &[usize], columns: &[usize]| {
        let row = |at: &usize| {
            let some = |row: &[f64]| ranks(&columns.iter().map(|column| row[*column]).collect::<Vec<_>>());
            correlation(&some(&found[*at]), &some(&truth[*at])).unwrap_or(0.0)
        };
        rows.iter().map(row).sum::<f64>() / rows.len() as f64
    };
    Measured::of([truth.len(), columns], (size.draws, seed), &of)
}

/// The share of pairs of a planted case and another in which the planted one has the higher number.
fn area(numbers: &[f64], planted: &[bool], (size, seed): (Size, Seed)) -> Measured {
    let of = |_: &[usize], columns: &[usize]| {
        let ranks = ranks(&columns.iter().map(|at| numbers[*at]).collect::<Vec<_>>());
        let bad: Vec<f64> =
            columns.iter().zip(&ranks).filter(|(at, _)| planted[**at]).map(|(_, rank)| *rank).collect();
        let (some, others) = (bad.len() as f64, (columns.len() - bad.len()) as f64);
        match some * others > 0.0 {
            true => (bad.iter().sum::<f64>() - some * (some + 1.0) / 2.0) / (some * others),
            false => 0.5,
        }
    };
    Measured::of([1, planted.len()], (size.draws, seed), &of)
}

/// The share of planted cases among as many that come first.
fn first(numbers: &[f64], planted: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|a, b| numbers[*b].total_cmp(&numbers[*a]).then(a.cmp(b)));
    let count = planted.iter().filter(|own| **own).count();
    order.iter().take(count).filter(|at| planted[**at]).count() as f64 / count as f64
}

/// A method, summed over seeds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Predicted and true outputs over subsets.
    pub(crate) subsets: Measured,
    /// Scores and effects of leaving out.
    pub(crate) without: Measured,
    /// Planted cases by their score for themselves, and how many of them come first.
    pub(crate) own: Option<(Measured, f64)>,
    /// Planted cases by how much they speak against all targets, and how many of them come first.
    pub(crate) harm: (Measured, f64),
}

impl Row {
    fn of(trained: &Trained, said: &Said) -> Self {
        let with = (trained.size, trained.seed.at(9));
        let predicted: Vec<Vec<f64>> = said
            .scores
            .iter()
            .map(|scores| {
                let sum = |inside: &Vec<bool>| {
                    inside.iter().zip(scores).filter(|(inside, _)| **inside).map(|(_, x)| x).sum()
                };
                trained.subsets.iter().map(sum).collect()
            })
            .collect();
        let found =
            |numbers: &[f64]| (area(numbers, &trained.planted, with), first(numbers, &trained.planted));
        let harm: Vec<f64> = (0..trained.planted.len())
            .map(|at| -said.scores.iter().map(|row| row[at]).sum::<f64>())
            .collect();
        Self {
            name: said.name,
            subsets: agreement(&predicted, &trained.outputs, with),
            without: agreement(&said.scores, &trained.without, with),
            own: said.own.as_deref().map(found),
            harm: found(&harm),
        }
    }

    fn add(&mut self, other: &Self) {
        self.subsets.add(&other.subsets);
        self.without.add(&other.without);
        let add = |(own, first): &mut (Measured, f64), other: &(Measured, f64)| {
            own.add(&other.0);
            *first += other.1;
        };
        if let (Some(own), Some(other)) = (&mut self.own, &other.own) {
            add(own, other);
        }
        add(&mut self.harm, &other.harm);
    }
}

/// All methods, over seeds.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) rows: Vec<Row>,
    seeds: usize,
}

impl Told {
    pub(crate) fn add(&mut self, trained: &Trained) -> Result<()> {
        self.seeds += 1;
        for (at, said) in trained.said()?.iter().enumerate() {
            let row = Row::of(trained, said);
            match self.rows.get_mut(at) {
                Some(sum) => sum.add(&row),
                None => self.rows.push(row),
            }
        }
        Ok(())
    }

    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| method | subsets (LDS) | by seed | leave-one-out | planted, by self-influence: AUROC | among the first | planted, by harm to targets: AUROC | among the first |\n|---|---|---|---|---|---|---|---|\n",
        );
        let seeds = self.seeds as f64;
        let found = |(area, first): &(Measured, f64)| format!("{} | {:.3}", area.told(seeds), first / seeds);
        for row in &self.rows {
            let own = row.own.as_ref().map_or_else(|| "- | -".to_owned(), found);
            let (subsets, seeds_apart) = (row.subsets.told(seeds), row.subsets.by_seed());
            let without = row.without.told(seeds);
            let (name, harm) = (row.name, found(&row.harm));
            let line = writeln!(table, "| {name} | {subsets} | {seeds_apart} | {without} | {own} | {harm} |");
            line.unwrap_or_default();
        }
        table
    }
}
