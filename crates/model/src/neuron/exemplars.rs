//! Exemplars: what makes a neuron, or a feature of a dictionary, fire?
//!
//! # Idea
//! With `a[u, i, r]` what neuron `u` holds at row `r` (a position, or a place of a tower) of case `i`,
//!
//! ```text
//! top[u, i] = max over r of a[u, i, r]        exemplars of u: the cases with the largest top[u, i], each with the row where it stands
//! rate[u]   = share of all rows with a > 0    mean, deviation, quantiles: over all rows
//! ```
//!
//! A case is an exemplar once, however many of its rows fire. Of equal values the earlier case, and the earlier row, comes first. Of a feature of a
//! dictionary, which is zero wherever it is not active, only cases with `top > 0` are exemplars.
//!
//! # In and out
//! In: [`ManyCases`], a data set. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `exemplars` | layer, neuron, rank | activation | the largest values, one for each case; as many ranks as `top`, or as there are cases; 0 of ranks past the last exemplar of a feature |
//! | `places` | layer, neuron, rank | text | what the row shows: a patch, a piece of the prompt, or its number; nothing past the last exemplar |
//! | `cases`, `rows of exemplars` | layer, neuron, rank | count | the case, and the row of the site; -1 past the last exemplar |
//! | `boxes` | layer, neuron, rank, concept | pixel | `x0`, `y0`, `x1`, `y1` on the original picture; zeros for a row that shows no part of one |
//! | `crops` | neuron, rank, row, column, channel | none | pixels (0 to 255) around the exemplars of the neurons that stand out most; black past the last exemplar |
//! | `rate` | layer, neuron | ratio | how often it is above zero |
//! | `mean`, `deviation` | layer, neuron | activation | over all rows; the deviation divides by their number |
//! | `quantiles` | layer, neuron, concept | activation | between two values in proportion, at place `q (n - 1)` of the sorted ones |
//! | `hits` | sample | count | among the exemplars of how many neurons a case is |
//! | `even hits` | | count | what it would be, were all cases alike: exemplars of all neurons / cases |
//! | `purity` | layer, neuron | ratio | of a data set with labels: the share of the exemplars that are of their most frequent class; 0 of none |
//! | `shuffled purity` | layer, neuron | ratio | the same with labels shuffled among the cases |
//!
//! Of a dictionary the axis is `feature`, not `neuron`. `crops` are of neurons whose exemplars all show a part of a picture, by `(largest - mean) / deviation`, largest first. A crop is
//! a square three times as wide as the longer side of the patch, moved into the picture; see [`crop`].
//!
//! # Settings
//! - `part`: the language model; where an encoder of its own reads the words, or there is none, the tower ([`Part`]).
//! - `point`: `mlp.post`, the neurons as the next product sees them; `mlp.pre` and `mlp.gate` are neurons too, and `resid_post.sae.features` are the
//!   features of a dictionary that stands at `resid_post` ([`Point`], [`WithDictionary`](mmlens_engine::WithDictionary)).
//! - `layers`: all that have the point, or some by number ([`Indices`]). `units`: all neurons or features of a layer, or some by number.
//! - `positions`: `all`; a tower has `all` and `pictures`, its patches without a class token ([`Positions`]).
//! - `top`: 10 exemplars.
//! - `quantiles`: 0, 0.5, 0.9, 0.99, 1.
//! - `sample`: 1000 rows that quantiles are taken of, all where there are no more, else drawn without replacement
//!   ([`RowSample`]; the same rows for all neurons).
//! - `crops`: 4 neurons; `side`: 32 pixels.
//! - `seed`: 0, of drawn rows and shuffled labels.
//!
//! # Cost
//! One pass for each case (more where not all layers fit at once), which ends at the last of the layers. Memory for each neuron:
//! `12 top + 4 sample + 60` bytes. Exemplars are encoded once more to say what they show.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no exemplars, no rows to sample, a quantile outside of 0 to 1, crops without pixels. Running:
//! [`AnalysisError::Input`] for an empty data set, a part or point without neurons, positions that a case does not have;
//! [`AnalysisError::Setting`] for a layer past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The largest values are a few in a thousand: what a neuron does at the others may be something else (Bolukbasi et al.: An
//!   Interpretability Illusion for BERT. 2021. <https://arxiv.org/abs/2104.07143>). See `rate` and `quantiles`.
//! - Exemplars are those of the data set: another set may have others, and a trait that all its cases share explains nothing.
//! - A neuron with a large negative end has a second meaning that its exemplars do not show.
//! - First tokens and markers hold huge values that mean little (Sun et al.: Massive Activations in Large Language Models. COLM 2024.
//!   <https://arxiv.org/abs/2402.17762>): a caution comes where most exemplars stand there.
//! - The patch where a tower fires has seen the whole picture.
//!
//! # Agreement
//! NumPy on transformers' activations of `llava-a` and `clip-a`: cases and rows of exemplars and rates equal, values within 1e-6 of the largest. Identities tested: every exemplar is what the site holds there; the first is the largest value of all; ranks
//! fall; the order of cases changes nothing but their numbers.
//!
//! # Reference
//! Zhou et al.: Object Detectors Emerge in Deep Scene CNNs. ICLR 2015. <https://arxiv.org/abs/1412.6856>; Goh et al.: Multimodal Neurons
//! in Artificial Neural Networks. Distill 2021. <https://distill.pub/2021/multimodal-neurons>. Crops there follow the receptive field;
//! a patch of a transformer has none of its own, so here it is the patch with its surroundings.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Sample, from_fn};
//! use mmlens_model::exemplars::{Exemplars, Settings};
//! let words = from_fn("words", 6, |i| Ok(Case::new(Sample::text(["ab", "cd", "ac", "de", "fa", "bb"][i]))));
//! let toy = mmlens_testkit::Toy::curved(1);
//! let finding = Exemplars::new(Settings { top: 2, ..Settings::default() })?.run(&toy, &ManyCases::over(words)?)?;
//! println!("{:?}", finding.table("places")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Modality, PatchLabel, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cases, Cost, HookError, Leaf, ManyCases, Need, On,
    Part, Point, Seed, Site,
};
use mmlens_engine::{
    Held, Indices, Largest, Neurons, Positions, Progress, RowSample, Seen, Shows, crop, quantile, rows_shown,
    shuffled,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, at_most, input, part_with_neurons, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "exemplars",
    short: "exemplars",
    name: "Exemplars of neurons",
    question: "What makes a neuron fire?",
    citation: "Zhou et al.: Object Detectors Emerge in Deep Scene CNNs. ICLR 2015. https://arxiv.org/abs/1412.6856",
    leaf: Leaf::Neuron,
    cost: "1 forward for each case",
    needs: &[Capability::Neurons],
    misleads: &[
        "The largest values are few: what a neuron does at the others may be something else.",
        "Exemplars are those of the data set, and share whatever all its cases share.",
        "First tokens and markers hold huge values that mean little.",
    ],
    first: false,
};

