//! One case: explained, drawn, written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mmlens::core::{
    AnalysisError, AnyAnalysis, Case, Copies, Form, Given, Memory, Method, On, Plan, Sample, Shared, Subject,
    Target, Words, caution, explain, kind, plain_names,
};
use mmlens::engine::Settled;
use mmlens::files::{RunFolder, read_text, sha256, sha256_of};
use mmlens::finding::Finding;
use mmlens::report::Page;
use serde_json::{Value, json};

use super::BANK;
use super::aim::{AimArgs, CorruptionArgs};
use super::draw::{draw, on_page_of};
use super::told::{Announced, Cautioned, Explained, LeftOut, Told, Written};
use crate::audio::recordings_on_page;
use crate::commands::dry;
use crate::edits::EditArgs;
use crate::input::{frames_on_page, on_page, suited, unknown, written};
use crate::methods::{self, Set};
use crate::model::ModelArgs;
use crate::print;
use crate::progress::Bar;

/// A case, and what of it is explained.
pub(crate) struct Task {
    pub(crate) sample: Sample,
    pub(crate) aim: AimArgs,
    pub(super) corruption: CorruptionArgs,
    /// The files it is made of.
    pub(super) inputs: Vec<PathBuf>,
}

/// What all cases of a run share.
pub(super) struct Work<'a> {
    pub(super) subject: &'a dyn Subject,
    pub(super) model: &'a ModelArgs,
    pub(super) edits: &'a EditArgs,
    pub(super) rows: &'a [&'static Method],
    pub(super) set: &'a [Set],
    /// Methods that cannot look where they are told to, and why not.
    pub(super) left: &'a [(&'static str, String)],
    /// Whether somebody named the methods.
    pub(super) named: bool,
    pub(super) memory: Option<Memory>,
    pub(super) bar: &'a Bar,
}

/// What a method explains with no more rows through the model than this is run if nobody names methods; a row backward counts as two.
const CHEAP: u64 = 8192;

/// SHA-256 of what is searched: of a file, or of what a recording lists of itself.
fn bank_hash(bank: &Path) -> Result<String> {
    let hash = |file: &Path| sha256_of(file).with_context(|| file.display().to_string());
    match bank.is_dir() {
        true => {
            let listed = ["manifest.json", "shards.jsonl"].map(|name| hash(&bank.join(name)));
            let [manifest, shards] = listed;
            Ok(sha256(format!("{}{}", manifest?, shards?)))
        }
        false => hash(bank),
    }
}

/// Whether a method is run, and on what.
enum Due {
    /// Its finding is there.
    Kept(PathBuf),
    Run,
    /// On the whole answer alone, since its tokens one by one cost so much.
    Whole(String),
    /// Not at all, since it costs so much.
    Dear(String),
}

/// What is given, without each token of an answer by itself.
fn of_all(given: &Given) -> Given {
    let target = match &given.case.target {
        Target::Answer { from, to, measure, .. } => {
            Target::Answer { from: *from, to: *to, measure: *measure, each: false }
        }
        other => other.clone(),
    };
    Given { case: Case { target, ..given.case.clone() }, ..given.clone() }
}

/// Of a run that is whole: what it told.
pub(super) const TOLD: &str = "explained.json";
/// The most bytes of it that are read again.
const MOST_TOLD: u64 = 1 << 28;

