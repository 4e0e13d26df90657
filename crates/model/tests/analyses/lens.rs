//! The logit lens on towers: against transformers, against the model's own output, and what it refuses.

use burn::tensor::Device;
use mmlens_core::finding::{Finding, Labels, Role, Tolerance};
use mmlens_core::{
    Analysis, AnalysisError, Case, Given, Memory, Objective, On, Part, Picture, Plan, Sample, Subject,
    Target, Words,
};
use mmlens_engine::Positions;
use mmlens_engine::distribution::log_probabilities;
use mmlens_model::METHODS;
use mmlens_model::logit_lens::{LogitLens, Settings};
use mmlens_testkit::{Oracle, analysis_breaches, checkpoint, picture};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{llava, numbers, question, total};

/// Another order of summation in f32: cosines are at most 1.
const COSINE: Tolerance = Tolerance::absolute(2e-6);
/// The same, times a scale of some tens.
const LOGIT: Tolerance = Tolerance::either(1e-5, 1e-5);

fn opened(name: &str) -> Box<dyn Subject> {
    mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap()
}

fn pictures(names: &[&str]) -> Vec<Picture> {
    names.iter().map(|name| Picture::open(picture(name)).unwrap()).collect()
}

fn captioned(names: &[&str], texts: &[&str]) -> Case {
    let texts = Words::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
    Case { sample: Sample::new(pictures(names), texts), target: Target::Objective(Objective::Similarity) }
}

fn lens(settings: Settings) -> LogitLens {
    LogitLens::new(settings).unwrap()
}

fn of(part: Part) -> LogitLens {
    lens(Settings { part: Some(part), ..Settings::default() })
}

fn said(found: Result<Finding, AnalysisError>) -> String {
    found.unwrap_err().to_string()
}

