//! Methods that look at all cases together: run once over the data set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use mmlens::core::{AnyAnalysis, Cases, Given, ManyCases, On, Subject};
use mmlens::files::{RunFolder, parse_json, read};
use mmlens::finding::Finding;
use mmlens::report::Page;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::data::CaseData;
use super::one::{REPORT, TOLD, Work, finding_of, seconds};
use crate::caution::ToldCaution;
use crate::commands::dry;
use crate::input::QuestionArgs;
use crate::learned::answer;
use crate::methods;
use crate::print;

/// The most bytes of what is told.
const MOST: u64 = 1 << 24;

/// A second model to look at beside the first.
pub(super) struct Other {
    pub(super) subject: Box<dyn Subject>,
    /// The cases as it takes them, where it is asked in other words.
    pub(super) cases: Option<CaseData>,
    pub(super) folder: Option<PathBuf>,
}

/// What methods found over a data set.
#[derive(Serialize, Deserialize)]
struct Told {
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<String>,
    alterations: Vec<String>,
    /// What the data set is called.
    data: String,
    cases: usize,
    findings: Vec<Found>,
    report: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Found {
    method: String,
    finding: PathBuf,
    /// Whether it was there before, from a run that was cut off.
    kept: bool,
    seconds: f64,
    cautions: Vec<ToldCaution>,
}

/// A data set, and what stands beside it.
pub(super) struct Over<'a> {
    made: Vec<Box<dyn AnyAnalysis>>,
    given: Given,
    settings: BTreeMap<String, Value>,
    inputs: Vec<PathBuf>,
    many: ManyCases,
    work: &'a Work<'a>,
}

impl<'a> Over<'a> {
    /// Reads the cases; nothing is run yet.
    pub(super) fn new(
        work: &'a Work<'a>,
        path: &Path,
        question: &QuestionArgs,
        other: Option<Other>,
    ) -> Result<Self> {
        let data = CaseData::read(path, question)?;
        let made = methods::made(work.rows, work.set, &[])?;
        let mut inputs = data.files();
        inputs.push(path.to_owned());
        inputs.extend(work.edits.inputs().chain(work.model.folder()?));
        let first = data.case(0)?;
        let mut settings = work.about(&made)?;
        settings.insert("data".to_owned(), json!(data.hash()?));
        let mut many = ManyCases::over(data)?;
        if let Some(Other { subject, cases, folder }) = other {
            inputs.extend(folder.into_iter().chain(cases.iter().flat_map(CaseData::files)));
            let own = cases.as_ref().map(CaseData::hash).transpose()?;
            let beside = json!([subject.name(), subject.weights_hash(), own]);
            settings.insert("beside".to_owned(), beside);
            many = match cases {
                Some(cases) => many.beside_over(subject, cases)?,
                None => many.beside(subject),
            };
        }
        let given = Given::new(first)?.over(many.clone());
        Ok(Self { made, given, settings, inputs, many, work })
    }

    fn on(&self) -> On<'_> {
        On::new(self.work.subject).watched(self.work.bar).within(self.work.memory.unwrap_or_default())
    }

    /// What the methods would take.
    pub(super) fn dry(&self) -> Result<dry::Told> {
        dry::told(&self.on(), (self.work.rows, &self.made), &self.given)
    }

    /// Runs the methods and writes what they find, unless the folder holds it whole already.
    pub(super) fn explain(self, out: &Path, json: bool) -> Result<()> {
        let place = out.join(TOLD);
        let told: Told = match RunFolder::whole(out, &self.settings)? {
            Some(whole) if whole.files.iter().any(|entry| entry.name == TOLD) => {
                let named = || place.display().to_string();
                parse_json(&read(&place, MOST).with_context(named)?).with_context(named)?
            }
            _ => self.written(out)?,
        };
        if json { print::json(&told) } else { told.print() }
    }

    fn written(self, out: &Path) -> Result<Told> {
        let work = self.work;
        let mut run = RunFolder::begin(out, self.settings.clone(), self.inputs.clone())?;
        run.place(REPORT)?;
        for row in work.rows {
            run.place(&finding_of(row))?;
        }
        let guides = work.rows.iter().map(|row| methods::guide(row)).collect();
        let data = self.many.data().name().to_owned();
        let mut page = Page {
            title: format!(
                "{} over {data}",
                work.rows.iter().map(|row| row.card.short).collect::<Vec<_>>().join(", ")
            ),
            guides,
            ..Page::default()
        };
        let mut findings = Vec::new();
        for (row, method) in work.rows.iter().zip(&self.made) {
            let started = Instant::now();
            let file = finding_of(row);
            let kept = run.kept(&file);
            let mut finding = match &kept {
                Some(kept) => Finding::load(kept)?,
                None => {
                    let found = method.run_given(&self.on(), &self.given);
                    work.bar.done();
                    found.with_context(|| format!("--method {}", row.card.short))?
                }
            };
            finding.provenance.model = work.model.named();
            findings.push(Found {
                method: row.card.short.to_owned(),
                finding: run.write(&file, &finding.to_bytes()?)?,
                kept: kept.is_some(),
                seconds: seconds(started),
                cautions: finding.cautions().iter().map(ToldCaution::from).collect(),
            });
            page.findings.push(finding);
        }
        page.names = mmlens::core::plain_names(&page.findings);
        let report = run.write(REPORT, page.html()?.as_bytes())?;
        let told = Told {
            model: work.subject.name().to_owned(),
            beside: self.many.other().map(|other| other.name().to_owned()),
            alterations: work.subject.alterations().to_vec(),
            data,
            cases: self.many.len(),
            findings,
            report,
        };
        run.write(TOLD, serde_json::to_string_pretty(&told)?.as_bytes())?;
        run.finish()?;
        Ok(told)
    }
}

impl Told {
    /// For people.
    fn print(&self) -> Result<()> {
        let show = |path: &Path| print::visible(&path.display().to_string());
        print::line(format!("data       {}: {} cases", print::visible(&self.data), self.cases))?;
        if let Some(beside) = &self.beside {
            print::line(format!("beside     {}", print::visible(beside)))?;
        }
        for found in &self.findings {
            let time = if found.kept { "kept".to_owned() } else { format!("{:.1} s", found.seconds) };
            print::line(format!("\n{} ({time}, {})", found.method, show(&found.finding)))?;
            answer(&Finding::load(&found.finding)?, &found.finding)?;
            for caution in &found.cautions {
                print::note(&format!("{}: {}", found.method, print::visible(&caution.text)));
            }
        }
        print::line(format!("\nreport     {}", show(&self.report)))
    }
}
