//! Tokenizer classes of transformers that bring steps of their own, whatever steps `tokenizer.json` has.
//!
//! Of that file they take the vocabulary, the merges, the added tokens and (but for CLIP's) what stands around a text.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::TextError;
use super::special::SpecialTokens;
use crate::checkpoint::{ConfigError, parse_json, read_json};

/// A class with steps of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerClass {
    /// `CLIPTokenizer`: lower case, byte-level pieces that mark the end of a word.
    Clip,
    /// `GemmaTokenizer`: `▁` for spaces, single bytes for what has no piece.
    Gemma,
    /// `Siglip2Tokenizer`: Gemma's, in lower case.
    Siglip2,
}

const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

impl TokenizerClass {
    /// The class that `tokenizer_class` names, if it is one of these.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "CLIPTokenizer" => Some(Self::Clip),
            "GemmaTokenizer" => Some(Self::Gemma),
            "Siglip2Tokenizer" => Some(Self::Siglip2),
            _ => None,
        }
    }

    /// The token it pads with where no file says so.
    #[must_use]
    pub fn pad(self) -> &'static str {
        match self {
            Self::Clip => "<|endoftext|>",
            Self::Gemma | Self::Siglip2 => "<pad>",
        }
    }

    /// Whether it pads on the left where no file says so.
    #[must_use]
    pub fn pads_left(self) -> bool {
        self != Self::Clip
    }

    /// `tokenizer.json` of a folder with the steps of this class, and the file it comes from. A folder of `CLIPTokenizer`
    /// may have `vocab.json` and `merges.txt` instead.
    pub(super) fn read(self, dir: &Path, special: &SpecialTokens) -> Result<(PathBuf, Vec<u8>), TextError> {
        let mut file = dir.join("tokenizer.json");
        let mut whole: Map<String, Value> = match std::fs::read(&file) {
            Ok(text) => parse_json(&file, &text)?,
            Err(_) if self == Self::Clip && dir.join("vocab.json").exists() => {
                let model = of_two(dir)?;
                file = dir.join("vocab.json");
                Map::from_iter([("model".to_owned(), model)])
            }
            Err(source) => return Err(ConfigError::Read { file, source }.into()),
        };
        let role = |name: &str, own: &str| special.get(name).unwrap_or(own).to_owned();
        let model = whole.get("model").and_then(Value::as_object).cloned().unwrap_or_default();
        match self {
            Self::Clip => {
                let vocab = model.get("vocab").cloned().unwrap_or(Value::Null);
                let around = |name: &str, own: &str| {
                    let token = role(name, own);
                    match vocab.get(&token).and_then(Value::as_u64) {
                        Some(id) => Ok(json!([token, id])),
                        None => Err(TextError::Field {
                            file: file.clone(),
                            field: name.to_owned(),
                            found: format!("`{token}`, which the vocabulary lacks"),
                            expected: "a token of the vocabulary",
                        }),
                    }
                };
                let (bos, eos) =
                    (around("bos_token", "<|startoftext|>")?, around("eos_token", "<|endoftext|>")?);
                let unknown = json!({"unk_token": role("unk_token", "<|endoftext|>"), "fuse_unk": false,
                    "byte_fallback": false, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>"});
                set(&mut whole, "model", bpe(model, &unknown));
                let normalizers = json!([{"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": r"\s+"},
                    "content": " "}, {"type": "Lowercase"}]);
                set(&mut whole, "normalizer", json!({"type": "Sequence", "normalizers": normalizers}));
                let split = json!({"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed",
                    "invert": true});
                let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": true});
                set(&mut whole, "decoder", bytes.clone());
                let steps = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
                set(&mut whole, "pre_tokenizer", steps);
                let around = json!({"type": "RobertaProcessing", "sep": eos, "cls": bos, "trim_offsets": false,
                    "add_prefix_space": false});
                set(&mut whole, "post_processor", around);
            }
            Self::Gemma | Self::Siglip2 => {
                let unknown = json!({"unk_token": role("unk_token", "<unk>"), "fuse_unk": true,
                    "byte_fallback": true, "continuing_subword_prefix": null, "end_of_word_suffix": null});
                set(&mut whole, "model", bpe(model, &unknown));
                let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
                let steps = match self {
                    Self::Siglip2 => {
                        json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, spaces]})
                    }
                    _ => spaces,
                };
                set(&mut whole, "normalizer", steps);
                let split = json!({"type": "Split", "pattern": {"String": " "},
                    "behavior": "MergedWithPrevious", "invert": false});
                set(&mut whole, "pre_tokenizer", split);
                let decoders = json!([{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"}, {"type": "Fuse"}]);
                set(&mut whole, "decoder", json!({"type": "Sequence", "decoders": decoders}));
            }
        }
        let text = serde_json::to_vec(&whole);
        let text = text.map_err(|e| TextError::Tokenizer { file: file.clone(), problem: e.to_string() })?;
        Ok((file, text))
    }
}

fn set(whole: &mut Map<String, Value>, field: &str, value: Value) {
    whole.insert(field.to_owned(), value);
}

/// A byte-pair model with the vocabulary and merges of `model`.
fn bpe(mut model: Map<String, Value>, with: &Value) -> Value {
    let fixed = json!({"type": "BPE", "dropout": null, "ignore_merges": false});
    for fields in [&fixed, with] {
        model.extend(fields.as_object().cloned().unwrap_or_default());
    }
    Value::Object(model)
}

/// The model of a folder with a vocabulary and a list of merges.
fn of_two(dir: &Path) -> Result<Value, TextError> {
    let vocab: Value = read_json(dir.join("vocab.json"))?;
    let file = dir.join("merges.txt");
    let text =
        std::fs::read_to_string(&file).map_err(|source| ConfigError::Read { file: file.clone(), source })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let merges: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    if let Some(odd) = merges.iter().find(|merge| merge.len() != 2) {
        return Err(TextError::Field {
            file,
            field: "a line".to_owned(),
            found: format!("`{}`", odd.join(" ")),
            expected: "two pieces that are merged",
        });
    }
    Ok(json!({"vocab": vocab, "merges": merges}))
}
