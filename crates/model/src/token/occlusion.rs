//! Occlusion: how much of this answer goes when a part of the picture or a word is hidden?
//!
//! # Idea
//! For an objective `f` and an input `x`, hiding a part `p` costs
//!
//! ```text
//! d_p = f(x) - f(x with p hidden)
//! ```
//!
//! Parts of a picture are windows of the processed pixels, set to a baseline. Where windows overlap, a place
//! has the mean over the windows that cover it. Words are hidden one token at a time.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture` | row, column | objective | the drop at every place, on the original picture |
//! | `windows` | row, column | objective | the drop of every window, only where windows overlap |
//! | `tokens` | token | objective | the drop of every token that does not show a picture |
//! | `objective` | | objective | `f(x)` |
//!
//! `picture` has the coarsest rows and columns on which it is constant: one for each cell of a grid. Several
//! pictures are hidden one at a time, and each has its own tables: `picture/0`, `picture/1`; of pictures in tiles each tile has. Cell
//! `i` of `k` over `n` pixels begins at pixel `i n / k`, rounded down. What fills a caption up to a fixed length (SigLIP) is no token
//! that is hidden, though its tower may read it.
//!
//! # Settings
//! - `picture`: [`Cover::Grid`] of cells (default 8 x 8) or [`Cover::Sliding`] windows with a stride, high and
//!   wide in processed pixels; `None` leaves pictures whole, as does a sample without any.
//! - `pixels`: the baseline of hidden pixels, by default the picture's own mean colour. On the shapes world it finds the
//!   evidence 1.6 times better than the colour that normalisation makes zero.
//! - `words`: [`Hide::Replace`] puts a baseline in the place of the token's vector at `text.blocks.0.resid_pre`, where it
//!   enters the first block (default, with zero); [`Hide::Unattended`] leaves the vector but lets nobody else attend to it, in any layer, so
//!   that nothing unusual enters the stream; `None` leaves words whole, as does a sample without any, and a model whose words
//!   an encoder of their own reads.
//! - `rows`: 16 variants share a pass.
//!
//! # Cost
//! One forward pass for each window and each token, and one more. For tokens the tower does not run again:
//! passes begin at block 0. Windows run everything. No gradients. Peak memory grows with `rows`; the numbers do
//! not depend on it beyond rounding.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for nothing to hide, a window or grid of nothing, strides that leave
//! gaps, no rows. Running: [`AnalysisError::Input`] for a sample that has neither of what is to be hidden, pictures that the tower is given as patches (Qwen-VL) unless `picture` is `None`, a grid finer than the
//! picture, a case of several rows; [`AnalysisError::Subject`];
//! [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A hole is something the model has never seen; a drop may be its surprise rather than the loss of evidence
//!   (Hooker et al. 2019, "A Benchmark for Interpretability Methods in Deep Neural Networks").
//! - Evidence that stands in two places costs nothing when either is hidden alone.
//! - Small windows miss large objects, large ones blur small ones: run two sizes.
//! - Hiding the first token or a marker of the template breaks the format, not the evidence (attention sinks:
//!   Xiao et al. 2024, "Efficient Streaming Language Models with Attention Sinks"); hiding the last token hides
//!   where the answer is read from.
//!
//! # Agreement
//! captum 0.9 on `llava-a`: cells of one patch and overlapping windows, largest difference relative to the
//! largest drop 4.6e-6. Identities tested: hiding by the values that stand there costs nothing; on an affine
//! subject the drops of all cells add up to the drop of the whole picture; the same for any `rows`.
//!
//! # Reference
//! Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014.
//! <https://arxiv.org/abs/1311.2901>. For words: Li, Monroe, Jurafsky: Understanding Neural Networks through
//! Representation Erasure. 2016. <https://arxiv.org/abs/1612.08220>. Zeiler and Fergus use grey squares; we
//! hide by a baseline and average where windows overlap, as captum does.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{Occlusion, occlusion::{Cover, Settings}};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let picture = Some(Cover::Sliding { window: [28, 28], stride: [14, 14] });
//! let finding = Occlusion::new(Settings { picture, ..Settings::default() })?.run(subject, case)?;
//! println!("{:?}", finding.table("picture")?.largest(3)?);
//! # Ok(())
//! # }
//! ```

