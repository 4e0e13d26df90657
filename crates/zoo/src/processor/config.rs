//! What the configuration of an image processor says, checked once.
//!
//! A field that is absent has the default of its processor's kind, and so has one that is null, except that a step that is
//! null is not taken. A field that is not known is refused, unless it
//! is null, or `false`, or known to change no number.

use std::path::Path;

use mmlens_files::Fields as Object;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::MOST_PROCESSED;
use super::error::ProcessorError;
use super::resample::Filter;
use super::size::Size;
use crate::checkpoint::read_json_if_there;

/// What is done to a picture, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps {
    pub(super) convert_rgb: bool,
    /// Padding to a square before anything else, with these levels.
    pub(super) square: Option<[u8; 3]>,
    pub(super) resize: Option<(Size, Filter)>,
    /// What `resize` is or would be.
    pub(super) size: (Size, Filter),
    /// Height of the crop, whether or not there is one.
    pub(super) crop_height: Option<usize>,
    /// Height and width of the part in the middle.
    pub(super) crop: Option<(usize, usize)>,
    pub(super) rescale: Option<f64>,
    /// Mean and standard deviation of each channel.
    pub(super) normalize: Option<([f64; 3], [f64; 3])>,
}

/// The defaults of one kind of processor.
struct Kind {
    names: &'static [&'static str],
    size: Size,
    resample: Filter,
    /// The size of the crop, if there is one by default.
    crop: Option<usize>,
    convert_rgb: bool,
    /// Whether one number as `size` means a square rather than the shorter edge.
    square: bool,
    /// Whether `do_pad` means padding to a square.
    pads_to_square: bool,
    mean: [f64; 3],
    std: [f64; 3],
}

const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
const HALVES: [f64; 3] = [0.5; 3];
const FULL: Size = Size::Exactly { height: 224, width: 224 };

/// The processors of Idefics3 and SmolVLM.
const TILED: &[&str] = &[
    "Idefics3ImageProcessor",
    "Idefics3ImageProcessorFast",
    "Idefics3ImageProcessorPil",
    "SmolVLMImageProcessor",
    "SmolVLMImageProcessorFast",
    "SmolVLMImageProcessorPil",
];

const KINDS: &[Kind] = &[
    Kind {
        names: &[
            "CLIPImageProcessor",
            "CLIPImageProcessorFast",
            "CLIPImageProcessorPil",
            "LlavaNextImageProcessor",
            "LlavaNextImageProcessorFast",
            "LlavaNextImageProcessorPil",
        ],
        size: Size::ShortestEdge(224),
        resample: Filter::Bicubic,
        crop: Some(224),
        convert_rgb: true,
        square: false,
        pads_to_square: false,
        mean: CLIP_MEAN,
        std: CLIP_STD,
    },
    Kind {
        names: &["LlavaImageProcessor", "LlavaImageProcessorFast", "LlavaImageProcessorPil"],
        size: Size::ShortestEdge(224),
        resample: Filter::Bicubic,
        crop: Some(224),
        convert_rgb: true,
        square: false,
        pads_to_square: true,
        mean: CLIP_MEAN,
        std: CLIP_STD,
    },
    Kind {
        names: &["SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil"],
        size: FULL,
        resample: Filter::Bicubic,
        crop: None,
        convert_rgb: true,
        square: false,
        pads_to_square: false,
        mean: HALVES,
        std: HALVES,
    },
    // The sizes are the business of whoever cuts pictures into tiles.
    Kind {
        names: TILED,
        size: FULL,
        resample: Filter::Lanczos,
        crop: None,
        convert_rgb: true,
        square: true,
        pads_to_square: false,
        mean: HALVES,
        std: HALVES,
    },
    Kind {
        names: &["BlipImageProcessor", "BlipImageProcessorFast", "BlipImageProcessorPil"],
        size: Size::Exactly { height: 384, width: 384 },
        resample: Filter::Bicubic,
        crop: None,
        convert_rgb: true,
        square: true,
        pads_to_square: false,
        mean: CLIP_MEAN,
        std: CLIP_STD,
    },
    Kind {
        names: &["ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil"],
        size: FULL,
        resample: Filter::Bilinear,
        crop: None,
        convert_rgb: false,
        square: true,
        pads_to_square: false,
        mean: HALVES,
        std: HALVES,
    },
];

