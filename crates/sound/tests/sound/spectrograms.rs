//! Log-mel spectrograms against transformers, and by what they must be.

use mmlens_sound::{LogMel, LogMelSettings, Mel, Sound};
use proptest::prelude::*;

use crate::oracle::{Oracle, difference, path, sines};

/// See `why.json`.
const NUMPY: f32 = 1e-5;
const FILTERS: f64 = 1e-14;

/// A sound of the oracle at the rate of the settings: taken for what it is there, not resampled.
fn sound(oracle: &Oracle, what: &str, rate: u32) -> Sound {
    let samples = match what {
        "pure" => sines(&oracle.values("pure sines"), 16000, 2000),
        _ => Oracle::open("decoded").singles("mono.ogg"),
    };
    Sound::new(what, samples, rate).unwrap()
}

fn frames(mel: &Mel, many: usize) -> Vec<f32> {
    (0..mel.mels).flat_map(|row| (0..many).map(move |frame| mel.at(row, frame).unwrap())).collect()
}

#[test]
fn as_transformers_makes_them() {
    let oracle = Oracle::open("mel");
    for (config, what) in [("whisper", "noisy"), ("whisper", "pure"), ("qwen2", "noisy"), ("other", "noisy")]
    {
        let listening = LogMel::open(path(config).join("preprocessor_config.json")).unwrap();
        let mel = listening.of(&sound(&oracle, what, listening.settings().rate)).unwrap();
        let (dims, expected) = oracle.array(&format!("{config} {what} numpy"));
        let expected: Vec<f32> = expected.into_iter().map(|value| value as f32).collect();
        assert_eq!(dims[0], mel.mels);
        let apart = difference(&frames(&mel, dims[1]), &expected);
        println!("{config} {what}, numpy: {apart:e}");
        assert!(apart <= NUMPY, "{config} {what}: {apart}");
        let end: Vec<f32> = (0..mel.mels).map(|row| mel.at(row, mel.frames - 1).unwrap()).collect();
        assert!(difference(&end, &oracle.singles(&format!("{config} {what} end"))) <= NUMPY);
        let mask = oracle.values(&format!("{config} {what} mask"));
        assert_eq!([mel.sound_frames() as f64, mel.mask.len() as f64], mask[..]);
        assert!(mel.mask[..mel.sound_frames()].iter().all(|heard| *heard));
        assert_eq!(mel.values.len(), mel.mels * mel.frames);
        assert_eq!(mel.at(0, mel.frames), None);
    }
}

/// Of a sound as long as the padding, the last frames see its own mirror image.
#[test]
fn as_transformers_makes_the_end_of_a_full_sound() {
    let oracle = Oracle::open("mel");
    let listening = LogMel::open(path("other").join("preprocessor_config.json")).unwrap();
    let full = sines(&oracle.values("pure sines"), 16000, 8000);
    let mel = listening.of(&Sound::new("full", full, 8000).unwrap()).unwrap();
    let ours: Vec<f32> = (0..40)
        .flat_map(|row| (49..53).map(move |frame| (row, frame)))
        .map(|(row, frame)| mel.at(row, frame).unwrap())
        .collect();
    let apart = difference(&ours, &oracle.singles("other full end"));
    println!("other full: {apart:e}");
    assert!(apart <= NUMPY, "{apart}");
    assert_eq!(mel.sound_frames(), 53);
}

#[test]
fn as_transformers_makes_them_in_torch() {
    let oracle = Oracle::open("mel");
    let listening = LogMel::open(path("whisper").join("preprocessor_config.json")).unwrap();
    // Of pure tones, the quietest values are rounding in single precision.
    for (what, bound) in [("noisy", 1e-5), ("pure", 2e-4)] {
        let mel = listening.of(&sound(&oracle, what, 16000)).unwrap();
        let (dims, expected) = oracle.array(&format!("whisper {what} torch"));
        let expected: Vec<f32> = expected.into_iter().map(|value| value as f32).collect();
        let apart = difference(&frames(&mel, dims[1]), &expected);
        println!("whisper {what}, torch: {apart:e}");
        assert!(apart <= bound, "{what}: {apart}");
    }
}

