//! The one shape of every method: made from settings that read back, run on a subject and an input, giving a finding.

mod answer;
mod budget;
mod card;
mod case;
pub mod caution;
pub mod check;
mod error;
mod estimate;
mod explain;
mod fit;
mod many;
mod on;
mod rerun;
mod setting;
mod split;
pub mod table;
mod tool;
mod watch;

use std::collections::BTreeMap;
use std::fmt;

use mmlens_files::parse_value;
use mmlens_finding::Finding;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

pub use answer::{Answer, found};
pub use budget::{Memory, NoSize};
pub use card::{Card, Cost, Leaf};
pub use case::{Case, Form, Given, Input, Pair, Target, top_token};
pub use error::{AnalysisError, NoMethod};
pub use estimate::{Estimate, Pace, estimate};
pub use explain::explain;
pub use fit::{
    AnyFitted, Ended, Fit, Fitted, FittedError, Fitting, Outcome, Parts, Recorded, Source, learned_from,
};
pub use many::{CaseAmong, ManyCases};
pub use on::{On, Shared};
pub use rerun::{Moved, Rerun, RerunError, heard_again, heard_in, rerun};
pub use setting::Setting;
pub use split::Split;
pub use tool::{Reach, Tool};
pub use watch::{Unwatched, Watch, step};

use crate::site::closest;
use crate::{Seed, Site, Subject};

