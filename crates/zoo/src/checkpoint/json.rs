//! JSON files beside the weights, with errors that name file, field and line.

use std::io;
use std::path::{Path, PathBuf};

use mmlens_files::JsonError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ZooError;

/// Why a JSON file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The operating system refused.
    #[error("{}: could not be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not JSON, or a field is not what it should be.
    #[error("{}:{line}:{column}: {}{problem}", file.display(), if field.is_empty() {
        String::new()
    } else {
        format!("field `{field}`: ")
    })]
    Json {
        /// The file.
        file: PathBuf,
        /// The field, with those around it: `vision_config.hidden_size`. Empty for the whole text.
        field: String,
        /// The line, counted from one.
        line: usize,
        /// The column, counted from one.
        column: usize,
        /// What was found there and what was expected.
        problem: String,
    },
    /// The text has more values than any such file.
    #[error("{}: it has {found} values, expected at most {most}", file.display())]
    Values {
        /// The file.
        file: PathBuf,
        /// How many it has.
        found: usize,
        /// How many are read.
        most: usize,
    },
}

/// The most bytes of a config. Those with 20,000 classes have one or two million.
pub const MOST_CONFIG_BYTES: u64 = 1 << 24;
/// The most values in a config; where all of them are kept, each takes some 70 bytes.
pub const MOST_CONFIG_VALUES: usize = 1 << 20;

/// Reads a JSON file: a regular file of at most [`MOST_CONFIG_BYTES`] and [`MOST_CONFIG_VALUES`].
///
/// # Errors
///
/// [`ConfigError::Read`] if the file cannot be read or is refused, [`ConfigError::Json`] if it does not say what `T` needs.
pub fn read_json<T: DeserializeOwned>(file: impl AsRef<Path>) -> Result<T, ConfigError> {
    read_json_within(file.as_ref(), MOST_CONFIG_BYTES, MOST_CONFIG_VALUES)
}

/// As [`read_json`], with other limits.
pub(crate) fn read_json_within<T: DeserializeOwned>(
    file: &Path,
    bytes: u64,
    values: usize,
) -> Result<T, ConfigError> {
    let text = mmlens_files::read(file, bytes);
    let text = text.map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    parse_json_within(file, &text, values)
}

/// Reads JSON that is in memory; `file` is what errors call it.
///
/// # Errors
///
/// [`ConfigError::Json`] if the text does not say what `T` needs, [`ConfigError::Values`] if it says far too much.
pub fn parse_json<T: DeserializeOwned>(file: impl AsRef<Path>, text: &[u8]) -> Result<T, ConfigError> {
    parse_json_within(file.as_ref(), text, MOST_CONFIG_VALUES)
}

/// As [`parse_json`], with another limit.
pub(crate) fn parse_json_within<T: DeserializeOwned>(
    file: &Path,
    text: &[u8],
    most: usize,
) -> Result<T, ConfigError> {
    let found = mmlens_files::count_values(text);
    if found > most {
        return Err(ConfigError::Values { file: file.to_owned(), found, most });
    }
    mmlens_files::parse_json(text).map_err(|error| {
        let JsonError { field, line, column, problem } = error;
        ConfigError::Json { file: file.to_owned(), field, line, column, problem }
    })
}

/// Reads a part of a config; `at` is where it lies, with a dot behind, or empty for the whole.
///
/// # Errors
///
/// [`ZooError::Value`] with the field that is not what `T` needs.
pub fn read_part<T: DeserializeOwned>(part: &Value, at: &str) -> Result<T, ZooError> {
    mmlens_files::parse_value(part).map_err(|error| {
        let found_and_expected = error.found_and_expected();
        let (found, expected) = found_and_expected.unwrap_or((&error.problem, "something else"));
        let field = format!("{at}{}", error.field);
        let field = field.trim_end_matches('.');
        ZooError::Value {
            field: if field.is_empty() { "the config" } else { field }.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    })
}

/// Reads a JSON file if it is there.
///
/// # Errors
///
/// As [`read_json`], except that a file that does not exist is `None`.
pub fn read_json_if_there<T: DeserializeOwned>(file: impl AsRef<Path>) -> Result<Option<T>, ConfigError> {
    match read_json(file) {
        Ok(value) => Ok(Some(value)),
        Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only its errors matter here")]
    struct Outer {
        width: usize,
        inner: Vec<usize>,
    }

    #[test]
    fn errors_name_file_field_and_line() {
        let said = |text: &str| parse_json::<Outer>("config.json", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            said("{\n \"width\": \"8\",\n \"inner\": {}}"),
            "config.json:2:13: field `width`: invalid type: string \"8\", expected usize"
        );
        assert_eq!(said("{\"width\": 8}"), "config.json:1:12: missing field `inner`");
        assert_eq!(said("[]"), "config.json:1:2: invalid length 0, expected an object with 2 elements");
        let many = format!("[{}0]", "0,".repeat(1 << 20));
        assert_eq!(said(&many), "config.json: it has 1048578 values, expected at most 1048576");
    }

    #[test]
    fn parts_name_their_field() {
        let said = |part: Value, at: &str| read_part::<Outer>(&part, at).unwrap_err().to_string();
        let part = serde_json::json!({"width": 8, "inner": [1, "a"]});
        assert_eq!(said(part, "text_config."), "`text_config.inner.1` = string \"a\", expected usize");
        assert_eq!(said(Value::Null, "text_config."), "`text_config` = null, expected an object");
        assert_eq!(said(Value::Bool(true), ""), "`the config` = boolean `true`, expected an object");
        let missing = "`text_config` = missing field `inner`, expected something else";
        assert_eq!(said(serde_json::json!({"width": 8}), "text_config."), missing);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let said = read_json::<Value>(folder.path()).unwrap_err().to_string();
        assert!(said.ends_with("could not be read: it is a folder, expected a regular file"), "{said}");
    }
}
