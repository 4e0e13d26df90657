//! What must hold for every subject, whatever its weights.

use image::{Rgb, RgbImage};
use mmlens_core::finding::{CautionKind, Labels, Role, Tolerance};
use mmlens_core::{
    Analysis, Baseline, Case, Change, Objective, Pair, Picture, Plan, Point, Region, Sample, Subject, Target,
};
use mmlens_engine::{End, Heads, Positions, Rule};
use mmlens_model::activation_patching::{self, ActivationPatching, Places};
use mmlens_model::attention_rollout::{self, AttentionRollout};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::logit_lens::{self, LogitLens};
use mmlens_model::occlusion::{self, Cover, Hide, Occlusion};
use mmlens_testkit::Toy;
use proptest::prelude::*;

use crate::support::{about, largest, llava, named, numbers, painted, question, scalar, shown, site, total};

/// Another grouping of the same sums in f32.
const ROUNDING: Tolerance = Tolerance::either(2e-6, 1e-5);

pub(crate) fn few() -> ProptestConfig {
    ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() }
}

pub(crate) fn asked(picture: u32, words: &str, token: u32) -> Case {
    about(Sample::prompt(vec![painted(picture)], format!("#{words}")), Objective::logit(token))
}

fn gradients(
    sites: &[&str],
    rule: Rule,
    steps: usize,
    rows: usize,
    baseline: &Baseline,
) -> IntegratedGradients {
    let along = sites.iter().map(|name| End::new(site(name), baseline.clone())).collect();
    let settings = integrated_gradients::Settings {
        along: Some(along),
        rule,
        steps: Some(steps),
        rows,
        ..Default::default()
    };
    IntegratedGradients::new(settings).unwrap()
}

fn rules() -> impl Strategy<Value = Rule> {
    prop_oneof![Just(Rule::Midpoint), Just(Rule::Trapezoid), Just(Rule::GaussLegendre)]
}

