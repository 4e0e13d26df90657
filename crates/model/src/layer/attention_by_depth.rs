//! Attention by depth: who looks at whom in each layer, how evenly, and how far?
//!
//! # Idea
//! With `A[l, h, q, k]` the attention weights, and the positions of a prompt of kinds (pictures, words, markers),
//!
//! ```text
//! shares[l, F, T]  = mean over h and over q in F of the sum over k in T of A[l, h, q, k]
//! entropy[l, h]    = mean over q of -sum over k of A ln A
//! distance[l, h]   = mean over q of  sum over k of A |q - k|
//! ```
//!
//! Beside each stands what attention would have that lies evenly over the positions a query sees (with a weight above zero in some
//! head): where the picture is long and comes first, even attention falls on it, too.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `shares` | layer, query, key | ratio | how much a kind of positions (query) gives to each kind (key); rows sum to one |
//! | `entropy` | layer, head | nat | how evenly a head looks |
//! | `distance` | layer, head | count | how many positions away |
//! | `even shares` | layer, query, key | ratio | the same of even attention |
//! | `even entropy`, `even distance` | layer | nat, count | the same |
//!
//! # Settings
//! - `part`: the language model; where it has no attention, or an encoder of its own reads the words, the tower ([`Part`]). Of a tower
//!   the kinds are `image` and, where it has a class token, `special`; several pictures are taken together.
//! - `layers`: all, or some by number ([`Indices`]).
//!
//! # Cost
//! One forward pass with explicit attention, some queries at a time; nothing of the size of a pattern is held.
//!
//! # Errors
//! Running: [`AnalysisError::Input`] for a subject or part without attention, or a sample of several rows; [`AnalysisError::Setting`] for a layer
//! past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Weights are not contributions, and a first token that serves as a sink is counted as a marker or a word that is looked at.
//! - Means over queries hide the few at which something happens; [`attention_maps`](crate::token::attention_maps) has them one by one.
//! - Early queries of a causal decoder see little, so that their entropy is small whatever they do: compare with `even entropy`.
//!
//! # Agreement
//! NumPy on transformers' weights of `llava-a`: largest difference relative to the largest value 1.2e-7. Identities tested: rows of
//! `shares` sum to one; even attention has what stands as even; the same whether a pattern comes at once or query by query.
//!
//! # Reference
//! Aflalo et al.: VL-InterpreT. CVPR 2022. <https://arxiv.org/abs/2203.17247> (shares between modalities by layer); Zhang et al.: From
//! Redundancy to Relevance. NAACL 2025. <https://arxiv.org/abs/2406.06579>; Clark et al.: What Does BERT Look At? BlackboxNLP 2019.
//! <https://arxiv.org/abs/1906.04341> (entropy). What even attention has is ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::AttentionByDepth;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = AttentionByDepth::default().run(subject, case)?;
//! println!("{:?}", finding.table("shares")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use mmlens_core::finding::{Axis, Labelled, Labels, Modality, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Inputs, Leaf, On, Part, Point, Site,
    Subject, kind,
};
use mmlens_engine::{Gaze, Indices, Kinds, Progress, gazes, label, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{given, input, part_with_attention};

/// What this method is.
pub const CARD: Card = Card {
    id: "attention-by-depth",
    short: "depth",
    name: "Attention by depth",
    question: "Who looks at whom in each layer, how evenly, and how far?",
    citation: "Aflalo et al.: VL-InterpreT: An Interactive Visualization Tool for Interpreting Vision-Language Transformers. CVPR 2022. https://arxiv.org/abs/2203.17247",
    leaf: Leaf::Layer,
    cost: "1 forward with explicit attention",
    needs: &[Capability::Attention],
    misleads: &[
        "Weights are not contributions; a sink is looked at without being used.",
        "Means over queries hide the few at which something happens.",
        "Early queries see little: compare with even attention.",
    ],
    first: false,
};

/// Of what.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where it does not look at words itself, the tower.
    pub part: Option<Part>,
    /// In which layers.
    pub layers: Indices,
}

