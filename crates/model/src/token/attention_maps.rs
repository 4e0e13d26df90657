//! Attention maps: where does each head look when the answer is decided?
//!
//! # Idea
//! With `A[l, h, q, k]` the attention weights of head `h` in layer `l`, the row of the position `n` at which an answer is read says how much
//! of what the head fetches comes from each position before it:
//!
//! ```text
//! map[l, h, k] = A[l, h, n, k],    sum over k of map = 1
//! ```
//!
//! Of an answer of several tokens the mean over the positions that decide them, and each of these by itself. A tower has its class token in
//! the place of `n`, or, without one, the mean over those of its positions that lie on a picture or hold a frame of the sound: not those of padding. Where a decoder looks at pictures through attention of its own
//! (BLIP), its weights on their positions are told beside those on words.
//!
//! # In and out
//! In: a [`Case`] of one row. Out, of the language model:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `mean over heads` | layer, token | ratio | the mean over a layer's heads; also by answer token |
//! | `attention` | layer, head, token | ratio | `map` |
//! | `largest over heads` | layer, token | ratio | the largest of a layer's heads |
//! | `cross attention` | layer, head, patch | ratio | the weights on the states of the pictures, where there is such attention |
//! | `cross attention, mean over heads` | layer, patch | ratio | their mean; also by answer token |
//!
//! Of a tower the first three, with its positions (patches, and a class token) in the place of tokens, of several pictures as `attention/0`
//! and so on; and `pooling` (head, patch) of a tower that pools by attention (SigLIP).
//!
//! # Settings
//! - `part`: the language model; where it has no attention, or an encoder of its own reads the words, the tower ([`Part`]).
//! - `positions`: which positions look: the last, where the answer is read ([`Positions`]); any others of the prompt. Their mean is told.
//!   Of a tower they are those of its own sequence, by number; `last` stands for its class token.
//! - `layers`: all, or some by number ([`Indices`]).
//!
//! # Cost
//! One forward pass with explicit attention, some queries at a time. Peak memory: the rows asked for, of every layer and head.
//!
//! # Errors
//! Running: [`AnalysisError::Input`] for a subject or part without attention, several rows, positions that are not there, positions by kind
//! in a tower; [`AnalysisError::Setting`] for a layer past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Weights are not contributions: a value that is nearly zero, or that the output projection drops, counts for nothing however much
//!   weight it has (Kobayashi et al. 2020, "Attention is Not Only a Weight"; Jain, Wallace 2019, "Attention is not Explanation").
//! - Trained decoders rest on the first token where there is nothing to fetch (Xiao et al. 2024); the finding says when most lies there.
//! - What stands at a position of a late layer is a mixture of others: a look at a patch need not be a look at its pixels
//!   (Abnar, Zuidema 2020). [`attention_rollout`](crate::layer::attention_rollout) follows the mixing.
//! - The mean over heads hides the one head that looks at the object; `attention` has all of them.
//!
//! # Agreement
//! transformers 5.23 with eager attention on `llava-a` (last position) and `clip-a` (both towers): largest difference 6.0e-8 of weights up
//! to one. Identities tested: rows sum to one; a row is that of the site `attn.pattern`; some layers are rows of all; heads that are cut off
//! from a position give it nothing.
//!
//! # Reference
//! The views are those of Ben Melech Stan et al.: LVLM-Interpret. 2024. <https://arxiv.org/abs/2404.03118>, and Aflalo et al.:
//! VL-InterpreT. CVPR 2022. <https://arxiv.org/abs/2203.17247>; the weights are those of Vaswani et al. 2017. They are shown as they are,
//! not smoothed or cut off.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::AttentionMaps;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = AttentionMaps::default().run(subject, case)?;
//! println!("{:?}", finding.table("attention")?.get(&[2, 0, 5]));
//! # Ok(())
//! # }
//! ```

