//! Linear probe: can a property of the input be read off an activation, by a linear function and not by memory alone?
//!
//! # Idea
//! With `h` the activation at a site, `c` one of the classes of a property, weights `w` and intercepts `b` make least
//!
//! ```text
//! sum_i -ln p(c_i | h_i) + |w|^2 / (2 C),     p(. | h) = softmax(w h + b)
//! ```
//!
//! over rows of which some were held out. The control task gives every *kind* of row (the type of its word, say) a class drawn once by
//! chance; what a probe gets right there it has memorised. Selectivity is accuracy less accuracy on the control task.
//!
//! # In and out
//! In: [`Examples`], or a data set with labels ([`Fit::learn`]). Out: a [`Probe`], which is a method of single cases, how the
//! search ended, and a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `scores` | concept | ratio | of held-out rows: `accuracy`, `control accuracy`, `selectivity`; `majority`, the share of the class that is most frequent among those learned from |
//! | `training scores` | concept | ratio | `accuracy`, `control accuracy` on the rows learned from |
//! | `log loss` | concept | nat | the mean of `-ln p` of the right class, of both parts |
//! | `cautions` | rank | text | that fewer than 20 rows are held out; that the probe is no better than who looks at nothing (`majority`, or an even guess); that the control task has one class, or that no held-out row is of a kind that was learned from |
//! | `rows` | concept | count | learned from, held out; held-out rows whose kind was learned from; steps of both searches |
//!
//! Where the control task has one class (all rows are of one kind, or few kinds drew the same class) whoever looks at nothing is always right in it:
//! `control accuracy` and `selectivity` are left out of both tables, and a caution says so.
//!
//! Of a case a [`Probe`] gives:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `probabilities` | token or sample, concept | probability | of each class, at each row |
//!
//! # Settings
//! - `site`: `text.blocks.0.resid_post`. Any site whose rows have a fixed length.
//! - `positions`: the last, where the answer is decided. A site without positions of a prompt takes `all`.
//! - `c`: 1, the inverse strength of the penalty, scikit-learn's default.
//! - `standardised`: no. Whether every coordinate is scaled to mean 0 and deviation 1 over the rows learned from. The weights are
//!   those of the activations as they are, either way.
//! - `held_out`: 0.2 of the groups.
//! - `steps`: 1000 at most; `tolerance`: 1e-8, the gradient of the mean loss at which the search has converged.
//!
//! # Cost
//! One pass for each case, which ends at the site. Then `4 x rows x width x classes` operations for each step, of both tasks. Memory:
//! the rows in single and, for those learned from, in double precision. A [`Probe`] takes one pass.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for numbers that are not positive and finite, or a share that is not between 0 and 1. Fitting:
//! [`AnalysisError::Input`] for fewer than two classes or groups, a class that no row is learned from has, rows of another site, a case
//! without a label, positions that a case does not have; [`AnalysisError::Cancelled`]. A search that stops early is no error: see
//! [`Outcome::ended`]. Loading: [`FittedError`](mmlens_core::FittedError) for a file of another method, or parts that do not fit.
//!
//! # When it misleads
//! - What can be read is not what is used: a probe finds information that the model never looks at (Elazar, Ravfogel, Jacovi, Goldberg,
//!   TACL 2021, "Amnesic Probing"). Change the direction, and see whether the answer changes.
//! - A wide activation and few rows let a probe memorise; so look at selectivity, not accuracy alone (Hewitt, Liang 2019). Where rows of
//!   one kind are never both learned from and held out, as when groups and kinds are the same, the control task is chance, and
//!   selectivity says nothing: `rows` counts the held-out rows whose kind was learned from. The last position of a question, and the positions of a
//!   picture in a decoder, hold one token in all cases, so that there is no control at all; a kind of another sort is given by [`Examples::of_kinds`].
//! - Rows of one picture on both sides of the split are no test: give such cases one group.
//! - Accuracies on skewed classes flatter: compare with `majority`.
//!
//! # Agreement
//! scikit-learn 1.9.1, `LogisticRegression` (lbfgs, tolerance 1e-10) on the same rows, split and control labels, two and three classes,
//! with and without standardising: largest difference of weights 1.4e-6, relative to the largest weight, of probabilities 8.4e-7;
//! accuracies equal. Identities tested: an orthogonal map of the rows changes no probability, and neither do their units, with the penalty in the same; what depends on the kind alone selects
//! nothing; what is saved and loaded gives the same bits. On `shapes-llava` the colour of what a patch shows is read off `connector.out` in 0.95 to 1.00 of held-out patches, and a colour drawn for each
//! place in the picture in 0.12 to 0.24 (five seeds; docs/feature.md).
//!
//! # Reference
//! Hewitt, Liang: Designing and Interpreting Probes with Control Tasks. EMNLP 2019. <https://arxiv.org/abs/1909.03368>. Here the
//! control labels are drawn in the shares in which the classes occur among the rows learned from.
//!
//! # Example
//! ```
//! use mmlens_core::{Annotated, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_model::{LinearProbe, linear_probe::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let of = |i: usize| format!("{}b{}", if i % 2 == 0 { "a" } else { "c" }, ["d", "e", "f"][i % 3]);
//! let data = from_fn("words", 24, |i| Ok(Case::new(Sample::text(of(i)))));
//! let data = Annotated::new(data, ["a", "c"], (0..24).map(|i| i % 2).collect())?;
//! let probe = LinearProbe::new(Settings { site: "text.blocks.1.resid_post".parse()?, ..Settings::default() })?;
//! let learned = probe.learn(&On::new(&toy), &data, Seed(1))?;
//! println!("{}: {:?}", learned.ended, learned.finding.table("scores")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;
use std::path::Path;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Card, Ended, Examples, Fit, Leaf, Outcome, Part, Point, Seed, Site, Source,
    Split, Watch, found, learned_from, step,
};
use mmlens_engine::distribution::largest;
use mmlens_engine::{Classed, Limits, Logistic, Positions, Scale, examples_of};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{above_zero, at_least_one, share};

