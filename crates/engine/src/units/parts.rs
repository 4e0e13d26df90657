//! Units that are parts of pictures, clips and recordings.

use std::ops::Range;
use std::sync::Arc;

use mmlens_core::finding::{Modality, PatchLabel, Role, TokenLabel};
use mmlens_core::{Inputs, Part, TokenMap, View};

use super::canvas::{Area, Canvas, Piece, Sheet};
use super::{Held, Place, Segments, Unit, UnitError, Units, one_row, spans};
use crate::Windows;
use crate::label::axis_of;

/// What towers are given by one row, and how it lies.
pub(super) struct Seen<'a> {
    pub(super) map: &'a TokenMap,
    towers: Vec<Tower<'a>>,
}

/// What one tower is given.
struct Tower<'a> {
    part: Part,
    sheets: Vec<Sheet>,
    /// For every entry of the tower's batch that the row shows, its view.
    views: Vec<(usize, &'a View)>,
}

/// An entry that shows a picture or recording: of which tower, which, and how it lies.
type Entry<'s, 'a> = (Part, usize, &'a View, &'s Sheet);

impl<'a> Seen<'a> {
    /// # Errors
    /// [`UnitError::Nothing`] where no tower is given anything, [`UnitError::Rows`], [`UnitError::Pixels`].
    pub(super) fn of(inputs: &'a Inputs) -> Result<Self, UnitError> {
        let map = one_row(inputs)?;
        let tower = |canvas: Canvas| {
            let part = canvas.tower;
            let entries = inputs.entries(part).map_or(&[][..], |own| own.of_row(0));
            let views = entries.iter().copied().zip(map.views_of(part)).collect();
            Tower { part, sheets: canvas.sheets().to_vec(), views }
        };
        let towers: Vec<Tower<'_>> = Canvas::all(inputs)?.into_iter().map(tower).collect();
        match towers.is_empty() {
            true => Err(UnitError::Nothing("picture")),
            false => Ok(Self { map, towers }),
        }
    }

    /// The entries that show a picture or clip, or play a recording.
    fn entries(&self, image: usize) -> Result<Vec<Entry<'_, 'a>>, UnitError> {
        let mut own = Vec::new();
        for tower in &self.towers {
            for (entry, view) in tower.views.iter().filter(|(_, view)| view.image == image) {
                let Some(sheet) = tower.sheets.get(*entry) else { continue };
                own.push((tower.part, *entry, *view, sheet));
            }
        }
        match own.is_empty() {
            true => Err(UnitError::None { what: "picture", index: image, len: self.map.pictures.len() }),
            false => Ok(own),
        }
    }

    /// What of a picture the model is given: `x0, y0, x1, y1`.
    pub(super) fn extent(&self, image: usize) -> Result<[f64; 4], UnitError> {
        let (mut cols, mut rows) = ([f64::INFINITY, f64::NEG_INFINITY], [f64::INFINITY, f64::NEG_INFINITY]);
        for (_, _, view, _) in self.entries(image)? {
            for (all, own) in [(&mut cols, &view.cols), (&mut rows, &view.rows)] {
                for [from, to] in own.iter().filter(|[from, to]| from < to) {
                    // no NaN: extents on a picture
                    *all = [all[0].min(f64::from(*from)), all[1].max(f64::from(*to))];
                }
            }
        }
        Ok([cols[0], rows[0], cols[1], rows[1]])
    }

    /// The pixels of every entry whose middle lies in a box.
    fn within(&self, image: usize, [x0, y0, x1, y1]: [f64; 4]) -> Result<Vec<Piece>, UnitError> {
        let pieces = self.entries(image)?.into_iter().filter_map(|(tower, entry, view, _)| {
            let (rows, cols) = (between(&view.rows, y0, y1), between(&view.cols, x0, x1));
            (!rows.is_empty() && !cols.is_empty()).then_some(Piece {
                tower,
                entry,
                area: Area::Box { rows, cols },
            })
        });
        Ok(pieces.collect())
    }

