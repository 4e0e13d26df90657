//! Pay attention to the image: which tokens of an answer gain when the model looks at the picture harder, against the words alone?
//!
//! # Idea
//! In every layer from `from` on, and for every head, the scores of attention `e` with which the position that speaks looks at positions of the picture are raised before the softmax; then the
//! log-probabilities are moved away from those of the same model that is shown no picture at all:
//!
//! ```text
//! e' = e + alpha |e|                                   of the last query, at keys of the picture
//! score = b + gamma (a - b),  a = ln p' (with the picture, raised),  b = ln p (words alone)
//! ```
//!
//! of tokens with `a >= ln beta + max a`; others cannot come. Each token of the answer is the last query in its turn, so that all of them are computed with raised scores.
//!
//! # In and out
//! In: a [`Case`] of one row with a picture among its words, and an answer, read token by token; without an answer the token the model would say next. Out: as of
//! [`vcd`](super::vcd): `contrast` (raised, less words alone), `log probability`, `rank`, `plausible`, `decoder says`. Where `gamma` is 1 there is no other branch, and `contrast` is zero.
//!
//! # Settings
//! - `alpha`: 0.2, as in the README of the authors' code. At 0 no score is raised.
//! - `gamma`: 1.1, from there too. At 1 the words alone are not asked, and every token can come, as there.
//! - `beta`: 0.1.
//! - `from`: 2, the first block with raised scores; later ones have them all. The code names the last one too, which is the model's last.
//!
//! # Cost
//! Two sessions, one with `gamma` 1. The pass over the prompt makes the scores of attention of all positions in the raised layers: memory grows with the square of the prompt. As a method a pass
//! of both for each token.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for `alpha` below 0, `gamma` below 1, `beta` outside 0 to 1. Running: [`AnalysisError::Setting`] for `from` beyond the last block; [`AnalysisError::Input`]
//! for a subject without scores of attention, or whose words look at the picture from outside, a prompt without a picture, several rows; whatever a session reports; [`AnalysisError::Memory`],
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - `|e|` is no attention: scores below zero are raised towards zero, those above away from it, and what a factor does depends on the scale of queries and keys, which differs from model to
//!   model. `alpha` does not carry over.
//! - All of the picture is raised alike, and with it positions that serve as sinks and say nothing of it (docs/token.md; Darcet et al.: Vision Transformers Need Registers. ICLR 2024.
//!   <https://arxiv.org/abs/2309.16588>).
//! - Without its picture a prompt is shorter, and its words stand at other positions: part of the contrast is that, and not what is seen.
//!
//! # Agreement
//! transformers 5.23 on `llava-a` and `smolvlm-a` (a picture in tiles, with words between), attention written out with raised scores and a cache: greedy tokens of 5 steps equal, scores 9.7e-6 and 8.6e-6 apart at most,
//! which tokens can come equal. Identities tested: no strength is plain decoding to the bit; with a cache as in one pass over prompt and answer with all queries from the prompt's last on raised; what is raised is attended to more.
//!
//! # Reference
//! Liu, Zheng, Chen: Paying More Attention to Image: A Training-Free Method for Alleviating Hallucination in LVLMs. ECCV 2024. <https://arxiv.org/abs/2407.21771>, code LALBJ/PAI. Guidance without a
//! classifier: Sanchez et al.: Stay on topic with Classifier-Free Guidance. 2023. <https://arxiv.org/abs/2306.17806>. Scores that are masked are not raised. The code applies the
//! checkpoint's penalties before this rule; here they come behind it, as for every decoder.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Picture, Reply, Sample};
//! use mmlens_inference::{Pai, pai::Settings};
//! let grey = Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([90; 3])));
//! let sample = Sample::prompt(vec![grey], "#ab").answered(Reply::Text("cd".to_owned()));
//! let settings = Settings { from: 0, ..Settings::default() };
//! let finding = Pai::new(settings)?.run(&mmlens_testkit::Toy::curved(1), &Case::new(sample))?;
//! println!("{:?}", finding.table("contrast")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, AxisName, Capability, Card, Case, Change, Cost, HookError,
    Inputs, Leaf, MASKED, On, Part, Plan, Point, Region, Site, Subject, kind,
};
use serde::{Deserialize, Serialize};

use super::pictures::shown;
use super::{Branch, Contrast, Decoder, Divergence, Form, Pass, PassPlan, Rule, followed, without_pictures};
use mmlens_core::check::{input, setting, within};

