//! `mmlens explain` and `mmlens ask`: what they write, what they say, and what they refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mmlens::METHODS;
use mmlens::data::shapes::{Split, World};
use mmlens::finding::{Finding, Labelled};
use mmlens::report::drawn;
use serde_json::Value;

use crate::support::{MODELS, args, mmlens, model, picture};

/// The methods of a first look, as files are called after them.
fn names() -> Vec<&'static str> {
    METHODS.iter().filter(|method| method.card.first).map(|method| method.card.short).collect()
}

fn explain(model: &str, out: &Path, more: &[&str]) -> crate::support::Said {
    let fixed = args(&["explain", model, "--out", out.to_str().unwrap()]);
    mmlens(fixed.into_iter().chain(args(more)))
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A scene of the shapes world as a file, with a question about it and the answer.
fn scene(folder: &Path) -> (PathBuf, String, String) {
    let scene = World::new(7).scene(Split::Test, 3);
    let file = folder.join("scene.png");
    scene.render().save(&file).unwrap();
    let question = scene.questions().into_iter().next().unwrap();
    (file, question.text, question.answer)
}

#[test]
fn every_method_writes_its_finding_and_its_map() {
    for name in MODELS {
        let folder = tempfile::tempdir().unwrap();
        let ask = ["--image", &picture("wide"), "--ask", "What colour is the square?", "--json"];
        let said = explain(&model(name), folder.path(), &ask).json();
        let mut expected: Vec<String> = names().iter().map(|name| format!("{name}.safetensors")).collect();
        expected.extend(["report.html".to_owned(), "manifest.json".to_owned()]);
        assert_eq!(said["left_out"], Value::Array(Vec::new()));
        let findings = said["findings"].as_array().unwrap();
        assert_eq!(findings.iter().map(|f| f["method"].as_str().unwrap()).collect::<Vec<_>>(), names());
        for written in findings {
            let finding = Finding::load(written["finding"].as_str().unwrap()).unwrap();
            assert!(!finding.tables().is_empty());
            assert_eq!(finding.provenance.weights_hash.len(), 64);
            let maps = written["heat_maps"].as_array().unwrap().as_slice();
            // Those whose answer says something of places.
            if drawn(&finding).is_none() {
                let silent = ["knockout", "logit-lens"].contains(&written["method"].as_str().unwrap());
                assert!(maps.is_empty() && silent, "{written}");
                continue;
            }
            expected.push(format!("{}.png", written["method"].as_str().unwrap()));
            let [map] = maps else { panic!("{written}") };
            let drawn = image::open(map["file"].as_str().unwrap()).unwrap();
            assert_eq!((drawn.width(), drawn.height()), (47, 31), "at the size of the picture");
        }
        expected.sort();
        assert_eq!(files(folder.path()), expected, "{name}");
        // What is explained is all that the model says, but for the token that ends it.
        let (count, ended) = (said["tokens"].as_array().unwrap().len(), said["ended"].as_bool().unwrap());
        assert_eq!(
            said["explained"]["tokens"],
            serde_json::json!([0, count - usize::from(ended && count > 1)])
        );
        let asked = mmlens(["ask", &model(name)].into_iter().chain(ask)).json();
        assert_eq!((&asked["tokens"], &asked["answer"]), (&said["tokens"], &said["answer"]));
    }
}

#[test]
fn the_shipped_model_explains_itself_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (file, question, _) = scene(folder.path());
    let out = folder.path().join("new/folder");
    let started = Instant::now();
    let said = mmlens([
        "explain",
        "--image",
        file.to_str().unwrap(),
        "--ask",
        &question,
        "--out",
        out.to_str().unwrap(),
    ]);
    // Nothing is said against it but that gradients at the mean colour miss what patching finds.
    let notes: Vec<&str> = said.err.lines().collect();
    assert!(matches!(notes[..], [one] if one.starts_with("note: attribution: ")), "{}", said.err);
    let said = said.cautioned();
    let took = started.elapsed();
    println!("{question}\n{said}\n{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    // A finding and a map of each, but of routes; the page and the list of them.
    assert_eq!(files(&out).len(), 2 * names().len() - 1 + 2);
    for line in [
        "answer     ",
        "explained  the log-probability of `",
        "compared   with the mean colour",
        "report     ",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let answer = mmlens(["ask", "--image", file.to_str().unwrap(), "--ask", &question]).well();
    assert!(said.starts_with(&format!("answer     {answer}")));
}

#[test]
fn a_hostile_name_stays_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = r#"<script>alert("1")<!--.png"#;
    let file = folder.path().join(name);
    fs::copy(picture("square"), &file).unwrap();
    let out = folder.path().join("out");
    let question = "</script><img src=x onerror=alert(2)> $&amp;";
    explain(&model("llava-b"), &out, &["--image", file.to_str().unwrap(), "--ask", question]).cautioned();
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        !page.contains("<script>alert") && !page.contains("<img src=x") && !page.contains("<!--"),
        "unescaped"
    );
    assert!(page.contains("&lt;script&gt;alert("));
    // Nothing is fetched from anywhere.
    for reach in ["http://", "https://", "//cdn", "@import", "url("] {
        let outside: Vec<&str> =
            page.match_indices(reach).map(|(at, _)| page.get(at..at + 60).unwrap_or("")).collect();
        let outside: Vec<&&str> =
            outside.iter().filter(|text| !text.starts_with("http://www.w3.org/")).collect();
        assert!(outside.is_empty(), "{outside:?}");
    }
}

