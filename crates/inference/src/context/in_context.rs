//! In-context ablation: what of the examples in a prompt does the model use?
//!
//! # Idea
//! Before each question stand `k` other cases of the data set with their answers. Then something of these demonstrations is taken away or exchanged, and it is seen how likely the right answer is, and
//! whether the model would say it:
//!
//! ```text
//! change = mean over cases of  ln p(right answer | changed demonstrations, question) - ln p(right answer | demonstrations, question)
//! ```
//!
//! What changes nothing is not used. Pictures of demonstrations often are not; answers may only be copied.
//!
//! # In and out
//! In: [`ManyCases`] with a right answer in words, as the answer of each. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `right` | concept | ratio | the share of cases whose right answer the model would say greedily, under every condition |
//! | `log-probability` | concept | log-probability | of the right answer, in the mean |
//! | `change`, `change error` | concept | log-probability | against `full`, case by case: the mean, and its standard error |
//! | `trivial` | concept | ratio | the share that is right if one always gives the most common answer, copies the answer of the last demonstration, or that of any of them |
//! | `first prompt` | | text | the full prompt of the first case |
//! | `by case`, `right by case` | sample, concept | log-probability, ratio | aside |
//! | `demonstrations` | sample, rank | count | aside: which cases stand before each, the last one nearest to the question |
//!
//! | condition | demonstrations |
//! |---|---|
//! | `none` | are not there |
//! | `full` | as they are |
//! | `no-pictures` | have no pictures, and no places for them |
//! | `other-pictures` | have the pictures of cases that are not in the prompt |
//! | `other-questions` | have the questions of such cases |
//! | `other-answers` | have the answers of such cases, wherever there are others |
//! | `reversed` | stand in the other order |
//!
//! # Settings
//! - `demonstrations`: 2.
//! - `by`: `random`; or `{"nearest": SITE}`: those whose states at a site lie nearest to the question's (cosine of means over positions; one pass for each case), the nearest last.
//! - `conditions`: all of them. `full` is always there.
//! - `form`: `{question} {answer}`, what a demonstration looks like; what stands before `{answer}` is what the model is asked in the end. Pictures stand in front of their question.
//! - `between`: a line break.
//! - `image`: none, for the name of the model's own picture tokens; or how a prompt writes the place of a picture, such as `<|vision_start|><|image_pad|><|vision_end|>`.
//! - `seed`: 0, of everything that is drawn.
//!
//! # Cost
//! One pass for each case and condition, with `k + 1` pictures; with `nearest` one more for each case.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no demonstrations, a `form` without `{question}` before `{answer}`, a condition twice. Running: [`AnalysisError::Input`] for cases without an answer in words, or with captions; for no
//! more cases than demonstrations; for prompts that do not say where their pictures are, and models that do not read pictures among words. [`AnalysisError::Subject`] for a prompt that is too long; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A model that copies the answer of its last demonstration is right as often as that answer is: see `trivial`.
//! - The form decides (Min et al. 2022): a model that was tuned on its chat template has not seen this one. Write it into `form`.
//! - Exchanged answers that are of another kind change the form too; with few different answers many stay as they were, and `full` and `other-answers` are alike by construction.
//! - Longer prompts are another place in the sequence: `none` differs from `full` in more than what it was told.
//!
//! # Agreement
//! transformers 5.23 on `llava-a` and `llama-b` (words alone, so that conditions of pictures are `full`), eight questions behind two others, all conditions: the same demonstrations, log-probabilities of right answers 9.7e-6
//! apart at most (of 47) and 5.4e-5 (of 52). Identities tested: without demonstrations the
//! question is left; one demonstration has one order; where all answers are the same exchanging them changes nothing; the nearest case stands last. `shapes-llava` was trained on one question a prompt: colours of 12 test
//! scenes are all right without an example, and with one, whatever is done to it.
//!
//! # Reference
//! Baldassini, Shukor, Cord, Soulier, Piwowarski: What Makes Multimodal In-Context Learning Work? CVPR Workshops 2024. <https://arxiv.org/abs/2404.15736>. Exchanged answers: Min et al.: Rethinking the Role of
//! Demonstrations. EMNLP 2022. <https://arxiv.org/abs/2202.12837>. There accuracy alone is told; the likelihood of the right answer sees smaller changes.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Reply, Sample, from_fn};
//! use mmlens_inference::{InContext, in_context::Settings};
//! let letters = from_fn("letters", 6, |i| {
//!     Ok(Case::new(Sample::text("abc".repeat(i % 2 + 1)).answered(Reply::Text("ab"[i % 2..=i % 2].to_owned()))))
//! });
//! let finding = InContext::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(letters)?)?;
//! println!("{:?}", finding.table("change")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;

