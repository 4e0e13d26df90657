//! The mean colour of a picture is that of the picture: not of a patch, a tile, or all pictures together.

use mmlens::core::Clip;
use mmlens::finding::largest;
use mmlens::model::{Occlusion, occlusion};
use mmlens::prelude::*;
use mmlens::report::on_picture;

use crate::{ASIDE, ASKED, case, flat, gradients, noise, numbers, opened, picture, scored, showing, site};

const COLOURS: [[u8; 3]; 2] = [[200, 60, 90], [30, 140, 110]];

/// Sizes that leave padding at the sides, above and below, or none.
const SIZES: [(u32, u32); 3] = [(46, 31), (28, 60), (40, 40)];

fn close(what: &str, found: f32, wanted: f32) {
    // The same numbers through the same weights, in batches of other sizes.
    assert!((found - wanted).abs() <= 1e-5 * wanted.abs().max(1.0), "{what}: {found} {wanted}");
}

/// What a path from the mean begins at is a picture of that colour alone.
#[test]
fn the_baseline_of_pixels_is_a_picture_of_its_mean_colour() {
    let mut two = 0;
    for name in ASKED.into_iter().chain(ASIDE) {
        let subject = opened(name);
        for ((width, height), pictures) in SIZES.into_iter().flat_map(|size| [(size, 1), (size, 2)]) {
            let sizes = [(width, height), (height * 2, width)];
            let shown = |of: &dyn Fn(u32, u32, usize) -> Picture| {
                let all = (0..pictures).map(|i| of(sizes[i].0, sizes[i].1, i)).collect();
                showing(name, all).map(|sample| case(subject.as_ref(), sample))
            };
            let noisy = shown(&|w, h, i| noise(w, h, COLOURS[i], i as u64 + 7));
            let (Some(noisy), Some(plain)) = (noisy, shown(&|w, h, i| flat(w, h, COLOURS[i]))) else {
                continue;
            };
            two += usize::from(pictures == 2);
            let what = format!("{name} {width} x {height}, {pictures}");
            let found = gradients(&["vision.pixels"], 1).run(subject.as_ref(), &noisy).unwrap();
            let wanted = scored(subject.as_ref(), &plain, Plan::new());
            close(&what, numbers(&found, "objective at baseline")[0], wanted);
            assert_eq!(
                found.provenance.baseline.as_deref(),
                Some("vision.pixels: each picture's own mean colour")
            );
            // A plain picture is its own baseline: nothing of it counts.
            let found = gradients(&["vision.pixels"], 1).run(subject.as_ref(), &plain).unwrap();
            let tables = found.tables().iter().filter(|table| table.quantity() == "vision.pixels");
            let all: Vec<f32> = tables.flat_map(|table| table.as_numbers().unwrap()).copied().collect();
            assert!(!all.is_empty() && largest(&all).unwrap() < 1e-6, "{what}: {all:?}");
            // And all of it hidden is the plain picture, in tiles and in patches too.
            if pictures == 2 {
                continue;
            }
            let settings = occlusion::Settings {
                picture: Some(occlusion::Cover::Grid { rows: 1, cols: 1 }),
                pixels: Baseline::Mean,
                words: None,
                rows: 3,
                ..Default::default()
            };
            let found = Occlusion::new(settings).unwrap().run(subject.as_ref(), &noisy).unwrap();
            let drop = numbers(&found, "picture")[0];
            let whole = scored(subject.as_ref(), &noisy, Plan::new());
            assert!((whole - drop - wanted).abs() < 1e-4 * whole.abs().max(1.0), "{what}: {drop}");
        }
    }
    assert!(two >= 9, "only {two} cases of two pictures");
}

#[test]
fn a_clip_has_one_mean_colour() {
    for name in ["qwen2-vl-a", "qwen2.5-vl-a", "qwen3-vl-a"] {
        let subject = opened(name);
        let clip = |frames: Vec<Picture>| {
            Clip::new("clip", frames.into_iter().map(|frame| frame.image).collect(), Some(2.0))
        };
        let words = Words::Question("What moves?".to_owned());
        let shown = |frames| Sample::new(Vec::new(), words.clone()).with_clips(vec![clip(frames)]);
        // Frames of two colours; their mean is exactly between them.
        let frames = |of: &dyn Fn(usize) -> Picture| (0..4).map(of).collect::<Vec<_>>();
        let moving = shown(frames(&|i| noise(40, 32, [[20, 100, 200], [60, 140, 100]][i % 2], i as u64)));
        let still = shown(frames(&|_| flat(40, 32, [40, 120, 150])));
        let (moving, still) = (case(subject.as_ref(), moving), case(subject.as_ref(), still));
        let found = gradients(&["vision.pixels"], 1).run(subject.as_ref(), &moving).unwrap();
        let wanted = scored(subject.as_ref(), &still, Plan::new());
        close(name, numbers(&found, "objective at baseline")[0], wanted);
        assert!(
            (wanted - numbers(&found, "objective")[0]).abs() > 1e-4,
            "{name}: the clip makes no difference"
        );
    }
}

