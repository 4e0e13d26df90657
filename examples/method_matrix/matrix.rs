//! Which method runs on which kind of checkpoint: every one is run on every one, and what is not met is told.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use mmlens::core::burn::tensor::Device;
use mmlens::core::{
    AnalysisError, Annotated, Fitting, Given, Inputs, ManyCases, Mask, Method, Source, from_fn,
};
use mmlens::prelude::*;
use mmlens::sound::{Sound, SoundError};
use mmlens::zoo::{open, shipped};
use mmlens::{FITS, METHODS};
use serde_json::{Value, json};

/// A kind of model, and what it can be asked.
pub(crate) struct Checkpoint {
    pub(crate) name: &'static str,
    subject: Arc<dyn Subject>,
    /// Samples of equal length: the first is explained, the second is what it is compared with.
    samples: Vec<Sample>,
}

/// What came of a method on a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Runs,
    /// The need that is not met, and what there is instead.
    Needs(String),
}

/// What all data sets are called: a need that names its data is the same need on every checkpoint.
const DATA: &str = "the cases";

/// Words behind which a chain of thought ends in an answer, what stands in its place, and the chain, in words that the checkpoint has.
fn chain(name: &str) -> [&'static str; 3] {
    match name {
        "tones-qwen2-audio" => [" the pitch is", " a", "the hiss is long . the hiss is low ."],
        _ => [" the colour is", " a", "the star is blue . the triangle is red ."],
    }
}

/// Settings that take a method through itself with little work; those of others are their defaults. `site` is the stream behind the first
/// block, for what looks at one place; `name` is that of the checkpoint.
fn settings(short: &str, site: &str, name: &str) -> Value {
    let [ask, filler, _] = chain(name);
    // Without positions of a prompt all rows are taken.
    let of_rows = ["probe", "inlp", "sparse-head", "bottleneck", "tcav", "tree", "caa"].contains(&short);
    if of_rows && ["ViT", "BLIP VQA"].contains(&name) {
        let mut own = settings(short, site, "");
        own["positions"] = json!("all");
        return own;
    }
    let texts = ["a red circle", "a blue square", "a green triangle", "two"];
    match short {
        "ig" => json!({ "steps": 4 }),
        "shap" => json!({ "picture": "whole", "each": "all" }),
        "occlusion" => json!({ "picture": { "grid": { "rows": 2, "cols": 2 } } }),
        "expected" => json!({ "samples": 2 }),
        "lime" => json!({ "picture": { "grid": { "rows": 2, "cols": 2 } }, "samples": 12 }),
        "rise" => json!({ "samples": 4, "map": [4, 4] }),
        "permshap" => json!({ "picture": "whole", "each": "all", "orders": 1 }),
        "mmshap" => json!({ "orders": 1 }),
        "swap" => json!({ "towards": "objective", "steps": 1, "random": 1 }),
        "smooth" => json!({ "samples": 2, "with": { "steps": 2 } }),
        // What enters the first block of words is the same, whatever is seen or heard.
        "patching" => json!({ "layers": { "at": [1] } }),
        "attribution" => json!({ "layers": { "at": [0] } }),
        "tracing" => json!({ "draws": 2, "points": ["resid_post"], "layers": { "at": [1] } }),
        "edges" => json!({ "blocks": 1 }),
        "textspan" => json!({ "texts": texts, "count": 2, "draws": 1 }),
        "splice" => json!({ "texts": texts }),
        "away" => json!({ "phrase": "red", "draws": 1 }),
        "group-ablation" => json!({ "largest": 2, "random": 2 }),
        "ablation" | "ablation-often" => json!({ "controls": 2 }),
        // Words that every vocabulary has.
        "pairs" => json!({ "rules": { "rule": [{ "name": "colour", "sets": [["red", "blue"]] }] } }),
        "modality" => json!({ "repeats": 2, "labels": false }),
        "do" | "do-often" => json!({ "draws": 1 }),
        "cfvqa" => json!({ "constant": 0.0 }),
        "emap" => json!({ "cases": 2 }),
        "mediation" => json!({ "layers": { "at": [0] }, "random": 2 }),
        "tuned" => json!({ "steps": 2, "batch": 2 }),
        "pai" => json!({ "from": 0 }),
        "semantic-entropy" | "self-consistency" => json!({ "draws": { "samples": 2, "max_new": 2 } }),
        "in-context" => json!({ "demonstrations": 1 }),
        "early-answering" => json!({ "max_new": 2, "ask": ask, "filler": filler }),
        "probe" => json!({ "site": site }),
        "tracin" | "trak" | "grad-cos" => json!({ "features": 8 }),
        "feature-cos" => json!({ "site": site, "positions": "all" }),
        "caa" => json!({ "site": site, "draws": 1, "held_out": 0.5 }),
        "inlp" => json!({ "site": site, "rounds": 1, "draws": 1 }),
        "concepts" => json!({ "site": site, "count": 2, "starts": 1, "draws": 1 }),
        "prototypes" => json!({ "site": site, "candidates": 4, "draws": 1, "per_class": 1, "held_out": 0.1 }),
        "sparse-head" => json!({ "site": site, "lambdas": 4, "draws": 1 }),
        "bottleneck" => json!({ "site": site, "least": 1, "lambdas": 4, "draws": 1 }),
        "tcav" => {
            json!({ "site": site, "concepts": ["one"], "random": "other", "explained": "one", "runs": 2 })
        }
        "tree" => json!({ "site": site, "features": "rows", "answers": "labels", "least": 1, "shuffles": 1 }),
        "sae" => json!({ "site": site, "features": 4, "k": 1, "passes": 1 }),
        _ => json!({}),
    }
}