    /// A box on a picture or recording under a name.
    pub(super) fn boxed(&self, name: String, patch: PatchLabel, bbox: [f64; 4]) -> Result<Unit, UnitError> {
        let pieces = self.within(patch.image, bbox)?;
        if pieces.is_empty() {
            return Err(UnitError::Unseen { unit: name });
        }
        let place = Place::Box { image: patch.image, bbox: patch.bbox };
        let label = self.label(name, patch);
        Ok(Unit::new(label, Held::Pixels(pieces), vec![place]))
    }

    /// What a unit is called, and where it lies.
    fn label(&self, name: String, patch: PatchLabel) -> TokenLabel {
        let modality = if self.map.sound(patch.image).is_some() { Modality::Audio } else { Modality::Image };
        TokenLabel { heard: self.map.heard(patch), ..TokenLabel::new(name, modality).with_patch(patch) }
    }

    /// A place as its own name.
    fn named(&self, patch: PatchLabel) -> String {
        self.map.label(patch).text
    }
}

/// The middle of a pixel on the original; none of pixels around the picture, which have no extent there.
fn middle([a, b]: &[f32; 2]) -> Option<f64> {
    (a < b).then(|| f64::midpoint(f64::from(*a), f64::from(*b)))
}

/// Pixels whose middle lies from `from` up to `to` on the original.
fn between(extents: &[[f32; 2]], from: f64, to: f64) -> Range<usize> {
    let inside = |extent: &[f32; 2]| middle(extent).is_some_and(|middle| from <= middle && middle < to);
    match (extents.iter().position(inside), extents.iter().rposition(inside)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    }
}

/// Edges between cells moved to where the pixels begin that belong to the next one, as [`between`] says.
fn at_pixels(edges: &mut [f64], extents: &[[f32; 2]]) {
    let inner = edges.len().saturating_sub(2);
    for edge in edges.iter_mut().skip(1).take(inner) {
        let behind = |extent: &&[f32; 2]| middle(extent).is_some_and(|middle| middle >= *edge);
        let begins = extents.iter().filter(behind).map(|[a, _]| f64::from(*a));
        let first = begins.min_by(f64::total_cmp); // no NaN: extents on a picture
        *edge = first.unwrap_or(*edge);
    }
}

pub(super) fn whole(image: usize, bbox: [f64; 4]) -> PatchLabel {
    PatchLabel { image, tile: 0, frame: 0, row: 0, col: 0, bbox: bbox.map(|edge| edge as f32) }
}

impl Units {
    /// Cells of a grid over what the model is given of a picture (or of every frame of a clip, or of a recording's spectrogram, whose rows are of
    /// equally many filters), row by row. They are as even as whole pixels of the tower allow: a cell is told where the pixels lie that are hidden
    /// with it, unless the picture is given in several tiles.
    ///
    /// # Errors
    /// [`UnitError::Setting`] for a grid of nothing, [`UnitError::Unseen`] for one finer than the pixels that the model is given,
    /// [`UnitError::Nothing`] or [`UnitError::None`] without such a picture, [`UnitError::Rows`].
    pub fn cells(inputs: &Inputs, image: usize, [rows, cols]: [usize; 2]) -> Result<Self, UnitError> {
        if rows == 0 || cols == 0 {
            let found = format!("{rows} x {cols} cells");
            return Err(UnitError::Setting {
                setting: "grid",
                found,
                expected: "at least one row and one column",
            });
        }
        let seen = Seen::of(inputs)?;
        let [x0, y0, x1, y1] = seen.extent(image)?;
        let cut = |from: f64, to: f64, parts: usize| -> Vec<f64> {
            (0..=parts).map(|i| from + (to - from) * i as f64 / parts as f64).collect()
        };
        let (mut down, mut across) = (cut(y0, y1, rows), cut(x0, x1, cols));
        // Of several entries each has pixels of its own.
        if let [(_, _, view, _)] = seen.entries(image)?.as_slice() {
            at_pixels(&mut down, &view.rows);
            at_pixels(&mut across, &view.cols);
        }
        let mut units = Vec::with_capacity(rows * cols);
        for (row, y) in down.windows(2).enumerate() {
            for (col, x) in across.windows(2).enumerate() {
                let ([y0, y1], [x0, x1]) = (y, x) else { continue };
                let bbox = [*x0, *y0, *x1, *y1];
                let patch = PatchLabel { row, col, ..whole(image, bbox) };
                units.push(seen.boxed(seen.named(patch), patch, bbox)?);
            }
        }
        let grid = [(Role::Row, &down), (Role::Column, &across)];
        let grid = Some(grid.map(|(role, edges)| axis_of(seen.map, role, image, spans(edges))));
        Ok(Self { grid, ..Self::of(units) })
    }

