//! Modality ablation and perceptual score: how much of what a model says hangs on the picture, and how much on the words?
//!
//! # Idea
//! `o(i)` is the objective of case `i` of `n`, `o(i, m, r)` the same objective where modality `m` of the case is replaced, for the `r`-th of `R` times.
//!
//! ```text
//! change(m) = 1/n sum_i [o(i) - 1/R sum_r o(i, m, r)]
//! score(m)  = Acc - 1/R sum_r Acc(m, r)             Acc: share of labelled cases whose label the model chooses
//! ```
//!
//! A modality is replaced by that of another case, `p_r(i)`, where `p_r` is a permutation of the cases drawn anew for each `r` (a case may keep its own:
//! 1 in `n` does); or once (`R = 1`) by what holds nothing: the mean colour of the picture (a recording without a sound: zeros, listened to as a recording is, padding and all), words that nobody attends to.
//!
//! What the model chooses among the classes `c` of the data set is `argmax_c s(c)`, the first of equals:
//!
//! | subject | `s(c)` |
//! |---|---|
//! | writes tokens | log-probability of all tokens of the class's name, one behind the other, as an answer behind the words (no division by their number) |
//! | says classes (ViT, BLIP's matching), or writes answers in a decoder that does not read the words (BLIP) | log-probability of the class of that name; of the name as the next token |
//! | dual encoder | similarity of caption `c` of the case: captions stand in the order of the classes, and are as many |
//!
//! # In and out
//! In: [`ManyCases`], each with what is explained of it; labels, if there are any. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `change` | concept | the objective's | `change(m)`: by how much the mean objective is lower without what the modality said |
//! | `objective` | | the objective's | its mean over the cases as they are |
//! | `standard error` | concept | the objective's | of `change`, over permutations: the deviation of its `R` values (`R - 1` in the denominator) by the root of `R`; of permuted modalities |
//! | `accuracy` | concept | ratio | as the cases are, with each modality replaced, and beside them what is reached without seeing anything: `shuffled answers`, what the model chooses of case `p_r(i)` held against the label of `i`, over all `r`; `most frequent answer`, the share of the class that most cases have; `chance`, one by the classes |
//! | `perceptual score` | concept, rank | ratio | `score(m)`; `by accuracy`, over `Acc`; `by headroom`, over 1 less `most frequent answer`. A column whose denominator is zero is left out |
//! | `score error` | concept | ratio | the standard error of `score`, as above |
//! | `flips` | concept | ratio | share of cases, mean over `r`, of which the model chooses another class when the modality is replaced |
//! | `change by case` | sample, concept | the objective's | aside: what `change` is the mean of |
//! | `stood in` | step, sample | count | aside: `p_r(i)`, the number of the case that stood in |
//!
//! The last five and `accuracy` are there where cases have labels (all but `change by case`). The objective is settled on the case as it is and stays: the likeliest token is that of the whole
//! case. Of a case with several rows (captions) it is that of the first. Cases without a label count in `flips` and `change`, not in accuracies.
//!
//! # Settings
//! - `pictures`: `another`, those of another case, as in the paper; `mean-colour`; `null`: left as they are. Clips go with pictures.
//! - `words`: `another`; `unattended`, the words of the question stay but nobody attends to them; `null`. An answer that a case holds stays. Modalities that no
//!   case holds are left out.
//! - `repeats`: 5 permutations, at least 2. The paper asks for an expectation and names no number; the standard error says whether they suffice.
//! - `labels`: `true`; `false` asks no accuracy of labelled cases.
//! - `seed`: 0. `p_r(i)` is the case whose draw, `Seed::at(r).at(case)`, is the `i`-th smallest of all, counted from 0.
//!
//! # Cost
//! One pass for each case and one more for each of its replacements, `n (1 + K)` with `K = R` for a permuted modality and 1 for another. Names of classes of
//! several tokens take a pass each, everywhere. One case and one that stands in are held. Telling the cost encodes every case.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no modality, or fewer than two repeats. Running: [`AnalysisError::Input`] without a data set, for fewer than two cases, a modality that some
//! cases hold and others do not, none at all, objectives of different units, an objective at a position of its own where words are exchanged, classes the
//! subject cannot say; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Pictures and words of different cases make inputs nobody would give: the question is about a triangle that is not there. A model may answer them in ways that
//!   say little of the whole (Hooker, Mentch, Zhou: Unrestricted Permutation Forces Extrapolation. Statistics and Computing 2021. <https://arxiv.org/abs/1905.03151>). Compare with `mean-colour`.
//! - Cases that share a picture or a question lose nothing when these are exchanged: of captions that are the same for all cases `change` is zero, whatever they do.
//! - Where all cases ask the same of the same token, an exchange of pictures only puts the same values in another order, and `change` is zero whatever the model sees: see
//!   `change by case`, or the accuracy.
//! - What either modality says alone counts for none: if words and pictures both tell the answer, both scores are near zero.
//! - Scores by accuracy make a bad model that guesses from one modality look as if it saw well; they are of the accuracy, so read that first.
//!
//! # Agreement
//! transformers 5.23 on `llava-a` and `clip-a`: the objective of every case with the pictures and the words of every other, of which the permutations pick:
//! 6.3e-7 apart at most, shares equal. Identities tested: what no case exchanges moves nothing; accuracies are those of the cases one by one; a model whose picture is cut off has a score of exactly zero; the
//! order of cases changes `change` by no more than its permutations.
//!
//! # Reference
//! Gat, Schwartz, Schwing: Perceptual Score: What Data Modalities Does Your Model Perceive? NeurIPS 2021. <https://arxiv.org/abs/2110.14375>; code:
//! <https://github.com/itaigat/perceptual-score>, which has the difference alone. The two denominators are as defined above. There accuracy is of a classifier's output or of
//! generated answers; here the model chooses among the classes, so that an answer in other words cannot be wrong by its words.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Picture, Sample, from_fn};
//! use mmlens_data::{ModalityAblation, modality_ablation::Settings};
//! let picture = |i: usize| Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([40 * i as u8; 3])));
//! let asked = from_fn("greys", 4, move |i| Ok(Case::new(Sample::prompt(vec![picture(i)], format!("#ab{}", ["", "c", "d", "cd"][i])))));
//! let finding = ModalityAblation::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(asked)?)?;
//! println!("{:?}", finding.table("change")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::check::{at_most, input, setting};
use mmlens_core::finding::{Caution, CautionKind, Unit, top};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cases, Cost, HookError, Leaf, ManyCases, On,
    Position, Sample, Seed, Subject, Target, kind,
};
use mmlens_engine::{Judged, Progress, drawn_order};
pub use mmlens_engine::{Pictures, Wording};
use serde::{Deserialize, Serialize};

