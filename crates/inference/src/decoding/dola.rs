//! Decoding by contrasting layers: which tokens of an answer come late, in the last layers, against what the model would say earlier?
//!
//! # Idea
//! The stream `h_j` before block `j`, at the position that speaks, is read out as the last state is; of some candidate layers the one whose distribution `q_j` is farthest from the model's own `p` is
//! taken, anew at every token:
//!
//! ```text
//! q_j = softmax( W_U N( h_j ) )                 textbook; the authors' code leaves out the norm N
//! M   = arg max_j JSD(p || q_j)
//! score = ln p - alpha ln q_M                   of tokens with p >= beta max p; others cannot come
//! ```
//!
//! What early layers say already is taken off; what is left is what the last ones add, which is said to be facts more than form.
//!
//! # In and out
//! In: a [`Case`] of one row, and an answer, read token by token; without an answer the token the model would say next. Out: as of [`vcd`](super::vcd), where the other branch is the layer that is
//! taken, and
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `layer` | answer | | the block before which the stream is read out; 0 is what enters the first |
//!
//! # Settings
//! - `layers`: `"high"`, every other block from the middle on; `"low"`, every other one up to there; `"all"`, or `{"at": [0, 2]}`. With more than 40 blocks the first or last 20, as transformers has it. Low is meant for
//!   long answers that reason, high for short ones.
//! - `variant`: `"textbook"`, the Jensen-Shannon divergence and the norm. `"reference"` is what the authors' code and transformers compute: `D(m || p)` and `D(m || q)` in the
//!   place of `D(p || m)` and `D(q || m)`, and early states through the head alone.
//! - `alpha`: 1, which is the paper's. At 0 the model's own logits, with the bound of `beta`.
//! - `beta`: 0.1.
//!
//! # Cost
//! The passes of plain decoding, and a product with the unembedding for each candidate and token. As a method a pass for each token.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for `alpha` below 0, `beta` outside 0 to 1, no layers. Running: [`AnalysisError::Setting`] for a layer that the model does not have;
//! [`AnalysisError::Input`] for a subject that writes no answers or whose states are not read out as words, a prompt of several rows, of the reference a subject that does not show its head;
//! [`AnalysisError::Subject`] for a standing edit behind the last block; whatever a session reports; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Early states are no early opinions: they are read in a basis they were not written for (Belrose et al. 2023, <https://arxiv.org/abs/2303.08112>). Without the norm (`reference`) most of them read out as
//!   nearly even distributions, and the score is nearly `ln p`.
//! - Before block 0 stands the token that was just read: where embedding and unembedding are one matrix that layer says it again, and contrasting it does little but forbid repetition.
//! - Gains were found on truthfulness of large models; the authors of transformers' port warn that shallow models gain little and recommend a penalty for repetition beside it.
//!
//! # Agreement
//! transformers 5.23 on `llava-a` and `gpt2-a` (words alone, a layer norm with a bias, one matrix for embedding and unembedding), by its hidden states: both variants, greedy tokens of 5 steps equal, layers equal, scores
//! 5.7e-6 and 2.4e-6 apart at most of the textbook, 9.5e-6 and 7.6e-6 of the reference. On `gpt2-a` the textbook takes the layer before block 0 at every step, and the reference that before the last. Identities tested: no strength is plain decoding to
//! the bit; the read-out before a block is that of the logit lens; rows of a batch take the layers that they take alone; with a cache as without.
//!
//! # Reference
//! Chuang, Xie, Luo, Kim, Glass, He: DoLa: Decoding by Contrasting Layers Improves Factuality in Large Language Models. ICLR 2024. <https://arxiv.org/abs/2309.03883>, code voidism/DoLa. The code takes one layer for all
//! rows of a batch, by the mean of their divergences; here every row has its own. `alpha` is ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Reply, Sample};
//! use mmlens_inference::{Dola, dola::{Layers, Settings}};
//! let sample = Sample::text("ab").answered(Reply::Text("cd".to_owned()));
//! let settings = Settings { layers: Layers::At(vec![0, 1]), ..Settings::default() };
//! let finding = Dola::new(settings)?.run(&mmlens_testkit::Toy::curved(1), &Case::new(sample))?;
//! println!("{:?}", finding.table("layer")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Inputs, Leaf, On, Part, Point, Site,
    Subject, kind,
};
use mmlens_engine::Unembedding;
use serde::{Deserialize, Serialize};

use super::{Branch, Contrast, Decoder, Divergence, Early, Form, ReadOut, Rule, followed};
use mmlens_core::check::{input, setting, within};

