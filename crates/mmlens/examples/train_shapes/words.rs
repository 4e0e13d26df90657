//! The vocabulary of the shipped model: seven special tokens, then the words of the shapes world.

use std::collections::BTreeMap;

use mmlens::data::shapes::vocabulary;

pub(crate) const PAD: u32 = 0;
pub(crate) const BEGIN: u32 = 1;
pub(crate) const END: u32 = 2;
pub(crate) const UNKNOWN: u32 = 3;
pub(crate) const IMAGE: u32 = 4;
pub(crate) const USER: u32 = 5;
pub(crate) const ASSISTANT: u32 = 6;

/// Special tokens, by id.
pub(crate) const SPECIAL: [&str; 7] = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<user>", "<assistant>"];

pub(crate) struct Words(BTreeMap<String, u32>);

impl Words {
    pub(crate) fn new() -> Self {
        let all = SPECIAL.iter().copied().chain(vocabulary());
        Self(all.zip(0..).map(|(word, id)| (word.to_owned(), id)).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn table(&self) -> &BTreeMap<String, u32> {
        &self.0
    }

    pub(crate) fn ids(&self, text: &str) -> Vec<u32> {
        text.split(' ').map(|word| self.0.get(word).copied().unwrap_or(UNKNOWN)).collect()
    }
}