mod found;

use found::Found;

/// What this method is.
pub const CARD: Card = Card {
    id: "modality-ablation",
    short: "modality",
    name: "Modality ablation and perceptual score",
    question: "How much of what a model says hangs on the picture, and how much on the words?",
    citation: "Gat, Schwartz, Schwing: Perceptual Score: What Data Modalities Does Your Model Perceive? NeurIPS 2021. https://arxiv.org/abs/2110.14375",
    leaf: Leaf::Input,
    cost: "1 forward for each case, and 1 for each of its replacements",
    needs: &[Capability::Answer],
    misleads: &[
        "Pictures and words of different cases make inputs that nobody would give.",
        "What both modalities say counts for neither.",
        "Cases that share a picture or a question lose nothing when it is exchanged.",
    ],
    first: false,
};

/// What is replaced, and how often.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What stands in the place of pictures; `None` leaves them.
    pub pictures: Option<Pictures>,
    /// What stands in the place of words; `None` leaves them.
    pub words: Option<Wording>,
    /// How many permutations.
    pub repeats: usize,
    /// Whether accuracy is asked of labelled cases.
    pub labels: bool,
    /// The seed of the permutations.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        let (pictures, words) = (Some(Pictures::Another), Some(Wording::Another));
        Self { pictures, words, repeats: 5, labels: true, seed: Seed(0) }
    }
}

/// Fewer cases than this are cautioned of.
const FEW: usize = 20;

/// Modality ablation with checked settings.
#[derive(Debug, Clone)]
pub struct ModalityAblation {
    settings: Settings,
}

/// A modality that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaced {
    Pictures(Pictures),
    Words(Wording),
}

impl Replaced {
    const fn name(self) -> &'static str {
        match self {
            Self::Pictures(_) => "pictures",
            Self::Words(_) => "words",
        }
    }

    const fn permuted(self) -> bool {
        matches!(self, Self::Pictures(Pictures::Another) | Self::Words(Wording::Another))
    }

    fn instead(self, subject: &dyn Subject) -> String {
        match self {
            Self::Pictures(own) => own.describe(subject),
            Self::Words(own) => own.describe().to_owned(),
        }
    }

    /// How often.
    const fn times(self, repeats: usize) -> usize {
        if self.permuted() { repeats } else { 1 }
    }

    /// A sample with it replaced, by what another one has.
    fn of(self, own: &Sample, other: &Sample) -> Result<Sample, AnalysisError> {
        match self {
            Self::Pictures(pictures) => Ok(pictures.of(own, other)?),
            Self::Words(words) => Ok(words.of(own, other)),
        }
    }
}

