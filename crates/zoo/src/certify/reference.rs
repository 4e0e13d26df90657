//! Reading a reference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mmlens_core::sound::Sound;
use mmlens_core::{Clip, Picture, Sample, Words};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::CertifyError;

/// The most bytes of a reference.
const MOST_BYTES: u64 = 1 << 32;

/// No site of a model that is worth a certificate is off by more in float32 itself, against the largest value beside.
const MOST_ROUNDING: f64 = 1e-3;

/// A reference, read.
pub(super) struct Reference {
    path: PathBuf,
    about: Value,
    pub(super) floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pub(super) ids: BTreeMap<String, (Vec<usize>, Vec<i64>)>,
}

impl Reference {
    pub(super) fn read(path: &Path) -> Result<Self, CertifyError> {
        let fail = |reason: String| CertifyError::File { path: path.display().to_string(), reason };
        let bytes = mmlens_files::read(path, MOST_BYTES).map_err(|e| fail(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(e.to_string()))?;
        let about = header.metadata().as_ref().and_then(|m| m.get("about"));
        let about = about.ok_or_else(|| fail("its metadata has no `about`: it is no trace".to_owned()))?;
        let about = serde_json::from_str(about).map_err(|e| fail(format!("`about`: {e}")))?;
        let (mut floats, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?.tensors() {
            let (shape, data) = (view.shape().to_vec(), view.data());
            match view.dtype() {
                Dtype::F32
                    if ["input_ids", "attention_mask", "generated", "target"].contains(&name.as_str()) =>
                {
                    return Err(fail(format!("`{name}` is F32, expected I64")));
                }
                Dtype::F32 => {
                    let (values, _) = data.as_chunks::<4>();
                    floats.insert(name, (shape, values.iter().map(|b| f32::from_le_bytes(*b)).collect()));
                }
                Dtype::I64 => {
                    let (values, _) = data.as_chunks::<8>();
                    ids.insert(name, (shape, values.iter().map(|b| i64::from_le_bytes(*b)).collect()));
                }
                other => return Err(fail(format!("`{name}` is {other:?}, expected F32 or I64"))),
            }
        }
        Ok(Self { path: path.to_owned(), about, floats, ids })
    }

    pub(super) fn wrong(&self, field: &str, reason: impl Into<String>) -> CertifyError {
        CertifyError::Reference {
            path: self.path.display().to_string(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    /// How far float32 itself is off at a value, where the reference says so: measured against a pass in float64.
    pub(super) fn rounding(&self, name: &str) -> Result<Option<f64>, CertifyError> {
        let Some(found) = self.about.get("rounding").and_then(|all| all.get(name)) else { return Ok(None) };
        let known = found.as_f64().filter(|share| (0.0..=MOST_ROUNDING).contains(share));
        let expected = format!("where 0 to {MOST_ROUNDING} belongs");
        known.map(Some).ok_or_else(|| self.wrong(name, format!("its rounding is {found}, {expected}")))
    }

    pub(super) fn samples(&self, pictures: &Path) -> Result<Vec<Sample>, CertifyError> {
        let rows = self.about.get("rows").and_then(Value::as_array);
        let rows = rows.ok_or_else(|| self.wrong("about", "it names no rows"))?;
        rows.iter().map(|row| self.sample(row, pictures)).collect()
    }

    fn sample(&self, row: &Value, pictures: &Path) -> Result<Sample, CertifyError> {
        let there = |name: &str| row.get(name).filter(|value| !value.is_null());
        let odd = |name: &str, found: &Value, wanted: &str| {
            self.wrong("rows", format!("its {name} is {found}, where {wanted} belongs"))
        };
        let list = |name: &str| match there(name) {
            None => Ok(Vec::new()),
            Some(all) => all.as_array().cloned().ok_or_else(|| odd(name, all, "a list")),
        };
        let text = |name: &str| {
            let text =
                |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| odd(name, value, "a text"));
            there(name).map(text).transpose()
        };
        let picture = |name: &Value| {
            let name =
                name.as_str().ok_or_else(|| self.wrong("rows", format!("{name} is no picture's name")))?;
            let plain = pictures.join(name);
            let path = if plain.is_file() { plain } else { pictures.join(format!("{name}.png")) };
            Picture::open(path).map_err(|error| self.wrong("rows", error.to_string()))
        };
        let words = match (text("ask")?, text("prompt")?, there("texts")) {
            (Some(ask), ..) => Words::Question(ask),
            (_, Some(prompt), _) => Words::Prompt(prompt),
            (_, _, Some(texts)) => Words::Texts(
                serde_json::from_value(texts.clone()).map_err(|e| self.wrong("texts", e.to_string()))?,
            ),
            _ => Words::Nothing,
        };
        let shown: Result<_, _> = list("images")?.iter().map(picture).collect();
        let mut sample = Sample::new(shown?, words);
        for name in list("recordings")? {
            let name =
                name.as_str().ok_or_else(|| self.wrong("rows", format!("{name} is no recording's name")))?;
            let sound = Sound::open(pictures.join(name));
            sample.recordings.push(sound.map_err(|error| self.wrong("rows", error.to_string()))?);
        }
        let rate = |value: &Value| value.as_f64().ok_or_else(|| odd("fps", value, "a number"));
        let fps = there("fps").map(rate).transpose()?;
        for (i, clip) in list("videos")?.iter().enumerate() {
            let frames = clip.as_array().ok_or_else(|| odd("videos", clip, "a list of frames"))?;
            let frames: Result<_, CertifyError> = frames.iter().map(|f| Ok(picture(f)?.image)).collect();
            sample.clips.push(Clip::new(format!("clip {i}"), frames?, fps));
        }
        Ok(sample)
    }
}
