//! Scenes with everything that is in them as masks, named by category: what a unit may stand for.

use mmlens_core::{Case, Cases, Mask, Sample, SubjectError};
use serde_json::json;

use super::caption::Detail;
use super::scene::{SIDE, Scene};
use super::world::World;
use crate::drawn::Split;

/// What is said of a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A question, the same about every scene.
    Question(String),
    /// Its caption in full, for models that compare pictures with captions.
    Caption,
}

/// Scenes of a split, with a mask for each colour, shape, size and kind of object that can be seen: `colour: red`, `shape: circle`,
/// `size: large`, `object: red circle`. The name before the colon is the category.
///
/// ```
/// use mmlens_core::Cases;
/// use mmlens_data::shapes::{Said, ShapesConcepts, Split, World};
/// let data = ShapesConcepts::new(World::new(7), Split::Test, 12, Said::Caption);
/// let names: Vec<String> = data.masks(0)?.into_iter().map(|mask| mask.name).collect();
/// assert!(names.iter().any(|name| name.starts_with("colour: ")) && names.len() >= 4);
/// # Ok::<(), mmlens_core::SubjectError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ShapesConcepts {
    name: String,
    world: World,
    split: Split,
    count: usize,
    said: Said,
}

impl ShapesConcepts {
    /// The first `count` scenes of a split.
    pub fn new(world: World, split: Split, count: usize, said: Said) -> Self {
        let what = if said == Said::Caption { "captions" } else { "questions" };
        let name = format!("{world}, {split}, concepts, {what}");
        Self { name, world, split, count, said }
    }

    /// The scene of a case.
    ///
    /// # Errors
    /// [`SubjectError::NoCase`].
    pub fn scene(&self, index: usize) -> Result<Scene, SubjectError> {
        match index < self.count {
            true => Ok(self.world.scene(self.split, index as u64)),
            false => Err(SubjectError::NoCase { data: self.name.clone(), index, len: self.count }),
        }
    }
}

impl Cases for ShapesConcepts {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.count
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let scene = self.scene(index)?;
        let picture = scene.picture();
        Ok(Case::new(match &self.said {
            Said::Question(question) => Sample::ask(picture, question),
            Said::Caption => Sample::captions(picture, [scene.caption(Detail::Full).to_string()]),
        }))
    }

    fn group(&self, index: usize) -> Result<Option<u64>, SubjectError> {
        Ok(Some(self.scene(index)?.key))
    }

    fn concepts(&self, index: usize) -> Result<Vec<String>, SubjectError> {
        Ok(self.scene(index)?.concepts())
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let scene = self.scene(index)?;
        let masks = scene.objects.iter().flat_map(|object| {
            let names = object.concepts();
            let inside = object.mask.to_vec();
            names.map(|name| Mask { name, picture: 0, size: [SIDE, SIDE], inside: inside.clone() })
        });
        Ok(masks.collect())
    }

    fn hash(&self) -> Result<String, SubjectError> {
        let said = match &self.said {
            Said::Question(question) => question.as_str(),
            Said::Caption => "",
        };
        Ok(mmlens_files::sha256(json!([self.name, self.count, said]).to_string()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use mmlens_core::{Cases, Words};

    use super::{Said, ShapesConcepts};
    use crate::shapes::{Split, World};

    #[test]
    fn masks_are_those_of_the_objects() {
        let data = ShapesConcepts::new(World::new(3), Split::Test, 20, Said::Caption);
        for case in 0..data.len() {
            let scene = data.scene(case).unwrap();
            let (masks, objects) = (data.masks(case).unwrap(), scene.objects.len());
            assert_eq!(masks.len(), 4 * objects);
            let (named, mut each) = (data.concepts(case).unwrap(), Vec::new());
            for mask in &masks {
                if !each.contains(&mask.name) {
                    each.push(mask.name.clone());
                }
            }
            assert_eq!(named, each);
            for category in ["colour", "shape", "size", "object"] {
                let own = masks.iter().filter(|mask| mask.name.starts_with(&format!("{category}: ")));
                let pixels: usize =
                    own.map(|mask| mask.inside.iter().filter(|inside| **inside).count()).sum();
                let wanted: u32 = scene.objects.iter().map(|object| object.mask.count()).sum();
                assert_eq!(pixels, wanted as usize);
            }
            let Words::Texts(texts) = data.case(case).unwrap().sample.words else { panic!("no caption") };
            assert_eq!(texts.len(), 1);
        }
        let said = data.case(20).unwrap_err().to_string();
        assert_eq!(said, "`shapes 3, test, concepts, captions` has no case 20: it has 20");
    }
}
