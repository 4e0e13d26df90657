//! Every row of this crate's `METHODS` keeps the contract of analyses, on every tiny subject that it allows.

use std::path::Path;

use mmlens_core::{Case, Given, Method, Picture, Sample, Subject};
use mmlens_design::METHODS;
use mmlens_testkit::{Toy, table_breaches};
use serde_json::{Value, json};

use crate::support::{many, opened, painted, shown};

/// Settings of each method: others take other ways through it.
fn settings(method: &Method) -> Vec<Value> {
    match method.card.short {
        "do" => vec![
            json!({ "draws": 3 }),
            json!({ "pictures": "mean-colour", "words": "unattended", "measured": "objective" }),
            json!({ "pictures": "mean-colour", "draws": 1, "seed": 4 }),
        ],
        "do-often" => vec![
            json!({}),
            json!({ "pictures": "mean-colour", "words": "unattended", "measured": "objective" }),
        ],
        "emap" => vec![json!({ "cases": 3 }), json!({ "cases": 2, "seed": 5 })],
        "cfvqa" => vec![json!({}), json!({ "constant": 0.0 })],
        "mediation" => vec![
            json!({ "random": 3 }),
            json!({ "units": "neurons", "layers": { "at": [1] }, "joint": 2, "random": 2, "rows": 3, "positions": "last" }),
            json!({ "units": { "layers": "attn_out" }, "random": 2 }),
        ],
        "tcav" => vec![
            json!({ "runs": 3 }),
            json!({ "runs": 2, "concepts": ["second"], "positions": "all", "rows": "mean" }),
            json!({ "runs": 2, "relative": true, "seed": 4, "c": 0.1 }),
        ],
        "tree" => vec![
            json!({ "max_new": 2, "least": 1 }),
            json!({ "features": "rows", "answers": "labels", "positions": "all", "depth": 2, "shuffles": 1 }),
        ],
        other => panic!("`{other}` has no settings here"),
    }
}

/// A picture that is a file, so that a finding about it is made again from there.
fn on_disk(folder: &Path, picture: &Picture) -> Picture {
    let path = folder.join("painted.png");
    picture.image.save(&path).unwrap();
    Picture::open(path).unwrap()
}

/// Every method that the subject allows, on a case, on a pair of runs with another sample, or over a data set of like cases.
fn all(subject: &dyn Subject, clean: Sample, corrupted: Sample) {
    let data = many(&clean);
    let given = Given::new(Case::new(clean)).unwrap().against(corrupted).over(data);
    let methods: Vec<Method> =
        METHODS.iter().filter(|method| method.card.allows(subject).is_ok()).copied().collect();
    let breaches = table_breaches(&methods, settings, subject, &given);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn on_the_toys() {
    let folder = tempfile::tempdir().unwrap();
    let picture = on_disk(folder.path(), &painted(1));
    for toy in [Toy::curved(2), Toy::straight(2)] {
        let of = |words: &str| Sample::prompt(vec![picture.clone()], words);
        all(&toy, of("#abc"), of("#xbz"));
    }
}

#[test]
fn on_llava() {
    all(opened("llava-a"), shown("square", "<image>Red?"), shown("tall", "<image>Red?"));
}

/// A method that no subject here allows is tested by nothing.
#[test]
fn every_method_runs_on_one_of_these() {
    let toy = Toy::curved(1);
    let subjects: [&dyn Subject; 2] = [&toy, opened("llava-a")];
    for method in METHODS {
        assert!(subjects.iter().any(|subject| method.card.allows(*subject).is_ok()), "{method:?}");
    }
}
