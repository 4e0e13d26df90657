//! What is told of a method before it runs: whether a subject allows it, what it costs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::Device;
use image::DynamicImage;
use mmlens_core::sound::Sound;
use mmlens_core::{
    AnalysisError, Case, Given, ManyCases, Method, Objective, On, Part, Picture, Reading, Region, Sample,
    Subject, Target, Words, from_fn, kind,
};
use mmlens_model::METHODS;
use mmlens_testkit::{Rewired, checkpoint, fixtures, picture};
use mmlens_zoo::{certify, shipped};
use serde_json::{Value, json};

use crate::support::{Marked, settings};

/// Settings with which a method takes a moment.
fn quick(method: &Method) -> Value {
    match method.card.short {
        "ig" => json!({ "steps": 2 }),
        "shap" => json!({ "picture": "whole", "each": "all" }),
        "smooth" => json!({ "samples": 2, "with": { "steps": 2 } }),
        "expected" => json!({ "samples": 2 }),
        "lime" => json!({ "picture": { "grid": { "rows": 2, "cols": 2 } }, "samples": 6 }),
        "rise" => json!({ "samples": 3, "map": [4, 4] }),
        "permshap" => json!({ "picture": "whole", "each": "all", "orders": 1 }),
        "mmshap" => json!({ "orders": 1 }),
        "swap" => json!({ "towards": "objective", "steps": 1, "random": 1 }),
        "cka" => json!({ "estimator": "full" }),
        "ablation" | "ablation-often" => json!({ "controls": 2 }),
        "tracing" => json!({ "draws": 2, "points": ["resid_post"] }),
        "away" => json!({ "phrase": "a", "draws": 1 }),
        "textspan" => json!({ "texts": ["red", "a dog", "two"], "count": 2, "draws": 1 }),
        "splice" => json!({ "texts": ["red", "a dog", "two"] }),
        _ => json!({}),
    }
}

/// The same sample with other colours, quieter, and letters behind its words.
fn varied(sample: &Sample, by: usize) -> Sample {
    let pictures = sample.pictures.iter().map(|picture| {
        let image = picture.image.to_rgb8();
        let image = image::imageops::colorops::huerotate(&image, 50 * by as i32);
        Picture::new(format!("{} {by}", picture.name), DynamicImage::from(image))
    });
    let more = |text: &String| format!("{text}{}", &" abc ade"[..by]);
    let words = match &sample.words {
        Words::Question(text) => Words::Question(more(text)),
        Words::Prompt(text) => Words::Prompt(more(text)),
        Words::Texts(texts) => Words::Texts(texts.iter().map(more).collect()),
        Words::Nothing => Words::Nothing,
    };
    let quieter = |sound: &Sound| {
        let samples = sound.samples().iter().map(|sample| sample / (1 + by) as f32);
        Sound::new(format!("{} {by}", sound.name), samples.collect(), sound.rate()).unwrap()
    };
    let recordings = sample.recordings.iter().map(quieter).collect();
    Sample { pictures: pictures.collect(), recordings, words, ..sample.clone() }
}

/// Words of as many tokens, one letter of them another.
fn other_words(subject: &dyn Subject, sample: &Sample) -> Option<Sample> {
    let ids = |sample: &Sample| subject.encode(sample).ok().map(|inputs| inputs.ids.concat());
    let own = ids(sample)?;
    let changed = |text: &str| -> Vec<String> {
        let at = text.char_indices().filter(|(_, c)| c.is_ascii_alphabetic()).map(|(at, _)| at);
        // The last ones first: an answer may not see far back.
        at.collect::<Vec<_>>()
            .into_iter()
            .rev()
            .flat_map(|at| {
                ["e", "a", "t", "B"].map(|letter| format!("{}{letter}{}", &text[..at], &text[at + 1..]))
            })
            .collect()
    };
    let with = |words| Sample { words, ..sample.clone() };
    let others: Vec<Sample> = match &sample.words {
        Words::Question(text) => changed(text).into_iter().map(|text| with(Words::Question(text))).collect(),
        Words::Prompt(text) => changed(text).into_iter().map(|text| with(Words::Prompt(text))).collect(),
        Words::Texts(texts) => {
            changed(&texts[0]).into_iter().map(|text| with(Words::Texts(vec![text]))).collect()
        }
        Words::Nothing => Vec::new(),
    };
    others.into_iter().find(|other| ids(other).is_some_and(|ids| ids.len() == own.len() && ids != own))
}

/// All that methods may take, of a sample: a pair, and a data set.
fn given(subject: &dyn Subject, sample: Sample) -> Given {
    let sample = match sample.words {
        Words::Texts(texts) => Sample { words: Words::Texts(texts[..1].to_vec()), ..sample },
        _ => sample,
    };
    // What a text tower holds does not depend on the picture, and what a tower of pictures holds not on the words.
    let neither = sample.pictures.is_empty() && sample.recordings.is_empty();
    let other = match neither || kind::compares(subject) {
        true => Sample { pictures: varied(&sample, 3).pictures, ..other_words(subject, &sample).unwrap() },
        false => Sample { words: sample.words.clone(), ..varied(&sample, 3) },
    };
    let target = match (kind::compares(subject), answers(subject)) {
        (true, _) => Target::Objective(Objective::Similarity),
        (_, false) => Target::Objective(
            Reading::at("text.final_norm".parse().unwrap()).within(Region::all().positions([0])).into(),
        ),
        _ => Target::Top,
    };
    let (own, same) = (sample.clone(), target.clone());
    let data = from_fn("varied", 6, move |i| Ok(Case { sample: varied(&own, i), target: same.clone() }));
    let data = ManyCases::over(Marked::new(data)).unwrap();
    Given::new(Case { sample, target }).unwrap().against(other).over(data)
}

