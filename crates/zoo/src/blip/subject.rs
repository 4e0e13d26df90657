//! A BLIP as a subject: pictures and words in, sites and what it says out.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use mmlens_core::{
    Anatomy, AnyTensor, Decode, Decoding, Inputs, Output, Part, Plan, Reply, Rules, Run, Sample, Session,
    SiteSpec, Subject, SubjectError, Text, TokenMap, View, WeightSpec, Words, kind,
};
use serde_json::Value;

use super::model::Seen;
use super::{BlipConfig, BlipModel, BlipTask};
use crate::ZooError;
use crate::bert::Texts;
use crate::checkpoint::{Checkpoint, GenerationConfig, Layout, Weights, read_json};
use crate::error::of_folder;
use crate::llava::{means, process, stack};
use crate::parts::{KvCache, picked};
use crate::processor::ImageProcessor;
use crate::redraw::Opening;
use crate::rules::rules;
use crate::self_check::{Looked, SelfCheck, pattern, self_check, small_inputs};
use crate::vit::Labels;
use crate::vlm::name_of;

/// A BLIP: network, tokenizer and image processor.
#[derive(Debug)]
pub struct Blip {
    name: String,
    checkpoint: Checkpoint,
    config: BlipConfig,
    texts: Texts,
    labels: Labels,
    processor: ImageProcessor,
    model: BlipModel,
    generation: GenerationConfig,
    device: Device,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
    weights: Vec<WeightSpec>,
}

/// Opens the Hugging Face folder of a BLIP.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
///
/// # Memory
/// On a CPU, f32 weights are mapped, not copied; others are widened tensor by tensor.
pub fn open_blip<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<Blip, ZooError> {
    let Opening { device, redraw } = on.into();
    of_folder(folder, || {
        let config: Value = read_json(folder.join("config.json"))?;
        let config = BlipConfig::read(&config)?;
        let texts = Texts::from_dir(folder, config.text.positions, Some(config.pad))?;
        let processor = ImageProcessor::from_dir(folder)?;
        let generation = GenerationConfig::of_decoder(folder)?;
        Blip::new(
            name_of(folder),
            config,
            Checkpoint::open(folder)?.redrawn(redraw),
            (texts, processor),
            generation,
            device,
        )
    })
}

