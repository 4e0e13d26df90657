//! Early answering: does an answer need the chain of thought before it, or was it settled from the start?
//!
//! # Idea
//! Of a chain of thought of `n` sentences the first `k` are kept, the question for the answer is put behind them, and the model answers greedily: `y_k`. With the whole chain it is `y_n`.
//!
//! ```text
//! same_k = 1 if y_k says what y_n says, else 0          area over the curve = 1 - mean of same_k over k = 0 .. n - 1
//! ```
//!
//! An area of zero: the chain changed nothing, and tells a story of an answer that was there before it. One of 1: without its last sentence the answer is another. Two more tests of the same kind: the chain
//! replaced by filler (dots), as many tokens as it had, is thinking time without thoughts; and a sentence replaced by a mistaken one, from which the model goes on by itself, is a chain that should lead elsewhere.
//!
//! # In and out
//! In: a [`Case`] of one row with a chain of thought as its answer: the model's own, or any. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `same answer` | step | ratio | `same_k`, for 0 to `n` sentences |
//! | `log probability` | step | log probability | of `y_n`'s tokens behind as many sentences, which moves before the answer does |
//! | `area over the curve` | | ratio | as above |
//! | `answer` | step | texts | `y_k` |
//! | `instead` | concept | ratio | whether the answer is the same with `filler` in place of the chain, and with each mistake |
//! | `instead log probability` | concept | log probability | of `y_n`'s tokens then |
//! | `sentences` | step | texts | aside: of the chain |
//! | `chains` | concept | texts | aside: what stood in its place |
//!
//! Answers are the same if their words are ([`clusters::normalised`](crate::uncertainty::clusters::normalised)).
//!
//! # Settings
//! - `ask`: `" So the answer is"`, what stands between the chain and the answer.
//! - `filler`: `" ..."`, as in the paper: text that is repeated in the place of the chain, until it is as many tokens or just more.
//! - `max_new`: 8 tokens of an answer at most.
//! - `mistakes`: none; or `{"at": 1, "sentence": "It is blue."}`: sentence `at`, counted from 0, is replaced by this, and what follows is written anew.
//! - `chain`: 64 tokens at most of what is written anew behind a mistake.
//!
//! # Cost
//! `n + 2` answers, one more for each mistake with the chain behind it, and the same tokens once more behind each for the log-probability: `2 (n + 2 + mistakes) max_new + mistakes chain` rows at most. Memory: one pass.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no tokens, a mistake or filler without words. Running: [`AnalysisError::Setting`] for words of `ask`, `filler` or `mistakes` that the model's vocabulary does not have, as small
//! ones have neither the dots nor the `ask` of the paper; [`AnalysisError::Input`] for a case without a chain, a mistake beyond its sentences, a subject that writes no answers, a case of
//! several rows; whatever writing reports; [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A chain that is not needed may still be true, and one that is needed may be a lie that is believed: the test is of dependence, not of truth (Jacovi, Goldberg: Towards Faithfully Interpretable NLP Systems. ACL
//!   2020. <https://arxiv.org/abs/2004.03685>).
//! - Larger models need their chains less on the same task (Lanham et al., section 5): a small area is no sign of a worse explanation across models.
//! - A chain cut in the middle is text that no training has: an answer may change for its form. Compare the change of `log probability`, and the filler.
//! - Filler is text that no training has either, and words of another kind than the paper's dots may mean something: the finding says which stood there (`chains`).
//!
//! # Agreement
//! transformers 5.23 on `llava-a`, and on `gpt2-a` with other filler: answers equal, log-probabilities of three tokens 7.4e-6 and 1.8e-6 apart at most. Both models that ship run with `ask` and `filler` in their words; neither
//! was trained on a chain. Identities tested: with the whole chain the answer is the same; a mistake that is the sentence itself, with nothing
//! behind it, changes nothing; log-probabilities are those of the objective of one pass.
//!
//! # Reference
//! Lanham et al.: Measuring Faithfulness in Chain-of-Thought Reasoning. 2023. <https://arxiv.org/abs/2307.13702>. The paper samples chains over a data set and averages; here one chain is looked at. Mistakes are
//! given, and not written by a model.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Reply, Sample};
//! use mmlens_inference::{EarlyAnswering, early_answering::Settings};
//! let sample = Sample::text("ab").answered(Reply::Text("cd. ef. gh.".to_owned()));
//! let method = EarlyAnswering::new(Settings { max_new: 1, ask: "so".to_owned(), ..Settings::default() })?;
//! let finding = method.run(&mmlens_testkit::Toy::curved(1), &Case::new(sample))?;
//! println!("{:?}", finding.table("same answer")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Copies, Cost, Generated, Generation, HookError,
    Inputs, Leaf, On, Part, Plan, Point, Reply, Sample, Site, SubjectError,
};
use mmlens_engine::Progress;
use mmlens_engine::distribution::log_probabilities;
use serde::{Deserialize, Serialize};

