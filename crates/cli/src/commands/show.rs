//! `mmlens show`: what a finding says, and its tables for people and for other programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use mmlens::METHODS;
use mmlens::core::{Method, memory};
use mmlens::files::Target;
use mmlens::finding::{Finding, InputRecord, Labelled, Provenance, SampleRecord, Values, WordsRecord};
use serde::Serialize;
use serde_json::Value;

use crate::caution::ToldCaution;
use crate::export::{Rows, about, csv, parquet};
use crate::print;
use crate::refusal::Refusal;
use crate::tables;

/// Prints what a finding says: how it came to be, its tables, and the answer.
///
/// With the name of a table it prints that table. `--csv`, `--json` and `--parquet` give a table in long form, one row for each value:
/// each axis is a column of labels and one of positions from 0 (`layer`, `layer_index`), patches also have their picture, row, column
/// and box in pixels, and the last column is `value`, or `text`. Numbers read back to the same bits.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The finding, as `mmlens explain` wrote it.
    #[arg(value_name = "FINDING")]
    finding: PathBuf,
    /// The table; without it the answer.
    #[arg(value_name = "TABLE")]
    table: Option<String>,
    #[command(flatten)]
    form: FormArgs,
}

/// For other programs.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct FormArgs {
    /// Writes the table as CSV; `-` is the standard output.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Writes the table as Parquet, with where it is from in the metadata.
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
    /// Prints the table as JSON; without TABLE what the finding is, and what tables it has.
    #[arg(long)]
    json: bool,
    /// Prints in sentences what the finding says, or the table: where its values are largest, and what speaks against taking it at its word.
    #[arg(long)]
    words: bool,
}

/// What a finding is, for machines.
#[derive(Serialize)]
struct Told<'a> {
    finding: &'a Path,
    method: &'a str,
    /// What speaks against taking it at its word.
    cautions: Vec<ToldCaution>,
    tables: Vec<Listed<'a>>,
    provenance: &'a Provenance,
}

#[derive(Serialize)]
struct Listed<'a> {
    table: &'a str,
    unit: &'static str,
    axes: Vec<ListedAxis>,
    /// How many values it has.
    values: usize,
    /// `numbers` or `texts`.
    holds: &'static str,
    /// Whether it is the answer, or a part of it.
    answer: bool,
    /// Whether it says again, or in single coordinates, what others say.
    aside: bool,
}

#[derive(Serialize)]
struct ListedAxis {
    axis: &'static str,
    length: usize,
}

/// So many tables of one answer are printed.
const MOST_TABLES: usize = 4;

impl Show {
    pub(crate) fn run(&self) -> Result<()> {
        let FormArgs { csv: to_csv, parquet: to_parquet, json, words } = &self.form;
        let target = |file: &PathBuf| Ok::<_, anyhow::Error>(Target::new(file)?.apart_from([&self.finding])?);
        let to_output = to_csv.as_deref() == Some(Path::new("-"));
        let to_csv = to_csv.as_ref().filter(|_| !to_output).map(target).transpose()?;
        let to_parquet = to_parquet.as_ref().map(target).transpose()?;
        let finding = Finding::load(&self.finding)?;
        if *words {
            let sentences = match &self.table {
                Some(name) => finding.sentence(self.of_name(&finding, name)?).into_iter().collect(),
                None => finding.sentences(),
            };
            return sentences.iter().try_for_each(|sentence| print::line(print::visible(sentence)));
        }
        if *json && self.table.is_none() {
            return print::json(&self.told(&finding));
        }
        if !(*json || to_output || to_csv.is_some() || to_parquet.is_some()) {
            return match &self.table {
                Some(name) => self.print_table(&finding, self.of_name(&finding, name)?),
                None => self.print(&finding),
            };
        }
        let table = self.one(&finding)?;
        let (about, long) = (about(&finding, table), table.long());
        if *json {
            return print::json(&Rows { about, long: &long });
        }
        if to_output {
            return print::pieces(|out| csv(&long, out));
        }
        if let Some(target) = &to_csv {
            target.write(|out| csv(&long, out))?;
        }
        if let Some(target) = &to_parquet {
            let bytes = parquet(about, &long).with_context(|| target.path().display().to_string())?;
            target.write(|out| out.write_all(&bytes))?;
        }
        for target in to_csv.iter().chain(&to_parquet) {
            let file = print::visible(&target.path().display().to_string());
            print::line(format!("{file}  {} rows of `{}`", long.rows(), print::visible(table.name())))?;
        }
        Ok(())
    }