#[test]
fn only_the_methods_asked_for_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let ask =
        ["--image", &picture("square"), "--ask", "Is it red?", "--method", "rollout,integrated-gradients"];
    explain(&model("llava-a"), folder.path(), &ask).cautioned();
    assert_eq!(
        files(folder.path()),
        ["ig.png", "ig.safetensors", "manifest.json", "report.html", "rollout.png", "rollout.safetensors"]
    );
    let unknown = explain(&model("llava-a"), folder.path(), &["--ask", "Is it?", "--method", "lemon"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.err.contains("invalid value 'lemon'") && unknown.err.contains("logit-lens"),
        "{}",
        unknown.err
    );
}

#[test]
fn every_picture_has_its_map() {
    let folder = tempfile::tempdir().unwrap();
    let ask = ["--image", &picture("tiny"), "--image", &picture("square"), "--ask", "Is it red?"];
    explain(&model("llava-b"), folder.path(), &ask).cautioned();
    for name in names().into_iter().filter(|name| !["knockout", "logit-lens"].contains(name)) {
        let size = |file: String| {
            let drawn = image::open(folder.path().join(file)).unwrap();
            (drawn.width(), drawn.height())
        };
        assert_eq!(size(format!("{name}.png")), (5, 3), "{name}");
        assert_eq!(size(format!("{name}-1.png")), (40, 40), "{name}");
    }
}

#[test]
fn a_target_is_one_token() {
    let folder = tempfile::tempdir().unwrap();
    let target = |text: &str| {
        let ask = ["--image", &picture("square"), "--ask", "Is it red?", "--max-new", "4"];
        let more = ["--method", "logit-lens", "--target", text, "--json"];
        explain(&model("llava-a"), folder.path(), &[&ask[..], &more].concat())
    };
    let ask = ["ask", &model("llava-a"), "--image", &picture("square"), "--ask", "Is it red?"];
    let answer = mmlens(ask.into_iter().chain(["--max-new", "4", "--json"])).json();
    let third = &answer["tokens"][2];
    let one = target(&third["id"].to_string()).json();
    assert_eq!(one["explained"]["id"], third["id"]);
    let first = answer["tokens"].as_array().unwrap().iter().position(|own| own["id"] == third["id"]).unwrap();
    assert_eq!(one["explained"]["tokens"], serde_json::json!([first, first + 1]));
    let many = target("red green").refused();
    assert!(many.starts_with("--target red green: `red green`: a target is one token, this is "), "{many}");
    let empty = target("");
    assert_eq!(
        (empty.code, empty.err.contains("a value is required for '--target <TOKEN>'")),
        (Some(2), true)
    );
    let unsaid = target("331").refused();
    assert!(unsaid.starts_with("--target 331: `331` is not in the answer `"), "{unsaid}");
    assert!(
        unsaid.contains("`--answer` gives one that has it, `--versus 331` asks why it is not there"),
        "{unsaid}"
    );
    let ask =
        ["explain", "--ask", "what is it ?", "--target", "zebra", "--out", folder.path().to_str().unwrap()];
    assert!(mmlens(ask).refused().contains("the model has no such token"));
}

