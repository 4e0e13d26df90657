//! Selectivity: which neurons tell cases of a class from the others, beyond chance?
//!
//! # Idea
//! Of every case a neuron gives one number, the mean or the largest of what it holds at the positions chosen. With `n1` cases of
//! the class and `n2` others,
//!
//! ```text
//! AUROC = U / (n1 n2),  U: pairs of a case of the class and another in which the former has the larger number, equal ones counted half
//! p     = probability of a U as far from the middle if the class made no difference (Mann, Whitney)
//! q     = least of p(j) m / j over j >= i of the m neurons sorted by p (Benjamini, Hochberg): neurons with q <= alpha are findings,
//!         of which a share of alpha is false in the mean
//! ```
//!
//! `p` is exact where a group has no more than eight cases and no two numbers are equal; else by the normal distribution, with
//! corrections for equal numbers and for continuity. It is two-sided.
//!
//! # In and out
//! In: [`ManyCases`], a data set with labels. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `auroc` | layer, neuron | ratio | 1 where every case of the class is above all others, 0 below, 1/2 where the class makes no difference |
//! | `neurons` | rank | text | findings, `layer.neuron`, those with an AUROC farthest from 1/2 first, of equal ones the earlier |
//! | `auroc of neurons` | rank | ratio | theirs |
//! | `found`, `shuffled mean` | | count | findings; findings with shuffled labels, in the mean |
//! | `shuffled`, `shuffled extreme` | step | count, ratio | for each shuffle: findings; the AUROC farthest from 1/2, as its distance above it |
//! | `p`, `q` | layer, neuron | probability | as above |
//! | `d prime` | layer, neuron | ratio | `(m1 - m2) / sqrt((v1 + v2) / 2)` with variances that divide by `n - 1` (0 of one case); 0 where both are 0 |
//! | `index` | layer, neuron | ratio | `(m1 - m2) / (abs m1 + abs m2)`; 0 where both are 0 |
//! | `mean of the class`, `mean of others` | layer, neuron | activation | `m1`, `m2` |
//! | `cases` | concept | count | of the class, others |
//!
//! # Settings
//! - `class`: the first of the data set, or one by name, against all others.
//! - `pool`: `mean` or `max`, what a case gives.
//! - `part`: the language model; where an encoder of its own reads the words, or there is none, the tower ([`Part`]).
//! - `point`: `mlp.post` ([`Point`]); `layers`: all, or some by number ([`Indices`]); `positions`: `all` ([`Positions`]).
//! - `alpha`: 0.05; `top`: 20 neurons are listed; `shuffles`: 10; `seed`: 0.
//!
//! # Cost
//! One pass for each case (more where the numbers of not all layers fit), which ends at the last of the layers. Memory for each
//! neuron: 4 bytes for every case, a group of layers at a time, and `8 shuffles + 40`.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for an `alpha` that is not between 0 and 1. Running: [`AnalysisError::Input`] for a data set without
//! labels, a class without cases, one class alone, a part or point without neurons; [`AnalysisError::Setting`] for a class that there is
//! not, or a layer past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Selective is not causal: a neuron may tell a class apart and be used by nothing. Ablate it.
//! - Whatever goes along with the class is found, too: the length of a prompt, the word that names it.
//! - Cases that share a picture are no independent cases, and `p` takes them as such: a caution says how many groups there are.
//! - With many cases the least difference is a finding: look at the AUROC, and compare it with `shuffled extreme`.
//!
//! # Agreement
//! SciPy 1.17.1 (`mannwhitneyu`, `false_discovery_control`) and scikit-learn 1.9.1 (`roc_auc_score`) on drawn rows with and without equal
//! values, and on activations of `llava-a` and `clip-a` in transformers: p and q within 1e-12 on drawn rows; of activations AUROC, p and q equal, other indices within 2e-5 of the largest. Identities
//! tested: the other class has the mirrored AUROC and the same p; a rising function of a neuron's numbers changes no AUROC; shuffled
//! labels find little. All 15 neurons that were planted to be for one colour in the third or the last block of `shapes-llava` (five seeds, three strengths) are found, with an AUROC above 0.9.
//!
//! # Reference
//! Mann, Whitney: On a Test of Whether One of Two Random Variables is Stochastically Larger than the Other. Annals of Mathematical Statistics
//! 18, 1947. <https://doi.org/10.1214/aoms/1177730491>; Benjamini, Hochberg: Controlling the False Discovery Rate. JRSS B 57, 1995.
//! <https://doi.org/10.1111/j.2517-6161.1995.tb02031.x>; selectivity of units: Morcos et al.: On the Importance of Single Directions for
//! Generalization. ICLR 2018. <https://arxiv.org/abs/1803.06959> (their index has no absolute values: rectified units are never negative).
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Annotated, Case, ManyCases, Sample, from_fn};
//! use mmlens_model::selectivity::{Selectivity, Settings};
//! let words = from_fn("words", 12, |i| Ok(Case::new(Sample::text(["ab", "cd"][i % 2].repeat(1 + i / 2)))));
//! let words = Annotated::new(words, ["a", "c"], (0..12).map(|i| i % 2).collect())?;
//! let toy = mmlens_testkit::Toy::curved(1);
//! let finding = Selectivity::new(Settings::default())?.run(&toy, &ManyCases::over(words)?)?;
//! println!("{:?}", finding.table("neurons")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cases, Cost, Leaf, ManyCases, On, Part, Point, Seed,
    groups,
};
use mmlens_engine::{
    Indices, MannWhitney, Neurons, Positions, Progress, Ranked, benjamini_hochberg, shuffled,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use super::groups::Pool;
use super::groups::{Pooled, labels_of};
use crate::check::{at_most, input, part_with_neurons, setting, share};

/// What this method is.
pub const CARD: Card = Card {
    id: "selectivity",
    short: "selectivity",
    name: "Selectivity with false-discovery control",
    question: "Which neurons tell cases of a class from the others, beyond chance?",
    citation: "Benjamini, Hochberg: Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple Testing. JRSS B 57, 1995. https://doi.org/10.1111/j.2517-6161.1995.tb02031.x",
    leaf: Leaf::Neuron,
    cost: "1 forward for each case",
    needs: &[Capability::Neurons],
    misleads: &[
        "Selective is not causal: a neuron may tell a class apart and be used by nothing.",
        "Whatever goes along with the class is found, too.",
        "Cases that share a picture are no independent cases, and p takes them as such.",
    ],
    first: false,
};

/// Chance is cautioned of from this share of what is found.
const BY_CHANCE: f64 = 0.5;
/// Fewer cases of a class, or others, are cautioned of.
const LEAST_CASES: usize = 10;

/// What is compared.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which class against all others; `None` for the first of the data set.
    pub class: Option<String>,
    /// What a case gives.
    pub pool: Pool,
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Where neurons are read.
    pub point: Point,
    /// In which layers.
    pub layers: Indices,
    /// At which positions.
    pub positions: Positions,
    /// The share of findings that may be false.
    pub alpha: f64,
    /// How many neurons are listed.
    pub top: usize,
    /// How often labels are shuffled.
    pub shuffles: usize,
    /// The seed of what is shuffled.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            class: None,
            pool: Pool::Mean,
            part: None,
            point: Point::MlpPost,
            layers: Indices::All,
            positions: Positions::All,
            alpha: 0.05,
            top: 20,
            shuffles: 10,
            seed: Seed(0),
        }
    }
}

