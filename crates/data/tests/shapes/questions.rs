//! Questions against a second reading of their text, and how often each answer is drawn.

use std::collections::{BTreeMap, BTreeSet};

use mmlens_data::shapes::{Kind, Question, Scene, Split, World, vocabulary};
use proptest::prelude::*;

fn scenes(split: Split, count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(move |index| World::new(11).with_bias(true).scene(split, index))
}

/// One question of each kind from each of many test scenes.
fn drawn(count: u64) -> Vec<(Scene, Question)> {
    scenes(Split::Test, count)
        .flat_map(|scene| {
            let mut rng = scene.rng(0);
            let asked: Vec<Question> =
                Kind::ALL.iter().filter_map(|&kind| scene.ask(kind, &mut rng)).collect();
            asked.into_iter().map(move |question| (scene.clone(), question))
        })
        .collect()
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
    for (scene, question) in drawn(1000) {
        crate::support::check(&scene, &question);
        assert!(scene.questions().contains(&question), "{question:?}");
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
    for scene in scenes(Split::Train, 3000) {
        let description = scene.description();
        let questions = scene.questions();
        let texts =
            questions.iter().flat_map(|question| [&question.text, &question.answer]).chain([&description]);
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
    let drawn = drawn(12_000);
    let answers = |fits: &dyn Fn(&Question) -> bool| {
        let fitting = drawn.iter().map(|(_, question)| question).filter(|question| fits(question));
        rates(fitting.map(|question| question.answer.as_str()))
    };
    let words = |question: &Question| question.text.split(' ').count();
    type Fits<'a> = &'a dyn Fn(&Question) -> bool;
    let forms: [(&str, Fits<'_>); 5] = [
        ("relation", &|question| question.kind == Kind::Relation),
        ("left", &|question| question.kind == Kind::Relation && question.text.contains(" left of ")),
        ("a shape", &|question| question.kind == Kind::Existence && words(question) == 5),
        ("a colour", &|question| question.kind == Kind::Existence && question.text.contains(" object ")),
        ("both", &|question| {
            question.kind == Kind::Existence && words(question) == 6 && !question.text.contains(" object ")
        }),
    ];
    for (name, fits) in forms {
        let rate = answers(fits)["yes"];
        // 12,000 scenes give some 4,000 questions a form (2,100 for "left"): one standard deviation is about
        // 0.01
        assert!((rate - 0.5).abs() < 0.04, "{name}: {rate}");
    }
}

#[test]
fn the_wording_alone_does_not_tell_yes_from_no() {
    let mut by_text: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (_, question) in drawn(20_000) {
        if question.kind == Kind::Existence {
            let seen = by_text.entry(question.text).or_default();
            seen.0 += f64::from(u8::from(question.answer == "yes"));
            seen.1 += 1.0;
        }
    }
    assert_eq!(by_text.len(), 6 + 8 + 48);
    for (text, (yes, all)) in by_text {
        // the rarest text is drawn about 140 times: four standard deviations are 0.17
        assert!((yes / all - 0.5).abs() < 0.17, "{text}: {yes} of {all}");
    }
}

#[test]
fn near_misses_are_most_of_the_noes_about_colour_and_shape() {
    let (mut near, mut all) = (0, 0);
    for (scene, question) in drawn(6000) {
        let words: Vec<&str> = question.text.split(' ').collect();
        if let (["is", "there", _, colour, shape, "?"], "no") = (words.as_slice(), question.answer.as_str())
            && *shape != "object"
        {
            all += 1;
            let misses = |object: &_| {
                crate::support::phrase(object).1.word() == *colour
                    || crate::support::phrase(object).2.word() == *shape
            };
            near += usize::from(scene.objects.iter().any(misses));
        }
    }
    assert!(near * 4 >= all * 3, "{near} of {all}");
}

#[test]
fn no_count_dominates() {
    let drawn = drawn(12_000);
    let counts = drawn.iter().map(|(_, question)| question).filter(|question| question.kind == Kind::Count);
    let rates = rates(counts.map(|question| question.answer.as_str()));
    assert_eq!(rates.keys().copied().collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
    assert!(rates["0"] < 0.2 && rates["1"] < 0.5, "{rates:?}");
    assert!(rates.values().all(|&rate| rate > 0.05), "{rates:?}");
}

#[test]
fn every_cell_colour_shape_and_size_is_a_common_answer() {
    let drawn = drawn(8000);
    for (kind, answers) in [(Kind::Location, 9), (Kind::Colour, 8), (Kind::Shape, 6), (Kind::Size, 2)] {
        let fitting = drawn.iter().map(|(_, question)| question).filter(|question| question.kind == kind);
        let rates = rates(fitting.map(|question| question.answer.as_str()));
        assert_eq!(rates.len(), answers, "{kind}: {rates:?}");
        assert!(rates.values().all(|rate| rate * answers as f64 > 0.6), "{kind}: {rates:?}");
        assert!(rates.values().all(|rate| rate * (answers as f64) < 2.2), "{kind}: {rates:?}");
    }
}

#[test]
fn samples_follow_the_weights_and_come_in_full() {
    let weights = [(Kind::Colour, 3.0), (Kind::Describe, 1.0), (Kind::Count, 0.0), (Kind::Size, f32::NAN)];
    let (mut colours, mut all) = (0, 0);
    for scene in scenes(Split::Train, 2000) {
        if scene.ask(Kind::Colour, &mut scene.rng(9)).is_none() {
            continue;
        }
        let questions = scene.sample(1, &mut scene.rng(0), &weights);
        assert_eq!(questions.len(), 1);
        all += 1;
        colours += usize::from(questions[0].kind == Kind::Colour);
        assert!(matches!(questions[0].kind, Kind::Colour | Kind::Describe));
    }
    let rate = f64::from(colours as u32) / f64::from(all);
    assert!((rate - 0.75).abs() < 0.05, "{rate}");

    let scene = scenes(Split::Train, 1).next().unwrap();
    // two wordings of one question: both come before either comes again
    let described = scene.sample(5, &mut scene.rng(0), &[(Kind::Describe, 1.0)]);
    assert_eq!(described.len(), 5);
    assert_ne!(described[0].text, described[1].text);
    assert!(scene.sample(3, &mut scene.rng(0), &[]).is_empty());
    assert!(scene.sample(3, &mut scene.rng(0), &[(Kind::Colour, -1.0)]).is_empty());
}

#[test]
fn a_kind_the_scene_does_not_allow_is_refused() {
    let alone = scenes(Split::Train, 50).find(|scene| scene.objects.len() == 1).unwrap();
    assert_eq!(alone.ask(Kind::Relation, &mut alone.rng(0)), None);
    let asked = alone.sample(2, &mut alone.rng(0), &[(Kind::Relation, 100.0), (Kind::Size, 1.0)]);
    assert!(asked.len() == 2 && asked.iter().all(|question| question.kind == Kind::Size));

    let empty = alone.without(0);
    assert_eq!(empty.description(), "");
    for draw in 0..50 {
        let mut rng = empty.rng(draw);
        assert_eq!(empty.ask(Kind::Existence, &mut rng).unwrap().answer, "no");
        assert_eq!(empty.ask(Kind::Count, &mut rng).unwrap().answer, "0");
        assert_eq!(empty.ask(Kind::Describe, &mut rng), None);
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
    use mmlens_data::shapes::ShapesCases;

    let data = ShapesCases::new(World::new(11).with_bias(true), Split::Test, Kind::Count, 40);
    assert_eq!(data.len(), 40);
    for index in 0..data.len() {
        let (scene, question) = data.scene(index).unwrap();
        assert_eq!(World::new(11).with_bias(true).scene(Split::Test, scene.id), scene);
        let case = data.case(index).unwrap();
        assert_eq!(case.sample.words, Words::Question(question.text.clone()));
        assert_eq!(case.sample.pictures[0].image.to_rgb8(), scene.render());
        assert_eq!(data.classes()[data.label(index).unwrap().unwrap()], question.answer);
        assert_eq!(data.group(index).unwrap(), Some(scene.key));
        // What is counted are the objects whose masks are given.
        let masks = data.masks(index).unwrap();
        assert_eq!(masks.len().to_string(), question.answer);
        for (mask, object) in masks.iter().zip(&question.evidence) {
            let inside = mask.inside.iter().filter(|inside| **inside).count();
            assert_eq!(inside, scene.objects[*object].mask.count() as usize);
        }
    }
    assert_eq!(
        data.case(40).unwrap_err().to_string(),
        "`shapes 11, biased, test, count` has no case 40: it has 40"
    );
    let same = ShapesCases::new(World::new(11).with_bias(true), Split::Test, Kind::Count, 40);
    assert_eq!(same.hash().unwrap(), data.hash().unwrap());
    for other in [
        ShapesCases::new(World::new(12).with_bias(true), Split::Test, Kind::Count, 40),
        ShapesCases::new(World::new(11).with_bias(true), Split::Train, Kind::Count, 40),
        ShapesCases::new(World::new(11).with_bias(true), Split::Test, Kind::Colour, 40),
        ShapesCases::new(World::new(11).with_bias(true), Split::Test, Kind::Count, 39),
    ] {
        assert_ne!(other.hash().unwrap(), data.hash().unwrap());
    }
}
