//! Parts of a sample that can be absent, as methods are asked for them: parts of its pictures and recordings, and words.

use std::collections::BTreeMap;
use std::ops::Range;

use mmlens_core::finding::{Axis, Labelled, Role, TableError, Unit};
use mmlens_core::{
    AnalysisError, Baseline, Card, Case, Inputs, Part, Point, Seed, Site, Subject, View, Words, kind,
};
use mmlens_engine::{Absent, Positions, Slic, UnitError, Units, Windows, label, one_row};
use serde::{Deserialize, Serialize};

use crate::check::{input, setting};

const ENTERED: Site = Site::block(Part::Text, 0, Point::ResidPre);

/// How pictures are cut into parts, and the spectrograms of recordings, which are looked at as pictures: a column is a frame of the sound, a
/// row a filter.
///
/// A picture that the model is given in one piece is cut in the pixels that its tower is given. Of one in tiles (and a small picture of all
/// of it) a part is absent in every tile at once, and pixels are those of the finest tile, counted over all of the picture. A part of a
/// clip is absent in every frame. Padding behind a recording is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Cover {
    /// So many cells that share no pixel; of a recording bands, one above the other, of stretches of time, side by side.
    Grid {
        /// Cells one above the other.
        rows: usize,
        /// Cells side by side.
        cols: usize,
    },
    /// Windows of one size, one stride apart; the last ones are cut by the edge.
    Sliding {
        /// Height and width, in processed pixels; of a recording in filters and frames.
        window: [usize; 2],
        /// Down and across, in processed pixels; no larger than the window.
        stride: [usize; 2],
    },
    /// What the positions of the model show: patches, each in its own tile alone, or stretches of a recording.
    Patches,
    /// Segments of like colour ([`Slic`]); recordings have none.
    Slic {
        /// About how many.
        segments: usize,
        /// How much place counts beside colour; `scikit-image` takes 10.
        compactness: f64,
    },
    /// Each picture and recording as a whole.
    Whole,
}

impl Cover {
    /// Checks what can be told without a picture.
    pub(crate) fn check(self, card: &Card) -> Result<(), AnalysisError> {
        let fail = |found: String, expected| Err(setting(card, "picture", found, expected));
        match self {
            Self::Grid { rows, cols } if rows == 0 || cols == 0 => fail(
                format!("a grid of {rows} x {cols} cells"),
                "a grid needs at least one row and one column",
            ),
            Self::Sliding { window, stride } if window.contains(&0) || stride.contains(&0) => fail(
                format!("window {window:?}, stride {stride:?}"),
                "windows and strides must be at least 1",
            ),
            Self::Sliding { window: [high, wide], stride: [down, across] }
                if down > high || across > wide =>
            {
                fail(
                    format!("window {:?}, stride {:?}", [high, wide], [down, across]),
                    "larger strides than windows leave gaps",
                )
            }
            Self::Slic { segments: 0, .. } => fail("0 segments".to_owned(), "there must be one"),
            Self::Slic { compactness, .. } if !compactness.is_finite() || compactness <= 0.0 => {
                fail(format!("compactness {compactness}"), "it must be a number above 0")
            }
            _ => Ok(()),
        }
    }

    /// Windows over so many pixels; `None` for parts that are no windows.
    fn over(self, size: [usize; 2], card: &Card) -> Result<Option<Windows>, AnalysisError> {
        match self {
            Self::Grid { rows, cols } if rows > size[0] || cols > size[1] => Err(input(
                card,
                "a picture of at least one pixel for each cell",
                format!("{rows} x {cols} cells were asked for of {} x {} pixels", size[0], size[1]),
            )),
            Self::Grid { rows, cols } => Ok(Some(Windows::grid(size, [rows, cols]))),
            Self::Sliding { window, stride } => Ok(Some(Windows::sliding(size, window, stride))),
            Self::Patches | Self::Slic { .. } | Self::Whole => Ok(None),
        }
    }
}

