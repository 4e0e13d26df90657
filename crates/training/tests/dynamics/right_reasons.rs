//! The penalty and its gradient: against torch differentiating twice, against a closed form, against misuse.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::burn::tensor::Device;
use mmlens_core::finding::{Tolerance, largest};
use mmlens_core::{AnalysisError, AnyTensor, Seed};
use mmlens_engine::normal;
use mmlens_testkit::Oracle;
use mmlens_training::RightReasons;
use proptest::prelude::*;

fn matrix(values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

#[test]
fn slopes_are_those_of_differentiating_twice() {
    let oracle = Oracle::open("methods/right-reasons").unwrap();
    let array = |name: &str| oracle.array(name).unwrap();
    let leaf = |name: &str| {
        let shape = &array(name).dims;
        let shape = [shape[0], shape.get(1).copied().unwrap_or(1)];
        matrix(array(name).f32(), shape).autodiff().require_grad()
    };
    let names = ["w1", "b1", "w2", "b2"];
    let [w1, b1, w2, b2] = names.map(leaf);
    let [x, outside] = ["x", "outside"].map(|name| matrix(array(name).f32(), [5, 6]));
    let labels: Vec<i64> = array("labels").ids().into_iter().map(i64::from).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [5, 1]), &Device::flex());
    let of = |x: Tensor<2>, [w1, b1, w2, b2]: [Tensor<2>; 4]| -> Result<Tensor<1>, AnalysisError> {
        let hidden = (x.matmul(w1.transpose()) + b1.transpose()).tanh();
        let scores = hidden.matmul(w2.transpose()) + b2.transpose();
        Ok(log_softmax(scores, 1).gather(1, labels.clone()).reshape([5]))
    };
    let leaves = || [&w1, &b1, &w2, &b2].map(Tensor::clone);
    let looks = |x| of(x, leaves().map(Tensor::without_autodiff));
    let says = |x| of(x, leaves());
    for lambda in [1.0, 3.0] {
        let term =
            RightReasons { lambda, ..RightReasons::default() }.term(looks, says, &x, &outside).unwrap();
        Tolerance::absolute(1e-6).check("penalty", &[term.penalty], &array("penalty").values).unwrap();
        let grads = term.loss.backward();
        for (name, leaf) in names.iter().zip([&w1, &b1, &w2, &b2]) {
            let found = AnyTensor::new(leaf.grad(&grads).unwrap()).to_values().unwrap();
            let wanted: Vec<f64> =
                array(&format!("{name}.grad")).values.iter().map(|slope| slope * f64::from(lambda)).collect();
            // What a difference over 0.01 leaves, and what is left of f32 in it.
            let most = 1e-3 * largest(&wanted).unwrap();
            let gap = Tolerance::absolute(most).check(name, &found, &wanted).unwrap();
            println!("lambda {lambda}, {name}: {:.1e} of {:.1e}", gap.absolute, largest(&wanted).unwrap());
        }
    }
}

