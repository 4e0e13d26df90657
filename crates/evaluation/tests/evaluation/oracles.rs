//! Against Quantus 0.6, captum 0.9, scipy and scikit-image.

use burn::tensor::Device;
use mmlens_core::{Baseline, Mask, Objective, Picture, Sample, Subject, Target, Words};
use mmlens_evaluation::infidelity::InfidelitySettings;
use mmlens_evaluation::localisation::{PointingSettings, Signed, TopSettings};
use mmlens_evaluation::perturbation::{CurveSettings, ErasureSettings};
use mmlens_evaluation::{
    Comprehensiveness, Deletion, Infidelity, Insertion, Instead, Map, MassAccuracy, Metric, Over,
    PointingGame, RankAccuracy, Redraws, Sign, Sufficiency, TopK, gini, rank_correlation, ssim,
};
use mmlens_testkit::{Oracle, Toy, checkpoint, picture};
use mmlens_zoo::clip::open_clip;
use mmlens_zoo::llava::open_llava;

use super::{At, Known, There, painted};

/// See `why.json`.
const MAPS: f64 = 1e-9;
const SPARSENESS: f64 = 1e-6;
const CURVES: f64 = 2e-5;
const INFIDELITY: f64 = 1e-4;
const FIDELITY: f64 = 1e-4;

fn open() -> Oracle {
    Oracle::open("evaluation/evaluation").unwrap()
}

fn values(oracle: &Oracle, name: &str) -> Vec<f64> {
    oracle.array(name).unwrap().values.clone()
}

/// Within so much of what is expected; neither may be anything but a finite number.
fn near(found: f64, expected: f64, most: f64, what: &str) {
    assert!(found.is_finite() && expected.is_finite(), "{what}: {found}, {expected}");
    assert!((found - expected).abs() <= most, "{what}: {found}, expected {expected}");
}

#[test]
fn places_are_those_of_quantus() {
    let oracle = open();
    let inside: Vec<bool> = values(&oracle, "place/mask").iter().map(|inside| *inside > 0.5).collect();
    let masks = vec![Mask { name: "oval".to_owned(), picture: 0, size: [16, 12], inside: inside.clone() }];
    let known = Known { masks, ..Known::default() };
    let toy = Toy::curved(1);
    let at = At::new(
        &toy,
        Sample::prompt(vec![painted(0, [16, 12])], "#a"),
        Target::Objective(Objective::logit(4)),
    );
    let all = values(&oracle, "place/maps");
    let mut compared = 0;
    for (i, map) in all.chunks(16 * 12).enumerate() {
        let there = There(Map::grid(0, [16, 12], [12, 16], map.iter().copied()));
        let asked = at.asked(&there, &known, Redraws::default());
        let expected = |name: &str| values(&oracle, &format!("place/{name}"))[i];
        let signed = Signed { sign: Sign::Signed };
        let ten = TopSettings { share: 10.0 / 192.0, ..TopSettings::default() };
        for (name, found) in [
            ("mass", MassAccuracy::new(Signed::default()).unwrap().scores(&asked, &there.0)),
            ("signed mass", MassAccuracy::new(signed).unwrap().scores(&asked, &there.0)),
            ("rank", RankAccuracy::new(Signed::default()).unwrap().scores(&asked, &there.0)),
            ("top 10", TopK::new(ten).unwrap().scores(&asked, &there.0)),
            ("pointing", PointingGame::new(PointingSettings::default()).unwrap().scores(&asked, &there.0)),
        ] {
            near(found.unwrap()[0], expected(name), MAPS, name);
            compared += 1;
        }
        let sizes: Vec<f64> = map.iter().map(|value| value.abs()).collect();
        near(gini(&sizes).unwrap(), expected("sparseness"), SPARSENESS, "sparseness");
    }
    assert_eq!(compared, 20);
}

#[test]
fn likeness_is_that_of_scipy_and_scikit_image() {
    let oracle = open();
    let (a, b) = (values(&oracle, "alike/a"), values(&oracle, "alike/b"));
    near(rank_correlation(&a, &b).unwrap(), values(&oracle, "alike/rank")[0], MAPS, "rank");
    near(ssim(&a, &b, [8, 10]).unwrap(), values(&oracle, "alike/structure")[0], MAPS, "structure");
}

