//! The `tokenizers` library behind one door: what it panics over is an error of the file, and texts are bounded before it
//! multiplies them.

mod around;
mod growth;
mod outline;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmlens_core::caught;
use serde::de::DeserializeOwned;
use tokenizers::{AddedToken, ModelWrapper};

use super::error::TextError;
use super::piece::Alphabet;
use crate::checkpoint::{ConfigError, parse_json_within};
use growth::Growth;
use outline::Outline;

/// The most bytes of a vocabulary's file. The largest of checkpoints have some 35 MB.
pub(super) const MOST_TOKENIZER_BYTES: u64 = 1 << 27;
/// The most values in a vocabulary's JSON. The largest of checkpoints have two million.
const MOST_VALUES: usize = 1 << 22;
/// The most bytes of a text, with all that the steps of a tokenizer may make of it. A token takes some 130.
const MOST_TEXT: usize = 1 << 24;
/// The most tokens for each byte of a text, and some more. A byte is a token of its own at most, and what a step decomposes becomes
/// eleven bytes for each; a file that makes more of a text would have a pass take minutes over a few words.
const MOST_FOR_A_BYTE: usize = 64;
const MOST_AT_LEAST: usize = 512;

/// A tokenizer of the library.
#[derive(Debug, Clone)]
pub(super) struct Library {
    inner: Arc<tokenizers::Tokenizer>,
    file: PathBuf,
    encoding: Growth,
    decoding: Growth,
    /// Ids that the steps put around a text, by the field that names each.
    around: Vec<(String, u64)>,
}

