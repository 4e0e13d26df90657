//! What must hold between runs of one Qwen-VL model, with pictures and clips of different sizes in a batch: single and batched,
//! cached and uncached, whole and resumed, read and written back.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::finding::Tolerance;
use mmlens_core::*;
use mmlens_zoo::Vlm;
use mmlens_zoo::qwen_vl::open_qwen_vl;

const MODELS: [&str; 3] = ["qwen2-vl-a", "qwen2.5-vl-a", "qwen3-vl-a"];
const EYE: &str = "<|vision_start|><|image_pad|><|vision_end|>";
const FILM: &str = "<|vision_start|><|video_pad|><|vision_end|>";

fn open(name: &str) -> Vlm {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures");
    open_qwen_vl(&folder.join(name).join("model"), &Device::flex()).unwrap()
}

/// A picture of noise, so that no two patches are alike.
fn noise(width: u32, height: u32, seed: u64) -> Arc<DynamicImage> {
    let level = |x: u32, y: u32, c: u64| (Seed(seed).at(u64::from(x * 4099 + y)).at(c).unit() * 255.0) as u8;
    let image =
        RgbImage::from_fn(width, height, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
    Arc::new(DynamicImage::from(image))
}

fn picture(width: u32, height: u32) -> Picture {
    Picture { image: noise(width, height, 7), ..Picture::new("noise", DynamicImage::default()) }
}

fn clip(frames: u64, width: u32, height: u32) -> Clip {
    Clip::new("noise", (0..frames).map(|i| noise(width, height, i)).collect(), Some(2.0))
}

/// Rows of different length: words, a picture, a clip before two pictures.
fn singles(subject: &Vlm) -> Vec<Inputs> {
    let samples = [
        Sample::prompt(Vec::new(), "Nothing to see"),
        Sample::prompt(vec![picture(19, 33)], format!("Say, is {EYE} blue, or rather green?")),
        Sample::prompt(vec![picture(24, 16), picture(40, 21)], format!("{FILM} and {EYE}{EYE} ¿qué?"))
            .with_clips(vec![clip(3, 20, 31)]),
    ];
    samples.iter().map(|sample| subject.encode(sample).unwrap().all_logits()).collect()
}

fn all_sites(subject: &Vlm) -> Vec<Site> {
    subject.sites().iter().map(|s| s.site).collect()
}

fn read(sites: &[Site]) -> Plan {
    sites.iter().fold(Plan::new().to_output(), |plan, site| plan.read(*site).unwrap())
}

fn values(x: &AnyTensor) -> Vec<f32> {
    x.to_values().unwrap()
}

fn logits(trace: &Trace) -> Vec<f32> {
    values(trace.output().logits.as_ref().unwrap())
}

/// Largest difference over largest value.
fn off(a: &[f32], b: &[f32]) -> f64 {
    Tolerance::EXACT.gap("values", a, b).unwrap().relative
}

/// The part of a value that has `small` lengths and begins at `shift`.
fn part(value: &AnyTensor, small: &[usize], shift: &[usize]) -> Vec<f32> {
    let (large, all) = (value.dims(), values(value));
    let at = |flat: usize| {
        let (mut rest, mut index, mut stride) = (flat, 0, 1);
        for axis in (0..small.len()).rev() {
            index += (rest % small[axis] + shift[axis]) * stride;
            rest /= small[axis];
            stride *= large[axis];
        }
        all[index]
    };
    (0..small.iter().product::<usize>()).map(at).collect()
}

#[test]
fn rows_of_a_padded_batch_equal_single_runs_at_every_site() {
    for name in MODELS {
        let subject = open(name);
        let singles = singles(&subject);
        let batch = Inputs::batch(&singles, subject.pad()).unwrap();
        let sites = all_sites(&subject);
        let together = subject.run(&batch, read(&sites)).unwrap();
        // Patches of the rows before.
        let mut before = 0;
        let total = batch.seen.values.as_ref().unwrap().dims()[0];
        for (row, single) in singles.iter().enumerate() {
            let seen = |site: &Site| single.seen.values.is_some() || site.part() == Part::Text;
            let own: Vec<Site> = sites.iter().copied().filter(seen).collect();
            let alone = subject.run(single, read(&own)).unwrap();
            for site in own {
                let (ours, theirs) = (alone.get(site).unwrap(), together.get(site).unwrap());
                let (small, large) = (ours.dims(), theirs.dims());
                let shift: Vec<usize> = (0..small.len())
                    .map(|axis| match (site.part() == Part::Text, small[axis] == large[axis]) {
                        (true, _) if axis == 0 => row,
                        (true, false) => batch.pads[row],
                        (false, false) => before * large[axis] / total,
                        _ => 0,
                    })
                    .collect();
                // the same arithmetic on another shape: f32 rounding
                let spec = subject.sites().iter().find(|spec| spec.site == site).unwrap();
                let (what, cut) = (format!("{name}: {site} row {row}"), part(theirs, &small, &shift));
                spec.tolerance(&small, 1e-4).check(&what, &cut, &values(ours)).unwrap();
            }
            before += single.seen.values.as_ref().map_or(0, |p| p.dims()[0]);
        }
    }
}

#[test]
fn explicit_and_fused_attention_agree() {
    for name in MODELS {
        let subject = open(name);
        for inputs in singles(&subject) {
            let fused = subject.run(&inputs, Plan::new()).unwrap();
            let selector = if inputs.seen.values.is_some() {
                "*.blocks.*.attn.pattern"
            } else {
                "text.blocks.*.attn.pattern"
            };
            let explicit = subject.run(&inputs, Plan::new().read(selector).unwrap().to_output()).unwrap();
            // another order of summation in f32
            assert!(off(&logits(&explicit), &logits(&fused)) < 1e-5, "{name}");
        }
    }
}

#[test]
fn writing_back_what_was_read_changes_nothing_at_any_site() {
    for name in MODELS {
        let subject = open(name);
        let inputs = singles(&subject).remove(2);
        for site in all_sites(&subject) {
            let watched = subject.run(&inputs, Plan::new().read(site).unwrap().to_output()).unwrap();
            let back = Plan::new().set(site, watched.get(site).unwrap().clone()).unwrap();
            let again = subject.run(&inputs, back).unwrap();
            assert_eq!(logits(&again), logits(&watched), "{name}: {site}");
        }
    }
}

#[test]
fn an_edit_at_any_site_of_the_stream_has_an_effect() {
    for name in MODELS {
        let subject = open(name);
        let inputs = singles(&subject).remove(2);
        let whole = logits(&subject.run(&inputs, Plan::new()).unwrap());
        for selector in
            ["vision.pixels", "vision.embed", "vision.blocks.1.resid_post", "connector.out", "text.input"]
        {
            let site: Site = selector.parse().unwrap();
            let doubled = Plan::new().read(site).unwrap().to_output();
            let value = subject.run(&inputs, doubled).unwrap().get(site).unwrap().clone();
            let dims = value.dims();
            let other: Vec<f32> = values(&value).iter().map(|v| v * 1.5 + 0.1).collect();
            let other = AnyTensor::from_values(other, &dims, &Device::flex()).unwrap();
            let changed = logits(&subject.run(&inputs, Plan::new().set(site, other).unwrap()).unwrap());
            assert!(off(&changed, &whole) > 1e-3, "{name}: {site}");
        }
    }
}

#[test]
fn cached_generation_equals_passes_over_the_whole_sequence() {
    let mut compared = 0;
    for name in MODELS {
        let subject = open(name);
        for inputs in singles(&subject) {
            let mut inputs = inputs.last_logits();
            let how = Generation { max_new: 8, sampling: Sampling::Greedy, stop_at_end: false };
            let generated = subject.generate(&inputs, &how).unwrap().remove(0);
            for token in generated.tokens {
                assert_eq!(top_token(&subject, &inputs).unwrap(), token, "{name}");
                // Random weights may say that a picture follows; a whole pass then misses it.
                if ["<|image_pad|>", "<|video_pad|>"].contains(&subject.token(token).as_str()) {
                    break;
                }
                inputs = inputs.with(|batch| batch.ids[0].push(token)).unwrap();
                compared += 1;
            }
        }
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn rows_of_a_generated_batch_equal_single_generations() {
    for name in MODELS {
        let subject = open(name);
        let singles = singles(&subject);
        let how = Generation { max_new: 9, sampling: Sampling::Greedy, stop_at_end: true };
        let together = subject.generate(&Inputs::batch(&singles, subject.pad()).unwrap(), &how).unwrap();
        for (row, single) in singles.iter().enumerate() {
            let alone = subject.generate(single, &how).unwrap();
            assert_eq!(together[row].tokens, alone[0].tokens, "{name}: row {row}");
        }
    }
}

#[test]
fn a_pass_resumed_at_any_block_equals_the_whole_one() {
    for name in MODELS {
        let subject = open(name);
        let inputs = singles(&subject).remove(2);
        let whole =
            subject.run(&inputs, Plan::new().read("*.blocks.*.resid_pre").unwrap().to_output()).unwrap();
        for anatomy in subject.anatomy() {
            for block in 0..anatomy.blocks {
                let state = whole.state(anatomy.part, block).unwrap();
                match subject.run(&inputs, Plan::new().resume(state)) {
                    Ok(resumed) => {
                        assert_eq!(logits(&resumed), logits(&whole), "{name}: {:?} {block}", anatomy.part);
                    }
                    // What the connector reads of blocks before is gone.
                    Err(error) => {
                        assert!(
                            name == "qwen3-vl-a" && anatomy.part == Part::Vision && block > 0,
                            "{name}: {error}"
                        );
                        assert!(error.to_string().contains("the connector reads"), "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn pictures_shared_between_rows_equal_pictures_of_their_own() {
    for name in MODELS {
        let subject = open(name);
        let inputs = singles(&subject).remove(2);
        let shared = subject.run(&inputs.repeat(3), Plan::new()).unwrap();
        let own = subject.run(&inputs.repeat_entries(3).unwrap(), Plan::new()).unwrap();
        assert!(off(&logits(&shared), &logits(&own)) < 1e-5, "{name}");
    }
}

#[test]
fn a_pass_ends_when_nothing_later_is_wanted() {
    for name in MODELS {
        let subject = open(name);
        let inputs = singles(&subject).remove(1);
        for site in ["vision.pixels", "vision.blocks.0.resid_post", "vision.features", "connector.out"] {
            let trace = subject.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
            assert!(trace.output().logits.is_none() && trace.values().count() == 1, "{name}: {site}");
        }
    }
}
