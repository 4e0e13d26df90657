//! Layer skipping: which layers act, and which could be left out for this answer?
//!
//! # Idea
//! A block reads the stream `h_l` and leaves `h_(l+1)`. How far it turns what passes through is its influence, and how much the answer needs
//! it is what becomes of the objective `f` if the stream goes past it:
//!
//! ```text
//! influence[l] = 1 - mean over positions of  cos(h_l, h_(l+1))
//! change[l]    = f where h_l is what leaves block l + w - 1, less f
//! ```
//!
//! With a window `w` above one as many blocks are left out at once.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `change` | layer | objective | what leaving out the window that begins at a layer does; also by answer token |
//! | `influence` | layer | ratio | of each layer in such a window, by itself |
//! | `influence by position` | layer, token | ratio | the same at every position of a prompt |
//! | `objective` | | objective | with nothing left out |
//! | `cautions` | rank | text | changes that are zero or rounding |
//!
//! # Settings
//! - `part`: the language model; where an encoder of its own reads the words, or there is none, the tower ([`Part`]).
//! - `window`: 1 layer at a time.
//! - `layers`: all windows, or those that begin at some layers, by number ([`Indices`]).
//! - `rows`: 16 variants share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! # Cost
//! Two forward passes, then one for each window, from the block behind it on; the tower runs again where it is skipped in. Peak memory: the
//! stream before and behind as many layers as half of the memory holds.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no window, no rows. Running: [`AnalysisError::Input`] for a part without blocks or fewer blocks than
//! the window has, several rows; [`AnalysisError::Setting`] for a layer past the last window; [`AnalysisError::Subject`];
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Skipping puts a stream before a layer that it was never trained on; a large change can mean that the next layer cannot read it.
//! - Redundant layers hide one another: each alone may be left out, and both together not. Raise `window`.
//! - A small influence need not be useless: what a layer writes may be short and decisive. Read `change`.
//! - The first blocks nearly always have a large influence: embeddings are short beside what they write.
//!
//! # Agreement
//! torch with hooks of its own, on `llava-a`, `gpt2-a` (words alone) and the tower of `clip-a`: largest difference relative to the largest value 1.2e-6 for changes, 3.6e-7 for influences.
//! Identities tested: a block whose output projections are zero has no influence and no change; skipping from the first to the last layer
//! gives what the embedding alone says; the same for any `rows`.
//!
//! # Reference
//! Men et al.: ShortGPT: Layers in Large Language Models are More Redundant Than You Expect. 2024. <https://arxiv.org/abs/2403.03853>
//! (block influence); Gromov et al.: The Unreasonable Ineffectiveness of the Deeper Layers. ICLR 2025.
//! <https://arxiv.org/abs/2403.17887> (windows, by angles). They measure perplexity over a corpus; here it is one answer.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::layer_skipping::{LayerSkipping, Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = LayerSkipping::new(Settings::default())?.run(subject, case)?;
//! println!("{:?}", finding.table("change")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Case, Copies, Cost, HookError, Leaf, On,
    Part, Plan, Point, Site, Subject, caution, kind,
};
use mmlens_engine::{
    Edit, Indices, Measured, Progress, Spoken, Sweep, held, label, of_range, one_row, row_cosines,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, fit_at_once, given, part_with_blocks, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "layer-skipping",
    short: "skip",
    name: "Layer skipping",
    question: "Which layers act, and which could be left out for this answer?",
    citation: "Men et al.: ShortGPT: Layers in Large Language Models are More Redundant Than You Expect. 2024. https://arxiv.org/abs/2403.03853",
    leaf: Leaf::Layer,
    cost: "2 forward + layers x forward from the layer on, in batches",
    needs: &[Capability::AnyBlocks],
    misleads: &[
        "Skipping puts a stream before a layer that it was never trained on.",
        "Redundant layers hide one another.",
        "A small influence may be decisive.",
    ],
    first: false,
};

/// What is left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// How many layers at once.
    pub window: usize,
    /// Where windows begin.
    pub layers: Indices,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { part: None, window: 1, layers: Indices::All, rows: 16 }
    }
}

/// Layer skipping with checked settings.
#[derive(Debug, Clone)]
pub struct LayerSkipping {
    settings: Settings,
    window: NonZeroUsize,
    rows: NonZeroUsize,
}

impl LayerSkipping {
    /// The layers at which windows begin, and how many could.
    fn begins(&self, subject: &dyn Subject, part: Part) -> Result<(Vec<usize>, usize), AnalysisError> {
        Capability::Blocks(part).check(&CARD, subject)?;
        let (blocks, window) = (kind::blocks(subject, part), self.window.get());
        let of = (blocks + 1).saturating_sub(window);
        if of == 0 {
            return Err(setting(
                &CARD,
                "window",
                format!("{window}, of {blocks} layers"),
                "no more than there are",
            ));
        }
        Ok((self.settings.layers.chosen(CARD.id, "layers", of)?, of))
    }

