//! A head on states as a subject, and influence where it is arithmetic.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use mmlens_core::finding::{CautionKind, Tolerance};
use mmlens_core::{Analysis, Case, Fit, On, Plan, Sample, Seed, Site, Subject, Words, from_fn};
use mmlens_engine::Logistic;
use mmlens_testkit::{checkpoint, subject_breaches};
use mmlens_training::influence::{Projected, Settings};
use mmlens_training::{GradientSimilarity, Headed, TracIn, Trak, trak};

use crate::support::{numbers, said, shown};

const PICTURES: [&str; 4] = ["square", "wide", "tall", "clip-0"];

fn case(at: usize, class: u32) -> Case {
    said(shown(PICTURES[at], Words::Texts(vec!["a red square".to_owned()])), class)
}

fn states(inner: &dyn Subject, site: Site) -> Vec<Vec<f64>> {
    let of = |at: usize| -> Vec<f64> {
        let inputs = inner.encode(&case(at, 0).sample).unwrap();
        let trace = inner.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
        let states: Tensor<2> = trace.tensor(site).unwrap();
        states.into_data().try_to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
    };
    (0..PICTURES.len()).map(of).collect()
}

/// A head of three classes with weights that follow from their places, as large as is said; and the states it is on.
fn headed(scale: f64) -> (Headed, Logistic, Vec<Vec<f64>>) {
    let inner: Arc<dyn Subject> =
        Arc::from(mmlens_zoo::open(checkpoint("clip-a"), &Device::default()).unwrap());
    let site: Site = "vision.projected".parse().unwrap();
    let states = states(inner.as_ref(), site);
    let width = states[0].len();
    let weight = |class: usize, at: usize| scale * f64::from(((7 * class + 3 * at) % 5) as u32 as f32 - 2.0);
    let weights = (0..3).map(|class| (0..width).map(|at| weight(class, at)).collect()).collect();
    let head = Logistic { weights, intercepts: vec![0.1, 0.0, -0.1] };
    let classes = ["red", "blue", "green"].map(str::to_owned).to_vec();
    (Headed::new(inner, site, classes, &head).unwrap(), head, states)
}

#[test]
fn a_head_is_a_subject() {
    let (subject, head, states) = headed(0.3);
    let inputs = subject.encode(&case(1, 0).sample).unwrap();
    // Words are the other subject's affair: the pass ends before them.
    assert_eq!(
        subject_breaches(&subject, &inputs),
        ["bad inputs: a token outside the vocabulary is accepted"]
    );
    let none = inputs.clone().with(|batch| batch.seen.of_rows[0].clear());
    assert!(none.and_then(|none| subject.run(&none, Plan::new())).is_err());
    assert_eq!((subject.tokens("blue").unwrap(), subject.token(2)), (vec![1], "green".to_owned()));
    assert!(subject.tokens("pink").unwrap_err().to_string().contains("`pink` is none of its classes"));
    let trace = subject.run(&inputs, Plan::new().to_output()).unwrap();
    let logits: [f32; 3] = trace.output().logits.as_ref().unwrap().to_values().unwrap().try_into().unwrap();
    let wanted = head.log_probabilities(&states[1]);
    let off: Vec<f64> = logits.iter().map(|logit| f64::from(logit - logits[0])).collect();
    let wanted: Vec<f64> = wanted.iter().map(|log| log - wanted[0]).collect();
    let off: Vec<f32> = off.iter().map(|x| *x as f32).collect();
    Tolerance::either(1e-5, 1e-5).check("logits", &off, &wanted).unwrap();
    // Rows that show two pictures, in turn.
    let pictures = [0, 1].map(|at| shown(PICTURES[at], Words::Nothing).pictures).concat();
    let sample = Sample::new(pictures, Words::Texts(vec!["red".to_owned(), "blue".to_owned()]));
    let both = subject.encode(&sample).unwrap();
    assert!(subject.run(&both, Plan::new()).unwrap_err().to_string().contains("a row of 2 pictures"));
    let turned = both.with(|batch| batch.seen.of_rows = vec![vec![1], vec![0]]).unwrap();
    let trace = subject.run(&turned, Plan::new().to_output()).unwrap();
    let said = trace.output().logits.as_ref().unwrap().to_values().unwrap();
    Tolerance::either(1e-5, 1e-5).check("turned", &said[..3], &logits.map(f64::from)).unwrap();
    assert!((said[3] - said[0]).abs() > 1e-4);
    // Two classes have one vector, that of the second.
    let two = Logistic { weights: vec![head.weights[0].clone()], intercepts: vec![0.5] };
    let inner: Arc<dyn Subject> =
        Arc::from(mmlens_zoo::open(checkpoint("clip-a"), &Device::default()).unwrap());
    let site: Site = "vision.projected".parse().unwrap();
    let names = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>();
    assert!(Headed::new(inner.clone(), site, names(2), &two).is_ok());
    assert!(Headed::new(inner.clone(), site, names(3), &two).is_err());
    let stream: Site = "vision.blocks.0.resid_post".parse().unwrap();
    let said = Headed::new(inner, stream, names(2), &two).unwrap_err().to_string();
    assert!(said.contains("is no site of one vector for each picture"), "{said}");
}

