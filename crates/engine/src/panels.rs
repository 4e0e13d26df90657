//! An integral in panels that are halved where they miss most.
//!
//! Of an integral along a path more is known than its integrand: the objective at both ends of a panel, and so what the panel
//! should give. A panel has five Gauss-Legendre nodes, the third of which lies in its middle, where it is halved: the objective
//! at the new ends is known already.

use crate::{Node, Rule};

/// How many nodes a panel has: an odd number, so that one lies in its middle.
pub(crate) const NODES: usize = 5;
/// How many equal panels a path is first cut into.
pub(crate) const FIRST: usize = 16;

/// What is no wider is not halved: positions on a path are 32 bits wide, and what changes within so little is a jump.
const NARROW: f64 = 1.0 / (1 << 20) as f64;

/// A part of a path, and the objective at its ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    /// Where it begins and ends, in `[0, 1]`.
    pub(crate) at: [f64; 2],
    /// The objective there.
    pub(crate) scores: [f32; 2],
}

impl Span {
    /// Where the panels that a path is first cut into begin and end, but for both ends of the path.
    pub(crate) fn cuts() -> Vec<f64> {
        (1..FIRST).map(|k| k as f64 / FIRST as f64).collect()
    }

    /// The panels between places with their scores, in ascending order.
    pub(crate) fn between(places: &[(f64, f32)]) -> Vec<Self> {
        let pairs = places.iter().zip(places.iter().skip(1));
        pairs.map(|(from, to)| Self { at: [from.0, to.0], scores: [from.1, to.1] }).collect()
    }

    /// By how much the objective changes.
    pub(crate) fn change(&self) -> f64 {
        f64::from(self.scores[1]) - f64::from(self.scores[0])
    }

    fn wide(&self) -> f64 {
        self.at[1] - self.at[0]
    }

    /// Its nodes, whose weights sum to its length.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let [from, to] = self.at;
        let place = |node: Node| Node { at: from + (to - from) * node.at, weight: (to - from) * node.weight };
        Rule::GaussLegendre.nodes(NODES).into_iter().map(place).collect()
    }

    fn halves(&self, middle: f32) -> [Self; 2] {
        let ([from, to], [first, last]) = (self.at, self.scores);
        let half = f64::midpoint(from, to);
        [Self { at: [from, half], scores: [first, middle] }, Self { at: [half, to], scores: [middle, last] }]
    }
}

/// A part of a path that was measured.
#[derive(Debug, Clone)]
pub(crate) struct Panel<T> {
    pub(crate) span: Span,
    /// The objective at its nodes.
    pub(crate) scores: [f32; NODES],
    /// What its nodes say of each coordinate.
    pub(crate) sums: T,
    /// The integral over it.
    pub(crate) total: f64,
}

impl<T> Panel<T> {
    /// By how much the integral misses the change.
    pub(crate) fn gap(&self) -> f64 {
        self.total - self.span.change()
    }
}

/// What all panels miss, without signs.
pub(crate) fn missed<T>(panels: &[Panel<T>]) -> f64 {
    panels.iter().map(|panel| panel.gap().abs()).sum()
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// What all panels may miss together, without signs, as a share of the change along the whole path.
    pub(crate) gap: f64,
    /// The most nodes that are measured; those of panels that are halved later count.
    pub(crate) nodes: usize,
}

