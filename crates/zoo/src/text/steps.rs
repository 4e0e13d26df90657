//! The steps of language models' tokenizer classes.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::class::{TokenizerClass, bpe, set};
use super::error::TextError;
use crate::checkpoint::read_json_if_there;

/// Qwen's words: contractions, letters with a sign before them, single digits, other signs, ends of lines, spaces.
const WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Puts the steps of a class in the place of those of `tokenizer.json`, around the vocabulary and merges of `model`.
///
/// # Errors
/// [`TextError::Config`] if `tokenizer_config.json` is not JSON.
pub(super) fn replace(
    class: TokenizerClass,
    whole: &mut Map<String, Value>,
    model: Map<String, Value>,
    dir: &Path,
) -> Result<(), TextError> {
    let settings: Map<String, Value> =
        read_json_if_there(dir.join("tokenizer_config.json"))?.unwrap_or_default();
    let flag = |name: &str, usual: bool| settings.get(name).and_then(Value::as_bool).unwrap_or(usual);
    let of_bytes = json!({"unk_token": null, "fuse_unk": false, "byte_fallback": false,
        "continuing_subword_prefix": "", "end_of_word_suffix": ""});
    let bytes = |use_regex: bool| {
        json!({"type": "ByteLevel", "add_prefix_space": flag("add_prefix_space", false), "trim_offsets": true,
            "use_regex": use_regex})
    };
    let [model, normalizer, words, decoder] = match class {
        TokenizerClass::Qwen2 => {
            let split = json!({"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": false});
            let words = json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]});
            [bpe(model, &of_bytes), json!({"type": "NFC"}), words, bytes(true)]
        }
        TokenizerClass::Llama => {
            let pieces = json!({"unk_token": null, "fuse_unk": true, "byte_fallback": true,
                "continuing_subword_prefix": null, "end_of_word_suffix": null});
            let prefix = flag("add_prefix_space", true);
            let scheme = match (prefix, flag("legacy", false)) {
                (false, _) => "never",
                (true, true) => "always",
                (true, false) => "first",
            };
            let words =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
            let mut decoders = vec![
                json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
                json!({"type": "ByteFallback"}),
                json!({"type": "Fuse"}),
            ];
            if prefix {
                decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
            }
            let decoder = json!({"type": "Sequence", "decoders": decoders});
            [bpe(model, &pieces), Value::Null, words, decoder]
        }
        _ => [bpe(model, &of_bytes), Value::Null, bytes(true), bytes(true)],
    };
    set(whole, "model", model);
    set(whole, "normalizer", normalizer);
    set(whole, "pre_tokenizer", words);
    set(whole, "decoder", decoder);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;

    /// A folder whose `tokenizer.json` has no steps of its own.
    fn folder(vocab: &[&str], merges: &[&str], settings: &Value) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let vocab: Map<String, Value> =
            vocab.iter().enumerate().map(|(id, piece)| ((*piece).to_owned(), json!(id))).collect();
        let whole = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Digits", "individual_digits": true},
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": "a"}});
        std::fs::write(folder.path().join("tokenizer.json"), whole.to_string()).unwrap();
        std::fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        folder
    }

    fn pieces(folder: &tempfile::TempDir, text: &str) -> Vec<String> {
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        tokenizer.encode(text, true).unwrap().iter().map(|token| tokenizer.token(token.id).unwrap()).collect()
    }

    #[test]
    fn gpt2_joins_digits_and_keeps_capitals() {
        let folder =
            folder(&["a", "A", "1", "2", "12", "Ġ"], &["1 2"], &json!({"tokenizer_class": "GPT2Tokenizer"}));
        assert_eq!(pieces(&folder, "A 12"), ["A", "Ġ", "12"]);
    }

    #[test]
    fn qwen2_parts_digits() {
        let folder = folder(
            &["a", "A", "1", "2", "12", "Ġ"],
            &["1 2"],
            &json!({"tokenizer_class": "Qwen2TokenizerFast"}),
        );
        assert_eq!(pieces(&folder, "A 12"), ["A", "Ġ", "1", "2"]);
    }

    #[test]
    fn llama_puts_a_space_before_a_text_that_has_none() {
        let said = |settings: Value, text: &str| {
            let vocab = ["a", "▁", "▁a", "▁▁", "<0x21>"];
            pieces(&folder(&vocab, &["▁ a", "▁ ▁"], &settings), text).join(" ")
        };
        let class = |more: Value| {
            let mut settings = json!({"tokenizer_class": "LlamaTokenizer"});
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            settings
        };
        assert_eq!(said(class(json!({})), "a a!"), "▁a ▁a <0x21>");
        assert_eq!(said(class(json!({})), " a"), "▁a");
        assert_eq!(said(class(json!({"add_prefix_space": null})), "a"), "▁a");
        assert_eq!(said(class(json!({"add_prefix_space": false})), "a"), "a");
    }
}
