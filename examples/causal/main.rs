//! What pictures and words do to answers of the built-in model, by themselves and together, and through which heads.
//!
//! ```text
//! cargo run --release --example causal [-- --cases 40]
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

#[expect(dead_code, reason = "its test looks at more of it")]
mod causes;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Questions of each kind.
    #[arg(long, default_value_t = 40)]
    cases: usize,
}

fn main() -> Result<()> {
    print!("{}", causes::causes(Args::parse().cases)?.text);
    Ok(())
}