/// What a case said: its objective, and what was chosen of the classes.
#[derive(Debug, Clone, Copy)]
struct Said {
    objective: f64,
    chosen: Option<usize>,
}

/// What all cases said, with one modality replaced: by repeat, then by case.
struct Without {
    replaced: Replaced,
    said: Vec<Vec<Said>>,
}

/// A case with all that is looked at in it.
struct Looked {
    judged: Judged,
    /// Which look of which pass is the objective.
    objective: [usize; 2],
    unit: Unit,
    target: Target,
}

impl Looked {
    fn new(on: &On<'_>, case: &Case, classes: Option<&[String]>) -> Result<Self, AnalysisError> {
        let (inputs, objective) = on.open(case)?;
        let unit = objective.unit();
        let target = match &case.target {
            Target::Answer { .. } => case.target.clone(),
            _ => Target::Objective(objective.clone()),
        };
        let mut judged = match classes {
            Some(classes) => Judged::answers(&CARD, on, &case.sample, classes)?,
            None => Judged::none(),
        };
        let objective = judged.join(&case.sample, inputs, objective);
        Ok(Self { judged, objective, unit, target })
    }

    fn rows(&self) -> usize {
        self.judged.row_count()
    }

    fn said(&self, on: &On<'_>, hidden: bool) -> Result<Said, AnalysisError> {
        let made = self.judged.passes().iter().map(|pass| pass.made(&CARD, on, hidden));
        let found: Vec<Vec<Vec<f32>>> = made.collect::<Result<_, _>>()?;
        let [pass, look] = self.objective;
        let value = found.get(pass).and_then(|found| found.get(look)?.first());
        let objective = f64::from(*value.ok_or(HookError::NoObjective)?);
        let values = self.judged.values(&found)?;
        let chosen =
            top(&values).map_err(|error| HookError::not_finite("classes", &[values.len()], 0, error))?;
        Ok(Said { objective, chosen })
    }
}

impl ModalityAblation {
    /// Which case stands in for each, in the `repeat`-th of some permutations of so many cases.
    #[must_use]
    pub fn stands_in(seed: Seed, repeat: usize, cases: usize) -> Vec<usize> {
        drawn_order(cases, seed.at(repeat as u64))
    }

    /// The modalities that are replaced: those that are asked for and that cases hold.
    fn replaced(&self, data: &dyn Cases) -> Result<Vec<Replaced>, AnalysisError> {
        let asked = [
            (self.settings.pictures.map(Replaced::Pictures), Pictures::held as fn(&Sample) -> bool),
            (self.settings.words.map(Replaced::Words), Wording::held),
        ];
        let mut counts = [0; 2];
        for index in 0..data.len() {
            let sample = data.case(index)?.sample;
            counts
                .iter_mut()
                .zip(&asked)
                .for_each(|(count, (_, holds))| *count += usize::from(holds(&sample)));
        }
        let mut all = Vec::new();
        for (with, (replaced, _)) in counts.into_iter().zip(asked) {
            match replaced {
                Some(replaced) if with == data.len() => all.push(replaced),
                Some(replaced) if with > 0 => {
                    let found = format!("{with} of {} have {}", data.len(), replaced.name());
                    return Err(input(&CARD, "cases that all hold a modality, or none of them", found));
                }
                _ => {}
            }
        }
        match all.is_empty() {
            true => Err(input(&CARD, "cases with the modalities that are to be replaced", "none has them")),
            false => Ok(all),
        }
    }

    /// The classes that accuracy is asked of, and the label of each case.
    fn labels<'d>(
        &self,
        data: &'d dyn Cases,
    ) -> Result<(Option<&'d [String]>, Vec<Option<usize>>), AnalysisError> {
        let labels = (0..data.len()).map(|index| data.label(index)).collect::<Result<Vec<_>, _>>()?;
        let asked = self.settings.labels && labels.iter().any(Option::is_some);
        Ok((asked.then(|| data.classes()), labels))
    }

    /// That an objective means the same where words are others.
    fn movable(&self, replaced: &[Replaced], looked: &Looked) -> Result<(), AnalysisError> {
        let Target::Objective(objective) = &looked.target else { return Ok(()) };
        let own = objective.read_at().iter().any(|at| matches!(at, Position::At(_)));
        match own && replaced.contains(&Replaced::Words(Wording::Another)) {
            true => {
                let found = format!("this one is the {objective}, and other words have other positions");
                Err(input(&CARD, "an objective at the last position, or an answer", found))
            }
            false => Ok(()),
        }
    }
}

