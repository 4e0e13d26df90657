//! What a checkpoint makes of the scores of the next token before one is chosen: `generate` of transformers, its logits
//! processors in their order, in their `f32` arithmetic.
//!
//! The text is the prompt with its padding, its expanded placeholders included, and what was written since. What comes
//! after these in transformers (temperature, `top_k`, `top_p` and the like) is a matter of drawing. `renormalize_logits`
//! changes no choice among finite scores.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::ZooError;
use crate::checkpoint::{GenerationConfig, SequenceBias};

/// One change of the scores.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// Adds to the score of the last token of a sequence, where the text ends with those before it.
    Bias(Vec<(Vec<u32>, f32)>),
    /// Multiplies scores below zero of tokens that the prompt has, and divides others.
    PromptPenalty(f32),
    /// The same of tokens that the text has, padding before it left out.
    Penalty(f32),
    /// No sequence of so many tokens a second time.
    NoRepeat(usize),
    /// No sequence of so many tokens that the prompt has.
    NoRepeatOfPrompt(usize),
    /// No end before the text has so many positions.
    NoEndBefore(usize),
    /// Nothing but these behind a text of one position.
    First(Vec<u32>),
    /// Nothing but these where the text has all positions but one.
    Last(Vec<u32>),
    /// No number for zero, infinities for the largest numbers.
    Finite,
    /// Behind so many positions, adds to the score of an end its size times a growing factor.
    Decay { from: i64, factor: f64 },
    /// Not these.
    Suppress(Vec<i64>),
    /// Not these where the text has so many positions.
    SuppressAt(usize, Vec<i64>),
}

/// All changes, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    ends: Vec<u32>,
    prompt: usize,
    longest: usize,
}

/// A prompt with its padding, and what was written since.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// The tokens.
    pub(crate) ids: Vec<u32>,
    /// The padding they begin with.
    pub(crate) pad: usize,
}

/// How long texts are: prompts with their padding, and with what may be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) prompt: usize,
    pub(crate) longest: usize,
}

impl Rules {
    /// The rules of a checkpoint in `dir` for a vocabulary and texts of some lengths.
    ///
    /// # Errors
    /// A setting that is not supported or cannot be, by its file and name.
    pub(crate) fn read(
        config: &GenerationConfig,
        dir: &Path,
        vocab: usize,
        Lengths { prompt, longest }: Lengths,
    ) -> Result<Self, ZooError> {
        supported(config, dir)?;
        let reader = Reader { config, dir, vocab };
        let mut rules = Vec::new();
        if let Some(biases) = &config.sequence_bias {
            rules.push(reader.biases("sequence_bias", biases)?);
        }
        if let Some(penalty) =
            reader.penalty("encoder_repetition_penalty", config.encoder_repetition_penalty)?
        {
            rules.push(Rule::PromptPenalty((1.0 / penalty) as f32));
        }
        if let Some(penalty) = reader.penalty("repetition_penalty", config.repetition_penalty)? {
            rules.push(Rule::Penalty(penalty as f32));
        }
        let above_zero =
            |size: Option<i64>| size.and_then(|size| usize::try_from(size).ok()).filter(|n| *n > 0);
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
        Ok(Self { rules, ends: config.eos.clone(), prompt, longest })
    }

    /// Whether scores stay as they are.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Changes the scores of what follows a text.
    pub(crate) fn apply(&self, text: &Text, scores: &mut [f32]) {
        for rule in &self.rules {
            self.one(rule, text, scores);
        }
    }

