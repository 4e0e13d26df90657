//! What methods that learn from rows settle alike: that these are rows of the right site, and which of them are held out.

use std::collections::BTreeSet;

use super::check::input;
use crate::{AnalysisError, Card, Examples, Rows, Seed, Site, held_out};

/// Rows apart by whether they are learned from.
#[derive(Debug, Clone)]
pub struct Split {
    /// Of each row whether it is held out.
    pub out: Vec<bool>,
}

impl Split {
    /// Rows of a site, of which a share of the groups is held out: see [`held_out`].
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for rows of another site, or fewer groups than two; what cannot be read.
    pub fn of(
        card: &Card,
        (rows, site): (&dyn Rows, Site),
        share: f64,
        seed: Seed,
    ) -> Result<Self, AnalysisError> {
        let (sites, own) = (rows.provenance().sites, site.to_string());
        if !sites.is_empty() && sites != [own.as_str()] {
            let found = format!("these are of {}, and that is {own}", sites.join(", "));
            return Err(input(card, "rows of its own site", found));
        }
        let out = held_out(&rows.groups()?, share, seed);
        Ok(Self { out: out.ok_or_else(|| input(card, "at least two groups", "there is one"))? })
    }

    /// The rows that are held out, or those that are learned from.
    pub fn rows(&self, held_out: bool) -> Vec<usize> {
        let each = self.out.iter().enumerate();
        each.filter(|(_, out)| **out == held_out).map(|(row, _)| row).collect()
    }

    /// That each class that rows have is among those learned from, and that there are two.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] otherwise.
    pub fn with_every_class(&self, card: &Card, from: &Examples) -> Result<(), AnalysisError> {
        let labels = from.labels().iter().zip(&self.out);
        let kept: BTreeSet<usize> = labels.filter(|(_, out)| !**out).map(|(label, _)| *label).collect();
        match from.classes().iter().enumerate().find(|(class, _)| !kept.contains(class)) {
            Some((_, name)) => {
                Err(input(card, "rows of every class to learn from", format!("none of `{name}` was left")))
            }
            None if kept.len() < 2 => {
                Err(input(card, "at least two classes", format!("there are {}", kept.len())))
            }
            None => Ok(()),
        }
    }
}
