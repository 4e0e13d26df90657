//! Exported folders, read back; and scores of descriptions.

use mmlens_data::shapes::{
    Kind, Scores, Split, World, compare_description, export, names_every_object, read_records,
};

#[test]
fn a_folder_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(3).with_bias(true);
    export(&world, Split::Train, 12, folder.path()).unwrap();
    let records = read_records(folder.path()).unwrap();
    assert_eq!(records.len(), 12);
    for (record, sample) in records.iter().zip(world.samples(Split::Train, 0..12)) {
        let scene = sample.scene;
        assert_eq!((record.id, record.split, record.seed), (scene.id, Split::Train, 3));
        assert_eq!(record.description, scene.description());
        assert_eq!(record.questions, sample.questions);
        let picture = image::open(folder.path().join(&record.image)).unwrap().into_rgb8();
        assert_eq!(picture, scene.render());
        let labels = image::open(folder.path().join(&record.mask)).unwrap().into_luma8();
        assert_eq!(labels, scene.labels());
        assert_eq!(record.objects.len(), scene.objects.len());
        for (index, (written, object)) in record.objects.iter().zip(&scene.objects).enumerate() {
            assert_eq!(
                (written.shape, written.colour, written.size),
                (object.shape, object.colour, object.size)
            );
            assert_eq!((written.centre, written.radius), (object.centre, object.radius));
            assert_eq!((written.bbox, written.rgb), (object.bbox, object.rgb));
            let labelled = labels.pixels().filter(|label| usize::from(label.0[0]) == index + 1).count();
            assert_eq!(labelled as u32, written.pixels);
            assert_eq!(labelled as u32, object.mask.to_vec().iter().filter(|&&seen| seen).count() as u32);
        }
    }
}

#[test]
fn the_words_in_a_record_are_those_of_the_world() {
    let folder = tempfile::tempdir().unwrap();
    export(&World::new(0), Split::Test, 1, folder.path()).unwrap();
    let line = std::fs::read_to_string(folder.path().join("samples.jsonl")).unwrap();
    let value: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    let scene = World::new(0).scene(Split::Test, 0);
    assert_eq!(value["split"], "test");
    assert_eq!(value["objects"][0]["shape"], scene.objects[0].shape.word());
    assert_eq!(value["objects"][0]["colour"], scene.objects[0].colour.word());
    assert!(value["questions"].as_array().unwrap().iter().any(|question| question["kind"] == "describe"));
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
}

#[test]
fn errors_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "a file").unwrap();
    let error = export(&World::new(0), Split::Test, 1, &blocked).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot make the folder {}", blocked.join("images").display())),
        "{error}"
    );

    let taken = folder.path().join("taken");
    std::fs::create_dir_all(taken.join("images/000000.png")).unwrap();
    let error = export(&World::new(0), Split::Test, 1, &taken).unwrap_err().to_string();
    let picture = taken.join("images/000000.png");
    assert!(error.starts_with(&format!("cannot write {}: it is a directory", picture.display())), "{error}");

    let absent = folder.path().join("absent");
    let error = read_records(&absent).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read {}", absent.join("samples.jsonl").display())), "{error}");

    let broken = folder.path().join("broken");
    export(&World::new(0), Split::Test, 2, &broken).unwrap();
    let path = broken.join("samples.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let first = text.lines().next().unwrap();
    std::fs::write(&path, format!("{first}\n{{}}\n")).unwrap();
    let error = read_records(&broken).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}, line 2: not a record of a scene", path.display())), "{error}");
}

#[test]
fn another_world_is_not_mixed_in() {
    let folder = tempfile::tempdir().unwrap();
    let (world, other) = (World::new(3), World::new(4));
    export(&world, Split::Train, 4, folder.path()).unwrap();
    let files = || {
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        ["samples.jsonl", "images/000000.png", "masks/000003.png"].map(read)
    };
    let before = files();
    let error = export(&other, Split::Train, 4, folder.path()).unwrap_err().to_string();
    let records = folder.path().join("samples.jsonl");
    let expected = format!(
        "{}, line 1: another scene than the one to be written; export into a folder of its own",
        records.display()
    );
    assert_eq!(error, expected);
    assert_eq!(files(), before);
    // The same scenes again, and more of them.
    export(&world, Split::Train, 6, folder.path()).unwrap();
    assert_eq!(read_records(folder.path()).unwrap().len(), 6);
    assert_eq!(files()[1..], before[1..]);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "the records, images and masks");
}

#[test]
fn descriptions_are_compared_phrase_by_phrase() {
    let world = World::new(12);
    let scene =
        (0..).map(|index| world.scene(Split::Test, index)).find(|scene| scene.objects.len() == 3).unwrap();
    let description = scene.description();
    let mut phrases: Vec<&str> = description.split(" , ").collect();
    phrases.reverse();
    let backwards = phrases.join(" , ");
    assert!(names_every_object(&description, &scene) && names_every_object(&backwards, &scene));
    let short = phrases[..2].join(" , ");
    assert!(!names_every_object(&short, &scene));
    assert_eq!(compare_description(&short, &scene).unwrap().missing.len(), 1);
    let twice = format!("{description} , {}", phrases[0]);
    assert_eq!(compare_description(&twice, &scene).unwrap().invented.len(), 1);
    assert!(!names_every_object(&twice, &scene), "what is there is named, and something that is not");
    assert_eq!(compare_description("a large red", &scene), None);
    assert_eq!(compare_description(&format!("{description} ,"), &scene), None);
    assert_eq!(compare_description("", &scene).unwrap().missing.len(), 3);

    let mut scores = Scores::default();
    let mut rng = scene.rng(0);
    let describe = scene.ask(Kind::Describe, &mut rng).unwrap();
    assert!(scores.record(&scene, &describe, &format!(" {description}\n")));
    assert!(!scores.record(&scene, &describe, &backwards));
    let count = scene.ask(Kind::Existence, &mut rng).unwrap();
    assert!(scores.record(&scene, &count, &count.answer));
    assert!(!scores.record(&scene, &count, "perhaps"));
    assert_eq!((scores.exact[&Kind::Describe].right, scores.named.right), (1, 2));
    assert_eq!((scores.total().n, scores.total().right), (4, 2));
    assert_eq!(scores.total().rate(), Some(0.5));
    assert_eq!(mmlens_data::shapes::Score::default().rate(), None);
}
