//! Scores against what the scripts of the data sets make of the same answers (oracles/benchmark.py), and identities.

use std::fs;
use std::path::Path;

use mmlens_core::Seed;
use mmlens_data::benchmark::{
    Answer, Chair, Choice, Fits, Item, Marked, Mme, Pairwise, Part, Scorer, ScorerName, Tally, Vqa,
    Winoground, YesNo, tokens,
};
use proptest::prelude::*;
use serde_json::Value;

/// Quotients of the same counts in double precision (why.json); of VQA's script percents with twelve digits.
const SHARE: f64 = 1e-12;

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/benchmark").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn close(found: f64, wanted: f64, what: &str) {
    assert!(found.is_finite() && (found - wanted).abs() <= SHARE, "{what}: {found} instead of {wanted}");
}

fn figure(part: &Part, name: &str) -> f64 {
    part.figures.iter().find(|figure| figure.name == name).unwrap().value.unwrap()
}

fn part<'a>(parts: &'a [Part], task: &str) -> &'a Part {
    parts.iter().find(|part| part.task == task).unwrap()
}

fn item(id: usize, label: Option<&str>) -> Item {
    let label = label.map(str::to_owned);
    Item { id: id.to_string(), group: id.to_string(), label, ..Item::default() }
}

#[test]
fn pope_as_its_script() {
    let oracle = fixture("pope.json");
    let (mut tally, mut seen) = (Tally::default(), 0);
    for (id, case) in list(&oracle["cases"]).iter().enumerate() {
        let item = item(id, case[1].as_str());
        let verdict = YesNo.judge(&item, &Answer::text(text(&case[0]))).unwrap();
        assert_eq!(verdict.read, text(&case[2]), "{case}");
        tally.add(&item, &verdict);
        seen += 1;
    }
    let all = &tally.scores(&YesNo, Seed(1))[0];
    for name in YesNo.figures() {
        close(figure(all, name), oracle["scores"][*name].as_f64().unwrap(), name);
    }
    assert_eq!((seen, all.items, all.groups), (80, 80, 80));
}

#[test]
fn vqa_as_its_script() {
    let oracle = fixture("vqa.json");
    let mut tally = Tally::default();
    for (id, case) in list(&oracle["cases"]).iter().enumerate() {
        let item = Item { answers: texts(&case[1]), task: Some(text(&case[2])), ..item(id, None) };
        let verdict = Vqa.judge(&item, &Answer::text(text(&case[0]))).unwrap();
        close(verdict.counts[0], case[3].as_f64().unwrap() / 100.0, &case.to_string());
        tally.add(&item, &verdict);
    }
    let parts = tally.scores(&Vqa, Seed(1));
    close(figure(&parts[0], "accuracy"), oracle["overall"].as_f64().unwrap() / 100.0, "all");
    assert_eq!((parts[0].items, parts.len()), (120, 4));
    for (task, wanted) in oracle["by type"].as_object().unwrap() {
        close(figure(part(&parts, task), "accuracy"), wanted.as_f64().unwrap() / 100.0, task);
    }
    // Cases of every kind: none, part and all of the points.
    let shares: Vec<f64> = list(&oracle["cases"]).iter().map(|case| case[3].as_f64().unwrap()).collect();
    assert!(shares.contains(&0.0) && shares.contains(&100.0) && shares.contains(&30.0));
}

#[test]
fn mme_by_its_rule() {
    let oracle = fixture("mme.json");
    let (mut tally, mut other) = (Tally::default(), 0);
    for (task, rows) in oracle["tasks"].as_object().unwrap() {
        for row in list(rows) {
            let mut item = item(0, row[1].as_str());
            (item.group, item.task) = (format!("{task}/{}", text(&row[0])), Some(task.clone()));
            let verdict = Mme.judge(&item, &Answer::text(text(&row[2]))).unwrap();
            other += usize::from(verdict.read == "other");
            tally.add(&item, &verdict);
        }
    }
    let parts = tally.scores(&Mme, Seed(1));
    let mut sums = [0.0; 2];
    for (task, wanted) in oracle["scores"].as_object().unwrap() {
        let own = part(&parts, task);
        let (acc, plus) = (wanted["acc"].as_f64().unwrap(), wanted["acc+"].as_f64().unwrap());
        close(figure(own, "acc"), acc, task);
        close(figure(own, "acc+"), plus, task);
        // Percents: a hundred times the shares.
        assert!((figure(own, "score") - 100.0 * (acc + plus)).abs() < 1e-9);
        sums[usize::from(task == "code_reasoning")] += 100.0 * (acc + plus);
    }
    assert!((figure(part(&parts, "perception"), "score") - sums[0]).abs() < 1e-9);
    assert!((figure(part(&parts, "cognition"), "score") - sums[1]).abs() < 1e-9);
    assert!((figure(part(&parts, "all"), "score") - sums[0] - sums[1]).abs() < 1e-9);
    let wanted: u64 =
        oracle["scores"].as_object().unwrap().values().map(|task| task["other"].as_u64().unwrap()).sum();
    assert_eq!(other as u64, wanted);
    assert!(other > 0);
    // Nine, eight and five pictures of two questions each.
    assert_eq!((parts[0].items, parts[0].groups, part(&parts, "perception").groups), (44, 22, 17));

    // Of a picture that lost a question to a limit there is no acc+.
    let mut half = Tally::default();
    half.add(&item(1, Some("yes")), &Mme.judge(&item(1, Some("yes")), &Answer::text("yes")).unwrap());
    let values: Vec<Option<f64>> =
        half.scores(&Mme, Seed(1))[0].figures.iter().map(|figure| figure.value).collect();
    assert_eq!(values, [Some(1.0), None, None, Some(0.0)]);
}