/// Every kind: the models that ship inside, and tiny ones of random weights.
pub(crate) fn checkpoints(root: &Path) -> Result<Vec<Checkpoint>> {
    let pictures = root.join("oracles/fixtures/pictures");
    let picture = |name: &str| Picture::open(pictures.join(name).with_extension("png"));
    let tiny = |name: &str| {
        let folder = root.join("oracles/fixtures").join(name).join("model");
        open(&folder, &Device::default()).with_context(|| folder.display().to_string())
    };
    let seen = [picture("wide")?, inverted(&picture("wide")?)];
    let asked =
        |words: &str| -> Vec<Sample> { seen.iter().map(|own| Sample::ask(own.clone(), words)).collect() };
    let captioned = |texts: &[&str]| -> Vec<Sample> {
        let of = |(own, text): (&Picture, &&str)| {
            Sample::new(vec![own.clone()], Words::Texts(vec![(*text).to_owned()]))
        };
        seen.iter().cycle().zip(texts).map(of).collect()
    };
    let plain = |texts: &[&str]| -> Vec<Sample> {
        texts.iter().map(|text| Sample::prompt(Vec::new(), *text)).collect()
    };
    let bare =
        || -> Vec<Sample> { seen.iter().map(|own| Sample::new(vec![own.clone()], Words::Nothing)).collect() };
    let recording = |path: &str| Sound::open(root.join(path));
    // A recording, and noise as long and as loud.
    let heard = |path: &str| -> Result<[Sound; 2]> {
        let own = recording(path)?;
        Ok([own.noise(|at| f64::from(Seed(0).at(at).unit()))?, own])
    };
    let listened = heard("docs/sounds/scene.wav")?.map(|own| Sample::hear(own, "what pitch is the hiss ?"));
    let written = heard("oracles/fixtures/recordings/chirp.wav")?
        .map(|own| Sample::new(Vec::new(), Words::Nothing).with_recordings(vec![own]));
    let prompted: Vec<Sample> = seen.iter().map(|own| Sample::prompt(vec![own.clone()], "a red")).collect();
    let colour = "what colour is the triangle?";
    let all: Vec<(&str, Box<dyn Subject>, Vec<Sample>)> = vec![
        ("shapes-llava", Box::new(shipped::shapes(&Device::default())?), asked(colour)),
        (
            "shapes-clip",
            Box::new(shipped::shapes_clip(&Device::default())?),
            captioned(&["a red circle", "a blue square"]),
        ),
        ("tones-qwen2-audio", Box::new(shipped::tones(&Device::default())?), listened.into()),
        ("LLaVA", tiny("llava-a")?, asked("Red?")),
        ("SmolVLM", tiny("smolvlm-a")?, asked("Red?")),
        ("Qwen2-VL", tiny("qwen2-vl-a")?, asked("Red?")),
        ("CLIP", tiny("clip-a")?, captioned(&["a red square", "a blue circle"])),
        ("BLIP", tiny("blip-a")?, prompted),
        ("BLIP VQA", tiny("blip-qa")?, asked("Red?")),
        ("Whisper", tiny("whisper-a")?, written.into()),
        ("ViT", tiny("vit-a")?, bare()),
        ("BERT", tiny("bert-a")?, plain(&["a [MASK] circle is red", "a [MASK] circle is bad"])),
        (
            "LLaMA",
            tiny("llama-a")?,
            plain(&["It is red.", "It is bed.", "At is red.", "Is it red.", "It is rad."]),
        ),
    ];
    let made =
        |(name, subject, samples): (&'static str, Box<dyn Subject>, Vec<Sample>)| -> Result<Checkpoint> {
            let of = |sample: &Sample| -> Result<Inputs> { Ok(subject.encode(sample)?) };
            let first = of(samples.first().context("a sample")?)?;
            // Words of the same length, which other tokens have.
            let mut equal = Vec::new();
            for sample in &samples {
                let own = of(sample)?;
                if own.positions() == first.positions() {
                    equal.push(sample.clone());
                }
            }
            if let ([only], Some(other)) = (equal.as_slice(), other_words(subject.as_ref(), &first, &samples))
            {
                equal = vec![only.clone(), other];
            }
            if equal.len() < 2 {
                bail!("{name}: no two samples of equal length");
            }
            Ok(Checkpoint { name, subject: Arc::from(subject), samples: equal })
        };
    all.into_iter().map(made).collect()
}

