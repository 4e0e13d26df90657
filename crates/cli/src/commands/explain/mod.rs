//! `mmlens explain`: why this answer.

mod aim;
mod beside;
pub(crate) mod cases;
pub(crate) mod data;
mod draw;
mod one;
mod over;
mod told;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mmlens::METHODS;
use mmlens::core::{Form, Memory, Method, Reply, Subject};
use mmlens::files::RunFolder;
use serde_json::json;

use super::dry;
use crate::edits::EditArgs;
use crate::input::QuestionArgs;
use crate::methods::{self, Set};
use crate::model::{ModelArgs, folder_of};
use crate::place::{PlaceArgs, Placed};
use crate::print;
use crate::progress::{Bar, stoppable, stopped};
use crate::refusal::Refusal;
pub(super) use aim::{AimArgs, CorruptionArgs};
use cases::{Listed, read};
use one::{Task, Work};
use over::{Other, Over};

/// Explains an answer, and writes findings, heat maps and one page that shows them all.
///
/// What is explained is how likely the whole answer is, its log-probability, with a map for each of its tokens; or a `--span` of
/// it, or one token, `--target`; `--versus` explains why there is not something else. Of a dual encoder it is the
/// similarity of the picture and the caption, its entry of `logits_per_image`, of several captions the one that fits
/// best, of one alone the cosine; of a classifier the logit of the likeliest class. Each method writes
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
    #[command(flatten)]
    place: PlaceArgs,
    /// The bank that methods search which have one (latent): a file with a text on each line, or a folder that `mmlens record` wrote.
    #[arg(long, value_name = "PATH")]
    bank: Option<PathBuf>,
    #[command(flatten)]
    aim: AimArgs,
    #[command(flatten)]
    corruption: CorruptionArgs,
    /// How much memory each method may take at once, beside the model and the sample, such as 800MB or 2GiB; without it 4GiB. The
    /// same size gives the same bits; another one, other last digits. A method that cannot do with so little is refused.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// Many cases, one after the other: a folder of pictures or recordings, or a file of cases as JSON, one on a line (docs/cases.md). Each is written
    /// into a folder of its own in `--out`; those that are whole there already are not made again. A method that looks at all of them
    /// together, such as cka, is run once, and written into `--out` itself.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["images", "videos", "audio"])]
    cases: Option<PathBuf>,
    /// A second model, explained in the same way: `first` and `second` in `--out` hold what was written of each, and compare.html has
    /// both, with their maps on one scale and how far they agree. With `--cases` it is for methods that lay two models side by side over all of them.
    #[arg(long, value_name = "MODEL")]
    beside: Option<String>,
    /// The cases as the second model takes them, where it is asked in other words: case by case the same.
    #[arg(long, value_name = "PATH", requires = "beside")]
    beside_cases: Option<PathBuf>,
    /// The folder for what is written; made if it is not there. Files of the names above are replaced, those of another run removed,
    /// files of others are left alone.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Runs no method and writes nothing: prints the passes, seconds and memory that each would take, from one pass that is timed; of
    /// many cases what each would take, and all.
    #[arg(long)]
    dry_run: bool,
    /// A job file: these options as TOML (docs/jobs.md). What is given here wins.
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
    /// Prints the answer and the places of the files as JSON.
    #[arg(long)]
    json: bool,
}

/// The setting, and the option, that names what a method searches.
pub(crate) const BANK: &str = "bank";

fn offered() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(METHODS.iter().map(methods::value))
}

impl Explain {
    pub(crate) fn run(&self) -> Result<()> {
        stoppable()?;
        if !self.dry_run {
            self.free()?;
        }
        if let Some(path) = &self.cases {
            return self.run_cases(path);
        }
        if let Some(other) = &self.beside {
            return self.side_by_side(other);
        }
        let task = self.task()?;
        let placed = self.methods()?;
        let subject = self.edits.of(self.model.open()?)?;
        let bar = Bar::new();
        let work = self.work((&subject, &self.model), &placed, &bar);
        if self.dry_run {
            return work.dry(&task)?.tell(self.json);
        }
        let told = work.explain(&task, &self.out, !self.json)?;
        if self.json { print::json(&told) } else { told.print() }
    }

    /// Refuses to write where something is read, before any of it is.
    fn free(&self) -> Result<()> {
        let named = self.cases.iter().chain(&self.beside_cases).chain(&self.bank).cloned();
        let models = [self.model.folder()?, folder_of(self.beside.as_deref())?];
        let inputs = named.chain(self.question.inputs()).chain(self.edits.inputs());
        Ok(RunFolder::free(&self.out, inputs.chain(models.into_iter().flatten()))?)
    }

    /// The one case that options say.
    fn task(&self) -> Result<Task> {
        let mut sample = self.question.sample()?;
        sample.reply = self.aim.answer.clone().map(Reply::Text);
        let inputs = self.question.inputs().chain(self.corruption.inputs()).collect();
        Ok(Task { sample, aim: self.aim.clone(), corruption: self.corruption.clone(), inputs })
    }

