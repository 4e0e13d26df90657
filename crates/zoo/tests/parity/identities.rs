//! What must hold between runs of one model, of every family: single and batched, cached and uncached, whole and resumed,
//! read and written back; what the stream is the sum of; and what the token map says of words and pictures.

use std::sync::Arc;

use burn::tensor::Device;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::finding::Modality;
use mmlens_core::{
    AxisName, Change, Generation, Inputs, Integrity, Output, Part, Picture, Plan, Point, Region, Run, Sample,
    Sampling, Seed, Site, SubjectError, Words,
};
use mmlens_zoo::decoder::open_decoder;
use mmlens_zoo::parts::KvCache;
use mmlens_zoo::{DecoderConfig, Vlm};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::every::{Opened, Varied, of_every, off, own, read, said};

/// The same arithmetic on another shape: f32 rounding.
const ROUNDING: f32 = 1e-4;

/// A batch of two samples, and each alone. Of a dual encoder, the texts of one sample.
fn together(folder: &Opened, [a, b]: &[Varied; 2]) -> Option<(Inputs, Vec<Inputs>)> {
    let sample = folder.sample(a);
    let Words::Texts(mut texts) = sample.words.clone() else {
        let singles = vec![folder.inputs(a), folder.inputs(b)];
        // Pictures of sizes that do not go together are refused; everything else must batch.
        let sizes: Vec<_> =
            singles.iter().filter_map(|s| s.pixels.as_ref().map(|p| p.dims()[1..].to_vec())).collect();
        if sizes.windows(2).any(|pair| pair[0] != pair[1]) {
            assert!(Inputs::batch(&singles, folder.subject.pad()).is_err());
            return None;
        }
        return Some((Inputs::batch(&singles, folder.subject.pad()).unwrap(), singles));
    };
    texts.push(b.words.clone());
    let with = |texts: &[String]| {
        let sample = Sample { words: Words::Texts(texts.to_vec()), ..sample.clone() };
        folder.subject.encode(&sample).ok()
    };
    let singles: Option<Vec<Inputs>> = texts.iter().map(|text| with(std::slice::from_ref(text))).collect();
    Some((with(&texts)?, singles?))
}

#[test]
fn rows_of_a_padded_batch_equal_single_runs_at_every_site() {
    of_every(3, |folder, varied| {
        let Some((batch, singles)) = together(folder, &[varied[0].clone(), varied[1].clone()]) else {
            return Ok(());
        };
        let both = folder.all(&batch);
        for (row, single) in singles.iter().enumerate() {
            let alone = folder.all(single);
            for spec in folder.sites(single) {
                let ours = own(spec, alone.get(spec.site).unwrap(), single, 0);
                let theirs = own(spec, both.get(spec.site).unwrap(), &batch, row);
                prop_assert_eq!(&ours.0, &theirs.0, "{} row {}", spec.site, row);
                let off = off(&theirs.1, &ours.1);
                prop_assert!(off < ROUNDING, "{} row {}: {:e}", spec.site, row, off);
            }
        }
        Ok(())
    });
}

/// Greedy tokens are those that passes over the whole sequence give; where two lead by no more than rounding, either may be taken.
#[test]
fn cached_generation_equals_passes_over_the_whole_sequence() {
    of_every(3, |folder, varied| {
        let Some((batch, singles)) = together(folder, &[varied[0].clone(), varied[1].clone()]) else {
            return Ok(());
        };
        let how = Generation { max_new: 5, sampling: Sampling::Greedy, stop_at_end: false };
        let generated = match folder.subject.generate(&batch, &how) {
            Err(SubjectError::Unsupported { .. }) => return Ok(()),
            generated => generated.unwrap(),
        };
        for (single, made) in singles.iter().zip(&generated) {
            let mut inputs = single.clone();
            prop_assert_eq!(made.tokens.len(), 5);
            for (token, probability) in made.tokens.iter().zip(&made.probabilities) {
                let trace = match folder.subject.run(&inputs, Plan::new()) {
                    // A generated placeholder is a token like any other; in a prompt it stands for a picture.
                    Err(error) if error.to_string().contains("image positions") => break,
                    trace => trace.unwrap(),
                };
                let dims = trace.output().logits.as_ref().unwrap().dims();
                let logits = said(&trace);
                let last = &logits[logits.len() - dims[2]..];
                let top = last.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
                let largest = last.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                let lead = top - last[*token as usize];
                prop_assert!(lead <= 1e-4 * largest, "{} behind the best", lead);
                let sum: f32 = last.iter().map(|x| (x - top).exp()).sum();
                prop_assert!((probability - (-lead).exp() / sum).abs() < 1e-3);
                inputs.ids[0].push(*token);
            }
        }
        Ok(())
    });
}

