//! Contrastive activation addition: what separates two kinds of examples, added while an answer is written: does the answer follow?
//!
//! # Idea
//! Examples of two classes give rows of a site, `x`. The direction is the mean of one class less the mean of the other, and it is added to the stream while the model writes:
//!
//! ```text
//! d  = mean x of the positive class - mean x of the other
//! x' = x + c d                                      (add)
//! x' = |x| n(n(x) + c n(d)),  n(x) = x / |x|        (turn, the form of VTI, with c = 0.1 lambda)
//! ```
//!
//! from the last position of the prompt on (`spoken`), or at all positions (`everywhere`). At `c` 0 nothing is changed.
//!
//! # In and out
//! In: [`Examples`] of two classes, or a data set with labels ([`Fit::learn`]). Out: a [`Steering`], which is a method of single cases, a way to write ([`Decoder`](crate::Decoder)) and a standing edit
//! ([`Steering::alteration`]), and a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `separation` | concept | ratio | of held-out rows, how often one of the positive class lies farther along than one of the other (AUROC): of the `direction`; of `random directions`, the mean of the larger of it and 1 less it |
//! | `length` | concept | activation | of the `direction`; of the `rows`, the mean |
//! | `rows` | concept | count | learned from, of each class; held out |
//!
//! Of a case a [`Steering`] gives, for every strength:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `change` | concept, step | objective | the objective steered, less the objective: by the `direction`; by `random directions` of its length, the mean over draws |
//! | `p` | step | probability | of a change that large by chance: `(1 + draws whose change is at least as large in magnitude) / (1 + draws)` |
//! | `divergence` | concept, step | nats | how far what comes next has moved from what came next without: of the `direction`; of `random directions`, the mean |
//! | `objective` | | objective | without steering |
//! | `random changes` | method, step | objective | draw by draw |
//!
//! # Settings
//! - `site`: a residual stream of the decoder. The first block's is a default that every model has; the paper finds middle layers best, so try several.
//! - `positions`: `last`, of the examples; `answer` for examples that end with what is to be said.
//! - `positive`: the class that is steered towards; without it the first.
//! - `held_out`: 0.2 of the groups. `draws`: 5 random directions; direction `k` is `direction(width, seed.at(2^32 + k))`.
//! - Of a [`Steering`]: `form` (`add`), `applied` (`spoken`), `strength` of a decoder (1), `strengths` of a sweep (-2 to 2), `draws` (5), `seed` and `rows` (16 variants share a pass) can be set anew; direction `k` is
//!   `direction(width, seed.at(k))`.
//!
//! # Cost
//! One pass for each case, which ends at the site. A [`Steering`] takes of a case a pass for each strength and draw, one for each strength, and one; as a decoder none beside the model's own.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no draws, a share that is not between 0 and 1, no strengths or one that is not finite. Fitting: [`AnalysisError::Input`] for other than two classes, a `positive` that is none of them, fewer than
//! two groups, a class that no row is learned from or none is held out of, rows of another site, classes with one mean; [`AnalysisError::Cancelled`]. Running: [`AnalysisError::Input`] for a site that is not one row for each
//! position of the decoder.
//!
//! # When it misleads
//! - A direction of this length moves an answer whatever it points at: compare with `random directions`, and with what becomes of questions that it is not about (Tan et al.: Analysing the Generalisation and Reliability of Steering Vectors.
//!   NeurIPS 2024. <https://arxiv.org/abs/2407.12404>).
//! - Many cases are moved against what was learned: tell the spread over cases, not the mean alone (the same).
//! - Examples that differ in more than was meant give a direction of all of it: yes against no is not true against false.
//! - `everywhere` moves the pictures' positions and those of the instructions too; the paper steers what follows the instruction.
//!
//! # Agreement
//! numpy on rows of `llava-a` and `llama-b`: the direction 3.0e-6 (of 4.9) and 8.3e-6 (of 8.8) apart at most, scikit-learn's AUROC equal; transformers 5.23 with hooks: scores of a steered answer, 1.0e-5 and 1.3e-5
//! added, 7.5e-6 and 1.2e-5 turned (of 12). Identities tested: strength 0 is plain decoding
//! to the bit; a steered pass equals decoding with a cache; `everywhere` equals the standing edit.
//!
//! # Reference
//! Panickssery, Gabrieli, Schulz, Tong, Hubinger, Turner: Steering Llama 2 via Contrastive Activation Addition. ACL 2024. <https://arxiv.org/abs/2312.06681>. Its pairs are two answers to one question; of as many examples of both
//! classes the mean of differences is the difference of means. The turned form: Liu, Ye, Xing, Zou: Reducing Hallucinations in Large Vision-Language Models via Latent Space Steering (VTI). ICLR 2025.
//! <https://arxiv.org/abs/2410.15778>, whose direction is a principal component over all layers, behind each MLP; here it is the difference of means, at one site.
//!
//! # Example
//! ```
//! use mmlens_core::{Annotated, Case, Fit, On, Sample, Seed, from_fn};
//! use mmlens_inference::{Caa, caa::Settings};
//! let toy = mmlens_testkit::Toy::curved(1);
//! let of = |i: usize| format!("{}b{}", if i % 2 == 0 { "a" } else { "c" }, ["d", "e", "f"][i % 3]);
//! let data = from_fn("words", 24, |i| Ok(Case::new(Sample::text(of(i)))));
//! let data = Annotated::new(data, ["a", "c"], (0..24).map(|i| i % 2).collect())?;
//! let caa = Caa::new(Settings { site: "text.blocks.1.resid_post".parse()?, ..Settings::default() })?;
//! let learned = caa.learn(&On::new(&toy), &data, Seed(1))?;
//! println!("{:?} {}", learned.finding.table("separation")?.as_numbers(), learned.fitted.alteration()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use mmlens_core::check::{at_least_one, at_most, input, share};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    AnalysisError, Capability, Card, Ended, Examples, Fit, HookError, Leaf, Outcome, Part, Point, Seed, Site,
    Source, Split, Watch, learned_from, step,
};
use mmlens_engine::{Positions, direction, dot, examples_of};
use serde::{Deserialize, Serialize};

