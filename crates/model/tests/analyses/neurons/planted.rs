//! Neurons planted in the weights of the models that ship inside are found: five seeds, three strengths.
//!
//! A planted neuron reads a class by a linear function of what the other neurons of its layer hold before their nonlinearity: a sum of
//! rows of the weight, fitted by least squares on training scenes. Its strength says how much of the row is that, and how much what
//! it was. It writes nothing, so that all else is as before. What is looked at are scenes of the test split. A planted feature of a dictionary reads
//! the stream in the same way.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmlens_core::finding::Finding;
use mmlens_core::{Analysis, Cases, ManyCases, Part, Plan, Point, Seed, Site, Subject};
use mmlens_data::shapes::{Kind, Said, ShapesCases, ShapesConcepts, Split, World};
use mmlens_engine::dictionary::{Kept, Of, Weights as Numbers};
use mmlens_engine::{Dictionary, Indices, NeuronAt, Positions, WithDictionary, normal};
use mmlens_model::exemplars::{self, Exemplars};
use mmlens_model::lape::{self, Lape};
use mmlens_model::network_dissection::{self, NetworkDissection};
use mmlens_model::selectivity::{self, Selectivity};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{numbers, scalar};

pub(super) const STRENGTHS: [f64; 3] = [0.8, 0.9, 1.0];
pub(super) const SEEDS: std::ops::Range<u64> = 0..5;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/shipped").join(name)
}

/// A checkpoint's weights as bytes, with the place of each tensor.
struct Weights {
    bytes: Vec<u8>,
    header: Value,
    start: usize,
}

impl Weights {
    fn read(name: &str) -> Self {
        let bytes = fs::read(folder(name).join("model.safetensors")).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        Self { bytes, header, start: 8 + length }
    }

    /// Where the values of a tensor lie, and how many columns it has.
    fn place(&self, tensor: &str) -> (usize, usize) {
        let own = &self.header[tensor];
        assert_eq!(own["dtype"], "F32", "{tensor}");
        let columns = own["shape"].as_array().unwrap().last().unwrap().as_u64().unwrap() as usize;
        (self.start + own["data_offsets"][0].as_u64().unwrap() as usize, columns)
    }

    fn get(&self, tensor: &str, at: usize) -> f64 {
        let from = self.place(tensor).0 + 4 * at;
        f64::from(f32::from_le_bytes(self.bytes[from..from + 4].try_into().unwrap()))
    }

    fn set(&mut self, tensor: &str, at: usize, value: f64) {
        let from = self.place(tensor).0 + 4 * at;
        self.bytes[from..from + 4].copy_from_slice(&(value as f32).to_le_bytes());
    }

    /// A row becomes a mixture of itself and of all rows.
    fn mix(&mut self, tensor: &str, row: usize, own: f64, rows: &[f64]) {
        let columns = self.place(tensor).1;
        let mixed: Vec<f64> = (0..columns)
            .map(|column| {
                let sum: f64 =
                    rows.iter().enumerate().map(|(at, c)| c * self.get(tensor, at * columns + column)).sum();
                own * self.get(tensor, row * columns + column) + sum
            })
            .collect();
        for (column, value) in mixed.into_iter().enumerate() {
            self.set(tensor, row * columns + column, value);
        }
    }

    fn open(&self, name: &str) -> (Box<dyn Subject>, TempDir) {
        let there = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(folder(name)).unwrap() {
            let entry = entry.unwrap().path();
            fs::copy(&entry, there.path().join(entry.file_name().unwrap())).unwrap();
        }
        fs::write(there.path().join("model.safetensors"), &self.bytes).unwrap();
        (mmlens_zoo::open(there.path(), &mmlens_core::device::host()).unwrap(), there)
    }
}

