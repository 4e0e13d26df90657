//! What sites contribute along paths from their baselines, as tables: gradient methods whose shares should add up show them alike.

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{AnalysisError, Answer, Card, TokenMap};
use mmlens_engine::{End, Path, PathIntegral, label};
use serde_json::Value;

use crate::check::setting;

/// What is found along some paths: for every site sums over what belongs together, what each path says of itself behind `places`, and aside
/// single coordinates.
pub(crate) fn shown(
    walked: &[Path],
    unit: Unit,
    map: &TokenMap,
    places: Vec<Labelled>,
) -> Result<Vec<Labelled>, AnalysisError> {
    let along = || walked.iter().flat_map(|path| &path.along);
    let mut tables = Vec::new();
    for along in along() {
        let name = along.spec.site.to_string();
        tables.extend(label::tables(&name, unit, &along.spec, &along.dims, &along.values, map)?);
    }
    // Sums over what belongs together are the answer, single coordinates are kept beside.
    let (mut tables, single): (Vec<Labelled>, Vec<Labelled>) =
        tables.into_iter().partition(|table| !table.is_aside());
    let totals = along().map(|along| along.total() as f32).collect();
    let names = Axis::names(Role::Concept, along().map(|along| along.spec.site.to_string()));
    tables.push(Labelled::numbers("by site", unit, vec![names], totals)?);
    tables.extend(places);
    tables.extend(summary(walked, unit)?);
    tables.extend(single);
    Ok(tables)
}

/// Where each path begins, in words.
pub(crate) fn beginnings(paths: &[PathIntegral], map: &TokenMap) -> String {
    let ends = paths.iter().flat_map(|path| &path.ends);
    let each: Vec<String> =
        ends.map(|end| format!("{}: {}", end.site, end.baseline.describe(end.site))).collect();
    let apart = if paths.len() > 1 { "; each alone, while the other is as it was given" } else { "" };
    let reply = if map.reply().is_empty() { "" } else { "; tokens of the answer stay as they are" };
    each.join("; ") + apart + reply
}

/// An answer with the sites that moved as `along` among its settings, whichever way they were named.
pub(crate) fn settled(card: &Card, answer: Answer, paths: &[PathIntegral]) -> Result<Answer, AnalysisError> {
    let ends: Vec<&End> = paths.iter().flat_map(|path| &path.ends).collect();
    let ends = serde_json::to_value(&ends).map_err(|error| setting(card, "along", error, "it is written"))?;
    Ok(answer.settled("along", ends).settled("sites", Value::Null))
}

/// The sites that move along a path, in words.
pub(crate) fn moved(path: &Path) -> String {
    path.along.iter().map(|along| along.spec.site.to_string()).collect::<Vec<_>>().join(" + ")
}

/// The completeness gap over the change, without sign.
pub(crate) fn relative_gap(path: &Path) -> f32 {
    over_change(path.gap(), path.change())
}

/// What the panels of an adaptive path miss, without their signs, over the change.
pub(crate) fn panel_gaps(path: &Path) -> Option<f32> {
    path.missed.map(|missed| over_change(missed, path.change()))
}

/// What is missed, over the change, without sign.
pub(crate) fn over_change(missed: f64, change: f64) -> f32 {
    let change = change.abs().max(f64::from(f32::MIN_POSITIVE));
    if missed == 0.0 { 0.0 } else { (missed.abs() / change).min(f64::from(f32::MAX)) as f32 }
}

/// One entry for each path; no axis for one alone.
pub(crate) fn over_paths(paths: &[Path]) -> Vec<Axis> {
    match paths {
        [_] => Vec::new(),
        paths => vec![Axis::names(Role::Concept, paths.iter().map(moved))],
    }
}

/// What each path says of itself; of several, one value for each.
fn summary(paths: &[Path], unit: Unit) -> Result<Vec<Labelled>, AnalysisError> {
    let over = over_paths(paths);
    let each = |name: &str, unit, value: &dyn Fn(&Path) -> f32| {
        Labelled::numbers(name, unit, over.clone(), paths.iter().map(value).collect())
    };
    let mut tables = vec![
        Labelled::scalar("objective", unit, paths.first().map_or(f32::NAN, |path| path.at_input)),
        each("objective at baseline", unit, &|path| path.at_baseline)?,
        each("completeness gap", unit, &|path| path.gap() as f32)?,
        each("relative completeness gap", Unit::Ratio, &relative_gap)?,
    ];
    let missed: Option<Vec<f32>> = paths.iter().map(panel_gaps).collect();
    if let Some(missed) = missed {
        tables.push(Labelled::numbers("missed by panels", Unit::Ratio, over.clone(), missed)?);
        tables.push(each("places", Unit::Count, &|path| path.nodes.len() as f32)?);
    }
    Ok(tables)
}
