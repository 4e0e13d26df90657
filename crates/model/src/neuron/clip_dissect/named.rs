//! How neurons and words are compared, by the pictures of both.

use mmlens_core::finding::Unit;
use mmlens_core::{AnalysisError, Cases, Copies, HookError, On, Plan, Sample, SubjectError, Trace, Words};
use mmlens_engine::{Progress, batches};
use serde::{Deserialize, Serialize};

use super::{CARD, Settings};
use crate::check::{at_least_one, input};

/// So many words share a pass of the dual encoder.
const AT_ONCE: usize = 32;
/// Added under logarithms.
const LEAST: f64 = 1e-7;
/// What columns are divided by, at least.
const SHORTEST: f64 = 1e-3;
/// Of soft-wpmi: how likely the first and the one behind the last picture are to be examples.
const EXAMPLES: [f64; 2] = [0.998, 0.97];

/// How a neuron and a word are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// Weighted pointwise mutual information, with examples that count the less the lower they rank.
    #[default]
    SoftWpmi,
    /// Weighted pointwise mutual information.
    Wpmi,
    /// The cosine of both over all pictures.
    Cosine,
    /// The same of third powers of what differs from the mean.
    CosineCubed,
}

impl Similarity {
    /// What it is measured in.
    pub(super) const fn unit(self) -> Unit {
        match self {
            Self::SoftWpmi | Self::Wpmi => Unit::Nat,
            Self::Cosine | Self::CosineCubed => Unit::Cosine,
        }
    }

    /// Pictures that speak for a neuron, what cosines are multiplied by, and how much is taken off, as published.
    const fn published(self) -> (usize, f64, f64) {
        match self {
            Self::Wpmi => (28, 2.0, 0.6),
            _ => (100, 10.0, 1.0),
        }
    }
}

/// The cosine of the first picture of every case and every word, `[case, word]`. A step is a case.
pub(super) fn cosines(
    on: &On<'_>,
    data: &dyn Cases,
    words: &[String],
    progress: &mut Progress<'_>,
) -> Result<Vec<f64>, AnalysisError> {
    let subject = on.subject();
    let picture = |index: usize| {
        let sample = data.case(index)?.sample;
        let none =
            || input(&CARD, "a picture in every case", format!("case {index} of `{}` has none", data.name()));
        sample.pictures.into_iter().next().ok_or_else(none)
    };
    let pass = |picture, texts: &[String]| -> Result<Trace, AnalysisError> {
        let sample = Sample::new(vec![picture], Words::Texts(texts.to_vec()));
        let inputs = subject.encode(&sample)?;
        let plan = Plan::new().to_output();
        on.memory().hold(CARD.id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
        Ok(subject.run(&inputs, plan)?)
    };
    let pairs = |trace: &Trace| {
        let none = || {
            SubjectError::from(HookError::NoOutput("pictures and captions in the shared space".to_owned()))
        };
        trace.output().pairs.clone().ok_or_else(none)
    };
    let mut said: Vec<Vec<f64>> = Vec::new();
    for range in batches(words.len(), at_least_one(&CARD, "words", AT_ONCE)?) {
        let trace = pass(picture(0)?, words.get(range).unwrap_or_default())?;
        let texts = pairs(&trace)?.texts;
        let width = texts.dims().last().copied().unwrap_or(1).max(1);
        let values = texts.finite_values("captions in the shared space")?;
        said.extend(values.chunks(width).map(|own| own.iter().map(|x| f64::from(*x)).collect()));
    }
    let one = words.get(..1).unwrap_or_default();
    let mut cosines = Vec::with_capacity(data.len() * words.len());
    for index in 0..data.len() {
        let images =
            pairs(&pass(picture(index)?, one)?)?.images.finite_values("pictures in the shared space")?;
        cosines.extend(
            said.iter().map(|text| text.iter().zip(&images).map(|(t, x)| t * f64::from(*x)).sum::<f64>()),
        );
        progress.advance(1)?;
    }
    Ok(cosines)
}

/// Scores of one neuron after another, for every word.
pub(super) struct Named {
    similarity: Similarity,
    words: usize,
    top: usize,
    lambda: f64,
    /// Logarithms that are summed over examples are made of these; columns, where cosines are taken. `[case, word]`.
    table: Vec<f64>,
    scores: Vec<f64>,
}

impl Named {
    /// With the row of `cosines` beside each case that `order` says.
    pub(super) fn new(settings: &Settings, cosines: &[f64], words: usize, order: &[usize]) -> Self {
        let similarity = settings.similarity;
        let (top, scale, lambda) = similarity.published();
        let (top, scale) = (settings.top.unwrap_or(top).min(order.len()), settings.scale.unwrap_or(scale));
        let row = |at: &usize| cosines.get(at * words..(at + 1) * words).unwrap_or_default();
        let table: Vec<f64> = match similarity {
            Similarity::SoftWpmi | Similarity::Wpmi => {
                order.iter().flat_map(|at| softmax(row(at), scale)).collect()
            }
            Similarity::Cosine | Similarity::CosineCubed => {
                let rows: Vec<f64> = order.iter().flat_map(|at| row(at).iter().copied()).collect();
                let mut table = vec![0.0; rows.len()];
                for word in 0..words {
                    let column: Vec<f64> = rows.iter().skip(word).step_by(words).copied().collect();
                    let made = similarity.column(&column);
                    table
                        .iter_mut()
                        .skip(word)
                        .step_by(words)
                        .zip(made)
                        .for_each(|(slot, value)| *slot = value);
                }
                table
            }
        };
        Self { similarity, words, top, lambda: settings.lambda.unwrap_or(lambda), table, scores: Vec::new() }
    }

    /// A neuron by what it gives of every case.
    pub(super) fn see(&mut self, values: &[f32]) {
        let mut sums = vec![0.0; self.words];
        let rows =
            |case: usize| self.table.get(case * self.words..(case + 1) * self.words).unwrap_or_default();
        match self.similarity {
            Similarity::SoftWpmi | Similarity::Wpmi => {
                let value = |case: &usize| values.get(*case).copied().unwrap_or(0.0);
                let mut order: Vec<usize> = (0..values.len()).collect();
                order.sort_by(|a, b| value(b).total_cmp(&value(a)).then(a.cmp(b))); // no NaN: what is read is finite
                for (rank, case) in order.into_iter().take(self.top).enumerate() {
                    let likely = match self.similarity {
                        Similarity::SoftWpmi => {
                            EXAMPLES[0] - rank as f64 / self.top as f64 * (EXAMPLES[0] - EXAMPLES[1])
                        }
                        _ => 1.0,
                    };
                    for (sum, share) in sums.iter_mut().zip(rows(case)) {
                        *sum += (1.0 + likely * (share - 1.0) + LEAST).ln();
                    }
                }
            }
            Similarity::Cosine | Similarity::CosineCubed => {
                let wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
                for (case, value) in self.similarity.column(&wide).into_iter().enumerate() {
                    sums.iter_mut().zip(rows(case)).for_each(|(sum, other)| *sum += value * other);
                }
            }
        }
        self.scores.extend(sums);
    }

    /// The scores of all neurons, `[neuron, word]`.
    pub(super) fn scores(mut self) -> Vec<f64> {
        if matches!(self.similarity, Similarity::Cosine | Similarity::CosineCubed) {
            return self.scores;
        }
        let count = (self.scores.len() / self.words.max(1)) as f64;
        for word in 0..self.words {
            let own = || self.scores.iter().skip(word).step_by(self.words).copied();
            let most = own().fold(f64::NEG_INFINITY, f64::max); // no NaN: sums of logarithms of numbers above zero
            let any = own().map(|score| (score - most).exp()).sum::<f64>().ln() + most - count.ln();
            let less = self.lambda * any;
            self.scores.iter_mut().skip(word).step_by(self.words).for_each(|score| *score -= less);
        }
        self.scores
    }
}

impl Similarity {
    /// A column of length one, made as a cosine takes it.
    fn column(self, values: &[f64]) -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let made: Vec<f64> = match self {
            Self::CosineCubed => values.iter().map(|value| (value - mean).powi(3)).collect(),
            _ => values.to_vec(),
        };
        let length = made.iter().map(|value| value * value).sum::<f64>().sqrt();
        let length = match self {
            Self::CosineCubed => length.max(SHORTEST), // no NaN: finite numbers
            // A neuron that is zero everywhere goes with no word.
            _ if length == 0.0 => 1.0,
            _ => length,
        };
        made.into_iter().map(|value| value / length).collect()
    }
}

