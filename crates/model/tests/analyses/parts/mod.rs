//! Routes, circuits and direct shares in towers: against torch, what is refused there, and the contract.

mod routes;

use std::num::NonZeroUsize;

use mmlens_core::finding::{Finding, Tolerance};
use mmlens_core::{
    Analysis, AnyAnalysis, Capability, Given, Objective, Pair, Part, Picture, Plan, Point, Sample, Subject,
    Words,
};
use mmlens_engine::{Between, Indices, Positions, Receiver, Sender};
use mmlens_model::attention_knockout::{self, AttentionKnockout, Edges};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::direct_logit_attribution::{self, DirectLogitAttribution};
use mmlens_model::edge_attribution::{self, EdgeAttribution};
use mmlens_model::path_patching::{self, Mlps, PathPatching, Receivers};
use mmlens_testkit::{Oracle, analysis_breaches, picture};

use crate::support::{about, captioned, llava, numbers, opened, question, scalar, shown, total};

/// Differences of nearly equal logits.
const ATTRIBUTION: Tolerance = Tolerance::relative(1e-3);
const LOGIT: Tolerance = Tolerance::relative(1e-4);
/// Another grouping of the same sums in f32, of logits of a size of ten.
const ROUNDING: Tolerance = Tolerance::either(2e-5, 1e-4);

fn agree(tolerance: Tolerance, what: &str, found: &[f32], wanted: &[f64]) {
    let gap = tolerance.check(what, found, wanted).unwrap();
    println!("{what}: {:.2e}", gap.relative);
}

/// The square and the tall picture about the same question, of `llava-a`.
fn contrast() -> Pair {
    Pair { clean: question(), corrupted: shown(&["tall"], "<image>Red?") }
}

fn bare(name: &str) -> Sample {
    Sample::new(shown(&[name], "").pictures, Words::Nothing)
}

/// A picture with its colours turned round, of the same size as it.
fn inverted(name: &str) -> Picture {
    let mut image = (*Picture::open(picture(name)).unwrap().image).clone();
    image.invert();
    Picture::new("inverted", image)
}

fn asked(pictures: Vec<Picture>, words: &str) -> Sample {
    Sample { pictures, ..shown(&[], words) }
}

/// Towers with one picture and with several, of tiles, of one packed sequence, without a class token, and behind nothing at all.
fn towers() -> Vec<(&'static str, &'static dyn Subject, Pair)> {
    let open = |name: &str| Picture::open(picture(name)).unwrap();
    let two = |first: &'static str, second: &'static str| shown(&[first, second], "<image>and<image>");
    let ask = |picture: Picture| Sample::ask(picture, "Red?");
    let pair = |clean: Sample, objective: Objective, corrupted: Sample| Pair {
        clean: about(clean, objective),
        corrupted,
    };
    let token = || Objective::logit(5);
    vec![
        ("llava-a", opened("llava-a"), pair(two("square", "wide"), token(), two("tall", "square"))),
        ("llava-next-a", opened("llava-next-a"), pair(ask(open("wide")), token(), ask(inverted("wide")))),
        ("smolvlm-a", opened("smolvlm-a"), pair(ask(open("square")), token(), ask(inverted("square")))),
        ("qwen2-vl-a", opened("qwen2-vl-a"), pair(ask(open("square")), token(), ask(inverted("square")))),
        ("qwen2.5-vl-a", opened("qwen2.5-vl-a"), pair(ask(open("wide")), token(), ask(inverted("wide")))),
        (
            "blip-a",
            opened("blip-a"),
            pair(asked(vec![open("square")], "a red"), token(), asked(vec![open("tall")], "a red")),
        ),
        (
            "clip-a",
            opened("clip-a"),
            pair(
                captioned("square", &["a red square"]),
                Objective::Similarity,
                captioned("tall", &["a red square"]),
            ),
        ),
        (
            "siglip-a",
            opened("siglip-a"),
            pair(
                captioned("square", &["a red square"]),
                Objective::Cosine,
                captioned("tall", &["a red square"]),
            ),
        ),
        ("vit-a", opened("vit-a"), pair(bare("square"), Objective::logit(3), bare("tall"))),
    ]
}

