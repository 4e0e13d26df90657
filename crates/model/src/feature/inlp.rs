//! Nullspace projection: which directions of an activation tell a property, and what does the answer lose without them?
//!
//! # Idea
//! A linear probe is learned, the directions that it reads are taken off all rows, another is learned of what is left, and so on, until none tells the property better than always saying the most
//! frequent class (INLP, iterative nullspace projection):
//!
//! ```text
//! repeat:  w = the probe's weights on rows x - B'B x;   B <- an orthonormal basis of what B and w span
//! erased:  x - B'B x
//! ```
//!
//! # In and out
//! In: [`Examples`], or a data set with labels ([`Fit::learn`]). Out: an [`Erasure`], which is a method of single cases and a standing edit ([`Erasure::alteration`]), how the last search ended, and a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `scores` | concept | ratio | of held-out rows, accuracies of a probe learned `before`, `after` everything was taken off, and after as many `random directions` were (the mean over draws); `majority`, the share of the class most frequent among the rows learned from |
//! | `accuracy` | step | ratio | of held-out rows, of the probe learned once the directions of so many rounds are taken off |
//! | `rows` | concept | count | learned from, held out; directions, rounds |
//!
//! Of a case an [`Erasure`] gives:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `change` | concept | objective | the objective with the directions taken off, less the objective: `erased`; with as many `random directions`, the mean over draws |
//! | `p` | | probability | of a change that large by chance: `(1 + draws whose change is at least as large in magnitude) / (1 + draws)` |
//! | `taken off` | concept | ratio | the share of the rows' square that is taken off: `erased`, `random directions` |
//! | `random changes` | step | objective | draw by draw |
//! | `objective` | | objective | with nothing taken off |
//! | `cautions` | rank | text | that the change is rounding; that some draw of random directions changes the objective at least as much |
//!
//! # Settings
//! - `site`, `positions`, `c`, `held_out`, `steps`, `tolerance`: as of the [linear probe](crate::linear_probe).
//! - `rounds`: 10 at most. A round takes off one direction for two classes, and for more one less than there are classes.
//! - `draws`: 3 sets of random directions; direction `i` of draw `k` is `direction(width, seed.at(2^32 + k).at(i))`, made orthonormal in their order.
//! - Of an [`Erasure`] `draws` (10), `seed` and `rows` (16 variants share a pass) can be set anew; direction `i` of draw `k` is `direction(width, seed.at(k).at(i))`.
//!
//! # Cost
//! One pass for each case, which ends at the site. Then a search for each round, one more, and one for each draw. An [`Erasure`] takes three passes, and one for each draw and the edit.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for zero counts, numbers that are not positive and finite, a share that is not between 0 and 1. Fitting: [`AnalysisError::Input`] for fewer than two groups or classes, a class that no row
//! is learned from has, rows of another site, a property that no direction tells; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - What no linear function reads may still be there for a deeper one (Ravfogel et al. 2020, section 7).
//! - Directions that tell a property also tell what goes with it: taking off "red" may take off "circle" where red things are circles. Balance the data.
//! - Each round takes off a direction whether the model uses it or not: compare `change` with `random directions`, and few rounds with many.
//! - With few rows held out `majority` is reached by luck.
//!
//! # Agreement
//! scikit-learn 1.9.1, `LogisticRegression` in the same loop on the same rows and split, two and three classes: largest difference of the projection 6e-7, accuracies equal. Identities tested: what was taken off once is gone; an
//! [`Erasure`] and its standing edit change the answer alike; rows turned by an orthogonal map lose the directions that it turns theirs into; a direction planted in rows is found (five seeds, three strengths).
//! Where the embeddings of two words of `shapes-llava` are made to differ in a direction drawn by chance alone, that is the one that is found where they enter (cosine 1.00 for five seeds and pairs, three strengths). Behind two blocks
//! what these have made of it is: its cosine with the one planted is 0.15 to 0.48.
//!
//! # Reference
//! Ravfogel, Elazar, Gonen, Twiton, Goldberg: Null It Out: Guarding Protected Attributes by Iterative Nullspace Projection. ACL 2020. <https://arxiv.org/abs/2004.07667>. Random directions as control, of rows and of
//! answers: Elazar, Ravfogel, Jacovi, Goldberg: Amnesic Probing. TACL 2021. <https://arxiv.org/abs/2006.00995>.
//!
//! # Example
//! ```
//! use mmlens_core::{Annotated, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_model::{Inlp, inlp::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let of = |i: usize| format!("{}b{}", if i % 2 == 0 { "a" } else { "c" }, ["d", "e", "f"][i % 3]);
//! let data = from_fn("words", 24, |i| Ok(Case::new(Sample::text(of(i)))));
//! let data = Annotated::new(data, ["a", "c"], (0..24).map(|i| i % 2).collect())?;
//! let inlp = Inlp::new(Settings { site: "text.blocks.1.resid_post".parse()?, ..Settings::default() })?;
//! let learned = inlp.learn(&On::new(&toy), &data, Seed(1))?;
//! println!("{:?} {}", learned.finding.table("scores")?.as_numbers(), learned.fitted.alteration()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    AnalysisError, Card, Ended, Examples, Fit, Leaf, Outcome, Part, Point, Seed, Site, Source, Split, Watch,
    learned_from, orthonormal, step,
};
use mmlens_engine::distribution::largest;
use mmlens_engine::{Classed, Limits, Logistic, Matrix, Positions, direction, dot, examples_of};
use serde::{Deserialize, Serialize};

