//! Tokenizer classes of transformers that bring steps of their own, whatever steps `tokenizer.json` has.
//!
//! Of that file they take the vocabulary, the merges, the added tokens and (but for CLIP's) what stands around a text.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::TextError;
use super::library::{MOST_TOKENIZER_BYTES, parse_vocabulary};
use super::special::SpecialTokens;
use super::{steps, wordpiece};
use crate::checkpoint::ConfigError;

/// A class with steps of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerClass {
    /// `CLIPTokenizer`: lower case, byte-level pieces that mark the end of a word.
    Clip,
    /// `GemmaTokenizer`: `▁` for spaces, single bytes for what has no piece.
    Gemma,
    /// `Siglip2Tokenizer`: Gemma's, in lower case.
    Siglip2,
    /// `GPT2Tokenizer`: byte-level pieces within words.
    Gpt2,
    /// `Qwen2Tokenizer`: byte-level pieces within words and single digits.
    Qwen2,
    /// `LlamaTokenizer`: `▁` for spaces and before a text, single bytes for what has no piece.
    Llama,
    /// `WhisperTokenizer`: GPT-2's; what it puts around a text is of training.
    Whisper,
    /// `BertTokenizer`: words cut into pieces, in lower case unless `tokenizer_config.json` says otherwise.
    Bert,
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
            "GPT2Tokenizer" => Some(Self::Gpt2),
            "Qwen2Tokenizer" => Some(Self::Qwen2),
            "LlamaTokenizer" => Some(Self::Llama),
            "WhisperTokenizer" => Some(Self::Whisper),
            "BertTokenizer" => Some(Self::Bert),
            _ => None,
        }
    }

    /// The token it pads with where no file says so.
    #[must_use]
    pub fn pad(self) -> &'static str {
        match self {
            Self::Clip | Self::Gpt2 | Self::Qwen2 | Self::Whisper => "<|endoftext|>",
            Self::Gemma | Self::Siglip2 => "<pad>",
            Self::Llama => "</s>",
            Self::Bert => "[PAD]",
        }
    }

    /// Whether it pads on the left where no file says so.
    #[must_use]
    pub fn pads_left(self) -> bool {
        matches!(self, Self::Gemma | Self::Siglip2 | Self::Llama)
    }

    fn of_bytes(self) -> bool {
        matches!(self, Self::Clip | Self::Gpt2 | Self::Qwen2 | Self::Whisper)
    }

    /// `tokenizer.json` of a folder with the steps of this class, and the file it comes from. A folder of byte-level pieces
    /// may have `vocab.json` and `merges.txt` instead.
    pub(super) fn read(self, dir: &Path, special: &SpecialTokens) -> Result<(PathBuf, Vec<u8>), TextError> {
        let mut file = dir.join("tokenizer.json");
        let mut whole: Map<String, Value> = match mmlens_files::read(&file, MOST_TOKENIZER_BYTES) {
            Ok(text) => parse_vocabulary(&file, &text)?,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(TextError::unread(file, error)),
            Err(_) if self.of_bytes() && dir.join("vocab.json").exists() => {
                let model = of_two(dir)?;
                file = dir.join("vocab.json");
                Map::from_iter([("model".to_owned(), model)])
            }
            Err(_) if self == Self::Bert && dir.join("vocab.txt").exists() => {
                file = dir.join("vocab.txt");
                Map::from_iter([("model".to_owned(), wordpiece::of_lines(&file)?)])
            }
            Err(source) => return Err(TextError::unread(file, source)),
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
            Self::Bert => {
                if model.get("type").is_none_or(|kind| kind == "WordPiece") {
                    wordpiece::replace(&mut whole, &file, &model, special, dir)?;
                }
            }
            Self::Gpt2 | Self::Qwen2 | Self::Llama | Self::Whisper => {
                // As transformers has it, a file of another kind of pieces is taken as it is.
                if model.get("type").is_none_or(|kind| kind == "BPE") {
                    steps::replace(self, &mut whole, model, dir)?;
                }
            }
        }
        let text = serde_json::to_vec(&whole);
        let text = text.map_err(|e| TextError::Tokenizer { file: file.clone(), problem: e.to_string() })?;
        Ok((file, text))
    }
}

pub(super) fn set(whole: &mut Map<String, Value>, field: &str, value: Value) {
    whole.insert(field.to_owned(), value);
}

