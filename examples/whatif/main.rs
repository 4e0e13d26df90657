//! What if an object were not there? A session hides the objects of a scene one after the other, and asks again.
//!
//! ```text
//! cargo run --release --example whatif
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

mod tour;

use anyhow::Result;
use mmlens::core::burn::tensor::Device;
use mmlens::zoo::shipped;

fn main() -> Result<()> {
    let (subject, tour) = (shipped::shapes(&Device::default())?, tour::first()?);
    println!("{} ({}; about object {})\n", tour.question, tour.answer, tour.asked);
    for row in tour.without(&subject)? {
        println!(
            "{:24} {:10} log-probability {:8.3}   divergence {:7.3}",
            row.what, row.answer, row.log_probability, row.divergence
        );
    }
    Ok(())
}