/// More exemplars than this at first tokens and markers are cautioned of.
const AT_MARKERS: f64 = 0.5;
/// More features than this without an exemplar are cautioned of.
const SILENT: f64 = 0.1;

/// What is looked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Where the neurons are read.
    pub point: Point,
    /// In which layers.
    pub layers: Indices,
    /// Which neurons, or features, of each.
    pub units: Indices,
    /// At which positions.
    pub positions: Positions,
    /// How many exemplars of a neuron.
    pub top: usize,
    /// Which quantiles.
    pub quantiles: Vec<f64>,
    /// How many rows quantiles are taken of, at most.
    pub sample: usize,
    /// Of how many neurons crops are shown.
    pub crops: usize,
    /// How many pixels a crop is high and wide.
    pub side: usize,
    /// The seed of drawn rows and shuffled labels.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            point: Point::MlpPost,
            layers: Indices::All,
            units: Indices::All,
            positions: Positions::All,
            top: 10,
            quantiles: vec![0.0, 0.5, 0.9, 0.99, 1.0],
            sample: 1000,
            crops: 4,
            side: 32,
            seed: Seed(0),
        }
    }
}

/// Exemplars with checked settings.
#[derive(Debug, Clone)]
pub struct Exemplars {
    settings: Settings,
}

impl Exemplars {
    fn neurons(&self, on: &On<'_>) -> Result<(Part, Neurons), AnalysisError> {
        let Settings { part, point, layers, units, positions, .. } = &self.settings;
        let part = part_with_neurons(&CARD, on.subject(), (*part, *point))?;
        let neurons = Neurons::of((on, CARD.id), (part, *point), layers, positions)?;
        Ok((part, neurons.only(CARD.id, "units", units)?))
    }

