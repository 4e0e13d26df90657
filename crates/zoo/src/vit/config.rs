//! `config.json` of a ViT classifier.

use serde_json::Value;

use super::Labels;
use crate::vision::TowerConfig;
use crate::{ZooError, architecture, present};

/// A tower and what its classes are called.
#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    /// The tower.
    pub tower: TowerConfig,
    /// The classes.
    pub labels: Labels,
}

impl VitConfig {
    /// Reads a whole `config.json`.
    ///
    /// # Errors
    /// An architecture or option that is not supported, a value that cannot be.
    pub fn read(config: &Value) -> Result<Self, ZooError> {
        architecture(config, &["ViTForImageClassification"])?;
        present(config, "", &["num_labels"])?;
        let tower = TowerConfig::read(config, "", "vit")?;
        if tower.model_type != "vit" {
            return Err(ZooError::Unsupported {
                field: "model_type".to_owned(),
                found: tower.model_type,
                supported: "vit".to_owned(),
            });
        }
        let width = tower.d_model / tower.heads;
        if let Some(found) = config.get("head_dim").filter(|found| **found != width) {
            return Err(ZooError::Value {
                field: "head_dim".to_owned(),
                found: found.to_string(),
                expected: format!("hidden_size / num_attention_heads = {width}, or no such field"),
            });
        }
        Ok(Self { tower, labels: Labels::read(config)? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_class() {
        let config = VitConfig::read(&json!({"model_type": "vit"})).unwrap();
        let tower = &config.tower;
        assert_eq!((tower.d_model, tower.blocks, tower.tokens(), tower.eps), (768, 12, 197, 1e-12));
        assert_eq!(config.labels.len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (config, said) in [
            (json!({"architectures": ["ViTModel"]}), "`ViTModel` is not supported; supported: ViTForImage"),
            (json!({"architectures": "ViTModel"}), "architectures"),
            (json!({"head_dim": 3}), "`head_dim` = 3, expected hidden_size / num_attention_heads = 64"),
            (json!({"image_size": [224, 112]}), "image_size"),
            (json!({"hidden_act": "mish"}), "hidden_act"),
            (json!({"model_type": "blip_vision_model"}), "supported: vit"),
        ] {
            let error = VitConfig::read(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
