//! Some layers and heads are those of all, and nothing else.

use mmlens_core::finding::{Finding, Tolerance};
use mmlens_core::{
    Analysis, AnyTensor, AxisName, Change, Given, Method, Objective, On, Pair, Part, Plan, Point, Region,
    Sample, Site, Subject,
};
use mmlens_engine::{Indices, Positions, score};
use mmlens_model::activation_patching::{self, ActivationPatching, Places};
use mmlens_model::attention_knockout::{self, AttentionKnockout, Edges};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::logit_lens::{self, LogitLens};
use mmlens_testkit::Toy;
use serde_json::json;

use crate::identities::asked;
use crate::support::{about, llava, numbers, question, scalar, shown, site};

/// Other variants share a pass, so that sums are grouped in another way.
const ROUNDING: Tolerance = Tolerance::either(2e-6, 1e-5);

fn pair() -> Pair {
    let clean = about(shown(&["square"], "<image>Red?"), Objective::logit(5));
    Pair { clean, corrupted: shown(&["rgba"], "<image>Bad?") }
}

fn of(finding: &Finding, table: &str) -> (Vec<usize>, Vec<f32>) {
    let table = finding.table(table).unwrap();
    (table.shape(), table.as_numbers().unwrap().to_vec())
}

/// Every table of `some` whose first axis is the layer holds the rows of `all` at these layers.
fn rows_of(all: &Finding, some: &Finding, tables: &[&str], layers: &[usize], names: &[&str]) {
    for name in tables {
        let ((shape, all), (own, some_of)) = (of(all, name), of(some, name));
        assert_eq!(own[1..], shape[1..], "{name}");
        let wide: usize = shape[1..].iter().product();
        let rows: Vec<f32> =
            layers.iter().flat_map(|layer| all[layer * wide..(layer + 1) * wide].iter().copied()).collect();
        ROUNDING.check(name, &some_of, &rows).unwrap();
        let axis = &some.table(name).unwrap().axes()[0];
        let labels: Vec<String> = (0..axis.len()).filter_map(|at| axis.label(at)).collect();
        assert_eq!(labels, names, "{name}");
    }
}

#[test]
fn some_layers_are_rows_of_all() {
    let (subject, pair) = (llava("llava-a"), pair());
    let some = || Indices::At(vec![2, 0]);
    let patching = |layers| {
        let points = vec![Point::ResidPre, Point::MlpOut];
        let settings = activation_patching::Settings { points, layers, ..Default::default() };
        ActivationPatching::new(settings).unwrap().run(subject, &pair).unwrap()
    };
    let tables = ["resid_pre", "resid_pre/effect", "mlp_out", "mlp_out/patched"];
    rows_of(&patching(Indices::All), &patching(some()), &tables, &[0, 2], &["0", "2"]);

    let attribution = |layers| {
        let settings = attribution_patching::Settings { layers, ..Default::default() };
        AttributionPatching::new(settings).unwrap().run(subject, &pair).unwrap()
    };
    let tables = ["resid_pre", "attn.z/heads", "attn.z/heads and tokens", "mlp.post/neurons"];
    rows_of(&attribution(Indices::All), &attribution(some()), &tables, &[0, 2], &["0", "2"]);

    let lens = |layers| {
        let settings = logit_lens::Settings { layers, ..Default::default() };
        LogitLens::new(settings).unwrap().run(subject, &pair.clean).unwrap()
    };
    // Depths begin before block 0, and the last is always there.
    let tables = ["target", "probabilities", "entropy", "divergence", "target rank"];
    let depths = ["after block 0", "after block 2"];
    rows_of(&lens(Indices::All), &lens(Indices::At(vec![0])), &tables, &[1, 3], &depths);
}

#[test]
fn some_layers_of_a_cut_are_columns_of_all() {
    let subject = llava("llava-a");
    let run = |layers, window| {
        let settings = attention_knockout::Settings { layers, window: Some(window), ..Default::default() };
        AttentionKnockout::new(settings).unwrap().run(subject, &question()).unwrap()
    };
    for window in [1, 2] {
        let (all, some) = (run(Indices::All, window), run(Indices::At(vec![1]), window));
        let ((shape, all), (own, some)) = (of(&all, "change"), of(&some, "change"));
        assert_eq!(own, [shape[0], 1]);
        let column: Vec<f32> = all.iter().skip(1).step_by(shape[1]).copied().collect();
        ROUNDING.check("change", &some, &column).unwrap();
    }
}

/// What the objective is if the clean value of some heads at one position stands in the corrupted run, by a plan alone.
fn patched(subject: &dyn Subject, pair: &Pair, at: Site, head: usize, position: usize) -> f32 {
    let [clean, corrupted] = [&pair.clean.sample, &pair.corrupted].map(|s| subject.encode(s).unwrap());
    let read = |inputs| {
        let trace = subject.run(inputs, Plan::new().read(at).unwrap()).unwrap();
        let value = trace.get(at).unwrap();
        (value.dims(), value.to_values().unwrap())
    };
    let ((dims, own), (_, mut other)) = (read(&clean), read(&corrupted));
    let [_, _, heads, wide] = dims[..] else { panic!("{dims:?}") };
    let from = (position * heads + head) * wide;
    other[from..from + wide].copy_from_slice(&own[from..from + wide]);
    let value = AnyTensor::from_values(other, &dims, &mmlens_core::device::host()).unwrap();
    let plan = Plan::new().set(at, value).unwrap().objective(Objective::logit(5));
    score(&subject.run(&corrupted, plan).unwrap()).unwrap()
}

