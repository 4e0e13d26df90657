//! Embeddings and post-norm blocks: what BERT (Devlin et al. 2019) and BLIP's text models are made of.
//!
//! A block with input x, which is normed already:
//!
//! ```text
//! resid_pre = x                                      resid_mid = x + attn_out
//! normalized_resid_mid = norm(resid_mid)             resid_post = normalized_resid_mid + mlp_out
//! normalized_resid_post = norm(resid_post), which is the resid_pre of the next block
//! ```
//!
//! With cross-attention, `resid_cross` = `normalized_resid_mid` + `cross_out`, and `normalized_resid_cross`, its norm, takes the
//! place of `normalized_resid_mid` before the MLP. Names of weights are BERT's.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{
    Anatomy, AxisName, HookError, Part, Point, Port, Resume, Run, Site, SiteSpec, Through, WeightSpec,
};

use super::StackConfig;
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{
    Attention, AttentionShape, Block, Context, Embedding, KvCache, Linear, Masking, Mlp, Named, Norm, Norms,
    Padding, Reach, named,
};

/// The stack.
#[derive(Debug, Clone)]
pub struct Stack {
    config: StackConfig,
    part: Part,
    words: Embedding,
    positions: Embedding,
    types: Option<Embedding>,
    norm: Norm,
    blocks: Vec<Block>,
}

/// The tokens a stack is given, and how they look at one another.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// One row of ids for each text, all of one length.
    pub ids: &'a [Vec<u32>],
    /// Padding at the start and the end of each row of the whole sequence.
    pub padding: Padding<'a>,
    /// Whether a position sees what comes after it.
    pub reach: Reach,
}

