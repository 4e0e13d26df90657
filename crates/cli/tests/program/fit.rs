//! `mmlens fit` and `mmlens apply`: learning from one's own pictures, and running what was learned.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mmlens::FITS;
use mmlens::core::Fitting;
use mmlens::files::{State, look};
use mmlens::finding::Finding;
use mmlens_testkit::kill_again_and_again;
use serde_json::Value;

use crate::support::{Said, args, command, mmlens, model, picture};

/// A folder with a folder for each of two classes, of pictures that the model can tell apart.
pub(crate) fn classes(folder: &Path) -> PathBuf {
    let pictures = folder.join("pictures");
    for (class, shade) in [("dark", 40_u8), ("light", 210)] {
        fs::create_dir_all(pictures.join(class)).unwrap();
        for at in 0..8_u8 {
            let pixels = image::RgbImage::from_fn(20, 20, |x, y| {
                image::Rgb([shade, shade + 3 * at, (x + y) as u8 + shade])
            });
            pixels.save(pictures.join(class).join(format!("{at}.png"))).unwrap();
        }
    }
    pictures
}

const SITE: &str = "probe.site=text.blocks.1.resid_post";

fn fit(data: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let fixed = ["fit", "probe", &model("llava-a"), "--ask", "Red?", "--set", SITE, "--seed", "3"];
    let paths = ["--cases", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    args(&fixed.iter().chain(&paths).chain(more).copied().collect::<Vec<_>>())
}

fn apply(fitted: &Path, out: &Path, more: &[&str]) -> Said {
    let fixed = ["apply", fitted.to_str().unwrap(), &model("llava-a"), "--out", out.to_str().unwrap()];
    mmlens(fixed.iter().chain(more))
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// All but what says where it lies.
fn learned(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = contents(folder);
    for named in ["fitted.json", "manifest.json"] {
        assert!(all.remove(named).is_some(), "{named}");
    }
    all
}

#[test]
fn a_probe_is_learned_from_folders_and_tells_new_pictures_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (classes(folder.path()), folder.path().join("out"));
    let said = mmlens(fit(&data, &out, &[])).cautioned();
    assert!(said.starts_with("probe: converged after"), "{said}");
    assert!(said.contains("`scores` in ratio, concept") && said.contains("majority"), "{said}");
    let told = mmlens(fit(&data, &out, &["--json"])).json();
    assert_eq!(told["converged"], true);
    let finding = Finding::load(told["finding"].as_str().unwrap()).unwrap();
    let scores = finding.table("scores").unwrap().as_numbers().unwrap();
    // Three of sixteen cases are held out; a line tells the classes apart.
    assert_eq!(scores[0], 1.0, "{scores:?}");
    assert_eq!((finding.provenance.method.as_str(), finding.provenance.seed), ("linear-probe", Some(3)));

    // By its file, and by the folder, wherever that is now.
    let file = PathBuf::from(told["fitted"].as_str().unwrap());
    assert_eq!(Fitting::load(FITS, &file).unwrap().card().id, "linear-probe");
    let moved = folder.path().join("moved");
    fs::rename(&out, &moved).unwrap();
    let one = data.join("light/2.png");
    let mut bytes = Vec::new();
    for (at, fitted) in [moved.join("probe.safetensors"), moved].iter().enumerate() {
        let found = folder.path().join(format!("found-{at}"));
        let told =
            apply(fitted, &found, &["--image", one.to_str().unwrap(), "--ask", "Red?", "--json"]).json();
        let finding = Finding::load(told["finding"].as_str().unwrap()).unwrap();
        let values = finding.table("probabilities").unwrap().as_numbers().unwrap();
        assert!(values[1] > 0.9 && (values[0] + values[1] - 1.0).abs() < 1e-5, "{values:?}");
        assert_eq!(told["kept"], false);
        // What was said against the fit is said again.
        let beside = folder.path().join("moved/fit.safetensors");
        let said: Vec<String> =
            Finding::load(beside).unwrap().cautions().into_iter().map(|own| own.text).collect();
        let again: Vec<&str> =
            told["learned"].as_array().unwrap().iter().map(|own| own["text"].as_str().unwrap()).collect();
        assert!(!said.is_empty() && again == said, "{again:?} {said:?}");
        bytes.push(finding.to_bytes().unwrap());
        let again =
            apply(fitted, &found, &["--image", one.to_str().unwrap(), "--ask", "Red?", "--json"]).json();
        assert_eq!(again["kept"], true);
    }
    assert_eq!(bytes[0], bytes[1]);
    let many = folder.path().join("many");
    let said = apply(&file.with_file_name("x"), &many, &["--image", one.to_str().unwrap()]).refused();
    assert!(said.contains("out/x"), "{said}");
    let fitted = folder.path().join("moved");
    let lines = apply(&fitted, &many, &["--cases", data.to_str().unwrap(), "--ask", "Red?", "--json"]).well();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[0]["case"].as_str()), (16, Some("dark-0.png")));
}