/// A word that no token stands for is named, and only there.
#[test]
fn unknown_words_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (file, question, _) = scene(folder.path());
    let cautions = |question: &str| {
        let out = folder.path().join("out");
        let ask = ["explain", "--image", file.to_str().unwrap(), "--ask", question, "--method", "rollout"];
        let fixed = args(&ask).into_iter().chain(args(&["--json", "--out", out.to_str().unwrap()]));
        mmlens(fixed).json()["cautions"].clone()
    };
    assert_eq!(cautions(&question), Value::Array(Vec::new()));
    let said = cautions("what colour is the zebra?");
    assert_eq!((&said[0]["kind"], &said[0]["number"]), (&"unknown-words".into(), &1.0.into()), "{said}");
    assert_eq!(said[0]["text"], "the model has no token for `zebra`, and reads `<unk>`");
    // Of every caption.
    let captions =
        ["explain", "shapes-clip", "--image", file.to_str().unwrap(), "--text", "xyz", "--text", "a foo"];
    let out = folder.path().join("captions");
    let more = ["--method", "logit-lens", "--json", "--out", out.to_str().unwrap()];
    let said: Value = serde_json::from_str(&mmlens(captions.iter().chain(&more)).out).unwrap();
    let unknown =
        said["cautions"].as_array().unwrap().iter().find(|own| own["kind"] == "unknown-words").unwrap();
    assert!(unknown["text"].as_str().unwrap().contains("`xyz`, `foo`"), "{unknown}");
    // What a placeholder becomes, tokens around a picture among it, is no word that is not known.
    let (smolvlm, square) = (model("smolvlm-a"), picture("square"));
    let out = folder.path().join("smolvlm");
    let ask = [
        "explain",
        &smolvlm,
        "--image",
        &square,
        "--ask",
        "Red?",
        "--method",
        "logit-lens",
        "--max-new",
        "1",
    ];
    let said = mmlens(args(&ask).into_iter().chain(args(&["--json", "--out", out.to_str().unwrap()])));
    let said: Value = serde_json::from_str(&said.out).unwrap();
    let kinds: Vec<&Value> = said["cautions"].as_array().unwrap().iter().map(|own| &own["kind"]).collect();
    assert!(!kinds.contains(&&"unknown-words".into()), "{said}");
}