/// The last sample with the words of the first, of which a letter is changed, if they are as many tokens then, and others.
fn other_words(subject: &dyn Subject, first: &Inputs, samples: &[Sample]) -> Option<Sample> {
    let (sample, shown) = (samples.first()?, samples.last()?);
    let text = match &sample.words {
        Words::Prompt(text) | Words::Question(text) => text.clone(),
        Words::Texts(texts) => texts.first()?.clone(),
        Words::Nothing => return None,
    };
    let letters = text.char_indices().filter(|(_, c)| c.is_ascii_lowercase()).map(|(at, _)| at);
    let changed = letters.rev().flat_map(|at| {
        ["e", "a", "t", "b"].map(|letter| format!("{}{letter}{}", &text[..at], &text[at + 1..]))
    });
    let as_words = |text: String| match &sample.words {
        Words::Question(_) => Words::Question(text),
        Words::Texts(_) => Words::Texts(vec![text]),
        _ => Words::Prompt(text),
    };
    changed.map(|text| Sample { words: as_words(text), ..shown.clone() }).find(|other| {
        let own = subject.encode(other);
        own.is_ok_and(|own| own.positions() == first.positions() && own.ids != first.ids)
    })
}

fn inverted(picture: &Picture) -> Picture {
    let mut image = (*picture.image).clone();
    image.invert();
    Picture::new("inverted", image)
}

/// Cases with masks: the left and the upper half of every picture.
struct Halves<D>(D);

impl<D: Cases> Cases for Halves<D> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        self.0.case(index)
    }

    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn label(&self, index: usize) -> Result<Option<usize>, SubjectError> {
        self.0.label(index)
    }

    fn group(&self, index: usize) -> Result<Option<u64>, SubjectError> {
        self.0.group(index)
    }

    fn concepts(&self, index: usize) -> Result<Vec<String>, SubjectError> {
        self.0.concepts(index)
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let sample = self.0.case(index)?.sample;
        let halves = |(picture, own): (usize, &Picture)| {
            let [wide, high] = [own.image.width(), own.image.height()].map(|side| side as usize);
            let half = |name: &str, inside: &dyn Fn(usize) -> bool| Mask {
                name: name.to_owned(),
                picture,
                size: [wide, high],
                inside: (0..wide * high).map(inside).collect(),
            };
            [
                half("left", &|at| 2 * (at % wide) < wide), //
                half("top", &|at| 2 * (at / wide) < high),
            ]
        };
        Ok(sample.pictures.iter().enumerate().flat_map(halves).collect())
    }
}

impl Checkpoint {
    /// A few cases with classes, of which those of the first show a concept: the samples, again and again.
    fn data(&self, target: Target) -> Result<impl Cases + Send + use<>> {
        let samples = self.samples.clone();
        let count = 8;
        let labels: Vec<usize> = (0..count).map(|i| i % samples.len() % 2).collect();
        let shows: Vec<_> = labels.iter().map(|&l| if l == 0 { vec!["concept"] } else { vec![] }).collect();
        let data = from_fn(DATA, count, move |i| {
            Ok(Case { sample: samples[i % samples.len()].clone(), target: target.clone() })
        });
        let groups = (0..count as u64).collect();
        Ok(Halves(Annotated::new(data, self.answers(), labels)?.grouped(groups)?.showing(shows)?))
    }

