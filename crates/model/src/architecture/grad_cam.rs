//! Grad-CAM: which patches hold, at a layer of the tower, the features that speak for this answer?
//!
//! # Idea
//! With `F_pc` what a layer holds at patch `p` in channel `c`, and `g_pc` the gradient of the objective there, a channel counts as much as its gradient in the
//! mean over the `n` patches of a picture:
//!
//! ```text
//! w_c = 1/n sum over p of g_pc          map_p = ReLU( sum over c of w_c F_pc )
//! ```
//!
//! HiResCAM leaves the gradients where they are, `map_p = ReLU( sum over c of g_pc F_pc )`: without ReLU the part that patch `p` has in gradient times input of the layer. The class token, if there is one, has no
//! part in either.
//!
//! # In and out
//! In: a [`Case`] of one row, with pictures. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture` | patch | objective | the map, each patch where it lies on the original picture |
//! | `below zero` | (image) | ratio | of all magnitudes of the map without ReLU, how much is below zero |
//! | `left of gradients` | (image) | ratio | magnitude of the mean gradients, as a share of the mean magnitude; not element by element |
//! | `objective` | | objective | `f(x)` |
//! | `cautions` | rank | text | gradients of patches that cancel in their mean, a map of zeros or of rounding, a saturated probability |
//!
//! Several pictures, and the tiles of a picture in tiles, have maps of their own: `picture/0`, `picture/1`; each has its own weights. What a tower looks at in one sequence (Qwen-VL)
//! has its weights by picture, in one table. Patches that are merged at the layer lie over all that they are made of.
//!
//! # Settings
//! - `site`: a layer of the tower or of the connector with a position for each patch. By default what leaves the tower for the connector (`vision.features`), or, of a tower that ends
//!   in one vector (CLIP, SigLIP, ViT, BLIP), what enters the block before its last. Behind the last one the class token alone decides, and patches have no gradient; what enters the last one is read
//!   through a norm alone, which forgets its length, so that `sum over c of g_pc F_pc` is zero there whatever is asked (Euler's theorem).
//! - `weights`: [`Weights::Mean`], as in Grad-CAM, or [`Weights::Each`] (HiResCAM).
//! - `relu`: true, as in the paper; false keeps what speaks against the answer.
//!
//! # Cost
//! One forward and one backward pass down to the layer; one more of each for every token of an answer that is explained by itself.
//!
//! # Errors
//! Running: [`AnalysisError::Input`] for a subject or sample without pictures, a case of several rows, a site outside tower and connector, without positions and features, or whose
//! positions do not lie on the picture; [`AnalysisError::Subject`] for a site that the subject does not have or that does not reach the objective;
//! [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The mean of gradients over patches is made for networks that end in a mean over patches. A transformer reads patches one by one: their gradients differ and cancel, and the map may light up what does
//!   not matter (Draelos, Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks"). How much is left of them is told, and spoken of below a tenth.
//! - A patch at a late layer holds what it has taken from others: its place is where the feature lies, not what it was made of (Pan et al. 2021, "IA-RED²"; Darcet et al. 2024,
//!   "Vision Transformers Need Registers").
//! - ReLU hides what speaks against; maps of two answers can then look alike. `below zero` says how much is hidden.
//! - Element by element a layer that is read through a norm alone has a map of zeros, and what is seen is rounding, which is spoken of: take a layer before it.
//! - Maps may change little when later layers are drawn anew (Adebayo et al. 2018, "Sanity Checks for Saliency Maps").
//!
//! # Agreement
//! By hooks in torch on `llava-a` (features), `clip-a` (a block with its class token) and `llava-next-a` (tiles), both ways to weigh: largest difference relative to the largest value 3.7e-6, 2.8e-6 and, of tiles, 1.7e-5. Identities tested:
//! element by element and without ReLU it is gradient times input of the layer; the two ways agree where all patches have the same gradient; with ReLU it is the part above zero.
//!
//! # Reference
//! Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization. ICCV 2017.
//! <https://arxiv.org/abs/1610.02391>. HiResCAM: Draelos, Carin 2020. <https://arxiv.org/abs/2011.08891>. Patches of a transformer in the place of the cells of a convolution are common practice, not
//! the paper's; we leave maps on patches, and blow nothing up to pixels.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{GradCam, grad_cam::{Settings, Weights}};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let settings = Settings { weights: Weights::Each, relu: false, ..Settings::default() };
//! let finding = GradCam::new(settings)?.run(subject, case)?;
//! println!("{:?}", finding.table("picture")?.largest(3)?);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;

