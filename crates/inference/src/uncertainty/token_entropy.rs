//! Token entropy: how sure was the model of each token of an answer?
//!
//! # Idea
//! With `p` the distribution of the next token, behind the prompt and the answer so far,
//!
//! ```text
//! H = - sum p ln p          margin = p_1 - p_2, the two highest          p(t) of the token t that stands there
//! ```
//!
//! `exp H` is how many tokens a model that is as unsure would choose among evenly.
//!
//! # In and out
//! In: a [`Case`] of one row with an answer, the model's own or any other; without an answer the token the model would say next. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `entropy` | answer | nat | `H` where the token is decided |
//! | `top probability` | answer | probability | `p_1` |
//! | `margin` | answer | probability | `p_1 - p_2` |
//! | `probability` | answer | probability | `p(t)` |
//! | `rank` | answer | count | how many tokens are likelier than `t` |
//! | `likeliest` | answer, rank | texts | the likeliest tokens |
//! | `probabilities` | answer, rank | probability | theirs |
//! | `log probability` | | log probability | of the whole answer, `sum ln p(t)` |
//! | `perplexity` | | ratio | `exp(- mean ln p(t))` |
//!
//! # Settings
//! - `top`: 3 of the likeliest tokens are told.
//!
//! # Cost
//! One forward pass over prompt and answer, with the logits of the positions that decide a token. Memory: `tokens x vocabulary`.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for `top` of 0. Running: [`AnalysisError::Input`] for a subject that writes no answers, a case of several rows; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A model that knows what to say may have many words for it: entropy of tokens is high where meaning is certain (Kuhn, Gal, Farquhar: Semantic Uncertainty. ICLR 2023.
//!   <https://arxiv.org/abs/2302.09664>). See [`semantic_entropy`](super::semantic_entropy). The finding says where `exp H` is at least 2, and how large it gets.
//! - Low entropy is no knowledge: language alone makes the end of a phrase certain, whatever is in the picture. Compare with the picture gone ([`vcd`](crate::decoding::vcd), modality ablation). The finding says, where
//!   there is a picture or a recording, how many tokens behind the answer's first have a `top probability` of at least 0.95, and how little they leave.
//! - Probabilities of models tuned on preferences are sharper than they are right (OpenAI: GPT-4 Technical Report, figure 8. 2023. <https://arxiv.org/abs/2303.08774>). See [`calibration`](super::calibration). The finding
//!   says where as much probability lies on another token than the one that stands there: either the answer is wrong there, or so sure a model is.
//!
//! # Agreement
//! transformers 5.23 on `llava-a` and `llama-b` (words alone), their greedy answers and another: entropies 2.2e-6 and 1.3e-6 apart at most, probabilities and margins 9.2e-7 and 1.3e-6. Identities tested: entropy from 0 to the logarithm of the vocabulary; the log-probability is the
//! objective's own; of a greedy answer `rank` is 0 and `probability` is `top probability`.
//!
//! # Reference
//! Malinin, Gales: Uncertainty Estimation in Autoregressive Structured Prediction. ICLR 2021. <https://arxiv.org/abs/2002.07650>.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Reply, Sample};
//! use mmlens_inference::{TokenEntropy, token_entropy::Settings};
//! let sample = Sample::text("ab").answered(Reply::Text("cd".to_owned()));
//! let finding = TokenEntropy::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &Case::new(sample))?;
//! println!("{:?}", finding.table("entropy")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Labels, Modality, Role, TokenLabel, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Case, Copies, Cost, HookError, Inputs,
    Leaf, LogitSelection, Objective, On, Part, Plan, Point, Position, Sample, Site,
};
use mmlens_engine::Progress;
use mmlens_engine::distribution::{entropy, largest, log_probabilities, rank};
use serde::{Deserialize, Serialize};

use mmlens_core::check::{at_least_one, input};

/// What this method is.
pub const CARD: Card = Card {
    id: "token-entropy",
    short: "token-entropy",
    name: "Token entropy",
    question: "How sure was the model of each token of an answer?",
    citation: "Malinin, Gales: Uncertainty Estimation in Autoregressive Structured Prediction. ICLR 2021. https://arxiv.org/abs/2002.07650",
    leaf: Leaf::Inference,
    cost: "1 forward",
    needs: &[Capability::Generation],
    misleads: &[
        "A model that knows what to say may have many words for it.",
        "Language alone makes the end of a phrase certain.",
        "Probabilities of tuned models are sharper than they are right.",
    ],
    first: false,
};

