//! `mmlens methods` and `mmlens explain --dry-run`: what is told before anything runs.

use mmlens::core::Form;
use mmlens::{FITS, METHODS};
use serde_json::Value;

use crate::support::{fixtures, mmlens, model, picture};

#[test]
fn every_method_is_listed_and_told_whole() {
    let said = mmlens(["methods"]).well();
    for method in METHODS {
        let line =
            said.lines().find(|line| line.split_whitespace().any(|word| word == method.card.id)).unwrap();
        assert!(line.contains(method.card.question), "{line}");
        let mark = match (method.card.first, method.form == Form::ManyCases) {
            (true, _) => '*',
            (false, true) => '+',
            (false, false) => ' ',
        };
        assert!(line.starts_with(mark), "{line}");
        let page = mmlens(["methods", method.card.short]).well();
        let told = [method.card.name, method.card.question, method.card.cost, method.card.citation];
        for part in told.iter().chain(method.card.misleads) {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        let told = mmlens(["methods", method.card.id, "--json"]).json();
        let settings = told["settings"].as_array().unwrap();
        let named: Value = settings
            .iter()
            .map(|own| (own["name"].as_str().unwrap().to_owned(), own["default"].clone()))
            .collect();
        assert_eq!(named, method.defaults().unwrap());
        assert_eq!(told["allowed"], Value::Null);
    }
    for fit in FITS {
        let line = said.lines().find(|line| line.contains(fit.card.question)).unwrap();
        assert!(line.starts_with('~') && line.contains(fit.card.short), "{line}");
        assert!(mmlens(["methods", fit.card.short]).well().contains("mmlens fit METHOD"));
    }
    let all = mmlens(["methods", "--json"]).json();
    assert_eq!(all.as_array().unwrap().len(), METHODS.len() + FITS.len());
    // Under the leaf that each belongs to.
    for told in all.as_array().unwrap() {
        let above: Vec<&str> =
            said.lines().take_while(|line| !line.contains(told["question"].as_str().unwrap())).collect();
        let leaf = above.iter().rev().find(|line| line.contains(": ") && !line.contains("  ")).unwrap();
        assert_eq!(told["leaf"], **leaf);
    }
}

/// What every room of the survey has to have.
const TENANTS: [(&str, &[&str]); 7] = [
    ("data: input", &["modality-ablation", "minimal-pairs"]),
    (
        "model: token",
        &[
            "attention-maps",
            "token-ablation",
            "nearest-words",
            "latent-lens",
            "sinks-and-registers",
            "occlusion",
            "kernel-shap",
        ],
    ),
    (
        "model: feature",
        &[
            "embedding-parts",
            "text-span",
            "splice",
            "modality-gap",
            "concepts",
            "sparse-autoencoder",
            "project-away",
            "inlp",
            "linear-probe",
        ],
    ),
    (
        "model: neuron",
        &[
            "exemplars",
            "network-dissection",
            "clip-dissect",
            "multimodal-neurons",
            "value-vectors",
            "lape",
            "selectivity",
            "group-ablation",
        ],
    ),
    (
        "model: layer",
        &[
            "causal-tracing",
            "head-measures",
            "tuned-lens",
            "layer-skipping",
            "attention-by-depth",
            "logit-lens",
            "cka",
        ],
    ),
    (
        "model: architecture",
        &[
            "saliency",
            "gradient-times-input",
            "expected-gradients",
            "grad-cam",
            "attention-relevance",
            "lime",
            "rise",
            "permutation-shap",
            "mm-shap",
            "region-swap",
            "modality-effects",
            "modality-effects-over-cases",
            "cf-vqa",
            "causal-mediation",
            "emap",
            "concept-activation-vectors",
            "decision-tree",
            "post-hoc-bottleneck",
            "sparse-head",
            "prototype-head",
        ],
    ),
    (
        "training and inference: training",
        &["tracin", "trak", "gradient-similarity", "feature-similarity", "bm25", "checkpoint-difference"],
    ),
];

#[test]
fn every_room_has_its_methods() {
    let all = mmlens(["methods", "--json"]).json();
    let of = |id: &str| all.as_array().unwrap().iter().find(|told| told["id"] == id);
    for (leaf, ids) in TENANTS {
        for id in ids {
            assert_eq!(of(id).unwrap_or_else(|| panic!("no {id}"))["leaf"], leaf, "{id}");
        }
    }
}

/// What a setting may be is what its check says.
#[test]
fn settings_are_told_with_their_ranges() {
    let told = mmlens(["methods", "ig", "--json"]).json();
    let of = |name: &str| {
        let settings = told["settings"].as_array().unwrap();
        let own = settings.iter().find(|own| own["name"] == name).unwrap();
        own["expected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("steps"), ["a whole number", "it needs 1 to 4096"]);
    assert_eq!(of("rows"), ["a whole number", "it must be at least 1", "it must be at most 2^20"]);
    let rule = of("rule");
    assert!(rule[0].contains("`gauss-legendre`") && rule[0].contains("`trapezoid`"), "{rule:?}");
}

#[test]
fn an_unknown_method_is_refused_with_the_nearest() {
    let said = mmlens(["methods", "integrated-gradient"]).refused();
    assert_eq!(said, "no method is called `integrated-gradient` (did you mean `integrated-gradients`?)");
    assert_eq!(mmlens(["methods", "zzz"]).refused(), "no method is called `zzz`");
}

/// Of a model: what it allows, and of the others the reason that running them gives.
#[test]
fn a_model_allows_what_it_runs() {
    let told = mmlens(["methods", "--model", "shapes-clip", "--json"]).json();
    let of = |short: &str| told.as_array().unwrap().iter().find(|own| own["short"] == short).unwrap().clone();
    assert_eq!((&of("ig")["allowed"], &of("ig")["model"]), (&true.into(), &"shapes-clip".into()));
    let refused = of("values");
    assert_eq!(refused["allowed"], Value::Bool(false));
    let reason = refused["reason"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let run = [
        "explain",
        "shapes-clip",
        "--image",
        &picture("square"),
        "--text",
        "a red square",
        "--method",
        "values",
    ];
    let said = mmlens(run.into_iter().chain(["--out", &out])).refused();
    assert_eq!(said, format!("--method values: {reason}"));
    let table = mmlens(["methods", "--model", "shapes-clip"]).well();
    assert!(table.contains("\nnot on shapes-clip:\n") && table.contains(&reason), "{table}");
    let page = mmlens(["methods", "values", "--model", "shapes-clip"]).well();
    assert!(page.contains(&format!("no: {reason}")), "{page}");
    // The same model as everywhere, by its place.
    let gemma = fixtures().join("gemma2-a/model").display().to_string();
    let page = mmlens(["methods", "edges", &gemma, "--json"]).json();
    assert_eq!(
        page["reason"],
        "edge-attribution needs heads whose output is added to the stream as it is, but a norm follows the sum of its heads"
    );
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let name = model("llava-a");
    let explain = |more: &[&str]| {
        let fixed = [
            "explain",
            &name,
            "--image",
            &picture("square"),
            "--ask",
            "Is it red?",
            "--out",
            out.to_str().unwrap(),
        ];
        mmlens(fixed.into_iter().chain(more.iter().copied()))
    };
    let ig = |steps: u64| {
        let set = format!("ig.steps={steps}");
        let told = explain(&["--dry-run", "--json", "--method", "ig,paths,cka", "--set", &set]);
        told.refused()
    };
    // What cannot run on one sample is refused as without it.
    assert!(ig(4).contains(
        "`--method cka` looks at many cases together, and one sample is given here: `--cases PATH` gives many"
    ));
    let told = |steps: u64| {
        let set = format!("ig.steps={steps}");
        explain(&["--dry-run", "--json", "--method", "ig,rollout", "--set", &set]).json()
    };
    let (few, many) = (told(4), told(8));
    let of = |told: &Value, at: usize, what: &str| told["methods"][at][what].as_u64().unwrap();
    // Pixels and words move together: the unedited pass, where they begin, the nodes between.
    assert_eq!((of(&few, 0, "forward"), of(&few, 0, "backward")), (2 + 4, 4));
    assert_eq!((of(&many, 0, "forward"), of(&many, 0, "backward")), (2 + 8, 8));
    assert_eq!(of(&few, 1, "forward"), of(&many, 1, "forward"));
    assert!(of(&few, 0, "bytes") > 1 << 20 && few["pass_seconds"].as_f64().unwrap() > 0.0);
    assert!(few["seconds"].as_f64().unwrap() >= 0.2);
    let text = explain(&["--dry-run"]).well();
    assert!(text.contains("no method was run") && text.contains("occlusion"), "{text}");
    assert!(!out.exists(), "something was written");
    // What would be refused is told, with the reason.
    let mut words = vec!["explain", &name, "--ask", "Is it red?", "--out", out.to_str().unwrap()];
    words.extend(["--dry-run", "--json", "--method", "patching,ig"]);
    let told = mmlens(words).json();
    assert_eq!(told["refused"][0]["method"], "patching");
    assert!(told["refused"][0]["reason"].as_str().unwrap().contains("needs a corrupted sample"), "{told}");
    assert_eq!(told["methods"].as_array().unwrap().len(), 1);
}
