//! A heat map drawn over the original picture, at its original resolution.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use mmlens_finding::Labelled;

use crate::colour::{Ground, colour};
use crate::heat::{Cells, Heat};
use crate::scale::Scale;
use crate::{Picture, ReportError};

/// What a cell without a number looks like.
const MISSING: [u8; 4] = [128, 128, 128, 160];

/// How much of a picture in grey is left: the rest is white.
const KEPT: f32 = 0.6;

/// Which heat map of a table is drawn, and how strongly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlaySettings {
    /// Which image of the input the picture is. Default: 0.
    pub image: usize,
    /// Which frame of it. Default: 0.
    pub frame: usize,
    /// Which group, where tiles cover the picture more than once. Default: 0.
    pub group: usize,
    /// How much of the picture the strongest colour hides, 0 to 1. Default: 0.65.
    pub opacity: f32,
    /// Whether the picture beneath is drawn in pale grey, so that every colour is a value. Default: true.
    pub grey: bool,
}

impl Default for OverlaySettings {
    fn default() -> Self {
        Self { image: 0, frame: 0, group: 0, opacity: 0.65, grey: true }
    }
}

/// Draws a table over its picture. A pixel belongs to the cell that holds its centre; the table needs an axis of
/// patches, of tokens with patches, or rows and columns with spans, and no other.
///
/// # Errors
/// [`ReportError::NoPlaces`], [`ReportError::ManyMaps`], [`ReportError::OtherPicture`], [`ReportError::Picture`].
pub fn overlay(
    picture: &Picture,
    table: &Labelled,
    settings: OverlaySettings,
) -> Result<RgbaImage, ReportError> {
    let mut canvas = DynamicImage::ImageRgb8(picture.pixels()?);
    if settings.grey {
        let mut grey = canvas.into_luma8();
        grey.iter_mut().for_each(|light| *light = blend(255, *light, KEPT));
        canvas = DynamicImage::ImageLuma8(grey);
    }
    let mut canvas = canvas.into_rgba8();
    let heat = single(table)?;
    let here = (settings.image, settings.frame);
    let (group, layer) = heat
        .groups
        .get(settings.group)
        .and_then(|group| Some((group, group.layers.iter().find(|l| (l.image, l.frame) == here)?)))
        .ok_or_else(|| ReportError::OtherPicture {
            table: table.name().to_owned(),
            image: settings.image,
            frame: settings.frame,
            have: heat.images(),
        })?;
    let numbers = table.as_numbers().unwrap_or_default();
    let scale = Scale::of_maps(table.unit(), &group.maps(table, &heat.axes));
    let mut cell = |value: f32, bbox: [f32; 4]| {
        let paint = scale.place(value).map_or(MISSING, |at| colour(Ground::Picture, scale.signed, at));
        fill(&mut canvas, bbox, paint, settings.opacity);
    };
    match &layer.cells {
        Cells::Boxes(boxes) => {
            for (position, bbox) in boxes {
                cell(numbers.get(*position).copied().unwrap_or(f32::NAN), *bbox);
            }
        }
        Cells::Grid { rows, columns } => {
            let row_first = heat.axes.first() < heat.axes.last();
            for (r, [y0, y1]) in rows.iter().enumerate() {
                for (c, [x0, x1]) in columns.iter().enumerate() {
                    let index = if row_first { [r, c] } else { [c, r] };
                    cell(table.get(&index).unwrap_or(f32::NAN), [*x0, *y0, *x1, *y1]);
                }
            }
        }
    }
    Ok(canvas)
}

/// [`overlay`] as the bytes of a PNG file.
///
/// # Errors
/// As [`overlay`].
pub fn overlay_png(
    picture: &Picture,
    table: &Labelled,
    settings: OverlaySettings,
) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    overlay(picture, table, settings)?
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .map_err(|source| ReportError::Picture { picture: picture.name().to_owned(), source })?;
    Ok(bytes)
}

