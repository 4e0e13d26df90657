//! Routes and circuits: against torch, and what must hold for every subject.

use std::num::NonZeroUsize;

use mmlens_core::finding::{Finding, Tolerance};
use mmlens_core::{Analysis, Case, Change, Objective, Pair, Part, Plan, Point, Region, Sample, Subject};
use mmlens_engine::{Between, Positions, Receiver, Sender};
use mmlens_model::activation_patching::{self, ActivationPatching};
use mmlens_model::attention_knockout::{self, AttentionKnockout, Edges};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::edge_attribution::{self, EdgeAttribution};
use mmlens_model::path_patching::{self, Frozen, Mlps, PathPatching, Receivers};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;

use crate::support::{about, largest, llava, numbers, painted, question, scalar, shown, site, total};

/// Differences of nearly equal logits.
const ATTRIBUTION: Tolerance = Tolerance::relative(1e-3);
const LOGIT: Tolerance = Tolerance::relative(1e-4);
/// Another grouping of the same sums in f32.
const ROUNDING: Tolerance = Tolerance::either(2e-6, 1e-5);

fn few() -> ProptestConfig {
    ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() }
}

/// Compares and prints the gap, for the pages of the methods.
fn agree(tolerance: Tolerance, what: &str, found: &[f32], wanted: &[f64]) {
    let gap = tolerance.check(what, found, wanted).unwrap();
    println!("{what}: {:.2e}", gap.relative);
}

fn asked(picture: u32, words: &str, token: u32) -> Case {
    about(Sample::prompt(vec![painted(picture)], format!("#{words}")), Objective::logit(token))
}

fn knockout(edges: Vec<Edges>, window: usize, rows: usize) -> AttentionKnockout {
    AttentionKnockout::new(attention_knockout::Settings {
        edges: Some(edges),
        window: Some(window),
        rows,
        ..Default::default()
    })
    .unwrap()
}

fn usual() -> Vec<Edges> {
    Edges::usual(Part::Text, None)
}

#[test]
fn knock_out_by_windows() {
    let oracle = Oracle::open("methods/knockout").unwrap();
    for window in [1, 3] {
        let settings = attention_knockout::Settings { window: Some(window), ..Default::default() };
        let found = AttentionKnockout::new(settings).unwrap().run(llava("llava-a"), &question()).unwrap();
        for (table, name) in [("change", "change"), ("probability change", "probability_change")] {
            let wanted = &oracle.array(&format!("{name}.{window}")).unwrap().values;
            agree(
                ATTRIBUTION,
                &format!("knock-out, {window} layers, {name}"),
                numbers(&found, table),
                wanted,
            );
        }
        let whole = [scalar(&found, "objective"), scalar(&found, "probability")];
        let wanted = ["objective", "probability"].map(|name| oracle.array(name).unwrap().values[0]);
        agree(LOGIT, "nothing cut", &whole, &wanted);
    }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn edges_that_causality_forbids_cost_nothing(seed in 0..99_u64, word in "[a-f]{2,4}", window in 1..4_usize) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, &word, 3));
        let back = [(Positions::Last, Positions::Pictures), (Positions::Question, Positions::Pictures)];
        let mut edges: Vec<Edges> = back.into_iter().map(|(k, q)| Edges::between(k, q)).collect();
        // a position keeps its edge to itself
        edges.push(Edges::between(Positions::Last, Positions::Last));
        let found = knockout(edges, window, 8).run(&toy, &case).unwrap();
        prop_assert!(numbers(&found, "pairs").iter().all(|pairs| *pairs == 0.0));
        prop_assert!(largest(numbers(&found, "change")) == 0.0, "{:?}", numbers(&found, "change"));
    }

    #[test]
    fn without_its_edges_the_picture_has_no_say(seed in 0..99_u64, word in "[a-f]{1,4}", token in 0..27_u32) {
        // every window holds both layers
        let method = knockout(vec![Edges::between(Positions::Pictures, Positions::Words)], 4, 8);
        let cut = |picture| {
            let found = method.run(&Toy::curved(seed), &asked(picture, &word, token)).unwrap();
            let whole = scalar(&found, "objective");
            (whole, numbers(&found, "change").iter().map(|change| whole + change).collect::<Vec<f32>>())
        };
        let ((one, without), (other, too)) = (cut(1), cut(2));
        ROUNDING.check("cut", &without, &too).unwrap();
        prop_assert!(one != other);
    }

    #[test]
    fn batches_change_no_knock_out(seed in 0..99_u64, rows in 1..9_usize, window in 1..4_usize) {
        let (toy, case) = (Toy::curved(seed), asked(2, "abc", 5));
        let run = |rows| knockout(usual(), window, rows).run(&toy, &case).unwrap();
        let (one, many) = (run(1), run(rows));
        for name in ["change", "probability change"] {
            ROUNDING.check(name, numbers(&many, name), numbers(&one, name)).unwrap();
        }
    }
}

