//! What must hold between runs of one model: fused and explicit attention, single and batched, cached and uncached,
//! whole and resumed, read and written back. On a tiny checkpoint with grouped heads, biases and awkward sizes.

use std::path::Path;
use std::sync::OnceLock;

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use mmlens_core::finding::Tolerance;
use mmlens_core::*;
use mmlens_zoo::llava::open_llava;
use mmlens_zoo::llava_next::open_llava_next;
use mmlens_zoo::{Vlm, shipped};
use proptest::prelude::*;

fn llava() -> &'static Vlm {
    static MODEL: OnceLock<Vlm> = OnceLock::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/llava-a/model");
    MODEL.get_or_init(|| open_llava(&folder, &Device::flex()).unwrap())
}

/// A picture of noise, so that no two patches are alike.
fn picture(width: u32, height: u32, seed: u64) -> Picture {
    let level = |x: u32, y: u32, c: u64| (Seed(seed).at(u64::from(x * 4099 + y)).at(c).unit() * 255.0) as u8;
    let image =
        RgbImage::from_fn(width, height, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
    Picture::new(format!("noise-{width}x{height}"), image)
}

fn sample(prompt: &str, size: (u32, u32)) -> Sample {
    Sample::prompt(vec![picture(size.0, size.1, 3)], prompt)
}

fn all_sites(subject: &dyn Subject) -> Vec<Site> {
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

#[test]
fn explicit_and_fused_attention_agree() {
    let inputs = llava().encode(&sample("<image>What is it?", (37, 51))).unwrap().all_logits();
    let fused = llava().run(&inputs, Plan::new()).unwrap();
    let explicit =
        llava().run(&inputs, Plan::new().read("*.blocks.*.attn.pattern").unwrap().to_output()).unwrap();
    // another order of summation in f32
    assert!(off(&logits(&explicit), &logits(&fused)) < 1e-5);
}

#[test]
fn writing_back_what_was_read_changes_nothing_at_any_site() {
    let inputs = llava().encode(&sample("<image>Is it?", (30, 30))).unwrap();
    let sites = all_sites(llava());
    let whole = llava().run(&inputs, read(&sites)).unwrap();
    for site in sites {
        // Reading the same sites keeps the same paths, so that not a bit may differ.
        let watched = llava().run(&inputs, Plan::new().read(site).unwrap().to_output()).unwrap();
        let back = Plan::new().set(site, watched.get(site).unwrap().clone()).unwrap();
        let again = llava().run(&inputs, back).unwrap();
        assert_eq!(logits(&again), logits(&watched), "{site}");
        assert!(off(&logits(&again), &logits(&whole)) < 1e-5, "{site}");
    }
}

#[test]
fn the_stream_is_the_sum_of_what_was_written_to_it() {
    let inputs = llava().encode(&sample("<image>Sum?", (30, 44))).unwrap();
    let trace = llava().run(&inputs, read(&all_sites(llava()))).unwrap();
    for part in [Part::Vision, Part::Text] {
        let blocks = llava().anatomy().iter().find(|a| a.part == part).unwrap().blocks;
        for block in 0..blocks {
            let at = |point| values(trace.get(Site::block(part, block, point)).unwrap());
            let add = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).map(|(x, y)| x + y).collect::<Vec<_>>();
            assert_eq!(add(at(Point::ResidPre), at(Point::AttnOut)), at(Point::ResidMid));
            assert_eq!(add(at(Point::ResidMid), at(Point::MlpOut)), at(Point::ResidPost));
            let keys = trace.get(Site::block(part, block, Point::Pattern)).unwrap().dims()[3];
            for row in at(Point::Pattern).chunks(keys) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn rows_of_a_padded_batch_equal_single_runs_at_every_site() {
    let samples =
        [sample("<image>Hi?", (30, 30)), sample("Say, is <image> blue, or rather green?", (19, 83))];
    let singles: Vec<Inputs> = samples.iter().map(|s| llava().encode(s).unwrap().all_logits()).collect();
    let batch = Inputs::batch(&singles, llava().pad()).unwrap();
    assert_ne!(singles[0].positions(), singles[1].positions());
    let sites = all_sites(llava());
    let together = llava().run(&batch, read(&sites)).unwrap();
    for (row, single) in singles.iter().enumerate() {
        let alone = llava().run(single, read(&sites)).unwrap();
        let pad = batch.pads[row];
        for spec in llava().sites() {
            let ours = alone.get(spec.site).unwrap();
            let theirs = together.get(spec.site).unwrap().rows(row, 1).unwrap();
            let (small, large) = (ours.dims(), theirs.dims());
            // Cut the padding off every axis that has it.
            let large_values = values(&theirs);
            let shift: Vec<usize> =
                small.iter().zip(&large).map(|(s, l)| if l > s { pad } else { 0 }).collect();
            let cut: Vec<f32> = (0..small.iter().product::<usize>())
                .map(|flat| {
                    let (mut rest, mut index, mut stride) = (flat, 0, 1);
                    for axis in (0..small.len()).rev() {
                        index += (rest % small[axis] + shift[axis]) * stride;
                        rest /= small[axis];
                        stride *= large[axis];
                    }
                    large_values[index]
                })
                .collect();
            // the same arithmetic on another shape: f32 rounding
            let what = format!("{} row {row}", spec.site);
            spec.tolerance(&small, 1e-4).check(&what, &cut, &values(ours)).unwrap();
        }
    }
}

#[test]
fn cached_generation_equals_passes_over_the_whole_sequence() {
    let mut inputs = llava().encode(&sample("<image>\nAnd then", (47, 31))).unwrap();
    let how = Generation { max_new: 8, sampling: Sampling::Greedy, stop_at_end: false };
    let generated = llava().generate(&inputs, &how).unwrap().remove(0);
    for token in generated.tokens {
        assert_eq!(top_token(llava(), &inputs).unwrap(), token);
        inputs = inputs.with(|batch| batch.ids[0].push(token)).unwrap();
    }
}

#[test]
fn rows_of_a_generated_batch_equal_single_generations() {
    let samples =
        [sample("<image>Hi?", (30, 30)), sample("Say, is <image> blue, or rather green?", (19, 83))];
    let singles: Vec<Inputs> = samples.iter().map(|s| llava().encode(s).unwrap()).collect();
    for sampling in [Sampling::Greedy, Sampling::Draw { temperature: 0.9, top_p: 0.8, seed: Seed(5) }] {
        let how = Generation { max_new: 9, sampling, stop_at_end: true };
        let together = llava().generate(&Inputs::batch(&singles, llava().pad()).unwrap(), &how).unwrap();
        // The draw of a row depends on its number, so only the first row can be compared when drawing.
        let rows = if sampling == Sampling::Greedy { 2 } else { 1 };
        for row in 0..rows {
            let alone = llava().generate(&singles[row], &how).unwrap();
            assert_eq!(together[row].tokens, alone[0].tokens, "{sampling:?} row {row}");
        }
    }
}

#[test]
fn drawing_is_repeatable_and_greedy_is_its_limit() {
    let inputs = llava().encode(&sample("<image>Draw", (30, 30))).unwrap();
    let draw = |temperature, top_p, seed| {
        let sampling = Sampling::Draw { temperature, top_p, seed: Seed(seed) };
        llava()
            .generate(&inputs, &Generation { max_new: 6, sampling, stop_at_end: false })
            .unwrap()
            .remove(0)
            .tokens
    };
    let greedy =
        llava().generate(&inputs, &Generation { max_new: 6, sampling: Sampling::Greedy, stop_at_end: false });
    assert_eq!(draw(1.5, 1.0, 1), draw(1.5, 1.0, 1));
    assert_eq!(draw(1.0, 1e-6, 4), greedy.unwrap().remove(0).tokens);
    assert!((0..20).any(|seed| draw(3.0, 1.0, seed) != draw(3.0, 1.0, seed + 1)));
    let bad = Generation {
        max_new: 1,
        sampling: Sampling::Draw { temperature: 0.0, top_p: 1.0, seed: Seed(0) },
        stop_at_end: true,
    };
    let error = llava().generate(&inputs, &bad).unwrap_err().to_string();
    assert!(error.contains("`temperature` = 0, expected a number above 0"), "{error}");
}

#[test]
fn a_pass_resumed_at_any_block_equals_the_whole_one() {
    let inputs = llava().encode(&sample("<image>Go on", (30, 30))).unwrap();
    let whole = llava().run(&inputs, Plan::new().read("*.blocks.*.resid_pre").unwrap().to_output()).unwrap();
    for (part, blocks) in [(Part::Vision, 3), (Part::Text, 3)] {
        for block in 0..blocks {
            let resumed =
                llava().run(&inputs, Plan::new().resume(whole.state(part, block).unwrap())).unwrap();
            assert_eq!(logits(&resumed), logits(&whole), "{part:?} {block}");
        }
    }
}

#[test]
fn a_pass_does_not_resume_behind_a_state_the_connector_reads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/llava-multi/model");
    let multi = open_llava(&folder, &Device::flex()).unwrap();
    let inputs = multi.encode(&sample("<image>Go on", (30, 30))).unwrap();
    let trace = multi.run(&inputs, Plan::new().read("vision.blocks.2.resid_pre").unwrap()).unwrap();
    let error = multi.run(&inputs, Plan::new().resume(trace.state(Part::Vision, 2).unwrap())).unwrap_err();
    assert!(
        error.to_string().contains(
            "the connector reads hidden state 1 of the tower, which lies before `vision.blocks.2.resid_pre`"
        ),
        "{error}"
    );
}

#[test]
fn a_pass_ends_when_nothing_later_is_wanted() {
    let inputs = llava().encode(&sample("<image>End", (30, 30))).unwrap();
    let trace = llava().run(&inputs, Plan::new().read("vision.blocks.0.resid_post").unwrap()).unwrap();
    assert!(trace.output().logits.is_none());
    // a block beyond the features LLaVA reads still answers when asked
    let trace = llava().run(&inputs, Plan::new().read("vision.blocks.3.resid_post").unwrap()).unwrap();
    assert_eq!(trace.values().count(), 1);
}

#[test]
fn pictures_shared_between_rows_equal_pictures_of_their_own() {
    let inputs = llava().encode(&sample("<image>Twice", (30, 30))).unwrap();
    let shared = llava().run(&inputs.repeat(3), Plan::new()).unwrap();
    let own = llava().run(&inputs.repeat_entries(3).unwrap(), Plan::new()).unwrap();
    assert!(off(&logits(&shared), &logits(&own)) < 1e-5);
}

#[test]
fn odd_pictures_give_right_results() {
    for (width, height) in [(1, 1), (20_000, 3), (3, 20_000), (5, 3)] {
        let inputs = llava().encode(&sample("<image>Odd", (width, height))).unwrap();
        assert_eq!(inputs.seen.values.as_ref().unwrap().dims(), [1, 3, 30, 30]);
        assert!(logits(&llava().run(&inputs, Plan::new()).unwrap()).iter().all(|x| x.is_finite()));
    }
}

#[test]
fn a_row_that_lacks_a_tile_of_its_picture_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/llava-next-a/model");
    let subject = open_llava_next(&folder, &Device::flex()).unwrap();
    let inputs = subject.encode(&sample("<image>What is it?", (60, 40))).unwrap();
    let tiles = inputs.seen.of_rows[0].len();
    let inputs = inputs.with(|batch| batch.seen.of_rows[0].truncate(tiles - 1)).unwrap();
    let said = subject.run(&inputs, Plan::new()).unwrap_err().to_string();
    let expected = format!("`tiles of row 0` = {}, expected at least {tiles}", tiles - 1);
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn samples_it_cannot_take_are_refused() {
    let refuse = |sample: Sample| llava().encode(&sample).unwrap_err().to_string();
    assert!(refuse(Sample::prompt(vec![], "")).ends_with("the prompt is empty"));
    assert!(refuse(Sample::ask(picture(3, 3, 0), " ")).ends_with("the question is empty"));
    let two = Sample::prompt(vec![picture(9, 9, 0)], "<image> and <image>");
    assert!(
        refuse(two).ends_with("the prompt has 2 picture placeholders (`<image>`), but 1 pictures were given")
    );
    let captions = Sample::new(vec![], Words::Texts(vec!["a".into()]));
    assert!(refuse(captions).ends_with("it takes one prompt, not a list of captions"));
}

#[test]
fn the_shipped_model_opens_and_answers() {
    let shapes = shipped::shapes(&Device::flex()).unwrap();
    // a small purple cross, a large green square, a small yellow triangle
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures/scene.png");
    let sample = Sample::ask(Picture::open(scene).unwrap(), "What colour is the triangle?");
    let inputs = shapes.encode(&sample).unwrap();
    assert_eq!(inputs.map().picture(0).len(), 64);
    let answer = shapes.generate(&inputs, &Generation::default()).unwrap().remove(0);
    assert_eq!((answer.text.as_str(), answer.ended), ("yellow", true));
}

#[test]
fn the_shipped_dual_encoder_opens_and_knows_the_true_caption() {
    let shapes = shipped::shapes_clip(&Device::flex()).unwrap();
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures/scene.png");
    let texts = [
        "a small purple cross , a large green square , a small yellow triangle",
        "a small purple cross , a large green square , a large yellow triangle",
        "a small purple cross , a large green circle , a small yellow triangle",
        "a small purple cross , a large red square , a small yellow triangle",
    ];
    let texts = Words::Texts(texts.map(str::to_owned).to_vec());
    let inputs = shapes.encode(&Sample::new(vec![Picture::open(scene).unwrap()], texts)).unwrap();
    let trace = shapes.run(&inputs, Plan::new().to_output()).unwrap();
    let likely = trace.output().pairs.as_ref().unwrap().probabilities().unwrap().to_values().unwrap();
    assert!(likely[0] > 0.5, "{likely:?}");
}

#[test]
fn the_shipped_model_that_listens_opens_and_answers() {
    let tones = shipped::tones(&Device::flex()).unwrap();
    // a long loud deep buzz, a long soft high hiss, a short soft deep pulse
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sounds/scene.wav");
    let sound = mmlens_core::sound::Sound::open(scene).unwrap();
    for (question, expected) in [
        ("What pitch is the hiss?", "high"),
        ("how many sounds are there ?", "3"),
        ("what kind is the first sound ?", "buzz"),
    ] {
        let inputs = tones.encode(&Sample::hear(sound.clone(), question)).unwrap();
        assert_eq!(inputs.map().picture(0).len(), 75);
        let answer = tones.generate(&inputs, &Generation::default()).unwrap().remove(0);
        assert_eq!((answer.text.as_str(), answer.ended), (expected, true), "{question}");
    }
}

#[test]
fn shipped_models_are_found_by_name() {
    for name in shipped::names() {
        assert_eq!(shipped::named(name, &Device::flex()).unwrap().unwrap().name(), name);
    }
    assert!(shipped::named("shapes", &Device::flex()).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A box of the original picture, the tokens that cover it, and back: the tokens' boxes contain what of the box
    /// the processor kept.
    #[test]
    fn boxes_and_tokens_agree(width in 1_u32..90, height in 1_u32..90, x in 0.0_f32..1.0, y in 0.0_f32..1.0) {
        let inputs = llava().encode(&sample("<image>", (width, height))).unwrap();
        let map = inputs.map();
        prop_assert_eq!(map.picture(0).len(), 25);
        let view = &map.views[0];
        let inside = |spans: &[[f32; 2]], at: f32| spans[0][0] <= at && at <= spans[spans.len() - 1][1];
        let (px, py) = (x * width as f32, y * height as f32);
        if inside(&view.cols, px) && inside(&view.rows, py) {
            let covering = map.covering(0, [px - 1e-3, py - 1e-3, px + 1e-3, py + 1e-3]);
            prop_assert!(!covering.is_empty());
            let holds = covering.iter().any(|p| {
                let b = map.tokens[*p].patch.as_ref().unwrap().bbox;
                b[0] - 1e-2 <= px && px <= b[2] + 1e-2 && b[1] - 1e-2 <= py && py <= b[3] + 1e-2
            });
            prop_assert!(holds);
        }
    }
}
