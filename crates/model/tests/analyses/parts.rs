//! Routes, circuits and direct shares in towers: against torch, against identities, and what is refused there.

use std::num::NonZeroUsize;

use mmlens_core::finding::{Finding, Role, Tolerance};
use mmlens_core::{
    Analysis, AnyAnalysis, Capability, Change, Given, Objective, Pair, Part, Picture, Plan, Point, Region,
    Sample, Site, Subject, Words,
};
use mmlens_engine::{Between, Indices, Positions, Receiver, Sender, score};
use mmlens_model::activation_patching::{self, ActivationPatching, Places};
use mmlens_model::attention_knockout::{self, AttentionKnockout, Edges};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::direct_logit_attribution::{self, DirectLogitAttribution};
use mmlens_model::edge_attribution::{self, EdgeAttribution};
use mmlens_model::path_patching::{self, Frozen, Mlps, PathPatching, Receivers};
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

/// With every edge of a block cut each position keeps its edge to itself alone, so that every head gives it its own value.
#[test]
fn without_any_edge_a_head_gives_each_position_its_own_value() {
    for (name, subject, pair) in towers() {
        let (inputs, objective) = pair.clean.open(subject).unwrap();
        let all = Edges { name: "all".to_owned(), keys: Positions::All, queries: Positions::All };
        let found = knockout(Some(vec![all]), 1, 3).run(subject, &pair.clean).unwrap();
        let whole = scalar(&found, "objective");
        let layers = subject.anatomy()[0].blocks;
        assert_eq!(found.table("change").unwrap().shape(), [1, layers], "{name}");
        for layer in 0..layers {
            let [v, z] = [Point::V, Point::Z].map(|point| Site::block(Part::Vision, layer, point));
            let trace = subject.run(&inputs, Plan::new().read(v).unwrap()).unwrap();
            let values = trace.get(v).unwrap().clone();
            let plan = Plan::new().set(z, values).unwrap().objective(&objective);
            let wanted = score(&subject.run(&inputs, plan).unwrap()).unwrap() - whole;
            ROUNDING
                .check(&format!("{name} {layer}"), &numbers(&found, "change")[layer..=layer], &[wanted])
                .unwrap();
        }
        // Who sees whom, in every picture: all others of its own, but for a tower that packs several frames or looks through windows.
        let [pairs] = numbers(&found, "pairs") else { panic!("{name}") };
        let dims = subject.dims(&inputs, Site::block(Part::Vision, 0, Point::ResidPre)).unwrap();
        let most = (dims[0] * dims[1] * (dims[1] - 1)) as f32;
        let same = if name == "qwen2.5-vl-a" { *pairs < most } else { *pairs == most };
        assert!(same && *pairs > 0.0, "{name}: {pairs} of {most}");
        assert!(
            found.cautions().iter().any(|caution| caution.text.contains("see themselves alone")),
            "{name}"
        );
    }
}

/// One edge is what a plan does; batches change nothing.
#[test]
fn edges_of_a_tower_are_cut_where_they_are_named() {
    for (name, subject, pair) in towers() {
        let (inputs, objective) = pair.clean.open(subject).unwrap();
        let some = || Some(vec![Edges::between(Positions::At(vec![1, 3]), Positions::At(vec![2]))]);
        let [one, many] = [1, 5].map(|rows| knockout(some(), 1, rows).run(subject, &pair.clean).unwrap());
        ROUNDING.check(name, numbers(&one, "change"), numbers(&many, "change")).unwrap();
        for layer in 0..subject.anatomy()[0].blocks {
            let scores = format!("vision.blocks.{layer}.attn.scores");
            let plan =
                Plan::new().objective(&objective).knock_out(scores.as_str(), None, [2], [1, 3]).unwrap();
            let wanted = score(&subject.run(&inputs, plan).unwrap()).unwrap() - scalar(&one, "objective");
            ROUNDING.check(name, &numbers(&one, "change")[layer..=layer], &[wanted]).unwrap();
        }
    }
}

/// What a site holds of the clean run less the corrupted one, times the gradient at one of both.
fn by_hand(subject: &dyn Subject, pair: &Pair, site: Site, clean: bool) -> (Vec<usize>, Vec<f32>) {
    let (inputs, objective) = pair.clean.open(subject).unwrap();
    let other = subject.encode(&pair.corrupted).unwrap();
    let read = |inputs| subject.run(inputs, Plan::new().read(site).unwrap()).unwrap();
    let value = |inputs| read(inputs).get(site).unwrap().to_values().unwrap();
    let plan = Plan::new().grad(site).unwrap().objective(&objective);
    let grad = subject.run(if clean { &inputs } else { &other }, plan).unwrap().grad(site).unwrap().clone();
    let apart = value(&inputs).into_iter().zip(value(&other)).map(|(a, b)| a - b);
    let values = apart.zip(grad.to_values().unwrap()).map(|(apart, grad)| apart * grad).collect();
    (grad.dims(), values)
}

