//! What methods that compare cases take of a data set: the class of each, and one number of each neuron.

use std::ops::Range;

use mmlens_core::{AnalysisError, Card, Cases, Memory, On};
use mmlens_engine::{Held, Neurons, Progress};
use serde::{Deserialize, Serialize};

use crate::check::input;

/// The class of every case.
///
/// # Errors
/// [`AnalysisError::Input`] for a data set without classes, a case without a label, or a class without cases.
pub(super) fn labels_of(card: &Card, data: &dyn Cases) -> Result<Vec<usize>, AnalysisError> {
    if data.classes().is_empty() {
        return Err(input(card, "a data set with labels", format!("`{}` has none", data.name())));
    }
    let mut labels = Vec::with_capacity(data.len());
    for case in 0..data.len() {
        let none =
            || input(card, "a label for every case", format!("case {case} of `{}` has none", data.name()));
        labels.push(data.label(case)?.ok_or_else(none)?);
    }
    match data.classes().iter().enumerate().find(|(class, _)| !labels.contains(class)) {
        Some((_, name)) => Err(input(card, "cases of every class", format!("there is none of `{name}`"))),
        None => Ok(labels),
    }
}

/// What a case gives of a neuron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The mean over its positions.
    #[default]
    Mean,
    /// The largest value at any of them.
    Max,
}

/// One number for each case, of the neurons of some layers.
pub(super) struct Pooled {
    cases: usize,
    /// `[unit, case]`.
    values: Vec<f32>,
}

impl Pooled {
    /// In which groups of layers the numbers of all cases are read, and bytes that are held meanwhile, `found` of which are of all neurons.
    pub(super) fn scans(
        neurons: &Neurons,
        memory: &Memory,
        cases: usize,
        found: u64,
    ) -> Vec<(Range<usize>, u64)> {
        let each = 4 * (neurons.width() * cases) as u64;
        let chunks = neurons.chunks(&memory.less(found), each);
        chunks.into_iter().map(|layers| (layers.clone(), found + each * layers.len() as u64)).collect()
    }

    /// Reads some layers in every case.
    pub(super) fn read(
        (on, method): (&On<'_>, &'static str),
        data: &dyn Cases,
        neurons: &Neurons,
        scan: (Range<usize>, u64),
        pool: Pool,
        progress: &mut Progress<'_>,
    ) -> Result<Self, AnalysisError> {
        let (cases, first) = (data.len(), scan.0.start);
        let step = cases.max(1);
        let mut values = vec![0.0_f32; scan.0.len() * neurons.width() * cases];
        neurons.scan((on, method), data, scan, progress, &mut |case, layer, held| {
            let from = (layer - first) * held.width * cases + case;
            let own = values.iter_mut().skip(from).step_by(step);
            own.zip(pool.of(held)).for_each(|(slot, value)| *slot = value);
            Ok(())
        })?;
        Ok(Self { cases, values })
    }

    /// The numbers of each neuron, case by case.
    pub(super) fn units(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks(self.cases.max(1))
    }
}

impl Pool {
    /// The number of each neuron.
    pub(super) fn of(self, held: &Held) -> Vec<f32> {
        let rows = || held.rows();
        match self {
            Self::Mean => {
                let mut sums = vec![0.0_f64; held.width];
                rows().for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x)));
                sums.into_iter().map(|sum| (sum / held.places.len() as f64) as f32).collect()
            }
            Self::Max => {
                let mut largest = vec![f32::NEG_INFINITY; held.width];
                // no NaN: what is read is finite
                rows().for_each(|row| largest.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(*x)));
                largest
            }
        }
    }
}
