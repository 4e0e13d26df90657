//! Neurons as concepts of pictures: by masks, and by the words of a dual encoder.

use image::DynamicImage;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Analysis, Case, Cases, Given, ManyCases, Mask, Memory, On, Part, Picture, Sample, Subject, SubjectError,
    Words, from_fn,
};
use mmlens_model::clip_dissect::{ClipDissect, Pool, Settings as Named, Similarity};
use mmlens_model::network_dissection::{NetworkDissection, Settings};
use mmlens_testkit::{Oracle, analysis_breaches, checkpoint, picture};
use proptest::prelude::*;
use serde_json::json;

use super::{ROUNDING, agree};
use crate::identities::few;
use crate::support::{Marked, llava, numbers, scalar, shown};

const SIDE: usize = 40;
const NAMES: [&str; 4] = ["colour: a", "colour: b", "plain", "shape: c"];

/// The square picture as the oracle lays it down.
fn laid(i: usize) -> Picture {
    let image = image::open(picture("square")).unwrap().to_rgb8();
    let image = DynamicImage::from(if i > 3 { image::imageops::flip_horizontal(&image) } else { image });
    let turned = [image.clone(), image.rotate90(), image.rotate180(), image.rotate270()];
    Picture::new(format!("laid {i}"), turned[i % 4].clone())
}

/// Whether each pixel lies in the `k`-th mask of a case.
fn inside(k: usize, case: usize) -> Option<Vec<bool>> {
    let pixel = |at: usize| ((at % SIDE) * (k + 2) + (at / SIDE) * (5 - k) + 7 * case) % 60 < 14 + 6 * k;
    (!(case + k).is_multiple_of(3)).then(|| (0..SIDE * SIDE).map(pixel).collect())
}

/// Cases with masks that a function makes.
#[derive(Clone)]
struct Masked<F> {
    words: Option<&'static str>,
    order: Vec<usize>,
    masks: F,
}

impl<F: Fn(usize) -> Vec<(String, Vec<bool>)> + Sync> Cases for Masked<F> {
    fn name(&self) -> &str {
        "masked"
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let pictures = vec![laid(self.order[index])];
        let words = self
            .words
            .map_or(Words::Prompt("<image>Red?".to_owned()), |text| Words::Texts(vec![text.to_owned()]));
        Ok(Case::new(Sample::new(pictures, words)))
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let all = (self.masks)(self.order[index]).into_iter();
        Ok(all.map(|(name, inside)| Mask { name, picture: 0, size: [SIDE, SIDE], inside }).collect())
    }
}

fn of_the_oracle(case: usize) -> Vec<(String, Vec<bool>)> {
    (0..4).filter_map(|k| Some((NAMES[k].to_owned(), inside(k, case)?))).collect()
}

fn masked(words: Option<&'static str>) -> Masked<fn(usize) -> Vec<(String, Vec<bool>)>> {
    Masked { words, order: (0..8).collect(), masks: of_the_oracle }
}

fn dissected(
    subject: &dyn Subject,
    data: impl Cases + Send + 'static,
    settings: serde_json::Value,
) -> Finding {
    let settings: Settings = serde_json::from_value(settings).unwrap();
    NetworkDissection::new(settings).unwrap().run(subject, &ManyCases::over(data).unwrap()).unwrap()
}

fn clip() -> Box<dyn Subject> {
    mmlens_zoo::open(checkpoint("clip-a"), &mmlens_core::device::host()).unwrap()
}

