//! What was learned when, by the checkpoints that were kept: of scenes with one thing, what a probe tells of it, and whether its caption fits.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use mmlens::core::{Case, Cases, On, Picture, Sample, SubjectError, Unwatched, from_fn};
use mmlens::data::shapes::{Detail, Scene, Split, World};
use mmlens::finding::Finding;
use mmlens::training::Recorder;
use mmlens::training::recorder::{Settings, Task};
use mmlens::zoo;

/// Where it is read: behind the blocks of the tower, and in the shared space.
const SITES: [&str; 2] = ["vision.blocks.*.resid_post", "vision.projected"];

/// Kept checkpoints by their steps.
fn kept(out: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let folder = out.join("kept");
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let step = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

fn captioned(scenes: Vec<Scene>) -> impl Cases {
    let count = scenes.len();
    from_fn("scenes with one thing", count, move |index| {
        let past = || SubjectError::NoCase { data: "scenes with one thing".to_owned(), index, len: count };
        let scene: &Scene = scenes.get(index).ok_or_else(past)?;
        let picture = Picture::new(format!("scene {}", scene.id), scene.render());
        Ok(Case::new(Sample::captions(picture, [scene.caption(Detail::Full).to_string()])))
    })
}

/// Records over so many scenes of the test split, writes `OUT/record.safetensors`, and gives it.
pub(crate) fn record(out: &Path, world: &World, count: usize, device: &Device) -> Result<Finding> {
    let all = (0..).map(|index| world.scene(Split::Test, index));
    let scenes: Vec<Scene> = all.filter(|scene| scene.objects.len() == 1).take(count).collect();
    let labels = |of: &dyn Fn(&mmlens::data::shapes::Object) -> usize| -> Vec<usize> {
        scenes.iter().flat_map(|scene| scene.objects.iter().map(of)).collect()
    };
    let tasks = vec![
        Task { name: "colour".to_owned(), labels: labels(&|own| own.colour as usize) },
        Task { name: "shape".to_owned(), labels: labels(&|own| own.shape as usize) },
        Task { name: "size".to_owned(), labels: labels(&|own| own.size as usize) },
    ];
    let captions: BTreeSet<String> =
        scenes.iter().map(|scene| scene.caption(Detail::Full).to_string()).collect();
    println!("{} scenes, {} captions", scenes.len(), captions.len());
    let data = captioned(scenes);
    let sites = SITES.iter().map(|site| site.parse()).collect::<Result<_, _>>()?;
    let settings = Settings { sites: Some(sites), steps: 1500, tolerance: 1e-5, ..Settings::default() };
    let mut recorder = Recorder::new(settings, &data, tasks)?;
    for (step, folder) in kept(out)? {
        recorder.record(step, &On::new(&zoo::open(folder, device)?))?;
        println!("step {step} recorded");
    }
    let finding = recorder.finish(&Unwatched)?;
    finding.save(out.join("record.safetensors"))?;
    Ok(finding)
}

/// The tables of the page.
pub(crate) fn told(finding: &Finding) -> Result<String> {
    let numbers = |name: &str| -> Result<Vec<f32>> {
        Ok(finding.table(name)?.as_numbers().context("numbers")?.to_vec())
    };
    let probe = finding.table("probe")?;
    let [_, layers, tasks, _] = probe.shape()[..] else { anyhow::bail!("a probe has four axes") };
    let (probes, likeness) = (numbers("probe")?, numbers("cka")?);
    let (alignment, gap, retrieval) = (numbers("alignment")?, numbers("gap")?, numbers("retrieval")?);
    let axes = probe.axes();
    let label = |axis: usize, at: usize| axes.get(axis).and_then(|axis| axis.label(at)).unwrap_or_default();
    let mut lines = Vec::new();
    for at in 0..gap.len() {
        let rows = probes.get(at * layers * tasks * 3..).unwrap_or_default();
        let best = |task: usize| {
            let each = (0..layers).map(|layer| rows[(layer * tasks + task) * 3]);
            each.map(|own| format!("{own:.2}")).collect::<Vec<_>>().join(" ")
        };
        let mixed = |task: usize| {
            (0..layers).map(|layer| rows[(layer * tasks + task) * 3 + 1]).sum::<f32>() / layers as f32
        };
        let like: Vec<String> =
            (0..layers).map(|layer| format!("{:.2}", likeness[(at * layers + layer) * 2])).collect();
        lines.push(format!(
            "| {} | {} | {:.3} | {:.3} | {:.2} | {:.3} | {} |",
            label(0, at),
            (0..tasks).map(best).collect::<Vec<_>>().join(" | "),
            alignment[2 * at],
            alignment[2 * at + 1],
            gap[at],
            retrieval[2 * at],
            like.join(" ")
        ));
        let chance =
            (0..tasks).map(|task| format!("{} {:.2} {:.2}", label(2, task), mixed(task), rows[task * 3 + 2]));
        if at + 1 == gap.len() {
            lines.push(format!("shuffled labels, commonest: {}", chance.collect::<Vec<_>>().join(", ")));
            let chance: Vec<String> = (0..layers).map(|l| format!("{:.2}", likeness[l * 2 + 1])).collect();
            lines.push(format!("first step, rows shuffled: {}", chance.join(" ")));
        }
    }
    lines.extend(finding.cautions().iter().map(|caution| format!("caution: {}", caution.text)));
    Ok(lines.join("\n"))
}
