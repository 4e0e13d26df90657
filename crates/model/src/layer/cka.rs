//! CKA: are the same cases laid out alike at two places of a model, or of two models?
//!
//! # Idea
//! With rows `x_i` at one place and `y_i` at another, of the same cases, less their means, and `K = X X'`, `L = Y Y'`
//!
//! ```text
//! CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))
//! full:     HSIC(K, L) = tr(K L) / (n - 1)^2 = |Y' X|^2 / (n - 1)^2
//! debiased: HSIC_1(K, L) = [tr(K~ L~) + 1'K~1 1'L~1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K~L~1] / (n (n - 3)),   K~ = K without its diagonal
//! ```
//!
//! and, of batches, the mean of `HSIC_1` over them in each of the three places. It asks how alike the *distances between cases* are: a
//! rotation, a shift and a scale of either side change nothing.
//!
//! # In and out
//! In: [`ManyCases`], a data set, and a second subject or none. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `cka` | layer, layer | ratio | of every site with every other: from 0 to 1; debiased and in batches from -1, about 0 where nothing is shared |
//! | `shuffled` | layer, layer | ratio | the same where the rows of the second are shuffled: what chance gives |
//! | `cautions` | rank | text | what the numbers may owe to something else; only where there is something |
//! | `rows` | concept | count | cases, rows, batches |
//! | `dimensions`, `dimensions of the second` | layer | count | numbers of a row, of the sites on either axis |
//! | `variance`, `variance of the second` | layer, concept | ratio | shares of the variance: of the dimension with most of it, of the ten with most |
//!
//! Rows of the table are sites of the first subject. Columns are those of the second, or, where there is one subject, others of its own.
//!
//! # Settings
//! - `sites`: selectors of the sites on the first axis, by default the stream behind every block of the last part (`text.blocks.*.resid_post`
//!   of a language model, those of the tower of a classifier); `against`: those on the second, by default the same.
//! - `rows`: `cases`, a row for each case, the mean over the positions chosen; or `positions`, a row for each of them. Rows are of the
//!   same: case by case in the first, and in the second token by token, or patch by patch, of one grid.
//! - `positions`: `last`, where the next token is decided. Sites without positions of a prompt take all their rows; towers those
//!   that show a patch, if this is `pictures`. So `pictures` with rows of `positions` lays patches of a tower upon the
//!   positions of a decoder that show them; class tokens are no patches.
//! - `estimator`: `debiased`; `full`, as most papers print it; `{"minibatch": {"batch": 256}}`, whose memory does not grow with the data.
//!   Batches are drawn in a seeded order of cases; the last has at least as many rows and less than twice as many.
//! - `seed`: 0, of the order and of what is shuffled.
//!
//! # Cost
//! One pass for each case and subject, which ends at the last of its sites. Then, whichever takes fewer multiplications and fits into
//! memory, of `n` rows `n^2 d` for each site and `2 n^2` for each pair, or `2 n d d'` for each pair. Memory: `8 n d` bytes for each site
//! (of batches `n` is less than twice their size), and `8 n^2` for each or one copy of the widest. In double precision, on one thread. Telling the cost beforehand encodes every case.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no sites, or batches of fewer than four rows. Running: [`AnalysisError::Input`] without a data
//! set, for fewer than two rows (debiased four), rows that are all alike (zero variance; the site is named), rows that are equally far
//! apart, rows of two sites that do not show the same; [`AnalysisError::Memory`]; an unknown site; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! What is quoted was seen on `shapes-llava` and `shapes-clip` (debiased, 200 scenes, where nothing else is said).
//! - With fewer rows than dimensions `full` is near 1 whatever is compared (Murphy, Zylberberg, Fyshe: Correcting Biased Centered Kernel
//!   Alignment Measures in Biological and Artificial Neural Networks. 2024. <https://arxiv.org/abs/2405.01012>). CLIP's text block 2 and the
//!   decoder's block 3: 0.68 of 24 scenes, of which shuffled rows give 0.46; debiased 0.41, and 0.34 of 200. Debiased estimates of few
//!   rows scatter instead, also below 0: see `shuffled`.
//! - Streams hand on what they had: patches are 0.99 alike from the connector to the decoder's last block, and what its attention adds to
//!   them there is 0.05 like them. A layer is told by `attn_out` and `mlp_out`.
//! - Few dimensions with most of the variance decide alone: see `variance`. So do few cases that lie far from all others, of which no
//!   table tells (Nguyen, Raghu, Kornblith: On the Origins of the Block Structure Phenomenon in Neural Network Representations. TMLR
//!   2022. <https://arxiv.org/abs/2202.07184>).
//! - The cases decide: the decoder's blocks 0 and 2 are 0.77 alike over questions of colours and 0.5 over those of sizes. What rows are does, too:
//!   the towers' blocks 1 are 0.95 alike by scene, as means, and 0.74 by patch.
//! - Two models share the pictures: their mean embeddings, a linear map of the mean patch, are 0.999 alike, and the pixels themselves are 0.71
//!   like either's first block. Compare with `vision.pixels` before a likeness is taken for something learned.
//! - It moves by changes that no function of the model notices (Davari, Horoi, Natik, Lajoie, Wolf, Belilovsky: Reliability of CKA as a
//!   Similarity Measure in Deep Learning. ICLR 2023. <https://arxiv.org/abs/2210.16156>).
//!
//! # Agreement
//! NumPy 2.4.6, kernels and HSIC written out, every estimator: of drawn rows 7e-15 apart at most; of rows of `llava-a` and `llava-b` in transformers
//! 3.3e-7. Identities tested: rows are wholly like themselves; symmetry; reflections, scales and shifts change nothing, a scaled dimension does; one batch is
//! the debiased estimate; the order of rows does not matter; both ways of multiplying agree with the sums as the papers print them; independent rows give about 0, and `full` 1/2
//! where there are as many as dimensions.
//!
//! # Reference
//! Kornblith, Norouzi, Lee, Hinton: Similarity of Neural Network Representations Revisited. ICML 2019. <https://arxiv.org/abs/1905.00414>.
//! `HSIC_1`: Song, Smola, Gretton, Bedo, Borgwardt: Feature Selection via Dependence Maximization. JMLR 13, 2012. Batches: Nguyen, Raghu,
//! Kornblith: Do Wide and Deep Networks Learn the Same Things? ICLR 2021. <https://arxiv.org/abs/2010.15327>. There batches are of one
//! size and what is left over is dropped; here the last takes it in.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Sample, from_fn};
//! use mmlens_model::{Cka, cka::Settings};
//! let text = |i: usize| format!("{}{}", ["a", "c", "d"][i % 3], "b".repeat(i % 4));
//! let words = from_fn("words", 12, move |i| Ok(Case::new(Sample::text(text(i)))));
//! let (one, other) = (mmlens_testkit::Toy::curved(1), mmlens_testkit::Toy::curved(2));
//! let finding = Cka::new(Settings::default())?.run(&one, &ManyCases::over(words)?.beside(other))?;
//! println!("{:?}", finding.table("cka")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Card, Cost, Leaf, ManyCases, Memory, On, Part, Point, Seed, Selector,
    Site,
};
use mmlens_engine::{Positions, Progress, drawn_order};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::setting;

