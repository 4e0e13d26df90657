//! Which positions of a prompt a method looks at.

use serde::{Deserialize, Serialize};
use std::fmt;

use mmlens_core::finding::Modality;
use mmlens_core::{AnalysisError, Inputs, TokenMap};

use crate::phrase;

/// Positions of a prompt, chosen before the prompt is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Positions {
    /// All of them.
    #[default]
    All,
    /// Those that show pictures.
    Pictures,
    /// Those that play recordings.
    Recordings,
    /// Those that hold words of the prompt, markers of the model included; not what fills a text up to a fixed length.
    Words,
    /// Words of the prompt that come after the first picture or recording, its last position excepted; where there are none, all its words that
    /// are no markers of the model, its last position excepted.
    Question,
    /// The last of the prompt, where the next token is decided: the first of an answer, if one stands behind it.
    Last,
    /// Those of an answer behind the prompt.
    Answer,
    /// Tokens of a phrase, of those the prompt has as text: where it stands as whole words, or else anywhere, and there the first time.
    Phrase(String),
    /// These.
    At(Vec<usize>),
}

impl Positions {
    /// Those that show what a prompt shows beside words: pictures, or recordings where it has no pictures.
    #[must_use]
    pub fn perceived(map: &TokenMap) -> Self {
        let heard = map.tokens.iter().any(|token| token.modality == Modality::Audio);
        let seen = map.tokens.iter().any(|token| matches!(token.modality, Modality::Image | Modality::Video));
        if heard && !seen { Self::Recordings } else { Self::Pictures }
    }

    /// The positions in a prompt, in ascending order, each once. `Err` holds a position the prompt does not
    /// have.
    ///
    /// # Errors
    /// The first position past the end.
    pub fn of(&self, map: &TokenMap) -> Result<Vec<usize>, usize> {
        let is = |i: usize, of: fn(Modality) -> bool| map.tokens.get(i).is_some_and(|t| of(t.modality));
        let perceived = |i: &usize| is(*i, Modality::is_perceived);
        let pictured = |i: &usize| is(*i, |own| matches!(own, Modality::Image | Modality::Video));
        let mut chosen: Vec<usize> = match self {
            Self::All => (0..map.len()).collect(),
            Self::Pictures => (0..map.len()).filter(pictured).collect(),
            Self::Recordings => (0..map.len()).filter(|i| is(*i, |own| own == Modality::Audio)).collect(),
            Self::Words => map.prompt().filter(|i| !perceived(i) && !map.padding.contains(i)).collect(),
            Self::Question => {
                let end = map.prompt().end.saturating_sub(1);
                let first = (0..end).find(perceived).unwrap_or(end);
                let after: Vec<usize> = (first..end).filter(|i| !perceived(i)).collect();
                let text = |i: &usize| map.tokens.get(*i).is_some_and(|t| t.modality == Modality::Text);
                if after.is_empty() { (0..end).filter(text).collect() } else { after }
            }
            Self::Last => map.prompt().last().into_iter().collect(),
            Self::Answer => map.reply().collect(),
            Self::Phrase(phrase) => {
                let found = phrase::find(&map.text, phrase).map(|(bytes, _)| bytes);
                let own = found.map_or_else(Vec::new, |bytes| map.bytes(bytes.start, bytes.end));
                own.into_iter().filter(|i| map.prompt().contains(i)).collect()
            }
            Self::At(positions) => positions.clone(),
        };
        chosen.sort_unstable();
        chosen.dedup();
        match chosen.last() {
            Some(last) if *last >= map.len() => Err(*last),
            _ => Ok(chosen),
        }
    }

    /// The positions in a prompt, as [`of`](Self::of): at least one.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for none, or a position the prompt does not have.
    pub fn chosen(&self, method: &'static str, map: &TokenMap) -> Result<Vec<usize>, AnalysisError> {
        match self.of(map) {
            Ok(found) if found.is_empty() => {
                refused(method, "at least one position", format!("the sample has none of `{self}`"))
            }
            Ok(found) => Ok(found),
            Err(past) => {
                let found = format!("position {past} was asked for of {}", map.len());
                refused(method, "positions that the sample has", found)
            }
        }
    }
}

/// The token map of inputs of one row without padding.
///
/// # Errors
/// [`AnalysisError::Input`] for others.
pub fn one_row<'a>(method: &'static str, inputs: &'a Inputs) -> Result<&'a TokenMap, AnalysisError> {
    let (rows, pads) = (inputs.rows(), inputs.pads.first().copied().unwrap_or(0));
    if rows != 1 {
        return refused(method, "a sample of one row", format!("this one has {rows}"));
    }
    if pads != 0 || inputs.map().len() != inputs.positions() {
        let found = format!("{} of {} positions are labelled", inputs.map().len(), inputs.positions());
        return refused(method, "a sample whose every position is labelled", found);
    }
    Ok(inputs.map())
}

fn refused<T>(method: &'static str, needs: &'static str, found: String) -> Result<T, AnalysisError> {
    Err(AnalysisError::Input { method, needs: needs.into(), found })
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Pictures => f.write_str("pictures"),
            Self::Recordings => f.write_str("recordings"),
            Self::Words => f.write_str("words"),
            Self::Question => f.write_str("question"),
            Self::Last => f.write_str("last"),
            Self::Answer => f.write_str("answer"),
            Self::Phrase(phrase) => write!(f, "the phrase “{phrase}”"),
            Self::At(positions) => write!(f, "{positions:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::TokenMap;
    use mmlens_core::finding::{Modality, TokenLabel};

    use super::Positions;

    /// A prompt of `bored `, `red`, ` re`, `d` behind a picture, and an answer.
    #[test]
    fn a_phrase_is_the_tokens_that_share_a_byte_with_it() {
        let at = |text: &str, from: usize| {
            TokenLabel::new(text, Modality::Text).with_bytes(from, from + text.len())
        };
        let tokens = vec![
            TokenLabel::new("", Modality::Image),
            at("bored ", 0),
            at("red", 6),
            at(" re", 9),
            at("d", 12),
        ];
        let map =
            TokenMap { tokens, text: "bored red red".to_owned(), answer: Some(4), ..TokenMap::default() };
        let of = |phrase: &str| Positions::Phrase(phrase.to_owned()).of(&map).unwrap_or_default();
        assert_eq!(of("red"), [2]);
        assert_eq!(of("ore"), [1]);
        assert_eq!(of("bored red"), [1, 2]);
        // What is an answer already is none of the prompt.
        assert_eq!(of("red red"), [2, 3]);
        assert_eq!((of("blue").len(), of(" ").len()), (0, 0));
    }
}
