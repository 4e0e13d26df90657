//! What of the answer is explained, and what it is compared with, as options say.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use mmlens::core::{Case, Given, Measure, On, Sample, Words};
use mmlens::engine::{Aim, AimError, Settled, Sought};
use serde_json::{Value, json};

use crate::audio::sounds;
use crate::input::pictures;
use crate::refusal::{Refusal, numbers};

/// What of the answer is explained: all of it, if nothing is said.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AimArgs {
    /// A phrase of the answer, as it stands there.
    #[arg(long, value_name = "PHRASE", conflicts_with = "target", value_parser = NonEmptyStringValueParser::new())]
    pub(super) span: Option<String>,
    /// One token of the answer, as text or as id; of a classifier any class, of a masked word any token.
    #[arg(long, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    pub(super) target: Option<String>,
    /// Rather than this in its place, another phrase, token, class or caption: explained is by how much the one is likelier than the
    /// other, where the two part.
    #[arg(long, value_name = "OTHER", value_parser = NonEmptyStringValueParser::new())]
    pub(super) versus: Option<String>,
    /// How tokens and classes are measured; without it log-probability of words, logit of classes.
    #[arg(long, value_name = "MEASURE", value_parser = measures())]
    objective: Option<Measure>,
    /// An answer that was given, by this model or by anybody, in the place of the model's own: each token is judged behind those
    /// before. That it ends there is no part of it, unless the token that ends answers is written too (`yellow</s>`). For language
    /// models, with pictures or without.
    #[arg(long, value_name = "ANSWER", conflicts_with = "text")]
    pub(super) answer: Option<String>,
    /// The most tokens of the answer; without it 64, or fewer where the checkpoint says so.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "text")]
    max_new: Option<u16>,
    /// Whether there is a map for each token of what is explained, beside that of all; without it for up to 16 tokens. Gradient
    /// methods take as much time for each as for all.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    each: Option<bool>,
}

fn measures() -> impl TypedValueParser<Value = Measure> {
    PossibleValuesParser::new(["log-probability", "logit", "probability"]).map(|name| match name.as_str() {
        "logit" => Measure::Logit,
        "probability" => Measure::Probability,
        _ => Measure::LogProbability,
    })
}

impl AimArgs {
    fn aim(&self) -> Aim {
        let aim = match (&self.span, &self.target) {
            (Some(phrase), _) => Aim::default().span(phrase),
            (_, Some(token)) => Aim::default().token(token),
            (None, None) => Aim::default(),
        };
        let aim = self.versus.iter().fold(aim, Aim::versus);
        let aim = self.objective.iter().fold(aim, |aim, measure| aim.measured(*measure));
        let aim = self.max_new.iter().fold(aim, |aim, most| aim.at_most((*most).into()));
        self.each.iter().fold(aim, |aim, each| aim.each(*each))
    }

    /// An option that is given.
    pub(super) fn said(&self) -> Option<&'static str> {
        let given = [
            ("span", self.span.is_some()),
            ("target", self.target.is_some()),
            ("versus", self.versus.is_some()),
            ("objective", self.objective.is_some()),
            ("answer", self.answer.is_some()),
            ("max-new", self.max_new.is_some()),
            ("each", self.each.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }

    /// What was said of it, for the record of a run.
    pub(crate) fn told(&self) -> Value {
        json!({
            "span": self.span,
            "target": self.target,
            "versus": self.versus,
            "objective": self.objective,
            "max_new": self.max_new,
            "each": self.each,
        })
    }

    /// Settles what is explained; a refusal names the option.
    pub(crate) fn settle(&self, on: &On<'_>, sample: Sample) -> Result<Settled> {
        let aim = self.aim();
        let settled = numbers(on.subject(), aim.settle(on, sample));
        let option = match (aim.sought(), &self.versus) {
            (Sought::Span(phrase), None) => format!("--span {phrase}"),
            (Sought::Token(token), None) => format!("--target {token}"),
            (_, Some(other)) => format!("--versus {other}"),
            (Sought::Answer, None) => return settled,
        };
        settled.map_err(|error| match error.downcast_ref::<AimError>() {
            Some(AimError::Unsaid { found, .. }) => {
                let hint =
                    format!("`--answer` gives one that has it, `--versus {found}` asks why it is not there");
                anyhow!("{error} ({hint})").context(option)
            }
            Some(AimError::Subject(_)) | None => error,
            Some(_) => error.context(option),
        })
    }
}

/// What patching and attribution compare with: the same question about a picture of the mean colour, and silence, if nothing is said.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub(crate) struct CorruptionArgs {
    /// For patching and attribution: the picture that leads to another answer, one for each `--image`. Without this and
    /// `--corrupted-ask`, the picture's mean colour in its size.
    #[arg(long, value_name = "FILE")]
    pub(super) corrupted_image: Vec<PathBuf>,
    /// For patching and attribution: the recording that leads to another answer, whole and as long, one for each `--audio`.
    #[arg(long, value_name = "FILE")]
    pub(super) corrupted_audio: Vec<PathBuf>,
    /// For patching and attribution: the question that leads to another answer, of as many tokens.
    #[arg(long, value_name = "QUESTION", conflicts_with = "text")]
    pub(super) corrupted_ask: Option<String>,
    /// For patching and attribution: the prompt that leads to another answer, of as many tokens.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["text", "ask"])]
    pub(super) corrupted_prompt: Option<String>,
    /// For patching and attribution of a dual encoder: a caption that fits otherwise, of as many tokens.
    #[arg(long, value_name = "CAPTION", conflicts_with = "ask")]
    pub(super) corrupted_text: Option<String>,
}

impl CorruptionArgs {
    /// An option that is given.
    pub(super) fn said(&self) -> Option<&'static str> {
        let given = [
            ("corrupted-image", !self.corrupted_image.is_empty()),
            ("corrupted-audio", !self.corrupted_audio.is_empty()),
            ("corrupted-ask", self.corrupted_ask.is_some()),
            ("corrupted-prompt", self.corrupted_prompt.is_some()),
            ("corrupted-text", self.corrupted_text.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }

    /// The files it names.
    pub(super) fn inputs(&self) -> impl Iterator<Item = PathBuf> {
        self.corrupted_image.iter().chain(&self.corrupted_audio).cloned()
    }

    /// What the methods are run on: the case, and what is compared with it.
    pub(super) fn given(&self, case: Case) -> Result<Given> {
        let clean = &case.sample;
        let words = |words| Sample { words, ..clean.clone() };
        let said = [
            self.corrupted_ask.clone().map(Words::Question),
            self.corrupted_prompt.clone().map(Words::Prompt),
            self.corrupted_text.clone().map(|text| Words::Texts(vec![text])),
        ];
        let one_each = |found: usize, expected: usize, what| match found == expected {
            true => Ok(()),
            false => Err(Refusal::Corrupted { what, found, expected }),
        };
        let files = (self.corrupted_image.as_slice(), self.corrupted_audio.as_slice());
        let corrupted = match (said.into_iter().flatten().next(), files) {
            (Some(said), _) => words(said),
            (None, ([], [])) => return Ok(Given::new(case)?),
            (None, ([], files)) => {
                one_each(files.len(), clean.recordings.len(), "audio")?;
                Sample { recordings: sounds(files, [None, None])?, ..clean.clone() }
            }
            (None, (files, _)) => {
                one_each(files.len(), clean.pictures.len(), "image")?;
                Sample { pictures: pictures(files)?, ..clean.clone() }
            }
        };
        Ok(Given { case, corrupted: Some(corrupted), many: None })
    }
}
