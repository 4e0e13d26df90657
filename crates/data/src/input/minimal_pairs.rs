//! Foils and minimal pairs: does a model prefer what is true of a picture to what differs from it in a word?
//!
//! # Idea
//! A pair is a caption `c` of a picture and a foil `f` of it: the same text with another word in one place ([`foil`](crate::foil)). `s` says how well a text fits the picture.
//!
//! ```text
//! accuracy = share of pairs with s(c) > s(f)          ties are no preference, and count as wrong
//! margin   = mean of s(c) - s(f)
//! ```
//!
//! | subject | `s(text)` | unit |
//! |---|---|---|
//! | dual encoder (CLIP, SigLIP) | similarity of picture and text: the cosine, scaled and shifted as the model does | logit |
//! | one that says whether a text fits (BLIP's matching) | logit of "match" less that of "no match" | logit |
//! | one that writes tokens | log-probability of all tokens of the text as an answer behind the words; by `per_token` over their number | log probability |
//! | one that writes answers in a decoder that does not read the words (BLIP), or says classes | log-probability of the text as the next token, or as the class | log probability |
//!
//! The same is asked of the picture's mean colour in its size: a pair that is told apart without the picture is told apart by its words.
//!
//! # In and out
//! In: [`ManyCases`]. The caption of a case is its answer, where it holds one; else the first of its texts, and further texts are foils that came with it (rule `given`).
//! Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `accuracy` | concept | ratio | of the pairs of each rule, and of all |
//! | `baselines` | concept, rank | ratio | `blank picture`: accuracy with the mean colour; `shorter text`: of always preferring the text of fewer characters, half of where both have as many; `chance`: one half |
//! | `margin` | concept | of `s` | mean of `s(c) - s(f)` |
//! | `pairs`, `ties` | concept | count | how many pairs, and how many with equal scores |
//! | `alone` | concept, rank | ratio | of subjects that say whether a text fits: share of pairs whose caption fits (`s > 0`), share whose foil does not (`s < 0`), and the smaller of the two |
//! | `scores` | sample, rank | of `s` | aside: of each pair `s` of the caption, of the foil, and of both about the mean colour |
//! | `caption`, `foil`, `rule` | sample | texts | aside: what the pairs are |
//! | `cases without foil` | | count | cases in which no rule finds a word |
//!
//! Pairs stand in the order of their cases, their rules and their places in the text.
//!
//! # Settings
//! - `rules`: [`Rules::shapes`], the words of the shapes world; of other data your own: `{"rule": [{"name": "colour", "sets": [["red", "blue"]]}]}`, or a file ([`Rules::open`]).
//! - `each`: 1 foil of each rule for a case, drawn; `null` for all of them. Foils that came with a case are always taken.
//! - `per_token`: `false`. A longer text has a lower log-probability whatever it says; foils that exchange a word for another of more tokens need this.
//! - `rows`: 16 texts in a pass at most, of subjects that judge several at once.
//! - `seed`: 0. Of the foils of rule `k` of case `i`, numbered as they stand, those with the smallest `Seed::at(i).at(k).at(number)` are taken.
//!
//! # Cost
//! Two passes (picture, mean colour) for each case, of a row for each text; of subjects that write tokens a pass for each text, and one for all texts of one token. Telling the
//! cost encodes every case.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for `each` or `rows` of 0. Running: [`AnalysisError::Input`] without a data set, for a case without picture or caption, data without any foil, an answer in
//! tokens, `per_token` of a subject that does not write; whatever judging a text reports; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Foils by rule may be true too: a picture may show what the foil says. Rules know no picture.
//! - Language alone tells many foils: "a purple banana" is unlikely whatever is seen. Compare with `blank picture`, never with `chance` alone (Hsieh, Zhang, Ma, Kembhavi, Krishna: SugarCrepe.
//!   NeurIPS 2023. <https://arxiv.org/abs/2306.14610>).
//! - Accuracy over pairs is higher than what either text gets alone: see `alone`, and margins near zero.
//!
//! # Agreement
//! transformers 5.23 on `clip-a`, `blip-itm` and `llava-a`: scores of captions and foils about pictures and their mean colour: 1.2e-6, 3.6e-6 and,
//! of log-probabilities as large as 98, 2.3e-5 apart at most. Identities tested: accuracy and margin are those of the scores; a foil that
//! equals its caption in score is a tie; a model that does not see has the accuracy of the blank picture, to the bit.
//!
//! # Reference
//! Shekhar et al.: FOIL it! Find One mismatch between Image and Language caption. ACL 2017. <https://arxiv.org/abs/1705.01359>; Parcalabescu et al.: VALSE. ACL 2022.
//! <https://arxiv.org/abs/2112.07566> (pairwise accuracy; accuracy of captions and of foils alone, and the smaller of both). VALSE's foils are checked by people; those by rule are not.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Picture, Reply, Sample, from_fn};
//! use mmlens_data::{MinimalPairs, minimal_pairs::Settings};
//! let grey = |i: usize| Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([60 * i as u8; 3])));
//! let said = move |i: usize| Sample::prompt(vec![grey(i)], "#ab").answered(Reply::Text(["red", "blue", "green"][i].to_owned()));
//! let data = ManyCases::over(from_fn("greys", 3, move |i| Ok(Case::new(said(i)))))?;
//! let finding = MinimalPairs::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &data)?;
//! println!("{:?}", finding.table("accuracy")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::check::{at_least_one, input};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cost, Leaf, ManyCases, On, Reply, Sample, Seed, Words,
    kind,
};
use mmlens_engine::{Judged, Progress};
use serde::{Deserialize, Serialize};

