//! Where the values of a table lie on the pictures.

use mmlens_finding::{Axis, Labelled, Labels, PatchLabel, Role};
use serde::Serialize;

/// The axes of a table that lie on pictures, and the places of their positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heat {
    /// The axes that lie on pictures: one of patches or tokens, or row and column.
    pub(crate) axes: Vec<usize>,
    /// One for each picture.
    pub(crate) layers: Vec<Layer>,
}

/// The places on one picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// Which image of the input, and which frame of it.
    pub(crate) place: (usize, usize),
    /// The places.
    pub(crate) cells: Cells,
    /// The tiles they lie in, in their order: what each covers of the picture, and how many of the places are its own.
    pub(crate) tiles: Vec<([f32; 4], usize)>,
    /// Whether some of them lie on others: tiles of a picture, and the whole of it.
    pub(crate) overlap: bool,
}

/// The places of positions, in pixels of the original picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cells {
    /// Position on the axis and `x0, y0, x1, y1` of each patch.
    Boxes(Vec<(usize, [f32; 4])>),
    /// From and to of every row and column.
    Grid {
        /// From and to of every row.
        rows: Vec<[f32; 2]>,
        /// From and to of every column.
        columns: Vec<[f32; 2]>,
    },
}

impl Heat {
    /// Where this table lies on pictures, if it does.
    pub(crate) fn of(table: &Labelled) -> Option<Self> {
        table.as_numbers()?;
        grid(table).or_else(|| {
            let last = |role| table.axes().iter().rposition(|axis| axis.role == role && has_places(axis));
            let axis = [Role::Patch, Role::Token, Role::Key].into_iter().find_map(last)?;
            Some(Self { axes: vec![axis], layers: layers(places(table.axes().get(axis)?)) })
        })
    }

    /// Numbers of all images it lies on.
    pub(crate) fn images(&self) -> Vec<usize> {
        let mut images: Vec<usize> = self.layers.iter().map(|layer| layer.place.0).collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// Its places on one picture.
    pub(crate) fn on(&self, place: (usize, usize)) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.place == place)
    }

    /// The axes that lie on no picture.
    pub(crate) fn others(&self, table: &Labelled) -> Vec<usize> {
        (0..table.rank()).filter(|axis| !self.axes.contains(axis)).collect()
    }
}

impl Cells {
    /// Every place, and how far behind the beginning of its map its value stands. `axes` are those of the table that lie on
    /// pictures.
    pub(crate) fn each(&self, table: &Labelled, axes: &[usize]) -> Vec<([f32; 4], usize)> {
        let step = |at: usize| axes.get(at).map_or(0, |axis| stride(table, *axis));
        match self {
            Self::Boxes(boxes) => boxes.iter().map(|(position, bbox)| (*bbox, position * step(0))).collect(),
            Self::Grid { rows, columns } => {
                let (down, across) = (step(0), step(1));
                let of_row = |(r, [y0, y1]): (usize, &[f32; 2])| {
                    let (y0, y1) = (*y0, *y1);
                    columns
                        .iter()
                        .enumerate()
                        .map(move |(c, [x0, x1])| ([*x0, y0, *x1, y1], r * down + c * across))
                };
                rows.iter().enumerate().flat_map(of_row).collect()
            }
        }
    }
}

/// How far two neighbours along an axis stand apart among the values of a table.
pub(crate) fn stride(table: &Labelled, axis: usize) -> usize {
    table.axes().iter().skip(axis + 1).map(Axis::len).product()
}

/// For every position of some axes, row-major, where its map begins among the values of a table.
pub(crate) fn beginnings(table: &Labelled, axes: &[usize]) -> Vec<usize> {
    axes.iter().fold(vec![0], |before, axis| {
        let (len, step) = (table.axes().get(*axis).map_or(0, Axis::len), stride(table, *axis));
        before.iter().flat_map(|from| (0..len).map(move |i| from + i * step)).collect()
    })
}

