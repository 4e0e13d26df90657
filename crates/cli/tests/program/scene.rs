//! `mmlens scene`: a picture of the shapes world, with what is true of it.

use std::fs;
use std::path::Path;

use mmlens::data::shapes::{Colour, Record, Split, World};

use crate::support::{Said, mmlens};

fn scene(out: &Path, more: &[&str]) -> Said {
    mmlens(["scene", "--out", out.to_str().unwrap()].iter().chain(more))
}

#[test]
fn a_scene_is_that_of_the_world_with_all_its_questions() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("scene");
    let said = scene(&out, &["--seed", "3", "--json"]).json();
    let world = World::new(3).scene(Split::Test, 0);
    let drawn = image::open(out.join("scene.png")).unwrap().into_rgb8();
    assert!(drawn == world.render());
    let masks = image::open(out.join("masks.png")).unwrap().into_luma8();
    let truth: Record = serde_json::from_slice(&fs::read(out.join("scene.json")).unwrap()).unwrap();
    assert!(serde_json::from_value::<Record>(said["scene"].clone()).unwrap() == truth);
    assert_eq!(truth.questions, world.questions());
    assert!(truth.questions.len() > 8 && truth.objects.len() == world.objects.len());
    // The evidence of a question is a list of objects, whose pixels are in the masks and whose box is around them.
    let question = truth.questions.iter().find(|question| question.evidence.len() == 1).unwrap();
    let object = &truth.objects[question.evidence[0]];
    let inside =
        masks.enumerate_pixels().filter(|(.., pixel)| usize::from(pixel.0[0]) == question.evidence[0] + 1);
    let [x0, y0, x1, y1] = object.bbox;
    let inside: Vec<(u32, u32)> = inside.map(|(x, y, _)| (x, y)).collect();
    assert!(inside.len() == object.pixels as usize && !inside.is_empty());
    assert!(inside.iter().all(|(x, y)| (x0..x1).contains(x) && (y0..y1).contains(y)));
    // The same scene again, and another.
    let before = fs::read(out.join("scene.png")).unwrap();
    scene(&out, &["--seed", "3"]).well();
    assert!(fs::read(out.join("scene.png")).unwrap() == before);
    scene(&out, &["--seed", "3", "--split", "train", "--index", "5", "--biased"]).well();
    let other = image::open(out.join("scene.png")).unwrap().into_rgb8();
    assert!(other == World::new(3).with_bias(true).scene(Split::Train, 5).render());
}

/// With an edit the other picture is drawn beside it, and the questions that it answers otherwise.
#[test]
fn an_edited_scene_is_the_same_but_for_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let scene_of = World::new(3).scene(Split::Test, 0);
    let colour = Colour::ALL.iter().find(|colour| **colour != scene_of.objects[0].colour).unwrap();
    let edit = format!("0:colour={colour}");
    let said = scene(folder.path(), &["--seed", "3", "--edit", &edit, "--json"]).json();
    let edited = &said["edited"];
    assert_eq!((&edited["object"], &edited["edit"]), (&0.into(), &format!("colour={colour}").into()));
    let drawn = image::open(folder.path().join("edited.png")).unwrap().into_rgb8();
    assert!(drawn == scene_of.recoloured(0, *colour).render());
    let flipped = edited["flipped"].as_array().unwrap();
    assert!(!flipped.is_empty());
    for own in flipped {
        let [text, answer, other] = ["text", "answer", "edited"].map(|name| own[name].as_str().unwrap());
        let asked = scene_of.questions().into_iter().find(|question| question.text == text).unwrap();
        assert!(asked.answer == answer && answer != other, "{own}");
    }
    let told = scene(folder.path(), &["--seed", "3", "--edit", &edit]).well();
    assert!(told.contains("edited     ") && told.contains("edited.png"), "{told}");
    let wrong = scene(folder.path(), &["--edit", "0:colour=pink"]);
    assert!(
        wrong.code == Some(2) && wrong.err.contains("`colour=pink` is no edit of an object"),
        "{}",
        wrong.err
    );
    let said = scene(folder.path(), &["--edit", "7:remove"]).refused();
    assert!(said.contains("the scene has no object 7"), "{said}");
}

#[test]
fn nothing_else_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("manifest.json"), "{\"somebody\": \"else\"}").unwrap();
    let said = scene(folder.path(), &[]).refused();
    let begins = format!("{}: ", folder.path().join("manifest.json").display());
    assert!(said.starts_with(&begins) && said.ends_with("; expected the manifest of a run"), "{said}");
    let wrong = scene(folder.path(), &["--split", "tests"]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.err.contains("unknown split \"tests\": expected train, validation or test"),
        "{}",
        wrong.err
    );
}