#[test]
fn heads_are_put_back_one_by_one() {
    let (subject, pair) = (llava("llava-a"), pair());
    let run = |heads, rows| {
        let points = vec![Point::Z];
        let settings = activation_patching::Settings { points, heads, rows, ..Default::default() };
        ActivationPatching::new(settings).unwrap().run(subject, &pair).unwrap()
    };
    let all = run(Some(Indices::All), 32);
    let (shape, values) = of(&all, "attn.z/patched");
    let [layers, heads, positions] = shape[..] else { panic!("{shape:?}") };
    assert!(heads > 1 && layers == 3);
    for (layer, head, position) in [(0, 1, 1), (1, 0, positions - 1), (2, heads - 1, positions - 2)] {
        let at = Site::block(Part::Text, layer, Point::Z);
        let wanted = patched(subject, &pair, at, head, position);
        let found = values[(layer * heads + head) * positions + position];
        assert!((found - wanted).abs() < 1e-5, "layer {layer}, head {head}, {position}: {found}, {wanted}");
    }
    // One head of them is its slice, whatever shares a pass with it.
    let one = of(&run(Some(Indices::At(vec![1])), 3), "attn.z/patched").1;
    let slice: Vec<f32> = (0..layers)
        .flat_map(|layer| {
            values[(layer * heads + 1) * positions..(layer * heads + 2) * positions].iter().copied()
        })
        .collect();
    ROUNDING.check("head 1", &one, &slice).unwrap();
}

#[test]
fn edges_are_cut_in_the_heads_that_are_named() {
    let (subject, case) = (llava("llava-a"), about(question().sample, Objective::logit(5)));
    let inputs = subject.encode(&case.sample).unwrap();
    let last = inputs.positions() - 1;
    let run = |heads| {
        let edges = vec![Edges::between(Positions::Pictures, Positions::Last)];
        let settings =
            attention_knockout::Settings { edges: Some(edges), heads, window: Some(1), ..Default::default() };
        AttentionKnockout::new(settings).unwrap().run(subject, &case).unwrap()
    };
    let heads = {
        let at = Site::block(Part::Text, 0, Point::Scores);
        subject.dims(&inputs, at).unwrap()[1]
    };
    let every = run(Indices::At((0..heads).collect()));
    ROUNDING.check("all heads", numbers(&every, "change"), numbers(&run(Indices::All), "change")).unwrap();
    // Head 1 alone, by a plan.
    let found = run(Indices::At(vec![1]));
    let pictured: Vec<usize> = Positions::Pictures.of(inputs.map()).unwrap();
    for layer in 0..3 {
        let region = Region::all().heads([1]).of(AxisName::Query, [last]).of(AxisName::Key, pictured.clone());
        let at = Site::block(Part::Text, layer, Point::Scores);
        let plan = Plan::new().change(at, region, Change::Mask).unwrap();
        let value = score(&subject.run(&inputs, plan.objective(Objective::logit(5))).unwrap()).unwrap();
        let wanted = value - scalar(&found, "objective");
        let change = numbers(&found, "change")[layer];
        assert!((change - wanted).abs() < 1e-5, "layer {layer}: {change}, {wanted}");
    }
}

#[test]
fn named_sites_begin_where_words_and_pictures_do() {
    let (subject, case) = (llava("llava-a"), question());
    let run = |settings: integrated_gradients::Settings| {
        IntegratedGradients::new(settings).unwrap().run(subject, &case).unwrap()
    };
    let sites = vec![site("vision.pixels"), site("text.embed")];
    let default = run(integrated_gradients::Settings::default());
    let named = run(integrated_gradients::Settings { sites: Some(sites), ..Default::default() });
    assert_eq!(numbers(&default, "text.embed/tokens"), numbers(&named, "text.embed/tokens"));
    assert_eq!(default.provenance.baseline, named.provenance.baseline);
}

#[test]
fn places_that_are_not_there_are_refused() {
    let (toy, words) = (Toy::curved(3), asked(1, "abc", 4));
    let pair = Pair { clean: words, corrupted: Sample::prompt(vec![crate::support::painted(2)], "#xyz") };
    let said = |settings| {
        ActivationPatching::new(settings).and_then(|method| method.run(&toy, &pair)).unwrap_err().to_string()
    };
    let base = activation_patching::Settings::default;
    let layers = Indices::At(vec![0, 40]);
    let past = said(activation_patching::Settings { layers, ..base() });
    assert!(past.starts_with("activation-patching: layers = 40, of "), "{past}");
    let heads = Some(Indices::All);
    let none = said(activation_patching::Settings { heads: heads.clone(), ..base() });
    assert_eq!(none, "activation-patching needs points that have heads, but `resid_pre` has none");
    let heads = Some(Indices::At(vec![99]));
    let points = vec![Point::Z];
    let past = said(activation_patching::Settings { heads, points, places: Places::Together, ..base() });
    assert!(past.starts_with("activation-patching: heads = 99, of "), "{past}");
    for (method, settings) in [
        ("knockout", json!({ "layers": { "at": [] } })),
        ("knockout", json!({ "heads": { "at": [77] } })),
        ("logit-lens", json!({ "layers": { "at": [77] } })),
        ("attribution", json!({ "layers": { "at": [77] } })),
    ] {
        let method: &Method = mmlens_model::METHODS.iter().find(|m| m.is_called(method)).unwrap();
        let given = Given { case: pair.clean.clone(), corrupted: None, many: None };
        let given = given.against(pair.corrupted.clone());
        let refused = method.make(settings).unwrap().run_given(&On::new(&toy), &given);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("layers = ") || said.contains("heads = "), "{said}");
    }
    let along = Some(Vec::new());
    let sites = Some(vec![site("text.embed")]);
    let both = integrated_gradients::Settings { along, sites, ..Default::default() };
    assert!(IntegratedGradients::new(both).unwrap_err().to_string().contains("sites = beside `along`"));
}
