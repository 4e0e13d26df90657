//! A map: how much each place of a picture, or each piece of a text, is said to matter.

use mmlens_core::finding::{Finding, Labelled, Labels, Modality, PatchLabel, Role, finite};
use mmlens_engine::{Unit, Units};
use serde::{Deserialize, Serialize};

/// How much each place is said to matter: numbers, each spread evenly over a place.
///
/// A picture's places are boxes in pixels of the original picture. Where boxes lie on one another, as those of tiles do, their numbers add up.
/// What a map says of a region is its *mass* there: of every box the number times the share of the box that lies in the region. So maps of
/// cells, patches and pixels are compared on whatever grid is asked for, and none gains by being finer.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    places: Vec<(Place, f64)>,
}

/// A place of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// `x0, y0, x1, y1` in pixels of an original picture.
    Box {
        /// Which picture of the sample.
        image: usize,
        /// The box; it has an area.
        bbox: [f64; 4],
    },
    /// Bytes of the text in which the token map counts.
    Bytes {
        /// The first.
        from: usize,
        /// The one behind the last.
        to: usize,
    },
}

/// What of a sample a map lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Its pictures.
    Pictures,
    /// Its words.
    Words,
}

/// Which way the numbers of a map count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// As they are.
    Signed,
    /// Without their signs: whatever is said to matter, for or against.
    #[default]
    Absolute,
    /// Those below zero as zero: what is said to speak for the answer.
    Positive,
}

/// A finding of which no map can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMap {
    /// No table lies there, or not the one that was named.
    #[error("no table of `{method}`{} lies on {}; its tables are {}", named(asked), side.what(), have.join(", "))]
    Table {
        /// The method.
        method: String,
        /// The table that was asked for, if one was.
        asked: Option<String>,
        /// Where it should lie.
        side: Side,
        /// The tables there are, with their axes.
        have: Vec<String>,
    },
    /// A number that is none.
    #[error("`{table}` holds {found} at {at}, where a finite number belongs")]
    NotFinite {
        /// The table.
        table: String,
        /// Where.
        at: usize,
        /// What stands there.
        found: String,
    },
    /// A clip, whose frames lie on one another.
    #[error("`{table}` lies on frames of a clip, and a map lies on pictures")]
    Clip {
        /// The table.
        table: String,
    },
    /// Places that have no extent.
    #[error("none of the places of `{table}` has an extent on {}", side.what())]
    Empty {
        /// The table.
        table: String,
        /// Where it should lie.
        side: Side,
    },
}

fn named(asked: &Option<String>) -> String {
    asked.as_ref().map_or_else(String::new, |table| format!(" called `{table}`"))
}

impl Side {
    const fn what(self) -> &'static str {
        match self {
            Self::Pictures => "a picture",
            Self::Words => "words",
        }
    }
}

impl Sign {
    /// A number as it counts.
    #[must_use]
    pub fn of(self, value: f64) -> f64 {
        match self {
            Self::Signed => value,
            Self::Absolute => value.abs(),
            Self::Positive if value > 0.0 => value,
            Self::Positive => 0.0,
        }
    }
}

impl Map {
    /// Numbers at places. Places without an extent are left out.
    #[must_use]
    pub fn new(places: impl IntoIterator<Item = (Place, f64)>) -> Self {
        Self { places: places.into_iter().filter(|(place, _)| place.extent() > 0.0).collect() }
    }

    /// Numbers of the cells of a grid over a picture of some width and height, row by row.
    #[must_use]
    pub fn grid(
        image: usize,
        [width, height]: [usize; 2],
        [rows, cols]: [usize; 2],
        values: impl IntoIterator<Item = f64>,
    ) -> Self {
        let edge = |at: usize, of: usize, length: usize| at as f64 * length as f64 / of as f64;
        let cells = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        Self::new(cells.zip(values).map(|((row, col), value)| {
            let [x0, x1] = [col, col + 1].map(|at| edge(at, cols, width));
            let [y0, y1] = [row, row + 1].map(|at| edge(at, rows, height));
            (Place::Box { image, bbox: [x0, y0, x1, y1] }, value)
        }))
    }

