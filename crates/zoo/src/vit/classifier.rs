//! A classifier of pictures as a subject: pictures in, sites and class logits out.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use mmlens_core::{
    Anatomy, AnyTensor, Batch, Entries, Inputs, LogitsAt, Output, Part, Run, Sample, SiteSpec, Subject,
    SubjectError, TokenMap, View, WeightSpec, Words, kind,
};
use serde_json::Value;

use super::{Labels, VitConfig, VitModel};
use crate::ZooError;
use crate::checkpoint::{Checkpoint, Layout, Weights, read_json};
use crate::error::of_folder;
use crate::llava::{means, process, stack};
use crate::processor::ImageProcessor;
use crate::redraw::Opening;
use crate::self_check::{Looked, SelfCheck, pattern, self_check, small_inputs};
use crate::vlm::name_of;

/// A ViT with its classes and its image processor.
#[derive(Debug)]
pub struct ImageClassifier {
    name: String,
    checkpoint: Checkpoint,
    labels: Labels,
    processor: ImageProcessor,
    model: VitModel,
    device: Device,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
    weights: Vec<WeightSpec>,
}

/// Opens the Hugging Face folder of a ViT classifier.
///
/// # Errors
/// Any file that is missing, broken or does not fit the others; an option that is not supported.
///
/// # Memory
/// On a CPU, f32 weights are mapped, not copied; others are widened tensor by tensor.
pub fn open_vit<'a>(folder: &Path, on: impl Into<Opening<'a>>) -> Result<ImageClassifier, ZooError> {
    let Opening { device, redraw } = on.into();
    of_folder(folder, || {
        let config: Value = read_json(folder.join("config.json"))?;
        let config = VitConfig::read(&config)?;
        let processor = ImageProcessor::from_dir(folder)?;
        ImageClassifier::new(
            name_of(folder),
            &config,
            Checkpoint::open(folder)?.redrawn(redraw),
            processor,
            device,
        )
    })
}

impl ImageClassifier {
    /// From parts at hand.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn new(
        name: String,
        config: &VitConfig,
        checkpoint: Checkpoint,
        processor: ImageProcessor,
        device: &Device,
    ) -> Result<Self, ZooError> {
        let side = config.tower.image_size;
        if let Some((height, width)) = processor.output_size().filter(|size| *size != (side, side)) {
            return Err(ZooError::Value {
                field: "the size of processed pictures".to_owned(),
                found: format!("{height} x {width}"),
                expected: format!("image_size = {side}"),
            });
        }
        // A pooler may lie about: classes do not depend on it.
        let model = Weights::new(&checkpoint, device)
            .layout(Layout::VIT)
            .ignore(&["vit.pooler.*"])
            .build(|weights| VitModel::take(config, weights))?;
        let (sites, anatomy) = (model.sites(), model.anatomy());
        let weights = model.named().into_iter().map(|named| named.spec).collect();
        let (labels, device) = (config.labels.clone(), device.clone());
        Ok(Self { name, checkpoint, labels, processor, model, device, sites, anatomy, weights })
    }

    /// The network.
    pub fn model(&self) -> &VitModel {
        &self.model
    }

    /// The classes.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    fn refuse(&self, reason: impl ToString) -> SubjectError {
        SubjectError::Sample { subject: self.name.clone(), reason: reason.to_string() }
    }
}

impl Subject for ImageClassifier {
    crate::about::about!();

    crate::about::published!(model);

    /// Each picture is a row of its own.
    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        sample.unanswered(self.name())?;
        sample.unheard(self.name())?;
        if sample.words != Words::Nothing {
            return Err(self.refuse("it classifies pictures and takes no words"));
        }
        if !sample.clips.is_empty() {
            return Err(self.refuse("it takes pictures, no clips"));
        }
        if sample.pictures.is_empty() {
            return Err(self.refuse("it classifies pictures: give at least one"));
        }
        let pictures = process(&self.processor, sample).map_err(|e| e.of_subject(&self.name))?;
        let map = |(processed, picture): (&crate::processor::Processed, &mmlens_core::Picture)| {
            let (rows, cols) = (processed.geometry.rows(), processed.geometry.cols());
            let view = View { image: 0, rows, cols };
            Ok(Arc::new(TokenMap {
                pictures: vec![(picture.image.width(), picture.image.height())],
                patches: self.model.vision.config().patches(&view)?,
                views: vec![view],
                ..TokenMap::default()
            }))
        };
        let maps: Result<Vec<_>, ZooError> = pictures.iter().zip(&sample.pictures).map(map).collect();
        let rows = pictures.len();
        Inputs::new(Batch {
            ids: vec![Vec::new(); rows],
            pads: vec![0; rows],
            tails: vec![0; rows],
            maps: maps.map_err(|e| e.of_subject(&self.name))?,
            seen: Entries {
                values: stack(&pictures, &self.device).map_err(|e| e.of_subject(&self.name))?,
                grids: Vec::new(),
                means: means(&self.processor, sample).map_err(|e| e.of_subject(&self.name))?,
                of_rows: (0..rows).map(|image| vec![image]).collect(),
            },
            heard: Entries::default(),
            logits_at: LogitsAt::Last,
        })
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let logits = self.model.forward(inputs, run).map_err(|e| e.of_subject(&self.name))?;
        Ok(logits.map_or_else(Output::default, Output::of_logits))
    }

    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        Ok(self.model.read_out(kind::readable(self, part, states)?).into())
    }

    /// The labels of classes, separated by commas.
    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        Ok(ids.iter().filter_map(|id| self.labels.get(*id)).collect::<Vec<_>>().join(", "))
    }

    /// The label of a class.
    fn token(&self, id: u32) -> String {
        self.labels.get(id).map_or_else(|| format!("<{id}>"), str::to_owned)
    }

    /// The class of a label.
    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        Ok(vec![self.labels.class(text).map_err(|reason| self.refuse(reason))?])
    }
}

impl SelfCheck for ImageClassifier {
    fn self_check(&self) -> Result<(), ZooError> {
        let model = VitModel { vision: self.model.vision.cropped(2), ..self.model.clone() };
        let tower = model.vision.config();
        let pixels = pattern(&[1, tower.channels, tower.image_size, tower.image_size], &self.device)?;
        let inputs = small_inputs(0, (&[], 0), Some(pixels))?;
        let (sites, dtype) = (model.sites(), self.dtype());
        let looked = Looked { published: &self.sites, sites: &sites, dtype: &dtype };
        self_check(&looked, |run| {
            Ok(model.forward(&inputs, run)?.map_or_else(Output::default, Output::of_logits))
        })
    }
}
