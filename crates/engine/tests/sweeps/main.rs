//! A planned sweep is what one complete pass for every variant gives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::finding::{Axis, Modality, Role, Tolerance, Unit, top};
use mmlens_core::{
    AnyTensor, AxisName, Change, HookError, Inputs, Measure, Memory, Objective, Part, Picture, Plan, Point,
    Position, Region, Resume, Sample, Seed, Selector, Site, Subject, SubjectError, Trace, Unwatched, Watch,
    Words,
};
use mmlens_engine::{Edit, Metric, Progress, Reference, Sweep};
use mmlens_testkit::{Rewired, Toy, checkpoint, picture};
use proptest::prelude::*;

mod work;

const ROUNDING: Tolerance = Tolerance::either(2e-6, 1e-5);
const TOKEN: u32 = 4;

fn site(name: &str) -> Site {
    name.parse().unwrap()
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

fn at_most(rows: usize) -> Memory {
    Memory::default().at_most(NonZeroUsize::new(rows).unwrap())
}

/// An edit in a form that can be carried out both ways.
#[derive(Debug, Clone)]
struct Change1 {
    places: String,
    region: Region,
    change: Change,
}

impl Change1 {
    fn edit(&self) -> Edit {
        Edit::new(self.places.parse::<Selector>().unwrap(), self.change.clone()).within(self.region.clone())
    }
}

fn change(positions: usize) -> impl Strategy<Value = Change1> {
    let stream = prop::sample::select(vec![
        "text.embed",
        "text.input",
        "text.blocks.0.resid_pre",
        "text.blocks.1.resid_pre",
        "text.blocks.*.attn_out",
        "text.blocks.1.mlp_out",
        "text.blocks.1.resid_post",
    ]);
    let part = |axis| move |picks: Vec<usize>| Region::all().of(axis, picks);
    let some = |len: usize| prop::collection::vec(0..len, 1..3);
    let change = || {
        prop_oneof![
            Just(Change::Zero),
            (-2.0..2.0_f32).prop_map(Change::Scale),
            (-2.0..2.0_f32).prop_map(|v| {
                Change::Add(AnyTensor::from_values(vec![v; 6], &[1, 1, 6], &Device::default()).unwrap())
            }),
            (-2.0..2.0_f32).prop_map(|v| {
                Change::Set(AnyTensor::from_values(vec![v; 6], &[1, 1, 6], &Device::default()).unwrap())
            }),
            Just(Change::Mean),
        ]
    };
    let simple = || prop_oneof![Just(Change::Zero), (-2.0..2.0_f32).prop_map(Change::Scale)];
    prop_oneof![
        (stream, some(positions).prop_map(part(AxisName::Pos)), change())
            .prop_map(|(places, region, change)| Change1 { places: places.to_owned(), region, change }),
        (0..2_usize, some(2).prop_map(part(AxisName::Head)), simple()).prop_map(|(block, region, change)| {
            Change1 { places: format!("text.blocks.{block}.attn.z"), region, change }
        }),
        (0..2_usize, some(8).prop_map(part(AxisName::Neuron)), simple()).prop_map(
            |(block, region, change)| {
                Change1 { places: format!("text.blocks.{block}.mlp.post"), region, change }
            }
        ),
        (0..2_usize, some(4).prop_map(part(AxisName::Height)), simple()).prop_map(
            |(image, region, change)| {
                let region = region.of(AxisName::Image, [image]);
                Change1 { places: "vision.pixels".to_owned(), region, change }
            }
        ),
        simple().prop_map(|change| Change1 {
            places: "connector.out".to_owned(),
            region: Region::all(),
            change
        }),
    ]
}

fn metrics() -> Vec<Metric> {
    vec![
        Objective::logit(TOKEN).into(),
        Objective::logit_difference(TOKEN, 7).into(),
        Objective::log_probability(TOKEN).into(),
        Measure::Probability.of(Position::Last, TOKEN).into(),
        Metric::Rank { at: Position::Last, token: TOKEN },
        Metric::Divergence { at: Position::Last },
        Metric::of("largest", Unit::Logit, |output| {
            AnyTensor::new(output.at(Position::Last)?.max_dim(1)).to_values()
        }),
    ]
}

fn swept(subject: &dyn Subject, inputs: &Inputs, edits: Vec<Vec<Edit>>, memory: &Memory) -> Vec<Vec<f32>> {
    measured(subject, inputs, edits, memory, metrics())
}

fn measured(
    subject: &dyn Subject,
    inputs: &Inputs,
    edits: Vec<Vec<Edit>>,
    memory: &Memory,
    metrics: Vec<Metric>,
) -> Vec<Vec<f32>> {
    let axes = vec![Axis::count(Role::Sample, edits.len())];
    let sweep = Sweep::over(axes, move |at| edits[at[0]].clone());
    let sweep = metrics.into_iter().fold(sweep, Sweep::measure);
    let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
    let found = sweep.run(subject, inputs, memory, &mut progress).unwrap();
    assert_eq!(progress.done(), sweep.len());
    found.measured.into_iter().map(|m| m.values).collect()
}

/// The metrics from a complete pass, reckoned from its logits.
fn alone(subject: &dyn Subject, inputs: &Inputs, edits: &[Change1]) -> Vec<f32> {
    let logits = |edits: &[Change1]| -> Vec<f64> {
        let mut plan = Plan::new();
        for e in edits {
            plan = plan.change(e.places.as_str(), e.region.clone(), e.change.clone()).unwrap();
        }
        let trace = subject.run(inputs, plan).unwrap();
        let logits = trace.output().logits.clone().unwrap().to_values().unwrap();
        logits.into_iter().map(f64::from).collect()
    };
    let shares = |logits: &[f64]| -> Vec<f64> {
        let total: f64 = logits.iter().map(|l| l.exp()).sum();
        logits.iter().map(|l| l.exp() / total).collect()
    };
    let (base, row) = (logits(&[]), logits(edits));
    let (p, q) = (shares(&base), shares(&row));
    let token = TOKEN as usize;
    let moved: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
    let above = row.iter().filter(|l| **l > row[token]).count();
    let largest = row[top(&row).unwrap().unwrap()];
    [row[token], row[token] - row[7], q[token].ln(), q[token], above as f64, moved, largest]
        .map(|v| v as f32)
        .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn planned_and_packed_is_one_pass_for_each(
        seed in 0..99_u64,
        variants in prop::collection::vec(prop::collection::vec(change(11), 0..3), 1..12),
        rows in 1..6_usize,
        // Two need the logits of tokens alone, six those of one position, the last the whole output.
        count in prop::sample::select(vec![2_usize, 6, 7]),
    ) {
        let toy = Toy::curved(seed);
        let case = inputs(&toy, "#a#bc"); // eleven positions
        prop_assert_eq!(case.positions(), 11);
        let edits = variants.iter().map(|edits| edits.iter().map(Change1::edit).collect()).collect();
        let metrics: Vec<Metric> = metrics().into_iter().take(count).collect();
        let found = measured(&toy, &case, edits, &at_most(rows), metrics.clone());
        let wanted: Vec<Vec<f32>> = variants.iter().map(|edits| alone(&toy, &case, edits)).collect();
        for (m, metric) in metrics.iter().enumerate() {
            let wanted: Vec<f32> = wanted.iter().map(|row| row[m]).collect();
            ROUNDING.check(&metric.name(), &found[m], &wanted).unwrap();
        }
    }
}

/// Every head, KV head, neuron group, patch and position of a real architecture, tower included.
#[test]
fn towers_and_decoders_of_the_zoo_are_swept() {
    let subject = mmlens_zoo::open(checkpoint("llava-a"), &Device::default()).unwrap();
    let subject = subject.as_ref();
    let pictures = ["tiny", "wide"].map(|name| Picture::open(picture(name)).unwrap()).to_vec();
    let case = subject.encode(&Sample::prompt(pictures, "A <image> and B <image>: same?")).unwrap();
    let mut variants: Vec<Change1> = Vec::new();
    for (places, axis, len) in [
        ("vision.blocks.1.attn.z", AxisName::Head, 5),
        ("vision.blocks.2.resid_pre", AxisName::Image, 2),
        ("vision.blocks.0.mlp.post", AxisName::Neuron, 4),
        ("connector.out", AxisName::Image, 2),
        ("text.blocks.1.attn.k", AxisName::Head, 2),
        ("text.blocks.2.attn.pattern", AxisName::Head, 6),
        ("text.blocks.0.resid_mid", AxisName::Pos, 5),
        ("text.final_norm", AxisName::Pos, case.positions()),
    ] {
        for index in 0..len {
            let region = Region::all().of(axis, [index]);
            variants.push(Change1 { places: places.to_owned(), region, change: Change::Scale(-0.5) });
        }
    }
    for rows in [3, 64] {
        let edits = variants.iter().map(|change| vec![change.edit()]).collect();
        let found = swept(subject, &case, edits, &at_most(rows));
        for (v, change) in variants.iter().enumerate() {
            let wanted = alone(subject, &case, std::slice::from_ref(change));
            let found: Vec<f32> = found.iter().map(|metric| metric[v]).collect();
            let loose = Tolerance::either(1e-5, 1e-5);
            loose.check(&format!("{} {:?}", change.places, change.region), &found, &wanted).unwrap();
        }
    }
}

#[test]
fn a_patch_from_the_same_run_changes_nothing_and_one_from_another_gives_that_run() {
    let toy = Toy::curved(5);
    let (case, other) = (inputs(&toy, "#ab"), inputs(&toy, "#xy"));
    let place = site("text.blocks.1.resid_pre");
    let read = |inputs: &Inputs| toy.run(inputs, Plan::new().read(place).unwrap()).unwrap();
    let patches = [&case, &other].map(|from| vec![Edit::patch(place, &read(from)).unwrap()]);
    let found = swept(&toy, &case, patches.to_vec(), &Memory::default());
    let logit = |inputs| toy.run(inputs, Plan::new().objective(Objective::logit(TOKEN))).unwrap();
    let wanted = [logit(&case).scores().unwrap()[0], logit(&other).scores().unwrap()[0]];
    ROUNDING.check("logit", &found[0], &wanted).unwrap();
    assert!(found[5][0].abs() < 1e-7, "no divergence from itself");
}

#[test]
fn a_mean_over_a_reference_set_and_noise_do_what_they_say() {
    let toy = Toy::curved(6);
    let set: Vec<Inputs> = ["#ab", "#xyz", "q"].iter().map(|words| inputs(&toy, words)).collect();
    let place = site("text.blocks.0.mlp_out");
    let read = |inputs: &Inputs| toy.run(inputs, Plan::new().read(place).unwrap()).unwrap();
    // Letters have the mean of letters, patches that of patches.
    let of = |modality: Modality| {
        let rows = set.iter().flat_map(|inputs| {
            let values = read(inputs).get(place).unwrap().to_values().unwrap();
            let own = inputs.map().of(modality);
            own.into_iter().map(move |at| values[at * 6..(at + 1) * 6].to_vec()).collect::<Vec<_>>()
        });
        let rows: Vec<Vec<f32>> = rows.collect();
        let mean = (0..6).map(|d| rows.iter().map(|row| row[d]).sum::<f32>() / rows.len() as f32).collect();
        let mean = AnyTensor::from_values(mean, &[1, 1, 6], &Device::default()).unwrap();
        Edit::set(place, mean).positions(set[0].map().of(modality))
    };
    let reference = Reference::mean(&toy, &place.into(), &set).unwrap();
    let by_hand = vec![of(Modality::Text), of(Modality::Image)];
    let found = swept(&toy, &set[0], vec![vec![reference.at(place).unwrap()], by_hand], &Memory::default());
    ROUNDING.check("mean", &found[0][..1], &found[0][1..]).unwrap();
    let letters = Reference::mean(&toy, &place.into(), &set[2..]).unwrap();
    let plan = Sweep::over(vec![Axis::count(Role::Sample, 1)], move |_| vec![letters.at(place).unwrap()]);
    let plan = plan.measure(Objective::logit(TOKEN));
    let said = plan.run(&toy, &set[0], &Memory::default(), &mut Progress::new(&Unwatched, "sweep", 1));
    assert_eq!(
        said.unwrap_err().to_string(),
        "`text.blocks.0.mlp_out`: the reference set has no pictures, and the edit is to stand for some"
    );
    assert!(reference.at(site("text.embed")).is_err());

    let trace = read(&set[0]);
    let noise = |deviation, seed| vec![Edit::noise(place, &trace, deviation, Seed(seed)).unwrap()];
    let found =
        swept(&toy, &set[0], vec![noise(0.0, 1), noise(1.0, 1), noise(1.0, 1), noise(1.0, 2)], &at_most(2));
    assert!(found[5][0].abs() < 1e-7 && found[5][1] > 1e-4, "{:?}", found[5]);
    assert_eq!(found[0][1], found[0][2]);
    assert!((found[0][1] - found[0][3]).abs() > 1e-4);
}

#[test]
fn a_resampled_value_is_that_of_one_of_the_runs_and_all_are_drawn() {
    let toy = Toy::curved(8);
    let place = site("text.blocks.0.attn_out");
    let runs: Vec<Trace> = ["#ab", "#xy", "#qz"]
        .map(|words| toy.run(&inputs(&toy, words), Plan::new().read(place).unwrap()).unwrap())
        .to_vec();
    let case = inputs(&toy, "#cd");
    let patches = runs.iter().map(|run| vec![Edit::patch(place, run).unwrap()]).collect();
    let patched = swept(&toy, &case, patches, &Memory::default()).swap_remove(0);
    let drawn = (0..20).map(|seed| vec![Edit::resample(place, &runs, Seed(seed)).unwrap()]).collect();
    let found = swept(&toy, &case, drawn, &Memory::default()).swap_remove(0);
    let which = |value: &f32| patched.iter().position(|own| (own - value).abs() < 1e-6);
    let mut which: Vec<Option<usize>> = found.iter().map(which).collect();
    which.sort_unstable();
    which.dedup();
    assert_eq!(which, [Some(0), Some(1), Some(2)]);
    assert!(Edit::resample(place, &[], Seed(0)).is_err());
}

/// Edges between positions, packed, against a pass in which the scores are changed by hand.
#[test]
fn cut_edges_leave_a_position_its_own() {
    let toy = Toy::curved(9);
    let case = inputs(&toy, "#abc");
    let place = site("text.blocks.1.attn.scores");
    let sets = [(vec![6], vec![0, 1, 2]), (vec![4, 5, 6], vec![4, 5, 6]), ((0..7).collect(), vec![3])];
    let cuts = sets.clone().map(|(queries, keys)| vec![Edit::cut(place, queries, keys)]);
    let found = swept(&toy, &case, cuts.to_vec(), &at_most(3)).swap_remove(0);
    for ((queries, keys), found) in sets.into_iter().zip(found) {
        let plan = Plan::new().edit(place, move |x| {
            let (dims, mut values) = (x.dims(), x.to_values()?);
            let (high, wide) = (dims[2], dims[3]);
            for (i, value) in values.iter_mut().enumerate() {
                let (query, key) = (i / wide % high, i % wide);
                if queries.contains(&query) && keys.contains(&key) && query != key {
                    *value = -1e30;
                }
            }
            x.filled(values)
        });
        let alone = toy.run(&case, plan.unwrap().objective(Objective::logit(TOKEN))).unwrap();
        ROUNDING.check("cut", &[found], alone.scores().unwrap()).unwrap();
    }
}

#[test]
fn a_sweep_that_cannot_be_is_refused_and_a_long_one_can_be_cancelled() {
    struct Never;
    impl Watch for Never {
        fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    let toy = Toy::curved(7);
    let case = inputs(&toy, "#ab");
    let zero = |places: &str| {
        let places: Selector = places.parse().unwrap();
        Sweep::over(vec![Axis::count(Role::Layer, 3)], move |_| vec![Edit::zero(places.clone())])
    };
    let run = |sweep: Sweep, inputs: &Inputs, watch: &dyn Watch| {
        let mut progress = Progress::new(watch, "sweep", sweep.len());
        sweep.run(&toy, inputs, &at_most(2), &mut progress).unwrap_err().to_string()
    };
    let logit = Objective::logit(TOKEN);
    assert!(run(zero("text.input"), &case, &Unwatched).contains("objective"));
    assert!(run(zero("text.blocks.7.*").measure(&logit), &case, &Unwatched).contains("text.blocks.7"));
    assert!(run(zero("text.input").measure(&logit), &case.repeat(2), &Unwatched).contains("2 rows"));
    assert_eq!(run(zero("text.input").measure(&logit), &case, &Never), "sweep was cancelled after 2 of 3");
    let wide = Metric::of("wide", Unit::Logit, |_| Ok(vec![0.0; 9]));
    assert!(run(zero("text.input").measure(wide), &case, &Unwatched).contains("9 values"));
    let none = Sweep::of(vec![Axis::count(Role::Layer, 3)], vec![Vec::new(); 2]).unwrap_err().to_string();
    assert_eq!(none, "2 values cannot fill a tensor of shape [3]");
}

/// Of variants that hold no numbers no metric is told: neither a rank, which no NaN exceeds, nor a probability.
#[test]
fn variants_that_give_no_numbers_are_refused() {
    let toy = Toy::curved(7);
    let case = inputs(&toy, "#ab");
    let nan = Edit::scale(site("text.blocks.1.mlp_out"), f32::NAN);
    for metric in [
        Metric::from(Objective::logit(TOKEN)),
        Measure::Probability.of(Position::Last, TOKEN).into(),
        Metric::Rank { at: Position::Last, token: TOKEN },
        Metric::Divergence { at: Position::Last },
    ] {
        let variants = vec![vec![], vec![nan.clone()]];
        let sweep = Sweep::of(vec![Axis::count(Role::Sample, 2)], variants).unwrap().measure(metric.clone());
        let mut progress = Progress::new(&Unwatched, "sweep", 2);
        let said = sweep.run(&toy, &case, &at_most(2), &mut progress).unwrap_err().to_string();
        assert!(said.contains("holds NaN at [") && said.ends_with("where a finite number belongs"), "{said}");
    }
}

/// Only a tower that says so is run from its pictures instead. Once any error of a tower was.
#[test]
fn a_tower_that_breaks_is_not_tried_another_way() {
    let llava = mmlens_zoo::open(checkpoint("llava-a"), &Device::flex()).unwrap();
    let sample = Sample::ask(Picture::open(picture("square")).unwrap(), "Red?");
    let case = llava.encode(&sample).unwrap();
    let sweep = Sweep::over(vec![Axis::count(Role::Head, 2)], |at| {
        vec![Edit::zero(site("vision.blocks.1.attn.z")).heads([at[0]])]
    });
    let sweep = sweep.measure(Objective::logit(TOKEN));
    let run = |subject: &dyn Subject| {
        let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
        sweep.run(subject, &case, &at_most(2), &mut progress)
    };
    let whole = run(llava.as_ref()).unwrap();
    let at = |block| Site::block(Part::Vision, block, Point::ResidPre);
    let refusing = Rewired::new(llava.as_ref(), |inputs, run| match run.resume(Part::Vision) {
        Resume::At(block, _) => Err(HookError::ResumesBehind { resume: at(block), layer: 0 }.into()),
        _ => llava.forward(inputs, run),
    });
    let found = run(&refusing).unwrap();
    ROUNDING.check("refusing", &found.measured[0].values, &whole.measured[0].values).unwrap();
    let tried = AtomicUsize::new(0);
    let breaking = Rewired::new(llava.as_ref(), |inputs, run| {
        tried.fetch_add(1, Ordering::Relaxed);
        match run.resume(Part::Vision) {
            Resume::At(..) => Err(SubjectError::Batch { reason: "a broken tower".to_owned() }),
            _ => llava.forward(inputs, run),
        }
    });
    assert_eq!(run(&breaking).unwrap_err().to_string(), "the batch does not fit together: a broken tower");
    // The unedited pass, and the one that broke.
    assert_eq!(tried.load(Ordering::Relaxed), 2);
}

/// Heads, neurons and positions of every part of every family, packed and alone.
#[test]
fn every_family_is_swept() {
    let ask = |text: &str| Words::Question(text.to_owned());
    let prompt = |text: &str| Words::Prompt(text.to_owned());
    let texts = |text: &str| Words::Texts(vec![text.to_owned()]);
    let logit: fn() -> Objective = || Objective::logit_difference(1, 0);
    let pair: fn() -> Objective = || Objective::Similarity;
    let eye = "<|vision_start|><|image_pad|><|vision_end|>Red?";
    for (name, shown, words, objective) in [
        ("clip-a", 1, texts("a red circle"), pair),
        ("siglip-a", 1, texts("a red circle"), pair),
        ("vit-a", 1, Words::Nothing, logit),
        ("bert-a", 0, prompt("a [MASK] circle"), logit),
        ("blip-a", 1, prompt("a photo of two"), logit),
        ("blip-qa", 1, ask("ring?"), logit),
        ("blip-itm", 1, texts("a red circle"), logit),
        ("gpt2-a", 0, prompt("Hello you"), logit),
        ("gemma2-a", 0, prompt("Hello you"), logit),
        ("llava-multi", 1, prompt("<image>Red?"), logit),
        ("llava-next-a", 1, prompt("<image>Red?"), logit),
        ("idefics3-a", 1, prompt("<image>Red?"), logit),
        ("qwen2.5-vl-a", 1, prompt(eye), logit),
        ("qwen3-vl-a", 1, prompt(eye), logit),
    ] {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let subject = subject.as_ref();
        let pictures = (0..shown).map(|_| Picture::open(picture("tiny")).unwrap()).collect();
        let case = subject.encode(&Sample::new(pictures, words)).unwrap();
        let mut variants: Vec<Change1> = Vec::new();
        for place in ["text.embed", "text.input", "connector.out", "vision.embed"] {
            if subject.sites().iter().any(|spec| spec.site == site(place)) {
                let region = Region::all().of(AxisName::Pos, [0]);
                variants.push(Change1 { places: place.to_owned(), region, change: Change::Scale(-0.5) });
            }
        }
        for part in subject.anatomy() {
            for block in 0..part.blocks {
                for (point, axis) in [
                    (Point::ResidPre, AxisName::Pos),
                    (Point::Z, AxisName::Head),
                    (Point::MlpPost, AxisName::Neuron),
                ] {
                    let place = Site::block(part.part, block, point);
                    let at = if part.part == Part::Text
                        && subject.resumes_from_suffix()
                        && axis == AxisName::Pos
                    {
                        [case.positions() / 2]
                    } else {
                        [0]
                    };
                    let region = Region::all().of(axis, at);
                    variants.push(Change1 { places: place.to_string(), region, change: Change::Scale(-0.5) });
                }
            }
        }
        let edits = variants.iter().map(|change| vec![change.edit()]).collect();
        let found = measured(subject, &case, edits, &at_most(5), vec![objective().into()]);
        for (v, change) in variants.iter().enumerate() {
            let plan =
                Plan::new().change(change.places.as_str(), change.region.clone(), change.change.clone());
            let alone = subject.run(&case, plan.unwrap().objective(objective())).unwrap();
            let loose = Tolerance::either(1e-5, 1e-5);
            loose
                .check(&format!("{name} {}", change.places), &found[0][v..=v], alone.scores().unwrap())
                .unwrap();
        }
    }
}
