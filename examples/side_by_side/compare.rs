//! Two models that look at the same pictures, one asked a question and one given a caption.

use mmlens::core::{Analysis, AnalysisError, SubjectError};
use mmlens::data::shapes::{Detail, Kind, ShapesCases, Split, World};
use mmlens::model::cka::{Cka, Settings};
use mmlens::prelude::*;

/// The test scenes of a world, as captions for the one and as questions for the other.
pub(crate) fn scenes<S: Subject + 'static>(llava: S, count: usize) -> Result<ManyCases, SubjectError> {
    let questions = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, count);
    let same = questions.clone();
    let captions = from_fn("captions", questions.len(), move |i| {
        let (scene, _) = same.scene(i)?;
        let picture = Picture::new(format!("scene {i}"), scene.render());
        Ok(Case::new(Sample::captions(picture, [scene.caption(Detail::Full).to_string()])))
    });
    ManyCases::over(captions)?.beside_over(llava, questions)
}

/// Every site of the one with every site of the other.
pub(crate) fn compare(
    clip: &dyn Subject,
    scenes: &ManyCases,
    sites: &[&str],
    against: &[&str],
    settings: Settings,
) -> Result<Finding, AnalysisError> {
    let chosen = |names: &[&str]| names.iter().map(|name| name.parse()).collect::<Result<_, HookError>>();
    let (sites, against) = (Some(chosen(sites)?), Some(chosen(against)?));
    Cka::new(Settings { sites, against, ..settings })?.run(clip, scenes)
}
