use mmlens_core::finding::CautionKind;
use mmlens_core::{
    Analysis, Annotated, Case, Cases, ManyCases, Memory, On, Part, Point, Sample, Seed, Subject, from_fn,
};
use mmlens_engine::dictionary::Kept;
use mmlens_engine::{Indices, Positions, WithDictionary};
use mmlens_model::exemplars::{Exemplars, Settings};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;
use serde_json::json;

use super::{ROUNDING, agree, each, held, letters, positions};
use crate::dictionaries::dictionary;
use crate::identities::few;
use crate::support::{llava, numbers, painted, scalar, shown};

fn made(settings: Settings) -> Exemplars {
    Exemplars::new(settings).unwrap()
}

#[test]
fn exemplars_are_those_of_numpy() {
    let oracle = Oracle::open("methods/neurons").unwrap();
    each(|name, subject, many, part| {
        let settings = json!({
            "part": part, "positions": positions(part), "top": oracle.about()["top"],
            "quantiles": oracle.about()["quantiles"],
        });
        let method: Settings = serde_json::from_value(settings).unwrap();
        let found = Exemplars::new(method).unwrap().run(subject, many).unwrap();
        for table in ["exemplars", "rate", "mean", "deviation", "quantiles"] {
            agree(&found, table, &oracle, &format!("{name}/{table}"), ROUNDING);
        }
        for table in ["cases", "purity"] {
            agree(&found, table, &oracle, &format!("{name}/{table}"), mmlens_core::finding::Tolerance::EXACT);
        }
        // There rows count from the first that is looked at: behind the marker and the 25 patches.
        let before = if part == Part::Text { 26.0 } else { 0.0 };
        let rows: Vec<f32> = numbers(&found, "rows of exemplars").iter().map(|row| row - before).collect();
        assert_eq!(rows, oracle.array(&format!("{name}/rows of exemplars")).unwrap().f32());
        let seen = oracle.array(&format!("{name}/cases")).unwrap().values.iter();
        let first = seen.filter(|case| **case == 0.0).count() as f32;
        assert_eq!(numbers(&found, "hits")[0], first);
        // 18 cases share all ranks of all neurons.
        let all = numbers(&found, "exemplars").len() as f32;
        assert_eq!(scalar(&found, "even hits"), all / 18.0);
    });
}

proptest! {
    #![proptest_config(few())]

    /// Every exemplar is what the site holds there, and no row of a case that is none holds more.
    #[test]
    fn exemplars_are_the_largest_that_sites_hold(seed in 0..99_u64, count in 2..12_usize, top in 1..4_usize) {
        let (toy, data) = (Toy::curved(seed), letters(count));
        let many = ManyCases::over(letters(count)).unwrap();
        let layers = Indices::At(vec![1]);
        let found = made(Settings { layers, top, ..Settings::default() }).run(&toy, &many).unwrap();
        let values: Vec<Vec<Vec<f32>>> = (0..count).map(|case| held(&toy, &data, case, 1, Point::MlpPost)).collect();
        let table = found.table("exemplars").unwrap();
        let [_, width, ranks] = table.shape()[..] else { panic!() };
        prop_assert_eq!(ranks, top.min(count));
        let (own, cases, rows) = (numbers(&found, "exemplars"), numbers(&found, "cases"), numbers(&found, "rows of exemplars"));
        for neuron in 0..width {
            let range = neuron * ranks..(neuron + 1) * ranks;
            let mut best: Vec<(usize, f32)> = values.iter().enumerate().map(|(case, rows)| {
                (case, rows.iter().map(|row| row[neuron]).fold(f32::NEG_INFINITY, f32::max)) // no NaN: what is read is finite
            }).collect();
            best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            for (at, (case, value)) in range.zip(best) {
                prop_assert_eq!((cases[at], own[at]), (case as f32, value));
                prop_assert_eq!(values[case][rows[at] as usize][neuron], value);
            }
        }
        // The largest quantile is the first exemplar's value.
        let levels = found.table("quantiles").unwrap().shape()[2];
        for neuron in 0..width {
            prop_assert_eq!(numbers(&found, "quantiles")[neuron * levels + levels - 1], own[neuron * ranks]);
        }
        prop_assert_eq!(numbers(&found, "hits").iter().sum::<f32>(), (width * ranks) as f32);
    }

    /// In another order cases have other numbers, and nothing else changes; nor does it with little memory.
    #[test]
    fn neither_the_order_of_cases_nor_memory_decides(seed in 0..99_u64) {
        let (toy, count) = (Toy::curved(seed), 7);
        let data = letters(count);
        let turned = from_fn("turned", count, move |i| data.case(count - 1 - i));
        let run = |many: &ManyCases, bytes| {
            made(Settings { top: 2, ..Settings::default() }).run_on(&On::new(&toy).within(Memory::bytes(bytes)), many).unwrap()
        };
        let many = ManyCases::over(letters(count)).unwrap();
        let one = run(&many, 1 << 30);
        let other = run(&ManyCases::over(turned).unwrap(), 1 << 30);
        for table in ["exemplars", "rate"] {
            prop_assert_eq!(numbers(&one, table), numbers(&other, table));
        }
        ROUNDING.check("mean", numbers(&one, "mean"), numbers(&other, "mean")).unwrap();
        let little = run(&many, 1_180_000);
        prop_assert_eq!(one.tables(), little.tables());
    }
}

