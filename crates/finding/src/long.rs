//! A table in long form: one row for each value, which is what programs for tables read.

use std::borrow::Cow;

use crate::{Axis, HeardPlace, HeardSpans, HeardUnit, Labelled, Labels, PatchLabel, TokenLabel, Values};

/// What the columns of a stretch of time are called.
const SECONDS: [&str; 2] = ["_from_seconds", "_to_seconds"];
/// Those of a band of frequencies.
const HERTZ: [&str; 2] = ["_from_hertz", "_to_hertz"];

/// A table in long form: one row for each value, in the order of the values. See [`Labelled::long`].
#[derive(Debug, Clone, PartialEq)]
pub struct Long<'a> {
    columns: Vec<Column<'a>>,
    rows: usize,
}

/// A column of a table in long form.
#[derive(Debug, Clone, PartialEq)]
pub struct Column<'a> {
    name: String,
    cells: Cells<'a>,
    /// So many rows follow one another with the same cell.
    repeats: usize,
}

/// What a column holds. Of an axis this is one cell for each of its positions, however many rows lie there.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Cells<'a> {
    /// Texts: labels, or the values of a table of texts.
    Texts(Cow<'a, [String]>),
    /// Whole numbers, where there is one.
    Whole(Vec<Option<u64>>),
    /// Pixels of a picture, where the position lies in one.
    Pixels(Vec<Option<f32>>),
    /// The values of a table of numbers.
    Numbers(&'a [f32]),
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Cell<'a> {
    /// A text.
    Text(&'a str),
    /// A whole number.
    Whole(u64),
    /// A number.
    Number(f32),
    /// Nothing: a token that shows no part of a picture has no row there.
    Empty,
}

impl<'a> Long<'a> {
    /// The columns, those of the axes first; the last is `value`, or `text` of a table of texts.
    #[must_use]
    pub fn columns(&self) -> &[Column<'a>] {
        &self.columns
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }
}

impl Column<'_> {
    /// Its name: `layer`, `layer_index`, `patch_row`, `value`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    #[must_use]
    pub const fn cells(&self) -> &Cells<'_> {
        &self.cells
    }

    /// Which of its cells stands in a row.
    #[must_use]
    pub const fn place(&self, row: usize) -> usize {
        match self.cells.len() {
            0 => 0,
            len => row / self.repeats % len,
        }
    }

    /// What stands in a row; nothing past the last.
    #[must_use]
    pub fn cell(&self, row: usize) -> Cell<'_> {
        let at = self.place(row);
        let cell = match &self.cells {
            Cells::Texts(texts) => texts.get(at).map(|text| Cell::Text(text)),
            Cells::Whole(numbers) => numbers.get(at).copied().flatten().map(Cell::Whole),
            Cells::Pixels(pixels) => pixels.get(at).copied().flatten().map(Cell::Number),
            Cells::Numbers(numbers) => numbers.get(at).copied().map(Cell::Number),
        };
        cell.unwrap_or(Cell::Empty)
    }
}

impl Cells<'_> {
    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Texts(Cow::Borrowed(texts)) => texts.len(),
            Self::Texts(Cow::Owned(texts)) => texts.len(),
            Self::Whole(numbers) => numbers.len(),
            Self::Pixels(pixels) => pixels.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether some are missing.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        match self {
            Self::Texts(_) | Self::Numbers(_) => false,
            Self::Whole(numbers) => numbers.contains(&None),
            Self::Pixels(pixels) => pixels.contains(&None),
        }
    }
}