/// Measures spans that follow each other, and halves those that miss at least a quarter as much as the worst, until it is time to stop.
/// Panels come back in ascending order. What is no finite number is not looked into further.
///
/// # Errors
/// Those of `measure`, which gives one panel for each span, in their order.
pub(crate) fn refine<T, E>(
    first: Vec<Span>,
    until: Until,
    mut measure: impl FnMut(Vec<Span>) -> Result<Vec<Panel<T>>, E>,
) -> Result<Vec<Panel<T>>, E> {
    let allowed = until.gap * first.iter().map(Span::change).sum::<f64>().abs();
    let mut left = until.nodes.saturating_sub(NODES * first.len());
    let mut panels = measure(first)?;
    loop {
        // The worst first; those that are too narrow to be halved come last.
        let worth = |panel: &Panel<T>| if panel.span.wide() > NARROW { panel.gap().abs() } else { 0.0 };
        panels.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then(a.span.at[0].total_cmp(&b.span.at[0])));
        let (all, most) = (missed(&panels), left / (2 * NODES));
        let worst = panels.first().map_or(0.0, worth);
        if all <= allowed || !all.is_finite() || most == 0 || worst == 0.0 {
            panels.sort_by(|a, b| a.span.at[0].total_cmp(&b.span.at[0]));
            return Ok(panels);
        }
        let bad = panels.iter().take(most).take_while(|panel| worth(panel) >= worst / 4.0).count();
        let halved = panels.drain(..bad).flat_map(|panel| panel.span.halves(panel.scores[NODES / 2]));
        let spans: Vec<Span> = halved.collect();
        left -= NODES * spans.len();
        panels.extend(measure(spans)?);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    /// Panels of a function that is known, with how many nodes were looked at.
    fn panels(f: impl Fn(f64) -> f64, slope: impl Fn(f64) -> f64, until: Until) -> (Vec<Panel<()>>, usize) {
        let looked = Cell::new(0);
        let ends: Vec<(f64, f32)> =
            [0.0].into_iter().chain(Span::cuts()).chain([1.0]).map(|at| (at, f(at) as f32)).collect();
        let measure = |spans: Vec<Span>| -> Result<_, Infallible> {
            let own = |span: Span| {
                let nodes = span.nodes();
                looked.set(looked.get() + nodes.len());
                let scores: Vec<f32> = nodes.iter().map(|node| f(node.at) as f32).collect();
                let total = nodes.iter().map(|node| node.weight * slope(node.at)).sum();
                Panel { span, scores: scores.try_into().unwrap(), sums: (), total }
            };
            Ok(spans.into_iter().map(own).collect())
        };
        let Ok(panels) = refine(Span::between(&ends), until, measure);
        (panels, looked.get())
    }

    fn total(panels: &[Panel<()>]) -> f64 {
        panels.iter().map(|panel| panel.total).sum()
    }

    #[test]
    fn panels_follow_each_other_and_their_weights_fill_the_path() {
        let (panels, _) =
            panels(|x| (40.0 * x).sin(), |x| 40.0 * (40.0 * x).cos(), Until { gap: 1e-9, nodes: 500 });
        assert!(panels.len() > FIRST);
        assert_eq!((panels[0].span.at[0], panels.last().unwrap().span.at[1]), (0.0, 1.0));
        assert!(
            panels.windows(2).all(|two| two[0].span.at[1] == two[1].span.at[0]
                && two[0].span.scores[1] == two[1].span.scores[0])
        );
        for Panel { span: Span { at, scores }, .. } in &panels {
            assert_eq!(at.map(|at| (40.0 * at).sin() as f32), *scores);
        }
        let weights: f64 = panels.iter().flat_map(|panel| panel.span.nodes()).map(|node| node.weight).sum();
        assert!((weights - 1.0).abs() < 1e-12, "{weights}");
    }

    /// A polynomial of the ninth degree is what five nodes are exact for: no panel is halved.
    #[test]
    fn what_is_exact_is_not_halved() {
        let (panels, looked) = panels(|x| x.powi(10), |x| 10.0 * x.powi(9), Until { gap: 1e-5, nodes: 512 });
        assert_eq!((panels.len(), looked), (FIRST, FIRST * NODES));
        assert!((total(&panels) - 1.0).abs() < 1e-12);
    }

    /// A step of width 1e-4 at a place that no rule expects. 512 nodes of one rule miss it by far.
    #[test]
    fn a_step_is_found_where_one_rule_misses_it() {
        let (f, wide) = (|x: f64| ((x - 0.3137) / 1e-4).atan(), 1e-4);
        let slope = |x: f64| 1.0 / wide / (1.0 + ((x - 0.3137) / wide).powi(2));
        let change = f(1.0) - f(0.0);
        let fixed: f64 = Rule::GaussLegendre.nodes(512).iter().map(|node| node.weight * slope(node.at)).sum();
        assert!((fixed - change).abs() > 0.2 * change, "{fixed} {change}");
        let (panels, looked) = panels(f, slope, Until { gap: 0.01, nodes: 512 });
        assert!((total(&panels) - change).abs() < 0.01 * change && looked < 300, "{looked} nodes");
    }

    /// A step up and one down: what their panels miss cancels, and is looked into all the same.
    #[test]
    fn what_panels_miss_does_not_cancel() {
        let (up, down, wide) = (0.3137, 0.8137, 1e-4);
        let f = |x: f64| x + ((x - up) / wide).atan() - ((x - down) / wide).atan();
        let part = |x: f64| 1.0 / wide / (1.0 + (x / wide).powi(2));
        let (panels, _) =
            panels(f, |x| 1.0 + part(x - up) - part(x - down), Until { gap: 0.01, nodes: 1000 });
        assert!(panels.len() > FIRST && missed(&panels) <= 0.01 * (f(1.0) - f(0.0)), "{}", missed(&panels));
    }

    #[test]
    fn no_more_nodes_are_looked_at_than_allowed() {
        let rough = |x: f64| (2000.0 * x).sin();
        for nodes in [80, 89, 90, 117, 300] {
            let (panels, looked) = panels(rough, |x| 2000.0 * (2000.0 * x).cos(), Until { gap: 0.0, nodes });
            assert!(looked <= nodes && looked + 2 * NODES > nodes, "{looked} of {nodes}");
            assert_eq!(panels.len(), FIRST + (looked - FIRST * NODES) / (2 * NODES));
        }
        // A jump is narrowed down, and left alone then.
        let jump = |x: f64| f64::from(u8::from(x > 0.3));
        let (narrowed, looked) = panels(jump, |_| 0.0, Until { gap: 0.01, nodes: 100_000 });
        assert!(looked < 1000 && (missed(&narrowed) - 1.0).abs() < 1e-9, "{looked}");
        // What is infinite is not refined for ever.
        let (panels, looked) = panels(|x| x, |x| 1.0 / (x - x), Until { gap: 0.01, nodes: 4000 });
        assert!(looked == FIRST * NODES && !missed(&panels).is_finite());
    }
}
