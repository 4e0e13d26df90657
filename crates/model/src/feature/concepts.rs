//! Concepts: which recurring parts are the activations of a layer made of, where do they show, and which of them does the answer need?
//!
//! # Idea
//! Rows `x_i` of a site, of many cases, are written as sums of few parts `h_k`:
//!
//! ```text
//! k-means:   x_i ~ h_g(i),             g(i) the nearest of the means h
//! NMF:       x_i ~ sum_k w_ik h_k,     w >= 0, h >= 0
//! semi-NMF:  x_i ~ sum_k w_ik h_k,     w >= 0
//! error = sum_i |x_i - x~_i|^2 / sum_i |x_i - m|^2,   m the mean of the rows learned from
//! ```
//!
//! over rows that were held out. A concept is a part; its exemplars are the rows with most of it; its importance for an answer is what becomes of the objective `f` when what it
//! gives to the rows of a case is taken off: `f(x) - f(x - w_k h_k)`, or of k-means, with `m` in place of the mean of its rows, `f(x) - f(x - h_k + m)`.
//!
//! # In and out
//! In: a data set ([`Fit::learn`]), activations that were recorded ([`Fit::learn_from`]), or rows ([`Fit::fit`]); labels play no part. Out: a [`ConceptBank`], which is a method of single cases, how the search ended, and a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `error` | concept | ratio | of held-out rows, as above: `concepts`; `random rows`, as many rows learned from in place of the parts, the mean over draws; `principal components`, as many, with the mean |
//! | `training error` | concept | ratio | the same of the rows learned from: `concepts` |
//! | `share` | concept | ratio | of each concept: the rows in its group, of all learned from; or its amounts, of all amounts |
//! | `exemplars` | concept, rank | text | of each concept the rows learned from with most of it (k-means: nearest to the mean, of its group), as case and place; only of a data set. Empty where there are fewer |
//! | `exemplar places` | concept, rank, concept | none | `case`, `picture`, and the box in pixels of the original picture, `x0`, `y0`, `x1`, `y1`; -1 where there is none |
//! | `rows` | concept | count | learned from, held out, dimensions |
//!
//! Rows are held out by `held_out(groups, share, seed)`. Starts are those of [`KMeans::of`] and [`Factors::of`](mmlens_engine::Factors::of), by the seed itself; random rows of draw `k` are the first of
//! `drawn_order(rows, seed.at(2^32 + k))`. Amounts of rows that were not learned from are the least squares with `w >= 0`; parts of NMF have length one. How the search ended is told with the share of `sum |x|^2` by which the error
//! fell in the last round (of k-means 0) in the place of a gradient.
//!
//! Of a case a [`ConceptBank`] gives:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `activations` | token, patch or sample; concept | none | amounts `w`; of k-means `1 / (1 + distance)` from each mean |
//! | `importance` | concept | objective | what the objective loses without the concept |
//! | `random` | concept | objective | what it loses if every row is moved as far, in a direction drawn by chance, one for all rows; the mean over draws |
//! | `error` | | ratio | `sum |x - x~|^2 / sum |x|^2` over the rows of the case |
//! | `objective` | | objective | with nothing taken off |
//! | `cautions` | rank | text | that all changes are rounding; that no concept changes the objective more than the largest of the draws |
//!
//! # Settings
//! - `by`: `kmeans`, `nmf` or `semi-nmf` (the default: activations have both signs). `count`: 10 concepts.
//! - `site`: `text.blocks.0.resid_post`. Any site whose rows have a fixed length. `positions`: all. Sites without positions of a prompt take `all`; towers `pictures` too.
//! - `starts`: 4 of the search; `rounds`: 300 at most in each; `tolerance`: 1e-6, the share of `sum |x|^2` by which the error of NMF falls at most in the round that is the last.
//! - `negative`: `refuse` or `clip` to zero, of NMF, whose rows must not be negative (after a ReLU they are not). What is clipped is told.
//! - `held_out`: 0.2 of the groups. `draws`: 3 of random rows, and, in a case, of random directions. `exemplars`: 5 of each concept.
//! - Of a [`ConceptBank`] `draws`, `seed` and `rows` (16 variants share a pass) can be set anew; with 0 draws importance is left out.
//!
//! # Cost
//! One pass for each case, which ends at the site. Then `4 n count d` operations for each round of each start, in double precision, and `9 m^3` of the principal components, with `m` the smaller of `n` and `d`, and no more than 1024 rows
//! (drawn) where both are larger. Memory: three copies of the rows in double precision. A [`ConceptBank`] takes three passes, and one for each concept and `1 + draws`.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for zero counts, a share that is not between 0 and 1, a tolerance that is no finite number. Fitting: [`AnalysisError::Input`] for fewer groups than two, fewer rows than
//! concepts, negative rows where they are refused, rows of another site, rows that are all alike; [`AnalysisError::Cancelled`]. Running a [`ConceptBank`]: rows of another length, positions that the case does not have.
//!
//! # When it misleads
//! - Parts are found in any rows: compare `error` with `random rows`. Principal components are the least there is, and k-means and NMF lie above.
//! - Other seeds find other parts: NMF and k-means have many local minima. Look whether a concept comes back.
//! - The largest rows decide: the first position of a decoder, and registers of a tower, are long, and take concepts for themselves.
//! - A name that fits the exemplars need not fit the concept: look at rows with little of it, too.
//! - Taking a concept off puts the stream where the model has never been: compare with `random`.
//!
//! # Agreement
//! scikit-learn 1.9.1 from the same start: `KMeans` (Lloyd) and `non_negative_factorization` (`cd`) on the same rows: largest difference 9e-16; semi-NMF in NumPy. Identities tested: the
//! error never rises; no parts are better than as many principal components; importance is that of the edit, made by hand; a pattern planted in the tower of `shapes-clip` is a concept of k-means (five seeds, three strengths). Planted in the
//! weights of a neuron of a colour, in units of the length of a row, it is one of six parts of semi-NMF: at 4 with a cosine of 0.68 to 0.97, at 2 of 0.64 to 0.89 (exemplars show the colour, 4 or 5 of 5); at 1 it shares a part with
//! others (0.18 to 0.66, and 0.07 to 0.21 with nothing planted).
//!
//! # Reference
//! Fel et al.: CRAFT: Concept Recursive Activation FacTorization for Explainability. CVPR 2023. <https://arxiv.org/abs/2211.10154> (NMF; there importance is a Sobol index over masks of all concepts, here each is taken off by itself);
//! Parekh et al.: A Concept-Based Explainability Framework for Large Multimodal Models. NeurIPS 2024. <https://arxiv.org/abs/2406.08074> (semi-NMF and k-means on a language model's stream); Ding, Li, Jordan: Convex and
//! Semi-Nonnegative Matrix Factorizations. PAMI 32, 2010. Random rows and directions are ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_model::{Concepts, concepts::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let words = from_fn("words", 12, |i| Ok(Case::new(Sample::text("ab".repeat(i % 4 + 1)))));
//! let concepts = Concepts::new(Settings { count: 2, ..Settings::default() })?;
//! let learned = concepts.learn(&On::new(&toy), &words, Seed(1))?;
//! println!("{:?}", learned.finding.table("exemplars")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    AnalysisError, Card, Ended, Examples, Fit, Leaf, Outcome, Part, Point, Seed, Site, Source, Split, Watch,
    learned_from, step,
};
use mmlens_engine::{
    Factors, KMeans, Matrix, Positions, Search, Shows, dot, drawn_order, observed, principal,
};
use serde::{Deserialize, Serialize};

