//! Holds every fixture against its traces and writes what came out to `crates/zoo/src/checked.json`.
//!
//! ```text
//! cargo run --release --example check_models && cargo xtask models
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mmlens::files::write;
use mmlens::zoo::certify::{Certificate, Kind, certify};
use mmlens::zoo::families::{Checked, FAMILIES, Largest};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let fixtures = root.join("oracles/fixtures");
    let mut all: Vec<Checked> = Vec::new();
    for family in FAMILIES {
        let mut checked = Checked {
            family: family.name.to_owned(),
            model_types: family.model_types.iter().map(ToString::to_string).collect(),
            fixtures: Vec::new(),
            traces: 0,
            sites: 0,
            activations: Largest::default(),
            gradients: Largest::default(),
            tokens: 0,
            limits: family.limits.iter().map(ToString::to_string).collect(),
        };
        let mut sites = BTreeSet::new();
        for folder in sorted(&fixtures)? {
            let model = folder.join("model");
            if !model.join("config.json").exists()
                || !checked.model_types.contains(&mmlens::zoo::model_type(&model)?)
            {
                continue;
            }
            let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let subject = mmlens::zoo::open(&model, &Default::default()).with_context(|| name.clone())?;
            let traces =
                sorted(&folder)?.into_iter().filter(|f| f.extension().is_some_and(|e| e == "safetensors"));
            for trace in traces {
                let certificate = certify(subject.as_ref(), &trace, &fixtures.join("pictures"))
                    .with_context(|| trace.display().to_string())?;
                ensure!(certificate.passed(), "{} is out of bounds", trace.display());
                checked.traces += 1;
                add(&mut checked, &mut sites, &name, &certificate);
            }
            checked.fixtures.push(name);
        }
        checked.sites = sites.len();
        if !checked.fixtures.is_empty() {
            println!("{}: {} traces", checked.family, checked.traces);
            all.push(checked);
        }
    }
    let file = root.join("crates/zoo/src/checked.json");
    Ok(write(&file, serde_json::to_string_pretty(&all)? + "\n")?)
}

fn add(checked: &mut Checked, sites: &mut BTreeSet<String>, fixture: &str, certificate: &Certificate) {
    for compared in &certificate.compared {
        let relative = compared.relative();
        let largest = match compared.kind {
            Kind::Activations => &mut checked.activations,
            Kind::Gradients => &mut checked.gradients,
            Kind::Ids | Kind::Pixels | Kind::Spectrograms => {
                // Pixels and spectrograms are sites as well as inputs.
                sites.extend(compared.name.contains('.').then(|| without_block(&compared.name)));
                if compared.name == "generated" {
                    checked.tokens += 1;
                }
                continue;
            }
        };
        // no NaN: a certificate compares finite numbers
        if relative > largest.error {
            *largest = Largest { error: two_digits(relative), at: format!("{fixture} {}", compared.name) };
        }
        if compared.kind == Kind::Activations {
            sites.insert(without_block(&compared.name));
        }
    }
}

/// Blocks are not told apart.
fn without_block(site: &str) -> String {
    let numbered = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    site.split('.').map(|part| if numbered(part) { "*" } else { part }).collect::<Vec<_>>().join(".")
}

/// Rounded up, so that no error is larger than what is written.
fn two_digits(x: f64) -> f64 {
    let unit = 10_f64.powf(x.log10().floor() - 1.0);
    format!("{:.1e}", (x / unit).ceil() * unit).parse().unwrap_or(x)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}