#[test]
fn a_sample_stands_for_all_rows() {
    let (toy, many) = (Toy::curved(4), ManyCases::over(letters(40)).unwrap());
    let run = |sample, seed| {
        made(Settings { sample, seed: Seed(seed), ..Settings::default() }).run(&toy, &many).unwrap()
    };
    let (all, some, again, other) = (run(5000, 0), run(60, 0), run(60, 0), run(60, 1));
    assert_eq!(some.tables(), again.tables());
    assert_ne!(numbers(&some, "quantiles"), numbers(&other, "quantiles"));
    assert_ne!(numbers(&some, "quantiles"), numbers(&all, "quantiles"));
    // The median of 60 of a few hundred rows lies between the quartiles of all.
    let quartiles = made(Settings { quantiles: vec![0.2, 0.8], sample: 5000, ..Settings::default() });
    let quartiles = quartiles.run(&toy, &many).unwrap();
    for (own, bounds) in numbers(&some, "quantiles").chunks(5).zip(numbers(&quartiles, "quantiles").chunks(2))
    {
        assert!(bounds[0] <= own[1] && own[1] <= bounds[1], "{own:?} {bounds:?}");
    }
}

#[test]
fn patches_are_shown_with_their_boxes_and_pixels() {
    let subject = llava("llava-a");
    let many = || {
        let case = |i: usize| {
            Ok(Case::new(shown(&[["square", "wide", "tall"][i % 3]], ["<image>Red?", "<image>it"][i / 3])))
        };
        ManyCases::over(from_fn("pictures", 6, case)).unwrap()
    };
    let settings =
        || Settings { positions: Positions::Pictures, top: 2, crops: 3, side: 5, ..Settings::default() };
    let found = made(settings()).run(subject, &many()).unwrap();
    let crops = found.table("crops").unwrap();
    assert_eq!(crops.shape(), [3, 2, 5, 5, 3]);
    let boxes = numbers(&found, "boxes");
    assert!(boxes.chunks(4).all(|own| own[0] < own[2] && own[1] < own[3]));
    // The first crop is the picture of its case around its box.
    let name = crops.axes()[0].label(0).unwrap();
    let (layer, neuron) = name.split_once('.').unwrap();
    let [layer, neuron]: [usize; 2] = [layer, neuron].map(|at| at.parse().unwrap());
    let at = [layer, neuron, 0];
    let case = found.table("cases").unwrap().get(&at).unwrap() as usize;
    let own: Vec<f32> = (0..4)
        .map(|corner| found.table("boxes").unwrap().get(&[layer, neuron, 0, corner]).unwrap())
        .collect();
    let picture = many().data().case(case).unwrap().sample.pictures[0].image.clone();
    let wanted = mmlens_engine::crop(&picture, own.try_into().unwrap(), 5);
    assert_eq!(&numbers(&found, "crops")[..75], wanted);
    let places = found.table("places").unwrap().as_texts().unwrap();
    assert!(places.iter().all(|place| place.starts_with("image 0 row ")), "{places:?}");
    // Words have no box, and no crop.
    let words =
        made(Settings { positions: Positions::Question, ..settings() }).run(subject, &many()).unwrap();
    assert!(words.find("crops").is_none() && numbers(&words, "boxes").iter().all(|corner| *corner == 0.0));
}

