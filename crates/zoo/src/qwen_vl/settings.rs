//! What the files of the processors of pictures and clips say, checked once.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::checkpoint::read_json_if_there;
use crate::processor::{Fields, Filter, ImageProcessor, ProcessorError, beyond};

const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// How pixels are cut into patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    /// Side of a patch, in pixels.
    pub side: usize,
    /// Frames of a patch.
    pub frames: usize,
    /// Side of what is merged into one position, in patches.
    pub merge: usize,
}

impl Patches {
    /// Side of what becomes one position, in pixels.
    pub fn factor(self) -> usize {
        self.side * self.merge
    }
}

/// What is done to pictures, or to the frames of clips.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub(super) convert_rgb: bool,
    pub(super) resize: Option<Filter>,
    /// The least and the most pixels of a resized picture (of a clip: of a frame, or of all frames for Qwen3-VL).
    pub(super) pixels: (usize, usize),
    pub(super) rescale: Option<f64>,
    /// Mean and standard deviation of each channel.
    pub(super) normalize: Option<([f64; 3], [f64; 3])>,
    /// How they are cut.
    pub patches: Patches,
}

/// Whose processor of clips it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipKind {
    /// That of Qwen2-VL and Qwen2.5-VL: limits count the pixels of a frame.
    Two,
    /// That of Qwen3-VL: limits count the pixels of all frames.
    Three,
}

/// What is done to clips.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipSettings {
    /// What is done to frames.
    pub shared: Settings,
    pub(super) kind: ClipKind,
    /// Which frames are taken, unless all are.
    pub(super) sampling: Option<Sampling>,
    /// The most tokens that limits are derived from, where `cap_pixels_per_frame` is on.
    pub(super) cap: Option<usize>,
}

/// How frames are chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sampling {
    pub(super) fps: Option<f64>,
    pub(super) count: Option<usize>,
    pub(super) least: usize,
    pub(super) most: usize,
}

/// Fields of Qwen's processors that are written to files and change no number there.
const HARMLESS: &[&str] = &[
    "video_processor_type",
    "default_to_square",
    "do_center_crop",
    "crop_size",
    "do_pad",
    "return_metadata",
    "video_metadata",
    "use_token_compression",
    "max_duration",
    "max_image_size",
];

/// Those of clips, which pictures do not look at.
const OF_CLIPS: &[&str] = &[
    "do_sample_frames",
    "fps",
    "num_frames",
    "min_frames",
    "max_frames",
    "cap_pixels_per_frame",
    "max_video_tokens",
];

struct Defaults {
    pixels: (usize, usize),
    side: usize,
    mean: [f64; 3],
    std: [f64; 3],
}

const PICTURES: Defaults =
    Defaults { pixels: (56 * 56, 28 * 28 * 1280), side: 14, mean: CLIP_MEAN, std: CLIP_STD };

const KINDS: [&str; 3] = ["Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil"];

impl Settings {
    /// Reads the processor of pictures of a Hugging Face folder.
    ///
    /// # Errors
    /// [`ProcessorError`] if there is none, a field is not what it should be, or is not supported.
    pub fn from_dir(folder: &Path) -> Result<Self, ProcessorError> {
        let (file, fields) = ImageProcessor::fields_in(folder)?;
        Self::read(&file, &fields)
    }

    fn read(file: &Path, fields: &Map<String, Value>) -> Result<Self, ProcessorError> {
        named(file, fields, "image_processor_type", &KINDS)?;
        let mut fields = Fields::new(file, fields, &[HARMLESS, OF_CLIPS].concat());
        let settings = Self::shared(&mut fields, &PICTURES, true)?;
        if settings.resize.is_some_and(|filter| filter == Filter::Nearest) {
            return Err(fields.complain("resample", "one of Pillow's numbers 1 to 5"));
        }
        fields.nothing_else()?;
        Ok(settings)
    }

