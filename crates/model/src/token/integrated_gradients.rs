//! Integrated gradients: which pixels, words or inner values does this answer come from, in shares that add up?
//!
//! # Idea
//! For an objective `f`, an input `x` and a baseline `x'` that stands for "not there", coordinate `i`
//! contributes
//!
//! ```text
//! a_i = (x_i - x'_i) * integral from 0 to 1 of  d f / d x_i ( x' + t (x - x') )  dt
//! ```
//!
//! so that all contributions together are `f(x) - f(x')` (completeness). The integral is a weighted sum over
//! the nodes of a quadrature rule. `x` may be the value of any [`Site`], or the values of several, which then
//! move together along one path: pixels and word embeddings share the change between them.
//!
//! Of a subject that compares two towers (CLIP, SigLIP) each tower's sites have a path of their own, along which the other tower
//! keeps what it was given: pixels from their baseline with the caption as it is, words with the picture as it is. Each path is
//! complete by itself. On a common path both would begin at a pair that may fit better than any true one.
//!
//! # In and out
//! In: a [`Case`] of one row. Out, for every site `S`; sums come first, single coordinates stand aside:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `S` | those of the site, without the batch | objective | the contribution of every coordinate |
//! | `S/picture` | row, column, or patch | objective | pixels: summed over channels, on the original picture; a tower that is given patches (Qwen-VL) has one value each |
//! | `S/tokens` | token or patch | objective | sites with positions: summed over everything else |
//! | `by site` | concept | objective | the sum over each site |
//! | `path` | step | objective | the objective at every node |
//! | `objective`, `objective at baseline` | | objective | `f(x)` and `f(x')` |
//! | `completeness gap` | | objective | sum of all contributions minus `f(x) - f(x')` |
//! | `relative completeness gap` | | ratio | that gap over `f(x) - f(x')`, without sign |
//! | `missed by panels` | | ratio | what panels of the path miss of the change between their ends, all without signs, over `f(x) - f(x')`; not with `steps` |
//! | `places` | | count | how many places of the path were looked at; not with `steps` |
//! | `cautions` | rank | text | of each path the first that holds: nothing moved, both ends barely differ or the wrong way round, the relative gap is above `gap` (0.01 with `steps`), or
//!
//! Where there are two paths, `path` is one table for each (`path/S`), unless `steps` are given; all others of these but `objective` have an axis more before the others, concept: the sites of each path. Where a site holds several pictures, each has its own
//! tables: `S/0`, `S/0/picture`, `S/1` and so on; pictures in tiles have one for each tile, and Qwen-VL's pictures, which are one sequence, share one.
//! A caption that a tokenizer fills up to a fixed length (SigLIP) moves with what fills it up, as far as the tower reads that.
//!
//! # Settings
//! - `along`: sites and their baselines, which move at every position, those of a given answer too (but for a mean over positions, in which
//!   it has no part). By default (`None`) what the sample has: `vision.pixels` from each picture's own mean
//!   colour, and the words, `text.embed` (of a model whose words an encoder of their own reads `encoder.embed`), from their mean (an
//!   answer that the sample holds stays as it is: it has no part in the mean, and no share); a
//!   caption that is compared with a picture from zero. The mean is over all positions of the prompt that hold words, its markers among them. On the shapes world the mean colour finds the evidence 1.3 times better
//!   than the colour that normalisation makes zero.
//! - `sites`: these in the place of pictures and words, each from its mean over positions (a caption that is compared with a picture from
//!   zero); `along` says baselines too, and is given alone.
//! - `gap`, `budget`: 0.01 and 512. The path is cut into 32 panels of five equal places each, both ends among them, which Boole's rule weighs. The objective at
//!   the ends of a panel says what it should give, so that what it misses is known; panels that miss at least a quarter as much as the worst are halved, until what
//!   all of them miss, without signs, is no more than `gap` of the change along the path, or `budget` places have been looked at. From the mean of its words to
//!   a prompt a trained decoder changes its mind in steps too narrow for fixed nodes (`docs/words.md` has what was measured on SmolLM2). A smooth path is done
//!   with the first 129 places. Their gradients are held in half of the memory; where sites are too large for that, they are made again when their weights are known.
//! - `steps`, `rule`: none, and Gauss and Legendre. So many nodes of one rule, as captum has it, in the place of panels: for comparing. What enters behind a norm has a kink where it is zero:
//!   a norm forgets the length of what it is given, so that a stream or an embedding that grows from zero brings nearly all of its change at
//!   once. On `llava-a`, `text.embed` from zero has a relative gap of 0.33 with 32 nodes, 0.012 with 128 and
//!   1e-7 with 512; from its mean over positions 32 leave a gap of 6e-4 logits. Nor is it smooth in a network
//!   of rectifiers: on the shipped shapes model, contributions of pixels from zero are off by 12 % (in the
//!   Euclidean norm) with 32 nodes, 6 % with 64, 2 % with 128, 1 % with 256.
//! - `rows`: 8 nodes share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! `text.embed` holds vectors for image placeholders too; they have no effect, since image features take their
//! places, and no part in a mean over positions. `text.input` is the stream after that.
//!
//! # Cost
//! Two forward passes, then `steps / rows` forward and backward passes of `rows` rows, or as many for 129 to `budget` places. Peak memory grows with
//! `rows`, and with the gradient at every place, as long as they fit into half of the memory: beyond that every place is passed twice. The tower runs for every node if a site lies in it; once a batch if all sites lie in the language
//! model but before its blocks; not again if all lie in blocks or at `text.input`: passes then begin at the
//! first block that has one. The numbers do not depend on `rows` beyond rounding, which may decide between two panels that miss alike.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no site, a site twice, no or more than 4096 steps, fewer than two
//! with the trapezoid rule, a gap that is no share, a budget outside 129 to 65536, no rows. Running: [`AnalysisError::Subject`] for a site the subject does not have,
//! a baseline that does not fit, or a site that does not reach the objective (also one whose value is replaced
//! further on by another site of the same path); [`AnalysisError::Input`] for a case of several rows;
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - The baseline is part of the question: another one gives another answer (Sturmfels, Lundberg, Lee 2020,
//!   "Visualizing the Impact of Feature Attribution Baselines"). On a trained decoder the words of a prompt, ranked by their shares from the
//!   mean of its words and from that of the vocabulary, had a median correlation of 0.15 (`docs/words.md`).
//! - Between baseline and input lie inputs the model has never seen, and their gradients count as much as any
//!   (Kapishnikov et al. 2021, "Guided Integrated Gradients").
//! - The mean of a caption's own words still has all of them in it: a dual encoder that reads captions as sets of words finds
//!   that it fits as well as the caption, so that its words seem to count for nothing. From zero they do count: on 16 true captions
//!   of the shapes world `shapes-clip` gives the text -1.4 logits from its mean and 12.5 from zero, of 65.
//! - A large gap says that nodes are too few. A small one does not say that they are enough: errors of many
//!   coordinates can cancel in the sum, within a panel too. For a question to the shipped shapes model, `text.input` from its mean
//!   with 16 nodes had a relative gap of 2 % and contributions off by 19 %. Double the nodes and compare.
//! - Contributions of saturated or redundant inputs are spread or cancel.
//! - Maps of pixels can look like the picture whatever the model computes (Adebayo et al. 2018, "Sanity Checks
//!   for Saliency Maps").
//!
//! # Agreement
//! captum 0.9 on `llava-a` with 16 nodes, three rules: largest difference relative to the largest contribution
//! 2.8e-6 for pixels, 2.7e-6 for pixels and embeddings jointly. captum's trapezoid weights for `n` nodes sum to
//! `1 - 1/n`; they are compared after division by that. Identities tested: completeness at every kind of site;
//! exact with one node for an affine subject; nothing where input and baseline are equal; the same for any
//! `rows`.
//!
//! # Reference
//! Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks. ICML 2017.
//! <https://arxiv.org/abs/1703.01365>. The paper uses right Riemann sums of 20 to 300 steps; we depart by the
//! rule, and by adding nodes where they are missed.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Baseline, Case};
//! use mmlens_engine::End;
//! use mmlens_model::{IntegratedGradients, integrated_gradients::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let along = vec![End::new("vision.pixels".parse()?, Baseline::Zero), End::new("text.embed".parse()?, Baseline::Mean)];
//! let method = IntegratedGradients::new(Settings { along: Some(along), ..Settings::default() })?;
//! let finding = method.run(subject, case)?;
//! println!("{:?}", finding.table("by site")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Baseline, Capability, Card, Case, Cost, HookError, Inputs, Leaf,
    Objective, On, Part, Site, Subject, caution, kind,
};
use mmlens_engine::{End, Nodes, Path, PathIntegral, Progress, Rule, Spoken, one_row};
use serde::{Deserialize, Serialize};

