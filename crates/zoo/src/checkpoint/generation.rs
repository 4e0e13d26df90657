//! What a checkpoint says of generating text: `generation_config.json`, or, where that is missing, the fields of the same
//! names in `config.json`, which older checkpoints keep there.

use std::fmt;
use std::path::Path;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::json::{ConfigError, read_json, read_json_if_there};

/// Tokens of a sequence, and what is added to the score of the last one where those before it have just come.
pub type SequenceBias = (Vec<u32>, f64);

macro_rules! settings {
    ($($(#[$attribute:meta])* $field:ident = $key:literal: $kind:ty,)*) => {
        /// What a checkpoint says of generating text, as far as it is understood here. Fields have transformers' names, but
        /// for `eos`, `bos` and `pad`.
        #[derive(Debug, Clone, PartialEq, Default, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct GenerationConfig {
            $($(#[$attribute])* #[serde(rename = $key)] pub $field: $kind,)*
            /// Whether it was read from `config.json`.
            #[serde(skip)]
            pub from_model_config: bool,
            /// The fields that were read from its `text_config`.
            #[serde(skip)]
            pub(crate) inner: Vec<&'static str>,
        }

        impl GenerationConfig {
            /// These settings, and those of `inner` where they say nothing.
            fn or_inner(mut self, inner: Self) -> Self {
                let unset = Self::default();
                $(if self.$field == unset.$field && inner.$field != unset.$field {
                    self.$field = inner.$field;
                    self.inner.push($key);
                })*
                self
            }
        }
    };
}

settings! {
    /// The tokens that end an answer; the file may hold one or a list. Negative ones are none.
    #[serde(deserialize_with = "one_or_many")]
    eos = "eos_token_id": Vec<u32>,
    /// The token that begins a text.
    #[serde(deserialize_with = "token")]
    bos = "bos_token_id": Option<u32>,
    /// The token that fills up short texts of a batch.
    #[serde(deserialize_with = "token")]
    pad = "pad_token_id": Option<u32>,
    /// Whether to draw tokens at random rather than to take the most likely.
    #[serde(deserialize_with = "null_is_default")]
    do_sample = "do_sample": bool,
    /// By what to divide the logits before drawing.
    temperature = "temperature": Option<f64>,
    /// The share of probability to draw from.
    top_p = "top_p": Option<f64>,
    /// How many of the most likely tokens to draw from.
    top_k = "top_k": Option<u32>,
    /// How many tokens to add at most.
    max_new_tokens = "max_new_tokens": Option<u32>,
    /// How many positions prompt and answer may have together.
    max_length = "max_length": Option<i64>,
    /// No end token before prompt and answer have so many positions.
    min_length = "min_length": Option<i64>,
    /// No end token before the answer has so many.
    min_new_tokens = "min_new_tokens": Option<i64>,
    /// By what to divide the logits of tokens that were there before, or to multiply those below zero.
    repetition_penalty = "repetition_penalty": Option<f64>,
    /// The reverse for tokens of the prompt.
    encoder_repetition_penalty = "encoder_repetition_penalty": Option<f64>,
    /// No sequence of so many tokens comes twice.
    no_repeat_ngram_size = "no_repeat_ngram_size": Option<i64>,
    /// No sequence of so many tokens of the prompt comes again.
    encoder_no_repeat_ngram_size = "encoder_no_repeat_ngram_size": Option<i64>,
    /// Sequences that must not come.
    bad_words_ids = "bad_words_ids": Option<Vec<Vec<u32>>>,
    /// Sequences that come more or less easily.
    sequence_bias = "sequence_bias": Option<Vec<SequenceBias>>,
    /// The token behind a prompt of one position.
    #[serde(deserialize_with = "one_or_many")]
    forced_bos_token_id = "forced_bos_token_id": Vec<u32>,
    /// The token that ends an answer of the greatest length.
    #[serde(deserialize_with = "one_or_many")]
    forced_eos_token_id = "forced_eos_token_id": Vec<u32>,
    /// Whether scores that are no finite numbers become finite.
    #[serde(deserialize_with = "null_is_default")]
    remove_invalid_values = "remove_invalid_values": bool,
    /// After how many new tokens end tokens become likelier, and by what power.
    exponential_decay_length_penalty = "exponential_decay_length_penalty": Option<(i64, f64)>,
    /// Tokens that must not come.
    suppress_tokens = "suppress_tokens": Option<Vec<i64>>,
    /// Tokens that must not come first.
    begin_suppress_tokens = "begin_suppress_tokens": Option<Vec<i64>>,
    /// Beams; more than one leaves no answer without a search.
    num_beams = "num_beams": Option<Value>,
    /// Answers to a prompt; more than one is not supported.
    num_return_sequences = "num_return_sequences": Option<Value>,
    /// Of contrastive search, which is not supported.
    penalty_alpha = "penalty_alpha": Option<f64>,
    /// Of guidance by a second prompt, which is not supported.
    guidance_scale = "guidance_scale": Option<Value>,
    /// Texts that end an answer, which are not supported.
    stop_strings = "stop_strings": Option<Value>,
    /// A limit by the clock, which is not supported.
    max_time = "max_time": Option<Value>,
    /// Of constrained beam search, which is not supported.
    constraints = "constraints": Option<Value>,
    /// The same.
    force_words_ids = "force_words_ids": Option<Value>,
    /// Of decoding by contrasting layers, which is not supported.
    dola_layers = "dola_layers": Option<Value>,
    /// Of decoding with a draft, which is not supported.
    prompt_lookup_num_tokens = "prompt_lookup_num_tokens": Option<Value>,
    /// The same.
    assistant_early_exit = "assistant_early_exit": Option<Value>,
    /// The same.
    use_mtp = "use_mtp": Option<Value>,
    /// The same.
    is_assistant = "is_assistant": Option<Value>,
    /// Whether the prompt's last token is taken back, which is not supported.
    token_healing = "token_healing": Option<Value>,
    /// Of watermarks, which are not supported.
    watermarking_config = "watermarking_config": Option<Value>,
    /// How keys and values are kept; in other numbers than the model's is not supported.
    cache_implementation = "cache_implementation": Option<Value>,
}

/// Where `config.json` keeps the config of its decoder.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner {
    text_config: Option<GenerationConfig>,
}

impl GenerationConfig {
    /// Reads `generation_config.json` in `dir`; without that file, `config.json` and, for what is not set there, its
    /// `text_config`, as they stand, without the defaults of a family. Without either file, everything is unset.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a file is there but not as expected.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let dir = dir.as_ref();
        if let Some(own) = read_json_if_there(dir.join("generation_config.json"))? {
            return Ok(own);
        }
        let file = dir.join("config.json");
        let Some(outer) = read_json_if_there::<Self>(&file)? else { return Ok(Self::default()) };
        let inner: Inner = read_json(&file)?;
        let whole = outer.or_inner(inner.text_config.unwrap_or_default());
        Ok(Self { from_model_config: true, ..whole })
    }

    /// What `text_config` of `config.json` in `dir` says to a BLIP's decoder, which transformers generates with by itself: it
    /// knows no `generation_config.json`, and of the config only what newer versions of transformers added to generation.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file is not as expected.
    pub fn of_decoder(dir: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let inner: Inner = read_json(dir.as_ref().join("config.json"))?;
        let inner = inner.text_config.unwrap_or_default();
        let kept = Self {
            max_new_tokens: inner.max_new_tokens,
            min_new_tokens: inner.min_new_tokens,
            sequence_bias: inner.sequence_bias,
            penalty_alpha: inner.penalty_alpha,
            guidance_scale: inner.guidance_scale,
            stop_strings: inner.stop_strings,
            max_time: inner.max_time,
            constraints: inner.constraints,
            force_words_ids: inner.force_words_ids,
            dola_layers: inner.dola_layers,
            prompt_lookup_num_tokens: inner.prompt_lookup_num_tokens,
            assistant_early_exit: inner.assistant_early_exit,
            use_mtp: inner.use_mtp,
            is_assistant: inner.is_assistant,
            token_healing: inner.token_healing,
            watermarking_config: inner.watermarking_config,
            cache_implementation: inner.cache_implementation,
            ..Self::default()
        };
        Ok(Self { from_model_config: true, ..Self::default().or_inner(kept) })
    }

    /// A field as errors call it, with its file in `dir`.
    pub(crate) fn place(&self, dir: &Path, field: &str) -> String {
        let file = if self.from_model_config { "config.json" } else { "generation_config.json" };
        let within = if self.inner.contains(&field) { "text_config." } else { "" };
        format!("{}: {within}{field}", dir.join(file).display())
    }

    /// How many tokens an answer to a prompt of so many positions may have; `None` if nothing is said. A length that is negative,
    /// or that the prompt fills, leaves none.
    #[must_use]
    pub fn longest_answer(&self, prompt: usize) -> Option<usize> {
        let whole = |length: i64| usize::try_from(length).unwrap_or(0).saturating_sub(prompt);
        self.max_new_tokens.map(|most| most as usize).or(self.max_length.map(whole))
    }
}

/// A token id, a list of them, or null; negative ids are left out, since they are no tokens.
///
/// # Errors
///
/// Anything else.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    deserializer.deserialize_any(OneOrMany)
}

/// A token id, or none: null, or a negative number.
fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let id: Option<i64> = Option::deserialize(deserializer)?;
    match id {
        Some(id) if id >= 0 => u32::try_from(id)
            .map(Some)
            .map_err(|_| D::Error::invalid_value(Unexpected::Signed(id), &"a token id")),
        _ => Ok(None),
    }
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

    fn visit_i64<E: Error>(self, _: i64) -> Result<Vec<u32>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u32>, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = list.next_element::<i64>()? {
            match u32::try_from(id) {
                Ok(id) => ids.push(id),
                Err(_) if id < 0 => {}
                Err(_) => return Err(A::Error::invalid_value(Unexpected::Signed(id), &self)),
            }
        }
        Ok(ids)
    }
}

fn null_is_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
