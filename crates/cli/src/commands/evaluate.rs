//! `mmlens evaluate`: what explanations are worth.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use mmlens::METHODS;
use mmlens::core::{
    Case, Cases, Form, Mask, Memory, Method, On, PersonMap, Seed, Subject, SubjectError, Target,
};
use mmlens::evaluation::{
    AnyMetric, Contestant, Evaluation, EvaluationSettings, METRICS, Models, Redrawn, Redraws, league,
};
use mmlens::files::{RunFolder, Target as WrittenTo, sha256, write};
use mmlens::finding::Finding;
use mmlens::zoo::Redraw;
use serde_json::{Map, Value, json};

use super::explain::cases::{Listed, read};
use super::explain::{AimArgs, CorruptionArgs};
use crate::caution::ToldCaution;
use crate::input::QuestionArgs;
use crate::methods::{self, Set};
use crate::model::ModelArgs;
use crate::print;
use crate::progress::{Bar, stoppable};
use crate::refusal::Refusal;

/// Scores methods on cases: the maps they make, against the model, against masks of the evidence, and against persons, beside a random map, a blob in
/// the middle, an edge filter, and each method on the model with random weights.
///
/// Writes `evaluation.safetensors`, the finding, and `evaluation.jsonl`, a journal: the same command goes on from there after Ctrl-C, a kill or a power cut, and ends
/// with the same bits. Of every method and metric the mean over the cases is printed, its 95 % interval and the number of cases; `not run (cost)` where the budget is spent.
#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    aim: AimArgs,
    /// The cases: a folder of pictures or recordings, or a file of cases as JSON, one on a line (docs/cases.md), with `mask` and `person` where there are such.
    #[arg(long, value_name = "PATH")]
    cases: PathBuf,
    /// The first cases alone.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The methods, separated by commas; without it integrated gradients, occlusion and, where there is attention, rollout.
    #[arg(long, value_name = "METHOD", value_delimiter = ',', value_parser = offered())]
    method: Vec<String>,
    /// The metrics, separated by commas; without it deletion, insertion and sparseness, and what masks and persons allow.
    #[arg(long, value_name = "METRIC", value_delimiter = ',', value_parser = metrics())]
    metric: Vec<String>,
    /// A setting of a method or metric, such as ig.steps=64 or deletion.steps=8; repeat it for several. Values are JSON.
    #[arg(long, value_name = "NAME.SETTING=VALUE")]
    set: Vec<Set>,
    /// The most passes that all of it may take: rows forward, and two for each of which gradients are taken, shared evenly among rows and metrics.
    #[arg(long, value_name = "PASSES")]
    budget: Option<u64>,
    /// The most seconds that explaining and scoring may take, shared evenly among the rows; a row whose share is spent looks at no further case. Opening the model is not counted.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// The seed of every draw, random weights among them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How much memory a method or metric may take at once, such as 800MB or 2GiB; without it 4GiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// The folder for what is written; made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints the scores as JSON.
    #[arg(long)]
    json: bool,
}

const FINDING: &str = "evaluation.safetensors";
const JOURNAL: &str = "evaluation.jsonl";
/// What is scored if nobody names a method.
const USUAL: [&str; 3] = ["ig", "occlusion", "rollout"];

fn offered() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(METHODS.iter().map(methods::value))
}

fn metrics() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(
        METRICS.iter().map(|row| PossibleValue::new(row.card.id).help(row.card.question)),
    )
}

/// Models like the one that is explained, with weights drawn anew.
struct Opened {
    random: Box<dyn Subject>,
    cascade: Vec<(String, Box<dyn Subject>)>,
    each: Vec<(String, Box<dyn Subject>)>,
}

fn seen(some: &[(String, Box<dyn Subject>)]) -> Vec<Redrawn<'_>> {
    some.iter().map(|(name, subject)| Redrawn { name, subject: subject.as_ref() }).collect()
}

