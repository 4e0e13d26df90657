//! What a plan does to a pass, reckoned by hand or held against identities.

use crate::toy::{Fault, Toy, WIDTH};
use mmlens_core::*;
use proptest::prelude::*;

fn toy() -> Toy {
    Toy::new(Fault::None)
}

fn site(text: &str) -> Site {
    text.parse().unwrap()
}

fn values(x: &AnyTensor) -> Vec<f32> {
    x.to_values().unwrap()
}

#[test]
fn every_site_is_reached_and_writing_back_what_was_read_changes_no_bit() {
    let inputs = Toy::inputs(&[[1, 2], [0, 3]]);
    let sites: Vec<Site> = toy().sites().iter().map(|s| s.site).collect();
    let mut all = Plan::new().to_output();
    for site in &sites {
        all = all.read(*site).unwrap();
    }
    let plain = toy().run(&inputs, all).unwrap();
    let bare = toy().run(&inputs, Plan::new()).unwrap();
    let logits = |t: &Trace| values(&t.output().logits.clone().unwrap());
    assert_eq!(logits(&plain), logits(&bare));
    for site in sites {
        let back = Plan::new().set(site, plain.get(site).unwrap().clone()).unwrap();
        assert_eq!(logits(&toy().run(&inputs, back).unwrap()), logits(&plain), "{site}");
    }
}

#[test]
fn edits_apply_in_order_and_reads_see_them() {
    let one = AnyTensor::from_values(vec![1.0], &[1, 1, 1], &crate::toy::device()).unwrap();
    let plan = Plan::new()
        .change("text.input", Region::all(), Change::Scale(10.0))
        .and_then(|p| p.change("text.input", Region::all(), Change::Add(one)))
        .and_then(|p| p.read("text.input"))
        .unwrap();
    let trace = toy().run(&Toy::inputs(&[[1, 2]]), plan).unwrap();
    // (1 2 3; 2 3 4) * 10 + 1
    assert_eq!(values(trace.get(site("text.input")).unwrap()), [11.0, 21.0, 31.0, 21.0, 31.0, 41.0]);
    assert!(trace.output().logits.is_none(), "nothing later was wanted, so the pass ended");
}

#[test]
fn regions_touch_what_they_name() {
    let region = Region::all().rows([1]).positions([0]).of(AxisName::DModel, [2]);
    let plan =
        Plan::new().change("text.input", region, Change::Zero).and_then(|p| p.read("text.input")).unwrap();
    let trace = toy().run(&Toy::inputs(&[[1, 2], [3, 4]]), plan).unwrap();
    let expected = [1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 3.0, 4.0, 0.0, 4.0, 5.0, 6.0];
    assert_eq!(values(trace.get(site("text.input")).unwrap()), expected);
}

#[test]
fn mean_ablation_is_the_mean_over_rows_and_positions() {
    let plan = Plan::new()
        .change("text.input", Region::all(), Change::Mean)
        .and_then(|p| p.read("text.input"))
        .unwrap();
    let trace = toy().run(&Toy::inputs(&[[1, 2], [3, 6]]), plan).unwrap();
    // ids 1 2 3 6 have mean 3; the coordinates add 0 1 2
    assert_eq!(values(trace.get(site("text.input")).unwrap()), [3.0, 4.0, 5.0].repeat(4));
}

#[test]
fn a_knocked_out_edge_carries_nothing_and_the_rest_still_sums_to_one() {
    let plan = Plan::new()
        .knock_out("text.blocks.0.attn.scores", Some(vec![0]), [1], [0])
        .and_then(|p| p.read("text.blocks.0.attn.pattern"))
        .unwrap();
    let trace = toy().run(&Toy::inputs(&[[0, 0]]), plan).unwrap();
    // equal positions attend evenly; the second may look at itself only
    assert_eq!(values(trace.get(site("text.blocks.0.attn.pattern")).unwrap()), [0.5, 0.5, 0.0, 1.0]);
}

#[test]
fn a_resumed_pass_equals_the_whole_one_bit_for_bit() {
    let inputs = Toy::inputs(&[[1, 2]]);
    let whole = toy().run(&inputs, Plan::new().read("text.blocks.1.resid_pre").unwrap().to_output()).unwrap();
    let resumed = toy().run(&inputs, Plan::new().resume(whole.state(Part::Text, 1).unwrap())).unwrap();
    let logits = |t: &Trace| values(&t.output().logits.clone().unwrap());
    assert_eq!(logits(&resumed), logits(&whole));
}

