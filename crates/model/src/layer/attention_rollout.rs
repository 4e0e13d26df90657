//! Attention rollout: along which path of attention could words and patches have reached this answer?
//!
//! # Idea
//! With `A_l` the attention weights of layer `l`, its heads fused into one matrix, and `r` the share of the
//! stream that passes the layer by,
//!
//! ```text
//! A~_l = rownorm( (1 - r) fuse(A_l) + r I )        R = A~_L ... A~_2 A~_1
//! ```
//!
//! Row `i` of `R` says which positions of the input position `i` is mixed of after all layers, in shares that
//! sum to one. The row of the position that the answer is read at says it of the answer: the last, that of the objective where
//! it has one of its own (a masked word), or the one that a caption is read at; of a phrase the mean of the rows that decide its tokens. Its shares on image positions are carried on
//! through the rollout of the tower, whose patches lie on the picture: the two are one product. Of a dual encoder, whose
//! text shows no picture, the tower's rollout begins with what its one vector is pooled from: the class token, or the
//! patches as attention weighs them. So does that of a classifier, which has no language model.
//!
//! # In and out
//! In: a [`Case`] of one row; of its objective nothing matters but the position. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `text` | query, key | ratio | rollout of the language model |
//! | `tokens` | token | ratio | its row of the answer |
//! | `picture` | patch | ratio | that row on image positions, each on its own patch |
//! | `by modality` | concept | ratio | its shares by kind: text, image, special markers |
//! | `sinks` | token | ratio | where sinks are left out: of each position the share of heads to which it is one |
//! | `cautions` | rank | text | that nearly all shares lie on the first token; only where they do |
//! | `vision` | query, key | ratio | rollout of the tower, as far as it is read |
//! | `picture through the tower` | patch | ratio | the shares on image positions, carried through the tower |
//! | `outside the patches` | | ratio | what of them ends on a class token |
//!
//! The last three only for a subject with a tower of blocks, tables of pictures only for a sample with one, the others only for
//! a subject with a language model. Several pictures have their own: `vision/0`, `picture through the tower/0` and so on; `picture`
//! holds all. Where the tower reads all pictures as one sequence (Qwen-VL), they share one table, nothing ends outside the
//! patches, and patches that are merged into one position share alike. Where the class token is shown to the language model, too
//! (`vision_feature_select_strategy` `full`), it counts as image in `by modality`, is carried on, and is left out of `picture`.
//!
//! # Settings
//! - `residual`: 0.5, as in the paper: the stream counts as much as what a layer adds.
//! - `fusion`: how heads become one: their mean, as in the paper; [`Heads::Max`] and [`Heads::Min`] follow vision practice.
//! - `sinks`: `keep`, as in the paper. A trained decoder lets attention rest on its first token wherever there is nothing to be taken, and
//!   rollout takes it for flow: on SmolLM2 that token gets nearly everything whatever is asked (`docs/words.md`).
//!   `leave-out` takes what attention gives to sinks of the language model as given to nobody: their columns count as zero before rows are divided
//!   by their sums. A position is a sink if it is one to more than half of the heads of all layers, and it is one to a head if the other positions
//!   that look at it give it more than `above` of their attention in the mean.
//! - `above`: 0.3, as in Gu et al. 2025.
//! - `whole`: 2048. `text` and `vision`, the whole rollout, are made of parts of up to so many positions; of larger ones the
//!   finding has what is read off them, which is carried through the layers instead.
//!
//! # Cost
//! A forward pass with explicit attention for each part, and one more of the language model to find its sinks. Of a tower the blocks that are read. Layers are mixed as the pass reaches them, some queries at a time, so that no more than some rows of one layer's
//! weights are held. Up to `whole` positions `P` the product costs `L P^3`, and memory for two of its matrices. Beyond, shares
//! are carried from the last layer to the first, each from a state that was kept before it: `L P^2`, two passes in all and
//! memory for the states, or more passes where the memory it may take ([`On::within`](mmlens_core::On::within)) holds only some of them.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for a residual share outside 0 to 1. Running: [`AnalysisError::Input`]
//! for a case of several rows, a subject without attention, with cross-attention or with pictures in tiles; [`AnalysisError::Subject`];
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Weights are not contributions: a position with a small value vector adds little however much it is
//!   attended to (Kobayashi et al. 2020, "Attention is Not Only a Weight"), and other weights may give the same
//!   answer (Jain, Wallace 2019, "Attention is not Explanation").
//! - It knows no sign and no target: it is the same for every answer (Chefer, Gur, Wolf 2021, "Transformer
//!   Interpretability Beyond Attention Visualization").
//! - With causal attention early positions gather shares through every path; much of a first token's share is a
//!   sink, not meaning (Xiao et al. 2024, "Efficient Streaming Language Models with Attention Sinks"). More than nine tenths on the first token are
//!   spoken of. Without sinks the shares go to those that are next in line: early positions still see more paths than late ones.
//! - Projectors between tower and language model are taken as the identity on positions.
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a`, tower (all blocks, and those that are read) and language
//! model: largest difference relative to the largest share 4.4e-7; through the tower 6.6e-7. Without sinks in NumPy: 3.9e-7. Identities tested:
//! rows sum to one for every setting; uniform layers give the value worked out by hand; nothing flows backwards
//! in a causal model.
//!
//! # Reference
//! Abnar, Zuidema: Quantifying Attention Flow in Transformers. ACL 2020. <https://arxiv.org/abs/2005.00928>.
//! Sinks: Gu et al.: When Attention Sink Emerges in Language Models: An Empirical View. ICLR 2025. <https://arxiv.org/abs/2410.10781>; a position's weight
//! on itself is left out here, and that what sinks are given counts for nobody is ours. The composition of language model and tower is ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::AttentionRollout;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = AttentionRollout::default().run(subject, case)?;
//! println!("{:?}", finding.table("by modality")?.as_numbers());
//! # Ok(())
//! # }
//! ```

