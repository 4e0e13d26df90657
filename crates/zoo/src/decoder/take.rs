//! Taking a decoder's weights, under the names of its family.

use burn::tensor::Tensor;

use super::{Decoder, DecoderConfig, NormKind};
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Attention, AttentionShape, Block, Embedding, Linear, Mlp, Norm, Norms};

impl Decoder {
    /// Takes the decoder's weights below a prefix such as `model.language_model` (GPT-2: `transformer`); the
    /// unembedding is `head`, or the embedding where they are tied.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: DecoderConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
        head: &str,
    ) -> Result<Self, ZooError> {
        let (d, vocab) = (config.d_model, config.vocab);
        let learned = config.rope.is_none();
        let at = |name: &str| format!("{prefix}.{name}");
        let (embed, head) = (at(if learned { "wte" } else { "embed_tokens" }), format!("{head}.weight"));
        let (embedding, head, tied) =
            embeddings(weights, &format!("{embed}.weight"), &head, [vocab, d], config.tied)?;
        let positions =
            if learned { Some(Embedding::take(weights, &at("wpe"), config.max_positions, d)?) } else { None };
        let mut blocks = Vec::with_capacity(config.blocks);
        for i in 0..config.blocks {
            blocks.push(match learned {
                true => gpt2(&config, weights, i, &at(&format!("h.{i}")))?,
                false => llama(&config, weights, &at(&format!("layers.{i}")))?,
            });
        }
        let norm = norm(&config, weights, &at(if learned { "ln_f" } else { "norm" }))?;
        Ok(Self { config, embedding, positions, blocks, norm, head, tied })
    }
}

/// The embedding and the unembedding. Where they are tied, either name may stand for both; where both are there and differ,
/// the config is wrong and each is its own. Last, whether they are one.
pub(crate) fn embeddings(
    weights: &mut impl WeightSource,
    embed: &str,
    head: &str,
    shape: [usize; 2],
    tied: bool,
) -> Result<(Embedding, Linear, bool), ZooError> {
    let (name, other) =
        if tied && !weights.has(embed) && weights.has(head) { (head, embed) } else { (embed, head) };
    let table = weights.take(name, shape)?;
    let (unembedding, one): (Tensor<2>, bool) = match tied && !weights.has(other) {
        true => (table.clone(), true),
        false => {
            let own = weights.take(other, shape)?;
            let read = tied && !weights.compares();
            let same = read && own.clone().equal(table.clone()).all().into_scalar::<bool>();
            (if same { table.clone() } else { own }, same)
        }
    };
    Ok((Embedding::new(table), Linear::of(weights, unembedding, None), one))
}

fn norm(config: &DecoderConfig, weights: &mut impl WeightSource, name: &str) -> Result<Norm, ZooError> {
    match config.norm {
        NormKind::Layer { eps } => Norm::layer(weights, name, config.d_model, eps),
        NormKind::Rms { eps, offset } => Norm::rms_offset(weights, name, config.d_model, eps, offset),
    }
}

fn shape(config: &DecoderConfig) -> AttentionShape {
    AttentionShape {
        heads: config.heads,
        kv_heads: config.kv_heads,
        width: config.d_head,
        scale: config.scale,
        cap: config.score_cap,
    }
}

fn llama(config: &DecoderConfig, weights: &mut impl WeightSource, prefix: &str) -> Result<Block, ZooError> {
    let at = |name: &str| format!("{prefix}.{name}");
    let (d, neurons, shape) = (config.d_model, config.neurons, shape(config));
    let (outer, inner) = (shape.heads * shape.width, shape.kv_heads * shape.width);
    let (qkv, out, mlp) = (config.qkv_bias, config.out_bias, config.mlp_bias);
    let before = norm(config, weights, &at("input_layernorm"))?;
    let middle = norm(config, weights, &at("post_attention_layernorm"))?;
    let norms = if config.norms_around {
        Norms::Around {
            attn: (before, middle),
            mlp: (
                norm(config, weights, &at("pre_feedforward_layernorm"))?,
                norm(config, weights, &at("post_feedforward_layernorm"))?,
            ),
        }
    } else {
        Norms::Pre { attn: before, mlp: middle }
    };
    let head_norms = match config.norm {
        NormKind::Rms { eps, offset } if config.head_norms => Some((
            Norm::rms_offset(weights, &at("self_attn.q_norm"), shape.width, eps, offset)?,
            Norm::rms_offset(weights, &at("self_attn.k_norm"), shape.width, eps, offset)?,
        )),
        _ => None,
    };
    Ok(Block {
        attn: Attention {
            q: Linear::take(weights, &at("self_attn.q_proj"), d, outer, qkv)?,
            k: Linear::take(weights, &at("self_attn.k_proj"), d, inner, qkv)?,
            v: Linear::take(weights, &at("self_attn.v_proj"), d, inner, qkv)?,
            o: Linear::take(weights, &at("self_attn.o_proj"), outer, d, out)?,
            norms: head_norms,
            shape,
        },
        cross: None,
        mlp: Mlp::Gated {
            gate: Linear::take(weights, &at("mlp.gate_proj"), d, neurons, mlp)?,
            up: Linear::take(weights, &at("mlp.up_proj"), d, neurons, mlp)?,
            down: Linear::take(weights, &at("mlp.down_proj"), neurons, d, mlp)?,
            act: config.act,
        },
        norms,
    })
}

/// GPT-2 keeps its weights as `[in, out]`, and those of q, k and v in one.
fn gpt2(
    config: &DecoderConfig,
    weights: &mut impl WeightSource,
    block: usize,
    prefix: &str,
) -> Result<Block, ZooError> {
    let at = |name: &str| format!("{prefix}.{name}");
    let mut shape = shape(config);
    if config.scale_by_block {
        shape.scale /= (block + 1) as f32;
    }
    let (d, neurons) = (config.d_model, config.neurons);
    let qkv = Linear::take_transposed(weights, &at("attn.c_attn"), d, 3 * d)?;
    let [q, k, v] = qkv.split();
    Ok(Block::pre_norm(
        norm(config, weights, &at("ln_1"))?,
        Attention {
            q,
            k,
            v,
            o: Linear::take_transposed(weights, &at("attn.c_proj"), d, d)?,
            norms: None,
            shape,
        },
        norm(config, weights, &at("ln_2"))?,
        Mlp::Plain {
            up: Linear::take_transposed(weights, &at("mlp.c_fc"), d, neurons)?,
            down: Linear::take_transposed(weights, &at("mlp.c_proj"), neurons, d)?,
            act: config.act,
        },
    ))
}