    /// What both processors have. `older`: `min_pixels` and `max_pixels` count.
    fn shared(fields: &mut Fields<'_>, own: &Defaults, older: bool) -> Result<Self, ProcessorError> {
        let filter = match fields.number("resample")? {
            None => Filter::Bicubic,
            Some(code) => (code.as_u64().and_then(Filter::from_code))
                .ok_or_else(|| fields.complain("resample", "one of Pillow's numbers 0 to 5"))?,
        };
        let factor = fields.number("rescale_factor")?.and_then(Value::as_f64).unwrap_or(1.0 / 255.0);
        let (mean, std) = (
            fields.channels("image_mean")?.unwrap_or(own.mean),
            fields.channels("image_std")?.unwrap_or(own.std),
        );
        let normalize = fields.flag("do_normalize", true)?.then_some((mean, std));
        if normalize.is_some() && std.contains(&0.0) {
            return Err(fields.complain("image_std", "numbers other than zero"));
        }
        if factor == 0.0 {
            return Err(fields.complain("rescale_factor", "a number other than zero"));
        }
        let rescale = fields.flag("do_rescale", true)?.then_some(factor);
        let resize = fields.flag("do_resize", true)?.then_some(filter);
        for (needed, field) in [
            (resize.is_some(), "resample"),
            (true, "patch_size"),
            (true, "temporal_patch_size"),
            (true, "merge_size"),
            (rescale.is_some(), "rescale_factor"),
            (normalize.is_some(), "image_mean"),
            (normalize.is_some(), "image_std"),
        ] {
            fields.not_null(field, needed)?;
        }
        if let Some((field, expected)) = beyond(rescale, normalize) {
            return Err(fields.complain(field, expected));
        }
        let pixels = limits(fields, own.pixels, older)?;
        Ok(Self {
            convert_rgb: fields.flag("do_convert_rgb", true)?,
            resize,
            pixels,
            rescale,
            normalize,
            patches: Patches {
                side: count(fields, "patch_size")?.unwrap_or(own.side),
                frames: count(fields, "temporal_patch_size")?.unwrap_or(2),
                merge: count(fields, "merge_size")?.unwrap_or(2),
            },
        })
    }
}

impl ClipSettings {
    /// Reads the processor of clips of a Hugging Face folder: `video_processor` in `processor_config.json`, else
    /// `video_preprocessor_config.json`, else the file of the processor of pictures. `kind` is that of the family, where
    /// the file does not say.
    ///
    /// # Errors
    /// [`ProcessorError`] if there is none, a field is not what it should be, or is not supported.
    pub fn from_dir(folder: &Path, kind: ClipKind) -> Result<Self, ProcessorError> {
        let (file, fields) = clip_fields(folder)?;
        Self::read(&file, &fields, kind)
    }

    pub(super) fn read(
        file: &Path,
        fields: &Map<String, Value>,
        family: ClipKind,
    ) -> Result<Self, ProcessorError> {
        let kind = clip_kind(file, fields, family)?;
        let mut fields = Fields::new(file, fields, HARMLESS);
        let own = match kind {
            ClipKind::Two => {
                Defaults { pixels: (128 * 28 * 28, 28 * 28 * 768), side: 14, mean: CLIP_MEAN, std: CLIP_STD }
            }
            ClipKind::Three => {
                Defaults { pixels: (128 * 32 * 32, 32 * 32 * 768), side: 16, mean: [0.5; 3], std: [0.5; 3] }
            }
        };
        let shared = Settings::shared(&mut fields, &own, kind == ClipKind::Two)?;
        if !matches!(shared.resize, None | Some(Filter::Bilinear | Filter::Bicubic)) {
            return Err(fields.complain("resample", "2 (bilinear) or 3 (bicubic)"));
        }
        let sampling = Sampling {
            fps: rate(&mut fields)?.or((kind == ClipKind::Three && !fields.is_null("fps")).then_some(2.0)),
            count: count(&mut fields, "num_frames")?,
            least: count(&mut fields, "min_frames")?.unwrap_or(4),
            most: count(&mut fields, "max_frames")?.unwrap_or(768),
        };
        let samples = fields.flag("do_sample_frames", kind == ClipKind::Three)?;
        if samples && sampling.fps.is_some() && sampling.count.is_some() {
            return Err(fields.complain("num_frames", "null: frames are taken by `fps`"));
        }
        if samples && kind == ClipKind::Two && sampling.fps.is_none() && sampling.count.is_none() {
            return Err(fields.complain("do_sample_frames", "false, or `fps` or `num_frames` beside it"));
        }
        let tokens = count(&mut fields, "max_video_tokens")?.unwrap_or(match kind {
            ClipKind::Two => 128_000,
            ClipKind::Three => 768,
        });
        let cap = fields.flag("cap_pixels_per_frame", false)?.then_some(tokens);
        fields.nothing_else()?;
        Ok(Self { shared, kind, sampling: samples.then_some(sampling), cap })
    }
}

