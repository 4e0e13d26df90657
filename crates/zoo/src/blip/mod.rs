//! BLIP (Li et al. 2022): captions, answers to questions, and whether a text fits a picture.
//!
//! Three models, told apart by `architectures`. All have a tower (ViT's, `vision.final_norm` behind it) and text models of
//! post-norm blocks that attend to it: `text.blocks.i.cross.pattern` says which patches a word looks at.
//!
//! - **Captions** (`BlipForConditionalGeneration`): a decoder. A sample is a picture and what the caption begins with
//!   ([`Words::Prompt`](mmlens_core::Words::Prompt)), or nothing; the decoder is given the token that begins a text, and that.
//! - **Answers** (`BlipForQuestionAnswering`): the part `encoder` reads the question and the picture, `text` writes the answer and
//!   attends to the encoder. A row holds the question; tokens from the one that begins an answer on are those of the answer, and
//!   without any, that one is taken.
//! - **Matches** (`BlipForImageTextRetrieval`): an encoder of text. A sample is a picture and one or more texts, each a row; the output
//!   is two class logits at one position, of `no match` and `match`, as a classifier has them. The cosine of its other head, which
//!   needs passes without cross-attention, is not offered.
//!
//! Follows transformers 5.23, except for padded batches of questions: there an answer attends to the padding of its question, here
//! a row says what it says alone. Not supported, and refused by name: `BlipModel`, pictures of another size.

mod config;
mod model;
mod subject;

pub use config::{BlipConfig, BlipTask};
pub use model::BlipModel;
pub use subject::{Blip, open_blip};
