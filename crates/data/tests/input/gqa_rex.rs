//! GQA-REX: a small data set in its layout, against places and a score that NumPy painted; and what is said of files that are not so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mmlens_core::finding::Tolerance;
use mmlens_data::rationale::Explanation;
use mmlens_data::rationale::gqa_rex::{Files, GqaRex, Regions, Truth, grounding_score};
use mmlens_testkit::fixtures;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    places: BTreeMap<String, Places>,
    score: f64,
    last: f64,
    count: usize,
}

#[derive(Deserialize)]
struct Places {
    says: String,
    raw: Vec<[f32; 4]>,
    converted: Vec<[f32; 4]>,
}

fn folder() -> PathBuf {
    fixtures().join("rationales/gqa-rex")
}

fn expected() -> Expected {
    serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

fn files(folder: &Path, explanations: &str) -> Files {
    Files {
        explanations: folder.join(explanations),
        questions: folder.join("questions.json"),
        scene_graphs: folder.join("scene_graphs.json"),
        boxes: Some(folder.join("boxes")),
    }
}

fn boxes(explanations: &[Explanation]) -> Vec<[f32; 4]> {
    explanations.iter().flat_map(|own| own.spans.iter().flat_map(|span| span.boxes.clone())).collect()
}

#[test]
fn marks_become_the_places_that_they_stand_for() {
    let expected = expected();
    for converted in [false, true] {
        let set =
            GqaRex::open(&files(&folder(), if converted { "converted.json" } else { "raw.json" })).unwrap();
        assert_eq!(set.len(), 9);
        let mut answers = BTreeMap::new();
        for one in set.iter() {
            let one = one.unwrap();
            one.check().unwrap();
            let wanted = &expected.places[&one.id];
            let found = boxes(&one.explanations);
            assert_eq!(found, if converted { &wanted.converted[..] } else { &wanted.raw[..] }, "{}", one.id);
            let Some(why) = one.explanations.first() else {
                assert_eq!(wanted.says, "");
                continue;
            };
            if !converted {
                assert_eq!(why.text, wanted.says);
            }
            let words: Vec<&str> =
                why.spans.iter().map(|span| &why.text[span.words[0]..span.words[1]]).collect();
            let marked = |word: &&str| word.starts_with(['#', '@']);
            assert!(words.iter().all(|word| marked(word) == converted), "{words:?}");
            *answers.entry(one.answer).or_insert(0) += 1;
        }
        assert_eq!(answers, [("left".to_owned(), 2), ("no".to_owned(), 3), ("yes".to_owned(), 3)].into());
    }
    // Questions stand in another order, and so do those who ask.
    let set = GqaRex::open(&files(&folder(), "raw.json")).unwrap();
    let last = set.rationale(8).unwrap();
    assert!(last.explanations.is_empty() && last.question.unwrap().contains("thing 8"));
    assert_eq!(set.rationale(0).unwrap().picture.unwrap(), "2370799.jpg");
    assert!(set.rationale(9).unwrap_err().to_string().ends_with("there is no item 9; it has 9"));
}

#[test]
fn the_grounding_score_is_that_of_painted_pixels() {
    let (expected, folder) = (expected(), folder());
    let set = GqaRex::open(&files(&folder, "converted.json")).unwrap();
    let [annotation, bounds, graphs] =
        ["annotation.json", "upper_bound.json", "scene_graphs.json"].map(|name| folder.join(name));
    let regions = Regions::open(&annotation, &bounds, &graphs).unwrap();
    let said: Vec<(Vec<Explanation>, Truth)> = set
        .iter()
        .map(|one| one.unwrap())
        .map(|one| (one.explanations, regions.of(&one.id).unwrap().unwrap()))
        .collect();
    let of = |all: &[(Vec<Explanation>, Truth)]| {
        grounding_score(all.iter().map(|(said, truth)| (&said[..], truth)))
    };
    let (score, count) = of(&said).unwrap();
    let last: Vec<_> = said.iter().map(|(said, truth)| (said.clone(), truth.clone().last())).collect();
    let (of_last, _) = of(&last).unwrap();
    Tolerance::absolute(1e-9).check("score", &[score, of_last], &[expected.score, expected.last]).unwrap();
    assert_eq!((count, said.len()), (expected.count, 9));
    // Who names what the question is about has one over its bound; who names nothing, nothing.
    let (_, truth) = &said[0];
    let perfect = Explanation {
        text: "it".to_owned(),
        spans: vec![mmlens_data::rationale::Place { words: [0, 2], boxes: truth.boxes.clone() }],
        maps: vec![],
    };
    let (score, _) = grounding_score([(std::slice::from_ref(&perfect), truth)]).unwrap();
    assert!((score - 1.0 / truth.bound).abs() < 1e-12);
    assert_eq!(grounding_score([(&[][..], truth)]), Some((0.0, 1)));
    assert_eq!(grounding_score([(&[][..], &Truth { bound: 0.0, ..truth.clone() })]), None);
    assert_eq!(regions.of("none").unwrap(), None);
}

#[test]
fn what_a_model_wrote_is_read_alike() {
    let set = GqaRex::open(&files(&folder(), "raw.json")).unwrap();
    let id = set.rationale(0).unwrap().id;
    let said = set.said(&id, "the #0 is here").unwrap();
    assert_eq!((said.text.as_str(), said.spans[0].words), ("the #0 is here", [4, 6]));
    let error = set.said(&id, "#5 is here").unwrap_err().to_string();
    assert!(
        error.contains("field `explanation`: `#5`; expected one of the 5 detected boxes of picture 2370799"),
        "{error}"
    );
    let error = set.said("7", "it").unwrap_err().to_string();
    assert!(
        error.ends_with("questions.json, line 1: field `7`: nothing; expected one of the questions"),
        "{error}"
    );
}

#[test]
fn what_is_not_so_is_told_with_file_line_and_field() {
    let temporary = tempfile::tempdir().unwrap();
    let own = temporary.path();
    let write = |name: &str, text: &str| fs::write(own.join(name), text).unwrap();
    let questions = "{\n\"1\": {\"imageId\": \"9\", \"question\": \"Is it?\", \"answer\": \"yes\"}\n}";
    let graphs = "{\"9\": {\"width\": 8, \"height\": 4, \"objects\": {\"50\": {\"name\": \"dog\", \"x\": 1, \"y\": 1, \"w\": 2, \"h\": 2}}}}";
    let right = "{\n \"1\":\n \"(obj:50) runs\"}";
    let said = |explanations: &str, questions: &str, graphs: &str, boxes: bool| {
        write("e.json", explanations);
        write("questions.json", questions);
        write("scene_graphs.json", graphs);
        let files = Files { boxes: boxes.then(|| own.join("boxes")), ..files(own, "e.json") };
        let read = || GqaRex::open(&files)?.rationale(0);
        match read() {
            Ok(one) => one.explanations[0].text.clone(),
            Err(error) => error.to_string().replace(&format!("{}/", own.display()), ""),
        }
    };
    assert_eq!(said(right, questions, graphs, false), "dog runs");
    for (explanations, wanted) in [
        (
            "{\"1\": \"(obj:51) runs\"}",
            "e.json, line 1: field `1`: object `51`; expected an object of the scene graph of picture 9",
        ),
        ("{\n\n\"1\": 5}", "e.json, line 3: field `1`: 5; expected a text"),
        (
            "{\"1\": \"#0 runs\"}",
            "e.json, line 1: field `1`: `#0`; expected a folder of detected boxes, of which it is one",
        ),
        ("{\"1\": \"at @17\"}", "e.json, line 1: field `1`: `@17`; expected a cell from 1 to 16"),
        ("{\"2\": \"it\"}", "questions.json, line 1: field `2`: nothing; expected one of the questions"),
        ("[\"it\"]", "e.json, line 1: an element of a list; expected a field with a name"),
        ("{\"1\": \"it\"", "e.json, line 1: the end of the file; expected `,` or `}`"),
    ] {
        assert_eq!(said(explanations, questions, graphs, false), wanted);
    }
    for (from, to, wanted) in [
        ("\"9\", ", "9, ", "questions.json, line 2: field `imageId`: 9; expected a text"),
        ("\"answer\"", "\"answers\"", "questions.json, line 2: field `answer`: nothing; expected a text"),
        ("\"9\"", "\"8\"", "scene_graphs.json, line 1: field `8`: nothing; expected one of the scene graphs"),
    ] {
        assert_eq!(said(right, &questions.replace(from, to), graphs, false), wanted);
    }
    for (from, to, wanted) in [
        (
            "\"x\": 1",
            "\"x\": \"1\"",
            "scene_graphs.json, line 1: field `objects.50.x`: `1`; expected a number",
        ),
        (
            "\"w\": 2",
            "\"w\": -2",
            "scene_graphs.json, line 1: field `objects.50.w`: -2; expected zero or more",
        ),
        (
            "\"objects\"",
            "\"object\"",
            "scene_graphs.json, line 1: field `objects`: nothing; expected an object",
        ),
    ] {
        assert_eq!(said(right, questions, &graphs.replace(from, to), false), wanted);
    }
    let twice = questions.replace("}\n}", "},\n\"1\": {}\n}");
    assert!(said(right, &twice, graphs, false).contains("field `1`: several of that name; expected one"));
    let missing = said("{\"1\": \"#0 runs\"}", questions, graphs, true);
    assert!(missing.starts_with("boxes/9.npy: "), "{missing}");
}
