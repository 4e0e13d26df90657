//! Runs every method on every kind of checkpoint and writes what came of it to `docs/matrix.md`.
//!
//! ```text
//! cargo run --release --example method_matrix [-- METHOD...]
//! ```
//!
//! With methods named it prints their rows, and how long each took, and writes nothing.

#![allow(clippy::print_stdout, reason = "a program prints")]

mod matrix;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use mmlens::files::write;
use mmlens::{FITS, METHODS};

fn main() -> Result<()> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let checkpoints = matrix::checkpoints(&folder)?;
    if named.is_empty() {
        let table = matrix::matrix(&checkpoints)?;
        write(folder.join("docs/matrix.md"), &table)?;
        println!("{table}");
        return Ok(());
    }
    let mut shown = 0;
    let is = |id: &str, short: &str| named.iter().any(|name| name == id || name == short);
    for checkpoint in &checkpoints {
        for method in METHODS.iter().filter(|method| is(method.card.id, method.card.short)) {
            let before = Instant::now();
            let found = checkpoint.runs(method);
            println!(
                "{:22} {:18} {:6.2} s  {found:?}",
                method.card.id,
                checkpoint.name,
                before.elapsed().as_secs_f64()
            );
            shown += 1;
        }
        for fit in FITS.iter().filter(|fit| is(fit.card.id, fit.card.short)) {
            let before = Instant::now();
            let found = checkpoint.learns(fit);
            println!(
                "{:22} {:18} {:6.2} s  {found:?}",
                fit.card.id,
                checkpoint.name,
                before.elapsed().as_secs_f64()
            );
            shown += 1;
        }
    }
    ensure!(shown > 0, "no method is called so");
    Ok(())
}
