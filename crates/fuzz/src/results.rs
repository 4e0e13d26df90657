//! What mmlens writes, read again: findings, stores, journals, runs; and references made elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use mmlens_core::finding::{Axis, Finding, Role};
use mmlens_core::{
    Alteration, Altered, AnalysisError, Case, Cases, Memory, Objective, Part, Plan, Point, Sample, Seed,
    Site, Subject, Unwatched, from_fn,
};
use mmlens_engine::{Edit, Sweep, sweep_data};
use mmlens_files::{RunError, RunFolder, look};
use mmlens_report::Page;
use mmlens_store::{Recording, Store};
use mmlens_testkit::Toy;
use mmlens_zoo::certify;

use crate::room::copy;
use crate::{Outcome, Room};

fn of<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Outcome {
    outcome.map_or_else(|error| Outcome::Refused(error.to_string()), |_| Outcome::Accepted)
}

/// A finding of each kind of axis.
pub(crate) fn finding_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    use mmlens_core::finding::{Labelled, Modality, PatchLabel, Provenance, TokenLabel, Unit};
    let patch = |i: usize| PatchLabel {
        image: 0,
        tile: 0,
        frame: 0,
        row: i / 2,
        col: i % 2,
        bbox: [4.0 * (i % 2) as f32, 4.0 * (i / 2) as f32, 4.0, 4.0],
    };
    let tokens: Vec<TokenLabel> = (0..6)
        .map(|i| match i {
            0..4 => TokenLabel::new("<image>", Modality::Image).with_patch(patch(i)),
            _ => TokenLabel::new("red", Modality::Text),
        })
        .collect();
    let numbers = |n: usize| (0..n).map(|i| i as f32 - 1.5).collect::<Vec<_>>();
    let tables = vec![
        Labelled::numbers("tokens", Unit::Logit, vec![Axis::tokens(tokens.clone())], numbers(6))?,
        Labelled::numbers(
            "layers",
            Unit::Probability,
            vec![Axis::count(Role::Layer, 2), Axis::tokens(tokens)],
            numbers(12),
        )?,
        Labelled::numbers(
            "picture",
            Unit::Logit,
            vec![
                Axis::spans(Role::Row, 0, vec![[0.0, 4.0], [4.0, 8.0]]),
                Axis::spans(Role::Column, 0, vec![[0.0, 3.0], [3.0, 6.0], [6.0, 8.0]]),
            ],
            numbers(6),
        )?,
        Labelled::scalar("objective", Unit::Logit, 2.5),
        Labelled::texts(
            "words",
            vec![Axis::count(Role::Rank, 2)],
            vec!["<b>".to_owned(), "\u{202e}".to_owned()],
        )?,
    ];
    let provenance = Provenance::new("integrated-gradients", "toy");
    Ok(vec![Finding::new(provenance, tables)?.to_bytes()?])
}

/// Loads a finding, holds it to its own bytes, draws its page.
pub(crate) fn finding_once(_: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let finding = match Finding::from_bytes(bytes) {
        Ok(finding) => finding,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let again = finding.to_bytes().map_err(|error| error.to_string());
    if let Ok(again) = &again {
        let same = Finding::from_bytes(again).and_then(|read| read.to_bytes());
        assert_eq!(same.as_ref().ok(), Some(again), "a finding that was read and saved reads differently");
    }
    Ok(of(Page { findings: vec![finding], ..Page::default() }.html()))
}

fn words(count: usize) -> impl Cases {
    from_fn("words", count, |i| {
        let words: String = "abcdefgh".chars().cycle().skip(i).take(2 + i % 4).collect();
        Ok(Case::new(Sample::prompt(vec![], words)))
    })
}

fn record(folder: &Path) -> anyhow::Result<Store> {
    let recording = Recording::new("text.blocks.1.{resid_post,mlp_out}".parse()?).batch(2)?.shard(8)?;
    Ok(recording.run(&Toy::curved(1), folder, &words(5), &Unwatched)?)
}

/// The files of a store, by name.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = list.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn whole(room: &Room) -> anyhow::Result<&Path> {
    room.store(|folder| record(folder).map(drop))
}