#[test]
fn chair_as_its_script() {
    let oracle = fixture("chair.json");
    for case in list(&oracle["tokens"]) {
        assert_eq!(tokens(case[0].as_str().unwrap()), texts(&case[1]), "{case}");
    }
    let chair = Chair::new(oracle["synonyms"].as_str().unwrap());
    let (sentences, pictures) = (list(&oracle["sentences"]), list(&oracle["pictures"]));
    let mut tally = Tally::default();
    for (id, (sentence, picture)) in sentences.iter().zip(pictures).enumerate() {
        let caption = text(&sentence[0]);
        let objects = chair.objects(&caption);
        assert_eq!((objects.words, objects.classes), (texts(&sentence[1]), texts(&sentence[2])), "{caption}");
        let marked = |name: String| Marked { name, bbox: [0.0; 4], outline: None, crowd: false };
        let item = Item {
            marked: texts(&picture[0]).into_iter().map(marked).collect(),
            captions: texts(&picture[1]),
            ..item(id, None)
        };
        let verdict = chair.judge(&item, &Answer::text(caption)).unwrap();
        let wanted = &oracle["by sentence"][id];
        assert_eq!(verdict.counts[0], wanted[0].as_f64().unwrap());
        assert_eq!(verdict.counts[2] as usize, list(&wanted[2]).len());
        tally.add(&item, &verdict);
    }
    let all = &tally.scores(&chair, Seed(1))[0];
    for name in ["CHAIRs", "CHAIRi", "recall"] {
        close(figure(all, name), oracle["overall"][name].as_f64().unwrap(), name);
    }
    // A list of one word alone shows the singular of another.
    let mut checked = 0;
    for case in list(&oracle["singular"]) {
        let (word, single) = (text(&case[0]), text(&case[1]));
        // Words that are cut apart before.
        if tokens(&word).len() == 1 {
            assert_eq!(Chair::new(&single).objects(&word).words, [single], "{word}");
            checked += 1;
        }
    }
    assert!(checked > 80, "{checked}");
    let odd = Item {
        marked: vec![Marked { name: "unicorn".to_owned(), bbox: [0.0; 4], outline: None, crowd: false }],
        ..item(7, None)
    };
    let said = chair.judge(&odd, &Answer::text("a dog")).unwrap_err().to_string();
    assert_eq!(
        said,
        "scorer `chair`, item `7`: `unicorn` is marked in its picture; expected a word of the list of synonyms"
    );
}

#[test]
fn the_better_of_two() {
    let pair = Item {
        captions: vec!["ab".to_owned(), "cde".to_owned()],
        foils: vec!["abc".to_owned(), "x".to_owned()],
        ..item(1, None)
    };
    let fits = |caption, foil, tokens| Fits { caption, foil, tokens };
    // -4 > -5, and per token -4 / 2 < -5 / 5; equal ones are wrong.
    let answer = Answer {
        fits: vec![fits(-4.0, -5.0, Some([2, 5])), fits(-1.0, -1.0, Some([1, 1]))],
        ..Answer::default()
    };
    let verdict = Pairwise.judge(&pair, &answer).unwrap();
    assert_eq!(Pairwise.values(&verdict.counts), [Some(0.5), Some(0.0)]);
    let alike = Answer { fits: vec![fits(0.4, 0.3, None); 2], ..Answer::default() };
    assert_eq!(Pairwise.values(&Pairwise.judge(&pair, &alike).unwrap().counts), [Some(1.0), None]);
    let said = |item: &Item, answer: &Answer| Pairwise.judge(item, answer).unwrap_err().to_string();
    assert_eq!(
        said(&item(1, None), &answer),
        "scorer `pairwise`, item `1`: no foil; expected a caption and a foil"
    );
    assert_eq!(
        said(&pair, &Answer::default()),
        "scorer `pairwise`, item `1`: 0 pairs compared; expected as many as foils"
    );
}