#[test]
fn a_neuron_that_reads_a_class_has_pure_exemplars() {
    // A neuron of block 0 sees the token alone: of words that end in different letters it tells which.
    let toy = Toy::curved(1);
    let data = from_fn("words", 40, |i| Ok(Case::new(Sample::text(["abd", "cbd"][i % 2]))));
    let many =
        ManyCases::over(Annotated::new(data, ["a", "c"], (0..40).map(|i| i % 2).collect()).unwrap()).unwrap();
    let settings =
        Settings { positions: Positions::At(vec![0]), layers: Indices::At(vec![0]), ..Settings::default() };
    let found = made(settings).run(&toy, &many).unwrap();
    assert!(numbers(&found, "purity").iter().all(|purity| *purity == 1.0));
    let shuffled = numbers(&found, "shuffled purity");
    assert!(shuffled.iter().all(|purity| *purity < 0.95), "{shuffled:?}");
}

/// A toy whose stream behind block 1 has a dictionary, of which a feature is active where it is above 0.4 times its number.
fn with_features(seed: u64) -> WithDictionary<Toy> {
    let toy = Toy::curved(seed);
    let at = "text.blocks.1.resid_post";
    let width = toy.sites().iter().find(|spec| spec.site.to_string() == at).unwrap().axes[2].1.unwrap();
    let kept = Kept::Above((0..9).map(|feature| 0.4 * feature as f32).collect());
    WithDictionary::new(toy, dictionary(width, 9, kept, at), None, None).unwrap()
}

fn of_features() -> Settings {
    serde_json::from_value(json!({ "point": "resid_post.sae.features", "top": 4 })).unwrap()
}

