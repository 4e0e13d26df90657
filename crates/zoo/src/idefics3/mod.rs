//! Idefics3 (Laurençon et al. 2024) and SmolVLM (Marafioti et al. 2025): pictures in tiles, each square of features in
//! one position.
//!
//! Follows `Idefics3ForConditionalGeneration` and `SmolVLMForConditionalGeneration` of transformers. The tower has one
//! entry of the pixel batch for each tile, and the whole picture after its tiles. `vision.features` is what leaves the
//! tower's last norm; the connector puts `scale_factor` x `scale_factor` neighbours side by side and projects them.
//! Clips are not shown to these models here.

mod eyes;
mod tiles;

use std::path::Path;

use burn::tensor::{Device, Tensor};
use mmlens_core::{Anatomy, AxisName, Inputs, Part, Point, Port, Run, Site, SiteSpec, WeightSpec};
use serde::Deserialize;
use serde_json::{Value, json};

pub use eyes::{Cut, Idefics3Eyes};
pub use tiles::{First, tiled};

use crate::checkpoint::{Layout, WeightSource, Weights, read_json};
use crate::decoder::{Decoder, DecoderConfig, Sequence};
use crate::error::of_folder;
use crate::parts::{KvCache, Linear, Named, Norm, named};
use crate::redraw::Opening;
use crate::vision::{TowerConfig, VisionTower};
use crate::vlm::{CheckInputs, Network, Placeholder, Vlm, VlmParts, place, resumed};
use crate::{ZooError, present};

/// What `config.json` says, with the defaults of transformers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Idefics3Config {
    /// The tower.
    pub vision_config: Value,
    /// The decoder.
    pub text_config: Value,
    /// The placeholder's token id.
    pub image_token_id: u32,
    /// Neighbours along each side that share a position.
    pub scale_factor: usize,
    /// Whether the unembedding is the embedding.
    pub tie_word_embeddings: bool,
}

impl Default for Idefics3Config {
    fn default() -> Self {
        Self {
            vision_config: Value::Null,
            text_config: Value::Null,
            image_token_id: 128_257,
            scale_factor: 2,
            tie_word_embeddings: false,
        }
    }
}

impl Idefics3Config {
    /// The tower, for pictures of the size that its positions were learned for.
    ///
    /// # Errors
    /// A family or option that is not supported, a value that cannot be.
    pub fn tower(&self) -> Result<TowerConfig, ZooError> {
        let mut config = self.vision_config.clone();
        // Folders on the hub name the tower as the whole.
        if let Some(kind) = config.get_mut("model_type")
            && matches!(kind.as_str(), Some("idefics3" | "smolvlm"))
        {
            *kind = json!("idefics3_vision");
        }
        TowerConfig::read(&config, "vision_config.", "idefics3_vision")
    }
}

/// The network.
#[derive(Debug, Clone)]
pub struct Idefics3Model {
    vision: VisionTower,
    norm: Norm,
    project: Linear,
    text: Decoder,
    scale: usize,
    image_token: u32,
}

impl Idefics3Model {
    /// Takes all weights, for tiles of so many pixels a side.
    ///
    /// # Errors
    /// A config that cannot be, or a tensor that is missing or misshapen.
    pub fn take(
        config: &Idefics3Config,
        tile: usize,
        weights: &mut impl WeightSource,
    ) -> Result<Self, ZooError> {
        let tower = config.tower()?.with_side("max_image_size", tile)?;
        let (grid, scale) = (tower.grid(), config.scale_factor);
        if scale == 0 || grid % scale != 0 {
            return Err(ZooError::Value {
                field: "scale_factor".to_owned(),
                found: scale.to_string(),
                expected: format!("a divisor of the {grid} patches along the side of a tile"),
            });
        }
        present(&config.text_config, "text_config.", &["model_type"])?;
        let mut text = DecoderConfig::read(&config.text_config, "text_config.", "llama")?;
        text.tied |= config.tie_word_embeddings;
        text.logit_cap = None;
        let (d, eps) = (tower.d_model, tower.eps);
        let (wide, out) = (d * scale * scale, text.d_model);
        Ok(Self {
            vision: VisionTower::take(tower, weights, "model.vision_model")?,
            norm: Norm::layer(weights, "model.vision_model.post_layernorm", d, eps)?,
            project: Linear::take(weights, "model.connector.modality_projection.proj", wide, out, false)?,
            text: Decoder::take(text, weights, "model.text_model", "lm_head")?,
            scale,
            image_token: config.image_token_id,
        })
    }

    /// Positions along the side of a tile.
    fn grid(&self) -> usize {
        self.vision.config().grid() / self.scale
    }

