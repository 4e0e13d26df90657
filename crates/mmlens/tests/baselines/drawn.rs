//! What is drawn on a picture has the mass of the finding: tiles and the whole beside them, merged patches, windows.

use mmlens::model::{AttentionRollout, Occlusion, occlusion};
use mmlens::prelude::*;
use mmlens::report::{OnPicture, on_picture};

use crate::{ASIDE, ASKED, case, gradients, noise, opened, showing};

const SIZES: [(u32, u32); 2] = [(46, 30), (62, 124)];

/// On which picture a table lies, as its labels say.
fn image(table: &Labelled) -> usize {
    let own = table.axes().iter().find_map(|axis| match &axis.labels {
        Labels::Spans { image, .. } => Some(*image),
        Labels::Patches(patches) => patches.first().map(|patch| patch.image),
        _ => None,
    });
    own.unwrap_or_else(|| panic!("`{}` lies nowhere", table.name()))
}

/// Sums what is drawn of a quantity on each picture, and compares it with what the finding holds for it.
fn same_mass(what: &str, finding: &Finding, quantity: &str) {
    let tables: Vec<Labelled> =
        finding.tables().iter().filter(|table| table.quantity() == quantity).cloned().collect();
    assert!(!tables.is_empty(), "{what}: no `{quantity}`");
    for (at, size) in SIZES.into_iter().enumerate() {
        // Patches of all pictures may share a table; others lie on one picture each.
        let patch = |table: &Labelled, i: usize| match &table.axes()[0].labels {
            Labels::Patches(patches) => patches[i].image,
            _ => image(table),
        };
        let values: Vec<f64> = tables
            .iter()
            .flat_map(|table| {
                let numbers = table.as_numbers().unwrap().iter().enumerate();
                let one = matches!(table.axes()[0].labels, Labels::Patches(_));
                numbers.filter(move |(i, _)| patch(table, if one { *i } else { 0 }) == at)
            })
            .map(|(_, value)| f64::from(*value))
            .collect();
        if values.is_empty() {
            continue;
        }
        let OnPicture { places, outside } = on_picture(&tables, (at, 0), size).unwrap();
        let drawn: f64 = places.iter().map(|(_, value)| f64::from(*value)).sum();
        let (wanted, scale): (f64, f64) = (values.iter().sum(), values.iter().map(|v| v.abs()).sum());
        assert!(scale.is_finite() && scale > 0.0, "{what}: nothing to draw on picture {at}");
        assert!(
            (drawn + outside - wanted).abs() < 1e-5 * scale,
            "{what}, picture {at}: {drawn} drawn, {outside} outside, {wanted} found, {scale} in all"
        );
        // No place lies on another, and none leaves the picture.
        let area: f64 = places.iter().map(|([x0, y0, x1, y1], _)| f64::from((x1 - x0) * (y1 - y0))).sum();
        let whole = f64::from(size.0 * size.1);
        assert!(area <= whole * (1.0 + 1e-4), "{what}, picture {at}: {area} of {whole}");
        for ([x0, y0, x1, y1], _) in &places {
            assert!(
                *x0 >= -1e-3 && *y0 >= -1e-3 && *x1 <= size.0 as f32 + 1e-3 && *y1 <= size.1 as f32 + 1e-3
            );
        }
    }
}

#[test]
fn what_is_drawn_has_the_mass_of_the_finding() {
    let mut rolled = 0;
    for name in ASKED.into_iter().chain(ASIDE) {
        let subject = opened(name);
        let subject = subject.as_ref();
        let made = |count: usize| {
            let all = SIZES.into_iter().take(count);
            all.map(|(w, h)| noise(w, h, [100, 140, 90], u64::from(w))).collect::<Vec<_>>()
        };
        for sample in [1, 2].into_iter().filter_map(|count| showing(name, made(count))) {
            let case = case(subject, sample);
            let what = format!("{name}, {} pictures", case.sample.pictures.len());
            let found = gradients(&["vision.pixels"], 2).run(subject, &case).unwrap();
            same_mass(&format!("{what}, gradients"), &found, "vision.pixels/picture");
            for cover in [
                occlusion::Cover::Grid { rows: 3, cols: 4 },
                occlusion::Cover::Sliding { window: [9, 7], stride: [5, 4] },
            ] {
                let settings = occlusion::Settings {
                    picture: Some(cover),
                    words: None,
                    rows: 8,
                    pixels: Baseline::Mean,
                    ..Default::default()
                };
                let found = Occlusion::new(settings).unwrap().run(subject, &case).unwrap();
                same_mass(&format!("{what}, {cover:?}"), &found, "picture");
            }
            if let Ok(found) = AttentionRollout::default().run(subject, &case) {
                rolled += 1;
                same_mass(&format!("{what}, rollout"), &found, "picture through the tower");
            }
        }
    }
    assert!(rolled > 4, "only {rolled} rollouts");
}

/// A class token has no place on the picture; every picture's map begins at its own.
#[test]
fn rollout_begins_at_the_class_token() {
    for name in ["vit-a", "clip-a"] {
        let subject = opened(name);
        let case = case(subject.as_ref(), showing(name, vec![noise(46, 30, [100, 140, 90], 1)]).unwrap());
        let found = AttentionRollout::default().run(subject.as_ref(), &case).unwrap();
        let rows = found.table("vision").unwrap();
        let Labels::Tokens(tokens) = &rows.axes()[0].labels else { panic!("{name}") };
        assert_eq!(tokens.iter().position(|token| token.patch.is_none()), Some(0), "{name}");
        let positions = tokens.len();
        let first = &rows.as_numbers().unwrap()[..positions];
        let found_shares = found.table("picture through the tower").unwrap().as_numbers().unwrap();
        assert_eq!(found_shares.len(), positions - 1, "{name}");
        for (share, wanted) in found_shares.iter().zip(&first[1..]) {
            assert!((share - wanted).abs() < 1e-7, "{name}: {share} {wanted}");
        }
        let outside = found.table("outside the patches").unwrap().as_scalar().unwrap();
        assert!((outside - first[0]).abs() < 1e-7, "{name}");
        // The last row says something else, so that it could not be taken for the first.
        let last = &rows.as_numbers().unwrap()[(positions - 1) * positions..];
        let apart = last.iter().zip(first).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
        assert!(apart > 1e-3, "{name}: {apart}");
    }
}