use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Baseline, Card, Case, Copies, Cost, HookError, Inputs, Leaf,
    Memory, Objective, On, Part, Plan, Point, Site, SiteSpec, Subject, TokenMap, Trace, Words, kind,
};
use mmlens_engine::{
    Positions, Progress, Start, Windows, held, label, of_range, put, score, show, sweep, unattended,
};
use serde::{Deserialize, Serialize};

use crate::check::{at_least_one, input, one_row, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "occlusion",
    short: "occlusion",
    name: "Occlusion",
    question: "How much of this answer goes when a part of the picture or a word is hidden?",
    citation: "Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014. https://arxiv.org/abs/1311.2901",
    leaf: Leaf::Token,
    cost: "1 + windows + tokens forward, in batches; tokens without the tower",
    needs: &[],
    misleads: &[
        "A hole is something the model has never seen.",
        "Evidence that stands in two places costs nothing when either is hidden alone.",
        "The size of the window decides what can be found.",
    ],
    first: true,
};

const PIXELS: Site = Site::of(Part::Vision, Point::Pixels);
const ENTERED: Site = Site::block(Part::Text, 0, Point::ResidPre);

/// How a picture is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cover {
    /// So many cells that share no pixel.
    Grid {
        /// Cells one above the other.
        rows: usize,
        /// Cells side by side.
        cols: usize,
    },
    /// Windows of one size, one stride apart; the last ones are cut by the edge.
    Sliding {
        /// Height and width, in processed pixels.
        window: [usize; 2],
        /// Down and across, in processed pixels; no larger than the window.
        stride: [usize; 2],
    },
}

impl Cover {
    fn check(self) -> Result<(), AnalysisError> {
        let fail = |found: String, expected| Err(setting(&CARD, "picture", found, expected));
        match self {
            Self::Grid { rows, cols } if rows == 0 || cols == 0 => fail(
                format!("a grid of {rows} x {cols} cells"),
                "a grid needs at least one row and one column",
            ),
            Self::Sliding { window, stride } if window.contains(&0) || stride.contains(&0) => fail(
                format!("window {window:?}, stride {stride:?}"),
                "windows and strides must be at least 1",
            ),
            Self::Sliding { window, stride } if stride[0] > window[0] || stride[1] > window[1] => fail(
                format!("window {window:?}, stride {stride:?}"),
                "larger strides than windows leave gaps",
            ),
            _ => Ok(()),
        }
    }

    fn over(self, size: [usize; 2]) -> Result<Windows, AnalysisError> {
        match self {
            Self::Grid { rows, cols } if rows > size[0] || cols > size[1] => Err(input(
                &CARD,
                "a picture of at least one pixel for each cell",
                format!("{rows} x {cols} cells were asked for of {} x {} pixels", size[0], size[1]),
            )),
            Self::Grid { rows, cols } => Ok(Windows::grid(size, [rows, cols])),
            Self::Sliding { window, stride } => Ok(Windows::sliding(size, window, stride)),
        }
    }
}

/// How a word is hidden.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hide {
    /// A baseline takes the place of its vector where the stream begins.
    Replace(Baseline),
    /// Nobody else attends to it, in any layer.
    Unattended,
}

/// What is hidden, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How pictures are cut; `None` leaves them whole, as does a sample without any.
    pub picture: Option<Cover>,
    /// What stands in the place of hidden pixels.
    pub pixels: Baseline,
    /// How words are hidden; `None` leaves them whole, as does a sample without any, and one whose words an encoder of its own reads.
    pub words: Option<Hide>,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            picture: Some(Cover::Grid { rows: 8, cols: 8 }),
            pixels: Baseline::Mean,
            words: Some(Hide::Replace(Baseline::Zero)),
            rows: 16,
        }
    }
}

/// Occlusion with checked settings.
#[derive(Debug, Clone)]
pub struct Occlusion {
    settings: Settings,
    rows: NonZeroUsize,
}

