//! A head that is trained, trained again on subsets and without each case, and what every method says of it.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use mmlens::FITS;
use mmlens::core::{Ended, Fitting, Given, Source};
use mmlens::data::shapes::{Detail, Scene, Split, World};
use mmlens::engine::{Classed, Limits, Logistic, drawn_order};
use mmlens::prelude::*;
use mmlens::training::influence::{self, Measure, Projected};
use mmlens::training::{Ensemble, Headed, Influence, TracIn, Trak, trak};
use serde_json::{Value, json};

/// How much is trained, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Training cases.
    pub(crate) cases: usize,
    /// Of these with a wrong label.
    pub(crate) planted: usize,
    /// Cases that are explained.
    pub(crate) targets: usize,
    /// Subsets of half of the training cases.
    pub(crate) subsets: usize,
    /// Models of half of the training cases, for TRAK.
    pub(crate) models: u64,
    /// How often everything is drawn anew.
    pub(crate) seeds: u64,
    /// How often targets, subsets and cases are drawn again for an interval.
    pub(crate) draws: u64,
}

impl Size {
    pub(crate) const SMALL: Self =
        Self { cases: 40, planted: 4, targets: 6, subsets: 24, models: 2, seeds: 1, draws: 40 };
    pub(crate) const WHOLE: Self =
        Self { cases: 200, planted: 20, targets: 40, subsets: 300, models: 5, seeds: 3, draws: 300 };
}

/// The state of a picture that the head reads.
const SITE: &str = "vision.projected";
/// How many things there are: one to four.
const CLASSES: usize = 4;
/// The inverse strength of the penalty.
const C: f64 = 1.0;
/// Steps of gradient descent behind which a checkpoint is kept, and the size of a step.
const STEPS: [usize; 4] = [10, 30, 100, 300];
const RATE: f64 = 0.5;

/// A picture, its state and its label.
#[derive(Clone)]
struct Shown {
    scene: Scene,
    state: Vec<f64>,
    label: usize,
}

/// What a method says: of every target a score for each training case, and of every training case one for itself.
pub(crate) struct Said {
    pub(crate) name: &'static str,
    pub(crate) scores: Vec<Vec<f64>>,
    pub(crate) own: Option<Vec<f64>>,
}

/// A head, its training cases, and what becomes of it without some.
pub(crate) struct Trained {
    pub(crate) size: Size,
    pub(crate) seed: Seed,
    inner: Arc<dyn Subject>,
    cases: Vec<Shown>,
    targets: Vec<Shown>,
    head: Logistic,
    /// Whether the label of a training case is wrong.
    pub(crate) planted: Vec<bool>,
    /// Subsets, as whether each case is in it.
    pub(crate) subsets: Vec<Vec<bool>>,
    /// Of each target the margin of its answer when trained on each subset.
    pub(crate) outputs: Vec<Vec<f64>>,
    /// Of each target how much each case adds to the margin: with all less without it.
    pub(crate) without: Vec<Vec<f64>>,
    /// The same of each case for itself.
    pub(crate) without_own: Vec<f64>,
}

fn label(scene: &Scene) -> usize {
    scene.objects.len().min(CLASSES) - 1
}

fn sample(scene: &Scene) -> Sample {
    let picture = Picture::new(format!("scene {}", scene.id), scene.render());
    Sample::new(vec![picture], Words::Texts(vec![scene.caption(Detail::Full).to_string()]))
}

fn case(shown: &Shown) -> Case {
    let objective = Objective::log_probability(shown.label as u32);
    Case { sample: sample(&shown.scene), target: Target::Objective(objective) }
}

/// The log of the odds of a class.
fn margin(head: &Logistic, state: &[f64], label: usize) -> f64 {
    let logs = head.log_probabilities(state);
    let rest: f64 = logs.iter().enumerate().filter(|(at, _)| *at != label).map(|(_, log)| log.exp()).sum();
    logs.get(label).copied().unwrap_or(f64::NAN) - rest.ln()
}