/// Central differences of the objective at a site.
fn numeric(at: Site, rows: &[[u32; 2]], index: usize) -> f32 {
    let inputs = Toy::inputs(rows);
    let base = toy().run(&inputs, Plan::new().read(at).unwrap()).unwrap();
    let (dims, center) = (base.get(at).unwrap().dims(), values(base.get(at).unwrap()));
    let score = |by: f32| -> f32 {
        let mut moved = center.clone();
        moved[index] += by;
        let moved = AnyTensor::from_values(moved, &dims, &crate::toy::device()).unwrap();
        let plan = Plan::new().set(at, moved).unwrap().objective(Objective::log_probability(1));
        toy().run(&inputs, plan).unwrap().scores().unwrap().iter().sum()
    };
    (score(1e-2) - score(-1e-2)) / 2e-2
}

#[test]
fn gradients_at_all_sites_in_one_backward_pass_agree_with_differences() {
    let rows = [[1, 0], [0, 1]];
    let places = [
        "text.input",
        "text.blocks.0.attn.pattern",
        "text.blocks.1.attn.scores",
        "text.blocks.1.mlp_out",
        "text.logits",
    ];
    let mut plan = Plan::new().objective(Objective::log_probability(1));
    for place in places {
        plan = plan.grad(place).unwrap();
    }
    let trace = toy().run(&Toy::inputs(&rows), plan).unwrap();
    for place in places {
        for (i, slope) in values(trace.grad(site(place)).unwrap()).into_iter().enumerate() {
            let expected = numeric(site(place), &rows, i);
            // central differences of step 1e-2 in f32: about 1e-3 of noise and curvature
            assert!((slope - expected).abs() < 5e-3, "{place}[{i}]: {slope} against {expected}");
        }
    }
}

#[test]
fn a_gradient_can_be_changed_on_its_way() {
    let gradient = |plan: Plan| {
        let plan = plan.grad("text.input").unwrap().objective(Objective::logit(0));
        values(toy().run(&Toy::inputs(&[[1, 2]]), plan).unwrap().grad(site("text.input")).unwrap())
    };
    let plain = gradient(Plan::new());
    let halve = |x: AnyTensor| Ok(AnyTensor::new(x.rank_of::<3>("gradient")?.mul_scalar(0.5)));
    let halved = gradient(Plan::new().edit_grad("text.blocks.1.resid_pre", halve).unwrap());
    for (a, b) in plain.iter().zip(halved) {
        assert!((a * 0.5 - b).abs() < 1e-6);
    }
}

#[test]
fn a_foreign_array_is_an_activation() {
    use ndarray::ArrayD;
    let x = ArrayD::from_shape_vec(vec![1, 2, WIDTH], (0..6).map(|i| i as f32).collect()).unwrap();
    let plan = Plan::new()
        .change("text.input", Region::all(), Change::Scale(2.0))
        .and_then(|p| p.read("text.input"))
        .unwrap();
    let mut run = Run::start(plan, "toy", toy().sites()).unwrap();
    let y = run.at(site("text.input"), x.clone()).unwrap();
    assert_eq!(y, x * 2.0);
}

proptest! {
    #[test]
    fn sites_print_and_parse(part in 0_usize..4, block in 0_usize..200, point in 0..Point::ALL.len()) {
        let (part, point) = (Part::ALL[part], Point::ALL[point]);
        for site in [Site::of(part, point), Site::block(part, block, point)] {
            if let Ok(parsed) = site.to_string().parse::<Site>() {
                prop_assert_eq!(parsed, site);
                prop_assert!(Selector::from(site).matches(&site));
            }
        }
        // exactly one of the two forms is a place
        let forms = [Site::of(part, point), Site::block(part, block, point)];
        prop_assert_eq!(forms.iter().filter(|s| s.to_string().parse::<Site>().is_ok()).count(), 1);
    }

    #[test]
    fn ranges_choose_their_blocks(from in 0_usize..10, length in 1_usize..10, block in 0_usize..20) {
        let selector: Selector = format!("text.blocks.{from}..{}.attn.{{q,k}}", from + length).parse().unwrap();
        let inside = (from..from + length).contains(&block);
        prop_assert_eq!(selector.matches(&Site::block(Part::Text, block, Point::Q)), inside);
        prop_assert!(!selector.matches(&Site::block(Part::Text, block, Point::V)));
    }

    #[test]
    fn draws_depend_on_the_item_alone(seed: u64, item: u64) {
        let draw = Seed(seed).at(item);
        prop_assert_eq!(draw, Seed(seed).at(item));
        prop_assert!((0.0..1.0).contains(&draw.unit()));
        prop_assert_ne!(draw, Seed(seed).at(item.wrapping_add(1)));
    }
}
