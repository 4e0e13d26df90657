//! What stands in the place of a modality of a sample: that of another one, or what holds nothing.

use mmlens_core::{Sample, SubjectError, Words};
use serde::{Deserialize, Serialize};

/// What stands in the place of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pictures {
    /// Those of another case.
    Another,
    /// Their mean colour.
    MeanColour,
}

impl Pictures {
    /// Whether a sample has pictures or clips.
    #[must_use]
    pub fn held(sample: &Sample) -> bool {
        !sample.pictures.is_empty() || !sample.clips.is_empty()
    }

    /// What stands there, in words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Another => "pictures: those of another case",
            Self::MeanColour => "pictures: their mean colour",
        }
    }

    /// A sample with them in the place of its own, by what another one has.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] for colours that are not taken.
    pub fn of(self, own: &Sample, other: &Sample) -> Result<Sample, SubjectError> {
        match self {
            Self::Another => {
                let (pictures, clips) = (other.pictures.clone(), other.clips.clone());
                Ok(Sample { pictures, clips, ..own.clone() })
            }
            Self::MeanColour => own.mean_colour(),
        }
    }
}

/// What stands in the place of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wording {
    /// Those of another case.
    Another,
    /// The same, to which nobody attends: see [`Pass::made`](crate::Pass::made).
    Unattended,
}

impl Wording {
    /// Whether a sample has words.
    #[must_use]
    pub fn held(sample: &Sample) -> bool {
        sample.words != Words::Nothing
    }

    /// What stands there, in words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Another => "words: those of another case",
            Self::Unattended => "words: nobody attends to them",
        }
    }

    /// A sample with them in the place of its own, by what another one has. An answer stays.
    #[must_use]
    pub fn of(self, own: &Sample, other: &Sample) -> Sample {
        match self {
            Self::Another => Sample { words: other.words.clone(), ..own.clone() },
            Self::Unattended => own.clone(),
        }
    }
}
