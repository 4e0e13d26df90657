//! The models that ship inside, so that everything runs at once, offline.

use burn::tensor::Device;

use crate::ZooError;
use crate::checkpoint::{Checkpoint, parse_json};
use crate::llava::llava;
use crate::processor::ImageProcessor;
use crate::text::{ChatTemplate, Tokenizer};
use crate::vlm::{Vlm, VlmParts};

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../shipped/shapes-llava/", $name))
    };
}

/// A LLaVA of about a million weights that answers questions about the shapes world.
///
/// Trained by `cargo run --release --example train_shapes`; the folder `shipped/shapes-llava` of this crate holds it in
/// Hugging Face layout. What it can and cannot do is measured in `docs/shapes.md`.
///
/// # Errors
/// None in a build whose tests pass.
pub fn shapes(device: &Device) -> Result<Vlm, ZooError> {
    let name = "shapes-llava";
    let tokenizer =
        Tokenizer::from_json(name, file!("tokenizer.json"), Some(file!("tokenizer_config.json")))?;
    let template = ChatTemplate::new(
        "shapes-llava/chat_template.jinja",
        include_str!("../shipped/shapes-llava/chat_template.jinja"),
        tokenizer.special().clone(),
    )?;
    let processor = ImageProcessor::from_json(
        "shapes-llava/preprocessor_config.json",
        file!("preprocessor_config.json"),
    )?;
    let parts = VlmParts {
        name: name.to_owned(),
        checkpoint: Checkpoint::from_bytes(name, file!("model.safetensors"))?,
        template: Some(template),
        tokenizer,
        generation: parse_json("shapes-llava/generation_config.json", file!("generation_config.json"))?,
        device: device.clone(),
    };
    llava(&parse_json("shapes-llava/config.json", file!("config.json"))?, parts, processor)
}
