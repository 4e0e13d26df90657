//! Recordings as towers take them: where their numbers lie on the picture that is their spectrogram.

use mmlens_core::finding::PatchLabel;
use mmlens_core::sound::{LogMel, LogMelSettings, Sound};
use mmlens_core::{Listened, Part, TokenMap, TowerPosition, View};

/// 350 ms of a hum, as 4 filters of 10 frames of 100 ms.
fn listened() -> Listened {
    let settings =
        LogMelSettings { mels: 4, rate: 16_000, hop: 1600, window: 3200, seconds: 1, padding: 0.0 };
    let hum = (0..5600).map(|at| (at as f32 * 0.1).sin() * 0.3).collect();
    Listened::to(&LogMel::new(settings).unwrap(), &Sound::new("hum", hum, 16_000).unwrap(), 3).unwrap()
}

#[test]
fn a_spectrogram_is_a_picture_of_the_sound_alone() {
    let own = listened();
    assert_eq!((own.size(), own.view.image), ((4, 4), 3));
    // The lowest filter lies in the lowest row; behind four frames of sound there is padding.
    assert_eq!(own.view.rows, [[3.0, 4.0], [2.0, 3.0], [1.0, 2.0], [0.0, 1.0]]);
    assert_eq!(own.view.cols[..4], [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]);
    assert!(own.view.cols[4..].iter().all(|span| *span == [4.0, 4.0]));
    let scale = &own.heard.scale;
    assert_eq!((scale.step, scale.window, scale.rows_all(), scale.hertz.len()), (0.1, 0.2, 4, 6));
    assert!((scale.hertz[0] - 8000.0).abs() < 1e-6 && scale.hertz[5] == 0.0, "{:?}", scale.hertz);
    assert!(scale.hertz.windows(2).all(|two| two[0] > two[1]), "{:?}", scale.hertz);
    for (filter, mean) in own.means.iter().enumerate() {
        let sum: f32 = (0..4).filter_map(|frame| own.mel.at(filter, frame)).sum();
        assert!((sum / 4.0 - mean).abs() < 1e-6);
    }
    // What is more than half a window behind the sound is silence.
    assert!((own.mel.at(0, 9).unwrap() - own.heard.silence).abs() < 2e-7);
}

#[test]
fn positions_of_a_tower_are_stretches_and_padding() {
    let own = listened();
    let view = |image: usize| View { image, rows: vec![[0.0, 8.0]], cols: vec![[0.0, 8.0]] };
    let map = TokenMap {
        pictures: vec![(8, 8), (8, 8), (8, 8), own.size()],
        views: vec![view(0), view(1), view(2), own.view.clone()],
        sounds: vec![own.heard],
        ..TokenMap::default()
    };
    assert_eq!((map.first_sound(), map.sound(2).is_some(), map.sound(3).is_some()), (3, false, true));
    assert_eq!((map.views_of(Part::Vision).len(), map.views_of(Part::Audio)), (3, &[own.view][..]));
    let places = map.tower(Part::Audio, 0, 5).unwrap();
    let patch = |col: usize, from: f32| {
        let bbox = [from, 0.0, from + 2.0, 4.0];
        TowerPosition::Patch(PatchLabel { image: 3, tile: 0, frame: 0, row: 0, col, bbox })
    };
    let padding = TowerPosition::Padding;
    assert_eq!(places, [patch(0, 0.0), patch(1, 2.0), padding, padding, padding]);
    assert_eq!(map.label(places[1].patch().unwrap()).text, "0.2–0.4 s");
    // Ten frames are no three positions.
    assert!(map.tower(Part::Audio, 0, 3).is_none() && map.tower(Part::Audio, 1, 5).is_none());
}
