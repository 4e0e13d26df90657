//! EMAP: would a model that adds up what it makes of pictures and of words answer as well?
//!
//! # Idea
//! `F(i, j)` are the scores of all answers for the picture of case `i` with the words of case `j`, less their mean over answers. The additive function nearest to it, over all pictures with all words:
//!
//! ```text
//! pictures(i) = mean_j F(i, j)        words(j) = mean_i F(i, j)        m = mean_ij F(i, j)
//! additive(i, j)    = pictures(i) + words(j) - m
//! interaction(i, j) = F(i, j) - additive(i, j)
//! sum F^2 - n^2 m^2 = n sum_i (pictures(i) - m)^2 + n sum_j (words(j) - m)^2 + sum_ij interaction(i, j)^2
//! ```
//!
//! Means over few cases hold much of the case itself. `left out` is the additive function nearest to all `F(j, k)` but those of cases as they are, so that it has not seen them:
//!
//! ```text
//! left out(i) = m' + (r_i + c_i) / (n - 2)       m' = mean_{j != k} F(j, k),  r_i = sum_{j != i} (F(i, j) - m'),  c_i = sum_{j != i} (F(j, i) - m')
//! ```
//!
//! Where the answers of `additive(i, i)` are right as often as those of `F(i, i)`, the data set does not show that the model brings both together.
//!
//! # In and out
//! In: [`ManyCases`] with classes, which are the answers, and labels, if there are any. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `accuracy` | concept | ratio | of labelled cases: `model`, `additive`, by `pictures` alone and by `words` alone, `left out` (of three or more cases), `most frequent answer`, `chance` |
//! | `interval` | concept, rank | ratio | of all but the last two: 95 % of the shares when cases are drawn again |
//! | `gain` | concept | ratio | how much more often the model is right than the additive function, its 95 % interval, and, beside it, what 95 % of such gains do not exceed in size with signs drawn by chance |
//! | `variance` | concept | ratio | of the scores over all pictures with all words the share that `pictures`, `words` and the `interaction` have, over all answers |
//! | `agreement` | | ratio | cases in which both say the same answer |
//! | `score`, `additive`, `interaction`, `left out` | sample, concept | logit | aside: `F(i, i)`, and what it consists of; what is said of a case by others alone |
//! | `cases` | sample | count | aside: which cases were taken |
//!
//! Without labels `variance` comes first, and what needs them is left out.
//!
//! # Settings
//! - `cases`: 40 of the data set, drawn, or all where there are no more: passes grow with their square.
//! - `seed`: 0, of which are taken, and of intervals.
//!
//! # Cost
//! `n^2` passes for `n` cases; names of classes of several tokens take a pass each. The picture of one case is held, and the words of all.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for fewer than two cases, or more than 1000. Running: [`AnalysisError::Input`] for fewer than two cases or classes, a case without pictures or words, a class the subject cannot say; [`AnalysisError::Memory`];
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The projection is of the function over these cases: pictures that do not go with words ask what nobody asked, and a model may do anything there (Hessel, Lee 2020, sec. 6).
//! - An additive function that answers as well shows that the data set needs no more, not that the model does no more: read `variance` beside it.
//! - Interaction is what is not additive on this scale. Of probabilities other shares would be found.
//! - Of the interaction of a case the additive function holds nearly `2/n`, and may answer by it. `left out` holds none: where the two are far apart, take more cases.
//!
//! # Agreement
//! Both additive functions by ordinary least squares on indicators of pictures and of words, in NumPy (`oracles/emap.py`), of scores that transformers 5.23 gives `llava-a` and `smolvlm-a`, of answers of one token and of several: absolute, within 5e-5. Identities tested: the shares of `variance` add up; of a model that is
//! affine in pictures and words the interaction is 0; to a model whose picture is cut off the picture and the interaction have no share, to the bit. Tested on colour questions of the shapes world, which need both.
//!
//! # Reference
//! Hessel, Lee: Does my multimodal model learn cross-modal interactions? It's harder to tell than you might think! EMNLP 2020. <https://aclanthology.org/2020.emnlp-main.62>; code: <https://github.com/jmhessel/EMAP>.
//! Departures: scores are less their mean over answers, which changes no answer and makes log-probabilities and logits give the same; cases are drawn where there are many, as the authors do for large sets.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Annotated, Case, ManyCases, Picture, Sample, from_fn};
//! use mmlens_design::{Emap, emap::Settings};
//! let picture = |i: usize| Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([40 * i as u8; 3])));
//! let asked = from_fn("greys", 4, move |i| Ok(Case::new(Sample::prompt(vec![picture(i)], ["#ab", "#ba", "#bb", "#aa"][i]))));
//! let data = Annotated::new(asked, ["a", "b"], vec![0, 1, 1, 0])?;
//! let finding = Emap::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(data)?)?;
//! println!("{:?}", finding.table("variance")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::check::{input, setting};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit, largest};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cases, Cost, HookError, Leaf, ManyCases, On, Sample,
    Seed, Words, caution, kind,
};
use mmlens_engine::{Judged, Pictures, Progress, Wording, drawn_order, mean_interval, sign_flips};
use serde::{Deserialize, Serialize};

