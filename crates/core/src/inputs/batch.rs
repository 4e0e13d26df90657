//! The parts of what a model takes, and whether they belong together.

use std::sync::Arc;

use super::{Entries, TokenMap};
use crate::{Part, SubjectError};

/// Which positions the output is computed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogitsAt {
    /// The last only.
    #[default]
    Last,
    /// All of them.
    All,
}

/// The parts of what a model takes; [`Inputs`](super::Inputs) are those that belong together. Decoders pad shorter rows on the left, encoders of text on the right.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Token ids of each row, placeholders expanded, all of one length.
    pub ids: Vec<Vec<u32>>,
    /// How many of a row's positions, at its start, are padding.
    pub pads: Vec<usize>,
    /// How many of a row's positions, at its end, are padding.
    pub tails: Vec<usize>,
    /// What each row's positions are.
    pub maps: Vec<Arc<TokenMap>>,
    /// What the image tower is given: pictures, tiles and clips.
    pub seen: Entries,
    /// What the audio tower is given: recordings.
    pub heard: Entries,
    /// Which positions the output is computed for.
    pub logits_at: LogitsAt,
}

impl Batch {
    /// Number of prompts.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Number of positions, padding included.
    pub fn positions(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }

    /// What a tower is given; none for a part that is no tower.
    pub fn entries(&self, part: Part) -> Option<&Entries> {
        match part {
            Part::Vision => Some(&self.seen),
            Part::Audio => Some(&self.heard),
            Part::Connector | Part::Encoder | Part::Text => None,
        }
    }

    /// The towers that have something to compute.
    pub fn towers(&self) -> impl Iterator<Item = Part> + '_ {
        Part::TOWERS.into_iter().filter(|part| self.entries(*part).is_some_and(|own| !own.is_empty()))
    }

    /// What a tower is given, to be changed.
    pub fn entries_mut(&mut self, part: Part) -> Option<&mut Entries> {
        match part {
            Part::Vision => Some(&mut self.seen),
            Part::Audio => Some(&mut self.heard),
            Part::Connector | Part::Encoder | Part::Text => None,
        }
    }

    /// What each tower is given.
    pub(super) fn towers_mut(&mut self) -> [(Part, &mut Entries); 2] {
        [(Part::Vision, &mut self.seen), (Part::Audio, &mut self.heard)]
    }

    /// Checks that the parts belong together, so that a model may rely on it.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] naming what does not fit.
    pub(super) fn check(&self) -> Result<(), SubjectError> {
        let fail = |reason: String| Err(SubjectError::Batch { reason });
        let (rows, len) = (self.rows(), self.positions());
        if rows == 0 || (len == 0 && self.towers().next().is_none()) {
            return fail("the batch has no positions".to_owned());
        }
        if [self.pads.len(), self.tails.len(), self.maps.len()] != [rows; 3] {
            return fail(format!(
                "{rows} rows, but {} and {} pads, {} maps",
                self.pads.len(),
                self.tails.len(),
                self.maps.len()
            ));
        }
        if let Some((row, ids)) = self.ids.iter().enumerate().find(|(_, ids)| ids.len() != len) {
            return fail(format!("row {row} has {} positions, row 0 has {len}", ids.len()));
        }
        let padding = self.pads.iter().zip(&self.tails).map(|(pad, tail)| pad + tail);
        if let Some((row, pad)) = padding.enumerate().find(|(_, pad)| len > 0 && *pad >= len) {
            return fail(format!("row {row} is padded by {pad} of {len} positions"));
        }
        for (part, entries) in [(Part::Vision, &self.seen), (Part::Audio, &self.heard)] {
            entries.check(part, rows)?;
        }
        if let Some((row, map)) = self.maps.iter().enumerate().find(|(_, map)| map.len() > len) {
            return fail(format!("row {row} has {len} positions, but {} labels", map.len()));
        }
        Ok(())
    }
}
