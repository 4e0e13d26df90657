//! Fractions of the picture in brackets: Shikra, LLaVA.

use super::tags::number;
use super::{Grounded, GroundedError, Shown, Span, placed};

/// Boxes in brackets, one or several with semicolons between. Brackets around anything else are words.
pub(super) fn read(text: &str, shown: &Shown) -> Result<Grounded, GroundedError> {
    let (mut read, mut from) = (Grounded::default(), 0);
    while let Some(at) = text.get(from..).and_then(|rest| rest.find('[')).map(|at| from + at) {
        let inner = text.get(at + 1..).and_then(|rest| rest.split_once(']'));
        let Some((inner, boxes)) = inner.and_then(|(inner, _)| Some((inner, numbers(inner)?))) else {
            read.say(text.get(from..=at).unwrap_or_default());
            from = at + 1;
            continue;
        };
        read.say(text.get(from..at).unwrap_or_default());
        let fault = |expected| GroundedError::new(text, at, expected);
        let boxes: Result<Vec<_>, _> =
            boxes.into_iter().map(|bbox| placed(bbox, [1.0; 2], shown).map_err(fault)).collect();
        read.spans.push(Span { words: read.text.len()..read.text.len(), boxes: boxes? });
        from = at + inner.len() + 2;
    }
    read.say(text.get(from..).unwrap_or_default());
    Ok(read)
}

/// Groups of four numbers each; `None` for anything else.
fn numbers(inner: &str) -> Option<Vec<[f64; 4]>> {
    let four = |group: &str| {
        let numbers: Option<Vec<f64>> = group.split(',').map(|text| number(text.trim())).collect();
        <[f64; 4]>::try_from(numbers?).ok()
    };
    inner.split(';').map(four).collect()
}
