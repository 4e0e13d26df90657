//! How two values of a site are compared: what an error is measured against.
//!
//! An error counts against what lies beside it, not against the largest value of the site. Some states of a trained model
//! are a thousand times as large as all others, at one position and for no reason of the input ("massive activations"): measured
//! against them, every other position might hold anything.
//!
//! | site | measured against the largest value of | why |
//! |---|---|---|
//! | `pixels` | all pictures | one product, difference and quotient for each: no pixel depends on another |
//! | `mel` | all recordings | logarithms, of which the quietest are rounding |
//! | `attn.scores`, `cross.scores` | the scores of its head, twice as far | a score is the product of a query and a key, and each of them may be off by the bound; a score near zero is a sum of large terms that cancel. Scores of a trained model exceed 1000, so that rounding in one head is more than all of another |
//! | all others, all gradients | its row: the vector at one position, of one head; the weights of one query | a sum of many terms is rounded as its largest terms are, and those are no larger than the row suggests |
//!
//! Scores that a mask hides are the lowest number in one library and minus infinity in another: equal to each other, to
//! nothing else, and no measure.

use mmlens_finding::{Against, Tolerance};

use crate::{AxisName, Point, SiteSpec};

impl SiteSpec {
    /// What values of this site may differ by, so many of the table above.
    pub fn tolerance(&self, dims: &[usize], relative: f64) -> Tolerance {
        let tolerance = Tolerance::relative(relative);
        match self.site.point() {
            Point::Pixels | Point::Mel => tolerance,
            Point::Scores | Point::CrossScores => {
                let head: usize = dims.iter().rev().take(2).product();
                Tolerance::relative(2.0 * relative).by_row(head).masked()
            }
            _ => tolerance.by_row(self.row(dims)),
        }
    }

    /// What gradients at this site may differ by.
    pub fn gradient_tolerance(&self, dims: &[usize], relative: f64) -> Tolerance {
        Tolerance { against: Against::Row(self.row(dims)), ..Tolerance::relative(relative) }
    }

    /// How many values stand together at one position, of one head: those of the axes behind, at least of the last.
    fn row(&self, dims: &[usize]) -> usize {
        let apart = |(axis, _): &(AxisName, _)| {
            use AxisName::{Batch, Clip, Head, Image, Pos, Query};
            matches!(axis, Batch | Image | Clip | Pos | Head | Query)
        };
        let first = self.axes.iter().rposition(apart).map_or(0, |last| last + 1);
        dims.iter().skip(first.min(self.axes.len().saturating_sub(1))).product()
    }
}

#[cfg(test)]
mod tests {
    use mmlens_finding::Against;

    use crate::AxisName::{Batch, Channel, DHead, DModel, Head, Height, Image, Key, Pos, Query, Width};
    use crate::{AxisName, SiteSpec};

    fn spec(site: &str, axes: &[AxisName]) -> SiteSpec {
        SiteSpec::new(site.parse().unwrap(), axes.iter().map(|axis| (*axis, None)))
    }

    #[test]
    fn rows_are_vectors_at_one_position_and_scores_those_of_a_head() {
        let against = |site: &str, axes: &[AxisName], dims: &[usize]| {
            let spec = spec(site, axes);
            (spec.tolerance(dims, 1e-4).against, spec.gradient_tolerance(dims, 1e-4).against)
        };
        let row = |n| (Against::Row(n), Against::Row(n));
        assert_eq!(against("text.blocks.0.resid_pre", &[Batch, Pos, DModel], &[2, 5, 8]), row(8));
        assert_eq!(against("text.blocks.0.attn.z", &[Batch, Pos, Head, DHead], &[2, 5, 3, 4]), row(4));
        assert_eq!(against("text.blocks.0.attn.pattern", &[Batch, Head, Query, Key], &[2, 3, 5, 7]), row(7));
        assert_eq!(against("vision.pool.pattern", &[Image, Head, Pos], &[2, 3, 5]), row(5));
        assert_eq!(
            against("text.blocks.0.attn.scores", &[Batch, Head, Query, Key], &[2, 3, 5, 7]),
            (Against::Row(35), Against::Row(7))
        );
        let pixels = against("vision.pixels", &[Image, Channel, Height, Width], &[2, 3, 5, 7]);
        assert_eq!(pixels, (Against::All, Against::Row(105)));
    }

    /// A position of values near 1 beside one of 3000: off by a hundredth, it is 3e-6 of the largest.
    #[test]
    fn an_error_beside_a_massive_activation_is_noticed() {
        let stream = spec("text.blocks.3.resid_post", &[Batch, Pos, DModel]);
        let wanted = [3000.0_f32, -2.0, 1.0, 0.5];
        let found = [3000.0_f32, -2.0, 1.01, 0.5];
        let said = stream.tolerance(&[1, 2, 2], 1e-4).check("x", &found, &wanted).unwrap_err().to_string();
        assert_eq!(
            said,
            "x: value 2 is off by 9.999990463256836e-3, 9.999990463256836e-3 of 1e0; allowed 0e0, or 1e-4 of it"
        );
        // At its own position the large value is the measure: 0.01 is a rounding of the sum it is part of.
        let found = [3000.0_f32, -2.01, 1.0, 0.5];
        assert!(stream.tolerance(&[1, 2, 2], 1e-4).check("x", &found, &wanted).is_ok());
    }

    /// 64 products of queries and keys of size 40: their sum, 1457, comes out of f32 some hundredths off, and a small score
    /// of the same head as many. Another head, of small scores, has a measure of its own.
    #[test]
    fn rounding_of_a_large_score_passes_and_hides_nothing_in_another_head() {
        let scores = spec("text.blocks.0.attn.scores", &[Batch, Head, Query, Key]);
        let wanted = [1457.0_f32, 0.25, 3.0, f32::MIN];
        let check = |found: [f32; 4]| scores.tolerance(&[1, 2, 1, 2], 1e-4).check("x", &found, &wanted);
        // 5.6e-5 of 1457 is 0.08; of two results that are each so far off, twice that.
        assert!(check([1457.16, 0.41, 3.0, f32::NEG_INFINITY]).is_ok());
        assert!(check([1457.0, 0.25, 3.01, f32::NEG_INFINITY]).is_err());
        assert!(check([1457.0, 0.25, 3.0, 0.0]).is_err());
    }
}
