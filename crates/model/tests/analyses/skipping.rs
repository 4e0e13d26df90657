//! Layers left out: against transformers, against identities.

use mmlens_core::finding::Tolerance;
use mmlens_core::{Analysis, Case, Objective, Part, Plan, Point, Sample, Site, Subject};
use mmlens_engine::{Indices, score};
use mmlens_model::layer_skipping::{self, LayerSkipping};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{about, captioned, llava, numbers, opened, question, scalar};

/// Logits in f32, of passes that begin at different blocks.
const LOGIT: Tolerance = Tolerance::either(1e-5, 1e-5);

fn run(
    subject: &dyn Subject,
    case: &mmlens_core::Case,
    settings: layer_skipping::Settings,
) -> mmlens_core::finding::Finding {
    LayerSkipping::new(settings).unwrap().run(subject, case).unwrap()
}

#[test]
fn layers_left_out_are_those_of_hooks_in_transformers() {
    let oracle = Oracle::open("methods/skipping").unwrap();
    let wanted = |name: &str| oracle.array(name).unwrap().values.clone();
    let base = layer_skipping::Settings::default;
    let found = LayerSkipping::new(layer_skipping::Settings::default())
        .unwrap()
        .run(llava("llava-a"), &question())
        .unwrap();
    println!("change {:?}", LOGIT.check("change", numbers(&found, "change"), &wanted("change")).unwrap());
    LOGIT.check("influence", numbers(&found, "influence by position"), &wanted("influence")).unwrap();
    let mean: Vec<f64> = wanted("influence").chunks(30).map(|own| own.iter().sum::<f64>() / 30.0).collect();
    LOGIT.check("influence", numbers(&found, "influence"), &mean).unwrap();
    let two = run(llava("llava-a"), &question(), layer_skipping::Settings { window: 2, ..base() });
    LOGIT.check("pairs", numbers(&two, "change"), &wanted("pairs")).unwrap();
    let layers = Indices::At(vec![1]);
    let one = run(llava("llava-a"), &question(), layer_skipping::Settings { layers, ..base() });
    LOGIT.check("one", numbers(&one, "change"), &wanted("change")[1..2]).unwrap();
}

/// Of words alone, with norms that take off means and positions that are learned, and of the tower of a dual encoder.
#[test]
fn layers_left_out_of_other_kinds_are_those_of_hooks_in_transformers() {
    let oracle = Oracle::open("methods/skipping").unwrap();
    let said = |key: &str| oracle.about()[key].as_str().unwrap().to_owned();
    let asked = Case::new(Sample::prompt(vec![], said("gpt2-a")));
    let compared = about(captioned("square", &[said("clip-a").as_str()]), Objective::Similarity);
    for (name, part, case) in [("gpt2-a", Part::Text, asked), ("clip-a", Part::Vision, compared)] {
        let wanted = |what: &str| oracle.array(&format!("{name}/{what}")).unwrap();
        let settings = layer_skipping::Settings { part: Some(part), ..Default::default() };
        let one = run(opened(name), &case, settings.clone());
        let two = run(opened(name), &case, layer_skipping::Settings { window: 2, ..settings });
        for (found, what) in [(&one, "change"), (&two, "pairs")] {
            let gap = LOGIT.check(what, numbers(found, "change"), &wanted(what).values).unwrap();
            println!("{name}, {what}: {gap:?}");
        }
        let each = wanted("influence");
        let mean = each.values.chunks(each.dims[1]).map(|own| own.iter().sum::<f64>() / own.len() as f64);
        let gap = LOGIT.check("influence", numbers(&one, "influence"), &mean.collect::<Vec<_>>()).unwrap();
        println!("{name}, influence: {gap:?}");
    }
}

proptest! {
    #![proptest_config(few())]

    /// Without any layer what is left is the embedding alone, read out; and how many share a pass decides nothing.
    #[test]
    fn without_all_layers_the_embedding_speaks(seed in 0..99_u64, word in "[a-f]{2,5}", rows in 1..5_usize) {
        let (toy, case) = (Toy::curved(seed), asked(1, &word, 3));
        let blocks = toy.anatomy().iter().find(|own| own.part == Part::Text).unwrap().blocks;
        let all = run(&toy, &case, layer_skipping::Settings { window: blocks, rows, ..Default::default() });
        let inputs = toy.encode(&case.sample).unwrap();
        let [first, last] = [(0, Point::ResidPre), (blocks - 1, Point::ResidPost)].map(|(l, p)| Site::block(Part::Text, l, p));
        let trace = toy.run(&inputs, Plan::new().read(first).unwrap()).unwrap();
        let mmlens_core::Target::Objective(objective) = &case.target else { panic!() };
        let plan = Plan::new().set(last, trace.get(first).unwrap().clone()).unwrap().objective(objective);
        let bare = score(&toy.run(&inputs, plan).unwrap()).unwrap();
        let change = numbers(&all, "change");
        prop_assert_eq!(change.len(), 1);
        prop_assert!((change[0] - (bare - scalar(&all, "objective"))).abs() < 1e-5);
        let one = run(&toy, &case, layer_skipping::Settings { rows: 1, ..Default::default() });
        let many = run(&toy, &case, layer_skipping::Settings { rows, ..Default::default() });
        LOGIT.check("rows", numbers(&one, "change"), numbers(&many, "change")).unwrap();
    }
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let (toy, case) = (Toy::curved(1), asked(1, "abc", 2));
    let said = |settings| {
        LayerSkipping::new(settings).and_then(|method| method.run(&toy, &case)).unwrap_err().to_string()
    };
    let base = layer_skipping::Settings::default;
    assert_eq!(
        said(layer_skipping::Settings { window: 0, ..base() }),
        "layer-skipping: window = 0, but it must be at least 1"
    );
    let wide = said(layer_skipping::Settings { window: 99, ..base() });
    assert!(
        wide.starts_with("layer-skipping: window = 99, of ") && wide.ends_with("no more than there are"),
        "{wide}"
    );
    let past = said(layer_skipping::Settings { layers: Indices::At(vec![40]), ..base() });
    assert!(past.contains("layers = 40, of "), "{past}");
    let _: Option<Sample> = None;
}
