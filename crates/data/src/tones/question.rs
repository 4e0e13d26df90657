//! Questions: what can be asked of a scene, what the answer is and which sounds are the evidence.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::scene::Scene;
use super::vocabulary::{DIGITS, Pitch, Rank, Timbre};
use crate::sentence::{Sentence, digit, yes_or_no};
use crate::worlds;

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// "what pitch is the beep ?", "what pitch is the first sound ?": a pitch. Refers by rank, by timbre, by length and timbre where
    /// timbres repeat.
    Pitch,
    /// "what kind is the loudest sound ?": a timbre. Refers by rank, by pitch, by length and pitch where pitches repeat.
    Timbre,
    /// "how long is the beep ?": "short" or "long".
    Length,
    /// "how loud is the beep ?": "soft" or "loud".
    Loudness,
    /// "when does the beep begin ?": "early", "midway" or "late".
    Begin,
    /// "how many sounds are there ?", "how many deep sounds are there ?", "how many beeps are there ?": a digit, from "0" to "3".
    Count,
    /// "is there a beep ?", "is there a deep beep ?", "is there a deep sound ?": "yes" or "no".
    Existence,
    /// "which comes first , the beep or the hiss ?": "beep". What comes first is called as the question calls it.
    Order,
    /// "does the beep begin before the hiss ?": "yes" or "no".
    Before,
    /// "do two sounds overlap ?": "yes" or "no". Asked where there are two or more.
    Overlap,
    /// "describe the recording .", "what is in the recording ?": the description.
    Describe,
}

impl Kind {
    /// All kinds, in canonical order.
    pub const ALL: &[Self] = &[
        Self::Pitch,
        Self::Timbre,
        Self::Length,
        Self::Loudness,
        Self::Begin,
        Self::Count,
        Self::Existence,
        Self::Order,
        Self::Before,
        Self::Overlap,
        Self::Describe,
    ];

    /// The name of this kind, as it is written to files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pitch => "pitch",
            Self::Timbre => "timbre",
            Self::Length => "length",
            Self::Loudness => "loudness",
            Self::Begin => "begin",
            Self::Count => "count",
            Self::Existence => "existence",
            Self::Order => "order",
            Self::Before => "before",
            Self::Overlap => "overlap",
            Self::Describe => "describe",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A noun of a text, and a sound it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mention {
    /// The index of the noun in `text.split(' ')`.
    pub word: usize,
    /// The index of the sound in its scene.
    pub event: usize,
}

/// A question about a scene, with its answer and what the answer rests on: for a property the sound asked about,
/// for an order both sides, for a count or existence all sounds counted or found, for an overlap both of those that
/// do.
///
/// Each sound named in a description, or as the answer to what comes first, is a noun of the answer.
pub type Question = worlds::Question<Kind, Mention>;

/// Which properties an expression names.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Naming {
    pub(super) length: bool,
    pub(super) pitch: bool,
    pub(super) timbre: bool,
}

/// How a sound is referred to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Called {
    By(Naming),
    As(Rank),
}

/// A sound, and how it is referred to.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Reference {
    pub(super) event: usize,
    pub(super) called: Called,
}

/// A way to ask, before it is put into words.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Property { kind: Kind, about: Reference },
    CountAll,
    Count(Filter),
    Existence(Filter),
    Order { one: Reference, other: Reference },
    Before { one: Reference, after: bool, other: Reference },
    Overlap,
    Describe { wording: usize },
}

/// Sounds by pitch, by timbre or by both.
#[derive(Clone, Copy)]
pub(super) enum Filter {
    Pitch(Pitch),
    Timbre(Timbre),
    Both(Pitch, Timbre),
}

impl Filter {
    pub(super) fn admits(self, event: &Event) -> bool {
        match self {
            Self::Pitch(pitch) => event.pitch == pitch,
            Self::Timbre(timbre) => event.timbre == timbre,
            Self::Both(pitch, timbre) => event.pitch == pitch && event.timbre == timbre,
        }
    }

    /// Whether a sound has the pitch or the timbre.
    pub(super) fn nearly(self, event: &Event) -> bool {
        match self {
            Self::Both(pitch, timbre) => event.pitch == pitch || event.timbre == timbre,
            other => other.admits(event),
        }
    }
}

