//! Where some queries look: rows of attention weights, as they pass.

use std::ops::Range;

use burn::tensor::Tensor;
use mmlens_core::{AnalysisError, AnyTensor, HookError, Inputs, Memory, Plan, Site, Strip, Subject};

use crate::scanned::scanned;

/// The weights of some queries at one site, each row summing to one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looks {
    /// Rows of the batch, or pictures.
    pub rows: usize,
    /// Heads.
    pub heads: usize,
    /// How many queries were looked at.
    pub queries: usize,
    /// Keys.
    pub keys: usize,
    /// The weights, `[row, query, head, key]`.
    pub values: Vec<f32>,
}

impl Looks {
    /// Of one query of a row its weights, `[head, key]`; nothing past the ends.
    pub fn of(&self, row: usize, query: usize) -> &[f32] {
        let wide = self.heads * self.keys;
        if query >= self.queries {
            return &[];
        }
        let from = (row * self.queries + query) * wide;
        self.values.get(from..from + wide).unwrap_or_default()
    }

    fn add(&mut self, strip: &Strip, pattern: &AnyTensor, chosen: &[usize]) -> Result<(), HookError> {
        let pattern: Tensor<4> = pattern.clone().rank_of("attn.pattern")?;
        let [_, heads, _, width] = pattern.dims();
        let [rows, queries, keys] = strip.of;
        if self.values.is_empty() {
            let values = vec![0.0; rows * chosen.len() * heads * keys];
            *self = Self { rows, heads, queries: chosen.len(), keys, values };
        }
        let seen = |query: &usize| strip.queries.contains(query);
        for (place, query) in chosen.iter().enumerate().filter(|(_, query)| seen(query)) {
            let own = pattern.clone().narrow(2, query - strip.queries.start, 1);
            let own = AnyTensor::new(own).to_values()?;
            let wrong = || HookError::Values { dims: vec![rows, queries, keys], given: own.len() };
            for (at, weights) in own.chunks(width.max(1)).enumerate() {
                let (row, head) = (strip.rows.start + at / heads.max(1), at % heads.max(1));
                let from = ((row * chosen.len() + place) * heads + head) * keys;
                let Range { start, end } = strip.keys;
                let slots = self.values.get_mut(from + start..from + end);
                slots
                    .filter(|slots| slots.len() == weights.len())
                    .ok_or_else(wrong)?
                    .copy_from_slice(weights);
            }
        }
        Ok(())
    }
}

/// Of each site of attention weights, where some queries look.
///
/// # Errors
/// [`HookError::Objective`] for a query past the end, [`AnalysisError::Memory`]; whatever a pass reports.
///
/// # Cost
/// A forward pass in which no more than some rows of one layer's weights are held, beside those that are asked for.
pub fn looks(
    subject: &dyn Subject,
    inputs: &Inputs,
    sites: &[Site],
    queries: &[usize],
    within: (&Memory, &'static str),
) -> Result<Vec<Looks>, AnalysisError> {
    let mut kept = 0;
    for site in sites {
        if let [rows, heads, of, keys] = subject.dims(inputs, *site)?[..] {
            if let Some(past) = queries.iter().find(|query| **query >= of) {
                return Err(HookError::Objective { what: "position", index: *past, len: of }.into());
            }
            kept += 4 * (rows * heads * queries.len() * keys) as u64;
        }
    }
    let chosen = queries.to_vec();
    scanned((subject, inputs), Plan::new(), sites, within, kept, move |looks: &mut Looks, strip, weights| {
        looks.add(strip, weights, &chosen)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Two heads of three positions, causal: the rows that were asked for, in that order, at once and query by query.
    #[test]
    fn rows_are_kept_in_the_order_asked_for() {
        let one = [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.125, 0.375]];
        let two = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75]];
        let tensor = |values: Vec<f32>, dims: [usize; 4]| {
            AnyTensor::from_values(values, &dims, &Device::default()).unwrap()
        };
        let mut whole = Looks::default();
        let all = tensor([one, two].concat().concat(), [1, 2, 3, 3]);
        whole.add(&Strip::whole([1, 3, 3]), &all, &[2, 1]).unwrap();
        let mut parts = Looks::default();
        for query in 0..3 {
            let keys = 0..query + 1;
            let values = [&one[query][keys.clone()], &two[query][keys.clone()]].concat();
            let strip = Strip { rows: 0..1, queries: query..query + 1, keys, of: [1, 3, 3] };
            parts.add(&strip, &tensor(values, [1, 2, 1, query + 1]), &[2, 1]).unwrap();
        }
        assert_eq!(whole, parts);
        assert_eq!(whole.of(0, 0), [one[2], two[2]].concat());
        assert_eq!(whole.of(0, 1), [one[1], two[1]].concat());
        assert!(whole.of(1, 0).is_empty());
    }
}
