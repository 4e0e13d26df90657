//! Questions of the shapes world, and what decoders and confidences make of them.

use anyhow::{Context, Result};
use mmlens::data::shapes::{Kind, ShapesCases, Split, World};
use mmlens::finding::Finding;
use mmlens::inference::semantic_entropy::Draws;
use mmlens::inference::uncertainty::clusters::normalised;
use mmlens::inference::uncertainty::reliability::Reliability;
use mmlens::inference::{Calibration, Decoding, SemanticEntropy, calibration, semantic_entropy};
use mmlens::prelude::*;
use serde_json::{Value, json};

/// Questions of one kind, and how they are answered.
pub(crate) struct Tour {
    data: ShapesCases,
}

/// Decoders that are compared: what they are called, which, its settings, and whether tokens are drawn.
fn ways() -> Vec<(&'static str, Option<(&'static str, Value)>, bool)> {
    vec![
        ("greedy", None, false),
        ("vcd, greedy", Some(("vcd", json!({}))), false),
        ("pai, greedy", Some(("pai", json!({}))), false),
        ("dola (textbook), greedy", Some(("dola", json!({}))), false),
        ("dola (reference), greedy", Some(("dola", json!({ "variant": "reference" }))), false),
        ("drawn", None, true),
        ("drawn, under the bound of vcd alone", Some(("vcd", json!({ "alpha": 0.0 }))), true),
        ("vcd, drawn", Some(("vcd", json!({}))), true),
    ]
}

impl Tour {
    pub(crate) fn new(kind: Kind, count: usize) -> Self {
        Self { data: ShapesCases::new(World::new(7), Split::Test, kind, count) }
    }

    pub(crate) fn cases(&self) -> usize {
        self.data.len()
    }

    fn right(&self, index: usize) -> Result<String> {
        Ok(normalised(&self.data.scene(index)?.1.answer))
    }

    /// The share of right answers of every decoder.
    pub(crate) fn decoders(&self, subject: &dyn Subject) -> Result<Vec<(&'static str, f64)>> {
        let mut found = Vec::new();
        for (name, decoder, drawn) in ways() {
            let decoder = decoder
                .map(|(name, settings)| Decoding::called(name)?.make(settings).map_err(anyhow::Error::from));
            let decoder = decoder.transpose()?;
            let mut right = 0;
            for index in 0..self.data.len() {
                let inputs = subject.encode(&self.data.case(index)?.sample)?;
                let sampling = match drawn {
                    true => Sampling::Draw { temperature: 1.0, top_p: 1.0, seed: Seed(index as u64) },
                    false => Sampling::Greedy,
                };
                let how = Generation { max_new: 8, sampling, stop_at_end: true };
                let answers = match &decoder {
                    Some(decoder) => decoder.write(subject, &inputs, &how)?,
                    None => subject.generate(&inputs, &how)?,
                };
                let said = answers.first().context("an answer")?;
                right += usize::from(normalised(&said.text) == self.right(index)?);
            }
            found.push((name, right as f64 / self.data.len() as f64));
        }
        Ok(found)
    }

    /// How well confidence goes with being right.
    pub(crate) fn calibration(&self, subject: &dyn Subject) -> Result<Finding> {
        let data = self.data.clone();
        let answered = move |index: usize| {
            let (case, (_, question)) = (data.case(index)?, data.scene(index)?);
            Ok(Case::new(case.sample.answered(Reply::Text(question.answer))))
        };
        let many = ManyCases::over(from_fn("questions", self.data.len(), answered))?;
        let method = Calibration::new(calibration::Settings { max_new: 8, ..Default::default() })?;
        Ok(method.run(subject, &many)?)
    }

    /// Whether the greedy answer is right where drawn ones mean the same: AUROC of minus the semantic entropy; `None` if all are right.
    pub(crate) fn meanings(&self, subject: &dyn Subject) -> Result<Option<f64>> {
        let draws = Draws { samples: 10, max_new: 8, ..Draws::default() };
        let method = SemanticEntropy::new(semantic_entropy::Settings { draws })?;
        let mut cases = Vec::new();
        for index in 0..self.data.len() {
            let case = self.data.case(index)?;
            let found = method.run(subject, &case)?;
            let entropy = found.table("semantic entropy")?.get(&[]).context("an entropy")?;
            let how = Generation { max_new: 8, ..Generation::default() };
            let said = subject.generate(&subject.encode(&case.sample)?, &how)?;
            let right = normalised(&said.first().context("an answer")?.text) == self.right(index)?;
            cases.push((-f64::from(entropy), right));
        }
        Ok(Reliability::new(cases)?.auroc())
    }
}
