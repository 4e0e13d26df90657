//! An answer that is a part of a sample: the tokens that transformers gives it behind a prompt, and what each of them is worth there.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::{Case, Generation, Objective, On, Picture, Plan, Reply, Sample, Subject, Target, Words};
use serde::Deserialize;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn seen() -> Picture {
    Picture::open(fixtures().join("pictures/square.png")).unwrap()
}

fn open(name: &str) -> Box<dyn Subject> {
    mmlens_zoo::open(fixtures().join(name).join("model"), &Device::default()).unwrap()
}

/// A row of `oracles/replies.py`.
#[derive(Deserialize)]
struct Row {
    model: String,
    ask: String,
    answer: String,
    ids: Vec<u32>,
}

#[test]
fn an_answer_has_the_tokens_that_transformers_gives_it() {
    let text = std::fs::read_to_string(fixtures().join("replies.json")).unwrap();
    let rows: Vec<Row> = serde_json::from_str(&text).unwrap();
    assert_eq!(rows.len(), 48);
    for row in rows {
        let subject = open(&row.model);
        let asked = Sample::new(Vec::new(), Words::Question(row.ask.clone()));
        let prompt = subject.encode(&asked).unwrap();
        let inputs = subject.encode(&asked.clone().answered(Reply::Text(row.answer.clone()))).unwrap();
        let (map, what) = (inputs.map(), format!("{}: {}", row.model, row.answer));
        assert_eq!(inputs.ids[0][..prompt.positions()], prompt.ids[0], "{what}");
        assert_eq!(inputs.ids[0][prompt.positions()..], row.ids, "{what}");
        assert_eq!((map.prompt(), map.reply().len()), (0..prompt.positions(), row.ids.len()), "{what}");
        assert_eq!(map.tokens[..prompt.positions()], prompt.map().tokens, "{what}");
        // Given as tokens, it is the same input.
        let same = subject.encode(&asked.answered(Reply::Tokens(row.ids))).unwrap();
        assert_eq!((&same.ids, &same.maps), (&inputs.ids, &inputs.maps), "{what}");
    }
}

/// What a model generated it finds as likely, token by token, when it reads it.
#[test]
fn what_was_generated_is_as_likely_when_it_is_given() {
    for (name, words) in [
        ("gpt2-a", Words::Prompt("Red is".to_owned())),
        ("blip-a", Words::Prompt("a photo".to_owned())),
        ("gemma2-a", Words::Question("Red?".to_owned())),
        ("qwen3-a", Words::Question("Red?".to_owned())),
        ("llava-a", Words::Question("Red?".to_owned())),
        ("llava-next-a", Words::Question("Red?".to_owned())),
        ("smolvlm-a", Words::Question("Red?".to_owned())),
        ("qwen2.5-vl-a", Words::Question("Red?".to_owned())),
        ("qwen3-vl-a", Words::Question("Red?".to_owned())),
    ] {
        let subject = open(name);
        let shown = !["gpt2-a", "gemma2-a", "qwen3-a"].contains(&name);
        let pictures = if shown { vec![seen()] } else { Vec::new() };
        let sample = Sample::new(pictures, words);
        let inputs = subject.encode(&sample).unwrap();
        let how = Generation { max_new: 5, ..Generation::default() };
        let generated = subject.generate(&inputs, &how).unwrap().swap_remove(0);
        let sample = sample.answered(Reply::Tokens(generated.tokens.clone()));
        for (at, probability) in generated.probabilities.iter().enumerate() {
            let target =
                Target::Answer { from: at, to: Some(at + 1), measure: Default::default(), each: false };
            let case = Case { sample: sample.clone(), target };
            let (inputs, objective) = case.open(subject.as_ref()).unwrap();
            let found = subject.run(&inputs, Plan::new().objective(objective)).unwrap().scores().unwrap()[0];
            // Reading is one pass, writing many: sums in another order.
            assert!((found - probability.ln()).abs() < 1e-4, "{name} {at}: {found} {}", probability.ln());
        }
        let (inputs, whole) = On::new(subject.as_ref()).open(&Case::answer(sample)).unwrap();
        let found = subject.run(&inputs, Plan::new().objective(&whole)).unwrap().scores().unwrap()[0];
        let sum: f32 = generated.probabilities.iter().map(|probability| probability.ln()).sum();
        assert!((found - sum).abs() < 5e-4, "{name}: {found} {sum}");
        let Objective::Span { from, tokens, .. } = whole else { panic!("{whole}") };
        assert_eq!((from, tokens), (inputs.map().reply().start, generated.tokens), "{name}");
    }
}

#[test]
fn an_answer_that_cannot_be_is_refused() {
    let (llava, blip, clip) = (open("llava-a"), open("blip-qa"), open("clip-a"));
    let asked = || Sample::ask(seen(), "Red?");
    let said = |subject: &dyn Subject, sample: Sample| subject.encode(&sample).unwrap_err().to_string();
    let with = |reply: Reply| said(llava.as_ref(), asked().answered(reply));
    assert!(with(Reply::Text("  ".to_owned())).contains("the answer is empty"));
    assert!(with(Reply::Tokens(vec![])).contains("the answer has no tokens"));
    assert!(with(Reply::Tokens(vec![1 << 30])).contains("token 1073741824 of the answer is none of"));
    // A word that the vocabulary does not have is none of the words it stands for.
    let shapes = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let unknown = said(&shapes, asked().answered(Reply::Text("mauve".to_owned())));
    assert!(unknown.contains("it has no words for all of the answer `mauve`"), "{unknown}");
    shapes.encode(&asked().answered(Reply::Text("<unk>".to_owned()))).unwrap();
    for subject in [blip.as_ref(), clip.as_ref()] {
        let said = said(subject, asked().answered(Reply::Text("red".to_owned())));
        assert!(said.contains("it takes no answer beside the words"), "{said}");
    }
    let open = |case: &Case| case.open(llava.as_ref()).unwrap_err().to_string();
    assert!(open(&Case::answer(asked())).contains("its answer is to be explained, but it holds none"));
    let sample = asked().answered(Reply::Tokens(vec![5, 6]));
    let target = Target::Answer { from: 1, to: Some(7), measure: Default::default(), each: false };
    let said = open(&Case { sample, target });
    assert!(said.contains("tokens 1..7 of its answer are to be explained, which has 2"), "{said}");
}
