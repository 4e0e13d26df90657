//! Checks of config values, made before the tensor library meets them.

use serde_json::Value;

use crate::ZooError;

/// No more than this is believed of any size in a config.
const LARGEST: usize = 1 << 24;

/// No more blocks than this: a million of them would be looked for in vain for minutes.
const MOST_BLOCKS: usize = 1 << 12;

/// A size must be above zero, and not absurd.
pub(crate) fn positive(field: &str, value: usize) -> Result<(), ZooError> {
    within(field, value, LARGEST)
}

/// So must a number of blocks.
pub(crate) fn blocks(field: &str, value: usize) -> Result<(), ZooError> {
    within(field, value, MOST_BLOCKS)
}

fn within(field: &str, value: usize, most: usize) -> Result<(), ZooError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let (field, found) = (field.to_owned(), value.to_string());
    Err(ZooError::Value { field, found, expected: format!("1 to {most}") })
}

/// A number that divides or lies below a root, and that `f32` holds with room for what it is multiplied with.
pub(crate) fn above_zero(field: &str, value: Option<f64>) -> Result<Option<f32>, ZooError> {
    let expected = match value {
        Some(found) if !(found.is_finite() && found > 0.0) => "a number above 0",
        Some(found) if !(1e-30..=1e30).contains(&found) => "1e-30 to 1e30",
        given => return Ok(given.map(|x| x as f32)),
    };
    let found = value.map_or_else(String::new, |x| format!("{x:?}"));
    Err(ZooError::Value { field: field.to_owned(), found, expected: expected.to_owned() })
}

/// Refuses attention that is switched to both ways, in a model that is computed as one that looks back.
pub(crate) fn causal(config: &Value, at: &str) -> Result<(), ZooError> {
    match config.get("is_causal").filter(|causal| **causal != Value::Bool(true)) {
        Some(found) => Err(ZooError::Unsupported {
            field: format!("{at}is_causal"),
            found: found.to_string(),
            supported: "true".to_owned(),
        }),
        None => Ok(()),
    }
}

/// Refuses fields that are null where transformers takes no null: a field that is left out has a default, one that is null
/// has not. `at` is what errors put before a field.
pub(crate) fn present(raw: &Value, at: &str, fields: &[&str]) -> Result<(), ZooError> {
    match fields.iter().find(|field| raw.get(field).is_some_and(Value::is_null)) {
        Some(field) => Err(ZooError::Value {
            field: format!("{at}{field}"),
            found: "null".to_owned(),
            expected: "a value, or no such field".to_owned(),
        }),
        None => Ok(()),
    }
}

/// One size must divide another.
pub(crate) fn divides(field: &str, divisor: usize, of: &str, value: usize) -> Result<(), ZooError> {
    match value.checked_rem(divisor) {
        Some(0) => Ok(()),
        _ => Err(ZooError::Value {
            field: field.to_owned(),
            found: divisor.to_string(),
            expected: format!("a divisor of {of} = {value}"),
        }),
    }
}

/// Which of several architectures of one `model_type` a config is of: the first, if it names none.
pub(crate) fn architecture(config: &Value, known: &'static [&'static str]) -> Result<&'static str, ZooError> {
    let named = match config.get("architectures") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => {
            list.iter().map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned)).collect()
        }
        Some(other) => vec![other.to_string()],
    };
    let found = match named.as_slice() {
        [] => known.first(),
        named => known.iter().find(|known| named.iter().any(|name| name == *known)),
    };
    found.copied().ok_or_else(|| ZooError::Unsupported {
        field: "architectures".to_owned(),
        found: named.join(", "),
        supported: known.join(", "),
    })
}
