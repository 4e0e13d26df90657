//! Methods beside baselines, on the cases of a data set: which metric says what of which.
//!
//! # Idea
//! Each case is explained by every row: the methods, each method once more on a model with random weights, a random map, a blob and an edge filter ([`baselines`](crate::RandomMap)), and where the first case has a recording its loudness. Of every row every metric is
//! taken, of the same thing explained, which is settled once, on the model itself. A case's draws follow from the seed and its number, the same for all rows, so that rows are
//! compared pair by pair. The random map is drawn anew for every case, `draws` (3) times, and has the mean of their scores: draw `k` of case `c` has the seed `Seed(seed).at(c).at(2^64 - 1).at(k)`.
//!
//! - **Score**: the mean over the cases that have one. **Interval**: of the means of `resamples` draws of as many cases with replacement the quantiles that leave out
//!   `(1 - level) / 2` on each side (linear between ranks); none of fewer than two cases. **n**: the cases that have one.
//! - **Ahead**: the mean over cases that have both of a row's score less a baseline's, turned so that above zero is better, with an interval of the same kind. What is neither better nor worse is left out.
//! - **Budget**: passes (rows forward, and two for each of which gradients are taken), shared evenly among rows, and within a row among its metrics and the making of its maps. A
//!   case whose passes, as the method and the metric tell them beforehand, go beyond what is left of a share is not run; the next may be.
//! - **Seconds**: time on the clock, shared evenly among rows. Nobody knows beforehand how long a case takes, so a row is run as long as its share is not spent, and may go beyond it by a
//!   part of one case. Opening models and cases is not counted. What a row has spent stands in the journal, and counts after a kill.
//! - What a method or a metric refuses of a case is no reason to stop: it has no score there, and the first reason is kept.
//!
//! # The finding
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `score` | method, metric | none | the mean; NaN where no case has a score |
//! | `low`, `high` | method, metric | none | its interval; NaN for fewer than two cases |
//! | `n` | method, metric | count | cases that have a score |
//! | `not run (cost)` | method, metric | count | cases left out for the budget, in passes or in seconds |
//! | `without` | method, metric | text | why cases have no score: the first reason, and how many cases have none |
//! | `better` | metric | text | `higher`, `lower` or `neither` |
//! | `passes` | method, metric | count | passes that were counted for each; the last, `maps`, for making the maps. Aside |
//! | `ahead`, `ahead low`, `ahead high` | method, method, metric | none | of the first over the second, a baseline. Aside |
//! | `cases` | sample, method, metric | none | every score; NaN where there is none. Aside |
//! | `cautions` | rank | text | that methods have no score at all, and why; that there are fewer than 20 cases; of each method which baselines beat it, and in what: where the interval of `ahead` lies below zero, sensitivity left out |
//!
//! # When it misleads
//! - Metrics disagree. One that a baseline wins says more about the data than about methods.
//! - Interval and `n` speak of these cases; another data set is another matter.
//! - A budget leaves different cases to different rows: look at `n`, and at `ahead`, which compares on the same cases.
//! - Which cases a budget in seconds leaves depends on the machine, and on what else it does. To have the same numbers again, give it in passes.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use mmlens_core::finding::{DataRecord, Finding};
use mmlens_core::{
    AnalysisError, Case, Cases, Objective, On, Seed, Shared, Subject, SubjectError, Target, Watch, step,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::baselines::{CentredBlob, Contestant, Method, RandomMap};
use crate::filters::{EdgeFilter, Loudness};
use crate::journal::{Done, EvaluationError, Line};
use crate::metric::{AnyMetric, AtHand, Column, Explainer, NoScore, Redraws, setting};
use crate::summary;
use crate::{MetricCard, Side};

/// What stands for the evaluation where methods are named.
pub(crate) const ID: &str = "evaluation";

const CARD: MetricCard =
    MetricCard { id: ID, question: "", needs: "", cost: "", citation: "", misleads: &[] };

/// How methods are evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationSettings {
    /// Which picture of each case is looked at, or recording; these are counted behind pictures and clips.
    pub picture: usize,
    /// Random maps for each case, whose scores are averaged.
    pub draws: usize,
    /// Rows and columns of random maps.
    pub grid: [usize; 2],
    /// The seed of every draw.
    pub seed: u64,
    /// Draws of cases for an interval.
    pub resamples: usize,
    /// How much of the draws an interval holds.
    pub level: f64,
    /// Passes that all of it may take; `None`: as many as it takes.
    pub budget: Option<u64>,
    /// Seconds that all of it may take; `None`: as long as it takes.
    pub seconds: Option<f64>,
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self {
            picture: 0,
            draws: 3,
            grid: [8, 8],
            seed: 0,
            resamples: 1000,
            level: 0.95,
            budget: None,
            seconds: None,
        }
    }
}

