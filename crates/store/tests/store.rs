//! What is recorded is what single passes hold, whatever happens to the process that records.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod recorded;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mmlens_core::finding::{Modality, Tolerance};
use mmlens_core::{
    Annotated, Case, Cases, Examples, Inputs, Memory, Output, Plan, Recorded, Run, Sample, Seed, Subject,
    SubjectError, Unwatched, Watch, from_fn,
};
use mmlens_store::{Precision, Recording, Rows, Store, Texts};
#[cfg(unix)]
use mmlens_testkit::ReadOnly;
use mmlens_testkit::{Rewired, Toy, kill_again_and_again};
use proptest::prelude::*;
use recorded::{SITE, all, painted, record, recording, sample, words};

#[test]
fn rows_are_what_single_passes_hold() {
    let folder = tempfile::tempdir().unwrap();
    let sites = recording("text.blocks.{0,1}.{resid_post,mlp_out}").and("text.logits".parse().unwrap());
    let store = record(&sites, folder.path(), 23);
    let toy = Toy::curved(1);
    assert_eq!((store.manifest().rows, store.samples()), (Rows::Positions, 23));
    assert!(store.shards().len() > 2, "{:?}", store.shards());
    store.verify().unwrap();
    let labels = store.labels(&all(&store)).unwrap();
    // Of the output, too, every position.
    for site in ["text.blocks.0.mlp_out", SITE, "text.logits"] {
        let values = store.read(site, &all(&store)).unwrap();
        let width = values.len() / labels.len();
        let mut row = 0;
        for i in 0..23 {
            let inputs = toy.encode(&sample(i).unwrap()).unwrap().all_logits();
            let trace = toy.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
            let alone = trace.get(site.parse().unwrap()).unwrap().to_values().unwrap();
            for (position, token) in inputs.map().tokens.iter().enumerate() {
                let label = labels[row];
                assert_eq!((label.sample, label.position), (i as u64, position as u32));
                assert_eq!((label.token, label.modality), (token.id, token.modality));
                assert_eq!(label.patch, token.patch);
                let found = &values[row * width..(row + 1) * width];
                let wanted = &alone[position * width..(position + 1) * width];
                // Batches are padded; sums of a few numbers of size 1 differ in their last bits.
                let what = format!("{site} of sample {i} at {position}");
                Tolerance::absolute(1e-5).check(&what, found, wanted).unwrap();
                row += 1;
            }
        }
        assert_eq!(row, labels.len());
    }
}

#[test]
fn towers_pictures_and_prompts_have_rows_of_their_own() {
    let toy = Toy::curved(1);
    let pictured = |i: usize| Sample::prompt(vec![painted(i), painted(i + 9)], "#a#");
    let data = from_fn("pictures", 5, |i| Ok(Case::new(pictured(i))));
    for (site, rows) in [("vision.features", Rows::Patches), ("vision.pixels", Rows::Pictures)] {
        let spec = toy.sites().iter().find(|spec| spec.site.to_string() == site).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = recording(site).run(&toy, folder.path(), &data, &Unwatched).unwrap();
        assert_eq!(store.manifest().rows, rows, "{}", spec.describe());
        let labels = store.labels(&all(&store)).unwrap();
        for i in 0..5 {
            let trace = {
                let inputs = toy.encode(&pictured(i)).unwrap();
                toy.run(&inputs, Plan::new().read(site).unwrap()).unwrap()
            };
            let alone = trace.get(site.parse().unwrap()).unwrap().to_values().unwrap();
            let own: Vec<u64> =
                all(&store).into_iter().filter(|r| labels[*r as usize].sample == i as u64).collect();
            let found = store.read(site, &own).unwrap();
            assert_eq!(found.len(), alone.len(), "{site}");
            Tolerance::absolute(1e-5).check(&format!("{site} of {i}"), &found, &alone).unwrap();
        }
    }
}

