//! Units of recordings, on the toy with ears: a spectrogram of 6 filters and 20 frames, of which a sound has fewer.

use std::sync::Arc;

use mmlens_core::finding::{HeardUnit, Labels, Modality, Tolerance};
use mmlens_core::sound::Sound;
use mmlens_core::{Baseline, Inputs, On, Sample, Seed, Site, Subject, Words};
use mmlens_engine::{
    Absent, Coalition, Hiding, Positions, UnitError, Units, Veiled, row_count, rows_of, rows_shown,
};
use mmlens_testkit::Toy;
use proptest::prelude::*;

use super::{every, measured, one_by_one};
use crate::{ROUNDING, objective, painted};

const MELS: usize = 6;
const FRAMES: usize = 20;

/// A tone that rises, of so many thousandths of a second, at 16 kHz.
fn sound(milliseconds: usize, pitch: f32) -> Sound {
    let sample = |at: usize| (at as f32 * pitch * (1.0 + at as f32 / 32000.0)).sin() * 0.4;
    Sound::new("rising", (0..16 * milliseconds).map(sample).collect(), 16_000).unwrap()
}

fn sample(sounds: Vec<Sound>) -> Sample {
    Sample::prompt(Vec::new(), format!("{}ab", "~".repeat(sounds.len()))).with_recordings(sounds)
}

/// What the first row hears, filter by filter, recording by recording.
fn heard(inputs: &Inputs) -> Vec<f32> {
    let mel = inputs.heard.values.as_ref().unwrap();
    inputs
        .heard
        .of_row(0)
        .iter()
        .flat_map(|entry| mel.rows(*entry, 1).unwrap().to_values().unwrap())
        .collect()
}

/// Which numbers of a spectrogram differ, by filter and frame.
fn changed(one: &[f32], other: &[f32]) -> Vec<(usize, usize)> {
    let differ = |at: &usize| (one[*at] - other[*at]).abs() > 1e-6;
    (0..one.len()).filter(differ).map(|at| (at / FRAMES, at % FRAMES)).collect()
}

/// What is there with one unit alone hidden.
fn without(toy: &Toy, sample: &Sample, inputs: &Inputs, units: Units, unit: usize) -> Vec<f32> {
    let hiding = Hiding::new(toy, sample, inputs, units).unwrap();
    heard(&hiding.only(&Coalition::all(hiding.units().len()).without(unit)).unwrap().0)
}

/// A value that no spectrogram here holds, so that whatever is hidden is seen to be.
fn marked(units: Units) -> Units {
    units.instead(Baseline::Constant(9.0))
}

/// Windows over what the tower is given, the lowest filter first, lie where their filters do, and hold no padding.
#[test]
fn windows_over_a_spectrogram_lie_on_it() {
    use mmlens_core::Part;
    use mmlens_engine::Windows;
    let toy = Toy::curved(3).with_ears();
    let sample = sample(vec![sound(620, 0.9)]);
    let inputs = toy.encode(&sample).unwrap();
    let windows = Windows::sliding([MELS, FRAMES], [2, 5], [2, 5]);
    let units = Units::windows(&inputs, Part::Audio, 0, &windows).unwrap();
    // 13 of 20 frames are of the sound: three of four windows in a row, the last of three frames.
    let boxes: Vec<[f32; 4]> = units.iter().map(|unit| unit.label().patch.unwrap().bbox).collect();
    assert_eq!(boxes.len(), 9);
    assert_eq!(
        (boxes[0], boxes[2], boxes[8]),
        ([0.0, 4.0, 5.0, 6.0], [10.0, 4.0, 13.0, 6.0], [10.0, 0.0, 13.0, 2.0])
    );
    let hidden = without(&toy, &sample, &inputs, marked(units), 2);
    let touched = changed(&hidden, &heard(&inputs));
    assert_eq!(touched, [(0, 10), (0, 11), (0, 12), (1, 10), (1, 11), (1, 12)]);
}

