//! A heat map drawn over the original picture, at its original resolution.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use mmlens_finding::{Labelled, Unit};

use crate::colour::{Ground, colour};
use crate::heat::Heat;
use crate::maps::{Drawn, Map};
use crate::scale::Scale;
use crate::{Picture, ReportError};

/// What a cell without a number looks like.
const MISSING: [u8; 4] = [128, 128, 128, 160];

/// How much of a picture in grey is left: the rest is white.
const KEPT: f32 = 0.6;

/// Which picture is drawn on, and how strongly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlaySettings {
    /// Which image of the input the picture is. Default: 0.
    pub image: usize,
    /// Which frame of it. Default: 0.
    pub frame: usize,
    /// How much of the picture the strongest colour hides, 0 to 1. Default: 0.65.
    pub opacity: f32,
    /// Whether the picture beneath is drawn in pale grey, so that every colour is a value. Default: true.
    pub grey: bool,
}

impl Default for OverlaySettings {
    fn default() -> Self {
        Self { image: 0, frame: 0, opacity: 0.65, grey: true }
    }
}

/// What is drawn of some tables on one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct OnPicture {
    /// `x0, y0, x1, y1` in pixels of the original picture, and the number that stands there. No place lies on another.
    pub places: Vec<([f32; 4], f32)>,
    /// What lies on no part of the picture, but on what a processor put around it: with the numbers of all places it is the sum of
    /// what the tables hold for this picture. Zero for numbers that do not add up, such as probabilities.
    pub outside: f64,
}

/// What the tables of one map have on a picture of this width and height, given by the numbers of image and frame. Where
/// the labels say that they lie there: no name is looked at.
///
/// Of one table whose places do not overlap, these are its places and numbers. Where tiles overlap, or several tables lie on
/// the picture, the picture is cut into equal cells: contributions and shares lie evenly on their boxes and add up where boxes
/// overlap, so that the sum stays what it was; of numbers that do not add up (probabilities, cosines, ranks, activations) a
/// cell has the mean.
///
/// # Errors
/// [`ReportError::NoPlaces`], [`ReportError::ManyMaps`], [`ReportError::Apart`], [`ReportError::OtherPicture`].
pub fn on_picture(
    tables: impl AsRef<[Labelled]>,
    place: (usize, usize),
    size: (u32, u32),
) -> Result<OnPicture, ReportError> {
    let drawn = drawn(tables.as_ref(), place, size)?;
    let numbers = drawn.numbers().into_iter().next().unwrap_or_default();
    let places = drawn.cells.each(&drawn.table, &drawn.axes).into_iter().map(|(bbox, _)| bbox);
    Ok(OnPicture { places: places.zip(numbers).collect(), outside: drawn.outside })
}

/// Draws what the tables of one map have on a picture ([`on_picture`]): a table, or one for each tile. A pixel has the mean of
/// the places on it, each counted by how much of the pixel it covers. Each table needs an axis of patches, of tokens with
/// patches, or rows and columns with spans, and no other.
///
/// # Errors
/// As [`on_picture`], and [`ReportError::Picture`].
pub fn overlay(
    picture: &Picture,
    tables: impl AsRef<[Labelled]>,
    settings: OverlaySettings,
) -> Result<RgbaImage, ReportError> {
    let place = (settings.image, settings.frame);
    let OnPicture { places, .. } = on_picture(tables.as_ref(), place, picture.dimensions())?;
    let mut canvas = DynamicImage::ImageRgb8(picture.pixels()?);
    if settings.grey {
        let mut grey = canvas.into_luma8();
        grey.iter_mut().for_each(|light| *light = blend(255, *light, KEPT));
        canvas = DynamicImage::ImageLuma8(grey);
    }
    let mut canvas = canvas.into_rgba8();
    let unit = tables.as_ref().first().map_or(Unit::None, Labelled::unit);
    let scale = Scale::of_maps(unit, &[places.iter().map(|(_, value)| *value).collect()]);
    fill(&mut canvas, places, &|value| {
        let [r, g, b, a] = scale.place(value).map_or(MISSING, |at| colour(Ground::Picture, scale.signed, at));
        ([r, g, b], f32::from(a) / 255.0 * settings.opacity.clamp(0.0, 1.0))
    });
    Ok(canvas)
}

/// [`overlay`] as the bytes of a PNG file.
///
/// # Errors
/// As [`overlay`].
pub fn overlay_png(
    picture: &Picture,
    tables: impl AsRef<[Labelled]>,
    settings: OverlaySettings,
) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    overlay(picture, tables, settings)?
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .map_err(|source| ReportError::Picture { picture: picture.name().to_owned(), source })?;
    Ok(bytes)
}