mod batches;
mod hsic;
mod places;

use batches::{Batches, Compared, Shares};
use hsic::Pairs;
use places::Places;

/// What this method is.
pub const CARD: Card = Card {
    id: "cka",
    short: "cka",
    name: "Centred kernel alignment",
    question: "Are the same cases laid out alike at two places of a model, or of two models?",
    citation: "Kornblith, Norouzi, Lee, Hinton: Similarity of Neural Network Representations Revisited. ICML 2019. https://arxiv.org/abs/1905.00414",
    leaf: Leaf::Layer,
    cost: "1 forward for each case and subject",
    needs: &[],
    misleads: &[
        "With fewer rows than dimensions the full estimate is near 1 whatever is compared.",
        "Few dimensions with most of the variance decide alone.",
        "The cases decide: those that differ in one obvious way make models alike.",
    ],
    first: false,
};

/// What is compared, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The sites on the first axis; without them the stream behind every block of the last part.
    pub sites: Option<Vec<Selector>>,
    /// Those on the second, of the second subject, if there is one; without them as on the first.
    pub against: Option<Vec<Selector>>,
    /// What a row is.
    pub rows: RowsOf,
    /// Which positions of a prompt are looked at.
    pub positions: Positions,
    /// How likeness is estimated.
    pub estimator: Estimator,
    /// The seed of the order of batches and of what is shuffled.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sites: None,
            against: None,
            rows: RowsOf::default(),
            positions: Positions::Last,
            estimator: Estimator::default(),
            seed: Seed(0),
        }
    }
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowsOf {
    /// A case: the mean over its positions.
    #[default]
    Cases,
    /// A position of a case.
    Positions,
}

