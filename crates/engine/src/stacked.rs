//! Copies of one case in a pass that goes on in a part: rows of a prompt, or pictures and recordings of their own before a tower.

use std::num::NonZeroUsize;

use mmlens_core::{AnyTensor, AxisName, Copies, HookError, Inputs, Memory, Part, Region};

/// How copies of one case of one row lie beside one another at the sites of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stacked {
    /// Of a tower: the axis of its entries, and how many a copy has.
    entries: Option<(AxisName, usize)>,
    /// Whether all entries are one sequence, in which copies have no axis of their own.
    packed: bool,
}

impl Stacked {
    /// Of a part in passes over these inputs.
    pub fn of(inputs: &Inputs, part: Part) -> Self {
        let axis = if part == Part::Audio { AxisName::Clip } else { AxisName::Image };
        let own = inputs.entries(part);
        Self {
            entries: own.map(|own| (axis, own.len())),
            packed: own.is_some_and(|own| !own.grids.is_empty()),
        }
    }

    /// The memory of a pass: of a tower that packs its entries, for one copy.
    pub fn within(self, memory: Memory) -> Memory {
        if self.packed { memory.at_most(NonZeroUsize::MIN) } else { memory }
    }

    /// So many, as memory counts them.
    pub fn copies(self, times: usize) -> Copies {
        if self.entries.is_some() { Copies::entries(times) } else { Copies::rows(times) }
    }

    /// The inputs, so many times.
    ///
    /// # Errors
    /// [`HookError::Values`] for what a tower is given, if it cannot be repeated.
    pub fn inputs(self, inputs: &Inputs, times: usize) -> Result<Inputs, HookError> {
        if self.entries.is_some() { inputs.repeat_entries(times) } else { Ok(inputs.repeat(times)) }
    }

    /// Where a copy lies at a site of the part.
    pub fn region(self, copy: usize) -> Region {
        match self.entries {
            None => Region::all().rows([copy]),
            Some(_) if self.packed => Region::all(),
            Some((axis, own)) => Region::all().of(axis, copy * own..(copy + 1) * own),
        }
    }

    /// What one copy holds, to be set in each of so many.
    ///
    /// # Errors
    /// [`HookError::Values`] for a value that cannot be repeated.
    pub fn in_each(self, value: &AnyTensor, times: usize) -> Result<AnyTensor, HookError> {
        // A value of one row or entry stands for all of them.
        match self.entries {
            Some((_, own)) if own > 1 && !self.packed => value.repeat_rows(times),
            _ => Ok(value.clone()),
        }
    }

    /// What a copy holds, of a value for all of them.
    ///
    /// # Errors
    /// [`HookError::Values`] for a copy that is not there.
    pub fn of_copy(self, value: &AnyTensor, copy: usize) -> Result<AnyTensor, HookError> {
        match self.entries {
            Some(_) if self.packed => Ok(value.clone()),
            own => {
                let own = own.map_or(1, |(_, own)| own);
                value.rows(copy * own, own)
            }
        }
    }
}
