//! `mmlens diff`: two findings side by side, and the exit status of commands that judge.

use std::fs;
use std::path::{Path, PathBuf};

use mmlens::finding::{Axis, Finding, Labelled, Provenance, Role, Unit};

use crate::support::{Said, findings, mmlens};

fn diff(left: &Path, right: &Path, more: &[&str]) -> Said {
    mmlens(["diff", left.to_str().unwrap(), right.to_str().unwrap()].iter().chain(more))
}

fn saved(folder: &Path, name: &str, layers: &[&str], values: &[f32]) -> PathBuf {
    let axis = Axis::names(Role::Layer, layers.iter().copied());
    let table = Labelled::numbers("effect", Unit::Logit, vec![axis], values.to_vec()).unwrap();
    let provenance = Provenance::new("by-hand", "none").with_setting("layers", layers.len());
    let file = folder.join(name);
    Finding::new(provenance, vec![table]).unwrap().save(&file).unwrap();
    file
}

#[test]
fn the_same_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let left = saved(folder.path(), "a", &["0", "1"], &[1.0, 2.0]);
    let right = folder.path().join("b");
    fs::copy(&left, &right).unwrap();
    let said = diff(&left, &right, &[]).well();
    let verdict = format!("{} and {}: the same, bit by bit", left.display(), right.display());
    assert_eq!(said, format!("`effect`: 2 numbers, all the same\n{verdict}\n"));
    assert_eq!(diff(&left, &right, &["--json"]).json()["same"], true);
}

#[test]
fn what_differs_is_told_where_both_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let left = saved(folder.path(), "a", &["0", "1", "2", "3"], &[1.0, 2.0, -3.0, 9.0]);
    let right = saved(folder.path(), "b", &["1", "2", "0"], &[2.0, 1.0, 1.5]);
    let said = diff(&left, &right, &[]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    // Of 0, 1 and 2: [1, 2, -3] and [1.5, 2, 1]; deviations [1, 2, -3] and [0, .5, -.5], 2.5 / sqrt(14 * 0.5); the ranks are [2, 3, 1] both.
    let expected = format!(
        "settings.layers: 4 and 3
`effect`: 2 of 3 numbers differ
  most at layer 2: -3.0 and 1.0, by 4.000e0 logit, 1.33e0 of the largest value
  correlation 0.944911, of ranks 1.000000, 1 sign turned
  left out: layer 3, in A alone
{} and {}: not the same
",
        left.display(),
        right.display()
    );
    assert_eq!(said.out, expected);
    let json = diff(&left, &right, &["--json"]);
    assert_eq!(json.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let table = &json["tables"][0];
    assert_eq!(
        (&json["same"], &json["made"][0]["field"], &table["table"]),
        (&false.into(), &"settings.layers".into(), &"effect".into())
    );
    assert_eq!(table["axes"][0]["left_only"], serde_json::json!(["3"]));
    assert_eq!(
        (&table["numbers"]["differ"], &table["numbers"]["largest"]["difference"]),
        (&2.into(), &4.0.into())
    );
}

#[test]
fn a_tolerance_is_a_share_of_the_largest_value() {
    let folder = tempfile::tempdir().unwrap();
    let left = saved(folder.path(), "a", &["0", "1"], &[4.0, 1.0]);
    // 0.03125 of 4 is 0.0078125.
    let right = saved(folder.path(), "b", &["0", "1"], &[4.0, 1.031_25]);
    assert_eq!(diff(&left, &right, &["--tolerance", "0.0078"]).code, Some(1));
    let said = diff(&left, &right, &["--tolerance", "0.0079"]).well();
    assert!(said.ends_with("the same within 7.9e-3\n"), "{said}");
    let wrong = diff(&left, &right, &["--tolerance", "-1"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    // What only one has is within no tolerance.
    let short = saved(folder.path(), "c", &["0"], &[4.0]);
    assert_eq!(diff(&left, &short, &["--tolerance", "10"]).code, Some(1));
}

#[test]
fn what_cannot_be_compared_has_a_status_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let left = saved(folder.path(), "a", &["0"], &[1.0]);
    let gone = folder.path().join("gone");
    let said = diff(&left, &gone, &[]).not_judged();
    assert!(said.starts_with(&format!("cannot read finding {}: ", gone.display())), "{said}");
    let heads =
        Labelled::numbers("effect", Unit::Logit, vec![Axis::count(Role::Head, 1)], vec![1.0]).unwrap();
    let other = folder.path().join("heads");
    let more = Labelled::scalar("more", Unit::Logit, 1.0);
    Finding::new(Provenance::new("by-hand", "none"), vec![heads, more]).unwrap().save(&other).unwrap();
    let said = diff(&left, &other, &[]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("`effect`: not compared: axes `layer[1]` against `head[1]`\n"), "{}", said.out);
    assert!(said.out.contains(&format!("`more` is in {} alone\n", other.display())), "{}", said.out);
}

#[test]
fn runs_with_other_settings_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let few = findings(folder.path(), "few", "ig", &["--set", "ig.steps=8"]).join("ig.safetensors");
    let many = findings(folder.path(), "many", "ig", &["--set", "ig.steps=16"]).join("ig.safetensors");
    let json = diff(&few, &many, &["--json"]);
    assert_eq!(json.code, Some(1), "{json:?}");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["made"], serde_json::json!([{"field": "settings.steps", "left": 8, "right": 16}]));
    let tables = json["tables"].as_array().unwrap();
    let compared = tables.iter().filter_map(|table| table["numbers"]["compared"].as_u64()).sum::<u64>();
    assert!(compared > 100, "{compared}");
    assert!(
        tables.iter().any(|table| table["numbers"]["spearman"].as_f64().is_some_and(|r| r > 0.5)),
        "{json}"
    );
}
