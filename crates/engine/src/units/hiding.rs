//! A case whose units can be absent: inputs and edits of coalitions, and what is measured of them.

use std::collections::{BTreeMap, BTreeSet};

use mmlens_core::finding::Caution;
use mmlens_core::{
    Alteration, AnalysisError, AnyTensor, AxisName, Baseline, Change, HookError, Inputs, Memory, Part, Plan,
    Point, Region, Sample, Selector, Site, Subject, caution,
};

use super::absent::{interpolated, with_pictures};
use super::canvas::{Canvas, Piece};
use super::fill::{Filling, entrance};
use super::{Absent, Coalition, Held, Place, UnitError, Units, one_row};
use crate::sweep::{self, Shown, Variants, showing};
use crate::{Edit, Measured, Metric, Progress};

/// A case whose units can be absent. See [the module](crate::units) for its use.
#[derive(Clone)]
pub struct Hiding<'a> {
    subject: &'a dyn Subject,
    sample: &'a Sample,
    inputs: &'a Inputs,
    units: Units,
    /// What every tower is given.
    canvases: Vec<Canvas>,
    /// For each of the units' ways to be absent, what stands there.
    fills: Vec<Fill>,
    /// The part of the model that reads words, and where its attention looks.
    reader: Part,
    scores: Selector,
}

/// What stands in the places of one kind of units.
#[derive(Debug, Clone)]
enum Fill {
    /// For each tower that has such units, values in the shape of what it is given.
    Given(Vec<(Part, AnyTensor)>),
    /// Pixels that depend on what else is absent.
    Interpolated { noise: f64, seed: mmlens_core::Seed },
    /// Vectors of all positions where the stream begins, `[1, pos, d_model]`.
    Vectors(AnyTensor),
    /// None: nobody attends.
    Unattended,
    /// No unit is absent this way.
    Unused,
}

impl<'a> Hiding<'a> {
    /// Makes what stands in the places of units. `inputs` is what the subject made of `sample`, a single row.
    ///
    /// # Errors
    /// [`UnitError::Unfit`] for what cannot stand in such a place, [`UnitError::NoMask`], [`UnitError::Setting`] of an [`Absent`],
    /// [`UnitError::Unlike`] for another sample of another shape, [`UnitError::Rows`]; whatever a pass reports.
    ///
    /// # Cost
    /// For each kind of absence that changes pictures or recordings, one encoding; for vectors of words, a pass up to the first block. Held are values or
    /// vectors for each kind, once.
    pub fn new(
        subject: &'a dyn Subject,
        sample: &'a Sample,
        inputs: &'a Inputs,
        units: Units,
    ) -> Result<Self, UnitError> {
        one_row(inputs)?;
        let encoder = subject.anatomy().iter().any(|anatomy| anatomy.part == Part::Encoder);
        let reader = if encoder { Part::Encoder } else { Part::Text };
        let canvases = Canvas::all(inputs)?;
        let scores = format!("{}.blocks.*.attn.scores", reader.name()).parse()?;
        let mut hiding = Self { subject, sample, inputs, units, canvases, fills: Vec::new(), reader, scores };
        for (kind, absent) in hiding.units.absents().iter().enumerate() {
            absent.check()?;
            let own = || hiding.units.iter().filter(|unit| unit.absent == kind);
            let towers = hiding.towers(kind);
            let worded = own().any(|unit| matches!(unit.held, Held::Positions(_)));
            let unfit = |what| UnitError::Unfit { absent: absent.to_string(), what };
            let fill = match (towers.is_empty(), worded) {
                (false, true) => return Err(unfit("parts of pictures and words at once")),
                (false, false) => match absent {
                    Absent::Road { noise, seed } if !towers.contains(&Part::Audio) => {
                        Fill::Interpolated { noise: *noise, seed: *seed }
                    }
                    _ => Fill::Given(hiding.filling().given(absent, &towers)?),
                },
                (true, true) => hiding.vectors(absent, kind)?,
                (true, false) => Fill::Unused,
            };
            let frames = own().any(|unit| unit.places.contains(&Place::Frames));
            if let (Fill::Interpolated { .. }, true) = (&fill, frames) {
                return Err(unfit("a part of a clip"));
            }
            hiding.fills.push(fill);
        }
        Ok(hiding)
    }

    /// The towers that are given units of a kind.
    fn towers(&self, kind: usize) -> Vec<Part> {
        let mut towers = Vec::new();
        for unit in self.units.iter().filter(|unit| unit.absent == kind) {
            if let Held::Pixels(pieces) = &unit.held {
                towers.extend(pieces.iter().map(|piece| piece.tower));
            }
        }
        towers.sort_unstable();
        towers.dedup();
        towers
    }

