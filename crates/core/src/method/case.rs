//! What methods are run on.

use mmlens_finding::{InputRecord, RecordingRecord, ReplyRecord, SampleRecord, Source, WordsRecord, top};
use mmlens_sound::{Origin, Sound};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::many::ManyCases;
use crate::{
    AnalysisError, HookError, Inputs, Measure, Objective, On, Plan, Position, Reply, Sample, Subject,
    SubjectError, Words,
};

/// What is to be explained about a sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The logit of the token the model is most likely to say next.
    #[default]
    Top,
    /// The logit of a token.
    Token(u32),
    /// Tokens of the answer that the sample holds, each judged by what stands before it: all of it, or a phrase.
    Answer {
        /// The first of them, counted in the answer.
        #[serde(default)]
        from: usize,
        /// The one behind the last; `None` for the end of the answer.
        #[serde(default)]
        to: Option<usize>,
        /// Their log-probability, logit or probability.
        #[serde(default)]
        measure: Measure,
        /// Whether each of them is explained by itself too, beside all of them together.
        #[serde(default)]
        each: bool,
    },
    /// Any objective.
    Objective(Objective),
}

/// A sample and what is to be explained about it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The sample.
    pub sample: Sample,
    /// What is explained.
    pub target: Target,
}

impl Case {
    /// The model's top answer to a sample.
    pub fn new(sample: Sample) -> Self {
        Self { sample, target: Target::Top }
    }

    /// What made the model give the answer that a sample holds: the log-probability of all of it.
    pub fn answer(sample: Sample) -> Self {
        let target = Target::Answer { from: 0, to: None, measure: Measure::default(), each: false };
        Self { sample, target }
    }

    /// Rows that pass through the model to settle what is explained: one, if it is the top token.
    pub fn settling(&self) -> usize {
        usize::from(self.target == Target::Top)
    }

    /// Encodes the sample and settles the objective (one pass, if the target is the top token). An objective at a
    /// position of its own asks for the output at all of them.
    ///
    /// # Errors
    /// Whatever encoding or the pass reports.
    pub fn open(&self, subject: &dyn Subject) -> Result<(Inputs, Objective), SubjectError> {
        On::new(subject).open(self)
    }
}

impl Target {
    /// The objective it means for some inputs, with a way to find the top token.
    pub(crate) fn settled(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        top: impl FnOnce() -> Result<u32, SubjectError>,
    ) -> Result<Objective, SubjectError> {
        match self {
            Self::Answer { from, to, measure, .. } => {
                let fail =
                    |reason: String| Err(SubjectError::Sample { subject: subject.name().to_owned(), reason });
                let (reply, [ids]) = (inputs.map().reply(), inputs.ids.as_slice()) else {
                    return fail(format!("an answer is explained of one row, not of {}", inputs.rows()));
                };
                if reply.is_empty() {
                    return fail("its answer is to be explained, but it holds none".to_owned());
                }
                let (from, to) = (*from, to.unwrap_or(reply.len()));
                let start = reply.start + inputs.pads.first().copied().unwrap_or(0);
                let tokens = ids.get(start..start + reply.len()).and_then(|all| all.get(from..to));
                match tokens.filter(|tokens| !tokens.is_empty()) {
                    Some(tokens) => {
                        Ok(Objective::Span { from: start + from, tokens: tokens.to_vec(), measure: *measure })
                    }
                    None => fail(format!(
                        "tokens {from}..{to} of its answer are to be explained, which has {}",
                        reply.len()
                    )),
                }
            }
            Self::Token(token) => Ok(Objective::logit(*token)),
            Self::Objective(objective) => Ok(objective.clone()),
            Self::Top => Ok(Objective::logit(top()?)),
        }
    }
}

/// Inputs that ask for the output where an objective looks.
pub(crate) fn asked(inputs: Inputs, objective: &Objective) -> Inputs {
    if objective.read_at().iter().any(|at| matches!(at, Position::At(_))) {
        inputs.all_logits()
    } else {
        inputs
    }
}

/// The most likely next token of the first row.
///
/// # Errors
/// Whatever the pass reports, [`HookError::NoOutput`] for a subject without logits, [`HookError::NotFinite`] if one of them
/// is no number.
pub fn top_token(subject: &dyn Subject, inputs: &Inputs) -> Result<u32, SubjectError> {
    let trace = subject.run(inputs, Plan::new().to_output())?;
    let logits = trace.output().logits.clone().ok_or_else(|| HookError::NoOutput("top token".to_owned()))?;
    let [_, asked, vocab] = match logits.dims().as_slice() {
        [b, a, v] => [*b, *a, *v],
        dims => return Err(HookError::Rank { site: "logits".to_owned(), holds: dims.len(), asked: 3 }.into()),
    };
    let (values, dims) = (logits.to_values()?, logits.dims());
    let none = || HookError::NoOutput("top token".to_owned());
    let first = asked.checked_sub(1).ok_or_else(none)? * vocab;
    let last = values.get(first..first + vocab).ok_or_else(none)?;
    let top = top(last).map_err(|error| HookError::not_finite("text.logits", &dims, first, error))?;
    Ok(top.ok_or_else(none)? as u32)
}

