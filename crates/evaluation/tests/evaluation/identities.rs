//! What must hold for any model: closed forms on one that is a sum over units, and what follows from how a metric is made.

use mmlens_core::{Baseline, Case, Mask, Objective, On, PersonMap, Sample, Seed, Target};
use mmlens_engine::{Coalition, Hiding, Progress};
use mmlens_evaluation::agreement::AgreementSettings;
use mmlens_evaluation::infidelity::InfidelitySettings;
use mmlens_evaluation::localisation::Signed;
use mmlens_evaluation::perturbation::{CurveSettings, ErasureSettings};
use mmlens_evaluation::randomisation::RandomisationSettings;
use mmlens_evaluation::sparseness::SparsenessSettings;
use mmlens_evaluation::stability::StabilitySettings;
use mmlens_evaluation::{
    Agreement, CascadingRandomisation, Comprehensiveness, Deletion, Explainer, IndependentRandomisation,
    Infidelity, Insertion, Instead, Map, MassAccuracy, Metric, NoScore, Over, RandomMap, Redrawn, Redraws,
    Side, Sign, Sparseness, Stability, Sufficiency,
};
use mmlens_testkit::Toy;
use proptest::prelude::*;

use super::{At, Known, There, painted};

const OVER: Over = Over::Grid { rows: 4, cols: 4 };

