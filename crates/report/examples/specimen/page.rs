//! A page of every kind of drawing, from invented numbers.

use std::error::Error;

use image::{Rgb, RgbImage};
use mmlens_finding::{Axis, Finding, Labelled, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit};
use mmlens_report::{Guide, Page, Picture};

type Fallible<T> = Result<T, Box<dyn Error>>;

const WIDTH: u32 = 448;
const HEIGHT: u32 = 336;
const LAYERS: usize = 12;
const WORDS: [&str; 8] = ["red", "blue", " square", " circle", "the", " a", "green", "\n"];
/// A text that must be shown, never run.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>";

/// A scene of a red square and a blue disc.
fn scene() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let (fx, fy) = (f64::from(x), f64::from(y));
        if (70..190).contains(&x) && (90..210).contains(&y) {
            Rgb([196, 58, 44])
        } else if (fx - 320.0).hypot(fy - 200.0) < 66.0 {
            Rgb([52, 96, 170])
        } else {
            let shade = 232 - (y / 14) as u8;
            Rgb([shade, shade, shade.saturating_sub(6)])
        }
    })
}

/// How much a point has to do with the square (1) and the disc (-1).
fn evidence(x: f32, y: f32) -> f32 {
    let bump = |cx: f32, cy: f32, r: f32| (-((x - cx).powi(2) + (y - cy).powi(2)) / (2.0 * r * r)).exp();
    1.6 * bump(130.0, 150.0, 48.0) - 0.9 * bump(320.0, 200.0, 44.0)
        + 0.06 * ((x * 0.13).sin() + (y * 0.17).cos())
}

fn patches(side: usize) -> Vec<PatchLabel> {
    let (w, h) = (WIDTH as f32 / side as f32, HEIGHT as f32 / side as f32);
    (0..side * side)
        .map(|i| {
            let (row, col) = (i / side, i % side);
            let (x, y) = (col as f32 * w, row as f32 * h);
            PatchLabel { image: 0, tile: 0, frame: 0, row, col, bbox: [x, y, x + w, y + h] }
        })
        .collect()
}

fn prompt(side: usize) -> Vec<TokenLabel> {
    let special = |text: &str, id| TokenLabel::new(text, Modality::Special).with_id(id);
    let mut tokens = vec![special("<|user|>", 1), TokenLabel::new("\n", Modality::Text).with_id(13)];
    let image = |patch| TokenLabel::new("<image>", Modality::Image).with_id(9).with_patch(patch);
    tokens.extend(patches(side).into_iter().map(image));
    tokens.push(TokenLabel::new("\n", Modality::Text).with_id(13));
    let words =
        ["Which", " colour", " is", " the", " square", " left", " of", " the", " disc", "?", " ", HOSTILE];
    tokens
        .extend(words.iter().zip(40..).map(|(word, id)| TokenLabel::new(*word, Modality::Text).with_id(id)));
    tokens.push(special("<|assistant|>", 2));
    tokens
}

fn weight(i: usize, token: &TokenLabel) -> f32 {
    match token.patch {
        Some(PatchLabel { bbox: [x0, y0, x1, y1], .. }) => 0.05 * evidence((x0 + x1) / 2.0, (y0 + y1) / 2.0),
        None => [0.02, 0.31, -0.12, 0.0, 0.62, 0.2, -0.04][i % 7],
    }
}

fn made(method: &str, objective: &str) -> Provenance {
    let mut made = Provenance::new(method, "shapes-vlm").with_setting("steps", 64).with_setting("batch", 8);
    made.weights_hash = "sha256:4be1c9a0".to_owned();
    made.sites = vec!["text.input".to_owned(), "text.blocks.0..12.resid_post".to_owned()];
    made.objective = Some(objective.to_owned());
    made.baseline = Some("mean of 64 pictures".to_owned());
    made.seed = Some(7);
    made.dtype = "f32".to_owned();
    made.device = "flex".to_owned();
    made
}

fn spans(role: Role, length: u32, count: usize) -> Axis {
    let step = length as f32 / count as f32;
    Axis::spans(role, 0, (0..count).map(|i| [i as f32 * step, (i + 1) as f32 * step]).collect())
}

