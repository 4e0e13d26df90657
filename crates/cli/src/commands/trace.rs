//! `mmlens trace`: one pass as a file, for other programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use mmlens::core::{
    AnyTensor, Generation, HookError, Inputs, Objective, Plan, Point, Sample, Subject, kind, place, top_token,
};
use mmlens::engine::aim::Compared;
use mmlens::files::Target as WrittenTo;
use mmlens::finding::top;
use serde_json::{Value, json};

use crate::audio::AudioArgs;
use crate::commands::sites::key;
use crate::edits::EditArgs;
use crate::input::{ClipArgs, pictures, suited, words};
use crate::model::{ModelArgs, supported};
use crate::pairs::tensors as pairs;
use crate::print;
use crate::refusal::{Refusal, numbers};
use crate::tensors::{Held, write};

/// Runs one pass and writes what it held to a safetensors file.
///
/// The file holds `input_ids` (placeholders expanded), `pixel_values` and `input_features` (as the towers get them), every site read under
/// its name, `logits` (all positions), `target` (the token whose logit is differentiated), `grad.SITE` and `generated`.
/// Of a dual encoder: `image_embeds` and `text_embeds` (of length one), `logits_per_image`, and as `target` the text
/// whose logit with the first picture is differentiated. Of a classifier: `logits` of each class, and as `target` the class.
///
/// A value that is NaN or infinite, masked attention scores excepted, is an error that names the first site with one, in the
/// order of the pass, and where it is; nothing is written then.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    model: ModelArgs,
    /// A picture; repeat it for several, in the order of their placeholders.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    clips: ClipArgs,
    #[command(flatten)]
    audio: AudioArgs,
    #[command(flatten)]
    words: WordsArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// A site to read: `text.blocks.0.attn.pattern`; `*` stands for one segment, `0..3` for blocks, `{q,k}` for
    /// alternatives. Repeat it for several.
    #[arg(long, value_name = "SELECTOR")]
    read: Vec<String>,
    /// Adds so many greedy tokens, fewer if an end token comes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    generate: u16,
    /// A site to differentiate the target's logit at the last position with respect to; repeat it for several.
    #[arg(long, value_name = "SITE")]
    grad: Vec<String>,
    /// The token whose logit is differentiated: `argmax` or a token id; for dual encoders the number of a text, for classifiers that of a class, from 0.
    #[arg(long, value_name = "ID", default_value = "argmax", value_parser = Target::parse)]
    target: Target,
    /// The number type of the pass.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// The file, none of those that are read. It is written as a whole or not at all.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Writes values that are NaN or infinite all the same, and says where they are: to look for where they come from.
    #[arg(long)]
    allow_nan: bool,
    /// Lists what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// What a file is to hold, and of its tensors with values that are no numbers, where the first is.
struct Passed {
    tensors: BTreeMap<String, Held>,
    odd: BTreeMap<String, String>,
}

/// What the model is told, in one of three ways, or nothing.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct WordsArgs {
    /// A question, put through the checkpoint's chat template.
    #[arg(long, value_name = "QUESTION", required_unless_present_any = ["prompt", "text", "images", "audio"])]
    ask: Option<String>,
    /// The text as it is, with placeholders as the checkpoint's processor writes them before expansion.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// A caption, for dual encoders; repeat it for several.
    #[arg(long, value_name = "CAPTION")]
    text: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Argmax,
    Id(u32),
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "argmax" => Ok(Self::Argmax),
            id => id.parse().map(Self::Id).map_err(|_| "`argmax` or a token id".to_owned()),
        }
    }
}

impl Trace {
    pub(crate) fn run(&self) -> Result<()> {
        supported("dtype", &self.dtype, &["f32"])?;
        let (pictures, clips) = (pictures(&self.images)?, self.clips.clips()?);
        let inputs = self
            .images
            .iter()
            .cloned()
            .chain(self.clips.inputs())
            .chain(self.audio.inputs())
            .chain(self.model.folder()?);
        let inputs = inputs.chain(self.edits.inputs());
        let target = WrittenTo::new(&self.out)?.apart_from(inputs)?;
        let subject = self.edits.of(self.model.open()?)?;
        let subject: &dyn Subject = &subject;
        let WordsArgs { ask, prompt, text } = &self.words;
        let words = words(ask.as_ref(), prompt.as_ref(), text);
        suited(subject, &words)?;
        let sample = Sample::new(pictures, words).with_clips(clips).with_recordings(self.audio.sounds()?);
        let inputs = subject.encode(&sample)?;
        self.edits.suited(subject, &inputs)?;
        let passed = self.pass(subject, &inputs)?;
        write(&target, &passed.tensors, &self.about(subject).to_string())?;
        self.print(&passed)
    }

    /// Which tensors of a pass hold values that are no numbers. An error, unless they are allowed.
    fn odd(&self, trace: &mmlens::core::Trace) -> Result<BTreeMap<String, String>> {
        let output = trace.output();
        let pairs = output.pairs.iter().flat_map(|pairs| {
            [
                ("image_embeds", &pairs.images),
                ("text_embeds", &pairs.texts),
                ("logits_per_image", &pairs.logits),
            ]
        });
        let outputs = output.logits.iter().map(|logits| ("logits", logits)).chain(pairs);
        // In the order of the pass, so that the first is where they come from.
        let held = trace
            .values()
            .map(|(site, x)| (key(site), Some(site), x))
            .chain(outputs.map(|(name, x)| (name.to_owned(), None, x)))
            .chain(trace.grads().map(|(site, x)| (format!("grad.{}", key(site)), None, x)));
        let mut odd = BTreeMap::new();
        for (name, site, x) in held {
            let values = x.to_values()?;
            let admits = |value: f32| site.map_or(value.is_finite(), |site| site.admits(value));
            let Some(first) = values.iter().position(|value| !admits(*value)) else { continue };
            let (at, found) = (place(first, &x.dims()), values[first]);
            if !self.allow_nan {
                let error = HookError::NotFinite { what: name, at, found };
                return Err(anyhow::Error::from(error).context(Refusal::OddTrace));
            }
            odd.entry(name).or_insert_with(|| format!("{found} at {at:?}"));
        }
        Ok(odd)
    }

