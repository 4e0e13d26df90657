//! `config.json` of a Qwen2-Audio.

use serde::Deserialize;
use serde_json::Value;

use crate::audio::AudioConfig;
use crate::checkpoint::read_part;
use crate::decoder::DecoderConfig;
use crate::{ZooError, architecture, present};

/// A Qwen2-Audio.
#[derive(Debug, Clone, PartialEq)]
pub struct Qwen2AudioConfig {
    /// The audio tower.
    pub audio: AudioConfig,
    /// The decoder.
    pub text: DecoderConfig,
    /// The token of a recording's positions.
    pub audio_token: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    audio_token_index: Option<u32>,
    /// The same under its newer name.
    audio_token_id: Option<u32>,
}

const ARCHITECTURES: &[&str] = &["Qwen2AudioForConditionalGeneration"];

impl Qwen2AudioConfig {
    /// Reads a whole `config.json`. The unembedding is a weight of its own, whatever `tie_word_embeddings` says, as in transformers.
    ///
    /// # Errors
    /// A tower, decoder or option that is not supported, a value that cannot be.
    pub fn read(config: &Value) -> Result<Self, ZooError> {
        architecture(config, ARCHITECTURES)?;
        present(config, "", &["audio_token_index", "audio_token_id"])?;
        let raw: Raw = read_part(config, "")?;
        let part = |name: &str| config.get(name).cloned().unwrap_or(Value::Null);
        let (audio, text) = (part("audio_config"), part("text_config"));
        present(&text, "text_config.", &["model_type"])?;
        let audio_token = match (raw.audio_token_index, raw.audio_token_id) {
            (Some(one), Some(other)) if one != other => {
                let expected = format!("audio_token_index = {one}, of which it is another name");
                let (field, found) = ("audio_token_id".to_owned(), other.to_string());
                return Err(ZooError::Value { field, found, expected });
            }
            (one, other) => one.or(other).unwrap_or(151_646),
        };
        let text = DecoderConfig::read(&text, "text_config.", "qwen2")?;
        if text.model_type != "qwen2" {
            return Err(ZooError::Unsupported {
                field: "text_config.model_type".to_owned(),
                found: text.model_type,
                supported: "qwen2".to_owned(),
            });
        }
        Ok(Self {
            audio: AudioConfig::qwen2_audio(&audio)?,
            text: DecoderConfig { tied: false, ..text },
            audio_token,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_class() {
        let config = Qwen2AudioConfig::read(&json!({"model_type": "qwen2_audio"})).unwrap();
        assert_eq!((config.audio_token, config.audio.mels, config.text.vocab), (151_646, 128, 151_936));
        let config = Qwen2AudioConfig::read(
            &json!({"audio_token_id": 7, "text_config": {"tie_word_embeddings": true}}),
        );
        assert_eq!(config.map(|config| (config.audio_token, config.text.tied)).unwrap(), (7, false));
        let twice =
            |other: u32| Qwen2AudioConfig::read(&json!({"audio_token_index": 7, "audio_token_id": other}));
        assert_eq!(twice(7).unwrap().audio_token, 7);
        assert!(twice(8).unwrap_err().to_string().contains("audio_token_id"));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (config, said) in [
            (json!({"audio_token_index": null}), "audio_token_index"),
            (
                json!({"text_config": {"model_type": "llama"}}),
                "`text_config.model_type`: `llama` is not supported",
            ),
            (json!({"text_config": {"hidden_act": "mish"}}), "text_config.hidden_act"),
            (json!({"audio_config": {"model_type": "whisper"}}), "audio_config.model_type"),
            (json!({"architectures": ["Qwen2AudioModel"]}), "supported: Qwen2AudioForConditionalGeneration"),
        ] {
            let error = Qwen2AudioConfig::read(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
