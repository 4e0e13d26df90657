//! Words: tokenizers, chat templates, and the placeholders of pictures.
//!
//! ```no_run
//! use mmlens_zoo::text::{ChatOptions, ChatTemplate, Message, Tokenizer, expand_image_tokens};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tokenizer = Tokenizer::from_dir("models/llava")?;
//! let chat = ChatTemplate::from_dir("models/llava")?;
//! let prompt = chat.render(&[Message::user(1, "What is this?")], &ChatOptions::ask())?;
//! let ids: Vec<u32> = tokenizer.encode_chat(&prompt)?.iter().map(|token| token.id).collect();
//! if let Some((image, _)) = tokenizer.image_token("models/llava")? {
//!     let expanded = expand_image_tokens(&ids, image, &[576])?;
//!     assert_eq!(expanded.ids.len(), ids.len() + 575);
//! }
//! # Ok(())
//! # }
//! ```

mod class;
mod clock;
mod error;
mod expand;
mod jinja;
mod library;
mod piece;
mod python;
mod resolve;
mod special;
mod steps;
mod template;
mod tokenizer;
mod wordpiece;

pub use class::TokenizerClass;
pub use error::TextError;
pub use expand::{Expanded, Origin, expand_image_tokens};
pub use special::SpecialTokens;
pub use template::{ChatOptions, ChatTemplate, Content, Message, Part};
pub use tokenizer::{Token, Tokenizer};
