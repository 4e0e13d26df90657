//! A recorder of training: what is learned when, over checkpoints of one training and a fixed data set.
//!
//! # Idea
//! At chosen steps `t` the recorder reads sites of the model as it is then, over the same cases, a row for each case. Of the rows `X_t` of a site
//!
//! ```text
//! probe:      held-out accuracy of a logistic regression on X_t, by task; the same of labels shuffled among cases; that of the commonest class
//! length:     mean |x|;     dimensions: (tr C)^2 / tr(C^2), C the covariance: how many directions share the variance
//! CKA:        HSIC_1(X_t, X_T) / sqrt(HSIC_1(X_t, X_t) HSIC_1(X_T, X_T)) with the last step T, and with its rows shuffled
//! ```
//!
//! and of a dual encoder, with pictures `u_i` and words `v_i` of length one: the mean cosine of matched pairs `u_i . v_i` and of exchanged ones
//! `u_i . v_j`, the gap `|mean u - mean v|`, and how often the own words are the most alike of all (of several that are, each for its share).
//!
//! # In and out
//! [`Recorder::record`] is called with a step and the model, during a training or afterwards with checkpoints that were kept of it;
//! [`Recorder::finish`] gives one finding. It is a library type: a training has many models, and a method of the table has one or two.
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `probe` | step, layer, concept, metric | ratio | of every task: held out, with shuffled labels, by the commonest class |
//! | `alignment` | step, metric | cosine | `matched`, `exchanged`; where pictures and words share a space |
//! | `gap` | step | none | the length of the difference of means there |
//! | `retrieval` | step, metric | ratio | `own words`, `chance` |
//! | `cka` | step, layer, metric | ratio | `with the last`, `shuffled` |
//! | `length`, `dimensions` | step, layer | activation, none | as above; aside |
//! | `rows` | concept | count | cases, held out; aside |
//!
//! # Settings
//! `sites`: by default the stream behind every block of the last part. `positions`: `all`; a row is the mean over them. `c`: 1 and `steps`: 300, `tolerance`: 1e-6, of the search for a probe.
//! `held_out`: 0.25 of the groups of cases. `seed`: 0, of the split and of all shuffles.
//!
//! # Cost
//! A pass for each case and step; `8 (d + 2 k)` bytes for each case, step and site that is held, and two fits for each step, site and task.
//!
//! # Errors
//! [`AnalysisError::Input`] for fewer than four cases, labels that are not those of the cases, steps that do not ascend, a step whose sites have another width,
//! rows that are all alike, no step at all. [`AnalysisError::Setting`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A network that was not trained has legible states: compare with step 0, not with chance alone (Alain, Bengio: Understanding Intermediate Layers Using Linear Classifier Probes. 2016. <https://arxiv.org/abs/1610.01644>).
//! - CKA with the last step rises where rows are dominated by few directions that were there before: see `dimensions`.
//! - Captions that several cases share make exchanged pairs true, and hold `own words` down.
//!
//! # Agreement
//! NumPy 2.4 and scikit-learn, of `clip-a` in transformers, as it is and with a block scaled: probes and retrieval are the same, CKA 2.3e-8 apart, alignment 4e-9, the gap 8e-8,
//! lengths 1.4e-6, dimensions 2.5e-7. Identities tested: a model that does not change is wholly like its end, and says the same at every step.
//!
//! # Reference
//! Raghu, Gilmer, Yosinski, Sohl-Dickstein: SVCCA. NeurIPS 2017. <https://arxiv.org/abs/1706.05806> (likeness with the end of training); Kornblith, Norouzi, Lee,
//! Hinton: Similarity of Neural Network Representations Revisited. ICML 2019. <https://arxiv.org/abs/1905.00414>; Liang, Zhang, Kwon, Yeung, Zou: Mind the Gap. NeurIPS 2022. <https://arxiv.org/abs/2203.02053>.

use std::collections::BTreeSet;