/// Metrics of methods, with checked settings.
pub struct Evaluation {
    settings: EvaluationSettings,
    metrics: Vec<Box<dyn AnyMetric>>,
    clock: Box<dyn Fn() -> Duration>,
}

impl std::fmt::Debug for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.metrics.iter().map(|metric| metric.card().id).collect();
        write!(f, "{names:?} with {:?}", self.settings)
    }
}

/// The models that maps are compared on, beside the one that is explained.
#[derive(Clone, Copy)]
pub struct Models<'a> {
    /// One whose every weight is drawn anew.
    pub random: &'a dyn Subject,
    /// Those of the sanity checks; none leaves these metrics without a score.
    pub redraws: Redraws<'a>,
}

impl std::fmt::Debug for Models<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at random, {:?}", self.random.name(), self.redraws)
    }
}

/// A row: what makes its maps, or the persons.
pub(crate) enum Maker<'a> {
    One(Box<dyn Explainer + 'a>),
    /// So many random maps, drawn anew for every case; scores are the mean over them.
    Random(usize),
    Persons,
}

/// Looks on where a case's metrics report their own steps.
struct Within<'a> {
    watch: &'a dyn Watch,
    done: usize,
    total: usize,
}

impl Watch for Within<'_> {
    fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
        self.watch.step(ID, self.done, self.total)
    }
}

/// A case, opened.
struct Opened<'a> {
    on: On<'a>,
    case: Case,
    objective: Objective,
    inputs: mmlens_core::Inputs,
    masks: Vec<mmlens_core::Mask>,
    persons: Vec<mmlens_core::PersonMap>,
    seed: Seed,
}

impl Evaluation {
    /// These metrics.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for settings that cannot be, no metric, or one of a name that another has.
    pub fn new(
        settings: EvaluationSettings,
        metrics: Vec<Box<dyn AnyMetric>>,
    ) -> Result<Self, AnalysisError> {
        let wrong = |name, found: String, expected| Err(setting(&CARD, name, found, expected));
        if settings.draws == 0 {
            return wrong("draws", "0".to_owned(), "it must be at least 1");
        }
        if settings.grid.contains(&0) || settings.grid.iter().any(|side| *side > 1024) {
            return wrong("grid", format!("{:?}", settings.grid), "both must lie between 1 and 1024");
        }
        if settings.resamples == 0 || settings.resamples > 1_000_000 {
            return wrong("resamples", settings.resamples.to_string(), "it must lie between 1 and 1000000");
        }
        if !(settings.level > 0.0 && settings.level < 1.0) {
            return wrong("level", settings.level.to_string(), "it must lie between 0 and 1");
        }
        if let Some(seconds) = settings.seconds.filter(|seconds| !(seconds.is_finite() && *seconds >= 0.0)) {
            return wrong("seconds", seconds.to_string(), "it must be zero or more");
        }
        let mut seen = BTreeSet::new();
        match metrics.iter().find(|metric| !seen.insert(metric.card().id)) {
            Some(twice) => wrong("metrics", format!("`{}` twice", twice.card().id), "each is named once"),
            None if metrics.is_empty() => wrong("metrics", "none".to_owned(), "there must be one"),
            None => {
                let begun = Instant::now();
                Ok(Self { settings, metrics, clock: Box::new(move || begun.elapsed()) })
            }
        }
    }