use mmlens_core::check::{at_least_one, input, setting};
use mmlens_core::finding::Modality;
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Case, Copies, Cost, HookError, Inputs,
    Leaf, LogitSelection, ManyCases, Objective, On, Part, Picture, Plan, Point, Position, Reply, Sample,
    Seed, Site, Words,
};
use mmlens_engine::distribution::log_probabilities;
use mmlens_engine::{Positions, Progress, dot, drawn_order, rows_of};
use serde::{Deserialize, Serialize};

mod found;

use found::Found;

/// What this method is.
pub const CARD: Card = Card {
    id: "in-context-ablation",
    short: "in-context",
    name: "In-context ablation",
    question: "What of the examples in a prompt does the model use: their pictures, questions, answers, their order?",
    citation: "Baldassini, Shukor, Cord, Soulier, Piwowarski: What Makes Multimodal In-Context Learning Work? CVPR Workshops 2024. https://arxiv.org/abs/2404.15736",
    leaf: Leaf::Inference,
    cost: "1 forward for each case and condition",
    needs: &[Capability::Generation, Capability::OwnWords],
    misleads: &[
        "A model that copies the answer of its last demonstration is right as often as that answer is.",
        "The form of the prompt decides, and a tuned model has not seen every form.",
        "With few different answers exchanged ones are often the same.",
    ],
    first: false,
};

/// What becomes of the demonstrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Condition {
    /// They are not there.
    None,
    /// They are as they are.
    Full,
    /// They have no pictures.
    NoPictures,
    /// They have the pictures of other cases.
    OtherPictures,
    /// They have the questions of other cases.
    OtherQuestions,
    /// They have the answers of other cases.
    OtherAnswers,
    /// They stand in the other order.
    Reversed,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Full,
        Self::NoPictures,
        Self::OtherPictures,
        Self::OtherQuestions,
        Self::OtherAnswers,
        Self::Reversed,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
            Self::NoPictures => "no-pictures",
            Self::OtherPictures => "other-pictures",
            Self::OtherQuestions => "other-questions",
            Self::OtherAnswers => "other-answers",
            Self::Reversed => "reversed",
        }
    }
}

/// Which cases stand before a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Drawn by chance.
    #[default]
    Random,
    /// Those whose states at a site lie nearest.
    Nearest(Site),
}

/// How prompts are made, and what is changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many.
    pub demonstrations: usize,
    /// Which.
    pub by: By,
    /// What becomes of them.
    pub conditions: Vec<Condition>,
    /// What one looks like.
    pub form: String,
    /// What stands between them.
    pub between: String,
    /// How a prompt writes the place of a picture; `None` for the name of the model's picture tokens.
    pub image: Option<String>,
    /// Of all that is drawn.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            demonstrations: 2,
            by: By::default(),
            conditions: Condition::ALL.to_vec(),
            form: "{question} {answer}".to_owned(),
            between: "\n".to_owned(),
            image: None,
            seed: Seed(0),
        }
    }
}

const QUESTION: &str = "{question}";
const ANSWER: &str = "{answer}";

/// In-context ablation with checked settings.
#[derive(Debug, Clone)]
pub struct InContext {
    settings: Settings,
    conditions: Vec<Condition>,
}

/// A case as it stands in a prompt.
#[derive(Debug, Clone)]
struct Shown {
    pictures: Vec<Picture>,
    question: String,
    answer: String,
}

/// What came of one prompt.
#[derive(Debug, Clone, Copy)]
struct Judged {
    log: f64,
    right: bool,
}

/// A case of the data set.
fn read(many: &ManyCases, index: usize) -> Result<Sample, AnalysisError> {
    let sample = many.data().case(index)?.sample;
    let answered = |found: &str| {
        Err(input(
            &CARD,
            "cases with a right answer in words, as their answer",
            format!("case {index} has {found}"),
        ))
    };
    match (&sample.reply, &sample.words) {
        (None, _) => answered("none"),
        (Some(Reply::Tokens(_)), _) => answered("one in tokens"),
        (_, Words::Texts(_)) => {
            Err(input(&CARD, "questions or prompts", format!("case {index} has captions")))
        }
        (_, Words::Nothing) => {
            Err(input(&CARD, "questions or prompts", format!("case {index} has no words")))
        }
        _ if !sample.clips.is_empty() => Err(input(&CARD, "pictures", format!("case {index} has a clip"))),
        _ => Ok(sample),
    }
}