/// Whether it ends in something that it says, and not in states.
fn answers(subject: &dyn Subject) -> bool {
    Part::ALL.iter().any(|part| kind::reads_out(subject, *part).is_ok())
}

/// Every model that ships inside and of the fixtures, and a sample that it takes.
fn every() -> Vec<(String, Box<dyn Subject>, Sample)> {
    let device = Device::flex();
    let mut all = Vec::new();
    let shown = || Picture::open(picture("square")).unwrap();
    for name in shipped::names() {
        let subject = shipped::named(name, &device).unwrap().unwrap();
        let sample = match name {
            "shapes-clip" => Sample::captions(shown(), ["a red square"]),
            "tones-qwen2-audio" => Sample::hear(crate::ears::hum(0.2), "what pitch is the sound ?"),
            _ => Sample::ask(shown(), "what colour is the square ?"),
        };
        all.push((name.to_owned(), subject, sample));
    }
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders.into_iter().filter(|folder| folder.join("model/config.json").exists()) {
        let subject = mmlens_zoo::open(folder.join("model"), &device).unwrap();
        let mut traces: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        traces.retain(|path| path.extension().is_some_and(|kind| kind == "safetensors"));
        traces.sort();
        let pictures = fixtures().join("pictures");
        let samples = traces.iter().flat_map(|path| certify::samples(path, &pictures).unwrap());
        let one = samples.into_iter().max_by_key(|sample| sample.pictures.len().min(1)).unwrap();
        all.push((folder.file_name().unwrap().to_string_lossy().into_owned(), subject, one));
    }
    all
}

/// What a method takes of a model that it works on in a part of what the model takes.
fn suited(name: &str, method: &Method, given: &Given) -> (Value, Given) {
    let tiles = ["idefics3", "llava-next", "smolvlm"].iter().any(|family| name.starts_with(family));
    let (mut settings, mut given) = (quick(method), given.clone());
    match method.card.short {
        // Not of pictures whose patches share positions.
        "rollout" if tiles => given.case.sample = Sample::prompt(Vec::new(), "Is it red?"),
        // Where words do not look at pictures in their own stream.
        // A decoder that attends to a tower is no one stream, the tower is.
        "edges" | "paths" if name.starts_with("whisper") => settings["part"] = json!("audio"),
        "knockout"
            if name.starts_with("whisper")
                || name.starts_with("blip")
                || name.contains("clip")
                || name.starts_with("siglip-") =>
        {
            settings =
                json!({ "edges": [{ "name": "words", "keys": { "at": [0] }, "queries": { "at": [1] } }] });
        }
        // Names need a dual encoder, which those that are one have.
        "clip-dissect" if !name.contains("clip") && !name.starts_with("siglip") => {
            let encoder = mmlens_zoo::open(checkpoint("clip-a"), &Device::flex()).unwrap();
            given.many = given.many.map(|many| many.beside(encoder));
        }
        // Sets of kinds that a stream without pictures has none of.
        "ablation-often"
            if name.starts_with("blip") || name.contains("clip") || name.starts_with("siglip-") =>
        {
            settings = json!({ "sets": [{ "name": "some", "tokens": { "at": [1] } }], "controls": 2 });
        }
        // Where no position shows a picture to take a word out of: decoders look at pictures from outside.
        "away" if given.case.sample.pictures.is_empty() || ["blip-a", "blip-old"].contains(&name) => {
            settings = json!({ "phrase": "a", "draws": 1, "positions": "words" });
        }
        // Nor does one of a prompt, where an encoder reads it.
        "away" if name == "blip-qa" => settings = json!({ "phrase": "a", "draws": 1, "positions": "all" }),
        // Other words of as many tokens, where words are exchanged.
        "expected" if given.case.sample.pictures.is_empty() => {
            let others = given.corrupted.as_ref().map(|other| match &other.words {
                Words::Question(text) | Words::Prompt(text) => vec![text.clone()],
                Words::Texts(texts) => texts.clone(),
                Words::Nothing => Vec::new(),
            });
            (settings, given.many) = (json!({ "samples": 2, "texts": others }), None);
        }
        // A sum is that of one picture.
        "parts" => given.case.sample.pictures.truncate(1),
        // Where the words of a prompt are read by an encoder.
        "cka" if name == "blip-qa" => settings = json!({ "estimator": "full", "positions": "all" }),
        _ => {}
    }
    (settings, given)
}

