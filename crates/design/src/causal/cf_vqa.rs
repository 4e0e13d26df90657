//! CF-VQA: what does the model answer by its language prior, and what once that is taken off?
//!
//! # Idea
//! `z_k(a)` is the score of answer `a` with the picture, `z_q(a)` the same without it. A fusion makes one score of both; a branch that is blocked says the constant `c` of every answer.
//!
//! ```text
//! Z_hm(k, q)   = ln(s + 1e-12) - ln(1 + s),  s = sigmoid(k) sigmoid(q)        z(a) = ln p(a) - mean over answers of ln p
//! Z_sum(k, q)  = ln(sigmoid(k + q) + 1e-12)
//! Z_rubi(k, q) = k sigmoid(q)
//! TE = Z(z_k, z_q) - Z(c, c)       NDE = Z(c, z_q) - Z(c, c)       TIE = TE - NDE = Z(z_k, z_q) - Z(c, z_q)
//! ```
//!
//! NDE is what the words do by themselves, the language prior. The answer by TIE is the one of the largest TIE.
//!
//! # In and out
//! In: [`ManyCases`] with classes, which are the answers, and labels, if there are any. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `accuracy` | concept | ratio | of labelled cases: `with the picture` (by `z_k`), `without` (by `z_q`), by the fused score (that is, by TE) and by TIE of every fusion, by TIE with the `z_q` of the next case (`other words`, what taking off any prior would do), `most frequent answer`, `chance` |
//! | `interval` | concept, rank | ratio | of those of the model: 95 % of the shares when cases are drawn again |
//! | `answers` | method, concept | ratio | how often each answer is the label, is said by `z_k`, by `z_q`, by TIE |
//! | `effect of the answer` | method, metric | logit | of each fusion mean TE, NDE and TIE of the label |
//! | `constant` | method | logit | `c`; a caution says over how many logits others fit as well |
//! | `flips` | method | ratio | share of cases in which TIE says another answer than `z_k` |
//! | `with the picture`, `without` | sample, concept | logit | aside: `z_k`, `z_q` |
//! | `tie`, `nde` | sample, method, concept | logit | aside |
//!
//! Without labels `answers` comes first, and what needs them is left out.
//!
//! # Settings
//! - `without`: `mean-colour`, the picture's; or `no-picture`, the words alone, of questions.
//! - `constant`: `c`. `null`: for each fusion the one that brings `softmax Z(c, z_q)` nearest to `softmax Z(z_k, z_q)` in the mean cross-entropy, as the reference trains it; no label is used, between -20 and 20.
//! - `seed`: 0, of intervals.
//!
//! # Cost
//! Two passes for each case; names of classes of several tokens take a pass each, both times. One case is held.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for a constant that is no finite number. Running: [`AnalysisError::Input`] for fewer than two cases or classes, a case without pictures, a label or answer the subject cannot say, words that need the
//! picture's place filled (`no-picture`); [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Nothing is trained here. The paper trains both branches so that their fusion is right; scores of a model as it is were never meant to be fused, and their sigmoids depend on where zero lies: here at the mean of the answers.
//! - Taking off the prior helps where test answers are distributed otherwise than those learned from (VQA-CP, for which it was made). Where they are not, the prior is right more often than not, and accuracy falls
//!   (Teney et al.: On the Value of Out-of-Distribution Testing. NeurIPS 2020. <https://arxiv.org/abs/2005.09241>).
//! - What is gained need not come from the prior: fusions bend the scores by themselves. `other words` takes off the prior of another question, and the finding says where that gains as much.
//! - A mean colour is a picture: `z_q` is what the model says of a grey one.
//! - A constant that is fitted has seen the cases that are scored, though not their labels.
//! - hm with a small `c` is `ln sigmoid(c)` and what does not depend on it, so that constants from some small one on fit alike: TE and NDE then have no size of their own, and differences of TIE between answers do. The finding says so.
//!
//! # Agreement
//! The authors' own module (commit 736795b, `oracles/cfvqa.py`) on scores of `llava-a` and `smolvlm-a` in transformers 5.23: scores, TIE and NDE with a given constant, absolute, within 5e-5 (found: 1.1e-5); constants that are fitted within
//! 1e-3 of what scipy finds of their loss, those of hm apart, of which many fit as well: there differences of TIE between answers agree. Identity tested: a model whose picture is cut off has `z_k = z_q`.
//!
//! # Reference
//! Niu, Tang, Zhang, Lu, Hua, Wen: Counterfactual VQA: A Cause-Effect Look at Language Bias. CVPR 2021. <https://arxiv.org/abs/2006.04315>; code: <https://github.com/yuleiniu/cfvqa>. RUBi: Cadene et al. NeurIPS 2019.
//! <https://arxiv.org/abs/1906.10169>. Departures: nothing is trained; there is no branch of the picture alone (`is_va`); `c` is fitted after the fact.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Annotated, Case, ManyCases, Picture, Sample, from_fn};
//! use mmlens_design::{CfVqa, cf_vqa::Settings};
//! let picture = |i: usize| Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([40 * i as u8; 3])));
//! let asked = from_fn("greys", 4, move |i| Ok(Case::new(Sample::prompt(vec![picture(i)], "#ab"))));
//! let data = Annotated::new(asked, ["a", "b"], vec![0, 1, 1, 0])?;
//! let finding = CfVqa::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(data)?)?;
//! println!("{:?}", finding.table("accuracy")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::check::{input, setting};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cost, Leaf, ManyCases, On, Sample, Seed, kind,
};
use mmlens_engine::{Judged, Pictures, Progress, mean_interval};
use serde::{Deserialize, Serialize};

