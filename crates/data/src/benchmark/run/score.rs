//! Scores of a run, beside what trivial answers come to, and what speaks against them.

use std::collections::BTreeMap;
use std::path::Path;

use mmlens_core::finding::{
    Axis, Caution, CautionKind, DataRecord, Finding, InputRecord, Labelled, Provenance, Role, Unit,
};
use mmlens_core::{Seed, Subject, fields};
use mmlens_files::write;
use serde::{Deserialize, Serialize};

use super::journal::{Head, Line};
use super::survey::Survey;
use super::{Bench, BenchError, METHOD, Settings, lmms};
use crate::benchmark::score::letter;
use crate::benchmark::{ALL, Answer, Figure, Item, Items, Pairwise, Part, Scorer, ScorerName, Tally};

/// Who answers in the first row.
const MODEL: &str = "model";
/// Fewer groups than this are too few for an interval to mean much.
const FEW: usize = 30;
/// Of more answers than this it is told that they were not read, or cut off.
const MANY: f64 = 0.1;

/// The scores of one way to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which: `model`, `always yes`, `majority answer` ...
    pub by: String,
    /// The answer, where it is always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// All items first, then sets of tasks, then tasks.
    pub parts: Vec<Part>,
}

/// What a run comes to: `scores.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// What the data set is called, with the beginning of its hash.
    pub data: String,
    /// SHA-256 of its files.
    pub sha256: String,
    /// The model, and the hash of its weights.
    pub model: String,
    /// See above.
    pub weights: String,
    /// How it was asked and scored.
    pub settings: Settings,
    /// Items that were answered, and items there are.
    pub answered: usize,
    /// See above.
    pub items: usize,
    /// The model first, then trivial answers; none without a scorer.
    pub rows: Vec<Row>,
    /// What speaks against taking the scores at their word.
    pub cautions: Vec<Cautioned>,
}

/// A caution as JSON has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cautioned {
    /// Its kind.
    pub kind: CautionKind,
    /// Its number.
    pub number: f32,
    /// In words.
    pub text: String,
}

impl From<Caution> for Cautioned {
    fn from(Caution { kind, number, text }: Caution) -> Self {
        Self { kind, number, text }
    }
}

/// A way to answer that looks at no picture, or at the wrong one.
struct Trivial {
    by: &'static str,
    answer: Option<String>,
    tally: Tally,
}

impl Trivial {
    fn new(by: &'static str, answer: Option<String>) -> Self {
        Self { by, answer, tally: Tally::default() }
    }
}

const YES: &str = "always yes";
const NO: &str = "always no";
const MAJORITY: &str = "majority answer";
const BLANK: &str = "blank picture";
const OTHER: &str = "caption of the next picture";
const SHORTER: &str = "shorter text";

/// The answer that is right most often; of several the first in the order of their letters.
fn majority(items: &dyn Items, scorer: ScorerName, count: usize) -> Result<Option<String>, BenchError> {
    if scorer == ScorerName::Chair || scorer.of_pairs() {
        return Ok(None);
    }
    let mut right: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..count {
        let item = items.item(index)?;
        let label = match &item.label {
            // Whether somebody gave the letter or the text of a choice.
            Some(label) if !item.choices.is_empty() => letter(&item, label).map(str::to_owned),
            Some(label) => Some(label.clone()),
            None => item.answers.first().cloned(),
        };
        if let Some(label) = label {
            *right.entry(label).or_default() += 1;
        }
    }
    let mut best: Option<(String, usize)> = None;
    for (label, count) in right {
        // no NaN: whole numbers
        if best.as_ref().is_none_or(|(_, most)| count > *most) {
            best = Some((label, count));
        }
    }
    Ok(best.map(|(label, _)| label))
}