/// A given answer is explained as a whole; what is at one position alone says that it is not.
#[test]
fn a_given_answer_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let ask = ["--image", &picture("square"), "--ask", "Is it red?", "--json"];
    let answered = |answer: &str, more: &[&str]| {
        explain(&model("llava-a"), folder.path(), &[&ask[..], &["--answer", answer], more].concat())
    };
    let said = answered("red", &[]).json();
    assert_eq!((said["answer"].as_str(), said["explained"]["text"].as_str()), (Some("red"), Some("red")));
    assert!(said["explained"]["id"].is_null(), "{said}");
    let tokens = said["tokens"].as_array().unwrap();
    assert!(tokens.len() > 1 && said["left_out"].as_array().unwrap().is_empty(), "{said}");
    let sum: f64 = tokens.iter().map(|token| token["probability"].as_f64().unwrap().ln()).sum();
    let finding = Finding::load(folder.path().join("occlusion.safetensors")).unwrap();
    let whole = finding.table("objective").unwrap().as_scalar().unwrap();
    assert!((f64::from(whole) - sum).abs() < 1e-4, "{whole} {sum}");
    assert!(said["cautions"].as_array().is_some(), "{said}");
    assert!((said["log_probability"].as_f64().unwrap() - sum).abs() < 1e-4, "{said}");
    let own = mmlens(args(&[
        "ask",
        &model("llava-a"),
        "--image",
        &picture("square"),
        "--ask",
        "Is it red?",
        "--json",
    ]));
    assert_eq!(said["own_answer"].as_str().unwrap(), own.json()["answer"].as_str().unwrap().trim());
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(
        page.contains("log-probability of 3 tokens from position") && page.contains("(“red”)"),
        "{tokens:?}"
    );
    assert!(answered(" ", &[]).refused().contains("the answer is empty"));
    let both = answered("red", &["--span", "red", "--target", "red"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn without_a_picture_the_rest_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let said = explain(&model("llava-a"), folder.path(), &["--ask", "Is it red?"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let note = |name: &str, id: &str| {
        format!(
            "note: {name} was left out: {id} needs a corrupted sample, but none was given, and there is no picture that its \
             mean colour could stand for, and no recording that silence could; `--corrupted-ask`, `--corrupted-prompt` or `--corrupted-text` gives one\n"
        )
    };
    let notes = note("patching", "activation-patching") + &note("attribution", "attribution-patching");
    let rest: String = said
        .err
        .lines()
        .filter(|line| !line.contains("was cut off"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(rest.starts_with("note: knockout: ") || rest == notes, "{rest}");
    assert!(rest.ends_with(&notes), "{rest}");
    assert_eq!(
        files(folder.path()),
        [
            "attention.safetensors",
            "ig.safetensors",
            "knockout.safetensors",
            "logit-lens.safetensors",
            "manifest.json",
            "occlusion.safetensors",
            "report.html",
            "rollout.safetensors"
        ]
    );
    let asked =
        explain(&model("llava-a"), folder.path(), &["--ask", "Is it red?", "--method", "patching"]).refused();
    assert!(asked.starts_with("--method patching: activation-patching needs a corrupted sample"), "{asked}");
}

#[test]
fn the_corrupted_sample_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let patch = |more: &[&str]| {
        let ask = ["--image", &picture("square"), "--ask", "Is it red?", "--method", "patching"];
        explain(&model("llava-a"), folder.path(), &[&ask[..], more].concat())
    };
    let corrupted = || {
        let finding = Finding::load(folder.path().join("patching.safetensors")).unwrap();
        let score = |name: &str| finding.table(name).unwrap().as_scalar().unwrap();
        (score("clean"), score("corrupted"))
    };
    patch(&[]).cautioned();
    let (clean, by_colour) = corrupted();
    assert!(patch(&["--corrupted-image", &picture("tall")]).cautioned().contains("tall.png (patching)"));
    let (same, by_picture) = corrupted();
    patch(&["--corrupted-ask", "Is it bed?"]).cautioned();
    let (again, by_question) = corrupted();
    assert!(clean == same && same == again, "{clean} {same} {again}");
    assert!(by_colour != by_picture && by_picture != by_question && by_question != clean);

    let longer = patch(&["--corrupted-ask", "Is it red, or is it blue, or green?"]).refused();
    assert!(longer.contains("of the same length, but the clean one has "), "{longer}");
    let same = patch(&["--corrupted-ask", "Is it red?"]).refused();
    assert!(same.contains("two samples that the objective tells apart"), "{same}");
    let more =
        patch(&["--corrupted-image", &picture("tall"), "--corrupted-image", &picture("tiny")]).refused();
    assert_eq!(more, "2 `--corrupted-image` for 1 `--image`; give one for each, in the same order");
    let both = patch(&["--corrupted-image", &picture("tall"), "--corrupted-ask", "a"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn pictures_of_odd_sizes_and_colours_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    for (width, height) in [(1, 1), (20_000, 3)] {
        let file = folder.path().join(format!("{width}.png"));
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x % 251) as u8, (y * 80) as u8, 9]))
            .save(&file)
            .unwrap();
        let out = folder.path().join(width.to_string());
        let ask =
            ["--image", file.to_str().unwrap(), "--ask", "Is it red?", "--method", "ig,occlusion,rollout"];
        explain(&model("llava-old"), &out, &ask).cautioned();
        let drawn = image::open(out.join("occlusion.png")).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (width, height));
    }
    for name in ["bilevel", "grey", "grey-alpha", "palette", "palette-clear", "rgba"] {
        let out = folder.path().join(name);
        explain(
            &model("llava-b"),
            &out,
            &["--image", &picture(name), "--ask", "Is it red?", "--method", "occlusion"],
        )
        .well();
    }
}

#[test]
fn places_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let ask = ["--image", &picture("square"), "--ask", "Is it red?"];
    let said = explain(&model("llava-a"), &file, &ask).refused();
    let (found, expected) = (file.display(), "is a file, expected a folder or nothing");
    assert_eq!(said, format!("cannot write into {found}: {found} {expected}"));
    let inside = file.join("inside");
    let said = explain(&model("llava-a"), &inside, &ask).refused();
    assert_eq!(said, format!("cannot write into {}: {found} {expected}", inside.display()));
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let ask = |more: &[&str]| {
        let fixed =
            args(&["ask", &model("llava-b"), "--image", &picture("wide"), "--ask", "Is it red?", "--json"]);
        mmlens(fixed.into_iter().chain(args(more))).json()["tokens"].clone()
    };
    let drawn = ["--temperature", "1.5", "--top-p", "0.95", "--seed"];
    let with = |seed: &str| ask(&[&drawn[..], &[seed]].concat());
    assert_eq!(with("1"), with("1"));
    assert!((2..6).any(|seed| with(&seed.to_string()) != with("1")));
    assert_eq!(ask(&["--temperature", "0"]), ask(&[]));
    assert_eq!(ask(&["--max-new", "3"]).as_array().unwrap().len(), 3);
}

