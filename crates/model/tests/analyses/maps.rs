//! Maps of what an answer comes from, by gradients and by attention: the same numbers as captum and the rules by hand, and what must hold for
//! every subject.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Analysis, AnyTensor, Baseline, Case, CaseAmong, Cases, Given, Objective, On, Plan, Position, Reading,
    Region, Sample, Seed, Subject, Target,
};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_engine::{End, Pool, Rule};
use mmlens_model::attention_relevance::{self, AttentionRelevance};
use mmlens_model::expected_gradients::{self, ExpectedGradients};
use mmlens_model::grad_cam::{self, GradCam, Weights};
use mmlens_model::gradient_times_input::{self, GradientTimesInput};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::saliency::{self, Saliency};
use mmlens_model::{METHODS, SmoothGrad, smooth_grad};
use mmlens_testkit::{Oracle, Toy, kinds, picture};
use mmlens_zoo::shipped;
use proptest::prelude::*;
use serde_json::json;

use crate::identities::{asked, few};
use crate::support::{
    about, captioned, largest, llava, numbers, opened, question, scalar, shown, site, total,
};

/// Gradients of logits, and products of them with inputs.
const GRADIENT: Tolerance = Tolerance::relative(1e-3);
/// Another grouping of the same sums in f32.
const ROUNDING: Tolerance = Tolerance::either(2e-6, 1e-5);

fn agree(what: &str, found: &[f32], wanted: &[f64]) {
    let gap = GRADIENT.check(what, found, wanted).unwrap();
    println!("{what}: {:.2e}", gap.relative);
}

/// The picture `square`, and what `maps.py` explains about it.
fn classified(oracle: &Oracle) -> Case {
    let token = oracle.array("vit-a/target").unwrap().ids()[0];
    about(Sample::new(shown(&["square"], "").pictures, mmlens_core::Words::Nothing), Objective::logit(token))
}

fn compared() -> Case {
    about(captioned("square", &["a photo of a red circle"]), Objective::Similarity)
}

fn both() -> Option<Vec<mmlens_core::Site>> {
    Some(vec![site("vision.pixels"), site("text.embed")])
}

#[test]
fn slopes_are_those_of_captum() {
    let oracle = Oracle::open("methods/saliency").unwrap();
    let of = |name: &str| &oracle.array(name).unwrap().values;
    let (vit, case) = (opened("vit-a"), classified(&oracle));
    for (name, found) in [
        ("vit-a", Saliency::default().run(vit, &case).unwrap()),
        ("llava-a", Saliency::default().run(llava("llava-a"), &question()).unwrap()),
    ] {
        let wanted = of(&format!("{name}/saliency/vision.pixels"));
        agree(&format!("saliency, {name}, pixels"), numbers(&found, "vision.pixels/picture"), wanted);
        let length = numbers(&found, "by site")[0];
        agree("length", &[length], of(&format!("{name}/length/vision.pixels")));
    }
    let found = Saliency::default().run(llava("llava-a"), &question()).unwrap();
    agree("saliency, words", numbers(&found, "text.embed/tokens"), of("llava-a/saliency/text.embed"));
    let norm = Saliency::new(saliency::Settings { pool: Pool::Norm, ..Default::default() }).unwrap();
    let found = norm.run(llava("llava-a"), &question()).unwrap();
    let lengths: f64 = numbers(&found, "text.embed/tokens").iter().map(|l| f64::from(*l).powi(2)).sum();
    let whole = f64::from(numbers(&found, "by site")[1]);
    assert!((lengths.sqrt() - whole).abs() < 1e-6 * whole, "{lengths} {whole}");
}

#[test]
fn gradient_times_input_is_that_of_captum() {
    let oracle = Oracle::open("methods/saliency").unwrap();
    let of = |name: &str| &oracle.array(name).unwrap().values;
    let found = GradientTimesInput::default().run(llava("llava-a"), &question()).unwrap();
    for (table, name) in [("vision.pixels/picture", "vision.pixels"), ("text.embed/tokens", "text.embed")] {
        let wanted = of(&format!("llava-a/times input/{name}"));
        agree(&format!("gradient times input, {name}"), numbers(&found, table), wanted);
    }
    let found = GradientTimesInput::default().run(opened("vit-a"), &classified(&oracle)).unwrap();
    agree(
        "gradient times input, vit-a",
        numbers(&found, "vision.pixels/picture"),
        of("vit-a/times input/vision.pixels"),
    );
}