/// Selectivity with checked settings.
#[derive(Debug, Clone)]
pub struct Selectivity {
    settings: Settings,
}

impl Selectivity {
    fn neurons(&self, on: &On<'_>) -> Result<(Part, Neurons), AnalysisError> {
        let Settings { part, point, layers, positions, .. } = &self.settings;
        let part = part_with_neurons(&CARD, on.subject(), (*part, *point))?;
        Ok((part, Neurons::of((on, CARD.id), (part, *point), layers, positions)?))
    }

    /// Bytes of what is found of all neurons.
    fn found(&self, neurons: &Neurons) -> u64 {
        (neurons.len() * (8 * self.settings.shuffles + 40)) as u64
    }

    /// The class by its number, and whether each case is of it.
    fn classes(&self, data: &dyn Cases) -> Result<(String, Vec<bool>), AnalysisError> {
        let labels = labels_of(&CARD, data)?;
        let names = data.classes();
        if names.len() < 2 {
            return Err(input(&CARD, "at least two classes", format!("there is one, `{}`", names.join(""))));
        }
        let wanted = self.settings.class.as_ref();
        let class = match wanted {
            None => Some(0),
            Some(name) => names.iter().position(|own| own == name),
        };
        let unknown = || {
            let found = format!("`{}`, of {}", wanted.map_or("", String::as_str), names.join(", "));
            setting(&CARD, "class", found, "a class of the data set")
        };
        let class = class.ok_or_else(unknown)?;
        let name = names.get(class).cloned().ok_or_else(unknown)?;
        Ok((name, labels.into_iter().map(|label| label == class).collect()))
    }
}

