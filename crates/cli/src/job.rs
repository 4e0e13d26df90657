//! A job file: the options of `mmlens explain` as TOML.
//!
//! It becomes the arguments that clap parses, so that options are defined once: their names, kinds and conflicts are asked of clap.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::builder::ValueHint;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Error};
use mmlens::METHODS;
use mmlens::core::{Method, closest};
use mmlens::files::read_text;
use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Job files beyond this are none.
const MOST_BYTES: u64 = 1 << 20;

/// The option that names a job file, and others that one does not hold.
const JOB: &str = "job";
const NO_KEYS: [&str; 3] = [JOB, "help", "version"];

/// What is wrong with a job file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// A file that cannot be read.
    #[error("{}: {reason}", file.display())]
    Unread { file: PathBuf, reason: std::io::Error },
    /// What neither it nor the command line gives, and options among them need.
    #[error("{}: {reason}", file.display())]
    Lacks { file: PathBuf, reason: String },
    /// Something in it, at a line.
    #[error("{}, line {line}: {fault}", file.display())]
    At { file: PathBuf, line: usize, fault: Fault },
}

/// What is wrong at a line of a job file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No TOML.
    #[error("{0}")]
    Syntax(String),
    /// A key that is no option.
    #[error("`{key}` is no option of `mmlens explain`{}", meant(nearest))]
    Key { key: String, nearest: Option<String> },
    /// A table that is no method.
    #[error("`[{table}]` is no method{}", meant(nearest))]
    Table { table: String, nearest: Option<String> },
    /// A key that is no setting of a method.
    #[error("`{key}` is no setting of `{method}`{}", meant(nearest))]
    Setting { method: &'static str, key: String, nearest: Option<String> },
    /// A value of another kind.
    #[error("`{key}` is {found}, expected {expected}")]
    Kind { key: String, found: String, expected: &'static str },
    /// Settings that a method refuses, or an option whose value is refused.
    #[error("`{key}`: {reason}")]
    Refused { key: String, reason: String },
}

fn meant(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

/// What a job file says, as arguments.
#[derive(Debug)]
pub(crate) struct Job {
    file: PathBuf,
    /// Of each key its line, and what it is on the command line.
    keys: Vec<(String, usize, Vec<OsString>)>,
}

/// A command line with the options of its job file among its own, which come behind and win; and the job.
///
/// # Errors
/// [`JobError`] for a file that cannot be read, a key that is no option, a value of another kind.
pub(crate) fn expanded(
    given: Vec<OsString>,
    program: &Command,
) -> Result<(Vec<OsString>, Option<Job>), JobError> {
    // What is missing here the job may hold, and what is wrong is told when all is there.
    let matches = program.clone().ignore_errors(true).try_get_matches_from(&given);
    let own = matches.as_ref().ok().and_then(ArgMatches::subcommand);
    let Some((name, own)) = own.filter(|(_, own)| own.try_get_one::<PathBuf>(JOB).is_ok()) else {
        return Ok((given, None));
    };
    let (Some(file), Some(command)) = (own.get_one::<PathBuf>(JOB), program.find_subcommand(name)) else {
        return Ok((given, None));
    };
    let job = Job::read(file, command, own)?;
    let at = given.iter().position(|word| word == name).map_or(given.len(), |at| at + 1);
    let (before, behind) = given.split_at(at);
    let held = job.keys.iter().flat_map(|(.., arguments)| arguments);
    Ok((before.iter().chain(held).chain(behind).cloned().collect(), Some(job)))
}

impl Job {
    /// Reads a job file; what the command line says itself, or what does not go with that, is left out.
    fn read(file: &Path, command: &Command, own: &ArgMatches) -> Result<Self, JobError> {
        let text = read_text(file, MOST_BYTES)
            .map_err(|reason| JobError::Unread { file: file.to_owned(), reason })?;
        let line =
            |span: Range<usize>| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
        let at = |span: Range<usize>, fault| JobError::At { file: file.to_owned(), line: line(span), fault };
        let table = DeTable::parse(&text)
            .map_err(|error| at(error.span().unwrap_or(0..0), Fault::Syntax(error.message().to_owned())))?;
        // In the order of the file.
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut keys = Vec::new();
        for (key, value) in entries {
            let (name, line) = (key.get_ref().to_string(), line(key.span()));
            let told = match value.get_ref() {
                DeValue::Table(settings) => settings_of(&name, settings, own)
                    .map_err(|(span, fault)| at(span.unwrap_or(key.span()), fault))?,
                _ => {
                    let option = option_of(command, &name).map_err(|fault| at(key.span(), fault))?;
                    let told = told(option, &name, value.get_ref(), folder);
                    let told = told.map_err(|fault| at(value.span(), fault))?;
                    if overruled(command, option, own) { Vec::new() } else { told }
                }
            };
            keys.push((name, line, told));
        }
        Ok(Self { file: file.to_owned(), keys })
    }

    /// What clap refuses about an argument of the job, with its place in the file; of what is lacking beside its arguments, the file.
    pub(crate) fn at(&self, error: &Error) -> Option<JobError> {
        let told = |error: &Error| {
            let said = error.render().to_string();
            let said = said.split("\n\n").next().unwrap_or_default();
            said.strip_prefix("error: ").unwrap_or(said).to_owned()
        };
        if error.kind() == ErrorKind::MissingRequiredArgument {
            let reason = told(error).split_whitespace().collect::<Vec<_>>().join(" ");
            return Some(JobError::Lacks { file: self.file.clone(), reason });
        }
        let about = match error.get(ContextKind::InvalidArg)? {
            ContextValue::String(one) => vec![one.clone()],
            ContextValue::Strings(all) => all.clone(),
            _ => return None,
        };
        let named = |argument: &String| {
            let name = argument.split_whitespace().next()?.strip_prefix("--")?;
            self.keys.iter().find(|(key, _, arguments)| key == name && !arguments.is_empty())
        };
        let (key, line, _) = about.iter().find_map(named)?;
        let fault = Fault::Refused { key: key.clone(), reason: told(error) };
        Some(JobError::At { file: self.file.clone(), line: *line, fault })
    }
}

/// The option of a key.
fn option_of<'a>(command: &'a Command, key: &str) -> Result<&'a Arg, Fault> {
    let options = || command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
    let held = || options().filter(|(name, _)| !NO_KEYS.contains(name));
    let found = held().find(|(name, _)| *name == key).map(|(_, arg)| arg);
    found.ok_or_else(|| {
        let names = held().map(|(name, _)| name).chain(METHODS.iter().map(|method| method.card.short));
        Fault::Key { key: key.to_owned(), nearest: closest(key, names) }
    })
}

