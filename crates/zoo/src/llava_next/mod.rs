//! LLaVA-NeXT (Liu et al. 2024): LLaVA that sees a picture whole and in tiles.
//!
//! Follows `LlavaNextForConditionalGeneration` of transformers. The tower and the projector see one entry of the pixel
//! batch for each tile, the whole picture first; `vision.features` and `connector.out` have a row for each. In the
//! sequence come the whole picture's patches, then those of all tiles, row by row over the whole grid, without the
//! padding, and after each row a learned vector.

mod anyres;
mod eyes;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use mmlens_core::{Anatomy, Inputs, Run, SiteSpec, TokenMap};
use serde::Deserialize;
use serde_json::Value;

pub use anyres::{Pinpoints, fitted, unpadded};
pub use eyes::LlavaNextEyes;

use crate::ZooError;
use crate::checkpoint::{Layout, WeightSource, Weights, read_json};
use crate::decoder::{Decoder, Sequence};
use crate::error::of_folder;
use crate::llava::{LlavaConfig, LlavaModel};
use crate::parts::{KvCache, Named};
use crate::redraw::Opening;
use crate::vlm::{CheckInputs, Network, Placeholder, Vlm, VlmParts, place, resumed};

/// What `config.json` says beside what it says of a LLaVA.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    image_grid_pinpoints: Option<Value>,
}

/// The network.
#[derive(Debug, Clone)]
pub struct LlavaNextModel {
    llava: LlavaModel,
    newline: Tensor<1>,
    pinpoints: Pinpoints,
}

impl LlavaNextModel {
    /// Takes all weights, by the names newer checkpoints have.
    ///
    /// # Errors
    /// A config that cannot be, or a tensor that is missing or misshapen.
    pub fn take(
        config: &LlavaConfig,
        pinpoints: Pinpoints,
        weights: &mut impl WeightSource,
    ) -> Result<Self, ZooError> {
        let llava = LlavaModel::take(config, weights)?;
        let tower = llava.vision.config();
        if llava.image_tokens() != tower.grid() * tower.grid() {
            return Err(ZooError::Unsupported {
                field: "vision_feature_select_strategy".to_owned(),
                found: config.vision_feature_select_strategy.clone(),
                supported:
                    "the one that leaves a tile its patches alone (`default` for a tower with a class token)"
                        .to_owned(),
            });
        }
        let side = tower.image_size;
        if let Some(bad) = pinpoints.0.iter().find(|(h, w)| h % side != 0 || w % side != 0) {
            return Err(ZooError::Value {
                field: "image_grid_pinpoints".to_owned(),
                found: format!("{bad:?}"),
                expected: format!("multiples of image_size = {side}"),
            });
        }
        let newline = weights.take("model.image_newline", [llava.text.config().d_model])?;
        Ok(Self { llava, newline, pinpoints })
    }

    /// For every position of a row's pictures, the feature it takes; the one behind the last is the end of a row.
    ///
    /// # Errors
    /// [`ZooError::Value`] for a row that has fewer tiles than its pictures are cut into.
    fn sources(&self, inputs: &Inputs, row: usize) -> Result<Vec<usize>, ZooError> {
        let tower = self.llava.vision.config();
        let (g, side) = (tower.grid(), tower.image_size);
        let (entries, end) = (&inputs.seen.of_rows[row], inputs.seen.len() * g * g);
        let mut sources = Vec::new();
        let mut next = 0;
        for (width, height) in &inputs.maps[row].pictures {
            let size = (*height as usize, *width as usize);
            let (to_height, to_width) = self.pinpoints.best(size);
            let (down, across) = (to_height / side, to_width / side);
            let count = 1 + down * across;
            let tiles = entries.get(next..next + count).ok_or_else(|| ZooError::Value {
                field: format!("tiles of row {row}"),
                found: entries.len().to_string(),
                expected: format!("at least {}", next + count),
            })?;
            let tile = |i: usize| tiles[i] * g * g;
            sources.extend((0..g * g).map(|i| tile(0) + i));
            let (rows, cols) = unpadded(size, (down * g, across * g));
            for y in rows {
                sources.extend(cols.clone().map(|x| tile(1 + y / g * across + x / g) + y % g * g + x % g));
                sources.push(end);
            }
            next += count;
        }
        Ok(sources)
    }
}