mod probe;

pub use probe::{Learned, Probe};

/// What this method is.
pub const CARD: Card = Card {
    id: "linear-probe",
    short: "probe",
    name: "Linear probe with a control task",
    question: "Can a property of the input be read off an activation, by a linear function and not by memory alone?",
    citation: "Hewitt, Liang: Designing and Interpreting Probes with Control Tasks. EMNLP 2019. https://arxiv.org/abs/1909.03368",
    leaf: Leaf::Feature,
    cost: "1 forward for each case; of a fitted probe 1 forward",
    needs: &[],
    misleads: &[
        "What can be read is not what is used.",
        "A wide activation and few rows let a probe memorise.",
        "Rows of one picture on both sides of the split are no test.",
    ],
    first: false,
};

/// How a probe is learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// The inverse strength of the penalty.
    pub c: f64,
    /// Whether coordinates are scaled.
    pub standardised: bool,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// The most steps of a search.
    pub steps: usize,
    /// The gradient at which a search has converged.
    pub tolerance: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Last,
            c: 1.0,
            standardised: false,
            held_out: 0.2,
            steps: 1000,
            tolerance: 1e-8,
        }
    }
}

/// What learns a linear probe, with checked settings.
#[derive(Debug, Clone)]
pub struct LinearProbe {
    settings: Settings,
}

impl Fit for LinearProbe {
    type From = Examples;
    type Settings = Settings;
    type Fitted = Probe;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "steps", settings.steps)?;
        above_zero(&CARD, "c", settings.c)?;
        above_zero(&CARD, "tolerance", settings.tolerance)?;
        share(&CARD, "held_out", settings.held_out)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(&self, from: &Examples, seed: Seed, watch: &dyn Watch) -> Result<Outcome<Probe>, AnalysisError> {
        let Settings { site, steps, .. } = self.settings;
        let split = Split::of(&CARD, (from, site), self.settings.held_out, seed)?;
        split.with_every_class(&CARD, from)?;
        let out = split.out;
        let scale = self.scale(from, &out);
        let total = 2 * steps;

        let task = Task::new(from, from.labels(), &out, &scale);
        let (model, ended) = self.search(&task, &mut |done| step(watch, CARD.id, done, total))?;
        step(watch, CARD.id, steps, total)?;
        let control = control_labels(from, &out, seed);
        let control = Task::new(from, &control, &out, &scale);
        let second = self.search(&control, &mut |done| step(watch, CARD.id, steps + done, total))?;
        step(watch, CARD.id, total, total)?;

        let (mut tables, found_out) =
            tables(from, &out, (&task, &model, &ended), (&control, &second.0, &second.1))?;
        tables.extend(Caution::tables(&cautions(from, &found_out))?);
        let Logistic { weights, intercepts } = scale.undone(model);
        let classes = from.classes().to_vec();
        let learned =
            Learned { site, positions: self.settings.positions.clone(), classes, weights, intercepts };
        let made = learned_from((&CARD, &self.settings), (from, site), seed)?;
        let made = made.with_setting("ended", json!(ended)).with_setting("control ended", json!(second.1));
        let finding = found(made, tables)?;
        Ok(Outcome { fitted: Probe::new(learned)?, ended, finding })
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        _keep: Option<&Path>,
    ) -> Result<Outcome<Probe>, AnalysisError> {
        let rows = examples_of((from, CARD.id), self.settings.site, &self.settings.positions)?;
        self.fit(&rows, seed, from.watch())
    }
}