use mmlens_core::finding::{Axis, Caution, Labelled, PatchLabel, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AxisName, Capability, Card, Case, Copies, Cost, HookError, Inputs, Leaf,
    Objective, On, Part, Plan, Point, Site, SiteSpec, Subject, TokenMap, caution, kind,
};
use mmlens_engine::{Progress, Spoken, label, numbers, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{given, input};

/// What this method is.
pub const CARD: Card = Card {
    id: "grad-cam",
    short: "gradcam",
    name: "Grad-CAM",
    question: "Which patches hold, at a layer of the tower, the features that speak for this answer?",
    citation: "Selvaraju et al.: Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization. ICCV 2017. https://arxiv.org/abs/1610.02391",
    leaf: Leaf::Architecture,
    cost: "1 forward + 1 backward",
    needs: &[Capability::Gradients, Capability::Perception],
    misleads: &[
        "A transformer reads patches one by one: their gradients cancel in the mean.",
        "A patch of a late layer holds what it has taken from others.",
        "ReLU hides what speaks against the answer.",
    ],
    first: false,
};

/// How channels are weighed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// By the mean of their gradients over the patches of a picture (Grad-CAM).
    #[default]
    Mean,
    /// At each patch by their gradient there (HiResCAM).
    Each,
}

/// At which layer, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A layer of the tower or of the connector; `None` for what leaves the tower, or what enters the block before its last.
    pub site: Option<Site>,
    /// How channels are weighed.
    pub weights: Weights,
    /// Whether what is below zero counts as zero.
    pub relu: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { site: None, weights: Weights::Mean, relu: true }
    }
}

/// Grad-CAM with checked settings.
#[derive(Debug, Clone, Default)]
pub struct GradCam {
    settings: Settings,
}

/// The patches of a picture or tile, or of all that a tower looks at in one sequence.
struct Sheet {
    /// Of each patch, which row of the values is its own.
    rows: Vec<usize>,
    patches: Vec<PatchLabel>,
}

/// The map of a sheet, and what is told of it.
struct Seen {
    map: Vec<f64>,
    below: f64,
    left: f64,
}

/// The layer that is looked at, and where its positions lie.
struct Layer {
    site: Site,
    tower: Part,
    sheets: Vec<Sheet>,
    /// Values of a position.
    wide: usize,
}

impl GradCam {
    /// The layer that is looked at: of the tower that has something to compute, where none was asked for.
    fn site(&self, subject: &dyn Subject, tower: Part) -> Result<Site, AnalysisError> {
        let features = Site::of(tower, Point::Features);
        let own = match kind::blocks(subject, tower) {
            _ if kind::has(subject, features) => Some(features),
            0 => None,
            blocks => Some(Site::block(tower, blocks.saturating_sub(2), Point::ResidPre)),
        };
        let none = || {
            input(
                &CARD,
                "a tower that publishes what its layers hold",
                "this one publishes none: name a `site`",
            )
        };
        let site = self.settings.site.or(own).ok_or_else(none)?;
        match site.part() {
            Part::Vision | Part::Audio | Part::Connector => Ok(site),
            other => {
                let found = format!("`{site}` lies in its part `{}`", other.name());
                Err(input(&CARD, "a layer of a tower or of the connector", found))
            }
        }
    }