impl Analysis for Selectivity {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        share(&CARD, "alpha", settings.alpha)?;
        at_most(&CARD, "top", settings.top)?;
        at_most(&CARD, "shuffles", settings.shuffles)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let (_, neurons) = self.neurons(on)?;
        let scans = Pooled::scans(&neurons, &on.memory(), many.len(), self.found(&neurons));
        neurons.cost((on, CARD.id), many.data(), &scans)
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { pool, shuffles, seed, .. } = self.settings;
        let (part, neurons) = self.neurons(on)?;
        let data = many.data();
        let (class, own) = self.classes(data)?;
        let orders = (0..shuffles).map(|at| shuffled(own.len(), seed.at(at as u64)));
        let mixed: Vec<Vec<bool>> =
            orders.map(|order| order.iter().filter_map(|at| own.get(*at).copied()).collect()).collect();
        let scans = Pooled::scans(&neurons, &on.memory(), many.len(), self.found(&neurons));
        let mut progress = Progress::new(on.watch(), CARD.id, scans.len() * data.len());
        let mut found = Found::new(&own, shuffles);
        for scan in scans {
            let pooled = Pooled::read((on, CARD.id), data, &neurons, scan, pool, &mut progress)?;
            pooled.units().for_each(|values| found.see(values, &own, &mixed));
        }
        let (tables, mut cautions) = self.tables(&neurons, found)?;
        cautions.extend(groups_of(data)?);
        let answer = Answer::new(tables, neurons.sites().iter().copied()).seeded(seed).cautioned(cautions);
        Ok(answer.settled("part", json!(part)).settled("class", json!(class)))
    }
}

/// What is found of one neuron after another.
struct Found {
    test: MannWhitney,
    sizes: [usize; 2],
    auroc: Vec<f64>,
    p: Vec<f64>,
    means: [Vec<f64>; 2],
    d_prime: Vec<f64>,
    /// For each shuffle.
    mixed: Vec<Mixed>,
}

/// With labels that are shuffled.
#[derive(Default)]
struct Mixed {
    p: Vec<f64>,
    extreme: f64,
}

impl Found {
    fn new(own: &[bool], shuffles: usize) -> Self {
        let first = own.iter().filter(|own| **own).count();
        let sizes = [first, own.len() - first];
        Self {
            test: MannWhitney::new(sizes[0], sizes[1]),
            sizes,
            auroc: Vec::new(),
            p: Vec::new(),
            means: [Vec::new(), Vec::new()],
            d_prime: Vec::new(),
            mixed: (0..shuffles).map(|_| Mixed::default()).collect(),
        }
    }

    fn see(&mut self, values: &[f32], own: &[bool], mixed: &[Vec<bool>]) {
        let ranked = Ranked::of(values);
        let pairs = (self.sizes[0] * self.sizes[1]) as f64;
        let of = |labels: &[bool], test: &MannWhitney| {
            let u = test.u(&ranked, labels);
            (u / pairs, test.p(u, ranked.ties))
        };
        let (auroc, p) = of(own, &self.test);
        self.auroc.push(auroc);
        self.p.push(p);
        for (found, labels) in self.mixed.iter_mut().zip(mixed) {
            let (auroc, p) = of(labels, &self.test);
            found.p.push(p);
            found.extreme = found.extreme.max((auroc - 0.5).abs()); // no NaN: quotients of counts
        }
        let group = |which: bool| {
            let all = || values.iter().zip(own).filter(|(_, own)| **own == which).map(|(x, _)| f64::from(*x));
            let n = all().count() as f64;
            let mean = all().sum::<f64>() / n;
            let squares: f64 = all().map(|x| (x - mean).powi(2)).sum();
            (mean, if n > 1.0 { squares / (n - 1.0) } else { 0.0 })
        };
        let ((m1, v1), (m2, v2)) = (group(true), group(false));
        self.means[0].push(m1);
        self.means[1].push(m2);
        self.d_prime.push(quotient(m1 - m2, ((v1 + v2) / 2.0).sqrt()));
    }
}

