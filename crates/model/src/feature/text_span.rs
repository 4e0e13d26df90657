//! TextSpan: what does each head of an image tower write about, in words?
//!
//! # Idea
//! Let row `i` of `C` be what a head adds to the vector of picture `i` of length one ([`embedding_parts`](crate::embedding_parts)). Of a list of texts, each projected onto
//! the span of `C`, those are picked one after the other along which the head differs most from picture to picture:
//!
//! ```text
//! C <- C - mean of its rows;   repeat:  j = argmax_j |C t_j|^2;   C <- C - C t_j t_j' / |t_j|^2;   t_k <- t_k - (t_k . t_j) t_j / |t_j|^2  for all k
//! variance explained after m texts = 1 - |C after m|^2 / |C before|^2
//! ```
//!
//! # In and out
//! In: [`ManyCases`], each with one picture, at least two. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `texts` | layer, head, rank | text | the texts picked, first to last; empty where nothing was left to explain |
//! | `variance explained` | layer, head, rank | ratio | by this text and those before it |
//! | `random texts` | layer, head, rank | ratio | the same of texts drawn from the list, the mean over draws |
//! | `random directions` | layer, head, rank | ratio | the same of directions of the shared space drawn by chance, projected on the span of the head as texts are, the mean over draws |
//! | `principal components` | layer, head, rank | ratio | the same of the best directions there are |
//! | `variance` | layer, head | none | how much a head differs from picture to picture: the mean over pictures of the squared distance from its mean |
//! | `rows` | concept | count | `pictures`, `texts` |
//! | `cautions` | rank | text | that there are fewer pictures than a head has dimensions; of how many heads the texts explain, at no rank, 0.01 more than texts drawn from the list and random directions do |
//!
//! # Settings
//! - `texts`: the list, or `{"file": FILE}` with a text on each line ([`WordList`]). There is no default: no list says what another head may write about.
//! - `count`: 10 texts for a head. `rank`: 80: the span is that of the first so many right singular vectors of `C`, before its mean is taken off, as in the authors' program. A head has no more
//!   dimensions than its width, so that 80 seldom cuts anything.
//! - `layers`, `heads`: all, or some by number ([`Indices`]).
//! - `draws`: 5 of the random ones; `seed`: 0. Texts of draw `k` are the first of `drawn_order(texts, seed.at(k))`, those left out that the ones before them say already. Directions are drawn
//!   evenly from all of the span, in coordinates of its principal axes: direction `i` of draw `k` is `direction(dimensions, seed.at(2^32 + k).at(i))`.
//! - `rows`: 64 texts share a pass.
//!
//! # Cost
//! One forward pass for each case and a row for each text. Then for each layer `2 d_shared d_model^2` operations, for each head `2 pictures d_head^2` and, of
//! `V` texts, `2 V d_head (d_shared + count (d_head + 1))`. Memory: `8 d_model` bytes for each picture and chosen layer, and the vectors of the texts.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for zero `count`, `rank`, `draws` or `rows`. Running: [`AnalysisError::Setting`] for no texts, or one that comes twice;
//! [`AnalysisError::Input`] as [`embedding_parts`](crate::embedding_parts), and for fewer than two cases; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Some text is always picked: read `variance explained` beside `random texts`. Where the two are alike the words say nothing.
//! - A head that hardly differs from picture to picture is explained as well as any other: see `variance`.
//! - With fewer pictures than a head has dimensions few directions explain all there is (a caution says so).
//! - The pictures decide: what they have in common is in the mean, and is not explained. Texts are those of the list, and a text that is missed is stood in for by
//!   others.
//! - Longer projections win: a text that lies far in the span of a head is picked before a better one that lies less far. So the authors do it, and so it is here.
//!
//! # Agreement
//! NumPy (the authors' loop written out, with SVD) on transformers' states of `clip-a`: the same texts, and largest difference 3e-7. Identities tested: with as many texts as dimensions all is explained;
//! principal components explain at least as much as anything; the order of the list decides nothing. A text planted in the weights of a head of `shapes-clip`, which then writes it where it is true of a scene, is the first
//! of 62 that is picked, and was in none before: five texts and heads drawn by seeds, deviations of a half, one and two of that of all that the head wrote (0.26 to 0.91 of the variance explained by it).
//!
//! # Reference
//! Gandelsman, Efros, Steinhardt: Interpreting CLIP's Image Representation via Text-Based Decomposition. ICLR 2024. <https://arxiv.org/abs/2310.05916>, algorithm 1, and their program for `rank`. There biases
//! and means are spread over the heads; they are left out here, which moves every row by a vector that varies with the scale of the last norm alone. Random texts and directions, and
//! principal components, are ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, ManyCases};
//! use mmlens_engine::WordList;
//! use mmlens_model::text_span::{Settings, TextSpan};
//! # fn explain(clip: &dyn mmlens_core::Subject, data: &ManyCases) -> Result<(), mmlens_core::AnalysisError> {
//! let texts = WordList::Lines { file: "words.txt".into() };
//! let finding = TextSpan::new(Settings { texts, ..Settings::default() })?.run(clip, data)?;
//! println!("{:?}", finding.table("texts")?.as_texts());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Card, Copies, Cost, Leaf, ManyCases, On, Part, Plan, Point, Seed,
};
use mmlens_engine::{
    Eigen, Indices, Matrix, Progress, WordList, direction, dot, drawn_order, first_picture, projected,
    text_inputs, text_vectors,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::tower_sum::{Reader, in_block};
use crate::check::{at_least_one, input};

/// What this method is.
pub const CARD: Card = Card {
    id: "text-span",
    short: "textspan",
    name: "TextSpan",
    question: "What does each head of an image tower write about, in words?",
    citation: "Gandelsman, Efros, Steinhardt: Interpreting CLIP's Image Representation via Text-Based Decomposition. ICLR 2024. https://arxiv.org/abs/2310.05916",
    leaf: Leaf::Feature,
    cost: "1 forward for each case, 1 row for each text",
    needs: super::embedding_parts::CARD.needs,
    misleads: &[
        "Some text is always picked: compare with random texts.",
        "A head that hardly differs from picture to picture is explained as well as any other.",
        "The pictures decide, and so does the list of texts.",
    ],
    first: false,
};

/// Directions with less than this share of the largest eigenvalue are rounding.
const LEAST: f64 = 1e-12;
/// Texts that explain no more than this above what is drawn by chance are cautioned of.
const ABOVE: f64 = 0.01;
/// Which item of a seed the draws of directions are.
const DIRECTIONS: u64 = 1 << 32;

/// What is explained, by which texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The texts.
    pub texts: WordList,
    /// How many of them for each head.
    pub count: usize,
    /// How many singular vectors span a head.
    pub rank: usize,
    /// In which layers.
    pub layers: Indices,
    /// Which heads.
    pub heads: Indices,
    /// How many draws of random texts and directions.
    pub draws: usize,
    /// The seed of every draw.
    pub seed: Seed,
    /// How many texts share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            texts: WordList::default(),
            count: 10,
            rank: 80,
            layers: Indices::All,
            heads: Indices::All,
            draws: 5,
            seed: Seed(0),
            rows: 64,
        }
    }
}

