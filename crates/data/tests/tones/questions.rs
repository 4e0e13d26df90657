//! Questions against a second reading of their text, and how often each answer is drawn.

use std::collections::{BTreeMap, BTreeSet};

use mmlens_data::tones::{Kind, Question, Scene, Split, World, vocabulary};
use proptest::prelude::*;

fn scenes(split: Split, count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(move |index| World::new(11).with_bias(true).scene(split, index))
}

/// One question of each kind from each of many test scenes.
fn drawn(count: u64) -> Vec<(Scene, Question)> {
    let asked = |scene: Scene| {
        let mut rng = scene.rng(0);
        let asked: Vec<Question> = Kind::ALL.iter().filter_map(|&kind| scene.ask(kind, &mut rng)).collect();
        asked.into_iter().map(move |question| (scene.clone(), question)).collect::<Vec<_>>()
    };
    scenes(Split::Test, count).flat_map(asked).collect()
}

fn rates<'a>(answers: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, f64> {
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    let mut all = 0.0;
    for answer in answers {
        *counts.entry(answer).or_default() += 1.0;
        all += 1.0;
    }
    counts.values_mut().for_each(|count| *count /= all);
    counts
}

#[test]
fn every_question_agrees_with_a_second_reading() {
    for &split in Split::ALL {
        for scene in scenes(split, 400) {
            scene.questions().iter().for_each(|question| crate::support::check(&scene, question));
        }
    }
}

#[test]
fn drawn_questions_agree_and_are_among_all_questions() {
    for (scene, question) in drawn(600) {
        crate::support::check(&scene, &question);
        assert!(scene.questions().contains(&question), "{question:?}");
        assert_eq!(scene.answered(&question.text), Some(question));
    }
}

#[test]
fn no_question_comes_twice_in_the_list() {
    for scene in scenes(Split::Validation, 200) {
        let questions = scene.questions();
        let texts: BTreeSet<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        assert_eq!(texts.len(), questions.len(), "{}", scene.description());
        let kinds: Vec<Kind> = questions.iter().map(|question| question.kind).collect();
        assert!(kinds.is_sorted());
    }
}

#[test]
fn no_text_leaves_the_vocabulary_and_every_word_is_used() {
    let vocabulary = vocabulary();
    let known: BTreeSet<&str> = vocabulary.iter().copied().collect();
    assert_eq!(known.len(), vocabulary.len(), "duplicates");
    let mut used = BTreeSet::new();
    for scene in scenes(Split::Train, 1500) {
        let questions = scene.questions();
        let texts = questions.iter().flat_map(|question| [&question.text, &question.answer]);
        for word in texts.flat_map(|text| text.split(' ')) {
            assert!(known.contains(word), "{word:?} in {}", scene.description());
            if !used.contains(word) {
                used.insert(word.to_owned());
            }
        }
    }
    let unused: Vec<&str> = vocabulary.into_iter().filter(|&word| !used.contains(word)).collect();
    assert!(unused.is_empty(), "never said: {unused:?}");
}

