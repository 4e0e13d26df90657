//! The decoder: learned positions, pre-norm blocks that attend to the recording, an unembedding that may be the embedding.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{Anatomy, AxisName, LogitsAt, Part, Point, Port, Resume, Run, Site, SiteSpec, WeightSpec};

use super::WhisperConfig;
use crate::ZooError;
use crate::audio::{EPS, attention, block};
use crate::checkpoint::WeightSource;
use crate::decoder::embeddings;
use crate::parts::{
    AttentionShape, Block, Context, Embedding, KvCache, Linear, Masking, Named, Norm, Padding, Reach, named,
    selected_logits, selected_states,
};

/// The decoder.
#[derive(Debug, Clone)]
pub struct WhisperDecoder {
    config: WhisperConfig,
    embedding: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    /// Whether the unembedding is the embedding.
    tied: bool,
}

impl WhisperDecoder {
    /// Takes the weights.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(config: WhisperConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let (d, at) = (config.audio.d_model, |name: &str| format!("model.decoder.{name}"));
        let (embed, head, shape) = (at("embed_tokens.weight"), "proj_out.weight", [config.vocab, d]);
        let (embedding, head, tied) = embeddings(weights, &embed, head, shape, config.tied)?;
        let positions = Embedding::take(weights, &at("embed_positions"), config.positions, d)?;
        let mut blocks = Vec::with_capacity(config.blocks);
        for i in 0..config.blocks {
            let (shape, at) =
                (AttentionShape::plain(config.heads, d / config.heads), at(&format!("layers.{i}")));
            let across = (
                Norm::layer(weights, &format!("{at}.encoder_attn_layer_norm"), d, EPS)?,
                attention(weights, &format!("{at}.encoder_attn"), shape)?,
            );
            let own = block(weights, &at, shape, config.neurons, config.act)?;
            blocks.push(Block { cross: Some(across), ..own });
        }
        let norm = Norm::layer(weights, &at("layer_norm"), d, EPS)?;
        Ok(Self { embedding, positions, blocks, norm, head, tied, config })
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let (c, d) = (&self.config, self.config.audio.d_model);
        Anatomy {
            part: Part::Text,
            blocks: c.blocks,
            heads: c.heads,
            kv_heads: c.heads,
            d_model: d,
            d_head: d / c.heads,
            d_mlp: c.neurons,
            made_for: None,
        }
    }

    /// Its sites, in the order of a pass, of a recording of so many positions.
    pub fn sites(&self, heard: usize) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Key, Pos, Vocab};
        let d = self.config.audio.d_model;
        let stream = [(Batch, None), (Pos, None), (DModel, Some(d))];
        let spec = |point| SiteSpec::new(Site::of(Part::Text, point), stream);
        let mut sites = vec![spec(Point::Embed), spec(Point::Input)];
        for (i, block) in self.blocks.iter().enumerate() {
            sites.extend(block.sites(Part::Text, i, d, Batch, false).into_iter().map(|mut spec| {
                let wanted = match spec.site.point() {
                    Point::CrossK | Point::CrossV => Pos,
                    Point::CrossScores | Point::CrossPattern => Key,
                    _ => return spec,
                };
                let keys = spec.axes.iter_mut().filter(|(axis, _)| *axis == wanted);
                keys.for_each(|(_, length)| *length = Some(heard));
                spec
            }));
        }
        sites.push(spec(Point::FinalNorm));
        let logits = [(Batch, None), (Pos, None), (Vocab, Some(self.config.vocab))];
        sites.push(SiteSpec::new(Site::of(Part::Text, Point::Logits), logits));
        sites
    }

    /// Its weights by name, in the order of a pass.
    pub(crate) fn named(&self) -> Vec<Named> {
        use AxisName::{DModel, Pos, Vocab};
        let (d, vocab) = (self.config.audio.d_model, self.config.vocab);
        let at = |point| Port::at(Site::of(Part::Text, point));
        let table = |name: &str, axis, point| WeightSpec::table(name, [axis, (DModel, d)], at(point));
        let mut all = vec![
            Named::new(table("text.embed", (Vocab, vocab), Point::Embed), self.embedding.table().clone()),
            Named::new(
                table("text.positions", (Pos, self.config.positions), Point::Input),
                self.positions.table().clone(),
            ),
        ];
        let heard = Some(Site::of(Part::Audio, Point::FinalNorm));
        let blocks = self.blocks.iter().enumerate();
        all.extend(blocks.flat_map(|(i, block)| block.named((Part::Text, i), false, heard)));
        let last = self.blocks.len().checked_sub(1);
        let last = last.map(|last| Port::at(Site::block(Part::Text, last, Point::ResidPost)));
        let written = at(Point::FinalNorm);
        all.extend(named::norm(
            &self.norm,
            "text.final_norm".to_owned(),
            DModel,
            last,
            Some(written.clone()),
        ));
        let axes = (&[(Vocab, vocab)][..], &[(DModel, d)][..]);
        let spec = WeightSpec::product("text.unembed", axes, Some(written), Some(at(Point::Logits)));
        let spec = if self.tied { spec.tied("text.embed") } else { spec };
        all.extend(named::product(&self.head, spec));
        all
    }

    /// Logits, `[batch, asked, vocab]`; `None` if the pass ended before. Cached positions come before the tokens, `pads` counts the
    /// padding that each row of the whole sequence begins with.
    ///
    /// # Errors
    /// Whatever a site reports; a token outside the vocabulary, more positions than were learned.
    pub fn forward(
        &self,
        ids: &[Vec<u32>],
        pads: &[usize],
        logits_at: LogitsAt,
        context: &Context,
        mut cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let (rows, length, d) = (ids.len(), ids.first().map_or(0, Vec::len), self.config.audio.d_model);
        let past = cache.as_ref().map_or(0, |cache| cache.positions());
        let (first, mut x) = match run.resume(Part::Text) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                if hidden.dims() != [rows, length, d] {
                    let (found, expected) = (hidden.dims().to_vec(), vec![rows, length, d]);
                    return Err(ZooError::State { found, expected });
                }
                (block, hidden)
            }
            _ => (0, self.embed(ids, pads, past, run)?),
        };
        let masking = Masking::rows(Reach::Before, Padding { pads, tails: &[] }, past, length);
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            if run.done() {
                return Ok(None);
            }
            let at = (Part::Text, i);
            x = block.forward_across(x, at, None, &masking, Some(context), cache.as_deref_mut(), run)?;
        }
        if run.done() {
            return Ok(None);
        }
        let site = Site::of(Part::Text, Point::FinalNorm);
        let x = match run.wants(site) {
            true => selected_states(run.at(site, self.norm.apply(x))?, logits_at, run)?,
            false => self.norm.apply(selected_states(x, logits_at, run)?),
        };
        if run.done() {
            return Ok(None);
        }
        Ok(Some(selected_logits(x, self.config.vocab, run, |x, tokens| self.say(x, tokens))?))
    }

    /// Final norm and unembedding of residual states, `[rows, d]` to `[rows, vocab]`.
    pub fn unembed(&self, states: Tensor<2>) -> Tensor<2> {
        self.say(self.norm.apply(states), None)
    }

    fn say<const D: usize>(&self, x: Tensor<D>, tokens: Option<&[u32]>) -> Tensor<D> {
        match tokens {
            Some(tokens) => self.head.only(tokens).apply(x),
            None => self.head.apply(x),
        }
    }

    /// What enters block 0. Positions count real tokens only.
    fn embed(
        &self,
        ids: &[Vec<u32>],
        pads: &[usize],
        past: usize,
        run: &mut Run,
    ) -> Result<Tensor<3>, ZooError> {
        let (rows, length) = (ids.len(), ids.first().map_or(0, Vec::len));
        let device = self.embedding.table().device().without_autodiff();
        if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= self.config.vocab) {
            return Err(ZooError::Token { id: *id, vocab: self.config.vocab });
        }
        let longest = pads.iter().map(|pad| (past + length).saturating_sub(*pad)).max().unwrap_or(0);
        if longest > self.config.positions || longest == 0 {
            return Err(ZooError::Value {
                field: "positions of a text".to_owned(),
                found: longest.to_string(),
                expected: format!("1 to max_target_positions = {}", self.config.positions),
            });
        }
        let table =
            |values: Vec<i64>| Tensor::<2, Int>::from_data(TensorData::new(values, [rows, length]), &device);
        let words = self.embedding.apply(table(ids.iter().flatten().map(|id| i64::from(*id)).collect()));
        let x = run.at(Site::of(Part::Text, Point::Embed), words)?;
        let place = |pad: &usize| {
            let pad = *pad;
            (past..past + length).map(move |at| at.saturating_sub(pad) as i64)
        };
        let x = x + self.positions.apply(table(pads.iter().flat_map(place).collect()));
        Ok(run.at(Site::of(Part::Text, Point::Input), x)?)
    }
}
