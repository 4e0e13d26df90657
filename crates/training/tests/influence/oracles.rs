//! Against torch, captum and traker.

use std::sync::Arc;

use burn::tensor::Device;
use mmlens_core::Analysis;
use mmlens_core::finding::Tolerance;
use mmlens_core::{Case, Fit, Inputs, Objective, On, Sample, Seed, Subject, Unwatched, Words, from_fn};
use mmlens_engine::{Logistic, WeightFactors, WeightGradients, gradient_product};
use mmlens_testkit::{Oracle, checkpoint};
use mmlens_training::influence::{Projected, Settings};
use mmlens_training::{Ensemble, Headed, TracIn, Trak, trac_in, trak};
use serde_json::Value;

use crate::support::{numbers, opened, said, shown};

/// Gradients in f32 on either side, summed in another order.
const SAME: Tolerance = Tolerance::either(2e-5, 2e-6);

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn factors(
    weights: &WeightGradients,
    subject: &dyn Subject,
    (inputs, token): (&Inputs, u32),
) -> Vec<WeightFactors> {
    let plan = weights.plan(&Objective::log_probability(token)).unwrap();
    weights.factors(&subject.run(inputs, plan).unwrap()).unwrap()
}

/// Products of all pairs of cases.
fn products(weights: &WeightGradients, subject: &dyn Subject, cases: &[(Sample, u32)]) -> Vec<f32> {
    let each = cases.iter().map(|(sample, token)| {
        let inputs = subject.encode(sample).unwrap().all_logits();
        factors(weights, subject, (&inputs, *token))
    });
    let each: Vec<Vec<WeightFactors>> = each.collect();
    let pairs = each.iter().flat_map(|a| each.iter().map(move |b| gradient_product(a, b).unwrap() as f32));
    pairs.collect()
}

#[test]
fn products_of_gradients_are_those_of_autograd() {
    let oracle = Oracle::open("methods/influence-llava-a").unwrap();
    let (prompts, pictures) = (texts(&oracle.about()["prompts"]), texts(&oracle.about()["pictures"]));
    let targets = oracle.array("targets").unwrap().ids();
    let subject = opened("llava-a");
    let prompted = prompts.into_iter().zip(&pictures).zip(&targets);
    let cases: Vec<(Sample, u32)> = prompted
        .map(|((prompt, picture), target)| (shown(picture, Words::Prompt(prompt)), *target))
        .collect();
    let all = WeightGradients::of(subject, &[]).unwrap();
    assert_eq!(all.numbers() as u64, oracle.about()["numbers"].as_u64().unwrap());
    let down = WeightGradients::of(subject, &["text.blocks.1.mlp.down".to_owned()]).unwrap();
    for (name, weights) in [("product", &all), ("down", &down)] {
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

fn of_pictures(oracle: &Oracle) -> Vec<(Sample, u32)> {
    let targets = oracle.array("targets").unwrap().ids();
    let pictures = texts(&oracle.about()["pictures"]).into_iter().zip(targets);
    pictures.map(|(picture, target)| (shown(&picture, Words::Nothing), target)).collect()
}

#[test]
fn tracin_is_that_of_captum_and_trak_that_of_traker() {
    let oracle = Oracle::open("methods/influence-vit-a").unwrap();
    let (subject, cases) = (opened("vit-a"), of_pictures(&oracle));
    let cases: Vec<Case> = cases.into_iter().map(|(sample, token)| said(sample, token)).collect();
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
    let cases: Vec<Case> =
        of_pictures(&oracle).into_iter().map(|(sample, token)| said(sample, token)).collect();
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
