//! Counterfactual scenes: one sound of a scene at another time or pitch, of another timbre, length or loudness, or taken away, and
//! all else as it was.

use std::fmt;
use std::str::FromStr;

use mmlens_core::{Case, Pair, Sample};
use mmlens_sound::SoundError;

use super::event::Event;
use super::question::Question;
use super::scene::{MILLISECONDS, Scene};
use super::vocabulary::{Length, Loudness, Pitch, Timbre};

/// What becomes of one sound. Written `pitch=deep`, `timbre=hiss`, `length=long`, `loudness=soft`, `start=1.25`, `remove`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It has the mean of another pitch.
    Pitch(Pitch),
    /// It is made of something else.
    Timbre(Timbre),
    /// It has the mean of another length, from the same instant on.
    Length(Length),
    /// It has the mean of another level.
    Loudness(Loudness),
    /// It begins at another time, in milliseconds; in text it is in seconds.
    Start(u32),
    /// It is not there.
    Remove,
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pitch(pitch) => write!(f, "pitch={pitch}"),
            Self::Timbre(timbre) => write!(f, "timbre={timbre}"),
            Self::Length(length) => write!(f, "length={length}"),
            Self::Loudness(loudness) => write!(f, "loudness={loudness}"),
            Self::Start(at) => write!(f, "start={}", f64::from(*at) / 1000.0),
            Self::Remove => f.write_str("remove"),
        }
    }
}

/// An edit of a scene that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Not the text of an edit.
    #[error("`{found}` is no edit of a sound: {expected}")]
    Text {
        /// What was given.
        found: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The scene has no such sound.
    #[error("the scene has no sound {index}: it has {len}, counted from 0")]
    NoEvent {
        /// What was asked for.
        index: usize,
        /// Sounds there are.
        len: usize,
    },
    /// The sound is so already.
    #[error("sound {index} is so already: `{edit}`")]
    Same {
        /// The sound.
        index: usize,
        /// What was to become of it.
        edit: String,
    },
    /// The sound would not be over when the recording is.
    #[error("sound {index} would end at {end} s, behind the end of the recording at {} s", f64::from(MILLISECONDS) / 1000.0)]
    Outside {
        /// The sound.
        index: usize,
        /// When it would end, in seconds.
        end: f64,
    },
}

const EXPECTED: &str = "expected pitch=NAME, timbre=NAME, length=NAME, loudness=NAME, start=SECONDS or remove, with names of the tones world";

impl FromStr for Edit {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let (what, value) = text.split_once('=').unwrap_or((text, ""));
        let read = match what {
            "pitch" => Pitch::from_word(value).map(Self::Pitch),
            "timbre" => Timbre::from_word(value).map(Self::Timbre),
            "length" => Length::from_word(value).map(Self::Length),
            "loudness" => Loudness::from_word(value).map(Self::Loudness),
            "start" => milliseconds(value).map(Self::Start),
            "remove" if text == "remove" => Some(Self::Remove),
            _ => None,
        };
        read.ok_or_else(|| EditError::Text { found: text.to_owned(), expected: EXPECTED })
    }
}

/// Seconds, in milliseconds.
fn milliseconds(text: &str) -> Option<u32> {
    let seconds: f64 = text.trim().parse().ok()?;
    // What is no number is in no range.
    let inside = (0.0..=f64::from(MILLISECONDS) / 1000.0).contains(&seconds);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in the range just checked")]
    inside.then_some((seconds * 1000.0).round() as u32)
}

/// Two scenes that differ in one sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Counterfactual {
    /// The scene as it was.
    pub before: Scene,
    /// The scene with the sound edited. It keeps `id`, `split` and `seed`.
    pub after: Scene,
    /// Which sound of `before` it is.
    pub event: usize,
    /// What became of it.
    pub edit: Edit,
}

