//! `mmlens fit`: what learns first, on the user's own data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use mmlens::FITS;
use mmlens::core::{Cases, Fitting, Memory, On, Seed, Selector, Source, Subject};
use mmlens::files::RunFolder;
use mmlens::store::{Recording, Store};
use serde_json::{Value, json};

use super::explain::data::CaseData;
use crate::edits::EditArgs;
use crate::input::QuestionArgs;
use crate::learned::Told;
use crate::methods::Set;
use crate::model::ModelArgs;
use crate::print;
use crate::progress::{Bar, stoppable};
use crate::refusal::Refusal;

/// Learns from your data what is a method afterwards: a probe, say. `mmlens apply` runs it on single cases.
///
/// The data is `--cases`, which pass through the model; with `--store` beside it what the method reads of them is recorded there
/// first, in shards, so that a run that was cut off does not pass them again, and other methods can learn from them. `--store`
/// alone learns from what was recorded before, and takes no model.
///
/// The folder `--out` then holds what was learned, for other programs too where there are such (of `sae` it is what SAELens opens, and `--dictionary`), `fit.safetensors`, the finding about how good it is, and `fitted.json`, all that is
/// printed with `--json`. They are moved there when all are whole, and `manifest.json` lists them. The same command again makes nothing twice; after Ctrl-C, a kill or
/// a power cut it goes on where it was.
#[derive(Debug, Args)]
pub(crate) struct Fit {
    /// What learns.
    #[arg(value_name = "METHOD", value_parser = offered())]
    method: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// What to learn from: a folder of pictures or recordings, a folder of such folders, each called as what these are of, or a file of cases as
    /// JSON, one on a line, with `label` and `group` where the method needs them (docs/cases.md).
    #[arg(long, value_name = "PATH", required_unless_present = "store", conflicts_with_all = ["images", "videos", "audio"])]
    cases: Option<PathBuf>,
    /// A folder of recorded activations: made from `--cases`, or there already.
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// A setting of the method, such as probe.c=0.1; repeat it for several. Values are JSON.
    #[arg(long, value_name = "METHOD.SETTING=VALUE")]
    set: Vec<Set>,
    /// The seed of all random draws.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How much memory it may take at once, beside the model, such as 800MB or 2GiB; without it 4GiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// The folder for what is written; made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints what came of it as JSON.
    #[arg(long)]
    json: bool,
}

fn offered() -> impl TypedValueParser<Value = String> {
    let value = |fit: &Fitting| {
        let value = PossibleValue::new(fit.card.short).help(fit.card.question);
        if fit.card.id == fit.card.short { value } else { value.alias(fit.card.id) }
    };
    PossibleValuesParser::new(FITS.iter().map(value))
}

/// The finding about a fit.
pub(super) const FOUND: &str = "fit.safetensors";
/// What was told of it.
pub(crate) const TOLD: &str = "fitted.json";

/// What is learned from, once it is open.
enum Open {
    Cases { subject: Box<dyn Subject>, data: CaseData },
    Stored { store: Store, data: Option<CaseData> },
}

impl Fit {
    pub(crate) fn run(&self) -> Result<()> {
        stoppable()?;
        let fit = Fitting::called(FITS, &self.method)?;
        let settings = self.settings(fit)?;
        let read = self.cases.iter().chain(&self.store).cloned().chain(self.edits.inputs());
        RunFolder::free(&self.out, read.chain(self.model.folder()?))?;
        let bar = Bar::new();
        let open = self.open(&settings, &bar)?;
        let about = self.about(fit, &settings, &open)?;
        if let Some(told) = self.whole(&about)? {
            return self.tell(&told);
        }
        let mut run = RunFolder::begin(&self.out, about, self.inputs(&open)?)?;
        let fitted = format!("{}.safetensors", fit.card.short);
        for name in [&fitted, FOUND, TOLD] {
            run.place(name)?;
        }
        let keep = run.scratch().to_owned();
        let seed = Seed(self.seed);
        let learn = |source: &Source<'_>| fit.learn(settings.clone(), source, seed, Some(&keep));
        let outcome = match &open {
            Open::Cases { subject, data } => {
                let on = On::new(subject.as_ref()).watched(&bar).within(self.memory.unwrap_or_default());
                learn(&Source::Cases(&on, data))
            }
            Open::Stored { store, data: Some(data) } => learn(&Source::Recorded(&store.labelled(data), &bar)),
            Open::Stored { store, data: None } => learn(&Source::Recorded(store, &bar)),
        };
        bar.done();
        let outcome = outcome.with_context(|| format!("fit {}", fit.card.short))?;
        let mut finding = outcome.finding;
        finding.provenance.model = self.model.named();
        let place = run.write(&fitted, &outcome.fitted.bytes()?)?;
        for (name, bytes) in outcome.fitted.exported()? {
            run.write(&name, &bytes)?;
        }
        let found = run.write(FOUND, &finding.to_bytes()?)?;
        let cautions = finding.cautions().iter().map(|caution| caution.text.clone()).collect();
        let told = Told {
            method: fit.card.short.to_owned(),
            fitted: place,
            finding: found,
            converged: outcome.ended.converged(),
            ended: outcome.ended.to_string(),
            cautions,
        };
        run.write(TOLD, serde_json::to_string_pretty(&told)?.as_bytes())?;
        run.finish()?;
        self.tell(&told)
    }

