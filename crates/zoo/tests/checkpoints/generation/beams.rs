//! The search by beams, token for token as `generate(num_beams=n, do_sample=False)` of transformers has it.

use mmlens_core::finding::Tolerance;
use mmlens_core::{Beams, Generation, Inputs, Sampling, SubjectError};

use super::{Case, sample, written};

/// A score is a sum of up to ten log-probabilities, each of logits within 1e-4 of their size.
const SCORES: Tolerance = Tolerance::either(1e-4, 1e-4);

fn beams(case: &Case) -> Beams {
    let about = &case.about;
    Beams {
        beams: about["beams"].as_u64().unwrap() as usize,
        length_penalty: about["length_penalty"].as_f64().unwrap(),
        early_stopping: about["early_stopping"].as_bool().unwrap(),
    }
}

#[test]
fn every_search_finds_what_transformers_finds() {
    let (mut held, mut unlike_greedy, mut short) = (0, 0, 0);
    for case in Case::of("beams") {
        let (_folder, subject) = case.open();
        let inputs = case.inputs(subject.as_ref());
        let max_new = case.about["count"].as_u64().unwrap() as usize;
        let how = |sampling| Generation { max_new, sampling, stop_at_end: true };
        let search = how(Sampling::Beams(beams(&case)));
        let rows = subject.generate(&inputs, &search).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let expected = case.tokens().unwrap();
        assert_eq!(written(&rows), expected, "{}", case.name);
        let scores: Vec<f32> = rows.iter().map(|row| row.score.unwrap()).collect();
        let wanted: Vec<f32> = serde_json::from_value(case.about["scores"].clone()).unwrap();
        SCORES.check(&case.name, &scores, &wanted).unwrap();
        for row in &rows {
            assert_eq!(row.probabilities.len(), row.tokens.len());
            assert_eq!(row.text, subject.decode(&row.tokens).unwrap());
            assert!(row.ended || row.tokens.len() == max_new, "{}", case.name);
            short += usize::from(row.ended && row.tokens.len() > 1);
        }
        match subject.generate(&inputs, &how(Sampling::Greedy)) {
            Ok(greedy) => unlike_greedy += usize::from(written(&greedy) != expected),
            // The file asks for beams, and one token after the other is not what it asks for.
            Err(error) => assert!(matches!(error, SubjectError::Generation { .. }), "{error}"),
        }
        held += 1;
    }
    assert!(held > 120 && unlike_greedy > 50 && short > 30, "{held}, {unlike_greedy}, {short}");
}

/// Without settings that change scores, the score is the sum of the logarithms of the model's own probabilities.
#[test]
fn the_score_is_that_of_the_tokens() {
    let mut held = 0;
    for case in Case::of("beams").iter().filter(|case| !case.name.contains("rules")) {
        let (_folder, subject) = case.open();
        let how = Generation { max_new: 6, sampling: Sampling::Beams(beams(case)), stop_at_end: true };
        for row in subject.generate(&case.inputs(subject.as_ref()), &how).unwrap() {
            let sum: f32 = row.probabilities.iter().map(|p| p.ln()).sum();
            let length = (row.tokens.len() as f64).powf(beams(case).length_penalty) as f32;
            SCORES.check(&case.name, &[row.score.unwrap()], &[sum / length]).unwrap();
            held += 1;
        }
    }
    assert!(held > 100, "{held}");
}

/// Prompts of a batch are searched each by itself, and stop each at its own last position.
#[test]
fn prompts_of_a_batch_find_what_they_find_alone() {
    let about = |count: u64| serde_json::json!({"model": "gpt2-a", "what": "", "generation": {}, "config": {}, "count": count, "rows": []});
    let case = Case { name: String::new(), model: "gpt2-a".to_owned(), about: about(10) };
    let (_folder, subject) = case.open();
    let prompts = ["Go on", "the cat, the dog and the cat", "a"];
    let singles: Vec<Inputs> = prompts
        .iter()
        .map(|text| subject.encode(&sample(&serde_json::json!({"prompt": text}))).unwrap())
        .collect();
    let how = Generation { max_new: 1000, sampling: Sampling::Beams(Beams::new(3)), stop_at_end: false };
    let together = subject.generate(&Inputs::batch(&singles, subject.pad()).unwrap(), &how).unwrap();
    for (single, row) in singles.iter().zip(&together) {
        let alone = subject.generate(single, &how).unwrap().remove(0);
        assert_eq!(alone.tokens, row.tokens);
        SCORES.check("score", &[row.score.unwrap()], &[alone.score.unwrap()]).unwrap();
        assert!(row.last_position && !row.ended && alone.last_position);
    }
    let lengths: Vec<usize> = together.iter().map(|row| row.tokens.len()).collect();
    let positions: Vec<usize> = singles.iter().map(|single| single.positions()).collect();
    assert!(lengths.iter().zip(&positions).all(|(length, own)| length + own == lengths[0] + positions[0]));
}