/// How much of the pixels' contributions lies on each quarter of a picture, by magnitude.
fn quarters(finding: &Finding, (width, height): (u32, u32)) -> [f64; 4] {
    let tables: Vec<Labelled> =
        finding.tables().iter().filter(|t| t.quantity() == "vision.pixels/picture").cloned().collect();
    let places = on_picture(&tables, (0, 0), (width, height)).unwrap().places;
    let (x, y) = (width as f32 / 2.0, height as f32 / 2.0);
    let mut sums = [0.0; 4];
    for ([x0, y0, x1, y1], value) in places {
        let quarter = usize::from((x0 + x1) / 2.0 > x) + 2 * usize::from((y0 + y1) / 2.0 > y);
        sums[quarter] += f64::from(value.abs());
    }
    sums
}

#[test]
fn plain_quarters_have_a_share_each() {
    let (width, height) = (64, 48);
    let image = image::RgbImage::from_fn(width, height, |x, y| {
        let colours = [[220, 40, 40], [40, 200, 60], [30, 60, 210], [240, 230, 40]];
        image::Rgb(colours[usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2)])
    });
    for name in ASKED.into_iter().chain(ASIDE) {
        let subject = opened(name);
        let Some(sample) = showing(name, vec![picture(image.clone())]) else { continue };
        let case = case(subject.as_ref(), sample);
        let found = gradients(&["vision.pixels"], 4).run(subject.as_ref(), &case).unwrap();
        let sums = quarters(&found, (width, height));
        let all: f64 = sums.iter().sum();
        println!("{name}: {sums:.4?}");
        // An even map has a quarter on each.
        assert!(all > 0.0 && sums.iter().all(|sum| *sum > 0.01 * all), "{name}: {sums:?}");
    }
}

#[test]
fn stripes_that_repeat_with_the_patches_have_a_share() {
    for (name, side) in [("qwen2-vl-a", 4_u32), ("qwen2.5-vl-a", 4), ("qwen3-vl-a", 4)] {
        let subject = opened(name);
        let side = {
            let config = crate::fixtures().join(name).join("model/config.json");
            let config: serde_json::Value = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
            config["vision_config"]["patch_size"].as_u64().map_or(side, |side| side as u32)
        };
        // As many merged patches as the processor leaves alone, every patch the same.
        let (width, height) = (side * 8, side * 4);
        let stripes = image::RgbImage::from_fn(width, height, |x, _| {
            image::Rgb(if x % side < side / 2 { [250, 40, 40] } else { [20, 30, 200] })
        });
        let case = case(subject.as_ref(), showing(name, vec![picture(stripes)]).unwrap());
        let (inputs, _) = case.open(subject.as_ref()).unwrap();
        let pixels = inputs.seen.values.as_ref().unwrap();
        let values = pixels.to_values().unwrap();
        let wide = pixels.dims()[1];
        assert!(values.chunks(wide).all(|patch| patch == &values[..wide]), "{name}: patches differ");
        let found = gradients(&["vision.pixels"], 4).run(subject.as_ref(), &case).unwrap();
        let sums = quarters(&found, (width, height));
        let all: f64 = sums.iter().sum();
        println!("{name}: {sums:.4?}");
        assert!(all > 1e-3 && sums.iter().all(|sum| *sum > 0.01 * all), "{name}: {sums:?}");
        assert!(numbers(&found, "relative completeness gap")[0].is_finite());
    }
}

/// Change to the mean colour, by a plan.
#[test]
fn a_mean_edit_of_pixels_is_the_mean_colour() {
    for name in ["llava-a", "llava-next-a", "smolvlm-a", "qwen2.5-vl-a", "vit-a"] {
        let subject = opened(name);
        let of = |picture| case(subject.as_ref(), showing(name, vec![picture]).unwrap());
        let (noisy, plain) = (of(noise(46, 31, COLOURS[0], 3)), of(flat(46, 31, COLOURS[0])));
        let plan = Plan::new().change(site("vision.pixels"), Region::all(), Change::Mean).unwrap();
        close(name, scored(subject.as_ref(), &noisy, plan), scored(subject.as_ref(), &plain, Plan::new()));
    }
}
