//! Against transformers: on `llava-a`; on `smolvlm-a`, which cuts a picture into tiles with words between; on `gpt2-a`, which sees none.

use std::sync::Arc;

use mmlens_core::finding::{Mismatch, Tolerance, largest, top};
use mmlens_core::{Analysis, AnyTensor, Case, Generation, Inputs, MASKED, Plan, Reply, Sample, Session};
use mmlens_inference::decoding::{Branch, Branches, Contrast, RowScores, kept_of_signal};
use mmlens_inference::{Decoder, Dola, Pai, Vcd, dola, pai, vcd};
use mmlens_testkit::Oracle;

use crate::support::{asked, numbers, opened};

/// Passes in f32 with a cache, against passes in f32 without one; twice a logit less a logit.
const SCORE: Tolerance = Tolerance::either(1e-5, 2e-6);

/// What the branches say along the tokens of an oracle, one row.
fn along(mut session: Branches<'_>, tokens: &[u32]) -> Vec<RowScores> {
    let mut said = Vec::new();
    for token in tokens {
        said.push(session.scores()[0].clone());
        session.step(&[*token], Plan::new()).unwrap();
    }
    said
}

/// Scores of tokens that can come, which those are, and log-probabilities of what is said.
fn agrees(name: &str, oracle: &Oracle, said: &[RowScores]) {
    let of = |name: &str| oracle.array(name).unwrap();
    let vocab = said[0].own.len();
    let tokens = of("tokens").ids();
    let mut compared = 0;
    let mut gaps = Vec::new();
    for (step, row) in said.iter().enumerate() {
        let wanted = &of("scores").values[step * vocab..][..vocab];
        let can = &of("plausible").values[step * vocab..][..vocab];
        let own: Vec<f64> = row.scores.iter().map(|score| f64::from(u8::from(*score > MASKED))).collect();
        assert_eq!(own, can, "{name}: what can come at step {step}");
        assert_eq!(row.plausible as f64, can.iter().sum::<f64>());
        let (found, wanted): (Vec<f32>, Vec<f64>) = (0..vocab)
            .filter(|token| can[*token] == 1.0)
            .map(|token| (row.scores[token], wanted[token]))
            .unzip();
        gaps.push(SCORE.check(name, &found, &wanted).unwrap().absolute);
        compared += found.len();
        assert_eq!(top(&row.scores).unwrap(), Some(tokens[step] as usize), "{name}: step {step}");
    }
    assert!(compared > 20, "{compared}");
    println!("{name}: {compared} scores, {:.1e}", largest(&gaps).unwrap());
}

/// What an oracle asked.
fn sample(oracle: &Oracle) -> Sample {
    let about = oracle.about();
    asked(&about["picture"], about["prompt"].as_str().unwrap())
}

fn inputs(name: &str, oracle: &Oracle) -> Inputs {
    opened(name).encode(&sample(oracle)).unwrap()
}

fn greedy() -> Generation {
    Generation { max_new: 5, stop_at_end: false, ..Generation::default() }
}

/// The tables of the method on the oracle's tokens.
fn follows(oracle: &Oracle, finding: &mmlens_core::finding::Finding) -> Result<(), Mismatch> {
    let logs = oracle.array("logs").unwrap();
    SCORE.check("log probability", numbers(finding, "log probability"), &logs.values)?;
    let apart: Vec<f64> = logs.values.chunks(2).map(|pair| pair[0] - pair[1]).collect();
    SCORE.check("contrast", numbers(finding, "contrast"), &apart)?;
    // What is said greedily has no token before it.
    assert!(numbers(finding, "rank").chunks(2).all(|pair| pair[1] == 0.0));
    Ok(())
}

fn answered(oracle: &Oracle) -> Case {
    let tokens = oracle.array("tokens").unwrap().ids();
    Case::new(sample(oracle).answered(Reply::Tokens(tokens)))
}

#[test]
fn contrast_with_a_noised_picture() {
    for name in ["llava-a", "smolvlm-a"] {
        let oracle = Oracle::open(&format!("methods/decoding-vcd-{name}")).unwrap();
        let method = Vcd::new(vcd::Settings::default()).unwrap();
        let noised = oracle.array("noised").unwrap();
        let own = inputs(name, &oracle);
        let pixels: AnyTensor = own.seen.values.clone().unwrap().filled(noised.f32()).unwrap();
        let other = own.clone().with(|batch| batch.seen.values = Some(pixels)).unwrap();
        let contrast = Contrast {
            own: Branch::plain(own),
            beside: vec![Branch::plain(other)],
            early: None,
            rule: method.rule(),
        };
        let session = Branches::begin(opened(name), Arc::new(contrast), Plan::new()).unwrap();
        let said = along(session, &oracle.array("tokens").unwrap().ids());
        agrees(&format!("vcd, {name}"), &oracle, &said);
        let kept: Vec<f64> = [0, 250, 500, 999].map(kept_of_signal).to_vec();
        // Products of up to a thousand numbers near one, in f32 there.
        let wanted = &oracle.array("kept").unwrap().values;
        let gap = Tolerance::either(5e-6, 5e-6).check("kept", &kept, wanted).unwrap();
        println!("kept: {:.1e}", gap.absolute);
    }
}

#[test]
fn attention_raised_and_words_alone() {
    for name in ["llava-a", "smolvlm-a"] {
        let oracle = Oracle::open(&format!("methods/decoding-pai-{name}")).unwrap();
        let settings = pai::Settings { alpha: 0.5, gamma: 1.5, from: 1, ..pai::Settings::default() };
        let method = Pai::new(settings).unwrap();
        let (subject, tokens) = (opened(name), oracle.array("tokens").unwrap().ids());
        let own = inputs(name, &oracle);
        agrees(&format!("pai, {name}"), &oracle, &along(method.begin(subject, &own).unwrap(), &tokens));
        let written = method.write(subject, &own, &greedy()).unwrap();
        assert_eq!(written[0].tokens, tokens);
        follows(&oracle, &method.run(subject, &answered(&oracle)).unwrap()).unwrap();
    }
}

#[test]
fn layers_are_contrasted_in_both_ways() {
    let variants = [("textbook", dola::Variant::Textbook), ("reference", dola::Variant::Reference)];
    for ((form, variant), name) in variants.into_iter().flat_map(|own| [(own, "llava-a"), (own, "gpt2-a")]) {
        let oracle = Oracle::open(&format!("methods/decoding-dola-{form}-{name}")).unwrap();
        let layers = dola::Layers::At(vec![2, 0, 1]);
        let method = Dola::new(dola::Settings { layers, variant, ..dola::Settings::default() }).unwrap();
        let (subject, tokens) = (opened(name), oracle.array("tokens").unwrap().ids());
        let own = inputs(name, &oracle);
        let said = along(method.begin(subject, &own).unwrap(), &tokens);
        agrees(&format!("dola, {form}, {name}"), &oracle, &said);
        let layers: Vec<f64> = said.iter().map(|row| row.other.as_ref().unwrap().0 as f64).collect();
        assert_eq!(layers, oracle.array("layer").unwrap().values);
        let written = method.write(subject, &own, &greedy()).unwrap();
        assert_eq!(written[0].tokens, tokens);
        let finding = method.run(subject, &answered(&oracle)).unwrap();
        follows(&oracle, &finding).unwrap();
        let layers: Vec<f64> = numbers(&finding, "layer").iter().map(|layer| f64::from(*layer)).collect();
        assert_eq!(layers, oracle.array("layer").unwrap().values);
    }
}
