//! Tuned lenses: against torch's optimiser, against the logit lens, against another way to the minimum, against misuse.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Analysis, AnalysisError, AnyAnalysis, Case, Cases, Fit, Fitted, Given, ManyCases, On, Outcome, Part,
    Plan, Point, Sample, Seed, Site, Source, Subject, Subset, Unwatched, Watch, from_fn,
};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_engine::{Limits, Positions, minimise};
use mmlens_model::logit_lens::{self, LogitLens};
use mmlens_model::tuned_lens::{Learned, Lens, Settings, Taught, TunedLens};
use mmlens_testkit::{Oracle, Toy, analysis_breaches, checkpoint};
use proptest::prelude::*;
use serde_json::Value;

use crate::identities::{asked, few};
use crate::support::{llava, numbers, shown};

/// Losses in f32, which torch adds up in another order.
const LOSS: Tolerance = Tolerance::either(2e-5, 1e-4);
/// Weights behind a few steps: gradients of f32, divided by their norm.
const WEIGHT: Tolerance = Tolerance::either(2e-6, 2e-4);

fn fit(settings: Settings) -> TunedLens {
    TunedLens::new(settings).unwrap()
}

fn words(count: usize) -> impl Cases {
    let text = |i: usize| {
        format!("{}{}{}", ["a", "c", "f"][i % 3], ["d", "e", "f", "g", "h"][i % 5], "b".repeat(1 + i % 3))
    };
    from_fn("words", count, move |i| Ok(Case::new(Sample::text(text(i)))))
}

fn as_in_torch(name: &str, subject: &dyn Subject) {
    let oracle = Oracle::open(&format!("methods/tuned-lens-{name}")).unwrap();
    let about = |key: &str| oracle.about()[key].clone();
    let listed = about("cases").as_array().unwrap().clone();
    let data = from_fn("oracle", listed.len(), |i| {
        let text = |at: usize| listed[i][at].as_str().map(str::to_owned);
        let prompt = text(1).unwrap();
        Ok(Case::new(match text(0) {
            Some(picture) => shown(&[&picture], &prompt),
            None => Sample::prompt(vec![], prompt),
        }))
    });
    let settings = Settings {
        steps: about("steps").as_u64().unwrap() as usize,
        batch: about("batch").as_u64().unwrap() as usize,
        held_out: about("held_out").as_f64().unwrap(),
        bias_only: about("bias_only").as_bool().unwrap(),
        rows: 7,
        ..Settings::default()
    };
    let seed = Seed(about("seed").as_u64().unwrap());
    let (_, out) = Subset::split(&data, settings.held_out, seed).unwrap();
    let wanted: Vec<usize> =
        about("out").as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
    assert_eq!(out.chosen(), wanted);
    let learned = TunedLens::new(settings).unwrap().learn(&On::new(subject), &data, seed).unwrap();
    let wanted = |key: &str| &oracle.array(key).unwrap().values;
    let losses = LOSS.check("losses", numbers(&learned.finding, "loss by step"), wanted("losses")).unwrap();
    let missed = LOSS.check("missed", numbers(&learned.finding, "divergence"), wanted("divergence")).unwrap();
    let parts = learned.fitted.parts().unwrap();
    let depths = learned.fitted.translators().len();
    let of = |what: &str| -> Vec<f32> {
        (0..depths)
            .flat_map(|at| parts.tensors[&format!("{at}.{what}")].values.clone())
            .map(|x| x as f32)
            .collect()
    };
    let bias = WEIGHT.check("biases", &of("bias"), wanted("bias")).unwrap();
    println!("{name}: {losses:?} {missed:?} {bias:?}");
    match about("bias_only") {
        Value::Bool(true) => assert!(!parts.tensors.contains_key("0.weight")),
        _ => println!("{:?}", WEIGHT.check("weights", &of("weight"), wanted("weight")).unwrap()),
    }
}

