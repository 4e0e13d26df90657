//! Configs of image towers, of every family, read into one form.

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::read_part;
use crate::parts::Act;
use crate::{ZooError, above_zero, blocks, divides, positive, present};

/// What an image tower is, whatever its family calls it.
#[derive(Debug, Clone, PartialEq)]
pub struct TowerConfig {
    /// The `model_type` it was read from.
    pub model_type: String,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Neurons of an MLP.
    pub neurons: usize,
    /// Blocks.
    pub blocks: usize,
    /// Heads.
    pub heads: usize,
    /// Colour channels.
    pub channels: usize,
    /// Side of the picture.
    pub image_size: usize,
    /// Side of a patch.
    pub patch_size: usize,
    /// Nonlinearity.
    pub act: Act,
    /// Of the layer norms.
    pub eps: f64,
    /// Whether a class token comes first.
    pub class_token: bool,
    /// Whether files keep class token and positions behind axes of length one.
    pub leading_axes: bool,
    /// Whether the patch embedding has a bias.
    pub patch_bias: bool,
    /// Whether there is a norm before the first block.
    pub input_norm: bool,
    /// How q, k and v are kept.
    pub qkv: Qkv,
    /// Patches along the side of the pictures that positions were learned for, where pictures of another size take them
    /// by fraction of the side; `None` where pictures have the one size.
    pub learned: Option<usize>,
}

/// How a tower's files keep q, k and v.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qkv {
    /// As three products, with or without biases.
    Apart {
        /// Whether they have biases.
        bias: bool,
    },
    /// As one, `self_attn.qkv`.
    Together {
        /// Whether it has a bias.
        bias: bool,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    model_type: Option<String>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_channels: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    qkv_bias: Option<bool>,
}

/// What a family leaves out, and what sets it apart.
struct Family {
    model_type: &'static str,
    defaults: Sizes,
    act: &'static str,
    eps: f64,
    class_token: bool,
    leading_axes: bool,
    patch_bias: bool,
    input_norm: bool,
    fused: bool,
    fractional: bool,
}

/// Width, neurons, blocks, heads, side of the picture, side of a patch.
type Sizes = [usize; 6];

/// Every family, with the defaults of its config class in transformers.
const FAMILIES: &[Family] = &[
    Family {
        model_type: "clip_vision_model",
        defaults: [768, 3072, 12, 12, 224, 32],
        act: "quick_gelu",
        eps: 1e-5,
        class_token: true,
        leading_axes: false,
        patch_bias: false,
        input_norm: true,
        fused: false,
        fractional: false,
    },
    Family {
        model_type: "siglip_vision_model",
        defaults: [768, 3072, 12, 12, 224, 16],
        act: "gelu_pytorch_tanh",
        eps: 1e-6,
        class_token: false,
        leading_axes: false,
        patch_bias: true,
        input_norm: false,
        fused: false,
        fractional: false,
    },
    Family {
        model_type: "vit",
        defaults: [768, 3072, 12, 12, 224, 16],
        act: "gelu",
        eps: 1e-12,
        class_token: true,
        leading_axes: true,
        patch_bias: true,
        input_norm: false,
        fused: false,
        fractional: false,
    },
    Family {
        model_type: "blip_vision_model",
        defaults: [768, 3072, 12, 12, 384, 16],
        act: "gelu",
        eps: 1e-5,
        class_token: true,
        leading_axes: true,
        patch_bias: true,
        input_norm: false,
        fused: true,
        fractional: false,
    },
    Family {
        model_type: "idefics3_vision",
        defaults: [1152, 3072, 12, 16, 224, 32],
        act: "gelu_pytorch_tanh",
        eps: 1e-6,
        class_token: false,
        leading_axes: false,
        patch_bias: true,
        input_norm: false,
        fused: false,
        fractional: true,
    },
    Family {
        model_type: "smolvlm_vision",
        defaults: [1152, 3072, 12, 16, 224, 32],
        act: "gelu_pytorch_tanh",
        eps: 1e-6,
        class_token: false,
        leading_axes: false,
        patch_bias: true,
        input_norm: false,
        fused: false,
        fractional: true,
    },
];