impl Work<'_> {
    /// The methods with their settings. The best of several captions is explained; what compares captions is told of all.
    fn made(&self, sample: &Sample) -> Result<Vec<Box<dyn AnyAnalysis>>> {
        let captions = match &sample.words {
            Words::Texts(all) if all.len() > 1 && kind::compares(self.subject) => all.as_slice(),
            _ => &[],
        };
        methods::made(self.rows, self.set, captions)
    }

    /// Explains a case of many, unless the folder holds it whole already: what is told stands there too.
    pub(super) fn once(&self, task: &Task, out: &Path) -> Result<Made> {
        let made = self.made(&task.sample)?;
        let given = task.corruption.given(Case::new(task.sample.clone()))?;
        let place = out.join(TOLD);
        let whole = RunFolder::whole(out, &self.settings(task, &given, &made)?);
        if let Some(whole) =
            whole.with_context(|| format!("without its manifest.json {} is made again", out.display()))?
            && whole.files.iter().any(|entry| entry.name == TOLD)
        {
            let text = read_text(&place, MOST_TOLD).with_context(|| place.display().to_string())?;
            let told = serde_json::from_str(&text).with_context(|| place.display().to_string())?;
            return Ok(Made { told, kept: true });
        }
        let told = self.written(task, out, false, true)?;
        Ok(Made { told: serde_json::to_value(&told)?, kept: false })
    }

    /// Explains a case and writes what is found; `loud` says on the way what is explained.
    pub(super) fn explain(&self, task: &Task, out: &Path, loud: bool) -> Result<Told> {
        self.written(task, out, loud, false)
    }

    /// What the methods would take of a case, which is settled as for a run.
    pub(super) fn dry(&self, task: &Task) -> Result<dry::Told> {
        let made = self.made(&task.sample)?;
        suited(self.subject, &task.sample.words)?;
        let shared = Shared::new();
        let on = On::new(self.subject).within(self.memory.unwrap_or_default()).sharing(&shared);
        self.edits.suited(self.subject, &on.encode(&task.sample)?)?;
        let (given, _) = self.settled(task, &on, task.corruption.given(Case::new(task.sample.clone()))?)?;
        dry::told(&on, (self.rows, &made), &given)
    }

    /// What is given with what is explained of it.
    fn settled(&self, task: &Task, on: &On<'_>, given: Given) -> Result<(Given, Settled)> {
        let settled = task.aim.settle(on, given.case.sample)?;
        // What the other run is given of the answer, this one is too.
        let reply = &settled.case.sample.reply;
        let corrupted = given.corrupted.map(|other| Sample { reply: reply.clone(), ..other });
        Ok((Given { case: settled.case.clone(), corrupted, many: given.many }, settled))
    }

    fn written(&self, task: &Task, out: &Path, loud: bool, telling: bool) -> Result<Told> {
        let Self { subject, rows, .. } = *self;
        let made = self.made(&task.sample)?;
        suited(subject, &task.sample.words)?;
        let (memory, shared) = (self.memory.unwrap_or_default(), Shared::new());
        let on = On::new(subject).watched(self.bar).within(memory).sharing(&shared);
        self.edits.suited(subject, &on.encode(&task.sample)?)?;
        let given = task.corruption.given(Case::new(task.sample.clone()))?;
        let mut run = self.begin(task, &given, &made, out)?;
        let (given, settled) = self.settled(task, &on, given)?;
        let own = &given.case.sample;
        let pass = subject.need(&on.encode(own)?, &Plan::new(), Copies::ONE)?.bytes;
        let announced = Announced { budget: memory.budget(), pass };
        if loud {
            print::line(format!("answer     {}", print::visible(&settled.answer)))?;
            if let Some(given) = &settled.given {
                print::line(format!("itself     {}", print::visible(&given.own_answer)))?;
            }
            print::line(format!("explained  {}", print::visible(&settled.explained)))?;
            self.edits.tell()?;
            print::line(announced.told(self.memory.is_none()))?;
        }
        let mut shown = own.pictures.iter().map(on_page).collect::<Result<Vec<_>>>()?;
        shown.extend(frames_on_page(&own.clips, own.pictures.len(), &settled.prompt)?);
        let (before, encoded) = (own.pictures.len() + own.clips.len(), on.encode(own)?);
        shown.extend(recordings_on_page(&own.recordings, before, &encoded.map().sounds)?);
        // Of captions all, of which one is explained; else with the answer.
        let read = if matches!(own.words, Words::Texts(_)) { &task.sample } else { own };
        let (unknown, beyond) = (unknown(&on.encode(read)?), caution::beyond(subject, &on.encode(own)?));
        let of_input = unknown.iter().chain(&beyond).chain(&settled.cautions);
        let mut cautions: Vec<Cautioned> = of_input.map(|caution| Cautioned::new(None, caution)).collect();
        let mut page = Page {
            title: title(&settled.text),
            pictures: shown,
            prompt: settled.prompt.clone(),
            question: written(&own.words),
            answer: match &settled.given {
                None => settled.answer.clone(),
                Some(given) => format!("{} (given; by itself: {})", settled.answer, given.own_answer),
            },
            answer_tokens: match settled.tokens.get(settled.span.clone()) {
                Some(span) if !span.is_empty() => span,
                _ => &settled.tokens,
            }
            .iter()
            .map(|token| (token.text.clone(), token.probability))
            .collect(),
            findings: Vec::new(),
            guides: rows.iter().map(|method| methods::guide(method)).collect(),
            cautions: cautions.iter().map(Cautioned::text).collect(),
            names: BTreeMap::new(),
        };
        let kept: Vec<Option<PathBuf>> = rows.iter().map(|method| run.kept(&finding_of(method))).collect();
        let whole = of_all(&given);
        let (mut due, mut todo, mut apart) = (Vec::new(), Vec::new(), Vec::new());
        for (method, kept) in made.into_iter().zip(&kept) {
            due.push(match kept {
                Some(file) => Due::Kept(file.clone()),
                None => self.due(method.as_ref(), &on, (&given, &whole)),
            });
            match due.last() {
                Some(Due::Run) => todo.push(method),
                Some(Due::Whole(_)) => apart.push(method),
                _ => {}
            }
        }
        let mut found = explain(&todo, on, &given);
        let mut found_whole = explain(&apart, on, &whole);
        let (mut written, mut notes) = (Vec::new(), settled.notes.clone());
        let elsewhere =
            |(method, reason): &(&'static str, String)| LeftOut { method, reason: reason.clone() };
        let mut left_out: Vec<LeftOut> = self.left.iter().map(elsewhere).collect();
        for (method, due) in rows.iter().zip(&due) {
            let started = Instant::now();
            let next = |found: Option<Result<Finding, AnalysisError>>| {
                self.bar.done();
                self.settle(method, found.context("a method was not run")?)
            };
            let finding = match due {
                Due::Kept(file) => Ok(Finding::load(file)?),
                Due::Dear(price) => Err(price.clone()),
                Due::Run => next(found.next())?,
                Due::Whole(price) => {
                    notes.push(format!("{}: {price}", method.card.short));
                    next(found_whole.next())?
                }
            };
            let mut finding = match finding {
                Ok(finding) => finding,
                Err(reason) => {
                    left_out.push(LeftOut { method: method.card.short, reason });
                    continue;
                }
            };
            finding.provenance.model = self.model.named();
            let file = run.write(&finding_of(method), &finding.to_bytes()?)?;
            let heat_maps = draw(method, &finding, &page, &mut run)?;
            let compares =
                (method.form == Form::TwoRuns).then(|| finding.provenance.baseline.clone()).flatten();
            let (kept, seconds) = (matches!(due, Due::Kept(_)), seconds(started));
            written.push(Written {
                method: method.card.short,
                finding: file,
                heat_maps,
                kept,
                seconds,
                compares,
            });
            let short = method.card.short;
            cautions.extend(finding.cautions().iter().map(|caution| Cautioned::new(Some(short), caution)));
            page.findings.push(on_page_of(finding, &settled));
        }
        if written.is_empty() {
            let reasons: Vec<String> =
                left_out.iter().map(|left| format!("{}: {}", left.method, left.reason)).collect();
            bail!("no method explains this: {}", reasons.join("; "));
        }
        page.names = plain_names(&page.findings);
        let report = run.write(REPORT, page.html()?.as_bytes())?;
        let told = Told { notes, ..self.told(settled, announced, (written, cautions, left_out), report) };
        if telling {
            run.write(TOLD, serde_json::to_string_pretty(&told)?.as_bytes())?;
        }
        run.finish()?;
        Ok(told)
    }

    /// Whether a method is run, and on what. One that nobody named and that costs much is not, or not for every token of an answer.
    fn due(&self, method: &dyn AnyAnalysis, on: &On<'_>, (given, whole): (&Given, &Given)) -> Due {
        let price = |given: &Given| {
            // What it cannot do it says itself.
            let cost = method.cost(on, given).ok().filter(|_| !self.named)?;
            let rows = cost.forward.saturating_add(2 * cost.backward);
            (rows > CHEAP).then(|| format!("{} passes forward and {} backward", cost.forward, cost.backward))
        };
        let short = method.card().short;
        match (price(given), price(whole)) {
            (None, _) => Due::Run,
            (Some(price), None) => Due::Whole(format!(
                "its tokens are explained together, and not each by itself, which takes {price}; `--method {short}` does both, \
                 `--span` asks of less"
            )),
            (Some(_), Some(price)) => Due::Dear(format!(
                "it takes {price} here; `--method {short}` runs it, and `--span` asks of less"
            )),
        }
    }

    /// The folder, with the settings that a run must have to go on with what another left there.
    fn begin(
        &self,
        task: &Task,
        given: &Given,
        made: &[Box<dyn AnyAnalysis>],
        out: &Path,
    ) -> Result<RunFolder> {
        let settings = self.settings(task, given, made)?;
        let inputs = task.inputs.iter().cloned().chain(self.edits.inputs()).chain(self.model.folder()?);
        let run = RunFolder::begin(out, settings, inputs)?;
        run.place(REPORT)?;
        for method in self.rows {
            run.place(&finding_of(method))?;
            run.place(&format!("{}.png", method.card.short))?;
        }
        Ok(run)
    }

    /// All that decides what a run writes.
    fn settings(
        &self,
        task: &Task,
        given: &Given,
        made: &[Box<dyn AnyAnalysis>],
    ) -> Result<BTreeMap<String, Value>> {
        let mut settings = self.about(made)?;
        settings.extend(
            [
                ("explained", task.aim.told()),
                ("sample", json!(given.case.sample.record())),
                ("corrupted", json!(given.corrupted.as_ref().map(Sample::record))),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Ok(settings)
    }

    /// What decides it whatever it is run on.
    pub(super) fn about(&self, made: &[Box<dyn AnyAnalysis>]) -> Result<BTreeMap<String, Value>> {
        let (subject, rows) = (self.subject, self.rows);
        let named = rows.iter().zip(made).map(|(row, method)| Ok((row.card.id, method.settings()?)));
        let methods: BTreeMap<&str, Value> = named.collect::<Result<_>>()?;
        let folder = self.model.folder()?;
        let banks = methods.values().filter_map(|settings| settings.get(BANK)?.as_str());
        let banks = banks.map(|bank| bank_hash(Path::new(bank))).collect::<Result<Vec<String>>>()?;
        let settings = [
            ("banks", json!(banks)),
            ("command", json!("explain")),
            ("model", json!(subject.name())),
            ("weights", json!(subject.weights_hash())),
            ("alterations", json!(subject.alterations())),
            ("settings of the model", folder.as_deref().map_or(Ok(Value::Null), around)?),
            ("device", json!(subject.device())),
            ("methods", json!(methods)),
            ("memory", json!(self.memory.unwrap_or_default().budget())),
            ("kernels", json!(subject.kernels())),
        ];
        Ok(settings.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// A method's finding; the reason why there is none, if nobody asked for this method by name.
    fn settle(
        &self,
        method: &Method,
        finding: Result<Finding, AnalysisError>,
    ) -> Result<Result<Finding, String>> {
        match finding {
            Err(error @ (AnalysisError::Input { .. } | AnalysisError::Memory { .. })) if !self.named => {
                let compares = matches!(&error, AnalysisError::Input { needs, .. } if needs == CORRUPTED);
                let hint = if compares {
                    "; `--corrupted-ask`, `--corrupted-prompt` or `--corrupted-text` gives one"
                } else {
                    ""
                };
                Ok(Err(format!("{error}{hint}")))
            }
            other => other.map(Ok).with_context(|| format!("--method {}", method.card.short)),
        }
    }

    fn told(
        &self,
        settled: Settled,
        memory: Announced,
        (findings, cautions, left_out): (Vec<Written>, Vec<Cautioned>, Vec<LeftOut>),
        report: PathBuf,
    ) -> Told {
        Told {
            model: self.subject.name().to_owned(),
            alterations: self.subject.alterations().to_vec(),
            question: written(&settled.case.sample.words),
            answer: settled.answer,
            given: settled.given,
            ended: settled.ended,
            last_position: settled.last_position,
            tokens: settled.tokens,
            explained: Explained {
                text: settled.text,
                id: settled.id,
                tokens: (!settled.span.is_empty()).then_some([settled.span.start, settled.span.end]),
                what: settled.explained,
            },
            notes: settled.notes,
            memory,
            findings,
            cautions,
            left_out,
            report,
        }
    }
}

/// A case of many: what was told, and whether it was there before.
pub(super) struct Made {
    told: Value,
    kept: bool,
}

impl Made {
    /// On one line.
    pub(super) fn line(&self, name: &str) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let count = |what: &str| self.told[what].as_array().map_or(0, Vec::len);
        let kept = if self.kept { ", kept" } else { "" };
        print::visible(&format!(
            "{name}: {} (findings: {}, cautions: {}{kept})",
            text(&self.told["answer"]),
            count("findings"),
            count("cautions")
        ))
    }

    /// With the name of the case.
    pub(super) fn of_case(&self, name: &str) -> Value {
        let mut told = json!({ "case": name, "kept": self.kept });
        if let (Some(all), Some(own)) = (told.as_object_mut(), self.told.as_object()) {
            all.extend(own.clone());
        }
        told
    }
}

pub(super) const REPORT: &str = "report.html";
/// What methods that compare two runs need.
const CORRUPTED: &str = "a corrupted sample";

/// What the file of a finding is called.
pub(super) fn finding_of(method: &Method) -> String {
    format!("{}.safetensors", method.card.short)
}

/// Hashes of the files that stand around the weights of a model: configs, tokenizers, templates.
fn around(folder: &Path) -> Result<Value> {
    let mut hashes = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        let path = entry.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if ["json", "jinja", "txt", "model"].contains(&kind) && path.is_file() {
            let hash = sha256_of(&path).with_context(|| path.display().to_string())?;
            hashes.insert(entry.file_name().to_string_lossy().into_owned(), hash);
        }
    }
    Ok(json!(hashes))
}

/// Of a long answer the beginning.
fn title(explained: &str) -> String {
    let text = explained.trim();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("Why “{}…”?", text.get(..end).unwrap_or(text).trim_end()),
        None => format!("Why “{text}”?"),
    }
}

/// Letters of a title.
const LONGEST: usize = 120;

pub(super) fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
