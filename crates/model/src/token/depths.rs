//! The stream of the language model at some positions, before the first block and behind blocks.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use mmlens_core::finding::{Axis, Role};
use mmlens_core::{
    AnalysisError, AnyTensor, Card, Copies, HookError, Inputs, On, Part, Plan, Point, Site, SiteSpec, kind,
};
use mmlens_engine::{Indices, Positions, label, one_row, states_at};

/// Which states are looked at.
pub(crate) struct Depths {
    /// Before block 0, then behind the blocks that were chosen.
    pub(crate) sites: Vec<Site>,
    /// The positions looked at.
    pub(crate) places: Vec<usize>,
    /// What they are.
    pub(crate) tokens: Axis,
    pub(crate) width: usize,
}

impl Depths {
    /// Of the positions asked for, or those that show pictures, or where none does, words.
    pub(crate) fn of(
        card: &Card,
        on: &On<'_>,
        inputs: &Inputs,
        (positions, layers): (Option<&Positions>, &Indices),
    ) -> Result<(Self, Positions), AnalysisError> {
        let (subject, map) = (on.subject(), one_row(card.id, inputs)?);
        let has = |positions: &Positions| positions.of(map).is_ok_and(|found| !found.is_empty());
        let shown = [Positions::Pictures, Positions::Recordings].into_iter().find(has);
        let other = shown.unwrap_or(Positions::Words);
        let positions = positions.cloned().unwrap_or(other);
        let places = positions.chosen(card.id, map)?;
        let layers = layers.chosen(card.id, "layers", kind::blocks(subject, Part::Text))?;
        let first = Site::block(Part::Text, 0, Point::ResidPre);
        let behind = layers.iter().map(|layer| Site::block(Part::Text, *layer, Point::ResidPost));
        let spec = SiteSpec::among(subject.sites(), first)?;
        let width = subject.dims(inputs, spec.site)?.last().copied().unwrap_or(0);
        let sites = std::iter::once(first).chain(behind).collect();
        let tokens = label::token_axis_at(map, &places);
        Ok((Self { sites, places, tokens, width }, positions))
    }

    /// What the depths are called.
    pub(crate) fn axis(&self) -> Axis {
        Axis::names(Role::Layer, self.sites.iter().map(|site| called(*site)))
    }

    /// How many depths fit into a quarter of the memory, `copies` numbers for each that a state has.
    pub(crate) fn at_once(&self, on: &On<'_>, copies: usize) -> NonZeroUsize {
        let of_one = (4 * copies * self.places.len() * self.width).max(1) as u64;
        let fit = (on.memory().left() / 4 / of_one).min(self.sites.len() as u64);
        NonZeroUsize::new(fit as usize).unwrap_or(NonZeroUsize::MIN)
    }

    /// The states at some depths, `[depth, place, width]`: one pass, which keeps no others.
    pub(crate) fn states(
        &self,
        card: &Card,
        on: &On<'_>,
        inputs: &Inputs,
        sites: &[Site],
    ) -> Result<(Vec<f32>, AnyTensor), AnalysisError> {
        let (subject, kept) = (on.subject(), Kept::default());
        let mut plan = Plan::new();
        for &site in sites {
            let (kept, places) = (kept.clone(), self.places.clone());
            plan = plan.edit(site, move |x| {
                let own = states_at(&x, &places)?;
                kept.lock().unwrap_or_else(PoisonError::into_inner).insert(site, own);
                Ok(x)
            })?;
        }
        // A pass ends where nothing more is read.
        if let Some(last) = sites.iter().max() {
            plan = plan.read(*last)?;
        }
        let held = 4 * (sites.len() * self.places.len() * self.width) as u64;
        on.memory().hold(card.id, held, subject.need(inputs, &plan, Copies::ONE)?)?;
        drop(subject.run(inputs, plan)?);
        let mut kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut all, mut like) = (Vec::with_capacity(held as usize / 4), None);
        for site in sites {
            let own = kept.remove(site).ok_or(HookError::NotRead(*site))?;
            all.extend(own.finite_values(*site)?);
            like = Some(own);
        }
        let none = HookError::NotRead(Site::block(Part::Text, 0, Point::ResidPre));
        Ok((all, like.ok_or(none)?))
    }
}

type Kept = Arc<Mutex<BTreeMap<Site, AnyTensor>>>;

/// What a depth is called.
pub(crate) fn called(site: Site) -> String {
    match (site.point(), site.block_index()) {
        (Point::ResidPost, Some(block)) => format!("after block {block}"),
        (Point::ResidPre, Some(0)) | (Point::Input, None) => "before block 0".to_owned(),
        _ => site.to_string(),
    }
}
