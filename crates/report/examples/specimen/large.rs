//! A page of the size that large models give: 2000 patches, an answer of 300 tokens told one by one, heads of 24 layers, from
//! invented numbers.

use std::error::Error;

use image::{Rgb, RgbImage};
use mmlens_finding::{
    Axis, Finding, Labelled, Labels, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit,
};
use mmlens_report::{Page, Picture};

type Fallible<T> = Result<T, Box<dyn Error>>;

const ROWS: usize = 40;
const COLUMNS: usize = 50;
const ANSWER: usize = 300;
const LAYERS: usize = 24;
const HEADS: usize = 14;
const SIDE: f32 = 16.0;

fn patch(i: usize) -> PatchLabel {
    let (row, col) = (i / COLUMNS, i % COLUMNS);
    let (x, y) = (col as f32 * SIDE, row as f32 * SIDE);
    PatchLabel { image: 0, tile: 0, frame: 0, row, col, bbox: [x, y, x + SIDE, y + SIDE] }
}

/// A bump that wanders over the picture.
fn bump(i: usize, at: usize) -> f32 {
    let (x, y) =
        ((i % COLUMNS) as f32 - (at * 7 % COLUMNS) as f32, (i / COLUMNS) as f32 - (at * 5 % ROWS) as f32);
    (-(x * x + y * y) / 30.0).exp() - 0.1
}

fn picture() -> RgbImage {
    let (width, height) = ((COLUMNS as f32 * SIDE) as u32, (ROWS as f32 * SIDE) as u32);
    RgbImage::from_fn(width, height, |x, y| {
        let inside = (f64::from(x) - 400.0).hypot(f64::from(y) - 300.0) < 150.0;
        Rgb(if inside { [190, 60, 50] } else { [220 - (y / 16) as u8, 222, 215] })
    })
}

/// The page.
pub(crate) fn page() -> Fallible<Page> {
    let words = ["The", " incomprehensibilities", " of", " a", " red", " disc", ",", "\n", " 42", " and"];
    let word =
        |i: usize| TokenLabel::new(format!("{}{}", words[i % words.len()], i / words.len()), Modality::Text);
    let answer: Vec<TokenLabel> = (0..ANSWER).map(word).collect();
    let mut prompt: Vec<TokenLabel> = vec![TokenLabel::new("<s>", Modality::Special).with_id(1)];
    prompt.extend(
        (0..ROWS * COLUMNS).map(|i| TokenLabel::new("<image>", Modality::Image).with_patch(patch(i))),
    );
    prompt.extend((0..30).map(|i| TokenLabel::new(words[i % words.len()], Modality::Text)));
    let tokens = Axis::tokens(prompt.clone());
    let one = |token: usize| (0..tokens.len()).map(move |i| bump(i, token)).collect::<Vec<f32>>();
    let each: Vec<f32> = (0..ANSWER).flat_map(one).collect();
    let whole = (0..tokens.len()).map(|i| each.iter().skip(i).step_by(tokens.len()).sum()).collect();
    let of_answer = || Axis::new(Role::Answer, Labels::Tokens(answer.clone()));
    let gradients = vec![
        Labelled::numbers("text.embed", Unit::Logit, vec![tokens.clone()], whole)?,
        Labelled::numbers(
            "text.embed by answer token",
            Unit::Logit,
            vec![of_answer(), tokens.clone()],
            each,
        )?
        .aside(),
        Labelled::scalar("completeness_gap", Unit::Logit, 0.003),
        Labelled::numbers(
            "gap by layer",
            Unit::Logit,
            vec![Axis::names(Role::Layer, (0..LAYERS).map(|i| format!("after block {i}")))],
            (0..LAYERS).map(|i| (i as f32 * 0.7).sin() * 1e-5).collect(),
        )?,
        Labelled::texts(
            "cautions",
            vec![Axis::count(Role::Rank, 1)],
            vec!["The shares miss their sum by 0.3 logits of 2.1.".to_owned()],
        )?,
    ];
    let deep = [Axis::count(Role::Layer, LAYERS), tokens.clone()];
    let count = LAYERS * tokens.len();
    let mut lens = vec![Labelled::numbers(
        "recovered",
        Unit::Ratio,
        deep.to_vec(),
        (0..count).map(|i| bump(i % 2031, i / 2031)).collect(),
    )?];
    for (name, role) in [("by layer", Role::Layer), ("by feature", Role::Feature)] {
        let axis = Axis::count(role, LAYERS);
        let each = (0..ANSWER * LAYERS).map(|i| (i % 17) as f32 - 8.0).collect();
        let by_token = format!("{name} by answer token");
        lens.push(Labelled::numbers(name, Unit::Logit, vec![axis.clone()], vec![1.0; LAYERS])?);
        lens.push(Labelled::numbers(by_token, Unit::Logit, vec![of_answer(), axis], each)?.aside());
    }
    let patches = Axis::patches((0..ROWS * COLUMNS).map(patch).collect());
    let axes = vec![Axis::count(Role::Layer, LAYERS), Axis::count(Role::Head, HEADS), patches];
    let looks = |i: usize| (bump(i % 2000, i / 2000) + 0.1) / 40.0;
    let pattern = Labelled::numbers(
        "pattern",
        Unit::Probability,
        axes,
        (0..LAYERS * HEADS * 2000).map(looks).collect(),
    )?;
    let other = Labelled::numbers(
        "heads",
        Unit::Logit,
        vec![Axis::count(Role::Layer, LAYERS), Axis::count(Role::Head, HEADS)],
        (0..LAYERS * HEADS).map(|i| ((i * 37 % 64) as f32 / 64.0 - 0.42).powi(3) * 8000.0).collect(),
    )?;
    let second = (0..2 * tokens.len()).map(|i| bump(i % tokens.len(), 3)).collect();
    let occlusion = vec![
        Labelled::numbers("drop", Unit::Logit, vec![tokens.clone()], vec![0.5; tokens.len()])?,
        Labelled::numbers(
            "drop by answer token",
            Unit::Logit,
            vec![Axis::new(Role::Answer, Labels::Tokens(answer[..2].to_vec())), tokens],
            second,
        )?
        .aside(),
    ];
    let finding = |method: &str, tables| Finding::new(Provenance::new(method, "large-vlm"), tables);
    Ok(Page {
        title: "Why this description?".to_owned(),
        pictures: vec![Picture::from_rgb("large.png", &picture())?],
        prompt,
        question: "Describe the picture.".to_owned(),
        answer: answer.iter().map(|token| token.text.as_str()).collect(),
        answer_tokens: answer
            .iter()
            .enumerate()
            .map(|(i, token)| (token.text.clone(), 1.0 / (1 + i % 13) as f32))
            .collect(),
        findings: vec![
            finding("integrated_gradients", gradients)?,
            finding("occlusion", occlusion)?,
            finding("activation_patching", lens)?,
            finding("attention", vec![pattern, other])?,
        ],
        names: [("text.embed".to_owned(), "text model, embeddings".to_owned())].into(),
        ..Page::default()
    })
}
