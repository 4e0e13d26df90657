//! Nearest words: against NumPy, against identities.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{Analysis, Case, Sample, Subject};
use mmlens_engine::{Indices, Nearness, Positions};
use mmlens_model::nearest_words::{Dictionary, NearestWords, Settings};
use mmlens_testkit::{Oracle, Toy, checkpoint};
use proptest::prelude::*;

use crate::identities::few;
use crate::support::{llava, numbers, question, scalar};

/// Of states in f32; scores are summed in double precision.
const SCORE: Tolerance = Tolerance::either(2e-6, 5e-6);

fn run(subject: &dyn Subject, case: &Case, settings: Settings) -> Finding {
    NearestWords::new(settings).unwrap().run(subject, case).unwrap()
}

#[test]
fn words_are_those_of_numpy() {
    let oracle = Oracle::open("methods/words").unwrap();
    for name in ["llava-a", "gemma2-a"] {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let prompt = || Case::new(Sample::prompt(vec![], oracle.about()["gemma2-a"].as_str().unwrap()));
        let case = if name == "llava-a" { question() } else { prompt() };
        let places = serde_json::from_value(oracle.about()["positions"][name].clone()).unwrap();
        let positions = Some(Positions::At(places));
        for (dictionary, which) in
            [(Dictionary::Embedding, "embedding"), (Dictionary::Unembedding, "unembedding")]
        {
            for (measure, how) in
                [(Nearness::Cosine, "cosine"), (Nearness::Dot, "dot"), (Nearness::Distance, "distance")]
            {
                let settings = Settings {
                    dictionary,
                    measure,
                    positions: positions.clone(),
                    top: 3,
                    ..Settings::default()
                };
                let found = NearestWords::new(settings).unwrap().run(subject.as_ref(), &case).unwrap();
                let wanted = |what: &str| oracle.array(&format!("{name}/{which}/{how}/{what}")).unwrap();
                assert_eq!(found.table("scores").unwrap().shape(), wanted("scores").dims);
                assert_eq!(numbers(&found, "ids"), wanted("ids").f32(), "{name} {which} {how}");
                let apart = SCORE.check(how, numbers(&found, "scores"), &wanted("scores").values).unwrap();
                println!("{name} {which} {how}: {apart:?}");
                let tokens = found.table("words").unwrap().as_texts().unwrap();
                assert!(tokens.iter().zip(wanted("ids").ids()).all(|(text, id)| *text == subject.token(id)));
            }
        }
    }
}

proptest! {
    #![proptest_config(few())]

    /// A token is nearest to itself before the first block, and no random vector is as near.
    #[test]
    fn tokens_are_their_own_words(seed in 0..99_u64, word in "[a-f]{4,7}") {
        let subject = llava("llava-a");
        let case = Case::new(Sample::prompt(vec![], format!("{word} red")));
        let inputs = subject.encode(&case.sample).unwrap();
        for (measure, score) in [(Nearness::Cosine, 1.0), (Nearness::Distance, 0.0)] {
            let settings = Settings { measure, top: 1, layers: Indices::At(vec![0]), seed: mmlens_core::Seed(seed), ..Settings::default() };
            let found = run(subject, &case, settings);
            let places = found.table("nearest").unwrap().shape()[1];
            prop_assert_eq!(places, inputs.positions());
            for (at, id) in inputs.ids[0].iter().enumerate() {
                prop_assert_eq!(numbers(&found, "ids")[at], *id as f32);
                prop_assert!((numbers(&found, "nearest")[at] - score).abs() < 1e-6);
            }
            prop_assert_eq!(numbers(&found, "beyond random")[0], 1.0);
            // One depth has nothing to do with what else is looked at.
            let first = Settings { measure, top: 1, layers: Indices::At(vec![0, 1]), positions: Some(Positions::At(vec![0])), ..Settings::default() };
            let one = run(subject, &case, first);
            prop_assert_eq!(numbers(&one, "ids")[0], numbers(&found, "ids")[0]);
        }
    }
}

/// Of the toy's letters none is a word; what is nearest chance alone is spoken of, and so is one word for all.
#[test]
fn chance_and_hubs_are_spoken_of() {
    let toy = Toy::curved(3);
    let kinds = |found: &Finding| found.cautions().iter().map(|own| own.kind).collect::<Vec<_>>();
    let found = run(&toy, &Case::new(Sample::text("aaaaaa")), Settings::default());
    assert!(kinds(&found).contains(&CautionKind::Sink), "{:?}", found.cautions());
    let caution = found.cautions().into_iter().find(|own| own.kind == CautionKind::Sink).unwrap();
    // All six are one letter.
    assert!(caution.number >= 1.0 - 1e-6 && caution.text.contains("100 %"), "{}", caution.text);
    let subject = llava("llava-a");
    let words = run(
        subject,
        &Case::new(Sample::prompt(vec![], "It is red and blue")),
        Settings { layers: Indices::At(vec![0]), ..Settings::default() },
    );
    assert!(!kinds(&words).contains(&CautionKind::Other), "{:?}", words.cautions());
    // Random weights give random features: most are no nearer to a word than the nearest of as many random vectors.
    let pictures = run(subject, &question(), Settings::default());
    let beyond = numbers(&pictures, "beyond random")[0];
    let said = pictures.cautions().into_iter().find(|own| own.kind == CautionKind::Other);
    assert_eq!(said.map(|own| own.number), (beyond <= 0.5).then_some(beyond));
    assert!(beyond <= 0.5, "{beyond}");
    let share = scalar(&pictures, "vocabulary word share");
    let ids = subject.weights().iter().find(|own| own.name == "text.embed").unwrap().dims()[0] as u32;
    let word = |id: &u32| {
        let token = subject.token(*id);
        let bare = token.trim_start_matches(['▁', 'Ġ', ' ']);
        bare.chars().count() > 1 && bare.chars().all(char::is_alphabetic)
    };
    assert_eq!(share, (0..ids).filter(word).count() as f32 / ids as f32);
}

#[test]
fn what_has_no_words_is_refused() {
    let clip = mmlens_zoo::open(checkpoint("vit-a"), &Device::default()).unwrap();
    let sample = Sample::new(crate::support::shown(&["square"], "").pictures, mmlens_core::Words::Nothing);
    let said = NearestWords::default().run(clip.as_ref(), &Case::new(sample)).unwrap_err().to_string();
    assert_eq!(
        said,
        "nearest-words needs the weights of a language model by name, but this subject shows none"
    );
    let toy = Toy::curved(1);
    let run = |settings| {
        NearestWords::new(settings)
            .and_then(|own| own.run(&toy, &Case::new(Sample::text("abc"))))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        run(Settings { top: 0, ..Settings::default() }),
        "nearest-words: top = 0, but it must be at least 1"
    );
    assert!(
        run(Settings { layers: Indices::At(vec![9]), ..Settings::default() }).contains("layers = 9, of ")
    );
    let pictures = Settings { positions: Some(Positions::Pictures), ..Settings::default() };
    assert!(run(pictures).contains("the sample has none of `pictures`"));
}