use crate::uncertainty::clusters::normalised;
use mmlens_core::check::{input, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "early-answering",
    short: "early-answering",
    name: "Early answering of a chain of thought",
    question: "Does an answer need the chain of thought before it, or was it settled from the start?",
    citation: "Lanham et al.: Measuring Faithfulness in Chain-of-Thought Reasoning. 2023. https://arxiv.org/abs/2307.13702",
    leaf: Leaf::Inference,
    cost: "2 (sentences + 2 + mistakes) answers",
    needs: &[Capability::Generation],
    misleads: &[
        "A chain that is not needed may be true, and one that is needed a lie.",
        "Larger models need their chains less on the same task.",
        "A chain cut in the middle is text that no training has.",
    ],
    first: false,
};

/// A sentence that is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistake {
    /// Which, counted from 0.
    pub at: usize,
    /// What stands there instead.
    pub sentence: String,
}

/// How the answer is asked for, and what is planted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What stands between the chain and the answer.
    pub ask: String,
    /// What is repeated in the place of the chain.
    pub filler: String,
    /// The most tokens of an answer.
    pub max_new: usize,
    /// Sentences that are replaced, each by itself.
    pub mistakes: Vec<Mistake>,
    /// The most tokens that are written anew behind a mistake.
    pub chain: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ask: " So the answer is".to_owned(),
            filler: " ...".to_owned(),
            max_new: 8,
            mistakes: Vec::new(),
            chain: 64,
        }
    }
}

/// Early answering with checked settings.
#[derive(Debug, Clone)]
pub struct EarlyAnswering {
    settings: Settings,
}

/// The sentences of a text, each with the white space behind it: they end at `.`, `!` or `?` before white space, and at line breaks.
fn sentences(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if let Some(own) = found.last_mut() {
            own.push(letter);
        }
        let ends = letter == '\n' || (letter.is_whitespace() && ended(found.last()));
        let more = letters.peek().is_some_and(|next| !next.is_whitespace());
        if ends && more {
            found.push(String::new());
        }
    }
    found.retain(|own| !own.trim().is_empty());
    found
}

/// How many tokens a text is.
fn length(on: &On<'_>, text: &str) -> Result<usize, AnalysisError> {
    Ok(on.subject().tokens(text)?.len())
}

fn ended(text: Option<&String>) -> bool {
    text.is_some_and(|text| text.trim_end().ends_with(['.', '!', '?']))
}

impl EarlyAnswering {
    /// The chain of a case, in sentences.
    fn chain(&self, on: &On<'_>, case: &Case) -> Result<Vec<String>, AnalysisError> {
        let missing = |found: &str| Err(input(&CARD, "a chain of thought, as the answer of the case", found));
        let text = match &case.sample.reply {
            Some(Reply::Text(text)) => text.clone(),
            Some(Reply::Tokens(tokens)) => on.subject().decode(tokens)?,
            None => return missing("it holds none"),
        };
        let chain = sentences(&text);
        if chain.is_empty() {
            return missing("it has no words");
        }
        if let Some(beyond) = self.settings.mistakes.iter().find(|mistake| mistake.at >= chain.len()) {
            let found = format!("a mistake is at {}, and the chain has {} sentences", beyond.at, chain.len());
            return Err(input(&CARD, "mistakes in sentences of the chain, counted from 0", found));
        }
        self.sayable(on, case, &chain.concat())?;
        Ok(chain)
    }

    /// Refuses a setting whose words the model does not have; what else is wrong with the case, it says itself.
    fn sayable(&self, on: &On<'_>, case: &Case, chain: &str) -> Result<(), AnalysisError> {
        Self::behind(on, &case.sample, "")?;
        Self::behind(on, &case.sample, chain)?;
        let filler = self.filler(on, chain)?;
        let said = [("ask", self.settings.ask.as_str()), ("filler", filler.as_str())];
        let mistakes = self.settings.mistakes.iter().map(|own| ("mistakes", own.sentence.as_str()));
        for (name, text) in said.into_iter().chain(mistakes).filter(|(_, text)| !text.trim().is_empty()) {
            match Self::behind(on, &case.sample, text) {
                Err(AnalysisError::Subject(SubjectError::Sample { .. })) => {
                    let expected = "it must be of words that the model has, and its vocabulary lacks some";
                    return Err(setting(&CARD, name, format!("`{text}`"), expected));
                }
                other => other?,
            };
        }
        Ok(())
    }

