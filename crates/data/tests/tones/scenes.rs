//! Scenes: splits, the planted bias, what is clear, and samples against formulas.

use std::collections::BTreeSet;

use mmlens_data::tones::{
    CLEAR_HERTZ, DEEP_BRINGS_PULSE, Event, HISS_BRINGS_BUZZ, Length, Loudness, MILLISECONDS, Pitch, RATE,
    SAMPLES, Scene, Split, Timbre, World,
};
use proptest::prelude::*;

fn scenes(world: World, split: Split, count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(move |index| world.scene(split, index))
}

/// Every sound and when it begins, in cells of 50 ms, written out: the content that splits may not share.
fn content(scene: &Scene) -> Vec<(Timbre, Pitch, Length, Loudness, u32)> {
    let what = |own: &Event| (own.timbre, own.pitch, own.length, own.loudness, own.start / 50);
    let mut content: Vec<_> = scene.events.iter().map(what).collect();
    content.sort_unstable();
    content
}

#[test]
fn splits_share_no_scene_even_across_seeds() {
    let of = |split: Split, seeds: &[u64]| -> BTreeSet<_> {
        let worlds = seeds.iter().map(|&seed| World::new(seed).with_bias(seed % 2 == 0));
        worlds.flat_map(|world| scenes(world, split, 4000)).map(|scene| content(&scene)).collect()
    };
    let (train, validation, test) =
        (of(Split::Train, &[0, 1]), of(Split::Validation, &[2]), of(Split::Test, &[0, 3]));
    assert!(train.is_disjoint(&validation));
    assert!(train.is_disjoint(&test));
    assert!(validation.is_disjoint(&test));
    assert!(train.len() > 6000 && test.len() > 6000, "{} and {} different scenes", train.len(), test.len());
}

#[test]
fn the_key_decides_the_split() {
    for &split in Split::ALL {
        for scene in scenes(World::new(8), split, 500) {
            assert_eq!(Split::of_key(scene.key), split);
            assert_eq!((scene.split, scene.seed), (split, 8));
            assert_eq!(scene.moved(9, 0).key, scene.key);
        }
    }
}

/// A world draws times until the content falls into a split: every sound must have some in each of them.
#[test]
fn every_sound_alone_is_in_every_split() {
    let mut any = World::new(0).scene(Split::Train, 0);
    any.events.truncate(1);
    for &timbre in Timbre::ALL {
        for &pitch in Pitch::ALL {
            for (&length, longest) in Length::ALL.iter().zip([300, 750]) {
                for &loudness in Loudness::ALL {
                    let mut splits = BTreeSet::new();
                    for start in 50..=2950 - longest {
                        let own =
                            Event { timbre, pitch, length, loudness, milliseconds: longest, ..any.events[0] };
                        let scene = Scene { events: vec![own], ..any.clone() };
                        splits.insert(Split::of_key(scene.moved(0, start).key));
                    }
                    assert_eq!(splits.len(), 3, "{length} {loudness} {pitch} {timbre}");
                }
            }
        }
    }
}

#[test]
fn counts_and_kinds_are_even_and_so_are_overlaps() {
    for &split in Split::ALL {
        let scenes: Vec<Scene> = scenes(World::new(1), split, 8000).collect();
        for count in 1..=3 {
            let rate = scenes.iter().filter(|scene| scene.events.len() == count).count() as f64 / 8000.0;
            assert!((rate - 1.0 / 3.0).abs() < 0.02, "{split}: {count} sounds in {rate}");
        }
        let events: Vec<&Event> = scenes.iter().flat_map(|scene| &scene.events).collect();
        for &timbre in Timbre::ALL {
            for &pitch in Pitch::ALL {
                for &length in Length::ALL {
                    for &loudness in Loudness::ALL {
                        let fits = |own: &&&Event| {
                            (own.timbre, own.pitch, own.length, own.loudness)
                                == (timbre, pitch, length, loudness)
                        };
                        // about 16,000 sounds; every combination is 1 in 64, that is 250 +- 16
                        let rate = events.iter().filter(fits).count() as f64 / events.len() as f64;
                        assert!(
                            (rate * 64.0 - 1.0).abs() < 0.3,
                            "{split}: {loudness} {pitch} {timbre} {rate}"
                        );
                    }
                }
            }
        }
        let several: Vec<&Scene> = scenes.iter().filter(|scene| scene.events.len() > 1).collect();
        let rate = several.iter().filter(|scene| scene.has_overlap()).count() as f64 / several.len() as f64;
        // Half of those in which some two could: two of one pitch cannot.
        assert!((0.28..0.42).contains(&rate), "{split}: two overlap in {rate}");
        let noisy = scenes.iter().filter(|scene| scene.noise > 0.0).count() as f64 / 8000.0;
        assert!((noisy - 0.5).abs() < 0.03, "{split}: noise in {noisy}");
    }
}

