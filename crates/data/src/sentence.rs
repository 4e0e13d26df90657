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

/// The digit for a count. Scenes have no more things than there are digits; a caller who puts in more by hand is
/// told "many".
pub(crate) fn digit(count: usize, digits: &[&'static str]) -> &'static str {
    digits.get(count).copied().unwrap_or("many")
}

/// The answer to whether something holds.
pub(crate) const fn yes_or_no(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}
