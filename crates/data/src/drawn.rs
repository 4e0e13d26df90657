//! What the worlds draw alike: splits, and a generator for each item.

use std::fmt;
use std::str::FromStr;

use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A part of a world's scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What a model learns from; the only split with a planted bias.
    Train,
    /// What choices are made on.
    Validation,
    /// What is reported.
    Test,
}

impl Split {
    /// All splits.
    pub const ALL: &[Self] = &[Self::Train, Self::Validation, Self::Test];

    /// The split to which scenes of a content key belong, whatever the seed of the world: half of all keys
    /// are for training, a quarter each for validation and test.
    pub const fn of_key(key: u64) -> Self {
        match key >> 62 {
            0 | 1 => Self::Train,
            2 => Self::Validation,
            _ => Self::Test,
        }
    }

    /// The name of the split, as it is written to files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no split of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown split {0:?}: expected train, validation or test")]
pub struct UnknownSplit(pub String);

impl FromStr for Split {
    type Err = UnknownSplit;

    fn from_str(name: &str) -> Result<Self, UnknownSplit> {
        Self::ALL
            .iter()
            .copied()
            .find(|split| split.name() == name)
            .ok_or_else(|| UnknownSplit(name.to_owned()))
    }
}

/// The shapes world, among the worlds.
pub(crate) const SHAPES: u64 = 0;
/// The tones world.
pub(crate) const TONES: u64 = 1;

/// What a generator is for: part of its seed, so that one use cannot disturb another.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// What a scene consists of.
    Scene,
    /// Something of the caller's.
    Caller(u64),
}

/// The generator of one item. All of world, seed, split, index and purpose go into it unmixed, so no two items
/// share one.
pub(crate) fn item_rng(world: u64, seed: u64, split: Split, index: u64, purpose: Purpose) -> ChaCha8Rng {
    let (purpose, draw) = match purpose {
        Purpose::Scene => (0, 0),
        Purpose::Caller(draw) => (1, draw),
    };
    let mut bytes = [0; 32];
    let split = world * Split::ALL.len() as u64 + split as u64;
    let words = [seed, index, split * 2 + purpose, draw];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(bytes)
}

/// A bijection of 64-bit numbers that looks random (the finish of SplitMix64; Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014).
pub(crate) fn scramble(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

/// A number for the content of a scene, whatever the order of its parts; `start` tells apart what has as many parts
/// of other meaning.
pub(crate) fn key_of(start: u64, mut parts: Vec<u64>) -> u64 {
    parts.sort_unstable();
    parts.into_iter().fold(start, |key, part| scramble(key.wrapping_mul(0x1_0000_0001) ^ part))
}

/// A bar that says how far along it is and how long the rest will take. It stays hidden unless standard error
/// is a terminal.
pub(crate) fn progress_bar(what: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(what.to_owned())
}
