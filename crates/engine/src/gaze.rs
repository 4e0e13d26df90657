//! Who looks at whom: attention weights summed by kinds of positions as they pass, beside those of even attention.

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{AnalysisError, AnyTensor, HookError, Inputs, Memory, Plan, Site, Strip, Subject};

use crate::scanned::scanned;

/// Positions of some kinds, of each its number.
#[derive(Debug, Clone)]
pub struct Kinds {
    /// Of each position, which kind it is.
    pub of: Vec<usize>,
    /// How many kinds there are.
    pub count: usize,
}

impl Kinds {
    fn at(&self, position: usize) -> usize {
        self.of.get(position).copied().unwrap_or(0)
    }
}

/// How one layer looks, in the mean over its queries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gaze {
    /// From kind to kind, `[query, key]`, in the mean over heads; rows sum to one.
    pub shares: Vec<f64>,
    /// Of each head, in nats.
    pub entropy: Vec<f64>,
    /// Of each head, in positions.
    pub distance: Vec<f64>,
    /// What the first position has of all, in the mean over heads and queries.
    pub first: f64,
}

/// Of each site of attention weights how it looks, and how attention would that lies evenly on what a query sees: positions with a weight
/// above zero in some head. Even attention is one head.
///
/// # Errors
/// [`AnalysisError::Memory`]; whatever a pass reports.
///
/// # Cost
/// A forward pass in which no more than some rows of one layer's weights are held.
pub fn gazes(
    subject: &dyn Subject,
    inputs: &Inputs,
    sites: &[Site],
    kinds: &Kinds,
    within: (&Memory, &'static str),
) -> Result<Vec<[Gaze; 2]>, AnalysisError> {
    let kinds = kinds.clone();
    let seen =
        scanned((subject, inputs), Plan::new(), sites, within, 0, move |seen: &mut Seen, strip, weights| {
            seen.add(strip, weights, &kinds)
        })?;
    Ok(seen.iter().map(Seen::gazes).collect())
}

/// Sums of one way to look.
#[derive(Debug, Clone, Default, PartialEq)]
struct Sums {
    /// From kind to kind, `[query, key]`, over heads and queries.
    shares: Vec<f64>,
    /// Of each head over queries.
    entropy: Vec<f64>,
    distance: Vec<f64>,
    /// On the first position, over heads and queries.
    first: f64,
}

/// What was seen of a layer.
#[derive(Debug, Clone, Default, PartialEq)]
struct Seen {
    /// Queries of each kind.
    counts: Vec<f64>,
    own: Sums,
    even: Sums,
}

impl Seen {
    fn gazes(&self) -> [Gaze; 2] {
        let queries = self.counts.iter().sum::<f64>();
        let mean = |sums: &[f64]| sums.iter().map(|sum| sum / queries).collect();
        [&self.own, &self.even].map(|sums| Gaze {
            shares: self.shares(sums),
            entropy: mean(&sums.entropy),
            distance: mean(&sums.distance),
            first: sums.first / (queries * sums.entropy.len().max(1) as f64),
        })
    }

    fn shares(&self, sums: &Sums) -> Vec<f64> {
        let heads = sums.entropy.len().max(1) as f64;
        let row = |(from, row): (usize, &[f64])| {
            let count = self.counts.get(from).copied().unwrap_or(0.0) * heads;
            row.iter().map(move |sum| if count > 0.0 { sum / count } else { 0.0 }).collect::<Vec<_>>()
        };
        sums.shares.chunks(self.counts.len().max(1)).enumerate().flat_map(row).collect()
    }

    fn add(&mut self, strip: &Strip, pattern: &AnyTensor, kinds: &Kinds) -> Result<(), HookError> {
        let pattern: Tensor<4> = pattern.clone().rank_of("attn.pattern")?;
        let [rows, _, queries, width] = pattern.dims();
        let count = kinds.count;
        self.counts.resize(count, 0.0);
        for query in strip.queries.clone() {
            if let Some(own) = self.counts.get_mut(kinds.at(query)) {
                *own += rows as f64;
            }
        }
        let device = pattern.device();
        let of = |key: usize, kind: usize| f32::from(u8::from(kinds.at(strip.keys.start + key) == kind));
        let belongs = (0..width).flat_map(|key| (0..count).map(move |kind| (key, kind)));
        let belongs =
            TensorData::new(belongs.map(|(key, kind)| of(key, kind)).collect(), [1, 1, width, count]);
        let apart = |at: usize| {
            let (query, key) =
                (strip.queries.start + at / width.max(1), strip.keys.start + at % width.max(1));
            query.abs_diff(key) as f32
        };
        let apart = TensorData::new((0..queries * width).map(apart).collect(), [1, 1, queries, width]);
        let (belongs, apart) =
            (Tensor::<4>::from_data(belongs, &device), Tensor::<4>::from_data(apart, &device));
        // What some head sees.
        let sees = pattern.clone().max_dim(1).greater_elem(0.0).float();
        let even = sees.clone() / sees.sum_dim(3);
        for (sums, weights) in [(&mut self.own, pattern), (&mut self.even, even)] {
            sums.add(&weights, (&belongs, &apart), |query| kinds.at(strip.queries.start + query), count)?;
            if strip.keys.start == 0 && width > 0 {
                let first = AnyTensor::new(weights.narrow(3, 0, 1)).to_values()?;
                sums.first += first.iter().map(|share| f64::from(*share)).sum::<f64>();
            }
        }
        Ok(())
    }
}

impl Sums {
    fn add(
        &mut self,
        weights: &Tensor<4>,
        (belongs, apart): (&Tensor<4>, &Tensor<4>),
        kind: impl Fn(usize) -> usize,
        count: usize,
    ) -> Result<(), HookError> {
        let [_, heads, queries, _] = weights.dims();
        self.shares.resize(count * count, 0.0);
        self.entropy.resize(heads, 0.0);
        self.distance.resize(heads, 0.0);
        let values = |x: Tensor<4>| AnyTensor::new(x).to_values();
        let shares = values(weights.clone().matmul(belongs.clone()))?;
        // Weights of zero have no part in it: zero times a finite logarithm.
        let entropy = values((weights.clone() * weights.clone().clamp_min(1e-30).log()).sum_dim(3))?;
        let distance = values((weights.clone() * apart.clone()).sum_dim(3))?;
        for (at, to) in shares.chunks(count.max(1)).enumerate() {
            let from = kind(at % queries.max(1)) * count;
            let own = self.shares.get_mut(from..from + count).unwrap_or_default();
            own.iter_mut().zip(to).for_each(|(sum, share)| *sum += f64::from(*share));
        }
        for (at, (entropy, distance)) in entropy.iter().zip(&distance).enumerate() {
            let head = at / queries.max(1) % heads.max(1);
            if let (Some(e), Some(d)) = (self.entropy.get_mut(head), self.distance.get_mut(head)) {
                *e -= f64::from(*entropy);
                *d += f64::from(*distance);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Two heads of three positions, causal, of two kinds: by hand, at once and query by query.
    #[test]
    fn sums_are_those_by_hand_whichever_way_they_come() {
        let one = [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.125, 0.375]];
        let two = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]];
        let kinds = Kinds { of: vec![0, 0, 1], count: 2 };
        let tensor = |values: Vec<f32>, dims: [usize; 4]| {
            AnyTensor::from_values(values, &dims, &Device::default()).unwrap()
        };
        let mut whole = Seen::default();
        whole
            .add(&Strip::whole([1, 3, 3]), &tensor([one, two].concat().concat(), [1, 2, 3, 3]), &kinds)
            .unwrap();
        let mut parts = Seen::default();
        for query in 0..3 {
            let keys = 0..query + 1;
            let values = [&one[query][keys.clone()], &two[query][keys.clone()]].concat();
            let strip = Strip { rows: 0..1, queries: query..query + 1, keys, of: [1, 3, 3] };
            parts.add(&strip, &tensor(values, [1, 2, 1, query + 1]), &kinds).unwrap();
        }
        for seen in [whole, parts] {
            let [own, even] = seen.gazes();
            // Pictures give all to pictures; the word 0.375 and 0.5 to itself.
            let near = |found: &[f64], wanted: &[f64]| {
                assert_eq!(found.len(), wanted.len());
                assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {wanted:?}");
            };
            near(&own.shares, &[1.0, 0.0, 0.5625, 0.4375]);
            near(&even.shares, &[1.0, 0.0, 2.0 / 3.0, 1.0 / 3.0]);
            // Head 0: (0 + 0.75 + 2 x 0.5 + 0.125) / 3; head 1: (0 + 0.5 + 2 x 0.25 + 0.25) / 3.
            near(&own.distance, &[0.625, 1.25 / 3.0]);
            near(&even.entropy, &[(2_f64.ln() + 3_f64.ln()) / 3.0]);
            near(&even.distance, &[0.5]);
            // Head 0: 1, 0.75 and 0.5; head 1: 1, 0.5 and 0.25. Evenly 1, a half and a third.
            near(&[own.first, even.first], &[4.0 / 6.0, 11.0 / 18.0]);
        }
    }
}
