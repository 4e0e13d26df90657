//! Every row of this crate's `METHODS` keeps the contract of analyses.

use mmlens_core::{Case, Given, ManyCases, Method, Sample, Subject, from_fn};
use mmlens_testkit::{Toy, table_breaches};
use mmlens_training::METHODS;
use serde_json::{Value, json};

use crate::common::opened;

/// Settings of each method: others take other ways through it.
fn settings(method: &Method) -> Vec<Value> {
    match method.card.short {
        "checkpoint-diff" => vec![
            json!({}),
            json!({ "sites": ["text.blocks.*.mlp_out"], "positions": "all", "draws": 1, "held_out": 0.2 }),
        ],
        other => panic!("`{other}` has no settings here"),
    }
}

fn all(before: &dyn Subject, after: impl Subject + 'static) {
    let sample = |i: usize| Sample::text(["It", "It is", "red", "a red", "is it"][i % 5].to_owned());
    let data = from_fn("words", 5, move |i| Ok(Case::new(sample(i))));
    let many = ManyCases::over(data).unwrap().beside(after);
    let given = Given::new(Case::new(sample(3))).unwrap().over(many);
    let breaches = table_breaches(METHODS, settings, before, &given);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn on_the_toys() {
    all(&Toy::curved(1), Toy::curved(2));
    all(&Toy::straight(1), Toy::straight(2));
}

#[test]
fn on_llama() {
    let folder = mmlens_testkit::checkpoint("llama-a");
    all(opened("llama-a"), mmlens_zoo::open(folder, &burn::tensor::Device::default()).unwrap());
}
