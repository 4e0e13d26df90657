//! Boxes and cells against spectrograms.

use mmlens_data::tones::{
    Cells, Event, LEAST_SHARE, MILLISECONDS, RATE, Scene, Split, Timbre, World, picture,
};
use mmlens_sound::{LogMel, LogMelSettings, Mel};

/// Whisper's, of three seconds.
pub(crate) fn listening(mels: usize) -> LogMel {
    LogMel::new(LogMelSettings { mels, seconds: 3, ..LogMelSettings::default() }).unwrap()
}

pub(crate) fn heard(scene: &Scene, listening: &LogMel) -> Mel {
    listening.of(&scene.sound("scene").unwrap()).unwrap()
}

/// The power of a cell.
pub(crate) fn power(mel: &Mel, at: usize, frame: usize) -> f64 {
    10.0_f64.powf(f64::from(mel.at(at, frame).unwrap()) * 4.0 - 4.0)
}

fn scenes(count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(|index| World::new(21).scene(Split::Validation, index))
}

fn alone(scene: &Scene, event: usize) -> Scene {
    Scene { noise: 0.0, events: vec![scene.events[event]], ..scene.clone() }
}

/// Of the power of a sound that is above the floor, the share inside of its cells; and the share of all cells that these are.
fn share(scene: &Scene, event: usize, listening: &LogMel) -> (f64, f64) {
    let (mel, cells) = (heard(&alone(scene, event), listening), scene.events[event].cells(listening));
    assert_eq!((cells.mels, cells.frames), (mel.mels, 300));
    let floor = mel.values.iter().copied().fold(f32::INFINITY, f32::min); // no NaN: logarithms
    let (mut inside, mut all) = (0.0, 0.0);
    for at in 0..mel.mels {
        for frame in 0..mel.frames {
            if mel.at(at, frame).unwrap() > floor {
                let power = power(&mel, at, frame);
                all += power;
                inside += if cells.holds(at, frame) { power } else { 0.0 };
            }
        }
    }
    (inside / all, cells.count() as f64 / cells.inside.len() as f64)
}

#[test]
fn cells_hold_the_power_of_a_sound() {
    for mels in [40, 80, 128] {
        let listening = listening(mels);
        let (mut least, mut area, mut count) = (1.0_f64, 0.0, 0.0);
        for scene in scenes(40) {
            for (event, own) in scene.events.iter().enumerate() {
                let (share, part) = share(&scene, event, &listening);
                assert!(share >= LEAST_SHARE, "{mels} filters: {share} of {own:?}");
                least = least.min(share); // no NaN: a share of what is there
                area += part;
                count += 1.0;
            }
        }
        // Small they are, too: on the mean 2 % of the spectrogram.
        println!("{mels} filters: at least {least:.5}, area {:.4}", area / count);
        assert!(area / count < 0.025, "{mels} filters: {}", area / count);
    }
}

/// What is in no cell of a sound is as in the scene without it.
#[test]
fn a_removed_sound_leaves_its_cells_alone() {
    let listening = listening(80);
    for scene in scenes(60).filter(|scene| scene.noise > 0.0) {
        for (event, own) in scene.events.iter().enumerate() {
            let (with, without) = (heard(&scene, &listening), heard(&scene.without(event), &listening));
            let cells = own.cells(&listening);
            let (mut inside, mut all) = (0.0, 0.0);
            for at in 0..80 {
                for frame in 0..300 {
                    let change = (power(&with, at, frame) - power(&without, at, frame)).abs();
                    all += change;
                    inside += if cells.holds(at, frame) { change } else { 0.0 };
                }
            }
            assert!(inside / all > 0.985, "{own:?}: {}", inside / all);
        }
    }
}

#[test]
fn boxes_are_what_they_say() {
    for scene in scenes(100) {
        for own in &scene.events {
            let regions = own.regions();
            assert!(regions.iter().all(|region| region.seconds == own.seconds()));
            assert!(own.seconds()[1] <= f64::from(MILLISECONDS) / 1000.0);
            let hertz: Vec<[f32; 2]> = regions.iter().map(|region| region.hertz).collect();
            let pitch = own.hertz;
            let expected = match own.timbre {
                Timbre::Beep | Timbre::Pulse => vec![[pitch - 25.0, pitch + 25.0]],
                Timbre::Hiss => vec![[pitch * 0.65 - 25.0, pitch * 1.35 + 25.0]],
                Timbre::Buzz => (1..=3)
                    .map(|number| pitch * number as f32)
                    .filter(|partial| *partial < 8000.0)
                    .map(|partial| [partial - 25.0, partial + 25.0])
                    .collect(),
            };
            let near =
                |one: &[f32; 2], two: &[f32; 2]| one.iter().zip(two).all(|(a, b)| (a - b).abs() < 0.01);
            assert_eq!(hertz.len(), expected.len());
            assert!(hertz.iter().zip(&expected).all(|(one, two)| near(one, two)), "{hertz:?} {expected:?}");
            assert!(hertz.iter().all(|[low, high]| *low > 0.0 && *high < RATE as f32 / 2.0));
        }
    }
}

/// The cells of a question are those of its sounds, and the picture of all has a bit for each.
#[test]
fn the_cells_of_an_answer_are_those_of_its_sounds() {
    let listening = listening(80);
    for scene in scenes(40) {
        let own: Vec<Cells> = scene.events.iter().map(|event: &Event| event.cells(&listening)).collect();
        for question in scene.questions() {
            let cells = scene.cells(&question, &listening);
            for (at, inside) in cells.inside.iter().enumerate() {
                let expected = question.evidence.iter().any(|event| own[*event].inside[at]);
                assert_eq!(*inside, expected, "{}", question.text);
            }
            let boxes: usize =
                question.evidence.iter().map(|event| scene.events[*event].regions().len()).sum();
            assert_eq!(scene.regions(&question).len(), boxes);
        }
        let labels = scene.labels(&listening);
        assert_eq!(labels.dimensions(), (300, 80));
        for (x, y, pixel) in labels.enumerate_pixels() {
            for (bit, cells) in own.iter().enumerate() {
                assert_eq!(pixel.0[0] >> bit & 1 == 1, cells.holds(79 - y as usize, x as usize));
            }
        }
    }
}

/// In a recording that is padded cells are those of the recording, and rows of a picture are filters from the highest on.
#[test]
fn cells_and_pictures_are_of_the_recording_alone() {
    let long = LogMel::new(LogMelSettings::default()).unwrap();
    let scene = scenes(1).next().unwrap();
    let cells = scene.events[0].cells(&long);
    assert_eq!((cells.mels, cells.frames, cells.inside.len()), (80, 300, 24_000));
    assert_eq!(cells, scene.events[0].cells(&listening(80)));
    assert!(!cells.holds(0, 300) && !cells.holds(80, 0));
    let mel = heard(&scene, &long);
    let picture = picture(&mel);
    assert_eq!(picture.dimensions(), (300, 80));
    let mut most = (0, 0);
    for (x, y, pixel) in picture.enumerate_pixels() {
        if pixel.0[0] == 255 {
            most = (x, y);
        }
    }
    let least = picture.pixels().map(|pixel| pixel.0[0]).min().unwrap();
    let largest = mel.values.iter().copied().fold(f32::NEG_INFINITY, f32::max); // no NaN: logarithms
    // White is the loudest cell, and what is within half a grey level of it: values are within 2, of which 255 levels are 0.0078 each.
    assert!(largest - mel.at(79 - most.1 as usize, most.0 as usize).unwrap() < 0.005);
    assert_eq!(least, 0);
}