    /// The same with another clock, which says how long ago something was; seconds are counted by it.
    #[must_use]
    pub fn clocked(self, clock: impl Fn() -> Duration + 'static) -> Self {
        Self { clock: Box::new(clock), ..self }
    }

    /// Scores every row on every case, those that a journal has not, and sums them up.
    ///
    /// Each row of a case is entered in the journal when it is done. The same call goes on from there after a kill, and what comes back in the end is the same, bit for
    /// bit. A journal of anything else is refused.
    ///
    /// # Errors
    /// [`EvaluationError`]. With [`AnalysisError::Cancelled`] the journal keeps what is done.
    ///
    /// # Cost
    /// What the rows and metrics say. Memory: one case, and the numbers of all.
    pub fn run(
        &self,
        on: &On<'_>,
        data: &dyn Cases,
        contestants: &[Contestant],
        models: Models<'_>,
        journal: Option<&Path>,
    ) -> Result<Finding, EvaluationError> {
        // One that cannot be opened is told of where it is scored.
        let heard = !data.is_empty() && data.case(0).is_ok_and(|case| !case.sample.recordings.is_empty());
        let rows = self.rows(contestants, models, heard)?;
        let record = DataRecord {
            name: data.name().to_owned(),
            cases: data.len(),
            sha256: data.hash().map_err(AnalysisError::from)?,
        };
        let about = self.about(on, contestants, models, &record)?;
        let mut done = Done::open(journal, &about, [rows.len(), self.metrics.len() + 1])?;
        let total = data.len() * rows.len();
        for index in 0..data.len() {
            if done.has(index, rows.len()) {
                continue;
            }
            let shared = Shared::new();
            let within = Within { watch: on.watch(), done: index * rows.len(), total };
            let on_case = On::new(on.subject()).watched(&within).within(on.memory()).sharing(&shared);
            // Opened for the first row that is run.
            let opened = OnceCell::new();
            for (row, (_, maker)) in rows.iter().enumerate() {
                if done.lines().len() > index * rows.len() + row {
                    continue;
                }
                step(on.watch(), ID, index * rows.len() + row, total)?;
                let left = self.left(&done, row, rows.len());
                let without = |why: NoScore| (vec![0; left.len()], vec![Err(why); self.metrics.len()]);
                let share = self.settings.seconds.map(|seconds| seconds / rows.len() as f64);
                let ((spent, cells), seconds) = if share.is_some_and(|share| done.seconds(row) >= share) {
                    (without(NoScore::Cost), 0.0)
                } else {
                    let opened = opened.get_or_init(|| self.open(on_case, data, index));
                    let begun = (self.clock)();
                    let scored = match opened {
                        Ok(opened) => self.scored(opened, maker, models, &left),
                        Err(why) => without(NoScore::Refused(why.to_string())),
                    };
                    (scored, (self.clock)().saturating_sub(begun).as_secs_f64())
                };
                if cells.contains(&Err(NoScore::Cancelled)) {
                    let cancelled =
                        AnalysisError::Cancelled { method: ID, done: index * rows.len() + row, total };
                    return Err(cancelled.into());
                }
                // The clock is in the journal only where it decides.
                done.enter(Line { case: index, row, spent, seconds: share.map(|_| seconds), cells })?;
            }
        }
        if total > 0 {
            step(on.watch(), ID, total, total)?;
        }
        let names: Vec<(String, bool)> =
            rows.iter().enumerate().map(|(at, (name, _))| (name.clone(), at >= contestants.len())).collect();
        let columns: Vec<Vec<Column>> =
            self.metrics.iter().map(|metric| metric.columns(models.redraws)).collect();
        summary::finding(&self.settings, (&names, &columns), done.lines(), (on, about, record))
    }