/// What is heard in the place of a part of a recording.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hush {
    /// Silence: what the model hears where nothing sounds beside the rest.
    #[default]
    Silence,
    /// White noise as loud as the recording, of a seed.
    Noise(Seed),
    /// A baseline where the log-mel spectrogram enters the model.
    Replace(Baseline),
}

impl From<Hush> for Absent {
    fn from(hush: Hush) -> Self {
        match hush {
            Hush::Silence => Self::Silence,
            Hush::Noise(seed) => Self::Noise { seed },
            Hush::Replace(baseline) => Self::Baseline(baseline),
        }
    }
}

/// How a word is hidden.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hide {
    /// A baseline takes the place of its vector where the stream begins.
    Replace(Baseline),
    /// Nobody else attends to it, in any layer.
    Unattended,
}

impl From<Hide> for Absent {
    fn from(hide: Hide) -> Self {
        match hide {
            Hide::Replace(baseline) => Self::Baseline(baseline),
            Hide::Unattended => Self::Unattended,
        }
    }
}

/// What of a text is one part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Each {
    /// A token.
    #[default]
    Token,
    /// A word, with all tokens that spell it.
    Word,
    /// All of them together.
    All,
}

/// What can be absent of a sample, as settings ask for it.
#[derive(Debug, Clone)]
pub(crate) struct PartSettings<'a> {
    pub(crate) card: &'static Card,
    pub(crate) picture: Option<Cover>,
    pub(crate) pixels: &'a Baseline,
    pub(crate) sounds: &'a Hush,
    pub(crate) words: Option<&'a Hide>,
    pub(crate) each: Each,
    pub(crate) among: &'a Positions,
}

/// The parts of a sample, those of its pictures and recordings first.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) units: Units,
    /// Where what towers are given enters, of those whose parts these are.
    entered: Vec<Site>,
    pictured: Vec<Pictured>,
    words: usize,
    /// What is changed of words: their vectors, or who attends to them.
    worded: Vec<Site>,
    replaced: bool,
}

/// Parts of what a tower is given; of windows, also these and the rows and columns of their cells.
type Lying = (Part, Units, Option<(Windows, [Axis; 2])>);

/// So many parts of a picture or recording, or of all of them, and how they lie.
#[derive(Debug)]
struct Pictured {
    tower: Part,
    len: usize,
    /// Windows, and the rows and columns of the cells that they cover all or nothing of.
    windows: Option<(Windows, [Axis; 2])>,
    /// What names each part, where they are no windows.
    axis: Axis,
}

