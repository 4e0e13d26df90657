//! Chat templates: messages as the text that a model was trained on.
//!
//! Templates are Jinja, as transformers runs them: blocks trimmed, loop controls, Python's methods on text and
//! dictionaries, `raise_exception`, `strftime_now`, and `tojson` as Python's `json.dumps`.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, State};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::clock::strftime;
use super::error::TextError;
use super::jinja::{Jinja, MOST_STEPS, MOST_TEMPLATE_BYTES};
use super::python;
use super::special::SpecialTokens;
use crate::checkpoint::{ConfigError, read_json_if_there};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks: `user`, `assistant`, `system`.
    pub role: String,
    /// What is said.
    pub content: Content,
}

/// What one turn says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Words alone.
    Text(String),
    /// Pictures, recordings and words in their order.
    Parts(Vec<Part>),
}

/// A piece of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    /// A picture.
    Image,
    /// A clip.
    Video,
    /// A recording.
    Audio,
    /// Words.
    Text {
        /// The words.
        text: String,
    },
}

impl Message {
    /// A user's turn: pictures first, then words.
    pub fn user(pictures: usize, text: impl Into<String>) -> Self {
        Self::shown(pictures, 0, text)
    }

    /// A user's turn: pictures first, then clips, then words.
    pub fn shown(pictures: usize, clips: usize, text: impl Into<String>) -> Self {
        let mut parts = vec![Part::Image; pictures];
        parts.extend(vec![Part::Video; clips]);
        parts.push(Part::Text { text: text.into() });
        Self { role: "user".to_owned(), content: Content::Parts(parts) }
    }

    /// With recordings between what is seen and the words.
    #[must_use]
    pub fn heard(mut self, recordings: usize) -> Self {
        if let Content::Parts(parts) = &mut self.content {
            let words =
                parts.iter().position(|part| matches!(part, Part::Text { .. })).unwrap_or(parts.len());
            parts.splice(words..words, vec![Part::Audio; recordings]);
        }
        self
    }

    /// A user's turn of words alone, as templates of language models without eyes expect it.
    pub fn words(text: impl Into<String>) -> Self {
        Self { role: "user".to_owned(), content: Content::Text(text.into()) }
    }
}

/// How to render.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ChatOptions {
    /// Whether to end with what begins an answer.
    pub add_generation_prompt: bool,
    /// Seconds since 1970 (UTC) for templates that write the date; the clock of the system without it.
    pub now: Option<i64>,
    /// Further variables for the template, such as `tools` or `enable_thinking`.
    pub variables: Map<String, Json>,
}

impl ChatOptions {
    /// Options for asking: the text ends with what begins an answer.
    #[must_use]
    pub fn ask() -> Self {
        Self { add_generation_prompt: true, ..Self::default() }
    }

    /// Sets the date for templates that write it.
    #[must_use]
    pub fn now(mut self, seconds: i64) -> Self {
        self.now = Some(seconds);
        self
    }

    /// Adds a variable for the template.
    #[must_use]
    pub fn variable(mut self, name: &str, value: Json) -> Self {
        self.variables.insert(name.to_owned(), value);
        self
    }
}

/// The chat template of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    /// What errors call it.
    name: String,
    jinja: Jinja,
    special: SpecialTokens,
}

impl ChatTemplate {
    /// Looks for the template of a folder, in transformers' order: the field `chat_template` of `processor_config.json`, `chat_template.json`,
    /// `chat_template.jinja`, then the field of `tokenizer_config.json`. Of several templates it takes the one called `default`.
    ///
    /// # Errors
    ///
    /// [`TextError::NoTemplate`] if there is none, or what makes a file unusable.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, TextError> {
        Self::named(dir, "default")
    }

    /// The template that a processor of transformers has, whose class brings `usual`: that of `processor_config.json`, `chat_template.json`
    /// or `chat_template.jinja`, in this order, else `usual`; the one of `tokenizer_config.json` has no say.
    ///
    /// # Errors
    ///
    /// What makes a file unusable.
    pub fn of_processor(dir: &Path, usual: &str) -> Result<Self, TextError> {
        match Self::of_files(dir, "default")? {
            Some(own) => Ok(own),
            None => Self::new("the chat template of its class", usual, SpecialTokens::from_dir(dir)?),
        }
    }

    /// That of the files of a processor.
    fn of_files(dir: &Path, name: &str) -> Result<Option<Self>, TextError> {
        let special = SpecialTokens::from_dir(dir)?;
        for file in ["processor_config.json", "chat_template.json"] {
            if let Some((name, source)) = in_field(&dir.join(file), name)? {
                return Self::new(&name, &source, special).map(Some);
            }
        }
        let plain = dir.join("chat_template.jinja");
        match mmlens_files::read_text(&plain, MOST_TEMPLATE_BYTES as u64) {
            Ok(source) => Self::new(&plain.display().to_string(), &source, special).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Read { file: plain, source }.into()),
        }
    }

    /// As [`ChatTemplate::from_dir`], with the name of the template where a file holds several.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::from_dir`], and [`TextError::NoSuchTemplate`].
    pub fn named(dir: impl AsRef<Path>, name: &str) -> Result<Self, TextError> {
        let dir = dir.as_ref();
        if let Some(own) = Self::of_files(dir, name)? {
            return Ok(own);
        }
        if let Some((name, source)) = in_field(&dir.join("tokenizer_config.json"), name)? {
            return Self::new(&name, &source, SpecialTokens::from_dir(dir)?);
        }
        Err(TextError::NoTemplate { dir: dir.to_owned() })
    }

    /// A template from its text; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`TextError::Template`] if it is not well formed.
    pub fn new(name: &str, source: &str, special: SpecialTokens) -> Result<Self, TextError> {
        // Jinja takes every end of a line for a line feed.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let jinja = Jinja::new(name, &source).map_err(|error| failed(name, &error))?;
        Ok(Self { name: name.to_owned(), jinja, special })
    }

    /// What errors call it: its file, and the field in it where there is one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The messages as text.
    ///
    /// # Errors
    ///
    /// [`TextError::Refused`] if the template raises an exception, [`TextError::Template`] if it fails otherwise, as for one
    /// that takes too many steps: a million, each an instruction or 64 bytes of text, and four for each byte of the messages.
    ///
    /// # Memory
    /// 64 bytes a step at most.
    pub fn render(&self, messages: &[Message], options: &ChatOptions) -> Result<String, TextError> {
        let json = serde_json::to_value(messages).map_err(|e| TextError::Template {
            template: self.name.clone(),
            line: 0,
            problem: e.to_string(),
        })?;
        self.render_json(&json, options)
    }

    /// As [`ChatTemplate::render`], for messages with fields of their own (tool calls, say). Fields that are null are left out.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::render`].
    pub fn render_json(&self, messages: &Json, options: &ChatOptions) -> Result<String, TextError> {
        let mut values: Vec<(String, Value)> = vec![
            ("tools".to_owned(), Value::from(())),
            ("documents".to_owned(), Value::from(())),
            ("messages".to_owned(), python::from_json(&without_nulls(messages))),
            ("add_generation_prompt".to_owned(), Value::from(options.add_generation_prompt)),
        ];
        values.extend(self.special.iter().map(|(role, token)| (role.to_owned(), Value::from(token))));
        values.extend(options.variables.iter().map(|(name, value)| (name.clone(), python::from_json(value))));
        let bytes = python::bytes(messages) + options.variables.values().map(python::bytes).sum::<usize>();
        let rendered = self.jinja.render(&mut environment(options.now), &values, bytes);
        rendered.map_err(|error| failed(&self.name, &error))
    }
}