#[test]
fn cutting_one_edge_is_what_a_plan_does() {
    let (subject, case) = (llava("llava-a"), question());
    let (inputs, objective) = case.open(subject).unwrap();
    let edges = vec![Edges::between(Positions::At(vec![3, 7]), Positions::At(vec![28]))];
    let found = knockout(edges, 1, 4).run(subject, &case).unwrap();
    for layer in 0..3 {
        let scores = format!("text.blocks.{layer}.attn.scores");
        let plan = Plan::new().objective(&objective).knock_out(scores.as_str(), None, [28], [3, 7]).unwrap();
        let whole = scalar(&found, "objective");
        let wanted = subject.run(&inputs, plan).unwrap().scores().unwrap()[0] - whole;
        // Four units in the last place of the objective, about nine: fewer positions are summed in another order.
        assert!((numbers(&found, "change")[layer] - wanted).abs() <= 4.0 * f32::EPSILON * whole);
    }
}

fn contrast() -> Pair {
    Pair { clean: question(), corrupted: shown(&["tall"], "<image>Red?") }
}

fn toy_pair(word: &str, token: u32) -> Pair {
    let other = format!("#{}", "z".repeat(word.len()));
    Pair { clean: asked(1, word, token), corrupted: Sample::prompt(vec![painted(2)], other) }
}

