//! What stands in the places of absent parts of what towers are given, in the shape of that.

use image::DynamicImage;
use mmlens_core::{
    AnyTensor, Baseline, Entries, Inputs, Part, Sample, Site, SiteSpec, Subject, SubjectError,
};

use super::absent::{blurry, fitted, noisy, with_noise, with_pictures};
use super::canvas::Canvas;
use super::{Absent, UnitError};

/// For each tower, values in the shape of what it is given.
pub(super) type Given = Vec<(Part, AnyTensor)>;

/// A sample, and what towers are given of it.
pub(super) struct Filling<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) sample: &'a Sample,
    pub(super) inputs: &'a Inputs,
    pub(super) canvases: &'a [Canvas],
}

impl Filling<'_> {
    /// What stands for absent parts of what towers are given.
    pub(super) fn given(&self, absent: &Absent, towers: &[Part]) -> Result<Given, UnitError> {
        let unfit = |what| Err(UnitError::Unfit { absent: absent.to_string(), what });
        let changed = match absent {
            Absent::Baseline(baseline) => {
                let of = |tower: &Part| {
                    let (canvas, site) = (self.canvas(*tower)?, entrance(*tower)?);
                    Ok((*tower, self.baseline_at(site, baseline, &canvas.values)?))
                };
                return towers.iter().map(of).collect();
            }
            Absent::Mask | Absent::Unattended if towers == [Part::Audio] => {
                return unfit("a part of a recording");
            }
            Absent::Mask | Absent::Unattended => return unfit("a part of a picture"),
            Absent::Blur { .. } | Absent::Road { .. } if towers.contains(&Part::Audio) => {
                return unfit("a part of a recording");
            }
            Absent::Silence => {
                return match towers {
                    [Part::Audio] => Ok(vec![(Part::Audio, self.silence()?)]),
                    _ => unfit("a part of a picture"),
                };
            }
            Absent::Road { .. } => return unfit("what does not depend on the rest"),
            Absent::Blur { sigma } => with_pictures(self.sample, |_, _, picture| blurry(picture, *sigma)),
            Absent::Noise { seed } => {
                let seen = with_pictures(self.sample, |at, _, picture| noisy(picture, seed.at(at as u64)));
                let none =
                    |reason: String| SubjectError::Sample { subject: self.subject.name().to_owned(), reason };
                with_noise(&seen, *seed).map_err(|error| none(error.to_string()))?
            }
            Absent::Other(other) => self.another(other)?,
        };
        self.processed(&changed, towers)
    }

    /// This sample with the pictures and recordings of another in the place of its own.
    fn another(&self, other: &Sample) -> Result<Sample, UnitError> {
        let count = |sample: &Sample| {
            let frames: Vec<usize> = sample.clips.iter().map(|clip| clip.frames.len()).collect();
            let recordings = match sample.recordings.len() {
                0 => String::new(),
                1 => ", 1 recording".to_owned(),
                recordings => format!(", {recordings} recordings"),
            };
            format!("{} pictures and clips of {frames:?} frames{recordings}", sample.pictures.len())
        };
        let (found, expected) = (count(other), count(self.sample));
        if found != expected {
            return Err(UnitError::Unlike { what: "another sample", found, expected });
        }
        let frames = other.clips.iter().flat_map(|clip| &clip.frames);
        let images: Vec<&DynamicImage> =
            other.pictures.iter().map(|p| &p.image).chain(frames).map(AsRef::as_ref).collect();
        let seen = with_pictures(self.sample, |at, _, own| {
            let size = (own.width(), own.height());
            images.get(at).map_or_else(|| own.to_rgb8(), |other| fitted(other, size))
        });
        Ok(Sample { recordings: other.recordings.clone(), ..seen })
    }

    /// What a tower is given.
    fn canvas(&self, tower: Part) -> Result<&Canvas, UnitError> {
        let what = if tower == Part::Audio { "recording" } else { "picture" };
        self.canvases.iter().find(|canvas| canvas.tower == tower).ok_or(UnitError::Nothing(what))
    }

    /// Silence in the place of every recording.
    fn silence(&self) -> Result<AnyTensor, UnitError> {
        let (canvas, map) = (self.canvas(Part::Audio)?, self.inputs.map());
        let mut values = canvas.values.to_values()?;
        let entries = self.inputs.heard.of_row(0).iter().zip(map.views_of(Part::Audio));
        let each = values.len() / canvas.values.dims().first().copied().unwrap_or(1).max(1);
        for (entry, view) in entries {
            let heard = map.sound(view.image).ok_or(UnitError::Nothing("recording"))?;
            if let Some(own) = values.get_mut(entry * each..(entry + 1) * each) {
                own.fill(heard.silence);
            }
        }
        Ok(canvas.values.filled(values)?)
    }

    /// What the subject makes of a changed sample for these towers, of which no more than the pictures and recordings differ.
    pub(super) fn processed(&self, changed: &Sample, towers: &[Part]) -> Result<Given, UnitError> {
        let made = self.subject.encode(changed)?;
        let of = |tower: &Part| {
            let (own, other) = (self.inputs.entries(*tower), made.entries(*tower));
            let dims = |entries: Option<&Entries>| entries?.values.as_ref().map(AnyTensor::dims);
            let (expected, found) = (dims(own), dims(other));
            match (other.and_then(|other| other.values.clone()), own.zip(other)) {
                (Some(values), Some((own, other))) if found == expected && own.grids == other.grids => {
                    Ok((*tower, values))
                }
                _ => Err(UnitError::Unlike {
                    what: if *tower == Part::Audio {
                        "spectrograms of changed recordings"
                    } else {
                        "pixels of changed pictures"
                    },
                    found: format!("{found:?}"),
                    expected: format!("{expected:?}"),
                }),
            }
        };
        towers.iter().map(of).collect()
    }

    pub(super) fn baseline_at(
        &self,
        site: Site,
        baseline: &Baseline,
        value: &AnyTensor,
    ) -> Result<AnyTensor, UnitError> {
        Ok(baseline.at(SiteSpec::among(self.subject.sites(), site)?, value, self.inputs)?)
    }
}

/// Where what a tower is given enters.
pub(super) fn entrance(tower: Part) -> Result<Site, UnitError> {
    tower.entrance().ok_or(UnitError::Nothing("tower"))
}