impl Scene {
    /// The scene with one sound edited.
    ///
    /// # Errors
    /// [`EditError::NoEvent`]; [`EditError::Same`] for an edit that changes nothing; [`EditError::Outside`].
    pub fn counterfactual(&self, event: usize, edit: Edit) -> Result<Counterfactual, EditError> {
        let own = self.events.get(event);
        let own = own.ok_or(EditError::NoEvent { index: event, len: self.events.len() })?;
        let same = match edit {
            Edit::Pitch(pitch) => own.pitch == pitch,
            Edit::Timbre(timbre) => own.timbre == timbre,
            Edit::Length(length) => own.length == length,
            Edit::Loudness(loudness) => own.loudness == loudness,
            Edit::Start(at) => own.start == at,
            Edit::Remove => false,
        };
        if same {
            return Err(EditError::Same { index: event, edit: edit.to_string() });
        }
        let after = match edit {
            Edit::Pitch(pitch) => self.repitched(event, pitch),
            Edit::Timbre(timbre) => self.retimbred(event, timbre),
            Edit::Length(length) => self.lengthened(event, length),
            Edit::Loudness(loudness) => self.amplified(event, loudness),
            Edit::Start(at) => self.moved(event, at),
            Edit::Remove => self.without(event),
        };
        match after.events.get(event) {
            Some(new) if edit != Edit::Remove && !new.fits() => {
                Err(EditError::Outside { index: event, end: f64::from(new.end()) / 1000.0 })
            }
            _ => Ok(Counterfactual { before: self.clone(), after, event, edit }),
        }
    }

    /// Every edit of one sound after which a question has another answer and all is clear still: to every other timbre, pitch,
    /// length and loudness, to every quarter of a second, and away. In the order of the sounds, and of the edits as named here.
    ///
    /// Empty for a question that the scene does not answer.
    pub fn flips(&self, question: &str) -> Vec<Counterfactual> {
        let mut edits: Vec<Edit> = Timbre::ALL.iter().copied().map(Edit::Timbre).collect();
        edits.extend(Pitch::ALL.iter().copied().map(Edit::Pitch));
        edits.extend(Length::ALL.iter().copied().map(Edit::Length));
        edits.extend(Loudness::ALL.iter().copied().map(Edit::Loudness));
        edits.extend((0..MILLISECONDS).step_by(250).map(Edit::Start));
        edits.push(Edit::Remove);
        let all = (0..self.events.len()).flat_map(|event| edits.iter().map(move |edit| (event, *edit)));
        let made = all.filter_map(|(event, edit)| self.counterfactual(event, edit).ok());
        let other = |made: &Counterfactual| {
            made.answers(question).is_some_and(|[own, other]| own.answer != other.answer)
        };
        made.filter(other).collect()
    }
}

impl Counterfactual {
    /// The same question about either scene, with the answer that is true of it; `None` if one of them does not answer it: nothing
    /// is called so there, more than one sound is, or sounds cannot be told apart.
    pub fn answers(&self, question: &str) -> Option<[Question; 2]> {
        Some([self.before.answered(question)?, self.after.answered(question)?])
    }

    /// The sound as it was and as it is; the latter is none where it was taken away.
    pub fn edited(&self) -> (Option<&Event>, Option<&Event>) {
        let after = self.after.events.get(self.event).filter(|_| self.edit != Edit::Remove);
        (self.before.events.get(self.event), after)
    }

    /// The samples in which the recordings differ.
    pub fn changed(&self) -> Vec<bool> {
        let (before, after) = (self.before.render(), self.after.render());
        before.iter().zip(&after).map(|(a, b)| a != b).collect()
    }

    /// The same question about both recordings: what is explained is the most likely token of the answer to the first. For patching,
    /// causal tracing, and every other method that compares two runs.
    ///
    /// # Errors
    /// None: see [`Scene::sound`].
    pub fn pair(&self, question: &str) -> Result<Pair, SoundError> {
        let name = format!("{} {}", self.before.split, self.before.id);
        let edited = format!("{name}, {}:{}", self.event, self.edit);
        Ok(Pair {
            clean: Case::new(Sample::hear(self.before.sound(name)?, question)),
            corrupted: Sample::hear(self.after.sound(edited)?, question),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Edit, EditError};
    use crate::tones::{Length, Loudness, Pitch, Timbre};

    #[test]
    fn edits_are_read_as_they_are_written() {
        let all = [
            Edit::Pitch(Pitch::Shrill),
            Edit::Timbre(Timbre::Hiss),
            Edit::Length(Length::Long),
            Edit::Loudness(Loudness::Soft),
            Edit::Start(1250),
            Edit::Start(0),
            Edit::Start(3000),
            Edit::Remove,
        ];
        for edit in all {
            assert_eq!(edit.to_string().parse(), Ok(edit));
        }
        assert_eq!(Edit::Start(1250).to_string(), "start=1.25");
        for text in [
            "",
            "start=",
            "start=nan",
            "start=-1",
            "start=3.1",
            "pitch=middle",
            "remove=1",
            "deep",
            "Pitch=deep",
        ] {
            let said = text.parse::<Edit>().unwrap_err();
            assert!(matches!(&said, EditError::Text { found, .. } if found == text), "{said}");
        }
    }
}