fn places() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::select(vec![
        vec!["vision.pixels"],
        vec!["text.embed"],
        vec!["text.input"],
        vec!["connector.out"],
        vec!["vision.pixels", "text.embed"],
        vec!["text.blocks.1.resid_pre"],
        vec!["text.blocks.0.attn_out"],
        vec!["text.blocks.1.mlp.post"],
        vec!["text.blocks.0.attn.z"],
    ])
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn contributions_sum_to_the_change(
        seed in 0..99_u64,
        sites in places(),
        rule in rules(),
        word in "[a-f]{1,3}",
        token in 0..27_u32,
    ) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, &word, token));
        let found = gradients(&sites, rule, 128, 40, &Baseline::Zero).run(&toy, &case).unwrap();
        // All that is shared out, whatever its sign: many pixels may err by a little each.
        let shared = |name: &&str| numbers(&found, name).iter().map(|v| f64::from(v.abs())).sum::<f64>();
        let scale = 0.1 + sites.iter().map(shared).sum::<f64>();
        let gap = f64::from(scalar(&found, "completeness gap")).abs();
        // 128 equal steps err by about 1/128^2 of the curvature; Gauss and Legendre by rounding alone
        prop_assert!(gap < scale * 1e-3, "gap {gap}, shared out {scale}");
        let sum = total(numbers(&found, "by site"));
        let change = f64::from(scalar(&found, "objective")) - f64::from(scalar(&found, "objective at baseline"));
        prop_assert!((sum - change).abs() < scale * 1e-3 + 1e-5);
    }

    /// Nodes are added until what all panels miss is a thousandth of the change, and what is told of them is so.
    #[test]
    fn nodes_are_added_until_contributions_sum_to_the_change(
        seed in 0..99_u64,
        sites in places(),
        word in "[a-f]{1,3}",
        token in 0..27_u32,
    ) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, &word, token));
        let along: Vec<End> = sites.iter().map(|name| End::new(site(name), Baseline::Zero)).collect();
        let settings = integrated_gradients::Settings { along: Some(along), gap: 1e-3, budget: 2000, ..Default::default() };
        let found = IntegratedGradients::new(settings).unwrap().run(&toy, &case).unwrap();
        let change = f64::from(scalar(&found, "objective")) - f64::from(scalar(&found, "objective at baseline"));
        // Scores are 32 bits wide: of a change of nearly nothing no thousandth can be met.
        prop_assume!(change.abs() > 1e-2);
        let (missed, gap) = (scalar(&found, "missed by panels"), scalar(&found, "relative completeness gap"));
        prop_assert!(missed <= 1e-3 && gap <= missed + 1e-5, "{missed} {gap}");
        let sum = total(numbers(&found, "by site"));
        prop_assert!((sum - change).abs() <= 1.1e-3 * change.abs(), "{sum} {change}");
        let places = scalar(&found, "places") as usize;
        // Four more for every panel that was halved.
        prop_assert!((129..=2000).contains(&places) && (places - 129).is_multiple_of(4), "{places}");
        prop_assert_eq!(numbers(&found, "path").len(), places);
        prop_assert!(found.cautions().iter().all(|caution| caution.kind != CautionKind::Gap));
    }

    #[test]
    fn a_straight_subject_needs_one_node(seed in 0..99_u64, sites in places(), rule in rules(), token in 0..27_u32) {
        let (toy, case) = (Toy::straight(seed), asked(seed as u32, "ab", token));
        let run = |steps, rows| gradients(&sites, rule, steps, rows, &Baseline::Mean).run(&toy, &case).unwrap();
        let few = if rule == Rule::Trapezoid { 2 } else { 1 };
        let (few, many) = (run(few, 1), run(9, 4));
        for name in &sites {
            ROUNDING.check(name, numbers(&few, name), numbers(&many, name)).unwrap();
        }
        let change = scalar(&few, "objective").abs() + scalar(&few, "objective at baseline").abs();
        prop_assert!(scalar(&few, "completeness gap").abs() < 1e-4 + 1e-5 * change);
    }

    #[test]
    fn an_input_that_is_its_baseline_contributes_nothing(seed in 0..99_u64, sites in places()) {
        let (toy, case) = (Toy::curved(seed), asked(7, "abc", 3));
        let (inputs, _) = case.open(&toy).unwrap();
        let along = sites.iter().map(|name| {
            let trace = toy.run(&inputs, Plan::new().read(site(name)).unwrap()).unwrap();
            End::new(site(name), Baseline::Given(trace.get(site(name)).unwrap().clone()))
        });
        let settings = integrated_gradients::Settings { along: Some(along.collect()), steps: Some(3), ..Default::default() };
        let found = IntegratedGradients::new(settings).unwrap().run(&toy, &case).unwrap();
        prop_assert!(sites.iter().all(|name| numbers(&found, name).iter().all(|v| *v == 0.0)));
        prop_assert_eq!(scalar(&found, "relative completeness gap"), 0.0);
    }

    #[test]
    fn batches_change_no_contribution(seed in 0..99_u64, sites in places(), rows in 1..9_usize) {
        let (toy, case) = (Toy::curved(seed), asked(2, "abc", 5));
        let run = |rows| gradients(&sites, Rule::GaussLegendre, 7, rows, &Baseline::Zero).run(&toy, &case).unwrap();
        let (one, many) = (run(1), run(rows));
        for name in &sites {
            let tolerance = Tolerance::either(1e-6, 1e-4);
            tolerance.check(name, numbers(&many, name), numbers(&one, name)).unwrap();
        }
        ROUNDING.check("path", numbers(&many, "path"), numbers(&one, "path")).unwrap();
    }

    #[test]
    fn drops_of_a_straight_subject_add_up(
        seed in 0..99_u64,
        rows in 1..9_usize,
        cols in 1..9_usize,
        token in 0..27_u32,
    ) {
        let (toy, case) = (Toy::straight(seed), asked(seed as u32, "ab", token));
        let run = |rows, cols| {
            let picture = Some(Cover::Grid { rows, cols });
            let settings = occlusion::Settings { picture, words: None, rows: 5, pixels: Baseline::Mean, ..Default::default() };
            Occlusion::new(settings).unwrap().run(&toy, &case).unwrap()
        };
        let (cells, whole) = (run(rows, cols), run(1, 1));
        let (sum, drop) = (total(numbers(&cells, "picture")), total(numbers(&whole, "picture")));
        // every drop is a difference of two logits, rounded as they are
        let allowed = 1e-4 + 1e-5 * largest(numbers(&whole, "objective")).max(drop.abs());
        prop_assert!((sum - drop).abs() < allowed, "{} cells: {sum}, at once: {drop}", rows * cols);
    }

    #[test]
    fn batches_change_no_drop(seed in 0..99_u64, rows in 1..20_usize, attended in any::<bool>()) {
        let (toy, case) = (Toy::curved(seed), asked(2, "abc", 5));
        let run = |rows| {
            let picture = Some(Cover::Sliding { window: [4, 3], stride: [2, 3] });
            let words = Some(if attended { Hide::Unattended } else { Hide::Replace(Baseline::Mean) });
            let settings = occlusion::Settings { picture, words, rows, pixels: Baseline::Constant(0.3), ..Default::default() };
            Occlusion::new(settings).unwrap().run(&toy, &case).unwrap()
        };
        let (one, many) = (run(1), run(rows));
        for name in ["picture", "windows", "tokens"] {
            ROUNDING.check(name, numbers(&many, name), numbers(&one, name)).unwrap();
        }
    }

    #[test]
    fn hiding_what_is_not_there_costs_nothing(seed in 0..99_u64) {
        let (toy, case) = (Toy::curved(seed), asked(4, "ab", 6));
        let (inputs, _) = case.open(&toy).unwrap();
        let entered = site("text.blocks.0.resid_pre");
        let trace = toy.run(&inputs, Plan::new().read(entered).unwrap()).unwrap();
        let settings = occlusion::Settings {
            picture: Some(Cover::Grid { rows: 2, cols: 3 }),
            pixels: Baseline::Given(inputs.seen.values.clone().unwrap()),
            words: Some(Hide::Replace(Baseline::Given(trace.get(entered).unwrap().clone()))),
            rows: 4, ..Default::default() };
        let found = Occlusion::new(settings).unwrap().run(&toy, &case).unwrap();
        for name in ["picture", "tokens"] {
            prop_assert!(largest(numbers(&found, name)) < 1e-6, "{name}");
        }
    }

    #[test]
    fn shares_sum_to_one(
        seed in 0..99_u64,
        residual in 0.0..=1.0_f32,
        heads in prop::sample::select(vec![Heads::Mean, Heads::Max, Heads::Min]),
    ) {
        let method = AttentionRollout::new(attention_rollout::Settings { residual, fusion: heads, ..Default::default() }).unwrap();
        let toy = Toy::curved(seed);
        let found = method.run(&toy, &asked(1, "abc", 0)).unwrap();
        let text = found.table("text").unwrap();
        let positions = text.shape()[0];
        for (query, shares) in text.as_numbers().unwrap().chunks(positions).enumerate() {
            prop_assert!((total(shares) - 1.0).abs() < 1e-5);
            prop_assert!(shares.iter().all(|share| *share >= 0.0));
            // nothing flows backwards
            prop_assert!(shares[query + 1..].iter().all(|share| *share == 0.0));
        }
        prop_assert_eq!(numbers(&found, "tokens"), &text.as_numbers().unwrap()[(positions - 1) * positions..]);
        prop_assert!((total(numbers(&found, "by modality")) - 1.0).abs() < 1e-5);
        prop_assert!((total(numbers(&found, "tokens")) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn the_last_layer_of_the_lens_is_the_answer(seed in 0..99_u64, word in "[a-f]{1,4}", token in 0..27_u32) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, &word, token));
        let settings = logit_lens::Settings { top: 27, rows: 3, ..Default::default() };
        let found = LogitLens::new(settings).unwrap().run(&toy, &case).unwrap();
        let (inputs, _) = case.open(&toy).unwrap();
        let inputs = inputs.all_logits();
        let logits = toy.run(&inputs, Plan::new()).unwrap().output().logits.clone().unwrap().to_values().unwrap();
        let words = found.table("words").unwrap();
        let [layers, positions, ranks] = words.shape()[..] else { panic!() };
        for position in 0..positions {
            let logs = mmlens_engine::distribution::log_probabilities(&logits[position * 27..(position + 1) * 27]);
            let divergence = found.table("divergence").unwrap().get(&[layers - 1, position]).unwrap();
            prop_assert_eq!(divergence, 0.0);
            for rank in 0..ranks {
                let at = [layers - 1, position, rank];
                let log = f64::from(found.table("log probabilities").unwrap().get(&at).unwrap());
                let (_, best) = mmlens_engine::distribution::largest(&logs, 27)[rank];
                prop_assert!((log - best).abs() < 1e-4);
            }
        }
        let shares = numbers(&found, "probabilities");
        prop_assert!(shares.chunks(27).all(|all| (total(all) - 1.0).abs() < 1e-5));
        let highest = 27.0_f32.ln() + 1e-5;
        prop_assert!(numbers(&found, "entropy").iter().all(|e| (0.0..=highest).contains(e)));
        prop_assert!(numbers(&found, "divergence").iter().all(|d| *d > -1e-6));
        prop_assert!(numbers(&found, "target rank").iter().all(|r| *r < 27.0));
    }

    #[test]
    fn all_positions_of_a_depth_give_the_clean_run(seed in 0..99_u64, word in "[a-f]{2,4}", token in 0..27_u32) {
        let toy = Toy::curved(seed);
        let other = format!("#{}", "z".repeat(word.len()));
        let pair = Pair { clean: asked(1, &word, token), corrupted: Sample::prompt(vec![painted(2)], other) };
        let points = vec![Point::ResidPre, Point::ResidPost];
        let settings = activation_patching::Settings { places: Places::Together, points, rows: 8, ..Default::default() };
        let found = ActivationPatching::new(settings).unwrap().run(&toy, &pair).unwrap();
        for name in ["resid_pre", "resid_post"] {
            let table = format!("{name}/patched");
            let clean = scalar(&found, "clean");
            prop_assert!(numbers(&found, &table).iter().all(|patched| (patched - clean).abs() < 1e-5));
        }
    }

    #[test]
    fn batches_change_no_patch(seed in 0..99_u64, rows in 1..40_usize) {
        let toy = Toy::curved(seed);
        let pair = Pair { clean: asked(1, "abc", 4), corrupted: Sample::prompt(vec![painted(2)], "#xyz") };
        let run = |rows| {
            let points = vec![Point::ResidPre, Point::AttnOut, Point::MlpOut, Point::Z];
            let settings = activation_patching::Settings { points, rows, ..Default::default() };
            ActivationPatching::new(settings).unwrap().run(&toy, &pair).unwrap()
        };
        let (one, many) = (run(1), run(rows));
        for name in ["resid_pre/patched", "attn_out/patched", "mlp_out/patched", "attn.z/patched"] {
            ROUNDING.check(name, numbers(&many, name), numbers(&one, name)).unwrap();
        }
    }

    #[test]
    fn a_patch_of_the_same_run_changes_nothing(seed in 0..99_u64) {
        // The prompts differ at a letter alone, and nothing flows backwards: the picture before it is the same.
        let toy = Toy::curved(seed);
        let of = |words: &str| Sample::prompt(vec![painted(2)], words);
        let pair = Pair { clean: about(of("#abc"), Objective::logit(1)), corrupted: of("#zbc") };
        let places = Places::Each(Positions::Pictures);
        let settings = activation_patching::Settings { places, ..Default::default() };
        let found = ActivationPatching::new(settings).unwrap().run(&toy, &pair).unwrap();
        prop_assert!(largest(numbers(&found, "resid_pre/effect")) < 1e-6);
    }
}

