//! Every family of the zoo: whole pictures, tiles, patches in a sequence; decoders, dual encoders, classifiers.

use std::sync::Arc;

use burn::tensor::Device;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::finding::Tolerance;
use mmlens_core::{
    Baseline, Batch, Objective, Part, Picture, Plan, Point, Sample, Seed, Site, Subject, Words,
};
use mmlens_engine::{Absent, Coalition, Hiding, Positions, Slic, Units, Windows};
use mmlens_testkit::{checkpoint, fixtures};

use super::by_hand::{hide, put, show, unattended};
use super::{every, measured, one_by_one, pixels, score};

const ASKED: [&str; 8] = [
    "llava-a",
    "llava-siglip",
    "llava-next-a",
    "smolvlm-a",
    "idefics3-a",
    "qwen2-vl-a",
    "qwen2.5-vl-a",
    "qwen3-vl-a",
];
const ASIDE: [&str; 4] = ["vit-a", "clip-a", "siglip-a", "blip-a"];
/// Rounding of another packing, relative to the largest logit.
const PACKED: Tolerance = Tolerance::either(1e-5, 1e-5);

fn opened(name: &str) -> Box<dyn Subject> {
    mmlens_zoo::open(checkpoint(name), &Device::flex()).unwrap()
}

/// The first sample with one picture that the traces of a checkpoint are of, with another picture.
fn sample(name: &str, picture: RgbImage) -> Sample {
    let mut files: Vec<_> =
        std::fs::read_dir(fixtures().join(name)).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
    files.sort();
    let all = files
        .iter()
        .flat_map(|path| mmlens_zoo::certify::samples(path, &fixtures().join("pictures")).unwrap());
    let one = |sample: &Sample| {
        sample.pictures.len() == 1
            && sample.clips.is_empty()
            && !matches!(&sample.words, Words::Texts(t) if t.len() > 1)
    };
    let words = all.filter(one).map(|sample| sample.words).next();
    let words = words.unwrap_or_else(|| match name {
        "clip-a" | "siglip-a" => Words::Texts(vec!["a red square".to_owned()]),
        _ => Words::Nothing,
    });
    Sample::new(vec![Picture::new("made", picture)], words)
}

/// A picture with structure at every size.
fn textured(seed: u32) -> RgbImage {
    RgbImage::from_fn(60, 44, |x, y| {
        Rgb([0, 1, 2].map(|c| ((x * 31 + y * 57 + c * 91 + seed * 13 + x * y / 7) % 256) as u8))
    })
}

fn objective(name: &str) -> Objective {
    if matches!(name, "clip-a" | "siglip-a") { Objective::Similarity } else { Objective::logit(2) }
}

/// Every way in which a cell can be absent: all are there as before; none is left; some are there, packed and one by one.
#[test]
fn cells_of_every_family_are_hidden_in_every_way() {
    for name in ASKED.into_iter().chain(ASIDE) {
        let (subject, sample) = (opened(name), sample(name, textured(0)));
        let subject = subject.as_ref();
        let inputs = subject.encode(&sample).unwrap();
        let other = Sample::new(vec![Picture::new("other", textured(5))], sample.words.clone());
        let whole = score(subject, &inputs, Plan::new(), objective(name));
        let own = pixels(&inputs);
        for (way, instead) in [
            ("mean", Absent::from(Baseline::Mean)),
            ("zero", Absent::default()),
            ("blur", Absent::Blur { sigma: 4.0 }),
            ("noise", Absent::Noise { seed: Seed(3) }),
            ("other", Absent::Other(Arc::new(other.clone()))),
            ("road", Absent::Road { noise: 0.01, seed: Seed(3) }),
        ] {
            let cells = Units::cells(&inputs, 0, [2, 2]).unwrap().instead(instead);
            let hiding = Hiding::new(subject, &sample, &inputs, cells).unwrap();
            let some = [15, 14, 6, 0].map(|number| Coalition::numbered(4, number));
            let found = measured(&hiding, objective(name), &some, 3);
            PACKED.check(way, &found, &one_by_one(subject, &hiding, objective(name), &some)).unwrap();
            PACKED.check(name, &found[..1], &[whole]).unwrap();
            let [first, none] = [&some[1], &some[3]].map(|some| pixels(&hiding.only(some).unwrap().0));
            let differ = |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| a != b).count() as f64;
            let share = differ(&first, &own) / differ(&none, &own);
            assert!(
                (0.1..0.45).contains(&share),
                "{name} {way}: {share} of what is hidden lies in the first of four cells"
            );
            if way == "other" {
                assert_eq!(none, pixels(&subject.encode(&other).unwrap()), "{name}");
            }
        }
    }
}