use crate::foil::Rules;

/// What this method is.
pub const CARD: Card = Card {
    id: "minimal-pairs",
    short: "pairs",
    name: "Foils and minimal pairs",
    question: "Does a model prefer what is true of a picture to what differs from it in a word?",
    citation: "Parcalabescu et al.: VALSE: A Task-Independent Benchmark for Vision and Language Models Centered on Linguistic Phenomena. ACL 2022. https://arxiv.org/abs/2112.07566",
    leaf: Leaf::Input,
    cost: "2 forward for each case, with a row for each text",
    needs: &[Capability::Answer],
    misleads: &[
        "Foils by rule may be true too.",
        "Language alone tells many foils: compare with the blank picture.",
        "Accuracy over pairs is higher than what either text gets alone.",
    ],
    first: false,
};

/// Which foils, and how texts are judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// By which rules texts are made false.
    pub rules: Rules,
    /// How many foils of each rule for a case; `None` for all.
    pub each: Option<usize>,
    /// Whether log-probabilities are divided by the number of tokens.
    pub per_token: bool,
    /// How many texts share a pass.
    pub rows: usize,
    /// The seed of what is drawn.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rules: Rules::default(), each: Some(1), per_token: false, rows: 16, seed: Seed(0) }
    }
}

/// Fewer pairs than this are cautioned of.
const FEW: usize = 20;
/// With the picture less than this better than without it is cautioned of.
const UNSEEN: f64 = 0.05;
/// The rule of foils that came with a case.
const GIVEN: &str = "given";

/// Minimal pairs with checked settings.
#[derive(Debug, Clone)]
pub struct MinimalPairs {
    settings: Settings,
}

/// A case's texts: the caption, and after it foils with their rules.
struct Texts {
    sample: Sample,
    texts: Vec<String>,
    rules: Vec<String>,
}

/// A pair and its scores: of the caption, of the foil, and of both about the mean colour.
struct Scored {
    caption: String,
    foil: String,
    rule: String,
    scores: [f32; 4],
}

impl MinimalPairs {
    /// The caption of a case and its foils.
    fn texts(&self, index: usize, sample: Sample) -> Result<Texts, AnalysisError> {
        let refused = |needs, found: &str| Err(input(&CARD, needs, format!("case {index} has {found}")));
        if sample.pictures.is_empty() && sample.clips.is_empty() {
            return refused("cases with pictures", "none");
        }
        let (caption, given) = match (&sample.reply, &sample.words) {
            (Some(Reply::Text(answer)), _) => (answer.clone(), Vec::new()),
            (Some(Reply::Tokens(_)), _) => return refused("captions in words", "an answer in tokens"),
            (None, Words::Texts(texts)) => match texts.split_first() {
                Some((first, others)) => (first.clone(), others.to_vec()),
                None => return refused("a caption, or an answer in words", "none"),
            },
            (None, _) => return refused("a caption, or an answer in words", "neither"),
        };
        let (mut texts, mut rules) = (vec![caption.clone()], Vec::new());
        for foil in given {
            texts.push(foil);
            rules.push(GIVEN.to_owned());
        }
        let all = self.settings.rules.foils(&caption);
        for (number, rule) in self.settings.rules.iter().enumerate() {
            let own: Vec<_> = all.iter().filter(|foil| foil.rule == rule.name).collect();
            let draws = self.settings.seed.at(index as u64).at(number as u64);
            let mut order: Vec<usize> = (0..own.len()).collect();
            order.sort_by_key(|at| (draws.at(*at as u64).value(), *at));
            order.truncate(self.settings.each.unwrap_or(usize::MAX));
            order.sort_unstable();
            for foil in order.iter().filter_map(|at| own.get(*at)) {
                texts.push(foil.text.clone());
                rules.push(rule.name.clone());
            }
        }
        Ok(Texts { sample, texts, rules })
    }

