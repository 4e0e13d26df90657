//! Scores and weights of attention, seen some queries at a time.

use std::ops::Range;
use std::sync::Arc;

use crate::{AnyTensor, AxisName, Change, HookError, Region, SiteSpec};

/// Numbers that an explicit attention holds at a time, at most, where queries can be parted: 16 MiB of scores.
const NUMBERS: usize = 1 << 22;

/// Where some scores or weights, `[row, head, query, key]`, lie among all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strip {
    /// Rows of the batch, or pictures.
    pub rows: Range<usize>,
    /// Queries, counted from the first of the pass.
    pub queries: Range<usize>,
    /// Keys; what lies outside has no weight.
    pub keys: Range<usize>,
    /// Rows, queries and keys in all.
    pub of: [usize; 3],
}

/// Sees scores or weights, part by part. Nothing is changed.
pub type ScanFn = Arc<dyn Fn(&Strip, &AnyTensor) -> Result<(), HookError> + Send + Sync>;

/// How much of scores and weights a plan needs at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// None: nothing is planned there.
    Nothing,
    /// What some queries see.
    Seen,
    /// All keys of some queries.
    Queries,
    /// All of it.
    Whole,
}

impl Strip {
    /// All of them.
    pub fn whole(of: [usize; 3]) -> Self {
        Self { rows: 0..of[0], queries: 0..of[1], keys: 0..of[2], of }
    }

    /// How many queries are held at a time, of so many rows with so many heads and keys: from shapes alone.
    pub fn queries_of(rows: usize, heads: usize, keys: usize) -> usize {
        (NUMBERS / (rows * heads * keys).max(1)).max(1)
    }
}

impl Change {
    /// How much of scores it needs at a time.
    pub(crate) fn held(&self) -> Held {
        match self {
            Self::Mean | Self::Fill(_) | Self::With(_) => Held::Whole,
            // Cut edges stay cut, wherever nothing is seen.
            Self::Mask | Self::MaskOthers => Held::Seen,
            _ => Held::Queries,
        }
    }

    /// What of it concerns some queries, and where; `None` if nothing does.
    ///
    /// # Errors
    /// [`HookError::Index`] for a query past the end.
    pub(crate) fn of_strip(
        &self,
        spec: &SiteSpec,
        region: &Region,
        strip: &Strip,
    ) -> Result<Option<(Region, Self)>, HookError> {
        let mut own = region.clone();
        let first = spec.axes.first().map_or(AxisName::Batch, |(axis, _)| *axis);
        let ranges = [
            (first, &strip.rows, strip.of[0]),
            (AxisName::Query, &strip.queries, strip.of[1]),
            (AxisName::Key, &strip.keys, strip.of[2]),
        ];
        for (axis, range, len) in ranges {
            let Some(indices) = region.indices(axis) else { continue };
            if let Some(index) = indices.iter().copied().find(|index| *index >= len) {
                return Err(HookError::Index { site: spec.site, axis: axis.name().to_owned(), index, len });
            }
            let within: Vec<usize> =
                indices.iter().filter(|i| range.contains(i)).map(|i| i - range.start).collect();
            if within.is_empty() {
                return Ok(None);
            }
            own = own.of(axis, within);
        }
        let part = |value: &AnyTensor| {
            let mut part = value.clone();
            let axes = [
                (0, &strip.rows, strip.of[0]),
                (2, &strip.queries, strip.of[1]),
                (3, &strip.keys, strip.of[2]),
            ];
            for (axis, range, len) in axes {
                if part.dims().get(axis) == Some(&len) && len > 1 {
                    part = part.part(axis, range.start, range.len())?;
                }
            }
            Ok::<_, HookError>(part)
        };
        let change = match self {
            Self::Add(value) => Self::Add(part(value)?),
            Self::Set(value) => Self::Set(part(value)?),
            other => other.clone(),
        };
        Ok(Some((own, change)))
    }
}