/// The fields of the processor of clips, and the file they are in.
fn clip_fields(folder: &Path) -> Result<(PathBuf, Map<String, Value>), ProcessorError> {
    let nested = folder.join("processor_config.json");
    if let Some(mut fields) = read_json_if_there::<Map<String, Value>>(&nested)?
        && let Some(fields) = fields.remove("video_processor")
    {
        return match fields {
            Value::Object(fields) => Ok((nested, fields)),
            other => Err(ProcessorError::Field {
                file: nested,
                field: "video_processor".to_owned(),
                found: other.to_string(),
                expected: "an object",
            }),
        };
    }
    for name in ["video_preprocessor_config.json", "preprocessor_config.json"] {
        let file = folder.join(name);
        if let Some(fields) = read_json_if_there(&file)? {
            return Ok((file, fields));
        }
    }
    Err(ProcessorError::NotThere { dir: folder.to_owned() })
}

/// Whose processor it is: by its own name, else by that of the processor of pictures, else by the family.
fn clip_kind(file: &Path, fields: &Map<String, Value>, family: ClipKind) -> Result<ClipKind, ProcessorError> {
    const OWN: [&str; 2] = ["Qwen2VLVideoProcessor", "Qwen3VLVideoProcessor"];
    if let Some(at) = named(file, fields, "video_processor_type", &OWN)? {
        return Ok(if at == 0 { ClipKind::Two } else { ClipKind::Three });
    }
    Ok(match named(file, fields, "image_processor_type", &KINDS)? {
        Some(0) => ClipKind::Two,
        _ => family,
    })
}

/// Which of the known names a field has, if it is there.
fn named(
    file: &Path,
    fields: &Map<String, Value>,
    field: &str,
    known: &[&'static str],
) -> Result<Option<usize>, ProcessorError> {
    let Some(found) = fields.get(field).filter(|value| !value.is_null()) else { return Ok(None) };
    let at = found.as_str().and_then(|found| known.iter().position(|name| *name == found));
    at.map(Some).ok_or_else(|| ProcessorError::Kind {
        file: file.to_owned(),
        found: found.to_string(),
        known: known.to_vec(),
    })
}

/// The least and the most pixels: `size` with `shortest_edge` and `longest_edge`, which hold pixels in spite of their
/// names; the older `min_pixels` and `max_pixels` stand above them.
fn limits(
    fields: &mut Fields<'_>,
    default: (usize, usize),
    older: bool,
) -> Result<(usize, usize), ProcessorError> {
    let (mut least, mut most) = (count(fields, "min_pixels")?, count(fields, "max_pixels")?);
    if !older {
        (least, most) = (None, None);
    }
    let Some(size) = fields.get("size") else {
        return Ok((least.unwrap_or(default.0), most.unwrap_or(default.1)));
    };
    const EXPECTED: &str = "`shortest_edge` and `longest_edge`, the least and the most pixels";
    let object = size.as_object().ok_or_else(|| fields.complain("size", EXPECTED))?;
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let pixels = positive(value);
        match (name.as_str(), pixels) {
            // Repeats what stands above them.
            ("min_pixels", _) if least.is_some() => {}
            ("max_pixels", _) if most.is_some() => {}
            ("shortest_edge", Some(pixels)) => least = least.or(Some(pixels)),
            ("longest_edge", Some(pixels)) => most = most.or(Some(pixels)),
            _ => return Err(fields.complain("size", EXPECTED)),
        }
    }
    least.zip(most).ok_or_else(|| fields.complain("size", EXPECTED))
}

fn positive(value: &Value) -> Option<usize> {
    value.as_u64().filter(|n| *n > 0).and_then(|n| u32::try_from(n).ok()).map(|n| n as usize)
}

/// A whole number above zero.
fn count(fields: &mut Fields<'_>, field: &'static str) -> Result<Option<usize>, ProcessorError> {
    let Some(value) = fields.get(field) else { return Ok(None) };
    positive(value).map(Some).ok_or_else(|| fields.complain(field, "a whole number above zero"))
}

