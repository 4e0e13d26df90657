//! What a kind of model can do, told from what it publishes. This is the one place that does: a new kind of model is taught here.

use std::fmt;

use burn::tensor::Tensor;

use crate::{
    AnalysisError, AnyTensor, AxisName, Card, Part, Point, Site, Subject, SubjectError, Through, WeightSpec,
};

/// Something a subject may offer, and a method may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Gradients at its sites.
    Gradients,
    /// A part that is made of blocks.
    Blocks(Part),
    /// Some part that is.
    AnyBlocks,
    /// That it says something in the end: words, a class, how well a picture and a caption fit.
    Answer,
    /// That it writes answers token by token.
    Generation,
    /// Scores of attention in a part, before the softmax.
    Scores(Part),
    /// Shares of attention, in a tower or in the language model.
    Attention,
    /// Neurons of an MLP, in some part.
    Neurons,
    /// Pictures among what it takes.
    Pictures,
    /// Something beside words among what it takes: pictures or recordings.
    Perception,
    /// That words and patches attend to one another in one stream, and not to states from outside.
    SelfAttention,
    /// That words are positions of the language model, and not of an encoder of their own.
    OwnWords,
    /// That the stream of a part is one running sum, with no norm behind its sums.
    RunningSum(Part),
    /// That the stream of some part is.
    AnyRunningSum,
    /// That what the heads of a part give is added to its stream as it is, with no norm behind their sum.
    PlainHeads(Part),
    /// That of some part it is.
    AnyPlainHeads,
    /// That states of a part can be read out by themselves ([`reads_out`]).
    ReadOut(Part),
    /// That states of some part can.
    AnyReadOut,
    /// That a part says a distribution of each of its states by itself: over words, or over classes.
    Distribution(Part),
    /// That some part does.
    AnyDistribution,
    /// Weights of a part, by name.
    Weights(Part),
    /// An unembedding of words, among the weights by name.
    Unembedding,
    /// Some part whose stream is a running sum that is read out with weights it shows ([`shares_out`]).
    DirectShares,
    /// That it compares pictures with captions in a space that both are projected into.
    SharedSpace,
    /// That pictures and words lie in one space: a shared one, or the stream of a language model.
    OneSpace,
}

