//! A dual encoder as a subject: pictures and captions in, sites and similarities out.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use mmlens_core::{
    Anatomy, AnyTensor, Batch, Entries, Inputs, LogitsAt, Output, Part, Run, Sample, SiteSpec, Subject,
    SubjectError, View, WeightSpec, Words, kind,
};
use serde_json::Value;

use super::{Captions, ClipConfig, ClipModel};
use crate::ZooError;
use crate::checkpoint::{Checkpoint, Weights, read_json};
use crate::error::of_folder;
use crate::llava::{means, process, stack};
use crate::processor::ImageProcessor;
use crate::redraw::Opening;
use crate::self_check::{Looked, SelfCheck, self_check};
use crate::vlm::name_of;

/// CLIP or SigLIP: network, tokenizer and image processor.
///
/// A sample has one or more pictures and one or more texts ([`Words::Texts`]); each text is a row of the batch and shows
/// all pictures. A row's own picture is the first; to pair texts with pictures, encode each pair alone and use
/// [`Inputs::batch`].
#[derive(Debug)]
pub struct DualEncoder {
    name: String,
    checkpoint: Checkpoint,
    captions: Captions,
    processor: ImageProcessor,
    model: ClipModel,
    device: Device,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
    weights: Vec<WeightSpec>,
}

/// Opens the Hugging Face folder of a CLIP or SigLIP checkpoint.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
///
/// # Memory
/// On a CPU, f32 weights are mapped, not copied; others are widened tensor by tensor.
pub fn open_clip<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<DualEncoder, ZooError> {
    let Opening { device, redraw } = on.into();
    of_folder(folder, || {
        let config: Value = read_json(folder.join("config.json"))?;
        let config = ClipConfig::read(&config)?;
        let captions = Captions::from_dir(folder, &config)?;
        let processor = ImageProcessor::from_dir(folder)?;
        DualEncoder::new(
            name_of(folder),
            &config,
            Checkpoint::open(folder)?.redrawn(redraw),
            captions,
            processor,
            device,
        )
    })
}

impl DualEncoder {
    /// From parts at hand.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn new(
        name: String,
        config: &ClipConfig,
        checkpoint: Checkpoint,
        captions: Captions,
        processor: ImageProcessor,
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
        let model = Weights::new(&checkpoint, device).build(|weights| ClipModel::take(config, weights))?;
        let (sites, anatomy) = (model.sites(), model.anatomy());
        let weights = model.named().into_iter().map(|named| named.spec).collect();
        let device = device.clone();
        Ok(Self { name, checkpoint, captions, processor, model, device, sites, anatomy, weights })
    }

    /// The network.
    pub fn model(&self) -> &ClipModel {
        &self.model
    }

    /// How it takes texts.
    pub fn captions(&self) -> &Captions {
        &self.captions
    }

    fn refuse(&self, reason: impl ToString) -> SubjectError {
        SubjectError::Sample { subject: self.name.clone(), reason: reason.to_string() }
    }

    fn failed(&self, error: ZooError) -> SubjectError {
        error.of_subject(&self.name)
    }
}

impl Subject for DualEncoder {
    crate::about::about!();

    crate::about::published!(model);

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        sample.unanswered(self.name())?;
        sample.unheard(self.name())?;
        let Words::Texts(texts) = &sample.words else {
            return Err(
                self.refuse("it compares pictures with captions: give texts, not a question or a prompt")
            );
        };
        if texts.is_empty() || sample.pictures.is_empty() {
            return Err(self.refuse("it compares pictures with captions: give at least one of each"));
        }
        if !sample.clips.is_empty() {
            return Err(self.refuse("it takes pictures, no clips"));
        }
        let pictures = process(&self.processor, sample).map_err(|e| self.failed(e))?;
        let views = pictures.iter().enumerate().map(|(image, p)| View {
            image,
            rows: p.geometry.rows(),
            cols: p.geometry.cols(),
        });
        let views: Vec<View> = views.collect();
        let sizes: Vec<(u32, u32)> =
            sample.pictures.iter().map(|p| (p.image.width(), p.image.height())).collect();
        let mut padded = self.captions.encode(texts).map_err(|e| self.failed(e))?;
        let patches = self.model.vision.config().patches_of(&views).map_err(|e| self.failed(e))?;
        for map in &mut padded.maps {
            (map.views, map.pictures, map.patches) = (views.clone(), sizes.clone(), patches.clone());
        }
        Inputs::new(Batch {
            pads: vec![0; texts.len()],
            tails: padded.tails,
            maps: padded.maps.into_iter().map(Arc::new).collect(),
            ids: padded.ids,
            seen: Entries {
                values: stack(&pictures, &self.device).map_err(|e| self.failed(e))?,
                grids: Vec::new(),
                means: means(&self.processor, sample).map_err(|e| e.of_subject(&self.name))?,
                of_rows: vec![(0..pictures.len()).collect(); texts.len()],
            },
            heard: Entries::default(),
            logits_at: LogitsAt::Last,
        })
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let pairs = self.model.forward(inputs, run).map_err(|e| self.failed(e))?;
        Ok(pairs.map_or_else(Output::default, Output::of_pairs))
    }

    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        let given = self.model.read_out(part, kind::readable(self, part, states)?);
        given.map(AnyTensor::new).ok_or_else(|| SubjectError::no_read_out(self, part))
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        let tokenizer = self.captions.tokenizer();
        let known: Vec<u32> = ids.iter().copied().filter(|id| tokenizer.token(*id).is_some()).collect();
        tokenizer.decode(&known, true).map_err(|e| self.refuse(e))
    }

    fn token(&self, id: u32) -> String {
        self.captions.tokenizer().piece(id).unwrap_or_else(|_| format!("<{id}>"))
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        let pieces = self.captions.tokenizer().encode(text, false).map_err(|e| self.refuse(e))?;
        Ok(pieces.into_iter().map(|piece| piece.id).collect())
    }

    fn pad(&self) -> u32 {
        self.captions.pad().unwrap_or(0)
    }
}

impl SelfCheck for DualEncoder {
    fn self_check(&self) -> Result<(), ZooError> {
        let (model, inputs) = self.model.check_inputs(&self.device)?;
        let (sites, dtype) = (model.sites(), self.dtype());
        let looked = Looked { published: &self.sites, sites: &sites, dtype: &dtype };
        self_check(&looked, |run| {
            Ok(model.forward(&inputs, run)?.map_or_else(Output::default, Output::of_pairs))
        })
    }
}