fn classed<'a>(shown: impl Iterator<Item = &'a Shown>) -> Classed {
    let mut rows = Classed { classes: CLASSES, ..Classed::default() };
    for own in shown {
        rows.width = own.state.len();
        rows.values.extend_from_slice(&own.state);
        rows.labels.push(own.label);
    }
    rows
}

/// The head of some cases, at its minimum. It is sought from their mean: intercepts are not penalised, so that the minimum is the same, and near.
fn fit<'a>(shown: impl Iterator<Item = &'a Shown>) -> Result<Logistic> {
    let mut rows = classed(shown);
    let (width, count) = (rows.width, rows.labels.len() as f64);
    let mean: Vec<f64> =
        (0..width).map(|at| rows.values.iter().skip(at).step_by(width).sum::<f64>() / count).collect();
    rows.values.iter_mut().zip(mean.iter().cycle()).for_each(|(value, mean)| *value -= mean);
    let limits = Limits { steps: 5000, gradient: 1e-8 };
    let (mut head, ended) = Logistic::fit("head", &rows, C, limits, &mut |_| Ok(()))?;
    ensure!(matches!(ended, Ended::Converged { .. }), "the head {ended}");
    for (weights, intercept) in head.weights.iter().zip(&mut head.intercepts) {
        *intercept -= weights.iter().zip(&mean).map(|(weight, mean)| weight * mean).sum::<f64>();
    }
    Ok(head)
}

/// Heads on the way of gradient descent, from zero, with the rate of each: what lies between it and the one before.
fn descended(shown: &[Shown]) -> Vec<(Logistic, f64)> {
    let width = shown.first().map_or(0, |own| own.state.len());
    let n = shown.len() as f64;
    let mut head = Logistic { weights: vec![vec![0.0; width]; CLASSES], intercepts: vec![0.0; CLASSES] };
    let (mut kept, mut before) = (Vec::new(), 0);
    for step in 1..=STEPS.iter().copied().max().unwrap_or(0) {
        let mut next = head.clone();
        for weights in &mut next.weights {
            weights.iter_mut().for_each(|weight| *weight *= 1.0 - RATE / (C * n));
        }
        for own in shown {
            let logs = head.log_probabilities(&own.state);
            for (class, log) in logs.iter().enumerate() {
                let by = RATE * (f64::from(u8::from(class == own.label)) - log.exp()) / n;
                next.weights[class].iter_mut().zip(&own.state).for_each(|(weight, x)| *weight += by * x);
                next.intercepts[class] += by;
            }
        }
        head = next;
        if STEPS.contains(&step) {
            kept.push((head.clone(), RATE * (step - before) as f64 / n));
            before = step;
        }
    }
    kept
}

