//! What a decoder makes of an answer that is there, token by token.

use mmlens_core::finding::{
    Axis, Caution, CautionKind, Labelled, Labels, Modality, Role, TokenLabel, Unit, largest, top,
};
use mmlens_core::{
    AnalysisError, Answer, Card, Case, Copies, Cost, HookError, Inputs, Need, On, Plan, Sample, Session, Site,
};
use mmlens_engine::Progress;
use mmlens_engine::distribution::log_probabilities;

use super::{Contrast, Decoder, Pass};
use mmlens_core::check::input;

/// A contrast that moves no token by so much, in nats, says little.
const LITTLE: f64 = 0.1;

/// A prompt, and the tokens behind it.
struct Opened {
    prompt: Inputs,
    /// None: the token that the model would say next.
    tokens: Vec<u32>,
    contrast: Contrast,
}

impl Opened {
    fn new(decoder: &dyn Decoder, on: &On<'_>, case: &Case) -> Result<Self, AnalysisError> {
        let card = decoder.card();
        let bare = Sample { reply: None, ..case.sample.clone() };
        let prompt = on.encode(&bare)?;
        let [own] = prompt.ids.as_slice() else {
            return Err(input(&card, "a single prompt", format!("there are {}", prompt.rows())));
        };
        let mut tokens = Vec::new();
        if case.sample.reply.is_some() {
            let inputs = on.encode(&case.sample)?;
            let row = inputs.ids.concat();
            let start = inputs.map().reply().start + inputs.pads.first().copied().unwrap_or(0);
            let (before, behind) = row.split_at_checked(start).ok_or(HookError::NoObjective)?;
            // An answer that is written apart from what is read has no prompt before it.
            if before != own && !before.is_empty() {
                let found = "the first letters of this one change the last token of the prompt";
                return Err(input(&card, "an answer that stands behind its prompt", found));
            }
            tokens = behind.to_vec();
        }
        let contrast = decoder.contrast(on.subject(), &prompt)?;
        Ok(Self { prompt, tokens, contrast })
    }

    fn need(&self, on: &On<'_>) -> Result<Need, HookError> {
        let rows = [0];
        let pass = Pass { prompt: true, rows: &rows };
        let own = self.contrast.own_plan(pass)?.to_output();
        let mut need = on.subject().need(&self.prompt, &own, Copies::ONE)?;
        for branch in &self.contrast.beside {
            let plan = branch.planned(pass)?.to_output();
            need.bytes =
                need.bytes.saturating_add(on.subject().need(&branch.inputs, &plan, Copies::ONE)?.bytes);
        }
        Ok(need)
    }
}

/// Rows through the model: a pass of every session for each token.
pub(super) fn cost(decoder: &dyn Decoder, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
    let opened = Opened::new(decoder, on, case)?;
    let rows = opened.contrast.sessions() * opened.tokens.len().max(1); // no NaN: whole numbers
    Ok(Cost::rows(rows).taking(opened.need(on)?.bytes, on.memory().budget()))
}

/// What is said where one token of the answer is decided.
struct Said {
    token: u32,
    /// Log-probabilities of the token: the model's own, and the other branch's where there is one.
    logs: [f64; 2],
    /// How many tokens have a higher score, by the model and by the decoder.
    ranks: [usize; 2],
    plausible: usize,
    /// What the decoder says there.
    instead: u32,
    which: Option<usize>,
}

