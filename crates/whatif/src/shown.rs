//! A subject that is not shown some parts of pictures and does not hear some of recordings, whatever it is asked about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mmlens_core::{Inputs, Part, Sample, Subject, SubjectError, Words, forward_subject, kind};
use mmlens_engine::{Absent, Coalition, Hiding, UnitError, Units};

/// A subject that holds another, and sees pictures and hears recordings with some cells hidden: those of every sample that it encodes, so that
/// methods which change a picture and encode it anew find the same area hidden. Its findings name what is hidden.
///
/// Recordings are counted behind pictures and clips; their cells are those of the spectrogram. A picture that a sample does not have hides
/// nothing; a sample without pictures and recordings is encoded as it is.
pub struct Shown<S> {
    inner: S,
    cells: BTreeMap<usize, BTreeSet<usize>>,
    grid: [usize; 2],
    absent: Absent,
    alterations: Vec<String>,
}

impl<S: Subject> Shown<S> {
    /// The subject with these cells of a grid over each picture hidden. Without any it is the same to the last bit.
    pub fn new(
        inner: S,
        cells: &BTreeMap<usize, BTreeSet<usize>>,
        grid: [usize; 2],
        absent: impl Into<Absent>,
    ) -> Self {
        let (absent, mut alterations) = (absent.into(), inner.alterations().to_vec());
        let kind = if tower(&inner) == Part::Audio { "recording" } else { "picture" };
        for (picture, hidden) in cells.iter().filter(|(_, hidden)| !hidden.is_empty()) {
            let hidden: Vec<String> = hidden.iter().map(ToString::to_string).collect();
            let ([rows, cols], hidden) = (grid, hidden.join(","));
            let what = absent.describe(tower(&inner));
            alterations.push(format!("{kind} {picture}, cells {hidden} of {rows} x {cols} hidden, {what}"));
        }
        Self { inner, cells: cells.clone(), grid, absent, alterations }
    }

    fn hidden(&self, sample: &Sample, inputs: &Inputs) -> Result<Inputs, UnitError> {
        let shown = inputs.map().pictures.len();
        let mut units: Option<Units> = None;
        let mut absent = BTreeSet::new();
        for (picture, cells) in self.cells.iter().filter(|(picture, _)| **picture < shown) {
            let own = Units::cells(inputs, *picture, self.grid)?;
            let before = units.as_ref().map_or(0, Units::len);
            absent.extend(cells.iter().map(|cell| before + cell));
            units = Some(match units {
                Some(units) => units.and(own),
                None => own,
            });
        }
        // Once for all of them: it is as large as all that a tower is given.
        let Some(units) = units.map(|units| units.instead(self.absent.clone())) else {
            return Ok(inputs.clone());
        };
        let present = absent.iter().fold(Coalition::all(units.len()), |some, unit| some.without(*unit));
        let hiding = Hiding::new(&self.inner, sample, inputs, units)?;
        let only = hiding.only(&present).map(|(inputs, _)| inputs);
        only.map_err(|error| {
            UnitError::Subject(SubjectError::Sample {
                subject: self.inner.name().to_owned(),
                reason: error.to_string(),
            })
        })
    }
}

/// What cells are of: pictures, of a subject that sees none recordings.
fn tower(subject: &dyn Subject) -> Part {
    let sees = Part::Vision.entrance().is_some_and(|site| kind::has(subject, site));
    if sees { Part::Vision } else { Part::Audio }
}

impl<S: Subject> fmt::Debug for Shown<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("name", &self.inner.name()).field("hidden", &self.cells).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Subject> Subject for Shown<S> {
    forward_subject!(|own| &own.inner; name, weights_hash, dtype, device, kernels, differentiable, edited, sites, anatomy, read_behind, weights, weight,
        forward, resumes_from_suffix, need, dims, fits, run, read_out, longest_answer, begin, rules, generate, decode,
        token, tokens, mask, pad);

    fn alterations(&self) -> &[String] {
        &self.alterations
    }

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        let inputs = self.inner.encode(sample)?;
        if self.cells.values().all(BTreeSet::is_empty) || inputs.towers().next().is_none() {
            return Ok(inputs);
        }
        let told = |error: UnitError| match error {
            UnitError::Subject(error) => error,
            other => SubjectError::Sample { subject: self.name().to_owned(), reason: other.to_string() },
        };
        // Parts are of one row; of several captions the pictures are those of the first.
        match &sample.words {
            Words::Texts(texts) if inputs.rows() > 1 => {
                let one =
                    Sample { words: Words::Texts(texts.iter().take(1).cloned().collect()), ..sample.clone() };
                let first = self.inner.encode(&one)?;
                let hidden = self.hidden(&one, &first).map_err(told)?;
                inputs.with(|batch| {
                    batch.seen.values = hidden.seen.values.clone();
                    batch.heard.values = hidden.heard.values.clone();
                })
            }
            _ => self.hidden(sample, &inputs).map_err(told),
        }
    }
}
