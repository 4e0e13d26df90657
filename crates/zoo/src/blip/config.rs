//! `config.json` of a BLIP.

use serde::Deserialize;
use serde_json::Value;

use crate::bert::{Defaults, StackConfig};
use crate::checkpoint::read_part;
use crate::decoder::given;
use crate::vision::TowerConfig;
use crate::{ZooError, architecture, present};

/// What a BLIP was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlipTask {
    /// `BlipForConditionalGeneration`: writes a caption.
    Caption,
    /// `BlipForQuestionAnswering`: reads a question, writes an answer.
    Answer,
    /// `BlipForImageTextRetrieval`: says whether a text fits a picture.
    Match,
}

/// A BLIP.
#[derive(Debug, Clone, PartialEq)]
pub struct BlipConfig {
    /// What it was made for.
    pub task: BlipTask,
    /// The image tower.
    pub vision: TowerConfig,
    /// The text models; both have the same sizes.
    pub text: StackConfig,
    /// Whether the unembedding is the embedding.
    pub tied: bool,
    /// What a written text begins with.
    pub bos: u32,
    /// What ends it, if anything does.
    pub sep: Option<u32>,
    /// What fills up shorter rows.
    pub pad: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ids {
    bos_token_id: Option<u32>,
    #[serde(deserialize_with = "given")]
    sep_token_id: Option<Option<u32>>,
    pad_token_id: Option<u32>,
    is_decoder: Option<bool>,
}

const TASKS: [(&str, BlipTask); 3] = [
    ("BlipForConditionalGeneration", BlipTask::Caption),
    ("BlipForQuestionAnswering", BlipTask::Answer),
    ("BlipForImageTextRetrieval", BlipTask::Match),
];
const ARCHITECTURES: &[&str] = &[TASKS[0].0, TASKS[1].0, TASKS[2].0];

impl BlipConfig {
    /// Reads a whole `config.json`.
    ///
    /// # Errors
    /// An architecture or option that is not supported, a value that cannot be.
    pub fn read(config: &Value) -> Result<Self, ZooError> {
        let named = architecture(config, ARCHITECTURES)?;
        let task = TASKS.iter().find(|(name, _)| *name == named).map_or(BlipTask::Caption, |(_, task)| *task);
        let part = |name: &str| config.get(name).cloned().unwrap_or(Value::Null);
        let (raw_text, raw_vision) = (part("text_config"), part("vision_config"));
        present(config, "", &["tie_word_embeddings"])?;
        present(&raw_text, "text_config.", &["bos_token_id", "is_decoder", "tie_word_embeddings"])?;
        let family = "blip_vision_model";
        let vision = TowerConfig::read(&raw_vision, "vision_config.", family)?;
        if vision.model_type != family {
            return Err(ZooError::Unsupported {
                field: "vision_config.model_type".to_owned(),
                found: vision.model_type,
                supported: family.to_owned(),
            });
        }
        let defaults = Defaults { family: "blip_text_model", vocab: 30_524, heads: 8, typed: false };
        let text = StackConfig::read(&raw_text, "text_config.", &defaults)?;
        let ids: Ids = match &raw_text {
            Value::Null => Ids::default(),
            value => read_part(value, "text_config.")?,
        };
        if ids.is_decoder == Some(false) {
            return Err(ZooError::Unsupported {
                field: "text_config.is_decoder".to_owned(),
                found: "false".to_owned(),
                supported: "true, for there is no cross-attention without it".to_owned(),
            });
        }
        if task == BlipTask::Answer && text.d_model != vision.d_model {
            return Err(ZooError::Value {
                field: "text_config.hidden_size".to_owned(),
                found: text.d_model.to_string(),
                expected: format!(
                    "vision_config.hidden_size = {}, since answers attend to questions as those do to pictures",
                    vision.d_model
                ),
            });
        }
        let untied = |config: &Value| config.get("tie_word_embeddings") == Some(&Value::Bool(false));
        Ok(Self {
            task,
            tied: !untied(config) && !untied(&raw_text),
            bos: ids.bos_token_id.unwrap_or(30_522),
            // Null is no end.
            sep: ids.sep_token_id.unwrap_or(Some(102)),
            pad: ids.pad_token_id.unwrap_or(0),
            text: StackConfig { context: Some(vision.d_model), ..text },
            vision,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_class() {
        let config = BlipConfig::read(&json!({"model_type": "blip"})).unwrap();
        assert_eq!(
            (config.task, config.tied, config.bos, config.sep),
            (BlipTask::Caption, true, 30_522, Some(102))
        );
        assert_eq!((config.text.heads, config.text.context, config.vision.image_size), (8, Some(768), 384));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (config, said) in [
            (
                json!({"architectures": ["BlipModel"]}),
                "`BlipModel` is not supported; supported: BlipForConditional",
            ),
            (json!({"text_config": {"is_decoder": false}}), "text_config.is_decoder"),
            (json!({"text_config": {"hidden_act": "mish"}}), "text_config.hidden_act"),
            (json!({"text_config": {"model_type": "bert"}}), "supported: blip_text_model"),
            (json!({"text_config": {"bos_token_id": "x"}}), "bos_token_id"),
            (json!({"vision_config": {"model_type": "vit"}}), "supported: blip_vision_model"),
            (
                json!({"architectures": ["BlipForQuestionAnswering"], "text_config": {"hidden_size": 48}}),
                "`text_config.hidden_size` = 48, expected vision_config.hidden_size = 768",
            ),
            (json!({"vision_config": {"patch_size": 0}}), "vision_config.patch_size"),
        ] {
            let error = BlipConfig::read(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