use crate::uncertainty::reliability::Reliability;

pub use super::steered::{Applied, Learned, Steering, Way};

/// What this method is.
pub const CARD: Card = Card {
    id: "contrastive-activation-addition",
    short: "caa",
    name: "Contrastive activation addition (CAA)",
    question: "Does an answer follow the direction that separates two kinds of examples?",
    citation: "Panickssery et al.: Steering Llama 2 via Contrastive Activation Addition. ACL 2024. https://arxiv.org/abs/2312.06681",
    leaf: Leaf::Inference,
    cost: "1 forward for each case; of what was learned 1 forward for each strength and each draw at it",
    needs: &[Capability::Generation],
    misleads: &[
        "A direction of this length moves an answer whatever it points at: compare with random directions, and with other questions.",
        "Many cases are moved against what was learned.",
        "Examples that differ in more than was meant give a direction of all of it.",
    ],
    first: false,
};

/// Which items of a seed the random directions of a fit are.
const RANDOM: u64 = 1 << 32;
/// Fewer rows of a class than this are cautioned of.
const FEW: usize = 10;
/// A separation no more than this above that of random directions is cautioned of.
const ABOVE: f64 = 0.05;

/// How the direction is learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read, and steered.
    pub site: Site,
    /// At which positions it is read.
    pub positions: Positions,
    /// The class that is steered towards; without it the first.
    pub positive: Option<String>,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// How many random directions.
    pub draws: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            positions: Positions::Last,
            positive: None,
            held_out: 0.2,
            draws: 5,
        }
    }
}

/// What learns a direction to steer by, with checked settings.
#[derive(Debug, Clone)]
pub struct Caa {
    settings: Settings,
}

/// Rows and whether each is of the positive class.
type Sided<'a> = Vec<(&'a [f32], bool)>;

