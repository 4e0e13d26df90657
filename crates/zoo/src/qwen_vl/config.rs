//! Configs of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, older and newer, read into one form.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::checkpoint::read_part;
use crate::decoder::{DecoderConfig, refuse_nulls};
use crate::parts::Act;
use crate::{ZooError, above_zero, blocks, divides, positive, present};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QwenKind {
    /// Qwen2-VL (Wang et al. 2024).
    Two,
    /// Qwen2.5-VL (Bai et al. 2025).
    TwoFive,
    /// Qwen3-VL, dense.
    Three,
}

impl QwenKind {
    const ALL: [Self; 3] = [Self::Two, Self::TwoFive, Self::Three];

    /// Its `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Two => "qwen2_vl",
            Self::TwoFive => "qwen2_5_vl",
            Self::Three => "qwen3_vl",
        }
    }

    /// Whether every frame of a clip is a block of its own in the text, behind its time.
    pub fn frames_apart(self) -> bool {
        self == Self::Three
    }
}

/// `config.json` of a Qwen-VL checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct QwenVlConfig {
    /// Which of the three.
    pub kind: QwenKind,
    /// The tower.
    pub vision: QwenTowerConfig,
    /// The decoder.
    pub text: DecoderConfig,
    /// The token of a picture's positions.
    pub image_token: u32,
    /// The token of a clip's positions.
    pub video_token: u32,
}

/// The tower's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct QwenTowerConfig {
    /// Which of the three.
    pub kind: QwenKind,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Blocks.
    pub blocks: usize,
    /// Heads.
    pub heads: usize,
    /// Neurons of an MLP.
    pub neurons: usize,
    /// Nonlinearity of the MLPs.
    pub act: Act,
    /// Width after the merger.
    pub out: usize,
    /// Colour channels.
    pub channels: usize,
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Frames of a patch.
    pub frames: usize,
    /// Side of what is merged into one position, in patches.
    pub merge: usize,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// Windows, where there are any.
    pub windows: Option<Windows>,
    /// Side of the table of learned positions, and its rows, where there is one.
    pub table: Option<(usize, usize)>,
    /// Blocks whose output is merged for the decoder's first blocks, as the config lists them.
    pub deepstack: Vec<usize>,
    /// Positions in time for each second of a clip.
    pub per_second: Option<f32>,
}

/// Which patches attend to one another in which block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Side of a window, in merged patches.
    pub side: usize,
    /// Blocks without windows.
    pub full: Vec<usize>,
}

impl QwenTowerConfig {
    /// Numbers of a patch: colour, frame, row, column.
    pub fn values(&self) -> usize {
        self.channels * self.frames * self.patch * self.patch
    }

    /// Patches that are merged into one position.
    pub fn unit(&self) -> usize {
        self.merge * self.merge
    }

    /// Width of a head.
    pub fn d_head(&self) -> usize {
        self.d_model / self.heads
    }

    /// Whether a block's patches attend within windows alone.
    pub fn windowed(&self, block: usize) -> bool {
        self.windows.as_ref().is_some_and(|windows| !windows.full.contains(&block))
    }

