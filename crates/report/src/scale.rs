//! From numbers to a place on a colour map.

use mmlens_finding::Unit;
use serde::Serialize;

/// From this many pixels on, the largest half percent may lie off the scale: one must not hide all others.
const MANY: usize = 1000;
const KEPT: f64 = 0.995;

/// From numbers to a place on a colour map. Signed scales are symmetric about zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Scale {
    /// Whether zero lies in the middle.
    pub(crate) signed: bool,
    /// The value at the lower end.
    pub(crate) lo: f32,
    /// The value at the upper end.
    pub(crate) hi: f32,
    /// Smallest finite number.
    pub(crate) min: f32,
    /// Largest finite number.
    pub(crate) max: f32,
    /// Whether there are finite numbers and all are equal.
    pub(crate) constant: bool,
    /// How many values are no number.
    pub(crate) missing: usize,
}

impl Scale {
    /// One scale for several heat maps. Of a map of very many pixels, the largest half percent may lie off the scale.
    pub(crate) fn of_maps(unit: Unit, maps: &[Vec<f32>]) -> Self {
        let scale = Self::of(unit, &maps.concat());
        // no NaN: the scale of what is drawn
        let bound = maps.iter().map(|map| upper(map)).fold(0.0, f32::max);
        match (scale.signed, scale.lo == 0.0) {
            (true, _) => Self { lo: -bound, hi: bound, ..scale },
            (false, true) => Self { hi: bound, ..scale },
            (false, false) => scale,
        }
    }

    /// The scale that shows all of these numbers.
    pub(crate) fn of(unit: Unit, numbers: &[f32]) -> Self {
        let missing = numbers.iter().filter(|v| v.is_nan()).count();
        let finite = numbers.iter().copied().filter(|v| v.is_finite());
        // no NaN: the scale of what is drawn
        let ends = finite.fold(None, |ends, v| match ends {
            None => Some((v, v)),
            Some((min, max)) => Some((v.min(min), v.max(max))),
        });
        let (min, max) = ends.unwrap_or((0.0, 0.0));
        let never_positive = matches!(unit, Unit::LogProbability) && max <= 0.0;
        let signed = min < 0.0 && !never_positive;
        let (lo, hi) = if signed {
            let bound = max.abs().max(min.abs());
            (-bound, bound)
        } else if never_positive || min > 0.5 * max && min < max {
            (min, max)
        } else {
            (0.0, max)
        };
        Self { signed, lo, hi, min, max, constant: ends.is_some() && min == max, missing }
    }

    /// Place between the ends, 0 to 1; `None` for what is no number. Infinities lie at the ends.
    pub(crate) fn place(&self, value: f32) -> Option<f64> {
        if value.is_nan() {
            return None;
        }
        let (lo, hi) = (f64::from(self.lo), f64::from(self.hi));
        if hi > lo {
            return Some(((f64::from(value) - lo) / (hi - lo)).clamp(0.0, 1.0));
        }
        Some(if self.signed { 0.5 } else { 0.0 })
    }
}

/// The largest magnitude, or of very many the one that half a percent exceed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the numbers")]
fn upper(numbers: &[f32]) -> f32 {
    let mut sorted: Vec<f32> = numbers.iter().map(|v| v.abs()).filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let largest = sorted.last().copied().unwrap_or(0.0);
    if sorted.len() < MANY {
        return largest;
    }
    let index = ((sorted.len() - 1) as f64 * KEPT).round() as usize;
    sorted.get(index).copied().filter(|v| *v > 0.0).unwrap_or(largest)
}

#[cfg(test)]
mod tests {
    use mmlens_finding::Unit;

    use super::Scale;

    fn ends(unit: Unit, numbers: &[f32]) -> (bool, f32, f32) {
        let scale = Scale::of(unit, numbers);
        (scale.signed, scale.lo, scale.hi)
    }

    #[test]
    fn signed_numbers_are_symmetric_and_others_start_at_zero() {
        assert_eq!(ends(Unit::Logit, &[-1.0, 3.0]), (true, -3.0, 3.0));
        assert_eq!(ends(Unit::Logit, &[-4.0, -3.0]), (true, -4.0, 4.0));
        assert_eq!(ends(Unit::Ratio, &[0.1, 0.8]), (false, 0.0, 0.8));
        // a narrow band far from zero would be one colour
        assert_eq!(ends(Unit::Cosine, &[0.8, 0.9]), (false, 0.8, 0.9));
        assert_eq!(ends(Unit::LogProbability, &[-9.0, -1.0]), (false, -9.0, -1.0));
    }

    #[test]
    fn nan_infinity_constants_and_nothing_have_scales() {
        let scale = Scale::of(Unit::Logit, &[f32::NAN, 2.0, f32::INFINITY]);
        assert_eq!((scale.lo, scale.hi, scale.missing, scale.constant), (0.0, 2.0, 1, true));
        assert_eq!(scale.place(f32::NAN), None);
        assert_eq!(scale.place(f32::INFINITY), Some(1.0));
        assert_eq!(scale.place(f32::NEG_INFINITY), Some(0.0));
        assert_eq!(Scale::of(Unit::Logit, &[0.0, 0.0]).place(0.0), Some(0.0));
        assert_eq!(Scale::of(Unit::Logit, &[-2.0, -2.0]).place(-2.0), Some(0.0));
        assert_eq!(Scale::of(Unit::Logit, &[f32::NAN]).place(f32::NAN), None);
        assert_eq!(Scale::of(Unit::Logit, &[]).hi, 0.0);
        assert_eq!(ends(Unit::LogProbability, &[0.0, 0.0]), (false, 0.0, 0.0));
    }

    #[test]
    fn one_pixel_among_many_does_not_set_the_scale() {
        let mut numbers = vec![1.0; 2000];
        numbers[0] = 1000.0;
        assert_eq!(Scale::of(Unit::Logit, &numbers).hi, 1000.0);
        let scale = Scale::of_maps(Unit::Logit, &[numbers]);
        assert_eq!((scale.hi, scale.max), (1.0, 1000.0));
        // mostly zeros: the half percent that is not zero must not vanish
        let mut numbers = vec![0.0; 2000];
        numbers[0] = -5.0;
        let scale = Scale::of_maps(Unit::Logit, &[numbers]);
        assert_eq!((scale.lo, scale.hi), (-5.0, 5.0));
    }

    #[test]
    fn a_small_map_is_shown_whole() {
        // 999 places and one that is a hundred times as strong: of a map so small none lies off the scale
        for len in [2, 10, 200, 999] {
            let mut numbers = vec![1.0; len];
            numbers[len / 2] = 100.0;
            let scale = Scale::of_maps(Unit::Logit, &[numbers.clone()]);
            assert_eq!((scale.lo, scale.hi), (0.0, 100.0), "{len}");
            numbers[0] = -3.0;
            assert_eq!(Scale::of_maps(Unit::Logit, &[numbers]).lo, -100.0, "{len}");
        }
    }

    #[test]
    fn the_strongest_of_many_small_maps_is_shown_whole() {
        let mut maps = vec![vec![0.1; 500]; 10];
        maps[9] = vec![7.0; 500];
        assert_eq!(Scale::of_maps(Unit::Ratio, &maps).hi, 7.0);
        // a narrow band far from zero keeps its ends
        let scale = Scale::of_maps(Unit::Cosine, &[vec![0.8], vec![0.9]]);
        assert_eq!((scale.lo, scale.hi), (0.8, 0.9));
    }
}