#[test]
fn overlaps_are_those_of_pixels() {
    let oracle = Oracle::open("methods/network-dissection").unwrap();
    let quantile = oracle.about()["quantile"].clone();
    let clip = clip();
    for (name, subject, part, words) in
        [("clip-a", clip.as_ref(), Part::Vision, Some("a")), ("llava-a", llava("llava-a"), Part::Text, None)]
    {
        let settings = json!({ "quantile": quantile, "part": part });
        let method = NetworkDissection::new(serde_json::from_value(settings).unwrap()).unwrap();
        let found = method.run(subject, &ManyCases::over(masked(words)).unwrap()).unwrap();
        agree(&found, "every iou", &oracle, &format!("{name}/every iou"), ROUNDING);
        agree(&found, "threshold", &oracle, &format!("{name}/threshold"), ROUNDING);
        agree(&found, "pixels", &oracle, &format!("{name}/pixels"), Tolerance::EXACT);
        let every = oracle.array(&format!("{name}/every iou")).unwrap();
        let concepts = found.table("concepts").unwrap().as_texts().unwrap();
        let mut detectors = [0.0; 4];
        for (unit, own) in every.values.chunks(4).enumerate() {
            // no NaN: quotients of areas
            let best = (0..4).rev().max_by(|a, b| own[*a].total_cmp(&own[*b])).unwrap();
            assert_eq!(concepts[unit], NAMES[best]);
            assert!((f64::from(numbers(&found, "iou")[unit]) - own[best]).abs() < 1e-6);
            detectors[best] += f32::from(u8::from(own[best] > 0.04));
        }
        assert_eq!(numbers(&found, "detectors"), detectors);
        assert_eq!(scalar(&found, "found"), detectors.iter().sum::<f32>());
        // No name before a colon is a category, too.
        let axis = &found.table("iou by category").unwrap().axes()[2];
        assert_eq!((0..3).map(|at| axis.label(at).unwrap()).collect::<Vec<_>>(), ["", "colour", "shape"]);
        let first: Vec<f32> = numbers(&found, "iou by category").chunks(3).map(|own| own[1]).collect();
        let wanted: Vec<f64> = every.values.chunks(4).map(|own| own[0].max(own[1])).collect();
        ROUNDING.check("colours", &first, &wanted).unwrap();
    }
}

/// What a neuron marks, as a mask: of the values of one layer of one run.
fn marks(subject: &dyn Subject, layer: usize, neuron: usize, quantile: f64) -> Vec<Vec<bool>> {
    use mmlens_core::{Plan, Point, Site};
    let site = Site::block(Part::Vision, layer, Point::MlpPost);
    let data = masked(Some("a"));
    let values: Vec<Vec<f32>> = (0..8)
        .map(|case| {
            let inputs = subject.encode(&data.case(case).unwrap().sample).unwrap();
            let trace = subject.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
            let value = trace.get(site).unwrap();
            let width = value.dims()[2];
            value.to_values().unwrap().chunks(width).skip(1).map(|row| row[neuron]).collect()
        })
        .collect();
    let mut all = values.concat();
    all.sort_by(|a, b| b.total_cmp(a));
    let threshold = all[((quantile * all.len() as f64) as usize).max(1)];
    let across = (values[0].len() as f64).sqrt() as usize;
    let cell = |pixel: usize| ((pixel as f64 + 0.5) * across as f64 / SIDE as f64) as usize;
    let of = |own: &Vec<f32>| {
        (0..SIDE * SIDE).map(|at| own[cell(at / SIDE) * across + cell(at % SIDE)] > threshold).collect()
    };
    values.iter().map(of).collect()
}

#[test]
fn a_neuron_that_is_the_mask_overlaps_wholly() {
    let clip = clip();
    let (quantile, own) = (0.1, marks(clip.as_ref(), 1, 6, 0.1));
    let masks = move |case: usize| {
        vec![
            ("own".to_owned(), own[case].clone()),
            ("other".to_owned(), inside(2, case + 1).unwrap_or(vec![false; SIDE * SIDE])),
        ]
    };
    let data = Masked { words: Some("a"), order: (0..8).collect(), masks };
    let found = dissected(clip.as_ref(), data, json!({ "quantile": quantile }));
    let table = found.table("iou").unwrap();
    assert_eq!(table.get(&[1, 6]), Some(1.0));
    assert_eq!(found.table("concepts").unwrap().get_text(&[1, 6]), Some("own"));
    // Beside the masks of other pictures it is none.
    assert!(numbers(&found, "shuffled iou").iter().all(|iou| f64::from(*iou) < 0.5));
}

