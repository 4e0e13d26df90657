//! What every world has: scenes drawn from a seed by split and index, questions about each, and both as a data set.
//!
//! A world is a [`World`] of its scenes: [`shapes::World`](crate::shapes::World) and
//! [`tones::World`](crate::tones::World) are those that ship. One more needs a type of scenes that is a
//! [`WorldScene`].

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use indicatif::{ProgressBarIter, ProgressIterator};
use mmlens_core::{Case, Cases, Mask, SubjectError};
use mmlens_sound::SoundError;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::balance::several;
use crate::drawn::{Split, progress_bar};
use crate::sentence::Sentence;

/// A scene that a world draws, and that questions can be asked about.
pub trait WorldScene: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// What a question can be about.
    type Kind: Copy + fmt::Debug + fmt::Display + PartialEq + Send + Sync + 'static;
    /// A noun of a text, and the thing of the scene that it refers to.
    type Mention: Clone + fmt::Debug + PartialEq;
    /// What masks depend on beside the scene: how a recording is listened to; nothing for a picture.
    type Marking: Clone + fmt::Debug + Send + Sync;

    /// What its world is called in the names of data sets.
    const WORLD: &'static str;
    /// All kinds of questions, in canonical order.
    const KINDS: &'static [Self::Kind];

    /// The scene of an index in a split: for the same world, split and index the same scene, always.
    fn draw(world: &World<Self>, split: Split, index: u64) -> Self;

    /// The content key, which decides the split: scenes of two splits never share one.
    fn key(&self) -> u64;

    /// What there is in it, by category, each once.
    fn concepts(&self) -> Vec<String>;

    /// A generator that belongs to this scene alone; different `draw`s are independent.
    fn rng(&self, draw: u64) -> ChaCha8Rng;

    /// One question of a kind; `None` if this scene allows none.
    fn ask(&self, kind: Self::Kind, rng: &mut ChaCha8Rng) -> Option<QuestionOf<Self>>;

    /// The scene and a question about it, as a model is given them.
    ///
    /// # Errors
    /// What is said of a recording that cannot be.
    fn given(&self, question: String) -> Result<mmlens_core::Sample, SoundError>;

    /// Where a thing of the scene is seen or heard, given by its index; `None` for an index past the end.
    fn mask(&self, thing: usize, marking: &Self::Marking) -> Option<Mask>;
}

/// A source of scenes: the same seed, split and index give the same scene, always.
///
/// It is written `shapes 7, biased`.
#[derive(Clone, Debug, PartialEq)]
pub struct World<S> {
    seed: u64,
    biased: bool,
    scenes: PhantomData<S>,
}

impl<S: Clone> Copy for World<S> {}

impl<S: PartialEq> Eq for World<S> {}

impl<S> World<S> {
    /// The world of a seed, without bias.
    pub const fn new(seed: u64) -> Self {
        Self { seed, biased: false, scenes: PhantomData }
    }

    /// The same world with the bias of its training split on or off.
    #[must_use]
    pub const fn with_bias(self, biased: bool) -> Self {
        Self { seed: self.seed, biased, scenes: PhantomData }
    }

    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether the training split is biased.
    pub const fn is_biased(&self) -> bool {
        self.biased
    }
}

impl<S: WorldScene> World<S> {
    /// A scene by its index in a split.
    pub fn scene(&self, split: Split, index: u64) -> S {
        S::draw(self, split, index)
    }

    /// The scenes of a range of indices, each with one question of every kind that it allows. See
    /// [`Samples::asking`] for another choice of questions, [`Samples::with_progress`] to watch.
    pub fn samples(&self, split: Split, range: Range<u64>) -> Samples<S> {
        Samples { world: *self, split, range, asking: None }
    }
}

impl<S: WorldScene> fmt::Display for World<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bias = if self.biased { ", biased" } else { "" };
        write!(f, "{} {}{bias}", S::WORLD, self.seed)
    }
}

/// A question about a scene, with its answer and what the answer rests on. The things are those of the scene:
/// objects of a picture, sounds of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question<K, M> {
    /// What it is about.
    pub kind: K,
    /// The question: lower case, words and punctuation set off by single spaces.
    pub text: String,
    /// The one right answer, in the same form; never empty.
    pub answer: String,
    /// The things that make the answer true, ascending: the one asked about, both of two that are compared,
    /// all that are counted or found. Empty where the answer says there is none. For a description: all.
    pub evidence: Vec<usize>,
    /// The things the nouns of the question refer to, by word; a noun that several things match has an entry
    /// for each, a noun without a match has none.
    pub mentions: Vec<M>,
    /// The same for the nouns of the answer: each thing named in a description, or as the answer.
    pub answer_mentions: Vec<M>,
}

/// A question about a scene of this type.
pub type QuestionOf<S> = Question<<S as WorldScene>::Kind, <S as WorldScene>::Mention>;

impl<K, M> Question<K, M> {
    /// A question and its answer as they were put into words; `mention` notes that a word refers to a thing.
    pub(crate) fn of(
        kind: K,
        (text, answer): (Sentence, Sentence),
        mut evidence: Vec<usize>,
        mention: impl Fn(usize, usize) -> M,
    ) -> Self {
        evidence.sort_unstable();
        let mentions = |said: Vec<(usize, usize)>| {
            said.into_iter().map(|(word, thing)| mention(word, thing)).collect::<Vec<M>>()
        };
        Self {
            kind,
            text: text.text,
            answer: answer.text,
            evidence,
            mentions: mentions(text.mentions),
            answer_mentions: mentions(answer.mentions),
        }
    }
}