const VISION: Option<Part> = Some(Part::Vision);

fn attribution(points: &[Point], between: Between, rows: usize) -> AttributionPatching {
    let points = points.to_vec();
    let settings =
        attribution_patching::Settings { part: VISION, points, between, rows, ..Default::default() };
    AttributionPatching::new(settings).unwrap()
}

fn edges(between: Between, blocks: usize, rows: usize) -> EdgeAttribution {
    let settings = edge_attribution::Settings { part: VISION, between, blocks, rows, ..Default::default() };
    EdgeAttribution::new(settings).unwrap()
}

fn paths(settings: path_patching::Settings) -> PathPatching {
    PathPatching::new(path_patching::Settings { part: VISION, ..settings }).unwrap()
}

fn knockout(edges: Option<Vec<Edges>>, window: usize, rows: usize) -> AttentionKnockout {
    let settings = attention_knockout::Settings {
        part: VISION,
        edges,
        window: Some(window),
        rows,
        ..Default::default()
    };
    AttentionKnockout::new(settings).unwrap()
}

fn path(steps: usize) -> Between {
    Between::Path { steps: NonZeroUsize::new(steps).unwrap() }
}

#[test]
fn a_tower_is_taken_apart_as_torch_does() {
    let (subject, pair) = (llava("llava-a"), contrast());
    let oracle = Oracle::open("methods/patching-tower").unwrap();
    let wanted = |name: &str| oracle.array(name).unwrap().values.clone();
    let found = knockout(None, 1, 4).run(subject, &question()).unwrap();
    agree(ATTRIBUTION, "knock-out in a tower", numbers(&found, "change"), &wanted("knockout"));
    let kinds = found.table("change").unwrap().axes()[0].clone();
    let named = oracle.about()["kinds"].as_array().unwrap();
    assert!((0..3).map(|i| kinds.label(i).unwrap()).eq(named.iter().map(|name| name.as_str().unwrap())));
    let points = [Point::ResidPre, Point::Z, Point::MlpPost];
    for (name, between) in [("corrupted", Between::Corrupted), ("path", path(5))] {
        let found = attribution(&points, between, 2).run(subject, &pair).unwrap();
        for (table, wanted_as) in [
            ("resid_pre", "resid_pre"),
            ("attn.z/heads and tokens", "z.heads"),
            ("mlp.post/neurons", "mlp.post.neurons"),
        ] {
            let wanted = wanted(&format!("attribution.{name}.{wanted_as}"));
            agree(ATTRIBUTION, &format!("tower, {name}, {table}"), numbers(&found, table), &wanted);
        }
    }
    let found = edges(Between::Corrupted, 2, 2).run(subject, &pair).unwrap();
    agree(ATTRIBUTION, "edges of a tower", numbers(&found, "edges"), &wanted("edges"));
    let table = found.table("edges").unwrap();
    for (axis, names) in ["senders", "receivers"].into_iter().enumerate() {
        let wanted = oracle.about()[names].as_array().unwrap();
        let labels = (0..wanted.len()).map(|i| table.axes()[axis].label(i).unwrap());
        assert!(labels.eq(wanted.iter().map(|name| name.as_str().unwrap())), "{names}");
    }
    let found = paths(path_patching::Settings::default()).run(subject, &pair).unwrap();
    agree(ATTRIBUTION, "paths of a tower", numbers(&found, "effect"), &wanted("paths"));
    agree(LOGIT, "clean", &[scalar(&found, "clean")], &wanted("clean"));
}

fn direct(by_head: bool, neurons: usize) -> DirectLogitAttribution {
    let settings = direct_logit_attribution::Settings { part: VISION, by_head, neurons };
    DirectLogitAttribution::new(settings).unwrap()
}