    /// Bytes that are held of some neurons.
    fn bytes(&self, neurons: usize) -> u64 {
        Largest::bytes(neurons, self.settings.top) + (neurons * (4 * self.settings.sample + 24)) as u64
    }
}

impl Analysis for Exemplars {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        for (name, count) in [("top", settings.top), ("sample", settings.sample), ("side", settings.side)] {
            at_least_one(&CARD, name, count)?;
        }
        at_most(&CARD, "crops", settings.crops)?;
        match settings.quantiles.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            Some(q) => Err(setting(&CARD, "quantiles", q, "they must lie between 0 and 1")),
            None => Ok(Self { settings }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let (_, neurons) = self.neurons(on)?;
        let all = 0..neurons.layers().len();
        neurons.cost((on, CARD.id), many.data(), &[(all, self.bytes(neurons.len()))])
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { top, sample, seed, .. } = self.settings;
        let (part, neurons) = self.neurons(on)?;
        let (data, width) = (many.data(), neurons.width());
        let at = *neurons.sites().first().ok_or(HookError::NoOutput(CARD.id.to_owned()))?;
        if many.is_empty() {
            return Err(input(&CARD, "at least one case", "there is none"));
        }
        let kept = self.bytes(neurons.len());
        on.memory().hold(CARD.id, 0, Need { bytes: kept, at })?;
        let mut layers: Vec<Layer> =
            neurons.layers().iter().map(|_| Layer::new(width, (top, sample), seed)).collect();
        let features = neurons.are_features();
        let mut progress = Progress::new(on.watch(), CARD.id, data.len());
        let all = 0..neurons.layers().len();
        neurons.scan((on, CARD.id), data, (all, kept), &mut progress, &mut |case, layer, held| {
            if let Some(layer) = layers.get_mut(layer) {
                layer.see(case as u32, held, features);
            }
            Ok(())
        })?;
        let shown = Shown::of((on, data), at, &neurons, &layers)?;
        let tables = self.tables(data, &neurons, &layers, &shown)?;
        let cautions = [shown.at_markers(&layers), few(many.len(), top), silent(&layers)];
        let answer = Answer::new(tables, neurons.sites().iter().copied());
        Ok(answer.seeded(seed).cautioned(cautions.into_iter().flatten()).settled("part", json!(part)))
    }
}

/// What is known of the neurons of a layer.
struct Layer {
    top: Largest,
    sample: RowSample,
    /// Rows of the sample, one after the other.
    values: Vec<f32>,
    rows: u64,
    positive: Vec<u64>,
    mean: Vec<f64>,
    /// Sums of squared differences from the mean.
    squares: Vec<f64>,
}

impl Layer {
    fn new(width: usize, (top, sample): (usize, usize), seed: Seed) -> Self {
        Self {
            top: Largest::new(width, top),
            sample: RowSample::new(sample, seed),
            values: Vec::new(),
            rows: 0,
            positive: vec![0; width],
            mean: vec![0.0; width],
            squares: vec![0.0; width],
        }
    }

