//! Asking and answering: which questions a scene allows, a balanced draw among them, and what is true of one in words.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::event::Event;
use super::question::{Called, Filter, Form, Kind, Naming, Question, Reference};
use super::scene::Scene;
use super::vocabulary::{Loudness, Pitch, Rank, Timbre};
use crate::balance::{counted, several, sought};

const fn naming(length: bool, pitch: bool, timbre: bool) -> Naming {
    Naming { length, pitch, timbre }
}

/// "the beep", "the long beep".
const BY_TIMBRE: &[Naming] = &[naming(false, false, true), naming(true, false, true)];
/// "the deep sound", "the long deep sound".
const BY_PITCH: &[Naming] = &[naming(false, true, false), naming(true, true, false)];
/// "the beep", "the deep beep".
const BY_BOTH: &[Naming] = &[naming(false, false, true), naming(false, true, true)];
/// "the beep", "the deep beep", "the long deep beep".
const BY_ANY: &[Naming] = &[naming(false, false, true), naming(false, true, true), naming(true, true, true)];
/// "the deep sound".
const BY_PITCH_ALONE: &[Naming] = &[naming(false, true, false)];

impl Scene {
    /// Every question that can be asked of this scene in every wording, kind by kind in the order of [`Kind::ALL`]. None of one that
    /// is not [clear](Self::is_clear).
    pub fn questions(&self) -> Vec<Question> {
        if !self.is_clear() {
            return Vec::new();
        }
        let forms = Kind::ALL.iter().flat_map(|&kind| self.forms(kind, false));
        forms.filter_map(|ask| self.phrase(ask)).collect()
    }