/// The draws are those of the script.
fn drawn(oracle: &Oracle) -> expected_gradients::Settings {
    let about = oracle.about();
    let pictures = about["pictures"].as_array().unwrap().iter().map(|name| picture(name.as_str().unwrap()));
    expected_gradients::Settings {
        pictures: pictures.collect(),
        samples: about["samples"].as_u64().unwrap() as usize,
        seed: Seed(about["seed"].as_u64().unwrap()),
        ..Default::default()
    }
}

#[test]
fn expected_gradients_are_those_of_captum() {
    let oracle = Oracle::open("methods/expected-gradients").unwrap();
    let of = |name: &str| &oracle.array(name).unwrap().values;
    let slopes = Oracle::open("methods/saliency").unwrap();
    let vit = classified(&slopes);
    let method = ExpectedGradients::new(drawn(&oracle)).unwrap();
    for (name, found) in [
        ("llava-a", method.run(llava("llava-a"), &question().into()).unwrap()),
        ("vit-a", method.run(opened("vit-a"), &vit.into()).unwrap()),
    ] {
        agree(
            &format!("expected gradients, {name}"),
            numbers(&found, "vision.pixels/picture"),
            of(&format!("{name}/vision.pixels")),
        );
        agree("baseline", numbers(&found, "objective at baseline"), of(&format!("{name}/at baseline")));
    }
    let texts = vec![oracle.about()["text"].as_str().unwrap().to_owned()];
    let method =
        ExpectedGradients::new(expected_gradients::Settings { texts, sites: both(), ..drawn(&oracle) })
            .unwrap();
    let found = method.run(llava("llava-a"), &question().into()).unwrap();
    for (table, name) in [("vision.pixels/picture", "vision.pixels"), ("text.embed/tokens", "text.embed")] {
        agree(&format!("jointly expected, {name}"), numbers(&found, table), of(&format!("joint/{name}")));
    }
}

#[test]
fn cams_are_those_of_hooks() {
    let oracle = Oracle::open("methods/grad-cam").unwrap();
    let of = |name: String| oracle.array(&name).unwrap();
    let cases: [(&str, Case); 3] = [
        ("llava-a", question()),
        ("clip-a", compared()),
        ("llava-next-a", Case::new(shown(&["wide"], "<image>Red?"))),
    ];
    for (name, case) in cases {
        for (weights, called) in [(Weights::Mean, "mean"), (Weights::Each, "each")] {
            let wanted = of(format!("{name}/{called}"));
            let (tiles, each) = (wanted.dims[0], wanted.dims[1]);
            for relu in [false, true] {
                let settings = grad_cam::Settings { weights, relu, ..Default::default() };
                let found = GradCam::new(settings).unwrap().run(opened(name), &case).unwrap();
                assert_eq!(found.provenance.settings["site"], oracle.about()["sites"][name], "{name}");
                let mut all = Vec::new();
                for tile in 0..tiles {
                    let table = if tiles > 1 { format!("picture/{tile}") } else { "picture".to_owned() };
                    assert_eq!(found.table(&table).unwrap().shape(), [each]);
                    all.extend_from_slice(numbers(&found, &table));
                }
                let cut = |value: &f64| if relu && *value < 0.0 { 0.0 } else { *value };
                let wanted: Vec<f64> = wanted.values.iter().map(cut).collect();
                agree(&format!("Grad-CAM, {name}, {called}"), &all, &wanted);
                if weights == Weights::Mean {
                    agree("left", numbers(&found, "left of gradients"), &of(format!("{name}/left")).values);
                }
            }
        }
    }
}