#[test]
fn both_towers_of_a_clip_as_transformers_reads_them() {
    let (subject, oracle) = (opened("clip-a"), Oracle::open("methods/lens-clip-a").unwrap());
    let texts = |of: &str| -> Vec<String> {
        oracle.about()[of].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let (images, texts) = (texts("images"), texts("texts"));
    let [images, texts] = [&images, &texts].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
    let case = captioned(&images, &texts);
    let wanted = |name: &str| oracle.array(name).unwrap();
    let whole = LogitLens::new(Settings { rows: 7, ..Settings::default() }).unwrap();
    let found = whole.run(subject.as_ref(), &case).unwrap();
    assert_eq!(found.provenance.settings["part"], json!("vision"));
    let [layers, entries, positions, captions] = wanted("vision").dims[..] else { panic!() };
    for (table, name, tolerance) in [
        ("cosine", "vision", COSINE),
        ("logits", "vision.logits", Tolerance::relative(1e-5)),
        // a share changes by at most its logit's change
        ("probabilities", "vision.probabilities", Tolerance::absolute(2e-5)),
    ] {
        for entry in 0..entries {
            let own = wanted(name).values.chunks(positions * captions);
            let own: Vec<f64> = own.skip(entry).step_by(entries).flatten().copied().collect();
            assert_eq!(own.len(), layers * positions * captions);
            let gap = tolerance.check(table, numbers(&found, &format!("{table}/{entry}")), &own).unwrap();
            println!("{table}/{entry}: {gap:?}");
        }
    }
    let mean = wanted("vision.mean");
    for entry in 0..entries {
        let own: Vec<f64> =
            mean.values.chunks(captions).skip(entry).step_by(entries).flatten().copied().collect();
        COSINE.check("mean", numbers(&found, &format!("mean cosine/{entry}")), &own).unwrap();
        let cosines = numbers(&found, &format!("cosine/{entry}"));
        let first: Vec<f32> = cosines.iter().step_by(captions).copied().collect();
        assert_eq!(numbers(&found, &format!("target/{entry}")), first);
    }
    let found = of(Part::Text).run(subject.as_ref(), &case).unwrap();
    let (text, lengths) = (wanted("text"), wanted("lengths"));
    let [layers, rows, longest, pictures] = text.dims[..] else { panic!() };
    for row in 0..rows {
        let length = lengths.values[row] as usize;
        let own = text.values.chunks(longest * pictures).skip(row).step_by(rows);
        let own: Vec<f64> = own.flat_map(|layer| &layer[..length * pictures]).copied().collect();
        assert_eq!(own.len(), layers * length * pictures);
        let table = found.table(&format!("cosine/{row}")).unwrap();
        assert_eq!(table.shape(), [layers, length, pictures]);
        COSINE.check("text", table.as_numbers().unwrap(), &own).unwrap();
    }
}

/// What the model's own pass makes of pictures and captions.
fn similarities(subject: &dyn Subject, case: &Case) -> (Vec<f32>, Vec<f32>) {
    let inputs = subject.encode(&case.sample).unwrap();
    let trace = subject.run(&inputs, Plan::new().to_output()).unwrap();
    let pairs = trace.output().pairs.as_ref().unwrap();
    (pairs.logits.to_values().unwrap(), pairs.probabilities().unwrap().to_values().unwrap())
}

const CAPTIONS: [&str; 5] = ["ring", "a red circle", "two GREEN squares, isn't it?", "größer", "a photo"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_last_layer_where_it_is_pooled_is_the_model(
        order in Just((0..CAPTIONS.len()).collect::<Vec<_>>()).prop_shuffle(),
        count in 1..4_usize,
        rows in 1..5_usize,
        wide in any::<bool>(),
    ) {
        let names = if wide { &["wide"][..] } else { &["square", "tall"][..] };
        let texts: Vec<&str> = order.iter().take(count).map(|at| CAPTIONS[*at]).collect();
        let case = captioned(names, &texts);
        for name in ["clip-a", "clip-b", "siglip-a"] {
            let subject = opened(name);
            let (logits, shares) = similarities(subject.as_ref(), &case);
            for part in [Part::Vision, Part::Text] {
                if (name, part) == ("siglip-a", Part::Vision) {
                    continue;
                }
                let found = lens(Settings { part: Some(part), rows, ..Settings::default() });
                let found = found.run(subject.as_ref(), &case).unwrap();
                let (groups, others) = match part {
                    Part::Text => (texts.len(), names.len()),
                    _ => (names.len(), texts.len()),
                };
                for group in 0..groups {
                    let suffix = if groups > 1 { format!("/{group}") } else { String::new() };
                    let table = found.table(&format!("logits{suffix}")).unwrap();
                    let [layers, positions, wide] = table.shape()[..] else { panic!() };
                    prop_assert_eq!(wide, others);
                    let all = table.as_numbers().unwrap();
                    let last = &all[(layers - 1) * positions * others..];
                    let own: Vec<f32> = (0..others)
                        .map(|other| match part {
                            Part::Text => logits[other * texts.len() + group],
                            _ => logits[group * texts.len() + other],
                        })
                        .collect();
                    let same = |at: &usize| LOGIT.check("logits", &last[at * others..(at + 1) * others], &own).is_ok();
                    // A picture is pooled at its class token.
                    let pooled = (0..positions).find(same);
                    prop_assert!(pooled.is_some() && (part == Part::Text || pooled == Some(0)), "{} {:?}", name, pooled);
                    if part == Part::Vision && others > 1 {
                        let share = &numbers(&found, &format!("probabilities{suffix}"))[(layers - 1) * positions * others..];
                        let own = &shares[group * others..(group + 1) * others];
                        Tolerance::absolute(2e-5).check("shares", &share[..others], own).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn captions_in_another_order_are_columns_in_another_order(
        order in Just((0..CAPTIONS.len()).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let subject = opened("clip-a");
        let all = lens(Settings::default()).run(subject.as_ref(), &captioned(&["tall"], &CAPTIONS)).unwrap();
        let texts: Vec<&str> = order.iter().map(|at| CAPTIONS[*at]).collect();
        let turned = lens(Settings::default()).run(subject.as_ref(), &captioned(&["tall"], &texts)).unwrap();
        for name in ["cosine", "logits", "probabilities", "mean cosine"] {
            let (left, right) = (numbers(&all, name), numbers(&turned, name));
            prop_assert!(left.iter().any(|value| *value != left[0]));
            let wanted: Vec<f32> = left.chunks(5).flat_map(|row| order.iter().map(|at| row[*at])).collect();
            LOGIT.check(name, right, &wanted).unwrap();
        }
        prop_assert!(numbers(&turned, "probabilities").chunks(5).all(|row| (total(row) - 1.0).abs() < 1e-5));
    }
}

/// SigLIP judges each pair for itself, a lone one too, with a bias.
#[test]
fn where_pairs_are_judged_apart_so_are_their_shares() {
    let subject = opened("siglip-a");
    let found = lens(Settings::default()).run(subject.as_ref(), &captioned(&["square"], &["ring"])).unwrap();
    assert_eq!(found.provenance.settings["part"], json!("text"));
    let (cosines, logits) = (numbers(&found, "cosine"), numbers(&found, "logits"));
    let inputs = subject.encode(&captioned(&["square"], &["ring"]).sample).unwrap();
    let trace = subject.run(&inputs, Plan::new().to_output()).unwrap();
    let pairs = trace.output().pairs.clone().unwrap();
    let [scale, bias] = [pairs.scale, pairs.bias.unwrap()].map(|x| x.to_values().unwrap()[0]);
    assert!(bias != 0.0);
    for ((cosine, logit), share) in cosines.iter().zip(logits).zip(numbers(&found, "probabilities")) {
        assert!((cosine * scale + bias - logit).abs() < 1e-5);
        assert!((1.0 / (1.0 + (-logit).exp()) - share).abs() < 1e-6);
    }
}

/// The class token, of BLIP's match the first word: the last layer says there what the pass says.
#[test]
fn a_classifier_is_read_as_words_are() {
    let match_of = |text: &str| Words::Texts(vec![text.to_owned()]);
    for (name, part, words) in [
        ("vit-a", Part::Vision, Words::Nothing),
        ("vit-b", Part::Vision, Words::Nothing),
        ("blip-itm", Part::Text, match_of("a red circle")),
    ] {
        let subject = opened(name);
        let sample = Sample::new(pictures(&["wide"]), words);
        let case = Case { sample, target: Target::Token(1) };
        let found = lens(Settings { top: 2, ..Settings::default() }).run(subject.as_ref(), &case).unwrap();
        assert_eq!(found.provenance.settings["part"], json!(part));
        let inputs = subject.encode(&case.sample).unwrap();
        let logits = subject.run(&inputs, Plan::new()).unwrap().output().logits.clone().unwrap();
        let logs = log_probabilities(&logits.to_values().unwrap());
        let table = found.table("target log probability").unwrap();
        let layers = table.shape()[0];
        assert_eq!(layers, mmlens_core::kind::blocks(subject.as_ref(), part) + 1, "{name}");
        let own = f64::from(table.get(&[layers - 1, 0]).unwrap());
        assert!((own - logs[1]).abs() < 1e-5, "{name}: {own} {}", logs[1]);
        let best = if logs[0] >= logs[1] && name == "blip-itm" {
            0
        } else {
            mmlens_core::finding::top(&logits.to_values().unwrap()).unwrap().unwrap()
        };
        let said = found.table("words").unwrap().get_text(&[layers - 1, 0, 0]).unwrap().to_owned();
        assert_eq!(said, subject.token(best as u32), "{name}");
        if part == Part::Vision {
            let Labels::Tokens(tokens) = &table.axes()[1].labels else { panic!("{name}") };
            assert_eq!((tokens[0].text.as_str(), tokens[0].patch), ("class", None));
            assert!(tokens[1..].iter().all(|token| token.patch.is_some()));
        }
    }
}

/// Patches alone, or some positions: the same numbers as among all; and whatever fits into memory at once.
#[test]
fn some_positions_are_those_of_all() {
    let (subject, case) = (opened("clip-a"), captioned(&["square", "wide"], &["ring", "a red circle"]));
    let run = |positions: Positions, rows: usize, memory: Memory| {
        let lens = lens(Settings { positions, rows, ..Settings::default() });
        lens.run_on(&On::new(subject.as_ref()).within(memory), &case).unwrap()
    };
    let all = run(Positions::All, 32, Memory::default());
    let patches = run(Positions::Pictures, 3, Memory::default());
    let some = run(Positions::At(vec![5, 0]), 1, Memory::default());
    for entry in ["cosine/0", "cosine/1"] {
        let [whole, patches, some] = [&all, &patches, &some].map(|found| found.table(entry).unwrap());
        let [layers, positions, captions] = whole.shape()[..] else { panic!() };
        assert_eq!(patches.shape(), [layers, positions - 1, captions]);
        assert_eq!(some.shape(), [layers, 2, captions]);
        for layer in 0..layers {
            for caption in 0..captions {
                let at =
                    |table: &mmlens_core::finding::Labelled, at| table.get(&[layer, at, caption]).unwrap();
                for place in 1..positions {
                    assert!((at(whole, place) - at(patches, place - 1)).abs() < 2e-6);
                }
                assert!(
                    (at(whole, 0) - at(some, 0)).abs() < 2e-6 && (at(whole, 5) - at(some, 1)).abs() < 2e-6
                );
            }
        }
    }
    // Room for a few of the places at a time.
    let (method, least) = (lens(Settings::default()), Memory::bytes(1 << 10));
    let one = match method.run_on(&On::new(subject.as_ref()).within(least), &case) {
        Err(AnalysisError::Memory { need, .. }) => need,
        other => panic!("{other:?}"),
    };
    let tight = Memory::bytes(one + 3_000);
    let cost = method.cost(&On::new(subject.as_ref()).within(tight), &case).unwrap();
    // Two rows in each pass over some of 34 places.
    assert!((6..=34).contains(&cost.forward), "{cost:?}");
    let tight = run(Positions::All, 32, tight);
    COSINE.check("tight", numbers(&tight, "cosine/1"), numbers(&all, "cosine/1")).unwrap();
}

#[test]
fn captions_beside_those_of_the_case_are_compared_too() {
    let subject = opened("clip-a");
    let further = vec!["ring".to_owned(), "a photo".to_owned()];
    let beside = lens(Settings { captions: further, ..Settings::default() });
    let found = beside.run(subject.as_ref(), &captioned(&["tall"], &["ring"])).unwrap();
    let axis = &found.table("cosine").unwrap().axes()[2];
    assert_eq!(
        (axis.role, axis.label(0), axis.label(1), axis.len()),
        (Role::Concept, Some("ring".into()), Some("a photo".into()), 2)
    );
    let both =
        lens(Settings::default()).run(subject.as_ref(), &captioned(&["tall"], &["ring", "a photo"])).unwrap();
    assert_eq!(found.tables(), both.tables());
}

#[test]
fn a_tower_keeps_the_contract_of_methods() {
    let lens = METHODS.iter().find(|method| method.card.id == "logit-lens").unwrap();
    let captions = captioned(&["square"], &["ring", "a red circle"]);
    let class = Case::new(Sample::new(pictures(&["square"]), Words::Nothing));
    for (name, case, settings) in [
        ("clip-a", &captions, json!({ "rows": 5 })),
        ("clip-a", &captions, json!({ "part": "text", "positions": "last" })),
        ("siglip-a", &captions, json!({})),
        ("vit-a", &class, json!({ "positions": "pictures", "rows": 5 })),
    ] {
        let subject = opened(name);
        let given = Given { case: case.clone(), corrupted: None, many: None };
        let probe = subject.encode(&case.sample).unwrap();
        let made = lens.make(settings).unwrap();
        let breaches = analysis_breaches(made.as_ref(), subject.as_ref(), &given, &probe);
        assert!(breaches.is_empty(), "{name}:\n{}", breaches.join("\n"));
    }
}

#[test]
fn what_cannot_be_read_out_is_refused_by_name() {
    let words = |text: &str| Case::new(Sample::prompt(Vec::new(), text));
    let pair = captioned(&["square"], &["ring"]);
    let asked = |text: &str| Case::new(Sample::ask(pictures(&["square"]).remove(0), text));
    let ends = "it ends in states, with neither logits nor a projection into a shared space";
    assert_eq!(
        said(of(Part::Vision).run(opened("siglip-a").as_ref(), &pair)),
        "logit-lens needs states of its part `vision` that can be read out, but it pools all its positions by attention, and \
         none is read by itself"
    );
    assert_eq!(
        said(of(Part::Vision).run(llava("llava-a"), &question())),
        format!("logit-lens needs states of its part `vision` that can be read out, but {ends}")
    );
    assert_eq!(
        said(of(Part::Encoder).run(opened("blip-qa").as_ref(), &asked("ring?"))),
        "logit-lens needs words in the language model, but an encoder of its own reads them"
    );
    assert_eq!(
        said(of(Part::Audio).run(llava("llava-a"), &question())),
        "logit-lens needs states of its part `audio` that can be read out, but there is no such part"
    );
    assert_eq!(
        said(lens(Settings::default()).run(opened("blip-qa").as_ref(), &asked("ring?"))),
        "logit-lens needs words in the language model, but an encoder of its own reads them"
    );
    assert_eq!(
        said(lens(Settings::default()).run(opened("bert-b").as_ref(), &words("ring"))),
        "logit-lens needs a part whose states can be read out, but no part of this subject ends in logits or a projection"
    );
    let clip = opened("clip-a");
    let positions = |positions| lens(Settings { positions, ..Settings::default() }).run(clip.as_ref(), &pair);
    assert_eq!(
        said(positions(Positions::Last)),
        "logit-lens needs positions of a tower: `all`, `pictures` or some by number, but `last` was asked for of its part \
         `vision`"
    );
    assert_eq!(
        said(positions(Positions::At(vec![17]))),
        "logit-lens needs positions that the sample has, but position 17 was asked for of 17"
    );
    let captions = lens(Settings { captions: vec!["ring".to_owned()], ..Settings::default() });
    assert_eq!(
        said(captions.run(llava("llava-a"), &question())),
        "logit-lens needs a dual encoder to compare captions, but 1 were given, and this one gives logits"
    );
    let two =
        Case { sample: Sample::new(pictures(&["square", "wide"]), Words::Nothing), target: Target::Token(1) };
    assert_eq!(
        said(lens(Settings::default()).run(opened("vit-a").as_ref(), &two)),
        "logit-lens needs a sample of one row, but this one has 2"
    );
}