/// Where gradients are taken, as `patching.py` calls it.
fn ways() -> [(&'static str, Between); 3] {
    let steps = NonZeroUsize::new(5).unwrap();
    [("corrupted", Between::Corrupted), ("clean", Between::Clean), ("path", Between::Path { steps })]
}

fn between() -> impl Strategy<Value = Between> {
    prop::sample::select(ways().map(|(_, between)| between).to_vec())
}

fn attribute(subject: &dyn Subject, pair: &Pair, between: Between, rows: usize) -> Finding {
    let points = vec![
        Point::ResidPre,
        Point::AttnOut,
        Point::Z,
        Point::Result,
        Point::MlpOut,
        Point::MlpPost,
        Point::ResidPost,
    ];
    let settings = attribution_patching::Settings { points, between, rows, ..Default::default() };
    AttributionPatching::new(settings).unwrap().run(subject, pair).unwrap()
}

fn edges(subject: &dyn Subject, pair: &Pair, between: Between, layers: usize, rows: usize) -> Finding {
    let settings = edge_attribution::Settings { between, blocks: layers, rows, ..Default::default() };
    EdgeAttribution::new(settings).unwrap().run(subject, pair).unwrap()
}

fn paths(subject: &dyn Subject, pair: &Pair, settings: path_patching::Settings) -> Finding {
    PathPatching::new(settings).unwrap().run(subject, pair).unwrap()
}

#[test]
fn attribution_of_states_heads_and_neurons() {
    let oracle = Oracle::open("methods/attribution").unwrap();
    for (name, between) in ways() {
        let settings = attribution_patching::Settings { between, rows: 2, ..Default::default() };
        let found = AttributionPatching::new(settings).unwrap().run(llava("llava-a"), &contrast()).unwrap();
        for (table, wanted) in [
            ("resid_pre", "resid_pre"),
            ("attn_out", "attn_out"),
            ("mlp_out", "mlp_out"),
            ("attn.z", "z"),
            ("attn.z/heads and tokens", "z.heads"),
            ("mlp.post", "mlp.post"),
            ("mlp.post/neurons", "mlp.post.neurons"),
        ] {
            let wanted = &oracle.array(&format!("{name}.{wanted}")).unwrap().values;
            agree(ATTRIBUTION, &format!("attribution, {name}, {table}"), numbers(&found, table), wanted);
        }
    }
}

#[test]
fn attribution_of_edges() {
    let oracle = Oracle::open("methods/edges").unwrap();
    for (name, between) in ways() {
        let settings = edge_attribution::Settings { between, blocks: 2, ..Default::default() };
        let found = EdgeAttribution::new(settings).unwrap().run(llava("llava-a"), &contrast()).unwrap();
        let wanted = &oracle.array(name).unwrap().values;
        agree(ATTRIBUTION, &format!("edges, {name}"), numbers(&found, "edges"), wanted);
        let table = found.table("edges").unwrap();
        for (axis, names) in ["senders", "receivers"].into_iter().enumerate() {
            let wanted = oracle.about()[names].as_array().unwrap();
            let labels = (0..wanted.len()).map(|i| table.axes()[axis].label(i).unwrap());
            assert!(labels.eq(wanted.iter().map(|name| name.as_str().unwrap())), "{names}");
        }
    }
}

#[test]
fn patching_of_paths() {
    let oracle = Oracle::open("methods/path").unwrap();
    for (name, mlps) in [("frozen", Mlps::Frozen), ("computed", Mlps::Computed)] {
        let settings = path_patching::Settings { mlps, ..Default::default() };
        let found = PathPatching::new(settings).unwrap().run(llava("llava-a"), &contrast()).unwrap();
        let wanted = &oracle.array(name).unwrap().values;
        agree(ATTRIBUTION, &format!("paths, MLPs {name}"), numbers(&found, "effect"), wanted);
        agree(LOGIT, "clean", &[scalar(&found, "clean")], &oracle.array("clean").unwrap().values);
    }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn a_straight_subject_is_attributed_what_patching_finds(
        seed in 0..99_u64,
        word in "[a-f]{2,3}",
        token in 0..27_u32,
        between in between(),
    ) {
        let (toy, pair) = (Toy::straight(seed), toy_pair(&word, token));
        let points = vec![Point::ResidPre, Point::AttnOut, Point::Z, Point::MlpOut, Point::ResidPost];
        let settings = activation_patching::Settings { points, ..Default::default() };
        let exact = ActivationPatching::new(settings).unwrap().run(&toy, &pair).unwrap();
        let found = attribute(&toy, &pair, between, 3);
        for point in ["resid_pre", "attn_out", "attn.z", "mlp_out", "resid_post"] {
            let wanted = numbers(&exact, &format!("{point}/effect"));
            let tolerance = Tolerance::either(1e-4, 1e-4);
            tolerance.check(point, numbers(&found, point), wanted).unwrap();
        }
    }

    #[test]
    fn heads_and_neurons_make_up_their_layer(seed in 0..99_u64, word in "[a-f]{2,3}", between in between()) {
        let found = attribute(&Toy::curved(seed), &toy_pair(&word, 3), between, 2);
        let by_layer = |name: &str| {
            let table = found.table(name).unwrap();
            let wide = table.shape().iter().skip(1).product();
            table.as_numbers().unwrap().chunks(wide).map(|row| total(row) as f32).collect::<Vec<_>>()
        };
        let tolerance = Tolerance::either(1e-5, 1e-4);
        for (parts, whole) in [
            ("attn.z/heads", "attn_out"),
            ("attn.result/heads", "attn_out"),
            ("attn.z/heads and tokens", "attn_out"),
            ("mlp.post/neurons", "mlp_out"),
        ] {
            tolerance.check(parts, &by_layer(parts), &by_layer(whole)).unwrap();
        }
        tolerance.check("z", numbers(&found, "attn.z/heads"), numbers(&found, "attn.result/heads")).unwrap();
    }

    #[test]
    fn edges_out_of_a_node_are_the_node(seed in 0..99_u64, word in "[a-f]{2,3}", between in between()) {
        let (toy, pair) = (Toy::curved(seed), toy_pair(&word, 5));
        let (nodes, found) = (attribute(&toy, &pair, between, 2), edges(&toy, &pair, between, 1, 2));
        let senders = numbers(&found, "senders");
        let sum = |name: &str, layer: usize| {
            let table = nodes.table(name).unwrap();
            let wide: usize = table.shape().iter().skip(1).product();
            total(&table.as_numbers().unwrap()[layer * wide..(layer + 1) * wide]) as f32
        };
        let heads = numbers(&nodes, "attn.z/heads");
        let wanted = [
            sum("resid_pre", 0), heads[0], heads[1], sum("mlp_out", 0), heads[2], heads[3], sum("mlp_out", 1),
        ];
        Tolerance::either(1e-5, 1e-4).check("senders", senders, &wanted).unwrap();
    }

    #[test]
    fn edges_of_a_straight_subject_are_its_paths(seed in 0..99_u64, word in "[a-f]{2,3}", token in 0..27_u32) {
        let (toy, pair) = (Toy::straight(seed), toy_pair(&word, token));
        let found = edges(&toy, &pair, Between::Corrupted, 8, 1);
        let exact = |frozen, mlps| {
            let settings = path_patching::Settings { frozen, mlps, ..Default::default() };
            paths(&toy, &pair, settings)
        };
        let tolerance = Tolerance::either(1e-4, 1e-4);
        let into = exact(Frozen::Corrupted, Mlps::Frozen);
        tolerance.check("paths", numbers(&found, "edges"), numbers(&into, "effect")).unwrap();
        // what is put in is lost the other way round
        let lost: Vec<f32> =
            numbers(&exact(Frozen::Clean, Mlps::Frozen), "effect").iter().map(|effect| -effect).collect();
        tolerance.check("lost", &lost, numbers(&into, "effect")).unwrap();
    }

    #[test]
    fn all_paths_into_a_reader_of_a_straight_subject_make_up_its_stream(
        seed in 0..99_u64,
        word in "[a-f]{2,3}",
        token in 0..27_u32,
    ) {
        let (toy, pair) = (Toy::straight(seed), toy_pair(&word, token));
        let found = paths(&toy, &pair, path_patching::Settings::default());
        let (inputs, objective) = pair.clean.open(&toy).unwrap();
        let other = toy.encode(&pair.corrupted).unwrap();
        let into = |receiver: usize| {
            let rows = numbers(&found, "effect").chunks(15);
            rows.map(|row| f64::from(row[receiver])).sum::<f64>()
        };
        // the names are those of two blocks with two heads: q0 q1 k0 k1 v0 v1 mlp, and the logits
        for (name, receiver, region) in [
            ("text.blocks.0.attn.v_in", 5, Region::all().heads([1])),
            ("text.blocks.1.attn.v_in", 11, Region::all().heads([0])),
            ("text.blocks.1.mlp_in", 13, Region::all()),
            ("text.blocks.1.resid_post", 14, Region::all()),
        ] {
            let read = Plan::new().read(name).unwrap();
            let held = toy.run(&other, read).unwrap().get(site(name)).unwrap().clone();
            let plan = Plan::new().objective(&objective).change(name, region, Change::Set(held)).unwrap();
            let wanted = toy.run(&inputs, plan).unwrap().scores().unwrap()[0] - scalar(&found, "clean");
            prop_assert!((into(receiver) - f64::from(wanted)).abs() < 1e-4, "{name}: {} {wanted}", into(receiver));
        }
    }

    #[test]
    fn an_equal_pair_has_no_edges(seed in 0..99_u64, mlps in prop::sample::select(vec![Mlps::Frozen, Mlps::Computed])) {
        let toy = Toy::curved(seed);
        let pair = Pair { clean: asked(1, "abc", 3), corrupted: asked(1, "abc", 3).sample };
        let found = paths(&toy, &pair, path_patching::Settings { mlps, ..Default::default() });
        prop_assert!(largest(numbers(&found, "effect")) < 1e-6);
        prop_assert_eq!(largest(numbers(&edges(&toy, &pair, Between::Corrupted, 8, 1), "edges")), 0.0);
        // a run with gradients takes other kernels than one without
        prop_assert!(largest(numbers(&attribute(&toy, &pair, Between::Clean, 1), "attn.z/heads")) < 1e-5);
    }

    #[test]
    fn batches_change_no_edge(seed in 0..99_u64, rows in 1..9_usize, layers in 1..4_usize) {
        let (toy, pair) = (Toy::curved(seed), toy_pair("abc", 4));
        let steps = NonZeroUsize::new(5).unwrap();
        let path = Between::Path { steps };
        let tolerance = Tolerance::either(1e-5, 1e-5);
        let (one, many) = (edges(&toy, &pair, path, 8, 1), edges(&toy, &pair, path, layers, rows));
        tolerance.check("edges", numbers(&many, "edges"), numbers(&one, "edges")).unwrap();
        let (one, many) = (attribute(&toy, &pair, path, 1), attribute(&toy, &pair, path, rows));
        tolerance.check("heads", numbers(&many, "attn.z/heads"), numbers(&one, "attn.z/heads")).unwrap();
        let run = |rows| paths(&toy, &pair, path_patching::Settings { rows, ..Default::default() });
        tolerance.check("paths", numbers(&run(rows), "effect"), numbers(&run(1), "effect")).unwrap();
    }
}

#[test]
fn receivers_together_read_what_each_alone_reads() {
    let (subject, pair) = (llava("llava-a"), contrast());
    let (sender, receiver) = (Sender::Head { layer: 0, head: 3 }, Receiver::Value { layer: 2, head: 1 });
    let run = |receivers| {
        let settings =
            path_patching::Settings { senders: Some(vec![sender]), receivers, ..Default::default() };
        numbers(&paths(subject, &pair, settings), "effect").to_vec()
    };
    let alone = run(Receivers::Each(vec![receiver]));
    assert_eq!(alone, run(Receivers::Together(vec![receiver])));
    let both = run(Receivers::Together(vec![receiver, Receiver::Mlp { layer: 2 }]));
    assert!(both != alone && alone[0] != 0.0);
}

/// Edges of both signs, the largest first whatever its sign.
#[test]
fn the_strongest_edges_are_those_of_largest_absolute_value() {
    let (mut negative_among, mut positive_left_out) = (false, false);
    for seed in 0..8 {
        let top = 12;
        let settings = edge_attribution::Settings { top, ..Default::default() };
        let found =
            EdgeAttribution::new(settings).unwrap().run(&Toy::curved(seed), &toy_pair("abc", 5)).unwrap();
        let table = found.table("edges").unwrap();
        let [from, to] = [0, 1].map(|axis| &table.axes()[axis]);
        let mut all: Vec<(String, f32)> = Vec::new();
        for (sender, row) in numbers(&found, "edges").chunks(to.len()).enumerate() {
            for (receiver, value) in row.iter().enumerate() {
                all.push((
                    format!("{} to {}", from.label(sender).unwrap(), to.label(receiver).unwrap()),
                    *value,
                ));
            }
        }
        all.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        let strongest = found.table("strongest").unwrap();
        let values = strongest.as_numbers().unwrap();
        assert_eq!(values, all.iter().take(top).map(|(_, value)| *value).collect::<Vec<_>>());
        for (place, value) in values.iter().enumerate() {
            let name = strongest.axes()[0].label(place).unwrap();
            assert!(all.iter().any(|(other, own)| *other == name && own == value), "{name}");
        }
        negative_among |= values.iter().any(|value| *value < 0.0);
        positive_left_out |= all.iter().skip(top).any(|(_, value)| *value > 0.0);
    }
    assert!(negative_among && positive_left_out);
}

/// With some positions, every table is about these alone: columns of the table over all, sums over them, sums over no others.
#[test]
fn attribution_at_some_positions_is_a_part_of_that_at_all() {
    let (toy, pair) = (Toy::curved(3), toy_pair("abc", 4));
    let at = |positions: &[usize]| {
        let points = vec![Point::ResidPre, Point::Z, Point::MlpPost];
        let positions = if positions.is_empty() { Positions::All } else { Positions::At(positions.to_vec()) };
        let settings = attribution_patching::Settings { points, positions, ..Default::default() };
        AttributionPatching::new(settings).unwrap().run(&toy, &pair).unwrap()
    };
    let (all, some, one, other) = (at(&[]), at(&[2, 5]), at(&[2]), at(&[5]));
    // Four patches and three letters.
    let columns = |name: &str, picks: &[usize]| -> Vec<f32> {
        let rows = numbers(&all, name).chunks(7);
        rows.flat_map(|row| picks.iter().map(|pick| row[*pick]).collect::<Vec<_>>()).collect()
    };
    for name in ["resid_pre", "attn.z", "mlp.post", "attn.z/heads and tokens"] {
        assert_eq!(numbers(&some, name), columns(name, &[2, 5]), "{name}");
        let axes = some.table(name).unwrap().axes();
        let whole = all.table(name).unwrap().axes();
        let (axis, of) = (axes.last().unwrap(), whole.last().unwrap());
        assert_eq!([axis.label(0), axis.label(1)], [of.label(2), of.label(5)]);
    }
    for name in ["attn.z/heads", "mlp.post/neurons"] {
        let sum: Vec<f32> =
            numbers(&one, name).iter().zip(numbers(&other, name)).map(|(a, b)| a + b).collect();
        ROUNDING.check(name, numbers(&some, name), &sum).unwrap();
        let apart: Vec<f32> =
            numbers(&some, name).iter().zip(numbers(&all, name)).map(|(a, b)| a - b).collect();
        assert!(largest(&apart) > 1e-2, "{name}");
    }
    assert_eq!(some.provenance.settings["positions"]["at"], serde_json::json!([2, 5]));
}

/// What the two runs score does not depend on which of them the others are held to.
#[test]
fn both_runs_are_told_whichever_is_frozen() {
    let [clean, corrupted] = [Frozen::Clean, Frozen::Corrupted].map(|frozen| {
        let settings = path_patching::Settings { frozen, ..Default::default() };
        let found = PathPatching::new(settings).unwrap().run(llava("llava-a"), &contrast()).unwrap();
        ["clean", "corrupted"].map(|name| scalar(&found, name))
    });
    assert_eq!(clean, corrupted);
    assert_ne!(clean[0], clean[1]);
}
