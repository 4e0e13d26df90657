//! Where a phrase stands in a text.

use std::ops::Range;

/// The bytes of a phrase in a text: where it stands as whole words, or else anywhere; the first of several places, and how many there are.
pub(crate) fn find(text: &str, phrase: &str) -> Option<(Range<usize>, usize)> {
    let phrase = phrase.trim();
    if phrase.is_empty() {
        return None;
    }
    // Overlapping places too: the first may lie within a word, and hide one of whole words.
    let starts = text.char_indices().map(|(at, _)| at).filter(|at| text[*at..].starts_with(phrase));
    let all: Vec<Range<usize>> = starts.map(|at| at..at + phrase.len()).collect();
    let within_a_word = |before: Option<char>, after: Option<char>| {
        before.zip(after).is_some_and(|(a, b)| a.is_alphanumeric() && b.is_alphanumeric())
    };
    let whole = |range: &&Range<usize>| {
        let (left, own) = text.split_at(range.start);
        let (own, right) = own.split_at(range.len());
        !within_a_word(left.chars().next_back(), own.chars().next())
            && !within_a_word(own.chars().next_back(), right.chars().next())
    };
    let words: Vec<&Range<usize>> = all.iter().filter(whole).collect();
    match words.as_slice() {
        [first, ..] => Some(((*first).clone(), words.len())),
        [] => all.first().map(|first| (first.clone(), all.len())),
    }
}
