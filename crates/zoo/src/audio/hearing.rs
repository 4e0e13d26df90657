//! How recordings become spectrograms, as the feature extractor of a checkpoint makes them.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::sound::{LogMel, Sound};
use mmlens_core::{AnyTensor, Batch, Entries, Listened, Part, TokenMap, View};

use super::AudioConfig;
use crate::ZooError;

/// The feature extractor of a checkpoint.
#[derive(Debug, Clone)]
pub struct Hearing {
    extractor: LogMel,
}

/// Recordings as a tower takes them.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Their spectrograms, `[clip, mel, frame]`; none, without recordings.
    pub values: Option<AnyTensor>,
    /// See [`Entries::means`].
    pub means: Vec<Vec<f32>>,
    /// One view for each.
    pub views: Vec<View>,
    /// What each shows.
    pub sounds: Vec<mmlens_core::Heard>,
    /// Frames of the sound and filters of each.
    pub sizes: Vec<(u32, u32)>,
}

impl Hearing {
    /// Reads the feature extractor of a Hugging Face folder: `feature_extractor` in `processor_config.json`, or else
    /// `preprocessor_config.json`.
    ///
    /// # Errors
    /// A file that is missing or broken, a setting that is not supported, spectrograms of another size than the tower takes.
    pub fn from_dir(folder: &Path, tower: &AudioConfig) -> Result<Self, ZooError> {
        let nested = folder.join("processor_config.json");
        let fields: Option<serde_json::Value> = crate::checkpoint::read_json_if_there(&nested)?;
        let file = match fields
            .is_some_and(|fields| fields.get("feature_extractor").is_some_and(serde_json::Value::is_object))
        {
            true => nested,
            false => folder.join("preprocessor_config.json"),
        };
        let extractor = LogMel::open(&file).map_err(ZooError::Hearing)?;
        Self::new(extractor, tower).map_err(|error| error.within(&file))
    }

    /// From an extractor at hand.
    ///
    /// # Errors
    /// Spectrograms of another size than the tower takes.
    pub fn new(extractor: LogMel, tower: &AudioConfig) -> Result<Self, ZooError> {
        let settings = extractor.settings();
        let wrong = |field: &str, found: usize, expected: String| {
            Err(ZooError::Value { field: field.to_owned(), found: found.to_string(), expected })
        };
        if settings.mels != tower.mels {
            return wrong(
                "feature_size",
                settings.mels,
                format!("num_mel_bins = {} of the tower", tower.mels),
            );
        }
        if settings.frames() != tower.frames() {
            let expected =
                format!("{}, two for each of max_source_positions = {}", tower.frames(), tower.positions);
            return wrong("frames of a spectrogram", settings.frames(), expected);
        }
        Ok(Self { extractor })
    }

    /// The extractor.
    #[must_use]
    pub fn extractor(&self) -> &LogMel {
        &self.extractor
    }

    /// Recordings as the tower takes them, each brought to the extractor's rate. The first is picture `first` of the sample.
    ///
    /// # Errors
    /// [`ZooError::Recording`] for one that is too long, or that cannot be brought to that rate.
    ///
    /// # Cost
    /// See [`mmlens_core::sound::mel`].
    pub fn hear(&self, recordings: &[Sound], first: usize, device: &Device) -> Result<Heard, ZooError> {
        let mut heard = Heard::default();
        let mut values = Vec::new();
        for (i, recording) in recordings.iter().enumerate() {
            let sound = recording.at(self.extractor.settings().rate).map_err(ZooError::Recording)?;
            let own = Listened::to(&self.extractor, &sound, first + i).map_err(ZooError::Hearing)?;
            heard.sizes.push(own.size());
            values.extend(own.mel.values);
            heard.means.push(own.means);
            heard.views.push(own.view);
            heard.sounds.push(own.heard);
        }
        if !recordings.is_empty() {
            let settings = self.extractor.settings();
            let shape = [recordings.len(), settings.mels, settings.frames()];
            heard.values = Some(Tensor::<3>::from_data(TensorData::new(values, shape), device).into());
        }
        Ok(heard)
    }
}

impl Heard {
    /// Puts what is heard behind the pictures and views of a prompt.
    pub(crate) fn label(&self, map: &mut TokenMap) {
        map.pictures.extend(&self.sizes);
        map.views.extend(self.views.iter().cloned());
        map.sounds.clone_from(&self.sounds);
    }

    /// What a tower is given of these, by a batch of one row.
    pub(crate) fn into_entries(self) -> Entries {
        let own = (0..self.views.len()).collect();
        Entries { values: self.values, grids: Vec::new(), means: self.means, of_rows: vec![own] }
    }
}

/// Of every recording of a batch how many of its frames are of the sound: those that lie on its picture. One of which no map tells is all
/// sound.
pub(crate) fn frames_of(batch: &Batch, tower: &AudioConfig) -> Vec<usize> {
    let mut frames = vec![tower.frames(); batch.heard.len()];
    for (row, map) in batch.maps.iter().enumerate() {
        for (entry, view) in batch.heard.of_row(row).iter().zip(map.views_of(Part::Audio)) {
            if let Some(slot) = frames.get_mut(*entry) {
                *slot = view.cols.iter().filter(|[from, to]| from < to).count();
            }
        }
    }
    frames
}