/// Whether the command line has the option itself, or one that does not go with it.
fn overruled(command: &Command, option: &Arg, own: &ArgMatches) -> bool {
    // Settings are overruled one by one, by coming later.
    if matches!(option.get_long(), Some("set")) {
        return false;
    }
    let excluded = |arg: &Arg| {
        let conflicts = |one: &Arg, other: &Arg| {
            command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
        };
        let exclusive = command.get_groups().any(|group| {
            let both = [arg, option].iter().all(|one| group.get_args().any(|id| id == one.get_id()));
            both && !group.clone().is_multiple()
        });
        conflicts(arg, option) || conflicts(option, arg) || exclusive
    };
    command
        .get_arguments()
        .filter(|arg| own.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine))
        .any(|arg| arg.get_id() == option.get_id() || excluded(arg))
}

/// What a key is on the command line.
fn told(option: &Arg, key: &str, value: &DeValue<'_>, folder: &Path) -> Result<Vec<OsString>, Fault> {
    let kind = |expected| Fault::Kind { key: key.to_owned(), found: described(value), expected };
    if !option.get_action().takes_values() {
        return match value {
            DeValue::Boolean(true) => Ok(vec![format!("--{key}").into()]),
            DeValue::Boolean(false) => Ok(Vec::new()),
            _ => Err(kind("true or false")),
        };
    }
    let one = |value: &DeValue<'_>| {
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(yes)
                if option.get_possible_values().iter().any(|one| one.matches("true", false)) =>
            {
                yes.to_string()
            }
            _ => return None,
        };
        let mut argument = OsString::from(format!("--{key}="));
        argument.push(placed(option, key, &text, folder));
        Some(argument)
    };
    match (value, option.get_action()) {
        (DeValue::Array(all), ArgAction::Append) => {
            let all = all.iter().map(|item| one(item.get_ref()));
            all.collect::<Option<_>>().ok_or_else(|| kind("a list of texts"))
        }
        (_, ArgAction::Append) => Ok(vec![one(value).ok_or_else(|| kind("a text or a list of them"))?]),
        _ => Ok(vec![one(value).ok_or_else(|| kind("a text or a number"))?]),
    }
}

