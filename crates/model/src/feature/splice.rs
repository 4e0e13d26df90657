//! SpLiCE: of which few concepts is a picture's embedding made?
//!
//! # Idea
//! With `z_i` the vector of picture `i` in the shared space and `c_j` those of a dictionary of texts, all of length one, `m` the mean of the pictures' vectors and `q` that of the texts',
//!
//! ```text
//! z^_i = (z_i - m) / |z_i - m|,   c^_j = (c_j - q) / |c_j - q|
//! w_i  = argmin over w >= 0 of  |z^_i - sum_j w_j c^_j|^2 + l1 sum_j w_j
//! made = (C / |C| + m) / |C / |C| + m|,   C = sum_j w_ij c^_j,   cosine_i = made . z_i
//! ```
//!
//! The means are taken off because pictures and texts lie in cones of their own ([`modality_gap`](crate::modality_gap)). Where no concept is used, `made` is `m / |m|`.
//!
//! # In and out
//! In: [`ManyCases`], each with one picture (the first), at least two. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `concepts` | sample, rank | text | the texts with the largest weights of each picture, largest first; empty where there are fewer |
//! | `weights` | sample, rank | none | their weights; zero where there are fewer |
//! | `cosine` | sample, concept | cosine | of `made` with the picture; of the `mean alone`; of what a `random dictionary` makes at the same `l1`, the mean over draws |
//! | `count` | sample, concept | count | concepts of weight above zero; and of the `random dictionary` |
//! | `path` | step, concept | as below | for each `l1` of the path, means over pictures: `concepts`, `cosine`, `random concepts`, `random cosine` |
//! | `mean weights` | concept | none | the mean over all pictures of the weight of every text that some picture uses, largest first |
//! | `rows` | concept | count | `pictures`, `texts`, `dimensions` |
//!
//! Of equal weights the text that comes first in the list is the first.
//!
//! # Settings
//! - `texts`: the dictionary, or `{"file": FILE}` with a text on each line ([`WordList`]), at least two. There is no default.
//! - `l1`: 0.15, as the authors' examples have it. scikit-learn's `alpha` is `l1 / (2 d)`.
//! - `path`: 0.05, 0.1, 0.2, 0.3, 0.4.
//! - `centred`: yes. Without it no mean is taken off (`m = q = 0`), and where no concept is used the cosine is 0.
//! - `top`: 10 concepts of each picture.
//! - `draws`: 1 random dictionary: as many directions as there are texts, drawn by chance, treated alike; direction `j` of draw `k` is `direction(dimensions, seed.at(k).at(j))`. `seed`: 0.
//! - `rows`: 64 texts share a pass.
//!
//! # Cost
//! One forward pass for each case and a row for each text. Then, for each picture, each `l1` and each dictionary, some `2 V d` operations. Memory: the vectors of pictures, texts and random
//! directions, 8 bytes a number.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no `top` or `draws`, penalties that are not above zero. Running: [`AnalysisError::Setting`] for fewer than two texts, or one that comes twice;
//! [`AnalysisError::Input`] for a subject that shares no space, fewer than two cases, vectors that are the mean itself; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A dictionary makes something of any picture: read `cosine` beside `mean alone` and `random dictionary`. A high cosine is mostly the mean of the pictures.
//! - Concepts that mean alike share weight or stand in for one another, and which of them is chosen depends on the list (Bhalla et al. 2024, section 6).
//! - The mean is that of the pictures given: what they have in common is in no weight. With few pictures it is that of these few.
//! - The weights say how an embedding can be written, not how the model made it.
//!
//! # Agreement
//! scikit-learn 1.9.1, `Lasso(positive=True)` with `alpha = l1 / (2 d)` (tolerance 1e-14) on transformers' vectors of `clip-a` and `siglip-a`: largest difference of weights 3e-6. Identities tested:
//! the conditions of optimality; a larger `l1` never gives less of a penalty's sum; a picture that is a text of the dictionary is that text.
//!
//! # Reference
//! Bhalla, Oesterling, Srinivas, Calmon, Lakkaraju: Interpreting CLIP with Sparse Linear Concept Embeddings (SpLiCE). NeurIPS 2024. <https://arxiv.org/abs/2402.10376>. There the mean is that of a large set of pictures and the
//! dictionary 10,000 words; here both are given. The random dictionary is ours. There weights can be set to zero, and the embedding put together again without them, to see what a classifier then says
//! (their intervention); that is not done here: `concepts` and `weights` tell what such an embedding would be made of, and no model is run on it.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, ManyCases};
//! use mmlens_engine::WordList;
//! use mmlens_model::splice::{Settings, Splice};
//! # fn explain(clip: &dyn mmlens_core::Subject, data: &ManyCases) -> Result<(), mmlens_core::AnalysisError> {
//! let texts = WordList::Lines { file: "words.txt".into() };
//! let finding = Splice::new(Settings { texts, ..Settings::default() })?.run(clip, data)?;
//! println!("{:?}", finding.table("concepts")?.as_texts());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit, fixed, largest};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Copies, Cost, Leaf, ManyCases, On, Part, Plan, Seed,
};
use mmlens_engine::{
    Code, CodeLimits, Matrix, Progress, WordList, direction, dot, first_picture, projected, text_inputs,
    text_vectors,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{above_zero, at_least_one, input, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "splice",
    short: "splice",
    name: "SpLiCE: sparse linear concept embeddings",
    question: "Of which few concepts is a picture's embedding made?",
    citation: "Bhalla, Oesterling, Srinivas, Calmon, Lakkaraju: Interpreting CLIP with Sparse Linear Concept Embeddings (SpLiCE). NeurIPS 2024. https://arxiv.org/abs/2402.10376",
    leaf: Leaf::Feature,
    cost: "1 forward for each case, 1 row for each text",
    needs: &[Capability::SharedSpace],
    misleads: &[
        "A dictionary makes something of any picture: compare with the mean alone and a random dictionary.",
        "Concepts that mean alike stand in for one another.",
        "The weights say how an embedding can be written, not how the model made it.",
    ],
    first: false,
};

/// When the search for a code ends.
const LIMITS: CodeLimits = CodeLimits { rounds: 20_000, missed: 1e-9 };
/// With fewer pictures the mean is cautioned of.
const FEW: usize = 10;
/// A cosine no more than this above that of a random dictionary is cautioned of.
const ABOVE: f64 = 0.01;

/// What a picture is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The dictionary.
    pub texts: WordList,
    /// The penalty of the weights.
    pub l1: f64,
    /// Other penalties, to see what becomes of count and cosine.
    pub path: Vec<f64>,
    /// Whether means are taken off.
    pub centred: bool,
    /// How many concepts of each picture are named.
    pub top: usize,
    /// How many random dictionaries.
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
            l1: 0.15,
            path: vec![0.05, 0.1, 0.2, 0.3, 0.4],
            centred: true,
            top: 10,
            draws: 1,
            seed: Seed(0),
            rows: 64,
        }
    }
}