/// Whether what was found instead of what a method needs is found of a sample: recordings without words, or in a stream of their own.
fn of_sample(found: &str) -> bool {
    ["the sample has no", "both hold the same", "the words of the prompt itself"]
        .iter()
        .any(|own| found.starts_with(own))
}

/// What the table says of a subject is what running says: what is allowed runs, what is not is refused for the same reason.
#[test]
fn a_subject_allows_what_runs_on_it() {
    let (mut faults, mut allowed, mut refused) = (Vec::new(), 0, 0);
    for (name, subject, sample) in every() {
        let subject = subject.as_ref();
        let heard = !sample.recordings.is_empty();
        let given = given(subject, sample);
        for method in METHODS {
            let on = On::new(subject);
            let (settings, given) = suited(&name, method, &given);
            let made = method.make(settings).unwrap();
            let found = made.run_given(&on, &given);
            match (method.card.allows(subject), found) {
                (Ok(()), Ok(_)) => allowed += 1,
                // What is needed of a sample is no need of the model.
                (Ok(()), Err(AnalysisError::Input { needs, .. })) if needs == "a sample with one picture" => {
                }
                (Ok(()), Err(AnalysisError::Input { found, .. })) if heard && of_sample(&found) => {}
                (Err(told), Err(said)) => {
                    refused += 1;
                    if (told.to_string(), matches!(told, AnalysisError::Input { .. }))
                        != (said.to_string(), true)
                    {
                        faults.push(format!("{name}, {}: told `{told}`, said `{said}`", method.card.short));
                    }
                }
                (told, said) => faults.push(format!(
                    "{name}, {}: told {told:?}, said {:?}",
                    method.card.short,
                    said.map(|_| ())
                )),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(allowed > 300 && refused > 50);
}

/// Rows through a subject, and those of which gradients are taken.
fn counted(subject: &dyn Subject, work: impl FnOnce(&dyn Subject)) -> [u64; 2] {
    let [forward, backward] = [AtomicU64::new(0), AtomicU64::new(0)];
    let counting = Rewired::new(subject, |inputs, run| {
        let rows = inputs.rows() as u64;
        forward.fetch_add(rows, Ordering::Relaxed);
        if run.takes_gradients() {
            backward.fetch_add(rows, Ordering::Relaxed);
        }
        subject.forward(inputs, run)
    });
    work(&counting);
    [&forward, &backward].map(|rows| rows.load(Ordering::Relaxed))
}

/// The passes told are those that are made, to the row.
#[test]
fn passes_are_told_to_the_row() {
    let mut faults = Vec::new();
    let mut held = 0;
    for (name, subject, sample) in
        every().into_iter().filter(|(name, ..)| shipped::model_type(name).is_some())
    {
        let subject = subject.as_ref();
        let heard = !sample.recordings.is_empty();
        let given = given(subject, sample);
        for method in METHODS.iter().filter(|method| method.card.allows(subject).is_ok()) {
            let (own, given) = suited(&name, method, &given);
            for own in settings(method).into_iter().chain([own]) {
                let made = method.make(own.clone()).unwrap();
                let told = made.cost(&On::new(subject), &given).map(|cost| [cost.forward, cost.backward]);
                let mut said = None;
                let taken =
                    counted(subject, |subject| said = Some(made.run_given(&On::new(subject), &given)));
                let said = said.unwrap();
                let refused = said.as_ref().err().map(ToString::to_string);
                let fits = match (&told, said) {
                    // How many blocks of a tower count is found on the way.
                    (Ok(told), Ok(_)) if ["rollout", "relevance"].contains(&method.card.short) => {
                        let blocks = kind::blocks(subject, Part::Vision) as u64;
                        taken[0] <= told[0] && told[0] <= taken[0] + blocks && taken[1] == told[1]
                    }
                    // Rows of the dual encoder pass through another subject.
                    (Ok(told), Ok(_)) if method.card.short == "clip-dissect" => {
                        taken[0] <= told[0] && told[1] == taken[1]
                    }
                    // Which sets hold a position is found case by case.
                    (Ok(told), Ok(_)) if method.card.short == "ablation-often" => {
                        taken[0] <= told[0] && told[1] == taken[1]
                    }
                    (Ok(_), Err(AnalysisError::Input { .. })) if method.card.short == "ablation-often" => {
                        true
                    }
                    // Settings that name pictures, where a recording is given.
                    (Ok(_), Err(AnalysisError::Input { found, .. })) if heard && of_sample(&found) => true,
                    // Nodes are added until they are enough.
                    (Ok(told), Ok(_)) if own.get("budget").is_some() => {
                        taken[0] <= told[0] && taken[1] <= told[1] && told[0] <= 2 * taken[0]
                    }
                    (Ok(told), Ok(_)) => *told == taken,
                    // A setting that does not suit the subject is refused beforehand too.
                    (Err(told), Err(said)) => told.to_string() == said.to_string(),
                    _ => false,
                };
                held += usize::from(fits && told.is_ok());
                if !fits {
                    let what = format!("{name}, {} {own}", method.card.short);
                    faults.push(format!("{what}: told {told:?}, took {taken:?}, said {refused:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(held > 60, "{held} were told");
}