    /// The map that a finding holds: that of the table of this name, or else of the first that stands in the front and lies there.
    ///
    /// On pictures lies a table of rows and columns, of patches, or of tokens of which some show a patch; on words one of tokens of which some
    /// have bytes of the text. Tables that belong together (`picture/0`, `picture/1`) are one map.
    ///
    /// # Errors
    /// [`NoMap`].
    pub fn of(finding: &Finding, side: Side, table: Option<&str>) -> Result<Self, NoMap> {
        let lies = |own: &&Labelled| lies(own, side);
        let first = match table {
            Some(name) => finding.tables().iter().find(|own| own.name() == name).filter(lies),
            None => finding.shown().find(lies),
        };
        let first = first.ok_or_else(|| NoMap::Table {
            method: finding.provenance.method.clone(),
            asked: table.map(str::to_owned),
            side,
            have: finding.tables().iter().map(described).collect(),
        })?;
        let quantity = first.quantity();
        let own = finding.tables().iter().filter(|own| own.quantity() == quantity).filter(lies);
        let mut places = Vec::new();
        for table in own {
            let values = table.as_numbers().unwrap_or_default();
            finite(values).map_err(|error| NoMap::NotFinite {
                table: table.name().to_owned(),
                at: error.at,
                found: error.found.to_string(),
            })?;
            let cells = cells(table, side)?;
            places
                .extend(cells.into_iter().zip(values).filter_map(|(place, v)| Some((place?, f64::from(*v)))));
        }
        let map = Self::new(places);
        match map.places.is_empty() {
            true => Err(NoMap::Empty { table: first.name().to_owned(), side }),
            false => Ok(map),
        }
    }

    /// Its places with their numbers.
    #[must_use]
    pub fn places(&self) -> &[(Place, f64)] {
        &self.places
    }

    /// The same map with every number as it counts.
    #[must_use]
    pub fn signed(&self, sign: Sign) -> Self {
        Self { places: self.places.iter().map(|(place, value)| (*place, sign.of(*value))).collect() }
    }

    /// Its mass on each of some units: of boxes on pictures as far as they lie on one another; of words the numbers of all tokens that share a
    /// byte with them.
    #[must_use]
    pub fn on(&self, units: &Units) -> Vec<f64> {
        units
            .iter()
            .map(|unit| self.places.iter().map(|(place, value)| value * place.share_in(unit)).sum())
            .collect()
    }

    /// Its mass on each pixel of a picture of some width and height, row by row. What lies beyond the picture is left out.
    #[must_use]
    pub fn painted(&self, picture: usize, [width, height]: [usize; 2]) -> Vec<f64> {
        self.on_grid(picture, [width, height], [height, width])
    }

    /// Its mass on each cell of a grid over a picture of some width and height, row by row: of each place the share that lies in the cell, by
    /// area. What lies beyond the picture is left out.
    #[must_use]
    pub fn on_grid(&self, picture: usize, [width, height]: [usize; 2], [rows, cols]: [usize; 2]) -> Vec<f64> {
        let mut cells = vec![0.0; rows * cols];
        // Of how many pixels a cell's side is.
        let (tall, broad) = (height as f64 / rows as f64, width as f64 / cols as f64);
        for (place, value) in &self.places {
            let Place::Box { image, bbox } = place else { continue };
            if *image != picture {
                continue;
            }
            let [x0, y0, x1, y1] = *bbox;
            let density = value / place.extent();
            // no NaN: a box with an area
            let span = |from: f64, to: f64, side: f64, most: usize| {
                ((from / side).floor().max(0.0) as usize).min(most)
                    ..((to / side).ceil().max(0.0) as usize).min(most)
            };
            let within = |from: f64, to: f64, side: f64, at: usize| {
                (to.min((at + 1) as f64 * side) - from.max(at as f64 * side)).max(0.0)
            };
            for row in span(y0, y1, tall, rows) {
                let high = within(y0, y1, tall, row);
                for col in span(x0, x1, broad, cols) {
                    if let Some(cell) = cells.get_mut(row * cols + col) {
                        *cell += density * high * within(x0, x1, broad, col);
                    }
                }
            }
        }
        cells
    }
}

impl Place {
    fn extent(&self) -> f64 {
        match self {
            Self::Box { bbox: [x0, y0, x1, y1], .. } => (x1 - x0).max(0.0) * (y1 - y0).max(0.0), // no NaN: a box on a picture
            Self::Bytes { from, to } => to.saturating_sub(*from) as f64,
        }
    }

