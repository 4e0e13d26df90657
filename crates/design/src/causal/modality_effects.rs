//! Effects of modalities: what did the picture do to this answer, what did the words do, and what did both do only together?
//!
//! # Idea
//! `f(p, w)` is the log-odds of the answer with the picture `p` and the words `w` of the case, `p'` and `w'` stand for others (Pearl's do-operator: a modality
//! is set, whatever the other is).
//!
//! ```text
//! TE(picture)  = f(p, w) - f(p', w)           TE(words) = f(p, w) - f(p, w')
//! interaction  = f(p, w) - f(p', w) - f(p, w') + f(p', w')
//! joint        = f(p, w) - f(p', w') = [f(p, w') - f(p', w')] + [f(p', w) - f(p', w')] + interaction
//! log-odds     = ln P - ln (1 - P)            P: probability of the answer, of several tokens the product
//! ```
//!
//! The brackets are what the picture alone and the words alone do. What an answer needs both for is in the interaction, and in both total effects.
//!
//! # In and out
//! In: a [`CaseAmong`], a case and, for stand-ins, a data set. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `effect` | concept | logit, or the objective's | TE(picture), TE(words), interaction; of a sample that holds one modality its effect alone |
//! | `cell` | concept | as above | `f` of all four, as it is first, means over draws |
//! | `alone` | concept | as above | what each does where the other is exchanged |
//! | `joint` | | as above | the joint effect |
//! | `share` | concept | ratio | picture alone, words alone and interaction over `joint`: they add up to one. Left out where `joint` is too small to share out |
//! | `standard error` | concept | as above | of `effect`, over draws, of two or more |
//! | `stand-ins` | concept | as above | beside the effects, chance: how far one stand-in lies from the next, mean of the absolute differences over draws; where they come from other cases |
//! | `effect by draw` | step, concept | as above | aside |
//!
//! # Settings
//! - `pictures`: what stands in the place of pictures: `another`, those of another case of the data set; `mean-colour` (of a recording, one without a sound: zeros, listened to as a recording is, padding and all). `null`: another where there is a data set, else the mean colour.
//! - `words`: `another`; `unattended`, they stay but nobody attends to them. `null`, as above.
//! - `draws`: 8 stand-ins, or as many other cases as there are. Words of a draw are those of the next case drawn, so that the two do not belong together.
//! - `measured`: `log-odds`, or `objective`, as the case has it. `null`: log-odds where the objective is about tokens.
//! - `seed`: 0.
//!
//! # Cost
//! One pass, and one for each of the other three cells and each draw; of what is not drawn one. One sample is held.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no draws. Running: [`AnalysisError::Input`] for another case without a data set or with none that differs, a sample without
//! pictures and words, log-odds of what is no token, an objective at a position of its own where words are exchanged, or where what stands in has another number of tokens; [`AnalysisError::Memory`];
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The effect is of this exchange: `p'` says what would be there instead, and another baseline gives other numbers. A picture of nothing but its mean colour lies far from what a model has seen
//!   (Hooker, Mentch, Zhou. Statistics and Computing 2021. <https://arxiv.org/abs/1905.03151>).
//! - Words of another case ask something else: `f(p, w')` is then the log-odds of this answer to another question.
//! - Log-odds are one scale of several: what is additive there interacts in probabilities, and the other way round (VanderWeele: Explanation in Causal Inference, 2015, ch. 9).
//! - Total effects count the interaction twice: they do not add up to `joint`. The shares do.
//! - Logits compare nothing: a logit falls when all of them fall. Log-odds set the answer against everything else, and are of a token even where another one is likelier.
//!
//! # Agreement
//! Transformers 5.23, logits of all pictures with all prompts crossed by the definitions (`oracles/causal.py`), absolute: log-odds of tokens of `llava-a` and `smolvlm-a` within 1e-5, of whole answers within 5e-5 of
//! numbers as large as 40; logits of `llava-a` and similarities of `clip-a` within 1e-5. Identities tested: shares and alone effects add up; a model whose picture is cut off has no effect of the picture and no
//! interaction, to the bit; logits that are affine in pictures and words have no interaction, and their log-odds do. Largest difference found: 6.8e-6 of tokens, 1.8e-5 of answers.
//!
//! # Reference
//! Pearl: Direct and Indirect Effects. UAI 2001. <https://arxiv.org/abs/1301.2300>. Interaction of two causes: VanderWeele, Knol: A Tutorial on Interaction. Epidemiologic Methods 2014.
//! <https://doi.org/10.1515/em-2013-0005>.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, CaseAmong, Picture, Sample};
//! use mmlens_design::{ModalityEffects, modality_effects::Settings};
//! let picture = Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([80; 3])));
//! let case = Case::new(Sample::prompt(vec![picture], "#abc"));
//! let finding = ModalityEffects::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &CaseAmong::from(case))?;
//! println!("{:?}", finding.table("effect")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::check::{at_least_one, input};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, CaseAmong, Cases, Cost, Leaf, On, Sample, Seed,
    Target, caution,
};
use mmlens_engine::{Pictures, Progress, Wording, drawn_order};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::design::{Crossed, Exchange, Found, Measured, Observed, cell_axis, effect_axis, narrow, shares};

