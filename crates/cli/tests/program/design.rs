//! Concepts, sparse heads and trees as their users ask for them: from folders, and from files of cases.

use std::fs;
use std::path::Path;

use mmlens::finding::{Finding, Tolerance};

use crate::fit::classes;
use crate::support::{Said, mmlens, model, picture};

const ASK: [&str; 2] = ["--ask", "Red?"];

fn run(command: &[&str], data: &Path, out: &Path, more: &[&str]) -> Said {
    let paths = ["--cases", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let name = model("llava-a");
    let all = [command, &[&name], &ASK, &paths, more].concat();
    mmlens(all)
}

fn numbers(finding: &Finding, table: &str) -> Vec<f32> {
    finding.table(table).unwrap().as_numbers().unwrap().to_vec()
}

/// Of a new picture, what each feature adds, and the rest, are the logit of the second class.
#[test]
fn a_sparse_head_is_learned_from_folders_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (classes(folder.path()), folder.path().join("out"));
    let settings = ["--set", "sparse-head.site=text.blocks.1.resid_post", "--set", "sparse-head.lambdas=6"];
    let said = run(&["fit", "sparse-head"], &data, &out, &settings).cautioned();
    assert!(said.starts_with("sparse-head: converged after"), "{said}");
    assert!(said.contains("random features") && said.contains("majority"), "{said}");
    let found = folder.path().join("found");
    let shown = ["--image", &picture("square"), "--ask", "Red?", "--out", found.to_str().unwrap(), "--json"];
    let told = mmlens([&["apply", out.to_str().unwrap(), &model("llava-a")], &shown[..]].concat()).json();
    let finding = Finding::load(told["finding"].as_str().unwrap()).unwrap();
    let logit = numbers(&finding, "contributions").iter().sum::<f32>() + numbers(&finding, "base")[0];
    let wanted = f64::from(1.0 / (1.0 + (-logit).exp()));
    Tolerance::absolute(1e-5)
        .check("probability", &numbers(&finding, "probabilities")[1..], &[wanted])
        .unwrap();
    assert_eq!(finding.provenance.method, "sparse-head");
}

/// A folder with a folder for each label.
#[test]
fn a_concept_is_tested_over_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    for (label, count) in [("striped", 4_u32), ("random", 8), ("explained", 3)] {
        fs::create_dir_all(data.join(label)).unwrap();
        for at in 0..count {
            let pixels = image::RgbImage::from_fn(20, 20, |x, y| {
                let on = if label == "striped" { x / 2 % 2 == 0 } else { (x * y + at) % 3 == 0 };
                image::Rgb([if on { 220 } else { 20 }, 9 * at as u8, (y * 7) as u8])
            });
            pixels.save(data.join(label).join(format!("{at}.png"))).unwrap();
        }
    }
    let settings =
        ["--method", "tcav", "--set", "tcav.site=text.blocks.1.resid_post", "--set", "tcav.runs=3"];
    let dry = run(&["explain"], &data, &out, &[&settings[..], &["--dry-run", "--json"]].concat()).json();
    // A pass for each of twelve examples; one for the likeliest token of each explained case, and one with its gradient.
    assert_eq!((&dry["methods"][0]["forward"], &dry["methods"][0]["backward"]), (&18.into(), &3.into()));
    let told = run(&["explain"], &data, &out, &[&settings[..], &["--json"]].concat()).json();
    let found = Finding::load(told["findings"][0]["finding"].as_str().unwrap()).unwrap();
    // Twelve pictures are few, and the finding says so.
    let few = "directions are learned from 3 groups of examples";
    assert!(found.cautions().iter().any(|caution| caution.text.starts_with(few)), "{:?}", found.cautions());
    let axis = &found.table("score").unwrap().axes()[0];
    assert_eq!(
        (axis.label(0).as_deref(), axis.label(1).as_deref()),
        (Some("striped"), Some("random concepts"))
    );
    assert_eq!((numbers(&found, "p").len(), numbers(&found, "sensitivity").len()), (1, 6));

    fs::rename(data.join("random"), data.join("others")).unwrap();
    let said = run(&["explain"], &data, &out, &settings).refused();
    assert_eq!(
        said,
        "--method tcav: concept-activation-vectors needs cases of every label that is named, but none of `data` is labelled `random`: labels there are `explained`, `others`, `striped`"
    );
}

