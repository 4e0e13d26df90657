//! A random order of any number of rows that takes no memory: a Feistel network on the row's number (Black and Rogaway,
//! "Ciphers with arbitrary finite domains", CT-RSA 2002), walked until it falls below the number of rows.

use crate::Seed;

const ROUNDS: u64 = 6;

/// A permutation of `0 .. len`, which depends on the seed alone.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    len: u64,
    /// Bits of each half.
    half: u32,
    seed: Seed,
}

impl Order {
    /// One of so many rows.
    pub fn new(len: u64, seed: Seed) -> Self {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        Self { len, half: bits.div_ceil(2).max(1), seed }
    }

    /// Which row comes at a place; places count from 0 to `len`.
    pub fn at(&self, place: u64) -> u64 {
        // At most four times as many numbers as rows, so a handful of steps leads back below `len`.
        let mut row = self.mixed(place);
        while row >= self.len {
            row = self.mixed(row);
        }
        row
    }

    fn mixed(&self, value: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half & mask, value & mask);
        for round in 0..ROUNDS {
            let mix = self.seed.at(round).at(right).value() & mask;
            (left, right) = (right, left ^ mix);
        }
        left << self.half | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_comes_once(len in 1..2000_u64, seed: u64) {
            let order = Order::new(len, Seed(seed));
            let mut seen = vec![false; len as usize];
            for place in 0..len {
                let row = order.at(place) as usize;
                prop_assert!(!seen[row]);
                seen[row] = true;
            }
        }
    }

    #[test]
    fn another_seed_is_another_order() {
        let order = |seed| (0..64).map(|i| Order::new(64, Seed(seed)).at(i)).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        assert_eq!(order(1), order(1));
        // Neighbours are torn apart: a row follows its predecessor once in 64 by chance.
        let near = order(3).windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(near < 8, "{near}");
    }
}