#[test]
fn the_first_steps_are_those_of_torch() {
    as_in_torch("llava-a", llava("llava-a"));
    as_in_torch("gpt2-a", mmlens_zoo::open(checkpoint("gpt2-a"), &Device::default()).unwrap().as_ref());
}

/// A lens that learned nothing, of a subject.
fn unlearned(subject: &dyn Subject, rows: usize) -> Lens {
    let text = subject.anatomy().iter().find(|own| own.part == Part::Text).unwrap();
    let (wide, blocks) = (text.d_model, text.blocks);
    let tensors = (0..blocks).flat_map(|depth| {
        let zeros = |shape: Vec<usize>| {
            let values = vec![0.0; shape.iter().product()];
            mmlens_files::Doubles { shape, values }
        };
        [(format!("{depth}.weight"), zeros(vec![wide, wide])), (format!("{depth}.bias"), zeros(vec![wide]))]
    });
    let about = serde_json::json!({
        "part": "text", "top": 3, "positions": "all", "layers": "all", "rows": rows, "weights": subject.weights_hash(),
    });
    let parts = mmlens_core::Parts { tensors: tensors.collect(), about: about.to_string() };
    Lens::of(parts).unwrap()
}

proptest! {
    #![proptest_config(few())]

    /// Nothing learned is the logit lens, of any subject and words; rows decide nothing, neither of what is shown nor of what is learned.
    #[test]
    fn what_is_not_learned_and_how_it_is_packed_decide_nothing(seed in 0..99_u64, word in "[a-f]{2,6}", rows in 1..5_usize) {
        let toy = Toy::curved(seed);
        let case = Case::new(Sample::text(word.as_str()));
        let plain = LogitLens::new(logit_lens::Settings { top: 3, rows, ..Default::default() }).unwrap().run(&toy, &case).unwrap();
        let own = unlearned(&toy, rows).run(&toy, &case).unwrap();
        for table in plain.tables() {
            prop_assert_eq!(own.table(table.name()).unwrap(), table);
        }
        prop_assert_eq!(numbers(&own, "divergence"), numbers(&own, "divergence of the logit lens"));
        let learned = |rows| {
            let settings = Settings { steps: 3, batch: 4, rows, ..Settings::default() };
            fit(settings).learn(&On::new(&toy), &words(10), Seed(seed)).unwrap().finding
        };
        let (one, other) = (learned(1), learned(1 + rows));
        LOSS.check("losses", numbers(&one, "loss by step"), numbers(&other, "loss by step")).unwrap();
    }
}

/// Nothing learned: the tables of the logit lens, bit for bit.
#[test]
fn without_a_step_it_is_the_logit_lens() {
    let subject = llava("llava-a");
    let lens = unlearned(subject, 5);
    let case = Case::new(shown(&["square"], "<image>Red?"));
    let own = lens.run(subject, &case).unwrap();
    let settings = logit_lens::Settings { top: 3, rows: 5, ..Default::default() };
    let plain = LogitLens::new(settings).unwrap().run(subject, &case).unwrap();
    for table in plain.tables() {
        assert_eq!(own.table(table.name()).unwrap(), table, "{}", table.name());
    }
    assert_eq!(numbers(&own, "divergence"), numbers(&own, "divergence of the logit lens"));
    assert!(own.cautions().is_empty());
}

