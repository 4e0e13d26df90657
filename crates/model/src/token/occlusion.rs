//! Occlusion: how much of this answer goes when a part of the picture or a word is hidden?
//!
//! # Idea
//! For an objective `f` and an input `x`, hiding a part `p` costs
//!
//! ```text
//! d_p = f(x) - f(x with p hidden)
//! ```
//!
//! Parts of a picture are windows, patches, segments of like colour or whole pictures, set to a baseline. Where windows overlap, a place
//! has the mean over the windows that cover it. Words are hidden one at a time, or one token at a time. For words this is leave-one-out.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture` | row, column; patch | objective | the drop at every place, on the original picture |
//! | `windows`, of a recording `recording windows` | row, column | objective | the drop of every window, only where windows overlap |
//! | `tokens` | token | objective | the drop of every token of the prompt that does not show a picture, or of every word; those of a given answer with `among: answer` |
//! | `objective` | | objective | `f(x)` |
//! | ... ` by answer token` | answer; as above | objective | each of these for every token of an answer, where [`each`](mmlens_core::Target::Answer) is asked for: they add up |
//!
//! `picture` has the coarsest rows and columns on which it is constant: one for each cell of a grid; parts that are no windows have a patch
//! each. Several pictures are hidden one at a time, and each has its own tables: `picture/0`, `picture/1`; patches and whole pictures are
//! one list. Cell `i` of `k` over `n` pixels begins at pixel `i n / k`, rounded down: pixels as the tower is given them, or of a picture in
//! tiles (LLaVA-NeXT, SmolVLM) those of the finest tile, counted over the whole picture. There a part is hidden in every tile that shows it
//! and in the small picture of all, at once. What fills a caption up to a fixed length (SigLIP) is no token that is hidden, though its
//! tower may read it.
//!
//! # Settings
//! - `picture`: [`Cover::Grid`] of cells (default 8 x 8), [`Cover::Sliding`] windows with a stride, high and wide in processed pixels,
//!   [`Cover::Patches`], [`Cover::Slic`], [`Cover::Whole`]; `None` leaves pictures whole, as does a sample without any.
//! - `sounds`: what is heard in the place of hidden parts of a recording: silence by default, noise of a seed as loud as the recording, or a
//!   baseline of its log-mel spectrogram. Recordings are cut as pictures are: `rows` of a grid are bands of equally many filters, `cols`
//!   stretches of time.
//! - `pixels`: the baseline of hidden pixels, by default the picture's own mean colour. On the shapes world it finds the
//!   evidence 1.6 times better than the colour that normalisation makes zero.
//! - `words`: [`Hide::Replace`] puts a baseline in the place of the token's vector at `text.blocks.0.resid_pre`, where it enters the first
//!   block (default, with zero); [`Hide::Unattended`] leaves the vector but lets nobody else attend to it, in any layer, so that nothing
//!   unusual enters the stream; `None` leaves words whole, as does a sample without any, and a model whose words an encoder of their own
//!   reads.
//! - `each`: [`Each::Token`] (default, which needs no text), [`Each::Word`], or [`Each::All`] at once.
//! - `among`: which positions are hidden, by default all that hold words.
//! - `rows`: 16 variants share a pass.
//!
//! # Cost
//! One forward pass for each part and each token, and two more: for what the others share, which gives the objective, and for the vectors
//! that baselines of words are made of. For tokens the tower does not run again: passes begin at block 0. Parts of pictures run everything. No
//! gradients. Peak memory grows with `rows`; the numbers do not depend on it beyond rounding.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for nothing to hide, a window or grid of nothing, strides that leave
//! gaps, no rows. Running: [`AnalysisError::Input`] for a sample that has neither of what is to be hidden, a grid finer than the
//! picture, segments of a clip, words where the token map has no text, a case of several rows; [`AnalysisError::Subject`];
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Hiding the position at which the answer is read (a mask, the end of a caption, the marker before an answer) takes the question away:
//!   its drop is often the largest, and is no evidence.
//! - A hole is something the model has never seen; a drop may be its surprise rather than the loss of evidence
//!   (Hooker et al. 2019, "A Benchmark for Interpretability Methods in Deep Neural Networks").
//! - Evidence that stands in two places costs nothing when either is hidden alone.
//! - Small windows miss large objects, large ones blur small ones: run two sizes.
//! - Hiding the first token or a marker of the template breaks the format, not the evidence (attention sinks:
//!   Xiao et al. 2024, "Efficient Streaming Language Models with Attention Sinks"); hiding the last token hides
//!   where the answer is read from.
//!
//! # Agreement
//! captum 0.9 on `llava-a`: cells of one patch and overlapping windows, largest difference relative to the largest drop 5.5e-6. Identities
//! tested: hiding by the values that stand there costs nothing; on an affine subject the drops of all cells add up to the drop of the whole
//! picture; the same for any `rows`. On every family each cell is a pass over the same picture with its pixels set by hand, in tiles and in
//! patches.
//!
//! # Reference
//! Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014.
//! <https://arxiv.org/abs/1311.2901>. For words: Li, Monroe, Jurafsky: Understanding Neural Networks through
//! Representation Erasure. 2016. <https://arxiv.org/abs/1612.08220>. Zeiler and Fergus use grey squares; we
//! hide by a baseline and average where windows overlap, as captum does.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{Occlusion, occlusion::{Cover, Settings}};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let picture = Some(Cover::Sliding { window: [28, 28], stride: [14, 14] });
//! let finding = Occlusion::new(Settings { picture, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?}", finding.table("picture")?.largest(3)?);
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::Labelled;
use mmlens_core::{
    Analysis, AnalysisError, Answer, Baseline, Card, Case, Copies, Cost, HookError, Inputs, Leaf, On, Plan,
    caution,
};
use mmlens_engine::{Coalition, Hiding, Measured, Positions, Progress, Spoken};
use serde::{Deserialize, Serialize};

