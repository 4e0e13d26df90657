//! An objective written by the user.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use mmlens_finding::Unit;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Output, Position};
use crate::{HookError, LogitSelection, Site};

/// The value of every row of an output, `[batch]`.
type ValueFn = Arc<dyn Fn(&Output) -> Result<Tensor<1>, HookError> + Send + Sync>;

/// An objective written by the user: a differentiable function of the output, and of what sites hold.
///
/// Two are the same if they share the closure. A finding keeps the name; since a closure cannot be read back, what was explained by
/// one is refused by its name when it is to be explained again.
///
/// ```
/// use mmlens_core::{Position, Custom, Objective, finding::Unit};
/// // How much likelier one token is than two others together, by their logits.
/// let value = |output: &mmlens_core::Output| {
///     let at = |token| output.logit(Position::Last, token);
///     Ok(at(3)? - (at(4)?.exp() + at(5)?.exp()).log())
/// };
/// let objective = Objective::from(Custom::new("3 against 4 and 5", Unit::Logit, value));
/// assert_eq!(objective.to_string(), "3 against 4 and 5");
/// ```
#[derive(Clone)]
pub struct Custom {
    name: String,
    unit: Unit,
    asks: Vec<Position>,
    sites: Vec<Site>,
    output: bool,
    value: ValueFn,
}

impl Custom {
    /// A function of the output. It may look at the last position; for others see [`Custom::at`].
    pub fn new(
        name: impl Into<String>,
        unit: Unit,
        value: impl Fn(&Output) -> Result<Tensor<1>, HookError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            asks: Vec::new(),
            sites: Vec::new(),
            output: true,
            value: Arc::new(value),
        }
    }

    /// Looking at these positions of the output.
    #[must_use]
    pub fn at(self, asks: impl IntoIterator<Item = Position>) -> Self {
        Self { asks: asks.into_iter().collect(), ..self }
    }

    /// Looking at these sites too ([`Output::kept`]).
    #[must_use]
    pub fn reading(self, sites: impl IntoIterator<Item = Site>) -> Self {
        Self { sites: sites.into_iter().collect(), ..self }
    }

    /// Looking at these sites alone: the pass ends with the last of them.
    #[must_use]
    pub fn of_sites(self, sites: impl IntoIterator<Item = Site>) -> Self {
        Self { output: false, ..self.reading(sites) }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is measured in.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    pub(super) fn read_at(&self) -> Vec<Position> {
        self.asks.clone()
    }

    pub(super) fn sites(&self) -> &[Site] {
        &self.sites
    }

    pub(super) fn selected_logits(&self) -> Option<LogitSelection> {
        (!self.output).then(LogitSelection::none)
    }

    pub(super) fn score(&self, output: &Output) -> Result<Tensor<1>, HookError> {
        (self.value)(output)
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "closure `{}`", self.name)
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.value, &other.value)
            && (&self.name, self.unit, &self.asks, &self.sites, self.output)
                == (&other.name, other.unit, &other.asks, &other.sites, other.output)
    }
}

/// What a finding keeps of a closure.
#[derive(Serialize, Deserialize)]
struct Told {
    closure: String,
}

impl Serialize for Custom {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Told { closure: self.name.clone() }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Custom {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Told { closure } = Told::deserialize(from)?;
        let reason =
            format!("the objective `{closure}` is a closure of the program that gave it, and not read back");
        Err(serde::de::Error::custom(reason))
    }
}