use mmlens_core::finding::{Axis, Caution, CautionKind, Finding, Labelled, Provenance, Role, Unit};
use mmlens_core::{
    AnalysisError, AxisName, Cases, Copies, On, Part, Plan, Sample, Seed, Selector, Site, Watch, fields,
    found, groups, held_out,
};
use mmlens_engine::distribution::largest;
use mmlens_engine::hsic::{How, Prepared, Way, hsic};
use mmlens_engine::{
    Classed, Limits, Logistic, Positions, Progress, dot, drawn_order, numbers, projected, published,
    row_width, rows_at,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::checkpoint_difference::sites;

/// What findings are called.
const ID: &str = "training-record";
/// Fewer held-out cases than these are cautioned of.
const FEW: usize = 20;
/// Which items of the seed shuffles are.
const SHUFFLES: u64 = 1 << 32;
/// The unbiased estimate takes so many rows.
const LEAST: usize = 4;
const HOW: How = How { way: Way::Gram, unbiased: true };

/// What is read, and how probes are learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where; without them the stream behind every block of the last part.
    pub sites: Option<Vec<Selector>>,
    /// At which positions of a prompt.
    pub positions: Positions,
    /// The inverse strength of the penalty of probes.
    pub c: f64,
    /// The most steps of a search.
    pub steps: usize,
    /// The gradient at which a search has converged.
    pub tolerance: f64,
    /// The share of the groups of cases that is held out.
    pub held_out: f64,
    /// The seed of the split and of all shuffles.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sites: None,
            positions: Positions::All,
            c: 1.0,
            steps: 300,
            tolerance: 1e-6,
            held_out: 0.25,
            seed: Seed(0),
        }
    }
}

/// What probes are to tell of every case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What it is called.
    pub name: String,
    /// The class of every case, by its number.
    pub labels: Vec<usize>,
}

/// What was read at a step.
struct Record {
    step: u64,
    /// `[cases, width]` of every site.
    rows: Vec<Vec<f64>>,
    /// Pictures and words in the space they share, of length one.
    shared: Option<[Vec<f64>; 2]>,
}

/// Reads a model at steps of its training.
pub struct Recorder<'a> {
    settings: Settings,
    data: &'a dyn Cases,
    tasks: Vec<Task>,
    out: Vec<bool>,
    places: Vec<(Site, Positions, usize)>,
    records: Vec<Record>,
    made: Provenance,
}

impl std::fmt::Debug for Recorder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{ID} of {:?}, {} steps", self.data, self.records.len())
    }
}

fn refused<T>(needs: &'static str, found: impl Into<String>) -> Result<T, AnalysisError> {
    Err(AnalysisError::Input { method: ID, needs: needs.into(), found: found.into() })
}

impl<'a> Recorder<'a> {
    /// Over a data set, with tasks for probes.
    ///
    /// # Errors
    /// As the page of this module says.
    pub fn new(settings: Settings, data: &'a dyn Cases, tasks: Vec<Task>) -> Result<Self, AnalysisError> {
        let wrong = |setting, found: String, expected| {
            Err(AnalysisError::Setting { method: ID, setting, found, expected })
        };
        for (name, value) in [("c", settings.c), ("tolerance", settings.tolerance)] {
            if !(value.is_finite() && value > 0.0) {
                return wrong(name, value.to_string(), "it must be above 0");
            }
        }
        if settings.steps == 0 || settings.steps > 1_000_000 {
            return wrong("steps", settings.steps.to_string(), "it must be from 1 to 1000000");
        }
        if settings.sites.as_ref().is_some_and(Vec::is_empty) {
            return wrong("sites", "none".to_owned(), "there must be one");
        }
        if !(settings.held_out > 0.0 && settings.held_out < 1.0) {
            return wrong("held_out", settings.held_out.to_string(), "it must lie between 0 and 1");
        }
        if data.len() < LEAST {
            return refused("four cases or more", format!("there are {}", data.len()));
        }
        let Some(out) = held_out(&groups(data)?, settings.held_out, settings.seed) else {
            return refused("at least two groups of cases", "there is one");
        };
        for (at, task) in tasks.iter().enumerate() {
            if task.labels.len() != data.len() {
                let found = format!("`{}` has {} for {}", task.name, task.labels.len(), data.len());
                return refused("a label for every case", found);
            }
            if tasks.iter().take(at).any(|other| other.name == task.name) {
                return refused("tasks of different names", format!("`{}` is there twice", task.name));
            }
            let kept = task.labels.iter().zip(&out).filter(|(_, out)| !**out).map(|(label, _)| *label);
            if kept.collect::<BTreeSet<_>>().len() < 2 {
                let found = format!("`{}` has one", task.name);
                return refused("two classes or more among the cases learned from", found);
            }
        }
        let made = Provenance {
            settings: fields(ID, &settings)?,
            seed: Some(settings.seed.value()),
            baseline: Some("shuffled labels, shuffled rows, exchanged pairs".to_owned()),
            ..Provenance::new(ID, "a training")
        };
        let about = json!({ "name": data.name(), "cases": data.len(), "sha256": data.hash()? });
        let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        let made = made.with_setting("data", about).with_setting("tasks", json!(names));
        Ok(Self { settings, data, tasks, out, places: Vec::new(), records: Vec::new(), made })
    }

