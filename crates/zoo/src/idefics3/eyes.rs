//! How Idefics3 looks at pictures: tiles of one size, and the whole after them.

use std::path::Path;

use burn::tensor::Device;
use image::{RgbImage, imageops};
use mmlens_core::{Picture, Sample, View};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::tiles::{First, tiled};
use crate::ZooError;
use crate::checkpoint::read_json_if_there;
use crate::llava::stack;
use crate::processor::{Filter, ImageProcessor, Processed, ProcessorError, resized};
use crate::text::SpecialTokens;
use crate::vlm::{Expansion, Eyes, Placeholder, Seen, tile_patch, tile_view};

/// What stands around a picture's positions.
const FAKE: &str = "<fake_token_around_image>";
const GLOBAL: &str = "<global-img>";

/// More tiles than this no picture has: at the usual sizes there are at most 144.
const MOST: usize = 256;

/// The processor's sizes where its files name none.
const LONGEST: usize = 4 * 364;
const TILE: usize = 364;
const LENGTH: usize = 169;

/// What cuts pictures into tiles and writes the text around them.
#[derive(Debug, Clone)]
pub struct Idefics3Eyes {
    processor: ImageProcessor,
    filter: Filter,
    first: Option<First>,
    split: bool,
    /// Side of a tile.
    tile: usize,
    /// Positions along the side of a tile, and pixels along the side of each.
    grid: usize,
    side: usize,
    placeholder: Placeholder,
}

/// A picture in tiles, the whole last.
struct Tiles {
    tiles: Vec<Processed>,
    views: Vec<View>,
    /// Rows and columns, without the whole.
    count: (usize, usize),
}

#[derive(Deserialize)]
struct Written {
    image_seq_len: Option<usize>,
}

/// A processor's files: how pictures are cut, and what is left to say about each tile.
pub struct Cut {
    first: Option<First>,
    split: bool,
    /// Side of a tile.
    pub tile: usize,
    file: std::path::PathBuf,
    fields: Map<String, Value>,
}

impl Cut {
    /// Reads the processor in a folder.
    ///
    /// # Errors
    /// A file that is missing or broken, a size that cannot be.
    pub fn read(folder: &Path) -> Result<Self, ZooError> {
        let (file, mut fields) = ImageProcessor::fields_in(folder)?;
        let wrong = |field: &str, found: &Value, expected: &str| {
            let (found, expected) = (found.to_string(), expected.to_owned());
            ZooError::Value { field: field.to_owned(), found, expected }.within(&file)
        };
        let mut flag = |name: &str| match fields.remove(name) {
            None => Ok(true),
            Some(Value::Bool(given)) => Ok(given),
            Some(Value::Null) => Ok(false),
            Some(other) => Err(wrong(name, &other, "true or false")),
        };
        let (resize, split) = (flag("do_resize")?, flag("do_image_splitting")?);
        let side = |value: &Value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=8192).contains(n))
        };
        let tile = match fields.remove("max_image_size") {
            None => TILE,
            Some(size) => size
                .get("longest_edge")
                .and_then(side)
                .ok_or_else(|| wrong("max_image_size", &size, "a longest_edge of 1 to 8192"))?,
        };
        let first = match fields.remove("size") {
            None => First::Longest(LONGEST),
            Some(size) => {
                let at = |name: &str| size.get(name).and_then(side);
                match (at("longest_edge"), at("height"), at("width")) {
                    (Some(edge), ..) => First::Longest(edge),
                    (None, Some(height), Some(width)) => First::Exactly(height, width),
                    _ => {
                        return Err(wrong(
                            "size",
                            &size,
                            "a longest_edge, or height and width, of 1 to 8192",
                        ));
                    }
                }
            }
        };
        if let Some(null) = fields.get("do_pad").filter(|value| value.is_null()) {
            return Err(wrong("do_pad", null, "true or false"));
        }
        // Tiles are padded in number, over a batch, and frames of clips are chosen: nothing that a picture's tiles show.
        for idle in ["do_pad", "return_row_col_info", "video_sampling"] {
            fields.remove(idle);
        }
        fields.insert("size".to_owned(), json!({"height": tile, "width": tile}));
        Ok(Self { first: resize.then_some(first), split, tile, file, fields })
    }
}

