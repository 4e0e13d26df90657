//! ViT (Dosovitskiy et al. 2021) as a classifier of pictures.
//!
//! A sample is one or more pictures without words, each a row of the batch. The output is one logit for each class, at one
//! position: a class is to a classifier what a token is to a language model, so [`mmlens_core::Objective::logit`] of a class
//! is what is explained, [`Subject::tokens`](mmlens_core::Subject::tokens) of a label is its class and
//! [`Subject::token`](mmlens_core::Subject::token) of a class its label.
//!
//! ```no_run
//! use mmlens_core::{Objective, Picture, Plan, Sample, Subject, Words};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let subject = mmlens_zoo::open("models/vit-base-patch16-224", &Default::default())?;
//! let inputs = subject.encode(&Sample::new(vec![Picture::open("cat.jpg")?], Words::Nothing))?;
//! let cat = subject.tokens("Egyptian cat")?[0];
//! let trace = subject.run(&inputs, Plan::new().objective(Objective::logit(cat)).grad("vision.pixels")?)?;
//! println!("{:?}", trace.scores()?);
//! # Ok(())
//! # }
//! ```
//!
//! Follows `ViTForImageClassification` of transformers. Not supported, and refused by name: the bare `ViTModel`, masked
//! pictures, pictures of another size than positions were learned for.

mod classifier;
mod config;
mod labels;
mod model;

pub use classifier::{ImageClassifier, open_vit};
pub use config::VitConfig;
pub use labels::Labels;
pub use model::VitModel;