fn rate(fields: &mut Fields<'_>) -> Result<Option<f64>, ProcessorError> {
    let Some(value) = fields.get("fps") else { return Ok(None) };
    let fps = value.as_f64().filter(|fps| fps.is_finite() && *fps > 0.0);
    fps.map(Some).ok_or_else(|| fields.complain("fps", "a number above zero"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pictures(fields: Value) -> Result<Settings, String> {
        Settings::read(Path::new("p.json"), fields.as_object().unwrap()).map_err(|e| e.to_string())
    }

    fn clips(fields: Value, family: ClipKind) -> Result<ClipSettings, String> {
        ClipSettings::read(Path::new("v.json"), fields.as_object().unwrap(), family)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn limits_have_two_spellings() {
        let size = |fields| pictures(fields).map(|s| s.pixels);
        assert_eq!(size(json!({})), Ok((3136, 1_003_520)));
        assert_eq!(size(json!({"size": {"shortest_edge": 64, "longest_edge": 640}})), Ok((64, 640)));
        assert_eq!(size(json!({"min_pixels": 16, "max_pixels": 99})), Ok((16, 99)));
        assert_eq!(size(json!({"max_pixels": 99})), Ok((3136, 99)));
        let both = json!({"min_pixels": 16, "size": {"shortest_edge": 64, "longest_edge": 640}});
        assert_eq!(size(both), Ok((16, 640)));
        let repeated =
            json!({"min_pixels": 16, "max_pixels": 99, "size": {"min_pixels": 16, "max_pixels": 99}});
        assert_eq!(size(repeated), Ok((16, 99)));
        for broken in [
            json!({"shortest_edge": 64}),
            json!({"height": 3, "width": 4}),
            json!({"min_pixels": 3, "max_pixels": 4}),
            json!({"shortest_edge": 0, "longest_edge": 4}),
            json!(224),
        ] {
            let said = size(json!({ "size": broken })).unwrap_err();
            assert!(said.starts_with("p.json: `size` is "), "{said}");
        }
    }

    #[test]
    fn what_changes_numbers_is_refused_by_name() {
        let said = pictures(json!({"do_stretch": true})).unwrap_err();
        assert!(said.contains("`do_stretch` (true) is not supported"), "{said}");
        let said = pictures(json!({"image_processor_type": "CLIPImageProcessor"})).unwrap_err();
        assert!(said.contains("CLIPImageProcessor"), "{said}");
        let said = clips(json!({"resample": 1}), ClipKind::Two).unwrap_err();
        assert!(said.contains("2 (bilinear) or 3 (bicubic)"), "{said}");
        let said = clips(json!({"num_frames": 4}), ClipKind::Three).unwrap_err();
        assert!(said.contains("num_frames"), "{said}");
        let said = clips(json!({"do_sample_frames": true}), ClipKind::Two).unwrap_err();
        assert!(said.contains("do_sample_frames"), "{said}");
        let said = pictures(json!({"image_std": [1.0, 0.0, 1.0]})).unwrap_err();
        assert!(said.contains("image_std"), "{said}");
    }

    #[test]
    fn clips_have_the_kind_of_their_name() {
        let kind = |fields, family| clips(fields, family).map(|s| s.kind);
        assert_eq!(kind(json!({}), ClipKind::Three), Ok(ClipKind::Three));
        let older = json!({"image_processor_type": "Qwen2VLImageProcessor"});
        assert_eq!(kind(older, ClipKind::Three), Ok(ClipKind::Two));
        let fast = json!({"image_processor_type": "Qwen2VLImageProcessorFast"});
        assert_eq!(kind(fast, ClipKind::Three), Ok(ClipKind::Three));
        let own = json!({"video_processor_type": "Qwen3VLVideoProcessor"});
        assert_eq!(kind(own, ClipKind::Two), Ok(ClipKind::Three));
        let three = clips(json!({"min_pixels": 3}), ClipKind::Three).unwrap();
        assert_eq!(three.shared.pixels, (131_072, 786_432));
        assert_eq!(three.sampling.unwrap().fps, Some(2.0));
    }
}
