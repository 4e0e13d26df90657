//! Dual encoders: CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023), SigLIP 2 (Tschannen et al. 2025) at a fixed
//! resolution.

mod captions;
mod config;
mod encoder;
mod head;
mod model;
mod text;

pub use captions::Captions;
pub use config::{ClipConfig, DualKind, Reading, TextTowerConfig};
pub use encoder::{DualEncoder, open_clip};
pub use head::PoolingHead;
pub use model::ClipModel;
pub use text::TextTower;
