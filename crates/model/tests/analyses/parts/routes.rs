//! Routes and circuits in towers are what plans do: edges that are cut, gradients times differences, nodes, paths.

use mmlens_core::finding::{Finding, Role};
use mmlens_core::{Analysis, Change, Pair, Part, Plan, Point, Region, Site, Subject};
use mmlens_engine::{Between, Indices, Positions, Receiver, Sender, score};
use mmlens_model::activation_patching::{self, ActivationPatching, Places};
use mmlens_model::attention_knockout::Edges;
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::path_patching::{self, Frozen, Receivers};

use super::{ROUNDING, VISION, attribution, edges, knockout, path, paths, towers};
use crate::support::{numbers, scalar, total};

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
            ROUNDING.check(name, numbers(&found, "senders"), &wanted).unwrap();
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
