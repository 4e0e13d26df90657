//! How often each caution comes where it should, and where it should not, on the trained models that ship inside.
//!
//! `MMLENS_CASES=200` looks at 200 sound cases and as many planted ones of each kind, which is what docs/cautions.md tells; without
//! it a few are looked at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "docs/cautions.md quotes what is printed here")]

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use mmlens::METHODS;
use mmlens::core::{
    Alteration, Altered, AxisName, Case, Change, Given, Measure, On, Picture, Region, Reply, Sample, Subject,
    Target, Words,
};
use mmlens::data::shapes::{Colour, Kind, Question, Scene, Split, World};
use mmlens::engine::Aim;
use mmlens::finding::{Caution, CautionKind};
use mmlens::zoo::shipped;
use serde_json::{Value, json};

/// The least share of planted cases that a caution comes in, and the largest of sound ones.
const COMES: f64 = 0.95;
const STAYS_AWAY: f64 = 0.05;

fn cases() -> usize {
    std::env::var("MMLENS_CASES").map_or(4, |count| count.parse().unwrap())
}

/// A scene, its question, and the scene with the object that is asked about in another colour.
struct AskedCase {
    scene: Scene,
    question: Question,
    other: Scene,
}

/// Questions for colours that the model answers rightly, of both scenes.
fn asked(subject: &dyn Subject) -> Vec<AskedCase> {
    let world = World::new(11);
    let answer = |scene: &Scene, question: &Question| {
        Aim::default().settle(&On::new(subject), sample(scene, &question.text)).unwrap().answer
    };
    let mut all = Vec::new();
    for id in 0.. {
        let scene = world.scene(Split::Test, id);
        let Some(question) = scene.ask(Kind::Colour, &mut scene.rng(0)) else { continue };
        let object = question.evidence[0];
        let colour = Colour::ALL.iter().find(|colour| **colour != scene.objects[object].colour).unwrap();
        let other = scene.recoloured(object, *colour);
        // The question must mean the same object still, and be answered by its colour.
        let rightly =
            answer(&scene, &question) == question.answer && answer(&other, &question) == colour.word();
        if rightly {
            all.push(AskedCase { scene, question, other });
        }
        if all.len() == cases() {
            break;
        }
    }
    all
}

fn picture(scene: &Scene) -> Picture {
    Picture::new(format!("scene {}", scene.id), scene.render())
}

fn sample(scene: &Scene, question: &str) -> Sample {
    Sample::ask(picture(scene), question)
}

/// The cautions of a method on what it is given.
fn of(subject: &dyn Subject, method: &str, settings: Value, given: &Given) -> Vec<Caution> {
    let method = METHODS.iter().find(|own| own.is_called(method)).unwrap();
    method.make(settings).unwrap().run_given(&On::new(subject), given).unwrap().cautions()
}

/// How often cautions of a kind came, of so many cases.
#[derive(Default)]
struct Rates {
    cases: usize,
    came: BTreeMap<CautionKind, usize>,
}