impl Fit for Caa {
    type From = Examples;
    type Settings = Settings;
    type Fitted = Steering;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "draws", settings.draws)?;
        at_most(&CARD, "draws", settings.draws)?;
        share(&CARD, "held_out", settings.held_out)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn fit(
        &self,
        from: &Examples,
        seed: Seed,
        watch: &dyn Watch,
    ) -> Result<Outcome<Steering>, AnalysisError> {
        let Settings { site, draws, .. } = self.settings;
        let positive = self.positive(from)?;
        let split = Split::of(&CARD, (from, site), self.settings.held_out, seed)?;
        let sided = |held: bool| -> Sided<'_> {
            let rows = from.rows().zip(from.labels()).zip(&split.out);
            rows.filter(|(_, out)| **out == held).map(|((row, label), _)| (row, *label == positive)).collect()
        };
        let (kept, held) = (sided(false), sided(true));
        let learned = mean(&kept, true, from.width())?.into_iter().zip(mean(&kept, false, from.width())?);
        let learned: Vec<f64> = learned.map(|(a, b)| a - b).collect();
        step(watch, CARD.id, 1, 2)?;
        let length = dot(&learned, &learned).sqrt();
        if length == 0.0 {
            return Err(input(&CARD, "classes with different means", "they have one mean"));
        }
        let own = separation(&held, &learned)?;
        let mut random = 0.0;
        for draw in 0..draws as u64 {
            let found = separation(&held, &direction(from.width(), seed.at(RANDOM + draw)))?;
            random += f64::max(found, 1.0 - found) / draws as f64; // no NaN: checked by `separation`
        }
        let lengths = from.rows().map(|row| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt());
        let rows = lengths.sum::<f64>() / from.len() as f64;
        let of = |side: bool| kept.iter().filter(|(_, own)| *own == side).count();
        let counts = [of(true), of(false), held.len()];
        let table = |name: &str, unit, names: &[&str], values: &[f64]| {
            let axis = Axis::names(Role::Concept, names.iter().copied());
            Labelled::numbers(name, unit, vec![axis], values.iter().map(|value| *value as f32).collect())
        };
        let mut tables = vec![
            table("separation", Unit::Ratio, &["direction", "random directions"], &[own, random])?,
            table("length", Unit::Activation, &["direction", "rows"], &[length, rows])?,
            table(
                "rows",
                Unit::Count,
                &["positive", "other", "held out"],
                &counts.map(|count| count as f64),
            )?
            .aside(),
        ];
        tables.extend(Caution::tables(&cautions([own, random], [of(true), of(false)]))?);
        step(watch, CARD.id, 2, 2)?;
        let ended = Ended::Converged { steps: 1, gradient: 0.0 };
        let learned = Learned { site, direction: learned, seed, ..Learned::default() };
        let made = learned_from((&CARD, &self.settings), (from, site), seed)?;
        Outcome::of(learned, ended, (made, tables))
    }

    fn learn_from(
        &self,
        from: &Source<'_>,
        seed: Seed,
        _keep: Option<&Path>,
    ) -> Result<Outcome<Steering>, AnalysisError> {
        let rows = examples_of((from, CARD.id), self.settings.site, &self.settings.positions)?;
        self.fit(&rows, seed, from.watch())
    }
}

impl Caa {
    /// Which class is steered towards.
    fn positive(&self, from: &Examples) -> Result<usize, AnalysisError> {
        let classes = from.classes();
        if classes.len() != 2 {
            return Err(input(&CARD, "two classes", format!("there are {}", classes.len())));
        }
        let Some(wanted) = &self.settings.positive else { return Ok(0) };
        let found = || format!("there are `{}`, and `positive` is `{wanted}`", classes.join("` and `"));
        classes
            .iter()
            .position(|class| class == wanted)
            .ok_or_else(|| input(&CARD, "a positive class that is one of the two", found()))
    }
}

/// The mean of the rows of one side.
fn mean(rows: &Sided<'_>, side: bool, width: usize) -> Result<Vec<f64>, AnalysisError> {
    let (mut sum, mut count) = (vec![0.0; width], 0_usize);
    for (row, _) in rows.iter().filter(|(_, own)| *own == side) {
        sum.iter_mut().zip(row.iter()).for_each(|(sum, x)| *sum += f64::from(*x));
        count += 1;
    }
    if count == 0 {
        return Err(input(&CARD, "rows of both classes to learn from", "one has none"));
    }
    sum.iter_mut().for_each(|sum| *sum /= count as f64);
    Ok(sum)
}

/// How often a row of the positive class lies farther along than one of the other.
fn separation(rows: &Sided<'_>, along: &[f64]) -> Result<f64, AnalysisError> {
    let score = |row: &[f32]| row.iter().zip(along).map(|(x, d)| f64::from(*x) * d).sum::<f64>();
    let cases: Vec<(f64, bool)> = rows.iter().map(|(row, side)| (score(row), *side)).collect();
    let count = cases.len();
    let known = Reliability::new(cases)
        .map_err(|error| HookError::not_finite("rows along a direction", &[count], 0, error))?;
    known.auroc().ok_or_else(|| input(&CARD, "held-out rows of both classes", "one has none"))
}

/// What speaks against steering by it.
fn cautions([own, random]: [f64; 2], counts: [usize; 2]) -> Vec<Caution> {
    let mut said = Vec::new();
    let few = counts[0].min(counts[1]);
    if few < FEW {
        let text = format!("{few} rows of a class are few: their mean is largely chance");
        said.push(Caution::new(CautionKind::FewRows, few as f32, text));
    }
    if own - random < ABOVE {
        let text = format!(
            "of held-out rows the direction tells the classes apart at {own:.3}, random ones at {random:.3}: what it points at is hardly the property"
        );
        said.push(Caution::new(CautionKind::NoBetter, (own - random) as f32, text));
    }
    said
}
