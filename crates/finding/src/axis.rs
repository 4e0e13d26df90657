//! The axes of a table: what a dimension runs over, and what stands at each of its positions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SoundScale;
use crate::scale::span;

/// One dimension of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What the dimension runs over.
    pub role: Role,
    /// What stands at each position.
    pub labels: Labels,
}

impl Axis {
    /// An axis of this role with these labels.
    #[must_use]
    pub const fn new(role: Role, labels: Labels) -> Self {
        Self { role, labels }
    }

    /// `len` positions known by their number alone.
    #[must_use]
    pub const fn count(role: Role, len: usize) -> Self {
        Self::new(role, Labels::Count(len))
    }

    /// Positions with names.
    pub fn names<N: Into<String>>(role: Role, names: impl IntoIterator<Item = N>) -> Self {
        Self::new(role, Labels::Names(names.into_iter().map(Into::into).collect()))
    }

    /// The tokens of a sequence.
    #[must_use]
    pub const fn tokens(tokens: Vec<TokenLabel>) -> Self {
        Self::new(Role::Token, Labels::Tokens(tokens))
    }

    /// Patches of one or more pictures.
    #[must_use]
    pub const fn patches(patches: Vec<PatchLabel>) -> Self {
        Self::new(Role::Patch, Labels::Patches(patches))
    }

    /// Rows or columns of a heat map, each with its extent in pixels of the original picture.
    #[must_use]
    pub const fn spans(role: Role, image: usize, spans: Vec<[f32; 2]>) -> Self {
        Self::new(role, Labels::Spans { image, spans, heard: None })
    }

    /// Rows or columns of a heat map over a recording's spectrogram: their extents there, and what these stand for.
    #[must_use]
    pub fn heard(role: Role, image: usize, spans: Vec<[f32; 2]>, scale: &SoundScale) -> Self {
        let (unit, of): (_, &dyn Fn([f32; 2]) -> [f64; 2]) = match role {
            Role::Row => (HeardUnit::Hertz, &|span| scale.hertz_of(span)),
            _ => (HeardUnit::Seconds, &|span| scale.seconds(span)),
        };
        let own = spans.iter().map(|span| of(*span).map(|value| value as f32)).collect();
        Self::new(role, Labels::Spans { image, spans, heard: Some(HeardSpans { unit, spans: own }) })
    }

    /// Number of positions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What stands at `index`, in words; `None` past the end.
    #[must_use]
    pub fn label(&self, index: usize) -> Option<String> {
        self.labels.label(index)
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.role, self.len())
    }
}

/// What a dimension runs over. Reports choose how to draw a table by the roles of its axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Examples of a data set.
    Sample,
    /// Positions of the model's sequence, of any modality.
    Token,
    /// Patches of a picture.
    Patch,
    /// Pictures of one input.
    Image,
    /// Frames of a video or windows of a recording.
    Frame,
    /// Rows of a heat map.
    Row,
    /// Columns of a heat map.
    Column,
    /// Colour channels.
    Channel,
    /// Layers of a network.
    Layer,
    /// Attention heads.
    Head,
    /// Neurons of a feed-forward layer.
    Neuron,
    /// Dimensions of an activation, or features of a learned dictionary.
    Feature,
    /// Entries of the vocabulary.
    Vocab,
    /// Steps of a path, of decoding or of training.
    Step,
    /// Concepts with names.
    Concept,
    /// Places in a ranking, best first.
    Rank,
    /// Positions that attend.
    Query,
    /// Positions that are attended to.
    Key,
    /// Pairs of two inputs, of two heads or of an image and a text.
    Pair,
    /// Tokens of the answer that is explained.
    Answer,
    /// Methods that are compared, baselines among them.
    Method,
    /// What is measured of each.
    Metric,
}

