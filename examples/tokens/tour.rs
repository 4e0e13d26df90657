//! One scene, one question, and what the tokens in between hold.

#[path = "../strip.rs"]
mod strip;
#[path = "../three.rs"]
mod three;

use anyhow::{Context, Result};
use mmlens::data::shapes::{Scene, Split, World};
use mmlens::engine::End;
use mmlens::finding::{Finding, Labelled};
use mmlens::model::latent_lens::{self, LatentLens};
use mmlens::model::nearest_words::{self, NearestWords};
use mmlens::model::sinks::{self, Sinks};
use mmlens::model::token_ablation::{self, Place, Replace, TokenAblation, TokenSet, Tokens};
use mmlens::model::{AttentionRollout, IntegratedGradients, Occlusion, integrated_gradients, occlusion};
use mmlens::prelude::*;
use mmlens::report;

/// A scene with a question about the colour of one of its objects.
pub(crate) struct Tour {
    pub(crate) scene: Scene,
    pub(crate) question: String,
    pub(crate) answer: String,
    /// Of the object asked about.
    pub(crate) bbox: [f32; 4],
    case: Case,
}

/// A table layer by layer.
pub(crate) fn layers(table: &Labelled) -> Result<Vec<Labelled>> {
    let count = table.shape().first().copied().unwrap_or(0);
    Ok((0..count).map(|layer| table.slice(0, layer)).collect::<Result<_, _>>()?)
}

/// The first scene of the test split with three objects of which one can be asked about.
pub(crate) fn first() -> Result<Tour> {
    let (scene, question, object) = three::first()?;
    let bbox = scene.objects.get(object).context("an object")?.bbox.map(|edge| edge as f32);
    let picture = Picture::new("scene", scene.render());
    let case = Case::new(Sample::ask(picture, question.text.clone()));
    Ok(Tour { bbox, case, question: question.text, answer: question.answer, scene })
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

    /// Where the answer comes from in the picture, by three methods: integrated gradients, occlusion, and what attention hands on (rollout).
    pub(crate) fn attributions(&self, subject: &dyn Subject) -> Result<Vec<Labelled>> {
        let along = vec![End::new(Site::of(Part::Vision, Point::Pixels), Baseline::Mean)];
        let path = integrated_gradients::Settings { along: Some(along), ..Default::default() };
        let hide = occlusion::Settings { words: None, pixels: Baseline::Mean, ..Default::default() };
        let on = On::new(subject);
        let findings = [
            IntegratedGradients::new(path)?.run_on(&on, &self.case)?,
            Occlusion::new(hide)?.run_on(&on, &self.case)?,
            AttentionRollout::default().run_on(&on, &self.case)?,
        ];
        let map = |finding| report::drawn(finding)?.tables.into_iter().next();
        findings.iter().map(|finding| map(finding).context("a map over the picture")).collect()
    }

    /// The scene, and tables over it, as a PNG file.
    pub(crate) fn drawn(&self, tables: &[Labelled]) -> Result<Vec<u8>> {
        let scene = self.scene.render();
        let mut panels = vec![scene.clone()];
        for table in tables {
            panels.push(strip::over(&scene, table)?);
        }
        strip::png(&panels, panels.len(), 2)
    }
}
