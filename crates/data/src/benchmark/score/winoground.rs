//! Whether two captions go with two pictures the right way round (Thrush et al., Winoground, 2022).
//!
//! Two items of one group are two pictures with one caption each, the foil of one being the caption of the other. With f as for
//! [`Pairwise`](super::Pairwise), `text` is right if each picture takes its own caption, `image` if each caption takes its own picture, `group` if both do:
//!
//! ```text
//! text:  f(c0, i0) > f(c1, i0) and f(c1, i1) > f(c0, i1)
//! image: f(c0, i0) > f(c0, i1) and f(c1, i1) > f(c1, i0)
//! ```
//!
//! Guessing is right in a quarter of them, and in a sixth for `group`; whoever looks at the texts alone has 0 (equal ones are wrong). `unpaired` is the share of items in groups that are no such
//! two, which count for nothing else: a group that was cut off by a limit, captions that are not exchanged.

use mmlens_files::sha256;

use super::{Answer, Fits, ScoreError, Scorer, Verdict, share};
use crate::benchmark::Item;

/// Two captions and two pictures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Winoground;

/// A number that tells texts apart: 48 bits of their hash.
fn known(text: &str) -> f64 {
    let digits = sha256(text);
    u64::from_str_radix(digits.get(..12).unwrap_or_default(), 16).unwrap_or_default() as f64
}

impl Scorer for Winoground {
    fn name(&self) -> &'static str {
        "winoground"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["text", "image", "group", "unpaired"]
    }

    fn judge(&self, item: &Item, answer: &Answer) -> Result<Verdict, ScoreError> {
        let wrong = |found: String, expected| {
            Err(ScoreError::Item { scorer: self.name(), item: item.id.clone(), found, expected })
        };
        let ([caption], [foil]) = (item.captions.as_slice(), item.foils.as_slice()) else {
            let found = format!("{} captions and {} foils", item.captions.len(), item.foils.len());
            return wrong(found, "one caption and one foil");
        };
        let [Fits { caption: own, foil: other, .. }] = answer.fits.as_slice() else {
            return wrong(format!("{} pairs compared", answer.fits.len()), "one");
        };
        let read = if own > other { "caption" } else { "foil" };
        let counts = vec![f64::from(*own), f64::from(*other), known(caption), known(foil)];
        Ok(Verdict { read: read.to_owned(), counts })
    }

    /// How many are right by text, by image and by both, of how many; items that are not among them, and items.
    fn gathered(&self, group: &[&[f64]]) -> Vec<f64> {
        let items = group.len() as f64;
        let [[s00, s10, c0, f0], [s11, s01, c1, f1]] = group else {
            return vec![0.0, 0.0, 0.0, 0.0, items, items];
        };
        if (c0, f0) != (f1, c1) {
            return vec![0.0, 0.0, 0.0, 0.0, items, items];
        }
        let (text, image) = (s00 > s10 && s11 > s01, s00 > s01 && s11 > s10);
        let [text, image, both] = [text, image, text && image].map(|right| f64::from(u8::from(right)));
        vec![text, image, both, 1.0, 0.0, items]
    }

    fn values(&self, counts: &[f64]) -> Vec<Option<f64>> {
        let [text, image, both, all, unpaired, items] = counts else {
            return vec![None; self.figures().len()];
        };
        vec![share(*text, *all), share(*image, *all), share(*both, *all), share(*unpaired, *items)]
    }
}