use crate::check::{at_least_one, ends_named, entered, input, setting};
use crate::contributions::{beginnings, moved, over_paths, panel_gaps, relative_gap, settled, shown};

/// What this method is.
pub const CARD: Card = Card {
    id: "integrated-gradients",
    short: "ig",
    name: "Integrated gradients",
    question: "Which pixels, words or inner values does this answer come from, in shares that add up?",
    citation: "Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks. ICML 2017. https://arxiv.org/abs/1703.01365",
    leaf: Leaf::Token,
    cost: "2 forward + 129 to 512 x (forward + backward), in batches",
    needs: &[Capability::Gradients],
    misleads: &[
        "Another baseline gives another answer.",
        "The path leads through inputs the model has never seen.",
        "Too few nodes; a small completeness gap is needed, but not enough.",
    ],
    first: true,
};

/// How the path runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The sites that move together, each from its baseline; `None` for the pictures and the words of the sample.
    pub along: Option<Vec<End>>,
    /// The sites that move together, each from where pictures or words would begin; alone, without `along`.
    pub sites: Option<Vec<Site>>,
    /// How much of the change along a path its panels may miss together, without signs, as a share.
    pub gap: f64,
    /// The most places of a path that are looked at for that.
    pub budget: usize,
    /// So many nodes where `rule` puts them, and not as many as `gap` needs.
    pub steps: Option<usize>,
    /// Where the nodes lie, if `steps` says how many.
    pub rule: Rule,
    /// How many nodes share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            along: None,
            sites: None,
            gap: 0.01,
            budget: 512,
            steps: None,
            rule: Rule::GaussLegendre,
            rows: 8,
        }
    }
}

