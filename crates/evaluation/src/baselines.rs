//! What makes maps: methods, on the model that is explained or on one with random weights, and what any method has to beat.
//!
//! | row | map |
//! |---|---|
//! | a method | that of its finding |
//! | `..., random weights` | that of the same method on a model whose every weight is drawn anew, whatever model is asked about |
//! | `random map` | a number from 0 to 1 for each cell of a grid, or each token of words: cell `i` has `seed.at(i).unit()` |
//! | `centred blob` | a Gaussian in the middle of the picture, a quarter of each side wide (its deviation), on up to 64 x 64 cells; of words in the middle of the text, by bytes |
//! | `edge filter`, `loudness` | what stands out without any model: [`filters`](crate::EdgeFilter) |

use mmlens_core::finding::Modality;
use mmlens_core::{AnyAnalysis, Case, Given, On, Seed, Subject};

use crate::metric::{Explainer, NoScore};
use crate::{Map, Place, Side};

/// A method that is evaluated.
pub struct Contestant {
    /// What it is called in tables.
    pub name: String,
    /// The method.
    pub method: Box<dyn AnyAnalysis>,
    /// The table that is its map; the first that lies on a picture, or on words, where none is named.
    pub table: Option<String>,
}

impl std::fmt::Debug for Contestant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Contestant {
    /// A method under a name, with the first table that lies on a picture or on words.
    pub fn new(name: impl Into<String>, method: Box<dyn AnyAnalysis>) -> Self {
        Self { name: name.into(), method, table: None }
    }

    /// The same with a table by name.
    #[must_use]
    pub fn with_table(self, table: impl Into<String>) -> Self {
        Self { table: Some(table.into()), ..self }
    }
}

/// A method, on the subject that is asked about or always on another.
pub(crate) struct Method<'a> {
    pub(crate) contestant: &'a Contestant,
    pub(crate) always_on: Option<&'a dyn Subject>,
}

impl Method<'_> {
    fn on<'b>(&'b self, on: &On<'b>) -> On<'b> {
        match self.always_on {
            // It belongs to one subject what those share that run on it.
            Some(subject) => On::new(subject).watched(on.watch()).within(on.memory()),
            None => *on,
        }
    }
}

impl Explainer for Method<'_> {
    fn map(&self, on: &On<'_>, case: &Case, side: Side) -> Result<Map, NoScore> {
        let Contestant { method, table, .. } = self.contestant;
        let finding = method.run_given(&self.on(on), &Given::new(case.clone())?)?;
        Map::of(&finding, side, table.as_deref()).map_err(|error| NoScore::Lacks(error.to_string()))
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<u64, NoScore> {
        let cost = self.contestant.method.cost(&self.on(on), &Given::new(case.clone())?)?;
        Ok(cost.forward + 2 * cost.backward)
    }

    fn anew(&self, seed: Seed) -> Result<Option<Box<dyn Explainer + '_>>, NoScore> {
        let Contestant { name, method, table } = self.contestant;
        let of = |method| Anew {
            contestant: Contestant { name: name.clone(), method, table: table.clone() },
            always_on: self.always_on,
        };
        Ok(method.seeded(seed)?.map(|method| -> Box<dyn Explainer> { Box::new(of(method)) }))
    }
}

/// A method that was made with other draws.
struct Anew<'a> {
    contestant: Contestant,
    always_on: Option<&'a dyn Subject>,
}

impl Anew<'_> {
    fn method(&self) -> Method<'_> {
        Method { contestant: &self.contestant, always_on: self.always_on }
    }
}

impl Explainer for Anew<'_> {
    fn map(&self, on: &On<'_>, case: &Case, side: Side) -> Result<Map, NoScore> {
        self.method().map(on, case, side)
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<u64, NoScore> {
        self.method().cost(on, case)
    }
}