/// The functions and filters of transformers.
fn environment(now: Option<i64>) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("wordcount", |text: &str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "the template raised an exception")
            .with_source(Raised(message)))
    });
    environment.add_function("strftime_now", move |state: &State<'_, '_>, format: &str| {
        // A directive of two bytes becomes ten at most.
        state.consume_fuel(format.len() as u64 / 8)?;
        strftime(format, now.unwrap_or_else(clock)).ok_or_else(|| {
            let problem = format!("`{}` has a directive that is not known", cut(format));
            Error::new(ErrorKind::InvalidOperation, problem)
        })
    });
    environment
}

/// The most characters of a message that a template brings about: it may quote what was given.
const LONGEST: usize = 300;

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

fn failed(template: &str, error: &Error) -> TextError {
    let (template, line) = (template.to_owned(), error.line().unwrap_or(0));
    let mut source = Some(error as &dyn std::error::Error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return TextError::Refused { template, line, message: cut(message) };
        }
        if cause.downcast_ref().is_some_and(|error: &Error| error.kind() == ErrorKind::OutOfFuel) {
            let problem = format!(
                "it takes more than {MOST_STEPS} steps, each an instruction or 64 bytes of text; expected a template \
                 that ends"
            );
            return TextError::Template { template, line, problem };
        }
        source = cause.source();
    }
    let problem = match error.detail() {
        Some(detail) => format!("{}: {}", error.kind(), cut(detail)),
        None => error.kind().to_string(),
    };
    TextError::Template { template, line, problem }
}

/// What a template said when it refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// The messages without the fields that are null.
fn without_nulls(messages: &Json) -> Json {
    let mut messages = messages.clone();
    for message in messages.as_array_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        message.retain(|_, value| !value.is_null());
    }
    messages
}

fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The template of this name in the field of a JSON file, and what errors call it; `None` where there is no such file or field.
fn in_field(file: &Path, name: &str) -> Result<Option<(String, String)>, TextError> {
    let Some(mut fields) = read_json_if_there::<Map<String, Json>>(file)? else { return Ok(None) };
    let Some(value) = fields.remove("chat_template").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    Ok(Some((format!("{} (chat_template)", file.display()), choose(file, &value, name)?)))
}

/// One template, of one or of several: a text, a list of `{name, template}`, or an object by name.
fn choose(file: &Path, value: &Json, name: &str) -> Result<String, TextError> {
    let listed: Option<Vec<(String, String)>> = match value {
        Json::String(source) => return Ok(source.clone()),
        Json::Array(list) => list
            .iter()
            .map(|one| {
                let field = |field: &str| one.get(field).and_then(Json::as_str).map(str::to_owned);
                field("name").zip(field("template"))
            })
            .collect(),
        Json::Object(by_name) => by_name
            .iter()
            .map(|(name, source)| source.as_str().map(|source| (name.clone(), source.to_owned())))
            .collect(),
        _ => None,
    };
    let file = PathBuf::from(file);
    let Some(listed) = listed else {
        let (field, found) = ("chat_template".to_owned(), value.to_string().chars().take(60).collect());
        return Err(TextError::Field {
            file,
            field,
            found,
            expected: "a text, or a list of `name` and `template`",
        });
    };
    let known: Vec<String> = listed.iter().map(|(name, _)| name.clone()).collect();
    let chosen = listed.into_iter().find(|(known, _)| known == name).map(|(_, source)| source);
    chosen.ok_or_else(|| TextError::NoSuchTemplate { file, name: name.to_owned(), known })
}
