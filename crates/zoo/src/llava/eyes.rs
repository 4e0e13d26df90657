//! How LLaVA looks at pictures: each through the processor, its patches row by row.

use burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::{AnyTensor, Sample, View};

use super::LlavaModel;
use crate::ZooError;
use crate::processor::{ImageProcessor, Processed};
use crate::vision::TowerConfig;
use crate::vlm::{Expansion, Eyes, Placeholder, Seen};

/// The image processor and the layout of a picture's positions.
#[derive(Debug, Clone)]
pub struct LlavaEyes {
    processor: ImageProcessor,
    placeholder: Placeholder,
    tower: TowerConfig,
    keeps_class: bool,
    positions: usize,
}

impl LlavaEyes {
    /// For a network, whose placeholder is called `text`.
    ///
    /// # Errors
    /// A processor that makes pictures of another size than the tower takes.
    pub fn new(processor: ImageProcessor, model: &LlavaModel, text: String) -> Result<Self, ZooError> {
        let tower = model.vision.config();
        let side = tower.image_size;
        if let Some(size) = processor.output_size()
            && size != (side, side)
        {
            return Err(ZooError::Value {
                field: "crop_size".to_owned(),
                found: format!("{} x {}", size.0, size.1),
                expected: format!("image_size = {side} of the tower"),
            });
        }
        Ok(Self {
            processor,
            placeholder: Placeholder { text, token: model.image_token() },
            tower: tower.clone(),
            keeps_class: model.keeps_class(),
            positions: model.image_tokens(),
        })
    }

    /// The class token where it is kept, then the patches row by row.
    fn expand(&self, view: &View) -> Result<Expansion, ZooError> {
        let mut places = Vec::with_capacity(self.positions);
        if self.keeps_class {
            places.push(None);
        }
        places.extend(self.tower.patches(view)?.into_iter().map(Some));
        // Of a tower without a class token, strategy `default` drops the first patch.
        let surplus = places.len().saturating_sub(self.positions);
        places.drain(..surplus);
        Ok(Expansion { text: self.placeholder.text.repeat(places.len()), places })
    }
}

impl Eyes for LlavaEyes {
    fn picture(&self) -> Option<&Placeholder> {
        Some(&self.placeholder)
    }

    fn look(&self, sample: &Sample, device: &Device) -> Result<Seen, ZooError> {
        let pictures: Vec<Processed> = process(&self.processor, sample)?;
        let view = |(image, p): (usize, &Processed)| View {
            image,
            rows: p.geometry.rows(),
            cols: p.geometry.cols(),
        };
        let views: Vec<View> = pictures.iter().enumerate().map(view).collect();
        Ok(Seen {
            pixels: stack(&pictures, device)?,
            means: means(&self.processor, sample)?,
            pictures: views.iter().map(|view| self.expand(view)).collect::<Result<_, _>>()?,
            images: (0..pictures.len()).collect(),
            views,
            // Whoever is shown clips is told that there is no placeholder for them.
            clips: vec![Expansion::default(); sample.clips.len()],
            ..Seen::default()
        })
    }
}

/// Every picture of a sample, through a processor.
///
/// # Errors
/// A picture that is refused, by its name.
pub(crate) fn process(processor: &ImageProcessor, sample: &Sample) -> Result<Vec<Processed>, ZooError> {
    let one = |p: &mmlens_core::Picture| {
        let refused = |error| ZooError::Picture { name: p.name.clone(), error };
        processor.process(&p.image).map_err(refused)
    };
    sample.pictures.iter().map(one).collect()
}

/// The mean colour of every picture of a sample, as its tower is given it.
///
/// # Errors
/// A picture that is refused, by its name.
pub(crate) fn means(processor: &ImageProcessor, sample: &Sample) -> Result<Vec<Vec<f32>>, ZooError> {
    let one = |p: &mmlens_core::Picture| {
        let refused = |error| ZooError::Picture { name: p.name.clone(), error };
        Ok(processor.colour(&p.image).map_err(refused)?.to_vec())
    };
    sample.pictures.iter().map(one).collect()
}

/// Pictures of one size as one tensor, `[image, channel, height, width]`.
///
/// # Errors
/// Pictures of different sizes.
pub(crate) fn stack(pictures: &[Processed], device: &Device) -> Result<Option<AnyTensor>, ZooError> {
    let Some(first) = pictures.first() else { return Ok(None) };
    let dims = [pictures.len(), 3, first.height, first.width];
    if let Some(other) = pictures.iter().find(|p| (p.height, p.width) != (first.height, first.width)) {
        let found = vec![3, other.height, other.width];
        return Err(ZooError::Pixels { found, expected: dims[1..].to_vec() });
    }
    let values: Vec<f32> = pictures.iter().flat_map(|p| p.pixels.iter().copied()).collect();
    Ok(Some(AnyTensor::new(Tensor::<4>::from_data(TensorData::new(values, dims), device))))
}
