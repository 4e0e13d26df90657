//! LLaVA and the models laid out like it.

mod eyes;
mod model;

use std::path::Path;

pub use eyes::LlavaEyes;
pub(crate) use eyes::{means, process, stack};
pub use model::{FeatureLayers, LlavaConfig, LlavaModel};

use crate::ZooError;
use crate::checkpoint::{Layout, Weights, read_json};
use crate::error::of_folder;
use crate::processor::ImageProcessor;
use crate::redraw::Opening;
use crate::vlm::{Vlm, VlmParts};

/// Opens a LLaVA checkpoint's Hugging Face folder.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
pub fn open_llava<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<Vlm, ZooError> {
    let on = on.into();
    of_folder(folder, || {
        let config: LlavaConfig = read_json(folder.join("config.json"))?;
        llava(&config, VlmParts::from_dir(folder, on)?, ImageProcessor::from_dir(folder)?)
    })
}

/// From parts at hand.
///
/// # Errors
/// Parts that do not fit each other; an option that is not supported.
pub fn llava(config: &LlavaConfig, parts: VlmParts, processor: ImageProcessor) -> Result<Vlm, ZooError> {
    if config.model_type != "llava" {
        return Err(ZooError::Unsupported {
            field: "model_type".to_owned(),
            found: config.model_type.clone(),
            supported: "llava".to_owned(),
        });
    }
    let model = Weights::new(&parts.checkpoint, &parts.device)
        .layout(Layout::LLAVA)
        .ignore(&["model.vision_tower.post_layernorm.*", "model.vision_tower.head.*"])
        .build(|weights| LlavaModel::take(config, weights))?;
    let image = parts.tokenizer.token(config.image_token_index).ok_or_else(|| ZooError::Value {
        field: "image_token_index".to_owned(),
        found: config.image_token_index.to_string(),
        expected: format!("a token id below {}", parts.tokenizer.vocab_size()),
    })?;
    let eyes = LlavaEyes::new(processor, &model, image)?;
    Vlm::new(parts, model, eyes)
}
