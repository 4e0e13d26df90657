//! Scenes of the shapes world by what they show, and what concepts, sparse heads, bottlenecks and trees say of the models that ship inside.

use anyhow::Result;
use mmlens::data::shapes::{Colour, Kind, Object, Scene, Shape, ShapesCases, Size, Split, World};
use mmlens::design::{
    DecisionTree, PostHocBottleneck, SparseHead, Tcav, bottleneck, decision_tree, sparse_head, tcav,
};
use mmlens::finding::Finding;
use mmlens::prelude::*;

/// What is asked of every scene whose circle is looked at.
const COLOUR: &str = "what colour is the circle ?";
/// Questions that are the same of every scene.
pub(crate) const QUESTIONS: [&str; 3] =
    ["is there a circle ?", "is there a red object ?", "how many objects are there ?"];

/// Sets of scenes with what these show by name, as cases with a class for each set.
fn scenes<const N: usize>(
    name: &'static str,
    question: Option<&'static str>,
    sets: [(&str, Vec<Scene>); N],
) -> Result<Annotated<impl Cases + Send + use<N>>> {
    let classes = sets.each_ref().map(|(class, _)| *class);
    let labels = sets.iter().enumerate().flat_map(|(label, (_, own))| own.iter().map(move |_| label));
    let labels = labels.collect();
    let scenes: Vec<Scene> = sets.into_iter().flat_map(|(_, own)| own).collect();
    let (groups, shows) = (scenes.iter().map(|scene| scene.key), scenes.iter().map(Scene::concepts));
    let (groups, shows) = (groups.collect(), shows.collect::<Vec<_>>());
    let data = from_fn(name, scenes.len(), move |i| {
        let scene = &scenes[i];
        let picture = Picture::new(format!("test {}", scene.id), scene.render());
        Ok(Case::new(match question {
            Some(question) => Sample::ask(picture, question),
            None => Sample::captions(picture, [scene.description()]),
        }))
    });
    Ok(Annotated::new(data, classes, labels)?.grouped(groups)?.showing(shows)?)
}

/// The circle of a scene that has one.
fn circle(scene: &Scene) -> Option<&Object> {
    let mut all = scene.objects.iter().filter(|object| object.shape == Shape::Circle);
    all.next().filter(|_| all.next().is_none())
}

fn red(object: &Object) -> bool {
    object.colour == Colour::Red
}

/// Test scenes, each of them once.
struct Drawn {
    world: World,
    next: u64,
}

impl Drawn {
    fn new() -> Self {
        Self { world: World::new(7), next: 0 }
    }

    fn next(&mut self, count: usize, keep: impl Fn(&Scene) -> bool) -> Vec<Scene> {
        let mut kept = Vec::with_capacity(count);
        while kept.len() < count {
            let scene = self.world.scene(Split::Test, self.next);
            self.next += 1;
            if keep(&scene) {
                kept.push(scene);
            }
        }
        kept
    }
}

/// Whether the answer "red" depends on concepts behind a block: on a red circle, on red that is not the circle's, on the size of the circle, and on nothing in particular.
pub(crate) fn tested(subject: &dyn Subject, block: usize, count: usize) -> Result<Finding> {
    let mut drawn = Drawn::new();
    let shown = |keep: fn(&Object) -> bool| move |scene: &Scene| circle(scene).is_some_and(keep);
    let beside = |scene: &Scene| circle(scene).is_some_and(|own| !red(own)) && scene.objects.iter().any(red);
    let sets = [
        ("red circle", drawn.next(count, shown(red))),
        ("red beside a circle", drawn.next(count, beside)),
        ("large circle", drawn.next(count, shown(|own| own.size == Size::Large))),
        ("nothing", drawn.next(count, shown(|_| true))),
        ("random", drawn.next(2 * count, shown(|_| true))),
        ("explained", drawn.next(count, shown(red))),
    ];
    let data = scenes("circles", Some(COLOUR), sets)?;
    let site = Site::block(Part::Text, block, Point::ResidPost);
    let method = Tcav::new(tcav::Settings { site, ..Default::default() })?;
    Ok(method.run(subject, &ManyCases::over(data)?)?)
}

/// Few penalties, none of them so weak that a search takes long.
fn path() -> sparse_head::Settings {
    sparse_head::Settings { lambdas: 8, least: 0.05, ..Default::default() }
}

fn learned(subject: &dyn Subject, data: &dyn Cases, settings: sparse_head::Settings) -> Result<Finding> {
    Ok(SparseHead::new(settings)?.learn(&On::new(subject), data, Seed(0))?.finding)
}

/// From how few features behind a block the colour that is asked about is read.
pub(crate) fn colours(subject: &dyn Subject, block: usize, count: usize) -> Result<Finding> {
    let data = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, count);
    let site = Site::block(Part::Text, block, Point::ResidPost);
    learned(subject, &data, sparse_head::Settings { site, ..path() })
}

/// From how few dimensions of the shared space it is read whether there is a circle.
pub(crate) fn circles(clip: &dyn Subject, count: usize) -> Result<Finding> {
    let mut drawn = Drawn::new();
    let has = |scene: &Scene| scene.objects.iter().any(|object| object.shape == Shape::Circle);
    let without = drawn.next(count / 2, |scene| !has(scene));
    let data = scenes("circles", None, [("no circle", without), ("circle", drawn.next(count / 2, has))])?;
    let site = Site::of(Part::Vision, Point::Projected);
    let positions = mmlens::engine::Positions::All;
    learned(clip, &data, sparse_head::Settings { site, positions, ..path() })
}

/// Rules over what scenes show, for the answers to a question.
pub(crate) fn rules(subject: &dyn Subject, question: &'static str, count: usize) -> Result<Finding> {
    let data = scenes("scenes", Some(question), [("scene", Drawn::new().next(count, |_| true))])?;
    let method = DecisionTree::new(decision_tree::Settings { depth: 3, ..Default::default() })?;
    Ok(method.run(subject, &ManyCases::over(data)?)?)
}

/// Whether the answer to a question is told from what scenes show, and what corrections do behind a block.
pub(crate) fn corrected(subject: &dyn Subject, block: usize, count: usize) -> Result<Finding> {
    let (mut drawn, red) = (Drawn::new(), |scene: &Scene| scene.objects.iter().any(red));
    let without = drawn.next(count / 2, |scene| !red(scene));
    let data = scenes("red", Some(QUESTIONS[1]), [("no", without), ("yes", drawn.next(count / 2, red))])?;
    let settings = bottleneck::Settings {
        site: Site::block(Part::Text, block, Point::ResidPost),
        lambdas: 8,
        draws: 1,
        ..Default::default()
    };
    Ok(PostHocBottleneck::new(settings)?.learn(&On::new(subject), &data, Seed(0))?.finding)
}
