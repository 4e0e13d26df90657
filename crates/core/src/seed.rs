//! Chance as an argument, counted by item.

use serde::{Deserialize, Serialize};

/// A seed. Draws are made from `seed.at(i)` for item `i`, so that batching and threads cannot change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of one item.
    #[must_use]
    pub fn at(self, item: u64) -> Self {
        Self(mix(self.0 ^ mix(item.wrapping_add(0x9E37_79B9_7F4A_7C15))))
    }

    /// The number itself.
    pub fn value(self) -> u64 {
        self.0
    }

    /// A draw of the normal distribution that depends on the seed alone (Box and Muller 1958).
    pub fn normal(self) -> f64 {
        let (radius, angle) = (1.0 - f64::from(self.at(0).unit()), f64::from(self.at(1).unit()));
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// A number in [0, 1) that depends on the seed alone.
    pub fn unit(self) -> f32 {
        (mix(self.0) >> 40) as f32 / (1_u64 << 24) as f32
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
