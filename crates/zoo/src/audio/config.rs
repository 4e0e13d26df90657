//! Configs of audio towers, of every family, read into one form.

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::read_part;
use crate::parts::Act;
use crate::{ZooError, blocks, divides, positive, present};

/// What an audio tower is, whatever its family calls it.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Neurons of an MLP.
    pub neurons: usize,
    /// Blocks.
    pub blocks: usize,
    /// Heads.
    pub heads: usize,
    /// Mel filters of a spectrogram.
    pub mels: usize,
    /// Positions of a recording, each of two frames.
    pub positions: usize,
    /// Nonlinearity of the blocks; that of the convolutions is always the exact GELU.
    pub act: Act,
    /// Whether two positions become one behind the blocks, and what lies behind the sound is not attended to (Qwen2-Audio).
    pub pooled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    d_model: Option<usize>,
    encoder_layers: Option<usize>,
    encoder_attention_heads: Option<usize>,
    encoder_ffn_dim: Option<usize>,
    num_mel_bins: Option<usize>,
    max_source_positions: Option<usize>,
    activation_function: Option<String>,
}

/// Fields that no family takes as null.
const NEVER_NULL: [&str; 7] = [
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
    "activation_function",
];

/// Other names of fields, which configs have beside them.
const ALIASES: [(&str, &str); 3] = [
    ("hidden_size", "d_model"),
    ("num_hidden_layers", "encoder_layers"),
    ("num_attention_heads", "encoder_attention_heads"),
];
/// One more of each family: Whisper's, and Qwen2-Audio's.
const OWN_ALIAS: [(&str, &str); 2] =
    [("num_key_value_heads", "encoder_attention_heads"), ("intermediate_size", "encoder_ffn_dim")];

/// Frames of a spectrogram that become one position: the second convolution goes over two at a time.
pub(crate) const STRIDE: usize = 2;

impl AudioConfig {
    /// Reads the tower of a Whisper, whose fields stand in the whole config.
    ///
    /// # Errors
    /// An option that is not supported, a value that cannot be.
    pub fn whisper(config: &Value) -> Result<Self, ZooError> {
        Self::read(config, "", [384, 1536, 4, 6, 80], false)
    }

    /// Reads the tower of a Qwen2-Audio, whose fields stand in `audio_config`.
    ///
    /// # Errors
    /// A tower of another family, an option that is not supported, a value that cannot be.
    pub fn qwen2_audio(config: &Value) -> Result<Self, ZooError> {
        let (kind, at) = ("qwen2_audio_encoder", "audio_config.");
        present(config, at, &["model_type"])?;
        match config.get("model_type").map_or(Some(kind), Value::as_str) {
            Some(own) if own == kind => Self::read(config, at, [1280, 5120, 32, 20, 128], true),
            other => Err(ZooError::Unsupported {
                field: format!("{at}model_type"),
                found: other.map_or_else(|| "what is no text".to_owned(), str::to_owned),
                supported: kind.to_owned(),
            }),
        }
    }

