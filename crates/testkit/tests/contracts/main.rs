//! Every subject there is keeps the contract of subjects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod own_sites;
mod sessions;

use burn::tensor::Device;
use mmlens_core::sound::Sound;
use mmlens_core::{
    Clip, Inputs, Objective, Part, Picture, Plan, Point, Position, Sample, Site, Subject, Words,
};
use mmlens_testkit::{Toy, checkpoint, picture, subject_breaches};
use mmlens_zoo::bert::open_bert;
use mmlens_zoo::blip::open_blip;
use mmlens_zoo::clip::open_clip;
use mmlens_zoo::llava::open_llava;
use mmlens_zoo::qwen_vl::open_qwen_vl;
use mmlens_zoo::vit::open_vit;

fn open(name: &str) -> Picture {
    Picture::open(picture(name)).unwrap()
}

fn keeps(subject: &dyn Subject, inputs: &Inputs) {
    let breaches = subject_breaches(subject, inputs);
    assert!(breaches.is_empty(), "{}:\n{}", subject.name(), breaches.join("\n"));
    unembeds_no_more_than_is_wanted(subject, inputs);
}

/// A model of tokens computes the logits of a wanted token alone, unless its site is read.
fn unembeds_no_more_than_is_wanted(subject: &dyn Subject, inputs: &Inputs) {
    let logits = Site::of(Part::Text, Point::Logits);
    if !subject.sites().iter().any(|spec| spec.site == logits) {
        return;
    }
    let plan = Plan::new().objective(Objective::logit(1));
    let trace = subject.run(inputs, plan.clone()).unwrap();
    let output = trace.output();
    assert!(
        output.logits.is_none()
            && output.at(Position::Last).is_err()
            && output.logit(Position::Last, 0).is_err()
    );
    assert_eq!(output.logit(Position::Last, 1).unwrap().dims(), [inputs.rows()]);
    let trace = subject.run(inputs, plan.read(logits).unwrap()).unwrap();
    let vocab = trace.get(logits).unwrap().dims()[2];
    assert_eq!(trace.output().at(Position::Last).unwrap().dims(), [inputs.rows(), vocab]);
}

fn llava(name: &str, prompts: &[(&[&str], &str)]) {
    let subject = open_llava(&checkpoint(name), &Device::default()).unwrap();
    let samples = prompts.iter().map(|(pictures, prompt)| {
        subject.encode(&Sample::prompt(pictures.iter().map(|p| open(p)).collect(), *prompt)).unwrap()
    });
    let samples: Vec<Inputs> = samples.collect();
    for sample in &samples {
        keeps(&subject, sample);
    }
    keeps(&subject, &Inputs::batch(&samples, subject.pad()).unwrap());
}

#[test]
fn dual_encoders_keep_the_contract() {
    for name in ["clip-a", "clip-b", "siglip-a"] {
        let subject = open_clip(&checkpoint(name), &Device::default()).unwrap();
        let pairs =
            [("square", "a red circle"), ("wide", "two GREEN squares, isn't it?"), ("tiny", "größer")];
        let pairs = pairs.map(|(picture, text)| {
            let words = Words::Texts(vec![text.to_owned()]);
            subject.encode(&Sample::new(vec![open(picture)], words)).unwrap()
        });
        for pair in &pairs {
            keeps(&subject, pair);
        }
        keeps(&subject, &Inputs::batch(&pairs, subject.pad()).unwrap());
    }
}

#[test]
fn classifiers_keep_the_contract() {
    for name in ["vit-a", "vit-b", "vit-old"] {
        let subject = open_vit(&checkpoint(name), &Device::default()).unwrap();
        let encode = |pictures: &[&str]| {
            let pictures = pictures.iter().map(|name| open(name)).collect();
            subject.encode(&Sample::new(pictures, Words::Nothing)).unwrap()
        };
        let samples = [encode(&["square"]), encode(&["wide", "tall"]), encode(&["tiny"])];
        for sample in &samples {
            keeps(&subject, sample);
        }
        keeps(&subject, &Inputs::batch(&samples, subject.pad()).unwrap());
    }
}

#[test]
fn encoders_of_text_keep_the_contract() {
    for name in ["bert-a", "bert-old"] {
        let subject = open_bert(&checkpoint(name), &Device::default()).unwrap();
        let texts = ["a [MASK] circle", "größer", "Two GREEN squares, isn't it?"];
        let singles = texts.map(|text| subject.encode(&Sample::prompt(Vec::new(), text)).unwrap());
        for single in &singles {
            keeps(&subject, single);
        }
        keeps(&subject, &Inputs::batch(&singles, subject.pad()).unwrap());
        let texts = Words::Texts(texts.map(str::to_owned).to_vec());
        keeps(&subject, &subject.encode(&Sample::new(Vec::new(), texts)).unwrap());
    }
}

