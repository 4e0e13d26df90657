//! Of scenes of the shapes world it is known which thing an answer comes from: how much of a map of the model that ships lies on it, beside what lies there of a map drawn by
//! chance.

use mmlens_core::finding::{Axis, Finding, Labels};
use mmlens_core::{Case, Cases, Given, ManyCases, On, Seed};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_model::METHODS;
use serde_json::{Value, json};

use crate::swaps::boxes;

const SIDE: usize = 64;
const SCENES: usize = 8;

/// A map over pixels that is nowhere below zero: what speaks for the answer, each value spread over what it is about.
fn painted(found: &Finding, table: &str) -> Vec<f64> {
    let table = found.table(table).unwrap();
    let values = table.as_numbers().unwrap();
    let spread = |axes: &[Axis]| -> Vec<[f32; 4]> {
        match axes {
            [rows, cols] => {
                let (high, wide) = (SIDE as f32 / rows.len() as f32, SIDE as f32 / cols.len() as f32);
                let cells =
                    (0..rows.len()).flat_map(|row| (0..cols.len()).map(move |col| (row as f32, col as f32)));
                cells
                    .map(|(row, col)| [col * wide, row * high, (col + 1.0) * wide, (row + 1.0) * high])
                    .collect()
            }
            [one] if matches!(one.labels, Labels::Patches(_) | Labels::Tokens(_)) => boxes(one),
            other => panic!("{other:?}"),
        }
    };
    let mut map = vec![0.0; SIDE * SIDE];
    for (value, [left, top, right, bottom]) in values.iter().zip(spread(table.axes())) {
        let inside = |at: usize| {
            let (x, y) = ((at % SIDE) as f32 + 0.5, (at / SIDE) as f32 + 0.5);
            (left..right).contains(&x) && (top..bottom).contains(&y)
        };
        let share = f64::from(value.max(0.0)) / f64::from((right - left) * (bottom - top)); // no NaN: found finite
        (0..SIDE * SIDE).filter(|at| inside(*at)).for_each(|at| map[at] += share);
    }
    map
}

fn on(map: &[f64], evidence: &[bool]) -> f64 {
    let all: f64 = map.iter().sum();
    map.iter().zip(evidence).filter(|(_, inside)| **inside).map(|(value, _)| value).sum::<f64>() / all
}

/// Methods, their settings (fewer draws than by default, on coarser cells), and the table.
fn maps() -> Vec<(&'static str, Value, &'static str)> {
    let cells = json!({ "grid": { "rows": 8, "cols": 8 } });
    vec![
        ("saliency", json!({}), "vision.pixels/picture"),
        ("gxi", json!({}), "vision.pixels/picture"),
        ("expected", json!({ "samples": 12 }), "vision.pixels/picture"),
        ("gradcam", json!({}), "picture"),
        ("gradcam", json!({ "weights": "each" }), "picture"),
        ("relevance", json!({}), "picture through the tower"),
        ("lime", json!({ "picture": cells, "samples": 300, "words": null }), "picture"),
        ("rise", json!({ "samples": 300, "map": [8, 8] }), "picture"),
        ("permshap", json!({ "picture": cells, "orders": 2, "words": null }), "picture"),
        ("mmshap", json!({ "orders": 3 }), "picture"),
    ]
}

#[test]
fn maps_of_the_model_that_ships_lie_on_what_the_answer_comes_from() {
    let subject = mmlens_zoo::shipped::shapes(&mmlens_core::device::host()).unwrap();
    let data = ShapesCases::new(World::new(31), Split::Test, Kind::Colour, SCENES);
    let others = ManyCases::over(ShapesCases::new(World::new(32), Split::Test, Kind::Colour, 12)).unwrap();
    let evidence: Vec<Vec<bool>> = (0..SCENES)
        .map(|case| {
            let masks = data.masks(case).unwrap();
            (0..SIDE * SIDE).map(|at| masks.iter().any(|mask| mask.inside[at])).collect()
        })
        .collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    // Of maps drawn by chance of patches, twenty of each scene.
    let chance: Vec<Vec<f64>> = (0..20_u64)
        .map(|draw| {
            let of = |case: usize| {
                let value = |at: usize| {
                    let patch = at / SIDE / 8 * 8 + at % SIDE / 8;
                    f64::from(Seed(41).at(draw).at(case as u64).at(patch as u64).unit())
                };
                on(&(0..SIDE * SIDE).map(value).collect::<Vec<_>>(), &evidence[case])
            };
            (0..SCENES).map(of).collect()
        })
        .collect();
    let by_chance = mean(&chance.concat());
    let mut found = Vec::new();
    for (name, settings, table) in maps() {
        let method = METHODS.iter().find(|own| own.is_called(name)).unwrap().make(settings).unwrap();
        let each: Vec<f64> = (0..SCENES)
            .map(|case| {
                let sample = data.case(case).unwrap().sample;
                let given = Given { case: Case::new(sample), corrupted: None, many: Some(others.clone()) };
                on(&painted(&method.run_given(&On::new(&subject), &given).unwrap(), table), &evidence[case])
            })
            .collect();
        let ahead = (0..SCENES).filter(|case| chance.iter().all(|own| each[*case] > own[*case])).count();
        println!(
            "{name}: {:.3} on the evidence, by chance {by_chance:.3}; ahead of twenty of those in {ahead} of {SCENES}",
            mean(&each)
        );
        found.push((name, mean(&each), ahead));
    }
    for (at, (name, mean, ahead)) in found.into_iter().enumerate() {
        // As measured, here and in docs/maps.md: by default Grad-CAM lies off the evidence, less of it there than of a map drawn by chance.
        let off = at == 3;
        assert!(if off { mean < by_chance } else { mean > 3.0 * by_chance }, "{name}: {mean} {by_chance}");
        assert_eq!(ahead, if off { 0 } else { SCENES }, "{name}");
    }
}
