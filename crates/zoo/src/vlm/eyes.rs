//! How pictures become pixels and recordings spectrograms, and the text that stands in their place.

use burn::tensor::Device;
use mmlens_core::finding::PatchLabel;
use mmlens_core::{AnyTensor, Grid, Sample, View};

use crate::ZooError;
use crate::audio::Heard;

/// How a checkpoint looks at pictures and clips, and listens to recordings.
pub trait Eyes: std::fmt::Debug + Send + Sync {
    /// The text in a prompt that stands for a picture, and the id of the token that each of its positions has.
    fn picture(&self) -> Option<&Placeholder>;

    /// The same for a clip, where clips can be shown.
    fn clip(&self) -> Option<&Placeholder> {
        None
    }

    /// The same for a recording, where there are ears.
    fn recording(&self) -> Option<&Placeholder> {
        None
    }

    /// All of them, as far as there are any.
    fn placeholders(&self) -> Vec<&Placeholder> {
        self.picture().into_iter().chain(self.clip()).chain(self.recording()).collect()
    }

    /// Pictures, clips and recordings as their towers take them.
    ///
    /// # Errors
    /// A picture or recording the checkpoint's processor refuses.
    fn look(&self, sample: &Sample, device: &Device) -> Result<Seen, ZooError>;
}

/// What stands for a picture, a clip or a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// In a prompt, before it is expanded.
    pub text: String,
    /// The token of each position after it is expanded.
    pub token: u32,
}

/// Pictures, clips and recordings as their towers take them.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The pixels; none, without pictures.
    pub pixels: Option<AnyTensor>,
    /// See [`mmlens_core::Entries::grids`].
    pub grids: Vec<Grid>,
    /// See [`mmlens_core::Entries::means`].
    pub means: Vec<Vec<f32>>,
    /// One view for each entry of the pixel batch.
    pub views: Vec<View>,
    /// See [`mmlens_core::TokenMap::patches`].
    pub patches: Vec<PatchLabel>,
    /// For each picture, what its placeholder becomes.
    pub pictures: Vec<Expansion>,
    /// For each clip, what its placeholder becomes.
    pub clips: Vec<Expansion>,
    /// The row's entries of the pixel batch, in the order of their use.
    pub images: Vec<usize>,
    /// What is heard.
    pub heard: Heard,
    /// For each recording, what its placeholder becomes; one that is left out has none.
    pub recordings: Vec<Expansion>,
}

/// What a placeholder becomes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expansion {
    /// As the checkpoint's processor writes it, before it is tokenised.
    pub text: String,
    /// One for each of its positions, in order. `None` is a position that is no patch: a class token, the end of a row.
    pub places: Vec<Option<PatchLabel>>,
}

/// A language model without eyes and ears.
#[derive(Debug, Clone, Copy)]
pub struct Blind;

impl Eyes for Blind {
    fn picture(&self) -> Option<&Placeholder> {
        None
    }

    /// What is shown is counted, so that whoever shows it is told that there is no placeholder for it.
    fn look(&self, sample: &Sample, _: &Device) -> Result<Seen, ZooError> {
        let pictures = vec![Expansion::default(); sample.pictures.len()];
        let clips = vec![Expansion::default(); sample.clips.len()];
        Ok(Seen { pictures, clips, ..Seen::default() })
    }
}
