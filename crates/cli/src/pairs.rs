//! What a dual encoder makes of pictures and captions.

use anyhow::{Context, Result};
use mmlens::core::{HookError, Inputs, Output, Pairs, Plan, Subject};
use mmlens::finding::{finite, top};
use serde::Serialize;

use crate::refusal::numbers;
use crate::tensors::Held;

/// The tables of a pass, `[image, text]`, row by row.
pub(crate) struct Compared {
    texts: usize,
    probabilities: Vec<f32>,
    logits: Vec<f32>,
    cosine: Vec<f32>,
    /// Whether every pair is judged for itself.
    pub(crate) apart: bool,
}

/// One picture and one text.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Likeness {
    /// Among the texts, or by itself.
    pub(crate) probability: f32,
    /// Their entry of `logits_per_image`.
    pub(crate) logit: f32,
    pub(crate) cosine: f32,
}

impl Compared {
    /// Compares every picture of a batch with every text.
    pub(crate) fn of(subject: &dyn Subject, inputs: &Inputs) -> Result<Self> {
        let trace = subject.run(inputs, Plan::new().to_output())?;
        let pairs = pairs(trace.output())?;
        let compared = Self {
            texts: inputs.rows(),
            probabilities: pairs.probabilities()?.to_values()?,
            logits: numbers(subject, pairs.logits.finite_values("logits_per_image"))?,
            cosine: numbers(subject, pairs.cosine.finite_values("cosine"))?,
            apart: pairs.apart,
        };
        Ok(compared)
    }

    /// A picture with every text.
    pub(crate) fn picture(&self, image: usize) -> impl Iterator<Item = Likeness> {
        let at = move |values: &[f32], text: usize| {
            values.get(image * self.texts + text).copied().unwrap_or(f32::NAN)
        };
        (0..self.texts).map(move |text| Likeness {
            probability: at(&self.probabilities, text),
            logit: at(&self.logits, text),
            cosine: at(&self.cosine, text),
        })
    }

    /// The text that is most like the first picture.
    pub(crate) fn best(&self) -> Result<u32> {
        best(&self.logits, self.texts)
    }
}

fn best(logits: &[f32], texts: usize) -> Result<u32> {
    let own = logits.get(..texts).context("no text was compared")?;
    let best = top(own).context("the logits of the first picture")?;
    Ok(u32::try_from(best.context("no text was compared")?)?)
}

fn pairs(output: &Output) -> Result<&Pairs, HookError> {
    output.pairs.as_ref().ok_or_else(|| HookError::NoOutput("similarity".to_owned()))
}

/// What a trace holds of an output: embeddings, logits, and the text whose logit counts, by default the best.
///
/// Among logits that are no numbers there is no best, and then no target.
pub(crate) fn tensors(output: &Output, target: Option<u32>) -> Result<Vec<(String, Held)>> {
    let pairs = pairs(output)?;
    let len = pairs.texts.dims().first().copied().unwrap_or(0);
    let target = match target {
        Some(text) if text as usize >= len => {
            return Err(HookError::Objective { what: "text", index: text as usize, len }.into());
        }
        Some(text) => Some(text),
        None => {
            let logits = pairs.logits.to_values()?;
            finite(&logits).is_ok().then(|| best(&logits, len)).transpose()?
        }
    };
    let floats =
        [("image_embeds", &pairs.images), ("text_embeds", &pairs.texts), ("logits_per_image", &pairs.logits)];
    let mut held: Vec<(String, Held)> =
        floats.into_iter().map(|(name, x)| (name.to_owned(), Held::Floats(x.clone()))).collect();
    held.extend(target.map(|target| ("target".to_owned(), Held::Ids(vec![target], vec![1]))));
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_text_is_that_of_the_first_picture() {
        assert_eq!(best(&[1.0, 3.0, 2.0, 9.0, 0.0, 0.0], 3).unwrap(), 1);
        assert_eq!(best(&[2.0, 2.0], 2).unwrap(), 0);
        assert!(best(&[], 0).is_err() && best(&[1.0], 2).is_err());
        let said = format!("{:#}", best(&[1.0, f32::NAN], 2).unwrap_err());
        assert_eq!(said, "the logits of the first picture: value 1 is NaN, where a finite number belongs");
    }
}