impl InContext {
    /// How a prompt writes the place of a picture.
    fn image(&self, on: &On<'_>, many: &ManyCases) -> Result<String, AnalysisError> {
        if let Some(image) = &self.settings.image {
            return Ok(image.clone());
        }
        for index in 0..many.len() {
            let sample = read(many, index)?;
            if !sample.pictures.is_empty() {
                let inputs = on.encode(&Sample { reply: None, ..sample })?;
                let shows = inputs.map().tokens.iter().find(|token| token.modality == Modality::Image);
                let elsewhere = || {
                    input(
                        &CARD,
                        "a model whose pictures stand among its words",
                        "this one reads them elsewhere",
                    )
                };
                return shows.map(|token| token.text.clone()).ok_or_else(elsewhere);
            }
        }
        Ok(String::new())
    }

    /// A case with its pictures' places written into its question.
    fn shown(&self, many: &ManyCases, index: usize, image: &str) -> Result<Shown, AnalysisError> {
        let Sample { pictures, clips, recordings, words, reply } = read(many, index)?;
        if !clips.is_empty() || !recordings.is_empty() {
            let found = format!("case {index} has clips or recordings");
            return Err(input(&CARD, "cases of pictures and words", found));
        }
        let answer = match reply {
            Some(Reply::Text(text)) => text.trim().to_owned(),
            _ => String::new(),
        };
        let question = match words {
            Words::Question(text) => format!("{}{text}", image.repeat(pictures.len())),
            Words::Prompt(text) => {
                let places = if image.is_empty() { 0 } else { text.matches(image).count() };
                if places != pictures.len() {
                    let found = format!(
                        "`{image}` {places} times in case {index}, which has {} pictures",
                        pictures.len()
                    );
                    return Err(input(
                        &CARD,
                        "prompts that say where their pictures are, as `image` writes it",
                        found,
                    ));
                }
                text
            }
            _ => String::new(),
        };
        Ok(Shown { pictures, question, answer })
    }

    /// A prompt of demonstrations and a question, with the answer behind it.
    fn prompt(&self, demonstrations: &[Shown], asked: &Shown) -> Sample {
        let form = &self.settings.form;
        let (before, _) = form.split_once(ANSWER).unwrap_or((form, ""));
        let lead = before.trim_end();
        let space = before.get(lead.len()..).unwrap_or_default();
        let mut text = String::new();
        let mut pictures = Vec::new();
        for Shown { pictures: own, question, answer } in demonstrations {
            text.push_str(&filled(form, question, answer));
            text.push_str(&self.settings.between);
            pictures.extend(own.iter().cloned());
        }
        text.push_str(&filled(lead, &asked.question, ""));
        pictures.extend(asked.pictures.iter().cloned());
        // A space before an answer is a part of its first word.
        Sample::prompt(pictures, text).answered(Reply::Text(format!("{space}{}", asked.answer)))
    }

    /// Demonstrations as a condition has them; `others` are cases that are not among them.
    fn changed(&self, condition: Condition, own: &[Shown], others: &[Shown], image: &str) -> Vec<Shown> {
        let with = |change: &dyn Fn(usize, &mut Shown)| {
            let mut all = own.to_vec();
            all.iter_mut().enumerate().for_each(|(at, shown)| change(at, shown));
            all
        };
        let other = |at: usize| others.get(at % others.len().max(1));
        match condition {
            Condition::None => Vec::new(),
            Condition::Full => own.to_vec(),
            Condition::Reversed => own.iter().rev().cloned().collect(),
            Condition::NoPictures => with(&|_, shown| {
                shown.pictures.clear();
                shown.question = without(&shown.question, image);
            }),
            Condition::OtherPictures => with(&|at, shown| {
                if let Some(other) = other(at).filter(|other| other.pictures.len() == shown.pictures.len()) {
                    shown.pictures.clone_from(&other.pictures);
                }
            }),
            Condition::OtherQuestions => with(&|at, shown| {
                if let Some(other) = other(at).filter(|other| other.pictures.len() == shown.pictures.len()) {
                    shown.question.clone_from(&other.question);
                }
            }),
            Condition::OtherAnswers => with(&|at, shown| {
                // The first of the others, from this one's on, that says something else.
                let from = (0..others.len()).map(|step| at + step);
                let mut differing = from.filter_map(other).filter(|other| other.answer != shown.answer);
                if let Some(answer) = differing.next().map(|other| other.answer.clone()) {
                    shown.answer = answer;
                }
            }),
        }
    }

