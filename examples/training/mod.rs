//! What training the models that ship inside has in common: settings, weights, words, the optimiser and its state.

mod folder;
mod log;
mod loss;
mod run;
mod settings;
mod state;
mod weights;
mod words;

pub(crate) use folder::{pictures, preprocessor, tokenizer, write_json};
pub(crate) use log::Log;
pub(crate) use loss::{cross_entropy, patch_head, patch_loss, scalar, shown};
pub(crate) use run::Run;
pub(crate) use settings::Settings;
pub(crate) use state::Trainer;
pub(crate) use weights::{Grads, Init, Leaves, Params, is_helper, slopes, tracked};
pub(crate) use words::Words;