    /// A question in the words of the world, with the answer that is true of this scene and the evidence for it. Unlike
    /// [`questions`](Self::questions) it takes longer names than are needed ("the long deep beep" where there is one beep).
    ///
    /// `None` for a text that is no such question, one that this scene does not answer ("the beep" where there is none or more than
    /// one), and for a scene that is not [clear](Self::is_clear).
    pub fn answered(&self, text: &str) -> Option<Question> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !self.is_clear() {
            return None;
        }
        let kinds =
            Kind::ALL.iter().filter(|kind| kind.openings().iter().any(|words| text.starts_with(words)));
        let forms = kinds.flat_map(|&kind| self.forms(kind, true));
        forms.filter_map(|ask| self.phrase(ask)).find(|own| own.text == text)
    }

    /// One question of a kind; `None` if this scene allows none.
    ///
    /// Draws are balanced, so that the wording gives as little away as can be: yes and no are equally likely, but about overlaps,
    /// where it is the scene that decides; at least three in four of the pitch-and-timbre questions answered by no are near misses
    /// (the pitch or the timbre is there, in another sound); counts of pitches and timbres are zero once in four, and else drawn evenly
    /// among the counts that occur; of two sounds each is as often named first.
    pub fn ask<R: Rng + ?Sized>(&self, kind: Kind, rng: &mut R) -> Option<Question> {
        if !self.is_clear() {
            return None;
        }
        let ask = match kind {
            Kind::Count => self.draw_count(rng),
            Kind::Existence => self.draw_existence(rng),
            Kind::Before => {
                let yes = rng.random_bool(0.5);
                let mut asks = self.forms(kind, false);
                asks.retain(|&ask| self.holds(ask) == yes);
                asks.choose(rng).copied()
            }
            _ => self.forms(kind, false).choose(rng).copied(),
        };
        ask.and_then(|ask| self.phrase(ask))
    }

    /// `n` questions, each of a kind drawn by weight among those this scene allows. Kinds without a positive, finite weight are not
    /// asked; if none is left, there are no questions. The same question comes twice only if sixteen further draws find no other.
    pub fn sample<R: Rng + ?Sized>(&self, n: usize, rng: &mut R, weights: &[(Kind, f32)]) -> Vec<Question> {
        several(n, rng, weights, |kind, rng| self.ask(kind, rng))
    }

    /// Every way to ask a scene that is clear about a kind; with longer names than are needed, or without.
    fn forms(&self, kind: Kind, longer: bool) -> Vec<Form> {
        let property = |namings: &[&[Naming]], ranks: &[Rank]| {
            let about = self.references(namings, ranks, longer);
            about.into_iter().map(|about| Form::Property { kind, about }).collect()
        };
        match kind {
            Kind::Pitch => property(&[BY_TIMBRE], Rank::ALL),
            Kind::Timbre => property(&[BY_PITCH], Rank::ALL),
            Kind::Length => property(&[BY_BOTH, BY_PITCH_ALONE], Rank::ALL),
            Kind::Loudness => property(&[BY_BOTH, BY_PITCH_ALONE], &[Rank::First, Rank::Second, Rank::Last]),
            Kind::Begin => {
                let mut forms: Vec<Form> = property(&[BY_ANY, BY_PITCH_ALONE], &[Rank::Loudest]);
                forms.retain(|form| self.phrase(*form).is_some());
                forms
            }
            Kind::Count => std::iter::once(Form::CountAll)
                .chain(pitches().chain(timbres()).map(Form::Count))
                .chain(pairs().filter(|_| longer).map(Form::Count))
                .collect(),
            Kind::Existence => timbres().chain(pitches()).chain(pairs()).map(Form::Existence).collect(),
            Kind::Order => self.paired(longer).map(|(one, other)| Form::Order { one, other }).collect(),
            Kind::Before => {
                let asks = self
                    .paired(longer)
                    .flat_map(|(one, other)| [false, true].map(|after| Form::Before { one, after, other }));
                asks.collect()
            }
            Kind::Overlap if self.events.len() < 2 => Vec::new(),
            Kind::Overlap => vec![Form::Overlap],
            Kind::Describe if self.events.is_empty() => Vec::new(),
            Kind::Describe => (0..2).map(|wording| Form::Describe { wording }).collect(),
        }
    }

    /// How sounds can be referred to: by the first name of each list that fits one of them alone, or by every such name; by rank.
    fn references(&self, namings: &[&[Naming]], ranks: &[Rank], longer: bool) -> Vec<Reference> {
        let mut all: Vec<Reference> = Vec::new();
        for event in 0..self.events.len() {
            for list in namings {
                let fitting = list.iter().copied().filter(|naming| self.is_alone(event, *naming));
                for naming in fitting.take(if longer { usize::MAX } else { 1 }) {
                    all.push(Reference { event, called: Called::By(naming) });
                }
            }
        }
        let ranked = ranks
            .iter()
            .filter_map(|&rank| self.ranked(rank).map(|event| Reference { event, called: Called::As(rank) }));
        all.extend(ranked);
        all
    }

    /// Two sounds called in one way, in either order.
    fn paired(&self, longer: bool) -> impl Iterator<Item = (Reference, Reference)> {
        let mut pairs = Vec::new();
        for list in [BY_ANY, BY_PITCH_ALONE] {
            let all = self.references(&[list], &[], longer);
            let both = |one: &Reference| {
                let one = *one;
                let others = all.iter().filter(move |other| other.event != one.event);
                others.map(move |other| (one, *other)).collect::<Vec<_>>()
            };
            pairs.extend(all.iter().flat_map(both));
        }
        pairs.into_iter()
    }

    /// Whether no other sound is called so.
    fn is_alone(&self, event: usize, naming: Naming) -> bool {
        let Some(own) = self.events.get(event) else { return false };
        let alike = |other: &&Event| {
            (!naming.length || other.length == own.length)
                && (!naming.pitch || other.pitch == own.pitch)
                && (!naming.timbre || other.timbre == own.timbre)
        };
        self.events.iter().filter(alike).count() == 1
    }

    /// The sound that a rank singles out, where there are others.
    fn ranked(&self, rank: Rank) -> Option<usize> {
        let order = self.order();
        match (rank, order.as_slice()) {
            (Rank::First, [first, _, ..]) => Some(*first),
            (Rank::Second, [_, second, _, ..]) => Some(*second),
            (Rank::Last, [_, .., last]) => Some(*last),
            (Rank::Loudest, [_, _, ..]) => {
                let loud = |index: &usize| {
                    self.events.get(*index).is_some_and(|event| event.loudness == Loudness::Loud)
                };
                let mut loud = (0..self.events.len()).filter(loud);
                let first = loud.next();
                first.filter(|_| loud.next().is_none())
            }
            _ => None,
        }
    }

    pub(super) fn matching(&self, filter: Filter) -> Vec<usize> {
        let events = self.events.iter().enumerate();
        events.filter(|(_, event)| filter.admits(event)).map(|(index, _)| index).collect()
    }

    /// The sounds that overlap with another.
    pub(super) fn overlapping(&self) -> Vec<usize> {
        let events = || self.events.iter().enumerate();
        let overlaps = |(index, event): &(usize, &Event)| {
            events().any(|(other, second)| other != *index && event.overlaps(second))
        };
        events().filter(overlaps).map(|(index, _)| index).collect()
    }

    /// Whether some two sounds overlap.
    #[must_use]
    pub fn has_overlap(&self) -> bool {
        !self.overlapping().is_empty()
    }

    /// Whether one sound begins before another.
    pub(super) fn precedes(&self, one: usize, other: usize) -> Option<bool> {
        Some(self.events.get(one)?.start < self.events.get(other)?.start)
    }

    pub(super) fn holds(&self, ask: Form) -> bool {
        match ask {
            Form::Before { one, after, other } => {
                let (one, other) = if after { (other, one) } else { (one, other) };
                self.precedes(one.event, other.event).unwrap_or(false)
            }
            _ => true,
        }
    }

    fn draw_count<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<Form> {
        let filters: Vec<Filter> = match rng.random_range(0..3) {
            0 => return Some(Form::CountAll),
            1 => pitches().collect(),
            _ => timbres().collect(),
        };
        counted(&self.events, filters, Filter::admits, rng).map(Form::Count)
    }

    fn draw_existence<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<Form> {
        let filters = |way| match way {
            0 => timbres().collect(),
            1 => pitches().collect(),
            _ => pairs().collect(),
        };
        sought(&self.events, filters, Filter::admits, Filter::nearly, rng).map(Form::Existence)
    }
}

impl Kind {
    /// What questions of this kind begin with.
    const fn openings(self) -> &'static [&'static str] {
        match self {
            Self::Pitch => &["what pitch "],
            Self::Timbre => &["what kind "],
            Self::Length => &["how long "],
            Self::Loudness => &["how loud "],
            Self::Begin => &["when does "],
            Self::Count => &["how many "],
            Self::Existence => &["is there "],
            Self::Order => &["which comes first "],
            Self::Before => &["does the "],
            Self::Overlap => &["do two "],
            Self::Describe => &["describe ", "what is "],
        }
    }
}

fn pitches() -> impl Iterator<Item = Filter> {
    Pitch::ALL.iter().map(|&pitch| Filter::Pitch(pitch))
}

fn timbres() -> impl Iterator<Item = Filter> {
    Timbre::ALL.iter().map(|&timbre| Filter::Timbre(timbre))
}

/// Every pitch with every timbre.
fn pairs() -> impl Iterator<Item = Filter> {
    Pitch::ALL.iter().flat_map(|&pitch| Timbre::ALL.iter().map(move |&timbre| Filter::Both(pitch, timbre)))
}