    /// Cases that all differ, a third of them of one class: the first sample with its pictures ever brighter and its recordings ever quieter, with a
    /// word more in its captions, or with a letter more.
    fn varied(&self) -> Result<impl Cases + Send + use<>> {
        let sample = self.samples.first().context("a sample")?.clone();
        let (target, count) = (self.target(), 12);
        let data = from_fn(DATA, count, move |i| {
            let brighter = |own: &Picture| Picture::new("brighter", own.image.brighten(9 * i as i32));
            let quieter = |own: &Sound| {
                let share = 1.0 / (1.0 + 0.2 * i as f32);
                Sound::new("quieter", own.samples().iter().map(|x| share * x).collect(), own.rate())
            };
            let letter = ["a", "b", "d", "e", "g", "i", "n", "o", "r", "s", "t", "u"][i % 12];
            let word = [
                "red", "blue", "green", "cyan", "white", "yellow", "purple", "orange", "big", "small",
                "left", "right",
            ][i % 12];
            let words = match &sample.words {
                Words::Texts(texts) => {
                    Words::Texts(texts.iter().map(|text| format!("{text} {word}")).collect())
                }
                Words::Prompt(text) if sample.pictures.is_empty() && sample.recordings.is_empty() => {
                    Words::Prompt(format!("{text} {letter}"))
                }
                other => other.clone(),
            };
            let pictures = sample.pictures.iter().map(brighter).collect();
            let unfit = |error: SoundError| SubjectError::Annotation {
                data: "quieter".to_owned(),
                reason: error.to_string(),
            };
            let recordings =
                sample.recordings.iter().map(quieter).collect::<Result<_, _>>().map_err(unfit)?;
            let sample = Sample { pictures, recordings, words, ..sample.clone() };
            Ok(Case { sample, target: target.clone() })
        });
        Ok(Annotated::new(data, ["one", "other"], (0..count).map(|i| usize::from(i % 3 > 0)).collect())?)
    }

    /// Cases with right answers, of what writes answers.
    fn answered(&self) -> Result<impl Cases + Send + use<>> {
        let (samples, answers) = (self.samples.clone(), self.answers());
        let writes = !kind::compares(self.subject.as_ref()) && !kind::classifies(self.subject.as_ref());
        Ok(from_fn(DATA, 4, move |i| {
            let sample = samples[i % samples.len()].clone();
            let answer = Reply::Text(answers[i % 2].to_owned());
            Ok(Case::new(if writes { sample.answered(answer) } else { sample }))
        }))
    }

    /// The pictures of the cases with captions, as a dual encoder takes them.
    fn captioned(&self) -> Result<impl Cases + Send + use<>> {
        let samples = self.samples.clone();
        Ok(from_fn(DATA, 8, move |i| {
            let pictures = samples[i % samples.len()].pictures.clone();
            Ok(Case::new(Sample::new(pictures, Words::Texts(vec!["a red circle".to_owned()]))))
        }))
    }

    /// The same model as if a training had halved what its first block adds.
    fn trained(&self) -> Result<impl Subject + use<>> {
        let site = self.site().replace("resid_post", "mlp_out");
        let halved = Alteration::new(site.as_str(), Region::all(), Change::Scale(0.5))?;
        Ok(Altered::new(Arc::clone(&self.subject), [halved])?)
    }

    /// What it can be told to say.
    fn answers(&self) -> [&'static str; 2] {
        if self.name == "tones-qwen2-audio" { ["high", "low"] } else { ["red", "blue"] }
    }

    fn target(&self) -> Target {
        match kind::compares(self.subject.as_ref()) {
            true => Target::Objective(Objective::Cosine),
            false => Target::Top,
        }
    }

    fn given(&self, target: Target) -> Result<Given> {
        let [clean, corrupted, ..] = self.samples.as_slice() else { bail!("two samples") };
        let given =
            Given::new(Case { sample: clean.clone(), target: target.clone() })?.against(corrupted.clone());
        Ok(given.over(ManyCases::over(self.data(target)?)?))
    }

    /// The stream behind the first block of the part that answers.
    fn site(&self) -> String {
        let blocks = |part: Part| kind::blocks(self.subject.as_ref(), part) > 0;
        let part = if blocks(Part::Text) { Part::Text } else { Part::Vision }; // none of them has ears alone
        format!("{}.blocks.0.resid_post", part.name())
    }

    /// Runs a method.
    pub(crate) fn runs(&self, method: &Method) -> Result<Cell> {
        let made = method.make(settings(method.card.short, &self.site(), self.name))?;
        let mut given = self.given(self.target())?;
        let over = || -> Result<ManyCases> { Ok(ManyCases::over(self.data(self.target())?)?) };
        match method.card.short {
            "tcav" => given = given.over(ManyCases::over(self.varied()?)?),
            "calibration" | "in-context" | "pairs" => {
                given = given.over(ManyCases::over(self.answered()?)?);
            }
            "clip-dissect" if !kind::compares(self.subject.as_ref()) => {
                let names = shipped::shapes_clip(&Device::default())?;
                given = given.over(over()?.beside_over(names, self.captioned()?)?);
            }
            "checkpoint-diff" => given = given.over(over()?.beside(self.trained()?)),
            "early-answering" => {
                let [_, _, chain] = chain(self.name);
                let sample = self.samples.first().context("a sample")?.clone();
                given = Given::new(Case::new(sample.answered(Reply::Text(chain.to_owned()))))?;
            }
            _ => {}
        }
        let found = made.run_given(&On::new(self.subject.as_ref()), &given);
        self.cell(method.card.id, found.map(|_| ()))
    }

