//! How sure a model is: against transformers and scikit-learn, against identities, against misuse.

use burn::tensor::Device;
use mmlens_core::finding::{Caution, CautionKind, Tolerance};
use mmlens_core::{
    Analysis, Case, Cases as _, Generation, ManyCases, Objective, Plan, Reply, Sample, Sampling, Seed,
    Subject, from_fn,
};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_inference::calibration::{self, Calibration, Confidence};
use mmlens_inference::self_consistency::{self, Draws, SelfConsistency};
use mmlens_inference::semantic_entropy::{self, SemanticEntropy};
use mmlens_inference::token_entropy::{self, TokenEntropy};
use mmlens_inference::uncertainty::clusters::normalised;
use mmlens_inference::uncertainty::reliability::{Bin, Reliability};
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;

use crate::support::{asked, few, kinds, numbers, opened, painted, shown};

/// Probabilities of passes in f32.
const SURE: Tolerance = Tolerance::either(2e-6, 2e-6);
/// Sums in double precision of the same numbers.
const EXACT: Tolerance = Tolerance::either(1e-12, 1e-12);

fn sure() -> TokenEntropy {
    TokenEntropy::new(token_entropy::Settings::default()).unwrap()
}

/// What is asked of the checkpoint that an oracle is of.
fn prompt(oracle: &Oracle) -> Sample {
    let about = oracle.about();
    asked(&about["picture"], about["prompt"].as_str().unwrap())
}

#[test]
fn entropies_are_those_of_transformers() {
    for checkpoint in ["llava-a", "llama-b"] {
        let oracle = Oracle::open(&format!("methods/token-entropy-{checkpoint}")).unwrap();
        for name in ["greedy", "other"] {
            let of = |table: &str| oracle.array(&format!("{name}.{table}")).unwrap();
            let case = Case::new(prompt(&oracle).answered(Reply::Tokens(of("tokens").ids())));
            let found = TokenEntropy::new(token_entropy::Settings::default())
                .unwrap()
                .run(opened(checkpoint), &case)
                .unwrap();
            let tables =
                ["entropy", "top probability", "margin", "probability", "log probability", "perplexity"];
            for table in tables {
                let bound = if table == "perplexity" { Tolerance::either(1e-4, 1e-4) } else { SURE };
                let gap = bound.check(table, numbers(&found, table), &of(table).values).unwrap();
                println!("{checkpoint}, {name} {table}: {:.1e} of {:.1e}", gap.absolute, gap.scale);
            }
            let ranks: Vec<f64> = numbers(&found, "rank").iter().map(|rank| f64::from(*rank)).collect();
            assert_eq!(ranks, of("rank").values);
        }
    }
}

/// The draws of the oracle.
fn draws(oracle: &Oracle) -> Draws {
    let own = &oracle.about()["draws"];
    Draws {
        samples: own["samples"].as_u64().unwrap() as usize,
        temperature: own["temperature"].as_f64().unwrap() as f32,
        max_new: own["max_new"].as_u64().unwrap() as usize,
        seed: Seed(own["seed"].as_u64().unwrap()),
        ..Draws::default()
    }
}

fn texts(value: &serde_json::Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().trim().to_owned()).collect()
}

#[test]
fn meanings_are_those_that_numpy_counts() {
    for checkpoint in ["llava-a", "llama-b"] {
        let oracle = Oracle::open(&format!("methods/semantic-entropy-{checkpoint}")).unwrap();
        let method = SemanticEntropy::new(semantic_entropy::Settings { draws: draws(&oracle) }).unwrap();
        let found = method.run(opened(checkpoint), &Case::new(prompt(&oracle))).unwrap();
        assert_eq!(found.table("answers").unwrap().as_texts().unwrap(), texts(&oracle.about()["texts"]));
        let tables = [
            "semantic entropy",
            "weighted entropy",
            "predictive entropy",
            "share",
            "weighted share",
            "log probability",
        ];
        for table in tables {
            let wanted = &oracle.array(table).unwrap().values;
            let gap = SURE.check(table, numbers(&found, table), wanted).unwrap();
            println!("{checkpoint} {table}: {:.1e}", gap.absolute);
        }
        for pair in oracle.about()["normalised"].as_array().unwrap() {
            assert_eq!(normalised(pair[0].as_str().unwrap()), pair[1].as_str().unwrap());
        }
    }
}

