//! Tokenizers that the library panics over, or that multiply what they are given.

use mmlens_zoo::text::Tokenizer;
use serde_json::{Value, json};

use super::{alone, within};

/// Of a refusal: what parsing takes, and some for the error.
const MOST: f32 = 16.0;

/// A tokenizer of five tokens, changed.
fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut whole = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "a", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "ab": 2, " ": 3, "<s>": 4}, "merges": ["a b"]}});
    change(&mut whole);
    whole
}

/// What is said as a tokenizer is read, as it tokenizes a few words, and as it joins their tokens.
fn said(text: String) -> String {
    within(&text.chars().take(60).collect::<String>(), MOST, move || {
        let work = || {
            let tokenizer = Tokenizer::from_json("tokenizer.json", text.as_bytes(), None)?;
            let words = "Größe ab: \u{fdfa} ".to_owned() + &"a".repeat(200);
            let ids: Vec<u32> = tokenizer.encode(&words, true)?.iter().map(|token| token.id).collect();
            tokenizer.decode(&ids, false)?;
            tokenizer.decode(&[], true)
        };
        work()
            .err()
            .map_or_else(|| "nothing".to_owned(), |error: mmlens_zoo::text::TextError| error.to_string())
    })
}

fn refused(whole: &Value, expected: &str) {
    let said = said(whole.to_string());
    assert!(said.starts_with("tokenizer.json") && said.contains(expected), "{said}\nshould say: {expected}");
    assert!(said.len() < 1000, "{} bytes", said.len());
}

#[test]
fn what_the_library_panics_over_is_an_error_of_the_file() {
    let _one = alone();
    assert_eq!(said(with(|_| ()).to_string()), "nothing");
    let fails = "the library fails";
    refused(&with(|t| t["model"]["continuing_subword_prefix"] = json!("#########")), fails);
    let piece = json!({"SpecialToken": {"id": "<nope>", "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let template = |single: Value| {
        with(|t| {
            t["post_processor"] = json!({"type": "TemplateProcessing", "single": single, "pair": [text],
                "special_tokens": {}});
        })
    };
    refused(&template(json!([piece, text])), fails);
    refused(&template(json!([{"Sequence": {"id": "B", "type_id": 0}}])), fails);
    refused(&with(|t| t["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0})), fails);
    // A trie of one unit, four zero bytes, and no text.
    let map = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="});
    refused(&with(|t| t["normalizer"] = map), fails);
    let huge = with(|t| t["decoder"] = json!({"type": "Strip", "content": " ", "start": 7, "stop": 0}));
    let huge = huge.to_string().replace("\"start\":7", "\"start\":1e999");
    let said_of_it = said(huge);
    assert!(
        said_of_it.starts_with("tokenizer.json:1:") && said_of_it.ends_with(": number out of range"),
        "{said_of_it}"
    );
    // Whatever these are: no panic.
    for pattern in [json!({"String": ""}), json!({"Regex": "^"}), json!({"Regex": ""}), json!({"Regex": "("})]
    {
        for step in ["normalizer", "decoder"] {
            said(
                with(|t| t[step] = json!({"type": "Replace", "pattern": pattern, "content": "x"}))
                    .to_string(),
            );
        }
    }
}

#[test]
fn what_claims_too_much_is_refused_before_it_is_made() {
    let _one = alone();
    let id = |id: u64| with(|t| t["model"]["vocab"]["b"] = json!(id));
    refused(&id(1_000_000_000), "`model.vocab.b` is 1000000000, expected an id below 16777216");
    refused(&id(u64::from(u32::MAX)), "`model.vocab.b` is 4294967295, expected an id below 16777216");
    let added = json!([{"id": 1_000_000_000, "content": "<x>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}]);
    refused(&with(|t| t["added_tokens"] = added), "`added_tokens.0.id` is 1000000000");
    let map = |coded: &str| json!({"type": "Precompiled", "precompiled_charsmap": coded});
    let trie = "`normalizer.precompiled_charsmap` is a trie of 4294967295 bytes in a map of 4";
    refused(&with(|t| t["normalizer"] = map("/////w==")), trie);
    refused(&with(|t| t["normalizer"] = map("%")), "`normalizer.precompiled_charsmap` is no text in base 64");
    let words = json!({"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 1_000_000_000_000_u64, "vocab": {"a": 0}});
    refused(
        &with(|t| t["model"] = words),
        "`model.max_input_chars_per_word` is 1000000000000, expected at most 1024",
    );
    let nested = (0..60)
        .fold(json!({"type": "Lowercase"}), |step, _| json!({"type": "Sequence", "normalizers": [step]}));
    refused(&with(|t| t["normalizer"] = nested), "`normalizer` is nested 61 deep");
    let deep = format!("{{\"normalizer\": {}", "[".repeat(100_000));
    let said_of_it = said(deep);
    assert!(
        said_of_it.starts_with("tokenizer.json:1:") && said_of_it.ends_with(": recursion limit exceeded"),
        "{said_of_it}"
    );
    let many = format!("[{}0]", "0,".repeat(1 << 22));
    assert_eq!(said(many), "tokenizer.json: it has 4194306 values, expected at most 4194304");
}

#[test]
fn what_multiplies_is_refused_before_it_does() {
    let _one = alone();
    let times = |step: &Value, times: usize| vec![step.clone(); times];
    let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"});
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let twice = json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {}});
    for (field, list, step, number) in [
        ("normalizer", "normalizers", &replace, 12),
        ("normalizer", "normalizers", &json!({"type": "ByteLevel"}), 60),
        ("pre_tokenizer", "pretokenizers", &bytes, 60),
        ("post_processor", "processors", &twice, 60),
        ("decoder", "decoders", &replace, 12),
    ] {
        let steps = json!({"type": "Sequence", list: times(step, number)});
        refused(&with(|t| t[field] = steps), &format!("`{field}` may make "));
    }
    // Twice as long is not too long.
    let some = json!({"type": "Sequence", "normalizers": times(&json!({"type": "ByteLevel"}), 1)});
    assert_eq!(said(with(|t| t["normalizer"] = some).to_string()), "nothing");
}

#[test]
fn a_text_that_is_too_long_is_refused_with_the_most_there_may_be() {
    let _one = alone();
    let whole = with(|t| t["normalizer"] = json!({"type": "NFC"})).to_string();
    let said = within("a long text", 64.0, move || {
        let tokenizer = Tokenizer::from_json("tokenizer.json", whole.as_bytes(), None).unwrap();
        tokenizer.encode(&"a".repeat(6 << 20), false).unwrap_err().to_string()
    });
    // 2^24 bytes, three for each at most
    assert!(
        said.ends_with("could not tokenize: a text of 6291456 bytes, expected at most 5592405"),
        "{said}"
    );
}