/// Rows of a tower that hears are those that hold some of the sound, whichever positions are asked for, and of each recording its own.
#[test]
fn what_is_padded_is_no_row() {
    let toy = Toy::curved(3).with_ears();
    // 620 ms are 13 of 20 frames, and 120 ms are 3: a position of the tower has two of them, one of the features four.
    let inputs = toy.encode(&sample(vec![sound(620, 0.9), sound(120, 0.9)])).unwrap();
    for (site, wanted) in [
        ("audio.blocks.0.resid_post", vec![0, 1, 2, 3, 4, 5, 6, 10, 11]),
        ("audio.blocks.0.mlp.post", vec![0, 1, 2, 3, 4, 5, 6, 10, 11]),
        ("audio.features", vec![0, 1, 2, 3, 5]),
    ] {
        let site: Site = site.parse().unwrap();
        for positions in [Positions::All, Positions::Recordings] {
            let on = On::new(&toy);
            let held = rows_of((&on, "test"), &inputs, site, &positions).unwrap();
            assert_eq!(held.places, wanted, "{site}");
            assert!(held.shows.iter().all(|shows| shows.patch().is_some()), "{site}");
            assert_eq!(held.rows().count(), wanted.len(), "{site}");
            assert_eq!(row_count((&on, "test"), &inputs, site, &positions).unwrap(), wanted.len());
            assert_eq!(rows_shown((&on, "test"), &inputs, site, &positions).unwrap().0, wanted);
        }
    }
}

#[test]
fn nothing_but_silence_is_left_where_all_is_hidden() {
    let toy = Toy::curved(3).with_ears();
    // 620 ms are 13 frames of 50 ms, the last one begun.
    let sample = sample(vec![sound(620, 0.9)]);
    let inputs = toy.encode(&sample).unwrap();
    for units in [
        Units::all_recordings(&inputs),
        Units::recordings(&inputs),
        Units::even_stretches(&inputs, 0, 1),
        Units::bands(&inputs, 0, &[[0.0, 8000.0]]),
    ] {
        let hidden = without(&toy, &sample, &inputs, units.unwrap().instead(Absent::Silence), 0);
        // Silence beside the sound: what the extractor makes of what is behind it, more than half a window away.
        let floor = heard(&inputs)[FRAMES - 1];
        Tolerance::absolute(2e-7).check("silence", &hidden[..13], &[floor; 13]).unwrap();
        let all_of_it = [floor; MELS * FRAMES];
        let frames: Vec<(usize, usize)> = changed(&hidden, &all_of_it);
        // The frame behind the sound hears its end within its window, and is padding: it stays.
        assert!(frames.iter().all(|(_, frame)| *frame == 13), "{frames:?}");
    }
    // A sound that is silent already is what encoding silence gives.
    let quiet = Sample { recordings: vec![sample.recordings[0].silence()], ..sample.clone() };
    let inputs = toy.encode(&quiet).unwrap();
    let units = Units::all_recordings(&inputs).unwrap().instead(Absent::Silence);
    assert_eq!(without(&toy, &quiet, &inputs, units, 0), heard(&inputs));
}

