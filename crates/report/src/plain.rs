//! Tables as tables, single numbers as a list, provenance at the foot.

use std::collections::BTreeMap;
use std::fmt::Write;

use mmlens_finding::{Labelled, Provenance, Unit, Values};

use crate::html::{number, text, words};

/// Rows beyond these are counted, not shown.
const MOST_ROWS: usize = 60;
const MOST_COLUMNS: usize = 40;

/// Single numbers as names and values.
pub(crate) fn scalars(entries: &str) -> String {
    format!(r#"<dl class="scalars">{entries}</dl>"#)
}

/// A single number under its name; with the number of its table in the data, the script says it by answer token.
pub(crate) fn scalar(name: &str, table: &Labelled, live: Option<usize>) -> String {
    let value = number(table.as_scalar().unwrap_or(f32::NAN));
    let unit = match table.unit() {
        Unit::None | Unit::Count => String::new(),
        unit => format!(" <small>{unit}</small>"),
    };
    let live = live.map_or_else(String::new, |id| format!(r#" data-scalar="{id}""#));
    format!("<div><dt>{}</dt><dd{live}>{value}{unit}</dd></div>", text(name))
}

/// Any table as rows and columns; `numbers` has the same axes and stands beside the texts.
pub(crate) fn plain(table: &Labelled, numbers: Option<&Labelled>) -> String {
    if table.is_empty() {
        return "<p class=\"note\">No values.</p>".to_owned();
    }
    let (html, hidden) = match table.shape().as_slice() {
        [rows, columns] if *columns <= MOST_COLUMNS => grid(table, numbers, *rows, *columns),
        _ => list(table, numbers),
    };
    let more = match hidden {
        0 => String::new(),
        hidden => format!(r#"<p class="note">{hidden} more in the file of the finding.</p>"#),
    };
    let name = text(&words(table.name()));
    format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table class="plain">{html}</table></div>{more}"#
    )
}

fn cell(table: &Labelled, numbers: Option<&Labelled>, index: &[usize]) -> String {
    match table.values() {
        Values::Numbers(_) => {
            format!(r#"<td class="n">{}</td>"#, number(table.get(index).unwrap_or(f32::NAN)))
        }
        _ => {
            let word = text(table.get_text(index).unwrap_or_default());
            let beside = numbers.and_then(|numbers| numbers.get(index));
            let beside = beside.map(|v| format!(r#" <small>{}</small>"#, number(v))).unwrap_or_default();
            format!(r#"<td><span class="word">{word}</span>{beside}</td>"#)
        }
    }
}

fn label(table: &Labelled, axis: usize, index: usize) -> String {
    text(&table.axes().get(axis).and_then(|axis| axis.label(index)).unwrap_or_default())
}

fn role(table: &Labelled, axis: usize) -> &'static str {
    table.axes().get(axis).map_or("", |axis| axis.role.name())
}

fn grid(table: &Labelled, numbers: Option<&Labelled>, rows: usize, columns: usize) -> (String, usize) {
    let mut html = format!(r#"<thead><tr><th scope="col">{} \ {}</th>"#, role(table, 0), role(table, 1));
    let head = if table.as_numbers().is_some() { r#" class="n""# } else { "" };
    for column in 0..columns {
        let _ = write!(html, r#"<th scope="col"{head}>{}</th>"#, label(table, 1, column));
    }
    html.push_str("</tr></thead><tbody>");
    for row in 0..rows.min(MOST_ROWS) {
        let _ = write!(html, r#"<tr><th scope="row">{}</th>"#, label(table, 0, row));
        for column in 0..columns {
            html.push_str(&cell(table, numbers, &[row, column]));
        }
        html.push_str("</tr>");
    }
    (html + "</tbody>", rows.saturating_sub(MOST_ROWS))
}

/// One row for each value: in order while they are few, the largest by magnitude first where they are many.
fn list(table: &Labelled, numbers: Option<&Labelled>) -> (String, usize) {
    let shape = table.shape();
    let mut order: Vec<usize> = (0..table.len()).collect();
    let values = table.as_numbers().unwrap_or_default();
    if table.len() > MOST_ROWS && !values.is_empty() {
        let size = |i: &usize| values.get(*i).map_or(f32::NAN, |v| if v.is_nan() { -1.0 } else { v.abs() });
        order.sort_by(|a, b| size(b).total_cmp(&size(a)));
    }
    let signed = values.iter().any(|v| *v < 0.0);
    // no NaN: the scale of what is drawn
    let most = values.iter().filter(|v| v.is_finite()).fold(0.0f32, |most, v| most.max(v.abs()));
    let mut html = String::from("<thead><tr>");
    for axis in 0..shape.len() {
        let _ = write!(html, r#"<th scope="col">{}</th>"#, role(table, axis));
    }
    let unit = if table.unit() == Unit::None { "" } else { table.unit().name() };
    let head = if values.is_empty() { "<th scope=\"col\">" } else { "<th scope=\"col\" class=\"n\">" };
    let space = if values.is_empty() { "" } else { "<td></td>" };
    let _ = write!(html, "{head}{unit}</th>{space}</tr></thead><tbody>");
    for place in order.iter().take(MOST_ROWS) {
        let index = unravel(*place, &shape);
        html.push_str("<tr>");
        for (axis, i) in index.iter().enumerate() {
            let _ = write!(html, r#"<th scope="row">{}</th>"#, label(table, axis, *i));
        }
        html.push_str(&cell(table, numbers, &index));
        if let Some(value) = values.get(*place) {
            html.push_str(&bar(*value, most, signed));
        }
        html.push_str("</tr>");
    }
    (html + "</tbody>", table.len().saturating_sub(MOST_ROWS))
}

fn unravel(mut place: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, len) in index.iter_mut().zip(shape).rev() {
        *slot = place % len.max(&1);
        place /= len.max(&1);
    }
    index
}

/// A bar as long as the value is large, against the largest of the table.
fn bar(value: f32, most: f32, signed: bool) -> String {
    let share = if most > 0.0 && !value.is_nan() { (value.abs() / most).min(1.0) * 100.0 } else { 0.0 };
    let sign = match (signed, value < 0.0) {
        (false, _) => "",
        (true, false) => " positive",
        (true, true) => " negative",
    };
    format!(
        r#"<td class="bar{sign}"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect width="{share:.1}" height="8"/></svg></td>"#
    )
}

/// How a finding came to be, folded away.
pub(crate) fn provenance(
    provenance: &Provenance,
    tables: &[Labelled],
    names: &BTreeMap<String, String>,
) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            rows.push((name.to_owned(), value.to_owned()));
        }
    };
    row("method", &provenance.method);
    for (name, value) in &provenance.settings {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        row(&format!("· {name}"), &value);
    }
    row("subject", &provenance.subject);
    row("weights", &provenance.weights_hash);
    let alterations = provenance.alterations.join("; ");
    row("alterations", if alterations.is_empty() { "none: weights as published" } else { &alterations });
    let named = |site: &String| match names.get(site) {
        Some(name) => format!("{site} ({name})"),
        None => site.clone(),
    };
    row("sites", &provenance.sites.iter().map(named).collect::<Vec<_>>().join(", "));
    row("objective", provenance.objective.as_deref().unwrap_or_default());
    row("baseline", provenance.baseline.as_deref().unwrap_or_default());
    row("seed", &provenance.seed.map(|seed| seed.to_string()).unwrap_or_default());
    row("dtype", &provenance.dtype);
    row("device", &provenance.device);
    row("version", &provenance.version);
    row("tables", &tables.iter().map(describe).collect::<Vec<_>>().join("; "));
    let list: String =
        rows.iter().map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>", text(name), text(value))).collect();
    let summary = text(&words(&provenance.method));
    let subject = text(&provenance.subject);
    format!("<details><summary>{summary} <span>{subject}</span></summary><dl>{list}</dl></details>")
}

/// Name, axes and unit of a table.
fn describe(table: &Labelled) -> String {
    format!("{} ({})", table.name(), caption(table))
}

/// Axes and unit of a table: `layer × token, logit`.
pub(crate) fn caption(table: &Labelled) -> String {
    let roles: Vec<&str> = table.axes().iter().map(|axis| axis.role.name()).collect();
    let unit = if table.unit() == Unit::None { "" } else { table.unit().name() };
    let parts = [roles.join(" × "), unit.to_owned()];
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Labelled, Provenance, Role, Unit};

    use super::{BTreeMap, caption, plain, provenance};

    #[test]
    fn names_and_texts_are_escaped() {
        let hostile = "<script>alert(1)</script>";
        let axis = Axis::names(Role::Concept, [hostile]);
        let table = Labelled::texts(hostile, vec![axis], vec![hostile.to_owned()]).unwrap();
        let scalar = Labelled::scalar(hostile, Unit::Logit, 1.0);
        let source = Provenance::new(hostile, hostile).with_setting(hostile, hostile);
        let scalar = super::scalar(hostile, &scalar, None);
        for html in [plain(&table, None), scalar, provenance(&source, &[table], &BTreeMap::new())] {
            assert!(html.contains("cript&gt;alert(1)&lt;/script&gt;"), "{html}");
            assert!(!html.contains("<script"), "{html}");
        }
    }

    #[test]
    fn many_rows_are_ranked_and_counted() {
        let values: Vec<f32> = (0..100u8).map(|i| if i == 77 { -500.0 } else { f32::from(i) }).collect();
        let table =
            Labelled::numbers("n", Unit::Activation, vec![Axis::count(Role::Neuron, 100)], values).unwrap();
        let html = plain(&table, None);
        assert!(html.contains(r#"<tbody><tr><th scope="row">77</th><td class="n">−500</td>"#), "{html}");
        assert!(html.contains("40 more in the file of the finding."));
        assert_eq!(caption(&table), "neuron, activation");
    }

    #[test]
    fn two_axes_make_a_grid_and_numbers_stand_beside_words() {
        let axes = vec![Axis::count(Role::Sample, 1), Axis::count(Role::Rank, 2)];
        let texts = Labelled::texts("w", axes.clone(), vec!["cat".to_owned(), "dog".to_owned()]).unwrap();
        let numbers = Labelled::numbers("p", Unit::Probability, axes, vec![0.75, 0.2]).unwrap();
        let html = plain(&texts, Some(&numbers));
        assert!(html.contains("<span class=\"word\">dog</span> <small>0.200</small>"), "{html}");
    }

    #[test]
    fn odd_tables_are_drawn() {
        let empty = Labelled::numbers("e", Unit::Logit, vec![Axis::count(Role::Sample, 0)], vec![]).unwrap();
        let deep =
            vec![Axis::count(Role::Sample, 1), Axis::count(Role::Feature, 0), Axis::count(Role::Rank, 2)];
        let deep = Labelled::numbers("d", Unit::Logit, deep, vec![]).unwrap();
        let nan =
            Labelled::numbers("n", Unit::Logit, vec![Axis::count(Role::Sample, 1)], vec![f32::NAN]).unwrap();
        assert!(plain(&nan, None).contains("no value"));
        for table in [empty, deep, nan] {
            assert!(!plain(&table, None).contains("NaN"));
        }
    }
}