impl Labelled {
    /// The table in long form. Each axis is a column of its role, with the labels, and one with `_index`, the position from 0;
    /// of several axes of one role the second is called `token_2` and so on. Positions in pictures have columns for where that
    /// is: `_image`, and for patches `_tile`, `_frame`, `_row`, `_column` and the box `_x0`, `_y0`, `_x1`, `_y1`, for rows
    /// and columns of a heat map `_from` and `_to`, in pixels of the original picture. Where the picture is the spectrogram of a
    /// recording they have what that stands for, too: `_from_seconds`, `_to_seconds`, and of what does not have all frequencies
    /// `_from_hertz`, `_to_hertz`. Tokens have `_modality`, and `_id` where they have one.
    ///
    /// # Memory
    /// One cell for each position of an axis; the values are not copied.
    #[must_use]
    pub fn long(&self) -> Long<'_> {
        let mut columns = Vec::new();
        let mut repeats = self.len();
        for (at, axis) in self.axes().iter().enumerate() {
            repeats = repeats.checked_div(axis.len()).unwrap_or(0);
            let before = self.axes().iter().take(at).filter(|other| other.role == axis.role).count();
            let role = match before {
                0 => axis.role.name().to_owned(),
                before => format!("{}_{}", axis.role.name(), before + 1),
            };
            let of_axis = of_axis(axis).into_iter();
            columns.extend(of_axis.map(|(end, cells)| Column {
                name: format!("{role}{end}"),
                cells,
                repeats,
            }));
        }
        let (name, cells) = match self.values() {
            Values::Numbers(numbers) => ("value", Cells::Numbers(numbers)),
            Values::Texts(texts) => ("text", Cells::Texts(Cow::Borrowed(texts))),
        };
        columns.push(Column { name: name.to_owned(), cells, repeats: 1 });
        Long { columns, rows: self.len() }
    }
}

/// The columns of an axis: what their names end with, and a cell for each position.
fn of_axis(axis: &Axis) -> Vec<(&'static str, Cells<'_>)> {
    let len = axis.len() as u64;
    let labels: Vec<String> = (0..axis.len()).filter_map(|at| axis.label(at)).collect();
    let mut columns =
        vec![("", Cells::Texts(Cow::Owned(labels))), ("_index", Cells::Whole((0..len).map(Some).collect()))];
    match &axis.labels {
        Labels::Count(_) | Labels::Names(_) => {}
        Labels::Tokens(tokens) => columns.extend(of_tokens(tokens)),
        Labels::Patches(patches) => columns.extend(of_patches(patches.iter().map(Some))),
        Labels::Spans { image, spans, heard } => {
            let bounds = |spans: &[[f32; 2]], end: fn(&[f32; 2]) -> f32| {
                Cells::Pixels(spans.iter().map(|s| Some(end(s))).collect())
            };
            columns.push(("_image", Cells::Whole(vec![Some(*image as u64); spans.len()])));
            columns.push(("_from", bounds(spans, |[from, _]| *from)));
            columns.push(("_to", bounds(spans, |[_, to]| *to)));
            if let Some(HeardSpans { unit, spans }) = heard {
                let [from, to] = match unit {
                    HeardUnit::Seconds => SECONDS,
                    HeardUnit::Hertz => HERTZ,
                };
                columns.push((from, bounds(spans, |[from, _]| *from)));
                columns.push((to, bounds(spans, |[_, to]| *to)));
            }
        }
    }
    columns
}

fn of_tokens(tokens: &[TokenLabel]) -> Vec<(&'static str, Cells<'_>)> {
    let modality = tokens.iter().map(|token| token.modality.name().to_owned()).collect();
    let mut columns = vec![("_modality", Cells::Texts(Cow::Owned(modality)))];
    if tokens.iter().any(|token| token.id.is_some()) {
        columns.push(("_id", Cells::Whole(tokens.iter().map(|token| token.id.map(u64::from)).collect())));
    }
    if tokens.iter().any(|token| token.patch.is_some()) {
        columns.extend(of_patches(tokens.iter().map(|token| token.patch.as_ref())));
    }
    let heard = |of: &dyn Fn(HeardPlace) -> Option<[f32; 2]>, end: fn([f32; 2]) -> f32| {
        Cells::Pixels(tokens.iter().map(|token| token.heard.and_then(of).map(end)).collect())
    };
    let mut bounds = |[from, to]: [&'static str; 2], of: &dyn Fn(HeardPlace) -> Option<[f32; 2]>| {
        if tokens.iter().any(|token| token.heard.and_then(of).is_some()) {
            columns.push((from, heard(of, |[from, _]| from)));
            columns.push((to, heard(of, |[_, to]| to)));
        }
    };
    bounds(SECONDS, &|own| Some(own.seconds));
    bounds(HERTZ, &|own| own.hertz);
    columns
}

