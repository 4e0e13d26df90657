//! Careless annotators, polls and descriptions against exact truth; decoders and steering on them.

#[path = "../../../../examples/hallucination/polled.rs"]
mod polled;

use mmlens::core::burn::tensor::Device;
use mmlens::data::benchmark::{Answer, Chair, Scorer};
use mmlens::data::shapes::{Colour, Named, Poll, Split, Thing, World, compare_description};
use mmlens::prelude::*;
use mmlens::zoo::shipped;

/// The shipped model sees what is there: it falls for no companion, and without a picture it is at chance.
#[test]
fn the_shipped_model_does_not_hallucinate() {
    let model = shipped::shapes(&Device::default()).unwrap();
    let asked = polled::Polls::new(3);
    let mut lines = Vec::new();
    for row in
        polled::ways().iter().filter(|row| ["plain", "plain, a blank picture", "vcd"].contains(&row.name))
    {
        let mut told = polled::Told::new(row.name);
        told.add(&asked, &model, row, 0).unwrap();
        assert!(told.apart.iter().all(|apart| apart.abs() < 0.12), "{}: {:?}", row.name, told.apart);
        lines.push(told.line().unwrap());
    }
    let cells = |line: &str| line.split(" | ").map(str::to_owned).collect::<Vec<_>>();
    assert!(
        lines.iter().all(|line| cells(line).len() == cells(polled::Told::HEAD.lines().next().unwrap()).len())
    );
    let accuracy = |line: &str| cells(line)[1].split(' ').next().unwrap().parse::<f32>().unwrap();
    assert!(accuracy(&lines[0]) == 0.5 && accuracy(&lines[1]) > 0.9, "{lines:?}");
}

/// No strength is the plain answer; the sweep has a row for each strength and direction.
#[test]
fn steering_is_swept() {
    let models: Vec<Box<dyn Subject>> = vec![Box::new(shipped::shapes(&Device::default()).unwrap())];
    let direction = polled::fitted(models[0].as_ref()).unwrap();
    let lines = polled::sweep(&polled::Polls::new(2), &models, &[direction]).unwrap();
    assert_eq!(lines.len(), 6 + 5 + 5);
    assert!(lines[2].starts_with("| 0 |"), "{}", lines[2]);
}

#[test]
fn companions_come_in_pairs_of_one_colour() {
    for thing in Thing::all() {
        assert_eq!(thing.companion().companion(), thing);
        assert!(thing.companion() != thing && thing.companion().colour == thing.colour);
    }
    assert_eq!(Thing::all().count(), 48);
}

#[test]
fn questions_are_those_of_the_world_and_their_answer_is_what_is_there() {
    let mut asked = 0;
    for id in 0..20 {
        let scene = World::new(5).scene(Split::Test, id);
        for thing in Thing::all() {
            let question = scene.answered(&thing.asked()).unwrap();
            assert_eq!(question.answer == "yes", thing.is_in(&scene), "{thing}");
            asked += 1;
        }
    }
    assert_eq!(asked, 20 * 48);
}

#[test]
fn what_is_invented_is_not_there_and_is_all_that_the_description_adds() {
    let (mut invented_once, mut drawn, mut red) = (0, 0, 0);
    for id in 0..400 {
        let scene = World::new(5).scene(Split::Train, id);
        let invented = scene.invented(&mut scene.rng(0));
        let compared = compare_description(&scene.description_with(&invented), &scene).unwrap();
        let mut added: Vec<Thing> = compared
            .invented
            .iter()
            .map(|phrase| Thing { colour: phrase.colour, shape: phrase.shape })
            .collect();
        added.sort_unstable();
        let mut sorted = invented.clone();
        sorted.sort_unstable();
        assert_eq!(added, sorted);
        assert!(compared.missing.is_empty() && invented.iter().all(|thing| !thing.is_in(&scene)));
        invented_once += usize::from(!invented.is_empty());
        drawn += scene.missed().iter().filter(|thing| thing.colour == Colour::Red).count();
        red += invented.iter().filter(|thing| thing.colour == Colour::Red).count();
    }
    assert!(invented_once > 100, "{invented_once}");
    // 0.9, give or take three deviations of so many draws
    let rate = red as f64 / f64::from(u32::try_from(drawn).unwrap());
    assert!((rate - 0.9).abs() < 3.0 * (0.09 / drawn as f64).sqrt(), "{red} of {drawn}");
}

#[test]
fn without_inventions_it_is_the_description() {
    for id in 0..50 {
        let scene = World::new(2).scene(Split::Test, id);
        assert_eq!(scene.description_with(&[]), scene.description());
    }
}

fn counted() -> Named {
    Named::of(&World::new(3), 2000)
}

#[test]
fn questions_are_true_balanced_and_each_is_asked_once() {
    let named = counted();
    let mut asked = 0;
    for id in 0..200 {
        let scene = World::new(3).scene(Split::Test, id);
        for poll in Poll::ALL {
            let questions = scene.polled(*poll, &named, 3, &mut scene.rng(0));
            assert_eq!(questions.is_empty(), scene.things().len() < 3);
            for (thing, there) in &questions {
                assert_eq!(thing.is_in(&scene), *there);
                assert_eq!(questions.iter().filter(|(other, _)| other == thing).count(), 1);
            }
            assert_eq!(2 * questions.iter().filter(|(_, there)| *there).count(), questions.len());
            asked += questions.len();
        }
    }
    assert!(asked > 1000, "{asked}");
}

#[test]
fn adversarial_polls_ask_for_companions_and_random_ones_hardly_do() {
    let named = counted();
    let share = |poll: Poll| {
        let (mut companions, mut all) = (0, 0);
        for id in 0..200 {
            let scene = World::new(3).scene(Split::Test, id);
            let absent = scene.polled(poll, &named, 3, &mut scene.rng(0));
            let absent = absent.into_iter().filter(|(_, there)| !there);
            for (thing, _) in absent {
                companions += usize::from(scene.missed().contains(&thing));
                all += 1;
            }
        }
        f64::from(u32::try_from(companions).unwrap()) / f64::from(u32::try_from(all).unwrap())
    };
    assert!(share(Poll::Adversarial) > 0.7, "{}", share(Poll::Adversarial));
    // Three or four of some 45 are companions.
    assert!(share(Poll::Random) < 0.15, "{}", share(Poll::Random));
}

#[test]
fn chair_counts_what_descriptions_invent() {
    let chair = Chair::new(&Thing::words());
    let (mut invented, mut scenes) = (0, 0);
    for id in 0..200 {
        let scene = World::new(3).scene(Split::Train, id);
        let description = scene.description_with(&scene.invented(&mut scene.rng(0)));
        let compared = compare_description(&description, &scene).unwrap();
        let words = Thing::in_words(&description);
        let counts = chair.judge(&scene.to_describe(), &Answer::text(words)).unwrap().counts;
        let named = compared.right.len() + compared.invented.len();
        // CHAIRs, captions, CHAIRi's numerator and denominator
        let some = f64::from(u8::from(!compared.invented.is_empty()));
        let expected = [some, 1.0, compared.invented.len() as f64, named as f64];
        assert_eq!(counts[..4], expected, "{description}");
        invented += compared.invented.len();
        scenes += 1;
    }
    assert!(invented > 50 && scenes == 200, "{invented}");
}

#[test]
fn every_thing_is_a_word_of_its_own() {
    let chair = Chair::new(&Thing::words());
    for thing in Thing::all() {
        assert_eq!(chair.objects(&format!("a large {}", thing.word())).classes, [thing.word()]);
    }
}