impl Blip {
    /// From parts at hand; what ends and fills up a text is in `config`.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn new(
        name: String,
        config: BlipConfig,
        checkpoint: Checkpoint,
        (texts, processor): (Texts, ImageProcessor),
        generation: GenerationConfig,
        device: &Device,
    ) -> Result<Self, ZooError> {
        let side = config.vision.image_size;
        if let Some((height, width)) = processor.output_size().filter(|size| *size != (side, side)) {
            return Err(ZooError::Value {
                field: "the size of processed pictures".to_owned(),
                found: format!("{height} x {width}"),
                expected: format!("vision_config.image_size = {side}"),
            });
        }
        // Heads that match by the cosine, beside the one that does not.
        let beside: &[&str] = match config.task {
            BlipTask::Match => &["vision_proj.*", "text_proj.*"],
            _ => &[],
        };
        let model = Weights::new(&checkpoint, device)
            .layout(Layout::BLIP)
            .ignore(beside)
            .build(|weights| BlipModel::take(&config, weights))?;
        let (sites, anatomy) = (model.sites(), model.anatomy());
        let weights = model.named().into_iter().map(|named| named.spec).collect();
        let labels = Labels::new(["no match", "match"]);
        let device = device.clone();
        let generation =
            GenerationConfig { eos: config.sep.into_iter().collect(), pad: Some(config.pad), ..generation };
        Ok(Self {
            name,
            checkpoint,
            config,
            texts,
            labels,
            processor,
            model,
            generation,
            device,
            sites,
            anatomy,
            weights,
        })
    }

    /// The network.
    pub fn model(&self) -> &BlipModel {
        &self.model
    }

    /// Its config.
    pub fn config(&self) -> &BlipConfig {
        &self.config
    }

    fn refuse(&self, reason: impl ToString) -> SubjectError {
        SubjectError::Sample { subject: self.name.clone(), reason: reason.to_string() }
    }

    fn failed(&self, error: ZooError) -> SubjectError {
        error.of_subject(&self.name)
    }

    fn matches(&self) -> bool {
        self.config.task == BlipTask::Match
    }

    /// The rows of token ids that words become.
    fn rows(&self, words: &Words) -> Result<Inputs, SubjectError> {
        let read = |text: &String| self.texts.one(text).map_err(|e| self.failed(e));
        let rows = match (self.config.task, words) {
            (BlipTask::Caption, Words::Nothing) => vec![self.begun("")?],
            (BlipTask::Caption, Words::Prompt(text)) => vec![self.begun(text)?],
            (BlipTask::Caption, _) => {
                let reason = "it writes captions: give what the caption begins with as a prompt, or nothing";
                return Err(self.refuse(reason));
            }
            (BlipTask::Answer, Words::Question(text) | Words::Prompt(text)) => vec![read(text)?],
            (BlipTask::Answer, _) => return Err(self.refuse("it answers questions: give one")),
            (BlipTask::Match, Words::Prompt(text)) => vec![read(text)?],
            (BlipTask::Match, Words::Texts(texts)) if !texts.is_empty() => {
                texts.iter().map(read).collect::<Result<_, _>>()?
            }
            (BlipTask::Match, _) => {
                return Err(self.refuse("it says whether a text fits a picture: give at least one text"));
            }
        };
        self.texts.rows(rows)
    }

    /// What is written so far in every row: a caption, or what there is of an answer.
    fn begun_texts(&self, inputs: &Inputs) -> Result<Vec<Text>, SubjectError> {
        if self.matches() {
            let (subject, what) = (self.name.clone(), "generation".to_owned());
            return Err(SubjectError::Unsupported { subject, what });
        }
        let written = self.model.written(inputs).map_err(|e| self.failed(e))?;
        Ok(written.into_iter().map(|(ids, pad)| Text { ids, pad }).collect())
    }

    /// A caption with what it goes on with.
    fn continued(&self, inputs: Inputs, reply: &Reply) -> Result<Inputs, SubjectError> {
        let ids = match reply {
            Reply::Tokens(ids) => ids.clone(),
            Reply::Text(text) if text.trim().is_empty() => return Err(self.refuse("the answer is empty")),
            Reply::Text(text) => {
                let pieces = self.texts.tokenizer().encode(text, false).map_err(|e| self.refuse(e))?;
                pieces.into_iter().map(|piece| piece.id).collect()
            }
        };
        let (vocab, most) = (self.config.text.vocab, self.config.text.positions);
        if let Some(token) = ids.iter().find(|token| **token as usize >= vocab) {
            return Err(self.refuse(format!("token {token} of the answer is none of {vocab}")));
        }
        let found = inputs.positions() + ids.len();
        if found > most {
            return Err(self.refuse(format!("prompt and answer have {found} tokens, of at most {most}")));
        }
        inputs.answered(&ids, |token| self.texts.label(token))
    }

    /// What a caption begins with, behind the token that begins it.
    fn begun(&self, text: &str) -> Result<(Vec<u32>, TokenMap), SubjectError> {
        let bos = self.config.bos;
        let (mut ids, mut map) = (vec![bos], TokenMap { text: text.to_owned(), ..TokenMap::default() });
        map.tokens.push(self.texts.label(bos));
        for piece in self.texts.tokenizer().encode(text, false).map_err(|e| self.refuse(e))? {
            let label = self.texts.label(piece.id);
            ids.push(piece.id);
            map.tokens.push(match piece.bytes {
                Some((from, to)) => label.with_bytes(from, to),
                None => label,
            });
        }
        let most = self.config.text.positions;
        match ids.len() > most {
            true => Err(self.refuse(format!("the prompt has {} tokens, of at most {most}", ids.len()))),
            false => Ok((ids, map)),
        }
    }
}

impl Subject for Blip {
    crate::about::about!();