mod through;

use std::collections::BTreeMap;

use mmlens_core::finding::{Axis, Labelled, Labels, Modality, PatchLabel, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, HookError, Inputs, Leaf, Memory, On, Part,
    Point, Site, Subject, TokenMap, caution, kind,
};
use mmlens_engine::{Flow, FlowSettings, Heads, Mixing, Positions, Progress, Spoken, label, one_row, sinks};
use serde::{Deserialize, Serialize};

use self::through::{pictures, pooled, recordings};
use crate::check::{blocks_read, input, passes_of_reading, read_from, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "attention-rollout",
    short: "rollout",
    name: "Attention rollout",
    question: "Along which path of attention could words and patches have reached this answer?",
    citation: "Abnar, Zuidema: Quantifying Attention Flow in Transformers. ACL 2020. https://arxiv.org/abs/2005.00928",
    leaf: Leaf::Layer,
    cost: "1 forward with explicit attention, 1 to 2 of the tower",
    needs: &[Capability::SelfAttention, Capability::Attention, Capability::Answer],
    misleads: &[
        "Weights are not contributions.",
        "It knows no sign and no target: answers that are read at the same positions have the same.",
        "Early positions gather shares; the first token is often a sink.",
    ],
    first: true,
};

/// How layers become shares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The share of the stream that passes a layer by, from 0 to 1.
    pub residual: f32,
    /// How heads become one.
    pub fusion: Heads,
    /// What becomes of positions of the language model that attention rests on.
    pub sinks: Sinks,
    /// A position is a sink to a head that gives it more than this share of the attention of those that look at it.
    pub above: f32,
    /// The whole rollout of a part is made up to so many positions.
    pub whole: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { residual: 0.5, fusion: Heads::Mean, sinks: Sinks::Keep, above: 0.3, whole: 2048 }
    }
}

/// What becomes of positions that attention rests on where it is not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sinks {
    /// They are positions like others.
    #[default]
    Keep,
    /// What they are given counts as given to nobody.
    LeaveOut,
}

/// A position is a sink if it is one to more than this share of the heads.
const MOST_HEADS: f32 = 0.5;

/// Attention rollout with checked settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionRollout {
    settings: Settings,
}

impl AttentionRollout {
    /// How shares flow, but for positions that are left out.
    fn flowing(&self, on: &On<'_>, without: Vec<usize>) -> FlowSettings {
        let Settings { residual, fusion, whole, .. } = self.settings;
        let mixing = Mixing { heads: fusion, residual, without };
        FlowSettings { mixing, whole, memory: on.memory(), method: CARD.id }
    }
}