/// Scores of both captions with both pictures, whichever way they go.
#[test]
fn captions_and_pictures_go_both_ways() {
    let of = |id, captions: [&str; 2], fits: [f32; 2]| {
        let [caption, foil] = captions.map(|text| vec![text.to_owned()]);
        let item = Item { captions: caption, foils: foil, ..item(id, None) };
        let [caption, foil] = fits;
        let answer = Answer { fits: vec![Fits { caption, foil, tokens: None }], ..Answer::default() };
        (item, answer)
    };
    // s(c0, i0), s(c1, i0), s(c1, i1), s(c0, i1): what is right of it.
    for (scores, right) in [
        ([0.9, 0.1, 0.9, 0.1], [1.0, 1.0, 1.0]),
        // The first caption fits both pictures better: the first picture alone tells rightly.
        ([0.9, 0.5, 0.4, 0.8], [0.0, 0.0, 0.0]),
        // One picture is fitted better by all: captions cannot tell, pictures can.
        ([0.9, 0.8, 0.4, 0.3], [1.0, 0.0, 0.0]),
        ([0.9, 0.8, 0.85, 0.86], [0.0, 1.0, 0.0]),
        // Equal ones are wrong.
        ([0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0]),
    ] {
        let mut tally = Tally::default();
        let [s00, s10, s11, s01] = scores;
        for (own, answer) in [of(1, ["a", "b"], [s00, s10]), of(2, ["b", "a"], [s11, s01])] {
            let own = Item { group: "pair".to_owned(), ..own };
            tally.add(&own, &Winoground.judge(&own, &answer).unwrap());
        }
        let values = |tally: &Tally| -> Vec<Option<f64>> {
            tally.scores(&Winoground, Seed(1))[0].figures.iter().map(|figure| figure.value).collect()
        };
        let wanted: Vec<Option<f64>> = right.into_iter().chain([0.0]).map(Some).collect();
        assert_eq!(values(&tally), wanted, "{scores:?}");
        // A third item, or captions of other items, are no such two.
        let (own, answer) = of(3, ["b", "c"], [1.0, 0.0]);
        for (group, unpaired) in [("pair", 1.0), ("other", 1.0 / 3.0)] {
            let mut more = Tally::default();
            for (own, answer) in [of(1, ["a", "b"], [s00, s10]), of(2, ["b", "a"], [s11, s01])] {
                let own = Item { group: "pair".to_owned(), ..own };
                more.add(&own, &Winoground.judge(&own, &answer).unwrap());
            }
            let own = Item { group: group.to_owned(), ..own.clone() };
            more.add(&own, &Winoground.judge(&own, &answer).unwrap());
            let found = values(&more);
            assert!((found[3].unwrap() - unpaired).abs() < 1e-12, "{found:?}");
            assert_eq!(found[0].is_none(), group == "pair");
        }
    }
    let (two, answer) = of(1, ["a", "b"], [1.0, 0.0]);
    let two = Item { captions: vec!["a".to_owned(); 2], ..two };
    assert_eq!(
        Winoground.judge(&two, &answer).unwrap_err().to_string(),
        "scorer `winoground`, item `1`: 2 captions and 1 foils; expected one caption and one foil"
    );
}