/// Exemplars of a feature are the cases in which it is active, and what the site holds there; behind the last of them there is none.
#[test]
fn exemplars_of_features_are_where_they_are_active() {
    let (mut short, mut silent, mut full) = (0, 0, 0);
    for seed in 0..6 {
        let subject = with_features(seed);
        let (data, many) = (letters(6), ManyCases::over(letters(6)).unwrap());
        let found = made(of_features()).run(&subject, &many).unwrap();
        let table = found.table("exemplars").unwrap();
        // Of the two layers the one that has them.
        assert_eq!((table.shape(), table.axes()[0].label(0).unwrap().as_str()), (vec![1, 9, 4], "1"));
        assert_eq!(table.axes()[1].role, mmlens_core::finding::Role::Feature);
        let values: Vec<Vec<Vec<f32>>> =
            (0..6).map(|case| held(&subject, &data, case, 1, subject.features().point())).collect();
        let (cases, rows) = (numbers(&found, "cases"), numbers(&found, "rows of exemplars"));
        let (places, purity) =
            (found.table("places").unwrap().as_texts().unwrap(), numbers(&found, "purity"));
        let mut none = 0;
        for feature in 0..9 {
            let most = |rows: &Vec<Vec<f32>>| rows.iter().map(|row| row[feature]).fold(0.0, f32::max); // no NaN: what is read is finite
            let mut best: Vec<(usize, f32)> =
                values.iter().map(most).enumerate().filter(|(_, x)| *x > 0.0).collect();
            best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            best.truncate(4);
            none += usize::from(best.is_empty());
            short += usize::from(!best.is_empty() && best.len() < 4);
            full += usize::from(best.len() == 4);
            for rank in 0..4 {
                let at = 4 * feature + rank;
                let own = (numbers(&found, "exemplars")[at], cases[at]);
                match best.get(rank) {
                    Some((case, value)) => {
                        assert_eq!(own, (*value, *case as f32));
                        assert_eq!(values[*case][rows[at] as usize][feature], *value);
                        assert!(!places[at].is_empty());
                    }
                    None => assert_eq!((own, rows[at], places[at].as_str()), ((0.0, -1.0), -1.0, "")),
                }
            }
            let class = |case: usize| data.label(case).unwrap().unwrap();
            let first = best.iter().filter(|(case, _)| class(*case) == 0).count();
            let most = first.max(best.len() - first) as f32;
            let wanted = if best.is_empty() { 0.0 } else { most / best.len() as f32 };
            assert!((purity[feature] - wanted).abs() < 1e-6, "{feature}: {} {wanted}", purity[feature]);
        }
        silent += none;
        let hits: f32 = numbers(&found, "hits").iter().sum();
        assert_eq!(hits, cases.iter().filter(|case| **case >= 0.0).count() as f32);
        assert!((scalar(&found, "even hits") - hits / 6.0).abs() < 1e-6);
        let told = found.cautions().into_iter().find(|own| own.kind == CautionKind::DeadFeatures);
        assert_eq!(told.map(|own| own.number), (none > 0).then_some(none as f32 / 9.0));
    }
    println!("{full} full lists, {short} shorter, {silent} empty");
    assert!(short > 0 && silent > 0 && full > 0);
}

/// Some units give what they give among all, of neurons and of features.
#[test]
fn some_units_are_as_among_all() {
    let (toy, subject, many) = (Toy::curved(3), with_features(3), ManyCases::over(letters(6)).unwrap());
    let looked: [(&dyn Subject, Settings); 2] =
        [(&toy, Settings { top: 3, ..Settings::default() }), (&subject, of_features())];
    for (subject, settings) in looked {
        let all = made(settings.clone()).run(subject, &many).unwrap();
        let some = Settings { units: Indices::At(vec![5, 2]), ..settings };
        let some = made(some).run(subject, &many).unwrap();
        for name in ["exemplars", "cases", "rows of exemplars", "rate", "mean", "quantiles"] {
            let (all, some) = (all.table(name).unwrap(), some.table(name).unwrap());
            let (layers, units) = (all.shape()[0], all.shape()[1]);
            let each = all.len() / (layers * units);
            let of = |layer: usize, unit: usize| {
                let from = (layer * units + unit) * each;
                all.as_numbers().unwrap()[from..from + each].to_vec()
            };
            let wanted: Vec<f32> =
                (0..layers).flat_map(|layer| [of(layer, 2), of(layer, 5)].concat()).collect();
            assert_eq!(some.as_numbers().unwrap(), wanted, "{name}");
            assert_eq!(some.axes()[1].label(1).unwrap(), "5");
        }
    }
}

