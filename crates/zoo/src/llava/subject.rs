//! A LLaVA checkpoint as a subject: words and pictures in, sites and answers out.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::finding::{Modality, PatchLabel, TokenLabel};
use mmlens_core::{
    Anatomy, AnyTensor, Asked, Generated, Generation, HookError, Inputs, Output, Run, Sample, SiteSpec,
    Subject, SubjectError, TokenMap, View, Words,
};

use super::{LlavaConfig, LlavaModel};
use crate::ZooError;
use crate::checkpoint::{Checkpoint, GenerationConfig, Layout, Weights, read_json};
use crate::generate::{Decoding, generate};
use crate::hub;
use crate::parts::KvCache;
use crate::processor::{ImageProcessor, Processed};
use crate::text::{ChatOptions, ChatTemplate, Message, TextError, Tokenizer};

/// What a LLaVA checkpoint consists of besides the network.
#[derive(Debug)]
pub struct LlavaParts {
    /// What it is called.
    pub name: String,
    /// `config.json`.
    pub config: LlavaConfig,
    /// The weights.
    pub checkpoint: Checkpoint,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The chat template, where there is one.
    pub template: Option<ChatTemplate>,
    /// The image processor.
    pub processor: ImageProcessor,
    /// Defaults of generation.
    pub generation: GenerationConfig,
    /// Where it computes.
    pub device: Device,
}

/// A LLaVA checkpoint: network, tokenizer, chat template and image processor.
#[derive(Debug)]
pub struct Llava {
    parts: LlavaParts,
    model: LlavaModel,
    /// The placeholder's text.
    image: String,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
}

