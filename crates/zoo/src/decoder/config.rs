//! Configs of decoders, of every family, read into one form.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::checkpoint::read_part;
use crate::parts::{Act, RopeConfig};
use crate::{ZooError, above_zero, blocks, causal, divides, positive, present};

/// What a decoder is, whatever its family calls it.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// The `model_type` it was read from.
    pub model_type: String,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Neurons of an MLP.
    pub neurons: usize,
    /// Blocks.
    pub blocks: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Longest trained sequence.
    pub max_positions: usize,
    /// Nonlinearity.
    pub act: Act,
    /// The norms.
    pub norm: NormKind,
    /// Rotary settings; `None` for learned positions.
    pub rope: Option<RopeConfig>,
    /// Whether q, k and v have biases.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has one.
    pub out_bias: bool,
    /// Whether the MLP has biases.
    pub mlp_bias: bool,
    /// Whether queries and keys of each head are normed (Qwen3).
    pub head_norms: bool,
    /// Whether attention and MLP are normed before and after (Gemma 2).
    pub norms_around: bool,
    /// Multiplies the scores.
    pub scale: f32,
    /// Whether the scores of block i are divided by i + 1 (an option of GPT-2).
    pub scale_by_block: bool,
    /// Cap of the scores.
    pub score_cap: Option<f32>,
    /// Cap of the logits.
    pub logit_cap: Option<f32>,
    /// For each block, how many positions it attends to at most, itself included; `None` for all.
    pub windows: Vec<Option<usize>>,
    /// Multiplies token vectors.
    pub embed_scale: Option<f32>,
    /// Whether the unembedding is the embedding.
    pub tied: bool,
}

/// The norms of a decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// Layer norms.
    Layer {
        /// Added to the variance.
        eps: f64,
    },
    /// RMS norms.
    Rms {
        /// Added to the mean square.
        eps: f64,
        /// Added to the weight (Gemma: 1).
        offset: f32,
    },
}

/// What configs say, before a family's defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    model_type: Option<String>,
    hidden_size: Option<usize>,
    n_embd: Option<usize>,
    intermediate_size: Option<usize>,
    n_inner: Option<usize>,
    num_hidden_layers: Option<usize>,
    n_layer: Option<usize>,
    num_attention_heads: Option<usize>,
    n_head: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    n_positions: Option<usize>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    activation_function: Option<String>,
    rms_norm_eps: Option<f64>,
    layer_norm_epsilon: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    #[serde(deserialize_with = "given")]
    sliding_window: Option<Option<usize>>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    query_pre_attn_scalar: Option<f64>,
    #[serde(deserialize_with = "given")]
    attn_logit_softcapping: Option<Option<f64>>,
    #[serde(deserialize_with = "given")]
    final_logit_softcapping: Option<Option<f64>>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
    quantization_config: Option<Value>,
    original_max_position_embeddings: Option<Value>,
    partial_rotary_factor: Option<Value>,
    use_bidirectional_attention: Option<bool>,
}

/// A field that means one thing when it is null and another when it is left out.
pub(crate) fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// What a family leaves out, and what sets it apart.
struct Family {
    model_type: &'static str,
    d_model: usize,
    neurons: usize,
    blocks: usize,
    heads: usize,
    kv_heads: Option<usize>,
    d_head: Option<usize>,
    vocab: usize,
    max_positions: usize,
    act: &'static str,
    tied: bool,
    /// Fields that must not be null, beside those of [`NEVER_NULL`].
    never_null: &'static [&'static str],
    finish: fn(&Raw, &mut DecoderConfig, &str) -> Result<(), ZooError>,
}

const LLAMA: Family = Family {
    model_type: "llama",
    d_model: 4096,
    neurons: 11008,
    blocks: 32,
    heads: 32,
    kv_heads: None,
    d_head: None,
    vocab: 32000,
    max_positions: 2048,
    act: "silu",
    tied: false,
    never_null: &["hidden_act", "rms_norm_eps", "tie_word_embeddings", "attention_bias", "mlp_bias"],
    finish: llama,
};

/// Fields that no family takes as null.
const NEVER_NULL: &[&str] = &[
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
];

/// What all of Qwen's text models refuse.
const SEEING: &[&str] = &["hidden_act", "rms_norm_eps"];

