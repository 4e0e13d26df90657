//! `mmlens explain`: why this answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mmlens::METHODS;
use mmlens::core::{
    AnalysisError, AnyAnalysis, Case, Copies, Form, Given, Memory, Method, On, Plan, Reply, Sample, Shared,
    Subject, Words, explain, kind, memory, plain_names,
};
use mmlens::files::{RunFolder, sha256_of};
use mmlens::finding::Finding;
use mmlens::report::{OverlaySettings, Page, ReportError, drawn, on_picture, overlay_png};
use serde::Serialize;
use serde_json::{Value, json};

use crate::commands::aim::{self, Aim, Settled, settle};
use crate::commands::ask::Token;
use crate::edits::EditArgs;
use crate::input::{QuestionArgs, frames_on_page, on_page, pictures, suited, unknown, written};
use crate::methods::{self, Set};
use crate::model::ModelArgs;
use crate::print;
use crate::progress::Bar;
use crate::refusal::Refusal;

/// Explains an answer, and writes findings, heat maps and one page that shows them all.
///
/// What is explained is the logit of the token that the model says next, or of `--target`; of an `--answer` its log-probability, which
/// shares out other differences than a logit does. Of a dual encoder it is the
/// similarity of the picture and the caption, its entry of `logits_per_image`; of several captions the one that fits
/// best; of a classifier the logit of the likeliest class. Each method writes
/// `METHOD.safetensors` and, where it says something about places, `METHOD.png`, a heat map over the first picture
/// (`METHOD-1.png` over the second, and so on). `report.html` holds everything and needs no network.
///
/// The files are moved to their places when all are whole; `manifest.json` lists them and is written last. A run that was cut off
/// leaves what it had in `mmlens-unfinished`, and goes on there if it is started again with the same options.
///
/// What stands for "not there" is the mean colour of the picture, for parts of it (ig, occlusion) and for all of it
/// (patching, attribution); for words it is their mean (ig) or zero where they enter the first block
/// (occlusion), for a caption of a dual encoder zero. Of a dual encoder pixels move while the caption
/// stays, and words while the picture stays.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// The methods, separated by commas; without it those of a first look that this input allows.
    #[arg(long, value_name = "METHOD", value_delimiter = ',', value_parser = offered())]
    method: Vec<String>,
    /// A setting of a method, such as ig.steps=64 or occlusion.picture=null; repeat it for several. Values are JSON.
    #[arg(long, value_name = "METHOD.SETTING=VALUE")]
    set: Vec<Set>,
    /// The token (or class) whose logit is explained, as text or as id; without it the first one of the answer.
    #[arg(long, value_name = "TOKEN")]
    target: Option<String>,
    /// An answer that was given, by this model or by anybody: explained is how likely all of it is, each token behind those before. That
    /// it ends there is no part of it, unless the token that ends answers is written too (`yellow</s>`). For language models, with
    /// pictures or without.
    #[arg(long, value_name = "ANSWER", conflicts_with_all = ["target", "text"])]
    answer: Option<String>,
    #[command(flatten)]
    corruption: CorruptionArgs,
    /// How much memory each method may take at once, beside the model and the sample, such as 800MB or 2GiB; without it 4GiB. The
    /// same size gives the same bits; another one, other last digits. A method that cannot do with so little is refused.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// The folder for what is written; made if it is not there. Files of the names above are replaced, others are left alone.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints the answer and the places of the files as JSON.
    #[arg(long)]
    json: bool,
}

/// What patching and attribution compare with: the same question about a picture of the mean colour, if nothing is said.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct CorruptionArgs {
    /// For patching and attribution: the picture that leads to another answer, one for each `--image`. Without this and
    /// `--corrupted-ask`, the picture's mean colour in its size.
    #[arg(long, value_name = "FILE")]
    corrupted_image: Vec<PathBuf>,
    /// For patching and attribution: the question that leads to another answer, of as many tokens.
    #[arg(long, value_name = "QUESTION", conflicts_with = "text")]
    corrupted_ask: Option<String>,
    /// For patching and attribution of a dual encoder: a caption that fits otherwise, of as many tokens.
    #[arg(long, value_name = "CAPTION", conflicts_with = "ask")]
    corrupted_text: Option<String>,
}

