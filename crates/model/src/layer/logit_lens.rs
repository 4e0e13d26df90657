//! Logit lens: what would the model say, at every position, if it stopped at this layer?
//!
//! # Idea
//! With `h_l[n]` the residual stream at position `n` after layer `l`, `N` the last norm and `W_U` the
//! unembedding,
//!
//! ```text
//! p_l[n] = softmax( W_U N( h_l[n] ) )
//! ```
//!
//! read as if no layer followed. At image positions it says which words a patch stands for. A classifier of pictures is read the same
//! way: `W_U` is its head, the words are classes, the positions those of its tower. A tower of a dual encoder gives a direction
//! instead: with `P` its projection into the shared space and `c` what the other side is there, of length one,
//!
//! ```text
//! cos_l[n, c] = u . c / |u|,  u = P N( h_l[n] )        logit = scale cos + bias
//! ```
//!
//! How near is this patch to that caption, if the tower stopped here and pooled this position?
//!
//! # In and out
//! In: a [`Case`] of one row, whose objective names the target token or class. Of a phrase of several tokens `target` and the tables
//! that begin so have the tokens in the place of positions (layer, answer), each looked for where it is decided. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `target` | layer, token | probability | of the target token |
//! | `words` | layer, token, rank | | the most likely words |
//! | `probabilities` | layer, token, rank | probability | theirs |
//! | `log probabilities` | layer, token, rank | log probability | the same, where probabilities vanish |
//! | `target log probability` | layer, token | log probability | of the target token |
//! | `target rank` | layer, token | count | how many tokens are more likely than the target |
//! | `entropy` | layer, token | nat | of `p_l[n]` |
//! | `divergence` | layer, token | nat | Kullback-Leibler `D(p_L[n] \|\| p_l[n])`: what `p_l[n]` misses of what the last layer says there |
//!
//! `D(p || q) = sum p (ln p - ln q)` is the divergence of `p` from `q`; the other way round it has other values.
//!
//! Of a dual encoder, in: a [`Case`] of one or more captions, whose objective does not matter. What positions of the picture's tower are
//! compared with are its captions (concept), positions of the text tower with its pictures (image). Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `target` | layer, token | cosine | with the first of them |
//! | `mean cosine` | layer, concept or image | cosine | over the positions looked at: how near everything is at this layer |
//! | `cosine` | layer, token, concept or image | cosine | with each |
//! | `probabilities` | layer, token, concept or image | probability | among several of them; where each pair is judged for itself (SigLIP), of each |
//! | `logits` | layer, token, concept or image | logit | the cosine with the model's scale and bias |
//!
//! Several pictures, or several captions of the text tower, have their own: `target/0` and so on.
//!
//! The layer axis begins before block 0. At the last layer the lens is the model's own output; of what is pooled, at the position
//! that is pooled: the class token, the end of a caption.
//!
//! # Settings
//! - `part`: that of the answer: the text of a language model, the tower of a classifier; of a dual encoder the picture's tower, or where
//!   that is not read position by position (SigLIP) the text tower. A part that ends in states is refused: LLaVA's tower, BLIP's.
//! - `top`: 5 words.
//! - `positions`: all; or those of pictures, of words, the last, or some by number. Of a tower that sees: all, those of
//!   pictures (without the class token), or some by number.
//! - `layers`: all; or after some blocks, by number ([`Indices`]), and after the last, which they are compared with.
//! - `captions`: none; of a dual encoder further captions beside those of the case. `mmlens explain` names here all that it was given.
//! - `rows`: 32 states are read out at a time, or fewer, as memory allows.
//!
//! # Cost
//! One forward pass that keeps the stream, and `(layers + 1) x positions` products with the unembedding. Peak
//! memory: the streams at the positions looked at, and `rows x vocabulary` eight times over. Where the streams are more than
//! the memory it may take ([`On::within`](mmlens_core::On::within)), those of some positions are kept at a time, with a pass for each part.
//! A dual encoder passes a row for each caption; its products are with the projection.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no words or no rows. Running: [`AnalysisError::Input`] for an
//! objective without a token, a position past the end, no positions, a case of several rows, a part without blocks or whose states
//! cannot be read out (as behind a standing edit of its last norm), captions beside a subject that compares none;
//! [`AnalysisError::Subject`] for a target outside the vocabulary; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Early layers write in another basis than the unembedding reads; a word there may be an accident of the
//!   basis (Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens").
//! - What is readable need not be used, and what is used need not be readable.
//! - At image positions the model was never trained to predict a word; read trends over patches, not single
//!   words (Neo et al. 2025, "Towards Interpreting Visual Information Processing in Vision-Language Models").
//! - In a dual encoder only the class token (of a text its end) is projected in training. What stands at a patch behind the last
//!   block nothing reads, and it may say little of its own place (Darcet et al. 2024, "Vision Transformers Need Registers").
//! - Cosines of different layers have different means: all of a layer lie in a cone (Liang et al. 2022, "Mind the Gap"). Compare
//!   positions and captions within a layer, beside its `mean cosine`.
//!
//! What misled us, on `shapes-clip` and `docs/pictures/scene.png` (a yellow triangle among others) with the captions `a yellow triangle`,
//! which is true and has probability 1.000, `a red circle` and `a blue square`: at the last layer the patch nearest to the true one,
//! cosine 0.55, lies on the triangle; but 52 of 64 patches are likeliest to be `a red circle`, which is nowhere in the picture. That
//! caption is near everything there (`mean cosine` 0.29, of the true one 0.25), and a scale of some tens makes certainties of small
//! differences. The class token, which decides, has a cosine of 0.24 with the true caption, less than the mean patch. `mean cosine` of
//! the true caption goes -0.06, -0.12, -0.14, -0.03, 0.25 from layer to layer, and those of the false ones rise with it. The one map that
//! `mmlens explain` draws as a file is of the layer at which patches differ most, here before block 0, where none has looked at
//! another. And captions stand in the order of their axis: first the one that is explained, not the first that was given.
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a` at every layer and position: top words and ranks equal;
//! largest difference relative to the largest value 9.4e-7 for log-probabilities, 6.6e-7 for entropy, 7.2e-7
//! for divergence. Identities tested: the last layer is the model's output; entropy between 0 and the logarithm
//! of the vocabulary; divergence zero at the last layer.
//! On `clip-a`, two pictures and three captions, every layer and position of both towers by the library's hidden states: largest
//! difference 3.0e-7 for cosines, 1.1e-6 for logits up to 2.0, 3.6e-7 for probabilities. Identities tested: the last layer, where it is
//! pooled, is the model's own similarity (a classifier's own logits); captions in another order are columns in another order.
//!
//! # Reference
//! nostalgebraist: interpreting GPT: the logit lens. 2020.
//! <https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens>. On image positions:
//! Neo, Ong, Torr, Geva, Krueger, Barez, ICLR 2025. <https://arxiv.org/abs/2410.07149>. Of positions of CLIP in the shared space:
//! Zhou, Loy, Dai: Extract Free Dense Labels from CLIP, ECCV 2022, <https://arxiv.org/abs/2112.01071>, who leave out the last
//! block's attention; here the states are projected as they are.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_engine::Positions;
//! use mmlens_model::{LogitLens, logit_lens::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let lens = LogitLens::new(Settings { positions: Positions::Pictures, ..Settings::default() })?;
//! let finding = lens.run(subject, case)?;
//! println!("{:?}", finding.table("words")?.get_text(&[0, 0, 0]));
//! # Ok(())
//! # }
//! ```

