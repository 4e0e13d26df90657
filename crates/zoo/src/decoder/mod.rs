//! Decoder-only language models: LLaMA (Touvron et al. 2023) and its kin, Gemma 2, and GPT-2.
//!
//! One network, driven by [`DecoderConfig`]; it follows the `*ForCausalLM` classes of transformers.

mod config;
mod named;
mod open;
mod take;

use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens_core::{Anatomy, AxisName, LogitsAt, Part, Point, Resume, Run, Site, SiteSpec};

pub use config::{DecoderConfig, NormKind};
pub(crate) use config::{given, refuse_nulls};
pub use open::open_decoder;
pub(crate) use take::embeddings;

use crate::ZooError;
use crate::parts::{
    Block, Embedding, KvCache, Linear, Masking, Norm, Padding, Reach, Rotation, selected_logits,
    selected_states,
};

/// The decoder.
#[derive(Debug, Clone)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    positions: Option<Embedding>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    /// Whether the unembedding is the embedding.
    tied: bool,
}

/// What a decoder is told besides token vectors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sequence<'a> {
    /// The positions of padding each row of the whole sequence starts with.
    pub pads: &'a [usize],
    /// Which positions the output is computed for.
    pub logits_at: LogitsAt,
    /// Rotary positions of the new tokens (time, row, column), where they are not a plain count.
    pub positions: Option<&'a [Vec<[usize; 3]>]>,
    /// What is added to the stream after the first blocks, `[batch, pos, d]` each (DeepStack).
    pub deepstack: &'a [Tensor<3>],
}

