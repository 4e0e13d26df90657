//! Every way of stretching rotary frequencies, in newer and older configs, against transformers.
//!
//! Frequencies are one power and one division in f32: 1e-6 of the largest. Rotated queries and keys and the final norm
//! are held to the bound of all activations, 1e-4 of the largest.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::finding::Tolerance;
use mmlens_core::{Plan, Sample, Site, Subject};
use mmlens_zoo::LlavaConfig;
use mmlens_zoo::checkpoint::read_json;
use mmlens_zoo::llava::open_llava;
use mmlens_zoo::parts::RopeConfig;
use safetensors::SafeTensors;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    file.tensor(name)
        .unwrap()
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// llava-b's files with another config.
fn folder(config: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join("llava-b/model")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    std::fs::copy(config, folder.path().join("config.json")).unwrap();
    folder
}

fn check(name: &str) {
    let bytes = std::fs::read(fixtures().join(format!("rope/{name}.safetensors"))).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: serde_json::Value =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for age in ["new", "old"] {
        let config_file = fixtures().join(format!("rope/{name}.{age}.json"));
        let llava = open_llava(folder(&config_file).path(), &Device::flex()).unwrap();
        let inputs = llava.encode(&Sample::prompt(vec![], about["prompt"].as_str().unwrap())).unwrap();

        let rope = read_json::<LlavaConfig>(&config_file).unwrap().decoder().unwrap().rope.unwrap();
        let (frequencies, scale) = rope.frequencies(inputs.positions());
        let close = Tolerance::relative(1e-6);
        let what = |what: &str| format!("{name}.{age}: {what}");
        close.check(&what("inv_freq"), &frequencies, &floats(&file, "inv_freq")).unwrap();
        close.check(&what("attention_scaling"), &[scale], &floats(&file, "attention_scaling")).unwrap();

        let sites = ["text.blocks.0.attn.q_rot", "text.blocks.0.attn.k_rot", "text.final_norm"];
        let plan = sites.iter().fold(Plan::new(), |plan, site| plan.read(*site).unwrap());
        let trace = llava.run(&inputs, plan).unwrap();
        for site in sites {
            let ours = trace.get(site.parse::<Site>().unwrap()).unwrap();
            let spec = llava.sites().iter().find(|spec| spec.site.to_string() == site).unwrap();
            let (dims, ours) = (ours.dims(), ours.to_values().unwrap());
            spec.tolerance(&dims, 1e-4).check(&what(site), &ours, &floats(&file, site)).unwrap();
        }
    }
}

#[test]
fn linear() {
    check("linear");
}

#[test]
fn dynamic_beyond_the_trained_length() {
    check("dynamic");
}

#[test]
fn llama3() {
    check("llama3");
}

#[test]
fn yarn_with_defaults_a_factor_and_scales() {
    ["yarn", "yarn-attention-factor", "yarn-mscale"].into_iter().for_each(check);
}

#[test]
fn llama3_with_the_old_context_left_out() {
    check("llama3-original");
}

#[test]
fn longrope_within_and_beyond_the_old_context() {
    ["longrope-short", "longrope-long"].into_iter().for_each(check);
}

#[test]
fn proportional() {
    check("proportional");
}

#[test]
fn what_is_not_known_is_refused() {
    let read = |json: serde_json::Value| RopeConfig::read(Some(&json), None, 8, 64).unwrap_err().to_string();
    assert_eq!(
        read(serde_json::json!({"rope_type": "spiral"})),
        "rope type `spiral` is not supported; supported are default, linear, dynamic, llama3, yarn, longrope, proportional"
    );
    assert_eq!(read(serde_json::json!({"type": "linear"})), "rope type `linear` needs `factor`");
    assert_eq!(
        read(serde_json::json!({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]})),
        "the rope parameters cannot be read: short_factor has 1 numbers, one for each of 4 frequencies is needed"
    );
    assert!(read(serde_json::json!({"rope_type": 3})).starts_with("the rope parameters cannot be read: "));
}

/// Of widths 4 and base 100 the frequencies are 1 and 1/10. With a context of 40 pi, those of wavelengths below 10 pi (1) are kept,
/// and 1/10, of wavelength 20 pi, lies between: (40 pi / 20 pi - 1) / (4 - 1) = 1/3 of it is kept and 2/3 divided by 8.
#[test]
fn llama3_between_its_bounds() {
    let parameters = serde_json::json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 40.0 * std::f64::consts::PI,
    });
    let config = RopeConfig::read(Some(&parameters), Some(100.0), 4, 4096).unwrap();
    let (found, scale) = config.frequencies(10);
    let wanted = [1.0, 0.1 * (1.0 / 3.0 + 2.0 / 24.0)];
    Tolerance::relative(1e-6).check("frequencies", &found, &wanted).unwrap();
    assert_eq!(scale, 1.0);
}
