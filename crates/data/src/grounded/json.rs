//! Boxes in JSON: Qwen2.5-VL and Qwen3-VL.

use serde_json::Value;

use super::{Grounded, GroundedError, Shown, Span, placed};

const BOX: &str = "bbox_2d";

/// Objects with `bbox_2d` and `label`, in a list or one alone, in a fence of code or without. The labels are the words.
pub(super) fn read(text: &str, shown: &Shown, scale: [f64; 2]) -> Result<Grounded, GroundedError> {
    let (plain, start) = unfenced(text);
    if !plain.starts_with(['[', '{']) {
        return match text.find(BOX) {
            Some(at) => Err(GroundedError::new(text, at, "nothing but JSON, or words without `bbox_2d`")),
            None => {
                let mut read = Grounded::default();
                read.say(text);
                Ok(read)
            }
        };
    }
    let fault = |expected| GroundedError::new(text, start, expected);
    let value: Value = serde_json::from_str(plain).map_err(|_| fault("JSON that is whole"))?;
    let items = match value {
        Value::Array(items) => items,
        one => vec![one],
    };
    let mut read = Grounded::default();
    for item in items {
        let numbers = item.get(BOX).and_then(Value::as_array).and_then(|numbers| {
            let numbers: Option<Vec<f64>> = numbers.iter().map(Value::as_f64).collect();
            <[f64; 4]>::try_from(numbers?).ok()
        });
        let (Some(bbox), Some(label)) = (numbers, item.get("label").and_then(Value::as_str)) else {
            return Err(fault("objects with `bbox_2d`, four numbers, and `label`"));
        };
        let bbox = placed(bbox, scale, shown).map_err(fault)?;
        if !read.text.is_empty() {
            read.say(", ");
        }
        let words = read.say(label);
        read.spans.push(Span { words, boxes: vec![bbox] });
    }
    Ok(read)
}

/// A text without the fence around it, and where that begins.
fn unfenced(text: &str) -> (&str, usize) {
    let inner = text.trim();
    let inner = inner.strip_prefix("```").map_or(inner, |inner| inner.strip_prefix("json").unwrap_or(inner));
    let inner = inner.strip_suffix("```").unwrap_or(inner).trim();
    (inner, text.find(inner).unwrap_or(0))
}
