//! JSON, with errors that name the field.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is wrong with a JSON text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// The field, with those around it: `vision_config.hidden_size`, `list.3`. Empty for the whole text.
    pub field: String,
    /// The line, counted from one; 0 for a value that was read before.
    pub line: usize,
    /// The column, counted from one; 0 for a value that was read before.
    pub column: usize,
    /// What was found there and what was expected.
    pub problem: String,
}

impl JsonError {
    fn new(path: &serde_path_to_error::Path, error: &serde_json::Error) -> Self {
        let path = path.to_string().replace('[', ".").replace(']', "");
        let whole = path == "." || !error.is_data();
        Self {
            field: if whole { String::new() } else { path.trim_start_matches('.').to_owned() },
            line: error.line(),
            column: error.column(),
            problem: plain(&error.to_string()),
        }
    }

    /// What was found and what was expected, where the problem says both.
    #[must_use]
    pub fn found_and_expected(&self) -> Option<(&str, &str)> {
        let (found, expected) = self.problem.rsplit_once(", expected ")?;
        let found = found.strip_prefix("invalid type: ").or(found.strip_prefix("invalid value: "));
        Some((found?, expected))
    }
}

impl std::error::Error for JsonError {}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {} column {}: ", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, "field `{}`: ", self.field)?;
        }
        f.write_str(&self.problem)
    }
}

/// The most characters of a problem: it quotes what was found, which may be as long as the file.
const LONGEST: usize = 300;

/// What serde says without the place, which is known, without names of Rust's types, and cut if it is long.
fn plain(said: &str) -> String {
    let said = said.rsplit_once(" at line ").map_or(said, |(problem, _)| problem);
    let said = match said.rsplit_once(", expected struct ") {
        Some((found, rest)) => {
            let after = rest.find(|c: char| !c.is_alphanumeric() && c != '_').map_or("", |end| &rest[end..]);
            format!("{found}, expected an object{after}")
        }
        None => said.to_owned(),
    };
    match said.char_indices().nth(LONGEST) {
        Some((half, _)) => {
            // What was expected stands at the end.
            let tail = said.rsplit_once(", expected ").filter(|(_, expected)| expected.len() < LONGEST);
            let tail = tail.map_or(String::new(), |(_, expected)| format!(", expected {expected}"));
            format!("{}...{tail}", &said[..half])
        }
        None => said,
    }
}

/// Reads a JSON text.
///
/// # Errors
/// [`JsonError`] for a text that is no JSON, is nested more than 127 deep, or does not say what `T` needs.
///
/// # Memory
/// What `T` keeps, which for a [`Value`] is up to some 70 times the text.
pub fn parse_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    // Following the path takes time, so it is followed only where there is something to say.
    if let Ok(value) = serde_json::from_slice(text) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| JsonError::new(error.path(), error.inner()))?;
    let end = reader.end().map_err(|error| JsonError {
        field: String::new(),
        line: error.line(),
        column: error.column(),
        problem: plain(&error.to_string()),
    });
    end.map(|()| value)
}

/// How many values and names a JSON text has at most: it is not parsed, and need be none.
#[must_use]
pub fn count_values(text: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b':' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

/// Reads a value that was parsed before.
///
/// # Errors
/// [`JsonError`], without line and column, for a value that does not say what `T` needs.
pub fn parse_value<T: DeserializeOwned>(value: &Value) -> Result<T, JsonError> {
    serde_path_to_error::deserialize(value).map_err(|error| JsonError::new(error.path(), error.inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only its errors matter here")]
    struct Outer {
        width: usize,
        inner: Inner,
    }

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only its errors matter here")]
    struct Inner {
        heads: usize,
        list: Vec<usize>,
    }

    fn said(text: &str) -> String {
        parse_json::<Outer>(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_field_and_line() {
        assert_eq!(
            said("{\n \"width\": \"8\",\n \"inner\": {}}"),
            "line 2 column 13: field `width`: invalid type: string \"8\", expected usize"
        );
        assert_eq!(
            said("{\"width\": 8,\n \"inner\": {\"list\": [], \"heads\": -1}}"),
            "line 2 column 34: field `inner.heads`: invalid value: integer `-1`, expected usize"
        );
        assert_eq!(
            said("{\"width\": 8, \"inner\": {\"heads\": 1, \"list\": [1, {\"a\": 2}, 3]}}"),
            "line 1 column 47: field `inner.list.1`: invalid type: map, expected usize"
        );
        assert_eq!(
            said("{\"width\": 8,\n \"inner\": {\"heads\": 4}}"),
            "line 2 column 22: field `inner`: missing field `list`"
        );
        assert_eq!(said("{\"width\": 8}"), "line 1 column 12: missing field `inner`");
        assert_eq!(said("{\"width\": 8"), "line 1 column 11: EOF while parsing an object");
        assert_eq!(
            said("{\"width\": 8, \"inner\": {\"heads\": 1, \"list\": []}} x"),
            "line 1 column 49: trailing characters"
        );
    }

    #[test]
    fn names_of_types_are_not_shown() {
        assert_eq!(said("7"), "line 1 column 1: invalid type: integer `7`, expected an object");
        assert_eq!(
            said("{\"inner\": null}"),
            "line 1 column 14: field `inner`: invalid type: null, expected an object"
        );
        let error = parse_value::<Outer>(&serde_json::json!({"inner": []})).unwrap_err();
        assert_eq!(error.to_string(), "field `inner`: invalid length 0, expected an object with 2 elements");
        let error = parse_value::<Outer>(&serde_json::json!({"width": "a, expected b"})).unwrap_err();
        assert_eq!(error.found_and_expected(), Some(("string \"a, expected b\"", "usize")));
    }

    #[test]
    fn what_was_found_is_cut() {
        let long = "x".repeat(1000);
        let text = said(&format!("{{\"width\": \"{long}\"}}"));
        assert!(text.len() < 400 && text.ends_with("xxx..., expected usize"), "{text}");
    }

    #[test]
    fn values_are_counted() {
        // the object, `a` and its list of two, `b` and its text
        assert_eq!(count_values(br#"{"a": [1, 2], "b": "[,\"{"}"#), 7);
        assert_eq!(count_values(b"[[[]]]"), 4);
        assert_eq!(count_values(b""), 1);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(100_000);
        let said = parse_json::<Value>(deep.as_bytes()).unwrap_err().to_string();
        assert_eq!(said, "line 1 column 128: recursion limit exceeded");
    }
}
