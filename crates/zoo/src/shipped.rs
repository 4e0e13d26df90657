//! The models that ship inside, so that everything runs at once, offline.

use mmlens_core::Subject;
use mmlens_core::sound::{LogMel, LogMelSettings};
use serde_json::{Map, Value};

use crate::ZooError;
use crate::audio::Hearing;
use crate::checkpoint::{Checkpoint, parse_json};
use crate::clip::{Captions, ClipConfig, DualEncoder};
use crate::llava::llava;
use crate::processor::ImageProcessor;
use crate::qwen2_audio::{Qwen2AudioConfig, qwen2_audio};
use crate::redraw::Opening;
use crate::text::{ChatTemplate, Tokenizer};
use crate::vlm::{Vlm, VlmParts};

macro_rules! file {
    ($($name:literal),+) => {
        include_bytes!(concat!("../shipped/", $($name),+))
    };
}

/// What a model that writes is made of, beside its network and what it looks at.
macro_rules! parts {
    ($name:literal, $opening:expr) => {{
        let Opening { device, redraw } = $opening;
        let tokenizer = Tokenizer::from_json(
            $name,
            file!($name, "/tokenizer.json"),
            Some(file!($name, "/tokenizer_config.json")),
        )?;
        let template = ChatTemplate::new(
            concat!($name, "/chat_template.jinja"),
            include_str!(concat!("../shipped/", $name, "/chat_template.jinja")),
            tokenizer.special().clone(),
        )?;
        VlmParts {
            name: $name.to_owned(),
            checkpoint: Checkpoint::from_bytes($name, file!($name, "/model.safetensors"))?.redrawn(redraw),
            template: Some(template),
            tokenizer,
            generation: parse_json(
                concat!($name, "/generation_config.json"),
                file!($name, "/generation_config.json"),
            )?,
            device: device.clone(),
        }
    }};
}

/// What makes a shipped model.
type Make = fn(Opening<'_>) -> Result<Box<dyn Subject>, ZooError>;

/// Each with its name and the `model_type` of its config.
const SHIPPED: &[(&str, &str, Make)] = &[
    ("shapes-llava", "llava", |on| Ok(Box::new(shapes(on)?))),
    ("shapes-clip", "clip", |on| Ok(Box::new(shapes_clip(on)?))),
    ("tones-qwen2-audio", "qwen2_audio", |on| Ok(Box::new(tones(on)?))),
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
    let parts = parts!("shapes-llava", on.into());
    let processor = ImageProcessor::from_json(
        "shapes-llava/preprocessor_config.json",
        file!("shapes-llava/preprocessor_config.json"),
    )?;
    llava(&parse_json("shapes-llava/config.json", file!("shapes-llava/config.json"))?, parts, processor)
}

/// A Qwen2-Audio of seven hundred thousand weights that answers questions about the tones world.
///
/// Trained by `cargo run --release --example train_tones`; the folder `shipped/tones-qwen2-audio` of this crate holds it in
/// Hugging Face layout. What it can and cannot do is measured in `docs/tones.md`.
///
/// # Errors
/// None in a build whose tests pass.
pub fn tones<'a>(on: impl Into<Opening<'a>>) -> Result<Vlm, ZooError> {
    let parts = parts!("tones-qwen2-audio", on.into());
    let config = parse_json("tones-qwen2-audio/config.json", file!("tones-qwen2-audio/config.json"))?;
    let file = "tones-qwen2-audio/preprocessor_config.json";
    let settings = LogMelSettings::from_json(file, file!("tones-qwen2-audio/preprocessor_config.json"));
    let listening = settings.and_then(LogMel::new).map_err(ZooError::Hearing)?;
    qwen2_audio(&Qwen2AudioConfig::read(&config)?, parts, |tower| Hearing::new(listening, tower))
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
