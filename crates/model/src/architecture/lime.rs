//! LIME: which parts of the picture and which words would a straight line around this input say the answer comes from?
//!
//! # Idea
//! Parts of the sample are left out at random, and what the model says then is fitted by a line that looks at nothing but which parts are there. With `z_k` ones for the parts that
//! are present in draw `k` of `n` parts and zeros for the others, and `f` the objective,
//!
//! ```text
//! min over c, b of  sum over k of w_k (f(z_k) - b - z_k c)^2 + alpha |c|^2,     w_k = exp(-d_k^2 / (2 width^2)),     d_k = 1 - sqrt(present / n)
//! ```
//!
//! Coefficient `c_i` is what part `i` counts. Draws near the whole sample (a small cosine distance `d`) count more. The share of the variance that the line explains says whether it stands for
//! the model at all.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture` | row, column; patch | objective | what every part of the picture counts, on the original |
//! | `tokens` | token | objective | what every word or token counts |
//! | `explained` | | ratio | the share of the weighted variance that the line explains (R²) |
//! | `intercept`, `prediction` | | objective | `b`, and what the line says of the whole sample |
//! | `objective` | | objective | `f(x)` |
//! | `cautions` | rank | text | a line that explains less than half; coefficients that are zero or rounding; a prediction that is far off: by more than half of what the parts bring, `f(x) - b` |
//!
//! Several pictures have tables of their own, as in [`occlusion`](crate::occlusion). `explained` is one for the whole of an answer, and stands aside for each of its tokens.
//!
//! # Settings
//! - `picture`: [`Cover::Grid`] of 6 x 6 cells, about as many as the authors have segments. [`Cover::Slic`] cuts segments of like colour, as in the paper; a table then places each by the box around it, so that a map of
//!   them looks coarser than it is. Patches, whole pictures, or `None` to leave pictures whole; windows that overlap are no parts.
//! - `sounds`: what is heard in the place of absent parts of recordings, by default silence, as in occlusion.
//! - `pixels`: what stands in the place of absent pixels, by default the picture's own mean colour. (The authors' code takes the mean of each segment.)
//! - `words`, `each`, `among`: as in [`kernel_shap`](crate::kernel_shap): zero in the place of a word's vector, words, the question. `None` leaves words as they are. Both modalities are parts of one line.
//! - `samples`: 1000 draws, as for images in the authors' code (5000 for text). The first is the whole sample.
//! - `width`: 0.25, as there, for images and for text.
//! - `alpha`: 1, as there (ridge). It is not scaled by the weights: with few samples it shrinks much.
//! - `seed`: of the draws, 0: part `i` is there in draw `k` where the number of `seed`, `k` and `i` is below a half.
//! - `rows`: 16 draws share a pass.
//!
//! # Cost
//! `samples` forward passes, and two more; draws that lack words alone do not run the tower. No gradients. The line takes `samples n^2` operations.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for nothing that can be absent, windows, fewer than two samples, a width that is not above 0, an alpha below 0, no rows. Running: as occlusion.
//!
//! # When it misleads
//! - A line that explains little stands for nothing: coefficients are then what chance left. Below half it is spoken of.
//! - A line that explains its draws may still miss the sample itself, which is one draw of many: where coefficients add up to something else than `f(x) - b`, by more
//!   than half of it, it is spoken of.
//! - Another seed gives other coefficients, more so with few samples (Visani et al. 2022, "Statistical stability indices for LIME"): run two.
//! - Half of the parts are gone in nearly every draw, so that the line is not as local as its name: at width 0.25 a draw with half of the parts still weighs half as much as the whole.
//! - Pictures with holes are easily told from others: a model can be built to say something else there (Slack et al. 2020, "Fooling LIME and SHAP").
//!
//! # Agreement
//! The same draws through transformers and scikit-learn's `Ridge`, with the kernel as the authors state it, on `llava-a`, `clip-a` (cells and words) and `vit-a` (cells): largest difference relative to the largest
//! coefficient 2.0e-6. Identities tested: on an affine subject without penalty coefficients are the drops of occlusion, and the line explains all; the same for any `rows`; a part that changes nothing counts
//! nothing.
//!
//! # Reference
//! Ribeiro, Singh, Guestrin: "Why Should I Trust You?": Explaining the Predictions of Any Classifier. KDD 2016. <https://arxiv.org/abs/1602.04938>. We fit all parts, without its selection of
//! features, and cells by default.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{Lime, lime::{Cover, Settings}};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let picture = Some(Cover::Grid { rows: 4, cols: 4 });
//! let finding = Lime::new(Settings { picture, samples: 500, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?} {:?}", finding.table("picture")?.largest(3)?, finding.table("explained")?.as_scalar());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Caution, Labelled, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Baseline, Card, Case, Copies, Cost, HookError, Inputs, Leaf, On, Plan,
    Seed, caution,
};
use mmlens_engine::{Coalition, Hiding, Matrix, Measured, Positions, Progress, Ridge, Spoken};
use serde::{Deserialize, Serialize};