#[test]
fn votes_are_those_that_numpy_counts() {
    // On the second the greedy answer is not the one that most draws give.
    for (checkpoint, most) in [("llava-a", "UZ"), ("llama-b", "\u{fffd}\u{fffd}")] {
        let oracle = Oracle::open(&format!("methods/semantic-entropy-{checkpoint}")).unwrap();
        let settings = self_consistency::Settings { draws: draws(&oracle), after: None };
        let method = SelfConsistency::new(settings).unwrap();
        let found = method.run(opened(checkpoint), &Case::new(prompt(&oracle))).unwrap();
        let votes: Vec<f64> = numbers(&found, "votes").iter().map(|votes| f64::from(*votes)).collect();
        assert_eq!(votes, oracle.array("votes").unwrap().values);
        let share = &oracle.array("share").unwrap().values;
        EXACT.check("agreement", numbers(&found, "agreement"), &[(share[0] as f32)]).unwrap();
        EXACT.check("lead", numbers(&found, "lead"), &[(share[0] - share[1]) as f32]).unwrap();
        let alike = oracle.array("alike").unwrap().values[0] as f32;
        assert_eq!(numbers(&found, "share of the greedy answer"), [alike]);
        let said = |table: &str| found.table(table).unwrap().as_texts().unwrap()[0].clone();
        assert_eq!(said("greedy answer"), oracle.about()["greedy"].as_str().unwrap());
        assert_eq!(said("answer"), most);
    }
}

#[test]
fn confidences_are_those_of_transformers_and_their_measures_those_of_scikit_learn() {
    let oracle = Oracle::open("methods/calibration-llava-a").unwrap();
    let of = |name: &str| oracle.array(name).unwrap().values.clone();
    let drawn: Vec<(f64, bool)> = of("drawn.confidence")
        .into_iter()
        .zip(of("drawn.right"))
        .map(|(c, right)| (c, right == 1.0))
        .collect();
    let known = Reliability::new(drawn).unwrap();
    let wide: Vec<Bin> = known.of_equal_width(15).into_iter().flatten().collect();
    let found = [wide, known.of_equal_mass(15)].map(|bins| Reliability::calibration_error(&bins));
    EXACT.check("errors", &found, &of("drawn.errors")).unwrap();
    assert!((found[0] - found[1]).abs() > 1e-3, "{found:?}");
    EXACT.check("brier", &[known.brier()], &of("drawn.brier")).unwrap();
    EXACT.check("auroc", &[known.auroc().unwrap()], &of("drawn.auroc")).unwrap();
}

