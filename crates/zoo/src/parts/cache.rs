//! Keys and values of the positions seen so far.

use burn::tensor::Tensor;

/// Keys and values of the positions seen so far, for every block.
///
/// Keys are kept after rotary.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    blocks: Vec<(Tensor<4>, Tensor<4>)>,
    cross: Vec<(Tensor<4>, Tensor<4>)>,
    /// For each row, the rotary position that comes next, where it is not the number of positions seen.
    next: Option<Vec<usize>>,
}

impl KvCache {
    /// Number of cached positions.
    pub fn positions(&self) -> usize {
        self.blocks.first().map_or(0, |(k, _)| k.dims()[1])
    }

    /// The rotary position each row goes on with, if a model has said so.
    pub fn next(&self) -> Option<&[usize]> {
        self.next.as_deref()
    }

    /// Says where each row goes on.
    pub fn set_next(&mut self, next: Vec<usize>) {
        self.next = Some(next);
    }

    /// Each row `times` over, one after the other: `[a, b]` becomes `[a, a, b, b]`. Many continuations then share
    /// one prompt.
    #[must_use]
    pub fn fork(&self, times: usize) -> Self {
        let fork = |x: &Tensor<4>| {
            let [b, p, h, d] = x.dims();
            x.clone().unsqueeze_dim::<5>(1).expand([b, times, p, h, d]).reshape([b * times, p, h, d])
        };
        let all = |blocks: &[(Tensor<4>, Tensor<4>)]| {
            blocks.iter().map(|(k, v)| (fork(k), fork(v))).collect::<Vec<_>>()
        };
        let next = self
            .next
            .as_ref()
            .map(|next| next.iter().flat_map(|position| std::iter::repeat_n(*position, times)).collect());
        Self { blocks: all(&self.blocks), cross: all(&self.cross), next }
    }

    /// Appends a block's new keys and values, `[batch, pos, kv heads, width]`; gives all of them.
    pub(super) fn extend(&mut self, block: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let joined = match self.blocks.get(block) {
            Some((past_k, past_v)) => {
                (Tensor::cat(vec![past_k.clone(), k], 1), Tensor::cat(vec![past_v.clone(), v], 1))
            }
            None => (k, v),
        };
        match self.blocks.get_mut(block) {
            Some(slot) => *slot = joined.clone(),
            None => self.blocks.push(joined.clone()),
        }
        joined
    }

    /// A block's keys and values of cross-attention, which stay the same from token to token.
    pub(super) fn cross(&self, block: usize) -> Option<(Tensor<4>, Tensor<4>)> {
        self.cross.get(block).cloned()
    }

    /// Keeps them.
    pub(super) fn keep_cross(&mut self, block: usize, k: Tensor<4>, v: Tensor<4>) {
        if self.cross.len() == block {
            self.cross.push((k, v));
        }
    }
}
