//! What a run of a method has at hand: the subject, who watches, how much memory, and what methods of one run share.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::case::asked;
use crate::{
    Case, Copies, Cost, HookError, Inputs, Memory, Need, Objective, Plan, Sample, Site, Subject,
    SubjectError, Target, Trace, Unwatched, Watch, top_token,
};

/// What a run of a method has at hand.
///
/// ```no_run
/// # use mmlens_core::{Analysis, Case, Memory, On, Subject, AnalysisError, Watch, finding::Finding};
/// # fn look<A: Analysis<Input = Case>>(method: &A, subject: &dyn Subject, case: &Case, bar: &dyn Watch) -> Result<Finding, AnalysisError> {
/// method.run_on(&On::new(subject).watched(bar).within(Memory::bytes(2 << 30)), case)
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct On<'a> {
    subject: &'a dyn Subject,
    watch: &'a dyn Watch,
    memory: Memory,
    shared: Option<&'a Shared>,
}

impl fmt::Debug for On<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} within {}", self.subject.name(), self.memory)
    }
}

impl<'a> On<'a> {
    /// A subject, watched by nobody, within the default budget of memory.
    pub fn new(subject: &'a dyn Subject) -> Self {
        Self { subject, watch: &Unwatched, memory: Memory::default(), shared: None }
    }

    /// The same, watched.
    #[must_use]
    pub fn watched(self, watch: &'a dyn Watch) -> Self {
        Self { watch, ..self }
    }

    /// The same with a budget of memory: what the passes of a method may take at once, beside the model.
    #[must_use]
    pub fn within(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// The same, sharing with others what does not depend on the method.
    #[must_use]
    pub fn sharing(self, shared: &'a Shared) -> Self {
        Self { shared: Some(shared), ..self }
    }

    /// What it shares with others, if it does.
    pub fn shared(&self) -> Option<&'a Shared> {
        self.shared
    }

    /// The subject.
    pub fn subject(&self) -> &'a dyn Subject {
        self.subject
    }

    /// Who watches.
    pub fn watch(&self) -> &'a dyn Watch {
        self.watch
    }

    /// The budget.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// A sample as the subject takes it; encoded once for all that share.
    ///
    /// # Errors
    /// Whatever encoding reports.
    pub fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        match self.shared {
            Some(shared) => shared.encode(self.subject, sample),
            None => encoded(self.subject, sample),
        }
    }

    /// The inputs and the objective of a case. An objective at a position of its own asks for the output at all of them; the top
    /// token takes a pass, once for all that share.
    ///
    /// # Errors
    /// Whatever encoding or the pass reports.
    pub fn open(&self, case: &Case) -> Result<(Inputs, Objective), SubjectError> {
        let inputs = self.encode(&case.sample)?;
        let objective = match (self.shared, &case.target) {
            (Some(shared), Target::Top) => {
                Objective::logit(shared.top(self.subject, &case.sample, &inputs)?)
            }
            (_, target) => target.settled(self.subject, &inputs, || top_token(self.subject, &inputs))?,
        };
        Ok((asked(inputs, &objective), objective))
    }

    /// The tokens of a phrase that a case asks to explain one by one ([`Target::Answer`]), beside all of them together.
    pub fn each(&self, case: &Case, objective: &Objective) -> Vec<Objective> {
        match case.target {
            Target::Answer { each: true, .. } => objective.by_token(),
            _ => Vec::new(),
        }
    }

    /// An objective that looks where that of a case will: which token is the likeliest, it takes no pass to say.
    ///
    /// # Errors
    /// [`SubjectError::Sample`] for an answer that the sample does not hold.
    pub fn form(&self, case: &Case, inputs: &Inputs) -> Result<Objective, SubjectError> {
        case.target.settled(self.subject, inputs, || Ok(0))
    }

    /// What one row of a case takes in a pass, with gradients at some sites: told from shapes.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`]; as [`On::form`].
    pub fn row(&self, case: &Case, inputs: &Inputs, gradients: &[Site]) -> Result<Need, SubjectError> {
        let plan = Plan::new().objective(self.form(case, inputs)?);
        let plan = gradients.iter().try_fold(plan, |plan, site| plan.grad(*site))?;
        Ok(self.subject.need(inputs, &plan, Copies::ONE)?)
    }

    /// What a case costs where it takes one pass without gradients: told from shapes.
    ///
    /// # Errors
    /// As [`On::row`]; whatever encoding reports.
    pub fn cost_of_pass(&self, case: &Case) -> Result<Cost, SubjectError> {
        let row = self.row(case, &self.encode(&case.sample)?, &[])?;
        Ok(Cost::rows(1).at_once(1, row, self.memory().budget()))
    }

    /// The unedited pass of a case: what it holds at some sites, and the value of its objective. It is made once for all that
    /// share and announced what they read of it ([`Analysis::reads`](crate::Analysis::reads)). What is read changes no bit of
    /// what is computed, so that a method alone gives the same finding.
    ///
    /// # Errors
    /// Whatever the pass reports.
    pub fn unedited(
        &self,
        case: &Case,
        (inputs, objective): (&Inputs, &Objective),
        sites: &[Site],
    ) -> Result<Trace, SubjectError> {
        match self.shared {
            Some(shared) => shared.unedited(self.subject, &case.sample, (inputs, objective), sites),
            None => self.subject.run(inputs, reading(objective, sites)?),
        }
    }
}