use crate::check::{at_least_one, at_most, input, not_below_zero, share};

mod bank;

pub use bank::{ConceptBank, Learned};

/// What this method is.
pub const CARD: Card = Card {
    id: "concepts",
    short: "concepts",
    name: "Concepts by k-means, NMF or semi-NMF",
    question: "Which recurring parts are the activations of a layer made of, and which of them does the answer need?",
    citation: "Fel et al.: CRAFT: Concept Recursive Activation FacTorization for Explainability. CVPR 2023. https://arxiv.org/abs/2211.10154",
    leaf: Leaf::Feature,
    cost: "1 forward for each case; of what was learned 3 forward and 1 for each concept and draw",
    needs: &[],
    misleads: &[
        "Parts are found in any rows: compare with random rows and principal components.",
        "Other seeds find other parts.",
        "The largest rows decide.",
    ],
    first: false,
};

/// Which item of a seed the draws of random rows, and of rows for principal components, are.
const RANDOM: u64 = 1 << 32;
const COMPONENTS: u64 = 1 << 33;
/// No more rows than this are taken for principal components, where there are more dimensions, too.
const MOST: usize = 1024;
/// Rounds in which amounts of other rows are found.
pub(super) const ROUNDS: usize = 1000;

/// How parts are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Means of groups.
    #[serde(rename = "kmeans")]
    KMeans,
    /// Non-negative parts in non-negative amounts.
    Nmf,
    /// Parts of either sign in non-negative amounts.
    #[default]
    SemiNmf,
}

