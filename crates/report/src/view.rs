//! Which picture a table gets: decided by the roles of its axes alone.

use mmlens_finding::{Labelled, Labels, Role};

use crate::crops::holds_pictures;
use crate::heat::Heat;

/// More lines than this in one curve cannot be told apart.
const MOST_LINES: usize = 5;
/// A table of numbers with more columns than this is drawn as a map.
const MOST_COLUMNS: usize = 12;
const MOST_ROWS: usize = 200;

/// How a table is drawn. Axes are given by their number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum View {
    /// One number.
    Scalar,
    /// Laid over the pictures.
    Overlay(Heat),
    /// The tokens of this axis, coloured.
    Tokens(usize),
    /// Words by depth and position, with the numbers of another table of the same axes.
    Lens { rows: usize, columns: usize, rank: Option<usize>, numbers: Option<usize> },
    /// Small pictures.
    Crops,
    /// A map of two axes.
    Map { rows: usize, columns: usize },
    /// A line along one axis, or one for each position of another.
    Curve { along: usize, lines: Option<usize> },
    /// Rows and columns of text, with the numbers of another table of the same axes.
    Plain { numbers: Option<usize> },
    /// Named only.
    TooLarge,
}

/// The views of all tables of a finding, each with the number of its table. `on_page` tells whether a picture of
/// the page lies under a heat map, `fits` whether there is room for the table of a number.
pub(crate) fn views(
    tables: &[&Labelled],
    on_page: &dyn Fn(&Heat) -> bool,
    fits: &dyn Fn(usize) -> bool,
) -> Vec<(usize, View)> {
    let companions: Vec<Option<usize>> = tables.iter().map(|table| companion(tables, table)).collect();
    let taken = |i: usize| companions.contains(&Some(i));
    let mut views = Vec::new();
    for (i, (table, numbers)) in tables.iter().zip(&companions).enumerate() {
        if !fits(i) {
            views.push((i, View::TooLarge));
        } else if !taken(i) {
            let numbers = numbers.filter(|numbers| fits(*numbers));
            views.extend(of_table(table, numbers, on_page).into_iter().map(|view| (i, view)));
        }
    }
    views
}

/// Where the numbers stand that belong to a table of texts.
fn companion(tables: &[&Labelled], texts: &Labelled) -> Option<usize> {
    let numbers = texts.companion(tables.iter().copied())?;
    tables.iter().position(|table| std::ptr::eq(*table, numbers))
}

fn of_table(table: &Labelled, numbers: Option<usize>, on_page: &dyn Fn(&Heat) -> bool) -> Vec<View> {
    if table.as_texts().is_some() {
        return vec![words(table, numbers)];
    }
    if table.rank() == 0 {
        return vec![View::Scalar];
    }
    if holds_pictures(table) {
        return vec![View::Crops];
    }
    let heat = Heat::of(table).filter(on_page);
    let mut views = Vec::new();
    views.extend(tokens(table).map(View::Tokens));
    if !(heat.as_ref().is_some_and(|heat| covers(table, heat)) || table.rank() == 1 && !views.is_empty()) {
        views.push(numeric(table));
    }
    views.extend(heat.map(View::Overlay));
    views
}

/// Whether the picture alone says all: nothing is left but rows and columns, patches, or one axis to choose from.
fn covers(table: &Labelled, heat: &Heat) -> bool {
    let places = |axis: usize| {
        table.axes().get(axis).is_some_and(|a| matches!(a.role, Role::Patch | Role::Row | Role::Column))
    };
    table.rank() == heat.axes.len() || heat.axes.iter().all(|axis| places(*axis))
}

/// The axis of tokens, where everything else is few enough to choose from.
fn tokens(table: &Labelled) -> Option<usize> {
    let axis = table.axes().iter().rposition(|axis| {
        axis.role == Role::Token && matches!(axis.labels, Labels::Tokens(_) | Labels::Names(_))
    })?;
    let choice = |role| matches!(role, Role::Step | Role::Concept | Role::Pair | Role::Sample);
    let mut others = table.axes().iter().enumerate().filter(|(i, _)| *i != axis);
    others.all(|(_, axis)| choice(axis.role)).then_some(axis)
}