/// A random map.
#[derive(Debug, Clone, Copy)]
pub struct RandomMap {
    /// The seed.
    pub seed: Seed,
    /// Rows and columns of the grid over a picture.
    pub grid: [usize; 2],
    /// Which picture.
    pub picture: usize,
}

/// A blob in the middle.
#[derive(Debug, Clone, Copy)]
pub struct CentredBlob {
    /// Which picture.
    pub picture: usize,
}

/// Width and height of a picture.
fn size(on: &On<'_>, case: &Case, picture: usize) -> Result<[usize; 2], NoScore> {
    let inputs = on.encode(&case.sample)?;
    let (width, height) = inputs.map().pictures.get(picture).copied().ok_or_else(none)?;
    Ok([width as usize, height as usize])
}

pub(crate) fn none() -> NoScore {
    NoScore::Lacks("the sample has no such picture".to_owned())
}

/// The tokens of the prompt that hold words, by their bytes.
fn words(on: &On<'_>, case: &Case) -> Result<Vec<(usize, usize)>, NoScore> {
    let inputs = on.encode(&case.sample)?;
    let text =
        |token: &mmlens_core::finding::TokenLabel| token.bytes.filter(|_| token.modality == Modality::Text);
    let own: Vec<(usize, usize)> = inputs.map().tokens.iter().filter_map(text).collect();
    match own.is_empty() {
        true => Err(NoScore::Lacks("the sample has no words with places in a text".to_owned())),
        false => Ok(own),
    }
}

impl Explainer for RandomMap {
    fn map(&self, on: &On<'_>, case: &Case, side: Side) -> Result<Map, NoScore> {
        let draw = |i: usize| f64::from(self.seed.at(i as u64).unit());
        match side {
            Side::Pictures => {
                let cells = self.grid[0] * self.grid[1];
                Ok(Map::grid(self.picture, size(on, case, self.picture)?, self.grid, (0..cells).map(draw)))
            }
            Side::Words => {
                let places = words(on, case)?.into_iter().enumerate();
                Ok(Map::new(places.map(|(i, (from, to))| (Place::Bytes { from, to }, draw(i)))))
            }
        }
    }

    fn cost(&self, _: &On<'_>, _: &Case) -> Result<u64, NoScore> {
        Ok(0)
    }

    fn anew(&self, seed: Seed) -> Result<Option<Box<dyn Explainer + '_>>, NoScore> {
        Ok(Some(Box::new(Self { seed, ..*self })))
    }
}

/// Deviation of the blob, as a share of each side.
const WIDE: f64 = 0.25;
/// The most cells along a side of it.
const CELLS: usize = 64;

fn bell(away: f64) -> f64 {
    (-away * away / (2.0 * WIDE * WIDE)).exp()
}

impl Explainer for CentredBlob {
    fn map(&self, on: &On<'_>, case: &Case, side: Side) -> Result<Map, NoScore> {
        let middle = |at: usize, of: usize| (at as f64 + 0.5) / of as f64 - 0.5;
        match side {
            Side::Pictures => {
                let size = size(on, case, self.picture)?;
                let [cols, rows] = size.map(|side| side.clamp(1, CELLS)); // no NaN: whole numbers
                let cell = |i: usize| bell(middle(i / cols, rows)) * bell(middle(i % cols, cols));
                Ok(Map::grid(self.picture, size, [rows, cols], (0..rows * cols).map(cell)))
            }
            Side::Words => {
                let words = words(on, case)?;
                let end = words.iter().map(|(_, to)| *to).max().unwrap_or(1);
                let of = |(from, to): (usize, usize)| {
                    let at = f64::midpoint(from as f64, to as f64) / end as f64 - 0.5;
                    (Place::Bytes { from, to }, bell(at))
                };
                Ok(Map::new(words.into_iter().map(of)))
            }
        }
    }

    fn cost(&self, _: &On<'_>, _: &Case) -> Result<u64, NoScore> {
        Ok(0)
    }
}
