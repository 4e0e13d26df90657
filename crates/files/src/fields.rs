//! The fields of an object, of which every one has to be known.

use serde_json::{Map, Value};

/// The fields of a JSON object, and which of them were looked at. What is left over was meant to change something, and is told.
///
/// ```
/// # use mmlens_files::Fields;
/// let object = serde_json::json!({ "size": 3, "note": "by hand", "speed": 9, "idle": false, "none": null });
/// let Some(object) = object.as_object() else { return };
/// let mut fields = Fields::new(object, &["note"]);
/// assert_eq!(fields.get("size").and_then(|value| value.as_u64()), Some(3));
/// assert_eq!((fields.get("none"), fields.is_null("none"), fields.is_null("away")), (None, true, false));
/// assert_eq!((fields.found("size"), fields.found("away")), ("3".to_owned(), "absent".to_owned()));
/// assert_eq!(fields.left_over(), Some(("speed", "9".to_owned())));
/// ```
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of an object, of which some may stand there unlooked at.
    #[must_use]
    pub fn new(object: &'a Map<String, Value>, harmless: &[&'static str]) -> Self {
        Self { object, known: harmless.to_vec() }
    }

    /// A field, unless it is absent or null. From now on it is known.
    pub fn get(&mut self, field: &'static str) -> Option<&'a Value> {
        self.known.push(field);
        self.look(field)
    }

    /// A field, unless it is absent or null; whether it is known does not change.
    #[must_use]
    pub fn look(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// Whether a field is there, and null.
    #[must_use]
    pub fn is_null(&self, field: &str) -> bool {
        self.object.get(field).is_some_and(Value::is_null)
    }

    /// What stands in a field, for errors: cut if it is long, or `absent`.
    #[must_use]
    pub fn found(&self, field: &str) -> String {
        self.object.get(field).map_or_else(|| "absent".to_owned(), short)
    }

    /// The first field that was not looked at, and what stands there. One that is null or `false` asks for nothing.
    #[must_use]
    pub fn left_over(&self) -> Option<(&'a str, String)> {
        let idle = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
        let mut over = self.object.iter().filter(|(field, _)| !self.known.contains(&field.as_str()));
        over.find(|(_, value)| !idle(value)).map(|(field, value)| (field.as_str(), short(value)))
    }
}

/// A value as it stands in the file, cut if it is long.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