#[test]
fn filters_are_those_of_transformers() {
    let oracle = Oracle::open("mel");
    for config in ["whisper", "qwen2", "other"] {
        let listening = LogMel::open(path(config).join("preprocessor_config.json")).unwrap();
        let about = listening.settings();
        let bins = about.window / 2 + 1;
        let mut expected = vec![vec![0.0; bins]; about.mels];
        let [at, row] = ["bins", "mels"].map(|axis| oracle.values(&format!("{config} filters {axis}")));
        for ((bin, mel), weight) in at.iter().zip(&row).zip(oracle.values(&format!("{config} filters"))) {
            expected[*mel as usize][*bin as usize] = weight;
        }
        for (mel, expected) in expected.iter().enumerate() {
            let (first, weights) = listening.mel_weights(mel).unwrap();
            for (bin, expected) in expected.iter().enumerate() {
                let ours = bin.checked_sub(first).and_then(|at| weights.get(at)).copied().unwrap_or(0.0);
                assert!((ours - expected).abs() <= FILTERS, "{config} {mel} {bin}: {ours} {expected}");
            }
        }
    }
}

#[test]
fn frames_and_filters_have_their_places() {
    let listening = LogMel::new(LogMelSettings::default()).unwrap();
    assert_eq!(listening.frame_seconds(0), Some([0.0, 0.01]));
    assert_eq!(listening.frame_seconds(2999), Some([29.99, 30.0]));
    assert_eq!(listening.frame_seconds(3000), None);
    let [low, centre, high] = listening.mel_hertz(0).unwrap();
    // 8000 Hz are 15 + ln 8 * 27 / ln 6.4 = 45.25 mel; of 81 steps the first is 0.5586 mel, and 200 / 3 Hz each.
    assert!((low, centre.round(), high.round()) == (0.0, 37.0, 74.0), "{centre} {high}");
    assert_eq!(listening.mel_hertz(79).unwrap()[2].round(), 8000.0);
    assert_eq!(listening.mel_hertz(80), None);
}

#[test]
fn silence_is_one_value() {
    let listening = LogMel::new(LogMelSettings { seconds: 1, ..LogMelSettings::default() }).unwrap();
    let mel = listening.of(&Sound::new("a", vec![0.0; 100], 16000).unwrap()).unwrap();
    // (-10 + 4) / 4
    assert!(mel.values.iter().all(|value| *value == -1.5));
    assert_eq!((mel.frames, mel.sound_frames()), (100, 1));
}

#[test]
fn a_tone_is_loudest_in_its_filter() {
    let listening = LogMel::new(LogMelSettings { seconds: 1, ..LogMelSettings::default() }).unwrap();
    for mel in [20, 40, 60, 75] {
        let [_, centre, _] = listening.mel_hertz(mel).unwrap();
        let tone = Sound::new("a", sines(&[centre, 0.5, 0.0], 16000, 16000), 16000).unwrap();
        let seen = listening.of(&tone).unwrap();
        let loudest =
            (0..80).max_by(|a, b| f32::total_cmp(&seen.at(*a, 50).unwrap(), &seen.at(*b, 50).unwrap())); // no NaN: logarithms of what is above zero
        assert_eq!(loudest, Some(mel));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A sound by whole hops later is the same spectrogram, so many frames later; twice as loud, it is the same too, but for one
    /// number: log10(4) / 4.
    #[test]
    fn shifts_and_levels(seed in proptest::collection::vec(-0.4_f32..0.4, 400), hops in 1_usize..20) {
        let listening = LogMel::new(LogMelSettings { seconds: 1, ..LogMelSettings::default() }).unwrap();
        // Silence in front, so that no mirror image has a part in it.
        let at = |before: usize, gain: f32| {
            let loud = seed.iter().cycle().take(4000).map(|value| value * gain);
            let samples = std::iter::repeat_n(0.0, before).chain(loud).collect();
            listening.of(&Sound::new("a", samples, 16000).unwrap()).unwrap()
        };
        let (own, later, loud) = (at(800, 1.0), at(800 + 160 * hops, 1.0), at(800, 2.0));
        for mel in 0..80 {
            for frame in 6..28 {
                let value = own.at(mel, frame).unwrap();
                prop_assert!((value - later.at(mel, frame + hops).unwrap()).abs() < 1e-5);
                prop_assert!((loud.at(mel, frame).unwrap() - value - 4.0_f32.log10() / 4.0).abs() < 1e-5);
            }
        }
        prop_assert_eq!(own.sound_frames() + hops, later.sound_frames());
    }
}
