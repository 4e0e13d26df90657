//! BERT as a subject: texts in, sites and logits at every position out.

use std::path::Path;

use burn::tensor::Device;
use mmlens_core::{
    Anatomy, AnyTensor, Inputs, Output, Part, Run, Sample, SiteSpec, Subject, SubjectError, WeightSpec,
    Words, kind,
};
use serde_json::Value;

use super::{BertConfig, BertModel, Texts};
use crate::ZooError;
use crate::checkpoint::{Checkpoint, Layout, Weights, read_json};
use crate::error::of_folder;
use crate::redraw::Opening;
use crate::self_check::{Looked, SelfCheck, self_check, small_inputs};
use crate::vlm::name_of;

/// BERT: network and tokenizer.
#[derive(Debug)]
pub struct TextEncoder {
    name: String,
    checkpoint: Checkpoint,
    texts: Texts,
    model: BertModel,
    device: Device,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
    weights: Vec<WeightSpec>,
}

/// Opens the Hugging Face folder of a BERT.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
///
/// # Memory
/// On a CPU, f32 weights are mapped, not copied; others are widened tensor by tensor.
pub fn open_bert<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<TextEncoder, ZooError> {
    let Opening { device, redraw } = on.into();
    of_folder(folder, || {
        let raw: Value = read_json(folder.join("config.json"))?;
        let config = BertConfig::read(&raw)?;
        let pad = raw.get("pad_token_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let texts = Texts::from_dir(folder, config.stack.positions, pad)?;
        TextEncoder::new(name_of(folder), &config, Checkpoint::open(folder)?.redrawn(redraw), texts, device)
    })
}

impl TextEncoder {
    /// From parts at hand.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn new(
        name: String,
        config: &BertConfig,
        checkpoint: Checkpoint,
        texts: Texts,
        device: &Device,
    ) -> Result<Self, ZooError> {
        // What was trained beside the words, and no word depends on.
        let beside: &[&str] = match config.masked_lm {
            true => &["bert.pooler.*", "cls.seq_relationship.*"],
            false => &["cls.*"],
        };
        let model = Weights::new(&checkpoint, device)
            .layout(Layout::BERT)
            .ignore(beside)
            .build(|weights| BertModel::take(config, weights))?;
        let (sites, anatomy) = (model.sites(), model.anatomy());
        let weights = model.named().into_iter().map(|named| named.spec).collect();
        let device = device.clone();
        Ok(Self { name, checkpoint, texts, model, device, sites, anatomy, weights })
    }

    /// The network.
    pub fn model(&self) -> &BertModel {
        &self.model
    }

    /// How it takes texts.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    fn refuse(&self, reason: impl ToString) -> SubjectError {
        SubjectError::Sample { subject: self.name.clone(), reason: reason.to_string() }
    }

    fn failed(&self, error: ZooError) -> SubjectError {
        error.of_subject(&self.name)
    }
}

impl Subject for TextEncoder {
    crate::about::about!();

    crate::about::published!(model);

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        sample.unanswered(self.name())?;
        sample.unheard(self.name())?;
        if !sample.pictures.is_empty() || !sample.clips.is_empty() {
            return Err(self.refuse("it reads texts and sees no pictures"));
        }
        let texts = match &sample.words {
            Words::Prompt(text) => std::slice::from_ref(text),
            Words::Texts(texts) => texts.as_slice(),
            Words::Question(_) => {
                return Err(self.refuse("it has no chat template; give the whole text instead of a question"));
            }
            Words::Nothing => &[],
        };
        if texts.is_empty() {
            return Err(self.refuse("it reads texts: give at least one"));
        }
        let rows: Result<Vec<_>, ZooError> = texts.iter().map(|text| self.texts.one(text)).collect();
        self.texts.rows(rows.map_err(|e| self.failed(e))?)
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        if inputs.seen.values.is_some() || inputs.seen.of_rows.iter().any(|own| !own.is_empty()) {
            return Err(self.refuse("it reads texts and sees no pictures"));
        }
        let logits = self.model.forward(inputs, run).map_err(|e| self.failed(e))?;
        Ok(logits.map_or_else(|| Ok(Output::default()), |logits| run.output(logits))?)
    }

    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        let said = self.model.unembed(kind::readable(self, part, states)?);
        said.map(AnyTensor::new).ok_or_else(|| SubjectError::no_read_out(self, part))
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        self.texts.decode(ids).map_err(|e| self.refuse(e))
    }

    fn token(&self, id: u32) -> String {
        self.texts.token(id)
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        let pieces = self.texts.tokenizer().encode(text, false).map_err(|e| self.refuse(e))?;
        Ok(pieces.into_iter().map(|piece| piece.id).collect())
    }

    fn pad(&self) -> u32 {
        self.texts.pad()
    }

    fn mask(&self) -> Option<u32> {
        self.texts.mask()
    }
}

impl SelfCheck for TextEncoder {
    fn self_check(&self) -> Result<(), ZooError> {
        let inputs = small_inputs(self.model.text.config().vocab, (&[], 0), None)?;
        let dtype = self.dtype();
        let looked = Looked { published: &self.sites, sites: &self.sites, dtype: &dtype };
        self_check(&looked, |run| {
            Ok(self
                .model
                .forward(&inputs, run)?
                .map_or_else(|| Ok(Output::default()), |logits| run.output(logits))?)
        })
    }
}
