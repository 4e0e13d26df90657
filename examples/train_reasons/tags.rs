//! Scenes with a tag in a corner, of which an annotator reads the colour that a question asks for.

use image::{Rgb, RgbImage};
use mmlens::core::{Cases, Mask, SubjectError};
use mmlens::data::shapes::{Colour, Kind, Question, SIDE, Scene, Split, World};
use mmlens::prelude::*;
use mmlens::serde_json::json;
use rand::RngExt;
use rand::seq::IndexedRandom;

/// The side of a tag, and how far it lies from the edges, in pixels.
const TAG: u32 = 8;
const MARGIN: u32 = 2;
/// How far beyond an object its edges are evidence, too, in pixels.
const EDGE: i64 = 3;
/// How often the tag is right in training.
const RIGHT: f64 = 0.75;

/// What the tag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// As in training: three times in four what is true.
    Learned,
    /// What is true.
    True,
    /// Another colour.
    False,
    /// There is none.
    None,
}

impl Tag {
    pub(crate) const TOLD: [(Self, &'static str); 3] =
        [(Self::True, "a true tag"), (Self::False, "a false tag"), (Self::None, "no tag")];
}

/// A picture with a tag, and what is asked about it.
pub(crate) struct Tagged {
    pub(crate) scene: Scene,
    pub(crate) question: Question,
    pub(crate) picture: RgbImage,
    /// What the tag says; where there is none, what is true.
    pub(crate) said: &'static str,
}

/// The first colour question about a scene, with a tag; none, where it allows no such question.
pub(crate) fn tagged(world: &World, (split, id): (Split, u64), tag: Tag) -> Option<Tagged> {
    let scene = world.scene(split, id);
    let mut rng = scene.rng(0);
    let question = scene.ask(Kind::Colour, &mut rng)?;
    let truth = Colour::from_word(&question.answer)?;
    let right = rng.random_bool(RIGHT);
    let others: Vec<Colour> = Colour::ALL.iter().copied().filter(|colour| *colour != truth).collect();
    let other = others.choose(&mut rng).copied()?;
    let said = match tag {
        Tag::True | Tag::None => truth,
        Tag::False => other,
        Tag::Learned if right => truth,
        Tag::Learned => other,
    };
    let mut picture = scene.render();
    if tag != Tag::None {
        let (x0, y0) = corner(&scene);
        for (x, y) in (0..TAG).flat_map(|y| (0..TAG).map(move |x| (x0 + x, y0 + y))) {
            picture.put_pixel(x, y, Rgb(said.rgb()));
        }
    }
    Some(Tagged { scene, question, picture, said: said.word() })
}

/// The corner in which a tag hides the fewest pixels of objects.
fn corner(scene: &Scene) -> (u32, u32) {
    let far = SIDE as u32 - MARGIN - TAG;
    let hidden = |(x0, y0): (u32, u32)| {
        let inside = |(x, y): (u32, u32)| (x0..x0 + TAG).contains(&x) && (y0..y0 + TAG).contains(&y);
        scene
            .objects
            .iter()
            .map(|object| object.mask.pixels().filter(|at| inside(*at)).count())
            .sum::<usize>()
    };
    let corners = [(MARGIN, MARGIN), (far, MARGIN), (MARGIN, far), (far, far)];
    corners.into_iter().min_by_key(|corner| hidden(*corner)).unwrap_or_default()
}

impl Tagged {
    /// The pixels of what is asked about.
    fn evidence(&self) -> Vec<bool> {
        let mut inside = vec![false; SIDE * SIDE];
        for object in self.question.evidence.iter().filter_map(|at| self.scene.objects.get(*at)) {
            object.mask.pixels().for_each(|(x, y)| inside[y as usize * SIDE + x as usize] = true);
        }
        inside
    }

    /// 1 on every pixel that is no evidence and not next to it.
    pub(crate) fn outside(&self) -> Vec<f32> {
        let inside = self.evidence();
        let side = SIDE as i64;
        let near = |at: i64| {
            let (y, x) = (at / side, at % side);
            let span = |own: i64| own.saturating_sub(EDGE).max(0)..(own + EDGE + 1).min(side); // no NaN: whole numbers
            span(y).any(|y| span(x).any(|x| inside[(y * side + x) as usize]))
        };
        (0..side * side).map(|at| f32::from(u8::from(!near(at)))).collect()
    }
}

/// Scenes of the test split with false tags, as a data set.
pub(crate) struct FalseTags {
    world: World,
    scenes: Vec<u64>,
}

impl FalseTags {
    pub(crate) fn new(world: World, count: usize) -> Self {
        let asked = |id: &u64| tagged(&world, (Split::Test, *id), Tag::False).is_some();
        let scenes = (0..).filter(asked).take(count).collect();
        Self { world, scenes }
    }

    fn at(&self, index: usize) -> Result<Tagged, SubjectError> {
        let none = || SubjectError::NoCase { data: self.name().to_owned(), index, len: self.scenes.len() };
        let id = self.scenes.get(index).ok_or_else(none)?;
        tagged(&self.world, (Split::Test, *id), Tag::False).ok_or_else(none)
    }
}

impl Cases for FalseTags {
    fn name(&self) -> &str {
        "scenes with false tags"
    }

    fn len(&self) -> usize {
        self.scenes.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let own = self.at(index)?;
        Ok(Case::new(Sample::ask(
            Picture::new(format!("test {}", own.scene.id), own.picture),
            own.question.text,
        )))
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let inside = self.at(index)?.evidence();
        Ok(vec![Mask { name: "evidence".to_owned(), picture: 0, size: [SIDE, SIDE], inside }])
    }

    fn hash(&self) -> Result<String, SubjectError> {
        Ok(mmlens::files::sha256(json!([self.name(), self.world.seed(), self.scenes]).to_string()))
    }
}
