//! Network Dissection: which concept of the pictures does a neuron mark?
//!
//! # Idea
//! With `a[u, r]` what neuron `u` holds at patch `r`, and `n` patches in the data set,
//!
//! ```text
//! T[u]      = the (m + 1)-th largest of all a[u, .],    m = floor(quantile n), at least 1
//! M[u]      = pixels of patches with a[u, r] > T[u]     L[c] = pixels of concept c
//! IoU[u, c] = sum over pictures |M[u] and L[c]| / (sum |M[u]| + sum |L[c]| - sum |M[u] and L[c]|)
//! ```
//!
//! where `|M[u]|` is summed over those pictures alone that have some concept of `c`'s *category*: the name of a mask in front of
//! `": "` (`colour: red`), or nothing. A neuron is a detector of the concept with its largest IoU if that is above `detector`.
//!
//! **From patches to pixels.** A pixel belongs to the smallest patch whose box holds its centre, of equal ones the earlier. Pixels that lie in
//! no patch, such as those that are cut off, count nowhere. Masks of one name are one.
//!
//! # In and out
//! In: [`ManyCases`], a data set with masks. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `iou` | layer, neuron | ratio | the largest over all concepts |
//! | `concepts` | layer, neuron | text | the concept that has it, of equal ones the first by name; empty where it is 0 |
//! | `detectors` | concept | count | neurons that detect each concept |
//! | `found`, `distinct` | | count | detectors; concepts that have one |
//! | `shuffled mean` | | count | detectors with masks of other pictures |
//! | `shuffled`, `shuffled iou` | step | count, ratio | for each shuffle: detectors; the mean over neurons of `iou` |
//! | `iou by category` | layer, neuron, concept | ratio | the largest within each category |
//! | `concepts by category` | layer, neuron, concept | text | the concept that has it |
//! | `threshold` | layer, neuron | activation | `T` |
//! | `every iou` | layer, neuron, concept | ratio | of every concept |
//! | `pixels` | concept | count | pixels of each concept, over all pictures |
//!
//! Shuffled: the values of a picture stand beside the masks of another, drawn among pictures that are cut into patches in the same way.
//!
//! # Settings
//! - `part`: the tower; where there is none, or where in the picture its positions lie is not known, as where they become fewer behind it, the
//!   language model, whose positions show patches ([`Part`]).
//! - `point`: `mlp.post` ([`Point`]); `layers`: all, or some by number ([`Indices`]).
//! - `quantile`: 0.005, `detector`: 0.04, as published.
//! - `shuffles`: 3; `seed`: 0.
//!
//! # Cost
//! One pass for each case (more where the values of not all layers fit), which ends at the last of the layers; every case is encoded twice.
//! Memory: 4 bytes for each neuron and patch, a group of layers at a time, and the masks, patch by patch.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for a quantile that is not between 0 and 1. Running: [`AnalysisError::Input`] for a data set without
//! masks or patches, a mask of another size than its picture, a subject without pictures, a part or point without neurons;
//! [`AnalysisError::Setting`] for a layer past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The concepts decide: a neuron gets the best of those that are there, whatever it marks (Bau et al. measure people's agreement). Its IoU
//!   says how good that is, and `shuffled iou` what any would have.
//! - A neuron that fires at two concepts in a hundred patches marks half of either.
//! - Concepts that always stand together cannot be told apart, and large ones are found sooner than small ones.
//! - In later layers a patch holds what other patches showed: where a neuron fires need not be where the concept is.
//!
//! # Agreement
//! NumPy pixel by pixel, with masks drawn by hand, on transformers' activations of `clip-a` and of the language model of `llava-a`: IoU and
//! concepts equal. Identities tested: a neuron that is the mask has an IoU of 1; mirrored masks of mirrored values have the same; names in another
//! order change nothing.
//!
//! # Reference
//! Bau, Zhou, Khosla, Oliva, Torralba: Network Dissection: Quantifying Interpretability of Deep Visual Representations. CVPR 2017.
//! <https://arxiv.org/abs/1704.05796>. There maps are interpolated to the size of the masks; a patch has no value between it and the next, so here
//! every pixel has that of its patch. Shuffled masks are ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, ManyCases};
//! use mmlens_model::NetworkDissection;
//! # fn explain(subject: &dyn mmlens_core::Subject, cases: &ManyCases) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = NetworkDissection::default().run(subject, cases)?;
//! println!("{:?}", finding.table("concepts")?.as_texts());
//! # Ok(())
//! # }
//! ```

