//! Units that are words, tokens, or all of a text.

use std::ops::Range;

use mmlens_core::finding::{Modality, TokenLabel};
use mmlens_core::{Inputs, TokenMap};

use super::{Held, Unit, UnitError, Units, one_row};
use crate::Positions;

impl Units {
    /// Whole words among some positions, as the text has them: each with all the tokens that spell it.
    ///
    /// A word is a run of letters and digits, with `'`, `’` and `-` between letters and `.` and `,` between digits; each Chinese or Japanese
    /// character is a word, and so is every other sign that is no space. Words that share a token are one unit. Markers of the model
    /// and tokens of nothing but spaces are no words.
    ///
    /// # Errors
    /// [`UnitError::NoText`] where the token map has no text, [`UnitError::Nothing`] without words, [`UnitError::None`] for a position
    /// there is not, [`UnitError::Rows`].
    pub fn words(inputs: &Inputs, among: &Positions) -> Result<Self, UnitError> {
        let map = one_row(inputs)?;
        let positions = chosen(map, among)?;
        if map.text.is_empty() {
            return Err(UnitError::NoText);
        }
        let words = split(&map.text);
        let mut joined = vec![false; words.len()];
        let mut spelled: Vec<Vec<usize>> = vec![Vec::new(); words.len()];
        for position in positions {
            let label = map.tokens.get(position).filter(|label| label.modality == Modality::Text);
            let Some((from, to)) = label.and_then(|label| label.bytes) else { continue };
            let shares = |word: &Range<usize>| word.start.max(from) < word.end.min(to);
            let mut own = words.iter().enumerate().filter(|(_, word)| shares(word)).map(|(i, _)| i);
            let Some(first) = own.next() else { continue };
            own.for_each(|other| joined.iter_mut().skip(other).take(1).for_each(|joined| *joined = true));
            spelled.iter_mut().skip(first).take(1).for_each(|tokens| tokens.push(position));
        }
        let mut units: Vec<(Range<usize>, Vec<usize>)> = Vec::new();
        for ((word, joined), tokens) in words.into_iter().zip(joined).zip(spelled) {
            match units.last_mut() {
                Some((own, all)) if joined => {
                    own.end = word.end;
                    all.extend(tokens);
                }
                _ => units.push((word, tokens)),
            }
        }
        let unit = |(bytes, positions): (Range<usize>, Vec<usize>)| {
            let text = map.text.get(bytes.clone()).unwrap_or_default();
            let label = TokenLabel::new(text, Modality::Text).with_bytes(bytes.start, bytes.end);
            Unit::new(label, Held::Positions(positions), Vec::new())
        };
        let units: Vec<Unit> = units.into_iter().filter(|(_, tokens)| !tokens.is_empty()).map(unit).collect();
        match units.is_empty() {
            true => Err(UnitError::Nothing("words among these positions")),
            false => Ok(Self::of(units)),
        }
    }

    /// Each of some positions by itself.
    ///
    /// # Errors
    /// As [`Units::words`], but for the text.
    pub fn tokens(inputs: &Inputs, among: &Positions) -> Result<Self, UnitError> {
        let map = one_row(inputs)?;
        let unit = |position: usize| {
            let label = map.tokens.get(position).cloned();
            Unit::new(
                label.unwrap_or_else(|| TokenLabel::new(position.to_string(), Modality::Text)),
                Held::Positions(vec![position]),
                Vec::new(),
            )
        };
        Ok(Self::of(chosen(map, among)?.into_iter().map(unit).collect()))
    }

    /// All of some positions as one unit: the words of a sample, as a whole modality.
    ///
    /// # Errors
    /// As [`Units::words`], but for the text.
    pub fn all_words(inputs: &Inputs, among: &Positions) -> Result<Self, UnitError> {
        let positions = chosen(one_row(inputs)?, among)?;
        let label = TokenLabel::new("words", Modality::Text);
        Ok(Self::of(vec![Unit::new(label, Held::Positions(positions), Vec::new())]))
    }
}

fn chosen(map: &TokenMap, among: &Positions) -> Result<Vec<usize>, UnitError> {
    match among.of(map) {
        Ok(found) if found.is_empty() => Err(UnitError::Nothing("such positions")),
        Ok(found) => Ok(found),
        Err(index) => Err(UnitError::None { what: "position", index, len: map.len() }),
    }
}

/// The words of a text, by their bytes.
fn split(text: &str) -> Vec<Range<usize>> {
    let letters: Vec<(usize, char)> = text.char_indices().collect();
    let at = |i: usize| letters.get(i).map(|(_, c)| *c);
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (i, (start, c)) in letters.iter().copied().enumerate() {
        let between = |kind: fn(char) -> bool| {
            i.checked_sub(1).and_then(at).is_some_and(kind) && at(i + 1).is_some_and(kind)
        };
        let inner = match c {
            '\'' | '’' | '-' => between(spelling),
            '.' | ',' => between(|c| c.is_ascii_digit()),
            _ => spelling(c),
        };
        let end = start + c.len_utf8();
        match words.last_mut() {
            Some(word) if open && inner => word.end = end,
            _ if c.is_whitespace() => {}
            _ => words.push(start..end),
        }
        open = inner;
    }
    words
}

/// Whether a character is part of a longer word.
fn spelling(c: char) -> bool {
    let alone = matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x2fa1f);
    (c.is_alphanumeric() || c == '_' || matches!(u32::from(c), 0x300..=0x36f)) && !alone
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_what_a_reader_takes_for_them() {
        let words =
            |text: &str| -> Vec<String> { split(text).into_iter().map(|w| text[w].to_owned()).collect() };
        assert_eq!(words("What's the T-shirt's colour?"), ["What's", "the", "T-shirt's", "colour", "?"]);
        assert_eq!(words("3.5 km, 1,000 m. a.b"), ["3.5", "km", ",", "1,000", "m", ".", "a", ".", "b"]);
        assert_eq!(words(" 'no' -- yes-"), ["'", "no", "'", "-", "-", "yes", "-"]);
        assert_eq!(words("红色 ok ка́к"), ["红", "色", "ok", "ка́к"]);
        assert!(words(" \n ").is_empty());
    }
}
