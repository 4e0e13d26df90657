//! LLaVA (Liu et al. 2023): a CLIP tower, a two-layer projector, a LLaMA decoder. The network alone; texts and
//! pictures are the subject's business.
//!
//! Follows `LlavaForConditionalGeneration` of transformers.

use burn::tensor::{Device, Tensor};
use mmlens_core::{Anatomy, AxisName, Batch, Inputs, Part, Point, Port, Run, Site, SiteSpec};
use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::WeightSource;
use crate::decoder::{Decoder, DecoderConfig, Sequence};
use crate::parts::{Act, KvCache, Linear, Named, named};
use crate::vision::{TowerConfig, VisionTower};
use crate::vlm::{CheckInputs, Network, place, resumed};
use crate::{ZooError, present};

/// `config.json` of a LLaVA checkpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct LlavaConfig {
    /// Kind of model.
    pub model_type: String,
    /// The tower.
    pub vision_config: Value,
    /// The decoder.
    pub text_config: Value,
    /// The placeholder's token id.
    #[serde(alias = "image_token_id")]
    pub image_token_index: u32,
    /// The projector's nonlinearity.
    pub projector_hidden_act: String,
    /// Whether the projector has biases.
    pub multimodal_projector_bias: bool,
    /// Which hidden state of the tower is read: 0 is what enters block 0, negative ones count from the end.
    pub vision_feature_layer: FeatureLayers,
    /// `default` drops the class token, `full` keeps it.
    pub vision_feature_select_strategy: String,
    /// Whether the unembedding is the embedding.
    pub tie_word_embeddings: bool,
    /// Quantised checkpoints are not supported.
    pub quantization_config: Option<Value>,
}

impl Default for LlavaConfig {
    fn default() -> Self {
        Self {
            model_type: "llava".to_owned(),
            vision_config: Value::Null,
            text_config: Value::Null,
            image_token_index: 32000,
            projector_hidden_act: "gelu".to_owned(),
            multimodal_projector_bias: true,
            vision_feature_layer: FeatureLayers::One(-2),
            vision_feature_select_strategy: "default".to_owned(),
            tie_word_embeddings: false,
            quantization_config: None,
        }
    }
}

impl LlavaConfig {
    /// The tower.
    ///
    /// # Errors
    /// A family or option that is not supported, a value that cannot be.
    pub fn tower(&self) -> Result<TowerConfig, ZooError> {
        let large = serde_json::json!({"model_type": "clip_vision_model", "hidden_size": 1024,
            "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
            "image_size": 336, "patch_size": 14});
        // Without a tower's config transformers takes CLIP ViT-L/14 at 336 pixels.
        let config = if self.vision_config.is_null() { &large } else { &self.vision_config };
        present(config, "vision_config.", &["model_type"])?;
        TowerConfig::read(config, "vision_config.", "clip_vision_model")
    }

    /// The decoder.
    ///
    /// # Errors
    /// A family or option that is not supported, a value that cannot be.
    pub fn decoder(&self) -> Result<DecoderConfig, ZooError> {
        present(&self.text_config, "text_config.", &["model_type"])?;
        let mut text = DecoderConfig::read(&self.text_config, "text_config.", "llama")?;
        text.tied |= self.tie_word_embeddings;
        // The unembedding is the whole model's, which knows nothing of Gemma 2's cap.
        text.logit_cap = None;
        Ok(text)
    }
}

/// One hidden state of the tower, or several side by side.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum FeatureLayers {
    /// One.
    One(i64),
    /// Several, concatenated in this order.
    Many(Vec<i64>),
}

/// The network.
#[derive(Debug, Clone)]
pub struct LlavaModel {
    /// The tower.
    pub vision: VisionTower,
    /// The decoder.
    pub text: Decoder,
    up: Linear,
    down: Linear,
    act: Act,
    layers: Vec<usize>,
    keep_class: bool,
    image_token: u32,
}