mod shared;
mod streams;
mod words;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;

use mmlens_core::kind::Space;
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Case, Cost, Inputs, Leaf, On, Part, Sample,
    Subject, SubjectError,
};
use mmlens_engine::{Indices, Positions, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::tuned_lens::Translators;
use crate::check::{at_least_one, input, part_read_out, unread};
pub(super) use streams::{Held, Limits, Streams};

/// What this method is.
pub const CARD: Card = Card {
    id: "logit-lens",
    short: "logit-lens",
    name: "Logit lens",
    question: "What would the model say, at every position, if it stopped at this layer?",
    citation: "nostalgebraist: interpreting GPT: the logit lens. 2020. https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens",
    leaf: Leaf::Layer,
    cost: "1 forward, (layers + 1) x positions unembeddings",
    needs: &[Capability::AnyReadOut, Capability::OwnWords],
    misleads: &[
        "Early layers write in another basis than the unembedding reads.",
        "What is readable need not be used.",
        "At image positions the model was never trained to predict a word; of a dual encoder only the class token and the end of a caption are.",
        "Cosines of different layers have different means: compare within a layer, beside `mean cosine`.",
    ],
    first: true,
};

/// What the lens shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whose stream is read; `None` for the part that the answer is given by.
    pub part: Option<Part>,
    /// How many words at every place.
    pub top: usize,
    /// Where it looks.
    pub positions: Positions,
    /// After which blocks, and the last. Before the first block only where it is all.
    pub layers: Indices,
    /// Of a dual encoder: captions beside those of the case. One that the case has already is not taken twice.
    pub captions: Vec<String>,
    /// How many states are read out at a time.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            top: 5,
            positions: Positions::All,
            layers: Indices::All,
            captions: Vec::new(),
            rows: 32,
        }
    }
}