#[test]
fn direct_shares_at_a_class_token_are_those_of_torch() {
    // Single logits are read off states in f32: as in the text decoders.
    let tolerance = Tolerance::relative(1e-5);
    for (name, sample) in [("clip-a", captioned("square", &["a red square"])), ("vit-a", bare("square"))] {
        let oracle = Oracle::open(&format!("methods/direct-{name}")).unwrap();
        let wanted = |array: &str| oracle.array(array).unwrap().values.clone();
        let class = oracle.array("target").unwrap().ids()[0];
        let objective = if name == "clip-a" { Objective::Similarity } else { Objective::logit(class) };
        let found = direct(true, 0).run(opened(name), &about(sample, objective)).unwrap();
        let layers: Vec<f64> =
            wanted("attention").into_iter().zip(wanted("mlp")).flat_map(|(a, mlp)| [a, mlp]).collect();
        agree(tolerance, &format!("{name}, layers"), numbers(&found, "layers"), &layers);
        agree(tolerance, &format!("{name}, heads"), numbers(&found, "heads"), &wanted("heads"));
        let mut outside = vec![wanted("embedding")[0], wanted("norm_bias")[0]];
        // CLIP's projection has no bias.
        outside.extend((name == "vit-a").then(|| wanted("bias")[0]));
        agree(tolerance, &format!("{name}, outside"), numbers(&found, "outside the layers"), &outside);
        let said = [scalar(&found, "logit"), scalar(&found, "objective")];
        agree(tolerance, &format!("{name}, logit"), &said, &[wanted("said")[0]; 2]);
    }
}

#[test]
fn direct_shares_of_a_tower_add_up() {
    let texts = ["a red square", "ring"].map(|text| captioned("wide", &[text]));
    let clip = opened("clip-a");
    let [own, other] = texts.map(|sample| clip.encode(&sample).unwrap());
    let vector = |inputs| {
        let trace = clip.run(inputs, Plan::new()).unwrap();
        trace.output().pairs.as_ref().unwrap().texts.to_values().unwrap()
    };
    let against = Objective::Against { other: vector(&other) };
    assert_ne!(vector(&own), vector(&other));
    let caption = || captioned("wide", &["a red square"]);
    // Two pictures, of which a caption's own is the first.
    let both = Sample { pictures: shown(&["wide", "tall"], "").pictures, ..caption() };
    for (name, sample, objective, said) in [
        ("clip-a", caption(), Objective::Similarity, "logit"),
        ("clip-a", both, Objective::Cosine, "cosine"),
        ("clip-a", caption(), against, "logit"),
        ("clip-b", caption(), Objective::Similarity, "logit"),
        ("vit-a", bare("wide"), Objective::logit_difference(5, 2), "logit"),
        ("vit-b", bare("wide"), Objective::log_probability(1), "logit"),
    ] {
        let what = format!("{name}, {objective}");
        let found = direct(true, usize::MAX).run(opened(name), &about(sample, objective)).unwrap();
        let (layers, logit) = (numbers(&found, "layers"), f64::from(scalar(&found, said)));
        let scale = layers.iter().map(|share| f64::from(share.abs())).sum::<f64>() + logit.abs();
        let near = |part: &str, a: f64, b: f64| {
            assert!((a - b).abs() <= 1e-5 * scale, "{what}: {part} {a} {b}, of {scale}");
        };
        near("all", total(layers) + total(numbers(&found, "outside the layers")), logit);
        near("gap", f64::from(scalar(&found, "gap")), 0.0);
        near("said", f64::from(scalar(&found, "objective")), logit);
        let heads = found.table("heads").unwrap();
        let neurons = found.table("neurons").unwrap();
        for (layer, own) in heads.as_numbers().unwrap().chunks(heads.shape()[1]).enumerate() {
            let bias = |at| f64::from(found.table("biases").unwrap().get(&[layer, at]).unwrap());
            near("heads", total(own) + bias(0), f64::from(layers[2 * layer]));
            let of_layer = |i: &usize| neurons.axes()[0].label(*i).unwrap().starts_with(&format!("{layer}."));
            let values = neurons.as_numbers().unwrap();
            let own: f64 = (0..values.len()).filter(of_layer).map(|i| f64::from(values[i])).sum();
            near("neurons", own + bias(1), f64::from(layers[2 * layer + 1]));
        }
    }
}