/// The processors of files that do not name theirs, by the `model_type` of the model's config.
const BY_MODEL: &[(&str, &str)] = &[
    ("clip", "CLIPImageProcessor"),
    ("siglip", "SiglipImageProcessor"),
    ("llava", "LlavaImageProcessor"),
    ("llava_next", "LlavaNextImageProcessor"),
    ("smolvlm", "SmolVLMImageProcessor"),
    ("idefics3", "Idefics3ImageProcessor"),
    ("vit", "ViTImageProcessor"),
    ("blip", "BlipImageProcessor"),
];

/// What of `config.json` says which processor a folder has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Model {
    model_type: Option<String>,
    image_processor_type: Option<String>,
}

/// Names the processor of a folder in its fields, where they do not: by its older name, or by the model's config.
///
/// # Errors
/// A `config.json` that cannot be read.
pub(super) fn name(dir: &Path, fields: &mut Map<String, Value>) -> Result<(), ProcessorError> {
    let named = |field: &str| fields.get(field).is_some_and(|value| !value.is_null());
    if named("image_processor_type") || named("feature_extractor_type") {
        return Ok(());
    }
    let model: Model = read_json_if_there(dir.join("config.json"))?.unwrap_or_default();
    let kind = model.model_type.unwrap_or_default();
    let usual = || BY_MODEL.iter().find(|(own, _)| *own == kind).map(|(_, name)| (*name).to_owned());
    if let Some(name) = model.image_processor_type.or_else(usual) {
        fields.insert("image_processor_type".to_owned(), name.into());
    }
    Ok(())
}

/// Fields that say who wrote the file, or how results are wrapped: no number depends on them.
const HARMLESS: &[&str] = &[
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "auto_map",
    "data_format",
    "input_data_format",
    "return_tensors",
    "device",
    "disable_grouping",
    "image_seq_length",
    "model_input_names",
    "_valid_processor_keys",
    "transformers_version",
    // Only of interest with `do_pad`, which is refused where it would need them.
    "pad_size",
    "size_divisor",
];

impl Steps {
    /// Reads the fields of `image_processor`, or of a whole `preprocessor_config.json`.
    pub(super) fn read(file: &Path, fields: &Map<String, Value>) -> Result<Self, ProcessorError> {
        let mut fields = Fields::new(file, fields, &[]);
        let kind = fields.kind()?;
        let convert_rgb = fields.flag("do_convert_rgb", kind.convert_rgb)?;
        let square = fields.flag("default_to_square", kind.square)?;
        let size = fields.size("size", square)?.unwrap_or(kind.size);
        let filter = match fields.number("resample")? {
            None => kind.resample,
            Some(code) => (code.as_u64().and_then(Filter::from_code))
                .ok_or_else(|| fields.complain("resample", "one of Pillow's numbers 0 to 5"))?,
        };
        let resize = fields.flag("do_resize", true)?.then_some((size, filter));
        let crop_size = match fields.size("crop_size", true)? {
            None => kind.crop.map(|side| (side, side)),
            Some(Size::Exactly { height, width }) => Some((height, width)),
            Some(_) => return Err(fields.complain("crop_size", "a number, or `height` and `width`")),
        };
        let crop = match (fields.flag("do_center_crop", kind.crop.is_some())?, crop_size) {
            (false, _) => None,
            (true, None) => return Err(fields.complain("crop_size", "a size, since `do_center_crop` is on")),
            (true, size) => size,
        };
        let factor = fields.number("rescale_factor")?.and_then(Value::as_f64).unwrap_or(1.0 / 255.0);
        let rescale = fields.flag("do_rescale", true)?.then_some(factor);
        let mean = fields.channels("image_mean")?.unwrap_or(kind.mean);
        let std = fields.channels("image_std")?.unwrap_or(kind.std);
        let normalize = fields.flag("do_normalize", true)?.then_some((mean, std));
        if normalize.is_some() && std.contains(&0.0) {
            return Err(fields.complain("image_std", "numbers other than zero"));
        }
        if let Some((field, expected)) = beyond(rescale, normalize) {
            return Err(fields.complain(field, expected));
        }
        let sides = match (crop, resize) {
            (Some(sides), _) => Some(("crop_size", sides)),
            (None, Some((Size::Exactly { height, width }, _))) => Some(("size", (height, width))),
            _ => None,
        };
        let large = |(height, width): (usize, usize)| height.saturating_mul(width) > MOST_PROCESSED;
        if let Some((field, _)) = sides.filter(|(_, sides)| large(*sides)) {
            return Err(fields.complain(field, "16777216 pixels at most"));
        }
        for (needed, field) in [
            (resize.is_some(), "size"),
            (resize.is_some(), "resample"),
            (crop.is_some(), "crop_size"),
            (rescale.is_some(), "rescale_factor"),
            (normalize.is_some(), "image_mean"),
            (normalize.is_some(), "image_std"),
        ] {
            fields.not_null(field, needed)?;
        }
        let pad = fields.flag("do_pad", false)?;
        // Pictures of one size are as large as the largest of them.
        let alike = crop.is_none() && matches!(resize, Some((Size::Exactly { .. }, _)));
        if pad && !kind.pads_to_square && !alike {
            return Err(fields
                .complain("do_pad", "false: padding to the largest picture of a batch is not supported"));
        }
        // Levels are truncated, as Python's `int` does.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a level; others saturate"
        )]
        let square = (pad && kind.pads_to_square).then(|| mean.map(|mean| (mean * 255.0) as u8));
        fields.nothing_else()?;
        let crop_height = crop_size.map(|(height, _)| height);
        let size = (size, filter);
        Ok(Self { convert_rgb, square, resize, size, crop_height, crop, rescale, normalize })
    }
}