/// Where states are read out by a matrix the divergence is convex in the bias: another way to the minimum, and another program.
#[test]
fn it_comes_to_the_minimum() {
    let toy = Toy::straight(3);
    let data = words(12);
    let settings = Settings {
        bias_only: true,
        steps: 400,
        batch: 9, // all that are learned from
        weight_decay: 0.0,
        clip: None,
        rate: 3.0,
        held_out: 0.25,
        ..Settings::default()
    };
    let learned = fit(settings).learn(&On::new(&toy), &data, Seed(2)).unwrap();
    let (kept, _) = Subset::split(&data, 0.25, Seed(2)).unwrap();
    assert_eq!(kept.len(), 9);
    let wide = toy.anatomy().iter().find(|own| own.part == Part::Text).unwrap().d_model;
    // Rows of the unembedding, by reading out the unit vectors.
    let unembed = {
        let eye: Vec<f32> = (0..wide * wide).map(|i| f32::from(u8::from(i / wide == i % wide))).collect();
        let eye = mmlens_core::AnyTensor::from_values(eye, &[wide, wide], &Device::default()).unwrap();
        toy.read_out(Part::Text, eye).unwrap().to_values().unwrap()
    };
    let vocabulary = unembed.len() / wide;
    let read = |state: &[f64]| -> Vec<f32> {
        (0..vocabulary)
            .map(|v| (0..wide).map(|d| state[d] * f64::from(unembed[d * vocabulary + v])).sum::<f64>() as f32)
            .collect()
    };
    let sites = [Site::block(Part::Text, 0, Point::ResidPre), Site::block(Part::Text, 1, Point::ResidPost)];
    let (mut states, mut targets) = (Vec::new(), Vec::new());
    for i in 0..kept.len() {
        let inputs = toy.encode(&kept.case(i).unwrap().sample).unwrap();
        let plan = sites.iter().fold(Plan::new(), |plan, site| plan.read(*site).unwrap());
        let trace = toy.run(&inputs, plan).unwrap();
        let rows = |site| -> Vec<Vec<f64>> {
            let values = trace.get(site).unwrap().to_values().unwrap();
            values.chunks(wide).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
        };
        states.extend(rows(sites[0]));
        targets.extend(
            rows(sites[1]).iter().map(|row| mmlens_engine::distribution::log_probabilities(&read(row))),
        );
    }
    let loss = |bias: &[f64], gradient: &mut [f64]| -> f64 {
        let mut sum = 0.0;
        gradient.fill(0.0);
        for (state, target) in states.iter().zip(&targets) {
            let moved: Vec<f64> = state.iter().zip(bias).map(|(h, b)| h + b).collect();
            let own = mmlens_engine::distribution::log_probabilities(&read(&moved));
            sum += mmlens_engine::distribution::divergence(target, &own);
            for (v, (own, target)) in own.iter().zip(target).enumerate() {
                for (d, slot) in gradient.iter_mut().enumerate() {
                    *slot += (own.exp() - target.exp()) * f64::from(unembed[d * vocabulary + v]);
                }
            }
        }
        let n = states.len() as f64;
        gradient.iter_mut().for_each(|g| *g /= n);
        sum / n
    };
    let limits = Limits { steps: 500, gradient: 1e-7 };
    let best = minimise("test", vec![0.0; wide], limits, &mut { loss }, &mut |_| Ok(())).unwrap().value;
    let at = |bias: &[f64]| loss(bias, &mut vec![0.0; wide]);
    let parts = learned.fitted.parts().unwrap();
    let found = at(&parts.tensors["0.bias"].values);
    let start = at(&vec![0.0; wide]);
    assert!(start - best > 0.05 && found - best < 1e-3 * (start - best), "{start} {found} {best}");
    let steps = numbers(&learned.finding, "loss by step");
    assert!((f64::from(steps[0]) - start).abs() < 1e-5, "{} {start}", steps[0]);
}

struct Until(usize);