impl Decoder {
    /// Its config.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let c = &self.config;
        Anatomy {
            part: Part::Text,
            blocks: c.blocks,
            heads: c.heads,
            kv_heads: c.kv_heads,
            d_model: c.d_model,
            d_head: c.d_head,
            d_mlp: c.neurons,
            // Sections count rows and columns of pictures, which are fewer than positions.
            made_for: c.rope.as_ref().filter(|rope| rope.sections.is_none()).map(|_| c.max_positions),
        }
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        self.sites_with_deepstack(0)
    }

    /// Its sites, with `attn.deepstack` in the first `deep` blocks.
    pub fn sites_with_deepstack(&self, deep: usize) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Pos, Vocab};
        let d = self.config.d_model;
        let stream = [(Batch, None), (Pos, None), (DModel, Some(d))];
        let spec = |point| SiteSpec::new(Site::of(Part::Text, point), stream);
        let mut sites = vec![spec(Point::Embed), spec(Point::Input)];
        for (i, block) in self.blocks.iter().enumerate() {
            sites.extend(block.sites(Part::Text, i, d, Batch, self.config.rope.is_some()));
            if i < deep {
                sites.push(SiteSpec::new(Site::block(Part::Text, i, Point::Deepstack), stream));
            }
        }
        sites.push(spec(Point::FinalNorm));
        let logits = [(Batch, None), (Pos, None), (Vocab, Some(self.config.vocab))];
        sites.push(SiteSpec::new(Site::of(Part::Text, Point::Logits), logits));
        sites
    }

    /// Token vectors, `[batch, pos]` to `[batch, pos, d]`: scaled where the family scales them, before positions are
    /// added.
    ///
    /// # Errors
    /// [`ZooError::Token`] for an id outside the vocabulary.
    pub fn embed(&self, ids: &[Vec<u32>], device: &Device) -> Result<Tensor<3>, ZooError> {
        if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= self.config.vocab) {
            return Err(ZooError::Token { id: *id, vocab: self.config.vocab });
        }
        let x = self.embedding.apply(indices(ids, device));
        Ok(match self.config.embed_scale {
            Some(scale) => x.mul_scalar(scale),
            None => x,
        })
    }

    /// Everything from `text.input` to the logits, `[batch, asked, vocab]`, or those that are [wanted](Run::selected_logits); `None` if
    /// the pass ended before.
    ///
    /// Cached positions come before `x`. If the run resumes in a block, `x` is not used but for its shape.
    ///
    /// # Errors
    /// Whatever a site reports; more positions than were learned.
    pub fn forward(
        &self,
        x: Tensor<3>,
        sequence: Sequence<'_>,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let device = x.device().without_autodiff();
        let mut known = self.known(&x, &sequence, run)?;
        let mut cache = match known.as_mut() {
            Some(known) => Some(known),
            None => cache,
        };
        let past = cache.as_ref().map_or(0, |c| c.positions());
        let all = x.dims()[1];
        let length = if run.past().is_empty() { all } else { all - past };
        let (first, mut x) = match run.resume(Part::Text) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                let want = [x.dims()[0], length, x.dims()[2]];
                if hidden.dims() != want {
                    return Err(ZooError::State { found: hidden.dims().to_vec(), expected: want.to_vec() });
                }
                (block, hidden)
            }
            _ => {
                let x = self.add_positions(x, sequence.pads, past, &device)?;
                (0, run.at(Site::of(Part::Text, Point::Input), x)?)
            }
        };
        let rotation = self.rotation(sequence, cache.as_deref_mut(), past, length, &device);
        let padding = Padding { pads: sequence.pads, tails: &[] };
        let mut maskings: Vec<(Option<usize>, Masking)> = Vec::new();
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            if run.done() {
                return Ok(None);
            }
            let window = self.config.windows.get(i).ok_or_else(|| ZooError::Value {
                field: "windows".to_owned(),
                found: format!("{} entries", self.config.windows.len()),
                expected: format!("one for each of {} blocks", self.blocks.len()),
            })?;
            let window = window.filter(|w| *w < past + length);
            let masking = match maskings.iter().find(|(w, _)| *w == window) {
                Some((_, known)) => known.clone(),
                None => {
                    let reach = window.map_or(Reach::Before, Reach::Window);
                    let made = Masking::rows(reach, padding, past, length);
                    maskings.push((window, made.clone()));
                    made
                }
            };
            let at = (Part::Text, i);
            x = block.forward(x, at, rotation.as_ref(), &masking, cache.as_deref_mut(), run)?;
            if let Some(deep) = sequence.deepstack.get(i) {
                x = x + run.at(Site::block(Part::Text, i, Point::Deepstack), deep.clone())?;
            }
        }
        if run.done() {
            return Ok(None);
        }
        let site = Site::of(Part::Text, Point::FinalNorm);
        let x = match run.wants(site) {
            true => selected_states(run.at(site, self.norm.apply(x))?, sequence.logits_at, run)?,
            false => self.norm.apply(selected_states(x, sequence.logits_at, run)?),
        };
        if run.done() {
            return Ok(None);
        }
        Ok(Some(selected_logits(x, self.config.vocab, run, |x, tokens| self.say(x, tokens))?))
    }

    /// What is known of the positions before those from which a run goes on; `None` if it goes on from all.
    fn known(&self, x: &Tensor<3>, sequence: &Sequence<'_>, run: &Run) -> Result<Option<KvCache>, ZooError> {
        let (Resume::At(block, _), [(first, _), ..]) = (run.resume(Part::Text), run.past()) else {
            return Ok(None);
        };
        let [rows, all, _] = x.dims();
        let (heads, width) = (self.config.kv_heads, self.config.d_head);
        let positions = first.dims().get(1).copied().unwrap_or(0);
        let wrong = |found: Vec<usize>| ZooError::State {
            found,
            expected: vec![1, positions.min(all.saturating_sub(1)), heads, width],
        };
        if run.past().len() + block != self.blocks.len() || !sequence.deepstack.is_empty() {
            return Err(wrong(vec![run.past().len()]));
        }
        let mut past = Vec::with_capacity(run.past().len());
        for (k, v) in run.past() {
            for x in [k, v] {
                if x.dims() != [1, positions, heads, width] || positions >= all {
                    return Err(wrong(x.dims()));
                }
            }
            past.push((k.clone().rank_of("known keys")?, v.clone().rank_of("known values")?));
        }
        Ok(Some(KvCache::known(block, past, rows)))
    }

    /// Final norm and unembedding of residual states, `[rows, d]` to `[rows, vocab]`.
    pub fn unembed(&self, states: Tensor<2>) -> Tensor<2> {
        self.say(self.norm.apply(states), None)
    }

    fn say<const D: usize>(&self, x: Tensor<D>, tokens: Option<&[u32]>) -> Tensor<D> {
        let logits = match tokens {
            Some(tokens) => self.head.only(tokens).apply(x),
            None => self.head.apply(x),
        };
        match self.config.logit_cap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        }
    }

    fn add_positions(
        &self,
        x: Tensor<3>,
        pads: &[usize],
        past: usize,
        device: &Device,
    ) -> Result<Tensor<3>, ZooError> {
        let Some(table) = &self.positions else { return Ok(x) };
        let positions = counted(pads, past, x.dims()[1]);
        let longest = positions.iter().flatten().max().map_or(0, |p| p + 1);
        if longest > self.config.max_positions {
            return Err(ZooError::Value {
                field: "max_position_embeddings".to_owned(),
                found: self.config.max_positions.to_string(),
                expected: format!("at least the {longest} positions of this sequence"),
            });
        }
        let ids: Vec<Vec<u32>> =
            positions.iter().map(|row| row.iter().map(|p| *p as u32).collect()).collect();
        Ok(x + table.apply(indices(&ids, device)))
    }

    fn rotation(
        &self,
        sequence: Sequence<'_>,
        cache: Option<&mut KvCache>,
        past: usize,
        length: usize,
        device: &Device,
    ) -> Option<Rotation> {
        let rope = self.config.rope.as_ref()?;
        // How many of the new positions are padding still.
        let padding: Vec<usize> =
            sequence.pads.iter().map(|pad| pad.saturating_sub(past).min(length)).collect();
        let before = cache.as_ref().and_then(|c| c.next());
        let own = |given: &[Vec<[usize; 3]>]| -> Vec<Vec<[usize; 3]>> {
            given.iter().map(|row| row[row.len().saturating_sub(length)..].to_vec()).collect()
        };
        let given = sequence.positions.map(own).or_else(|| {
            let rows = before.iter().flatten().zip(&padding);
            let counted =
                rows.map(|(from, pad)| (0..length).map(|i| [from + i.saturating_sub(*pad); 3]).collect());
            before.is_some().then(|| counted.collect())
        });
        let Some(given) = given else {
            return Some(rope.rotation(&counted(sequence.pads, past, length), device));
        };
        if let Some(cache) = cache {
            let next = |(row, (given, pad)): (usize, (&Vec<[usize; 3]>, &usize))| {
                let from = before.as_ref().and_then(|b| b.get(row)).copied().unwrap_or(0);
                given.iter().skip(*pad).flatten().max().map_or(from, |p| p + 1)
            };
            cache.set_next(past + length, given.iter().zip(&padding).enumerate().map(next).collect());
        }
        Some(rope.rotation_in_space(&given, device))
    }
}

/// Positions count real tokens only.
fn counted(pads: &[usize], past: usize, length: usize) -> Vec<Vec<usize>> {
    pads.iter().map(|pad| (past..past + length).map(|i| i.saturating_sub(*pad)).collect()).collect()
}

fn indices(ids: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let (b, p) = (ids.len(), ids.first().map_or(0, Vec::len));
    let flat: Vec<i64> = ids.iter().flatten().map(|id| i64::from(*id)).collect();
    Tensor::from_data(TensorData::new(flat, [b, p]), device)
}