/// Fields that no family takes as null.
const NEVER_NULL: [&str; 8] = [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
];

impl TowerConfig {
    /// The `model_type` of every family that can be read.
    pub fn families() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().map(|f| f.model_type)
    }

    /// Reads a config; `at` is what errors put before a field, such as `vision_config.` or nothing. A config without
    /// `model_type` is taken for `fallback`.
    ///
    /// # Errors
    /// A family or option that is not supported, a value that cannot be.
    pub fn read(config: &Value, at: &str, fallback: &str) -> Result<Self, ZooError> {
        let raw: Raw = match config {
            Value::Null => Raw::default(),
            value => read_part(value, at)?,
        };
        let field = |name: &str| format!("{at}{name}");
        let kind = raw.model_type.as_deref().unwrap_or(fallback);
        let family = FAMILIES.iter().find(|f| f.model_type == kind).ok_or_else(|| ZooError::Unsupported {
            field: field("model_type"),
            found: kind.to_owned(),
            supported: Self::families().collect::<Vec<_>>().join(", "),
        })?;
        present(config, at, &NEVER_NULL)?;
        match kind {
            // BLIP's class has no such field, so that it is left alone.
            "blip_vision_model" => {}
            "vit" => present(config, at, &["num_channels", "qkv_bias"])?,
            _ => present(config, at, &["num_channels"])?,
        }
        let [d_model, neurons, layers, heads, image_size, patch_size] = family.defaults;
        let bias = raw.qkv_bias.unwrap_or(true);
        let config = Self {
            model_type: kind.to_owned(),
            d_model: raw.hidden_size.unwrap_or(d_model),
            neurons: raw.intermediate_size.unwrap_or(neurons),
            blocks: raw.num_hidden_layers.unwrap_or(layers),
            heads: raw.num_attention_heads.unwrap_or(heads),
            channels: raw.num_channels.unwrap_or(3),
            image_size: raw.image_size.unwrap_or(image_size),
            patch_size: raw.patch_size.unwrap_or(patch_size),
            act: Act::named(&field("hidden_act"), raw.hidden_act.as_deref().unwrap_or(family.act))?,
            eps: raw.layer_norm_eps.unwrap_or(family.eps),
            class_token: family.class_token,
            leading_axes: family.leading_axes,
            patch_bias: family.patch_bias,
            input_norm: family.input_norm,
            qkv: if family.fused { Qkv::Together { bias } } else { Qkv::Apart { bias } },
            learned: None,
        };
        for (name, value) in [
            ("hidden_size", config.d_model),
            ("intermediate_size", config.neurons),
            ("num_attention_heads", config.heads),
            ("num_channels", config.channels),
            ("image_size", config.image_size),
            ("patch_size", config.patch_size),
        ] {
            positive(&field(name), value)?;
        }
        above_zero(&field("layer_norm_eps"), raw.layer_norm_eps)?;
        blocks(&field("num_hidden_layers"), config.blocks)?;
        if config.grid() == 0 {
            return Err(ZooError::Value {
                field: field("patch_size"),
                found: config.patch_size.to_string(),
                expected: format!("at most image_size = {}", config.image_size),
            });
        }
        divides(&field("num_attention_heads"), config.heads, "hidden_size", config.d_model)?;
        let learned = family.fractional.then(|| config.grid());
        Ok(Self { learned, ..config })
    }

    /// The same tower for pictures of another size, where its family takes them.
    ///
    /// # Errors
    /// A size that it does not take; `field` is where it comes from.
    pub fn with_side(self, field: &str, side: usize) -> Result<Self, ZooError> {
        let (fits, expected) = match self.learned {
            Some(_) => (side >= self.patch_size, format!("at least patch_size = {}", self.patch_size)),
            None => (side == self.image_size, format!("image_size = {}", self.image_size)),
        };
        if !fits {
            return Err(ZooError::Value { field: field.to_owned(), found: side.to_string(), expected });
        }
        Ok(Self { image_size: side, ..self })
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Positions of a picture: the class token, where there is one, and the patches.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid() + usize::from(self.class_token)
    }
}