/// What is hidden lies where the original has it: hiding a cell and processing an original that is painted there are the same, but near the
/// cell's edges.
#[test]
fn cells_lie_where_the_original_has_them() {
    let (left, right) = (Rgb([40, 90, 200]), Rgb([220, 30, 10]));
    for name in ASKED.into_iter().chain(ASIDE) {
        let subject = opened(name);
        let subject = subject.as_ref();
        // 3 x 2 cells of 32 x 32 pixels; the one in the middle of the upper row.
        let within = |x: u32, y: u32| (32..64).contains(&x) && y < 32;
        let plain = sample(name, RgbImage::from_pixel(96, 64, left));
        let painted = RgbImage::from_fn(96, 64, |x, y| if within(x, y) { right } else { left });
        let other =
            Sample::new(vec![Picture::new("b", RgbImage::from_pixel(96, 64, right))], plain.words.clone());
        let inputs = subject.encode(&plain).unwrap();
        let boxes = Units::boxes(&inputs, 0, &[("cell", [32.0, 0.0, 64.0, 32.0])]).unwrap();
        let hiding =
            Hiding::new(subject, &plain, &inputs, boxes.instead(Absent::Other(Arc::new(other)))).unwrap();
        let found = pixels(&hiding.only(&Coalition::none(1)).unwrap().0);
        let wanted = pixels(&subject.encode(&sample(name, painted)).unwrap());
        let own = pixels(&inputs);
        let count =
            |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| (*a - *b).abs() > 0.3).count() as f64;
        let (hidden, wrong) = (count(&found, &own), count(&found, &wanted));
        assert!(hidden > 20.0 && wrong < 0.4 * hidden, "{name}: {wrong} of {hidden} values");
        eprintln!("{name}: {wrong} of {hidden}");
    }
}

/// Words of every model that reads them among others: each of its coalitions, by vectors and unattended, as from the input on.
#[test]
fn words_of_every_family_are_hidden() {
    for name in ASKED.into_iter().chain(["clip-a", "siglip-a", "blip-qa"]) {
        let (subject, sample) = (opened(name), sample(name, textured(0)));
        let subject = subject.as_ref();
        let inputs = subject.encode(&sample).unwrap();
        for instead in [Absent::from(Baseline::Mean), Absent::default(), Absent::Unattended] {
            let words = Units::words(&inputs, &Positions::Words).unwrap().instead(instead);
            for word in &words {
                let (from, to) = word.label().bytes.unwrap();
                assert_eq!(&inputs.map().text[from..to], word.name(), "{name}");
                assert!(!word.positions().is_empty());
            }
            let n = words.len();
            let hiding = Hiding::new(subject, &sample, &inputs, words).unwrap();
            let mut some: Vec<Coalition> = (0..n).map(|word| Coalition::all(n).without(word)).collect();
            some.extend([Coalition::all(n), Coalition::of(n, (0..n).step_by(2))]);
            let found = measured(&hiding, objective(name), &some, 3);
            PACKED.check(name, &found, &one_by_one(subject, &hiding, objective(name), &some)).unwrap();
            let whole = score(subject, &inputs, Plan::new(), objective(name));
            PACKED.check(name, &found[n..=n], &[whole]).unwrap();
            assert!(
                found[..n].iter().any(|score| (score - whole).abs() > 1e-5),
                "{name}: {found:?} of {whole}"
            );
        }
    }
}

