//! Methods on recordings: the toy with ears, and a sound of twelve frames.

use std::path::Path;

use mmlens_core::finding::{Finding, HeardUnit, Labelled, Labels, Modality, Tolerance};
use mmlens_core::sound::Sound;
use mmlens_core::{Case, Given, On, Sample, Subject};
use mmlens_model::METHODS;
use mmlens_testkit::{Toy, numbers};
use serde_json::{Value, json};

/// A hum of 600 ms at 16 kHz.
pub(crate) fn hum(pitch: f32) -> Sound {
    let sample = |at: usize| (at as f32 * pitch * (1.0 + at as f32 / 30000.0)).sin() * 0.4;
    Sound::new("hum.wav", (0..9600).map(sample).collect(), 16_000).unwrap()
}

/// The same from a file of floats.
pub(crate) fn on_disk(folder: &Path, sound: &Sound) -> Sound {
    let data: Vec<u8> = sound.samples().iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let (rate, length) = (sound.rate(), data.len() as u32);
    let header = words(&[16, 3 | 1 << 16, rate, 4 * rate, 4 | 32 << 16]);
    let parts = [b"RIFF".to_vec(), words(&[36 + length]), b"WAVEfmt ".to_vec(), header, b"data".to_vec()];
    let path = folder.join(&sound.name);
    std::fs::write(&path, [parts.concat(), words(&[length]), data].concat()).unwrap();
    Sound::open(path).unwrap()
}

fn case() -> Case {
    Case::new(Sample::prompt(Vec::new(), "~abc").with_recordings(vec![hum(0.7)]))
}

fn run(toy: &Toy, id: &str, settings: Value) -> Finding {
    let method = METHODS.iter().find(|method| method.card.id == id).unwrap();
    method.make(settings).unwrap().run_given(&On::new(toy), &Given::new(case()).unwrap()).unwrap()
}

/// Rows and columns of a map, in Hz and seconds.
fn heard(table: &Labelled) -> [Vec<[f32; 2]>; 2] {
    let of = |axis: usize, wanted: HeardUnit| match &table.axes()[axis].labels {
        Labels::Spans { image: 0, heard: Some(own), .. } if own.unit == wanted => own.spans.clone(),
        other => panic!("{}: {other:?}", table.name()),
    };
    [of(0, HeardUnit::Hertz), of(1, HeardUnit::Seconds)]
}

#[test]
fn hidden_parts_are_told_in_seconds_and_hertz() {
    let toy = Toy::curved(3).with_ears();
    let grid = json!({ "grid": { "rows": 2, "cols": 3 } });
    for (id, more) in [
        ("occlusion", json!({ "picture": grid, "words": null })),
        ("kernel-shap", json!({ "picture": grid, "words": null })),
        ("permutation-shap", json!({ "picture": grid, "words": null, "orders": 3 })),
        ("lime", json!({ "picture": grid, "words": null, "samples": 80 })),
        ("rise", json!({ "samples": 60, "map": [2, 3], "cells": [2, 2] })),
    ] {
        let found = run(&toy, id, more);
        let [rows, cols] = heard(found.table("recording").unwrap());
        assert_eq!(cols, [[0.0, 0.2], [0.2, 0.4], [0.4, 0.6]], "{id}");
        assert_eq!((rows[0][1], rows[1][0]), (8000.0, 0.0), "{id}");
        assert!(found.provenance.sites.contains(&"audio.mel".to_owned()), "{id}");
        assert!(found.provenance.baseline.as_ref().unwrap().contains("silence"), "{id}");
        let sample = &found.provenance.input.as_ref().unwrap().sample;
        assert_eq!(sample.recordings[0].seconds, 0.6);
        assert_eq!(sample.recordings[0].scale.as_ref().unwrap().step, 0.05);
    }
}

