//! What must hold between runs of one model, of every family: single and batched, cached and uncached, whole and resumed,
//! read and written back; and what the stream is the sum of.

use std::sync::Arc;

use burn::tensor::Device;
use mmlens_core::finding::{Tolerance, largest, top};
use mmlens_core::{
    AxisName, Change, Generation, Grid, Inputs, Integrity, Output, Part, Plan, Point, Region, Run, Sample,
    Sampling, Site, SiteSpec, Trace, Words,
};
use mmlens_zoo::decoder::open_decoder;
use mmlens_zoo::idefics3::open_idefics3;
use mmlens_zoo::llava::open_llava;
use mmlens_zoo::llava_next::open_llava_next;
use mmlens_zoo::parts::KvCache;
use mmlens_zoo::qwen_vl::open_qwen_vl;
use mmlens_zoo::{DecoderConfig, Vlm};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::every::{Opened, Varied, alike, of_every, of_those, own, read, said};

/// A batch of two samples, and each alone; samples that are no batch are rejected. Of a dual encoder, the texts of one sample.
fn together(folder: &Opened, [a, b]: &[Varied; 2]) -> Result<(Inputs, Vec<Inputs>), TestCaseError> {
    let sample = folder.sample(a);
    let Words::Texts(mut texts) = sample.words.clone() else {
        let singles = vec![folder.inputs(a), folder.inputs(b)];
        // Pictures of sizes that do not go together are refused; everything else must batch.
        let sizes: Vec<_> =
            singles.iter().filter_map(|s| s.seen.values.as_ref().map(|p| p.dims()[1..].to_vec())).collect();
        if sizes.windows(2).any(|pair| pair[0] != pair[1]) {
            assert!(Inputs::batch(&singles, folder.subject.pad()).is_err());
            return Err(TestCaseError::reject("pictures of sizes that do not go together"));
        }
        return Ok((Inputs::batch(&singles, folder.subject.pad()).unwrap(), singles));
    };
    texts.push(b.words.clone());
    let with = |texts: &[String]| {
        let sample = Sample { words: Words::Texts(texts.to_vec()), ..sample.clone() };
        folder.encoded(&sample)
    };
    let singles: Result<Vec<Inputs>, _> = texts.iter().map(|text| with(std::slice::from_ref(text))).collect();
    Ok((with(&texts)?, singles?))
}

#[test]
fn rows_of_a_padded_batch_equal_single_runs_at_every_site() {
    of_every(3, |folder, varied| {
        let (batch, singles) = together(folder, &[varied[0].clone(), varied[1].clone()])?;
        let both = folder.all(&batch);
        for (row, single) in singles.iter().enumerate() {
            let alone = folder.all(single);
            for spec in folder.sites(single) {
                let ours = own(spec, alone.get(spec.site).unwrap(), single, 0);
                let theirs = own(spec, both.get(spec.site).unwrap(), &batch, row);
                alike(spec, row, &theirs, &ours)?;
            }
        }
        Ok(())
    });
}

/// Greedy tokens are those that passes over the whole sequence give; where two lead by no more than rounding, either may be taken.
#[test]
fn cached_generation_equals_passes_over_the_whole_sequence() {
    let tried = of_those(3, Opened::generates, |folder, varied| {
        let (batch, singles) = together(folder, &[varied[0].clone(), varied[1].clone()])?;
        let how = Generation { max_new: 5, sampling: Sampling::Greedy, stop_at_end: false };
        let generated = folder.subject.generate(&batch, &how).unwrap();
        let mut compared = 0;
        for (single, made) in singles.iter().zip(&generated) {
            prop_assert_eq!(made.tokens.len(), 5);
            // Behind a question that an encoder of its own reads, an answer begins with its own token.
            let begun = begins_an_answer(folder);
            let mut inputs = single.clone().with(|batch| batch.ids[0].extend(begun)).unwrap();
            for (token, probability) in made.tokens.iter().zip(&made.probabilities) {
                let trace = match folder.subject.run(&inputs, Plan::new()) {
                    // A generated placeholder is a token like any other; in a prompt it stands for a picture.
                    Err(error) if error.to_string().contains("image positions") => break,
                    trace => trace.unwrap(),
                };
                let dims = trace.output().logits.as_ref().unwrap().dims();
                let logits = said(&trace);
                let last = &logits[logits.len() - dims[2]..];
                let top = last[top(last).unwrap().unwrap()];
                let lead = top - last[*token as usize];
                prop_assert!(f64::from(lead) <= 1e-4 * largest(last).unwrap(), "{} behind the best", lead);
                let sum: f32 = last.iter().map(|x| (x - top).exp()).sum();
                prop_assert!((probability - (-lead).exp() / sum).abs() < 1e-3);
                inputs = inputs.with(|batch| batch.ids[0].push(*token)).unwrap();
                compared += 1;
            }
        }
        prop_assert!(compared >= batch.rows());
        Ok(())
    });
    assert!(tried >= 15, "only {tried} folders generate");
}

