//! A Whisper as a subject: a recording and what a transcription begins with in, sites and what it writes out.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use mmlens_core::finding::{Modality, TokenLabel};
use mmlens_core::{
    Anatomy, AnyTensor, Batch, Decode, Decoding, Inputs, LogitsAt, Output, Part, Plan, Reply, Rules, Run,
    Sample, Session, SiteSpec, Subject, SubjectError, TokenMap, WeightSpec, Words, kind,
};
use serde_json::Value;

use super::prompt::longest_answer;
use super::{PromptSettings, WhisperConfig, WhisperModel};
use crate::ZooError;
use crate::audio::Hearing;
use crate::checkpoint::{Checkpoint, GenerationConfig, Weights, read_json};
use crate::error::of_folder;
use crate::parts::{KvCache, chosen, picked};
use crate::redraw::Opening;
use crate::rules::rules;
use crate::self_check::{Looked, SelfCheck, pattern, self_check, small_inputs};
use crate::text::Tokenizer;
use crate::vlm::name_of;

/// A Whisper: network, tokenizer, feature extractor and prompt.
#[derive(Debug)]
pub struct Whisper {
    parts: WhisperParts,
    model: WhisperModel,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
    weights: Vec<WeightSpec>,
}

/// What a checkpoint consists of besides the network.
#[derive(Debug)]
pub struct WhisperParts {
    /// What it is called.
    pub name: String,
    /// The weights.
    pub checkpoint: Checkpoint,
    /// Its config.
    pub config: WhisperConfig,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The feature extractor.
    pub hearing: Hearing,
    /// What a transcription begins with.
    pub prompt: PromptSettings,
    /// Defaults of generation.
    pub generation: GenerationConfig,
    /// Where it computes.
    pub device: Device,
}

/// Opens the Hugging Face folder of a Whisper.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
///
/// # Memory
/// On a CPU, f32 weights are mapped, not copied, but for those of the convolutions; others are widened tensor by tensor.
pub fn open_whisper<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<Whisper, ZooError> {
    let Opening { device, redraw } = on.into();
    of_folder(folder, || {
        let whole: Value = read_json(folder.join("config.json"))?;
        let config = WhisperConfig::read(&whole)?;
        Whisper::new(WhisperParts {
            name: name_of(folder),
            checkpoint: Checkpoint::open(folder)?.redrawn(redraw),
            tokenizer: Tokenizer::from_dir(folder)?,
            hearing: Hearing::from_dir(folder, &config.audio)?,
            prompt: PromptSettings::from_dir(folder)?,
            generation: with_defaults(GenerationConfig::from_dir(folder)?, &whole),
            device: device.clone(),
            config,
        })
    })
}

/// What generates as `config.json` says, without settings of its own, has the defaults of the class where that leaves a field out.
fn with_defaults(mut generation: GenerationConfig, config: &Value) -> GenerationConfig {
    /// The class's token of ends, beginnings and padding; without it nothing is left out at first either.
    const END: u32 = 50256;
    let absent = |field: &str| generation.from_model_config && config.get(field).is_none();
    let [eos, bos, pad, first] =
        ["eos_token_id", "bos_token_id", "pad_token_id", "begin_suppress_tokens"].map(absent);
    if eos {
        generation.eos = vec![END];
    }
    generation.bos = if bos { Some(END) } else { generation.bos };
    generation.pad = if pad { Some(END) } else { generation.pad };
    if first {
        generation.begin_suppress_tokens = Some(vec![220, i64::from(END)]);
    }
    generation
}

