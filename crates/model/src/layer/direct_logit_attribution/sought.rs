//! What is shared out, and how it reads the stream of a part.

use mmlens_core::finding::Tolerance;
use mmlens_core::kind::{self, Space};
use mmlens_core::{
    AnalysisError, Capability, HookError, Inputs, Measure, Objective, Output, Part, Point, Port, Site,
    Subject, Trace, WeightKind,
};
use mmlens_engine::{Gain, HeldGain, Positions, Projection};

use super::{CARD, product};
use crate::check::{input, part_read_out, read_at};
use crate::sequence::Sequence;

/// The stream that is taken apart.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub(super) part: Part,
    space: Space,
    /// Of a tower the picture that is looked at, and its class token.
    pub(super) class: Option<(usize, usize)>,
    /// Blocks of the part.
    pub(super) layers: usize,
}

impl Stream {
    /// That of a part, if it is a sum that is read out with the weights that are shown.
    pub(super) fn of(
        subject: &dyn Subject,
        inputs: &Inputs,
        asked: Option<Part>,
    ) -> Result<Self, AnalysisError> {
        if let Some(tower) = asked.filter(|part| *part != Part::Text)
            && let Err(reason) = kind::reads_out(subject, tower)
        {
            let found =
                format!("{reason}; `attribution-patching` scores what it does for an answer elsewhere");
            return Err(input(&CARD, Capability::ReadOut(tower).describe(), found));
        }
        let order =
            if kind::compares(subject) { [Part::Vision, Part::Text] } else { [Part::Text, Part::Vision] };
        let fits = |part: &Part| kind::shares_out(subject, *part).is_none();
        let asked = asked.or_else(|| order.into_iter().find(fits));
        let (part, space) = part_read_out(&CARD, subject, asked)?;
        Capability::RunningSum(part).check(&CARD, subject)?;
        Capability::Weights(part).check(&CARD, subject)?;
        let class = match part {
            Part::Text => None,
            _ => {
                let sequence = Sequence::of_part(&CARD, subject, inputs, part)?;
                let class = sequence.chosen(&Positions::Last)?.first().copied();
                let picture = inputs.seen.of_rows.first().and_then(|own| own.first()).copied();
                picture.zip(class)
            }
        };
        Ok(Self { part, space, class, layers: kind::blocks(subject, part) })
    }

    /// A place in a block.
    pub(super) fn at(&self, layer: usize, point: Point) -> Site {
        Site::block(self.part, layer, point)
    }

    /// Where the vector stands of the picture or the caption that are compared, where they are.
    pub(super) fn compared(&self) -> Option<Site> {
        (self.space == Space::Shared).then(|| self.space.site(self.part))
    }
}

/// What is shared out: logits, or how well a picture and a caption fit.
pub(super) struct Sought {
    /// The objective, by logits.
    pub(super) logits: Objective,
    /// Positions, and what is added up there.
    pub(super) places: Vec<(usize, Target)>,
    /// Whether the logarithm of a probability was asked for, of which logits are a part.
    pub(super) log: bool,
}

/// What is added up at a position.
pub(super) enum Target {
    /// The logits of some tokens or classes, each with its sign.
    Tokens(Vec<(u32, f64)>),
    /// Whatever the objective makes of the vector of a picture, or of the caption.
    Fit,
}

