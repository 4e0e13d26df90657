//! What was learned: a lens as a method of single cases.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mmlens_core::finding::{Caution, CautionKind};
use mmlens_core::kind::Space;
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Fitted, FittedError, On, Part, Parts, kind,
};
use mmlens_engine::{Indices, Positions};
use mmlens_files::{doubles_to_bytes, read_doubles, write};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CARD, Translators};
use crate::check::{input, setting};
use crate::layer::logit_lens::{self, LogitLens};

/// What a tuned lens shows, and which translators it has. Findings name these by their hash: they are as many numbers as a model has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// Whose stream is read.
    pub part: Part,
    /// How many words at every place.
    pub top: usize,
    /// Where it looks.
    pub positions: Positions,
    /// After which blocks, and the last.
    pub layers: Indices,
    /// How many states are read out at a time.
    pub rows: usize,
    /// The weights of the model that it was learned from, by their hash.
    pub weights: String,
    /// The translators, by their hash.
    pub translators: String,
}

impl Default for Learned {
    fn default() -> Self {
        let logit_lens::Settings { top, positions, layers, rows, .. } = logit_lens::Settings::default();
        Self {
            part: Part::Text,
            top,
            positions,
            layers,
            rows,
            weights: String::new(),
            translators: String::new(),
        }
    }
}

/// A lens that was tuned: what the model would say at every position if it stopped at this layer, in the words of the last.
#[derive(Debug, Clone)]
pub struct Lens {
    learned: Learned,
    reader: LogitLens,
    translators: Arc<Translators>,
}

impl Lens {
    /// A lens with these translators; their hash is entered into what it shows.
    ///
    /// # Errors
    /// As [`LogitLens`], for no words or no rows.
    pub fn with(mut learned: Learned, translators: Translators) -> Result<Self, AnalysisError> {
        learned.translators = translators.hash()?;
        let Learned { part, top, positions, layers, rows, .. } = learned.clone();
        let settings =
            logit_lens::Settings { part: Some(part), top, positions, layers, rows, ..Default::default() };
        let renamed = |error| match error {
            AnalysisError::Setting { setting, found, expected, .. } => {
                AnalysisError::Setting { method: CARD.id, setting, found, expected }
            }
            other => other,
        };
        let translators = Arc::new(translators);
        let reader = LogitLens::new(settings).map_err(renamed)?.through(&CARD, translators.clone());
        Ok(Self { learned, reader, translators })
    }

    /// The translators.
    #[must_use]
    pub fn translators(&self) -> &Translators {
        &self.translators
    }

    /// Another choice of what is shown by the same translators.
    ///
    /// # Errors
    /// As [`Lens::with`].
    pub fn showing(&self, change: impl FnOnce(&mut Learned)) -> Result<Self, AnalysisError> {
        let mut learned = self.learned.clone();
        change(&mut learned);
        Self::with(learned, (*self.translators).clone())
    }

    /// Writes the folder that the published program keeps a lens in, `config.json` and `params.safetensors`, for a base model of this
    /// name. `oracles/tuned_lens_params.py` turns the second into `params.pt`, which is a pickle, and back.
    ///
    /// # Errors
    /// [`FittedError::Write`], and [`FittedError::Unfit`] for translators that cannot be read.
    pub fn publish(&self, folder: impl AsRef<Path>, base_model: &str) -> Result<(), FittedError> {
        let folder = folder.as_ref();
        let unfit =
            |error: AnalysisError| FittedError::Unfit { file: folder.to_owned(), error: Box::new(error) };
        let config = json!({
            "base_model_name_or_path": base_model,
            "d_model": self.translators.width(),
            "num_hidden_layers": self.translators.len(),
            "bias": true,
            "base_model_revision": null,
            "unembed_hash": null,
            "lens_type": LENS_TYPE,
        });
        let mut tensors = self.translators.tensors().map_err(|error| unfit(error.into()))?;
        // The published form has a weight everywhere.
        let wide = self.translators.width();
        for depth in 0..self.translators.len() {
            let [weight, _] = super::translators::names(depth);
            let zeros = || mmlens_files::Doubles { shape: vec![wide, wide], values: vec![0.0; wide * wide] };
            tensors.entry(weight).or_insert_with(zeros);
        }
        let bytes = doubles_to_bytes(&tensors, &BTreeMap::new())
            .map_err(|error| unfit(AnalysisError::Settings { method: CARD.id, reason: error.to_string() }))?;
        write(folder.join(PARAMS), bytes)?;
        Ok(write(folder.join(CONFIG), format!("{config:#}\n"))?)
    }

