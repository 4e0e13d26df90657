//! Positions that draw attention, or hold states unlike all others: against NumPy, against identities, planted in weights.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{Analysis, Case, ManyCases, Part, Picture, Sample, Subject, Words, from_fn};
use mmlens_engine::Indices;
use mmlens_model::sinks::{Bound, Settings};
use mmlens_model::{Sinks, SinksOverCases};
use mmlens_testkit::{Oracle, Toy, Weights, checkpoint, picture, planted, shipped};
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{llava, numbers, question, shown};

/// Weights and states in f32, summed in another order.
const CLOSE: Tolerance = Tolerance::either(1e-5, 1e-5);

fn bounds(oracle: &Oracle, of: &str) -> Settings {
    let at = |name: &str| oracle.about()["bounds"][of][name].as_f64().unwrap() as f32;
    Settings {
        times: at("times"),
        above: at("above"),
        most: at("most"),
        norm: Bound::Median(at("norm")),
        magnitude: at("magnitude"),
        over_median: at("over_median"),
        spike: at("spike"),
        ..Settings::default()
    }
}

fn agree(found: &Finding, oracle: &Oracle, of: &str, pairs: &[(&str, &str)]) {
    for (table, name) in pairs {
        let array = oracle.array(&format!("{of}/{name}")).unwrap();
        assert_eq!(found.table(table).unwrap().shape(), array.dims, "{of} {table}");
        let apart = CLOSE.check(table, numbers(found, table), &array.values).unwrap();
        println!("{of} {table}: {apart:?}");
    }
}

const TABLES: [(&str, &str); 10] = [
    ("attention", "share"),
    ("even attention", "even"),
    ("sink heads", "sink heads"),
    ("norm", "norm"),
    ("largest", "largest"),
    ("spike", "spike"),
    ("found", "found"),
    ("count", "count"),
    ("held", "held"),
    ("held evenly", "evenly"),
];

#[test]
fn positions_are_found_as_in_numpy() {
    let oracle = Oracle::open("methods/tokens").unwrap();
    let found = Sinks::new(bounds(&oracle, "llava")).unwrap().run(llava("llava-a"), &question()).unwrap();
    agree(&found, &oracle, "llava", &TABLES);
    let clip = mmlens_zoo::open(checkpoint("clip-a"), &Device::default()).unwrap();
    let sample = Sample::new(shown(&["square"], "").pictures, Words::Texts(vec!["a".to_owned()]));
    let found = Sinks::new(bounds(&oracle, "clip")).unwrap().run(clip.as_ref(), &Case::new(sample)).unwrap();
    agree(&found, &oracle, "clip", &TABLES);
    // The quotients are those of the tables beside them.
    let [share, even, over] =
        ["attention", "even attention", "over even share"].map(|name| numbers(&found, name));
    let quotients: Vec<f64> = share.iter().zip(even).map(|(a, b)| f64::from(*a) / f64::from(*b)).collect();
    CLOSE.check("over even share", over, &quotients).unwrap();
}

#[test]
fn cases_are_counted_as_in_numpy() {
    let oracle = Oracle::open("methods/tokens").unwrap();
    let names = ["square", "tall"];
    let data = from_fn("two", 2, move |i| Ok(Case::new(shown(&[names[i]], "<image>Red?"))));
    let many = ManyCases::over(data).unwrap();
    let method = SinksOverCases::new(bounds(&oracle, "llava")).unwrap();
    let found = method.run(llava("llava-a"), &many).unwrap();
    let tables = [
        ("cases", "cases"),
        ("held", "held"),
        ("held evenly", "evenly"),
        ("held, deviation", "deviation"),
        ("frequency", "frequency"),
    ];
    agree(&found, &oracle, "cases", &tables);
    let kinds: Vec<CautionKind> = found.cautions().iter().map(|caution| caution.kind).collect();
    assert_eq!((kinds, found.cautions()[0].number), (vec![CautionKind::FewRows], 2.0));
}