impl Scene {
    /// Puts a way to ask into words, with its answer and evidence. None for one about sounds that there are not.
    pub(super) fn phrase(&self, ask: Form) -> Option<Question> {
        let (mut text, mut answer) = (Sentence::default(), Sentence::default());
        let (kind, evidence) = match ask {
            Form::Property { kind, about } => {
                let event = self.events.get(about.event)?;
                let (opening, end, reply) = match kind {
                    Kind::Pitch => ("what pitch is", "?", event.pitch.word()),
                    Kind::Timbre => ("what kind is", "?", event.timbre.word()),
                    Kind::Length => ("how long is", "?", event.length.word()),
                    Kind::Loudness => ("how loud is", "?", event.loudness.word()),
                    _ => ("when does", "begin ?", event.moment()?.word()),
                };
                text.say(opening).say("the");
                self.name(&mut text, about)?;
                text.say(end);
                answer.say(reply);
                (kind, vec![about.event])
            }
            Form::CountAll => {
                let all: Vec<usize> = (0..self.events.len()).collect();
                text.say("how many sounds").mention(&all);
                text.say("are there ?");
                answer.say(digit(all.len(), &DIGITS));
                (Kind::Count, all)
            }
            Form::Count(filter) => {
                let counted = self.matching(filter);
                text.say("how many");
                match filter {
                    Filter::Pitch(pitch) => text.say(pitch.word()).say("sounds"),
                    Filter::Timbre(timbre) => text.say(timbre.plural()),
                    Filter::Both(pitch, timbre) => text.say(pitch.word()).say(timbre.plural()),
                };
                text.mention(&counted);
                text.say("are there ?");
                answer.say(digit(counted.len(), &DIGITS));
                (Kind::Count, counted)
            }
            Form::Existence(filter) => {
                let found = self.matching(filter);
                text.say("is there a");
                match filter {
                    Filter::Pitch(pitch) => text.say(pitch.word()).say("sound"),
                    Filter::Timbre(timbre) => text.say(timbre.word()),
                    Filter::Both(pitch, timbre) => text.say(pitch.word()).say(timbre.word()),
                };
                text.mention(&found);
                text.say("?");
                answer.say(yes_or_no(!found.is_empty()));
                (Kind::Existence, found)
            }
            Form::Order { one, other } => {
                text.say("which comes first , the");
                self.name(&mut text, one)?;
                text.say("or the");
                self.name(&mut text, other)?;
                text.say("?");
                let first = if self.precedes(one.event, other.event)? { one } else { other };
                self.name(&mut answer, first)?;
                (Kind::Order, vec![one.event, other.event])
            }
            Form::Before { one, after, other } => {
                text.say("does the");
                self.name(&mut text, one)?;
                text.say(if after { "begin after the" } else { "begin before the" });
                self.name(&mut text, other)?;
                text.say("?");
                answer.say(yes_or_no(self.holds(ask)));
                (Kind::Before, vec![one.event, other.event])
            }
            Form::Overlap => {
                text.say("do two sounds overlap ?");
                answer.say(yes_or_no(self.has_overlap()));
                (Kind::Overlap, self.overlapping())
            }
            Form::Describe { wording } => {
                text.say(if wording == 0 {
                    "describe the recording ."
                } else {
                    "what is in the recording ?"
                });
                for index in self.order() {
                    let Event { length, loudness, pitch, timbre, .. } = self.events.get(index)?;
                    let comma = if answer.text.is_empty() { "" } else { " ," };
                    answer.text.push_str(comma);
                    answer.say(&format!("a {length} {loudness} {pitch} {timbre}")).mention(&[index]);
                }
                (Kind::Describe, (0..self.events.len()).collect())
            }
        };
        Some(Question::of(kind, (text, answer), evidence, |word, event| Mention { word, event }))
    }

    /// The scene in words, in the order in which the sounds begin: "a long loud deep buzz , a short soft high beep".
    pub fn description(&self) -> String {
        self.phrase(Form::Describe { wording: 0 }).map(|own| own.answer).unwrap_or_default()
    }

    /// Calls a sound by its name, behind "the".
    fn name(&self, text: &mut Sentence, Reference { event, called }: Reference) -> Option<()> {
        let own = self.events.get(event)?;
        match called {
            Called::As(rank) => {
                text.say(rank.word()).say("sound");
            }
            Called::By(naming) => {
                if naming.length {
                    text.say(own.length.word());
                }
                if naming.pitch {
                    text.say(own.pitch.word());
                }
                text.say(if naming.timbre { own.timbre.word() } else { "sound" });
            }
        }
        text.mention(&[event]);
        Some(())
    }
}