/// What a store holds is learned from to the same bits, and needs no model afterwards.
#[test]
fn a_store_gives_what_the_cases_give() {
    let folder = tempfile::tempdir().unwrap();
    let (data, store) = (classes(folder.path()), folder.path().join("store"));
    let all = ["--set", "probe.positions=all"];
    let (direct, stored) = (folder.path().join("direct"), folder.path().join("stored"));
    mmlens(fit(&data, &direct, &all)).well();
    let with = [&all[..], &["--store", store.to_str().unwrap()]].concat();
    mmlens(fit(&data, &stored, &with)).well();
    let weights = |out: &Path| fs::read(out.join("probe.safetensors")).unwrap();
    assert!(weights(&direct) == weights(&stored), "the same rows, the same bits");
    let before = contents(&store);
    fs::remove_dir_all(&stored).unwrap();
    mmlens(fit(&data, &stored, &with)).well();
    assert_eq!(contents(&store), before, "nothing is recorded twice");
    assert!(weights(&direct) == weights(&stored));
    // A probe needs the classes, which a store does not hold.
    let bare = ["fit", "probe", "--store", store.to_str().unwrap(), "--set", SITE, "--out"];
    let said = mmlens(bare.iter().chain(&[folder.path().join("bare").to_str().unwrap()])).refused();
    assert!(said.contains("needs the class of every case, which a store does not hold"), "{said}");
    let manifest = fs::read_to_string(store.join("manifest.json")).unwrap();
    assert!(manifest.contains("\"data\": \"pictures\""), "{manifest}");
}

#[test]
fn labels_and_groups_stand_in_a_file_of_cases() {
    let folder = tempfile::tempdir().unwrap();
    let data = classes(folder.path());
    let line = |at: usize, class: &str, more: &str| {
        format!("{{\"image\": \"pictures/{class}/{at}.png\", \"label\": \"{class}\"{more}}}\n")
    };
    let lines = |more: &dyn Fn(usize) -> String| -> String {
        (0..8).flat_map(|at| ["dark", "light"].map(|class| line(at, class, &more(at)))).collect()
    };
    let file = folder.path().join("cases.jsonl");
    let out = folder.path().join("out");
    fs::write(&file, lines(&|at| format!(", \"group\": \"{}\"", at / 4))).unwrap();
    let told = mmlens(fit(&file, &out, &["--json"])).json();
    let rows = Finding::load(told["finding"].as_str().unwrap()).unwrap();
    // One of two groups of eight is held out.
    assert_eq!(rows.table("rows").unwrap().as_numbers().unwrap()[..2], [8.0, 8.0]);
    fs::write(&file, lines(&|_| String::new()) + "{\"image\": \"pictures/dark/0.png\"}\n").unwrap();
    let said = mmlens(fit(&file, &out, &[])).refused();
    assert_eq!(
        said,
        "fit probe: linear-probe needs a label for every case, but case 16 of `cases.jsonl` has none"
    );
    assert!(data.exists());
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (classes(folder.path()), folder.path().join("out"));
    let said = mmlens(fit(&data, &out, &["--set", "ig.steps=4"])).refused();
    assert_eq!(said, "`--set ig...`: this method does not run; those that do: probe");
    let said = mmlens(fit(&data, &out, &["--set", "probe.c=0"])).refused();
    assert_eq!(said, "fit probe: linear-probe: c = 0, but it must be a finite number above zero");
    let bare = mmlens(["fit", "probe", "--out", out.to_str().unwrap()]);
    assert_eq!(bare.code, Some(2), "{bare:?}");
    assert!(bare.err.contains("--cases <PATH>"), "{bare:?}");
    let said = apply(Path::new(&picture("square")), &out, &["--image", &picture("square")]).refused();
    assert!(said.contains("square.png"), "{said}");
    assert!(!out.exists() || contents(&out).is_empty(), "{:?}", contents(&out).keys());
}

