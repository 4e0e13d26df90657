//! Configs of BERT and of the text models built like it, read into one form.

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::read_part;
use crate::parts::Act;
use crate::{ZooError, above_zero, blocks, divides, positive, present};

/// A stack of post-norm blocks and its embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct StackConfig {
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
    /// Kinds of segments, where tokens have one.
    pub types: Option<usize>,
    /// Nonlinearity.
    pub act: Act,
    /// Of the layer norms.
    pub eps: f64,
    /// Width of what cross-attention attends to, where there is cross-attention.
    pub context: Option<usize>,
}

/// What a family leaves out.
pub(crate) struct Defaults {
    /// The `model_type`.
    pub(crate) family: &'static str,
    /// Rows of the embedding.
    pub(crate) vocab: usize,
    /// Heads.
    pub(crate) heads: usize,
    /// Whether tokens have a kind of segment.
    pub(crate) typed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    model_type: Option<String>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    position_embedding_type: Option<String>,
}

/// Fields that are not taken as null.
const NEVER_NULL: [&str; 8] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
];

impl StackConfig {
    /// Reads a config; `at` is what errors put before a field.
    pub(crate) fn read(config: &Value, at: &str, defaults: &Defaults) -> Result<Self, ZooError> {
        let raw: Raw = match config {
            Value::Null => Raw::default(),
            value => read_part(value, at)?,
        };
        let field = |name: &str| format!("{at}{name}");
        let unsupported = |name: &str, found: String, supported: &str| ZooError::Unsupported {
            field: field(name),
            found,
            supported: supported.to_owned(),
        };
        if let Some(found) = raw.model_type.filter(|found| found != defaults.family) {
            return Err(unsupported("model_type", found, defaults.family));
        }
        present(config, at, &NEVER_NULL)?;
        if let Some(found) = raw.position_embedding_type.filter(|found| found != "absolute") {
            return Err(unsupported("position_embedding_type", found, "absolute"));
        }
        let stack = Self {
            vocab: raw.vocab_size.unwrap_or(defaults.vocab),
            d_model: raw.hidden_size.unwrap_or(768),
            neurons: raw.intermediate_size.unwrap_or(3072),
            blocks: raw.num_hidden_layers.unwrap_or(12),
            heads: raw.num_attention_heads.unwrap_or(defaults.heads),
            positions: raw.max_position_embeddings.unwrap_or(512),
            types: defaults.typed.then(|| raw.type_vocab_size.unwrap_or(2)),
            act: Act::named(&field("hidden_act"), raw.hidden_act.as_deref().unwrap_or("gelu"))?,
            eps: raw.layer_norm_eps.unwrap_or(1e-12),
            context: None,
        };
        for (name, value) in [
            ("vocab_size", stack.vocab),
            ("hidden_size", stack.d_model),
            ("intermediate_size", stack.neurons),
            ("num_attention_heads", stack.heads),
            ("max_position_embeddings", stack.positions),
            ("type_vocab_size", stack.types.unwrap_or(1)),
        ] {
            positive(&field(name), value)?;
        }
        above_zero(&field("layer_norm_eps"), raw.layer_norm_eps)?;
        blocks(&field("num_hidden_layers"), stack.blocks)?;
        divides(&field("num_attention_heads"), stack.heads, "hidden_size", stack.d_model)?;
        Ok(stack)
    }
}

/// `config.json` of a BERT.
#[derive(Debug, Clone, PartialEq)]
pub struct BertConfig {
    /// The stack.
    pub stack: StackConfig,
    /// Whether it says which word is masked, rather than nothing but states.
    pub masked_lm: bool,
    /// Whether the unembedding is the embedding.
    pub tied: bool,
}

impl BertConfig {
    /// Reads a whole `config.json`.
    ///
    /// # Errors
    /// An architecture or option that is not supported, a value that cannot be.
    pub fn read(config: &Value) -> Result<Self, ZooError> {
        let known = &["BertForMaskedLM", "BertForPreTraining", "BertModel"];
        let architecture = crate::architecture(config, known)?;
        present(
            config,
            "",
            &["is_decoder", "add_cross_attention", "tie_word_embeddings", "type_vocab_size"],
        )?;
        for option in ["is_decoder", "add_cross_attention"] {
            if config.get(option) == Some(&Value::Bool(true)) {
                return Err(ZooError::Unsupported {
                    field: option.to_owned(),
                    found: "true".to_owned(),
                    supported: "false".to_owned(),
                });
            }
        }
        let defaults = Defaults { family: "bert", vocab: 30_522, heads: 12, typed: true };
        Ok(Self {
            stack: StackConfig::read(config, "", &defaults)?,
            masked_lm: architecture != "BertModel",
            tied: config.get("tie_word_embeddings") != Some(&Value::Bool(false)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_class() {
        let config = BertConfig::read(&json!({"model_type": "bert"})).unwrap();
        let stack = &config.stack;
        assert_eq!((stack.vocab, stack.d_model, stack.heads, stack.types), (30_522, 768, 12, Some(2)));
        assert_eq!((config.masked_lm, config.tied, stack.eps), (true, true, 1e-12));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (config, said) in [
            (
                json!({"architectures": ["BertForQuestionAnswering"]}),
                "BertForMaskedLM, BertForPreTraining, BertModel",
            ),
            (json!({"is_decoder": true}), "is_decoder"),
            (json!({"position_embedding_type": "relative_key"}), "`relative_key` is not supported"),
            (json!({"model_type": "roberta"}), "supported: bert"),
            (json!({"num_attention_heads": 7}), "num_attention_heads"),
            (json!({"hidden_act": "mish"}), "hidden_act"),
            (json!({"type_vocab_size": 0}), "type_vocab_size"),
        ] {
            let error = BertConfig::read(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