/// No level of a picture becomes a number beyond this: pixels, not weights, would be why a model gives no numbers.
const MOST_LEVEL: f64 = 1e6;

/// The field that makes levels too large, and what it should be.
pub(crate) fn beyond(
    rescale: Option<f64>,
    normalize: Option<([f64; 3], [f64; 3])>,
) -> Option<(&'static str, &'static str)> {
    let white = 255.0 * rescale.unwrap_or(1.0);
    let (mean, std) = normalize.unwrap_or(([0.0; 3], [1.0; 3]));
    let large = |value: f64| value.abs() > MOST_LEVEL;
    if large(white) {
        return Some(("rescale_factor", "a number that keeps levels within a million"));
    }
    if mean.iter().any(|mean| large(*mean)) {
        return Some(("image_mean", "numbers within a million"));
    }
    let normalized = |(mean, std): (&f64, &f64)| large(mean / std) || large((white - mean) / std);
    let far = mean.iter().zip(&std).any(normalized);
    far.then_some(("image_std", "numbers that keep levels within a million"))
}

/// The fields of a processor's file.
pub(crate) struct Fields<'a> {
    file: &'a Path,
    object: Object<'a>,
}

impl<'a> Fields<'a> {
    /// Fields of a file, of which some more change no number.
    pub(crate) fn new(file: &'a Path, fields: &'a Map<String, Value>, harmless: &[&'static str]) -> Self {
        Self { file, object: Object::new(fields, &[HARMLESS, harmless].concat()) }
    }

    fn kind(&self) -> Result<&'static Kind, ProcessorError> {
        let fields = ["image_processor_type", "feature_extractor_type"];
        let named = fields.into_iter().find_map(|field| Some((field, self.object.look(field)?)));
        // Feature extractors are what image processors were called before.
        let name = named
            .and_then(|(_, value)| value.as_str())
            .map(|name| name.replace("FeatureExtractor", "ImageProcessor"));
        let kind = name.and_then(|name| KINDS.iter().find(|kind| kind.names.contains(&name.as_str())));
        kind.ok_or_else(|| ProcessorError::Kind {
            file: self.file.to_owned(),
            found: named.map_or_else(|| "not named".to_owned(), |(field, _)| self.object.found(field)),
            known: KINDS.iter().flat_map(|kind| kind.names).copied().collect(),
        })
    }

