//! Files that the folders of both models have.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use mmlens::data::shapes::{SIDE, Scene};
use mmlens::files::write;
use serde_json::{Value, json};

use super::Words;

/// `tokenizer.json`: whole words, the named special tokens before and after them.
pub(crate) fn tokenizer(words: &Words, before: &str, after: Option<&str>) -> Value {
    let added: Vec<Value> = words
        .special()
        .iter()
        .enumerate()
        .map(|(id, text)| {
            json!({ "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        })
        .collect();
    let token = |text: &str| json!({ "SpecialToken": { "id": text, "type_id": 0 } });
    let text = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    let around = |texts: &[&str]| -> Vec<Value> {
        let inner = texts.iter().map(|name| text(name));
        std::iter::once(token(before)).chain(inner).chain(after.map(token)).collect()
    };
    let known = |name: &str| json!({ "id": name, "ids": words.ids(name), "tokens": [name] });
    let special: serde_json::Map<String, Value> =
        std::iter::once(before).chain(after).map(|name| (name.to_owned(), known(name))).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": { "type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]),
                            "special_tokens": special },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": words.table(),
                   "unk_token": words.special().get(words.unknown() as usize) }
    })
}

/// `preprocessor_config.json`.
pub(crate) fn preprocessor() -> Value {
    json!({
        "crop_size": { "height": SIDE, "width": SIDE },
        "do_center_crop": true,
        "do_convert_rgb": true,
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 1.0 / 255.0,
        "size": { "shortest_edge": SIDE }
    })
}

pub(crate) fn write_json(folder: &Path, name: &str, value: &Value) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    Ok(write(folder.join(name), serde_json::to_string_pretty(value)? + "\n")?)
}

/// Scenes as the processor above gives them, `[picture, 3, side, side]`.
pub(crate) fn pictures<'a>(scenes: impl ExactSizeIterator<Item = &'a Scene>, device: &Device) -> Tensor<4> {
    let count = scenes.len();
    let mut values = Vec::with_capacity(count * 3 * SIDE * SIDE);
    for scene in scenes {
        let picture = scene.render();
        for channel in 0..3 {
            values.extend(picture.pixels().map(|p| (f32::from(p.0[channel]) / 255.0 - 0.5) / 0.5));
        }
    }
    Tensor::from_data(TensorData::new(values, [count, 3, SIDE, SIDE]), device)
}