use std::ops::Range;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cost, Leaf, ManyCases, On, Part, Point, Seed, Site,
    kind,
};
use mmlens_engine::{Indices, Neurons, Positions, Progress, rows_shown};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_most, part_with_neurons, share};

mod masks;

use masks::{Masks, Overlap};

/// What this method is.
pub const CARD: Card = Card {
    id: "network-dissection",
    short: "dissection",
    name: "Network Dissection",
    question: "Which concept of the pictures does a neuron mark?",
    citation: "Bau, Zhou, Khosla, Oliva, Torralba: Network Dissection: Quantifying Interpretability of Deep Visual Representations. CVPR 2017. https://arxiv.org/abs/1704.05796",
    leaf: Leaf::Neuron,
    cost: "1 forward for each case",
    needs: &[Capability::Neurons, Capability::Pictures],
    misleads: &[
        "A neuron gets the best of the concepts that are there, whatever it marks.",
        "Concepts that always stand together cannot be told apart.",
        "In later layers a patch holds what other patches showed.",
    ],
    first: false,
};

/// Chance is cautioned of from this share of what is found.
const BY_CHANCE: f64 = 0.5;
/// Fewer patches above the threshold are cautioned of.
const LEAST: usize = 10;

/// How neurons are matched with concepts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the tower, or the language model where there is none whose positions lie in the picture.
    pub part: Option<Part>,
    /// Where neurons are read.
    pub point: Point,
    /// In which layers.
    pub layers: Indices,
    /// The share of patches that a neuron marks.
    pub quantile: f64,
    /// The IoU above which a neuron is a detector.
    pub detector: f64,
    /// How often masks are shuffled.
    pub shuffles: usize,
    /// The seed of what is shuffled.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            point: Point::MlpPost,
            layers: Indices::All,
            quantile: 0.005,
            detector: 0.04,
            shuffles: 3,
            seed: Seed(0),
        }
    }
}

/// Network Dissection with checked settings.
#[derive(Debug, Clone, Default)]
pub struct NetworkDissection {
    settings: Settings,
}

impl NetworkDissection {
    fn neurons(&self, on: &On<'_>, many: &ManyCases) -> Result<(Part, Neurons), AnalysisError> {
        let Settings { part, point, layers, .. } = &self.settings;
        let part = match part {
            None if self.seen_by_tower(on, many)? => Some(Part::Vision),
            part => *part,
        };
        let part = part_with_neurons(&CARD, on.subject(), (part, *point))?;
        Ok((part, Neurons::of((on, CARD.id), (part, *point), layers, &Positions::Pictures)?))
    }

    /// Whether there is a tower of which it is known where in the picture its positions lie: not where it makes fewer of them later.
    fn seen_by_tower(&self, on: &On<'_>, many: &ManyCases) -> Result<bool, AnalysisError> {
        let site = Site::block(Part::Vision, 0, self.settings.point);
        if !kind::has(on.subject(), site) || many.is_empty() {
            return Ok(kind::has(on.subject(), site));
        }
        let inputs = on.subject().encode(&many.data().case(0)?.sample)?;
        let (_, shows) = rows_shown((on, CARD.id), &inputs, site, &Positions::All)?;
        Ok(shows.iter().any(|shows| shows.patch().is_some()))
    }