#[test]
fn sites_deep_in_a_checkpoint_are_complete() {
    // A norm has no derivative at zero: streams that a norm follows begin at their mean.
    let sites = [
        ("text.blocks.1.attn.pattern", Baseline::Zero),
        ("text.blocks.2.mlp.gate", Baseline::Zero),
        ("vision.blocks.1.resid_mid", Baseline::Mean),
        ("vision.features", Baseline::Mean),
        ("text.blocks.1.resid_post", Baseline::Mean),
        ("text.final_norm", Baseline::Zero),
        ("text.logits", Baseline::Zero),
    ];
    for (place, baseline) in sites {
        let found = gradients(&[place], Rule::GaussLegendre, 32, 8, &baseline)
            .run(llava("llava-a"), &question())
            .unwrap();
        let (gap, sizes) = (scalar(&found, "completeness gap"), largest(numbers(&found, place)));
        println!("{place}: gap {gap:e}, largest {sizes:e}");
        assert!(f64::from(gap.abs()) < sizes * 1e-3, "{place}: gap {gap}, largest contribution {sizes}");
    }
}

#[test]
fn a_site_far_on_gives_what_the_site_before_it_gives() {
    // the stream at the last block's end, from zero: final norm and unembedding alone lie behind it
    let found = gradients(&["text.blocks.2.resid_post"], Rule::GaussLegendre, 16, 4, &Baseline::Mean)
        .run(llava("llava-a"), &question())
        .unwrap();
    let tokens = numbers(&found, "text.blocks.2.resid_post/tokens");
    // the answer is read at the last position
    assert!(tokens[..29].iter().all(|share| *share == 0.0) && tokens[29] != 0.0);
}

