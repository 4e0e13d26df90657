//! The steps of `BertTokenizer`: words in lower case, cut into the longest pieces the vocabulary has.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::class::set;
use super::error::TextError;
use super::library::MOST_TOKENIZER_BYTES;
use super::special::SpecialTokens;
use crate::checkpoint::{ConfigError, read_json_if_there};

/// Puts BERT's steps in the place of those of `tokenizer.json`, around the vocabulary of `model`.
///
/// # Errors
/// [`TextError`] for a vocabulary without the tokens around a text, or settings that are not JSON.
pub(super) fn replace(
    whole: &mut Map<String, Value>,
    file: &Path,
    model: &Map<String, Value>,
    special: &SpecialTokens,
    dir: &Path,
) -> Result<(), TextError> {
    let settings: Map<String, Value> =
        read_json_if_there(dir.join("tokenizer_config.json"))?.unwrap_or_default();
    let vocab = model.get("vocab").cloned().unwrap_or(Value::Null);
    let role = |name: &str, own: &str| special.get(name).unwrap_or(own).to_owned();
    let known = |token: &str| vocab.get(token).and_then(Value::as_u64);
    let roles = [
        ("pad_token", "[PAD]"),
        ("unk_token", "[UNK]"),
        ("cls_token", "[CLS]"),
        ("sep_token", "[SEP]"),
        ("mask_token", "[MASK]"),
    ];
    // What the class takes for special, even where no file says so.
    let mut added = whole.get("added_tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    for (name, own) in roles {
        let token = role(name, own);
        let there = added.iter().any(|other| other.get("content") == Some(&json!(token)));
        if let Some(id) = known(&token).filter(|_| !there) {
            added.push(
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}),
            );
        }
    }
    added.sort_by_key(|token| token.get("id").and_then(Value::as_u64));
    set(whole, "added_tokens", Value::Array(added));
    let around = |name: &str, own: &str| {
        let token = role(name, own);
        known(&token).map(|id| (token.clone(), id)).ok_or_else(|| TextError::Field {
            file: file.to_owned(),
            field: name.to_owned(),
            found: format!("`{token}`, which the vocabulary lacks"),
            expected: "a token of the vocabulary",
        })
    };
    let ((cls, cls_id), (sep, sep_id)) = (around("cls_token", "[CLS]")?, around("sep_token", "[SEP]")?);
    set(
        whole,
        "model",
        json!({"type": "WordPiece", "vocab": vocab, "unk_token": role("unk_token", "[UNK]"),
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}),
    );
    let flag = |name: &str| settings.get(name).filter(|value| !value.is_null()).cloned();
    set(
        whole,
        "normalizer",
        json!({"type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars").unwrap_or(json!(true)),
            "strip_accents": flag("strip_accents"), "lowercase": flag("do_lower_case").unwrap_or(json!(true))}),
    );
    set(whole, "pre_tokenizer", json!({"type": "BertPreTokenizer"}));
    set(whole, "decoder", json!({"type": "WordPiece", "prefix": "##", "cleanup": true}));
    let token = |token: &str, kind: u8| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
    let one = json!([token(&cls, 0), text("A", 0), token(&sep, 0)]);
    let two = json!([token(&cls, 0), text("A", 0), token(&sep, 0), text("B", 1), token(&sep, 1)]);
    let special = json!({cls.clone(): {"id": cls, "ids": [cls_id], "tokens": [cls]},
        sep.clone(): {"id": sep, "ids": [sep_id], "tokens": [sep]}});
    let steps = json!({"type": "TemplateProcessing", "single": one, "pair": two, "special_tokens": special});
    set(whole, "post_processor", steps);
    Ok(())
}

/// The model of a vocabulary with a token on each line.
///
/// # Errors
/// [`TextError::Config`] if the file cannot be read.
pub(super) fn of_lines(file: &Path) -> Result<Value, TextError> {
    let read = mmlens_files::read_text(file, MOST_TOKENIZER_BYTES);
    let text = read.map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    let vocab: Map<String, Value> =
        text.lines().enumerate().map(|(id, token)| (token.to_owned(), json!(id))).collect();
    Ok(json!({"vocab": vocab}))
}

#[cfg(test)]
mod tests {
    use super::super::{Tokenizer, TokenizerClass};
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
    fn bert_cuts_words_into_pieces_whatever_the_folder_has() {
        let lines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncafe\nCafé\n##s\n円\n?\n";
        let text = folder(&[("vocab.txt", json!(lines))]);
        let open =
            |folder: &tempfile::TempDir| Tokenizer::from_dir_as(folder.path(), TokenizerClass::Bert).unwrap();
        // Lower case without accents, signs apart, the mask known though no file says so.
        assert_eq!(ids(&open(&text), "CAFÉs円円 ?[MASK]x"), [2, 5, 7, 8, 8, 9, 4, 1, 3]);
        assert_eq!(open(&text).decode(&[2, 5, 7, 9, 3], true).unwrap(), "cafes?");
        let cased = folder(&[
            ("vocab.txt", json!(lines)),
            ("tokenizer_config.json", json!({"do_lower_case": false, "tokenizer_class": "BertTokenizer"})),
        ]);
        assert_eq!(ids(&open(&cased), "Cafés cafe"), [2, 6, 7, 5, 3]);
        let bare = folder(&[("vocab.txt", json!("a\n"))]);
        let said = Tokenizer::from_dir_as(bare.path(), TokenizerClass::Bert).unwrap_err().to_string();
        assert!(said.contains("vocab.txt: `cls_token` is `[CLS]`, which the vocabulary lacks"), "{said}");
    }
}