impl Whisper {
    /// From parts at hand.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn new(parts: WhisperParts) -> Result<Self, ZooError> {
        let model = Weights::new(&parts.checkpoint, &parts.device)
            .build(|weights| WhisperModel::take(&parts.config, weights))?;
        let (sites, anatomy) = (model.sites(), model.anatomy());
        let weights = model.named().into_iter().map(|named| named.spec).collect();
        Ok(Self { parts, model, sites, anatomy, weights })
    }

    /// The network.
    pub fn model(&self) -> &WhisperModel {
        &self.model
    }

    /// Its config.
    pub fn config(&self) -> &WhisperConfig {
        &self.parts.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.parts.tokenizer
    }

    /// How it makes spectrograms.
    pub fn hearing(&self) -> &Hearing {
        &self.parts.hearing
    }

    fn refuse(&self, reason: impl ToString) -> SubjectError {
        SubjectError::Sample { subject: self.parts.name.clone(), reason: reason.to_string() }
    }

    fn failed(&self, error: ZooError) -> SubjectError {
        error.of_subject(&self.parts.name)
    }

    fn label(&self, id: u32) -> TokenLabel {
        let special = self.parts.tokenizer.is_special(id);
        let kind = if special { Modality::Special } else { Modality::Text };
        TokenLabel::new(self.token(id), kind).with_id(id)
    }

    /// The token of an id as the tokenizer writes it.
    fn written(&self, id: u32) -> String {
        self.parts.tokenizer.token(id).unwrap_or_else(|| format!("<{id}>"))
    }

    /// The tokens that a transcription begins with where a sample has no words.
    ///
    /// # Errors
    /// [`ZooError::Language`] where the checkpoint knows several languages and its settings name none; settings that cannot be.
    pub fn prompt(&self) -> Result<Vec<u32>, ZooError> {
        self.parts.prompt.tokens(|id| self.written(id))
    }

    /// Token ids of a sample's words, and what each is.
    fn words(&self, words: &Words) -> Result<(Vec<u32>, TokenMap), SubjectError> {
        let mut map = TokenMap::default();
        let ids = match words {
            Words::Nothing => {
                let ids = self.prompt().map_err(|e| self.failed(e))?;
                for id in &ids {
                    let from = map.text.len();
                    map.text.push_str(&self.written(*id));
                    map.tokens.push(self.label(*id).with_bytes(from, map.text.len()));
                }
                ids
            }
            Words::Prompt(text) => {
                map.text.clone_from(text);
                let pieces = self.parts.tokenizer.encode(text, false).map_err(|e| self.refuse(e))?;
                for piece in &pieces {
                    let label = self.label(piece.id);
                    map.tokens.push(match piece.bytes {
                        Some((from, to)) => label.with_bytes(from, to),
                        None => label,
                    });
                }
                pieces.into_iter().map(|piece| piece.id).collect()
            }
            Words::Question(_) | Words::Texts(_) => {
                let reason = "it writes down what it hears, and is asked nothing: give what it is to begin with as a \
                              prompt, or nothing";
                return Err(self.refuse(reason));
            }
        };
        let most = self.parts.config.positions;
        match ids.len() {
            0 => Err(self.refuse("the prompt is empty")),
            long if long > most => {
                Err(self.refuse(format!("the prompt has {long} tokens, of at most {most}")))
            }
            _ => Ok((ids, map)),
        }
    }

    /// A prompt with what it goes on with.
    fn continued(&self, inputs: Inputs, reply: &Reply) -> Result<Inputs, SubjectError> {
        let ids = match reply {
            Reply::Tokens(ids) => ids.clone(),
            Reply::Text(text) if text.trim().is_empty() => return Err(self.refuse("the answer is empty")),
            Reply::Text(text) => self.tokens(text)?,
        };
        let WhisperConfig { vocab, positions, .. } = self.parts.config;
        if let Some(token) = ids.iter().find(|token| **token as usize >= vocab) {
            return Err(self.refuse(format!("token {token} of the answer is none of {vocab}")));
        }
        let found = inputs.positions() + ids.len();
        if found > positions {
            let reason = format!("prompt and answer have {found} tokens, of at most {positions}");
            return Err(self.refuse(reason));
        }
        inputs.answered(&ids, |token| self.label(token))
    }
}

impl Subject for Whisper {
    fn name(&self) -> &str {
        &self.parts.name
    }

    fn weights_hash(&self) -> String {
        self.parts.checkpoint.hash_or_reason()
    }

    fn device(&self) -> String {
        mmlens_core::device::kind(&self.parts.device)
    }

