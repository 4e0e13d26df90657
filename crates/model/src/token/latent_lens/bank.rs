//! Contextual states of texts, some at a time, and what their words stood in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mmlens_core::finding::{Axis, Modality};
use mmlens_core::{
    AnalysisError, Cases, Inputs, On, Part, Point, Sample, Site, Subject, TokenMap, Words, kind,
};
use mmlens_engine::{Indices, Nearest};
use mmlens_store::{Manifest, Rows, Store, StoreError, Texts};

use super::super::depths::{Depths, called};
use super::{CARD, Settings};
use crate::check::input;

/// Where contextual states come from.
pub(super) enum Bank<'a> {
    /// The words of the prompt itself.
    Prompt(&'a Inputs),
    /// These texts.
    Texts(&'a [String]),
    /// Texts in a file, one on a line.
    File(&'a Path, Texts),
    /// Recorded activations.
    Store(Store),
}

/// A word where it stood.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub word: String,
    pub context: String,
    pub depth: usize,
}

/// So many tokens are told on either side of a word.
const AROUND: usize = 8;
/// Rows of a store that are read at a time, at most.
const AT_ONCE: u64 = 4096;
/// A number holds a text, a position and a depth in so many bits.
const DEPTHS: u32 = 12;
const POSITIONS: u32 = 20;

fn unread(path: &Path, error: impl std::fmt::Display) -> AnalysisError {
    input(&CARD, "a bank that can be read", format!("{}: {error}", path.display()))
}

impl<'a> Bank<'a> {
    pub(super) fn of(settings: &'a Settings, inputs: &'a Inputs) -> Result<Self, AnalysisError> {
        let Some(path) = &settings.bank else {
            return Ok(if settings.texts.is_empty() {
                Self::Prompt(inputs)
            } else {
                Self::Texts(&settings.texts)
            });
        };
        match path.is_dir() {
            true => Ok(Self::Store(Store::open(path).map_err(|error| unread(path, error))?)),
            false => Ok(Self::File(path, Texts::open(path).map_err(|error| unread(path, error))?)),
        }
    }

    /// What it is, in words.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Prompt(_) => "the words of the prompt itself".to_owned(),
            Self::Texts(texts) => format!("{} texts", texts.len()),
            Self::File(_, texts) => format!("the texts of {}", texts.name()),
            Self::Store(store) => {
                format!("{} recorded rows of `{}`", store.len(), store.manifest().data)
            }
        }
    }

    /// How many texts pass through the model each time that it is searched; none of what was recorded.
    pub(super) fn passes(&self) -> usize {
        match self {
            Self::Prompt(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::File(_, texts) => texts.len(),
            Self::Store(_) => 0,
        }
    }

    /// How many steps a search of it has.
    pub(super) fn steps(&self) -> usize {
        match self {
            Self::Store(store) => (store.len().div_ceil(AT_ONCE) as usize) * store.manifest().columns.len(),
            _ => self.passes(),
        }
    }

    /// The depths that it holds: before block 0 and behind blocks that were chosen, or what was recorded.
    pub(super) fn sites(&self, subject: &dyn Subject, layers: &Indices) -> Result<Vec<Site>, AnalysisError> {
        if let Self::Store(store) = self {
            let Manifest { weights_hash, rows, columns, .. } = store.manifest();
            let (own, found) = (subject.weights_hash(), weights_hash);
            if own != *found {
                let found = format!("it was recorded of one with weights {found}, and these are {own}");
                return Err(input(&CARD, "a bank of this very model", found));
            }
            if *rows != Rows::Positions {
                return Err(input(&CARD, "a bank of positions of prompts", "rows are something else"));
            }
            let site = |name: &String| name.parse::<Site>().map_err(AnalysisError::from);
            return columns.iter().map(|column| site(&column.site)).collect();
        }
        let layers = layers.chosen(CARD.id, "bank_layers", kind::blocks(subject, Part::Text))?;
        let behind = layers.iter().map(|layer| Site::block(Part::Text, *layer, Point::ResidPost));
        Ok(std::iter::once(Site::block(Part::Text, 0, Point::ResidPre)).chain(behind).collect())
    }

    /// Offers every state of a word that is not among the first `skip` positions of its text. Gives back how many there were.
    pub(super) fn search(
        &self,
        on: &On<'_>,
        (sites, skip, width): (&[Site], usize, usize),
        nearest: &mut Nearest,
        step: &mut dyn FnMut() -> Result<(), AnalysisError>,
    ) -> Result<u64, AnalysisError> {
        let mut rows = 0;
        if let Self::Store(store) = self {
            for first in (0..store.len()).step_by(AT_ONCE as usize) {
                let all: Vec<u64> = (first..store.len().min(first + AT_ONCE)).collect();
                let labels = store.labels(&all).map_err(recorded)?;
                let word = |label: &mmlens_store::Label| {
                    label.modality == Modality::Text
                        && label.position as usize >= skip
                        && label.token.is_some()
                };
                let chosen: Vec<u64> =
                    all.iter().zip(&labels).filter(|(_, label)| word(label)).map(|(row, _)| *row).collect();
                for (depth, site) in sites.iter().enumerate() {
                    let values = store.read(&site.to_string(), &chosen).map_err(recorded)?;
                    let numbers: Vec<u64> = chosen.iter().map(|row| (row << DEPTHS) | depth as u64).collect();
                    if values.len() != numbers.len() * width {
                        let found = format!("`{site}` was recorded with another width than {width}");
                        return Err(input(&CARD, "states of the width that the stream has", found));
                    }
                    nearest.offer_numbered(&values, &numbers)?;
                    rows += numbers.len() as u64;
                    step()?;
                }
            }
            return Ok(rows);
        }
        self.texts(on, &mut |text, inputs| {
            let places = words(inputs.map(), skip);
            if !places.is_empty() {
                let tokens = Axis::count(mmlens_core::finding::Role::Token, places.len());
                let depths = Depths { sites: sites.to_vec(), places, tokens, width };
                let (values, _) = depths.states(&CARD, on, inputs, sites)?;
                let number = |depth: usize, place: usize| {
                    (((text << POSITIONS) | place as u64) << DEPTHS) | depth as u64
                };
                let numbers: Vec<u64> = (0..sites.len())
                    .flat_map(|depth| depths.places.iter().map(move |place| number(depth, *place)))
                    .collect();
                nearest.offer_numbered(&values, &numbers)?;
                rows += numbers.len() as u64;
            }
            step()
        })?;
        Ok(rows)
    }

    /// What stood at some numbers.
    pub(super) fn shown(
        &self,
        on: &On<'_>,
        numbers: BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, Shown>, AnalysisError> {
        let depth = |number: u64| (number & ((1 << DEPTHS) - 1)) as usize;
        let subject = on.subject();
        let mut all = BTreeMap::new();
        if let Self::Store(store) = self {
            for number in numbers {
                let row = number >> DEPTHS;
                let around = row.saturating_sub(AROUND as u64)..store.len().min(row + AROUND as u64 + 1);
                let labels = store.labels(&around.clone().collect::<Vec<_>>()).map_err(recorded)?;
                let at = (row - around.start) as usize;
                let sample = labels.get(at).map(|own| own.sample);
                let ids = |some: &[mmlens_store::Label]| -> Vec<u32> {
                    some.iter().filter(|own| Some(own.sample) == sample).filter_map(|own| own.token).collect()
                };
                let (before, rest) = labels.split_at(at.min(labels.len()));
                let (own, behind) = rest.split_at(rest.len().min(1));
                all.insert(number, shown(subject, (&ids(before), &ids(own), &ids(behind)), depth(number))?);
            }
            return Ok(all);
        }
        let mut wanted = BTreeMap::<u64, Vec<u64>>::new();
        for number in numbers {
            wanted.entry(number >> (DEPTHS + POSITIONS)).or_default().push(number);
        }
        self.texts(on, &mut |text, inputs| {
            for number in wanted.get(&text).into_iter().flatten() {
                let at = ((number >> DEPTHS) & ((1 << POSITIONS) - 1)) as usize;
                let map = inputs.map();
                let ids = |range: std::ops::Range<usize>| -> Vec<u32> {
                    let own = map.tokens.get(range).unwrap_or_default().iter();
                    own.filter(|own| own.modality == Modality::Text).filter_map(|own| own.id).collect()
                };
                let end = map.len().min(at + AROUND + 1);
                let parts = (ids(at.saturating_sub(AROUND)..at), ids(at..at + 1), ids(at + 1..end));
                all.insert(*number, shown(subject, (&parts.0, &parts.1, &parts.2), depth(*number))?);
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Every text, encoded, with its number.
    fn texts(
        &self,
        on: &On<'_>,
        look: &mut dyn FnMut(u64, &Inputs) -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        let encoded = |text: &str| {
            let sample = match kind::takes_texts(on.subject()) {
                true => Sample::new(Vec::new(), Words::Texts(vec![text.to_owned()])),
                false => Sample::text(text),
            };
            on.subject().encode(&sample)
        };
        match self {
            Self::Prompt(inputs) => look(0, inputs),
            Self::Texts(texts) => {
                texts.iter().enumerate().try_for_each(|(at, text)| look(at as u64, &encoded(text)?))
            }
            Self::File(path, texts) => (0..texts.len()).try_for_each(|at| {
                let text = texts.text(at).map_err(|error| unread(path, error))?.unwrap_or_default();
                look(at as u64, &encoded(&text)?)
            }),
            Self::Store(_) => Ok(()),
        }
    }
}

fn recorded(error: StoreError) -> AnalysisError {
    input(&CARD, "a bank that can be read", error.to_string())
}

/// A word among its neighbours.
fn shown(
    subject: &dyn Subject,
    (before, own, behind): (&[u32], &[u32], &[u32]),
    depth: usize,
) -> Result<Shown, AnalysisError> {
    let [left, right] = [subject.decode(before)?, subject.decode(behind)?];
    let word = own.first().map_or_else(String::new, |id| subject.token(*id));
    let context = format!("{} [{}] {}", left.trim(), word.trim(), right.trim()).trim().to_owned();
    Ok(Shown { word, context, depth })
}

/// The positions of words of a text, but for its first.
fn words(map: &TokenMap, skip: usize) -> Vec<usize> {
    let word = |at: &usize| {
        map.tokens.get(*at).is_some_and(|token| token.modality == Modality::Text && token.id.is_some())
    };
    map.prompt().filter(|at| *at >= skip && !map.padding.contains(at)).filter(word).collect()
}

/// What the depths of a bank are called.
pub(super) fn depth_axis(role: mmlens_core::finding::Role, sites: &[Site]) -> Axis {
    Axis::names(role, sites.iter().map(|site| called(*site)))
}