/// A method, made from checked settings.
///
/// A method is written as a type with its settings and [`Analysis::answer`]; being made, run, listed, offered on a command line,
/// signed and run again follows from that. [`Method::of`] makes it a row of a table of methods.
pub trait Analysis: Sized + Send + Sync + 'static {
    /// What it is run on: a [`Case`], a [`Pair`] or [`ManyCases`].
    type Input: Input;

    /// Its settings. They are written into every finding and read back from there.
    type Settings: Serialize + DeserializeOwned + Default + Clone + fmt::Debug;

    /// What it is.
    const CARD: Card;

    /// Checks the settings.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for what cannot be.
    fn new(settings: Self::Settings) -> Result<Self, AnalysisError>;

    /// The settings it was made from.
    fn settings(&self) -> &Self::Settings;

    /// What it costs on an input, told from sizes before any pass.
    ///
    /// # Errors
    /// As [`Analysis::run`], as far as it can be told before a pass.
    fn cost(&self, on: &On<'_>, input: &Self::Input) -> Result<Cost, AnalysisError>;

    /// What it reads of the unedited pass of its case ([`On::unedited`]), beside the objective: sites that are cheap to keep.
    ///
    /// # Errors
    /// As [`Analysis::run`], as far as it can be told before a pass.
    fn reads(&self, _on: &On<'_>, _input: &Self::Input) -> Result<Vec<Site>, AnalysisError> {
        Ok(Vec::new())
    }

    /// Answers. What the card needs is checked before.
    ///
    /// # Errors
    /// See [`AnalysisError`].
    fn answer(&self, on: &On<'_>, input: &Self::Input) -> Result<Answer, AnalysisError>;

    /// Runs it, watched and within a budget of memory as `on` says.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for a subject that lacks what the card needs; see the method.
    fn run_on(&self, on: &On<'_>, input: &Self::Input) -> Result<Finding, AnalysisError> {
        let card = Self::CARD;
        card.allows(on.subject())?;
        let answer = self.answer(on, input)?;
        let answer = answer.cautioned(input.recordings().iter().filter_map(caution::unheard));
        answer.signed(&card, on, written(card.id, self.settings())?, input.record_on(on)?)
    }

    /// Runs it.
    ///
    /// # Errors
    /// As [`Analysis::run_on`].
    fn run(&self, subject: &dyn Subject, input: &Self::Input) -> Result<Finding, AnalysisError> {
        self.run_on(&On::new(subject), input)
    }
}

/// Settings as a finding keeps them.
fn written(method: &'static str, settings: &impl Serialize) -> Result<Value, AnalysisError> {
    serde_json::to_value(settings)
        .map_err(|error| AnalysisError::Settings { method, reason: error.to_string() })
}

/// Settings read back from what [`written`] makes of them, or from a part of it.
fn settings_of<S: DeserializeOwned>(method: &'static str, settings: &Value) -> Result<S, AnalysisError> {
    parse_value(settings).map_err(|error| AnalysisError::Settings { method, reason: error.to_string() })
}

/// Settings as a finding keeps them, by name.
///
/// # Errors
/// [`AnalysisError::Settings`] for settings that cannot be written, or have no names.
pub fn fields(
    method: &'static str,
    settings: &impl Serialize,
) -> Result<BTreeMap<String, Value>, AnalysisError> {
    match written(method, settings)? {
        Value::Object(settings) => Ok(settings.into_iter().collect()),
        other => {
            Err(AnalysisError::Settings { method, reason: format!("they are {other}, no names and values") })
        }
    }
}

/// A method of whatever type, run on whatever it takes of what was given.
pub trait AnyAnalysis: Send + Sync {
    /// What it is.
    fn card(&self) -> Card;

    /// The settings it was made from.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for settings that cannot be written, such as a closure.
    fn settings(&self) -> Result<Value, AnalysisError>;

    /// See [`Analysis::cost`].
    ///
    /// # Errors
    /// As there, and for an input that was not given.
    fn cost(&self, on: &On<'_>, given: &Given) -> Result<Cost, AnalysisError>;

    /// See [`Analysis::reads`].
    ///
    /// # Errors
    /// As there, and for an input that was not given.
    fn reads(&self, on: &On<'_>, given: &Given) -> Result<Vec<Site>, AnalysisError>;

    /// See [`Analysis::run_on`].
    ///
    /// # Errors
    /// As there, and for an input that was not given.
    fn run_given(&self, on: &On<'_>, given: &Given) -> Result<Finding, AnalysisError>;

    /// The same method with some settings changed, by name; the others stay as they are.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for settings that cannot be written, such as a closure, for a name that is no setting and a value of another
    /// kind, and whatever [`Analysis::new`] says.
    fn with(&self, changed: Map<String, Value>) -> Result<Box<dyn AnyAnalysis>, AnalysisError>;

    /// The same method with other draws: with another `seed`; `None` for one without that setting, which draws nothing.
    ///
    /// # Errors
    /// As [`AnyAnalysis::with`].
    fn seeded(&self, seed: Seed) -> Result<Option<Box<dyn AnyAnalysis>>, AnalysisError> {
        match self.settings()?.get("seed") {
            Some(_) => Ok(Some(self.with([("seed".to_owned(), json!(seed.0))].into_iter().collect())?)),
            None => Ok(None),
        }
    }
}

impl<A: Analysis> AnyAnalysis for A {
    fn card(&self) -> Card {
        A::CARD
    }

    fn settings(&self) -> Result<Value, AnalysisError> {
        written(A::CARD.id, Analysis::settings(self))
    }

    fn cost(&self, on: &On<'_>, given: &Given) -> Result<Cost, AnalysisError> {
        A::CARD.allows(on.subject())?;
        Analysis::cost(self, on, &A::Input::of(given, A::CARD.id)?)
    }

    fn reads(&self, on: &On<'_>, given: &Given) -> Result<Vec<Site>, AnalysisError> {
        Analysis::reads(self, on, &A::Input::of(given, A::CARD.id)?)
    }

    fn run_given(&self, on: &On<'_>, given: &Given) -> Result<Finding, AnalysisError> {
        // What the subject lacks is the first reason, before what was not given.
        let card = A::CARD;
        card.allows(on.subject())?;
        self.run_on(on, &A::Input::of(given, card.id)?)
    }

    fn with(&self, changed: Map<String, Value>) -> Result<Box<dyn AnyAnalysis>, AnalysisError> {
        let settings: Map<String, Value> =
            fields(A::CARD.id, Analysis::settings(self))?.into_iter().chain(changed).collect();
        Ok(Box::new(A::new(settings_of(A::CARD.id, &Value::Object(settings))?)?))
    }
}

/// The table of a crate's methods, `METHODS`: a row for each, by which it is also offered under its own name.
///
/// ```ignore
/// mmlens_core::methods! {
///     layer::logit_lens::LogitLens,
/// }
/// ```
#[macro_export]
macro_rules! methods {
    ($($leaf:ident :: $module:ident :: $method:ident,)*) => {
        $(
            #[doc(inline)]
            pub use $leaf::$module::{self, $method};
        )*

        /// Every method of this crate, in the order in which they are run and shown.
        pub static METHODS: &[$crate::Method] = &[$($crate::Method::of::<$method>(),)*];
    };
}

/// A row of a table of methods: something that can be listed, and made from settings.
#[derive(Clone, Copy)]
pub struct Method {
    /// What it is.
    pub card: Card,
    /// What it is run on.
    pub form: Form,
    defaults: fn() -> Result<Value, AnalysisError>,
    make: fn(Value) -> Result<Box<dyn AnyAnalysis>, AnalysisError>,
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.card.id)
    }
}

impl Method {
    /// The row of a method.
    #[must_use]
    pub const fn of<A: Analysis>() -> Self {
        Self {
            card: A::CARD,
            form: A::Input::FORM,
            defaults: || written(A::CARD.id, &A::Settings::default()),
            make: |settings| Ok(Box::new(A::new(settings_of(A::CARD.id, &settings)?)?)),
        }
    }

    /// Its default settings.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for defaults that cannot be written.
    pub fn defaults(&self) -> Result<Value, AnalysisError> {
        (self.defaults)()
    }

    /// The method, made from settings by name; what is not named has its default.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for a name that is no setting, or a value of another kind, and whatever [`Analysis::new`] says.
    pub fn make(&self, settings: Value) -> Result<Box<dyn AnyAnalysis>, AnalysisError> {
        (self.make)(settings)
    }

    /// Those of a table that run where nobody named one, with their default settings.
    ///
    /// # Errors
    /// As [`Method::make`], for defaults that are no settings.
    pub fn first<'m>(
        table: impl IntoIterator<Item = &'m Self>,
    ) -> Result<Vec<Box<dyn AnyAnalysis>>, AnalysisError> {
        table.into_iter().filter(|method| method.card.first).map(|method| method.make(json!({}))).collect()
    }

    /// The method of a table that is called so.
    ///
    /// # Errors
    /// [`NoMethod`], with the closest name.
    pub fn called<'m>(table: &'m [Self], name: &str) -> Result<&'m Self, NoMethod> {
        table.iter().find(|method| method.is_called(name)).ok_or_else(|| {
            let names = table.iter().flat_map(|method| [method.card.short, method.card.id]);
            NoMethod { asked: name.to_owned(), nearest: closest(name, names) }
        })
    }

    /// Whether it is called so: by its id or its short name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.card.id == name || self.card.short == name
    }
}