proptest! {
    #![proptest_config(few())]

    /// In whatever order cases come, under whatever names, with however little memory: overlaps stay.
    #[test]
    fn order_names_and_memory_decide_nothing(by in 0..8_usize, seed in 0..9_u64) {
        let clip = clip();
        let settings = || json!({ "quantile": 0.05, "seed": seed, "shuffles": 1 });
        let one = dissected(clip.as_ref(), masked(Some("a")), settings());
        let order = (0..8).map(|at| (at + by) % 8).collect();
        let names = ["z: 1", "z: 2", "a", "b: 3"];
        let masks = move |case: usize| (0..4).filter_map(|k| Some((names[k].to_owned(), inside(k, case)?))).collect();
        let turned = Masked { words: Some("a"), order, masks };
        let other = dissected(clip.as_ref(), turned.clone(), settings());
        prop_assert_eq!(numbers(&one, "iou"), numbers(&other, "iou"));
        // Sorted by name they are the third, the fourth, the first and the second.
        let moved: Vec<f32> = numbers(&other, "every iou").chunks(4).flat_map(|own| [own[2], own[3], own[0], own[1]]).collect();
        prop_assert_eq!(numbers(&one, "every iou"), moved);
        let method: Settings = serde_json::from_value(settings()).unwrap();
        let method = NetworkDissection::new(method).unwrap();
        let little = On::new(clip.as_ref()).within(Memory::bytes(3_000_000));
        let again = method.run_on(&little, &ManyCases::over(turned).unwrap()).unwrap();
        prop_assert_eq!(again.tables(), other.tables());
    }
}

#[test]
fn what_cannot_be_dissected_is_refused_and_cautions_come_where_they_are_due() {
    let said = |data: Masked<fn(usize) -> Vec<(String, Vec<bool>)>>| {
        let many = ManyCases::over(data).unwrap();
        NetworkDissection::default().run(clip().as_ref(), &many).unwrap_err().to_string()
    };
    let bare =
        Masked { masks: (|_| Vec::new()) as fn(usize) -> Vec<(String, Vec<bool>)>, ..masked(Some("a")) };
    assert_eq!(said(bare), "network-dissection needs a data set with masks, but `masked` has none");
    let short = Masked {
        masks: (|_| vec![("a".to_owned(), vec![true; 3])]) as fn(usize) -> Vec<(String, Vec<bool>)>,
        ..masked(Some("a"))
    };
    assert_eq!(
        said(short),
        "network-dissection needs masks of the size of their pictures, but `a` of case 0 has [40, 40] and 3 pixels, and its picture [40, 40]"
    );
    let wrong =
        NetworkDissection::new(Settings { quantile: 1.0, ..Settings::default() }).unwrap_err().to_string();
    assert_eq!(wrong, "network-dissection: quantile = 1, but it must lie between 0 and 1");
    let kinds = |found: &Finding| found.cautions().iter().map(|own| own.kind).collect::<Vec<_>>();
    // Of 200 patches at most: four.
    let few = dissected(clip().as_ref(), masked(Some("a")), json!({ "quantile": 0.02 }));
    assert_eq!(kinds(&few).last(), Some(&CautionKind::FewRows));
    // A mask that is the same in every picture: those of others do as well.
    let half =
        |_: usize| vec![("half".to_owned(), (0..SIDE * SIDE).map(|at| at % SIDE < SIDE / 4).collect())];
    let same = Masked { words: Some("a"), order: (0..8).collect(), masks: half };
    let same = dissected(clip().as_ref(), same, json!({ "quantile": 0.1 }));
    assert_eq!(kinds(&same), [CautionKind::Chance], "{:?}", same.cautions());
    let own = marks(clip().as_ref(), 1, 6, 0.1);
    let masks = move |case: usize| vec![("own".to_owned(), own[case].clone())];
    let data = Masked { words: Some("a"), order: (0..8).collect(), masks };
    let sound = dissected(clip().as_ref(), data, json!({ "quantile": 0.1, "detector": 0.6 }));
    assert_eq!(kinds(&sound), [], "{:?}", sound.cautions());
}