/// What is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many of the likeliest tokens.
    pub top: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { top: 3 }
    }
}

/// Token entropy.
#[derive(Debug, Clone)]
pub struct TokenEntropy {
    settings: Settings,
}

/// The inputs, where each token is decided, and the tokens; none where the next one is looked for.
struct Opened {
    inputs: Inputs,
    at: Vec<Position>,
    tokens: Vec<u32>,
}

impl Opened {
    fn new(on: &On<'_>, case: &Case) -> Result<Self, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        if inputs.rows() != 1 {
            return Err(input(&CARD, "a single prompt", format!("there are {}", inputs.rows())));
        }
        if case.sample.reply.is_none() {
            return Ok(Self { inputs: inputs.last_logits(), at: vec![Position::Last], tokens: Vec::new() });
        }
        let start = inputs.map().reply().start + inputs.pads.first().copied().unwrap_or(0);
        let row = inputs.ids.concat();
        let tokens = row.get(start..).unwrap_or_default().to_vec();
        let at = Objective::span(start, tokens.iter().copied()).read_at();
        Ok(Self { inputs: inputs.all_logits(), at, tokens })
    }

    fn plan(&self) -> Plan {
        self.at.iter().fold(Plan::new(), |plan, at| plan.select_logits(LogitSelection::at(*at)))
    }
}

impl Analysis for TokenEntropy {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "top", settings.top)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let opened = Opened::new(on, case)?;
        let need = on.subject().need(&opened.inputs, &opened.plan(), Copies::ONE)?;
        Ok(Cost::rows(1).taking(need.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, opened) = (on.subject(), Opened::new(on, case)?);
        on.memory().hold(CARD.id, 0, subject.need(&opened.inputs, &opened.plan(), Copies::ONE)?)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1);
        let trace = subject.run(&opened.inputs, opened.plan())?;
        let mut tokens = opened.tokens;
        let (mut columns, mut words, mut shares): ([Vec<f32>; 5], _, _) =
            (Default::default(), Vec::new(), Vec::new());
        let (mut whole, mut decided) = (0.0, Vec::new());
        for (step, at) in opened.at.iter().enumerate() {
            let logits = AnyTensor::new(trace.output().at(*at)?).finite_values("text.logits")?;
            let logs = log_probabilities(&logits);
            let best = largest(&logs, self.settings.top.max(2)); // no NaN: whole numbers
            let (&[(first, most), (_, second), ..], true) =
                (best.as_slice(), best.len() >= self.settings.top)
            else {
                let found = format!("it has {}", logs.len());
                return Err(input(&CARD, "a vocabulary of two tokens, and of `top`, or more", found));
            };
            for (token, log) in best.iter().take(self.settings.top) {
                words.push(subject.token(*token as u32));
                shares.push(log.exp() as f32);
            }
            if tokens.len() <= step {
                tokens.push(first as u32);
            }
            let token = tokens.get(step).copied().unwrap_or(first as u32) as usize;
            let beyond = || HookError::Objective { what: "token", index: token, len: logs.len() };
            let own = logs.get(token).copied().ok_or_else(beyond)?;
            let likelier = rank(&logs, token).ok_or_else(beyond)?;
            whole += own;
            let margin = most.exp() - second.exp();
            let row = [entropy(&logs), most.exp(), margin, own.exp(), likelier as f64];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value as f32));
            let [entropy, top, .., rank] = row.map(|value| value as f32);
            decided.push(Decided { entropy, top, rank });
        }
        progress.advance(1)?;
        let label = |token: &u32| TokenLabel::new(subject.token(*token), Modality::Text).with_id(*token);
        let axis = || vec![Axis::new(Role::Answer, Labels::Tokens(tokens.iter().map(label).collect()))];
        let names = [
            ("entropy", Unit::Nat),
            ("top probability", Unit::Probability),
            ("margin", Unit::Probability),
            ("probability", Unit::Probability),
            ("rank", Unit::Count),
        ];
        let mut tables = Vec::new();
        for ((name, unit), values) in names.into_iter().zip(columns) {
            tables.push(Labelled::numbers(name, unit, axis(), values)?);
        }
        let ranked = || axis().into_iter().chain([Axis::count(Role::Rank, self.settings.top)]).collect();
        tables.push(Labelled::texts("likeliest", ranked(), words)?);
        tables.push(Labelled::numbers("probabilities", Unit::Probability, ranked(), shares)?);
        tables.push(Labelled::scalar("log probability", Unit::LogProbability, whole as f32));
        let perplexity = (-whole / tokens.len() as f64).exp();
        tables.push(Labelled::scalar("perplexity", Unit::Ratio, perplexity as f32));
        let cautions = cautions(&decided, perceives(&case.sample));
        Ok(Answer::new(tables, [Site::of(Part::Text, Point::Logits)]).cautioned(cautions))
    }
}