    /// Groups of layers, and bytes that are held with each.
    fn scans(neurons: &Neurons, on: &On<'_>, rows: usize, masks: u64) -> Vec<(Range<usize>, u64)> {
        let each = 4 * (neurons.width() * rows) as u64;
        let chunks = neurons.chunks(&on.memory().less(masks), each);
        chunks.into_iter().map(|layers| (layers.clone(), masks + each * layers.len() as u64)).collect()
    }

    /// How many patches a neuron marks at most.
    fn marked(&self, rows: usize) -> usize {
        ((self.settings.quantile * rows as f64).floor() as usize).max(1) // no NaN: whole numbers
    }
}

impl Analysis for NetworkDissection {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        share(&CARD, "quantile", settings.quantile)?;
        at_most(&CARD, "shuffles", settings.shuffles)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let (_, neurons) = self.neurons(on, many)?;
        let masks = Masks::of(on, many.data(), &neurons)?;
        let scans = Self::scans(&neurons, on, masks.rows(), masks.bytes());
        neurons.cost((on, CARD.id), many.data(), &scans)
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { shuffles, seed, .. } = self.settings;
        let (part, neurons) = self.neurons(on, many)?;
        let data = many.data();
        let masks = Masks::of(on, data, &neurons)?;
        let others: Vec<Vec<usize>> = (0..shuffles).map(|at| masks.shuffled(seed.at(at as u64))).collect();
        let own: Vec<usize> = (0..masks.pictures()).collect();
        let (rows, width) = (masks.rows(), neurons.width());
        let scans = Self::scans(&neurons, on, rows, masks.bytes());
        let mut progress = Progress::new(on.watch(), CARD.id, scans.len() * data.len());
        let mut found = Found { shuffled: vec![Vec::new(); shuffles], ..Found::default() };
        for (layers, kept) in scans {
            // `[unit, row]`.
            let mut values = vec![0.0_f32; layers.len() * width * rows];
            let (first, step) = (layers.start, rows.max(1));
            neurons.scan((on, CARD.id), data, (layers, kept), &mut progress, &mut |case, layer, held| {
                let from = masks.first_row(case);
                for (row, own) in held.rows().enumerate() {
                    let slots =
                        values.iter_mut().skip((layer - first) * width * rows + from + row).step_by(step);
                    slots.zip(own).for_each(|(slot, value)| *slot = *value);
                }
                Ok(())
            })?;
            for unit in values.chunks(rows.max(1)) {
                let (threshold, above) = self.above(unit);
                found.thresholds.push(threshold);
                found.own.push(masks.overlap(&above, &own));
                for (shuffled, order) in found.shuffled.iter_mut().zip(&others) {
                    shuffled.push(masks.overlap(&above, order).best().map_or(0.0, |(_, iou)| iou));
                }
            }
        }
        let (tables, mut cautions) = self.tables(&neurons, &masks, &found)?;
        let marked = self.marked(rows);
        if marked < LEAST {
            let text = format!(
                "a neuron marks {marked} of {rows} patches: by so few concepts can hardly be told apart"
            );
            cautions.push(Caution::new(CautionKind::FewRows, marked as f32, text));
        }
        let answer = Answer::new(tables, neurons.sites().iter().copied()).seeded(seed).cautioned(cautions);
        Ok(answer.settled("part", json!(part)))
    }
}

/// What is found of one neuron after another.
#[derive(Default)]
struct Found {
    thresholds: Vec<f32>,
    own: Vec<Overlap>,
    /// For each shuffle, the best IoU of each neuron.
    shuffled: Vec<Vec<f64>>,
}

impl NetworkDissection {
    /// The threshold of a neuron, and the rows above it.
    fn above(&self, values: &[f32]) -> (f32, Vec<usize>) {
        let place = self.marked(values.len()).min(values.len().saturating_sub(1)); // no NaN: whole numbers
        let mut sorted = values.to_vec();
        // no NaN: what is read is finite
        let (_, threshold, _) = sorted.select_nth_unstable_by(place, |a, b| b.total_cmp(a));
        let threshold = *threshold;
        (threshold, values.iter().enumerate().filter(|(_, x)| **x > threshold).map(|(row, _)| row).collect())
    }