use super::answers::{checked, chosen};
use super::design::narrow;

/// What this method is.
pub const CARD: Card = Card {
    id: "emap",
    short: "emap",
    name: "EMAP",
    question: "Would a model that adds up what it makes of pictures and of words answer as well?",
    citation: "Hessel, Lee: Does my multimodal model learn cross-modal interactions? It's harder to tell than you might think! EMNLP 2020. https://aclanthology.org/2020.emnlp-main.62",
    leaf: Leaf::Architecture,
    cost: "a forward for every picture with every words, and more for answers of several tokens",
    needs: &[Capability::Generation, Capability::Perception],
    misleads: &[
        "Pictures with words of other cases ask what nobody asked.",
        "That a data set needs no interaction does not say that the model has none.",
        "The additive function of few cases knows some of their interaction.",
    ],
    first: false,
};

/// Fewer cases than this are cautioned of.
const FEW: usize = 20;
/// More are not crossed: their square is held, and passed.
const MOST: usize = 1000;

/// An additive function that is right by more than this less often of cases left out is told.
const LEAK: f64 = 0.1;

/// How many cases are crossed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// At most so many of the data set.
    pub cases: usize,
    /// The seed of which, and of intervals.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cases: 40, seed: Seed(0) }
    }
}

/// EMAP with checked settings.
#[derive(Debug, Clone)]
pub struct Emap {
    settings: Settings,
}

/// Scores of answers for every picture with every words.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    cases: usize,
    answers: usize,
    values: Vec<f64>,
}

impl Grid {
    /// Of `values[picture, words, answer]`, row-major, less their mean over answers. `None` for other lengths, or no cases or answers.
    #[must_use]
    pub fn new(cases: usize, answers: usize, values: &[f64]) -> Option<Self> {
        let fits = values.len() == cases * cases * answers && cases > 0 && answers > 0;
        let values = values.chunks(answers.max(1)).flat_map(|own| {
            let mean = own.iter().sum::<f64>() / own.len() as f64;
            own.iter().map(move |value| value - mean)
        });
        fits.then(|| Self { cases, answers, values: values.collect() })
    }

    fn at(&self, picture: usize, words: usize) -> &[f64] {
        let start = (picture * self.cases + words) * self.answers;
        self.values.get(start..start + self.answers).unwrap_or_default()
    }

    /// What the additive function says of a case that is nearest to all pictures with words of other cases. `None` of fewer than three cases.
    #[must_use]
    pub fn left_out(&self, case: usize) -> Option<Vec<f64>> {
        let n = self.cases;
        let others = move |of: usize| (0..n).filter(move |other| *other != of);
        let apart = (0..n).flat_map(|i| others(i).map(move |j| self.at(i, j)));
        let mean = self.mean(apart);
        let rows = others(case).flat_map(|other| [self.at(case, other), self.at(other, case)]);
        let sums = rows.fold(vec![0.0; self.answers], |mut sums, row| {
            sums.iter_mut().zip(row).zip(&mean).for_each(|((sum, own), mean)| *sum += own - mean);
            sums
        });
        (n > 2).then(|| sums.iter().zip(&mean).map(|(sum, mean)| mean + sum / (n - 2) as f64).collect())
    }

