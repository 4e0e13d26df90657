//! What a method answers, and how it becomes a finding.

use std::collections::BTreeMap;

use mmlens_finding::{
    Axis, Caution, Finding, InputRecord, Labelled, Provenance, Role, Unit, WordsRecord, finite,
};
use serde_json::{Map, Value, json};

use crate::{AnalysisError, Card, Objective, On, Seed, Site, Subject, place};

/// What a method answers: tables, and what they rest on. The first table is the answer; others that only say it again, or in
/// single coordinates, stand [aside](Labelled::aside).
#[derive(Debug)]
pub struct Answer {
    tables: Vec<Labelled>,
    sites: Vec<Site>,
    objective: Option<Objective>,
    baseline: Option<String>,
    seed: Option<Seed>,
    cautions: Vec<Caution>,
    settled: BTreeMap<&'static str, Value>,
}

impl Answer {
    /// Tables, read or changed at these sites.
    pub fn new(tables: Vec<Labelled>, sites: impl IntoIterator<Item = Site>) -> Self {
        let sites = sites.into_iter().collect();
        Self {
            tables,
            sites,
            objective: None,
            baseline: None,
            seed: None,
            cautions: Vec::new(),
            settled: BTreeMap::new(),
        }
    }

    /// With more tables, behind the others that stand in the front.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = Labelled>) -> Self {
        let front = self.tables.iter().position(Labelled::is_aside).unwrap_or(self.tables.len());
        self.tables.splice(front..front, more);
        self
    }

    /// What is explained.
    #[must_use]
    pub fn explaining(self, objective: &Objective) -> Self {
        Self { objective: Some(objective.clone()), ..self }
    }

    /// Compared with what, in words.
    #[must_use]
    pub fn against(self, baseline: impl Into<String>) -> Self {
        Self { baseline: Some(baseline.into()), ..self }
    }

    /// The seed of every draw.
    #[must_use]
    pub fn seeded(self, seed: Seed) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// What speaks against taking the answer at its word on this input, with its numbers: the finding tells it
    /// ([`Finding::cautions`]).
    #[must_use]
    pub fn cautioned(mut self, cautions: impl IntoIterator<Item = Caution>) -> Self {
        self.cautions.extend(cautions);
        self
    }

    /// What the input settled of a setting that left it open. It stands in the finding in the place of what was given, and
    /// reads back as that.
    #[must_use]
    pub fn settled(mut self, setting: &'static str, value: Value) -> Self {
        self.settled.insert(setting, value);
        self
    }

    /// The finding: every number finite, and signed with all that it takes to make it again.
    pub(super) fn signed(
        self,
        card: &Card,
        on: &On<'_>,
        settings: Value,
        input: InputRecord,
    ) -> Result<Finding, AnalysisError> {
        let Self { mut tables, sites, objective, baseline, seed, cautions, settled } = self;
        let Value::Object(mut settings) = settings else {
            let reason = format!("they are {settings}, expected an object");
            return Err(AnalysisError::Settings { method: card.id, reason });
        };
        settings.extend(settled.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let mut given = Vec::new();
        let settings = settings.into_iter().map(|(name, value)| Ok((name, saved_apart(value, &mut given)?)));
        let settings = settings.collect::<Result<_, AnalysisError>>()?;
        tables.extend(Caution::tables(&cautions)?);
        tables.extend(given);
        let subject = on.subject();
        let answer = objective.as_ref().and_then(|own| in_words(own, subject, &input));
        found(
            Provenance {
                method: card.id.to_owned(),
                settings,
                input: Some(input),
                subject: subject.name().to_owned(),
                weights_hash: subject.weights_hash(),
                alterations: subject.alterations().to_vec(),
                sites: sites.iter().map(ToString::to_string).collect(),
                answer,
                objective: objective.as_ref().map(ToString::to_string),
                baseline,
                seed: seed.map(Seed::value),
                dtype: subject.dtype(),
                device: subject.device(),
                kernels: subject.kernels(),
                memory: Some(on.memory().budget()),
                model: None,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            tables,
        )
    }
}

/// The words whose score an objective is: the text of its tokens, or the caption. None of what is no answer, or cannot be told.
fn in_words(objective: &Objective, subject: &dyn Subject, input: &InputRecord) -> Option<String> {
    let tokens = objective.tokens();
    let caption = match (&input.sample.words, objective) {
        (WordsRecord::Texts(texts), Objective::Pair { text, .. }) => texts.get(*text),
        (
            WordsRecord::Texts(texts),
            Objective::Similarity | Objective::Cosine | Objective::Against { .. },
        ) => texts.first().filter(|_| texts.len() == 1),
        _ => None,
    };
    let text = match tokens.is_empty() {
        true => caption.cloned(),
        false => subject.decode(tokens).ok(),
    };
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Tensors among settings are saved as tables of their own, `given 0`, `given 1`, which stand aside.
fn saved_apart(value: Value, given: &mut Vec<Labelled>) -> Result<Value, AnalysisError> {
    Ok(match value {
        Value::Object(fields) => match tensor(&fields) {
            Some((shape, values)) => {
                let name = format!("given {}", given.len());
                let axes = shape.iter().map(|len| Axis::count(Role::Step, *len)).collect();
                given.push(Labelled::numbers(name.clone(), Unit::None, axes, values)?.aside());
                json!({ "shape": shape, "table": name })
            }
            None => {
                let apart = |(name, value)| Ok((name, saved_apart(value, given)?));
                Value::Object(fields.into_iter().map(apart).collect::<Result<_, AnalysisError>>()?)
            }
        },
        Value::Array(items) => {
            let apart = |value| saved_apart(value, given);
            Value::Array(items.into_iter().map(apart).collect::<Result<_, _>>()?)
        }
        other => other,
    })
}

/// A tensor as settings hold one.
fn tensor(fields: &Map<String, Value>) -> Option<(Vec<usize>, Vec<f32>)> {
    let (Some(shape), Some(values), 2) = (fields.get("shape"), fields.get("values"), fields.len()) else {
        return None;
    };
    let shape = shape.as_array()?.iter().map(|len| Some(len.as_u64()? as usize)).collect::<Option<_>>()?;
    let values =
        values.as_array()?.iter().map(|value| Some(value.as_f64()? as f32)).collect::<Option<_>>()?;
    Some((shape, values))
}

/// Settings of a finding with the tensors that were saved apart put back.
pub(super) fn with_tensors(value: Value, finding: &Finding) -> Result<Value, AnalysisError> {
    Ok(match value {
        Value::Object(fields) => {
            if let (Some(shape), Some(Value::String(table)), 2) =
                (fields.get("shape"), fields.get("table"), fields.len())
            {
                let values = finding.table(table)?.as_numbers().unwrap_or_default();
                return Ok(json!({ "shape": shape, "values": values }));
            }
            let back = |(name, value)| Ok((name, with_tensors(value, finding)?));
            Value::Object(fields.into_iter().map(back).collect::<Result<_, AnalysisError>>()?)
        }
        Value::Array(items) => {
            let back = |value| with_tensors(value, finding);
            Value::Array(items.into_iter().map(back).collect::<Result<_, _>>()?)
        }
        other => other,
    })
}

/// What a method found: tables of which every number is finite.
///
/// # Errors
/// [`AnalysisError::NotFinite`] with the first value that is none, and [`AnalysisError::Finding`] for tables of one name.
pub fn found(made: Provenance, tables: Vec<Labelled>) -> Result<Finding, AnalysisError> {
    for table in &tables {
        let Err(error) = finite(table.as_numbers().unwrap_or_default()) else { continue };
        let places = place(error.at, &table.shape());
        let named = table.axes().iter().zip(places).map(|(axis, at)| {
            let label = axis.label(at).unwrap_or_else(|| at.to_string());
            format!("{} `{label}`", axis.role)
        });
        let at = named.collect::<Vec<_>>().join(", ");
        let at = if at.is_empty() { "its only place".to_owned() } else { at };
        let (method, table) = (made.method.clone(), table.name().to_owned());
        return Err(AnalysisError::NotFinite { method, table, at, found: error.found as f32 });
    }
    Ok(Finding::new(made, tables)?)
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Labelled, Provenance, Role, Unit};

    use super::found;

    #[test]
    fn a_result_that_is_no_number_is_named_by_its_labels() {
        let axes = || vec![Axis::count(Role::Layer, 2), Axis::names(Role::Token, ["a", "red"])];
        let table = |values| Labelled::numbers("effect", Unit::Logit, axes(), values).unwrap();
        let made = || Provenance::new("patching", "toy");
        assert!(found(made(), vec![table(vec![0.0, 1.0, 2.0, 3.0])]).is_ok());
        let said = found(made(), vec![table(vec![0.0, 1.0, 2.0, f32::NAN])]).unwrap_err().to_string();
        assert_eq!(
            said,
            "patching: `effect` holds NaN at layer `1`, token `red`, where a finite number belongs"
        );
        let scalar = Labelled::scalar("objective", Unit::Logit, f32::INFINITY);
        let said = found(made(), vec![scalar]).unwrap_err().to_string();
        assert_eq!(said, "patching: `objective` holds inf at its only place, where a finite number belongs");
    }
}
