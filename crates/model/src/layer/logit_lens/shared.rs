//! States in the space that pictures and captions are compared in.

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::kind::Space;
use mmlens_core::{
    AnalysisError, Answer, AnyTensor, HookError, Inputs, On, Pairs, Part, Sample, Subject, Words,
};
use mmlens_engine::cosines;
use mmlens_engine::distribution::log_probabilities;

use super::streams::{Held, Streams};
use super::{CARD, LogitLens, read};

/// How many captions, or pictures, a state is compared with.
pub(super) fn compared(part: Part, inputs: &Inputs) -> usize {
    if part == Part::Text { inputs.seen.len() } else { inputs.rows() }
}

pub(super) fn answer(
    lens: &LogitLens,
    on: &On<'_>,
    sample: &Sample,
    part: Part,
) -> Result<Answer, AnalysisError> {
    let subject = on.subject();
    let inputs = on.encode(sample)?;
    let streams = Streams::of(&CARD, subject, &inputs, (part, Space::Shared), &lens.settings)?;
    let limits = lens.limits(on, &streams, &inputs)?;
    let others = match (part, &sample.words) {
        (Part::Text, _) => Axis::names(Role::Image, sample.pictures.iter().map(|picture| &*picture.name)),
        (_, Words::Texts(texts)) => Axis::names(Role::Concept, texts),
        _ => Axis::count(Role::Concept, inputs.rows()),
    };
    let mut seen = Seen::new(&streams, others);
    streams.each((on, &inputs), &limits, |held| seen.look(subject, &streams, held))?;
    let tables = seen.tables(&streams)?;
    Ok(Answer::new(tables, streams.sites))
}

/// How near all states are to what they are compared with, layer by layer.
struct Seen {
    others: Axis,
    places: usize,
    cosines: Vec<f32>,
    rule: Rule,
}

/// What the model makes of a cosine.
#[derive(Debug, Clone, Copy, Default)]
struct Rule {
    scale: f32,
    bias: f32,
    apart: bool,
}

impl Rule {
    fn of(pairs: &Pairs) -> Result<Self, HookError> {
        let one = |x: &AnyTensor, what: &str| {
            let values = x.finite_values(what)?;
            values.first().copied().ok_or(HookError::Values { dims: vec![1], given: 0 })
        };
        let bias = pairs.bias.as_ref().map(|bias| one(bias, "the bias of similarities")).transpose()?;
        let scale = one(&pairs.scale, "the scale of similarities")?;
        // Without a bias nothing is added.
        Ok(Self { scale, bias: bias.unwrap_or(0.0), apart: pairs.apart })
    }

    fn logit(self, cosine: f32) -> f32 {
        cosine * self.scale + self.bias
    }

    /// Of one place: each pair judged for itself, or one of all.
    fn probabilities(self, cosines: &[f32]) -> Vec<f32> {
        let logits: Vec<f32> = cosines.iter().map(|cosine| self.logit(*cosine)).collect();
        if self.apart {
            return logits.iter().map(|logit| (1.0 / (1.0 + f64::from(-logit).exp())) as f32).collect();
        }
        log_probabilities(&logits).into_iter().map(|log| log.exp() as f32).collect()
    }
}

impl Seen {
    fn new(streams: &Streams, others: Axis) -> Self {
        let places = streams.count();
        let cosines = vec![0.0; streams.sites.len() * places * others.len()];
        Self { others, places, cosines, rule: Rule::default() }
    }

    /// Where the cosines of some places stand, of one layer.
    fn range(&self, layer: usize, first: usize, count: usize) -> std::ops::Range<usize> {
        let from = (layer * self.places + first) * self.others.len();
        from..from + count * self.others.len()
    }

    fn look(
        &mut self,
        subject: &dyn Subject,
        streams: &Streams,
        held: &Held<'_>,
    ) -> Result<(), AnalysisError> {
        let none = || HookError::NoOutput("pictures and captions in the shared space".to_owned());
        let pairs = held.output.pairs.as_ref().ok_or_else(none)?;
        self.rule = Rule::of(pairs)?;
        let others = if streams.part == Part::Text { &pairs.images } else { &pairs.texts };
        for (layer, site) in streams.sites.iter().enumerate() {
            let given = read(&CARD, subject, streams.part, held.at(*site)?)?;
            let cosines = cosines(&given, others)?.finite_values(format!("the lens at `{site}`"))?;
            let range = self.range(layer, held.first, held.len());
            let (dims, given) = (vec![held.len(), self.others.len()], cosines.len());
            let own = self.cosines.get_mut(range).filter(|own| own.len() == given);
            own.ok_or(HookError::Values { dims, given })?.copy_from_slice(&cosines);
        }
        Ok(())
    }

    fn tables(&self, streams: &Streams) -> Result<Vec<Labelled>, AnalysisError> {
        let (layers, others) = (streams.sites.len(), self.others.len());
        let depth = streams.depths();
        let (mut tables, mut first) = (Vec::new(), 0);
        for (group, of) in streams.groups.iter().enumerate() {
            let (name, count) = (|what| streams.name(what, group), of.axis.len());
            let each = (0..layers).map(|layer| self.cosines.get(self.range(layer, first, count)));
            let each: Vec<&[f32]> = each.map(Option::unwrap_or_default).collect();
            let cosines = each.concat();
            let mean = |own: &[f32], other: usize| {
                let sum: f64 = own.iter().skip(other).step_by(others).map(|cosine| f64::from(*cosine)).sum();
                (sum / count as f64) as f32
            };
            let means = each.iter().flat_map(|own| (0..others).map(|other| mean(own, other)));
            let places = vec![depth.clone(), of.axis.clone()];
            let all = [places.clone(), vec![self.others.clone()]].concat();
            let target = cosines.iter().step_by(others.max(1)).copied().collect();
            tables.push(Labelled::numbers(name("target"), Unit::Cosine, places, target)?);
            let axes = vec![depth.clone(), self.others.clone()];
            tables.push(Labelled::numbers(name("mean cosine"), Unit::Cosine, axes, means.collect())?);
            let logits = cosines.iter().map(|cosine| self.rule.logit(*cosine)).collect();
            let logits = Labelled::numbers(name("logits"), Unit::Logit, all.clone(), logits)?.aside();
            if others > 1 || self.rule.apart {
                let shares = cosines.chunks(others.max(1)).flat_map(|own| self.rule.probabilities(own));
                let shares = shares.collect();
                tables.push(Labelled::numbers(
                    name("probabilities"),
                    Unit::Probability,
                    all.clone(),
                    shares,
                )?);
            }
            let cosines = Labelled::numbers(name("cosine"), Unit::Cosine, all, cosines)?;
            // Of one, `target` says it already.
            tables.push(if others > 1 { cosines } else { cosines.aside() });
            tables.push(logits);
            first += count;
        }
        Ok(tables)
    }
}