impl Evaluate {
    pub(crate) fn run(&self) -> Result<()> {
        stoppable()?;
        let mut listed = read(&self.cases, &self.question, (&self.aim, &CorruptionArgs::default()))?;
        listed.truncate(self.limit.unwrap_or(usize::MAX));
        self.free(&listed)?;
        let metrics =
            self.metrics(listed.iter().any(Listed::has_mask), listed.iter().any(Listed::has_person))?;
        self.unset()?;
        let subject = self.model.open()?;
        let contestants = self.contestants(subject.as_ref())?;
        let opened = self.redrawn(subject.as_ref(), &metrics)?;
        let settings = EvaluationSettings {
            seed: self.seed,
            budget: self.budget,
            seconds: self.seconds,
            ..EvaluationSettings::default()
        };
        let evaluation = Evaluation::new(settings, metrics)?;
        let memory = self.memory.unwrap_or_default();
        let data =
            Lines { name: self.cases.display().to_string(), listed, subject: subject.as_ref(), memory };
        let bar = Bar::new();
        let on = On::new(subject.as_ref()).watched(&bar).within(memory);
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot make {}", self.out.display()))?;
        let (cascade, each) = (seen(&opened.cascade), seen(&opened.each));
        let redraws = Redraws { cascade: &cascade, each: &each };
        let models = Models { random: opened.random.as_ref(), redraws };
        let mut finding = evaluation.run(&on, &data, &contestants, models, Some(&self.out.join(JOURNAL)))?;
        bar.done();
        finding.provenance.model = self.model.named();
        let file = self.out.join(FINDING);
        write(&file, finding.to_bytes()?)?;
        if self.json {
            return print::json(&told(&finding, &file));
        }
        print::line(league(&finding).context("no evaluation")?.trim_end())?;
        finding.cautions().iter().for_each(|caution| print::note(&caution.text));
        Ok(())
    }

    /// Refuses a folder that is read, and files of its own names that are.
    fn free(&self, listed: &[Listed]) -> Result<()> {
        let mut inputs: Vec<PathBuf> = listed.iter().flat_map(Listed::files).collect();
        inputs.push(self.cases.clone());
        inputs.extend(self.model.folder()?);
        RunFolder::free(&self.out, &inputs)?;
        for name in [FINDING, JOURNAL].iter().filter(|_| self.out.is_dir()) {
            WrittenTo::new(self.out.join(name))?.apart_from(&inputs)?;
        }
        Ok(())
    }

    /// The metrics that were named, or else those that the cases allow.
    fn metrics(&self, masks: bool, persons: bool) -> Result<Vec<Box<dyn AnyMetric>>> {
        let mut usual = vec!["deletion", "insertion", "sparseness"];
        if masks {
            usual.extend(["mass-accuracy", "rank-accuracy", "pointing-game"]);
        }
        if persons {
            usual.push("agreement");
        }
        let asked = |id: &str| match self.metric.is_empty() {
            true => usual.contains(&id),
            false => self.metric.iter().any(|name| name == id),
        };
        let make = |row: &mmlens::evaluation::MetricRow| {
            row.make(self.settings_of(&[row.card.id])).with_context(|| format!("--metric {}", row.card.id))
        };
        METRICS.iter().filter(|row| asked(row.card.id)).map(make).collect()
    }

    /// What was set of something that has these names.
    fn settings_of(&self, names: &[&str]) -> Value {
        let own = self.set.iter().filter(|set| names.contains(&set.method())).map(Set::said);
        Value::Object(own.map(|(setting, value)| (setting.to_owned(), value.clone())).collect::<Map<_, _>>())
    }

    /// Refuses a setting of what is neither a method nor a metric that runs.
    fn unset(&self) -> Result<()> {
        let chosen = self.chosen();
        let method = |set: &Set| chosen.iter().any(|method| method.is_called(set.method()));
        let metric = |set: &Set| {
            METRICS.iter().any(|row| row.card.id == set.method())
                && (self.metric.is_empty() || self.metric.iter().any(|name| name == set.method()))
        };
        match self.set.iter().find(|set| !method(set) && !metric(set)) {
            Some(set) => {
                let run = chosen
                    .iter()
                    .map(|method| method.card.short)
                    .chain(self.metric.iter().map(String::as_str));
                Err(Refusal::Unset {
                    method: set.method().to_owned(),
                    chosen: run.collect::<Vec<_>>().join(", "),
                }
                .into())
            }
            None => Ok(()),
        }
    }