#[test]
fn text_input_is_the_stream_that_enters_block_0() {
    let run = |name| {
        gradients(&[name], Rule::Midpoint, 6, 4, &Baseline::Zero).run(llava("llava-a"), &question()).unwrap()
    };
    let (input, entered) = (run("text.input"), run("text.blocks.0.resid_pre"));
    assert_eq!(numbers(&input, "text.input"), numbers(&entered, "text.blocks.0.resid_pre"));
    assert_eq!(input.provenance.sites, ["text.input"]);
}

#[test]
fn image_placeholders_contribute_nothing_at_the_embedding() {
    let found = gradients(&["text.embed"], Rule::Midpoint, 4, 4, &Baseline::Zero)
        .run(llava("llava-a"), &question())
        .unwrap();
    let inputs = llava("llava-a").encode(&question().sample).unwrap();
    let tokens = numbers(&found, "text.embed/tokens");
    assert!(inputs.map().picture(0).iter().all(|i| tokens[*i] == 0.0));
    assert!(tokens.iter().any(|share| *share != 0.0));
}

#[test]
fn several_pictures_have_their_own_tables() {
    let case = Case::new(shown(&["wide", "tall"], "<image>and<image>"));
    let settings =
        occlusion::Settings { picture: Some(Cover::Grid { rows: 2, cols: 2 }), ..Default::default() };
    let found = Occlusion::new(settings).unwrap().run(llava("llava-a"), &case).unwrap();
    assert_eq!(named(&found), ["picture/0", "picture/1", "tokens", "objective"]);
    let inputs = llava("llava-a").encode(&case.sample).unwrap();
    for (image, view) in inputs.map().views.iter().enumerate() {
        let table = found.table(&format!("picture/{image}")).unwrap();
        let ends = table.axes().iter().map(|axis| match &axis.labels {
            Labels::Spans { image, spans, .. } => (*image, spans.last().unwrap()[1]),
            other => panic!("{other:?}"),
        });
        let [height, width] = [&view.rows, &view.cols].map(|spans| spans.last().unwrap()[1]);
        assert_eq!(ends.collect::<Vec<_>>(), [(image, height), (image, width)]);
    }
    let found = gradients(
        &["vision.pixels", "vision.blocks.0.resid_pre"][..1],
        Rule::Midpoint,
        2,
        2,
        &Baseline::Zero,
    )
    .run(llava("llava-a"), &case)
    .unwrap();
    assert!(named(&found).contains(&"vision.pixels/1/picture"));
    let found = AttentionRollout::default().run(llava("llava-a"), &case).unwrap();
    assert!(named(&found).contains(&"picture through the tower/1"));
}

