//! Configs that say something else: what is not supported is refused by its name, with what is; what cannot be is an error;
//! nothing is a panic.

use std::cell::Cell;
use std::path::Path;

use burn::tensor::Device;
use mmlens_core::finding::finite;
use mmlens_core::{Plan, Subject};
use mmlens_zoo::{DecoderConfig, ZooError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use super::every::{Opened, every, said};

/// A folder's files with another config.
fn with_config(folder: &Path, config: &Value) -> tempfile::TempDir {
    with_file(folder, "config.json", config)
}

fn with_file(folder: &Path, name: &str, content: &Value) -> tempfile::TempDir {
    let changed = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != name {
            std::fs::copy(&path, changed.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    std::fs::write(changed.path().join(name), serde_json::to_vec(content).unwrap()).unwrap();
    changed
}

fn config(folder: &Opened) -> Value {
    serde_json::from_slice(&std::fs::read(folder.folder.join("config.json")).unwrap()).unwrap()
}

fn open(folder: &Path) -> Result<Box<dyn Subject>, ZooError> {
    mmlens_zoo::open(folder, &Device::flex())
}

fn refused(folder: &Opened, config: &Value) -> String {
    match open(with_config(&folder.folder, config).path()) {
        Ok(_) => panic!("{}: opened with {config}", folder.name),
        Err(error) => error.to_string(),
    }
}

/// The config of the decoder within a config, where there is one.
fn decoder(config: &mut Value) -> Option<&mut Map<String, Value>> {
    let known = |kind: &Value| DecoderConfig::families().any(|family| kind == family);
    let within = config.get("text_config").is_some_and(|text| text.get("model_type").is_none_or(known));
    let language = !matches!(config["model_type"].as_str(), Some("clip" | "siglip" | "blip"));
    if within && language {
        return config["text_config"].as_object_mut();
    }
    known(&config["model_type"]).then(|| config.as_object_mut()).flatten()
}

#[test]
fn an_unknown_model_type_is_refused_with_those_known() {
    for folder in every() {
        let mut config = config(&folder);
        config["model_type"] = json!("t5");
        let said = refused(&folder, &config);
        assert!(said.contains("model_type`: `t5` is not supported; supported: "), "{}: {said}", folder.name);
        assert!(["llava", "gpt2", "clip"].iter().all(|kind| said.contains(kind)), "{said}");
    }
}

#[test]
fn an_unknown_decoder_within_is_refused_with_those_known() {
    let mut tried = 0;
    for folder in every() {
        let mut config = config(&folder);
        let within = config.get("text_config").is_some();
        if let Some(text) = decoder(&mut config).filter(|_| within) {
            text.insert("model_type".to_owned(), json!("mamba"));
            let said = refused(&folder, &config);
            assert!(said.contains("`mamba`") && said.contains("supported"), "{}: {said}", folder.name);
            tried += 1;
        }
    }
    assert!(tried > 4);
}

/// SmolVLM's and Idefics3's folders on the hub name their tower as the whole.
#[test]
fn a_tower_named_as_the_whole_is_the_same_tower() {
    let mut tried = 0;
    for folder in every().iter().filter(|folder| ["smolvlm", "idefics3"].contains(&folder.kind().as_str())) {
        for name in ["idefics3", "smolvlm"] {
            let mut config = config(folder);
            config["vision_config"]["model_type"] = json!(name);
            let subject = open(with_config(&folder.folder, &config).path()).unwrap();
            assert_eq!(subject.anatomy(), folder.subject.anatomy());
            tried += 1;
        }
    }
    assert!(tried > 3);
}

#[test]
fn quantised_checkpoints_are_refused_by_name() {
    for folder in every() {
        let mut config = config(&folder);
        config["quantization_config"] = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
        let said = refused(&folder, &config);
        assert!(
            said.contains("quantization_config") && said.contains("bitsandbytes"),
            "{}: {said}",
            folder.name
        );
        assert!(said.contains("f32, f16 and bf16"), "{}: {said}", folder.name);
    }
}

/// What stands in a part of a config is refused as it is at the top: quantised weights, another kind of part, another
/// nonlinearity.
#[test]
fn what_a_part_of_a_config_says_is_refused_by_its_field() {
    let mut tried = 0;
    for folder in every() {
        for part in ["text_config", "vision_config"] {
            let whole = config(&folder);
            let Some(own) = whole.get(part).and_then(Value::as_object) else { continue };
            if whole.get(format!("{part}_dict")).is_some() {
                continue; // What CLIP's oldest configs say there stands above it.
            }
            let act = if own.contains_key("hidden_activation") { "hidden_activation" } else { "hidden_act" };
            for (field, value, found) in [
                ("quantization_config", json!({"quant_method": "gptq"}), "`gptq`"),
                ("compression_config", json!({}), "`a quantised checkpoint`"),
                ("model_type", json!("mamba"), "`mamba`"),
                (act, json!("snake"), "`snake`"),
            ] {
                let mut config = whole.clone();
                config[part][field] = value;
                let said = refused(&folder, &config);
                assert!(
                    said.contains(&format!("{part}.{field}"))
                        && said.contains(&format!("{found} is not supported; supported: ")),
                    "{}: {said}",
                    folder.name
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 40);
}

#[test]
fn adapters_beside_the_weights_are_refused() {
    for folder in every() {
        let changed = with_file(&folder.folder, "adapter_config.json", &json!({"peft_type": "LORA"}));
        let said = open(changed.path()).err().unwrap().to_string();
        assert!(said.contains("adapter_config.json") && said.contains("merged"), "{}: {said}", folder.name);
    }
}

#[test]
fn an_unknown_rope_type_is_refused_with_those_known() {
    let mut tried = 0;
    for folder in every() {
        for field in ["rope_scaling", "rope_parameters"] {
            let mut config = config(&folder);
            let Some(text) =
                decoder(&mut config).filter(|text| text.get("model_type") != Some(&json!("gpt2")))
            else {
                continue;
            };
            let older = text.remove("rope_scaling").filter(Value::is_object);
            let mut settings = older.or(text.remove("rope_parameters")).unwrap_or_else(|| json!({}));
            settings["rope_type"] = json!("spiral");
            text.insert(field.to_owned(), settings);
            let said = refused(&folder, &config);
            assert!(
                said.contains("`spiral` is not supported") && said.contains("yarn, longrope"),
                "{}: {said}",
                folder.name
            );
            tried += 1;
        }
    }
    assert!(tried > 20);
}

#[test]
fn an_unknown_nonlinearity_is_refused_with_those_known() {
    let mut tried = 0;
    for folder in every() {
        let mut config = config(&folder);
        let Some(text) = decoder(&mut config) else { continue };
        let field = match text.get("model_type").and_then(Value::as_str) {
            Some("gpt2") => "activation_function",
            Some("gemma2") => "hidden_activation",
            _ => "hidden_act",
        };
        text.insert(field.to_owned(), json!("snake"));
        let said = refused(&folder, &config);
        assert!(
            said.contains(field) && said.contains("`snake` is not supported; supported: gelu, "),
            "{said}"
        );
        tried += 1;
    }
    assert!(tried > 10);
}

/// What is said of other rotary settings.
fn refused_rope(name: &str, parameters: Value) -> String {
    let folder = every().into_iter().find(|folder| folder.name == name).unwrap();
    let mut config = config(&folder);
    config["rope_parameters"] = parameters;
    refused(&folder, &config)
}

#[test]
fn options_of_one_family_are_refused_by_name() {
    let refuse = |name: &str, field: &str, value: Value| {
        let folder = every().into_iter().find(|folder| folder.name == name).unwrap();
        let mut config = config(&folder);
        config[field] = value;
        let said = refused(&folder, &config);
        assert!(said.contains(field.trim_start_matches("use_")), "{name}: {said}");
        said
    };
    let said = refuse("gemma2-a", "use_bidirectional_attention", json!(true));
    assert!(said.contains("`true` is not supported; supported: false"), "{said}");
    refuse("gemma2-a", "attn_logit_softcapping", json!(0.0));
    refuse("gemma2-a", "sliding_window", json!(0));
    refuse("gemma2-b", "sliding_window", json!(null));
    // transformers cuts the cache of a family without windows, so that its generation differs from its own pass.
    for name in ["llama-a", "gpt2-a"] {
        let said = refuse(name, "sliding_window", json!(4));
        assert!(said.contains("sliding_window`: `4` is not supported; supported: null, or the"), "{said}");
    }
    let said = refuse("qwen3-a", "use_sliding_window", json!(false));
    assert!(said.ends_with("since `layer_types` has sliding_attention"), "{said}");
    refuse("gpt2-a", "add_cross_attention", json!(true));
    refuse("qwen3-a", "layer_types", json!(["full_attention"]));
    let said =
        refuse("qwen3-a", "layer_types", json!(["full_attention", "chunked_attention", "full_attention"]));
    assert!(
        said.contains("`chunked_attention` is not supported; supported: full_attention, sliding_attention")
    );
    refuse("llama-a", "partial_rotary_factor", json!(0.5));
    refuse("llama-a", "num_key_value_heads", json!(3));
    refuse("llama-a", "head_dim", json!(5));
    let nested =
        json!({"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default"}});
    let said = refused_rope("qwen3-a", nested);
    assert!(
        said.contains("`full_attention, one of several by the kind of block` is not supported"),
        "{said}"
    );
    let zero = json!({"rope_type": "linear", "factor": 0.0});
    let said = refused_rope("llama-a", zero);
    assert!(said.contains("`factor` = 0, expected a number above 0"), "{said}");
}

/// Places of a JSON value: those of its objects' fields, however deep.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    if let Value::Object(map) = value {
        for (key, inner) in map {
            let here = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            into.push(here.clone());
            places(inner, &here, into);
        }
    }
}

fn strange() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Value::Null)),
        6 => prop_oneof![
            Just(0_i64), Just(-1), Just(1), Just(2), Just(3), Just(7), Just(1 << 20), Just(1 << 40), Just(i64::MAX)
        ].prop_map(|n| Some(json!(n))),
        2 => prop_oneof![Just(0.5), Just(1e-30), Just(1e30), Just(-2.5)].prop_map(|x| Some(json!(x))),
        2 => prop_oneof![Just(""), Just("nonsense"), Just("relu")].prop_map(|s| Some(json!(s))),
        1 => any::<bool>().prop_map(|b| Some(json!(b))),
        1 => Just(Some(json!([]))),
        1 => Just(Some(json!([1, 1, 1]))),
        1 => Just(Some(json!({}))),
    ]
}