/// Rules over what lines name, for labels, and for what the model writes.
#[test]
fn a_tree_is_grown_over_what_cases_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    classes(folder.path());
    let file = folder.path().join("cases.jsonl");
    let line = |class: &str, at: usize, more: &str| {
        format!("{{\"image\": \"pictures/{class}/{at}.png\", \"label\": \"{class}\"{more}}}\n")
    };
    let named = |class: &str, at: usize| {
        let shows = if class == "dark" { "\"night\", \"night\"" } else { "\"day\"" };
        let size = if at.is_multiple_of(3) { ", \"large\"" } else { "" };
        line(class, at, &format!(", \"concepts\": [{shows}{size}]"))
    };
    let all = |of: &dyn Fn(&str, usize) -> String| -> String {
        (0..8).flat_map(|at| ["dark", "light"].map(|class| of(class, at))).collect()
    };
    fs::write(&file, all(&named)).unwrap();
    let tree = ["--method", "tree", "--set", "tree.least=1"];
    let labels = [&tree[..], &["--set", "tree.answers=labels", "--json"]].concat();
    let told = run(&["explain"], &file, &out, &labels).json();
    let found = Finding::load(told["findings"][0]["finding"].as_str().unwrap()).unwrap();
    let lines = found.table("tree").unwrap().as_texts().unwrap();
    assert!(
        lines.len() == 2 && lines[0].starts_with("day: light (") && lines[1].starts_with("not day: dark (")
    );
    assert_eq!(numbers(&found, "fidelity")[..2], [1.0, 1.0]);
    assert_eq!(numbers(&found, "importance"), [1.0, 0.0, 0.0]);
    let own = run(&["explain"], &file, &folder.path().join("own"), &tree);
    assert_eq!(own.code, Some(0), "{}", own.err);
    assert!(own.out.contains("`fidelity` in ratio, concept"), "{}", own.out);

    fs::write(&file, all(&|class, at| line(class, at, ""))).unwrap();
    let said = run(&["explain"], &file, &out, &tree).refused();
    assert_eq!(
        said,
        "--method tree: decision-tree needs cases that name the concepts they show, but no case of `cases.jsonl` names one"
    );
}

/// What a concept is known to be takes the place of what the picture says of it; what it knows nothing of is refused.
#[test]
fn a_concept_is_corrected_as_a_bottleneck_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bottleneck");
    classes(folder.path());
    let file = folder.path().join("cases.jsonl");
    let line = |class: &str, at: usize| {
        let size = if at.is_multiple_of(2) { ", \"large\"" } else { "" };
        format!(
            "{{\"image\": \"pictures/{class}/{at}.png\", \"label\": \"{class}\", \"concepts\": [\"{class} tone\"{size}]}}\n"
        )
    };
    let lines: String = (0..8).flat_map(|at| ["dark", "light"].map(|class| line(class, at))).collect();
    fs::write(&file, lines).unwrap();
    let set = |setting: &str| ["--set".to_owned(), format!("bottleneck.{setting}")];
    let learn = [set("site=text.blocks.1.resid_post"), set("least=2"), set("lambdas=6")].concat();
    let learn: Vec<&str> = learn.iter().map(String::as_str).collect();
    run(&["fit", "bottleneck"], &file, &out, &learn).cautioned();
    let apply = |name: &str, more: &[&str]| {
        let found = folder.path().join(name);
        let shown =
            ["--image", &picture("square"), "--ask", "Red?", "--out", found.to_str().unwrap(), "--json"];
        mmlens([&["apply", out.to_str().unwrap(), &model("llava-a")], &shown[..], more].concat())
    };
    let finding = |said: Said| Finding::load(said.json()["finding"].as_str().unwrap()).unwrap();
    let before = finding(apply("found", &[]));
    let known = ["--set", r#"bottleneck.known={"dark tone": true, "light tone": false}"#];
    let after = finding(apply("found", &known));
    assert_eq!(numbers(&after, "probabilities before"), numbers(&before, "probabilities"));
    assert!(before.table("probabilities before").is_err());
    assert_eq!(numbers(&after, "margins"), numbers(&before, "margins"));
    let contributions: f32 = numbers(&after, "contributions").iter().sum();
    let logit = contributions + numbers(&after, "base")[0];
    let dark = numbers(&after, "probabilities")[0];
    assert!((dark - 1.0 / (1.0 + logit.exp())).abs() < 1e-5 && dark > 0.5, "{dark}");
    assert_eq!(
        after.provenance.settings["known"],
        serde_json::json!({"dark tone": true, "light tone": false})
    );
    let said = apply("none", &["--set", r#"bottleneck.known={"blue": true}"#]).refused();
    assert!(said.contains("known") && said.contains("`blue`"), "{said}");
    assert!(apply("none", &["--set", "bottleneck.unknown=1"]).refused().contains("`unknown`"));
    // A file that is not as it was written is not what was learned.
    let file = out.join("bottleneck.safetensors");
    let whole = fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(apply("changed", &[]).refused().contains("it was changed since"));
    fs::write(&file, whole).unwrap();
    let said = apply("none", &["--set", "tree.depth=2"]).refused();
    assert!(said.contains("tree") && said.contains("bottleneck"), "{said}");
}