impl Sought {
    pub(super) fn of(
        subject: &dyn Subject,
        inputs: &Inputs,
        stream: &Stream,
        objective: &Objective,
    ) -> Result<Self, AnalysisError> {
        let place = |logits: &Objective| match stream.class {
            Some((_, class)) => Ok(class),
            None => read_at(&CARD, subject, inputs, logits),
        };
        let one = |logits: Objective, tokens: Vec<(u32, f64)>, log| {
            Ok(Self { places: vec![(place(&logits)?, Target::Tokens(tokens))], logits, log })
        };
        if stream.space == Space::Shared {
            return match objective {
                Objective::Similarity | Objective::Cosine | Objective::Against { .. } => {
                    let places = vec![(place(objective)?, Target::Fit)];
                    Ok(Self { logits: objective.clone(), places, log: false })
                }
                _ => {
                    let needs = "an objective that is a similarity, a cosine, or one caption against another";
                    Err(input(&CARD, needs, format!("this one is the {objective}")))
                }
            };
        }
        match objective {
            Objective::Logit { token, .. } => one(objective.clone(), vec![(*token, 1.0)], false),
            Objective::LogProbability { at, token } => {
                one(Measure::Logit.of(*at, *token), vec![(*token, 1.0)], true)
            }
            Objective::LogitDifference { token, against, .. } => {
                one(objective.clone(), vec![(*token, 1.0), (*against, -1.0)], false)
            }
            Objective::Span { from, tokens, measure } if *measure != Measure::Probability => {
                let place =
                    |(at, token): (usize, &u32)| (at.saturating_sub(1), Target::Tokens(vec![(*token, 1.0)]));
                let places = (*from..).zip(tokens).map(place).collect();
                let log = *measure == Measure::LogProbability;
                let logits = Objective::Span { from: *from, tokens: tokens.clone(), measure: Measure::Logit };
                Ok(Self { logits, places, log })
            }
            _ => {
                let needs = "an objective that is a logit, a log-probability, or a difference of two logits";
                Err(input(&CARD, needs, format!("this one is the {objective}")))
            }
        }
    }
}

/// Entries of what a part is read out as, each so many times, and what is added to them.
struct Sum {
    entries: Vec<(usize, f64)>,
    added: Option<(&'static str, f64)>,
}

/// How the objective adds up the entries of the vector of a picture or of the caption, whose length is held at what it is in this pass.
fn fit(objective: &Objective, trace: &Trace, stream: &Stream) -> Result<Sum, AnalysisError> {
    let Output { pairs: Some(pairs), .. } = trace.output() else {
        return Err(HookError::NoOutput("a picture and a caption compared".to_owned()).into());
    };
    let one = |value: &mmlens_core::AnyTensor, what: &str| -> Result<f64, AnalysisError> {
        Ok(value.finite_values(what)?.first().copied().map_or(0.0, f64::from))
    };
    let (site, row) = (stream.space.site(stream.part), stream.class.map_or(0, |(picture, _)| picture));
    let own = trace.get(site)?.rows(row, 1)?.finite_values(site)?;
    let length = own.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length == 0.0 {
        return Err(input(&CARD, "a picture and a caption whose vectors have a length", "one is zero"));
    }
    let caption = pairs.texts.rows(0, 1)?.finite_values("the caption's vector")?;
    let (times, other, bias) = match objective {
        Objective::Cosine => (1.0, None, 0.0),
        // A bias is the same for both captions.
        Objective::Against { other } => (one(&pairs.scale, "the scale")?, Some(other.as_slice()), 0.0),
        _ => {
            let bias = pairs.bias.as_ref().map(|bias| one(bias, "the bias")).transpose()?;
            (one(&pairs.scale, "the scale")?, None, bias.unwrap_or(0.0))
        }
    };
    let against = |at: usize| other.and_then(|other| other.get(at)).copied().map_or(0.0, f64::from);
    let mut added = (bias != 0.0).then_some(("bias of the similarity", bias));
    let entries = if stream.class.is_some() {
        let entry = |(at, t): (usize, &f32)| (at, times * (f64::from(*t) - against(at)) / length);
        caption.iter().enumerate().map(entry).collect()
    } else {
        // What the caption's tower adds to is compared with the picture; the other caption is the same whatever it writes.
        let picture = pairs.own.first().copied().unwrap_or(0);
        let picture = pairs.images.rows(picture, 1)?.finite_values("the picture's vector")?;
        if other.is_some() {
            let fits: f64 = picture.iter().enumerate().map(|(at, i)| f64::from(*i) * against(at)).sum();
            added = Some(("the other caption", -times * fits));
        }
        picture.iter().map(|i| times * f64::from(*i) / length).enumerate().collect()
    };
    Ok(Sum { entries, added })
}

/// How what is shared out reads the stream, with the scale of the last norm held.
pub(super) struct ReadOut {
    /// Along the stream: `C(g u) / s`.
    along: Vec<f64>,
    /// Of the norm and of what follows, where they have one.
    pub(super) biases: Vec<(&'static str, f64)>,
    /// The logit before a cap.
    pub(super) logit: f64,
}

impl ReadOut {
    pub(super) fn new(
        subject: &dyn Subject,
        stream: &Stream,
        (target, objective): (&Target, &Objective),
        trace: &Trace,
        held: &[f32],
    ) -> Result<Self, AnalysisError> {
        let sum = match target {
            Target::Fit => fit(objective, trace, stream)?,
            Target::Tokens(tokens) => Sum {
                entries: tokens.iter().map(|(token, sign)| (*token as usize, *sign)).collect(),
                added: None,
            },
        };
        let read_out = Self::of(subject, stream, &sum, held)?;
        if stream.class.is_some() || stream.space == Space::Shared {
            read_out.says(objective, trace)?;
        }
        Ok(read_out)
    }

