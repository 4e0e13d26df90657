//! BM25: which training cases have this one's words?
//!
//! # Idea
//! With `q` the words of a case, `d` those of a training case, `n` its length and `df` the number of training cases with a word among `N`,
//!
//! ```text
//! score = sum over w in q of  idf(w) tf(w, d) (k1 + 1) / (tf(w, d) + k1 (1 - b + b n / mean n)),    idf = ln(1 + (N - df + 0.5) / (df + 0.5))
//! ```
//!
//! A floor that looks at no model: what attributes answers to training cases should be better than counting words.
//!
//! # In and out
//! In: training cases. Words are runs of letters and digits in lower case, of what is asked and of the answer a case holds. Out: as of [TracIn](super::trac_in), without parts; the finding of the fit has `longest` (rank), the cases with the most words.
//!
//! # Settings
//! - `k1`: 1.5 and `b`: 0.75, those of rank_bm25.
//!
//! # Cost
//! No pass. Memory: the words.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`]. Learning: [`AnalysisError::Input`] for no training cases, or none with words.
//!
//! # When it misleads
//! - Pictures are not looked at: cases with the same question are equal, whatever they show.
//! - A word of every training case still counts a little; what matters of a template is the rest.
//! - It looks at no model: a high score says nothing about what was learned.
//!
//! # Agreement
//! rank_bm25 0.2.2 (`BM25Okapi`, its `idf` replaced by Lucene's, which is never below zero) in two settings: 5e-8 of the largest score. Identities tested: words that no training case has change nothing, and words asked twice
//! count twice.
//!
//! # Reference
//! Robertson, Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond. 2009. <https://doi.org/10.1561/1500000019>; as a floor of data attribution in Akyürek et al.: Towards Tracing Knowledge in Language Models Back to
//! the Training Data. EMNLP Findings 2022. <https://arxiv.org/abs/2205.11482>.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_training::{Bm25, bm25::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let data = from_fn("words", 3, |i| Ok(Case::new(Sample::text(["a red", "a blue", "b red"][i]))));
//! let learned = Bm25::new(Settings::default())?.learn(&On::new(&toy), &data, Seed(1))?;
//! let finding = learned.fitted.run(&toy, &Case::new(Sample::text("b")))?;
//! println!("{:?}", finding.table("highest")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use mmlens_core::check::{at_least_one, input, not_below_zero, setting};
use mmlens_core::finding::{Caution, CautionKind, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Card, Case, Cases, Cost, Ended, Fit, Fitted, Leaf, On, Outcome, Parts,
    Reply, Seed, Source, Watch, Words, found, step,
};
use mmlens_engine::Progress;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Taught;
use super::measure::{FEW, class, made};
use super::ranked::{self, SHOWN, Scores, told};

/// What this method is.
pub const CARD: Card = Card {
    id: "bm25",
    short: "bm25",
    name: "BM25",
    question: "Which training cases have this one's words?",
    citation: "Robertson, Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond. 2009. https://doi.org/10.1561/1500000019",
    leaf: Leaf::Training,
    cost: "no pass",
    needs: &[],
    misleads: &[
        "Pictures are not looked at.",
        "It looks at no model: a high score says nothing about what was learned.",
    ],
    first: false,
};

/// How words are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How soon more of one word counts no more.
    pub k1: f64,
    /// How much the length of a case counts.
    pub b: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { k1: 1.5, b: 0.75 }
    }
}

/// What learns the words of training cases, with checked settings.
#[derive(Debug, Clone)]
pub struct Bm25 {
    settings: Settings,
}

/// The words of training cases. Findings hold them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counted {
    /// How many training cases are shown.
    pub shown: usize,
    /// How words are weighed.
    pub fit: Settings,
    /// The seed of what is drawn by chance.
    pub seed: u64,
    /// What training cases are called.
    pub names: Vec<String>,
    /// Of each how often it has each of its words.
    pub words: Vec<BTreeMap<String, usize>>,
}

impl Default for Counted {
    fn default() -> Self {
        Self { shown: SHOWN, fit: Settings::default(), seed: 0, names: Vec::new(), words: Vec::new() }
    }
}

/// Training cases by their words.
#[derive(Debug, Clone)]
pub struct ByWords {
    counted: Counted,
    /// In how many training cases a word is.
    known: BTreeMap<String, usize>,
    mean: f64,
}