    /// Boxes with names, `x0, y0, x1, y1` in pixels of an original picture. They may overlap.
    ///
    /// # Errors
    /// [`UnitError::Unseen`] for a box of which the model is given no pixel, and as [`Units::cells`].
    pub fn boxes(inputs: &Inputs, image: usize, boxes: &[(&str, [f32; 4])]) -> Result<Self, UnitError> {
        let seen = Seen::of(inputs)?;
        let unit = |(col, (name, bbox)): (usize, &(&str, [f32; 4]))| {
            let patch = PatchLabel { col, bbox: *bbox, ..whole(image, [0.0; 4]) };
            seen.boxed((*name).to_owned(), patch, bbox.map(f64::from))
        };
        Ok(Self::of(boxes.iter().enumerate().map(unit).collect::<Result<_, _>>()?))
    }

    /// Segments of a picture ([`Slic`](super::Slic), or a mask), in the order of their labels. Those of which the model is given no
    /// pixel are none.
    ///
    /// # Errors
    /// [`UnitError::Segments`] for segments of another size than the picture, and as [`Units::cells`].
    pub fn segments(inputs: &Inputs, image: usize, segments: &Segments) -> Result<Self, UnitError> {
        let seen = Seen::of(inputs)?;
        let entries = seen.entries(image)?;
        let expected = seen.map.pictures.get(image).copied().unwrap_or_default();
        if segments.size() != expected {
            return Err(UnitError::Segments { found: segments.size(), expected });
        }
        let boxes = segments.boxes();
        // A label that no segment has, for pixels around the picture.
        let none = (0..).find(|label| !boxes.contains_key(label)).unwrap_or(u32::MAX);
        let middle = |[a, b]: [f32; 2]| (a < b).then(|| f64::midpoint(f64::from(a), f64::from(b)));
        let labels = |view: &View| -> Arc<Vec<u32>> {
            let at = |y: [f32; 2], x: [f32; 2]| segments.at(middle(x)?, middle(y)?);
            let of_row =
                |y: &[f32; 2]| view.cols.iter().map(|x| at(*y, *x).unwrap_or(none)).collect::<Vec<_>>();
            Arc::new(view.rows.iter().flat_map(of_row).collect())
        };
        let maps: Vec<_> =
            entries.iter().map(|(tower, entry, view, _)| (*tower, *entry, labels(view))).collect();
        let shared = Arc::new(segments.clone());
        let mut units = Vec::new();
        for (col, (label, bbox)) in boxes.into_iter().enumerate() {
            let own = maps.iter().filter(|(.., labels)| labels.contains(&label));
            let piece = |(tower, entry, labels): &(Part, usize, Arc<Vec<u32>>)| Piece {
                tower: *tower,
                entry: *entry,
                area: Area::Label { labels: labels.clone(), label },
            };
            let pieces: Vec<Piece> = own.map(piece).collect();
            if pieces.is_empty() {
                continue;
            }
            let patch = PatchLabel { col, bbox, ..whole(image, [0.0; 4]) };
            let place = Place::Label { image, segments: shared.clone(), label };
            let named = seen.label(format!("segment {label}"), patch);
            units.push(Unit::new(named, Held::Pixels(pieces), vec![place]));
        }
        Ok(Self::of(units))
    }

    /// The patches that the positions of the model show, each in its own tile alone; of models without such positions (dual encoders,
    /// classifiers) the patches of the tower. Those of nothing but what a processor put around the picture are none.
    ///
    /// # Errors
    /// As [`Units::cells`].
    pub fn patches(inputs: &Inputs) -> Result<Self, UnitError> {
        Self::of_patches(inputs, |_| true)
    }