/// The places of a table that has one heat map and no more.
fn single(table: &Labelled) -> Result<Heat, ReportError> {
    let list = |keep: &dyn Fn(usize) -> bool| {
        let axes = table.axes().iter().enumerate().filter(|(i, _)| keep(*i));
        axes.map(|(_, axis)| axis.to_string()).collect::<Vec<_>>()
    };
    let name = || table.name().to_owned();
    let heat =
        Heat::of(table).ok_or_else(|| ReportError::NoPlaces { table: name(), axes: list(&|_| true) })?;
    if table.rank() == heat.axes.len() {
        return Ok(heat);
    }
    Err(ReportError::ManyMaps { table: name(), axes: list(&|i| !heat.axes.contains(&i)) })
}

/// Paints the pixels whose centres lie in the box.
fn fill(canvas: &mut RgbaImage, [x0, y0, x1, y1]: [f32; 4], [r, g, b, a]: [u8; 4], opacity: f32) {
    let alpha = f32::from(a) / 255.0 * opacity.clamp(0.0, 1.0);
    let (width, height) = canvas.dimensions();
    for y in first(y0, height)..first(y1, height) {
        for x in first(x0, width)..first(x1, width) {
            if let Some(Rgba(pixel)) = canvas.get_pixel_mut_checked(x, y) {
                for (under, over) in pixel.iter_mut().zip([r, g, b]) {
                    *under = blend(*under, over, alpha);
                }
            }
        }
    }
}

