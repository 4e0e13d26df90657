//! Where the passes of a sweep begin, and what variants that begin at one place share.

use std::collections::BTreeSet;

use mmlens_core::{AxisName, HookError, Inputs, Part, Plan, Point, Region, Site, SiteSpec, State, Trace};

/// Where a variant departs from the unedited pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// Nowhere, or at a site whose rows do not belong to one variant each: by itself, from the input.
    Alone,
    /// At the input of the tower or in it: every variant has pictures of its own.
    Pictures,
    /// At the pixels, which are others: every variant has its own in the places of some pictures, and shares the rest.
    Shown,
    /// At the input of the language model: the variants share their pictures.
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
            (part @ (Part::Text | Part::Vision), Some(i)) if block(part, i) => Self::Block(part, i),
            (Part::Vision | Part::Connector | Part::Audio, _) => Self::Pictures,
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

/// What enters the tower.
pub(super) const PIXELS: Site = Site::of(Part::Vision, Point::Pixels);

/// What enters the decoder, and the same as its first block has it.
pub(super) const ENTERED: Site = Site::of(Part::Text, Point::Input);
pub(super) const FIRST: Site = Site::block(Part::Text, 0, Point::ResidPre);

/// The axis along which copies are packed.
pub(super) fn row_axis(spec: &SiteSpec) -> Option<AxisName> {
    let first = spec.axes.first()?;
    (matches!(first.0, AxisName::Batch | AxisName::Image) && first.1.is_none()).then_some(first.0)
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
    pub(super) own_pictures: bool,
    state: Option<State>,
}

impl<'a> Start<'a> {
    pub(super) fn new(entry: Entry, inputs: &'a Inputs, base: &Trace) -> Result<Self, HookError> {
        Ok(match entry {
            Entry::Alone | Entry::Input => Self { inputs, own_pictures: false, state: None },
            Entry::Pictures | Entry::Shown => Self { inputs, own_pictures: true, state: None },
            Entry::Block(part, block) => {
                Self { inputs, own_pictures: part == Part::Vision, state: Some(base.state(part, block)?) }
            }
        })
    }

    pub(super) fn copies(&self, times: usize) -> Result<(Inputs, Plan), HookError> {
        let packed = match self.own_pictures {
            true => self.inputs.repeat_pictures(times)?,
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

/// The rows of a copy: its prompt, or its pictures.
pub(super) fn of_copy(spec: &SiteSpec, region: &Region, copy: usize, pictures: usize) -> Region {
    match row_axis(spec) {
        Some(AxisName::Batch) => region.clone().rows([copy]),
        Some(AxisName::Image) => {
            let named =
                region.indices(AxisName::Image).map_or_else(|| (0..pictures).collect(), <[_]>::to_vec);
            region.clone().of(AxisName::Image, named.into_iter().map(|image| copy * pictures + image))
        }
        _ => region.clone(),
    }
}