/// Every file of a store, behind a byte that says which.
pub(crate) fn store_seeds(room: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let files = files(whole(room)?)?;
    files.iter().enumerate().map(|(i, file)| Ok([vec![i as u8], fs::read(file)?].concat())).collect()
}

/// Opens a store with one file replaced, reads all of it, and records on.
pub(crate) fn store_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((which, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let all = files(whole(room)?)?;
    let name = all.get(usize::from(*which) % all.len().max(1)).and_then(|file| file.file_name());
    let folder = room.path().join("broken");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    copy(whole(room)?, &folder)?;
    fs::write(folder.join(name.context("a file")?), contents)?;
    // Asking for a site that is not there is the caller's mistake, and he knows of which store.
    let asked = |error: mmlens_store::StoreError| format!("{}: {error}", folder.display());
    let read = || -> Result<(), String> {
        let plain = |error: mmlens_store::StoreError| error.to_string();
        let store = Store::open(&folder).map_err(plain)?;
        let rows: Vec<u64> = (0..store.len().min(64)).collect();
        store.read("text.blocks.1.mlp_out", &rows).map_err(asked)?;
        store.labels(&rows).map_err(plain)?;
        let mut shuffled = store.shuffled("text.blocks.1.resid_post", 4, Seed(1)).map_err(asked)?;
        shuffled.by_ref().take(16).try_for_each(|batch| batch.map(drop)).map_err(plain)?;
        store.verify().map_err(plain)
    };
    let read = read();
    let recorded = record(&folder);
    Ok(match (read, recorded) {
        (Err(said), _) => Outcome::Refused(said),
        (_, Err(error)) => Outcome::Refused(format!("{error:#}")),
        _ => Outcome::Accepted,
    })
}

fn swept(journal: &Path) -> Result<(), String> {
    let toy = Toy::curved(1);
    let mut case = |case: &Case| -> Result<_, AnalysisError> {
        let inputs = toy.encode(&case.sample)?;
        let axes = vec![Axis::count(Role::Layer, 2), Axis::count(Role::Head, 2)];
        let heads = |at: &[usize]| vec![Edit::zero(Site::block(Part::Text, at[0], Point::Z)).heads([at[1]])];
        Ok((inputs, Sweep::over(axes, heads).measure(Objective::logit(4))))
    };
    sweep_data(&toy, "heads", &words(3), &mut case, &Memory::default(), Some(journal), &Unwatched)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// A whole journal, and one that was cut.
pub(crate) fn journal_seeds(room: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let path = room.path().join("seed.jsonl");
    swept(&path).map_err(|error| anyhow::anyhow!(error))?;
    let all = fs::read(&path)?;
    let cut = all.get(..all.len() * 2 / 3).unwrap_or_default().to_vec();
    Ok(vec![all, cut])
}

/// Goes on with a journal.
pub(crate) fn journal_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    Ok(of(swept(&room.file("sweep.jsonl", bytes)?)))
}

/// What a run writes beside its files.
const OF_RUN: [&str; 2] = ["manifest.json", "mmlens-unfinished/files.jsonl"];

fn begun(folder: &Path) -> Result<RunFolder, RunError> {
    RunFolder::begin(folder, [("seed".to_owned(), 1.into())].into(), [])
}

/// A folder with a whole run, one that was cut off, and a file of somebody else.
fn runs(folder: &Path) -> anyhow::Result<()> {
    for whole in [true, false] {
        let mut run = begun(folder)?;
        run.write("a", b"alpha")?;
        run.write("b", b"beta")?;
        if whole {
            run.finish()?;
        }
    }
    Ok(fs::write(folder.join("own"), "mine")?)
}

/// Both files, behind a byte that says which.
pub(crate) fn run_seeds(room: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = room.path().join("runs");
    runs(&folder)?;
    let read = |(i, name): (usize, &&str)| Ok([vec![i as u8], fs::read(folder.join(name))?].concat());
    OF_RUN.iter().enumerate().map(read).collect()
}

/// Looks at a folder of which one of these files was replaced, and begins a run there. Nothing of somebody else goes.
pub(crate) fn run_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((which, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let folder = room.path().join("replaced");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    runs(&folder)?;
    let name = OF_RUN.get(usize::from(*which) % OF_RUN.len()).context("a file")?;
    fs::write(folder.join(name), contents)?;
    let looked = look(&folder);
    let gone_on = begun(&folder).map(|run| ["a", "b"].map(|name| run.kept(name)));
    assert_eq!(fs::read(folder.join("own"))?, b"mine");
    Ok(match (looked, gone_on) {
        (Err(error), _) | (_, Err(error)) => Outcome::Refused(error.to_string()),
        _ => Outcome::Accepted,
    })
}

/// Which checkpoint each reference belongs to.
const CERTIFIED: [&str; 4] =
    ["llava-a/trace-full", "clip-a/trace-pair", "qwen2-vl-a/trace-full", "gpt2-a/trace-full"];

/// References, behind a byte that says of which checkpoint.
pub(crate) fn reference_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let read = |(i, name): (usize, &&str)| {
        let path = mmlens_testkit::fixtures().join(format!("{name}.safetensors"));
        Ok([vec![i as u8], fs::read(&path).with_context(|| path.display().to_string())?].concat())
    };
    CERTIFIED.iter().filter(|name| fixture(name).is_file()).enumerate().map(read).collect()
}

fn fixture(name: &str) -> PathBuf {
    mmlens_testkit::fixtures().join(format!("{name}.safetensors"))
}

/// Certifies a checkpoint against the reference.
pub(crate) fn reference_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((which, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let there: Vec<&str> = CERTIFIED.iter().copied().filter(|name| fixture(name).is_file()).collect();
    let name = there.get(usize::from(*which) % there.len().max(1)).context("a reference")?;
    let subject = room.subject(name.split('/').next().unwrap_or(name))?;
    let path = room.file("reference.safetensors", contents)?;
    Ok(of(certify::certify(subject, &path, &mmlens_testkit::fixtures().join("pictures"))))
}

/// Tensors as `mmlens trace` writes them: a direction, and a value for each of some positions.
pub(crate) fn tensor_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let of = |shape: &str, count: usize| {
        let header = format!(
            r#"{{"v":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{}]}},"__metadata__":{{"about":"x"}}}}"#,
            4 * count
        );
        let numbers = (0..count).flat_map(|i| (i as f32 - 1.5).to_le_bytes());
        let length = (header.len() as u64).to_le_bytes();
        length.into_iter().chain(header.into_bytes()).chain(numbers).collect()
    };
    Ok(vec![of("[6]", 6), of("[1,5,6]", 30)])
}

/// Sets the stream of the toy to a tensor of the file, and adds it; what either says names the file.
pub(crate) fn tensor_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let path = room.file("tensor.safetensors", bytes)?;
    let at = |change: &str| stands(&format!("text.blocks.0.resid_post={change}:{}#v", path.display()));
    // Each in its turn, whatever the other says.
    let said = [at("set"), at("add")];
    Ok(said.into_iter().find(|said| *said != Outcome::Accepted).unwrap_or(Outcome::Accepted))
}

