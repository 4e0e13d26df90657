//! What is asked of a model: pictures, recordings and words, and what was answered.

use std::borrow::Cow;
use std::sync::Arc;

use mmlens_sound::Sound;

use crate::{Clip, Picture, SubjectError};

/// The words of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// A question, put through the checkpoint's chat template with a generation prompt; pictures come first, then clips,
    /// then recordings.
    Question(String),
    /// Text taken as it is, with placeholders as the checkpoint's processor writes them before expansion.
    Prompt(String),
    /// Captions of a dual encoder.
    Texts(Vec<String>),
    /// None: a classifier of pictures needs no words.
    Nothing,
}

/// What stands behind the words of a sample: an answer that was given before, by this model or by anybody. What each of its tokens
/// is, the model reads before it comes to the next (teacher forcing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A text, put where the chat template puts an answer to a question; behind a prompt as it is.
    Text(String),
    /// Tokens, as a model generates them.
    Tokens(Vec<u32>),
}

/// One input: pictures, recordings and words, and possibly an answer.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The pictures, in the order of their placeholders.
    pub pictures: Vec<Picture>,
    /// The clips, in the order of their placeholders.
    pub clips: Vec<Clip>,
    /// The recordings, in the order of their placeholders, each at its own rate.
    pub recordings: Vec<Sound>,
    /// The words.
    pub words: Words,
    /// What was answered, if it is a part of the input.
    pub reply: Option<Reply>,
}

impl Sample {
    /// Pictures and words.
    pub fn new(pictures: Vec<Picture>, words: Words) -> Self {
        Self { pictures, clips: Vec::new(), recordings: Vec::new(), words, reply: None }
    }

    /// With clips.
    #[must_use]
    pub fn with_clips(mut self, clips: Vec<Clip>) -> Self {
        self.clips = clips;
        self
    }

    /// With recordings.
    #[must_use]
    pub fn with_recordings(mut self, recordings: Vec<Sound>) -> Self {
        self.recordings = recordings;
        self
    }

    /// With an answer behind the words.
    #[must_use]
    pub fn answered(mut self, reply: Reply) -> Self {
        self.reply = Some(reply);
        self
    }

    /// Refuses a sample with an answer, for subjects that give none.
    ///
    /// # Errors
    /// [`SubjectError::Sample`].
    pub fn unanswered(&self, subject: &str) -> Result<(), SubjectError> {
        match self.reply {
            None => Ok(()),
            Some(_) => {
                let reason = "it takes no answer beside the words".to_owned();
                Err(SubjectError::Sample { subject: subject.to_owned(), reason })
            }
        }
    }

    /// Refuses a sample with recordings, for subjects that hear none.
    ///
    /// # Errors
    /// [`SubjectError::Sample`].
    pub fn unheard(&self, subject: &str) -> Result<(), SubjectError> {
        match self.recordings.is_empty() {
            true => Ok(()),
            false => {
                let reason = "it hears no recordings".to_owned();
                Err(SubjectError::Sample { subject: subject.to_owned(), reason })
            }
        }
    }

    /// Whether it is the same sample: the same words, and pictures, clips and recordings that share their pixels and samples in memory.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let seen = |p: &Picture, q: &Picture| p.name == q.name && Arc::ptr_eq(&p.image, &q.image);
        let shown = |p: &Clip, q: &Clip| {
            let frames = || p.frames.iter().zip(&q.frames);
            (&p.name, p.fps, p.frames.len()) == (&q.name, q.fps, q.frames.len())
                && frames().all(|(a, b)| Arc::ptr_eq(a, b))
        };
        (&self.words, &self.reply) == (&other.words, &other.reply)
            && (self.pictures.len(), self.clips.len()) == (other.pictures.len(), other.clips.len())
            && self.recordings.len() == other.recordings.len()
            && self.pictures.iter().zip(&other.pictures).all(|(p, q)| seen(p, q))
            && self.clips.iter().zip(&other.clips).all(|(p, q)| shown(p, q))
            && self.recordings.iter().zip(&other.recordings).all(|(p, q)| p.is(q))
    }

    /// A question about one picture.
    pub fn ask(picture: Picture, question: impl Into<String>) -> Self {
        Self::new(vec![picture], Words::Question(question.into()))
    }

    /// A question about one recording.
    pub fn hear(recording: Sound, question: impl Into<String>) -> Self {
        Self::new(Vec::new(), Words::Question(question.into())).with_recordings(vec![recording])
    }

    /// A text alone, taken as it is.
    pub fn text(text: impl Into<String>) -> Self {
        Self::prompt(Vec::new(), text)
    }

    /// A picture and captions that it is compared with.
    pub fn captions(picture: Picture, captions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(vec![picture], Words::Texts(captions.into_iter().map(Into::into).collect()))
    }

    /// The same with further captions behind its own, each once; of other words than captions the sample itself.
    #[must_use]
    pub fn beside_captions(&self, further: &[String]) -> Cow<'_, Self> {
        match &self.words {
            Words::Texts(own) if !further.is_empty() => {
                let mut all = own.clone();
                for caption in further {
                    if !all.contains(caption) {
                        all.push(caption.clone());
                    }
                }
                Cow::Owned(Self { words: Words::Texts(all), ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// A raw prompt about any number of pictures.
    pub fn prompt(pictures: Vec<Picture>, prompt: impl Into<String>) -> Self {
        Self::new(pictures, Words::Prompt(prompt.into()))
    }
}
