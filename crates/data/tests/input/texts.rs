//! Grounded text and rationales: against transformers, torchvision and COCO's own scorers.

use mmlens_core::finding::Tolerance;
use mmlens_data::grounded::{Format, Shown, iou};
use mmlens_data::rationale::scores::{Compared, scores};
use mmlens_testkit::fixtures;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn fixture<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Read {
    format: String,
    text: String,
    size: [u32; 2],
    words: String,
    boxes: Vec<[f64; 4]>,
    /// Whether coordinates are cut down to whole pixels.
    cut: bool,
}

#[derive(Deserialize)]
struct Boxes {
    cases: Vec<Read>,
    pairs: Vec<[[f32; 4]; 2]>,
    ious: Vec<f64>,
}

#[test]
fn boxes_are_those_that_transformers_reads() {
    let Boxes { cases, pairs, ious } = fixture("grounded/cases.json");
    for case in &cases {
        let read = Format::called(&case.format).unwrap().read(&case.text, &Shown::of(case.size)).unwrap();
        let [span] = read.spans.as_slice() else { panic!("{}", case.text) };
        assert_eq!(read.text[span.words.clone()], case.words);
        let cut = |at: f32| if case.cut { at.floor() } else { at };
        let found: Vec<f32> = span.boxes.concat().into_iter().map(cut).collect();
        // Pixels of up to 1000 in single precision.
        Tolerance::absolute(1e-4).check(&case.text, &found, &case.boxes.concat()).unwrap();
    }
    let found: Vec<f64> = pairs.iter().map(|[a, b]| iou(*a, *b)).collect();
    // Corners are rounded to single precision there and here, once.
    Tolerance::absolute(1e-6).check("iou", &found, &ious).unwrap();
    assert!(cases.len() == 21 && ious.iter().any(|iou| *iou > 0.5));
}

#[derive(Deserialize)]
struct Scored {
    texts: Vec<String>,
    references: Vec<Vec<String>>,
    bleu: [f64; 4],
    rouge_l: f64,
    cider: f64,
}

#[test]
fn explanations_score_as_in_coco() {
    let sets: Vec<Scored> = fixture("rationales/scores.json");
    for set in &sets {
        let references: Vec<Vec<&str>> =
            set.references.iter().map(|all| all.iter().map(String::as_str).collect()).collect();
        let compared: Vec<Compared<'_>> = set
            .texts
            .iter()
            .zip(&references)
            .map(|(text, references)| Compared { text, references })
            .collect();
        let found = scores(&compared).unwrap();
        let mut all = found.bleu.to_vec();
        all.extend([found.rouge_l, found.cider]);
        let mut wanted = set.bleu.to_vec();
        wanted.extend([set.rouge_l, set.cider]);
        let gap = Tolerance::absolute(1e-9).check("scores", &all, &wanted).unwrap();
        println!("{} texts: {:.1e}", set.texts.len(), gap.absolute);
    }
    assert_eq!(sets.len(), 5);
}
