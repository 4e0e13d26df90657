//! What a row of a store is, by the axes of the sites it holds.

use mmlens_core::{AxisName, Part, SiteSpec};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// What one row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// A position of a prompt; padding is left out.
    Positions,
    /// A position of the image tower.
    Patches,
    /// A prompt.
    Prompts,
    /// A picture or tile.
    Pictures,
}

impl Rows {
    /// What a site has a value for each of, and the lengths of one value.
    ///
    /// # Errors
    /// [`StoreError::Site`] for axes of which a length depends on the input, such as those of attention patterns.
    pub fn of(spec: &SiteSpec) -> Result<(Self, Vec<usize>), StoreError> {
        let refuse = |reason: &str| StoreError::Site {
            site: spec.site.to_string(),
            axes: spec.describe(),
            reason: reason.to_owned(),
        };
        let names: Vec<AxisName> = spec.axes.iter().map(|(axis, _)| *axis).collect();
        let (rows, lead) = match names.as_slice() {
            [AxisName::Batch, AxisName::Pos, ..] => (Self::Positions, 2),
            [first, AxisName::Pos, ..] if first.tower().is_some() => (Self::Patches, 2),
            [AxisName::Pos, ..] if spec.site.part() == Part::Vision => (Self::Patches, 1),
            [AxisName::Batch, ..] => (Self::Prompts, 1),
            [first, ..] if first.tower().is_some() => (Self::Pictures, 1),
            _ => return Err(refuse("it has neither prompts nor pictures nor positions")),
        };
        let lengths: Option<Vec<usize>> = spec.axes.iter().skip(lead).map(|(_, len)| *len).collect();
        lengths.map(|lengths| (rows, lengths)).ok_or_else(|| refuse("the size of a row depends on the input"))
    }
}