    /// The share of the place that lies in a unit; of words all or nothing.
    fn share_in(&self, unit: &Unit) -> f64 {
        match (self, unit.label().patch, unit.label().bytes) {
            (Self::Box { image, bbox }, Some(patch), _) if *image == patch.image => {
                let own = patch.bbox.map(f64::from);
                // no NaN: boxes on a picture
                let along = |a: usize, b: usize| (bbox[b].min(own[b]) - bbox[a].max(own[a])).max(0.0);
                along(0, 2) * along(1, 3) / self.extent()
            }
            (Self::Bytes { from, to }, None, Some((first, end))) => {
                f64::from(u8::from((*from).max(first) < (*to).min(end))) // no NaN: whole numbers
            }
            _ => 0.0,
        }
    }
}

fn lies(table: &Labelled, side: Side) -> bool {
    let [outer, inner] = match table.axes() {
        [one] => [Some(one), None],
        [rows, cols] => [Some(rows), Some(cols)],
        _ => return false,
    };
    let (Some(outer), Some(_)) = (outer, table.as_numbers()) else { return false };
    match (side, outer.role, &outer.labels, inner) {
        (Side::Pictures, Role::Row, Labels::Spans { .. }, Some(inner)) => {
            inner.role == Role::Column && matches!(inner.labels, Labels::Spans { .. })
        }
        (Side::Pictures, Role::Patch, Labels::Patches(_), None) => true,
        (Side::Pictures, Role::Token | Role::Patch, Labels::Tokens(tokens), None) => {
            tokens.iter().any(|token| token.patch.is_some())
        }
        (Side::Words, Role::Token, Labels::Tokens(tokens), None) => {
            tokens.iter().any(|token| token.modality == Modality::Text && token.bytes.is_some())
        }
        _ => false,
    }
}

fn described(table: &Labelled) -> String {
    let axes: Vec<&str> = table.roles().iter().map(|role| role.name()).collect();
    format!("`{}` ({})", table.name(), if axes.is_empty() { "one value".to_owned() } else { axes.join(", ") })
}