#[test]
fn relevance_is_that_of_the_rules() {
    let oracle = Oracle::open("methods/relevance").unwrap();
    let of = |name: &str| &oracle.array(name).unwrap().values;
    let run = |last, name: &str, case: &Case| {
        let method = AttentionRelevance::new(attention_relevance::Settings { last }).unwrap();
        method.run(opened(name), case).unwrap()
    };
    let found = run(None, "llava-a", &question());
    agree("relevance, words", numbers(&found, "tokens"), of("llava-a/tokens"));
    let through = of("llava-a/through the tower");
    let patches = numbers(&found, "picture through the tower");
    agree("relevance, through the tower", patches, &through[through.len() - patches.len()..]);
    agree("relevance, last", numbers(&run(Some(1), "llava-a", &question()), "tokens"), of("llava-a/last"));
    for (last, called) in [(None, "all"), (Some(1), "1")] {
        let found = run(last, "clip-a", &compared());
        agree("relevance, captions", numbers(&found, "tokens"), of(&format!("clip-a/text/{called}")));
        agree("relevance, tower", numbers(&found, "picture"), &of(&format!("clip-a/vision/{called}"))[1..]);
    }
    let captions = about(shown(&["wide"], "a photo of"), Objective::logit(of("blip-a/target")[0] as u32));
    let matches =
        about(captioned("square", &["a red circle"]), Objective::logit(of("blip-itm/target")[0] as u32));
    for (name, case) in [("blip-a", captions), ("blip-itm", matches)] {
        let found = run(None, name, &case);
        agree(&format!("relevance, {name}, words"), numbers(&found, "tokens"), of(&format!("{name}/tokens")));
        let seen = of(&format!("{name}/picture"));
        agree(&format!("relevance, {name}, patches"), numbers(&found, "picture"), &seen[1..]);
        let outside = scalar(&found, "outside the patches");
        assert!(
            (f64::from(outside) - seen[0]).abs() < 1e-3 * seen[0].abs().max(1e-3),
            "{outside} {}",
            seen[0]
        );
    }
}

fn gxi(name: &str, baseline: &Baseline) -> GradientTimesInput {
    let along = Some(vec![End::new(site(name), baseline.clone())]);
    GradientTimesInput::new(gradient_times_input::Settings { along, ..Default::default() }).unwrap()
}

fn layers() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "vision.pixels",
        "text.embed",
        "connector.out",
        "text.blocks.1.resid_pre",
        "text.blocks.0.attn.z",
    ])
}

fn twice(objective: &Objective) -> Objective {
    Objective::Sum(vec![(2.0, objective.clone())])
}