/// In scenes of two sounds or more: how often there is a buzz where there is a hiss, and how often there is a pulse beside a deep
/// sound.
fn co_occurrence(world: World, split: Split) -> (f64, f64) {
    let (mut hisses, mut buzzes, mut deep, mut pulses) = (0.0, 0.0, 0.0, 0.0);
    for scene in scenes(world, split, 12_000).filter(|scene| scene.events.len() > 1) {
        let has = |timbre| scene.events.iter().any(|own| own.timbre == timbre);
        if has(Timbre::Hiss) {
            hisses += 1.0;
            buzzes += f64::from(u8::from(has(Timbre::Buzz)));
        }
        let beside = |(index, own): (usize, &Event)| {
            let others = scene.events.iter().enumerate().filter(move |(other, _)| *other != index);
            own.pitch == Pitch::Deep && others.into_iter().any(|(_, other)| other.timbre == Timbre::Pulse)
        };
        if scene.events.iter().any(|own| own.pitch == Pitch::Deep) {
            deep += 1.0;
            pulses += f64::from(u8::from(scene.events.iter().enumerate().any(beside)));
        }
    }
    (buzzes / hisses, pulses / deep)
}

#[test]
fn the_bias_is_planted_in_training_only_and_can_be_switched_off() {
    let biased = World::new(2).with_bias(true);
    // Without bias, over 2 or 3 sounds: a hiss is there at 1 - (3/4)^n = .4375, .5781, and with it a buzz at
    // 1 - ((3/4)^n - (2/4)^n) / (1 - (3/4)^n) = .2857, .4865; weighted, 0.400.
    // With bias a buzz is brought to three in four of the hisses without: 0.400 + 0.600 x 0.75 = 0.850.
    assert_eq!((HISS_BRINGS_BUZZ, DEEP_BRINGS_PULSE), (0.75, 0.75));
    let (buzz, pulse) = co_occurrence(biased, Split::Train);
    assert!((buzz - 0.85).abs() < 0.02, "a buzz where there is a hiss: {buzz}");
    let unbiased =
        [(biased, Split::Validation), (biased, Split::Test), (biased.with_bias(false), Split::Train)];
    for (world, split) in unbiased {
        let (buzz, own) = co_occurrence(world, split);
        assert!((buzz - 0.4).abs() < 0.025, "{split}: a buzz where there is a hiss: {buzz}");
        assert!(
            (own - 0.395).abs() < 0.03 && pulse - own > 0.08,
            "{split}: a pulse beside a deep sound: {own}, biased {pulse}"
        );
    }
    for &split in &[Split::Validation, Split::Test] {
        assert_eq!(biased.scene(split, 3), biased.with_bias(false).scene(split, 3));
    }
}

#[test]
fn the_bias_starves_no_combination() {
    let scenes: Vec<Scene> = scenes(World::new(2).with_bias(true), Split::Train, 12_000).collect();
    let events: Vec<&Event> = scenes.iter().flat_map(|scene| &scene.events).collect();
    for &timbre in Timbre::ALL {
        for &pitch in Pitch::ALL {
            let fits = |own: &&&Event| own.timbre == timbre && own.pitch == pitch;
            let rate = events.iter().filter(fits).count() as f64 / events.len() as f64;
            assert!(rate * 16.0 > 0.5, "{pitch} {timbre}: {rate}");
        }
    }
}

