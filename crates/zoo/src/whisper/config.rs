//! `config.json` of a Whisper.

use serde::Deserialize;
use serde_json::Value;

use crate::audio::AudioConfig;
use crate::checkpoint::read_part;
use crate::parts::Act;
use crate::{ZooError, architecture, blocks, divides, positive, present};

/// A Whisper.
#[derive(Debug, Clone, PartialEq)]
pub struct WhisperConfig {
    /// The audio tower.
    pub audio: AudioConfig,
    /// Neurons of an MLP of the decoder.
    pub neurons: usize,
    /// Blocks of the decoder.
    pub blocks: usize,
    /// Its heads, of attention and of cross-attention.
    pub heads: usize,
    /// Positions it has learned.
    pub positions: usize,
    /// Tokens.
    pub vocab: usize,
    /// Nonlinearity.
    pub act: Act,
    /// Whether the unembedding is the embedding.
    pub tied: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    decoder_layers: Option<usize>,
    decoder_attention_heads: Option<usize>,
    decoder_ffn_dim: Option<usize>,
    max_target_positions: Option<usize>,
    vocab_size: Option<usize>,
    tie_word_embeddings: Option<bool>,
    is_encoder_decoder: Option<bool>,
}

const ARCHITECTURES: &[&str] = &["WhisperForConditionalGeneration"];

/// Fields that are not taken as null.
const NEVER_NULL: [&str; 7] = [
    "decoder_layers",
    "decoder_attention_heads",
    "decoder_ffn_dim",
    "max_target_positions",
    "vocab_size",
    "tie_word_embeddings",
    "is_encoder_decoder",
];

impl WhisperConfig {
    /// Reads a whole `config.json`. `scale_embedding` changes nothing in transformers, nor here; dropout and masks of the
    /// spectrogram are of training.
    ///
    /// # Errors
    /// An architecture or option that is not supported, a value that cannot be.
    pub fn read(config: &Value) -> Result<Self, ZooError> {
        architecture(config, ARCHITECTURES)?;
        let raw: Raw = read_part(config, "")?;
        present(config, "", &NEVER_NULL)?;
        if raw.is_encoder_decoder == Some(false) {
            return Err(ZooError::Unsupported {
                field: "is_encoder_decoder".to_owned(),
                found: "false".to_owned(),
                supported: "true, for the decoder attends to a recording".to_owned(),
            });
        }
        let audio = AudioConfig::whisper(config)?;
        let own = Self {
            neurons: raw.decoder_ffn_dim.unwrap_or(1536),
            blocks: raw.decoder_layers.unwrap_or(4),
            heads: raw.decoder_attention_heads.unwrap_or(6),
            positions: raw.max_target_positions.unwrap_or(448),
            vocab: raw.vocab_size.unwrap_or(51865),
            act: audio.act,
            tied: raw.tie_word_embeddings.unwrap_or(true),
            audio,
        };
        for (name, value) in [
            ("decoder_ffn_dim", own.neurons),
            ("decoder_attention_heads", own.heads),
            ("max_target_positions", own.positions),
            ("vocab_size", own.vocab),
        ] {
            positive(name, value)?;
        }
        blocks("decoder_layers", own.blocks)?;
        divides("decoder_attention_heads", own.heads, "d_model", own.audio.d_model)?;
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_class() {
        let config = WhisperConfig::read(&json!({"model_type": "whisper"})).unwrap();
        assert_eq!((config.vocab, config.positions, config.heads, config.tied), (51865, 448, 6, true));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (config, said) in [
            (
                json!({"architectures": ["WhisperForAudioClassification"]}),
                "supported: WhisperForConditionalGeneration",
            ),
            (json!({"is_encoder_decoder": false}), "`is_encoder_decoder`: `false` is not supported"),
            (
                json!({"decoder_attention_heads": 7}),
                "`decoder_attention_heads` = 7, expected a divisor of d_model = 384",
            ),
            (json!({"decoder_layers": 0}), "`decoder_layers` = 0"),
            (json!({"vocab_size": null}), "`vocab_size` = null"),
            (json!({"max_target_positions": -1}), "max_target_positions"),
            (json!({"activation_function": "mish"}), "`activation_function`: `mish` is not supported"),
        ] {
            let error = WhisperConfig::read(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
