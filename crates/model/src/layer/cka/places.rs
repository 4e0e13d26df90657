//! Which sites of which subject are compared, and what a case gives of each.

use mmlens_core::{
    AnalysisError, Case, Cases, Copies, Cost, HookError, Inputs, ManyCases, On, Plan, Point, Selector, Site,
    Subject,
};
use mmlens_engine::{Held, Positions, Shows, numbers, row_count, row_width, rows_at};

use super::batches::Batches;
use super::hsic::Pairs;
use super::{CARD, Estimator, RowsOf, Settings};

/// A subject, the cases as it takes them, and what is read of it.
struct Side<'a> {
    on: On<'a>,
    data: &'a dyn Cases,
    asked: Vec<(Site, Positions)>,
    /// Numbers of a row of each site.
    widths: Vec<usize>,
    plan: Plan,
}

/// What is compared. Sites are numbered side by side: those of the first subject, then those of the second.
pub(super) struct Places<'a> {
    sides: Vec<Side<'a>>,
    pub(super) pairs: Pairs,
    rows: RowsOf,
    /// Whether rows are patches.
    patches: bool,
}

impl<'a> Places<'a> {
    pub(super) fn of(settings: &Settings, on: &On<'a>, input: &'a ManyCases) -> Result<Self, AnalysisError> {
        let first = resolved(on.subject(), settings.sites.as_deref())?;
        let against = settings.against.as_deref().or(settings.sites.as_deref());
        let (sides, left, right) = match input.other() {
            Some(other) => {
                let second = resolved(other, against)?;
                let there = On::new(other).watched(on.watch()).within(on.memory());
                let sides = vec![
                    Side::new(settings, *on, input.data(), &first)?,
                    Side::new(settings, there, input.others(), &second)?,
                ];
                let all = first.len() + second.len();
                (sides, (0..first.len()).collect(), (first.len()..all).collect())
            }
            None => {
                let second = resolved(on.subject(), against)?;
                let mut all = [first.as_slice(), second.as_slice()].concat();
                all.sort_unstable();
                all.dedup();
                let sides = vec![Side::new(settings, *on, input.data(), &all)?];
                let places =
                    |some: &[Site]| some.iter().filter_map(|site| all.binary_search(site).ok()).collect();
                (sides, places(&first), places(&second))
            }
        };
        let widths = sides.iter().flat_map(|side| side.widths.iter().copied()).collect();
        Ok(Self {
            sides,
            pairs: Pairs { widths, left, right },
            rows: settings.rows,
            patches: settings.positions == Positions::Pictures,
        })
    }

    /// Passes there are.
    pub(super) fn passes(&self, cases: usize) -> usize {
        cases * self.sides.len()
    }

    /// Every site, with the number of its side.
    fn columns(&self) -> impl Iterator<Item = (usize, Site)> {
        let sides = self.sides.iter().enumerate();
        sides.flat_map(|(at, side)| side.asked.iter().map(move |(site, _)| (at, *site)))
    }

    /// Sites by their numbers.
    pub(super) fn sites(&self, some: &[usize]) -> Vec<Site> {
        let all: Vec<Site> = self.columns().map(|(_, site)| site).collect();
        some.iter().filter_map(|at| all.get(*at).copied()).collect()
    }

    /// The site with the widest rows.
    pub(super) fn widest(&self) -> Result<Site, HookError> {
        let widest = self.columns().zip(&self.pairs.widths).max_by_key(|(_, width)| **width);
        widest.map(|((_, site), _)| site).ok_or_else(|| HookError::NoOutput("cka".to_owned()))
    }

    /// A site by its number, with its subject where there are two.
    pub(super) fn named(&self, at: usize) -> String {
        let Some((side, site)) = self.columns().nth(at) else { return String::new() };
        // Two checkpoints may be called the same.
        let which = if side == 0 { "first" } else { "second" };
        match self.sides.as_slice() {
            [_] => format!("`{site}`"),
            sides => {
                let name = sides.get(side).map_or("", |side| side.on.subject().name());
                format!("`{site}` of the {which} (`{name}`)")
            }
        }
    }

    /// Takes a case into the batches: one pass of each subject. `each` is told of every pass.
    pub(super) fn take(
        &self,
        index: usize,
        batches: &mut Batches,
        each: &mut dyn FnMut() -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        let (mut first, mut at) = (None, 0);
        for side in &self.sides {
            let (subject, memory) = (side.on.subject(), side.on.memory());
            let Case { sample, .. } = side.data.case(index)?;
            let inputs = subject.encode(&sample)?;
            batches.beside = side.beside(&inputs)?;
            memory.hold(
                CARD.id,
                batches.held() + batches.beside,
                subject.need(&inputs, &side.plan, Copies::ONE)?,
            )?;
            for held in rows_at((&side.on, CARD.id), &inputs, &side.asked)? {
                match self.rows {
                    RowsOf::Cases => batches.take(at, &held.mean())?,
                    RowsOf::Positions => {
                        let held = if self.patches { patches_of(held) } else { held };
                        let wide: Vec<f64> = held.values.iter().map(|x| f64::from(*x)).collect();
                        batches.take(at, &wide)?;
                        match &first {
                            None => first = Some(held.shows),
                            Some(shows) => self.one_to_one(index, at, shows, &held)?,
                        }
                    }
                }
                at += 1;
            }
            each()?;
        }
        batches.settle(first.map_or(1, |shows| shows.len()))
    }