impl Scored {
    pub(super) fn of(
        bench: &Bench<'_>,
        (scorer, survey): (Option<&dyn Scorer>, &Survey),
        items: &dyn Items,
        lines: &[Line],
        head: &Head,
    ) -> Result<Self, BenchError> {
        let mut scored = Self {
            data: head.data.clone(),
            sha256: head.sha256.clone(),
            model: head.subject.clone(),
            weights: head.weights.clone(),
            settings: head.settings.clone(),
            answered: lines.len(),
            items: items.len(),
            rows: Vec::new(),
            cautions: blind(survey, lines.len()).into_iter().map(Cautioned::from).collect(),
        };
        let Some(scorer) = scorer else { return Ok(scored) };
        let name = bench.settings.scorer;
        let (mut model, mut trivial) = (Tally::default(), Vec::new());
        if scorer.yes_no() {
            trivial
                .extend([YES, NO].map(|by| Trivial::new(by, by.strip_prefix("always ").map(str::to_owned))));
        }
        if let Some(answer) = majority(items, name, lines.len())? {
            trivial.push(Trivial::new(MAJORITY, Some(answer)));
        }
        if name.of_pairs() {
            trivial.push(Trivial::new(SHORTER, None));
        }
        if name == ScorerName::Chair && lines.len() > 1 {
            trivial.push(Trivial::new(OTHER, None));
        }
        if lines.iter().all(|line| line.blank.is_some()) {
            trivial.push(Trivial::new(BLANK, None));
        }
        for (index, line) in lines.iter().enumerate() {
            let item = items.item(index)?;
            if item.id != line.id {
                return Err(BenchError::Setting {
                    setting: "data",
                    found: format!("item {index} is `{}`", item.id),
                    expected: format!("it was `{}` when it was answered", line.id),
                });
            }
            model.add(&item, &scorer.judge(&item, &line.answer)?);
            for way in &mut trivial {
                let answer = match (&way.answer, way.by) {
                    (Some(text), _) => Answer::text(text.clone()),
                    (_, SHORTER) => Pairwise::shorter(&item),
                    (_, OTHER) => lines[(index + 1) % lines.len()].answer.clone(),
                    _ => line.blank.clone().unwrap_or_default(),
                };
                way.tally.add(&item, &scorer.judge(&item, &answer)?);
            }
        }
        let seed = Seed(bench.settings.seed);
        let row = |by: &str, answer: Option<String>, tally: &Tally| Row {
            by: by.to_owned(),
            answer,
            parts: tally.scores(scorer, seed),
        };
        scored.rows.push(row(MODEL, None, &model));
        scored.rows.extend(trivial.iter().map(|way| row(way.by, way.answer.clone(), &way.tally)));
        let more = cautions(&scored.rows, lines, scorer);
        scored.cautions.extend(more.into_iter().map(Cautioned::from));
        Ok(scored)
    }

    /// The row of the model; `None` without a scorer.
    #[must_use]
    pub fn model(&self) -> Option<&Row> {
        self.rows.first()
    }

    /// The scores as a finding: a table of figures by who answers, its intervals, the same by task, cautions.
    ///
    /// # Errors
    /// None that scores of this kind can raise.
    pub fn finding(&self, subject: &dyn Subject) -> Result<Finding, BenchError> {
        let mut provenance = Provenance::new(METHOD, self.model.clone());
        provenance.weights_hash = self.weights.clone();
        provenance.alterations = subject.alterations().to_vec();
        (provenance.dtype, provenance.device) = (subject.dtype(), subject.device());
        provenance.kernels = subject.kernels();
        provenance.seed = Some(self.settings.seed);
        provenance.settings = fields(METHOD, &self.settings)?;
        provenance.input = Some(InputRecord {
            data: Some(DataRecord {
                name: self.data.clone(),
                cases: self.answered,
                sha256: self.sha256.clone(),
            }),
            ..InputRecord::default()
        });
        let mut tables = Vec::new();
        let Some(model) = self.model() else { return Ok(Finding::new(provenance, tables)?) };
        let names = |part: &Part| part.figures.iter().map(|figure| figure.name.clone()).collect::<Vec<_>>();
        let first = |row: &Row| row.parts.first().cloned();
        let wholes: Vec<Part> = self.rows.iter().filter_map(first).collect();
        let Some(whole) = wholes.first() else { return Ok(Finding::new(provenance, tables)?) };
        let columns = Axis::names(Role::Feature, names(whole));
        let who = Axis::names(Role::Concept, self.rows.iter().map(|row| row.by.clone()));
        let ends = Axis::names(Role::Rank, ["low", "high"]);
        // What is a quotient of zeros is no number.
        let value = |figure: &Figure| figure.value.map_or(f32::NAN, |value| value as f32);
        let ends_of =
            |figure: &Figure| figure.interval.map_or([f32::NAN; 2], |ends| ends.map(|end| end as f32));
        let figures =
            |parts: &[Part]| -> Vec<Figure> { parts.iter().flat_map(|part| part.figures.clone()).collect() };
        let all = figures(&wholes);
        tables.push(Labelled::numbers(
            "score",
            Unit::Ratio,
            vec![who.clone(), columns.clone()],
            all.iter().map(value).collect(),
        )?);
        tables.push(
            Labelled::numbers(
                "interval",
                Unit::Ratio,
                vec![who, columns.clone(), ends],
                all.iter().flat_map(ends_of).collect(),
            )?
            .aside(),
        );
        if model.parts.len() > 1 {
            let tasks = Axis::names(Role::Concept, model.parts.iter().map(|part| part.task.clone()));
            let own = figures(&model.parts);
            tables.push(
                Labelled::numbers(
                    "score by task",
                    Unit::Ratio,
                    vec![tasks.clone(), columns],
                    own.iter().map(value).collect(),
                )?
                .aside(),
            );
            let counts = model.parts.iter().map(|part| part.items as f32).collect();
            tables.push(Labelled::numbers("items", Unit::Count, vec![tasks], counts)?.aside());
        } else {
            tables.push(Labelled::scalar("items", Unit::Count, self.answered as f32).aside());
        }
        let told = |caution: &Cautioned| Caution::new(caution.kind, caution.number, caution.text.clone());
        tables.extend(Caution::tables(&self.cautions.iter().map(told).collect::<Vec<_>>())?);
        Ok(Finding::new(provenance, tables)?)
    }