impl Idefics3Eyes {
    /// For a tower of so many positions along the side of a tile, of so many pixels each.
    ///
    /// # Errors
    /// A field that is not supported, or a number of positions that is not the network's.
    pub fn new(
        folder: &Path,
        cut: &Cut,
        placeholder: Placeholder,
        (grid, side): (usize, usize),
    ) -> Result<Self, ZooError> {
        let roles = SpecialTokens::from_dir(folder)?;
        for (role, ours) in [("fake_image_token", FAKE), ("global_image_token", GLOBAL)] {
            if let Some(found) = roles.get(role).filter(|found| *found != ours) {
                let (field, found) = (role.to_owned(), found.to_owned());
                let error = ZooError::Unsupported { field, found, supported: ours.to_owned() };
                return Err(error.within(&folder.join("tokenizer_config.json")));
            }
        }
        let file = folder.join("processor_config.json");
        let written: Option<Written> = read_json_if_there(&file)?;
        let length = written.and_then(|w| w.image_seq_len).unwrap_or(LENGTH);
        if length != grid * grid {
            let error = ZooError::Value {
                field: "image_seq_len".to_owned(),
                found: length.to_string(),
                expected: format!("the {} positions that the connector makes of a tile", grid * grid),
            };
            return Err(error.within(&file));
        }
        let processor = ImageProcessor::read(&cut.file, &cut.fields)?;
        let (_, filter) = processor.resizing();
        let Cut { first, split, tile, .. } = *cut;
        Ok(Self { processor, filter, first, split, tile, grid, side, placeholder })
    }

    /// Tiles row by row, then the whole; and how many rows and columns of them there are.
    fn cut(&self, image: usize, picture: &Picture) -> Result<Tiles, ProcessorError> {
        let mut canvas = self.processor.rgb(&picture.image)?;
        let (height, width) = (canvas.height() as usize, canvas.width() as usize);
        if let Some(first) = self.first {
            canvas = resized(&canvas.into(), first.of((height, width)), self.filter)?;
        }
        if self.split {
            let size = tiled((canvas.height() as usize, canvas.width() as usize), self.tile);
            if size.0 == 0 || size.1 == 0 {
                return Err(ProcessorError::Empty { width: size.1, height: size.0 });
            }
            let count = size.0 / self.tile * (size.1 / self.tile);
            if count > MOST {
                return Err(ProcessorError::Tiles { width, height, tiles: count, limit: MOST });
            }
            canvas = resized(&canvas.into(), size, self.filter)?;
        }
        let (high, wide) = (canvas.height() as usize, canvas.width() as usize);
        let scale = |of: (usize, usize)| (height as f64 / of.0 as f64, width as f64 / of.1 as f64);
        let (mut tiles, mut views) = (Vec::new(), Vec::new());
        let mut count = (0, 0);
        if self.split && (high > self.tile || wide > self.tile) {
            count = (high / self.tile, wide / self.tile);
            let side = self.tile as u32;
            for (y, x) in (0..count.0).flat_map(|y| (0..count.1).map(move |x| (y * self.tile, x * self.tile)))
            {
                let part: RgbImage = imageops::crop_imm(&canvas, x as u32, y as u32, side, side).to_image();
                let part = self.processor.process(&part.into())?;
                views.push(tile_view(image, &part, (y, x), (0, 0), scale((high, wide)), (height, width)));
                tiles.push(part);
            }
        }
        let whole = match (high, wide) == (self.tile, self.tile) {
            true => canvas,
            false => resized(&canvas.into(), (self.tile, self.tile), self.filter)?,
        };
        let whole = self.processor.process(&whole.into())?;
        let scale = scale((self.tile, self.tile));
        views.push(tile_view(image, &whole, (0, 0), (0, 0), scale, (height, width)));
        tiles.push(whole);
        Ok(Tiles { tiles, views, count })
    }

    fn expand(&self, views: &[View], (rows, cols): (usize, usize)) -> Expansion {
        let positions = self.placeholder.text.repeat(self.grid * self.grid);
        let mut text = String::new();
        for row in 1..=rows {
            for col in 1..=cols {
                text += &format!("{FAKE}<row_{row}_col_{col}>{positions}");
            }
            text.push('\n');
        }
        if rows > 0 {
            text.push('\n');
        }
        text += &format!("{FAKE}{GLOBAL}{positions}{FAKE}");
        let g = self.grid;
        let of_tile = |(tile, view)| (0..g * g).map(move |i| tile_patch(view, tile, i / g, i % g, self.side));
        Expansion { text, places: views.iter().enumerate().flat_map(of_tile).collect() }
    }
}

impl Eyes for Idefics3Eyes {
    fn picture(&self) -> Option<&Placeholder> {
        Some(&self.placeholder)
    }

    fn look(&self, sample: &Sample, device: &Device) -> Result<Seen, ZooError> {
        let mut seen = Seen { clips: vec![Expansion::default(); sample.clips.len()], ..Seen::default() };
        let mut all = Vec::new();
        for (image, picture) in sample.pictures.iter().enumerate() {
            let refused = |error| ZooError::Picture { name: picture.name.clone(), error };
            let Tiles { tiles, views, count } = self.cut(image, picture).map_err(refused)?;
            seen.pictures.push(self.expand(&views, count));
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
