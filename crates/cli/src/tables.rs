//! Tables as a terminal shows them.

use anyhow::Result;
use mmlens::finding::{Axis, Labelled, Labels, TokenLabel, Values, fixed};

use crate::print;

/// So many values of a list are shown.
const MOST_ROWS: usize = 40;
/// So many rows of a grid are shown.
const MOST_LINES: usize = 64;
/// So many of the largest are shown of what does not fit.
const LARGEST: usize = 10;
/// Columns of what is no terminal.
const WIDTH: usize = 120;
/// The most characters of a label or a text.
const LONGEST: usize = 40;

/// Prints a table: one value; a list, in order or the largest first; a grid, where it fits; of all others the largest values, and
/// `more`, which says how to get the rest.
pub(crate) fn table(table: &Labelled, more: &str) -> Result<()> {
    print::line(heading(table))?;
    if table.is_empty() {
        return print::line("no values");
    }
    let shown = Shown::of(table);
    match table.axes() {
        [] => print::line(shown.cells.concat()),
        [only] => list(table, &shown, &[labels(only)], MOST_ROWS, more),
        [rows, columns] => match grid(rows, columns, &shown) {
            Some(lines) => lines.into_iter().try_for_each(print::line),
            None => largest(table, &shown, more),
        },
        _ => largest(table, &shown, more),
    }
}

/// The name of a table, its unit and its axes.
pub(crate) fn heading(table: &Labelled) -> String {
    let axes = table.axes().iter().map(|axis| axis.role.name()).collect::<Vec<_>>().join(" x ");
    let along = if axes.is_empty() { axes } else { format!(", {axes}") };
    match table.values() {
        Values::Numbers(_) => format!("`{}` in {}{along}", print::visible(table.name()), table.unit()),
        Values::Texts(_) => format!("`{}`, texts{along}", print::visible(table.name())),
    }
}

/// Values as they are shown, in their order.
struct Shown {
    cells: Vec<String>,
    /// Numbers are lined up by their last digit.
    numbers: bool,
}

impl Shown {
    fn of(table: &Labelled) -> Self {
        match table.values() {
            Values::Numbers(values) => {
                let digits = Digits::of(values);
                Self { cells: values.iter().map(|value| digits.show(*value)).collect(), numbers: true }
            }
            Values::Texts(texts) => {
                Self { cells: texts.iter().map(|text| short(text)).collect(), numbers: false }
            }
        }
    }
}

/// How the numbers of a table are written: all with as many places, so that the largest has four digits.
enum Digits {
    Places(usize),
    Powers,
}

impl Digits {
    fn of(values: &[f32]) -> Self {
        // no NaN: filtered
        let largest = values.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f32::max);
        if largest == 0.0 {
            return Self::Places(0);
        }
        let places = 3 - largest.log10().floor() as i32;
        usize::try_from(places.max(0))
            .ok()
            .filter(|places| *places < 7 && largest < 1e7)
            .map_or(Self::Powers, Self::Places)
    }

    fn show(&self, value: f32) -> String {
        match self {
            Self::Places(places) if value.is_finite() => fixed(value, *places),
            // A negative zero and zero are zero.
            Self::Powers if value.is_finite() => format!("{:.3e}", value + 0.0),
            _ => value.to_string(),
        }
    }
}

/// Some values, each with what stands at its place.
fn list(table: &Labelled, shown: &Shown, labels: &[Vec<String>], most: usize, more: &str) -> Result<()> {
    let len = shown.cells.len();
    let numbers = table.as_numbers();
    let mut order: Vec<usize> = (0..len).collect();
    let said = match (numbers, len > most) {
        (_, false) => None,
        (None, true) => Some(format!("the first {most} of {len}; {more}")),
        (Some(values), true) => {
            // What is no number comes first.
            let size = |at: &usize| {
                values.get(*at).map_or(0.0, |v| if v.is_nan() { f32::INFINITY } else { v.abs() })
            };
            order.sort_by(|a, b| size(b).total_cmp(&size(a)));
            Some(format!("the {most} of {len} that are largest by their size; {more}"))
        }
    };
    order.truncate(most);
    let rows: Vec<(String, &str)> = order
        .iter()
        .filter_map(|at| {
            let place = unravel(*at, labels);
            let place = labels.iter().zip(place).filter_map(|(labels, at)| labels.get(at).cloned());
            Some((place.collect::<Vec<_>>().join("  "), shown.cells.get(*at)?.as_str()))
        })
        .collect();
    let wide = |texts: &mut dyn Iterator<Item = &str>| texts.map(print::width).max().unwrap_or(0);
    let label = wide(&mut rows.iter().map(|(label, _)| label.as_str()));
    let cell = if shown.numbers { wide(&mut rows.iter().map(|(_, cell)| *cell)) } else { 0 };
    for (text, value) in &rows {
        print::line(format!("{}  {}", left(text, label), right(value, cell)).trim_end())?;
    }
    said.map_or(Ok(()), |said| print::line(format!("({said})")))
}

/// The largest values of a table of several axes; of texts how to get them.
fn largest(table: &Labelled, shown: &Shown, more: &str) -> Result<()> {
    if !shown.numbers {
        return print::line(format!("({} texts, too many to show; {more})", table.len()));
    }
    let named =
        |axis: &Axis| labels(axis).into_iter().map(|label| format!("{} {label}", axis.role)).collect();
    let labels: Vec<Vec<String>> = table.axes().iter().map(named).collect();
    list(table, shown, &labels, LARGEST, more)
}

