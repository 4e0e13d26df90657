//! What the program writes: results to standard output, errors to standard error.
#![allow(clippy::print_stderr, reason = "the one place where errors are printed")]

use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Result;
use console::Term;
use serde::Serialize;
use serde_json::json;

/// Writes a line of results. Where nobody reads them any more they go nowhere, and the command goes on: what it decides and
/// writes to disk does not depend on its reader.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<()> {
    ended(writeln!(io::stdout().lock(), "{text}"))
}

/// Writes results for machines, piece by piece.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from);
    ended(written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

/// Writes results to standard output in a way of their own, piece by piece.
pub(crate) fn pieces(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    ended(write(&mut out).and_then(|()| out.flush()))
}

/// What was written; where nobody reads it any more it goes nowhere.
fn ended(written: io::Result<()>) -> Result<()> {
    match written {
        Err(closed) if closed.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// How many columns the terminal has that results are shown on; nothing, if they go elsewhere.
pub(crate) fn columns_of_terminal() -> Option<usize> {
    Term::stdout().size_checked().map(|(_, columns)| columns.into())
}

/// Tells that a case of many failed: to standard error, or for machines on a line of its own.
pub(crate) fn failed_case(name: &str, error: &anyhow::Error, json: bool) -> Result<()> {
    let reason = chain(error);
    match json {
        true => json_line(&json!({ "case": name, "error": reason })),
        false => {
            note(&format!("{}: {reason}", visible(name)));
            Ok(())
        }
    }
}

/// Writes results for machines, on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value)?)
}

/// Writes lines of columns, each as wide as its widest cell; the last column is not padded.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> Result<()> {
    let wide = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(wide).collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, wide)| cell.clone() + &" ".repeat(wide - width(cell)))
            .collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Characters of a cell.
pub(crate) fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// Says something beside the results.
pub(crate) fn note(text: &str) {
    eprintln!("note: {text}");
}

/// Says why the program ends.
pub(crate) fn error(text: &str) {
    eprintln!("error: {text}");
}

/// An error with its causes, those left out that the text before them repeats anyway.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    visible(&text)
}

/// A text without characters that would steer the terminal; lines stay lines.
pub(crate) fn visible(text: &str) -> String {
    let show =
        |c: char| if c == '\n' || !c.is_control() { c.to_string() } else { c.escape_default().to_string() };
    text.chars().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_not_said_twice() {
        let io = io::Error::new(ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::new(io).context("a.png: no such file").context("cannot open");
        assert_eq!(chain(&error), "cannot open: a.png: no such file");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\nc");
    }
}
