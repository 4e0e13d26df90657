//! LatentLens: in which words of which texts does the model hold what it holds of a patch?
//!
//! # Idea
//! A bank holds states of words in context, `b[t, i, m]`: the stream at position `i` of text `t`, at depth `m` (before block 0, or behind a block).
//! With `h[l, k]` the stream of the input at position `k` and depth `l`, its neighbours are the states of the bank, of all depths together,
//!
//! ```text
//! with the largest   cos(h[l, k], b[t, i, m]) = h . b / (|h| |b|)
//! ```
//!
//! and a neighbour is told as its word, the text around it, and its depth `m`, which need not be `l`. Search is exact. Of equally near ones the
//! first of the bank is taken. Beside each state stands a random vector of the same length: a state that lies no nearer to the bank than
//! random ones do says nothing.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `nearest` | layer, token | cosine | that of the nearest state of the bank |
//! | `words` | layer, token, rank | text | the words of the nearest states, nearest first |
//! | `contexts` | layer, token, rank | text | up to 8 tokens on either side, the word in brackets |
//! | `scores` | layer, token, rank | cosine | their cosines |
//! | `depths` | layer, token, rank | text | the depths in the bank that they come from |
//! | `depth of the nearest` | layer, depth | ratio | the share of positions whose nearest state has this depth |
//! | `random` | layer, token | cosine | that of the nearest state to the random vector |
//! | `beyond random` | layer | ratio | the share of positions that lie nearer than every random vector of that depth |
//! | `word share` | layer | ratio | the share of positions whose nearest token is a word, as [`nearest_words`](super::nearest_words) has it |
//! | `bank` | concept | count | texts that were read (of recorded activations none), states |
//!
//! # Settings
//! - `bank`: a file with one text on a line (empty lines are passed over), whose texts pass through the model at every run; or a folder of
//!   recorded activations of positions of prompts, at any sites as wide as the stream
//!   (`mmlens record`, `mmlens_store::Recording`), which is read some rows at a time, whatever its size. It must be of this very model.
//! - `texts`: the bank in words, where there is no `bank`. With neither, the words of the prompt itself.
//! - `bank_layers`: the depths of texts: before block 0, and behind all blocks or some ([`Indices`]). Of recorded activations all that there are.
//! - `skip`: 2: the first positions of a text are no part of the bank. They hold much attention and little of what they show.
//! - `positions`: those that show pictures; where none does, words ([`Positions`]). `layers`: before block 0, and behind all blocks or some.
//! - `top`: 5. `seed`: 0, of the random vectors.
//!
//! # Cost
//! For as many depths as a quarter of the memory holds: one pass of the input, one of each text of the bank, and every state and as many random
//! vectors times every state of the bank. Memory: states of the input, and of one text, or 4096 rows of what was recorded; nothing that grows
//! with the bank, but twelve bytes for each line of a file.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no neighbours, for texts beside a bank. Running: [`AnalysisError::Input`] for a bank that cannot be read (which
//! line, which file), is of another model, or has no word; positions that are not there; [`AnalysisError::Setting`] for a layer past the end;
//! [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - What the bank does not speak of is not found: the nearest of what there is is told. Read `scores` and `random` before `words`.
//! - States of one depth share large common parts; cosines between any two may be 0.9. What tells is the difference to others.
//! - Texts that begin alike give the same states for what they share, and fill the list with copies. Give each beginning once.
//! - With the prompt as bank its words have seen the picture, and a word is nearest to itself.
//!
//! # Agreement
//! NumPy on transformers' states of `llava-a` and `smolvlm-a` (a picture, of one piece and in tiles, and four texts): neighbours equal, largest difference of cosines 1.2e-6. Identities tested: a
//! text of the bank, shown to the method, has itself as its nearest neighbour, at its own depth, with a cosine of 1; a file, the same texts as a
//! setting and their recorded activations give the same; the same within less memory.
//!
//! # Reference
//! Krojer, Nayak, Mañas, Adlakha, Elliott, Reddy, Mosbach: LatentLens: Revealing Highly Interpretable Visual Tokens in LLMs. 2026.
//! <https://arxiv.org/abs/2602.00462>. Their banks keep up to 50 contexts of a token and each beginning of a text once, at 8 depths; here all there
//! is is compared. Random vectors are ours.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Sample};
//! use mmlens_model::latent_lens::{LatentLens, Settings};
//! let texts = ["abcabc", "fedfed"].map(str::to_owned).to_vec();
//! let method = LatentLens::new(Settings { texts, ..Settings::default() })?;
//! let finding = method.run(&mmlens_testkit::Toy::curved(1), &Case::new(Sample::text("abcab")))?;
//! println!("{:?}", finding.table("contexts")?.as_texts());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Leaf, On, Part, Seed, Site,
};
use mmlens_engine::{Indices, Near, Nearest, Nearness, Positions, Progress, batches, of_range};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::depths::Depths;
use super::nearest_words::{COPIES, beyond, is_word, matched};
use crate::check::{at_least_one, input, setting};

