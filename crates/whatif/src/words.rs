//! The words of the question, and where they stand in it.

use std::ops::Range;

use mmlens_core::Inputs;
use mmlens_engine::{Positions, UnitError, Units};

/// A word that the model is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// The positions of its tokens.
    pub(crate) positions: Vec<usize>,
    /// Its bytes in the question or prompt as it was given; nothing for words of the template.
    pub(crate) bytes: Option<Range<usize>>,
}

/// The words among which parts are struck, as units; none where the model is asked several texts, or no words.
pub(crate) fn units(inputs: &Inputs) -> Result<Option<Units>, UnitError> {
    match Units::words(inputs, &Positions::Question) {
        Ok(units) => Ok(Some(units)),
        Err(UnitError::Rows { .. } | UnitError::NoText | UnitError::Nothing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The words of inputs that were made of a text.
pub(crate) fn words(inputs: &Inputs, text: Option<&str>) -> Result<Vec<Word>, UnitError> {
    let Some(units) = units(inputs)? else { return Ok(Vec::new()) };
    let prompt = &inputs.map().text;
    // The template may trim what it is given; the last place is the question, where it stands several times.
    let stands = text.and_then(|text| {
        let trimmed = text.trim();
        let before = text.len() - text.trim_start().len();
        let at = prompt.rfind(trimmed).filter(|_| !trimmed.is_empty())?;
        Some((at, before, at + trimmed.len()))
    });
    let word = |unit: &mmlens_engine::Unit| {
        let bytes = unit.label().bytes.zip(stands).and_then(|((from, to), (start, before, end))| {
            (start <= from && to <= end).then(|| from - start + before..to - start + before)
        });
        Word { text: unit.name().to_owned(), positions: unit.positions().to_vec(), bytes }
    };
    Ok(units.iter().map(word).collect())
}
