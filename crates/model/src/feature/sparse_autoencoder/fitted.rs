//! What was learned: a dictionary as a method of single cases.

use std::collections::BTreeMap;
use std::sync::Arc;

use mmlens_core::burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Card, Case, Cost, Fitted, On, Parts, Site, step,
};
use mmlens_engine::dictionary::{Kept, Of, Weights};
use mmlens_engine::{Dictionary, Positions, rows_of};
use mmlens_files::Doubles;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::CARD;
use super::listed::{Found, listed};
use crate::check::{input, setting};

/// What is known of a dictionary that was learned, beside its numbers, which are too many to be settings: their hash tells which they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// What is read.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// How many features are listed.
    pub strongest: usize,
    /// SHA-256 of the dictionary.
    pub sha256: String,
}

impl Default for Learned {
    fn default() -> Self {
        let super::Settings { site, positions, .. } = super::Settings::default();
        Self { site, positions, strongest: 16, sha256: String::new() }
    }
}

/// A dictionary that was learned: the strongest features of a case.
#[derive(Debug, Clone)]
pub struct Autoencoder {
    learned: Learned,
    dictionary: Arc<Dictionary>,
}

impl Autoencoder {
    pub(super) fn of_dictionary(dictionary: Dictionary, site: Site, positions: Positions) -> Self {
        let learned = Learned { site, positions, sha256: dictionary.hash(), ..Learned::default() };
        Self { learned, dictionary: Arc::new(dictionary) }
    }

    /// The dictionary.
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }
}

impl Analysis for Autoencoder {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        let wanted = "a dictionary is no setting: it has to be learned, or loaded";
        Err(setting(&CARD, "sha256", learned.sha256, wanted))
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        Ok(on.cost_of_pass(case)?)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Learned { site, positions, strongest, .. } = &self.learned;
        let inputs = on.encode(&case.sample)?;
        let held = rows_of((on, CARD.id), &inputs, *site, positions)?;
        let features = self.dictionary.features();
        let rows = TensorData::new(held.values.clone(), [held.places.len(), held.width]);
        let found = self.dictionary.encode(Tensor::from_data(rows, &Device::default()))?;
        let found = Found { held: &held, features, values: &AnyTensor::new(found).to_values()? };
        let answer = listed((&CARD, *site), &inputs, &found, *strongest)?;
        step(on.watch(), CARD.id, 1, 1)?;
        Ok(answer)
    }
}

/// All that is learned but its numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    site: Site,
    positions: Positions,
    k: usize,
    model: Option<String>,
    weights: Option<String>,
}

const NAMES: [&str; 4] = ["W_enc", "b_enc", "W_dec", "b_dec"];

impl Fitted for Autoencoder {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Weights { width, features, encoder, encoder_bias, decoder, decoder_bias } =
            self.dictionary.weights();
        let Kept::Largest(k) = self.dictionary.kept() else {
            return Err(input(&CARD, "a dictionary that keeps the largest", "this one keeps others"));
        };
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let shapes = [vec![*width, *features], vec![*features], vec![*features, *width], vec![*width]];
        let values = [encoder, encoder_bias, decoder, decoder_bias];
        let tensors = NAMES.into_iter().zip(shapes).zip(values);
        let tensors = tensors
            .map(|((name, shape), values)| (name.to_owned(), Doubles { shape, values: wide(values) }))
            .collect();
        let Of { model, weights, .. } = self.dictionary.of();
        let Learned { site, positions, .. } = &self.learned;
        let about =
            json!({ "site": site, "positions": positions, "k": k, "model": model, "weights": weights });
        Ok(Parts { tensors, about: about.to_string() })
    }

    /// As SAELens keeps it: `cfg.json` and `sae_weights.safetensors`.
    fn exports(&self) -> Result<Vec<(String, Vec<u8>)>, AnalysisError> {
        let files = self.dictionary.files();
        let files =
            files.map_err(|error| AnalysisError::Settings { method: CARD.id, reason: error.to_string() })?;
        Ok(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
    }

    fn of(parts: Parts) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        let Parts { mut tensors, about } = parts;
        let About { site, positions, k, model, weights } =
            mmlens_files::parse_json(about.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let mut shapes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut take = |name: &'static str| {
            let tensor = tensors.remove(name).ok_or_else(|| wrong(format!("there is no tensor `{name}`")))?;
            shapes.insert(name, tensor.shape);
            Ok::<Vec<f32>, AnalysisError>(tensor.values.into_iter().map(|x| x as f32).collect())
        };
        let [encoder, encoder_bias, decoder, decoder_bias] = NAMES.map(&mut take);
        let (encoder, encoder_bias) = (encoder?, encoder_bias?);
        let (decoder, decoder_bias) = (decoder?, decoder_bias?);
        let (width, features) = (decoder_bias.len(), encoder_bias.len());
        let expected = [vec![width, features], vec![features], vec![features, width], vec![width]];
        for (name, expected) in NAMES.into_iter().zip(expected) {
            if shapes.get(name) != Some(&expected) {
                return Err(wrong(format!("`{name}` is {:?}, expected {expected:?}", shapes.get(name))));
            }
        }
        if let Some(name) = tensors.keys().next() {
            return Err(wrong(format!("a tensor `{name}` has no meaning")));
        }
        let own = Weights { width, features, encoder, encoder_bias, decoder, decoder_bias };
        let of = Of { site: Some(site), model, weights };
        let dictionary =
            Dictionary::new(own, Kept::Largest(k), of).map_err(|error| wrong(error.to_string()))?;
        Ok(Self::of_dictionary(dictionary, site, positions))
    }
}