/// Where no part is named, it is the language model where there is one of its own, and the tower where there is none.
#[test]
fn a_part_that_is_left_open_is_settled() {
    let vqa = || asked(vec![Picture::open(picture("square")).unwrap()], "red?");
    let other = || asked(vec![Picture::open(picture("tall")).unwrap()], "red?");
    let clip = |name| captioned(name, &["a red square"]);
    let token = Objective::logit(3);
    for (name, pair, parts) in [
        ("llava-a", contrast(), ["text"; 3]),
        (
            "vit-a",
            Pair { clean: about(bare("square"), token.clone()), corrupted: bare("tall") },
            ["vision"; 3],
        ),
        ("blip-qa", Pair { clean: about(vqa(), token), corrupted: other() }, ["vision", "vision", "none"]),
        (
            "clip-a",
            Pair { clean: about(clip("square"), Objective::Cosine), corrupted: clip("tall") },
            ["text", "none", "vision"],
        ),
    ] {
        let subject = opened(name);
        let settled = |found: Result<Finding, mmlens_core::AnalysisError>| match found {
            Ok(found) => found.provenance.settings["part"].as_str().unwrap().to_owned(),
            Err(_) => "none".to_owned(),
        };
        let pairs = AttributionPatching::new(attribution_patching::Settings::default()).unwrap();
        let cut = AttentionKnockout::new(attention_knockout::Settings::default()).unwrap();
        let found = [
            settled(pairs.run(subject, &pair)),
            settled(cut.run(subject, &pair.clean)),
            settled(DirectLogitAttribution::default().run(subject, &pair.clean)),
        ];
        assert_eq!(found, parts, "{name}");
    }
}

#[test]
fn what_a_tower_cannot_be_asked_is_refused() {
    let said = |subject: &dyn Subject, method: &dyn AnyAnalysis, pair: &Pair| {
        let given = Given::new(pair.clean.clone()).unwrap().against(pair.corrupted.clone());
        method.run_given(&mmlens_core::On::new(subject), &given).unwrap_err().to_string()
    };
    let (subject, pair) = (opened("llava-a"), contrast());
    assert_eq!(
        said(subject, &direct(true, 0), &pair),
        "direct-logit-attribution needs states of its part `vision` that can be read out, but it ends in states, with neither logits nor a \
         projection into a shared space; `attribution-patching` scores what it does for an answer elsewhere"
    );
    let words = Some(vec![Edges::between(Positions::Pictures, Positions::Question)]);
    assert_eq!(
        said(subject, &knockout(words, 1, 1), &pair),
        "attention-knockout needs positions of a tower: `all`, `pictures` (its patches), `last` (its class token) or some by number, but \
         `question` was asked for"
    );
    let class = Some(vec![Edges::between(Positions::Pictures, Positions::Last)]);
    let siglip = towers().into_iter().find(|(name, ..)| *name == "siglip-a").unwrap();
    assert_eq!(
        said(siglip.1, &knockout(class, 1, 1), &siglip.2),
        "attention-knockout needs a tower with a class token, for `last`, but this one has none"
    );
    let blind = Pair { clean: about(shown(&[], "Red?"), Objective::logit(5)), corrupted: shown(&[], "Rid?") };
    for method in
        [&attribution(&[Point::Z], Between::Clean, 1) as &dyn AnyAnalysis, &edges(Between::Clean, 1, 1)]
    {
        let said = said(subject, method, &blind);
        assert!(said.ends_with("needs a picture, but the sample has none"), "{said}");
    }
    let settings =
        attribution_patching::Settings { part: VISION, layers: Indices::At(vec![3]), ..Default::default() };
    // The last block of this tower is read by nobody.
    let unread = said(subject, &AttributionPatching::new(settings).unwrap(), &pair);
    assert!(unread.contains("layers = 3, of 3"), "{unread}");
    let several = opened("llava-multi");
    let reason = "needs a part that is read behind one of its blocks, the last that counts, but this one is read behind [1, 3] of them";
    assert_eq!(said(several, &edges(Between::Clean, 1, 1), &pair), format!("edge-attribution {reason}"));
    let all = paths(path_patching::Settings::default());
    assert_eq!(said(several, &all, &pair), format!("path-patching {reason}"));
    let logits = path_patching::Settings {
        receivers: Receivers::Each(vec![Receiver::Logits]),
        mlps: Mlps::Computed,
        ..Default::default()
    };
    assert_eq!(
        said(subject, &paths(logits), &pair),
        "path-patching needs nodes that the part has, but `logits` is none of 0.q0 to out"
    );
    let together = path_patching::Settings {
        receivers: Receivers::Together(vec![Receiver::Out, Receiver::Mlp { layer: 0 }]),
        ..Default::default()
    };
    assert_eq!(
        PathPatching::new(together).unwrap_err().to_string(),
        "path-patching: receivers = `out` together with others, but what is read at the end is settled before anything together with it"
    );
    let text = DirectLogitAttribution::new(direct_logit_attribution::Settings {
        part: Some(Part::Text),
        ..Default::default()
    });
    let clip = Pair {
        clean: about(captioned("square", &["a red square"]), Objective::logit(1)),
        corrupted: captioned("tall", &["a red square"]),
    };
    let found = said(opened("clip-a"), &text.unwrap(), &clip);
    assert!(
        found.starts_with("direct-logit-attribution needs an objective that is a similarity, a cosine"),
        "{found}"
    );
    let norm = said(opened("bert-a"), &edges(Between::Clean, 1, 1), &blind);
    assert!(norm.contains("needs a stream that is one running sum"), "{norm}");
    assert!(Capability::AnyRunningSum.lacking(opened("blip-a")).is_none());
    assert_eq!(
        Capability::RunningSum(Part::Text).lacking(opened("blip-a")),
        Some("a norm follows each of its sums")
    );
}

