//! What tests of many crates write again and again: a picture, the numbers of a table, the kinds of cautions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::Picture;
use mmlens_core::finding::{CautionKind, Finding, Labelled};

/// A picture of 8 x 8 pixels that depends on a number.
#[must_use]
pub fn painted(seed: u32) -> Picture {
    let colour =
        |x: u32, y: u32, channel: u32| ((x * 37 + y * 91 + channel * 53 + seed * 29) * 17 % 256) as u8;
    let image = RgbImage::from_fn(8, 8, |x, y| Rgb([0, 1, 2].map(|channel| colour(x, y, channel))));
    Picture::new("painted", DynamicImage::from(image))
}

/// The numbers of a table.
///
/// # Panics
/// Where there is no such table, or it holds texts.
#[must_use]
pub fn numbers<'a>(finding: &'a Finding, table: &str) -> &'a [f32] {
    finding.table(table).unwrap().as_numbers().unwrap()
}

/// A number of a table of two axes, by the names of its row and column.
///
/// # Panics
/// For a table without them.
#[must_use]
pub fn cell(table: &Labelled, row: &str, column: &str) -> f32 {
    let at = |axis: usize, name: &str| {
        let axis = &table.axes()[axis];
        (0..axis.len())
            .find(|i| axis.label(*i).as_deref() == Some(name))
            .unwrap_or_else(|| panic!("no {name}"))
    };
    table.get(&[at(0, row), at(1, column)]).unwrap()
}

/// The kinds of its cautions, in their order.
#[must_use]
pub fn kinds(finding: &Finding) -> Vec<CautionKind> {
    finding.cautions().iter().map(|caution| caution.kind).collect()
}
