//! `mmlens certify` on a true reference, on a falsified one and on what is none.

use std::fs;
use std::process::Stdio;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{command, fixtures, mmlens};

#[test]
fn a_checkpoint_is_certified_and_a_falsified_reference_is_not_matched() {
    let folder = fixtures().join("llava-a");
    let (model, oracle) = (folder.join("model"), folder.join("trace-ask.safetensors"));
    let pictures = fixtures().join("pictures");
    let certify = |oracle: &std::path::Path, json: bool| {
        let mut args: Vec<String> =
            ["certify", model.to_str().unwrap(), "--against", oracle.to_str().unwrap()]
                .map(str::to_owned)
                .to_vec();
        args.extend(["--pictures".to_owned(), pictures.display().to_string()]);
        args.extend(json.then(|| "--json".to_owned()));
        mmlens(args)
    };
    let certificate: Value = certify(&oracle, true).json();
    let names: Vec<&str> =
        certificate["compared"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    for name in ["input_ids", "pixel_values", "connector.out", "grad.vision.pixels", "generated"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }

    // One value of one site, off by a tenth of the largest.
    let bytes = fs::read(&oracle).unwrap();
    let (header, _) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let site = file.tensor("connector.out").unwrap();
    let offset = site.data().as_ptr() as usize - bytes.as_ptr() as usize + 4 * 17;
    assert!(offset > header + 8);
    let mut falsified = bytes.clone();
    let old = f32::from_le_bytes(falsified[offset..offset + 4].try_into().unwrap());
    falsified[offset..offset + 4].copy_from_slice(&(old + 1.0).to_le_bytes());
    let other = tempfile::NamedTempFile::new().unwrap();
    fs::write(other.path(), falsified).unwrap();
    let said = certify(other.path(), false);
    let table = said.out.clone();
    assert_eq!(table.matches("DIFFERS").count(), 1, "{table}");
    assert!(table.contains("connector.out DIFFERS"), "{table}");
    assert!(said.refused().starts_with("1 of "));

    let said = certify(&model.join("model.safetensors"), false);
    assert!(said.not_judged().contains("it is no trace"));

    // A gradient alone, off by a tenth of a percent and a fifth more of its largest; NaN behind the first value of a reference.
    let with = |name: &str, change: &dyn Fn(&mut [f32])| {
        let mut changed = bytes.clone();
        let tensor = file.tensor(name).unwrap();
        let from = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
        let mut values: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        change(&mut values);
        for (i, value) in values.iter().enumerate() {
            changed[from + 4 * i..][..4].copy_from_slice(&value.to_le_bytes());
        }
        fs::write(other.path(), changed).unwrap();
        certify(other.path(), false)
    };
    let said = with("grad.vision.pixels", &|values| {
        *values.last_mut().unwrap() += 1.2e-3 * mmlens::finding::largest(values).unwrap() as f32;
    });
    assert!(said.out.contains("grad.vision.pixels DIFFERS") && said.out.matches("DIFFERS").count() == 1);
    assert!(said.refused().starts_with("1 of "));
    let said = with("connector.out", &|values| values[1] = f32::NAN).not_judged();
    assert!(said.ends_with(": `connector.out`: NaN at [0, 0, 1], where a finite number belongs"), "{said}");
    // One infinity, and the rest off by a thousand.
    let said = with("connector.out", &|values| {
        values.iter_mut().for_each(|value| *value += 1000.0);
        values[0] = f32::INFINITY;
    });
    assert!(said.not_judged().contains("`connector.out`: inf at [0, 0, 0]"));
}

/// What a certificate says does not depend on whether somebody reads it.
#[test]
fn nobody_need_read_a_certificate() {
    let folder = fixtures().join("llava-a");
    let other = fixtures().join("llava-b/trace-ask.safetensors");
    let pictures = fixtures().join("pictures");
    for (reference, code) in [(folder.join("trace-ask.safetensors"), 0), (other, 1)] {
        for json in [false, true] {
            let mut command = command();
            command.arg("certify").arg(folder.join("model")).arg("--against").arg(&reference);
            command.arg("--pictures").arg(&pictures).args(json.then_some("--json"));
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            drop(child.stdout.take());
            assert_eq!(child.wait().unwrap().code(), Some(code), "{}", reference.display());
        }
    }
}
