//! ProjectAway: what does the answer lose if a word is taken out of the picture's tokens?
//!
//! # Idea
//! With `t` the mean of the vectors of a phrase's tokens, and `x_i` what a layer holds at image token `i`,
//!
//! ```text
//! p_i = x_i . t / t . t,      x_i <- x_i - weight max(p_i, 0) t
//! ```
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `change` | concept | objective | the objective once the phrase is taken off, less the objective: `projected`; of `random directions` in the place of `t`, treated alike, the mean over draws |
//! | `p` | | probability | of a change that large by chance: `(1 + draws whose change is at least as large in magnitude) / (1 + draws)` |
//! | `along` | token | ratio | `p_i`: how far each token points along the phrase |
//! | `taken off` | concept | ratio | the share of the tokens' square that is taken off: `projected`, `random directions` |
//! | `random changes` | step | objective | draw by draw |
//! | `objective` | | objective | with nothing taken off |
//! | `cautions` | rank | text | that the change is rounding; that some random direction changes the objective at least as much |
//!
//! # Settings
//! - `phrase`: the word or words. There is no default.
//! - `vectors`: `unembedding`: the rows with which the model says the tokens; or `embedding`, those with which it reads them.
//! - `site`: `text.blocks.0.resid_post`, and `positions`: `pictures`. Any site of rows as long as a token's vector.
//! - `weight`: 1: all that points along the phrase is taken off; more turns the tokens against it.
//! - `draws`: 10 random directions, `direction(width, seed.at(k))`. `seed`: 0. `rows`: 16 variants share a pass.
//!
//! # Cost
//! Three forward passes, and one for the phrase and each draw. The same edit as a standing one is `--edit SITE[pos=...]=away:FILE#TENSOR*WEIGHT` ([`Alteration::away`](mmlens_core::Alteration::away)).
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no phrase, no draws, a weight that is not finite. Running: [`AnalysisError::Input`] for a subject that shows no vectors of words, a phrase without tokens, rows of another length,
//! positions that the sample does not have; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - What the unembedding reads at the last layer need not be how an early layer holds a word: look whether `along` is larger where the thing is.
//! - Tokens also point along whatever the phrase's vector has in common with all words: compare with another phrase, not with random directions alone.
//! - A change can come from the stream being out of its usual place: see `taken off`.
//!
//! # Agreement
//! NumPy on transformers' `llava-a`, hooks in its layers: largest difference of the change 3e-6 of 0.4, of `along` 1e-6. Identities tested: with `weight` = 0 nothing changes, and the share that is taken off goes with its square; the standing edit gives the same answer; no token points along the phrase once
//! it is taken off. A word planted in the connector of `shapes-llava`, where one colour shows alone (five seeds, three strengths): `along` tells its patches from others (AUROC above 0.9), and once it is taken off the answer is nearer to
//! that of the model without the plant than with directions drawn by chance taken off.
//!
//! # Reference
//! Jiang, Kachinthaya, Petryk, Gandelsman: Interpreting and Editing Vision-Language Representations to Mitigate Hallucinations. ICLR 2025. <https://arxiv.org/abs/2410.02762>. There the phrase's vector is also read from a layer of the
//! language model over the phrase alone; here it is that of the vocabulary. Random directions are ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::project_away::{ProjectAway, Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let away = ProjectAway::new(Settings { phrase: "red".to_owned(), ..Settings::default() })?;
//! println!("{:?}", away.run(subject, case)?.table("change")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, HookError, Leaf, On, Part, Point, Seed,
    Site, Subject, WeightKind, WeightSpec,
};
use mmlens_engine::{Matrix, Positions, Progress, direction, dot, row_count, rows_of};
use serde::{Deserialize, Serialize};

use super::taken_off::{Lost, Place, cautions, shown};
use crate::check::{at_least_one, input, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "project-away",
    short: "away",
    name: "ProjectAway",
    question: "What does the answer lose if a word is taken out of the picture's tokens?",
    citation: "Jiang, Kachinthaya, Petryk, Gandelsman: Interpreting and Editing Vision-Language Representations to Mitigate Hallucinations. ICLR 2025. https://arxiv.org/abs/2410.02762",
    leaf: Leaf::Feature,
    cost: "3 forward and 1 for each draw",
    needs: &[Capability::Answer, Capability::Unembedding],
    misleads: &[
        "How the last layer says a word need not be how an early one holds it.",
        "Tokens also point along what all words have in common: compare with another phrase.",
    ],
    first: false,
};

/// What is taken off, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The word or words.
    pub phrase: String,
    /// Which vectors of its tokens.
    pub vectors: Vectors,
    /// What is changed.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
    /// How many times what points along the phrase is taken off.
    pub weight: f64,
    /// How many random directions.
    pub draws: usize,
    /// The seed of every draw.
    pub seed: Seed,
    /// How many variants share a pass.
    pub rows: usize,
}

/// Which vectors of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vectors {
    /// Rows of the unembedding.
    #[default]
    Unembedding,
    /// Rows of the embedding.
    Embedding,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            phrase: String::new(),
            vectors: Vectors::Unembedding,
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Pictures,
            weight: 1.0,
            draws: 10,
            seed: Seed(0),
            rows: 16,
        }
    }
}

/// ProjectAway with checked settings.
#[derive(Debug, Clone)]
pub struct ProjectAway {
    settings: Settings,
}