    /// That a site has rows of the same as the first one.
    fn one_to_one(&self, case: usize, at: usize, first: &[Shows], held: &Held) -> Result<(), AnalysisError> {
        let (own, other) = (self.named(0), self.named(at));
        let found = if first.len() == held.shows.len() {
            let mut both = first.iter().zip(&held.shows).enumerate();
            let Some((row, (one, two))) = both.find(|(_, (one, two))| !one.is(two)) else { return Ok(()) };
            format!("row {row} of case {case} shows {one} at {own} and {two} at {other}")
        } else {
            format!("case {case} has {} at {own} and {} at {other}", first.len(), held.shows.len())
        };
        Err(AnalysisError::Input { method: CARD.id, needs: "rows that correspond one to one".into(), found })
    }

    /// What it costs: every case is encoded.
    pub(super) fn cost(&self, cases: usize, estimator: Estimator) -> Result<Cost, AnalysisError> {
        let (mut forward, mut rows, mut first, mut most, mut widest_pass) = (0, 0, None, 1, 0);
        for index in 0..cases {
            for (at, side) in self.sides.iter().enumerate() {
                let subject = side.on.subject();
                let inputs = subject.encode(&side.data.case(index)?.sample)?;
                forward += inputs.rows();
                let need = subject.need(&inputs, &side.plan, Copies::ONE)?.bytes;
                // no NaN: whole numbers
                widest_pass = u64::max(widest_pass, need + side.beside(&inputs)?);
                if let (0, Some((site, positions))) = (at, side.asked.first()) {
                    let count = match self.rows {
                        RowsOf::Cases => 1,
                        RowsOf::Positions => row_count((&side.on, CARD.id), &inputs, *site, positions)?,
                    };
                    (rows, most) = (rows + count, most.max(count));
                    first = first.or(Some(count));
                }
            }
        }
        let (waiting, batch) = match estimator {
            Estimator::Minibatch { batch } => (rows.min(2 * batch + most), rows.min(2 * batch)),
            _ => (rows, rows),
        };
        let expected = first.map_or(0, |first| estimator.expected(first, cases));
        let budget = self.sides.first().map_or(0, |side| side.on.memory().budget());
        let held = Batches::bytes(&self.pairs, waiting.max(expected));
        let (_, product) = self.pairs.way(batch, budget.saturating_sub(held));
        let drained = if batch < rows { Batches::bytes(&self.pairs, batch) } else { 0 };
        let product = product.saturating_add(drained);
        // no NaN: whole numbers
        let bytes = held.saturating_add(u64::max(widest_pass, product)).min(budget);
        Ok(Cost { bytes, ..Cost::rows(forward) })
    }
}

impl<'a> Side<'a> {
    fn new(
        settings: &Settings,
        on: On<'a>,
        data: &'a dyn Cases,
        sites: &[Site],
    ) -> Result<Self, AnalysisError> {
        let (mut asked, mut widths, mut plan) = (Vec::new(), Vec::new(), Plan::new());
        for site in sites {
            let (width, suits) = row_width((&on, CARD.id), *site, &settings.positions)?;
            // A mean can be taken over all rows of whatever has no such positions.
            let all = settings.rows == RowsOf::Cases && !suits;
            asked.push((*site, if all { Positions::All } else { settings.positions.clone() }));
            widths.push(width);
            plan = plan.read(*site)?;
        }
        Ok(Self { on, data, asked, widths, plan })
    }

    /// Bytes of what a pass brought back, on the host and as rows.
    fn beside(&self, inputs: &Inputs) -> Result<u64, HookError> {
        let sites: Vec<Site> = self.asked.iter().map(|(site, _)| *site).collect();
        Ok(12 * numbers(self.on.subject(), inputs, &sites)? as u64)
    }
}

/// The sites that selectors choose, in the order of a pass; without any, the stream behind every block of the last part.
fn resolved(subject: &dyn Subject, selectors: Option<&[Selector]>) -> Result<Vec<Site>, HookError> {
    let (name, published) = (subject.name(), subject.sites());
    let mut sites = Vec::new();
    match selectors {
        Some(selectors) => {
            for selector in selectors {
                sites.extend(selector.resolve(name, published)?);
            }
        }
        None => {
            let last = subject.anatomy().last().map(|anatomy| (anatomy.part, anatomy.blocks));
            if let Some((part, blocks)) = last {
                sites.extend((0..blocks).map(|block| Site::block(part, block, Point::ResidPost)));
            }
        }
    }
    sites.sort_unstable();
    sites.dedup();
    Ok(sites)
}

/// The rows that show a patch: a class token that is handed on stands among the positions of a picture, and shows none.
fn patches_of(held: Held) -> Held {
    let Held { values, width, places, shows, prompt } = held;
    let chosen = |row: &Shows| row.patch().is_some();
    let rows = values.chunks(width.max(1)).zip(&shows).filter(|(_, row)| chosen(row));
    let values = rows.flat_map(|(values, _)| values.iter().copied()).collect();
    let places =
        places.into_iter().zip(&shows).filter(|(_, row)| chosen(row)).map(|(place, _)| place).collect();
    Held { values, width, places, shows: shows.into_iter().filter(chosen).collect(), prompt }
}
