//! `mmlens ask`: the answer.

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use mmlens::core::{Beams, Generation, Inputs, Sample, Sampling, Seed, Subject, Words, caution, kind};
use mmlens::data::grounded::Format;
use mmlens::engine::aim::{Compared, Likely, Likeness, Said, cut_short, likely, masks, spoken, usual};
use mmlens::finding::fixed;
use mmlens::inference::{DECODERS, Decoder, Decoding};
use serde::Serialize;
use serde_json::Value;

use crate::boxes::{self, Boxes};
use crate::edits::EditArgs;
use crate::input::{QuestionArgs, suited, written};
use crate::methods::Set;
use crate::model::ModelArgs;
use crate::print;
use crate::refusal::numbers;

/// More classes than this are not told.
const TOLD: usize = 5;

/// Prints the answer to a question about pictures, or how well captions fit them.
///
/// A dual encoder (CLIP, SigLIP) takes captions, `--text`, and gives each a probability: CLIP among the captions, SigLIP
/// by itself. A classifier (ViT) takes pictures alone, and its most likely classes are told; an
/// encoder of text (BERT) a text with masks, `--prompt`, and what may stand in their places is told.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// The most tokens of the answer; without it 64, or fewer where the checkpoint says so.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..),
        conflicts_with = "text"
    )]
    max_new: Option<u16>,
    #[command(flatten)]
    draw: DrawArgs,
    /// Decodes by several branches: against a noised picture (vcd), with attention to the picture raised (pai), against an earlier layer (dola).
    /// More in docs/inference.md.
    #[arg(long, value_name = "DECODER", value_parser = decoders(), conflicts_with = "text")]
    decoder: Option<String>,
    /// A setting of the decoder, such as vcd.alpha=0.5; repeat it for several. Values are JSON.
    #[arg(long, value_name = "DECODER.SETTING=VALUE", requires = "decoder")]
    set: Vec<Set>,
    /// Writes so many answers side by side and tells the best, by the mean of its tokens' log-probabilities; at least 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..), conflicts_with_all = ["draw", "text"])]
    beams: Option<u16>,
    /// Decides every draw.
    #[arg(long, value_name = "S", requires = "draw")]
    seed: Option<u64>,
    /// Reads the boxes that the answer names on the picture, written as these models write them (docs/data.md).
    #[arg(long, value_name = "FORMAT", value_parser = boxes::formats(), conflicts_with = "text")]
    boxes: Option<Format>,
    /// Prints the answer with its tokens as JSON.
    #[arg(long)]
    json: bool,
}

/// How tokens are drawn, if they are.
#[derive(Debug, Args)]
#[group(id = "draw", multiple = true, conflicts_with = "text")]
struct DrawArgs {
    /// Draws each token, the logits divided by this; without it (or at 0) the most likely one is taken.
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Draws from the smallest set of tokens that holds this share of the probability.
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
}

#[derive(Serialize)]
struct Told<'a> {
    model: &'a str,
    alterations: &'a [String],
    question: &'a str,
    answer: &'a str,
    ended: bool,
    last_position: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoder: Option<DecodedBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boxes: Option<Boxes>,
    tokens: Vec<Said>,
}

/// The decoder that an answer was written by, with all of its settings. Probabilities of tokens are then those that it chose by.
#[derive(Serialize)]
struct DecodedBy {
    name: &'static str,
    settings: Value,
}

/// How well captions fit pictures.
#[derive(Serialize)]
struct Fits<'a> {
    model: &'a str,
    alterations: &'a [String],
    /// Whether each probability stands for itself, or those of a picture add up to one.
    each_for_itself: bool,
    pictures: Vec<Fit<'a>>,
}

/// How well captions fit one picture.
#[derive(Serialize)]
struct Fit<'a> {
    image: &'a str,
    texts: Vec<Text<'a>>,
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
    #[serde(flatten)]
    likeness: Likeness,
}

/// What a classifier makes of pictures.
#[derive(Serialize)]
struct Classes<'a> {
    model: &'a str,
    alterations: &'a [String],
    pictures: Vec<Classified>,
}

