//! The shapes world as a data set: pictures, one question about each, and its answer as a label.

use super::question::Kind;
use super::scene::Scene;
use super::world::World;
use crate::drawn::Split;
use crate::worlds::WorldCases;

/// Scenes of a split, each with one question of a kind. The label is the answer, the group the content key of the
/// scene, the masks are the objects that are the evidence.
///
/// Scenes that allow no question of that kind are passed over, so that indices follow one another.
///
/// ```
/// use mmlens_core::Cases;
/// use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
/// let data = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, 12);
/// let (class, masks) = (data.label(3)?.map(|label| &data.classes()[label]), data.masks(3)?);
/// assert!(class.is_some() && masks.len() == 1);
/// # Ok::<(), mmlens_core::SubjectError>(())
/// ```
pub type ShapesCases = WorldCases<Scene>;

impl ShapesCases {
    /// The first `count` scenes that allow a question of this kind; fewer, if these are too rare.
    ///
    /// # Cost
    /// As [`WorldCases::first`].
    pub fn new(world: World, split: Split, kind: Kind, count: usize) -> Self {
        Self::first(world, split, kind, count, ())
    }
}
