//! Every row of this crate's `METHODS` keeps the contract of analyses, and every decoder that of sessions as far as it can.

use std::path::Path;

use mmlens_core::{Case, Given, ManyCases, Method, Picture, Reply, Sample, Subject, Words, from_fn};
use mmlens_inference::{DECODERS, Decoding, METHODS};
use mmlens_testkit::{Toy, table_breaches};
use serde_json::{Value, json};

use crate::support::{opened, painted, shown};

/// Settings of each method: others take other ways through it.
fn settings(method: &Method) -> Vec<Value> {
    match method.card.short {
        "vcd" => vec![json!({}), json!({ "alpha": 0.3, "beta": 0.0, "noise": 900, "seed": 4 })],
        "pai" => vec![json!({ "from": 0 }), json!({ "from": 1, "gamma": 1.0, "alpha": 0.5 })],
        "dola" => vec![
            json!({}),
            json!({ "layers": "low", "alpha": 0.5 }),
            json!({ "layers": { "at": [1, 0] }, "beta": 0.0 }),
        ],
        "token-entropy" => vec![json!({}), json!({ "top": 1 })],
        "semantic-entropy" => {
            vec![
                json!({ "draws": { "samples": 3, "max_new": 3 } }),
                json!({ "draws": { "samples": 4, "max_new": 1, "temperature": 2.0, "seed": 3 } }),
            ]
        }
        "self-consistency" => vec![
            json!({ "draws": { "samples": 3, "max_new": 3 } }),
            json!({ "draws": { "samples": 4, "max_new": 2, "top_p": 0.5 }, "after": "a" }),
        ],
        "calibration" => vec![
            json!({ "max_new": 2 }),
            json!({ "max_new": 3, "confidence": "least", "bins": 4 }),
            json!({ "max_new": 2, "confidence": "mean" }),
        ],
        "in-context" => vec![
            json!({}),
            json!({ "demonstrations": 1, "by": { "nearest": "text.input" }, "conditions": ["none", "other-answers"], "between": " ", "seed": 3 }),
        ],
        "early-answering" => vec![
            json!({ "max_new": 2 }),
            json!({ "max_new": 1, "ask": "", "filler": "ab", "chain": 2, "mistakes": [{ "at": 0, "sentence": "no." }] }),
        ],
        other => panic!("`{other}` has no settings here"),
    }
}

/// Cases like a sample, with other letters behind their words and an answer.
fn many(sample: &Sample) -> ManyCases {
    let sample = sample.clone();
    let Words::Prompt(prompt) = sample.words.clone() else { panic!("no prompt") };
    let case = move |i: usize| {
        let words = Words::Prompt(format!("{prompt}{}", ["", "a", "ab", "bd", "dba", "bb"][i]));
        let answer = ["red", "a blue", "c", "green", "no", "red"][i];
        let sample = Sample { words, ..sample.clone() };
        Ok(Case::new(sample.answered(Reply::Text(answer.to_owned()))))
    };
    ManyCases::over(from_fn("many", 6, case)).unwrap()
}

/// A picture that is a file, so that a finding about it is made again from there.
fn on_disk(folder: &Path, picture: &Picture) -> Picture {
    let path = folder.join("painted.png");
    picture.image.save(&path).unwrap();
    Picture::open(path).unwrap()
}

fn all(subject: &dyn Subject, sample: Sample) {
    let answered = sample.clone().answered(Reply::Text("ab".to_owned()));
    for sample in [sample, answered] {
        // A chain of thought is what some look at.
        let chained = |method: &&Method| sample.reply.is_some() || !method.is_called("early-answering");
        let methods: Vec<Method> = METHODS.iter().filter(chained).copied().collect();
        let data = many(&sample);
        let given = Given::new(Case::new(sample)).unwrap().over(data);
        let breaches = table_breaches(&methods, settings, subject, &given);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }
}

#[test]
fn on_the_toys() {
    let folder = tempfile::tempdir().unwrap();
    let picture = on_disk(folder.path(), &painted(1));
    for toy in [Toy::curved(2), Toy::straight(2)] {
        all(&toy, Sample::prompt(vec![picture.clone()], "#abc"));
    }
}

#[test]
fn on_llava() {
    all(opened("llava-a"), shown("square", "<image>Red?"));
}

#[test]
fn decoders_are_called_by_both_of_their_names() {
    for row in DECODERS {
        for name in [row.card.id, row.card.short] {
            assert_eq!(Decoding::called(name).unwrap().card.id, row.card.id);
            assert!(METHODS.iter().any(|method| method.card == row.card));
        }
        assert_eq!(row.make(json!({})).unwrap().card(), row.card);
    }
    let said = Decoding::called("contrasting-layer").unwrap_err().to_string();
    assert_eq!(said, "no method is called `contrasting-layer` (did you mean `contrasting-layers`?)");
    let said = Decoding::called("dola").unwrap().make(json!({ "layer": 1 })).err().unwrap().to_string();
    assert!(said.contains("unknown field `layer`"), "{said}");
}
