//! A text that grows word by word and knows which of its nouns refer to what.

/// A text, and where in it what is mentioned.
#[derive(Debug, Default)]
pub(crate) struct Sentence {
    /// Words and punctuation set off by single spaces.
    pub(crate) text: String,
    /// Which word, by its index in `text.split(' ')`, refers to which thing of a scene.
    pub(crate) mentions: Vec<(usize, usize)>,
}

impl Sentence {
    pub(crate) fn say(&mut self, words: &str) -> &mut Self {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(words);
        self
    }

    /// Notes that the last word refers to these things.
    pub(crate) fn mention(&mut self, things: &[usize]) {
        let word = self.text.split(' ').count() - 1;
        self.mentions.extend(things.iter().map(|&thing| (word, thing)));
    }
}