#[test]
fn hiding_a_word_is_a_pass_without_its_vector() {
    let (toy, case) = (Toy::curved(5), asked(3, "abc", 9));
    let words = Some(Hide::Replace(Baseline::Zero));
    let settings =
        occlusion::Settings { picture: None, words, rows: 2, pixels: Baseline::Zero, ..Default::default() };
    let found = Occlusion::new(settings).unwrap().run(&toy, &case).unwrap();
    let (inputs, objective) = case.open(&toy).unwrap();
    let whole = toy.run(&inputs, Plan::new().objective(&objective)).unwrap().scores().unwrap()[0];
    let (words, table) = (Positions::Words.of(inputs.map()).unwrap(), found.table("tokens").unwrap());
    assert_eq!(table.shape(), [words.len()]);
    for (place, position) in words.into_iter().enumerate() {
        let plan = Plan::new().objective(&objective).change(
            site("text.blocks.0.resid_pre"),
            Region::all().positions([position]),
            Change::Zero,
        );
        let hidden = toy.run(&inputs, plan.unwrap()).unwrap().scores().unwrap()[0];
        let drop = table.get(&[place]).unwrap();
        assert!((drop - (whole - hidden)).abs() < 1e-6, "{position}: {drop}, {whole} - {hidden}");
        assert_eq!(table.axes()[0].label(place).as_ref(), Some(&inputs.map().tokens[position].text));
    }
}

