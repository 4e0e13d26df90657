//! The LLaMA decoder (Touvron et al. 2023): RMS norms, rotary positions, grouped heads, a gated MLP.
//!
//! Follows `LlamaForCausalLM` of transformers.

use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens_core::{Anatomy, Asked, AxisName, Part, Point, Resume, Run, Site, SiteSpec};
use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::WeightSource;
use crate::parts::{
    Act, Attention, AttentionShape, Block, Embedding, KvCache, Linear, Masking, Mlp, Norm, RopeConfig,
    block_sites,
};
use crate::{ZooError, blocks, divides, positive};

/// `text_config` of a LLaMA decoder.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct LlamaConfig {
    /// Kind of decoder.
    pub model_type: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Neurons of an MLP.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; as many as query heads if absent.
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; `hidden_size / num_attention_heads` if absent.
    pub head_dim: Option<usize>,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Longest trained sequence.
    pub max_position_embeddings: usize,
    /// Nonlinearity.
    pub hidden_act: String,
    /// Of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies, in older configs.
    pub rope_theta: Option<f64>,
    /// Rotary settings of older configs.
    pub rope_scaling: Option<Value>,
    /// Rotary settings of newer configs.
    pub rope_parameters: Option<Value>,
    /// Whether q, k, v and o have biases.
    pub attention_bias: bool,
    /// Whether the MLP has biases.
    pub mlp_bias: bool,
    /// Whether the unembedding is the embedding.
    pub tie_word_embeddings: bool,
}

impl Default for LlamaConfig {
    /// What a config leaves out: LLaMA 7B.
    fn default() -> Self {
        Self {
            model_type: "llama".to_owned(),
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            vocab_size: 32000,
            max_position_embeddings: 2048,
            hidden_act: "silu".to_owned(),
            rms_norm_eps: 1e-6,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            attention_bias: false,
            mlp_bias: false,
            tie_word_embeddings: false,
        }
    }
}

impl LlamaConfig {
    fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    pub(crate) fn head_width(&self) -> Result<usize, ZooError> {
        for (field, value) in [
            ("text_config.hidden_size", self.hidden_size),
            ("text_config.intermediate_size", self.intermediate_size),
            ("text_config.num_attention_heads", self.num_attention_heads),
            ("text_config.num_key_value_heads", self.kv_heads()),
            ("text_config.vocab_size", self.vocab_size),
        ] {
            positive(field, value)?;
        }
        blocks("text_config.num_hidden_layers", self.num_hidden_layers)?;
        if self.model_type != "llama" {
            return Err(ZooError::Unsupported {
                field: "text_config.model_type".to_owned(),
                found: self.model_type.clone(),
                supported: "llama".to_owned(),
            });
        }
        divides(
            "text_config.num_key_value_heads",
            self.kv_heads(),
            "num_attention_heads",
            self.num_attention_heads,
        )?;
        let width = match self.head_dim {
            Some(width) => width,
            None => {
                divides(
                    "text_config.num_attention_heads",
                    self.num_attention_heads,
                    "hidden_size",
                    self.hidden_size,
                )?;
                self.hidden_size / self.num_attention_heads
            }
        };
        positive("text_config.head_dim", width)?;
        divides("rotary pairs: 2", 2, "text_config.head_dim", width)?;
        Ok(width)
    }
}

/// The decoder.
#[derive(Debug, Clone)]
pub struct Llama {
    config: LlamaConfig,
    rope: RopeConfig,
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
}

