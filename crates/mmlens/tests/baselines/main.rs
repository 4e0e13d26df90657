//! Baselines are what they are called, of every family: the mean of words is that of words, the mean colour of a picture its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod captions;
mod drawn;
mod pictures;
mod placeholders;
mod places;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use mmlens::engine::End;
use mmlens::model::{IntegratedGradients, integrated_gradients};
use mmlens::prelude::*;
use mmlens::zoo::certify;
use mmlens_testkit::numbers;

/// Language models that look at pictures: whole, in tiles, in patches of any number.
const ASKED: [&str; 9] = [
    "llava-a",
    "llava-b",
    "llava-siglip",
    "llava-next-a",
    "smolvlm-a",
    "idefics3-a",
    "qwen2-vl-a",
    "qwen2.5-vl-a",
    "qwen3-vl-a",
];

/// Models whose prompts show no picture.
const ASIDE: [&str; 6] = ["vit-a", "blip-a", "blip-qa", "blip-itm", "clip-a", "siglip-a"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn opened(name: &str) -> Box<dyn Subject> {
    mmlens::zoo::open(fixtures().join(name).join("model"), &Device::flex()).unwrap()
}

/// The samples of a folder's traces with so many pictures and no clip.
fn samples(name: &str, pictures: usize) -> Vec<Sample> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(fixtures().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    let all = files.iter().flat_map(|path| certify::samples(path, &fixtures().join("pictures")).unwrap());
    let fits = |sample: &Sample| sample.pictures.len() == pictures && sample.clips.is_empty();
    let one = |sample: &Sample| !matches!(&sample.words, Words::Texts(texts) if texts.len() > 1);
    all.filter(|sample| fits(sample) && one(sample)).collect()
}

/// The first of them with other pictures.
fn showing(name: &str, pictures: Vec<Picture>) -> Option<Sample> {
    let first = samples(name, pictures.len()).into_iter().next();
    let given = |words| Sample::new(pictures.clone(), words);
    match (first, name) {
        (Some(sample), _) => Some(given(sample.words)),
        (None, "clip-a" | "siglip-a") if pictures.len() == 1 => {
            Some(given(Words::Texts(vec!["a red circle".to_owned()])))
        }
        _ => None,
    }
}

fn case(subject: &dyn Subject, sample: Sample) -> Case {
    let dual = subject.sites().iter().any(|spec| spec.site == site("text.projected"));
    let objective = if dual { Objective::Similarity } else { Objective::logit(1) };
    Case { sample, target: Target::Objective(objective) }
}

fn site(name: &str) -> Site {
    name.parse().unwrap()
}

/// Integrated gradients from means.
fn gradients(sites: &[&str], steps: usize) -> IntegratedGradients {
    let along = sites.iter().map(|name| End::new(site(name), Baseline::Mean)).collect();
    let settings = integrated_gradients::Settings {
        along: Some(along),
        steps: Some(steps),
        rows: 4,
        ..Default::default()
    };
    IntegratedGradients::new(settings).unwrap()
}

/// The objective of a case, after a plan.
fn scored(subject: &dyn Subject, case: &Case, plan: Plan) -> f32 {
    let (inputs, objective) = case.open(subject).unwrap();
    subject.run(&inputs, plan.objective(objective)).unwrap().scores().unwrap()[0]
}

fn picture(image: RgbImage) -> Picture {
    Picture::new("made", image)
}

/// Noise whose mean colour is exactly this: pixels come in pairs as far above it as below.
fn noise(width: u32, height: u32, colour: [u8; 3], seed: u64) -> Picture {
    assert!((width * height).is_multiple_of(2));
    picture(RgbImage::from_fn(width, height, |x, y| {
        let at = u64::from(y * width + x);
        Rgb(std::array::from_fn(|c| {
            let room = colour[c].min(255 - colour[c]);
            let off = (Seed(seed).at(at / 2).at(c as u64).unit() * f32::from(room)) as u8;
            if at.is_multiple_of(2) { colour[c] + off } else { colour[c] - off }
        }))
    }))
}

fn flat(width: u32, height: u32, colour: [u8; 3]) -> Picture {
    picture(RgbImage::from_pixel(width, height, Rgb(colour)))
}