    fn mean<'a>(&'a self, some: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
        let (mut sums, mut count) = (vec![0.0; self.answers], 0);
        for own in some {
            sums.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
            count += 1;
        }
        sums.into_iter().map(|sum| sum / f64::from(count.max(1))).collect()
    }

    /// The nearest additive function.
    #[must_use]
    pub fn projected(&self) -> Projected {
        let n = self.cases;
        let pictures = (0..n).map(|i| self.mean((0..n).map(|j| self.at(i, j)))).collect();
        let words = (0..n).map(|j| self.mean((0..n).map(|i| self.at(i, j)))).collect();
        Projected { pictures, words, mean: self.mean(self.values.chunks(self.answers)) }
    }

    /// Sums of squares, over all answers: of pictures, of words, of the interaction.
    #[must_use]
    pub fn squares(&self) -> [f64; 3] {
        let (n, found) = (self.cases, self.projected());
        let apart = |rows: &[Vec<f64>]| -> f64 {
            let row = |own: &Vec<f64>| own.iter().zip(&found.mean).map(|(a, m)| (a - m).powi(2)).sum::<f64>();
            n as f64 * rows.iter().map(row).sum::<f64>()
        };
        let both = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
        let interaction = both.map(|(i, j)| {
            self.at(i, j).iter().zip(found.additive(i, j)).map(|(own, sum)| (own - sum).powi(2)).sum::<f64>()
        });
        [apart(&found.pictures), apart(&found.words), interaction.sum()]
    }
}

/// An additive function of pictures and words.
#[derive(Debug, Clone, PartialEq)]
pub struct Projected {
    /// What a picture says with any words, in the mean: of each answer.
    pub pictures: Vec<Vec<f64>>,
    /// What words say with any picture.
    pub words: Vec<Vec<f64>>,
    /// What is said in the mean of all.
    pub mean: Vec<f64>,
}

impl Projected {
    /// What it says of a picture with some words.
    #[must_use]
    pub fn additive(&self, picture: usize, words: usize) -> Vec<f64> {
        let (seen, said) = (self.pictures.get(picture), self.words.get(words));
        let pairs = seen.into_iter().flatten().zip(said.into_iter().flatten()).zip(&self.mean);
        pairs.map(|((a, b), m)| a + b - m).collect()
    }
}

impl Emap {
    /// The cases that are taken, in the order of the data set.
    #[must_use]
    pub fn taken(&self, len: usize) -> Vec<usize> {
        let mut taken = drawn_order(len, self.settings.seed);
        taken.truncate(self.settings.cases);
        taken.sort_unstable();
        taken
    }

    /// The cases, and the words of each.
    fn opened(&self, data: &dyn Cases) -> Result<(Vec<usize>, Vec<Words>), AnalysisError> {
        checked(&CARD, data)?;
        let taken = self.taken(data.len());
        let words = taken.iter().map(|index| {
            let sample = data.case(*index)?.sample;
            match Pictures::held(&sample) && Wording::held(&sample) {
                true => Ok(sample.words),
                false => {
                    Err(input(&CARD, "cases with pictures and words", format!("case {index} lacks one")))
                }
            }
        });
        let words = words.collect::<Result<Vec<_>, AnalysisError>>()?;
        Ok((taken, words))
    }

    /// Every picture with every words.
    fn each(
        data: &dyn Cases,
        (taken, words): (&[usize], &[Words]),
        see: &mut dyn FnMut(&Sample) -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        for index in taken {
            let own = Sample { reply: None, ..data.case(*index)?.sample };
            for words in words {
                see(&Sample { words: words.clone(), ..own.clone() })?;
            }
        }
        Ok(())
    }
}