#[test]
fn stretches_and_bands_are_the_frames_and_filters_they_say() {
    let toy = Toy::curved(3).with_ears();
    let sample = sample(vec![sound(600, 0.9)]);
    let inputs = toy.encode(&sample).unwrap();
    let whole = heard(&inputs);
    let hz = |filter: usize| {
        let scale = &inputs.map().sounds[0].scale;
        // Behind the upper end come the peaks, the highest first.
        scale.hertz[MELS - filter]
    };
    // Frames begin every 50 ms; the middle of frame 4 is at 225 ms, that of frame 7 at 375 ms.
    let units = marked(Units::stretches(&inputs, 0, &[[0.22, 0.38], [0.0, 0.05]]).unwrap());
    let found = changed(&without(&toy, &sample, &inputs, units.clone(), 0), &whole);
    let frames: Vec<(usize, usize)> =
        (0..MELS).flat_map(|mel| (4..8).map(move |frame| (mel, frame))).collect();
    assert_eq!(found, frames);
    let first: Vec<(usize, usize)> = (0..MELS).map(|mel| (mel, 0)).collect();
    assert_eq!(changed(&without(&toy, &sample, &inputs, units.clone(), 1), &whole), first);
    let names: Vec<&str> = units.iter().map(mmlens_engine::Unit::name).collect();
    assert_eq!(names, ["0.22–0.38 s", "0–0.05 s"]);
    assert!(units.iter().all(|unit| unit.label().modality == Modality::Audio));
    // A filter belongs to the band that has its peak, its lower end left out.
    let units = marked(Units::bands(&inputs, 0, &[[hz(0), hz(2)]]).unwrap());
    let found = changed(&without(&toy, &sample, &inputs, units, 0), &whole);
    let filters: Vec<(usize, usize)> =
        (1..3).flat_map(|mel| (0..12).map(move |frame| (mel, frame))).collect();
    assert_eq!(found, filters);
    let boxes = [("hum", Some([0.1, 0.2]), Some([hz(3) - 1.0, 8000.0]))];
    let units = marked(Units::heard(&inputs, 0, &boxes).unwrap());
    assert_eq!(units.iter().next().unwrap().name(), "hum");
    let found = changed(&without(&toy, &sample, &inputs, units, 0), &whole);
    let cells: Vec<(usize, usize)> = (3..6).flat_map(|mel| (2..4).map(move |frame| (mel, frame))).collect();
    assert_eq!(found, cells);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cells of any grid share no number, and together are the sound without its padding, in each of two recordings.
    #[test]
    fn cells_part_the_sound(lengths in prop::array::uniform2(120_usize..1000), rows in 1..7_usize, cols in 1..3_usize) {
        let toy = Toy::curved(1).with_ears();
        let sample = sample(lengths.map(|length| sound(length, 0.7)).to_vec());
        let inputs = toy.encode(&sample).unwrap();
        let whole = heard(&inputs);
        for (recording, length) in lengths.into_iter().enumerate() {
            let units = marked(Units::cells(&inputs, recording, [rows, cols]).unwrap());
            let mut counts = vec![0; whole.len()];
            for unit in 0..units.len() {
                let hidden = without(&toy, &sample, &inputs, units.clone(), unit);
                for (mel, frame) in changed(&hidden, &whole) {
                    counts[mel * FRAMES + frame] += 1;
                }
            }
            let own = length.div_ceil(50);
            for (at, count) in counts.iter().enumerate() {
                let (entry, frame) = (at / (MELS * FRAMES), at % FRAMES);
                prop_assert_eq!(*count, usize::from(entry == recording && frame < own), "{} {}", at, own);
            }
        }
    }

    /// Coalitions of cells, words and pictures together, packed or one by one.
    #[test]
    fn coalitions_are_the_same_packed_and_alone(seed in 0..99_u64, numbers in prop::collection::vec(0..64_u64, 1..9), rows in 1..6_usize) {
        let toy = Toy::curved(seed).with_ears();
        let sample = Sample::prompt(vec![painted(1)], "#~ab").with_recordings(vec![sound(700, 0.8)]);
        let inputs = toy.encode(&sample).unwrap();
        let cells = Units::cells(&inputs, 1, [2, 1]).unwrap().instead(Absent::Silence);
        let seen = Units::cells(&inputs, 0, [1, 2]).unwrap().instead(Baseline::Mean);
        let words = Units::tokens(&inputs, &mmlens_engine::Positions::At(vec![8, 9])).unwrap();
        let hiding = Hiding::new(&toy, &sample, &inputs, cells.and(seen).and(words)).unwrap();
        let some: Vec<Coalition> = numbers.iter().map(|number| Coalition::numbered(6, *number)).collect();
        let wanted = one_by_one(&toy, &hiding, objective(), &some);
        ROUNDING.check("packed", &measured(&hiding, objective(), &some, rows), &wanted).unwrap();
    }
}

