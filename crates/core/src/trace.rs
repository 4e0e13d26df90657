//! What a pass brought back.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::{AnyTensor, HookError, Output, Part, Point, Site, State};

/// What a pass brought back.
#[derive(Debug, Clone)]
pub struct Trace {
    pub(crate) taken: BTreeMap<Site, AnyTensor>,
    pub(crate) grads: BTreeMap<Site, AnyTensor>,
    pub(crate) scores: Option<Vec<f32>>,
    pub(crate) output: Output,
}

impl Trace {
    /// The value read at a site.
    ///
    /// # Errors
    /// [`HookError::NotRead`] if the plan did not ask for it.
    pub fn get(&self, site: Site) -> Result<&AnyTensor, HookError> {
        self.taken.get(&site).ok_or(HookError::NotRead(site))
    }

    /// The value read at a site, at a rank.
    ///
    /// # Errors
    /// [`HookError::NotRead`], or [`HookError::Rank`] if the site has another.
    pub fn tensor<const D: usize>(&self, site: Site) -> Result<Tensor<D>, HookError> {
        self.get(site)?.clone().rank_of(site)
    }

    /// The gradient of the objective, summed over the batch, at a site. Rows do not mix, so each row of the gradient
    /// is that row's own.
    ///
    /// # Errors
    /// [`HookError::NoGradient`] if the plan did not ask for it.
    pub fn grad(&self, site: Site) -> Result<&AnyTensor, HookError> {
        self.grads.get(&site).ok_or(HookError::NoGradient(site))
    }

    /// Everything read, in the order of a pass.
    pub fn values(&self) -> impl Iterator<Item = (Site, &AnyTensor)> {
        self.taken.iter().map(|(site, x)| (*site, x))
    }

    /// Every gradient taken, in the order of a pass.
    pub fn grads(&self) -> impl Iterator<Item = (Site, &AnyTensor)> {
        self.grads.iter().map(|(site, x)| (*site, x))
    }

    /// The objective for each row of the batch.
    ///
    /// # Errors
    /// [`HookError::NoObjective`] if the plan named none.
    pub fn scores(&self) -> Result<&[f32], HookError> {
        self.scores.as_deref().ok_or(HookError::NoObjective)
    }

    /// The output, as far as the pass went.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The state entering a block, if its `resid_pre` was read: where a later pass can resume.
    ///
    /// # Errors
    /// [`HookError::NotRead`] if it was not.
    pub fn state(&self, part: Part, block: usize) -> Result<State, HookError> {
        let site = Site::block(part, block, Point::ResidPre);
        Ok(State { site, hidden: self.get(site)?.clone() })
    }
}
