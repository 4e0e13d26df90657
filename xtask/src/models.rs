//! `docs/models.md`: what was checked of every family of models, from `crates/zoo/src/checked.json`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

const CHECKED: &str = "crates/zoo/src/checked.json";
const PAGE: &str = "docs/models.md";
const AGAIN: &str = "cargo run --release --example check_models && cargo xtask models";

/// Writes the page.
pub(crate) fn write(root: &Path) -> Result<(), String> {
    let page = page(&read(root)?)?;
    fs::write(root.join(PAGE), page).map_err(|e| format!("{PAGE}: {e}"))
}

/// What is out of date, and how many families there are.
pub(crate) fn faults(root: &Path) -> Result<(Vec<String>, usize), String> {
    let families = read(root)?;
    let mut faults = Vec::new();
    let found = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    if found != page(&families)? {
        faults.push(format!("{PAGE} is not what {CHECKED} gives: run `cargo xtask models`"));
    }
    let mut named = BTreeSet::new();
    let mut traces = 0;
    for family in &families {
        named.extend(texts(family, "fixtures")?);
        traces += number(family, "traces")? as usize;
    }
    let (mut here, mut traced) = (BTreeSet::new(), 0);
    let folder = root.join("oracles/fixtures");
    for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten() {
        if entry.path().join("model/config.json").exists() {
            here.insert(entry.file_name().to_string_lossy().into_owned());
            let files = fs::read_dir(entry.path()).map_err(|e| format!("{}: {e}", entry.path().display()))?;
            traced +=
                files.flatten().filter(|f| f.path().extension().is_some_and(|e| e == "safetensors")).count();
        }
    }
    if named != here || traces != traced {
        let other: Vec<&String> = named.symmetric_difference(&here).collect();
        faults.push(format!(
            "{CHECKED} tells of {traces} traces, there are {traced}; fixtures that are not in both: {other:?}; run `{AGAIN}`"
        ));
    }
    Ok((faults, families.len()))
}

fn read(root: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read(root.join(CHECKED)).map_err(|e| format!("{CHECKED}: {e}"))?;
    serde_json::from_slice(&text).map_err(|e| format!("{CHECKED}: {e}"))
}

fn page(families: &[Value]) -> Result<String, String> {
    let mut page = format!(
        "# Models\n\n\
         Made by `{AGAIN}`; not written by hand. `mmlens sites MODEL` says the same of a model.\n\n\
         Every checkpoint here is tiny and random, so that every path is cheap to compare; of your own, `mmlens certify` says it.\n\
         An error is a difference from transformers over the largest value beside it, at its position or of its head. Bounds: 1e-4 for\n\
         activations, 1e-3 for gradients; token ids and greedy tokens are equal.\n\n\
         | family | `model_type` | checkpoints | passes | sites | largest error of activations | of gradients | known limits |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for family in families {
        let ticked = texts(family, "model_types")?.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>();
        let row = [
            text(family, "family")?,
            ticked.join(" "),
            texts(family, "fixtures")?.len().to_string(),
            number(family, "traces")?.to_string(),
            number(family, "sites")?.to_string(),
            largest(family, "activations")?,
            largest(family, "gradients")?,
            texts(family, "limits")?.join("; "),
        ];
        writeln!(page, "| {} |", row.join(" | ")).map_err(|e| e.to_string())?;
    }
    page.push_str(
        "\nWhat is compared at each site, and with which samples: [oracles/README.md](../oracles/README.md).\n",
    );
    Ok(page)
}

fn missing(field: &str) -> String {
    format!("{CHECKED}: a family lacks `{field}`")
}

fn text(family: &Value, field: &str) -> Result<String, String> {
    family[field].as_str().map(str::to_owned).ok_or_else(|| missing(field))
}

fn texts(family: &Value, field: &str) -> Result<Vec<String>, String> {
    let all = family[field].as_array().ok_or_else(|| missing(field))?;
    all.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(|| missing(field))).collect()
}

fn number(family: &Value, field: &str) -> Result<u64, String> {
    family[field].as_u64().ok_or_else(|| missing(field))
}

fn largest(family: &Value, field: &str) -> Result<String, String> {
    let error = family[field]["error"].as_f64().ok_or_else(|| missing(field))?;
    let at = family[field]["at"].as_str().ok_or_else(|| missing(field))?;
    Ok(if at.is_empty() { "none taken".to_owned() } else { format!("{error:.1e} ({at})") })
}