/// First pixel whose centre lies at or after `edge`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the size of the picture"
)]
fn first(edge: f32, size: u32) -> u32 {
    f64::from(edge - 0.5).ceil().clamp(0.0, f64::from(size)) as u32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mix of two bytes is a byte")]
fn blend(under: u8, over: u8, alpha: f32) -> u8 {
    (f32::from(under) * (1.0 - alpha) + f32::from(over) * alpha).round() as u8
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, Rgba};
    use mmlens_finding::{Axis, Labelled, PatchLabel, Role, Unit};

    use super::{OverlaySettings, overlay, overlay_png};
    use crate::Picture;

    const IN_COLOUR: OverlaySettings =
        OverlaySettings { image: 0, frame: 0, group: 0, opacity: 0.65, grey: false };

    fn grey(width: u32, height: u32) -> Picture {
        Picture::from_rgb("grey", &RgbImage::from_pixel(width, height, Rgb([100, 100, 100]))).unwrap()
    }

    fn spans(role: Role, edges: &[f32]) -> Axis {
        Axis::spans(role, 0, edges.windows(2).map(|w| [w[0], w[1]]).collect())
    }

    #[test]
    fn cells_cover_the_pixels_whose_centres_they_hold() {
        // columns 0–2.4 | 2.4–6: the centre of pixel 2 is 2.5 and belongs to the second
        let axes = vec![spans(Role::Row, &[0.0, 1.0, 4.0]), spans(Role::Column, &[0.0, 2.4, 6.0])];
        let table = Labelled::numbers("m", Unit::Logit, axes, vec![0.0, 1.0, -1.0, 0.0]).unwrap();
        let picture = overlay(&grey(6, 4), &table, IN_COLOUR).unwrap();
        assert_eq!(picture.dimensions(), (6, 4));
        let untouched = Rgba([100, 100, 100, 255]);
        for (x, y, pixel) in picture.enumerate_pixels() {
            let zero = (y == 0) == (x < 2);
            assert_eq!(*pixel == untouched, zero, "{x} {y} {pixel:?}");
            if !zero {
                assert_eq!(
                    pixel.0[0] > pixel.0[2],
                    y == 0,
                    "positive is red, negative blue: {x} {y} {pixel:?}"
                );
            }
        }
    }

    #[test]
    fn patches_lie_where_their_boxes_say() {
        let patch = |col: usize, bbox| PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col, bbox };
        // the second box hangs over the edge of the picture
        let patches = vec![patch(0, [0.0, 0.0, 2.0, 2.0]), patch(1, [4.0, 2.0, 9.0, 9.0])];
        let table =
            Labelled::numbers("m", Unit::Logit, vec![Axis::patches(patches)], vec![1.0, -1.0]).unwrap();
        let picture = overlay(&grey(6, 4), &table, IN_COLOUR).unwrap();
        let touched: Vec<(u32, u32)> = picture
            .enumerate_pixels()
            .filter(|(_, _, p)| p.0 != [100, 100, 100, 255])
            .map(|(x, y, _)| (x, y))
            .collect();
        assert_eq!(touched, [(0, 0), (1, 0), (0, 1), (1, 1), (4, 2), (5, 2), (4, 3), (5, 3)]);
    }

    #[test]
    fn nan_is_grey_and_a_constant_is_drawn() {
        let axes = || vec![spans(Role::Row, &[0.0, 1.0]), spans(Role::Column, &[0.0, 1.0, 2.0])];
        let draw = |values| {
            let table = Labelled::numbers("m", Unit::Ratio, axes(), values).unwrap();
            overlay(&grey(2, 1), &table, OverlaySettings { opacity: 1.0, ..Default::default() }).unwrap()
        };
        let nan = draw(vec![f32::NAN, f32::NAN]).get_pixel(0, 0).0;
        assert!(nan[0] == nan[1] && nan[1] == nan[2] && nan[0] != 100, "{nan:?}");
        let constant = draw(vec![0.5, 0.5]);
        assert_eq!(constant.get_pixel(0, 0), constant.get_pixel(1, 0));
    }

    #[test]
    fn the_picture_may_keep_its_colours() {
        let red = Picture::from_rgb("red", &RgbImage::from_pixel(1, 1, Rgb([200, 0, 0]))).unwrap();
        let axes = vec![spans(Role::Row, &[0.0, 1.0]), spans(Role::Column, &[0.0, 1.0])];
        let table = Labelled::numbers("m", Unit::Logit, axes, vec![0.0]).unwrap();
        let draw = |grey| {
            let settings = OverlaySettings { grey, opacity: 0.0, ..Default::default() };
            overlay(&red, &table, settings).unwrap().get_pixel(0, 0).0
        };
        assert_eq!(draw(false), [200, 0, 0, 255]);
        // luma of Rec. 709: 0.2126 * 200 = 42.5; pale: 255 - 0.6 * (255 - 42.5) = 127.5
        let [r, g, b, _] = draw(true);
        assert!(r == g && g == b && (127..=128).contains(&r), "{r} {g} {b}");
    }

    #[test]
    fn columns_before_rows_are_not_mirrored() {
        let axes = vec![spans(Role::Column, &[0.0, 1.0, 2.0]), spans(Role::Row, &[0.0, 1.0, 2.0])];
        // [column, row]: only column 1, row 0 is set
        let table = Labelled::numbers("m", Unit::Logit, axes, vec![0.0, 0.0, -1.0, 0.0]).unwrap();
        let picture = overlay(&grey(2, 2), &table, IN_COLOUR).unwrap();
        assert_ne!(picture.get_pixel(1, 0).0, [100, 100, 100, 255]);
        assert_eq!(picture.get_pixel(0, 1).0, [100, 100, 100, 255]);
    }

    #[test]
    fn tables_without_a_place_or_with_too_many_are_refused() {
        let refuse = |table: &Labelled| {
            overlay_png(&grey(2, 2), table, OverlaySettings::default()).unwrap_err().to_string()
        };
        let heads =
            Labelled::numbers("h", Unit::Ratio, vec![Axis::count(Role::Head, 2)], vec![0.0; 2]).unwrap();
        assert_eq!(
            refuse(&heads),
            "table `h` has axes [\"head[2]\"]; a heat map needs row and column spans, patches, or tokens with patches"
        );
        let axes = vec![
            Axis::count(Role::Layer, 1),
            spans(Role::Row, &[0.0, 1.0]),
            spans(Role::Column, &[0.0, 1.0]),
        ];
        let layers = Labelled::numbers("l", Unit::Ratio, axes, vec![0.0]).unwrap();
        assert_eq!(
            refuse(&layers),
            "table `l` has a heat map for every position of [\"layer[1]\"]; slice it down to one"
        );
        let one = layers.slice(0, 0).unwrap();
        let settings = OverlaySettings { image: 3, ..Default::default() };
        assert_eq!(
            overlay(&grey(2, 2), &one, settings).unwrap_err().to_string(),
            "table `l` has nothing on image 3, frame 0; it lies on images [0]"
        );
        assert!(overlay_png(&grey(2, 2), &one, OverlaySettings::default()).unwrap().starts_with(b"\x89PNG"));
    }
}
