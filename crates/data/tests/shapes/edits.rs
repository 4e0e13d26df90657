//! Counterfactual scenes, and what is true of them.

use mmlens_core::Words;
use mmlens_data::shapes::{
    Colour, Counterfactual, Edit, EditError, Kind, Object, SIDE, Scene, Shape, Size, Split, World,
};

use crate::support::check;

fn scenes(count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(|index| World::new(5).scene(Split::Test, index))
}

fn edits() -> Vec<Edit> {
    let mut all = vec![Edit::Remove, Edit::Move { x: 20.0, y: 44.0 }, Edit::Move { x: 50.5, y: 12.25 }];
    all.extend(Colour::ALL.iter().map(|own| Edit::Colour(*own)));
    all.extend(Shape::ALL.iter().map(|own| Edit::Shape(*own)));
    all.extend(Size::ALL.iter().map(|own| Edit::Size(*own)));
    all
}

fn made(scene: &Scene) -> Vec<Counterfactual> {
    let all = (0..scene.objects.len()).flat_map(|object| edits().into_iter().map(move |edit| (object, edit)));
    all.filter_map(|(object, edit)| scene.counterfactual(object, edit).ok()).collect()
}

/// Whether a pixel is within reach of an object's outline.
fn within(object: &Object, (x, y): (usize, usize)) -> bool {
    let reach = |at: usize, centre: f32| {
        (at as f32 + 1.0) > centre - object.radius && (at as f32) < centre + object.radius
    };
    reach(x, object.centre.0) && reach(y, object.centre.1)
}

#[test]
fn a_picture_differs_where_the_object_was_or_is_and_nowhere_else() {
    let (mut looked, mut moved, mut alone) = (0, 0, 0);
    for scene in scenes(30) {
        for made in made(&scene) {
            let own = &made.before.objects[made.object];
            let new = made.after.objects.get(made.object).filter(|_| made.edit != Edit::Remove);
            let changed = made.changed();
            assert!(changed.contains(&true) || own.mask.count() == 0, "{}", made.edit);
            for (at, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
                let pixel = (at % SIDE, at / SIDE);
                assert!(
                    within(own, pixel) || new.is_some_and(|new| within(new, pixel)),
                    "{} {pixel:?}",
                    made.edit
                );
                moved += 1;
            }
            if made.is_alone() {
                alone += 1;
                // What others show is as it was: inside of them nothing differs but where the object itself lies in front of them.
                for other in made.before.objects.iter().filter(|other| *other != own) {
                    let inner =
                        other.mask.pixels().filter(|(x, y)| changed[*y as usize * SIDE + *x as usize]);
                    for (x, y) in inner {
                        let pixel = (x as usize, y as usize);
                        assert!(within(own, pixel) || new.is_some_and(|new| within(new, pixel)));
                    }
                }
            }
            looked += 1;
        }
    }
    assert!(looked > 1000 && moved > 10_000 && alone > looked / 2, "{looked} {moved} {alone}");
}

#[test]
fn only_the_edited_object_is_another() {
    for scene in scenes(20) {
        for made in made(&scene) {
            let mut others = made.after.objects.clone();
            if made.edit == Edit::Remove {
                assert_eq!(others.len() + 1, scene.objects.len());
            } else {
                let own = others.remove(made.object);
                let was = &scene.objects[made.object];
                let same = [
                    own.shape == was.shape,
                    own.colour == was.colour && own.rgb == was.rgb,
                    own.size == was.size && own.radius == was.radius,
                    own.centre == was.centre,
                ];
                assert_eq!(same.iter().filter(|same| !**same).count(), 1, "{}", made.edit);
            }
            let mut before = scene.objects.clone();
            before.remove(made.object);
            let what = |own: &Object| (own.shape, own.colour, own.size, own.rgb, own.centre.0, own.centre.1);
            assert!(others.iter().map(what).eq(before.iter().map(what)));
        }
    }
}

