//! What a dual encoder makes of pictures and captions, and what is explained of it.

use mmlens_core::finding::{Caution, CautionKind, fixed, top};
use mmlens_core::{
    Case, HookError, Inputs, Objective, On, Output, Pairs, Plan, Sample, Subject, SubjectError, Target, Words,
};
use serde::Serialize;

use super::{Aim, AimError, Said, Settled, Sought};

/// How well every picture of a batch fits every text.
#[derive(Debug, Clone)]
pub struct Compared {
    texts: usize,
    fits: Vec<Likeness>,
    /// Whether every pair is judged for itself.
    pub apart: bool,
}

/// One picture and one text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Likeness {
    /// Among the texts, or by itself.
    pub probability: f32,
    /// Their entry of `logits_per_image`.
    pub logit: f32,
    /// The cosine of the two in the shared space.
    pub cosine: f32,
}

impl Compared {
    /// Compares every picture of a batch with every text.
    ///
    /// # Errors
    /// [`HookError::NoOutput`] of a subject that compares nothing, [`HookError::NotFinite`]; whatever the pass reports.
    pub fn of(subject: &dyn Subject, inputs: &Inputs) -> Result<Self, SubjectError> {
        let trace = subject.run(inputs, Plan::new().to_output())?;
        let pairs = pairs(trace.output())?;
        let logits = pairs.logits.finite_values("logits_per_image")?;
        let cosine = pairs.cosine.finite_values("cosine")?;
        let probabilities = pairs.probabilities()?.to_values()?;
        let one = |((probability, logit), cosine)| Likeness { probability, logit, cosine };
        let fits = probabilities.into_iter().zip(logits).zip(cosine).map(one).collect();
        Ok(Self { texts: inputs.rows(), fits, apart: pairs.apart })
    }

    /// A picture with every text; nothing, if there is no such picture.
    pub fn picture(&self, image: usize) -> &[Likeness] {
        self.fits.get(image * self.texts..(image + 1) * self.texts).unwrap_or_default()
    }

    /// The text that is most like the first picture.
    ///
    /// # Errors
    /// [`HookError::NoOutput`] if nothing was compared.
    pub fn best(&self) -> Result<u32, HookError> {
        let logits: Vec<f32> = self.picture(0).iter().map(|fit| fit.logit).collect();
        best(&logits)
    }
}

/// The largest of some logits of the first picture.
fn best(logits: &[f32]) -> Result<u32, HookError> {
    let best = top(logits).map_err(|error| {
        HookError::not_finite("the logits of the first picture", &[logits.len()], 0, error)
    })?;
    best.map(|best| best as u32).ok_or_else(|| HookError::NoOutput("a text to compare with".to_owned()))
}

fn pairs(output: &Output) -> Result<&Pairs, HookError> {
    output.pairs.as_ref().ok_or_else(|| HookError::NoOutput("similarity".to_owned()))
}

/// How well the caption fits that fits best, or fits better than another.
pub(super) fn settle(aim: &Aim, on: &On<'_>, sample: Sample) -> Result<Settled, AimError> {
    let subject = on.subject();
    let refuse = |what| {
        let model = subject.name().to_owned();
        Err(AimError::Kind { what, model, kind: "a dual encoder" })
    };
    match &aim.sought {
        Sought::Answer => {}
        Sought::Token(_) => return refuse("tokens of an answer"),
        Sought::Span(_) => return refuse("phrases of an answer"),
    }
    if aim.measure.is_some() {
        return refuse("logits, log-probabilities and probabilities of tokens");
    }
    if sample.pictures.len() > 1 {
        return Err(AimError::OnePicture { found: sample.pictures.len() });
    }
    let Words::Texts(texts) = &sample.words else {
        return Err(AimError::Nothing { model: subject.name().to_owned() });
    };
    let compared = Compared::of(subject, &on.encode(&sample)?)?;
    let tokens: Vec<Said> = (0..)
        .zip(compared.picture(0).iter().zip(texts))
        .map(|(id, (fit, text))| Said { id, text: text.clone(), probability: fit.probability })
        .collect();
    let id = compared.best()?;
    let nothing = || AimError::Nothing { model: subject.name().to_owned() };
    let fit = *compared.picture(0).get(id as usize).ok_or_else(nothing)?;
    let text = texts.get(id as usize).ok_or_else(nothing)?.clone();
    let alone = texts.len() == 1;
    let mut cautions = Vec::new();
    let with = |text: String| Sample { words: Words::Texts(vec![text]), ..sample.clone() };
    let (objective, explained) = match &aim.versus {
        Some(versus) => {
            if *versus == text {
                let (versus, explained) = (versus.clone(), text);
                return Err(AimError::Versus { versus, explained, reason: "it is the same".to_owned() });
            }
            let inputs = on.encode(&with(versus.clone()))?;
            let trace = subject.run(&inputs, Plan::new().to_output())?;
            let pairs = pairs(trace.output())?;
            let (other, logit) =
                (pairs.texts.finite_values("the other caption")?, pairs.logits.finite_values("its logit")?);
            let less = fit.logit - logit.first().copied().ok_or(HookError::NoObjective)?;
            let explained = format!(
                "the similarity with `{text}` less that with `{versus}` (logits: {})",
                fixed(less, 3)
            );
            (Objective::Against { other }, explained)
        }
        None if alone => {
            let said = format!(
                "there is one caption, so that nothing was contrasted: a cosine of {} says little unless other captions have others \
                 (give several, or one to contrast it with)",
                fixed(fit.cosine, 3)
            );
            cautions.push(Caution::new(CautionKind::NotContrasted, fit.cosine, said));
            (Objective::Cosine, format!("the cosine with `{text}` ({})", fixed(fit.cosine, 3)))
        }
        None => {
            let Likeness { logit, probability, .. } = fit;
            let logit = fixed(logit, 3);
            let explained =
                format!("the similarity with `{text}` (logit {logit}, probability {probability:.3})");
            (Objective::Similarity, explained)
        }
    };
    let sample = with(text.clone());
    Ok(Settled {
        prompt: on.encode(&sample)?.map().tokens.clone(),
        case: Case { sample, target: Target::Objective(objective) },
        explained,
        answer: text.clone(),
        text,
        id: Some(id),
        tokens,
        span: 0..0,
        given: None,
        ended: true,
        last_position: false,
        notes: Vec::new(),
        cautions,
    })
}