fn grid(table: &Labelled) -> Option<Heat> {
    let (row, column) = (table.axis_of(Role::Row)?, table.axis_of(Role::Column)?);
    let spans = |axis: usize| match &table.axes().get(axis)?.labels {
        Labels::Spans { image, spans, .. } => Some((*image, spans.clone())),
        _ => None,
    };
    let ((image, rows), (other, columns)) = (spans(row)?, spans(column)?);
    let ends = |spans: &[[f32; 2]]| Some([spans.first()?[0], spans.last()?[1]]);
    let extent = ends(&columns).zip(ends(&rows)).map(|([x0, x1], [y0, y1])| [x0, y0, x1, y1]);
    let tiles = extent.map(|extent| (extent, rows.len() * columns.len())).into_iter().collect();
    let layer = Layer { place: (image, 0), cells: Cells::Grid { rows, columns }, tiles, overlap: false };
    (image == other).then(|| Heat { axes: vec![row, column], layers: vec![layer] })
}

fn has_places(axis: &Axis) -> bool {
    match &axis.labels {
        Labels::Patches(patches) => !patches.is_empty(),
        Labels::Tokens(tokens) => tokens.iter().any(|token| token.patch.is_some()),
        _ => false,
    }
}

fn places(axis: &Axis) -> Vec<(usize, PatchLabel)> {
    match &axis.labels {
        Labels::Patches(patches) => patches.iter().copied().enumerate().collect(),
        Labels::Tokens(tokens) => {
            tokens.iter().enumerate().filter_map(|(i, token)| Some((i, token.patch?))).collect()
        }
        _ => Vec::new(),
    }
}

/// All patches of one tile of one picture.
struct Tile {
    key: (usize, usize, usize),
    extent: [f32; 4],
    boxes: Vec<(usize, [f32; 4])>,
}

fn layers(places: Vec<(usize, PatchLabel)>) -> Vec<Layer> {
    let mut tiles: Vec<Tile> = Vec::new();
    for (position, PatchLabel { image, frame, tile, bbox, .. }) in places {
        let key = (image, frame, tile);
        match tiles.iter_mut().find(|known| known.key == key) {
            Some(known) => {
                known.extent = union(known.extent, bbox);
                known.boxes.push((position, bbox));
            }
            None => tiles.push(Tile { key, extent: bbox, boxes: vec![(position, bbox)] }),
        }
    }
    tiles.sort_by_key(|tile| tile.key);
    tiles
        .chunk_by(|a, b| (a.key.0, a.key.1) == (b.key.0, b.key.1))
        .map(|own| {
            let place = own.first().map_or((0, 0), |tile| (tile.key.0, tile.key.1));
            let boxes = own.iter().flat_map(|tile| tile.boxes.iter().copied()).collect();
            let others = |at: usize| own.iter().skip(at + 1);
            let on_others =
                |(at, tile): (usize, &Tile)| others(at).any(|other| shares(tile.extent, other.extent));
            let tiles = own.iter().map(|tile| (tile.extent, tile.boxes.len())).collect();
            Layer { place, cells: Cells::Boxes(boxes), tiles, overlap: own.iter().enumerate().any(on_others) }
        })
        .collect()
}

pub(crate) fn union([a0, b0, a1, b1]: [f32; 4], [c0, d0, c1, d1]: [f32; 4]) -> [f32; 4] {
    [a0.min(c0), b0.min(d0), a1.max(c1), b1.max(d1)]
}