use crate::check::{above_zero, at_least_one, at_most, not_below_zero, setting};
use crate::contributions::over_change;
use crate::parts::{Called, PartSettings, Parts};

pub use crate::parts::{Cover, Each, Hide, Hush};

/// What this method is.
pub const CARD: Card = Card {
    id: "lime",
    short: "lime",
    name: "LIME",
    question: "Which parts of the picture and which words would a straight line around this input say the answer comes from?",
    citation: "Ribeiro, Singh, Guestrin: \"Why Should I Trust You?\": Explaining the Predictions of Any Classifier. KDD 2016. https://arxiv.org/abs/1602.04938",
    leaf: Leaf::Architecture,
    cost: "2 + samples forward, in batches",
    needs: &[],
    misleads: &[
        "A line that explains little stands for nothing.",
        "Another seed gives other coefficients.",
        "It is less local than its name: half of the parts are gone in most draws.",
    ],
    first: false,
};

/// What the parts are, and how the line is fitted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How pictures are cut; `None` leaves them as they are, as does a sample without any.
    pub picture: Option<Cover>,
    /// What stands in the place of absent pixels.
    pub pixels: Baseline,
    /// What is heard in the place of absent parts of recordings.
    pub sounds: Hush,
    /// What stands in the place of absent words; `None` leaves them as they are.
    pub words: Option<Hide>,
    /// What of the words is one part.
    pub each: Each,
    /// Which positions are words.
    pub among: Positions,
    /// Draws, the whole sample among them.
    pub samples: usize,
    /// How far from the whole sample a draw may lie and still count, as a cosine distance.
    pub width: f64,
    /// The penalty on the size of coefficients.
    pub alpha: f64,
    /// Of the draws.
    pub seed: Seed,
    /// How many draws share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            picture: Some(Cover::Grid { rows: 6, cols: 6 }),
            pixels: Baseline::Mean,
            sounds: Hush::Silence,
            words: Some(Hide::Replace(Baseline::Zero)),
            each: Each::Word,
            among: Positions::Question,
            samples: 1000,
            width: 0.25,
            alpha: 1.0,
            seed: Seed(0),
            rows: 16,
        }
    }
}

impl Settings {
    fn part_settings(&self) -> PartSettings<'_> {
        let Self { picture, pixels, sounds, words, each, among, .. } = self;
        let (card, picture, words, each) = (&CARD, *picture, words.as_ref(), *each);
        PartSettings { card, picture, pixels, sounds, words, each, among }
    }

    /// Which parts are there in each draw.
    fn draws(&self, parts: usize) -> Vec<Coalition> {
        let there = |seed: Seed| (0..parts).filter(move |part| seed.at(*part as u64).unit() < 0.5);
        let drawn = (1..self.samples).map(|draw| Coalition::of(parts, there(self.seed.at(draw as u64))));
        std::iter::once(Coalition::all(parts)).chain(drawn).collect()
    }

    /// How much a draw counts.
    fn weight(&self, draw: &Coalition) -> f64 {
        let present = draw.size() as f64 / draw.units().max(1) as f64;
        let distance = 1.0 - present.sqrt();
        (-distance * distance / (2.0 * self.width * self.width)).exp()
    }
}

/// LIME with checked settings.
#[derive(Debug, Clone)]
pub struct Lime {
    settings: Settings,
    rows: NonZeroUsize,
}

impl Lime {
    fn parts(&self, on: &On<'_>, case: &Case, inputs: &Inputs) -> Result<Parts, AnalysisError> {
        self.settings.part_settings().of(on.subject(), case, inputs)
    }
}