    /// The units.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// What stands in the places of absent units, in words, as a finding tells it.
    pub fn baseline(&self) -> String {
        let mut told = Vec::new();
        for (fill, absent) in self.fills.iter().zip(self.units.absents()) {
            match fill {
                Fill::Unused => {}
                Fill::Given(given) => told.extend(given.iter().map(|(tower, _)| absent.describe(*tower))),
                Fill::Interpolated { .. } => told.push(absent.describe(Part::Vision)),
                Fill::Vectors(_) | Fill::Unattended => told.push(absent.describe(self.reader)),
            }
        }
        told.join("; ")
    }

    /// What is heard in the places of absent parts of recordings, in words.
    fn heard_instead(&self) -> String {
        let own = self.fills.iter().zip(self.units.absents()).filter_map(|(fill, absent)| match fill {
            Fill::Given(given) if given.iter().any(|(tower, _)| *tower == Part::Audio) => {
                Some(absent.describe(Part::Audio))
            }
            _ => None,
        });
        own.collect::<Vec<_>>().join("; ")
    }

    /// That what is heard in the place of parts of recordings is louder than they are, by 10 dB in the mean over their cells.
    ///
    /// # Errors
    /// Values that cannot be read.
    ///
    /// # Memory
    /// What the tower is given, twice.
    pub fn louder(&self) -> Result<Option<Caution>, HookError> {
        let mut count = [0, 0];
        let Some(canvas) = self.canvases.iter().find(|canvas| canvas.tower == Part::Audio) else {
            return Ok(None);
        };
        let own = canvas.values.to_values()?;
        for (kind, fill) in self.fills.iter().enumerate() {
            let Fill::Given(given) = fill else { continue };
            let Some((_, fill)) = given.iter().find(|(tower, _)| *tower == canvas.tower) else { continue };
            let fill = fill.to_values()?;
            for unit in self.units.iter().filter(|unit| unit.absent == kind) {
                let Held::Pixels(pieces) = &unit.held else { continue };
                let (mut cells, mut above) = (0_usize, 0.0);
                for cell in pieces.iter().flat_map(|piece| canvas.cells(piece)) {
                    let (Some(own), Some(fill)) = (own.get(cell), fill.get(cell)) else { continue };
                    cells += 1;
                    above += f64::from(*fill) - f64::from(*own);
                }
                count[0] += usize::from(cells > 0 && above / cells as f64 > caution::LOUDER);
                count[1] += 1;
            }
        }
        Ok(caution::louder(count, &self.heard_instead()))
    }

    /// The case with the units of a coalition alone: its inputs, and a plan that holds the edits of words.
    ///
    /// # Errors
    /// [`HookError::Values`] for a coalition of another number of units; whatever making pixels reports.
    pub fn only(&self, coalition: &Coalition) -> Result<(Inputs, Plan), AnalysisError> {
        self.fits(coalition)?;
        let inputs = match self.exchanges(coalition) {
            true => showing(self.inputs, &[self.exchanged(coalition)?])?,
            false => self.inputs.clone(),
        };
        let mut plan = Plan::new();
        for edit in self.worded(coalition) {
            plan = edit.whole(plan)?;
        }
        Ok((inputs, plan))
    }

    /// Some metrics of every coalition, in their order, and of the case as it is: one entry for each metric. They are packed within the budget; coalitions that lack words alone go on behind the
    /// tower.
    ///
    /// # Errors
    /// [`HookError::Values`] for a coalition of another number of units; as [`Sweep::run`](crate::Sweep::run).
    ///
    /// # Cost
    /// A pass for each coalition, from what towers are given where it lacks a part of that, and one more for all. Beside the passes one pack
    /// of that is there at a time, thrice.
    pub fn measure(
        &self,
        metrics: &[Metric],
        coalitions: &[Coalition],
        memory: &Memory,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Measured>, AnalysisError> {
        coalitions.iter().try_for_each(|coalition| self.fits(coalition))?;
        let variants = Coalitions { hiding: self, coalitions };
        sweep::run(&variants, metrics, self.subject, self.inputs, memory, progress)
    }

    fn fits(&self, coalition: &Coalition) -> Result<(), HookError> {
        match coalition.units() == self.units.len() {
            true => Ok(()),
            false => Err(HookError::Values { dims: vec![self.units.len()], given: coalition.units() }),
        }
    }

    fn filling(&self) -> Filling<'_> {
        let Self { subject, sample, inputs, canvases, .. } = self;
        Filling { subject: *subject, sample, inputs, canvases }
    }

    fn baseline_at(
        &self,
        site: Site,
        baseline: &Baseline,
        value: &AnyTensor,
    ) -> Result<AnyTensor, UnitError> {
        self.filling().baseline_at(site, baseline, value)
    }

