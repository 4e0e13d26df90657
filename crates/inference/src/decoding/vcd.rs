//! Visual contrastive decoding: which tokens of an answer does the picture speak for, against a noised one?
//!
//! # Idea
//! With `l` the logits of the next token and `l'` those of the same model, behind the same words and the same answer so far, but shown a picture `v'` that a
//! diffusion has noised up to step `t`,
//!
//! ```text
//! v' = sqrt(A) v + sqrt(1 - A) n,   A = product of 1 - beta up to step t,   n normal
//! score = l + alpha (l - l')        of tokens with l >= ln beta + max l; others cannot come
//! ```
//!
//! What the model would say of noise too, it says out of habit: that is taken off. As a decoder it writes by these scores; as a method it reads an answer that is
//! there and says of each token how much likelier the picture makes it.
//!
//! # In and out
//! In: a [`Case`] of one row with a picture, and an answer, which is read token by token; without an answer the token the model would say next. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `contrast` | answer | log probability | of the token: the model's own log-probability less that of the other branch |
//! | `log probability` | answer, method | log probability | both of them |
//! | `rank` | answer, method | count | how many tokens have a higher score, by the model and by the decoder |
//! | `plausible` | answer | count | how many tokens can come |
//! | `decoder says` | answer | texts | the token with the highest score, behind the answer as it is |
//!
//! # Settings
//! - `alpha`: 1, as the authors' command line has it (their function has 0.5). At 0 the model's own logits, with the bound of `beta`.
//! - `beta`: 0.1. At 0 every token can come. A script of the authors for POPE has 0.2.
//! - `noise`: step 500 of 1000, counted from 0. The paper takes 500 for open questions and 999 elsewhere.
//! - `seed`: 0, of the noise.
//!
//! # Cost
//! Two sessions: twice the passes and twice the cache of plain decoding. As a method a pass of both for each token.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for `alpha` below 0, `beta` outside 0 to 1, `noise` beyond 999. Running: [`AnalysisError::Input`] for a subject that sees no pictures or writes no
//! answers, a prompt without a picture, several rows, an answer that changes its prompt's tokens; whatever a session reports; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - What language alone expects is taken off whether it is true or not: text loses fluency and true details that are likely anyway (Yin, Si, Wang: ClearSight. CVPR 2025.
//!   <https://arxiv.org/abs/2503.13107>).
//! - Much of what contrastive decoding gains on POPE comes of a one-sided shift of its answers, and of the plausibility bound, which turns drawing into nearly greedy decoding (Yin, Si,
//!   Wang: The Mirage of Performance Gains. 2025. <https://arxiv.org/abs/2504.10020>). Compare with greedy decoding, and with drawing under the same `beta` at `alpha` 0.
//! - A noised picture is no absent one: step 500 leaves outlines of large objects, and what is contrasted is their detail.
//!
//! # Agreement
//! transformers 5.23 on `llava-a` and `smolvlm-a` (a picture in tiles, with words between), the noised pixels taken from the oracle: greedy tokens of 5 steps equal, scores as large as 12 of those that can come 1.4e-5 and
//! 1.3e-5 apart at most, which tokens can come equal. The share of the signal that is left, by the authors' formula in torch: 1.5e-7. Identities tested: no strength and no bound is plain decoding to the bit, greedy and drawn; a branch
//! that equals the model's own changes no bit; with a cache as without.
//!
//! # Reference
//! Leng, Zhang, Chen, Li, Lu, Miao, Bing: Mitigating Object Hallucinations in Large Vision-Language Models through Visual Contrastive Decoding. CVPR 2024.
//! <https://arxiv.org/abs/2311.16922>, code DAMO-NLP-SG/VCD. `(1 + alpha) l - alpha l'` is computed as `l + alpha (l - l')`. Noise is drawn for each picture of a row from a seed.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Picture, Reply, Sample};
//! use mmlens_inference::{Vcd, vcd::Settings};
//! let grey = Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([90; 3])));
//! let sample = Sample::prompt(vec![grey], "#ab").answered(Reply::Text("cd".to_owned()));
//! let finding = Vcd::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &Case::new(sample))?;
//! println!("{:?}", finding.table("contrast")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Inputs, Leaf, On, Part, Point, Seed, Site,
    Subject, kind,
};
use serde::{Deserialize, Serialize};

use super::pictures::STEPS;
use super::{Branch, Contrast, Decoder, Divergence, Form, Rule, followed, kept_of_signal, noised};
use mmlens_core::check::{input, setting, within};

/// What this method is.
pub const CARD: Card = Card {
    id: "visual-contrastive-decoding",
    short: "vcd",
    name: "Visual contrastive decoding (VCD)",
    question: "Which tokens of an answer does the picture speak for, against a noised one?",
    citation: "Leng et al.: Mitigating Object Hallucinations in Large Vision-Language Models through Visual Contrastive Decoding. CVPR 2024. https://arxiv.org/abs/2311.16922",
    leaf: Leaf::Inference,
    cost: "2 forward for each token",
    needs: &[Capability::Perception, Capability::Generation],
    misleads: &[
        "It takes away true details that are likely anyway.",
        "Much of its gain on yes-or-no benchmarks is a shift of answers and the bound on plausible tokens: compare with greedy decoding.",
        "A noised picture is no absent one.",
    ],
    first: false,
};

/// How the contrast is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How strongly the noised branch is taken off.
    pub alpha: f32,
    /// The share of the highest probability that a token must have.
    pub beta: f32,
    /// Up to which step of 1000 the picture is noised.
    pub noise: usize,
    /// The seed of the noise.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 0.1, noise: 500, seed: Seed(0) }
    }
}

/// Visual contrastive decoding with checked settings.
#[derive(Debug, Clone)]
pub struct Vcd {
    settings: Settings,
}

impl Vcd {
    /// What is made of the model's own branch and another.
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule {
            strength: self.settings.alpha,
            form: Form::Logits,
            plausible: self.settings.beta,
            divergence: Divergence::default(),
        }
    }
}

impl Decoder for Vcd {
    fn contrast(&self, _: &dyn Subject, inputs: &Inputs) -> Result<Contrast, AnalysisError> {
        let bare = |row: &usize| inputs.seen.of_row(*row).is_empty() && inputs.heard.of_row(*row).is_empty();
        if let Some(row) = (0..inputs.rows()).find(bare) {
            return Err(input(&CARD, "a picture in every row", format!("row {row} shows none")));
        }
        let noised = noised(inputs, kept_of_signal(self.settings.noise), self.settings.seed)?;
        let (own, beside) = (Branch::plain(inputs.clone()), vec![Branch::plain(noised)]);
        Ok(Contrast { own, beside, early: None, rule: self.rule() })
    }
}

impl Analysis for Vcd {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        within(&CARD, "alpha", settings.alpha, [0.0, f32::MAX], "it must be at least 0")?;
        within(&CARD, "beta", settings.beta, [0.0, 1.0], "it must be from 0 to 1")?;
        if settings.noise >= STEPS {
            return Err(setting(&CARD, "noise", settings.noise, "steps are counted from 0 to 999"));
        }
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        followed::cost(self, on, case)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let logits = Site::of(Part::Text, Point::Logits);
        let sites = kind::perceives_at(on.subject()).into_iter().chain([logits]).collect();
        let answer = followed::answer(self, on, case, sites, None)?;
        let against = format!("the picture noised up to step {} of {STEPS}", self.settings.noise);
        Ok(answer.against(against).seeded(self.settings.seed))
    }
}
