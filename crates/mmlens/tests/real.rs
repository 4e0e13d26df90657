//! Trained models: certified, and looked at with every method.
//!
//! `MMLENS_REAL` names the folder that `oracles/real_weights.py` made, `MMLENS_SPEECH` that of `oracles/real_speech.py`; without, the tests are listed as
//! ignored.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a program of tests")]
#![allow(clippy::print_stdout, reason = "what trained models say is worth seeing")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::Device;
use libtest_mimic::{Arguments, Trial};
use mmlens::METHODS;
use mmlens::finding::finite;
use mmlens::model::{AttentionRollout, attention_rollout};
use mmlens::prelude::*;
use mmlens::zoo::certify::certify;
use serde_json::{Value, json};

/// Prompts with the one that leads to another answer, of as many tokens.
const SAID: [(&str, &str); 2] = [
    ("The capital of France is", "The capital of Italy is"),
    ("The keys to the cabinet", "The key to the cabinet"),
];
/// Aspirin, its last atom masked; from another acid.
const MASKED: [(&str, &str); 1] = [(
    "O=C(O)c1ccccc1O.CC(=O)OC(C)=O>>CC(=O)Oc1ccccc1C(=O)[MASK]",
    "O=C(N)c1ccccc1O.CC(=O)OC(C)=O>>CC(=O)Oc1ccccc1C(=O)[MASK]",
)];

fn main() -> ExitCode {
    let of = |variable: &'static str, name: &str, test: fn(&Path)| {
        let folder = env::var_os(variable).map(PathBuf::from);
        let given = folder.clone();
        let trial = Trial::test(name, move || {
            test(&given.unwrap());
            Ok(())
        });
        match folder {
            Some(_) => trial,
            None => trial.with_kind(format!("{variable} names no folder")).with_ignored_flag(true),
        }
    };
    let trial = |name: &str, test: fn(&Path)| of("MMLENS_REAL", name, test);
    let trials = vec![
        trial("a_trained_decoder_is_certified", |folder| certified(folder, "smollm2")),
        trial("a_trained_encoder_is_certified", |folder| certified(folder, "rxnfp")),
        trial("every_method_looks_at_a_trained_decoder", |folder| {
            looked_at(folder, "smollm2", &SAID, decoder);
        }),
        trial("a_trained_decoder_rests_on_its_first_token", rests),
        trial("every_method_looks_at_a_trained_encoder", |folder| {
            looked_at(folder, "rxnfp", &MASKED, encoder);
        }),
        of("MMLENS_SPEECH", "a_trained_whisper_is_certified", hears),
        of("MMLENS_SPEECH", "a_trained_whisper_writes_what_is_said", writes),
    ];
    let mut arguments = Arguments::from_args();
    // One after the other: each takes the whole machine.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn open(folder: &Path, name: &str) -> Box<dyn Subject> {
    mmlens::zoo::open(folder.join(name), &Device::flex()).unwrap()
}

fn certified(folder: &Path, name: &str) {
    let subject = open(folder, name);
    let certificate = certify(subject.as_ref(), &folder.join(format!("{name}.safetensors")), folder).unwrap();
    let failed: Vec<_> = certificate.compared.iter().filter(|compared| !compared.passed).collect();
    println!("{name}: {} values compared, {} beyond their bound", certificate.compared.len(), failed.len());
    assert!(certificate.passed(), "{failed:#?}");
    // Every site of every block, and the gradient.
    let blocks: usize = subject.anatomy().iter().map(|anatomy| anatomy.blocks).sum();
    assert!(certificate.compared.len() > 12 * blocks && blocks >= 12);
    assert!(certificate.compared.iter().any(|compared| compared.name == "grad.text.embed"));
}

fn hears(folder: &Path) {
    let subject = open(folder, "tiny-en");
    let certificate = certify(subject.as_ref(), &folder.join("tiny-en.safetensors"), folder).unwrap();
    let failed: Vec<_> = certificate.compared.iter().filter(|compared| !compared.passed).collect();
    assert!(certificate.passed(), "{failed:#?}");
    assert!(certificate.compared.iter().any(|compared| compared.name == "grad.audio.mel"));
}

/// What transformers writes down of three sentences is written down here.
fn writes(folder: &Path) {
    let subject = open(folder, "tiny-en");
    let said = std::fs::read(folder.join("said.json")).unwrap();
    let said: std::collections::BTreeMap<String, String> = serde_json::from_slice(&said).unwrap();
    assert!(said.len() >= 3);
    for (name, text) in said {
        let recording = sound::Sound::open(folder.join(format!("speech-{name}.wav"))).unwrap();
        let sample = Sample::new(Vec::new(), Words::Nothing).with_recordings(vec![recording]);
        let inputs = subject.encode(&sample).unwrap();
        let how = Generation { max_new: 40, sampling: Sampling::Greedy, stop_at_end: true };
        let written = subject.generate(&inputs, &how).unwrap();
        let written = subject.decode(&written[0].tokens).unwrap();
        println!("{name}: {written}");
        assert_eq!(written, text);
    }
}