/// Signed attribution of every token, with what it adds up to.
fn gradients(tokens: &[TokenLabel]) -> Fallible<Finding> {
    let values: Vec<f32> = tokens.iter().enumerate().map(|(i, token)| weight(i, token)).collect();
    let sum: f32 = values.iter().sum();
    let tables = vec![
        Labelled::numbers("attribution", Unit::Logit, vec![Axis::tokens(tokens.to_vec())], values)?,
        Labelled::scalar("change_of_objective", Unit::Logit, sum + 0.003),
        Labelled::scalar("completeness_gap", Unit::Logit, 0.003),
        Labelled::scalar("steps", Unit::Count, 64.0),
    ];
    Ok(Finding::new(
        made("integrated_gradients", "logit of “red” minus logit of “blue”, last position"),
        tables,
    )?)
}

/// A heat map of its own resolution, with a hole.
fn occlusion() -> Fallible<Finding> {
    let (rows, columns) = (42, 56);
    let at = |i: usize| {
        let (x, y) = ((i % columns) as f32 * 8.0 + 4.0, (i / columns) as f32 * 8.0 + 4.0);
        if i < 6 { f32::NAN } else { evidence(x, y) }
    };
    let axes = vec![spans(Role::Row, HEIGHT, rows), spans(Role::Column, WIDTH, columns)];
    let map = Labelled::numbers("drop", Unit::Logit, axes, (0..rows * columns).map(at).collect())?;
    Ok(Finding::new(made("occlusion", "logit of “red”, last position"), vec![map])?)
}

/// Non-negative relevance by layer and patch.
fn rollout(side: usize) -> Fallible<Finding> {
    let patches = patches(side);
    let at = |layer: usize, patch: &PatchLabel| {
        let [x0, y0, x1, y1] = patch.bbox;
        evidence((x0 + x1) / 2.0, (y0 + y1) / 2.0).abs() * (layer + 1) as f32 / LAYERS as f32
    };
    let values = (0..LAYERS).flat_map(|layer| patches.iter().map(move |patch| at(layer, patch))).collect();
    let axes = vec![Axis::count(Role::Layer, LAYERS), Axis::patches(patches.clone())];
    Ok(Finding::new(
        made("attention_rollout", "last position"),
        vec![Labelled::numbers("relevance", Unit::Ratio, axes, values)?],
    )?)
}

/// Words by layer and token.
fn lens(tokens: &[TokenLabel]) -> Fallible<Finding> {
    let ranks = 5;
    let axes =
        vec![Axis::count(Role::Layer, LAYERS), Axis::tokens(tokens.to_vec()), Axis::count(Role::Rank, ranks)];
    let mut words = Vec::new();
    let mut probabilities = Vec::new();
    for layer in 0..LAYERS {
        for position in 0..tokens.len() {
            for rank in 0..ranks {
                let word = WORDS[(layer / 3 + position * 5 + rank) % WORDS.len()];
                words.push(if position + rank == 3 { HOSTILE.to_owned() } else { word.to_owned() });
                let sure = (layer + 1) as f32 / LAYERS as f32 * (0.35 + 0.1 * (position % 6) as f32);
                probabilities.push(sure * 0.45f32.powi(rank as i32));
            }
        }
    }
    let mut tables = vec![
        Labelled::texts("words", axes.clone(), words)?,
        Labelled::numbers("probabilities", Unit::Probability, axes, probabilities)?,
    ];
    let layers = || Axis::count(Role::Layer, LAYERS);
    let entropy = (0..LAYERS).map(|l| 6.2 - 0.45 * l as f32 + (l as f32).sin() * 0.3).collect();
    tables.push(Labelled::numbers("entropy", Unit::Nat, vec![layers()], entropy)?);
    let parts = Axis::names(Role::Concept, ["attention", "mlp"]);
    let sums =
        (0..2 * LAYERS).map(|i| ((i * 7 % 11) as f32 - 4.0) / 9.0 * (i % LAYERS) as f32 / 6.0).collect();
    tables.push(Labelled::numbers("direct_effect", Unit::Logit, vec![parts, layers()], sums)?);
    Ok(Finding::new(made("logit_lens", "every position"), tables)?)
}