/// A clean case and a corrupted sample of the same length.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The case whose answer is to be explained.
    pub clean: Case,
    /// The sample that leads to another answer.
    pub corrupted: Sample,
}

impl Pair {
    /// What the corrupted sample has instead, in words.
    #[must_use]
    pub fn difference(&self) -> String {
        let (clean, other) = (&self.clean.sample, &self.corrupted);
        let mut said = Vec::new();
        if clean.words != other.words {
            said.push(match &other.words {
                Words::Question(question) => format!("the question “{question}”"),
                Words::Prompt(prompt) => format!("the prompt “{prompt}”"),
                Words::Texts(texts) => {
                    let many = if texts.len() == 1 { "caption" } else { "captions" };
                    let texts: Vec<String> = texts.iter().map(|text| format!("“{text}”")).collect();
                    format!("the {many} {}", texts.join(", "))
                }
                Words::Nothing => "no words".to_owned(),
            });
        }
        let of_a_picture = |source: &Source| matches!(source, Source::MeanColourOf(_));
        let mut sources =
            other.pictures.iter().map(|p| &p.source).chain(other.clips.iter().map(|c| &c.source));
        let seen = !other.pictures.is_empty() || !other.clips.is_empty();
        if seen && sources.all(of_a_picture) {
            said.push("the mean colour of the picture".to_owned());
        } else {
            let others = other.pictures.iter().zip(&clean.pictures);
            let new = others.filter(|(a, b)| !std::sync::Arc::ptr_eq(&a.image, &b.image));
            said.extend(new.map(|(picture, _)| picture.name.clone()));
        }
        let silent = |sound: &Sound| matches!(sound.origin, Origin::SilenceOf(_));
        if !other.recordings.is_empty() && other.recordings.iter().all(silent) {
            said.push("silence".to_owned());
        } else {
            let others = other.recordings.iter().zip(&clean.recordings);
            said.extend(others.filter(|(a, b)| !a.is(b)).map(|(sound, _)| sound.name.clone()));
        }
        if said.is_empty() { "the corrupted sample".to_owned() } else { said.join(", ") }
    }
}

/// All that somebody gave for methods to be run on, whatever each of them takes of it.
#[derive(Debug, Clone)]
pub struct Given {
    /// What is explained.
    pub case: Case,
    /// The sample that leads to another answer, if there is one.
    pub corrupted: Option<Sample>,
    /// A data set, if there is one.
    pub many: Option<ManyCases>,
}

impl Given {
    /// A case, and for methods that compare two runs the same words about pictures of their mean colour alone and silent recordings, where
    /// there are any. Captions have no such pair: what a text tower holds does not depend on the picture.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] for pictures whose colours are not taken.
    pub fn new(case: Case) -> Result<Self, SubjectError> {
        let Sample { pictures, clips, recordings, words, .. } = &case.sample;
        let shown = !pictures.is_empty() || !clips.is_empty() || !recordings.is_empty();
        let seen = shown && !matches!(words, Words::Texts(_));
        let corrupted = seen.then(|| case.sample.emptied()).transpose()?;
        Ok(Self { case, corrupted, many: None })
    }

    /// The same with another sample to compare with.
    #[must_use]
    pub fn against(self, corrupted: Sample) -> Self {
        Self { corrupted: Some(corrupted), ..self }
    }
}

/// What a method is run on, taken from what somebody gave.
pub trait Input: Sized {
    /// What it is made of.
    const FORM: Form;

    /// Takes it from what was given.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] that names what is missing.
    fn of(given: &Given, method: &'static str) -> Result<Self, AnalysisError>;

    /// What a finding keeps of it.
    fn record(&self) -> InputRecord;

    /// The recordings that are explained.
    fn recordings(&self) -> &[Sound] {
        &[]
    }

    /// What a finding keeps of it, with what a subject says of it: what columns and rows of spectrograms stand for.
    ///
    /// # Errors
    /// Whatever encoding reports.
    ///
    /// # Cost
    /// Samples with recordings are encoded, unless that is known.
    fn record_on(&self, _on: &On<'_>) -> Result<InputRecord, SubjectError> {
        Ok(self.record())
    }
}

/// What a finding keeps of a sample that a subject was given.
fn scaled(on: &On<'_>, sample: &Sample) -> Result<SampleRecord, SubjectError> {
    let mut record = sample.record();
    if !record.recordings.is_empty() {
        let inputs = on.encode(sample)?;
        let map = inputs.map();
        let sizes = map.pictures.iter().skip(map.first_sound());
        for ((own, heard), (frames, _)) in record.recordings.iter_mut().zip(&map.sounds).zip(sizes) {
            own.scale = Some(heard.scale.clone());
            own.frames = Some(*frames);
        }
    }
    Ok(record)
}

/// What inputs of methods are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// A sample, and what of it is explained.
    OneCase,
    /// A case and a sample that leads to another answer.
    TwoRuns,
    /// A data set, and a second subject beside the first, if there is one.
    ManyCases,
}

