//! A subject that is another one in all but its pass.

use std::fmt;

use mmlens_core::{Anatomy, AnyTensor, Inputs, Output, Run, Sample, SiteSpec, Subject, SubjectError};

type Pass<'a> = dyn Fn(&Inputs, &mut Run) -> Result<Output, SubjectError> + Send + Sync + 'a;

/// Another subject with a pass of its own, and sites of its own where these are given. It does not go on from a cache.
pub struct Altered<'a> {
    subject: &'a dyn Subject,
    sites: Vec<SiteSpec>,
    pass: Box<Pass<'a>>,
}

impl<'a> Altered<'a> {
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

impl fmt::Debug for Altered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, altered", self.subject.name())
    }
}

impl Subject for Altered<'_> {
    fn name(&self) -> &str {
        self.subject.name()
    }
    fn weights_hash(&self) -> String {
        self.subject.weights_hash()
    }
    fn device(&self) -> String {
        self.subject.device()
    }
    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }
    fn anatomy(&self) -> &[Anatomy] {
        self.subject.anatomy()
    }
    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        self.subject.encode(sample)
    }
    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        (self.pass)(inputs, run)
    }
    fn unembed(&self, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        self.subject.unembed(states)
    }
    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        self.subject.decode(ids)
    }
    fn token(&self, id: u32) -> String {
        self.subject.token(id)
    }
    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        self.subject.tokens(text)
    }
}
