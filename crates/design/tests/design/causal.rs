//! Effects of modalities, CF-VQA and causal mediation against transformers and the authors' code.

use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Analysis, Annotated, Case, CaseAmong, ManyCases, Objective, Pair, Picture, Point, Reply, Sample, Seed,
    Target, Words, from_fn,
};
use mmlens_design::causal_mediation::UnitsOf;
use mmlens_design::{
    CausalMediation, CfVqa, Measured, ModalityEffects, ModalityEffectsOverCases, causal_mediation, cf_vqa,
    modality_effects, modality_effects_over_cases,
};
use mmlens_engine::{Indices, Pictures, Positions, drawn_order};
use mmlens_testkit::{Oracle, picture};

use crate::support::{kinds, numbers, opened, shown};

/// Differences of logits, and of log-odds made of them, of passes in f32.
const LOGIT: Tolerance = Tolerance::absolute(1e-5);
/// Of log-odds of whole answers, which are sums of several and as large as 40.
const ANSWER: Tolerance = Tolerance::absolute(5e-5);
/// Differences of logits of four passes that begin at other blocks.
const MEDIATED: Tolerance = Tolerance::absolute(2e-5);

fn strings(oracle: &Oracle, name: &str) -> Vec<String> {
    let all = oracle.about()[name].as_array().unwrap();
    all.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn often(settings: modality_effects_over_cases::Settings, data: &ManyCases, on: &str) -> Finding {
    ModalityEffectsOverCases::new(settings).unwrap().run(opened(on), data).unwrap()
}

/// The effects of a case by the definitions, of what the oracle says of a case with the pictures and the words of others; means over draws.
fn wanted(n: usize, seed: Seed, draws: usize, f: &dyn Fn(usize, usize, usize) -> f64) -> Vec<f64> {
    let mut all = Vec::new();
    for i in 0..n {
        let mut sums = [0.0; 3];
        for draw in 0..draws {
            let [p, w] = ModalityEffectsOverCases::stand_ins(seed, n, i, draw);
            assert!(p != i && w != i);
            sums[0] += f(i, i, i) - f(i, p, i);
            sums[1] += f(i, i, i) - f(i, i, w);
            sums[2] += f(i, i, i) - f(i, p, i) - f(i, i, w) + f(i, p, w);
        }
        all.extend(sums.map(|sum| sum / draws as f64));
    }
    all
}

/// What `llava-a` says of every picture with every prompt, in transformers, crossed by the definitions.
#[test]
fn effects_on_logits_are_what_transformers_makes_of_all_pictures_and_prompts() {
    let oracle = Oracle::open("methods/modality-llava-a").unwrap();
    let (prompts, pictures) = (strings(&oracle, "prompts"), strings(&oracle, "pictures"));
    let tokens = oracle.array("tokens").unwrap().ids();
    let objectives = oracle.array("objectives").unwrap();
    let n = tokens.len();
    let case = move |i: usize| {
        let sample = shown(&pictures[i % 4], &prompts[i % 5]);
        Ok(Case { sample, target: Target::Token(tokens[i]) })
    };
    let settings = modality_effects_over_cases::Settings {
        draws: 3,
        measured: Some(Measured::Objective),
        seed: Seed(5),
        ..Default::default()
    };
    let data = ManyCases::over(from_fn("asked", n, case)).unwrap();
    let method = ModalityEffectsOverCases::new(settings).unwrap();
    let found = method.run(opened("llava-a"), &data).unwrap();
    let wanted = wanted(n, Seed(5), 3, &|i, p, w| objectives.values[i * 20 + w % 5 * 4 + p % 4]);
    let gap = LOGIT.check("effect by case", numbers(&found, "effect by case"), &wanted).unwrap();
    println!("logits: {:.1e}", gap.absolute);
}

/// Log-odds of tokens and of answers of several, of pictures as they are and of one colour.
#[test]
fn effects_on_log_odds_are_those_of_transformers_on_two_kinds_of_checkpoints() {
    for name in ["llava-a", "smolvlm-a"] {
        let oracle = Oracle::open(&format!("methods/causal-effects-{name}")).unwrap();
        let (prompts, pictures) = (strings(&oracle, "prompts"), strings(&oracle, "pictures"));
        let answers = strings(&oracle, "answers");
        let tokens = oracle.array("tokens").unwrap().ids();
        let n = tokens.len();
        let of_tokens = oracle.array("odds").unwrap();
        let of_answers = oracle.array("answers").unwrap();
        for spoken in [false, true] {
            let (prompts, pictures, answers, tokens) =
                (prompts.clone(), pictures.clone(), answers.clone(), tokens.clone());
            let case = move |i: usize| {
                let sample = shown(&pictures[i % 4], &prompts[i % 5]);
                Ok(match spoken {
                    false => Case { sample, target: Target::Token(tokens[i]) },
                    true => Case::answer(sample.answered(Reply::Text(answers[i % 3].clone()))),
                })
            };
            let data = ManyCases::over(from_fn("asked", n, case)).unwrap();
            let values = if spoken { of_answers } else { of_tokens };
            let tolerance = if spoken { ANSWER } else { LOGIT };
            let row = |i: usize| if spoken { i % 3 } else { i };
            for flat in [false, true] {
                let pictures = if flat { Pictures::MeanColour } else { Pictures::Another };
                let settings = modality_effects_over_cases::Settings { pictures, ..Default::default() };
                let found = often(settings, &data, name);
                let of = |i: usize, p: usize, w: usize| {
                    // A picture of one colour is that of the case itself.
                    let at = if flat && p != i { 4 + i % 4 } else { p % 4 };
                    values.values[row(i) * 40 + w % 5 * 8 + at]
                };
                let wanted = wanted(n, Seed(0), 2, &of);
                let own = numbers(&found, "effect by case");
                let gap = tolerance.check("effect by case", own, &wanted).unwrap();
                println!("{name}, answers {spoken}, one colour {flat}: {:.1e}", gap.absolute);
                let (mean, by_case) = (numbers(&found, "effect"), numbers(&found, "effect by case"));
                assert_eq!(mean.len(), 3);
                for (effect, own) in mean.iter().enumerate() {
                    let sum: f32 = by_case.iter().skip(effect).step_by(3).sum();
                    assert!((own - sum / n as f32).abs() < 1e-5);
                }
            }
        }
    }
}

/// Similarities of `clip-a` have no log-odds: they are measured as they are.
#[test]
fn effects_on_similarities_are_those_of_transformers() {
    let oracle = Oracle::open("methods/modality-clip-a").unwrap();
    let logits = oracle.array("logits").unwrap();
    let (captions, pictures) = (strings(&oracle, "captions"), strings(&oracle, "pictures"));
    let n = 9;
    let case = move |i: usize| {
        let seen = Picture::open(picture(&pictures[i % 4])).unwrap();
        let sample = Sample::captions(seen, [captions[i % 5].clone()]);
        Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
    };
    let data = ManyCases::over(from_fn("captions", n, case)).unwrap();
    let found = often(modality_effects_over_cases::Settings::default(), &data, "clip-a");
    let wanted = wanted(n, Seed(0), 2, &|_, p, w| logits.values[p % 4 * 5 + w % 5]);
    let gap = LOGIT.check("effect by case", numbers(&found, "effect by case"), &wanted).unwrap();
    println!("similarities: {:.1e}", gap.absolute);
}

/// Beside one other case alone, both forms look at the same four passes.
#[test]
fn a_case_beside_another_is_one_of_a_pair_of_cases() {
    let case = |i: usize| {
        let sample = shown(["square", "tall"][i], ["<image>Red?", "<image>Big?"][i]);
        Ok(Case { sample, target: Target::Token([40, 41][i]) })
    };
    let data = || ManyCases::over(from_fn("two", 2, case)).unwrap();
    let settings = modality_effects_over_cases::Settings { draws: 1, ..Default::default() };
    let many = often(settings, &data(), "llava-a");
    for i in 0..2 {
        let given = CaseAmong { case: case(i).unwrap(), among: Some(data()) };
        let method = ModalityEffects::new(modality_effects::Settings::default()).unwrap();
        let one = method.run(opened("llava-a"), &given).unwrap();
        assert_eq!(numbers(&one, "effect"), &numbers(&many, "effect by case")[3 * i..][..3]);
    }
}

/// A case among others: which stand in is drawn, and what is said of each draw follows from the definitions.
#[test]
fn a_case_among_others_is_crossed_with_those_that_are_drawn() {
    let oracle = Oracle::open("methods/causal-effects-llava-a").unwrap();
    let (prompts, pictures) = (strings(&oracle, "prompts"), strings(&oracle, "pictures"));
    let tokens = oracle.array("tokens").unwrap().ids();
    let n = tokens.len();
    let case = move |i: usize| {
        let sample = shown(&pictures[i % 4], &prompts[i % 5]);
        Ok(Case { sample, target: Target::Token(tokens[i]) })
    };
    let data = ManyCases::over(from_fn("asked", n, case)).unwrap();
    let given = CaseAmong { case: data.data().case(0).unwrap(), among: Some(data) };
    let settings = modality_effects::Settings { draws: 3, seed: Seed(2), ..Default::default() };
    let found = ModalityEffects::new(settings).unwrap().run(opened("llava-a"), &given).unwrap();
    let odds = &oracle.array("odds").unwrap().values;
    let f = |p: usize, w: usize| odds[w % 5 * 8 + p % 4];
    let others: Vec<usize> = drawn_order(n, Seed(2)).into_iter().filter(|at| *at != 0).collect();
    let draws: Vec<[f64; 3]> = (0..3)
        .map(|draw| {
            let (p, w) = (others[draw], others[draw + 1]);
            [f(0, 0) - f(p, 0), f(0, 0) - f(0, w), f(0, 0) - f(p, 0) - f(0, w) + f(p, w)]
        })
        .collect();
    LOGIT.check("by draw", numbers(&found, "effect by draw"), &draws.concat()).unwrap();
    let column = |at: usize| draws.iter().map(move |draw| draw[at]);
    let means: Vec<f64> = (0..3).map(|at| column(at).sum::<f64>() / 3.0).collect();
    LOGIT.check("effect", numbers(&found, "effect"), &means).unwrap();
    let errors: Vec<f64> = (0..3)
        .map(|at| (column(at).map(|v| (v - means[at]).powi(2)).sum::<f64>() / 2.0 / 3.0).sqrt())
        .collect();
    LOGIT.check("error", numbers(&found, "standard error"), &errors).unwrap();
    let gaps = |at: usize| ((draws[0][at] - draws[1][at]).abs() + (draws[1][at] - draws[2][at]).abs()) / 2.0;
    LOGIT.check("stand-ins", numbers(&found, "stand-ins"), &[gaps(0), gaps(1)]).unwrap();
}

/// What the authors' own module makes of scores that transformers gives: with a constant that is given, and with the one that fits best.
#[test]
fn cf_vqa_is_what_the_authors_module_makes_of_it() {
    for name in ["llava-a", "smolvlm-a"] {
        let oracle = Oracle::open(&format!("methods/cfvqa-{name}")).unwrap();
        let (prompts, pictures) = (strings(&oracle, "prompts"), strings(&oracle, "pictures"));
        let classes = strings(&oracle, "classes");
        let n = oracle.array("with").unwrap().dims[0];
        let case = move |i: usize| Ok(Case::new(shown(&pictures[i % 4], &prompts[i % 5])));
        let labels: Vec<usize> = (0..n).map(|i| i * i % 3).collect();
        let data =
            ManyCases::over(Annotated::new(from_fn("asked", n, case), classes, labels.clone()).unwrap())
                .unwrap();
        let run = |constant| {
            let settings = cf_vqa::Settings { constant, ..Default::default() };
            CfVqa::new(settings).unwrap().run(opened(name), &data).unwrap()
        };
        let of = |name: &str| oracle.array(name).unwrap().values.clone();
        let given = run(Some(oracle.about()["given"].as_f64().unwrap()));
        for (table, wanted) in
            [("with the picture", "with"), ("without", "without"), ("tie", "given.tie"), ("nde", "given.nde")]
        {
            let gap = ANSWER.check(table, numbers(&given, table), &of(wanted)).unwrap();
            println!("{name}, {table}: {:.1e}", gap.absolute);
        }
        let effects = numbers(&given, "effect of the answer");
        for fusion in 0..3 {
            for (at, name) in ["te", "nde", "tie"].iter().enumerate() {
                let all = of(&format!("given.{name}"));
                let own = labels.iter().enumerate().map(|(i, label)| all[i * 9 + fusion * 3 + label]);
                let mean = own.sum::<f64>() / n as f64;
                assert!((f64::from(effects[fusion * 3 + at]) - mean).abs() < 1e-4, "{fusion} {name}");
            }
        }
        // By hm many constants fit as well: what follows from the order of answers is the same, their size is not.
        let found = run(None);
        let constants = numbers(&found, "constant");
        println!("{name}: constants {constants:?}, {:?}", of("constants"));
        let gap = Tolerance::absolute(1e-3).check("constants", &constants[1..], &of("constants")[1..]);
        assert!(gap.is_ok(), "{gap:?}");
        assert!(kinds(&found).contains(&CautionKind::NotConverged), "{:?}", found.cautions());
        let wide = found.cautions().into_iter().find(|own| own.kind == CautionKind::NotConverged).unwrap();
        assert!(wide.number > 1.0 && wide.text.starts_with("constants of hm over"), "{wide:?}");
        let wanted = of("fitted.tie");
        let tie = numbers(&found, "tie");
        for i in 0..n {
            for fusion in 1..3 {
                let at = (i * 3 + fusion) * 3;
                Tolerance::absolute(1e-3).check("fitted", &tie[at..at + 3], &wanted[at..at + 3]).unwrap();
            }
            let less = |all: &[f64]| [all[1] - all[0], all[2] - all[0]];
            let own: Vec<f64> = tie[i * 9..i * 9 + 3].iter().map(|v| f64::from(*v)).collect();
            let (own, wanted) = (less(&own), less(&wanted[i * 9..i * 9 + 3]));
            assert!(own.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-3), "{own:?} {wanted:?}");
        }
    }
}