    fn pass(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Passed> {
        let mut plan = Plan::new().to_output();
        for selector in &self.read {
            plan = plan.read(selector)?;
        }
        let dual = kind::compares(subject);
        if dual && self.generate > 0 {
            return Err(Refusal::NoTokens { option: "generate", model: subject.name().to_owned() }.into());
        }
        let mut token = match self.target {
            Target::Id(id) => Some(id),
            Target::Argmax => None,
        };
        if !self.grad.is_empty() {
            let target = match token {
                Some(id) => id,
                None if dual => numbers(subject, Compared::of(subject, inputs))?.best()?,
                None => top_token(subject, inputs)?,
            };
            token = Some(target);
            for site in &self.grad {
                plan = plan.grad(site)?;
            }
            plan = plan.objective(match dual {
                true => Objective::Pair { image: 0, text: target as usize },
                false => Objective::logit(target),
            });
        }
        let trace = subject.run(&inputs.clone().all_logits(), plan)?;
        let odd = self.odd(&trace)?;
        let mut tensors = BTreeMap::new();
        if inputs.positions() > 0 {
            tensors.insert("input_ids".to_owned(), Held::rows(&inputs.ids));
        }
        if let Some(pixels) = &inputs.seen.values {
            tensors.insert("pixel_values".to_owned(), Held::Floats(pixels.clone()));
        }
        if let Some(mel) = &inputs.heard.values {
            tensors.insert("input_features".to_owned(), Held::Floats(mel.clone()));
        }
        tensors.extend(trace.values().map(|(site, x)| (key(site), Held::Floats(x.clone()))));
        tensors
            .extend(trace.grads().map(|(site, x)| (format!("grad.{}", key(site)), Held::Floats(x.clone()))));
        if dual {
            tensors.extend(pairs(trace.output(), token)?);
            return Ok(Passed { tensors, odd });
        }
        let says = subject.sites().iter().any(|spec| spec.site.point() == Point::Logits);
        let logits = match trace.output().logits.clone() {
            Some(logits) => logits,
            // A model of states alone.
            None if !says => return Ok(Passed { tensors, odd }),
            None => return Err(HookError::NoOutput("logits".to_owned()).into()),
        };
        // Among logits that are no numbers there is no highest.
        let token = match token {
            None if odd.contains_key("logits") => None,
            None => Some(last_top(logits.clone())?),
            token => token,
        };
        if let Some(token) = token {
            let (index, len) = (token as usize, logits.dims().last().copied().unwrap_or(0));
            if index >= len {
                return Err(HookError::Objective { what: "token", index, len }.into());
            }
            tensors.insert("target".to_owned(), Held::Ids(vec![token], vec![1]));
        }
        tensors.insert("logits".to_owned(), Held::Floats(logits));
        if self.generate > 0 {
            let how = Generation { max_new: self.generate.into(), ..Generation::default() };
            let rows: Vec<Vec<u32>> =
                subject.generate(inputs, &how)?.into_iter().map(|row| row.tokens).collect();
            tensors.insert("generated".to_owned(), Held::rows(&rows));
        }
        Ok(Passed { tensors, odd })
    }

    /// How the file came to be.
    fn about(&self, subject: &dyn Subject) -> Value {
        let images: Vec<String> = self.images.iter().map(|file| file.display().to_string()).collect();
        json!({
            "model": subject.name(),
            "weights": subject.weights_hash(),
            "alterations": subject.alterations(),
            "images": images,
            "videos": self.clips.named(),
            "fps": self.clips.fps(),
            "recordings": self.audio.named(),
            "part": self.audio.part(),
            "ask": self.words.ask,
            "prompt": self.words.prompt,
            "texts": self.words.text,
            "generate": self.generate,
            "device": subject.device(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    fn print(&self, Passed { tensors, odd }: &Passed) -> Result<()> {
        if self.json {
            let list = tensors.iter().map(|(name, held)| {
                let mut described = json!({ "shape": held.shape(), "dtype": held.dtype() });
                if let Some(odd) = odd.get(name) {
                    described["not_finite"] = odd.as_str().into();
                }
                (name.clone(), described)
            });
            let list: serde_json::Map<String, Value> = list.collect();
            return print::json(&json!({ "out": self.out.display().to_string(), "tensors": list }));
        }
        let rows = tensors.iter().map(|(name, held)| {
            let dtype = format!("{:?}", held.dtype()).to_lowercase();
            let odd = odd.get(name).cloned().unwrap_or_default();
            [name.clone(), format!("{:?}", held.shape()), dtype, odd]
        });
        print::columns(&rows.collect::<Vec<_>>())
    }
}

/// The token with the highest of the last logits of the first row, of `[batch, pos, vocab]`.
fn last_top(logits: AnyTensor) -> Result<u32> {
    let logits = logits.rank_of::<3>("logits")?;
    let last = logits.dims()[1].saturating_sub(1);
    let values = AnyTensor::new(logits.narrow(0, 0, 1).narrow(1, last, 1)).to_values()?;
    Ok(u32::try_from(top(&values)?.context("no logits at the last position")?)?)
}