/// SpLiCE with checked settings.
#[derive(Debug, Clone)]
pub struct Splice {
    settings: Settings,
    rows: NonZeroUsize,
}

/// Pictures, each less the mean and of length one, and what is put back.
struct Pictures {
    /// As they are, of length one.
    own: Matrix,
    centred: Matrix,
    mean: Vec<f64>,
}

/// What a dictionary makes of all pictures at one penalty.
struct Coded {
    codes: Vec<Code>,
    cosines: Vec<f64>,
}

impl Analysis for Splice {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "top", settings.top)?;
        at_least_one(&CARD, "draws", settings.draws)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        above_zero(&CARD, "l1", settings.l1)?;
        for value in &settings.path {
            above_zero(&CARD, "path", *value)?;
        }
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, data: &ManyCases) -> Result<Cost, AnalysisError> {
        let (subject, texts) = (on.subject(), self.settings.texts.texts(CARD.id)?);
        let plan = Plan::new().read(projected(Part::Vision))?;
        let (mut forward, mut widest, mut lent) = (texts.len(), 0, None);
        for index in 0..data.len() {
            let sample = data.data().case(index)?.sample;
            let inputs = on.encode(&sample)?;
            forward += inputs.rows();
            widest = u64::max(widest, subject.need(&inputs, &plan, Copies::ONE)?.bytes); // no NaN: whole numbers
            lent = lent.or(Some(sample));
        }
        let width = subject.sites().iter().find(|spec| spec.site == projected(Part::Text));
        let width = width.and_then(|spec| spec.axes.last()?.1).unwrap_or(0);
        if let Some(sample) = lent {
            let some = texts.get(..texts.len().min(self.rows.get())).unwrap_or_default();
            let inputs = text_inputs(subject, &first_picture(CARD.id, &sample)?, some)?;
            let read = Plan::new().read(projected(Part::Text))?;
            widest = u64::max(widest, subject.need(&inputs, &read, Copies::ONE)?.bytes); // no NaN: whole numbers
        }
        let held = 8 * width * (3 * data.len() + 3 * texts.len());
        Ok(Cost::rows(forward).taking(widest + held as u64, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, data: &ManyCases) -> Result<Answer, AnalysisError> {
        let texts = self.settings.texts.texts(CARD.id)?;
        if texts.len() < 2 {
            return Err(setting(&CARD, "texts", texts.len(), "at least two texts"));
        }
        if data.len() < 2 {
            return Err(input(&CARD, "at least two cases", format!("there are {}", data.len())));
        }
        let penalties: Vec<f64> =
            std::iter::once(self.settings.l1).chain(self.settings.path.iter().copied()).collect();
        let dictionaries = 1 + self.settings.draws;
        let total = texts.len() + data.len() + dictionaries * penalties.len();
        let mut progress = Progress::new(on.watch(), CARD.id, total);
        let lent = first_picture(CARD.id, &data.data().case(0)?.sample)?;
        let vectors = text_vectors((on, CARD.id), &lent, &texts, self.rows, &mut progress)?;
        let name = |row: usize| format!("the vector of `{}`", texts.get(row).map_or("", String::as_str));
        let vectors = lengthened(vectors, &name)?;
        let pictures = self.pictures(on, data, vectors.values().len(), &mut progress)?;
        let (_, atoms) = self.centred(vectors, &name)?;
        let mut found: Vec<Coded> = Vec::with_capacity(penalties.len());
        for penalty in &penalties {
            found.push(coded(&pictures, &atoms, *penalty));
            progress.advance(1)?;
        }
        let mut random: Vec<[Vec<f64>; 2]> =
            vec![[vec![0.0; data.len()], vec![0.0; data.len()]]; penalties.len()];
        for draw in 0..self.settings.draws as u64 {
            let seed = self.settings.seed.at(draw);
            let drawn =
                (0..texts.len() as u64).flat_map(|at| direction(atoms.width(), seed.at(at))).collect();
            let (_, drawn) =
                self.centred(Matrix::new(drawn, atoms.width())?, &|row| format!("random direction {row}"))?;
            for (sums, penalty) in random.iter_mut().zip(&penalties) {
                let made = coded(&pictures, &drawn, *penalty);
                let [counts, cosines] = sums;
                let draws = self.settings.draws as f64;
                counts
                    .iter_mut()
                    .zip(&made.codes)
                    .for_each(|(sum, code)| *sum += code.weights.len() as f64 / draws);
                cosines.iter_mut().zip(&made.cosines).for_each(|(sum, cosine)| *sum += cosine / draws);
                progress.advance(1)?;
            }
        }
        let alone = alone(&pictures);
        let tables = self.tables(&texts, &found, &random, (&alone, atoms.width()))?;
        let cautions = cautions(&found, &random, data.len());
        Ok(Answer::new(tables, [projected(Part::Vision), projected(Part::Text)])
            .against("the mean of the pictures, and dictionaries of random directions")
            .seeded(self.settings.seed)
            .cautioned(cautions)
            .settled("texts", json!(texts)))
    }
}

impl Splice {
    /// The first picture of every case.
    fn pictures(
        &self,
        on: &On<'_>,
        data: &ManyCases,
        beside: usize,
        progress: &mut Progress<'_>,
    ) -> Result<Pictures, AnalysisError> {
        let (subject, site) = (on.subject(), projected(Part::Vision));
        let (mut all, mut width) = (Vec::new(), 1);
        for index in 0..data.len() {
            let inputs = on.encode(&data.data().case(index)?.sample)?;
            let plan = Plan::new().read(site)?;
            on.memory().hold(
                CARD.id,
                8 * (beside + all.len()) as u64,
                subject.need(&inputs, &plan, Copies::ONE)?,
            )?;
            let first = subject.run(&inputs, plan)?.get(site)?.rows(0, 1)?;
            width = first.dims().last().copied().unwrap_or(1);
            all.extend(first.finite_values(site)?.into_iter().map(f64::from));
            progress.advance(1)?;
        }
        let name = |row: usize| format!("the picture of case {row}");
        let own = lengthened(Matrix::new(all, width)?, &name)?;
        let (mean, centred) = self.centred(own.clone(), &name)?;
        Ok(Pictures { own, centred, mean })
    }

    /// Rows less their mean, each of length one; and the mean.
    fn centred(
        &self,
        rows: Matrix,
        name: &dyn Fn(usize) -> String,
    ) -> Result<(Vec<f64>, Matrix), AnalysisError> {
        if !self.settings.centred {
            return Ok((vec![0.0; rows.width()], rows));
        }
        let mean = rows.mean();
        let less = rows.less(&mean);
        // What rounding leaves of rows that are all alike has no direction.
        let alike = less.rows().position(|row| dot(row, row).sqrt() < 1e-9);
        match alike {
            Some(row) => {
                Err(input(&CARD, "vectors that differ from their mean", format!("{} does not", name(row))))
            }
            None => Ok((mean, lengthened(less, name)?)),
        }
    }

    fn tables(
        &self,
        texts: &[String],
        found: &[Coded],
        random: &[[Vec<f64>; 2]],
        (alone, width): (&[f64], usize),
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let none = Coded { codes: Vec::new(), cosines: Vec::new() };
        let empty = [Vec::new(), Vec::new()];
        let (first, drawn) = (found.first().unwrap_or(&none), random.first().unwrap_or(&empty));
        let (count, top) = (alone.len(), self.settings.top);
        let sample = || Axis::count(Role::Sample, count);
        let concepts = |names: &[&str]| Axis::names(Role::Concept, names.iter().copied());
        let table = |name: &str, unit, axes, values: Vec<f64>| {
            Labelled::numbers(name, unit, axes, values.into_iter().map(|value| value as f32).collect())
        };
        let (mut names, mut weights) = (Vec::new(), Vec::new());
        let mut means = vec![0.0; texts.len()];
        for code in &first.codes {
            let mut own = code.weights.clone();
            for (at, weight) in &own {
                if let Some(mean) = means.get_mut(*at) {
                    *mean += weight / count as f64;
                }
            }
            own.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))); // no NaN: of finite vectors
            for rank in 0..top {
                let one = own.get(rank);
                names.push(one.and_then(|(at, _)| texts.get(*at).cloned()).unwrap_or_default());
                weights.push(one.map_or(0.0, |(_, weight)| *weight));
            }
        }
        let ranked = || vec![sample(), Axis::count(Role::Rank, top)];
        let mut tables = vec![
            Labelled::texts("concepts", ranked(), names)?,
            table("weights", Unit::None, ranked(), weights)?,
        ];
        let [counts, cosines] = drawn;
        let each = first.cosines.iter().zip(alone).zip(cosines);
        let values = each.flat_map(|((cosine, alone), random)| [*cosine, *alone, *random]).collect();
        let axes = vec![sample(), concepts(&["made", "mean alone", "random dictionary"])];
        tables.push(table("cosine", Unit::Cosine, axes, values)?);
        let each = first.codes.iter().zip(counts);
        let values = each.flat_map(|(code, random)| [code.weights.len() as f64, *random]).collect();
        tables.push(table(
            "count",
            Unit::Count,
            vec![sample(), concepts(&["concepts", "random dictionary"])],
            values,
        )?);
        if found.len() > 1 {
            let rows = found.iter().zip(random).skip(1).flat_map(|(own, [counts, cosines])| {
                let used: Vec<f64> = own.codes.iter().map(|code| code.weights.len() as f64).collect();
                [mean(&used), mean(&own.cosines), mean(counts), mean(cosines)]
            });
            let steps = Axis::names(Role::Step, self.settings.path.iter().map(ToString::to_string));
            let names = ["concepts", "cosine", "random concepts", "random cosine"];
            tables.push(table("path", Unit::None, vec![steps, concepts(&names)], rows.collect())?);
        }
        let mut used: Vec<(usize, f64)> =
            means.into_iter().enumerate().filter(|(_, mean)| *mean > 0.0).collect();
        used.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))); // no NaN: of finite vectors
        let names = used.iter().filter_map(|(at, _)| texts.get(*at).map(String::as_str));
        let axes = vec![Axis::names(Role::Concept, names)];
        tables.push(
            table("mean weights", Unit::None, axes, used.iter().map(|(_, mean)| *mean).collect())?.aside(),
        );
        let rows = [count as f64, texts.len() as f64, width as f64].to_vec();
        tables.push(
            table("rows", Unit::Count, vec![concepts(&["pictures", "texts", "dimensions"])], rows)?.aside(),
        );
        Ok(tables)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn lengthened(rows: Matrix, name: &dyn Fn(usize) -> String) -> Result<Matrix, AnalysisError> {
    rows.normalised()
        .map_err(|row| input(&CARD, "vectors that have a length", format!("{} is zero", name(row))))
}