impl Llama {
    /// Takes the decoder's weights below a prefix such as `model.language_model`; the unembedding is `lm_head`, or
    /// the embedding where they are tied.
    ///
    /// # Errors
    /// A config that cannot be, or a tensor that is missing or misshapen.
    pub fn take(
        config: LlamaConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
        head: &str,
    ) -> Result<Self, ZooError> {
        let width = config.head_width()?;
        let (d, eps, neurons) = (config.hidden_size, config.rms_norm_eps, config.intermediate_size);
        let act = Act::named("text_config.hidden_act", &config.hidden_act)?;
        let parameters = config.rope_parameters.as_ref().or(config.rope_scaling.as_ref());
        let rope = RopeConfig::read(parameters, config.rope_theta, width, config.max_position_embeddings)?;
        let shape = AttentionShape {
            heads: config.num_attention_heads,
            kv_heads: config.kv_heads(),
            width,
            scale: (width as f32).powf(-0.5),
        };
        let (bias, outer, inner) = (config.attention_bias, shape.heads * width, shape.kv_heads * width);
        let embedding = Embedding::take(weights, &format!("{prefix}.embed_tokens"), config.vocab_size, d)?;
        let mut blocks = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            let at = |name: &str| format!("{prefix}.layers.{i}.{name}");
            blocks.push(Block {
                attn_norm: Norm::rms(weights, &at("input_layernorm"), d, eps)?,
                attn: Attention {
                    q: Linear::take(weights, &at("self_attn.q_proj"), d, outer, bias)?,
                    k: Linear::take(weights, &at("self_attn.k_proj"), d, inner, bias)?,
                    v: Linear::take(weights, &at("self_attn.v_proj"), d, inner, bias)?,
                    o: Linear::take(weights, &at("self_attn.o_proj"), outer, d, bias)?,
                    shape,
                },
                mlp_norm: Norm::rms(weights, &at("post_attention_layernorm"), d, eps)?,
                mlp: Mlp::Gated {
                    gate: Linear::take(weights, &at("mlp.gate_proj"), d, neurons, config.mlp_bias)?,
                    up: Linear::take(weights, &at("mlp.up_proj"), d, neurons, config.mlp_bias)?,
                    down: Linear::take(weights, &at("mlp.down_proj"), neurons, d, config.mlp_bias)?,
                    act,
                },
            });
        }
        let norm = Norm::rms(weights, &format!("{prefix}.norm"), d, eps)?;
        let head = if config.tie_word_embeddings {
            Linear::new(embedding.table().clone(), None)
        } else {
            Linear::take(weights, head, d, config.vocab_size, false)?
        };
        Ok(Self { config, rope, embedding, blocks, norm, head })
    }

    /// Its config.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let shape = self.blocks.first().map(|b| b.attn.shape);
        Anatomy {
            part: Part::Text,
            blocks: self.blocks.len(),
            heads: self.config.num_attention_heads,
            kv_heads: self.config.kv_heads(),
            d_model: self.config.hidden_size,
            d_head: shape.map_or(0, |s| s.width),
            d_mlp: self.config.intermediate_size,
        }
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Pos, Vocab};
        let d = self.config.hidden_size;
        let stream = [(Batch, None), (Pos, None), (DModel, Some(d))];
        let spec = |point| SiteSpec::new(Site::of(Part::Text, point), stream);
        let mut sites = vec![spec(Point::Embed), spec(Point::Input)];
        for (i, block) in self.blocks.iter().enumerate() {
            sites.extend(block_sites(block, Part::Text, i, d, Batch, true));
        }
        sites.push(spec(Point::FinalNorm));
        let logits = [(Batch, None), (Pos, None), (Vocab, Some(self.config.vocab_size))];
        sites.push(SiteSpec::new(Site::of(Part::Text, Point::Logits), logits));
        sites
    }

    /// Token vectors, `[batch, pos]` to `[batch, pos, d]`.
    ///
    /// # Errors
    /// [`ZooError::Token`] for an id outside the vocabulary.
    pub fn embed(&self, ids: &[Vec<u32>], device: &Device) -> Result<Tensor<3>, ZooError> {
        if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= self.config.vocab_size) {
            return Err(ZooError::Token { id: *id, vocab: self.config.vocab_size });
        }
        let (b, p) = (ids.len(), ids.first().map_or(0, Vec::len));
        let flat: Vec<i64> = ids.iter().flatten().map(|id| i64::from(*id)).collect();
        Ok(self.embedding.apply(Tensor::<2, Int>::from_data(TensorData::new(flat, [b, p]), device)))
    }

    /// Everything from `text.input` to the logits, `[batch, asked, vocab]`; `None` if the pass ended before.
    ///
    /// `pads` are the positions of padding each row of the whole sequence starts with; cached positions come before.
    /// If the run resumes in a block, `x` is not used but for its shape.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn forward(
        &self,
        x: Tensor<3>,
        pads: &[usize],
        asked: Asked,
        mut cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let (first, mut x) = match run.resume(Part::Text) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                if hidden.dims() != x.dims() {
                    return Err(ZooError::State {
                        found: hidden.dims().to_vec(),
                        expected: x.dims().to_vec(),
                    });
                }
                (block, hidden)
            }
            _ => (0, run.at(Site::of(Part::Text, Point::Input), x)?),
        };
        let past = cache.as_ref().map_or(0, |c| c.positions());
        let [_, length, _] = x.dims();
        let device = x.device().without_autodiff();
        let positions: Vec<Vec<usize>> =
            pads.iter().map(|pad| (past..past + length).map(|i| i.saturating_sub(*pad)).collect()).collect();
        let rotation = self.rope.rotation(&positions, &device);
        let masking = Masking::causal(pads, past, length, &device);
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            if run.done() {
                return Ok(None);
            }
            x = block.forward(x, (Part::Text, i), Some(&rotation), &masking, cache.as_deref_mut(), run)?;
        }
        if run.done() {
            return Ok(None);
        }
        let site = Site::of(Part::Text, Point::FinalNorm);
        let last = |x: Tensor<3>| if asked == Asked::Last { x.narrow(1, length - 1, 1) } else { x };
        let x =
            if run.wants(site) { last(run.at(site, self.norm.apply(x))?) } else { self.norm.apply(last(x)) };
        if run.done() {
            return Ok(None);
        }
        Ok(Some(run.at(Site::of(Part::Text, Point::Logits), self.head.apply(x))?))
    }

    /// Final norm and unembedding of residual states, `[rows, d]` to `[rows, vocab]`.
    pub fn unembed(&self, states: Tensor<2>) -> Tensor<2> {
        self.head.apply(self.norm.apply(states))
    }
}
