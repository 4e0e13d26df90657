//! An integral in panels that are halved where they miss most.
//!
//! Of an integral along a path more is known than its integrand: the objective at both ends of a panel, and so what the panel
//! should give. A panel has five equal places, its ends among them, weighed by Boole's rule; halved, its places are places of
//! both halves, so that nothing that was looked at is lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::Node;

/// How many equal panels a path is first cut into.
const FIRST: u32 = 32;
/// How many parts a panel has between its places.
const PARTS: u32 = 4;
/// How many places are looked at first.
pub(crate) const LEAST: usize = (FIRST * PARTS) as usize + 1;
/// How many places are new where a panel is halved.
pub(crate) const NEW: usize = PARTS as usize;
/// Boole's rule: exact for polynomials of the fifth degree.
const WEIGHTS: [f64; 5] = [7.0 / 90.0, 32.0 / 90.0, 12.0 / 90.0, 32.0 / 90.0, 7.0 / 90.0];
/// Where the path ends, in the unit that places are counted in.
const END: u32 = 1 << 24;
/// What is no wider is not halved: values on the way are 32-bit numbers, and between places nearer than this rounding moves them as much as
/// the path does.
const NARROW: u32 = END >> 15;

/// What was found at a place of a path.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    /// The objective.
    pub(crate) score: f32,
    /// How fast it changes along the path.
    pub(crate) slope: f64,
    /// What it is made of.
    pub(crate) parts: T,
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// What all panels may miss together, without signs, as a share of the change along the whole path.
    pub(crate) gap: f64,
    /// The most places that are looked at, both ends of the path among them.
    pub(crate) places: usize,
}

/// A path that was looked at.
#[derive(Debug)]
pub(crate) struct Refined<T> {
    /// The places as nodes, in ascending order; their weights sum to one.
    pub(crate) nodes: Vec<(Node, Found<T>)>,
    /// What all panels miss, without signs.
    pub(crate) missed: f64,
}

/// A part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Panel {
    from: u32,
    wide: u32,
}

impl Panel {
    fn places(self) -> impl Iterator<Item = u32> {
        (0..=PARTS).map(move |k| self.from + k * self.wide / PARTS)
    }

    fn halves(self) -> [Self; 2] {
        let wide = self.wide / 2;
        [Self { wide, ..self }, Self { from: self.from + wide, wide }]
    }

    /// By how much the integral over it misses the change between its ends. `None` if a place was not looked at.
    fn gap<T>(self, found: &BTreeMap<u32, Found<T>>) -> Option<f64> {
        let at = |place: u32| found.get(&place);
        let slopes: Option<f64> =
            self.places().zip(WEIGHTS).map(|(place, weight)| Some(weight * at(place)?.slope)).sum();
        let change = f64::from(at(self.from + self.wide)?.score) - f64::from(at(self.from)?.score);
        Some(part_of_path(self.wide) * slopes? - change)
    }
}

fn part_of_path(wide: u32) -> f64 {
    f64::from(wide) / f64::from(END)
}

/// Looks at a path, and halves the panels that miss at least a quarter as much as the worst, until it is time to stop. What is no finite
/// number is not looked into further. `None` if `look`, which finds something at each of some ascending places, does not do so.
///
/// # Errors
/// Those of `look`.
pub(crate) fn refine<T, E>(
    until: Until,
    mut look: impl FnMut(&[f64]) -> Result<Vec<Found<T>>, E>,
) -> Result<Option<Refined<T>>, E> {
    let wide = END / FIRST;
    let mut panels: Vec<Panel> = (0..FIRST).map(|k| Panel { from: k * wide, wide }).collect();
    let mut found = BTreeMap::new();
    let mut fresh = panels.clone();
    loop {
        let new: BTreeSet<u32> = fresh.drain(..).flat_map(Panel::places).collect();
        let new: Vec<u32> = new.into_iter().filter(|place| !found.contains_key(place)).collect();
        let places: Vec<f64> = new.iter().map(|place| part_of_path(*place)).collect();
        found.extend(new.into_iter().zip(look(&places)?));
        let gaps: Option<Vec<(f64, Panel)>> =
            panels.iter().map(|panel| Some((panel.gap(&found)?.abs(), *panel))).collect();
        let Some(mut gaps) = gaps else { return Ok(None) };
        let missed: f64 = gaps.iter().map(|(gap, _)| gap).sum();
        let score = |place: u32| found.get(&place).map(|found| f64::from(found.score));
        let Some((first, last)) = score(0).zip(score(END)) else { return Ok(None) };
        // The worst first; those that are too narrow to be halved are left alone.
        gaps.retain(|(_, panel)| panel.wide > NARROW);
        gaps.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let (worst, most) =
            (gaps.first().map_or(0.0, |worst| worst.0), until.places.saturating_sub(found.len()) / NEW);
        if missed <= until.gap * (last - first).abs() || !missed.is_finite() || most == 0 || worst == 0.0 {
            return Ok(weighed(&panels, found, missed));
        }
        let bad: BTreeSet<Panel> = gaps
            .iter()
            .take(most)
            .take_while(|(gap, _)| *gap >= worst / 4.0)
            .map(|(_, panel)| *panel)
            .collect();
        fresh = bad.iter().flat_map(|panel| panel.halves()).collect();
        panels.retain(|panel| !bad.contains(panel));
        panels.extend_from_slice(&fresh);
    }
}