/// A text as it stands in the job file, where it names a file: as seen from the folder of the job.
fn placed(option: &Arg, key: &str, text: &str, folder: &Path) -> OsString {
    match key {
        _ if option.get_value_hint() == ValueHint::AnyPath => folder.join(text).into(),
        // A folder that is there, else an id.
        "model" if folder.join(text).exists() => folder.join(text).into(),
        "edit" => {
            match ["=add:", "=set:"].iter().find_map(|change| Some(text.find(change)? + change.len())) {
                Some(at) => {
                    let (edit, value) = text.split_at(at);
                    let mut edit = OsString::from(edit);
                    edit.push(folder.join(value));
                    edit
                }
                None => text.into(),
            }
        }
        _ => text.into(),
    }
}

/// A key of TOML and its place.
type Key<'a> = Spanned<DeString<'a>>;

/// A fault, and its place if it has one of its own.
type Placed = (Option<Range<usize>>, Fault);

/// The settings of a method, each as `--set` takes it; of one that the command line does not run, none.
fn settings_of(name: &str, table: &DeTable<'_>, own: &ArgMatches) -> Result<Vec<OsString>, Placed> {
    let method = Method::called(METHODS, name)
        .map_err(|error| (None, Fault::Table { table: name.to_owned(), nearest: error.nearest }))?;
    let defaults = method.defaults().map_err(|error| (None, refused(name, &error)))?;
    let known: Vec<&String> = defaults.as_object().into_iter().flat_map(|all| all.keys()).collect();
    let mut arguments = Vec::new();
    let (mut all, mut spans) = (Map::new(), Vec::new());
    let mut entries: Vec<(&Key<'_>, &Spanned<DeValue<'_>>)> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let setting = key.get_ref().to_string();
        if !known.contains(&&setting) {
            let (method, nearest) = (method.card.short, closest(&setting, known.iter().copied()));
            return Err((Some(key.span()), Fault::Setting { method, key: setting, nearest }));
        }
        let expected = "a text, a number, true or false, a list or a table of such";
        let found = || Fault::Kind { key: setting.clone(), found: described(value.get_ref()), expected };
        let json = value_of(value.get_ref()).ok_or_else(|| (Some(value.span()), found()))?;
        // A text is read as on the command line: JSON, and else a word.
        let text = if let Value::String(text) = &json { text.clone() } else { json.to_string() };
        arguments.push(OsString::from(format!("--set={name}.{setting}={text}")));
        spans.push((setting.clone(), value.span()));
        all.insert(setting, serde_json::from_str(&text).unwrap_or(json));
    }
    if let Err(error) = method.make(Value::Object(all.clone())) {
        // Which of them it is, if it is one.
        let alone = |setting: &String| {
            let value = all.get(setting).cloned().unwrap_or_default();
            method.make(json!({ setting.as_str(): value })).err()
        };
        let found = spans
            .iter()
            .find_map(|(setting, span)| Some((Some(span.clone()), refused(setting, &alone(setting)?))));
        return Err(found.unwrap_or_else(|| (None, refused(name, &error))));
    }
    let runs = match own.try_get_many::<String>("method") {
        Ok(Some(mut named)) => named.any(|named| method.is_called(named)),
        _ => true,
    };
    Ok(if runs { arguments } else { Vec::new() })
}

fn refused(key: &str, reason: &impl ToString) -> Fault {
    Fault::Refused { key: key.to_owned(), reason: reason.to_string() }
}

/// A value as JSON; nothing for dates, and numbers that JSON does not have.
fn value_of(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => serde_json::Number::from_f64(number.as_str().parse().ok()?)?.into(),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(_) => return None,
        DeValue::Array(all) => {
            Value::Array(all.iter().map(|item| value_of(item.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&Key<'_>, &Spanned<DeValue<'_>>)| {
                Some((key.get_ref().to_string(), value_of(value.get_ref())?))
            };
            Value::Object(table.iter().map(entry).collect::<Option<_>>()?)
        }
    })
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text `{text}`"),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