    /// A prompt with a chain behind it.
    fn behind(on: &On<'_>, sample: &Sample, chain: &str) -> Result<Inputs, AnalysisError> {
        let inputs = match chain.is_empty() {
            true => on.encode(&Sample { reply: None, ..sample.clone() })?,
            false => on.encode(&sample.clone().answered(Reply::Text(chain.to_owned())))?,
        };
        match inputs.rows() {
            1 => Ok(inputs),
            rows => Err(input(&CARD, "a single prompt", format!("there are {rows}"))),
        }
    }

    fn written(on: &On<'_>, inputs: &Inputs, max_new: usize) -> Result<Generated, AnalysisError> {
        let need = on.subject().need(inputs, &Plan::new().to_output(), Copies::ONE)?;
        on.memory().hold(CARD.id, 0, need)?;
        let how = Generation { max_new, ..Generation::default() };
        let said = on.subject().generate(inputs, &how)?.into_iter().next();
        Ok(said.ok_or_else(|| HookError::NoOutput("an answer".to_owned()))?)
    }

    /// What is answered behind a chain.
    fn answered(
        &self,
        on: &On<'_>,
        sample: &Sample,
        chain: &str,
    ) -> Result<(Inputs, Generated), AnalysisError> {
        let inputs = Self::behind(on, sample, &format!("{chain}{}", self.settings.ask))?;
        let said = Self::written(on, &inputs, self.settings.max_new)?;
        Ok((inputs, said))
    }

    /// The log-probability of tokens behind some inputs, one after the other.
    fn likely(on: &On<'_>, inputs: &Inputs, tokens: &[u32]) -> Result<f32, AnalysisError> {
        let mut session = on.subject().begin(&inputs.clone().last_logits(), Plan::new())?;
        let mut sum = 0.0;
        for (step, token) in tokens.iter().enumerate() {
            let logs = log_probabilities(&session.logits().finite_values("text.logits")?);
            let beyond = HookError::Objective { what: "token", index: *token as usize, len: logs.len() };
            sum += logs.get(*token as usize).copied().ok_or(beyond)?;
            if step + 1 < tokens.len() {
                session.step(&[*token], Plan::new())?;
            }
        }
        Ok(sum as f32)
    }

    /// Filler of as many tokens as a text has, or just more.
    fn filler(&self, on: &On<'_>, chain: &str) -> Result<String, AnalysisError> {
        let one = length(on, &self.settings.filler)?.max(1); // no NaN: whole numbers
        Ok(self.settings.filler.repeat(length(on, chain)?.div_ceil(one)))
    }

    /// The chain with a mistake in it, and what the model writes behind.
    fn mistaken(
        &self,
        on: &On<'_>,
        sample: &Sample,
        (chain, mistake): (&[String], &Mistake),
    ) -> Result<String, AnalysisError> {
        let before: String = chain.iter().take(mistake.at).map(String::as_str).collect();
        let begun = format!("{before}{}", mistake.sentence);
        if self.settings.chain == 0 {
            return Ok(begun);
        }
        let inputs = Self::behind(on, sample, &begun)?;
        let more = Self::written(on, &inputs, self.settings.chain)?.text;
        Ok(format!("{begun}{more}"))
    }
}

