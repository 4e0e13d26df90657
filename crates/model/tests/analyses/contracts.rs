//! Every row of `METHODS` keeps the contract of analyses, on every tiny subject.

use std::path::Path;

use mmlens_core::{Capability, Case, Given, Method, Picture, Sample, Subject};
use mmlens_model::METHODS;
use mmlens_testkit::{Toy, table_breaches};

use crate::support::{alone, captioned, llava, many, opened, painted, settings, shown};

/// A sample whose pictures and recordings are files.
fn on_disk(folder: &Path, sample: Sample) -> Sample {
    let saved = |(at, picture): (usize, Picture)| {
        let path = folder.join(format!("{}-{at}.png", picture.name));
        picture.image.save(&path).unwrap();
        Picture::open(path).unwrap()
    };
    let recordings = sample.recordings.iter().map(|sound| crate::ears::on_disk(folder, sound)).collect();
    let pictures = sample.pictures.into_iter().enumerate().map(saved).collect();
    Sample { pictures, recordings, ..sample }
}

/// Every method that the subject allows.
fn all(subject: &dyn Subject, clean: Sample, corrupted: Sample) {
    those(subject, clean, corrupted, |method| method.card.allows(subject).is_ok());
}

fn those(subject: &dyn Subject, clean: Sample, corrupted: Sample, chosen: impl Fn(&Method) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
    for folder in [&right, &wrong] {
        std::fs::create_dir(folder).unwrap();
    }
    let given = Given::new(Case::new(on_disk(&right, clean))).unwrap().against(on_disk(&wrong, corrupted));
    let data = many(&given.case.sample);
    let given = given.over(data);
    let methods: Vec<Method> =
        METHODS.iter().filter(|method| alone(method) && chosen(method)).copied().collect();
    assert!(!methods.is_empty(), "{}", subject.name());
    let breaches = table_breaches(&methods, settings, subject, &given);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn on_the_toys() {
    for toy in [Toy::curved(2), Toy::straight(2)] {
        let of = |picture: u32, words: &str| Sample::prompt(vec![painted(picture)], words);
        all(&toy, of(1, "#abc"), of(2, "#xbz"));
    }
}

#[test]
fn on_the_toy_with_ears() {
    let of = |picture: u32, pitch: f32, words: &str| {
        Sample::prompt(vec![painted(picture)], words).with_recordings(vec![crate::ears::hum(pitch)])
    };
    all(&Toy::curved(2).with_ears(), of(1, 0.7, "#~abc"), of(2, 1.1, "#~xbz"));
}

#[test]
fn on_llava() {
    all(llava("llava-a"), shown(&["square"], "<image>Red?"), shown(&["tall"], "<image>Red?"));
}

#[test]
fn on_llava_with_the_class_token() {
    all(llava("llava-b"), shown(&["square"], "<image>Red?"), shown(&["tall"], "<image>Red?"));
}

#[test]
fn on_llava_with_several_feature_layers() {
    all(llava("llava-multi"), shown(&["square"], "<image>Red?"), shown(&["tall"], "<image>Red?"));
}

/// What needs a space that pictures and captions share, and what compares pictures with words anywhere.
#[test]
fn on_clip() {
    let of = |picture| captioned(picture, &["a red square", "ring"]);
    let chosen = |method: &Method| {
        method.card.needs.contains(&Capability::SharedSpace) || method.is_called("modality-gap")
    };
    those(opened("clip-a"), of("square"), of("tall"), chosen);
}

/// A method that no subject here allows is tested by nothing.
#[test]
fn every_method_runs_on_one_of_these() {
    let toy = Toy::curved(1);
    let subjects: [&dyn Subject; 3] = [&toy, llava("llava-a"), opened("clip-a")];
    for method in METHODS {
        let allowed = subjects.iter().any(|subject| method.card.allows(*subject).is_ok());
        assert!(allowed, "{method:?}");
    }
}
