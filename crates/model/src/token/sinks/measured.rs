//! What is measured of positions, layer by layer, and of which kinds they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mmlens_core::{AnalysisError, AnyTensor, Card, HookError, Inputs, On, Part, Plan, Site};
use mmlens_engine::{Drawn, drawn};

use super::{Bound, Settings, sites};

/// The kinds that are told apart.
pub(crate) const KINDS: [&str; 5] =
    ["beyond even share", "sink", "outlying norm", "massive activation", "spike"];

/// What the states of a layer are like, `[row, position]`; medians of every row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub norms: Vec<f64>,
    pub largest: Vec<f64>,
    pub spikes: Vec<f64>,
    pub median_norms: Vec<f64>,
    pub medians: Vec<f64>,
}

/// One layer.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub drawn: Drawn,
    pub stream: Stream,
}

/// What was looked at, and what was seen.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    pub part: Part,
    pub layers: Vec<usize>,
    pub sites: Vec<Site>,
    pub seen: Vec<Layer>,
    pub width: usize,
}

impl Looked {
    /// One pass.
    pub(crate) fn of(
        card: &Card,
        settings: &Settings,
        on: &On<'_>,
        inputs: &Inputs,
    ) -> Result<Self, AnalysisError> {
        let subject = on.subject();
        let (part, layers, [patterns, streams]) = sites(card, settings, subject, inputs)?;
        let (mut plan, seen) = (Plan::new(), Arc::<Mutex<BTreeMap<Site, Stream>>>::default());
        let mut width = 0;
        for &site in &streams {
            let (dims, pattern) = (subject.dims(inputs, site)?, patterns.first());
            width = dims.last().copied().unwrap_or(0);
            let chosen = settings.dimensions.chosen(card.id, "dimensions", width)?;
            let rows = match pattern {
                Some(first) => subject.dims(inputs, *first)?.first().copied().unwrap_or(1),
                None => 1,
            };
            let seen = seen.clone();
            plan = plan.edit(site, move |x: AnyTensor| {
                let own = Stream::of(&x.finite_values(site)?, rows, width, &chosen)?;
                seen.lock().unwrap_or_else(PoisonError::into_inner).insert(site, own);
                Ok(x)
            })?;
        }
        let drawn = drawn(subject, inputs, plan, &patterns, (&on.memory(), card.id))?;
        let mut held = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        let layer = |(drawn, site): (Drawn, &Site)| {
            let stream = held.remove(site).ok_or(HookError::NotRead(*site))?;
            let (all, given) = (drawn.rows * drawn.positions, stream.norms.len());
            match all == given {
                true => Ok(Layer { drawn, stream }),
                false => Err(HookError::Values { dims: vec![drawn.rows, drawn.positions], given }),
            }
        };
        let seen = drawn.into_iter().zip(&streams).map(layer).collect::<Result<_, _>>()?;
        Ok(Self { part, layers, sites: [patterns, streams].concat(), seen, width })
    }

    /// Rows (or pictures), and positions of each.
    pub(crate) fn shape(&self) -> (usize, usize) {
        self.seen.first().map_or((0, 0), |layer| (layer.drawn.rows, layer.drawn.positions))
    }
}

impl Stream {
    fn of(values: &[f32], rows: usize, width: usize, chosen: &[usize]) -> Result<Self, HookError> {
        let positions = values.len() / (rows * width).max(1);
        if rows * positions * width != values.len() || values.is_empty() {
            return Err(HookError::Values { dims: vec![rows, positions, width], given: values.len() });
        }
        let mut own = Self::default();
        for row in values.chunks(positions * width) {
            let from = own.norms.len();
            for state in row.chunks(width) {
                let square: f64 = state.iter().map(|x| f64::from(*x).powi(2)).sum();
                let most = |all: &mut dyn Iterator<Item = f32>| {
                    all.fold(0.0_f32, |most, x| if x.abs() > most { x.abs() } else { most }) // no NaN: finite values
                };
                let spike = f64::from(most(&mut chosen.iter().filter_map(|d| state.get(*d).copied())));
                let root = (square / width as f64).sqrt();
                own.norms.push(square.sqrt());
                own.largest.push(f64::from(most(&mut state.iter().copied())));
                own.spikes.push(if root > 0.0 { spike / root } else { 0.0 });
            }
            own.median_norms.push(median(own.norms.get(from..).unwrap_or_default().to_vec()));
            own.medians.push(median(row.iter().map(|x| f64::from(x.abs())).collect()));
        }
        Ok(own)
    }
}

/// The middle of some numbers, or the mean of the middle two; zero of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    let (len, half) = (values.len(), values.len() / 2);
    if len == 0 {
        return 0.0;
    }
    let (below, middle, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let middle = *middle;
    if len % 2 == 1 {
        return middle;
    }
    let low = below.iter().copied().reduce(|a, b| if b > a { b } else { a }); // no NaN: finite values
    low.map_or(middle, |low| f64::midpoint(low, middle))
}

impl Layer {
    /// Of each kind, whether each position of a row is of it.
    pub(crate) fn found(&self, settings: &Settings, row: usize) -> [Vec<bool>; 5] {
        let Self { drawn, stream } = self;
        let positions = row * drawn.positions..(row + 1) * drawn.positions;
        let each = |is: &dyn Fn(usize) -> bool| positions.clone().map(is).collect::<Vec<bool>>();
        let at = |of: &[f64], at: usize| of.get(at).copied().unwrap_or_default();
        let norm = match settings.norm {
            Bound::Median(times) => f64::from(times) * at(&stream.median_norms, row),
            Bound::Above(bound) => f64::from(bound),
        };
        let massive = f64::from(settings.over_median) * at(&stream.medians, row);
        let most = f64::from(settings.most) * drawn.heads as f64;
        let sinks = drawn.sinks(row, settings.above).into_iter().map(|heads| heads as f64 > most).collect();
        [
            each(&|k| at(&drawn.share, k) >= f64::from(settings.times) * at(&drawn.even, k)),
            sinks,
            each(&|k| at(&stream.norms, k) >= norm),
            each(&|k| {
                let largest = at(&stream.largest, k);
                largest > f64::from(settings.magnitude) && largest >= massive
            }),
            each(&|k| at(&stream.spikes, k) >= f64::from(settings.spike)),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{Stream, median};

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 9.0, 2.0]), 3.0);
        assert_eq!([median(vec![7.0]), median(Vec::new())], [7.0, 0.0]);
    }

    /// Two rows of two states: lengths 5 and 1, and 0 and 2.
    #[test]
    fn states_are_measured_row_by_row() {
        let values = [3.0, -4.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 1.0, 1.0];
        let own = Stream::of(&values, 2, 4, &[0, 2]).unwrap();
        assert_eq!(own.norms, [5.0, 1.0, 0.0, 2.0]);
        assert_eq!(own.largest, [4.0, 1.0, 0.0, 1.0]);
        // 3 of the coordinates 0 and 2, over sqrt(25 / 4); 1 over sqrt(1 / 4); nothing; 1 over 1.
        assert_eq!(own.spikes, [1.2, 2.0, 0.0, 1.0]);
        assert_eq!(own.median_norms, [3.0, 1.0]);
        // Of 3 4 0 0 1 0 0 0, and of 0 0 0 0 1 1 1 1.
        assert_eq!(own.medians, [0.0, 0.5]);
        assert!(Stream::of(&values, 3, 4, &[0]).is_err());
    }
}
