//! Configs of dual encoders, CLIP's and SigLIP's, read into one form.

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::read_part;
use crate::parts::Act;
use crate::vision::TowerConfig;
use crate::{ZooError, above_zero, blocks, causal, divides, positive, present};

/// Which of the two ways of comparing pictures and texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DualKind {
    /// CLIP (Radford et al. 2021): a causal text tower read at the end token, projections without bias, a text judged
    /// among all texts.
    Clip,
    /// SigLIP (Zhai et al. 2023) and SigLIP 2 at a fixed resolution: a text tower that looks both ways, read at its
    /// last position; pictures pooled by attention; every pair judged for itself.
    Siglip,
}

/// Where a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Where the largest token id first stands: configs from before their end token was put right say 2.
    Largest,
    /// Where this token first stands, or at the first position of a text that lacks it.
    First(u32),
    /// At the last position, padding included.
    Last,
}

/// A text tower.
#[derive(Debug, Clone, PartialEq)]
pub struct TextTowerConfig {
    /// Rows of the embedding.
    pub vocab: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Neurons of an MLP.
    pub neurons: usize,
    /// Blocks.
    pub blocks: usize,
    /// Heads.
    pub heads: usize,
    /// Positions there are.
    pub positions: usize,
    /// Nonlinearity.
    pub act: Act,
    /// Of the layer norms.
    pub eps: f64,
    /// Whether a position attends only to what comes before it.
    pub causal: bool,
    /// Where it is read.
    pub reading: Reading,
}

/// `config.json` of a dual encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// The kind.
    pub kind: DualKind,
    /// The image tower.
    pub vision: TowerConfig,
    /// The text tower.
    pub text: TextTowerConfig,
    /// Width of the space that pictures and texts share.
    pub shared: usize,
}

#[derive(Debug, Deserialize)]
struct Outer {
    model_type: String,
    text_config: Option<Value>,
    vision_config: Option<Value>,
    text_config_dict: Option<Value>,
    vision_config_dict: Option<Value>,
    projection_dim: Option<usize>,
    quantization_config: Option<Value>,
}

/// The fields of a tower that, unlike those that are absent, must not be null.
const SIZES: [&str; 11] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Text {
    model_type: Option<String>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    projection_size: Option<usize>,
}

impl ClipConfig {
    /// Reads a whole `config.json`.
    ///
    /// # Errors
    /// A kind or option that is not supported, a value that cannot be.
    pub fn read(config: &Value) -> Result<Self, ZooError> {
        let outer: Outer = read_part(config, "")?;
        let kind = match outer.model_type.as_str() {
            "clip" => DualKind::Clip,
            "siglip" => DualKind::Siglip,
            other => return Err(unsupported("model_type", other, "clip, siglip")),
        };
        if outer.quantization_config.is_some() {
            return Err(unsupported(
                "quantization_config",
                "a quantised checkpoint",
                "f32, f16 and bf16 weights",
            ));
        }
        if kind == DualKind::Clip {
            present(config, "", &["projection_dim"])?;
        }
        let raw = chosen(kind, outer.text_config, outer.text_config_dict);
        present(&raw, "text_config.", &SIZES)?;
        let (text, projection) = Self::text(kind, &raw)?;
        let raw = chosen(kind, outer.vision_config, outer.vision_config_dict);
        present(&raw, "vision_config.", &SIZES)?;
        let family = match kind {
            DualKind::Clip => "clip_vision_model",
            DualKind::Siglip => "siglip_vision_model",
        };
        let vision = TowerConfig::read(&raw, "vision_config.", family)?;
        if vision.model_type != family {
            return Err(unsupported("vision_config.model_type", &vision.model_type, family));
        }
        let shared = match kind {
            DualKind::Clip => outer.projection_dim.unwrap_or(512),
            DualKind::Siglip => projection.unwrap_or(text.d_model),
        };
        positive("projection_dim", shared)?;
        if kind == DualKind::Siglip {
            if raw.get("vision_use_head") == Some(&Value::Bool(false)) {
                return Err(unsupported("vision_config.vision_use_head", "false", "true"));
            }
            if shared != vision.d_model {
                return Err(ZooError::Value {
                    field: "text_config.projection_size".to_owned(),
                    found: shared.to_string(),
                    expected: format!("vision_config.hidden_size = {}", vision.d_model),
                });
            }
        }
        Ok(Self { kind, vision, text, shared })
    }

