//! What is asked of a model: pictures and words.

use std::path::Path;
use std::sync::Arc;

use image::DynamicImage;

use crate::{Clip, SubjectError};

/// A picture with its name.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What it is called in findings and reports.
    pub name: String,
    /// The pixels, as decoded and turned upright.
    pub image: Arc<DynamicImage>,
}

impl Picture {
    /// A picture from memory.
    pub fn new(name: impl Into<String>, image: impl Into<DynamicImage>) -> Self {
        Self { name: name.into(), image: Arc::new(image.into()) }
    }

    /// A picture from a file (PNG, JPEG, WebP, BMP, GIF), turned upright by its EXIF orientation.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] if the file cannot be read or decoded.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SubjectError> {
        use image::ImageDecoder;
        let path = path.as_ref();
        let fail = |reason: String| SubjectError::Picture { path: path.display().to_string(), reason };
        let reader = image::ImageReader::open(path).map_err(|e| fail(e.to_string()))?;
        let reader = reader.with_guessed_format().map_err(|e| fail(e.to_string()))?;
        let mut decoder = reader.into_decoder().map_err(|e| fail(e.to_string()))?;
        let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder).map_err(|e| fail(e.to_string()))?;
        image.apply_orientation(orientation);
        if image.width() == 0 || image.height() == 0 {
            return Err(fail("the picture has no pixels".to_owned()));
        }
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        Ok(Self::new(name, image))
    }
}

/// The words of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// A question, put through the checkpoint's chat template with a generation prompt; pictures come first, then clips.
    Ask(String),
    /// Text taken as it is, with image placeholders as the checkpoint's processor writes them before expansion.
    Prompt(String),
    /// Captions of a dual encoder.
    Texts(Vec<String>),
    /// None: a classifier of pictures needs no words.
    Nothing,
}

/// One input: pictures and words.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The pictures, in the order of their placeholders.
    pub pictures: Vec<Picture>,
    /// The clips, in the order of their placeholders.
    pub clips: Vec<Clip>,
    /// The words.
    pub words: Words,
}

impl Sample {
    /// Pictures and words.
    pub fn new(pictures: Vec<Picture>, words: Words) -> Self {
        Self { pictures, clips: Vec::new(), words }
    }

    /// With clips.
    #[must_use]
    pub fn with_clips(mut self, clips: Vec<Clip>) -> Self {
        self.clips = clips;
        self
    }

    /// A question about one picture.
    pub fn ask(picture: Picture, question: impl Into<String>) -> Self {
        Self::new(vec![picture], Words::Ask(question.into()))
    }

    /// A raw prompt about any number of pictures.
    pub fn prompt(pictures: Vec<Picture>, prompt: impl Into<String>) -> Self {
        Self::new(pictures, Words::Prompt(prompt.into()))
    }
}
