//! An engine that has nothing to do with Burn, and analyses that run on it unchanged.
//!
//! ```text
//! cargo run --release --example own_engine
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod engine;

use anyhow::Result;
use mmlens::engine::{Edit, Progress, Sweep};
use mmlens::finding::Axis;
use mmlens::prelude::*;

fn main() -> Result<()> {
    let subject = engine::Letters::new(Seed(1));
    let inputs = subject.encode(&Sample::prompt(Vec::new(), "the quick brown fox"))?;
    let trace = subject.run(&inputs, Plan::new().to_output())?;
    let logits = trace.output().at(Position::Last)?;
    let likely = AnyTensor::new(logits.argmax(1).float()).to_values()?[0] as u32;
    println!(
        "after \"the quick brown fox\" comes \"{}\"; what each head of each block adds to that:",
        subject.token(likely)
    );
    let [blocks, heads] = subject.anatomy().first().map(|text| [text.blocks, text.heads]).unwrap_or_default();
    let axes = vec![Axis::count(Role::Layer, blocks), Axis::count(Role::Head, heads)];
    let sweep =
        Sweep::over(axes, |at| vec![Edit::zero(Site::block(Part::Text, at[0], Point::Z)).heads([at[1]])])
            .measure(Objective::logit(likely));
    let mut progress = Progress::new(&Unwatched, "heads", sweep.len());
    let swept = sweep.run(&subject, &inputs, &Memory::default(), &mut progress)?;
    for measured in &swept.measured {
        for (block, values) in measured.values.chunks(heads).enumerate() {
            let added: Vec<String> =
                values.iter().map(|value| format!("{:+.3}", measured.unedited - value)).collect();
            println!("  block {block}: {}", added.join(" "));
        }
    }
    Ok(())
}
