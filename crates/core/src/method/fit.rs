//! What learns before it is a method, and what it has learned.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use mmlens_files::{Doubles, TensorError, WriteError, doubles_to_bytes, parse_value, read_doubles, write};
use mmlens_finding::{Finding, Labelled, Provenance};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{fields, written};
use crate::site::closest;
use crate::{
    Analysis, AnalysisError, AnyAnalysis, Card, Cases, Examples, NoMethod, On, Rows, Seed, Site, Watch, found,
};

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

    /// Learns from whatever there is: a data set, or activations that were recorded of one. What takes long keeps what it has in the
    /// file `keep`, if it is given one, and goes on from there when it is called again with the same settings, source and seed, to
    /// the same bits.
    ///
    /// # Errors
    /// As [`Fit::fit`], and whatever a pass reports; [`AnalysisError::Input`] for recorded activations, by one that learns from the cases
    /// themselves ([`Source::cases`]).
    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        keep: Option<&Path>,
    ) -> Result<Outcome<Self::Fitted>, AnalysisError>;

    /// Reads what it needs of every case of a data set, and learns from that.
    ///
    /// # Errors
    /// As [`Fit::learn_from`].
    fn learn(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        seed: Seed,
    ) -> Result<Outcome<Self::Fitted>, AnalysisError> {
        self.learn_from(&Source::Cases(on, data), seed, None)
    }
}

/// How something that a method has learned from rows of a site was made: as the rows were, with the settings, the seed, and what tells
/// the rows from others, as `data`.
///
/// # Errors
/// [`AnalysisError::Settings`] for settings that cannot be written; what cannot be read.
pub fn learned_from<S: Serialize>(
    (card, settings): (&Card, &S),
    (rows, site): (&dyn Rows, Site),
    seed: Seed,
) -> Result<Provenance, AnalysisError> {
    let made = Provenance {
        method: card.id.to_owned(),
        settings: fields(card.id, settings)?,
        sites: vec![site.to_string()],
        seed: Some(seed.value()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..rows.provenance()
    };
    let data = json!({ "name": rows.data(), "rows": rows.len(), "sha256": rows.hash()? });
    Ok(made.with_setting("data", data))
}

/// What there is to learn from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A data set, and the model that it is passed through.
    Cases(&'a On<'a>, &'a dyn Cases),
    /// Activations that were recorded, and who watches.
    Recorded(&'a dyn Recorded, &'a dyn Watch),
}

impl<'a> Source<'a> {
    /// Who watches.
    #[must_use]
    pub fn watch(&self) -> &'a dyn Watch {
        match self {
            Self::Cases(on, _) => on.watch(),
            Self::Recorded(_, watch) => *watch,
        }
    }

    /// The data set and its model, for what recorded activations are not enough for.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for recorded activations.
    pub fn cases(&self, method: &'static str) -> Result<(&'a On<'a>, &'a dyn Cases), AnalysisError> {
        match self {
            Self::Cases(on, data) => Ok((on, *data)),
            Self::Recorded(recorded, _) => Err(AnalysisError::Input {
                method,
                needs: "a data set, and a model to pass it through".into(),
                found: format!("only recorded activations of `{}` are there", recorded.data()),
            }),
        }
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cases(_, data) => write!(f, "cases of {data:?}"),
            Self::Recorded(recorded, _) => write!(f, "recorded activations of `{}`", recorded.data()),
        }
    }
}

/// Activations of a data set that were recorded, site by site. All rows that were recorded are learned from.
pub trait Recorded {
    /// The data set.
    fn data(&self) -> &str;

    /// The rows of a site.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for a site that was not recorded.
    fn rows(&self, site: Site) -> Result<Box<dyn Rows + '_>, AnalysisError>;

