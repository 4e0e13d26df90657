//! The least value of a smooth function of many numbers: L-BFGS.
//!
//! Nocedal, Wright, Numerical Optimization, 2nd edition, 2006, algorithm 7.4. A step is accepted that keeps the weak Wolfe conditions,
//! found by bisection (Lewis, Overton, Nonsmooth optimization via quasi-Newton methods, Mathematical Programming 141, 2013). Sums are
//! made in one order, so that the same function gives the same bits; every step can be watched and be the last.

use std::collections::VecDeque;

use mmlens_core::{AnalysisError, Ended};

/// Steps that are remembered.
const REMEMBERED: usize = 10;
/// A step goes down by this share of what the slope promises, at least.
const ENOUGH: f64 = 1e-4;
/// The slope at its end is this share of that at its start, at most.
const FLATTER: f64 = 0.9;
/// So many lengths of a step are tried.
const TRIED: usize = 60;

/// When a search ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The most steps.
    pub steps: usize,
    /// The largest absolute value of the gradient at which it has converged.
    pub gradient: f64,
}

/// Where a search ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    /// The point.
    pub at: Vec<f64>,
    /// The value there.
    pub value: f64,
    /// How it ended.
    pub ended: Ended,
}

/// A step that was taken, and by how much the gradient changed.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// One over their product.
    inverse: f64,
}

/// Searches for the least value from a start. `value` gives the value at a point, and writes the gradient there; `each` is told of
/// every step, by its number from one, and may end the search with an error.
///
/// # Errors
/// [`AnalysisError::NotFinite`] for a start whose value or gradient is no finite number; what `each` says.
///
/// # Cost
/// Memory: 24 times the point. One to a few values for each step.
pub fn minimise(
    method: &'static str,
    start: Vec<f64>,
    limits: Limits,
    value: &mut dyn FnMut(&[f64], &mut [f64]) -> f64,
    each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
) -> Result<Minimum, AnalysisError> {
    let mut at = start;
    let mut gradient = vec![0.0; at.len()];
    let mut now = value(&at, &mut gradient);
    let mut norm = size(&gradient);
    if !now.is_finite() || !norm.is_finite() {
        let (table, at) = ("what is to be made least".to_owned(), "the start".to_owned());
        return Err(AnalysisError::NotFinite { method: method.to_owned(), table, at, found: now as f32 });
    }
    let mut known: VecDeque<Pair> = VecDeque::with_capacity(REMEMBERED);
    let mut steps = 0;
    while norm > limits.gradient && steps < limits.steps {
        let mut way = direction(&known, &gradient);
        if dot(&way, &gradient) >= 0.0 {
            // Rounding has spoilt what is remembered.
            known.clear();
            way = direction(&known, &gradient);
        }
        let first = if known.is_empty() { 1.0 / norm.max(1.0) } else { 1.0 };
        let Some((next, value_there, gradient_there)) = search(&at, &way, (now, &gradient), first, value)
        else {
            if known.is_empty() {
                break;
            }
            known.clear();
            continue;
        };
        let less = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let (step, change) = (less(&next, &at), less(&gradient_there, &gradient));
        let product = dot(&step, &change);
        if product > f64::EPSILON * dot(&change, &change) {
            if known.len() == REMEMBERED {
                known.pop_front();
            }
            known.push_back(Pair { step, change, inverse: 1.0 / product });
        }
        (at, now, gradient) = (next, value_there, gradient_there);
        norm = size(&gradient);
        steps += 1;
        each(steps)?;
    }
    let ended = if norm <= limits.gradient {
        Ended::Converged { steps, gradient: norm }
    } else {
        Ended::Stopped { steps, gradient: norm }
    };
    Ok(Minimum { at, value: now, ended })
}

/// Minus the gradient, times what the remembered steps say of the inverse curvature.
fn direction(known: &VecDeque<Pair>, gradient: &[f64]) -> Vec<f64> {
    let mut way: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(known.len());
    for pair in known.iter().rev() {
        let share = pair.inverse * dot(&pair.step, &way);
        add(&mut way, -share, &pair.change);
        shares.push(share);
    }
    if let Some(last) = known.back() {
        let scale = 1.0 / (last.inverse * dot(&last.change, &last.change));
        way.iter_mut().for_each(|w| *w *= scale);
    }
    for (pair, share) in known.iter().zip(shares.iter().rev()) {
        let back = pair.inverse * dot(&pair.change, &way);
        add(&mut way, share - back, &pair.step);
    }
    way
}

