//! A panic in the middle of a pass, told as an error with the place.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Site;

/// Where a subject's work broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Outside of any pass.
    Outside,
    /// Before the pass came to its first site.
    Start,
    /// Behind a site, before the next.
    Behind(Site),
    /// In an edit at a site.
    Edit(Site),
    /// Behind the last site: in the objective.
    Objective,
    /// While gradients were taken, before they came to a site.
    Gradients,
    /// While gradients were taken, behind a site: at those that lie before it.
    Gradient(Site),
    /// In an edit of the gradient at a site.
    GradientEdit(Site),
    /// In a function of the output that a user measures.
    Metric,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside => f.write_str("outside of a pass"),
            Self::Start => f.write_str("before the first site"),
            Self::Behind(site) => write!(f, "behind `{site}`"),
            Self::Edit(site) => write!(f, "in the edit at `{site}`"),
            Self::Objective => f.write_str("in the objective"),
            Self::Gradients => f.write_str("while gradients were taken"),
            Self::Gradient(site) => write!(f, "while gradients were taken, before `{site}`"),
            Self::GradientEdit(site) => write!(f, "in the edit of the gradient at `{site}`"),
            Self::Metric => f.write_str("in a metric"),
        }
    }
}

/// Does some work; a panic in it is given back as what it said.
///
/// What the work holds by reference must make sense afterwards, whatever it was doing.
///
/// # Errors
/// What the panic said.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| said(panic.as_ref()))
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}