impl Trained {
    pub(crate) fn new(inner: &Arc<dyn Subject>, size: Size, seed: Seed) -> Result<Self> {
        let world = World::new(100 + seed.value());
        let site: Site = SITE.parse()?;
        let shown = |split: Split, count: usize| -> Result<Vec<Shown>> {
            let of = |id: usize| {
                let scene = world.scene(split, id as u64);
                let trace = inner.run(&inner.encode(&sample(&scene))?, Plan::new().read(site)?)?;
                let state = trace.get(site)?.to_values()?.into_iter().map(f64::from).collect();
                Ok(Shown { label: label(&scene), scene, state })
            };
            (0..count).map(of).collect()
        };
        let (mut cases, targets) = (shown(Split::Train, size.cases)?, shown(Split::Test, size.targets)?);
        let mut planted = vec![false; size.cases];
        for at in drawn_order(size.cases, seed.at(1)).into_iter().take(size.planted) {
            planted[at] = true;
            let by = 1 + (seed.at(2).at(at as u64).value() % (CLASSES as u64 - 1)) as usize;
            cases[at].label = (cases[at].label + by) % CLASSES;
        }
        let subset = |draw: usize| {
            let order = drawn_order(size.cases, seed.at(3).at(draw as u64));
            let mut inside = vec![false; size.cases];
            order.into_iter().take(size.cases / 2).for_each(|at| inside[at] = true);
            inside
        };
        let subsets: Vec<Vec<bool>> = (0..size.subsets).map(subset).collect();
        let head = fit(cases.iter())?;
        let margins = |head: &Logistic| -> Vec<f64> {
            targets.iter().map(|own| margin(head, &own.state, own.label)).collect()
        };
        let mut outputs = vec![Vec::with_capacity(size.subsets); size.targets];
        for inside in &subsets {
            let some = fit(cases.iter().zip(inside).filter(|(_, inside)| **inside).map(|(own, _)| own))?;
            outputs.iter_mut().zip(margins(&some)).for_each(|(all, margin)| all.push(margin));
        }
        let (all, mut without_own) = (margins(&head), Vec::with_capacity(size.cases));
        let mut without = vec![Vec::with_capacity(size.cases); size.targets];
        for (at, left_out) in cases.iter().enumerate() {
            let rest = fit(cases.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, own)| own))?;
            for ((effects, margin), with) in without.iter_mut().zip(margins(&rest)).zip(&all) {
                effects.push(with - margin);
            }
            let own = |head: &Logistic| margin(head, &left_out.state, left_out.label);
            without_own.push(own(&head) - own(&rest));
        }
        let inner = inner.clone();
        Ok(Self { size, seed, inner, cases, targets, head, planted, subsets, outputs, without, without_own })
    }

    /// How good the head is.
    pub(crate) fn told(&self) -> Result<String> {
        let right = |shown: &[Shown]| {
            let first = |own: &&Shown| margin(&self.head, &own.state, own.label);
            let best = |own: &&Shown| {
                let logs = self.head.log_probabilities(&own.state);
                logs.iter().all(|log| *log <= logs[own.label]) && first(own).is_finite()
            };
            shown.iter().filter(best).count() as f64 / shown.len() as f64
        };
        let Size { cases, planted, targets, subsets, .. } = self.size;
        Ok(format!(
            "{cases} training cases, {planted} of them with a wrong label, right in {:.3}; {targets} targets, right in {:.3}; {subsets} subsets",
            right(&self.cases),
            right(&self.targets)
        ))
    }

    fn headed(&self, head: &Logistic) -> Result<Headed> {
        let classes = (1..=CLASSES).map(|count| count.to_string()).collect();
        Ok(Headed::new(self.inner.clone(), SITE.parse()?, classes, head)?)
    }

    /// What a method of the table says of a head.
    fn by(&self, name: &'static str, method: &str, settings: Value, subject: &Headed) -> Result<Said> {
        let (data, on) = (self.data(), On::new(subject));
        let outcome =
            Fitting::called(FITS, method)?.learn(settings, &Source::Cases(&on, &data), self.seed, None)?;
        let numbers = |finding: &Finding, table: &str| -> Option<Vec<f64>> {
            let values = finding.find(table)?.as_numbers()?;
            Some(values.iter().map(|value| f64::from(*value)).collect())
        };
        let of = |target: &Shown| {
            let finding = outcome.fitted.run_given(&on, &Given::new(case(target))?)?;
            numbers(&finding, "scores").context("scores")
        };
        let scores = self.targets.iter().map(of).collect::<Result<_>>()?;
        Ok(Said { name, scores, own: numbers(&outcome.finding, "self-influence") })
    }

    /// What every method says, beside floors and the truth itself.
    pub(crate) fn said(&self) -> Result<Vec<Said>> {
        let head = self.headed(&self.head)?;
        let mut all = vec![Said {
            name: "trained again without the case",
            scores: self.without.clone(),
            own: Some(self.without_own.clone()),
        }];
        let whole = json!({ "projected": "none" });
        let states = json!({ "site": "vision.pooled", "positions": "all" });
        for (name, method, settings) in [
            ("`trak`, whole gradients", "trak", whole.clone()),
            ("`trak`", "trak", json!({})),
            ("`trak`, 64 features", "trak", json!({ "features": 64 })),
            ("`tracin`, whole gradients", "tracin", whole.clone()),
            ("`tracin`", "tracin", json!({})),
        ] {
            all.push(self.by(name, method, settings, &head)?);
        }
        all.insert(4, self.over_models()?);
        all.push(self.over_checkpoints()?);
        all.push(self.by("`grad-cos`, whole gradients", "grad-cos", whole, &head)?);
        all.push(self.by("`feature-cos`", "feature-cos", states, &head)?);
        all.push(self.by("`bm25` of captions", "bm25", json!({}), &head)?);
        all.extend(self.floors());
        Ok(all)
    }

    /// The training cases, as a data set.
    fn data(&self) -> impl Cases + Send + use<> {
        let cases: Vec<Case> = self.cases.iter().map(case).collect();
        from_fn("scenes", cases.len(), move |at| Ok(cases[at].clone()))
    }

    /// What several models say together.
    fn together<M: Measure>(
        &self,
        name: &'static str,
        members: Vec<(Arc<dyn Subject>, Influence<M>)>,
        own: Option<Vec<f64>>,
    ) -> Result<Said> {
        let all = Ensemble::new(members)?;
        let of = |target: &Shown| {
            let finding = all.run(&case(target), &Unwatched)?;
            let values = finding.table("scores")?.as_numbers().context("scores")?;
            Ok(values.iter().map(|value| f64::from(*value)).collect())
        };
        Ok(Said { name, scores: self.targets.iter().map(of).collect::<Result<_>>()?, own })
    }

    /// TracIn over checkpoints of gradient descent, with their rates.
    fn over_checkpoints(&self) -> Result<Said> {
        let (mut members, mut own) = (Vec::new(), vec![0.0; self.cases.len()]);
        for (head, rate) in descended(&self.cases) {
            let settings = influence::Settings { rate, projected: Projected::None, ..Default::default() };
            let subject: Arc<dyn Subject> = Arc::new(self.headed(&head)?);
            let learned = TracIn::new(settings)?.learn(&On::new(&subject), &self.data(), self.seed)?;
            let values = learned.finding.table("self-influence")?.as_numbers().context("self-influence")?;
            own.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
            members.push((subject, learned.fitted));
        }
        self.together("`tracin`, 4 checkpoints, whole gradients", members, Some(own))
    }

    /// TRAK over models that were trained on half of the cases each, other halves than the subsets.
    fn over_models(&self) -> Result<Said> {
        let mut members = Vec::new();
        for model in 0..self.size.models {
            let half = drawn_order(self.cases.len(), self.seed.at(4).at(model));
            let head = fit(half.into_iter().take(self.cases.len() / 2).map(|at| &self.cases[at]))?;
            let subject: Arc<dyn Subject> = Arc::new(self.headed(&head)?);
            let learned = Trak::new(trak::Settings::default())?;
            let learned = learned.learn(&On::new(&subject), &self.data(), self.seed.at(5).at(model))?;
            members.push((subject, learned.fitted));
        }
        self.together("`trak`, models of half of the cases each", members, None)
    }

    /// What looks at no model, or at its loss alone.
    fn floors(&self) -> Vec<Said> {
        let of_targets = |score: &dyn Fn(usize, &Shown, usize, &Shown) -> f64| -> Vec<Vec<f64>> {
            let row = |(t, target): (usize, &Shown)| {
                self.cases.iter().enumerate().map(|(i, own)| score(t, target, i, own)).collect()
            };
            self.targets.iter().enumerate().map(row).collect()
        };
        let chance = |t: usize, i: usize| self.seed.at(7).at(t as u64).at(i as u64).normal();
        let loss = |own: &Shown| -self.head.log_probabilities(&own.state)[own.label];
        vec![
            Said {
                name: "the same label",
                scores: of_targets(&|_, target, _, own| f64::from(u8::from(target.label == own.label))),
                own: None,
            },
            Said {
                name: "the loss of the case",
                scores: of_targets(&|_, _, _, own| -loss(own)),
                own: Some(self.cases.iter().map(loss).collect()),
            },
            Said {
                name: "by chance",
                scores: of_targets(&|t, _, i, _| chance(t, i)),
                own: Some((0..self.cases.len()).map(|i| chance(self.targets.len(), i)).collect()),
            },
        ]
    }
}
