//! An architecture of one's own from parts of the zoo: a tower, a connector that pools squares of patches, and a decoder whose
//! attention and MLP read the same norm side by side (as in GPT-J and PaLM), which no family of the zoo has.
//!
//! Tower, attention, MLP, norms and products bring their computation and their sites along. What is written here is what is
//! new: which parts there are, in which order, and the sites between them.

use burn::tensor::{Device, Tensor, TensorData};
use mmlens::prelude::*;
use mmlens::zoo::ZooError;
use mmlens::zoo::checkpoint::WeightSource;
use mmlens::zoo::parts::{
    Act, Attention, AttentionShape, Embedding, Linear, Masking, Mlp, Norm, Padding, Reach, selected_logits,
    selected_states,
};
use mmlens::zoo::vision::{Qkv, TowerConfig, VisionTower};
use mmlens::zoo::vlm::place;

/// Side of a picture, and of the square of positions it takes in the sequence.
pub(crate) const SIDE: usize = 16;
pub(crate) const GRID: usize = 2;
/// Letters `a` to `z`, a space, and the placeholder of a picture.
pub(crate) const PLACEHOLDER: u32 = 27;
pub(crate) const VOCAB: usize = 28;
/// The longest sequence.
pub(crate) const POSITIONS: usize = 64;

const D: usize = 12;
const HEADS: usize = 3;
const KV_HEADS: usize = 1;
const NEURONS: usize = 20;
const BLOCKS: usize = 3;

/// Weights drawn from a seed: whatever a model takes its weights from is a `WeightSource`, a checkpoint or this.
pub(crate) struct Drawn {
    pub(crate) seed: Seed,
    pub(crate) device: Device,
}

