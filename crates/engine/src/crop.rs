//! Squares cut out of pictures.

use image::DynamicImage;

/// A square of a picture around a box (`x0, y0, x1, y1` in its pixels), as `[side, side, 3]` values from 0 to 255.
///
/// The square is three times as wide as the longer side of the box, and no wider than the shorter side of the picture; its centre is that
/// of the box, moved as far as it takes to lie within the picture. Each of its cells takes the pixel in which its own centre lies.
pub fn crop(picture: &DynamicImage, bbox: [f32; 4], side: usize) -> Vec<f32> {
    let (width, height) = (picture.width(), picture.height());
    let pixels = picture.to_rgb8();
    let [x0, y0, x1, y1] = bbox.map(f64::from);
    let shorter = f64::from(width.min(height));
    let wide = (3.0 * f64::max(x1 - x0, y1 - y0)).min(shorter); // no NaN: boxes on a picture
    let from = |low: f64, high: f64, length: u32| {
        ((low + high - wide) / 2.0).clamp(0.0, f64::from(length) - wide) // no NaN: boxes on a picture
    };
    let (left, top) = (from(x0, x1, width), from(y0, y1, height));
    let cell = |at: usize, from: f64, length: u32| {
        let place = from + (at as f64 + 0.5) * wide / side as f64;
        (place.floor() as u32).min(length.saturating_sub(1))
    };
    let mut values = Vec::with_capacity(side * side * 3);
    for row in 0..side {
        for column in 0..side {
            let pixel = pixels.get_pixel(cell(column, left, width), cell(row, top, height));
            values.extend(pixel.0.map(f32::from));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, Rgb, RgbImage};

    use super::crop;

    /// Every pixel says where it is.
    fn picture(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 9])).into()
    }

    #[test]
    fn a_crop_lies_around_its_box_and_within_the_picture() {
        // the box 4..6 x 4..6: a square of 6, from 2 to 8
        let found = crop(&picture(20, 10), [4.0, 4.0, 6.0, 6.0], 6);
        assert_eq!((found[0], found[1], found[2]), (2.0, 2.0, 9.0));
        assert_eq!((found[(5 * 6 + 3) * 3], found[(5 * 6 + 3) * 3 + 1]), (5.0, 7.0));
        // at the edge it is moved inside: from 14 to 20 and from 0 to 6
        let found = crop(&picture(20, 10), [18.0, 0.0, 20.0, 2.0], 3);
        assert_eq!((found[0], found[1]), (15.0, 1.0));
        // a box as large as the picture: the shorter side
        let found = crop(&picture(20, 10), [0.0, 0.0, 20.0, 10.0], 2);
        assert_eq!((found[0], found[1]), (7.0, 2.0));
    }
}