#[test]
fn fills_are_what_they_say() {
    let toy = Toy::curved(5).with_ears();
    let sample = sample(vec![sound(600, 0.9)]);
    let inputs = toy.encode(&sample).unwrap();
    let whole = heard(&inputs);
    let with = |absent: Absent| {
        without(&toy, &sample, &inputs, Units::recordings(&inputs).unwrap().instead(absent), 0)
    };
    let means = with(Absent::Baseline(Baseline::Mean));
    for (filter, own) in whole.chunks(FRAMES).enumerate() {
        let mean = own[..12].iter().map(|value| f64::from(*value)).sum::<f64>() / 12.0;
        assert!((f64::from(means[filter * FRAMES]) - mean).abs() < 1e-6);
        assert_eq!(means[filter * FRAMES + 12..(filter + 1) * FRAMES], own[12..]);
    }
    let zero = with(Absent::Baseline(Baseline::Zero));
    assert!(zero.chunks(FRAMES).all(|own| own[..12] == [0.0; 12]));
    // Another's sound, from its beginning on.
    let other = Sample { recordings: vec![sound(600, 1.7)], ..sample.clone() };
    let there = heard(&toy.encode(&other).unwrap());
    let found = with(Absent::Other(Arc::new(other)));
    for (own, there) in found.chunks(FRAMES).zip(there.chunks(FRAMES)) {
        assert_eq!(own[..12], there[..12]);
    }
    // Noise of the same root mean square, in every filter; the same for the same seed.
    let noise = with(Absent::Noise { seed: Seed(4) });
    assert_eq!(noise, with(Absent::Noise { seed: Seed(4) }));
    assert_ne!(noise, with(Absent::Noise { seed: Seed(5) }));
    let made = sample.recordings[0].noise(|at| f64::from(Seed(4).at(0).at(at).unit())).unwrap();
    let power = |sound: &Sound| sound.samples().iter().map(|s| f64::from(s * s)).sum::<f64>() / 9600.0;
    // 9600 draws: the mean square is off by about 1 %.
    assert!((power(&made) / power(&sample.recordings[0]) - 1.0).abs() < 0.05);
    let said = |absent: Absent| {
        let units = Units::recordings(&inputs).unwrap().instead(absent);
        Hiding::new(&toy, &sample, &inputs, units).unwrap_err().to_string()
    };
    assert_eq!(
        said(Absent::Blur { sigma: 2.0 }),
        "a blur of 2 pixels cannot stand in the place of a part of a recording"
    );
    let road = Absent::Road { noise: 0.01, seed: Seed(0) };
    assert!(said(road).ends_with("cannot stand in the place of a part of a recording"));
    let hiding = Units::recordings(&inputs).unwrap().instead(Absent::Silence);
    assert_eq!(Hiding::new(&toy, &sample, &inputs, hiding).unwrap().baseline(), "silence");
    let seen = Sample::prompt(vec![painted(0)], "#ab");
    let inputs = toy.encode(&seen).unwrap();
    let cells = Units::cells(&inputs, 0, [2, 2]).unwrap().instead(Absent::Silence);
    let said = Hiding::new(&toy, &seen, &inputs, cells).unwrap_err().to_string();
    assert_eq!(said, "silence cannot stand in the place of a part of a picture");
    assert_eq!(Units::recordings(&inputs).unwrap_err(), UnitError::Nothing("recording"));
}

#[test]
fn grids_of_recordings_are_told_in_seconds_and_hertz() {
    let toy = Toy::curved(5).with_ears();
    let inputs = toy.encode(&sample(vec![sound(600, 0.9)])).unwrap();
    let units = Units::cells(&inputs, 0, [2, 3]).unwrap();
    let [rows, cols] = units.grid_axes().unwrap();
    let heard = |labels: &Labels| match labels {
        Labels::Spans { image: 0, heard: Some(heard), .. } => heard.clone(),
        other => panic!("{other:?}"),
    };
    let across = heard(&cols.labels);
    // 12 frames of 50 ms in three stretches
    assert_eq!(across.unit, HeardUnit::Seconds);
    assert_eq!(across.spans, [[0.0, 0.2], [0.2, 0.4], [0.4, 0.6]]);
    let down = heard(&rows.labels);
    assert_eq!((down.unit, down.spans[0][1], down.spans[1][0]), (HeardUnit::Hertz, 8000.0, 0.0));
    assert_eq!(down.spans[0][0], down.spans[1][1]);
    assert_eq!(cols.label(1).unwrap(), "0.2–0.4 s");
    let name = units.iter().nth(3).unwrap().name().to_owned();
    assert!(name.starts_with("0–0.2 s, 0–") && name.ends_with(" Hz"), "{name}");
}

#[test]
fn nothing_veils_padding() {
    let toy = Toy::curved(5).with_ears();
    let sample =
        Sample::new(Vec::new(), Words::Question("ab".to_owned())).with_recordings(vec![sound(600, 0.9)]);
    let inputs = toy.encode(&sample).unwrap();
    let zero = Absent::Baseline(Baseline::Zero);
    let veiled = Veiled::new(&toy, &sample, &inputs, (&zero, &zero)).unwrap();
    let all = Units::recordings(&inputs).unwrap().instead(Baseline::Zero);
    let hiding = Hiding::new(&toy, &sample, &inputs, all).unwrap();
    let wanted = measured(&hiding, objective(), &every(1), 1);
    let nothing = |_: usize, _: usize, _: [f64; 2]| 0.0;
    let mut progress = mmlens_engine::Progress::new(&mmlens_core::Unwatched, "veils", 1);
    let memory = mmlens_core::Memory::default();
    let found = veiled.measure(&[objective().into()], (1, &nothing), &memory, &mut progress).unwrap();
    ROUNDING.check("veiled", &found[0].values, &wanted[..1]).unwrap();
}
