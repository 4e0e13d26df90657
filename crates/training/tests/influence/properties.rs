//! What must hold of influence whatever the model, over seeds; and the cautions that depend on how scores are spread.

use std::sync::Arc;

use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{Analysis, Case, Cases, Fit, On, Sample, Seed, Subject, Unwatched, from_fn};
use mmlens_testkit::Toy;
use mmlens_training::influence::{Projected, Settings};
use mmlens_training::{
    Bm25, Ensemble, FeatureSimilarity, GradientSimilarity, Influence, TracIn, Trak, bm25, feature_similarity,
    trac_in, trak,
};
use proptest::prelude::*;

use crate::support::{numbers, word};

/// Sums in another order.
const SAME: Tolerance = Tolerance::either(2e-5, 1e-5);

fn few() -> ProptestConfig {
    ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() }
}

/// A model and what it has learned of training cases.
type Traced = (Arc<dyn Subject>, Influence<trac_in::Products>);

fn whole() -> Settings {
    Settings { projected: Projected::None, ..Settings::default() }
}

/// Cases of words by their numbers, in this order.
fn of(chosen: &[usize]) -> impl Cases + Send + use<> {
    let chosen = chosen.to_vec();
    from_fn("words", chosen.len(), move |i| Ok(word(chosen[i])))
}

/// What a method says of a case when it has learned from others.
fn said<F: Fit>(fit: &F, toy: &Toy, chosen: &[usize], case: &Case) -> Finding
where
    F::Fitted: Analysis<Input = Case>,
{
    fit.learn(&On::new(toy), &of(chosen), Seed(3)).unwrap().fitted.run(toy, case).unwrap()
}