impl Watch for Until {
    fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
        if done >= self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn same(left: &Outcome<Lens>, right: &Outcome<Lens>) {
    assert_eq!(left.fitted.parts().unwrap(), right.fitted.parts().unwrap());
    assert_eq!(left.finding.to_bytes().unwrap(), right.finding.to_bytes().unwrap());
    assert_eq!(left.ended, right.ended);
}

#[test]
fn what_was_cut_off_goes_on_to_the_same_bits() {
    let (toy, data, folder) = (Toy::curved(4), words(14), tempfile::tempdir().unwrap());
    let method = fit(Settings { steps: 26, batch: 3, ..Settings::default() });
    let whole = method.learn(&On::new(&toy), &data, Seed(9)).unwrap();
    let keep = folder.path().join("kept.safetensors");
    for until in [4, 13, 21, 26] {
        let watch = Until(until);
        let on = On::new(&toy).watched(&watch);
        let error = method.learn_from(&Source::Cases(&on, &data), Seed(9), Some(&keep)).unwrap_err();
        assert!(
            matches!(error, AnalysisError::Cancelled { done, total: 27, .. } if done == until),
            "{error}"
        );
        assert_eq!(keep.exists(), until >= 10);
    }
    let on = On::new(&toy);
    same(&method.learn_from(&Source::Cases(&on, &data), Seed(9), Some(&keep)).unwrap(), &whole);
    // Once more: nothing is left to do.
    same(&method.learn_from(&Source::Cases(&on, &data), Seed(9), Some(&keep)).unwrap(), &whole);
    // Nobody goes on from another fit.
    let said = method.learn_from(&Source::Cases(&on, &data), Seed(8), Some(&keep)).unwrap_err().to_string();
    assert!(
        said.starts_with("tuned-lens needs a file of this fit to go on from, but ")
            && said.contains("it was begun as"),
        "{said}"
    );
    std::fs::write(&keep, b"no file").unwrap();
    let said = method.learn_from(&Source::Cases(&on, &data), Seed(9), Some(&keep)).unwrap_err().to_string();
    assert!(said.contains("is no safetensors file"), "{said}");
    // A model that is owned, and a data set, are the same as borrowed ones.
    let taught = Taught { subject: Arc::new(Toy::curved(4)), data: ManyCases::over(words(14)).unwrap() };
    same(&method.fit(&taught, Seed(9), &Unwatched).unwrap(), &whole);
}

#[test]
fn what_was_learned_is_saved_loaded_published_and_shown() {
    let (toy, data, folder) = (Toy::curved(4), words(14), tempfile::tempdir().unwrap());
    let learned = fit(Settings { steps: 6, batch: 3, ..Settings::default() })
        .learn(&On::new(&toy), &data, Seed(9))
        .unwrap();
    let path = folder.path().join("lens.safetensors");
    learned.fitted.save(&path).unwrap();
    let loaded = Lens::load(&path).unwrap();
    assert_eq!(loaded.parts().unwrap(), learned.fitted.parts().unwrap());
    let case = asked(1, "abc", 4);
    let run = |lens: &Lens| lens.run(&toy, &case).unwrap();
    assert_eq!(run(&loaded).to_bytes().unwrap(), run(&learned.fitted).to_bytes().unwrap());
    learned.fitted.publish(folder.path(), "toy").unwrap();
    let config: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("config.json")).unwrap()).unwrap();
    assert_eq!((config["d_model"].as_u64(), config["num_hidden_layers"].as_u64()), (Some(6), Some(2)));
    let again = Lens::published(folder.path(), Part::Text, toy.weights_hash()).unwrap();
    assert_eq!(numbers(&run(&again), "target"), numbers(&run(&loaded), "target"));
    // Another choice of what is shown.
    let some = loaded.showing(|own: &mut Learned| (own.top, own.positions) = (2, Positions::Last)).unwrap();
    assert_eq!(run(&some).table("words").unwrap().shape(), [3, 1, 2]);
    assert!(numbers(&run(&loaded), "divergence").iter().all(|own| *own > -1e-6));
    // A config that says something else.
    std::fs::write(folder.path().join("config.json"), r#"{"d_model": 7, "num_hidden_layers": 2}"#).unwrap();
    let said = Lens::published(folder.path(), Part::Text, "").unwrap_err().to_string();
    assert!(
        said.contains("it says 2 layers of width 7, and params.safetensors holds 2 of width 6"),
        "{said}"
    );
    let said = Lens::new(Learned::default()).unwrap_err().to_string();
    assert_eq!(said, "tuned-lens: translators = none, but a tuned lens is learned, or loaded from its file");
}

