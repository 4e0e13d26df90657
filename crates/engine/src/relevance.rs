//! Relevance that flows along attention, as far as its weights matter to an objective (Chefer, Gur, Wolf 2021).
//!
//! A layer with weights `A` (of several heads) and their gradients `G` adds to every position what it takes from others:
//! `R <- R + E R` with `E = mean over heads of (G * A)+`, from `R = I`. So `R` is a product of `I + E`, and a row of it is carried from
//! the last layer to the first without making all of it.

use mmlens_core::{AnyTensor, HookError};

/// What a layer's queries take of its keys: `E`, row-major, in single precision as the weights are.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Positions that look.
    pub queries: usize,
    /// Positions that are looked at.
    pub keys: usize,
    values: Vec<f32>,
}

impl Taken {
    /// The mean over heads of what is above zero of weights times their gradients, both `[row, head, query, key]`: one for each row.
    ///
    /// # Errors
    /// [`HookError::Rank`], or [`HookError::Values`] for gradients of another shape.
    pub fn of(weights: &AnyTensor, gradients: &AnyTensor) -> Result<Vec<Self>, HookError> {
        let dims = weights.dims();
        let [_, heads, queries, keys] = *dims.as_slice() else {
            return Err(HookError::Rank { site: "attn.pattern".to_owned(), holds: dims.len(), asked: 4 });
        };
        let (weights, slopes) = (weights.to_values()?, gradients.to_values()?);
        if weights.len() != slopes.len() {
            return Err(HookError::Values { dims, given: slopes.len() });
        }
        let size = (queries * keys).max(1);
        let of_row = |(weights, slopes): (&[f32], &[f32])| {
            let mut sums = vec![0.0_f64; queries * keys];
            for (weights, slopes) in weights.chunks(size).zip(slopes.chunks(size)) {
                for ((sum, weight), slope) in sums.iter_mut().zip(weights).zip(slopes) {
                    let effect = f64::from(*weight) * f64::from(*slope);
                    // What is no number is no loss: it stays, and is refused where a table is made of it.
                    *sum += if effect < 0.0 { 0.0 } else { effect };
                }
            }
            let values = sums.into_iter().map(|sum| (sum / heads.max(1) as f64) as f32).collect();
            Self { queries, keys, values }
        };
        let row = size * heads.max(1);
        Ok(weights.chunks(row).zip(slopes.chunks(row)).map(of_row).collect())
    }

    /// What it says of each query.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks(self.keys.max(1))
    }

    /// Shares of queries as shares of what they take: `s E`.
    #[must_use]
    pub fn carry(&self, shares: &[f64]) -> Vec<f64> {
        let mut carried = vec![0.0; self.keys];
        for (share, row) in shares.iter().zip(self.rows()).filter(|(share, _)| **share != 0.0) {
            carried.iter_mut().zip(row).for_each(|(sum, taken)| *sum += share * f64::from(*taken));
        }
        carried
    }

    /// `E M`, of a matrix of one row for each key.
    #[must_use]
    pub fn times(&self, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let wide = rows.first().map_or(0, Vec::len);
        let product = |row: &[f32]| {
            let mut sum = vec![0.0; wide];
            for (taken, own) in row.iter().zip(rows).filter(|(taken, _)| **taken != 0.0) {
                sum.iter_mut().zip(own).for_each(|(sum, value)| *sum += f64::from(*taken) * value);
            }
            sum
        };
        self.rows().map(product).collect()
    }
}

/// Layers of self-attention, the first first: `R = (I + E_L) ... (I + E_1)`.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a>(pub &'a [Taken]);

