//! Text decoders as subjects of their own.

use std::path::Path;

use serde_json::Value;

use super::{Decoder, DecoderConfig};
use crate::ZooError;
use crate::checkpoint::{Layout, Weights, read_json};
use crate::error::of_folder;
use crate::redraw::Opening;
use crate::vlm::{Blind, Vlm, VlmParts};

/// Opens the Hugging Face folder of a text decoder.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
pub fn open_decoder<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<Vlm, ZooError> {
    let on = on.into();
    of_folder(folder, || {
        let config: Value = read_json(folder.join("config.json"))?;
        let config = DecoderConfig::read(&config, "", "llama")?;
        let parts = VlmParts::from_dir(folder, on)?;
        let learned = config.rope.is_none();
        let (layout, prefix) =
            if learned { (Layout::GPT2, "transformer") } else { (Layout::DECODER, "model") };
        let model = Weights::new(&parts.checkpoint, on.device)
            .layout(layout)
            .ignore(if learned { &["*.attn.bias"] } else { &[] })
            .build(|weights| Decoder::take(config.clone(), weights, prefix, "lm_head"))?;
        Vlm::new(parts, model, Blind)
    })
}
