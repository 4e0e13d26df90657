//! Colour maps, computed in OKLCH so that equal steps of value look like equal steps.
//!
//! Signed values run from blue through the colour of the paper to vermilion, values of one sign from paper to deep
//! teal. On pictures, signed values leave the picture clear at zero, values of one sign run from dark violet to yellow.

/// Number of steps in a table of colours: odd, so that zero has one of its own.
pub(crate) const STEPS: usize = 257;

/// Hue of negative and of positive values.
const HUES: (f64, f64) = (256.0, 34.0);

/// Where a colour will lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// On a light page.
    Light,
    /// On a dark page.
    Dark,
    /// On a picture.
    Picture,
}

/// Red, green, blue and opacity of a value at `at` in `0..=1`, whose middle is zero if it is signed. The page and the
/// pictures use the same steps.
pub(crate) fn colour(ground: Ground, signed: bool, at: f64) -> [u8; 4] {
    let steps = (STEPS - 1) as f64;
    let at = (at.clamp(0.0, 1.0) * steps).round() / steps;
    let side = at.mul_add(2.0, -1.0);
    let (strength, hue) = (side.abs(), if side < 0.0 { HUES.0 } else { HUES.1 });
    let mix = |from: f64, to: f64, t: f64| (to - from).mul_add(t, from);
    match (ground, signed) {
        (Ground::Light, true) => opaque(mix(0.975, 0.50, strength), 0.19 * strength.powf(0.85), hue),
        (Ground::Dark, true) => opaque(mix(0.25, 0.72, strength), 0.16 * strength.powf(0.8), hue),
        (Ground::Light, false) => opaque(mix(0.975, 0.43, at), 0.105 * at.powf(0.7), mix(150.0, 205.0, at)),
        (Ground::Dark, false) => opaque(mix(0.25, 0.82, at), 0.115 * at.powf(0.7), mix(215.0, 165.0, at)),
        (Ground::Picture, true) => {
            let [r, g, b, _] = opaque(mix(0.62, 0.53, strength), 0.21, hue);
            [r, g, b, byte(strength.powf(0.8))]
        }
        (Ground::Picture, false) => {
            let chroma = 0.06 + 0.17 * (std::f64::consts::PI * at.powf(0.9)).sin().max(0.0) + 0.08 * at;
            opaque(mix(0.20, 0.93, at), chroma, (295.0 + 170.0 * at) % 360.0)
        }
    }
}

/// The whole map: four bytes for each step.
pub(crate) fn table(ground: Ground, signed: bool) -> Vec<u8> {
    (0..STEPS).flat_map(|i| colour(ground, signed, i as f64 / (STEPS - 1) as f64)).collect()
}

/// An opaque colour, with as much of the chroma as a screen can show.
fn opaque(lightness: f64, chroma: f64, hue: f64) -> [u8; 4] {
    let (mut least, mut most) = (0.0, chroma);
    if !shown(srgb(lightness, chroma, hue)) {
        for _ in 0..16 {
            let middle = f64::midpoint(least, most);
            if shown(srgb(lightness, middle, hue)) {
                least = middle;
            } else {
                most = middle;
            }
        }
        most = least;
    }
    let [r, g, b] = srgb(lightness, most, hue).map(|linear| byte(encoded(linear)));
    [r, g, b, 255]
}

fn shown(rgb: [f64; 3]) -> bool {
    rgb.iter().all(|channel| (-1e-6..=1.0 + 1e-6).contains(channel))
}

/// Linear sRGB of an OKLCH colour (Ottosson, "A perceptual color space for image processing", 2020).
fn srgb(lightness: f64, chroma: f64, hue: f64) -> [f64; 3] {
    let (sin, cos) = hue.to_radians().sin_cos();
    let (a, b) = (chroma * cos, chroma * sin);
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ]
}

/// The sRGB transfer curve (IEC 61966-2-1).
fn encoded(linear: f64) -> f64 {
    let linear = linear.clamp(0.0, 1.0);
    if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range of a byte")]
fn byte(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::{Ground, STEPS, colour, opaque, table};

    /// Relative luminance of WCAG 2.
    fn luminance([r, g, b, _]: [u8; 4]) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    #[test]
    fn black_white_and_grey_are_what_they_are() {
        assert_eq!(opaque(0.0, 0.0, 0.0), [0, 0, 0, 255]);
        assert_eq!(opaque(1.0, 0.0, 0.0), [255, 255, 255, 255]);
        // OKLab lightness is the cube root of the luminance of a grey: 0.5^3 = 0.125, encoded 0.3885, times 255
        assert_eq!(opaque(0.5, 0.0, 0.0), [99, 99, 99, 255]);
    }

    #[test]
    fn signs_are_told_apart_and_zero_is_clear() {
        let [r, _, b, _] = colour(Ground::Light, true, 0.0);
        assert!(b > r);
        let [r, _, b, _] = colour(Ground::Light, true, 1.0);
        assert!(r > b);
        assert_eq!(colour(Ground::Picture, true, 0.5)[3], 0);
        assert_eq!(colour(Ground::Picture, true, 1.0)[3], 255);
    }

    #[test]
    fn lightness_runs_one_way_on_each_side_of_zero() {
        for (ground, down) in [(Ground::Light, true), (Ground::Dark, false)] {
            for signed in [false, true] {
                let from = if signed { 0.5 } else { 0.0 };
                let steps = (0..=50)
                    .map(|i| luminance(colour(ground, signed, from + (1.0 - from) * f64::from(i) / 50.0)));
                let steps: Vec<f64> = steps.collect();
                let ordered = |w: &[f64]| if down { w[0] > w[1] } else { w[0] < w[1] };
                assert!(steps.windows(2).all(ordered), "{ground:?} {signed}");
            }
        }
        let steps: Vec<f64> =
            (0..=50).map(|i| luminance(colour(Ground::Picture, false, f64::from(i) / 50.0))).collect();
        assert!(steps.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn black_or_white_text_is_legible_on_every_cell() {
        for ground in [Ground::Light, Ground::Dark] {
            for signed in [false, true] {
                for i in 0..STEPS {
                    let l = luminance(colour(ground, signed, i as f64 / 256.0));
                    let contrast = (1.05 / (l + 0.05)).max((l + 0.05) / 0.05);
                    assert!(contrast >= 4.5, "{ground:?} {signed} {i}: {contrast}");
                }
            }
        }
    }

    #[test]
    fn a_table_has_four_bytes_a_step() {
        assert_eq!(table(Ground::Light, false).len(), STEPS * 4);
    }
}
