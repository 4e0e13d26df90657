//! An answer behind a prompt.

use mmlens_core::finding::{Modality, TokenLabel};
use mmlens_core::{Inputs, Sample, Subject as _, SubjectError, Words};

use super::{Seen, Vlm, shown, words};
use crate::text::{ChatOptions, Message};

impl Vlm {
    /// The tokens of an answer behind a prompt, which keeps its own tokens.
    ///
    /// An answer to a question begins with the spaces that the chat template puts there. Prompt and answer are tokenised together,
    /// as they are in training, unless that would change the last tokens of the prompt: then the answer is by itself.
    pub(super) fn continued(
        &self,
        sample: &Sample,
        seen: &Seen,
        (prompt, special): (&str, bool),
        ids: &[u32],
        answer: &str,
    ) -> Result<Vec<u32>, SubjectError> {
        if answer.trim().is_empty() {
            return Err(self.refuse("the answer is empty"));
        }
        let written = self.begins(sample, prompt, answer).unwrap_or_else(|| answer.to_owned());
        let (tokenizer, whole) = (&self.parts.tokenizer, format!("{prompt}{written}"));
        let together = words::tokenise(tokenizer, self.eyes.as_ref(), seen, &whole, special);
        let rest = together.ok().and_then(|(all, _)| all.strip_prefix(ids).map(<[u32]>::to_vec));
        let tokens = rest.map_or_else(|| self.tokens(&written), Ok)?;
        let unknown = tokenizer.special_id("unk_token").filter(|unknown| tokens.contains(unknown));
        match unknown.map(|unknown| self.token(unknown)) {
            Some(unknown) if !answer.contains(&unknown) => {
                Err(self.refuse(format!("it has no words for all of the answer `{answer}`")))
            }
            _ => Ok(tokens),
        }
    }

    /// An answer as the chat template writes it behind what begins one: with the spaces that it puts there, and those at the ends that
    /// it leaves; `None` where there is no template, or more than spaces between.
    fn begins(&self, sample: &Sample, prompt: &str, answer: &str) -> Option<String> {
        let (Words::Question(question), Some(template)) = (&sample.words, &self.parts.template) else {
            return None;
        };
        let said = |message: Message| Message { role: "assistant".to_owned(), ..message };
        let messages = match self.blind() {
            true => [Message::words(question), said(Message::words(answer))],
            false => [shown(sample, question), said(Message::shown(0, 0, answer))],
        };
        let whole = template.render(&messages, &ChatOptions::default()).ok()?;
        let rest = whole.strip_prefix(prompt)?;
        let (bare, end) = (answer.trim(), answer.len() - answer.trim_end().len());
        let (spaces, behind) = rest.split_at_checked(rest.find(bare)?)?;
        let own = behind.strip_prefix(answer.trim_start()).map_or(bare.len(), |_| bare.len() + end);
        let written = behind.get(..own).filter(|_| spaces.chars().all(char::is_whitespace))?;
        Some(format!("{spaces}{written}"))
    }

    /// Inputs with an answer behind the prompt.
    pub(super) fn answered(&self, inputs: Inputs, reply: &[u32]) -> Result<Inputs, SubjectError> {
        let (vocab, tokenizer) = (self.network.text().config().vocab, &self.parts.tokenizer);
        let visual: Vec<u32> = self.eyes.placeholders().iter().map(|p| p.token).collect();
        if let Some(token) = reply.iter().find(|token| **token as usize >= vocab) {
            return Err(self.refuse(format!("token {token} of the answer is none of {vocab}")));
        }
        if let Some(token) = reply.iter().find(|token| visual.contains(token)) {
            return Err(self.refuse(format!("token {token} of the answer stands for a picture or recording")));
        }
        inputs.answered(reply, |token| {
            let marks = tokenizer.is_special(token);
            TokenLabel::new(self.token(token), if marks { Modality::Special } else { Modality::Text })
        })
    }
}
