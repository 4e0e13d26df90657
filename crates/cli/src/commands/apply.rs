//! `mmlens apply`: what was learned, on single cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use mmlens::FITS;
use mmlens::core::{AnyAnalysis, Card, Case, Fitting, Given, Memory, On, Reply, Sample, Subject};
use mmlens::files::{RunFolder, sha256_of};
use mmlens::finding::{Caution, Finding};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::explain::cases::{Listed, to_learn_from};
use super::fit::{FOUND, TOLD};
use crate::caution::ToldCaution;
use crate::edits::EditArgs;
use crate::input::{QuestionArgs, suited};
use crate::learned::{Told, answer};
use crate::methods::Set;
use crate::model::ModelArgs;
use crate::print;
use crate::progress::{Bar, stoppable, stopped};
use crate::refusal::Refusal;

/// Runs on a case what `mmlens fit` has learned, and writes the finding.
///
/// With `--cases` on many, each in a folder of its own in `--out`; those that are whole there already are not made again.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// What was learned: the file, or the folder that `mmlens fit` wrote.
    #[arg(value_name = "FITTED")]
    fitted: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Many cases: a folder of pictures or recordings, or a file of cases as JSON, one on a line (docs/cases.md).
    #[arg(long, value_name = "PATH", conflicts_with_all = ["images", "videos", "audio"])]
    cases: Option<PathBuf>,
    /// An answer that was given: where something is explained of an answer, it is this one, all of it. With `--cases` each line has its own.
    #[arg(long, value_name = "ANSWER", conflicts_with_all = ["text", "cases"], value_parser = NonEmptyStringValueParser::new())]
    answer: Option<String>,
    /// A setting of what was learned that is another now, such as bottleneck.known={"red":true}, an intervention; repeat it for several. Values are JSON.
    #[arg(long, value_name = "METHOD.SETTING=VALUE")]
    set: Vec<Set>,
    /// How much memory it may take at once, beside the model and the sample, such as 800MB or 2GiB; without it 4GiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// The folder for what is written; made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints where the findings are as JSON, one line for each case.
    #[arg(long)]
    json: bool,
}

/// A finding of one case.
#[derive(Serialize)]
struct Applied {
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<String>,
    method: &'static str,
    finding: PathBuf,
    cautions: Vec<ToldCaution>,
    /// What was to be known when it was learned, if the finding about that lies beside it.
    learned: Vec<ToldCaution>,
    /// Whether it was there before.
    kept: bool,
}

/// What is run, and on what.
struct Work<'a> {
    fitted: &'a dyn AnyAnalysis,
    /// Of its file.
    hash: String,
    /// What is set otherwise.
    set: &'a Map<String, Value>,
    /// What was said against it when it was learned.
    learned: Vec<Caution>,
    subject: &'a dyn Subject,
    bar: &'a Bar,
}

/// The cautions of the finding that `mmlens fit` leaves beside what was learned.
fn learned(fitted: &Path, card: &Card) -> Result<Vec<Caution>> {
    let found = fitted.with_file_name(FOUND);
    if !found.exists() {
        return Ok(Vec::new());
    }
    let finding = Finding::load(&found)?;
    let own = finding.provenance.method == card.id;
    Ok(if own { finding.cautions() } else { Vec::new() })
}

impl Apply {
    pub(crate) fn run(&self) -> Result<()> {
        stoppable()?;
        let (file, hash) = self.file()?;
        let fitted = Fitting::load(FITS, &file)?;
        let set = Set::all_of(&self.set, &fitted.card())?;
        let changed = match set.is_empty() {
            true => None,
            false => {
                Some(fitted.with(set.clone()).with_context(|| format!("apply {}", fitted.card().short))?)
            }
        };
        let cases = self.cases.as_ref().map(|path| to_learn_from(path, &self.question)).transpose()?;
        let read = self.cases.iter().chain([&self.fitted]).cloned().chain(self.question.inputs());
        RunFolder::free(&self.out, read.chain(self.edits.inputs()).chain(self.model.folder()?))?;
        let subject = self.edits.of(self.model.open()?)?;
        let bar = Bar::new();
        let learned = learned(&file, &fitted.card())?;
        let fitted: &dyn AnyAnalysis = match &changed {
            Some(changed) => changed.as_ref(),
            None => fitted.as_ref(),
        };
        let work = Work { fitted, hash, set: &set, learned, subject: &subject, bar: &bar };
        let Some(cases) = cases else {
            let inputs = self.question.inputs().collect();
            let reply = self.answer.clone().map(Reply::Text);
            let sample = Sample { reply, ..self.question.sample()? };
            let applied = self.one(&work, sample, inputs, (None, &self.out))?;
            return self.tell(&applied);
        };
        let (count, mut failed) = (cases.len(), 0);
        for case in &cases {
            let applied = self.of(&work, case);
            bar.done();
            match applied {
                Ok(applied) => self.tell(&applied)?,
                Err(error) if stopped() => return Err(error),
                Err(error) => {
                    failed += 1;
                    print::failed_case(&case.name, &error, self.json)?;
                }
            }
        }
        match failed {
            0 => Ok(()),
            failed => Err(Refusal::Cases { failed, count }.into()),
        }
    }