fn of_patches<'a>(
    patches: impl Iterator<Item = Option<&'a PatchLabel>> + Clone,
) -> Vec<(&'static str, Cells<'static>)> {
    let whole = |of: fn(&PatchLabel) -> usize| {
        Cells::Whole(patches.clone().map(|patch| patch.map(|patch| of(patch) as u64)).collect())
    };
    let pixels =
        |of: fn(&PatchLabel) -> f32| Cells::Pixels(patches.clone().map(|patch| patch.map(of)).collect());
    vec![
        ("_image", whole(|patch| patch.image)),
        ("_tile", whole(|patch| patch.tile)),
        ("_frame", whole(|patch| patch.frame)),
        ("_row", whole(|patch| patch.row)),
        ("_column", whole(|patch| patch.col)),
        ("_x0", pixels(|patch| patch.bbox[0])),
        ("_y0", pixels(|patch| patch.bbox[1])),
        ("_x1", pixels(|patch| patch.bbox[2])),
        ("_y1", pixels(|patch| patch.bbox[3])),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Cell;
    use crate::{Axis, Labelled, Modality, PatchLabel, Role, SoundScale, TokenLabel, Unit};

    fn names(table: &Labelled) -> Vec<String> {
        table.long().columns().iter().map(|column| column.name().to_owned()).collect()
    }

    fn column<'a>(long: &'a super::Long<'_>, name: &str) -> Vec<Cell<'a>> {
        let column = long.columns().iter().find(|column| column.name() == name).unwrap();
        (0..long.rows()).map(|row| column.cell(row)).collect()
    }

    #[test]
    fn axes_are_columns_and_every_value_a_row() {
        let axes = vec![Axis::count(Role::Layer, 2), Axis::names(Role::Concept, ["a", "b", "c"])];
        let table = Labelled::numbers("t", Unit::Logit, axes, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(names(&table), ["layer", "layer_index", "concept", "concept_index", "value"]);
        let long = table.long();
        let whole = |cells: [u64; 6]| cells.map(Cell::Whole).to_vec();
        assert_eq!(column(&long, "layer_index"), whole([0, 0, 0, 1, 1, 1]));
        assert_eq!(column(&long, "concept_index"), whole([0, 1, 2, 0, 1, 2]));
        assert_eq!(column(&long, "concept"), ["a", "b", "c", "a", "b", "c"].map(Cell::Text));
        assert_eq!(column(&long, "value"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0].map(Cell::Number));
    }

    #[test]
    fn a_patch_has_its_place_and_a_word_has_none() {
        let patch = PatchLabel { image: 1, tile: 2, frame: 3, row: 4, col: 5, bbox: [6.0, 7.0, 8.0, 9.5] };
        let tokens = vec![
            TokenLabel::new("<image>", Modality::Image).with_patch(patch),
            TokenLabel::new("red", Modality::Text).with_id(7),
        ];
        let table = Labelled::numbers("t", Unit::Logit, vec![Axis::tokens(tokens)], vec![1.0, 2.0]).unwrap();
        let long = table.long();
        let places = [("image", 1), ("tile", 2), ("frame", 3), ("row", 4), ("column", 5)];
        for (name, expected) in places {
            assert_eq!(
                column(&long, &format!("token_{name}")),
                [Cell::Whole(expected), Cell::Empty],
                "{name}"
            );
        }
        for (name, expected) in [("x0", 6.0), ("y0", 7.0), ("x1", 8.0), ("y1", 9.5)] {
            assert_eq!(
                column(&long, &format!("token_{name}")),
                [Cell::Number(expected), Cell::Empty],
                "{name}"
            );
        }
        assert_eq!(column(&long, "token_id"), [Cell::Empty, Cell::Whole(7)]);
        assert_eq!(column(&long, "token_modality"), [Cell::Text("image"), Cell::Text("text")]);
        let patches =
            Labelled::numbers("t", Unit::Logit, vec![Axis::patches(vec![patch])], vec![1.0]).unwrap();
        assert_eq!(column(&patches.long(), "patch_y1"), [Cell::Number(9.5)]);
    }

    /// A token that holds the place of a part of a recording is called by its time; a part with a name of its own keeps it.
    #[test]
    fn a_part_of_a_recording_has_its_time() {
        let patch = PatchLabel { image: 1, tile: 0, frame: 0, row: 0, col: 22, bbox: [88.0, 0.0, 92.0, 4.0] };
        let scale = SoundScale { step: 0.01, window: 0.025, hertz: vec![1600., 800., 400., 200., 100., 0.] };
        let heard = |text: &str, bbox| {
            TokenLabel::new(text, Modality::Audio).with_patch(patch).with_heard(scale.place(1, bbox))
        };
        let tokens = vec![
            heard("<|AUDIO|>", patch.bbox).with_id(4),
            TokenLabel::new("red", Modality::Text).with_id(7),
        ];
        let table =
            |tokens| Labelled::numbers("t", Unit::Logit, vec![Axis::tokens(tokens)], vec![1.0, 2.0]).unwrap();
        let own = table(tokens);
        let long = own.long();
        assert_eq!(column(&long, "token"), [Cell::Text("recording 1, 0.88–0.92 s"), Cell::Text("red")]);
        for (name, wanted) in [("from_seconds", 0.88), ("to_seconds", 0.92), ("x0", 88.0)] {
            assert_eq!(
                column(&long, &format!("token_{name}")),
                [Cell::Number(wanted), Cell::Empty],
                "{name}"
            );
        }
        assert!(!names(&own).iter().any(|name| name.ends_with("hertz")), "{:?}", names(&own));
        let cells = table(vec![heard("hiss", patch.bbox), heard("", [88.0, 0.5, 92.0, 1.5]).with_id(4)]);
        let long = cells.long();
        assert_eq!(
            column(&long, "token"),
            [Cell::Text("hiss"), Cell::Text("recording 1, 0.88–0.92 s, 400–800 Hz")]
        );
        assert_eq!(column(&long, "token_from_hertz"), [Cell::Empty, Cell::Number(400.0)]);
        assert_eq!(column(&long, "token_to_hertz"), [Cell::Empty, Cell::Number(800.0)]);
    }

    #[test]
    fn rows_of_a_heat_map_have_their_extent() {
        let rows = Axis::spans(Role::Row, 1, vec![[0.0, 8.0], [8.0, 16.5]]);
        let table = Labelled::texts("t", vec![rows], vec!["x".to_owned(), "y".to_owned()]).unwrap();
        assert_eq!(names(&table), ["row", "row_index", "row_image", "row_from", "row_to", "text"]);
        let long = table.long();
        assert_eq!(column(&long, "row_to"), [Cell::Number(8.0), Cell::Number(16.5)]);
        assert_eq!(column(&long, "row_image"), [Cell::Whole(1); 2]);
        assert_eq!(column(&long, "text"), [Cell::Text("x"), Cell::Text("y")]);
    }

    #[test]
    fn axes_of_one_role_are_told_apart_and_a_scalar_has_none() {
        let axes = vec![Axis::count(Role::Concept, 1), Axis::count(Role::Concept, 1)];
        let table = Labelled::numbers("t", Unit::Logit, axes, vec![1.0]).unwrap();
        assert_eq!(names(&table), ["concept", "concept_index", "concept_2", "concept_2_index", "value"]);
        let scalar = Labelled::scalar("s", Unit::Logit, 2.0);
        assert_eq!((names(&scalar), scalar.long().rows()), (vec!["value".to_owned()], 1));
        let none = Labelled::numbers("n", Unit::Logit, vec![Axis::count(Role::Layer, 0)], vec![]).unwrap();
        assert_eq!((names(&none).len(), none.long().rows()), (3, 0));
    }

    proptest! {
        /// The indices of a row are those of its value, whatever the lengths of the axes.
        #[test]
        fn a_row_leads_back_to_its_value(lengths in prop::collection::vec(1usize..5, 0..4)) {
            let roles = [Role::Layer, Role::Head, Role::Token, Role::Vocab];
            let axes: Vec<Axis> = lengths.iter().zip(roles).map(|(len, role)| Axis::count(role, *len)).collect();
            let len: usize = lengths.iter().product();
            let numbers = (0..len).map(|at| at as f32).collect();
            let table = Labelled::numbers("t", Unit::None, axes, numbers).unwrap();
            let long = table.long();
            prop_assert_eq!(long.rows(), len);
            for row in 0..len {
                let ends = |column: &&super::Column<'_>| column.name().ends_with("_index");
                let index: Vec<usize> = long.columns().iter().filter(ends).map(|column| match column.cell(row) {
                    Cell::Whole(at) => at as usize,
                    other => panic!("{other:?}"),
                }).collect();
                prop_assert_eq!(table.get(&index), Some(row as f32));
            }
        }
    }
}