fn doubled(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| 2.0 * value).collect()
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn slopes_of_a_straight_subject_know_no_input(seed in 0..99_u64, name in layers(), token in 0..26_u32) {
        let of = |toy: &Toy, case: &Case| {
            let settings = saliency::Settings { sites: Some(vec![site(name)]), ..Default::default() };
            Saliency::new(settings).unwrap().run(toy, case).unwrap()
        };
        let (straight, curved) = (Toy::straight(seed), Toy::curved(seed));
        let (one, other) = (of(&straight, &asked(1, "abc", token)), of(&straight, &asked(2, "fbd", token)));
        ROUNDING.check("slopes", numbers(&one, name), numbers(&other, name)).unwrap();
        // Of a curved one they do, and are those of twice the objective, halved.
        let case = asked(1, "abc", token);
        let (one, other) = (of(&curved, &case), of(&curved, &asked(2, "fbd", token)));
        prop_assert!(ROUNDING.check("slopes", numbers(&one, name), numbers(&other, name)).is_err());
        let Target::Objective(objective) = &case.target else { panic!("{case:?}") };
        let more = of(&curved, &about(case.sample.clone(), twice(objective)));
        ROUNDING.check("twice", numbers(&more, name), &doubled(numbers(&one, name))).unwrap();
        // Several sites at once are each alone.
        let settings = saliency::Settings { sites: Some(vec![site("text.input"), site(name)]), ..Default::default() };
        if name != "text.blocks.0.attn.z" {
            let two = Saliency::new(settings).unwrap().run(&curved, &case).unwrap();
            // Gradients of two readers are summed in another order.
            ROUNDING.check("together", numbers(&two, name), numbers(&one, name)).unwrap();
        }
    }

    /// On a straight subject the tangent is the path.
    #[test]
    fn a_straight_tangent_adds_up(seed in 0..99_u64, name in layers(), token in 0..26_u32, level in -1.0..1.0_f32) {
        let (toy, case, baseline) = (Toy::straight(seed), asked(seed as u32, "ab", token), Baseline::Constant(level));
        let found = gxi(name, &baseline).run(&toy, &case).unwrap();
        let settings = integrated_gradients::Settings {
            along: Some(vec![End::new(site(name), baseline)]), steps: Some(3), rule: Rule::Midpoint, ..Default::default()
        };
        let path = IntegratedGradients::new(settings).unwrap().run(&toy, &case).unwrap();
        ROUNDING.check("tangent", numbers(&found, name), numbers(&path, name)).unwrap();
        let (sum, change) = (total(numbers(&found, "by site")), scalar(&found, "objective") - scalar(&found, "objective at baseline"));
        prop_assert!((sum - f64::from(change)).abs() < 1e-5 * (1.0 + largest(numbers(&found, name)) * 100.0), "{sum} {change}");
    }

    #[test]
    fn expected_gradients_of_a_straight_subject_add_up(seed in 0..99_u64, samples in 1..9_usize, token in 0..26_u32) {
        let texts = ["#cd", "#fa", "#bb"].map(str::to_owned).to_vec();
        let settings = |texts, samples| expected_gradients::Settings {
            texts, samples, seed: Seed(seed), sites: Some(vec![site("text.embed")]), ..Default::default()
        };
        let case: CaseAmong = asked(seed as u32, "ab", token).into();
        let found = ExpectedGradients::new(settings(texts, samples)).unwrap().run(&Toy::straight(seed), &case).unwrap();
        let scale = largest(numbers(&found, "text.embed")) + 1.0;
        prop_assert!(f64::from(scalar(&found, "completeness gap")).abs() < 1e-5 * scale);
        prop_assert_eq!(found.find("by site error").is_some(), samples > 1);
        // Compared with itself there is nothing.
        let own = ExpectedGradients::new(settings(vec!["#ab".to_owned()], samples)).unwrap();
        let none = own.run(&Toy::curved(seed), &case).unwrap();
        prop_assert!(numbers(&none, "text.embed").iter().all(|value| *value == 0.0));
        prop_assert_eq!(none.cautions()[0].kind, CautionKind::NothingMoved);
    }

    /// From one sample, many draws are integrated gradients from there, as far as their errors say.
    #[test]
    fn draws_tend_to_the_path(seed in 0..99_u64, token in 0..26_u32) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "ab", token));
        let other = toy.encode(&Sample::prompt(case.sample.pictures.clone(), "#fc")).unwrap();
        let value = toy.run(&other, Plan::new().read("text.embed").unwrap()).unwrap().get(site("text.embed")).unwrap().clone();
        let settings = integrated_gradients::Settings {
            along: Some(vec![End::new(site("text.embed"), Baseline::Given(value))]), ..Default::default()
        };
        let path = IntegratedGradients::new(settings).unwrap().run(&toy, &case).unwrap();
        let settings = expected_gradients::Settings {
            texts: vec!["#fc".to_owned()], samples: 300, sites: Some(vec![site("text.embed")]), ..Default::default()
        };
        let found = ExpectedGradients::new(settings).unwrap().run(&toy, &case.into()).unwrap();
        let errors = numbers(&found, "text.embed/tokens error");
        for ((own, wanted), error) in numbers(&found, "text.embed/tokens").iter().zip(numbers(&path, "text.embed/tokens")).zip(errors) {
            prop_assert!((own - wanted).abs() < 5.0 * error + 1e-5, "{own} {wanted} {error}");
        }
        prop_assert!(largest(errors) > 0.0);
    }

    /// Element by element it is gradient times input of the layer.
    #[test]
    fn hirescam_is_gradient_times_input(seed in 0..99_u64, token in 0..26_u32, name in prop::sample::select(vec!["vision.features", "connector.out"])) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abc", token));
        let cam = |weights, relu| {
            let settings = grad_cam::Settings { site: Some(site(name)), weights, relu };
            GradCam::new(settings).unwrap().run(&toy, &case).unwrap()
        };
        let signed = cam(Weights::Each, false);
        let times = gxi(name, &Baseline::Zero).run(&toy, &case).unwrap();
        ROUNDING.check("each", numbers(&signed, "picture"), numbers(&times, &format!("{name}/tokens"))).unwrap();
        for weights in [Weights::Mean, Weights::Each] {
            let (signed, cut) = (cam(weights, false), cam(weights, true));
            let wanted: Vec<f32> = numbers(&signed, "picture").iter().map(|value| value.max(0.0)).collect(); // no NaN: found finite
            prop_assert_eq!(numbers(&cut, "picture"), &wanted[..]);
            let below: f64 = numbers(&signed, "picture").iter().filter(|v| **v < 0.0).map(|v| f64::from(v.abs())).sum();
            let all: f64 = numbers(&signed, "picture").iter().map(|v| f64::from(v.abs())).sum();
            prop_assert!((f64::from(scalar(&cut, "below zero")) - below / all).abs() < 1e-6);
        }
    }

    /// With one layer it is what the heads' weights raise; nothing flows from behind.
    #[test]
    fn one_layer_is_what_its_weights_raise(seed in 0..99_u64, token in 0..26_u32, at in 4..7_usize) {
        let toy = Toy::curved(seed);
        let objective = Objective::Logit { at: Position::At(at), token };
        let case = about(asked(seed as u32, "abc", token).sample, objective.clone());
        let run = |last, case: &Case| {
            AttentionRelevance::new(attention_relevance::Settings { last }).unwrap().run(&toy, case).unwrap()
        };
        let one = run(Some(1), &case);
        let (inputs, _) = case.open(&toy).unwrap();
        let place = site("text.blocks.1.attn.pattern");
        let plan = Plan::new().objective(&objective).read(place).unwrap().grad(place).unwrap();
        let trace = toy.run(&inputs, plan).unwrap();
        let of = |value: &AnyTensor| (value.dims(), value.to_values().unwrap());
        let ((dims, weights), (_, slopes)) = (of(trace.get(place).unwrap()), of(trace.grad(place).unwrap()));
        let (heads, positions) = (dims[1], dims[2]);
        let wanted: Vec<f64> = (0..positions)
            .map(|key| {
                let effect = |head: usize| {
                    let place = (head * positions + at) * positions + key;
                    (f64::from(weights[place]) * f64::from(slopes[place])).max(0.0) // no NaN: checked by the run
                };
                (0..heads).map(effect).sum::<f64>() / heads as f64
            })
            .collect();
        ROUNDING.check("one layer", numbers(&one, "tokens"), &wanted).unwrap();
        let twofold = run(Some(1), &about(case.sample.clone(), twice(&objective)));
        ROUNDING.check("twice", numbers(&twofold, "tokens"), &doubled(numbers(&one, "tokens"))).unwrap();
        let all = run(None, &case);
        prop_assert!(numbers(&all, "tokens").iter().skip(at + 1).all(|value| *value == 0.0));
        // Where image positions are, there the picture is.
        prop_assert_eq!(numbers(&all, "picture"), &numbers(&all, "tokens")[..4]);
        let by = numbers(&all, "by modality");
        prop_assert!((total(by) - total(numbers(&all, "tokens"))).abs() < 1e-5 * (1.0 + total(by)));
    }
}

