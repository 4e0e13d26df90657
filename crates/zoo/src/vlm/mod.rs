//! A language model, with or without eyes and ears, as a subject: words, pictures and recordings in, sites and answers out.

mod eyes;
mod network;
mod place;
mod reply;
mod tile;
mod words;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use mmlens_core::{
    Anatomy, AnyTensor, Batch, Decode, Decoding, Entries, Inputs, LogitsAt, Output, Part, Plan, Reply, Rules,
    Run, Sample, Session, SiteSpec, Subject, SubjectError, WeightSpec, Words, kind,
};

pub use eyes::{Blind, Expansion, Eyes, Placeholder, Seen};
pub use network::{CheckInputs, Network, resumed};
pub use place::place;
pub(crate) use tile::{tile_patch, tile_view};
pub use words::WordsError;

use crate::ZooError;
use crate::checkpoint::{Checkpoint, GenerationConfig};
use crate::hub;
use crate::parts::{KvCache, picked};
use crate::redraw::Opening;
use crate::rules::rules;
use crate::self_check::{Looked, SelfCheck, self_check};
use crate::text::{ChatOptions, ChatTemplate, Message, TextError, Tokenizer};

/// What a checkpoint consists of besides the network and its eyes.
#[derive(Debug)]
pub struct VlmParts {
    /// What it is called.
    pub name: String,
    /// The weights.
    pub checkpoint: Checkpoint,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The chat template, where there is one.
    pub template: Option<ChatTemplate>,
    /// Defaults of generation.
    pub generation: GenerationConfig,
    /// Where it computes.
    pub device: Device,
}

impl VlmParts {
    /// Reads a Hugging Face folder.
    ///
    /// # Errors
    /// Any file that is missing or broken.
    ///
    /// # Memory
    /// None of the weights, until a network takes them. On a CPU, f32 weights are mapped, not copied; others are widened
    /// tensor by tensor.
    pub fn from_dir<'a>(folder: impl AsRef<Path>, on: impl Into<Opening<'a>>) -> Result<Self, ZooError> {
        let (folder, Opening { device, redraw }) = (folder.as_ref(), on.into());
        Ok(Self {
            name: name_of(folder),
            checkpoint: Checkpoint::open(folder)?.redrawn(redraw),
            tokenizer: Tokenizer::from_dir(folder)?,
            template: match ChatTemplate::from_dir(folder) {
                Err(TextError::NoTemplate { .. }) => None,
                found => Some(found?),
            },
            generation: GenerationConfig::from_dir(folder)?,
            device: device.clone(),
        })
    }
}

/// What a checkpoint in a folder is called: its id on the hub, where the folder lies in the hub's cache, or the folder's name.
pub fn name_of(folder: &Path) -> String {
    let resolved = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let own = || {
        resolved
            .file_name()
            .map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned())
    };
    // In the cache of the hub, folders are called by their commit.
    hub::id_of(&resolved).unwrap_or_else(own)
}

/// A language model with or without eyes: network, tokenizer, chat template and image processor.
#[derive(Debug)]
pub struct Vlm {
    parts: VlmParts,
    network: Box<dyn Network>,
    eyes: Box<dyn Eyes>,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
    weights: Vec<WeightSpec>,
}

impl Vlm {
    /// From parts at hand.
    ///
    /// # Errors
    /// A placeholder the tokenizer does not have.
    pub fn new(
        parts: VlmParts,
        network: impl Network + 'static,
        eyes: impl Eyes + 'static,
    ) -> Result<Self, ZooError> {
        for placeholder in eyes.placeholders() {
            if parts.tokenizer.token(placeholder.token).is_none() {
                return Err(ZooError::Value {
                    field: format!("the token of `{}`", placeholder.text),
                    found: placeholder.token.to_string(),
                    expected: format!("a token id below {}", parts.tokenizer.vocab_size()),
                });
            }
        }
        let (sites, anatomy) = (network.sites(), network.anatomy());
        let weights = network.named().into_iter().map(|named| named.spec).collect();
        Ok(Self { parts, network: Box::new(network), eyes: Box::new(eyes), sites, anatomy, weights })
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.parts.tokenizer
    }