impl Llava {
    /// Opens a Hugging Face folder.
    ///
    /// # Errors
    /// Any file that is missing, broken or does not fit the others; an option that is not supported.
    ///
    /// # Memory
    /// On a CPU, f32 weights are mapped, not copied; others are widened tensor by tensor.
    pub fn open(folder: impl AsRef<Path>, device: &Device) -> Result<Self, ZooError> {
        let folder = folder.as_ref();
        let resolved = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let own = || {
            resolved
                .file_name()
                .map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned())
        };
        // In the cache of the hub, folders are called by their commit.
        let name = hub::id_of(&resolved).unwrap_or_else(own);
        Self::from_parts(LlavaParts {
            name,
            config: read_json(folder.join("config.json"))?,
            checkpoint: Checkpoint::open(folder)?,
            tokenizer: Tokenizer::from_dir(folder)?,
            template: match ChatTemplate::from_dir(folder) {
                Err(TextError::NoTemplate { .. }) => None,
                found => Some(found?),
            },
            processor: ImageProcessor::from_dir(folder)?,
            generation: GenerationConfig::from_dir(folder)?,
            device: device.clone(),
        })
    }

    /// From parts at hand.
    ///
    /// # Errors
    /// Parts that do not fit each other; an option that is not supported.
    pub fn from_parts(parts: LlavaParts) -> Result<Self, ZooError> {
        let config = &parts.config;
        if config.model_type != "llava" {
            return Err(ZooError::Unsupported {
                field: "model_type".to_owned(),
                found: config.model_type.clone(),
                supported: "llava".to_owned(),
            });
        }
        let model = Weights::new(&parts.checkpoint, &parts.device)
            .layout(Layout::LLAVA)
            .ignore(&["model.vision_tower.post_layernorm.*"])
            .build(|weights| LlavaModel::take(config, weights))?;
        let side = config.vision_config.image_size;
        if let Some(size) = parts.processor.output_size()
            && size != (side, side)
        {
            return Err(ZooError::Value {
                field: "crop_size".to_owned(),
                found: format!("{} x {}", size.0, size.1),
                expected: format!("image_size = {side} of the tower"),
            });
        }
        let known = parts.tokenizer.token(config.image_token_index);
        let image = known.ok_or_else(|| ZooError::Value {
            field: "image_token_index".to_owned(),
            found: config.image_token_index.to_string(),
            expected: format!("a token id below {}", parts.tokenizer.vocab_size()),
        })?;
        let (sites, anatomy) = (model.sites(), vec![model.vision.anatomy(), model.text.anatomy()]);
        Ok(Self { parts, model, image, sites, anatomy })
    }

    /// The network.
    pub fn model(&self) -> &LlavaModel {
        &self.model
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.parts.tokenizer
    }

    /// The image processor.
    pub fn processor(&self) -> &ImageProcessor {
        &self.parts.processor
    }

    fn refuse(&self, reason: impl ToString) -> SubjectError {
        SubjectError::Sample { subject: self.parts.name.clone(), reason: reason.to_string() }
    }

    fn failed(&self, error: ZooError) -> SubjectError {
        match error {
            ZooError::Hook(hook) => SubjectError::Hook(hook),
            other => self.refuse(other),
        }
    }

    /// The prompt before image placeholders are expanded, and whether special tokens are added around it.
    ///
    /// # Errors
    /// A sample without words, or a chat template that is missing or refuses.
    pub fn prompt(&self, sample: &Sample) -> Result<(String, bool), SubjectError> {
        match &sample.words {
            Words::Prompt(text) if text.is_empty() => Err(self.refuse("the prompt is empty")),
            Words::Prompt(text) => Ok((text.clone(), true)),
            Words::Ask(question) if question.trim().is_empty() => Err(self.refuse("the question is empty")),
            Words::Ask(question) => {
                let template = self.parts.template.as_ref().ok_or_else(|| {
                    self.refuse(
                        "the checkpoint has no chat template; give the whole prompt instead of a question",
                    )
                })?;
                let message = Message::user(sample.pictures.len(), question);
                let text = template.render(&[message], &ChatOptions::ask()).map_err(|e| self.refuse(e))?;
                let begun =
                    self.parts.tokenizer.special().get("bos_token").is_some_and(|bos| text.starts_with(bos));
                Ok((text, !begun))
            }
            Words::Texts(_) => Err(self.refuse("it takes one prompt, not a list of captions")),
        }
    }

    /// Token ids with placeholders expanded, and what each position is.
    fn tokenise(
        &self,
        sample: &Sample,
        pictures: &[Processed],
    ) -> Result<(Vec<u32>, TokenMap), SubjectError> {
        let (text, special) = self.prompt(sample)?;
        let pieces = self.parts.tokenizer.encode(&text, special).map_err(|e| self.refuse(e))?;
        let image_token = self.model.image_token();
        let placeholders = pieces.iter().filter(|p| p.id == image_token).count();
        if placeholders != pictures.len() {
            return Err(self.refuse(format!(
                "the prompt has {placeholders} image placeholders (`{}`), but {} pictures were given",
                self.image,
                pictures.len()
            )));
        }
        let (mut ids, mut map, mut next) = (Vec::new(), TokenMap::default(), 0..);
        for piece in pieces {
            if piece.id == image_token {
                let image = next.next().unwrap_or(0);
                if let Some(picture) = pictures.get(image) {
                    self.lay_out(image, picture, &mut ids, &mut map);
                }
                continue;
            }
            let modality =
                if self.parts.tokenizer.is_special(piece.id) { Modality::Special } else { Modality::Text };
            let mut label = TokenLabel::new(self.token(piece.id), modality).with_id(piece.id);
            if let Some((from, to)) = piece.bytes {
                label = label.with_bytes(from, to);
            }
            ids.push(piece.id);
            map.tokens.push(label);
        }
        if ids.is_empty() {
            return Err(self.refuse("the prompt has no tokens"));
        }
        Ok((ids, map))
    }

    /// One picture's positions: the class token where it is kept, then the patches row by row.
    fn lay_out(&self, image: usize, picture: &Processed, ids: &mut Vec<u32>, map: &mut TokenMap) {
        let config = self.model.vision.config();
        let (grid, side, token) = (config.grid(), config.patch_size, self.model.image_token());
        let (rows, cols) = (picture.geometry.rows(), picture.geometry.cols());
        if self.model.keeps_class() {
            ids.push(token);
            map.tokens.push(TokenLabel::new("<class>", Modality::Image).with_id(token));
        }
        let extent = |spans: &[[f32; 2]], i: usize| {
            let from = spans.get(i * side).map_or(0.0, |s| s[0]);
            (from, spans.get((i + 1) * side - 1).map_or(from, |s| s[1]))
        };
        for row in 0..grid {
            for col in 0..grid {
                let ((y0, y1), (x0, x1)) = (extent(&rows, row), extent(&cols, col));
                let patch = PatchLabel { image, tile: 0, frame: 0, row, col, bbox: [x0, y0, x1, y1] };
                ids.push(token);
                map.tokens.push(
                    TokenLabel::new(self.image.clone(), Modality::Image).with_id(token).with_patch(patch),
                );
            }
        }
        map.views.push(View { image, rows, cols });
    }
}