/// Every family, with the defaults of its config class in transformers.
const FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        model_type: "mistral",
        neurons: 14336,
        kv_heads: Some(8),
        max_positions: 4096 * 32,
        never_null: &["hidden_act", "rms_norm_eps", "tie_word_embeddings"],
        finish: mistral,
        ..LLAMA
    },
    QWEN2,
    Family { model_type: "qwen2_vl_text", never_null: SEEING, ..QWEN2 },
    Family { model_type: "qwen2_5_vl_text", never_null: SEEING, ..QWEN2 },
    QWEN3,
    Family {
        model_type: "qwen3_vl_text",
        max_positions: 128_000,
        never_null: &["hidden_act", "rms_norm_eps", "head_dim", "attention_bias", "layer_types"],
        ..QWEN3
    },
    Family {
        model_type: "gemma2",
        d_model: 2304,
        neurons: 9216,
        blocks: 26,
        heads: 8,
        kv_heads: Some(4),
        d_head: Some(256),
        vocab: 256_000,
        max_positions: 8192,
        act: "gelu_pytorch_tanh",
        tied: true,
        never_null: &[
            "hidden_activation",
            "rms_norm_eps",
            "tie_word_embeddings",
            "num_key_value_heads",
            "head_dim",
            "attention_bias",
            "query_pre_attn_scalar",
        ],
        finish: gemma2,
    },
    Family {
        model_type: "gpt2",
        d_model: 768,
        neurons: 0,
        blocks: 12,
        heads: 12,
        vocab: 50257,
        max_positions: 1024,
        act: "gelu_new",
        tied: true,
        never_null: &[
            "n_embd",
            "n_layer",
            "n_head",
            "n_positions",
            "activation_function",
            "layer_norm_epsilon",
            "scale_attn_weights",
            "scale_attn_by_inverse_layer_idx",
            "add_cross_attention",
            "tie_word_embeddings",
        ],
        finish: gpt2,
        ..LLAMA
    },
];

const QWEN2: Family = Family {
    model_type: "qwen2",
    neurons: 22016,
    kv_heads: Some(32),
    vocab: 151_936,
    max_positions: 32768,
    never_null: &[
        "hidden_act",
        "rms_norm_eps",
        "tie_word_embeddings",
        "head_dim",
        "use_sliding_window",
        "max_window_layers",
    ],
    finish: qwen2,
    ..LLAMA
};

const QWEN3: Family = Family {
    model_type: "qwen3",
    neurons: 22016,
    kv_heads: Some(32),
    d_head: Some(128),
    vocab: 151_936,
    max_positions: 32768,
    never_null: &[
        "hidden_act",
        "rms_norm_eps",
        "tie_word_embeddings",
        "head_dim",
        "attention_bias",
        "use_sliding_window",
        "max_window_layers",
    ],
    finish: qwen3,
    ..LLAMA
};

impl DecoderConfig {
    /// The `model_type` of every family that can be read.
    pub fn families() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().map(|f| f.model_type)
    }

    /// Reads a config; `at` is what errors put before a field, such as `text_config.` or nothing. A config without
    /// `model_type` is taken for `fallback`.
    ///
    /// # Errors
    /// A family or option that is not supported, a value that cannot be.
    pub fn read(config: &Value, at: &str, fallback: &str) -> Result<Self, ZooError> {
        let mut raw: Raw = match config {
            Value::Null => Raw::default(),
            value => read_part(value, at)?,
        };
        let field = |name: &str| format!("{at}{name}");
        let kind = raw.model_type.as_deref().unwrap_or(fallback);
        let unsupported = |name: &str, found: String, supported: String| ZooError::Unsupported {
            field: field(name),
            found,
            supported,
        };
        let family = FAMILIES.iter().find(|f| f.model_type == kind).ok_or_else(|| {
            unsupported("model_type", kind.to_owned(), Self::families().collect::<Vec<_>>().join(", "))
        })?;
        refuse_nulls(config, at, kind)?;
        causal(config, at)?;
        if raw.quantization_config.is_some() {
            let found = "a quantised checkpoint".to_owned();
            return Err(unsupported("quantization_config", found, "f32, f16 and bf16 weights".to_owned()));
        }
        if kind == "gpt2" {
            // It has no such options, whatever a file says.
            (raw.num_key_value_heads, raw.head_dim) = (None, None);
        }
        let d_model = raw.hidden_size.or(raw.n_embd).unwrap_or(family.d_model);
        let heads = raw.num_attention_heads.or(raw.n_head).unwrap_or(family.heads);
        let layers = raw.num_hidden_layers.or(raw.n_layer).unwrap_or(family.blocks);
        let kv_heads = raw.num_key_value_heads.or(family.kv_heads).unwrap_or(heads);
        positive(&field("hidden_size"), d_model)?;
        let neurons = raw.intermediate_size.or(raw.n_inner).unwrap_or(match family.neurons {
            0 => 4 * d_model,
            neurons => neurons,
        });
        let vocab = raw.vocab_size.unwrap_or(family.vocab);
        let max_positions = raw.max_position_embeddings.or(raw.n_positions).unwrap_or(family.max_positions);
        for (name, value) in [
            ("intermediate_size", neurons),
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
            ("vocab_size", vocab),
        ] {
            positive(&field(name), value)?;
        }
        blocks(&field("num_hidden_layers"), layers)?;
        divides(&field("num_key_value_heads"), kv_heads, "num_attention_heads", heads)?;
        let d_head = match raw.head_dim.or(family.d_head) {
            Some(width) => width,
            None => {
                divides(&field("num_attention_heads"), heads, "hidden_size", d_model)?;
                d_model / heads
            }
        };
        positive(&field("head_dim"), d_head)?;
        positive(&field("max_position_embeddings"), max_positions)?;
        let (act_field, act) = match kind {
            "gpt2" => ("activation_function", &raw.activation_function),
            "gemma2" => ("hidden_activation", &raw.hidden_activation),
            _ => ("hidden_act", &raw.hidden_act),
        };
        let act = act.as_deref().unwrap_or(family.act);
        for (name, eps) in
            [("rms_norm_eps", raw.rms_norm_eps), ("layer_norm_epsilon", raw.layer_norm_epsilon)]
        {
            above_zero(&field(name), eps)?;
        }
        let mut config = Self {
            model_type: kind.to_owned(),
            d_model,
            neurons,
            blocks: layers,
            heads,
            kv_heads,
            d_head,
            vocab,
            max_positions,
            act: Act::named(&field(act_field), act)?,
            norm: NormKind::Rms { eps: raw.rms_norm_eps.unwrap_or(1e-6), offset: 0.0 },
            rope: None,
            qkv_bias: raw.attention_bias.unwrap_or(false),
            out_bias: raw.attention_bias.unwrap_or(false),
            mlp_bias: raw.mlp_bias.unwrap_or(false),
            head_norms: false,
            norms_around: false,
            scale: (d_head as f32).powf(-0.5),
            scale_by_block: false,
            score_cap: None,
            logit_cap: None,
            windows: vec![None; layers],
            embed_scale: None,
            tied: raw.tie_word_embeddings.unwrap_or(family.tied),
        };
        (family.finish)(&raw, &mut config, at)?;
        Ok(config)
    }
}