/// What some tables, each of one heat map and no more, have on a picture.
fn drawn(
    tables: &[Labelled],
    (image, frame): (usize, usize),
    size: (u32, u32),
) -> Result<Drawn<'_>, ReportError> {
    let heats = tables.iter().map(single).collect::<Result<Vec<_>, _>>()?;
    let first = tables.first();
    let name = || first.map_or_else(|| "none".to_owned(), |table| table.name().to_owned());
    if let Some((first, other)) =
        first.and_then(|first| Some((first, tables.iter().find(|table| table.unit() != first.unit())?)))
    {
        let (table, found, unit) = (other.name().to_owned(), other.unit().name(), first.unit().name());
        return Err(ReportError::Apart { table, found, first: name(), unit });
    }
    // Whatever they are called, the caller says that they are one map.
    let map = Map::of(tables.iter().zip(heats));
    let have = map.as_ref().map_or_else(Vec::new, Map::images);
    let drawn = map.map(|map| map.on((image, frame), size, MOST_CELLS)).transpose()?.flatten();
    drawn.ok_or_else(|| ReportError::OtherPicture { table: name(), image, frame, have })
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

/// A map that is put together gets no more cells than these: finer ones nobody could see.
const MOST_CELLS: usize = 1 << 22;

/// Less than this much of a pixel is a seam.
const SEAM: f64 = 1e-3;