    fn judged(&self, on: &On<'_>, sample: &Sample, texts: &[String]) -> Result<Judged, AnalysisError> {
        Judged::captions(&CARD, on, sample, texts, self.settings.rows)
    }

    /// The scores of texts about a sample.
    fn scores(&self, on: &On<'_>, sample: &Sample, texts: &[String]) -> Result<Vec<f32>, AnalysisError> {
        let judged = self.judged(on, sample, texts)?;
        let made = judged.passes().iter().map(|pass| pass.made(&CARD, on, false));
        let mut values = judged.values(&made.collect::<Result<Vec<_>, _>>()?)?;
        if self.settings.per_token {
            let counts = judged.counts().ok_or_else(|| {
                input(&CARD, "a subject that writes tokens, for `per_token`", "this one writes none")
            })?;
            values.iter_mut().zip(counts).for_each(|(value, count)| *value /= *count as f32);
        }
        Ok(values)
    }
}

impl Analysis for MinimalPairs {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        if let Some(each) = settings.each {
            at_least_one(&CARD, "each", each)?;
        }
        at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let (mut forward, mut bytes) = (0, 0);
        for index in 0..many.len() {
            let Texts { sample, texts, rules } = self.texts(index, many.data().case(index)?.sample)?;
            if rules.is_empty() {
                continue;
            }
            for pass in self.judged(on, &sample, &texts)?.passes() {
                // About the picture, and about its mean colour.
                forward += 2 * pass.inputs().rows();
                bytes = u64::max(bytes, pass.need(on.subject())?.bytes); // no NaN: whole numbers
            }
        }
        Ok(Cost::rows(forward).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let mut progress = Progress::new(on.watch(), CARD.id, many.len());
        let (mut pairs, mut without): (Vec<Scored>, usize) = (Vec::new(), 0);
        for index in 0..many.len() {
            let Texts { sample, texts, rules } = self.texts(index, many.data().case(index)?.sample)?;
            if rules.is_empty() {
                without += 1;
            } else {
                let seen = self.scores(on, &sample, &texts)?;
                let blank = self.scores(on, &sample.emptied()?, &texts)?;
                let both = (texts.as_slice(), seen.as_slice(), blank.as_slice());
                if let ([caption, foils @ ..], [own, seen @ ..], [grey, blank @ ..]) = both {
                    for (((foil, rule), seen), blank) in foils.iter().zip(rules).zip(seen).zip(blank) {
                        let scores = [*own, *seen, *grey, *blank];
                        pairs.push(Scored { caption: caption.clone(), foil: foil.clone(), rule, scores });
                    }
                }
            }
            progress.advance(1)?;
        }
        if pairs.is_empty() {
            let found = format!("of {} cases none has a word that a rule exchanges", many.len());
            return Err(input(&CARD, "captions that rules find words in", found));
        }
        let subject = on.subject();
        let matches = Judged::says_whether_a_text_fits(subject);
        let unit = if kind::compares(subject) || matches { Unit::Logit } else { Unit::LogProbability };
        let mut rules = vec![GIVEN.to_owned()];
        rules.extend(self.settings.rules.iter().map(|rule| rule.name.clone()));
        rules.retain(|rule| pairs.iter().any(|pair| pair.rule == *rule));
        let found = Found { pairs, rules, unit, matches };
        let sites = kind::perceives_at(subject).into_iter().chain([kind::words_enter(subject)]);
        let mut tables = found.tables()?;
        tables.push(Labelled::scalar("cases without foil", Unit::Count, without as f32));
        let answer = Answer::new(tables, sites).against("the mean colour of the picture");
        Ok(answer.seeded(self.settings.seed).cautioned(found.cautions()))
    }
}

/// All pairs with their scores.
struct Found {
    pairs: Vec<Scored>,
    /// Rules of which there are pairs.
    rules: Vec<String>,
    unit: Unit,
    matches: bool,
}

/// How many.
fn count<'p>(pairs: &[&'p Scored], fits: impl Fn(&'p Scored) -> bool) -> f64 {
    pairs.iter().filter(|pair| fits(pair)).count() as f64
}

fn preferred(pair: &Scored) -> bool {
    let [caption, foil, ..] = pair.scores;
    caption > foil
}

fn preferred_unseen(pair: &Scored) -> bool {
    let [.., caption, foil] = pair.scores;
    caption > foil
}

impl Found {
    /// A number of the pairs of each rule, and of all.
    fn by_rule(&self, of: impl Fn(&[&Scored]) -> f64) -> Vec<f64> {
        let some = |rule: &String| self.pairs.iter().filter(|pair| pair.rule == *rule).collect::<Vec<_>>();
        let mut values: Vec<f64> = self.rules.iter().map(|rule| of(&some(rule))).collect();
        values.push(of(&self.pairs.iter().collect::<Vec<_>>()));
        values
    }

