//! The room of layers on one question to the built-in model: what acts, what carries, and from when on the answer can be read.
//!
//! ```text
//! cargo run --release --example layers [-- FOLDER]
//! ```
//!
//! With a folder it also writes the pictures of `docs/layer.md` there.

#![allow(clippy::print_stdout, reason = "a program prints")]

#[expect(dead_code, reason = "its test looks at more of it")]
mod rooms;

use std::path::PathBuf;

use anyhow::Result;
use mmlens::files::write;

fn main() -> Result<()> {
    let rooms = rooms::rooms()?;
    print!("{}", rooms.text);
    if let Some(folder) = std::env::args().nth(1).map(PathBuf::from) {
        for (name, bytes) in &rooms.pictures {
            write(folder.join(name), bytes)?;
            println!("{}", folder.join(name).display());
        }
    }
    Ok(())
}