impl Library {
    /// Reads the text of a `tokenizer.json`; `file` is what errors call it.
    pub(super) fn read(file: &Path, text: &[u8]) -> Result<Self, TextError> {
        let outline: Outline = parse_vocabulary(file, text)?;
        let wrong = |(field, found, expected): outline::Wrong| TextError::Field {
            file: file.to_owned(),
            field,
            found,
            expected,
        };
        outline.check().map_err(wrong)?;
        let around = around::ids(&outline.post_processor);
        let (encoding, decoding) = (Growth::of_encoding(&outline), Growth::of_decoding(&outline));
        let complain =
            |problem: String| TextError::Tokenizer { file: file.to_owned(), problem: cut(&problem) };
        let inner = caught(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(text)?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            Ok::<_, tokenizers::Error>(inner)
        });
        let inner = inner.map_err(|panic| complain(format!("the library fails: {panic}")))?;
        let inner = Arc::new(inner.map_err(|error| complain(error.to_string()))?);
        Ok(Self { inner, file: file.to_owned(), encoding, decoding, around })
    }

    /// That what stands around a text is tokens that there are. To be asked once all that were added are there.
    ///
    /// # Errors
    /// [`TextError::Field`].
    pub(super) fn surrounded(&self) -> Result<(), TextError> {
        let there = |id: u64| u32::try_from(id).is_ok_and(|id| self.token(id).is_some());
        let Some((field, id)) = self.around.iter().find(|(_, id)| !there(*id)) else { return Ok(()) };
        Err(TextError::Field {
            file: self.file.clone(),
            field: field.clone(),
            found: format!("{id}, an id that none of the {} tokens has", self.len()),
            expected: "the id of a token",
        })
    }

    /// Adds a token; its id.
    pub(super) fn add(&mut self, token: AddedToken) -> Result<Option<u32>, TextError> {
        let (content, inner) = (token.content.clone(), Arc::make_mut(&mut self.inner));
        let added = caught(|| {
            match token.special {
                true => inner.add_special_tokens([token]),
                false => inner.add_tokens([token]),
            }?;
            Ok::<_, tokenizers::Error>(inner.token_to_id(&content))
        });
        self.told("could not add a token", added)
    }

    /// Ids, where in the text they are, and whether the tokenizer added them.
    #[allow(clippy::type_complexity, reason = "three things of one token")]
    pub(super) fn encode(
        &self,
        text: &str,
        special: bool,
    ) -> Result<Vec<(u32, (usize, usize), bool)>, TextError> {
        const DOING: &str = "could not tokenize";
        self.bounded(DOING, text.len(), &self.encoding)?;
        let inner = &self.inner;
        let encoding = self.told(DOING, caught(|| inner.encode(text, special)))?;
        let (found, most) = (encoding.len(), MOST_FOR_A_BYTE * text.len() + MOST_AT_LEAST);
        if found > most {
            let bytes = text.len();
            let problem =
                format!("its steps make {found} tokens of a text of {bytes} bytes, expected at most {most}");
            return Err(self.failed(DOING, problem));
        }
        let places = encoding.get_offsets().iter().zip(encoding.get_special_tokens_mask());
        let token = |(&id, (&place, &added)): (&u32, (&(usize, usize), &u32))| (id, place, added != 0);
        Ok(encoding.get_ids().iter().zip(places).map(token).collect())
    }

    /// The text of tokens, all of which are there.
    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        const DOING: &str = "could not join tokens";
        let bytes = ids.iter().map(|id| self.token(*id).map_or(0, |token| token.len())).sum();
        self.bounded(DOING, bytes, &self.decoding)?;
        let inner = &self.inner;
        self.told(DOING, caught(|| inner.decode(ids, skip_special)))
    }

    /// The id of a token.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id.
    pub(super) fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token that was added under an id.
    pub(super) fn added(&self, id: u32) -> Option<&AddedToken> {
        self.inner.get_added_vocabulary().get_added_tokens_decoder().get(&id)
    }

    /// Whether a token is special.
    pub(super) fn is_special(&self, token: &str) -> bool {
        self.inner.get_added_vocabulary().is_special_token(token)
    }

    /// Whether its model is byte pairs, and what ends a word in it.
    pub(super) fn byte_pairs(&self) -> Option<Option<&str>> {
        match self.inner.get_model() {
            ModelWrapper::BPE(model) => Some(model.end_of_word_suffix.as_deref()),
            _ => None,
        }
    }

    /// How its vocabulary writes tokens.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] for steps that cannot be told as JSON.
    pub(super) fn alphabet(&self) -> Result<Alphabet, TextError> {
        let complain = |error: serde_json::Error| TextError::Tokenizer {
            file: self.file.clone(),
            problem: cut(&error.to_string()),
        };
        let decoder = serde_json::to_value(self.inner.get_decoder()).map_err(complain)?;
        let splitter = serde_json::to_value(self.inner.get_pre_tokenizer()).map_err(complain)?;
        Ok(Alphabet::new(&decoder, &splitter, self.byte_pairs().flatten()))
    }

    /// Refuses a text that may become too long.
    fn bounded(&self, doing: &'static str, bytes: usize, growth: &Growth) -> Result<(), TextError> {
        let most = growth.of(bytes);
        if most <= MOST_TEXT as f64 {
            return Ok(());
        }
        let problem = match growth.factor() > 64.0 {
            true => format!(
                "{} may make {most:.0} bytes of the {bytes} there are, expected at most {MOST_TEXT}",
                growth.cause()
            ),
            false => format!("a text of {bytes} bytes, expected at most {:.0}", growth.most(MOST_TEXT)),
        };
        Err(self.failed(doing, problem))
    }

    fn told<T>(
        &self,
        doing: &'static str,
        done: Result<tokenizers::Result<T>, mmlens_core::Panicked>,
    ) -> Result<T, TextError> {
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.failed(doing, error.to_string())),
            Err(panic) => Err(self.failed(doing, format!("the library fails over this file: {panic}"))),
        }
    }

    fn failed(&self, doing: &'static str, problem: String) -> TextError {
        TextError::Conversion { file: self.file.clone(), doing, problem: cut(&problem) }
    }
}

/// Reads the JSON of a vocabulary.
pub(super) fn parse_vocabulary<T: DeserializeOwned>(file: &Path, text: &[u8]) -> Result<T, ConfigError> {
    parse_json_within(file, text, MOST_VALUES)
}

/// The most characters of what the library says: it may quote the file.
const LONGEST: usize = 300;

fn cut(problem: &str) -> String {
    problem.chars().take(LONGEST).collect()
}