/// Opens a changed folder, and where it still opens, runs it: an error in words, or finite numbers. How far it came.
fn try_it(folder: &Opened, changed: &Path, what: &str) -> Came {
    let told = |said: String| assert!(said.split_whitespace().count() > 3, "{what}: {said}");
    let subject = match open(changed) {
        Ok(subject) => subject,
        Err(error) => {
            told(error.to_string());
            return Came::Refused;
        }
    };
    let inputs = match subject.encode(&folder.samples[0]) {
        Ok(inputs) => inputs.all_logits(),
        Err(error) => {
            told(error.to_string());
            return Came::Opened;
        }
    };
    match subject.run(&inputs, Plan::new()) {
        Ok(trace) => {
            let said = said(&trace);
            if let Err(error) = finite(&said) {
                panic!("{what}: {error}");
            }
            Came::Through
        }
        Err(error) => {
            told(error.to_string());
            Came::Opened
        }
    }
}

/// What a folder's settings are read from.
const FILES: [&str; 4] =
    ["config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"];

/// One of these files, if the folder has it.
fn json_of(folder: &Opened, file: &str) -> Option<Value> {
    let text = std::fs::read(folder.folder.join(file)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

#[derive(PartialEq)]
enum Came {
    Refused,
    Opened,
    Through,
}

#[test]
fn no_config_makes_it_panic() {
    let (refused, through) = (Cell::new(0), Cell::new(0));
    for folder in every() {
        let came = try_it(&folder, &folder.folder, &folder.name);
        assert!(came == Came::Through, "{} as it is", folder.name);
        for file in FILES {
            let Some(original) = json_of(&folder, file) else { continue };
            let mut all = Vec::new();
            places(&original, "", &mut all);
            if all.is_empty() {
                continue;
            }
            let cases = if file == "config.json" { 48 } else { 16 };
            let config = Config { cases, failure_persistence: None, ..Config::default() };
            let tried =
                TestRunner::new(config).run(&(any::<prop::sample::Index>(), strange()), |(which, value)| {
                    let place = which.get(&all);
                    let mut changed = original.clone();
                    let what = format!("{} {file}{place} = {value:?}", folder.name);
                    match value {
                        Some(value) => *changed.pointer_mut(place).unwrap() = value,
                        None => {
                            let (parent, key) = place.rsplit_once('/').unwrap();
                            changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
                        }
                    }
                    let came = try_it(&folder, with_file(&folder.folder, file, &changed).path(), &what);
                    refused.set(refused.get() + usize::from(came == Came::Refused));
                    through.set(through.get() + usize::from(came == Came::Through));
                    Ok(())
                });
            if let Err(error) = tried {
                panic!("{}: {error}", folder.name);
            }
        }
    }
    // Half of the fields say what the weights say, too; a third is looked at by nobody.
    let (refused, through) = (refused.get(), through.get());
    assert!(refused > 300 && through > 300, "{refused} refused, {through} ran through");
}

/// Every number with a fraction (what lies below a root, a base, a cap, a stretch) at every value that a root, a quotient or a
/// logarithm does not take; every whole number (a size, a count, an id) at those whose products or sums no register holds.
#[test]
fn no_number_of_a_config_makes_what_is_no_number() {
    let fractions: Vec<Value> =
        [-1.0, -0.0, 0.0, 1e-300, 1e-38, 1e-12, 1.0, 1e12, 1e38, 1e300, -1e300].map(|x| json!(x)).into();
    let wholes = vec![
        json!(-1),
        json!(0),
        json!(1_i64 << 24),
        json!((1_i64 << 31) - 1),
        json!(1_i64 << 32),
        json!(1_i64 << 62),
        json!(i64::MAX),
        json!(u64::MAX),
    ];
    let (mut tried, mut tried_whole) = (0, 0);
    for folder in every() {
        for file in FILES {
            let Some(original) = json_of(&folder, file) else { continue };
            let mut all = Vec::new();
            places(&original, "", &mut all);
            for place in all {
                let (extremes, count) = match original.pointer(&place) {
                    Some(number) if number.is_f64() => (&fractions, &mut tried),
                    Some(number) if number.is_number() => (&wholes, &mut tried_whole),
                    _ => continue,
                };
                for extreme in extremes {
                    let mut changed = original.clone();
                    changed.pointer_mut(&place).unwrap().clone_from(extreme);
                    let what = format!("{} {file}{place} = {extreme}", folder.name);
                    try_it(&folder, with_file(&folder.folder, file, &changed).path(), &what);
                    *count += 1;
                }
            }
        }
    }
    assert!(tried > 1000 && tried_whole > 4000, "{tried} fractions, {tried_whole} whole numbers");
}

/// What a config leaves out is the default of its class or an error, and never another model in silence: with a field
/// gone, a folder says what it said, or is refused.
#[test]
fn a_missing_field_never_changes_a_size_in_silence() {
    let (mut opened, mut refused) = (0, 0);
    for folder in every() {
        let original = config(&folder);
        for field in original.as_object().unwrap().keys() {
            let mut changed = original.clone();
            changed.as_object_mut().unwrap().remove(field);
            match open(with_config(&folder.folder, &changed).path()) {
                Err(error) => {
                    assert!(error.to_string().split_whitespace().count() > 3, "{error}");
                    refused += 1;
                }
                Ok(subject) => {
                    opened += 1;
                    assert_eq!(
                        subject.anatomy().len(),
                        folder.subject.anatomy().len(),
                        "{} without {field}",
                        folder.name
                    );
                    for (now, before) in subject.anatomy().iter().zip(folder.subject.anatomy()) {
                        let mut now = now.clone();
                        // How the same matrices are divided among heads cannot be seen in them.
                        (now.heads, now.kv_heads, now.d_head) =
                            (before.heads, before.kv_heads, before.d_head);
                        // Nor how many rotary positions it was made for: the default of its class.
                        now.made_for = before.made_for;
                        assert!(
                            &now == before || field.contains("text_config"),
                            "{} without {field}: {now:?}",
                            folder.name
                        );
                    }
                }
            }
        }
    }
    assert!(opened > 200 && refused > 100, "{opened} opened, {refused} refused");
}