impl Analysis for Emap {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        match settings.cases {
            2..=MOST => Ok(Self { settings }),
            _ => Err(setting(&CARD, "cases", settings.cases, "there must be at least two, and at most 1000")),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let data = many.data();
        let (taken, words) = self.opened(data)?;
        let (mut rows, mut bytes) = (0, 0);
        Self::each(data, (&taken, &words), &mut |sample| {
            let judged = Judged::answers(&CARD, on, sample, data.classes())?;
            rows += judged.row_count();
            for pass in judged.passes() {
                bytes = u64::max(bytes, pass.need(on.subject())?.bytes); // no NaN: whole numbers
            }
            Ok(())
        })?;
        Ok(Cost::rows(rows).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let data = many.data();
        let (taken, words) = self.opened(data)?;
        let (n, classes) = (taken.len(), data.classes());
        let mut progress = Progress::new(on.watch(), CARD.id, n * n);
        let mut values = Vec::new();
        Self::each(data, (&taken, &words), &mut |sample| {
            let judged = Judged::answers(&CARD, on, sample, classes)?;
            let made = judged.passes().iter().map(|pass| pass.made(&CARD, on, false));
            let own = judged.values(&made.collect::<Result<Vec<_>, _>>()?)?;
            values.extend(own.into_iter().map(f64::from));
            progress.advance(1)
        })?;
        let labels = taken.iter().map(|index| data.label(*index)).collect::<Result<Vec<_>, _>>()?;
        let grid = Grid::new(n, classes.len(), &values).ok_or(HookError::NoObjective)?;
        let (mut tables, cautions) =
            Found::new(&grid)?.tables(&grid, &labels, (classes, self.settings.seed))?;
        let cases = taken.iter().map(|index| *index as f32).collect();
        tables.push(
            Labelled::numbers("cases", Unit::Count, vec![Axis::count(Role::Sample, n)], cases)?.aside(),
        );
        let sites = kind::perceives_at(on.subject()).into_iter().chain([kind::words_enter(on.subject())]);
        let answer = Answer::new(tables, sites).against("every picture with the words of every case");
        Ok(answer.cautioned(cautions).seeded(self.settings.seed))
    }
}

/// What is said of each case.
struct Found {
    projected: Projected,
    /// The answers: by the model, by the additive function, by pictures alone, by words alone.
    said: [Vec<usize>; 4],
    /// By the additive function that has not seen the case.
    left_out: Option<Vec<usize>>,
}

impl Found {
    fn new(grid: &Grid) -> Result<Self, AnalysisError> {
        let projected = grid.projected();
        let all = |of: &dyn Fn(usize) -> Vec<f64>| -> Result<Vec<usize>, AnalysisError> {
            (0..grid.cases).map(|case| chosen(&of(case))).collect()
        };
        let alone = |rows: &[Vec<f64>], case: usize| rows.get(case).cloned().unwrap_or_default();
        let said = [
            all(&|case| grid.at(case, case).to_vec())?,
            all(&|case| projected.additive(case, case))?,
            all(&|case| alone(&projected.pictures, case))?,
            all(&|case| alone(&projected.words, case))?,
        ];
        let left_out: Option<Vec<Vec<f64>>> = (0..grid.cases).map(|case| grid.left_out(case)).collect();
        let left_out = left_out.map(|all| all.iter().map(|own| chosen(own)).collect::<Result<_, _>>());
        Ok(Self { projected, said, left_out: left_out.transpose()? })
    }

    fn tables(
        &self,
        grid: &Grid,
        labels: &[Option<usize>],
        (classes, seed): (&[String], Seed),
    ) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let n = grid.cases;
        let (mut tables, mut cautions) = (Vec::new(), Vec::new());
        if labels.iter().any(Option::is_some) {
            let (found, told) = self.scored(labels, classes.len(), seed)?;
            tables.extend(found);
            cautions.extend(told);
        }
        let squares = grid.squares();
        let total: f64 = squares.iter().sum();
        let spread = (total / grid.values.len() as f64).sqrt();
        let whole =
            largest(&grid.values).map_err(|error| HookError::not_finite("scores", &[n, n], 0, error))?;
        let nothing = caution::rounding(
            &[spread as f32],
            (Unit::Logit, whole as f32),
            "differences between all pictures with all words",
        );
        if nothing.is_none() {
            let axis = Axis::names(Role::Concept, ["pictures", "words", "interaction"]);
            let shares = narrow(squares.map(|own| own / total));
            tables.push(Labelled::numbers("variance", Unit::Ratio, vec![axis], shares)?);
        }
        cautions.extend(nothing);
        let [model, additive, ..] = &self.said;
        let same = model.iter().zip(additive).filter(|(a, b)| a == b).count();
        tables.push(Labelled::scalar("agreement", Unit::Ratio, same as f32 / n as f32));
        if n < FEW {
            let text = format!(
                "{n} cases: the additive function holds {:.2} of what is not additive in each",
                (2 * n - 1) as f64 / (n * n) as f64
            );
            cautions.push(Caution::new(CautionKind::FewRows, n as f32, text));
        }
        let axes = || vec![Axis::count(Role::Sample, n), Axis::names(Role::Concept, classes.iter().cloned())];
        let own: Vec<f64> = (0..n).flat_map(|case| grid.at(case, case).to_vec()).collect();
        let sum: Vec<f64> = (0..n).flat_map(|case| self.projected.additive(case, case)).collect();
        let rest = narrow(own.iter().zip(&sum).map(|(own, sum)| own - sum));
        let left_out: Option<Vec<Vec<f64>>> = (0..n).map(|case| grid.left_out(case)).collect();
        let left_out = left_out.map(|all| ("left out", narrow(all.concat())));
        let asides = [("score", narrow(own)), ("additive", narrow(sum)), ("interaction", rest)];
        for (name, values) in asides.into_iter().chain(left_out) {
            tables.push(Labelled::numbers(name, Unit::Logit, axes(), values)?.aside());
        }
        Ok((tables, cautions))
    }

