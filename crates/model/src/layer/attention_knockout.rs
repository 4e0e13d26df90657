//! Along which route, and at which depth, does what the picture shows reach the answer?
//!
//! # Idea
//! Attention is the only way from one position to another. Cut the edges from a set of keys `K` to a set of
//! queries `Q` in the heads of the layers `l - w/2 ..= l + w/2`, by setting their scores to minus infinity before
//! the softmax, and see what becomes of the objective `f` and of the probability `p` of its token:
//!
//! ```text
//! change             = f_cut - f
//! probability change = (p_cut - p) / p
//! ```
//!
//! Where the change is large, something that `Q` needs comes from `K` in these layers. A position keeps its edge to
//! itself.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `change` | concept, layer | objective | change of the objective; the concept is the kind of edges, the layer the middle of the window |
//! | `probability change` | concept, layer | ratio | relative change of the token's probability |
//! | `objective`, `probability` | | objective, probability | with nothing cut |
//! | `pairs` | concept | count | pairs of a query and another key that it sees which are cut, in one head of one layer |
//! | `cautions` | rank | text | edges without which a query sees itself alone |
//!
//! The two tables of probabilities only for an objective of one token, if its probability is not zero.
//!
//! # Settings
//! - `edges`: from pictures to the question, from pictures to the last position, and from the question to the last
//!   position, as Zhang et al. have them ([`Positions::Question`]); any two sets of positions ([`Edges::between`]). The last
//!   position is where the answer is read, of an answer of several tokens every position at which one of them is decided: of an objective at a position of its own (a masked word) that one, of a caption the
//!   one that its tower pools. Edges from pictures are left out where a sample has none.
//! - `window`: how many layers at once. By default about a quarter of all, and odd: `2 (layers / 8) + 1`, which is 9 of
//!   32 as in both papers and 1 of 4. One layer alone is easily passed by.
//! - `layers`: the middles of windows: all, or some by number ([`Indices`]).
//! - `heads`: in which heads edges are cut, all of these at once: all, or some by number.
//! - `rows`: 32 variants share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! # Cost
//! One pass with nothing cut, one to see who sees whom, then `edges x layers` passes, each from the first layer of its window on, never through
//! the tower. Windows that begin at one layer are packed. Explicit attention where edges are cut.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no edges, a name twice, a window of no layers, no rows. Running:
//! [`AnalysisError::Input`] for several rows, a set of positions that is empty or not there, or a subject without
//! attention; [`AnalysisError::Setting`] for a layer or head past the end; [`AnalysisError::Subject`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A blocked route may have a bypass: information can go around a window, or through other positions (Geva et al.
//!   2023 block windows for that reason; McGrath et al. 2023, "The Hydra Effect").
//! - The remaining weights are scaled up, so that the stream moves off what the model was trained on. Cutting a first
//!   token that serves as a sink changes everything (Xiao et al. 2024, "Efficient Streaming Language Models with
//!   Attention Sinks").
//! - Sets of different size are compared: hundreds of image positions against a few words. Read `pairs`.
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a`, with masks added to the scores of its layers: largest difference
//! relative to the largest value 1.4e-6. Identities tested: cutting edges that causality forbids anyway changes nothing;
//! with every edge out of the picture cut in all layers, another picture gives the same objective; the same for any
//! `rows`.
//!
//! # Reference
//! Geva, Bastings, Filippova, Globerson: Dissecting Recall of Factual Associations in Auto-Regressive Language
//! Models. EMNLP 2023. <https://arxiv.org/abs/2304.14767>. For pictures: Zhang, Yadav, Han, Shutova: Cross-modal
//! Information Flow in Multimodal Large Language Models. CVPR 2025. <https://arxiv.org/abs/2411.18620>. Both report
//! the relative change of probability; the change of the objective is ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{AttentionKnockout, attention_knockout::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let method = AttentionKnockout::new(Settings { window: Some(3), ..Settings::default() })?;
//! let finding = method.run(subject, case)?;
//! println!("{:?}", finding.table("change")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::Range;

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, HookError, Inputs, Leaf, Objective, On,
    Part, Point, Site, Subject, TokenMap, caution, kind,
};
use mmlens_engine::{
    Edit, Indices, Looks, Measured, Positions, Progress, Spoken, Sweep, looks, of_range, one_row,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, heads_at, input, passes_of_reading, read_from, setting, window_around};

/// What this method is.
pub const CARD: Card = Card {
    id: "attention-knockout",
    short: "knockout",
    name: "Attention knock-out",
    question: "Along which route, and at which depth, does what the picture shows reach the answer?",
    citation: "Geva, Bastings, Filippova, Globerson: Dissecting Recall of Factual Associations in Auto-Regressive Language Models. EMNLP 2023. https://arxiv.org/abs/2304.14767",
    leaf: Leaf::Layer,
    cost: "1 forward + edges x layers forward from the first layer of the window on, in batches, without the tower",
    needs: &[Capability::OwnWords, Capability::Scores(Part::Text), Capability::Answer],
    misleads: &[
        "A blocked route may have a bypass: around the window, or through other positions.",
        "The remaining weights are scaled up; cutting a first token that serves as a sink changes everything.",
        "Sets of different size are compared.",
    ],
    first: true,
};

/// Attention edges from a set of keys to a set of queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Edges {
    /// What they are called.
    pub name: String,
    /// Where information comes from.
    pub keys: Positions,
    /// Where it goes.
    pub queries: Positions,
}

impl Edges {
    /// The edges from some positions to others, called `KEYS to QUERIES`.
    pub fn between(keys: Positions, queries: Positions) -> Self {
        Self { name: format!("{keys} to {queries}"), keys, queries }
    }
}

/// What is cut.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which edges, one kind after the other.
    pub edges: Vec<Edges>,
    /// In how many layers at once; `None` for about a quarter.
    pub window: Option<usize>,
    /// Around which layers.
    pub layers: Indices,
    /// In which heads, all at once.
    pub heads: Indices,
    /// How many variants share a pass at most.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        use Positions::{Last, Pictures, Question};
        let edges = [(Pictures, Question), (Pictures, Last), (Question, Last)];
        Self {
            edges: edges.into_iter().map(|(keys, queries)| Edges::between(keys, queries)).collect(),
            window: None,
            layers: Indices::All,
            heads: Indices::All,
            rows: 32,
        }
    }
}

/// Attention knock-out with checked settings.
#[derive(Debug, Clone)]
pub struct AttentionKnockout {
    settings: Settings,
    window: Option<NonZeroUsize>,
    rows: NonZeroUsize,
}

impl AttentionKnockout {
    /// The edges that are cut: of those from pictures none, where the sample has none. Pictures that no position shows are no
    /// reason to leave them out.
    fn edges(&self, inputs: &Inputs) -> impl Iterator<Item = &Edges> {
        let none = inputs.pixels.is_none();
        self.settings.edges.iter().filter(move |edges| !(none && edges.keys == Positions::Pictures))
    }

    /// The heads in which edges are cut; `None` for all.
    fn heads(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        sites: &[Site],
    ) -> Result<Option<Vec<usize>>, AnalysisError> {
        let (Indices::At(_), Some(site)) = (&self.settings.heads, sites.first()) else { return Ok(None) };
        let count = heads_at(&CARD, subject, inputs, *site)?;
        self.settings.heads.chosen(CARD.id, "heads", count).map(Some)
    }

    /// The window around each layer, cut off at both ends of the model.
    fn windows(&self, layers: usize) -> Vec<Range<usize>> {
        let wide = self.window.map_or(2 * (layers / 8) + 1, NonZeroUsize::get);
        (0..layers).map(|layer| window_around(layer, wide, layers)).collect()
    }
}

/// Edges as positions of a prompt.
struct Cut {
    keys: Vec<usize>,
    queries: Vec<usize>,
}

impl Cut {
    /// The last position is where the answer is read; of a phrase there are several.
    fn of(edges: &Edges, map: &TokenMap, read: &[usize]) -> Result<Self, AnalysisError> {
        let places = |positions: &Positions| match positions {
            Positions::Last => Positions::At(read.to_vec()).chosen(CARD.id, map),
            _ => positions.chosen(CARD.id, map),
        };
        Ok(Self { keys: places(&edges.keys)?, queries: places(&edges.queries)? })
    }

    /// Of each query, how many of the positions that it sees are cut from it, and how many beside itself are left.
    fn of_queries(&self, seen: &Looks, looked: &[usize]) -> Vec<(usize, usize)> {
        let of_query = |query: &usize| {
            let place = looked.iter().position(|own| own == query).unwrap_or(usize::MAX);
            let rows: Vec<&[f32]> = seen.of(0, place).chunks(seen.keys.max(1)).collect();
            let sees = |key: usize| rows.iter().any(|row| row.get(key).is_some_and(|weight| *weight > 0.0));
            let others = (0..seen.keys).filter(|key| key != query && sees(*key)).count();
            let cut = self.keys.iter().filter(|key| *key != query && sees(**key)).count();
            (cut, others.saturating_sub(cut))
        };
        self.queries.iter().map(of_query).collect()
    }
}

impl Analysis for AttentionKnockout {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { edges, window, rows, .. } = &settings;
        if edges.is_empty() {
            return Err(setting(&CARD, "edges", "none", "something must be cut"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = edges.iter().find(|edges| !seen.insert(edges.name.as_str())) {
            let found = format!("`{}` twice", twice.name);
            return Err(setting(&CARD, "edges", found, "names must tell them apart"));
        }
        let window = window.map(|window| at_least_one(&CARD, "window", window)).transpose()?;
        let rows = at_least_one(&CARD, "rows", *rows)?;
        Ok(Self { settings, window, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let (map, last) = (one_row(CARD.id, &inputs)?, inputs.positions().saturating_sub(1));
        let cuts = self.edges(&inputs).map(|edges| Cut::of(edges, map, &[last]));
        let kinds = cuts.collect::<Result<Vec<_>, _>>()?.len();
        if kinds == 0 {
            return Err(input(&CARD, "a picture that edges lead from", "the sample has none"));
        }
        let read = passes_of_reading(on.subject(), &on.form(case, &inputs)?);
        let layers = kind::blocks(on.subject(), Part::Text);
        let layers = self.settings.layers.chosen(CARD.id, "layers", layers)?.len();
        // One more for who sees whom.
        let cost = Cost::rows(case.settling() + read + 2 + kinds * layers);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let read = read_from(&CARD, subject, &inputs, &objective)?;
        let edges: Vec<&Edges> = self.edges(&inputs).collect();
        if edges.is_empty() {
            return Err(input(&CARD, "a picture that edges lead from", "the sample has none"));
        }
        let cuts: Vec<Cut> =
            edges.iter().map(|edges| Cut::of(edges, map, &read)).collect::<Result<_, _>>()?;
        let layers = kind::blocks(subject, Part::Text);
        let sites: Vec<Site> =
            (0..layers).map(|layer| Site::block(Part::Text, layer, Point::Scores)).collect();
        if !sites.iter().all(|site| kind::has(subject, *site)) {
            let found = "this one does not publish them in every block";
            return Err(input(&CARD, "a subject with attention scores in its language model", found));
        }
        let chosen = self.settings.layers.chosen(CARD.id, "layers", layers)?;
        let heads = self.heads(subject, &inputs, &sites)?;
        let windows = self.windows(layers);
        let windows = chosen.iter().filter_map(|layer| windows.get(*layer).cloned());
        let kinds = Axis::names(Role::Concept, edges.iter().map(|edges| edges.name.clone()));
        let axes = vec![kinds.clone(), Indices::axis(Role::Layer, &chosen, layers)];
        let windows: Vec<&[Site]> =
            windows.map(|window| of_range(&sites, window)).collect::<Result<_, _>>()?;
        // Row-major: kinds of edges, windows of layers.
        let cut = |cut: &Cut, sites: &[Site]| -> Vec<Edit> {
            let edit = |site: &Site| Edit::cut(*site, cut.queries.clone(), cut.keys.clone());
            let in_heads = |edit: Edit| match &heads {
                Some(heads) => edit.heads(heads.iter().copied()),
                None => edit,
            };
            sites.iter().map(edit).map(in_heads).collect()
        };
        let variants = cuts.iter().flat_map(|edges| windows.iter().map(move |sites| cut(edges, sites)));
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let mut sweep = Sweep::of(axes.clone(), variants.collect())?;
        for metric in spoken.beside(&objective) {
            sweep = sweep.measure(metric);
        }
        if let (Some(token), Some(at)) = (objective.token(), objective.at()) {
            sweep = sweep.measure(Objective::Probability { at, token });
        }
        let mut progress = Progress::new(on.watch(), CARD.id, sweep.len());
        let swept = sweep.run(subject, &inputs, &on.memory().at_most(self.rows), &mut progress)?;
        let (measured, probability) = swept.measured.split_at(1 + spoken.objectives().len());
        let changes = |measured: &Measured| {
            let whole = f64::from(measured.unedited);
            measured.values.iter().map(move |value| f64::from(*value) - whole).collect::<Vec<f64>>()
        };
        let changed = |measured: &Measured| -> Result<Vec<Labelled>, AnalysisError> {
            let unit = objective.unit();
            let values = changes(measured).into_iter().map(|change| change as f32).collect();
            Ok(vec![
                Labelled::numbers("change", unit, axes.clone(), values)?,
                Labelled::scalar("objective", unit, measured.unedited),
            ])
        };
        let mut tables = spoken.with_each(measured.iter().map(changed))?;
        let whole = measured.first().ok_or(HookError::NoObjective)?;
        let all: Vec<f32> = changes(whole).into_iter().map(|change| change as f32).collect();
        let caution = caution::rounding(&all, (objective.unit(), whole.unedited), "changes");
        if let Some(measured) = probability.first().filter(|measured| measured.unedited > 0.0) {
            let whole = f64::from(measured.unedited);
            let relative = changes(measured).into_iter().map(|change| (change / whole) as f32).collect();
            tables.push(Labelled::numbers("probability change", Unit::Ratio, axes.clone(), relative)?);
            tables.push(Labelled::scalar("probability", Unit::Probability, measured.unedited));
        }
        // Who sees whom is told by the weights of the first layer.
        let first = sites.get(..1).unwrap_or_default();
        let patterns: Vec<Site> = first.iter().map(|site| pattern_of(*site)).collect();
        let looked: BTreeSet<usize> = cuts.iter().flat_map(|cut| cut.queries.iter().copied()).collect();
        let looked: Vec<usize> = looked.into_iter().collect();
        let seen = looks(subject, &inputs, &patterns, &looked, (&on.memory(), CARD.id))?;
        let (mut pairs, mut alone) = (Vec::with_capacity(cuts.len()), None);
        for (cut, edges) in cuts.iter().zip(&edges) {
            let of_queries = seen.first().map_or_else(Vec::new, |seen| cut.of_queries(seen, &looked));
            pairs.push(of_queries.iter().map(|(cut, _)| *cut).sum::<usize>() as f32);
            let left = of_queries.iter().filter(|(cut, left)| *cut > 0 && *left == 0).count();
            if left > 0 && alone.is_none() {
                alone = Some(caution::left_alone(left, of_queries.len(), &edges.name));
            }
        }
        tables.push(Labelled::numbers("pairs", Unit::Count, vec![kinds], pairs)?);
        let window = self.window.map_or(2 * (layers / 8) + 1, NonZeroUsize::get);
        let answer =
            Answer::new(tables, sites).explaining(&objective).cautioned(caution.into_iter().chain(alone));
        Ok(answer.settled("window", json!(window)))
    }
}

/// The weights of the attention whose scores these are.
fn pattern_of(scores: Site) -> Site {
    Site::block(scores.part(), scores.block_index().unwrap_or(0), Point::Pattern)
}

#[cfg(test)]
mod tests {
    use mmlens_core::Analysis as _;

    use super::{AttentionKnockout, Settings};

    #[test]
    fn windows_lie_around_their_layer() {
        let of = |window, layers| {
            let method = AttentionKnockout::new(Settings { window, ..Settings::default() });
            method.unwrap_or_else(|e| panic!("{e}")).windows(layers)
        };
        assert_eq!(of(Some(1), 3), [0..1, 1..2, 2..3]);
        assert_eq!(of(Some(3), 4), [0..2, 0..3, 1..4, 2..4]);
        assert_eq!(of(Some(2), 3), [0..1, 0..2, 1..3]);
        assert_eq!((of(None, 32)[16].clone(), of(None, 4)[2].clone()), (12..21, 2..3));
    }
}