fn offered() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(METHODS.iter().map(methods::value))
}

impl CorruptionArgs {
    /// What the methods are run on: the case, and what is compared with it.
    fn given(&self, case: Case) -> Result<Given> {
        let clean = &case.sample;
        let words = |words| Sample { words, ..clean.clone() };
        let corrupted = match (&self.corrupted_ask, &self.corrupted_text, self.corrupted_image.as_slice()) {
            (Some(question), ..) => words(Words::Ask(question.clone())),
            (_, Some(text), _) => words(Words::Texts(vec![text.clone()])),
            (.., []) => return Ok(Given::new(case)?),
            (.., files) => {
                let (found, expected) = (files.len(), clean.pictures.len());
                if found != expected {
                    return Err(Refusal::CorruptedPictures { found, pictures: expected }.into());
                }
                Sample { pictures: pictures(files)?, ..clean.clone() }
            }
        };
        Ok(Given { case, corrupted: Some(corrupted), many: None })
    }
}

#[derive(Serialize)]
struct Told {
    model: String,
    alterations: Vec<String>,
    question: String,
    answer: String,
    #[serde(flatten)]
    given: Option<aim::Given>,
    ended: bool,
    last_position: bool,
    tokens: Vec<Token>,
    target: Aim,
    memory: Announced,
    findings: Vec<Written>,
    /// What speaks against taking them at their word.
    cautions: Vec<String>,
    left_out: Vec<LeftOut>,
    report: PathBuf,
}

/// What is taken of memory beside the model, in bytes.
#[derive(Serialize)]
struct Announced {
    /// What each method may take at once.
    budget: u64,
    /// What a pass of the prompt takes at most by itself.
    pass: u64,
}

impl Announced {
    fn told(&self, unasked: bool) -> String {
        let from = if unasked { "the default; --memory" } else { "--memory" };
        let [budget, pass] = [self.budget, self.pass].map(memory::size);
        format!(
            "memory     up to {budget} for each method ({from}); a pass of this prompt takes up to {pass}"
        )
    }
}

/// What a method left on disk.
#[derive(Serialize)]
struct Written {
    method: &'static str,
    finding: PathBuf,
    heat_maps: Vec<HeatMap>,
    /// Whether it was computed before, by a run that was cut off.
    kept: bool,
    seconds: f64,
    /// What it was compared with, of methods that compare two runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    compares: Option<String>,
}

#[derive(Serialize)]
struct HeatMap {
    file: PathBuf,
    image: String,
    shows: String,
}

#[derive(Serialize)]
struct LeftOut {
    method: &'static str,
    reason: String,
}