use super::answers::{checked, chosen};
use super::design::narrow;

mod fusion;

pub use fusion::{Constant, Fusion, Scores};

/// What this method is.
pub const CARD: Card = Card {
    id: "cf-vqa",
    short: "cfvqa",
    name: "CF-VQA",
    question: "What does the model answer by its language prior, and what once that is taken off?",
    citation: "Niu, Tang, Zhang, Lu, Hua, Wen: Counterfactual VQA: A Cause-Effect Look at Language Bias. CVPR 2021. https://arxiv.org/abs/2006.04315",
    leaf: Leaf::Architecture,
    cost: "2 forward for each case, and 2 for each answer of several tokens",
    needs: &[Capability::Generation, Capability::Perception],
    misleads: &[
        "Nothing is trained: the scores of a model as it is were never meant to be fused.",
        "Where test answers are distributed as those learned from, the prior is right, and taking it off harms.",
        "A picture of one colour is a picture too.",
    ],
    first: false,
};

/// Fewer labelled cases than this are cautioned of.
const FEW: usize = 20;
/// Constants that fit as well over more than this are cautioned of.
const WIDE: f64 = 1.0;

/// What a case without its picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Without {
    /// Its words with the mean colour of the picture.
    #[default]
    MeanColour,
    /// Its words alone.
    NoPicture,
}

/// What stands for the absent picture, and what a blocked branch says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What a case without its picture is.
    pub without: Without,
    /// What a blocked branch says of every answer; `None` for what fits best.
    pub constant: Option<f64>,
    /// The seed of intervals.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { without: Without::default(), constant: None, seed: Seed(0) }
    }
}

/// CF-VQA with checked settings.
#[derive(Debug, Clone)]
pub struct CfVqa {
    settings: Settings,
}

impl CfVqa {
    /// A case without its picture.
    fn without(&self, sample: &Sample) -> Result<Sample, AnalysisError> {
        Ok(match self.settings.without {
            Without::MeanColour => sample.emptied()?,
            Without::NoPicture => {
                let (pictures, clips, recordings) = Default::default();
                Sample { pictures, clips, recordings, ..sample.clone() }
            }
        })
    }

    /// What judges the answers of a case, with the picture and without.
    fn judged(&self, on: &On<'_>, sample: &Sample, answers: &[String]) -> Result<[Judged; 2], AnalysisError> {
        if !Pictures::held(sample) {
            return Err(input(&CARD, "cases with pictures or recordings", "one has none"));
        }
        let with = Judged::answers(&CARD, on, sample, answers)?;
        let without = Judged::answers(&CARD, on, &self.without(sample)?, answers)?;
        Ok([with, without])
    }