    /// How it looks at pictures.
    pub fn eyes(&self) -> &dyn Eyes {
        self.eyes.as_ref()
    }

    fn blind(&self) -> bool {
        self.eyes.placeholders().is_empty()
    }

    fn refuse(&self, reason: impl ToString) -> SubjectError {
        SubjectError::Sample { subject: self.parts.name.clone(), reason: reason.to_string() }
    }

    fn failed(&self, error: ZooError) -> SubjectError {
        error.of_subject(&self.parts.name)
    }

    /// The prompt before image placeholders are expanded, and whether special tokens are added around it.
    ///
    /// # Errors
    /// A sample without words, or a chat template that is missing or refuses.
    pub fn prompt(&self, sample: &Sample) -> Result<(String, bool), SubjectError> {
        match &sample.words {
            Words::Prompt(text) if text.is_empty() => Err(self.refuse("the prompt is empty")),
            Words::Prompt(text) => Ok((text.clone(), true)),
            Words::Question(question) if question.trim().is_empty() => {
                Err(self.refuse("the question is empty"))
            }
            Words::Question(question) => {
                let template = self.parts.template.as_ref().ok_or_else(|| {
                    self.refuse(
                        "the checkpoint has no chat template (`chat_template.jinja`, `chat_template.json`, or `chat_template` in `tokenizer_config.json`); \
                         give the whole prompt instead of a question",
                    )
                })?;
                let blind = self.blind();
                let message = match blind {
                    true => Message::words(question),
                    false => shown(sample, question),
                };
                let text = template.render(&[message], &ChatOptions::ask()).map_err(|e| self.refuse(e))?;
                let begun =
                    self.parts.tokenizer.special().get("bos_token").is_some_and(|bos| text.starts_with(bos));
                // A tokenizer alone adds nothing to what a template gives; a processor adds what is not there yet.
                Ok((text, !begun && !blind))
            }
            Words::Texts(_) => Err(self.refuse("it takes one prompt, not a list of captions")),
            Words::Nothing => Err(self.refuse("it needs a prompt or a question")),
        }
    }
}

impl Subject for Vlm {
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

    fn read_behind(&self, part: Part) -> Vec<usize> {
        let seen = self.network.seen_behind().filter(|_| part == Part::Vision);
        let own = self.anatomy.iter().filter(|own| own.part == part);
        seen.unwrap_or_else(|| own.map(|own| own.blocks).collect())
    }