impl LlavaModel {
    /// Takes all weights, by the names newer checkpoints have.
    ///
    /// # Errors
    /// A config that cannot be, or a tensor that is missing or misshapen.
    pub fn take(config: &LlavaConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let unsupported = |field: &str, found: &str, supported: &str| ZooError::Unsupported {
            field: field.to_owned(),
            found: found.to_owned(),
            supported: supported.to_owned(),
        };
        if config.quantization_config.is_some() {
            return Err(unsupported(
                "quantization_config",
                "a quantised checkpoint",
                "f32, f16 and bf16 weights",
            ));
        }
        let keep_class = match config.vision_feature_select_strategy.as_str() {
            "default" => false,
            "full" => true,
            other => return Err(unsupported("vision_feature_select_strategy", other, "default, full")),
        };
        let tower = config.tower()?;
        let states = tower.blocks + 1;
        let asked = match &config.vision_feature_layer {
            FeatureLayers::One(layer) => std::slice::from_ref(layer),
            FeatureLayers::Many(layers) => layers,
        };
        let layers: Option<Vec<usize>> = asked
            .iter()
            .map(|l| {
                usize::try_from(if *l < 0 { *l + states as i64 } else { *l }).ok().filter(|l| *l < states)
            })
            .collect();
        let layers = layers.filter(|l| !l.is_empty()).ok_or_else(|| ZooError::Value {
            field: "vision_feature_layer".to_owned(),
            found: format!("{asked:?}"),
            expected: format!("hidden states from {} to {}", -(states as i64), states - 1),
        })?;
        let text = config.decoder()?;
        let (wide, d, bias) = (tower.d_model * layers.len(), text.d_model, config.multimodal_projector_bias);
        Ok(Self {
            act: Act::named("projector_hidden_act", &config.projector_hidden_act)?,
            vision: VisionTower::take(tower, weights, "model.vision_tower")?,
            up: Linear::take(weights, "model.multi_modal_projector.linear_1", wide, d, bias)?,
            down: Linear::take(weights, "model.multi_modal_projector.linear_2", d, d, bias)?,
            text: Decoder::take(text, weights, "model.language_model", "lm_head")?,
            layers,
            keep_class,
            image_token: config.image_token_index,
        })
    }

    /// The same network for pictures of a few patches, which share its weights.
    pub(crate) fn cropped(&self) -> Self {
        Self { vision: self.vision.cropped(2), ..self.clone() }
    }

    /// Positions a picture takes in the sequence.
    pub fn image_tokens(&self) -> usize {
        self.vision.tokens() - usize::from(self.drops_class())
    }

    /// Whether the tower's class token is among them, first.
    pub fn keeps_class(&self) -> bool {
        self.vision.config().class_token && self.keep_class
    }

    /// Strategy `default` drops the first position, whatever it is.
    fn drops_class(&self) -> bool {
        !self.keep_class
    }

    /// The placeholder's token id.
    pub fn image_token(&self) -> u32 {
        self.image_token
    }

    /// Picture features in the decoder's width, `[image, image tokens, d]`; `None` if the pass ended before.
    ///
    /// # Errors
    /// Whatever a site reports.
    pub fn see(&self, pixels: Tensor<4>, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let Some(mut chosen) = self.vision.forward(pixels, &self.layers, run)? else { return Ok(None) };
        let tokens = self.vision.tokens();
        if self.drops_class() {
            chosen = chosen.into_iter().map(|x| x.narrow(1, 1, tokens - 1)).collect();
        }
        let features = if chosen.len() == 1 { chosen.swap_remove(0) } else { Tensor::cat(chosen, 2) };
        if run.done() {
            return Ok(None);
        }
        let features = run.at(Site::of(Part::Vision, Point::Features), features)?;
        let at = |point| Site::of(Part::Connector, point);
        let pre = run.at(at(Point::Pre), self.up.apply(features))?;
        let post = run.at(at(Point::Post), self.act.apply(pre))?;
        let out = run.at(at(Point::Out), self.down.apply(post))?;
        Ok((!run.done()).then_some(out))
    }