impl LinearProbe {
    fn scale(&self, from: &Examples, out: &[bool]) -> Scale {
        match self.settings.standardised {
            true => {
                let kept = || from.rows().zip(out).filter(|(_, out)| !**out).map(|(row, _)| row);
                Scale::of_rows(from.width(), kept)
            }
            false => Scale::none(from.width()),
        }
    }

    fn search(
        &self,
        task: &Task,
        each: &mut dyn FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<(Logistic, Ended), AnalysisError> {
        let Settings { c, steps, tolerance, .. } = self.settings;
        if task.classes.len() < 2 {
            // Whatever a row is, it is of the one class there is.
            return Ok((
                Logistic { weights: Vec::new(), intercepts: Vec::new() },
                Ended::Converged { steps: 0, gradient: 0.0 },
            ));
        }
        Logistic::fit(CARD.id, &task.kept, c, Limits { steps, gradient: tolerance }, each)
    }
}

/// A class for each kind of rows, drawn once, in the shares in which classes occur among the rows learned from.
fn control_labels(from: &Examples, out: &[bool], seed: Seed) -> Vec<usize> {
    let kept = from.labels().iter().zip(out).filter(|(_, out)| !**out).map(|(label, _)| *label);
    let mut pool: Vec<usize> = kept.collect();
    pool.sort_unstable();
    let draws = seed.at(CONTROL);
    let drawn = |kind: &u64| {
        let at = (f64::from(draws.at(*kind).unit()) * pool.len() as f64) as usize;
        pool.get(at).copied().unwrap_or_default()
    };
    from.kinds().iter().map(drawn).collect()
}

/// Which item of a seed the draws of the control task are.
const CONTROL: u64 = 1 << 32;

/// Rows and labels of one task, apart by whether they are learned from.
struct Task {
    /// Classes that occur among the rows learned from; these are numbered anew.
    classes: Vec<usize>,
    kept: Classed,
    out: Classed,
}

/// The number of a class that no row was learned from has.
const UNSEEN: usize = usize::MAX;

impl Task {
    fn new(from: &Examples, labels: &[usize], out: &[bool], scale: &Scale) -> Self {
        let kept = labels.iter().zip(out).filter(|(_, out)| !**out).map(|(label, _)| *label);
        let classes: Vec<usize> = kept.collect::<BTreeSet<_>>().into_iter().collect();
        let part = |which: bool| {
            let chosen = || from.rows().zip(labels).zip(out).filter(move |(_, out)| **out == which);
            Classed {
                values: chosen().flat_map(|((row, _), _)| scale.of(row).collect::<Vec<_>>()).collect(),
                width: from.width(),
                labels: chosen()
                    .map(|((_, label), _)| classes.binary_search(label).unwrap_or(UNSEEN))
                    .collect(),
                classes: classes.len(),
            }
        };
        let (kept, out) = (part(false), part(true));
        Self { classes, kept, out }
    }
}

/// The share of rows whose likeliest class is theirs, and the mean of minus the logarithm of its probability.
fn score(rows: &Classed, model: &Logistic) -> (f64, f64) {
    let (mut right, mut loss) = (0.0, 0.0);
    for (row, label) in rows.values.chunks_exact(rows.width.max(1)).zip(&rows.labels) {
        let logs = if model.weights.is_empty() { vec![0.0] } else { model.log_probabilities(row) };
        let best = largest(&logs, 1);
        right += f64::from(u8::from(best.first().is_some_and(|(class, _)| class == label)));
        loss -= logs.get(*label).copied().unwrap_or(f64::NEG_INFINITY);
    }
    let n = rows.labels.len().max(1) as f64;
    (right / n, loss / n)
}

/// What cautions look at.
struct FoundOut {
    held: usize,
    accuracy: f64,
    majority: f64,
    control_classes: usize,
    /// Held-out rows of a kind that was learned from.
    seen: usize,
}

/// What speaks against reading the scores as they stand.
fn cautions(from: &Examples, found: &FoundOut) -> Vec<Caution> {
    let FoundOut { held, accuracy, majority, control_classes, seen } = *found;
    let mut said = Vec::new();
    if held < FEW {
        let text = format!("{held} rows are held out: an accuracy of so few says little");
        said.push(Caution::new(CautionKind::FewRows, held as f32, text));
    }
    let even = 1.0 / from.classes().len() as f64;
    let least = if majority > even { majority } else { even };
    if accuracy <= least {
        let text = format!(
            "the probe is right in {accuracy:.3} of the rows held out, and who looks at nothing in {least:.3}: nothing was found that can be read"
        );
        said.push(Caution::new(CautionKind::NoBetter, (accuracy - least) as f32, text));
    }
    if control_classes < 2 {
        let kinds = from.kinds().iter().collect::<BTreeSet<_>>().len();
        let text = format!(
            "the control task has one class, since the rows are of {}: it is always right, and there is no selectivity; read `positions` that hold several tokens",
            if kinds == 1 { "one kind".to_owned() } else { format!("{kinds} kinds, which drew the same") }
        );
        said.push(Caution::new(CautionKind::Other, control_classes as f32, text));
    } else if seen == 0 {
        let text = "no held-out row is of a kind that was learned from: the control task is chance, and `selectivity` does not tell reading from memory";
        said.push(Caution::new(CautionKind::Other, 0.0, text.to_owned()));
    }
    said
}

/// Fewer rows held out than this are few.
const FEW: usize = 20;

type Tried<'a> = (&'a Task, &'a Logistic, &'a Ended);

