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
    let within = ", expected an instant from 0 s to 0.5 s";
    for (from, to, expected) in [
        (-0.1, 0.2, format!("a part of it cannot begin at -0.1 s{within}")),
        (f64::NAN, 0.2, format!("a part of it cannot begin at NaN s{within}")),
        // Where no end is given it is that of the sound.
        (5.0, 0.5, format!("a part of it cannot begin at 5 s{within}")),
        (1e308, 0.5, format!("a part of it cannot begin at 1e308 s{within}")),
        (0.2, 0.6, format!("a part of it cannot end at 0.6 s{within}")),
        (0.0, f64::INFINITY, format!("a part of it cannot end at inf s{within}")),
        (0.3, 0.3, "a part from 0.3 s to 0.3 s does not end behind its beginning".to_owned()),
        (0.4, 0.3, "a part from 0.4 s to 0.3 s does not end behind its beginning".to_owned()),
        // A sample lasts 62.5 microseconds.
        (0.1, 0.100_01, "no sample of it lies between 0.1 s and 0.10001 s".to_owned()),
    ] {
        assert_eq!(sound.between(from, to).unwrap_err().to_string(), format!("ramp: {expected}"));
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