/// `x` with `a x = b`, by elimination.
pub(super) fn solved(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for at in 0..n {
        // no NaN: sums of squares of what is read
        let pivot = (at..n).max_by(|x, y| a[*x][at].abs().total_cmp(&a[*y][at].abs())).unwrap();
        a.swap(at, pivot);
        b.swap(at, pivot);
        let (own, value) = (a[at].clone(), b[at]);
        for row in at + 1..n {
            let by = a[row][at] / own[at];
            if by != 0.0 {
                a[row].iter_mut().zip(&own).skip(at).for_each(|(x, own)| *x -= by * own);
                b[row] -= by * value;
            }
        }
    }
    for at in (0..n).rev() {
        let known: f64 = (at + 1..n).map(|other| a[at][other] * b[other]).sum();
        b[at] = (b[at] - known) / a[at][at];
    }
    b
}

/// Coefficients of what neurons hold that are 1 where a row is of the class and -1 elsewhere, both counted alike, and `shift` more.
pub(super) fn detector(rows: &[Vec<f64>], own: &[bool], shift: f64) -> Vec<f64> {
    let (width, first) = (rows[0].len(), own.iter().filter(|own| **own).count() as f64);
    let (mut square, mut right) = (vec![vec![0.0; width]; width], vec![0.0; width]);
    for (row, own) in rows.iter().zip(own) {
        let (sign, weight) =
            if *own { (1.0, 1.0 / first) } else { (-1.0, 1.0 / (rows.len() as f64 - first)) };
        for (at, x) in row.iter().enumerate() {
            right[at] += weight * (sign + shift) * x;
            square[at].iter_mut().zip(row).for_each(|(sum, y)| *sum += weight * x * y);
        }
    }
    (0..width).for_each(|at| square[at][at] += 1e-3);
    solved(square, right)
}

/// Mean and deviation of numbers.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}

fn column(rows: &[Vec<f64>], neuron: usize) -> Vec<f64> {
    rows.iter().map(|row| row[neuron]).collect()
}

fn read(rows: &[Vec<f64>], by: &[f64]) -> Vec<f64> {
    rows.iter().map(|row| row.iter().zip(by).map(|(x, c)| x * c).sum()).collect()
}

/// What a site holds of a case, position by position.
pub(super) fn held(subject: &dyn Subject, data: &dyn Cases, case: usize, site: Site) -> Vec<Vec<f64>> {
    let inputs = subject.encode(&data.case(case).unwrap().sample).unwrap();
    let trace = subject.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
    let value = trace.get(site).unwrap();
    let width = *value.dims().last().unwrap();
    value.to_values().unwrap().chunks(width).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
}

/// Where a seed plants: layer, neuron, class.
pub(super) fn drawn(seed: u64, layers: usize, classes: usize) -> (usize, usize, usize) {
    let draw = |item: u64, of: usize| (Seed(seed).at(item).unit() * of as f32) as usize;
    (draw(0, layers), draw(1, 256), draw(2, classes))
}