    fn of_name<'a>(&self, finding: &'a Finding, name: &str) -> Result<&'a Labelled> {
        finding.table(name).with_context(|| self.finding.display().to_string())
    }

    /// The table that was named, or else the answer, if that is one table.
    fn one<'a>(&self, finding: &'a Finding) -> Result<&'a Labelled> {
        if let Some(name) = &self.table {
            return self.of_name(finding, name);
        }
        match finding.answer().as_slice() {
            [only] => Ok(only),
            several => Err(Refusal::WhichTable {
                finding: self.finding.clone(),
                tables: several.iter().map(|table| table.name().to_owned()).collect(),
            }
            .into()),
        }
    }

    fn told<'a>(&'a self, finding: &'a Finding) -> Told<'a> {
        let answer: Vec<&str> = finding.answer().iter().map(|table| table.name()).collect();
        let listed = |table: &'a Labelled| Listed {
            table: table.name(),
            unit: table.unit().name(),
            axes: table
                .axes()
                .iter()
                .map(|axis| ListedAxis { axis: axis.role.name(), length: axis.len() })
                .collect(),
            values: table.len(),
            holds: if matches!(table.values(), Values::Numbers(_)) { "numbers" } else { "texts" },
            answer: answer.contains(&table.name()),
            aside: table.is_aside(),
        };
        Told {
            finding: &self.finding,
            method: &finding.provenance.method,
            cautions: finding.cautions().iter().map(ToldCaution::from).collect(),
            tables: finding.tables().iter().map(listed).collect(),
            provenance: &finding.provenance,
        }
    }

    fn print(&self, finding: &Finding) -> Result<()> {
        print::columns(&made(&finding.provenance)?)?;
        for caution in finding.cautions() {
            print::line(format!("caution    {}", print::visible(&caution.text)))?;
        }
        print::line("")?;
        let answer = finding.answer();
        let rows: Vec<[String; 5]> = finding
            .tables()
            .iter()
            .map(|table| {
                let is_answer = answer.iter().any(|part| part.name() == table.name());
                let axes = table.axes().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                let note = match (is_answer, table.is_aside()) {
                    (true, _) => "the answer",
                    (_, true) => "aside",
                    _ => "",
                };
                let unit = if table.as_texts().is_some() { "texts" } else { table.unit().name() };
                [
                    print::visible(table.name()),
                    unit.to_owned(),
                    axes,
                    table.len().to_string(),
                    note.to_owned(),
                ]
            })
            .collect();
        let head = ["table", "unit", "axes", "values", ""].map(str::to_owned);
        print::columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
        for table in answer.iter().take(MOST_TABLES) {
            print::line("")?;
            self.print_table(finding, table)?;
        }
        match answer.len().checked_sub(MOST_TABLES) {
            Some(left @ 1..) => print::line(format!("\n(the answer has {left} tables more)")),
            _ => Ok(()),
        }
    }

    fn print_table(&self, finding: &Finding, table: &Labelled) -> Result<()> {
        let (file, name) = (self.finding.display().to_string(), print::visible(table.name()));
        let more = format!("all of them: mmlens show {} '{name}' --csv FILE", print::visible(&file));
        tables::table(table, finding.tables(), &more)
    }
}