    pub(super) fn write(
        &self,
        bench: &Bench<'_>,
        subject: &dyn Subject,
        items: &dyn Items,
        lines: &[Line],
        out: &Path,
    ) -> Result<(), BenchError> {
        let path = out.join("scores.json");
        let text = serde_json::to_string_pretty(self).map_err(|error| BenchError::io(&path)(error.into()))?;
        write(&path, text + "\n")?;
        self.finding(subject)?.save(out.join("scores.safetensors"))?;
        lmms::write_all(self, bench, items, lines, out)
    }
}

/// Says that the model was asked without a picture.
fn blind(survey: &Survey, count: usize) -> Option<Caution> {
    let Survey { blind, unread } = survey;
    let column = unread.as_ref().map_or(String::new(), |name| {
        format!("; field `{name}` looks like the name of one, and nobody reads it")
    });
    let text =
        format!("{blind} of {count} items were shown no picture, so that there is no row `{BLANK}`{column}");
    (*blind > 0).then(|| Caution::new(CautionKind::NoPicture, *blind as f32, text))
}

/// What speaks against the scores.
fn cautions(rows: &[Row], lines: &[Line], scorer: &dyn Scorer) -> Vec<Caution> {
    let mut cautions = Vec::new();
    let first = |row: &Row| row.parts.first().and_then(|part| part.figures.first().cloned());
    let Some((model, trivial)) = rows.split_first() else { return cautions };
    let (Some(own), Some(whole)) = (first(model), model.parts.first()) else { return cautions };
    let low = scorer.name() == "chair";
    // How much better the model is than each of them, in the first figure.
    let mut least: Option<(f64, &Row, f64, f64)> = None;
    for row in trivial {
        let Some((own, other)) = own.value.zip(first(row).and_then(|figure| figure.value)) else { continue };
        let by = if low { other - own } else { own - other };
        // no NaN: scores are finite
        if least.is_none_or(|(least, ..)| by < least) {
            least = Some((by, row, own, other));
        }
    }
    if let Some((by, row, own, other)) = least
        && by <= 0.0
    {
        let text = format!(
            "`{}` comes to {other:.3} in {}, the model to {own:.3}: it does no better than that",
            row.by,
            own_name(whole)
        );
        cautions.push(Caution::new(CautionKind::NoBetter, by as f32, text));
    }
    if whole.groups < FEW {
        let text = format!(
            "{} pictures or groups of items are few: an interval drawn from them says little",
            whole.groups
        );
        cautions.push(Caution::new(CautionKind::FewRows, whole.groups as f32, text));
    }
    let unread = whole.figures.iter().find(|figure| matches!(figure.name.as_str(), "neither" | "no choice"));
    if let Some(share) = unread.and_then(|figure| figure.value).filter(|share| *share > MANY) {
        let text = format!(
            "{:.1} % of the answers are none of those that are looked for, and count as wrong",
            100.0 * share
        );
        cautions.push(Caution::new(CautionKind::Unread, share as f32, text));
    }
    let cut = lines.iter().filter(|line| line.cut).count() as f64 / lines.len() as f64;
    if cut > MANY {
        let text =
            format!("{:.1} % of the answers were cut off after the most tokens they may have", 100.0 * cut);
        cautions.push(Caution::new(CautionKind::CutOff, cut as f32, text));
    }
    cautions
}

fn own_name(part: &Part) -> &str {
    part.figures.first().map_or(ALL, |figure| figure.name.as_str())
}

/// What an item asks for, as lmms-eval writes it.
pub(super) fn target(item: &Item) -> String {
    match (&item.label, item.answers.as_slice(), item.captions.as_slice()) {
        (Some(label), ..) => label.clone(),
        (None, [], captions) => captions.join(" | "),
        (None, answers, _) => answers.join(" | "),
    }
}