/// Integrated gradients with checked settings.
#[derive(Debug, Clone)]
pub struct IntegratedGradients {
    settings: Settings,
    nodes: Nodes,
    rows: NonZeroUsize,
}

impl IntegratedGradients {
    /// The sites that move: those asked for, or the pictures and words of a sample, each from its mean. A caption that is compared
    /// with a picture moves from zero: the mean of its words, with all of them in it, fits the picture as well as the caption.
    /// What enters behind an objective is left out.
    fn along(&self, subject: &dyn Subject, inputs: &Inputs, objective: &Objective) -> Vec<End> {
        if let Some(along) = &self.settings.along {
            return along.clone();
        }
        let compares = kind::compares(subject);
        let end = |site: Site| {
            let read = compares && matches!(site.part(), Part::Text | Part::Encoder);
            End::new(site, if read { Baseline::Zero } else { Baseline::Mean })
        };
        if let Some(sites) = &self.settings.sites {
            return sites.iter().copied().map(end).collect();
        }
        entered(subject, inputs, objective).into_iter().map(end).collect()
    }

    fn paths(
        &self,
        on: &On<'_>,
        inputs: &Inputs,
        objective: &Objective,
    ) -> Result<Vec<PathIntegral>, AnalysisError> {
        let along = self.along(on.subject(), inputs, objective);
        if along.is_empty() {
            return Err(input(
                &CARD,
                "a picture or words that the subject publishes",
                "the sample has neither",
            ));
        }
        let (nodes, memory) = (self.nodes, on.memory().at_most(self.rows));
        let path = |ends| PathIntegral { ends, nodes, memory };
        Ok(End::paths(on.subject(), &along).into_iter().map(path).collect())
    }