use crate::check::at_least_one;
use crate::parts::{Called, PartSettings, Parts};

pub use crate::parts::{Cover, Each, Hide, Hush};

/// What this method is.
pub const CARD: Card = Card {
    id: "occlusion",
    short: "occlusion",
    name: "Occlusion",
    question: "How much of this answer goes when a part of the picture or a word is hidden?",
    citation: "Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014. https://arxiv.org/abs/1311.2901",
    leaf: Leaf::Token,
    cost: "2 + parts + tokens forward, in batches; tokens without the tower",
    needs: &[],
    misleads: &[
        "A hole is something the model has never seen.",
        "Evidence that stands in two places costs nothing when either is hidden alone.",
        "The size of the window decides what can be found.",
        "Hiding the position at which the answer is read takes the question away, and no evidence.",
    ],
    first: true,
};

/// What is hidden, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How pictures are cut; `None` leaves them whole, as does a sample without any.
    pub picture: Option<Cover>,
    /// What stands in the place of hidden pixels.
    pub pixels: Baseline,
    /// What is heard in the place of absent parts of recordings.
    pub sounds: Hush,
    /// How words are hidden; `None` leaves them whole, as does a sample without any, and one whose words an encoder of its own reads.
    pub words: Option<Hide>,
    /// What of the words is hidden at once.
    pub each: Each,
    /// Which positions are words to hide.
    pub among: Positions,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            picture: Some(Cover::Grid { rows: 8, cols: 8 }),
            pixels: Baseline::Mean,
            sounds: Hush::Silence,
            words: Some(Hide::Replace(Baseline::Zero)),
            each: Each::Token,
            among: Positions::Words,
            rows: 16,
        }
    }
}

impl Settings {
    fn part_settings(&self) -> PartSettings<'_> {
        let Self { picture, pixels, sounds, words, each, among, .. } = self;
        let (card, picture, words, each) = (&CARD, *picture, words.as_ref(), *each);
        PartSettings { card, picture, pixels, sounds, words, each, among }
    }
}

/// Occlusion with checked settings.
#[derive(Debug, Clone)]
pub struct Occlusion {
    settings: Settings,
    rows: NonZeroUsize,
}

impl Occlusion {
    fn parts(&self, on: &On<'_>, case: &Case, inputs: &Inputs) -> Result<Parts, AnalysisError> {
        self.settings.part_settings().of(on.subject(), case, inputs)
    }
}

impl Analysis for Occlusion {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.part_settings().check()?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let parts = self.parts(on, case, &inputs)?;
        let cost = Cost::rows(case.settling() + 1 + parts.settling() + parts.units.len());
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let parts = self.parts(on, case, &inputs)?;
        let memory = on.memory().at_most(self.rows);
        let plan = Plan::new().objective(&objective);
        memory.hold(CARD.id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let units = parts.units.clone();
        let hiding = Hiding::new(subject, &case.sample, &inputs, units).map_err(|error| error.of(CARD.id))?;
        let count = hiding.units().len();
        let without: Vec<Coalition> = (0..count).map(|part| Coalition::all(count).without(part)).collect();
        let mut progress = Progress::new(on.watch(), CARD.id, count);
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let metrics = spoken.beside(&objective);
        let measured = hiding.measure(&metrics, &without, &memory, &mut progress)?;
        let called = Called { picture: "picture", tokens: "tokens" };
        let drops = |measured: &Measured| -> Vec<f32> {
            measured.values.iter().map(|score| measured.unedited - score).collect()
        };
        let tables = |measured: &Measured| -> Result<Vec<Labelled>, AnalysisError> {
            let mut tables = parts.tables(&called, objective.unit(), &drops(measured))?;
            tables.push(Labelled::scalar("objective", objective.unit(), measured.unedited));
            Ok(tables)
        };
        let tables = spoken.with_each(measured.iter().map(tables))?;
        let whole = measured.first().ok_or(HookError::NoObjective)?;
        let all = drops(whole);
        let rounding = |(kind, own): (&str, Vec<usize>)| {
            let own: Vec<f32> = own.iter().filter_map(|part| all.get(*part).copied()).collect();
            let what =
                if kind == "words" { "drops of words".to_owned() } else { format!("drops of the {kind}") };
            caution::rounding(&own, (objective.unit(), whole.unedited), &what)
        };
        let cautions: Vec<_> = parts.by_kind().into_iter().filter_map(rounding).collect();
        let answer = Answer::new(tables, parts.sites()).explaining(&objective).against(hiding.baseline());
        let answer = answer.cautioned(hiding.louder()?);
        Ok(answer.cautioned(cautions))
    }
}