/// A file of texts, at sites that two selectors name, in shards that a quarter of little memory holds: the same rows as in one shard.
#[test]
fn texts_are_recorded_within_memory() {
    let (toy, folder) = (Toy::curved(1), tempfile::tempdir().unwrap());
    let file = folder.path().join("texts.txt");
    std::fs::write(&file, "abc\n\ndea\nfgh\n".repeat(20)).unwrap();
    let texts = Texts::open(&file).unwrap();
    let recording = || {
        let sites = Recording::new("text.blocks.0.resid_pre".parse().unwrap());
        sites.and("text.blocks.*.resid_post".parse().unwrap()).batch(1).unwrap()
    };
    let run = |recording: Recording, place: &str| {
        recording.run(&toy, folder.path().join(place), &texts, &Unwatched).unwrap()
    };
    let (whole, small) = (run(recording(), "whole"), run(recording().within(Memory::bytes(13_000)), "small"));
    let sites: Vec<&str> = whole.manifest().columns.iter().map(|column| column.site.as_str()).collect();
    assert_eq!(sites, ["text.blocks.0.resid_pre", "text.blocks.0.resid_post", "text.blocks.1.resid_post"]);
    assert_eq!(
        (whole.samples(), whole.shards().len(), whole.manifest().data.as_str()),
        (60, 1, texts.name())
    );
    // A row is three sites of six numbers of four bytes, and a label of about 64: a quarter of the memory holds 23 of them. A shard ends with a text.
    assert_eq!(small.manifest().shard, 23);
    let count = whole.len().div_ceil(23) as usize;
    assert!((count - 2..=count).contains(&small.shards().len()), "{} {count}", small.shards().len());
    for site in sites {
        assert_eq!(whole.read(site, &all(&whole)).unwrap(), small.read(site, &all(&small)).unwrap());
    }
    assert_eq!(whole.labels(&all(&whole)).unwrap(), small.labels(&all(&small)).unwrap());
    let missing = recording().and("text.blocks.9.resid_post".parse().unwrap());
    let said = missing.run(&toy, folder.path().join("missing"), &texts, &Unwatched).unwrap_err().to_string();
    assert!(said.contains("text.blocks.9.resid_post"), "{said}");
}

/// A toy's pass that once gives a value that is no number: of a prompt of five positions, at the fourth.
fn odd(toy: &Toy, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
    let site = SITE.parse().unwrap();
    let value = toy.run(inputs, Plan::new().read(site)?)?.get(site)?.clone();
    let (dims, mut values) = (value.dims(), value.to_values()?);
    if let Some(row) = inputs.maps.iter().position(|map| map.len() == 5) {
        values[(row * dims[1] + inputs.pads[row] + 3) * dims[2] + 2] = f32::NEG_INFINITY;
    }
    run.at(site, value.filled(values)?)?;
    Ok(Output::default())
}

#[test]
fn what_is_no_number_is_not_recorded() {
    let folder = tempfile::tempdir().unwrap();
    // Sample 4 has five positions.
    let of = |i: usize| Sample::prompt(vec![], "abcdefgh".get(..1 + i % 5).unwrap());
    let data = from_fn("words", 9, |i| Ok(Case::new(of(i))));
    let toy = Toy::curved(1);
    let subject = Rewired::new(&toy, |inputs, run| odd(&toy, inputs, run));
    let said = recording(SITE).run(&subject, folder.path(), &data, &Unwatched);
    assert_eq!(
        said.unwrap_err().to_string(),
        format!("`{SITE}` of sample 4 holds -inf at position 3, coordinate 2, where a finite number belongs")
    );
}

/// Rows of a store are what the passes of the same cases hold, with the same labels, groups and kinds.
#[test]
fn rows_to_learn_from_are_those_of_the_cases() {
    let folder = tempfile::tempdir().unwrap();
    let store = record(&recording(SITE), folder.path(), 12);
    let labels = (0..12).map(|i| i % 3).collect();
    let data = Annotated::new(words(12), ["a", "b", "c"], labels).unwrap();
    let rows: Vec<u64> = all(&store).into_iter().rev().collect();
    let found = store.examples(SITE, &rows, &data).unwrap();
    let labels = store.labels(&rows).unwrap();
    assert_eq!(found.rows().flatten().copied().collect::<Vec<_>>(), store.read(SITE, &rows).unwrap());
    for (at, label) in labels.iter().enumerate() {
        assert_eq!((found.labels()[at], found.groups()[at]), (label.sample as usize % 3, label.sample));
        assert_eq!(found.kinds()[at], Examples::kind(label.token, label.sample));
    }
    assert_eq!(found.provenance().sites, [SITE]);
    let grouped = data.grouped(vec![5; 12]).unwrap();
    assert_eq!(store.examples(SITE, &rows, &grouped).unwrap().groups(), vec![5; rows.len()]);
    // Rows without classes have the groups of the cases, where somebody knows them, and else are of their case.
    let site = SITE.parse().unwrap();
    let groups = |recorded: &dyn Recorded| recorded.rows(site).unwrap().groups().unwrap();
    assert_eq!(groups(&store.labelled(&grouped)), vec![5; rows.len()]);
    let samples: Vec<u64> = store.labels(&all(&store)).unwrap().iter().map(|row| row.sample).collect();
    assert_eq!(groups(&store), samples);
    let said = store.examples(SITE, &rows, &words(12)).unwrap_err().to_string();
    assert!(said.starts_with("examples needs a label for every case, but case"), "{said}");
    let others = from_fn("others", 12, |i| Ok(Case::new(sample(i)?)));
    let said = store.examples(SITE, &rows, &others).unwrap_err().to_string();
    assert!(said.contains("`data` is \"words\" there, \"others\" here"), "{said}");
    let short = Annotated::new(words(5), ["a"], vec![0; 5]).unwrap();
    assert_eq!(
        store.examples(SITE, &rows, &short).unwrap_err().to_string(),
        "`words` has no case 11: it has 5"
    );
}

