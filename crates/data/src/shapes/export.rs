//! Scenes as files, for programs in other languages.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageError, ImageFormat};
use mmlens_files::{Target, WriteError, write};
use serde::{Deserialize, Serialize};

use super::question::Question;
use super::scene::{Object, SIDE, Scene};
use super::vocabulary::{Colour, Shape, Size};
use super::world::{Sample, Split, World, progress_bar};

/// What can go wrong with files of scenes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A folder could not be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A picture could not be encoded.
    #[error("cannot encode the picture {}: {source}", path.display())]
    Picture {
        /// The picture.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// The folder holds other scenes.
    #[error("{}, line {line}: another scene than the one to be written; export into a folder of its own", path.display())]
    Another {
        /// The file of records.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file of records could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the file of records is not a record.
    #[error("{}, line {line}: not a record of a scene: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: mmlens_files::JsonError,
    },
}

/// The most bytes of a file of records: a hundred thousand scenes have some 300 MB.
const MOST_RECORDS: u64 = 1 << 32;

/// One line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The index of the scene in its split.
    pub id: u64,
    /// The split.
    pub split: Split,
    /// The seed of the world.
    pub seed: u64,
    /// The picture, relative to the folder of the file.
    pub image: String,
    /// The label image, relative to the folder of the file: 0 for the ground, the object's index + 1
    /// elsewhere.
    pub mask: String,
    /// The description.
    pub description: String,
    /// The objects, in the order of the labels.
    pub objects: Vec<ObjectRecord>,
    /// Questions, one of every kind the scene allows.
    pub questions: Vec<Question>,
}

/// An object in a [`Record`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// The outline.
    pub shape: Shape,
    /// The name of the colour.
    pub colour: Colour,
    /// The name of the size.
    pub size: Size,
    /// The centre in pixels, x then y.
    pub centre: (f32, f32),
    /// Half the side of the square that the outline fills, in pixels.
    pub radius: f32,
    /// The exact colour.
    pub rgb: [u8; 3],
    /// The box of the visible pixels: x0, y0, x1, y1, the last two exclusive.
    pub bbox: [u32; 4],
    /// The number of visible pixels.
    pub pixels: u32,
    /// The part of the object's area that later objects hide.
    pub hidden: f32,
}

/// Writes the first `count` scenes of a split into a folder, which is made if need be: `images/000000.png`,
/// `masks/000000.png` and so on, and last `samples.jsonl` with one [`Record`] a line. Each file is written whole
/// or not at all ([`Target`]). If there are records already, they must be of the same scenes: each split and
/// each world needs a folder of its own. Shows a progress bar on standard error if that is a terminal.
///
/// # Errors
/// [`ExportError::Folder`] or [`ExportError::Write`] with the path that could not be written;
/// [`ExportError::Another`], before a picture is replaced, and what [`read_records`] says of records that are
/// there.
pub fn export(world: &World, split: Split, count: u64, folder: &Path) -> Result<(), ExportError> {
    for path in [folder.join("images"), folder.join("masks")] {
        std::fs::create_dir_all(&path).map_err(|source| ExportError::Folder { path, source })?;
    }
    let path = folder.join("samples.jsonl");
    let before = if path.exists() { read_records(folder)? } else { Vec::new() };
    let bar = progress_bar(&format!("writing {split} scenes"), count);
    let mut refused = Ok(());
    let written = Target::new(&path)?.write(|lines| {
        for (index, sample) in world.samples(split, 0..count).enumerate() {
            let record = Record::of(&sample);
            if before.get(index).is_some_and(|known| *known != record) {
                refused = Err(ExportError::Another { path: path.clone(), line: index + 1 });
            } else {
                refused = record.draw(&sample.scene, folder);
            }
            if refused.is_err() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            serde_json::to_writer(&mut *lines, &record)?;
            lines.write_all(b"\n")?;
            bar.inc(1);
        }
        Ok(())
    });
    bar.finish_and_clear();
    refused?;
    Ok(written?)
}

/// Reads the records of an exported folder.
///
/// # Errors
/// [`ExportError::Records`] if `samples.jsonl` cannot be read, [`ExportError::Malformed`] with the number of
/// the first line that is not a record.
pub fn read_records(folder: &Path) -> Result<Vec<Record>, ExportError> {
    let path = folder.join("samples.jsonl");
    let failed = |source| ExportError::Records { path: path.clone(), source };
    let text = mmlens_files::read_text(&path, MOST_RECORDS).map_err(failed)?;
    let lines = text.lines().enumerate().map(|(index, line)| {
        mmlens_files::parse_json(line.as_bytes()).map_err(|source| ExportError::Malformed {
            path: path.clone(),
            line: index + 1,
            source,
        })
    });
    lines.collect()
}

impl Record {
    /// What is true of a scene, and questions about it; the pictures lie in these files beside it.
    pub fn new(scene: &Scene, questions: Vec<Question>, image: String, mask: String) -> Self {
        let object = |object: &Object| ObjectRecord {
            shape: object.shape,
            colour: object.colour,
            size: object.size,
            centre: object.centre,
            radius: object.radius,
            rgb: object.rgb,
            bbox: object.bbox,
            pixels: object.mask.count(),
            hidden: object.hidden,
        };
        Self {
            id: scene.id,
            split: scene.split,
            seed: scene.seed,
            image,
            mask,
            description: scene.description(),
            objects: scene.objects.iter().map(object).collect(),
            questions,
        }
    }

    /// Writes its pictures.
    fn draw(&self, scene: &Scene, folder: &Path) -> Result<(), ExportError> {
        for (name, png) in [(&self.image, scene.png()), (&self.mask, scene.labels_png())] {
            let path = folder.join(name);
            let png = png.map_err(|source| ExportError::Picture { path: path.clone(), source })?;
            write(&path, png)?;
        }
        Ok(())
    }

    /// What is true of a sample.
    fn of(Sample { scene, questions }: &Sample) -> Self {
        let [image, mask] = ["images", "masks"].map(|folder| format!("{folder}/{:06}.png", scene.id));
        Self::new(scene, questions.clone(), image, mask)
    }
}

impl Scene {
    /// All masks in one picture: 0 for the ground, the object's index + 1 elsewhere.
    pub fn labels(&self) -> GrayImage {
        let mut labels = GrayImage::new(SIDE as u32, SIDE as u32);
        for (label, object) in (1..=u8::MAX).zip(&self.objects) {
            for (x, y) in object.mask.pixels() {
                labels.put_pixel(x, y, image::Luma([label]));
            }
        }
        labels
    }

    /// The picture as the bytes of a PNG.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn png(&self) -> Result<Vec<u8>, ImageError> {
        encoded(self.render().into())
    }

    /// All masks as the bytes of a PNG: see [`Scene::labels`].
    ///
    /// # Errors
    /// What the encoder says.
    pub fn labels_png(&self) -> Result<Vec<u8>, ImageError> {
        encoded(self.labels().into())
    }
}

fn encoded(picture: DynamicImage) -> Result<Vec<u8>, ImageError> {
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}