use mmlens_core::finding::{Axis, Labelled, Labels, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Inputs, Leaf, On, Part, Plan, Point, Site,
    Subject, caution, kind,
};
use mmlens_engine::{Indices, Looks, Positions, Progress, label, looks, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{given, input, part_with_attention, passes_of_reading, positions_read};

/// What this method is.
pub const CARD: Card = Card {
    id: "attention-maps",
    short: "attention",
    name: "Attention maps",
    question: "Where does each head look when the answer is decided?",
    citation: "Ben Melech Stan et al.: LVLM-Interpret: An Interpretability Tool for Large Vision-Language Models. 2024. https://arxiv.org/abs/2404.03118",
    leaf: Leaf::Token,
    cost: "1 forward with explicit attention",
    needs: &[Capability::Attention, Capability::Answer],
    misleads: &[
        "Weights are not contributions.",
        "Decoders rest on the first token where there is nothing to fetch.",
        "A look at a late layer's position need not be a look at its pixels or word.",
        "The mean over heads hides single heads.",
    ],
    first: true,
};

/// Who looks, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where it does not look at words itself, the tower.
    pub part: Option<Part>,
    /// Which positions look.
    pub positions: Positions,
    /// In which layers.
    pub layers: Indices,
}

impl Default for Settings {
    fn default() -> Self {
        Self { part: None, positions: Positions::Last, layers: Indices::All }
    }
}

/// Attention maps with checked settings.
#[derive(Debug, Clone, Default)]
pub struct AttentionMaps {
    settings: Settings,
}

impl Analysis for AttentionMaps {
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
        let (subject, inputs) = (on.subject(), on.encode(&case.sample)?);
        let part = part_with_attention(&CARD, subject, self.settings.part)?;
        let mut passes = 1;
        if part == Part::Text {
            passes += case.settling() + passes_of_reading(subject, &on.form(case, &inputs)?);
        } else {
            passes += usize::from(kind::has(subject, POOLING));
        }
        let cost = Cost::rows(passes * inputs.rows());
        Ok(cost.taking(on.row(case, &inputs, &[])?.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let part = part_with_attention(&CARD, on.subject(), self.settings.part)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1);
        let answer = match part {
            Part::Text => self.of_words(on, case)?,
            _ => self.of_tower(on, case, part)?,
        };
        progress.advance(1)?;
        Ok(answer.settled("part", json!(part)))
    }
}

/// Where a decoder looks at pictures through attention of its own, and a tower pools by attention.
const CROSS: Site = Site::block(Part::Text, 0, Point::CrossPattern);
const POOLING: Site = Site::of(Part::Vision, Point::PoolPattern);

impl AttentionMaps {
    fn layers(&self, subject: &dyn Subject, part: Part) -> Result<Vec<usize>, AnalysisError> {
        self.settings.layers.chosen(CARD.id, "layers", kind::blocks(subject, part))
    }

