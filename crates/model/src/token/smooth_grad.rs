//! SmoothGrad: which part of what a gradient method finds is left when its input is shaken a little, and how much differs each time?
//!
//! # Idea
//! Gradients of deep networks change from one input to the next that nobody can tell apart. For a method `a`, an input `x` and noise
//! `e_k` drawn from a normal distribution of deviation `sigma`,
//!
//! ```text
//! mean = 1/n sum over k of a(x + e_k),      deviation^2 = 1/n sum over k of (a(x + e_k) - mean)^2,      sigma = noise (max x - min x)
//! ```
//!
//! The mean is SmoothGrad, the square of the deviation VarGrad, and the sum of both squares SmoothGrad-Squared.
//!
//! # In and out
//! In: a [`Case`] of one row. What is explained is settled once, on the input as it is. Out, for every table `T` of numbers of the method
//! inside:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `T` | those of `T` | that of `T` | the mean over samples |
//! | `T deviation` | those of `T` | that of `T` | the standard deviation over samples (divided by `n`) |
//! | `sigma` | | activation | the deviation of the noise |
//! | `cautions` | rank | text | of how many samples the method inside warns, and how of the first; only where it does |
//!
//! So `objective` is the mean over shaken inputs, not that of the input.
//!
//! # Settings
//! - `of`: the method inside, by its id or short name: a gradient method that is run on one case, by default integrated gradients.
//! - `with`: its settings by name; what is not named has its default.
//! - `site`: where noise is added, by default `vision.pixels`, or where words enter of a sample without pictures; drawn for each coordinate
//!   of the value there.
//! - `samples`: 16. The paper sees little change beyond 50, and most of it by 10.
//! - `noise`: 0.15 of the range of values at the site; the paper finds 0.1 to 0.2 to look best. Zero gives the method inside to the last
//!   bit.
//! - `with`: settings of the method inside. Integrated gradients have 128 `steps` where it names none: nodes that each sample chooses for itself have no mean.
//! - `seed`: of the draws, 0. The draw of coordinate `i` of sample `k` depends on `seed`, `k` and `i` alone.
//!
//! # Cost
//! `samples` times the method inside, and two passes. Where a tower is given patches in one sequence (Qwen-VL) and noise is added there,
//! its `rows` are one. Beside what that needs, noise and two doubles for every number of its finding.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for a name that is no such method, no samples, noise that is no share; whatever the method inside
//! says of its settings. Running: [`AnalysisError::Subject`] for a site the subject does not have; whatever the method inside reports.
//!
//! # When it misleads
//! - A smooth map looks better than it is: maps of SmoothGrad pass for explanations of networks with random weights (Adebayo et al. 2018,
//!   "Sanity Checks for Saliency Maps").
//! - Noise takes the input off the pictures that the model has seen; large noise explains how noise is read (Smilkov et al. 2017 choose it
//!   by eye).
//! - The mean hides samples that disagree in sign; look at the deviation beside it.
//!
//! # Agreement
//! captum 0.9's integrated gradients on `llava-a`, of pixels with the same noise added, four samples: largest difference relative to the
//! largest value 1.0e-6 for the mean and 1.4e-6 for the deviation. Identities tested: without noise the mean is the method inside and the
//! deviation zero, to the last bit; contributions add up to the change in the mean.
//!
//! # Reference
//! Smilkov, Thorat, Kim, Viégas, Wattenberg: SmoothGrad: removing noise by adding noise. 2017. <https://arxiv.org/abs/1706.03825>. The
//! variance: Adebayo, Gilmer, Goodfellow, Kim: Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values.
//! 2018. <https://arxiv.org/abs/1810.03307>. The paper shakes plain gradients; we shake any method, and draw from numbers counted by
//! coordinate.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{SmoothGrad, smooth_grad::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = SmoothGrad::new(Settings { samples: 8, noise: 0.1, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?}", finding.table("vision.pixels/picture deviation")?.largest(3)?);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use mmlens_core::finding::{Caution, Labelled, Unit, finite};
use mmlens_core::{
    Alteration, Altered, Analysis, AnalysisError, Answer, AnyAnalysis, AnyTensor, AxisName, Capability, Card,
    Case, Change, Cost, Form, Given, HookError, Inputs, Leaf, Method, Objective, On, Part, Plan, Region,
    Seed, Site, SiteSpec, Target, Watch, kind,
};
use mmlens_engine::{normal, one_row};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::METHODS;
use crate::check::{at_least_one, setting};
use crate::moments::Moments;