    /// Where the stream of words begins.
    fn entered(&self) -> Site {
        Site::block(self.reader, 0, Point::ResidPre)
    }

    /// Vectors that stand for absent words.
    fn vectors(&self, absent: &Absent, kind: usize) -> Result<Fill, UnitError> {
        let site = self.entered();
        let read = |inputs: &Inputs| -> Result<AnyTensor, UnitError> {
            let trace = self.subject.run(inputs, Plan::new().read(site)?)?;
            Ok(trace.get(site)?.clone())
        };
        let vectors = match absent {
            Absent::Unattended => return Ok(Fill::Unattended),
            Absent::Baseline(baseline) => self.baseline_at(site, baseline, &read(self.inputs)?)?,
            Absent::Mask => {
                let none = || UnitError::NoMask { subject: self.subject.name().to_owned() };
                let mask = self.subject.mask().ok_or_else(none)?;
                let own = self.units.iter().filter(|unit| unit.absent == kind);
                let masked = self.inputs.clone().with(|batch| {
                    for position in own.flat_map(super::Unit::positions) {
                        let ids = batch.ids.iter_mut().filter_map(|ids| ids.get_mut(*position));
                        ids.for_each(|id| *id = mask);
                    }
                })?;
                read(&masked)?
            }
            Absent::Other(other) => {
                let other = self.subject.encode(other)?;
                if (other.rows(), other.positions()) != (1, self.inputs.positions()) {
                    return Err(UnitError::Unlike {
                        what: "another sample",
                        found: format!("{} rows of {} positions", other.rows(), other.positions()),
                        expected: format!("1 row of {} positions", self.inputs.positions()),
                    });
                }
                read(&other)?
            }
            Absent::Blur { .. } | Absent::Noise { .. } | Absent::Silence | Absent::Road { .. } => {
                return Err(UnitError::Unfit { absent: absent.to_string(), what: "a word" });
            }
        };
        Ok(Fill::Vectors(vectors))
    }

    /// Whether a coalition lacks a part of what towers are given.
    fn exchanges(&self, coalition: &Coalition) -> bool {
        self.absent(coalition).any(|unit| matches!(unit.held, Held::Pixels(_)))
    }

    fn absent<'b>(&'b self, coalition: &'b Coalition) -> impl Iterator<Item = &'b super::Unit> {
        coalition.absent().filter_map(|unit| self.units.units.get(unit))
    }

    /// What towers are given of a coalition.
    fn exchanged(&self, coalition: &Coalition) -> Result<Shown, AnalysisError> {
        let made = self.made(coalition).map_err(|error| error.of("hiding"))?;
        let mut shown = Shown::default();
        for canvas in &self.canvases {
            let site = entrance(canvas.tower).map_err(|error| error.of("hiding"))?;
            let mut pieces: Vec<(&Piece, &AnyTensor)> = Vec::new();
            for unit in self.absent(coalition) {
                let Held::Pixels(own) = &unit.held else { continue };
                let own: Vec<&Piece> = own.iter().filter(|piece| piece.tower == canvas.tower).collect();
                if own.is_empty() {
                    continue;
                }
                let fill = match self.fills.get(unit.absent) {
                    Some(Fill::Given(given)) => {
                        given.iter().find(|(tower, _)| *tower == canvas.tower).map(|(_, values)| values)
                    }
                    Some(Fill::Interpolated { .. }) => made.get(&unit.absent),
                    _ => None,
                };
                let fill = fill.ok_or(HookError::NotRead(site))?;
                pieces.extend(own.into_iter().map(|piece| (piece, fill)));
            }
            if !pieces.is_empty() {
                shown.0.push(canvas.exchanged(&pieces).map_err(|error| error.of("hiding"))?);
            }
        }
        Ok(shown)
    }

    /// Pixels that depend on the coalition, by the kind of absence.
    fn made(&self, coalition: &Coalition) -> Result<BTreeMap<usize, AnyTensor>, UnitError> {
        let mut made = BTreeMap::new();
        for (kind, fill) in self.fills.iter().enumerate() {
            let Fill::Interpolated { noise, seed } = fill else { continue };
            // Whatever is missing is missing, in whichever way.
            let gone: Vec<&Place> = self.absent(coalition).flat_map(|unit| &unit.places).collect();
            if gone.is_empty() {
                continue;
            }
            let changed = with_pictures(self.sample, |at, of, picture| {
                let missing = missing(&gone, of, (picture.width(), picture.height()));
                match missing.contains(&true) {
                    true => interpolated(picture, &missing, *noise, seed.at(at as u64)),
                    false => picture.to_rgb8(),
                }
            });
            let pixels = self.filling().processed(&changed, &[Part::Vision])?;
            made.extend(pixels.into_iter().map(|(_, pixels)| (kind, pixels)));
        }
        Ok(made)
    }

