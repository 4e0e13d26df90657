//! The model under study, behind one object-safe trait.

use serde::Serialize;

use crate::{
    AnyTensor, Copies, Generated, Generation, Generator, HookError, Inputs, LogitSelection, LogitsAt, Need,
    Objective, Output, Part, Place, Plan, Position, Rules, Run, Sample, Session, SessionError, Site,
    SiteSpec, Trace, WeightSpec, kind, memory,
};

/// What a subject cannot do, or could not.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// A plan that cannot be carried out.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Tokens that a session cannot take, or rows and steps it does not have.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A picture that cannot be read.
    #[error("{path}: {reason}")]
    Picture {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A sample this subject cannot take.
    #[error("`{subject}` cannot take this sample: {reason}")]
    Sample {
        /// The subject.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A batch whose parts do not belong together.
    #[error("the batch does not fit together: {reason}")]
    Batch {
        /// What does not fit.
        reason: String,
    },
    /// Work that broke off in the middle: a device that died, a user's edit or a model that panicked.
    #[error("`{subject}` on {device} broke off {place}: {reason}")]
    Broken {
        /// The subject.
        subject: String,
        /// The kind of its device.
        device: String,
        /// Where it was.
        place: Place,
        /// What it said last.
        reason: String,
    },
    /// Text that cannot be generated as the checkpoint asks for it.
    #[error("`{subject}` cannot generate: {reason}")]
    Generation {
        /// The subject.
        subject: String,
        /// What is in the way.
        reason: String,
    },
    /// A pass that takes more memory than the machine has left.
    #[error(
        "a pass of `{subject}` takes up to {}, most of it at `{at}`, and {} are left: give it fewer positions, pictures or rows",
        memory::size(*need), memory::size(*left)
    )]
    Memory {
        /// The subject.
        subject: String,
        /// Bytes that the pass takes at most.
        need: u64,
        /// Where most of them are taken.
        at: Site,
        /// Bytes this process can still take.
        left: u64,
    },
    /// A weight that the subject does not publish.
    #[error("`{subject}` publishes no weight `{asked}`{}", crate::error::suggestion(nearest))]
    NoWeight {
        /// The subject.
        subject: String,
        /// What was asked for.
        asked: String,
        /// The closest weight it has.
        nearest: Option<String>,
    },
    /// A case that a data set does not have.
    #[error("`{data}` has no case {index}: it has {len}")]
    NoCase {
        /// The data set.
        data: String,
        /// What was asked for.
        index: usize,
        /// Cases there are.
        len: usize,
    },
    /// Labels or groups that are none of a data set.
    #[error("labels of `{data}`: {reason}")]
    Annotation {
        /// The data set.
        data: String,
        /// What was found, and what is expected.
        reason: String,
    },
    /// States that cannot be read out by themselves.
    #[error("`{subject}` cannot read out states of its part `{}`: {reason}", part.name())]
    NoReadOut {
        /// The subject.
        subject: String,
        /// The part whose states they are.
        part: Part,
        /// Why not.
        reason: String,
    },
    /// Something this subject does not offer.
    #[error("`{subject}` does not offer {what}")]
    Unsupported {
        /// The subject.
        subject: String,
        /// What was asked.
        what: String,
    },
}

impl SubjectError {
    /// What a panic in the middle of a subject's work said, as an error.
    pub fn broken<S: Subject + ?Sized>(subject: &S, place: Place, reason: String) -> Self {
        Self::Broken { subject: subject.name().to_owned(), device: subject.device(), place, reason }
    }

    /// That states of a part cannot be read out: for want of an output of the part, or of a subject that offers it.
    pub fn no_read_out<S: Subject + ?Sized>(subject: &S, part: Part) -> Self {
        let reason = kind::reads_out(subject, part).err().unwrap_or("it does not offer that");
        Self::NoReadOut { subject: subject.name().to_owned(), part, reason: reason.to_owned() }
    }

    /// That a subject publishes no weight of a name.
    pub fn no_weight<S: Subject + ?Sized>(subject: &S, asked: &str) -> Self {
        let names = subject.weights().iter().map(|spec| &spec.name);
        let nearest = crate::site::closest(asked, names);
        Self::NoWeight { subject: subject.name().to_owned(), asked: asked.to_owned(), nearest }
    }
}

/// Sizes of one part of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anatomy {
    /// Which part.
    pub part: Part,
    /// Number of blocks.
    pub blocks: usize,
    /// Query heads in each block.
    pub heads: usize,
    /// Key and value heads in each block.
    pub kv_heads: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Neurons in each MLP.
    pub d_mlp: usize,
    /// Positions it was made for, where it takes more all the same (rotary positions go on behind them); `None` where more are refused, or
    /// nothing is said.
    pub made_for: Option<usize>,
}

