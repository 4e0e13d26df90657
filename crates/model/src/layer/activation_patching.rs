//! Activation patching: which state, put back into a run that goes wrong, brings the answer back?
//!
//! # Idea
//! A clean and a corrupted prompt of equal length give the objective `f` the values `f_clean` and
//! `f_corrupted`. With the value of one place of the clean run (a site at layer `l`, position `n`) put into the
//! corrupted run, it becomes `f_l,n`:
//!
//! ```text
//! effect    = f_l,n - f_corrupted
//! recovered = (f_l,n - f_corrupted) / (f_clean - f_corrupted)
//! ```
//!
//! `recovered` is 1 where the place carries all of the difference, 0 where it carries nothing.
//!
//! # In and out
//! In: a [`Pair`]; the objective is settled by the clean case. Out, for every point `P` such as `resid_pre`:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `P` | layer, token | ratio | recovered |
//! | `P/effect` | layer, token | objective | the effect |
//! | `P/patched` | layer, token | objective | `f_l,n` |
//! | `P by answer token` | answer, layer, token | ratio | of each token of an answer its effect, as a share of `f_clean - f_corrupted` of the whole |
//! | `clean`, `corrupted` | | objective | `f_clean`, `f_corrupted` |
//! | `corrupted tokens` | token | | what the corrupted prompt has at each position |
//! | `cautions` | rank | text | that `f_clean` is below `f_corrupted`; only where it is |
//!
//! Tokens are those of the clean prompt, or of a tower its class token and patches. With groups of positions the axis holds their names instead.
//! With `heads` the tables have a third axis between these: layer, head, token.
//!
//! # Settings
//! - `part`: by default the language model, `text`, and the tower where there is none or an encoder of its own reads the words; or a
//!   tower or an encoder of questions, by its name. Positions of a tower are those of its own
//!   sequence, picture by picture and tile by tile: patches, and a class token where it has one.
//! - `points`: [`Point::ResidPre`]; also [`Point::AttnOut`] and [`Point::MlpOut`], and any other point of a
//!   block whose axes are `[batch, pos, ...]`.
//! - `places`: every position by itself ([`Places::Each`]); all positions that hold pictures or words together
//!   ([`Places::Modalities`]); all at once ([`Places::Together`]). Of a tower each of all or of some by number, or all at once.
//! - `layers`: all, or some by number ([`Indices`]).
//! - `heads`: `None`, so that a value is put back whole; all or some by number are put back one by one, at points that have heads, such
//!   as [`Point::Z`].
//! - `window`: 1. What attention, an MLP or a head adds at one layer may be made up for by the next; with `w` the values of as many layers
//!   are put back together, of layer `l` those from `l - floor(w / 2)` to `l + ceil(w / 2) - 1`, as far as there are. The stream
//!   (points `resid_*` and `normalized_*`) is put back at one layer alone, since it holds all that was written before.
//! - `rows`: 32 patches share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! # Cost
//! One pass for the clean and one for the corrupted prompt, then `points x layers x heads x positions` passes (heads only where they are asked for), each
//! from the layer it patches on and, where the subject goes on from some positions alone, from the first position it
//! patches on: on average a quarter of the language model, and the tower where it is patched. Peak memory: the streams of both runs, keys and
//! values of one, and `rows` copies of a stream.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no points, a point twice or outside blocks, no rows. Running:
//! [`AnalysisError::Input`] for states that are the same in both runs, prompts of different length or with pictures at different positions, an
//! objective that both answer alike, several rows, a position past the end, heads of points that have none or not equally many; [`AnalysisError::Setting`] for a layer or
//! head past the end; [`AnalysisError::Subject`] for a
//! point the subject does not have; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Effects hold for this pair: another corruption asks another question (Zhang, Nanda 2024, "Towards Best
//!   Practices of Activation Patching in Language Models").
//! - Redundant routes hide one another: with one patched, the other still carries the corrupted answer (Wang et
//!   al. 2023, "Interpretability in the Wild"; McGrath et al. 2023, "The Hydra Effect").
//! - The stream carries everything that passes by: a large effect at `resid_pre` says that information is
//!   there, not that this layer made it.
//! - Where the clean and the corrupted objective lie close together, `recovered` divides by little; read
//!   `P/effect`.
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a`, another picture and another question, two objectives: largest
//! difference relative to the largest value 2.2e-6 patched, 1.8e-6 recovered. Identities tested: all positions
//! of one depth of the stream give the clean run; no position gives the corrupted one; the same for any `rows`.
//!
//! # Reference
//! Meng, Bau, Andonian, Belinkov: Locating and Editing Factual Associations in GPT. NeurIPS 2022.
//! <https://arxiv.org/abs/2202.05262>. There the corruption is noise on embeddings; here it is another prompt,
//! as in Golovanevsky et al.: What Do VLMs NOTICE? NAACL 2025. <https://arxiv.org/abs/2406.16320>.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Pair};
//! use mmlens_model::{ActivationPatching, activation_patching::{Places, Settings}};
//! # fn explain(subject: &dyn mmlens_core::Subject, pair: &Pair) -> Result<(), mmlens_core::AnalysisError> {
//! let method = ActivationPatching::new(Settings { places: Places::Modalities, ..Settings::default() })?;
//! let finding = method.run(subject, pair)?;
//! println!("{:?}", finding.table("resid_pre")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Labelled, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cost, HookError, Leaf, On, Pair, Part, Point, Subject,
};
use mmlens_engine::{Indices, Measured, OpenPair, Progress, Spoken};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use super::restoring::Places;
use super::restoring::{Restoring, Run, apart};
use crate::check::{at_least_one, fit_at_once, part_with_blocks, points_of_blocks};

/// What this method is.
pub const CARD: Card = Card {
    id: "activation-patching",
    short: "patching",
    name: "Activation patching",
    question: "Which state, put back into a run that goes wrong, brings the answer back?",
    citation: "Meng, Bau, Andonian, Belinkov: Locating and Editing Factual Associations in GPT. NeurIPS 2022. https://arxiv.org/abs/2202.05262",
    leaf: Leaf::Layer,
    cost: "2 forward + points x layers (x heads) x positions forward from the layer on, in batches, without the tower",
    needs: &[Capability::AnyBlocks],
    misleads: &[
        "Effects hold for this pair of prompts.",
        "Redundant routes hide one another.",
        "A large effect in the stream says that information is there, not that this layer made it.",
    ],
    first: true,
};

/// What is patched.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Which values of a block.
    pub points: Vec<Point>,
    /// Which positions are patched together.
    pub places: Places,
    /// Of which layers.
    pub layers: Indices,
    /// Which heads, each by itself; `None` for whole values.
    pub heads: Option<Indices>,
    /// Over how many layers around each what they add is put back together.
    pub window: usize,
    /// How many patches share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            points: vec![Point::ResidPre],
            places: Places::default(),
            layers: Indices::All,
            heads: None,
            window: 1,
            rows: 32,
        }
    }
}

/// Activation patching with checked settings.
#[derive(Debug, Clone)]
pub struct ActivationPatching {
    settings: Settings,
    window: NonZeroUsize,
    rows: NonZeroUsize,
}

impl ActivationPatching {
    /// Where states are put back in a subject.
    fn restoring(&self, subject: &dyn Subject) -> Restoring<'_> {
        let Settings { part, points, places, layers, heads, .. } = &self.settings;
        let (part, heads, window) = (part_with_blocks(subject, *part), heads.as_ref(), self.window);
        Restoring { card: &CARD, part, points, places, layers, heads, window }
    }
}

impl Analysis for ActivationPatching {
    type Input = Pair;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        points_of_blocks(&CARD, &settings.points)?;
        let window = at_least_one(&CARD, "window", settings.window)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, window, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, pair: &Pair) -> Result<Cost, AnalysisError> {
        let (subject, inputs) = (on.subject(), on.encode(&pair.clean.sample)?);
        let restoring = self.restoring(subject);
        // First of all it says what is wrong with the places.
        restoring.groups(subject, &inputs)?;
        let at_once = fit_at_once(on, &inputs, &restoring.sites(subject)?)?;
        let cost = Cost::rows(pair.clean.settling() + restoring.rows(subject, &inputs, (at_once, 1, false))?);
        Ok(cost.at_once(self.rows.get(), on.row(&pair.clean, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, pair: &Pair) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let opened = OpenPair::new(&CARD, on, pair)?;
        let OpenPair { clean, corrupted, objective } = &opened;
        let restoring = self.restoring(subject);
        let (groups, places) = restoring.groups(subject, clean)?;
        let sites = restoring.sites(subject)?;
        let at_once = fit_at_once(on, clean, &sites)?;
        let spoken = Spoken::of(on, &pair.clean, clean, objective)?;
        let metrics = spoken.beside(objective);
        let each = restoring.layers(subject)?.len() * groups.len();
        let mut progress = Progress::new(on.watch(), CARD.id, self.settings.points.len() * each);
        let [run, other] = [clean, corrupted].map(|inputs| Run { subject, inputs });
        let memory = on.memory().at_most(self.rows);
        let put = restoring.put_back(
            (run, &[other]),
            (objective, &metrics),
            (&memory, at_once),
            None,
            &mut progress,
        )?;
        let swept = put.measured.into_iter().next().unwrap_or_default();
        let at_clean = put.at_clean;
        let at_corrupted = swept.first().ok_or(HookError::NoObjective)?.unedited;
        let apart = apart(&CARD, objective, (at_clean, at_corrupted))?;
        let unit = objective.unit();
        let axes = [vec![restoring.layer_axis(subject)?], places].concat();
        // Of every token as a share of the whole, so that the shares of a place add up to its own.
        let shown = |measured: &Measured| -> Result<Vec<Labelled>, AnalysisError> {
            let mut tables = Vec::new();
            for (point, patched) in self.settings.points.iter().zip(measured.values.chunks(each.max(1))) {
                let effects: Vec<f64> =
                    patched.iter().map(|score| f64::from(*score) - f64::from(measured.unedited)).collect();
                let recovered = effects.iter().map(|effect| (effect / apart) as f32).collect();
                let effects = effects.iter().map(|effect| *effect as f32).collect();
                let name = point.name();
                tables.push(Labelled::numbers(name, Unit::Ratio, axes.clone(), recovered)?);
                // The same in units of the objective.
                let effects = Labelled::numbers(format!("{name}/effect"), unit, axes.clone(), effects)?;
                let (name, patched) = (format!("{name}/patched"), patched.to_vec());
                let patched = Labelled::numbers(name, unit, axes.clone(), patched)?;
                tables.extend([effects.aside(), patched.aside()]);
            }
            Ok(tables)
        };
        let mut tables = spoken.with_each(swept.iter().map(shown))?;
        tables.push(Labelled::scalar("clean", unit, at_clean));
        tables.push(Labelled::scalar("corrupted", unit, at_corrupted));
        tables.push(opened.other_tokens()?);
        let cautions = opened.caution(at_clean, at_corrupted);
        let answer = Answer::new(tables, sites).explaining(objective).against(pair.difference());
        Ok(answer.cautioned(cautions).settled("part", json!(restoring.part)))
    }
}
