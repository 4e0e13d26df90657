//! Against torch, captum and traker.

use std::sync::Arc;

use burn::tensor::Device;
use mmlens_core::Analysis;
use mmlens_core::finding::Tolerance;
use mmlens_core::{
    Case, Fit, Inputs, Objective, On, Sample, Seed, Subject, Target, Unwatched, Words, from_fn,
};
use mmlens_engine::{Logistic, Positions, WeightFactors, WeightGradients, gradient_product};
use mmlens_testkit::{Oracle, Toy, checkpoint};
use mmlens_training::influence::{Projected, Settings};
use mmlens_training::{
    Bm25, Ensemble, FeatureSimilarity, GradientSimilarity, Headed, TracIn, Trak, bm25, feature_similarity,
    trac_in, trak,
};
use serde_json::Value;

use crate::support::{numbers, opened, said, shown};

/// Gradients in f32 on either side, summed in another order.
const SAME: Tolerance = Tolerance::either(2e-5, 2e-6);
/// Of single numbers of two rows of a matrix beside the largest of these, which may be small in its matrix: what f32 leaves of a pass and its
/// gradient, the other side being f64. Measured 9.3e-6 in the last block of a tower that is read.
const ROUNDING: f64 = 2e-5;

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn factors(
    weights: &WeightGradients,
    subject: &dyn Subject,
    (inputs, objective): (&Inputs, &Objective),
) -> Vec<Option<WeightFactors>> {
    let plan = weights.plan(objective, inputs).unwrap();
    weights.factors(inputs, &subject.run(inputs, plan).unwrap()).unwrap()
}

/// Products of all pairs of cases.
fn products(weights: &WeightGradients, subject: &dyn Subject, cases: &[(Sample, Objective)]) -> Vec<f32> {
    let each = cases.iter().map(|(sample, objective)| {
        let inputs = subject.encode(sample).unwrap().all_logits();
        factors(weights, subject, (&inputs, objective))
    });
    let each: Vec<Vec<Option<WeightFactors>>> = each.collect();
    let pairs = each.iter().flat_map(|a| each.iter().map(move |b| gradient_product(a, b).unwrap() as f32));
    pairs.collect()
}

#[test]
fn products_of_gradients_are_those_of_autograd() {
    let oracle = Oracle::open("methods/influence-llava-a").unwrap();
    let subject = opened("llava-a");
    let cases = prompted(&oracle, &oracle.array("targets").unwrap().ids());
    let of = |pattern: &str| WeightGradients::of(subject, &[pattern.to_owned()]).unwrap();
    let [all, down, tower, connector] = ["text", "text.blocks.1.mlp.down", "vision", "connector"].map(of);
    assert_eq!(all.numbers() as u64, oracle.about()["numbers"].as_u64().unwrap());
    assert_eq!((tower.numbers() + connector.numbers()) as u64, oracle.about()["seen"].as_u64().unwrap());
    let whole = WeightGradients::of(subject, &[]).unwrap();
    assert_eq!(whole.len(), all.len() + tower.len() + connector.len());
    let parts = [("product.vision", &tower), ("product.connector", &connector)];
    for (name, weights) in [("product", &all), ("down", &down)].into_iter().chain(parts) {
        let found = products(weights, subject, &cases);
        let gap = SAME.check(name, &found, &oracle.array(name).unwrap().values).unwrap();
        println!("llava-a {name}: {:.1e}", gap.relative);
    }
    let oracle = Oracle::open("methods/influence-vit-a").unwrap();
    let subject = opened("vit-a");
    let cases = of_pictures(&oracle);
    let found = products(&WeightGradients::of(subject, &[]).unwrap(), subject, &cases);
    let gap = SAME.check("vit-a", &found, &oracle.array("product").unwrap().values).unwrap();
    println!("vit-a product: {:.1e}", gap.relative);
}

/// Cases of an oracle with a prompt and a picture each, of which the log-probability of a target is explained.
fn prompted(oracle: &Oracle, targets: &[u32]) -> Vec<(Sample, Objective)> {
    let prompts = texts(&oracle.about()["prompts"]).into_iter();
    let cases = prompts.zip(texts(&oracle.about()["pictures"])).zip(targets);
    let of = |((prompt, picture), target): ((String, String), &u32)| {
        (shown(&picture, Words::Prompt(prompt)), Objective::log_probability(*target))
    };
    cases.map(of).collect()
}