    /// The methods that run, and their settings; what is wrong with them is told before a model is opened.
    fn methods(&self) -> Result<Placed> {
        let chosen = methods::chosen(&self.method);
        let over = |method: &&&Method| method.form == Form::ManyCases;
        if let Some(method) = chosen.iter().find(over) {
            let method = method.card.short;
            if self.cases.is_none() {
                return Err(Refusal::NeedsData { method }.into());
            }
            if let Some(single) = chosen.iter().find(|method| !over(method)) {
                return Err(Refusal::Mixed { method, single: single.card.short }.into());
            }
            if let Some(option) = self.aim.said().or(self.corruption.said()) {
                return Err(Refusal::OfCases { option, method }.into());
            }
        } else if self.beside.is_some() && self.cases.is_some() {
            return Err(Refusal::Alone.into());
        }
        let banked = self.banked(&chosen)?;
        let placed = self.place.of(chosen, !self.method.is_empty())?;
        let sets = [placed.sets, banked, self.set.clone()].concat();
        methods::made(&placed.rows, &sets, &[])?;
        Ok(Placed { sets, ..placed })
    }

    /// The bank, for methods that search one.
    fn banked(&self, chosen: &[&'static Method]) -> Result<Vec<Set>> {
        let Some(bank) = &self.bank else { return Ok(Vec::new()) };
        let mut sets = Vec::new();
        for method in chosen {
            if method.defaults()?.get(BANK).is_some() {
                sets.push(Set::new(method.card.short, BANK.to_owned(), json!(bank)));
            }
        }
        match sets.is_empty() {
            false => Ok(sets),
            true => {
                let names = chosen.iter().map(|method| method.card.short).collect::<Vec<_>>().join(", ");
                Err(Refusal::NoPlace { option: BANK, method: names }.into())
            }
        }
    }

    fn work<'a>(
        &'a self,
        (subject, model): (&'a dyn Subject, &'a ModelArgs),
        placed: &'a Placed,
        bar: &'a Bar,
    ) -> Work<'a> {
        Work {
            subject,
            model,
            edits: &self.edits,
            rows: &placed.rows,
            set: &placed.sets,
            left: &placed.left,
            named: !self.method.is_empty(),
            memory: self.memory,
            bar,
        }
    }

    /// All cases together.
    fn run_over(&self, path: &Path, placed: &Placed) -> Result<()> {
        let subject = self.edits.of(self.model.open()?)?;
        let other = self.beside.as_deref().map(|model| -> Result<Other> {
            let cases = self.beside_cases.as_deref().map(|path| data::CaseData::read(path, &self.question));
            let (subject, folder) = self.model.beside(model)?;
            Ok(Other { subject, cases: cases.transpose()?, folder })
        });
        let bar = Bar::new();
        let work = self.work((&subject, &self.model), placed, &bar);
        let over = Over::new(&work, path, &self.question, other.transpose()?)?;
        if self.dry_run { over.dry()?.tell(self.json) } else { over.explain(&self.out, self.json) }
    }

    /// The cases, none of them read yet.
    pub(crate) fn listed(&self, path: &Path) -> Result<Vec<Listed>> {
        read(path, &self.question, (&self.aim, &self.corruption))
    }

    /// Case after case; one that fails is told, and the others go on.
    fn run_cases(&self, path: &Path) -> Result<()> {
        let placed = self.methods()?;
        if placed.rows.iter().all(|method| method.form == Form::ManyCases) {
            return self.run_over(path, &placed);
        }
        let cases = self.listed(path)?;
        let subject = self.edits.of(self.model.open()?)?;
        let bar = Bar::new();
        let work = self.work((&subject, &self.model), &placed, &bar);
        let (count, mut failed) = (cases.len(), 0);
        if self.dry_run {
            let told = |case: Listed| (case.name.clone(), case.task().and_then(|task| work.dry(&task)));
            failed = dry::cases(cases.into_iter().map(told), self.json)?;
            return all_well(failed, count);
        }
        for (at, case) in cases.into_iter().enumerate() {
            let out = self.out.join(&case.name);
            let told = case.task().and_then(|task| work.once(&task, &out));
            bar.done();
            let made = match told {
                Ok(made) => made,
                Err(error) if stopped() => return Err(error),
                Err(error) => {
                    failed += 1;
                    print::failed_case(&case.name, &error, self.json)?;
                    continue;
                }
            };
            match self.json {
                true => print::json_line(&made.of_case(&case.name))?,
                false => print::line(format!("{}/{count}  {}", at + 1, made.line(&case.name)))?,
            }
        }
        all_well(failed, count)
    }
}

fn all_well(failed: usize, count: usize) -> Result<()> {
    match failed {
        0 => Ok(()),
        failed => Err(Refusal::Cases { failed, count }.into()),
    }
}