/// What a classifier makes of one picture, or of it and a text: the most likely classes, the likeliest first.
#[derive(Serialize)]
struct Classified {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    classes: Vec<Likely>,
}

/// What an encoder of text says of a text with masks.
#[derive(Serialize)]
struct Filled<'a> {
    model: &'a str,
    alterations: &'a [String],
    text: &'a str,
    masks: Vec<Mask<'a>>,
}

/// What may stand in the place of one mask, the likeliest first.
#[derive(Serialize)]
struct Mask<'a> {
    position: usize,
    tokens: &'a [Likely],
}

/// The decoders, as they are offered.
fn decoders() -> PossibleValuesParser {
    let value = |row: &Decoding| PossibleValue::new(row.card.short).alias(row.card.id).help(row.card.name);
    PossibleValuesParser::new(DECODERS.iter().map(value))
}

fn lines(classes: &[Likely]) -> Vec<[String; 3]> {
    let line = |class: &Likely| {
        let share = format!("{:.3}", class.probability);
        [share, format!("logit {}", fixed(class.logit, 3)), print::visible(&class.text)]
    };
    classes.iter().map(line).collect()
}

impl Ask {
    pub(crate) fn run(&self) -> Result<()> {
        let sample = self.question.sample()?;
        let subject = self.edits.of(self.model.open()?)?;
        let subject: &dyn Subject = &subject;
        suited(subject, &sample.words)?;
        let decoder = self.decoder(subject)?;
        let inputs = subject.encode(&sample)?;
        self.edits.suited(subject, &inputs)?;
        if kind::compares(subject) {
            return self.compare(subject, &sample, &inputs);
        }
        if kind::classifies(subject) {
            return self.classify(subject, &sample, &inputs);
        }
        if let Some(masks) = masks(subject, &inputs)? {
            return self.fill(subject, &sample, inputs, &masks);
        }
        let shown = self.boxes.map(|_| boxes::shown(&sample, &inputs)).transpose()?;
        let max_new = match self.max_new {
            Some(most) => most.into(),
            None => usual(subject, &inputs)?,
        };
        let how = Generation { max_new, sampling: self.sampling(), stop_at_end: true };
        let answers = match &decoder {
            None => numbers(subject, subject.generate(&inputs, &how))?,
            Some((decoder, by)) => {
                decoder.write(subject, &inputs, &how).with_context(|| format!("--decoder {}", by.name))?
            }
        };
        let answer = answers.into_iter().next().context("no answer was generated")?;
        let boxes =
            self.boxes.zip(shown).map(|(format, shown)| boxes::read(format, &shown, subject, &answer));
        if !self.json {
            match &boxes {
                Some(Ok(boxes)) => boxes.print()?,
                // What cannot be read is told as it was written, before why.
                _ => print::line(print::visible(answer.text.trim()))?,
            }
            cut_short(&inputs, &answer).iter().for_each(|note| print::note(note));
            let unheard = sample.recordings.iter().filter_map(caution::unheard);
            let cautions = caution::beyond(subject, &inputs).into_iter().chain(unheard);
            cautions.for_each(|caution| print::note(&caution.text));
            return boxes.transpose().map(|_| ());
        }
        print::json(&Told {
            model: subject.name(),
            alterations: subject.alterations(),
            question: &written(&sample.words),
            answer: answer.text.trim(),
            ended: answer.ended,
            last_position: answer.last_position,
            decoder: decoder.map(|(_, by)| by),
            boxes: boxes.transpose()?,
            tokens: spoken(subject, &answer),
        })
    }

