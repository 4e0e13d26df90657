//! Locations as tokens: Florence-2 and PaliGemma.

use super::{Grounded, GroundedError, Shown, Span, placed};

const FOUR: &str = "four locations for each box";
const OF_FORMAT: &str = "locations of the format";

/// A location at the beginning of a text: its number, and how many bytes it takes.
type Location = fn(&str) -> Option<(Option<u32>, usize)>;

/// A token `OPEN digits >`, whose number is below `bins`; with no number for one that is not.
fn token(text: &str, open: &str, digits: Option<usize>, bins: u32) -> Option<(Option<u32>, usize)> {
    let inner = text.strip_prefix(open)?.split_once('>')?.0;
    let plain = !inner.is_empty() && inner.chars().all(|c| c.is_ascii_digit());
    let fits = plain && digits.is_none_or(|digits| digits == inner.len());
    let number = inner.parse().ok().filter(|number| *number < bins);
    fits.then_some((number, open.len() + inner.len() + 1))
}

/// Locations that stand one behind the other at a place, in fours, and where they end.
fn boxes(text: &str, at: usize, location: Location) -> Result<(Vec<[f64; 4]>, usize), GroundedError> {
    let (mut numbers, mut end) = (Vec::new(), at);
    while let Some((number, len)) = text.get(end..).and_then(location) {
        numbers.push(f64::from(number.ok_or_else(|| GroundedError::new(text, end, OF_FORMAT))?));
        end += len;
    }
    let (fours, rest) = numbers.as_chunks::<4>();
    match rest {
        [] => Ok((fours.to_vec(), end)),
        _ => Err(GroundedError::new(text, at, FOUR)),
    }
}

/// Where the next location stands.
fn next(text: &str, from: usize, location: Location) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.match_indices('<').map(|(at, _)| from + at).find(|at| text.get(*at..).and_then(location).is_some())
}

/// Florence-2: words, then their boxes.
pub(super) fn florence(text: &str, shown: &Shown) -> Result<Grounded, GroundedError> {
    let location: Location = |text| token(text, "<loc_", None, 1000);
    let (mut read, mut from) = (Grounded::default(), 0);
    while let Some(at) = next(text, from, location) {
        let words = read.say(text.get(from..at).unwrap_or_default());
        let (found, end) = boxes(text, at, location)?;
        let middle = |bbox: [f64; 4]| {
            placed(bbox.map(|bin| bin + 0.5), [1000.0; 2], shown)
                .map_err(|expected| GroundedError::new(text, at, expected))
        };
        let boxes = found.into_iter().map(middle).collect::<Result<_, _>>()?;
        read.spans.push(Span { words, boxes });
        from = end;
    }
    read.say(text.get(from..).unwrap_or_default());
    Ok(read)
}

/// PaliGemma: boxes, down before across, then their words up to a semicolon. Codes of a mask are passed over.
pub(super) fn paligemma(text: &str, shown: &Shown) -> Result<Grounded, GroundedError> {
    let location: Location = |text| token(text, "<loc", Some(4), 1024);
    let code: Location = |text| token(text, "<seg", Some(3), 1000);
    let (mut read, mut from) = (Grounded::default(), 0);
    while let Some(at) = next(text, from, location) {
        read.say(text.get(from..at).unwrap_or_default());
        let (found, mut end) = boxes(text, at, location)?;
        let across = |[y0, x0, y1, x1]: [f64; 4]| {
            placed([x0, y0, x1, y1], [1024.0; 2], shown)
                .map_err(|expected| GroundedError::new(text, at, expected))
        };
        let boxes = found.into_iter().map(across).collect::<Result<_, _>>()?;
        while let Some((_, len)) = text.get(end..).and_then(code) {
            end += len;
        }
        let rest = text.get(end..).unwrap_or_default();
        let to = end + rest.find(';').unwrap_or(rest.len());
        let to = next(text, end, location).map_or(to, |other| usize::min(other, to)); // no NaN: whole numbers
        let own = text.get(end..to).unwrap_or_default();
        let words = read.say(own.trim());
        read.say(own.get(own.trim_end().len()..).unwrap_or_default());
        read.spans.push(Span { words, boxes });
        from = to;
    }
    read.say(text.get(from..).unwrap_or_default());
    Ok(read)
}