/// How a finding computed with a size of memory is found again.
fn within(folder: &Path, memory: &str, envs: &[(&str, &str)]) -> crate::support::Said {
    let ask = ["--image", &picture("tiny"), "--ask", "Red?", "--memory", memory];
    let fixed = args(&["explain", &model("llava-a"), "--out", folder.to_str().unwrap()]);
    let output = crate::support::command()
        .args(fixed.into_iter().chain(args(&ask)))
        .envs(envs.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    crate::support::Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn findings(folder: &Path) -> Vec<(&'static str, Finding)> {
    let load = |name: &str| Finding::load(folder.join(format!("{name}.safetensors"))).unwrap();
    names().into_iter().map(|name| (name, load(name))).collect()
}

/// Numbers up to the rounding of sums that are grouped in another way.
fn alike(one: &[(&str, Finding)], other: &[(&str, Finding)], bound: f32) {
    for ((method, one), (_, other)) in one.iter().zip(other) {
        for (a, b) in one.tables().iter().zip(other.tables()) {
            let values = |table: &Labelled| table.as_numbers().unwrap_or_default().to_vec();
            let (a_values, b_values) = (values(a), values(b));
            assert_eq!(a_values.len(), b_values.len());
            // no NaN: one in either fails below
            let size = a_values.iter().map(|x| x.abs()).max_by(f32::total_cmp).unwrap_or(0.0).max(1.0);
            for (x, y) in a_values.iter().zip(&b_values) {
                assert!((x - y).abs() <= bound * size, "{method} {}: {x} {y}", a.name());
            }
        }
    }
}

#[test]
fn memory_bounds_passes_and_changes_the_last_digits_alone() {
    let (wide, narrow) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // All variants that a method allows in one pass, and few of them.
    assert_eq!([within(wide.path(), "1GiB", &[]).code, within(narrow.path(), "4MB", &[]).code], [Some(0); 2]);
    let (wide, narrow) = (findings(wide.path()), findings(narrow.path()));
    alike(&wide, &narrow, 1e-4);
    for (_, finding) in &narrow {
        assert_eq!(finding.provenance.memory, Some(4_000_000));
    }
}

/// Threads, and what else the machine does, decide nothing; the path of the kernels the last digits, and it is on record.
#[test]
fn a_finding_is_the_same_bytes_again() {
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let bytes = |folder: &Path| {
        let read = |name| std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        names().into_iter().map(read).collect::<Vec<_>>()
    };
    for (folder, threads) in folders.iter().zip(["1", "2", "3"]) {
        within(folder.path(), "64MB", &[("RAYON_NUM_THREADS", threads)]).cautioned();
    }
    let one = bytes(folders[0].path());
    assert!(one == bytes(folders[1].path()) && one == bytes(folders[2].path()));

    within(folders[3].path(), "64MB", &[("MMLENS_KERNELS", "none")]).cautioned();
    let (best, none) = (findings(folders[0].path()), findings(folders[3].path()));
    alike(&best, &none, 1e-4);
    for ((_, best), (_, none)) in best.iter().zip(&none) {
        assert_eq!(none.provenance.kernels.as_deref(), Some("none"));
        let path = best.provenance.kernels.as_deref().unwrap();
        assert!(["none", "avx2", "avx512"].contains(&path), "{path}");
    }
    let said = within(folders[3].path(), "64MB", &[("MMLENS_KERNELS", "sse")]).refused();
    let wanted = "the environment variable MMLENS_KERNELS: `sse` is no path of the kernels; expected one of `none`, \
                  `avx2`, `avx512`";
    assert_eq!(said, wanted);
}

#[test]
fn memory_is_announced_and_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let ask = ["--image", &picture("tiny"), "--ask", "Red?", "--method", "occlusion"];
        explain(&model("llava-a"), folder.path(), &[&ask, more].concat())
    };
    let said = run(&[]).well();
    let first = said.lines().nth(2).unwrap();
    let wanted = "memory     up to 4.30 GB for each method (the default; --memory); a pass of this prompt takes up to ";
    assert!(first.starts_with(wanted) && first.ends_with("MB"), "{first}");
    let json = run(&["--memory", "300MB", "--json"]).json();
    assert_eq!(json["memory"]["budget"], 300_000_000);
    assert!(json["memory"]["pass"].as_u64().unwrap() > 1_000_000);

    let said = run(&["--memory", "1kB"]).refused();
    assert!(
        said.starts_with("--method occlusion: occlusion takes up to ")
            && said.ends_with(
                "and its budget is 1.00 kB: give it a larger budget, or fewer positions, pictures or layers"
            ),
        "{said}"
    );
    // Nobody asked for these by name: they are left out, and why is said. Without any there is nothing to write.
    let none = tempfile::tempdir().unwrap();
    let ask = ["--image", &picture("tiny"), "--ask", "Red?", "--memory", "1kB"];
    let said = explain(&model("llava-a"), none.path(), &ask).refused();
    assert!(said.starts_with("no method explains this: ig: "), "{said}");
    assert_eq!(said.matches("and its budget is 1.00 kB").count(), names().len());
    assert_eq!(std::fs::read_dir(none.path()).unwrap().count(), 0);

    for (size, wanted) in [
        ("2 apples", "`2 apples` is no size; expected a number with a unit, such as 800MB or 2GiB"),
        ("3", "`3` is 3 bytes: did you mean 3GB?"),
        ("99999TB", "`99999TB` is more than any machine has: did you mean 99999MB?"),
    ] {
        let said = run(&["--memory", size]);
        assert!(said.code == Some(2) && said.err.contains(wanted), "{}", said.err);
    }
}