/// Refuses what a family does not take as null.
///
/// # Errors
/// [`ZooError::Value`] by the field.
pub(crate) fn refuse_nulls(config: &Value, at: &str, kind: &str) -> Result<(), ZooError> {
    present(config, at, NEVER_NULL)?;
    let own = FAMILIES.iter().find(|family| family.model_type == kind);
    present(config, at, own.map_or(&[], |family| family.never_null))
}

fn rotary(raw: &Raw, config: &mut DecoderConfig, at: &str) -> Result<(), ZooError> {
    divides("rotary pairs: 2", 2, &format!("{at}head_dim"), config.d_head)?;
    // An older config's `rope_scaling` goes before `rope_parameters`, unless it is empty.
    let older = raw.rope_scaling.as_ref().filter(|v| v.as_object().is_none_or(|map| !map.is_empty()));
    let mut parameters = older.or(raw.rope_parameters.as_ref()).cloned().unwrap_or_else(|| json!({}));
    if let Some(map) = parameters.as_object_mut() {
        let set = |value: &Option<Value>| value.clone().filter(|v| !v.is_null());
        if let Some(original) = set(&raw.original_max_position_embeddings) {
            map.insert("original_max_position_embeddings".to_owned(), original);
        }
        if let Some(partial) = set(&raw.partial_rotary_factor) {
            map.entry("partial_rotary_factor").or_insert(partial);
        }
    }
    config.rope =
        Some(RopeConfig::read(Some(&parameters), raw.rope_theta, config.d_head, config.max_positions)?);
    Ok(())
}

fn llama(raw: &Raw, config: &mut DecoderConfig, at: &str) -> Result<(), ZooError> {
    no_window(raw, config, at)?;
    rotary(raw, config, at)
}

/// Attention of this family sees all earlier positions. The cache of transformers cuts at a window all the same if the config names
/// one, so that its generation differs from its own pass.
fn no_window(raw: &Raw, config: &DecoderConfig, at: &str) -> Result<(), ZooError> {
    let slides = |types: &Vec<String>| types.iter().any(|kind| kind == "sliding_attention");
    let cut = raw.sliding_window.flatten().filter(|size| *size < config.max_positions);
    match cut.filter(|_| raw.layer_types.as_ref().is_none_or(slides)) {
        None => Ok(()),
        Some(size) => Err(ZooError::Unsupported {
            field: format!("{at}sliding_window"),
            found: size.to_string(),
            supported: format!("null, or the {} positions of the model", config.max_positions),
        }),
    }
}