    fn chosen(&self) -> Vec<&'static Method> {
        match self.method.is_empty() {
            true => methods::chosen(&USUAL.map(str::to_owned)),
            false => methods::chosen(&self.method),
        }
    }

    /// The methods; where nobody named one, those that the model allows.
    fn contestants(&self, subject: &dyn Subject) -> Result<Vec<Contestant>> {
        let allowed = |method: &&Method| !self.method.is_empty() || method.card.allows(subject).is_ok();
        let make = |method: &Method| {
            if method.form == Form::ManyCases {
                return Err(Refusal::NoMap { method: method.card.short }.into());
            }
            let settings = self.settings_of(&[method.card.id, method.card.short]);
            let made = method.make(settings).with_context(|| format!("--method {}", method.card.short))?;
            Ok(Contestant::new(method.card.short, made))
        };
        self.chosen().into_iter().filter(allowed).map(make).collect()
    }

    /// One model whose every weight is drawn anew; and where a metric asks for them those of the sanity checks.
    fn redrawn(&self, subject: &dyn Subject, metrics: &[Box<dyn AnyMetric>]) -> Result<Opened> {
        let seed = Seed(self.seed);
        let open = |redraw: Redraw| self.model.open_redrawn(redraw);
        let asked = |id: &str| metrics.iter().any(|metric| metric.card().id == id);
        let (mut cascade, mut each) = (Vec::new(), Vec::new());
        if asked("cascading-randomisation") {
            for (name, redraw) in Redraw::cascade(subject, seed) {
                cascade.push((name, open(redraw)?));
            }
        }
        if asked("independent-randomisation") {
            for (name, redraw) in Redraw::each(subject, seed) {
                each.push((name, open(redraw)?));
            }
        }
        Ok(Opened { random: open(Redraw::all(seed))?, cascade, each })
    }
}

/// What is printed for machines.
fn told(finding: &Finding, file: &Path) -> Value {
    let number = |table: &str, at: &[usize]| {
        finding.find(table).and_then(|table| table.get(at)).filter(|value| value.is_finite())
    };
    let Some([methods, metrics]) = finding.find("score").map(mmlens::prelude::Labelled::axes) else {
        return json!({});
    };
    let mut rows = Vec::new();
    for row in 0..methods.len() {
        for column in 0..metrics.len() {
            let at = [row, column];
            rows.push(json!({
                "method": methods.label(row),
                "metric": metrics.label(column),
                "better": finding.find("better").and_then(|table| table.get_text(&[column])),
                "score": number("score", &at),
                "low": number("low", &at),
                "high": number("high", &at),
                "n": number("n", &at),
                "not_run": number("not run (cost)", &at),
                "without": finding.find("without").and_then(|table| table.get_text(&at)).filter(|why| !why.is_empty()),
            }));
        }
    }
    let cautions: Vec<ToldCaution> = finding.cautions().iter().map(ToldCaution::from).collect();
    json!({ "finding": file, "scores": rows, "cautions": cautions })
}

/// The lines of a file of cases, each settled when it is its turn.
struct Lines<'a> {
    name: String,
    listed: Vec<Listed>,
    subject: &'a dyn Subject,
    memory: Memory,
}

impl Lines<'_> {
    fn at(&self, index: usize) -> Result<&Listed, SubjectError> {
        let none = || SubjectError::NoCase { data: self.name.clone(), index, len: self.listed.len() };
        self.listed.get(index).ok_or_else(none)
    }

    fn said(&self, error: &anyhow::Error) -> SubjectError {
        SubjectError::Sample { subject: self.subject.name().to_owned(), reason: print::chain(error) }
    }
}

impl Cases for Lines<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.listed.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let task = self.at(index)?.task().map_err(|error| self.said(&error))?;
        let on = On::new(self.subject).within(self.memory);
        let settled = task.aim.settle(&on, task.sample).map_err(|error| self.said(&error))?;
        let target = match settled.case.target {
            Target::Answer { from, to, measure, .. } => Target::Answer { from, to, measure, each: false },
            other => other,
        };
        Ok(Case { sample: settled.case.sample, target })
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        self.at(index)?.masks()
    }

    fn persons(&self, index: usize) -> Result<Vec<PersonMap>, SubjectError> {
        self.at(index)?.persons()
    }

    /// Of what the lines say and their pictures hold; what the model answers is not asked for.
    fn hash(&self) -> Result<String, SubjectError> {
        let mut hash = String::new();
        for listed in &self.listed {
            let task = listed.task().map_err(|error| self.said(&error))?;
            let own = json!([task.sample.record(), task.aim.told(), listed.known()?]);
            hash = sha256(format!("{hash}{own}"));
        }
        Ok(hash)
    }
}
