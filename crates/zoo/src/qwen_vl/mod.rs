//! Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

mod config;
mod eyes;
mod film;
mod grid;
mod merger;
mod model;
mod pixels;
mod positions;
#[cfg(test)]
mod recorded;
mod rotary;
mod settings;
mod size;
mod tower;

use std::path::Path;

pub use config::{QwenKind, QwenTowerConfig, QwenVlConfig, Windows};
pub use eyes::{Expected, QwenEyes};
pub use film::{Film, MOST_OF_CLIP};
pub use merger::Merger;
pub use model::{QwenVlModel, SeenByQwen};
pub use pixels::Cut;
pub use positions::RowPlan;
pub use settings::{ClipKind, ClipSettings, Patches, Settings};
pub use tower::{Looked, QwenTower};

use crate::ZooError;
use crate::checkpoint::{Layout, Weights, read_json};
use crate::error::of_folder;
use crate::redraw::Opening;
use crate::vlm::{Vlm, VlmParts};

/// Opens a Qwen-VL checkpoint's Hugging Face folder.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
pub fn open_qwen_vl<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<Vlm, ZooError> {
    let on = on.into();
    of_folder(folder, || {
        let parts = VlmParts::from_dir(folder, on)?;
        let network = open_network(folder, &parts)?;
        let config = network.config();
        let vision = &config.vision;
        let expected = Expected {
            patches: Patches { side: vision.patch, frames: vision.frames, merge: vision.merge },
            image_token: config.image_token,
            video_token: config.video_token,
            steps_apart: config.kind.frames_apart(),
        };
        let eyes = QwenEyes::from_dir(folder, &parts.tokenizer, expected)?;
        Vlm::new(parts, network, eyes)
    })
}

/// Reads the network of a checkpoint's Hugging Face folder.
///
/// # Errors
/// A file that is missing, broken or does not fit the others; an option that is not supported.
pub fn open_network(folder: &Path, parts: &VlmParts) -> Result<QwenVlModel, ZooError> {
    of_folder(folder, || {
        let config: serde_json::Value = read_json(folder.join("config.json"))?;
        let config = QwenVlConfig::read(&config)?;
        // A tied head may lie in the file all the same.
        let spare: &[&str] = if config.text.tied { &["lm_head.weight"] } else { &[] };
        Weights::new(&parts.checkpoint, &parts.device)
            .layout(Layout::QWEN_VL)
            .ignore(spare)
            .build(|weights| QwenVlModel::take(config.clone(), weights))
    })
}