    /// Those of what one tower is given.
    ///
    /// # Errors
    /// As [`Units::cells`].
    pub fn patches_of(inputs: &Inputs, tower: Part) -> Result<Self, UnitError> {
        Self::of_patches(inputs, |own| own == tower)
    }

    fn of_patches(inputs: &Inputs, wanted: impl Fn(Part) -> bool) -> Result<Self, UnitError> {
        let seen = Seen::of(inputs)?;
        let shown: Vec<PatchLabel> = seen.map.tokens.iter().filter_map(|token| token.patch).collect();
        let mut patches = if shown.is_empty() { seen.map.patches.clone() } else { shown };
        let tower = |patch: &PatchLabel| match seen.map.sound(patch.image) {
            Some(_) => Part::Audio,
            None => Part::Vision,
        };
        patches.retain(|patch| wanted(tower(patch)));
        let mut units = Vec::with_capacity(patches.len());
        for patch in &patches {
            let unseen = || UnitError::Unseen { unit: seen.named(*patch) };
            let (tower, entry, view, sheet) =
                *seen.entries(patch.image)?.get(patch.tile).ok_or_else(unseen)?;
            let [x0, y0, x1, y1] = patch.bbox.map(f64::from);
            let (rows, cols) = (between(&view.rows, y0, y1), between(&view.cols, x0, x1));
            if rows.is_empty() || cols.is_empty() {
                continue;
            }
            let area = match sheet.steps {
                1 => Area::Box { rows, cols },
                _ => {
                    let step = steps(&patches, patch.image).iter().position(|frame| *frame == patch.frame);
                    let step = step.ok_or_else(unseen)?;
                    Area::Steps { steps: step..step + 1, rows, cols }
                }
            };
            let place = match sheet.steps {
                1 => Place::Box { image: patch.image, bbox: patch.bbox },
                _ => Place::Frames,
            };
            let held = Held::Pixels(vec![Piece { tower, entry, area }]);
            units.push(Unit::new(seen.label(seen.named(*patch), *patch), held, vec![place]));
        }
        match units.is_empty() {
            true => Err(UnitError::Nothing("patch that a position shows")),
            false => Ok(Self::of(units)),
        }
    }

    /// Windows over one entry of a tower's batch (a picture, tile or recording), in pixels as they are given to the tower; of a recording in
    /// filters, the lowest first, and frames, of which those of padding are in no window.
    ///
    /// # Errors
    /// [`UnitError::None`] without such an entry, [`UnitError::Unseen`] for a window beyond it, and as [`Units::cells`].
    pub fn windows(inputs: &Inputs, tower: Part, entry: usize, windows: &Windows) -> Result<Self, UnitError> {
        let seen = Seen::of(inputs)?;
        let own = seen.towers.iter().find(|own| own.part == tower).ok_or(UnitError::Nothing("picture"))?;
        let none =
            UnitError::None { what: "entry of the tower's batch", index: entry, len: own.sheets.len() };
        let sheet = own.sheets.get(entry).ok_or_else(|| none.clone())?;
        let view = own.views.iter().find(|(own, _)| *own == entry).map(|(_, view)| *view).ok_or(none)?;
        let mut units = Vec::with_capacity(windows.len());
        let across = windows.cols().len().max(1);
        for (index, (rows, cols)) in windows
            .rows()
            .iter()
            .flat_map(|rows| windows.cols().iter().map(move |cols| (rows, cols)))
            .enumerate()
        {
            let name = format!("rows {}–{}, columns {}–{}", rows.start, rows.end, cols.start, cols.end);
            if rows.end > sheet.height || cols.end > sheet.width {
                return Err(UnitError::Unseen { unit: name });
            }
            let span = |extents: &[[f32; 2]], own: &Range<usize>| {
                let ends =
                    (extents.get(own.start), own.end.checked_sub(1).and_then(|last| extents.get(last)));
                // Filters are given the lowest first, which lies in the last row.
                let of =
                    |(first, last): (&[f32; 2], &[f32; 2])| [first[0].min(last[0]), first[1].max(last[1])]; // no NaN: places
                ends.0.zip(ends.1).map_or([0.0; 2], of)
            };
            // Frames behind a sound are none of it.
            let heard = |col: &usize| view.cols.get(*col).is_some_and(|[from, to]| from < to);
            let cols = match tower {
                Part::Audio => cols.start..cols.clone().rfind(heard).map_or(cols.start, |last| last + 1),
                _ => cols.clone(),
            };
            if cols.is_empty() {
                continue;
            }
            let ([x0, x1], [y0, y1]) = (span(&view.cols, &cols), span(&view.rows, rows));
            let bbox = [x0, y0, x1, y1];
            let (row, col) = (index / across, index % across);
            let patch = PatchLabel { row, col, bbox, ..whole(view.image, [0.0; 4]) };
            let area = Area::Box { rows: rows.clone(), cols: cols.clone() };
            let place = Place::Box { image: view.image, bbox };
            let held = Held::Pixels(vec![Piece { tower, entry, area }]);
            units.push(Unit::new(seen.label(name, patch), held, vec![place]));
        }
        Ok(Self::of(units))
    }