/// What becomes of negative numbers, of NMF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Negative {
    /// They are refused.
    #[default]
    Refuse,
    /// They become zero.
    Clip,
}

/// How concepts are found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How parts are found.
    pub by: By,
    /// How many.
    pub count: usize,
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// How many starts.
    pub starts: usize,
    /// The most rounds of each.
    pub rounds: usize,
    /// By what share the error falls at most in the last round, of NMF.
    pub tolerance: f64,
    /// What becomes of negative numbers, of NMF.
    pub negative: Negative,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// How many draws of random rows and directions.
    pub draws: usize,
    /// How many exemplars of each concept.
    pub exemplars: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            by: By::SemiNmf,
            count: 10,
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::All,
            starts: 4,
            rounds: 300,
            tolerance: 1e-6,
            negative: Negative::Refuse,
            held_out: 0.2,
            draws: 3,
            exemplars: 5,
        }
    }
}

/// What finds concepts, with checked settings.
#[derive(Debug, Clone)]
pub struct Concepts {
    settings: Settings,
}

/// What a search found: parts, how much of each is in the rows learned from, and how it ended.
struct Found {
    parts: Matrix,
    /// `[rows, parts]`, larger where a row has more of it; of k-means negative distances, minus infinity outside of the group.
    much: Matrix,
    share: Vec<f64>,
    ended: Ended,
}

impl Fit for Concepts {
    type From = Examples;
    type Settings = Settings;
    type Fitted = ConceptBank;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { count, starts, rounds, draws, .. } = settings;
        for (name, count) in [("count", count), ("starts", starts), ("rounds", rounds), ("draws", draws)] {
            at_least_one(&CARD, name, count)?;
        }
        at_most(&CARD, "exemplars", settings.exemplars)?;
        not_below_zero(&CARD, "tolerance", settings.tolerance)?;
        share(&CARD, "held_out", settings.held_out)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(
        &self,
        from: &Examples,
        seed: Seed,
        watch: &dyn Watch,
    ) -> Result<Outcome<ConceptBank>, AnalysisError> {
        self.found_in(from, None, seed, watch)
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        _keep: Option<&Path>,
    ) -> Result<Outcome<ConceptBank>, AnalysisError> {
        match from {
            Source::Cases(on, data) => {
                let Settings { site, positions, .. } = &self.settings;
                let (from, seen) = observed((on, CARD.id), *data, *site, positions)?;
                self.found_in(&from, Some(&seen), seed, on.watch())
            }
            Source::Recorded(recorded, watch) => {
                let rows = recorded.rows(self.settings.site)?;
                let all: Vec<usize> = (0..rows.len()).collect();
                let (values, labels) = (rows.read(&all)?, vec![0; rows.len()]);
                let from = Examples::new(rows.data(), values, vec!["row".to_owned()], labels)?;
                let from = from.grouped(rows.groups()?)?;
                self.fit(&from.made(rows.provenance()), seed, *watch)
            }
        }
    }
}

