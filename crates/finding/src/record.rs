//! What a method was run on, as a finding keeps it: enough to find the same pictures and recordings again, and to notice others.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SoundScale;

/// What a method was run on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InputRecord {
    /// The sample; empty, for methods that are run on a data set.
    pub sample: SampleRecord,
    /// What is explained, as it was asked for: `"top"`, `{"token": 42}` or an objective.
    #[serde(default)]
    pub target: Value,
    /// The sample it was compared with, for methods that compare two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupted: Option<SampleRecord>,
    /// The data set, for methods that are run on many cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRecord>,
    /// The second model, for methods that were run on two side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<BesideRecord>,
}

/// A data set. It is a program's: there is no file to read it from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DataRecord {
    /// What it is called.
    pub name: String,
    /// Cases there are.
    pub cases: usize,
    /// SHA-256 of all there is in it.
    pub sha256: String,
}

/// A model that stood beside another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BesideRecord {
    /// Its name.
    pub subject: String,
    /// Hash of its weights as they were read.
    pub weights_hash: String,
    /// Everything that was changed in it after it was read, in order.
    pub alterations: Vec<String>,
    /// Number type of its computation.
    pub dtype: String,
    /// Kind of its device.
    pub device: String,
    /// The path of the kernels that it computed with, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// The data set as it took it, where that was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRecord>,
}

/// A sample: its words, and where its pictures and recordings came from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The words.
    pub words: WordsRecord,
    /// The pictures, in the order of their placeholders.
    #[serde(default)]
    pub pictures: Vec<PictureRecord>,
    /// The clips, in the order of their placeholders.
    #[serde(default)]
    pub clips: Vec<ClipRecord>,
    /// The recordings, in the order of their placeholders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recordings: Vec<RecordingRecord>,
    /// The answer behind the words, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyRecord>,
}

/// An answer that is a part of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyRecord {
    /// As text.
    Text(String),
    /// As tokens.
    Tokens(Vec<u32>),
}

/// The words of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WordsRecord {
    /// A question, put through the chat template of the checkpoint.
    Question(String),
    /// A text taken as it is.
    Prompt(String),
    /// Captions.
    Texts(Vec<String>),
    /// None.
    #[default]
    Nothing,
}

/// Where something seen or heard came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// It was handed over by a program; there is no file to read again.
    #[default]
    Memory,
    /// A file or folder, as it was named.
    File(String),
    /// The mean colour of what came from there, in its size.
    MeanColourOf(Box<Self>),
    /// Silence as long as what came from there.
    SilenceOf(Box<Self>),
}

impl Source {
    /// The file or folder it leads back to.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Memory => None,
            Self::File(path) => Some(path),
            Self::MeanColourOf(source) | Self::SilenceOf(source) => source.file(),
        }
    }
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureRecord {
    /// What it is called.
    pub name: String,
    /// Where it came from.
    pub source: Source,
    /// Width and height.
    pub size: [u32; 2],
    /// SHA-256 of its pixels as they were decoded, with their size and colours.
    pub sha256: String,
}

/// A clip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipRecord {
    /// What it is called.
    pub name: String,
    /// Where it came from.
    pub source: Source,
    /// Frames in a second, where it is known.
    pub fps: Option<f64>,
    /// SHA-256 of the pixels of each frame.
    pub frames: Vec<String>,
}

/// A recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingRecord {
    /// What it is called.
    pub name: String,
    /// Where it came from.
    pub source: Source,
    /// From when to when in seconds, where it is a part of what came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<[f64; 2]>,
    /// Samples in a second, in Hz.
    pub rate: u32,
    /// How long it is, in seconds.
    pub seconds: f64,
    /// SHA-256 of its rate and samples.
    pub sha256: String,
    /// What columns and rows of its spectrogram stand for, where the subject says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<SoundScale>,
    /// How many columns its spectrogram has, where the subject says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
}