/// What this method is.
pub const CARD: Card = Card {
    id: "modality-effects",
    short: "do",
    name: "Effects of modalities",
    question: "What did the picture do to this answer, what did the words do, and what did both do only together?",
    citation: "Pearl: Direct and Indirect Effects. UAI 2001. https://arxiv.org/abs/1301.2300",
    leaf: Leaf::Architecture,
    cost: "1 forward, and 3 for each draw",
    needs: &[Capability::Answer],
    misleads: &[
        "An effect is of this exchange: what stands there instead is a part of the question.",
        "Words of another case ask something else.",
        "Total effects count the interaction twice; shares do not.",
    ],
    first: false,
};

/// What is exchanged for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What stands in the place of pictures; `None` for another case's where there is a data set, else their mean colour.
    pub pictures: Option<Pictures>,
    /// What stands in the place of words; `None` for another case's where there is a data set, else the same, to which nobody attends.
    pub words: Option<Wording>,
    /// How many stand-ins.
    pub draws: usize,
    /// What is measured; `None` for log-odds where the objective is about tokens.
    pub measured: Option<Measured>,
    /// The seed of draws.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pictures: None, words: None, draws: 8, measured: None, seed: Seed(0) }
    }
}

/// Effects of modalities with checked settings.
#[derive(Debug, Clone)]
pub struct ModalityEffects {
    settings: Settings,
}

/// The design of a case, and the cases that stand in.
struct Opened<'a> {
    crossed: Crossed<'a>,
    others: Vec<usize>,
}

impl Opened<'_> {
    /// What stands in for the pictures and the words of a case, in a draw.
    fn stand_ins(&self, given: &CaseAmong, draw: usize) -> Result<[Sample; 2], AnalysisError> {
        let data = given.among.as_ref().ok_or_else(|| input(&CARD, "a data set", "none was given"))?.data();
        let one = |draw: usize| -> Result<Sample, AnalysisError> {
            let at = self.others.get(draw % self.others.len().max(1)).copied();
            let at = at.ok_or_else(|| input(&CARD, "another case", "there is none"))?;
            Ok(data.case(at)?.sample)
        };
        Ok([one(draw)?, one(draw + 1)?])
    }
}

impl ModalityEffects {
    fn open(&self, given: &CaseAmong) -> Result<Opened<'_>, AnalysisError> {
        let own = &given.case.sample;
        let there = given.among.is_some();
        let default = Exchange {
            pictures: Some(if there { Pictures::Another } else { Pictures::MeanColour }),
            words: Some(if there { Wording::Another } else { Wording::Unattended }),
        };
        let exchange = Exchange {
            pictures: self.settings.pictures.or(default.pictures),
            words: self.settings.words.or(default.words),
        };
        let exchange = exchange.held(&CARD, own)?;
        let mut others = Vec::new();
        if exchange.drawn() {
            let many = given.among.as_ref();
            let many =
                many.ok_or_else(|| input(&CARD, "a data set, for what stands in", "none was given"))?;
            others = others_of(&CARD, many.data(), own, exchange, (self.settings.draws, self.settings.seed))?;
        }
        let draws = if exchange.drawn() { self.settings.draws.min(others.len()) } else { 1 };
        Ok(Opened {
            crossed: Crossed { card: &CARD, exchange, measured: self.settings.measured, draws },
            others,
        })
    }
}

/// Cases in the order in which they stand in for a sample, one more than draws where there are as many: those that differ from it in what is exchanged, and hold what it holds.
fn others_of(
    card: &Card,
    data: &dyn Cases,
    own: &Sample,
    exchange: Exchange,
    (draws, seed): (usize, Seed),
) -> Result<Vec<usize>, AnalysisError> {
    let (record, mut others) = (own.record(), Vec::new());
    for at in drawn_order(data.len(), seed) {
        if others.len() > draws {
            break;
        }
        let other = data.case(at)?.sample;
        let holds = exchange.pictures.is_none_or(|_| Pictures::held(&other))
            && exchange.words.is_none_or(|_| Wording::held(&other));
        let theirs = other.record();
        let differs = (&theirs.pictures, &theirs.clips, &theirs.recordings, &theirs.words)
            != (&record.pictures, &record.clips, &record.recordings, &record.words);
        if holds && differs {
            others.push(at);
        }
    }
    match others.is_empty() {
        false => Ok(others),
        true => {
            let found = format!("none of the {} of `{}` is another", data.len(), data.name());
            Err(input(card, "another case that holds what this one holds", found))
        }
    }
}

