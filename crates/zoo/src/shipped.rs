//! The models that ship inside, so that everything runs at once, offline.

use mmlens_core::Subject;
use serde_json::{Map, Value};

use crate::ZooError;
use crate::checkpoint::{Checkpoint, parse_json};
use crate::clip::{Captions, ClipConfig, DualEncoder};
use crate::llava::llava;
use crate::processor::ImageProcessor;
use crate::redraw::Opening;
use crate::text::{ChatTemplate, Tokenizer};
use crate::vlm::{Vlm, VlmParts};

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../shipped/", $name))
    };
}

/// What makes a shipped model.
type Make = fn(Opening<'_>) -> Result<Box<dyn Subject>, ZooError>;

/// Each with its name and the `model_type` of its config.
const SHIPPED: &[(&str, &str, Make)] = &[
    ("shapes-llava", "llava", |on| Ok(Box::new(shapes(on)?))),
    ("shapes-clip", "clip", |on| Ok(Box::new(shapes_clip(on)?))),
];

/// The `model_type` of a shipped model by its name; `None` if there is none of that name.
#[must_use]
pub fn model_type(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(own, ..)| *own == name).map(|(_, kind, _)| *kind)
}

/// The names of the models that ship inside.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, ..)| *name)
}

/// A shipped model by its name; `None` if there is none of that name.
///
/// # Errors
/// None in a build whose tests pass.
pub fn named<'a>(name: &str, on: impl Into<Opening<'a>>) -> Option<Result<Box<dyn Subject>, ZooError>> {
    SHIPPED.iter().find(|(own, ..)| *own == name).map(|(_, _, make)| make(on.into()))
}

/// A LLaVA of about a million weights that answers questions about the shapes world.
///
/// Trained by `cargo run --release --example train_shapes`; the folder `shipped/shapes-llava` of this crate holds it in
/// Hugging Face layout. What it can and cannot do is measured in `docs/shapes.md`.
///
/// # Errors
/// None in a build whose tests pass.
pub fn shapes<'a>(on: impl Into<Opening<'a>>) -> Result<Vlm, ZooError> {
    let Opening { device, redraw } = on.into();
    let name = "shapes-llava";
    let tokenizer = Tokenizer::from_json(
        name,
        file!("shapes-llava/tokenizer.json"),
        Some(file!("shapes-llava/tokenizer_config.json")),
    )?;
    let template = ChatTemplate::new(
        "shapes-llava/chat_template.jinja",
        include_str!("../shipped/shapes-llava/chat_template.jinja"),
        tokenizer.special().clone(),
    )?;
    let processor = ImageProcessor::from_json(
        "shapes-llava/preprocessor_config.json",
        file!("shapes-llava/preprocessor_config.json"),
    )?;
    let parts = VlmParts {
        name: name.to_owned(),
        checkpoint: Checkpoint::from_bytes(name, file!("shapes-llava/model.safetensors"))?.redrawn(redraw),
        template: Some(template),
        tokenizer,
        generation: parse_json(
            "shapes-llava/generation_config.json",
            file!("shapes-llava/generation_config.json"),
        )?,
        device: device.clone(),
    };
    llava(&parse_json("shapes-llava/config.json", file!("shapes-llava/config.json"))?, parts, processor)
}

/// A CLIP of two thirds of a million weights that compares scenes of the shapes world with captions.
///
/// Trained by `cargo run --release --example train_clip`; the folder `shipped/shapes-clip` of this crate holds it in
/// Hugging Face layout. What it can and cannot do is measured in `docs/shapes.md`.
///
/// # Errors
/// None in a build whose tests pass.
pub fn shapes_clip<'a>(on: impl Into<Opening<'a>>) -> Result<DualEncoder, ZooError> {
    let Opening { device, redraw } = on.into();
    let name = "shapes-clip";
    let config: Value = parse_json("shapes-clip/config.json", file!("shapes-clip/config.json"))?;
    let config = ClipConfig::read(&config)?;
    let fields = file!("shapes-clip/tokenizer_config.json");
    let tokenizer = Tokenizer::from_json(name, file!("shapes-clip/tokenizer.json"), Some(fields))?;
    let file = "shapes-clip/tokenizer_config.json";
    let fields: Map<String, Value> = parse_json(file, fields)?;
    let captions = Captions::new(tokenizer, None, file, &fields, &config)?;
    let processor = ImageProcessor::from_json(
        "shapes-clip/preprocessor_config.json",
        file!("shapes-clip/preprocessor_config.json"),
    )?;
    let checkpoint = Checkpoint::from_bytes(name, file!("shapes-clip/model.safetensors"))?.redrawn(redraw);
    DualEncoder::new(name.to_owned(), &config, checkpoint, captions, processor, device)
}