/// The finding of a decoder on an answer. `sites` are those that it changes or reads; `layers` names what early branches are.
pub(super) fn answer(
    decoder: &dyn Decoder,
    on: &On<'_>,
    case: &Case,
    sites: Vec<Site>,
    layers: Option<&[usize]>,
) -> Result<Answer, AnalysisError> {
    let (card, subject) = (decoder.card(), on.subject());
    let Opened { mut tokens, prompt, contrast } = {
        let opened = Opened::new(decoder, on, case)?;
        on.memory().hold(card.id, 0, opened.need(on)?)?;
        opened
    };
    let mut session = super::Branches::begin(subject, std::sync::Arc::new(contrast), Plan::new())?;
    let next = |own: &[f32]| {
        let at = top(own).map_err(|error| HookError::not_finite("text.logits", &[own.len()], 0, error))?;
        at.map(|at| at as u32).ok_or_else(|| HookError::NoOutput("a decoder".to_owned()))
    };
    if tokens.is_empty() {
        let first = session.scores().first().ok_or(HookError::NoObjective)?;
        tokens.push(next(&first.own)?);
    }
    let mut progress = Progress::new(on.watch(), card.id, tokens.len());
    let mut said: Vec<Said> = Vec::with_capacity(tokens.len());
    for (step, token) in tokens.iter().copied().enumerate() {
        let row = session.scores().first().ok_or(HookError::NoObjective)?;
        let (at, len) = (token as usize, row.own.len());
        let beyond = || HookError::Objective { what: "token", index: at, len };
        let log = |logits: &[f32]| log_probabilities(logits).get(at).copied().ok_or_else(beyond);
        let own = log(&row.own)?;
        let (which, other) = match &row.other {
            Some((which, other)) => (Some(*which), log(other)?),
            None => (None, own),
        };
        let rank = |scores: &[f32]| {
            let own = scores.get(at).copied().ok_or_else(beyond)?;
            Ok::<_, HookError>(scores.iter().filter(|score| **score > own).count())
        };
        said.push(Said {
            token,
            logs: [own, other],
            ranks: [rank(&row.own)?, rank(&row.scores)?],
            plausible: row.plausible,
            instead: next(&row.scores)?,
            which,
        });
        if step + 1 < tokens.len() {
            session.step(&[token], Plan::new())?;
        }
        progress.advance(1)?;
    }
    let tables = tables(on, &said, layers)?;
    let read = prompt.positions();
    Ok(Answer::new(tables, sites).cautioned(cautions(&card, &said, read)))
}

fn tables(on: &On<'_>, said: &[Said], layers: Option<&[usize]>) -> Result<Vec<Labelled>, AnalysisError> {
    let subject = on.subject();
    let label = |said: &Said| TokenLabel::new(subject.token(said.token), Modality::Text).with_id(said.token);
    let axis = || Axis::new(Role::Answer, Labels::Tokens(said.iter().map(label).collect()));
    let names = |names: [&str; 2]| vec![axis(), Axis::names(Role::Method, names)];
    let contrast = said.iter().map(|said| (said.logs[0] - said.logs[1]) as f32).collect();
    let logs = said.iter().flat_map(|said| said.logs.map(|log| log as f32)).collect();
    let ranks = said.iter().flat_map(|said| said.ranks.map(|rank| rank as f32)).collect();
    let plausible = said.iter().map(|said| said.plausible as f32).collect();
    let instead = said.iter().map(|said| subject.token(said.instead)).collect();
    let mut tables = vec![
        Labelled::numbers("contrast", Unit::LogProbability, vec![axis()], contrast)?,
        Labelled::numbers("log probability", Unit::LogProbability, names(["model", "other branch"]), logs)?,
        Labelled::numbers("rank", Unit::Count, names(["model", "decoder"]), ranks)?,
        Labelled::numbers("plausible", Unit::Count, vec![axis()], plausible)?,
        Labelled::texts("decoder says", vec![axis()], instead)?,
    ];
    if let Some(layers) = layers {
        let layer = |said: &Said| said.which.and_then(|which| layers.get(which)).map(|layer| *layer as f32);
        let chosen: Vec<f32> = said.iter().filter_map(layer).collect();
        tables.push(Labelled::numbers("layer", Unit::None, vec![axis()], chosen)?);
    }
    Ok(tables)
}

/// What speaks against taking a contrast at its word.
fn cautions(card: &Card, said: &[Said], positions: usize) -> Vec<Caution> {
    let mut cautions = Vec::new();
    let apart: Vec<f64> = said.iter().map(|said| said.logs[0] - said.logs[1]).collect();
    let most = largest(&apart).unwrap_or(f64::INFINITY);
    if most < LITTLE {
        let text = format!(
            "of {} tokens none changes its log-probability by more than {most:.1e} between the model and the other branch: they barely differ, \
             and what {} makes of their difference says little",
            said.len(),
            card.short
        );
        cautions.push(Caution::new(CautionKind::SmallDifference, most as f32, text));
    }
    let alone = said.iter().filter(|said| said.plausible == 1).count();
    if alone == said.len() {
        let text = format!(
            "at each of {alone} tokens, behind a prompt of {positions} positions, a single one is plausible: whatever the other branch says, the \
             decoder says what the model says"
        );
        cautions.push(Caution::new(CautionKind::NothingMoved, alone as f32, text));
    }
    cautions
}
