//! What stands out in a picture or a recording, whatever the model and the question.
//!
//! | row | map |
//! |---|---|
//! | `edge filter` | the length of Sobel's gradient, with the border repeated: of a picture's brightness, on up to 256 x 256 pixels (made smaller by averaging where it has more); of a recording's spectrogram, as the model is given it |
//! | `loudness` | how far each cell of a recording's spectrogram lies above its least, as the model is given it; of recordings alone |

use image::imageops::FilterType;
use mmlens_core::{Case, On, Part};

use crate::baselines::none;
use crate::metric::{Explainer, NoScore};
use crate::{Map, Side};

/// A picture's edges, or those of a recording's spectrogram.
#[derive(Debug, Clone, Copy)]
pub struct EdgeFilter {
    /// Which picture, or recording; these are counted behind pictures and clips.
    pub picture: usize,
}

/// How loud a recording is, where.
#[derive(Debug, Clone, Copy)]
pub struct Loudness {
    /// Which recording, counted behind pictures and clips.
    pub picture: usize,
}

/// Levels of a picture, row by row.
struct Levels {
    /// Width and height of the picture.
    picture: [usize; 2],
    /// Those of the levels.
    size: [usize; 2],
    values: Vec<f64>,
}

/// The most pixels along a side that edges are looked for in.
const PIXELS: u32 = 256;

/// The brightness of a picture.
fn brightness(case: &Case, picture: usize) -> Result<Levels, NoScore> {
    let picture = case.sample.pictures.get(picture).ok_or_else(none)?;
    let own = [picture.image.width(), picture.image.height()];
    let [width, height] = own.map(|side| side.min(PIXELS)); // no NaN: whole numbers
    let grey = picture.image.to_luma8();
    let grey = match own == [width, height] {
        true => grey,
        false => image::imageops::resize(&grey, width, height, FilterType::Triangle),
    };
    Ok(Levels {
        picture: own.map(|side| side as usize),
        size: [width, height].map(|side| side as usize),
        values: grey.pixels().map(|pixel| f64::from(pixel.0[0])).collect(),
    })
}

/// The spectrogram of a recording as the model is given it, the highest filter first, without what is padding.
fn spectrogram(on: &On<'_>, case: &Case, picture: usize) -> Result<Levels, NoScore> {
    let inputs = on.encode(&case.sample)?;
    let map = inputs.map();
    let which = picture.checked_sub(map.first_sound()).ok_or_else(none)?;
    let (width, height) = map.pictures.get(picture).copied().ok_or_else(none)?;
    let size = [width as usize, height as usize];
    let entry = inputs.heard.of_row(0).get(which).copied().ok_or_else(none)?;
    let given = inputs.entries(Part::Audio).and_then(|own| own.values.as_ref()).ok_or_else(none)?;
    let &[_, _, frames] = given.dims().as_slice() else { return Err(none()) };
    let own = given.rows(entry, 1).and_then(|own| own.to_values());
    let own = own.map_err(|error| NoScore::Refused(error.to_string()))?;
    let rows = own.chunks(frames.max(1)).rev();
    let values = rows.flat_map(|row| row.iter().take(size[0]).map(|value| f64::from(*value))).collect();
    Ok(Levels { picture: size, size, values })
}

impl Levels {
    fn map(self, picture: usize, of: impl Fn(&Self, usize, usize) -> f64) -> Map {
        let [width, height] = self.size;
        let cells = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        Map::grid(picture, self.picture, [height, width], cells.map(|(y, x)| of(&self, y, x)))
    }

    /// The level at a place, so many rows and columns away; beyond the border that of the border.
    fn at(&self, (y, down): (usize, isize), (x, right): (usize, isize)) -> f64 {
        let [width, height] = self.size;
        let within = |at: usize, by: isize, of: usize| at.saturating_add_signed(by).min(of.saturating_sub(1)); // no NaN: whole numbers
        let at = within(y, down, height) * width + within(x, right, width);
        self.values.get(at).copied().unwrap_or_default()
    }

    /// The length of Sobel's gradient.
    fn slope(&self, y: usize, x: usize) -> f64 {
        let down = |by| self.at((y, 1), (x, by)) - self.at((y, -1), (x, by));
        let across = |by| self.at((y, by), (x, 1)) - self.at((y, by), (x, -1));
        let dy = down(-1) + 2.0 * down(0) + down(1);
        let dx = across(-1) + 2.0 * across(0) + across(1);
        (dy * dy + dx * dx).sqrt()
    }
}

