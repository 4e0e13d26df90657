//! Dual encoders: CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023), SigLIP 2 (Tschannen et al. 2025) at a fixed
//! resolution.
//!
//! A sample is one or more pictures and one or more texts; the output holds both in the shared space, their cosines and
//! `logits_per_image`. [`mmlens_core::Objective::Similarity`] is the logit of a text and its own picture, the first it
//! shows; [`mmlens_core::Objective::Cosine`] is the same without scale and bias.
//!
//! ```no_run
//! use mmlens_core::{Objective, Picture, Plan, Sample, Subject, Words};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let subject = mmlens_zoo::open("models/clip-vit-base-patch32", &Default::default())?;
//! let texts = Words::Texts(vec!["a photo of a cat".to_owned(), "a photo of a dog".to_owned()]);
//! let inputs = subject.encode(&Sample::new(vec![Picture::open("cat.jpg")?], texts))?;
//! let plan = Plan::new().objective(Objective::Similarity).grad("vision.pixels")?;
//! let trace = subject.run(&inputs, plan)?;
//! if let Some(pairs) = &trace.output().pairs {
//!     println!("{:?}", pairs.probabilities()?.to_values()?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Not supported, and refused by name: SigLIP 2 at flexible resolution (`siglip2`, NaFlex), towers without their head,
//! interpolated positions, quantised weights, texts that would have to be cut.

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