/// All positions of a kind are counted in one place each, and where prompts are of unlike lengths no position is told.
#[test]
fn positions_are_counted_by_their_kind() {
    let data = from_fn("some", 10, |i| {
        Ok(Case::new(shown(&["square"], ["<image>Red?", "<image>Red or not?"][i % 2])))
    });
    let all = Settings { times: 0.0, ..Settings::default() };
    let found =
        SinksOverCases::new(all).unwrap().run(llava("llava-a"), &ManyCases::over(data).unwrap()).unwrap();
    assert!(found.find("frequency").is_none() && found.cautions().is_empty());
    let table = found.table("count by kind of position").unwrap();
    let one = |words: &str| llava("llava-a").encode(&shown(&["square"], words)).unwrap();
    let [short, long] = ["<image>Red?", "<image>Red or not?"].map(one);
    let of = |modality| (short.map().of(modality).len() + long.map().of(modality).len()) as f32 / 2.0;
    use mmlens_core::finding::Modality::{Image, Special, Text};
    let first = short.map().tokens[0].modality;
    for (at, kind) in [Image, Text, Special].into_iter().enumerate() {
        let less = f32::from(u8::from(first == kind));
        assert_eq!(table.get(&[0, 0, at + 1]).unwrap(), of(kind) - less, "{kind:?}");
    }
    assert_eq!(table.get(&[0, 0, 0]).unwrap(), 1.0);
}