use crate::check::{above_zero, at_least_one, input, share};

mod erasure;

pub use erasure::{Erasure, Learned};

/// What this method is.
pub const CARD: Card = Card {
    id: "inlp",
    short: "inlp",
    name: "Iterative nullspace projection (INLP)",
    question: "Which directions of an activation tell a property, and what does the answer lose without them?",
    citation: "Ravfogel, Elazar, Gonen, Twiton, Goldberg: Null It Out: Guarding Protected Attributes by Iterative Nullspace Projection. ACL 2020. https://arxiv.org/abs/2004.07667",
    leaf: Leaf::Feature,
    cost: "1 forward for each case; of what was learned 3 forward and 1 for each draw",
    needs: &[],
    misleads: &[
        "What no linear function reads may still be there.",
        "Directions that tell a property also tell what goes with it.",
        "A round takes off a direction whether the model uses it or not.",
    ],
    first: false,
};

/// Which items of a seed the random directions are.
const RANDOM: u64 = 1 << 32;
/// An accuracy no more than this below that of random directions is cautioned of.
const BELOW: f64 = 0.01;

/// How directions are found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// The inverse strength of the penalty of a probe.
    pub c: f64,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// The most rounds.
    pub rounds: usize,
    /// The most steps of a search.
    pub steps: usize,
    /// The gradient at which a search has converged.
    pub tolerance: f64,
    /// How many sets of random directions.
    pub draws: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Last,
            c: 1.0,
            held_out: 0.2,
            rounds: 10,
            steps: 1000,
            tolerance: 1e-8,
            draws: 3,
        }
    }
}

/// What finds the directions of a property, with checked settings.
#[derive(Debug, Clone)]
pub struct Inlp {
    settings: Settings,
}

/// Rows learned from and held out, and their classes.
struct Task {
    rows: Matrix,
    labels: Vec<usize>,
    kept: Vec<usize>,
    held: Vec<usize>,
    classes: usize,
}

impl Fit for Inlp {
    type From = Examples;
    type Settings = Settings;
    type Fitted = Erasure;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        for (name, count) in
            [("rounds", settings.rounds), ("steps", settings.steps), ("draws", settings.draws)]
        {
            at_least_one(&CARD, name, count)?;
        }
        above_zero(&CARD, "c", settings.c)?;
        above_zero(&CARD, "tolerance", settings.tolerance)?;
        share(&CARD, "held_out", settings.held_out)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(&self, from: &Examples, seed: Seed, watch: &dyn Watch) -> Result<Outcome<Erasure>, AnalysisError> {
        let Settings { site, rounds, steps, draws, .. } = self.settings;
        let split = Split::of(&CARD, (from, site), self.settings.held_out, seed)?;
        split.with_every_class(&CARD, from)?;
        let task = Task::new(from, split)?;
        let total = (rounds + 1 + draws) * steps;
        let majority = task.majority();
        let (mut found_directions, mut accuracy): (Vec<Vec<f64>>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut ended = Ended::Converged { steps: 0, gradient: 0.0 };
        for round in 0..=rounds {
            let rows = less(&task.rows, &found_directions);
            let begun = round * steps;
            let (model, own) =
                self.search(&task, &rows, &mut |done| step(watch, CARD.id, begun + done, total))?;
            ended = own;
            accuracy.push(task.score(&rows, &model));
            let told = accuracy.last().is_some_and(|own| *own > majority);
            if !told || round == rounds {
                break;
            }
            let before = found_directions.len();
            let all: Vec<Vec<f64>> = found_directions.iter().cloned().chain(model.weights).collect();
            found_directions = orthonormal(&all)?;
            if found_directions.len() == before {
                break;
            }
        }
        if found_directions.is_empty() {
            let said = accuracy.first().copied().unwrap_or(0.0);
            let found = format!(
                "a probe is right in {said:.3} of held-out rows, and always saying the most frequent class in {majority:.3}"
            );
            return Err(input(&CARD, "a property that a linear function tells", found));
        }
        let mut random = 0.0;
        for draw in 0..draws {
            let drawn =
                random_directions(from.width(), found_directions.len(), seed.at(RANDOM + draw as u64))?;
            let rows = less(&task.rows, &drawn);
            let begun = (rounds + 1 + draw) * steps;
            let (model, _) =
                self.search(&task, &rows, &mut |done| step(watch, CARD.id, begun + done, total))?;
            random += task.score(&rows, &model) / draws as f64;
        }
        step(watch, CARD.id, total, total)?;
        let (before, after) = (accuracy.first().copied(), accuracy.last().copied());
        let (Some(before), Some(after)) = (before, after) else {
            return Err(input(&CARD, "at least one round", "there was none"));
        };
        let table = |name: &str, unit, names: &[&str], values: &[f64]| {
            let axis = Axis::names(Role::Concept, names.iter().copied());
            Labelled::numbers(name, unit, vec![axis], values.iter().map(|value| *value as f32).collect())
        };
        let names = ["before", "after", "random directions", "majority"];
        let counts = [task.kept.len(), task.held.len(), found_directions.len(), accuracy.len() - 1];
        let each = accuracy.iter().map(|value| *value as f32).collect();
        let mut tables = vec![
            table("scores", Unit::Ratio, &names, &[before, after, random, majority])?,
            Labelled::numbers("accuracy", Unit::Ratio, vec![Axis::count(Role::Step, accuracy.len())], each)?,
            table(
                "rows",
                Unit::Count,
                &["learned from", "held out", "directions", "rounds"],
                &counts.map(|count| count as f64),
            )?
            .aside(),
        ];
        tables.extend(Caution::tables(&cautions([after, random, majority]))?);
        let positions = self.settings.positions.clone();
        let learned = Learned { site, positions, directions: found_directions, seed, ..Learned::default() };
        let made = learned_from((&CARD, &self.settings), (from, site), seed)?;
        Outcome::of(learned, ended, (made, tables))
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        _keep: Option<&Path>,
    ) -> Result<Outcome<Erasure>, AnalysisError> {
        let rows = examples_of((from, CARD.id), self.settings.site, &self.settings.positions)?;
        self.fit(&rows, seed, from.watch())
    }
}

impl Inlp {
    fn search(
        &self,
        task: &Task,
        rows: &Matrix,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<(Logistic, Ended), AnalysisError> {
        let Settings { c, steps, tolerance, .. } = self.settings;
        let label = |row: &usize| task.labels.get(*row).copied().unwrap_or(0);
        let kept = Classed {
            values: rows.chosen(&task.kept).values().to_vec(),
            width: rows.width(),
            labels: task.kept.iter().map(label).collect(),
            classes: task.classes,
        };
        Logistic::fit(CARD.id, &kept, c, Limits { steps, gradient: tolerance }, each)
    }
}

impl Task {
    fn new(from: &Examples, split: Split) -> Result<Self, AnalysisError> {
        let (kept, held) = (split.rows(false), split.rows(true));
        let labels = from.labels().to_vec();
        let values: Vec<f32> = from.rows().flatten().copied().collect();
        let rows = Matrix::of_floats(&values, from.width())?;
        Ok(Self { rows, labels, kept, held, classes: from.classes().len() })
    }