/// `grad_W ln p(c) = (1_c - p) h^T`, so that the product of two gradients is `((1_c - p) . (1_c' - p')) (h . h')`.
#[test]
fn products_on_a_head_are_arithmetic() {
    let (subject, head, states) = headed(0.3);
    let classes = [0_u32, 2, 1, 0];
    let data = from_fn("pictures", 4, move |i| Ok(case(i, classes[i])));
    let settings = Settings { projected: Projected::None, ..Settings::default() };
    let learned = TracIn::new(settings).unwrap().learn(&On::new(&subject), &data, Seed(1)).unwrap();
    let off = |at: usize, class: u32| -> Vec<f64> {
        let logs = head.log_probabilities(&states[at]);
        let own = logs.iter().enumerate();
        own.map(|(at, log)| f64::from(u8::from(at == class as usize)) - log.exp()).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (at, class) in [(0, 0), (2, 2), (3, 1)] {
        let found = learned.fitted.run(&subject, &case(at, class)).unwrap();
        let own = off(at, class);
        let wanted: Vec<f64> = (0..4)
            .map(|train| dot(&off(train, classes[train]), &own) * dot(&states[train], &states[at]))
            .collect();
        Tolerance::either(1e-4, 1e-5).check("products", numbers(&found, "scores"), &wanted).unwrap();
    }
}

/// Of an answer that is nearly certain the gradient is nearly zero: every method that takes it says so, and of others nothing is said.
#[test]
fn an_answer_that_is_certain_is_cautioned_of() {
    let kinds = |scale: f64, surest: bool| -> [Vec<CautionKind>; 3] {
        let (subject, head, states) = headed(scale);
        let ranked = |at: usize| {
            let logs = head.log_probabilities(&states[at]);
            let mut order = vec![0_usize, 1, 2];
            order.sort_by(|a, b| logs[*b].total_cmp(&logs[*a]));
            order
        };
        let data = from_fn("pictures", 4, move |i| Ok(case(i, [0, 2, 1, 0][i])));
        let explained = case(0, ranked(0)[if surest { 0 } else { 1 }] as u32);
        let on = On::new(&subject);
        let whole = Settings { projected: Projected::None, ..Settings::default() };
        let trak = trak::Settings { projected: Projected::None, ridge: 0.5, ..trak::Settings::default() };
        let found = [
            TracIn::new(whole.clone())
                .unwrap()
                .learn(&on, &data, Seed(1))
                .unwrap()
                .fitted
                .run(&subject, &explained),
            GradientSimilarity::new(whole)
                .unwrap()
                .learn(&on, &data, Seed(1))
                .unwrap()
                .fitted
                .run(&subject, &explained),
            Trak::new(trak).unwrap().learn(&on, &data, Seed(1)).unwrap().fitted.run(&subject, &explained),
        ];
        found.map(|found| found.unwrap().cautions().iter().map(|caution| caution.kind).collect())
    };
    for sure in kinds(3000.0, true) {
        assert!(sure.contains(&CautionKind::Saturated), "{sure:?}");
    }
    for (open, surest) in [(kinds(0.1, true), true), (kinds(0.3, false), false)] {
        for kinds in open {
            assert!(!kinds.contains(&CautionKind::Saturated), "{kinds:?} {surest}");
        }
    }
}