/// How a finding came to be, line by line.
fn made(provenance: &Provenance) -> Result<Vec<[String; 2]>> {
    let method = METHODS.iter().find(|method| method.card.id == provenance.method);
    let mut lines: Vec<(&str, String)> = Vec::new();
    let question = method.map(|method| format!(": {}", method.card.question)).unwrap_or_default();
    lines.push(("method", format!("{}{question}", provenance.method)));
    let weights = provenance.weights_hash.get(..12).unwrap_or(&provenance.weights_hash);
    let weights = if weights.is_empty() { String::new() } else { format!(" (weights {weights})") };
    lines.push(("model", format!("{}{weights}", provenance.subject)));
    lines.extend(provenance.alterations.iter().map(|edit| ("edited", edit.clone())));
    lines.extend(provenance.input.iter().flat_map(input));
    lines.extend(provenance.objective.clone().map(|objective| ("explained", objective)));
    lines.extend(provenance.baseline.clone().map(|baseline| ("compared", format!("with {baseline}"))));
    if !provenance.sites.is_empty() {
        lines.push(("at", sites(&provenance.sites)));
    }
    let defaults = method.map(Method::defaults).transpose()?;
    for (name, value) in &provenance.settings {
        let default = defaults.as_ref().and_then(|defaults| defaults.get(name));
        if default != Some(value) {
            // What is left open by default is settled by the input.
            let default = default.filter(|default| !default.is_null());
            let default = default.map(|default| format!(" (default {})", shown(default))).unwrap_or_default();
            lines.push(("setting", format!("{name} = {}{default}", shown(value))));
        }
    }
    lines.extend(provenance.seed.map(|seed| ("seed", seed.to_string())));
    let kernels = provenance.kernels.as_ref().map(|kernels| format!(" ({kernels})")).unwrap_or_default();
    let within =
        provenance.memory.map(|bytes| format!(", within {}", memory::size(bytes))).unwrap_or_default();
    let by = format!("by mmlens {}", provenance.version);
    let on = match (provenance.dtype.as_str(), provenance.device.as_str()) {
        ("", "") => String::new(),
        (dtype, device) => format!(", {dtype} on {device}{kernels}{within}"),
    };
    lines.push(("made", by + &on));
    Ok(lines
        .into_iter()
        .map(|(name, text)| [format!("{name:<9}"), print::visible(&text).replace('\n', "\\n")])
        .collect())
}

/// What a method was run on.
fn input(input: &InputRecord) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    match &input.data {
        Some(data) => lines.push(("data", format!("{}, {} cases", data.name, data.cases))),
        None => lines.push(("input", sample(&input.sample))),
    }
    lines.extend(input.corrupted.iter().map(|other| ("against", sample(other))));
    lines.extend(input.beside.iter().map(|beside| ("beside", beside.subject.clone())));
    lines
}

/// A sample in a line: its words, and what is seen and heard.
pub(crate) fn sample(sample: &SampleRecord) -> String {
    let quoted = |text: &str| format!("“{text}”");
    let words = match &sample.words {
        WordsRecord::Question(text) | WordsRecord::Prompt(text) => Some(quoted(text)),
        WordsRecord::Texts(texts) => {
            Some(texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(" "))
        }
        WordsRecord::Nothing => None,
    };
    let pictures = sample.pictures.iter().map(|picture| {
        let [width, height] = picture.size;
        format!("{} ({width} x {height})", picture.name)
    });
    let clips = sample.clips.iter().map(|clip| format!("{} ({} frames)", clip.name, clip.frames.len()));
    let recordings = sample.recordings.iter().map(|own| {
        let part = own.part.map_or_else(String::new, |[from, to]| format!(", {from} to {to} s"));
        format!("{} ({:.3} s at {} Hz{part})", own.name, own.seconds, own.rate)
    });
    let parts: Vec<String> = words.into_iter().chain(pictures).chain(clips).chain(recordings).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// So many sites are named.
const MOST_SITES: usize = 3;

fn sites(sites: &[String]) -> String {
    let named = sites.iter().take(MOST_SITES).cloned().collect::<Vec<_>>().join(", ");
    match sites.len().checked_sub(MOST_SITES) {
        Some(left @ 1..) => format!("{named} and {left} more"),
        _ => named,
    }
}

/// A setting on one line, cut if it is long.
fn shown(value: &Value) -> String {
    tables::short(&value.to_string())
}