    /// The settings that were given, checked.
    fn settings(&self, fit: &Fitting) -> Result<Value> {
        let given = Set::all_of(&self.set, &fit.card)?;
        fit.settled(Value::Object(given)).with_context(|| format!("fit {}", fit.card.short))
    }

    /// What is learned from. What is to be recorded is recorded here.
    fn open(&self, settings: &Value, bar: &Bar) -> Result<Open> {
        let data = self.cases.as_ref().map(|path| CaseData::read(path, &self.question)).transpose()?;
        match (data, &self.store) {
            (Some(data), None) => {
                let subject: Box<dyn Subject> = Box::new(self.edits.of(self.model.open()?)?);
                Ok(Open::Cases { subject, data })
            }
            (Some(data), Some(folder)) => {
                let subject = self.edits.of(self.model.open()?)?;
                let site = settings.get("site").and_then(Value::as_str);
                let site = site.ok_or_else(|| Refusal::NoSite { method: self.method.clone() })?;
                let sites: Selector = site.parse()?;
                // Pictures of all sizes, and the same bits whichever cases come beside one.
                let recording = Recording::new(sites).batch(1)?;
                let store = recording.run(&subject, folder, &data, bar)?;
                bar.done();
                Ok(Open::Stored { store, data: Some(data) })
            }
            (None, Some(folder)) => Ok(Open::Stored { store: Store::open(folder)?, data: None }),
            (None, None) => Err(Refusal::NoData.into()),
        }
    }

    /// All that decides what is learned.
    fn about(&self, fit: &Fitting, settings: &Value, open: &Open) -> Result<BTreeMap<String, Value>> {
        let from = match open {
            Open::Cases { subject, data } => json!({
                "model": subject.name(), "weights": subject.weights_hash(), "alterations": subject.alterations(),
                "device": subject.device(), "kernels": subject.kernels(), "data": data.hash()?,
                "memory": self.memory.unwrap_or_default().budget(),
            }),
            Open::Stored { store, data } => {
                let shards: Vec<&str> = store.shards().iter().map(|shard| shard.sha256.as_str()).collect();
                let labels = data.as_ref().map(CaseData::labels).transpose()?;
                json!({ "store": store.manifest(), "shards": shards, "labels": labels })
            }
        };
        let settings = [
            ("command", json!("fit")),
            ("method", json!(fit.card.id)),
            ("settings", settings.clone()),
            ("seed", json!(self.seed)),
            ("from", from),
        ];
        Ok(settings.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// What was told of a run of these settings that is whole already.
    fn whole(&self, about: &BTreeMap<String, Value>) -> Result<Option<Told>> {
        match RunFolder::whole(&self.out, about)? {
            Some(_) => Ok(Some(Told::read(&self.out.join(TOLD))?)),
            None => Ok(None),
        }
    }

    fn inputs(&self, open: &Open) -> Result<Vec<PathBuf>> {
        let data = match open {
            Open::Cases { data, .. } | Open::Stored { data: Some(data), .. } => Some(data),
            Open::Stored { data: None, .. } => None,
        };
        let mut inputs: Vec<PathBuf> = data.into_iter().flat_map(CaseData::files).collect();
        inputs.extend(self.cases.iter().chain(&self.store).cloned());
        inputs.extend(self.edits.inputs().chain(self.model.folder()?));
        Ok(inputs)
    }

    fn tell(&self, told: &Told) -> Result<()> {
        if self.json { print::json(told) } else { told.print() }
    }
}