fn words(table: &Labelled, numbers: Option<usize>) -> View {
    let rank = table.axes().iter().rposition(|axis| axis.role == Role::Rank);
    let rest: Vec<usize> = (0..table.rank()).filter(|axis| Some(*axis) != rank).collect();
    let role = |axis: usize| table.axes().get(axis).map(|axis| axis.role);
    let deep = |axis: usize| matches!(role(axis), Some(Role::Layer | Role::Step | Role::Head));
    match rest.as_slice() {
        [a, b] if role(*b) == Some(Role::Token) || deep(*a) => {
            View::Lens { rows: *a, columns: *b, rank, numbers }
        }
        [a, b] if role(*a) == Some(Role::Token) || deep(*b) => {
            View::Lens { rows: *b, columns: *a, rank, numbers }
        }
        _ => View::Plain { numbers },
    }
}

fn numeric(table: &Labelled) -> View {
    let role = |axis: usize| table.axes().get(axis).map(|axis| axis.role);
    let len = |axis: usize| table.axes().get(axis).map_or(0, mmlens_finding::Axis::len);
    let runs_on =
        |axis: usize| matches!(role(axis), Some(Role::Layer | Role::Step | Role::Frame)) && len(axis) > 1;
    let few = |axis: usize| {
        let kinds = [Role::Concept, Role::Sample, Role::Pair, Role::Image, Role::Channel];
        role(axis).is_some_and(|role| kinds.contains(&role)) && len(axis) <= MOST_LINES
    };
    let named = |axis: usize| {
        let kinds =
            [Role::Concept, Role::Sample, Role::Pair, Role::Image, Role::Channel, Role::Rank, Role::Feature];
        role(axis).is_some_and(|role| kinds.contains(&role))
    };
    match table.rank() {
        1 if runs_on(0) => View::Curve { along: 0, lines: None },
        1 => View::Plain { numbers: None },
        2 if runs_on(0) && few(1) => View::Curve { along: 0, lines: Some(1) },
        2 if runs_on(1) && few(0) => View::Curve { along: 1, lines: Some(0) },
        2 if named(0) && named(1) && len(0) <= MOST_ROWS && len(1) <= MOST_COLUMNS => {
            View::Plain { numbers: None }
        }
        rank => {
            let first =
                |wanted: &[Role]| (0..rank).find(|axis| role(*axis).is_some_and(|r| wanted.contains(&r)));
            let columns = first(&[Role::Token]).or_else(|| first(&[Role::Key])).unwrap_or(rank - 1);
            let rows = first(&[Role::Query])
                .or_else(|| first(&[Role::Layer]))
                .filter(|rows| *rows != columns)
                .unwrap_or(if columns == rank - 1 { rank - 2 } else { rank - 1 });
            View::Map { rows, columns }
        }
    }
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Labelled, Modality, PatchLabel, Role, TokenLabel, Unit};

    use super::{View, views};

    fn numbers(axes: &[Axis]) -> Labelled {
        let len = axes.iter().map(Axis::len).product();
        Labelled::numbers("n", Unit::Probability, axes.to_vec(), vec![0.0; len]).unwrap()
    }

    fn texts(axes: &[Axis]) -> Labelled {
        let len = axes.iter().map(Axis::len).product();
        Labelled::texts("t", axes.to_vec(), vec![String::new(); len]).unwrap()
    }

    fn layers() -> Axis {
        Axis::count(Role::Layer, 4)
    }

    fn patch() -> PatchLabel {
        PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: 0, bbox: [0.0, 0.0, 1.0, 1.0] }
    }

    fn tokens(places: bool) -> Axis {
        let token = TokenLabel::new("x", Modality::Text);
        Axis::tokens(vec![if places { token.with_patch(patch()) } else { token }; 3])
    }

    fn seen(tables: &[Labelled], on_page: bool) -> Vec<(usize, View)> {
        views(&tables.iter().collect::<Vec<_>>(), &|_| on_page, &|_| true)
    }

    fn kinds(tables: &[Labelled]) -> Vec<&'static str> {
        let name = |view: &View| match view {
            View::Scalar => "scalar",
            View::Overlay(_) => "overlay",
            View::Tokens(_) => "tokens",
            View::Lens { .. } => "lens",
            View::Crops => "crops",
            View::Map { .. } => "map",
            View::Curve { .. } => "curve",
            View::Plain { .. } => "plain",
            View::TooLarge => "too large",
        };
        seen(tables, true).iter().map(|(_, view)| name(view)).collect()
    }

    #[test]
    fn roles_decide() {
        assert_eq!(kinds(&[Labelled::scalar("s", Unit::Logit, 1.0)]), ["scalar"]);
        assert_eq!(kinds(&[numbers(&[layers()])]), ["curve"]);
        assert_eq!(kinds(&[numbers(&[Axis::names(Role::Concept, ["a", "b"]), layers()])]), ["curve"]);
        assert_eq!(kinds(&[numbers(&[tokens(false)])]), ["tokens"]);
        assert_eq!(kinds(&[numbers(&[tokens(true)])]), ["tokens", "overlay"]);
        assert_eq!(kinds(&[numbers(&[Axis::patches(vec![patch(); 2])])]), ["overlay"]);
        assert_eq!(kinds(&[numbers(&[layers(), Axis::patches(vec![patch(); 2])])]), ["overlay"]);
        assert_eq!(kinds(&[numbers(&[layers(), tokens(false)])]), ["map"]);
        assert_eq!(kinds(&[numbers(&[layers(), tokens(true)])]), ["map", "overlay"]);
        assert_eq!(kinds(&[numbers(&[Axis::count(Role::Step, 2), tokens(false)])]), ["tokens", "map"]);
        assert_eq!(kinds(&[numbers(&[layers(), Axis::count(Role::Head, 2)])]), ["map"]);
        assert_eq!(kinds(&[numbers(&[Axis::names(Role::Feature, ["a"])])]), ["plain"]);
        assert_eq!(kinds(&[texts(&[Axis::count(Role::Sample, 2)])]), ["plain"]);
        let pixels = [Role::Row, Role::Column].map(|role| Axis::count(role, 2));
        let [rows, columns] = pixels;
        let crops = [Axis::names(Role::Neuron, ["1.2"]), rows, columns, Axis::count(Role::Channel, 3)];
        assert_eq!(kinds(&[numbers(&crops)]), ["crops"]);
        let large = numbers(&[layers()]);
        assert_eq!(views(&[&large], &|_| true, &|_| false), [(0, View::TooLarge)]);
    }

    #[test]
    fn a_lens_takes_the_numbers_beside_it() {
        let axes = [layers(), tokens(true), Axis::count(Role::Rank, 5)];
        let found = seen(&[numbers(&axes), texts(&axes)], true);
        let lens = View::Lens { rows: 0, columns: 1, rank: Some(2), numbers: Some(0) };
        assert_eq!(found, [(1, lens)]);
        let turned = [tokens(false), layers()];
        let lens = View::Lens { rows: 1, columns: 0, rank: None, numbers: None };
        assert_eq!(seen(&[texts(&turned)], true), [(0, lens)]);
    }

    #[test]
    fn a_map_puts_depth_down_and_positions_across() {
        let map = |axes: &[Axis]| seen(&[numbers(axes)], false)[0].1.clone();
        assert_eq!(map(&[tokens(false), layers()]), View::Map { rows: 1, columns: 0 });
        assert_eq!(map(&[layers(), Axis::count(Role::Head, 2)]), View::Map { rows: 0, columns: 1 });
        let attention =
            [layers(), Axis::count(Role::Head, 2), Axis::count(Role::Query, 3), Axis::count(Role::Key, 3)];
        assert_eq!(map(&attention), View::Map { rows: 2, columns: 3 });
    }

    #[test]
    fn without_its_picture_a_heat_map_is_still_shown() {
        let found = seen(&[numbers(&[Axis::patches(vec![patch(); 2])])], false);
        assert_eq!(found, [(0, View::Plain { numbers: None })]);
    }
}
