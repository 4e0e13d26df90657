//! Exported folders, read back.

use mmlens_data::tones::{Kind, Split, World, export, read_records};
use mmlens_sound::Sound;

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
        assert_eq!(record.noise, scene.noise);
        // The file is the recording, to the bit.
        let sound = Sound::open(folder.path().join(&record.sound)).unwrap();
        assert_eq!((sound.rate(), sound.seconds()), (16_000, 3.0));
        assert_eq!(sound.samples(), scene.sound("scene").unwrap().samples());
        let whole: Vec<f32> = scene.render().into_iter().map(|own| f32::from(own) / 32768.0).collect();
        assert_eq!(sound.samples(), whole);
        assert_eq!(record.events.len(), scene.events.len());
        for (written, own) in record.events.iter().zip(&scene.events) {
            assert_eq!((written.timbre, written.pitch), (own.timbre, own.pitch));
            assert_eq!((written.length, written.loudness), (own.length, own.loudness));
            assert_eq!((written.hertz, written.level), (own.hertz, own.level));
            assert_eq!((written.seconds, &written.regions), (own.seconds(), &own.regions()));
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
    assert_eq!(value["events"][0]["timbre"], scene.events[0].timbre.word());
    assert_eq!(value["events"][0]["pitch"], scene.events[0].pitch.word());
    assert_eq!(value["events"][0]["seconds"][0], f64::from(scene.events[0].start) / 1000.0);
    assert!(value["questions"].as_array().unwrap().iter().any(|question| question["kind"] == "describe"));
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
}

#[test]
fn another_world_is_not_mixed_in() {
    let folder = tempfile::tempdir().unwrap();
    let (world, other) = (World::new(3), World::new(4));
    export(&world, Split::Train, 4, folder.path()).unwrap();
    let files = || {
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        ["samples.jsonl", "sounds/000000.wav", "sounds/000003.wav"].map(read)
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
    export(&world, Split::Train, 6, folder.path()).unwrap();
    assert_eq!(read_records(folder.path()).unwrap().len(), 6);
    assert_eq!(files()[1..], before[1..]);
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "a file").unwrap();
    let error = export(&world, Split::Test, 1, &blocked).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot make the folder {}", blocked.join("sounds").display())),
        "{error}"
    );
}