/// Right is `UZ'`, which is `UZ` without its punctuation, or `eee`, the first of eight; the others say something else.
#[test]
fn confidences_of_models_are_those_of_transformers() {
    for (checkpoint, right) in [("llava-a", "UZ"), ("llama-b", "eee")] {
        let oracle = Oracle::open(&format!("methods/calibration-{checkpoint}")).unwrap();
        let of = |name: &str| oracle.array(name).unwrap().values.clone();
        let about = oracle.about();
        let (prompts, seen) = (texts(&about["prompts"]), about["pictures"].as_array().unwrap().clone());
        for (name, confidence) in
            [("likelihood", Confidence::Likelihood), ("mean", Confidence::Mean), ("least", Confidence::Least)]
        {
            let (prompts, seen) = (prompts.clone(), seen.clone());
            let case = move |i: usize| {
                let sample = asked(&seen[i % seen.len()], &prompts[i / seen.len()]);
                Ok(Case::new(sample.answered(Reply::Text(right.into()))))
            };
            let data = ManyCases::over(from_fn("prompts", 8, case)).unwrap();
            let settings = calibration::Settings { confidence, max_new: 3, ..Default::default() };
            let found = Calibration::new(settings).unwrap().run(opened(checkpoint), &data).unwrap();
            assert_eq!(found.table("answers").unwrap().as_texts().unwrap(), texts(&about["texts"]));
            let gap = SURE.check(name, numbers(&found, "confidence"), &of(name)).unwrap();
            println!("{checkpoint} {name}: {:.1e}", gap.absolute);
            assert_eq!(numbers(&found, "right"), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            assert_eq!(numbers(&found, "accuracy"), [0.125]);
            let cases = of(name).into_iter().zip([true].into_iter().chain([false; 7])).collect();
            let own = Reliability::new(cases).unwrap();
            let wide: Vec<Bin> = own.of_equal_width(15).into_iter().flatten().collect();
            let wanted =
                [wide.clone(), own.of_equal_mass(15)].map(|bins| Reliability::calibration_error(&bins));
            SURE.check(name, numbers(&found, "calibration error"), &wanted).unwrap();
            SURE.check(name, numbers(&found, "brier score"), &[own.brier()]).unwrap();
            SURE.check(name, numbers(&found, "auroc"), &[own.auroc().unwrap()]).unwrap();
            let mean = of(name).iter().sum::<f64>() / 8.0;
            SURE.check(name, numbers(&found, "mean confidence"), &[mean]).unwrap();
            let row = |bin: &Bin| [bin.confidence, bin.right, bin.cases as f64 / 8.0];
            let bins: Vec<f64> = wide.iter().flat_map(row).collect();
            SURE.check(name, numbers(&found, "bins"), &bins).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(few())]

    /// Entropy lies between 0 and that of all tokens alike; what an answer's tokens are worth together is its objective; a greedy answer is what the
    /// model finds likeliest.
    #[test]
    fn what_is_said_of_tokens_is_the_models_own(seed in 0..500_u64, other in 0_u32..26) {
        let toy = Toy::curved(seed);
        let sample = Sample::prompt(vec![painted(seed as u32)], "#abc");
        let inputs = toy.encode(&sample).unwrap();
        let how = Generation { max_new: 3, ..Generation::default() };
        let greedy = toy.generate(&inputs, &how).unwrap().remove(0);
        // A toy writes what stands for pictures too, and does not read it in an answer.
        prop_assume!(!greedy.tokens.contains(&26));
        let found = sure().run(&toy, &Case::new(sample.clone().answered(Reply::Tokens(greedy.tokens.clone())))).unwrap();
        let most = 27.0_f32.ln();
        prop_assert!(numbers(&found, "entropy").iter().all(|own| *own >= 0.0 && *own <= most * 1.000_001));
        prop_assert_eq!(numbers(&found, "rank"), [0.0; 3]);
        prop_assert_eq!(numbers(&found, "probability"), numbers(&found, "top probability"));
        let first: Vec<f32> = numbers(&found, "probabilities").chunks(3).map(|row| row[0]).collect();
        prop_assert_eq!(&first, numbers(&found, "top probability"));
        Tolerance::either(1e-6, 1e-5).check("with a cache", numbers(&found, "probability"), &greedy.probabilities).unwrap();
        let tokens = vec![other, 3];
        let answered = sample.clone().answered(Reply::Tokens(tokens.clone()));
        let found = sure().run(&toy, &Case::new(answered.clone())).unwrap();
        let inputs = toy.encode(&answered).unwrap().all_logits();
        let span = Objective::span(4 + 3, tokens);
        prop_assert_eq!(inputs.map().reply(), 7..9);
        let score = toy.run(&inputs, Plan::new().objective(span)).unwrap().scores().unwrap()[0];
        Tolerance::either(1e-5, 1e-5).check("whole", numbers(&found, "log probability"), &[score]).unwrap();
        // The next token, where no answer is given.
        let next = sure().run(&toy, &Case::new(sample)).unwrap();
        prop_assert_eq!(next.table("entropy").unwrap().as_numbers().unwrap().len(), 1);
        prop_assert_eq!(numbers(&next, "rank"), [0.0]);
        Tolerance::either(1e-6, 1e-5).check("next", numbers(&next, "probability"), &greedy.probabilities[..1]).unwrap();
    }

    /// Answers are those that are drawn one by one; shares sum to one; entropies lie between none and that of all draws apart. Near a temperature of zero
    /// all are the greedy answer.
    #[test]
    fn draws_are_counted(seed in 0..500_u64) {
        let toy = Toy::curved(seed);
        let sample = Sample::prompt(vec![painted(seed as u32)], "#ab");
        let draws = Draws { samples: 6, max_new: 2, seed: Seed(seed), ..Draws::default() };
        let found = SemanticEntropy::new(semantic_entropy::Settings { draws }).unwrap().run(&toy, &Case::new(sample.clone())).unwrap();
        let inputs = toy.encode(&sample).unwrap();
        let one = |at: u64| {
            let sampling = Sampling::Draw { temperature: 1.0, top_p: 1.0, seed: Seed(seed).at(at) };
            let how = Generation { max_new: 2, sampling, stop_at_end: true };
            toy.generate(&inputs, &how).unwrap().remove(0).text
        };
        let alone: Vec<String> = (0..6).map(one).collect();
        prop_assert_eq!(found.table("answers").unwrap().as_texts().unwrap(), &alone);
        for table in ["share", "weighted share"] {
            let sum: f32 = numbers(&found, table).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-6, "{} {}", table, sum);
        }
        for table in ["semantic entropy", "weighted entropy"] {
            let own = numbers(&found, table)[0];
            prop_assert!((0.0..=6.0_f32.ln() + 1e-6).contains(&own), "{} {}", table, own);
        }
        let votes = SelfConsistency::new(self_consistency::Settings { draws, after: None }).unwrap().run(&toy, &Case::new(sample.clone())).unwrap();
        prop_assert_eq!(numbers(&votes, "votes").iter().sum::<f32>(), 6.0);
        prop_assert_eq!(votes.table("answers").unwrap().as_texts().unwrap(), &alone);
        prop_assert_eq!(numbers(&votes, "agreement")[0], numbers(&found, "share")[0]);
        let cold = Draws { temperature: 1e-4, ..draws };
        let found = SelfConsistency::new(self_consistency::Settings { draws: cold, after: None }).unwrap().run(&toy, &Case::new(sample.clone())).unwrap();
        let said = |table: &str| found.table(table).unwrap().as_texts().unwrap()[0].clone();
        prop_assert_eq!((numbers(&found, "agreement"), numbers(&found, "share of the greedy answer")), (&[1.0_f32][..], &[1.0_f32][..]));
        prop_assert_eq!(said("answer"), said("greedy answer"));
        let found = SemanticEntropy::new(semantic_entropy::Settings { draws: cold }).unwrap().run(&toy, &Case::new(sample)).unwrap();
        prop_assert_eq!(numbers(&found, "semantic entropy"), [0.0]);
    }

    /// A confidence of one misses by what is wrong, however it is measured; the other way round pairs are ordered the other way round.
    #[test]
    fn what_certainty_costs(right in proptest::collection::vec(any::<bool>(), 2..40), shares in proptest::collection::vec(0.0_f64..1.0, 40)) {
        let accuracy = right.iter().filter(|own| **own).count() as f64 / right.len() as f64;
        let sure = Reliability::new(right.iter().map(|own| (1.0, *own)).collect()).unwrap();
        let wide: Vec<Bin> = sure.of_equal_width(10).into_iter().flatten().collect();
        prop_assert!((Reliability::calibration_error(&wide) - (1.0 - accuracy)).abs() < 1e-12);
        prop_assert!((Reliability::calibration_error(&sure.of_equal_mass(1)) - (1.0 - accuracy)).abs() < 1e-12);
        prop_assert!((sure.brier() - (1.0 - accuracy)).abs() < 1e-12);
        let cases = |of: fn(f64) -> f64| right.iter().zip(&shares).map(|(own, share)| (of(*share), *own)).collect();
        let (own, turned) = (Reliability::new(cases(|c| c)).unwrap(), Reliability::new(cases(|c| 1.0 - c)).unwrap());
        match (own.auroc(), turned.auroc(), sure.auroc()) {
            (Some(own), Some(turned), Some(level)) => {
                prop_assert!((own + turned - 1.0).abs() < 1e-12 && level == 0.5);
            }
            (None, None, None) => prop_assert!(accuracy == 0.0 || accuracy == 1.0),
            other => prop_assert!(false, "{:?}", other),
        }
        let cases: usize = own.of_equal_mass(7).iter().map(|bin| bin.cases).sum();
        prop_assert_eq!(cases, right.len());
    }
}

/// What stands behind a mark is the answer; without the mark there is none.
#[test]
fn an_answer_is_read_behind_its_mark() {
    let toy = Toy::curved(4);
    let sample = Sample::prompt(vec![painted(1)], "#ab");
    let draws = Draws { samples: 12, max_new: 3, ..Draws::default() };
    let run = |after: Option<&str>| {
        let settings = self_consistency::Settings { draws, after: after.map(str::to_owned) };
        SelfConsistency::new(settings).unwrap().run(&toy, &Case::new(sample.clone())).unwrap()
    };
    let whole = run(None);
    let drawn = whole.table("answers").unwrap().as_texts().unwrap().to_vec();
    // A letter that some draws have and others have not.
    let has = |mark: &str| drawn.iter().filter(|text| text.contains(mark)).count();
    let mark = ('a'..='z').map(String::from).find(|mark| (1..12).contains(&has(mark))).unwrap();
    let found = run(Some(&mark));
    let axis = &found.table("votes").unwrap().axes()[0];
    let names: Vec<String> = (0..axis.len()).map(|at| axis.label(at).unwrap()).collect();
    let votes = |name: &str| names.iter().position(|own| own == name).map(|at| numbers(&found, "votes")[at]);
    assert_eq!(votes("no answer"), Some((12 - has(&mark)) as f32), "{names:?} {drawn:?}");
    let behind = |text: &String| text.rsplit_once(mark.as_str()).map(|(_, said)| normalised(said));
    for said in drawn.iter().filter_map(behind).filter(|said| !said.is_empty()) {
        let same = drawn.iter().filter_map(behind).filter(|own| *own == said).count();
        assert_eq!(votes(&said), Some(same as f32), "{said}");
    }
}

#[test]
fn cautions_come_where_they_should() {
    let toy = Toy::curved(2);
    let case = Case::new(Sample::prompt(vec![painted(1)], "#ab"));
    let meanings = |draws: Draws, subject: &dyn Subject| {
        let method = SemanticEntropy::new(semantic_entropy::Settings { draws }).unwrap();
        kinds(&method.run(subject, &case).unwrap())
    };
    // A toy never ends: every answer is cut off. Many letters hardly ever coincide.
    let long = Draws { samples: 4, max_new: 8, temperature: 3.0, ..Draws::default() };
    assert_eq!(meanings(long, &toy), [CautionKind::Other, CautionKind::CutOff]);
    // All tokens end an answer: nothing is cut off, and of 40 draws of 27 letters some are the same.
    let ending = Toy::curved(2).ending(0..27);
    let short = Draws { samples: 40, max_new: 4, ..Draws::default() };
    assert_eq!(meanings(short, &ending), []);
    // Two draws apart at the head of three: found by looking through seeds.
    let vote = |seed: u64| {
        let draws = Draws { samples: 5, max_new: 1, seed: Seed(seed), ..Draws::default() };
        let settings = self_consistency::Settings { draws, after: None };
        SelfConsistency::new(settings).unwrap().run(&ending, &case).unwrap()
    };
    let (mut level, mut apart) = (0, 0);
    for seed in 0..60 {
        let found = vote(seed);
        let votes = numbers(&found, "votes").to_vec();
        if votes.len() < 2 || votes.len() == 5 {
            continue;
        }
        let tied = votes[0] == votes[1];
        assert_eq!(kinds(&found).contains(&CautionKind::SmallDifference), tied, "{votes:?}");
        if tied { level += 1 } else { apart += 1 }
    }
    assert!(level > 0 && apart > 0, "{level} {apart}");
    let calibrated = |subject: &dyn Subject, count: usize, answers: [&'static str; 2]| {
        let said = move |i: usize| {
            let words = format!("#{}", "abcdefghij".get(i % 10..i % 10 + 1).unwrap());
            let sample = Sample::prompt(vec![painted(i as u32)], words);
            Ok(Case::new(sample.answered(Reply::Text(answers[i % 2].to_owned()))))
        };
        let method = Calibration::new(calibration::Settings { max_new: 1, ..Default::default() }).unwrap();
        let found = method.run(subject, &ManyCases::over(from_fn("letters", count, said)).unwrap()).unwrap();
        (kinds(&found), found.find("auroc").is_some())
    };
    // No answer has two letters, so that all are wrong.
    let few = vec![CautionKind::FewRows, CautionKind::Other, CautionKind::CutOff];
    assert_eq!(calibrated(&toy, 4, ["xx", "yy"]), (few, false));
    let first = toy.generate(
        &toy.encode(&Sample::prompt(vec![painted(0)], "#a")).unwrap(),
        &Generation { max_new: 1, ..Generation::default() },
    );
    let letter: &'static str = Box::leak(first.unwrap()[0].text.clone().into_boxed_str());
    assert_eq!(calibrated(&ending, 40, [letter, "xx"]), (vec![], true));
}

/// A word for what is seen is sure; so are words behind it, whatever is seen; another word is not what the model would say; an open question has many answers.
#[test]
fn sure_tokens_are_spoken_of() {
    let subject = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let told = |kind: Kind, said: Option<&str>| {
        let data = ShapesCases::new(World::new(5), Split::Test, kind, 1);
        let (sample, right) = (data.case(0).unwrap().sample, data.scene(0).unwrap().1.answer);
        let said = said.unwrap_or(&right).to_owned();
        let found = sure().run(&subject, &Case::new(sample.answered(Reply::Text(said)))).unwrap();
        found.cautions().iter().for_each(|caution| println!("{caution}"));
        let numbered = |caution: &Caution| (caution.kind, caution.number);
        let cautions: Vec<(CautionKind, f32)> = found.cautions().iter().map(numbered).collect();
        (found, cautions)
    };
    let (right, cautions) = told(Kind::Colour, None);
    assert!(numbers(&right, "top probability")[0] > 0.95, "{:?}", numbers(&right, "top probability"));
    assert_eq!(cautions, []);
    let (wrong, cautions) = told(Kind::Colour, Some("picture"));
    assert_eq!(cautions, [(CautionKind::Unlikely, numbers(&wrong, "rank")[0])]);
    let (story, cautions) = told(Kind::Describe, None);
    let tops = numbers(&story, "top probability");
    let left: Vec<f32> = tops[1..].iter().filter(|top| **top >= 0.95).map(|top| 1.0 - top).collect();
    let mean = left.iter().sum::<f32>() / left.len() as f32;
    assert!(cautions.contains(&(CautionKind::Saturated, mean)), "{cautions:?} {mean}");
    // A model of random weights is sure of nothing, and has many words for it.
    let found = sure().run(&Toy::curved(2), &Case::new(Sample::prompt(vec![painted(1)], "#ab"))).unwrap();
    assert_eq!(kinds(&found), [CautionKind::Other]);
    assert_eq!(found.cautions()[0].number, numbers(&found, "entropy")[0].exp());
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let said =
        |draws: Draws| SemanticEntropy::new(semantic_entropy::Settings { draws }).unwrap_err().to_string();
    let own = Draws::default();
    assert_eq!(
        said(Draws { samples: 1, ..own }),
        "semantic-entropy: draws.samples = 1, but it must be at least 2"
    );
    assert_eq!(
        said(Draws { max_new: 0, ..own }),
        "semantic-entropy: draws.max_new = 0, but it must be at least 1"
    );
    assert_eq!(
        said(Draws { temperature: 0.0, ..own }),
        "semantic-entropy: draws.temperature = 0, but it must be above 0"
    );
    assert_eq!(
        said(Draws { top_p: f32::NAN, ..own }),
        "semantic-entropy: draws.top_p = NaN, but it must be above 0 and at most 1"
    );
    let empty = self_consistency::Settings { after: Some(String::new()), ..Default::default() };
    assert_eq!(
        SelfConsistency::new(empty).unwrap_err().to_string(),
        "self-consistency: after = an empty text, but it must have a letter, or be left out"
    );
    let bins = calibration::Settings { bins: 0, ..Default::default() };
    assert_eq!(
        Calibration::new(bins).unwrap_err().to_string(),
        "calibration: bins = 0, but it must be at least 1"
    );
    let run = |subject: &dyn Subject, case: Case| {
        let data = ManyCases::over(from_fn("one", 1, move |_| Ok(case.clone()))).unwrap();
        let method = Calibration::new(calibration::Settings::default()).unwrap();
        method.run(subject, &data).unwrap_err().to_string()
    };
    let toy = Toy::curved(1);
    assert_eq!(
        TokenEntropy::new(token_entropy::Settings { top: 0 }).unwrap_err().to_string(),
        "token-entropy: top = 0, but it must be at least 1"
    );
    assert_eq!(
        run(&toy, Case::new(Sample::text("ab"))),
        "calibration needs cases with a right answer in words, as their answer, but case 0 has none"
    );
    assert_eq!(
        run(&toy, Case::new(Sample::text("ab").answered(Reply::Tokens(vec![1])))),
        "calibration needs cases with a right answer in words, as their answer, but case 0 has one in tokens"
    );
    assert_eq!(
        sure().run(opened("vit-a"), &Case::new(shown("square", ""))).unwrap_err().to_string(),
        "token-entropy needs a subject that writes answers token by token, but this one says no next token"
    );
}
