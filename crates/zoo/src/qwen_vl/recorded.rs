//! Against what transformers' processors make (`oracles/qwen_processors.py`).
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::DynamicImage;
use mmlens_core::finding::Tolerance;
use mmlens_core::{Clip, Picture};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::settings::{ClipKind, ClipSettings, Settings};
use super::size::{near, near_in_time};
use super::{Cut, Film};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn cases() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("qwen-processors/cases.json")).unwrap()).unwrap()
}

fn picture(name: &Value) -> Arc<DynamicImage> {
    Picture::open(fixtures().join(format!("pictures/{}.png", name.as_str().unwrap()))).unwrap().image
}

fn numbers(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Whole levels are equal, other values nearly.
fn same(name: &str, cut: &Cut, grid: &Value) {
    assert_eq!(vec![cut.frames, cut.rows, cut.cols], numbers(grid), "{name}: grid");
    let bytes = std::fs::read(fixtures().join("qwen-processors/pixels.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    if view.dtype() == Dtype::U8 {
        let ours: Vec<u8> = cut.values.iter().map(|v| *v as u8).collect();
        let off = ours.iter().zip(view.data()).filter(|(a, b)| a != b).count();
        assert!(ours.len() == view.data().len() && off == 0, "{name}: {off} of {} levels differ", ours.len());
        return;
    }
    let theirs: Vec<f32> =
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    Tolerance::relative(1e-6).check(name, &cut.values, &theirs).unwrap();
}

#[test]
fn pictures() {
    for (name, case) in cases()["images"].as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("preprocessor_config.json"), case["config"].to_string()).unwrap();
        let cut = Settings::from_dir(folder.path()).unwrap().picture(&picture(&case["picture"])).unwrap();
        same(&format!("images.{name}"), &cut, &case["grid"]);
    }
}

#[test]
fn clips() {
    for (name, case) in cases()["clips"].as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("video_preprocessor_config.json");
        std::fs::write(file, case["config"].to_string()).unwrap();
        let kind = if case["kind"] == "qwen3_vl" { ClipKind::Three } else { ClipKind::Two };
        let settings = ClipSettings::from_dir(folder.path(), kind).unwrap();
        let frames = case["frames"].as_array().unwrap().iter().map(picture).collect();
        let film = settings.film(&Clip::new(name.as_str(), frames, case["fps"].as_f64())).unwrap();
        let Film { cut, taken, seconds, times } = &film;
        same(&format!("clips.{name}"), cut, &case["grid"]);
        assert_eq!(*taken, numbers(&case["taken"]), "{name}");
        assert_eq!(
            times.iter().map(|t| format!("{t:.1}")).collect::<Vec<_>>(),
            words(&case["times"]),
            "{name}"
        );
        let theirs = case["seconds"].as_f64().unwrap();
        assert!((seconds - theirs).abs() <= 1e-12 * theirs, "{name}: {seconds} seconds, {theirs}");
    }
}

fn words(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn sizes() {
    let cases = cases();
    for case in cases["sizes"]["apart"].as_array().unwrap() {
        let n: Vec<usize> = numbers(&Value::from(case.as_array().unwrap()[..5].to_vec()));
        let ours = near((n[0], n[1]), n[2], (n[3], n[4])).ok().map(|(h, w)| vec![h, w]);
        assert_eq!(ours, (!case[5].is_null()).then(|| numbers(&case[5])), "{case}");
    }
    for case in cases["sizes"]["together"].as_array().unwrap() {
        let n: Vec<usize> = numbers(&Value::from(case.as_array().unwrap()[..7].to_vec()));
        // What has too few frames is refused before.
        let size = near_in_time((n[0], n[1]), (n[2], n[3]), n[4], (n[5], n[6]));
        let ours = size.ok().filter(|_| n[0] >= n[1]).map(|(h, w)| vec![h, w]);
        assert_eq!(ours, (!case[7].is_null()).then(|| numbers(&case[7])), "{case}");
    }
}

#[test]
fn chosen_frames() {
    let cases = cases();
    let read = |config: &Value, kind| {
        ClipSettings::read(Path::new("v.json"), config.as_object().unwrap(), kind).unwrap()
    };
    let mut chosen = 0;
    for case in cases["samples"]["two"].as_array().unwrap() {
        let settings = read(&case[0], ClipKind::Two);
        let ours = settings.chosen(case[1].as_u64().unwrap() as usize, case[2].as_f64());
        assert_eq!(ours.ok(), (!case[3].is_null()).then(|| numbers(&case[3])), "{case}");
        chosen += usize::from(!case[3].is_null());
    }
    for case in cases["samples"]["three"].as_array().unwrap() {
        let settings = read(&case[0], ClipKind::Three);
        let taken = settings.chosen(case[1].as_u64().unwrap() as usize, case[2].as_f64()).unwrap();
        assert_eq!(taken, numbers(&case[3]), "{case}");
        let times = super::film::times(&taken, case[2].as_f64().unwrap(), 2);
        assert_eq!(times.iter().map(|t| format!("{t:.1}")).collect::<Vec<_>>(), words(&case[4]), "{case}");
    }
    assert!(chosen > 40, "{chosen}");
}