/// A table of two axes as lines, if they fit.
fn grid(rows: &Axis, columns: &Axis, shown: &Shown) -> Option<Vec<String>> {
    if rows.len() > MOST_LINES {
        return None;
    }
    let (names, heads) = (labels(rows), labels(columns));
    let lines: Vec<&[String]> = shown.cells.chunks(columns.len()).collect();
    let stub = names.iter().map(|name| print::width(name)).max().unwrap_or(0);
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(at, head)| {
            let cells = lines.iter().filter_map(|line| line.get(at)).map(|cell| print::width(cell));
            cells.chain([print::width(head)]).max().unwrap_or(0)
        })
        .collect();
    if stub + widths.iter().map(|wide| wide + 2).sum::<usize>()
        > print::columns_of_terminal().unwrap_or(WIDTH)
    {
        return None;
    }
    let line = |name: &str, cells: &[String]| {
        let cells = cells.iter().zip(&widths);
        let cells =
            cells.map(|(cell, wide)| if shown.numbers { right(cell, *wide) } else { left(cell, *wide) });
        let cells: Vec<String> = std::iter::once(left(name, stub)).chain(cells).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let body = names.iter().zip(&lines).map(|(name, cells)| line(name, cells));
    Some(std::iter::once(line("", &heads)).chain(body).collect())
}

/// What stands at each position of an axis. A token has its position before it, since texts repeat; one that shows a part of a picture
/// is called by that.
pub(crate) fn labels(axis: &Axis) -> Vec<String> {
    let token = |(at, token): (usize, &TokenLabel)| match token.patch {
        Some(patch) => format!("{at} {patch}"),
        None => format!("{at} {}", short(&token.text)),
    };
    match &axis.labels {
        Labels::Tokens(tokens) => tokens.iter().enumerate().map(token).collect(),
        _ => (0..axis.len()).filter_map(|at| axis.label(at)).map(|label| short(&label)).collect(),
    }
}

/// A text on one line, cut if it is long.
pub(crate) fn short(text: &str) -> String {
    let line = print::visible(text).replace('\n', "\\n");
    if print::width(&line) <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// The position on each axis of a place among the values.
fn unravel(mut at: usize, labels: &[Vec<String>]) -> Vec<usize> {
    let mut place: Vec<usize> = labels
        .iter()
        .rev()
        .map(|labels| {
            let len = labels.len().max(1);
            let index = at % len;
            at /= len;
            index
        })
        .collect();
    place.reverse();
    place
}

fn left(text: &str, wide: usize) -> String {
    text.to_owned() + &" ".repeat(wide.saturating_sub(print::width(text)))
}

fn right(text: &str, wide: usize) -> String {
    " ".repeat(wide.saturating_sub(print::width(text))) + text
}

#[cfg(test)]
mod tests {
    use mmlens::finding::{Modality, PatchLabel, Role};

    use super::*;

    #[test]
    fn the_largest_number_has_four_digits_and_the_others_as_many_places() {
        let shown = |values: &[f32]| -> Vec<String> {
            let digits = Digits::of(values);
            values.iter().map(|value| digits.show(*value)).collect()
        };
        assert_eq!(shown(&[12.345_678, -0.5]), ["12.35", "-0.50"]);
        assert_eq!(shown(&[0.012_346, f32::NAN]), ["0.01235", "NaN"]);
        assert_eq!(shown(&[123_456.0]), ["123456"]);
        assert_eq!(shown(&[1.5e-9, 0.0]), ["1.500e-9", "0.000e0"]);
        assert_eq!(shown(&[1.5e12]), ["1.500e12"]);
        assert_eq!(shown(&[0.0]), ["0"]);
    }

    #[test]
    fn tokens_are_told_by_position_and_patches_by_place() {
        let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 1, col: 2, bbox: [0.0; 4] };
        let tokens = vec![
            TokenLabel::new("<image>", Modality::Image).with_patch(patch),
            TokenLabel::new("a\n\u{1b}[2J", Modality::Text),
        ];
        assert_eq!(labels(&Axis::tokens(tokens)), ["0 image 0 row 1 column 2", "1 a\\n\\u{1b}[2J"]);
        assert_eq!(short(&"é".repeat(41)), "é".repeat(39) + "…");
        assert_eq!(unravel(5, &[vec![String::new(); 2], vec![String::new(); 3]]), [1, 2]);
    }

    #[test]
    fn a_grid_that_does_not_fit_is_none() {
        let shown = |len: usize| Shown { cells: vec!["0.25".to_owned(); len], numbers: true };
        let (rows, columns) = (Axis::names(Role::Layer, ["a", "bb"]), Axis::names(Role::Head, ["x", "long"]));
        assert_eq!(
            grid(&rows, &columns, &shown(4)).unwrap(),
            ["       x  long", "a   0.25  0.25", "bb  0.25  0.25"]
        );
        assert!(grid(&rows, &Axis::count(Role::Head, 21), &shown(42)).is_none(), "2 + 21 * 6 = 128");
        assert!(grid(&Axis::count(Role::Layer, 65), &columns, &shown(130)).is_none());
    }
}
