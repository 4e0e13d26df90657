//! Tokenizers and chat templates against transformers, from the first word to the ids a model is given.

use std::path::{Path, PathBuf};

use mmlens_zoo::checkpoint::Checkpoint;
use mmlens_zoo::text::{
    ChatOptions, ChatTemplate, Message, SpecialTokens, TextError, Tokenizer, expand_image_tokens,
};
use serde_json::{Value, json};

const MODELS: [&str; 4] = ["llava-a", "llava-b", "llava-multi", "llava-old"];

/// Renderings that differ from Jinja's, and why. Each must differ, so that none outlives its reason.
const KNOWN: &[(&str, &str)] = &[("odds and ends 15", "minijinja has no `%` between a text and a value")];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn model(name: &str) -> PathBuf {
    fixtures().join(name).join("model")
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[test]
fn tokens_are_those_of_transformers() {
    let mut compared = 0;
    for name in MODELS {
        let tokenizer = Tokenizer::from_dir(model(name)).unwrap();
        for case in json_of(&fixtures().join(name).join("tokens.json")).as_array().unwrap() {
            let said = text(case, "text");
            let tokens = tokenizer.encode(said, case["add_special_tokens"].as_bool().unwrap()).unwrap();
            let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            assert_eq!(json!(ids), case["ids"], "{name}: {said:?}");
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text(case, "decoded"), "{name}: {said:?}");
            assert_eq!(
                tokenizer.decode(&ids, true).unwrap(),
                text(case, "decoded_without_special"),
                "{name}: {said:?}"
            );
            for (start, end) in tokens.iter().filter_map(|token| token.bytes) {
                assert!(start <= end && said.get(start..end).is_some(), "{name}: {said:?} {start}..{end}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 40, "{compared}");
}

#[test]
fn tokens_know_their_place_in_the_text() {
    let tokenizer = Tokenizer::from_dir(model("llava-a")).unwrap();
    let said = "Größe: <image> red 円";
    let tokens = tokenizer.encode(said, true).unwrap();
    assert_eq!(tokens[0].bytes, None, "the tokenizer added it");
    let image = tokenizer.image_token(model("llava-a")).unwrap().unwrap();
    assert_eq!(image.1, "<image>");
    let placed = tokens.iter().find(|token| token.id == image.0).unwrap();
    assert_eq!(placed.bytes, Some((9, 16)), "ö and ß have two bytes each");
    // Together the tokens cover every byte but spaces, which this tokenizer leaves out of its places.
    let mut covered = vec![false; said.len()];
    for (start, end) in tokens.iter().filter_map(|token| token.bytes) {
        covered[start..end].fill(true);
    }
    for (at, byte) in said.bytes().enumerate() {
        assert!(covered[at] || byte == b' ', "byte {at}");
    }
}

#[test]
fn pieces_can_be_read() {
    for name in MODELS {
        let tokenizer = Tokenizer::from_dir(model(name)).unwrap();
        let tokens = tokenizer.encode("a red 円\n", false).unwrap();
        let shown: String = tokens.iter().map(|token| tokenizer.piece(token.id).unwrap()).collect();
        let start = if name == "llava-old" { "␣" } else { "" };
        assert_eq!(shown.replace("\\xE5\\x86\\x86", "円"), format!("{start}a␣red␣円\\n"), "{name}");
    }
    let tokenizer = Tokenizer::from_dir(model("llava-a")).unwrap();
    let error = tokenizer.piece(100_000).unwrap_err().to_string();
    assert!(error.ends_with("there is no token 100000; there are 320 tokens"), "{error}");
    assert!(matches!(tokenizer.decode(&[1, 100_000], true), Err(TextError::NoToken { id: 100_000, .. })));
}

#[test]
fn templates_render_as_in_transformers() {
    let fixture = json_of(&fixtures().join("templates/cases.json"));
    let roles = fixture["special_tokens"].as_object().unwrap();
    let special =
        SpecialTokens::from_roles(roles.iter().map(|(role, token)| (role, token.as_str().unwrap())));
    assert_eq!(text(&fixture, "now"), "2025-02-03T04:05:06");
    // 20122 days after 1970, and 4 h 5 min 6 s
    let now = 20_122 * 86_400 + 4 * 3600 + 5 * 60 + 6;
    let mut wrong = Vec::new();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 54);
    for case in cases {
        let label = text(case, "label");
        let source = text(&fixture["templates"], text(case, "template"));
        let mut options = ChatOptions::default().now(now);
        for (name, value) in case["kwargs"].as_object().unwrap() {
            match name.as_str() {
                "add_generation_prompt" => options.add_generation_prompt = value.as_bool().unwrap(),
                _ => options = options.variable(name, value.clone()),
            }
        }
        let rendered = ChatTemplate::new(label, source, special.clone())
            .and_then(|t| t.render_json(&case["messages"], &options));
        let known = KNOWN.iter().any(|(known, _)| *known == label);
        let problem = match (rendered, case["text"].as_str()) {
            (Ok(rendered), Some(expected)) if rendered == expected => None,
            (Ok(rendered), expected) => Some(format!("{label}:\n  {rendered:?}\n  {expected:?}")),
            (Err(TextError::Refused { message, .. }), None) if message == text(case, "error") => None,
            (Err(error), expected) => Some(format!("{label}: {error}\n  {expected:?}")),
        };
        match problem {
            Some(problem) if !known => wrong.push(problem),
            None if known => wrong.push(format!("{label}: renders as it should, so it need not be listed")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Words and pictures, as they stand in the trace of a model, become the ids the model was given.
#[test]
fn prompts_become_the_ids_of_the_trace() {
    let mut rows_compared = 0;
    for name in MODELS {
        let folder = fixtures().join(name);
        let tokenizer = Tokenizer::from_dir(model(name)).unwrap();
        let template = ChatTemplate::from_dir(model(name)).unwrap();
        let (image, _) = tokenizer.image_token(model(name)).unwrap().unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "safetensors"));
        files.sort();
        for file in files {
            let trace = Checkpoint::open(&file).unwrap();
            let about: Value = serde_json::from_str(&trace.metadata()["about"]).unwrap();
            let all = trace.integers("input_ids").unwrap();
            let width = trace.info("input_ids").unwrap().shape[1];
            for (at, row) in about["rows"].as_array().unwrap().iter().enumerate() {
                let pictures = row["images"].as_array().unwrap().len();
                let tokens = if let Some(asked) = row["ask"].as_str() {
                    let rendered =
                        template.render(&[Message::user(pictures, asked)], &ChatOptions::ask()).unwrap();
                    assert_eq!(rendered, about["prompts"][at].as_str().unwrap(), "{}", file.display());
                    tokenizer.encode_chat(&rendered).unwrap()
                } else {
                    tokenizer.encode(text(row, "prompt"), true).unwrap()
                };
                let expected: Vec<u32> =
                    all[at * width..(at + 1) * width].iter().map(|&id| u32::try_from(id).unwrap()).collect();
                let places = expected.iter().filter(|&&id| id == image).count();
                let counts = vec![places / pictures.max(1); pictures];
                let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
                let ids = expand_image_tokens(&ids, image, &counts).unwrap().ids;
                let (padding, given) = expected.split_at(width - ids.len());
                assert_eq!(ids, given, "{}", file.display());
                assert!(
                    padding.iter().all(|&id| Some(id) == tokenizer.special_id("pad_token")),
                    "{}",
                    file.display()
                );
                rows_compared += 1;
            }
        }
    }
    assert!(rows_compared >= 20, "{rows_compared}");
}

#[test]
fn templates_are_found_where_they_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, write) =
        (folder.path(), |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap());
    let rendered = || ChatTemplate::from_dir(dir).unwrap().render(&[], &ChatOptions::default()).unwrap();
    let error = ChatTemplate::from_dir(dir).unwrap_err().to_string();
    assert!(error.contains("no chat template: no `chat_template.jinja`"), "{error}");

    write(
        "tokenizer_config.json",
        r#"{"chat_template": "from the tokenizer of {{ bos_token }}", "bos_token": {"content": "B"}}"#,
    );
    assert_eq!(rendered(), "from the tokenizer of B");
    // transformers looks into the older file first, and into the processor's own before all.
    write("chat_template.jinja", "from its own file\n");
    assert_eq!(rendered(), "from its own file");
    write("chat_template.json", r#"{"chat_template": "from its own JSON"}"#);
    assert_eq!(rendered(), "from its own JSON");
    write(
        "processor_config.json",
        r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#,
    );
    assert_eq!(rendered(), "d");
    assert_eq!(ChatTemplate::named(dir, "rag").unwrap().render(&[], &ChatOptions::default()).unwrap(), "r");
    let error = ChatTemplate::named(dir, "tools").unwrap_err().to_string();
    assert!(error.ends_with("no chat template called `tools`; there are rag, default"), "{error}");
}

#[test]
fn errors_name_the_template_and_the_line() {
    let special = || SpecialTokens::from_roles([("bos_token", "<s>")]);
    let error = ChatTemplate::new("chat.jinja", "a\n{% if %}", special()).unwrap_err().to_string();
    assert!(error.starts_with("chat.jinja:2: syntax error"), "{error}");
    let render = |source: &str| {
        ChatTemplate::new("chat.jinja", source, special())
            .unwrap()
            .render(&[Message::user(1, "Hi")], &ChatOptions::ask())
    };
    let error = render("\n\n{{ raise_exception('No ' + bos_token) }}").unwrap_err();
    assert_eq!(error.to_string(), "chat.jinja:3: the template refuses these messages: No <s>");
    let error = render("{{ messages[0].nothing.more }}").unwrap_err().to_string();
    assert!(error.starts_with("chat.jinja:1: undefined value"), "{error}");
    let error = render("{{ strftime_now('%Q') }}").unwrap_err().to_string();
    assert_eq!(error, "chat.jinja:1: invalid operation: `%Q` has a directive that is not known");
}

#[test]
fn broken_tokenizers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Tokenizer::from_dir(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: could not be read"), "{error}");
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    let error = Tokenizer::from_dir(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: not a tokenizer"), "{error}");

    let good = std::fs::read(model("llava-a").join("tokenizer.json")).unwrap();
    let with = |config: Value| Tokenizer::from_json("test", &good, Some(config.to_string().as_bytes()));
    let error = with(json!({"added_tokens_decoder": {"7": {"content": "<image>"}}})).unwrap_err().to_string();
    assert_eq!(
        error,
        "test: `added_tokens_decoder.7` is `<image>`, which has the id Some(319), expected the token of that id"
    );
    let error = with(json!({"added_tokens_decoder": {"seven": {}}})).unwrap_err().to_string();
    assert_eq!(error, "test: `added_tokens_decoder.seven` is `seven`, expected a token id as its name");
    let plain = with(json!({})).unwrap();
    assert!(plain.is_special(316) && !plain.is_special(40));
}