fn questions() -> Masked<fn(usize) -> Vec<(String, Vec<bool>)>> {
    masked(None)
}

fn named(settings: serde_json::Value, many: &ManyCases) -> Finding {
    let settings: Named = serde_json::from_value(settings).unwrap();
    ClipDissect::new(settings).unwrap().run(llava("llava-a"), many).unwrap()
}

#[test]
fn neurons_are_named_as_in_numpy() {
    let oracle = Oracle::open("methods/clip-dissect").unwrap();
    let many = ManyCases::over(questions()).unwrap().beside(clip());
    for similarity in ["soft-wpmi", "wpmi", "cosine", "cosine-cubed"] {
        let settings = json!({ "words": oracle.about()["words"], "top": oracle.about()["top"], "similarity": similarity, "positions": "pictures" });
        let method = ClipDissect::new(serde_json::from_value(settings).unwrap()).unwrap();
        let found = method.run(llava("llava-a"), &many).unwrap();
        // Third powers of small differences, and logarithms of shares of nearly equal cosines.
        agree(&found, "every score", &oracle, similarity, Tolerance::either(1e-4, 1e-4));
        agree(&found, "cosine of words", &oracle, "cosine of words", ROUNDING);
        let every = numbers(&found, "every score");
        let words = found.table("words").unwrap();
        assert_eq!(words.shape()[2], 5);
        for (own, all) in numbers(&found, "scores").chunks(5).zip(every.chunks(5)) {
            let mut sorted = all.to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            assert_eq!(own, sorted);
        }
        let text = json!(oracle.about()["words"]);
        let first = text
            .as_array()
            .unwrap()
            .iter()
            .position(|word| word.as_str() == words.get_text(&[0, 0, 0]))
            .unwrap();
        assert_eq!(numbers(&found, "scores")[0], every[first]);
        let best: Vec<f32> = numbers(&found, "scores").iter().step_by(5).copied().collect();
        let bar = numbers(&found, "shuffled").iter().map(|own| f64::from(*own)).sum::<f64>() / 3.0;
        let beyond = best.iter().filter(|own| f64::from(**own) > bar).count() as f32 / best.len() as f32;
        assert_eq!(scalar(&found, "beyond chance"), beyond);
        assert_eq!(found.cautions().iter().any(|own| own.kind == CautionKind::Chance), beyond < 0.1);
    }
    let beside = found_beside(&many);
    assert_eq!(beside.unwrap(), clip().weights_hash());
}

/// Which second model a finding names.
fn found_beside(many: &ManyCases) -> Option<String> {
    let found = named(json!({ "words": ["a", "red"] }), many);
    found.provenance.input.and_then(|input| input.beside).map(|beside| beside.weights_hash)
}

#[test]
fn the_order_of_cases_decides_nothing_and_a_dual_encoder_names_itself() {
    let turned = Masked { order: (0..8).rev().collect(), ..questions() };
    let settings = || json!({ "words": ["a", "red", "big"], "top": 3, "pool": "max" });
    let one = named(settings(), &ManyCases::over(questions()).unwrap().beside(clip()));
    let other = named(settings(), &ManyCases::over(turned).unwrap().beside(clip()));
    ROUNDING.check("scores", numbers(&one, "every score"), numbers(&other, "every score")).unwrap();
    let itself = ClipDissect::new(serde_json::from_value(settings()).unwrap()).unwrap();
    let captions = || ManyCases::over(masked(Some("a"))).unwrap();
    let own = itself.run(clip().as_ref(), &captions()).unwrap();
    let beside = itself.run(clip().as_ref(), &captions().beside(clip())).unwrap();
    assert_eq!(own.tables(), beside.tables());
    assert_eq!(Pool::default(), Pool::Mean);
    assert_eq!(Similarity::default(), Similarity::SoftWpmi);
}

