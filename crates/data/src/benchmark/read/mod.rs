//! The readers, one file each, and what they share.

mod coco;
mod fields;
pub(super) mod frame;
mod join;
mod llava;
mod mme;
mod own;
mod parquet;
mod pope;
mod records;
mod source;
mod tsv;
mod valse;
mod vqa;

pub use own::{Map, UnknownRole};
pub use source::{Items, Reader, Source, UnknownReader};