    /// All rows by name, methods first.
    fn rows<'a>(
        &self,
        contestants: &'a [Contestant],
        models: Models<'a>,
        heard: bool,
    ) -> Result<Vec<(String, Maker<'a>)>, AnalysisError> {
        let EvaluationSettings { picture, draws, .. } = self.settings;
        let of = |contestant: &'a Contestant, always_on| {
            let maker: Box<dyn Explainer + 'a> = Box::new(Method { contestant, always_on });
            Maker::One(maker)
        };
        let mut rows: Vec<(String, Maker<'a>)> =
            contestants.iter().map(|own| (own.name.clone(), of(own, None))).collect();
        rows.extend(
            contestants
                .iter()
                .map(|own| (format!("{}, random weights", own.name), of(own, Some(models.random)))),
        );
        rows.push(("random map".to_owned(), Maker::Random(draws)));
        rows.push(("centred blob".to_owned(), Maker::One(Box::new(CentredBlob { picture }))));
        rows.push(("edge filter".to_owned(), Maker::One(Box::new(EdgeFilter { picture }))));
        if heard {
            rows.push(("loudness".to_owned(), Maker::One(Box::new(Loudness { picture }))));
        }
        if self.metrics.iter().any(|metric| metric.judges_persons()) {
            rows.push(("a person".to_owned(), Maker::Persons));
        }
        let mut seen = BTreeSet::new();
        match rows.iter().find(|(name, _)| !seen.insert(name.as_str())) {
            Some((twice, _)) => {
                Err(setting(&CARD, "methods", format!("`{twice}` twice"), "each row has a name of its own"))
            }
            None => Ok(rows),
        }
    }

    /// All that decides what is found.
    fn about(
        &self,
        on: &On<'_>,
        contestants: &[Contestant],
        models: Models<'_>,
        data: &DataRecord,
    ) -> Result<Value, AnalysisError> {
        let metrics = self
            .metrics
            .iter()
            .map(|metric| Ok(json!({ "metric": metric.card().id, "settings": metric.settings()? })));
        let methods = contestants.iter().map(|own| {
            let (id, settings) = (own.method.card().id, own.method.settings()?);
            Ok(json!({ "name": own.name, "method": id, "settings": settings, "table": own.table }))
        });
        let drawn =
            |subject: &dyn Subject| json!([subject.name(), subject.weights_hash(), subject.alterations()]);
        let redraws = |some: &[crate::Redrawn<'_>]| -> Vec<Value> {
            some.iter().map(|own| json!([own.name, drawn(own.subject)])).collect()
        };
        Ok(json!({
            "settings": self.settings,
            "metrics": metrics.collect::<Result<Vec<_>, AnalysisError>>()?,
            "methods": methods.collect::<Result<Vec<_>, AnalysisError>>()?,
            "data": data,
            "subject": drawn(on.subject()),
            "random": drawn(models.random),
            "cascade": redraws(models.redraws.cascade),
            "each": redraws(models.redraws.each),
            "memory": [on.memory().budget(), on.memory().most_rows().get() as u64],
            "kernels": on.subject().kernels(),
            "device": on.subject().device(),
            "dtype": on.subject().dtype(),
            "version": env!("CARGO_PKG_VERSION"),
        }))
    }

    fn open<'a>(&self, on: On<'a>, data: &dyn Cases, index: usize) -> Result<Opened<'a>, SubjectError> {
        let case = data.case(index)?;
        let (inputs, objective) = on.open(&case)?;
        let case = Case { sample: case.sample, target: Target::Objective(objective.clone()) };
        let (masks, persons) = (data.masks(index)?, data.persons(index)?);
        let seed = Seed(self.settings.seed).at(index as u64);
        Ok(Opened { on, case, objective, inputs, masks, persons, seed })
    }

    /// What is left to a row for each metric, and last for its maps.
    fn left(&self, done: &Done, row: usize, rows: usize) -> Vec<u64> {
        let items = self.metrics.len() + 1;
        let share = self.settings.budget.map_or(u64::MAX, |budget| budget / (rows * items) as u64);
        done.spent(row).into_iter().map(|spent| share.saturating_sub(spent)).collect()
    }

    /// What is spent on a row of a case, and its scores.
    fn scored(
        &self,
        opened: &Opened<'_>,
        maker: &Maker<'_>,
        models: Models<'_>,
        left: &[u64],
    ) -> (Vec<u64>, Vec<Result<Vec<f64>, NoScore>>) {
        let mut spent = vec![0; left.len()];
        let nothing: Box<dyn Explainer> = Box::new(RandomMap { seed: opened.seed, grid: [1, 1], picture: 0 });
        let asked = |explainer| AtHand {
            on: opened.on,
            case: &opened.case,
            inputs: &opened.inputs,
            objective: &opened.objective,
            picture: self.settings.picture,
            masks: &opened.masks,
            persons: &opened.persons,
            explainer,
            redraws: models.redraws,
            seed: opened.seed,
        };
        let drawn: Vec<RandomMap>;
        let makers: Vec<&dyn Explainer> = match maker {
            Maker::One(maker) => vec![maker.as_ref()],
            Maker::Random(draws) => {
                let EvaluationSettings { picture, grid, .. } = self.settings;
                let of = |draw| RandomMap { seed: opened.seed.at(u64::MAX).at(draw as u64), grid, picture };
                drawn = (0..*draws).map(of).collect();
                drawn.iter().map(|map| -> &dyn Explainer { map }).collect()
            }
            Maker::Persons => {
                let of = |metric: &dyn AnyMetric| match metric.of_persons(&asked(nothing.as_ref())) {
                    Some(scores) => finite(scores?),
                    None => Err(NoScore::Lacks("persons have no such score".to_owned())),
                };
                return (spent, self.metrics.iter().map(|metric| of(metric.as_ref())).collect());
            }
        };
        let sides: BTreeSet<Side> = self.metrics.iter().map(|metric| metric.side()).collect();
        let maps = left.last().copied().unwrap_or(0);
        let mut made: Vec<(Side, Result<Vec<crate::Map>, NoScore>)> = Vec::new();
        for side in sides {
            let cost =
                makers.iter().map(|maker| maker.cost(&opened.on, &opened.case)).sum::<Result<u64, NoScore>>();
            let before = spent.last().copied().unwrap_or(0);
            let found = match cost {
                Err(why) => Err(why),
                Ok(cost) if before + cost > maps => Err(NoScore::Cost),
                Ok(cost) => {
                    spent.iter_mut().rev().take(1).for_each(|spent| *spent += cost);
                    makers.iter().map(|maker| maker.map(&opened.on, &opened.case, side)).collect()
                }
            };
            made.push((side, found));
        }
        let cells = self.metrics.iter().enumerate().map(|(at, metric)| {
            let own = made.iter().find(|(side, _)| *side == metric.side()).map(|(_, own)| own);
            let own = own.ok_or_else(|| NoScore::Refused("no map was made".to_owned()))?.as_ref();
            let own = own.map_err(Clone::clone)?;
            let cost: u64 =
                makers.iter().map(|maker| metric.cost(&asked(*maker))).sum::<Result<u64, NoScore>>()?;
            if cost > left.get(at).copied().unwrap_or(0) {
                return Err(NoScore::Cost);
            }
            spent.iter_mut().skip(at).take(1).for_each(|spent| *spent = cost);
            let each = makers.iter().zip(own).map(|(maker, map)| metric.scores(&asked(*maker), map));
            mean(each.collect::<Result<_, _>>()?)
        });
        let cells = cells.collect();
        (spent, cells)
    }
}

/// The mean over draws.
fn mean(draws: Vec<Vec<f64>>) -> Result<Vec<f64>, NoScore> {
    let count = draws.len() as f64;
    let sum = draws.into_iter().reduce(|mut sum, own| {
        sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        sum
    });
    finite(sum.unwrap_or_default().into_iter().map(|sum| sum / count).collect())
}

fn finite(scores: Vec<f64>) -> Result<Vec<f64>, NoScore> {
    match scores.iter().find(|score| !score.is_finite()) {
        Some(found) => Err(NoScore::Undefined(format!("the score is {found}"))),
        None => Ok(scores),
    }
}