mod bank;

use bank::{Bank, Shown, depth_axis};

/// What this method is.
pub const CARD: Card = Card {
    id: "latent-lens",
    short: "latent",
    name: "LatentLens",
    question: "In which words of which texts does the model hold what it holds of a patch?",
    citation: "Krojer et al.: LatentLens: Revealing Highly Interpretable Visual Tokens in LLMs. 2026. https://arxiv.org/abs/2602.00462",
    leaf: Leaf::Token,
    cost: "1 forward + 1 for each text of the bank, unless it was recorded",
    needs: &[Capability::OwnWords, Capability::Blocks(Part::Text)],
    misleads: &[
        "What the bank does not speak of is not found.",
        "States of one depth share large common parts.",
        "Texts that begin alike fill the list with copies.",
    ],
    first: false,
};

/// What is compared with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A file of texts, or a folder of recorded activations.
    pub bank: Option<PathBuf>,
    /// The bank in words, where there is no other; with neither, the words of the prompt.
    pub texts: Vec<String>,
    /// Behind which blocks texts are read, beside before the first.
    pub bank_layers: Indices,
    /// How many of a text's first positions are left out.
    pub skip: usize,
    /// Which positions are looked at; `None` for those that show pictures, or where none does, words.
    pub positions: Option<Positions>,
    /// Behind which blocks, beside before the first.
    pub layers: Indices,
    /// How many neighbours are told.
    pub top: usize,
    /// The seed of the random vectors.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bank: None,
            texts: Vec::new(),
            bank_layers: Indices::All,
            skip: 2,
            positions: None,
            layers: Indices::All,
            top: 5,
            seed: Seed(0),
        }
    }
}

/// LatentLens with checked settings.
#[derive(Debug, Clone)]
pub struct LatentLens {
    settings: Settings,
    top: NonZeroUsize,
}

impl Analysis for LatentLens {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        if settings.bank.is_some() && !settings.texts.is_empty() {
            return Err(setting(&CARD, "texts", settings.texts.len(), "there is a bank already"));
        }
        let top = at_least_one(&CARD, "top", settings.top)?;
        Ok(Self { settings, top })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let (depths, _) = self.depths(on, &inputs)?;
        let rounds = depths.sites.len().div_ceil(depths.at_once(on, COPIES).get());
        let cost = Cost::rows(rounds * (1 + Bank::of(&self.settings, &inputs)?.passes()));
        Ok(cost.taking(on.row(case, &inputs, &[])?.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let (depths, positions) = self.depths(on, &inputs)?;
        let bank = Bank::of(&self.settings, &inputs)?;
        let sites = bank.sites(on.subject(), &self.settings.bank_layers)?;
        let at_once = depths.at_once(on, COPIES);
        let rounds = depths.sites.len().div_ceil(at_once.get());
        let mut progress = Progress::new(on.watch(), CARD.id, rounds * (1 + bank.steps()));
        let (mut near, mut random, mut rows) = (Vec::new(), Vec::new(), 0);
        for range in batches(depths.sites.len(), at_once) {
            let first = range.start * depths.places.len();
            let (mut states, like) = depths.states(&CARD, on, &inputs, of_range(&depths.sites, range)?)?;
            let count = states.len() / depths.width.max(1);
            states.extend(matched(&states, depths.width, self.settings.seed, first as u64));
            let mut nearest = Nearest::new(states, depths.width, (Nearness::Cosine, self.top), &like)?;
            progress.advance(1)?;
            let of = (sites.as_slice(), self.settings.skip, depths.width);
            rows = bank.search(on, of, &mut nearest, &mut || progress.advance(1))?;
            let mut found = nearest.found();
            random.extend(found.split_off(count));
            near.extend(found);
        }
        if rows == 0 {
            let found = format!("{} have none behind their first {}", bank.told(), self.settings.skip);
            return Err(input(&CARD, "a bank with a word", found));
        }
        let numbers = near.iter().flatten().map(|own: &Near| own.row).collect();
        let found = Found {
            near,
            random,
            shown: bank.shown(on, numbers)?,
            counts: [bank.passes(), rows as usize],
            ranks: self.top.get().min(usize::try_from(rows).unwrap_or(usize::MAX)),
        };
        let answer = Answer::new(found.tables(&depths, &sites)?, [depths.sites.clone(), sites].concat());
        let own = matches!(bank, Bank::Prompt(_)).then(|| {
            let text = "there is no bank: the neighbours are words of the prompt itself, which have seen the picture".to_owned();
            Caution::new(CautionKind::Other, rows as f32, text)
        });
        let cautions = [own, found.copies(), found.chance()];
        Ok(answer
            .seeded(self.settings.seed)
            .against(bank.told())
            .cautioned(cautions.into_iter().flatten())
            .settled("positions", json!(positions)))
    }
}

impl LatentLens {
    fn depths(
        &self,
        on: &On<'_>,
        inputs: &mmlens_core::Inputs,
    ) -> Result<(Depths, Positions), AnalysisError> {
        Depths::of(&CARD, on, inputs, (self.settings.positions.as_ref(), &self.settings.layers))
    }
}

/// What was found, `[depth, place]`.
struct Found {
    near: Vec<Vec<Near>>,
    random: Vec<Vec<Near>>,
    shown: BTreeMap<u64, Shown>,
    /// Texts and states of the bank.
    counts: [usize; 2],
    ranks: usize,
}

impl Found {
    fn shown(&self, near: &Near) -> Shown {
        self.shown.get(&near.row).cloned().unwrap_or_default()
    }