/// The language model of a folder, where it is one without pictures.
fn decoder(folder: &Opened) -> Option<Vlm> {
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.folder.join("config.json")).unwrap()).unwrap();
    let kind = config["model_type"].as_str().unwrap();
    DecoderConfig::families()
        .any(|family| family == kind)
        .then(|| open_decoder(&folder.folder, &Device::flex()).unwrap())
}

#[test]
fn what_is_cached_equals_what_is_not_at_every_site() {
    of_every(3, |folder, varied| {
        let Some(model) = decoder(folder) else { return Ok(()) };
        let singles = [folder.inputs(&varied[0]), folder.inputs(&varied[1])];
        let batch = Inputs::batch(&singles, folder.subject.pad()).unwrap();
        let whole = folder.all(&batch);
        // The cache begins behind the padding of every row, or within it.
        let split = 1 + varied[0].number as usize % (batch.positions() - 1);
        let (device, mut cache) = (Device::flex(), KvCache::default());
        let mut first = batch.clone();
        first.ids.iter_mut().for_each(|ids| ids.truncate(split));
        model.network().forward(&first, Some(&mut cache), &device, &mut Run::idle()).unwrap();
        let rest: Vec<Vec<u32>> = batch.ids.iter().map(|ids| ids[split..].to_vec()).collect();
        let mut run = Run::start(read(&folder.sites(&batch)), "cached", folder.subject.sites()).unwrap();
        let logits = model.network().go_on(&rest, &batch.pads, &mut cache, &device, &mut run).unwrap();
        let cached = run.finish(Output::of_logits(logits.unwrap())).unwrap();
        for spec in folder.subject.sites() {
            let (theirs, ours) = (whole.get(spec.site).unwrap(), cached.get(spec.site).unwrap());
            for row in 0..batch.rows() {
                let theirs = own(spec, theirs, &batch, row);
                // What is computed now is the end of the sequence.
                let padded = batch.pads[row];
                let ours = ours.to_values().unwrap();
                let dims = cached.get(spec.site).unwrap().dims();
                let begins = |axis: &AxisName, len: usize| match axis {
                    AxisName::Key => padded,
                    AxisName::Pos | AxisName::Query if spec.site.point() != Point::Logits => {
                        padded.saturating_sub(split).min(len)
                    }
                    _ => 0,
                };
                let shape: Vec<usize> = spec
                    .axes
                    .iter()
                    .zip(&dims)
                    .map(
                        |((axis, _), len)| {
                            if *axis == AxisName::Batch { 1 } else { len - begins(axis, *len) }
                        },
                    )
                    .collect();
                for flat in 0..shape.iter().product::<usize>() {
                    let (mut rest, mut index, mut stride) = (flat, 0, 1);
                    let (mut whole_index, mut whole_stride) = (0, 1);
                    for (at, (axis, _)) in spec.axes.iter().enumerate().rev() {
                        let place = rest % shape[at];
                        rest /= shape[at];
                        let start = if *axis == AxisName::Batch { row } else { begins(axis, dims[at]) };
                        index += (start + place) * stride;
                        stride *= dims[at];
                        let behind = if *axis == AxisName::Batch { 0 } else { theirs.0[at] - shape[at] };
                        whole_index += (behind + place) * whole_stride;
                        whole_stride *= theirs.0[at];
                    }
                    let ours = Some(ours[index]).filter(|v| *v > -1e30).unwrap_or(0.0);
                    let theirs = theirs.1[whole_index];
                    let largest = 1.0_f32.max(theirs.abs());
                    prop_assert!((ours - theirs).abs() < ROUNDING * largest, "{} row {}", spec.site, row);
                }
            }
        }
        Ok(())
    });
}

/// A part of a site: the whole of it, or for one of its axes a few indices.
fn region(folder: &Opened, site: Site, dims: &[usize], number: u64) -> Region {
    let spec = folder.spec(site);
    let axis = number as usize % (spec.axes.len() + 1);
    match spec.axes.get(axis) {
        Some((name, _)) => {
            let from = (number / 7) as usize % dims[axis];
            Region::all().of(*name, from..(from + 2).min(dims[axis]))
        }
        None => Region::all(),
    }
}