    /// Steps there are.
    #[must_use]
    pub fn steps(&self) -> Vec<u64> {
        self.records.iter().map(|record| record.step).collect()
    }

    /// Reads the model as it is at a step.
    ///
    /// # Errors
    /// As the page of this module says. A step that was refused or cancelled leaves nothing behind.
    pub fn record(&mut self, step: u64, on: &On<'_>) -> Result<(), AnalysisError> {
        if let Some(last) = self.records.last().filter(|last| last.step >= step) {
            return refused("steps that ascend", format!("{step} comes behind {}", last.step));
        }
        let subject = on.subject();
        let mut places = Vec::new();
        for site in sites(ID, subject, self.settings.sites.as_deref())? {
            let (width, suits) = row_width((on, ID), site, &self.settings.positions)?;
            let axes = &published(subject, site)?.axes;
            let prompt = matches!(axes.as_slice(), [(AxisName::Batch, _), (AxisName::Pos, _), ..]);
            let positions = if prompt && suits { self.settings.positions.clone() } else { Positions::All };
            places.push((site, positions, width));
        }
        match self.records.is_empty() {
            true => self.made.sites = places.iter().map(|(site, ..)| site.to_string()).collect(),
            false if places != self.places => {
                return refused("the same sites at every step", format!("step {step} has others"));
            }
            false => {}
        }
        let both = [projected(Part::Vision), projected(Part::Text)];
        let dual = both.iter().all(|site| published(subject, *site).is_ok());
        let mut asked: Vec<(Site, Positions)> =
            places.iter().map(|(site, positions, _)| (*site, positions.clone())).collect();
        if dual {
            asked.extend(both.map(|site| (site, Positions::All)));
        }
        let plan = asked.iter().try_fold(Plan::new(), |plan, (site, _)| plan.read(*site))?;
        let read: Vec<Site> = asked.iter().map(|(site, _)| *site).collect();
        let mut rows = vec![Vec::new(); places.len()];
        let mut shared = [Vec::new(), Vec::new()];
        let mut progress = Progress::new(on.watch(), ID, self.data.len());
        for index in 0..self.data.len() {
            let sample = Sample { reply: None, ..self.data.case(index)?.sample };
            let inputs = subject.encode(&sample)?;
            let held: usize = rows.iter().map(|rows: &Vec<f64>| 8 * rows.len()).sum();
            let beside = (held + 12 * numbers(subject, &inputs, &read)?) as u64;
            on.memory().hold(ID, beside, subject.need(&inputs, &plan, Copies::ONE)?)?;
            let found = rows_at((on, ID), &inputs, &asked)?;
            for (rows, held) in rows.iter_mut().zip(&found) {
                rows.extend(held.mean());
            }
            if dual {
                for (rows, held) in shared.iter_mut().zip(found.iter().skip(places.len())) {
                    // A case with several captions has a row for each: the first is its own.
                    let row = held.values.iter().take(held.width);
                    let row: Vec<f64> = row.map(|x| f64::from(*x)).collect();
                    let length = dot(&row, &row).sqrt();
                    if !(length.is_finite() && length > 0.0) {
                        return refused(
                            "vectors with a length",
                            format!("that of case {index} has {length}"),
                        );
                    }
                    rows.extend(row.iter().map(|x| x / length));
                }
            }
            progress.advance(1)?;
        }
        for ((site, _, width), rows) in places.iter().zip(&rows) {
            let first = rows.get(..*width).unwrap_or_default();
            if rows.chunks(*width).all(|row| row == first) {
                return refused("rows that differ", format!("all of `{site}` are alike at step {step}"));
            }
        }
        self.made.subject = subject.name().to_owned();
        self.made.weights_hash = subject.weights_hash();
        self.made.dtype = subject.dtype();
        self.made.device = subject.device();
        self.made.kernels = subject.kernels();
        self.places = places;
        self.records.push(Record { step, rows, shared: dual.then_some(shared) });
        Ok(())
    }