fn scores<F: Fit>(fit: &F, toy: &Toy, chosen: &[usize], case: &Case) -> Vec<f32>
where
    F::Fitted: Analysis<Input = Case>,
{
    numbers(&said(fit, toy, chosen, case), "scores").to_vec()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn by_states() -> FeatureSimilarity {
    FeatureSimilarity::new(feature_similarity::Settings::default()).unwrap()
}

proptest! {
    #![proptest_config(few())]

    /// Each of two for the other is the same, each for itself is its self-influence, and the rate multiplies.
    #[test]
    fn tracin_is_a_product(seed in 0..99_u64, a in 0..24_usize, b in 0..24_usize, rate in 0.1..4.0_f64) {
        let (toy, fit) = (Toy::curved(seed), TracIn::new(whole()).unwrap());
        let [of_a, of_b] = [a, b].map(|own| scores(&fit, &toy, &[a, b], &word(own)));
        SAME.check("exchanged", &of_a[1..], &wide(&of_b[..1])).unwrap();
        let learned = fit.learn(&On::new(&toy), &of(&[a, b]), Seed(3)).unwrap();
        SAME.check("own", &[of_a[0], of_b[1]], &wide(numbers(&learned.finding, "self-influence"))).unwrap();
        let fit = TracIn::new(Settings { rate, ..whole() }).unwrap();
        let times: Vec<f64> = wide(&of_a).into_iter().map(|score| score * rate).collect();
        SAME.check("rate", &scores(&fit, &toy, &[a, b], &word(a)), &times).unwrap();
    }

    /// Over checkpoints scores are summed, each with its rate; a checkpoint twice counts twice.
    #[test]
    fn checkpoints_are_summed(seed in 0..99_u64, case in 0..24_usize, rate in 0.1..4.0_f64) {
        let chosen: Vec<usize> = (0..6).collect();
        let models: [Arc<dyn Subject>; 2] = [Arc::new(Toy::curved(seed)), Arc::new(Toy::curved(seed + 100))];
        let learned = |at: usize, rate: f64| -> Traced {
            let fit = TracIn::new(Settings { rate, ..whole() }).unwrap();
            let fitted = fit.learn(&On::new(&models[at]), &of(&chosen), Seed(3)).unwrap().fitted;
            (models[at].clone(), fitted)
        };
        let alone = |(model, fitted): &Traced| -> Vec<f64> {
            wide(numbers(&fitted.run(model, &word(case)).unwrap(), "scores"))
        };
        let (one, other) = (learned(0, 1.0), learned(1, rate));
        let sum: Vec<f64> = alone(&one).iter().zip(alone(&other)).map(|(a, b)| a + b).collect();
        let twice: Vec<f64> = alone(&one).iter().map(|own| 2.0 * own).collect();
        let both = |models| Ensemble::new(models).unwrap().run(&word(case), &Unwatched).unwrap();
        SAME.check("sum", numbers(&both(vec![one.clone(), other]), "scores"), &sum).unwrap();
        SAME.check("twice", numbers(&both(vec![one.clone(), one]), "scores"), &twice).unwrap();
    }

    /// A training case that stands twice has its score twice, and where cases stand changes nothing of what does not weigh them against one
    /// another.
    #[test]
    fn a_case_twice_and_another_order(
        seed in 0..99_u64,
        case in 0..24_usize,
        order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let toy = Toy::curved(seed);
        let mut more = order.clone();
        more.push(order[2]);
        let check = |what: &str, straight: Vec<f32>, turned: Vec<f32>, longer: Option<Vec<f32>>| {
            let wanted: Vec<f64> = order.iter().map(|own| f64::from(straight[*own])).collect();
            SAME.check(what, &turned, &wanted).unwrap();
            if let Some(longer) = longer {
                SAME.check(what, &longer, &[wanted.as_slice(), &wanted[2..3]].concat()).unwrap();
            }
        };
        let straight: Vec<usize> = (0..8).collect();
        macro_rules! of_each {
            ($fit:expr, $longer:expr) => {{
                let fit = $fit;
                let run = |chosen: &[usize]| scores(&fit, &toy, chosen, &word(case));
                let longer: bool = $longer;
                check(stringify!($fit), run(&straight), run(&order), longer.then(|| run(&more)));
            }};
        }
        of_each!(TracIn::new(whole()).unwrap(), true);
        of_each!(GradientSimilarity::new(whole()).unwrap(), true);
        of_each!(by_states(), true);
        // TRAK weighs cases against one another, and BM25 counts in how many a word is: twice is not the same there.
        let trak = trak::Settings { features: 6, ridge: 0.1, ..trak::Settings::default() };
        of_each!(Trak::new(trak.clone()).unwrap(), false);
        of_each!(Bm25::new(bm25::Settings::default()).unwrap(), false);
    }

    /// Cosines: no longer than one, one with itself, and the same of an exchanged pair.
    #[test]
    fn similarities_are_cosines(seed in 0..99_u64, a in 0..24_usize, b in 0..24_usize) {
        let toy = Toy::curved(seed);
        let gradients = GradientSimilarity::new(whole()).unwrap();
        for run in [
            &(|case: usize| scores(&gradients, &toy, &[a, b], &word(case))) as &dyn Fn(usize) -> Vec<f32>,
            &|case: usize| scores(&by_states(), &toy, &[a, b], &word(case)),
        ] {
            let (of_a, of_b) = (run(a), run(b));
            SAME.check("itself", &[of_a[0], of_b[1]], &[1.0, 1.0]).unwrap();
            SAME.check("exchanged", &of_a[1..], &wide(&of_b[..1])).unwrap();
            prop_assert!(of_a.iter().chain(&of_b).all(|score| score.abs() <= 1.0 + 1e-5));
        }
    }

    /// Words that no training case has change nothing, a question asked twice scores twice, and no score is negative.
    #[test]
    fn bm25_adds_up_words(k1 in 0.0..3.0_f64, b in 0.0..1.0_f64, asked in "[a-j]{1,4}( [a-j]{1,4}){0,3}") {
        let (toy, fit) = (Toy::curved(1), Bm25::new(bm25::Settings { k1, b }).unwrap());
        let chosen: Vec<usize> = (0..24).collect();
        let run = |text: String| scores(&fit, &toy, &chosen, &Case::new(Sample::text(text)));
        let own = run(asked.clone());
        prop_assert_eq!(&run(format!("{asked} zzz yyy")), &own);
        let twice: Vec<f64> = wide(&own).into_iter().map(|score| 2.0 * score).collect();
        SAME.check("twice", &run(format!("{asked}. {asked}")), &twice).unwrap();
        prop_assert!(own.iter().all(|score| *score >= 0.0));
    }
}

/// Of one training case among many others that are all alike, the scores of that case stand out; where all but one are the highest, none does.
#[test]
fn scores_among_which_none_stands_out_are_cautioned_of() {
    let toy = Toy::curved(1);
    let mut chosen = vec![5; 24];
    chosen[11] = 4;
    let kinds = |finding: &Finding| -> Vec<CautionKind> {
        finding.cautions().iter().map(|caution| caution.kind).collect()
    };
    let tracin = TracIn::new(whole()).unwrap();
    let trak = Trak::new(trak::Settings { features: 6, ridge: 0.1, ..trak::Settings::default() }).unwrap();
    let words = Bm25::new(bm25::Settings::default()).unwrap();
    let found = |case: usize| {
        let case = word(case);
        [
            said(&tracin, &toy, &chosen, &case),
            said(&trak, &toy, &chosen, &case),
            said(&words, &toy, &chosen, &case),
        ]
    };
    for (at, finding) in found(4).iter().enumerate() {
        assert_eq!(order(numbers(finding, "scores")), 11, "{at}");
        assert!(!kinds(finding).contains(&CautionKind::NoBetter), "{at}: {:?}", finding.cautions());
    }
    for (at, finding) in found(5).iter().enumerate() {
        assert!(kinds(finding).contains(&CautionKind::NoBetter), "{at}: {:?}", numbers(finding, "scores"));
    }
}

/// Where the highest is.
fn order(scores: &[f32]) -> usize {
    // no NaN: scores of findings are finite
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap()
}

#[test]
fn few_texts_are_cautioned_of() {
    let (toy, fit) = (Toy::curved(1), Bm25::new(bm25::Settings::default()).unwrap());
    let few = |count: usize| {
        let chosen: Vec<usize> = (0..count).collect();
        let learned = fit.learn(&On::new(&toy), &of(&chosen), Seed(1)).unwrap();
        learned.finding.cautions().iter().any(|caution| caution.kind == CautionKind::FewRows)
    };
    assert!(few(3) && few(19) && !few(20));
}