impl Explain {
    pub(crate) fn run(&self) -> Result<()> {
        let mut sample = self.question.sample()?;
        sample.reply = self.answer.clone().map(Reply::Text);
        let rows = methods::chosen(&self.method);
        let mut made = methods::made(&rows, &self.set, &[])?;
        let subject = self.edits.of(self.model.open()?)?;
        let subject: &dyn Subject = &subject;
        suited(subject, &sample.words)?;
        // The best of several captions is explained; what compares captions is told of all.
        match &sample.words {
            Words::Texts(all) if all.len() > 1 && kind::compares(subject) => {
                made = methods::made(&rows, &self.set, all)?;
            }
            _ => {}
        }
        let (memory, shared) = (self.memory.unwrap_or_default(), Shared::new());
        let bar = Bar::new();
        let on = On::new(subject).watched(&bar).within(memory).sharing(&shared);
        self.edits.suited(subject, &on.encode(&sample)?)?;
        let given = self.corruption.given(Case::new(sample))?;
        let mut run = self.begin(subject, &given, &rows, &made)?;
        let settled = settle(&on, given.case.sample.clone(), self.target.as_deref())?;
        let case = Case { sample: settled.sample.clone(), target: settled.target.clone() };
        let given = Given { case, ..given };
        let own = &given.case.sample;
        let pass = subject.need(&on.encode(own)?, &Plan::new(), Copies::ONE)?.bytes;
        let announced = Announced { budget: memory.budget(), pass };
        if !self.json {
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
        let mut cautions: Vec<String> = unknown(on.encode(own)?.map()).into_iter().collect();
        let mut page = Page {
            title: title(&settled.aim.text),
            pictures: shown,
            prompt: settled.prompt.clone(),
            question: written(&own.words),
            answer: match &settled.given {
                None => settled.answer.clone(),
                Some(given) => format!("{} (given; by itself: {})", settled.answer, given.own_answer),
            },
            answer_tokens: settled.tokens.iter().map(|t| (t.text.clone(), t.probability)).collect(),
            findings: Vec::new(),
            guides: rows.iter().map(|method| methods::guide(method)).collect(),
            cautions: cautions.clone(),
            names: BTreeMap::new(),
        };
        let kept: Vec<Option<PathBuf>> = rows.iter().map(|method| run.kept(&finding_of(method))).collect();
        let (todo, known): (Vec<_>, Vec<_>) =
            made.into_iter().zip(&kept).partition(|(_, kept)| kept.is_none());
        drop(known);
        let todo: Vec<Box<dyn AnyAnalysis>> = todo.into_iter().map(|(method, _)| method).collect();
        let mut found = explain(&todo, on, &given);
        let (mut written, mut left_out) = (Vec::new(), Vec::new());
        for (method, kept) in rows.iter().zip(&kept) {
            let started = Instant::now();
            let finding = match kept {
                Some(file) => Ok(Finding::load(file)?),
                None => {
                    let finding = found.next().context("a method was not run")?;
                    bar.done();
                    self.settle(method, finding)?
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
            let (kept, seconds) = (kept.is_some(), seconds(started));
            written.push(Written {
                method: method.card.short,
                finding: file,
                heat_maps,
                kept,
                seconds,
                compares,
            });
            let short = method.card.short;
            cautions.extend(finding.cautions().iter().map(|caution| format!("{short}: {caution}")));
            page.findings.push(on_page_of(finding, &settled.aim));
        }
        if written.is_empty() {
            let reasons: Vec<String> =
                left_out.iter().map(|left| format!("{}: {}", left.method, left.reason)).collect();
            bail!("no method explains this: {}", reasons.join("; "));
        }
        page.names = plain_names(&page.findings);
        let report = run.write(REPORT, page.html()?.as_bytes())?;
        run.finish()?;
        self.tell(subject, settled, announced, (written, cautions, left_out), report)
    }

    /// The folder, with the settings that a run must have to go on with what another left there.
    fn begin(
        &self,
        subject: &dyn Subject,
        given: &Given,
        rows: &[&Method],
        made: &[Box<dyn AnyAnalysis>],
    ) -> Result<RunFolder> {
        let named = rows.iter().zip(made).map(|(row, method)| Ok((row.card.id, method.settings()?)));
        let methods: BTreeMap<&str, Value> = named.collect::<Result<_>>()?;
        let folder = self.model.folder()?;
        let settings = [
            ("command", json!("explain")),
            ("model", json!(subject.name())),
            ("weights", json!(subject.weights_hash())),
            ("alterations", json!(subject.alterations())),
            ("settings of the model", folder.as_deref().map_or(Ok(Value::Null), around)?),
            ("device", json!(subject.device())),
            ("methods", json!(methods)),
            ("target", json!(self.target)),
            ("memory", json!(self.memory.unwrap_or_default().budget())),
            ("kernels", json!(subject.kernels())),
            ("sample", json!(given.case.sample.record())),
            ("corrupted", json!(given.corrupted.as_ref().map(Sample::record))),
        ];
        let settings: BTreeMap<String, Value> = settings.map(|(name, value)| (name.to_owned(), value)).into();
        let inputs = self.question.inputs().chain(self.corruption.corrupted_image.iter().cloned());
        let inputs = inputs.chain(self.edits.inputs());
        let run = RunFolder::begin(&self.out, settings, inputs.chain(folder))?;
        run.place(REPORT)?;
        for method in rows {
            run.place(&finding_of(method))?;
            run.place(&format!("{}.png", method.card.short))?;
        }
        Ok(run)
    }

    /// A method's finding; the reason why there is none, if nobody asked for this method by name.
    fn settle(
        &self,
        method: &Method,
        finding: Result<Finding, AnalysisError>,
    ) -> Result<Result<Finding, String>> {
        match finding {
            Err(error @ (AnalysisError::Input { .. } | AnalysisError::Memory { .. }))
                if self.method.is_empty() =>
            {
                let compares = matches!(&error, AnalysisError::Input { needs, .. } if needs == CORRUPTED);
                let hint = if compares { "; `--corrupted-ask` or `--corrupted-text` gives one" } else { "" };
                Ok(Err(format!("{error}{hint}")))
            }
            other => other.map(Ok).with_context(|| format!("--method {}", method.card.short)),
        }
    }

    fn tell(
        &self,
        subject: &dyn Subject,
        settled: Settled,
        memory: Announced,
        (findings, cautions, left_out): (Vec<Written>, Vec<String>, Vec<LeftOut>),
        report: PathBuf,
    ) -> Result<()> {
        let told = Told {
            model: subject.name().to_owned(),
            alterations: subject.alterations().to_vec(),
            question: written(&settled.sample.words),
            answer: settled.answer,
            given: settled.given,
            ended: settled.ended,
            last_position: settled.note.is_some(),
            tokens: settled.tokens,
            target: settled.aim,
            memory,
            findings,
            cautions,
            left_out,
            report,
        };
        if self.json {
            return print::json(&told);
        }
        let comparing = || told.findings.iter().filter(|written| written.compares.is_some());
        if let Some(what) = comparing().find_map(|written| written.compares.as_deref()) {
            let by: Vec<&str> = comparing().map(|written| written.method).collect();
            print::line(format!("compared   with {} ({})", print::visible(what), by.join(", ")))?;
        }
        print::line("")?;
        let show = |path: &Path| print::visible(&path.display().to_string());
        let rows = told.findings.iter().map(|written| {
            let maps: Vec<String> = written.heat_maps.iter().map(|map| show(&map.file)).collect();
            let time = if written.kept { "kept".to_owned() } else { format!("{:.1} s", written.seconds) };
            [written.method.to_owned(), time, show(&written.finding), maps.join("  ")]
        });
        print::columns(&rows.collect::<Vec<_>>())?;
        print::line(format!("\nreport     {}", show(&told.report)))?;
        settled.note.iter().for_each(|note| print::note(note));
        told.cautions.iter().for_each(|caution| print::note(caution));
        for LeftOut { method, reason } in &told.left_out {
            print::note(&format!("{method} was left out: {}", print::visible(reason)));
        }
        Ok(())
    }
}

const REPORT: &str = "report.html";
/// What methods that compare two runs need.
const CORRUPTED: &str = "a corrupted sample";

/// What the file of a finding is called.
fn finding_of(method: &Method) -> String {
    format!("{}.safetensors", method.card.short)
}

/// A finding as the page shows it, with the token or the answer that is explained called by its text.
fn on_page_of(mut finding: Finding, Aim { id, text }: &Aim) -> Finding {
    let told = finding.provenance.objective.take().map(|told| match id {
        Some(id) => told.replace(&format!("token {id}"), &format!("token {id} (“{text}”)")),
        None => format!("{told} (“{text}”)"),
    });
    finding.provenance.objective = told;
    finding
}

/// The heat maps of a finding, as files.
fn draw(method: &Method, finding: &Finding, page: &Page, run: &mut RunFolder) -> Result<Vec<HeatMap>> {
    let mut written = Vec::new();
    let Some(heat) = drawn(finding) else { return Ok(written) };
    for (index, picture) in page.pictures.iter().enumerate() {
        let (image, frame) = picture.place(index);
        let on = match on_picture(&heat.tables, (image, frame), picture.dimensions()) {
            Err(ReportError::OtherPicture { .. }) => continue,
            on => on?,
        };
        let settings = OverlaySettings { image, frame, ..OverlaySettings::default() };
        let name = match (image, frame) {
            (0, 0) => String::new(),
            (_, 0) => format!("-{image}"),
            _ => format!("-{image}-{frame}"),
        };
        let png = overlay_png(picture, &heat.tables, settings)?;
        let file = run.write(&format!("{}{name}.png", method.card.short), &png)?;
        let aside = format!(", and {:.3} on what the processor put around the picture", on.outside);
        let shows = heat.from.clone() + if on.outside == 0.0 { "" } else { &aside };
        written.push(HeatMap { file, image: picture.name().to_owned(), shows });
    }
    Ok(written)
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

fn title(token: &str) -> String {
    format!("Why “{}”?", token.trim())
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