#[test]
fn writing_back_what_was_read_changes_nothing_at_any_site() {
    of_every(12, |folder, varied| {
        let inputs = folder.inputs(&varied[0]);
        let sites = folder.sites(&inputs);
        let site = sites[varied[1].which % sites.len()].site;
        // Reading the same sites keeps the same paths, so that not a bit may differ.
        let watched = folder.subject.run(&inputs, Plan::new().read(site).unwrap().to_output()).unwrap();
        let value = watched.get(site).unwrap().clone();
        let region = region(folder, site, &value.dims(), varied[1].number);
        let plan = Plan::new().read(site).unwrap().change(site, region.clone(), Change::Set(value)).unwrap();
        let again = folder.subject.run(&inputs, plan.to_output()).unwrap();
        prop_assert_eq!(said(&again), said(&watched), "{} {:?}", site, region);
        Ok(())
    });
}

#[test]
fn a_pass_resumed_at_any_block_equals_the_whole_one() {
    of_every(2, |folder, varied| {
        let inputs = folder.inputs(&varied[0]);
        let text = folder.subject.anatomy().iter().find(|anatomy| anatomy.part == Part::Text);
        let Some(text) = text else { return Ok(()) };
        if said_in_pairs(folder, &inputs) {
            return Ok(());
        }
        let site = Site::block(Part::Text, varied[1].which % text.blocks, Point::ResidPre);
        let whole = folder.subject.run(&inputs, Plan::new().read(site).unwrap().to_output()).unwrap();
        let state = whole.state(Part::Text, site.block_index().unwrap()).unwrap();
        let resumed = folder.subject.run(&inputs, Plan::new().resume(state)).unwrap();
        prop_assert_eq!(said(&resumed), said(&whole), "{}", site);
        Ok(())
    });
}

/// Dual encoders have no one stream to resume.
fn said_in_pairs(folder: &Opened, inputs: &Inputs) -> bool {
    folder.subject.run(inputs, Plan::new()).unwrap().output().pairs.is_some()
}

/// The stream is the sum of what was written to it, in every part; and rows of patterns sum to one.
#[test]
fn the_stream_is_the_sum_of_what_was_written_to_it() {
    of_every(2, |folder, varied| {
        let trace = folder.all(&folder.inputs(&varied[0]));
        let mut integrity = Integrity::of(folder.subject.as_ref());
        for (site, value) in trace.values() {
            prop_assert_eq!(integrity.see(site, value), Ok(()));
        }
        Ok(())
    });
}

/// Each head's share and the output bias make up what attention adds; the bias is the same at every position.
#[test]
fn heads_sum_to_what_attention_adds() {
    of_every(2, |folder, varied| {
        let trace = folder.all(&folder.inputs(&varied[0]));
        for anatomy in folder.subject.anatomy() {
            for block in 0..anatomy.blocks {
                let site = |point| Site::block(anatomy.part, block, point);
                let Ok(result) = trace.get(site(Point::Result)) else { continue };
                let d = anatomy.d_model;
                let added = trace.get(site(Point::AttnOut)).unwrap().to_values().unwrap();
                let heads = result.to_values().unwrap();
                let left: Vec<f32> = added
                    .chunks(d)
                    .zip(heads.chunks(anatomy.heads * d))
                    .flat_map(|(added, heads)| {
                        (0..d).map(|i| added[i] - heads.chunks(d).map(|head| head[i]).sum::<f32>())
                    })
                    .collect();
                // A norm behind attention leaves no such sum (Gemma 2).
                if folder.name.starts_with("gemma2") {
                    continue;
                }
                let largest = added.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                for position in left.chunks(d) {
                    let apart =
                        position.iter().zip(&left[..d]).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                    prop_assert!(apart < 1e-5 * largest.max(1.0), "{} {}", site(Point::Result), apart);
                }
            }
        }
        Ok(())
    });
}