/// A model that chooses among as many tokens as this, evenly, may say one thing in several ways.
const SEVERAL: f32 = 2.0;
/// From this probability on of the likeliest token a model is sure.
const SURE: f32 = 0.95;

/// What decides a token.
#[derive(Debug, Clone, Copy)]
struct Decided {
    entropy: f32,
    /// The highest probability.
    top: f32,
    /// How many tokens are likelier than the one that stands there.
    rank: f32,
}

/// Whether a sample shows or plays something.
fn perceives(sample: &Sample) -> bool {
    !(sample.pictures.is_empty() && sample.clips.is_empty() && sample.recordings.is_empty())
}

fn cautions(decided: &[Decided], perceives: bool) -> Vec<Caution> {
    let (mut cautions, all) = (Vec::new(), decided.len());
    let open: Vec<f32> =
        decided.iter().map(|own| own.entropy.exp()).filter(|among| *among >= SEVERAL).collect();
    let most = open.iter().copied().reduce(f32::max); // no NaN: of finite logits
    if let Some(among) = most {
        let text = format!(
            "at {} of {all} tokens the model chooses among two or more, at one among as many as {among:.1} (exp of the entropy): they may be words \
             for one thing, and the meaning certain. Semantic entropy tells",
            open.len()
        );
        cautions.push(Caution::new(CautionKind::Other, among, text));
    }
    let sure: Vec<f32> = decided.iter().skip(1).map(|own| own.top).filter(|top| *top >= SURE).collect();
    if perceives && !sure.is_empty() {
        let left = sure.iter().map(|top| 1.0 - top).sum::<f32>() / sure.len() as f32;
        let text = format!(
            "at {} of {} tokens behind the first the likeliest has {SURE} of the probability or more ({left:.1e} is left, in the mean): the words \
             before them can be the reason, whatever is shown. Ask without it (modality, vcd)",
            sure.len(),
            all - 1
        );
        cautions.push(Caution::new(CautionKind::Saturated, left, text));
    }
    let against: Vec<f32> =
        decided.iter().filter(|own| own.top >= SURE && own.rank > 0.0).map(|own| own.rank).collect();
    let most = against.iter().copied().reduce(f32::max); // no NaN: whole numbers
    if let Some(rank) = most {
        let text = format!(
            "at {} of {all} tokens the model gives {SURE} of the probability or more to another token than the one that stands there, which has as \
             many as {rank} likelier ones: if the answer is right, it is surer than it is right. Calibration tells",
            against.len()
        );
        cautions.push(Caution::new(CautionKind::Unlikely, rank, text));
    }
    cautions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(decided: &[[f32; 3]], perceives: bool) -> Vec<(CautionKind, f32)> {
        let decided: Vec<Decided> = decided
            .iter()
            .map(|[entropy, top, rank]| Decided { entropy: *entropy, top: *top, rank: *rank })
            .collect();
        cautions(&decided, perceives).iter().map(|caution| (caution.kind, caution.number)).collect()
    }

    #[test]
    fn bounds_are_where_they_are_said_to_be() {
        // ln 2 is 0.6931: two tokens, evenly.
        let (below, above) = ([0.69, 0.5, 0.0], [0.7, 0.5, 0.0]);
        assert_eq!(said(&[below, below], true), []);
        assert_eq!(said(&[below, above], true), [(CautionKind::Other, 0.7_f32.exp())]);
        // The first token of an answer has no words of the answer before it.
        let (sure, unsure) = ([0.1, 0.96875, 0.0], [0.1, 0.94, 0.0]);
        assert_eq!(said(&[sure, unsure], true), []);
        assert_eq!(said(&[unsure, sure], true), [(CautionKind::Saturated, 0.03125)]);
        assert_eq!(said(&[unsure, sure], false), []);
        // Sure of another token, or of none.
        assert_eq!(said(&[[0.1, 0.96, 3.0], [0.1, 0.94, 9.0]], true), [(CautionKind::Unlikely, 3.0)]);
        assert_eq!(said(&[[0.1, 0.96, 3.0], [0.1, 0.96, 2.0]], false), [(CautionKind::Unlikely, 3.0)]);
    }
}