/// A point along a way at which the value is low enough and the slope flat enough, with both; `None`, if there is none.
fn search(
    from: &[f64],
    way: &[f64],
    (value_here, gradient_here): (f64, &[f64]),
    first: f64,
    value: &mut dyn FnMut(&[f64], &mut [f64]) -> f64,
) -> Option<(Vec<f64>, f64, Vec<f64>)> {
    let slope = dot(way, gradient_here);
    // What sums of this size cannot tell apart.
    let blur = 4.0 * f64::EPSILON * value_here.abs();
    let (mut low, mut high, mut length) = (0.0, f64::INFINITY, first);
    let mut gradient = vec![0.0; from.len()];
    for _ in 0..TRIED {
        let mut point = from.to_vec();
        add(&mut point, length, way);
        let there = value(&point, &mut gradient);
        let finite = there.is_finite() && size(&gradient).is_finite();
        if !finite || there > value_here + ENOUGH * length * slope + blur {
            high = length;
        } else if dot(way, &gradient) < FLATTER * slope {
            low = length;
        } else {
            return Some((point, there, gradient));
        }
        length = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * low };
    }
    None
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], times: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += times * what);
}

/// The largest absolute value; infinite, if one is no number.
fn size(values: &[f64]) -> f64 {
    if values.iter().all(|value| value.is_finite()) {
        // no NaN: all are finite
        values.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::{AnalysisError, Ended};

    use super::{Limits, Minimum, minimise};

    fn found(
        start: Vec<f64>,
        steps: usize,
        value: &mut dyn FnMut(&[f64], &mut [f64]) -> f64,
    ) -> Result<Minimum, AnalysisError> {
        let mut told = 0;
        let each = &mut |step| {
            told += 1;
            assert_eq!(step, told);
            Ok(())
        };
        minimise("test", start, Limits { steps, gradient: 1e-10 }, value, each)
    }

    /// Rosenbrock's valley, whose least value is 0 at (1, 1).
    fn valley(x: &[f64], g: &mut [f64]) -> f64 {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        g[0] = -2.0 * a - 400.0 * x[0] * b;
        g[1] = 200.0 * b;
        a * a + 100.0 * b * b
    }

    #[test]
    fn a_bent_valley_is_followed_to_its_end() {
        let minimum = found(vec![-1.2, 1.0], 200, &mut valley).unwrap();
        assert!(minimum.ended.converged() && minimum.value < 1e-18, "{minimum:?}");
        assert!(minimum.at.iter().all(|x| (x - 1.0).abs() < 1e-8), "{minimum:?}");
    }

    /// Half the sum of `c_i (x_i - i)^2` with curvatures from 1 to 10,000: the least value is 0 at `x_i = i`. SciPy's L-BFGS, which
    /// remembers as many steps, takes 701.
    #[test]
    fn curvatures_that_differ_much_are_no_obstacle() {
        let curvature = |i: usize| 10_f64.powf(i as f64 / 5.0);
        let mut bowl = |x: &[f64], g: &mut [f64]| {
            let each = x.iter().enumerate().map(|(i, x)| {
                let off = x - i as f64;
                g[i] = curvature(i) * off;
                0.5 * curvature(i) * off * off
            });
            each.sum()
        };
        let minimum = found(vec![0.0; 21], 2000, &mut bowl).unwrap();
        assert!(minimum.ended.converged(), "{:?}", minimum.ended);
        assert!(minimum.at.iter().enumerate().all(|(i, x)| (x - i as f64).abs() < 1e-9), "{minimum:?}");
        let again = found(vec![0.0; 21], 2000, &mut bowl).unwrap();
        assert_eq!(again, minimum);
    }

    #[test]
    fn how_it_ended_is_told() {
        let stopped = found(vec![-1.2, 1.0], 3, &mut valley).unwrap();
        let Ended::Stopped { steps: 3, gradient } = stopped.ended else { panic!("{:?}", stopped.ended) };
        assert!(gradient > 1e-10);
        assert_eq!(
            stopped.ended.to_string(),
            format!("stopped after 3 steps at a gradient of {gradient:.1e}")
        );
        let there = found(vec![1.0, 1.0], 3, &mut valley).unwrap();
        assert_eq!(there.ended, Ended::Converged { steps: 0, gradient: 0.0 });
        // A slope without an end has no least value.
        let endless = found(vec![0.0], 50, &mut |x, g| {
            g[0] = -1.0;
            -x[0]
        });
        assert!(!endless.unwrap().ended.converged());
        let said = found(vec![0.0], 5, &mut |_, _| f64::NAN).unwrap_err().to_string();
        assert_eq!(
            said,
            "test: `what is to be made least` holds NaN at the start, where a finite number belongs"
        );
    }

    #[test]
    fn a_watcher_ends_it() {
        let cancelled = || AnalysisError::Cancelled { method: "test", done: 2, total: 9 };
        let mut each = |step| if step < 2 { Ok(()) } else { Err(cancelled()) };
        let limits = Limits { steps: 9, gradient: 0.0 };
        let said = minimise("test", vec![-1.2, 1.0], limits, &mut valley, &mut each).unwrap_err();
        assert_eq!(said.to_string(), cancelled().to_string());
    }
}
