//! `mmlens explain`: why this answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use image::DynamicImage;
use mmlens::core::{AnalysisError, Case, Clip, Copies, Picture, Plan, Sample, Subject, Words, memory};
use mmlens::engine::Memory;
use mmlens::files::{RunFolder, sha256, sha256_of};
use mmlens::finding::Finding;
use mmlens::report::{OverlaySettings, Page, ReportError, on_picture, overlay_png};
use serde::Serialize;
use serde_json::{Value, json};

use crate::commands::aim::{Aim, Settled, settle};
use crate::commands::ask::Token;
use crate::edits::EditArgs;
use crate::input::{
    QuestionArgs, flat_clip, flat_picture, frames_on_page, on_page, pictures, suited, written,
};
use crate::methods::{METHODS, Method, Question};
use crate::model::ModelArgs;
use crate::print;
use crate::progress::Bar;
use crate::refusal::Refusal;

/// Explains the first token of an answer, and writes findings, heat maps and one page that shows them all.
///
/// What is explained is the logit of the token that the model says next, or of `--target`. Of a dual encoder it is the
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
    /// The methods, separated by commas; without it all that this input allows.
    #[arg(long, value_name = "METHOD", value_delimiter = ',', value_parser = methods())]
    method: Vec<String>,
    /// The token (or class) whose logit is explained, as text or as id; without it the first one of the answer.
    #[arg(long, value_name = "TOKEN")]
    target: Option<String>,
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

fn methods() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(METHODS.iter().map(Method::value))
}

impl CorruptionArgs {
    /// The sample that leads to another answer, or why there is none.
    fn sample(&self, clean: &Sample) -> Result<Result<Sample, &'static str>> {
        if let Some(question) = &self.corrupted_ask {
            return Ok(Ok(Sample { words: Words::Ask(question.clone()), ..clean.clone() }));
        }
        if let Some(text) = &self.corrupted_text {
            return Ok(Ok(Sample { words: Words::Texts(vec![text.clone()]), ..clean.clone() }));
        }
        if matches!(clean.words, Words::Texts(_)) {
            return Ok(Err(
                "what the text tower holds does not depend on the picture; give `--corrupted-text`",
            ));
        }
        if !self.corrupted_image.is_empty() {
            let (found, pictures) = (self.corrupted_image.len(), clean.pictures.len());
            if found != pictures {
                return Err(Refusal::CorruptedPictures { found, pictures }.into());
            }
            return Ok(Ok(Sample { pictures: self::pictures(&self.corrupted_image)?, ..clean.clone() }));
        }
        if clean.pictures.is_empty() && clean.clips.is_empty() {
            return Ok(Err("there is no picture to replace and no `--corrupted-ask`"));
        }
        let pictures: Vec<Picture> = clean.pictures.iter().map(flat_picture).collect::<Result<_>>()?;
        let clips = clean.clips.iter().map(flat_clip).collect::<Result<_>>()?;
        Ok(Ok(Sample { pictures, clips, ..clean.clone() }))
    }

    /// The comparison in words.
    fn describe(&self) -> String {
        match (&self.corrupted_ask, &self.corrupted_text, self.corrupted_image.as_slice()) {
            (Some(question), ..) => format!("the question “{question}”"),
            (_, Some(text), _) => format!("the caption “{text}”"),
            (.., []) => "the mean colour of the picture".to_owned(),
            (.., files) => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
        }
    }
}

