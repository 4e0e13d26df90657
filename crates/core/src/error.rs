//! What can go wrong between a plan and a pass.

use mmlens_finding::NotFinite;

use crate::tensor::place;
use crate::{Site, Unreadable};

/// A plan that cannot be carried out, or a model that broke its own table of sites.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// A site or selector that cannot be parsed.
    #[error("`{text}` is not a site or selector: {reason}{}", suggestion(.nearest))]
    Syntax {
        /// What was given.
        text: String,
        /// Why it does not parse.
        reason: String,
        /// The closest known name.
        nearest: Option<String>,
    },
    /// A selector that matches none of the sites the subject publishes.
    #[error("`{subject}` has no site `{asked}`{}", suggestion(.nearest))]
    NoSuchSite {
        /// The subject's name.
        subject: String,
        /// What was asked for.
        asked: String,
        /// The closest site it has.
        nearest: Option<String>,
    },
    /// A planned site that the pass never came to.
    #[error("`{0}` was planned but the forward pass never reached it")]
    NeverReached(Site),
    /// What a plan asks for that a step of a generation cannot do.
    #[error("{0} cannot be planned while generating; run a pass over the prompt and its answer")]
    Generating(&'static str),
    /// A step of a generation that did not come.
    #[error("something is planned at step {step}, but the answer took {taken} steps (0 to {})", taken.saturating_sub(1))]
    NoStep {
        /// The step.
        step: usize,
        /// How many there were.
        taken: usize,
    },
    /// A site the pass came to twice.
    #[error("the forward pass reached `{0}` twice")]
    Revisited(Site),
    /// A site the model reports without having published it.
    #[error("the model reported `{0}`, which is not in its table of sites")]
    Unpublished(Site),
    /// A value asked for that was not in the plan.
    #[error("`{0}` was not read in this pass")]
    NotRead(Site),
    /// A gradient asked for that was not in the plan, or that did not depend on the site.
    #[error("no gradient reached `{0}`: the objective does not depend on it, or the plan did not ask for it")]
    NoGradient(Site),
    /// A tensor taken or edited at the wrong rank.
    #[error("`{site}` holds a rank-{holds} tensor; rank {asked} was asked for")]
    Rank {
        /// The place.
        site: String,
        /// Its rank.
        holds: usize,
        /// The rank asked for.
        asked: usize,
    },
    /// A value whose shape is not the published one.
    #[error("`{site}` is published as {published}, but the pass brought {found:?}")]
    Shape {
        /// The place.
        site: Site,
        /// The published axes.
        published: String,
        /// The shape that came.
        found: Vec<usize>,
    },
    /// An edit that changes the shape.
    #[error("the edit at `{site}` changes the shape from {from:?} to {to:?}")]
    Reshaped {
        /// The place.
        site: Site,
        /// Before.
        from: Vec<usize>,
        /// After.
        to: Vec<usize>,
    },
    /// A value to set or add that does not fit the site.
    #[error(
        "`{site}` has shape {holds:?}; a value of shape {given:?} cannot be {verb} there (each length must be equal or 1)"
    )]
    Operand {
        /// The place.
        site: Site,
        /// Its shape.
        holds: Vec<usize>,
        /// The shape of the operand.
        given: Vec<usize>,
        /// "set" or "added".
        verb: &'static str,
    },
    /// A mean over positions of a site that has none, or whose positions are not alike.
    #[error("`{site}` has axes {axes}: there are no positions to take a mean over")]
    NoMean {
        /// The place.
        site: Site,
        /// The axes it has.
        axes: String,
    },
    /// Pictures whose mean colour, or recordings whose mean spectrum, the inputs do not tell.
    #[error("the inputs tell the means of {found} of the {entries} entries of `{site}` (`Entries::means`)")]
    NoMeans {
        /// Where they enter.
        site: Site,
        /// How many means there are.
        found: usize,
        /// Entries of the tower's batch.
        entries: usize,
    },
    /// Means of a reference set that lacks what a position carries.
    #[error("`{site}`: the reference set has no {content}, and the edit is to stand for some")]
    NoneOf {
        /// The place.
        site: Site,
        /// What the position carries.
        content: &'static str,
    },
    /// A part of a site named by an axis it does not have.
    #[error("`{site}` has axes {axes}; it has no `{axis}` to choose from")]
    NoAxis {
        /// The place.
        site: Site,
        /// The axes it has.
        axes: String,
        /// The axis asked for.
        axis: String,
    },
    /// An index beyond the end of an axis.
    #[error("`{site}`: {axis} {index} is out of range, there are {len}")]
    Index {
        /// The place.
        site: Site,
        /// The axis.
        axis: String,
        /// The index asked for.
        index: usize,
        /// The length of the axis.
        len: usize,
    },
    /// A knock-out that leaves a query nothing to attend to.
    #[error("`{site}`: the knock-out leaves query {query} no key to attend to")]
    NothingLeft {
        /// The place.
        site: Site,
        /// The query position.
        query: usize,
    },
    /// A planned site that lies before the place a pass resumes from.
    #[error("`{site}` lies before `{resume}`, where this pass resumes")]
    BeforeResume {
        /// The place.
        site: Site,
        /// Where the pass starts.
        resume: Site,
    },
    /// A place from which this subject cannot resume.
    #[error("a pass can resume at `PART.blocks.I.resid_pre` only, not at `{0}`")]
    NoResume(Site),
    /// A pass that resumes behind a state that it needs.
    #[error(
        "the connector reads hidden state {layer} of the tower, which lies before `{resume}`, where this pass resumes"
    )]
    ResumesBehind {
        /// Where the pass starts.
        resume: Site,
        /// The state that is missing: 0 is what enters block 0.
        layer: usize,
    },
    /// Gradients asked for without saying of what.
    #[error("the plan asks for gradients but names no objective")]
    NoObjective,
    /// An objective that a site cannot be.
    #[error("{reading} is no objective: {why}")]
    Unreadable {
        /// The site and its region.
        reading: String,
        /// Why not.
        why: Unreadable,
    },
    /// A phrase whose first token nothing stands before.
    #[error("the {0} has no token before it")]
    NothingBefore(String),
    /// A pass that ended without the output an objective needs.
    #[error("the objective `{0}` needs an output this subject does not produce")]
    NoOutput(String),
    /// Logits other than those wanted.
    #[error("logits of shape {found:?}, where {positions} positions{} are wanted", tokens.map_or_else(String::new, |n| format!(" of {n} tokens")))]
    Unwanted {
        /// What came.
        found: Vec<usize>,
        /// How many positions are wanted.
        positions: usize,
        /// How many tokens, if not all.
        tokens: Option<usize>,
    },
    /// A token, position or pair outside the output.
    #[error("the objective asks for {what} {index}, but the output has {len}")]
    Objective {
        /// "token", "position", "image" or "text".
        what: &'static str,
        /// The index.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// Gradients on a device without a tap.
    #[error("gradients at inner sites are not supported on device `{0}`")]
    NoTap(String),
    /// Host values that do not fill a shape of rank 1 to 6.
    #[error("{given} values cannot fill a tensor of shape {dims:?}")]
    Values {
        /// The shape.
        dims: Vec<usize>,
        /// How many values there were.
        given: usize,
    },
    /// A value that is no finite number, where one belongs.
    #[error("`{what}` holds {found} at {at:?}, where a finite number belongs")]
    NotFinite {
        /// A site, or what was made of one.
        what: String,
        /// Where in it.
        at: Vec<usize>,
        /// What stands there.
        found: f32,
    },
    /// A number of an edit that stands which is too large.
    #[error("{found:e} is too large, expected at most {most:e} in size: squares of states overflow beyond")]
    Large {
        /// The number.
        found: f32,
        /// The largest.
        most: f32,
    },
    /// A device that did not hand over its values.
    #[error("reading values from the device failed: {0}")]
    Read(String),
    /// A standing edit that has no meaning at its site, or in a pass.
    #[error("`{edit}` cannot stand: {unfit}")]
    Standing {
        /// The site, or the selector of several.
        place: String,
        /// The edit, in words.
        edit: String,
        /// Why not.
        unfit: Unfit,
    },
    /// An edit written by the user that failed.
    #[error("the edit at `{site}` failed: {reason}")]
    Edit {
        /// The place.
        site: Site,
        /// What it said.
        reason: String,
    },
}

