//! Several models that learned from the same cases: checkpoints of one training, or trainings from other seeds.

use std::fmt;
use std::sync::Arc;

use mmlens_core::check::input;
use mmlens_core::finding::{Caution, Finding, Provenance};
use mmlens_core::{Analysis as _, AnalysisError, Case, On, Seed, Subject, Watch, fields, found, step};
use serde_json::json;

use super::learned::Products;
use super::ranked::Scores;
use super::{Influence, Measure};

/// Models, and what was learned of the same training cases with each.
///
/// With `p_m` the products of a training case with what is explained in model `m` of `M`, and `g_m` its factor (the rate of TracIn, what is left of one of TRAK),
///
/// ```text
/// TracIn:        sum_m g_m p_m                        one model, at several checkpoints (Pruthi et al. 2020)
/// TRAK, cosines: (1/M sum_m g_m) (1/M sum_m p_m)      several models (Park et al. 2023)
/// ```
pub struct Ensemble<M: Measure> {
    members: Vec<(Arc<dyn Subject>, Influence<M>)>,
}

impl<M: Measure> fmt::Debug for Ensemble<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} models", M::CARD.id, self.members.len())
    }
}

impl<M: Measure> Ensemble<M> {
    /// Of models and what was learned with each.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for no model, or training cases that are not the same for all.
    pub fn new(members: Vec<(Arc<dyn Subject>, Influence<M>)>) -> Result<Self, AnalysisError> {
        let Some((_, first)) = members.first() else {
            return Err(input(&M::CARD, "at least one model", "there is none"));
        };
        let other = members.iter().position(|(_, own)| !own.is_of_the_cases_of(first));
        match other {
            Some(at) => {
                let found = format!("model {at} has learned from others than model 0");
                Err(input(&M::CARD, "the same training cases for every model", found))
            }
            None => Ok(Self { members }),
        }
    }

    /// The influence of training cases on a case, over all models: tables as of an [`Influence`], by part where all models have the same parts.
    ///
    /// # Errors
    /// As of an [`Influence`].
    pub fn run(&self, case: &Case, watch: &dyn Watch) -> Result<Finding, AnalysisError> {
        let count = self.members.len();
        let (mut products, mut gains): (Vec<(String, Vec<f64>)>, Vec<f64>) = (Vec::new(), Vec::new());
        let (mut cautions, mut about, mut sites) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (subject, own)) in self.members.iter().enumerate() {
            let on = On::new(subject).watched(watch);
            M::CARD.allows(subject.as_ref())?;
            let Products { shares, cautions: said, sites: looked } = own.products(&on, case)?;
            let by = |i: usize| {
                if M::SUMMED { own.gains().get(i).copied().unwrap_or_default() } else { 1.0 / count as f64 }
            };
            for (name, values) in shares {
                let values = values.into_iter().enumerate().map(|(i, value)| by(i) * value);
                match products.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
                    None => products.push((name, values.collect())),
                }
            }
            gains.resize(own.gains().len(), 0.0);
            gains.iter_mut().zip(own.gains()).for_each(|(sum, gain)| *sum += gain / count as f64);
            cautions.extend(said);
            sites.extend(looked);
            about.push(json!({ "model": subject.name(), "weights": subject.weights_hash(), "learned": own.settings() }));
            step(watch, M::CARD.id, at + 1, count)?;
        }
        if !M::SUMMED {
            let weighed = |(_, values): &mut (String, Vec<f64>)| {
                values.iter_mut().zip(&gains).for_each(|(value, gain)| *value *= gain);
            };
            products.iter_mut().for_each(weighed);
        }
        let Some((subject, own)) = self.members.last() else {
            return Err(input(&M::CARD, "at least one model", "there is none"));
        };
        sites.sort_unstable();
        sites.dedup();
        let made = Provenance {
            weights_hash: subject.weights_hash(),
            alterations: subject.alterations().to_vec(),
            settings: fields(M::CARD.id, own.settings())?,
            sites: sites.iter().map(ToString::to_string).collect(),
            seed: Some(own.settings().seed),
            dtype: subject.dtype(),
            device: subject.device(),
            kernels: subject.kernels(),
            ..Provenance::new(M::CARD.id, subject.name())
        };
        let scores = Scores {
            unit: M::UNIT,
            names: own.names(),
            shares: products,
            shown: own.settings().shown,
            seed: Seed(own.settings().seed),
            sites,
        };
        let (mut tables, plain) = scores.tables()?;
        cautions.extend(plain);
        tables.extend(Caution::tables(&cautions)?);
        found(made.with_setting("models", json!(about)), tables)
    }
}
