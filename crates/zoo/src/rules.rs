//! What a checkpoint says of generating, as rules of the loop: settings are read in the order of transformers' logits processors, and
//! what is not supported or cannot be is refused by file and name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mmlens_core::{Rule, Rules, Text};
use serde_json::Value;

use crate::ZooError;
use crate::checkpoint::{GenerationConfig, SequenceBias};

/// The rules of a checkpoint in `dir` for a vocabulary and the texts that answers go on from, all of one length.
///
/// # Errors
/// A setting that is not supported or cannot be, by its file and name.
pub(crate) fn rules(
    config: &GenerationConfig,
    dir: &Path,
    vocab: usize,
    texts: Vec<Text>,
) -> Result<Rules, ZooError> {
    supported(config, dir)?;
    let prompt = texts.first().map_or(0, |text| text.ids.len());
    let reader = Reader { config, dir, vocab };
    let mut rules = Vec::new();
    if let Some(biases) = &config.sequence_bias {
        rules.push(reader.biases("sequence_bias", biases)?);
    }
    if let Some(penalty) = reader.penalty("encoder_repetition_penalty", config.encoder_repetition_penalty)? {
        rules.push(Rule::PromptPenalty((1.0 / penalty) as f32));
    }
    if let Some(penalty) = reader.penalty("repetition_penalty", config.repetition_penalty)? {
        rules.push(Rule::Penalty(penalty as f32));
    }
    let above_zero = |size: Option<i64>| size.and_then(|size| usize::try_from(size).ok()).filter(|n| *n > 0);
    rules.extend(above_zero(config.no_repeat_ngram_size).map(Rule::NoRepeat));
    rules.extend(above_zero(config.encoder_no_repeat_ngram_size).map(Rule::NoRepeatOfPrompt));
    if let Some(words) = &config.bad_words_ids {
        rules.push(reader.bad_words(words)?);
    }
    // A least number of new tokens goes before a least length, which counts the prompt.
    let new = above_zero(config.min_new_tokens).map(|new| prompt + new);
    let least = if config.min_new_tokens.is_some() { new } else { above_zero(config.min_length) };
    rules.extend(least.map(Rule::NoEndBefore));
    if !config.forced_bos_token_id.is_empty() {
        rules.push(Rule::First(reader.forced("forced_bos_token_id", &config.forced_bos_token_id)?));
    }
    if !config.forced_eos_token_id.is_empty() {
        rules.push(Rule::Last(reader.forced("forced_eos_token_id", &config.forced_eos_token_id)?));
    }
    if config.remove_invalid_values {
        rules.push(Rule::Finite);
    }
    if let Some((start, factor)) = config.exponential_decay_length_penalty {
        if config.eos.is_empty() {
            let found = format!("[{start}, {factor}]");
            let expected = "null, since the checkpoint has no end token".to_owned();
            return Err(reader.wrong("exponential_decay_length_penalty", found, expected));
        }
        rules.push(Rule::Decay { from: start.saturating_add(prompt as i64), factor });
    }
    rules.extend(config.suppress_tokens.clone().map(Rule::Suppress));
    if let Some(tokens) = &config.begin_suppress_tokens {
        // A token that is forced comes first.
        let begun = prompt > 1 || config.forced_bos_token_id.is_empty();
        rules.push(Rule::SuppressAt(if begun { prompt } else { prompt + 1 }, tokens.clone()));
    }
    Ok(Rules { changes: rules, ends: config.eos.clone(), texts, beams: beams(config, dir) })
}

/// Reads settings that come with conditions.
struct Reader<'a> {
    config: &'a GenerationConfig,
    dir: &'a Path,
    vocab: usize,
}