/// A sample as a subject takes it, with all that it holds.
fn encoded(subject: &dyn Subject, sample: &Sample) -> Result<Inputs, SubjectError> {
    let inputs = subject.encode(sample)?;
    match (&sample.reply, inputs.map().answer) {
        (Some(_), None) => {
            let reason = "it left out the answer that the sample holds".to_owned();
            Err(SubjectError::Sample { subject: subject.name().to_owned(), reason })
        }
        _ => Ok(inputs),
    }
}

fn reading(objective: &Objective, sites: &[Site]) -> Result<Plan, HookError> {
    sites.iter().try_fold(Plan::new().objective(objective), |plan, site| plan.read(*site))
}

/// What methods that are run on the same cases share: each sample encoded once, its top token, its unedited pass. It belongs to
/// one subject.
#[derive(Debug, Default)]
pub struct Shared {
    known: Mutex<Vec<Known>>,
    /// What is read of unedited passes, by any of those that share.
    announced: Mutex<Vec<Site>>,
}

/// So many samples are remembered, the latest ones.
const REMEMBERED: usize = 4;

#[derive(Debug)]
struct Known {
    sample: Sample,
    inputs: Inputs,
    top: Option<u32>,
    passes: Vec<Pass>,
}

/// An unedited pass.
#[derive(Debug)]
struct Pass {
    objective: Objective,
    sites: Vec<Site>,
    trace: Trace,
}

impl Shared {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of an unedited pass all these sites are read at once, from now on.
    pub fn announce(&self, mut sites: Vec<Site>) {
        sites.sort_unstable();
        sites.dedup();
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = sites;
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Known>) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn known<T>(&self, sample: &Sample, look: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.with(|all| all.iter_mut().find(|known| known.sample.is(sample)).map(look))
    }

    fn encode(&self, subject: &dyn Subject, sample: &Sample) -> Result<Inputs, SubjectError> {
        if let Some(inputs) = self.known(sample, |known| known.inputs.clone()) {
            return Ok(inputs);
        }
        let inputs = encoded(subject, sample)?;
        let known = Known { sample: sample.clone(), inputs: inputs.clone(), top: None, passes: Vec::new() };
        self.with(|all| {
            if all.len() >= REMEMBERED {
                all.remove(0);
            }
            all.push(known);
        });
        Ok(inputs)
    }

    fn top(&self, subject: &dyn Subject, sample: &Sample, inputs: &Inputs) -> Result<u32, SubjectError> {
        if let Some(top) = self.known(sample, |known| known.top).flatten() {
            return Ok(top);
        }
        let top = top_token(subject, inputs)?;
        self.known(sample, |known| known.top = Some(top));
        Ok(top)
    }

    fn unedited(
        &self,
        subject: &dyn Subject,
        sample: &Sample,
        (inputs, objective): (&Inputs, &Objective),
        sites: &[Site],
    ) -> Result<Trace, SubjectError> {
        let within = |some: &[Site]| sites.iter().all(|site| some.contains(site));
        let covers = |pass: &&Pass| pass.objective == *objective && within(&pass.sites);
        let held = self.known(sample, |known| known.passes.iter().find(covers).map(|p| p.trace.clone()));
        if let Some(trace) = held.flatten() {
            return Ok(trace);
        }
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sites = if within(&announced) { announced } else { sites.to_vec() };
        let trace = subject.run(inputs, reading(objective, &sites)?)?;
        let pass = Pass { objective: objective.clone(), sites, trace: trace.clone() };
        self.known(sample, |known| known.passes.push(pass));
        Ok(trace)
    }
}