    /// What all steps say.
    ///
    /// # Errors
    /// As the page of this module says.
    pub fn finish(&self, watch: &dyn Watch) -> Result<Finding, AnalysisError> {
        let Some(last) = self.records.last() else { return refused("a step or more", "there is none") };
        let steps = Axis::names(Role::Step, self.records.iter().map(|record| record.step.to_string()));
        let layers = Axis::names(Role::Layer, self.places.iter().map(|(site, ..)| *site));
        let metrics = |names: &[&str]| Axis::names(Role::Metric, names.iter().copied());
        let table = |name: &str, unit, axes: Vec<Axis>, values: Vec<f64>| {
            Labelled::numbers(name, unit, axes, values.into_iter().map(|x| x as f32).collect())
        };
        let passes = self.records.len() * self.places.len() * (1 + self.tasks.len());
        let mut progress = Progress::new(watch, ID, passes);
        let (mut said, mut tables) = (Vec::new(), Vec::new());
        let (mut scores, mut likeness, mut lengths, mut dimensions) = (vec![], vec![], vec![], vec![]);
        let mut unfinished = 0;
        let ends = self.prepared(last)?;
        let order = drawn_order(self.data.len(), self.settings.seed.at(SHUFFLES));
        for record in &self.records {
            for ((rows, (site, _, width)), end) in record.rows.iter().zip(&self.places).zip(&ends) {
                let own = Prepared::new(HOW, rows.clone(), *width)?;
                let bottom = (hsic(HOW, &own, &own) * hsic(HOW, end, end)).sqrt();
                if !(bottom.is_finite() && bottom > 0.0) {
                    let found = format!("those of `{site}` at step {} are equally far apart", record.step);
                    return refused("rows of which some are more alike than others", found);
                }
                likeness.push(hsic(HOW, &own, end) / bottom);
                likeness.push(hsic(HOW, &own, &end.shuffled(HOW, &order)) / bottom);
                let n = self.data.len() as f64;
                lengths.push(rows.chunks(*width).map(|row| dot(row, row).sqrt()).sum::<f64>() / n);
                dimensions.push(shared_by(rows, *width)?);
                progress.advance(1)?;
                for (at, task) in self.tasks.iter().enumerate() {
                    let (own, ended) = self.probe(rows, *width, &task.labels)?;
                    let order =
                        drawn_order(task.labels.len(), self.settings.seed.at(SHUFFLES + 1 + at as u64));
                    let mixed: Vec<usize> =
                        order.iter().filter_map(|at| task.labels.get(*at).copied()).collect();
                    let (chance, _) = self.probe(rows, *width, &mixed)?;
                    unfinished += usize::from(!ended);
                    scores.extend([own, chance, self.commonest(&task.labels)]);
                    progress.advance(1)?;
                }
            }
        }
        if !self.tasks.is_empty() {
            let tasks = Axis::names(Role::Concept, self.tasks.iter().map(|task| task.name.clone()));
            let names = metrics(&["held out", "shuffled labels", "commonest"]);
            said.extend(self.no_better(&scores));
            tables.push(table(
                "probe",
                Unit::Ratio,
                vec![steps.clone(), layers.clone(), tasks, names],
                scores,
            )?);
        }
        if self.records.iter().all(|record| record.shared.is_some()) {
            let width = |pairs: &[Vec<f64>; 2]| pairs[0].len() / self.data.len();
            let all: Vec<[f64; 4]> = self
                .records
                .iter()
                .filter_map(|record| record.shared.as_ref())
                .map(|pairs| aligned(pairs, width(pairs)))
                .collect();
            let chance = 1.0 / self.data.len() as f64;
            let names = metrics(&["matched", "exchanged"]);
            let values = all.iter().flat_map(|own| [own[0], own[1]]).collect();
            tables.push(table("alignment", Unit::Cosine, vec![steps.clone(), names], values)?);
            tables.push(table(
                "gap",
                Unit::None,
                vec![steps.clone()],
                all.iter().map(|own| own[2]).collect(),
            )?);
            let values = all.iter().flat_map(|own| [own[3], chance]).collect();
            let names = metrics(&["own words", "chance"]);
            tables.push(table("retrieval", Unit::Ratio, vec![steps.clone(), names], values)?);
        }
        let names = metrics(&["with the last", "shuffled"]);
        tables.push(table("cka", Unit::Ratio, vec![steps.clone(), layers.clone(), names], likeness)?);
        tables.push(table("length", Unit::Activation, vec![steps.clone(), layers.clone()], lengths)?.aside());
        tables.push(table("dimensions", Unit::None, vec![steps, layers], dimensions)?.aside());
        let held = self.out.iter().filter(|out| **out).count();
        let counts = Axis::names(Role::Concept, ["cases", "held out"]);
        let values = vec![self.data.len() as f64, held as f64];
        tables.push(table("rows", Unit::Count, vec![counts], values)?.aside());
        said.extend(self.cautions(held, unfinished));
        tables.extend(Caution::tables(&said)?);
        found(self.made.clone(), tables)
    }