    /// Reads such a folder, for a part of a model with weights of this hash. Its layers are counted as here: number 0 reads what enters block 0.
    ///
    /// # Errors
    /// [`FittedError`] for files that cannot be read, a lens of another type, or numbers that do not fit its config.
    pub fn published(
        folder: impl AsRef<Path>,
        part: Part,
        weights: impl Into<String>,
    ) -> Result<Self, FittedError> {
        let folder = folder.as_ref();
        let (params, config) = (folder.join(PARAMS), folder.join(CONFIG));
        let unfit = |reason: String| FittedError::Unfit {
            file: config.clone(),
            error: Box::new(AnalysisError::Settings { method: CARD.id, reason }),
        };
        let bytes = mmlens_files::read(&config, MOST_CONFIG).map_err(|error| unfit(error.to_string()))?;
        let Config { d_model, num_hidden_layers, lens_type } =
            mmlens_files::parse_json(&bytes).map_err(|error| unfit(error.to_string()))?;
        if lens_type.as_deref().is_some_and(|found| found != LENS_TYPE) {
            return Err(unfit(format!("`lens_type` is {lens_type:?}, expected {LENS_TYPE}")));
        }
        let (tensors, _) = read_doubles(&params)?;
        let wrong = |error| FittedError::Unfit { file: params.clone(), error: Box::new(error) };
        let translators = Translators::of(tensors).map_err(wrong)?;
        let found = (translators.len(), translators.width());
        if found != (num_hidden_layers, d_model) {
            return Err(unfit(format!(
                "it says {num_hidden_layers} layers of width {d_model}, and {PARAMS} holds {} of width {}",
                found.0, found.1
            )));
        }
        let learned = Learned { part, weights: weights.into(), ..Learned::default() };
        Self::with(learned, translators).map_err(wrong)
    }

    /// That the lens fits the subject, and what speaks against it.
    fn fits(&self, on: &On<'_>) -> Result<Option<Caution>, AnalysisError> {
        let (subject, part) = (on.subject(), self.learned.part);
        Capability::Distribution(part).check(&CARD, subject)?;
        let wide = subject.anatomy().iter().find(|own| own.part == part).map_or(0, |own| own.d_model);
        let own = (kind::blocks(subject, part), wide);
        let found = (self.translators.len(), self.translators.width());
        if own != found {
            let found = format!("this one has {} of width {}", own.0, own.1);
            let needs =
                format!("a part of {} blocks of width {}", self.translators.len(), self.translators.width());
            return Err(AnalysisError::Input { method: CARD.id, needs: needs.into(), found });
        }
        let other = self.learned.weights != subject.weights_hash();
        Ok(other.then(|| {
            let text =
                "the lens was tuned on other weights than these: what it misses of them was not measured";
            Caution::new(CautionKind::Other, 1.0, text.to_owned())
        }))
    }
}

/// The files of the published form.
const PARAMS: &str = "params.safetensors";
const CONFIG: &str = "config.json";
const LENS_TYPE: &str = "linear_tuned_lens";
const MOST_CONFIG: u64 = 1 << 20;

/// What is needed of a published config.
#[derive(Deserialize)]
struct Config {
    d_model: usize,
    num_hidden_layers: usize,
    #[serde(default)]
    lens_type: Option<String>,
}

impl Analysis for Lens {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        let found = if learned.translators.is_empty() { "none".to_owned() } else { learned.translators };
        Err(setting(&CARD, "translators", found, "a tuned lens is learned, or loaded from its file"))
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        self.fits(on)?;
        self.reader.cost(on, case)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let caution = self.fits(on)?;
        Ok(self.reader.answer(on, case)?.cautioned(caution))
    }
}

/// All that is learned but the translators.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    part: Part,
    top: usize,
    positions: Positions,
    layers: Indices,
    rows: usize,
    weights: String,
}

impl Fitted for Lens {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Learned { part, top, positions, layers, rows, weights, .. } = self.learned.clone();
        let about = json!(About { part, top, positions, layers, rows, weights }).to_string();
        Ok(Parts { tensors: self.translators.tensors()?, about })
    }

    fn of(Parts { tensors, about }: Parts) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        let About { part, top, positions, layers, rows, weights } =
            mmlens_files::parse_json(about.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let learned = Learned { part, top, positions, layers, rows, weights, ..Learned::default() };
        Self::with(learned, Translators::of(tensors)?)
    }
}

/// That a part says a distribution of each of its states by itself.
pub(super) fn distribution(card: &Card, on: &On<'_>, part: Part) -> Result<Space, AnalysisError> {
    Capability::Distribution(part).check(card, on.subject())?;
    kind::reads_out(on.subject(), part).map_err(|reason| input(card, "states that can be read out", reason))
}