/// Attention by depth with checked settings.
#[derive(Debug, Clone, Default)]
pub struct AttentionByDepth {
    settings: Settings,
}

impl Analysis for AttentionByDepth {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let cost = Cost::rows(inputs.rows());
        Ok(cost.taking(on.row(case, &inputs, &[])?.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, part) = (on.subject(), part_with_attention(&CARD, on.subject(), self.settings.part)?);
        let inputs = on.encode(&case.sample)?;
        let each = kinds(subject, &inputs, part)?;
        let mut all = each.clone();
        all.sort_unstable();
        all.dedup();
        let number = |kind: &Modality| all.iter().position(|own| own == kind).unwrap_or(0);
        let kinds = Kinds { of: each.iter().map(number).collect(), count: all.len() };
        let of = kind::blocks(subject, part);
        let layers = self.settings.layers.chosen(CARD.id, "layers", of)?;
        let sites: Vec<Site> = layers.iter().map(|layer| Site::block(part, *layer, Point::Pattern)).collect();
        let mut progress = Progress::new(on.watch(), CARD.id, 1);
        let seen = gazes(subject, &inputs, &sites, &kinds, (&on.memory(), CARD.id))?;
        progress.advance(1)?;
        let names = || all.iter().map(|kind| format!("{kind:?}").to_lowercase());
        let layer = Indices::axis(Role::Layer, &layers, of);
        let heads = seen.first().map_or(0, |[own, _]| own.entropy.len());
        let by_head = vec![layer.clone(), Axis::count(Role::Head, heads)];
        let between = vec![layer.clone(), Axis::names(Role::Query, names()), Axis::names(Role::Key, names())];
        let table = |name: &str, unit, axes: &[Axis], of: fn(&[Gaze; 2]) -> &[f64]| {
            let values = seen.iter().flat_map(of).map(|value| *value as f32).collect();
            Labelled::numbers(name, unit, axes.to_vec(), values)
        };
        let layer = [layer];
        let tables = vec![
            table("shares", Unit::Ratio, &between, |[own, _]| &own.shares)?,
            table("entropy", Unit::Nat, &by_head, |[own, _]| &own.entropy)?,
            table("distance", Unit::Count, &by_head, |[own, _]| &own.distance)?,
            table("even shares", Unit::Ratio, &between, |[_, even]| &even.shares)?,
            table("even entropy", Unit::Nat, &layer, |[_, even]| &even.entropy)?,
            table("even distance", Unit::Count, &layer, |[_, even]| &even.distance)?,
        ];
        Ok(Answer::new(tables, sites).settled("part", json!(part)))
    }
}

/// Of what kind each position is.
fn kinds(subject: &dyn Subject, inputs: &Inputs, part: Part) -> Result<Vec<Modality>, AnalysisError> {
    if part == Part::Text {
        let map = one_row(CARD.id, inputs)?;
        return Ok(map.tokens.iter().map(|token| token.modality).collect());
    }
    given(&CARD, inputs, part)?;
    let dims = subject.dims(inputs, Site::block(part, 0, Point::Pattern))?;
    let [entries, _, len, _] = dims[..] else {
        return Err(input(&CARD, "a part whose attention has heads, queries and keys", format!("{dims:?}")));
    };
    let of = |entry| match label::tower_axis(inputs.map(), part, entry, entries, len).labels {
        Labels::Tokens(tokens) => tokens.into_iter().map(|token| token.modality).collect(),
        _ => vec![Modality::Image; len],
    };
    let first: Vec<Modality> = of(0);
    match part == Part::Audio && (1..entries).any(|entry| of(entry) != first) {
        true => Err(input(&CARD, "recordings of one length", "they end at different positions")),
        false => Ok(first),
    }
}