    fn kernels(&self) -> Option<String> {
        crate::about::kernels(&self.parts.device)
    }

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }

    fn anatomy(&self) -> &[Anatomy] {
        &self.anatomy
    }

    crate::about::published!(model);

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        if !(sample.pictures.is_empty() && sample.clips.is_empty()) {
            return Err(self.refuse("it takes recordings, no pictures and no clips"));
        }
        if sample.recordings.len() != 1 {
            let reason = format!("it hears one recording, {} were given", sample.recordings.len());
            return Err(self.refuse(reason));
        }
        let (ids, mut map) = self.words(&sample.words)?;
        let WhisperParts { hearing, device, .. } = &self.parts;
        let heard = hearing.hear(&sample.recordings, 0, device).map_err(|e| self.failed(e))?;
        heard.label(&mut map);
        let inputs = Inputs::new(Batch {
            ids: vec![ids],
            pads: vec![0],
            tails: vec![0],
            maps: vec![Arc::new(map)],
            heard: heard.into_entries(),
            logits_at: LogitsAt::Last,
            ..Batch::default()
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
        Ok(self.model.text.unembed(kind::readable(self, part, states)?).into())
    }

    fn longest_answer(&self, inputs: &Inputs) -> Option<usize> {
        longest_answer(&self.parts.generation, inputs.positions(), self.parts.config.positions)
    }

    fn begin(&self, inputs: &Inputs, plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        let all = self.parts.config.positions;
        let taken = inputs.pads.iter().map(|pad| inputs.positions().saturating_sub(*pad));
        let room = taken.map(|taken| all.saturating_sub(taken)).collect();
        let session = Decoding::begin(self, inputs, plan, Some(room), |prompt, run| {
            let mut cache = KvCache::default();
            let read = self.model.read(prompt, Some(&mut cache), run).map_err(|e| self.failed(e))?;
            let Some((logits, states)) = read else { return Ok(None) };
            let (pads, prompt) = (prompt.pads.clone(), prompt.positions());
            Ok(Some((logits.into(), Written { whisper: self, pads, prompt, states, cache })))
        })?;
        Ok(Box::new(session))
    }

    fn rules(&self, inputs: &Inputs) -> Result<Rules, SubjectError> {
        let WhisperParts { name, checkpoint, generation, config, prompt, .. } = &self.parts;
        let failed =
            |error: ZooError| SubjectError::Generation { subject: name.clone(), reason: error.to_string() };
        prompt.supported().map_err(failed)?;
        // What these two are of is the encoder's text, and it is given a recording.
        let own = GenerationConfig {
            encoder_repetition_penalty: None,
            encoder_no_repeat_ngram_size: None,
            ..generation.clone()
        };
        rules(&own, checkpoint.origin(), config.vocab, Rules::none(inputs).texts).map_err(failed)
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        let tokenizer = &self.parts.tokenizer;
        let known: Vec<u32> = ids.iter().copied().filter(|id| tokenizer.piece(*id).is_ok()).collect();
        tokenizer.decode(&known, true).map_err(|e| self.refuse(e))
    }

    fn token(&self, id: u32) -> String {
        self.parts.tokenizer.piece(id).unwrap_or_else(|_| format!("<{id}>"))
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        let pieces = self.parts.tokenizer.encode(text, false).map_err(|e| self.refuse(e))?;
        Ok(pieces.into_iter().map(|piece| piece.id).collect())
    }

    fn pad(&self) -> u32 {
        self.parts.generation.pad.or(self.parts.generation.eos.first().copied()).unwrap_or(0)
    }
}

/// What has been written and heard, and how it goes on.
#[derive(Clone)]
struct Written<'a> {
    whisper: &'a Whisper,
    pads: Vec<usize>,
    /// Positions of the prompt.
    prompt: usize,
    /// The tower's, `[batch, pos, d]`.
    states: Tensor<3>,
    cache: KvCache,
}

impl Decode for Written<'_> {
    fn go_on(&mut self, tokens: &[u32], run: &mut Run) -> Result<Option<AnyTensor>, SubjectError> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|token| vec![*token]).collect();
        let logits = self.whisper.model.go_on(&ids, &self.pads, &self.states, &mut self.cache, run);
        Ok(logits.map_err(|error| self.whisper.failed(error))?.map(AnyTensor::new))
    }

    fn cut(&mut self, steps: usize) -> bool {
        self.cache.cut(self.prompt + steps)
    }

    fn keep(&mut self, rows: &[usize]) {
        self.pads = picked(&self.pads, rows);
        self.states = chosen(&self.states, rows);
        self.cache.keep(rows);
    }
}

impl SelfCheck for Whisper {
    fn self_check(&self) -> Result<(), ZooError> {
        let model = self.model.cropped(2);
        let tower = model.audio.config();
        let mel = pattern(&[1, tower.mels, tower.frames()], &self.parts.device)?;
        let inputs = small_inputs(self.parts.config.vocab, (&[], 0), None)?;
        let inputs = inputs.with(|batch| {
            (batch.heard.values, batch.heard.of_rows) = (Some(mel), vec![vec![0]]);
        })?;
        let (sites, dtype) = (model.sites(), self.dtype());
        let looked = Looked { published: &self.sites, sites: &sites, dtype: &dtype };
        self_check(&looked, |run| {
            Ok(model
                .forward(&inputs, run)?
                .map_or_else(|| Ok(Output::default()), |logits| run.output(logits))?)
        })
    }
}
