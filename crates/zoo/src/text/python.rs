//! Values as Python writes them: `json.dumps`, and the order of a dictionary's keys.

use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use serde_json::Value as Json;

/// A value of JSON as a template sees it; objects keep the order of their keys.
pub(super) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(from_json).collect::<Vec<_>>()),
        Json::Object(fields) => Value::from_object(Dict(
            fields.iter().map(|(key, value)| (key.as_str().into(), from_json(value))).collect(),
        )),
    }
}

/// Bytes of the texts of a value, and some for each that is nested in it.
pub(super) fn bytes(json: &Json) -> usize {
    const EACH: usize = 16;
    EACH + match json {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(bytes).sum(),
        Json::Object(fields) => fields.iter().map(|(key, value)| EACH + key.len() + bytes(value)).sum(),
        _ => 0,
    }
}

/// A dictionary in the order in which it was written.
#[derive(Debug)]
struct Dict(Vec<(Arc<str>, Value)>);

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.iter().find(|(known, _)| **known == *key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(key, _)| Value::from(Arc::clone(key))).collect())
    }
}

/// The filter `tojson` as transformers defines it: Python's `json.dumps`, without the escaping that Jinja would do.
#[allow(clippy::needless_pass_by_value, reason = "filters own their arguments")]
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ascii: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let ascii = match ascii {
        Some(ascii) => ascii,
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let indent = options.get::<Option<usize>>("indent")?;
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    options.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "`separators` should be two texts")),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let mut out = Out::within(state);
    Dump { ascii, indent, sorted, item, key }.write(&mut out, value, 0)?;
    Ok(out.text)
}

/// Text of no more bytes than there are steps left to pay for.
struct Out {
    text: String,
    most: usize,
}

impl Out {
    fn within(state: &State<'_, '_>) -> Self {
        let steps = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
        Self { text: String::new(), most: usize::try_from(steps.saturating_mul(64)).unwrap_or(usize::MAX) }
    }

    fn push_str(&mut self, text: &str) -> Result<(), Error> {
        self.room(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    fn push(&mut self, character: char) -> Result<(), Error> {
        self.room(character.len_utf8())?;
        self.text.push(character);
        Ok(())
    }

    fn spaces(&mut self, count: usize) -> Result<(), Error> {
        self.room(count)?;
        self.text.extend(std::iter::repeat_n(' ', count));
        Ok(())
    }

    fn room(&self, bytes: usize) -> Result<(), Error> {
        match self.text.len().checked_add(bytes) {
            Some(bytes) if bytes <= self.most => Ok(()),
            _ => Err(ErrorKind::OutOfFuel.into()),
        }
    }
}

/// How to write JSON.
struct Dump {
    ascii: bool,
    indent: Option<usize>,
    sorted: bool,
    item: String,
    key: String,
}

impl Dump {
    fn write(&self, out: &mut Out, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => out.push_str("null")?,
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" })?,
            ValueKind::Number if value.is_integer() => out.push_str(&value.to_string())?,
            ValueKind::Number => out.push_str(&float(f64::try_from(value.clone())?))?,
            ValueKind::String => self.text(out, value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.all(out, ('[', ']'), items.len(), depth, |out, at| {
                    self.write(out, &items[at], depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.all(out, ('{', '}'), keys.len(), depth, |out, at| {
                    self.text(out, &key_text(&keys[at]))?;
                    out.push_str(&self.key)?;
                    self.write(out, &value.get_item(&keys[at])?, depth + 1)
                })?;
            }
            other => {
                let detail = format!("a value of type {other} cannot be written as JSON");
                return Err(Error::new(ErrorKind::BadSerialization, detail));
            }
        }
        Ok(())
    }

    fn all(
        &self,
        out: &mut Out,
        (open, close): (char, char),
        count: usize,
        depth: usize,
        mut each: impl FnMut(&mut Out, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |out: &mut Out, depth: usize| match self.indent {
            Some(indent) => {
                out.push('\n')?;
                out.spaces(indent.saturating_mul(depth))
            }
            None => Ok(()),
        };
        out.push(open)?;
        for at in 0..count {
            if at > 0 {
                out.push_str(&self.item)?;
            }
            line(out, depth + 1)?;
            each(out, at)?;
        }
        if count > 0 {
            line(out, depth)?;
        }
        out.push(close)
    }

    fn text(&self, out: &mut Out, text: &str) -> Result<(), Error> {
        out.push('"')?;
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\"")?,
                '\\' => out.push_str("\\\\")?,
                '\n' => out.push_str("\\n")?,
                '\r' => out.push_str("\\r")?,
                '\t' => out.push_str("\\t")?,
                '\u{8}' => out.push_str("\\b")?,
                '\u{c}' => out.push_str("\\f")?,
                c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"))?;
                    }
                }
                c => out.push(c)?,
            }
        }
        out.push('"')
    }
}

/// A key of a dictionary as the key of a JSON object.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => (if key.is_true() { "true" } else { "false" }).to_owned(),
        _ => key.to_string(),
    }
}

/// A float as Python writes it: the shortest digits that give it back, with an exponent where it is very large or small.
fn float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return (if x < 0.0 { "-Infinity" } else { "Infinity" }).to_owned();
    }
    if x == 0.0 || (1e-4..1e16).contains(&x.abs()) {
        return format!("{x:?}");
    }
    let text = format!("{x:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
            format!("{digits}e{sign}{size:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_does() {
        // json.dumps of each, by Python 3.12
        for (x, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1e-5, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (1.5e300, "1.5e+300"),
            (-0.0, "-0.0"),
            (0.0001, "0.0001"),
        ] {
            assert_eq!(float(x), text);
        }
    }
}