/// The places with the weights that the panels give them.
fn weighed<T>(panels: &[Panel], found: BTreeMap<u32, Found<T>>, missed: f64) -> Option<Refined<T>> {
    let mut weights: BTreeMap<u32, f64> = BTreeMap::new();
    for panel in panels {
        for (place, weight) in panel.places().zip(WEIGHTS) {
            *weights.entry(place).or_default() += part_of_path(panel.wide) * weight;
        }
    }
    let own = |(place, found)| Some((Node { at: part_of_path(place), weight: *weights.get(&place)? }, found));
    Some(Refined { nodes: found.into_iter().map(own).collect::<Option<_>>()?, missed })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::Rule;

    /// A path along which the objective and its slope are known.
    fn path(f: impl Fn(f64) -> f64, slope: impl Fn(f64) -> f64, gap: f64, places: usize) -> Refined<f64> {
        let look = |places: &[f64]| -> Result<_, Infallible> {
            assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
            let one = |at: &f64| Found { score: f(*at) as f32, slope: slope(*at), parts: *at };
            Ok(places.iter().map(one).collect())
        };
        let Ok(refined) = refine(Until { gap, places }, look);
        refined.unwrap()
    }

    fn total(refined: &Refined<f64>) -> f64 {
        refined.nodes.iter().map(|(node, found)| node.weight * found.slope).sum()
    }

    #[test]
    fn weights_fill_the_path_and_stand_where_they_were_found() {
        let refined = path(|x| (40.0 * x).sin(), |x| 40.0 * (40.0 * x).cos(), 1e-6, 500);
        assert!(refined.nodes.len() > LEAST);
        assert!(refined.nodes.is_sorted_by(|a, b| a.0.at < b.0.at));
        assert!(refined.nodes.iter().all(|(node, found)| node.at == found.parts && node.weight > 0.0));
        let weights: f64 = refined.nodes.iter().map(|(node, _)| node.weight).sum();
        assert!((weights - 1.0).abs() < 1e-12, "{weights}");
        assert!((total(&refined) - 40.0_f64.sin()).abs() <= refined.missed + 1e-6);
    }

    /// A polynomial of the fifth degree is what Boole's rule is exact for: no panel is halved.
    #[test]
    fn what_is_exact_is_not_halved() {
        let refined = path(|x| x.powi(6), |x| 6.0 * x.powi(5), 1e-5, 512);
        assert_eq!(refined.nodes.len(), LEAST);
        assert!((total(&refined) - 1.0).abs() < 1e-12);
    }

    /// A step of width 1e-4 at a place that no rule expects. 512 nodes of one rule miss it by far.
    #[test]
    fn a_step_is_found_where_one_rule_misses_it() {
        let (f, wide) = (|x: f64| ((x - 0.3137) / 1e-4).atan(), 1e-4);
        let slope = |x: f64| 1.0 / wide / (1.0 + ((x - 0.3137) / wide).powi(2));
        let change = f(1.0) - f(0.0);
        let fixed: f64 = Rule::GaussLegendre.nodes(512).iter().map(|node| node.weight * slope(node.at)).sum();
        assert!((fixed - change).abs() > 0.2 * change, "{fixed} {change}");
        let refined = path(f, slope, 0.01, 512);
        let looked = refined.nodes.len();
        assert!((total(&refined) - change).abs() < 0.01 * change && looked < 300, "{looked} places");
    }

    /// A step up and one down: what their panels miss cancels, and is looked into all the same.
    #[test]
    fn what_panels_miss_does_not_cancel() {
        let (up, down, wide) = (0.3137, 0.8137, 1e-4);
        let f = |x: f64| x + ((x - up) / wide).atan() - ((x - down) / wide).atan();
        let part = |x: f64| 1.0 / wide / (1.0 + (x / wide).powi(2));
        let refined = path(f, |x| 1.0 + part(x - up) - part(x - down), 0.01, 1000);
        assert!(
            refined.nodes.len() > LEAST && refined.missed <= 0.01 * (f(1.0) - f(0.0)),
            "{}",
            refined.missed
        );
    }

    #[test]
    fn no_more_places_are_looked_at_than_allowed() {
        for places in [129, 132, 133, 170, 300] {
            let refined = path(|x| (2000.0 * x).sin(), |x| 2000.0 * (2000.0 * x).cos(), 0.0, places);
            let looked = refined.nodes.len();
            assert!(looked <= places && looked + NEW > places, "{looked} of {places}");
        }
        // A jump is narrowed down, and left alone then.
        let refined = path(|x| f64::from(u8::from(x > 0.3)), |_| 0.0, 0.01, 100_000);
        assert!(refined.nodes.len() < 300 && (refined.missed - 1.0).abs() < 1e-9, "{}", refined.nodes.len());
        // What is infinite is not refined for ever.
        let refined = path(|x| x, |x| 1.0 / (x - x), 0.01, 4000);
        assert!(refined.nodes.len() == LEAST && !refined.missed.is_finite());
    }

    /// What is not looked at is not made up.
    #[test]
    fn too_few_answers_are_none() {
        let look = |_: &[f64]| -> Result<Vec<Found<()>>, Infallible> {
            Ok(vec![Found { score: 0.0, slope: 0.0, parts: () }; 5])
        };
        assert!(refine(Until { gap: 0.01, places: 512 }, look).is_ok_and(|refined| refined.is_none()));
    }
}