    fn layer(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Layer, AnalysisError> {
        let used = inputs.towers().next();
        let tower = used.ok_or_else(|| input(&CARD, "a picture or recording", "the sample has none"))?;
        let site = self.site(subject, tower)?;
        given(&CARD, inputs, site.part())?;
        let spec = SiteSpec::among(subject.sites(), site)?;
        let (dims, axes) = (subject.dims(inputs, site)?, spec.axes.iter().map(|(axis, _)| *axis));
        let found = format!("`{site}` has {dims:?}");
        let axes: Vec<AxisName> = axes.collect();
        let (entries, len) = match (axes.as_slice(), dims.as_slice()) {
            ([_, AxisName::Pos, _], [entries, len, _]) if spec.tower().is_some() => (*entries, *len),
            ([AxisName::Pos, _], [len, _]) => (1, *len),
            _ => return Err(input(&CARD, "a site with a vector at every position", found)),
        };
        let wide = dims.last().copied().unwrap_or(0);
        let tower = label::tower_of(spec, inputs.map());
        let sheet = |entry: usize| {
            let lies = label::tower_positions(inputs.map(), tower, entry, entries, len)?;
            let own = lies.into_iter().enumerate().filter_map(|(at, patch)| Some((entry * len + at, patch?)));
            let (rows, patches): (Vec<usize>, Vec<PatchLabel>) = own.unzip();
            (!rows.is_empty()).then_some(Sheet { rows, patches })
        };
        let sheets: Option<Vec<Sheet>> = (0..entries).map(sheet).collect();
        let sheets =
            sheets.ok_or_else(|| input(&CARD, "positions that lie on the picture or recording", found))?;
        Ok(Layer { site, tower, sheets, wide })
    }

    /// The map of a sheet.
    fn seen(&self, sheet: &Sheet, wide: usize, values: &[f32], slopes: &[f32]) -> Result<Seen, HookError> {
        let short = || HookError::Values { dims: vec![sheet.rows.len(), wide], given: values.len() };
        let row = |all: &[f32], row: usize| -> Result<Vec<f64>, HookError> {
            let own = all.get(row * wide..(row + 1) * wide).ok_or_else(short)?;
            Ok(own.iter().map(|value| f64::from(*value)).collect())
        };
        // Of every picture among the patches its mean gradients, and their mean magnitudes.
        let mut means: BTreeMap<usize, (f64, Vec<f64>, Vec<f64>)> = BTreeMap::new();
        for (at, patch) in sheet.rows.iter().zip(&sheet.patches) {
            let (count, mean, size) =
                means.entry(patch.image).or_insert_with(|| (0.0, vec![0.0; wide], vec![0.0; wide]));
            *count += 1.0;
            for ((mean, size), slope) in mean.iter_mut().zip(size.iter_mut()).zip(row(slopes, *at)?) {
                *mean += slope;
                *size += slope.abs();
            }
        }
        let sum = |of: fn(&(f64, Vec<f64>, Vec<f64>)) -> &Vec<f64>| -> f64 {
            means.values().flat_map(of).map(|mean| mean.abs()).sum()
        };
        let (kept, all) = (sum(|own| &own.1), sum(|own| &own.2));
        let mut map = Vec::with_capacity(sheet.rows.len());
        for (at, patch) in sheet.rows.iter().zip(&sheet.patches) {
            let held = row(values, *at)?;
            let weights = match (self.settings.weights, means.get(&patch.image)) {
                (Weights::Mean, Some((count, sums, _))) => sums.iter().map(|sum| sum / count).collect(),
                _ => row(slopes, *at)?,
            };
            map.push(held.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f64>());
        }
        let size: f64 = map.iter().map(|value| value.abs()).sum();
        let negative: f64 = map.iter().filter(|value| **value < 0.0).map(|value| value.abs()).sum();
        if self.settings.relu {
            map.iter_mut().filter(|value| **value < 0.0).for_each(|value| *value = 0.0);
        }
        let share = |part: f64, all: f64| if all == 0.0 { 0.0 } else { part / all };
        Ok(Seen { map, below: share(negative, size), left: share(kept, all) })
    }

    /// The tables of some maps.
    fn tables(
        &self,
        map: &TokenMap,
        layer: &Layer,
        seen: &[Seen],
        (unit, value): (Unit, f32),
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let mut tables = Vec::new();
        for (at, (sheet, own)) in layer.sheets.iter().zip(seen).enumerate() {
            let name = if layer.tower == Part::Audio { "recording" } else { "picture" };
            let name = if seen.len() > 1 { format!("{name}/{at}") } else { name.to_owned() };
            let values = own.map.iter().map(|value| *value as f32).collect();
            let axes = vec![label::patch_axis(map, sheet.patches.clone())];
            tables.push(Labelled::numbers(name, unit, axes, values)?);
        }
        let over = if seen.len() > 1 { vec![Axis::count(Role::Image, seen.len())] } else { Vec::new() };
        let told = |name: &str, of: fn(&Seen) -> f64| {
            let values = seen.iter().map(|own| of(own) as f32).collect();
            Labelled::numbers(name, Unit::Ratio, over.clone(), values)
        };
        tables.push(told("below zero", |own| own.below)?);
        if self.settings.weights == Weights::Mean {
            tables.push(told("left of gradients", |own| own.left)?);
        }
        tables.push(Labelled::scalar("objective", unit, value));
        Ok(tables)
    }

    /// What speaks against some maps.
    fn cautions(&self, seen: &[Seen], layer: &Layer, of: (Unit, f32)) -> Vec<Caution> {
        let all: Vec<f32> = seen.iter().flat_map(|own| own.map.iter().map(|value| *value as f32)).collect();
        let hint =
            if self.settings.relu { "; `relu` = false shows what speaks against the answer" } else { "" };
        if let Some(mut nothing) = caution::rounding(&all, of, "values of the map") {
            nothing.text += hint;
            return vec![nothing];
        }
        if self.settings.weights == Weights::Each {
            return Vec::new();
        }
        let what = format!("gradients of patches at `{}`, in their mean over a picture,", layer.site);
        let least = seen.iter().map(|own| own.left).min_by(f64::total_cmp); // no NaN: a map with one is refused
        let hint = "; `weights` = `each` leaves them where they are";
        least.and_then(|left| caution::cancelled(left, &what, hint)).into_iter().collect()
    }
}

impl Analysis for GradCam {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let site = self.layer(on.subject(), &inputs)?.site;
        let times = 1 + on.each(case, &on.form(case, &inputs)?).len();
        let cost = Cost::rows(case.settling() + times).with_gradients(times);
        Ok(cost.at_once(1, on.row(case, &inputs, &[site])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        one_row(CARD.id, &inputs)?;
        let layer = self.layer(subject, &inputs)?;
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1 + spoken.objectives().len());
        let mut seen = |objective: &Objective| -> Result<(f32, Vec<Seen>), AnalysisError> {
            let plan = Plan::new().objective(objective).read(layer.site)?.grad(layer.site)?;
            let kept = 2 * 4 * numbers(subject, &inputs, &[layer.site])? as u64;
            on.memory().hold(CARD.id, kept, subject.need(&inputs, &plan, Copies::ONE)?)?;
            let trace = subject.run(&inputs, plan)?;
            let value = *trace.scores()?.first().ok_or(HookError::NoObjective)?;
            let (held, slopes) = (trace.get(layer.site)?.to_values()?, trace.grad(layer.site)?.to_values()?);
            let each = layer.sheets.iter().map(|sheet| self.seen(sheet, layer.wide, &held, &slopes));
            let each = each.collect::<Result<_, _>>()?;
            progress.advance(1)?;
            Ok((value, each))
        };
        let unit = objective.unit();
        let (value, whole) = seen(&objective)?;
        let of_token = |own: &Objective| {
            let (value, own) = seen(own)?;
            self.tables(inputs.map(), &layer, &own, (unit, value))
        };
        let each: Vec<_> = spoken.objectives().iter().map(of_token).collect();
        let own = self.tables(inputs.map(), &layer, &whole, (unit, value));
        let tables = spoken.with_each(std::iter::once(own).chain(each))?;
        let cautions = caution::saturated(&objective, value).into_iter().chain(self.cautions(
            &whole,
            &layer,
            (unit, value),
        ));
        let answer = Answer::new(tables, [layer.site]).explaining(&objective).cautioned(cautions);
        Ok(answer.settled("site", json!(layer.site)))
    }
}
