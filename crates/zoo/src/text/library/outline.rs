//! What a `tokenizer.json` says of its size, without its vocabulary.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::around;

/// No tokenizer has an id of this size or above: tables as long as the largest id are kept here and there.
const MOST_IDS: u64 = 1 << 24;
/// How deep steps are nested: a sequence of sequences at most. The library takes twice as long for each.
const DEEPEST: usize = 4;

/// The longest words that are cut into pieces: the time for one grows with its square, at least.
const LONGEST_WORD: u64 = 1 << 10;

/// Field, what it is, and what it should be.
pub(super) type Wrong = (String, String, &'static str);

/// The parts of a file that bounds depend on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outline {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    added_tokens: Vec<Added>,
    model: Option<Model>,
}

#[derive(Debug, Deserialize)]
struct Added {
    id: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Model {
    #[serde(default)]
    vocab: Ids,
    #[serde(default)]
    max_input_chars_per_word: Option<u64>,
}

/// The largest id of a vocabulary: by token, or by its place in a list.
#[derive(Debug, Default)]
struct Ids {
    largest: Option<(String, u64)>,
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdsVisitor)
    }
}

struct IdsVisitor;

impl<'de> Visitor<'de> for IdsVisitor {
    type Value = Ids;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of token ids, or a list of tokens")
    }

    fn visit_unit<E>(self) -> Result<Ids, E> {
        Ok(Ids::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ids, A::Error> {
        let mut largest: Option<(String, u64)> = None;
        while let Some((token, id)) = map.next_entry::<String, u64>()? {
            // no NaN: whole numbers
            if largest.as_ref().is_none_or(|(_, most)| id > *most) {
                largest = Some((token, id));
            }
        }
        Ok(Ids { largest })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ids, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Ids::default())
    }
}

impl Outline {
    /// Refuses ids that are too large, and steps that are nested too deeply.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let ids = self.model.iter().filter_map(|model| model.vocab.largest.clone());
        let ids = ids.map(|(token, id)| (format!("model.vocab.{}", super::cut(&token)), id));
        let added = self.added_tokens.iter().enumerate();
        let added = added.filter_map(|(at, token)| Some((format!("added_tokens.{at}.id"), token.id?)));
        if let Some((field, id)) = ids.chain(added).find(|(_, id)| *id >= MOST_IDS) {
            return Err((field, id.to_string(), "an id below 16777216"));
        }
        let word = self.model.as_ref().and_then(|model| model.max_input_chars_per_word);
        if let Some(found) = word.filter(|longest| *longest > LONGEST_WORD) {
            let field = "model.max_input_chars_per_word".to_owned();
            return Err((field, found.to_string(), "at most 1024"));
        }
        for (field, step) in [
            ("normalizer", &self.normalizer),
            ("pre_tokenizer", &self.pre_tokenizer),
            ("post_processor", &self.post_processor),
            ("decoder", &self.decoder),
        ] {
            if depth(step) > DEEPEST {
                let found = format!("nested {} deep", depth(step));
                return Err((field.to_owned(), found, "steps in a sequence, nested 4 deep at most"));
            }
        }
        around::check(&self.post_processor)?;
        maps(&self.normalizer)
    }
}

/// The map of a step `Precompiled`: the size of a trie in four bytes, the trie, then texts with a zero byte between them.
#[derive(Debug, Default)]
pub(super) struct Charsmap {
    bytes: Vec<u8>,
    trie: usize,
}

impl Charsmap {
    /// The map of a step; what is wrong with one.
    pub(super) fn of(step: &Value) -> Result<Self, String> {
        let coded = step.get("precompiled_charsmap").and_then(Value::as_str);
        let bytes = coded.and_then(|coded| STANDARD.decode(coded).ok()).ok_or("no text in base 64")?;
        let size = bytes.first_chunk::<4>().ok_or_else(|| format!("{} bytes", bytes.len()))?;
        let trie = u32::from_le_bytes(*size) as usize;
        match trie <= bytes.len() - size.len() {
            true => Ok(Self { bytes, trie }),
            false => Err(format!("a trie of {trie} bytes in a map of {}", bytes.len())),
        }
    }

    /// What it makes of texts.
    pub(super) fn texts(&self) -> &[u8] {
        self.bytes.get(4 + self.trie..).unwrap_or_default()
    }
}

/// Refuses maps that are none, since the library makes room for what they claim.
fn maps(step: &Value) -> Result<(), Wrong> {
    match step {
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "Precompiled")
                && let Err(found) = Charsmap::of(step)
            {
                let field = "normalizer.precompiled_charsmap".to_owned();
                return Err((field, found, "a trie within the map, with its size in four bytes before it"));
            }
            fields.values().try_for_each(maps)
        }
        Value::Array(steps) => steps.iter().try_for_each(maps),
        _ => Ok(()),
    }
}

/// How deep objects that are steps lie in one another.
fn depth(step: &Value) -> usize {
    match step {
        Value::Object(fields) => {
            let inner = fields.values().map(depth).max().unwrap_or(0);
            inner + usize::from(fields.contains_key("type"))
        }
        Value::Array(steps) => steps.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