    /// The file of what was learned, and its hash, which is that of the manifest beside it.
    fn file(&self) -> Result<(PathBuf, String)> {
        let hash = |file: &Path| sha256_of(file).with_context(|| file.display().to_string());
        if !self.fitted.is_dir() {
            return Ok((self.fitted.clone(), hash(&self.fitted)?));
        }
        let told = Told::read(&self.fitted.join(TOLD))?;
        // The folder may have been moved since.
        let name = told.fitted.file_name().map(PathBuf::from).unwrap_or_default();
        let file = self.fitted.join(&name);
        let found = hash(&file)?;
        let manifest = RunFolder::manifest(&self.fitted)?;
        let mut entries = manifest.iter().flat_map(|manifest| &manifest.files);
        match entries.find(|entry| Path::new(&entry.name) == name && entry.sha256 != found) {
            Some(entry) => Err(Refusal::Changed { file, found, expected: entry.sha256.clone() }.into()),
            None => Ok((file, found)),
        }
    }

    fn of(&self, work: &Work<'_>, case: &Listed) -> Result<Applied> {
        self.one(work, case.sample()?, case.files(), (Some(&case.name), &self.out.join(&case.name)))
    }

    fn one(
        &self,
        work: &Work<'_>,
        sample: Sample,
        mut inputs: Vec<PathBuf>,
        (name, out): (Option<&str>, &Path),
    ) -> Result<Applied> {
        let subject = work.subject;
        suited(subject, &sample.words)?;
        let card = work.fitted.card();
        let file = format!("{}.safetensors", card.short);
        let memory = self.memory.unwrap_or_default();
        let about = [
            ("command", json!("apply")),
            ("method", json!(card.id)),
            ("fitted", json!(work.hash)),
            ("set", json!(work.set)),
            ("model", json!(subject.name())),
            ("weights", json!(subject.weights_hash())),
            ("alterations", json!(subject.alterations())),
            ("device", json!(subject.device())),
            ("kernels", json!(subject.kernels())),
            ("memory", json!(memory.budget())),
            ("sample", json!(sample.record())),
        ];
        let about: BTreeMap<String, Value> = about.map(|(name, value)| (name.to_owned(), value)).into();
        let told = |finding: &Finding, kept| Applied {
            case: name.map(str::to_owned),
            method: card.short,
            finding: out.join(&file),
            cautions: finding.cautions().iter().map(ToldCaution::from).collect(),
            learned: work.learned.iter().map(ToldCaution::from).collect(),
            kept,
        };
        if RunFolder::whole(out, &about)?.is_some() {
            return Ok(told(&Finding::load(out.join(&file))?, true));
        }
        inputs.extend(self.cases.iter().cloned().chain([self.fitted.clone()]).chain(self.edits.inputs()));
        inputs.extend(self.model.folder()?);
        let mut run = RunFolder::begin(out, about, inputs)?;
        run.place(&file)?;
        let on = On::new(subject).watched(work.bar).within(memory);
        self.edits.suited(subject, &on.encode(&sample)?)?;
        let case = if sample.reply.is_some() { Case::answer(sample) } else { Case::new(sample) };
        let found = work.fitted.run_given(&on, &Given::new(case)?);
        work.bar.done();
        let mut finding = found.with_context(|| format!("apply {}", card.short))?;
        finding.provenance.model = self.model.named();
        run.write(&file, &finding.to_bytes()?)?;
        run.finish()?;
        Ok(told(&finding, false))
    }

    fn tell(&self, applied: &Applied) -> Result<()> {
        if self.json {
            return print::json_line(applied);
        }
        for caution in &applied.cautions {
            print::note(&print::visible(&caution.text));
        }
        for caution in &applied.learned {
            print::note(&format!("when it was learned: {}", print::visible(&caution.text)));
        }
        if let Some(case) = &applied.case {
            print::line(format!("{}{}", print::visible(case), if applied.kept { " (kept)" } else { "" }))?;
        }
        answer(&Finding::load(&applied.finding)?, &applied.finding)?;
        print::line("")?;
        print::line(format!("finding  {}", print::visible(&applied.finding.display().to_string())))
    }
}
