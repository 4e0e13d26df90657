//! One scene, one question, and what the tokens in between hold.

use anyhow::{Context, Result};
use mmlens::data::shapes::{Kind, Scene, Split, World};
use mmlens::finding::{Finding, Labelled};
use mmlens::model::latent_lens::{self, LatentLens};
use mmlens::model::nearest_words::{self, NearestWords};
use mmlens::model::sinks::{self, Sinks};
use mmlens::model::token_ablation::{self, Place, Replace, TokenAblation, TokenSet, Tokens};
use mmlens::prelude::*;
use mmlens::report::{OverlaySettings, Picture as Drawn, overlay_png};

/// A scene with a question about the colour of one of its objects.
pub(crate) struct Tour {
    pub(crate) scene: Scene,
    pub(crate) question: String,
    pub(crate) answer: String,
    /// Of the object asked about.
    pub(crate) bbox: [f32; 4],
    case: Case,
}

/// The first scene of the test split with three objects of which one can be asked about.
pub(crate) fn first() -> Result<Tour> {
    let world = World::new(5);
    for id in 0..1000 {
        let scene = world.scene(Split::Test, id);
        let Some(question) = scene.ask(Kind::Colour, &mut scene.rng(0)).filter(|_| scene.objects.len() == 3)
        else {
            continue;
        };
        let object = question.evidence.first().and_then(|at| scene.objects.get(*at)).context("an object")?;
        let bbox = object.bbox.map(|edge| edge as f32);
        let picture = Picture::new("scene", scene.render());
        let case = Case::new(Sample::ask(picture, question.text.clone()));
        return Ok(Tour { bbox, case, question: question.text, answer: question.answer, scene });
    }
    anyhow::bail!("no scene has three objects")
}

impl Tour {
    /// Which positions draw attention or hold unlike states.
    pub(crate) fn sinks(&self, subject: &dyn Subject) -> Result<Finding> {
        let settings = sinks::Settings { times: 3.0, spike: 6.0, ..sinks::Settings::default() };
        Ok(Sinks::new(settings)?.run(subject, &self.case)?)
    }

    /// What becomes of the answer without the object, without what lies around it, without the question.
    pub(crate) fn ablation(&self, subject: &dyn Subject, replace: Replace) -> Result<Finding> {
        let place = Place { image: 0, bbox: self.bbox, buffer: 0.0 };
        let sets = [
            ("the object", Tokens::Box(place)),
            ("around it", Tokens::Outside(place)),
            ("the question", Tokens::Question),
        ];
        let sets = sets.map(|(name, tokens)| TokenSet { name: name.to_owned(), tokens }).to_vec();
        let settings =
            token_ablation::Settings { sets, replace, controls: 19, ..token_ablation::Settings::default() };
        Ok(TokenAblation::new(settings)?.run(subject, &self.case)?)
    }

    /// The words of the vocabulary that patches lie nearest to.
    pub(crate) fn words(&self, subject: &dyn Subject) -> Result<Finding> {
        let settings = nearest_words::Settings { top: 3, ..nearest_words::Settings::default() };
        Ok(NearestWords::new(settings)?.run(subject, &self.case)?)
    }

    /// The words in descriptions of other scenes that patches lie nearest to.
    pub(crate) fn contexts(&self, subject: &dyn Subject, texts: usize) -> Result<Finding> {
        let world = World::new(6);
        let texts = (0..texts as u64).map(|id| world.scene(Split::Train, id).description()).collect();
        let settings = latent_lens::Settings { texts, top: 3, ..latent_lens::Settings::default() };
        Ok(LatentLens::new(settings)?.run(subject, &self.case)?)
    }

    /// One layer of a table over the picture, as a PNG file.
    pub(crate) fn drawn(&self, table: &Labelled, layer: usize) -> Result<Vec<u8>> {
        let picture = Drawn::from_rgb("scene.png", &self.scene.render())?;
        Ok(overlay_png(&picture, table.slice(0, layer)?, OverlaySettings::default())?)
    }
}