/// Whether two boxes share more than a seam, which rounding may leave.
fn shares([a0, b0, a1, b1]: [f32; 4], [c0, d0, c1, d1]: [f32; 4]) -> bool {
    let more =
        |[a0, a1]: [f32; 2], [c0, c1]: [f32; 2]| a1.min(c1) - a0.max(c0) > 1e-3 * (a1 - a0).min(c1 - c0);
    more([a0, a1], [c0, c1]) && more([b0, b1], [d0, d1])
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Labelled, Modality, PatchLabel, Role, TokenLabel, Unit};

    use super::{Cells, Heat, beginnings};

    fn patch(image: usize, tile: usize, row: usize, col: usize, side: f32) -> PatchLabel {
        let (x, y) = (col as f32 * side, row as f32 * side);
        PatchLabel { image, tile, frame: 0, row, col, bbox: [x, y, x + side, y + side] }
    }

    fn table(axes: Vec<Axis>) -> Labelled {
        let len = axes.iter().map(Axis::len).product();
        Labelled::numbers("t", Unit::Logit, axes, vec![0.0; len]).unwrap()
    }

    #[test]
    fn tiles_that_cover_the_same_pixels_overlap() {
        // the four quarters of a picture as tiles; then the whole picture in one patch beside them
        let quarters: Vec<PatchLabel> =
            (0..4).map(|i| PatchLabel { tile: 1 + i, ..patch(0, 0, i / 2, i % 2, 8.0) }).collect();
        let heat = |patches| Heat::of(&table(vec![Axis::patches(patches)])).unwrap();
        assert!(!heat(quarters.clone()).layers[0].overlap);
        let both = heat([quarters, vec![patch(0, 0, 0, 0, 16.0)]].concat());
        assert_eq!((both.layers.len(), both.layers[0].overlap), (1, true));
        let Cells::Boxes(boxes) = &both.layers[0].cells else { panic!() };
        assert!(boxes.contains(&(3, [8.0, 8.0, 16.0, 16.0])) && boxes.contains(&(4, [0.0, 0.0, 16.0, 16.0])));
        // on a picture of one pixel too
        let tiny = [patch(0, 0, 0, 0, 1.0), PatchLabel { tile: 1, ..patch(0, 0, 0, 0, 0.25) }];
        assert!(heat(tiny.to_vec()).layers[0].overlap);
    }

    #[test]
    fn pictures_lie_side_by_side() {
        let tokens = [patch(0, 0, 0, 0, 8.0), patch(2, 0, 0, 0, 8.0)]
            .map(|patch| TokenLabel::new("<image>", Modality::Image).with_patch(patch));
        let mut tokens = tokens.to_vec();
        tokens.insert(0, TokenLabel::new("look", Modality::Text));
        let heat = Heat::of(&table(vec![Axis::count(Role::Layer, 3), Axis::tokens(tokens)])).unwrap();
        assert_eq!((heat.axes.clone(), heat.images(), heat.layers.len()), (vec![1], vec![0, 2], 2));
        assert_eq!(heat.on((0, 0)).unwrap().cells, Cells::Boxes(vec![(1, [0.0, 0.0, 8.0, 8.0])]));
        assert_eq!(heat.on((1, 0)), None);
    }

    #[test]
    fn maps_begin_where_their_other_axes_stand() {
        let mut tokens = vec![TokenLabel::new("a", Modality::Text); 3];
        tokens[1].patch = Some(patch(0, 0, 0, 0, 8.0));
        // [layer 2, token 3, step 2]: layers begin at 0 and 6, steps 1 apart, and token 1 stands 2 behind
        let axes = vec![Axis::count(Role::Layer, 2), Axis::tokens(tokens), Axis::count(Role::Step, 2)];
        let table = table(axes);
        let heat = Heat::of(&table).unwrap();
        assert_eq!(beginnings(&table, &heat.others(&table)), [0, 1, 6, 7]);
        let places = heat.layers[0].cells.each(&table, &heat.axes);
        assert_eq!(places, [([0.0, 0.0, 8.0, 8.0], 2)]);
    }

    #[test]
    fn rows_and_columns_need_spans_of_one_picture() {
        let spans = |role, image| Axis::spans(role, image, vec![[0.0, 4.0], [4.0, 9.0]]);
        let turned = table(vec![spans(Role::Column, 1), spans(Role::Row, 1)]);
        let heat = Heat::of(&turned).unwrap();
        assert_eq!((heat.axes.clone(), heat.layers[0].place), (vec![1, 0], (1, 0)));
        // row 0, column 1 is the third of [column, row]
        let places = heat.layers[0].cells.each(&turned, &heat.axes);
        assert_eq!(places[1], ([4.0, 0.0, 9.0, 4.0], 2));
        assert_eq!(Heat::of(&table(vec![spans(Role::Column, 1), spans(Role::Row, 0)])), None);
        assert_eq!(Heat::of(&table(vec![Axis::count(Role::Row, 2), spans(Role::Column, 0)])), None);
        assert_eq!(Heat::of(&table(vec![Axis::count(Role::Patch, 2)])), None);
    }
}
