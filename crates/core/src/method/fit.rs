//! What learns before it is a method, and what it has learned.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use mmlens_files::{Doubles, TensorError, WriteError, read_doubles, write_doubles};
use mmlens_finding::Finding;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Analysis, AnalysisError, Card, Seed, Watch};

/// What learns from data, and is an [`Analysis`] of single cases afterwards.
///
/// The same settings, data and seed give the same bits.
pub trait Fit: Sized + Send + Sync + 'static {
    /// What it learns from: [`Examples`](crate::Examples), for one that learns from rows.
    type From: ?Sized;

    /// Its settings. They are written into the finding about the fit.
    type Settings: Serialize + DeserializeOwned + Default + Clone + fmt::Debug;

    /// What it has learned.
    type Fitted: Fitted;

    /// What it is.
    const CARD: Card;

    /// Checks the settings.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for what cannot be.
    fn new(settings: Self::Settings) -> Result<Self, AnalysisError>;

    /// The settings it was made from.
    fn settings(&self) -> &Self::Settings;

    /// Learns, watched step by step.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for data that it cannot learn from, [`AnalysisError::Cancelled`]. One that stopped before it converged
    /// is no error: it is said in [`Outcome::ended`] and in the finding.
    fn fit(
        &self,
        from: &Self::From,
        seed: Seed,
        watch: &dyn Watch,
    ) -> Result<Outcome<Self::Fitted>, AnalysisError>;
}

/// What came of a fit.
#[derive(Debug, Clone)]
pub struct Outcome<F> {
    /// What was learned.
    pub fitted: F,
    /// How it ended.
    pub ended: Ended,
    /// How good it is, and how it was made.
    pub finding: Finding,
}

/// How a search for a minimum ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// At a point where the gradient is as small as was asked for.
    Converged {
        /// Steps taken.
        steps: usize,
        /// The largest absolute value of the gradient there.
        gradient: f64,
    },
    /// Before that: as many steps were taken as may be, or rounding left no step that goes down.
    Stopped {
        /// Steps taken.
        steps: usize,
        /// The largest absolute value of the gradient there.
        gradient: f64,
    },
}

impl Ended {
    /// Whether it converged.
    #[must_use]
    pub const fn converged(&self) -> bool {
        matches!(self, Self::Converged { .. })
    }

    /// Steps taken, and the largest absolute value of the gradient at the end.
    #[must_use]
    pub const fn at(&self) -> (usize, f64) {
        let (Self::Converged { steps, gradient } | Self::Stopped { steps, gradient }) = self;
        (*steps, *gradient)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.converged() { "converged" } else { "stopped" };
        let (steps, gradient) = self.at();
        write!(f, "{verb} after {steps} steps at a gradient of {gradient:.1e}")
    }
}

/// What was learned, in parts that can be saved: numbers by name, and all else as one text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parts {
    /// Numbers, bit for bit.
    pub tensors: BTreeMap<String, Doubles>,
    /// What they belong to: JSON.
    pub about: String,
}

/// Why what was learned could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FittedError {
    /// A file that cannot be read.
    #[error(transparent)]
    Read(#[from] TensorError),
    /// A file that cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file of something else.
    #[error("{} holds {found}, expected what `{expected}` has learned", file.display())]
    Another {
        /// The file.
        file: PathBuf,
        /// What it holds.
        found: String,
        /// The method.
        expected: &'static str,
    },
    /// Parts that do not fit together.
    #[error("{}: {error}", file.display())]
    Unfit {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        error: Box<AnalysisError>,
    },
}

/// The names of texts in a file.
const METHOD: &str = "method";
const ABOUT: &str = "about";

/// What was learned: a method of single cases, saved and loaded bit for bit.
pub trait Fitted: Analysis {
    /// Its parts.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for what cannot be written.
    fn parts(&self) -> Result<Parts, AnalysisError>;

    /// Puts parts together.
    ///
    /// # Errors
    /// [`AnalysisError`] for parts that are missing, one too many, or do not fit together.
    fn of(parts: Parts) -> Result<Self, AnalysisError>;

    /// Saves it as a safetensors file of type F64.
    ///
    /// # Errors
    /// [`FittedError::Write`]; the file is then what it was before.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), FittedError> {
        let path = path.as_ref();
        let unfit = |error| FittedError::Unfit { file: path.to_owned(), error: Box::new(error) };
        let Parts { tensors, about } = self.parts().map_err(unfit)?;
        let texts = [(METHOD, Self::CARD.id.to_owned()), (ABOUT, about)];
        let texts = texts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        Ok(write_doubles(path, &tensors, &texts)?)
    }

    /// Loads what was saved.
    ///
    /// # Errors
    /// [`FittedError`] for a file that cannot be read, is of another method, or whose parts do not fit together.
    fn load(path: impl AsRef<Path>) -> Result<Self, FittedError> {
        let path = path.as_ref();
        let (tensors, mut texts) = read_doubles(path)?;
        let found = match texts.get(METHOD) {
            Some(method) if method == Self::CARD.id => None,
            Some(method) => Some(format!("what `{method}` has learned")),
            None => Some("nothing that was learned".to_owned()),
        };
        if let Some(found) = found {
            return Err(FittedError::Another { file: path.to_owned(), found, expected: Self::CARD.id });
        }
        let about = texts.remove(ABOUT).unwrap_or_default();
        Self::of(Parts { tensors, about })
            .map_err(|error| FittedError::Unfit { file: path.to_owned(), error: Box::new(error) })
    }
}

/// The table of what a crate can fit, `FITS`: a row for each, by which it is also offered under its own name.
///
/// ```ignore
/// mmlens_core::fits! {
///     feature::linear_probe::LinearProbe,
/// }
/// ```
#[macro_export]
macro_rules! fits {
    ($($leaf:ident :: $module:ident :: $fit:ident,)*) => {
        $(
            #[doc(inline)]
            pub use $leaf::$module::{self, $fit};
        )*

        /// Everything of this crate that learns before it is a method.
        pub static FITS: &[$crate::Card] = &[$(<$fit as $crate::Fit>::CARD,)*];
    };
}
