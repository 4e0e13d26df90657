//! Folders in which a file is something else, claims too much, or says what cannot be.

use std::fs::{self, File};
use std::path::Path;

use burn::tensor::Device;
use mmlens_core::{Picture, Sample};
use serde_json::{Value, json};

use super::{alone, copy, within};

/// Of a refusal: the small model, what was parsed of it, and the files read so far.
const MOST: f32 = 128.0;

fn said(folder: &Path) -> String {
    let path = folder.to_owned();
    within(&folder.display().to_string(), MOST, move || {
        let opened = mmlens_zoo::OpenOptions::new(&Device::flex()).self_check(false).open(&path);
        opened.map_or_else(|error| error.to_string(), |_| "nothing".to_owned())
    })
}

fn edited(model: &str, file: &str, change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, String) {
    let folder = copy(model);
    let path = folder.path().join(file);
    let mut whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut whole);
    fs::write(&path, whole.to_string()).unwrap();
    let said = said(folder.path());
    (folder, said)
}

/// What stands in the place of a file.
#[cfg(unix)]
fn instead(path: &Path, what: &str) {
    let _ = fs::remove_file(path);
    match what {
        "a folder" => fs::create_dir(path).unwrap(),
        "a pipe" => {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }
        "a device" => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        _ => File::create(path).unwrap().set_len(1 << 40).unwrap(),
    }
}

#[cfg(unix)]
/// What may stand in the place of a file, and what is said of it.
const NO_FILES: [(&str, &str); 4] = [
    ("a folder", "it is a folder, expected a regular file"),
    ("a pipe", "it is a pipe, expected a regular file"),
    ("a device", "it is a device, expected a regular file"),
    ("a sparse file", "it has 1099511627776 bytes, expected at most "),
];

#[test]
fn a_reference_that_is_no_file_is_refused() {
    let _one = alone();
    for (what, expected) in NO_FILES {
        let folder = copy("llava-a");
        let path = folder.path().join("config.json");
        instead(&path, what);
        let said = mmlens_zoo::certify::samples(&path, folder.path()).unwrap_err().to_string();
        assert!(said.contains("config.json") && said.contains(expected), "{what}: {said}");
    }
}

#[test]
fn what_is_no_file_is_refused_wherever_one_is_read() {
    let _one = alone();
    let files = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "processor_config.json",
        "generation_config.json",
        "chat_template.jinja",
        "model.safetensors",
        "model.safetensors.index.json",
    ];
    for file in files {
        for (what, expected) in NO_FILES {
            let folder = copy("llava-a");
            let path = folder.path().join(file);
            if file.ends_with("index.json") {
                fs::remove_file(folder.path().join("model.safetensors")).unwrap();
            }
            instead(&path, what);
            let said = said(folder.path());
            // Of weights only the header is read.
            let expected = match (file, what) {
                ("model.safetensors", "a sparse file") => "not a whole safetensors file",
                _ => expected,
            };
            assert!(said.contains(file) && said.contains(expected), "{file}, {what}: {said}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_file_and_field() {
    let _one = alone();
    let config = |change: &dyn Fn(&mut Value)| edited("llava-a", "config.json", |c| change(c)).1;
    for (field, value, expected) in [
        ("text_config", json!(7), "config.json: `text_config` = integer `7`, expected an object"),
        ("text_config", json!([1]), "config.json: `text_config.0` = integer `1`, expected a string"),
        ("vision_config", json!("x"), "config.json: `vision_config` = string \"x\", expected an object"),
    ] {
        let said = config(&|c| c[field] = value.clone());
        assert!(said.contains(expected), "{said}\nshould say: {expected}");
    }
    let said = config(&|c| c["text_config"]["rope_scaling"] = json!({"type": "linear"}));
    assert!(said.contains("config.json: rope type `linear` needs `factor`"), "{said}");
    let said = config(&|c| c["text_config"]["num_attention_heads"] = json!(0));
    assert!(said.contains("config.json: `text_config.num_attention_heads` = 0, expected 1 to"), "{said}");
    let folder = copy("llava-a");
    fs::write(folder.path().join("config.json"), "7").unwrap();
    let text = self::said(folder.path());
    assert!(text.ends_with("config.json:1:1: invalid type: integer `7`, expected an object"), "{text}");
}

#[test]
fn a_size_that_is_left_out_is_named_where_weights_do_not_fit() {
    let _one = alone();
    for (field, there) in
        [("hidden_size", true), ("vocab_size", true), ("num_hidden_layers", true), ("rms_norm_eps", false)]
    {
        let (_folder, said) = edited("llava-a", "config.json", |config| {
            config["text_config"].as_object_mut().unwrap().remove(field);
        });
        let named =
            said.contains(&format!("`text_config.{field}`")) && said.contains("config.json leaves out ");
        assert_eq!(named, there, "{field}: {said}");
    }
}

#[test]
fn a_misfit_is_found_without_making_what_is_missing() {
    let _one = alone();
    // 2^24 times a vocabulary of 331 would be 22 GB, and so would each of the projections.
    for (field, value) in [
        ("hidden_size", 1 << 24),
        ("intermediate_size", 1 << 24),
        ("num_hidden_layers", 4096),
        ("vocab_size", 1 << 24),
    ] {
        let (_folder, said) = edited("llava-a", "config.json", |c| {
            c["text_config"][field] = json!(value);
            c["text_config"]["num_attention_heads"] = json!(2);
            c["text_config"]["num_key_value_heads"] = json!(2);
        });
        assert!(said.contains("the weights do not fit the model"), "{field}: {said}");
    }
}

#[test]
fn pixels_are_blamed_on_the_processor() {
    let _one = alone();
    for (field, value, expected) in [
        (
            "image_mean",
            json!([1e30, 0.5, 0.5]),
            "`image_mean` is [1e+30,0.5,0.5], expected numbers within a million",
        ),
        ("image_std", json!([1e-30, 0.5, 0.5]), "expected numbers that keep levels within a million"),
        ("rescale_factor", json!(1e30), "`rescale_factor` is 1e+30"),
        ("crop_size", json!(1_000_000), "`crop_size` is 1000000, expected 16777216 pixels at most"),
    ] {
        let (_folder, said) = edited("llava-a", "processor_config.json", |whole| {
            whole["image_processor"][field] = value;
        });
        assert!(
            said.contains("processor_config.json: ") && said.contains(expected),
            "{said}\nshould say: {expected}"
        );
    }
}

#[test]
fn a_header_takes_no_more_than_it_says() {
    let _one = alone();
    let folder = copy("llava-a");
    // 90 MB of a list where a tensor should be.
    let header = format!("{{\"t\": [{}0]}}", "0,".repeat(45_000_000));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    drop(header);
    let said = said(folder.path());
    assert!(
        said.contains("model.safetensors: not a whole safetensors file: its header is not valid"),
        "{said}"
    );
    assert!(said.len() < 1000);
}

#[test]
fn a_template_without_a_placeholder_is_named() {
    let _one = alone();
    let folder = copy("llava-a");
    fs::write(folder.path().join("chat_template.jinja"), "{{ messages[0].role }}").unwrap();
    let path = folder.path().to_owned();
    let said = within("a template without a placeholder", MOST, move || {
        let subject = mmlens_zoo::open(&path, &Device::flex()).unwrap();
        let picture = Picture::new("p", image::RgbImage::new(20, 20));
        subject.encode(&Sample::ask(picture, "Is it red?")).unwrap_err().to_string()
    });
    let expected =
        "chat_template.jinja: the chat template writes 0 picture placeholders (`<image>`) for 1 pictures";
    assert!(said.contains(expected), "{said}");
}
