//! The readers, one file each, and what they share.

mod coco;
pub(crate) mod fields;
pub(crate) mod frame;
pub(crate) mod join;
mod llava;
mod mme;
mod own;
mod pages;
mod parquet;
mod pope;
pub(crate) mod records;
mod source;
mod tsv;
mod valse;
mod vqa;

pub use own::{Map, UnknownRole};
pub use source::{Items, Reader, Source, UnknownReader};