impl Analysis for AttentionRollout {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        if !(0.0..=1.0).contains(&settings.residual) {
            return Err(setting(&CARD, "residual", settings.residual, "a share lies between 0 and 1"));
        }
        if !(0.0..=1.0).contains(&settings.above) {
            return Err(setting(&CARD, "above", settings.above, "a share lies between 0 and 1"));
        }
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let (subject, inputs) = (on.subject(), on.encode(&case.sample)?);
        // One pass where the product of the layers is made; else one that keeps states, and one for each layer.
        let flow = |part: Part| -> Result<usize, AnalysisError> {
            let sites = patterns(subject, part);
            let Some(first) = sites.first() else { return Ok(0) };
            let positions = subject.dims(&inputs, *first)?.last().copied().unwrap_or(0);
            Ok(if positions <= self.settings.whole { 1 } else { 1 + sites.len() })
        };
        let sunk = self.settings.sinks == Sinks::LeaveOut && !patterns(subject, Part::Text).is_empty();
        let text = match flow(Part::Text)? {
            0 => 0,
            passes => passes + usize::from(sunk) + passes_of_reading(subject, &on.form(case, &inputs)?),
        };
        let publishes = |part, point| kind::has(subject, Site::of(part, point));
        let mut seen = 0;
        for part in inputs.towers() {
            seen += match flow(part)? {
                0 => 0,
                passes => passes + usize::from(publishes(part, Point::PoolPattern)),
            };
        }
        let cost = Cost::rows((text + seen) * inputs.rows());
        let mut taken = on.row(case, &inputs, &[])?.bytes;
        for part in [Part::Text].into_iter().chain(inputs.towers()) {
            let sites = patterns(subject, part);
            if !sites.is_empty() {
                taken = taken.saturating_add(Flow::taken(
                    subject,
                    &inputs,
                    &sites,
                    self.flowing(on, Vec::new()),
                )?);
            }
        }
        Ok(cost.taking(taken, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let inputs = on.encode(&case.sample)?;
        let map = one_row(CARD.id, &inputs)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 2);
        let text = patterns(subject, Part::Text);
        let tower = |part: Part| {
            let mut sites = patterns(subject, part);
            sites.truncate(blocks_read(subject, part));
            (part, sites)
        };
        // A tower whose positions the language model looks at from outside, with nothing that pools them, hands nothing on that could be carried.
        let told = |part: &Part| {
            *part == Part::Vision || !Positions::Recordings.of(map).unwrap_or_default().is_empty()
        };
        let towers: Vec<(Part, Vec<Site>)> =
            inputs.towers().filter(told).map(tower).filter(|(_, sites)| !sites.is_empty()).collect();
        if text.is_empty() && towers.is_empty() {
            return Err(input(&CARD, "a subject with attention", "this one publishes none"));
        }
        progress.advance(1)?;
        let sites: Vec<Site> =
            towers.iter().map(|(_, sites)| sites).chain([&text]).flatten().copied().collect();
        let sunk = self.sunk(subject, &inputs, &text, &on.memory())?;
        let flow = |sites: Vec<Site>, without: Vec<usize>| {
            let settings = self.flowing(on, without);
            (!sites.is_empty()).then(|| Flow::through(subject, &inputs, sites, settings)).transpose()
        };
        // The shares that reach the answer: of all its tokens the mean, then those of each.
        let (mut text_flow, mut last, mut spoken) = (None, Vec::new(), Spoken::none());
        let without = sunk.iter().enumerate().filter(|(_, share)| **share > MOST_HEADS);
        let without = without.map(|(at, _)| at).collect();
        if let Some(decoder) = flow(text, without)? {
            let objective = on.form(case, &inputs)?;
            let len = decoder.positions();
            let reached = |at: usize| -> Result<Vec<f32>, AnalysisError> {
                let mut end = vec![0.0; len];
                *end.get_mut(at).ok_or(HookError::Objective { what: "position", index: at, len })? = 1.0;
                Ok(decoder.carry(&[end])?.concat())
            };
            let read = read_from(&CARD, subject, &inputs, &objective)?;
            let each: Vec<Vec<f32>> = read.into_iter().map(reached).collect::<Result<_, _>>()?;
            spoken = Spoken::of(on, case, &inputs, &objective)?;
            last.push(mean(&each));
            // Tokens are decided one position after the other, as their objectives stand.
            last.extend(each.into_iter().take(spoken.objectives().len()));
            text_flow = Some(decoder);
        }
        let mut flows = Vec::new();
        for (part, sites) in towers {
            if let Some(tower) = flow(sites, Vec::new())? {
                let pooled = match part {
                    Part::Vision => pooled(subject, &inputs, map, &tower)?,
                    _ => None,
                };
                flows.push((part, tower, pooled));
            }
        }
        if flows.iter().any(|(.., pooled)| pooled.is_none()) && last.is_empty() {
            let found = "the language model of this one publishes none";
            return Err(input(&CARD, "attention of what looks at the image positions", found));
        }
        progress.advance(1)?;
        let shown = |carried: &Vec<f32>| -> Result<Vec<Labelled>, AnalysisError> {
            let mut tables = match &text_flow {
                Some(decoder) => words(map, decoder, carried)?,
                None => Vec::new(),
            };
            for (part, tower, pooled) in &flows {
                match (part, pooled) {
                    (_, Some(pooled)) => tables.extend(pooled.iter().cloned()),
                    (Part::Audio, None) => tables.extend(recordings(&inputs, map, carried, tower)?),
                    (_, None) => tables.extend(pictures(&inputs, map, carried, tower)?),
                }
            }
            // On the picture first, where something is said of it; whole matrices are kept beside.
            let place = |table: &Labelled| match table.quantity().as_str() {
                "picture through the tower" | "outside the patches" => 0,
                "recording through the tower" | "outside the recording" => 0,
                "tokens" | "by modality" => 1,
                _ => 2,
            };
            tables.sort_by_key(place);
            let aside = |table: Labelled| if place(&table) == 2 { table.aside() } else { table };
            Ok(tables.into_iter().map(aside).collect())
        };
        if last.is_empty() {
            last.push(Vec::new());
        }
        let mut tables = spoken.with_each(last.iter().map(shown))?;
        if self.settings.sinks == Sinks::LeaveOut && text_flow.is_some() {
            tables.push(Labelled::numbers("sinks", Unit::Ratio, vec![label::token_axis(map)], sunk)?);
        }
        let instead = match self.settings.sinks {
            Sinks::Keep => {
                ": attention rests there where there is nothing to be taken; `sinks` = `leave-out` counts that for nobody"
            }
            Sinks::LeaveOut => ", even without sinks",
        };
        let caution = last.first().and_then(|shares| caution::sink(shares, &map.tokens, instead));
        Ok(Answer::new(tables, sites).cautioned(caution))
    }
}