#[test]
fn attribution_at_a_tower_is_the_gradient_times_the_difference() {
    for (name, subject, pair) in towers() {
        for (between, clean) in [(Between::Corrupted, false), (Between::Clean, true)] {
            let found = attribution(&[Point::ResidPre, Point::Z], between, 8).run(subject, &pair).unwrap();
            let layers = *subject.read_behind(Part::Vision).last().unwrap();
            for layer in 0..layers {
                let at = |point| Site::block(Part::Vision, layer, point);
                let (dims, values) = by_hand(subject, &pair, at(Point::ResidPre), clean);
                let positions = dims[0] * dims[1];
                let sums: Vec<f32> = values.chunks(dims[2]).map(|own| total(own) as f32).collect();
                let table = found.table("resid_pre").unwrap();
                assert_eq!(table.shape(), [layers, positions], "{name}");
                let own = &table.as_numbers().unwrap()[layer * positions..(layer + 1) * positions];
                ROUNDING.check(&format!("{name} {layer}"), own, &sums).unwrap();
                let (dims, values) = by_hand(subject, &pair, at(Point::Z), clean);
                let heads: Vec<f32> = (0..dims[2])
                    .map(|head| {
                        let own = values.chunks(dims[3]).skip(head).step_by(dims[2]);
                        own.map(total).sum::<f64>() as f32
                    })
                    .collect();
                let own = &numbers(&found, "attn.z/heads")[layer * dims[2]..(layer + 1) * dims[2]];
                ROUNDING.check(&format!("{name} {layer} heads"), own, &heads).unwrap();
            }
        }
        // A path of one place is the corrupted run; how many places share a pass decides nothing.
        let run = |between, rows| attribution(&[Point::AttnOut], between, rows).run(subject, &pair).unwrap();
        let (one, at) = (run(path(1), 1), run(Between::Corrupted, 1));
        ROUNDING.check(name, numbers(&one, "attn_out"), numbers(&at, "attn_out")).unwrap();
        let (apart, together) = (run(path(4), 1), run(path(4), 3));
        ROUNDING.check(name, numbers(&apart, "attn_out"), numbers(&together, "attn_out")).unwrap();
    }
}

#[test]
fn some_positions_of_a_tower_are_columns_of_all() {
    let columns = |found: &Finding, at: &[usize]| -> Vec<f32> {
        let wide = found.table("resid_pre").unwrap().shape()[1];
        numbers(found, "resid_pre").chunks(wide).flat_map(|row| at.iter().map(|at| row[*at])).collect()
    };
    let (_, subject, pair) = towers().remove(0);
    let run = |positions| {
        let settings = attribution_patching::Settings {
            part: VISION,
            points: vec![Point::ResidPre],
            positions,
            ..Default::default()
        };
        AttributionPatching::new(settings).unwrap().run(subject, &pair).unwrap()
    };
    let all = run(Positions::All);
    // Two pictures of 25 patches behind a class token.
    let patches: Vec<usize> = (0..52).filter(|at| at % 26 != 0).collect();
    for (positions, wanted) in [
        (Positions::Last, vec![0, 26]),
        (Positions::At(vec![4, 1]), vec![1, 4, 27, 30]),
        (Positions::Pictures, patches),
    ] {
        let some = run(positions.clone());
        let table = some.table("resid_pre").unwrap();
        assert_eq!(table.shape(), [3, wanted.len()], "{positions}");
        assert_eq!(table.as_numbers().unwrap(), columns(&all, &wanted), "{positions}");
        let axis = table.axis_of(Role::Token).map(|at| table.axes()[at].label(0).unwrap());
        assert_eq!(axis.as_deref() == Some("class"), positions == Positions::Last, "{axis:?}");
    }
}

/// The towers that are read behind one block.
fn single() -> impl Iterator<Item = (&'static str, &'static dyn Subject, Pair)> {
    towers().into_iter().filter(|(_, subject, _)| subject.read_behind(Part::Vision).len() == 1)
}