/// What this method is.
pub const CARD: Card = Card {
    id: "smooth-grad",
    short: "smooth",
    name: "SmoothGrad",
    question: "What of a gradient method's finding is left when the input is shaken a little?",
    citation: "Smilkov et al.: SmoothGrad: removing noise by adding noise. 2017. https://arxiv.org/abs/1706.03825",
    leaf: Leaf::Token,
    cost: "2 forward + samples x the method inside",
    needs: &[Capability::Gradients],
    misleads: &[
        "A smooth map looks better than it is.",
        "Large noise explains how noise is read.",
        "The mean hides samples that disagree.",
    ],
    first: false,
};

/// How many nodes integrated gradients have in every sample, if the settings do not say.
const STEPS: usize = 128;

/// Which method is shaken, and how much.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The method inside, by its id or short name.
    pub of: String,
    /// Its settings, by name.
    pub with: Map<String, Value>,
    /// Where noise is added; `None` for the pixels of a sample, or where its words enter, if it has no pictures.
    pub site: Option<Site>,
    /// How often.
    pub samples: usize,
    /// The deviation of the noise, as a share of the range of values there.
    pub noise: f64,
    /// Of the draws.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { of: "ig".to_owned(), with: Map::new(), site: None, samples: 16, noise: 0.15, seed: Seed(0) }
    }
}

/// SmoothGrad with checked settings.
pub struct SmoothGrad {
    settings: Settings,
    samples: NonZeroUsize,
    inside: &'static Method,
}

impl fmt::Debug for SmoothGrad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl SmoothGrad {
    /// Where noise is added.
    fn site(&self, on: &On<'_>, inputs: &Inputs) -> Site {
        let given = || inputs.towers().find_map(Part::entrance);
        self.settings.site.or_else(given).unwrap_or_else(|| kind::words_enter(on.subject()))
    }

    /// The method inside. A tower that is given patches of all pictures in one sequence has one copy of them in a pass, so that noise
    /// has its place.
    fn inside(&self, on: &On<'_>, site: Site) -> Result<Box<dyn AnyAnalysis>, AnalysisError> {
        let spec = SiteSpec::among(on.subject().sites(), site)?;
        let first = spec.axes.first().map(|(axis, fixed)| (*axis, fixed.is_none()));
        let mut with = self.settings.with.clone();
        let own_rows =
            first.is_some_and(|(axis, free)| free && (axis == AxisName::Batch || axis.tower().is_some()));
        let defaults = self.inside.defaults()?;
        if !own_rows && defaults.get("rows").is_some() {
            with.insert("rows".to_owned(), json!(1));
        }
        // The same nodes in every sample: values at nodes of each one's own have no mean.
        let counted = |fields: &Map<String, Value>| fields.get("steps").is_some_and(|steps| !steps.is_null());
        if defaults.get("steps").is_some_and(Value::is_null) && !counted(&with) {
            with.insert("steps".to_owned(), json!(STEPS));
        }
        self.inside.make(Value::Object(with))
    }
}