    /// Features of tiles in the decoder's width, `[image, positions of a tile, d]`; `None` if the pass ended before.
    fn see(&self, pixels: Tensor<4>, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let last = self.vision.config().blocks;
        let Some(mut states) = self.vision.forward(pixels, &[last], run)? else { return Ok(None) };
        if run.done() {
            return Ok(None);
        }
        let x = self.norm.apply(states.swap_remove(0));
        let x = run.at(Site::of(Part::Vision, Point::Features), x)?;
        let ([n, _, d], g, s) = (x.dims(), self.grid(), self.scale);
        // Row of squares, row in the square, square in the row, column in the square.
        let x = x.reshape([n, g, s, g, s * d]).swap_dims(2, 3).reshape([n, g * g, s * s * d]);
        let x = run.at(Site::of(Part::Connector, Point::In), x)?;
        let out = run.at(Site::of(Part::Connector, Point::Out), self.project.apply(x))?;
        Ok((!run.done()).then_some(out))
    }
}

impl Network for Idefics3Model {
    fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{DModel, Image, Pos};
        let mut sites = self.vision.sites();
        let stream = |length: usize, d: usize| [(Image, None), (Pos, Some(length)), (DModel, Some(d))];
        let (tower, g) = (self.vision.config(), self.grid());
        let features = stream(self.vision.tokens(), tower.d_model);
        sites.push(SiteSpec::new(Site::of(Part::Vision, Point::Features), features));
        let beside = stream(g * g, tower.d_model * self.scale * self.scale);
        sites.push(SiteSpec::new(Site::of(Part::Connector, Point::In), beside));
        let out = stream(g * g, self.text.config().d_model);
        sites.push(SiteSpec::new(Site::of(Part::Connector, Point::Out), out));
        sites.extend(self.text.sites());
        sites
    }

    fn anatomy(&self) -> Vec<Anatomy> {
        vec![self.vision.anatomy(), self.text.anatomy()]
    }

    fn text(&self) -> &Decoder {
        &self.text
    }

    fn named(&self) -> Vec<Named> {
        use AxisName::DModel;
        let at = |part, point| Some(Port::at(Site::of(part, point)));
        let (mut all, name) = (self.vision.named(), "vision.final_norm".to_owned());
        let features = at(Part::Vision, Point::Features);
        all.extend(named::norm(&self.norm, name, DModel, self.vision.end(), features));
        let [out, wide] = self.project.weight().dims();
        let (from, to) = (at(Part::Connector, Point::In), at(Part::Connector, Point::Out));
        let axes = (&[(DModel, out)][..], &[(DModel, wide)][..]);
        let spec = WeightSpec::product("connector.projection", axes, from, to);
        all.extend(named::product(&self.project, spec));
        all.extend(self.text.named(0));
        all
    }

    fn check_inputs(&self, device: &Device) -> Result<CheckInputs, ZooError> {
        let small = Self { vision: self.vision.cropped(self.scale), ..self.clone() };
        let (count, tower) = (small.grid() * small.grid(), small.vision.config());
        let pixels = [1, tower.channels, tower.image_size, tower.image_size];
        CheckInputs::at(small, (&[self.image_token], count), &pixels, device)
    }

    fn forward(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        device: &Device,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let sequence = Sequence { pads: &inputs.pads, logits_at: inputs.logits_at, ..Sequence::default() };
        let d = self.text.config().d_model;
        if let Some(shape) = resumed(inputs, d, device, run) {
            return self.text.forward(shape, sequence, cache, run);
        }
        let each = self.grid() * self.grid();
        let features = match &inputs.seen.values {
            None => None,
            Some(pixels) => {
                let Some(seen) = self.see(pixels.clone().rank_of("vision.pixels")?, run)? else {
                    return Ok(None);
                };
                let [n, t, d] = seen.dims();
                Some(seen.reshape([n * t, d]))
            }
        };
        let words = self.text.embed(&inputs.ids, device)?;
        let words = run.at(Site::of(Part::Text, Point::Embed), words)?;
        let of_row = |row: &Vec<usize>| row.iter().flat_map(|i| i * each..(i + 1) * each).collect();
        let sources: Vec<Vec<usize>> = inputs.seen.of_rows.iter().map(of_row).collect();
        let x = place(words, features, &inputs.ids, &[self.image_token], &sources)?;
        self.text.forward(x, sequence, cache, run)
    }
}

/// Opens the Hugging Face folder of an Idefics3 or SmolVLM checkpoint.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
pub fn open_idefics3<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<Vlm, ZooError> {
    let on = on.into();
    of_folder(folder, || {
        let config: Idefics3Config = read_json(folder.join("config.json"))?;
        let parts = VlmParts::from_dir(folder, on)?;
        let cut = Cut::read(folder)?;
        let model = Weights::new(&parts.checkpoint, on.device)
            .layout(Layout::IDEFICS3)
            .build(|weights| Idefics3Model::take(&config, cut.tile, weights))?;
        let token = config.image_token_id;
        let text = parts.tokenizer.token(token).ok_or_else(|| ZooError::Value {
            field: "image_token_id".to_owned(),
            found: token.to_string(),
            expected: format!("a token id below {}", parts.tokenizer.vocab_size()),
        })?;
        let side = config.scale_factor * model.vision.config().patch_size;
        let eyes = Idefics3Eyes::new(folder, &cut, Placeholder { text, token }, (model.grid(), side))?;
        Vlm::new(parts, model, eyes)
    })
}