/// The token that begins an answer, where the question is read by an encoder of its own.
pub(super) fn begins_an_answer(folder: &Opened) -> Option<u32> {
    folder.subject.anatomy().iter().find(|anatomy| anatomy.part == Part::Encoder)?;
    folder.config()["text_config"]["bos_token_id"].as_u64().map(|id| id as u32)
}

/// The network of a folder that goes on from a cache.
fn network(folder: &Opened) -> Option<Vlm> {
    let kind = folder.kind();
    let (at, device) = (&folder.folder, Device::flex());
    let opened = match kind.as_str() {
        "llava" => open_llava(at, &device),
        "llava_next" => open_llava_next(at, &device),
        "smolvlm" | "idefics3" => open_idefics3(at, &device),
        "qwen2_vl" | "qwen2_5_vl" | "qwen3_vl" => open_qwen_vl(at, &device),
        kind if DecoderConfig::families().any(|family| family == kind) => open_decoder(at, &device),
        _ => return None,
    };
    Some(opened.unwrap())
}

/// How far the last moment of a clip lies beyond the place where Qwen2.5-VL lets the text behind it go on. In transformers, and
/// so here, an answer goes on behind the last moment, but a prompt behind the longer side of the picture: until the text has
/// caught up, what is cached and what is not are at different places.
fn beyond(folder: &Opened, inputs: &Inputs, image: usize) -> usize {
    let Some(Grid { frames, rows, cols, seconds: Some(seconds) }) = inputs.seen.grids.get(image).copied()
    else {
        return 0;
    };
    let config = folder.config();
    let vision = &config["vision_config"];
    let Some(rate) = vision["tokens_per_second"].as_f64() else { return 0 };
    let merge = vision["spatial_merge_size"].as_u64().unwrap_or(2) as usize;
    let last = (frames.saturating_sub(1) as f64 * rate * seconds) as usize;
    (last + 1).saturating_sub(rows.max(cols) / merge)
}

#[test]
fn what_is_cached_equals_what_is_not_at_every_site() {
    let tried = of_those(
        3,
        |folder| network(folder).is_some(),
        |folder, varied| {
            let model = network(folder).unwrap();
            let (batch, _) = together(folder, &[varied[0].clone(), varied[1].clone()])?;
            let whole = folder.all(&batch);
            // The cache begins anywhere behind the padding and the pictures of every row.
            let pictured = (0..batch.rows()).filter_map(|row| {
                let shown = batch.maps[row].tokens.iter().rposition(|token| token.patch.is_some())?;
                Some(
                    batch.pads[row]
                        + shown
                        + 2
                        + batch.seen.of_rows[row].iter().map(|i| beyond(folder, &batch, *i)).sum::<usize>(),
                )
            });
            let padded = batch.pads.iter().max().map_or(1, |pad| pad + 1);
            let from = pictured.max().unwrap_or(1).max(padded);
            // Nothing is left of a prompt that ends with a picture.
            prop_assume!(from < batch.positions());
            let room = batch.positions() - 1 - from;
            let split = from + varied[0].number as usize % (room + 1);
            let of_words =
                |spec: &&SiteSpec| spec.site.part() == Part::Text && spec.site.point() != Point::Deepstack;
            let sites: Vec<&SiteSpec> = folder.sites(&batch).into_iter().filter(of_words).collect();
            let (device, mut cache) = (Device::flex(), KvCache::default());
            let first = batch.clone().with(|batch| {
                batch.ids.iter_mut().for_each(|ids| ids.truncate(split));
                batch.maps.iter_mut().for_each(|map| Arc::make_mut(map).tokens.truncate(0));
            });
            let first = first.unwrap();
            model.network().forward(&first, Some(&mut cache), &device, &mut Run::idle()).unwrap();
            let rest: Vec<Vec<u32>> = batch.ids.iter().map(|ids| ids[split..].to_vec()).collect();
            let mut run = Run::start(read(&sites), "cached", folder.subject.sites()).unwrap();
            let logits = model.network().go_on(&rest, &batch.pads, &mut cache, &device, &mut run).unwrap();
            let cached = run.finish(Output::of_logits(logits.unwrap())).unwrap();
            for spec in sites {
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
                    let mut cut = (shape.clone(), Vec::new());
                    let mut whole = cut.clone();
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
                        cut.1.push(ours[index]);
                        whole.1.push(theirs.1[whole_index]);
                    }
                    alike(spec, row, &cut, &whole)?;
                }
            }
            Ok(())
        },
    );
    assert!(tried >= 15, "only {tried} folders have a cache");
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