#[test]
fn a_neuron_of_a_colour_in_the_decoder_is_found_by_lape_and_by_selectivity() {
    let device = mmlens_core::device::host();
    let shipped = mmlens_zoo::shipped::shapes(&device).unwrap();
    let train = ShapesCases::new(World::new(11), Split::Train, Kind::Colour, 400);
    let test = ShapesCases::new(World::new(12), Split::Test, Kind::Colour, 120);
    let (mut faults, mut others, mut plainly) = (Vec::new(), Vec::new(), Vec::new());
    let labels: Vec<usize> = (0..train.len()).map(|case| train.label(case).unwrap().unwrap()).collect();
    for seed in SEEDS {
        // The colour is at the last position from the third block on.
        let (later, neuron, class) = drawn(seed, 2, train.classes().len());
        let layer = 2 + later;
        let site = Site::block(Part::Text, layer, Point::MlpGate);
        let rows: Vec<Vec<f64>> =
            (0..train.len()).map(|case| held(&shipped, &train, case, site).pop().unwrap()).collect();
        let own: Vec<bool> = labels.iter().map(|label| *label == class).collect();
        let (mean, size) = moments(&column(&rows, neuron));
        for strength in STRENGTHS {
            // There is no bias: what the neuron was in the mean is taken off by what is planted.
            let reads = detector(&rows, &own, -(1.0 - strength) / strength * mean / size);
            let mut weights = Weights::read("shapes-llava");
            let name = |what: &str| format!("model.language_model.layers.{layer}.mlp.{what}_proj.weight");
            let scaled: Vec<f64> = reads.iter().map(|c| strength * size * c).collect();
            weights.mix(&name("gate"), neuron, 1.0 - strength, &scaled);
            (0..128).for_each(|row| weights.set(&name("down"), row * 256 + neuron, 0.0));
            let (subject, _folder) = weights.open("shapes-llava");
            let many = ManyCases::over(test.clone()).unwrap();
            let colour = test.classes()[class].clone();
            let settings = lape::Settings {
                positions: Positions::Last,
                filter: 0.6,
                member: 0.6, // The model has many neurons of its own that are for one colour.
                share: 0.05,
                ..Default::default()
            };
            let found = Lape::new(settings).unwrap().run(subject.as_ref(), &many).unwrap();
            let listed = found.table("neurons").unwrap().as_texts().unwrap();
            let planted = NeuronAt { layer, neuron };
            // With the bounds of the authors' script, at the same position.
            let settings = lape::Settings { positions: Positions::Last, ..Default::default() };
            let strict = Lape::new(settings).unwrap().run(subject.as_ref(), &many).unwrap();
            let names = strict.table("neurons").unwrap().as_texts().unwrap();
            let there =
                names.iter().any(|name| name.starts_with(&format!("{planted}: ")) && name.contains(&colour));
            println!("{seed} {strength}: by default {} neurons, with it {there}", names.len());
            plainly.push((there, names.len()));
            println!(
                "{seed} {strength} {planted} {colour}: lape, {} by chance",
                scalar(&found, "shuffled mean")
            );
            let own = listed.iter().find_map(|name| name.strip_prefix(&format!("{planted}: ")));
            let groups: Vec<&str> = own.into_iter().flat_map(|groups| groups.split(", ")).collect();
            faults.extend((!groups.contains(&colour.as_str())).then(|| format!("{seed} {strength}: lape")));
            for other in groups.into_iter().filter(|other| *other != colour) {
                // Counted here once more.
                let class = test.classes().iter().position(|own| own == other).unwrap();
                let cases = (0..test.len()).filter(|case| test.label(*case).unwrap() == Some(class));
                let above = |case| held(subject.as_ref(), &test, case, site).pop().unwrap()[neuron] > 0.0;
                let (fires, all) =
                    cases.fold((0, 0), |(n, all), case| (n + usize::from(above(case)), all + 1));
                others.push(format!("{seed} {strength}: {fires} of {all} {other}"));
            }
            let settings = selectivity::Settings {
                positions: Positions::Last,
                point: Point::MlpGate,
                class: Some(colour.clone()),
                shuffles: 2,
                top: 60,
                ..Default::default()
            };
            let found = Selectivity::new(settings).unwrap().run(subject.as_ref(), &many).unwrap();
            let auroc = found.table("auroc").unwrap().get(&[layer, neuron]).unwrap();
            let listed = found.table("neurons").unwrap().as_texts().unwrap();
            println!(
                "    auroc {auroc}, {} found, {} by chance",
                scalar(&found, "found"),
                scalar(&found, "shuffled mean")
            );
            let known = NeuronAt::listed(listed).unwrap().contains(&planted) && auroc > 0.9;
            let sound = scalar(&found, "shuffled mean") < 0.1 * scalar(&found, "found");
            faults.extend((!(known && sound)).then(|| format!("{seed} {strength}: selectivity")));
        }
    }
    println!("by default {plainly:?}, {faults:?}, of others {others:?}");
    // Selectivity finds all; LAPE all of the last block, and 7 of 9 of the block before.
    assert_eq!(faults, ["1 0.8: lape", "1 1: lape"]);
    // With the bounds of the authors' script it lists ten neurons, and of those planted the six in the last block.
    let of_last: Vec<bool> = SEEDS.map(|seed| drawn(seed, 2, 1).0 == 1).flat_map(|last| [last; 3]).collect();
    assert_eq!(plainly.iter().map(|(there, _)| *there).collect::<Vec<_>>(), of_last);
    // One neuron of the block before is above zero in a fifth of the cases of other colours, too, and is told to be of them.
    let wanted = [
        "0.8: 3 of 15 white",
        "0.8: 4 of 19 yellow",
        "0.9: 3 of 15 white",
        "0.9: 4 of 19 yellow",
        "1: 3 of 15 white",
    ];
    assert_eq!(others, wanted.map(|other| format!("0 {other}")));
}

