//! Activations of a data set on disk.
//!
//! A [`Recording`] says which sites are kept, of which positions, and in which precision; [`Recording::run`] passes a data
//! set through a subject and writes what it read in shards. A [`Store`] opens them again: lazily, at random, shuffled.
//!
//! # On disk
//! ```text
//! manifest.json          what is recorded, of which model: written first, never changed
//! shards.jsonl           one line for each shard that is complete: file, rows, samples, size, SHA-256
//! shard-000000.safetensors
//! ```
//! A shard is a plain safetensors file. Each site is a tensor `[rows, ...]` under its own name; a row is a position of a
//! prompt, a position of a tower, a prompt or a picture, whichever the sites have ([`Rows`]). Beside them stand the
//! columns of [`Label`]: `rows.sample`, `rows.position`, `rows.token`, `rows.modality`, `rows.patch` and `rows.box`.
//! Python reads it with `safetensors.safe_open`.
//!
//! # Killed at any moment
//! A shard is written under another name, flushed, renamed, and only then entered in `shards.jsonl`; what is not entered
//! does not exist. Shards end at the same samples whether or not a run was interrupted, so a recording that was killed
//! and gone on with has the same bytes as one that was not. One process records at a time; another is refused.
//!
//! # Memory
//! One shard and the activations of one batch, however long the data set. Reading holds what is asked for.
//!
//! ```
//! use mmlens_core::{Case, Sample, Seed, Unwatched, from_fn};
//! use mmlens_store::{Recording, Store};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let subject = mmlens_testkit::Toy::curved(1);
//! # let folder = tempfile::tempdir()?;
//! let (prompts, site) = (["a", "bc", "def"], "text.blocks.1.resid_post");
//! let data = from_fn("prompts", prompts.len(), |i| Ok(Case::new(Sample::text(prompts[i]))));
//! Recording::new(site.parse()?).run(&subject, folder.path(), &data, &Unwatched)?;
//!
//! let store = Store::open(folder.path())?;
//! assert_eq!(store.len(), 6);
//! for batch in store.shuffled(site, 4, Seed(1))? {
//!     let batch = batch?;
//!     let labels = store.labels(&batch.rows)?;
//!     assert_eq!(batch.values.len(), labels.len() * 6); // [rows, d_model], row by row
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod examples;
mod journal;
mod label;
mod manifest;
mod record;
mod rows;
mod shard;
mod store;
mod texts;

pub use error::StoreError;
pub use examples::Labelled;
pub use journal::Shard;
pub use label::Label;
pub use manifest::{Column, Manifest, Precision};
pub use record::Recording;
pub use rows::Rows;
pub use store::{Batch, Shuffled, Store};
pub use texts::Texts;