/// What atoms make of all pictures at one penalty.
fn coded(pictures: &Pictures, atoms: &Matrix, penalty: f64) -> Coded {
    let codes: Vec<Code> =
        pictures.centred.rows().map(|row| Code::of(row, atoms, penalty, LIMITS, &Code::default())).collect();
    let cosines = codes
        .iter()
        .zip(pictures.own.rows())
        .map(|(code, own)| cosine(&code.made(atoms), &pictures.mean, own));
    let cosines = cosines.collect();
    Coded { codes, cosines }
}

/// The cosine of a picture with what was made of it, of length one, and the mean.
fn cosine(made: &[f64], mean: &[f64], own: &[f64]) -> f64 {
    let length = dot(made, made).sqrt();
    let scaled = |x: f64| if length > 0.0 { x / length } else { 0.0 };
    let whole: Vec<f64> = made.iter().zip(mean).map(|(x, m)| scaled(*x) + m).collect();
    let length = dot(&whole, &whole).sqrt();
    if length > 0.0 { dot(&whole, own) / length } else { 0.0 }
}

/// The cosine of every picture with the mean of all.
fn alone(pictures: &Pictures) -> Vec<f64> {
    let nothing = vec![0.0; pictures.own.width()];
    pictures.own.rows().map(|own| cosine(&nothing, &pictures.mean, own)).collect()
}