impl Role {
    /// The role in one lower-case word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Token => "token",
            Self::Patch => "patch",
            Self::Image => "image",
            Self::Frame => "frame",
            Self::Row => "row",
            Self::Column => "column",
            Self::Channel => "channel",
            Self::Layer => "layer",
            Self::Head => "head",
            Self::Neuron => "neuron",
            Self::Feature => "feature",
            Self::Vocab => "vocab",
            Self::Step => "step",
            Self::Concept => "concept",
            Self::Rank => "rank",
            Self::Query => "query",
            Self::Key => "key",
            Self::Pair => "pair",
            Self::Answer => "answer",
            Self::Method => "method",
            Self::Metric => "metric",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stands at each position of an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Labels {
    /// Positions known by their number alone.
    Count(usize),
    /// Positions with names.
    Names(Vec<String>),
    /// Tokens of a sequence. A token is identified by its position: the text is a label, never a key.
    Tokens(Vec<TokenLabel>),
    /// Patches, each with its place in the original picture.
    Patches(Vec<PatchLabel>),
    /// Rows or columns of a heat map.
    Spans {
        /// Which picture of the input.
        image: usize,
        /// From and to of each position, in pixels of the original picture; of a recording, in rows and columns of its spectrogram.
        spans: Vec<[f32; 2]>,
        /// What they stand for, where the picture is the spectrogram of a recording.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard: Option<HeardSpans>,
    },
}

/// What rows or columns of a spectrogram stand for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeardSpans {
    /// In which unit.
    pub unit: HeardUnit,
    /// From and to of each position, the lower first.
    pub spans: Vec<[f32; 2]>,
}

/// A unit of what is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeardUnit {
    /// Time from the beginning of the recording.
    Seconds,
    /// Frequency.
    Hertz,
}

impl HeardUnit {
    /// Its sign.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Hertz => "Hz",
        }
    }
}

impl Labels {
    /// Number of positions.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Count(len) => *len,
            Self::Names(names) => names.len(),
            Self::Tokens(tokens) => tokens.len(),
            Self::Patches(patches) => patches.len(),
            Self::Spans { spans, .. } => spans.len(),
        }
    }

    /// Whether there is no position.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What stands at `index`, in words; `None` past the end.
    #[must_use]
    pub fn label(&self, index: usize) -> Option<String> {
        match self {
            Self::Count(len) => (index < *len).then(|| index.to_string()),
            Self::Names(names) => names.get(index).cloned(),
            Self::Tokens(tokens) => tokens.get(index).map(TokenLabel::label),
            Self::Patches(patches) => patches.get(index).map(ToString::to_string),
            Self::Spans { heard: Some(HeardSpans { unit, spans }), .. } => {
                spans.get(index).map(|own| span(own.map(f64::from), unit.sign()))
            }
            Self::Spans { spans, .. } => spans.get(index).map(|[from, to]| format!("{from}–{to} px")),
        }
    }

    /// The labels at these positions, in this order. Positions that were only counted keep their numbers as names.
    pub(crate) fn at(&self, indices: &[usize]) -> Self {
        fn pick<T: Clone>(from: &[T], indices: &[usize]) -> Vec<T> {
            indices.iter().filter_map(|&i| from.get(i).cloned()).collect()
        }
        match self {
            Self::Count(_) => Self::Names(indices.iter().map(ToString::to_string).collect()),
            Self::Names(names) => Self::Names(pick(names, indices)),
            Self::Tokens(tokens) => Self::Tokens(pick(tokens, indices)),
            Self::Patches(patches) => Self::Patches(pick(patches, indices)),
            Self::Spans { image, spans, heard } => {
                let own = |heard: &HeardSpans| HeardSpans { spans: pick(&heard.spans, indices), ..*heard };
                Self::Spans { image: *image, spans: pick(spans, indices), heard: heard.as_ref().map(own) }
            }
        }
    }

    /// First position whose place in a picture is not a number, with the numbers found there.
    pub(crate) fn first_not_finite(&self) -> Option<(usize, Vec<f32>)> {
        fn bad(values: &[f32]) -> Option<Vec<f32>> {
            values.iter().any(|v| !v.is_finite()).then(|| values.to_vec())
        }
        match self {
            Self::Count(_) | Self::Names(_) => None,
            Self::Tokens(tokens) => {
                let heard = |own: &HeardPlace| bad(&own.seconds).or_else(|| own.hertz.and_then(|h| bad(&h)));
                let own = |token: &TokenLabel| {
                    let seen = token.patch.as_ref().and_then(|patch| bad(&patch.bbox));
                    seen.or_else(|| token.heard.as_ref().and_then(heard))
                };
                tokens.iter().enumerate().find_map(|(i, token)| own(token).map(|b| (i, b)))
            }
            Self::Patches(patches) => {
                patches.iter().enumerate().find_map(|(i, p)| bad(&p.bbox).map(|b| (i, b)))
            }
            Self::Spans { spans, heard, .. } => {
                let heard = heard.iter().flat_map(|heard| heard.spans.iter().enumerate());
                spans.iter().enumerate().chain(heard).find_map(|(i, span)| bad(span).map(|b| (i, b)))
            }
        }
    }
}