#[derive(Serialize)]
struct Told {
    model: String,
    alterations: Vec<String>,
    question: String,
    answer: String,
    ended: bool,
    last_position: bool,
    tokens: Vec<Token>,
    target: Aim,
    memory: Announced,
    findings: Vec<Written>,
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
        let sample = self.question.sample()?;
        let corrupted = self.corruption.sample(&sample)?;
        let subject = self.edits.of(self.model.open()?)?;
        let subject: &dyn Subject = &subject;
        suited(subject, &sample.words)?;
        self.edits.suited(subject, &subject.encode(&sample)?)?;
        let mut run = self.begin(subject, &sample, corrupted.as_ref().ok())?;
        let settled = settle(subject, sample, self.target.as_deref())?;
        let case = Case { sample: settled.sample.clone(), target: settled.target.clone() };
        let question = Question { case, corrupted, memory: self.memory.unwrap_or_default() };
        let pass = subject.need(&subject.encode(&question.case.sample)?, &Plan::new(), Copies::ONE)?.bytes;
        let memory = Announced { budget: question.memory.budget(), pass };
        if !self.json {
            print::line(format!("answer     {}", print::visible(&settled.answer)))?;
            print::line(format!("explained  {}", print::visible(&settled.explained)))?;
            self.edits.tell()?;
            print::line(memory.told(self.memory.is_none()))?;
        }
        let own = &question.case.sample;
        let mut shown = own.pictures.iter().map(on_page).collect::<Result<Vec<_>>>()?;
        shown.extend(frames_on_page(&own.clips, own.pictures.len(), &settled.prompt)?);
        let mut page = Page {
            title: title(&settled.aim.text),
            pictures: shown,
            prompt: settled.prompt.clone(),
            question: written(&question.case.sample.words),
            answer: settled.answer.clone(),
            answer_tokens: settled.tokens.iter().map(|t| (t.text.clone(), t.probability)).collect(),
            findings: Vec::new(),
            guides: METHODS.iter().map(Method::guide).collect(),
        };
        let (mut written, mut left_out) = (Vec::new(), Vec::new());
        for method in self.methods() {
            let started = Instant::now();
            let name = finding_of(method);
            let kept = run.kept(&name);
            let finding = match &kept {
                Some(file) => Ok(Finding::load(file)?),
                None => self.find(method, subject, &question)?.map(|f| self.signed(method, f, &question)),
            };
            let finding = match finding {
                Ok(finding) => finding,
                Err(reason) => {
                    left_out.push(LeftOut { method: method.name, reason });
                    continue;
                }
            };
            let file = run.write(&name, &finding.to_bytes()?)?;
            let heat_maps = self.draw(method, &finding, &page, &mut run)?;
            let (kept, seconds) = (kept.is_some(), seconds(started));
            written.push(Written { method: method.name, finding: file, heat_maps, kept, seconds });
            page.findings.push(method.on_page(&finding, settled.aim.id, &settled.aim.text)?);
        }
        if written.is_empty() {
            let reasons: Vec<String> =
                left_out.iter().map(|left| format!("{}: {}", left.method, left.reason)).collect();
            bail!("no method explains this: {}", reasons.join("; "));
        }
        let report = run.write(REPORT, page.html()?.as_bytes())?;
        run.finish()?;
        self.tell(subject, settled, memory, written, left_out, report)
    }

    /// The folder, with the settings that a run must have to go on with what another left there.
    fn begin(&self, subject: &dyn Subject, sample: &Sample, corrupted: Option<&Sample>) -> Result<RunFolder> {
        let methods: Vec<&str> = self.methods().iter().map(|method| method.name).collect();
        let settings = [
            ("command", json!("explain")),
            ("model", json!(subject.name())),
            ("weights", json!(subject.weights_hash())),
            ("alterations", json!(subject.alterations())),
            (
                "settings of the model",
                self.model.folder()?.map_or(Ok(Value::Null), |folder| around(&folder))?,
            ),
            ("device", json!(subject.device())),
            ("methods", json!(methods)),
            ("target", json!(self.target)),
            ("memory", json!(self.memory.unwrap_or_default().budget())),
            ("kernels", json!(subject.kernels())),
            ("sample", fingerprint(sample)),
            ("corrupted", json!(corrupted.map(fingerprint))),
        ];
        let settings: BTreeMap<String, Value> = settings.map(|(name, value)| (name.to_owned(), value)).into();
        let inputs = self.question.inputs().chain(self.corruption.corrupted_image.iter().cloned());
        let inputs = inputs.chain(self.edits.inputs());
        let run = RunFolder::begin(&self.out, settings, inputs.chain(self.model.folder()?))?;
        run.place(REPORT)?;
        for method in self.methods() {
            run.place(&finding_of(method))?;
            run.place(&format!("{}.png", method.name))?;
        }
        Ok(run)
    }

    fn methods(&self) -> Vec<&'static Method> {
        if self.method.is_empty() {
            return METHODS.iter().collect();
        }
        let asked: Vec<&'static Method> = self.method.iter().filter_map(|name| Method::of(name)).collect();
        METHODS.iter().filter(|method| asked.iter().any(|other| other.name == method.name)).collect()
    }

    /// A method's finding; the reason why there is none, if nobody asked for this method by name.
    fn find(
        &self,
        method: &Method,
        subject: &dyn Subject,
        question: &Question,
    ) -> Result<Result<Finding, String>> {
        let bar = Bar::new();
        let finding = method.run(subject, question, &bar);
        bar.done();
        match finding {
            Err(error @ (AnalysisError::Input { .. } | AnalysisError::Memory { .. }))
                if self.method.is_empty() =>
            {
                Ok(Err(error.to_string()))
            }
            other => other.map(Ok).with_context(|| format!("--method {}", method.name)),
        }
    }

    /// The finding with the sample it is about, so that it can be made again.
    fn signed(&self, method: &Method, mut finding: Finding, question: &Question) -> Finding {
        let pictures: Vec<String> = question.case.sample.pictures.iter().map(|p| p.name.clone()).collect();
        let words = &question.case.sample.words;
        let asked = match words {
            Words::Ask(_) => Some("ask"),
            Words::Prompt(_) => Some("prompt"),
            Words::Texts(_) => Some("text"),
            Words::Nothing => None,
        };
        let mut made = finding.provenance.with_setting("pictures", pictures);
        if let Some(asked) = asked {
            made = made.with_setting(asked, self::written(words));
        }
        if method.compares {
            made.baseline = Some(self.corruption.describe());
        }
        finding.provenance = made;
        finding
    }

    /// The heat maps of a finding, as files.
    fn draw(
        &self,
        method: &Method,
        finding: &Finding,
        page: &Page,
        run: &mut RunFolder,
    ) -> Result<Vec<HeatMap>> {
        let mut drawn = Vec::new();
        let Some(heat) = method.heat(finding) else { return Ok(drawn) };
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
            let file = run.write(&format!("{}{name}.png", method.name), &png)?;
            let aside = format!(", and {:.3} on what the processor put around the picture", on.outside);
            let shows = heat.from.clone() + if on.outside == 0.0 { "" } else { &aside };
            drawn.push(HeatMap { file, image: picture.name().to_owned(), shows });
        }
        Ok(drawn)
    }

    fn tell(
        &self,
        subject: &dyn Subject,
        settled: Settled,
        memory: Announced,
        findings: Vec<Written>,
        left_out: Vec<LeftOut>,
        report: PathBuf,
    ) -> Result<()> {
        let told = Told {
            model: subject.name().to_owned(),
            alterations: subject.alterations().to_vec(),
            question: written(&settled.sample.words),
            answer: settled.answer,
            ended: settled.ended,
            last_position: settled.note.is_some(),
            tokens: settled.tokens,
            target: settled.aim,
            memory,
            findings,
            left_out,
            report,
        };
        if self.json {
            return print::json(&told);
        }
        let compares = |written: &&Written| Method::of(written.method).is_some_and(|method| method.compares);
        let comparing: Vec<&str> =
            told.findings.iter().filter(compares).map(|written| written.method).collect();
        if !comparing.is_empty() {
            let (what, by) = (print::visible(&self.corruption.describe()), comparing.join(", "));
            print::line(format!("compared   with {what} ({by})"))?;
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
        for LeftOut { method, reason } in &told.left_out {
            print::note(&format!("{method} was left out: {}", print::visible(reason)));
        }
        Ok(())
    }
}

