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
//! - `part`: by default the language model, `text`, and the tower where there is none or an encoder of its own reads the words; or a
//!   tower or an encoder of questions, by its name.
//! - `edges`: `None` for those of the part ([`Edges::usual`]). Of a language model they lead from pictures to the question, from pictures to the last position, and from the question to the last
//!   position, as Zhang et al. have them ([`Positions::Question`]); any two sets of positions ([`Edges::between`]). The last
//!   position is where the answer is read, of an answer of several tokens every position at which one of them is decided: of an objective at a position of its own (a masked word) that one, of a caption the
//!   one that its tower pools. Edges from pictures are left out where a sample has none.
//!   Of a tower they lead from its patches to its class token and back, and from patches to others; from all positions to all others where the sample does not
//!   tell patches apart (of SmolVLM, which shuffles them). Positions are those of its own
//!   sequence, the same in every picture and tile: [`Positions::Pictures`] are its patches, [`Positions::Last`] is its class token, and sets of patches are told by number
//!   ([`Positions::At`]), a class token being 0. No edge leads from one picture to another; where a tower packs several into one sequence, numbers count through all.
//! - `window`: how many layers at once. By default about a quarter of all, and odd: `2 (layers / 8) + 1`, which is 9 of
//!   32 as in both papers and 1 of 4. One layer alone is easily passed by.
//! - `layers`: the middles of windows, of which those that reach no answer (a LLaVA does not read its tower's last block) change nothing: all, or some by number ([`Indices`]).
//! - `heads`: in which heads edges are cut, all of these at once: all, or some by number.
//! - `rows`: 32 variants share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! # Cost
//! One pass with nothing cut, one to see who sees whom, then `edges x layers` passes, each from the first layer of its window on, through
//! the tower only where edges are cut in it. Windows that begin at one layer are packed. Explicit attention where edges are cut.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no edges, a name twice, a window of no layers, no rows. Running:
//! [`AnalysisError::Input`] for several rows, a set of positions that is empty or not there (words, in a tower), a tower without a picture, or a part without
//! attention scores; [`AnalysisError::Setting`] for a layer or head past the end; [`AnalysisError::Subject`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A blocked route may have a bypass: information can go around a window, or through other positions (Geva et al.
//!   2023 block windows for that reason; McGrath et al. 2023, "The Hydra Effect").
//! - The remaining weights are scaled up, so that the stream moves off what the model was trained on. Cutting a first
//!   token that serves as a sink changes everything (Xiao et al. 2024, "Efficient Streaming Language Models with
//!   Attention Sinks").
//! - Sets of different size are compared: hundreds of image positions against a few words. Read `pairs`, which are those of the first layer: a tower that looks
//!   through windows in some layers sees more in others.
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a`, with masks added to the scores of its layers: largest difference
//! relative to the largest value 1.4e-6, and in its tower 6.2e-6. Identities tested: cutting edges that causality forbids anyway changes nothing;
//! with every edge out of the picture cut in all layers, another picture gives the same objective; with all edges of a tower's block cut every head gives each
//! position its own value; the same for any `rows`.
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
    Part, Point, Site, Subject, caution, kind,
};
use mmlens_engine::{Edit, Indices, Looks, Measured, Positions, Progress, Spoken, Sweep, looks, of_range};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{
    at_least_one, heads_at, input, part_with_blocks, passes_of_reading, read_from, setting, window_around,
};
use crate::sequence::Sequence;

/// What this method is.
pub const CARD: Card = Card {
    id: "attention-knockout",
    short: "knockout",
    name: "Attention knock-out",
    question: "Along which route, and at which depth, does what the picture shows reach the answer?",
    citation: "Geva, Bastings, Filippova, Globerson: Dissecting Recall of Factual Associations in Auto-Regressive Language Models. EMNLP 2023. https://arxiv.org/abs/2304.14767",
    leaf: Leaf::Layer,
    cost: "1 forward + edges x layers forward from the first layer of the window on, in batches, without the tower",
    needs: &[Capability::AnyBlocks, Capability::Attention, Capability::Answer],
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

    /// Those of a part that are cut where none are named: of words, or of a tower with or without a class token, where that is known.
    pub fn usual(part: Part, class: Option<bool>) -> Vec<Self> {
        use Positions::{All, Last, Pictures, Question};
        let of = |name: &str, keys, queries| Self { name: name.to_owned(), keys, queries };
        let within = of("patches to patches", Pictures, Pictures);
        match part {
            Part::Text => [(Pictures, Question), (Pictures, Last), (Question, Last)]
                .map(|(keys, queries)| Self::between(keys, queries))
                .to_vec(),
            Part::Encoder => vec![Self::between(Question, Last)],
            _ if class == Some(true) => vec![
                of("patches to class token", Pictures, Last),
                of("class token to patches", Last, Pictures),
                within,
            ],
            _ if class == Some(false) => vec![within],
            _ => vec![Self::between(All, All)],
        }
    }
}

/// What is cut.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Which edges, one kind after the other; `None` for those of the part.
    pub edges: Option<Vec<Edges>>,
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
        Self { part: None, edges: None, window: None, layers: Indices::All, heads: Indices::All, rows: 32 }
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
    /// The part whose edges are cut, which publishes its scores.
    fn part(&self, subject: &dyn Subject) -> Result<Part, AnalysisError> {
        let part = part_with_blocks(subject, self.settings.part);
        Capability::Blocks(part).check(&CARD, subject)?;
        Capability::Scores(part).check(&CARD, subject)?;
        Ok(part)
    }

    /// The edges that are cut; of a sample with recordings alone from these instead of pictures. Of those from pictures and recordings none, where the sample has none. Pictures that no position shows are no
    /// reason to leave them out.
    fn edges(
        &self,
        part: Part,
        sequence: &Sequence<'_>,
        inputs: &Inputs,
    ) -> Result<Vec<Edges>, AnalysisError> {
        let (none, perceived) = (inputs.towers().next().is_none(), Positions::perceived(inputs.map()));
        let mut edges =
            self.settings.edges.clone().unwrap_or_else(|| Edges::usual(part, sequence.has_class()));
        if self.settings.edges.is_none() && part == Part::Text && perceived == Positions::Recordings {
            let heard = |own: Edges| match own.keys {
                Positions::Pictures => Edges::between(Positions::Recordings, own.queries),
                _ => own,
            };
            edges = edges.into_iter().map(heard).collect();
        }
        let shows = |own: &Positions| matches!(own, Positions::Pictures | Positions::Recordings);
        edges.retain(|edges| !(none && shows(&edges.keys)));
        match edges.is_empty() {
            true => Err(input(&CARD, "a picture or recording that edges lead from", "the sample has none")),
            false => Ok(edges),
        }
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

/// Edges as positions of a prompt, or of every picture of a tower.
struct Cut {
    keys: Vec<usize>,
    queries: Vec<usize>,
}

impl Cut {
    /// The last position of a language model is where the answer is read; of a phrase there are several.
    fn of(edges: &Edges, sequence: &Sequence<'_>, read: Option<&[usize]>) -> Result<Self, AnalysisError> {
        let places = |positions: &Positions| match (positions, read) {
            (Positions::Last, Some(read)) => sequence.chosen(&Positions::At(read.to_vec())),
            _ => sequence.chosen(positions),
        };
        Ok(Self { keys: places(&edges.keys)?, queries: places(&edges.queries)? })
    }

    /// Of each query, in every picture of a tower, how many of the positions that it sees are cut from it, and how many beside itself are left.
    fn of_queries(&self, seen: &Looks, looked: &[usize]) -> Vec<(usize, usize)> {
        let of_query = |entry: usize, query: &usize| {
            let place = looked.iter().position(|own| own == query).unwrap_or(usize::MAX);
            let rows: Vec<&[f32]> = seen.of(entry, place).chunks(seen.keys.max(1)).collect();
            let sees = |key: usize| rows.iter().any(|row| row.get(key).is_some_and(|weight| *weight > 0.0));
            let others = (0..seen.keys).filter(|key| key != query && sees(*key)).count();
            let cut = self.keys.iter().filter(|key| *key != query && sees(**key)).count();
            (cut, others.saturating_sub(cut))
        };
        let of_entry = |entry: usize| self.queries.iter().map(move |query| of_query(entry, query));
        (0..seen.rows).flat_map(of_entry).collect()
    }
}

impl Analysis for AttentionKnockout {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { edges, window, rows, .. } = &settings;
        if edges.as_ref().is_some_and(Vec::is_empty) {
            return Err(setting(&CARD, "edges", "none", "something must be cut"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = edges.iter().flatten().find(|edges| !seen.insert(edges.name.as_str())) {
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
        let (subject, inputs) = (on.subject(), on.encode(&case.sample)?);
        let part = self.part(subject)?;
        let sequence = Sequence::of_part(&CARD, subject, &inputs, part)?;
        let last = [inputs.positions().saturating_sub(1)];
        let last = (part == Part::Text).then_some(&last[..]);
        let edges = self.edges(part, &sequence, &inputs)?;
        let cuts = edges.iter().map(|edges| Cut::of(edges, &sequence, last));
        let kinds = cuts.collect::<Result<Vec<_>, _>>()?.len();
        let read = match part {
            Part::Text => passes_of_reading(subject, &on.form(case, &inputs)?),
            _ => 0,
        };
        let layers = kind::blocks(subject, part);
        let layers = self.settings.layers.chosen(CARD.id, "layers", layers)?.len();
        // One more for who sees whom.
        let cost = Cost::rows(case.settling() + read + 2 + kinds * layers);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let part = self.part(subject)?;
        let sequence = Sequence::of_part(&CARD, subject, &inputs, part)?;
        let read = match part {
            Part::Text => Some(read_from(&CARD, subject, &inputs, &objective)?),
            _ => None,
        };
        let edges = self.edges(part, &sequence, &inputs)?;
        let cut_of = |edges| Cut::of(edges, &sequence, read.as_deref());
        let cuts: Vec<Cut> = edges.iter().map(cut_of).collect::<Result<_, _>>()?;
        let layers = kind::blocks(subject, part);
        let sites: Vec<Site> = (0..layers).map(|layer| Site::block(part, layer, Point::Scores)).collect();
        if !sites.iter().all(|site| kind::has(subject, *site)) {
            let found = "this one does not publish them in every block";
            return Err(input(&CARD, Capability::Scores(part).describe(), found));
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
                let hint = if part == Part::Text { SINK } else { "" };
                alone = Some(caution::left_alone(left, of_queries.len(), &edges.name, hint));
            }
        }
        tables.push(Labelled::numbers("pairs", Unit::Count, vec![kinds], pairs)?);
        let window = self.window.map_or(2 * (layers / 8) + 1, NonZeroUsize::get);
        let answer =
            Answer::new(tables, sites).explaining(&objective).cautioned(caution.into_iter().chain(alone));
        let answer = answer.settled("window", json!(window)).settled("part", json!(part));
        Ok(answer.settled("edges", json!(edges)))
    }
}

/// What a position of a language model loses that sees itself alone.
const SINK: &str = " (a first token that serves as a sink is among them)";

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