impl Layers<'_> {
    /// Shares behind the last layer as shares before the first: `s R`.
    #[must_use]
    pub fn carry(&self, mut shares: Vec<f64>) -> Vec<f64> {
        for layer in self.0.iter().rev() {
            let taken = layer.carry(&shares);
            shares.iter_mut().zip(taken).for_each(|(share, taken)| *share += taken);
        }
        shares
    }

    /// The same with every row of `R - I` divided by its sum, and `I` added again: `s (rownorm(R - I) + I)`. A row that nothing was added to
    /// is that of `I`.
    #[must_use]
    pub fn carry_evened(&self, shares: &[f64]) -> Vec<f64> {
        let sums = self.sums(shares.len());
        let even = |(share, sum): (&f64, &f64)| if *sum == 1.0 { 0.0 } else { share / (sum - 1.0) };
        let even: Vec<f64> = shares.iter().zip(&sums).map(even).collect();
        let carried = self.carry(even.clone());
        let added = carried.iter().zip(&even).map(|(all, own)| all - own);
        added.zip(shares).map(|(added, share)| added + share).collect()
    }

    /// The sums of the rows of `R`.
    fn sums(&self, positions: usize) -> Vec<f64> {
        let mut sums = vec![1.0; positions];
        for layer in self.0 {
            let before: Vec<Vec<f64>> = sums.iter().map(|sum| vec![*sum]).collect();
            let added = layer.times(&before).concat();
            sums.iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
        }
        sums
    }
}

/// Words that attend to one another and, in every block behind that, to patches: how relevant each word is to each word, and each patch.
#[derive(Debug, Clone)]
pub struct Crossing<'a> {
    /// Of words to words.
    words: Vec<Vec<f64>>,
    /// Of patches to words.
    patches: Vec<Vec<f64>>,
    /// How patches took from one another before.
    tower: Layers<'a>,
}

impl<'a> Crossing<'a> {
    /// Before the first block each word is relevant to itself alone.
    #[must_use]
    pub fn new(words: usize, patches: usize, tower: Layers<'a>) -> Self {
        let own = |at: usize| (0..words).map(|other| f64::from(u8::from(at == other))).collect();
        Self { words: (0..words).map(own).collect(), patches: vec![vec![0.0; patches]; words], tower }
    }

    /// A layer of attention among words: `R_ss <- R_ss + E R_ss`, `R_sq <- R_sq + E R_sq`.
    pub fn among(&mut self, layer: &Taken) {
        for all in [&mut self.words, &mut self.patches] {
            let added = layer.times(all);
            add(all, &added);
        }
    }

    /// A layer of attention from words to patches: `R_sq <- R_sq + N(R_ss)^T E N(R_qq)`, with `N(R) = rownorm(R - I) + I`.
    pub fn across(&mut self, layer: &Taken) {
        let evened: Vec<Vec<f64>> = self.words.iter().enumerate().map(|(at, row)| evened(row, at)).collect();
        let taken: Vec<Vec<f64>> =
            layer.rows().map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect();
        let seen: Vec<Vec<f64>> = taken.iter().map(|row| self.tower.carry_evened(row)).collect();
        let mut added = vec![vec![0.0; layer.keys]; self.words.len()];
        for (row, seen) in evened.iter().zip(&seen) {
            for (into, share) in added.iter_mut().zip(row).filter(|(_, share)| **share != 0.0) {
                into.iter_mut().zip(seen).for_each(|(sum, value)| *sum += share * value);
            }
        }
        add(&mut self.patches, &added);
    }

    /// How relevant words and patches are to the word at a position, what it is to itself from the beginning left out.
    #[must_use]
    pub fn of(&self, at: usize) -> Option<(Vec<f64>, Vec<f64>)> {
        let mut words = self.words.get(at)?.clone();
        *words.get_mut(at)? -= 1.0;
        Some((words, self.patches.get(at)?.clone()))
    }
}

fn add(all: &mut [Vec<f64>], more: &[Vec<f64>]) {
    for (row, more) in all.iter_mut().zip(more) {
        row.iter_mut().zip(more).for_each(|(sum, value)| *sum += value);
    }
}

/// A row of `rownorm(R - I) + I`.
fn evened(row: &[f64], at: usize) -> Vec<f64> {
    let own = |column: usize| f64::from(u8::from(column == at));
    let sum = row.iter().sum::<f64>() - 1.0;
    let even = |(column, value): (usize, &f64)| match sum {
        0.0 => own(column),
        sum => (value - own(column)) / sum + own(column),
    };
    row.iter().enumerate().map(even).collect()
}