    /// Blocks whose output is merged, in the order of a pass, each with the number of its merger.
    pub fn deep(&self) -> Vec<(usize, usize)> {
        let mut deep: Vec<(usize, usize)> =
            self.deepstack.iter().enumerate().map(|(merger, block)| (*block, merger)).collect();
        deep.sort_unstable();
        deep
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawTower {
    model_type: Option<String>,
    #[serde(alias = "num_hidden_layers")]
    depth: Option<usize>,
    embed_dim: Option<usize>,
    hidden_size: Option<usize>,
    out_hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    mlp_ratio: Option<usize>,
    #[serde(alias = "num_attention_heads")]
    num_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    in_channels: Option<usize>,
    patch_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    spatial_merge_size: Option<usize>,
    window_size: Option<usize>,
    fullatt_block_indexes: Option<Vec<usize>>,
    tokens_per_second: Option<f32>,
    num_position_embeddings: Option<usize>,
    deepstack_visual_indexes: Option<Vec<usize>>,
    rope_parameters: Option<RawRope>,
    rope_theta: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawRope {
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

fn unsupported(field: &str, found: impl ToString, supported: &str) -> ZooError {
    let (field, found, supported) = (field.to_owned(), found.to_string(), supported.to_owned());
    ZooError::Unsupported { field, found, supported }
}

fn value(field: &str, found: impl ToString, expected: impl ToString) -> ZooError {
    let (found, expected) = (found.to_string(), expected.to_string());
    ZooError::Value { field: field.to_owned(), found, expected }
}

impl QwenVlConfig {
    /// Reads `config.json`: text settings below `text_config`, or among the rest as in files of transformers 4.
    ///
    /// # Errors
    /// A kind or option that is not supported; a value that cannot be.
    pub fn read(config: &Value) -> Result<Self, ZooError> {
        let said = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let names = QwenKind::ALL.map(QwenKind::name).join(", ");
        let kind = QwenKind::ALL.into_iter().find(|k| k.name() == said);
        let kind = kind.ok_or_else(|| unsupported("model_type", said, &names))?;
        if config.get("quantization_config").is_some_and(|q| !q.is_null()) {
            let supported = "f32, f16 and bf16 weights";
            return Err(unsupported("quantization_config", "a quantised checkpoint", supported));
        }
        present(config, "", &["image_token_id", "video_token_id", "tie_word_embeddings"])?;
        let vision = QwenTowerConfig::read(config.get("vision_config").unwrap_or(&Value::Null), kind)?;
        let text = text(config, kind)?;
        if vision.out != text.d_model {
            let field = if kind == QwenKind::Two { "hidden_size" } else { "out_hidden_size" };
            let expected = format!("the decoder's hidden_size = {}", text.d_model);
            return Err(value(&format!("vision_config.{field}"), vision.out, expected));
        }
        let token = |field: &str, default: u32| match config.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(id) => {
                let known = id.as_u64().and_then(|id| u32::try_from(id).ok());
                known.ok_or_else(|| value(field, id, "a token id"))
            }
        };
        let image_token = token("image_token_id", 151_655)?;
        let video_token = token("video_token_id", 151_656)?;
        if image_token == video_token {
            return Err(value("video_token_id", video_token, "another token than image_token_id"));
        }
        Ok(Self { kind, vision, text, image_token, video_token })
    }
}

/// Fields of a tower that none of the three takes as null.
const NEVER_NULL: [&str; 8] = [
    "depth",
    "hidden_size",
    "num_heads",
    "hidden_act",
    "in_channels",
    "patch_size",
    "temporal_patch_size",
    "spatial_merge_size",
];

impl QwenTowerConfig {
    fn read(config: &Value, kind: QwenKind) -> Result<Self, ZooError> {
        let raw: RawTower = match config {
            Value::Null => RawTower::default(),
            given => read_part(given, "vision_config.")?,
        };
        let name = kind.name();
        let own = [name.to_owned(), format!("{name}_vision")];
        if let Some(found) = raw.model_type.filter(|m| !own.contains(m)) {
            return Err(unsupported("vision_config.model_type", found, &own.join(", ")));
        }
        let own: &[&str] = match kind {
            QwenKind::Two => &["embed_dim", "mlp_ratio", "head_dim"],
            QwenKind::TwoFive => &[
                "out_hidden_size",
                "intermediate_size",
                "window_size",
                "fullatt_block_indexes",
                "tokens_per_second",
            ],
            QwenKind::Three => &[
                "out_hidden_size",
                "intermediate_size",
                "num_position_embeddings",
                "deepstack_visual_indexes",
            ],
        };
        present(config, "vision_config.", &NEVER_NULL)?;
        present(config, "vision_config.", own)?;
        let two = kind == QwenKind::Two;
        let (depth, wide, heads, patch, act) = match kind {
            QwenKind::Two => (32, 1280, 16, 14, "quick_gelu"),
            QwenKind::TwoFive => (32, 3584, 16, 14, "silu"),
            QwenKind::Three => (27, 1152, 16, 16, "gelu_pytorch_tanh"),
        };
        let at = |field: &str| format!("vision_config.{field}");
        let d_model = if two { raw.embed_dim } else { raw.hidden_size }.unwrap_or(wide);
        let out = if two { raw.hidden_size } else { raw.out_hidden_size }.unwrap_or(3584);
        let neurons = match kind {
            QwenKind::Two => d_model.saturating_mul(raw.mlp_ratio.unwrap_or(4)),
            QwenKind::TwoFive => raw.intermediate_size.unwrap_or(3420),
            QwenKind::Three => raw.intermediate_size.unwrap_or(4304),
        };
        let mut tower = Self {
            kind,
            d_model,
            blocks: raw.depth.unwrap_or(depth),
            heads: raw.num_heads.unwrap_or(heads),
            neurons,
            act: Act::named(&at("hidden_act"), raw.hidden_act.as_deref().unwrap_or(act))?,
            out,
            channels: raw.in_channels.unwrap_or(3),
            patch: raw.patch_size.unwrap_or(patch),
            frames: raw.temporal_patch_size.unwrap_or(2),
            merge: raw.spatial_merge_size.unwrap_or(2),
            theta: 10_000.0,
            windows: None,
            table: None,
            deepstack: Vec::new(),
            per_second: None,
        };
        for (field, size) in [
            (if two { "embed_dim" } else { "hidden_size" }, tower.d_model),
            (if two { "hidden_size" } else { "out_hidden_size" }, tower.out),
            (if two { "mlp_ratio" } else { "intermediate_size" }, tower.neurons),
            ("num_heads", tower.heads),
            ("in_channels", tower.channels),
            ("patch_size", tower.patch),
            ("temporal_patch_size", tower.frames),
            ("spatial_merge_size", tower.merge),
        ] {
            positive(&at(field), size)?;
        }
        blocks(&at("depth"), tower.blocks)?;
        divides(&at("num_heads"), tower.heads, "its width", tower.d_model)?;
        divides("rotary frequencies of two axes: 4", 4, "the width of a head", tower.d_head())?;
        if let Some(found) = raw.head_dim.filter(|d| *d != tower.d_head()) {
            return Err(unsupported(&at("head_dim"), found, &tower.d_head().to_string()));
        }
        if tower.channels != 3 {
            return Err(unsupported(&at("in_channels"), tower.channels, "3"));
        }
        let rope = raw.rope_parameters.unwrap_or_default();
        if let Some(found) = rope.rope_type.filter(|t| t != "axial") {
            return Err(unsupported(&at("rope_parameters.rope_type"), found, "axial"));
        }
        above_zero(&at("rope_parameters.rope_theta"), rope.rope_theta)?;
        above_zero(&at("rope_theta"), raw.rope_theta)?;
        tower.theta = rope.rope_theta.or(raw.rope_theta).unwrap_or(tower.theta);
        match kind {
            QwenKind::Two => {}
            QwenKind::TwoFive => {
                let size = raw.window_size.unwrap_or(112);
                let side = size / tower.merge / tower.patch;
                if side == 0 {
                    let least = tower.merge * tower.patch;
                    return Err(value(&at("window_size"), size, format!("at least {least} pixels")));
                }
                let full = raw.fullatt_block_indexes.unwrap_or_else(|| vec![7, 15, 23, 31]);
                tower.windows = Some(Windows { side, full });
                let per_second = raw.tokens_per_second.unwrap_or(4.0);
                if !(per_second.is_finite() && per_second >= 0.0) {
                    return Err(value(&at("tokens_per_second"), per_second, "a number from 0"));
                }
                tower.per_second = Some(per_second);
            }
            QwenKind::Three => {
                let rows = raw.num_position_embeddings.unwrap_or(2304);
                positive(&at("num_position_embeddings"), rows)?;
                tower.table = Some((rows.isqrt(), rows));
                tower.deepstack = raw.deepstack_visual_indexes.unwrap_or_else(|| vec![8, 16, 24]);
                let deep = tower.deep();
                let twice = deep.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0));
                if twice || deep.last().is_some_and(|(block, _)| *block >= tower.blocks) {
                    let expected = format!("different blocks below {}", tower.blocks);
                    let found = format!("{:?}", tower.deepstack);
                    return Err(value(&at("deepstack_visual_indexes"), found, expected));
                }
            }
        }
        Ok(tower)
    }
}

/// The decoder's settings, with what this family leaves out.
fn text(config: &Value, kind: QwenKind) -> Result<DecoderConfig, ZooError> {
    let (nested, at) = match config.get("text_config") {
        Some(nested @ Value::Object(_)) => (nested, "text_config."),
        _ if kind == QwenKind::Three => (&Value::Null, "text_config."),
        _ => (config, ""),
    };
    let mut text = nested.as_object().cloned().unwrap_or_default();
    let name = kind.name();
    let own = format!("{name}_text");
    let said = text.get("model_type").and_then(Value::as_str).unwrap_or(name);
    if said != name && said != own {
        return Err(unsupported(&format!("{at}model_type"), said, &format!("{name}, {own}")));
    }
    refuse_nulls(nested, at, &own)?;
    text.insert("model_type".to_owned(), json!(own));
    text.retain(|_, v| !v.is_null());
    if !text.contains_key("num_key_value_heads")
        && nested.get("num_key_value_heads").is_some_and(Value::is_null)
    {
        // Said to be none: as many as there are query heads.
        let heads = text.get("num_attention_heads").cloned();
        text.insert("num_key_value_heads".to_owned(), heads.unwrap_or_else(|| json!(defaults(kind).3)));
    }
    let (d_model, neurons, layers, heads, kv_heads, vocab, positions, eps) = defaults(kind);
    for (field, default) in [
        ("hidden_size", json!(d_model)),
        ("intermediate_size", json!(neurons)),
        ("num_hidden_layers", json!(layers)),
        ("num_attention_heads", json!(heads)),
        ("num_key_value_heads", json!(kv_heads)),
        ("vocab_size", json!(vocab)),
        ("max_position_embeddings", json!(positions)),
        ("rms_norm_eps", json!(eps)),
        ("hidden_act", json!("silu")),
        ("max_window_layers", json!(80)),
    ] {
        text.entry(field).or_insert(default);
    }
    if kind == QwenKind::Three {
        text.entry("head_dim").or_insert(json!(128));
        // Its decoder has no windows, whatever is said.
        text.remove("use_sliding_window");
        text.remove("layer_types");
    } else if let Some(found) = text.remove("head_dim") {
        // Sizes that are none are refused by their own fields.
        if let Some(width) = head_width(&text)
            && found.as_u64() != Some(width)
        {
            return Err(unsupported(&format!("{at}head_dim"), found, &width.to_string()));
        }
    }
    rotary(&mut text, kind, at)?;
    let outer = config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
    let inner = text.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
    text.insert("tie_word_embeddings".to_owned(), json!(outer || inner));
    DecoderConfig::read(&Value::Object(text), at, &own)
}

type Defaults = (usize, usize, usize, usize, usize, usize, usize, f64);

/// Width, neurons, blocks, heads, key heads, vocabulary, positions and epsilon.
fn defaults(kind: QwenKind) -> Defaults {
    match kind {
        QwenKind::Three => (4096, 22016, 32, 32, 32, 151_936, 128_000, 1e-6),
        _ => (8192, 29568, 80, 64, 8, 152_064, 32768, 1e-5),
    }
}

/// The width of a head where nothing says it, if the sizes are numbers.
fn head_width(text: &Map<String, Value>) -> Option<u64> {
    let size = |field: &str| text.get(field).and_then(Value::as_u64);
    size("hidden_size")?.checked_div(size("num_attention_heads")?)
}

/// One spelling for the rotary settings: `rope_parameters`, with all three sections.
fn rotary(text: &mut Map<String, Value>, kind: QwenKind, at: &str) -> Result<(), ZooError> {
    let own = |v: Option<Value>| v.and_then(|v| v.as_object().cloned()).filter(|m| !m.is_empty());
    let (older, newer) = (own(text.remove("rope_scaling")), own(text.remove("rope_parameters")));
    let mut rope = older.or(newer).unwrap_or_default();
    let default = if kind == QwenKind::Three { 500_000.0 } else { 1_000_000.0 };
    let theta = text.remove("rope_theta").unwrap_or_else(|| json!(default));
    rope.entry("rope_theta").or_insert(theta);
    let width = text.get("head_dim").and_then(Value::as_u64).or_else(|| head_width(text));
    let interleaved = kind == QwenKind::Three;
    rope.insert("mrope_interleaved".to_owned(), json!(interleaved));
    let sections = rope.entry("mrope_section").or_insert(match interleaved {
        true => json!([24, 20, 20]),
        false => json!([16, 24, 24]),
    });
    // A width that is none is refused by its own field.
    if interleaved && let (Some(width), Value::Array(lengths)) = (width, sections) {
        // The first length has no say: time has what rows and columns leave.
        let rest: u64 = lengths.iter().skip(1).filter_map(Value::as_u64).sum();
        let time = (width / 2).checked_sub(rest);
        let time = time.ok_or_else(|| {
            value(
                &format!("{at}rope_parameters.mrope_section"),
                json!(lengths),
                format!("at most {} in all", width / 2),
            )
        })?;
        if let Some(first) = lengths.first_mut() {
            *first = json!(time);
        }
    }
    text.insert("rope_parameters".to_owned(), Value::Object(rope));
    Ok(())
}