    /// For every case those that stand before it, the last nearest to the question.
    fn chosen(
        &self,
        on: &On<'_>,
        many: &ManyCases,
        step: &mut dyn FnMut() -> Result<(), AnalysisError>,
    ) -> Result<Vec<Vec<usize>>, AnalysisError> {
        let (count, k) = (many.len(), self.settings.demonstrations);
        let apart =
            |index: usize, order: Vec<usize>| order.into_iter().filter(move |other| *other != index).take(k);
        match self.settings.by {
            By::Random => {
                let order = |index: usize| drawn_order(count, self.settings.seed.at(index as u64));
                Ok((0..count).map(|index| apart(index, order(index)).collect()).collect())
            }
            By::Nearest(site) => {
                let mut means = Vec::new();
                for index in 0..count {
                    let inputs = on.encode(&Sample { reply: None, ..read(many, index)? })?;
                    means.push(mean_state(on, &inputs, site)?);
                    step()?;
                }
                let nearest = |index: usize| {
                    let own = means.get(index).map_or(&[][..], Vec::as_slice);
                    let likeness = |other: &usize| means.get(*other).map_or(0.0, |other| cosine(own, other));
                    let mut order: Vec<usize> = (0..count).collect();
                    order.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then(a.cmp(b)));
                    let mut first: Vec<usize> = apart(index, order).collect();
                    first.reverse();
                    first
                };
                Ok((0..count).map(nearest).collect())
            }
        }
    }

    /// Cases that are neither the question nor among its demonstrations, in an order that is drawn.
    fn others(&self, index: usize, count: usize, chosen: &[usize]) -> Vec<usize> {
        let seed = self.settings.seed.at(count as u64).at(index as u64);
        let inside = |other: &usize| *other != index && !chosen.contains(other);
        drawn_order(count, seed).into_iter().filter(inside).collect()
    }

    /// How many passes for each case.
    fn passes(&self) -> usize {
        self.conditions.len() + usize::from(self.settings.by != By::Random)
    }

    fn enough(&self, many: &ManyCases) -> Result<(), AnalysisError> {
        match many.len() > self.settings.demonstrations {
            true => Ok(()),
            false => {
                let needs =
                    format!("more cases than the {} that stand before each", self.settings.demonstrations);
                Err(input(&CARD, needs, format!("`{}` has {}", many.data().name(), many.len())))
            }
        }
    }
}

/// A form with its places filled, in one go: what is filled in is not looked at again.
fn filled(form: &str, question: &str, answer: &str) -> String {
    let mut text = String::new();
    let mut rest = form;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        if let Some(behind) = from.strip_prefix(QUESTION) {
            text.push_str(question);
            rest = behind;
        } else if let Some(behind) = from.strip_prefix(ANSWER) {
            text.push_str(answer);
            rest = behind;
        } else {
            text.push('{');
            rest = from.get(1..).unwrap_or_default();
        }
    }
    text.push_str(rest);
    text
}

fn without(text: &str, image: &str) -> String {
    if image.is_empty() { text.to_owned() } else { text.replace(image, "") }
}

/// The mean over all positions of what a site holds.
fn mean_state(on: &On<'_>, inputs: &Inputs, site: Site) -> Result<Vec<f64>, AnalysisError> {
    Ok(rows_of((on, CARD.id), inputs, site, &Positions::All)?.mean())
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let size = (dot(a, a) * dot(b, b)).sqrt();
    if size > 0.0 { dot(a, b) / size } else { 0.0 }
}

