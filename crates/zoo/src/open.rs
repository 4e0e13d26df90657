//! Opening a checkpoint of any kind that this crate knows.

use std::path::Path;

use burn::tensor::Device;
use mmlens_core::Subject;
use serde::Deserialize;
use serde_json::Value;

use crate::ZooError;
use crate::bert::open_bert;
use crate::blip::open_blip;
use crate::checkpoint::read_json;
use crate::clip::open_clip;
use crate::decoder::open_decoder;
use crate::idefics3::open_idefics3;
use crate::llava::open_llava;
use crate::llava_next::open_llava_next;
use crate::qwen_vl::open_qwen_vl;
use crate::qwen2_audio::open_qwen2_audio;
use crate::redraw::{Opening, Redraw};
use crate::self_check::SelfCheck;
use crate::vit::open_vit;
use crate::whisper::open_whisper;

/// What makes a subject of a folder.
type Open = fn(&Path, Opening<'_>) -> Result<Box<dyn SelfCheck>, ZooError>;

/// Every kind of model, by the `model_type` of its `config.json`.
const KINDS: &[(&str, Open)] = &[
    ("llava", |folder, on| Ok(Box::new(open_llava(folder, on)?))),
    ("llava_next", |folder, on| Ok(Box::new(open_llava_next(folder, on)?))),
    ("smolvlm", |folder, on| Ok(Box::new(open_idefics3(folder, on)?))),
    ("idefics3", |folder, on| Ok(Box::new(open_idefics3(folder, on)?))),
    ("clip", |folder, on| Ok(Box::new(open_clip(folder, on)?))),
    ("siglip", |folder, on| Ok(Box::new(open_clip(folder, on)?))),
    ("qwen2_vl", |folder, on| Ok(Box::new(open_qwen_vl(folder, on)?))),
    ("qwen2_5_vl", |folder, on| Ok(Box::new(open_qwen_vl(folder, on)?))),
    ("qwen3_vl", |folder, on| Ok(Box::new(open_qwen_vl(folder, on)?))),
    ("bert", |folder, on| Ok(Box::new(open_bert(folder, on)?))),
    ("blip", |folder, on| Ok(Box::new(open_blip(folder, on)?))),
    ("vit", |folder, on| Ok(Box::new(open_vit(folder, on)?))),
    ("whisper", |folder, on| Ok(Box::new(open_whisper(folder, on)?))),
    ("qwen2_audio", |folder, on| Ok(Box::new(open_qwen2_audio(folder, on)?))),
    ("llama", |folder, on| Ok(Box::new(open_decoder(folder, on)?))),
    ("mistral", |folder, on| Ok(Box::new(open_decoder(folder, on)?))),
    ("qwen2", |folder, on| Ok(Box::new(open_decoder(folder, on)?))),
    ("qwen3", |folder, on| Ok(Box::new(open_decoder(folder, on)?))),
    ("gemma2", |folder, on| Ok(Box::new(open_decoder(folder, on)?))),
    ("gpt2", |folder, on| Ok(Box::new(open_decoder(folder, on)?))),
];

#[derive(Deserialize)]
struct Kind {
    model_type: String,
}

/// How a folder is opened.
///
/// ```no_run
/// # use burn::tensor::Device;
/// let subject = mmlens_zoo::OpenOptions::new(&Device::default()).self_check(false).open("models/llava")?;
/// # Ok::<(), mmlens_zoo::ZooError>(())
/// ```
#[derive(Debug, Clone)]
pub struct OpenOptions {
    device: Device,
    self_check: bool,
    redraw: Option<Redraw>,
}

impl OpenOptions {
    /// On a device, looked over once opened.
    #[must_use]
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), self_check: true, redraw: None }
    }

    /// Whether the model looks itself over once it is opened: see [`crate::self_check`]. On by default. It reads all weights,
    /// where opening a mapped file reads none.
    #[must_use]
    pub fn self_check(mut self, on: bool) -> Self {
        self.self_check = on;
        self
    }

    /// Draws weights anew as the model is opened ([`Redraw`]). Such a model does not look itself over: it is not whole.
    #[must_use]
    pub fn redraw(mut self, redraw: Redraw) -> Self {
        self.redraw = Some(redraw);
        self
    }

    /// How it opens.
    pub(crate) fn opening(&self) -> Opening<'_> {
        Opening { device: &self.device, redraw: self.redraw.as_ref() }
    }

    /// Opens a Hugging Face folder as what its `config.json` says it is.
    ///
    /// # Errors
    /// [`ZooError::Unsupported`] for a `model_type` that is not known here, with those that are; whatever opening that kind
    /// reports; [`ZooError::SelfCheck`] for a model that is not whole.
    ///
    /// # Memory
    /// As opening that kind; the self-check adds the activations of a few positions of one block.
    pub fn open(&self, folder: impl AsRef<Path>) -> Result<Box<dyn Subject>, ZooError> {
        let subject = kind(folder.as_ref())?(folder.as_ref(), self.opening())?;
        if self.self_check && self.redraw.is_none() {
            subject.self_check()?;
        }
        Ok(subject)
    }
}