    /// The edits of a coalition's absent words.
    fn worded(&self, coalition: &Coalition) -> Vec<Edit> {
        let mut by_kind: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for unit in self.absent(coalition) {
            if let Held::Positions(positions) = &unit.held {
                by_kind.entry(unit.absent).or_default().extend(positions);
            }
        }
        let mut edits = Vec::new();
        for (kind, mut positions) in by_kind {
            positions.sort_unstable();
            positions.dedup();
            match self.fills.get(kind) {
                Some(Fill::Vectors(vectors)) => {
                    edits.push(Edit::set(self.entered(), vectors.clone()).positions(positions));
                }
                Some(Fill::Unattended) => edits.push(self.unattended(positions)),
                // No words are absent in such a way: it was refused.
                Some(Fill::Given(_) | Fill::Interpolated { .. } | Fill::Unused) | None => {}
            }
        }
        edits
    }

    /// The edits of a coalition's absent words as ones that stand: in every pass, over the prompt with an answer behind it too.
    ///
    /// # Errors
    /// [`HookError::Values`] for a coalition of another number of units; vectors that cannot be read.
    pub fn standing(&self, coalition: &Coalition) -> Result<Vec<Alteration>, AnalysisError> {
        self.fits(coalition)?;
        let mut by_kind: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for unit in self.absent(coalition) {
            by_kind.entry(unit.absent).or_default().extend(unit.positions());
        }
        let mut all = Vec::new();
        for (kind, positions) in by_kind {
            match self.fills.get(kind) {
                Some(Fill::Vectors(vectors)) => {
                    for position in positions {
                        let own = Change::Set(vectors.part(1, position, 1)?);
                        all.push(Alteration::new(self.entered(), Region::all().positions([position]), own)?);
                    }
                }
                Some(Fill::Unattended) if !positions.is_empty() => {
                    let keys = Region::all().of(AxisName::Key, positions);
                    all.push(Alteration::new(self.scores.clone(), keys, Change::MaskOthers)?);
                }
                _ => {}
            }
        }
        Ok(all)
    }

    /// No position but itself attends to any of these, in any layer.
    fn unattended(&self, keys: Vec<usize>) -> Edit {
        // What comes before the first of them does not see it anyway, where a model goes on from its past.
        let first =
            if self.subject.resumes_from_suffix() { keys.iter().min().copied().unwrap_or(0) } else { 0 };
        let queries = first..self.inputs.positions();
        let edges = Region::all().of(AxisName::Query, queries).of(AxisName::Key, keys);
        Edit::new(self.scores.clone(), Change::MaskOthers).within(edges)
    }
}

impl std::fmt::Debug for Hiding<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} units of `{}`: {}", self.units.len(), self.subject.name(), self.baseline())
    }
}

/// Which pixels of an original picture some places cover: those whose middle lies there.
fn missing(places: &[&Place], at: usize, (width, height): (u32, u32)) -> Vec<bool> {
    let (wide, high) = (width as usize, height as usize);
    let mut missing = vec![false; wide * high];
    for place in places {
        match place {
            Place::Box { image, bbox } if *image == at => {
                // The first pixel whose middle is no less than an edge.
                let edge =
                    |edge: f32, most: usize| ((f64::from(edge) - 0.5).ceil().max(0.0) as usize).min(most); // no NaN: a box on a picture
                let [x0, x1] = [bbox[0], bbox[2]].map(|x| edge(x, wide));
                for y in edge(bbox[1], high)..edge(bbox[3], high) {
                    if let Some(line) = missing.get_mut(y * wide + x0..y * wide + x1.max(x0)) {
                        line.fill(true);
                    }
                }
            }
            Place::Label { image, segments, label } if *image == at => {
                let own = missing.iter_mut().zip(segments.labels());
                own.for_each(|(slot, found)| *slot |= found == label);
            }
            _ => {}
        }
    }
    missing
}

/// Coalitions as the variants of a sweep.
struct Coalitions<'a> {
    hiding: &'a Hiding<'a>,
    coalitions: &'a [Coalition],
}

impl Variants for Coalitions<'_> {
    fn len(&self) -> usize {
        self.coalitions.len()
    }

    fn edits(&self, variant: usize) -> Vec<Edit> {
        self.coalitions.get(variant).map_or_else(Vec::new, |coalition| self.hiding.worded(coalition))
    }

    fn shows(&self, variant: usize) -> bool {
        self.coalitions.get(variant).is_some_and(|coalition| self.hiding.exchanges(coalition))
    }

    fn shown(&self, variant: usize) -> Result<Shown, AnalysisError> {
        let past = || HookError::Values { dims: vec![self.coalitions.len()], given: variant };
        self.hiding.exchanged(self.coalitions.get(variant).ok_or_else(past)?)
    }
}
