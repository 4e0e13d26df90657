//! An architecture of one's own, assembled from parts of the zoo, and analyses that run on it unchanged.
//!
//! ```text
//! cargo run --release --example own_architecture
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod network;
mod subject;

use anyhow::Result;
use mmlens::core::Baseline;
use mmlens::engine::End;
use mmlens::model::{IntegratedGradients, LogitLens, integrated_gradients, logit_lens};
use mmlens::prelude::*;

fn main() -> Result<()> {
    let subject = subject::Own::drawn(Seed(4), &burn::tensor::Device::default())?;
    let picture = Picture::new(
        "stripes",
        image::RgbImage::from_fn(32, 24, |x, y| {
            image::Rgb([(x * 8) as u8, (y * 10) as u8, ((x / 4 + y / 4) % 2 * 255) as u8])
        }),
    );
    let case = Case { sample: Sample::prompt(vec![picture], "what is # here"), target: Target::Top };
    let (inputs, objective) = case.open(&subject)?;
    println!("{} positions, {} sites; explained: {objective}", inputs.positions(), subject.sites().len());
    let lens = LogitLens::new(logit_lens::Settings { top: 1, ..Default::default() })?.run(&subject, &case)?;
    let words = lens.table("words")?;
    println!(
        "the lens at the last position of each layer: {:?}",
        words.as_texts().map(|texts| {
            texts.chunks(inputs.positions()).filter_map(|layer| layer.last().cloned()).collect::<Vec<_>>()
        })
    );
    let settings = integrated_gradients::Settings {
        along: Some(vec![
            End::new("text.embed".parse()?, Baseline::Zero),
            End::new("vision.pixels".parse()?, Baseline::Zero),
        ]),
        ..Default::default()
    };
    let finding = IntegratedGradients::new(settings)?.run(&subject, &case)?;
    for name in ["text.embed/tokens", "completeness gap"] {
        println!("{name}: {:?}", finding.table(name)?.as_numbers());
    }
    Ok(())
}