    fn one(&self, rule: &Rule, text: &Text, scores: &mut [f32]) {
        let (ids, length) = (text.ids.as_slice(), text.ids.len());
        let prompt = ids.get(..self.prompt).unwrap_or(ids);
        match rule {
            Rule::Bias(sequences) => biased(sequences, ids, scores),
            Rule::PromptPenalty(by) => penalised(prompt, *by, scores),
            Rule::Penalty(by) => penalised(ids.get(text.pad..).unwrap_or_default(), *by, scores),
            Rule::NoRepeat(size) => unrepeated(ids, ids, *size, scores),
            Rule::NoRepeatOfPrompt(size) => unrepeated(prompt, ids, *size, scores),
            Rule::NoEndBefore(least) if length < *least => hide(scores, &self.ends),
            Rule::First(tokens) if length == 1 => force(scores, tokens),
            Rule::Last(tokens) if length + 1 == self.longest => force(scores, tokens),
            Rule::Finite => {
                for score in scores {
                    *score = if score.is_nan() { 0.0 } else { score.clamp(f32::MIN, f32::MAX) };
                }
            }
            Rule::Decay { from, factor } if length as i64 > *from => {
                let power = factor.powf((length as i64 - from) as f64) - 1.0;
                for id in self.ends.iter().collect::<BTreeSet<_>>() {
                    if let Some(score) = scores.get_mut(*id as usize).filter(|score| score.is_finite()) {
                        *score += score.abs() * power as f32;
                    }
                }
            }
            Rule::Suppress(tokens) => suppressed(scores, tokens),
            Rule::SuppressAt(at, tokens) if length == *at => suppressed(scores, tokens),
            Rule::NoEndBefore(_)
            | Rule::First(_)
            | Rule::Last(_)
            | Rule::Decay { .. }
            | Rule::SuppressAt(..) => {}
        }
    }
}

fn biased(sequences: &[(Vec<u32>, f32)], ids: &[u32], scores: &mut [f32]) {
    let mut sums: BTreeMap<u32, f32> = BTreeMap::new();
    for (sequence, bias) in sequences {
        if let Some((last, before)) = sequence.split_last()
            && ids.ends_with(before)
        {
            *sums.entry(*last).or_default() += bias;
        }
    }
    for (id, sum) in sums {
        if let Some(score) = scores.get_mut(id as usize) {
            *score += sum;
        }
    }
}

fn penalised(ids: &[u32], by: f32, scores: &mut [f32]) {
    for id in ids.iter().collect::<BTreeSet<_>>() {
        if let Some(score) = scores.get_mut(*id as usize) {
            *score = if *score < 0.0 { *score * by } else { *score / by };
        }
    }
}

/// Hides what would end a sequence of so many tokens that `known` has.
fn unrepeated(known: &[u32], ids: &[u32], size: usize, scores: &mut [f32]) {
    let Some(begun) = (ids.len() + 1).checked_sub(size).and_then(|from| ids.get(from..)) else { return };
    for window in known.windows(size) {
        if let Some((last, before)) = window.split_last()
            && before == begun
        {
            hide(scores, std::slice::from_ref(last));
        }
    }
}

fn hide(scores: &mut [f32], tokens: &[u32]) {
    for id in tokens {
        if let Some(score) = scores.get_mut(*id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn suppressed(scores: &mut [f32], tokens: &[i64]) {
    for id in tokens {
        let place = usize::try_from(*id).ok().and_then(|id| scores.get_mut(id));
        if let Some(score) = place {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn force(scores: &mut [f32], tokens: &[u32]) {
    scores.fill(f32::NEG_INFINITY);
    for id in tokens {
        if let Some(score) = scores.get_mut(*id as usize) {
            *score = 0.0;
        }
    }
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

/// Refuses settings that lead to another way of generating, or need what is not there.
fn supported(config: &GenerationConfig, dir: &Path) -> Result<(), ZooError> {
    let refuse = |field: &str, found: String, supported: &str| ZooError::Unsupported {
        field: config.place(dir, field),
        found,
        supported: supported.to_owned(),
    };
    let one = |value: &Value| value.as_f64().is_some_and(|n| (n - 1.0).abs() < f64::EPSILON);
    let off = |value: &Value| matches!(value, Value::Bool(false)) || value.as_f64() == Some(0.0);
    let never = |_: &Value| false;
    let quantised = |value: &Value| value.as_str() == Some("quantized");
    type Harmless<'a> = &'a dyn Fn(&Value) -> bool;
    let settings: [(&str, &Option<Value>, Harmless<'_>, &str); 14] = [
        ("num_beams", &config.num_beams, &one, "1, no search by beams"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_lowers_scores_of_both_signs_and_leaves_padding_alone() {
        let rules = Rules { rules: vec![Rule::Penalty(2.0)], ends: vec![3], prompt: 3, longest: 9 };
        let text = Text { ids: vec![0, 1, 2], pad: 1 };
        let mut scores = [1.0, 2.0, -2.0, 4.0];
        rules.apply(&text, &mut scores);
        assert_eq!(scores, [1.0, 1.0, -4.0, 4.0]);
    }
}