    crate::about::published!(network);

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        let (prompt, special) = self.prompt(sample)?;
        let mut seen = self.eyes.look(sample, &self.parts.device).map_err(|e| self.failed(e))?;
        // Whoever plays recordings to a model without ears is told that there is no placeholder for them.
        seen.recordings.resize(sample.recordings.len(), Expansion::default());
        let (ids, mut map) =
            words::tokenise(&self.parts.tokenizer, self.eyes.as_ref(), &seen, &prompt, special)
                .map_err(|e| match (&sample.words, &self.parts.template) {
                    (Words::Question(question), Some(template)) => e.of_template(template, question),
                    _ => e,
                })
                .map_err(|e| self.refuse(e))?;
        let clips = sample.clips.iter().filter_map(|c| c.frames.first());
        let pictures = sample.pictures.iter().map(|p| &p.image).chain(clips);
        map.pictures = pictures.map(|p| (p.width(), p.height())).collect();
        seen.heard.label(&mut map);
        let reply = match &sample.reply {
            None => Vec::new(),
            Some(Reply::Tokens(tokens)) => tokens.clone(),
            Some(Reply::Text(text)) => self.continued(sample, &seen, (&prompt, special), &ids, text)?,
        };
        let inputs = Inputs::new(Batch {
            ids: vec![ids],
            pads: vec![0],
            tails: vec![0],
            maps: vec![Arc::new(map)],
            seen: Entries {
                values: seen.pixels,
                grids: seen.grids,
                means: seen.means,
                of_rows: vec![seen.images],
            },
            heard: seen.heard.into_entries(),
            logits_at: LogitsAt::Last,
        })?;
        match sample.reply {
            None => Ok(inputs),
            Some(_) => self.answered(inputs, &reply),
        }
    }

    fn resumes_from_suffix(&self) -> bool {
        self.network.resumes_from_suffix()
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let logits = self.pass(inputs, None, run)?;
        Ok(logits.map_or_else(|| Ok(Output::default()), |logits| run.output(logits))?)
    }

    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        let states = kind::readable(self, part, states)?;
        Ok(self.network.text().unembed(states).into())
    }

    fn longest_answer(&self, inputs: &Inputs) -> Option<usize> {
        self.parts.generation.longest_answer(inputs.positions())
    }

    fn begin(&self, inputs: &Inputs, plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        let text = self.network.text().config();
        let learned = text.rope.is_none().then_some(text.max_positions);
        let left = |all: usize| {
            let taken = inputs.pads.iter().map(|pad| inputs.positions().saturating_sub(*pad));
            taken.map(|taken| all.saturating_sub(taken)).collect()
        };
        let session = Decoding::begin(self, inputs, plan, learned.map(left), |prompt, run| {
            let mut cache = KvCache::default();
            let Some(logits) = self.pass(prompt, Some(&mut cache), run)? else { return Ok(None) };
            let (pads, prompt) = (prompt.pads.clone(), prompt.positions());
            Ok(Some((logits.into(), Written { vlm: self, pads, prompt, cache })))
        })?;
        Ok(Box::new(session))
    }

    fn rules(&self, inputs: &Inputs) -> Result<Rules, SubjectError> {
        let VlmParts { name, checkpoint, generation, .. } = &self.parts;
        let texts = Rules::none(inputs).texts;
        rules(generation, checkpoint.origin(), self.network.text().config().vocab, texts)
            .map_err(|error| SubjectError::Generation { subject: name.clone(), reason: error.to_string() })
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        let known: Vec<u32> =
            ids.iter().copied().filter(|id| self.parts.tokenizer.piece(*id).is_ok()).collect();
        self.parts.tokenizer.decode(&known, true).map_err(|e| self.refuse(e))
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

/// A turn that asks about what a sample shows and plays.
fn shown(sample: &Sample, question: &str) -> Message {
    Message::shown(sample.pictures.len(), sample.clips.len(), question).heard(sample.recordings.len())
}

/// What has been read, and how it goes on.
#[derive(Clone)]
struct Written<'a> {
    vlm: &'a Vlm,
    pads: Vec<usize>,
    /// Positions of the prompt.
    prompt: usize,
    cache: KvCache,
}

impl Decode for Written<'_> {
    fn go_on(&mut self, tokens: &[u32], run: &mut Run) -> Result<Option<AnyTensor>, SubjectError> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|token| vec![*token]).collect();
        let Vlm { network, parts, .. } = self.vlm;
        let logits = network.go_on(&ids, &self.pads, &mut self.cache, &parts.device, run);
        Ok(logits.map_err(|error| self.vlm.failed(error))?.map(AnyTensor::new))
    }

    fn cut(&mut self, steps: usize) -> bool {
        self.cache.cut(self.prompt + steps)
    }

    fn keep(&mut self, rows: &[usize]) {
        self.pads = picked(&self.pads, rows);
        self.cache.keep(rows);
    }
}

impl SelfCheck for Vlm {
    fn self_check(&self) -> Result<(), ZooError> {
        let device = &self.parts.device;
        let CheckInputs { network, inputs } = self.network.check_inputs(device)?;
        let network = network.as_deref().unwrap_or(self.network());
        let (sites, dtype) = (network.sites(), self.dtype());
        let looked = Looked { published: &self.sites, sites: &sites, dtype: &dtype };
        self_check(&looked, |run| {
            let logits = network.forward(&inputs, None, device, run)?;
            Ok(logits.map_or_else(|| Ok(Output::default()), |logits| run.output(logits))?)
        })
    }
}

impl Vlm {
    fn pass(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, SubjectError> {
        if inputs.positions() == 0 {
            return Err(self.refuse("the rows have no positions; a language model needs words"));
        }
        self.network.forward(inputs, cache, &self.parts.device, run).map_err(|e| self.failed(e))
    }
}
