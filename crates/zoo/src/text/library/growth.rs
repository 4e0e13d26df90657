//! How much longer the steps of a tokenizer can make a text.

use serde_json::Value;

use super::outline::{Charsmap, Outline};

/// Bytes become at most so many times themselves, and some more.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Growth {
    factor: f64,
    more: f64,
    /// The step that makes the most of a byte, and how many it makes.
    cause: (&'static str, f64),
}

impl Growth {
    const NONE: Self = Self { factor: 1.0, more: 0.0, cause: ("the text", 1.0) };

    /// From a text to what is cut into tokens, and what is put around them.
    pub(super) fn of_encoding(outline: &Outline) -> Self {
        let normalized = Self::NONE.then("normalizer", &outline.normalizer, normalizer);
        let split = normalized.then("pre_tokenizer", &outline.pre_tokenizer, pre_tokenizer);
        split.then("post_processor", &outline.post_processor, post_processor)
    }

    /// From tokens to their text.
    pub(super) fn of_decoding(outline: &Outline) -> Self {
        Self::NONE.then("decoder", &outline.decoder, decoder)
    }

    /// The most bytes that some become.
    pub(super) fn of(&self, bytes: usize) -> f64 {
        self.factor * bytes as f64 + self.more
    }

    /// The most bytes that become at most some.
    pub(super) fn most(&self, bytes: usize) -> f64 {
        ((bytes as f64 - self.more) / self.factor).max(0.0)
    }

    /// Bytes for one.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// What makes the most of them.
    pub(super) fn cause(&self) -> String {
        format!("`{}`", self.cause.0)
    }

    fn then(self, name: &'static str, step: &Value, one: fn(&Value) -> (f64, f64)) -> Self {
        let (factor, more) = all(step, one);
        let cause = if factor > self.cause.1 { (name, factor) } else { self.cause };
        Self { factor: self.factor * factor, more: self.more * factor + more, cause }
    }
}

/// Of a step, or of the steps of a sequence, one after the other.
fn all(step: &Value, one: fn(&Value) -> (f64, f64)) -> (f64, f64) {
    let lists = ["normalizers", "pretokenizers", "processors", "decoders"];
    let steps = lists.iter().find_map(|list| step.get(list)).and_then(Value::as_array);
    match steps {
        None => one(step),
        Some(steps) => steps.iter().fold((1.0, 0.0), |(before, added), step| {
            let (factor, more) = all(step, one);
            (before * factor, added * factor + more)
        }),
    }
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn length(step: &Value, field: &str) -> f64 {
    step.get(field).and_then(Value::as_str).map_or(0.0, |text| text.len() as f64)
}

/// Decompositions: U+1D160 has 4 bytes and becomes 12, U+FDFA has 3 and becomes 33.
const CANONICAL: f64 = 3.0;
const COMPATIBLE: f64 = 11.0;
/// A byte becomes a character of two.
const BYTES: f64 = 2.0;

fn normalizer(step: &Value) -> (f64, f64) {
    match kind(step) {
        "Replace" => replaced(step),
        "Prepend" => (1.0, length(step, "prepend")),
        "NFD" | "NFC" => (CANONICAL, 0.0),
        "NFKD" | "NFKC" => (COMPATIBLE, 0.0),
        // U+0130 has 2 bytes and becomes 3.
        "Lowercase" => (1.5, 0.0),
        "ByteLevel" => (BYTES, 0.0),
        // Spaces around characters of three bytes, accents taken off, lower case.
        "BertNormalizer" => (5.0 / 3.0 * CANONICAL * 1.5, 0.0),
        "Precompiled" => (longest(step), 0.0),
        _ => (1.0, 0.0),
    }
}

/// A pattern becomes a text, wherever it is; one that may match nothing, between any two characters too.
fn replaced(step: &Value) -> (f64, f64) {
    let content = length(step, "content");
    let pattern = step.get("pattern").and_then(|pattern| pattern.get("String")).and_then(Value::as_str);
    match pattern.map(str::len) {
        Some(bytes) if bytes > 0 => ((content / bytes as f64).max(1.0), 0.0),
        _ => (1.0 + content, content),
    }
}

/// The longest text that a map makes of anything.
fn longest(step: &Value) -> f64 {
    let map = Charsmap::of(step).unwrap_or_default();
    map.texts().split(|byte| *byte == 0).map(|text| text.len().max(1)).max().unwrap_or(1) as f64
}

fn pre_tokenizer(step: &Value) -> (f64, f64) {
    match kind(step) {
        "ByteLevel" => (BYTES, 1.0),
        // For a space, and before each piece.
        "Metaspace" => (1.0 + length(step, "replacement").max(1.0), 4.0),
        _ => (1.0, 0.0),
    }
}

fn post_processor(step: &Value) -> (f64, f64) {
    let pieces = step.get("single").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let texts = pieces.iter().filter(|piece| piece.get("Sequence").is_some()).count();
    (texts.max(1) as f64, (pieces.len() - texts) as f64)
}

fn decoder(step: &Value) -> (f64, f64) {
    match kind(step) {
        "Replace" => replaced(step),
        // A byte that is no text becomes a character of three.
        "ByteLevel" | "ByteFallback" => (3.0, 0.0),
        "WordPiece" | "BPEDecoder" | "Metaspace" | "CTC" => (2.0, 0.0),
        _ => (1.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn outline(normalizer: Value, pre_tokenizer: Value) -> Outline {
        let mut outline = Outline::default();
        (outline.normalizer, outline.pre_tokenizer) = (normalizer, pre_tokenizer);
        outline
    }

    #[test]
    fn steps_multiply() {
        let replace =
            |content: &str| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
        let steps =
            json!({"type": "Sequence", "normalizers": [replace("aaaaaaaaaa"), replace("b"), replace("aa")]});
        // 10 times 1 times 2; each byte then has two
        let growth = Growth::of_encoding(&outline(steps, json!({"type": "ByteLevel"})));
        assert_eq!((growth.factor(), growth.of(3), growth.cause()), (40.0, 121.0, "`normalizer`".to_owned()));
        assert_eq!(growth.most(401), 10.0);
        // `a*` matches between any two characters: 5 bytes there, and the character
        let empty = json!({"type": "Replace", "pattern": {"Regex": "a*"}, "content": "xxxxx"});
        assert_eq!(Growth::of_encoding(&outline(empty, Value::Null)).of(2), 17.0);
        let prepended = json!({"type": "Prepend", "prepend": "___"});
        assert_eq!(Growth::of_encoding(&outline(prepended, Value::Null)).of(2), 5.0);
        assert_eq!(Growth::of_encoding(&Outline::default()).of(2), 2.0);
    }

    #[test]
    fn a_map_makes_its_longest_text_of_anything() {
        // no trie, then `ab` and `cdefg`
        let map = STANDARD.encode(b"\0\0\0\0ab\0cdefg\0");
        let step = json!({"type": "Precompiled", "precompiled_charsmap": map});
        assert_eq!(Growth::of_encoding(&outline(step, Value::Null)).of(3), 15.0);
        let cut =
            json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(b"\xff\xff\xff\xff")});
        assert_eq!(Growth::of_encoding(&outline(cut, Value::Null)).of(3), 3.0);
    }
}