/// Hooks in transformers, one unit after the other, the chosen and the random sets.
#[test]
fn mediation_is_what_hooks_in_transformers_make_of_it() {
    let pairs = [
        ("llava-a", shown("square", "<image>Red?"), shown("tall", "<image>Red?")),
        ("gpt2-a", Sample::new(Vec::new(), Words::Prompt("It is blue.".to_owned())), {
            Sample::new(Vec::new(), Words::Prompt("It is left.".to_owned()))
        }),
    ];
    for (name, clean, corrupted) in pairs {
        let oracle = Oracle::open(&format!("methods/causal-mediation-{name}")).unwrap();
        let target = oracle.about()["target"].as_u64().unwrap() as u32;
        let base = causal_mediation::Settings { random: 6, joint: 3, ..Default::default() };
        let neurons = causal_mediation::Settings {
            units: UnitsOf::Neurons,
            layers: Indices::At(vec![1]),
            positions: Positions::Last,
            ..base.clone()
        };
        let layers = causal_mediation::Settings { units: UnitsOf::Layers(Point::AttnOut), ..base.clone() };
        for (way, settings) in [("heads", base), ("neurons", neurons), ("layers", layers)] {
            let pair = Pair {
                clean: Case { sample: clean.clone(), target: Target::Token(target) },
                corrupted: corrupted.clone(),
            };
            let found = CausalMediation::new(settings).unwrap().run(opened(name), &pair).unwrap();
            let of = |key: &str| oracle.array(&format!("{way}.{key}")).unwrap().values.clone();
            let mut gaps = Vec::new();
            for table in ["nie", "nde"] {
                gaps.push(MEDIATED.check(table, numbers(&found, table), &of(table)).unwrap().absolute);
            }
            for table in ["total", "clean", "corrupted"] {
                let own = [found.table(table).unwrap().as_scalar().unwrap()];
                gaps.push(MEDIATED.check(table, &own, &of(table)).unwrap().absolute);
            }
            let joint = numbers(&found, "joint");
            let row = |at: usize| joint[at * 4..at * 4 + 2].to_vec();
            // Layers are three: too few to choose among.
            let chosen = way != "layers";
            gaps.push(MEDIATED.check("all", &row(usize::from(chosen)), &of("all")).unwrap().absolute);
            if chosen {
                gaps.push(MEDIATED.check("chosen", &row(0), &of("chosen")).unwrap().absolute);
                let random: Vec<f64> = of("random").iter().step_by(2).copied().collect();
                gaps.push(MEDIATED.check("random", numbers(&found, "random"), &random).unwrap().absolute);
                let names = strings(&oracle, &format!("{way} chosen"));
                assert_eq!(found.table("chosen").unwrap().as_texts().unwrap(), names);
                let largest = of("chosen")[0].abs();
                let beyond = random.iter().filter(|own| own.abs() >= largest).count();
                let p = found.table("p").unwrap().as_scalar().unwrap();
                assert!((f64::from(p) - (1 + beyond) as f64 / 7.0).abs() < 1e-6);
            } else {
                assert!(found.find("chosen").is_none() && found.find("p").is_none());
            }
            println!("{name}, {way}: {:.1e}", gaps.iter().copied().fold(0.0, f64::max)); // no NaN: checked gaps
        }
    }
}