#[test]
fn blip_keeps_the_contract() {
    let ask = |text: &str| Words::Question(text.to_owned());
    let texts = |texts: &[&str]| Words::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
    let prompt = |text: &str| Words::Prompt(text.to_owned());
    for (name, words) in [
        ("blip-a", [Words::Nothing, prompt("a photo of two")]),
        ("blip-qa", [ask("ring?"), ask("How many green squares?")]),
        ("blip-itm", [texts(&["a red circle"]), texts(&["ring"])]),
    ] {
        let subject = open_blip(&checkpoint(name), &Device::default()).unwrap();
        let encode = |(picture, words): (&str, Words)| {
            subject.encode(&Sample::new(vec![open(picture)], words)).unwrap()
        };
        let [first, second] = words;
        let samples = [encode(("square", first)), encode(("tall", second))];
        for sample in &samples {
            keeps(&subject, sample);
        }
        keeps(&subject, &Inputs::batch(&samples, subject.pad()).unwrap());
    }
    let subject = open_blip(&checkpoint("blip-itm"), &Device::default()).unwrap();
    let table = Sample::new(vec![open("wide")], texts(&["a cat", "two blue squares, isn't it?"]));
    keeps(&subject, &subject.encode(&table).unwrap());
}

#[test]
fn the_toys_keep_the_contract() {
    for toy in [Toy::curved(3), Toy::straight(4)] {
        let sample = |pictures: &[&str], words: &str| {
            toy.encode(&Sample::prompt(pictures.iter().map(|p| open(p)).collect(), words)).unwrap()
        };
        let samples = [sample(&["square"], "#what"), sample(&["wide", "tall"], "a#b#c"), sample(&[], "abc")];
        for sample in &samples {
            keeps(&toy, sample);
        }
        keeps(&toy, &Inputs::batch(&samples, 0).unwrap());
    }
}

#[test]
fn a_toy_with_ears_keeps_the_contract() {
    let hum = |samples: usize| {
        let wave = (0..samples).map(|at| (at as f32 * 0.3).sin() * 0.4).collect();
        Sound::new("hum", wave, 16_000).unwrap()
    };
    for toy in [Toy::curved(3).with_ears(), Toy::straight(4).with_ears()] {
        let sample = |pictures: &[&str], heard: &[usize], words: &str| {
            let sample = Sample::prompt(pictures.iter().map(|p| open(p)).collect(), words);
            let heard = heard.iter().map(|samples| hum(*samples)).collect();
            toy.encode(&sample.with_recordings(heard)).unwrap()
        };
        let samples = [
            sample(&["square"], &[9600], "#~what"),
            sample(&["wide", "tall"], &[4800, 16_000], "a#b#c~~"),
            sample(&[], &[8000], "~abc"),
            sample(&[], &[], "abc"),
        ];
        for sample in &samples {
            keeps(&toy, sample);
        }
        keeps(&toy, &Inputs::batch(&samples, 0).unwrap());
    }
}

#[test]
fn decoders_of_every_kind_keep_the_contract() {
    for name in ["llama-a", "gemma2-a", "gpt2-a", "mistral-a", "qwen3-a", "idefics3-a", "llava-next-a"] {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        keeps(subject.as_ref(), &subject.encode(&Sample::prompt(Vec::new(), "Hello you")).unwrap());
    }
}

#[test]
fn llava_keeps_the_contract() {
    llava(
        "llava-a",
        &[(&["square"], "<image>Red?"), (&["wide", "tall"], "<image>and<image>"), (&[], "Hello")],
    );
}

#[test]
fn llava_with_the_class_token_keeps_the_contract() {
    llava("llava-b", &[(&["square"], "<image>Red?")]);
}

#[test]
fn llava_with_several_feature_layers_keeps_the_contract() {
    llava("llava-multi", &[(&["square"], "<image>Red?")]);
}

#[test]
fn qwen_vl_keeps_the_contract() {
    const EYE: &str = "<|vision_start|><|image_pad|><|vision_end|>";
    for name in ["qwen2-vl-a", "qwen2.5-vl-a", "qwen3-vl-a"] {
        let subject = open_qwen_vl(&checkpoint(name), &Device::default()).unwrap();
        let frames = ["clip-0", "clip-1", "clip-2"].map(|frame| open(frame).image).to_vec();
        let clip = Clip::new("clip", frames, Some(3.0));
        let samples = [
            Sample::prompt(vec![open("tiny")], format!("{EYE}Red?")),
            Sample::prompt(vec![open("tiny")], format!("Is <|video_pad|> like {EYE}?"))
                .with_clips(vec![clip]),
            Sample::prompt(Vec::new(), "Hello"),
        ];
        let samples: Vec<Inputs> = samples.iter().map(|sample| subject.encode(sample).unwrap()).collect();
        for sample in &samples {
            keeps(&subject, sample);
        }
        keeps(&subject, &Inputs::batch(&samples, subject.pad()).unwrap());
    }
}
