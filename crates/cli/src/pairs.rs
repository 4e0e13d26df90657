//! What a trace holds of a dual encoder's output.

use anyhow::Result;
use mmlens::core::{HookError, Output};
use mmlens::finding::{finite, top};

use crate::tensors::Held;

/// Embeddings, logits, and the text whose logit counts, by default the one that fits the first picture best.
///
/// Among logits that are no numbers there is no best, and then no target.
pub(crate) fn tensors(output: &Output, target: Option<u32>) -> Result<Vec<(String, Held)>> {
    let pairs = output.pairs.as_ref().ok_or_else(|| HookError::NoOutput("similarity".to_owned()))?;
    let len = pairs.texts.dims().first().copied().unwrap_or(0);
    let target = match target {
        Some(text) if text as usize >= len => {
            return Err(HookError::Objective { what: "text", index: text as usize, len }.into());
        }
        Some(text) => Some(text),
        None => {
            let logits = pairs.logits.to_values()?;
            let own = logits.get(..len).filter(|own| finite(own).is_ok());
            own.map(top).transpose()?.flatten().map(u32::try_from).transpose()?
        }
    };
    let floats =
        [("image_embeds", &pairs.images), ("text_embeds", &pairs.texts), ("logits_per_image", &pairs.logits)];
    let mut held: Vec<(String, Held)> =
        floats.into_iter().map(|(name, x)| (name.to_owned(), Held::Floats(x.clone()))).collect();
    held.extend(target.map(|target| ("target".to_owned(), Held::Ids(vec![target], vec![1]))));
    Ok(held)
}