#[test]
fn edges_out_of_a_node_of_a_tower_are_the_node() {
    let mut count = 0;
    for (name, subject, pair) in single() {
        for between in [Between::Corrupted, Between::Clean, path(3)] {
            let nodes = attribution(&[Point::ResidPre, Point::Z, Point::MlpOut], between, 2)
                .run(subject, &pair)
                .unwrap();
            let found = edges(between, 2, 2).run(subject, &pair).unwrap();
            let layers = *subject.read_behind(Part::Vision).last().unwrap();
            let row = |table: &str, layer: usize| {
                let table = nodes.table(table).unwrap();
                let wide = table.len() / layers;
                table.as_numbers().unwrap()[layer * wide..(layer + 1) * wide].to_vec()
            };
            let sum = |table: &str, layer| total(&row(table, layer)) as f32;
            let mut wanted = vec![sum("resid_pre", 0)];
            for layer in 0..layers {
                wanted.extend(row("attn.z/heads", layer));
                wanted.push(sum("mlp_out", layer));
            }
            Tolerance::either(2e-5, 1e-4).check(name, numbers(&found, "senders"), &wanted).unwrap();
            let receivers = found.table("receivers").unwrap();
            assert_eq!(receivers.axes()[0].label(receivers.len() - 1).as_deref(), Some("out"), "{name}");
            count += 1;
        }
    }
    assert!(count >= 24, "{count}");
}

/// Out of a tower's last MLP one path leads, so that it is the whole of what the MLP writes; and all readers of the first block that read what enters
/// the tower in the other run are that run's attention in this one.
#[test]
fn paths_of_a_tower_are_what_a_plan_does() {
    let mut count = 0;
    for (name, subject, pair) in single() {
        let last = subject.read_behind(Part::Vision)[0] - 1;
        let run = |senders: Vec<Sender>, receivers, rows| {
            let (senders, frozen) = (Some(senders), Frozen::Corrupted);
            let settings = path_patching::Settings { senders, receivers, frozen, rows, ..Default::default() };
            paths(settings).run(subject, &pair).unwrap()
        };
        let mlp = vec![Sender::Mlp { layer: last }];
        let found = run(mlp, Receivers::Each(vec![Receiver::Out]), 4);
        let settings = activation_patching::Settings {
            part: VISION,
            points: vec![Point::MlpOut],
            places: Places::Together,
            layers: Indices::At(vec![last]),
            ..Default::default()
        };
        let exact = ActivationPatching::new(settings).unwrap().run(subject, &pair).unwrap();
        ROUNDING.check(name, numbers(&found, "effect"), numbers(&exact, "mlp_out/effect")).unwrap();

        let heads = subject.anatomy()[0].heads;
        let readers: Vec<Receiver> = (0..heads)
            .flat_map(|head| {
                let layer = 0;
                [
                    Receiver::Query { layer, head },
                    Receiver::Key { layer, head },
                    Receiver::Value { layer, head },
                ]
            })
            .collect();
        let found = run(vec![Sender::Input], Receivers::Together(readers), 3);
        let (clean, objective) = pair.clean.open(subject).unwrap();
        let other = subject.encode(&pair.corrupted).unwrap();
        let at = Site::block(Part::Vision, 0, Point::AttnOut);
        let held = subject.run(&clean, Plan::new().read(at).unwrap()).unwrap().get(at).unwrap().clone();
        let plan = Plan::new().change(at, Region::all(), Change::Set(held)).unwrap().objective(&objective);
        let wanted = score(&subject.run(&other, plan).unwrap()).unwrap() - scalar(&found, "corrupted");
        ROUNDING.check(name, numbers(&found, "effect"), &[wanted]).unwrap();

        // Several senders and receivers of two blocks, in passes of one and of several.
        let some = || {
            vec![
                Sender::Head { layer: 0, head: 1 },
                Sender::Head { layer: 0, head: 0 },
                Sender::Mlp { layer: 0 },
            ]
        };
        let into = || {
            Receivers::Each(vec![
                Receiver::Value { layer: 1, head: 1 },
                Receiver::Mlp { layer: 1 },
                Receiver::Out,
            ])
        };
        let (one, many) = (run(some(), into(), 1), run(some(), into(), 4));
        ROUNDING.check(name, numbers(&one, "effect"), numbers(&many, "effect")).unwrap();
        assert!(numbers(&one, "effect").iter().any(|effect| effect.abs() > 1e-6), "{name}");
        count += 1;
    }
    assert!(count >= 8, "{count}");
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
        clean: about(captioned("square", &["a red square"]), Objective::Cosine),
        corrupted: captioned("tall", &["a red square"]),
    };
    let found = said(opened("clip-a"), &text.unwrap(), &clip);
    assert_eq!(
        found,
        "direct-logit-attribution needs the weights of a language model by name, but this subject shows none"
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