#[test]
fn chosen_modalities_alone_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = record(&recording(SITE).only([Modality::Image]), folder.path(), 9);
    let labels = store.labels(&all(&store)).unwrap();
    // samples 0, 3 and 6 show one picture of four patches
    assert!(labels.iter().all(|label| label.modality == Modality::Image && label.patch.is_some()));
    let samples: Vec<u64> = labels.iter().map(|label| label.sample).collect();
    assert_eq!(samples.iter().copied().collect::<std::collections::BTreeSet<_>>(), [0, 3, 6].into());
}

#[test]
fn half_precision_rounds_to_nearest() {
    let exact = tempfile::tempdir().unwrap();
    let exact = (record(&recording(SITE), exact.path(), 12), exact);
    for (precision, bits) in [(Precision::Bf16, 8), (Precision::F16, 11)] {
        let folder = tempfile::tempdir().unwrap();
        let store = record(&recording(SITE).precision(precision), folder.path(), 12);
        let (wanted, found) =
            (exact.0.read(SITE, &all(&store)).unwrap(), store.read(SITE, &all(&store)).unwrap());
        assert_eq!(wanted.len(), found.len());
        for (a, b) in wanted.iter().zip(&found) {
            // half a unit in the last place, or of the smallest half
            let bound = (a.abs() * 2.0_f32.powi(-bits)).max(6e-8);
            assert!((a - b).abs() <= bound, "{a} {b}");
        }
    }
}

/// Records when another test tells it to: that test kills it.
#[test]
fn child() {
    let Ok(folder) = std::env::var("MMLENS_STORE_CHILD") else { return };
    struct Slow;
    impl Watch for Slow {
        fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
            std::thread::sleep(Duration::from_millis(3));
            ControlFlow::Continue(())
        }
    }
    recording(SITE).run(&Toy::curved(1), &folder, &words(120), &Slow).unwrap();
}

#[test]
fn a_recording_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    record(&recording(SITE), whole.path(), 120);
    let folder = |job: usize| killed.path().join(job.to_string());
    let start = |job| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child"]).env("MMLENS_STORE_CHILD", folder(job));
        command
    };
    // What is entered is whole, at every moment.
    let look = |job| {
        if let Ok(store) = Store::open(folder(job)) {
            store.verify().unwrap();
        }
    };
    kill_again_and_again(Duration::from_millis(150), start, look, |job| {
        let store = Store::open(folder(job)).unwrap();
        assert_eq!(store.samples(), 120);
        let files = |folder: &Path| {
            let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            names
                .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(&path).unwrap()))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(files(whole.path()), files(&folder(job)), "job {job}");
    });
}

