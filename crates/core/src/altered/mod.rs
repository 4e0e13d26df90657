//! A subject with standing edits: every pass has them, whoever runs it.
//!
//! ```
//! use mmlens_core::{Alteration, Altered, Change, Region, Subject};
//! # fn blind<S: Subject>(subject: S) -> Result<(), mmlens_core::HookError> {
//! let without = Alteration::new("text.blocks.1.attn.z", Region::all().heads([2]), Change::Zero)?;
//! let subject = Altered::new(subject, [without])?; // as good as any other subject, for every method
//! assert_eq!(subject.alterations(), ["text.blocks.1.attn.z[head=2]=zero"]);
//! # Ok(())
//! # }
//! ```
//!
//! | question | answer |
//! |---|---|
//! | which comes first | edits of the subject inside, then these in the order given, then those of a plan. Reads and gradients are at the value after all |
//! | rows of a batch | every row has the edits, and none looks at another: [`Change::Mean`] is that of the row, or picture, by itself; a closure is given one at a time |
//! | positions | are those of the prompt, counted without padding, whatever else is in the batch. A pass over some positions has what concerns these |
//! | pictures | `image` counts those of a row, in their order |
//! | a pass that resumes | a state holds what was edited before it, and at its own site: there nothing is edited again. What the model computes again is edited again |
//! | a site that a pass does not come to | is not missed: a model without a head is the same model to a prompt without pictures |
//! | an answer that is generated | the steps behind the prompt have the edits that name no positions of it |
//! | the logit lens | says what the model would: what [`Subject::read_out`] gives has the edits that stand there, of logits or in the shared space. With an edit on the way, as of `final_norm`, it is refused |
//! | equations of sites | hold before the edit at a site, and not after it: [`Subject::edited`] lists such sites |
//!
//! What has no meaning in a pass is refused there ([`HookError::Standing`]): a picture or a position that the input does not have, a value for
//! the positions of another prompt. Name and weights stay those of the subject inside; [`Subject::alterations`] tells the edits.

mod alteration;
mod answering;
mod directions;
mod grammar;
mod local;

use std::collections::BTreeSet;
use std::fmt;

use burn::tensor::Tensor;

use crate::change::apply;
use crate::plan::{Stood, known};
use crate::{
    AnyTensor, Copies, Generated, Generation, Generator, HookError, Inputs, Need, Output, Part, Plan, Point,
    Run, Session, Site, SiteSpec, Subject, SubjectError, Trace, forward_subject, kind,
};

pub use alteration::Alteration;
pub use directions::orthonormal;
pub use grammar::{AlterationError, AlterationFault};

use answering::Answering;
use local::{Pass, Standing};

/// A subject that holds another and edits that stand.
pub struct Altered<S> {
    inner: S,
    standing: Vec<Standing>,
    alterations: Vec<String>,
    edited: Vec<Site>,
}

impl<S: Subject> Altered<S> {
    /// The subject with these edits, in this order. Without any it is the same to the last bit.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`], [`HookError::NoAxis`] and [`HookError::Index`] for places that the subject does not have,
    /// [`HookError::NoMean`], [`HookError::Standing`].
    pub fn new(inner: S, alterations: impl IntoIterator<Item = Alteration>) -> Result<Self, HookError> {
        let mut names = inner.alterations().to_vec();
        let mut standing = Vec::new();
        for alteration in alterations {
            for site in alteration.places().resolve(inner.name(), inner.sites())? {
                standing.push(Standing::new(SiteSpec::among(inner.sites(), site)?, &alteration)?);
            }
            names.push(alteration.to_string());
        }
        let own = standing.iter().map(Standing::site);
        let edited: BTreeSet<Site> = inner.edited().iter().copied().chain(own).collect();
        Ok(Self { inner, standing, alterations: names, edited: edited.into_iter().collect() })
    }

    /// The subject inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The edits as a pass makes them.
    fn local(&self, pass: &Pass<'_>) -> Result<Vec<Stood>, HookError> {
        let apart = self.inner.anatomy().iter().any(|anatomy| anatomy.part == Part::Encoder);
        let mut local = Vec::new();
        for standing in &self.standing {
            local.extend(standing.local(pass, apart)?);
        }
        Ok(local)
    }

