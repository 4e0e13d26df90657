//! Image towers of learned positions: CLIP (Radford et al. 2021), SigLIP, ViT (Dosovitskiy et al. 2021), BLIP's,
//! Idefics3's.
//!
//! One network, driven by [`TowerConfig`]; it follows the `*VisionModel` classes of transformers. A convolution cuts the
//! picture into patches, a class token may come first, learned positions are added, then come a norm (CLIP's
//! `pre_layrnorm`) where there is one, and pre-norm blocks. `vision.embed` holds class token and patches before
//! positions; `vision.input` what enters block 0. Tensors are asked for by the names CLIP gives them.

mod config;
mod fractions;
mod patches;

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{Anatomy, AxisName, Part, Point, Port, Resume, Run, Site, SiteSpec};

pub use config::{Qkv, TowerConfig};
pub(crate) use patches::joined;

use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Attention, AttentionShape, Block, Linear, Masking, Mlp, Named, Norm, encode};

/// The tower.
#[derive(Debug, Clone)]
pub struct VisionTower {
    config: TowerConfig,
    patches: Linear,
    class: Option<Tensor<1>>,
    positions: Tensor<2>,
    input_norm: Option<Norm>,
    blocks: Vec<Block>,
}

impl VisionTower {
    /// Takes the tower's weights below a prefix such as `model.vision_tower`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: TowerConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        let (d, c, p) = (config.d_model, config.channels, config.patch_size);
        let at = |name: &str| format!("{prefix}.{name}");
        let kernel: Tensor<4> = weights.take(&at("embeddings.patch_embedding.weight"), [d, c, p, p])?;
        let bias = match config.patch_bias {
            true => Some(weights.take(&at("embeddings.patch_embedding.bias"), [d])?),
            false => None,
        };
        let name = at("embeddings.class_embedding");
        let class = match (config.class_token, config.leading_axes) {
            (true, true) => {
                let class: Tensor<3> = weights.take(&name, [1, 1, d])?;
                Some(weights.made(class, [d], |class| class.reshape([d])))
            }
            (true, false) => Some(weights.take(&name, [d])?),
            (false, _) => None,
        };
        let positions = config.learned.map_or(config.tokens(), |learned| learned * learned);
        let name = at("embeddings.position_embedding.weight");
        let positions = match config.leading_axes {
            true => {
                let all: Tensor<3> = weights.take(&name, [1, positions, d])?;
                weights.made(all, [positions, d], |all| all.reshape([positions, d]))
            }
            false => weights.take(&name, [positions, d])?,
        };
        let input_norm = match config.input_norm {
            true => Some(Norm::layer(weights, &at("pre_layrnorm"), d, config.eps)?),
            false => None,
        };
        let mut blocks = Vec::with_capacity(config.blocks);
        for i in 0..config.blocks {
            blocks.push(block(&config, weights, &at(&format!("encoder.layers.{i}")))?);
        }
        let values = c * p * p;
        let kernel = weights.made(kernel, [d, values], |kernel| kernel.reshape([d, values]));
        let patches = Linear::of(weights, kernel, bias);
        Ok(Self { config, patches, class, positions, input_norm, blocks })
    }

    /// Its config.
    pub fn config(&self) -> &TowerConfig {
        &self.config
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let c = &self.config;
        Anatomy {
            part: Part::Vision,
            blocks: c.blocks,
            heads: c.heads,
            kv_heads: c.heads,
            d_model: c.d_model,
            d_head: c.d_model / c.heads,
            d_mlp: c.neurons,
            made_for: None,
        }
    }

    /// Its sites up to the last block, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Channel, DModel, Height, Image, Pos, Width};
        let c = &self.config;
        let side = Some(c.image_size);
        let pixels = [(Image, None), (Channel, Some(c.channels)), (Height, side), (Width, side)];
        let stream = [(Image, None), (Pos, Some(self.tokens())), (DModel, Some(c.d_model))];
        let mut sites = vec![
            SiteSpec::new(Site::of(Part::Vision, Point::Pixels), pixels),
            SiteSpec::new(Site::of(Part::Vision, Point::Embed), stream),
            SiteSpec::new(Site::of(Part::Vision, Point::Input), stream),
        ];
        for (i, block) in self.blocks.iter().enumerate() {
            sites.extend(block.sites(Part::Vision, i, c.d_model, Image, false));
        }
        sites
    }

    /// Positions of a picture: the class token, where there is one, and the patches.
    pub fn tokens(&self) -> usize {
        self.config.tokens()
    }

    /// The same tower for pictures of at most `side` patches a side, with the positions of the first patches: what is
    /// enough to look it over. Nothing that a whole picture says can be said of it.
    pub(crate) fn cropped(&self, side: usize) -> Self {
        let side = side.min(self.config.grid());
        let config = TowerConfig { image_size: side * self.config.patch_size, ..self.config.clone() };
        let positions = match self.config.learned {
            Some(_) => self.positions.clone(),
            None => self.positions.clone().narrow(0, 0, config.tokens()),
        };
        Self { config, positions, ..self.clone() }
    }

    /// The hidden states asked for, in that order: 0 is what enters block 0, `i` what leaves block `i - 1`. The pass
    /// goes as far as the last of them (and further, where a plan wants a site there). `None` if it ended before.
    ///
    /// # Errors
    /// Pixels of another size; whatever a site reports; a pass that resumes behind a state asked for.
    pub fn forward(
        &self,
        pixels: Tensor<4>,
        layers: &[usize],
        run: &mut Run,
    ) -> Result<Option<Vec<Tensor<3>>>, ZooError> {
        let side = self.config.image_size;
        let want = [pixels.dims()[0], self.config.channels, side, side];
        if pixels.dims() != want {
            return Err(ZooError::Pixels { found: pixels.dims().to_vec(), expected: want.to_vec() });
        }
        let resumes = matches!(run.resume(Part::Vision), Resume::At(..));
        let shape = [pixels.dims()[0], self.tokens(), self.config.d_model];
        let x = match resumes {
            true => Tensor::zeros(shape, &pixels.device()),
            false => {
                let pixels = run.at(Site::of(Part::Vision, Point::Pixels), pixels)?;
                let x = run.at(Site::of(Part::Vision, Point::Embed), self.embed(pixels))?;
                let x = x + self.positions().unsqueeze();
                self.input_norm.as_ref().map_or_else(|| x.clone(), |norm| norm.apply(x.clone()))
            }
        };
        encode(Part::Vision, &self.blocks, x, &Masking::none(), layers, run)
    }

    /// One for each position of a picture.
    fn positions(&self) -> Tensor<2> {
        let Some(learned) = self.config.learned else { return self.positions.clone() };
        let chosen = fractions::fractional(learned, self.config.grid());
        let chosen: Vec<i64> = chosen.into_iter().map(|i| i as i64).collect();
        let (count, device) = ([chosen.len()], self.positions.device().without_autodiff());
        self.positions.clone().select(0, Tensor::<1, Int>::from_data(TensorData::new(chosen, count), &device))
    }

    /// The weights of its blocks by name.
    pub(crate) fn named(&self) -> Vec<Named> {
        let blocks = self.blocks.iter().enumerate();
        blocks.flat_map(|(i, block)| block.named((Part::Vision, i), false, None)).collect()
    }

    /// The place behind its last block, where it has one.
    pub(crate) fn end(&self) -> Option<Port> {
        let last = self.blocks.len().checked_sub(1);
        last.map(|last| Port::at(Site::block(Part::Vision, last, Point::ResidPost)))
    }

    fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let (n, c) = (pixels.dims()[0], self.config.channels);
        let (g, p, d) = (self.config.grid(), self.config.patch_size, self.config.d_model);
        let cut = pixels.narrow(2, 0, g * p).narrow(3, 0, g * p);
        let patches =
            cut.reshape([n, c, g, p, g, p]).permute([0, 2, 4, 1, 3, 5]).reshape([n, g * g, c * p * p]);
        let patches = self.patches.apply(patches);
        match &self.class {
            Some(class) => Tensor::cat(vec![class.clone().reshape([1, 1, d]).expand([n, 1, d]), patches], 1),
            None => patches,
        }
    }
}

/// A pre-norm block under CLIP's names.
fn block(config: &TowerConfig, weights: &mut impl WeightSource, prefix: &str) -> Result<Block, ZooError> {
    let at = |name: &str| format!("{prefix}.{name}");
    let (d, neurons, eps) = (config.d_model, config.neurons, config.eps);
    let [q, k, v] = match config.qkv {
        Qkv::Apart { bias } => [
            Linear::take(weights, &at("self_attn.q_proj"), d, d, bias)?,
            Linear::take(weights, &at("self_attn.k_proj"), d, d, bias)?,
            Linear::take(weights, &at("self_attn.v_proj"), d, d, bias)?,
        ],
        Qkv::Together { bias } => Linear::take(weights, &at("self_attn.qkv"), d, 3 * d, bias)?.split(),
    };
    Ok(Block::pre_norm(
        Norm::layer(weights, &at("layer_norm1"), d, eps)?,
        Attention {
            q,
            k,
            v,
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