/// Where each value of a table lies; `None` for one that lies on the other side.
fn cells(table: &Labelled, side: Side) -> Result<Vec<Option<Place>>, NoMap> {
    let boxed = |patch: &PatchLabel| match patch.frame {
        0 => Ok(Some(Place::Box { image: patch.image, bbox: patch.bbox.map(f64::from) })),
        _ => Err(NoMap::Clip { table: table.name().to_owned() }),
    };
    match table.axes() {
        [rows, cols] => {
            let (Labels::Spans { image, spans: rows, .. }, Labels::Spans { spans: cols, .. }) =
                (&rows.labels, &cols.labels)
            else {
                return Ok(Vec::new());
            };
            let cell = |y: &[f32; 2], x: &[f32; 2]| {
                Some(Place::Box { image: *image, bbox: [x[0], y[0], x[1], y[1]].map(f64::from) })
            };
            Ok(rows.iter().flat_map(|y| cols.iter().map(move |x| cell(y, x))).collect())
        }
        [axis] => match (&axis.labels, side) {
            (Labels::Patches(patches), _) => patches.iter().map(boxed).collect(),
            (Labels::Tokens(tokens), Side::Pictures) => {
                tokens.iter().map(|token| token.patch.as_ref().map_or(Ok(None), boxed)).collect()
            }
            (Labels::Tokens(tokens), Side::Words) => {
                let bytes = tokens.iter().map(|token| {
                    let own = token.bytes.filter(|_| token.modality == Modality::Text);
                    own.map(|(from, to)| Place::Bytes { from, to })
                });
                Ok(bytes.collect())
            }
            _ => Ok(Vec::new()),
        },
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::finding::Unit as Measured;
    use mmlens_core::finding::{Axis, Provenance, TokenLabel};

    use super::*;

    fn finding(tables: Vec<Labelled>) -> Finding {
        Finding::new(Provenance::new("ig", "toy"), tables).unwrap()
    }

    #[test]
    fn masses_are_shares_of_boxes() {
        // Two cells side by side over 4 x 2 pixels, of 6 and 2.
        let map = Map::grid(0, [4, 2], [1, 2], [6.0, -2.0]);
        // Of 6 over 2 x 2 pixels each has 1.5; of -2 each -0.5.
        assert_eq!(map.painted(0, [4, 2]), [1.5, 1.5, -0.5, -0.5, 1.5, 1.5, -0.5, -0.5]);
        assert_eq!(map.painted(1, [4, 2]), [0.0; 8]);
        // A box over one and a half pixels: two thirds of it on the first.
        let half = Map::new([(Place::Box { image: 0, bbox: [0.0, 0.0, 1.5, 1.0] }, 3.0)]);
        assert_eq!(half.painted(0, [2, 1]), [2.0, 1.0]);
        // What lies beyond is gone.
        assert_eq!(half.painted(0, [1, 1]), [2.0]);
        // Cells share a box by area, whatever pixels are: three cells of 4/3 pixels, of which the second begins a third into the second pixel.
        let thirds = half.on_grid(0, [4, 1], [1, 3]);
        assert!((thirds[0] - 3.0 * (4.0 / 3.0) / 1.5).abs() < 1e-12, "{thirds:?}");
        assert!((thirds[1] - 3.0 * (1.5 - 4.0 / 3.0) / 1.5).abs() < 1e-12 && thirds[2] == 0.0, "{thirds:?}");
        let positive: Vec<f64> = map.signed(Sign::Positive).places().iter().map(|(_, v)| *v).collect();
        assert_eq!(positive, [6.0, 0.0]);
    }

    #[test]
    fn the_first_table_that_lies_there_is_the_map_and_its_kin_are_part_of_it() {
        let spans = |image, role| Axis::spans(role, image, vec![[0.0, 1.0], [1.0, 1.0]]);
        let picture = |name: &str, image, value: f32| {
            let axes = vec![spans(image, Role::Row), spans(image, Role::Column)];
            Labelled::numbers(name, Measured::Logit, axes, vec![value; 4]).unwrap()
        };
        let text = |text: &str, from: usize| TokenLabel::new(text, Modality::Text).with_bytes(from, from + 1);
        let tokens = vec![text("a", 0), TokenLabel::new("<s>", Modality::Special), text("b", 1)];
        let words =
            Labelled::numbers("tokens", Measured::Logit, vec![Axis::tokens(tokens)], vec![1.0, 2.0, 3.0]);
        let found = finding(vec![
            Labelled::scalar("objective", Measured::Logit, 1.0),
            words.unwrap(),
            picture("other", 0, 9.0).aside(),
            picture("picture/0", 0, 1.0),
            picture("picture/1", 1, 2.0),
        ]);
        let map = Map::of(&found, Side::Pictures, None).unwrap();
        // Cells without an extent are no places.
        let own: Vec<f64> = map.places().iter().map(|(_, value)| *value).collect();
        assert_eq!(own, [1.0, 2.0]);
        assert_eq!(Map::of(&found, Side::Pictures, Some("other")).unwrap().places().len(), 1);
        let words = Map::of(&found, Side::Words, None).unwrap();
        let own: Vec<f64> = words.places().iter().map(|(_, value)| *value).collect();
        assert_eq!(own, [1.0, 3.0]);
        // Parts of a recording have names, and lie on it all the same.
        let part = |at: usize, from: f32| {
            let bbox = [from, 0.0, from + 4.0, 6.0];
            let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: at, bbox };
            TokenLabel::new("0–0.2 s", Modality::Audio).with_patch(patch)
        };
        let parts = Axis::new(Role::Patch, Labels::Tokens(vec![part(0, 0.0), part(1, 4.0)]));
        let heard = Labelled::numbers("recording", Measured::Ratio, vec![parts], vec![0.25, 0.75]).unwrap();
        let map = Map::of(&finding(vec![heard]), Side::Pictures, None).unwrap();
        assert_eq!(map.on_grid(0, [8, 6], [1, 2]), [0.25, 0.75]);
        let said = Map::of(&found, Side::Words, Some("other")).unwrap_err().to_string();
        assert!(said.starts_with("no table of `ig` called `other` lies on words; its tables are `objective` (one value), `tokens` (token)"), "{said}");
        let scalar = finding(vec![Labelled::scalar("objective", Measured::Logit, 1.0)]);
        let said = Map::of(&scalar, Side::Pictures, None).unwrap_err().to_string();
        assert_eq!(said, "no table of `ig` lies on a picture; its tables are `objective` (one value)");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let spans = |role| Axis::spans(role, 0, vec![[0.0, 1.0]]);
        let axes = vec![spans(Role::Row), spans(Role::Column)];
        let found =
            finding(vec![Labelled::numbers("picture", Measured::Logit, axes, vec![f32::NAN]).unwrap()]);
        let said = Map::of(&found, Side::Pictures, None).unwrap_err().to_string();
        assert_eq!(said, "`picture` holds NaN at 0, where a finite number belongs");
    }
}
