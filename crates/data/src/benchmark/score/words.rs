//! A text as words, as NLTK 3.10 cuts it (`word_tokenize`, with a sentence splitter that knows no abbreviations).

use super::digits::{is_digit, is_space};

/// Marks that stand alone, wherever they are.
const ALONE: &str =
    ";@#$%&?!*[](){}<>\u{ab}\u{bb}\u{201c}\u{201d}\u{201e}\u{2018}\u{2019}\u{2012}\u{2013}\u{2014}\u{2015}";
/// What may stand between the full stop of a sentence and its end.
const CLOSING: &str = "])}>\"'\u{bb}\u{201d}\u{2019}";
/// Two words that are written as one: where the second begins.
const TWO: [(&str, usize); 7] =
    [("cannot", 3), ("gimme", 3), ("gonna", 3), ("gotta", 3), ("lemme", 3), ("wanna", 3), ("more'n", 4)];
/// What is cut from the end of a word, first one of the first list, then one of the second.
const CUT: [&[&str]; 2] = [&["'s", "'m", "'d", "'"], &["'ll", "'re", "'ve", "n't"]];
/// Behind an apostrophe that begins a word these are a part of it.
const SHORT: [&str; 7] = ["re", "ve", "ll", "m", "t", "s", "d"];

/// The words and marks of a text in lower case. The full stop of a sentence stands alone: one with white space or the end of the text
/// behind it, or behind quotes and brackets that follow it.
///
/// ```
/// use mmlens_data::benchmark::tokens;
/// assert_eq!(tokens("The dog's bowl, cats."), ["the", "dog", "'s", "bowl", ",", "cats", "."]);
/// ```
#[must_use]
pub fn tokens(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.to_lowercase().chars().collect();
    let (mut spaced, mut i) = (String::with_capacity(text.len() + 16), 0);
    while let Some(c) = letters.get(i).copied() {
        let length = mark(&letters, i);
        if length == 0 {
            spaced.push(c);
            i += 1;
            continue;
        }
        spaced.push(' ');
        match c {
            '"' if i == 0 || opens(&letters, i) => spaced.push_str("``"),
            '\'' if length == 2 && opens(&letters, i) => spaced.push_str("``"),
            '"' => spaced.push_str("''"),
            _ => spaced.extend(letters.get(i..i + length).unwrap_or_default()),
        }
        spaced.push(' ');
        i += length;
    }
    spaced.split(is_space).filter(|word| !word.is_empty()).flat_map(parts).collect()
}

/// How many letters from here on are a mark that stands alone.
fn mark(letters: &[char], i: usize) -> usize {
    let Some(c) = letters.get(i).copied() else { return 0 };
    let run = letters.iter().skip(i).take_while(|other| **other == c).count();
    let next = letters.get(i + 1).copied();
    match c {
        '`' => run,
        '.' if run > 1 => run,
        '.' => usize::from(ends_sentence(letters, i)),
        '-' | '\'' if run > 1 => 2,
        '\'' => usize::from(begins_quote(letters, i)),
        ':' | ',' => usize::from(!next.is_some_and(is_digit)),
        '"' => 1,
        c => usize::from(ALONE.contains(c)),
    }
}

/// Whether quotes open: behind a space or a bracket.
fn opens(letters: &[char], i: usize) -> bool {
    let before = i.checked_sub(1).and_then(|before| letters.get(before));
    before.is_some_and(|c| is_space(*c) || "([{<".contains(*c))
}

fn ends_sentence(letters: &[char], i: usize) -> bool {
    let before = i.checked_sub(1).and_then(|before| letters.get(before));
    let behind = letters.iter().skip(i + 1).find(|c| !CLOSING.contains(**c));
    before.is_some_and(|c| *c != '.' && !is_space(*c)) && behind.is_none_or(|c| is_space(*c))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether an apostrophe opens a quote: it begins a word, and is no part of it.
fn begins_quote(letters: &[char], i: usize) -> bool {
    let before = i.checked_sub(1).and_then(|before| letters.get(before));
    let word: String = letters.iter().skip(i + 1).take_while(|c| is_word(**c)).collect();
    !before.is_some_and(|c| is_word(*c)) && !word.is_empty() && !SHORT.contains(&word.as_str())
}

/// A word without what is cut from its end, and that.
fn parts(word: &str) -> Vec<String> {
    if let Some((_, second)) = TWO.iter().find(|(two, _)| *two == word) {
        let (first, second) = word.split_at(*second);
        return vec![first.to_owned(), second.to_owned()];
    }
    let (mut word, mut behind) = (word, Vec::new());
    // What is left of it once something was cut, the second list is tried on.
    for list in CUT {
        let cut = list.iter().find_map(|end| {
            let rest = word.strip_suffix(end)?;
            rest.chars().last().is_some_and(|c| c != '\'').then_some((rest, *end))
        });
        if let Some((rest, end)) = cut {
            behind.insert(0, end.to_owned());
            word = rest;
        }
    }
    std::iter::once(word.to_owned()).chain(behind).collect()
}