#[test]
fn the_same_item_is_the_same_scene() {
    let world = World::new(77).with_bias(true);
    for index in [0, 1, 12_345, u64::MAX] {
        let scene = world.scene(Split::Train, index);
        assert_eq!(scene, world.scene(Split::Train, index));
        assert_eq!(scene.render(), world.scene(Split::Train, index).render());
        assert_ne!(scene.events, World::new(78).with_bias(true).scene(Split::Train, index).events);
        assert_ne!(scene.events, world.scene(Split::Train, index ^ 1).events);
    }
}

/// Pinned when the world was first drawn, on x86-64: the same on any machine. A change here changes what every model has learned: say
/// so in the changelog, and train anew.
#[test]
fn the_world_is_the_one_that_models_were_trained_on() {
    let sum = |world: World, split: Split| {
        scenes(world, split, 30).fold(0xCBF2_9CE4_8422_2325_u64, |sum, scene| {
            let mut rng = scene.rng(0);
            let texts: Vec<String> = mmlens_data::tones::Kind::ALL
                .iter()
                .filter_map(|&kind| scene.ask(kind, &mut rng))
                .map(|question| question.text + &question.answer)
                .collect();
            let samples = scene.render().into_iter().flat_map(i16::to_le_bytes);
            let bytes = samples.chain(texts.concat().into_bytes());
            bytes.fold(sum, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
        })
    };
    let world = World::new(0).with_bias(true);
    let sums = Split::ALL.iter().map(|&split| format!("{:016x}", sum(world, split))).collect::<Vec<_>>();
    assert_eq!(sums, ["2c71345c0d487909", "c162a60187e87dc8", "1276ad3de644fc78"]);
}

#[test]
fn sounds_of_a_scene_can_be_told_apart() {
    let mut overlaps = 0;
    for &split in Split::ALL {
        for scene in scenes(World::new(4), split, 2000) {
            assert!(scene.is_clear());
            assert!(scene.events.is_sorted_by_key(|own| own.start));
            let mut both = 0;
            for (index, own) in scene.events.iter().enumerate() {
                assert!(own.start >= 50 && own.end() <= MILLISECONDS - 50);
                assert!(match own.length {
                    Length::Short => (200..=300).contains(&own.milliseconds),
                    Length::Long => (610..=750).contains(&own.milliseconds),
                });
                assert!(match own.loudness {
                    Loudness::Soft => (0.0125..0.0155).contains(&own.level),
                    Loudness::Loud => (0.050..0.062).contains(&own.level),
                });
                assert!((own.hertz / own.pitch.hertz() - 1.0).abs() < 0.0201);
                for other in &scene.events[..index] {
                    assert!(own.start.abs_diff(other.start) >= 200);
                    let (first, second) = if own.start < other.start { (own, other) } else { (other, own) };
                    if second.start < first.end() {
                        both += 1;
                        assert!(first.end().min(second.end()) - second.start >= 100);
                        assert_ne!(first.pitch, second.pitch);
                        // no NaN: pitches are finite
                        let apart = |one: [f32; 2], two: [f32; 2]| (one[0] - two[1]).max(two[0] - one[1]);
                        for one in first.regions() {
                            assert!(
                                second.regions().iter().all(|two| apart(one.hertz, two.hertz) >= CLEAR_HERTZ)
                            );
                        }
                    } else {
                        assert!(second.start - first.end() >= 150);
                    }
                }
            }
            assert!(both <= 1);
            overlaps += both;
        }
    }
    assert!(overlaps > 1000);
}

fn squares(samples: &[i16]) -> f64 {
    samples.iter().map(|own| (f64::from(*own) / 32768.0).powi(2)).sum::<f64>() / samples.len() as f64
}

/// One sound and no noise.
fn alone(scene: &Scene, event: usize) -> Scene {
    Scene { noise: 0.0, events: vec![scene.events[event]], ..scene.clone() }
}

/// Levels are what they say, nothing is heard outside of a sound, edges are soft, and nothing comes near full scale.
#[test]
fn samples_follow_the_formulas() {
    let mut loudest = 0;
    for scene in scenes(World::new(6), Split::Train, 300) {
        let samples = scene.render();
        assert_eq!(samples.len(), SAMPLES);
        loudest = samples.iter().map(|own| own.unsigned_abs()).max().unwrap().max(loudest);
        for (index, own) in scene.events.iter().enumerate() {
            let samples = alone(&scene, index).render();
            let at = |milliseconds: u32| (milliseconds * RATE / 1000) as usize;
            let (start, end) = (at(own.start), at(own.end()));
            assert!(samples[..start].iter().chain(&samples[end..]).all(|own| *own == 0));
            // Between the edges. A pulse is looked at in whole swells of 80 ms.
            let whole = match own.timbre {
                Timbre::Pulse => (own.milliseconds - 40) / 80 * 80,
                _ => own.milliseconds - 40,
            };
            let inner = &samples[at(own.start + 20)..at(own.start + 20 + whole)];
            let level = squares(inner).sqrt();
            // The tones of a hiss add up as chance has it: over a fifth of a second the level varies by some dB.
            let bound = if own.timbre == Timbre::Hiss { 0.4 } else { 0.03 };
            let expected = f64::from(own.level);
            assert!((level / expected - 1.0).abs() < bound, "{own:?}: {level}");
            // The first 2 ms of an edge have less than 3 % of the amplitude.
            let most =
                |samples: &[i16]| f64::from(samples.iter().map(|own| own.unsigned_abs()).max().unwrap());
            let bound = 0.03 * 7.0 * expected * 32768.0 + 1.0;
            assert!(
                most(&samples[start..start + 32]) < bound && most(&samples[end - 32..end]) < bound,
                "{own:?}"
            );
        }
    }
    // The tones of a hiss of level v add up to sqrt(48) v = 6.93 v at most, all other sounds to less; two loud ones to
    // 2 x 6.93 x 0.0616 = 0.854, the noise to sqrt(3) x 0.002 = 0.004: never to full scale.
    assert!(loudest > 3000 && f64::from(loudest) < 0.86 * 32768.0, "{loudest}");
}

/// Samples of single tones by their closed form, where the world turns a point step by step.
#[test]
fn a_beep_is_a_sine() {
    let scene = (0..).map(|index| World::new(9).scene(Split::Test, index));
    let scene = scene.into_iter().find(|scene| scene.events[0].timbre == Timbre::Beep).unwrap();
    let own = alone(&scene, 0);
    let event = own.events[0];
    let samples: Vec<f64> = own.render().into_iter().map(f64::from).collect();
    let (start, count) = ((event.start * 16) as usize, (event.milliseconds * 16) as usize);
    let turn = std::f64::consts::TAU * f64::from(event.hertz) / f64::from(RATE);
    let envelope = |at: usize| {
        let edge = at.min(count - 1 - at);
        let rising = 0.5 - 0.5 * (std::f64::consts::PI * (edge as f64 + 0.5) / 320.0).cos();
        if edge < 320 { rising } else { 1.0 }
    };
    // The phase is drawn: what is left of the projection on sine and cosine is rounding alone.
    let wave = |at: usize| [(turn * at as f64).sin(), (turn * at as f64).cos()].map(|own| own * envelope(at));
    let (mut xx, mut xy, mut yy, mut xs, mut ys) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for at in 0..count {
        let ([x, y], s) = (wave(at), samples[start + at]);
        (xx, xy, yy, xs, ys) = (xx + x * x, xy + x * y, yy + y * y, xs + x * s, ys + y * s);
    }
    let det = xx * yy - xy * xy;
    let (a, b) = ((yy * xs - xy * ys) / det, (xx * ys - xy * xs) / det);
    for at in 0..count {
        let [x, y] = wave(at);
        assert!((a * x + b * y - samples[start + at]).abs() < 0.6, "sample {at}");
    }
    assert!((a.hypot(b) / 32768.0 / f64::from(event.level) - 2.0_f64.sqrt()).abs() < 1e-3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the seed: a scene is clear, and far from full scale.
    #[test]
    fn no_scene_clips(seed: u64, index: u64, split in 0..3_usize, bias: bool) {
        let scene = World::new(seed).with_bias(bias).scene(Split::ALL[split], index);
        prop_assert!(scene.is_clear());
        prop_assert!(scene.render().iter().all(|own| own.unsigned_abs() < 28_200));
    }
}
