//! Cells and words by their numbers, and words replaced.

use std::collections::BTreeSet;

use mmlens_core::{Sample, Words};
use mmlens_engine::Units;

use super::{MOST_WORD, WhatIf};
use crate::refusal::{Kind, Of, Refusal};
use crate::reply::Reply;
use crate::state::State;
use crate::words;

impl<'a> WhatIf<'a> {
    /// Cells and words that are named, each of which there is.
    pub(super) fn parts(
        &mut self,
        picture: usize,
        cells: &[usize],
        region: Option<[f32; 4]>,
        named: &[usize],
    ) -> Result<(BTreeSet<usize>, BTreeSet<usize>), Refusal> {
        let mut chosen: BTreeSet<usize> = cells.iter().copied().collect();
        if !cells.is_empty() || region.is_some() {
            let boxes = self.cells(picture)?;
            if let Some(cell) = cells.iter().find(|cell| **cell >= boxes.len()) {
                let expected = format!("expected less than {}", boxes.len());
                return Err(Refusal::new(Kind::Missing, "cells", cell, expected));
            }
            if let Some(region) = region {
                let [x0, y0, x1, y1] = region;
                let inside = |[a, b, c, d]: &[f32; 4]| {
                    let (x, y) = (f32::midpoint(*a, *c), f32::midpoint(*b, *d));
                    x0 <= x && x < x1 && y0 <= y && y < y1
                };
                let before = chosen.len();
                chosen.extend(boxes.iter().enumerate().filter(|(_, own)| inside(own)).map(|(cell, _)| cell));
                if chosen.len() == before && cells.is_empty() {
                    let expected = "expected [x0, y0, x1, y1] that holds the middle of a cell";
                    return Err(Refusal::new(Kind::Missing, "region", format_args!("{region:?}"), expected));
                }
            }
        }
        if !named.is_empty() {
            let len = self.words()?.len();
            if len == 0 {
                return Err(no_words("words", named[0]));
            }
            if let Some(word) = named.iter().find(|word| **word >= len) {
                return Err(Refusal::new(
                    Kind::Missing,
                    "words",
                    word,
                    format_args!("expected less than {len}"),
                ));
            }
        }
        Ok((chosen, named.iter().copied().collect()))
    }

    /// The cells of a picture, where they lie.
    pub(super) fn cells(&mut self, picture: usize) -> Result<Vec<[f32; 4]>, Refusal> {
        let inputs = self.encode(&self.first.clone())?;
        let row = match (&self.sample.words, inputs.rows()) {
            // Parts are of one row; all captions are shown the same pictures.
            (Words::Texts(texts), rows) if rows > 1 => {
                let words = Words::Texts(texts.iter().take(1).cloned().collect());
                self.subject.encode(&Sample { words, ..self.sample.clone() }).of("picture", picture)?
            }
            _ => inputs,
        };
        let units = Units::cells(&row, picture, self.settings.grid)
            .map_err(|error| Refusal::new(Kind::Missing, "picture", picture, error))?;
        Ok(units.iter().filter_map(|unit| unit.label().patch.map(|patch| patch.bbox)).collect())
    }

    pub(super) fn words(&mut self) -> Result<Vec<words::Word>, Refusal> {
        let state = self.state.clone();
        let inputs = self.encode(&state)?;
        words::words(&inputs, state.text()).of("words", "the words")
    }

    pub(super) fn replace(&mut self, word: usize, by: &str) -> Result<Reply, Refusal> {
        if by.len() > MOST_WORD {
            return Err(Refusal::size("by", format_args!("{} bytes", by.len()), MOST_WORD, "bytes"));
        }
        let before = self.words()?;
        let Some(own) = before.get(word) else {
            let expected = format!("expected less than {}", before.len());
            return Err(Refusal::new(Kind::Missing, "word", word, expected));
        };
        let written = own.bytes.clone().zip(self.state.text());
        let text = written
            .and_then(|(bytes, text)| Some([text.get(..bytes.start)?, by, text.get(bytes.end..)?].concat()));
        let words = text.and_then(|text| self.state.with_text(text)).ok_or_else(|| {
            let expected = format!("`{}` is a word of the template, and none of the question", own.text);
            Refusal::new(Kind::Missing, "word", word, expected)
        })?;
        let mut next = State { words, struck: BTreeSet::new(), ..self.state.clone() };
        let inputs =
            self.encode(&next).map_err(|refusal| Refusal::new(refusal.kind, "by", by, refusal.expected))?;
        let after = words::words(&inputs, next.text()).of("by", by)?;
        // Words behind it have other numbers, if it became more than one, or none.
        for struck in self.state.struck.iter().copied().filter(|struck| *struck != word) {
            let moved =
                if struck < word { Some(struck) } else { (struck + after.len()).checked_sub(before.len()) };
            let text = |words: &[words::Word], at: usize| words.get(at).map(|word| word.text.clone());
            match moved.filter(|moved| text(&after, *moved) == text(&before, struck)) {
                Some(moved) => next.struck.insert(moved),
                None => {
                    let expected =
                        format!("word {struck}, which is struck, would be read otherwise: show it first");
                    return Err(Refusal::new(Kind::Model, "by", by, expected));
                }
            };
        }
        self.change(next, "by", by)
    }
}

pub(super) fn no_words(field: &str, found: impl ToString) -> Refusal {
    Refusal::new(Kind::Missing, field, found, "this sample has no words that can be struck one by one")
}