/// What this method is.
pub const CARD: Card = Card {
    id: "pay-attention-to-image",
    short: "pai",
    name: "Paying more attention to the image (PAI)",
    question: "Which tokens of an answer gain when the model looks at the picture harder, against the words alone?",
    citation: "Liu, Zheng, Chen: Paying More Attention to Image: A Training-Free Method for Alleviating Hallucination in LVLMs. ECCV 2024. https://arxiv.org/abs/2407.21771",
    leaf: Leaf::Inference,
    cost: "2 forward for each token",
    needs: &[
        Capability::Perception,
        Capability::Generation,
        Capability::SelfAttention,
        Capability::OwnWords,
        Capability::Scores(Part::Text),
    ],
    misleads: &[
        "The size of a score is no attention: what a factor does depends on the model's scale.",
        "Sinks among the positions of the picture are raised like all others.",
        "Without its picture a prompt is shorter: part of the contrast is that.",
    ],
    first: false,
};

/// How far attention is raised, and against what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// By how much of their size scores of attention to the picture are raised.
    pub alpha: f32,
    /// How far from the words alone.
    pub gamma: f32,
    /// The share of the highest probability that a token must have.
    pub beta: f32,
    /// The first block whose scores are raised.
    pub from: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 0.2, gamma: 1.1, beta: 0.1, from: 2 }
    }
}

/// Paying more attention to the image, with checked settings.
#[derive(Debug, Clone)]
pub struct Pai {
    settings: Settings,
}

/// Raises scores by a share of their size; masked ones stay.
fn raised(x: &AnyTensor, alpha: f32) -> Result<AnyTensor, HookError> {
    let values = x.to_values()?;
    let raise = |e: f32| if e <= MASKED / 2.0 { e } else { e + alpha * e.abs() };
    x.filled(values.into_iter().map(raise).collect())
}

impl Pai {
    fn sites(&self, subject: &dyn Subject) -> Vec<Site> {
        let blocks = self.settings.from..kind::blocks(subject, Part::Text);
        blocks.map(|block| Site::block(Part::Text, block, Point::Scores)).collect()
    }

    /// What is changed in every pass of the model's own branch.
    fn plan(&self, sites: Vec<Site>, inputs: &Inputs) -> PassPlan {
        let (alpha, last) = (self.settings.alpha, inputs.positions().saturating_sub(1));
        let keys: Vec<Vec<usize>> = (0..inputs.rows()).map(|row| shown(inputs, row)).collect();
        Arc::new(move |pass: Pass<'_>| {
            let query = if pass.prompt { last } else { 0 };
            let mut plan = Plan::new();
            for site in &sites {
                for (at, row) in pass.rows.iter().enumerate() {
                    let own = keys.get(*row).cloned().unwrap_or_default();
                    let region = Region::all().rows([at]).of(AxisName::Query, [query]).of(AxisName::Key, own);
                    let raise = Change::With(Arc::new(move |x| raised(&x, alpha)));
                    plan = plan.change(*site, region, raise)?;
                }
            }
            Ok(plan)
        })
    }
}

impl Decoder for Pai {
    fn contrast(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Contrast, AnalysisError> {
        let Settings { alpha, gamma, beta, from } = self.settings;
        let sites = self.sites(subject);
        if sites.is_empty() {
            let blocks = kind::blocks(subject, Part::Text);
            let found = format!("{from}, of {blocks} blocks");
            return Err(setting(
                &CARD,
                "from",
                found,
                "a block, counted from 0, that the language model has",
            ));
        }
        if let Some(row) = (0..inputs.rows()).find(|row| shown(inputs, *row).is_empty()) {
            return Err(input(
                &CARD,
                "a picture among the words of every row",
                format!("row {row} shows none"),
            ));
        }
        let plan = (alpha > 0.0).then(|| self.plan(sites, inputs));
        let words = || Ok::<_, AnalysisError>(Branch::plain(without_pictures(inputs, subject.pad())?));
        let beside = if gamma > 1.0 { vec![words()?] } else { Vec::new() };
        let rule = Rule {
            strength: gamma - 1.0,
            form: Form::LogProbabilities,
            plausible: beta,
            divergence: Divergence::default(),
        };
        Ok(Contrast { own: Branch { inputs: inputs.clone(), plan }, beside, early: None, rule })
    }
}

impl Analysis for Pai {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        within(&CARD, "alpha", settings.alpha, [0.0, f32::MAX], "it must be at least 0")?;
        within(&CARD, "gamma", settings.gamma, [1.0, f32::MAX], "it must be at least 1")?;
        within(&CARD, "beta", settings.beta, [0.0, 1.0], "it must be from 0 to 1")?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        followed::cost(self, on, case)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let sites = self.sites(on.subject());
        let answer = followed::answer(self, on, case, sites, None)?;
        Ok(answer.against("the words without the picture"))
    }
}
