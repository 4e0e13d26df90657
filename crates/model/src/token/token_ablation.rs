//! Token ablation: what becomes of the answer without the tokens of an object, of the background, of registers, of the question, and is that
//! more than without any others?
//!
//! # Idea
//! With `x[k]` the stream that enters block `from` at position `k`, the states of a set `S` of positions are replaced and the rest is computed
//! again, giving the objective `f_S`. The same is done with random sets `R_1 .. R_N` like it:
//!
//! ```text
//! change = f_S - f                  control mean, control deviation = those of f_R - f over the N random sets (N - 1 in the denominator)
//! p      = (1 + number of random sets with |f_R - f| >= |f_S - f|) / (N + 1)
//! ```
//!
//! A random set has as many positions that show pictures, and as many others, as `S`, drawn without replacement from all of that kind;
//! positions at which the answer is read are drawn only where there are no others left. A set that is all of its kind has itself alone for
//! a control: `p` is 1.
//!
//! What replaces a state: `zero`; `mean`, the mean over all positions that show pictures (for one of these), or over all others, of this very
//! input at that place; or `cut`: states stay, and from block `from` on no other position can look at them (scores of minus infinity; each
//! still looks at itself).
//!
//! All this is of the input. An answer that stands behind it and is explained is no part of it: none of its tokens is taken away, drawn, or in
//! a mean.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `change` | set | objective | `f_S - f`; also by answer token |
//! | `control mean`, `control deviation` | set | objective | of the random sets; also by answer token |
//! | `p` | set | ratio | the share of sets that do at least as much; also by answer token |
//! | `size` | set | count | positions in it |
//! | `members` | set, token | | 1 where a position is in the set, else 0 |
//! | `controls` | set, sample | objective | `f_R - f` of every random set |
//! | `drawn` | set, sample | text | their positions |
//! | `objective` | | objective | with nothing replaced |
//!
//! Of a tower tokens are its positions, of all pictures one after the other.
//!
//! # Settings
//! - `part`: the language model; where an encoder of its own reads the words, or there is none, the tower ([`Part`]).
//! - `sets`: by default `pictures`, `question`, `markers` ([`Tokens`]); any others by name, `{"name": "ball", "tokens": {"phrase": "red ball"}}`: a
//!   phrase, `{"box": {"bbox": [x0, y0, x1, y1], "buffer": 8}}` with the patches it touches and those so near, `{"outside": ..}`, `{"bytes": [from, to]}` of the
//!   prompt, positions by number `{"at": [3, 4]}`, `{"registers": ..}`. Registers are positions of pictures whose states, where they are replaced, are at
//!   least so long, or so many times their median ([`Bound`](crate::sinks::Bound)).
//! - `replace`: `mean`; zero is further from anything the model has seen.
//! - `from`: block 0: at the input. From a later block on, others have looked at the positions before.
//! - `controls`: 20 random sets for each set; with fewer than 19 `p` cannot fall to 0.05. `seed`: 0.
//! - `rows`: 32 variants share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! # Cost
//! Two forward passes, then one for each set and each of its random sets, from block `from` on; explicit attention with `cut`. Of sets whose
//! size the input decides (registers, regions) it is told as if they held something.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no sets, a name twice, fewer than two controls, no rows. Running: [`AnalysisError::Input`] for several
//! rows, positions that are not there, a part without blocks (or, for `cut`, scores), no set with a position in it;
//! [`AnalysisError::Setting`] for a block past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Random sets are scattered, objects are not: neighbours say the same, and taking all of them takes more than as many strangers.
//! - What is left is a prompt that the model was never trained on. Compare `replace`: what holds for one alone is about that one.
//! - A picture's tokens hold what lies around them, too: after the tower the object is also in its neighbours (Neo et al. 2024 add a `buffer` for
//!   that reason).
//! - Large sets leave random ones little to differ in: look at `control deviation` before `p`.
//! - `p` is of one set. Of many sets some are small by chance.
//!
//! # Agreement
//! torch 2.15 with hooks on `llava-a` (zero, mean, and masks added to scores) and `clip-a`'s tower: largest difference 2.9e-6 of a
//! logit. Identities tested: a random set has the change of the set that it is; a class token, alone of its kind, is its own mean, and its
//! replacement changes nothing; with the picture's positions cut or zero from block 0 on, another picture gives the same; the same for any
//! `rows`.
//!
//! # Reference
//! Neo, Ong, Torr, Geva, Krueger, Barez: Towards Interpreting Visual Information Processing in Vision-Language Models. ICLR 2025.
//! <https://arxiv.org/abs/2410.07149>. They replace by the mean visual vector of a data set, and compare with random and high-gradient sets; here the
//! mean is that of the input, and `p` is by rank.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Objective, Sample, Target};
//! use mmlens_model::token_ablation::{Settings, TokenAblation, TokenSet, Tokens};
//! let set = TokenSet { name: "first".to_owned(), tokens: Tokens::At(vec![0]) };
//! let method = TokenAblation::new(Settings { sets: vec![set], ..Settings::default() })?;
//! let case = Case { sample: Sample::text("abcab"), target: Target::Objective(Objective::logit(3)) };
//! let finding = method.run(&mmlens_testkit::Toy::curved(1), &case)?;
//! println!("{:?} {:?}", finding.table("change")?.as_numbers(), finding.table("p")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, HookError, Inputs, Leaf, On, Part, Point,
    Seed, Site, Subject, caution, kind,
};
use mmlens_engine::{Measured, Progress};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, at_most, input, part_with_blocks, passes_of_reading, setting};

