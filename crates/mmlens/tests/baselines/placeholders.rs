//! What no output reads changes no finding: the vector of an image placeholder, and padding.

use std::path::Path;

use burn::tensor::Device;
use mmlens::engine::{Edit, Metric, Progress, Reference, Sweep};
use mmlens::finding::largest;
use mmlens::model::{Occlusion, occlusion};
use mmlens::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use crate::{ASKED, case, fixtures, gradients, noise, numbers, opened, scored, showing, site};

/// A copy of a checkpoint in which the vector of one token is that of another.
fn with_row_of(folder: &Path, token: u64, other: u64) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut changed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|e| e == "safetensors") {
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let tensors: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
            for (name, tensor) in tensors.as_object().unwrap() {
                if !name.ends_with("embed_tokens.weight") {
                    continue;
                }
                let at = |i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize + 8 + header;
                let wide = (at(1) - at(0)) / tensor["shape"][0].as_u64().unwrap() as usize;
                let row = |token: u64| at(0) + token as usize * wide..at(0) + (token as usize + 1) * wide;
                assert_ne!(bytes[row(token)], bytes[row(other)]);
                let from = bytes[row(other)].to_vec();
                bytes[row(token)].copy_from_slice(&from);
                changed += 1;
            }
        }
        std::fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    assert_eq!(changed, 1, "{}", folder.display());
    copy
}

fn placeholder(folder: &Path) -> u64 {
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let ids = ["image_token_id", "image_token_index"].map(|field| config[field].as_u64());
    ids.into_iter().flatten().next().unwrap()
}

fn bits(finding: &Finding) -> Vec<(String, Vec<u32>)> {
    let of = |table: &Labelled| table.as_numbers().unwrap_or_default().iter().map(|v| v.to_bits()).collect();
    finding.tables().iter().map(|table| (table.name().to_owned(), of(table))).collect()
}

/// Everything that takes a mean at the word embeddings or behind them.
fn everything(subject: &dyn Subject, case: &Case) -> Vec<(String, Vec<u32>)> {
    let found = gradients(&["vision.pixels", "text.embed"], 3).run(subject, case).unwrap();
    let mut all = bits(&found);
    let settings = occlusion::Settings {
        picture: None,
        words: Some(occlusion::Hide::Replace(Baseline::Mean)),
        ..Default::default()
    };
    all.extend(bits(&Occlusion::new(settings).unwrap().run(subject, case).unwrap()));
    for place in ["text.embed", "text.input", "text.blocks.0.attn_out"] {
        let plan = Plan::new().change(site(place), Region::all(), Change::Mean).unwrap();
        all.push((format!("mean of {place}"), vec![scored(subject, case, plan).to_bits()]));
        let (inputs, objective) = case.open(subject).unwrap();
        let reference = Reference::mean(subject, &site(place).into(), std::slice::from_ref(&inputs)).unwrap();
        let sweep = Sweep::over(vec![Axis::count(Role::Sample, 1)], move |_| {
            vec![reference.at(site(place)).unwrap()]
        });
        let mut progress = Progress::new(&Unwatched, "sweep", 1);
        let sweep = sweep.measure(Metric::from(objective));
        let swept = sweep.run(subject, &inputs, &Memory::default(), &mut progress).unwrap();
        all.push((format!("reference of {place}"), vec![swept.measured[0].values[0].to_bits()]));
    }
    all
}

#[test]
fn the_vector_of_the_placeholder_changes_no_bit() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/shipped/shapes-llava");
    let folders = ASKED.map(|name| (name, fixtures().join(name).join("model")));
    for (name, folder) in folders.into_iter().chain([("shapes-llava", shipped)]) {
        let image = noise(46, 31, [120, 100, 60], 5);
        let sample = match name {
            "shapes-llava" => Some(Sample::ask(image, "what colour is the triangle ?")),
            name => showing(name, vec![image]),
        };
        let sample = sample.unwrap();
        let open = |folder: &Path| mmlens::zoo::open(folder, &Device::flex()).unwrap();
        let subject = open(&folder);
        let case = case(subject.as_ref(), sample);
        let wanted = everything(subject.as_ref(), &case);
        assert!(
            wanted.iter().any(|(name, bits)| name == "text.embed/tokens" && bits.iter().any(|b| *b != 0))
        );
        for other in [3, 7] {
            let copy = with_row_of(&folder, placeholder(&folder), other);
            let changed = open(copy.path());
            for ((what, found), (_, wanted)) in everything(changed.as_ref(), &case).iter().zip(&wanted) {
                assert_eq!(found, wanted, "{name}, row of {other}: {what}");
            }
        }
    }
}