    /// A field, unless it is absent or null.
    pub(crate) fn get(&mut self, field: &'static str) -> Option<&'a Value> {
        self.object.get(field)
    }

    /// Whether a field is there, and null.
    pub(crate) fn is_null(&self, field: &str) -> bool {
        self.object.is_null(field)
    }

    /// Refuses a field that is null where it is needed: one that is left out has a default, one that is null has not.
    pub(crate) fn not_null(&self, field: &str, needed: bool) -> Result<(), ProcessorError> {
        match needed && self.is_null(field) {
            true => Err(self.complain(field, "to be given, or to be left out for its default")),
            false => Ok(()),
        }
    }

    /// That a field is not what it should be.
    pub(crate) fn complain(&self, field: &str, expected: &'static str) -> ProcessorError {
        let found = self.object.found(field);
        ProcessorError::Field { file: self.file.to_owned(), field: field.to_owned(), found, expected }
    }

    /// Yes or no; null is no.
    pub(crate) fn flag(&mut self, field: &'static str, default: bool) -> Result<bool, ProcessorError> {
        match self.get(field) {
            None => Ok(default && !self.is_null(field)),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.complain(field, "true or false")),
        }
    }

    /// A number.
    pub(crate) fn number(&mut self, field: &'static str) -> Result<Option<&'a Value>, ProcessorError> {
        match self.get(field) {
            Some(value) if !value.is_number() => Err(self.complain(field, "a number")),
            value => Ok(value),
        }
    }

    /// One number for all channels, or one for each.
    pub(crate) fn channels(&mut self, field: &'static str) -> Result<Option<[f64; 3]>, ProcessorError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let each = match value {
            Value::Array(list) => list.iter().map(Value::as_f64).collect::<Option<Vec<_>>>(),
            other => other.as_f64().map(|number| vec![number; 3]),
        };
        let three = each.and_then(|each| <[f64; 3]>::try_from(each).ok());
        three.map(Some).ok_or_else(|| self.complain(field, "a number, or a list of three"))
    }

    fn size(&mut self, field: &'static str, square: bool) -> Result<Option<Size>, ProcessorError> {
        const EXPECTED: &str = "a positive number, [height, width], or one of {height, width}, {shortest_edge}, \
             {shortest_edge, longest_edge}, {max_height, max_width}";
        let Some(value) = self.get(field) else { return Ok(None) };
        let side = |value: &Value| {
            value
                .as_u64()
                .filter(|&side| side > 0)
                .and_then(|side| u32::try_from(side).ok())
                .map(|side| side as usize)
        };
        let size = match value {
            Value::Array(list) => match list.as_slice() {
                [height, width] => {
                    side(height).zip(side(width)).map(|(height, width)| Size::Exactly { height, width })
                }
                _ => None,
            },
            Value::Object(object) => {
                let mut named: Vec<(&str, &Value)> =
                    object.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.as_str(), v)).collect();
                named.sort_by_key(|&(name, _)| name);
                match named.as_slice() {
                    [("height", height), ("width", width)] => {
                        side(height).zip(side(width)).map(|(height, width)| Size::Exactly { height, width })
                    }
                    [("shortest_edge", edge)] => side(edge).map(Size::ShortestEdge),
                    [("longest_edge", longest), ("shortest_edge", shortest)] => side(longest)
                        .zip(side(shortest))
                        .map(|(longest, shortest)| Size::Edges { shortest, longest }),
                    [("max_height", height), ("max_width", width)] => {
                        side(height).zip(side(width)).map(|(height, width)| Size::Within { height, width })
                    }
                    _ => None,
                }
            }
            number => side(number).map(|side| match square {
                true => Size::Exactly { height: side, width: side },
                false => Size::ShortestEdge(side),
            }),
        };
        size.map(Some).ok_or_else(|| self.complain(field, EXPECTED))
    }

    /// Refuses what was not looked at.
    pub(crate) fn nothing_else(&self) -> Result<(), ProcessorError> {
        match self.object.left_over() {
            None => Ok(()),
            Some((field, found)) => {
                let (file, field) = (self.file.to_owned(), field.to_owned());
                Err(ProcessorError::Unsupported { file, field, found })
            }
        }
    }
}