    /// The rows of a site with their classes.
    ///
    /// # Errors
    /// As [`Recorded::rows`]; [`AnalysisError::Input`] where nobody knows the classes.
    fn examples(&self, site: Site) -> Result<Examples, AnalysisError>;
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

impl<F: Analysis> Outcome<F> {
    /// What was learned, as a method, beside the finding that tells how good it is: how the search ended stands among the settings of that.
    ///
    /// # Errors
    /// As [`Analysis::new`] and [`found`].
    pub fn of(
        learned: F::Settings,
        ended: Ended,
        (made, tables): (Provenance, Vec<Labelled>),
    ) -> Result<Self, AnalysisError> {
        let finding = found(made.with_setting("ended", json!(ended)), tables)?;
        Ok(Self { fitted: F::new(learned)?, ended, finding })
    }
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
    /// A file of nothing that is known here.
    #[error("{} holds {found}, expected what one of these has learned: {}", file.display(), known.join(", "))]
    Unknown {
        /// The file.
        file: PathBuf,
        /// What it holds.
        found: String,
        /// What could have learned it.
        known: Vec<&'static str>,
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

    /// What it is saved as: the bytes of a safetensors file of type F64.
    ///
    /// # Errors
    /// As [`Fitted::parts`].
    fn to_bytes(&self) -> Result<Vec<u8>, AnalysisError> {
        let Parts { tensors, about } = self.parts()?;
        let texts = [(METHOD, Self::CARD.id.to_owned()), (ABOUT, about)];
        let texts = texts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        doubles_to_bytes(&tensors, &texts)
            .map_err(|error| AnalysisError::Settings { method: Self::CARD.id, reason: error.to_string() })
    }

    /// The files of other programs that hold the same, by their names; none, where there is no such program.
    ///
    /// # Errors
    /// As [`Fitted::parts`].
    fn exports(&self) -> Result<Vec<(String, Vec<u8>)>, AnalysisError> {
        Ok(Vec::new())
    }

    /// Saves it as one file.
    ///
    /// # Errors
    /// [`FittedError::Write`]; the file is then what it was before.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), FittedError> {
        let path = path.as_ref();
        let unfit = |error| FittedError::Unfit { file: path.to_owned(), error: Box::new(error) };
        Ok(write(path, self.to_bytes().map_err(unfit)?)?)
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

/// What was learned, of whatever type.
pub trait AnyFitted: AnyAnalysis {
    /// See [`Fitted::to_bytes`].
    ///
    /// # Errors
    /// As there.
    fn bytes(&self) -> Result<Vec<u8>, AnalysisError>;

    /// See [`Fitted::exports`].
    ///
    /// # Errors
    /// As there.
    fn exported(&self) -> Result<Vec<(String, Vec<u8>)>, AnalysisError>;
}

impl<F: Fitted> AnyFitted for F {
    fn bytes(&self) -> Result<Vec<u8>, AnalysisError> {
        self.to_bytes()
    }

    fn exported(&self) -> Result<Vec<(String, Vec<u8>)>, AnalysisError> {
        self.exports()
    }
}

/// What came of a fit of whatever type.
type AnyOutcome = Outcome<Box<dyn AnyFitted>>;

/// A row of a table of fits: something that can be listed, made from settings to learn, and loaded once it has learned.
#[derive(Clone, Copy)]
pub struct Fitting {
    /// What it is.
    pub card: Card,
    defaults: fn() -> Result<Value, AnalysisError>,
    settled: fn(Value) -> Result<Value, AnalysisError>,
    learn: fn(Value, &Source<'_>, Seed, Option<&Path>) -> Result<AnyOutcome, AnalysisError>,
    load: fn(&Path) -> Result<Box<dyn AnyFitted>, FittedError>,
}

impl fmt::Debug for Fitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.card.id)
    }
}

/// A fit, made from settings by name.
fn made<F: Fit>(settings: &Value) -> Result<F, AnalysisError> {
    let settings = parse_value(settings);
    F::new(settings.map_err(|error: mmlens_files::JsonError| AnalysisError::Settings {
        method: F::CARD.id,
        reason: error.to_string(),
    })?)
}

impl Fitting {
    /// The row of a fit.
    #[must_use]
    pub const fn of<F: Fit>() -> Self {
        Self {
            card: F::CARD,
            defaults: || written(F::CARD.id, &F::Settings::default()),
            settled: |settings| written(F::CARD.id, made::<F>(&settings)?.settings()),
            learn: |settings, from, seed, keep| {
                let Outcome { fitted, ended, finding } =
                    made::<F>(&settings)?.learn_from(from, seed, keep)?;
                Ok(Outcome { fitted: Box::new(fitted), ended, finding })
            },
            load: |path| Ok(Box::new(F::Fitted::load(path)?)),
        }
    }

    /// Its default settings.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for defaults that cannot be written.
    pub fn defaults(&self) -> Result<Value, AnalysisError> {
        (self.defaults)()
    }

    /// All settings, checked, of those that were given by name.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for a name that is no setting, or a value of another kind, and whatever [`Fit::new`] says.
    pub fn settled(&self, settings: Value) -> Result<Value, AnalysisError> {
        (self.settled)(settings)
    }

    /// Learns, with settings by name: see [`Fit::learn_from`].
    ///
    /// # Errors
    /// As there, and as [`Fitting::settled`].
    pub fn learn(
        &self,
        settings: Value,
        from: &Source<'_>,
        seed: Seed,
        keep: Option<&Path>,
    ) -> Result<AnyOutcome, AnalysisError> {
        (self.learn)(settings, from, seed, keep)
    }

    /// The fit of a table that is called so: by its id or its short name.
    ///
    /// # Errors
    /// [`NoMethod`], with the closest name.
    pub fn called<'m>(table: &'m [Self], name: &str) -> Result<&'m Self, NoMethod> {
        let is = |fit: &&Self| fit.card.id == name || fit.card.short == name;
        table.iter().find(is).ok_or_else(|| {
            let names = table.iter().flat_map(|fit| [fit.card.short, fit.card.id]);
            NoMethod { asked: name.to_owned(), nearest: closest(name, names) }
        })
    }

    /// What some fit of a table has learned and saved: which of them, its file says.
    ///
    /// # Errors
    /// [`FittedError`] for a file that cannot be read, is of no fit of the table, or whose parts do not fit together.
    pub fn load(table: &[Self], path: impl AsRef<Path>) -> Result<Box<dyn AnyFitted>, FittedError> {
        let path = path.as_ref();
        let mut holds = "something else".to_owned();
        for fit in table {
            match (fit.load)(path) {
                Err(FittedError::Another { found, .. }) => holds = found,
                loaded => return loaded,
            }
        }
        let known = table.iter().map(|fit| fit.card.id).collect();
        Err(FittedError::Unknown { file: path.to_owned(), found: holds, known })
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
        pub static FITS: &[$crate::Fitting] = &[$($crate::Fitting::of::<$fit>(),)*];
    };
}
