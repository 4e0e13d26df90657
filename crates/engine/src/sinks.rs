//! Positions that attention rests on where it is not needed.

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{AnalysisError, AnyTensor, HookError, Inputs, Memory, Site, Strip, Subject};

use crate::scanned::scanned;

/// Of every position the share of heads, of all layers whose attention weights stand at `sites`, to which it is a sink.
///
/// To a head a position is a sink if those of the other positions that look at it, with a weight above zero, do so with a weight
/// above `above` in the mean (Gu et al. 2025, "When Attention Sink Emerges in Language Models", who count a position's weight on itself, too;
/// of the last ones that is all there is, and it is left out here).
///
/// # Errors
/// [`HookError::Values`] for a batch of several rows, or a pattern that is not square; [`AnalysisError::Memory`]; whatever a pass reports.
///
/// # Cost
/// A forward pass in which no more than some rows of one layer's weights are held.
pub fn sinks(
    subject: &dyn Subject,
    inputs: &Inputs,
    sites: &[Site],
    above: f32,
    within: (&Memory, &'static str),
) -> Result<Vec<f32>, AnalysisError> {
    let seen = scanned((subject, inputs), sites, within, 0, Seen::add)?;
    let heads: usize = seen.iter().map(|layer| layer.heads).sum();
    let positions = seen.first().map_or(0, |layer| layer.positions);
    let mut shares = vec![0.0_f32; positions];
    for layer in &seen {
        for (at, (sum, looks)) in layer.sums.iter().zip(&layer.looks).enumerate() {
            let sink = *looks > 0.0 && *sum > f64::from(above) * *looks;
            let own = at.checked_rem(positions).and_then(|at| shares.get_mut(at));
            *own.ok_or(HookError::Values { dims: vec![positions], given: at })? += f32::from(u8::from(sink));
        }
    }
    shares.iter_mut().for_each(|share| *share /= heads as f32);
    Ok(shares)
}

/// How a layer looks at each position, `[head, key]`.
#[derive(Default)]
struct Seen {
    heads: usize,
    positions: usize,
    /// Weights of other positions.
    sums: Vec<f64>,
    /// How many of these are above zero.
    looks: Vec<f64>,
}

impl Seen {
    fn add(&mut self, strip: &Strip, pattern: &AnyTensor) -> Result<(), HookError> {
        let pattern: Tensor<4> = pattern.clone().rank_of("attn.pattern")?;
        let ([_, heads, queries, keys], [rows, all, positions]) = (pattern.dims(), strip.of);
        if rows != 1 || all != positions {
            return Err(HookError::Values { dims: strip.of.to_vec(), given: positions });
        }
        (self.heads, self.positions) = (heads, positions);
        self.sums.resize(heads * positions, 0.0);
        self.looks.resize(heads * positions, 0.0);
        let other = |at: usize| {
            f32::from(u8::from(strip.queries.start + at / keys.max(1) != strip.keys.start + at % keys.max(1)))
        };
        let others = TensorData::new((0..queries * keys).map(other).collect(), [1, 1, queries, keys]);
        let others = pattern.clone() * Tensor::<4>::from_data(others, &pattern.device());
        let looks = AnyTensor::new(others.clone().greater_elem(0.0).float().sum_dim(2)).to_values()?;
        let sums = AnyTensor::new(others.sum_dim(2)).to_values()?;
        for (into, from) in [(&mut self.sums, sums), (&mut self.looks, looks)] {
            for (own, from) in into.chunks_mut(positions.max(1)).zip(from.chunks(keys.max(1))) {
                let given = from.len();
                let own = own.get_mut(strip.keys.clone()).filter(|own| own.len() == given);
                let own = own.ok_or(HookError::Values { dims: vec![positions], given })?;
                own.iter_mut().zip(from).for_each(|(sum, part)| *sum += f64::from(*part));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use mmlens_core::{AnyTensor, Strip};

    use super::Seen;

    /// Two heads of three positions, causal: sums of columns without the diagonal, by hand, at once and query by query.
    #[test]
    fn columns_are_summed_without_the_diagonal() {
        let one = [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.125, 0.375]];
        let two = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75]];
        let tensor = |values: Vec<f32>, dims: [usize; 4]| {
            AnyTensor::from_values(values, &dims, &Device::default()).unwrap()
        };
        let mut whole = Seen::default();
        let all = [one, two].concat().concat();
        whole.add(&Strip::whole([1, 3, 3]), &tensor(all, [1, 2, 3, 3])).unwrap();
        let mut parts = Seen::default();
        for query in 0..3 {
            let keys = 0..query + 1;
            let values = [&one[query][keys.clone()], &two[query][keys.clone()]].concat();
            let strip = Strip { rows: 0..1, queries: query..query + 1, keys, of: [1, 3, 3] };
            parts.add(&strip, &tensor(values, [1, 2, 1, query + 1])).unwrap();
        }
        for seen in [whole, parts] {
            assert_eq!(seen.sums, [1.25, 0.125, 0.0, 0.5, 0.25, 0.0]);
            // The second head's last query does not look at the first position.
            assert_eq!(seen.looks, [2.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
        }
    }
}