/// A model that can be opened up. Object-safe: every analysis holds a `&dyn Subject`.
pub trait Subject: Send + Sync {
    /// What it is called.
    fn name(&self) -> &str;

    /// Hash of the weights, so that a finding says of which model it speaks.
    fn weights_hash(&self) -> String;

    /// What was changed in it since it was published; nothing, for a model as loaded.
    fn alterations(&self) -> &[String] {
        &[]
    }

    /// Precision of its computation.
    fn dtype(&self) -> String {
        "f32".to_owned()
    }

    /// The kind of device it computes on.
    fn device(&self) -> String;

    /// The path of the kernels it computes with, where there are several that differ in the last digits.
    fn kernels(&self) -> Option<String> {
        None
    }

    /// Whether gradients can be taken at its sites.
    fn differentiable(&self) -> bool {
        true
    }

    /// The sites at which it has standing edits, in the order of a pass: what is said of a site by an equation
    /// holds there before the edit, and not after it.
    fn edited(&self) -> &[Site] {
        &[]
    }

    /// Every site, in the order of a pass.
    fn sites(&self) -> &[SiteSpec];

    /// The sizes of its parts.
    fn anatomy(&self) -> &[Anatomy];

    /// Behind how many of its blocks the stream of a part is read from outside, ascending: behind all of them, unless it says otherwise. A LLaVA
    /// reads its tower behind the last block but one, and others at several depths. Blocks behind the last of these reach no answer.
    fn read_behind(&self, part: Part) -> Vec<usize> {
        self.anatomy().iter().filter(|own| own.part == part).map(|own| own.blocks).collect()
    }

    /// The weights it shows, by name; none, for a model that shows none. Those of an altered subject are those of the model as loaded.
    fn weights(&self) -> &[WeightSpec] {
        &[]
    }

    /// A weight of [`Subject::weights`], with the axes published there. It is the stored tensor seen in that shape, and no copy.
    ///
    /// # Errors
    /// [`SubjectError::NoWeight`] for a name that is not published.
    fn weight(&self, name: &str) -> Result<AnyTensor, SubjectError> {
        Err(SubjectError::no_weight(self, name))
    }

    /// A sample as the model takes it, with its token map; an answer that it holds stands behind the prompt
    /// ([`Inputs::answered`]), or is refused ([`Sample::unanswered`]).
    ///
    /// # Errors
    /// [`SubjectError::Sample`] if it cannot take it: too many pictures, an empty prompt.
    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError>;

    /// One pass. A site is passed to [`Run::at`] once, in the order of [`Subject::sites`].
    ///
    /// # Errors
    /// Whatever a site reports, or inputs the model cannot take.
    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError>;

    /// Whether its language model goes on from some positions alone ([`Plan::resume_behind`]): what a position holds must
    /// not depend on those behind it, and `attn.k_rot` (or `attn.k`, where there is none) and `attn.v` be what attention reads.
    fn resumes_from_suffix(&self) -> bool {
        false
    }

    /// What a pass takes at most, told before it is made: from the published shapes, for so many copies of the inputs.
    ///
    /// # Errors
    /// A plan that cannot be carried out.
    fn need(&self, inputs: &Inputs, plan: &Plan, copies: Copies) -> Result<Need, HookError> {
        let run = Run::start(plan.clone(), self.name(), self.sites())?;
        run.planned((self.anatomy(), self.sites()), self.device() == "flex", inputs, copies).need()
    }

    /// The lengths that a site has in a pass over these inputs.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`] for a site that is not published.
    fn dims(&self, inputs: &Inputs, site: Site) -> Result<Vec<usize>, HookError> {
        crate::Selector::from(site).resolve(self.name(), self.sites())?;
        Run::idle().planned((self.anatomy(), self.sites()), true, inputs, Copies::ONE).dims(site)
    }

    /// Refuses a run that would take more memory than the machine has left.
    ///
    /// # Errors
    /// [`SubjectError::Memory`].
    fn fits(&self, inputs: &Inputs, run: &Run) -> Result<(), SubjectError> {
        let fused = self.device() == "flex";
        let need = run.planned((self.anatomy(), self.sites()), fused, inputs, Copies::ONE).need()?;
        let subject = || self.name().to_owned();
        match memory::lacking(need.bytes) {
            Some(left) => {
                Err(SubjectError::Memory { subject: subject(), need: need.bytes, at: need.at, left })
            }
            None => Ok(()),
        }
    }

