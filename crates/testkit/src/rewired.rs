//! A subject that is another one in all but its pass.

use std::fmt;

use mmlens_core::{Inputs, Output, Run, SiteSpec, Subject, SubjectError, forward_subject};

type Pass<'a> = dyn Fn(&Inputs, &mut Run) -> Result<Output, SubjectError> + Send + Sync + 'a;

/// Another subject with a pass of its own, and sites of its own where these are given. It does not go on from a cache, and does not generate.
pub struct Rewired<'a> {
    subject: &'a dyn Subject,
    sites: Vec<SiteSpec>,
    pass: Box<Pass<'a>>,
}

impl<'a> Rewired<'a> {
    /// The subject with another [`Subject::forward`].
    pub fn new(
        subject: &'a dyn Subject,
        pass: impl Fn(&Inputs, &mut Run) -> Result<Output, SubjectError> + Send + Sync + 'a,
    ) -> Self {
        Self { subject, sites: subject.sites().to_vec(), pass: Box::new(pass) }
    }

    /// The same with other sites.
    #[must_use]
    pub fn publishing(self, sites: Vec<SiteSpec>) -> Self {
        Self { sites, ..self }
    }
}

impl fmt::Debug for Rewired<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, rewired", self.subject.name())
    }
}

impl Subject for Rewired<'_> {
    forward_subject!(|own| own.subject; name, weights_hash, alterations, dtype, device, kernels, edited, anatomy, read_behind, weights, weight, encode,
        read_out, longest_answer, decode, token, tokens, mask, pad);

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }
    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        (self.pass)(inputs, run)
    }
}
