//! JSON files beside the weights, with errors that name file, field and line.

use std::io;
use std::path::{Path, PathBuf};

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
}

/// Reads a JSON file.
///
/// # Errors
///
/// [`ConfigError::Read`] if the file cannot be read, [`ConfigError::Json`] if it does not say what `T` needs.
pub fn read_json<T: DeserializeOwned>(file: impl AsRef<Path>) -> Result<T, ConfigError> {
    let file = file.as_ref();
    let text = std::fs::read(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    parse_json(file, &text)
}

/// Reads JSON that is in memory; `file` is what errors call it.
///
/// # Errors
///
/// [`ConfigError::Json`] if the text does not say what `T` needs.
pub fn parse_json<T: DeserializeOwned>(file: impl AsRef<Path>, text: &[u8]) -> Result<T, ConfigError> {
    serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        let problem = said.split(" at line ").next().unwrap_or(&said).to_owned();
        let field = if error.is_data() { field_at(text, line, column) } else { String::new() };
        ConfigError::Json { file: file.as_ref().to_owned(), field, line, column, problem }
    })
}

/// Reads a part of a config; `at` is where it lies, with a dot behind, or empty for the whole.
///
/// # Errors
///
/// [`ZooError::Value`] with the field that is not what `T` needs.
pub fn read_part<T: DeserializeOwned>(part: &Value, at: &str) -> Result<T, ZooError> {
    parse_json("", part.to_string().as_bytes()).map_err(|error| match error {
        ConfigError::Json { field, problem, .. } => {
            let field = format!("{at}{field}").trim_end_matches('.').to_owned();
            let field = if field.is_empty() { "config.json".to_owned() } else { field };
            let (found, expected) = problem.split_once(", expected ").unwrap_or((&problem, "something else"));
            let found =
                found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ").to_owned();
            ZooError::Value { field, found, expected: expected.to_owned() }
        }
        other => other.into(),
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

/// Whose value is being read at a place of a JSON text: the keys around it, joined by dots.
fn field_at(text: &[u8], line: usize, column: usize) -> String {
    let line_start = text
        .split_inclusive(|&byte| byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let end = (line_start + column).min(text.len());
    // One level per open brace or bracket: the key (or index) whose value is being read there.
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while at < end {
        match text[at] {
            b'"' => {
                let close = string_end(text, at);
                // A key is complete once its colon comes; a string that reaches the end is the value itself.
                if let Some(Level::Object { key, awaiting: awaiting @ true }) = levels.last_mut() {
                    let inside = text.get(at + 1..close).unwrap_or_default();
                    *key = Some(String::from_utf8_lossy(inside).into_owned());
                    *awaiting = false;
                }
                at = close;
            }
            b'{' => levels.push(Level::Object { key: None, awaiting: true }),
            b'[' => levels.push(Level::Array { index: 0 }),
            // The error of a value that is a whole object or list stands at its last byte.
            b'}' | b']' if at + 1 < end => {
                levels.pop();
            }
            b',' if at + 1 < end => match levels.last_mut() {
                Some(Level::Object { key, awaiting }) => (*key, *awaiting) = (None, true),
                Some(Level::Array { index }) => *index += 1,
                None => {}
            },
            _ => {}
        }
        at += 1;
    }
    // Closing brace at the very end: what is missing is missing from the object itself, not from its last field.
    if end > 0 && matches!(text[end - 1], b'}' | b']') {
        levels.pop();
    }
    let names = levels.iter().filter_map(|level| match level {
        Level::Object { key, .. } => key.clone(),
        Level::Array { index } => Some(index.to_string()),
    });
    names.collect::<Vec<_>>().join(".")
}

enum Level {
    Object { key: Option<String>, awaiting: bool },
    Array { index: usize },
}

/// The place of the closing quote of the string that opens at `open`, or the end of the text.
fn string_end(text: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'"' => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code, reason = "only its errors matter here")]
    struct Outer {
        width: usize,
        inner: Inner,
    }

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code, reason = "only its errors matter here")]
    struct Inner {
        heads: usize,
        list: Vec<usize>,
    }

    fn said(text: &str) -> String {
        parse_json::<Outer>("config.json", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_field_and_line() {
        assert_eq!(
            said("{\n \"width\": \"8\",\n \"inner\": {}}"),
            "config.json:2:13: field `width`: invalid type: string \"8\", expected usize"
        );
        assert_eq!(
            said("{\"width\": 8,\n \"inner\": {\"list\": [], \"heads\": -1}}"),
            "config.json:2:34: field `inner.heads`: invalid value: integer `-1`, expected usize"
        );
        assert_eq!(
            said("{\"width\": 8, \"inner\": {\"heads\": 1, \"list\": [1, {\"a\": 2}, 3]}}"),
            "config.json:1:47: field `inner.list.1`: invalid type: map, expected usize"
        );
        assert_eq!(
            said("{\"width\": 8,\n \"inner\": {\"heads\": 4}}"),
            "config.json:2:22: field `inner`: missing field `list`"
        );
        assert_eq!(said("{\"width\": 8}"), "config.json:1:12: missing field `inner`");
        assert_eq!(said("{\"width\": 8"), "config.json:1:11: EOF while parsing an object");
    }
}