    /// What speaks against the shares along a path: nothing moved, the two ends barely differ, or the shares do not add up.
    fn cautions(&self, objective: &Objective, path: &Path) -> Option<Caution> {
        let moved = moved(path);
        let values: Vec<f32> = path.along.iter().flat_map(|along| along.values.iter().copied()).collect();
        let nothing = || {
            caution::rounding(
                &values,
                (objective.unit(), path.at_input),
                &format!("contributions along `{moved}`"),
            )
        };
        let (with, without) = ("with the input", format!("at the baseline of `{moved}`"));
        let ends = || caution::contrast(objective, (path.at_input, with), (path.at_baseline, &without));
        let of = format!(" along `{moved}`");
        let missed = f64::from(relative_gap(path));
        let gap = || match panel_gaps(path) {
            Some(panels) => {
                let hint = format!(
                    " ({:.1} % panel by panel, without signs) at {} places; a larger `budget` may miss less",
                    100.0 * panels,
                    path.nodes.len()
                );
                // Errors of panels may cancel in the sum.
                let most =
                    if f64::from(panels) > PANELS * self.settings.gap { 0.0 } else { self.settings.gap };
                caution::gap(missed, most, &of, &hint)
            }
            None => {
                let hint = format!("; more than {} `steps` may miss less", path.nodes.len());
                caution::gap(missed, caution::GAP, &of, &hint)
            }
        };
        nothing().or_else(ends).or_else(gap)
    }
}