/// Paints every pixel that some place lies on, row by row. Where no number lies, it is painted as one that is missing.
fn fill(canvas: &mut RgbaImage, mut places: Vec<([f32; 4], f32)>, paint: &dyn Fn(f32) -> ([u8; 3], f32)) {
    places.sort_by(|a, b| a.0[1].total_cmp(&b.0[1]));
    let width = canvas.width() as usize;
    let mut next = places.into_iter().peekable();
    let mut here: Vec<([f32; 4], f32)> = Vec::new();
    for (y, line) in canvas.rows_mut().enumerate() {
        let (top, bottom) = (y as f64, (y + 1) as f64);
        while let Some(place) = next.next_if(|([_, y0, ..], _)| f64::from(*y0) < bottom) {
            here.push(place);
        }
        here.retain(|([.., y1], _)| f64::from(*y1) > top);
        // For each pixel: covered by numbers, their sum, and covered by what is no number.
        let mut covered = vec![(0.0_f64, 0.0_f64, 0.0_f64); width];
        for &([x0, y0, x1, y1], value) in &here {
            let down = f64::from(y1).min(bottom) - f64::from(y0).max(top);
            let (from, to) = (f64::from(x0).max(0.0), f64::from(x1).min(width as f64));
            for (x, (numbers, sum, missing)) in covered.iter_mut().enumerate().skip(whole(from)) {
                let across = to.min((x + 1) as f64) - from.max(x as f64);
                if across <= 0.0 {
                    break;
                }
                let share = down * across;
                if value.is_nan() {
                    *missing += share;
                } else {
                    *numbers += share;
                    *sum += share * f64::from(value);
                }
            }
        }
        for (Rgba(pixel), (numbers, sum, missing)) in line.zip(covered) {
            let value = match (numbers > SEAM, missing > SEAM) {
                (true, _) => (sum / numbers) as f32,
                (false, true) => f32::NAN,
                (false, false) => continue,
            };
            let (colour, alpha) = paint(value);
            for (under, over) in pixel.iter_mut().zip(colour) {
                *under = blend(*under, over, alpha);
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place on the picture")]
fn whole(x: f64) -> usize {
    x as usize
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mix of two bytes is a byte")]
fn blend(under: u8, over: u8, alpha: f32) -> u8 {
    (f32::from(under) * (1.0 - alpha) + f32::from(over) * alpha).round() as u8
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use mmlens_finding::{Axis, Labelled, PatchLabel, Role, Unit};

    use super::{OverlaySettings, on_picture, overlay, overlay_png};
    use crate::Picture;

    const IN_COLOUR: OverlaySettings = OverlaySettings { image: 0, frame: 0, opacity: 0.65, grey: false };

    fn grey(width: u32, height: u32) -> Picture {
        Picture::from_rgb("grey", &RgbImage::from_pixel(width, height, Rgb([100, 100, 100]))).unwrap()
    }

    fn spans(role: Role, edges: &[f32]) -> Axis {
        Axis::spans(role, 0, edges.windows(2).map(|w| [w[0], w[1]]).collect())
    }

    /// The places of a map, each with its number.
    fn places(tables: &[Labelled]) -> Vec<([f32; 4], f32)> {
        on_picture(tables, (0, 0), (6, 4)).unwrap().places
    }

    fn sum(places: &[([f32; 4], f32)]) -> f64 {
        places.iter().map(|(_, value)| f64::from(*value)).sum()
    }

    #[test]
    fn a_pixel_has_the_mean_of_what_covers_it() {
        // columns 0–2.25 | 2.25–6: a quarter of pixel 2 belongs to the first
        let axes = || vec![spans(Role::Row, &[0.0, 4.0]), spans(Role::Column, &[0.0, 2.25, 6.0])];
        let draw = |values| {
            let table = Labelled::numbers("m", Unit::Logit, axes(), values).unwrap();
            overlay(&grey(6, 4), &table, OverlaySettings { opacity: 1.0, ..IN_COLOUR }).unwrap()
        };
        let (mixed, plain) = (draw(vec![-1.0, 1.0]), draw(vec![1.0, 0.5]));
        // 0.25 * -1 + 0.75 * 1, of a largest magnitude of 1 as in the other picture
        assert_eq!(mixed.dimensions(), (6, 4));
        for y in 0..4 {
            let row: Vec<[u8; 4]> = (0..6).map(|x| mixed.get_pixel(x, y).0).collect();
            assert!(row[0] == row[1] && row[3] == row[5] && row[0][2] > row[0][0] && row[3][0] > row[3][2]);
            assert!(row[2] != row[1] && row[2] != row[3], "{row:?}");
        }
        let half = Labelled::numbers("m", Unit::Logit, axes(), vec![-1.0, 0.5]).unwrap();
        let half = overlay(&grey(6, 4), &half, OverlaySettings { opacity: 1.0, ..IN_COLOUR }).unwrap();
        assert_eq!(half.get_pixel(4, 0), mixed.get_pixel(2, 0), "half of the largest");
        assert_ne!(plain.get_pixel(0, 0), plain.get_pixel(5, 0));
    }

    #[test]
    fn tiles_and_the_whole_add_up_on_equal_cells() {
        // a picture of 6 x 4 as two tiles of 3 x 4 in two patches each, and the whole in one patch: as one table
        let patch = |tile, [x0, y0, x1, y1]: [f32; 4]| PatchLabel {
            image: 0,
            tile,
            frame: 0,
            row: 0,
            col: 0,
            bbox: [x0, y0, x1, y1],
        };
        let whole = [patch(0, [0.0, 0.0, 6.0, 4.0])];
        let tiles = [
            patch(1, [0.0, 0.0, 3.0, 2.0]),
            patch(1, [0.0, 2.0, 3.0, 4.0]),
            patch(2, [3.0, 0.0, 6.0, 2.0]),
            patch(2, [3.0, 2.0, 6.0, 4.0]),
        ];
        let of = |patches: &[PatchLabel], values: &[f32]| {
            Labelled::numbers("m", Unit::Logit, vec![Axis::patches(patches.to_vec())], values.to_vec())
                .unwrap()
        };
        let all = of(&[&whole[..], &tiles[..]].concat(), &[8.0, 1.0, -2.0, 0.5, 0.0]);
        let drawn = places(std::slice::from_ref(&all));
        // a quarter of the whole, and the tile's own, on each quarter
        let expected = [
            ([0.0, 0.0, 3.0, 2.0], 3.0),
            ([3.0, 0.0, 6.0, 2.0], 2.5),
            ([0.0, 2.0, 3.0, 4.0], 0.0),
            ([3.0, 2.0, 6.0, 4.0], 2.0),
        ];
        assert_eq!((drawn.clone(), sum(&drawn)), (expected.to_vec(), 7.5));
        // the same in three tables, in any order
        let apart = [of(&tiles[2..], &[0.5, 0.0]), of(&whole, &[8.0]), of(&tiles[..2], &[1.0, -2.0])];
        assert_eq!(places(&apart), expected);
        // probabilities do not add up: the mean of the two that lie on a place
        let likely =
            Labelled::numbers("p", Unit::Probability, all.axes().to_vec(), vec![0.8, 0.2, 0.4, 0.0, 0.8])
                .unwrap();
        let found: Vec<f32> = places(&[likely]).iter().map(|(_, value)| *value).collect();
        let wanted = [0.5, 0.4, 0.6, 0.8];
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        let other = of(&tiles[..1], &[1.0]).renamed("n");
        let mixed = [likely_of(&other), other];
        assert_eq!(
            on_picture(&mixed, (0, 0), (6, 4)).unwrap_err().to_string(),
            "table `n` is in logit, `n` in probability: they are not one map"
        );
    }

    fn likely_of(table: &Labelled) -> Labelled {
        let values = table.as_numbers().unwrap().to_vec();
        Labelled::numbers(table.name(), Unit::Probability, table.axes().to_vec(), values).unwrap()
    }

    #[test]
    fn what_lies_on_padding_is_told_and_the_rest_keeps_its_sum() {
        // uneven tiles that leave no whole number of cells, one patch of the second on padding
        let patch = |tile, bbox| PatchLabel { image: 0, tile, frame: 0, row: 0, col: 0, bbox };
        let patches = vec![
            patch(0, [0.0, 0.0, 6.0, 4.0]),
            patch(1, [0.0, 0.3, 1.7, 2.9]),
            patch(1, [1.7, 0.3, 4.1, 2.9]),
            patch(1, [4.1, 4.0, 6.0, 4.0]),
        ];
        let values = vec![0.3, 2.0, -1.1, 5.0];
        let table = Labelled::numbers("m", Unit::Ratio, vec![Axis::patches(patches)], values).unwrap();
        let drawn = on_picture(&table, (0, 0), (6, 4)).unwrap();
        assert!((sum(&drawn.places) - 1.2).abs() < 1e-6, "{drawn:?}");
        assert_eq!(drawn.outside, 5.0);
        // cells share no place and leave none of the picture out
        let area: f32 = drawn.places.iter().map(|([x0, y0, x1, y1], _)| (x1 - x0) * (y1 - y0)).sum();
        assert!((area - 24.0).abs() < 1e-4, "{area}");
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
