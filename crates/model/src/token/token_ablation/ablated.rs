//! One case without each of some sets, and without random ones like them.

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Role};
use mmlens_core::{
    AnalysisError, AnyTensor, AxisName, Card, Case, Change, Copies, HookError, Mask, Objective, On, Part,
    Plan, Point, Seed, Site, SiteSpec, kind,
};
use mmlens_engine::{Edit, Measured, Progress, Spoken, Sweep};

use super::sets::{Spots, region};
use super::{Replace, Settings, nothing};
use crate::check::read_from;

/// What was found of one case.
pub(crate) struct Ablated {
    pub part: Part,
    pub sites: Vec<Site>,
    pub objective: Objective,
    pub spots: Spots,
    /// The positions of each set.
    pub sets: Vec<Vec<usize>>,
    /// Whether a random set like it can be another.
    pub others: Vec<bool>,
    /// The positions of each of its random sets.
    pub drawn: Vec<Vec<Vec<usize>>>,
    pub spoken: Spoken,
    /// The objective, then every token of an answer by itself: a value for each variant.
    pub measured: Vec<Measured>,
}

/// What one set does, and what random ones do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Effects {
    pub change: f64,
    pub controls: Vec<f64>,
}

impl Effects {
    pub(crate) fn mean(&self) -> f64 {
        self.controls.iter().sum::<f64>() / self.controls.len().max(1) as f64
    }

    pub(crate) fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.controls.iter().map(|own| (own - mean).powi(2)).sum();
        (squares / self.controls.len().saturating_sub(1).max(1) as f64).sqrt()
    }

    /// The share of sets, this one among them, that do at least as much as this one.
    pub(crate) fn p(&self) -> f64 {
        let least = self.change.abs();
        let reach = self.controls.iter().filter(|own| own.abs() >= least).count();
        (1 + reach) as f64 / (1 + self.controls.len()) as f64
    }
}

impl Ablated {
    /// `progress` is told how many variants there are.
    pub(crate) fn of<'a>(
        (card, settings, rows): (&Card, &Settings, NonZeroUsize),
        on: &On<'_>,
        case: &Case,
        (masks, seed): (&[Mask], Seed),
        progress: impl FnOnce(usize) -> Progress<'a>,
    ) -> Result<Self, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let (part, site) = settings.site(card, subject)?;
        let spots = Spots::of(card, subject, &inputs, site)?;
        let read = match (part, &objective) {
            (Part::Text, Objective::Site(_) | Objective::Custom(_)) => Vec::new(),
            (Part::Text, _) => read_from(card, subject, &inputs, &objective)?,
            _ => Vec::new(),
        };
        let plan = Plan::new().read(site)?;
        on.memory().hold(card.id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let stream = subject.run(&inputs, plan)?.get(site)?.clone();
        let states = States::of(&stream, &spots, site)?;
        let chosen = |set: &super::TokenSet| {
            spots.chosen(card, &set.tokens, (inputs.map(), masks), (&states.norms, &read))
        };
        let sets: Vec<Vec<usize>> = settings.sets.iter().map(chosen).collect::<Result<_, _>>()?;
        if sets.iter().all(Vec::is_empty) {
            return Err(nothing(card));
        }
        let others: Vec<bool> = sets.iter().map(|set| spots.has_others(set, &read)).collect();
        let draws = |(at, set): (usize, &Vec<usize>)| -> Vec<Vec<usize>> {
            let of = |control: usize| spots.like(set, &read, seed.at(at as u64).at(control as u64));
            (0..settings.controls)
                .map(|control| if others.get(at) == Some(&true) { of(control) } else { set.clone() })
                .collect()
        };
        let drawn: Vec<Vec<Vec<usize>>> = sets.iter().enumerate().map(draws).collect();
        let missing = Missing { settings, subject, part, site, spots: &spots, states: &states };
        let mut variants = Vec::new();
        for (set, drawn) in sets.iter().zip(&drawn).filter(|(set, _)| !set.is_empty()) {
            variants.push(missing.without(set)?);
            for control in drawn {
                variants.push(missing.without(control)?);
            }
        }
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let mut progress = progress(variants.len());
        let sweep = Sweep::of(vec![Axis::count(Role::Sample, variants.len())], variants)?;
        let sweep = spoken.beside(&objective).into_iter().fold(sweep, Sweep::measure);
        let measured = sweep.run(subject, &inputs, &on.memory().at_most(rows), &mut progress)?.measured;
        let sites = missing.sites();
        Ok(Self { part, sites, objective, spots, sets, others, drawn, spoken, measured })
    }

    /// What each set does to what is measured; nothing, of one that holds nothing.
    pub(crate) fn effects(&self, measured: &Measured) -> Vec<Effects> {
        let unedited = f64::from(measured.unedited);
        let mut values = measured.values.iter().map(|value| f64::from(*value) - unedited);
        let of = |(set, drawn): (&Vec<usize>, &Vec<Vec<usize>>)| match set.is_empty() {
            true => Effects { change: 0.0, controls: vec![0.0; drawn.len()] },
            false => {
                let change = values.next().unwrap_or_default();
                Effects { change, controls: values.by_ref().take(drawn.len()).collect() }
            }
        };
        self.sets.iter().zip(&self.drawn).map(of).collect()
    }
}