/// TextSpan with checked settings.
#[derive(Debug, Clone)]
pub struct TextSpan {
    settings: Settings,
    rows: NonZeroUsize,
}

/// What is found of one head.
struct Spanned {
    texts: Vec<Option<usize>>,
    explained: Vec<f64>,
    random_texts: Vec<f64>,
    random_directions: Vec<f64>,
    components: Vec<f64>,
    variance: f64,
    /// Dimensions of its span.
    rank: usize,
}

impl Analysis for TextSpan {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        for (name, count) in [("count", settings.count), ("rank", settings.rank), ("draws", settings.draws)] {
            at_least_one(&CARD, name, count)?;
        }
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, data: &ManyCases) -> Result<Cost, AnalysisError> {
        let (subject, texts) = (on.subject(), self.settings.texts.texts(CARD.id)?);
        let reader = Reader::of(&CARD, subject)?;
        let plan = Reader::plan(&reader.sites(false))?;
        let (mut forward, mut widest, mut lent) = (texts.len(), 0, None);
        for index in 0..data.len() {
            let sample = data.data().case(index)?.sample;
            let inputs = on.encode(&sample)?;
            reader.one_picture(&inputs)?;
            forward += inputs.rows();
            widest = u64::max(widest, subject.need(&inputs, &plan, Copies::ONE)?.bytes); // no NaN: whole numbers
            lent = lent.or(Some(sample));
        }
        if let Some(sample) = lent {
            let some = texts.get(..texts.len().min(self.rows.get())).unwrap_or_default();
            let inputs = text_inputs(subject, &first_picture(CARD.id, &sample)?, some)?;
            let read = Plan::new().read(projected(Part::Text))?;
            widest = u64::max(widest, subject.need(&inputs, &read, Copies::ONE)?.bytes); // no NaN: whole numbers
        }
        let layers = self.settings.layers.chosen(CARD.id, "layers", reader.layers)?.len();
        let held =
            8 * (data.len() * layers * reader.heads.0 * reader.heads.1 + texts.len() * reader.constant.len());
        Ok(Cost::rows(forward).taking(widest + held as u64, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, data: &ManyCases) -> Result<Answer, AnalysisError> {
        let (subject, texts) = (on.subject(), self.settings.texts.texts(CARD.id)?);
        let reader = Reader::of(&CARD, subject)?;
        let layers = self.settings.layers.chosen(CARD.id, "layers", reader.layers)?;
        let heads = self.settings.heads.chosen(CARD.id, "heads", reader.heads.0)?;
        if data.len() < 2 {
            return Err(input(&CARD, "at least two cases", format!("there are {}", data.len())));
        }
        let total = texts.len() + data.len() + layers.len();
        let mut progress = Progress::new(on.watch(), CARD.id, total);
        let lent = first_picture(CARD.id, &data.data().case(0)?.sample)?;
        let vectors = text_vectors((on, CARD.id), &lent, &texts, self.rows, &mut progress)?;
        let unit = vectors.normalised().map_err(|row| {
            let found = format!("that of `{}` is zero", texts.get(row).map_or("", String::as_str));
            input(&CARD, "texts whose vectors have a length", found)
        })?;
        let states = self.states(on, data, &reader, &layers, unit.values().len(), &mut progress)?;
        let mut found = Vec::new();
        for (layer, states) in layers.iter().zip(&states) {
            let through = reader.through(&reader.output(*layer)?.0);
            for head in &heads {
                found.push(self.spanned(&reader, (states, *head), &through, &unit)?);
            }
            progress.advance(1)?;
        }
        let axes = || {
            vec![
                Indices::axis(Role::Layer, &layers, reader.layers),
                Indices::axis(Role::Head, &heads, reader.heads.0),
            ]
        };
        let ranked = || [axes(), vec![Axis::count(Role::Rank, self.settings.count)]].concat();
        let named = found.iter().flat_map(|own| &own.texts);
        let named = named.map(|text| text.and_then(|at| texts.get(at).cloned()).unwrap_or_default());
        let mut tables = vec![Labelled::texts("texts", ranked(), named.collect())?];
        let kinds: [(&str, fn(&Spanned) -> &[f64]); 4] = [
            ("variance explained", |own| &own.explained),
            ("random texts", |own| &own.random_texts),
            ("random directions", |own| &own.random_directions),
            ("principal components", |own| &own.components),
        ];
        for (name, of) in kinds {
            let values = found.iter().flat_map(|own| of(own).iter().map(|value| *value as f32)).collect();
            tables.push(Labelled::numbers(name, Unit::Ratio, ranked(), values)?);
        }
        let variances = found.iter().map(|own| own.variance as f32).collect();
        tables.push(Labelled::numbers("variance", Unit::None, axes(), variances)?);
        let counts = vec![data.len() as f32, texts.len() as f32];
        let names = Axis::names(Role::Concept, ["pictures", "texts"]);
        tables.push(Labelled::numbers("rows", Unit::Count, vec![names], counts)?.aside());
        let widest = found.iter().map(|own| own.rank).max().unwrap_or(0);
        let sites = layers.iter().map(|layer| in_block(*layer, Point::Z));
        let sites = sites.chain([projected(Part::Vision), projected(Part::Text)]);
        Ok(Answer::new(tables, sites)
            .against("texts drawn from the list, and directions drawn by chance")
            .seeded(self.settings.seed)
            .cautioned(few(data.len(), reader.heads.1, widest))
            .cautioned(any_would_do(&found))
            .settled("texts", json!(texts)))
    }
}

impl TextSpan {
    /// For every chosen layer what its heads give of each picture, `[picture, heads * d_head]`, over the scale of the norm and the length of the vector.
    fn states(
        &self,
        on: &On<'_>,
        data: &ManyCases,
        reader: &Reader<'_>,
        layers: &[usize],
        beside: usize,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Matrix>, AnalysisError> {
        let width = reader.heads.0 * reader.heads.1;
        let mut states = vec![Vec::new(); layers.len()];
        for index in 0..data.len() {
            let inputs = on.encode(&data.data().case(index)?.sample)?;
            let kept = 8 * (beside + index * layers.len() * width);
            let class = reader.read(on, &inputs, None, (false, kept as u64))?;
            for (own, layer) in states.iter_mut().zip(layers) {
                let by = class.scale * class.length;
                own.extend(class.state(in_block(*layer, Point::Z))?.into_iter().map(|x| x / by));
            }
            progress.advance(1)?;
        }
        Ok(states.into_iter().map(|own| Matrix::new(own, width)).collect::<Result<_, _>>()?)
    }

    /// The texts of one head. All is done in coordinates of the span of what it writes, of which there are no more than it has dimensions.
    fn spanned(
        &self,
        reader: &Reader<'_>,
        (states, head): (&Matrix, usize),
        through: &Matrix,
        texts: &Matrix,
    ) -> Result<Spanned, AnalysisError> {
        let Settings { count, rank, draws, seed, .. } = self.settings;
        let width = reader.heads.1;
        let range = head * width..(head + 1) * width;
        let own = |row: &[f64]| row.get(range.clone()).unwrap_or_default().to_vec();
        let z = Matrix::new(states.rows().flat_map(own).collect(), width)?;
        // `[d_head, shared]`: what a head's numbers become.
        let map = through.chosen(&range.clone().collect::<Vec<_>>());
        let basis = Basis::of(&map)?;
        let rows = basis.rows(&z);
        let span = Span::of(&rows, rank)?;
        let mean = rows.mean();
        let centred = rows.less(&mean);
        let spread = |rows: Matrix| rows.transposed().products(&rows.transposed());
        let inside = Spread { covariance: spread(span.rows(&centred)), total: centred.square() };
        let (shared, of_span) = (texts.width(), |vectors: &Matrix| span.rows(&basis.vectors(vectors)));
        let texts = of_span(texts);
        let (total, n) = (inside.total, states.len() as f64);
        let (picked, explained) = greedy(&inside, &texts, count);
        let values = Eigen::of(CARD.id, &spread(centred))?.values;
        let mut sum = 0.0;
        let mut components = Vec::with_capacity(count);
        for at in 0..count {
            sum += values.get(at).copied().unwrap_or(0.0);
            components.push(if total > 0.0 { (sum / total).min(1.0) } else { 0.0 });
        }
        let (mut random_texts, mut random_directions) = (vec![0.0; count], vec![0.0; count]);
        let add = |to: &mut Vec<f64>, from: Vec<f64>| {
            to.iter_mut().zip(from).for_each(|(sum, own)| *sum += own / draws as f64);
        };
        for draw in 0..draws as u64 {
            let order = drawn_order(texts.len(), seed.at(draw));
            add(&mut random_texts, in_turn(&inside, &texts.chosen(&order), count));
            let seed = seed.at(DIRECTIONS + draw);
            let drawn = (0..count as u64).flat_map(|at| direction(shared, seed.at(at))).collect();
            add(&mut random_directions, in_turn(&inside, &of_span(&Matrix::new(drawn, shared)?), count));
        }
        Ok(Spanned {
            texts: picked,
            explained,
            random_texts,
            random_directions,
            components,
            variance: total / n,
            rank: texts.width(),
        })
    }
}

/// An orthonormal basis of what a map of `[d_in, d_out]` reaches.
struct Basis {
    /// `[k, d_in]`: what it makes of rows of `d_in` numbers, coordinates in the basis.
    into: Matrix,
    /// `[k, d_out]`: the basis.
    basis: Matrix,
}

impl Basis {
    fn of(map: &Matrix) -> Result<Self, AnalysisError> {
        // Of M M' = V L V' the basis is L^-1/2 V' M, and z M has the coordinates L^1/2 V' z.
        let Eigen { values, vectors } = Eigen::of(CARD.id, &map.products(map))?;
        let kept = kept(&values);
        let mut into = vectors.chosen(&kept);
        let mut basis = into.times(map);
        for ((row, own), at) in into.rows_mut().zip(basis.rows_mut()).zip(&kept) {
            let root = values.get(*at).copied().unwrap_or(0.0).sqrt();
            row.iter_mut().for_each(|x| *x *= root);
            own.iter_mut().for_each(|x| *x /= root);
        }
        Ok(Self { into, basis })
    }

    /// Coordinates of what the map makes of rows.
    fn rows(&self, rows: &Matrix) -> Matrix {
        rows.products(&self.into)
    }

    /// Coordinates of the projections of vectors.
    fn vectors(&self, vectors: &Matrix) -> Matrix {
        vectors.products(&self.basis)
    }
}

/// The span of the first right singular vectors of some rows.
struct Span(Matrix);

impl Span {
    fn of(rows: &Matrix, rank: usize) -> Result<Self, AnalysisError> {
        let turned = rows.transposed();
        let Eigen { values, vectors } = Eigen::of(CARD.id, &turned.products(&turned))?;
        let mut kept = kept(&values);
        kept.truncate(rank);
        Ok(Self(vectors.chosen(&kept)))
    }

    fn rows(&self, rows: &Matrix) -> Matrix {
        rows.products(&self.0)
    }
}

/// The eigenvalues that are more than rounding.
fn kept(values: &[f64]) -> Vec<usize> {
    let least = LEAST * values.first().copied().unwrap_or(0.0);
    values
        .iter()
        .enumerate()
        .filter(|(_, value)| **value > least && **value > 0.0)
        .map(|(at, _)| at)
        .collect()
}

fn trace(square: &Matrix) -> f64 {
    square.rows().enumerate().filter_map(|(at, row)| row.get(at)).sum()
}

/// How rows `C`, less their mean, differ.
struct Spread {
    /// `C' C` within the span.
    covariance: Matrix,
    /// The square of all of `C`, what lies outside of the span included.
    total: f64,
}

impl Spread {
    /// What share is explained, where so much is left of what lies in the span.
    fn explained(&self, left: &Matrix) -> f64 {
        let share = (trace(&self.covariance) - trace(left)) / self.total;
        if self.total > 0.0 { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A covariance `C' C` once the direction is taken off every row of `C`.
fn without(covariance: &mut Matrix, direction: &[f64]) {
    let square = dot(direction, direction);
    let along: Vec<f64> = covariance.rows().map(|row| dot(row, direction) / square).collect();
    let both = dot(&along, direction) / square;
    for (row, (x, a)) in covariance.rows_mut().zip(direction.iter().zip(&along)) {
        for (value, (y, b)) in row.iter_mut().zip(direction.iter().zip(&along)) {
            *value += both * x * y - a * y - x * b;
        }
    }
}

/// The texts picked one after the other, and what share of the variance they explain so far. `None` where nothing is left.
fn greedy(spread: &Spread, texts: &Matrix, count: usize) -> (Vec<Option<usize>>, Vec<f64>) {
    let (total, mut left, mut texts) = (spread.total, spread.covariance.clone(), texts.clone());
    let lengths: Vec<f64> = texts.rows().map(|text| dot(text, text)).collect();
    let (mut picked, mut explained) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let varies = |(text, length): (&[f64], &f64)| {
            // What is left of a text that others say already is rounding.
            let own = dot(text, text) > LEAST * length;
            if own { left.rows().zip(text).map(|(row, x)| x * dot(row, text)).sum() } else { 0.0 }
        };
        let spreads: Vec<f64> = texts.rows().zip(&lengths).map(varies).collect();
        let mut best: Option<(usize, f64)> = None;
        for (at, own) in spreads.iter().enumerate() {
            // no NaN: rows are finite
            if *own > best.map_or(LEAST * total, |(_, most)| most) {
                best = Some((at, *own));
            }
        }
        if let Some((at, _)) = best {
            let chosen = texts.row(at).to_vec();
            without(&mut left, &chosen);
            let square = dot(&chosen, &chosen);
            for text in texts.rows_mut() {
                let along = dot(text, &chosen) / square;
                text.iter_mut().zip(&chosen).for_each(|(x, t)| *x -= along * t);
            }
        }
        picked.push(best.map(|(at, _)| at));
        explained.push(spread.explained(&left));
    }
    (picked, explained)
}

/// What share of the variance some directions explain, in their order: the first so many that are not said by those before.
fn in_turn(spread: &Spread, directions: &Matrix, count: usize) -> Vec<f64> {
    let mut left = spread.covariance.clone();
    let (mut before, mut explained): (Vec<Vec<f64>>, Vec<f64>) = (Vec::new(), Vec::with_capacity(count));
    for direction in directions.rows() {
        if explained.len() == count {
            break;
        }
        let mut own = direction.to_vec();
        for other in &before {
            let along = dot(&own, other) / dot(other, other);
            own.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
        }
        if dot(&own, &own) > LEAST * dot(direction, direction) {
            without(&mut left, &own);
            explained.push(spread.explained(&left));
            before.push(own);
        }
    }
    let last = explained.last().copied().unwrap_or(0.0);
    explained.resize(count, last);
    explained
}

/// That texts explain no more of some heads than what is drawn by chance, at any rank.
fn any_would_do(found: &[Spanned]) -> Option<Caution> {
    let above = |own: &Spanned| -> f64 {
        let drawn = own.random_texts.iter().zip(&own.random_directions);
        let each = own.explained.iter().zip(drawn).map(|(own, (a, b))| own - a.max(*b)); // no NaN: a table that holds one is refused
        each.fold(0.0, f64::max) // no NaN: a table that holds one is refused
    };
    let heads = found.iter().filter(|own| above(own) < ABOVE).count();
    (heads > 0).then(|| {
        let text = format!(
            "of {heads} of {} heads the texts explain no more than texts drawn from the list, or directions drawn by chance: any would do, and what these say of the head means nothing",
            found.len()
        );
        Caution::new(CautionKind::Chance, heads as f32 / found.len() as f32, text)
    })
}

/// That there are fewer pictures than a head has dimensions.
fn few(pictures: usize, of_head: usize, spanned: usize) -> Option<Caution> {
    (pictures <= of_head).then(|| {
        let text = format!(
            "{pictures} pictures for heads of {of_head} dimensions: what they write spans {spanned} at most, of which any few texts explain much; see `random texts`"
        );
        Caution::new(CautionKind::FewRows, pictures as f32, text)
    })
}