mod ablated;
mod sets;

pub(crate) use ablated::{Ablated, Effects};
use sets::Spots;
pub use sets::{Place, Tokens};

/// What this method is.
pub const CARD: Card = Card {
    id: "token-ablation",
    short: "ablation",
    name: "Ablation of token sets",
    question: "What becomes of the answer without the tokens of an object, of the background, of registers, of the question, and is that more than without any others?",
    citation: "Neo, Ong, Torr, Geva, Krueger, Barez: Towards Interpreting Visual Information Processing in Vision-Language Models. ICLR 2025. https://arxiv.org/abs/2410.07149",
    leaf: Leaf::Token,
    cost: "2 forward + sets x (1 + controls) forward from the block on, in batches",
    needs: &[Capability::AnyBlocks, Capability::Answer],
    misleads: &[
        "Random sets are scattered, objects are not.",
        "What is left is a prompt that the model was never trained on.",
        "After the tower an object is also in its neighbours.",
        "Of many sets some have a small p by chance.",
    ],
    first: false,
};

/// A set of tokens with a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSet {
    /// What it is called.
    pub name: String,
    /// Which tokens.
    pub tokens: Tokens,
}

/// What stands in the place of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replace {
    /// Zeros.
    Zero,
    /// The mean over all positions of its kind.
    #[default]
    Mean,
    /// Itself, seen by no other position.
    Cut,
}

/// What is taken away, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, or there is none, the tower.
    pub part: Option<Part>,
    /// Which sets, each by itself.
    pub sets: Vec<TokenSet>,
    /// What stands in their place.
    pub replace: Replace,
    /// Before which block.
    pub from: usize,
    /// How many random sets for each.
    pub controls: usize,
    /// The seed of the random sets.
    pub seed: Seed,
    /// How many variants share a pass at most.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let sets =
            [("pictures", Tokens::Pictures), ("question", Tokens::Question), ("markers", Tokens::Markers)];
        let sets = sets.map(|(name, tokens)| TokenSet { name: name.to_owned(), tokens });
        Self {
            part: None,
            sets: sets.to_vec(),
            replace: Replace::Mean,
            from: 0,
            controls: 20,
            seed: Seed(0),
            rows: 32,
        }
    }
}