    fn of(subject: &dyn Subject, stream: &Stream, sum: &Sum, x: &[f32]) -> Result<Self, AnalysisError> {
        let (end, final_norm) = (stream.space.site(stream.part), Site::of(stream.part, Point::FinalNorm));
        let lacking =
            |what: &str| input(&CARD, "the weights that read the stream", format!("there is no {what}"));
        let writes = |site| move |port: &Port| port.site == site;
        let unembedding = subject.weights().iter().find(|spec| {
            matches!(spec.kind, WeightKind::Product { .. }) && spec.writes.as_ref().is_some_and(writes(end))
        });
        let unembedding = unembedding.ok_or_else(|| lacking("unembedding among them"))?;
        let read = unembedding.reads.as_ref().map(|port| port.site);
        // What is pooled is one of the positions that the last norm gives.
        let pooled = read.is_some_and(|site| site.point() == Point::Pooled).then_some(final_norm);
        let gain = subject.weights().iter().find(|spec| {
            let own = spec.writes.as_ref().map(|port| port.site);
            matches!(spec.kind, WeightKind::Gain { .. }) && own.is_some() && (own == read || own == pooled)
        });
        let product_of = Projection::of(subject, &unembedding.name)?;
        let (mut behind, mut bias) = (Vec::new(), None);
        for (entry, times) in &sum.entries {
            let (row, own) = product_of.row(*entry)?;
            behind.resize(row.len(), 0.0);
            behind.iter_mut().zip(row).for_each(|(sum, u): (&mut f64, f64)| *sum += times * u);
            if let Some(own) = own {
                bias = Some(bias.unwrap_or(0.0) + times * own);
            }
        }
        let held: Option<HeldGain> = match (gain, read.map(|site| site.point())) {
            (Some(gain), _) => Some(Gain::of(subject, &gain.name)?.held_at(x)?),
            (None, Some(Point::ResidPost)) => None,
            (None, _) => return Err(lacking("norm among them that the unembedding reads")),
        };
        let mut biases = Vec::new();
        let along = match &held {
            Some(held) => {
                biases.extend(held.has_bias().then(|| ("bias of the last norm", held.constant(&behind))));
                held.pull(&behind)
            }
            None => behind,
        };
        let name = match stream.space {
            Space::Classes => "bias of the classifier",
            Space::Shared => "bias of the projection",
            _ => "bias of the unembedding",
        };
        biases.extend(bias.map(|bias| (name, bias)));
        biases.extend(sum.added);
        let logit = product(&along, x) + biases.iter().map(|(_, bias)| bias).sum::<f64>();
        Ok(Self { along, biases, logit })
    }

    /// That what is read at a tower's class token, or where a caption is pooled, is what the model says.
    fn says(&self, objective: &Objective, trace: &Trace) -> Result<(), AnalysisError> {
        let said = said(objective, trace)?;
        // Rounding is a millionth; another place, or something between, is another number.
        match Tolerance::either(1e-3, 1e-3).check("the objective", &[self.logit as f32], &[said]) {
            Ok(_) => Ok(()),
            Err(_) => {
                let found = format!("its weights give {}, and the model says {said}", self.logit);
                Err(input(&CARD, "a tower of which one position alone is read out", found))
            }
        }
    }

    pub(super) fn share(&self, term: &[f32]) -> f64 {
        product(&self.along, term)
    }

    pub(super) fn along(&self) -> &[f64] {
        &self.along
    }
}

/// What the model says of an objective.
pub(super) fn said(objective: &Objective, trace: &Trace) -> Result<f32, AnalysisError> {
    let said =
        mmlens_core::AnyTensor::new(objective.score(trace.output())?).finite_values("the objective")?;
    Ok(said.first().copied().ok_or(HookError::NoObjective)?)
}