const REPORT: &str = "report.html";

/// What the file of a finding is called.
fn finding_of(method: &Method) -> String {
    format!("{}.safetensors", method.name)
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

/// All that a sample says: its words, and a hash of every picture's pixels.
fn fingerprint(sample: &Sample) -> Value {
    let picture = |image: &DynamicImage| {
        format!("{}x{} {:?} {}", image.width(), image.height(), image.color(), sha256(image.as_bytes()))
    };
    let pictures: Vec<Value> =
        sample.pictures.iter().map(|own| json!([own.name, picture(&own.image)])).collect();
    let frames = |clip: &Clip| clip.frames.iter().map(|frame| picture(frame)).collect::<Vec<_>>();
    let clips: Vec<Value> =
        sample.clips.iter().map(|clip| json!([clip.name, clip.fps, frames(clip)])).collect();
    let kind = match &sample.words {
        Words::Ask(_) => "ask",
        Words::Prompt(_) => "prompt",
        Words::Texts(_) => "text",
        Words::Nothing => "nothing",
    };
    let texts = match &sample.words {
        Words::Ask(text) | Words::Prompt(text) => vec![text.as_str()],
        Words::Texts(texts) => texts.iter().map(String::as_str).collect(),
        Words::Nothing => Vec::new(),
    };
    json!({ "pictures": pictures, "clips": clips, "words": [kind, texts] })
}

fn title(token: &str) -> String {
    format!("Why “{}”?", token.trim())
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}