/// A cell and a word, absent together, against what is put together by hand.
#[test]
fn a_cell_and_a_word_are_hidden_together() {
    let (subject, sample) = (opened("llava-a"), sample("llava-a", textured(0)));
    let subject = subject.as_ref();
    let inputs = subject.encode(&sample).unwrap();
    let whole = inputs.seen.values.clone().unwrap();
    let [_, _, height, width] = *whole.dims() else { panic!("{:?}", whole.dims()) };
    let windows = Windows::grid([height, width], [2, 2]);
    let word = Units::words(&inputs, &Positions::Words).unwrap();
    let n = word.len();
    let last = word.iter().last().unwrap().positions().to_vec();
    for instead in [Absent::default(), Absent::Unattended] {
        let units =
            Units::windows(&inputs, Part::Vision, 0, &windows).unwrap().instead(Baseline::Constant(0.5));
        let units = units.and(word.clone().instead(instead.clone()));
        let hiding = Hiding::new(subject, &sample, &inputs, units).unwrap();
        let some = Coalition::all(4 + n).without(2).without(4 + n - 1);
        let grey = whole.shaped(vec![0.5; whole.dims().iter().product()], &whole.dims()).unwrap();
        let shown = show(&inputs, 0, hide(&windows, &whole, &grey, 2..3));
        let place = Site::block(Part::Text, 0, Point::ResidPre);
        let plan = match instead {
            Absent::Unattended => {
                unattended(Plan::new(), "text.blocks.*.attn.scores", vec![last.clone()]).unwrap()
            }
            _ => {
                let trace = subject.run(&inputs, Plan::new().read(place).unwrap()).unwrap();
                let dims = trace.get(place).unwrap().dims();
                let zero = whole.shaped(vec![0.0; dims.iter().product()], &dims).unwrap();
                put(Plan::new(), place, vec![last.clone()], &zero).unwrap()
            }
        };
        let wanted = score(subject, &shown, plan, objective("llava-a"));
        let all = [some, Coalition::all(4 + n), Coalition::none(4 + n)];
        let found = measured(&hiding, objective("llava-a"), &all, 2);
        PACKED.check("by hand", &found[..1], &[wanted]).unwrap();
        PACKED
            .check("one by one", &found, &one_by_one(subject, &hiding, objective("llava-a"), &all))
            .unwrap();
    }
}

/// Segments, patches and frames; the mask token of a model that has one.
#[test]
fn other_units_are_hidden_too() {
    for name in ["llava-next-a", "smolvlm-a", "qwen2.5-vl-a", "vit-a"] {
        let image = textured(2);
        let (subject, sample) = (opened(name), sample(name, image.clone()));
        let subject = subject.as_ref();
        let inputs = subject.encode(&sample).unwrap();
        let segments = Slic { segments: 9, compactness: 300.0, ..Slic::default() }.of(&image).unwrap();
        let segments = Units::segments(&inputs, 0, &segments).unwrap();
        let patches = Units::patches(&inputs).unwrap();
        let found = (segments.len(), patches.len());
        assert!(found.0 > 3 && found.1 > 3, "{name}: {found:?}");
        for units in [segments, patches] {
            let n = units.len();
            let hiding =
                Hiding::new(subject, &sample, &inputs, units.instead(Baseline::Constant(0.25))).unwrap();
            // Parts share no pixel, and leave none of the picture out.
            let own = pixels(&inputs);
            let mut hidden = vec![0; own.len()];
            for unit in 0..n {
                let one = pixels(&hiding.only(&Coalition::all(n).without(unit)).unwrap().0);
                let differ = one.iter().zip(&own).map(|(a, b)| usize::from(a != b));
                hidden.iter_mut().zip(differ).for_each(|(sum, differ)| *sum += differ);
            }
            let all = pixels(&hiding.only(&Coalition::none(n)).unwrap().0);
            for (i, (sum, (all, own))) in hidden.iter().zip(all.iter().zip(&own)).enumerate() {
                assert_eq!(
                    *sum,
                    usize::from(all != own),
                    "{name} {i}: {all} {own} {n} {:?}",
                    inputs.seen.values.as_ref().unwrap().dims()
                );
            }
            let some = [Coalition::none(n), Coalition::of(n, (0..n).step_by(3))];
            let found = measured(&hiding, objective(name), &some, 2);
            PACKED.check(name, &found, &one_by_one(subject, &hiding, objective(name), &some)).unwrap();
        }
    }
    let bert = opened("bert-a");
    let sample = Sample::prompt(Vec::new(), "the red square");
    let inputs = bert.encode(&sample).unwrap();
    let words = Units::words(&inputs, &Positions::Words).unwrap().instead(Absent::Mask);
    let (n, own) = (words.len(), words.iter().next().unwrap().positions().to_vec());
    let hiding = Hiding::new(bert.as_ref(), &sample, &inputs, words).unwrap();
    let mask = bert.mask().unwrap();
    let hide = |batch: &mut Batch| own.iter().for_each(|position| batch.ids[0][*position] = mask);
    let masked = inputs.clone().with(hide).unwrap();
    let wanted = score(bert.as_ref(), &masked, Plan::new(), Objective::logit(2));
    let found = measured(&hiding, Objective::logit(2), &[Coalition::all(n).without(0)], 1);
    PACKED.check("mask", &found, &[wanted]).unwrap();
}

