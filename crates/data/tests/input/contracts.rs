//! Every row of this crate's `METHODS` keeps the contract of analyses.

use mmlens_core::{Annotated, Case, Given, ManyCases, Method, Reply, Sample, Subject, Words, from_fn};
use mmlens_data::METHODS;
use mmlens_testkit::{Toy, table_breaches};
use serde_json::{Value, json};

use crate::support::{opened, painted, shown};

/// Settings of each method: others take other ways through it.
fn settings(method: &Method) -> Vec<Value> {
    match method.card.short {
        "modality" => vec![
            json!({ "repeats": 2 }),
            json!({ "pictures": "mean-colour", "words": "unattended" }),
            json!({ "words": null, "labels": false, "repeats": 3, "seed": 5 }),
        ],
        "pairs" => vec![json!({}), json!({ "each": null, "per_token": true, "rows": 2, "seed": 3 })],
        other => panic!("`{other}` has no settings here"),
    }
}

/// Cases like a sample, with other letters behind their words and an answer; labelled by classes of one letter and of two.
fn many(sample: &Sample) -> ManyCases {
    let sample = sample.clone();
    let Words::Prompt(prompt) = sample.words.clone() else { panic!("no prompt") };
    let case = move |i: usize| {
        let words = Words::Prompt(format!("{prompt}{}", ["", "a", "ab", "bd", "dba", "bb"][i]));
        let answer = ["red", "a blue", "c", "green", "no", "red"][i];
        let sample = Sample { words, ..sample.clone() };
        Ok(Case::answer(sample.answered(Reply::Text(answer.to_owned()))))
    };
    let labelled = Annotated::new(from_fn("many", 6, case), ["a", "bc", "d"], vec![0, 1, 2, 0, 1, 2]);
    ManyCases::over(labelled.unwrap()).unwrap()
}

fn all(subject: &dyn Subject, sample: Sample) {
    let data = many(&sample);
    let given = Given::new(Case::new(sample)).unwrap().over(data);
    let breaches = table_breaches(METHODS, settings, subject, &given);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn on_the_toys() {
    for toy in [Toy::curved(2), Toy::straight(2)] {
        all(&toy, Sample::prompt(vec![painted(1)], "#abc"));
    }
}

#[test]
fn on_llava() {
    all(opened("llava-a"), shown("square", "<image>Red?"));
}
