//! Where the values of a table lie on the pictures.

use std::collections::{BTreeMap, BTreeSet};

use mmlens_finding::{Axis, Labelled, Labels, PatchLabel, Role};
use serde::Serialize;

/// The axes of a table that lie on pictures, and the places of their positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heat {
    /// The axes that lie on pictures: one of patches or tokens, or row and column.
    pub(crate) axes: Vec<usize>,
    /// One group for every way to cover the pictures: tiles that overlap others stand in a group of their own.
    pub(crate) groups: Vec<Group>,
}

/// Places that do not overlap.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// What tells this group from the others; empty where there is one.
    pub(crate) name: String,
    /// One for each picture.
    pub(crate) layers: Vec<Layer>,
}

/// The places on one picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// Which image of the input.
    pub(crate) image: usize,
    /// Which frame of it.
    pub(crate) frame: usize,
    /// The places.
    pub(crate) cells: Cells,
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
            let places = places(table.axes().get(axis)?);
            Some(Self { axes: vec![axis], groups: groups(&places) })
        })
    }

    /// Numbers of all images it lies on.
    pub(crate) fn images(&self) -> Vec<usize> {
        let mut images: Vec<usize> =
            self.groups.iter().flat_map(|group| &group.layers).map(|layer| layer.image).collect();
        images.sort_unstable();
        images.dedup();
        images
    }
}

impl Group {
    /// The values that lie on pictures: one list for each position of the other axes.
    pub(crate) fn maps(&self, table: &Labelled, axes: &[usize]) -> Vec<Vec<f32>> {
        let shape = table.shape();
        let stride = |axis: usize| shape.iter().skip(axis + 1).product::<usize>().max(1);
        let along =
            |axis: usize, offset: usize| offset / stride(axis) % shape.get(axis).copied().unwrap_or(1).max(1);
        let shown = self.positions();
        let on_picture = |offset: usize| match axes {
            [axis] => shown.contains(&along(*axis, offset)),
            _ => true,
        };
        let mut maps: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        for (offset, value) in table.as_numbers().unwrap_or_default().iter().enumerate() {
            if on_picture(offset) {
                let drawn: usize = axes.iter().map(|axis| along(*axis, offset) * stride(*axis)).sum();
                maps.entry(offset - drawn).or_default().push(*value);
            }
        }
        maps.into_values().collect()
    }

    /// The positions of an axis of patches or tokens that lie on pictures.
    fn positions(&self) -> BTreeSet<usize> {
        let boxes = |layer: &Layer| match &layer.cells {
            Cells::Boxes(boxes) => boxes.iter().map(|(position, _)| *position).collect(),
            Cells::Grid { .. } => Vec::new(),
        };
        self.layers.iter().flat_map(boxes).collect()
    }
}

fn grid(table: &Labelled) -> Option<Heat> {
    let (row, column) = (table.axis_of(Role::Row)?, table.axis_of(Role::Column)?);
    let spans = |axis: usize| match &table.axes().get(axis)?.labels {
        Labels::Spans { image, spans } => Some((*image, spans.clone())),
        _ => None,
    };
    let ((image, rows), (other, columns)) = (spans(row)?, spans(column)?);
    let layer = Layer { image, frame: 0, cells: Cells::Grid { rows, columns } };
    let group = Group { name: String::new(), layers: vec![layer] };
    (image == other).then(|| Heat { axes: vec![row, column], groups: vec![group] })
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
    image: usize,
    frame: usize,
    tile: usize,
    extent: [f32; 4],
    boxes: Vec<(usize, [f32; 4])>,
}

fn tiles(places: &[(usize, PatchLabel)]) -> Vec<Tile> {
    let mut tiles: Vec<Tile> = Vec::new();
    for &(position, patch) in places {
        let (image, frame, tile, bbox) = (patch.image, patch.frame, patch.tile, patch.bbox);
        match tiles.iter_mut().find(|t| (t.image, t.frame, t.tile) == (image, frame, tile)) {
            Some(known) => {
                known.extent = union(known.extent, bbox);
                known.boxes.push((position, bbox));
            }
            None => tiles.push(Tile { image, frame, tile, extent: bbox, boxes: vec![(position, bbox)] }),
        }
    }
    tiles.sort_by_key(|t| (t.image, t.frame, t.tile));
    tiles
}

/// Each tile goes to the first group in which it overlaps no other.
fn groups(places: &[(usize, PatchLabel)]) -> Vec<Group> {
    let mut sets: Vec<Vec<Tile>> = Vec::new();
    for tile in tiles(places) {
        let free = |set: &&mut Vec<Tile>| {
            set.iter()
                .filter(|other| (other.image, other.frame) == (tile.image, tile.frame))
                .all(|other| !overlap(other.extent, tile.extent))
        };
        match sets.iter_mut().find(free) {
            Some(set) => set.push(tile),
            None => sets.push(vec![tile]),
        }
    }
    let alone = sets.len() == 1;
    sets.into_iter()
        .map(|set| Group { name: if alone { String::new() } else { group_name(&set) }, layers: layers(set) })
        .collect()
}

