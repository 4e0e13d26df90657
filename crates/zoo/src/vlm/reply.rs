//! An answer behind a prompt.

use mmlens_core::finding::{Modality, TokenLabel};
use mmlens_core::{Inputs, Sample, Subject as _, SubjectError, Words};

use super::{Seen, Vlm, words};
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
        let begun =
            if answer.starts_with(char::is_whitespace) { None } else { self.begins(sample, prompt, answer) };
        let answer = begun.unwrap_or_default() + answer;
        let tokenizer = &self.parts.tokenizer;
        let whole = format!("{prompt}{answer}");
        let together = words::tokenise(tokenizer, self.eyes.as_ref(), seen, &whole, special);
        if let Ok((all, _)) = together
            && let Some(rest) = all.strip_prefix(ids)
        {
            return Ok(rest.to_vec());
        }
        self.tokens(&answer)
    }

    /// The spaces that the chat template puts between what begins an answer and the answer.
    fn begins(&self, sample: &Sample, prompt: &str, answer: &str) -> Option<String> {
        let (Words::Ask(question), Some(template)) = (&sample.words, &self.parts.template) else {
            return None;
        };
        let said = |message: Message| Message { role: "assistant".to_owned(), ..message };
        let messages = match self.blind() {
            true => [Message::words(question), said(Message::words(answer))],
            false => [
                Message::shown(sample.pictures.len(), sample.clips.len(), question),
                said(Message::shown(0, 0, answer)),
            ],
        };
        let whole = template.render(&messages, &ChatOptions::default()).ok()?;
        let rest = whole.strip_prefix(prompt)?;
        let spaces = rest.split_at_checked(rest.find(answer)?)?.0;
        spaces.chars().all(char::is_whitespace).then(|| spaces.to_owned())
    }

    /// Inputs with an answer behind the prompt.
    pub(super) fn answered(&self, inputs: Inputs, reply: &[u32]) -> Result<Inputs, SubjectError> {
        let (vocab, tokenizer) = (self.network.text().config().vocab, &self.parts.tokenizer);
        let visual: Vec<u32> =
            self.eyes.picture().into_iter().chain(self.eyes.clip()).map(|p| p.token).collect();
        if let Some(token) = reply.iter().find(|token| **token as usize >= vocab) {
            return Err(self.refuse(format!("token {token} of the answer is none of {vocab}")));
        }
        if let Some(token) = reply.iter().find(|token| visual.contains(token)) {
            return Err(self.refuse(format!("token {token} of the answer stands for a picture")));
        }
        inputs.answered(reply, |token| {
            let marks = tokenizer.is_special(token);
            TokenLabel::new(self.token(token), if marks { Modality::Special } else { Modality::Text })
        })
    }
}
