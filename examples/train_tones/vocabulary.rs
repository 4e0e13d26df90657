//! The tokens that are no words.

pub(crate) const PAD: u32 = 0;
pub(crate) const BEGIN: u32 = 1;
pub(crate) const END: u32 = 2;
pub(crate) const UNKNOWN: u32 = 3;
pub(crate) const AUDIO: u32 = 4;
pub(crate) const AUDIO_BEGIN: u32 = 5;
pub(crate) const AUDIO_END: u32 = 6;
pub(crate) const USER: u32 = 7;
pub(crate) const ASSISTANT: u32 = 8;

/// Special tokens, by id. Those of sound are called as Qwen2-Audio calls them.
pub(crate) const SPECIAL: [&str; 9] =
    ["<pad>", "<s>", "</s>", "<unk>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<user>", "<assistant>"];
