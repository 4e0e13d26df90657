//! The CLIP image tower (Radford et al. 2021), as LLaVA reads it.
//!
//! Follows `CLIPVisionModel` of transformers: a convolution without bias cuts the picture into patches, a class
//! token comes first, learned positions are added, then a norm (published as `pre_layrnorm`) and pre-norm blocks.
//! `vision.embed` holds class token and patches before positions; `vision.input` what enters block 0.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use mmlens_core::{Anatomy, AxisName, Part, Point, Resume, Run, Site, SiteSpec};
use serde::Deserialize;

use crate::checkpoint::WeightSource;
use crate::parts::{Act, Attention, AttentionShape, Block, Linear, Masking, Mlp, Norm, block_sites};
use crate::{ZooError, blocks, divides, positive};

/// `vision_config` of a CLIP tower.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Kind of tower.
    pub model_type: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Neurons of an MLP.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Colour channels.
    pub num_channels: usize,
    /// Side of the picture.
    pub image_size: usize,
    /// Side of a patch.
    pub patch_size: usize,
    /// Nonlinearity.
    pub hidden_act: String,
    /// Of the layer norms.
    pub layer_norm_eps: f64,
}

impl Default for ClipVisionConfig {
    /// What a LLaVA config leaves out: CLIP ViT-L/14 at 336 pixels.
    fn default() -> Self {
        Self {
            model_type: "clip_vision_model".to_owned(),
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            num_channels: 3,
            image_size: 336,
            patch_size: 14,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
        }
    }
}

impl ClipVisionConfig {
    /// Patches along one side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size.max(1)
    }

    fn check(&self) -> Result<(), ZooError> {
        for (field, value) in [
            ("vision_config.hidden_size", self.hidden_size),
            ("vision_config.intermediate_size", self.intermediate_size),
            ("vision_config.num_attention_heads", self.num_attention_heads),
            ("vision_config.num_channels", self.num_channels),
            ("vision_config.patch_size", self.patch_size),
            ("vision_config.image_size", self.image_size),
        ] {
            positive(field, value)?;
        }
        blocks("vision_config.num_hidden_layers", self.num_hidden_layers)?;
        if self.model_type != "clip_vision_model" {
            return Err(ZooError::Unsupported {
                field: "vision_config.model_type".to_owned(),
                found: self.model_type.clone(),
                supported: "clip_vision_model".to_owned(),
            });
        }
        if self.grid() == 0 {
            return Err(ZooError::Value {
                field: "vision_config.patch_size".to_owned(),
                found: self.patch_size.to_string(),
                expected: format!("at most image_size = {}", self.image_size),
            });
        }
        divides(
            "vision_config.num_attention_heads",
            self.num_attention_heads,
            "hidden_size",
            self.hidden_size,
        )
    }
}

/// The tower.
#[derive(Debug, Clone)]
pub struct ClipVision {
    config: ClipVisionConfig,
    patches: Linear,
    class: Tensor<1>,
    positions: Tensor<2>,
    input_norm: Norm,
    blocks: Vec<Block>,
}