/// The steps of a clip, and a cell of all its frames; two pictures, of which one is whole.
#[test]
fn clips_and_second_pictures_are_parts_too() {
    let subject = opened("qwen2.5-vl-a");
    let frames = (0..4).map(|i| Arc::new(DynamicImage::from(textured(i)))).collect();
    let clip = mmlens_core::Clip::new("clip", frames, Some(2.0));
    let prompt = "<|vision_start|><|video_pad|><|vision_end|>What?";
    let sample = Sample::prompt(Vec::new(), prompt).with_clips(vec![clip]);
    let inputs = subject.encode(&sample).unwrap();
    let steps = Units::frames(&inputs, 0).unwrap();
    let n = steps.len();
    assert!(n > 1);
    let cells = Units::cells(&inputs, 0, [2, 2]).unwrap();
    let units = steps.and(cells).instead(Absent::Noise { seed: Seed(1) });
    let hiding = Hiding::new(subject.as_ref(), &sample, &inputs, units).unwrap();
    let own = pixels(&inputs);
    let gone = |some: &Coalition| {
        let found = pixels(&hiding.only(some).unwrap().0);
        found.iter().zip(&own).map(|(a, b)| a != b).collect::<Vec<bool>>()
    };
    let [first, second] = [0, 1].map(|unit| gone(&Coalition::all(n + 4).without(unit)));
    let half = own.len() / n;
    assert!(first[half..].iter().all(|gone| !gone) && second[..half].iter().all(|gone| !gone));
    assert!(first[..half].iter().filter(|gone| **gone).count() > half / 2);
    let some = [1, 5, 20].map(|number| Coalition::numbered(n + 4, number));
    let found = measured(&hiding, Objective::logit(2), &some, 3);
    PACKED.check("clip", &found, &one_by_one(subject.as_ref(), &hiding, Objective::logit(2), &some)).unwrap();
    // A cell is interpolated in every frame.
    let road = Absent::Road { noise: 0.0, seed: Seed(0) };
    let cells = Units::cells(&inputs, 0, [2, 2]).unwrap().instead(road);
    let filling = Hiding::new(subject.as_ref(), &sample, &inputs, cells).unwrap();
    let filled = pixels(&filling.only(&Coalition::all(4).without(3)).unwrap().0);
    let differ = |range: std::ops::Range<usize>| range.filter(|i| filled[*i] != own[*i]).count();
    assert!(differ(0..half) > half / 8 && differ(half..2 * half) > half / 8);
    let road = Units::frames(&inputs, 0).unwrap().instead(Absent::Road { noise: 0.0, seed: Seed(0) });
    let refused = Hiding::new(subject.as_ref(), &sample, &inputs, road).unwrap_err().to_string();
    assert!(refused.ends_with("cannot stand in the place of a part of a clip"), "{refused}");

    for (name, placeholder) in [
        ("llava-a", "<image>"),
        ("llava-next-a", "<image>"),
        ("qwen2-vl-a", "<|vision_start|><|image_pad|><|vision_end|>"),
    ] {
        let subject = opened(name);
        let pictures = [0, 3].map(|seed| Picture::new("two", textured(seed))).to_vec();
        let sample = Sample::prompt(pictures, format!("{placeholder}a{placeholder}b?"));
        let inputs = subject.encode(&sample).unwrap();
        let units = Units::cells(&inputs, 1, [1, 2]).unwrap().and(Units::cells(&inputs, 0, [1, 1]).unwrap());
        let hiding = Hiding::new(subject.as_ref(), &sample, &inputs, units).unwrap();
        let found = measured(&hiding, Objective::logit(2), &every(3), 5);
        PACKED
            .check(name, &found, &one_by_one(subject.as_ref(), &hiding, Objective::logit(2), &every(3)))
            .unwrap();
        assert!(found.iter().all(|score| score.is_finite()));
        let apart = |a: usize, b: usize| (found[a] - found[b]).abs() > 1e-6;
        assert!(apart(7, 6) && apart(7, 5) && apart(7, 3) && apart(0, 4), "{name}: {found:?}");
    }
}
