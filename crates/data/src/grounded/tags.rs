//! Tags around words and around boxes: Qwen-VL and Kosmos-2.

use std::ops::Range;

use super::{Grounded, GroundedError, Shown, Span, placed};

const CLOSING: &str = "a closing tag behind it";
const OPENING: &str = "an opening tag before it";

/// The first of some tags from a place on.
fn next<'t>(text: &str, from: usize, tags: &[&'t str]) -> Option<(usize, &'t str)> {
    let rest = text.get(from..)?;
    tags.iter().filter_map(|tag| Some((from + rest.find(tag)?, *tag))).min()
}

/// What stands between a tag and the one that closes it, and what comes behind; no other tag lies between.
fn content(
    text: &str,
    (at, open): (usize, &str),
    close: &str,
    tags: &[&str],
) -> Result<(Range<usize>, usize), GroundedError> {
    let from = at + open.len();
    match next(text, from, tags) {
        Some((to, tag)) if tag == close => Ok((from..to, to + close.len())),
        _ => Err(GroundedError::new(text, at, CLOSING)),
    }
}

/// Qwen's tags: words, then boxes.
pub(super) fn qwen(text: &str, tags: [&str; 4], shown: &Shown) -> Result<Grounded, GroundedError> {
    let [words_open, words_close, box_open, box_close] = tags;
    let (mut read, mut from) = (Grounded::default(), 0);
    // The words that a box behind them belongs to.
    let mut named: Option<Range<usize>> = None;
    while let Some((at, tag)) = next(text, from, &tags) {
        let between = text.get(from..at).unwrap_or_default();
        if !between.is_empty() {
            read.say(between);
            named = None;
        }
        if tag == words_open {
            let (own, behind) = content(text, (at, tag), words_close, &tags)?;
            named = Some(read.say(text.get(own).unwrap_or_default()));
            from = behind;
        } else if tag == box_open {
            let (own, behind) = content(text, (at, tag), box_close, &tags)?;
            let bbox = corners(text.get(own.clone()).unwrap_or_default())
                .ok_or_else(|| GroundedError::new(text, own.start, "a box: (x1,y1),(x2,y2)"))?;
            let bbox = placed(bbox, [1000.0; 2], shown)
                .map_err(|expected| GroundedError::new(text, own.start, expected))?;
            let words = named.clone().unwrap_or(read.text.len()..read.text.len());
            match read.spans.last_mut() {
                Some(last) if named.is_some() && last.words == words => last.boxes.push(bbox),
                _ => read.spans.push(Span { words, boxes: vec![bbox] }),
            }
            from = behind;
        } else {
            return Err(GroundedError::new(text, at, OPENING));
        }
    }
    read.say(text.get(from..).unwrap_or_default());
    Ok(read)
}

/// `(x1,y1),(x2,y2)`.
fn corners(text: &str) -> Option<[f64; 4]> {
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let inner = plain.strip_prefix('(')?.strip_suffix(')')?;
    let (first, second) = inner.split_once("),(")?;
    let pair = |text: &str| -> Option<[f64; 2]> {
        let (x, y) = text.split_once(',')?;
        Some([number(x)?, number(y)?])
    };
    let ([x0, y0], [x1, y1]) = (pair(first)?, pair(second)?);
    Some([x0, y0, x1, y1])
}

/// Digits, with a point or without.
pub(super) fn number(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { text.parse().ok() } else { None }
}

const PATCH: &str = "<patch_index_";
const KOSMOS: [&str; 6] = ["<phrase>", "</phrase>", "<object>", "</object>", "<grounding>", PATCH];
const BETWEEN: &str = "</delimiter_of_multi_objects/>";
/// Cells along either side.
const SIDE: u32 = 32;

/// Kosmos-2's tags: a phrase, then pairs of patches. What stands before the picture's end is none of the answer.
pub(super) fn kosmos(text: &str, shown: &Shown) -> Result<Grounded, GroundedError> {
    let picture = "</image>";
    let (mut read, mut from) = (Grounded::default(), text.rfind(picture).map_or(0, |at| at + picture.len()));
    let mut named: Option<Range<usize>> = None;
    while let Some((at, tag)) = next(text, from, &KOSMOS) {
        let between = text.get(from..at).unwrap_or_default();
        if !between.is_empty() {
            read.say(between);
            named = None;
        }
        from = match tag {
            "<grounding>" => at + tag.len(),
            "<phrase>" => {
                let (own, behind) = content(text, (at, tag), "</phrase>", &KOSMOS)?;
                named = Some(read.say(text.get(own).unwrap_or_default()));
                behind
            }
            "<object>" => {
                let others: Vec<&str> = KOSMOS.iter().filter(|tag| **tag != PATCH).copied().collect();
                let (own, behind) = content(text, (at, tag), "</object>", &others)?;
                let words = named.take().unwrap_or(read.text.len()..read.text.len());
                let boxes = patches(text, own, shown)?;
                read.spans.push(Span { words, boxes });
                behind
            }
            PATCH => return Err(GroundedError::new(text, at, "patches within <object> and </object>")),
            _ => return Err(GroundedError::new(text, at, OPENING)),
        };
    }
    read.say(text.get(from..).unwrap_or_default());
    Ok(read)
}

/// Boxes of pairs of patches.
fn patches(text: &str, own: Range<usize>, shown: &Shown) -> Result<Vec<[f32; 4]>, GroundedError> {
    let fault = |expected| GroundedError::new(text, own.start, expected);
    let pairs = text.get(own.clone()).unwrap_or_default().split(BETWEEN);
    pairs
        .map(|pair| {
            let plain: String = pair.chars().filter(|c| !c.is_whitespace()).collect();
            let patch = |rest: &str| -> Option<(u32, usize)> {
                let digits = rest.strip_prefix(PATCH)?.split_once('>')?.0;
                let number = digits.parse().ok().filter(|_| digits.chars().all(|c| c.is_ascii_digit()));
                Some((number?, PATCH.len() + digits.len() + 1))
            };
            let two = patch(&plain).and_then(|(first, len)| {
                let (second, rest) = patch(plain.get(len..)?)?;
                (len + rest == plain.len()).then_some([first, second])
            });
            let two = two.ok_or_else(|| fault("pairs of patches"))?;
            if two.iter().any(|patch| *patch >= SIDE * SIDE) {
                return Err(fault("patches from 0 to 1023"));
            }
            let [[x0, y0], [x1, y1]] = two.map(|patch| [patch % SIDE, patch / SIDE].map(f64::from));
            // Edges where both lie in one row or column, else middles.
            let (before, behind) = if x0 == x1 || y0 == y1 { (0.0, 1.0) } else { (0.5, 0.5) };
            if x1 < x0 || y1 < y0 {
                return Err(fault("the corner at the top left before that at the bottom right"));
            }
            let bbox = [x0 + before, y0 + before, x1 + behind, y1 + behind];
            placed(bbox, [f64::from(SIDE); 2], shown).map_err(fault)
        })
        .collect()
}
