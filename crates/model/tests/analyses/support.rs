//! Subjects, samples and small helpers of these tests.

use std::sync::OnceLock;

use burn::tensor::Device;
use mmlens_core::finding::{Finding, Labelled};
use mmlens_core::{
    Annotated, Case, Cases, ManyCases, Mask, Method, Objective, Picture, Sample, Site, Subject, SubjectError,
    Target, Words, from_fn,
};
use mmlens_testkit::{checkpoint, picture};
pub(crate) use mmlens_testkit::{numbers, painted};
use mmlens_zoo::Vlm;
use mmlens_zoo::llava::open_llava;
use serde_json::{Value, json};

pub(crate) fn llava(name: &str) -> &'static Vlm {
    static OPEN: OnceLock<std::sync::Mutex<std::collections::BTreeMap<String, &'static Vlm>>> =
        OnceLock::new();
    let mut open = OPEN.get_or_init(Default::default).lock().unwrap();
    open.entry(name.to_owned())
        .or_insert_with(|| Box::leak(Box::new(open_llava(&checkpoint(name), &Device::default()).unwrap())))
}

pub(crate) fn shown(pictures: &[&str], prompt: &str) -> Sample {
    Sample::prompt(pictures.iter().map(|name| Picture::open(picture(name)).unwrap()).collect(), prompt)
}

/// The question of `methods.py`: what follows `<image>Red?`.
pub(crate) fn question() -> Case {
    Case::new(shown(&["square"], "<image>Red?"))
}

pub(crate) fn about(sample: Sample, objective: Objective) -> Case {
    Case { sample, target: Target::Objective(objective) }
}

/// A checkpoint of any kind, opened once.
pub(crate) fn opened(name: &str) -> &'static dyn Subject {
    static OPEN: OnceLock<std::sync::Mutex<std::collections::BTreeMap<String, &'static dyn Subject>>> =
        OnceLock::new();
    let mut open = OPEN.get_or_init(Default::default).lock().unwrap();
    *open
        .entry(name.to_owned())
        .or_insert_with(|| Box::leak(mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap()))
}

/// A picture with captions, for a dual encoder.
pub(crate) fn captioned(picture: &str, texts: &[&str]) -> Sample {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    Sample::new(shown(&[picture], "").pictures, Words::Texts(texts))
}

/// The pairs of `features.py`.
pub(crate) fn pairs() -> ManyCases {
    let pictures = ["square", "wide", "tall", "tiny", "rgba"];
    let texts = ["a photo of a red circle", "two blue squares", "ring", "a cat", "The SMALL yellow star"];
    let case = move |i: usize| Ok(Case::new(captioned(pictures[i % 5], &[texts[(2 * i + i / 5) % 5]])));
    ManyCases::over(from_fn("pairs", 15, case)).unwrap()
}

pub(crate) fn scalar(finding: &Finding, table: &str) -> f32 {
    finding.table(table).unwrap().as_scalar().unwrap()
}

pub(crate) fn total(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum()
}

pub(crate) fn largest(values: &[f32]) -> f64 {
    mmlens_core::finding::largest(values).unwrap()
}

pub(crate) fn named(finding: &Finding) -> Vec<&str> {
    finding.tables().iter().map(Labelled::name).collect()
}

pub(crate) fn site(name: &str) -> Site {
    name.parse().unwrap()
}

/// A data set of cases like a sample: its pictures, and its words with a few letters behind them.
pub(crate) fn many(sample: &Sample) -> ManyCases {
    let sample = sample.clone();
    let case = move |i: usize| {
        let longer = |words: &str| format!("{words}{}", ["", "a", "ab", "bd", "dba", "bb"][i]);
        let words = match &sample.words {
            Words::Prompt(prompt) => Words::Prompt(longer(prompt)),
            Words::Texts(texts) => Words::Texts(texts.iter().map(|text| longer(text)).collect()),
            other => panic!("{other:?}"),
        };
        Ok(Case::new(Sample { words, ..sample.clone() }))
    };
    ManyCases::over(Marked::new(from_fn("many", 6, case))).unwrap()
}

/// A data set with classes that take turns, and masks of the halves of every picture.
pub(crate) struct Marked<D>(Annotated<D>);

impl<D: Cases> Marked<D> {
    pub(crate) fn new(data: D) -> Self {
        let labels = (0..data.len()).map(|i| i % 2).collect();
        Self(Annotated::new(data, ["x", "y"], labels).unwrap())
    }
}

impl<D: Cases> Cases for Marked<D> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        self.0.case(index)
    }

    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn label(&self, index: usize) -> Result<Option<usize>, SubjectError> {
        self.0.label(index)
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let half = |(at, picture): (usize, &Picture), left: bool| {
            let size = [picture.image.width() as usize, picture.image.height() as usize];
            let inside =
                (0..size[0] * size[1]).map(|pixel| (2 * (pixel % size[0]) < size[0]) == left).collect();
            Mask { name: format!("side: {}", if left { "left" } else { "right" }), picture: at, size, inside }
        };
        let pictures = self.case(index)?.sample.pictures;
        Ok(pictures.iter().enumerate().flat_map(|own| [half(own, true), half(own, false)]).collect())
    }
}

