//! Qwen2-Audio (Chu et al. 2024): sound and words in one sequence.
//!
//! Whisper's tower ([`crate::audio`]) hears every recording; two of its positions become one, a product brings them to the width of a Qwen2
//! decoder, where they stand in the place of `<|AUDIO|>`. A position is four frames of the spectrogram, 40 ms in published models; its
//! label is that stretch, as far as it is of the sound. What lies behind a sound takes no position, and nothing attends to it.
//!
//! A sample has recordings and a question, or a prompt that holds `<|audio_bos|><|AUDIO|><|audio_eos|>` for each of them. Without a chat
//! template of its own a checkpoint has that of its processor's class, which counts recordings: `Audio 1: ...`.
//!
//! Follows transformers 5.23. Not supported, and refused by name: a sound longer than what it is padded to, one too short for a position.

mod config;
mod ears;
mod model;

use std::path::Path;

pub use config::Qwen2AudioConfig;
pub use ears::Qwen2AudioEars;
pub use model::Qwen2AudioModel;

use crate::ZooError;
use crate::audio::{AudioConfig, Hearing};
use crate::checkpoint::{Layout, Weights, read_json};
use crate::error::of_folder;
use crate::redraw::Opening;
use crate::text::ChatTemplate;
use crate::vlm::{Placeholder, Vlm, VlmParts};

/// The chat template of `Qwen2AudioProcessor`.
const USUAL: &str = include_str!("chat_template.jinja");

/// Opens a Qwen2-Audio checkpoint's Hugging Face folder.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
pub fn open_qwen2_audio<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<Vlm, ZooError> {
    let on = on.into();
    of_folder(folder, || {
        let config: serde_json::Value = read_json(folder.join("config.json"))?;
        let config = Qwen2AudioConfig::read(&config)?;
        let template = ChatTemplate::of_processor(folder, USUAL)?;
        let parts = VlmParts { template: Some(template), ..VlmParts::from_dir(folder, on)? };
        qwen2_audio(&config, parts, |tower| Hearing::from_dir(folder, tower))
    })
}

/// From parts at hand.
///
/// # Errors
/// Parts that do not fit each other; whatever `hearing` reports.
pub fn qwen2_audio(
    config: &Qwen2AudioConfig,
    parts: VlmParts,
    hearing: impl FnOnce(&AudioConfig) -> Result<Hearing, ZooError>,
) -> Result<Vlm, ZooError> {
    let model = Weights::new(&parts.checkpoint, &parts.device)
        .layout(Layout::QWEN2_AUDIO)
        .build(|weights| Qwen2AudioModel::take(config, weights))?;
    let hearing = hearing(&config.audio)?;
    let ears = Qwen2AudioEars::new(hearing, config.audio.clone(), placeholder(config, &parts)?);
    Vlm::new(parts, model, ears)
}

/// What stands for a recording: the token that the tokenizer names, or the processor's own, which the config must mean.
fn placeholder(config: &Qwen2AudioConfig, parts: &VlmParts) -> Result<Placeholder, ZooError> {
    let text = parts.tokenizer.special().get("audio_token").unwrap_or("<|AUDIO|>").to_owned();
    match parts.tokenizer.id(&text) {
        Some(token) if token == config.audio_token => Ok(Placeholder { text, token }),
        id => Err(ZooError::Value {
            field: "audio_token_index".to_owned(),
            found: config.audio_token.to_string(),
            expected: id.map_or_else(
                || format!("`{text}` to be a token, which it is not"),
                |id| format!("{id}, which is `{text}`"),
            ),
        }),
    }
}