/// Each of them can be shaken; without noise nothing differs.
#[test]
fn smooth_grad_takes_any_of_them() {
    let case = question();
    let others = json!([picture("tall")]);
    let inside = [
        ("saliency", json!({})),
        ("gxi", json!({})),
        ("expected", json!({ "samples": 3, "pictures": others })),
        ("gradcam", json!({})),
        ("relevance", json!({})),
    ];
    for (of, with) in inside {
        let method = METHODS.iter().find(|method| method.is_called(of)).unwrap();
        let own = method.make(with.clone()).unwrap();
        let given = Given { case: case.clone(), corrupted: None, many: None };
        let plain = own.run_given(&On::new(llava("llava-a")), &given).unwrap();
        let settings = |noise| {
            let with = with.as_object().unwrap().clone();
            smooth_grad::Settings { of: of.to_owned(), with, samples: 2, noise, ..Default::default() }
        };
        let table = plain.tables()[0].name();
        let still = SmoothGrad::new(settings(0.0)).unwrap().run(llava("llava-a"), &case).unwrap();
        assert_eq!(numbers(&still, table), numbers(&plain, table), "{of}");
        let shaken = SmoothGrad::new(settings(0.1)).unwrap().run(llava("llava-a"), &case).unwrap();
        assert!(largest(numbers(&shaken, &format!("{table} deviation"))) > 0.0, "{of}");
    }
}

