//! The tones world as a data set: recordings, one question about each, and its answer as a label.

use mmlens_core::{Case, Cases, Mask, Sample, SubjectError};
use mmlens_sound::LogMel;
use serde_json::json;

use super::question::{Kind, Question};
use super::scene::Scene;
use super::world::World;
use crate::drawn::Split;

/// Scenes of a split, each with one question of a kind. The label is the answer, the group the content key of the scene, the masks
/// are the cells of the sounds that are the evidence, in the spectrogram of a model.
///
/// Scenes that allow no question of that kind are passed over, so that indices follow one another.
///
/// ```
/// use mmlens_core::Cases;
/// use mmlens_data::tones::{Kind, Split, TonesCases, World, listening};
/// let data = TonesCases::new(World::new(7), Split::Test, Kind::Pitch, 12, listening()?);
/// let (class, masks) = (data.label(3)?.map(|label| &data.classes()[label]), data.masks(3)?);
/// assert!(class.is_some() && masks.len() == 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TonesCases {
    name: String,
    world: World,
    split: Split,
    kind: Kind,
    /// The scene of each case.
    scenes: Vec<u64>,
    classes: Vec<String>,
    listening: LogMel,
}

/// So many scenes are looked at for each case that is wanted, at most.
const MOST_PASSED: u64 = 1000;

impl TonesCases {
    /// The first `count` scenes that allow a question of this kind; fewer, if these are too rare. Masks are of the spectrograms that
    /// `listening` makes: those of the model that is asked, or of [`listening`](super::listening).
    ///
    /// # Cost
    /// Every scene up to the last is drawn once, without its samples; of each a number is held.
    pub fn new(world: World, split: Split, kind: Kind, count: usize, listening: LogMel) -> Self {
        let (mut scenes, mut classes) = (Vec::with_capacity(count), std::collections::BTreeSet::new());
        let most = (count as u64).saturating_mul(MOST_PASSED);
        for id in 0..most {
            if scenes.len() == count {
                break;
            }
            if let Some(question) = asked(&world.scene(split, id), kind) {
                scenes.push(id);
                classes.insert(question.answer);
            }
        }
        let bias = if world.is_biased() { ", biased" } else { "" };
        let name = format!("tones {}{bias}, {split}, {kind}", world.seed());
        Self { name, world, split, kind, scenes, classes: classes.into_iter().collect(), listening }
    }

    /// The scene of a case, and what is asked about it.
    ///
    /// # Errors
    /// [`SubjectError::NoCase`].
    pub fn scene(&self, index: usize) -> Result<(Scene, Question), SubjectError> {
        let none = || SubjectError::NoCase { data: self.name.clone(), index, len: self.scenes.len() };
        let scene = self.world.scene(self.split, *self.scenes.get(index).ok_or_else(none)?);
        let question = asked(&scene, self.kind).ok_or_else(none)?;
        Ok((scene, question))
    }
}

fn asked(scene: &Scene, kind: Kind) -> Option<Question> {
    scene.ask(kind, &mut scene.rng(0))
}

impl Cases for TonesCases {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.scenes.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let (scene, question) = self.scene(index)?;
        let name = format!("{} {}", self.split, scene.id);
        let refused = |error: mmlens_sound::SoundError| SubjectError::Sample {
            subject: self.name.clone(),
            reason: error.to_string(),
        };
        Ok(Case::new(Sample::hear(scene.sound(name).map_err(refused)?, question.text)))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Result<Option<usize>, SubjectError> {
        let (_, question) = self.scene(index)?;
        Ok(self.classes.iter().position(|class| *class == question.answer))
    }

    fn group(&self, index: usize) -> Result<Option<u64>, SubjectError> {
        Ok(Some(self.scene(index)?.0.key))
    }

    fn concepts(&self, index: usize) -> Result<Vec<String>, SubjectError> {
        Ok(self.scene(index)?.0.concepts())
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let (scene, question) = self.scene(index)?;
        let events = question.evidence.iter().filter_map(|event| scene.events.get(*event));
        let mask = |event: &super::event::Event| {
            let cells = event.cells(&self.listening);
            Mask {
                name: format!("{} {}", event.pitch, event.timbre),
                picture: 0,
                size: [cells.frames, cells.mels],
                inside: cells.inside,
            }
        };
        Ok(events.map(mask).collect())
    }

    fn hash(&self) -> Result<String, SubjectError> {
        Ok(mmlens_files::sha256(json!([self.name, self.scenes, self.classes]).to_string()))
    }
}
