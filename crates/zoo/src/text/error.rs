//! What can be wrong with a tokenizer, a chat template, or the words given to them.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::ConfigError;

/// Why words could not be turned into tokens, or back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A JSON file cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file is not what it should be.
    #[error("{}: `{field}` is {found}, expected {expected}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field.
        field: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// The tokenizer cannot be used.
    #[error("{}: not a tokenizer: {problem}", file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A text could not be tokenized, or tokens not be joined.
    #[error("{}: {doing}: {problem}", file.display())]
    Conversion {
        /// The file of the tokenizer.
        file: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// What went wrong.
        problem: String,
    },
    /// A token id that the tokenizer does not have.
    #[error("{}: there is no token {id}; there are {known} tokens", file.display())]
    NoToken {
        /// The file of the tokenizer.
        file: PathBuf,
        /// The id.
        id: u32,
        /// How many tokens there are.
        known: usize,
    },
    /// A folder whose vocabulary is in a file that is not read here.
    #[error(
        "{}: no `tokenizer.json`, but `{found}`, which is not read here; transformers writes the one from the other: \
         `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`",
        dir.display()
    )]
    NoTokenizer {
        /// The folder.
        dir: PathBuf,
        /// What it has instead.
        found: &'static str,
    },
    /// A folder without a chat template.
    #[error(
        "{}: no chat template: no `chat_template.jinja`, no `chat_template.json`, and no field `chat_template` in \
         `processor_config.json` or `tokenizer_config.json`",
        dir.display()
    )]
    NoTemplate {
        /// The folder.
        dir: PathBuf,
    },
    /// There are several templates, and none of the name that was asked for.
    #[error("{}: no chat template called `{name}`; there are {}", file.display(), known.join(", "))]
    NoSuchTemplate {
        /// The file.
        file: PathBuf,
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A template that is not well formed, or failed on these messages.
    #[error("{template}:{line}: {problem}")]
    Template {
        /// The file, and the field in it where there is one.
        template: String,
        /// The line of the template.
        line: usize,
        /// What went wrong.
        problem: String,
    },
    /// The template itself refused these messages.
    #[error("{template}:{line}: the template refuses these messages: {message}")]
    Refused {
        /// The file, and the field in it where there is one.
        template: String,
        /// The line of the template.
        line: usize,
        /// What the template says.
        message: String,
    },
    /// Placeholders and pictures do not match.
    #[error("{placeholders} image placeholders in the text, but {pictures} pictures")]
    Placeholders {
        /// How many placeholders the text has.
        placeholders: usize,
        /// How many pictures were given.
        pictures: usize,
    },
    /// The configuration's image token is not a token of the tokenizer.
    #[error("{}: `{field}` is {id}, which is no token of the tokenizer ({known} tokens)", file.display())]
    ImageToken {
        /// The file.
        file: PathBuf,
        /// The field.
        field: &'static str,
        /// The id there.
        id: u32,
        /// How many tokens the tokenizer has.
        known: usize,
    },
}

impl TextError {
    /// A `tokenizer.json` that could not be read; where it is not there, what is.
    pub(super) fn unread(file: PathBuf, source: io::Error) -> Self {
        let dir = file.parent().unwrap_or(Path::new("")).to_owned();
        let others = ["tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"];
        match others.into_iter().find(|other| dir.join(other).exists()) {
            Some(found) if source.kind() == io::ErrorKind::NotFound => Self::NoTokenizer { dir, found },
            _ => ConfigError::Read { file, source }.into(),
        }
    }
}