impl PartSettings<'_> {
    /// Checks the settings that all methods share.
    pub(crate) fn check(&self) -> Result<(), AnalysisError> {
        if self.picture.is_none() && self.words.is_none() {
            return Err(setting(
                self.card,
                "picture, words",
                "none",
                "pictures (and recordings), words or both must be hidden",
            ));
        }
        self.picture.map_or(Ok(()), |cover| cover.check(self.card))
    }

    /// The same of parts of which any can be there without the others.
    pub(crate) fn check_apart(&self) -> Result<(), AnalysisError> {
        self.check()?;
        match self.picture {
            Some(Cover::Sliding { .. }) => {
                let expected = "parts that share no pixel are players";
                Err(setting(self.card, "picture", "sliding windows", expected))
            }
            _ => Ok(()),
        }
    }

    /// The parts of a sample; of an encoding of one row.
    pub(crate) fn of(
        &self,
        subject: &dyn Subject,
        case: &Case,
        inputs: &Inputs,
    ) -> Result<Parts, AnalysisError> {
        let map = one_row(self.card.id, inputs)?;
        let (mut units, mut pictured) = (None::<Units>, Vec::new());
        if let Some(cover) = self.picture.filter(|_| inputs.towers().next().is_some()) {
            // What stands in the place of hidden parts is as large as all that a tower is given: once for each tower.
            let mut towers: Vec<(Part, Units)> = Vec::new();
            for (tower, own, windows) in self.perceived(cover, case, inputs)? {
                pictured.push(Pictured { tower, len: own.len(), windows, axis: own.axis() });
                match towers.pop() {
                    Some((before, all)) if before == tower => towers.push((tower, all.and(own))),
                    other => towers.extend(other.into_iter().chain([(tower, own)])),
                }
            }
            for (tower, own) in towers {
                let own = match tower {
                    Part::Audio => own.instead(self.sounds.clone()),
                    _ => own.instead(self.pixels.clone()),
                };
                units = Some(match units {
                    Some(before) => before.and(own),
                    None => own,
                });
            }
        }
        let none = self.among.of(map).is_ok_and(|found| found.is_empty());
        let read = case.sample.words != Words::Nothing && !kind::reads_apart(subject);
        let hide = self.words.filter(|_| read && !none);
        let (mut words, mut worded) = (0, Vec::new());
        if let Some(hide) = hide {
            let own = match self.each {
                Each::Token => Units::tokens(inputs, self.among),
                Each::Word => Units::words(inputs, self.among),
                Each::All => Units::all_words(inputs, self.among),
            };
            let own = own.map_err(|error| self.said(error))?.instead(hide.clone());
            words = own.len();
            worded = match hide {
                Hide::Replace(_) => vec![ENTERED],
                Hide::Unattended => scores(subject).collect(),
            };
            units = Some(match units {
                Some(before) => before.and(own),
                None => own,
            });
        }
        let replaced = matches!(hide, Some(Hide::Replace(_)));
        let none = || {
            let needs = match (self.picture, self.words) {
                (Some(_), None) => "a picture or recording to hide parts of",
                (None, Some(_)) => "words to hide",
                _ => "a picture, recording or words to hide",
            };
            input(self.card, needs, "the sample has none")
        };
        let units = units.filter(|units| !units.is_empty()).ok_or_else(none)?;
        let towers = Part::TOWERS.into_iter().filter(|tower| pictured.iter().any(|own| own.tower == *tower));
        let entered = towers.filter_map(Part::entrance).collect();
        Ok(Parts { units, entered, pictured, words, worded, replaced })
    }

    fn said(&self, error: UnitError) -> AnalysisError {
        error.of(self.card.id)
    }

    /// For each picture and recording its parts, or one list for all of a tower, and windows where they are such.
    fn perceived(&self, cover: Cover, case: &Case, inputs: &Inputs) -> Result<Vec<Lying>, AnalysisError> {
        let map = inputs.map();
        let said = |error| self.said(error);
        let all = |of: &dyn Fn(Part) -> Result<Units, UnitError>| {
            inputs.towers().map(|tower| Ok((tower, of(tower).map_err(said)?, None))).collect()
        };
        match cover {
            Cover::Patches => return all(&|tower| Units::patches_of(inputs, tower)),
            Cover::Whole => {
                return all(&|tower| match tower {
                    Part::Audio => Units::recordings(inputs),
                    _ => Units::pictures(inputs),
                });
            }
            _ => {}
        }
        let each = (0..map.pictures.len()).map(|image| match cover {
            Cover::Slic { segments, compactness } => {
                let needs = "a picture, for segments of like colour";
                let found = if map.sound(image).is_some() { "a recording" } else { "a clip" };
                let picture = case.sample.pictures.get(image);
                let picture =
                    picture.ok_or_else(|| input(self.card, needs, format!("the sample has {found}")))?;
                let slic = Slic { segments, compactness, ..Slic::default() };
                let found = slic.of(&picture.image.to_rgb8()).map_err(said)?;
                Ok((Part::Vision, Units::segments(inputs, image, &found).map_err(said)?, None))
            }
            _ => self.windows(cover, image, inputs),
        });
        each.collect()
    }

    /// Windows over one picture or recording, and the rows and columns of their cells.
    fn windows(&self, cover: Cover, image: usize, inputs: &Inputs) -> Result<Lying, AnalysisError> {
        let map = inputs.map();
        let said = |error| self.said(error);
        let none =
            || input(self.card, "a picture that the token map places", format!("picture {image} is not"));
        let heard = map.sound(image);
        let tower = if heard.is_some() { Part::Audio } else { Part::Vision };
        let shown = inputs.entries(tower).map_or(&[][..], |own| own.of_row(0));
        let views = map.views_of(tower).iter().zip(shown).enumerate();
        let own: Vec<(usize, usize, &View)> = views
            .filter(|(_, (view, _))| view.image == image)
            .map(|(at, (view, entry))| (at, *entry, view))
            .collect();
        // What lies around a picture that is given in one piece is cut with it; padding behind a recording is not.
        if let ([(at, entry, view)], None) = (own.as_slice(), heard) {
            let (at, entry) = (*at, *entry);
            let size = [view.rows.len(), view.cols.len()];
            let windows = cover.over(size, self.card)?.ok_or_else(none)?;
            let units = Units::windows(inputs, tower, entry, &windows).map_err(said)?;
            let [rows, cols] = windows.cells();
            let axes = label::picture_axes(map, tower, at, &rows, &cols);
            return Ok((tower, units, Some((windows, axes))));
        }
        let down = fine(own.iter().map(|(_, _, view)| view.rows.as_slice()));
        let across = fine(own.iter().map(|(_, _, view)| view.cols.as_slice()));
        let (Some(high), Some(wide)) = (down.len().checked_sub(1), across.len().checked_sub(1)) else {
            return Err(none());
        };
        let windows = cover.over([high, wide], self.card)?.ok_or_else(none)?;
        let span = |edges: &[f32], of: &Range<usize>| Some([*edges.get(of.start)?, *edges.get(of.end)?]);
        let mut boxes = Vec::with_capacity(windows.len());
        for (rows, cols) in
            windows.rows().iter().flat_map(|rows| windows.cols().iter().map(move |cols| (rows, cols)))
        {
            let [y0, y1] = span(&down, rows).ok_or_else(none)?;
            let [x0, x1] = span(&across, cols).ok_or_else(none)?;
            let bbox = [x0, y0, x1, y1];
            let name = match heard {
                Some(heard) => heard.scale.describe(bbox),
                None => format!("rows {}–{}, columns {}–{}", rows.start, rows.end, cols.start, cols.end),
            };
            boxes.push((name, bbox));
        }
        let named: Vec<(&str, [f32; 4])> = boxes.iter().map(|(name, bbox)| (name.as_str(), *bbox)).collect();
        let units = Units::boxes(inputs, image, &named).map_err(said)?;
        let axis = |role, edges: &[f32], cells: &[Range<usize>]| {
            let spans = cells.iter().map(|cell| span(edges, cell)).collect::<Option<Vec<_>>>();
            Ok::<_, AnalysisError>(label::axis_of(map, role, image, spans.ok_or_else(none)?))
        };
        let [rows, cols] = windows.cells();
        let axes = [axis(Role::Row, &down, &rows)?, axis(Role::Column, &across, &cols)?];
        Ok((tower, units, Some((windows, axes))))
    }
}