impl Capability {
    /// What it is, in words.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Gradients => "gradients".to_owned(),
            Self::Blocks(Part::Text) => "a language model with blocks".to_owned(),
            Self::AnyBlocks => "a part with blocks".to_owned(),
            Self::Answer => "a subject that gives an answer".to_owned(),
            Self::Generation => "a subject that writes answers token by token".to_owned(),
            Self::Blocks(part) => format!("blocks in its part `{}`", part.name()),
            Self::Scores(Part::Text) => "a subject with attention scores in its language model".to_owned(),
            Self::Scores(part) => format!("attention scores in its part `{}`", part.name()),
            Self::Attention => "a subject with attention".to_owned(),
            Self::Neurons => "a part with neurons".to_owned(),
            Self::Pictures => "a subject that sees pictures".to_owned(),
            Self::Perception => "a subject that sees pictures or hears recordings".to_owned(),
            Self::SelfAttention => {
                "a subject whose words and patches attend to one another in one stream".to_owned()
            }
            Self::OwnWords => "words in the language model".to_owned(),
            Self::RunningSum(Part::Text) | Self::AnyRunningSum => {
                "a stream that is one running sum".to_owned()
            }
            Self::RunningSum(part) => {
                format!("a stream of its part `{}` that is one running sum", part.name())
            }
            Self::PlainHeads(Part::Text) | Self::AnyPlainHeads => {
                "heads whose output is added to the stream as it is".to_owned()
            }
            Self::PlainHeads(part) => {
                format!("heads of its part `{}` whose output is added to the stream as it is", part.name())
            }
            Self::ReadOut(part) => format!("states of its part `{}` that can be read out", part.name()),
            Self::AnyReadOut => "a part whose states can be read out".to_owned(),
            Self::Distribution(part) => {
                format!("states of its part `{}` that are read out as words or classes", part.name())
            }
            Self::AnyDistribution => "a part whose states are read out as words or classes".to_owned(),
            Self::Weights(Part::Text) => "the weights of a language model by name".to_owned(),
            Self::Weights(part) => format!("the weights of its part `{}` by name", part.name()),
            Self::Unembedding => "an unembedding of words among the weights by name".to_owned(),
            Self::DirectShares => {
                "a part whose stream is one running sum that is read out with weights it shows".to_owned()
            }
            Self::SharedSpace => "a space that pictures and captions share".to_owned(),
            Self::OneSpace => "a subject that has pictures and words in one space".to_owned(),
        }
    }

    /// Why a subject does not offer it; `None` if it does.
    #[must_use]
    pub fn lacking(self, subject: &dyn Subject) -> Option<&'static str> {
        let missing = |there: bool, found| if there { None } else { Some(found) };
        match self {
            Self::Gradients => missing(subject.differentiable(), "this subject computes none"),
            Self::AnyBlocks => {
                let some = subject.anatomy().iter().any(|anatomy| anatomy.blocks > 0);
                missing(some, "this subject has none")
            }
            Self::Answer => {
                let said = anywhere(subject, Point::Logits) || anywhere(subject, Point::Projected);
                missing(said, "this one ends in states")
            }
            Self::Generation => {
                let says = matches!(reads_out(subject, Part::Text), Ok(Space::Words));
                missing(says && subject.mask().is_none(), "this one says no next token")
            }
            Self::Blocks(part) => missing(blocks(subject, part) > 0, "this subject has none"),
            Self::Scores(part) => {
                missing(publishes(subject, part, Point::Scores), "this subject publishes none")
            }
            Self::Attention => missing(anywhere(subject, Point::Pattern), "this one publishes none"),
            Self::Neurons => missing(anywhere(subject, Point::MlpPost), "this subject publishes none"),
            Self::Pictures => {
                let hears = anywhere(subject, Point::Mel);
                let found = if hears {
                    "this one hears recordings, and sees none"
                } else {
                    "this one takes words alone"
                };
                missing(anywhere(subject, Point::Pixels), found)
            }
            Self::Perception => {
                let perceives = anywhere(subject, Point::Pixels) || anywhere(subject, Point::Mel);
                missing(perceives, "this one takes words alone")
            }
            Self::SelfAttention => missing(
                !anywhere(subject, Point::CrossPattern),
                "this one's words attend to the patches from outside",
            ),
            Self::OwnWords => missing(!reads_apart(subject), "an encoder of its own reads them"),
            Self::RunningSum(part) => {
                let sums = !publishes(subject, part, Point::NormalizedResidMid);
                missing(sums, "a norm follows each of its sums")
            }
            Self::AnyRunningSum => nowhere(subject, Self::RunningSum),
            Self::PlainHeads(part) => {
                // Told by the weights; of a subject that shows none it is found when it runs.
                let normed = |spec: &WeightSpec| {
                    let read = spec.reads.as_ref().is_some_and(|port| port.site.point() == Point::Z);
                    let through = spec.writes.as_ref().and_then(|port| port.through.as_ref());
                    read && spec.is_in(part) && matches!(through, Some(Through::Norm(_)))
                };
                missing(!subject.weights().iter().any(normed), "a norm follows the sum of its heads")
            }
            Self::AnyPlainHeads => nowhere(subject, Self::PlainHeads),
            Self::ReadOut(part) => reads_out(subject, part).err(),
            Self::AnyReadOut => {
                let reads = |part: &Part| reads_out(subject, *part).is_ok();
                missing(Part::ALL.iter().any(reads), "no part of this subject ends in logits or a projection")
            }
            Self::SharedSpace => missing(compares(subject), "this one compares no pictures with captions"),
            Self::OneSpace => {
                let among_words = subject.sites().iter().any(|spec| spec.site.part() == Part::Connector);
                missing(
                    compares(subject) || among_words,
                    "this one neither compares them nor takes pictures among its words",
                )
            }
            Self::Distribution(part) => match reads_out(subject, part) {
                Ok(Space::Words | Space::Classes) => None,
                Ok(Space::Shared) => {
                    Some("they are compared in a shared space, with whatever captions are given")
                }
                Err(reason) => Some(reason),
            },
            Self::AnyDistribution => {
                let says = |part: &Part| Self::Distribution(*part).lacking(subject).is_none();
                missing(Part::ALL.iter().any(says), "no part of this subject ends in logits")
            }
            Self::Weights(part) => {
                missing(subject.weights().iter().any(|spec| spec.is_in(part)), "this subject shows none")
            }
            Self::Unembedding => {
                let shown = subject.weights().iter().any(|spec| spec.name == "text.unembed");
                missing(shown, "this subject shows none")
            }
            Self::DirectShares => {
                let parts = [Part::Text, Part::Vision, Part::Audio];
                let there = parts.into_iter().find(|part| blocks(subject, *part) > 0).unwrap_or(Part::Text);
                match parts.into_iter().any(|part| shares_out(subject, part).is_none()) {
                    true => None,
                    false => shares_out(subject, there).and_then(|need| need.lacking(subject)),
                }
            }
        }
    }

    /// That a subject offers it.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] with what is needed and what was found.
    pub fn check(self, card: &Card, subject: &dyn Subject) -> Result<(), AnalysisError> {
        match self.lacking(subject) {
            None => Ok(()),
            Some(found) => Err(AnalysisError::Input {
                method: card.id,
                needs: self.describe().into(),
                found: found.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// Whether a subject publishes a site.
#[must_use]
pub fn has(subject: &dyn Subject, site: Site) -> bool {
    subject.sites().iter().any(|spec| spec.site == site)
}

/// Whether a subject publishes a point in a part, in some block or outside of blocks.
#[must_use]
pub fn publishes(subject: &dyn Subject, part: Part, point: Point) -> bool {
    subject.sites().iter().any(|spec| spec.site.part() == part && spec.site.point() == point)
}

/// How many blocks a part has; none, if the subject does not have it.
#[must_use]
pub fn blocks(subject: &dyn Subject, part: Part) -> usize {
    subject.anatomy().iter().filter(|anatomy| anatomy.part == part).map(|anatomy| anatomy.blocks).sum()
}

/// What a part lacks whose stream is to be shared out among what writes to it: blocks, a running sum, a read-out, weights; `None` if nothing.
#[must_use]
pub fn shares_out(subject: &dyn Subject, part: Part) -> Option<Capability> {
    use Capability::{Blocks, ReadOut, RunningSum, Weights};
    let needs = [Blocks(part), RunningSum(part), ReadOut(part), Weights(part)];
    needs.into_iter().find(|need| need.lacking(subject).is_some())
}

/// Why no part with blocks that is read in one place offers something; `None` if one does, or there is none.
fn nowhere(subject: &dyn Subject, of: fn(Part) -> Capability) -> Option<&'static str> {
    let one = |part| subject.read_behind(part).len() == 1;
    let parts = subject.anatomy().iter().filter(|own| own.blocks > 0 && one(own.part));
    let lacking: Vec<_> = parts.map(|own| of(own.part).lacking(subject)).collect();
    lacking.iter().all(Option::is_some).then(|| lacking.last().copied().flatten()).flatten()
}

fn anywhere(subject: &dyn Subject, point: Point) -> bool {
    subject.sites().iter().any(|spec| spec.site.point() == point)
}

/// Whether it compares pictures with captions in a space that both are projected into (CLIP, SigLIP).
#[must_use]
pub fn compares(subject: &dyn Subject) -> bool {
    let projects = |part| has(subject, Site::of(part, Point::Projected));
    projects(Part::Vision) && projects(Part::Text)
}

/// Whether it says one thing of each row, a class, instead of a token at every position.
#[must_use]
pub fn classifies(subject: &dyn Subject) -> bool {
    subject.sites().iter().any(|spec| spec.site.point() == Point::Logits && of_a_row(&spec.axes))
}

/// Whether logits are those of a row, and not of its positions.
fn of_a_row(axes: &[(AxisName, Option<usize>)]) -> bool {
    axes.iter().all(|(axis, length)| *axis != AxisName::Pos || *length == Some(1))
}

/// Whether words are read by an encoder of their own.
#[must_use]
pub fn reads_apart(subject: &dyn Subject) -> bool {
    subject.anatomy().iter().any(|anatomy| anatomy.part == Part::Encoder)
}

/// Where what a subject perceives enters it: pictures, recordings.
#[must_use]
pub fn perceives_at(subject: &dyn Subject) -> Vec<Site> {
    Part::TOWERS.into_iter().filter_map(Part::entrance).filter(|site| has(subject, *site)).collect()
}

/// Where the words of a prompt enter: an encoder of their own, or the language model.
#[must_use]
pub fn words_enter(subject: &dyn Subject) -> Site {
    Site::of(if reads_apart(subject) { Part::Encoder } else { Part::Text }, Point::Embed)
}

/// What lies behind the last block of a part, where each state comes out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Space {
    /// A logit for each word of a vocabulary, said at every position.
    Words,
    /// A logit for each class, said of what is pooled.
    Classes,
    /// The space that pictures and captions are compared in; what is pooled is projected into it.
    Shared,
}

impl Space {
    /// Where what a part gives is found.
    #[must_use]
    pub fn site(self, part: Part) -> Site {
        Site::of(part, if self == Self::Shared { Point::Projected } else { Point::Logits })
    }
}

/// What states of a part are read out as ([`Subject::read_out`]), or why they cannot be.
///
/// # Errors
/// In words: a part that pools all positions by attention has nothing to say of one; a part that ends in states says nothing.
pub fn reads_out<S: Subject + ?Sized>(subject: &S, part: Part) -> Result<Space, &'static str> {
    let at = |point| subject.sites().iter().find(|spec| spec.site == Site::of(part, point));
    if at(Point::PoolPattern).is_some() {
        return Err("it pools all its positions by attention, and none is read by itself");
    }
    let has_blocks = subject.anatomy().iter().any(|anatomy| anatomy.part == part && anatomy.blocks > 0);
    match (at(Point::Logits), at(Point::Projected)) {
        (Some(_), _) | (_, Some(_)) if !has_blocks => Err("it has no block that could be read out"),
        (Some(logits), _) => Ok(if of_a_row(&logits.axes) { Space::Classes } else { Space::Words }),
        (None, Some(_)) => Ok(Space::Shared),
        (None, None) if subject.anatomy().iter().any(|anatomy| anatomy.part == part) => {
            Err("it ends in states, with neither logits nor a projection into a shared space")
        }
        (None, None) => Err("there is no such part"),
    }
}

/// States to be read out, `[rows, d_model]`.
///
/// # Errors
/// [`SubjectError::NoReadOut`] for a part whose states cannot be, [`SubjectError::Sample`] for another width,
/// [`HookError::Rank`](crate::HookError::Rank).
pub fn readable<S: Subject + ?Sized>(
    subject: &S,
    part: Part,
    states: AnyTensor,
) -> Result<Tensor<2>, SubjectError> {
    reads_out(subject, part).map_err(|_| SubjectError::no_read_out(subject, part))?;
    let states: Tensor<2> = states.rank_of("the states to read out")?;
    let found = states.dims()[1];
    let own = |wanted: &usize| *wanted != found;
    let stream = subject.anatomy().iter().find(|anatomy| anatomy.part == part).map(|anatomy| anatomy.d_model);
    match stream.filter(own) {
        None => Ok(states),
        Some(wanted) => Err(SubjectError::Sample {
            subject: subject.name().to_owned(),
            reason: format!(
                "states of width {found} cannot be read out; the stream of its part `{}` has {wanted}",
                part.name()
            ),
        }),
    }
}

/// Whether texts are rows: of an encoder of text, or of a classifier that reads.
#[must_use]
pub fn takes_texts(subject: &dyn Subject) -> bool {
    let reads = subject.anatomy().iter().any(|anatomy| anatomy.part == Part::Text);
    compares(subject) || subject.mask().is_some() || (reads && classifies(subject))
}
