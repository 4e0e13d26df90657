//! The text tower of a dual encoder: learned positions, pre-norm blocks, a norm, one vector for each text.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{
    Anatomy, AxisName, Batch, Inputs, Part, Point, Port, Resume, Run, Site, SiteSpec, WeightSpec,
};

use super::{Reading, TextTowerConfig};
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{
    Attention, AttentionShape, Block, Embedding, Linear, Masking, Mlp, Named, Norm, Padding, Reach, named,
};

/// The tower.
#[derive(Debug, Clone)]
pub struct TextTower {
    config: TextTowerConfig,
    embedding: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
}

impl TextTower {
    /// Takes the tower's weights below a prefix such as `text_model`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: TextTowerConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        let d = config.d_model;
        let at = |name: &str| format!("{prefix}.{name}");
        let embedding = Embedding::take(weights, &at("embeddings.token_embedding"), config.vocab, d)?;
        let positions = Embedding::take(weights, &at("embeddings.position_embedding"), config.positions, d)?;
        let mut blocks = Vec::with_capacity(config.blocks);
        for i in 0..config.blocks {
            blocks.push(block(&config, weights, &at(&format!("encoder.layers.{i}")))?);
        }
        let norm = Norm::layer(weights, &at("final_layer_norm"), d, config.eps)?;
        Ok(Self { config, embedding, positions, blocks, norm })
    }

    /// Its config.
    pub fn config(&self) -> &TextTowerConfig {
        &self.config
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let c = &self.config;
        Anatomy {
            part: Part::Text,
            blocks: c.blocks,
            heads: c.heads,
            kv_heads: c.heads,
            d_model: c.d_model,
            d_head: c.d_model / c.heads,
            d_mlp: c.neurons,
            made_for: None,
        }
    }

    /// Its sites up to `text.pooled`, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Pos};
        let d = Some(self.config.d_model);
        let spec =
            |point| SiteSpec::new(Site::of(Part::Text, point), [(Batch, None), (Pos, None), (DModel, d)]);
        let mut sites = vec![spec(Point::Embed), spec(Point::Input)];
        for (i, block) in self.blocks.iter().enumerate() {
            sites.extend(block.sites(Part::Text, i, self.config.d_model, Batch, false));
        }
        sites.push(spec(Point::FinalNorm));
        sites.push(SiteSpec::new(Site::of(Part::Text, Point::Pooled), [(Batch, None), (DModel, d)]));
        sites
    }

    /// One vector for each text, `[batch, d]`; `None` if the pass ended before.
    ///
    /// # Errors
    /// Whatever a site reports; a token outside the vocabulary, more positions than were learned.
    pub fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Tensor<2>>, ZooError> {
        let Batch { ids, pads, tails, .. } = &**inputs;
        let (rows, len, d) = (inputs.rows(), inputs.positions(), self.config.d_model);
        let device = self.embedding.table().device().without_autodiff();
        let longest = pads.iter().map(|pad| len - pad.min(&len)).max().unwrap_or(len);
        if longest > self.config.positions || longest == 0 {
            return Err(ZooError::Value {
                field: "positions of a text".to_owned(),
                found: longest.to_string(),
                expected: format!("1 to max_position_embeddings = {}", self.config.positions),
            });
        }
        let (first, mut x) = match run.resume(Part::Text) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                if hidden.dims() != [rows, len, d] {
                    let (found, expected) = (hidden.dims().to_vec(), vec![rows, len, d]);
                    return Err(ZooError::State { found, expected });
                }
                (block, hidden)
            }
            _ => {
                if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= self.config.vocab) {
                    return Err(ZooError::Token { id: *id, vocab: self.config.vocab });
                }
                let table = |values: Vec<i64>| {
                    Tensor::<2, Int>::from_data(TensorData::new(values, [rows, len]), &device)
                };
                let words =
                    self.embedding.apply(table(ids.iter().flatten().map(|id| i64::from(*id)).collect()));
                let words = run.at(Site::of(Part::Text, Point::Embed), words)?;
                let place =
                    |pad: &usize| (0..len).map(|at| at.saturating_sub(*pad) as i64).collect::<Vec<_>>();
                let x = words + self.positions.apply(table(pads.iter().flat_map(place).collect()));
                (0, run.at(Site::of(Part::Text, Point::Input), x)?)
            }
        };
        let reach = if self.config.causal { Reach::Before } else { Reach::Both };
        let masking = Masking::seen(reach, Padding { pads, tails }, 0, len);
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            if run.done() {
                return Ok(None);
            }
            x = block.forward(x, (Part::Text, i), None, &masking, None, run)?;
        }
        if run.done() {
            return Ok(None);
        }
        let x = run.at(Site::of(Part::Text, Point::FinalNorm), self.norm.apply(x))?;
        if run.done() {
            return Ok(None);
        }
        let places: Vec<i64> =
            (0..rows).map(|row| (row * len + self.read_at(&ids[row], pads[row])) as i64).collect();
        let places = Tensor::<1, Int>::from_data(TensorData::new(places, [rows]), &device);
        let pooled = x.reshape([rows * len, d]).select(0, places);
        Ok(Some(run.at(Site::of(Part::Text, Point::Pooled), pooled)?))
    }

    /// Its weights by name: tables of tokens and positions, of its blocks, and its last norm.
    pub(crate) fn named(&self) -> Vec<Named> {
        use AxisName::{DModel, Pos, Vocab};
        let (c, at) = (&self.config, |point| Port::at(Site::of(Part::Text, point)));
        let table = |name: &str, axis, point| WeightSpec::table(name, [axis, (DModel, c.d_model)], at(point));
        let words = table("text.embed", (Vocab, c.vocab), Point::Embed);
        let positions = table("text.positions", (Pos, c.positions), Point::Input);
        let mut all = vec![
            Named::new(words, self.embedding.table().clone()),
            Named::new(positions, self.positions.table().clone()),
        ];
        let blocks = self.blocks.iter().enumerate();
        all.extend(blocks.flat_map(|(i, block)| block.named((Part::Text, i), false, None)));
        let last = self.blocks.len().checked_sub(1);
        let last = last.map(|last| Port::at(Site::block(Part::Text, last, Point::ResidPost)));
        let name = "text.final_norm".to_owned();
        all.extend(named::norm(&self.norm, name, DModel, last, Some(at(Point::FinalNorm))));
        all
    }

    /// States through its last norm, `[rows, d]`.
    pub fn normed(&self, states: Tensor<2>) -> Tensor<2> {
        self.norm.apply(states)
    }

    /// The position where a row is read, padding of `pad` at its start.
    pub fn read_at(&self, ids: &[u32], pad: usize) -> usize {
        let real = || ids.iter().enumerate().skip(pad);
        let first =
            |wanted: Option<u32>| real().find(|(_, id)| Some(**id) == wanted).map_or(pad, |(at, _)| at);
        match self.config.reading {
            Reading::Last => ids.len().saturating_sub(1),
            Reading::First(end) => first(Some(end)),
            Reading::Largest => first(real().map(|(_, id)| *id).max()),
        }
    }
}

fn block(config: &TextTowerConfig, weights: &mut impl WeightSource, prefix: &str) -> Result<Block, ZooError> {
    let at = |name: &str| format!("{prefix}.{name}");
    let (d, neurons, eps) = (config.d_model, config.neurons, config.eps);
    Ok(Block::pre_norm(
        Norm::layer(weights, &at("layer_norm1"), d, eps)?,
        Attention {
            q: Linear::take(weights, &at("self_attn.q_proj"), d, d, true)?,
            k: Linear::take(weights, &at("self_attn.k_proj"), d, d, true)?,
            v: Linear::take(weights, &at("self_attn.v_proj"), d, d, true)?,
            o: Linear::take(weights, &at("self_attn.out_proj"), d, d, true)?,
            norms: None,
            shape: AttentionShape::plain(config.heads, d / config.heads),
        },
        Norm::layer(weights, &at("layer_norm2"), d, eps)?,
        Mlp::Plain {
            up: Linear::take(weights, &at("mlp.fc1"), d, neurons, true)?,
            down: Linear::take(weights, &at("mlp.fc2"), neurons, d, true)?,
            act: config.act,
        },
    ))
}