#[test]
fn a_lens_keeps_the_contract_of_methods() {
    let (toy, data) = (Toy::curved(2), words(14));
    let learned = fit(Settings { steps: 5, batch: 2, ..Settings::default() })
        .learn(&On::new(&toy), &data, Seed(1))
        .unwrap();
    let given = Given::new(asked(3, "abd", 5)).unwrap();
    let probe = toy.encode(&given.case.sample).unwrap();
    let lens: &dyn AnyAnalysis = &learned.fitted;
    assert_eq!(analysis_breaches(lens, &toy, &given, &probe), Vec::<String>::new());
    // The last layer says what the model says, whatever was learned.
    let found = learned.fitted.run(&toy, &given.case).unwrap();
    let last = |name: &str| -> Vec<f32> {
        let table = found.table(name).unwrap();
        let own = table.shape()[1..].iter().product::<usize>();
        table.as_numbers().unwrap()[(table.shape()[0] - 1) * own..].to_vec()
    };
    assert!(last("divergence").iter().all(|own| *own == 0.0));
    let plain = LogitLens::new(logit_lens::Settings::default()).unwrap().run(&toy, &given.case).unwrap();
    let table = numbers(&plain, "target");
    assert_eq!(last("target"), table[table.len() - last("target").len()..]);
    // A lens of another model is told apart, and one of another shape refused.
    let other = learned.fitted.run(&Toy::curved(3), &given.case).unwrap();
    assert_eq!(other.cautions().iter().map(|own| own.kind).collect::<Vec<_>>(), [CautionKind::Other]);
    let said = learned
        .fitted
        .run(llava("llava-a"), &Case::new(shown(&["square"], "<image>Red?")))
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with("tuned-lens needs a part of 2 blocks of width 6, but this one has 3 of width "),
        "{said}"
    );
}

/// On the built-in model, of scenes it never saw: words and patches are read earlier than by the logit lens, and better than by knowing
/// how often words come.
#[test]
fn what_is_held_out_is_read_better() {
    let subject = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let data = ShapesCases::new(World::new(0), Split::Train, Kind::Colour, 60);
    let settings = Settings { steps: 30, batch: 8, ..Settings::default() };
    let learned = fit(settings).learn(&On::new(&subject), &data, Seed(1)).unwrap();
    let table = learned.finding.table("divergence").unwrap();
    for layer in 0..4 {
        let [logit, tuned, constant] = [0, 1, 2].map(|which| table.get(&[layer, which]).unwrap());
        println!("layer {layer}: {logit} {tuned} {constant}");
        assert!(tuned < 0.6 * logit && tuned < constant, "{layer}: {logit} {tuned} {constant}");
    }
    assert!(learned.finding.cautions().is_empty(), "{:?}", learned.finding.cautions());
    let counts = numbers(&learned.finding, "positions");
    assert!(counts[0] <= counts[1] && counts[2] > 0.0, "{counts:?}");
    // What is told of the positions held out is the mean of what the lens shows of them.
    let (_, out) = Subset::split(&data, 0.2, Seed(1)).unwrap();
    let (mut sums, mut n) = ([0.0_f64; 2], 0);
    for i in 0..out.len() {
        let found = learned.fitted.run(&subject, &out.case(i).unwrap()).unwrap();
        for (slot, name) in sums.iter_mut().zip(["divergence of the logit lens", "divergence"]) {
            let shape = found.table(name).unwrap().shape();
            *slot +=
                numbers(&found, name)[2 * shape[1]..3 * shape[1]].iter().map(|x| f64::from(*x)).sum::<f64>();
        }
        n += found.table("divergence").unwrap().shape()[1];
    }
    for (which, sum) in sums.into_iter().enumerate() {
        let told = f64::from(table.get(&[2, which]).unwrap());
        assert!((sum / n as f64 - told).abs() < 1e-5, "{which}: {} {told}", sum / n as f64);
    }
}

fn kinds(found: &Finding) -> Vec<CautionKind> {
    found.cautions().iter().map(|own| own.kind).collect()
}

