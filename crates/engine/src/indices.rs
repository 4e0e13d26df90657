//! Which layers or heads a method looks at.

use mmlens_core::AnalysisError;
use mmlens_core::finding::{Axis, Role};
use serde::{Deserialize, Serialize};

/// Layers or heads by number, chosen before the model is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Indices {
    /// All of them.
    #[default]
    All,
    /// These.
    At(Vec<usize>),
}

impl Indices {
    /// The numbers in a model that has `count`, in ascending order, each once.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for none, or a number past the end. `setting` is what the method calls them.
    pub fn chosen(
        &self,
        method: &'static str,
        setting: &'static str,
        count: usize,
    ) -> Result<Vec<usize>, AnalysisError> {
        let refused =
            |found: String, expected| Err(AnalysisError::Setting { method, setting, found, expected });
        let Self::At(some) = self else { return Ok((0..count).collect()) };
        let mut some = some.clone();
        some.sort_unstable();
        some.dedup();
        match some.last() {
            None => refused("none".to_owned(), "at least one by number"),
            Some(last) if *last >= count => {
                refused(format!("{last}, of {count}"), "numbers from 0 that the model has")
            }
            Some(_) => Ok(some),
        }
    }

    /// The axis of some numbers out of `count`: counted where they are all, named by their numbers otherwise.
    pub fn axis(role: Role, chosen: &[usize], count: usize) -> Axis {
        match chosen.len() == count {
            true => Axis::count(role, count),
            false => Axis::names(role, chosen.iter().map(ToString::to_string)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_chosen_in_order_and_refused_past_the_end() {
        let of = |indices: Indices| indices.chosen("patching", "layers", 4);
        assert_eq!(of(Indices::All).unwrap(), [0, 1, 2, 3]);
        assert_eq!(of(Indices::At(vec![3, 1, 3])).unwrap(), [1, 3]);
        let said = |indices| of(indices).unwrap_err().to_string();
        assert_eq!(
            said(Indices::At(vec![1, 4])),
            "patching: layers = 4, of 4, but numbers from 0 that the model has"
        );
        assert_eq!(said(Indices::At(Vec::new())), "patching: layers = none, but at least one by number");
        assert_eq!(Indices::axis(Role::Head, &[1, 3], 4).label(1).unwrap(), "3");
    }
}
