//! The analyses: against other libraries, against identities, against misuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the pages of the methods quote the gaps printed here")]

mod ablation;
mod altered;
mod attention;
mod beforehand;
mod cautioned;
mod cautions;
mod circuits;
mod concepts;
mod contracts;
mod dictionaries;
mod direct;
mod ears;
mod embeddings;
mod erasure;
mod families;
mod features;
mod identities;
mod latent;
mod lens;
mod maps;
mod neurons;
mod objectives;
mod oracles;
mod parts;
mod places;
mod probes;
mod read_at;
mod refusals;
mod shares;
mod similarity;
mod sinks;
mod skipping;
mod sparse;
mod spoken;
mod support;
mod surrogates;
mod swaps;
mod towers;
mod tracing;
mod truth;
mod tuned;
mod weights;
mod words;