/// Settings that keep a method to some seconds, where its defaults do not: few samples, and the senders of two blocks.
fn settings(short: &str) -> Value {
    match short {
        "smooth" => json!({ "site": "text.embed", "samples": 2, "with": { "steps": 16 } }),
        "away" => json!({ "phrase": "red" }),
        "paths" => {
            json!({ "senders": ["input", "0.h0", "0.mlp", "10.h0"], "receivers": { "each": ["11.q0", "logits"] } })
        }
        "tracing" => json!({ "draws": 3, "points": ["resid_post"] }),
        "lime" => json!({ "samples": 40 }),
        "permshap" => json!({ "orders": 2 }),
        _ => json!({}),
    }
}

fn looked_at(
    folder: &Path,
    name: &str,
    prompts: &[(&str, &str)],
    check: fn(&str, Result<&Finding, &AnalysisError>),
) {
    let subject = open(folder, name);
    let of = |text: &str| Sample::prompt(Vec::new(), text);
    for (clean, corrupted) in prompts {
        let texts: Vec<String> =
            prompts.iter().flat_map(|(a, b)| [(*a).to_owned(), (*b).to_owned()]).collect();
        let many = from_fn(name, texts.len(), move |at: usize| {
            Ok(Case::new(Sample::prompt(Vec::new(), texts[at].clone())))
        });
        let given = Given::new(Case::new(of(clean))).unwrap().against(of(corrupted));
        let labels = (0..prompts.len()).flat_map(|_| [0, 1]).collect();
        let many = Annotated::new(many, ["clean", "corrupted"], labels).unwrap();
        let given = given.over(ManyCases::over(many).unwrap());
        let made: Vec<_> =
            METHODS.iter().map(|method| method.make(settings(method.card.short)).unwrap()).collect();
        let (mut found, mut started) = (0, Instant::now());
        for (method, finding) in METHODS.iter().zip(explain(&made, On::new(subject.as_ref()), &given)) {
            let (short, took) = (method.card.short, started.elapsed());
            started = Instant::now();
            match &finding {
                Ok(finding) => {
                    found += 1;
                    println!("{name}, {clean}: {short}, {took:.1?}: {:?}", finding.cautions());
                    for table in finding.tables() {
                        let numbers = table.as_numbers().unwrap_or_default();
                        assert!(finite(numbers).is_ok(), "{short}: {}", table.name());
                    }
                    assert!(!finding.tables().is_empty());
                }
                // What a method cannot look at is refused before it runs.
                Err(error) => {
                    println!("{name}, {clean}: {short}: {error}");
                    assert!(matches!(error, AnalysisError::Input { .. }), "{short}: {error:?}");
                }
            }
            check(short, finding.as_ref());
        }
        assert!(found >= 8, "{found} methods found something");
    }
}

/// What is due is said: integrated gradients close, or say by how much they do not.
fn closes(finding: &Finding) {
    let missed = finding.table("missed by panels").unwrap().as_numbers().unwrap()[0];
    let gap = finding.table("relative completeness gap").unwrap().as_numbers().unwrap()[0];
    println!(
        "missed by panels {missed:.4}, gap {gap:.4}, {:?}",
        finding.table("places").unwrap().as_scalar()
    );
    let said: Vec<CautionKind> = finding.cautions().iter().map(|caution| caution.kind).collect();
    // Ends that barely differ are spoken of first.
    assert!(!said.is_empty() || gap <= 0.01, "{gap} {said:?}");
    assert!(said != [CautionKind::Gap] || missed > 0.01, "{missed} {said:?}");
}

fn decoder(short: &str, finding: Result<&Finding, &AnalysisError>) {
    // The others of the data set have other lengths, and no word stands for a word of them.
    if short == "expected" {
        return;
    }
    let found = finding
        .unwrap_or_else(|error| panic!("a decoder with its words is what `{short}` looks at: {error}"));
    match short {
        "ig" => closes(found),
        "rollout" => {
            let share = found.table("tokens").unwrap().as_numbers().unwrap()[0];
            let said = found.cautions();
            assert!(share > 0.9 && said.len() == 1 && said[0].kind == CautionKind::Sink, "{share}: {said:?}");
        }
        _ => {}
    }
}

/// The first token is a sink to most heads. Without it the shares lie on several others.
fn rests(folder: &Path) {
    let subject = open(folder, "smollm2");
    let run = |text: &str, sinks| {
        let settings = attention_rollout::Settings { sinks, ..Default::default() };
        let method = AttentionRollout::new(settings).unwrap();
        method.run(subject.as_ref(), &Case::new(Sample::prompt(Vec::new(), text))).unwrap()
    };
    for (text, _) in SAID {
        let numbers =
            |found: &Finding, table: &str| found.table(table).unwrap().as_numbers().unwrap().to_vec();
        let kept = numbers(&run(text, attention_rollout::Sinks::Keep), "tokens");
        let found = run(text, attention_rollout::Sinks::LeaveOut);
        let (left, sinks) = (numbers(&found, "tokens"), numbers(&found, "sinks"));
        println!("{text}: {kept:.4?}, a sink to {sinks:.2?} of the heads, without {left:.4?}");
        assert!(kept[0] > 0.9 && sinks[0] > 0.5 && sinks[1..].iter().all(|share| *share < 0.5));
        assert!(left[0] < 1e-6 && (left.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }
}

fn encoder(short: &str, finding: Result<&Finding, &AnalysisError>) {
    if short == "ig" {
        closes(finding.unwrap());
    }
}
