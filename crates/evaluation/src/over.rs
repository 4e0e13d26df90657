//! What metrics hide: parts of a sample, and what stands in the place of an absent one.

use mmlens_core::{Baseline, Inputs, Seed};
use mmlens_engine::{Absent, Positions, UnitError, Units};
use serde::{Deserialize, Serialize};

use crate::{NoScore, Side};

/// Over which parts of a sample a map is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Over {
    /// Cells of a grid over what the model is given of a picture, row by row.
    Grid {
        /// Cells one above the other.
        rows: usize,
        /// Cells side by side.
        cols: usize,
    },
    /// The patches that the positions of the model show.
    Patches,
    /// Words of the prompt.
    Words,
    /// Tokens of the prompt that hold words.
    Tokens,
}

impl Default for Over {
    fn default() -> Self {
        Self::Grid { rows: 8, cols: 8 }
    }
}

impl Over {
    /// What of a sample they are.
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Self::Grid { .. } | Self::Patches => Side::Pictures,
            Self::Words | Self::Tokens => Side::Words,
        }
    }

    /// The units of a sample, and on a picture those of one.
    ///
    /// # Errors
    /// [`NoScore::Lacks`] for a sample without such parts.
    pub fn units(self, inputs: &Inputs, picture: usize) -> Result<Units, NoScore> {
        let found = match self {
            Self::Grid { rows, cols } => Units::cells(inputs, picture, [rows, cols]),
            Self::Patches => Units::patches(inputs),
            Self::Words => Units::words(inputs, &Positions::Words),
            Self::Tokens => Units::tokens(inputs, &Positions::Words),
        };
        found.map_err(NoScore::from)
    }
}

/// What stands in the place of an absent part.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Instead {
    /// A baseline: of pixels and spectrograms where they enter their tower, of words where their stream begins.
    Baseline(Baseline),
    /// The picture, blurred by a Gaussian of so many pixels of the original.
    Blur(f64),
    /// Even noise, of pictures; white noise as loud as the recording, of recordings.
    Noise,
    /// Silence; of recordings alone.
    Silence,
    /// ROAD's interpolation from what is left, with noise of this deviation; of pictures alone.
    Road(f64),
    /// Nobody attends to it; of words alone.
    Unattended,
    /// The mask token; of words alone.
    Mask,
}

impl Default for Instead {
    fn default() -> Self {
        Self::Baseline(Baseline::Mean)
    }
}

impl Instead {
    /// As the engine takes it.
    #[must_use]
    pub fn absent(&self, seed: Seed) -> Absent {
        match self {
            Self::Baseline(baseline) => Absent::Baseline(baseline.clone()),
            Self::Blur(sigma) => Absent::Blur { sigma: *sigma },
            Self::Noise => Absent::Noise { seed },
            Self::Silence => Absent::Silence,
            Self::Road(noise) => Absent::Road { noise: *noise, seed },
            Self::Unattended => Absent::Unattended,
            Self::Mask => Absent::Mask,
        }
    }
}

impl From<UnitError> for NoScore {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::Subject(error) => Self::Refused(error.to_string()),
            lacking => Self::Lacks(lacking.to_string()),
        }
    }
}