/// Along a straight line a straight subject's score goes straight from the baseline's to the input's.
#[test]
fn the_path_leads_from_the_baseline_to_the_input() {
    let found = gradients(&["text.input"], Rule::Midpoint, 4, 3, &Baseline::Zero)
        .run(&Toy::straight(3), &asked(3, "abc", 9))
        .unwrap();
    let (from, to) = (scalar(&found, "objective at baseline"), scalar(&found, "objective"));
    assert!((to - from).abs() > 1e-2, "{from} {to}");
    for (score, at) in numbers(&found, "path").iter().zip([0.125, 0.375, 0.625, 0.875]) {
        let wanted = from + (to - from) * at;
        assert!((score - wanted).abs() < 1e-5 * (1.0 + to.abs()), "{score} at {at}, expected {wanted}");
    }
}

#[test]
fn points_are_patched_together_as_they_are_alone() {
    let toy = Toy::curved(4);
    let pair = Pair { clean: asked(1, "abc", 4), corrupted: Sample::prompt(vec![painted(2)], "#xyz") };
    let run = |points: &[Point]| {
        let settings = activation_patching::Settings { points: points.to_vec(), ..Default::default() };
        ActivationPatching::new(settings).unwrap().run(&toy, &pair).unwrap()
    };
    let all = [Point::ResidMid, Point::AttnOut, Point::Z];
    let together = run(&all);
    for point in all {
        let table = format!("{}/patched", point.name());
        ROUNDING.check(&table, numbers(&together, &table), numbers(&run(&[point]), &table)).unwrap();
    }
}

/// A picture of one colour has that channel higher than black does, and no other: the channel of that name.
#[test]
fn channels_have_the_names_of_their_colours() {
    let subject = llava("llava-a");
    let of = |colour: [u8; 3]| {
        let picture = Picture::new("plain", RgbImage::from_pixel(9, 9, Rgb(colour)));
        Case::new(Sample::prompt(vec![picture], "<image>Red?"))
    };
    let pixels =
        |case: &Case| subject.encode(&case.sample).unwrap().seen.values.clone().unwrap().to_values().unwrap();
    let found = gradients(&["vision.pixels"], Rule::Midpoint, 1, 1, &Baseline::Zero)
        .run(subject, &of([255, 0, 0]))
        .unwrap();
    let table = found.table("vision.pixels").unwrap();
    let axis = &table.axes()[table.axis_of(Role::Channel).unwrap()];
    let black = pixels(&of([0; 3]));
    for (colour, name) in [([255, 0, 0], "red"), ([0, 255, 0], "green"), ([0, 0, 255], "blue")] {
        let shown = pixels(&of(colour));
        let side = shown.len() / 3;
        let lit = |channel: &usize| shown[channel * side] > black[channel * side];
        let names: Vec<String> = (0..3).filter(lit).map(|channel| axis.label(channel).unwrap()).collect();
        assert_eq!(names, [name]);
    }
}

