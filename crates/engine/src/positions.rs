//! Which positions of a prompt a method looks at.

use serde::{Deserialize, Serialize};
use std::fmt;

use mmlens_core::TokenMap;
use mmlens_core::finding::Modality;

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
    /// Those that hold words, markers of the model included; not what fills a text up to a fixed length.
    Words,
    /// Words that come after the first picture, the last position excepted; where there are none, all words that are no
    /// markers of the model, the last position excepted.
    Question,
    /// The last, where the next token is decided.
    Last,
    /// These.
    At(Vec<usize>),
}

impl Positions {
    /// The positions in a prompt, in ascending order, each once. `Err` holds a position the prompt does not
    /// have.
    ///
    /// # Errors
    /// The first position past the end.
    pub fn of(&self, map: &TokenMap) -> Result<Vec<usize>, usize> {
        let pictured = |i: &usize| {
            map.tokens.get(*i).is_some_and(|t| matches!(t.modality, Modality::Image | Modality::Video))
        };
        let mut chosen: Vec<usize> = match self {
            Self::All => (0..map.len()).collect(),
            Self::Pictures => (0..map.len()).filter(pictured).collect(),
            Self::Words => (0..map.len()).filter(|i| !pictured(i) && !map.padding.contains(i)).collect(),
            Self::Question => {
                let end = map.len().saturating_sub(1);
                let first = (0..end).find(pictured).unwrap_or(end);
                let after: Vec<usize> = (first..end).filter(|i| !pictured(i)).collect();
                let text = |i: &usize| map.tokens.get(*i).is_some_and(|t| t.modality == Modality::Text);
                if after.is_empty() { (0..end).filter(text).collect() } else { after }
            }
            Self::Last => map.len().checked_sub(1).into_iter().collect(),
            Self::At(positions) => positions.clone(),
        };
        chosen.sort_unstable();
        chosen.dedup();
        match chosen.last() {
            Some(last) if *last >= map.len() => Err(*last),
            _ => Ok(chosen),
        }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Pictures => f.write_str("pictures"),
            Self::Words => f.write_str("words"),
            Self::Question => f.write_str("question"),
            Self::Last => f.write_str("last"),
            Self::At(positions) => write!(f, "{positions:?}"),
        }
    }
}