impl Occlusion {
    /// What of a sample is hidden: windows over its pictures, and words.
    fn parts(
        &self,
        subject: &dyn Subject,
        case: &Case,
        inputs: &Inputs,
    ) -> Result<(Option<Pictures>, Vec<usize>), AnalysisError> {
        let map = one_row(&CARD, inputs)?;
        let cover = self.settings.picture.filter(|_| inputs.pixels.is_some());
        let pictures = cover.map(|cover| Pictures::of(cover, inputs)).transpose()?;
        let words = match self.settings.words {
            Some(_) if case.sample.words != Words::Nothing && !kind::reads_apart(subject) => {
                Positions::Words.of(map).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        if pictures.is_none() && words.is_empty() {
            let needs = match (self.settings.picture, &self.settings.words) {
                (Some(_), None) => "a picture to hide parts of",
                (None, Some(_)) => "words to hide",
                _ => "a picture or words to hide",
            };
            return Err(input(&CARD, needs, "the sample has none"));
        }
        Ok((pictures, words))
    }
}

impl Analysis for Occlusion {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        if settings.picture.is_none() && settings.words.is_none() {
            return Err(setting(&CARD, "picture, words", "none", "pictures, words or both must be hidden"));
        }
        settings.picture.map_or(Ok(()), Cover::check)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let (pictures, words) = self.parts(on.subject(), case, &inputs)?;
        let windows = pictures.map_or(0, |p| p.windows.len() * p.entries);
        let cost = Cost::rows(case.settling() + 1 + windows + words.len());
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn reads(&self, on: &On<'_>, case: &Case) -> Result<Vec<Site>, AnalysisError> {
        let (_, words) = self.parts(on.subject(), case, &on.encode(&case.sample)?)?;
        Ok(if words.is_empty() { Vec::new() } else { vec![ENTERED] })
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let map = one_row(&CARD, &inputs)?;
        let (pictures, words) = self.parts(subject, case, &inputs)?;
        let read = if words.is_empty() { &[][..] } else { &[ENTERED][..] };
        let mut plan = Plan::new().objective(objective);
        for site in read {
            plan = plan.read(*site)?;
        }
        let memory = on.memory().at_most(self.rows);
        memory.hold(CARD.id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let whole = on.unedited(case, (&inputs, objective), read)?;
        let windows = pictures.as_ref().map_or(0, |p| p.windows.len() * p.entries);
        let mut stage = Stage {
            subject,
            inputs: &inputs,
            map,
            objective,
            at: score(&whole)?,
            memory,
            kept: held(&whole),
            progress: Progress::new(on.watch(), CARD.id, windows + words.len()),
        };
        let (mut tables, mut sites, mut baselines) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(pictures) = &pictures {
            tables.extend(stage.pictures(pictures, &self.settings.pixels)?);
            sites.push(PIXELS);
            baselines.push(format!("{PIXELS}: {}", self.settings.pixels.describe(PIXELS)));
        }
        if let Some(hide) = self.settings.words.as_ref().filter(|_| !words.is_empty()) {
            tables.push(stage.words(&words, hide, &whole)?);
            match hide {
                Hide::Replace(baseline) => {
                    sites.push(ENTERED);
                    baselines.push(format!("{ENTERED}: {}", baseline.describe(ENTERED)));
                }
                Hide::Unattended => sites.extend(scores(subject)),
            }
        }
        tables.push(Labelled::scalar("objective", stage.unit(), stage.at));
        let answer = Answer::new(tables, sites).explaining(&objective);
        Ok(if baselines.is_empty() { answer } else { answer.against(baselines.join("; ")) })
    }
}

/// The pictures of a sample and the windows over each.
struct Pictures {
    pixels: AnyTensor,
    entries: usize,
    windows: Windows,
}

impl Pictures {
    fn of(cover: Cover, inputs: &Inputs) -> Result<Self, AnalysisError> {
        let none = || input(&CARD, "a picture to hide parts of", "the sample has none");
        let packed = "this model is given patches of all pictures, one after the other";
        let pixels = inputs.pixels.clone().ok_or_else(none)?;
        match *pixels.dims() {
            [entries, _, height, width] if entries > 0 => {
                Ok(Self { entries, windows: cover.over([height, width])?, pixels })
            }
            [_, _] => Err(input(&CARD, "pictures in rows and columns", packed)),
            _ => Err(none()),
        }
    }
}

fn scores(subject: &dyn Subject) -> impl Iterator<Item = Site> {
    let scores = |site: &Site| site.part() == Part::Text && site.point() == Point::Scores;
    subject.sites().iter().map(|spec| spec.site).filter(scores)
}

/// What all passes share.
struct Stage<'a> {
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    map: &'a TokenMap,
    objective: Objective,
    at: f32,
    memory: Memory,
    /// Bytes that are held throughout.
    kept: u64,
    progress: Progress<'a>,
}

impl Stage<'_> {
    fn unit(&self) -> Unit {
        self.objective.unit()
    }

    fn drops(&self, scores: &[f32]) -> Vec<f32> {
        scores.iter().map(|score| self.at - score).collect()
    }

    fn spec(&self, site: Site) -> Result<&SiteSpec, HookError> {
        self.subject.sites().iter().find(|spec| spec.site == site).ok_or(HookError::Unpublished(site))
    }

    fn pictures(&mut self, pictures: &Pictures, baseline: &Baseline) -> Result<Vec<Labelled>, AnalysisError> {
        let Pictures { pixels, entries, windows } = pictures;
        let hidden = baseline.at(self.spec(PIXELS)?, pixels, self.inputs)?;
        let mut tables = Vec::new();
        for entry in 0..*entries {
            let (picture, hidden) = (pixels.rows(entry, 1)?, hidden.rows(entry, 1)?);
            let (objective, inputs) = (self.objective, self.inputs);
            let plan = Plan::new().objective(objective);
            // Of every variant the picture, hidden and not, and which of its pixels are.
            let pixels = 3 * picture.dims().iter().product::<usize>();
            let rows = self.memory.rows(CARD.id, self.kept, |times| {
                Ok(self.subject.need(inputs, &plan, Copies::pictures(times))?.and(times * pixels))
            })?;
            let scores = sweep(self.subject, objective, windows.len(), rows, &mut self.progress, |range| {
                Ok((show(inputs, entry, windows.hide(&picture, &hidden, range)?)?, Plan::new()))
            })?;
            let drops = self.drops(&scores);
            let name = |what: &str| if *entries > 1 { format!("{what}/{entry}") } else { what.to_owned() };
            let [rows, cols] = windows.cells();
            let axes = label::picture_axes(self.map, entry, &rows, &cols).to_vec();
            tables.push(Labelled::numbers(name("picture"), self.unit(), axes, windows.mean(&drops)?)?);
            if windows.overlap() {
                let named = |role, ranges: &[std::ops::Range<usize>]| {
                    Axis::names(role, ranges.iter().map(|r| format!("{}–{}", r.start, r.end)))
                };
                let axes = vec![named(Role::Row, windows.rows()), named(Role::Column, windows.cols())];
                tables.push(Labelled::numbers(name("windows"), self.unit(), axes, drops)?.aside());
            }
        }
        Ok(tables)
    }

    fn words(&mut self, words: &[usize], hide: &Hide, whole: &Trace) -> Result<Labelled, AnalysisError> {
        let start = Start::block(self.inputs, whole, 0)?;
        let hidden = match hide {
            Hide::Replace(baseline) => {
                Some(baseline.at(self.spec(ENTERED)?, whole.get(ENTERED)?, self.inputs)?)
            }
            Hide::Unattended => None,
        };
        let objective = self.objective;
        let planned = |plan: Plan, places: Vec<Vec<usize>>| match &hidden {
            Some(hidden) => put(plan, ENTERED, places, hidden.clone()),
            None => unattended(plan, "text.blocks.*.attn.scores", places),
        };
        let (one, plan) = start.copies(1)?;
        let plan = planned(plan, vec![vec![0]])?.objective(objective);
        // The stream, once more for what is put in its place.
        let stream = whole.get(ENTERED)?.dims().iter().product::<usize>();
        let rows = self.memory.rows(CARD.id, self.kept, |times| {
            Ok(self.subject.need(&one, &plan, Copies::rows(times))?.and(times * stream))
        })?;
        let scores = sweep(self.subject, objective, words.len(), rows, &mut self.progress, |range| {
            let (inputs, plan) = start.copies(range.len())?;
            let places = of_range(words, range)?.iter().map(|position| vec![*position]).collect();
            Ok((inputs, planned(plan, places)?))
        })?;
        let axis = label::token_axis_at(self.map, words);
        Ok(Labelled::numbers("tokens", self.unit(), vec![axis], self.drops(&scores))?)
    }
}