/// A model that is sure of its answer: gradients of its probability say so, those of its logit need not.
#[test]
fn a_sure_answer_is_spoken_of() {
    let subject = shipped::shapes(&Device::default()).unwrap();
    let data = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, 20);
    // Of twenty answers it is sure of one at least.
    let sure = |at: usize| {
        let case = data.case(at).unwrap();
        let token = case.open(&subject).unwrap().1.token().unwrap();
        let sure = about(case.sample.clone(), Objective::log_probability(token));
        let found = Saliency::default().run(&subject, &sure).unwrap();
        (f64::from(scalar(&found, "objective")).exp() > 0.995).then_some((case, sure))
    };
    let (case, sure) = (0..data.len()).find_map(sure).expect("an answer that it is sure of");
    let case = Case::new(case.sample);
    let others = json!({ "samples": 2, "pictures": [picture("tall")] });
    for (method, settings) in [
        ("saliency", json!({})),
        ("gxi", json!({})),
        ("expected", others),
        ("gradcam", json!({})),
        ("relevance", json!({})),
    ] {
        let own = METHODS.iter().find(|own| own.is_called(method)).unwrap().make(settings).unwrap();
        let run = |case: &Case| {
            let given = Given { case: case.clone(), corrupted: None, many: None };
            own.run_given(&On::new(&subject), &given).unwrap()
        };
        let found = run(&sure);
        let said = found.cautions();
        let left = 1.0 - f64::from(scalar(&found, "objective")).exp();
        let own = said.iter().find(|caution| caution.kind == CautionKind::Saturated).unwrap();
        assert!(
            (f64::from(own.number) - left).abs() < 1e-6 && own.text.contains("a logit is not saturated"),
            "{own:?}"
        );
        assert!(!kinds(&run(&case)).contains(&CautionKind::Saturated), "{method}");
    }
}

/// Gradients of two patches that are each other's opposite leave nothing in the mean, and what reads no picture has no slope there.
#[test]
fn what_cancels_or_is_zero_is_spoken_of() {
    let (toy, case) = (Toy::curved(3), asked(3, "abc", 4));
    let at = |position: usize| {
        let region = Region::all().positions([position]);
        Objective::Site(Reading::at("vision.features".parse().unwrap()).within(region))
    };
    let apart = about(case.sample.clone(), Objective::Sum(vec![(1.0, at(0)), (-1.0, at(1))]));
    let run = |weights| {
        let settings = grad_cam::Settings { weights, relu: false, ..Default::default() };
        GradCam::new(settings).unwrap().run(&toy, &apart).unwrap()
    };
    let found = run(Weights::Mean);
    assert_eq!(numbers(&found, "left of gradients"), [0.0]);
    assert!(numbers(&found, "picture").iter().all(|value| *value == 0.0));
    assert_eq!(kinds(&found), [CautionKind::NothingMoved]);
    assert!(kinds(&run(Weights::Each)).is_empty());
    // A little less than opposite: something is left, and said to be little.
    let nearly = about(case.sample.clone(), Objective::Sum(vec![(1.0, at(0)), (-0.9, at(1))]));
    let found = GradCam::default().run(&toy, &nearly).unwrap();
    let left = scalar(&found, "left of gradients");
    assert!((left - 0.1 / 1.9).abs() < 1e-6, "{left}");
    let said = found.cautions();
    assert!(said.iter().any(|own| own.kind == CautionKind::Cancelled && own.number == left), "{said:?}");

    let (inputs, _) = case.open(&toy).unwrap();
    let words = Region::all().positions([inputs.positions() - 1]);
    let alone = Objective::Site(Reading::at("text.input".parse().unwrap()).within(words));
    let settings = saliency::Settings { sites: Some(vec![site("vision.pixels")]), ..Default::default() };
    let found = Saliency::new(settings).unwrap().run(&toy, &about(case.sample, alone)).unwrap();
    assert_eq!(kinds(&found), [CautionKind::NothingMoved]);
    assert!(found.cautions()[0].text.starts_with("slopes at `vision.pixels` are all exactly zero"));
}

