//! Where an answer is read: at the last position, at a masked word, at the one that a caption is pooled from. What looks from the
//! answer looks from there.

use std::fs;

use burn::tensor::Device;
use mmlens_core::{Analysis, Case, Objective, Picture, Position, Sample, Subject, Target, Words};
use mmlens_engine::Positions;
use mmlens_model::attention_knockout::{self, AttentionKnockout, Edges};
use mmlens_model::attention_rollout::AttentionRollout;
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::occlusion::{self, Occlusion};
use mmlens_testkit::{checkpoint, picture};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::numbers;

/// A checkpoint with one field of a file changed.
fn changed(name: &str, file: &str, place: &str, value: Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(checkpoint(name)).unwrap() {
        let entry = entry.unwrap().path();
        fs::copy(&entry, folder.path().join(entry.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join(file);
    let mut text: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    *text.pointer_mut(place).unwrap() = value;
    fs::write(path, text.to_string()).unwrap();
    folder
}

fn row(subject: &dyn Subject, case: &Case, at: usize) {
    let finding = AttentionRollout::default().run(subject, case).unwrap();
    let (tokens, text) = (numbers(&finding, "tokens"), numbers(&finding, "text"));
    assert_eq!(tokens, &text[at * tokens.len()..(at + 1) * tokens.len()], "row {at}");
}

#[test]
fn of_a_masked_word_it_is_that_word() {
    let subject = mmlens_zoo::open(checkpoint("bert-a"), &Device::default()).unwrap();
    let sample = Sample::prompt(vec![], "a [MASK] b c");
    let ids = subject.encode(&sample).unwrap().ids.concat();
    let at = ids.iter().position(|id| Some(*id) == subject.mask()).unwrap();
    assert!(at > 0 && at + 2 < ids.len());
    let target = Target::Objective(Objective::Logit { at: Position::At(at), token: 7 });
    let case = Case { sample, target };
    row(subject.as_ref(), &case, at);

    let run = |edges: Vec<Edges>| {
        let settings = attention_knockout::Settings { edges: Some(edges), ..Default::default() };
        let finding = AttentionKnockout::new(settings).unwrap().run(subject.as_ref(), &case).unwrap();
        numbers(&finding, "change").to_vec()
    };
    let to = |queries| vec![Edges::between(Positions::Question, queries)];
    let (last, own) = (run(to(Positions::Last)), run(to(Positions::At(vec![at]))));
    assert_eq!(last, own);
    assert_ne!(own, run(to(Positions::At(vec![ids.len() - 1]))));
}

#[test]
fn of_a_caption_it_is_where_the_tower_reads() {
    // With 2 for the end of a text, CLIP reads at the largest id, wherever it stands.
    let folder = changed("clip-a", "config.json", "/text_config/eos_token_id", json!(2));
    let subject = mmlens_zoo::open(folder.path(), &Device::default()).unwrap();
    let shown = || Picture::open(picture("wide")).unwrap();
    let mut within = 0;
    for words in ["a b", "red", "a red circle", "the"] {
        let sample = Sample::new(vec![shown()], Words::Texts(vec![words.to_owned()]));
        let ids = subject.encode(&sample).unwrap().ids.concat();
        let largest = *ids.iter().max().unwrap();
        let at = ids.iter().position(|id| *id == largest).unwrap();
        within += usize::from(at + 1 < ids.len());
        let case = Case { sample, target: Target::Objective(Objective::Similarity) };
        row(subject.as_ref(), &case, at);
        let routed = |queries| {
            let edges = vec![Edges::between(Positions::At(vec![0]), queries)];
            let settings = attention_knockout::Settings { edges: Some(edges), ..Default::default() };
            let finding = AttentionKnockout::new(settings).unwrap().run(subject.as_ref(), &case).unwrap();
            numbers(&finding, "change").to_vec()
        };
        assert_eq!(routed(Positions::Last), routed(Positions::At(vec![at])), "{words}");
    }
    let plain = mmlens_zoo::open(checkpoint("clip-a"), &Device::default()).unwrap();
    let sample = Sample::new(vec![shown()], Words::Texts(vec!["a b".to_owned()]));
    let last = plain.encode(&sample).unwrap().positions() - 1;
    row(plain.as_ref(), &Case { sample, target: Target::Objective(Objective::Similarity) }, last);
    println!("{within} captions were read before their end");
}

/// A caption that is padded to a fixed length, and masked there, is labelled to its end: every method takes it.
#[test]
fn a_caption_of_fixed_length_is_explained_though_its_padding_is_masked() {
    let folder = changed(
        "siglip-a",
        "tokenizer_config.json",
        "/model_input_names",
        json!(["input_ids", "attention_mask"]),
    );
    let subject = mmlens_zoo::open(folder.path(), &Device::default()).unwrap();
    let shown = Picture::open(picture("wide")).unwrap();
    let sample = Sample::new(vec![shown], Words::Texts(vec!["a b".to_owned()]));
    let inputs = subject.encode(&sample).unwrap();
    assert!(inputs.tails[0] > 0 && inputs.map().len() == inputs.positions());
    assert_eq!(inputs.map().padding.len(), inputs.tails[0]);
    let case = Case { sample, target: Target::Objective(Objective::Similarity) };
    row(subject.as_ref(), &case, inputs.positions() - 1);
    let gradients = IntegratedGradients::new(integrated_gradients::Settings::default()).unwrap();
    gradients.run(subject.as_ref(), &case).unwrap();
    let drops = Occlusion::new(occlusion::Settings::default()).unwrap().run(subject.as_ref(), &case).unwrap();
    assert_eq!(numbers(&drops, "tokens").len(), inputs.positions() - inputs.tails[0]);
}