impl WeightSource for Drawn {
    fn take<const N: usize>(&mut self, _: &str, shape: [usize; N]) -> Result<Tensor<N>, ZooError> {
        let scale = 3.0 / (shape.iter().skip(1).product::<usize>() as f32).sqrt();
        let count = shape.iter().product();
        let values = (0..count).map(|i| scale * (self.seed.at(i as u64).unit() - 0.5)).collect::<Vec<_>>();
        self.seed = self.seed.at(count as u64);
        Ok(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    fn has(&self, _: &str) -> bool {
        true
    }
}

/// `x + attention(norm(x)) + mlp(norm(x))`.
struct Parallel {
    norm: Norm,
    attn: Attention,
    mlp: Mlp,
}

impl Parallel {
    fn take(weights: &mut impl WeightSource, prefix: &str) -> Result<Self, ZooError> {
        let at = |name: &str| format!("{prefix}.{name}");
        let width = D / HEADS;
        let shape = AttentionShape { kv_heads: KV_HEADS, ..AttentionShape::plain(HEADS, width) };
        Ok(Self {
            norm: Norm::rms(weights, &at("norm"), D, 1e-5)?,
            attn: Attention {
                q: Linear::take(weights, &at("q"), D, HEADS * width, false)?,
                k: Linear::take(weights, &at("k"), D, KV_HEADS * width, false)?,
                v: Linear::take(weights, &at("v"), D, KV_HEADS * width, false)?,
                o: Linear::take(weights, &at("o"), HEADS * width, D, false)?,
                norms: None,
                shape,
            },
            mlp: Mlp::Plain {
                up: Linear::take(weights, &at("up"), D, NEURONS, true)?,
                down: Linear::take(weights, &at("down"), NEURONS, D, true)?,
                act: Act::named("act", "gelu")?,
            },
        })
    }

    fn sites(&self, block: usize) -> Vec<SiteSpec> {
        let at = (Part::Text, block);
        let own = |point| stream(Site::block(Part::Text, block, point));
        let mut sites = vec![own(Point::ResidPre)];
        sites.extend(self.attn.sites(at, D, AxisName::Batch, false));
        sites.extend([own(Point::AttnOut), own(Point::ResidMid)]);
        sites.extend(self.mlp.sites(at, AxisName::Batch));
        sites.extend([own(Point::MlpOut), own(Point::ResidPost)]);
        sites
    }

    /// `[batch, pos, d]` to the same. The MLP does not read `resid_mid`, so that there is no `mlp_in`, which would say so.
    fn forward(
        &self,
        x: Tensor<3>,
        block: usize,
        masking: &Masking,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let site = |point| Site::block(Part::Text, block, point);
        let x = run.at(site(Point::ResidPre), x)?;
        let at = (Part::Text, block);
        let attn = self.attn.forward(x.clone(), Some(&self.norm), at, None, masking, None, run)?;
        let middle = x.clone() + run.at(site(Point::AttnOut), attn)?;
        let middle = run.at(site(Point::ResidMid), middle)?;
        let mlp = self.mlp.forward(self.norm.apply(x), Part::Text, block, run)?;
        let x = middle + run.at(site(Point::MlpOut), mlp)?;
        run.at(site(Point::ResidPost), x)
    }
}

/// The network.
pub(crate) struct Network {
    tower: VisionTower,
    connector: Linear,
    words: Embedding,
    positions: Embedding,
    blocks: Vec<Parallel>,
    norm: Norm,
    head: Linear,
}

impl Network {
    pub(crate) fn take(weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let config = TowerConfig {
            model_type: "own".to_owned(),
            d_model: 8,
            neurons: 16,
            blocks: 2,
            heads: 2,
            channels: 3,
            image_size: SIDE,
            patch_size: SIDE / (2 * GRID),
            act: Act::named("act", "gelu")?,
            eps: 1e-5,
            class_token: false,
            leading_axes: false,
            patch_bias: true,
            input_norm: false,
            qkv: Qkv::Apart { bias: true },
            learned: None,
        };
        let words = Embedding::take(weights, "words", VOCAB, D)?;
        Ok(Self {
            connector: Linear::take(weights, "connector", config.d_model, D, true)?,
            tower: VisionTower::take(config, weights, "tower")?,
            head: Linear::of(weights, words.table().clone(), None),
            words,
            positions: Embedding::take(weights, "positions", POSITIONS, D)?,
            blocks: (0..BLOCKS)
                .map(|i| Parallel::take(weights, &format!("blocks.{i}")))
                .collect::<Result<_, _>>()?,
            norm: Norm::rms(weights, "norm", D, 1e-5)?,
        })
    }

    pub(crate) fn anatomy(&self) -> Vec<Anatomy> {
        let text = Anatomy {
            part: Part::Text,
            blocks: BLOCKS,
            heads: HEADS,
            kv_heads: KV_HEADS,
            d_model: D,
            d_head: D / HEADS,
            d_mlp: NEURONS,
            made_for: None,
        };
        vec![self.tower.anatomy(), text]
    }

    pub(crate) fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Image, Pos, Vocab};
        let seen =
            |site, length, d| SiteSpec::new(site, [(Image, None), (Pos, Some(length)), (DModel, Some(d))]);
        let features = (self.tower.tokens(), self.tower.config().d_model);
        let text = |point| Site::of(Part::Text, point);
        let mut sites = self.tower.sites();
        sites.push(seen(Site::of(Part::Vision, Point::Features), features.0, features.1));
        sites.push(seen(Site::of(Part::Connector, Point::Out), GRID * GRID, D));
        sites.extend([stream(text(Point::Embed)), stream(text(Point::Input))]);
        sites.extend(self.blocks.iter().enumerate().flat_map(|(i, block)| block.sites(i)));
        sites.push(stream(text(Point::FinalNorm)));
        let logits = [(Batch, None), (Pos, None), (Vocab, Some(VOCAB))];
        sites.push(SiteSpec::new(text(Point::Logits), logits));
        sites
    }