impl Analysis for IntegratedGradients {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { along, sites, gap, budget, steps, rule, rows } = &settings;
        ends_named(&CARD, along.as_deref(), sites.as_deref())?;
        let least = if *rule == Rule::Trapezoid { 2 } else { 1 };
        if let Some(steps) = steps
            && !(least..=4096).contains(steps)
        {
            let expected =
                if least == 2 { "the trapezoid rule needs 2 to 4096" } else { "it needs 1 to 4096" };
            return Err(setting(&CARD, "steps", steps, expected));
        }
        if !gap.is_finite() || *gap < 0.0 {
            return Err(setting(&CARD, "gap", gap, "it is a share of the change, 0 or above"));
        }
        if !(Nodes::LEAST..=65536).contains(budget) {
            return Err(setting(
                &CARD,
                "budget",
                budget,
                "the first panels need 129, and 65536 are the most",
            ));
        }
        let rows = at_least_one(&CARD, "rows", *rows)?;
        let nodes = match steps {
            Some(steps) => Nodes::Fixed { rule: *rule, steps: at_least_one(&CARD, "steps", *steps)? },
            None => Nodes::Adaptive { gap: *gap, budget: at_least_one(&CARD, "budget", *budget)? },
        };
        Ok(Self { settings, nodes, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let paths = self.paths(on, &inputs, &on.form(case, &inputs)?)?;
        let sites: Vec<Site> = paths.iter().flat_map(|path| &path.ends).map(|end| end.site).collect();
        let row = on.row(case, &inputs, &sites)?;
        let times = 1 + on.each(case, &on.form(case, &inputs)?).len();
        let (mut rows, mut held) = (0, 0);
        for path in &paths {
            let (own, bytes) = path.cost(on.subject(), &inputs)?;
            (rows, held) = (rows + own, bytes.max(held));
        }
        let cost =
            Cost::rows(case.settling() + times * (1 + paths.len() + rows)).with_gradients(times * rows);
        let bytes = row.bytes.saturating_mul(self.rows.get() as u64).saturating_add(held);
        Ok(cost.taking(bytes, on.memory().budget()))
    }

    fn reads(&self, on: &On<'_>, case: &Case) -> Result<Vec<Site>, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let objective = on.form(case, &inputs)?;
        let paths = self.paths(on, &inputs, &objective)?;
        Ok(paths.iter().flat_map(|path| path.reads(on.subject(), &objective)).collect())
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let paths = self.paths(on, &inputs, &objective)?;
        let read: Vec<Site> = paths.iter().flat_map(|path| path.reads(subject, &objective)).collect();
        paths.iter().try_for_each(|path| path.hold(subject, (&inputs, &objective), CARD.id))?;
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let times = 1 + spoken.objectives().len();
        let rows =
            paths.iter().map(|path| Ok(path.cost(subject, &inputs)?.0)).sum::<Result<usize, HookError>>()?;
        let mut progress = Progress::new(on.watch(), CARD.id, rows * times);
        let unit = objective.unit();
        let mut walk = |objective: &Objective| -> Result<Vec<Path>, AnalysisError> {
            let whole = on.unedited(case, (&inputs, objective), &read)?;
            let walked =
                paths.iter().map(|path| path.walk(subject, (&inputs, objective), &whole, &mut progress));
            walked.collect()
        };
        let walked = walk(&objective)?;
        // Each walk has places of its own, so that paths stand beside the whole alone.
        let of_token = |objective: &Objective| -> Result<Vec<Labelled>, AnalysisError> {
            shown(&walk(objective)?, unit, map, Vec::new())
        };
        let each: Vec<Vec<Labelled>> = spoken.objectives().iter().map(of_token).collect::<Result<_, _>>()?;
        let whole = shown(&walked, unit, map, scores(&walked, unit)?)?;
        let other = caution::other_sum(
            &whole,
            &each,
            caution::GAP,
            "a larger `budget`, or `steps`, may bring them together",
        );
        let tables = spoken.with_each(std::iter::once(Ok(whole)).chain(each.into_iter().map(Ok)))?;
        let along = || walked.iter().flat_map(|path| &path.along);
        let sites: Vec<Site> = along().map(|along| along.spec.site).collect();
        let answer = Answer::new(tables, sites).explaining(&objective).against(beginnings(&paths, map));
        let cautions = walked.iter().filter_map(|path| self.cautions(&objective, path));
        settled(&CARD, answer.cautioned(cautions.chain(other)), &paths)
    }
}

/// Panels that miss so many times the gap asked for, without signs, are spoken of even where their errors cancel.
const PANELS: f64 = 5.0;

// What the refusal of a small budget says.
const _: () = assert!(Nodes::LEAST == 129);

/// The objective along the paths: one table where all have the same nodes, one for each where they were added as needed.
fn scores(paths: &[Path], unit: Unit) -> Result<Vec<Labelled>, AnalysisError> {
    let over = over_paths(paths);
    let along = |path: &Path, place: fn(f64) -> String| {
        Axis::names(Role::Step, path.nodes.iter().map(|(node, _)| place(node.at)))
    };
    let told = |path: &Path| path.nodes.iter().map(|(_, score)| *score).collect::<Vec<_>>();
    let each = |path: &Path| {
        let name = if paths.len() > 1 { format!("path/{}", moved(path)) } else { "path".to_owned() };
        Labelled::numbers(name, unit, vec![along(path, fine_place)], told(path))
    };
    let tables = match paths {
        [path, ..] if path.missed.is_none() => {
            let axes = [over, vec![along(path, place)]].concat();
            vec![Labelled::numbers("path", unit, axes, paths.iter().flat_map(told).collect())?]
        }
        paths => paths.iter().map(each).collect::<Result<_, _>>()?,
    };
    Ok(tables)
}

/// A place on the path, near its beginning with as many digits as tell it from others.
fn place(at: f64) -> String {
    if at < 0.001 { format!("{at:.2e}") } else { format!("{at:.4}") }
}

/// A place in a panel, which may be narrow.
fn fine_place(at: f64) -> String {
    if at < 0.001 { format!("{at:.4e}") } else { format!("{at:.7}") }
}