#[test]
fn the_letter_of_an_answer() {
    let choices =
        [("A", "a cat"), ("B", "Two dogs."), ("C", "two dogs")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let choose = Item { choices: choices.to_vec(), label: Some("B".to_owned()), ..item(1, None) };
    let read = |text: &str| Choice.judge(&choose, &Answer::text(text)).unwrap().read;
    let found =
        ["B", "b", "(B)", "B.", "B: two dogs", "(c) no", "A cat", " a cat. ", "two dogs", "D", "Because", ""]
            .map(read);
    assert_eq!(found, ["B", "B", "B", "B", "B", "C", "A", "A", "", "", "", ""]);
    // Of one question with its choices turned, one answer is wrong.
    let mut tally = Tally::default();
    for (group, text) in [("1", "B"), ("1", "B"), ("2", "B"), ("2", "none")] {
        let turned = Item { group: group.to_owned(), ..choose.clone() };
        tally.add(&turned, &Choice.judge(&turned, &Answer::text(text)).unwrap());
    }
    let values: Vec<Option<f64>> =
        tally.scores(&Choice, Seed(1))[0].figures.iter().map(|figure| figure.value).collect();
    assert_eq!(values, [Some(0.75), Some(0.5), Some(0.25)]);
    let open = Item { answers: vec!["Red".to_owned(), "crimson".to_owned()], ..item(2, None) };
    let right = |text: &str| Choice.judge(&open, &Answer::text(text)).unwrap().counts[0];
    assert_eq!(["red", " Crimson. ", "blue"].map(right), [1.0, 1.0, 0.0]);
    assert_eq!(
        Choice.judge(&item(3, None), &Answer::text("x")).unwrap_err().to_string(),
        "scorer `choice`, item `3`: no right answer; expected an answer"
    );
}

#[test]
fn what_is_no_yes_or_no_is_not_scored() {
    let said = YesNo.judge(&item(5, Some("maybe")), &Answer::text("yes")).unwrap_err().to_string();
    assert_eq!(said, "scorer `pope`, item `5`: the label `maybe`; expected `yes` or `no`");
    assert!(
        "popes"
            .parse::<ScorerName>()
            .unwrap_err()
            .to_string()
            .ends_with("there are pope, mme, vqa, chair, pairwise, winoground, choice, none")
    );
    assert!(Vqa.judge(&item(5, None), &Answer::text("yes")).is_err());
    // Without any yes there is no precision.
    let values = YesNo.values(&[0.0, 0.0, 3.0, 1.0]);
    assert_eq!(values, [Some(0.75), None, Some(0.0), None, Some(0.0)]);
}

fn answered(answers: &[(bool, bool)], apart: usize) -> Vec<Part> {
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let mut tally = Tally::default();
    for (id, (said, truth)) in answers.iter().enumerate() {
        let item = Item { group: (id / apart).to_string(), ..item(id, Some(word(*truth))) };
        tally.add(&item, &YesNo.judge(&item, &Answer::text(word(*said))).unwrap());
    }
    tally.scores(&YesNo, Seed(3))
}

#[test]
fn intervals_are_those_of_the_binomial_distribution() {
    // 400 questions, each about a picture of its own, 300 right: the standard error of 0.75 is sqrt(0.75 * 0.25 / 400) = 0.02165, and 95 % lie
    // within 1.96 of them, 0.0424. A thousand draws know a quantile there to about 0.0015 (sqrt(0.025 * 0.975 / 1000) over the density 0.0584 / 0.02165).
    let answers: Vec<(bool, bool)> = (0..400).map(|i| (i % 4 != 0, true)).collect();
    let [low, high] = answered(&answers, 1)[0].figures[0].interval.unwrap();
    assert!((low - 0.7076).abs() < 0.006 && (high - 0.7924).abs() < 0.006, "{low} {high}");
    // The same in pictures of four questions of which always one is wrong: every draw has the same share.
    let whole = answered(&answers, 4);
    assert_eq!((whole[0].groups, whole[0].figures[0].interval), (100, Some([0.75, 0.75])));
    assert_eq!(answered(&answers[..4], 4)[0].figures[0].interval, None);
    assert_eq!(answered(&answers, 1), answered(&answers, 1));
}

proptest! {
    /// Figures do not depend on the order of items, and an interval holds what every group has.
    #[test]
    fn order_does_not_matter(answers in prop::collection::vec(any::<(bool, bool)>(), 2..60)) {
        let own = &answered(&answers, 1)[0];
        let mut turned = answers.clone();
        turned.reverse();
        for (one, other) in own.figures.iter().zip(&answered(&turned, 1)[0].figures) {
            prop_assert_eq!(one.value, other.value);
        }
        for figure in &own.figures {
            if let Some([low, high]) = figure.interval {
                prop_assert!(low <= high && (0.0..=1.0).contains(&low) && high <= 1.0);
            }
        }
    }

    /// Of identical answers nothing is normalised; one that all gave is right, whatever it is.
    #[test]
    fn what_all_answered_is_right(word in "[ -~]{1,20}") {
        let item = Item { answers: vec![word.clone(); 10], ..item(1, None) };
        prop_assert_eq!(Vqa.judge(&item, &Answer::text(word)).unwrap().counts, vec![1.0, 1.0]);
    }

    /// A model that says what people said of another picture hallucinates what is not in its own, and of its own captions nothing.
    #[test]
    fn own_captions_hallucinate_nothing(words in prop::collection::vec(prop::sample::select(vec!["dogs", "cat", "hot dog", "toilet seat", "men", "and", "."]), 1..12)) {
        let caption = words.join(" ");
        let chair = Chair::new("dog\ncat\nhot dog\ntoilet\nchair, seat\nperson, man\n");
        let item = Item { captions: vec![caption.clone()], ..item(1, None) };
        let counts = chair.judge(&item, &Answer::text(caption)).unwrap().counts;
        prop_assert_eq!((counts[0], counts[2], counts[4]), (0.0, 0.0, counts[5]));
    }
}
