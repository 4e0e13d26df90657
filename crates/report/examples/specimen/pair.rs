//! A page about two pictures, one of them in tiles, with tables of many axes, from invented numbers.

use std::error::Error;

use image::{Rgb, RgbImage};
use mmlens_finding::{Axis, Finding, Labelled, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit};
use mmlens_report::{Page, Picture};

type Fallible<T> = Result<T, Box<dyn Error>>;

fn disc(side: u32, colour: [u8; 3]) -> RgbImage {
    let middle = f64::from(side) / 2.0;
    RgbImage::from_fn(side, side, |x, y| {
        let inside = (f64::from(x) - middle).hypot(f64::from(y) - middle) < middle * 0.6;
        Rgb(if inside { colour } else { [238, 236, 230] })
    })
}

/// `side` by `side` patches of one tile that begins at `x, y` and covers `size` pixels.
fn tile(image: usize, tile: usize, side: usize, [x, y, size]: [f32; 3]) -> Vec<TokenLabel> {
    let step = size / side as f32;
    let patch = |i: usize| {
        let (row, col) = (i / side, i % side);
        let (x, y) = (x + col as f32 * step, y + row as f32 * step);
        PatchLabel { image, tile, frame: 0, row, col, bbox: [x, y, x + step, y + step] }
    };
    let token = |i| TokenLabel::new("<image>", Modality::Image).with_patch(patch(i));
    (0..side * side).map(token).collect()
}

fn words(texts: &[&str]) -> Vec<TokenLabel> {
    texts.iter().map(|text| TokenLabel::new(*text, Modality::Text)).collect()
}

/// The page.
pub(crate) fn page() -> Fallible<Page> {
    let mut prompt = words(&["Compare"]);
    // the whole picture coarsely, then its quarters finely
    prompt.extend(tile(0, 0, 3, [0.0, 0.0, 64.0]));
    for quarter in 0..4u8 {
        let corner = [f32::from(quarter % 2) * 32.0, f32::from(quarter / 2) * 32.0, 32.0];
        prompt.extend(tile(0, 1 + usize::from(quarter), 4, corner));
    }
    prompt.extend(words(&[" and"]));
    prompt.extend(tile(1, 0, 5, [0.0, 0.0, 224.0]));
    prompt.extend(words(&[":", " which", " is", " red", "?"]));
    let answer = words(&["The", " first", "."]);
    let whole = [prompt.clone(), answer.clone()].concat();

    let steps = Axis::names(Role::Step, ["The", " first", "."]);
    let wave = |i: usize| ((i * 7919 % 1000) as f32 / 1000.0 - 0.45).powi(3) * 8.0;
    let by_step = Labelled::numbers(
        "attribution",
        Unit::Logit,
        vec![steps, Axis::tokens(whole.clone())],
        (0..3 * whole.len()).map(wave).collect(),
    )?;
    let once = Labelled::numbers(
        "attribution",
        Unit::Logit,
        vec![Axis::tokens(whole.clone())],
        (0..whole.len()).map(|i| wave(i + 5)).collect(),
    )?;
    let position = |role| Axis::new(role, Axis::tokens(whole.clone()).labels);
    let axes = vec![
        Axis::count(Role::Layer, 2),
        Axis::count(Role::Head, 2),
        position(Role::Query),
        position(Role::Key),
    ];
    let attention = |i: usize| {
        let (query, key) = (i / whole.len() % whole.len(), i % whole.len());
        if key > query { 0.0 } else { (1.0 + wave(i).abs()) / (query + 1) as f32 }
    };
    let count = 4 * whole.len() * whole.len();
    let pattern = Labelled::numbers("pattern", Unit::Probability, axes, (0..count).map(attention).collect())?;
    let empty = Labelled::numbers("nothing", Unit::Logit, vec![Axis::count(Role::Head, 0)], vec![])?;
    let nan = vec![f32::NAN; 12];
    let nan = Labelled::numbers(
        "unknown",
        Unit::Logit,
        vec![Axis::count(Role::Layer, 3), Axis::count(Role::Head, 4)],
        nan,
    )?;
    Ok(Page {
        title: "Two pictures".to_owned(),
        pictures: vec![
            Picture::from_rgb("small.png", &disc(64, [190, 60, 50]))?,
            Picture::from_rgb("large.png", &disc(224, [60, 90, 180]))?,
        ],
        prompt,
        findings: vec![
            Finding::new(Provenance::new("input_gradients", "shapes-vlm"), vec![by_step, empty, nan])?,
            Finding::new(Provenance::new("occlusion", "shapes-vlm"), vec![once])?,
            Finding::new(Provenance::new("attention", "shapes-vlm"), vec![pattern])?,
        ],
        ..Page::default()
    })
}