impl ClipVision {
    /// Takes the tower's weights below a prefix such as `model.vision_tower`.
    ///
    /// # Errors
    /// A config that cannot be, or a tensor that is missing or misshapen.
    pub fn take(
        config: ClipVisionConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        config.check()?;
        let (d, eps) = (config.hidden_size, config.layer_norm_eps);
        let (c, p) = (config.num_channels, config.patch_size);
        let act = Act::named("vision_config.hidden_act", &config.hidden_act)?;
        let at = |name: &str| format!("{prefix}.{name}");
        let kernel: Tensor<4> = weights.take(&at("embeddings.patch_embedding.weight"), [d, c, p, p])?;
        let width = d / config.num_attention_heads;
        let shape = AttentionShape {
            heads: config.num_attention_heads,
            kv_heads: config.num_attention_heads,
            width,
            scale: (width as f32).powf(-0.5),
        };
        let mut blocks = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            let at = |name: &str| format!("{prefix}.encoder.layers.{i}.{name}");
            blocks.push(Block {
                attn_norm: Norm::layer(weights, &at("layer_norm1"), d, eps)?,
                attn: Attention {
                    q: Linear::take(weights, &at("self_attn.q_proj"), d, d, true)?,
                    k: Linear::take(weights, &at("self_attn.k_proj"), d, d, true)?,
                    v: Linear::take(weights, &at("self_attn.v_proj"), d, d, true)?,
                    o: Linear::take(weights, &at("self_attn.out_proj"), d, d, true)?,
                    shape,
                },
                mlp_norm: Norm::layer(weights, &at("layer_norm2"), d, eps)?,
                mlp: Mlp::Plain {
                    up: Linear::take(weights, &at("mlp.fc1"), d, config.intermediate_size, true)?,
                    down: Linear::take(weights, &at("mlp.fc2"), config.intermediate_size, d, true)?,
                    act,
                },
            });
        }
        Ok(Self {
            patches: Linear::new(kernel.reshape([d, c * p * p]), None),
            class: weights.take(&at("embeddings.class_embedding"), [d])?,
            positions: weights
                .take(&at("embeddings.position_embedding.weight"), [config.grid() * config.grid() + 1, d])?,
            input_norm: Norm::layer(weights, &at("pre_layrnorm"), d, eps)?,
            blocks,
            config,
        })
    }

    /// Its config.
    pub fn config(&self) -> &ClipVisionConfig {
        &self.config
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let c = &self.config;
        Anatomy {
            part: Part::Vision,
            blocks: c.num_hidden_layers,
            heads: c.num_attention_heads,
            kv_heads: c.num_attention_heads,
            d_model: c.hidden_size,
            d_head: c.hidden_size / c.num_attention_heads,
            d_mlp: c.intermediate_size,
        }
    }

    /// Its sites up to the last block, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Channel, DModel, Height, Image, Pos, Width};
        let c = &self.config;
        let pixels = [
            (Image, None),
            (Channel, Some(c.num_channels)),
            (Height, Some(c.image_size)),
            (Width, Some(c.image_size)),
        ];
        let stream = [(Image, None), (Pos, Some(self.tokens())), (DModel, Some(c.hidden_size))];
        let mut sites = vec![
            SiteSpec::new(Site::of(Part::Vision, Point::Pixels), pixels),
            SiteSpec::new(Site::of(Part::Vision, Point::Embed), stream),
            SiteSpec::new(Site::of(Part::Vision, Point::Input), stream),
        ];
        for (i, block) in self.blocks.iter().enumerate() {
            sites.extend(block_sites(block, Part::Vision, i, c.hidden_size, Image, false));
        }
        sites
    }

    /// Positions: the class token and the patches.
    pub fn tokens(&self) -> usize {
        self.config.grid() * self.config.grid() + 1
    }

    /// The hidden states asked for, in that order: 0 is what enters block 0, `i` what leaves block `i - 1`. The pass
    /// goes as far as the last of them (and further, where a plan wants a site there). `None` if it ended before.
    ///
    /// # Errors
    /// Whatever a site reports; a pass that resumes behind a state asked for.
    pub fn forward(
        &self,
        pixels: Tensor<4>,
        layers: &[usize],
        run: &mut Run,
    ) -> Result<Option<Vec<Tensor<3>>>, ZooError> {
        let mut states = BTreeMap::new();
        let (first, mut x) = match run.resume(Part::Vision) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                let (found, want) =
                    (hidden.dims(), [pixels.dims()[0], self.tokens(), self.config.hidden_size]);
                if found != want {
                    return Err(ZooError::State { found: found.to_vec(), expected: want.to_vec() });
                }
                if let Some(layer) = layers.iter().copied().find(|layer| *layer < block) {
                    return Err(ZooError::ResumesBehind { block, layer });
                }
                (block, hidden)
            }
            _ => {
                let pixels = run.at(Site::of(Part::Vision, Point::Pixels), pixels)?;
                let x = run.at(Site::of(Part::Vision, Point::Embed), self.embed(pixels))?;
                let x = self.input_norm.apply(x + self.positions.clone().unsqueeze());
                (0, run.at(Site::of(Part::Vision, Point::Input), x)?)
            }
        };
        let wanted = (0..self.blocks.len()).rev().find(|i| run.wants_block(Part::Vision, *i));
        let last = layers.iter().copied().chain(wanted.map(|i| i + 1)).max().unwrap_or(0);
        for (i, block) in self.blocks.iter().enumerate().take(last).skip(first) {
            if run.done() {
                return Ok(None);
            }
            states.insert(i, x.clone());
            x = block.forward(x, (Part::Vision, i), None, &Masking::none(), None, run)?;
        }
        states.insert(last.max(first), x);
        Ok(Some(layers.iter().filter_map(|layer| states.get(layer).cloned()).collect()))
    }

    fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let (n, c) = (pixels.dims()[0], self.config.num_channels);
        let (g, p, d) = (self.config.grid(), self.config.patch_size, self.config.hidden_size);
        let cut = pixels.narrow(2, 0, g * p).narrow(3, 0, g * p);
        let patches =
            cut.reshape([n, c, g, p, g, p]).permute([0, 2, 4, 1, 3, 5]).reshape([n, g * g, c * p * p]);
        let class = self.class.clone().reshape([1, 1, d]).expand([n, 1, d]);
        Tensor::cat(vec![class, self.patches.apply(patches)], 1)
    }
}