impl AttentionRollout {
    /// Of every position the share of heads to which it is a sink, where that is asked for.
    fn sunk(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        sites: &[Site],
        memory: &Memory,
    ) -> Result<Vec<f32>, AnalysisError> {
        match self.settings.sinks {
            Sinks::LeaveOut if !sites.is_empty() => {
                sinks(subject, inputs, sites, self.settings.above, (memory, CARD.id))
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// The mean of shares, position by position.
fn mean(each: &[Vec<f32>]) -> Vec<f32> {
    let [first, others @ ..] = each else { return Vec::new() };
    if others.is_empty() {
        return first.clone();
    }
    let sum =
        |at: usize| each.iter().filter_map(|own| own.get(at)).map(|share| f64::from(*share)).sum::<f64>();
    (0..first.len()).map(|at| (sum(at) / each.len() as f64) as f32).collect()
}

fn patterns(subject: &dyn Subject, part: Part) -> Vec<Site> {
    let pattern = |site: &Site| site.part() == part && site.point() == Point::Pattern;
    subject.sites().iter().map(|spec| spec.site).filter(pattern).collect()
}

/// What the language model's rollout says by itself.
fn words(map: &TokenMap, decoder: &Flow<'_>, last: &[f32]) -> Result<Vec<Labelled>, AnalysisError> {
    let axis = |role| Axis::new(role, Labels::Tokens(map.tokens.clone()));
    let mut tables = Vec::new();
    if let Some(matrix) = decoder.matrix(0) {
        let pairs = vec![axis(Role::Query), axis(Role::Key)];
        tables.push(Labelled::numbers("text", Unit::Ratio, pairs, matrix.to_vec())?);
    }
    tables.push(Labelled::numbers("tokens", Unit::Ratio, vec![label::token_axis(map)], last.to_vec())?);
    let labelled = map.tokens.iter().zip(last);
    for (name, heard) in [("picture", false), ("recording", true)] {
        let own = |patch: &PatchLabel| map.sound(patch.image).is_some() == heard;
        let (patches, shares): (Vec<_>, Vec<_>) =
            labelled.clone().filter_map(|(t, share)| Some((t.patch.filter(own)?, *share))).unzip();
        if !patches.is_empty() {
            let axes = vec![label::patch_axis(map, patches)];
            tables.push(Labelled::numbers(name, Unit::Ratio, axes, shares)?);
        }
    }
    let mut kinds: BTreeMap<Modality, f32> = BTreeMap::new();
    for (token, share) in labelled {
        *kinds.entry(token.modality).or_default() += share;
    }
    let names = Axis::names(Role::Concept, kinds.keys().map(|kind| format!("{kind:?}").to_lowercase()));
    tables.push(Labelled::numbers("by modality", Unit::Ratio, vec![names], kinds.into_values().collect())?);
    Ok(tables)
}