/// Why an edit cannot stand, or a pass cannot be run under it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// A closure without a name.
    #[error("a closure needs a name, by which findings tell it (`Alteration::named`)")]
    Nameless,
    /// Rows of a batch, of which a model knows nothing.
    #[error("it is made in every row, and cannot name rows of a batch")]
    NamesRows,
    /// An operand that no value of the site could take.
    #[error(
        "a value of shape {given:?} fits no `{axes}` of every row (each length must be equal or 1, and 1 for the batch)"
    )]
    Operand {
        /// Its shape.
        given: Vec<usize>,
        /// The axes of the site.
        axes: String,
    },
    /// A picture that the inputs do not show.
    #[error("it names picture {index}, and rows show {shown}")]
    Picture {
        /// The number, counted within a row.
        index: usize,
        /// How many there are.
        shown: usize,
    },
    /// A position that a row does not have.
    #[error("it names position {index}, and row {row} has {length}")]
    Position {
        /// The position, counted without padding.
        index: usize,
        /// The row.
        row: usize,
        /// How many positions it has.
        length: usize,
    },
    /// A value for each position, and rows that begin with padding.
    #[error("its value has {positions} positions, and the rows of this batch begin with padding")]
    Padded {
        /// How many.
        positions: usize,
    },
    /// What looks at all positions, in a pass over some.
    #[error("it looks at all positions, and the pass computes some of them")]
    SomePositions,
    /// A value for each position of the prompt, while the answer is generated.
    #[error(
        "its value has {positions} positions, and an answer has others: name those that it is for (`pos=0..{positions}`)"
    )]
    Answer {
        /// How many.
        positions: usize,
    },
    /// Pictures that are one sequence to the tower, in several rows that show different ones.
    #[error("the tower takes all pictures as one sequence, and the rows of this batch show different ones")]
    Packed,
}

impl HookError {
    /// What of some values, from one of a tensor of this shape on, is no finite number.
    pub fn not_finite(what: impl ToString, dims: &[usize], first: usize, error: NotFinite) -> Self {
        Self::NotFinite {
            what: what.to_string(),
            at: place(first + error.at, dims),
            found: error.found as f32,
        }
    }
}

pub(crate) fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |n| format!(" (did you mean `{n}`?)"))
}