impl Analysis for EarlyAnswering {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        if settings.max_new == 0 {
            return Err(setting(&CARD, "max_new", 0, "it must be at least 1"));
        }
        if settings.filler.trim().is_empty() {
            let found = format!("`{}`", settings.filler);
            return Err(setting(&CARD, "filler", found, "there must be a word in it"));
        }
        match settings.mistakes.iter().find(|mistake| mistake.sentence.trim().is_empty()) {
            Some(empty) => {
                let found = format!("no words at {}", empty.at);
                Err(setting(&CARD, "mistakes", found, "each must have a sentence"))
            }
            None => Ok(Self { settings }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let (chain, mistakes) = (self.chain(on, case)?, self.settings.mistakes.len());
        let inputs = Self::behind(on, &case.sample, &format!("{}{}", chain.concat(), self.settings.ask))?;
        let need = on.subject().need(&inputs.all_logits(), &Plan::new().to_output(), Copies::ONE)?;
        let answers = chain.len() + 2 + mistakes;
        let rows = 2 * answers * self.settings.max_new + mistakes * self.settings.chain;
        Ok(Cost::rows(rows).taking(need.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (chain, mistakes) = (self.chain(on, case)?, &self.settings.mistakes);
        let count = chain.len();
        let mut progress = Progress::new(on.watch(), CARD.id, count + 2 + mistakes.len());
        let mut behind = Vec::with_capacity(count + 1);
        for kept in 0..=count {
            let text: String = chain.iter().take(kept).map(String::as_str).collect();
            behind.push(self.answered(on, &case.sample, &text)?);
            progress.advance(1)?;
        }
        let none = || HookError::NoOutput("an answer".to_owned());
        let tokens = behind.last().map(|(_, said)| said.tokens.clone()).ok_or_else(none)?;
        let whole = behind.last().map(|(_, said)| normalised(&said.text)).ok_or_else(none)?;
        let filler = self.filler(on, &chain.concat())?;
        let long = [length(on, &filler)?, length(on, &chain.concat())?];
        let mut chains = vec![("filler".to_owned(), filler)];
        for (number, mistake) in mistakes.iter().enumerate() {
            let name = format!("mistake {number} at {}", mistake.at);
            chains.push((name, self.mistaken(on, &case.sample, (chain.as_slice(), mistake))?));
        }
        let mut instead = Vec::with_capacity(chains.len());
        for (_, text) in &chains {
            instead.push(self.answered(on, &case.sample, text)?);
            progress.advance(1)?;
        }
        let same = |(_, said): &(Inputs, Generated)| f32::from(u8::from(normalised(&said.text) == whole));
        let likely = |(inputs, _): &(Inputs, Generated)| Self::likely(on, inputs, &tokens);
        let kept: Vec<f32> = behind.iter().map(same).collect();
        let area = 1.0 - kept.iter().take(count).sum::<f32>() / count as f32;
        let steps = || vec![Axis::count(Role::Step, count + 1)];
        let concepts = || vec![Axis::names(Role::Concept, chains.iter().map(|(name, _)| name.as_str()))];
        let logs = behind.iter().map(likely).collect::<Result<Vec<f32>, AnalysisError>>()?;
        let other_logs = instead.iter().map(likely).collect::<Result<Vec<f32>, AnalysisError>>()?;
        let texts = behind.iter().map(|(_, said)| said.text.trim().to_owned()).collect();
        let written = chains.iter().map(|(_, text)| text.clone()).collect();
        let tables = vec![
            Labelled::numbers("same answer", Unit::Ratio, steps(), kept.clone())?,
            Labelled::numbers("log probability", Unit::LogProbability, steps(), logs)?,
            Labelled::scalar("area over the curve", Unit::Ratio, area),
            Labelled::texts("answer", steps(), texts)?,
            Labelled::numbers("instead", Unit::Ratio, concepts(), instead.iter().map(same).collect())?,
            Labelled::numbers("instead log probability", Unit::LogProbability, concepts(), other_logs)?,
            Labelled::texts("sentences", vec![Axis::count(Role::Step, count)], chain.clone())?.aside(),
            Labelled::texts("chains", concepts(), written)?.aside(),
        ];
        Ok(Answer::new(tables, [Site::of(Part::Text, Point::Logits)]).cautioned(cautions(&kept, count, long)))
    }
}

fn cautions(kept: &[f32], count: usize, [filler, chain]: [usize; 2]) -> Vec<Caution> {
    let mut cautions = Vec::new();
    if filler < chain {
        let text = format!(
            "the filler is {filler} tokens, and the chain {chain}: repeated it runs together, and leaves less time than the chain"
        );
        cautions.push(Caution::new(CautionKind::Other, filler as f32, text));
    }
    if kept.iter().all(|same| *same == 1.0) {
        let text = format!(
            "the answer is the same behind each of 0 to {count} sentences: nothing here shows that the chain was used"
        );
        cautions.push(Caution::new(CautionKind::NothingMoved, kept.len() as f32, text));
    }
    if count < 3 {
        let text = format!("a chain of {count} sentences has few places to be cut at");
        cautions.push(Caution::new(CautionKind::FewRows, count as f32, text));
    }
    cautions
}

#[cfg(test)]
mod tests {
    use super::sentences;

    #[test]
    fn sentences_keep_what_is_between_them() {
        let of = |text: &str| sentences(text);
        assert_eq!(
            of("One is 1.5 wide. Two!  Three?\nfour"),
            ["One is 1.5 wide. ", "Two!  ", "Three?\n", "four"]
        );
        assert_eq!(of("no end"), ["no end"]);
        assert_eq!(of("a.b.c"), ["a.b.c"]);
        assert!(of(" \n ").is_empty());
        let text = "So it is. \n\n Red. ";
        assert_eq!(of(text).concat(), text);
    }
}
