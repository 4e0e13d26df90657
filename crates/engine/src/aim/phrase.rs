//! Where a phrase stands among the tokens of an answer.

use std::ops::Range;

use mmlens_core::{Subject, SubjectError};

use crate::phrase;

/// The text of some tokens, and how many bytes of it each number of first tokens makes.
pub(super) struct Text {
    pub(super) whole: String,
    ends: Vec<usize>,
}

impl Text {
    pub(super) fn of(subject: &dyn Subject, ids: &[u32]) -> Result<Self, SubjectError> {
        let whole = subject.decode(ids)?;
        let mut ends = vec![0];
        for count in 1..ids.len() {
            let some = ids.get(..count).unwrap_or_default();
            let part = subject.decode(some)?;
            // A token may be a part of a letter: so far as both agree.
            let alike = part.bytes().zip(whole.bytes()).take_while(|(a, b)| a == b).count();
            ends.push(alike);
        }
        ends.push(whole.len());
        Ok(Self { whole, ends })
    }

    /// The bytes of a phrase ([`phrase::find`]).
    pub(super) fn find(&self, phrase: &str) -> Option<(Range<usize>, usize)> {
        phrase::find(&self.whole, phrase)
    }

    /// The tokens that some bytes touch.
    pub(super) fn tokens(&self, bytes: &Range<usize>) -> Range<usize> {
        let from = self.ends.iter().rposition(|end| *end <= bytes.start).unwrap_or(0);
        let to = self.ends.iter().position(|end| *end >= bytes.end).unwrap_or(self.ends.len() - 1);
        from..to.max(from + 1)
    }

    /// The bytes of some tokens, without the spaces around them.
    pub(super) fn bytes(&self, tokens: &Range<usize>) -> Range<usize> {
        let at = |count: usize| self.ends.get(count).copied().unwrap_or(self.whole.len());
        let (from, to) = (at(tokens.start), at(tokens.end));
        let own = self.whole.get(from..to).unwrap_or_default();
        let spaces = own.len() - own.trim_start().len();
        from + spaces..from + spaces + own.trim().len()
    }

    /// The text with other words in the place of some bytes; spaces around them are those of the text.
    pub(super) fn with(&self, bytes: &Range<usize>, other: &str) -> String {
        let other = other.trim();
        let (before, after) = (self.whole.get(..bytes.start), self.whole.get(bytes.end..));
        format!("{}{other}{}", before.unwrap_or_default(), after.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn phrases_are_found_as_words_first() {
        let text = Text { whole: "a bored red redder red".to_owned(), ends: vec![0, 1, 7, 11, 18, 22] };
        assert_eq!(text.find("red"), Some((8..11, 2)));
        assert_eq!(text.tokens(&(8..11)), 2..3);
        assert_eq!(text.find("ore"), Some((3..6, 1)));
        assert_eq!(text.tokens(&(3..6)), 1..2);
        assert_eq!(text.find("red redder"), Some((8..18, 1)));
        assert_eq!(text.tokens(&(8..18)), 2..4);
        assert_eq!((text.find("blue"), text.find(" ")), (None, None));
        assert_eq!(text.bytes(&(2..4)), 8..18);
        assert_eq!(text.with(&(8..11), "blue"), "a bored blue redder red");
        assert_eq!(text.with(&(8..11), " blue "), "a bored blue redder red");
    }
}