/// What `fit sae` writes is a dictionary: its features are sites, listed, edited, explained, and found again by `rerun`.
#[test]
fn a_dictionary_is_learned_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (classes(folder.path()), folder.path().join("sae"));
    let (site, name) = ("text.blocks.1.resid_post", model("llava-a"));
    let place = format!("sae.site={site}");
    let settings = [place.as_str(), "sae.features=24", "sae.k=3", "sae.passes=2"];
    let sets = settings.iter().flat_map(|set| ["--set", set]);
    let fixed = ["fit", "sae", &name, "--ask", "Red?", "--json"];
    let paths = ["--cases", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let told = mmlens(fixed.into_iter().chain(sets).chain(paths)).json();
    assert_eq!(told["method"], "sae");
    let finding = Finding::load(told["finding"].as_str().unwrap()).unwrap();
    assert_eq!(finding.table("density").unwrap().len(), 24);
    for name in ["cfg.json", "sae_weights.safetensors"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let image = data.join("light/2.png");
    let asked = |more: &[&str]| {
        let fixed = ["ask", &name, "--image", image.to_str().unwrap(), "--ask", "Red?"];
        mmlens(fixed.iter().chain(more))
    };
    let own = ["--dictionary", out.to_str().unwrap()];
    assert_eq!(asked(&own).well(), asked(&[]).well());
    let edit = format!("{site}.sae.error=scale:20");
    let edited = asked(&[&own[..], &["--edit", &edit]].concat()).well();
    assert_ne!(edited, asked(&[]).well());
    let said = asked(&["--dictionary", &format!("text.blocks.1.mlp.post={}", out.display())]).refused();
    assert!(said.contains("and the dictionary is of rows of"), "{said}");
    let said = asked(&["--edit", &edit]).refused();
    assert!(said.contains("sae.error"), "{said}");

    let found = folder.path().join("found");
    let along =
        format!("ig.along=[{{\"site\": \"{site}.sae.features\", \"baseline\": {{\"constant\": 0.0}}}}]");
    let fixed = ["explain", &name, "--image", image.to_str().unwrap(), "--ask", "Red?", "--method", "ig"];
    let more = ["--set", &along, "--set", "ig.steps=4", "--out", found.to_str().unwrap()];
    mmlens(fixed.iter().chain(&own).chain(&more)).cautioned();
    let file = found.join("ig.safetensors");
    let explained = Finding::load(&file).unwrap();
    assert!(
        explained.provenance.alterations[0].starts_with(&format!("{site}.sae=dictionary:")),
        "{:?}",
        explained.provenance.alterations
    );
    assert!(mmlens(["rerun", file.to_str().unwrap()]).well().contains("the same, bit by bit"));
    // What some of the features fire at, over all cases.
    let over = folder.path().join("over");
    let features = format!("{site}.sae.features");
    let fixed =
        ["explain", &name, "--cases", data.to_str().unwrap(), "--ask", "Red?", "--method", "exemplars"];
    let more =
        ["--site", &features, "--set", "exemplars.units={\"at\": [20, 3]}", "--set", "exemplars.top=3"];
    let place = ["--out", over.to_str().unwrap()];
    let said = mmlens(fixed.iter().chain(&own).chain(&more).chain(&place));
    assert_eq!(said.code, Some(0), "{said:?}");
    let found = Finding::load(over.join("exemplars.safetensors")).unwrap();
    let table = found.table("exemplars").unwrap();
    let label = |axis: usize, at: usize| table.axes()[axis].label(at).unwrap();
    assert_eq!(
        (table.shape(), label(0, 0), label(1, 0), label(1, 1)),
        (vec![1, 2, 3], "1".into(), "3".into(), "20".into())
    );
    assert!(found.provenance.alterations[0].starts_with(&format!("{site}.sae=dictionary:")));

    let applied = folder.path().join("applied");
    let told = apply(&out, &applied, &["--image", image.to_str().unwrap(), "--ask", "Red?", "--json"]).json();
    let listed = Finding::load(told["finding"].as_str().unwrap()).unwrap();
    // The axis says that it is of features.
    assert!(listed.table("activations").unwrap().axes()[0].label(0).unwrap().parse::<usize>().is_ok());
}

/// Which training cases an answer rests on: the answers of a file are learned from, and one is explained.
#[test]
fn influence_is_of_answers() {
    let folder = tempfile::tempdir().unwrap();
    let data = classes(folder.path());
    let line = |at: usize| {
        let (class, said) = [("dark", "no"), ("light", "red")][at % 2];
        format!(
            "{{\"image\": \"pictures/{class}/{}.png\", \"ask\": \"Red?\", \"answer\": \"{said}\"}}\n",
            at / 2
        )
    };
    let file = folder.path().join("cases.jsonl");
    fs::write(&file, (0..8).map(line).collect::<String>()).unwrap();
    let name = model("llava-a");
    let image = data.join("light/2.png");
    let asked = ["--image", image.to_str().unwrap(), "--ask", "Red?"];
    for method in ["tracin", "trak", "grad-cos", "feature-cos", "bm25"] {
        let (out, found) = (folder.path().join(method), folder.path().join(format!("{method}-found")));
        let fixed = ["fit", method, &name, "--cases", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let said = mmlens(fixed);
        assert!(said.err.contains("8 training cases are few"), "{said:?}");
        said.cautioned();
        let own = [&asked[..], &["--answer", "red", "--json"]].concat();
        let told = apply(&out, &found, &own).json();
        let finding = Finding::load(told["finding"].as_str().unwrap()).unwrap();
        let (scores, highest) = (finding.table("scores").unwrap(), finding.table("highest").unwrap());
        let mut ordered = scores.as_numbers().unwrap().to_vec();
        ordered.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(highest.as_numbers().unwrap(), ordered, "{method}");
        assert!(highest.axes()[0].label(0).unwrap().contains("-> "), "{method}");
    }
    // Words of the answer are words: those with it score the most.
    let found = Finding::load(folder.path().join("bm25-found/bm25.safetensors")).unwrap();
    let scores = found.table("scores").unwrap().as_numbers().unwrap();
    assert!(scores[1] > scores[0] && scores[1] == scores[3], "{scores:?}");
    // Without an answer there is no log-probability.
    let said = apply(&folder.path().join("trak"), &folder.path().join("none"), &asked).refused();
    assert!(said.contains("but a logit is explained: name an answer"), "{said}");
}

/// Killed at any moment, what passes training cases one by one goes on behind the last, to the same bits.
#[test]
fn influence_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = classes(folder.path());
    let start = |out: &Path| -> Command {
        let mut command = command();
        let paths = ["--cases", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
        command.args(["fit", "tracin", &model("llava-a"), "--ask", "Red?", "--seed", "3"]).args(paths);
        command
    };
    let whole = folder.path().join("whole");
    assert!(start(&whole).output().unwrap().status.success());
    let wanted = learned(&whole);
    let place = |job: usize| folder.path().join(format!("out-{job}"));
    let mut compared = 0;
    kill_again_and_again(
        Duration::from_millis(500),
        |job| start(&place(job)),
        |job| {
            let half = place(job).join("tracin.safetensors");
            assert!(!half.exists() || Fitting::load(FITS, &half).is_ok());
        },
        |job| {
            assert!(matches!(look(place(job)).unwrap().state, State::Whole));
            assert_eq!(learned(&place(job)), wanted);
            compared += 1;
        },
    );
    assert!(compared > 0);
}

/// Killed at any moment, it leaves nothing half, and goes on to the same bits.
#[test]
fn a_fit_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = classes(folder.path());
    let whole = folder.path().join("whole");
    let start = |out: &Path, store: &Path| -> Command {
        let mut command = command();
        command.args(fit(&data, out, &["--store", store.to_str().unwrap()]));
        command
    };
    assert!(start(&whole, &folder.path().join("whole-store")).output().unwrap().status.success());
    let wanted = learned(&whole);
    let place = |job: usize| folder.path().join(format!("out-{job}"));
    let mut compared = 0;
    kill_again_and_again(
        Duration::from_millis(700),
        |job| start(&place(job), &folder.path().join(format!("store-{job}"))),
        |job| {
            let out = place(job);
            if out.join("manifest.json").exists() {
                assert_eq!(learned(&out), wanted);
            }
            for file in ["probe.safetensors", "fit.safetensors"] {
                let half = out.join(file);
                assert!(!half.exists() || Finding::load(&half).is_ok() || Fitting::load(FITS, &half).is_ok());
            }
        },
        |job| {
            assert!(matches!(look(place(job)).unwrap().state, State::Whole));
            assert_eq!(learned(&place(job)), wanted);
            compared += 1;
        },
    );
    assert!(compared > 0);
}