/// Zero where nothing is divided by.
fn quotient(value: f64, by: f64) -> f64 {
    if by > 0.0 { value / by } else { 0.0 }
}

/// That cases are not independent of one another.
fn groups_of(data: &dyn Cases) -> Result<Option<Caution>, AnalysisError> {
    let groups: BTreeSet<u64> = groups(data)?.into_iter().collect();
    Ok((groups.len() < data.len()).then(|| {
        let text = format!(
            "{} cases are of {} groups: those of one group are not independent, and p takes them as if they were",
            data.len(),
            groups.len()
        );
        Caution::new(CautionKind::FewRows, groups.len() as f32, text)
    }))
}

impl Selectivity {
    fn tables(
        &self,
        neurons: &Neurons,
        found: Found,
    ) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let Settings { alpha, top, shuffles, .. } = self.settings;
        let q = benjamini_hochberg(&found.p);
        let findings = |q: &[f64]| q.iter().filter(|q| **q <= alpha).count();
        let by_chance: Vec<f64> =
            found.mixed.iter().map(|own| findings(&benjamini_hochberg(&own.p)) as f64).collect();
        let (count, mean) = (findings(&q), by_chance.iter().sum::<f64>() / shuffles.max(1) as f64);
        let far = |unit: &usize| found.auroc.get(*unit).map_or(0.0, |auroc| (auroc - 0.5).abs());
        let mut listed: Vec<usize> =
            q.iter().enumerate().filter(|(_, q)| **q <= alpha).map(|(unit, _)| unit).collect();
        listed.sort_by(|a, b| far(b).total_cmp(&far(a)).then(a.cmp(b))); // no NaN: quotients of counts
        listed.truncate(top);
        let units = neurons.axes().to_vec();
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let each =
            |name: &str, unit, values: &[f64]| Labelled::numbers(name, unit, units.clone(), narrow(values));
        let [m1, m2] = &found.means;
        let index: Vec<f64> = m1.iter().zip(m2).map(|(a, b)| quotient(a - b, a.abs() + b.abs())).collect();
        let rank = || vec![Axis::count(Role::Rank, listed.len())];
        let step = || vec![Axis::count(Role::Step, shuffles)];
        let names = listed.iter().map(|unit| neurons.named(*unit).to_string()).collect();
        let theirs: Vec<f64> = listed.iter().filter_map(|unit| found.auroc.get(*unit).copied()).collect();
        let extreme: Vec<f64> = found.mixed.iter().map(|own| own.extreme + 0.5).collect();
        let cases = Axis::names(Role::Concept, ["of the class", "others"]);
        let sizes = found.sizes.map(|size| size as f32).to_vec();
        let tables = vec![
            each("auroc", Unit::Ratio, &found.auroc)?,
            Labelled::texts("neurons", rank(), names)?,
            Labelled::numbers("auroc of neurons", Unit::Ratio, rank(), narrow(&theirs))?,
            Labelled::scalar("found", Unit::Count, count as f32),
            Labelled::scalar("shuffled mean", Unit::Count, mean as f32),
            Labelled::numbers("shuffled", Unit::Count, step(), narrow(&by_chance))?,
            Labelled::numbers("shuffled extreme", Unit::Ratio, step(), narrow(&extreme))?,
            Labelled::numbers("cases", Unit::Count, vec![cases], sizes)?,
            each("q", Unit::Probability, &q)?,
            each("p", Unit::Probability, &found.p)?.aside(),
            each("d prime", Unit::Ratio, &found.d_prime)?.aside(),
            each("index", Unit::Ratio, &index)?.aside(),
            each("mean of the class", Unit::Activation, m1)?.aside(),
            each("mean of others", Unit::Activation, m2)?.aside(),
        ];
        let mut cautions = Vec::new();
        if shuffles > 0 && count > 0 && mean >= BY_CHANCE * count as f64 {
            let share = mean / count as f64;
            let text = format!(
                "with shuffled labels {mean:.1} neurons are findings in the mean, and {count} were found"
            );
            cautions.push(Caution::new(CautionKind::Chance, share as f32, text));
        }
        let least = found.sizes[0].min(found.sizes[1]); // no NaN: whole numbers
        if least < LEAST_CASES {
            let text =
                format!("one of the groups has {least} cases: few neurons can be told from chance by so few");
            cautions.push(Caution::new(CautionKind::FewRows, least as f32, text));
        }
        Ok((tables, cautions))
    }
}