    /// The share of held-out rows that are of the class most frequent among the rows learned from; of two that are as frequent, the first.
    fn majority(&self) -> f64 {
        let count = |class: usize, rows: &[usize]| {
            rows.iter().filter(|row| self.labels.get(**row) == Some(&class)).count()
        };
        let most =
            (0..self.classes).max_by_key(|class| (count(*class, &self.kept), std::cmp::Reverse(*class)));
        most.map_or(0, |class| count(class, &self.held)) as f64 / self.held.len().max(1) as f64
    }

    /// The share of held-out rows whose likeliest class is theirs.
    fn score(&self, rows: &Matrix, model: &Logistic) -> f64 {
        let right = self.held.iter().filter(|row| {
            let best = largest(&model.log_probabilities(rows.row(**row)), 1);
            best.first().map(|(class, _)| class) == self.labels.get(**row)
        });
        right.count() as f64 / self.held.len().max(1) as f64
    }
}

/// Rows less their projection on orthonormal directions.
///
/// Of directions that span the space nothing is left, not even rounding.
fn less(rows: &Matrix, directions: &[Vec<f64>]) -> Matrix {
    let mut left = rows.clone();
    if directions.len() >= left.width() {
        left.rows_mut().for_each(|row| row.fill(0.0));
        return left;
    }
    for row in left.rows_mut() {
        for direction in directions {
            let along = dot(row, direction);
            row.iter_mut().zip(direction).for_each(|(x, d)| *x -= along * d);
        }
    }
    left
}

/// So many orthonormal directions drawn by chance.
fn random_directions(width: usize, count: usize, seed: Seed) -> Result<Vec<Vec<f64>>, AnalysisError> {
    let drawn: Vec<Vec<f64>> = (0..count as u64).map(|at| direction(width, seed.at(at))).collect();
    Ok(orthonormal(&drawn)?)
}

/// What speaks against taking the directions for those of the property.
fn cautions([after, random, majority]: [f64; 3]) -> Vec<Caution> {
    let mut said = Vec::new();
    if after > majority {
        let text = format!(
            "a probe still tells the property once all directions are taken off: it is right in {after:.3} of held-out rows, always saying the most frequent class in {majority:.3}; allow more `rounds`"
        );
        said.push(Caution::new(CautionKind::Gap, (after - majority) as f32, text));
    }
    if random - after < BELOW {
        let text = format!(
            "as many random directions leave a probe right in {random:.3} of held-out rows, these in {after:.3}: what they tell is not in these directions alone"
        );
        said.push(Caution::new(CautionKind::NoBetter, (random - after) as f32, text));
    }
    said
}
