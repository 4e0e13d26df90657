//! The tones world as a data set: recordings, one question about each, and its answer as a label.

use mmlens_sound::LogMel;

use super::question::Kind;
use super::scene::Scene;
use super::world::World;
use crate::drawn::Split;
use crate::worlds::WorldCases;

/// Scenes of a split, each with one question of a kind. The label is the answer, the group the content key of the
/// scene, the masks are the cells of the sounds that are the evidence, in the spectrogram of a model.
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
pub type TonesCases = WorldCases<Scene>;

impl TonesCases {
    /// The first `count` scenes that allow a question of this kind; fewer, if these are too rare. Masks are of the
    /// spectrograms that `listening` makes: those of the model that is asked, or of
    /// [`listening`](super::listening).
    ///
    /// # Cost
    /// As [`WorldCases::first`].
    pub fn new(world: World, split: Split, kind: Kind, count: usize, listening: LogMel) -> Self {
        Self::first(world, split, kind, count, listening)
    }
}