/// How likely the answer behind a prompt is, and whether each of its tokens is the likeliest where it stands.
fn judged(on: &On<'_>, sample: Sample) -> Result<Judged, AnalysisError> {
    let (inputs, objective) = on.open(&Case::answer(sample))?;
    let Objective::Span { from, tokens, .. } = &objective else {
        return Err(HookError::NoOutput(objective.to_string()).into());
    };
    let places: Vec<Position> =
        (0..tokens.len()).map(|at| Position::At((from + at).saturating_sub(1))).collect();
    let asked = places.iter().map(|at| LogitSelection::at(*at)).reduce(|all, own| all.and(&own));
    let plan = Plan::new().select_logits(asked.ok_or(HookError::NoObjective)?);
    on.memory().hold(CARD.id, 0, on.subject().need(&inputs, &plan, Copies::ONE)?)?;
    let trace = on.subject().run(&inputs, plan)?;
    let mut judged = Judged { log: 0.0, right: true };
    for (at, token) in places.iter().zip(tokens) {
        let logits = AnyTensor::new(trace.output().at(*at)?).finite_values(format!("text.logits at {at}"))?;
        let outside = || HookError::Objective { what: "token", index: *token as usize, len: logits.len() };
        let own = logits.get(*token as usize).copied().ok_or_else(outside)?;
        judged.right &= logits.iter().all(|other| *other <= own);
        judged.log += log_probabilities(&logits).get(*token as usize).copied().ok_or_else(outside)?;
    }
    Ok(judged)
}

impl Analysis for InContext {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "demonstrations", settings.demonstrations)?;
        let place = |name: &str| settings.form.match_indices(name).map(|(at, _)| at).collect::<Vec<_>>();
        let (question, answer) = (place(QUESTION), place(ANSWER));
        if question.len() != 1 || answer.len() != 1 || question > answer {
            let expected = "it has `{question}` once, and `{answer}` once behind it";
            return Err(setting(&CARD, "form", format!("`{}`", settings.form), expected));
        }
        if settings.image.as_ref().is_some_and(String::is_empty) {
            return Err(setting(
                &CARD,
                "image",
                "an empty text",
                "it is how a prompt writes the place of a picture",
            ));
        }
        let mut conditions = BTreeSet::from([Condition::Full]);
        for condition in &settings.conditions {
            if !conditions.insert(*condition) && *condition != Condition::Full {
                let found = format!("`{}` twice", condition.name());
                return Err(setting(&CARD, "conditions", found, "each is there once"));
            }
        }
        Ok(Self { settings, conditions: conditions.into_iter().collect() })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        self.enough(many)?;
        // Every prompt has as many cases, of which the first tells the size.
        let image = self.image(on, many)?;
        let shown = |index: usize| self.shown(many, index, &image);
        let own = (1..=self.settings.demonstrations).map(shown).collect::<Result<Vec<_>, _>>()?;
        let inputs = on.encode(&self.prompt(&own, &shown(0)?))?;
        let need = on.subject().need(&inputs, &Plan::new().to_output(), Copies::ONE)?;
        Ok(Cost::rows(many.len() * self.passes()).taking(need.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        self.enough(many)?;
        let image = self.image(on, many)?;
        let mut progress = Progress::new(on.watch(), CARD.id, many.len() * self.passes());
        let chosen = self.chosen(on, many, &mut || progress.advance(1))?;
        let (mut judgements, mut answers, mut first) = (Vec::new(), Vec::new(), None);
        let most = self.settings.demonstrations;
        for (index, before) in chosen.iter().enumerate() {
            let shown = |index: &usize| self.shown(many, *index, &image);
            let asked = shown(&index)?;
            let own = before.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
            // Of others no more are read than may be needed: as many as there are demonstrations, and those with other answers.
            let outside = self.others(index, many.len(), before);
            let others = outside.iter().take(4 * most + 4).map(shown).collect::<Result<Vec<_>, _>>()?;
            for condition in &self.conditions {
                let prompt = self.prompt(&self.changed(*condition, &own, &others, &image), &asked);
                if let (Condition::Full, None, Words::Prompt(text)) = (condition, &first, &prompt.words) {
                    first = Some(text.clone());
                }
                judgements.push(judged(on, prompt)?);
                progress.advance(1)?;
            }
            answers.push((asked.answer, own.into_iter().map(|own| own.answer).collect::<Vec<_>>()));
        }
        let found = Found { conditions: &self.conditions, judgements, answers, chosen };
        let tables = found.tables(first.unwrap_or_default())?;
        let answer = Answer::new(tables, [Site::of(Part::Text, Point::Logits)]).seeded(self.settings.seed);
        Ok(answer.against("the demonstrations as they are").cautioned(found.cautions()))
    }
}
