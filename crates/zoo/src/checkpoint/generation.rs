//! `generation_config.json`: how a checkpoint asks to be sampled.

use std::fmt;
use std::path::Path;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::json::{ConfigError, read_json_if_there};

/// What `generation_config.json` says, as far as it is understood here.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// The tokens that end an answer; the file may hold one or a list.
    #[serde(rename = "eos_token_id", deserialize_with = "one_or_many")]
    pub eos: Vec<u32>,
    /// The token that begins a text.
    #[serde(rename = "bos_token_id")]
    pub bos: Option<u32>,
    /// The token that fills up short texts of a batch.
    #[serde(rename = "pad_token_id")]
    pub pad: Option<u32>,
    /// Whether to draw tokens at random rather than to take the most likely.
    #[serde(deserialize_with = "null_is_default")]
    pub do_sample: bool,
    /// By what to divide the logits before drawing.
    pub temperature: Option<f64>,
    /// The share of probability to draw from.
    pub top_p: Option<f64>,
    /// How many of the most likely tokens to draw from.
    pub top_k: Option<u32>,
    /// By what to divide the logits of tokens that were there before.
    pub repetition_penalty: Option<f64>,
    /// How many tokens to add at most.
    pub max_new_tokens: Option<u32>,
}

impl GenerationConfig {
    /// Reads `generation_config.json` in `dir`; without that file, everything is unset.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file is there but not as expected.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Ok(read_json_if_there(dir.as_ref().join("generation_config.json"))?.unwrap_or_default())
    }
}

/// A token id, a list of them, or null.
///
/// # Errors
///
/// Anything else.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    deserializer.deserialize_any(OneOrMany)
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token id, or a list of them")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<u32>, E> {
        Ok(Vec::new())
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<Vec<u32>, E> {
        let id = u32::try_from(id).map_err(|_| E::invalid_value(Unexpected::Unsigned(id), &self))?;
        Ok(vec![id])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u32>, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = list.next_element()? {
            ids.push(id);
        }
        Ok(ids)
    }
}

fn null_is_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
