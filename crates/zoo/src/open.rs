//! Opening a checkpoint of any kind that this crate knows.

use std::path::Path;

use burn::tensor::Device;
use mmlens_core::Subject;
use serde::Deserialize;

use crate::ZooError;
use crate::checkpoint::read_json;
use crate::llava::Llava;

/// What makes a subject of a folder.
type Open = fn(&Path, &Device) -> Result<Box<dyn Subject>, ZooError>;

/// Every kind of model, by the `model_type` of its `config.json`.
const KINDS: &[(&str, Open)] = &[("llava", |folder, device| Ok(Box::new(Llava::open(folder, device)?)))];

#[derive(Deserialize)]
struct Kind {
    model_type: String,
}

/// Opens a Hugging Face folder as what its `config.json` says it is.
///
/// # Errors
/// [`ZooError::Unsupported`] for a `model_type` that is not known here, with those that are; whatever opening that kind
/// reports.
///
/// # Memory
/// As opening that kind.
pub fn open(folder: impl AsRef<Path>, device: &Device) -> Result<Box<dyn Subject>, ZooError> {
    let folder = folder.as_ref();
    let file = folder.join("config.json");
    let kind: Kind = read_json(&file)?;
    let Some((_, open)) = KINDS.iter().find(|(name, _)| *name == kind.model_type) else {
        return Err(ZooError::Unsupported {
            field: format!("{}: model_type", file.display()),
            found: kind.model_type,
            supported: KINDS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        });
    };
    open(folder, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kind_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, r#"{"model_type": "bert"}"#).unwrap();
        let said = open(folder.path(), &Device::default()).err().unwrap().to_string();
        assert_eq!(
            said,
            format!("`{}: model_type`: `bert` is not supported; supported: llava", file.display())
        );
        std::fs::write(&file, "{}").unwrap();
        let said = open(folder.path(), &Device::default()).err().unwrap().to_string();
        assert_eq!(said, format!("{}:1:2: missing field `model_type`", file.display()));
    }
}