/// Whether a method can do without a second subject beside the first.
pub(crate) fn alone(method: &Method) -> bool {
    method.card.short != "clip-dissect"
}

/// Settings of each method, beside its defaults where these are cheap: others take other ways through it.
pub(crate) fn settings(method: &Method) -> Vec<Value> {
    let path = json!({ "between": { "path": { "steps": 3 } }, "rows": 2 });
    match method.card.short {
        "ig" => vec![
            json!({ "steps": 4, "rows": 3 }),
            json!({
                "along": [{ "site": "text.blocks.1.resid_pre", "baseline": { "constant": 0.25 } }],
                "rule": "midpoint",
                "steps": 3,
            }),
            json!({ "sites": ["text.embed"], "steps": 3 }),
            // Nodes are added; half of what it may take is needed.
            json!({ "budget": 180, "gap": 0.0001, "rows": 5 }),
        ],
        "occlusion" => vec![
            json!({ "picture": { "grid": { "rows": 3, "cols": 2 } } }),
            json!({ "picture": null, "words": "unattended", "rows": 2 }),
            json!({ "picture": { "sliding": { "window": [4, 5], "stride": [4, 3] } }, "words": null }),
            json!({ "picture": "whole", "each": "all", "among": "question" }),
        ],
        "shap" => vec![
            json!({ "picture": { "grid": { "rows": 2, "cols": 2 } }, "each": "token", "rows": 3 }),
            json!({ "picture": { "grid": { "rows": 3, "cols": 3 } }, "each": "token", "samples": 100, "seed": 4 }),
            json!({ "picture": "whole", "words": "unattended", "each": "token" }),
        ],
        "smooth" => vec![
            json!({ "samples": 3, "with": { "steps": 3, "rows": 2 } }),
            json!({ "site": "text.embed", "noise": 0.5, "seed": 2, "samples": 2, "with": {
                "along": [{ "site": "text.embed", "baseline": { "constant": 0.25 } }],
                "steps": 4,
            } }),
        ],
        "saliency" => {
            vec![json!({}), json!({ "sites": ["text.embed", "text.blocks.1.attn.z"], "pool": "norm" })]
        }
        "gxi" => vec![
            json!({}),
            json!({ "sites": ["text.input"], "gap": 0.1 }),
            json!({ "along": [{ "site": "text.blocks.1.resid_pre", "baseline": { "constant": 0.25 } }] }),
        ],
        "expected" => vec![
            json!({ "samples": 3, "pictures": [picture("tall")] }),
            json!({ "samples": 2, "seed": 4, "sites": ["connector.out"] }),
        ],
        "lime" => vec![
            json!({ "picture": { "grid": { "rows": 2, "cols": 2 } }, "samples": 12, "rows": 5 }),
            json!({ "picture": "whole", "each": "token", "samples": 9, "seed": 3, "words": "unattended", "alpha": 0.5 }),
        ],
        "rise" => vec![
            json!({ "samples": 7, "map": [3, 2], "rows": 3 }),
            json!({ "cells": [2, 3], "open": 0.25, "samples": 4, "pixels": "zero" }),
        ],
        "permshap" => vec![
            json!({ "picture": { "grid": { "rows": 2, "cols": 2 } }, "each": "token", "orders": 2, "rows": 3 }),
            json!({ "picture": "whole", "words": "unattended", "each": "token", "exact": true }),
        ],
        "mmshap" => vec![
            json!({ "orders": 1 }),
            json!({ "orders": 2, "pixels": "mean", "seed": 4, "words": "unattended" }),
        ],
        "swap" => vec![
            json!({ "steps": 2, "random": 2, "towards": "objective" }),
            json!({ "towards": "objective", "from": "any", "steps": 1, "random": 1, "layer": 1, "seed": 3, "rows": 5 }),
        ],
        "gradcam" => vec![json!({}), json!({ "site": "connector.out", "weights": "each", "relu": false })],
        "relevance" => vec![json!({}), json!({ "last": 1 })],
        "rollout" => vec![
            json!({}),
            json!({ "whole": 0, "fusion": "max", "residual": 0.25, "sinks": "leave-out", "above": 0.1 }),
        ],
        "logit-lens" => vec![json!({}), json!({ "top": 2, "positions": { "at": [0, 2] }, "rows": 3 })],
        "attention" => vec![json!({}), json!({ "layers": { "at": [0] }, "positions": { "at": [0, 1] } })],
        "sinks" => vec![
            json!({}),
            json!({ "layers": { "at": [1] }, "times": 1.5, "norm": { "above": 2.0 }, "magnitude": 1.0, "over_median": 2.0, "spike": 1.5,
                "dimensions": { "at": [0, 3] }, "above": 0.2, "most": 0.25 }),
        ],
        "sinks-often" => vec![json!({}), json!({ "times": 1.5, "norm": { "median": 1.1 }, "spike": 1.5 })],
        "latent" => vec![
            json!({}),
            json!({ "top": 2, "skip": 0, "bank_layers": { "at": [1] }, "layers": { "at": [0] }, "positions": { "at": [0, 2] } }),
        ],
        "words" => vec![
            json!({}),
            json!({ "dictionary": "unembedding", "measure": "distance", "positions": { "at": [0, 2] }, "layers": { "at": [1] }, "top": 2 }),
        ],
        "ablation" => vec![
            json!({ "controls": 3 }),
            json!({ "sets": [{ "name": "some", "tokens": { "at": [1, 2] } }], "replace": "cut", "from": 1, "controls": 2, "rows": 2 }),
        ],
        "ablation-often" => vec![
            json!({ "sets": [{ "name": "some", "tokens": "pictures" }], "replace": "zero", "controls": 2 }),
        ],
        "skip" => vec![json!({}), json!({ "window": 2, "rows": 1 })],
        "heads" => vec![json!({}), json!({ "among": "words", "layers": { "at": [1] } })],
        "depth" => vec![json!({}), json!({ "layers": { "at": [1] } })],
        "dla" => vec![json!({}), json!({ "by_head": false, "neurons": 5 })],
        "patching" => vec![
            json!({ "points": ["resid_pre", "attn_out", "mlp_out"] }),
            json!({ "places": "modalities", "rows": 2 }),
            json!({ "points": ["mlp_out", "resid_post"], "window": 2, "rows": 3 }),
        ],
        "tracing" => vec![
            json!({ "draws": 2, "window": 1 }),
            json!({
                "corrupted": "pictures", "points": ["resid_mid", "attn.z"], "places": "modalities", "draws": 3, "rows": 5,
                "window": 2, "seed": 4,
            }),
            json!({ "site": "vision.pixels", "points": ["attn.z"], "heads": { "at": [1] }, "draws": 1, "sigma": 0.5 }),
        ],
        "attribution" => vec![json!({}), path],
        "edges" => vec![json!({}), json!({ "blocks": 1 }), path],
        "knockout" => vec![json!({}), json!({ "window": 1 })],
        "paths" => vec![
            json!({}),
            json!({ "senders": ["input", "0.mlp"], "receivers": { "each": ["1.q0", "logits"] } }),
        ],
        "exemplars" => vec![
            json!({ "top": 3, "sample": 7, "crops": 2, "side": 4 }),
            json!({ "positions": "pictures", "layers": { "at": [1] }, "point": "mlp.pre", "quantiles": [0.25], "top": 9 }),
        ],
        "group-ablation" => vec![
            json!({ "largest": 2, "random": 2 }),
            json!({ "neurons": ["1.2", "0.1"], "to": "mean", "random": 3, "rows": 2 }),
        ],
        "values" => {
            vec![json!({ "count": 3, "top": 2 }), json!({ "neurons": ["1.2", "0.1"], "fold": "none" })]
        }
        "multimodal" => vec![
            json!({ "top": 3, "words": 2 }),
            json!({ "by": "gradients", "top": 2, "layers": { "at": [1] }, "fold": "norm" }),
        ],
        "dissection" => vec![
            json!({ "quantile": 0.1, "shuffles": 1 }),
            json!({ "part": "text", "layers": { "at": [1] }, "quantile": 0.2 }),
        ],
        "clip-dissect" => vec![json!({ "shuffles": 1 })],
        "lape" => vec![
            json!({ "share": 0.2, "shuffles": 3 }),
            json!({ "groups": "modalities", "filter": 0.5, "member": 0.5, "share": 0.1, "shuffles": 2, "seed": 4 }),
        ],
        "selectivity" => vec![
            json!({ "shuffles": 3 }),
            json!({ "class": "y", "pool": "max", "positions": "last", "alpha": 0.5, "top": 2, "layers": { "at": [0] } }),
        ],
        "cka" => vec![
            json!({}),
            json!({ "sites": ["text.input", "text.blocks.*.mlp_out"], "estimator": "full", "positions": "all" }),
            json!({ "rows": "positions", "positions": "pictures", "against": ["connector.out"] }),
            json!({ "estimator": { "minibatch": { "batch": 4 } }, "seed": 3 }),
        ],
        "parts" => vec![json!({}), json!({ "layers": { "at": [1] }, "by_token": false })],
        "textspan" => {
            vec![json!({ "texts": ["red", "a dog", "ring", "two"], "count": 3, "rows": 3, "draws": 2 })]
        }
        "away" => vec![
            json!({ "phrase": "a", "draws": 2 }),
            json!({ "phrase": "b", "vectors": "embedding", "positions": "words", "weight": 2.0, "draws": 1, "rows": 1 }),
        ],
        "splice" => vec![
            json!({ "texts": ["red", "a dog", "ring", "two"], "centred": false, "rows": 3, "path": [0.3], "top": 3 }),
        ],
        "gap" => vec![json!({}), json!({ "rows": "positions", "draws": 3, "normalised": false })],
        other => panic!("`{other}` has no settings here"),
    }
}
