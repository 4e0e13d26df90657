//! Keys and values of the positions seen so far.

use burn::tensor::{Int, Tensor, TensorData};

/// Keys and values of the positions seen so far, for every block.
///
/// Keys are kept after rotary.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    blocks: Vec<Option<(Grown, Grown)>>,
    cross: Vec<(Tensor<4>, Tensor<4>)>,
    /// For each row, the rotary position that comes behind so many positions, where it is not their number.
    next: Option<(usize, Vec<usize>)>,
    /// Whether what is appended is not kept.
    fleeting: bool,
}

impl KvCache {
    /// Of keys and values that are known from another pass, `[1, pos, kv head, width]`, from a block on, for so many rows. What
    /// is appended to them in a pass is not kept.
    pub(crate) fn known(block: usize, past: Vec<(Tensor<4>, Tensor<4>)>, rows: usize) -> Self {
        let grown = |x: Tensor<4>| {
            let [_, p, h, d] = x.dims();
            Grown::new(x.expand([rows, p, h, d]))
        };
        let known = past.into_iter().map(|(k, v)| Some((grown(k), grown(v))));
        let blocks = std::iter::repeat_n(None, block).chain(known).collect();
        Self { blocks, fleeting: true, ..Self::default() }
    }

    /// Number of cached positions.
    pub fn positions(&self) -> usize {
        self.blocks.iter().flatten().next().map_or(0, |(k, _)| k.positions)
    }

    /// The rotary position each row goes on with, if a model has said so. It counts on by one for each position.
    pub fn next(&self) -> Option<Vec<usize>> {
        let (behind, next) = self.next.as_ref()?;
        let now = self.positions();
        Some(next.iter().map(|next| (next + now).saturating_sub(*behind)).collect())
    }

    /// Says where each row goes on behind so many positions.
    pub fn set_next(&mut self, behind: usize, next: Vec<usize>) {
        self.next = Some((behind, next));
    }

    /// Forgets all but the first positions, also in blocks that a pass came to before it broke off. Gives whether every block has
    /// these.
    pub(crate) fn cut(&mut self, positions: usize) -> bool {
        self.blocks.iter_mut().all(|block| match block {
            Some((k, v)) if k.positions >= positions && v.positions >= positions => {
                (k.positions, v.positions) = (positions, positions);
                true
            }
            _ => false,
        })
    }

    /// Goes on with these rows, which exist, in this order; one may be named several times.
    pub(crate) fn keep(&mut self, rows: &[usize]) {
        for (k, v) in self.blocks.iter_mut().flatten() {
            k.buffer = chosen(&k.buffer, rows);
            v.buffer = chosen(&v.buffer, rows);
        }
        for (k, v) in &mut self.cross {
            (*k, *v) = (chosen(k, rows), chosen(v, rows));
        }
        if let Some((_, next)) = &mut self.next {
            *next = picked(next, rows);
        }
    }

    /// Each row `times` over, one after the other: `[a, b]` becomes `[a, a, b, b]`. Many continuations then share
    /// one prompt.
    #[must_use]
    pub fn fork(&self, times: usize) -> Self {
        let fork = |x: &Tensor<4>| {
            let [b, p, h, d] = x.dims();
            x.clone().unsqueeze_dim::<5>(1).expand([b, times, p, h, d]).reshape([b * times, p, h, d])
        };
        let grown = |x: &Grown| Grown::new(fork(&x.all()));
        let blocks =
            self.blocks.iter().map(|block| block.as_ref().map(|(k, v)| (grown(k), grown(v)))).collect();
        let cross = self.cross.iter().map(|(k, v)| (fork(k), fork(v))).collect();
        let over = |next: &[usize]| next.iter().flat_map(|at| std::iter::repeat_n(*at, times)).collect();
        let next = self.next.as_ref().map(|(behind, next)| (*behind, over(next)));
        Self { blocks, cross, next, fleeting: self.fleeting }
    }

    /// Appends a block's new keys and values, `[batch, pos, kv heads, width]`; gives all of them.
    pub(super) fn extend(&mut self, block: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        if self.blocks.len() <= block {
            self.blocks.resize(block + 1, None);
        }
        let slot = &mut self.blocks[block];
        let (k, v) = match slot.take() {
            Some((past_k, past_v)) => (past_k.append(k), past_v.append(v)),
            None => (Grown::new(k), Grown::new(v)),
        };
        let all = (k.all(), v.all());
        if !self.fleeting {
            *slot = Some((k, v));
        }
        all
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

/// Some rows of the first axis, in an order.
pub(crate) fn chosen<const D: usize>(x: &Tensor<D>, rows: &[usize]) -> Tensor<D> {
    let index: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    let device = x.device().without_autodiff();
    x.clone().select(0, Tensor::<1, Int>::from_data(TensorData::new(index, [rows.len()]), &device))
}

/// Some entries of a list, in an order.
pub(crate) fn picked<T: Clone>(list: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|row| list.get(*row).cloned()).collect()
}

/// Positions along the second axis, with room for more: what is appended is written behind them, and only a buffer that is
/// full, or that something else holds, is copied.
#[derive(Debug, Clone)]
struct Grown {
    buffer: Tensor<4>,
    positions: usize,
}

impl Grown {
    fn new(x: Tensor<4>) -> Self {
        Self { positions: x.dims()[1], buffer: x }
    }

    /// All positions, as a view.
    fn all(&self) -> Tensor<4> {
        match self.buffer.dims()[1] == self.positions {
            true => self.buffer.clone(),
            false => self.buffer.clone().narrow(1, 0, self.positions),
        }
    }

    /// With more behind. What gradients flow through is joined as it is.
    fn append(self, x: Tensor<4>) -> Self {
        let [b, _, h, w] = self.buffer.dims();
        let (past, more) = (self.positions, x.dims()[1]);
        let positions = past + more;
        if self.buffer.is_autodiff() || x.is_autodiff() {
            return Self::new(Tensor::cat(vec![self.all(), x], 1));
        }
        let mut buffer = self.buffer;
        if buffer.dims()[1] < positions {
            let room = Tensor::zeros([b, positions.max(2 * past), h, w], (&buffer.device(), buffer.dtype()));
            buffer = room.slice_assign([0..b, 0..past], buffer.narrow(1, 0, past));
        }
        Self { buffer: buffer.slice_assign([0..b, past..positions], x), positions }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    fn random(positions: usize) -> Tensor<4> {
        Tensor::random([2, positions, 3, 4], Distribution::Default, &Device::flex())
    }

    /// Appended one by one and in parts, in a cache and in two copies of it: what is there is what was given.
    #[test]
    fn appended_is_joined() {
        let parts: Vec<Tensor<4>> = [5, 1, 1, 3, 1, 1, 1, 1, 7, 1].map(random).to_vec();
        let (mut one, mut two) = (KvCache::default(), None);
        for (i, part) in parts.iter().enumerate() {
            let (k, v) = one.extend(0, part.clone(), part.clone().neg());
            let want = Tensor::cat(parts[..=i].to_vec(), 1);
            k.into_data().assert_eq(&want.to_data(), true);
            v.into_data().assert_eq(&want.clone().neg().into_data(), true);
            assert_eq!(one.positions(), want.dims()[1]);
            if i == 3 {
                two = Some(one.clone());
            }
        }
        let (k, _) = two.unwrap().extend(0, random(1).zeros_like(), random(1));
        let want = Tensor::cat([&parts[..4], &[random(1).zeros_like()]].concat(), 1);
        k.into_data().assert_eq(&want.into_data(), true);
        let forked = one.fork(2);
        assert_eq!(forked.positions(), one.positions());
    }
}