    /// Carries out a plan: checked before, complete after, or an error.
    ///
    /// # Errors
    /// [`HookError`]; [`SubjectError::Memory`] for what is too large for this machine, before it is begun;
    /// [`SubjectError::Broken`], with the site the pass had come to, for a panic in the model, in an edit or of a device that
    /// died. The subject can be run again.
    fn run(&self, inputs: &Inputs, plan: Plan) -> Result<Trace, SubjectError> {
        inputs.some()?;
        let wanted = plan.wanted.as_ref().map_or(&[][..], LogitSelection::read_at);
        let own = plan.objective.as_ref().map(Objective::read_at).unwrap_or_default();
        let asks = own.into_iter().chain(wanted.iter().copied());
        let early =
            asks.filter_map(|at| if let Position::At(position) = at { Some(position) } else { None }).next();
        if let (LogitsAt::Last, Some(position)) = (inputs.logits_at, early) {
            let reason = format!(
                "the objective looks at position {position}, but the output is asked for at the last alone"
            );
            return Err(SubjectError::Batch { reason });
        }
        let run = Run::start(plan, self.name(), self.sites())?.over(inputs);
        self.fits(inputs, &run)?;
        crate::among_threads(&self.device(), || run.carry_out(self, |run| self.forward(inputs, run)))
    }

    /// What a part would give if its stream stopped here: states `[rows, d_model]` of its residual stream, each by itself, through
    /// what lies behind its last block. Of a language model that is the final norm and the unembedding, `[rows, vocab]`; of a tower
    /// of a dual encoder the last norm and the projection, `[rows, d_shared]`, of whatever length that comes out; of a classifier
    /// the last norm and the head, `[rows, classes]`. [`kind::reads_out`] tells which of these, before it is asked.
    ///
    /// # Errors
    /// [`SubjectError::NoReadOut`] for a part that ends in states, or pools all positions into one; [`SubjectError::Sample`] for
    /// states of another width.
    fn read_out(&self, part: Part, _states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        Err(SubjectError::no_read_out(self, part))
    }

    /// How many tokens its checkpoint lets an answer to these inputs have; `None` if it does not say.
    fn longest_answer(&self, _inputs: &Inputs) -> Option<usize> {
        None
    }

    /// Reads a prompt, carrying out a plan, and goes on from there token by token ([`Session`]). The plan holds for the pass over the
    /// prompt alone; what it brought back is [`Session::begun`].
    ///
    /// # Errors
    /// [`SubjectError::Unsupported`] for a model that does not generate; whatever the plan reports, gradients and resumption
    /// among it; [`SubjectError::Memory`].
    fn begin(&self, _inputs: &Inputs, _plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        Err(SubjectError::Unsupported { subject: self.name().to_owned(), what: "generation".to_owned() })
    }

    /// What its checkpoint makes of the scores of the next token, what ends an answer, and what answers to these inputs go on from.
    ///
    /// # Errors
    /// [`SubjectError::Generation`] for a checkpoint that asks for something that is not offered.
    fn rules(&self, inputs: &Inputs) -> Result<Rules, SubjectError> {
        Ok(Rules::none(inputs))
    }

    /// Generates an answer for every row. For plans by step and scores of one's own see [`Generator`].
    ///
    /// # Errors
    /// [`SubjectError::Unsupported`] for a model that does not generate, [`SubjectError::Generation`] for a checkpoint
    /// that asks for something that is not offered.
    fn generate(&self, inputs: &Inputs, how: &Generation) -> Result<Vec<Generated>, SubjectError> {
        Ok(Generator::new(how).write(self, inputs)?.0)
    }

    /// The text of token ids. Special tokens are left out, and ids that name none: an unembedding may have more rows than the
    /// vocabulary has tokens.
    ///
    /// # Errors
    /// [`SubjectError::Sample`] if the tokenizer fails.
    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError>;

    /// One token as it is shown to a person; an id that names none is shown itself.
    fn token(&self, id: u32) -> String;

    /// The token ids of a text, without any special tokens around it.
    ///
    /// # Errors
    /// [`SubjectError::Sample`] if the tokenizer fails.
    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError>;

    /// The token that stands for a missing word, of an encoder of text that can say which.
    fn mask(&self) -> Option<u32> {
        None
    }

    /// The id rows of different lengths are padded with. Padding is masked, so that any id of the vocabulary does.
    fn pad(&self) -> u32 {
        0
    }
}