    /// Pictures, each as a square of positions in the decoder's width, `[image, positions, d]`: four patches are one position,
    /// their mean.
    fn see(&self, pixels: Tensor<4>, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let last = self.tower.config().blocks;
        let states = self.tower.forward(pixels, &[last], run)?;
        let Some(x) = states.and_then(|mut states| states.pop()).filter(|_| !run.done()) else {
            return Ok(None);
        };
        let x = run.at(Site::of(Part::Vision, Point::Features), x)?;
        if run.done() {
            return Ok(None);
        }
        let [images, _, d] = x.dims();
        let squares = x.reshape([images, GRID, 2, GRID, 2, d]).mean_dim(4).mean_dim(2);
        let out = self.connector.apply(squares.reshape([images, GRID * GRID, d]));
        let out = run.at(Site::of(Part::Connector, Point::Out), out)?;
        Ok((!run.done()).then_some(out))
    }

    /// Token vectors with pictures in their places and positions added, `[batch, pos, d]`.
    fn read(&self, inputs: &Inputs, device: &Device, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let seen = match &inputs.seen.values {
            None => None,
            Some(pixels) => match self.see(pixels.clone().rank_of("vision.pixels")?, run)? {
                None => return Ok(None),
                seen => seen,
            },
        };
        let indices = |ids: Vec<i64>| {
            Tensor::from_data(TensorData::new(ids, [inputs.rows(), inputs.positions()]), device)
        };
        let ids = inputs.ids.iter().flatten().map(|id| i64::from(*id)).collect();
        let words = run.at(Site::of(Part::Text, Point::Embed), self.words.apply(indices(ids)))?;
        let each = GRID * GRID;
        let of_row = |row: &Vec<usize>| row.iter().flat_map(|i| i * each..(i + 1) * each).collect();
        let sources: Vec<Vec<usize>> = inputs.seen.of_rows.iter().map(of_row).collect();
        let seen = seen.map(|x| x.reshape([-1, D as i32]));
        let x = place(words, seen, &inputs.ids, &[PLACEHOLDER], &sources)?;
        // Positions count real tokens.
        let counted = |pad: &usize| (0..inputs.positions()).map(|i| i.saturating_sub(*pad) as i64).collect();
        let counted: Vec<Vec<i64>> = inputs.pads.iter().map(counted).collect();
        let x = x + self.positions.apply(indices(counted.concat()));
        Ok(Some(run.at(Site::of(Part::Text, Point::Input), x)?))
    }

    /// The whole pass: logits, `[batch, selected, vocab]`, or those that are selected; `None` if it ended before.
    pub(crate) fn forward(
        &self,
        inputs: &Inputs,
        device: &Device,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let shape = [inputs.rows(), inputs.positions(), D];
        let (first, mut x) = match run.resume(Part::Text) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                if hidden.dims() != shape {
                    return Err(ZooError::State { found: hidden.dims().to_vec(), expected: shape.to_vec() });
                }
                (block, hidden)
            }
            _ => match self.read(inputs, device, run)? {
                None => return Ok(None),
                Some(x) => (0, x),
            },
        };
        let padding = Padding { pads: &inputs.pads, tails: &inputs.tails };
        let masking = Masking::rows(Reach::Before, padding, 0, inputs.positions());
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            if run.done() {
                return Ok(None);
            }
            x = block.forward(x, i, &masking, run)?;
        }
        if run.done() {
            return Ok(None);
        }
        let x = run.at(Site::of(Part::Text, Point::FinalNorm), self.norm.apply(x))?;
        if run.done() {
            return Ok(None);
        }
        let x = selected_states(x, inputs.logits_at, run)?;
        Ok(Some(selected_logits(x, VOCAB, run, |x, tokens| match tokens {
            Some(tokens) => self.head.only(tokens).apply(x),
            None => self.head.apply(x),
        })?))
    }

    /// Final norm and unembedding of states, `[rows, d]`.
    pub(crate) fn unembed(&self, states: Tensor<2>) -> Tensor<2> {
        self.head.apply(self.norm.apply(states))
    }
}

fn stream(site: Site) -> SiteSpec {
    use AxisName::{Batch, DModel, Pos};
    SiteSpec::new(site, [(Batch, None), (Pos, None), (DModel, Some(D))])
}