impl Analysis for ModalityEffects {
    type Input = CaseAmong;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "draws", settings.draws)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, given: &CaseAmong) -> Result<Cost, AnalysisError> {
        let opened = self.open(given)?;
        let settling = given.case.settling();
        // Which token is the likeliest takes a pass to say, and none to count.
        let target = if settling > 0 { Target::Token(0) } else { given.case.target.clone() };
        let others = |draw| opened.stand_ins(given, draw);
        let (rows, bytes) = opened.crossed.rows(on, &given.case.sample, &target, &others)?;
        Ok(Cost::rows(settling + rows).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, given: &CaseAmong) -> Result<Answer, AnalysisError> {
        let opened = self.open(given)?;
        let Crossed { exchange, draws, .. } = opened.crossed;
        let asked = Observed::new(on, &given.case, self.settings.measured)?;
        asked.fits(&CARD, exchange, self.settings.measured)?;
        let mut progress = Progress::new(on.watch(), CARD.id, opened.crossed.steps());
        let others = |draw| opened.stand_ins(given, draw);
        let found =
            opened.crossed.measure(on, (&given.case.sample, &asked), &others, &mut || progress.advance(1))?;
        let (tables, cautions) = tables(&found, &asked)?;
        let answer = Answer::new(tables, exchange.sites(on))
            .explaining(&asked.objective)
            .against(exchange.describe(on))
            .cautioned(cautions)
            .settled("pictures", json!(exchange.pictures))
            .settled("words", json!(exchange.words))
            .settled("draws", json!(draws))
            .settled("measured", json!(asked.measured()));
        Ok(if exchange.drawn() { answer.seeded(self.settings.seed) } else { answer })
    }
}

/// What was found of a case, as tables, and what speaks against it.
fn tables(found: &Found, asked: &Observed) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
    let (exchange, unit) = (found.exchange, asked.unit);
    let (effects, means) = (found.effects()?, found.means());
    let names = || Axis::names(Role::Concept, exchange.names());
    let own = means.first().copied().unwrap_or_default();
    let least = caution::least_difference(unit, own.abs());
    let mut tables = vec![
        Labelled::numbers("effect", unit, vec![effect_axis(exchange)], narrow(effects.total.clone()))?,
        Labelled::numbers("cell", unit, vec![cell_axis(exchange)], narrow(means.clone()))?,
        Labelled::numbers("alone", unit, vec![names()], narrow(effects.alone.clone()))?,
        Labelled::scalar("joint", unit, effects.joint as f32),
    ];
    // Of the interaction nothing is left where both ways add up, which is a result.
    let moved = exchange.names().into_iter().zip(&effects.total);
    let mut cautions: Vec<Caution> = moved
        .filter_map(|(name, effect)| {
            caution::rounding(&[*effect as f32], (unit, own as f32), &format!("effects of the {name}"))
        })
        .collect();
    if effects.joint.abs() >= least {
        tables.extend(shares(exchange, &effects)?);
    } else if cautions.len() < exchange.names().len() {
        let text = format!(
            "both exchanged, the {} differs by {:.3} alone: there is nothing to share out between picture and words",
            asked.objective, effects.joint
        );
        cautions.push(Caution::new(CautionKind::SmallDifference, effects.joint as f32, text));
    }
    let by_draw = found.by_draw()?;
    if by_draw.len() > 1 {
        let count = by_draw.len() as f64;
        let error = |at: usize| {
            let own: Vec<f64> = by_draw.iter().filter_map(|own| own.total.get(at).copied()).collect();
            let mean = own.iter().sum::<f64>() / count;
            (own.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0) / count).sqrt()
        };
        let errors = narrow((0..effects.total.len()).map(error));
        tables.push(Labelled::numbers("standard error", unit, vec![effect_axis(exchange)], errors)?);
    }
    if let Some(stand_ins) = found.stand_ins() {
        for (name, apart) in &stand_ins {
            let at = exchange.names().iter().position(|own| own == name).unwrap_or_default();
            let effect = effects.total.get(at).copied().unwrap_or_default();
            if *apart > 0.0 && effect.abs() <= *apart {
                let text = format!(
                    "the {name} of the case change what is measured by {effect:.3}, and those of one other case for those of the next by {apart:.3} in the mean: \
                     no more than any exchange does"
                );
                cautions.push(Caution::new(CautionKind::Chance, (effect.abs() / apart) as f32, text));
            }
        }
        let axis = Axis::names(Role::Concept, stand_ins.iter().map(|(name, _)| *name));
        let values = narrow(stand_ins.iter().map(|(_, apart)| *apart));
        tables.push(Labelled::numbers("stand-ins", unit, vec![axis], values)?);
    }
    if by_draw.len() > 1 {
        let axes = vec![Axis::count(Role::Step, by_draw.len()), effect_axis(exchange)];
        let values = narrow(by_draw.iter().flat_map(|own| own.total.iter().copied()));
        tables.push(Labelled::numbers("effect by draw", unit, axes, values)?.aside());
    }
    Ok((tables, cautions))
}

/// The case of the design, for the form over many cases.
pub(super) fn crossed_target(case: &Case) -> Target {
    if case.settling() > 0 { Target::Token(0) } else { case.target.clone() }
}
