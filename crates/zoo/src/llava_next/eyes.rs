//! How LLaVA-NeXT looks at pictures: the whole, and tiles of it at the resolution that suits it best.

use std::path::Path;

use burn::tensor::Device;
use image::{DynamicImage, RgbImage, imageops};
use mmlens_core::{Picture, Sample, View};
use serde_json::Value;

use super::anyres::{Pinpoints, fitted, unpadded};
use crate::ZooError;
use crate::llava::stack;
use crate::processor::{Filter, ImageProcessor, Processed, ProcessorError, Size, resized};
use crate::vlm::{Expansion, Eyes, Placeholder, Seen, tile_patch, tile_view};

/// The image processor and the layout of a picture's positions.
#[derive(Debug, Clone)]
pub struct LlavaNextEyes {
    processor: ImageProcessor,
    filter: Filter,
    /// Height and width of the whole picture.
    whole: (usize, usize),
    /// Side of a tile.
    tile: usize,
    pinpoints: Pinpoints,
    placeholder: Placeholder,
    /// Patches along the side of a tile, and pixels along the side of a patch.
    grid: usize,
    patch: usize,
}

impl LlavaNextEyes {
    /// Reads the processor in a folder, for a tower of so many patches along the side and pixels along theirs.
    ///
    /// # Errors
    /// A field that is not supported, or does not fit the tower or the resolutions of the network.
    pub fn read(
        folder: &Path,
        pinpoints: &Pinpoints,
        placeholder: Placeholder,
        (grid, patch, side): (usize, usize, usize),
    ) -> Result<Self, ZooError> {
        let (file, mut fields) = ImageProcessor::fields_in(folder)?;
        // Tiles are padded in number, over a batch: nothing that the tower sees.
        fields.remove("do_pad");
        // The hub's first files name what the class does anyway.
        if fields.get("aspect_ratio_setting").is_some_and(|how| how == "anyres") {
            fields.remove("aspect_ratio_setting");
        }
        if let Some(given) = fields.remove("image_grid_pinpoints") {
            let given =
                read_pinpoints("image_grid_pinpoints", &given).map_err(|error| error.within(&file))?;
            if given != *pinpoints {
                let error = ZooError::Value {
                    field: "image_grid_pinpoints".to_owned(),
                    found: format!("{:?}", given.0),
                    expected: format!("those of config.json, {:?}", pinpoints.0),
                };
                return Err(error.within(&file));
            }
        }
        let processor = ImageProcessor::read(&file, &fields)?;
        let (size, filter) = processor.resizing();
        let whole = match size {
            Size::Exactly { height, width } => (height, width),
            Size::ShortestEdge(edge) => (edge, edge),
            other => {
                let error = ZooError::Unsupported {
                    field: "size".to_owned(),
                    found: format!("{other:?}"),
                    supported: "height and width, shortest_edge".to_owned(),
                };
                return Err(error.within(&file));
            }
        };
        let tile = processor.crop_height().unwrap_or(whole.0);
        if tile != side {
            let error = ZooError::Value {
                field: "crop_size".to_owned(),
                found: tile.to_string(),
                expected: format!("image_size = {side} of the tower"),
            };
            return Err(error.within(&file));
        }
        Ok(Self { processor, filter, whole, tile, pinpoints: pinpoints.clone(), placeholder, grid, patch })
    }

    fn tiles(&self, image: usize, picture: &Picture) -> Result<(Vec<Processed>, Vec<View>), ProcessorError> {
        let rgb = DynamicImage::ImageRgb8(self.processor.rgb(&picture.image)?);
        let (height, width) = (rgb.height() as usize, rgb.width() as usize);
        let (to_height, to_width) = self.pinpoints.best((height, width));
        let (new_height, new_width) = fitted((height, width), (to_height, to_width));
        let (top, left) = ((to_height - new_height) / 2, (to_width - new_width) / 2);
        let mut canvas = RgbImage::new(to_width as u32, to_height as u32);
        let inner = resized(&rgb, (new_height, new_width), self.filter)?;
        imageops::replace(&mut canvas, &inner, left as i64, top as i64);

        let whole = resized(&rgb, self.whole, self.filter)?;
        let mut tiles = vec![self.processor.process(&whole.into())?];
        let scale = |of: (usize, usize)| (height as f64 / of.0 as f64, width as f64 / of.1 as f64);
        let first = &tiles[0];
        let mut views = vec![tile_view(image, first, (0, 0), (0, 0), scale(self.whole), (height, width))];
        for y in (0..to_height).step_by(self.tile) {
            for x in (0..to_width).step_by(self.tile) {
                let (h, w) = (self.tile.min(to_height - y), self.tile.min(to_width - x));
                let cut = imageops::crop_imm(&canvas, x as u32, y as u32, w as u32, h as u32).to_image();
                let tile = self.processor.process(&cut.into())?;
                let scale = scale((new_height, new_width));
                views.push(tile_view(image, &tile, (y, x), (top, left), scale, (height, width)));
                tiles.push(tile);
            }
        }
        Ok((tiles, views))
    }

    /// The whole picture's patches, then those of the tiles that are no padding, row by row, each row with its end.
    fn expand(&self, views: &[View], size: (usize, usize)) -> Expansion {
        let (to_height, to_width) = self.pinpoints.best(size);
        let across = to_width / self.tile;
        let label =
            |tile: usize, row: usize, col: usize| tile_patch(views.get(tile)?, tile, row, col, self.patch);
        let g = self.grid;
        let mut places: Vec<_> = (0..g * g).map(|i| label(0, i / g, i % g)).collect();
        let (rows, cols) = unpadded(size, (to_height / self.tile * g, across * g));
        for row in rows {
            for col in cols.clone() {
                places.push(label(1 + row / g * across + col / g, row % g, col % g));
            }
            places.push(None);
        }
        Expansion { text: self.placeholder.text.repeat(places.len()), places }
    }
}

impl Eyes for LlavaNextEyes {
    fn picture(&self) -> Option<&Placeholder> {
        Some(&self.placeholder)
    }

    fn look(&self, sample: &Sample, device: &Device) -> Result<Seen, ZooError> {
        let mut seen = Seen { clips: vec![Expansion::default(); sample.clips.len()], ..Seen::default() };
        let mut all = Vec::new();
        for (image, picture) in sample.pictures.iter().enumerate() {
            let refused = |error| ZooError::Picture { name: picture.name.clone(), error };
            let (tiles, views) = self.tiles(image, picture).map_err(refused)?;
            let size = (picture.image.height() as usize, picture.image.width() as usize);
            seen.pictures.push(self.expand(&views, size));
            let colour = self.processor.colour(&picture.image).map_err(refused)?;
            seen.means.extend(std::iter::repeat_n(colour.to_vec(), tiles.len()));
            all.extend(tiles);
            seen.views.extend(views);
        }
        seen.images = (0..all.len()).collect();
        seen.pixels = stack(&all, device)?;
        Ok(seen)
    }
}

/// Pairs of height and width.
pub(super) fn read_pinpoints(field: &str, value: &Value) -> Result<Pinpoints, ZooError> {
    let pairs: Result<Vec<(usize, usize)>, _> = serde_json::from_value(value.clone());
    match pairs {
        Ok(pairs)
            if !pairs.is_empty()
                && pairs.iter().all(|(h, w)| (1..=8192).contains(h) && (1..=8192).contains(w)) =>
        {
            Ok(Pinpoints(pairs))
        }
        _ => Err(ZooError::Value {
            field: field.to_owned(),
            found: value.to_string(),
            expected: "pairs of height and width, each 1 to 8192".to_owned(),
        }),
    }
}
