//! A vocabulary of whole words: special tokens, then the words of a world.

use std::collections::BTreeMap;

pub(crate) struct Words {
    table: BTreeMap<String, u32>,
    special: Vec<&'static str>,
    unknown: u32,
}

impl Words {
    /// Special tokens get the first ids; `unknown` stands for every other word.
    pub(crate) fn new(special: &[&'static str], unknown: u32, words: Vec<&'static str>) -> Self {
        let all = special.iter().copied().chain(words);
        let table = all.zip(0..).map(|(word, id)| (word.to_owned(), id)).collect();
        Self { table, special: special.to_vec(), unknown }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn table(&self) -> &BTreeMap<String, u32> {
        &self.table
    }

    pub(crate) fn special(&self) -> &[&'static str] {
        &self.special
    }

    pub(crate) fn unknown(&self) -> u32 {
        self.unknown
    }

    pub(crate) fn ids(&self, text: &str) -> Vec<u32> {
        text.split(' ').map(|word| self.table.get(word).copied().unwrap_or(self.unknown)).collect()
    }
}