impl Network for LlavaNextModel {
    fn sites(&self) -> Vec<SiteSpec> {
        self.llava.sites()
    }

    fn anatomy(&self) -> Vec<Anatomy> {
        self.llava.anatomy()
    }

    fn seen_behind(&self) -> Option<Vec<usize>> {
        self.llava.seen_behind()
    }

    fn text(&self) -> &Decoder {
        &self.llava.text
    }

    fn named(&self) -> Vec<Named> {
        self.llava.named()
    }

    /// A picture of one tile: the whole, the tile, and the ends of its rows.
    fn check_inputs(&self, device: &Device) -> Result<CheckInputs, ZooError> {
        let llava = self.llava.cropped();
        let (token, tower) = (llava.image_token(), llava.vision.config());
        let (side, grid) = (tower.image_size, tower.grid());
        let pixels = [2, tower.channels, side, side];
        let pinpoints = Pinpoints(vec![(side, side)]);
        let small = Self { llava, newline: self.newline.clone(), pinpoints };
        let mut check_inputs =
            CheckInputs::at(small, (&[token], grid * grid + grid * (grid + 1)), &pixels, device)?;
        let pictures = vec![(side as u32, side as u32)];
        check_inputs.inputs = check_inputs.inputs.with(|batch| {
            batch.maps = vec![Arc::new(TokenMap { pictures, ..TokenMap::default() })];
            batch.seen.of_rows = vec![vec![0, 1]];
        })?;
        Ok(check_inputs)
    }

    fn forward(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        device: &Device,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let sequence = Sequence { pads: &inputs.pads, logits_at: inputs.logits_at, ..Sequence::default() };
        let width = self.llava.text.config().d_model;
        if let Some(shape) = resumed(inputs, width, device, run) {
            return self.llava.text.forward(shape, sequence, cache, run);
        }
        let features = match &inputs.seen.values {
            None => None,
            Some(pixels) => {
                let Some(seen) = self.llava.see(pixels.clone().rank_of("vision.pixels")?, run)? else {
                    return Ok(None);
                };
                let [n, t, d] = seen.dims();
                let newline = self.newline.clone().reshape([1, d]);
                Some(Tensor::cat(vec![seen.reshape([n * t, d]), newline], 0))
            }
        };
        let words = self.llava.words(&inputs.ids, device, run)?;
        let sources: Vec<Vec<usize>> = match features {
            Some(_) => (0..inputs.rows()).map(|row| self.sources(inputs, row)).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let x = place(words, features, &inputs.ids, &[self.llava.image_token()], &sources)?;
        self.llava.text.forward(x, sequence, cache, run)
    }
}

/// Opens a LLaVA-NeXT checkpoint's Hugging Face folder.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
pub fn open_llava_next<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<Vlm, ZooError> {
    let on = on.into();
    of_folder(folder, || {
        let raw: Raw = read_json(folder.join("config.json"))?;
        let pinpoints = match &raw.image_grid_pinpoints {
            None | Some(Value::Null) => Pinpoints::usual(),
            Some(value) => eyes::read_pinpoints("image_grid_pinpoints", value)?,
        };
        let config: LlavaConfig = read_json(folder.join("config.json"))?;
        let parts = VlmParts::from_dir(folder, on)?;
        let model = Weights::new(&parts.checkpoint, on.device)
            .layout(Layout::LLAVA)
            .ignore(&["model.vision_tower.post_layernorm.*", "model.vision_tower.head.*"])
            .build(|weights| LlavaNextModel::take(&config, pinpoints.clone(), weights))?;
        let token = config.image_token_index;
        let text = parts.tokenizer.token(token).ok_or_else(|| ZooError::Value {
            field: "image_token_index".to_owned(),
            found: token.to_string(),
            expected: format!("a token id below {}", parts.tokenizer.vocab_size()),
        })?;
        let tower = model.llava.vision.config();
        let sizes = (tower.grid(), tower.patch_size, tower.image_size);
        let eyes = LlavaNextEyes::read(folder, &model.pinpoints, Placeholder { text, token }, sizes)?;
        Vlm::new(parts, model, eyes)
    })
}