/// A tangent that misses is spoken of with the number that it misses by, and draws that settle nothing with theirs.
#[test]
fn what_misses_is_spoken_of() {
    let (mut bent, mut straight) = (0, 0);
    for seed in 0..12 {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abc", 4));
        let found = gxi("text.embed", &Baseline::Zero).run(&toy, &case).unwrap();
        let gap = scalar(&found, "relative completeness gap");
        let said = found.cautions();
        match said.iter().find(|own| own.kind == CautionKind::Gap) {
            Some(own) => {
                assert!(gap > 0.5 && own.number == gap && own.text.contains("no straight line"), "{own:?}");
                bent += 1;
            }
            None => {
                assert!(gap <= 0.5, "{gap}");
                straight += 1;
            }
        }
    }
    assert!(bent > 0 && straight > 0, "{bent} {straight}");

    let (mut loose, mut settled) = (0, 0);
    for seed in 0..24 {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abc", 4));
        let texts = ["#fde", "#bca", "#eee"].map(str::to_owned).to_vec();
        let sites = Some(vec![site("text.embed")]);
        let settings = expected_gradients::Settings {
            texts,
            sites,
            samples: 2 + 2 * seed as usize,
            ..Default::default()
        };
        let found = ExpectedGradients::new(settings).unwrap().run(&toy, &case.into()).unwrap();
        let squares = |table: &str| numbers(&found, table).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let share = (squares("text.embed/tokens error") / squares("text.embed/tokens")).sqrt();
        let noise = f64::from(scalar(&found, "noise"));
        assert!((noise - share).abs() < 1e-5 * share, "{noise} {share}");
        let change =
            f64::from(scalar(&found, "objective")) - f64::from(scalar(&found, "objective at baseline"));
        match found.cautions().iter().find(|own| own.kind == CautionKind::Unsteady) {
            Some(own) => {
                assert!(
                    share > 0.5 && (f64::from(own.number) - share).abs() < 1e-5 * share,
                    "{own:?} {share}"
                );
                loose += 1;
            }
            // One caution of each path: that of ends that barely differ, or differ the wrong way round, comes first.
            None if share > 0.5 => assert!(change < 0.1, "{share} {change}"),
            None => settled += 1,
        }
    }
    println!("unsteady {loose}, settled {settled}");
    assert!(settled > 0 && loose > 0, "{loose} {settled}");
}

/// What is read through a norm alone knows no length: element by element nothing is left, and it is said to be rounding.
#[test]
fn what_enters_a_norm_alone_is_said_to_be_rounding() {
    let last = Some(site("vision.blocks.2.resid_pre"));
    let settings = grad_cam::Settings { site: last, weights: Weights::Each, relu: false };
    let found = GradCam::new(settings).unwrap().run(opened("clip-a"), &compared()).unwrap();
    assert!(largest(numbers(&found, "picture")) < 1e-5 * f64::from(scalar(&found, "objective").abs()));
    assert_eq!(kinds(&found), [CautionKind::Rounding]);
    let before =
        GradCam::new(grad_cam::Settings { weights: Weights::Each, relu: false, ..Default::default() })
            .unwrap();
    let before = before.run(opened("clip-a"), &compared()).unwrap();
    assert!(kinds(&before).is_empty(), "{:?}", before.cautions());
}

#[test]
fn what_cannot_be_is_refused() {
    let (toy, case) = (Toy::curved(1), asked(1, "ab", 4));
    let said = |result: Result<Finding, mmlens_core::AnalysisError>| result.unwrap_err().to_string();
    let none = said(ExpectedGradients::new(Default::default()).unwrap().run(&toy, &case.clone().into()));
    assert!(none.contains("other samples to compare with, but none was given"), "{none}");
    let settings = expected_gradients::Settings {
        texts: vec!["#abcd".to_owned()],
        sites: Some(vec![site("text.embed")]),
        ..Default::default()
    };
    let longer = said(ExpectedGradients::new(settings).unwrap().run(&toy, &case.clone().into()));
    assert!(longer.contains("“#abcd” has [1, 8, 6] at `text.embed`, and the sample [1, 6, 6]"), "{longer}");
    let settings = grad_cam::Settings { site: Some(site("text.input")), ..Default::default() };
    let words = said(GradCam::new(settings).unwrap().run(&toy, &case));
    assert!(
        words.contains("a layer of a tower or of the connector, but `text.input` lies in its part `text`"),
        "{words}"
    );
    let settings = grad_cam::Settings { site: Some(site("vision.pixels")), ..Default::default() };
    let pixels = said(GradCam::new(settings).unwrap().run(&toy, &case));
    assert!(pixels.contains("a site with a vector at every position"), "{pixels}");
    let twice = saliency::Settings { sites: Some(vec![site("text.embed"); 2]), ..Default::default() };
    assert!(Saliency::new(twice).unwrap_err().to_string().contains("`text.embed` twice"));
    let both = gradient_times_input::Settings {
        along: Some(vec![End::new(site("text.embed"), Baseline::Zero)]),
        sites: Some(vec![site("text.embed")]),
        gap: 0.5,
    };
    assert!(GradientTimesInput::new(both).unwrap_err().to_string().contains("one of them says what moves"));
    assert!(AttentionRelevance::new(attention_relevance::Settings { last: Some(0) }).is_err());
}