fn tables(
    from: &Examples,
    out: &[bool],
    (task, model, ended): Tried<'_>,
    (control, second, control_ended): Tried<'_>,
) -> Result<(Vec<Labelled>, FoundOut), AnalysisError> {
    let table = |name: &str, unit, said: &[(&str, f64)]| {
        let axis = Axis::names(Role::Concept, said.iter().map(|(name, _)| *name));
        Labelled::numbers(name, unit, vec![axis], said.iter().map(|(_, value)| *value as f32).collect())
    };
    let (accuracy, loss) = score(&task.out, model);
    let (trained, trained_loss) = score(&task.kept, model);
    let (by_memory, _) = score(&control.out, second);
    let (memorised, _) = score(&control.kept, second);
    let count = |class: usize, rows: &Classed| rows.labels.iter().filter(|label| **label == class).count();
    // Of two that are as frequent, the first.
    let classes = 0..task.classes.len();
    let most = classes.max_by_key(|class| (count(*class, &task.kept), std::cmp::Reverse(*class)));
    let majority =
        most.map_or(0, |class| count(class, &task.out)) as f64 / task.out.labels.len().max(1) as f64;
    let kept: BTreeSet<u64> =
        from.kinds().iter().zip(out).filter(|(_, out)| !**out).map(|(kind, _)| *kind).collect();
    let seen = from.kinds().iter().zip(out).filter(|(kind, out)| **out && kept.contains(kind)).count();
    let (mut scores, mut training) = (vec![("accuracy", accuracy)], vec![("accuracy", trained)]);
    // Whatever a row is, it is of the one class that the control task has.
    if control.classes.len() > 1 {
        scores.extend([("control accuracy", by_memory), ("selectivity", accuracy - by_memory)]);
        training.push(("control accuracy", memorised));
    }
    scores.push(("majority", majority));
    let rows = [
        ("learned from", task.kept.labels.len() as f64),
        ("held out", task.out.labels.len() as f64),
        ("held out, of a kind learned from", seen as f64),
        ("steps", ended.at().0 as f64),
        ("control steps", control_ended.at().0 as f64),
    ];
    let tables = vec![
        table("scores", Unit::Ratio, &scores)?,
        table("training scores", Unit::Ratio, &training)?.aside(),
        table("log loss", Unit::Nat, &[("learned from", trained_loss), ("held out", loss)])?.aside(),
        table("rows", Unit::Count, &rows)?.aside(),
    ];
    let (held, control_classes) = (task.out.labels.len(), control.classes.len());
    Ok((tables, FoundOut { held, accuracy, majority, control_classes, seen }))
}