    fn of_words(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, memory) = (on.subject(), on.memory());
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let (queries, spoken) =
            positions_read(&CARD, on, case, (&inputs, &objective), &self.settings.positions)?;
        let layers = self.layers(subject, Part::Text)?;
        let of = kind::blocks(subject, Part::Text);
        let layer = Indices::axis(Role::Layer, &layers, of);
        let sites =
            |point| layers.iter().map(|layer| Site::block(Part::Text, *layer, point)).collect::<Vec<_>>();
        let across = if kind::has(subject, CROSS) { sites(Point::CrossPattern) } else { Vec::new() };
        let read = [sites(Point::Pattern), across].concat();
        let mut seen = looks(subject, &inputs, &read, &queries, (&memory, CARD.id))?;
        let cross = seen.split_off(layers.len());
        let tokens = label::token_axis(map);
        let keys = cross.first().map_or(0, |looks| looks.keys);
        let crossed = inputs.towers().next().unwrap_or(Part::Vision);
        let patches = label::tower_axis(map, crossed, 0, 1, keys);
        let all: Vec<usize> = (0..queries.len()).collect();
        let made = |some: &[usize], whole: bool| -> Result<Vec<Labelled>, AnalysisError> {
            let views = [("", &seen, &tokens), ("cross attention", &cross, &patches)];
            let views = views.into_iter().filter(|(_, seen, _)| !seen.is_empty());
            let tables =
                views.map(|(name, seen, axis)| View::of(seen, 0, some).tables(name, (&layer, axis), whole));
            Ok(tables.collect::<Result<Vec<_>, _>>()?.concat())
        };
        let each = spoken.objectives().iter().enumerate().map(|(at, _)| made(&[at], false));
        let tables = spoken.with_each(std::iter::once(made(&all, true)).chain(each))?;
        let mean = View::of(&seen, 0, &all).overall();
        let hint =
            ", in the mean over layers and heads: attention rests there where there is nothing to fetch";
        let caution = caution::sink(&mean, &map.tokens, hint);
        Ok(Answer::new(tables, read).explaining(&objective).cautioned(caution))
    }

    fn of_tower(&self, on: &On<'_>, case: &Case, part: Part) -> Result<Answer, AnalysisError> {
        let (subject, memory) = (on.subject(), on.memory());
        let inputs = on.encode(&case.sample)?;
        given(&CARD, &inputs, part)?;
        let layers = self.layers(subject, part)?;
        let sites: Vec<Site> = layers.iter().map(|layer| Site::block(part, *layer, Point::Pattern)).collect();
        let first = Site::block(part, 0, Point::Pattern);
        let [entries, _, len, _] = subject.dims(&inputs, first)?[..] else {
            return Err(input(
                &CARD,
                "a part whose attention has heads, queries and keys",
                format!("`{first}`"),
            ));
        };
        let axis = |entry| label::tower_axis(inputs.map(), part, entry, entries, len);
        let queries =
            self.looking(len, part != Part::Audio && matches!(axis(0).labels, Labels::Tokens(_)))?;
        let seen = looks(subject, &inputs, &sites, &queries, (&memory, CARD.id))?;
        let layer = Indices::axis(Role::Layer, &layers, kind::blocks(subject, part));
        // Of all positions of a recording those that hold a frame of the sound.
        let looking = |axis: &Axis| -> Vec<usize> {
            let heard = |at: &usize| match (&axis.labels, &self.settings.positions) {
                (Labels::Tokens(tokens), Positions::Last) if part == Part::Audio => {
                    tokens.get(*at).is_some_and(|token| token.patch.is_some())
                }
                _ => true,
            };
            (0..queries.len()).filter(heard).collect()
        };
        let pooling = (part == Part::Vision && kind::has(subject, POOLING))
            .then(|| pooling(subject, &inputs))
            .transpose()?;
        let mut tables = Vec::new();
        for entry in 0..entries {
            let name = |table: Labelled| {
                let name = table.name().to_owned();
                if entries > 1 { table.renamed(format!("{name}/{entry}")) } else { table }
            };
            let keys = axis(entry);
            let own = View::of(&seen, entry, &looking(&keys)).tables("", (&layer, &keys), true)?;
            tables.extend(own.into_iter().map(name));
            if let Some((heads, weights)) = &pooling {
                let wide = heads * len;
                let own = weights.get(entry * wide..(entry + 1) * wide).unwrap_or_default().to_vec();
                let axes = vec![Axis::count(Role::Head, *heads), axis(entry)];
                tables.push(name(Labelled::numbers("pooling", Unit::Ratio, axes, own)?));
            }
        }
        let pooled = pooling.is_some().then_some(POOLING);
        Ok(Answer::new(tables, sites.into_iter().chain(pooled).collect::<Vec<_>>()))
    }

    /// Which positions of a tower look: its class token, or all of them (of a recording those of the sound, as is seen to later).
    fn looking(&self, len: usize, class: bool) -> Result<Vec<usize>, AnalysisError> {
        match &self.settings.positions {
            Positions::Last if class => Ok(vec![0]),
            Positions::Last | Positions::All => Ok((0..len).collect()),
            Positions::At(some) => Indices::At(some.clone()).chosen(CARD.id, "positions", len),
            other => {
                let found = format!("`{other}` was asked for");
                Err(input(
                    &CARD,
                    "positions of a tower: `last` (its class token), `all` or some by number",
                    found,
                ))
            }
        }
    }
}