/// What this method is.
pub const CARD: Card = Card {
    id: "contrasting-layers",
    short: "dola",
    name: "Decoding by contrasting layers (DoLa)",
    question: "Which tokens of an answer come late, in the last layers, against what the model would say earlier?",
    citation: "Chuang et al.: DoLa: Decoding by Contrasting Layers Improves Factuality in Large Language Models. ICLR 2024. https://arxiv.org/abs/2309.03883",
    leaf: Leaf::Inference,
    cost: "1 forward for each token, layers unembeddings",
    needs: &[Capability::Generation, Capability::Blocks(Part::Text), Capability::Distribution(Part::Text)],
    misleads: &[
        "Early states are read in a basis they were not written for.",
        "Before the first block stands the token that was just read.",
        "Shallow models gain little.",
    ],
    first: false,
};

/// Which layers are candidates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layers {
    /// Every other block of the first half.
    Low,
    /// Every other block of the second half.
    #[default]
    High,
    /// Every block.
    All,
    /// Before these blocks.
    At(Vec<usize>),
}

/// Which of two published ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// As the paper has it: Jensen-Shannon, states through the last norm.
    #[default]
    Textbook,
    /// As the authors' code has it.
    Reference,
}

/// Which layers are contrasted, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The candidates.
    pub layers: Layers,
    /// How early states are read out, and what is far.
    pub variant: Variant,
    /// How strongly the early layer is taken off.
    pub alpha: f32,
    /// The share of the highest probability that a token must have.
    pub beta: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { layers: Layers::default(), variant: Variant::default(), alpha: 1.0, beta: 0.1 }
    }
}

/// From this many blocks on, twenty of them are half.
const DEEP: usize = 40;

/// Contrasting layers, with checked settings.
#[derive(Debug, Clone)]
pub struct Dola {
    settings: Settings,
}

impl Dola {
    /// The candidates in a model of so many blocks, in ascending order.
    fn layers(&self, blocks: usize) -> Result<Vec<usize>, AnalysisError> {
        let half = if blocks <= DEEP { blocks / 2 } else { DEEP / 2 };
        let layers = match &self.settings.layers {
            Layers::Low if half == 0 => vec![0],
            Layers::Low => (0..half).step_by(2).collect(),
            Layers::High if blocks <= DEEP => (half..blocks).step_by(2).collect(),
            Layers::High => (blocks - half..blocks).step_by(2).collect(),
            Layers::All => (0..blocks).collect(),
            Layers::At(some) => {
                let mut some = some.clone();
                some.sort_unstable();
                some.dedup();
                some
            }
        };
        match layers.last() {
            Some(last) if *last >= blocks => {
                let found = format!("{last}, of {blocks} blocks");
                Err(setting(&CARD, "layers", found, "blocks, counted from 0, that the language model has"))
            }
            _ => Ok(layers),
        }
    }

    fn read_out(&self, subject: &dyn Subject) -> Result<ReadOut, AnalysisError> {
        match self.settings.variant {
            Variant::Textbook => Ok(ReadOut::Norm),
            Variant::Reference => match Unembedding::of(subject)? {
                Some(head) => Ok(ReadOut::Head(head)),
                None => {
                    Err(input(&CARD, "a subject that shows its head, for the reference", "this one does not"))
                }
            },
        }
    }
}

impl Decoder for Dola {
    fn contrast(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Contrast, AnalysisError> {
        let blocks = self.layers(kind::blocks(subject, Part::Text))?;
        let divergence = match self.settings.variant {
            Variant::Textbook => Divergence::JensenShannon,
            Variant::Reference => Divergence::FromTheMean,
        };
        let Settings { alpha: strength, beta: plausible, .. } = self.settings;
        let rule = Rule { strength, form: Form::Difference, plausible, divergence };
        let early = Some(Early { blocks, read_out: self.read_out(subject)? });
        Ok(Contrast { own: Branch::plain(inputs.clone()), beside: Vec::new(), early, rule })
    }
}

impl Analysis for Dola {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        within(&CARD, "alpha", settings.alpha, [0.0, f32::MAX], "it must be at least 0")?;
        within(&CARD, "beta", settings.beta, [0.0, 1.0], "it must be from 0 to 1")?;
        if settings.layers == Layers::At(Vec::new()) {
            return Err(setting(&CARD, "layers", "none", "there must be one"));
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
        let layers = self.layers(kind::blocks(on.subject(), Part::Text))?;
        let sites: Vec<Site> =
            layers.iter().map(|layer| Site::block(Part::Text, *layer, Point::ResidPre)).collect();
        followed::answer(self, on, case, sites, Some(&layers))
    }
}