/// Every question the world asks is answered as the world answers it; in an edited scene as a second reader does.
#[test]
fn questions_are_answered_by_what_is_there() {
    let (mut answered, mut none) = (0, 0);
    for scene in scenes(60) {
        let questions = scene.questions();
        for question in &questions {
            assert_eq!(scene.answered(&question.text).as_ref(), Some(question), "{}", question.text);
        }
        for made in made(&scene).iter().step_by(7) {
            for question in questions.iter().step_by(5) {
                match made.after.answered(&question.text) {
                    Some(other) => {
                        assert_eq!((other.kind, &other.text), (question.kind, &question.text));
                        check(&made.after, &other);
                        answered += 1;
                    }
                    None => none += 1,
                }
            }
        }
    }
    assert!(answered > 1000 && none > 100, "{answered} {none}");
}

#[test]
fn longer_names_are_taken_and_none_that_gives_the_answer_away() {
    let scene = World::new(5).scene(Split::Test, 0);
    let own = &scene.objects[0];
    let (size, colour, shape) = (own.size, own.colour, own.shape);
    let alone = |fits: &dyn Fn(&Object) -> bool| scene.objects.iter().filter(|own| fits(own)).count() == 1;
    assert!(alone(&|other| (other.size, other.shape) == (size, shape)));
    let question = scene.answered(&format!("what colour is the {size} {shape} ?")).unwrap();
    assert_eq!((question.answer.as_str(), question.kind), (colour.word(), Kind::Colour));
    assert_eq!(question.evidence, [0]);
    for text in [
        format!("what colour is the {colour} {shape} ?"),
        format!("what colour is the {shape} {size} ?"),
        format!("what colour is a {shape} ?"),
        format!("what colour is the {shape}"),
        "is there a elephant ?".to_owned(),
        "what is".to_owned(),
        String::new(),
    ] {
        assert_eq!(scene.answered(&text), None, "{text}");
    }
}

#[test]
fn flips_change_the_answer_and_show_no_other_object_otherwise() {
    let mut by_kind = std::collections::BTreeMap::new();
    for scene in scenes(25) {
        for question in scene.questions().iter().step_by(9) {
            for made in scene.flips(&question.text) {
                let [own, other] = made.answers(&question.text).unwrap();
                assert_eq!(own, *question);
                assert_ne!(own.answer, other.answer);
                check(&made.after, &other);
                assert!(made.is_alone());
                *by_kind.entry(question.kind).or_insert(0) += 1;
            }
        }
        let Some(question) = scene.ask(Kind::Colour, &mut scene.rng(0)) else { continue };
        // The object that is asked about, in each of the seven other colours.
        let colours = scene.flips(&question.text);
        let own = |made: &&Counterfactual| {
            made.object == question.evidence[0] && matches!(made.edit, Edit::Colour(_))
        };
        assert_eq!(colours.iter().filter(own).count(), 7);
        // Nothing else can be done to the answer but by making another thing what is asked about.
        assert!(colours.iter().all(|made| made.object == question.evidence[0] || !own(&made)));
    }
    assert_eq!(by_kind.len(), Kind::ALL.len(), "{by_kind:?}");
}

#[test]
fn a_pair_shows_both_pictures_and_asks_the_same() {
    let scene = World::new(5).scene(Split::Test, 1);
    let made = scene.counterfactual(0, Edit::Remove).unwrap();
    let pair = made.pair("how many objects are there ?");
    assert_eq!(pair.clean.sample.words, Words::Question("how many objects are there ?".to_owned()));
    assert_eq!(pair.corrupted.words, pair.clean.sample.words);
    assert!(pair.clean.sample.pictures[0].image.to_rgb8() == scene.render());
    assert!(pair.corrupted.pictures[0].image.to_rgb8() == scene.without(0).render());
    assert_eq!(pair.difference(), "test 1, 0:remove");
}

#[test]
fn what_cannot_be_is_refused() {
    let scene = World::new(5).scene(Split::Test, 2);
    let said = |object, edit| scene.counterfactual(object, edit).unwrap_err();
    let len = scene.objects.len();
    assert_eq!(said(9, Edit::Remove), EditError::NoObject { index: 9, len });
    let own = Edit::Colour(scene.objects[0].colour);
    assert_eq!(said(0, own), EditError::Same { index: 0, edit: own.to_string() });
    assert_eq!(said(0, Edit::Move { x: 64.0, y: 3.0 }), EditError::Outside { x: 64.0, y: 3.0 });
    assert_eq!(
        said(0, Edit::Move { x: -1.0, y: 3.0 }).to_string(),
        "the centre -1,3 lies outside the picture, which has 64 x 64 pixels"
    );
}