/// Edits of every kind.
pub(crate) fn edit_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let texts = [
        "text.blocks.1.attn.z[head=1]=zero",
        "text.blocks.*.mlp.post[pos=0,2..4,neuron=7]=scale:-0.5",
        "vision.pixels[image=0]=mean",
        "text.blocks.0..2.attn.{q,k}=add:/nowhere#v*3",
        "text.blocks.1.resid_post.own.place=set:/nowhere#v",
    ];
    Ok(texts.map(|text| text.as_bytes().to_vec()).to_vec())
}

/// Reads an edit, and runs the toy under it.
pub(crate) fn edit_once(_: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    Ok(stands(&String::from_utf8_lossy(bytes)))
}

/// The toy under an edit: whether it can be read, whether it stands, and what a pass says.
fn stands(text: &str) -> Outcome {
    let edit = match Alteration::parse(text) {
        Err(error) => return Outcome::Refused(error.to_string()),
        Ok(edit) => edit,
    };
    let toy = Toy::curved(1);
    let ran = || -> anyhow::Result<()> {
        let subject = Altered::new(&toy, [edit])?;
        let inputs = subject.encode(&Sample::prompt(Vec::new(), "abcde"))?;
        subject.run(&inputs, Plan::new().to_output())?;
        Ok(())
    };
    of(ran())
}