/// A byte-pair model with the vocabulary and merges of `model`.
pub(super) fn bpe(mut model: Map<String, Value>, with: &Value) -> Value {
    let fixed = json!({"type": "BPE", "dropout": null, "ignore_merges": false});
    for fields in [&fixed, with] {
        model.extend(fields.as_object().cloned().unwrap_or_default());
    }
    Value::Object(model)
}

/// The model of a folder with a vocabulary and a list of merges.
fn of_two(dir: &Path) -> Result<Value, TextError> {
    let file = dir.join("vocab.json");
    let text = mmlens_files::read(&file, MOST_TOKENIZER_BYTES);
    let text = text.map_err(|source| ConfigError::Read { file: file.clone(), source })?;
    let vocab: Value = parse_vocabulary(&file, &text)?;
    let file = dir.join("merges.txt");
    let text = mmlens_files::read_text(&file, MOST_TOKENIZER_BYTES)
        .map_err(|source| ConfigError::Read { file: file.clone(), source })?;
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

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;

    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode(text, true).unwrap().iter().map(|token| token.id).collect()
    }

    #[test]
    fn clip_lowers_and_ends_words_whatever_the_folder_has() {
        let vocab = json!({"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4, "<|startoftext|>": 5,
            "<|endoftext|>": 6});
        let merges = "#version: 0.2\na b</w>\n\n";
        let two = folder(&[("vocab.json", vocab.clone()), ("merges.txt", json!(merges))]);
        // Steps of another kind, which do not count.
        let whole = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": vocab, "merges": ["a b</w>"], "unk_token": "a"}});
        let one = folder(&[("tokenizer.json", whole)]);
        for folder in [two, one] {
            let tokenizer = Tokenizer::from_dir_as(folder.path(), TokenizerClass::Clip).unwrap();
            // `?` is unknown: the end token stands for it.
            assert_eq!(ids(&tokenizer, " AB\n b?"), [5, 4, 3, 6, 6]);
            assert_eq!(tokenizer.decode(&[4, 3], true).unwrap(), "ab b");
        }
    }

    #[test]
    fn siglip2_lowers_and_gemma_does_not() {
        let whole = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": null, "decoder": null, "post_processor": {
                "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<eos>", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"<eos>": {"id": "<eos>", "ids": [1], "tokens": ["<eos>"]}}},
            "model": {"type": "BPE", "vocab": {"<pad>": 0, "<eos>": 1, "<unk>": 2, "a": 3, "A": 4, "▁": 5}, "merges": []}});
        let folder = folder(&[("tokenizer.json", whole)]);
        let open = |class| Tokenizer::from_dir_as(folder.path(), class).unwrap();
        assert_eq!(ids(&open(TokenizerClass::Gemma), "A a"), [4, 5, 3, 1]);
        assert_eq!(ids(&open(TokenizerClass::Siglip2), "A a"), [3, 5, 3, 1]);
    }

    #[test]
    fn a_vocabulary_that_cannot_be_is_refused_by_name() {
        let merges = |text: &str| {
            let vocab = json!({"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2});
            let folder = folder(&[("vocab.json", vocab), ("merges.txt", json!(text))]);
            Tokenizer::from_dir_as(folder.path(), TokenizerClass::Clip).err().map(|e| e.to_string())
        };
        assert_eq!(merges("#version: 0.2\n"), None);
        assert!(merges("a b c").unwrap().contains("merges.txt: `a line` is `a b c`"));
        let bare = folder(&[("vocab.json", json!({"a": 0})), ("merges.txt", json!(""))]);
        let said = Tokenizer::from_dir_as(bare.path(), TokenizerClass::Clip).unwrap_err().to_string();
        assert!(said.contains("`bos_token` is `<|startoftext|>`, which the vocabulary lacks"), "{said}");
        let other = folder(&[("tokenizer.model", json!(""))]);
        let said = Tokenizer::from_dir(other.path()).unwrap_err().to_string();
        assert!(
            said.contains("no `tokenizer.json`, but `tokenizer.model`, which is not read here"),
            "{said}"
        );
        let none = tempfile::tempdir().unwrap();
        let said = Tokenizer::from_dir_as(none.path(), TokenizerClass::Gemma).unwrap_err().to_string();
        assert!(said.contains("tokenizer.json"), "{said}");
    }
}