    /// The steps in time of a clip: frames, or as many as a tower takes together.
    ///
    /// # Errors
    /// [`UnitError::Nothing`] for a picture, which has one, and as [`Units::cells`].
    pub fn frames(inputs: &Inputs, image: usize) -> Result<Self, UnitError> {
        let seen = Seen::of(inputs)?;
        let extent = seen.extent(image)?;
        let frames = steps(&seen.map.patches, image);
        let mut units = Vec::new();
        for (tower, entry, view, sheet) in
            seen.entries(image)?.into_iter().filter(|(.., sheet)| sheet.steps > 1)
        {
            for step in 0..sheet.steps {
                let frame = frames.get(step).copied().unwrap_or(step);
                let patch = PatchLabel { frame, ..whole(image, extent) };
                let [rows, cols] =
                    [&view.rows, &view.cols].map(|own| between(own, f64::NEG_INFINITY, f64::INFINITY));
                let held = Held::Pixels(vec![Piece {
                    tower,
                    entry,
                    area: Area::Steps { steps: step..step + 1, rows, cols },
                }]);
                let named = seen.label(format!("from frame {frame}"), patch);
                units.push(Unit::new(named, held, vec![Place::Frames]));
            }
        }
        match units.is_empty() {
            true => Err(UnitError::Nothing("clip of several frames")),
            false => Ok(Self::of(units)),
        }
    }

    /// Each picture and clip as a whole, without what a processor put around it.
    ///
    /// # Errors
    /// As [`Units::cells`].
    pub fn pictures(inputs: &Inputs) -> Result<Self, UnitError> {
        let seen = Seen::of(inputs)?;
        let unit = |image: usize| {
            let extent = seen.extent(image)?;
            seen.boxed(format!("picture {image}"), whole(image, extent), extent)
        };
        match seen.map.first_sound() {
            0 => Err(UnitError::Nothing("picture")),
            pictures => Ok(Self::of((0..pictures).map(unit).collect::<Result<_, _>>()?)),
        }
    }

    /// All pictures and clips as one unit: a whole modality.
    ///
    /// # Errors
    /// As [`Units::cells`].
    pub fn all_pictures(inputs: &Inputs) -> Result<Self, UnitError> {
        Ok(Self::pictures(inputs)?.joined(TokenLabel::new("pictures", Modality::Image)))
    }

    /// All of them as one unit.
    pub(super) fn joined(self, label: TokenLabel) -> Self {
        let (mut pieces, mut places) = (Vec::new(), Vec::new());
        for unit in self.units {
            places.extend(unit.places);
            if let Held::Pixels(own) = unit.held {
                pieces.extend(own);
            }
        }
        Self::of(vec![Unit::new(label, Held::Pixels(pieces), places)])
    }
}

/// The frames at which the steps of a clip begin, in order.
fn steps(patches: &[PatchLabel], image: usize) -> Vec<usize> {
    let mut frames: Vec<usize> = patches.iter().filter(|p| p.image == image).map(|p| p.frame).collect();
    frames.sort_unstable();
    frames.dedup();
    frames
}