/// Pictures in tiles: everything runs, each picture has its map, and the map is of all of it.
#[test]
fn pictures_in_tiles_are_explained() {
    for name in ["smolvlm-a", "llava-next-a"] {
        let folder = tempfile::tempdir().unwrap();
        let ask = ["--image", &picture("wide"), "--image", &picture("tall"), "--ask", "Is it red?", "--json"];
        let said = explain(&model(name), folder.path(), &ask);
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        for method in ["ig", "occlusion", "patching", "attribution"] {
            for (file, size) in [(format!("{method}.png"), (47, 31)), (format!("{method}-1.png"), (19, 83))] {
                let drawn = image::open(folder.path().join(&file)).unwrap().to_rgb8();
                assert_eq!(drawn.dimensions(), size, "{name} {file}");
                // Colours lie on every quarter of the picture, and not on one tile alone.
                let mut coloured = [0; 4];
                for (x, y, pixel) in drawn.enumerate_pixels() {
                    let [r, g, b] = pixel.0;
                    let quarter = usize::from(x >= size.0 / 2) + 2 * usize::from(y >= size.1 / 2);
                    coloured[quarter] += usize::from(r != g || g != b);
                }
                let each = (size.0 * size.1) as usize / 4;
                assert!(coloured.iter().all(|n| 4 * n > each), "{name} {file}: {coloured:?} of {each}");
            }
        }
        let finding = Finding::load(folder.path().join("ig.safetensors")).unwrap();
        assert_eq!(
            finding.provenance.baseline.as_deref(),
            Some(
                "vision.pixels: each picture's own mean colour; text.embed: mean over the words; tokens of the answer stay as they are"
            )
        );
    }
}