impl Analysis for Lime {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.part_settings().check_apart()?;
        at_most(&CARD, "samples", settings.samples)?;
        if settings.samples < 2 {
            return Err(setting(&CARD, "samples", settings.samples, "a line needs 2 or more"));
        }
        above_zero(&CARD, "width", settings.width)?;
        not_below_zero(&CARD, "alpha", settings.alpha)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let parts = self.parts(on, case, &inputs)?;
        let cost = Cost::rows(case.settling() + 1 + parts.settling() + self.settings.samples);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (inputs, objective) = on.open(case)?;
        let parts = self.parts(on, case, &inputs)?;
        let memory = on.memory().at_most(self.rows);
        let plan = Plan::new().objective(&objective);
        memory.hold(CARD.id, 0, on.subject().need(&inputs, &plan, Copies::ONE)?)?;
        let units = parts.units.clone();
        let hiding =
            Hiding::new(on.subject(), &case.sample, &inputs, units).map_err(|error| error.of(CARD.id))?;
        let count = hiding.units().len();
        let draws = self.settings.draws(count);
        let mut progress = Progress::new(on.watch(), CARD.id, draws.len());
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let measured = hiding.measure(&spoken.beside(&objective), &draws, &memory, &mut progress)?;
        let there = draws.iter().flat_map(|draw| (0..count).map(|part| f64::from(u8::from(draw.has(part)))));
        let rows = Matrix::new(there.collect(), count)?;
        let weights: Vec<f64> = draws.iter().map(|draw| self.settings.weight(draw)).collect();
        let fit = |measured: &Measured| -> Result<Ridge, AnalysisError> {
            let values: Vec<f64> = measured.values.iter().map(|value| f64::from(*value)).collect();
            Ridge::fit(&rows, &values, &weights, self.settings.alpha).map_err(|_| {
                let few = "draws that tell all parts apart: more of them, or an `alpha` above 0";
                setting(&CARD, "samples", format!("{} of {count} parts", draws.len()), few)
            })
        };
        let unit = objective.unit();
        let coefficients = |line: &Ridge| line.coefficients.iter().map(|c| *c as f32).collect::<Vec<_>>();
        let shown = |(measured, line): (&Measured, &Ridge)| -> Result<Vec<Labelled>, AnalysisError> {
            let called = Called { picture: "picture", tokens: "tokens" };
            let mut tables = parts.tables(&called, unit, &coefficients(line))?;
            let whole = line.intercept + line.coefficients.iter().sum::<f64>();
            tables.extend([
                Labelled::scalar("explained", Unit::Ratio, line.explained as f32),
                Labelled::scalar("intercept", unit, line.intercept as f32),
                Labelled::scalar("prediction", unit, whole as f32),
                Labelled::scalar("objective", unit, measured.unedited),
            ]);
            Ok(tables)
        };
        let lines: Vec<Ridge> = measured.iter().map(fit).collect::<Result<_, _>>()?;
        let tables = spoken.with_each(measured.iter().zip(&lines).map(shown))?;
        let (line, own) =
            (lines.first().ok_or(HookError::NoObjective)?, measured.first().ok_or(HookError::NoObjective)?);
        let all = coefficients(line);
        let nothing = caution::rounding(&all, (unit, own.unedited), "coefficients");
        let hint = "; smaller parts, more `samples` or another method";
        let cautions = match nothing {
            Some(nothing) => vec![nothing],
            None => {
                let poor = caution::poor_fit(line.explained, "the line", hint);
                poor.into_iter().chain(far_off(line, own.unedited)).collect()
            }
        };
        let answer = Answer::new(tables, parts.sites()).explaining(&objective).against(hiding.baseline());
        let answer = answer.cautioned(hiding.louder()?);
        Ok(answer.seeded(self.settings.seed).cautioned(cautions))
    }
}

/// What the line may miss at the sample itself, as a share of what the parts bring there.
const OFF: f64 = 0.5;

/// That coefficients add up to something else than the objective less the intercept.
fn far_off(line: &Ridge, objective: f32) -> Option<Caution> {
    let change = f64::from(objective) - line.intercept;
    let missed = line.coefficients.iter().sum::<f64>() - change;
    let hint = ": the line is far off at the sample itself";
    caution::gap(f64::from(over_change(missed, change)), OFF, " along the line", hint)
}

#[cfg(test)]
mod tests {
    use mmlens_engine::Coalition;

    use super::Settings;

    /// exp(-(1 - sqrt(1/4))^2 / (2 * 0.25^2)) = exp(-2); the square root of exp(-d^2 / width^2), as the authors have it.
    #[test]
    fn draws_near_the_whole_count_more() {
        let settings = Settings { samples: 40, ..Settings::default() };
        let quarter = Coalition::of(4, [2]);
        assert!((settings.weight(&quarter) - (-2.0_f64).exp()).abs() < 1e-12);
        assert_eq!(
            (settings.weight(&Coalition::all(4)), settings.weight(&Coalition::none(4))),
            (1.0, (-8.0_f64).exp())
        );
        let draws = settings.draws(4);
        assert_eq!((draws.len(), draws[0].size()), (40, 4));
        let present: usize = draws.iter().map(Coalition::size).sum();
        assert!((50..110).contains(&present), "{present}");
    }
}