/// What speaks against taking the concepts at their word.
fn cautions(found: &[Coded], random: &[[Vec<f64>; 2]], pictures: usize) -> Vec<Caution> {
    let mut said = Vec::new();
    let (Some(first), Some([_, drawn])) = (found.first(), random.first()) else { return said };
    if pictures < FEW {
        let text = format!(
            "the mean is that of {pictures} pictures alone: what they have in common is in no weight"
        );
        said.push(Caution::new(CautionKind::FewRows, pictures as f32, text));
    }
    let empty = first.codes.iter().filter(|code| code.weights.is_empty()).count();
    if empty > 0 {
        let text = format!(
            "{empty} of {pictures} pictures use no concept at all: `l1` is too large for them, or the dictionary says nothing of them"
        );
        said.push(Caution::new(CautionKind::NothingMoved, empty as f32, text));
    }
    let above = mean(&first.cosines) - mean(drawn);
    if above < ABOVE {
        let text = format!(
            "what the dictionary makes is no more like the pictures than what random directions make: the mean cosine is {} above theirs",
            fixed(above, 3)
        );
        said.push(Caution::new(CautionKind::NoBetter, above as f32, text));
    }
    let unfinished = found.iter().flat_map(|own| &own.codes).filter(|code| code.missed > LIMITS.missed);
    let missed: Vec<f64> = unfinished.map(|code| code.missed).collect();
    // What is no number is the worst.
    let worst = largest(&missed).unwrap_or(f64::INFINITY);
    if worst > 0.0 {
        let text = format!(
            "the search for some code was ended before its conditions were kept, which it misses by {worst:.1e}"
        );
        said.push(Caution::new(CautionKind::Gap, worst as f32, text));
    }
    said
}