/// What the world asks, the model that ships inside can be asked.
#[test]
fn the_model_that_ships_inside_answers_a_question_of_the_scene() {
    let folder = tempfile::tempdir().unwrap();
    let said = scene(folder.path(), &["--seed", "3", "--json"]).json();
    let questions = said["scene"]["questions"].as_array().unwrap();
    let colour = questions.iter().find(|question| question["kind"] == "colour").unwrap();
    let picture = folder.path().join("scene.png");
    let args = ["ask", "--image", picture.to_str().unwrap(), "--ask", colour["text"].as_str().unwrap()];
    let answer = mmlens(args).well();
    assert!(answer.starts_with(colour["answer"].as_str().unwrap()), "{answer} for {colour}");
}

/// A recording of the tones world, its boxes in the picture of its spectrogram, and all of its questions.
#[test]
fn a_recording_is_that_of_the_world_with_all_its_questions() {
    use mmlens::data::tones::{Record, World, listening};
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("scene");
    let said = scene(&out, &["--world", "tones", "--seed", "3", "--index", "4", "--json"]).json();
    let world = World::new(3).scene(Split::Test, 4);
    assert!(fs::read(out.join("scene.wav")).unwrap() == world.wav());
    let masks = image::open(out.join("masks.png")).unwrap().into_luma8();
    assert!(masks == world.labels(&listening().unwrap()));
    let truth: Record = serde_json::from_slice(&fs::read(out.join("scene.json")).unwrap()).unwrap();
    assert!(serde_json::from_value::<Record>(said["scene"].clone()).unwrap() == truth);
    assert_eq!(truth.questions, world.questions());
    assert_eq!(said["sound"], out.join("scene.wav").to_str().unwrap());
    // Three pixels for a cell; the outline of each box has the colour of its sound.
    let drawn = image::open(out.join("spectrogram.png")).unwrap().into_rgb8();
    assert_eq!(drawn.dimensions(), (900, 240));
    let colours = [[255, 140, 0], [0, 190, 255], [120, 230, 90]];
    for (index, colour) in colours.into_iter().enumerate() {
        let edge = drawn.enumerate_pixels().filter(|(.., pixel)| pixel.0 == colour);
        let inside = |x: u32, y: u32| masks.get_pixel(x / 3, y / 3).0[0] >> index & 1 == 1;
        let edge: Vec<(u32, u32)> = edge.map(|(x, y, _)| (x, y)).collect();
        assert_eq!(edge.is_empty(), index >= world.events.len());
        assert!(edge.iter().all(|(x, y)| inside(*x, *y)));
    }
    let told = scene(&out, &["--world", "tones", "--seed", "3", "--index", "4"]).well();
    assert!(
        told.contains(&format!("scene      {}", world.description())) && told.contains("scene.wav"),
        "{told}"
    );
    let manifest = fs::read_to_string(out.join("manifest.json")).unwrap();
    assert!(manifest.contains("tones"), "{manifest}");
}

#[test]
fn an_edited_recording_is_the_same_but_for_a_sound() {
    use mmlens::data::tones::{Pitch, World};
    let folder = tempfile::tempdir().unwrap();
    let scene_of = World::new(3).scene(Split::Test, 0);
    let pitch = Pitch::ALL.iter().find(|pitch| **pitch != scene_of.events[0].pitch).unwrap();
    let edit = format!("0:pitch={pitch}");
    let tones = ["--world", "tones", "--seed", "3"];
    let said = scene(folder.path(), &[&tones[..], &["--edit", &edit, "--json"]].concat()).json();
    let edited = &said["edited"];
    assert_eq!((&edited["event"], &edited["edit"]), (&0.into(), &format!("pitch={pitch}").into()));
    assert!(fs::read(folder.path().join("edited.wav")).unwrap() == scene_of.repitched(0, *pitch).wav());
    assert_eq!(edited["clear"], scene_of.repitched(0, *pitch).is_clear());
    for own in edited["flipped"].as_array().unwrap() {
        let [text, answer, other] = ["text", "answer", "edited"].map(|name| own[name].as_str().unwrap());
        let asked = scene_of.questions().into_iter().find(|question| question.text == text).unwrap();
        assert!(asked.answer == answer && answer != other, "{own}");
    }
    let wrong = scene(folder.path(), &[&tones[..], &["--edit", "0:colour=blue"]].concat());
    assert!(
        wrong.code == Some(2) && wrong.err.contains("`colour=blue` is no edit of a sound"),
        "{}",
        wrong.err
    );
    let said = scene(folder.path(), &[&tones[..], &["--edit", "7:remove"]].concat()).refused();
    assert!(said.contains("the scene has no sound 7"), "{said}");
}