/// The edges of pixels along one side of a picture in tiles: as fine as the finest tile, evenly over all that some tile is given.
fn fine<'a>(tiles: impl Iterator<Item = &'a [[f32; 2]]>) -> Vec<f32> {
    let (mut from, mut to, mut finest) = (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY);
    for tile in tiles {
        let mut widest = 0.0_f64;
        for [a, b] in tile.iter().filter(|[a, b]| a < b).map(|extent| extent.map(f64::from)) {
            // no NaN: extents on a picture
            (from, to, widest) = (from.min(a), to.max(b), widest.max(b - a));
        }
        if widest > 0.0 {
            finest = finest.min(widest); // no NaN: extents on a picture
        }
    }
    if !finest.is_finite() {
        return Vec::new();
    }
    let count = ((to - from) / finest).round().max(1.0); // no NaN: extents on a picture
    (0..=count as usize).map(|i| (from + (to - from) * i as f64 / count) as f32).collect()
}

fn scores(subject: &dyn Subject) -> impl Iterator<Item = Site> {
    let scores = |site: &Site| site.part() == Part::Text && site.point() == Point::Scores;
    subject.sites().iter().map(|spec| spec.site).filter(scores)
}

impl Parts {
    /// Passes that settle what stands in the places of absent parts.
    pub(crate) fn settling(&self) -> usize {
        usize::from(self.replaced)
    }

