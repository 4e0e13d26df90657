//! `mmlens record`: activations of many texts or cases, on disk.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mmlens::core::{Cases, Memory, Selector, kind};
use mmlens::files::RunFolder;
use mmlens::finding::Modality;
use mmlens::store::{Precision, Recording, Store, Texts};
use serde_json::json;

use super::explain::data::CaseData;
use crate::edits::EditArgs;
use crate::input::QuestionArgs;
use crate::model::ModelArgs;
use crate::print;
use crate::progress::{Bar, stoppable};
use crate::refusal::Refusal;

/// Records what a model holds of many texts or cases, to be read again without a pass.
///
/// A recording of texts is a bank for LatentLens (`mmlens explain --method latent --bank FOLDER`), one of cases is what `mmlens fit --store FOLDER` learns
/// from. It is written in shards that are read some rows at a time. After Ctrl-C, a kill or a power cut the same command goes on behind the last shard
/// that is whole, to the same bytes; when all is there it passes nothing again. It holds the hash of the weights, and is refused by another model.
#[derive(Debug, Args)]
pub(crate) struct Record {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// A file with a text on each line, of any length. Of its texts only words are recorded, unless `--only` says what.
    #[arg(long, value_name = "FILE", required_unless_present = "cases", conflicts_with_all = ["cases", "images", "videos", "audio", "ask", "prompt", "text"])]
    texts: Option<PathBuf>,
    /// A folder of pictures or recordings, or a file of cases as JSON, one on a line (docs/cases.md).
    #[arg(long, value_name = "PATH", conflicts_with_all = ["images", "videos", "audio"])]
    cases: Option<PathBuf>,
    /// Sites to record: `text.blocks.{4,8,16}.resid_post`. Repeat it for several, whose rows must be of one kind. Without it the stream of the language model before its
    /// first block and behind each.
    #[arg(long, value_name = "SELECTOR")]
    read: Vec<Selector>,
    /// Of the positions of prompts only those that carry this; repeat it for several.
    #[arg(long, value_name = "MODALITY", value_parser = modalities())]
    only: Vec<Modality>,
    /// How numbers are kept: f32, bf16 or f16.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = precisions())]
    precision: Precision,
    /// How much memory it may take at once, beside the model, such as 800MB or 2GiB; without it 4GiB. Shards are as large as that allows.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
    /// The folder for what is written; made if it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints what is recorded as JSON.
    #[arg(long)]
    json: bool,
}

const MODALITIES: [Modality; 5] =
    [Modality::Text, Modality::Image, Modality::Audio, Modality::Video, Modality::Special];
const PRECISIONS: [(&str, Precision); 3] =
    [("f32", Precision::F32), ("bf16", Precision::Bf16), ("f16", Precision::F16)];

fn modalities() -> impl TypedValueParser<Value = Modality> {
    let named = |name: String| MODALITIES.into_iter().find(|own| own.name() == name).ok_or("no modality");
    PossibleValuesParser::new(MODALITIES.map(Modality::name)).try_map(named)
}

fn precisions() -> impl TypedValueParser<Value = Precision> {
    let named = |name: String| {
        PRECISIONS.into_iter().find(|(own, _)| *own == name).map(|(_, own)| own).ok_or("no precision")
    };
    PossibleValuesParser::new(PRECISIONS.map(|(name, _)| name)).try_map(named)
}

/// The stream before the first block of a language model, and behind each.
const STREAM: [&str; 2] = ["text.blocks.0.resid_pre", "text.blocks.*.resid_post"];

impl Record {
    pub(crate) fn run(&self) -> Result<()> {
        stoppable()?;
        let named = self.texts.iter().chain(&self.cases).cloned();
        RunFolder::free(&self.out, named.chain(self.edits.inputs()).chain(self.model.folder()?))?;
        let subject = self.edits.of(self.model.open()?)?;
        let data: Box<dyn Cases> = match (&self.texts, &self.cases) {
            (Some(path), _) => {
                let texts = Texts::open(path).with_context(|| path.display().to_string())?;
                Box::new(texts.captions(kind::takes_texts(&subject)))
            }
            (None, Some(path)) => Box::new(CaseData::read(path, &self.question)?),
            (None, None) => return Err(Refusal::NothingToRecord.into()),
        };
        if data.is_empty() {
            return Err(Refusal::NothingToRecord.into());
        }
        let mut sites = match self.read.as_slice() {
            [] => STREAM.iter().map(|sites| sites.parse()).collect::<Result<Vec<Selector>, _>>()?,
            given => given.to_vec(),
        }
        .into_iter();
        let first = sites.next().ok_or(Refusal::NothingToRecord)?;
        let only = if self.only.is_empty() && self.texts.is_some() { &[Modality::Text] } else { &*self.only };
        // Pictures of all sizes, and the same bits whichever texts come beside one.
        let recording = sites.fold(Recording::new(first).batch(1)?, Recording::and);
        let recording = recording.only(only.iter().copied()).precision(self.precision);
        let bar = Bar::new();
        let memory = self.memory.unwrap_or_default();
        let store = recording.within(memory).run(&subject, &self.out, data.as_ref(), &bar);
        bar.done();
        self.tell(&store?)
    }

    fn tell(&self, store: &Store) -> Result<()> {
        let manifest = store.manifest();
        let sites: Vec<&str> = manifest.columns.iter().map(|column| column.site.as_str()).collect();
        let out = self.out.display().to_string();
        if self.json {
            return print::json(&json!({
                "out": out, "data": manifest.data, "samples": store.samples(), "rows": store.len(), "sites": sites,
                "precision": manifest.precision, "shards": store.shards().len(),
            }));
        }
        print::line(format!("data      {}: {} samples", print::visible(&manifest.data), store.samples()))?;
        print::line(format!("recorded  {} rows of {}", store.len(), sites.join(", ")))?;
        print::line(format!("in        {}, {} shards", print::visible(&out), store.shards().len()))
    }
}
