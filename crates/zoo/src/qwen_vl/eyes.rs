//! How Qwen-VL looks at pictures and clips of any size.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::finding::PatchLabel;
use mmlens_core::{AnyTensor, Grid, Sample, View};

use super::film::Film;
use super::pixels::{Cut, Library, extents};
use super::settings::{ClipKind, ClipSettings, Patches, Settings};
use crate::ZooError;
use crate::processor::ProcessorError;
use crate::text::Tokenizer;
use crate::vision::joined;
use crate::vlm::{Expansion, Eyes, Placeholder, Seen};

/// What the network expects of its processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// How it takes patches.
    pub patches: Patches,
    /// The token of a picture's positions.
    pub image_token: u32,
    /// The token of a clip's positions.
    pub video_token: u32,
    /// Whether every step of a clip is a block of its own in the text, behind its time.
    pub steps_apart: bool,
}

/// The processors of pictures and clips, and the text that stands for either.
#[derive(Debug, Clone, PartialEq)]
pub struct QwenEyes {
    pictures: Settings,
    clips: ClipSettings,
    picture: Placeholder,
    clip: Placeholder,
    /// Around each step of a clip, where steps are apart.
    around: Option<(String, String)>,
}

impl QwenEyes {
    /// Reads the processors of a Hugging Face folder.
    ///
    /// # Errors
    /// A file that is missing or broken, an option that is not supported, or processors that do not fit the network.
    pub fn from_dir(folder: &Path, tokenizer: &Tokenizer, expected: Expected) -> Result<Self, ZooError> {
        let kind = if expected.steps_apart { ClipKind::Three } else { ClipKind::Two };
        let (pictures, clips) = (Settings::from_dir(folder)?, ClipSettings::from_dir(folder, kind)?);
        for (what, own) in [("pictures", pictures.patches), ("clips", clips.shared.patches)] {
            fits(what, own, expected.patches)?;
        }
        let word = |role: &str, usual: &str| tokenizer.special().get(role).unwrap_or(usual).to_owned();
        let placeholder = |field: &str, text: String, token: u32| match tokenizer.id(&text) {
            Some(id) if id == token => Ok(Placeholder { text, token }),
            id => Err(ZooError::Value {
                field: field.to_owned(),
                found: token.to_string(),
                expected: id.map_or_else(
                    || format!("`{text}` to be a token, which it is not"),
                    |id| format!("{id}, which is `{text}`"),
                ),
            }),
        };
        let around =
            (word("vision_start_token", "<|vision_start|>"), word("vision_end_token", "<|vision_end|>"));
        Ok(Self {
            picture: placeholder(
                "image_token_id",
                word("image_token", "<|image_pad|>"),
                expected.image_token,
            )?,
            clip: placeholder("video_token_id", word("video_token", "<|video_pad|>"), expected.video_token)?,
            around: expected.steps_apart.then_some(around),
            pictures,
            clips,
        })
    }

    /// What is done to pictures.
    pub fn pictures(&self) -> &Settings {
        &self.pictures
    }

    /// What is done to clips.
    pub fn clips(&self) -> &ClipSettings {
        &self.clips
    }

    /// What the placeholder of a picture becomes.
    fn expand_picture(&self, places: Vec<PatchLabel>) -> Expansion {
        let text = self.picture.text.repeat(places.len());
        Expansion { text, places: places.into_iter().map(Some).collect() }
    }

    /// What the placeholder of a clip becomes: all its positions, or those of each step behind its time.
    fn expand_clip(&self, film: &Film, places: Vec<PatchLabel>) -> Expansion {
        let text = match &self.around {
            None => self.clip.text.repeat(places.len()),
            Some((start, end)) => {
                let step = self.clip.text.repeat(places.len() / film.times.len().max(1));
                film.times.iter().map(|time| format!("<{time:.1} seconds>{start}{step}{end}")).collect()
            }
        };
        Expansion { text, places: places.into_iter().map(Some).collect() }
    }
}

/// # Errors
/// [`ZooError::Value`] for a processor that cuts otherwise than the tower takes patches.
fn fits(what: &str, own: Patches, tower: Patches) -> Result<(), ZooError> {
    for (field, found, expected) in [
        ("patch_size", own.side, tower.side),
        ("temporal_patch_size", own.frames, tower.frames),
        ("merge_size", own.merge, tower.merge),
    ] {
        if found != expected {
            return Err(ZooError::Value {
                field: format!("{field} of the processor of {what}"),
                found: found.to_string(),
                expected: format!("{expected}, as the tower has it"),
            });
        }
    }
    Ok(())
}

/// One picture or clip on its way to the tower.
struct Entry {
    cut: Cut,
    /// Which picture of the sample.
    image: usize,
    /// For each step in time, its first frame.
    frames: Vec<usize>,
    /// For a clip, the seconds from one step to the next.
    seconds: Option<f64>,
    view: View,
}