#[test]
fn yes_and_no_are_balanced_in_every_form() {
    let drawn = drawn(9000);
    let answers = |fits: &dyn Fn(&Question) -> bool| {
        let fitting = drawn.iter().map(|(_, question)| question).filter(|question| fits(question));
        rates(fitting.map(|question| question.answer.as_str()))
    };
    let words = |question: &Question| question.text.split(' ').count();
    type Fits<'a> = &'a dyn Fn(&Question) -> bool;
    let forms: [(&str, Fits<'_>); 5] = [
        ("before", &|question| question.kind == Kind::Before && question.text.contains(" before ")),
        ("after", &|question| question.kind == Kind::Before && question.text.contains(" after ")),
        ("a timbre", &|question| question.kind == Kind::Existence && words(question) == 5),
        ("a pitch", &|question| question.kind == Kind::Existence && question.text.contains(" sound ")),
        ("both", &|question| {
            question.kind == Kind::Existence && words(question) == 6 && !question.text.contains(" sound ")
        }),
    ];
    for (name, fits) in forms {
        let rate = answers(fits)["yes"];
        // 9,000 scenes give some 3,000 questions a form: one standard deviation is about 0.01
        assert!((rate - 0.5).abs() < 0.04, "{name}: {rate}");
    }
    let rate = answers(&|question| question.kind == Kind::Overlap)["yes"];
    assert!((0.28..0.42).contains(&rate), "overlap: {rate}");
}

#[test]
fn the_wording_alone_does_not_tell_yes_from_no() {
    let mut by_text: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (_, question) in drawn(9000) {
        if question.kind == Kind::Existence {
            let seen = by_text.entry(question.text).or_default();
            seen.0 += f64::from(u8::from(question.answer == "yes"));
            seen.1 += 1.0;
        }
    }
    assert_eq!(by_text.len(), 4 + 4 + 16);
    for (text, (yes, all)) in by_text {
        // the rarest text is drawn about 180 times: four standard deviations are 0.15
        assert!((yes / all - 0.5).abs() < 0.15, "{text}: {yes} of {all}");
    }
}

/// Of two sounds, the one that is named first comes first in half of the questions.
#[test]
fn the_order_of_words_does_not_tell_what_comes_first() {
    let (mut first, mut all) = (0.0, 0.0);
    for (_, question) in drawn(6000).iter().filter(|(_, question)| question.kind == Kind::Order) {
        let named = question.text.strip_prefix("which comes first , the ").unwrap();
        first += f64::from(u8::from(named.starts_with(&format!("{} or", question.answer))));
        all += 1.0;
    }
    assert!(all > 2000.0);
    assert!((first / all - 0.5_f64).abs() < 0.04, "{}", first / all);
}

#[test]
fn near_misses_are_most_of_the_noes_about_pitch_and_timbre() {
    let (mut near, mut all) = (0, 0);
    for (scene, question) in drawn(5000) {
        let words: Vec<&str> = question.text.split(' ').collect();
        if let (["is", "there", _, pitch, timbre, "?"], "no") = (words.as_slice(), question.answer.as_str())
            && *timbre != "sound"
        {
            all += 1;
            let misses =
                |own: &mmlens_data::tones::Event| own.pitch.word() == *pitch || own.timbre.word() == *timbre;
            near += usize::from(scene.events.iter().any(misses));
        }
    }
    assert!(near * 4 >= all * 3, "{near} of {all}");
}

#[test]
fn no_answer_dominates() {
    let drawn = drawn(8000);
    let kinds = [
        (Kind::Pitch, 4),
        (Kind::Timbre, 4),
        (Kind::Length, 2),
        (Kind::Loudness, 2),
        (Kind::Begin, 3),
        (Kind::Count, 4),
    ];
    for (kind, answers) in kinds {
        let fitting = drawn.iter().map(|(_, question)| question).filter(|question| question.kind == kind);
        let rates = rates(fitting.map(|question| question.answer.as_str()));
        assert_eq!(rates.len(), answers, "{kind}: {rates:?}");
        let even = 1.0 / answers as f64;
        assert!(rates.values().all(|rate| rate / even > 0.4 && rate / even < 2.2), "{kind}: {rates:?}");
    }
}

#[test]
fn samples_follow_the_weights_and_come_in_full() {
    let weights = [(Kind::Pitch, 3.0), (Kind::Describe, 1.0), (Kind::Count, 0.0), (Kind::Length, f32::NAN)];
    let (mut pitches, mut all) = (0, 0);
    for scene in scenes(Split::Train, 2000) {
        if scene.ask(Kind::Pitch, &mut scene.rng(9)).is_none() {
            continue;
        }
        let questions = scene.sample(1, &mut scene.rng(0), &weights);
        assert_eq!(questions.len(), 1);
        all += 1;
        pitches += usize::from(questions[0].kind == Kind::Pitch);
        assert!(matches!(questions[0].kind, Kind::Pitch | Kind::Describe));
    }
    let rate = f64::from(pitches as u32) / f64::from(all);
    assert!((rate - 0.75).abs() < 0.05, "{rate}");

    let scene = scenes(Split::Train, 1).next().unwrap();
    // two wordings of one question: both come before either comes again
    let described = scene.sample(5, &mut scene.rng(0), &[(Kind::Describe, 1.0)]);
    assert_eq!(described.len(), 5);
    assert_ne!(described[0].text, described[1].text);
    assert!(scene.sample(3, &mut scene.rng(0), &[]).is_empty());
    assert!(scene.sample(3, &mut scene.rng(0), &[(Kind::Pitch, -1.0)]).is_empty());
}

#[test]
fn a_kind_the_scene_does_not_allow_is_refused() {
    let alone = scenes(Split::Train, 50).find(|scene| scene.events.len() == 1).unwrap();
    for kind in [Kind::Order, Kind::Before, Kind::Overlap] {
        assert_eq!(alone.ask(kind, &mut alone.rng(0)), None);
    }
    let asked = alone.sample(2, &mut alone.rng(0), &[(Kind::Order, 100.0), (Kind::Length, 1.0)]);
    assert!(asked.len() == 2 && asked.iter().all(|question| question.kind == Kind::Length));

    let empty = alone.without(0);
    assert_eq!(empty.description(), "");
    for draw in 0..50 {
        let mut rng = empty.rng(draw);
        assert_eq!(empty.ask(Kind::Existence, &mut rng).unwrap().answer, "no");
        assert_eq!(empty.ask(Kind::Count, &mut rng).unwrap().answer, "0");
        assert_eq!(empty.ask(Kind::Describe, &mut rng), None);
    }
}

/// Where sounds cannot be told apart nothing is asked, and nothing is answered.
#[test]
fn what_is_not_clear_is_not_asked() {
    let two = scenes(Split::Train, 50).find(|scene| scene.events.len() == 2).unwrap();
    let [first, second] = [two.events[0], two.events[1]];
    let near = two.moved(1, first.start + 150);
    let same = Scene {
        events: vec![first, mmlens_data::tones::Event { start: first.start + 200, ..first }],
        ..two.clone()
    };
    let close = two.moved(1, first.end() + 100);
    for unclear in [near, same, close] {
        assert!(!unclear.is_clear());
        assert!(unclear.questions().is_empty());
        assert_eq!(unclear.answered("how many sounds are there ?"), None);
        assert!(Kind::ALL.iter().all(|&kind| unclear.ask(kind, &mut unclear.rng(0)).is_none()));
    }
    assert_eq!(two.answered("how many sounds are there ?").unwrap().answer, "2");
    let moment = |start: u32| {
        let alone = two.without(1).moved(0, start);
        alone.questions().into_iter().find(|own| own.kind == Kind::Begin).map(|own| own.answer)
    };
    let said = [899, 900, 901, 1099, 1100, 1900, 1901, 2099, 2100].map(moment);
    let said = said.each_ref().map(|own| own.as_deref());
    let (early, midway, late) = (Some("early"), Some("midway"), Some("late"));
    assert_eq!(said, [early, early, None, None, midway, midway, None, None, late]);
    assert!(second.start > first.start);
}

#[test]
fn longer_names_are_taken_and_nothing_else() {
    let scene = scenes(Split::Test, 90).find(|scene| scene.events.len() == 1).unwrap();
    let own = scene.events[0];
    let (length, pitch, timbre) = (own.length, own.pitch, own.timbre);
    let longer = scene.answered(&format!("what pitch is the {length} {timbre} ?")).unwrap();
    assert_eq!((longer.answer.as_str(), longer.evidence.as_slice()), (pitch.word(), [0].as_slice()));
    for text in [
        format!("what pitch is the {pitch} {timbre} ?"),
        format!("what pitch is the {timbre} {length} ?"),
        format!("what pitch is a {timbre} ?"),
        format!("what pitch is the {timbre}"),
        "what pitch is the first sound ?".to_owned(),
        "do two sounds overlap ?".to_owned(),
        "is there a elephant ?".to_owned(),
        String::new(),
    ] {
        assert_eq!(scene.answered(&text), None, "{text}");
    }
}

#[test]
fn batching_does_not_change_a_draw() {
    let world = World::new(5).with_bias(true);
    let weights: Vec<(Kind, f32)> = Kind::ALL.iter().map(|&kind| (kind, 1.0)).collect();
    let whole: Vec<_> = world.samples(Split::Train, 0..40).asking(3, &weights).collect();
    let parts: Vec<_> = [0..7, 7..8, 8..40]
        .into_iter()
        .flat_map(|range| world.samples(Split::Train, range).asking(3, &weights))
        .collect();
    assert_eq!(whole, parts);
    assert_eq!(world.samples(Split::Train, 3..9).len(), 6);
    assert_eq!(world.samples(Split::Test, 0..9).with_progress().count(), 9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn questions_agree_for_any_seed(seed: u64, index: u64, split in 0..3_usize, bias: bool) {
        let scene = World::new(seed).with_bias(bias).scene(Split::ALL[split], index);
        for question in scene.questions() {
            crate::support::check(&scene, &question);
        }
        let mut rng = scene.rng(index);
        for &kind in Kind::ALL {
            if let Some(question) = scene.ask(kind, &mut rng) {
                crate::support::check(&scene, &question);
            } else {
                prop_assert!(!scene.questions().iter().any(|question| question.kind == kind));
            }
        }
    }
}

/// Read as a data set, a scene is what the world draws: the answer is the label, and the masks are the evidence.
#[test]
fn as_a_data_set_it_is_the_same_world() {
    use mmlens_core::{Cases, Words};
    use mmlens_data::tones::{TonesCases, listening};

    let of = |seed: u64, split: Split, kind: Kind, count: usize| {
        TonesCases::new(World::new(seed).with_bias(true), split, kind, count, listening().unwrap())
    };
    let data = of(11, Split::Test, Kind::Count, 30);
    assert_eq!(data.len(), 30);
    for index in 0..data.len() {
        let (scene, question) = data.scene(index).unwrap();
        assert_eq!(World::new(11).with_bias(true).scene(Split::Test, scene.id), scene);
        let case = data.case(index).unwrap();
        assert_eq!(case.sample.words, Words::Question(question.text.clone()));
        assert_eq!(case.sample.recordings[0].samples(), scene.sound("scene").unwrap().samples());
        assert_eq!(data.classes()[data.label(index).unwrap().unwrap()], question.answer);
        assert_eq!(data.group(index).unwrap(), Some(scene.key));
        // What is counted are the sounds whose masks are given: rows of 300 frames, the highest filter first.
        let masks = data.masks(index).unwrap();
        assert_eq!(masks.len().to_string(), question.answer);
        for (mask, event) in masks.iter().zip(&question.evidence) {
            assert_eq!(mask.size, [300, 80]);
            let cells = scene.events[*event].cells(&listening().unwrap());
            assert_eq!(mask.inside, cells.inside);
        }
    }
    assert_eq!(
        data.case(30).unwrap_err().to_string(),
        "`tones 11, biased, test, count` has no case 30: it has 30"
    );
    assert_eq!(of(11, Split::Test, Kind::Count, 30).hash().unwrap(), data.hash().unwrap());
    for other in [
        of(12, Split::Test, Kind::Count, 30),
        of(11, Split::Train, Kind::Count, 30),
        of(11, Split::Test, Kind::Pitch, 30),
        of(11, Split::Test, Kind::Count, 29),
    ] {
        assert_ne!(other.hash().unwrap(), data.hash().unwrap());
    }
}
