//! Rules that turn an integral over `[0, 1]` into a weighted sum.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fmt;

/// One place of a rule and its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Node {
    /// Where, in `[0, 1]`.
    pub at: f64,
    /// How much it counts; the weights of a rule sum to one.
    pub weight: f64,
}

/// A quadrature rule on `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Midpoints of equal intervals. Exact for straight lines; never touches the ends.
    Midpoint,
    /// Both ends and equal steps between them, the ends at half weight. Exact for straight lines; needs two
    /// nodes.
    Trapezoid,
    /// Gauss and Legendre: `n` nodes, exact for polynomials of degree `2n - 1`.
    #[default]
    GaussLegendre,
}

impl Rule {
    /// The nodes, in ascending order; none for `count` = 0.
    pub fn nodes(self, count: usize) -> Vec<Node> {
        let n = count as f64;
        match self {
            Self::Midpoint => {
                (0..count).map(|i| Node { at: (i as f64 + 0.5) / n, weight: 1.0 / n }).collect()
            }
            Self::Trapezoid if count == 1 => vec![Node { at: 0.5, weight: 1.0 }],
            Self::Trapezoid => (0..count)
                .map(|i| {
                    let end = i == 0 || i + 1 == count;
                    Node { at: i as f64 / (n - 1.0), weight: if end { 0.5 } else { 1.0 } / (n - 1.0) }
                })
                .collect(),
            Self::GaussLegendre => gauss_legendre(count),
        }
    }

    /// Its name in findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Midpoint => "midpoint",
            Self::Trapezoid => "trapezoid",
            Self::GaussLegendre => "gauss-legendre",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The roots of the Legendre polynomial by Newton's method from the usual cosine guess, mapped from `[-1, 1]`.
fn gauss_legendre(count: usize) -> Vec<Node> {
    let node = |i: usize| {
        let mut x = (PI * (i as f64 + 0.75) / (count as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (value, derivative) = legendre(count, x);
            slope = derivative;
            let step = value / derivative;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        Node { at: (1.0 + x) / 2.0, weight: 1.0 / ((1.0 - x * x) * slope * slope) }
    };
    (0..count).rev().map(node).collect()
}

/// The Legendre polynomial and its derivative, by the three-term recurrence.
fn legendre(degree: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (0.0, 1.0);
    for k in 1..=degree {
        let k = k as f64;
        (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
    }
    (value, degree as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::Rule;

    fn integral(rule: Rule, count: usize, f: impl Fn(f64) -> f64) -> f64 {
        rule.nodes(count).iter().map(|n| n.weight * f(n.at)).sum()
    }

    #[test]
    fn weights_sum_to_one_and_nodes_rise() {
        for rule in [Rule::Midpoint, Rule::Trapezoid, Rule::GaussLegendre] {
            for count in [1, 2, 3, 16, 50, 201] {
                let nodes = rule.nodes(count);
                assert_eq!(nodes.len(), count);
                assert!((nodes.iter().map(|n| n.weight).sum::<f64>() - 1.0).abs() < 1e-13, "{rule} {count}");
                assert!(nodes.is_sorted_by(|a, b| a.at < b.at), "{rule} {count}");
                assert!(nodes.iter().all(|n| (0.0..=1.0).contains(&n.at)));
            }
            assert!(rule.nodes(0).is_empty());
        }
    }

    #[test]
    fn each_rule_is_exact_to_its_degree() {
        // the integral of x^k over [0, 1] is 1 / (k + 1)
        for count in [1, 2, 3, 5, 8, 16] {
            for k in 0..2 * count {
                let found = integral(Rule::GaussLegendre, count, |x| x.powi(k as i32));
                assert!((found - 1.0 / (k as f64 + 1.0)).abs() < 1e-13, "{count} nodes, degree {k}");
            }
            for rule in [Rule::Midpoint, Rule::Trapezoid] {
                assert!((integral(rule, count, |x| 3.0 * x + 1.0) - 2.5).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn equal_steps_by_hand() {
        // x^2 at 0, 1/2 and 1, the ends with half the weight: (0/2 + 1/4 + 1/2) / 2; at 1/4 and 3/4: (1/16 + 9/16) / 2
        assert_eq!(integral(Rule::Trapezoid, 3, |x| x * x), 0.375);
        assert_eq!(integral(Rule::Midpoint, 2, |x| x * x), 0.3125);
    }

    #[test]
    fn two_gauss_nodes_lie_where_the_books_say() {
        // the roots of P2 = (3 x^2 - 1) / 2 are +-1/sqrt(3), both with half the weight
        let nodes = Rule::GaussLegendre.nodes(2);
        let root = 1.0 / 3.0_f64.sqrt();
        for (node, x) in nodes.iter().zip([-root, root]) {
            assert!((node.at - (1.0 + x) / 2.0).abs() < 1e-15 && (node.weight - 0.5).abs() < 1e-15);
        }
    }
}