    /// Where they enter the model.
    pub(crate) fn sites(&self) -> Vec<Site> {
        self.entered.iter().chain(&self.worded).copied().collect()
    }

    /// How many parts are of pictures and recordings; words come behind them.
    fn of_pictures(&self) -> usize {
        self.units.len() - self.words
    }

    /// Which parts are of pictures, of recordings and of words.
    pub(crate) fn by_kind(&self) -> [(&'static str, Vec<usize>); 3] {
        let (mut pictures, mut recordings, mut from) = (Vec::new(), Vec::new(), 0);
        for own in &self.pictured {
            let kind = if own.tower == Part::Audio { &mut recordings } else { &mut pictures };
            kind.extend(from..from + own.len);
            from += own.len;
        }
        let words = (from..self.units.len()).collect();
        [("picture", pictures), ("recording", recordings), ("words", words)]
    }

    /// Tables of one value for each part: `picture` for those of pictures (`picture/0` and so on of several), `recording` for those of
    /// recordings, on the original, where
    /// windows overlap beside a table of every window, `windows` (`recording windows`); `tokens` for words.
    pub(crate) fn tables(
        &self,
        called: &Called,
        unit: Unit,
        values: &[f32],
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let mut tables = Vec::new();
        let mut rest = values;
        let mut counts = BTreeMap::new();
        for pictured in &self.pictured {
            let (own, others) = cut(rest, pictured.len)?;
            rest = others;
            let several = self.pictured.iter().filter(|other| other.tower == pictured.tower).count() > 1;
            let count = counts.entry(pictured.tower).or_insert(0);
            let at = std::mem::replace(count, *count + 1);
            let heard = pictured.tower == Part::Audio;
            let name = |what: &str| {
                let what = if heard { what.replace("picture", "recording") } else { what.to_owned() };
                if several { format!("{what}/{at}") } else { what }
            };
            match &pictured.windows {
                None => tables.push(Labelled::numbers(
                    name(called.picture),
                    unit,
                    vec![pictured.axis.clone()],
                    own.to_vec(),
                )?),
                Some((windows, axes)) => {
                    tables.push(Labelled::numbers(
                        name(called.picture),
                        unit,
                        axes.to_vec(),
                        windows.mean(own)?,
                    )?);
                    if windows.overlap() {
                        let named = |role, ranges: &[Range<usize>]| {
                            Axis::names(role, ranges.iter().map(|r| format!("{}–{}", r.start, r.end)))
                        };
                        let axes =
                            vec![named(Role::Row, windows.rows()), named(Role::Column, windows.cols())];
                        let windows = if heard { "recording windows" } else { "windows" };
                        tables.push(Labelled::numbers(name(windows), unit, axes, own.to_vec())?.aside());
                    }
                }
            }
        }
        if self.words > 0 {
            let words = self.units.iter().skip(self.of_pictures()).map(|unit| unit.label().clone());
            tables.push(Labelled::numbers(
                called.tokens,
                unit,
                vec![Axis::tokens(words.collect())],
                rest.to_vec(),
            )?);
        }
        Ok(tables)
    }
}

/// What tables of parts are called.
pub(crate) struct Called {
    pub(crate) picture: &'static str,
    pub(crate) tokens: &'static str,
}

/// The first values, and the others.
fn cut(values: &[f32], len: usize) -> Result<(&[f32], &[f32]), TableError> {
    values.split_at_checked(len).ok_or_else(|| TableError::Count {
        table: "picture".to_owned(),
        lengths: vec![len],
        expected: len,
        found: values.len(),
    })
}
