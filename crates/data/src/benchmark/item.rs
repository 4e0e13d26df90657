//! One item of a data set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mmlens_core::{MOST_PICTURE_BYTES, Picture, SubjectError};
use serde_json::Value;

use super::regions::Outline;

/// A picture as a data set names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A file.
    File(PathBuf),
    /// The bytes of a file, as they stand in the data set.
    Bytes {
        /// What it is called.
        name: String,
        /// A whole file: PNG, JPEG, WebP, BMP or GIF.
        bytes: Vec<u8>,
    },
}

impl Shown {
    /// The picture, decoded.
    ///
    /// # Errors
    /// As [`Picture::open`].
    pub fn open(&self) -> Result<Picture, SubjectError> {
        match self {
            Self::File(path) => Picture::open(path),
            Self::Bytes { name, bytes } => Picture::from_bytes(name, bytes),
        }
    }

    /// What it is called: the name of the file.
    #[must_use]
    pub fn name(&self) -> String {
        let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        match self {
            Self::File(path) => last(path).unwrap_or_else(|| path.display().to_string()),
            Self::Bytes { name, .. } => name.clone(),
        }
    }
}

/// The most bytes of a picture that stands in a data set: of a file of its own.
pub(super) const MOST_SHOWN: u64 = MOST_PICTURE_BYTES;

/// A thing that is marked in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Marked {
    /// What it is.
    pub name: String,
    /// Left, top, width and height, in pixels of the picture.
    pub bbox: [f64; 4],
    /// Where it is, if more than the box is known.
    pub outline: Option<Outline>,
    /// Whether it stands for many of its kind (COCO's `iscrowd`).
    pub crowd: bool,
}

/// One item of a data set: what is shown and asked, and what is known of the answer. What a data set does not have is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    /// What it is called in the data set.
    pub id: String,
    /// The pictures, in order.
    pub pictures: Vec<Shown>,
    /// What is asked.
    pub question: Option<String>,
    /// What is said of the picture and is so.
    pub captions: Vec<String>,
    /// What is said of the picture and is not so: as many as captions, or none.
    pub foils: Vec<String>,
    /// Right answers, as people gave them: of VQA ten, which need not agree.
    pub answers: Vec<String>,
    /// Answers to choose from, with the letter that each goes by.
    pub choices: Vec<(String, String)>,
    /// The right answer where there is one: `yes` or `no`, a letter, a class.
    pub label: Option<String>,
    /// The part of the data set that is scored by itself: a task, a kind of question or answer, a phenomenon.
    pub task: Option<String>,
    /// What items share that are not independent: the picture they ask about.
    pub group: String,
    /// What is marked in the picture.
    pub marked: Vec<Marked>,
    /// Width and height of the picture, where the data set says them.
    pub size: Option<[usize; 2]>,
    /// All other fields, as they are.
    pub extra: BTreeMap<String, Value>,
}

impl Item {
    /// The first picture's path within the folder of pictures, or the item's name: what a group is called where the data set has no better.
    pub(super) fn of_picture(mut self, images: &Path) -> Self {
        let within = |shown: &Shown| match shown {
            Shown::File(path) => path.strip_prefix(images).unwrap_or(path).display().to_string(),
            Shown::Bytes { name, .. } => name.clone(),
        };
        if self.group.is_empty() {
            self.group = self.pictures.first().map_or_else(|| self.id.clone(), within);
        }
        self
    }
}