/// A scene and questions about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<S: WorldScene> {
    /// The scene.
    pub scene: S,
    /// Questions about it.
    pub questions: Vec<QuestionOf<S>>,
}

/// An iterator over scenes with questions. What it asks of a scene depends on that scene and the settings
/// alone, so ranges can be cut and run in any order.
#[derive(Clone, Debug)]
pub struct Samples<S: WorldScene> {
    world: World<S>,
    split: Split,
    range: Range<u64>,
    asking: Option<(usize, Vec<(S::Kind, f32)>)>,
}

impl<S: WorldScene> Samples<S> {
    /// Asks `n` questions of every scene, each of a kind drawn by weight among those that the scene allows.
    /// Kinds without a positive, finite weight are not asked; if none is left, there are no questions. The
    /// same question comes twice only if sixteen further draws find no other.
    #[must_use]
    pub fn asking(self, n: usize, weights: &[(S::Kind, f32)]) -> Self {
        Self { asking: Some((n, weights.to_vec())), ..self }
    }

    /// The same iterator with a progress bar on standard error, drawn only if that is a terminal.
    pub fn with_progress(self) -> ProgressBarIter<Self> {
        let bar = progress_bar(&format!("{} scenes", self.split), self.len() as u64);
        self.progress_with(bar)
    }
}

impl<S: WorldScene> Iterator for Samples<S> {
    type Item = Sample<S>;

    fn next(&mut self) -> Option<Sample<S>> {
        let scene = self.world.scene(self.split, self.range.next()?);
        let mut rng = scene.rng(0);
        let questions = match &self.asking {
            Some((n, weights)) => several(*n, &mut rng, weights, |kind, rng| scene.ask(kind, rng)),
            None => S::KINDS.iter().filter_map(|&kind| scene.ask(kind, &mut rng)).collect(),
        };
        Some(Sample { scene, questions })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.range.end.saturating_sub(self.range.start)).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl<S: WorldScene> ExactSizeIterator for Samples<S> {}

/// Scenes of a split as a data set, each with one question of a kind. The label is the answer, the group the
/// content key of the scene, the masks are of the things that are the evidence.
///
/// Scenes that allow no question of that kind are passed over, so that indices follow one another.
#[derive(Debug, Clone)]
pub struct WorldCases<S: WorldScene> {
    name: String,
    world: World<S>,
    split: Split,
    kind: S::Kind,
    /// The scene of each case.
    scenes: Vec<u64>,
    classes: Vec<String>,
    marking: S::Marking,
}

/// So many scenes are looked at for each case that is wanted, at most.
const MOST_PASSED: u64 = 1000;

impl<S: WorldScene> WorldCases<S> {
    /// The first `count` scenes that allow a question of this kind; fewer, if these are too rare. Masks are
    /// as `marking` says.
    ///
    /// # Cost
    /// Every scene up to the last is drawn once, without its picture or its samples; of each a number is held.
    pub fn first(world: World<S>, split: Split, kind: S::Kind, count: usize, marking: S::Marking) -> Self {
        let (mut scenes, mut classes) = (Vec::with_capacity(count), BTreeSet::new());
        let most = (count as u64).saturating_mul(MOST_PASSED);
        for id in 0..most {
            if scenes.len() == count {
                break;
            }
            if let Some(question) = asked(&world.scene(split, id), kind) {
                scenes.push(id);
                classes.insert(question.answer);
            }
        }
        let name = format!("{world}, {split}, {kind}");
        Self { name, world, split, kind, scenes, classes: classes.into_iter().collect(), marking }
    }

    /// The scene of a case, and what is asked about it.
    ///
    /// # Errors
    /// [`SubjectError::NoCase`].
    pub fn scene(&self, index: usize) -> Result<(S, QuestionOf<S>), SubjectError> {
        let none = || SubjectError::NoCase { data: self.name.clone(), index, len: self.scenes.len() };
        let scene = self.world.scene(self.split, *self.scenes.get(index).ok_or_else(none)?);
        let question = asked(&scene, self.kind).ok_or_else(none)?;
        Ok((scene, question))
    }
}

fn asked<S: WorldScene>(scene: &S, kind: S::Kind) -> Option<QuestionOf<S>> {
    scene.ask(kind, &mut scene.rng(0))
}

impl<S: WorldScene> Cases for WorldCases<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.scenes.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let (scene, question) = self.scene(index)?;
        let refused = |error: SoundError| SubjectError::Sample {
            subject: self.name.clone(),
            reason: error.to_string(),
        };
        Ok(Case::new(scene.given(question.text).map_err(refused)?))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Result<Option<usize>, SubjectError> {
        let (_, question) = self.scene(index)?;
        Ok(self.classes.iter().position(|class| *class == question.answer))
    }

    fn group(&self, index: usize) -> Result<Option<u64>, SubjectError> {
        Ok(Some(self.scene(index)?.0.key()))
    }

    fn concepts(&self, index: usize) -> Result<Vec<String>, SubjectError> {
        Ok(self.scene(index)?.0.concepts())
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let (scene, question) = self.scene(index)?;
        Ok(question.evidence.iter().filter_map(|&thing| scene.mask(thing, &self.marking)).collect())
    }

    fn hash(&self) -> Result<String, SubjectError> {
        Ok(mmlens_files::sha256(json!([self.name, self.scenes, self.classes]).to_string()))
    }
}

/// Names, each where it comes first.
pub(crate) fn each_once(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
}