    /// Takes the rows of a case into account; of `features` zero is no value.
    fn see(&mut self, case: u32, held: &Held, features: bool) {
        let width = held.width;
        let mut best: Vec<Option<(f32, u32)>> = vec![None; width];
        for (row, place) in held.rows().zip(&held.places) {
            self.rows += 1;
            let n = self.rows as f64;
            let moments = self.positive.iter_mut().zip(&mut self.mean).zip(&mut self.squares);
            for (value, ((positive, mean), squares)) in row.iter().zip(moments) {
                *positive += u64::from(*value > 0.0);
                let off = f64::from(*value) - *mean;
                *mean += off / n;
                *squares += off * (f64::from(*value) - *mean);
            }
            if let Some(place) = self.sample.next_row() {
                let from = place * width;
                if self.values.len() < from + width {
                    self.values.resize(from + width, 0.0);
                }
                if let Some(own) = self.values.get_mut(from..from + width) {
                    own.copy_from_slice(row);
                }
            }
            for (best, value) in best.iter_mut().zip(row) {
                // no NaN: values are finite
                if best.is_none_or(|(largest, _)| *value > largest) {
                    *best = Some((*value, *place as u32));
                }
            }
        }
        for (neuron, best) in best.into_iter().enumerate() {
            if let Some((value, place)) = best.filter(|(value, _)| !features || *value > 0.0) {
                self.top.offer(neuron, Seen { value, case, place });
            }
        }
    }

    fn deviations(&self) -> Vec<f64> {
        self.squares.iter().map(|squares| (squares / self.rows as f64).sqrt()).collect()
    }

    /// The quantiles of each neuron.
    fn quantiles(&self, wanted: &[f64]) -> Result<Vec<f32>, HookError> {
        let (width, mut found) = (self.positive.len(), Vec::new());
        for neuron in 0..width {
            let mut own: Vec<f32> = self.values.iter().skip(neuron).step_by(width).copied().collect();
            own.sort_unstable_by(f32::total_cmp); // no NaN: what is read is finite
            for q in wanted {
                let value =
                    quantile(&own, *q).ok_or(HookError::Values { dims: vec![1], given: own.len() })?;
                found.push(value as f32);
            }
        }
        Ok(found)
    }

    fn exemplars(&self) -> impl Iterator<Item = &Seen> {
        self.top.units().iter().flatten()
    }
}

/// What exemplars show, by case and row.
struct Shown(BTreeMap<(u32, u32), Shows>);