/// A dictionary of what leaves the tower lies in no block, and is one layer that is called by its point.
#[test]
fn features_outside_the_blocks_are_one_layer() {
    let subject = llava("llava-a");
    let at = "vision.features";
    let width = subject.sites().iter().find(|spec| spec.site.to_string() == at).unwrap().axes[2].1.unwrap();
    let own = dictionary(width, 7, Kept::Largest(2), at);
    let with = WithDictionary::new(subject, own, None, None).unwrap();
    let data = from_fn("pictures", 4, |i| {
        Ok(Case::new(shown(&[["square", "wide", "tall", "tiny"][i]], "<image>Red?")))
    });
    let many = ManyCases::over(data).unwrap();
    let settings = json!({ "part": "vision", "point": "features.sae.features", "positions": "pictures", "top": 2, "crops": 2, "side": 4 });
    let found = made(serde_json::from_value(settings.clone()).unwrap()).run(&with, &many).unwrap();
    let table = found.table("exemplars").unwrap();
    assert_eq!(
        (table.shape(), table.axes()[0].label(0).unwrap().as_str()),
        (vec![1, 7, 2], "features.sae.features")
    );
    assert!(numbers(&found, "exemplars").iter().any(|x| *x > 0.0));
    assert!(found.table("crops").unwrap().axes()[0].label(0).unwrap().starts_with("0."));
    let mut named = settings;
    named["layers"] = json!({ "at": [0] });
    let said = made(serde_json::from_value(named).unwrap()).run(&with, &many).unwrap_err().to_string();
    assert_eq!(
        said,
        "exemplars: layers = [0], of `vision.features.sae.features`, but none of a point outside the blocks"
    );
}

#[test]
fn cautions_come_where_they_are_due() {
    let toy = Toy::curved(2);
    let run = |positions: Positions, count: usize, top: usize| {
        let many = ManyCases::over(letters(count)).unwrap();
        let found = made(Settings { positions, top, ..Settings::default() }).run(&toy, &many).unwrap();
        found.cautions().iter().map(|caution| (caution.kind, caution.number)).collect::<Vec<_>>()
    };
    assert_eq!(run(Positions::At(vec![1]), 40, 10), []);
    assert_eq!(run(Positions::At(vec![1]), 29, 10), [(CautionKind::FewRows, 29.0)]);
    assert_eq!(run(Positions::At(vec![0]), 40, 10), [(CautionKind::Sink, 1.0)]);
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |settings: serde_json::Value| {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let many = ManyCases::over(letters(4)).unwrap();
        Exemplars::new(settings)
            .and_then(|method| method.run(&Toy::curved(1), &many))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(said(json!({ "top": 0 })), "exemplars: top = 0, but it must be at least 1");
    assert_eq!(
        said(json!({ "quantiles": [1.5] })),
        "exemplars: quantiles = 1.5, but they must lie between 0 and 1"
    );
    assert_eq!(
        said(json!({ "part": "vision" })),
        "exemplars needs a part with neurons, but that part publishes none, but `text`"
    );
    assert!(
        said(json!({ "point": "resid_post" }))
            .starts_with("exemplars needs a point that has neurons, but `text.blocks.0.resid_post` has ")
    );
    assert!(said(json!({ "layers": { "at": [7] } })).contains("layers = 7, of 2"));
    assert!(said(json!({ "units": { "at": [99] } })).contains("units = 99, of "));
    let nowhere = said(json!({ "point": "resid_post.sae.features" }));
    assert_eq!(nowhere, "exemplars needs a part with neurons, but this one publishes none");
    assert!(said(json!({ "positions": { "at": [30] } })).contains("position 30 was asked for of "));
    let none = ManyCases::over(from_fn("none", 0, |_| Ok(Case::new(Sample::prompt(vec![painted(1)], "#a")))))
        .unwrap();
    let none =
        Exemplars::new(Settings::default()).unwrap().run(&Toy::curved(1), &none).unwrap_err().to_string();
    assert_eq!(none, "exemplars needs at least one case, but there is none");
    let many = ManyCases::over(letters(4)).unwrap();
    let toy = Toy::curved(1);
    let little = On::new(&toy).within(Memory::bytes(40_000));
    let said = Exemplars::new(Settings::default()).unwrap().run_on(&little, &many).unwrap_err().to_string();
    assert!(said.starts_with("exemplars takes up to "), "{said}");
}
