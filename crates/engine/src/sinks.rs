//! Positions that attention rests on.

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{AnalysisError, AnyTensor, HookError, Inputs, Memory, Plan, Site, Strip, Subject};

use crate::scanned::scanned;

/// How the positions of one layer are looked at, in each row of the batch, or in each picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drawn {
    /// Rows, or pictures.
    pub rows: usize,
    /// Heads.
    pub heads: usize,
    /// Positions.
    pub positions: usize,
    /// What the others give a position, `[row, head, key]`: the sum of their weights.
    pub given: Vec<f64>,
    /// How many of them give it more than nothing, `[row, head, key]`.
    pub looks: Vec<f64>,
    /// Of all attention the share that lies on a position, its own included: the mean over heads and queries, `[row, key]`.
    pub share: Vec<f64>,
    /// The same of attention that lies evenly on what a query sees: positions with a weight above zero in some head.
    pub even: Vec<f64>,
    /// How many others see a position, `[row, key]`.
    pub seen_by: Vec<f64>,
}

impl Drawn {
    /// To how many heads each position of a row is a sink: those of the others that look at it do so with a weight above `above` in the
    /// mean.
    pub fn sinks(&self, row: usize, above: f32) -> Vec<usize> {
        let mut heads = vec![0; self.positions];
        for head in 0..self.heads {
            let from = (row * self.heads + head) * self.positions;
            let [given, looks] =
                [&self.given, &self.looks].map(|of| of.get(from..from + self.positions).unwrap_or_default());
            for (count, (sum, looks)) in heads.iter_mut().zip(given.iter().zip(looks)) {
                *count += usize::from(*looks > 0.0 && *sum > f64::from(above) * looks);
            }
        }
        heads
    }

    fn ready(&mut self, [rows, _, positions]: [usize; 3], heads: usize) {
        if self.share.is_empty() {
            let (each, all) = (rows * heads * positions, rows * positions);
            *self = Self {
                rows,
                heads,
                positions,
                given: vec![0.0; each],
                looks: vec![0.0; each],
                share: vec![0.0; all],
                even: vec![0.0; all],
                seen_by: vec![0.0; all],
            };
        }
    }

    fn add(&mut self, strip: &Strip, pattern: &AnyTensor) -> Result<(), HookError> {
        let pattern: Tensor<4> = pattern.clone().rank_of("attn.pattern")?;
        let ([_, heads, queries, keys], [_, all, positions]) = (pattern.dims(), strip.of);
        if all != positions {
            return Err(HookError::Values { dims: strip.of.to_vec(), given: positions });
        }
        self.ready(strip.of, heads);
        let other = |at: usize| {
            f32::from(u8::from(strip.queries.start + at / keys.max(1) != strip.keys.start + at % keys.max(1)))
        };
        let others = TensorData::new((0..queries * keys).map(other).collect(), [1, 1, queries, keys]);
        let others = Tensor::<4>::from_data(others, &pattern.device());
        // What some head sees.
        let sees = pattern.clone().max_dim(1).greater_elem(0.0).float();
        let even = sees.clone() / sees.clone().sum_dim(3);
        let whole = (positions.max(1)) as f64;
        let share = pattern.clone().sum_dim(1).sum_dim(2);
        let by_others = pattern * others.clone();
        let looks = by_others.clone().greater_elem(0.0).float().sum_dim(2);
        let place =
            |row: usize, head: usize, heads: usize| ((strip.rows.start + row) * heads + head) * positions;
        let put = |into: &mut [f64], from: Tensor<4>, scale: f64| {
            let [rows, heads, _, keys] = from.dims();
            let values = AnyTensor::new(from).to_values()?;
            for (at, own) in values.chunks(keys.max(1)).enumerate().take(rows * heads) {
                let first = place(at / heads.max(1), at % heads.max(1), heads) + strip.keys.start;
                let slots = into.get_mut(first..first + keys);
                let slots = slots.ok_or(HookError::Values { dims: strip.of.to_vec(), given: keys })?;
                slots.iter_mut().zip(own).for_each(|(sum, part)| *sum += scale * f64::from(*part));
            }
            Ok::<_, HookError>(())
        };
        put(&mut self.given, by_others.sum_dim(2), 1.0)?;
        put(&mut self.looks, looks, 1.0)?;
        put(&mut self.share, share, 1.0 / (whole * heads.max(1) as f64))?;
        put(&mut self.even, even.sum_dim(2), 1.0 / whole)?;
        put(&mut self.seen_by, (sees * others).sum_dim(2), 1.0)
    }
}