/// Opens a Hugging Face folder as what its `config.json` says it is, and has it look itself over.
///
/// # Errors
/// As [`OpenOptions::open`].
///
/// # Memory
/// As [`OpenOptions::open`].
pub fn open(folder: impl AsRef<Path>, device: &Device) -> Result<Box<dyn Subject>, ZooError> {
    OpenOptions::new(device).open(folder)
}

/// The `model_type` of a folder's `config.json`.
///
/// # Errors
/// A file that cannot be read, or names none.
pub fn model_type(folder: impl AsRef<Path>) -> Result<String, ZooError> {
    let kind: Kind = read_json(folder.as_ref().join("config.json"))?;
    Ok(kind.model_type)
}

/// How the kind is opened that a folder's `config.json` names.
fn kind(folder: &Path) -> Result<Open, ZooError> {
    let file = folder.join("config.json");
    let refused = |field: &str, found: String, supported: String| {
        ZooError::Unsupported { field: field.to_owned(), found, supported }.within(&file)
    };
    let name = model_type(folder)?;
    let Some((_, open)) = KINDS.iter().find(|(own, _)| *own == name) else {
        let supported = KINDS.iter().map(|(own, _)| *own).collect::<Vec<_>>().join(", ");
        return Err(refused("model_type", name, supported));
    };
    let whole: Value = read_json(&file)?;
    if let Some((field, quantised)) = quantisation(&whole, "") {
        let method =
            quantised.get("quant_method").and_then(Value::as_str).unwrap_or("a quantised checkpoint");
        return Err(refused(&field, method.to_owned(), "f32, f16 and bf16 weights".to_owned()));
    }
    let adapter = folder.join("adapter_config.json");
    if adapter.exists() {
        return Err(ZooError::Unsupported {
            field: adapter.display().to_string(),
            found: "an adapter beside the weights".to_owned(),
            supported: "weights into which adapters were merged".to_owned(),
        });
    }
    Ok(*open)
}

/// Settings of quantised weights, wherever in a config they stand, with their field.
fn quantisation<'a>(config: &'a Value, at: &str) -> Option<(String, &'a Value)> {
    config.as_object()?.iter().find_map(|(name, value)| {
        let field = format!("{at}{name}");
        match name.as_str() {
            "quantization_config" | "compression_config" if !value.is_null() => Some((field, value)),
            _ => quantisation(value, &format!("{field}.")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kind_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, r#"{"model_type": "t5"}"#).unwrap();
        let said = open(folder.path(), &Device::default()).err().unwrap().to_string();
        assert_eq!(
            said,
            format!(
                "{}: `model_type`: `t5` is not supported; supported: {}",
                file.display(),
                KINDS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            )
        );
        for (own, _) in KINDS {
            assert!(crate::families::family(own).is_some(), "{own} belongs to no family");
        }
        std::fs::write(&file, "{}").unwrap();
        let said = open(folder.path(), &Device::default()).err().unwrap().to_string();
        assert_eq!(said, format!("{}:1:2: missing field `model_type`", file.display()));
    }
}