impl Analysis for SmoothGrad {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let fits = |method: &&Method| {
            let card = &method.card;
            let gradients = card.needs.contains(&Capability::Gradients) && card.id != CARD.id;
            gradients && method.form == Form::OneCase && method.is_called(&settings.of)
        };
        let none = || {
            setting(
                &CARD,
                "of",
                format!("`{}`", settings.of),
                "a gradient method of one case is shaken, such as `ig`",
            )
        };
        let inside = METHODS.iter().find(fits).ok_or_else(none)?;
        inside.make(Value::Object(settings.with.clone()))?;
        if !settings.noise.is_finite() || settings.noise < 0.0 {
            return Err(setting(&CARD, "noise", settings.noise, "it is a share, 0 or above"));
        }
        let samples = at_least_one(&CARD, "samples", settings.samples)?;
        Ok(Self { settings, samples, inside })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        // What is explained is settled before.
        let settled = Case { target: Target::Objective(Objective::logit(0)), ..case.clone() };
        let site = self.site(on, &on.encode(&case.sample)?);
        let one = self.inside(on, site)?.cost(on, &Given { case: settled, corrupted: None, many: None })?;
        let times = self.samples.get() as u64;
        let forward = case.settling() as u64 + 1 + times.saturating_mul(one.forward);
        Ok(Cost { forward, backward: times.saturating_mul(one.backward), ..one })
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Settings { noise, seed, .. } = self.settings;
        let (inputs, objective) = on.open(case)?;
        one_row(CARD.id, &inputs)?;
        let site = self.site(on, &inputs);
        let (subject, inside) = (on.subject(), self.inside(on, site)?);
        let value = subject.run(&inputs, Plan::new().read(site)?)?.get(site)?.clone();
        let sigma = noise * range(site, &value)?;
        let case = Case { target: Target::Objective(objective.clone()), ..case.clone() };
        let given = Given { case, corrupted: None, many: None };
        let (mut found, mut warned, mut caution): (Option<Moments>, usize, Option<Caution>) = (None, 0, None);
        let mut baseline = None;
        for sample in 0..self.samples.get() {
            let drawn = drawn(&value, sigma, seed.at(sample as u64))?;
            let shaken = Altered::new(subject, [Alteration::new(site, Region::all(), Change::Add(drawn))?])?;
            let watch = Sample { watch: on.watch(), sample, samples: self.samples.get() };
            let inner = On::new(&shaken).watched(&watch).within(on.memory());
            let one = inside.run_given(&inner, &given).map_err(|error| watch.own(error))?;
            if let Some(first) = one.cautions().into_iter().next() {
                warned += 1;
                caution.get_or_insert(first);
            }
            baseline = baseline.or_else(|| one.provenance.baseline.clone());
            // Tensors among its settings are settings here, and cautions are counted.
            let given = |table: &Labelled| table.is_aside() && table.name().starts_with("given ");
            let own = |table: &&Labelled| !given(table) && !Caution::is_table(table.name());
            let tables: Vec<Labelled> = one.tables().iter().filter(own).cloned().collect();
            match &mut found {
                None => found = Some(Moments::of(tables)),
                Some(moments) => moments.add(&tables)?,
            }
        }
        let found = found.ok_or_else(|| setting(&CARD, "samples", 0, "it must be at least 1"))?;
        let mut tables = found.means()?;
        tables.extend(found.deviations()?);
        tables.push(Labelled::scalar("sigma", Unit::Activation, sigma as f32));
        let caution = caution.map(|first| Caution {
            text: format!("{warned} of {} samples, the first: {first}", self.samples),
            ..first
        });
        let answer = Answer::new(tables, [site])
            .explaining(&objective)
            .seeded(seed)
            .cautioned(caution)
            .settled("site", json!(site));
        Ok(match baseline {
            Some(baseline) => answer.against(baseline),
            None => answer,
        })
    }
}

/// The largest less the smallest number.
fn range(site: Site, value: &AnyTensor) -> Result<f64, AnalysisError> {
    let mut values = value.to_values()?;
    finite(&values).map_err(|error| AnalysisError::NotFinite {
        method: CARD.id.to_owned(),
        table: site.to_string(),
        at: format!("its value {}", error.at),
        found: error.found as f32,
    })?;
    values.sort_by(f32::total_cmp);
    let ends = values.first().zip(values.last());
    Ok(ends.map_or(0.0, |(low, high)| f64::from(*high) - f64::from(*low)))
}

/// Noise in the shape of a value.
fn drawn(value: &AnyTensor, sigma: f64, seed: Seed) -> Result<AnyTensor, HookError> {
    let count = value.dims().iter().product::<usize>() as u64;
    let values = (0..count).map(|i| (sigma * normal(seed.at(i))) as f32).collect();
    AnyTensor::from_values(values, &value.dims(), &mmlens_core::device::host())?.beside(value)
}

/// Steps of one sample as steps of all.
struct Sample<'a> {
    watch: &'a dyn Watch,
    sample: usize,
    samples: usize,
}

impl Sample<'_> {
    /// An error of the method inside, where it was cancelled as one of this method.
    fn own(&self, error: AnalysisError) -> AnalysisError {
        match error {
            AnalysisError::Cancelled { done, total, .. } => AnalysisError::Cancelled {
                method: CARD.id,
                done: self.sample * total + done,
                total: self.samples * total,
            },
            other => other,
        }
    }
}

impl Watch for Sample<'_> {
    fn step(&self, _: &'static str, done: usize, total: usize) -> ControlFlow<()> {
        self.watch.step(CARD.id, self.sample * total + done, self.samples * total)
    }
}
