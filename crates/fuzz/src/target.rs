//! What is fuzzed: one row for each kind of file.

use crate::{
    Format, Room, benchmark, checkpoint, learned, pictures, program, recordings, requests, results, seeds,
};

/// What a target made of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The file was read, and what follows from it was computed.
    Accepted,
    /// It was refused, with this text.
    Refused(String),
}

/// What one case may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Seconds.
    pub seconds: u64,
    /// Bytes of memory that the process may write to, all that it shares between cases included.
    pub memory: u64,
    /// Bytes of input; longer mutations are cut.
    pub input: usize,
}

/// Of files that users get from others: a second would do, and the machine may be busy.
const LIMITS: Limits = Limits { seconds: 20, memory: 2 << 30, input: 1 << 20 };

/// A kind of file, and what is done with it.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// What is read, in words.
    pub about: &'static str,
    /// How its seeds are mutated.
    pub format: Format,
    /// What a case may take.
    pub limits: Limits,
    /// Whether a refusal must name the file.
    pub named: bool,
    seeds: fn(&Room) -> anyhow::Result<Vec<Vec<u8>>>,
    once: fn(&Room, &[u8]) -> anyhow::Result<Outcome>,
}

impl Target {
    /// The target of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// The inputs that mutations start from: files that are whole, and what once went wrong (`seeds/NAME`).
    ///
    /// # Errors
    /// Seeds that cannot be read or made.
    pub fn seeds(&self, room: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut all = (self.seeds)(room)?;
        all.extend(seeds::kept(self.name)?);
        Ok(all)
    }

    /// Reads bytes as this kind of file and goes on as far as it is accepted.
    ///
    /// # Errors
    /// A room that cannot be written to; never the input.
    pub fn once(&self, room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
        (self.once)(room, bytes)
    }
}

/// A reader whose refusals name the file, within the usual limits.
const fn reader(
    name: &'static str,
    about: &'static str,
    format: Format,
    seeds: fn(&Room) -> anyhow::Result<Vec<Vec<u8>>>,
    once: fn(&Room, &[u8]) -> anyhow::Result<Outcome>,
) -> Target {
    Target { name, about, format, limits: LIMITS, named: true, seeds, once }
}

macro_rules! file {
    ($name:literal, $file:literal, $format:expr, $about:literal) => {
        reader(
            $name,
            $about,
            $format,
            |_| checkpoint::seeds($file),
            |room, bytes| checkpoint::once(room, $file, bytes),
        )
    };
}

/// Every reader, by the file it reads. The first byte of an input chooses what stands around the file.
pub const TARGETS: &[Target] = &[
    file!("config", "config.json", Format::Json, "the config of a checkpoint, opened, encoded for, run"),
    file!("generation", "generation_config.json", Format::Json, "how a checkpoint asks to be decoded"),
    file!("tokenizer", "tokenizer.json", Format::Json, "the tokenizer of a checkpoint"),
    file!(
        "tokenizer-config",
        "tokenizer_config.json",
        Format::Json,
        "its class, special tokens and template"
    ),
    file!("vocab", "vocab.json", Format::Json, "the vocabulary of byte pairs, in older folders"),
    file!("merges", "merges.txt", Format::Lines, "its merges"),
    file!("words", "vocab.txt", Format::Lines, "the vocabulary of word pieces, in older folders"),
    file!("added-tokens", "added_tokens.json", Format::Json, "tokens beside a vocabulary, in older folders"),
    file!("special-tokens", "special_tokens_map.json", Format::Json, "special tokens by their roles"),
    file!("template-json", "chat_template.json", Format::Json, "the chat template of older folders"),
    file!("template", "chat_template.jinja", Format::Template, "a chat template, rendered and tokenised"),
    file!("processor", "processor_config.json", Format::Json, "how pictures are prepared, newer layout"),
    file!(
        "preprocessor",
        "preprocessor_config.json",
        Format::Json,
        "how pictures are prepared, older layout"
    ),
    file!("weights", "model.safetensors", Format::Safetensors, "weights, header and values"),
    file!("index", "model.safetensors.index.json", Format::Json, "which shard holds which weight"),
    reader(
        "picture",
        "a picture, decoded, prepared, looked at in one pass",
        Format::Picture,
        pictures::seeds,
        pictures::once,
    ),
    reader(
        "recording",
        "a recording, decoded, cut, taken to another rate, heard in one pass",
        Format::Recording,
        recordings::seeds,
        recordings::once,
    ),
    reader("clip", "an animated GIF as a clip", Format::Picture, pictures::clip_seeds, pictures::clip_once),
    Target {
        // Its bytes have no file.
        named: false,
        ..reader(
            "finding",
            "a finding, loaded, saved again, drawn on a page",
            Format::Safetensors,
            results::finding_seeds,
            results::finding_once,
        )
    },
    reader(
        "store",
        "recorded activations: manifest, journal, shards",
        Format::Any,
        results::store_seeds,
        results::store_once,
    ),
    reader(
        "journal",
        "the journal of a sweep over data, gone on with",
        Format::Any,
        results::journal_seeds,
        results::journal_once,
    ),
    reader(
        "run",
        "the folder of a run: manifest and journal, looked at and gone on with",
        Format::Any,
        results::run_seeds,
        results::run_once,
    ),
    reader(
        "tensor",
        "a tensor that an edit adds, made to stand, run",
        Format::Safetensors,
        results::tensor_seeds,
        results::tensor_once,
    ),
    reader(
        "fitted",
        "what was learned, of every kind, loaded, saved again, run",
        Format::Safetensors,
        learned::fit_seeds,
        learned::fit_once,
    ),
    reader(
        "dictionary",
        "a dictionary as SAELens keeps it, opened, saved again",
        Format::Any,
        learned::dictionary_seeds,
        learned::dictionary_once,
    ),
    reader(
        "job",
        "a job file, to the options that it gives",
        Format::Any,
        program::job_seeds,
        program::job_once,
    ),
    reader(
        "cases",
        "a file of cases, and the pictures and recordings that it names",
        Format::Any,
        program::case_seeds,
        program::case_once,
    ),
    Target {
        // Its bytes are the edit itself.
        named: false,
        ..reader(
            "edit",
            "an edit as it is written, made to stand, run",
            Format::Any,
            results::edit_seeds,
            results::edit_once,
        )
    },
    Target {
        // Its bytes have no file.
        named: false,
        ..reader(
            "whatif",
            "requests of a what-if session, each answered",
            Format::Any,
            requests::seeds,
            requests::once,
        )
    },
    reader(
        "reference",
        "a reference that a checkpoint is certified against",
        Format::Safetensors,
        results::reference_seeds,
        results::reference_once,
    ),
    reader(
        "benchmark",
        "a data set of any layout, every item of it read",
        Format::Any,
        benchmark::seeds,
        benchmark::once,
    ),
    reader("mme", "a task of MME as text", Format::Any, benchmark::mme_seeds, benchmark::mme_once),
    reader(
        "gqa-rex",
        "explanations with objects, questions, scene graphs, detected boxes",
        Format::Any,
        benchmark::rex_seeds,
        benchmark::rex_once,
    ),
    reader(
        "synonyms",
        "the list of words that captions are scored with",
        Format::Any,
        benchmark::synonyms_seeds,
        benchmark::synonyms_once,
    ),
];