/// A picture of noise, so that no two patches are alike.
fn noise(width: u32, height: u32, seed: u64) -> Picture {
    let level = |x: u32, y: u32, c: u64| (Seed(seed).at(u64::from(x * 4099 + y)).at(c).unit() * 255.0) as u8;
    let image =
        RgbImage::from_fn(width, height, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
    Picture { name: "noise".to_owned(), image: Arc::new(DynamicImage::from(image)) }
}

/// Pictures of any size: every patch is found by its own box, and a point between patches lies in one.
#[test]
fn boxes_and_tokens_agree() {
    of_every(6, |folder, varied| {
        let mut sample = folder.sample(&varied[0]);
        if sample.pictures.is_empty() || matches!(sample.words, Words::Texts(_) | Words::Nothing) {
            return Ok(());
        }
        let number = varied[1].number;
        let size = |i: u64| 1 + (number >> (8 * i) & 0x5f) as u32;
        sample.pictures = (0..sample.pictures.len() as u64)
            .map(|i| noise(size(2 * i % 6), size((2 * i + 1) % 6), number ^ i))
            .collect();
        // Pictures too thin for a processor are refused in words.
        let Ok(inputs) = folder.subject.encode(&sample) else { return Ok(()) };
        let map = inputs.map();
        prop_assert_eq!(map.tokens.len(), inputs.positions());
        for (image, picture) in sample.pictures.iter().enumerate() {
            let patches = map.picture(image);
            prop_assert!(!patches.is_empty(), "picture {} has no patches", image);
            let bbox = |position: usize| map.tokens[position].patch.as_ref().unwrap().bbox;
            let (width, height) = (picture.image.width() as f32, picture.image.height() as f32);
            for position in &patches {
                let [x0, y0, x1, y1] = bbox(*position);
                prop_assert!(map.tokens[*position].modality == Modality::Image);
                prop_assert!(x0 <= x1 && y0 <= y1 && x0 > -1e-2 && y0 > -1e-2, "{:?}", bbox(*position));
                prop_assert!(
                    x1 < width + 1e-2 && y1 < height + 1e-2,
                    "{:?} in {}x{}",
                    bbox(*position),
                    width,
                    height
                );
                if x1 - x0 > 1e-3 && y1 - y0 > 1e-3 {
                    prop_assert!(map.covering(image, bbox(*position)).contains(position));
                }
            }
            let hull = patches.iter().map(|p| bbox(*p)).fold([f32::MAX, f32::MAX, 0.0, 0.0], |h, b| {
                [h[0].min(b[0]), h[1].min(b[1]), h[2].max(b[2]), h[3].max(b[3])]
            });
            let share = |i: u64| (Seed(number).at(i).unit()).clamp(0.001, 0.999);
            let (x, y) = (hull[0] + share(1) * (hull[2] - hull[0]), hull[1] + share(2) * (hull[3] - hull[1]));
            let covering = map.covering(image, [x - 1e-2, y - 1e-2, x + 1e-2, y + 1e-2]);
            prop_assert!(!covering.is_empty(), "nothing at {} {} of {:?}", x, y, hull);
        }
        Ok(())
    });
}

/// Every written byte of a prompt belongs to a token, and a token is found by its bytes.
#[test]
fn bytes_and_tokens_agree() {
    of_every(6, |folder, varied| {
        let sample = folder.sample(&varied[0]);
        let Words::Prompt(prompt) = &sample.words else { return Ok(()) };
        let Ok(inputs) = folder.subject.encode(&sample) else { return Ok(()) };
        let map = inputs.map();
        prop_assert_eq!(map.tokens.len(), inputs.ids[0].len());
        let mut covered = vec![false; prompt.len()];
        for (position, (label, id)) in map.tokens.iter().zip(&inputs.ids[0]).enumerate() {
            prop_assert_eq!(label.id, Some(*id));
            let Some((from, to)) = label.bytes else { continue };
            prop_assert!(from <= to && to <= prompt.len());
            covered[from..to].iter_mut().for_each(|byte| *byte = true);
            prop_assert!(from == to || map.bytes(from, to).contains(&position));
        }
        if sample.pictures.is_empty() && sample.clips.is_empty() {
            let bare: Vec<u8> = prompt.bytes().zip(&covered).filter(|(_, c)| !**c).map(|(b, _)| b).collect();
            prop_assert!(bare.iter().all(u8::is_ascii_whitespace), "{:?} in {:?}", bare, prompt);
        }
        Ok(())
    });
}

/// A property that fails must say where.
#[test]
fn a_property_that_fails_names_the_folder() {
    let said = std::panic::catch_unwind(|| {
        of_every(1, |_, _| Err(TestCaseError::fail("as it should")));
    });
    let said = said.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("as it should") && said.starts_with("clip-a: "), "{said}");
}
