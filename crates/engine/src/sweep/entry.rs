//! Where the passes of a sweep begin, and what variants that begin at one place share.

use std::collections::BTreeSet;

use mmlens_core::{AxisName, HookError, Inputs, Part, Plan, Point, Region, Site, SiteSpec, State, Trace};

/// Where a variant departs from the unedited pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// Nowhere, or at a site whose rows do not belong to one variant each: by itself, from the input.
    Alone,
    /// At the input of a tower or in it: every variant has pictures and recordings of its own.
    Entries,
    /// At what a tower is given, which is another: every variant has its own in the places of some entries, and shares the rest.
    Shown,
    /// At the input of the language model: the variants share their pictures and recordings.
    Input,
    /// In a block, whose state before it is kept.
    Block(Part, usize),
}

impl Entry {
    /// From the first site that is touched, or looked at. `edited`: sites with standing edits. Where there is one at the first block,
    /// what enters the decoder is another value than what that block has.
    pub(super) fn of(
        touched: &BTreeSet<Site>,
        looked: &BTreeSet<Site>,
        published: &[SiteSpec],
        edited: &[Site],
    ) -> Self {
        let (false, Some(&site)) = (touched.is_empty(), touched.iter().chain(looked).min()) else {
            return Self::Alone;
        };
        let block = |part, block: usize| {
            let before = Site::block(part, block, Point::ResidPre);
            published.iter().any(|s| s.site == before && row_axis(s).is_some())
        };
        match (site.part(), site.block_index()) {
            (part @ (Part::Text | Part::Vision | Part::Audio), Some(i)) if block(part, i) => {
                Self::Block(part, i)
            }
            (Part::Vision | Part::Connector | Part::Audio, _) => Self::Entries,
            // What enters the decoder enters its first block, where pictures are in their places already.
            (Part::Text, None)
                if site == ENTERED
                    && block(Part::Text, 0)
                    && !touched.contains(&FIRST)
                    && !looked.contains(&ENTERED)
                    && !edited.contains(&FIRST) =>
            {
                Self::Block(Part::Text, 0)
            }
            // After the last block: its state is the cheapest place to resume.
            (Part::Text, None) if !site.before_blocks() => {
                let last = published.iter().filter(|s| s.site.part() == Part::Text);
                match last.filter_map(|s| s.site.block_index()).max() {
                    Some(i) if block(Part::Text, i) => Self::Block(Part::Text, i),
                    _ => Self::Input,
                }
            }
            _ => Self::Input,
        }
    }

    /// Where an edit is made in a pass that starts here.
    pub(super) fn place(self, site: Site) -> Site {
        if self == Self::Block(Part::Text, 0) && site == ENTERED { FIRST } else { site }
    }
}

/// What enters the decoder, and the same as its first block has it.
pub(super) const ENTERED: Site = Site::of(Part::Text, Point::Input);
pub(super) const FIRST: Site = Site::block(Part::Text, 0, Point::ResidPre);

/// The axis along which copies are packed.
pub(super) fn row_axis(spec: &SiteSpec) -> Option<AxisName> {
    let first = spec.axes.first()?;
    ((first.0 == AxisName::Batch || first.0.tower().is_some()) && first.1.is_none()).then_some(first.0)
}

pub(super) fn base_plan<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<Plan, HookError> {
    let mut plan = Plan::new();
    for entry in entries {
        if let Entry::Block(part, block) = entry {
            plan = plan.read(Site::block(*part, *block, Point::ResidPre))?;
        }
    }
    Ok(plan)
}

/// Inputs and state that all variants of a group share.
pub(super) struct Start<'a> {
    inputs: &'a Inputs,
    pub(super) own_entries: bool,
    state: Option<State>,
}

impl<'a> Start<'a> {
    pub(super) fn new(entry: Entry, inputs: &'a Inputs, base: &Trace) -> Result<Self, HookError> {
        Ok(match entry {
            Entry::Alone | Entry::Input => Self { inputs, own_entries: false, state: None },
            Entry::Entries | Entry::Shown => Self { inputs, own_entries: true, state: None },
            Entry::Block(part, block) => {
                Self { inputs, own_entries: part.entrance().is_some(), state: Some(base.state(part, block)?) }
            }
        })
    }

    pub(super) fn copies(&self, times: usize) -> Result<(Inputs, Plan), HookError> {
        let packed = match self.own_entries {
            true => self.inputs.repeat_entries(times)?,
            false => self.inputs.repeat(times),
        };
        let plan = match &self.state {
            None => Plan::new(),
            Some(State { site, hidden }) => {
                Plan::new().resume(State { site: *site, hidden: hidden.repeat_rows(times)? })
            }
        };
        Ok((packed, plan))
    }
}

/// The rows of a copy of some inputs: its prompt, or its pictures or recordings.
pub(super) fn of_copy(spec: &SiteSpec, region: &Region, copy: usize, inputs: &Inputs) -> Region {
    let Some(axis) = row_axis(spec) else { return region.clone() };
    match axis.tower().and_then(|tower| inputs.entries(tower)) {
        None => region.clone().rows([copy]),
        Some(own) => {
            let own = own.len();
            let named = region.indices(axis).map_or_else(|| (0..own).collect(), <[_]>::to_vec);
            region.clone().of(axis, named.into_iter().map(|entry| copy * own + entry))
        }
    }
}