    fn share(&self, fits: impl Fn(&Scored) -> bool) -> Vec<f64> {
        self.by_rule(|pairs| count(pairs, &fits) / pairs.len() as f64)
    }

    /// Of always preferring the shorter text, where half of equals are right.
    fn shorter(&self) -> Vec<f64> {
        let right = |pair: &Scored| {
            let [caption, foil] = [&pair.caption, &pair.foil].map(|text| text.chars().count());
            match caption.cmp(&foil) {
                std::cmp::Ordering::Less => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Greater => 0.0,
            }
        };
        self.by_rule(|pairs| pairs.iter().map(|pair| right(pair)).sum::<f64>() / pairs.len() as f64)
    }

    fn tables(&self) -> Result<Vec<Labelled>, AnalysisError> {
        let rules = || {
            let names = self.rules.iter().map(String::as_str).chain(["all"]);
            Axis::names(Role::Concept, names)
        };
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
        let each =
            |name: &str, unit, values: Vec<f64>| Labelled::numbers(name, unit, vec![rules()], narrow(values));
        let side = |name: &str, columns: &[&str], values: &[Vec<f64>]| {
            let rows = 0..=self.rules.len();
            let flat = rows.flat_map(|row| values.iter().filter_map(move |own| own.get(row).copied()));
            let axes = vec![rules(), Axis::names(Role::Rank, columns.iter().copied())];
            Labelled::numbers(name, Unit::Ratio, axes, narrow(flat.collect()))
        };
        let chance = vec![0.5; self.rules.len() + 1];
        let baselines = [self.share(preferred_unseen), self.shorter(), chance];
        let apart = |pair: &&Scored| f64::from(pair.scores[0]) - f64::from(pair.scores[1]);
        let margin = self.by_rule(|pairs| pairs.iter().map(apart).sum::<f64>() / pairs.len() as f64);
        let ties = self.by_rule(|pairs| count(pairs, |pair| pair.scores[0] == pair.scores[1]));
        let mut tables = vec![
            each("accuracy", Unit::Ratio, self.share(preferred))?,
            side("baselines", &["blank picture", "shorter text", "chance"], &baselines)?,
            each("margin", self.unit, margin)?,
            each("pairs", Unit::Count, self.by_rule(|pairs| pairs.len() as f64))?,
            each("ties", Unit::Count, ties)?,
        ];
        if self.matches {
            let (fits, not) =
                (self.share(|pair| pair.scores[0] > 0.0), self.share(|pair| pair.scores[1] < 0.0));
            let smaller = fits.iter().zip(&not).map(|(fits, not)| fits.min(*not)).collect(); // no NaN: shares
            tables.push(side(
                "alone",
                &["captions fit", "foils do not", "the smaller"],
                &[fits, not, smaller],
            )?);
        }
        let samples = || Axis::count(Role::Sample, self.pairs.len());
        let columns = ["caption", "foil", "caption, blank", "foil, blank"];
        let axes = vec![samples(), Axis::names(Role::Rank, columns)];
        let scores = self.pairs.iter().flat_map(|pair| pair.scores).collect();
        tables.push(Labelled::numbers("scores", self.unit, axes, scores)?.aside());
        let texts = |name: &str, of: fn(&Scored) -> &String| {
            Labelled::texts(name, vec![samples()], self.pairs.iter().map(|pair| of(pair).clone()).collect())
        };
        tables.push(texts("caption", |pair| &pair.caption)?.aside());
        tables.push(texts("foil", |pair| &pair.foil)?.aside());
        tables.push(texts("rule", |pair| &pair.rule)?.aside());
        Ok(tables)
    }

    fn cautions(&self) -> Vec<Caution> {
        let pairs: Vec<&Scored> = self.pairs.iter().collect();
        let [seen, blank] =
            [preferred, preferred_unseen].map(|fits| count(&pairs, fits) / pairs.len() as f64);
        let mut cautions = Vec::new();
        if seen - blank < UNSEEN {
            let text = format!(
                "{:.1} % of pairs are told apart with the picture and {:.1} % by its mean colour: the picture is not what tells them",
                100.0 * seen,
                100.0 * blank
            );
            cautions.push(Caution::new(CautionKind::NoBetter, (seen - blank) as f32, text));
        }
        let n = self.pairs.len();
        if n < FEW {
            let text = format!("there are {n} pairs: shares of so few say little");
            cautions.push(Caution::new(CautionKind::FewRows, n as f32, text));
        }
        cautions
    }
}
