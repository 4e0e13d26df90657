//! Pictures for the docs: some of one size beside one another, and maps over a scene.

use std::io::Cursor;

use anyhow::{Context, Result};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, RgbImage, imageops};
use mmlens::finding::Labelled;
use mmlens::report::{OverlaySettings, Picture, overlay};

/// A table over a scene.
pub(crate) fn over(scene: &RgbImage, table: &Labelled) -> Result<RgbImage> {
    let picture = Picture::from_rgb("scene", scene)?;
    let drawn = overlay(&picture, std::slice::from_ref(table), OverlaySettings::default())?;
    Ok(DynamicImage::ImageRgba8(drawn).into_rgb8())
}

/// Panels of one size in rows of so many, each so many times as large, as a PNG file.
pub(crate) fn png(panels: &[RgbImage], columns: usize, grown: u32) -> Result<Vec<u8>> {
    let (width, height) = panels.first().context("a panel")?.dimensions();
    let (wide, high) = (width * grown, height * grown);
    let rows = panels.len().div_ceil(columns);
    let mut canvas = RgbImage::new(wide * columns.min(panels.len()) as u32, high * rows as u32);
    for (at, panel) in panels.iter().enumerate() {
        let large = imageops::resize(panel, wide, high, imageops::FilterType::Nearest);
        let (column, row) = ((at % columns) as u32, (at / columns) as u32);
        imageops::replace(&mut canvas, &large, i64::from(wide * column), i64::from(high * row));
    }
    let mut bytes = Cursor::new(Vec::new());
    canvas.write_with_encoder(PngEncoder::new_with_quality(
        &mut bytes,
        CompressionType::Best,
        FilterType::Adaptive,
    ))?;
    Ok(bytes.into_inner())
}