/// The weights with which a tower's positions are pooled, `[picture, head, position]`, and how many heads do so.
fn pooling(subject: &dyn Subject, inputs: &Inputs) -> Result<(usize, Vec<f32>), AnalysisError> {
    let trace = subject.run(inputs, Plan::new().read(POOLING)?)?;
    let value = trace.get(POOLING)?;
    Ok((value.dims().get(1).copied().unwrap_or(1), value.to_values()?))
}

/// What some queries see in the mean, layer by layer: `[layer, head, key]`.
struct View {
    heads: usize,
    keys: usize,
    values: Vec<f32>,
}

impl View {
    fn of(seen: &[Looks], row: usize, queries: &[usize]) -> Self {
        let (heads, keys) = seen.first().map_or((0, 0), |looks| (looks.heads, looks.keys));
        let mut values = Vec::with_capacity(seen.len() * heads * keys);
        for looks in seen {
            let mut sums = vec![0.0_f64; heads * keys];
            for query in queries {
                let own = looks.of(row, *query).iter();
                sums.iter_mut().zip(own).for_each(|(sum, weight)| *sum += f64::from(*weight));
            }
            values.extend(sums.into_iter().map(|sum| (sum / queries.len().max(1) as f64) as f32));
        }
        Self { heads, keys, values }
    }

    /// One number for every layer and key, of those of its heads.
    fn over_heads(&self, fold: impl Fn(&mut dyn Iterator<Item = f32>) -> f32) -> Vec<f32> {
        let layer = |own: &[f32]| {
            let at = |key: usize| fold(&mut own.iter().skip(key).step_by(self.keys.max(1)).copied());
            (0..self.keys).map(at).collect::<Vec<f32>>()
        };
        self.values.chunks((self.heads * self.keys).max(1)).flat_map(layer).collect()
    }

    fn mean(&self) -> Vec<f32> {
        let heads = self.heads.max(1) as f64;
        self.over_heads(|all| (all.map(f64::from).sum::<f64>() / heads) as f32)
    }

    /// The mean over layers and heads, for every key.
    fn overall(&self) -> Vec<f32> {
        let rows = (self.values.len() / self.keys.max(1)).max(1) as f64;
        let at =
            |key| self.values.iter().skip(key).step_by(self.keys.max(1)).map(|v| f64::from(*v)).sum::<f64>();
        (0..self.keys).map(|key| (at(key) / rows) as f32).collect()
    }

    /// The mean over heads; as a whole every head, and the largest, too.
    fn tables(
        &self,
        name: &str,
        (layer, keys): (&Axis, &Axis),
        whole: bool,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let called = |what: &str| if name.is_empty() { what.to_owned() } else { format!("{name}, {what}") };
        let table =
            |name: String, axes: Vec<Axis>, values| Labelled::numbers(name, Unit::Ratio, axes, values);
        let places = vec![layer.clone(), keys.clone()];
        let mut tables = vec![table(called("mean over heads"), places.clone(), self.mean())?];
        if whole {
            let axes = vec![layer.clone(), Axis::count(Role::Head, self.heads), keys.clone()];
            let each = if name.is_empty() { "attention" } else { name };
            tables.push(table(each.to_owned(), axes, self.values.clone())?);
            let largest = self.over_heads(|all| all.fold(0.0, |most, v| if v > most { v } else { most })); // no NaN: finite weights
            tables.push(table(called("largest over heads"), places, largest)?.aside());
        }
        Ok(tables)
    }
}