    fn tables(&self, depths: &Depths, sites: &[Site]) -> Result<Vec<Labelled>, AnalysisError> {
        let (layer, each) = (depths.axis(), depths.places.len().max(1));
        let of_bank = depth_axis(Role::Key, sites);
        let places = vec![layer.clone(), depths.tokens.clone()];
        let ranked = [places.clone(), vec![Axis::count(Role::Rank, self.ranks)]].concat();
        let first = |of: &[Vec<Near>]| {
            of.iter().map(|own| own.first().map_or(0.0, |own| own.score as f32)).collect::<Vec<_>>()
        };
        let texts = |name: &str, of: &dyn Fn(Shown) -> String| {
            let all = self.near.iter().flatten().map(|own| of(self.shown(own))).collect();
            Labelled::texts(name, ranked.clone(), all)
        };
        let share = |is: &dyn Fn(&Shown) -> bool| {
            let depth = |own: &[Vec<Near>]| {
                let found = own.iter().filter_map(|near| near.first()).filter(|near| is(&self.shown(near)));
                found.count() as f32 / own.len().max(1) as f32
            };
            self.near.chunks(each).map(depth).collect::<Vec<_>>()
        };
        let by_depth: Vec<Vec<f32>> =
            (0..sites.len()).map(|depth| share(&|own| own.depth == depth)).collect();
        let by_depth = (0..depths.sites.len())
            .flat_map(|layer| by_depth.iter().map(move |own| own.get(layer).copied().unwrap_or_default()))
            .collect();
        let one = |name: &str, values| Labelled::numbers(name, Unit::Ratio, vec![layer.clone()], values);
        let beyond = beyond(Nearness::Cosine, &self.near, &self.random, each);
        let counts = Axis::names(Role::Concept, ["texts", "states"]);
        Ok(vec![
            Labelled::numbers("nearest", Unit::Cosine, places.clone(), first(&self.near))?,
            texts("words", &|own| own.word)?,
            texts("contexts", &|own| own.context)?,
            Labelled::numbers(
                "scores",
                Unit::Cosine,
                ranked.clone(),
                self.near.iter().flatten().map(|own| own.score as f32).collect(),
            )?,
            texts("depths", &|own| of_bank.label(own.depth).unwrap_or_default())?,
            Labelled::numbers(
                "depth of the nearest",
                Unit::Ratio,
                vec![layer.clone(), of_bank.clone()],
                by_depth,
            )?,
            Labelled::numbers("random", Unit::Cosine, places, first(&self.random))?.aside(),
            one("beyond random", beyond.into_iter().map(|share| share as f32).collect())?,
            one("word share", share(&|own| is_word(&own.word)))?,
            Labelled::numbers("bank", Unit::Count, vec![counts], self.counts.map(|n| n as f32).to_vec())?
                .aside(),
        ])
    }

    /// Neighbours that say the same word in the same words before it, at one depth.
    fn copies(&self) -> Option<Caution> {
        let copied = |near: &&Vec<Near>| {
            let told: Vec<Shown> = near.iter().map(|own| self.shown(own)).collect();
            let begins = |own: &Shown| {
                let end = own.context.find(']').map_or(own.context.len(), |at| at + 1);
                (own.context.get(..end).unwrap_or_default().to_owned(), own.depth)
            };
            let mut all: Vec<_> = told.iter().map(begins).collect();
            all.sort();
            all.dedup();
            all.len() < told.len()
        };
        let share = self.near.iter().filter(copied).count() as f64 / self.near.len().max(1) as f64;
        (share > HALF).then(|| {
            let text = format!(
                "{:.0} % of the lists of neighbours name one beginning of a text twice: the bank holds copies",
                100.0 * share
            );
            Caution::new(CautionKind::Other, share as f32, text)
        })
    }

    fn chance(&self) -> Option<Caution> {
        let each = self.near.len();
        let all = beyond(Nearness::Cosine, &self.near, &self.random, each);
        let share = all.first().copied().filter(|share| *share <= HALF)?;
        let text = format!(
            "{:.0} % of the states lie nearer to the bank than every random vector of their lengths: the neighbours of the others may be chance",
            100.0 * share
        );
        Some(Caution::new(CautionKind::Other, share as f32, text))
    }
}

/// What is so of more than this share is spoken of.
const HALF: f64 = 0.5;
