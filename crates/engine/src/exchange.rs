//! What stands in the place of a modality of a sample: that of another one, or what holds nothing.

use mmlens_core::{Part, Sample, Subject, SubjectError, Words, kind};
use serde::{Deserialize, Serialize};

/// What stands in the place of pictures, and of recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pictures {
    /// Those of another case.
    Another,
    /// Their mean colour; of recordings silence.
    MeanColour,
}

impl Pictures {
    /// Whether a sample has pictures, clips or recordings.
    #[must_use]
    pub fn held(sample: &Sample) -> bool {
        !sample.pictures.is_empty() || !sample.clips.is_empty() || !sample.recordings.is_empty()
    }

    /// What stands there in samples of a subject, in words.
    #[must_use]
    pub fn describe(self, subject: &dyn Subject) -> String {
        let of = |tower: Part| match (self, tower) {
            (Self::Another, Part::Audio) => "recordings: those of another case",
            (Self::Another, _) => "pictures: those of another case",
            (Self::MeanColour, Part::Audio) => "recordings: silence",
            (Self::MeanColour, _) => "pictures: their mean colour",
        };
        let told = kind::perceives_at(subject).into_iter().map(|site| of(site.part()));
        told.collect::<Vec<_>>().join("; ")
    }

    /// A sample with them in the place of its own, by what another one has.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] for colours that are not taken.
    pub fn of(self, own: &Sample, other: &Sample) -> Result<Sample, SubjectError> {
        match self {
            Self::Another => {
                let Sample { pictures, clips, recordings, .. } = other.clone();
                Ok(Sample { pictures, clips, recordings, ..own.clone() })
            }
            Self::MeanColour => own.emptied(),
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
