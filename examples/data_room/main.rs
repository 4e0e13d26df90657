//! What goes in, and what comes out: what a model owes to the picture and what to the words, what one word or one object changes, and what its
//! answers say of places.
//!
//! ```text
//! cargo run --release --example data_room [-- --cases N] [--out FOLDER]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod room;

use anyhow::Result;
use clap::Parser;
use mmlens::core::burn::tensor::Device;
use mmlens::finding::Finding;
use mmlens::zoo::shipped;

#[derive(Parser)]
struct Args {
    /// Scenes of the test split.
    #[arg(long, default_value_t = 24)]
    cases: usize,
    /// Where the picture goes; none is drawn without it.
    #[arg(long)]
    out: Option<std::path::PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (clip, llava) = (shipped::shapes_clip(&Device::default())?, shipped::shapes(&Device::default())?);
    println!("Colour questions, with the pictures and the words of other cases:\n");
    told(&room::modalities(&llava, args.cases)?);
    println!("\nCaptions of scenes, and the same with one word exchanged:\n");
    told(&room::pairs(&clip, args.cases)?);
    println!("\nThe same question about a scene and about the scene with one object in another colour:\n");
    let recoloured = room::counterfactual(&llava)?;
    println!("{} ({})", recoloured.question, recoloured.edit);
    told(&recoloured.finding);
    println!("\nA text with a box, and the object that it names:\n");
    println!("{}", room::grounded()?);
    if let Some(out) = args.out {
        std::fs::create_dir_all(&out)?;
        mmlens::files::write(out.join("data-counterfactual.png"), recoloured.drawn)?;
    }
    Ok(())
}

fn told(finding: &Finding) {
    finding.sentences().iter().for_each(|sentence| println!("- {sentence}"));
}