/// Effects of patching, by layer and token and by layer and head.
fn patching(tokens: &[TokenLabel]) -> Fallible<Finding> {
    let layers = || Axis::count(Role::Layer, LAYERS);
    let effect = |layer: usize, (i, token): (usize, &TokenLabel)| {
        let depth = 1.0 - layer as f32 / LAYERS as f32;
        if i + 1 == tokens.len() { 1.0 - depth } else { weight(i, token) * 1.4 * depth }
    };
    let map =
        (0..LAYERS).flat_map(|l| tokens.iter().enumerate().map(move |token| effect(l, token))).collect();
    let heads = (0..LAYERS * 8).map(|i| ((i * 37 % 64) as f32 / 64.0 - 0.42).powi(3) * 8.0).collect();
    let tables = vec![
        Labelled::numbers("recovered", Unit::Ratio, vec![layers(), Axis::tokens(tokens.to_vec())], map)?,
        Labelled::numbers("heads", Unit::Logit, vec![layers(), Axis::count(Role::Head, 8)], heads)?,
    ];
    Ok(Finding::new(made("activation_patching", "logit difference, recovered share"), tables)?)
}

/// Rankings and small tables.
fn concepts() -> Fallible<Finding> {
    let names = ["red", "square", "left of", "disc", HOSTILE];
    let scores = vec![0.92, 0.71, 0.33, -0.24, 0.02];
    let axes = vec![Axis::names(Role::Concept, names)];
    let probes = Axis::names(Role::Sample, ["train", "held out"]);
    let accuracy = (0..10u8).map(|i| 0.99 - f32::from(i) * 0.04).collect();
    let features: Vec<f32> = (0..80).map(|i| (i * 37 % 80) as f32 / 20.0).collect();
    let tables = vec![
        Labelled::numbers("sensitivity", Unit::Cosine, axes.clone(), scores)?,
        Labelled::numbers(
            "accuracy",
            Unit::Ratio,
            vec![Axis::names(Role::Concept, names), probes],
            accuracy,
        )?,
        Labelled::numbers("features", Unit::Activation, vec![Axis::count(Role::Feature, 80)], features)?,
        Labelled::texts("examples", axes, names.map(|name| format!("a picture of {name}")).to_vec())?,
        Labelled::numbers(
            "constant",
            Unit::Ratio,
            vec![Axis::count(Role::Head, 3), Axis::count(Role::Neuron, 3)],
            vec![0.5; 9],
        )?,
    ];
    Ok(Finding::new(made("concept_vectors", "projected embedding"), tables)?)
}

/// The page, for a picture of `side` by `side` patches.
pub(crate) fn page(side: usize) -> Fallible<Page> {
    let tokens = prompt(side);
    Ok(Page {
        title: "Why does the model say “red”?".to_owned(),
        pictures: vec![Picture::from_rgb("scene <1>.png", &scene())?],
        prompt: tokens.clone(),
        question: "Which colour is the square left of the disc?".to_owned(),
        answer: "Red, as the square left of the disc is red.".to_owned(),
        answer_tokens: [
            "Red", ",", " as", " the", " square", " left", " of", " the", " disc", " is", " red", ".",
        ]
        .iter()
        .zip([0.93, 0.71, 0.22, 0.84, 0.97, 0.64, 0.99, 0.98, 0.91, 0.88, 0.95, 0.99])
        .map(|(word, p)| ((*word).to_owned(), p))
        .collect(),
        findings: vec![
            gradients(&tokens)?,
            occlusion()?,
            rollout(side)?,
            lens(&tokens)?,
            patching(&tokens)?,
            concepts()?,
        ],
        guides: vec![Guide {
            method: "integrated_gradients".to_owned(),
            question: "Which pixels and words does this answer come from, in shares that add up?".to_owned(),
            misleads: vec!["Another baseline gives another answer.".to_owned(), HOSTILE.to_owned()],
        }],
        ..Page::default()
    })
}