    fn compare(&self, subject: &dyn Subject, sample: &Sample, inputs: &Inputs) -> Result<()> {
        let compared = numbers(subject, Compared::of(subject, inputs))?;
        let Words::Texts(texts) = &sample.words else { return Ok(()) };
        let rows: Vec<&[Likeness]> =
            (0..sample.pictures.len()).map(|image| compared.picture(image)).collect();
        if self.json {
            let pictures = sample.pictures.iter().zip(rows).map(|(picture, row)| Fit {
                image: &picture.name,
                texts: texts.iter().zip(row).map(|(text, fit)| Text { text, likeness: *fit }).collect(),
            });
            let each_for_itself = compared.apart;
            return print::json(&Fits {
                model: subject.name(),
                alterations: subject.alterations(),
                each_for_itself,
                pictures: pictures.collect(),
            });
        }
        for (picture, row) in sample.pictures.iter().zip(&rows) {
            if rows.len() > 1 {
                print::line(print::visible(&picture.name))?;
            }
            let lines = texts.iter().zip(*row).map(|(text, likeness)| {
                let share = format!("{:.3}", likeness.probability);
                [share, format!("logit {}", fixed(likeness.logit, 3)), print::visible(text)]
            });
            print::columns(&lines.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn classify(&self, subject: &dyn Subject, sample: &Sample, inputs: &Inputs) -> Result<()> {
        let rows = numbers(subject, likely(subject, inputs, TOLD))?;
        let pictures = sample.pictures.iter().map(|picture| picture.name.as_str());
        // Rows are texts, or pictures without any.
        let named: Vec<(Option<&str>, &str)> = match &sample.words {
            Words::Texts(texts) => texts.iter().map(|text| (Some(text.as_str()), text.as_str())).collect(),
            Words::Prompt(text) => vec![(Some(text.as_str()), text.as_str())],
            _ => pictures.clone().map(|name| (None, name)).collect(),
        };
        if self.json {
            let only = pictures.clone().next().unwrap_or_default();
            let row = |((text, name), classes): ((Option<&'_ str>, &'_ str), &'_ Vec<Likely>)| {
                let image = if text.is_some() { only } else { name };
                Classified {
                    image: image.to_owned(),
                    text: text.map(str::to_owned),
                    classes: classes.clone(),
                }
            };
            let pictures = named.into_iter().zip(&rows).map(row).collect();
            let alterations = subject.alterations();
            return print::json(&Classes { model: subject.name(), alterations, pictures });
        }
        for ((_, name), row) in named.into_iter().zip(&rows) {
            if rows.len() > 1 {
                print::line(print::visible(name))?;
            }
            print::columns(&lines(row))?;
        }
        Ok(())
    }

    fn fill(&self, subject: &dyn Subject, sample: &Sample, inputs: Inputs, masks: &[usize]) -> Result<()> {
        let all = numbers(subject, likely(subject, &inputs.all_logits(), TOLD))?;
        let filled = |at: &usize| Some(Mask { position: *at, tokens: all.get(*at)?.as_slice() });
        let masks: Vec<Mask<'_>> = masks.iter().filter_map(filled).collect();
        if self.json {
            let text = &written(&sample.words);
            let alterations = subject.alterations();
            return print::json(&Filled { model: subject.name(), alterations, text, masks });
        }
        for mask in &masks {
            if masks.len() > 1 {
                print::line(format_args!("position {}", mask.position))?;
            }
            print::columns(&lines(mask.tokens))?;
        }
        Ok(())
    }

    /// The decoder that was named, and what is told of it; a subject that it is not for is refused before anything is computed.
    fn decoder(&self, subject: &dyn Subject) -> Result<Option<(Box<dyn Decoder>, DecodedBy)>> {
        let Some(name) = &self.decoder else { return Ok(None) };
        let row = Decoding::called(name)?;
        let given = Set::all_of(&self.set, &row.card)?;
        let named = || format!("--decoder {}", row.card.short);
        let decoder = row.make(Value::Object(given)).with_context(named)?;
        row.card.allows(subject).with_context(named)?;
        let settings = decoder.settings()?;
        Ok(Some((decoder, DecodedBy { name: row.card.id, settings })))
    }

    fn sampling(&self) -> Sampling {
        if let Some(beams) = self.beams {
            return Sampling::Beams(Beams::new(beams.into()));
        }
        match (self.draw.temperature, self.draw.top_p) {
            (None, None) | (Some(0.0), _) => Sampling::Greedy,
            (temperature, top_p) => Sampling::Draw {
                temperature: temperature.unwrap_or(1.0),
                top_p: top_p.unwrap_or(1.0),
                seed: Seed(self.seed.unwrap_or(0)),
            },
        }
    }
}
