//! `mmlens bench`: a model over a data set, scored.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use mmlens::METHODS;
use mmlens::core::{Memory, Selector};
use mmlens::data::benchmark::{Bench as Run, By, Map, Part, Reader, Scored, ScorerName, Settings, Source};
use mmlens::files::RunFolder;

use crate::edits::EditArgs;
use crate::methods::{self, Set};
use crate::model::ModelArgs;
use crate::print;
use crate::progress::{Bar, stoppable};

/// Answers every item of a data set and scores the answers as the data set's own script does.
///
/// What is asked and answered goes line by line into `answers.jsonl` in the folder; the same command goes on where it was cut off. The scores stand beside those
/// of answers that need no model, in `scores.json` and as a finding in `scores.safetensors`; lmms-eval's files lie beside them (docs/benchmarks.md).
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    data: DataArgs,
    /// How answers are scored: pope, mme, vqa, chair, pairwise, choice, or none; without it as the layout usually is.
    #[arg(long, value_name = "SCORER")]
    scorer: Option<ScorerName>,
    /// The list of synonyms that the scorer chair needs: a line for each class, words with `, ` between them.
    #[arg(long, value_name = "FILE")]
    synonyms: Option<PathBuf>,
    /// Tells yes from no by the logits of the first token, instead of the text that is written: scorers pope and mme.
    #[arg(long)]
    by_logit: bool,
    /// What is asked where the data set asks nothing (captions); without it `Describe the picture.`
    #[arg(long, value_name = "QUESTION")]
    ask: Option<String>,
    /// What stands behind every question.
    #[arg(long, value_name = "TEXT", default_value = "")]
    suffix: String,
    /// The most tokens of an answer.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    max_new: u16,
    /// Does not ask about a blank picture too, which takes as long as asking about the picture.
    #[arg(long)]
    no_blank: bool,
    /// No more items than this.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Decides the draws of intervals.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Sites that are kept of every item, such as `text.blocks.*.resid_post`: a store in the folder `activations`.
    #[arg(long, value_name = "SITES")]
    read: Option<Selector>,
    /// Methods that explain every answer, separated by commas: findings in the folder `findings`.
    #[arg(long, value_name = "METHOD", value_delimiter = ',', value_parser = offered())]
    method: Vec<String>,
    /// A setting of a method, such as ig.steps=64; repeat it for several. Values are JSON.
    #[arg(long, value_name = "METHOD.SETTING=VALUE", requires = "method")]
    set: Vec<Set>,
    /// How much memory each method may take at once, such as 800MB or 2GiB; without it 4GiB.
    #[arg(long, value_name = "SIZE", requires = "method")]
    memory: Option<Memory>,
    /// What the data set is called in lmms-eval's files; without it the name of its layout.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The folder for what is written; made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints the scores as JSON.
    #[arg(long)]
    json: bool,
}

/// Where a data set lies, and how it is laid out.
#[derive(Debug, Args)]
struct DataArgs {
    /// How the data set is laid out.
    #[arg(long, value_name = "LAYOUT", value_parser = layouts())]
    reader: Reader,
    /// Its file; of MME its folder.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The file that belongs to it: VQA's annotations, the instances beside COCO's captions.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// The folder of its pictures; without it the folder of the file.
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Which column is what, in a file of one's own: id=qid,image=picture,question=text,answer=truth.
    #[arg(long, value_name = "ROLE=COLUMN,...", default_value = "", hide_default_value = true)]
    map: Map,
}

fn layouts() -> impl TypedValueParser<Value = Reader> {
    let value = |reader: &Reader| PossibleValue::new(reader.name()).help(reader.about());
    PossibleValuesParser::new(Reader::ALL.iter().map(value)).try_map(|name: String| name.parse::<Reader>())
}

fn offered() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(METHODS.iter().map(methods::value))
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        stoppable()?;
        let DataArgs { reader, data, beside, images, map } = &self.data;
        let source = Source {
            beside: beside.clone(),
            images: images.clone(),
            map: map.clone(),
            ..Source::new(*reader, data)
        };
        // CHAIR needs a list, without which captions are written down alone.
        let usual = match ScorerName::of(*reader) {
            ScorerName::Chair if self.synonyms.is_none() => ScorerName::None,
            usual => usual,
        };
        let settings = Settings {
            scorer: self.scorer.unwrap_or(usual),
            by: if self.by_logit { By::Logit } else { By::Answer },
            suffix: self.suffix.clone(),
            max_new: self.max_new.into(),
            blank: !self.no_blank,
            seed: self.seed,
            ..Settings::default()
        };
        let settings = match &self.ask {
            Some(ask) => Settings { ask: ask.clone(), ..settings },
            None => settings,
        };
        let methods = match self.method.as_slice() {
            [] => Vec::new(),
            names => methods::made(&methods::chosen(names), &self.set, &[])?,
        };
        let read = [data].into_iter().chain(beside).chain(images).chain(&self.synonyms).cloned();
        RunFolder::free(&self.out, read.chain(self.edits.inputs()).chain(self.model.folder()?))?;
        let subject = self.edits.of(self.model.open()?)?;
        let bar = Bar::new();
        let run = Run {
            name: self.name.as_deref().unwrap_or(reader.name()),
            source: &source,
            settings: &settings,
            synonyms: self.synonyms.as_deref(),
            limit: self.limit.map(|limit| limit as usize),
            methods: &methods,
            memory: self.memory.unwrap_or_default(),
            read: self.read.clone(),
        };
        let scored = run.run(&subject, &self.out, &bar);
        bar.done();
        let scored = scored.with_context(|| format!("--reader {reader} --data {}", data.display()))?;
        if self.json { print::json(&scored) } else { tell(&scored, &self.out) }
    }
}

/// A number, and where it lies.
fn cell(part: &Part, at: usize) -> String {
    let Some(figure) = part.figures.get(at) else { return String::new() };
    match (figure.value, figure.interval) {
        (None, _) => "-".to_owned(),
        (Some(value), None) => format!("{value:.4}"),
        (Some(value), Some([low, high])) => format!("{value:.4} [{low:.4}, {high:.4}]"),
    }
}

fn tell(scored: &Scored, out: &std::path::Path) -> Result<()> {
    print::line(format!("{} of {} items answered, {}", scored.answered, scored.items, out.display()))?;
    let Some(model) = scored.model() else { return Ok(()) };
    let names = model
        .parts
        .first()
        .map(|part| part.figures.iter().map(|figure| figure.name.clone()).collect::<Vec<_>>());
    for (at, name) in names.unwrap_or_default().iter().enumerate() {
        let rows: Vec<[String; 3]> = scored
            .rows
            .iter()
            .filter_map(|row| Some([name.clone(), print::visible(&row.by), cell(row.parts.first()?, at)]))
            .chain(model.parts.iter().skip(1).map(|part| {
                [
                    name.clone(),
                    format!("model, {} ({})", print::visible(&part.task), part.items),
                    cell(part, at),
                ]
            }))
            .collect();
        print::columns(&rows)?;
    }
    scored
        .cautions
        .iter()
        .for_each(|caution| print::note(&format!("caution: {}", print::visible(&caution.text))));
    Ok(())
}
