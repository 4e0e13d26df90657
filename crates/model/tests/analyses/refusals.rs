//! What is refused, and in which words.

use std::ops::ControlFlow;

use mmlens_core::{Analysis, AnalysisError, Baseline, Case, Objective, On, Pair, Part, Point, Sample, Watch};
use mmlens_engine::{End, Positions, Receiver, Rule, Sender};
use mmlens_model::activation_patching::{self, ActivationPatching, Places};
use mmlens_model::attention_knockout::{self, AttentionKnockout, Edges};
use mmlens_model::attention_rollout::{self, AttentionRollout};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::edge_attribution::{self, EdgeAttribution};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::kernel_shap::{self, KernelShap};
use mmlens_model::logit_lens::{self, LogitLens};
use mmlens_model::occlusion::{self, Cover, Each, Occlusion};
use mmlens_model::path_patching::{self, PathPatching, Receivers};
use mmlens_model::smooth_grad::{self, SmoothGrad};
use mmlens_testkit::Toy;

use crate::support::{about, painted, site};

fn case(words: &str) -> Case {
    let pictures = (0..words.matches('#').count()).map(|i| painted(i as u32)).collect();
    about(Sample::prompt(pictures, words), Objective::logit(3))
}

fn said<T>(result: Result<T, AnalysisError>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

fn along(names: &[&str]) -> integrated_gradients::Settings {
    let along = names.iter().map(|name| End::new(site(name), Baseline::Zero)).collect();
    integrated_gradients::Settings { along: Some(along), steps: Some(50), ..Default::default() }
}

#[test]
fn settings_that_cannot_be() {
    let ig = |change: fn(&mut integrated_gradients::Settings)| {
        let mut settings = integrated_gradients::Settings::default();
        change(&mut settings);
        said(IntegratedGradients::new(settings))
    };
    assert_eq!(
        ig(|s| s.along = Some(Vec::new())),
        "integrated-gradients: along = no site, but a path needs at least one"
    );
    assert_eq!(
        ig(|s| s.along = Some(vec![End::new(site("vision.pixels"), Baseline::Zero); 2])),
        "integrated-gradients: along = `vision.pixels` twice, but a site moves once"
    );
    assert_eq!(ig(|s| s.steps = Some(0)), "integrated-gradients: steps = 0, but it needs 1 to 4096");
    assert_eq!(ig(|s| s.steps = Some(5000)), "integrated-gradients: steps = 5000, but it needs 1 to 4096");
    assert_eq!(
        ig(|s| (s.rule, s.steps) = (Rule::Trapezoid, Some(1))),
        "integrated-gradients: steps = 1, but the trapezoid rule needs 2 to 4096"
    );
    assert_eq!(
        ig(|s| s.gap = -0.5),
        "integrated-gradients: gap = -0.5, but it is a share of the change, 0 or above"
    );
    for budget in [128, 65537] {
        let settings = integrated_gradients::Settings { budget, ..Default::default() };
        assert_eq!(
            said(IntegratedGradients::new(settings)),
            format!(
                "integrated-gradients: budget = {budget}, but the first panels need 129, and 65536 are the most"
            )
        );
    }
    assert_eq!(ig(|s| s.rows = 0), "integrated-gradients: rows = 0, but it must be at least 1");
    let hide = |change: fn(&mut occlusion::Settings)| {
        let mut settings = occlusion::Settings::default();
        change(&mut settings);
        said(Occlusion::new(settings))
    };
    assert_eq!(
        hide(|s| (s.picture, s.words) = (None, None)),
        "occlusion: picture, words = none, but pictures (and recordings), words or both must be hidden"
    );
    assert_eq!(
        hide(|s| s.picture = Some(Cover::Grid { rows: 0, cols: 4 })),
        "occlusion: picture = a grid of 0 x 4 cells, but a grid needs at least one row and one column"
    );
    assert_eq!(
        hide(|s| s.picture = Some(Cover::Sliding { window: [4, 4], stride: [4, 5] })),
        "occlusion: picture = window [4, 4], stride [4, 5], but larger strides than windows leave gaps"
    );
    assert_eq!(
        hide(|s| s.picture = Some(Cover::Sliding { window: [0, 4], stride: [1, 1] })),
        "occlusion: picture = window [0, 4], stride [1, 1], but windows and strides must be at least 1"
    );
    assert_eq!(hide(|s| s.rows = 0), "occlusion: rows = 0, but it must be at least 1");
    assert_eq!(
        hide(|s| s.picture = Some(Cover::Slic { segments: 0, compactness: 10.0 })),
        "occlusion: picture = 0 segments, but there must be one"
    );
    assert_eq!(
        hide(|s| s.picture = Some(Cover::Slic { segments: 9, compactness: f64::NAN })),
        "occlusion: picture = compactness NaN, but it must be a number above 0"
    );
    let shared = |change: fn(&mut kernel_shap::Settings)| {
        let mut settings = kernel_shap::Settings::default();
        change(&mut settings);
        said(KernelShap::new(settings))
    };
    assert_eq!(
        shared(|s| s.picture = Some(Cover::Sliding { window: [4, 4], stride: [4, 4] })),
        "kernel-shap: picture = sliding windows, but parts that share no pixel are players"
    );
    assert_eq!(
        shared(|s| (s.picture, s.words) = (None, None)),
        "kernel-shap: picture, words = none, but pictures (and recordings), words or both must be hidden"
    );
    assert_eq!(shared(|s| s.samples = 0), "kernel-shap: samples = 0, but it must be at least 1");
    assert_eq!(shared(|s| s.rows = 0), "kernel-shap: rows = 0, but it must be at least 1");
    let shaken = |change: fn(&mut smooth_grad::Settings)| {
        let mut settings = smooth_grad::Settings::default();
        change(&mut settings);
        said(SmoothGrad::new(settings).map(|_| ()))
    };
    for other in ["occlusion", "smooth", "patching", "nonsense"] {
        let settings = smooth_grad::Settings { of: other.to_owned(), ..Default::default() };
        assert_eq!(
            said(SmoothGrad::new(settings).map(|_| ())),
            format!("smooth-grad: of = `{other}`, but a gradient method of one case is shaken, such as `ig`")
        );
    }
    assert_eq!(shaken(|s| s.samples = 0), "smooth-grad: samples = 0, but it must be at least 1");
    assert_eq!(shaken(|s| s.noise = -0.1), "smooth-grad: noise = -0.1, but it is a share, 0 or above");
    assert_eq!(shaken(|s| s.noise = f64::NAN), "smooth-grad: noise = NaN, but it is a share, 0 or above");
    assert_eq!(
        shaken(|s| s.with.extend([("steps".to_owned(), 0.into())])),
        "integrated-gradients: steps = 0, but it needs 1 to 4096"
    );
    let rolled = |residual| {
        said(AttentionRollout::new(attention_rollout::Settings { residual, ..Default::default() }))
    };
    assert_eq!(rolled(1.5), "attention-rollout: residual = 1.5, but a share lies between 0 and 1");
    assert_eq!(rolled(f32::NAN), "attention-rollout: residual = NaN, but a share lies between 0 and 1");
    let lens = |top, rows| said(LogitLens::new(logit_lens::Settings { top, rows, ..Default::default() }));
    assert_eq!(lens(0, 1), "logit-lens: top = 0, but it must be at least 1");
    assert_eq!(lens(1, 0), "logit-lens: rows = 0, but it must be at least 1");
    let patch = |points: &[Point]| {
        said(ActivationPatching::new(activation_patching::Settings {
            points: points.to_vec(),
            ..Default::default()
        }))
    };
    assert_eq!(patch(&[]), "activation-patching: points = none, but there must be one");
    assert_eq!(
        patch(&[Point::Q, Point::Q]),
        "activation-patching: points = `attn.q` twice, but a point is named once"
    );
    assert_eq!(
        patch(&[Point::Logits]),
        "activation-patching: points = `logits`, but a point must lie in a block"
    );
}

#[test]
fn routes_and_circuits_that_cannot_be() {
    let (toy, pair) = (Toy::curved(1), Pair { clean: case("#ab"), corrupted: case("#cb").sample });
    let cut = |change: fn(&mut attention_knockout::Settings)| {
        let mut settings = attention_knockout::Settings::default();
        change(&mut settings);
        AttentionKnockout::new(settings)
    };
    assert_eq!(
        said(cut(|s| s.edges = Some(Vec::new()))),
        "attention-knockout: edges = none, but something must be cut"
    );
    assert_eq!(
        said(cut(
            |s| s.edges = Some([Edges::usual(Part::Text, None), Edges::usual(Part::Text, None)].concat())
        )),
        "attention-knockout: edges = `pictures to question` twice, but names must tell them apart"
    );
    assert_eq!(
        said(cut(|s| s.window = Some(0))),
        "attention-knockout: window = 0, but it must be at least 1"
    );
    assert_eq!(said(cut(|s| s.rows = 0)), "attention-knockout: rows = 0, but it must be at least 1");
    assert_eq!(
        said(
            cut(|s| s.edges = Some(Edges::usual(Part::Text, None)[..2].to_vec()))
                .unwrap()
                .run(&toy, &case("ab"))
        ),
        "attention-knockout needs a picture or recording that edges lead from, but the sample has none"
    );
    let nodes = |points: &[Point], rows| {
        let settings = attribution_patching::Settings { points: points.to_vec(), rows, ..Default::default() };
        AttributionPatching::new(settings)
    };
    assert_eq!(said(nodes(&[], 1)), "attribution-patching: points = none, but there must be one");
    assert_eq!(said(nodes(&[Point::Z], 0)), "attribution-patching: rows = 0, but it must be at least 1");
    assert_eq!(
        said(nodes(&[Point::Scores], 1).unwrap().run(&toy, &pair)),
        "attribution-patching needs points whose axes begin with batch and position, but `text.blocks.0.attn.scores` has \
         [batch, head=2, query, key]"
    );
    assert_eq!(
        said(nodes(&[Point::QRot], 1).unwrap().run(&toy, &pair)),
        "`curved toy` has no site `text.blocks.0.attn.q_rot`"
    );
    let edges = |top, blocks, rows| {
        said(EdgeAttribution::new(edge_attribution::Settings { top, blocks, rows, ..Default::default() }))
    };
    assert_eq!(edges(0, 1, 1), "edge-attribution: top = 0, but it must be at least 1");
    assert_eq!(edges(1, 0, 1), "edge-attribution: blocks = 0, but it must be at least 1");
    assert_eq!(edges(1, 1, 0), "edge-attribution: rows = 0, but it must be at least 1");
    let path = |senders: &[Sender], receivers| {
        let senders = Some(senders.to_vec());
        PathPatching::new(path_patching::Settings { senders, receivers, ..Default::default() })
    };
    let (input, query) = (Sender::Input, Receiver::Query { layer: 1, head: 2 });
    assert_eq!(said(path(&[], Receivers::All)), "path-patching: senders = none, but there must be one");
    assert_eq!(
        said(path(&[input, input], Receivers::All)),
        "path-patching: senders = `input` twice, but each is named once"
    );
    assert_eq!(
        said(path(&[input], Receivers::Together(vec![query, Receiver::Logits]))),
        "path-patching: receivers = `logits` together with others, but what is read at the end is settled before \
         anything together with it"
    );
    assert_eq!(
        said(path(&[input], Receivers::Each(vec![query])).unwrap().run(&toy, &pair)),
        "path-patching needs nodes that the part has, but `1.q2` is none of 0.q0 to logits"
    );
}

#[test]
fn inputs_a_method_cannot_work_on() {
    let toy = Toy::curved(1);
    let hide = |settings: occlusion::Settings, words: &str| {
        said(Occlusion::new(settings).unwrap().run(&toy, &case(words)))
    };
    assert_eq!(
        hide(occlusion::Settings { words: None, ..Default::default() }, "abc"),
        "occlusion needs a picture or recording to hide parts of, but the sample has none"
    );
    assert_eq!(
        hide(occlusion::Settings { picture: None, ..Default::default() }, "#"),
        "occlusion needs words to hide, but the sample has none"
    );
    let fine = occlusion::Settings { picture: Some(Cover::Grid { rows: 9, cols: 2 }), ..Default::default() };
    assert_eq!(
        hide(fine, "#a"),
        "occlusion needs a picture of at least one pixel for each cell, but 9 x 2 cells were asked for of 8 x 8 pixels"
    );
    let shared = |change: fn(&mut kernel_shap::Settings)| {
        let mut settings = kernel_shap::Settings::default();
        change(&mut settings);
        said(KernelShap::new(settings).unwrap().run(&toy, &case("#abc")))
    };
    let few = shared(|s| (s.each, s.samples) = (Each::Token, 3));
    assert!(few.contains("samples = 3 (3 coalitions are too few to tell "), "{few}");
    assert_eq!(
        shared(|s| (s.picture, s.among) = (None, Positions::At(vec![99]))),
        "kernel-shap needs a sample with units that can be absent as asked, but there is no position 99 among 7"
    );
    let lens = |positions| {
        let lens = LogitLens::new(logit_lens::Settings { positions, ..Default::default() }).unwrap();
        said(lens.run(&toy, &case("ab")))
    };
    assert_eq!(
        lens(Positions::At(vec![0, 7])),
        "logit-lens needs positions that the sample has, but position 7 was asked for of 2"
    );
    assert_eq!(
        lens(Positions::Pictures),
        "logit-lens needs at least one position, but the sample has none of `pictures`"
    );
    let beyond = about(Sample::prompt(vec![], "ab"), Objective::logit(99));
    assert_eq!(
        said(LogitLens::new(logit_lens::Settings::default()).unwrap().run(&toy, &beyond)),
        "the objective asks for token 99, but the output has 27"
    );
    let similar = about(Sample::prompt(vec![], "ab"), Objective::Similarity);
    assert_eq!(
        said(LogitLens::new(logit_lens::Settings::default()).unwrap().run(&toy, &similar)),
        "logit-lens needs an objective that names tokens, but this one is the similarity of picture and text"
    );
}

#[test]
fn pairs_that_do_not_go_together() {
    let toy = Toy::curved(1);
    let run = |clean: &str, corrupted: &str, places: Places| {
        let method =
            ActivationPatching::new(activation_patching::Settings { places, ..Default::default() }).unwrap();
        said(method.run(&toy, &Pair { clean: case(clean), corrupted: case(corrupted).sample }))
    };
    let each = Places::default;
    assert_eq!(
        run("#abc", "#ab", each()),
        "activation-patching needs clean and corrupted samples of the same length, but the clean one has 7 positions and \
         the corrupted one 6"
    );
    assert_eq!(
        run("#ab", "a#b", each()),
        "activation-patching needs clean and corrupted samples with pictures at the same positions, but at position 0 \
         only one of them shows a picture"
    );
    let alike = run("ab", "ab", each());
    assert!(
        alike.starts_with(
            "activation-patching needs two samples that the objective tells apart, but the logit of token 3"
        ),
        "{alike}"
    );
    assert_eq!(
        run("ab", "bb", Places::Each(Positions::At(vec![2]))),
        "activation-patching needs positions that the sample has, but position 2 was asked for of 2"
    );
}

#[test]
fn sites_that_are_not_there_or_do_not_count() {
    let toy = Toy::curved(1);
    let run = |names: &[&str]| said(IntegratedGradients::new(along(names)).unwrap().run(&toy, &case("#a")));
    assert_eq!(
        run(&["text.blocks.7.resid_pre"]),
        "`curved toy` has no site `text.blocks.7.resid_pre` (did you mean `text.blocks.1.resid_pre`?)"
    );
    // the stream that is set at block 1 does not depend on the pixels
    assert_eq!(
        run(&["vision.pixels", "text.blocks.1.resid_pre"]),
        "no gradient reached `vision.pixels`: the objective does not depend on it, or the plan did not ask for it"
    );
    let wrong =
        mmlens_core::AnyTensor::from_values(vec![0.0; 2], &[2], &burn::tensor::Device::default()).unwrap();
    let settings = integrated_gradients::Settings {
        along: Some(vec![End::new(site("text.embed"), Baseline::Given(wrong))]),
        ..Default::default()
    };
    assert_eq!(
        said(IntegratedGradients::new(settings).unwrap().run(&toy, &case("a"))),
        "`text.embed` has shape [1, 1, 6]; a value of shape [2] cannot be set there (each length must be equal or 1)"
    );
    let pixels = said(IntegratedGradients::new(along(&["vision.pixels"])).unwrap().run(&toy, &case("a")));
    assert_eq!(pixels, "`vision.pixels` was planned but the forward pass never reached it");
}

#[test]
fn a_watcher_cancels_in_the_middle() {
    struct Third;
    impl Watch for Third {
        fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
            if done < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
    }
    let method =
        IntegratedGradients::new(integrated_gradients::Settings { rows: 1, ..along(&["text.embed"]) })
            .unwrap();
    let error = method.run_on(&On::new(&Toy::curved(1)).watched(&Third), &case("a")).unwrap_err();
    assert_eq!(error.to_string(), "integrated-gradients was cancelled after 3 of 50");
}