fn group_name(set: &[Tile]) -> String {
    let numbers = set.iter().map(|tile| tile.tile);
    match (numbers.clone().min(), numbers.max()) {
        (Some(first), Some(last)) if first < last => format!("tiles {first}–{last}"),
        (Some(first), _) => format!("tile {first}"),
        _ => String::new(),
    }
}

fn layers(set: Vec<Tile>) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for tile in set {
        match layers.iter_mut().find(|layer| (layer.image, layer.frame) == (tile.image, tile.frame)) {
            Some(Layer { cells: Cells::Boxes(boxes), .. }) => boxes.extend(tile.boxes),
            _ => {
                let cells = Cells::Boxes(tile.boxes);
                layers.push(Layer { image: tile.image, frame: tile.frame, cells });
            }
        }
    }
    layers
}

fn union([a0, b0, a1, b1]: [f32; 4], [c0, d0, c1, d1]: [f32; 4]) -> [f32; 4] {
    [a0.min(c0), b0.min(d0), a1.max(c1), b1.max(d1)]
}

/// Whether two boxes share more than a seam of half a pixel.
fn overlap([a0, b0, a1, b1]: [f32; 4], [c0, d0, c1, d1]: [f32; 4]) -> bool {
    a1.min(c1) - a0.max(c0) > 0.5 && b1.min(d1) - b0.max(d0) > 0.5
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Labelled, Modality, PatchLabel, Role, TokenLabel, Unit};

    use super::{Cells, Heat};

    fn patch(image: usize, tile: usize, row: usize, col: usize, side: f32) -> PatchLabel {
        let (x, y) = (col as f32 * side, row as f32 * side);
        PatchLabel { image, tile, frame: 0, row, col, bbox: [x, y, x + side, y + side] }
    }

    fn table(axes: Vec<Axis>) -> Labelled {
        let len = axes.iter().map(Axis::len).product();
        Labelled::numbers("t", Unit::Logit, axes, vec![0.0; len]).unwrap()
    }

    #[test]
    fn tiles_that_cover_the_same_pixels_stand_apart() {
        // the whole picture in one patch, then its four quarters as tiles
        let mut patches = vec![patch(0, 0, 0, 0, 16.0)];
        patches.extend((0..4).map(|i| PatchLabel { tile: 1 + i, ..patch(0, 0, i / 2, i % 2, 8.0) }));
        let heat = Heat::of(&table(vec![Axis::patches(patches)])).unwrap();
        let names: Vec<&str> = heat.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["tile 0", "tiles 1–4"]);
        let Cells::Boxes(boxes) = &heat.groups[1].layers[0].cells else { panic!() };
        assert_eq!(boxes[3], (4, [8.0, 8.0, 16.0, 16.0]));
    }

    #[test]
    fn pictures_lie_side_by_side_in_one_group() {
        let tokens = [patch(0, 0, 0, 0, 8.0), patch(2, 0, 0, 0, 8.0)]
            .map(|patch| TokenLabel::new("<image>", Modality::Image).with_patch(patch));
        let mut tokens = tokens.to_vec();
        tokens.insert(0, TokenLabel::new("look", Modality::Text));
        let heat = Heat::of(&table(vec![Axis::count(Role::Layer, 3), Axis::tokens(tokens)])).unwrap();
        assert_eq!((heat.axes.clone(), heat.images(), heat.groups.len()), (vec![1], vec![0, 2], 1));
        assert_eq!(heat.groups[0].layers[0].cells, Cells::Boxes(vec![(1, [0.0, 0.0, 8.0, 8.0])]));
    }

    #[test]
    fn only_positions_on_pictures_count() {
        let mut tokens = vec![TokenLabel::new("a", Modality::Text); 3];
        tokens[1].patch = Some(patch(0, 0, 0, 0, 8.0));
        // [layer 2, token 3, step 2]: token 1 stands at 2, 3 and at 8, 9
        let axes = vec![Axis::count(Role::Layer, 2), Axis::tokens(tokens), Axis::count(Role::Step, 2)];
        let table = Labelled::numbers("t", Unit::Logit, axes, (0..12u8).map(f32::from).collect()).unwrap();
        let heat = Heat::of(&table).unwrap();
        assert_eq!(heat.groups[0].maps(&table, &heat.axes), [[2.0], [3.0], [8.0], [9.0]]);
    }

    #[test]
    fn rows_and_columns_need_spans_of_one_picture() {
        let spans = |role, image| Axis::spans(role, image, vec![[0.0, 4.0], [4.0, 8.0]]);
        let heat = Heat::of(&table(vec![spans(Role::Column, 1), spans(Role::Row, 1)])).unwrap();
        assert_eq!((heat.axes, heat.groups[0].layers[0].image), (vec![1, 0], 1));
        assert_eq!(Heat::of(&table(vec![spans(Role::Column, 1), spans(Role::Row, 0)])), None);
        assert_eq!(Heat::of(&table(vec![Axis::count(Role::Row, 2), spans(Role::Column, 0)])), None);
        assert_eq!(Heat::of(&table(vec![Axis::count(Role::Patch, 2)])), None);
    }
}