/// Which patches show a colour in more than so many of their 64 pixels.
fn coloured(data: &ShapesConcepts, case: usize, colour: &str, than: usize) -> Vec<bool> {
    let mask = data.masks(case).unwrap().into_iter().filter(|mask| mask.name == format!("colour: {colour}"));
    let mut pixels = vec![0; 64];
    for mask in mask {
        mask.inside
            .iter()
            .enumerate()
            .filter(|(_, inside)| **inside)
            .for_each(|(at, _)| pixels[at / 64 / 8 * 8 + at % 64 / 8] += 1);
    }
    pixels.into_iter().map(|count| count > than).collect()
}

#[test]
fn a_neuron_of_a_colour_in_the_tower_is_found_by_dissection() {
    let shipped = mmlens_zoo::shipped::shapes_clip(&mmlens_core::device::host()).unwrap();
    let of = |seed, split, count| ShapesConcepts::new(World::new(seed), split, count, Said::Caption);
    let (train, test) = (of(21, Split::Train, 80), of(22, Split::Test, 60));
    let mut faults = Vec::new();
    let colours = ["red", "green", "blue", "yellow"];
    for seed in SEEDS {
        let (layer, neuron, class) = drawn(seed, 3, colours.len());
        let (site, colour) = (Site::block(Part::Vision, layer, Point::MlpPre), colours[class]);
        let (mut rows, mut own) = (Vec::new(), Vec::new());
        for case in 0..train.len() {
            // Behind the class token; and what a bias adds.
            let patches = held(&shipped, &train, case, site).into_iter().skip(1);
            rows.extend(patches.map(|row| [row, vec![1.0]].concat()));
            own.extend(coloured(&train, case, colour, 32));
        }
        let reads = detector(&rows, &own, 0.0);
        // Both vary as much.
        let size = moments(&column(&rows, neuron)).1 / moments(&read(&rows, &reads)).1;
        for strength in STRENGTHS {
            let mut weights = Weights::read("shapes-clip");
            let name = |what: &str| format!("vision_model.encoder.layers.{layer}.mlp.{what}");
            let scaled: Vec<f64> = reads.iter().map(|c| strength * size * c).collect();
            let (rows, constant) = scaled.split_at(256);
            weights.mix(&name("fc1.weight"), neuron, 1.0 - strength, rows);
            let bias: f64 =
                rows.iter().enumerate().map(|(at, c)| c * weights.get(&name("fc1.bias"), at)).sum();
            let bias = bias + constant[0] + (1.0 - strength) * weights.get(&name("fc1.bias"), neuron);
            weights.set(&name("fc1.bias"), neuron, bias);
            (0..96).for_each(|row| weights.set(&name("fc2.weight"), row * 256 + neuron, 0.0));
            let (subject, _folder) = weights.open("shapes-clip");
            let settings =
                network_dissection::Settings { point: Point::MlpPre, shuffles: 1, ..Default::default() };
            let found: Finding = NetworkDissection::new(settings)
                .unwrap()
                .run(subject.as_ref(), &ManyCases::over(test.clone()).unwrap())
                .unwrap();
            let at = [layer, neuron];
            let (iou, concept) =
                (found.table("iou").unwrap().get(&at).unwrap(), found.table("concepts by category").unwrap());
            let concept = concept.get_text(&[layer, neuron, 0]).unwrap();
            println!(
                "{seed} {strength} {layer}.{neuron} {colour}: {iou} {concept}, {} of them, by chance {}",
                scalar(&found, "found"),
                scalar(&found, "shuffled mean")
            );
            let known = concept == format!("colour: {colour}") && iou > 0.1;
            let sound = iou > 3.0 * numbers(&found, "shuffled iou")[0];
            faults.extend((!(known && sound)).then(|| format!("{seed} {strength}: {concept} {iou}")));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}

/// A dictionary of 32 features drawn by chance, but for one: it reads what `reads` does, a constant last, mixed with a direction drawn by chance (both vary as
/// much), where that is two deviations above its mean.
fn planted_feature(
    site: Site,
    rows: &[Vec<f64>],
    reads: &[f64],
    (feature, strength, seed): (usize, f64, u64),
) -> Arc<Dictionary> {
    let (width, features) = (reads.len() - 1, 32);
    let drawn = |item: u64, count: usize| -> Vec<f64> {
        (0..count).map(|at| normal(Seed(seed).at(item).at(at as u64))).collect()
    };
    let chance = [drawn(7, width), vec![0.0]].concat();
    let size = |by: &[f64]| moments(&read(rows, by)).1;
    let (own, other) = (strength / size(reads), (1.0 - strength) / size(&chance));
    let mixed: Vec<f64> = reads.iter().zip(&chance).map(|(x, c)| own * x + other * c).collect();
    let (mean, deviation) = moments(&read(rows, &mixed));
    let mut encoder: Vec<f32> = drawn(8, width * features).iter().map(|x| *x as f32).collect();
    for (slot, value) in encoder.iter_mut().skip(feature).step_by(features).zip(&mixed) {
        *slot = *value as f32;
    }
    let mut encoder_bias = vec![0.0; features];
    encoder_bias[feature] = (mixed[width] - mean - 2.0 * deviation) as f32;
    let decoder = (0..features).flat_map(|at| encoder.iter().skip(at).step_by(features).copied()).collect();
    let numbers = Numbers { width, features, encoder, encoder_bias, decoder, decoder_bias: vec![0.0; width] };
    let of = Of { site: Some(site), ..Of::default() };
    Arc::new(Dictionary::new(numbers, Kept::Positive, of).unwrap())
}

#[test]
fn exemplars_of_a_planted_feature_show_what_it_reads() {
    let shipped = mmlens_zoo::shipped::shapes_clip(&mmlens_core::device::host()).unwrap();
    let of = |seed, split, count| ShapesConcepts::new(World::new(seed), split, count, Said::Caption);
    let (train, test) = (of(21, Split::Train, 80), of(22, Split::Test, 60));
    let many = ManyCases::over(test.clone()).unwrap();
    let (mut faults, colours) = (Vec::new(), ["red", "green", "blue", "yellow"]);
    for seed in SEEDS {
        let (layer, feature, class) = drawn(seed, 4, colours.len());
        let (site, colour, feature) =
            (Site::block(Part::Vision, layer, Point::ResidPost), colours[class], feature % 32);
        let (mut rows, mut own) = (Vec::new(), Vec::new());
        for case in 0..train.len() {
            let patches = held(&shipped, &train, case, site).into_iter().skip(1);
            rows.extend(patches.map(|row| [row, vec![1.0]].concat()));
            own.extend(coloured(&train, case, colour, 32));
        }
        let reads = detector(&rows, &own, 0.0);
        for strength in STRENGTHS {
            let dictionary = planted_feature(site, &rows, &reads, (feature, strength, seed));
            let with = WithDictionary::new(&shipped, dictionary, None, None).unwrap();
            let right = |units: Vec<usize>| {
                let settings = exemplars::Settings {
                    part: Some(Part::Vision),
                    point: with.features().point(),
                    units: Indices::At(units),
                    positions: Positions::Pictures,
                    top: 8,
                    crops: 0,
                    ..Default::default()
                };
                let found = Exemplars::new(settings).unwrap().run(&with, &many).unwrap();
                let places = numbers(&found, "cases").iter().zip(numbers(&found, "rows of exemplars"));
                // Behind the class token.
                let shows =
                    |(case, row): (&f32, &f32)| coloured(&test, *case as usize, colour, 0)[*row as usize - 1];
                places.filter(|place| shows(*place)).count()
            };
            let (planted, others) =
                (right(vec![feature]), right(vec![(feature + 1) % 32, (feature + 2) % 32]));
            println!(
                "{seed} {strength} {site} feature {feature} {colour}: {planted} of 8, of two others {others} of 16"
            );
            faults.extend(
                (planted < 8 || others > 8).then(|| format!("{seed} {strength}: {planted} {others}")),
            );
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}