    fn prepared(&self, record: &Record) -> Result<Vec<Prepared>, AnalysisError> {
        let each = record.rows.iter().zip(&self.places);
        each.map(|(rows, (_, _, width))| Prepared::new(HOW, rows.clone(), *width)).collect()
    }

    /// Held-out accuracy, and whether the search came to its end.
    fn probe(&self, rows: &[f64], width: usize, labels: &[usize]) -> Result<(f64, bool), AnalysisError> {
        let chosen = |which: bool| {
            let each = rows.chunks(width).zip(labels).zip(&self.out);
            each.filter(move |(_, out)| **out == which).map(|((row, label), _)| (row, *label))
        };
        let classes: BTreeSet<usize> = chosen(false).map(|(_, label)| label).collect();
        let classes: Vec<usize> = classes.into_iter().collect();
        if classes.len() < 2 {
            let right = chosen(true).filter(|(_, label)| classes.contains(label)).count();
            return Ok((right as f64 / chosen(true).count() as f64, true));
        }
        let kept = Classed {
            values: chosen(false).flat_map(|(row, _)| row.iter().copied()).collect(),
            width,
            labels: chosen(false).filter_map(|(_, label)| classes.binary_search(&label).ok()).collect(),
            classes: classes.len(),
        };
        let Settings { c, steps, tolerance, .. } = self.settings;
        let limits = Limits { steps, gradient: tolerance };
        let (model, ended) = Logistic::fit(ID, &kept, c, limits, &mut |_| Ok(()))?;
        let right = |(row, label): (&[f64], usize)| {
            let best = largest(&model.log_probabilities(row), 1);
            best.first().is_some_and(|(class, _)| classes.get(*class) == Some(&label))
        };
        let (all, hits) = (chosen(true).count(), chosen(true).filter(|own| right(*own)).count());
        Ok((hits as f64 / all.max(1) as f64, matches!(ended, mmlens_core::Ended::Converged { .. })))
    }