fn of_pictures(oracle: &Oracle) -> Vec<(Sample, Objective)> {
    let targets = oracle.array("targets").unwrap().ids();
    let pictures = texts(&oracle.about()["pictures"]).into_iter().zip(targets);
    let of = |(picture, target): (String, u32)| {
        (shown(&picture, Words::Nothing), Objective::log_probability(target))
    };
    pictures.map(of).collect()
}

fn explained((sample, objective): (Sample, Objective)) -> Case {
    Case { sample, target: Target::Objective(objective) }
}

/// Matrix by matrix, in towers, the connector and both sides of a dual encoder; and products of all pairs of cases, part by part.
#[test]
fn gradients_of_towers_and_connectors_are_those_of_autograd() {
    for name in ["llava-a", "clip-a"] {
        let oracle = Oracle::open(&format!("methods/influence-{name}")).unwrap();
        let subject = opened(name);
        let cases = match name {
            "llava-a" => prompted(&oracle, &oracle.array("targets").unwrap().ids()),
            _ => {
                let pairs = texts(&oracle.about()["pictures"]).into_iter();
                let pairs = pairs.zip(texts(&oracle.about()["captions"]));
                let of = |(picture, text): (String, String)| {
                    (shown(&picture, Words::Texts(vec![text])), Objective::Similarity)
                };
                pairs.map(of).collect()
            }
        };
        let (sample, objective) = &cases[0];
        let inputs = subject.encode(sample).unwrap().all_logits();
        let (mut compared, mut worst) = (0, (0.0_f64, String::new()));
        for (own, wanted) in oracle.arrays() {
            let Some(own) = own.strip_prefix("gradient.") else { continue };
            let weights = WeightGradients::of(subject, &[own.to_owned()]).unwrap();
            let factors = factors(&weights, subject, (&inputs, objective));
            let found = weights.whole(&factors, None).unwrap().concat();
            // The first two rows.
            let any = Tolerance::relative(1.0);
            let gap = any.check(own, &found[..wanted.values.len()], &wanted.values).unwrap().relative;
            compared += 1;
            // no NaN: scores of findings are finite
            if gap > worst.0 {
                worst = (gap, own.to_owned());
            }
        }
        println!(
            "{name}: {compared} matrices, at most {:.1e} of the largest number, in {}",
            worst.0, worst.1
        );
        assert!(worst.0 < ROUNDING, "{name}: {worst:?}");
        let covered = WeightGradients::of(subject, &[]).unwrap();
        let wanted = covered.names().filter(|own| name != "llava-a" || !own.starts_with("text"));
        assert_eq!(compared, wanted.count(), "{name}");
        for part in ["vision", "connector", "text"] {
            let Ok(wanted) = oracle.array(&format!("product.{part}")) else { continue };
            let weights = WeightGradients::of(subject, &[part.to_owned()]).unwrap();
            let found = products(&weights, subject, &cases);
            let gap = SAME.check(part, &found, &wanted.values).unwrap();
            println!("{name} products of {part}: {:.1e}", gap.relative);
        }
    }
}