/// How likeness is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// The product of centred kernels: biased towards 1 where rows are few.
    Full,
    /// Without bias, over all rows at once.
    #[default]
    Debiased,
    /// Without bias, as the mean over batches.
    Minibatch {
        /// Rows of a batch, at least four.
        batch: usize,
    },
}

impl Estimator {
    /// How many rows wait at most, where each case has as many as the first.
    fn expected(self, of_first: usize, cases: usize) -> usize {
        let all = of_first.saturating_mul(cases);
        if let Self::Minibatch { batch } = self { all.min(2 * batch + of_first) } else { all }
    }

    /// The fewest rows it can do with.
    const fn least(self) -> usize {
        if matches!(self, Self::Full) { 2 } else { LEAST }
    }
}

/// `HSIC_1` takes so many rows.
const LEAST: usize = 4;
/// A dimension with this share of the variance is cautioned of, and so are ten with that share.
const DOMINANT: [f64; 2] = [0.5, 0.9];

/// CKA with checked settings.
#[derive(Debug, Clone)]
pub struct Cka {
    settings: Settings,
}

/// How alike two sets of rows are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// CKA.
    pub cka: f64,
    /// That of the same rows with the second ones shuffled.
    pub shuffled: f64,
}

impl Cka {
    /// CKA of rows that are there already, `[n, width]` of each, row `i` of one being of what row `i` of the other is. Of the settings the
    /// estimator and the seed count. In batches rows come as they are: the order of cases is drawn where cases are.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for rows that are not as many, too few, no finite numbers, or all alike.
    pub fn of_rows(&self, left: (&[f64], usize), right: (&[f64], usize)) -> Result<Likeness, AnalysisError> {
        let refused = |needs: &'static str, found: String| {
            Err(AnalysisError::Input { method: CARD.id, needs: needs.into(), found })
        };
        let count = |(values, width): (&[f64], usize)| {
            values.len().checked_div(width).filter(|rows| rows * width == values.len())
        };
        let (Some(rows), Some(others)) = (count(left), count(right)) else {
            return refused("values that fill rows", format!("{} and {}", left.0.len(), right.0.len()));
        };
        if rows != others {
            return refused("as many rows on either side", format!("there are {rows} and {others}"));
        }
        if let Some(at) = left.0.iter().chain(right.0).position(|value| !value.is_finite()) {
            return refused("finite numbers", format!("value {at} of both is none"));
        }
        let pairs = Pairs { widths: vec![left.1, right.1], left: vec![0], right: vec![1] };
        let nowhere = Site::of(Part::Text, Point::Input);
        let mut batches = Batches::new(pairs, &self.settings, rows, Memory::default(), nowhere);
        for (one, other) in left.0.chunks(left.1.max(1)).zip(right.0.chunks(right.1.max(1))) {
            batches.take(0, one)?;
            batches.take(1, other)?;
            batches.settle(1)?;
        }
        let sides = |side: usize| ["the first rows", "the second rows"].get(side).map_or("", |name| name);
        let found = batches.finish(&|side| sides(side).to_owned(), &mut || Ok(()))?;
        match (found.cka.as_slice(), found.shuffled.as_slice()) {
            ([cka], [shuffled]) => Ok(Likeness { cka: *cka, shuffled: *shuffled }),
            _ => refused("one pair", format!("there are {}", found.cka.len())),
        }
    }
}