impl Shown {
    fn of(
        (on, data): (&On<'_>, &dyn Cases),
        site: Site,
        neurons: &Neurons,
        layers: &[Layer],
    ) -> Result<Self, AnalysisError> {
        let mut wanted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for seen in layers.iter().flat_map(Layer::exemplars) {
            wanted.entry(seen.case).or_default().push(seen.place);
        }
        let mut shown = BTreeMap::new();
        for (case, places) in wanted {
            let inputs = on.subject().encode(&data.case(case as usize)?.sample)?;
            let (all, shows) = rows_shown((on, CARD.id), &inputs, site, neurons.positions())?;
            for place in places {
                let own = all.iter().position(|own| *own as u32 == place).and_then(|at| shows.get(at));
                shown.insert((case, place), own.cloned().unwrap_or(Shows::Row(place as usize)));
            }
        }
        Ok(Self(shown))
    }

    fn get(&self, seen: &Seen) -> Option<&Shows> {
        self.0.get(&(seen.case, seen.place))
    }

    fn patch(&self, seen: &Seen) -> Option<&PatchLabel> {
        self.get(seen).and_then(Shows::patch)
    }

    /// That most exemplars stand at the first position of a prompt, or at a marker of the model.
    fn at_markers(&self, layers: &[Layer]) -> Option<Caution> {
        let (mut markers, mut all) = (0, 0_usize);
        for seen in layers.iter().flat_map(Layer::exemplars) {
            let Some(Shows::Token(token)) = self.get(seen) else { continue };
            all += 1;
            let empty = token.modality == Modality::Special || (seen.place == 0 && token.patch.is_none());
            markers += usize::from(empty);
        }
        let share = markers as f64 / all.max(1) as f64;
        (share > AT_MARKERS).then(|| {
            let text = format!(
                "{:.0} % of the exemplars stand at the first position or at a marker of the model, where values are large whatever is shown: look at \
                 other positions",
                100.0 * share
            );
            Caution::new(CautionKind::Sink, share as f32, text)
        })
    }
}

/// That nearly every case is an exemplar.
fn few(cases: usize, top: usize) -> Option<Caution> {
    (cases < 3 * top).then(|| {
        let text = format!("{top} exemplars of {cases} cases: those that are none say as much");
        Caution::new(CautionKind::FewRows, cases as f32, text)
    })
}

/// That many features are active in no case: only of features a list may be empty.
fn silent(layers: &[Layer]) -> Option<Caution> {
    let (mut silent, mut all) = (0_usize, 0_usize);
    for own in layers.iter().flat_map(|layer| layer.top.units()) {
        all += 1;
        silent += usize::from(own.is_empty());
    }
    let share = silent as f64 / all.max(1) as f64;
    (share > SILENT).then(|| {
        let text = format!(
            "{silent} of {all} features are above zero nowhere in these cases, and have no exemplars"
        );
        Caution::new(CautionKind::DeadFeatures, share as f32, text)
    })
}

impl Exemplars {
    fn tables(
        &self,
        data: &dyn Cases,
        neurons: &Neurons,
        layers: &[Layer],
        shown: &Shown,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let [layer, neuron] = neurons.axes();
        let ranks = self.settings.top.min(data.len());
        let units = vec![layer, neuron];
        let ranked = [units.clone(), vec![Axis::count(Role::Rank, ranks)]].concat();
        // Of every unit as many as there are ranks.
        let all: Vec<Option<&Seen>> = layers
            .iter()
            .flat_map(|layer| layer.top.units())
            .flat_map(|own| (0..ranks).map(|rank| own.get(rank)))
            .collect();
        let each = |value: &dyn Fn(&Seen) -> f32, none: f32| {
            all.iter().map(|seen| seen.map_or(none, value)).collect::<Vec<f32>>()
        };
        let what = |seen: &Option<&Seen>| seen.and_then(|seen| shown.get(seen)).map(Shows::to_string);
        let said = all.iter().map(|seen| what(seen).unwrap_or_default()).collect();
        let patch = |seen: &Option<&Seen>| seen.and_then(|seen| shown.patch(seen)).map(|patch| patch.bbox);
        let boxes = all.iter().flat_map(|seen| patch(seen).unwrap_or_default());
        let corners = Axis::names(Role::Concept, ["x0", "y0", "x1", "y1"]);
        let flat = |of: &dyn Fn(&Layer) -> Vec<f64>| -> Vec<f32> {
            layers.iter().flat_map(of).map(|value| value as f32).collect()
        };
        let rate = |layer: &Layer| -> Vec<f64> {
            layer.positive.iter().map(|count| *count as f64 / layer.rows as f64).collect()
        };
        let mut quantiles = Vec::new();
        for layer in layers {
            quantiles.extend(layer.quantiles(&self.settings.quantiles)?);
        }
        let levels = Axis::names(Role::Concept, self.settings.quantiles.iter().map(ToString::to_string));
        let mut hits = vec![0.0; data.len()];
        for seen in all.iter().flatten() {
            if let Some(hit) = hits.get_mut(seen.case as usize) {
                *hit += 1.0;
            }
        }
        let even = all.iter().flatten().count() as f32 / data.len() as f32;
        let number =
            |name: &str, unit, axes: &[Axis], values| Labelled::numbers(name, unit, axes.to_vec(), values);
        let mut tables = vec![
            number("exemplars", Unit::Activation, &ranked, each(&|seen| seen.value, 0.0))?,
            Labelled::texts("places", ranked.clone(), said)?,
        ];
        tables.extend(self.crops(data, neurons, layers, shown)?);
        tables.extend([
            number("rate", Unit::Ratio, &units, flat(&rate))?,
            number("mean", Unit::Activation, &units, flat(&|layer| layer.mean.clone()))?,
            number("deviation", Unit::Activation, &units, flat(&Layer::deviations))?,
            number("quantiles", Unit::Activation, &[units.clone(), vec![levels]].concat(), quantiles)?,
            number("hits", Unit::Count, &[Axis::count(Role::Sample, data.len())], hits)?,
            Labelled::scalar("even hits", Unit::Count, even),
        ]);
        if let Some(labels) = labels(data)? {
            let order = shuffled(labels.len(), self.settings.seed);
            let mixed: Vec<usize> = order.iter().filter_map(|at| labels.get(*at).copied()).collect();
            for (name, labels) in [("purity", &labels), ("shuffled purity", &mixed)] {
                let values = layers.iter().flat_map(|layer| layer.top.units()).map(|own| purity(own, labels));
                tables.push(number(name, Unit::Ratio, &units, values.collect())?);
            }
        }
        tables.extend([
            number("cases", Unit::Count, &ranked, each(&|seen| seen.case as f32, -1.0))?.aside(),
            number("rows of exemplars", Unit::Count, &ranked, each(&|seen| seen.place as f32, -1.0))?.aside(),
            number("boxes", Unit::Pixel, &[ranked.clone(), vec![corners]].concat(), boxes.collect())?.aside(),
        ]);
        Ok(tables)
    }