#[test]
fn hiding_one_of_two_pictures_is_a_pass_with_that_picture_changed() {
    let toy = Toy::curved(5);
    let sample = Sample::prompt(vec![painted(1), painted(2)], "#a#b");
    let case = about(sample, Objective::logit(9));
    let settings = occlusion::Settings {
        picture: Some(Cover::Grid { rows: 1, cols: 1 }),
        words: None,
        rows: 1,
        pixels: Baseline::Zero,
        ..Default::default()
    };
    let found = Occlusion::new(settings).unwrap().run(&toy, &case).unwrap();
    let (inputs, objective) = case.open(&toy).unwrap();
    let whole = toy.run(&inputs, Plan::new().objective(&objective)).unwrap().scores().unwrap()[0];
    for entry in 0..2 {
        let plan = Plan::new().objective(&objective).change(
            site("vision.pixels"),
            mmlens_core::Region::all().of(mmlens_core::AxisName::Image, [entry]),
            mmlens_core::Change::Zero,
        );
        let hidden = toy.run(&inputs, plan.unwrap()).unwrap().scores().unwrap()[0];
        let drop = numbers(&found, &format!("picture/{entry}"))[0];
        assert!((drop - (whole - hidden)).abs() < 1e-6);
    }
}

#[test]
fn an_objective_at_a_position_of_its_own() {
    let toy = Toy::curved(8);
    let objective = Objective::LogProbability { at: mmlens_core::Position::At(5), token: 4 };
    let case = Case { target: Target::Objective(objective), ..asked(3, "abcd", 0) };
    let found =
        gradients(&["text.embed"], Rule::GaussLegendre, 32, 8, &Baseline::Zero).run(&toy, &case).unwrap();
    let tokens = numbers(&found, "text.embed/tokens");
    // what comes later cannot matter, what stands there does
    assert!(tokens[6..].iter().all(|share| *share == 0.0) && tokens[5] != 0.0);
    assert!(scalar(&found, "relative completeness gap") < 1e-2);
}

#[test]
fn more_nodes_close_the_gap() {
    // From zero, the path begins where a norm has no derivative: nearly all of the change lies there.
    let gap = |steps| {
        let found = gradients(&["text.embed"], Rule::GaussLegendre, steps, 64, &Baseline::Zero);
        scalar(&found.run(llava("llava-a"), &question()).unwrap(), "relative completeness gap")
    };
    let gaps = [32, 128, 512].map(gap);
    println!("text.embed from zero: {gaps:?}");
    assert!(gaps[0] > 0.1 && gaps[1] < 0.1 && gaps[2] < 1e-5, "{gaps:?}");
}

/// One node in the middle of the path is not enough for a curved subject. The gap has the sign of the sum less the change, and the
/// relative one is over the change.
#[test]
fn the_gap_is_the_sum_of_the_contributions_less_the_change() {
    let (mut above, mut below) = (0, 0);
    for seed in 0..12 {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abc", 5));
        let sites = ["vision.pixels", "text.embed"];
        let found =
            gradients(&sites, Rule::Midpoint, 1, 1, &Baseline::Constant(0.2)).run(&toy, &case).unwrap();
        let sum: f64 = sites.iter().map(|name| total(numbers(&found, name))).sum();
        let [at_input, at_baseline] =
            ["objective", "objective at baseline"].map(|name| f64::from(scalar(&found, name)));
        let (change, gap) = (at_input - at_baseline, f64::from(scalar(&found, "completeness gap")));
        // Each table is rounded to f32.
        let rounding = 1e-6 * (sum.abs() + at_input.abs() + at_baseline.abs());
        assert!((gap - (sum - change)).abs() <= rounding, "{seed}: {gap}, {sum} - {change}");
        let relative = f64::from(scalar(&found, "relative completeness gap"));
        let wanted = (sum - change).abs() / change.abs();
        assert!((relative - wanted).abs() <= 1e-5 * wanted + rounding / change.abs(), "{relative}, {wanted}");
        // Over the sum, or over either objective, it would be another number.
        for other in [sum, at_input, at_baseline] {
            assert!(
                (gap.abs() / other.abs() - wanted).abs() > 1e-3 * wanted,
                "{seed}: {other} like {change}"
            );
        }
        above += usize::from(gap > 1e-2);
        below += usize::from(gap < -1e-2);
    }
    assert!(above > 0 && below > 0, "{above} sums too large, {below} too small");
}