/// The words of a case: runs of letters and digits in lower case.
fn words(case: &Case) -> BTreeMap<String, usize> {
    let mut text = match &case.sample.words {
        Words::Question(text) | Words::Prompt(text) => text.clone(),
        Words::Texts(texts) => texts.join(" "),
        Words::Nothing => String::new(),
    };
    if let Some(Reply::Text(reply)) = &case.sample.reply {
        text.push(' ');
        text.push_str(reply);
    }
    let mut counts = BTreeMap::new();
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

fn checked(settings: &Settings) -> Result<(), AnalysisError> {
    not_below_zero(&CARD, "k1", settings.k1)?;
    match (0.0..=1.0).contains(&settings.b) {
        true => Ok(()),
        false => Err(setting(&CARD, "b", settings.b, "it must be between 0 and 1")),
    }
}

impl Bm25 {
    fn counted(&self, on: &On<'_>, data: &dyn Cases, seed: Seed) -> Result<Outcome<ByWords>, AnalysisError> {
        if data.is_empty() {
            return Err(input(&CARD, "training cases", format!("`{}` has none", data.name())));
        }
        let mut progress = Progress::new(on.watch(), CARD.id, data.len());
        let mut counted = Counted { fit: self.settings, seed: seed.value(), ..Counted::default() };
        for index in 0..data.len() {
            let case = data.case(index)?;
            counted.names.push(ranked::name(index, &case, class(data, index)?));
            counted.words.push(words(&case));
            progress.advance(1)?;
        }
        let lengths: Vec<f64> = counted.words.iter().map(|own| own.values().sum::<usize>() as f64).collect();
        let mut tables = told(&lengths, false, &counted.names)?;
        let few = (data.len() < FEW).then(|| {
            let text = format!("{} training cases are few: ranks among so few say little", data.len());
            Caution::new(CautionKind::FewRows, data.len() as f32, text)
        });
        tables.extend(Caution::tables(few.as_slice())?);
        let finding = found(made(&CARD, &self.settings, on, data, seed)?, tables)?;
        let ended = Ended::Converged { steps: data.len(), gradient: 0.0 };
        Ok(Outcome { fitted: ByWords::new(counted)?, ended, finding })
    }
}

impl Fit for Bm25 {
    type From = Taught;
    type Settings = Settings;
    type Fitted = ByWords;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        checked(&settings)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(&self, from: &Taught, seed: Seed, watch: &dyn Watch) -> Result<Outcome<ByWords>, AnalysisError> {
        self.counted(&On::new(&from.subject).watched(watch), from.data.data(), seed)
    }

    fn learn(&self, on: &On<'_>, data: &dyn Cases, seed: Seed) -> Result<Outcome<ByWords>, AnalysisError> {
        self.counted(on, data, seed)
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        _keep: Option<&Path>,
    ) -> Result<Outcome<ByWords>, AnalysisError> {
        match from {
            Source::Cases(on, data) => self.learn(on, *data, seed),
            Source::Recorded(recorded, _) => {
                let found = format!("only recorded activations of `{}` are there", recorded.data());
                Err(input(&CARD, "training cases with words", found))
            }
        }
    }
}

impl Analysis for ByWords {
    type Input = Case;
    type Settings = Counted;
    const CARD: Card = CARD;

    fn new(counted: Counted) -> Result<Self, AnalysisError> {
        checked(&counted.fit)?;
        at_least_one(&CARD, "shown", counted.shown)?;
        let (names, cases) = (counted.names.len(), counted.words.len());
        if names != cases || cases == 0 {
            let found = format!("{names} names of {cases} cases");
            return Err(setting(
                &CARD,
                "words",
                found,
                "there must be some training cases, each with a name",
            ));
        }
        let mut known = BTreeMap::new();
        for word in counted.words.iter().flat_map(BTreeMap::keys) {
            *known.entry(word.clone()).or_default() += 1;
        }
        if known.is_empty() {
            return Err(input(&CARD, "training cases with words", "none of them has any"));
        }
        let all: usize = counted.words.iter().flat_map(BTreeMap::values).sum();
        Ok(Self { mean: all as f64 / cases as f64, counted, known })
    }

    fn settings(&self) -> &Counted {
        &self.counted
    }

    fn cost(&self, on: &On<'_>, _: &Case) -> Result<Cost, AnalysisError> {
        let bytes: usize = self.known.keys().map(String::len).sum();
        Ok(Cost::rows(0).taking(bytes.max(1) as u64, on.memory().budget())) // no NaN: whole numbers
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Counted { shown, fit: Settings { k1, b }, seed, names, words: all } = &self.counted;
        let asked = words(case);
        let n = all.len() as f64;
        let score = |own: &BTreeMap<String, usize>| {
            let length = own.values().sum::<usize>() as f64;
            let each = asked.iter().filter_map(|(word, times)| {
                let (tf, df) = (*own.get(word)? as f64, *self.known.get(word)? as f64);
                let idf = ((n - df + 0.5) / (df + 0.5)).ln_1p();
                let dampened = tf * (k1 + 1.0) / (tf + k1 * (1.0 - b + b * length / self.mean));
                Some(*times as f64 * idf * dampened)
            });
            each.sum::<f64>()
        };
        let shares = vec![("all".to_owned(), all.iter().map(score).collect())];
        step(on.watch(), CARD.id, 1, 1)?;
        let shown =
            Scores { unit: Unit::None, names, shares, shown: *shown, seed: Seed(*seed), sites: Vec::new() };
        let none = asked.keys().all(|word| !self.known.contains_key(word)).then(|| {
            let text = "no training case has a word of this one: all scores are zero".to_owned();
            Caution::new(CautionKind::NothingMoved, asked.len() as f32, text)
        });
        Ok(shown.answer()?.cautioned(none))
    }
}

impl Fitted for ByWords {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        Ok(Parts { tensors: BTreeMap::new(), about: json!(self.counted).to_string() })
    }

    fn of(Parts { tensors, about }: Parts) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        if let Some(name) = tensors.keys().next() {
            return Err(wrong(format!("a tensor `{name}` has no meaning")));
        }
        Self::new(mmlens_files::parse_json(about.as_bytes()).map_err(|error| wrong(error.to_string()))?)
    }
}