#[test]
fn drops_of_a_straight_toy_are_its_shares() {
    let toy = Toy::straight(5).with_ears();
    let grid = json!({ "grid": { "rows": 2, "cols": 3 } });
    for sounds in [json!("silence"), json!({ "noise": 4 }), json!({ "replace": "mean" })] {
        let with = |more: &str| {
            let mut settings = json!({ "picture": grid, "words": null, "sounds": sounds });
            if more == "occlusion" {
                settings["rows"] = json!(3);
            }
            run(&toy, more, settings)
        };
        let (drops, shares) = (with("occlusion"), with("kernel-shap"));
        let close = Tolerance::either(1e-4, 1e-4);
        close.check("shares", numbers(&shares, "recording"), numbers(&drops, "recording")).unwrap();
    }
}

#[test]
fn gradients_at_the_spectrogram_are_a_map_of_it() {
    let toy = Toy::straight(5).with_ears();
    for (id, more) in [
        ("saliency", json!({})),
        ("gradient-times-input", json!({})),
        ("integrated-gradients", json!({ "steps": 2 })),
    ] {
        let found = run(&toy, id, more);
        let name = "audio.mel/spectrogram";
        let table = found.table(name).unwrap_or_else(|_| {
            panic!("{id}: {:?}", found.tables().iter().map(Labelled::name).collect::<Vec<_>>())
        });
        assert_eq!(table.shape(), [6, 20], "{id}");
        let [rows, cols] = heard(table);
        // The highest filter on top; padding lies nowhere.
        assert!(
            rows[0][1] == 8000.0 && rows.windows(2).all(|two| two[0][0] >= two[1][1] - 1.0),
            "{id}: {rows:?}"
        );
        assert_eq!((cols[11], cols[12]), ([0.55, 0.6], [0.6, 0.6]), "{id}");
    }
    // An affine toy: contributions from the means of filters to what is there add up to what that changes, and the means are the
    // baseline of what is hidden, too.
    let found = run(
        &toy,
        "integrated-gradients",
        json!({ "along": [{ "site": "audio.mel", "baseline": "mean" }], "steps": 2 }),
    );
    let sum: f32 = numbers(&found, "audio.mel/spectrogram").iter().sum();
    let hidden =
        run(&toy, "occlusion", json!({ "picture": "whole", "words": null, "sounds": { "replace": "mean" } }));
    Tolerance::either(1e-4, 1e-4).check("sum", &[sum], numbers(&hidden, "recording")).unwrap();
}

#[test]
fn towers_that_hear_are_looked_into() {
    let toy = Toy::curved(3).with_ears();
    for (id, table) in [
        ("grad-cam", "recording"),
        ("attention-rollout", "recording through the tower"),
        ("attention-relevance", "recording through the tower"),
    ] {
        let found = run(&toy, id, json!({}));
        let axis = &found.table(table).unwrap().axes()[0];
        let Labels::Tokens(tokens) = &axis.labels else { panic!("{id}: {axis:?}") };
        assert!(tokens.iter().all(|token| token.modality == Modality::Audio), "{id}");
        let last = if id == "grad-cam" { "0.4–0.6 s" } else { "0.5–0.6 s" };
        assert_eq!(tokens.last().unwrap().text, last, "{id}");
    }
    let maps = run(&toy, "attention-maps", json!({ "part": "audio" }));
    assert!(maps.tables().iter().any(|table| table.axes().iter().any(|axis| {
        matches!(&axis.labels, Labels::Tokens(tokens) if tokens.len() == 10 && tokens[6].text == "padding")
    })));
    let shares = run(&toy, "mm-shap", json!({ "orders": 4 }));
    let by = shares.table("by modality").unwrap();
    assert_eq!(by.axes()[0].labels, Labels::Names(vec!["recording".to_owned(), "words".to_owned()]));
}

