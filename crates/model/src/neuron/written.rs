//! What the neurons of a language model hold in a case where its answer is read, and what they write.

use mmlens_core::{AnalysisError, Card, Case, Cost, Inputs, Listed, Objective, On, Part, Point, Subject};
use mmlens_engine::{Indices, Neurons, Positions, Progress, ValueVectors, one_row};

use crate::check::{input, passes_of_reading, read_from};

/// Neurons of a language model, looked at where the answer of a case is read.
pub(super) struct Written<'a> {
    card: &'static Card,
    case: &'a Case,
    objective: Objective,
    settling: usize,
    pub(super) neurons: Neurons,
}

impl<'a> Written<'a> {
    /// Those of some layers. Where the answer is read takes a pass only of a subject that pools.
    pub(super) fn of(
        card: &'static Card,
        on: &On<'_>,
        case: &'a Case,
        layers: &Indices,
    ) -> Result<Self, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        one_row(card.id, &inputs)?;
        let objective = on.form(case, &inputs)?;
        let settling = passes_of_reading(on.subject(), &objective);
        let positions = Positions::At(read_from(card, on.subject(), &inputs, &objective)?);
        let neurons = Neurons::of((on, card.id), (Part::Text, Point::MlpPost), layers, &positions)?;
        Ok(Self { card, case, objective, settling, neurons })
    }

    /// Where the answer is read.
    pub(super) fn inputs(&self, on: &On<'_>) -> Result<Inputs, AnalysisError> {
        Ok(on.encode(&self.case.sample)?)
    }

    /// What the answer is, as far as it is known without a pass.
    pub(super) fn objective(&self) -> &Objective {
        &self.objective
    }

    /// What the passes of [`Written::rows`] take.
    pub(super) fn cost(&self, on: &On<'_>) -> Result<Cost, AnalysisError> {
        let cases = std::slice::from_ref(self.case);
        let all = 0..self.neurons.layers().len();
        let cost = self.neurons.cost((on, self.card.id), &Listed::new("case", cases), &[(all, 0)])?;
        Ok(Cost { forward: cost.forward + self.settling as u64, ..cost })
    }

    /// What they hold at each of the positions, layer after layer, `[position, neuron]`: one step.
    pub(super) fn rows(
        &self,
        on: &On<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Vec<f32>>, AnalysisError> {
        let cases = std::slice::from_ref(self.case);
        let mut held = vec![Vec::new(); self.neurons.layers().len()];
        let all = (0..held.len(), 0);
        self.neurons.scan(
            (on, self.card.id),
            &Listed::new("case", cases),
            all,
            progress,
            &mut |_, layer, own| {
                if let Some(slot) = held.get_mut(layer) {
                    slot.clone_from(&own.values);
                }
                Ok(())
            },
        )?;
        Ok(held)
    }

    /// The mean over the positions.
    pub(super) fn means(
        &self,
        on: &On<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Vec<f32>>, AnalysisError> {
        let width = self.neurons.width().max(1);
        let mean = |rows: Vec<f32>| {
            let count = rows.len() / width;
            (0..width)
                .map(|neuron| {
                    let own = rows.iter().skip(neuron).step_by(width).map(|value| f64::from(*value));
                    (own.sum::<f64>() / count.max(1) as f64) as f32
                })
                .collect()
        };
        Ok(self.rows(on, progress)?.into_iter().map(mean).collect())
    }
}

/// The value vectors of a layer.
pub(super) fn value_vectors(
    card: &Card,
    subject: &dyn Subject,
    layer: usize,
) -> Result<ValueVectors, AnalysisError> {
    let lacking = || {
        let found = format!("there is none of block {layer} among them");
        input(card, "the weights of output projections", found)
    };
    ValueVectors::of(subject, layer)?.ok_or_else(lacking)
}