impl Settings {
    pub(crate) fn check(&self, card: &Card) -> Result<NonZeroUsize, AnalysisError> {
        if self.sets.is_empty() {
            return Err(setting(card, "sets", "none", "something must be taken away"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.sets.iter().find(|set| !seen.insert(set.name.as_str())) {
            return Err(setting(
                card,
                "sets",
                format!("`{}` twice", twice.name),
                "names must tell them apart",
            ));
        }
        at_most(card, "controls", self.controls)?;
        if self.controls < 2 {
            return Err(setting(card, "controls", self.controls, "a deviation takes at least 2"));
        }
        at_least_one(card, "rows", self.rows)
    }

    /// The part, and the stream that enters the block from which on tokens are missing.
    pub(crate) fn site(&self, card: &Card, subject: &dyn Subject) -> Result<(Part, Site), AnalysisError> {
        let part = part_with_blocks(subject, self.part);
        Capability::Blocks(part).check(card, subject)?;
        if part == Part::Text {
            Capability::OwnWords.check(card, subject)?;
        }
        if self.replace == Replace::Cut {
            Capability::Scores(part).check(card, subject)?;
        }
        let blocks = kind::blocks(subject, part);
        match self.from < blocks {
            true => Ok((part, Site::block(part, self.from, Point::ResidPre))),
            false => {
                let found = format!("{}, of {blocks}", self.from);
                Err(setting(card, "from", found, "a number from 0 that the part has"))
            }
        }
    }

    /// How many variants there are of a case at most.
    pub(crate) fn variants(&self, card: &Card, on: &On<'_>, inputs: &Inputs) -> Result<usize, AnalysisError> {
        let (_, site) = self.site(card, on.subject())?;
        let spots = Spots::of(card, on.subject(), inputs, site)?;
        let of = |set: &TokenSet| -> Result<usize, AnalysisError> {
            if let Tokens::Registers(_) | Tokens::Masked(_) | Tokens::Unmasked = set.tokens {
                return Ok(1 + self.controls);
            }
            let chosen = spots.chosen(card, &set.tokens, (inputs.map(), &[]), (&[], &[]))?;
            Ok(if chosen.is_empty() { 0 } else { 1 + self.controls })
        };
        match self.sets.iter().map(of).sum::<Result<usize, AnalysisError>>()? {
            0 => Err(nothing(card)),
            count => Ok(count),
        }
    }
}

/// Ablation of token sets with checked settings.
#[derive(Debug, Clone)]
pub struct TokenAblation {
    settings: Settings,
    rows: NonZeroUsize,
}

impl Analysis for TokenAblation {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let rows = settings.check(&CARD)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let read = passes_of_reading(on.subject(), &on.form(case, &inputs)?);
        let cost = Cost::rows(case.settling() + read + 2 + self.settings.variants(&CARD, on, &inputs)?);
        Ok(cost.at_once(self.rows.get(), on.row(case, &inputs, &[])?, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let of = |count| Progress::new(on.watch(), CARD.id, count);
        let found = Ablated::of((&CARD, &self.settings, self.rows), on, case, (&[], self.settings.seed), of)?;
        let whole = found.measured.first().ok_or(HookError::NoObjective)?;
        let sets = Axis::names(Role::Concept, self.settings.sets.iter().map(|set| set.name.clone()));
        let unit = found.objective.unit();
        let shown = |measured: &Measured| -> Result<Vec<Labelled>, AnalysisError> {
            let effects = found.effects(measured);
            let of = |name: &str, unit, of: &dyn Fn(&Effects) -> f64| {
                let values = effects.iter().map(|own| of(own) as f32).collect();
                Labelled::numbers(name, unit, vec![sets.clone()], values)
            };
            let controls =
                effects.iter().flat_map(|own| own.controls.iter().map(|change| *change as f32)).collect();
            let samples = vec![sets.clone(), Axis::count(Role::Sample, self.settings.controls)];
            Ok(vec![
                of("change", unit, &|own| own.change)?,
                of("control mean", unit, &Effects::mean)?,
                of("control deviation", unit, &Effects::deviation)?,
                of("p", Unit::Ratio, &Effects::p)?,
                Labelled::numbers("controls", unit, samples, controls)?.aside(),
            ])
        };
        let mut tables = found.spoken.with_each(found.measured.iter().map(shown))?;
        let sizes: Vec<usize> = found.sets.iter().map(Vec::len).collect();
        let numbers = |set: &Vec<usize>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let member = |set: &Vec<usize>| {
            (0..found.spots.len()).map(|at| f32::from(u8::from(set.contains(&at)))).collect::<Vec<_>>()
        };
        let members = found.sets.iter().flat_map(member).collect();
        let drawn = found.drawn.iter().flatten().map(numbers).collect();
        let samples = vec![sets.clone(), Axis::count(Role::Sample, self.settings.controls)];
        let places = vec![sets.clone(), found.spots.axis().clone()];
        tables.extend([
            Labelled::numbers(
                "size",
                Unit::Count,
                vec![sets],
                sizes.iter().map(|len| *len as f32).collect(),
            )?,
            Labelled::scalar("objective", unit, whole.unedited),
            Labelled::numbers("members", Unit::None, places, members)?.aside(),
            Labelled::texts("drawn", samples, drawn)?.aside(),
        ]);
        let changes: Vec<f32> = found.effects(whole).iter().map(|own| own.change as f32).collect();
        let cautions =
            [caution::rounding(&changes, (unit, whole.unedited), "changes"), few(self.settings.controls)];
        let answer =
            Answer::new(tables, found.sites.clone()).explaining(&found.objective).seeded(self.settings.seed);
        let answer = answer.cautioned(cautions.into_iter().flatten()).cautioned(self.of_sets(&found));
        Ok(answer.settled("part", json!(found.part)))
    }
}

impl TokenAblation {
    /// Sets that are nothing, or everything of their kind.
    fn of_sets(&self, found: &Ablated) -> Vec<Caution> {
        let mut said = Vec::new();
        for (set, (own, others)) in self.settings.sets.iter().zip(found.sets.iter().zip(&found.others)) {
            let (name, text) = (
                &set.name,
                match (own.len(), others) {
                    (0, _) => "holds no position: nothing was replaced",
                    (_, false) => "is all there is of its kind: no random set of its size is another",
                    _ => continue,
                },
            );
            said.push(Caution::new(CautionKind::Other, own.len() as f32, format!("the set `{name}` {text}")));
        }
        said
    }
}

/// With few random sets no `p` is small.
pub(crate) fn few(controls: usize) -> Option<Caution> {
    (controls < 19).then(|| {
        let least = 1.0 / (controls + 1) as f32;
        let text = format!("with {controls} random sets `p` cannot fall below {least:.3}");
        Caution::new(CautionKind::FewRows, controls as f32, text)
    })
}

/// No set of a sample holds a position.
fn nothing(card: &Card) -> AnalysisError {
    input(card, "at least one set with a position in it", "none of the sets has one")
}