impl Rates {
    fn count(&mut self, cautions: impl IntoIterator<Item = Caution>) {
        self.cases += 1;
        let mut kinds: Vec<CautionKind> = cautions.into_iter().map(|caution| caution.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter().for_each(|kind| *self.came.entry(kind).or_default() += 1);
    }

    fn rate(&self, kind: CautionKind) -> f64 {
        *self.came.get(&kind).unwrap_or(&0) as f64 / self.cases.max(1) as f64
    }
}

/// Where a kind is planted, by the method that is to notice it.
const PLANTED: [(CautionKind, &str); 9] = [
    (CautionKind::Gap, "ig"),
    (CautionKind::SmallDifference, "attribution"),
    (CautionKind::SmallDifference, "ig"),
    (CautionKind::Reversed, "patching"),
    (CautionKind::Reversed, "ig"),
    (CautionKind::Sink, "rollout"),
    (CautionKind::NothingMoved, "ig"),
    (CautionKind::Rounding, "occlusion"),
    (CautionKind::Unlikely, "the input itself"),
];

/// What each kind looks like when it is planted: on which case, and the cautions that come.
fn planted(
    subject: &dyn Subject,
    planted: (CautionKind, &str),
    asked: &AskedCase,
    at: usize,
) -> Option<Vec<Caution>> {
    let AskedCase { scene, question, other } = asked;
    let token = |text: &str| subject.tokens(text).unwrap()[0];
    let about = |scene: &Scene, answer: &str| Case {
        sample: sample(scene, &question.text),
        target: Target::Objective(Measure::LogProbability.of(mmlens::core::Position::Last, token(answer))),
    };
    let case = || about(scene, &question.answer);
    let plain = |case: Case| Given::new(case).unwrap();
    let altered = |edits: Vec<Alteration>| Altered::new(subject, edits).unwrap();
    let pixels_alone = || json!([{ "site": "vision.pixels", "baseline": "mean" }]);
    let flat = || {
        let shown = scene.render();
        let colour = image::Rgb(shown.get_pixel(0, 0).0);
        image::RgbImage::from_pixel(shown.width(), shown.height(), colour)
    };
    Some(match planted {
        // One node cannot follow a path that bends.
        (CautionKind::Gap, _) => of(subject, "ig", json!({ "steps": 1, "rule": "midpoint" }), &plain(case())),
        // A picture of one colour but for a few pixels is nearly its own mean colour.
        (CautionKind::SmallDifference, "ig") => {
            let mut pixels = flat();
            (0..4).for_each(|x| {
                pixels.get_pixel_mut(x + at as u32 % 3, 0).0.iter_mut().for_each(|level| *level ^= 31);
            });
            let sample = Sample::ask(Picture::new("nearly flat", pixels), question.text.clone());
            of(subject, "ig", json!({ "along": pixels_alone() }), &plain(Case { sample, ..case() }))
        }
        // The other run is the same picture with one pixel of its corner a little darker.
        (CautionKind::SmallDifference, _) => {
            let mut pixels = scene.render();
            pixels
                .get_pixel_mut((at % 3) as u32, 0)
                .0
                .iter_mut()
                .for_each(|level| *level = level.saturating_sub(9));
            let near = Sample::ask(Picture::new("near", pixels), question.text.clone());
            of(subject, "attribution", json!({}), &plain(case()).against(near))
        }
        // The colour that is explained is that of the other picture.
        (CautionKind::Reversed, "ig") => {
            let wrong = about(other, &question.answer);
            of(subject, "ig", json!({ "along": pixels_alone() }), &plain(wrong))
        }
        (CautionKind::Reversed, _) => {
            let wrong = about(other, &question.answer);
            of(
                subject,
                "patching",
                json!({ "points": ["resid_pre"] }),
                &plain(wrong).against(sample(scene, &question.text)),
            )
        }
        // All of attention goes to the first position, in every layer.
        (CautionKind::Sink, _) => {
            let first = Region::all().of(AxisName::Key, [0]);
            let device = burn::tensor::Device::default();
            let much = Change::Add(Tensor::<1>::from_floats([1e4], &device).reshape([1, 1, 1, 1]).into());
            let edit = Alteration::new("text.blocks.*.attn.scores", first, much).unwrap();
            of(&altered(vec![edit]), "rollout", json!({ "residual": 0.0 }), &plain(case()))
        }
        // A picture of one colour is its own mean colour.
        (CautionKind::NothingMoved, _) => {
            let sample = Sample::ask(Picture::new("flat", flat()), question.text.clone());
            of(subject, "ig", json!({ "along": pixels_alone() }), &plain(Case { sample, ..case() }))
        }
        // The model barely hears the picture.
        (CautionKind::Rounding, _) => {
            let edit = Alteration::parse("connector.out=scale:1e-9").unwrap();
            of(&altered(vec![edit]), "occlusion", json!({ "words": null }), &plain(case()))
        }
        // An answer that is no colour.
        (CautionKind::Unlikely, _) => {
            let wrong = ["describe", "how", "many", "is", "what"][at % 5];
            let sample = sample(scene, &question.text).answered(Reply::Text(wrong.to_owned()));
            Aim::default().settle(&On::new(subject), sample).unwrap().cautions
        }
        _ => return None,
    })
}

/// Default methods on a case that is as it should be: the right answer, and a picture beside it that differs in what is asked about.
fn sound(subject: &dyn Subject, AskedCase { scene, question, other }: &AskedCase) -> Vec<Caution> {
    let settled = Aim::default().settle(&On::new(subject), sample(scene, &question.text)).unwrap();
    let given = Given::new(settled.case).unwrap().against(sample(other, &question.text));
    let mut cautions = settled.cautions;
    for (method, settings) in [
        ("ig", json!({})),
        ("occlusion", json!({})),
        ("attention", json!({})),
        ("rollout", json!({})),
        ("knockout", json!({})),
        ("attribution", json!({})),
        ("patching", json!({ "points": ["resid_pre"] })),
    ] {
        cautions.extend(of(subject, method, settings, &given));
    }
    cautions
}

#[test]
fn cautions_come_where_they_should() {
    let subject = shipped::shapes(&burn::tensor::Device::default()).unwrap();
    let all = asked(&subject);
    let mut sound_rates = Rates::default();
    all.iter().for_each(|asked| sound_rates.count(sound(&subject, asked)));
    println!("| caution | of | planted | comes | sound | comes |\n|---|---|---|---|---|---|");
    let mut faults = Vec::new();
    for (kind, method) in PLANTED {
        let mut rates = Rates::default();
        for (at, asked) in all.iter().enumerate() {
            rates.count(planted(&subject, (kind, method), asked, at).unwrap());
        }
        let (comes, stays) = (rates.rate(kind), sound_rates.rate(kind));
        println!(
            "| {} | {method} | {} | {:.1} % | {} | {:.1} % |",
            kind.name(),
            rates.cases,
            100.0 * comes,
            sound_rates.cases,
            100.0 * stays
        );
        if comes < COMES || stays > STAYS_AWAY {
            faults
                .push(format!("{} ({method}): {comes} of planted cases, {stays} of sound ones", kind.name()));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}

/// One caption alone is told, several are not.
#[test]
fn one_caption_is_not_contrasted() {
    let subject = shipped::shapes_clip(&burn::tensor::Device::default()).unwrap();
    let world = World::new(11);
    for id in 0..cases() as u64 {
        let scene = world.scene(Split::Test, id);
        let said = |texts: &[&str]| {
            let words = Words::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
            let sample = Sample::new(vec![picture(&scene)], words);
            let settled = Aim::default().settle(&On::new(&subject), sample).unwrap();
            settled.cautions.iter().map(|caution| caution.kind).collect::<Vec<_>>()
        };
        assert_eq!(said(&["a red circle"]), [CautionKind::NotContrasted]);
        assert_eq!(said(&["a red circle", "a blue square"]), []);
    }
}
