//! The mechanisms against what they stand for: one pass at a time, edit by edit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod units;

use std::num::NonZeroUsize;

use burn::tensor::Device;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::finding::Tolerance;
use mmlens_core::{
    AnalysisError, AxisName, Baseline, Change, Inputs, Memory, Objective, Part, Picture, Plan, Region,
    Sample, Site, Subject, Unwatched,
};
use mmlens_engine::{End, Nodes, PathIntegral, Progress, Rule, Start, Windows, score, states_at, sweep};
use mmlens_testkit::{Toy, checkpoint};
use mmlens_zoo::llava::open_llava;
use proptest::prelude::*;
use units::by_hand::{hide, put, show, unattended};

const ROUNDING: Tolerance = Tolerance::either(2e-6, 1e-5);

fn site(name: &str) -> Site {
    name.parse().unwrap()
}

fn rows(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn painted(seed: u32) -> Picture {
    let image = RgbImage::from_fn(8, 8, |x, y| {
        Rgb([0, 1, 2].map(|c| ((x * 31 + y * 57 + c * 91 + seed * 13) % 256) as u8))
    });
    Picture::new("painted", DynamicImage::from(image))
}

fn inputs(toy: &Toy, words: &str) -> Inputs {
    let pictures = (0..words.matches('#').count()).map(|i| painted(i as u32)).collect();
    toy.encode(&Sample::prompt(pictures, words)).unwrap()
}

fn objective() -> Objective {
    Objective::logit(4)
}

fn one(subject: &dyn Subject, inputs: &Inputs, plan: Plan) -> f32 {
    score(&subject.run(inputs, plan.objective(objective())).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn putting_rows_together_is_putting_them_one_by_one(
        seed in 0..99_u64,
        places in prop::collection::vec(prop::collection::vec(0..6_usize, 0..4), 1..6),
        point in prop::sample::select(vec!["resid_pre", "attn_out", "attn.z", "mlp.post"]),
    ) {
        let toy = Toy::curved(seed);
        let place = site(&format!("text.blocks.1.{point}"));
        let (clean, corrupted) = (inputs(&toy, "#ab"), inputs(&toy, "#xy"));
        let good = toy.run(&clean, Plan::new().read(place).unwrap()).unwrap().get(place).unwrap().clone();
        let entered = site("text.blocks.1.resid_pre");
        let trace = toy.run(&corrupted, Plan::new().read(entered).unwrap()).unwrap();
        let start = Start::block(&corrupted, &trace, (Part::Text, 1)).unwrap();
        let (packed, plan) = start.copies(places.len()).unwrap();
        let plan = put(plan, place, places.clone(), &good).unwrap().objective(objective());
        let together = toy.run(&packed, plan).unwrap().scores().unwrap().to_vec();
        let each = |some: &Vec<usize>| {
            let change = Plan::new().change(place, Region::all().positions(some.clone()), Change::Set(good.clone()));
            one(&toy, &corrupted, change.unwrap())
        };
        let alone: Vec<f32> = places.iter().map(each).collect();
        ROUNDING.check(point, &together, &alone).unwrap();
    }

    #[test]
    fn hiding_keys_row_by_row_is_knocking_them_out(
        seed in 0..99_u64,
        keys in prop::collection::vec(0..6_usize, 1..5),
    ) {
        let toy = Toy::curved(seed);
        let whole = inputs(&toy, "#ab");
        let (packed, plan) = Start::input(&whole).copies(keys.len()).unwrap();
        let plan = unattended(plan, "text.blocks.*.attn.scores", keys.iter().map(|k| vec![*k]).collect()).unwrap();
        let together = toy.run(&packed, plan.objective(objective())).unwrap().scores().unwrap().to_vec();
        let each = |key: &usize| {
            let queries = (0..6).filter(|query| query != key);
            one(&toy, &whole, Plan::new().knock_out("text.blocks.*.attn.scores", None, queries, [*key]).unwrap())
        };
        let alone: Vec<f32> = keys.iter().map(each).collect();
        ROUNDING.check("scores", &together, &alone).unwrap();
    }

    #[test]
    fn a_sweep_is_its_passes(seed in 0..99_u64, variants in 1..9_usize, batch in 1..5_usize) {
        let toy = Toy::curved(seed);
        let whole = inputs(&toy, "#a");
        let scaled = |i: usize| Change::Scale(i as f32 / 4.0);
        let mut progress = Progress::new(&Unwatched, "sweep", variants);
        let found = sweep(&toy, &objective(), variants, rows(batch), &mut progress, |range| {
            let (packed, mut plan) = Start::input(&whole).copies(range.len())?;
            for (row, i) in range.enumerate() {
                plan = plan.change("text.input", Region::all().rows([row]), scaled(i))?;
            }
            Ok::<_, AnalysisError>((packed, plan))
        })
        .unwrap();
        let each = |i| one(&toy, &whole, Plan::new().change("text.input", Region::all(), scaled(i)).unwrap());
        let alone: Vec<f32> = (0..variants).map(each).collect();
        ROUNDING.check("scores", &found, &alone).unwrap();
        prop_assert_eq!(progress.done(), variants);
    }

    #[test]
    fn the_gradient_at_a_single_node_is_the_gradient_there(
        seed in 0..99_u64,
        at in prop::sample::select(vec!["vision.pixels", "text.embed", "text.blocks.1.mlp_out"]),
    ) {
        let toy = Toy::curved(seed);
        let whole = inputs(&toy, "#ab");
        // the only midpoint lies half of the way between zero and the value
        let read = toy.run(&whole, Plan::new().read(site(at)).unwrap()).unwrap();
        let value = read.get(site(at)).unwrap().to_values().unwrap();
        let ends = vec![End::new(site(at), Baseline::Zero)];
        let nodes = Nodes::Fixed { rule: Rule::Midpoint, steps: rows(1) };
        let path = PathIntegral { ends, nodes, memory: Memory::default() };
        let plan = path.reads(&toy, &objective()).into_iter().fold(Plan::new(), |plan, site| plan.read(site).unwrap());
        let unedited = toy.run(&whole, plan.objective(objective())).unwrap();
        let mut progress = Progress::new(&Unwatched, "path", 1);
        let found = path.walk(&toy, (&whole, &objective()), &unedited, &mut progress).unwrap();
        let half = Plan::new().change(site(at), Region::all(), Change::Scale(0.5)).unwrap();
        let grad = toy.run(&whole, half.grad(site(at)).unwrap().objective(objective())).unwrap();
        let grad = grad.grad(site(at)).unwrap().to_values().unwrap();
        let wanted: Vec<f32> = value.iter().zip(&grad).map(|(v, g)| v * g).collect();
        ROUNDING.check(at, &found.along[0].values, &wanted).unwrap();
    }
}

#[test]
fn a_picture_shown_in_place_of_another_is_seen() {
    let toy = Toy::curved(3);
    let whole = inputs(&toy, "#a#b");
    let pixels = whole.seen.values.clone().unwrap();
    for entry in 0..2 {
        let own = pixels.rows(entry, 1).unwrap();
        let hidden = Baseline::Constant(0.25).at(&toy.sites()[0], &own, &whole).unwrap();
        let windows = Windows::grid([8, 8], [2, 2]);
        let variants = show(&whole, entry, hide(&windows, &own, &hidden, 1..4));
        assert_eq!((variants.rows(), variants.seen.values.as_ref().unwrap().dims()[0]), (3, 5));
        let found =
            toy.run(&variants, Plan::new().objective(objective())).unwrap().scores().unwrap().to_vec();
        // window i covers rows i / 2 * 4 .. and columns i % 2 * 4 ..
        let each = |i: usize| {
            let region = Region::all().of(AxisName::Image, [entry]);
            let region = region
                .of(AxisName::Height, i / 2 * 4..i / 2 * 4 + 4)
                .of(AxisName::Width, i % 2 * 4..i % 2 * 4 + 4);
            let grey = Baseline::Constant(0.25).at(&toy.sites()[0], &pixels, &whole).unwrap();
            one(&toy, &whole, Plan::new().change("vision.pixels", region, Change::Set(grey)).unwrap())
        };
        ROUNDING.check("scores", &found, &[each(1), each(2), each(3)]).unwrap();
    }
}

#[test]
fn edits_that_do_not_fit_are_refused() {
    let toy = Toy::curved(3);
    let whole = inputs(&toy, "#ab");
    let place = site("text.blocks.0.resid_pre");
    let own = toy.run(&whole, Plan::new().read(place).unwrap()).unwrap().get(place).unwrap().clone();
    let said = |places: Vec<Vec<usize>>, plan: Plan| {
        toy.run(&whole, put(plan, place, places, &own).unwrap()).unwrap_err().to_string()
    };
    assert_eq!(
        said(vec![vec![6]], Plan::new()),
        "`text.blocks.0.resid_pre`: pos 6 is out of range, there are 6"
    );
    assert_eq!(
        said(vec![vec![0]; 2], Plan::new()),
        "`text.blocks.0.resid_pre`: batch 1 is out of range, there are 1"
    );
    let pattern = site("text.blocks.0.attn.pattern");
    let error = toy.run(&whole, put(Plan::new(), pattern, vec![vec![0]], &own).unwrap()).unwrap_err();
    assert!(error.to_string().contains("it has no `pos` to choose from"), "{error}");
    let refused = |places| {
        let plan = unattended(Plan::new(), "text.blocks.*.attn.scores", places).unwrap();
        toy.run(&whole, plan).unwrap_err().to_string()
    };
    let place = "`text.blocks.0.attn.scores`";
    assert_eq!(refused(vec![vec![0], vec![0]]), format!("{place}: batch 1 is out of range, there are 1"));
    assert_eq!(refused(vec![vec![6]]), format!("{place}: key 6 is out of range, there are 6"));
    assert!(states_at(&own, &[6]).is_err());
    assert_eq!(states_at(&own, &[5, 0, 5]).unwrap().dims(), [3, 6]);
}

/// What they say is held to the contract of subjects.
#[test]
fn a_tower_says_behind_which_blocks_it_is_read() {
    // llava-a reads the output of block 2 of 4; llava-b the last of 3; llava-multi the last and the first of 3
    for (name, read) in [("llava-a", vec![3]), ("llava-b", vec![3]), ("llava-multi", vec![1, 3])] {
        let subject = open_llava(&checkpoint(name), &Device::default()).unwrap();
        assert_eq!(subject.read_behind(Part::Vision), read, "{name}");
        assert_eq!(subject.read_behind(Part::Text), [subject.anatomy()[1].blocks], "{name}");
    }
    assert_eq!(Toy::curved(1).read_behind(Part::Text), [2]);
}
