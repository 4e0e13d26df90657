//! BLIP: captions go on from their prompt, answers behind their question, texts match pictures; what is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use mmlens_core::finding::Tolerance;
use mmlens_core::*;
use mmlens_zoo::blip::{Blip, open_blip};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn open(name: &str) -> Blip {
    open_blip(&fixtures().join(name).join("model"), &Device::flex()).unwrap()
}

fn shown(picture: &str, words: Words) -> Sample {
    let picture = Picture::open(fixtures().join(format!("pictures/{picture}.png"))).unwrap();
    Sample::new(vec![picture], words)
}

fn prompt(text: &str) -> Words {
    Words::Prompt(text.to_owned())
}

fn logits(subject: &dyn Subject, inputs: &Inputs) -> Vec<f32> {
    let trace = subject.run(inputs, Plan::new()).unwrap();
    trace.output().logits.clone().unwrap().to_values().unwrap()
}

/// The same arithmetic on another shape: f32 rounding.
fn close(a: &[f32], b: &[f32]) -> bool {
    Tolerance::relative(1e-4).check("logits", a, b).is_ok()
}

#[test]
fn a_caption_begins_with_its_own_token() {
    let subject = open("blip-a");
    let bos = subject.config().bos;
    let encode = |words| subject.encode(&shown("square", words)).unwrap();
    assert_eq!(encode(Words::Nothing).ids, [[bos]]);
    let begun = encode(prompt("a photo"));
    assert_eq!((begun.ids[0][0], begun.map().tokens.len()), (bos, begun.ids[0].len()));
    assert_eq!(begun.ids[0][1..], subject.tokens("a photo").unwrap());
    assert!(begun.map().picture(0).is_empty() && begun.map().patches.len() == 16);
}

#[test]
fn rows_of_a_batch_go_on_as_they_do_alone() {
    for (name, words) in [
        ("blip-a", ["", "there isn't any"].map(prompt)),
        ("blip-qa", ["ring?", "How many green squares?"].map(|q| Words::Question(q.to_owned()))),
    ] {
        let subject = open(name);
        let [first, second] = words;
        let singles = [("tall", first), ("wide", second)].map(|(p, w)| subject.encode(&shown(p, w)).unwrap());
        let batch = Inputs::batch(&singles, subject.pad()).unwrap();
        let how = Generation { max_new: 6, stop_at_end: false, ..Generation::default() };
        let together = subject.generate(&batch, &how).unwrap();
        for (single, row) in singles.iter().zip(&together) {
            assert_eq!(subject.generate(single, &how).unwrap()[0].tokens, row.tokens, "{name}");
        }
        let plans = Plans::new().copies(std::num::NonZeroUsize::new(2).unwrap());
        let (forked, _) = Generator::new(&how).plans(&plans).write(&subject, &batch).unwrap();
        let tokens: Vec<_> = forked.iter().map(|row| row.tokens.clone()).collect();
        let [a, b] = [0, 1].map(|row| together[row].tokens.clone());
        assert_eq!(tokens, [a.clone(), a, b.clone(), b], "{name}");
    }
}

#[test]
fn an_answer_stands_behind_its_question() {
    let subject = open("blip-qa");
    let question =
        subject.encode(&shown("square", Words::Question("What colour is it?".to_owned()))).unwrap();
    let how = Generation { max_new: 4, stop_at_end: false, ..Generation::default() };
    let answer = subject.generate(&question, &how).unwrap().remove(0);
    let bos = subject.config().bos;
    let whole = question.clone().all_logits().with(|batch| batch.ids[0].push(bos)).unwrap();
    assert!(
        close(&logits(&subject, &question), &logits(&subject, &whole)),
        "the first token is a matter of course"
    );
    let whole = whole.with(|batch| batch.ids[0].extend(&answer.tokens)).unwrap();
    let said = logits(&subject, &whole);
    let vocab = subject.config().text.vocab;
    for (step, token) in answer.tokens.iter().enumerate() {
        let row = &said[step * vocab..(step + 1) * vocab];
        assert!(row.iter().all(|other| other - row[*token as usize] < 1e-4));
    }
    let plan = Plan::new().read("text.blocks.*.cross.pattern").unwrap().read("encoder.final_norm").unwrap();
    let trace = subject.run(&whole, plan).unwrap();
    let pattern = trace.get("text.blocks.1.cross.pattern".parse().unwrap()).unwrap().dims();
    assert_eq!(pattern, [1, 3, 5, question.positions()], "answers look at the question");
    let questions = [whole.clone(), question.clone().all_logits()];
    let uneven = Inputs::batch(&questions, subject.pad()).unwrap();
    let said = subject.run(&uneven, Plan::new()).unwrap_err().to_string();
    assert!(said.contains("where the answer of row 1 begins"), "{said}");
    let uneven = uneven.with(|batch| {
        batch.ids = vec![vec![bos, 5]; 2];
        batch.pads = vec![0; 2];
        batch.maps = vec![Arc::default(); 2];
    });
    let uneven = uneven.unwrap();
    assert!(subject.run(&uneven, Plan::new()).unwrap_err().to_string().contains("behind questions"));
}

#[test]
fn a_text_matches_a_picture_or_does_not() {
    let subject = open("blip-itm");
    let texts = ["a cat", "¿Où est 円?", "two blue squares"];
    let rows = |texts: &[&str]| Words::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
    let together = logits(&subject, &subject.encode(&shown("wide", rows(&texts))).unwrap());
    assert_eq!(together.len(), 6);
    for (text, row) in texts.iter().zip(together.chunks(2)) {
        assert!(
            close(&logits(&subject, &subject.encode(&shown("wide", prompt(text))).unwrap()), row),
            "{text}"
        );
    }
    assert_eq!((subject.token(1), subject.tokens("no match").unwrap()), ("match".to_owned(), vec![0]));
    let inputs = subject.encode(&shown("wide", prompt("ring"))).unwrap();
    let error = subject.generate(&inputs, &Generation::default()).unwrap_err().to_string();
    assert!(error.contains("does not offer generation"), "{error}");
}

#[test]
fn what_it_cannot_take_is_refused() {
    let refused = |name: &str, sample: Sample| open(name).encode(&sample).unwrap_err().to_string();
    let ask = || Words::Question("What?".to_owned());
    assert!(refused("blip-a", shown("square", ask())).contains("it writes captions"));
    assert!(refused("blip-qa", shown("square", Words::Nothing)).contains("it answers questions"));
    assert!(refused("blip-itm", shown("square", ask())).contains("give at least one text"));
    assert!(refused("blip-a", Sample::new(Vec::new(), Words::Nothing)).contains("one picture, 0 were given"));
    assert!(
        refused("blip-a", shown("square", prompt(&"a ".repeat(80)))).contains("81 tokens, of at most 80")
    );
}