/// Means in a padded batch, as they are worked out from what stands at the positions that are no padding.
#[test]
fn padding_is_in_no_mean() {
    for name in ["llama-a", "qwen2-a", "llava-a", "bert-a"] {
        let subject = opened(name);
        let subject = subject.as_ref();
        let rows: Vec<Inputs> = ["Red?", "What colour has the small square?"]
            .iter()
            .map(|text| {
                let words = if name == "bert-a" {
                    Words::Texts(vec![(*text).to_owned()])
                } else {
                    Words::Prompt((*text).to_owned())
                };
                subject.encode(&Sample::new(Vec::new(), words)).unwrap()
            })
            .collect();
        let padded = |pad: u32| match name {
            // Encoders of text pad on the right.
            "bert-a" => {
                let longest = rows[1].positions();
                let short = rows[0].clone().with(|batch| {
                    batch.tails = vec![longest - batch.positions()];
                    batch.ids[0].resize(longest, pad);
                });
                Inputs::batch(&[short.unwrap(), rows[1].clone()], pad).unwrap()
            }
            _ => Inputs::batch(&rows, pad).unwrap(),
        };
        for place in ["text.embed", "text.blocks.0.attn_out"] {
            let place = site(place);
            let read = |inputs: &Inputs, plan: Plan| {
                let trace = subject.run(inputs, plan.read(place).unwrap()).unwrap();
                trace.get(place).unwrap().to_values().unwrap()
            };
            let change = || Plan::new().change(place, Region::all(), Change::Mean).unwrap();
            let own: Vec<Vec<f32>> = rows.iter().map(|row| read(row, Plan::new())).collect();
            let count: usize = rows.iter().map(|row| row.positions()).sum();
            let wide = own[0].len() / rows[0].positions();
            let mean: Vec<f64> = (0..wide)
                .map(|d| {
                    let all = own.iter().flat_map(|row| row.iter().skip(d).step_by(wide));
                    all.map(|v| f64::from(*v)).sum::<f64>() / count as f64
                })
                .collect();
            let largest = largest(&mean).unwrap().max(1e-3);
            let batch = padded(0);
            let found = read(&batch, change());
            let length = batch.positions();
            for row in 0..2 {
                let real = batch.pads[row]..length - batch.tails[row];
                assert_eq!(real.len(), rows[row].positions(), "{name}");
                for (at, value) in real
                    .flat_map(|p| (0..wide).map(move |d| (p, d)))
                    .map(|(p, d)| (d, found[(row * length + p) * wide + d]))
                {
                    assert!(
                        (f64::from(value) - mean[at]).abs() < 1e-4 * largest,
                        "{name} {place}: {value} {}",
                        mean[at]
                    );
                }
            }
            // Whatever stands there.
            let real = |pad: u32| {
                let (batch, found) = (padded(pad), read(&padded(pad), change()));
                let own = |row: usize| row * length + batch.pads[row]..(row + 1) * length - batch.tails[row];
                (0..2)
                    .flat_map(own)
                    .flat_map(|at| found[at * wide..(at + 1) * wide].to_vec())
                    .collect::<Vec<_>>()
            };
            assert!(real(1) == real(4), "{name} {place}: what stands in the padding makes a difference");
            let reference = |inputs: &[Inputs]| {
                let reference = Reference::mean(subject, &place.into(), inputs).unwrap();
                let edit: Edit = reference.at(place).unwrap();
                let mut progress = Progress::new(&Unwatched, "sweep", 1);
                let sweep = Sweep::over(vec![Axis::count(Role::Sample, 1)], move |_| vec![edit.clone()])
                    .measure(Objective::logit(2));
                let swept = sweep.run(subject, &rows[0], &Memory::default(), &mut progress).unwrap();
                swept.measured[0].values[0]
            };
            let (batched, apart) = (reference(&[padded(0)]), reference(&rows));
            assert!(
                (batched - apart).abs() < 1e-5 * apart.abs().max(1.0),
                "{name} {place}: {batched} {apart}"
            );
        }
    }
}

/// At the stream, a word becomes the mean of words and a patch that of patches.
#[test]
fn words_and_patches_have_means_of_their_own() {
    for name in ["llava-a", "llava-next-a", "smolvlm-a", "qwen3-vl-a"] {
        let subject = opened(name);
        let sample = showing(name, vec![noise(46, 31, [90, 120, 200], 1)]).unwrap();
        let case = case(subject.as_ref(), sample);
        let (inputs, _) = case.open(subject.as_ref()).unwrap();
        let place = site("text.input");
        let read = |plan: Plan| {
            let trace = subject.run(&inputs, plan.read(place).unwrap()).unwrap();
            trace.get(place).unwrap().to_values().unwrap()
        };
        let (own, found) =
            (read(Plan::new()), read(Plan::new().change(place, Region::all(), Change::Mean).unwrap()));
        let wide = own.len() / inputs.positions();
        let kinds: Vec<bool> =
            inputs.map().tokens.iter().map(|token| token.modality == Modality::Image).collect();
        for kind in [true, false] {
            let places: Vec<usize> = (0..kinds.len()).filter(|i| kinds[*i] == kind).collect();
            assert!(places.len() > 2, "{name}");
            for d in 0..wide {
                let sum: f64 = places.iter().map(|p| f64::from(own[p * wide + d])).sum();
                let mean = sum / places.len() as f64;
                for p in &places {
                    let value = f64::from(found[p * wide + d]);
                    assert!((value - mean).abs() < 1e-5 * mean.abs().max(1.0), "{name}: {value} {mean}");
                }
            }
        }
        // The same as a baseline: the objective with every position at its mean.
        let baseline = gradients(&["text.input"], 1).run(subject.as_ref(), &case).unwrap();
        let plan = Plan::new().change(place, Region::all(), Change::Mean).unwrap();
        let wanted = scored(subject.as_ref(), &case, plan);
        let at = numbers(&baseline, "objective at baseline")[0];
        assert!((at - wanted).abs() < 1e-4 * wanted.abs().max(1.0), "{name}: {at} {wanted}");
    }
}