/// captum and traker on a matrix of the tower, one of the connector and one of the language model of a LLaVA.
#[test]
fn on_a_llava_tracin_is_that_of_captum_and_trak_that_of_traker() {
    let oracle = Oracle::open("methods/influence-llava-a").unwrap();
    let subject = opened("llava-a");
    let cases: Vec<Case> =
        prompted(&oracle, &oracle.array("targets").unwrap().ids()).into_iter().map(explained).collect();
    let n = cases.len();
    let data = from_fn("pictures", n, {
        let cases = cases.clone();
        move |i| Ok(cases[i].clone())
    });
    let weights = texts(&oracle.about()["few"]);
    let ridge = oracle.about()["ridge"].as_f64().unwrap();
    let on = On::new(subject);
    let settings = Settings { weights: weights.clone(), projected: Projected::None, ..Settings::default() };
    let tracin = TracIn::new(settings).unwrap().learn(&on, &data, Seed(1)).unwrap().fitted;
    let settings = trak::Settings { weights, projected: Projected::None, ridge, ..trak::Settings::default() };
    let trak = Trak::new(settings).unwrap().learn(&on, &data, Seed(1)).unwrap().fitted;
    let (mut by_captum, mut by_trak) = (Vec::new(), Vec::new());
    for case in &cases {
        let found = tracin.run(subject, case).unwrap();
        let parts = found.table("by part").unwrap();
        let named: Vec<String> = (0..parts.shape()[1]).filter_map(|at| parts.axes()[1].label(at)).collect();
        assert_eq!(named, ["vision", "connector", "text at words", "text at pictures"]);
        by_captum.extend_from_slice(numbers(&found, "scores"));
        by_trak.extend_from_slice(numbers(&trak.run(subject, case).unwrap(), "scores"));
    }
    let gap = SAME.check("captum", &by_captum, &oracle.array("captum").unwrap().values).unwrap();
    println!("llava-a, captum: {:.1e}", gap.relative);
    // The oracle has a training case in each row, and here each case has one.
    let turned = |name: &str| -> Vec<f64> {
        let values = &oracle.array(name).unwrap().values;
        (0..n).flat_map(|case| (0..n).map(move |train| train * n + case)).map(|at| values[at]).collect()
    };
    // An inverse in f64; gradients in f32 divided by what is left of one.
    let gap = Tolerance::either(1e-4, 1e-5).check("trak", &by_trak, &turned("trak")).unwrap();
    println!("llava-a, trak: {:.1e}", gap.relative);
    // traker inverts in f32.
    let gap = Tolerance::either(1e-3, 1e-3).check("traker", &by_trak, &turned("traker")).unwrap();
    println!("llava-a, traker: {:.1e}", gap.relative);
}

/// The floors: scikit-learn's cosines of gradients and of states, on two kinds of checkpoint.
#[test]
fn similarities_are_the_cosines_of_scikit_learn() {
    for name in ["llava-a", "vit-a"] {
        let oracle = Oracle::open(&format!("methods/floors-{name}")).unwrap();
        let (about, subject) = (oracle.about(), opened(name));
        let targets = about["targets"].as_array().unwrap().iter();
        let targets: Vec<u32> = targets.map(|target| target.as_u64().unwrap() as u32).collect();
        let cases: Vec<Case> = match name {
            "llava-a" => prompted(&oracle, &targets).into_iter().map(explained).collect(),
            _ => {
                let pictures = texts(&about["pictures"]).into_iter().zip(&targets);
                pictures.map(|(picture, target)| said(shown(&picture, Words::Nothing), *target)).collect()
            }
        };
        let data = from_fn("pictures", cases.len(), {
            let cases = cases.clone();
            move |i| Ok(cases[i].clone())
        });
        let on = On::new(subject);
        let whole =
            Settings { weights: texts(&about["weights"]), projected: Projected::None, ..Settings::default() };
        let gradients = GradientSimilarity::new(whole).unwrap().learn(&on, &data, Seed(1)).unwrap().fitted;
        let positions = if name == "llava-a" { Positions::Last } else { Positions::All };
        let site = about["site"].as_str().unwrap().parse().unwrap();
        let settings = feature_similarity::Settings { site, positions };
        let states = FeatureSimilarity::new(settings).unwrap().learn(&on, &data, Seed(1)).unwrap().fitted;
        let (mut by_gradient, mut by_state) = (Vec::new(), Vec::new());
        for case in &cases {
            by_gradient.extend_from_slice(numbers(&gradients.run(subject, case).unwrap(), "scores"));
            by_state.extend_from_slice(numbers(&states.run(subject, case).unwrap(), "scores"));
        }
        for (what, found) in [("grad", &by_gradient), ("feature", &by_state)] {
            // Cosines of vectors of f32, whose largest is one.
            let gap = Tolerance::absolute(5e-6).check(what, found, &oracle.array(what).unwrap().values);
            println!("{name}, {what}-cos: {:.1e}", gap.unwrap().absolute);
        }
    }
}

