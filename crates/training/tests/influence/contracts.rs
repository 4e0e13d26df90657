//! Every fit of this crate gives a method that keeps the contract of analyses.

use mmlens_core::{Given, On, Seed, Source, Subject};
use mmlens_testkit::{Toy, analysis_breaches};
use mmlens_training::FITS;
use serde_json::{Value, json};

use crate::support::{word, words};

/// Settings of each: others take other ways through it.
fn settings(short: &str) -> Vec<Value> {
    match short {
        "tracin" => {
            vec![json!({}), json!({ "weights": ["text.blocks.1.mlp"], "projected": "none", "rate": 0.5 })]
        }
        "trak" => vec![json!({ "features": 12 }), json!({ "features": 64, "ridge": 0.1 })],
        "grad-cos" => vec![
            json!({ "features": 32 }),
            json!({ "projected": "none", "weights": ["text.blocks.*.attn.o"] }),
        ],
        "feature-cos" => vec![json!({}), json!({ "site": "text.blocks.1.mlp_out", "positions": "all" })],
        "bm25" => vec![json!({}), json!({ "k1": 0.0, "b": 1.0 })],
        other => panic!("`{other}` has no settings here"),
    }
}

#[test]
fn what_was_learned_keeps_the_contract() {
    for toy in [Toy::curved(2), Toy::straight(2)] {
        for fit in FITS {
            for settings in settings(fit.card.short) {
                let on = On::new(&toy);
                let learned = fit.learn(settings, &Source::Cases(&on, &words()), Seed(4), None).unwrap();
                let given = Given::new(word(5)).unwrap();
                let probe = toy.encode(&given.case.sample).unwrap();
                let breaches = analysis_breaches(learned.fitted.as_ref(), &toy, &given, &probe);
                assert!(breaches.is_empty(), "{}: {breaches:#?}", fit.card.id);
            }
        }
    }
}