impl Analysis for ModalityAblation {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        if settings.pictures.is_none() && settings.words.is_none() {
            return Err(setting(&CARD, "pictures", "null, as words", "one of the two must be replaced"));
        }
        at_most(&CARD, "repeats", settings.repeats)?;
        match settings.repeats {
            0 | 1 => Err(setting(&CARD, "repeats", settings.repeats, "a standard error takes at least 2")),
            _ => Ok(Self { settings }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let data = many.data();
        let (replaced, (classes, _)) = (self.replaced(data)?, self.labels(data)?);
        let times: usize = replaced.iter().map(|own| own.times(self.settings.repeats)).sum();
        let (mut forward, mut bytes) = (0, 0);
        for index in 0..data.len() {
            let case = data.case(index)?;
            let settling = case.settling();
            // Which token is the likeliest takes a pass to say, and none to count.
            let target = if settling > 0 { Target::Token(0) } else { case.target.clone() };
            let looked = Looked::new(on, &Case { target, ..case }, classes)?;
            forward += settling + (1 + times) * looked.rows();
            for pass in looked.judged.passes() {
                bytes = u64::max(bytes, pass.need(on.subject())?.bytes); // no NaN: whole numbers
            }
        }
        Ok(Cost::rows(forward).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let (data, n, repeats) = (many.data(), many.len(), self.settings.repeats);
        if n < 2 {
            return Err(input(&CARD, "at least two cases", format!("`{}` has {n}", data.name())));
        }
        let (replaced, (classes, labels)) = (self.replaced(data)?, self.labels(data)?);
        let permuted = replaced.iter().any(|own| own.permuted());
        let orders: Vec<Vec<usize>> =
            (0..repeats).map(|repeat| Self::stands_in(self.settings.seed, repeat, n)).collect();
        let mut without: Vec<Without> = Vec::new();
        for own in &replaced {
            without.push(Without { replaced: *own, said: vec![Vec::with_capacity(n); own.times(repeats)] });
        }
        let times: usize = without.iter().map(|own| own.said.len()).sum();
        let mut progress = Progress::new(on.watch(), CARD.id, n * (1 + times));
        let (mut whole, mut unit): (Vec<Said>, Option<Unit>) = (Vec::with_capacity(n), None);
        for index in 0..n {
            let case = data.case(index)?;
            let looked = Looked::new(on, &case, classes)?;
            self.movable(&replaced, &looked)?;
            match unit.replace(looked.unit) {
                Some(before) if before != looked.unit => {
                    let found = format!("one is a {before}, that of case {index} a {}", looked.unit);
                    return Err(input(&CARD, "objectives of one unit", found));
                }
                _ => {}
            }
            whole.push(looked.said(on, false)?);
            progress.advance(1)?;
            for repeat in 0..repeats {
                let other = match orders.get(repeat).and_then(|order| order.get(index)) {
                    Some(other) if permuted => data.case(*other)?.sample,
                    _ => case.sample.clone(),
                };
                for own in &mut without {
                    let Some(said) = own.said.get_mut(repeat) else { continue };
                    let sample = own.replaced.of(&case.sample, &other)?;
                    let looked = Looked::new(on, &Case { sample, target: looked.target.clone() }, classes)?;
                    said.push(looked.said(on, own.replaced == Replaced::Words(Wording::Unattended))?);
                    progress.advance(1)?;
                }
            }
        }
        let unit = unit.ok_or(HookError::NoObjective)?;
        let found = Found { whole, without, unit, orders };
        let (mut tables, mut cautions) = found.changes()?;
        if let Some(classes) = classes {
            let (scored, caution) = found.scores(&labels, classes.len())?;
            tables.extend(scored);
            cautions.extend(caution);
        }
        tables.extend(found.asides()?);
        if n < FEW && permuted {
            let text = format!(
                "of {n} cases each keeps its own in one of {n} permutations: changes are of so much too small"
            );
            cautions.push(Caution::new(CautionKind::FewRows, n as f32, text));
        }
        let instead: Vec<String> = replaced.iter().map(|own| own.instead(on.subject())).collect();
        let sites = replaced.iter().flat_map(|own| match own {
            Replaced::Pictures(_) => kind::perceives_at(on.subject()),
            Replaced::Words(_) => vec![kind::words_enter(on.subject())],
        });
        let answer = Answer::new(tables, sites).against(instead.join("; ")).cautioned(cautions);
        Ok(if permuted { answer.seeded(self.settings.seed) } else { answer })
    }
}