/// Curves, areas and infidelity of a checkpoint, over cells that are zero in the processed pixels.
fn curves(name: &str, at: &At<'_>, cells: usize) {
    let oracle = open();
    let expected = |what: &str| values(&oracle, &format!("{name}/{what}"));
    let there = There(Map::grid(0, [40, 40], [cells, cells], expected("map")));
    let known = Known::default();
    let asked = at.asked(&there, &known, Redraws::default());
    let (over, instead) = (Over::Grid { rows: cells, cols: cells }, Instead::Baseline(Baseline::Zero));
    let curve = |steps, normalise| CurveSettings {
        over,
        instead: instead.clone(),
        steps,
        sign: Sign::Signed,
        normalise,
    };
    let one = |metric: Result<Vec<f64>, mmlens_evaluation::NoScore>| metric.unwrap()[0];
    let deletion =
        |steps, normalise| one(Deletion::new(curve(steps, normalise)).unwrap().scores(&asked, &there.0));
    let insertion = |normalise| one(Insertion::new(curve(5, normalise)).unwrap().scores(&asked, &there.0));
    let areas = expected("areas");
    near(deletion(5, false), areas[0], CURVES, "deletion");
    near(insertion(false), areas[1], CURVES, "insertion");
    // As shares of what the picture makes, whose rounding is that of both over their difference.
    let (whole, none) = (expected("whole")[0], expected("whole")[1]);
    let share = |area: f64| (area - none) / (whole - none);
    let rounding = 4.0 * CURVES / (whole - none).abs();
    match whole - none >= 0.1 {
        true => {
            near(deletion(5, true), share(areas[0]), rounding, "deletion, as a share");
            near(insertion(true), share(areas[1]), rounding, "insertion, as a share");
        }
        false => panic!("{name}: {whole} {none} differ too little for a share"),
    }
    // Quantus sums its curve from the first change on, with steps of 1.
    let flipped = expected("flipped");
    let sum: f64 = flipped.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).sum();
    let n = flipped.len();
    let ours = n as f64 * deletion(n, false) - f64::midpoint(whole, flipped[0]);
    near(ours, sum, CURVES * n as f64, "the area of Quantus");
    let erasure =
        ErasureSettings { over, instead: instead.clone(), normalise: false, ..ErasureSettings::default() };
    let drops = expected("erasure");
    near(
        one(Comprehensiveness::new(erasure.clone()).unwrap().scores(&asked, &there.0)),
        drops[0],
        CURVES,
        "comprehensiveness",
    );
    near(one(Sufficiency::new(erasure).unwrap().scores(&asked, &there.0)), drops[1], CURVES, "sufficiency");
    let infidelity = |scaled| {
        let settings = InfidelitySettings {
            over,
            instead: instead.clone(),
            draws: 16,
            scaled,
            relative: false,
            ..Default::default()
        };
        one(Infidelity::new(settings).unwrap().scores(&asked, &there.0))
    };
    let missed = expected("infidelity");
    near(infidelity(false), missed[0], INFIDELITY * missed[0], "infidelity");
    near(infidelity(true), missed[1], INFIDELITY * missed[1], "infidelity, scaled");
    let settings = InfidelitySettings { over, instead: instead.clone(), draws: 16, ..Default::default() };
    let found = Infidelity::new(settings).unwrap().scores(&asked, &there.0).unwrap();
    for (at, what) in ["fidelity", "fidelity rank"].into_iter().enumerate() {
        near(found[at + 1], expected("fidelity")[at], FIDELITY, what);
    }
}

#[test]
fn what_is_hidden_of_a_llava_is_as_torch_and_quantus_have_it() {
    let llava = open_llava(&checkpoint("llava-a"), &Device::default()).unwrap();
    let sample = Sample::prompt(vec![Picture::open(picture("square")).unwrap()], "<image>Red?");
    let target = open().about()["target"].as_u64().unwrap() as u32;
    let at = At::new(&llava, sample, Target::Top);
    assert_eq!(at.objective, Objective::logit(target));
    curves("llava", &at, 5);
}

#[test]
fn what_is_hidden_of_a_clip_is_as_torch_and_quantus_have_it() {
    let clip = open_clip(&checkpoint("clip-a"), &Device::default()).unwrap();
    let texts = Words::Texts(vec!["two blue squares".to_owned()]);
    let sample = Sample::new(vec![Picture::open(picture("square")).unwrap()], texts);
    let at = At::new(&clip as &dyn Subject, sample, Target::Objective(Objective::Similarity));
    curves("clip", &at, 4);
}

/// Norms of differences, on maps that stand for those of shaken pictures.
#[test]
fn moves_are_those_of_quantus() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mmlens_core::{Case, On};
    use mmlens_evaluation::sensitivity::SensitivitySettings;
    use mmlens_evaluation::{Explainer, NoScore, Sensitivity, Side};

    struct Moving(Vec<Map>, AtomicUsize);
    impl Explainer for Moving {
        fn map(&self, _: &On<'_>, _: &Case, _: Side) -> Result<Map, NoScore> {
            Ok(self.0[self.1.fetch_add(1, Ordering::Relaxed)].clone())
        }

        fn cost(&self, _: &On<'_>, _: &Case) -> Result<u64, NoScore> {
            Ok(7)
        }
    }

    let oracle = open();
    let map = |values: &[f64]| Map::grid(0, [16, 12], [4, 5], values.iter().copied());
    let others = values(&oracle, "moved/others");
    let moving = Moving(others.chunks(20).map(map).collect(), AtomicUsize::new(0));
    let (toy, known) = (Toy::curved(1), Known::default());
    let at = At::new(
        &toy,
        Sample::prompt(vec![painted(0, [16, 12])], "#a"),
        Target::Objective(Objective::logit(4)),
    );
    let asked = at.asked(&moving, &known, Redraws::default());
    let metric = Sensitivity::new(SensitivitySettings { draws: 3, ..Default::default() }).unwrap();
    assert_eq!(metric.cost(&asked), Ok(21));
    let found = metric.scores(&asked, &map(&values(&oracle, "moved/map"))).unwrap();
    let expected = values(&oracle, "moved/max and mean");
    for (found, expected) in found.iter().zip(&expected) {
        near(*found, *expected, MAPS, "sensitivity");
    }
    assert_eq!(found.len(), expected.len());
}