    /// `defaults`: width, neurons, blocks, heads, filters.
    fn read(config: &Value, at: &str, defaults: [usize; 5], pooled: bool) -> Result<Self, ZooError> {
        let raw: Raw = match config {
            Value::Null => Raw::default(),
            value => read_part(value, at)?,
        };
        present(config, at, &NEVER_NULL)?;
        let field = |name: &str| format!("{at}{name}");
        let [d_model, neurons, layers, heads, mels] = defaults;
        let act = raw.activation_function.as_deref().unwrap_or("gelu");
        let config_of = Self {
            d_model: raw.d_model.unwrap_or(d_model),
            neurons: raw.encoder_ffn_dim.unwrap_or(neurons),
            blocks: raw.encoder_layers.unwrap_or(layers),
            heads: raw.encoder_attention_heads.unwrap_or(heads),
            mels: raw.num_mel_bins.unwrap_or(mels),
            positions: raw.max_source_positions.unwrap_or(1500),
            act: Act::named(&field("activation_function"), act)?,
            pooled,
        };
        let own = OWN_ALIAS.get(usize::from(pooled)).copied();
        for (alias, name) in ALIASES.into_iter().chain(own) {
            let own = config.get(name).filter(|own| !own.is_null());
            if let (Some(other), Some(own)) = (config.get(alias).filter(|other| !other.is_null()), own)
                && other != own
            {
                let expected = format!("{name} = {own}, of which it is another name");
                return Err(ZooError::Value { field: field(alias), found: other.to_string(), expected });
            }
            if let (Some(other), None) = (config.get(alias).filter(|other| !other.is_null()), own) {
                let (found, supported) = (other.to_string(), format!("the same under the name `{name}`"));
                return Err(ZooError::Unsupported { field: field(alias), found, supported });
            }
        }
        for (name, value) in [
            ("d_model", config_of.d_model),
            ("encoder_ffn_dim", config_of.neurons),
            ("encoder_attention_heads", config_of.heads),
            ("num_mel_bins", config_of.mels),
            ("max_source_positions", config_of.positions),
        ] {
            positive(&field(name), value)?;
        }
        blocks(&field("encoder_layers"), config_of.blocks)?;
        divides(&field("encoder_attention_heads"), config_of.heads, "d_model", config_of.d_model)?;
        if pooled && config_of.positions < 2 {
            return Err(ZooError::Value {
                field: field("max_source_positions"),
                found: config_of.positions.to_string(),
                expected: "at least 2, which become one".to_owned(),
            });
        }
        Ok(config_of)
    }

    /// Frames of a spectrogram.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.positions * STRIDE
    }

    /// Positions behind the tower.
    #[must_use]
    pub fn tokens(&self) -> usize {
        if self.pooled { self.positions / 2 } else { self.positions }
    }

    /// Positions of the blocks that hold a frame of the sound, of which there are so many.
    #[must_use]
    pub fn heard(&self, frames: usize) -> usize {
        frames.div_ceil(STRIDE).min(self.positions)
    }

    /// Positions behind the tower that are of the sound: where two become one, both must be.
    #[must_use]
    pub fn kept(&self, frames: usize) -> usize {
        let heard = self.heard(frames);
        if self.pooled { heard / 2 } else { heard }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_class() {
        let whisper = AudioConfig::whisper(&json!({"model_type": "whisper"})).unwrap();
        assert_eq!((whisper.d_model, whisper.mels, whisper.positions), (384, 80, 1500));
        assert_eq!((whisper.frames(), whisper.tokens()), (3000, 1500));
        let qwen = AudioConfig::qwen2_audio(&Value::Null).unwrap();
        assert_eq!((qwen.d_model, qwen.blocks, qwen.mels, qwen.tokens()), (1280, 32, 128, 750));
        // 7 frames are 4 positions, 3 to 4 of which are 1 and 2 behind: (((7 - 1) / 2 + 1) - 2) / 2 + 1.
        assert_eq!([1, 2, 3, 5, 7, 8, 9].map(|frames| qwen.heard(frames)), [1, 1, 2, 3, 4, 4, 5]);
        assert_eq!([1, 2, 3, 5, 7, 8, 9].map(|frames| qwen.kept(frames)), [0, 0, 1, 1, 2, 2, 2]);
        assert_eq!((whisper.kept(7), whisper.kept(3000)), (4, 1500));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (config, said) in [
            (
                json!({"encoder_attention_heads": 7}),
                "`audio_config.encoder_attention_heads` = 7, expected a divisor",
            ),
            (json!({"d_model": null}), "audio_config.d_model"),
            (json!({"activation_function": "mish"}), "audio_config.activation_function"),
            (json!({"max_source_positions": 0}), "audio_config.max_source_positions"),
            (json!({"max_source_positions": 1}), "at least 2"),
            (json!({"model_type": "whisper"}), "supported: qwen2_audio_encoder"),
            (json!({"encoder_layers": 3, "num_hidden_layers": 4}), "expected encoder_layers = 3"),
            (json!({"hidden_size": 64}), "`audio_config.hidden_size`: `64` is not supported"),
        ] {
            let error = AudioConfig::qwen2_audio(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let same = json!({"encoder_layers": 3, "num_hidden_layers": 3});
        assert_eq!(AudioConfig::qwen2_audio(&same).unwrap().blocks, 3);
    }
}