/// One position of a model's sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLabel {
    /// The text of the token as a reader should see it.
    pub text: String,
    /// Its id in the vocabulary, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// From and to in the bytes of the prompt, if it came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(usize, usize)>,
    /// What kind of input the position carries.
    pub modality: Modality,
    /// Where in which picture, for a position that carries a part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<PatchLabel>,
    /// When in which recording, and at which frequencies, for a position that carries a part of one: what its place on the spectrogram
    /// stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<HeardPlace>,
}

impl TokenLabel {
    /// A token with this text and nothing else known.
    #[must_use]
    pub fn new(text: impl Into<String>, modality: Modality) -> Self {
        Self { text: text.into(), id: None, bytes: None, modality, patch: None, heard: None }
    }

    /// The same token with its id in the vocabulary.
    #[must_use]
    pub const fn with_id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// The same token with its bytes in the prompt, from and to.
    #[must_use]
    pub const fn with_bytes(mut self, from: usize, to: usize) -> Self {
        self.bytes = Some((from, to));
        self
    }

    /// The same token with its place in a picture.
    #[must_use]
    pub const fn with_patch(mut self, patch: PatchLabel) -> Self {
        self.patch = Some(patch);
        self
    }

    /// The same token with its place in a recording.
    #[must_use]
    pub const fn with_heard(mut self, heard: HeardPlace) -> Self {
        self.heard = Some(heard);
        self
    }

    /// What stands there, in words: its text. Of a token of the vocabulary that only holds the place of a part of a recording, which part.
    #[must_use]
    pub fn label(&self) -> String {
        match (self.heard, self.id) {
            (Some(heard), Some(_)) => heard.to_string(),
            _ => self.text.clone(),
        }
    }

    /// Which part of a picture or recording stands there, in words; `None` for all else. A part of a recording that is no token of the
    /// vocabulary has its own name.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match self.patch {
            Some(_) if self.heard.is_some() || (self.modality == Modality::Audio && self.id.is_none()) => {
                Some(self.label())
            }
            patch => patch.map(|patch| patch.to_string()),
        }
    }
}

/// A part of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeardPlace {
    /// Which recording of the input.
    pub recording: usize,
    /// From when to when, in seconds from where the recording begins that the model is given.
    pub seconds: [f32; 2],
    /// From which to which frequency in Hz, the lower first, where it does not have all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hertz: Option<[f32; 2]>,
}

impl HeardPlace {
    /// When, and at which frequencies where it does not have all, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let told = |own: [f32; 2], unit: HeardUnit| span(own.map(f64::from), unit.sign());
        let time = told(self.seconds, HeardUnit::Seconds);
        self.hertz.map_or(time.clone(), |own| format!("{time}, {}", told(own, HeardUnit::Hertz)))
    }
}

impl fmt::Display for HeardPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recording {}, {}", self.recording, self.describe())
    }
}

/// What kind of input a position of the sequence carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Modality {
    /// Words.
    Text,
    /// A part of a picture, or of a frame of a clip that a model takes as it takes pictures.
    Image,
    /// A part of a recording.
    Audio,
    /// A part of a video.
    Video,
    /// Markers of the model: begin, end, separators, templates.
    Special,
}

impl Modality {
    /// Whether it is a part of something that a tower perceives: a picture, a clip, a recording.
    #[must_use]
    pub const fn is_perceived(self) -> bool {
        matches!(self, Self::Image | Self::Video | Self::Audio)
    }

    /// The modality in one lower-case word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Special => "special",
        }
    }
}

/// A patch of a picture, and where it lies in the original.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PatchLabel {
    /// Which picture of the input.
    pub image: usize,
    /// Which tile or crop of the picture.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tile: usize,
    /// Which frame, for a video.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub frame: usize,
    /// Row in the grid of patches.
    pub row: usize,
    /// Column in the grid of patches.
    pub col: usize,
    /// `x0, y0, x1, y1` in pixels of the original picture.
    pub bbox: [f32; 4],
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl fmt::Display for PatchLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}", self.image)?;
        if self.tile > 0 {
            write!(f, " tile {}", self.tile)?;
        }
        if self.frame > 0 {
            write!(f, " frame {}", self.frame)?;
        }
        write!(f, " row {} column {}", self.row, self.col)
    }
}
