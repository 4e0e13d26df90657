//! Tables as a terminal shows them.

use anyhow::Result;
use mmlens::finding::{Axis, Labelled, Labels, Role, TokenLabel, Values, fixed};

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

/// So many texts of one place are shown.
const MOST_TEXTS: usize = 5;

/// Prints a table: one value; a list, in order or the largest first; a grid, where it fits; of all others the largest values, and
/// `more`, which says how to get the rest. Texts are as large as the numbers that belong to them, which are looked for among `tables`.
pub(crate) fn table(table: &Labelled, tables: &[Labelled], more: &str) -> Result<()> {
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
            None => largest(table, tables, &shown, more),
        },
        _ => largest(table, tables, &shown, more),
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

/// The largest values of a table of several axes.
fn largest(table: &Labelled, tables: &[Labelled], shown: &Shown, more: &str) -> Result<()> {
    let named =
        |axis: &Axis| labels(axis).into_iter().map(|label| format!("{} {label}", axis.role)).collect();
    let labels: Vec<Vec<String>> = table.axes().iter().map(named).collect();
    if shown.numbers {
        return list(table, shown, &labels, LARGEST, more);
    }
    let (rows, said) = texts(table, table.companion(tables.iter()), &shown.cells, &labels);
    let places = rows.iter().map(|[place, _]| print::width(place)).max().unwrap_or(0);
    for [place, told] in &rows {
        print::line(format!("{}  {told}", left(place, places)).trim_end())?;
    }
    print::line(format!("({said}; {more})"))
}

/// The first of many texts, those with the largest numbers, each with its number: texts that are ranked stand on one line. And how many
/// there are.
fn texts(
    table: &Labelled,
    numbers: Option<&Labelled>,
    cells: &[String],
    labels: &[Vec<String>],
) -> (Vec<[String; 2]>, String) {
    let values = numbers.and_then(Labelled::as_numbers).unwrap_or_default();
    let digits = Digits::of(values);
    let ranked = table.axes().last().is_some_and(|axis| axis.role == Role::Rank);
    let each = if ranked { table.shape().last().copied().unwrap_or(1).max(1) } else { 1 };
    let size = |line: usize| {
        values.get(line * each).map_or(0.0, |v| if v.is_nan() { f32::INFINITY } else { v.abs() })
    };
    let count = cells.len().div_ceil(each);
    let mut lines: Vec<usize> = (0..count).collect();
    lines.sort_by(|a, b| size(*b).total_cmp(&size(*a)));
    let outer = labels.get(..labels.len() - usize::from(ranked)).unwrap_or_default();
    let row = |line: &usize| {
        let from = line * each;
        let cells = cells.get(from..(from + each).min(cells.len())).unwrap_or_default();
        // Where there are fewer than ranks the others are empty.
        let said = cells.iter().zip(from..).filter(|(cell, _)| each == 1 || !cell.is_empty());
        let told = said.clone().take(MOST_TEXTS).map(|(cell, at)| match values.get(at) {
            Some(value) => format!("{cell} {}", digits.show(*value)),
            None => cell.clone(),
        });
        let mut told: Vec<String> = told.collect();
        if let Some(left @ 1..) = said.count().checked_sub(MOST_TEXTS) {
            told.push(format!("{left} more"));
        }
        let place = outer.iter().zip(unravel(*line, outer));
        let place = place.filter_map(|(labels, at)| labels.get(at).cloned());
        [place.collect::<Vec<_>>().join("  "), told.join(", ")]
    };
    let (shown, all) = (lines.len().min(LARGEST), cells.len());
    let which = if shown < count { format!("{shown} of {count} places") } else { format!("{count} places") };
    let by = numbers.map(|own| format!(", the largest by `{}` first", print::visible(own.name())));
    let said = format!("{which}{}; {all} texts in all", by.unwrap_or_else(|| ", in order".to_owned()));
    (lines.iter().take(LARGEST).map(row).collect(), said)
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
/// or recording is called by that.
pub(crate) fn labels(axis: &Axis) -> Vec<String> {
    let token = |(at, token): (usize, &TokenLabel)| match token.place() {
        Some(place) => format!("{at} {}", short(&place)),
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
    use mmlens::finding::{HeardPlace, Modality, PatchLabel, Unit};

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
        let heard = HeardPlace { recording: 0, seconds: [0.88, 0.92], hertz: None };
        let part = |text| TokenLabel::new(text, Modality::Audio).with_patch(patch).with_heard(heard);
        let tokens = vec![part("<|AUDIO|>").with_id(4), part("recording 0")];
        assert_eq!(labels(&Axis::tokens(tokens)), ["0 recording 0, 0.88–0.92 s", "1 recording 0"]);
        assert_eq!(short(&"é".repeat(41)), "é".repeat(39) + "…");
        assert_eq!(unravel(5, &[vec![String::new(); 2], vec![String::new(); 3]]), [1, 2]);
    }

    #[test]
    fn of_many_texts_those_that_weigh_most_are_shown_and_all_are_counted() {
        let named = |axes: &[Axis]| -> Vec<Vec<String>> {
            let label = |axis: &Axis| labels(axis).iter().map(|own| format!("{} {own}", axis.role)).collect();
            axes.iter().map(label).collect()
        };
        let axes = vec![Axis::count(Role::Sample, 12), Axis::count(Role::Rank, 7)];
        let cells: Vec<String> =
            (0..84).map(|at| if at == 83 { String::new() } else { format!("t{at}") }).collect();
        let weights = (0..84u8).map(|at| f32::from(at / 7) - 0.25 * f32::from(at % 7)).collect();
        let words = Labelled::texts("words", axes.clone(), cells.clone()).unwrap();
        let weights = Labelled::numbers("weights", Unit::None, axes.clone(), weights).unwrap();
        let (rows, said) = texts(&words, Some(&weights), &cells, &named(&axes));
        assert_eq!(said, "10 of 12 places, the largest by `weights` first; 84 texts in all");
        assert_eq!(rows.len(), 10);
        // The last of the largest has no text and is not counted.
        let first = "t77 11.00, t78 10.75, t79 10.50, t80 10.25, t81 10.00, 1 more";
        assert_eq!(rows[0], ["sample 11".to_owned(), first.to_owned()]);
        assert!(rows[9][0] == "sample 2" && rows[9][1].ends_with("2 more"), "{:?}", rows[9]);
        let (rows, said) = texts(&words, None, &cells, &named(&axes));
        assert_eq!((rows[0][1].as_str(), rows[1][0].as_str()), ("t0, t1, t2, t3, t4, 2 more", "sample 1"));
        assert_eq!(said, "10 of 12 places, in order; 84 texts in all");
        // Texts that are not ranked stand each at its place.
        let axes = vec![Axis::count(Role::Layer, 2), Axis::count(Role::Head, 2)];
        let cells = ["a", "", "c", "d"].map(str::to_owned);
        let words = Labelled::texts("words", axes.clone(), cells.to_vec()).unwrap();
        let weights =
            Labelled::numbers("weights", Unit::None, axes.clone(), vec![0.0, 2.0, -3.0, 1.0]).unwrap();
        let (rows, said) = texts(&words, Some(&weights), &cells, &named(&axes));
        let told: Vec<String> = rows.iter().map(|row| row.join(": ")).collect();
        let wanted = [
            "layer 1  head 0: c -3.000",
            "layer 0  head 1:  2.000",
            "layer 1  head 1: d 1.000",
            "layer 0  head 0: a 0.000",
        ];
        assert_eq!(told, wanted);
        assert_eq!(said, "4 places, the largest by `weights` first; 4 texts in all");
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
