//! Why a sample has no such units, or a unit cannot be absent in such a way.

use mmlens_core::{AnalysisError, HookError, SubjectError};

/// Why a sample has no such units, or a unit cannot be absent in such a way.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// A setting that cannot be.
    #[error("{setting} = {found}, expected {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Inputs of several rows, or with padding, where units are parts of one.
    #[error(
        "units are parts of one sample without padding; these inputs have {rows} rows, {labelled} of {positions} positions labelled"
    )]
    Rows {
        /// Rows there are.
        rows: usize,
        /// Positions.
        positions: usize,
        /// Positions that the token map labels.
        labelled: usize,
    },
    /// A picture, clip or tile there is not.
    #[error("there is no {what} {index} among {len}")]
    None {
        /// `picture`, `clip`, `entry of the pixel batch`, `position`, `frame`.
        what: &'static str,
        /// Which was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// Nothing of this kind in the sample.
    #[error("the sample has no {0}")]
    Nothing(&'static str),
    /// Words cannot be told where the token map has no text.
    #[error("the token map does not say which text its bytes are of, so that words cannot be told")]
    NoText,
    /// A part of a picture of which the model is given no pixel: cropped away, or smaller than one.
    #[error("the model is given no pixel of {unit}")]
    Unseen {
        /// The unit.
        unit: String,
    },
    /// Segments of another picture.
    #[error("segments of {found:?} pixels for a picture of {expected:?} (width, height)")]
    Segments {
        /// Width and height of the segments, or how many labels there are for them.
        found: (u32, u32),
        /// Those of the picture.
        expected: (u32, u32),
    },
    /// Nothing of this kind can stand in the place of such a unit.
    #[error("{absent} cannot stand in the place of {what}")]
    Unfit {
        /// What should stand there.
        absent: String,
        /// What kind of unit it is.
        what: &'static str,
    },
    /// A model without a mask token.
    #[error("`{subject}` has no token that stands for a missing word")]
    NoMask {
        /// The model.
        subject: String,
    },
    /// Another sample, or a changed one, of which the model makes something of another shape.
    #[error("{what}: {found}, this sample has {expected}")]
    Unlike {
        /// What is compared.
        what: &'static str,
        /// What the other has.
        found: String,
        /// What this one has.
        expected: String,
    },
    /// Pictures in a form whose pixels cannot be told apart.
    #[error(
        "pixels of shape {found:?} are no pictures in rows and columns, nor patches that the token map places"
    )]
    Pixels {
        /// Their shape.
        found: Vec<usize>,
    },
    /// The subject could not.
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

impl UnitError {
    /// The same as the error of a method.
    pub fn of(self, method: &'static str) -> AnalysisError {
        match self {
            Self::Subject(error) => error.into(),
            Self::Setting { setting, found, expected } => {
                AnalysisError::Setting { method, setting, found, expected }
            }
            other => AnalysisError::Input {
                method,
                needs: "a sample with units that can be absent as asked".into(),
                found: other.to_string(),
            },
        }
    }
}

impl From<HookError> for UnitError {
    fn from(error: HookError) -> Self {
        Self::Subject(error.into())
    }
}