impl Explainer for EdgeFilter {
    fn map(&self, on: &On<'_>, case: &Case, side: Side) -> Result<Map, NoScore> {
        if side == Side::Words {
            return Err(NoScore::Lacks("words have no edges".to_owned()));
        }
        let levels = match self.picture < case.sample.pictures.len() {
            true => brightness(case, self.picture)?,
            false => spectrogram(on, case, self.picture)?,
        };
        Ok(levels.map(self.picture, Levels::slope))
    }

    fn cost(&self, _: &On<'_>, _: &Case) -> Result<u64, NoScore> {
        Ok(0)
    }
}

impl Explainer for Loudness {
    fn map(&self, on: &On<'_>, case: &Case, side: Side) -> Result<Map, NoScore> {
        if side == Side::Words {
            return Err(NoScore::Lacks("words have no loudness".to_owned()));
        }
        if self.picture < case.sample.pictures.len() + case.sample.clips.len() {
            return Err(NoScore::Lacks("a picture has no loudness".to_owned()));
        }
        let levels = spectrogram(on, case, self.picture)?;
        let least = levels.values.iter().copied().fold(f64::INFINITY, f64::min); // no NaN: one is refused where scores are taken
        Ok(levels.map(self.picture, |levels, y, x| levels.at((y, 0), (x, 0)) - least))
    }

    fn cost(&self, _: &On<'_>, _: &Case) -> Result<u64, NoScore> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use mmlens_core::sound::Sound;
    use mmlens_core::{Picture, Sample, Subject, Words};
    use mmlens_testkit::Toy;

    use super::*;

    #[test]
    fn edges_lie_where_levels_change() {
        let half = RgbImage::from_fn(6, 4, |x, _| if x < 3 { Rgb([0; 3]) } else { Rgb([200; 3]) });
        let case = Case::new(Sample::new(vec![Picture::new("half", half)], Words::Nothing));
        let toy = Toy::curved(0);
        let map = EdgeFilter { picture: 0 }.map(&On::new(&toy), &case, Side::Pictures).unwrap();
        let row: Vec<f64> = map.painted(0, [6, 4]).into_iter().take(6).collect();
        // Columns 2 and 3 lie beside the step: (1 + 2 + 1) 200 = 800.
        assert_eq!(row, [0.0, 0.0, 800.0, 800.0, 0.0, 0.0]);
        assert!(EdgeFilter { picture: 1 }.map(&On::new(&toy), &case, Side::Pictures).is_err());
        assert!(Loudness { picture: 0 }.map(&On::new(&toy), &case, Side::Pictures).is_err());
    }

    /// What is loud is where the sound is, the lowest filter in the last row; and edges around it.
    #[test]
    fn what_is_loud_is_loudest() {
        let toy = Toy::curved(0).with_ears();
        let rate = 8000;
        // 127 Hz, in the second half of three quarters of a second: what is behind is padding.
        let tone = |at: usize| {
            if at < 3000 { 0.0 } else { (at as f32 * 0.1).sin() * 0.5 }
        };
        let sound = Sound::new("late", (0..6000).map(tone).collect(), rate).unwrap();
        let case = Case::new(
            Sample::new(Vec::new(), Words::Question("what".to_owned())).with_recordings(vec![sound]),
        );
        let on = On::new(&toy);
        let (width, height) = toy.encode(&case.sample).unwrap().map().pictures[0];
        let size = [width as usize, height as usize];
        assert_eq!(size, [15, 6]);
        let loud = Loudness { picture: 0 }.map(&on, &case, Side::Pictures).unwrap().painted(0, size);
        let column = |x: usize| (0..size[1]).map(|y| loud[y * size[0] + x]).sum::<f64>();
        assert!(column(size[0] - 2) > 2.0 * column(1), "{loud:?}");
        assert!(loud[5 * 15 + 13] > 1.2 * loud[13], "{loud:?}");
        assert!(loud.iter().all(|value| *value >= 0.0) && loud.contains(&0.0));
        let edges = EdgeFilter { picture: 0 }.map(&on, &case, Side::Pictures).unwrap().painted(0, size);
        let steep = |x: usize| (0..size[1]).map(|y| edges[y * size[0] + x]).sum::<f64>();
        assert!(steep(size[0] / 2) > 2.0 * steep(1), "{edges:?}");
        assert!(EdgeFilter { picture: 1 }.map(&on, &case, Side::Pictures).is_err());
    }
}
