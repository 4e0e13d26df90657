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
    for (field, list, step, number) in [
        ("normalizer", "normalizers", &replace, 12),
        ("normalizer", "normalizers", &json!({"type": "ByteLevel"}), 60),
        ("pre_tokenizer", "pretokenizers", &bytes, 60),
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

/// Ids around a text that are no token's: the model would refuse them, with the sample blamed and no file named.
#[test]
fn ids_around_a_text_are_of_tokens() {
    let _one = alone();
    let none = "4294967295, an id that none of the 5 tokens has, expected the id of a token";
    for kind in ["BertProcessing", "RobertaProcessing"] {
        let step = |sep: u64, cls: u64| {
            with(|t| {
                t["post_processor"] = json!({"type": kind, "sep": ["b", sep], "cls": ["a", cls],
                    "trim_offsets": true, "add_prefix_space": false});
            })
        };
        refused(&step(u64::from(u32::MAX), 0), &format!("`post_processor.sep.1` is {none}"));
        refused(&step(1, 5), "`post_processor.cls.1` is 5, an id that none of the 5 tokens has");
        assert_eq!(said(step(1, 0).to_string()), "nothing", "{kind}");
    }
    let template = |ids: Value| {
        json!({"type": "TemplateProcessing", "single": [special("<s>"), text()], "pair": [text()],
            "special_tokens": {"<s>": {"id": "<s>", "ids": ids, "tokens": ["<s>"]}}})
    };
    let named = "post_processor.special_tokens.<s>.ids.0";
    refused(
        &with(|t| t["post_processor"] = template(json!([4_294_967_295_u64]))),
        &format!("`{named}` is {none}"),
    );
    assert_eq!(said(with(|t| t["post_processor"] = template(json!([4]))).to_string()), "nothing");
    let nested = json!({"type": "Sequence", "processors": [template(json!([4])), template(json!([9]))]});
    let named = "`post_processor.processors.1.special_tokens.<s>.ids.0` is 9";
    refused(&with(|t| t["post_processor"] = nested), named);
    // A token that was added counts, also one of `tokenizer_config.json`, which is read later.
    let whole = with(|t| t["post_processor"] = template(json!([5]))).to_string();
    let config = json!({"added_tokens_decoder": {"5": {"content": "<x>", "special": true}}}).to_string();
    let said = within("an added token", MOST, move || {
        let read = |config| Tokenizer::from_json("tokenizer.json", whole.as_bytes(), config);
        let ids = read(Some(config.as_bytes())).unwrap().encode("ab", true).unwrap();
        (read(None).is_err(), ids.iter().map(|token| token.id).collect::<Vec<_>>())
    });
    assert_eq!(said, (true, vec![5, 2]));
}

fn text() -> Value {
    json!({"Sequence": {"id": "A", "type_id": 0}})
}

fn special(id: &str) -> Value {
    json!({"SpecialToken": {"id": id, "type_id": 0}})
}

/// A model without a table of positions would run for minutes over what two words become.
#[test]
fn what_stands_around_a_text_has_an_end() {
    let _one = alone();
    let template = |single: Vec<Value>, ids: usize| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [text()],
            "special_tokens": {"<s>": {"id": "<s>", "ids": vec![4; ids], "tokens": vec!["<s>"; ids]}}})
    };
    let of = |step: Value| with(|t| t["post_processor"] = step);
    let expected = "expected the text twice at most, and at most 256 tokens";
    let many = template(vec![text(); 10_000], 1);
    let found = format!("`post_processor.single` is the text 10000 times and 0 tokens around it, {expected}");
    refused(&of(many), &found);
    let around = |tokens: usize| [vec![special("<s>"); tokens], vec![text()]].concat();
    let found = format!("`post_processor.single` is the text 1 times and 257 tokens around it, {expected}");
    refused(&of(template(around(257), 1)), &found);
    // One token of many ids.
    let found = format!("`post_processor.single` is the text 1 times and 300 tokens around it, {expected}");
    refused(&of(template(around(1), 300)), &found);
    // Twice is allowed once.
    let twice = || template(vec![text(), text()], 1);
    let steps = json!({"type": "Sequence", "processors": [twice(), twice()]});
    refused(&of(steps), &format!("`post_processor` is the text 4 times and 0 tokens around it, {expected}"));
    for whole in [of(template(around(256), 1)), of(twice())] {
        assert_eq!(said(whole.to_string()), "nothing");
    }
}

/// Whatever step it is that makes a long sequence of a short text.
#[test]
fn few_words_do_not_become_many_tokens() {
    let _one = alone();
    let prepended = |bytes: usize| {
        with(|t| t["normalizer"] = json!({"type": "Prepend", "prepend": " ".repeat(bytes)})).to_string()
    };
    let said = within("a long prefix", 64.0, move || {
        let read = |bytes| Tokenizer::from_json("tokenizer.json", prepended(bytes).as_bytes(), None).unwrap();
        // 64 tokens for each of two bytes, and 512: of these the text takes two
        let least = read(638).encode("a ", false).map(|tokens| tokens.len());
        (least.unwrap(), read(20_000).encode("a ", false).unwrap_err().to_string())
    });
    let told = "tokenizer.json: could not tokenize: its steps make 20002 tokens of a text of 2 bytes, expected at most 640";
    assert_eq!((said.0, said.1.as_str()), (640, told));
}