proptest! {
    #![proptest_config(few())]

    /// Shares sum to one; bounds at zero find every position, which hold all there is; bounds beyond everything find none.
    #[test]
    fn all_hold_all_and_none_nothing(seed in 0..99_u64, word in "[a-f]{2,5}") {
        let (toy, case) = (Toy::curved(seed), asked(1, &word, 3));
        let run = |settings| Sinks::new(settings).unwrap().run(&toy, &case).unwrap();
        let base = Settings::default;
        let low = run(Settings { times: 0.0, norm: Bound::Above(0.0), magnitude: 0.0, over_median: 0.0, spike: 0.0, ..base() });
        let high = run(Settings { times: 1e9, norm: Bound::Median(1e9), magnitude: 1e9, spike: 1e9, above: 1.0, ..base() });
        let positions = low.table("attention").unwrap().shape()[1];
        for table in ["attention", "even attention"] {
            prop_assert!(numbers(&low, table).chunks(positions).all(|own| (own.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        }
        let layers = low.table("attention").unwrap().shape()[0];
        for (at, (count, held)) in numbers(&low, "count").iter().zip(numbers(&low, "held")).enumerate() {
            // Sinks are bounded by a share of heads, and not by zero.
            if at / layers != 1 {
                prop_assert_eq!(*count, positions as f32);
                prop_assert!((held - 1.0).abs() < 1e-5);
            }
        }
        prop_assert!(numbers(&high, "found").iter().all(|found| *found == 0.0));
        prop_assert!(numbers(&high, "held").iter().all(|held| *held == 0.0));
        // The case many times is the case.
        let copies = ManyCases::over(from_fn("same", 3, { let case = case.clone(); move |_| Ok(case.clone()) })).unwrap();
        let settings = || Settings { times: 1.2, spike: 1.5, ..base() };
        let (one, many) = (run(settings()), SinksOverCases::new(settings()).unwrap().run(&toy, &copies).unwrap());
        for table in ["held", "held evenly"] {
            CLOSE.check(table, numbers(&one, table), numbers(&many, table)).unwrap();
        }
        prop_assert_eq!(numbers(&one, "found"), numbers(&many, "frequency"));
        prop_assert!(numbers(&many, "held, deviation").iter().all(|apart| *apart < 1e-6));
    }
}

/// What is planted: a place of the picture whose state a neuron makes long, and that some heads look at.
struct Plant {
    position: usize,
    neuron: usize,
    marked: usize,
    written: usize,
    heads: usize,
}

impl Plant {
    fn of(seed: u64) -> Self {
        let draw = |item: u64, below: u64| (mmlens_core::Seed(seed).at(item).value() % below) as usize;
        Self {
            position: 1 + draw(0, 64),
            neuron: draw(1, 256),
            marked: draw(2, 48),
            written: 48 + draw(3, 48),
            heads: 3,
        }
    }

    /// The position is marked in one coordinate; a neuron of block 0 that this coordinate alone excites writes `long` to another, and
    /// the keys of block 0 tell it to queries, which all look for it.
    fn put(&self, weights: &mut Weights, prefix: &str, long: f32) {
        let (width, of) = (96, |name: &str| format!("{prefix}{name}"));
        let mut row = |name: &str, put: &dyn Fn(&mut [f32])| put(&mut weights.get_mut(&of(name)).unwrap().1);
        row("embeddings.position_embedding.weight", &|all| all[self.position * width + self.marked] += 100.0);
        // What the norms give at the marked coordinate: about 9.7 there, and at most about 3 elsewhere.
        for norm in ["pre_layrnorm", "encoder.layers.0.layer_norm1", "encoder.layers.0.layer_norm2"] {
            row(&format!("{norm}.weight"), &|all| all[self.marked] = 1.0);
            row(&format!("{norm}.bias"), &|all| all[self.marked] = 0.0);
        }
        row("encoder.layers.0.mlp.fc1.weight", &|all| {
            let own = &mut all[self.neuron * width..(self.neuron + 1) * width];
            own.fill(0.0);
            own[self.marked] = 1.0;
        });
        row("encoder.layers.0.mlp.fc1.bias", &|all| all[self.neuron] = -6.0);
        row("encoder.layers.0.mlp.fc2.weight", &|all| {
            for out in 0..width {
                all[out * 256 + self.neuron] = if out == self.written { long } else { 0.0 };
            }
        });
        for head in 0..self.heads {
            let at = head * 24 + self.neuron % 24;
            row("encoder.layers.0.self_attn.q_proj.bias", &|all| all[at] = 8.0);
            row("encoder.layers.0.self_attn.k_proj.weight", &|all| {
                all[at * width..(at + 1) * width].fill(0.0);
                all[at * width + self.marked] = 1.0;
            });
        }
    }
}

/// In the weights of both shipped models, five times in three strengths: found there, from the block that makes it on, and nowhere else.
#[test]
fn a_register_planted_in_weights_is_found() {
    let scene = mmlens_core::Picture::new("scene", {
        let mut image = image::RgbImage::from_pixel(64, 64, image::Rgb([40, 40, 40]));
        (10..30).for_each(|at| (8..24).for_each(|x| image.put_pixel(x, at, image::Rgb([200, 30, 30]))));
        image::DynamicImage::from(image)
    });
    let folder = tempfile::tempdir().unwrap();
    for (name, prefix) in [("shapes-llava", "model.vision_tower."), ("shapes-clip", "vision_model.")] {
        for seed in 0..5 {
            let plant = Plant::of(seed);
            for long in [120.0, 240.0, 480.0] {
                let into = folder.path().join(format!("{name}-{seed}-{long}"));
                planted(&shipped(name), &into, |weights| plant.put(weights, prefix, long));
                let subject = mmlens_zoo::open(&into, &Device::default()).unwrap();
                let words = Words::Texts(vec!["a red circle".to_owned()]);
                let sample = if name == "shapes-clip" {
                    Sample::new(vec![scene.clone()], words)
                } else {
                    Sample::ask(scene.clone(), "what colour is the circle ?")
                };
                let settings = Settings { part: Some(Part::Vision), spike: 6.0, ..Settings::default() };
                let found = Sinks::new(settings).unwrap().run(subject.as_ref(), &Case::new(sample)).unwrap();
                let told = found.table("positions").unwrap().as_texts().unwrap().to_vec();
                let layers = told.len() / 5;
                let planted = plant.position.to_string();
                let kind = |kind: usize| &told[kind * layers..(kind + 1) * layers];

                assert!(
                    kind(2).iter().all(|own| *own == planted),
                    "{name} {seed} {long}: norms {:?}",
                    kind(2)
                );
                assert!(
                    kind(4).iter().all(|own| *own == planted),
                    "{name} {seed} {long}: spikes {:?}",
                    kind(4)
                );
                assert_eq!(kind(0)[0], planted, "{name} {seed} {long}: beyond even share {:?}", kind(0));
                assert_eq!(kind(1)[0], planted, "{name} {seed} {long}: sinks {:?}", kind(1));
            }
        }
    }
}

#[test]
fn shipped_models_have_no_register() {
    let scene = Picture::open(picture("square")).unwrap();
    let shapes = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let settings = Settings { part: Some(Part::Vision), ..Settings::default() };
    let found = Sinks::new(settings).unwrap();
    let found = found.run(&shapes, &Case::new(Sample::ask(scene, "what colour is the circle ?"))).unwrap();
    let layers = found.table("count").unwrap().shape()[1];
    assert_eq!(&numbers(&found, "count")[2 * layers..4 * layers], vec![0.0; 2 * layers]);
}

/// What few see, and what no state can reach, is spoken of, with its number; and else nothing.
#[test]
fn means_over_few_and_bounds_out_of_reach_are_spoken_of() {
    let run = |settings| Sinks::new(settings).unwrap().run(llava("llava-a"), &question()).unwrap();
    let base = || Settings { spike: 3.0, ..Settings::default() };
    assert!(run(base()).cautions().is_empty());
    let short = run(Settings { spike: 20.0, ..base() });
    let width = llava("llava-a").anatomy().iter().find(|own| own.part == Part::Text).unwrap().d_model;
    let [caution] = &short.cautions()[..] else { panic!("{:?}", short.cautions()) };
    assert_eq!((caution.kind, caution.number), (CautionKind::Other, (width as f32).sqrt()));
    // A bound that every weight exceeds: every position that others see is a sink, the last seven to few.
    let low = run(Settings { above: 0.0, most: 0.0, ..base() });
    let [caution] = &low.cautions()[..] else { panic!("{:?}", low.cautions()) };
    let layers = low.table("count").unwrap().shape()[1];
    // The last position is seen by no other; the one before by one, and so on.
    assert_eq!(
        (caution.kind, caution.number),
        (CautionKind::FewRows, (7 * layers) as f32),
        "{}",
        caution.text
    );
}

#[test]
fn bounds_that_cannot_be_are_refused() {
    let toy = Toy::curved(1);
    let said = |settings| {
        Sinks::new(settings).and_then(|own| own.run(&toy, &asked(1, "abc", 2))).unwrap_err().to_string()
    };
    let base = Settings::default;
    assert_eq!(
        said(Settings { times: -1.0, ..base() }),
        "sinks-and-registers: times = -1, but a bound is a number that is not negative"
    );
    assert!(said(Settings { norm: Bound::Above(f32::NAN), ..base() }).contains("norm = NaN"));
    assert!(said(Settings { above: 1.5, ..base() }).contains("a share lies between 0 and 1"));
    assert!(
        said(Settings { point: mmlens_core::Point::FinalNorm, ..base() })
            .contains("a point must lie in a block")
    );
    assert!(
        said(Settings { dimensions: Indices::At(vec![1000]), ..base() }).contains("dimensions = 1000, of ")
    );
    let none = ManyCases::over(from_fn("none", 0, |_| Ok(asked(1, "a", 2)))).unwrap();
    let said = SinksOverCases::default().run(&toy, &none).unwrap_err().to_string();
    assert_eq!(said, "sinks-over-cases needs at least one case, but `none` has none");
}
