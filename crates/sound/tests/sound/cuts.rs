//! Parts of a sound.

use mmlens_sound::Sound;
use proptest::prelude::*;

fn ramp(samples: usize, rate: u32) -> Sound {
    Sound::new("ramp", (0..samples).map(|i| i as f32 / 1e5).collect(), rate).unwrap()
}

#[test]
fn instants_are_moved_to_the_nearest_sample() {
    let part = ramp(16000, 16000).between(0.5, 0.500_1).unwrap();
    // 0.5001 s is sample 8001.6
    assert_eq!(part.samples(), [0.08, 0.080_01]);
    assert_eq!((part.rate(), part.name.as_str()), (16000, "ramp"));
}

#[test]
fn what_is_outside_is_an_error_that_names_the_length() {
    let sound = ramp(8000, 16000);
    for (from, to) in [(-0.1, 0.2), (0.2, 0.6), (0.3, 0.3), (0.4, 0.3), (f64::NAN, 0.2), (0.0, f64::INFINITY)]
    {
        let said = sound.between(from, to).unwrap_err().to_string();
        let expected = "is no part of it, expected from 0 s to 0.5 s, the first before the second";
        assert!(said.starts_with("ramp: ") && said.ends_with(expected), "{said}");
    }
    assert_eq!(sound.between(0.0, sound.seconds()).unwrap().samples(), sound.samples());
}

proptest! {
    #[test]
    fn parts_put_together_are_the_whole(samples in 2_usize..500, rate in 1000_u32..50000, at in 0.0_f64..1.0) {
        let sound = ramp(samples, rate);
        let instant = at * sound.seconds();
        let cut = (instant * f64::from(rate)).round() as usize;
        prop_assume!(cut > 0 && cut < samples);
        let before = sound.between(0.0, instant).unwrap();
        let behind = sound.between(instant, sound.seconds()).unwrap();
        prop_assert_eq!([before.samples(), behind.samples()].concat(), sound.samples());
    }
}