/// What each cell adds to the logit of a toy that is a sum over cells, by hiding each alone, and the logit with none of them.
fn adds(at: &At<'_>) -> (Vec<f64>, f64) {
    let units = OVER.units(&at.inputs, 0).unwrap().instead(Baseline::Zero);
    let n = units.len();
    let hiding = Hiding::new(at.subject, &at.case.sample, &at.inputs, units).unwrap();
    let some: Vec<Coalition> =
        (0..n).map(|unit| Coalition::all(n).without(unit)).chain([Coalition::none(n)]).collect();
    let mut progress = Progress::new(&mmlens_core::Unwatched, "adds", some.len());
    let memory = mmlens_core::Memory::default();
    let found = hiding.measure(&[(&at.objective).into()], &some, &memory, &mut progress).unwrap().remove(0);
    let adds = found.values[..n].iter().map(|left| f64::from(found.unedited) - f64::from(*left)).collect();
    (adds, f64::from(found.values[n]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// On an affine model what a set of cells makes is the sum of what each adds, so that every curve has a closed form, and the map of what
    /// each adds tells everything.
    #[test]
    fn on_an_affine_model_curves_have_closed_forms(seed in 0_u64..1000, ranks in proptest::collection::vec(-1.0_f64..1.0, 16)) {
        let toy = Toy::straight(seed);
        let sample = Sample::prompt(vec![painted(seed as u32, [8, 8])], "#a");
        let at = At::new(&toy, sample, Target::Objective(Objective::logit(4)));
        let (adds, none) = adds(&at);
        let whole = none + adds.iter().sum::<f64>();
        let there = There(Map::grid(0, [8, 8], [4, 4], ranks.iter().copied()));
        let known = Known::default();
        let asked = at.asked(&there, &known, Redraws::default());
        let instead = Instead::Baseline(Baseline::Zero);
        let curve = CurveSettings { over: OVER, instead: instead.clone(), steps: 16, sign: Sign::Signed, normalise: false };
        let mut order: Vec<usize> = (0..16).collect();
        order.sort_by(|a, b| ranks[*b].total_cmp(&ranks[*a]));
        // With the first k gone, k = 0 .. 16; a strip between each two.
        let left = |k: usize| whole - order[..k].iter().map(|cell| adds[*cell]).sum::<f64>();
        let shown = |k: usize| none + order[..k].iter().map(|cell| adds[*cell]).sum::<f64>();
        let area = |y: &dyn Fn(usize) -> f64| (0..16).map(|k| (y(k) + y(k + 1)) / 32.0).sum::<f64>();
        // f32 of sums of some 20 numbers of the size of the logits.
        let rounding = 1e-5 * (1.0 + whole.abs() + adds.iter().map(|add| add.abs()).sum::<f64>());
        let one = |found: Result<Vec<f64>, NoScore>| found.unwrap()[0];
        let deletion = one(Deletion::new(curve.clone()).unwrap().scores(&asked, &there.0));
        prop_assert!((deletion - area(&left)).abs() < rounding, "{deletion} {}", area(&left));
        let insertion = one(Insertion::new(curve).unwrap().scores(&asked, &there.0));
        prop_assert!((insertion - area(&shown)).abs() < rounding, "{insertion} {}", area(&shown));
        // What goes and what stays add up: both areas to f(x) + f(none).
        prop_assert!((deletion + insertion - whole - none).abs() < 2.0 * rounding);
        let bins = vec![0.25, 0.5];
        let erasure = ErasureSettings { over: OVER, instead: instead.clone(), bins, sign: Sign::Signed, normalise: false };
        let gone = one(Comprehensiveness::new(erasure.clone()).unwrap().scores(&asked, &there.0));
        prop_assert!((gone - (whole - left(4) + whole - left(8)) / 2.0).abs() < rounding);
        let missing = one(Sufficiency::new(erasure).unwrap().scores(&asked, &there.0));
        prop_assert!((missing - (whole - shown(4) + whole - shown(8)) / 2.0).abs() < rounding);
        // The map of what each adds says what any set takes with it.
        let right = Map::grid(0, [8, 8], [4, 4], adds.iter().copied());
        let settings = InfidelitySettings { over: OVER, instead, scaled: false, ..InfidelitySettings::default() };
        let infidelity = Infidelity::new(settings).unwrap();
        let missed = one(infidelity.scores(&asked, &right));
        prop_assert!(missed < 1e-6, "{missed}");
        // It goes with what is lost, to any scale, and turned round against it.
        for (scale, goes) in [(1.0, 1.0), (7.0, 1.0), (-1.0, -1.0)] {
            let map = Map::grid(0, [8, 8], [4, 4], adds.iter().map(|add| scale * add));
            let found = infidelity.scores(&asked, &map).unwrap();
            prop_assert!((found[1] - goes).abs() < 1e-4, "{found:?} to the scale {scale}");
        }
        let nothing = Map::grid(0, [8, 8], [4, 4], [0.0; 16]);
        prop_assert_eq!(&infidelity.scores(&asked, &nothing).unwrap()[1..], [0.0, 0.0]);
    }

    /// Numbers that are shares or ranks do not depend on the scale of a map.
    #[test]
    fn the_scale_of_a_map_does_not_matter(values in proptest::collection::vec(0.01_f64..1.0, 16), scale in 0.1_f64..50.0) {
        let toy = Toy::curved(5);
        let at = At::new(&toy, Sample::prompt(vec![painted(5, [8, 8])], "#a"), Target::Objective(Objective::logit(4)));
        let inside = (0..64).map(|pixel| pixel % 3 == 0).collect();
        let known = Known { masks: vec![Mask { name: "m".to_owned(), picture: 0, size: [8, 8], inside }], persons: Vec::new() };
        let maps = [1.0, scale].map(|scale| Map::grid(0, [8, 8], [4, 4], values.iter().map(|value| value * scale)));
        let there = There(maps[0].clone());
        let asked = at.asked(&there, &known, Redraws::default());
        let infidelity = InfidelitySettings { over: OVER, ..InfidelitySettings::default() };
        let sparse = Sparseness::new(SparsenessSettings { over: OVER }).unwrap();
        let mass = MassAccuracy::new(Signed::default()).unwrap();
        let infidelity = Infidelity::new(infidelity).unwrap();
        let of = |map: &Map| {
            [sparse.scores(&asked, map), mass.scores(&asked, map), infidelity.scores(&asked, map)].map(|found| found.unwrap()[0])
        };
        for (a, b) in of(&maps[0]).into_iter().zip(of(&maps[1])) {
            prop_assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }
}

/// Correlations are roots and quotients of double precision.
fn near(found: Result<Vec<f64>, NoScore>, expected: &[f64]) {
    let found = found.unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }
}

/// A model beside itself has 1, and a method that does not look at the model has 1 beside any.
#[test]
fn a_model_is_like_itself() {
    let (toy, other) = (Toy::curved(1), Toy::curved(2));
    let at =
        At::new(&toy, Sample::prompt(vec![painted(1, [8, 8])], "#a"), Target::Objective(Objective::logit(4)));
    let there = There(Map::grid(0, [8, 8], [8, 8], (0..64).map(f64::from)));
    let cascade = [Redrawn { name: "text", subject: &other }, Redrawn { name: "all", subject: &other }];
    let each = [Redrawn { name: "text", subject: &other }];
    let known = Known::default();
    let redraws = Redraws { cascade: &cascade, each: &each };
    let asked = at.asked(&there, &known, redraws);
    let settings = RandomisationSettings::default();
    let falling = CascadingRandomisation::new(settings).unwrap();
    near(falling.scores(&asked, &there.0), &[1.0, 1.0]);
    assert_eq!(falling.cost(&asked), Ok(2));
    let names: Vec<String> = falling.columns(redraws).into_iter().map(|column| column.name).collect();
    assert_eq!(names, ["cascade: text", "cascade: all"]);
    // Turned round: the ranks are those from the end.
    let turned = There(Map::grid(0, [8, 8], [8, 8], (0..64).rev().map(f64::from)));
    let single = IndependentRandomisation::new(settings).unwrap();
    near(single.scores(&at.asked(&turned, &known, redraws), &there.0), &[-1.0]);
    let none = single.cost(&at.asked(&there, &known, Redraws::default())).unwrap_err();
    assert_eq!(none.to_string(), "no model with weights drawn anew was given");
    let flat = Map::grid(0, [8, 8], [1, 1], [1.0]);
    assert!(matches!(falling.scores(&asked, &flat), Err(NoScore::Undefined(_))));
}

/// Persons: a map that is a person's agrees with that one wholly, and persons among each other as their maps do.
#[test]
fn persons_agree_as_their_maps_do() {
    let toy = Toy::curved(1);
    let at =
        At::new(&toy, Sample::prompt(vec![painted(1, [8, 8])], "#a"), Target::Objective(Objective::logit(4)));
    let person =
        |name: &str, values: Vec<f32>| PersonMap { name: name.to_owned(), picture: 0, size: [8, 8], values };
    let rising: Vec<f32> = (0..64_u8).map(f32::from).collect();
    let falling: Vec<f32> = rising.iter().rev().copied().collect();
    let known =
        Known { persons: vec![person("one", rising.clone()), person("other", falling)], ..Known::default() };
    let there = There(Map::grid(0, [8, 8], [8, 8], rising.iter().map(|value| f64::from(*value))));
    let metric = Agreement::new(AgreementSettings { rows: 8, cols: 8, ..Default::default() }).unwrap();
    // 1 with the one, -1 with the other.
    near(metric.scores(&at.asked(&there, &known, Redraws::default()), &there.0), &[0.0]);
    let asked = at.asked(&there, &known, Redraws::default());
    near(metric.of_persons(&asked).unwrap(), &[-1.0]);
    let alone = Known { persons: known.persons[..1].to_vec(), ..Known::default() };
    let asked = at.asked(&there, &alone, Redraws::default());
    near(metric.scores(&asked, &there.0), &[1.0]);
    assert!(matches!(metric.of_persons(&asked), Some(Err(NoScore::Lacks(_)))));
    let misfit =
        Known { persons: vec![PersonMap { size: [4, 16], ..known.persons[0].clone() }], ..Known::default() };
    let said =
        metric.scores(&at.asked(&there, &misfit, Redraws::default()), &there.0).unwrap_err().to_string();
    assert_eq!(said, "the map of one is 4 x 16 pixels, and the picture 8 x 8");
}

/// Nothing is scored that cannot be: each says why.
#[test]
fn what_a_case_lacks_is_told() {
    let toy = Toy::curved(1);
    let at =
        At::new(&toy, Sample::prompt(vec![painted(1, [8, 8])], "#a"), Target::Objective(Objective::logit(4)));
    let flat = There(Map::grid(0, [8, 8], [1, 1], [0.0]));
    let known = Known::default();
    let asked = at.asked(&flat, &known, Redraws::default());
    let said = |found: Result<Vec<f64>, NoScore>| found.unwrap_err().to_string();
    let mass = MassAccuracy::new(Signed::default()).unwrap();
    assert_eq!(said(mass.scores(&asked, &flat.0)), "the case has no mask of the picture");
    let mask = |size: [usize; 2], inside: bool| Known {
        masks: vec![Mask { name: "m".to_owned(), picture: 0, size, inside: vec![inside; size[0] * size[1]] }],
        ..Known::default()
    };
    for (known, expected) in [
        (mask([4, 16], true), "a mask is 4 x 16 pixels, and the picture 8 x 8"),
        (mask([8, 8], false), "the mask of the picture is empty"),
        (mask([8, 8], true), "the map adds up to nothing"),
    ] {
        assert_eq!(said(mass.scores(&at.asked(&flat, &known, Redraws::default()), &flat.0)), expected);
    }
    let sparse = Sparseness::new(SparsenessSettings::default()).unwrap();
    assert_eq!(said(sparse.scores(&asked, &flat.0)), "the map is zero everywhere");
    let fine = Sparseness::new(SparsenessSettings { over: Over::Grid { rows: 9, cols: 9 } }).unwrap();
    assert!(said(fine.scores(&asked, &flat.0)).starts_with("the model is given no pixel of"));
    // Of a picture that is its own baseline nothing is hidden, and nothing can be shared out.
    let grey = mmlens_core::Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([128; 3])));
    let at = At::new(&toy, Sample::prompt(vec![grey], "#a"), Target::Objective(Objective::logit(4)));
    let asked = at.asked(&flat, &known, Redraws::default());
    let deletion = Deletion::new(CurveSettings { over: OVER, ..CurveSettings::default() }).unwrap();
    assert_eq!(
        said(deletion.scores(&asked, &flat.0)),
        "the sample makes no more of the answer than one without units by 0.1"
    );
    let infidelity = Infidelity::new(InfidelitySettings { over: OVER, ..Default::default() }).unwrap();
    let said = said(infidelity.scores(&asked, &flat.0));
    assert!(
        said.contains("changes by what was hidden")
            && (said.ends_with("rounding") || said.contains("exactly zero")),
        "{said}"
    );
}