    /// Lets something learn, and runs what it has learned.
    pub(crate) fn learns(&self, fit: &Fitting) -> Result<Cell> {
        // TRAK is of margins of probabilities.
        let target = match fit.card.short {
            "trak" if !kind::compares(self.subject.as_ref()) => {
                Target::Objective(Objective::log_probability(0))
            }
            _ => self.target(),
        };
        let on = On::new(self.subject.as_ref());
        let (few, varied) = (self.data(target.clone())?, self.varied()?);
        // Prototypes tell a class by several cases that differ.
        let data: &dyn Cases = if fit.card.short == "prototypes" { &varied } else { &few };
        let learned = fit.learn(
            settings(fit.card.short, &self.site(), self.name),
            &Source::Cases(&on, data),
            Seed(0),
            None,
        );
        let given = self.given(target)?;
        self.cell(fit.card.id, learned.and_then(|own| own.fitted.run_given(&on, &given)).map(|_| ()))
    }

    fn cell(&self, method: &str, found: Result<(), AnalysisError>) -> Result<Cell> {
        match found {
            Ok(()) => Ok(Cell::Runs),
            Err(AnalysisError::Input { needs, found, .. }) => {
                // The same need of two checkpoints is one need.
                let found = found.replace(&format!("`{}`", self.subject.name()), "this model");
                Ok(Cell::Needs(format!("{needs}; {found}")))
            }
            Err(AnalysisError::Subject(SubjectError::Sample { reason, .. })) => {
                Ok(Cell::Needs(format!("a sample that the subject takes; {reason}")))
            }
            Err(other) => bail!("{method} on {}: {other}", self.name),
        }
    }
}

/// The page: a row for each method, a column for each checkpoint, and the needs that are not met.
pub(crate) fn matrix(checkpoints: &[Checkpoint]) -> Result<String> {
    let mut rows: Vec<(String, Vec<Cell>)> = Vec::new();
    for method in METHODS {
        let cells = checkpoints.iter().map(|own| own.runs(method));
        rows.push((format!("`{}`", method.card.id), cells.collect::<Result<_>>()?));
    }
    for fit in FITS {
        let cells = checkpoints.iter().map(|own| own.learns(fit));
        rows.push((format!("`{}` (fit)", fit.card.id), cells.collect::<Result<_>>()?));
    }
    let mut page = String::from(
        "# Which method runs on what\n\n\
         Every method was run on every kind of checkpoint: the models that ship inside, and tiny ones of random weights with the architecture named. A number is \
         the need, listed below, that is not met, with what was found instead. What has to learn first learned from a few cases, and was run on one. The cases have labels, concepts, masks, answers and, for \
         `early-answering`, a chain of thought; beside the model stands `shapes-clip` for `clip-dissect`, and for `checkpoint-difference` the model itself with half of what its first MLP adds.\n\
         This page is written by `cargo run --release --example method_matrix`; a test does the same and compares.\n\n",
    );
    let names: Vec<&str> = checkpoints.iter().map(|own| own.name).collect();
    writeln!(page, "| method | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()))?;
    let mut needs: Vec<String> = Vec::new();
    for (name, cells) in &rows {
        let shown = cells.iter().map(|cell| match cell {
            Cell::Runs => "runs".to_owned(),
            Cell::Needs(need) => {
                let at = needs.iter().position(|own| own == need).unwrap_or_else(|| {
                    needs.push(need.clone());
                    needs.len() - 1
                });
                (at + 1).to_string()
            }
        });
        let shown: Vec<String> = shown.collect();
        writeln!(page, "| {name} | {} |", shown.join(" | "))?;
    }
    let count = |cell: &dyn Fn(&Cell) -> bool| {
        rows.iter().flat_map(|(_, cells)| cells).filter(|own| cell(own)).count()
    };
    let runs = count(&|cell| *cell == Cell::Runs);
    writeln!(page, "\n{runs} of {} run.\n\n## Needs that are not met\n", count(&|_| true))?;
    for (at, need) in needs.iter().enumerate() {
        writeln!(page, "{}. {need}", at + 1)?;
    }
    Ok(page)
}
