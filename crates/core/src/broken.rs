//! How far a subject's work had come when it broke off.

use std::fmt;

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