/// What draws nothing has no score, at no cost; what is drawn anew is not, but for chance.
#[test]
fn what_is_drawn_anew_is_another_map() {
    let toy = Toy::curved(1);
    let at =
        At::new(&toy, Sample::prompt(vec![painted(1, [8, 8])], "#a"), Target::Objective(Objective::logit(4)));
    let known = Known::default();
    let stability = Stability::new(StabilitySettings { draws: 5, ..Default::default() }).unwrap();
    let there = There(Map::grid(0, [8, 8], [8, 8], (0..64).map(f64::from)));
    let asked = at.asked(&there, &known, Redraws::default());
    assert_eq!(
        stability.scores(&asked, &there.0).unwrap_err().to_string(),
        "it draws nothing: its map is the same every time"
    );
    assert_eq!(stability.cost(&asked), Ok(0));
    let random = RandomMap { seed: Seed(9), grid: [8, 8], picture: 0 };
    let asked = at.asked(&random, &known, Redraws::default());
    let map = random.map(&asked.on, asked.case, Side::Pictures).unwrap();
    let found = stability.scores(&asked, &map).unwrap();
    // Ten correlations of 64 places, each within 0.5 of zero but once in 10^5.
    assert!(found[0].abs() < 0.2 && found[1] <= found[0] && found[1] > -0.5, "{found:?}");
    // Of three maps of three places, two that rise and one that falls: 1, -1 and -1.
    let three = Three(std::cell::Cell::new(0));
    let asked = at.asked(&three, &known, Redraws::default());
    let rising = Map::grid(0, [3, 1], [1, 3], [1.0, 2.0, 3.0]);
    let stability = Stability::new(StabilitySettings { draws: 3, ..Default::default() }).unwrap();
    near(stability.scores(&asked, &rising), &[-1.0 / 3.0, -1.0]);
    assert_eq!(stability.cost(&asked), Ok(10));
    let flat = Map::grid(0, [8, 8], [1, 1], [1.0]);
    assert!(matches!(stability.scores(&asked, &flat), Err(NoScore::Undefined(_))));
    for draws in [0, 1, 65, usize::MAX] {
        let said = Stability::new(StabilitySettings { draws, ..Default::default() }).unwrap_err().to_string();
        assert!(said.ends_with("it must lie between 2 and 64"), "{said}");
    }
    let many = InfidelitySettings { draws: usize::MAX, ..Default::default() };
    assert!(Infidelity::new(many).unwrap_err().to_string().ends_with("between 1 and 1000000"));
}

/// Rises and falls in turn.
struct Three(std::cell::Cell<usize>);

impl Explainer for Three {
    fn map(&self, _: &On<'_>, _: &Case, _: Side) -> Result<Map, NoScore> {
        let values = if self.0.get().is_multiple_of(2) { [3.0, 2.0, 1.0] } else { [2.0, 4.0, 8.0] };
        Ok(Map::grid(0, [3, 1], [1, 3], values))
    }

    fn cost(&self, _: &On<'_>, _: &Case) -> Result<u64, NoScore> {
        Ok(5)
    }

    fn anew(&self, seed: Seed) -> Result<Option<Box<dyn Explainer + '_>>, NoScore> {
        let other = usize::from(seed == Seed(3).at(2));
        Ok(Some(Box::new(Self(std::cell::Cell::new(other)))))
    }
}