/// rank_bm25 with Lucene's idf, in two settings.
#[test]
fn words_are_weighed_as_rank_bm25_does() {
    let oracle = Oracle::open("methods/floors-bm25").unwrap();
    let (asked, queries) = (texts(&oracle.about()["texts"]), texts(&oracle.about()["queries"]));
    let toy = Toy::curved(1);
    let data = from_fn("texts", asked.len(), move |i| Ok(Case::new(Sample::text(asked[i].clone()))));
    for (at, settings) in oracle.about()["settings"].as_array().unwrap().iter().enumerate() {
        let [k1, b] = [0, 1].map(|i| settings[i].as_f64().unwrap());
        if at == 0 {
            assert_eq!(bm25::Settings { k1, b }, bm25::Settings::default());
        }
        let fit = Bm25::new(bm25::Settings { k1, b }).unwrap();
        let learned = fit.learn(&On::new(&toy), &data, Seed(1)).unwrap().fitted;
        let found: Vec<f32> = queries
            .iter()
            .flat_map(|query| {
                let found = learned.run(&toy, &Case::new(Sample::text(query.clone()))).unwrap();
                numbers(&found, "scores").to_vec()
            })
            .collect();
        let wanted = &oracle.array(&format!("scores.{at}")).unwrap().values;
        // Sums in f64, told in f32.
        let gap = Tolerance::relative(1e-6).check("scores", &found, wanted).unwrap();
        println!("bm25 with k1 {k1} and b {b}: {:.1e}", gap.relative);
    }
}

#[test]
fn tracin_is_that_of_captum_and_trak_that_of_traker() {
    let oracle = Oracle::open("methods/influence-vit-a").unwrap();
    let (subject, cases) = (opened("vit-a"), of_pictures(&oracle));
    let cases: Vec<Case> = cases.into_iter().map(explained).collect();
    let n = cases.len();
    let data = from_fn("pictures", n, {
        let cases = cases.clone();
        move |i| Ok(cases[i].clone())
    });
    let weights = vec!["vision.classifier".to_owned()];
    let settings = Settings { weights: weights.clone(), projected: Projected::None, rate: 1.0, features: 1 };
    let tracin = TracIn::new(settings).unwrap().learn(&On::new(subject), &data, Seed(1)).unwrap();
    let own = numbers(&tracin.finding, "self-influence");
    SAME.check("self-influence", own, &oracle.array("captum.self").unwrap().values).unwrap();
    let ridge = oracle.about()["ridge"].as_f64().unwrap();
    let settings = trak::Settings { weights, projected: Projected::None, features: 1, ridge };
    let trak = Trak::new(settings).unwrap().learn(&On::new(subject), &data, Seed(1)).unwrap();
    let (mut by_captum, mut by_trak) = (Vec::new(), Vec::new());
    for case in &cases {
        by_captum.extend_from_slice(numbers(&tracin.fitted.run(subject, case).unwrap(), "scores"));
        by_trak.extend_from_slice(numbers(&trak.fitted.run(subject, case).unwrap(), "scores"));
    }
    let gap = SAME.check("captum", &by_captum, &oracle.array("captum").unwrap().values).unwrap();
    println!("captum: {:.1e}", gap.relative);
    // The oracle has a training case in each row, and here each case has one.
    let turned = |name: &str| -> Vec<f64> {
        let values = &oracle.array(name).unwrap().values;
        (0..n).flat_map(|case| (0..n).map(move |train| train * n + case)).map(|at| values[at]).collect()
    };
    // An inverse in f64; gradients in f32 divided by what is left of one.
    let gap = Tolerance::either(1e-4, 1e-5).check("trak", &by_trak, &turned("trak")).unwrap();
    println!("trak: {:.1e}", gap.relative);
    // traker inverts in f32.
    let gap = Tolerance::either(1e-3, 1e-3).check("traker", &by_trak, &turned("traker")).unwrap();
    println!("traker: {:.1e}", gap.relative);
}

