//! BERT (Devlin et al. 2019): an encoder of text that says which word stands behind a mask, or nothing but its states.
//!
//! A sample is a text ([`Words::Prompt`](mmlens_core::Words::Prompt)), or several of them
//! ([`Words::Texts`](mmlens_core::Words::Texts)), each a row, the shorter ones padded on the right. The output is logits at every
//! position; what is asked is mostly those at a mask:
//!
//! ```no_run
//! use mmlens_core::{Position, Objective, Plan, Sample, Subject};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let subject = mmlens_zoo::open("models/bert-base-uncased", &Default::default())?;
//! let inputs = subject.encode(&Sample::prompt(Vec::new(), "Paris is the [MASK] of France."))?.all_logits();
//! let at = inputs.ids[0].iter().position(|id| Some(*id) == subject.mask()).unwrap_or(0);
//! let objective = Objective::Logit { at: Position::At(at), token: subject.tokens("capital")?[0] };
//! let trace = subject.run(&inputs, Plan::new().objective(objective).read("text.blocks.*.attn.pattern")?)?;
//! # Ok(())
//! # }
//! ```
//!
//! Follows `BertForMaskedLM` and `BertModel` of transformers. A text is one segment, of the first kind. Not supported, and refused
//! by name: BERT as a decoder, relative positions, heads for other tasks.

mod config;
mod encoder;
mod head;
mod model;
mod stack;
mod texts;

pub(crate) use config::Defaults;
pub use config::{BertConfig, StackConfig};
pub use encoder::{TextEncoder, open_bert};
pub use head::WordHead;
pub use model::BertModel;
pub(crate) use model::first_of;
pub use stack::{Stack, Tokens};
pub use texts::Texts;