/// Records where a file may not grow beyond 64 KiB, as on a disk that is full, when another test tells it to.
#[test]
fn child_on_a_full_disk() {
    let Ok(folder) = std::env::var("MMLENS_STORE_FULL_CHILD") else { return };
    let large = recording(SITE).shard(1 << 20).unwrap();
    let said = large.run(&Toy::curved(1), &folder, &words(1200), &Unwatched).unwrap_err().to_string();
    assert!(said.starts_with("cannot write ") && said.contains("shard-000000"), "{said}");
    assert!(said.contains("File too large"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_gone_on_from() {
    let (full, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 64; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_on_a_full_disk"])
        .env("MMLENS_STORE_FULL_CHILD", full.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let mut names: Vec<_> = std::fs::read_dir(full.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["manifest.json", "shards.jsonl"]);
    let large = || recording(SITE).shard(1 << 20).unwrap();
    for folder in [full.path(), whole.path()] {
        large().run(&Toy::curved(1), folder, &words(1200), &Unwatched).unwrap();
    }
    let shard = |folder: &Path| std::fs::read(folder.join("shard-000000.safetensors")).unwrap();
    assert!(shard(full.path()) == shard(whole.path()) && shard(full.path()).len() > 1 << 16);
}

/// A tower that hears is padded behind every recording: of a position there without sound there is no row.
#[test]
fn what_is_padded_behind_a_recording_is_not_kept() {
    use mmlens_core::sound::Sound;
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::curved(3).with_ears();
    // 13, 3 and 20 of 20 frames; a position of the tower has two of them.
    let lengths = [620, 120, 1000];
    let tone = |length: usize| (0..16 * length).map(|at| (at as f32 * 0.9).sin() * 0.4).collect();
    let heard = |length: usize| {
        Sample::prompt(Vec::new(), "~ab")
            .with_recordings(vec![Sound::new("hum", tone(length), 16_000).unwrap()])
    };
    let data = from_fn("sounds", lengths.len(), |at| Ok(Case::new(heard(lengths[at]))));
    let site = "audio.blocks.0.resid_post";
    for batch in [1, 3] {
        let folder = folder.path().join(batch.to_string());
        let recording = Recording::new(site.parse().unwrap()).batch(batch).unwrap();
        let store = recording.run(&toy, &folder, &data, &Unwatched).unwrap();
        let labels = store.labels(&all(&store)).unwrap();
        let places: Vec<(u64, u32)> = labels.iter().map(|label| (label.sample, label.position)).collect();
        let wanted = [(0, 7), (1, 2), (2, 10)]
            .into_iter()
            .flat_map(|(sample, count)| (0..count).map(move |position| (sample, position)));
        assert_eq!(places, wanted.collect::<Vec<_>>());
        assert!(labels.iter().all(|label| label.modality == Modality::Audio && label.patch.is_some()));
        let values = store.read(site, &all(&store)).unwrap();
        let width = values.len() / labels.len();
        for (sample, length) in lengths.into_iter().enumerate() {
            let inputs = toy.encode(&heard(length)).unwrap();
            let trace = toy.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
            let alone = trace.get(site.parse().unwrap()).unwrap().to_values().unwrap();
            for (row, (_, position)) in places.iter().enumerate().filter(|(_, own)| own.0 == sample as u64) {
                let from = *position as usize * width;
                let found = &values[row * width..(row + 1) * width];
                // Sums of a few numbers of size 1, in other batches, differ in their last bits.
                Tolerance::absolute(1e-5).check(site, found, &alone[from..from + width]).unwrap();
            }
        }
    }
}

/// Records into a folder that it may not write into, when another test tells it to.
#[cfg(unix)]
#[test]
fn child_in_a_read_only_folder() {
    let Ok(folder) = std::env::var("MMLENS_STORE_READ_ONLY_CHILD") else { return };
    let folder = Path::new(&folder);
    let said = |folder: &Path, samples: usize| {
        let run = recording(SITE).run(&Toy::curved(1), folder, &words(samples), &Unwatched);
        run.unwrap_err().to_string()
    };
    // Nothing is begun, and what is there is not gone on with.
    for new in [folder.to_owned(), folder.join("new")] {
        let said = said(&new, 8);
        assert!(said.contains(&new.display().to_string()) && said.contains("Permission denied"), "{said}");
    }
    let old = folder.join("old");
    let grown = said(&old, 30);
    assert!(grown.contains(&old.display().to_string()) && grown.contains("Permission denied"), "{grown}");
    // To read it needs no more than that.
    let store = Store::open(&old).unwrap();
    store.verify().unwrap();
    assert_eq!(store.samples(), 12);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_only_be_read_is_read_and_said() {
    use std::os::unix::fs::PermissionsExt;
    let protect = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let folder = ReadOnly::holding(|folder| {
        let old = folder.join("old");
        record(&recording(SITE), &old, 12);
        for entry in std::fs::read_dir(&old).unwrap() {
            protect(&entry.unwrap().path(), 0o444);
        }
        protect(&old, 0o555);
    });
    let mut child = folder.kept_from(Command::new(std::env::current_exe().unwrap()));
    child.args(["--exact", "child_in_a_read_only_folder"]).env("MMLENS_STORE_READ_ONLY_CHILD", folder.path());
    let output = child.output().unwrap();
    protect(&folder.path().join("old"), 0o755);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(folder.names(), [Path::new("old")]);
}

#[test]
fn a_data_set_that_grows_is_gone_on_with() {
    let (grown, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    record(&recording(SITE), grown.path(), 8);
    let grown = record(&recording(SITE), grown.path(), 20);
    let whole = record(&recording(SITE), whole.path(), 20);
    assert_eq!(grown.read(SITE, &all(&grown)).unwrap(), whole.read(SITE, &all(&whole)).unwrap());
    assert_eq!(grown.labels(&all(&grown)).unwrap(), whole.labels(&all(&whole)).unwrap());
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |recording: Recording, subject: &Toy, data: &dyn Cases| {
        recording.run(subject, folder.path(), data, &Unwatched).unwrap_err().to_string()
    };
    let refuse = |recording, subject: &Toy| refused(recording, subject, &words(9));
    let toy = Toy::curved(1);
    assert!(refuse(recording("text.blocks.0.attn.pattern"), &toy).contains("depends on the input"));
    assert!(refuse(recording("text.blocks.9.resid_post"), &toy).contains("text.blocks.9.resid_post"));
    let mixed = refuse(recording("*.pixels").only([Modality::Text]), &toy);
    assert!(mixed.contains("only positions of prompts"), "{mixed}");
    record(&recording(SITE), folder.path(), 9);
    let said = refuse(recording(SITE), &Toy::curved(2));
    assert!(said.contains("holds another recording: `weights_hash`"), "{said}");
    let others = from_fn("others", 9, |i| Ok(Case::new(sample(i)?)));
    let said = refused(recording(SITE), &toy, &others);
    assert!(said.contains("`data` is \"words\" there, \"others\" here"), "{said}");

    let store = Store::open(folder.path()).unwrap();
    assert!(store.read("text.embed", &[0]).unwrap_err().to_string().contains("was not recorded"));
    let rows = store.len();
    assert!(store.read(SITE, &[rows]).unwrap_err().to_string().contains("there are"));
    let file = folder.path().join(&store.shards()[0].file);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert!(Store::open(folder.path()).unwrap_err().to_string().contains("bytes; expected"));
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&file, changed).unwrap();
    assert!(Store::open(folder.path()).unwrap().verify().unwrap_err().to_string().contains("SHA-256"));
}

#[test]
fn a_folder_is_recorded_into_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let said = std::sync::OnceLock::new();
    let nested = from_fn("words", 3, |i| {
        if i == 0 {
            let second = recording(SITE).run(&Toy::curved(1), folder.path(), &words(3), &Unwatched);
            said.set(second.unwrap_err().to_string()).unwrap();
        }
        Ok(Case::new(sample(i)?))
    });
    recording(SITE).run(&Toy::curved(1), folder.path(), &nested, &Unwatched).unwrap();
    let said = said.get().unwrap();
    assert!(said.contains("another process"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_in_any_order(picks in prop::collection::vec(0..60_u64, 0..40), seed: u64, batch in 1..50_usize) {
        static STORE: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
        let folder = STORE.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            record(&recording(SITE), folder.path(), 23);
            folder
        });
        let store = Store::open(folder.path()).unwrap();
        let whole = store.read(SITE, &all(&store)).unwrap();
        let width = whole.len() / store.len() as usize;
        let row = |r: u64| &whole[r as usize * width..(r as usize + 1) * width];
        let picks: Vec<u64> = picks.into_iter().map(|r| r % store.len()).collect();
        let found = store.read(SITE, &picks).unwrap();
        for (r, values) in picks.iter().zip(found.chunks(width)) {
            prop_assert_eq!(values, row(*r));
        }
        let mut seen = vec![0; store.len() as usize];
        let batches: Vec<_> =
            store.shuffled(SITE, batch, Seed(seed)).unwrap().map(Result::unwrap).collect();
        for found in &batches {
            for (r, values) in found.rows.iter().zip(found.values.chunks(width)) {
                prop_assert_eq!(values, row(*r));
                seen[*r as usize] += 1;
            }
        }
        prop_assert!(seen.iter().all(|n| *n == 1));
        let half = batches.len() / 2;
        let rest: Vec<_> = store.shuffled(SITE, batch, Seed(seed)).unwrap().skip_to(half as u64).map(Result::unwrap).collect();
        prop_assert_eq!(&rest[..], &batches[half..]);
    }
}