impl Form {
    /// What it is, in words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::OneCase => "a sample",
            Self::TwoRuns => "a clean and a corrupted sample of equal length",
            Self::ManyCases => "a data set, and a second model, if there is one",
        }
    }
}

impl Input for Case {
    const FORM: Form = Form::OneCase;

    fn of(given: &Given, _: &'static str) -> Result<Self, AnalysisError> {
        Ok(given.case.clone())
    }

    fn record(&self) -> InputRecord {
        InputRecord { sample: self.sample.record(), target: json!(self.target), ..InputRecord::default() }
    }

    fn recordings(&self) -> &[Sound] {
        &self.sample.recordings
    }

    fn record_on(&self, on: &On<'_>) -> Result<InputRecord, SubjectError> {
        Ok(InputRecord { sample: scaled(on, &self.sample)?, ..self.record() })
    }
}

impl Input for Pair {
    const FORM: Form = Form::TwoRuns;

    fn of(given: &Given, method: &'static str) -> Result<Self, AnalysisError> {
        let corrupted = given.corrupted.clone().ok_or_else(|| {
            let found = match given.case.sample.words {
                Words::Texts(_) => {
                    "none was given: of captions another one, or another picture, is to be named"
                }
                _ => {
                    "none was given, and there is no picture that its mean colour could stand for, and no recording that silence could"
                }
            };
            AnalysisError::Input { method, needs: "a corrupted sample".into(), found: found.to_owned() }
        })?;
        Ok(Self { clean: given.case.clone(), corrupted })
    }

    fn record(&self) -> InputRecord {
        InputRecord { corrupted: Some(self.corrupted.record()), ..self.clean.record() }
    }

    fn recordings(&self) -> &[Sound] {
        &self.clean.sample.recordings
    }

    fn record_on(&self, on: &On<'_>) -> Result<InputRecord, SubjectError> {
        Ok(InputRecord { corrupted: Some(scaled(on, &self.corrupted)?), ..self.clean.record_on(on)? })
    }
}

/// What a finding keeps of a recording.
fn recorded(sound: &Sound) -> RecordingRecord {
    fn source(origin: &Origin) -> Source {
        match origin {
            Origin::File(path) => Source::File(path.clone()),
            Origin::SilenceOf(of) => Source::SilenceOf(Box::new(source(of))),
            _ => Source::Memory,
        }
    }
    RecordingRecord {
        name: sound.name.clone(),
        source: source(&sound.origin),
        part: sound.part(),
        rate: sound.rate(),
        seconds: sound.seconds(),
        sha256: sound.sha256(),
        scale: None,
        frames: None,
    }
}

impl Sample {
    /// The same words about nothing: pictures of their mean colour alone, clips of that of all their frames, recordings of silence.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] for colours that are not taken.
    pub fn emptied(&self) -> Result<Self, SubjectError> {
        Ok(Self {
            pictures: self.pictures.iter().map(crate::Picture::mean_colour).collect::<Result<_, _>>()?,
            clips: self.clips.iter().map(crate::Clip::mean_colour).collect::<Result<_, _>>()?,
            recordings: self.recordings.iter().map(mmlens_sound::Sound::silence).collect(),
            words: self.words.clone(),
            reply: self.reply.clone(),
        })
    }

    /// What a finding keeps of it.
    #[must_use]
    pub fn record(&self) -> SampleRecord {
        let words = match &self.words {
            Words::Question(text) => WordsRecord::Question(text.clone()),
            Words::Prompt(text) => WordsRecord::Prompt(text.clone()),
            Words::Texts(texts) => WordsRecord::Texts(texts.clone()),
            Words::Nothing => WordsRecord::Nothing,
        };
        SampleRecord {
            words,
            pictures: self.pictures.iter().map(crate::Picture::record).collect(),
            clips: self.clips.iter().map(crate::Clip::record).collect(),
            recordings: self.recordings.iter().map(recorded).collect(),
            reply: self.reply.as_ref().map(|reply| match reply {
                Reply::Text(text) => ReplyRecord::Text(text.clone()),
                Reply::Tokens(tokens) => ReplyRecord::Tokens(tokens.clone()),
            }),
        }
    }
}