    /// The layers that lie in windows which begin there.
    fn covered(&self, begins: &[usize]) -> Vec<usize> {
        let all: BTreeSet<usize> = begins.iter().flat_map(|from| *from..from + self.window.get()).collect();
        all.into_iter().collect()
    }
}

impl Analysis for LayerSkipping {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let window = at_least_one(&CARD, "window", settings.window)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, window, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let (subject, inputs) = (on.subject(), on.encode(&case.sample)?);
        let part = part_with_blocks(subject, self.settings.part);
        let (begins, _) = self.begins(subject, part)?;
        let covered = self.covered(&begins);
        let chunks = covered.len().div_ceil(fit_at_once(on, &inputs, &streams(part, &covered))?.div_ceil(2));
        let cost = Cost::rows(case.settling() + 2 * chunks + begins.len());
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let part = part_with_blocks(subject, self.settings.part);
        let (begins, of) = self.begins(subject, part)?;
        given(&CARD, &inputs, part)?;
        let covered = self.covered(&begins);
        let at_once = fit_at_once(on, &inputs, &streams(part, &covered))?.div_ceil(2);
        let memory = on.memory().at_most(self.rows);
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let metrics = spoken.beside(&objective);
        let mut progress = Progress::new(on.watch(), CARD.id, begins.len());
        let (mut measured, mut turned): (Vec<Measured>, Vec<Vec<f32>>) = (Vec::new(), Vec::new());
        for range in mmlens_engine::batches(covered.len(), at_least_one(&CARD, "layers", at_once)?) {
            let some = of_range(&covered, range)?;
            let mut plan = Plan::new();
            for site in streams(part, some) {
                plan = plan.read(site)?;
            }
            memory.hold(CARD.id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
            let trace = subject.run(&inputs, plan)?;
            let mut variants = Vec::with_capacity(some.len());
            for layer in some {
                let [before, behind] = around(part, *layer);
                turned.push(apart(trace.get(before)?, trace.get(behind)?)?);
                if !begins.contains(layer) {
                    continue;
                }
                let last = Site::block(part, layer + self.window.get() - 1, Point::ResidPost);
                variants.push(vec![Edit::set(last, trace.get(before)?.clone())]);
            }
            let kept = held(&trace);
            drop(trace);
            if variants.is_empty() {
                continue;
            }
            let sweep = Sweep::of(vec![Axis::count(Role::Layer, variants.len())], variants)?;
            let sweep = metrics.iter().fold(sweep, |sweep, metric| sweep.measure(metric.clone()));
            let found = sweep.run(subject, &inputs, &memory.less(kept), &mut progress)?.measured;
            match measured.is_empty() {
                true => measured = found,
                false => {
                    measured.iter_mut().zip(found).for_each(|(all, some)| all.values.extend(some.values));
                }
            }
        }
        let layer = Indices::axis(Role::Layer, &begins, of);
        let unit = objective.unit();
        let changes = |measured: &Measured| -> Vec<f32> {
            let whole = f64::from(measured.unedited);
            measured.values.iter().map(|score| (f64::from(*score) - whole) as f32).collect()
        };
        let shown = |measured: &Measured| -> Result<Vec<Labelled>, AnalysisError> {
            Ok(vec![
                Labelled::numbers("change", unit, vec![layer.clone()], changes(measured))?,
                Labelled::scalar("objective", unit, measured.unedited),
            ])
        };
        let mut tables = spoken.with_each(measured.iter().map(shown))?;
        let whole = measured.first().ok_or(HookError::NoObjective)?;
        let caution = caution::rounding(&changes(whole), (unit, whole.unedited), "changes");
        let mean = |own: &Vec<f32>| {
            (own.iter().map(|v| f64::from(*v)).sum::<f64>() / own.len().max(1) as f64) as f32
        };
        let means = turned.iter().map(mean).collect();
        let layer = Indices::axis(Role::Layer, &covered, kind::blocks(subject, part));
        tables.push(Labelled::numbers("influence", Unit::Ratio, vec![layer.clone()], means)?);
        if part == Part::Text {
            let axes = vec![layer, label::token_axis(map)];
            let each = Labelled::numbers("influence by position", Unit::Ratio, axes, turned.concat())?;
            tables.push(each.aside());
        }
        let answer = Answer::new(tables, streams(part, &covered)).explaining(&objective).cautioned(caution);
        Ok(answer.settled("part", json!(part)))
    }
}

/// The stream before and behind a block.
fn around(part: Part, layer: usize) -> [Site; 2] {
    [Point::ResidPre, Point::ResidPost].map(|point| Site::block(part, layer, point))
}

fn streams(part: Part, layers: &[usize]) -> Vec<Site> {
    layers.iter().flat_map(|layer| around(part, *layer)).collect()
}

/// One less the cosine of each position before and behind.
fn apart(before: &AnyTensor, behind: &AnyTensor) -> Result<Vec<f32>, HookError> {
    Ok(row_cosines(before, behind)?.into_iter().map(|cosine| 1.0 - cosine).collect())
}