impl Stack {
    /// Takes the weights below a prefix such as `bert`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: StackConfig,
        part: Part,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        let d = config.d_model;
        let at = |name: &str| format!("{prefix}.{name}");
        let embed = |weights: &mut _, name: &str, rows| {
            Embedding::take(weights, &at(&format!("embeddings.{name}_embeddings")), rows, d)
        };
        let (words, positions) =
            (embed(weights, "word", config.vocab)?, embed(weights, "position", config.positions)?);
        let types = config.types.map(|types| embed(weights, "token_type", types)).transpose()?;
        let norm = Norm::layer(weights, &at("embeddings.LayerNorm"), d, config.eps)?;
        let mut blocks = Vec::with_capacity(config.blocks);
        for i in 0..config.blocks {
            blocks.push(block(&config, weights, &at(&format!("encoder.layer.{i}")))?);
        }
        Ok(Self { config, part, words, positions, types, norm, blocks })
    }

    /// Its config.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// Vectors of words, `[vocab, d]`.
    pub fn words(&self) -> &Tensor<2> {
        self.words.table()
    }

    /// The norm behind its last block.
    pub fn last_norm(&self) -> &Norm {
        match self.blocks.last().map(|block| &block.norms) {
            Some(Norms::Post { mlp, .. }) => mlp,
            _ => &self.norm,
        }
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let c = &self.config;
        Anatomy {
            part: self.part,
            blocks: c.blocks,
            heads: c.heads,
            kv_heads: c.heads,
            d_model: c.d_model,
            d_head: c.d_model / c.heads,
            d_mlp: c.neurons,
            made_for: None,
        }
    }

    /// Its sites up to `final_norm`, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Pos};
        let d = self.config.d_model;
        let stream = [(Batch, None), (Pos, None), (DModel, Some(d))];
        let spec = |point| SiteSpec::new(Site::of(self.part, point), stream);
        let mut sites = vec![spec(Point::Embed), spec(Point::Input)];
        for (i, block) in self.blocks.iter().enumerate() {
            sites.extend(block.sites(self.part, i, d, Batch, false));
        }
        sites.push(spec(Point::FinalNorm));
        sites
    }

    /// Its weights by name: its tables, with the norm behind their sum, and those of its blocks. `seen` is the site that holds what its
    /// cross-attention reads, one entry for each row.
    pub(crate) fn named(&self, seen: Option<Site>) -> Vec<Named> {
        use AxisName::{DModel, Pos, Vocab};
        let (c, at) = (&self.config, |name: &str| format!("{}.{name}", self.part.name()));
        let (embed, input) = (Site::of(self.part, Point::Embed), Site::of(self.part, Point::Input));
        let normed = || Port::through(input, Through::Norm(at("embed_norm")));
        let table = |name: &str, axis, port| WeightSpec::table(at(name), [axis, (DModel, c.d_model)], port);
        let words = table("embed", (Vocab, c.vocab), Port::at(embed));
        let mut all = vec![Named::new(words, self.words.table().clone())];
        let positions = table("positions", (Pos, c.positions), normed());
        all.push(Named::new(positions, self.positions.table().clone()));
        if let Some(types) = &self.types {
            let [kinds, _] = types.table().dims();
            all.push(Named::new(table("types", (Vocab, kinds), normed()), types.table().clone()));
        }
        all.extend(named::norm(&self.norm, at("embed_norm"), DModel, None, Some(Port::at(input))));
        let blocks = self.blocks.iter().enumerate();
        all.extend(blocks.flat_map(|(i, block)| block.named((self.part, i), false, seen)));
        all
    }

    /// States after the last norm, `[batch, pos, d]`; `None` if the pass ended before. Cached positions come before the
    /// tokens.
    ///
    /// # Errors
    /// Whatever a site reports; a token outside the vocabulary, more positions than were learned.
    pub fn forward(
        &self,
        tokens: Tokens<'_>,
        context: Option<&Context>,
        mut cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let Tokens { ids, padding, reach } = tokens;
        let (rows, length, d) = (ids.len(), ids.first().map_or(0, Vec::len), self.config.d_model);
        let past = cache.as_ref().map_or(0, |cache| cache.positions());
        let (first, mut x) = match run.resume(self.part) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                if hidden.dims() != [rows, length, d] {
                    let (found, expected) = (hidden.dims().to_vec(), vec![rows, length, d]);
                    return Err(ZooError::State { found, expected });
                }
                (block, hidden)
            }
            _ => (0, self.embed(ids, padding, past, run)?),
        };
        let masking = Masking::seen(reach, padding, past, length);
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            if run.done() {
                return Ok(None);
            }
            x = block.forward_across(
                x,
                (self.part, i),
                None,
                &masking,
                context,
                cache.as_deref_mut(),
                run,
            )?;
        }
        if run.done() {
            return Ok(None);
        }
        let x = run.at(Site::of(self.part, Point::FinalNorm), x)?;
        Ok((!run.done()).then_some(x))
    }

    /// What enters block 0.
    fn embed(
        &self,
        ids: &[Vec<u32>],
        padding: Padding<'_>,
        past: usize,
        run: &mut Run,
    ) -> Result<Tensor<3>, ZooError> {
        let (rows, length) = (ids.len(), ids.first().map_or(0, Vec::len));
        let device = self.words.table().device().without_autodiff();
        if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= self.config.vocab) {
            return Err(ZooError::Token { id: *id, vocab: self.config.vocab });
        }
        if padding.pads.len() != rows {
            return Err(HookError::Values { dims: vec![rows], given: padding.pads.len() }.into());
        }
        let longest = padding.pads.iter().map(|pad| (past + length).saturating_sub(*pad)).max().unwrap_or(0);
        if longest > self.config.positions || longest == 0 {
            return Err(ZooError::Value {
                field: "positions of a text".to_owned(),
                found: longest.to_string(),
                expected: format!("1 to max_position_embeddings = {}", self.config.positions),
            });
        }
        let table =
            |values: Vec<i64>| Tensor::<2, Int>::from_data(TensorData::new(values, [rows, length]), &device);
        let words = self.words.apply(table(ids.iter().flatten().map(|id| i64::from(*id)).collect()));
        let mut x = run.at(Site::of(self.part, Point::Embed), words)?;
        if let Some(types) = &self.types {
            // One text is of one kind.
            x = x + types.apply(table(vec![0; rows * length]));
        }
        // Positions count real tokens only.
        let place = |pad: &usize| {
            let pad = *pad;
            (past..past + length).map(move |at| at.saturating_sub(pad) as i64)
        };
        let x = x + self.positions.apply(table(padding.pads.iter().flat_map(place).collect()));
        Ok(run.at(Site::of(self.part, Point::Input), self.norm.apply(x))?)
    }
}

fn block(config: &StackConfig, weights: &mut impl WeightSource, prefix: &str) -> Result<Block, ZooError> {
    let at = |name: &str| format!("{prefix}.{name}");
    let (d, neurons, eps) = (config.d_model, config.neurons, config.eps);
    let shape = AttentionShape::plain(config.heads, d / config.heads);
    let attention = |weights: &mut _, name: &str, seen: usize| -> Result<(Norm, Attention), ZooError> {
        let part = |part: &str| at(&format!("{name}.{part}"));
        let attention = Attention {
            q: Linear::take(weights, &part("self.query"), d, d, true)?,
            k: Linear::take(weights, &part("self.key"), seen, d, true)?,
            v: Linear::take(weights, &part("self.value"), seen, d, true)?,
            o: Linear::take(weights, &part("output.dense"), d, d, true)?,
            norms: None,
            shape,
        };
        Ok((Norm::layer(weights, &part("output.LayerNorm"), d, eps)?, attention))
    };
    let (attn_norm, attn) = attention(weights, "attention", d)?;
    let cross = config.context.map(|seen| attention(weights, "crossattention", seen)).transpose()?;
    let mlp = Mlp::Plain {
        up: Linear::take(weights, &at("intermediate.dense"), d, neurons, true)?,
        down: Linear::take(weights, &at("output.dense"), neurons, d, true)?,
        act: config.act,
    };
    let norms = Norms::Post { attn: attn_norm, mlp: Norm::layer(weights, &at("output.LayerNorm"), d, eps)? };
    Ok(Block { attn, cross, mlp, norms })
}
