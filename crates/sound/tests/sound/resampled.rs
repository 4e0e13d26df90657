//! Sounds at other rates: against soxr, and against what they are.

use mmlens_sound::Sound;
use proptest::prelude::*;

use crate::oracle::{Oracle, difference, sines};

/// How much of both ends is left out, in seconds.
const EDGE: f64 = 0.025;
/// See `why.json`.
const SOXR: f32 = 2e-5;

/// What is not near the ends.
fn inside(samples: &[f32], rate: u32) -> &[f32] {
    let edge = (EDGE * f64::from(rate)) as usize;
    &samples[edge..samples.len() - edge]
}

#[test]
fn as_soxr_resamples() {
    let oracle = Oracle::open("resampled");
    for (rate, to) in [(44100, 16000), (48000, 16000), (8000, 16000), (16000, 22050), (16000, 11025)] {
        let parts = oracle.values(&format!("{rate} {to} sines"));
        let sound = Sound::new("sines", sines(&parts, rate, rate as usize * 2 / 25), rate).unwrap();
        let ours = sound.at(to).unwrap();
        let expected = oracle.singles(&format!("{rate} {to}"));
        assert_eq!(ours.samples().len(), expected.len(), "{rate} {to}");
        let apart = difference(inside(ours.samples(), to), inside(&expected, to));
        println!("{rate} to {to}: {apart:e}");
        assert!(apart <= SOXR, "{rate} to {to}: {apart}");
    }
}

#[test]
fn at_its_own_rate_a_sound_is_itself() {
    let sound = Sound::new("a", vec![0.1, -0.7, 0.3], 44100).unwrap();
    let same = sound.at(44100).unwrap();
    assert_eq!((same.samples(), same.sha256()), (sound.samples(), sound.sha256()));
}

#[test]
fn what_is_above_half_the_lower_rate_is_gone() {
    // 9 kHz has no place in 16 kHz: it would come back as 7 kHz.
    let high = Sound::new("high", sines(&[9000.0, 0.5, 0.0], 44100, 8820), 44100).unwrap();
    let left = high.at(16000).unwrap();
    let silent = vec![0.0; inside(left.samples(), 16000).len()];
    let apart = difference(inside(left.samples(), 16000), &silent);
    assert!(apart < 1e-5, "{apart}");
}

#[test]
fn nothing_moves_in_time() {
    // A click stays where it is: sample 22050 of 44100 is sample 8000 of 16000.
    let mut samples = vec![0.0; 44100];
    samples[22050] = 1.0;
    let click = Sound::new("click", samples, 44100).unwrap().at(16000).unwrap();
    let at =
        (0..16000).fold(0, |best, at| if click.samples()[at] > click.samples()[best] { at } else { best }); // no NaN: samples are finite
    assert_eq!(at, 8000);
    for apart in 1..200 {
        assert!((click.samples()[8000 + apart] - click.samples()[8000 - apart]).abs() < 1e-7);
    }
}

#[test]
fn the_name_and_origin_stay() {
    let sound = Sound::new("a", vec![0.5; 99], 16000).unwrap();
    let other = sound.at(8000).unwrap();
    assert_eq!((other.name.as_str(), other.rate(), &other.origin), ("a", 8000, &sound.origin));
}

fn rates() -> impl Strategy<Value = (u32, u32)> {
    let usual =
        prop::sample::select(vec![8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 96000]);
    (usual.clone(), usual).prop_filter("the same", |(from, to)| from != to)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// As many as there should be, and of a constant the same constant.
    #[test]
    fn a_constant_stays_one((from, to) in rates(), samples in 6000_usize..20000, level in -1.0_f32..1.0) {
        let sound = Sound::new("a", vec![level; samples], from).unwrap().at(to).unwrap();
        let exact = samples as f64 * f64::from(to) / f64::from(from);
        prop_assert!((sound.samples().len() as f64 - exact).abs() <= 0.5);
        let edge = (0.05 * f64::from(to)) as usize;
        if sound.samples().len() > 2 * edge {
            let inside = &sound.samples()[edge..sound.samples().len() - edge];
            prop_assert!(difference(inside, &vec![level; inside.len()]) < 1e-5);
        }
    }

    /// A sine is the same sine at any rate.
    #[test]
    fn a_sine_stays_one((from, to) in rates(), share in 0.05_f64..0.9, phase in 0.0_f64..6.0) {
        let hertz = share * f64::from(from.min(to)) / 2.0;
        let parts = [hertz, 0.8, phase];
        let sound = Sound::new("a", sines(&parts, from, from as usize / 4), from).unwrap().at(to).unwrap();
        let expected = sines(&parts, to, sound.samples().len());
        let edge = (0.05 * f64::from(to)) as usize;
        let [ours, theirs] = [sound.samples(), &expected].map(|all| &all[edge..all.len() - edge]);
        let apart = difference(ours, theirs);
        prop_assert!(apart < 1e-5, "{} Hz from {} to {}: {}", hertz, from, to, apart);
    }
}

#[test]
fn rates_without_a_common_divisor() {
    let parts = [440.0, 0.8, 1.0];
    for (from, to) in [(44101, 16000), (16000, 15999), (1000, 767_999)] {
        let parts = if from == 1000 { [44.0, 0.8, 1.0] } else { parts };
        let sound = Sound::new("a", sines(&parts, from, from as usize), from).unwrap().at(to).unwrap();
        assert_eq!(sound.samples().len(), to as usize);
        let expected = sines(&parts, to, to as usize);
        // The filter is as long as the sound, and falls off slowly.
        let middle = to as usize * 2 / 5..to as usize * 3 / 5;
        let apart = difference(&sound.samples()[middle.clone()], &expected[middle]);
        println!("{from} to {to}: {apart:e}");
        assert!(apart < 1e-3, "{from} to {to}: {apart}");
    }
}
