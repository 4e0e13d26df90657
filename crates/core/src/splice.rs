//! What a decorator computes right behind a site of the model it holds: places of its own, through which the value goes on.

use std::fmt;
use std::sync::Arc;

use crate::{AnyTensor, HookError, Run, Site, SiteSpec};

/// Passes what a site holds through places of one's own, and gives what goes on.
type SpliceFn = Arc<dyn Fn(&mut Run, AnyTensor) -> Result<AnyTensor, HookError> + Send + Sync>;

/// Places behind a site that a model does not know of. They are computed if something is planned at one of them, after all that is
/// planned at the site itself; else the value goes on as it is.
///
/// A decorator hands them over with the plan ([`Plan::splice`](crate::Plan::splice)), and publishes [`Splice::among`] its sites.
#[derive(Clone)]
pub struct Splice {
    behind: Site,
    specs: Vec<SiteSpec>,
    compute: SpliceFn,
}

impl fmt::Debug for Splice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own: Vec<String> = self.specs.iter().map(|spec| spec.site.to_string()).collect();
        write!(f, "{} behind {}", own.join(", "), self.behind)
    }
}

impl Splice {
    /// These places behind a site. `compute` calls [`Run::at`] once at each of them that is wanted, in their order, and gives a value of
    /// the same shape.
    pub fn new(
        behind: Site,
        specs: Vec<SiteSpec>,
        compute: impl Fn(&mut Run, AnyTensor) -> Result<AnyTensor, HookError> + Send + Sync + 'static,
    ) -> Self {
        Self { behind, specs, compute: Arc::new(compute) }
    }

    /// The site.
    pub fn behind(&self) -> Site {
        self.behind
    }

    /// The places.
    pub fn specs(&self) -> &[SiteSpec] {
        &self.specs
    }

    /// Published sites with the places of some splices, each behind its site.
    pub fn among(published: &[SiteSpec], splices: &[Self]) -> Vec<SiteSpec> {
        let known = |spec: &&SiteSpec| !published.iter().any(|other| other.site == spec.site);
        let mut all = Vec::with_capacity(published.len());
        for spec in published {
            all.push(spec.clone());
            let own = splices.iter().filter(|splice| splice.behind == spec.site);
            all.extend(own.flat_map(|splice| &splice.specs).filter(known).cloned());
        }
        all
    }

    pub(crate) fn compute(&self, run: &mut Run, x: AnyTensor) -> Result<AnyTensor, HookError> {
        (self.compute)(run, x)
    }
}
