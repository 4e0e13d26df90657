//! How a finding came to be: enough to run it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::InputRecord;

/// How a finding came to be: enough to run it again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// Id of the method.
    pub method: String,
    /// Its settings by name, defaults included, and what the input settled: they read back.
    pub settings: BTreeMap<String, Value>,
    /// What it was run on; `None` for what was made of findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputRecord>,
    /// Name of the model.
    pub subject: String,
    /// Hash of the weights as they were read.
    pub weights_hash: String,
    /// Everything that was changed in the model after it was read, in order. Empty: numbers as published.
    pub alterations: Vec<String>,
    /// The sites that were read or changed.
    pub sites: Vec<String>,
    /// What is explained.
    pub objective: Option<String>,
    /// The words of the answer that is explained, where tokens or a caption are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Compared with what.
    pub baseline: Option<String>,
    /// Seed of every draw, where there is chance.
    pub seed: Option<u64>,
    /// Number type of the computation.
    pub dtype: String,
    /// Kind of device.
    pub device: String,
    /// The path of the kernels that computed, where there are several: it decides the last digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// Bytes that the method could take at once. How rows are packed follows from it, and so do the last digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Where the model was read from, if a program told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Version of mmlens.
    pub version: String,
}

impl Provenance {
    /// Provenance of this method on this model by this version; the other fields are empty.
    #[must_use]
    pub fn new(method: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            subject: subject.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Self::default()
        }
    }

    /// The same provenance with one more setting.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }
}