#[test]
fn towers_keep_the_contract_of_analyses() {
    let words = path_patching::Settings {
        senders: Some(vec![Sender::Input, Sender::Mlp { layer: 1 }, Sender::Head { layer: 0, head: 1 }]),
        receivers: Receivers::Each(vec![Receiver::Key { layer: 1, head: 0 }, Receiver::Out]),
        ..Default::default()
    };
    let paths = paths(words);
    let attribution = attribution(&[Point::ResidPost, Point::Z, Point::MlpPost], path(3), 2);
    let (edges, knockout, direct) = (edges(path(3), 1, 2), knockout(None, 2, 3), direct(true, 4));
    for (name, subject, pair) in towers() {
        let given = Given::new(pair.clean.clone()).unwrap().against(pair.corrupted.clone());
        let probe = subject.encode(&pair.clean.sample).unwrap();
        let mut methods: Vec<&dyn AnyAnalysis> = vec![&attribution, &knockout, &edges, &paths];
        if ["clip-a", "vit-a"].contains(&name) {
            methods.push(&direct);
        }
        for method in methods {
            let breaches = analysis_breaches(method, subject, &given, &probe);
            assert_eq!(breaches, Vec::<String>::new(), "{name}, {}", method.card().id);
        }
    }
}

/// A caption of which no other has the numbers: what was compared is the first picture, and the caption that is given.
#[test]
fn a_case_of_one_caption_is_its_own() {
    let of = |pictures: &[&str]| Sample {
        pictures: shown(pictures, "").pictures,
        ..captioned("square", &["ring"])
    };
    let run = |sample| direct(true, 0).run(opened("clip-a"), &about(sample, Objective::Cosine)).unwrap();
    let (one, both, other) =
        (run(of(&["square"])), run(of(&["square", "tall"])), run(of(&["tall", "square"])));
    ROUNDING.check("heads", numbers(&one, "heads"), numbers(&both, "heads")).unwrap();
    assert!(ROUNDING.check("heads", numbers(&one, "heads"), numbers(&other, "heads")).is_err());
}
