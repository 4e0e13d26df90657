//! Rows as they come, batch by batch.

use mmlens_core::{AnalysisError, Memory, Need, Seed, Site};
use mmlens_engine::{drawn_order, hsic::How};

use super::hsic::{Pairs, Sums};
use super::{CARD, Estimator, Settings};

/// Rows of sites that are compared: those that wait for their batch, and what was made of the others.
pub(super) struct Batches {
    pairs: Pairs,
    estimator: Estimator,
    seed: Seed,
    cases: usize,
    memory: Memory,
    /// The widest of the sites.
    widest: Site,
    /// Rows that wait, of each site.
    waiting: Vec<Vec<f64>>,
    spreads: Vec<Spread>,
    sums: Sums,
    /// Rows there were.
    pub(super) rows: usize,
    /// Bytes of what the last pass brought back.
    pub(super) beside: u64,
}

/// Which item of a seed are the draws of batch 0.
const SHUFFLES: u64 = 1 << 33;

impl Batches {
    pub(super) fn new(pairs: Pairs, settings: &Settings, cases: usize, memory: Memory, widest: Site) -> Self {
        let Settings { estimator, seed, .. } = *settings;
        let waiting = pairs.widths.iter().map(|_| Vec::new()).collect();
        let spreads = pairs.widths.iter().map(|width| Spread::new(*width)).collect();
        let sums = Sums::new(&pairs);
        Self { pairs, estimator, seed, cases, memory, widest, waiting, spreads, sums, rows: 0, beside: 0 }
    }

    /// Bytes of so many rows, and of what is known of all.
    pub(super) fn bytes(pairs: &Pairs, rows: usize) -> u64 {
        8 * pairs.row() as u64 * (rows as u64 + 3)
    }

    /// Bytes of what waits, and of the room for what will.
    pub(super) fn held(&self) -> u64 {
        Self::bytes(&self.pairs, 0) + self.waiting.iter().map(|rows| 8 * rows.capacity() as u64).sum::<u64>()
    }

    fn waits(&self) -> usize {
        let (rows, width) = (self.waiting.first(), self.pairs.widths.first());
        rows.map_or(0, Vec::len).checked_div(width.copied().unwrap_or_default()).unwrap_or(0)
    }

    /// Takes some rows of a site.
    ///
    /// # Errors
    /// [`AnalysisError::Memory`] if there is no room for as many of every case.
    pub(super) fn take(&mut self, site: usize, rows: &[f64]) -> Result<(), AnalysisError> {
        let (Some(waiting), Some(spread)) = (self.waiting.get_mut(site), self.spreads.get_mut(site)) else {
            return Ok(());
        };
        let width = spread.width().max(1);
        if waiting.capacity() == 0 {
            let expected = self.estimator.expected(rows.len() / width, self.cases);
            let bytes = Self::bytes(&self.pairs, expected);
            self.memory.hold(CARD.id, self.beside, Need { bytes, at: self.widest })?;
            waiting.reserve_exact(expected * width);
        }
        if waiting.capacity() < waiting.len() + rows.len() {
            // A little at a time: what doubles holds twice what it has.
            waiting.reserve_exact(rows.len().max(waiting.len() / 8));
        }
        rows.chunks(width).for_each(|row| spread.add(row));
        waiting.extend_from_slice(rows);
        Ok(())
    }

    /// As many rows of every site were taken: multiplies what makes a batch. The last rows that come are a batch of at least one size
    /// and less than two, so that none is left over.
    pub(super) fn settle(&mut self, rows: usize) -> Result<(), AnalysisError> {
        self.rows += rows;
        let Estimator::Minibatch { batch } = self.estimator else { return Ok(()) };
        while self.waits() >= 2 * batch {
            self.multiply(batch, &mut || Ok(()))?;
        }
        Ok(())
    }

