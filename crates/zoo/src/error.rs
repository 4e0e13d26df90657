//! What can go wrong in the zoo, as values: what, where, found, expected.

use std::path::{Path, PathBuf};

use mmlens_core::sound::{MelError, SoundError};
use mmlens_core::{Breach, HookError, SubjectError};

use crate::checkpoint::{CheckpointError, ConfigError, read_json};
use crate::left_out::left_out;
use crate::parts::RopeError;
use crate::processor::ProcessorError;
use crate::text::TextError;

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// Weights could not be read, or do not fit the model.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A JSON file beside the weights could not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A picture, or the configuration of the image processor, was refused.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// A picture of a sample was refused.
    #[error("{name}: {error}")]
    Picture {
        /// What it is called.
        name: String,
        /// Why.
        error: ProcessorError,
    },
    /// A recording, or the settings of the feature extractor, was refused.
    #[error(transparent)]
    Hearing(#[from] MelError),
    /// A recording cannot be brought to the rate of the feature extractor.
    #[error(transparent)]
    Recording(#[from] SoundError),
    /// Spectrograms of another size than the tower takes.
    #[error("the tower takes spectrograms of shape {expected:?}, found {found:?}")]
    Mel {
        /// What came.
        found: Vec<usize>,
        /// What it takes.
        expected: Vec<usize>,
    },
    /// A sound too short for a single position of the language model.
    #[error(
        "{name}: its {frames} frames are too few for one position of the language model, expected at least {least}"
    )]
    Short {
        /// What it is called.
        name: String,
        /// How many frames it has.
        frames: usize,
        /// How many it must have.
        least: usize,
    },
    /// A checkpoint of several languages, of which its generation settings name none.
    #[error(
        "{}: the checkpoint knows {languages} language{}, and neither `language` nor `forced_decoder_ids` names one: give the whole prompt, \
         as `{example}`", file.display(), if *languages == 1 { "" } else { "s" }
    )]
    Language {
        /// The generation settings.
        file: PathBuf,
        /// How many languages there are.
        languages: usize,
        /// A prompt that names one.
        example: String,
    },
    /// A tokenizer or chat template was refused.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An option this crate does not offer.
    #[error("`{field}`: `{found}` is not supported; supported: {supported}")]
    Unsupported {
        /// The config field.
        field: String,
        /// What it says.
        found: String,
        /// What could be there.
        supported: String,
    },
    /// A config value that cannot be.
    #[error("`{field}` = {found}, expected {expected}")]
    Value {
        /// The config field.
        field: String,
        /// What it says.
        found: String,
        /// What could be there.
        expected: String,
    },
    /// What is wrong with a file, where the complaint does not name it.
    #[error("{}: {error}", file.display())]
    In {
        /// The file.
        file: PathBuf,
        /// The complaint.
        error: Box<Self>,
    },
    /// Rotary settings that cannot be read.
    #[error(transparent)]
    Rope(#[from] RopeError),
    /// A site's complaint.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A subject's complaint.
    #[error(transparent)]
    Subject(SubjectError),
    /// A model that was opened and is not whole: damaged weights, or a fault of its implementation.
    #[error("the self-check failed: {0}")]
    SelfCheck(#[from] Breach),
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary: `vocab_size` is {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// How many there are.
        vocab: usize,
    },
    /// A text of no tokens, or of more than the model takes.
    #[error(
        "`tokenizer.json` makes {found} tokens of “{text}”, expected 1 to {most} (`max_position_embeddings`, or what it pads texts to)"
    )]
    Tokens {
        /// The text.
        text: String,
        /// How many tokens it is.
        found: usize,
        /// How many it may be.
        most: usize,
    },
    /// Pixels of another size than the tower takes.
    #[error(
        "the tower takes pixels of shape {expected:?} (`image_size`), found {found:?}: `size` or `crop_size` of the image processor says another"
    )]
    Pixels {
        /// What came.
        found: Vec<usize>,
        /// What it takes.
        expected: Vec<usize>,
    },
    /// A saved state of another size.
    #[error("a saved state of shape {expected:?} is needed to resume, found {found:?}")]
    State {
        /// What came.
        found: Vec<usize>,
        /// What is needed.
        expected: Vec<usize>,
    },
    /// Placeholders that do not match the pictures and recordings.
    #[error("row {row} has {found} positions of placeholders, what it shows and plays has {expected}")]
    Placeholders {
        /// The row of the batch.
        row: usize,
        /// Positions of placeholders in the text.
        found: usize,
        /// Positions of its pictures and recordings.
        expected: usize,
    },
}

impl From<SubjectError> for ZooError {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::Hook(hook) => Self::Hook(hook),
            other => Self::Subject(other),
        }
    }
}

/// Opens a model of a folder, whose `config.json` is named in complaints about values, and where weights do not fit, with
/// the sizes that it leaves out.
pub(crate) fn of_folder<T>(folder: &Path, open: impl FnOnce() -> Result<T, ZooError>) -> Result<T, ZooError> {
    let file = folder.join("config.json");
    open().map_err(|error| match error {
        error @ (ZooError::Unsupported { .. } | ZooError::Value { .. } | ZooError::Rope(_)) => {
            error.within(&file)
        }
        ZooError::Checkpoint(CheckpointError::Misfit(mut misfit)) => {
            misfit.left_out =
                read_json(&file).map_or_else(|_| Vec::new(), |config| left_out(&config, &misfit));
            CheckpointError::Misfit(misfit).into()
        }
        error => error,
    })
}

impl ZooError {
    /// The complaint, about a file.
    pub(crate) fn within(self, file: &Path) -> Self {
        Self::In { file: file.to_owned(), error: Box::new(self) }
    }

    /// As what a subject says: a complaint of its own or of a site stays one, anything else is a sample it cannot take.
    pub(crate) fn of_subject(self, subject: &str) -> SubjectError {
        match self {
            Self::Hook(hook) => SubjectError::Hook(hook),
            Self::Subject(own) => own,
            other => SubjectError::Sample { subject: subject.to_owned(), reason: other.to_string() },
        }
    }
}