    fn text(kind: DualKind, raw: &Value) -> Result<(TextTowerConfig, Option<usize>), ZooError> {
        let text: Text = if raw.is_null() { Text::default() } else { read_part(raw, "text_config.")? };
        let (family, clip) = match kind {
            DualKind::Clip => ("clip_text_model", true),
            DualKind::Siglip => ("siglip_text_model", false),
        };
        if let Some(found) = &text.model_type
            && found != family
        {
            return Err(unsupported("text_config.model_type", found, family));
        }
        if clip {
            causal(raw, "text_config.")?;
        }
        let defaults = if clip { [49408, 512, 2048, 8, 77] } else { [32000, 768, 3072, 12, 64] };
        let [vocab, d_model, neurons, heads, positions] = defaults;
        let (act, eps) = if clip { ("quick_gelu", 1e-5) } else { ("gelu_pytorch_tanh", 1e-6) };
        let config = TextTowerConfig {
            vocab: text.vocab_size.unwrap_or(vocab),
            d_model: text.hidden_size.unwrap_or(d_model),
            neurons: text.intermediate_size.unwrap_or(neurons),
            blocks: text.num_hidden_layers.unwrap_or(12),
            heads: text.num_attention_heads.unwrap_or(heads),
            positions: text.max_position_embeddings.unwrap_or(positions),
            act: Act::named("text_config.hidden_act", text.hidden_act.as_deref().unwrap_or(act))?,
            eps: text.layer_norm_eps.unwrap_or(eps),
            causal: clip,
            reading: if clip { reading(raw.get("eos_token_id"))? } else { Reading::Last },
        };
        for (name, value) in [
            ("vocab_size", config.vocab),
            ("hidden_size", config.d_model),
            ("intermediate_size", config.neurons),
            ("num_attention_heads", config.heads),
            ("max_position_embeddings", config.positions),
        ] {
            positive(&format!("text_config.{name}"), value)?;
        }
        above_zero("text_config.layer_norm_eps", text.layer_norm_eps)?;
        blocks("text_config.num_hidden_layers", config.blocks)?;
        divides("text_config.num_attention_heads", config.heads, "hidden_size", config.d_model)?;
        Ok((config, text.projection_size))
    }
}

/// Old CLIP configs have a second dictionary; what it says, and the defaults of what it leaves out, goes before the
/// first.
fn chosen(kind: DualKind, first: Option<Value>, second: Option<Value>) -> Value {
    let second = second.filter(|value| !value.is_null() && kind == DualKind::Clip);
    second.or(first).unwrap_or(Value::Null)
}

fn reading(eos: Option<&Value>) -> Result<Reading, ZooError> {
    match eos {
        None => Ok(Reading::First(49407)),
        Some(value) => match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(2) => Ok(Reading::Largest),
            Some(id) => Ok(Reading::First(id)),
            None => Err(ZooError::Value {
                field: "text_config.eos_token_id".to_owned(),
                found: value.to_string(),
                expected: "one token id".to_owned(),
            }),
        },
    }
}

fn unsupported(field: &str, found: &str, supported: &str) -> ZooError {
    ZooError::Unsupported {
        field: field.to_owned(),
        found: found.to_owned(),
        supported: supported.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (config, said) in [
            (json!({"model_type": "clip", "text_config": {"hidden_act": "mish"}}), "text_config.hidden_act"),
            (json!({"model_type": "clip", "text_config": {"eos_token_id": [2, 3]}}), "eos_token_id"),
            (json!({"model_type": "clip", "text_config": {"eos_token_id": null}}), "eos_token_id"),
            (json!({"model_type": "clip", "text_config": {"num_attention_heads": 7}}), "num_attention_heads"),
            (json!({"model_type": "clip", "text_config": {"hidden_size": "wide"}}), "text_config"),
            (json!({"model_type": "clip", "vision_config": {"patch_size": 0}}), "patch_size"),
            (json!({"model_type": "clip", "quantization_config": {}}), "quantization_config"),
            (json!({"model_type": "siglip", "vision_config": {"vision_use_head": false}}), "vision_use_head"),
            (json!({"model_type": "siglip", "text_config": {"projection_size": 5}}), "projection_size"),
            (json!({"model_type": "clip", "projection_dim": null}), "projection_dim"),
            (
                json!({"model_type": "clip", "vision_config": {"hidden_act": null}}),
                "vision_config.hidden_act",
            ),
            (json!({"model_type": "siglip", "text_config": {"layer_norm_eps": null}}), "layer_norm_eps"),
            (json!({"model_type": "siglip2"}), "supported: clip, siglip"),
        ] {
            let error = ClipConfig::read(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_second_dictionary_goes_first_with_its_defaults() {
        let config = json!({"model_type": "clip", "text_config": {"hidden_size": 64, "eos_token_id": 2},
            "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12}, "vision_config_dict": null});
        let text = ClipConfig::read(&config).unwrap().text;
        assert_eq!((text.d_model, text.reading), (768, Reading::First(49407)));
    }
}