#[cfg(test)]
mod tests {
    use mmlens_core::AnyTensor;

    use super::{Crossing, Layers, Taken};

    fn tensor(values: &[f32], dims: &[usize]) -> AnyTensor {
        AnyTensor::from_values(values.to_vec(), dims, &mmlens_core::device::host()).unwrap()
    }

    fn layer(queries: usize, keys: usize, values: &[f32]) -> Taken {
        let dims = [1, 1, queries, keys];
        let ones = vec![1.0; values.len()];
        Taken::of(&tensor(values, &dims), &tensor(&ones, &dims)).unwrap().remove(0)
    }

    #[test]
    fn heads_count_where_they_raise_the_objective() {
        // head 0: .5 * 2, .5 * -2 | head 1: .25 * 4, .75 * 4
        let weights = tensor(&[0.5, 0.5, 0.25, 0.75], &[1, 2, 1, 2]);
        let slopes = tensor(&[2.0, -2.0, 4.0, 4.0], &[1, 2, 1, 2]);
        let taken = Taken::of(&weights, &slopes).unwrap();
        assert_eq!(taken[0].values, [1.0, 1.5]);
        assert!(Taken::of(&weights, &tensor(&[1.0], &[1, 1, 1, 1])).is_err());
        let nan = Taken::of(&weights, &tensor(&[f32::NAN, 0.0, 0.0, 0.0], &[1, 2, 1, 2])).unwrap();
        assert!(nan[0].values[0].is_nan());
    }

    #[test]
    fn rows_are_carried_as_the_product_has_them() {
        // I + E1 = [1 0; 1 1], I + E2 = [1 2; 0 1]; R = [1 2; 0 1] [1 0; 1 1] = [3 2; 1 1]
        let layers = [layer(2, 2, &[0.0, 0.0, 1.0, 0.0]), layer(2, 2, &[0.0, 2.0, 0.0, 0.0])];
        let layers = Layers(&layers);
        assert_eq!(layers.carry(vec![1.0, 0.0]), [3.0, 2.0]);
        assert_eq!(layers.carry(vec![0.0, 1.0]), [1.0, 1.0]);
        assert_eq!(layers.sums(2), [5.0, 2.0]);
        // R - I = [2 2; 1 0], by rows [.5 .5; 1 0], with I [1.5 .5; 1 1]
        assert_eq!(layers.carry_evened(&[1.0, 0.0]), [1.5, 0.5]);
        assert_eq!(layers.carry_evened(&[0.0, 1.0]), [1.0, 1.0]);
        assert_eq!(Layers(&[]).carry_evened(&[0.25, 0.5]), [0.25, 0.5]);
    }

    #[test]
    fn words_take_from_patches_by_hand() {
        // Two words, the second takes 1 of the first: R_ss = [1 0; 1 1]; one patch, from which they take 2 and 3.
        let mut crossing = Crossing::new(2, 1, Layers(&[]));
        crossing.among(&layer(2, 2, &[0.0, 0.0, 1.0, 0.0]));
        crossing.across(&layer(2, 1, &[2.0, 3.0]));
        // N(R_ss) = [1 0; 1 1] (R - I = [0 0; 1 0]); its transpose times [2; 3] = [2 + 3; 3]
        assert_eq!(crossing.of(0).unwrap(), (vec![0.0, 0.0], vec![5.0]));
        assert_eq!(crossing.of(1).unwrap(), (vec![1.0, 0.0], vec![3.0]));
        // The next block: the second word takes half of the first, of its patches too.
        crossing.among(&layer(2, 2, &[0.0, 0.0, 0.5, 0.0]));
        assert_eq!(crossing.of(1).unwrap(), (vec![1.5, 0.0], vec![5.5]));
        assert!(crossing.of(2).is_none());
    }
}
