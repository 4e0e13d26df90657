//! HSIC of many sites, of one batch or as the mean over several.

use mmlens_core::AnalysisError;
use mmlens_engine::hsic::{How, PANELS, Prepared, STRIP, Way, hsic};

/// Sites that are compared: the widths of their rows, and which of them are on either side.
#[derive(Debug, Clone, Default)]
pub(super) struct Pairs {
    pub(super) widths: Vec<usize>,
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
}

impl Pairs {
    fn width(&self, column: usize) -> usize {
        self.widths.get(column).copied().unwrap_or_default()
    }

    /// Numbers of a row of all sites.
    pub(super) fn row(&self) -> usize {
        self.widths.iter().sum()
    }

    /// The way that takes fewer multiplications over `n` rows, as far as grams fit into what is left of memory beside the rows; and
    /// bytes that it takes beside them.
    pub(super) fn way(&self, n: usize, left: u64) -> (Way, u64) {
        let (rows, columns) = (n as f64, self.widths.len());
        let wide = |some: &[usize]| some.iter().map(|column| self.width(*column) as f64).sum::<f64>();
        let of_pairs = (self.left.len() * self.right.len()) as f64;
        let gram = rows * rows * (self.row() as f64 + 2.0 * of_pairs);
        let squares: f64 = self.widths.iter().map(|width| (*width as f64).powi(2)).sum();
        let covariance = rows * (squares + 2.0 * wide(&self.left) * wide(&self.right));
        let square = 8 * (n as u64).saturating_mul(n as u64);
        // One beside them is being made, or shuffled, which takes two.
        let grams = square.saturating_mul(columns as u64 + 2).saturating_add(PANELS);
        if gram <= covariance && grams <= left {
            return (Way::Gram, grams);
        }
        let widest = self.right.iter().map(|column| self.width(*column)).max().unwrap_or_default();
        let widest = widest.max(self.widths.iter().copied().max().unwrap_or_default());
        (Way::Covariance, PANELS + 8 * (widest as u64).saturating_mul((n + STRIP) as u64))
    }
}

/// What batches add up to.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    /// HSIC of every pair, `[left, right]`.
    pairs: Vec<f64>,
    /// The same where rows on the right are shuffled.
    shuffled: Vec<f64>,
    /// HSIC of every site with itself.
    own: Vec<f64>,
    /// The largest that could have been.
    scales: Vec<f64>,
    pub(super) batches: usize,
}

/// HSIC of a site with itself is nothing below this share of what it could be: rounding leaves so much.
const NOTHING: f64 = 1e-12;

impl Sums {
    pub(super) fn new(pairs: &Pairs) -> Self {
        let (count, sites) = (pairs.left.len() * pairs.right.len(), pairs.widths.len());
        let [of_pairs, of_sites] = [count, sites].map(|len| vec![0.0; len]);
        Self {
            pairs: of_pairs.clone(),
            shuffled: of_pairs,
            own: of_sites.clone(),
            scales: of_sites,
            batches: 0,
        }
    }

    /// One more batch: the rows of every site, and the order of shuffled ones. `each` is told of every site on the right.
    pub(super) fn add(
        &mut self,
        (how, pairs): (How, &Pairs),
        rows: Vec<Vec<f64>>,
        order: &[usize],
        each: &mut dyn FnMut() -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        let all = rows.into_iter().zip(&pairs.widths);
        let all = all.map(|(rows, width)| Prepared::new(how, rows, *width));
        let all: Vec<Prepared> = all.collect::<Result<_, _>>()?;
        for ((site, own), scale) in all.iter().zip(&mut self.own).zip(&mut self.scales) {
            *own += hsic(how, site, site);
            *scale += site.scale(how);
        }
        for (at, right) in pairs.right.iter().enumerate() {
            let Some(right) = all.get(*right) else { continue };
            let shuffled = right.shuffled(how, order);
            let column = |sums| column_of(sums, at, pairs.right.len());
            let sums = column(&mut self.pairs).zip(column(&mut self.shuffled));
            for ((pair, chance), left) in sums.zip(&pairs.left) {
                let Some(left) = all.get(*left) else { continue };
                *pair += hsic(how, left, right);
                *chance += hsic(how, left, &shuffled);
            }
            each()?;
        }
        self.batches += 1;
        Ok(())
    }

    /// The first site of which nothing is left to compare with.
    pub(super) fn empty(&self) -> Option<usize> {
        let nothing = |(own, scale): (&f64, &f64)| own.is_nan() || *own <= NOTHING * scale;
        self.own.iter().zip(&self.scales).position(nothing)
    }

    /// CKA of every pair, `[left, right]`, and of shuffled rows.
    pub(super) fn ratios(&self, pairs: &Pairs) -> [Vec<f64>; 2] {
        let own = |column: &usize| self.own.get(*column).copied().unwrap_or(f64::NAN).sqrt();
        let bottoms = || pairs.left.iter().flat_map(|l| pairs.right.iter().map(move |r| own(l) * own(r)));
        [&self.pairs, &self.shuffled].map(|sums| sums.iter().zip(bottoms()).map(|(top, b)| top / b).collect())
    }
}

fn column_of(sums: &mut [f64], at: usize, across: usize) -> impl Iterator<Item = &mut f64> {
    sums.iter_mut().skip(at).step_by(across.max(1))
}

#[cfg(test)]
mod tests {
    use mmlens_engine::hsic::PANELS;

    use super::{Pairs, Way};

    #[test]
    fn the_way_follows_from_sizes_and_memory() {
        let pairs = Pairs { widths: vec![768, 768], left: vec![0], right: vec![1] };
        let way = |n, left| pairs.way(n, left);
        // 100 * 100 * 8 bytes, of two sites, one that is being made and one that is shuffled
        assert_eq!(way(100, 1 << 30), (Way::Gram, 4 * 80_000 + PANELS));
        assert_eq!(way(100, PANELS + 300_000), (Way::Covariance, 8 * 768 * 228 + PANELS));
        assert_eq!(way(100_000, u64::MAX), (Way::Covariance, 8 * 768 * 100_128 + PANELS));
    }
}