    fn scores(&self, on: &On<'_>, sample: &Sample, answers: &[String]) -> Result<Scores, AnalysisError> {
        let of = |judged: &Judged| -> Result<Vec<f64>, AnalysisError> {
            let made = judged.passes().iter().map(|pass| pass.made(&CARD, on, false));
            let values = judged.values(&made.collect::<Result<Vec<_>, _>>()?)?;
            Ok(centred(values.into_iter().map(f64::from).collect()))
        };
        let [with, without] = self.judged(on, sample, answers)?;
        Ok(Scores { with: of(&with)?, without: of(&without)? })
    }
}

/// Less their mean.
fn centred(values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.into_iter().map(|value| value - mean).collect()
}

impl Analysis for CfVqa {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        match settings.constant {
            Some(constant) if !constant.is_finite() => {
                Err(setting(&CARD, "constant", constant, "it must be a finite number"))
            }
            _ => Ok(Self { settings }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let data = many.data();
        checked(&CARD, data)?;
        let (mut rows, mut bytes) = (0, 0);
        for index in 0..data.len() {
            for judged in self.judged(on, &data.case(index)?.sample, data.classes())? {
                rows += judged.row_count();
                for pass in judged.passes() {
                    bytes = u64::max(bytes, pass.need(on.subject())?.bytes); // no NaN: whole numbers
                }
            }
        }
        Ok(Cost::rows(rows).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let data = many.data();
        checked(&CARD, data)?;
        let mut progress = Progress::new(on.watch(), CARD.id, data.len());
        let (mut scores, mut labels) = (Vec::new(), Vec::new());
        for index in 0..data.len() {
            scores.push(self.scores(on, &data.case(index)?.sample, data.classes())?);
            labels.push(data.label(index)?);
            progress.advance(1)?;
        }
        let (tables, cautions) = Decomposed::new(&scores, self.settings.constant)?.tables(
            &labels,
            data.classes(),
            self.settings.seed,
        )?;
        let baseline = match self.settings.without {
            Without::MeanColour => Pictures::MeanColour.describe(on.subject()),
            Without::NoPicture => "pictures: none".to_owned(),
        };
        let answer = Answer::new(tables, kind::perceives_at(on.subject())).against(baseline);
        Ok(answer.cautioned(cautions).seeded(self.settings.seed))
    }
}

/// The scores of all cases, and what the fusions make of them.
struct Decomposed<'a> {
    scores: &'a [Scores],
    constants: Vec<Constant>,
    /// By fusion and case.
    tie: Vec<Vec<Vec<f64>>>,
    nde: Vec<Vec<Vec<f64>>>,
    with: Vec<usize>,
    without: Vec<usize>,
    by_tie: Vec<Vec<usize>>,
    fused: Vec<Vec<usize>>,
    /// By TIE with the prior of the next case.
    exchanged: Vec<Vec<usize>>,
}

impl<'a> Decomposed<'a> {
    fn new(scores: &'a [Scores], constant: Option<f64>) -> Result<Self, AnalysisError> {
        let given = |value| Constant { value, inside: true, span: 0.0 };
        let constants: Vec<Constant> =
            Fusion::ALL.iter().map(|own| constant.map_or_else(|| own.constant(scores), given)).collect();
        let pairs = || Fusion::ALL.iter().zip(&constants);
        let tie: Vec<Vec<Vec<f64>>> = pairs()
            .map(|(own, c)| scores.iter().map(|s| own.tie(&s.with, &s.without, c.value)).collect())
            .collect();
        let nde = pairs().map(|(own, c)| scores.iter().map(|s| own.nde(&s.without, c.value)).collect());
        let nde: Vec<Vec<Vec<f64>>> = nde.collect();
        let next = |i: usize| scores.get((i + 1) % scores.len().max(1)).map_or(&[][..], |own| &own.without);
        let all = |of: &dyn Fn(usize, &Scores) -> Vec<f64>| -> Result<Vec<usize>, AnalysisError> {
            scores.iter().enumerate().map(|(i, own)| chosen(&of(i, own))).collect()
        };
        let with = all(&|_, own| own.with.clone())?;
        let without = all(&|_, own| own.without.clone())?;
        let by_tie = tie.iter().map(|own| own.iter().map(|scores| chosen(scores)).collect());
        let by_tie = by_tie.collect::<Result<Vec<Vec<usize>>, _>>()?;
        let fused = Fusion::ALL.iter().map(|own| all(&|_, s| own.fused(&s.with, &s.without)));
        let fused = fused.collect::<Result<Vec<_>, _>>()?;
        let exchanged = pairs().map(|(own, c)| all(&|i, s| own.tie(&s.with, next(i), c.value)));
        let exchanged = exchanged.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { scores, constants, tie, nde, with, without, by_tie, fused, exchanged })
    }

