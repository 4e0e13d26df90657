//! `mmlens methods` and `mmlens explain --dry-run`: what is told before anything runs.

use std::collections::BTreeSet;

use mmlens::core::{Form, Leaf};
use mmlens::{FITS, METHODS, TOOLS};
use serde_json::Value;

use crate::support::{fixtures, mmlens, model, picture};

/// Whoever has a question finds the methods that answer it: each is named on the first page of the book.
#[test]
fn the_book_leads_to_every_method() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let shorts = METHODS.iter().map(|method| method.card.short).chain(FITS.iter().map(|fit| fit.card.short));
    let missing: Vec<&str> = shorts.filter(|short| !page.contains(&format!("`{short}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

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
    assert_eq!(all.as_array().unwrap().len(), METHODS.len() + FITS.len() + TOOLS.len());
    // Under the leaf that each belongs to.
    for told in all.as_array().unwrap() {
        let above: Vec<&str> =
            said.lines().take_while(|line| !line.contains(told["question"].as_str().unwrap())).collect();
        let leaf = above.iter().rev().find(|line| line.contains(": ") && !line.contains("  ")).unwrap();
        assert_eq!(told["leaf"], **leaf);
    }
}

/// What stands at every leaf of the survey: its methods, and its tools. An entry more or less in the program is an entry more or less here.
const TENANTS: [(&str, &[&str], &[&str]); 11] = [
    (
        "data: input",
        &["modality-ablation", "minimal-pairs"],
        &["foils", "counterfactual-scenes", "maps-of-people"],
    ),
    ("data: output", &[], &["grounded-text", "rationales", "sentences"]),
    ("data: benchmark", &[], &["readers", "scorers", "metrics"]),
    ("data: modality", &[], &["recordings", "clips", "tones-world"]),
    (
        "model: token",
        &[
            "integrated-gradients",
            "occlusion",
            "kernel-shap",
            "smooth-grad",
            "attention-maps",
            "sinks-and-registers",
            "sinks-over-cases",
            "nearest-words",
            "latent-lens",
            "token-ablation",
            "token-ablation-over-cases",
        ],
        &[],
    ),
    (
        "model: feature",
        &[
            "modality-gap",
            "embedding-parts",
            "text-span",
            "splice",
            "project-away",
            "linear-probe",
            "concepts",
            "inlp",
            "sparse-autoencoder",
        ],
        &[],
    ),
    (
        "model: neuron",
        &[
            "exemplars",
            "lape",
            "selectivity",
            "group-ablation",
            "value-vectors",
            "multimodal-neurons",
            "network-dissection",
            "clip-dissect",
        ],
        &[],
    ),
    (
        "model: layer",
        &[
            "attention-rollout",
            "head-measures",
            "attention-by-depth",
            "layer-skipping",
            "logit-lens",
            "direct-logit-attribution",
            "activation-patching",
            "causal-tracing",
            "attribution-patching",
            "attention-knockout",
            "edge-attribution",
            "path-patching",
            "cka",
            "tuned-lens",
        ],
        &["sites", "activations"],
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
        &["what-if", "two-models", "comparison"],
    ),
    (
        "training and inference: training",
        &["checkpoint-difference", "tracin", "trak", "gradient-similarity", "feature-similarity", "bm25"],
        &["recorder", "right-reasons"],
    ),
    (
        "training and inference: inference",
        &[
            "visual-contrastive-decoding",
            "pay-attention-to-image",
            "contrasting-layers",
            "token-entropy",
            "semantic-entropy",
            "self-consistency",
            "calibration",
            "early-answering",
            "in-context-ablation",
            "contrastive-activation-addition",
        ],
        &["decoders"],
    ),
];

#[test]
fn every_leaf_has_what_is_listed_and_nothing_else() {
    let all = mmlens(["methods", "--json"]).json();
    let listed = |leaf: &str, what: &str| -> BTreeSet<String> {
        let of = |told: &&Value| told["leaf"] == leaf && told["what"] == what;
        all.as_array()
            .unwrap()
            .iter()
            .filter(of)
            .map(|told| told["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (mut counted, table) = (0, mmlens(["methods"]).well());
    assert_eq!(TENANTS.map(|(leaf, ..)| leaf.to_owned()), Leaf::ALL.map(|leaf| leaf.to_string()));
    for (leaf, methods, tools) in TENANTS {
        assert!(methods.len() + tools.len() > 0, "{leaf} is empty");
        for (what, ids) in [("method", methods), ("tool", tools)] {
            let wanted: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            assert_eq!(wanted.len(), ids.len(), "{leaf}: an id stands twice");
            assert_eq!(listed(leaf, what), wanted, "{leaf}: {what}s");
            counted += ids.len();
        }
        // The table says the same under the same heading.
        let below: Vec<&str> =
            table.lines().skip_while(|line| *line != leaf).take_while(|line| !line.is_empty()).collect();
        for id in methods.iter().chain(tools) {
            let told = |line: &&str| line.split([' ', ':']).any(|word| word == *id);
            assert!(below.iter().any(told), "{leaf}: {id} in\n{}", below.join("\n"));
        }
    }
    assert_eq!(all.as_array().unwrap().len(), counted);
}

#[test]
fn a_tool_says_how_it_is_reached() {
    for tool in TOOLS {
        let page = mmlens(["methods", tool.id]).well();
        for part in [tool.question, tool.reach.text(), &tool.leaf.to_string()] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
    }
    let told = mmlens(["methods", "rationales", "--json"]).json();
    assert_eq!((&told["what"], &told["library"]), (&"tool".into(), &"mmlens::data::rationale".into()));
    let said = mmlens(["methods", "rationale"]).refused();
    assert_eq!(said, "no method is called `rationale` (did you mean `rationales`?)");
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
    let refused = of("token-entropy");
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
        "token-entropy",
    ];
    let said = mmlens(run.into_iter().chain(["--out", &out])).refused();
    assert_eq!(said, format!("--method token-entropy: {reason}"));
    let table = mmlens(["methods", "--model", "shapes-clip"]).well();
    assert!(table.contains("\nnot on shapes-clip:\n") && table.contains(&reason), "{table}");
    let page = mmlens(["methods", "token-entropy", "--model", "shapes-clip"]).well();
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