impl Concepts {
    fn found_in(
        &self,
        from: &Examples,
        seen: Option<&[(usize, Shows)]>,
        seed: Seed,
        watch: &dyn Watch,
    ) -> Result<Outcome<ConceptBank>, AnalysisError> {
        let Settings { by, count, site, starts, rounds, draws, .. } = self.settings;
        let split = Split::of(&CARD, (from, site), self.settings.held_out, seed)?;
        let values: Vec<f32> = from.rows().flatten().copied().collect();
        let (all, clipped) = admitted(by, self.settings.negative, Matrix::of_floats(&values, from.width())?)?;
        let (kept, held) = (split.rows(false), split.rows(true));
        let (rows, test) = (all.chosen(&kept), all.chosen(&held));
        if rows.len() < count {
            return Err(input(
                &CARD,
                "at least as many rows to learn from as concepts",
                format!("there are {}", rows.len()),
            ));
        }
        let mean = rows.mean();
        if rows.clone().less(&mean).square() == 0.0 || test.clone().less(&mean).square() == 0.0 {
            return Err(input(&CARD, "rows that differ", "they are all alike"));
        }
        let searched = starts * if by == By::KMeans { 1 } else { rounds };
        let total = searched + draws + 1;
        let own = self.search(&rows, seed, &mut |done| step(watch, CARD.id, done, total))?;
        let mut random = 0.0;
        for draw in 0..draws {
            let order = drawn_order(rows.len(), seed.at(RANDOM + draw as u64));
            let chosen = rows.chosen(order.get(..count).unwrap_or_default());
            random += error(by, &test, &chosen, &mean) / draws as f64;
            step(watch, CARD.id, searched + draw + 1, total)?;
        }
        let components = components(&rows, count, &mean, seed)?;
        let best = test.clone().less(&mean);
        let explained: f64 = best.products(&components).square();
        let principal = (1.0 - explained / best.square()).max(0.0); // no NaN: rows that differ
        step(watch, CARD.id, total, total)?;

        let errors = [error(by, &test, &own.parts, &mean), random, principal];
        let training = error(by, &rows, &own.parts, &mean);
        let sizes = [kept.len(), held.len(), from.width()];
        let mut tables = tables(&errors, training, &own.share, sizes)?;
        if let Some(seen) = seen {
            tables.extend(self.exemplars(&own, &kept, seen)?);
        }
        tables.extend(Caution::tables(&cautions(errors, clipped))?);
        let learned = Learned {
            by,
            site,
            positions: self.settings.positions.clone(),
            negative: self.settings.negative,
            parts: own.parts.rows().map(<[f64]>::to_vec).collect(),
            mean,
            draws,
            seed,
            ..Learned::default()
        };
        let made = learned_from((&CARD, &self.settings), (from, site), seed)?;
        Outcome::of(learned, own.ended, (made, tables))
    }

    fn search(
        &self,
        rows: &Matrix,
        seed: Seed,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<Found, AnalysisError> {
        let Settings { by, count, starts, rounds, tolerance, .. } = self.settings;
        let ended = |converged, steps, gradient| match converged {
            true => Ended::Converged { steps, gradient },
            false => Ended::Stopped { steps, gradient },
        };
        if by == By::KMeans {
            let found = KMeans::of(rows, count, (starts, rounds), seed, each)?;
            let mut much = Matrix::zeros(rows.len(), count);
            let mut share = vec![0.0; count];
            for ((own, row), group) in much.rows_mut().zip(rows.rows()).zip(&found.groups) {
                own.fill(f64::NEG_INFINITY);
                let far: f64 =
                    row.iter().zip(found.centres.row(*group)).map(|(x, c)| (x - c) * (x - c)).sum();
                own[*group] = -far;
                share[*group] += 1.0 / rows.len() as f64;
            }
            let ended = ended(found.converged, found.rounds, 0.0);
            return Ok(Found { parts: found.centres, much, share, ended });
        }
        let search = Search { non_negative: by == By::Nmf, rounds, tolerance };
        let found = Factors::of(rows, count, (starts, search), seed, each)?;
        let sums: Vec<f64> = (0..count).map(|at| found.amounts.rows().map(|row| row[at]).sum()).collect();
        let total: f64 = sums.iter().sum();
        let share = sums.into_iter().map(|sum| if total > 0.0 { sum / total } else { 0.0 }).collect();
        let ended = ended(found.converged, found.rounds, found.fell);
        Ok(Found { parts: found.parts, much: found.amounts, share, ended })
    }

    /// The rows with most of each concept.
    fn exemplars(
        &self,
        own: &Found,
        kept: &[usize],
        seen: &[(usize, Shows)],
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let most = self.settings.exemplars;
        let (mut said, mut places) = (Vec::new(), Vec::new());
        for at in 0..own.parts.len() {
            let mut order: Vec<(usize, f64)> = own.much.rows().map(|row| row[at]).enumerate().collect();
            order.retain(|(_, much)| much.is_finite() && (self.settings.by == By::KMeans || *much > 0.0));
            order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))); // no NaN: what is not finite is left out
            for rank in 0..most {
                let row = order.get(rank).and_then(|(row, _)| seen.get(*kept.get(*row)?));
                said.push(row.map_or_else(String::new, |(case, shows)| format!("case {case}: {shows}")));
                let case = row.map_or(-1.0, |(case, _)| *case as f32);
                places.push(case);
                match row.and_then(|(_, shows)| shows.patch()) {
                    Some(patch) => {
                        places.push(patch.image as f32);
                        places.extend(patch.bbox);
                    }
                    None => places.extend([-1.0; 5]),
                }
            }
        }
        let axes = || vec![Axis::count(Role::Feature, own.parts.len()), Axis::count(Role::Rank, most)];
        let names = Axis::names(Role::Concept, ["case", "picture", "x0", "y0", "x1", "y1"]);
        Ok(vec![
            Labelled::texts("exemplars", axes(), said)?,
            Labelled::numbers("exemplar places", Unit::None, [axes(), vec![names]].concat(), places)?.aside(),
        ])
    }
}