/// Shares of each word of a picture.
fn softmax(cosines: &[f64], scale: f64) -> Vec<f64> {
    let most = cosines.iter().copied().fold(f64::NEG_INFINITY, f64::max); // no NaN: what is read is finite
    let each: Vec<f64> = cosines.iter().map(|cosine| (scale * (cosine - most)).exp()).collect();
    let total: f64 = each.iter().sum();
    each.into_iter().map(|share| share / total).collect()
}

#[cfg(test)]
mod tests {
    use mmlens_core::Seed;
    use proptest::prelude::*;

    use super::super::Settings;
    use super::{Named, Similarity};

    /// The word that each column of a table goes with.
    fn words_of_columns(similarity: Similarity, table: &[f64], words: usize) -> Vec<usize> {
        let cases = table.len() / words;
        let settings = Settings { similarity, top: Some(cases.div_ceil(words)), ..Settings::default() };
        let order: Vec<usize> = (0..cases).collect();
        let mut named = Named::new(&settings, table, words, &order);
        for word in 0..words {
            let column: Vec<f32> = table.iter().skip(word).step_by(words).map(|x| *x as f32).collect();
            named.see(&column);
        }
        let first =
            |own: &[f64]| (0..words).rev().max_by(|a, b| own[*a].total_cmp(&own[*b])).unwrap_or(words); // no NaN: finite scores
        named.scores().chunks(words).map(first).collect()
    }

    proptest! {
        /// A neuron that is a column of `P` gets its word: by cosines of any columns; by information where every picture shows one word.
        #[test]
        fn a_column_gets_its_word(seed in 0..999_u64, words in 2..7_usize, each in 2..5_usize) {
            let noise = |at: usize| f64::from(Seed(seed).at(at as u64).unit());
            let all: Vec<usize> = (0..words).collect();
            let any: Vec<f64> = (0..words * each * words).map(|at| noise(at) - 0.5).collect();
            prop_assert_eq!(&words_of_columns(Similarity::Cosine, &any, words), &all);
            prop_assert_eq!(&words_of_columns(Similarity::CosineCubed, &any, words), &all);
            let shown = |at: usize| f64::from(u8::from(at / words % words == at % words));
            let one: Vec<f64> = (0..words * each * words).map(|at| shown(at) + 0.2 * noise(at)).collect();
            for similarity in [Similarity::SoftWpmi, Similarity::Wpmi, Similarity::Cosine, Similarity::CosineCubed] {
                prop_assert_eq!(&words_of_columns(similarity, &one, words), &all);
            }
        }
    }
}
