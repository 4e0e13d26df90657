//! How far each device of this build is from the oracles, and from `flex`: the table of `docs/devices.md`.
//!
//! ```text
//! cargo run --release --target-dir target/devices --example device_table \
//!     --features mmlens/ndarray,mmlens/wgpu,mmlens/remote-server
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "devices are opened as the tests open them")]

#[path = "../crates/mmlens/tests/devices/devices.rs"]
mod devices;
#[path = "../crates/mmlens/tests/devices/folders.rs"]
mod folders;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::Device;
use mmlens::core::{Inputs, Objective, Part, Plan, Point, Site, Subject, Trace, device};
use mmlens::zoo::certify::{Kind, certify, samples};
use mmlens_testkit::{checkpoint, fixtures};

/// The largest difference, over what it is measured against, and where it is.
#[derive(Default)]
struct Largest {
    error: f64,
    at: String,
}

impl Largest {
    fn see(&mut self, error: f64, at: impl FnOnce() -> String) {
        if error > self.error {
            (self.error, self.at) = (error, at());
        }
    }

    fn shown(&self) -> String {
        match self.at.as_str() {
            "" => "0".to_owned(),
            at => format!("{:.1e} ({at})", self.error),
        }
    }
}

/// What is said of a device, in the order of the table's columns.
#[derive(Default)]
struct Row {
    activations: Largest,
    gradients: Largest,
    activations_here: Largest,
    gradients_here: Largest,
}

fn main() -> Result<()> {
    println!(
        "| device | activations, to the oracles | gradients, to the oracles | activations, to `flex` | gradients, to `flex` | s |"
    );
    println!("|---|---|---|---|---|---|");
    #[allow(unused_mut, reason = "only GPUs have adapters")]
    let mut adapters: Vec<String> = Vec::new();
    for device in devices::all() {
        let (mut row, start) = (Row::default(), Instant::now());
        for folder in folders::TOWERS.iter().chain(&folders::DECODERS).chain(&folders::BOTH) {
            measure(&mut row, folder, &device).with_context(|| (*folder).to_owned())?;
        }
        let columns = [&row.activations, &row.gradients, &row.activations_here, &row.gradients_here];
        let columns = columns.map(Largest::shown).join(" | ");
        println!("| `{}` | {columns} | {:.1} |", device::kind(&device), start.elapsed().as_secs_f64());
        #[cfg(feature = "wgpu")]
        if let Some(adapter) = device.identity() {
            adapters.push(adapter.name);
        }
    }
    println!("\nAdapters: {adapters:?}");
    Ok(())
}

fn measure(row: &mut Row, folder: &str, device: &Device) -> Result<()> {
    let subject = mmlens::zoo::open(checkpoint(folder), device)?;
    let here = mmlens::zoo::open(checkpoint(folder), &device::host())?;
    let pictures = fixtures().join("pictures");
    for trace in folders::traces(folder) {
        for compared in certify(subject.as_ref(), &trace, &pictures)?.compared {
            let column = match compared.kind {
                Kind::Activations => &mut row.activations,
                Kind::Gradients => &mut row.gradients,
                Kind::Ids | Kind::Pixels | Kind::Spectrograms => continue,
            };
            column.see(compared.relative(), || format!("{folder} {}", compared.name));
        }
        let (there, here) =
            (pass(subject.as_ref(), &trace, &pictures)?, pass(here.as_ref(), &trace, &pictures)?);
        let spec = |site: Site| subject.sites().iter().find(|spec| spec.site == site);
        for ((site, there), (_, here)) in there.values().zip(here.values()) {
            let tolerance = spec(site).context("an unpublished site")?.tolerance(&here.dims(), 0.0);
            let gap = tolerance.gap(&site.to_string(), &there.to_values()?, &here.to_values()?)?;
            row.activations_here.see(gap.relative, || format!("{folder} {site}"));
        }
        for ((site, there), (_, here)) in there.grads().zip(here.grads()) {
            let tolerance = spec(site).context("an unpublished site")?.gradient_tolerance(&here.dims(), 0.0);
            let gap = tolerance.gap(&site.to_string(), &there.to_values()?, &here.to_values()?)?;
            row.gradients_here.see(gap.relative, || format!("{folder} {site}"));
        }
    }
    Ok(())
}

/// Every site of the pass of a trace's inputs, and the gradient at its input.
fn pass(subject: &dyn Subject, trace: &Path, pictures: &Path) -> Result<Trace> {
    let singles: Result<Vec<Inputs>, _> =
        samples(trace, pictures)?.iter().map(|sample| subject.encode(sample)).collect();
    let inputs = Inputs::batch(&singles?, subject.pad())?;
    let shown = inputs.seen.values.is_some();
    let seen = |site: &Site| shown || !matches!(site.part(), Part::Vision | Part::Connector);
    let sites: Vec<Site> = subject.sites().iter().map(|spec| spec.site).filter(seen).collect();
    let mut plan = Plan::new().to_output();
    for site in &sites {
        plan = plan.read(*site)?;
    }
    let input = if shown { Point::Pixels } else { Point::Embed };
    let input = sites.iter().copied().find(|site| site.point() == input);
    let pairs = subject.sites().iter().any(|spec| spec.site.point() == Point::Projected);
    let objective = if pairs { Objective::Similarity } else { Objective::logit(3) };
    if let Some(input) = input {
        plan = plan.grad(input)?.objective(objective);
    }
    Ok(subject.run(&inputs, plan)?)
}