impl ProjectAway {
    /// The mean of the vectors of the phrase's tokens.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for a subject that shows none, or a phrase without tokens.
    pub fn direction(&self, subject: &dyn Subject) -> Result<Vec<f64>, AnalysisError> {
        let (says, reads) = (Site::of(Part::Text, Point::Logits), Site::of(Part::Text, Point::Embed));
        let fits = |spec: &&WeightSpec| {
            let at = spec.writes.as_ref().map(|port| port.site);
            match self.settings.vectors {
                Vectors::Unembedding => matches!(spec.kind, WeightKind::Product { .. }) && at == Some(says),
                Vectors::Embedding => spec.kind == WeightKind::Table && at == Some(reads),
            }
        };
        let found = subject.weights().iter().find(fits);
        let spec =
            found.ok_or_else(|| input(&CARD, "the vectors of its words", "this subject shows none"))?;
        let phrase = self.settings.phrase.trim();
        if phrase.is_empty() {
            return Err(setting(&CARD, "phrase", "none", "a word or words"));
        }
        let tokens = subject.tokens(phrase)?;
        if tokens.is_empty() {
            return Err(input(&CARD, "a phrase of tokens", format!("`{phrase}` has none")));
        }
        let weight = subject.weight(&spec.name)?;
        let mut mean: Vec<f64> = Vec::new();
        for token in &tokens {
            let row = weight.rows(*token as usize, 1)?.finite_values(&spec.name)?;
            mean.resize(row.len(), 0.0);
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x) / tokens.len() as f64);
        }
        match dot(&mean, &mean) > 0.0 {
            true => Ok(mean),
            false => Err(input(
                &CARD,
                "a phrase whose vectors have a length",
                format!("those of `{phrase}` sum to zero"),
            )),
        }
    }

    /// What is taken off every row.
    fn off(&self, rows: &Matrix, along: &[f64]) -> Matrix {
        let mut off = rows.clone();
        for row in off.rows_mut() {
            let by = self.settings.weight * (dot(row, along) / dot(along, along)).max(0.0); // no NaN: a direction with a length
            row.iter_mut().zip(along).for_each(|(x, t)| *x = by * t);
        }
        off
    }
}

impl Analysis for ProjectAway {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "draws", settings.draws)?;
        at_least_one(&CARD, "rows", settings.rows)?;
        if !settings.weight.is_finite() {
            return Err(setting(&CARD, "weight", settings.weight, "it must be finite"));
        }
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let Settings { site, positions, draws, rows, .. } = &self.settings;
        let inputs = on.encode(&case.sample)?;
        let (count, width) =
            (row_count((on, CARD.id), &inputs, *site, positions)?, self.direction(on.subject())?.len());
        let held = 8 * count * width * (3 + draws);
        let row = on.row(case, &inputs, &[])?;
        let at_once = row.bytes.saturating_mul((*rows).min(1 + draws) as u64);
        let passes = 1 + Place::passes(case, 1 + draws);
        Ok(Cost::rows(passes * inputs.rows()).taking(at_once + held as u64, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Settings { site, positions, draws, seed, rows, .. } = &self.settings;
        let along = self.direction(on.subject())?;
        let inputs = on.encode(&case.sample)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 2 + draws);
        let held = rows_of((on, CARD.id), &inputs, *site, positions)?;
        progress.advance(1)?;
        if held.width != along.len() {
            let found = format!("{}, where vectors of words have {}", held.width, along.len());
            return Err(input(&CARD, "rows as long as a token's vector", found));
        }
        let states = Matrix::of_floats(&held.values, held.width)?;
        let mut off = vec![self.off(&states, &along)];
        off.extend((0..*draws as u64).map(|draw| self.off(&states, &direction(along.len(), seed.at(draw)))));
        let place = Place { card: &CARD, site: *site, rows: *rows };
        let Lost { objective, whole, lost } = place.lost((on, case), &held, &off, &mut progress)?;
        let changes: Vec<f32> = lost.iter().map(|lost| -*lost as f32).collect();
        let (own, drawn) = changes.split_at(changes.len().min(1));
        let projected = own.first().copied().ok_or(HookError::NoObjective)?;
        let larger = drawn.iter().filter(|change| change.abs() >= projected.abs()).count();
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / *draws as f64;
        let size = states.square();
        let share = |off: &Matrix| if size > 0.0 { off.square() / size } else { 0.0 };
        let shares = [off.first().map_or(0.0, share), mean(&mut off.iter().skip(1).map(share))];
        let square = dot(&along, &along);
        let points = states.rows().map(|row| (dot(row, &along) / square) as f32).collect();
        let unit = objective.unit();
        let pair = || vec![Axis::names(Role::Concept, ["projected", "random directions"])];
        let random = mean(&mut drawn.iter().map(|change| f64::from(*change)));
        let tables = vec![
            Labelled::numbers("change", unit, pair(), vec![projected, random as f32])?,
            Labelled::scalar("p", Unit::Probability, (1 + larger) as f32 / (1 + draws) as f32),
            Labelled::numbers("along", Unit::Ratio, vec![shown(&inputs, &held)], points)?,
            Labelled::numbers("taken off", Unit::Ratio, pair(), shares.map(|share| share as f32).to_vec())?,
            Labelled::scalar("objective", unit, whole),
            Labelled::numbers("random changes", unit, vec![Axis::count(Role::Step, *draws)], drawn.to_vec())?
                .aside(),
        ];
        let caution = cautions(projected, drawn, (unit, whole));
        Ok(Answer::new(tables, [*site])
            .explaining(&objective)
            .against("directions drawn by chance")
            .seeded(*seed)
            .cautioned(caution))
    }
}