    /// How often the class that is commonest among the cases learned from is right of those held out.
    fn commonest(&self, labels: &[usize]) -> f64 {
        let of = |which: bool| {
            labels.iter().zip(&self.out).filter(move |(_, out)| **out == which).map(|(label, _)| *label)
        };
        let classes: BTreeSet<usize> = of(false).collect();
        let count = |class: usize| of(false).filter(|label| *label == class).count();
        let most = classes.into_iter().max_by_key(|class| (count(*class), std::cmp::Reverse(*class)));
        of(true).filter(|label| Some(*label) == most).count() as f64 / of(true).count().max(1) as f64
    }

    /// That at the last step no probe tells more than the commonest class, or shuffled labels.
    fn no_better(&self, scores: &[f64]) -> Option<Caution> {
        let last = scores.len() / self.records.len().max(1);
        let gains = scores.rchunks(last.max(1)).next()?.chunks(3).filter_map(|own| match own {
            [own, chance, common] => Some((own - chance).min(own - common)),
            _ => None,
        });
        let best = gains.max_by(f64::total_cmp)?; // no NaN: differences of shares
        (best <= 0.0).then(|| {
            let text = format!("at the last step no probe tells more than the commonest class or shuffled labels: the best by {best:.3}");
            Caution::new(CautionKind::NoBetter, best as f32, text)
        })
    }

    /// What else speaks against the numbers.
    fn cautions(&self, held: usize, unfinished: usize) -> Vec<Caution> {
        let mut said = Vec::new();
        if held < FEW {
            let text = format!("{held} rows are held out: an accuracy of so few says little");
            said.push(Caution::new(CautionKind::FewRows, held as f32, text));
        }
        let same = |pair: &[Record]| matches!(pair, [one, other] if one.rows == other.rows);
        if let Some([one, other]) = self.records.windows(2).find(|pair| same(pair)) {
            let text =
                format!("no number differs between steps {} and {} at these sites", one.step, other.step);
            let count: usize = one.rows.iter().map(Vec::len).sum();
            said.push(Caution::new(CautionKind::NothingMoved, count as f32, text));
        }
        if unfinished > 0 {
            let text =
                format!("{unfinished} probes stopped at {} steps, before their minimum", self.settings.steps);
            said.push(Caution::new(CautionKind::NotConverged, self.settings.steps as f32, text));
        }
        said
    }
}

/// `(tr C)^2 / tr(C^2)` of the covariance of rows.
fn shared_by(rows: &[f64], width: usize) -> Result<f64, AnalysisError> {
    let how = How { way: Way::Gram, unbiased: false };
    let own = Prepared::new(how, rows.to_vec(), width)?;
    Ok(own.scale(how) / hsic(how, &own, &own))
}

/// Mean cosines of matched and of exchanged pairs, the gap, and how often the own words are the most alike.
fn aligned([pictures, words]: &[Vec<f64>; 2], width: usize) -> [f64; 4] {
    let n = (pictures.len() / width.max(1)) as f64;
    let (mut matched, mut all, mut own) = (0.0, 0.0, 0.0);
    for (at, picture) in pictures.chunks(width.max(1)).enumerate() {
        let cosines: Vec<f64> = words.chunks(width.max(1)).map(|words| dot(picture, words)).collect();
        let hit = cosines.get(at).copied().unwrap_or(f64::NAN);
        matched += hit;
        all += cosines.iter().sum::<f64>();
        if cosines.iter().all(|other| *other <= hit) {
            own += 1.0 / cosines.iter().filter(|other| **other == hit).count() as f64;
        }
    }
    let centre = |rows: &[f64]| {
        let mut sum = vec![0.0; width];
        rows.chunks(width.max(1)).for_each(|row| sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / n));
        sum
    };
    let gap: Vec<f64> = centre(pictures).iter().zip(centre(words)).map(|(a, b)| a - b).collect();
    [matched / n, (all - matched) / (n * (n - 1.0)), dot(&gap, &gap).sqrt(), own / n]
}