/// Heads on the pooled states of `vit-a`, as models of their own.
fn heads(oracle: &Oracle) -> Vec<Arc<dyn Subject>> {
    let inner: Arc<dyn Subject> =
        Arc::from(mmlens_zoo::open(checkpoint("vit-a"), &Device::default()).unwrap());
    let (heads, bias) = (oracle.array("heads").unwrap(), oracle.array("bias").unwrap());
    let (classes, width) = (heads.dims[1], heads.dims[2]);
    let of = |values: &[f64]| -> Arc<dyn Subject> {
        let weights = values.chunks(width).map(<[f64]>::to_vec).collect();
        let head = Logistic { weights, intercepts: bias.values.clone() };
        let names = (0..classes).map(|class| class.to_string()).collect();
        Arc::new(Headed::new(inner.clone(), "vision.pooled".parse().unwrap(), names, &head).unwrap())
    };
    heads.values.chunks(classes * width).map(of).collect()
}

#[test]
fn over_checkpoints_tracin_is_that_of_captum_and_over_models_trak_takes_means() {
    let oracle = Oracle::open("methods/influence-vit-a").unwrap();
    let models = heads(&oracle);
    let cases: Vec<Case> = of_pictures(&oracle).into_iter().map(explained).collect();
    let n = cases.len();
    let data = from_fn("pictures", n, {
        let cases = cases.clone();
        move |i| Ok(cases[i].clone())
    });
    let ridge = oracle.about()["ridge"].as_f64().unwrap();
    let rates = oracle.about()["rates"].as_array().unwrap().clone();
    let (mut traced, mut traked) = (Vec::new(), Vec::new());
    for (model, rate) in models.iter().zip(&rates) {
        let on = On::new(model);
        let whole =
            Settings { projected: Projected::None, rate: rate.as_f64().unwrap(), ..Settings::default() };
        let learned = TracIn::new(whole).unwrap().learn(&on, &data, Seed(1)).unwrap().fitted;
        traced.push((model.clone(), learned));
        let whole = trak::Settings { projected: Projected::None, ridge, ..trak::Settings::default() };
        let learned = Trak::new(whole).unwrap().learn(&on, &data, Seed(1)).unwrap().fitted;
        traked.push((model.clone(), learned));
    }
    let one = Ensemble::new(traced[1..].to_vec()).unwrap();
    let (alone, single) = (traced[1].1.clone(), traced[1].0.clone());
    let (traced, traked) = (Ensemble::new(traced).unwrap(), Ensemble::new(traked).unwrap());
    let (mut by_captum, mut by_trak) = (Vec::new(), Vec::new());
    for case in &cases {
        by_captum.extend_from_slice(numbers(&traced.run(case, &Unwatched).unwrap(), "scores"));
        by_trak.extend_from_slice(numbers(&traked.run(case, &Unwatched).unwrap(), "scores"));
    }
    let gap = SAME.check("captum", &by_captum, &oracle.array("captum.two").unwrap().values).unwrap();
    println!("captum, two checkpoints: {:.1e}", gap.relative);
    let values = &oracle.array("trak.two").unwrap().values;
    let turned: Vec<f64> =
        (0..n).flat_map(|case| (0..n).map(move |train| train * n + case)).map(|at| values[at]).collect();
    let gap = Tolerance::either(1e-4, 1e-5).check("trak", &by_trak, &turned).unwrap();
    println!("trak, two models: {:.1e}", gap.relative);
    // One model is that model.
    let (by_one, by_itself) =
        (one.run(&cases[2], &Unwatched).unwrap(), alone.run(&single, &cases[2]).unwrap());
    assert_eq!(numbers(&by_one, "scores"), numbers(&by_itself, "scores"));
    assert_eq!(by_one.provenance.settings["models"].as_array().unwrap().len(), 1);
    // Other training cases, or none.
    let fewer = from_fn("pictures", n - 1, move |i| Ok(cases[i].clone()));
    let whole = Settings { projected: Projected::None, ..Settings::default() };
    let other = TracIn::new(whole).unwrap().learn(&On::new(&single), &fewer, Seed(1)).unwrap().fitted;
    let said = Ensemble::new(vec![(single.clone(), alone), (single, other)]).unwrap_err().to_string();
    assert_eq!(
        said,
        "tracin needs the same training cases for every model, but model 1 has learned from others than model 0"
    );
    assert!(Ensemble::<trac_in::Products>::new(Vec::new()).is_err());
}