impl Entry {
    fn new(cut: Cut, patches: Patches, image: usize, (width, height): (u32, u32)) -> Self {
        let view = View {
            image,
            rows: extents(cut.rows * patches.side, height as usize),
            cols: extents(cut.cols * patches.side, width as usize),
        };
        Self { frames: vec![0; cut.frames], cut, image, seconds: None, view }
    }

    fn grid(&self) -> Grid {
        let Cut { frames, rows, cols, .. } = self.cut;
        Grid { frames, rows, cols, seconds: self.seconds }
    }

    /// One label for each patch, in the order of the tower.
    fn patches(&self, patches: Patches) -> Vec<PatchLabel> {
        let (merge, across) = (patches.merge, self.cut.cols / patches.merge);
        let mut labels = self.grid_of(Patches { merge: 1, ..patches });
        for step in labels.chunks_mut((self.cut.rows * self.cut.cols).max(1)) {
            step.sort_by_key(|p| (p.row / merge * across + p.col / merge, p.row, p.col));
        }
        labels
    }

    /// One label for each position: step by step, row by row.
    fn places(&self, patches: Patches) -> Vec<PatchLabel> {
        self.grid_of(patches)
    }

    /// One label for each group of merged patches: step by step, row by row.
    fn grid_of(&self, patches: Patches) -> Vec<PatchLabel> {
        let extents = |spans: &[[f32; 2]]| joined(spans, patches.factor());
        let (rows, cols, image) = (extents(&self.view.rows), extents(&self.view.cols), self.image);
        let mut places = Vec::with_capacity(self.frames.len() * rows.len() * cols.len());
        for frame in &self.frames {
            for (row, [y0, y1]) in rows.iter().enumerate() {
                places.extend(cols.iter().enumerate().map(|(col, [x0, x1])| PatchLabel {
                    image,
                    tile: 0,
                    frame: *frame,
                    row,
                    col,
                    bbox: [*x0, *y0, *x1, *y1],
                }));
            }
        }
        places
    }
}

impl Eyes for QwenEyes {
    fn picture(&self) -> Option<&Placeholder> {
        Some(&self.picture)
    }

    fn clip(&self) -> Option<&Placeholder> {
        Some(&self.clip)
    }

    /// All pictures, then all clips.
    fn look(&self, sample: &Sample, device: &Device) -> Result<Seen, ZooError> {
        let refused = |name: &str| {
            let name = name.to_owned();
            move |error: ProcessorError| ZooError::Picture { name, error }
        };
        let patches = self.pictures.patches;
        let mut seen = Seen::default();
        let mut entries = Vec::with_capacity(sample.pictures.len() + sample.clips.len());
        for picture in &sample.pictures {
            let cut = self.pictures.picture(&picture.image).map_err(refused(&picture.name))?;
            let size = (picture.image.width(), picture.image.height());
            let entry = Entry::new(cut, patches, entries.len(), size);
            let colour = self.pictures.colour([picture.image.as_ref()], Library::Pillow);
            seen.means.push(colour.map_err(refused(&picture.name))?.to_vec());
            seen.pictures.push(self.expand_picture(entry.places(patches)));
            entries.push(entry);
        }
        for clip in &sample.clips {
            let mut film = self.clips.film(clip).map_err(refused(&clip.name))?;
            let size = clip.frames.first().map_or((0, 0), |frame| (frame.width(), frame.height()));
            let cut =
                std::mem::replace(&mut film.cut, Cut { values: Vec::new(), frames: 0, rows: 0, cols: 0 });
            let mut entry = Entry::new(cut, patches, entries.len(), size);
            entry.frames = film.taken.iter().step_by(patches.frames).copied().collect();
            entry.seconds = Some(film.seconds);
            let frames = clip.frames.iter().map(AsRef::as_ref);
            let colour = self.clips.shared.colour(frames, Library::Torch).map_err(refused(&clip.name))?;
            seen.means.push(colour.to_vec());
            seen.clips.push(self.expand_clip(&film, entry.places(patches)));
            entries.push(entry);
        }
        seen.images = (0..entries.len()).collect();
        seen.grids = entries.iter().map(Entry::grid).collect();
        seen.patches = entries.iter().flat_map(|entry| entry.patches(patches)).collect();
        seen.views = entries.iter().map(|entry| entry.view.clone()).collect();
        if !entries.is_empty() {
            let width = 3 * patches.frames * patches.side * patches.side;
            let mut values = Vec::new();
            for entry in entries {
                values.extend(entry.cut.values);
            }
            let shape = [values.len() / width, width];
            seen.pixels =
                Some(AnyTensor::new(Tensor::<2>::from_data(TensorData::new(values, shape), device)));
        }
        Ok(seen)
    }
}