/// How the positions are looked at in each layer whose attention weights stand at `sites`, in one pass that carries out a plan, too.
///
/// # Errors
/// [`HookError::Values`] for a pattern that is not square; [`AnalysisError::Memory`]; whatever a pass reports.
///
/// # Cost
/// A forward pass in which no more than some rows of one layer's weights are held.
pub fn drawn(
    subject: &dyn Subject,
    inputs: &Inputs,
    plan: Plan,
    sites: &[Site],
    within: (&Memory, &'static str),
) -> Result<Vec<Drawn>, AnalysisError> {
    let mut kept = 0;
    for site in sites {
        if let [rows, heads, _, keys] = subject.dims(inputs, *site)?[..] {
            kept += 8 * (rows * (2 * heads + 3) * keys) as u64;
        }
    }
    scanned((subject, inputs), plan, sites, within, kept, Drawn::add)
}

/// Of every position of one row the share of heads, of all layers whose attention weights stand at `sites`, to which it is a sink.
///
/// To a head a position is a sink if those of the other positions that look at it, with a weight above zero, do so with a weight
/// above `above` in the mean (Gu et al. 2025, "When Attention Sink Emerges in Language Models", who count a position's weight on itself, too;
/// of the last ones that is all there is, and it is left out here).
///
/// # Errors
/// [`HookError::Values`] for a batch of several rows; as [`drawn`].
///
/// # Cost
/// As [`drawn`].
pub fn sinks(
    subject: &dyn Subject,
    inputs: &Inputs,
    sites: &[Site],
    above: f32,
    within: (&Memory, &'static str),
) -> Result<Vec<f32>, AnalysisError> {
    let seen = drawn(subject, inputs, Plan::new(), sites, within)?;
    let heads: usize = seen.iter().map(|layer| layer.heads).sum();
    let mut shares = vec![0.0_f32; seen.first().map_or(0, |layer| layer.positions)];
    for layer in &seen {
        if layer.rows != 1 || layer.positions != shares.len() {
            let dims = vec![layer.rows, layer.positions];
            return Err(HookError::Values { dims, given: shares.len() }.into());
        }
        let own = layer.sinks(0, above);
        shares.iter_mut().zip(own).for_each(|(sum, share)| *sum += share as f32);
    }
    shares.iter_mut().for_each(|share| *share /= heads as f32);
    Ok(shares)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use burn::tensor::Device;
    use mmlens_core::{AnyTensor, Strip};

    use super::Drawn;

    /// Two heads of three positions, causal: sums of columns by hand, at once and query by query.
    #[test]
    fn columns_are_summed_with_the_diagonal_and_without() {
        let one = [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.125, 0.375]];
        let two = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75]];
        let tensor = |values: Vec<f32>, dims: [usize; 4]| {
            AnyTensor::from_values(values, &dims, &Device::default()).unwrap()
        };
        let mut whole = Drawn::default();
        let all = [one, two].concat().concat();
        whole.add(&Strip::whole([1, 3, 3]), &tensor(all, [1, 2, 3, 3])).unwrap();
        let mut parts = Drawn::default();
        for query in 0..3 {
            let keys = 0..query + 1;
            let values = [&one[query][keys.clone()], &two[query][keys.clone()]].concat();
            let strip = Strip { rows: 0..1, queries: query..query + 1, keys, of: [1, 3, 3] };
            parts.add(&strip, &tensor(values, [1, 2, 1, query + 1])).unwrap();
        }
        for seen in [whole, parts] {
            assert_eq!(seen.given, [1.25, 0.125, 0.0, 0.5, 0.25, 0.0]);
            // The second head's last query does not look at the first position.
            assert_eq!(seen.looks, [2.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
            // The first head does, so that the query sees it.
            assert_eq!(seen.seen_by, [2.0, 1.0, 0.0]);
            let near = |found: &[f64], wanted: &[f64]| {
                assert_eq!(found.len(), wanted.len());
                assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {wanted:?}");
            };
            // (1 + 0.75 + 0.5 + 1 + 0.5) / 6 and so on: they sum to one.
            near(&seen.share, &[3.75 / 6.0, 1.125 / 6.0, 1.125 / 6.0]);
            // (1 + 1/2 + 1/3) / 3, (1/2 + 1/3) / 3, (1/3) / 3.
            near(&seen.even, &[11.0 / 18.0, 5.0 / 18.0, 2.0 / 18.0]);
            // 1.25 / 2 and 0.5 / 1 lie above 0.4; of the second position 0.125 and 0.25 do not.
            assert_eq!(seen.sinks(0, 0.4), [2, 0, 0]);
            assert_eq!(seen.sinks(0, 0.2), [2, 1, 0]);
        }
    }

    /// Two pictures of two positions, one head, of which each looks at its own.
    #[test]
    fn pictures_are_kept_apart() {
        let values = vec![0.5, 0.5, 0.25, 0.75, 0.0, 1.0, 1.0, 0.0];
        let x = AnyTensor::from_values(values, &[2, 1, 2, 2], &Device::default()).unwrap();
        let mut seen = Drawn::default();
        seen.add(&Strip::whole([2, 2, 2]), &x).unwrap();
        assert_eq!(seen.given, [0.25, 0.5, 1.0, 1.0]);
        assert_eq!(seen.share, [0.375, 0.625, 0.5, 0.5]);
        assert_eq!(seen.even, [0.5, 0.5, 0.5, 0.5]);
    }
}