    /// Accuracies, how much the model gains, and what speaks against it.
    fn scored(
        &self,
        labels: &[Option<usize>],
        classes: usize,
        seed: Seed,
    ) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let right = |said: &Vec<usize>| -> Vec<f64> {
            let pairs = labels.iter().zip(said).filter_map(|(label, own)| Some((*label)?.eq(own)));
            pairs.map(|right| f64::from(u8::from(right))).collect()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let all = self.said.each_ref().map(right);
        let labelled = labels.iter().flatten().count();
        let counts = (0..classes).map(|class| labels.iter().filter(|own| **own == Some(class)).count());
        let frequent = counts.max().unwrap_or(0) as f64 / labelled.max(1) as f64; // no NaN: whole numbers
        let mut rows: Vec<(&str, Vec<f64>)> =
            ["model", "additive", "pictures", "words"].into_iter().zip(all.clone()).collect();
        rows.extend(self.left_out.iter().map(|own| ("left out", right(own))));
        let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        let shares: Vec<f64> = rows.iter().map(|(_, own)| mean(own)).collect();
        let axis =
            Axis::names(Role::Concept, names.iter().copied().chain(["most frequent answer", "chance"]));
        let values = narrow(shares.into_iter().chain([frequent, 1.0 / classes as f64]));
        let mut tables = vec![Labelled::numbers("accuracy", Unit::Ratio, vec![axis], values)?];
        let ends: Option<Vec<[f64; 2]>> = rows.iter().map(|(_, own)| mean_interval(own, seed)).collect();
        if let Some(ends) = ends {
            let axes = vec![Axis::names(Role::Concept, names), Axis::names(Role::Rank, ["2.5 %", "97.5 %"])];
            tables.push(Labelled::numbers(
                "interval",
                Unit::Ratio,
                axes,
                narrow(ends.into_iter().flatten()),
            )?);
        }
        let [model, additive, ..] = &all;
        let gains: Vec<f64> = model.iter().zip(additive).map(|(a, b)| a - b).collect();
        let gain = mean(&gains);
        let mut cautions = Vec::new();
        if let (Some([low, high]), Some(chance)) = (mean_interval(&gains, seed), sign_flips(&gains, seed)) {
            let axis = Axis::names(Role::Concept, ["gain", "2.5 %", "97.5 %", "sign flips"]);
            let values = narrow([gain, low, high, chance]);
            tables.push(Labelled::numbers("gain", Unit::Ratio, vec![axis], values)?);
            if gain <= chance {
                let text = format!(
                    "the model is right {:.1} % more often than the additive function, no more than the {:.1} % that signs drawn by chance come to: the data set does not show that both are brought together",
                    100.0 * gain,
                    100.0 * chance
                );
                cautions.push(Caution::new(CautionKind::NoBetter, gain as f32, text));
            }
        }
        let (whole, known) = (mean(model), mean(additive));
        if let Some(apart) =
            self.left_out.as_ref().map(|own| known - mean(&right(own))).filter(|own| *own > LEAK)
        {
            let text = format!(
                "the additive function is right {:.1} % less often of cases that it has not seen: by so much it may know their interaction, and more cases are needed",
                100.0 * apart
            );
            cautions.push(Caution::new(CautionKind::Gap, apart as f32, text));
        }
        if whole <= frequent {
            let text = format!(
                "the model is right in {:.1} %, and who always said the most frequent answer in {:.1} %",
                100.0 * whole,
                100.0 * frequent
            );
            cautions.push(Caution::new(CautionKind::NoBetter, (whole - frequent) as f32, text));
        }
        Ok((tables, cautions))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn projected_by_hand() {
        // Of the first answer, less the mean of two: 2, 0; 0, 2 is half of 4, 0; 0, 4, all of it interaction.
        let grid = Grid::new(2, 2, &[4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 0.0]).unwrap();
        let found = grid.projected();
        assert_eq!((found.additive(0, 0), found.additive(0, 1)), (vec![1.0, -1.0], vec![1.0, -1.0]));
        assert_eq!(grid.squares(), [0.0, 0.0, 8.0]);
        // 3 + 1 of pictures, and words that change nothing.
        let grid = Grid::new(2, 2, &[6.0, 0.0, 6.0, 0.0, 2.0, 0.0, 2.0, 0.0]).unwrap();
        assert_eq!(grid.projected().additive(0, 0), [3.0, -3.0]);
        assert_eq!(grid.squares(), [8.0, 0.0, 0.0]);
        assert!(Grid::new(2, 2, &[0.0; 7]).is_none() && grid.left_out(0).is_none());
    }
}