/// Of `sum_j w_j x_j^3` the penalty is `mean_i sum_j (3 a w_j x_j^2)^2`, and its slope `mean_i 18 a w_j x_j^4`.
#[test]
fn cubes_have_a_closed_form() {
    for seed in 0..8 {
        let drawn = |at: u64, count: usize| -> Vec<f32> {
            (0..count as u64).map(|i| normal(Seed(seed).at(at).at(i)) as f32).collect()
        };
        let (cases, width) = (3, 4);
        let w = matrix(drawn(0, width), [1, width]).autodiff().require_grad();
        let (values, weights) = (drawn(1, cases * width), drawn(0, width));
        let mask: Vec<f32> = (0..cases * width).map(|i| f32::from(u8::from(i % 3 != 0))).collect();
        // Weights that are made of leaves are used up by a backward; they are here, too.
        let doubled = w.clone().mul_scalar(2.0);
        let of = |x: Tensor<2>, w: Tensor<2>| -> Result<Tensor<1>, AnalysisError> {
            Ok((x.powi_scalar(3) * w.mul_scalar(0.5)).sum_dim(1).reshape([cases]))
        };
        let looks = |x| of(x, doubled.clone().without_autodiff());
        let says = |x| of(x, doubled.clone());
        let outside = matrix(mask.clone(), [cases, width]);
        let x = matrix(values.clone(), [cases, width]);
        let term = RightReasons::default().term(looks, says, &x, &outside).unwrap();
        let (mut penalty, mut slopes) = (0.0, vec![0.0; width]);
        for (i, (x, a)) in values.iter().zip(&mask).enumerate() {
            let (x, a, w) = (f64::from(*x), f64::from(*a), f64::from(weights[i % width]));
            penalty += (3.0 * a * w * x * x).powi(2) / cases as f64;
            slopes[i % width] += 18.0 * a * w * x.powi(4) / cases as f64;
        }
        Tolerance::relative(1e-5).check("penalty", &[term.penalty], &[penalty]).unwrap();
        let found = AnyTensor::new(w.grad(&term.loss.backward()).unwrap()).to_values().unwrap();
        // Rounding of cubes over twice a hundredth, of the largest slope.
        let most = 2e-3 * largest(&slopes).unwrap();
        Tolerance::absolute(most).check("slopes", &found, &slopes).unwrap();
        let nothing = matrix(vec![0.0; cases * width], [cases, width]);
        let again = w.clone().mul_scalar(2.0);
        let says = |x| of(x, again.clone());
        let term = RightReasons::default().term(looks, says, &x, &nothing).unwrap();
        assert_eq!(term.penalty, 0.0);
        let found = AnyTensor::new(w.grad(&term.loss.backward()).unwrap()).to_values().unwrap();
        assert_eq!(found, vec![0.0; width]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The penalty does not hang on how much it weighs, its gradient is that many times as large, and of no weight it is none; cases in another
    /// order have the same.
    #[test]
    fn what_it_weighs_multiplies_its_gradient(seed in 0..9999_u64, lambda in 0.1..4.0_f32) {
        let (cases, width) = (4, 3);
        let drawn = |at: u64, count: usize| -> Vec<f32> {
            (0..count as u64).map(|i| normal(Seed(seed).at(at).at(i)) as f32).collect()
        };
        let outside = |i: usize| f32::from(u8::from(!(i as u64 + seed).is_multiple_of(3)));
        let mask: Vec<f32> = (0..cases * width).map(outside).collect();
        let w = matrix(drawn(0, width), [1, width]).autodiff().require_grad();
        let of = |x: Tensor<2>, w: Tensor<2>| -> Result<Tensor<1>, AnalysisError> {
            Ok((x * w).tanh().sum_dim(1).reshape([cases]))
        };
        let run = |lambda: f32, turned: bool| {
            let rows = |values: Vec<f32>| -> Tensor<2> {
                let rows = values.chunks(width).map(<[f32]>::to_vec);
                let rows: Vec<Vec<f32>> = if turned { rows.rev().collect() } else { rows.collect() };
                matrix(rows.concat(), [cases, width])
            };
            let loss = RightReasons { lambda, ..RightReasons::default() };
            let looks = |x| of(x, w.clone().without_autodiff());
            let (x, outside) = (rows(drawn(1, cases * width)), rows(mask.clone()));
            let term = loss.term(looks, |x| of(x, w.clone()), &x, &outside).unwrap();
            let slopes = w.grad(&term.loss.backward()).map(|grad| AnyTensor::new(grad).to_values().unwrap());
            (term.penalty, slopes.unwrap_or_else(|| vec![0.0; width]))
        };
        let (penalty, slopes) = run(1.0, false);
        let (more, times) = run(lambda, false);
        prop_assert_eq!(more, penalty);
        let wanted: Vec<f64> = slopes.iter().map(|slope| f64::from(*slope) * f64::from(lambda)).collect();
        // What is left in f32 of differences over a hundredth.
        let most = 1e-3 * largest(&wanted).unwrap();
        Tolerance::absolute(most).check("times", &times, &wanted).unwrap();
        prop_assert!(run(0.0, false).1.iter().all(|slope| *slope == 0.0));
        let (turned, other) = run(1.0, true);
        Tolerance::relative(1e-5).check("turned", &[turned], &[f64::from(penalty)]).unwrap();
        let wanted: Vec<f64> = slopes.iter().map(|slope| f64::from(*slope)).collect();
        // Sums in another order, of differences over a hundredth.
        let most = 1e-3 * largest(&wanted).unwrap();
        Tolerance::absolute(most).check("turned", &other, &wanted).unwrap();
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = matrix(vec![1.0; 6], [2, 3]);
    let sum = |x: Tensor<2>| -> Result<Tensor<1>, AnalysisError> { Ok(x.sum_dim(1).reshape([2])) };
    let said =
        |term: Result<mmlens_training::right_reasons::Term, AnalysisError>| term.unwrap_err().to_string();
    let loss = RightReasons::default();
    let small = matrix(vec![1.0; 4], [2, 2]);
    assert_eq!(
        said(loss.term(sum, sum, &x, &small)),
        "right-reasons needs a mask as large as the input, but it is [2, 2], of [2, 3]"
    );
    let one = |x: Tensor<2>| -> Result<Tensor<1>, AnalysisError> { Ok(x.sum()) };
    assert_eq!(
        said(loss.term(one, one, &x, &x)),
        "right-reasons needs a log-probability for each case, but they are [1], of 2"
    );
    for (wrong, name) in [
        (RightReasons { step: 0.0, ..loss }, "step"),
        (RightReasons { step: f32::NAN, ..loss }, "step"),
        (RightReasons { lambda: -1.0, ..loss }, "lambda"),
    ] {
        assert!(said(wrong.term(sum, sum, &x, &x)).starts_with(&format!("right-reasons: {name} = ")));
    }
    let nan = |x: Tensor<2>| -> Result<Tensor<1>, AnalysisError> {
        Ok(x.mul_scalar(f32::NAN).sum_dim(1).reshape([2]))
    };
    assert!(said(loss.term(nan, nan, &x, &x)).starts_with("right-reasons needs gradients that are finite"));
}
