//! Whether the caption fits better than its foil (Parcalabescu et al., VALSE, 2022: pairwise accuracy, acc_r).
//!
//! A pair is right if f(caption) > f(foil); equal ones are wrong. f is the similarity of a dual encoder, or the log-probability that a
//! model that writes gives the text as its answer. A longer text is less likely, so that for such a model the same is told of
//! log-probabilities divided by the number of tokens; and `shorter` in the table of trivial answers always takes the text with fewer
//! characters (of equal ones neither).

use super::{Answer, Fits, ScoreError, Scorer, Verdict, share};
use crate::benchmark::Item;

/// Caption against foil.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pairwise;

impl Pairwise {
    /// What always taking the shorter text comes to.
    pub(crate) fn shorter(item: &Item) -> Answer {
        let length = |text: &String| -(text.chars().count() as f32);
        let fits = |(caption, foil): (&String, &String)| Fits {
            caption: length(caption),
            foil: length(foil),
            tokens: None,
        };
        Answer { fits: item.captions.iter().zip(&item.foils).map(fits).collect(), ..Answer::default() }
    }
}

impl Scorer for Pairwise {
    fn name(&self) -> &'static str {
        "pairwise"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["accuracy", "accuracy per token"]
    }

    fn judge(&self, item: &Item, answer: &Answer) -> Result<Verdict, ScoreError> {
        let wrong = |found: String, expected| {
            Err(ScoreError::Item { scorer: self.name(), item: item.id.clone(), found, expected })
        };
        if item.foils.is_empty() {
            return wrong("no foil".to_owned(), "a caption and a foil");
        }
        if answer.fits.len() != item.foils.len() {
            return wrong(format!("{} pairs compared", answer.fits.len()), "as many as foils");
        }
        let right =
            |better: &dyn Fn(&Fits) -> bool| answer.fits.iter().filter(|fits| better(fits)).count() as f64;
        let all = answer.fits.len() as f64;
        let whole = right(&|fits| fits.caption > fits.foil);
        let each = |fits: &Fits| {
            fits.tokens.is_some_and(|[caption, foil]| fits.caption / caption as f32 > fits.foil / foil as f32)
        };
        let counted = answer.fits.iter().filter(|fits| fits.tokens.is_some()).count() as f64;
        Ok(Verdict { read: format!("{whole} of {all}"), counts: vec![whole, all, right(&each), counted] })
    }

    fn values(&self, counts: &[f64]) -> Vec<Option<f64>> {
        let [whole, all, each, counted] = counts else { return vec![None; self.figures().len()] };
        vec![share(*whole, *all), share(*each, *counted)]
    }
}
