//! How well boxes lie on those they should.

/// Intersection over union of two boxes, x0, y0, x1, y1: from 0 to 1; 0 where both have no area.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f64 {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.map(f64::from), b.map(f64::from));
    let area = |x0: f64, y0: f64, x1: f64, y1: f64| (x1 - x0).max(0.0) * (y1 - y0).max(0.0); // no NaN: boxes are finite
    let inner = area(a0.max(b0), a1.max(b1), a2.min(b2), a3.min(b3)); // no NaN: boxes are finite
    let union = area(a0, a1, a2, a3) + area(b0, b1, b2, b3) - inner;
    if union > 0.0 { inner / union } else { 0.0 }
}

/// Intersection over union of all that some boxes cover and all that others do, as GQA-REX scores the places of an explanation (there on whole pixels, and divided by what the detected boxes
/// allow at most). 0 where neither covers anything.
pub fn union_iou(a: &[[f32; 4]], b: &[[f32; 4]]) -> f64 {
    let edges = |low: usize, high: usize| {
        let all = a.iter().chain(b).flat_map(|own| [own.get(low), own.get(high)]);
        let mut edges: Vec<f32> = all.flatten().copied().collect();
        edges.sort_by(f32::total_cmp);
        edges.dedup();
        edges
    };
    let covers = |own: &[[f32; 4]], x: f32, y: f32| {
        own.iter().any(|[x0, y0, x1, y1]| (*x0..*x1).contains(&x) && (*y0..*y1).contains(&y))
    };
    let (wide, high) = (edges(0, 2), edges(1, 3));
    let (mut both, mut either) = (0.0, 0.0);
    for x in wide.windows(2) {
        let [x0, x1] = x else { continue };
        for y in high.windows(2) {
            let [y0, y1] = y else { continue };
            let area = (f64::from(*x1) - f64::from(*x0)) * (f64::from(*y1) - f64::from(*y0));
            match (covers(a, *x0, *y0), covers(b, *x0, *y0)) {
                (true, true) => (both, either) = (both + area, either + area),
                (false, false) => {}
                _ => either += area,
            }
        }
    }
    if either > 0.0 { both / either } else { 0.0 }
}

/// How well phrases are grounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grounding {
    /// Phrases.
    pub phrases: usize,
    /// Mean over phrases of the intersection over union of the first box with the true one that it meets best; 0 for a phrase without a box.
    pub mean_iou: f64,
    /// Share of phrases of which that is at least one half.
    pub accuracy: f64,
}

/// Scores phrases, each with the boxes that were given for it and those that are true: the first given box counts, against whichever true box it meets
/// best (Flickr30k Entities' protocol of any box; with one true box each it is the accuracy of RefCOCO). `None` without phrases.
pub fn grounding<'b>(
    phrases: impl IntoIterator<Item = (&'b [[f32; 4]], &'b [[f32; 4]])>,
) -> Option<Grounding> {
    let (mut count, mut sum, mut right) = (0_usize, 0.0, 0_usize);
    for (given, truth) in phrases {
        let mut own = 0.0;
        for met in given.first().iter().flat_map(|own| truth.iter().map(|other| iou(**own, *other))) {
            own = if met > own { met } else { own };
        }
        count += 1;
        sum += own;
        right += usize::from(own >= 0.5);
    }
    let n = count as f64;
    (count > 0).then(|| Grounding { phrases: count, mean_iou: sum / n, accuracy: right as f64 / n })
}

#[cfg(test)]
mod tests {
    use super::{Grounding, grounding, iou, union_iou};

    #[test]
    fn boxes_are_compared_by_area() {
        let square = [0.0, 0.0, 10.0, 10.0];
        assert_eq!(iou(square, square), 1.0);
        // 50 of 100 + 100 - 50
        assert_eq!(iou(square, [5.0, 0.0, 15.0, 10.0]), 50.0 / 150.0);
        assert_eq!(iou(square, [10.0, 0.0, 15.0, 10.0]), 0.0);
        assert_eq!(iou([1.0; 4], [1.0; 4]), 0.0);
    }

    #[test]
    fn what_is_covered_twice_counts_once() {
        let (a, b) = ([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0]], [[0.0, 0.0, 6.0, 2.0]]);
        // 12 of 24: the two boxes cover 6 x 4
        assert_eq!(union_iou(&a, &b), 0.5);
        assert_eq!((union_iou(&a, &a), union_iou(&a, &[]), union_iou(&[], &[])), (1.0, 0.0, 0.0));
        let [one, other] = [[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0]];
        assert_eq!(union_iou(&[one], &[other]), iou(one, other));
    }

    #[test]
    fn the_first_box_counts_against_any_true_one() {
        let (near, far) = ([0.0, 0.0, 10.0, 8.0], [50.0, 50.0, 60.0, 60.0]);
        let truth = [[0.0, 0.0, 10.0, 10.0], [90.0, 90.0, 99.0, 99.0]];
        let phrases: [(&[[f32; 4]], &[[f32; 4]]); 3] =
            [(&[near, far], &truth), (&[far, near], &truth), (&[], &truth)];
        let wanted = Grounding { phrases: 3, mean_iou: 0.8 / 3.0, accuracy: 1.0 / 3.0 };
        let found = grounding(phrases).unwrap();
        assert!((found.mean_iou - wanted.mean_iou).abs() < 1e-12 && found.accuracy == wanted.accuracy);
        assert_eq!(grounding([]), None);
    }
}