    fn tables(
        &self,
        labels: &[Option<usize>],
        classes: &[String],
        seed: Seed,
    ) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let n = self.scores.len();
        let fusions = || Axis::names(Role::Method, Fusion::ALL.map(Fusion::name));
        let answers = || Axis::names(Role::Concept, classes.iter().cloned());
        let share = |some: &[usize], class: usize| {
            some.iter().filter(|own| **own == class).count() as f64 / some.len().max(1) as f64
        };
        let known: Vec<usize> = labels.iter().flatten().copied().collect();
        let (mut names, mut said): (Vec<String>, Vec<&[usize]>) = (Vec::new(), Vec::new());
        if !known.is_empty() {
            names.push("label".to_owned());
            said.push(&known);
        }
        names.extend(["with the picture", "without"].map(str::to_owned));
        said.extend([self.with.as_slice(), self.without.as_slice()]);
        for (fusion, own) in Fusion::ALL.iter().zip(&self.by_tie) {
            names.push(format!("tie {}", fusion.name()));
            said.push(own);
        }
        let values = said.iter().flat_map(|own| (0..classes.len()).map(|class| share(own, class)));
        let axes = vec![Axis::names(Role::Method, names), answers()];
        let mut tables = vec![Labelled::numbers("answers", Unit::Ratio, axes, narrow(values))?];
        let mut cautions = Vec::new();
        if !known.is_empty() {
            let (accuracy, effects, found) = self.scored(labels, classes.len(), seed)?;
            tables.splice(0..0, accuracy);
            tables.push(effects);
            cautions.extend(found);
            if known.len() < FEW {
                let text = format!("{} labelled cases: shares of so few are coarse", known.len());
                cautions.push(Caution::new(CautionKind::FewRows, known.len() as f32, text));
            }
        }
        let constants = narrow(self.constants.iter().map(|own| own.value));
        tables.push(Labelled::numbers("constant", Unit::Logit, vec![fusions()], constants)?);
        let flips = self
            .by_tie
            .iter()
            .map(|own| own.iter().zip(&self.with).filter(|(a, b)| a != b).count() as f64 / n as f64);
        tables.push(Labelled::numbers("flips", Unit::Ratio, vec![fusions()], narrow(flips))?);
        for (fusion, constant) in Fusion::ALL.iter().zip(&self.constants) {
            let (name, value) = (fusion.name(), constant.value);
            if !constant.inside {
                let text = format!(
                    "the constant of {name} lies at the end of what is searched, {value:.1}: no blocked branch says what the model says"
                );
                cautions.push(Caution::new(CautionKind::NotConverged, value as f32, text));
            } else if constant.span > WIDE {
                let text = format!(
                    "constants of {name} over {:.1} logits fit as well as {value:.1}: TE and NDE say little of their size, and TIE of answers only which is larger",
                    constant.span
                );
                cautions.push(Caution::new(CautionKind::NotConverged, constant.span as f32, text));
            }
        }
        if self.scores.iter().all(|own| own.with == own.without) {
            let text = format!(
                "in all {n} cases answers have the same scores with the picture and without: nothing of the picture arrives"
            );
            cautions.push(Caution::new(CautionKind::NothingMoved, n as f32, text));
        }
        let samples = || Axis::count(Role::Sample, n);
        for (name, with) in [("with the picture", true), ("without", false)] {
            let values = self.scores.iter().flat_map(|own| if with { &own.with } else { &own.without });
            let values = narrow(values.copied());
            tables.push(Labelled::numbers(name, Unit::Logit, vec![samples(), answers()], values)?.aside());
        }
        for (name, all) in [("tie", &self.tie), ("nde", &self.nde)] {
            let of = |case: usize| all.iter().filter_map(move |own| own.get(case)).flatten().copied();
            let axes = vec![samples(), fusions(), answers()];
            let values = narrow((0..n).flat_map(of));
            tables.push(Labelled::numbers(name, Unit::Logit, axes, values)?.aside());
        }
        Ok((tables, cautions))
    }

    /// Accuracies with their intervals, mean effects of the label, and what speaks against them.
    fn scored(
        &self,
        labels: &[Option<usize>],
        classes: usize,
        seed: Seed,
    ) -> Result<(Vec<Labelled>, Labelled, Vec<Caution>), AnalysisError> {
        let right = |said: &[usize]| -> Vec<f64> {
            let pairs = labels.iter().zip(said).filter_map(|(label, own)| Some((*label)?.eq(own)));
            pairs.map(|right| f64::from(u8::from(right))).collect()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut rows: Vec<(String, Vec<f64>)> = vec![
            ("with the picture".to_owned(), right(&self.with)),
            ("without".to_owned(), right(&self.without)),
        ];
        for (what, all) in [("fused", &self.fused), ("tie", &self.by_tie), ("other words", &self.exchanged)] {
            for (fusion, own) in Fusion::ALL.iter().zip(all) {
                rows.push((format!("{what} {}", fusion.name()), right(own)));
            }
        }
        let counts = (0..classes).map(|class| labels.iter().filter(|own| **own == Some(class)).count());
        let labelled = labels.iter().flatten().count();
        let frequent = counts.max().unwrap_or(0) as f64 / labelled.max(1) as f64; // no NaN: whole numbers
        let whole = rows.first().map_or(0.0, |(_, own)| mean(own));
        let of_rows = || Axis::names(Role::Concept, rows.iter().map(|(name, _)| name.clone()));
        let mut names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
        names.extend(["most frequent answer", "chance"].map(str::to_owned));
        let mut values: Vec<f64> = rows.iter().map(|(_, own)| mean(own)).collect();
        values.extend([frequent, 1.0 / classes as f64]);
        let mut tables = vec![Labelled::numbers(
            "accuracy",
            Unit::Ratio,
            vec![Axis::names(Role::Concept, names)],
            narrow(values),
        )?];
        let ends: Option<Vec<[f64; 2]>> = rows.iter().map(|(_, own)| mean_interval(own, seed)).collect();
        if let Some(ends) = ends {
            let axes = vec![of_rows(), Axis::names(Role::Rank, ["2.5 %", "97.5 %"])];
            tables.push(Labelled::numbers(
                "interval",
                Unit::Ratio,
                axes,
                narrow(ends.into_iter().flatten()),
            )?);
        }
        let mut effects = Vec::new();
        for (tie, nde) in self.tie.iter().zip(&self.nde) {
            let of = |all: &[Vec<f64>]| -> f64 {
                let own = all.iter().zip(labels).filter_map(|(own, label)| own.get((*label)?).copied());
                mean(&own.collect::<Vec<f64>>())
            };
            let (tie, nde) = (of(tie), of(nde));
            effects.extend([tie + nde, nde, tie]);
        }
        let axes = vec![
            Axis::names(Role::Method, Fusion::ALL.map(Fusion::name)),
            Axis::names(Role::Metric, ["TE", "NDE", "TIE"]),
        ];
        let effects = Labelled::numbers("effect of the answer", Unit::Logit, axes, narrow(effects))?;
        let mut cautions = Vec::new();
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        if whole <= frequent {
            let text = format!(
                "the model chooses {} rightly, and who always said the most frequent answer would {}: there is next to nothing to take a prior off",
                percent(whole),
                percent(frequent)
            );
            cautions.push(Caution::new(CautionKind::NoBetter, (whole - frequent) as f32, text));
        }
        let best_of = |start: &str| {
            let own = rows.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, own)| mean(own));
            own.max_by(f64::total_cmp).unwrap_or(0.0) // no NaN: shares of cases
        };
        let (best, others) = (best_of("tie "), best_of("other words "));
        if best <= whole {
            let text = format!(
                "by TIE {} are right at best, and by the model as it is {}: without its prior the model answers no better",
                percent(best),
                percent(whole)
            );
            cautions.push(Caution::new(CautionKind::NoBetter, (best - whole) as f32, text));
        } else if others >= best {
            let text = format!(
                "by TIE {} are right at best, and {} with the prior of another question: what is gained is not that of taking off its own",
                percent(best),
                percent(others)
            );
            cautions.push(Caution::new(CautionKind::NoBetter, (best - others) as f32, text));
        }
        Ok((tables, effects, cautions))
    }
}