impl Reader<'_> {
    fn wrong(&self, field: &str, found: String, expected: String) -> ZooError {
        ZooError::Value { field: self.config.place(self.dir, field), found, expected }
    }

    fn penalty(&self, field: &str, penalty: Option<f64>) -> Result<Option<f64>, ZooError> {
        match penalty {
            // A penalty of one changes nothing.
            None => Ok(None),
            Some(penalty) if (penalty - 1.0).abs() < f64::EPSILON => Ok(None),
            Some(penalty) if penalty > 0.0 && penalty.is_finite() => Ok(Some(penalty)),
            Some(penalty) => Err(self.wrong(field, penalty.to_string(), "a number above 0".to_owned())),
        }
    }

    /// Tokens that scores can be given to.
    fn known(&self, field: &str, tokens: &[u32]) -> Result<(), ZooError> {
        match tokens.iter().find(|id| **id as usize >= self.vocab) {
            None => Ok(()),
            Some(id) => Err(self.wrong(field, format!("token {id}"), format!("tokens below {}", self.vocab))),
        }
    }

    fn forced(&self, field: &str, tokens: &[u32]) -> Result<Vec<u32>, ZooError> {
        self.known(field, tokens)?;
        let suppressed = self.config.suppress_tokens.as_deref().unwrap_or_default();
        if tokens.iter().all(|id| suppressed.contains(&i64::from(*id))) {
            let expected = "a token that `suppress_tokens` has not".to_owned();
            return Err(self.wrong(field, format!("{tokens:?}"), expected));
        }
        Ok(tokens.to_vec())
    }

    fn biases(&self, field: &str, biases: &[SequenceBias]) -> Result<Rule, ZooError> {
        if biases.is_empty() {
            return Err(self.wrong(field, "[]".to_owned(), "at least one sequence, or null".to_owned()));
        }
        // Of a sequence that is listed twice the last bias counts.
        let mut listed: BTreeMap<&[u32], f32> = BTreeMap::new();
        for (sequence, bias) in biases {
            self.known(field, sequence)?;
            if bias.is_nan() {
                return Err(self.wrong(field, bias.to_string(), "biases that are numbers".to_owned()));
            }
            listed.insert(sequence, *bias as f32);
        }
        Ok(Rule::Bias(listed.into_iter().map(|(sequence, bias)| (sequence.to_vec(), bias)).collect()))
    }

    /// An end token by itself is no bad word.
    fn bad_words(&self, words: &[Vec<u32>]) -> Result<Rule, ZooError> {
        let field = "bad_words_ids";
        if words.is_empty() {
            return Err(self.wrong(field, "[]".to_owned(), "at least one sequence, or null".to_owned()));
        }
        let ends = |word: &[u32]| matches!(word, [id] if self.config.eos.contains(id));
        let words: BTreeSet<&Vec<u32>> = words.iter().filter(|word| !ends(word)).collect();
        for word in &words {
            self.known(field, word)?;
        }
        Ok(Rule::Bias(words.into_iter().map(|word| (word.clone(), f32::NEG_INFINITY)).collect()))
    }
}

/// Whether a setting is the number one.
fn one(value: &Value) -> bool {
    value.as_f64().is_some_and(|n| (n - 1.0).abs() < f64::EPSILON)
}

fn refused(config: &GenerationConfig, dir: &Path, field: &str, found: String, supported: &str) -> ZooError {
    ZooError::Unsupported { field: config.place(dir, field), found, supported: supported.to_owned() }
}

/// Why one token after another, without a search by beams, is not what the checkpoint asks for.
fn beams(config: &GenerationConfig, dir: &Path) -> Option<String> {
    let asked = config.num_beams.as_ref().filter(|value| !one(value))?;
    Some(refused(config, dir, "num_beams", asked.to_string(), "1, no search by beams").to_string())
}

/// Refuses settings that lead to another way of generating, or need what is not there.
fn supported(config: &GenerationConfig, dir: &Path) -> Result<(), ZooError> {
    let refuse = |field: &str, found, supported| refused(config, dir, field, found, supported);
    let off = |value: &Value| matches!(value, Value::Bool(false)) || value.as_f64() == Some(0.0);
    let never = |_: &Value| false;
    let quantised = |value: &Value| value.as_str() == Some("quantized");
    type Harmless<'a> = &'a dyn Fn(&Value) -> bool;
    let settings: [(&str, &Option<Value>, Harmless<'_>, &str); 13] = [
        ("num_return_sequences", &config.num_return_sequences, &one, "1"),
        ("guidance_scale", &config.guidance_scale, &one, "1, no guidance by a second prompt"),
        ("stop_strings", &config.stop_strings, &never, "null, end tokens alone"),
        ("max_time", &config.max_time, &never, "null, no limit by the clock"),
        ("constraints", &config.constraints, &never, "null"),
        ("force_words_ids", &config.force_words_ids, &never, "null"),
        ("dola_layers", &config.dola_layers, &never, "null"),
        ("prompt_lookup_num_tokens", &config.prompt_lookup_num_tokens, &never, "null"),
        ("assistant_early_exit", &config.assistant_early_exit, &never, "null"),
        ("use_mtp", &config.use_mtp, &off, "false"),
        ("is_assistant", &config.is_assistant, &off, "false"),
        ("token_healing", &config.token_healing, &off, "false"),
        ("watermarking_config", &config.watermarking_config, &never, "null"),
    ];
    for (field, value, harmless, supported) in settings {
        if let Some(value) = value.as_ref().filter(|value| !harmless(value)) {
            return Err(refuse(field, value.to_string(), supported));
        }
    }
    if let Some(value) = config.cache_implementation.as_ref().filter(|value| quantised(value)) {
        return Err(refuse(
            "cache_implementation",
            value.to_string(),
            "keys and values as the model has them",
        ));
    }
    match config.penalty_alpha {
        Some(alpha) if alpha > 0.0 && config.top_k.unwrap_or(50) > 1 => {
            Err(refuse("penalty_alpha", alpha.to_string(), "0 or null, no contrastive search"))
        }
        _ => Ok(()),
    }
}