impl Subject for Llava {
    fn name(&self) -> &str {
        &self.parts.name
    }

    fn weights_hash(&self) -> String {
        self.parts.checkpoint.weights_hash().map_or_else(|e| format!("unknown: {e}"), str::to_owned)
    }

    fn device(&self) -> String {
        format!("{:?}", self.parts.device)
    }

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }

    fn anatomy(&self) -> &[Anatomy] {
        &self.anatomy
    }

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        let pictures: Result<Vec<Processed>, _> = sample
            .pictures
            .iter()
            .map(|p| {
                self.parts.processor.process(&p.image).map_err(|e| self.refuse(format!("{}: {e}", p.name)))
            })
            .collect();
        let pictures = pictures?;
        let (ids, mut map) = self.tokenise(sample, &pictures)?;
        map.pictures = sample.pictures.iter().map(|p| (p.image.width(), p.image.height())).collect();
        let pixels = match pictures.first() {
            None => None,
            Some(first) => {
                let dims = [pictures.len(), 3, first.height, first.width];
                let values: Vec<f32> = pictures.iter().flat_map(|p| p.pixels.iter().copied()).collect();
                if values.len() != dims.iter().product::<usize>() {
                    return Err(self.refuse("the pictures differ in size after processing"));
                }
                Some(AnyTensor::new(Tensor::<4>::from_data(
                    TensorData::new(values, dims),
                    &self.parts.device,
                )))
            }
        };
        Ok(Inputs {
            ids: vec![ids],
            pads: vec![0],
            maps: vec![Arc::new(map)],
            pixels,
            images: vec![(0..pictures.len()).collect()],
            asked: Asked::Last,
        })
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let logits = self.pass(inputs, None, run)?;
        Ok(logits.map_or_else(Output::default, Output::of_logits))
    }

    fn unembed(&self, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        let states: Tensor<2> = states.rank_of("the states to unembed")?;
        let (found, wanted) = (states.dims()[1], self.model.text.config().hidden_size);
        if found != wanted {
            return Err(
                self.refuse(format!("states of width {found} cannot be unembedded; the stream has {wanted}"))
            );
        }
        Ok(self.model.text.unembed(states).into())
    }

    fn generate(&self, inputs: &Inputs, how: &Generation) -> Result<Vec<Generated>, SubjectError> {
        inputs.check()?;
        let mut cache = KvCache::default();
        let mut prompt = inputs.clone();
        prompt.asked = Asked::Last;
        let first = self.pass(&prompt, Some(&mut cache), &mut Run::idle())?;
        let first = first.ok_or_else(|| HookError::NoOutput("generation".to_owned()))?;
        let decoding = Decoding { how, eos: &self.parts.generation.eos, pad: self.pad(), pads: &inputs.pads };
        let rows = generate(&self.model.text, &decoding, first, &mut cache, &self.parts.device)
            .map_err(|e| self.failed(e))?;
        Ok(rows
            .into_iter()
            .map(|row| Generated {
                text: self.decode(&row.tokens),
                tokens: row.tokens,
                probabilities: row.probabilities,
                ended: row.ended,
            })
            .collect())
    }

    fn decode(&self, ids: &[u32]) -> String {
        // Rows of the unembedding beyond the vocabulary have no text.
        let known: Vec<u32> =
            ids.iter().copied().filter(|id| self.parts.tokenizer.piece(*id).is_ok()).collect();
        self.parts.tokenizer.decode(&known, true).unwrap_or_else(|e| e.to_string())
    }

    fn token(&self, id: u32) -> String {
        self.parts.tokenizer.piece(id).unwrap_or_else(|_| format!("<{id}>"))
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        let pieces = self.parts.tokenizer.encode(text, false).map_err(|e| self.refuse(e))?;
        Ok(pieces.into_iter().map(|p| p.id).collect())
    }

    fn pad(&self) -> u32 {
        self.parts.generation.pad.or(self.parts.generation.eos.first().copied()).unwrap_or(0)
    }
}

impl Llava {
    fn pass(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, SubjectError> {
        self.model.forward(inputs, cache, &self.parts.device, run).map_err(|e| self.failed(e))
    }
}