    crate::about::published!(model);

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        // An answer to a question is written by a decoder that does not read the question's positions.
        if self.config.task != BlipTask::Caption {
            sample.unanswered(self.name())?;
        }
        if !sample.clips.is_empty() {
            return Err(self.refuse("it takes pictures, no clips"));
        }
        sample.unheard(self.name())?;
        let [picture] = sample.pictures.as_slice() else {
            return Err(self.refuse(format!("it looks at one picture, {} were given", sample.pictures.len())));
        };
        let inputs = self.rows(&sample.words)?;
        let processed = process(&self.processor, sample).map_err(|e| self.failed(e))?;
        let mut maps = inputs.maps.clone();
        for map in &mut maps {
            let map = Arc::make_mut(map);
            map.pictures = vec![(picture.image.width(), picture.image.height())];
            let view = |p: &crate::processor::Processed| View {
                image: 0,
                rows: p.geometry.rows(),
                cols: p.geometry.cols(),
            };
            map.views = processed.iter().map(view).collect();
            let tower = self.model.vision.config();
            map.patches = tower.patches_of(&map.views).map_err(|e| self.failed(e))?;
        }
        let pixels = stack(&processed, &self.device).map_err(|e| self.failed(e))?;
        let means = means(&self.processor, sample).map_err(|e| self.failed(e))?;
        let inputs = inputs.with(|batch| {
            (batch.maps, batch.seen.values, batch.seen.means) = (maps, pixels, means);
            batch.seen.of_rows = vec![vec![0]; batch.ids.len()];
        })?;
        match &sample.reply {
            Some(reply) => self.continued(inputs, reply),
            None => Ok(inputs),
        }
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let logits = self.model.forward(inputs, run).map_err(|e| self.failed(e))?;
        Ok(logits.map_or_else(|| Ok(Output::default()), |logits| run.output(logits))?)
    }

    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        // Text alone: its tower ends in states.
        Ok(self.model.read_out(kind::readable(self, part, states)?).into())
    }

    fn longest_answer(&self, inputs: &Inputs) -> Option<usize> {
        let written = self.model.written(inputs).ok()?;
        let (begun, _) = written.first()?;
        self.generation.longest_answer(begun.len())
    }

    fn begin(&self, inputs: &Inputs, plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        let begun = self.begun_texts(inputs)?;
        let all = self.config.text.positions;
        let room = begun.iter().map(|text| all.saturating_sub(text.ids.len().saturating_sub(text.pad)));
        let session = Decoding::begin(self, inputs, plan, Some(room.collect()), |prompt, run| {
            let mut cache = KvCache::default();
            let read = self.model.read(prompt, Some(&mut cache), run).map_err(|e| self.failed(e))?;
            let Some((logits, seen)) = read else { return Ok(None) };
            let (pads, prompt) = (begun.iter().map(|text| text.pad).collect(), cache.positions());
            Ok(Some((logits.into(), Written { blip: self, pads, prompt, seen, cache })))
        })?;
        Ok(Box::new(session))
    }

    fn rules(&self, inputs: &Inputs) -> Result<Rules, SubjectError> {
        let texts = self.begun_texts(inputs)?;
        rules(&self.generation, self.checkpoint.origin(), self.config.text.vocab, texts).map_err(|error| {
            SubjectError::Generation { subject: self.name.clone(), reason: error.to_string() }
        })
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        if self.matches() {
            return Ok(ids.iter().filter_map(|id| self.labels.get(*id)).collect::<Vec<_>>().join(", "));
        }
        self.texts.decode(ids).map_err(|e| self.refuse(e))
    }

    fn token(&self, id: u32) -> String {
        if self.matches() {
            return self.labels.get(id).map_or_else(|| format!("<{id}>"), str::to_owned);
        }
        self.texts.token(id)
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        if self.matches() {
            return Ok(vec![self.labels.class(text).map_err(|reason| self.refuse(reason))?]);
        }
        let pieces = self.texts.tokenizer().encode(text, false).map_err(|e| self.refuse(e))?;
        Ok(pieces.into_iter().map(|piece| piece.id).collect())
    }

    fn pad(&self) -> u32 {
        self.config.pad
    }
}

/// What has been written and looked at, and how it goes on.
#[derive(Clone)]
struct Written<'a> {
    blip: &'a Blip,
    pads: Vec<usize>,
    /// Positions written at the beginning.
    prompt: usize,
    seen: Seen,
    cache: KvCache,
}

impl Decode for Written<'_> {
    fn go_on(&mut self, tokens: &[u32], run: &mut Run) -> Result<Option<AnyTensor>, SubjectError> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|token| vec![*token]).collect();
        let logits = self.blip.model.go_on(&ids, &self.pads, &self.seen, &mut self.cache, run);
        Ok(logits.map_err(|error| self.blip.failed(error))?.map(AnyTensor::new))
    }

    fn cut(&mut self, steps: usize) -> bool {
        self.cache.cut(self.prompt + steps)
    }

    fn keep(&mut self, rows: &[usize]) {
        self.pads = picked(&self.pads, rows);
        self.seen.keep(rows);
        self.cache.keep(rows);
    }
}

impl SelfCheck for Blip {
    fn self_check(&self) -> Result<(), ZooError> {
        let model = self.model.cropped(2);
        let tower = model.vision.config();
        let pixels = pattern(&[1, tower.channels, tower.image_size, tower.image_size], &self.device)?;
        let inputs = small_inputs(self.config.text.vocab, (&[self.config.bos], 0), Some(pixels))?;
        let (sites, dtype) = (model.sites(), self.dtype());
        let looked = Looked { published: &self.sites, sites: &sites, dtype: &dtype };
        self_check(&looked, |run| {
            Ok(model
                .forward(&inputs, run)?
                .map_or_else(|| Ok(Output::default()), |logits| run.output(logits))?)
        })
    }
}