impl Analysis for Cka {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let lists = [("sites", &settings.sites), ("against", &settings.against)];
        if let Some((name, _)) = lists.iter().find(|(_, some)| some.as_ref().is_some_and(Vec::is_empty)) {
            return Err(setting(&CARD, name, "none", "there must be one"));
        }
        match settings.estimator {
            Estimator::Minibatch { batch } if batch < LEAST => {
                Err(setting(&CARD, "batch", batch, "it must be at least 4: HSIC_1 takes so many rows"))
            }
            _ => Ok(Self { settings }),
        }
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, input: &ManyCases) -> Result<Cost, AnalysisError> {
        Places::of(&self.settings, on, input)?.cost(input.len(), self.settings.estimator)
    }

    fn answer(&self, on: &On<'_>, input: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { estimator, seed, .. } = self.settings;
        let places = Places::of(&self.settings, on, input)?;
        let (pairs, cases) = (places.pairs.clone(), input.len());
        let total = places.passes(cases) + pairs.right.len();
        let mut progress = Progress::new(on.watch(), CARD.id, total);
        let mut batches = Batches::new(pairs.clone(), &self.settings, cases, on.memory(), places.widest()?);
        let order = match estimator {
            Estimator::Minibatch { .. } => drawn_order(cases, seed),
            _ => (0..cases).collect(),
        };
        for index in order {
            places.take(index, &mut batches, &mut || progress.advance(1))?;
        }
        let found = batches.finish(&|site| places.named(site), &mut || progress.advance(1))?;
        let [first, second] = [&pairs.left, &pairs.right].map(|side| places.sites(side));
        let tables = self.tables(&found, cases, &places)?;
        let mut sites = [first.as_slice(), second.as_slice()].concat();
        sites.sort_unstable();
        sites.dedup();
        Ok(Answer::new(tables, sites)
            .against("the rows of the second, shuffled")
            .seeded(seed)
            .cautioned(self.cautions(&found, &places))
            .settled("sites", json!(first))
            .settled("against", json!(second)))
    }
}

impl Cka {
    fn tables(
        &self,
        found: &Compared,
        cases: usize,
        places: &Places<'_>,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let Compared { pairs, cka, shuffled, rows, batches, spreads } = found;
        let axis = |side: &[usize]| Axis::names(Role::Layer, places.sites(side));
        let table = |name: &str, values: &[f64]| {
            let axes = vec![axis(&pairs.left), axis(&pairs.right)];
            Labelled::numbers(name, Unit::Ratio, axes, values.iter().map(|value| *value as f32).collect())
        };
        let mut tables = vec![table("cka", cka)?, table("shuffled", shuffled)?];
        let counts = [("cases", cases), ("rows", *rows), ("batches", *batches)];
        let names = Axis::names(Role::Concept, counts.map(|(name, _)| name));
        let values = counts.map(|(_, count)| count as f32).to_vec();
        tables.push(Labelled::numbers("rows", Unit::Count, vec![names], values)?.aside());
        for (side, of) in [(&pairs.left, ""), (&pairs.right, " of the second")] {
            let widths = side.iter().filter_map(|at| pairs.widths.get(*at).map(|width| *width as f32));
            let (name, axes) = (format!("dimensions{of}"), vec![axis(side)]);
            tables.push(Labelled::numbers(name, Unit::Count, axes, widths.collect())?.aside());
            let shares = side.iter().filter_map(|at| spreads.get(*at));
            let shares = shares.flat_map(|Shares { largest, ten, .. }| [*largest as f32, *ten as f32]);
            let axes = vec![axis(side), Axis::names(Role::Concept, ["largest dimension", "ten largest"])];
            let name = format!("variance{of}");
            tables.push(Labelled::numbers(name, Unit::Ratio, axes, shares.collect())?.aside());
        }
        Ok(tables)
    }

    /// What the numbers may owe to something else.
    fn cautions(&self, found: &Compared, places: &Places<'_>) -> Vec<Caution> {
        let mut said = Vec::new();
        let wide = found.pairs.widths.iter().copied().max().unwrap_or_default();
        if self.settings.estimator == Estimator::Full && found.rows < wide {
            let mean = found.shuffled.iter().sum::<f64>() / found.shuffled.len().max(1) as f64;
            let text = format!(
                "{} rows of up to {wide} dimensions: the full estimate is biased towards 1, and shuffled rows give {mean:.2}",
                found.rows
            );
            said.push(Caution::new(CautionKind::FewRows, found.rows as f32, text));
        }
        let [one, few] = DOMINANT;
        for (at, (Shares { at: dimension, largest, ten }, width)) in
            found.spreads.iter().zip(&found.pairs.widths).enumerate()
        {
            let (name, percent) = (places.named(at), |share: &f64| (100.0 * share).round());
            let (share, text) = if *largest >= one {
                let text = format!(
                    "{name}: {} % of the variance lies in dimension {dimension} of {width}",
                    percent(largest)
                );
                (largest, text)
            } else if *ten >= few && *width >= 40 {
                let text =
                    format!("{name}: {} % of the variance lies in 10 of {width} dimensions", percent(ten));
                (ten, text)
            } else {
                continue;
            };
            said.push(Caution::new(CautionKind::OneDirection, *share as f32, text));
        }
        said
    }
}
