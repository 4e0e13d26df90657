//! What a checkpoint makes of the scores of the next token before one is chosen: `generate` of transformers, its logits
//! processors in their order, in their `f32` arithmetic.
//!
//! The text is the prompt with its padding, its expanded placeholders included, and what was written since. What comes
//! after these in transformers (temperature, `top_k`, `top_p` and the like) is a matter of drawing. `renormalize_logits`
//! changes no choice among finite scores.

use std::collections::{BTreeMap, BTreeSet};

use crate::Inputs;

/// One change of the scores.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Rule {
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
    /// Nothing but these where the text has all positions that it may have but one.
    Last(Vec<u32>),
    /// No number for zero, infinities for the largest numbers.
    Finite,
    /// Behind so many positions, adds to the score of an end its size times a growing factor.
    Decay {
        /// How many positions.
        from: i64,
        /// What grows: its power, by the positions since.
        factor: f64,
    },
    /// Not these; negative ones are no tokens.
    Suppress(Vec<i64>),
    /// Not these where the text has so many positions.
    SuppressAt(usize, Vec<i64>),
}

/// What a subject says of the answers to some inputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// The changes of scores, in order.
    pub changes: Vec<Rule>,
    /// The tokens that end an answer.
    pub ends: Vec<u32>,
    /// For each row of the inputs, the text that the answer goes on from. All have one length.
    pub texts: Vec<Text>,
    /// Why the checkpoint can only be answered for by a search by beams, if it asks for one.
    pub beams: Option<String>,
}

/// A prompt with its padding, and what was written since.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// The tokens.
    pub ids: Vec<u32>,
    /// How many of them, at the start, are padding.
    pub pad: usize,
}

impl Rules {
    /// No change and no end: answers go on from the rows of the inputs as they stand.
    pub fn none(inputs: &Inputs) -> Self {
        let text = |(ids, pad): (&Vec<u32>, &usize)| Text { ids: ids.clone(), pad: *pad };
        Self { texts: inputs.ids.iter().zip(&inputs.pads).map(text).collect(), ..Self::default() }
    }

    /// Changes the scores of what follows a text, of which an answer may have so many tokens.
    pub fn apply(&self, text: &Text, max_new: usize, scores: &mut [f32]) {
        let longest = self.prompt().saturating_add(max_new);
        for rule in &self.changes {
            self.one(rule, (text, longest), scores);
        }
    }

    /// The positions of a prompt, its padding included.
    fn prompt(&self) -> usize {
        self.texts.first().map_or(0, |text| text.ids.len())
    }

    fn one(&self, rule: &Rule, (text, longest): (&Text, usize), scores: &mut [f32]) {
        let (ids, length) = (text.ids.as_slice(), text.ids.len());
        let prompt = ids.get(..self.prompt()).unwrap_or(ids);
        match rule {
            Rule::Bias(sequences) => biased(sequences, ids, scores),
            Rule::PromptPenalty(by) => penalised(prompt, *by, scores),
            Rule::Penalty(by) => penalised(ids.get(text.pad..).unwrap_or_default(), *by, scores),
            Rule::NoRepeat(size) => unrepeated(ids, ids, *size, scores),
            Rule::NoRepeatOfPrompt(size) => unrepeated(prompt, ids, *size, scores),
            Rule::NoEndBefore(least) if length < *least => hide(scores, &self.ends),
            Rule::First(tokens) if length == 1 => force(scores, tokens),
            Rule::Last(tokens) if length + 1 == longest => force(scores, tokens),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_lowers_scores_of_both_signs_and_leaves_padding_alone() {
        let text = Text { ids: vec![0, 1, 2], pad: 1 };
        let rules =
            Rules { changes: vec![Rule::Penalty(2.0)], texts: vec![text.clone()], ..Rules::default() };
        let mut scores = [1.0, 2.0, -2.0, 4.0];
        rules.apply(&text, 6, &mut scores);
        assert_eq!(scores, [1.0, 1.0, -4.0, 4.0]);
    }
}
