//! A fused operation of one's own, with its backward pass, as an edit in a plan.
//!
//! ```text
//! cargo run --release --example own_kernel
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod kernel;

use anyhow::{Context, Result, bail};
use mmlens::prelude::*;
use mmlens::zoo::shipped;

fn main() -> Result<()> {
    let subject = shipped::shapes(&burn::tensor::Device::default())?;
    let subject: &dyn Subject = &subject;
    let world = mmlens::data::shapes::World::new(7);
    let scene = world.scene(mmlens::data::shapes::Split::Test, 3);
    let picture = Picture::new("scene", image::DynamicImage::from(scene.render()));
    let questions: Vec<String> = scene.questions().into_iter().map(|question| question.text).collect();
    let [question, other, ..] = questions.as_slice() else { bail!("a scene of one question") };
    let encode = |question: &String| {
        subject.encode(&Sample::new(vec![picture.clone()], Words::Question(question.clone())))
    };
    let inputs = encode(question)?;
    let objective = Objective::logit(top_token(subject, &inputs)?);
    // What tells one question from the other, block by block: the difference of their last states.
    let states = "text.blocks.*.resid_post";
    let ours = subject.run(&inputs, Plan::new().read(states)?.objective(&objective))?;
    let theirs = subject.run(&encode(other)?, Plan::new().read(states)?)?;
    println!("{question} (not: {other})\n  the {objective} is {:.3}", ours.scores()?[0]);
    for (site, state) in ours.values() {
        let width = state.dims()[2];
        let (ours, theirs) = (state.to_values()?, theirs.get(site)?.to_values()?);
        let last = ours[ours.len() - width..].iter().zip(&theirs[theirs.len() - width..]);
        let difference: Vec<f32> = last.map(|(a, b)| a - b).collect();
        let direction = kernel::Direction::of(&difference).context("two questions, one state")?;
        let plan = Plan::new().edit(site, move |x| kernel::without(site, x, &direction))?;
        let trace = subject.run(&inputs, plan.grad("text.input")?.objective(&objective))?;
        let gradient = trace.grad("text.input".parse()?)?.to_values()?;
        let size = gradient.iter().map(|x| x * x).sum::<f32>().sqrt();
        println!("  without what tells them apart at {site}: {:.3}, gradient {size:.3}", trace.scores()?[0]);
    }
    Ok(())
}