    /// Pixels around the exemplars of the neurons that stand out most.
    fn crops(
        &self,
        data: &dyn Cases,
        neurons: &Neurons,
        layers: &[Layer],
        shown: &Shown,
    ) -> Result<Option<Labelled>, AnalysisError> {
        let Settings { crops, side, top, .. } = self.settings;
        let mut out: Vec<(usize, f64)> = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let about = layer.top.units().iter().zip(layer.mean.iter().zip(layer.deviations()));
            for (neuron, (own, (mean, deviation))) in about.enumerate() {
                let pictured = own.iter().all(|seen| shown.patch(seen).is_some());
                let Some(first) = own.first().filter(|_| pictured && deviation > 0.0) else { continue };
                out.push((at * neurons.width() + neuron, (f64::from(first.value) - mean) / deviation));
            }
        }
        out.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))); // no NaN: deviations are above zero
        let (mut names, mut values) = (Vec::new(), Vec::new());
        let (square, ranks) = (side * side * 3, top.min(data.len()));
        for (unit, _) in out.into_iter().take(crops) {
            let layer = layers.get(unit / neurons.width().max(1));
            let own = layer.and_then(|layer| layer.top.units().get(unit % neurons.width().max(1)));
            let (mut pixels, count) = (Vec::new(), own.map_or(0, Vec::len));
            for seen in own.into_iter().flatten() {
                let sample = data.case(seen.case as usize)?.sample;
                let picture =
                    shown.patch(seen).and_then(|patch| Some((sample.pictures.get(patch.image)?, patch)));
                // Of a clip there is no picture to cut out of.
                let Some((picture, patch)) = picture.filter(|_| sample.clips.is_empty()) else { break };
                pixels.extend(crop(&picture.image, patch.bbox, side));
            }
            if pixels.len() == count * square {
                pixels.resize(ranks * square, 0.0);
                names.push(neurons.named(unit).to_string());
                values.extend(pixels);
            }
        }
        if names.is_empty() {
            return Ok(None);
        }
        let axes = vec![
            Axis::names(if neurons.are_features() { Role::Feature } else { Role::Neuron }, names),
            Axis::count(Role::Rank, ranks),
            Axis::count(Role::Row, side),
            Axis::count(Role::Column, side),
            Axis::names(Role::Channel, ["red", "green", "blue"]),
        ];
        Ok(Some(Labelled::numbers("crops", Unit::None, axes, values)?))
    }
}

/// The class of every case, where a data set has labels.
fn labels(data: &dyn Cases) -> Result<Option<Vec<usize>>, AnalysisError> {
    if data.classes().is_empty() {
        return Ok(None);
    }
    let labels = (0..data.len()).map(|case| data.label(case)).collect::<Result<Option<Vec<_>>, _>>()?;
    Ok(labels)
}

/// The share of the most frequent class.
fn purity(exemplars: &[Seen], labels: &[usize]) -> f32 {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for label in exemplars.iter().filter_map(|seen| labels.get(seen.case as usize)) {
        *counts.entry(*label).or_default() += 1;
    }
    counts.values().max().map_or(0.0, |most| *most as f32 / exemplars.len() as f32)
}