    /// Whether a site of a part lies on the way from the stream that leaves its last block to what it gives. What a tower adds
    /// to that stream lies on the way into it.
    fn lies_behind(&self, part: Part, site: Site) -> bool {
        let last = kind::blocks(&self.inner, part).checked_sub(1);
        let last = last.map(|block| Site::block(part, block, Point::ResidPost));
        site.part() == part && last.is_none_or(|last| site > last) && site.point() != Point::Deepstack
    }

    /// A plan of a pass over some inputs, with these edits.
    fn under(&self, inputs: &Inputs, plan: Plan) -> Result<Plan, HookError> {
        let local = self.local(&Pass::Over { inputs, from: plan.known() })?;
        Ok(plan.upon(local))
    }
}

impl<S: Subject> fmt::Debug for Altered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Altered").field("name", &self.inner.name()).field("edits", &self.alterations).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Subject> Subject for Altered<S> {
    forward_subject!(|own| &own.inner; name, weights_hash, dtype, device, kernels, differentiable, sites, anatomy, read_behind, weights, weight, encode,
        dims, fits,
        longest_answer, rules, decode, token, tokens, mask, pad);

    fn alterations(&self) -> &[String] {
        &self.alterations
    }

    fn edited(&self) -> &[Site] {
        &self.edited
    }

    fn resumes_from_suffix(&self) -> bool {
        self.inner.resumes_from_suffix() && self.standing.iter().all(Standing::resumes_from_suffix)
    }

    fn need(&self, inputs: &Inputs, plan: &Plan, copies: Copies) -> Result<Need, HookError> {
        self.inner.need(inputs, &self.under(inputs, plan.clone())?, copies)
    }

    fn run(&self, inputs: &Inputs, plan: Plan) -> Result<Trace, SubjectError> {
        inputs.some()?;
        self.inner.run(inputs, self.under(inputs, plan)?)
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let local = self.local(&Pass::Over { inputs, from: known(run.past()) })?;
        run.stand(local, self.inner.sites())?;
        self.inner.forward(inputs, run)
    }

    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        let Ok(space) = kind::reads_out(&self.inner, part) else {
            return self.inner.read_out(part, states);
        };
        let end = space.site(part);
        let behind = self.standing.iter().filter(|own| self.lies_behind(part, own.site()));
        let (said, between): (Vec<_>, Vec<_>) = behind.partition(|own| own.site() == end);
        let refused = |own: &Standing, why: &str| {
            let reason = format!("`{}` {why}", own.words());
            SubjectError::NoReadOut { subject: self.inner.name().to_owned(), part, reason }
        };
        if let Some(own) = between.first() {
            return Err(refused(own, &format!("stands between its last block and `{end}`")));
        }
        if let Some(own) = said.iter().find(|own| !own.is_alike()) {
            return Err(refused(own, "is made at some positions or pictures, and a state is at none"));
        }
        let mut given = self.inner.read_out(part, states)?;
        for own in said {
            let change = |x| apply(own.spec(), x, own.region(), own.change(), None, None);
            given = match own.spec().rank() {
                // Of what has positions, one.
                3 => {
                    let rows: Tensor<2> = given.rank_of(end)?;
                    change(rows.unsqueeze_dim::<3>(1).into())?.rank_of::<3>(end)?.squeeze_dim::<2>(1).into()
                }
                _ => change(given)?,
            };
        }
        Ok(given)
    }

    fn generate(&self, inputs: &Inputs, how: &Generation) -> Result<Vec<Generated>, SubjectError> {
        Ok(Generator::new(how).write(self, inputs)?.0)
    }

    fn begin(&self, inputs: &Inputs, plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        inputs.some()?;
        let prompt = inputs.clone().last_logits();
        let local = self.local(&Pass::Over { inputs: &prompt, from: 0 })?;
        let inner = self.inner.begin(inputs, plan.upon(local))?;
        Ok(Box::new(Answering { subject: self, inner, pads: inputs.pads.clone() }))
    }
}