/// `layer_types` says which blocks have the window; `by_default` decides where it is missing.
fn windows(
    raw: &Raw,
    config: &mut DecoderConfig,
    at: &str,
    size: Option<usize>,
    by_default: impl Fn(usize) -> bool,
) -> Result<(), ZooError> {
    if let Some(size) = size {
        positive(&format!("{at}sliding_window"), size)?;
    }
    let none = || ZooError::Value {
        field: format!("{at}sliding_window"),
        found: "null".to_owned(),
        expected: "a number of positions, since `layer_types` has sliding_attention".to_owned(),
    };
    let Some(types) = &raw.layer_types else {
        config.windows = (0..config.blocks).map(|i| size.filter(|_| by_default(i))).collect();
        return Ok(());
    };
    if types.len() != config.blocks {
        return Err(ZooError::Value {
            field: format!("{at}layer_types"),
            found: format!("{} entries", types.len()),
            expected: format!("one for each of {} blocks", config.blocks),
        });
    }
    let mut windows = Vec::with_capacity(types.len());
    for kind in types {
        windows.push(match kind.as_str() {
            "full_attention" => None,
            "sliding_attention" => Some(size.ok_or_else(none)?),
            other => {
                return Err(ZooError::Unsupported {
                    field: format!("{at}layer_types"),
                    found: other.to_owned(),
                    supported: "full_attention, sliding_attention".to_owned(),
                });
            }
        });
    }
    config.windows = windows;
    Ok(())
}

fn mistral(raw: &Raw, config: &mut DecoderConfig, at: &str) -> Result<(), ZooError> {
    rotary(raw, config, at)?;
    (config.qkv_bias, config.out_bias, config.mlp_bias) = (false, false, false);
    let size = raw.sliding_window.unwrap_or(Some(4096));
    if let Some(size) = size {
        positive(&format!("{at}sliding_window"), size)?;
    }
    // `layer_types` has no say here.
    config.windows = vec![size; config.blocks];
    Ok(())
}

fn qwen2(raw: &Raw, config: &mut DecoderConfig, at: &str) -> Result<(), ZooError> {
    rotary(raw, config, at)?;
    (config.qkv_bias, config.out_bias, config.mlp_bias) = (true, false, false);
    qwen_windows(raw, config, at)
}

fn qwen3(raw: &Raw, config: &mut DecoderConfig, at: &str) -> Result<(), ZooError> {
    rotary(raw, config, at)?;
    (config.head_norms, config.mlp_bias) = (true, false);
    qwen_windows(raw, config, at)
}

fn qwen_windows(raw: &Raw, config: &mut DecoderConfig, at: &str) -> Result<(), ZooError> {
    let used = raw.use_sliding_window.unwrap_or(false);
    let size = raw.sliding_window.unwrap_or(Some(4096)).filter(|_| used);
    let first = raw.max_window_layers.unwrap_or(28);
    windows(raw, config, at, size, |block| block >= first)
}

fn gemma2(raw: &Raw, config: &mut DecoderConfig, at: &str) -> Result<(), ZooError> {
    rotary(raw, config, at)?;
    config.norm = NormKind::Rms { eps: raw.rms_norm_eps.unwrap_or(1e-6), offset: 1.0 };
    (config.norms_around, config.mlp_bias) = (true, false);
    if raw.use_bidirectional_attention == Some(true) {
        return Err(ZooError::Unsupported {
            field: format!("{at}use_bidirectional_attention"),
            found: "true".to_owned(),
            supported: "false".to_owned(),
        });
    }
    let field = |name: &str| format!("{at}{name}");
    let scalar = above_zero(&field("query_pre_attn_scalar"), raw.query_pre_attn_scalar)?;
    config.scale = scalar.unwrap_or(256.0).powf(-0.5);
    let cap = raw.attn_logit_softcapping.unwrap_or(Some(50.0));
    config.score_cap = above_zero(&field("attn_logit_softcapping"), cap)?;
    let cap = raw.final_logit_softcapping.unwrap_or(Some(30.0));
    config.logit_cap = above_zero(&field("final_logit_softcapping"), cap)?;
    config.embed_scale = Some((config.d_model as f32).sqrt());
    windows(raw, config, at, raw.sliding_window.unwrap_or(Some(4096)), |block| block % 2 == 0)
}

fn gpt2(raw: &Raw, config: &mut DecoderConfig, at: &str) -> Result<(), ZooError> {
    let refuse = |name: &str, found: &str, supported: &str| {
        Err(ZooError::Unsupported {
            field: format!("{at}{name}"),
            found: found.to_owned(),
            supported: supported.to_owned(),
        })
    };
    no_window(raw, config, at)?;
    config.scale_by_block = raw.scale_attn_by_inverse_layer_idx == Some(true);
    if raw.add_cross_attention == Some(true) {
        return refuse("add_cross_attention", "true", "false");
    }
    if raw.scale_attn_weights == Some(false) {
        config.scale = 1.0;
    }
    config.norm = NormKind::Layer { eps: raw.layer_norm_epsilon.unwrap_or(1e-5) };
    (config.qkv_bias, config.out_bias, config.mlp_bias) = (true, true, true);
    Ok(())
}