proptest! {
    #![proptest_config(few())]

    /// In whatever order cases and words come, with however little memory: scores stay; so does what chance is measured by, of one seed.
    #[test]
    fn order_and_memory_decide_no_name(by in 0..8_usize, seed in 0..9_u64, top in 1..6_usize, kind in prop::sample::select(vec!["soft-wpmi", "wpmi", "cosine"])) {
        let words = ["a", "red", "big"];
        let settings = |words: &[&str]| json!({ "words": words, "top": top, "similarity": kind, "seed": seed, "shuffles": 1, "layers": { "at": [1] } });
        let one = named(settings(&words), &ManyCases::over(questions()).unwrap().beside(clip()));
        let turned = Masked { order: (0..8).map(|at| (at + by) % 8).collect(), ..questions() };
        let other = named(settings(&["big", "a", "red"]), &ManyCases::over(turned).unwrap().beside(clip()));
        let moved: Vec<f32> = numbers(&other, "every score").chunks(3).flat_map(|own| [own[1], own[2], own[0]]).collect();
        // Logarithms of sums that are grouped in another way.
        Tolerance::either(1e-5, 1e-5).check("scores", numbers(&one, "every score"), &moved).unwrap();
        let method = ClipDissect::new(serde_json::from_value(settings(&words)).unwrap()).unwrap();
        let many = ManyCases::over(questions()).unwrap().beside(clip());
        let little = On::new(llava("llava-a")).within(Memory::bytes(6_000_000));
        let again = method.run_on(&little, &many).unwrap();
        prop_assert_eq!(again.tables(), one.tables());
    }
}

#[test]
fn clip_dissect_keeps_its_contract() {
    let sample = shown(&["square"], "<image>Red?");
    let data = Marked::new(from_fn("many", 6, move |i: usize| {
        Ok(Case::new(Sample::prompt(vec![laid(i)], "<image>Red?")))
    }));
    let given =
        Given::new(Case::new(sample.clone())).unwrap().over(ManyCases::over(data).unwrap().beside(clip()));
    let subject = llava("llava-a");
    for settings in [
        json!({}),
        json!({ "similarity": "cosine-cubed", "shuffles": 1, "ranks": 1, "layers": { "at": [1] } }),
    ] {
        let settings: Named = serde_json::from_value(settings).unwrap();
        let method = ClipDissect::new(settings).unwrap();
        let breaches = analysis_breaches(&method, subject, &given, &subject.encode(&sample).unwrap());
        // Rows of the dual encoder are rows, too, and pass through another subject.
        let breaches: Vec<&String> =
            breaches.iter().filter(|breach| !breach.starts_with("it took ")).collect();
        assert!(breaches.is_empty(), "{breaches:?}");
    }
}

#[test]
fn what_cannot_be_named_is_refused() {
    let said = |settings: serde_json::Value, many: &ManyCases| {
        let settings: Named = serde_json::from_value(settings).unwrap();
        ClipDissect::new(settings)
            .and_then(|method| method.run(llava("llava-a"), many))
            .unwrap_err()
            .to_string()
    };
    let alone = || ManyCases::over(questions()).unwrap();
    let words = || json!({ "words": ["a", "red"] });
    assert_eq!(
        said(words(), &alone()),
        "clip-dissect needs a dual encoder beside the subject, or as the subject, but `model` compares no pictures with captions"
    );
    assert_eq!(
        said(json!({}), &alone().beside(clip())),
        "clip-dissect needs words, or a data set with classes, but `masked` has none"
    );
    assert_eq!(
        said(json!({ "words": ["a", "a"] }), &alone()),
        "clip-dissect: words = `a` twice, but a word is named once"
    );
    assert_eq!(
        said(json!({ "scale": 0.0 }), &alone()),
        "clip-dissect: scale = 0, but it must be a finite number above zero"
    );
    let bare =
        ManyCases::over(from_fn("bare", 2, |_| Ok(Case::new(Sample::prompt(Vec::new(), "Red?"))))).unwrap();
    let said = said(json!({ "words": ["a"], "part": "text" }), &bare.beside(clip()));
    assert_eq!(said, "clip-dissect needs a picture in every case, but case 0 of `bare` has none");
}