/// Rows as a kind of parts takes them, and what share of their square was clipped.
pub(super) fn admitted(by: By, negative: Negative, mut rows: Matrix) -> Result<(Matrix, f64), AnalysisError> {
    if by != By::Nmf {
        return Ok((rows, 0.0));
    }
    let below = rows.values().iter().filter(|value| **value < 0.0).count();
    if below > 0 && negative == Negative::Refuse {
        let found = format!(
            "{below} of {} are below zero: take a site after a ReLU, `negative` = \"clip\", or `by` = \"semi-nmf\"",
            rows.values().len()
        );
        return Err(input(&CARD, "numbers that are not negative", found));
    }
    let (all, mut gone) = (rows.square(), 0.0);
    for value in rows.rows_mut().flatten().filter(|value| **value < 0.0) {
        gone += *value * *value;
        *value = 0.0;
    }
    Ok((rows, if all > 0.0 { gone / all } else { 0.0 }))
}

/// What parts make of rows.
pub(super) fn made_of(by: By, rows: &Matrix, parts: &Matrix) -> Matrix {
    match by {
        By::KMeans => {
            let groups = KMeans::from(rows, parts.clone(), 0).groups;
            parts.chosen(&groups)
        }
        _ => Factors::amounts_of(rows, parts, ROUNDS).times(parts),
    }
}

/// The share of the spread of rows around a mean that parts miss.
fn error(by: By, rows: &Matrix, parts: &Matrix, mean: &[f64]) -> f64 {
    let made = made_of(by, rows, parts);
    let missed: f64 = rows
        .rows()
        .zip(made.rows())
        .map(|(x, y)| x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>())
        .sum();
    missed / rows.clone().less(mean).square()
}

/// The first principal components of rows, a row each.
fn components(rows: &Matrix, count: usize, mean: &[f64], seed: Seed) -> Result<Matrix, AnalysisError> {
    let centred = match rows.len().min(rows.width()) > MOST {
        false => rows.clone(),
        true => rows.chosen(drawn_order(rows.len(), seed.at(COMPONENTS)).get(..MOST).unwrap_or_default()),
    };
    principal(CARD.id, &centred.less(mean), count)
}

fn tables(
    errors: &[f64; 3],
    training: f64,
    share: &[f64],
    sizes: [usize; 3],
) -> Result<Vec<Labelled>, AnalysisError> {
    let concepts = |names: &[&str]| Axis::names(Role::Concept, names.iter().copied());
    let table = |name: &str, unit, axes, values: Vec<f64>| {
        Labelled::numbers(name, unit, axes, values.into_iter().map(|value| value as f32).collect())
    };
    let names = ["concepts", "random rows", "principal components"];
    Ok(vec![
        table("error", Unit::Ratio, vec![concepts(&names)], errors.to_vec())?,
        table("training error", Unit::Ratio, vec![concepts(&["concepts"])], vec![training])?.aside(),
        table("share", Unit::Ratio, vec![Axis::count(Role::Feature, share.len())], share.to_vec())?,
        table(
            "rows",
            Unit::Count,
            vec![concepts(&["learned from", "held out", "dimensions"])],
            sizes.map(|size| size as f64).to_vec(),
        )?
        .aside(),
    ])
}

/// What speaks against taking the concepts at their word.
fn cautions([own, random, _]: [f64; 3], clipped: f64) -> Vec<Caution> {
    let mut said = Vec::new();
    if own >= random {
        let text = format!(
            "concepts miss {:.1} % of what held-out rows differ by, and as many rows drawn by chance miss {:.1} %: nothing was found that is not in any rows",
            100.0 * own,
            100.0 * random
        );
        said.push(Caution::new(CautionKind::NoBetter, (random - own) as f32, text));
    }
    if clipped > 0.0 {
        let text = format!("{:.1} % of the square of the rows was below zero and clipped", 100.0 * clipped);
        said.push(Caution::new(CautionKind::Other, clipped as f32, text));
    }
    said
}

/// The length of a vector.
pub(super) fn length(vector: &[f64]) -> f64 {
    dot(vector, vector).sqrt()
}