    fn tables(
        &self,
        neurons: &Neurons,
        masks: &Masks,
        found: &Found,
    ) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let Settings { detector, shuffles, .. } = self.settings;
        let (concepts, categories) = (masks.concepts(), masks.categories());
        let mut detectors = vec![0.0_f32; concepts.len()];
        let (mut best, mut names) = (Vec::new(), Vec::new());
        let (mut by_category, mut named) = (Vec::new(), Vec::new());
        for own in &found.own {
            let top = own.best();
            best.push(top.map_or(0.0, |(_, iou)| iou as f32));
            names.push(top.and_then(|(concept, _)| concepts.get(concept).cloned()).unwrap_or_default());
            if let Some(slot) =
                top.filter(|(_, iou)| *iou > detector).and_then(|(concept, _)| detectors.get_mut(concept))
            {
                *slot += 1.0;
            }
            for category in 0..categories.len() {
                let top = own.best_of(|concept| masks.category(concept) == Some(category));
                by_category.push(top.map_or(0.0, |(_, iou)| iou as f32));
                named.push(top.and_then(|(concept, _)| concepts.get(concept).cloned()).unwrap_or_default());
            }
        }
        let count: f32 = detectors.iter().sum();
        let distinct = detectors.iter().filter(|count| **count > 0.0).count();
        let chance: Vec<f32> = found
            .shuffled
            .iter()
            .map(|own| own.iter().filter(|iou| **iou > detector).count() as f32)
            .collect();
        let mean = chance.iter().map(|count| f64::from(*count)).sum::<f64>() / shuffles.max(1) as f64;
        let by_chance: Vec<f32> = found
            .shuffled
            .iter()
            .map(|own| (own.iter().sum::<f64>() / own.len().max(1) as f64) as f32)
            .collect();
        let units = neurons.axes().to_vec();
        let with = |axis: &Axis| [units.clone(), vec![axis.clone()]].concat();
        let concept = Axis::names(Role::Concept, concepts.iter().cloned());
        let category = Axis::names(Role::Concept, categories.iter().cloned());
        let step = || vec![Axis::count(Role::Step, shuffles)];
        let pixels = masks.areas().iter().map(|area| *area as f32).collect();
        let every = found.own.iter().flat_map(Overlap::every).map(|iou| iou as f32).collect();
        let tables = vec![
            Labelled::numbers("iou", Unit::Ratio, units.clone(), best)?,
            Labelled::texts("concepts", units.clone(), names)?,
            Labelled::numbers("detectors", Unit::Count, vec![concept.clone()], detectors)?,
            Labelled::scalar("found", Unit::Count, count),
            Labelled::scalar("distinct", Unit::Count, distinct as f32),
            Labelled::scalar("shuffled mean", Unit::Count, mean as f32),
            Labelled::numbers("shuffled", Unit::Count, step(), chance)?,
            Labelled::numbers("shuffled iou", Unit::Ratio, step(), by_chance)?,
            Labelled::numbers("iou by category", Unit::Ratio, with(&category), by_category)?.aside(),
            Labelled::texts("concepts by category", with(&category), named)?.aside(),
            Labelled::numbers("threshold", Unit::Activation, units.clone(), found.thresholds.clone())?
                .aside(),
            Labelled::numbers("every iou", Unit::Ratio, with(&concept), every)?.aside(),
            Labelled::numbers("pixels", Unit::Count, vec![concept], pixels)?.aside(),
        ];
        let share = mean / f64::from(count.max(1.0)); // no NaN: counts
        let caution = (shuffles > 0 && count > 0.0 && share >= BY_CHANCE).then(|| {
            let text = format!("with masks of other pictures {mean:.1} neurons are detectors in the mean, and {count} were found");
            Caution::new(CautionKind::Chance, share as f32, text)
        });
        Ok((tables, caution.into_iter().collect()))
    }
}