#[test]
fn a_lens_that_learned_too_little_or_the_wrong_way_says_so() {
    let subject = llava("llava-a");
    let data = from_fn("two", 2, |i| Ok(Case::new(shown(&["square"], ["<image>Red?", "<image>Big?"][i]))));
    let learned = |positions, rate| {
        let settings = Settings { steps: 4, batch: 1, positions, rate, ..Settings::default() };
        fit(settings).learn(&On::new(subject), &data, Seed(1)).unwrap().finding
    };
    let few = learned(Positions::Last, 0.1);
    assert!(kinds(&few).contains(&CautionKind::FewRows));
    assert!(few.cautions()[0].text.starts_with("1 positions were learned from"), "{:?}", few.cautions());
    assert!(!kinds(&learned(Positions::All, 1.0)).contains(&CautionKind::FewRows));
    let wild = learned(Positions::All, 1e4);
    let table = wild.table("divergence").unwrap();
    let worse = (0..3).filter(|at| table.get(&[*at, 1]).unwrap() > table.get(&[*at, 0]).unwrap()).count();
    let told: Vec<f32> = wild
        .cautions()
        .iter()
        .filter(|own| own.kind == CautionKind::Reversed)
        .map(|own| own.number)
        .collect();
    assert!(worse > 0 && told == [worse as f32], "{worse} {told:?}");
}

#[test]
fn every_kind_that_says_a_distribution_is_tuned_and_others_are_refused() {
    let picture = || shown(&["square"], "").pictures;
    let texts = |text: &str| Sample::new(picture(), mmlens_core::Words::Texts(vec![text.to_owned()]));
    let said = |name: &str, sample: &(dyn Fn(usize) -> Sample + Sync)| -> Result<Finding, String> {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let data = from_fn("some", 4, |i| Ok(Case::new(sample(i))));
        let settings = Settings { steps: 2, batch: 2, ..Settings::default() };
        let learned = fit(settings).learn(&On::new(subject.as_ref()), &data, Seed(1));
        learned.map(|own| own.finding).map_err(|error| error.to_string())
    };
    let words = ["red", "big", "a dot", "is it red"];
    let ask = |i: usize| Sample::ask(shown(&["wide"], "").pictures.remove(0), words[i]);
    for name in ["llava-next-a", "smolvlm-a", "qwen2-vl-a", "qwen3-vl-a"] {
        assert!(numbers(&said(name, &ask).unwrap(), "divergence").iter().all(|own| *own >= 0.0), "{name}");
    }
    assert!(said("bert-a", &|i| Sample::prompt(vec![], format!("a [MASK] {}", words[i]))).is_ok());
    assert!(said("gemma2-a", &|i| Sample::prompt(vec![], words[i])).is_ok());
    assert!(said("vit-a", &|_| Sample::new(picture(), mmlens_core::Words::Nothing)).is_ok());
    assert!(said("blip-a", &|i| Sample::prompt(picture(), words[i])).is_ok());
    assert_eq!(
        said("clip-a", &|i| texts(words[i])).unwrap_err(),
        "tuned-lens needs a part whose states are read out as words or classes, but no part of this subject ends in logits"
    );
    assert_eq!(
        said("blip-qa", &ask).unwrap_err(),
        "tuned-lens needs words in the language model, but an encoder of its own reads them"
    );
    let refused = |settings: Settings| TunedLens::new(settings).unwrap_err().to_string();
    assert_eq!(
        refused(Settings { steps: 0, ..Settings::default() }),
        "tuned-lens: steps = 0, but it must be at least 1"
    );
    assert_eq!(
        refused(Settings { momentum: 1.0, ..Settings::default() }),
        "tuned-lens: momentum = 1, but it must be at least 0 and below 1"
    );
    let one = fit(Settings::default())
        .learn(&On::new(&Toy::curved(1)), &words_of_one(), Seed(1))
        .unwrap_err()
        .to_string();
    assert!(one.contains("0.2 of its groups cannot be held out"), "{one}");
}

fn words_of_one() -> impl Cases {
    from_fn("one", 1, |_| Ok(Case::new(Sample::text("abc"))))
}