    /// Multiplies the first of the rows that wait.
    fn multiply(
        &mut self,
        rows: usize,
        each: &mut dyn FnMut() -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        let all = rows == self.waits();
        let drained = if all { 0 } else { Self::bytes(&self.pairs, rows) };
        let held = self.held() + drained;
        let (way, bytes) = self.pairs.way(rows, self.memory.left().saturating_sub(held));
        self.memory.hold(CARD.id, held, Need { bytes, at: self.widest })?;
        let of = |(waiting, width): (&mut Vec<f64>, &usize)| match all {
            true => std::mem::take(waiting),
            false => waiting.drain(..(rows * width).min(waiting.len())).collect(),
        };
        let batch = self.waiting.iter_mut().zip(&self.pairs.widths).map(of).collect();
        let how = How { way, unbiased: self.estimator != Estimator::Full };
        let order = drawn_order(rows, self.seed.at(SHUFFLES + self.sums.batches as u64));
        self.sums.add((how, &self.pairs), batch, &order, each)
    }

    /// What all rows say; `each` is told of every site on the right, `named` of a site what it is called.
    pub(super) fn finish(
        mut self,
        named: &dyn Fn(usize) -> String,
        each: &mut dyn FnMut() -> Result<(), AnalysisError>,
    ) -> Result<Compared, AnalysisError> {
        let refused = |needs: String, found: String| {
            Err(AnalysisError::Input { method: CARD.id, needs: needs.into(), found })
        };
        let (rows, least) = (self.rows, self.estimator.least());
        if rows < least {
            return refused(format!("at least {least} rows"), format!("there are {rows}"));
        }
        if let Some(site) = self.spreads.iter().position(Spread::alike) {
            let found = format!("all {rows} of {} are alike", named(site));
            return refused("rows that differ".to_owned(), found);
        }
        self.multiply(self.waits(), each)?;
        if let Some(site) = self.sums.empty() {
            let found = format!("nothing is left of {} without the diagonal of its kernel", named(site));
            return refused("rows of which some are more alike than others".to_owned(), found);
        }
        let [cka, shuffled] = self.sums.ratios(&self.pairs);
        let spreads = self.spreads.iter().map(Spread::shares).collect();
        Ok(Compared { pairs: self.pairs, cka, shuffled, rows, batches: self.sums.batches, spreads })
    }
}

/// What all rows say.
pub(super) struct Compared {
    pub(super) pairs: Pairs,
    /// Of every pair, `[left, right]`.
    pub(super) cka: Vec<f64>,
    pub(super) shuffled: Vec<f64>,
    pub(super) rows: usize,
    pub(super) batches: usize,
    /// Of every site.
    pub(super) spreads: Vec<Shares>,
}

/// How much of the variance lies in few dimensions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    /// The dimension with most of it.
    pub(super) at: usize,
    /// Its share.
    pub(super) largest: f64,
    /// That of the ten with most of it.
    pub(super) ten: f64,
}

/// What is known of the variance of each dimension: sums of differences from the first row, and of their squares.
struct Spread {
    first: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
    rows: usize,
}

impl Spread {
    fn new(width: usize) -> Self {
        let zeros = || vec![0.0; width];
        Self { first: zeros(), sums: zeros(), squares: zeros(), rows: 0 }
    }

    fn width(&self) -> usize {
        self.first.len()
    }

    fn add(&mut self, row: &[f64]) {
        if self.rows == 0 {
            self.first.copy_from_slice(row);
        }
        self.rows += 1;
        let sums = self.sums.iter_mut().zip(&mut self.squares);
        for ((x, first), (sum, square)) in row.iter().zip(&self.first).zip(sums) {
            let off = x - first;
            *sum += off;
            *square += off * off;
        }
    }

    /// Whether every row is the first.
    fn alike(&self) -> bool {
        self.squares.iter().all(|square| *square == 0.0)
    }

    fn shares(&self) -> Shares {
        let n = self.rows as f64;
        let variance = |(sum, square): (&f64, &f64)| square - sum * sum / n;
        let mut all: Vec<(usize, f64)> =
            self.sums.iter().zip(&self.squares).map(variance).enumerate().collect();
        let total: f64 = all.iter().map(|(_, variance)| variance).sum();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let of = |count: usize| all.iter().take(count).map(|(_, variance)| variance).sum::<f64>() / total;
        Shares { at: all.first().map_or(0, |(at, _)| *at), largest: of(1), ten: of(10) }
    }
}