/// Every site at once, each in a region of its own: all of it, or a few heads, neurons, positions.
#[test]
fn writing_back_at_all_sites_changes_nothing_anywhere() {
    of_every(4, |folder, varied| {
        let inputs = folder.inputs(&varied[0]);
        let sites = folder.sites(&inputs);
        let watched = folder.all(&inputs);
        let back = sites.iter().enumerate().fold(read(&sites), |plan, (i, spec)| {
            let value = watched.get(spec.site).unwrap().clone();
            let number = varied[1].number.rotate_left(i as u32).wrapping_add(i as u64);
            let region = region(folder, spec.site, &value.dims(), number);
            plan.change(spec.site, region, Change::Set(value)).unwrap()
        });
        let again = folder.subject.run(&inputs, back).unwrap();
        prop_assert_eq!(said(&again), said(&watched));
        for spec in sites {
            let values = |trace: &Trace| trace.get(spec.site).unwrap().to_values().unwrap();
            prop_assert_eq!(values(&again), values(&watched), "{}", spec.site);
        }
        Ok(())
    });
}

#[test]
fn a_pass_resumed_at_any_block_equals_the_whole_one() {
    let text = |folder: &Opened| {
        // Dual encoders have no one stream to resume.
        let text = folder.subject.anatomy().iter().find(|anatomy| anatomy.part == Part::Text);
        text.filter(|_| !folder.is_dual()).cloned()
    };
    let tried = of_those(
        2,
        |folder| text(folder).is_some(),
        |folder, varied| {
            let inputs = folder.inputs(&varied[0]);
            let text = text(folder).unwrap();
            let site = Site::block(Part::Text, varied[1].which % text.blocks, Point::ResidPre);
            let whole = folder.subject.run(&inputs, Plan::new().read(site).unwrap().to_output()).unwrap();
            let state = whole.state(Part::Text, site.block_index().unwrap()).unwrap();
            let resumed = folder.subject.run(&inputs, Plan::new().resume(state).to_output()).unwrap();
            prop_assert_eq!(said(&resumed), said(&whole), "{}", site);
            Ok(())
        },
    );
    assert!(tried >= 15, "only {tried} folders resume");
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
    // A norm behind attention leaves no such sum.
    let normed = |folder: &Opened, part| part == Part::Text && folder.decoder() == "gemma2";
    let summed = |folder: &Opened| {
        let mut sites = folder.subject.sites().iter().map(|spec| spec.site);
        sites.any(|site| site.point() == Point::Result && !normed(folder, site.part()))
    };
    let tried = of_those(2, summed, |folder, varied| {
        let trace = folder.all(&folder.inputs(&varied[0]));
        let mut compared = 0;
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
                if normed(folder, anatomy.part) {
                    continue;
                }
                // A sum over heads in another order: rounded as its terms are.
                let rounding = Tolerance::absolute(1e-5 * largest(&added).unwrap().max(1.0));
                for position in left.chunks(d) {
                    rounding.check(&site(Point::Result).to_string(), position, &left[..d]).unwrap();
                    compared += 1;
                }
            }
        }
        // Of Gemma 2 behind a tower, a prompt without a picture has none.
        prop_assume!(compared > 0);
        Ok(())
    });
    assert!(tried >= 15, "only {tried} folders have heads to sum");
}

/// A property that fails must say where.
#[test]
fn a_property_that_fails_names_the_folder() {
    let said = std::panic::catch_unwind(|| {
        of_every(1, |_, _| Err(TestCaseError::fail("as it should")));
    });
    let said = said.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("as it should") && said.starts_with("bert-a: "), "{said}");
}
