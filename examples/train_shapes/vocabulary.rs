//! The tokens that are no words.

pub(crate) const PAD: u32 = 0;
pub(crate) const BEGIN: u32 = 1;
pub(crate) const END: u32 = 2;
pub(crate) const UNKNOWN: u32 = 3;
pub(crate) const IMAGE: u32 = 4;
pub(crate) const USER: u32 = 5;
pub(crate) const ASSISTANT: u32 = 6;

/// Special tokens, by id.
pub(crate) const SPECIAL: [&str; 7] = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<user>", "<assistant>"];
