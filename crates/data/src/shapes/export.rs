//! Scenes as files, for programs in other languages.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageError, ImageFormat};
use mmlens_files::write;
use serde::{Deserialize, Serialize};

use super::question::Question;
use super::scene::{Object, SIDE, Scene};
use super::vocabulary::{Colour, Shape, Size};
use super::world::{Sample, World};
use crate::drawn::Split;
use crate::exported::{self, ExportError};

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
/// or not at all ([`mmlens_files::Target`]). If there are records already, they must be of the same scenes: each split and
/// each world needs a folder of its own. Shows a progress bar on standard error if that is a terminal.
///
/// # Errors
/// [`ExportError::Folder`] or [`ExportError::Write`] with the path that could not be written;
/// [`ExportError::Another`], before a picture is replaced, and what [`read_records`] says of records that are
/// there.
pub fn export(world: &World, split: Split, count: u64, folder: &Path) -> Result<(), ExportError> {
    let samples = world.samples(split, 0..count);
    let beside = |sample: &Sample, record: &Record| record.draw(&sample.scene, folder);
    let what = format!("writing {split} scenes");
    exported::write_records((folder, &["images", "masks"]), &what, samples, Record::of, beside)
}

/// Reads the records of an exported folder.
///
/// # Errors
/// [`ExportError::Records`] if `samples.jsonl` cannot be read, [`ExportError::Malformed`] with the number of
/// the first line that is not a record.
pub fn read_records(folder: &Path) -> Result<Vec<Record>, ExportError> {
    exported::read_records(folder)
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