/// The states that are replaced.
struct States {
    /// Their lengths.
    norms: Vec<f64>,
    /// The means of those that show pictures, and of the others.
    means: [AnyTensor; 2],
    zero: AnyTensor,
}

impl States {
    fn of(stream: &AnyTensor, spots: &Spots, site: Site) -> Result<Self, HookError> {
        let (dims, values) = (stream.dims(), stream.finite_values(site)?);
        let width = dims.last().copied().unwrap_or(0);
        if spots.len() * width != values.len() {
            return Err(HookError::Values { dims, given: spots.len() * width });
        }
        let norm = |state: &[f32]| state.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let norms = values.chunks(width.max(1)).map(norm).collect();
        let mut one = vec![1; dims.len()];
        one.iter_mut().next_back().into_iter().for_each(|last| *last = width);
        let mean = |picture: bool| {
            let all = spots.all(picture);
            let mut sum = vec![0.0_f64; width];
            for at in &all {
                let own = values.get(at * width..(at + 1) * width).unwrap_or_default();
                sum.iter_mut().zip(own).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            let mean = sum.into_iter().map(|sum| (sum / all.len().max(1) as f64) as f32).collect();
            stream.shaped(mean, &one)
        };
        let means = [mean(true)?, mean(false)?];
        Ok(Self { norms, means, zero: stream.shaped(vec![0.0; width], &one)? })
    }
}

/// How sets are taken away.
struct Missing<'a> {
    settings: &'a Settings,
    subject: &'a dyn mmlens_core::Subject,
    part: Part,
    site: Site,
    spots: &'a Spots,
    states: &'a States,
}

impl Missing<'_> {
    /// The sites that are changed.
    fn sites(&self) -> Vec<Site> {
        match self.settings.replace {
            Replace::Cut => {
                let blocks = self.settings.from..kind::blocks(self.subject, self.part);
                blocks.map(|block| Site::block(self.part, block, Point::Scores)).collect()
            }
            Replace::Zero | Replace::Mean => vec![self.site],
        }
    }

    fn without(&self, set: &[usize]) -> Result<Vec<Edit>, AnalysisError> {
        let mut edits = Vec::new();
        let mut replace = |own: &[usize], by: &AnyTensor| {
            for (entry, positions) in self.spots.regions(own) {
                let region = region(entry, AxisName::Pos, positions);
                edits.push(Edit::set(self.site, by.clone()).within(region));
            }
        };
        match self.settings.replace {
            Replace::Zero => replace(set, &self.states.zero),
            Replace::Mean => {
                let kinds = self.spots.kinds(set);
                kinds.iter().zip(&self.states.means).for_each(|(own, mean)| replace(own, mean));
            }
            Replace::Cut => {
                let queries: Vec<usize> = (0..self.spots.each()).collect();
                for site in self.sites() {
                    SiteSpec::among(self.subject.sites(), site)?;
                    for (entry, keys) in self.spots.regions(set) {
                        let region = region(entry, AxisName::Key, keys).of(AxisName::Query, queries.clone());
                        edits.push(Edit::new(site, Change::MaskOthers).within(region));
                    }
                }
            }
        }
        Ok(edits)
    }
}

#[cfg(test)]
mod tests {
    use super::Effects;

    /// Changes of 1, -3, 2 and 4: the mean is 1, squares about it sum to 0 + 16 + 1 + 9.
    #[test]
    fn ranks_count_what_does_at_least_as_much_either_way() {
        let of = |change| Effects { change, controls: vec![1.0, -3.0, 2.0, 4.0] };
        assert_eq!(of(0.0).mean(), 1.0);
        assert!((of(0.0).deviation() - (26.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        // Three random sets and itself: 3 of -3, 2 ... of magnitudes 1 3 2 4.
        assert_eq!([of(-5.0).p(), of(3.0).p(), of(-2.0).p(), of(0.5).p()], [0.2, 0.6, 0.8, 1.0]);
    }
}