/// Who looks is the sound, and not the padding behind it; where recordings end at other positions, that is not one set of positions.
#[test]
fn padding_of_a_recording_looks_at_nothing_and_is_not_counted() {
    let toy = Toy::curved(3).with_ears();
    let own: Vec<usize> = (0..6).collect();
    for id in ["attention-maps", "head-measures"] {
        let at = |positions: Value| run(&toy, id, json!({ "part": "audio", "positions": positions }));
        let first = |found: &Finding| -> Vec<f32> {
            let number = |table: &&Labelled| table.as_numbers().is_some();
            found.tables().iter().find(number).unwrap().as_numbers().unwrap().to_vec()
        };
        let (usual, sound) = (first(&at(json!("last"))), first(&at(json!({ "at": own }))));
        Tolerance::absolute(1e-6).check(id, &usual, &sound).unwrap();
        assert_ne!(usual, first(&at(json!({ "at": [0] }))), "{id}");
        assert_ne!(usual, first(&at(json!("all"))), "{id}");
    }
    let short = hum(0.5).between(0.0, 0.3).unwrap();
    let two = Case::new(Sample::prompt(Vec::new(), "~~ab").with_recordings(vec![short, hum(0.7)]));
    for (id, positions) in [("head-measures", true), ("attention-by-depth", false)] {
        let method = METHODS.iter().find(|method| method.card.id == id).unwrap();
        let said = method.make(json!({ "part": "audio" })).unwrap();
        let said = said.run_given(&On::new(&toy), &Given::new(two.clone()).unwrap()).unwrap_err().to_string();
        assert!(
            said.contains("recordings of one length") && said.contains("by number") == positions,
            "{said}"
        );
    }
}

/// A recording's parts take the places of patches, without being asked for by name.
#[test]
fn stretches_are_swapped_where_there_is_no_picture() {
    let toy = Toy::curved(3).with_ears();
    let other = Sample::prompt(Vec::new(), "~abc").with_recordings(vec![hum(0.2)]);
    let method = METHODS.iter().find(|method| method.card.id == "region-swap").unwrap();
    let made = method.make(json!({ "towards": "objective", "steps": 1, "random": 1 })).unwrap();
    let given = Given::new(case()).unwrap().against(other);
    let found = made.run_given(&On::new(&toy), &given).unwrap();
    let heard = |axis: &mmlens_core::finding::Axis| match &axis.labels {
        Labels::Tokens(tokens) => {
            tokens.iter().filter_map(|token| token.patch).map(|patch| patch.bbox[2]).eq([4.0, 8.0, 12.0])
        }
        _ => false,
    };
    let axes: Vec<_> = found.tables().iter().flat_map(Labelled::axes).collect();
    assert!(axes.iter().any(|axis| heard(axis)), "{axes:?}");
}

#[test]
fn every_method_answers_or_says_what_it_needs() {
    let toy = Toy::curved(3).with_ears();
    let given = Given::new(case()).unwrap();
    for method in METHODS.iter().filter(|method| method.card.allows(&toy).is_ok()) {
        let cheap = match method.card.short {
            "rise" => json!({ "samples": 20 }),
            "lime" => json!({ "samples": 30 }),
            "perm" | "mmshap" => json!({ "orders": 2 }),
            "smooth" => json!({ "samples": 2, "with": { "steps": 2 } }),
            _ => json!({}),
        };
        let Ok(made) = method.make(cheap) else { continue };
        if let Err(error) = made.run_given(&On::new(&toy), &given) {
            let said = error.to_string();
            assert!(
                said.contains(" needs ") || said.contains("expected") || said.contains(" = none, but "),
                "{}: {said}",
                method.card.id
            );
            println!("{}: {said}", method.card.id);
        }
    }
}

#[test]
fn cautions_and_sentences_name_no_pixels() {
    let toy = Toy::curved(3).with_ears();
    let found =
        run(&toy, "occlusion", json!({ "picture": { "grid": { "rows": 1, "cols": 3 } }, "words": null }));
    let said = found.sentences().join(" ");
    assert!(said.contains(" s") && !said.contains("px") && !said.contains("picture"), "{said}");
    assert_eq!(toy.alterations(), &[] as &[String]);
}