/// The logit lens with checked settings.
#[derive(Debug, Clone)]
pub struct LogitLens {
    settings: Settings,
    top: NonZeroUsize,
    rows: NonZeroUsize,
    /// Another method that reads states as this one does, through translators.
    tuned: Option<(&'static Card, Arc<Translators>)>,
}

impl Analysis for LogitLens {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let top = at_least_one(&CARD, "top", settings.top)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, top, rows, tuned: None })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let (part, space) = self.part(on.subject())?;
        let sample = self.sample(&case.sample, space);
        let inputs = on.encode(&sample)?;
        if space != Space::Shared {
            one_row(self.card().id, &inputs)?;
        }
        let streams = Streams::of(self.card(), on.subject(), &inputs, (part, space), &self.settings)?;
        let passes = streams.passes(&self.limits(on, &streams, &inputs)?);
        let settling = if space == Space::Shared { 0 } else { case.settling() };
        let cost = Cost::rows(settling + passes * inputs.rows());
        Ok(cost.at_once(1, on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (part, space) = self.part(on.subject())?;
        let answer = match space {
            Space::Shared => shared::answer(self, on, &self.sample(&case.sample, space), part)?,
            _ => words::answer(self, on, case, (part, space))?,
        };
        Ok(answer.settled("part", json!(part)))
    }
}

impl LogitLens {
    /// The same method under another card, which puts translators before what it reads out.
    pub(super) fn through(self, card: &'static Card, translators: Arc<Translators>) -> Self {
        Self { tuned: Some((card, translators)), ..self }
    }

    fn card(&self) -> &'static Card {
        self.tuned.as_ref().map_or(&CARD, |(card, _)| card)
    }

    /// The part whose stream is read, and what it is read out as.
    pub(super) fn part(&self, subject: &dyn Subject) -> Result<(Part, Space), AnalysisError> {
        let (part, space) = part_read_out(self.card(), subject, self.settings.part)?;
        match self.settings.captions.as_slice() {
            [] => Ok((part, space)),
            _ if space == Space::Shared => Ok((part, space)),
            all => {
                let found = format!("{} were given, and this one gives logits", all.len());
                Err(input(self.card(), "a dual encoder to compare captions", found))
            }
        }
    }

    /// The sample with the captions that are to stand beside its own.
    fn sample<'a>(&self, sample: &'a Sample, space: Space) -> Cow<'a, Sample> {
        match space {
            Space::Shared => sample.beside_captions(&self.settings.captions),
            _ => Cow::Borrowed(sample),
        }
    }

    /// How much it looks at at a time.
    pub(super) fn limits(
        &self,
        on: &On<'_>,
        streams: &Streams,
        inputs: &Inputs,
    ) -> Result<Limits, AnalysisError> {
        let said = match streams.space {
            Space::Shared => 24 * shared::compared(streams.part, inputs),
            // A reading and its words.
            _ => 24 + 16 * self.top.get(),
        };
        streams.limits((on, inputs), self.rows, said)
    }
}

/// States read out, `[rows, ...]`.
pub(super) fn read(
    card: &Card,
    subject: &dyn Subject,
    part: Part,
    states: AnyTensor,
) -> Result<AnyTensor, AnalysisError> {
    subject.read_out(part, states).map_err(|error| match error {
        SubjectError::NoReadOut { part, reason, .. } => unread(card, part, reason),
        other => other.into(),
    })
}