    /// Token vectors, at `text.embed`, `[batch, pos, d]`.
    ///
    /// # Errors
    /// A token outside the vocabulary; whatever the site reports.
    pub fn words(&self, ids: &[Vec<u32>], device: &Device, run: &mut Run) -> Result<Tensor<3>, ZooError> {
        Ok(run.at(Site::of(Part::Text, Point::Embed), self.text.embed(ids, device)?)?)
    }

    /// Token vectors with image features, `[image, image tokens, d]`, in the place of the placeholders, in order.
    ///
    /// # Errors
    /// [`ZooError::Placeholders`] if a row has not as many placeholders as its pictures need.
    pub fn embed(
        &self,
        ids: &[Vec<u32>],
        features: Option<Tensor<3>>,
        images: &[Vec<usize>],
        device: &Device,
        run: &mut Run,
    ) -> Result<Tensor<3>, ZooError> {
        let words = self.words(ids, device, run)?;
        let each = self.image_tokens();
        let sources: Vec<Vec<usize>> =
            images.iter().map(|row| row.iter().flat_map(|i| i * each..(i + 1) * each).collect()).collect();
        let features = features.map(|x| {
            let [n, t, d] = x.dims();
            x.reshape([n * t, d])
        });
        place(words, features, ids, &[self.image_token], &sources)
    }
}

impl Network for LlavaModel {
    fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{DModel, Image, Neuron, Pos};
        let mut sites = self.vision.sites();
        let wide = self.vision.config().d_model * self.layers.len();
        let out = self.text.config().d_model;
        let stream = |d: usize| [(Image, None), (Pos, Some(self.image_tokens())), (DModel, Some(d))];
        sites.push(SiteSpec::new(Site::of(Part::Vision, Point::Features), stream(wide)));
        let neurons = self.up.weight().dims()[0];
        for point in [Point::Pre, Point::Post] {
            let axes = [(Image, None), (Pos, Some(self.image_tokens())), (Neuron, Some(neurons))];
            sites.push(SiteSpec::new(Site::of(Part::Connector, point), axes));
        }
        sites.push(SiteSpec::new(Site::of(Part::Connector, Point::Out), stream(out)));
        sites.extend(self.text.sites());
        sites
    }

    fn anatomy(&self) -> Vec<Anatomy> {
        vec![self.vision.anatomy(), self.text.anatomy()]
    }

    fn seen_behind(&self) -> Option<Vec<usize>> {
        let mut layers = self.layers.clone();
        layers.sort_unstable();
        layers.dedup();
        Some(layers)
    }

    fn text(&self) -> &Decoder {
        &self.text
    }

    fn named(&self) -> Vec<Named> {
        let mut all = self.vision.named();
        let features = Port::at(Site::of(Part::Vision, Point::Features));
        let sites = [Point::Pre, Point::Post, Point::Out].map(|point| Site::of(Part::Connector, point));
        let name = |name: &str| format!("connector.{name}");
        all.extend(named::two_layers((&self.up, &self.down), name, features, sites));
        all.extend(self.text.named(0));
        all
    }

    fn check_inputs(&self, device: &Device) -> Result<CheckInputs, ZooError> {
        let small = self.cropped();
        let (count, tower) = (small.image_tokens(), small.vision.config());
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
        let Batch { ids, pads, seen, logits_at, .. } = &**inputs;
        let sequence = Sequence { pads, logits_at: *logits_at, ..Sequence::default() };
        if let Some(shape) = resumed(inputs, self.text.config().d_model, device, run) {
            return self.text.forward(shape, sequence, cache, run);
        }
        let features = match &seen.values {
            None => None,
            Some(pixels) => match self.see(pixels.clone().rank_of("vision.pixels")?, run)? {
                None => return Ok(None),
                seen => seen,
            },
        };
        let x = self.embed(ids, features, &seen.of_rows, device, run)?;
        self.text.forward(x, sequence, cache, run)
    }
}
