//! Effects of modalities over cases: how much of the answers of a data set do pictures make, words, and both only together?
//!
//! # Idea
//! Of each case the effects of [`modality-effects`](super::modality_effects), with other cases of the data set standing in; their means over cases:
//!
//! ```text
//! effect(e) = 1/n sum_i TE_e(i)            e: pictures, words, interaction
//! ```
//!
//! # In and out
//! In: [`ManyCases`]. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `effect` | concept | logit, or the objective's | means of TE(picture), TE(words) and the interaction |
//! | `interval` | concept, rank | as above | what holds 95 % of the means when cases are drawn again, 1000 times: its lower and its upper end |
//! | `sign flips` | concept | as above | chance, beside `effect`: what 95 % of the means do not exceed in size, where each case has its sign drawn |
//! | `cell` | concept | as above | means of the four cells |
//! | `alone`, `joint`, `share` | | | as there, of the means |
//! | `effect by case` | sample, concept | as above | aside |
//!
//! # Settings
//! - `pictures`: `another`, or `mean-colour`; `words`: `another`, or `unattended`. Modalities that no case holds are left out.
//! - `draws`: 2 stand-ins for each case. They are the cases behind it in an order that is drawn, so that none stands in for itself, and the words of a draw are those of the next case.
//! - `measured`, `seed`: as there. A case is settled on itself as it is: its likeliest answer is followed through all cells.
//!
//! # Cost
//! Of each case one pass and three for each draw. One case and what stands in are held.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no draws. Running: [`AnalysisError::Input`] for fewer than two cases, no more cases than draws, cases of which some hold a modality and others do not,
//! objectives of different units; as there.
//!
//! # When it misleads
//! - Intervals are over cases: that other stand-ins would give other numbers is in them as far as each case has its own, not that another data set would.
//! - A mean of effects of both signs says little of any case: see `effect by case`.
//! - Cases that share a picture or a question exchange it for itself now and then, and effects are by so much too small.
//!
//! # Agreement
//! As [`modality-effects`](super::modality_effects), whose oracles are read over eleven cases by this form: `llava-a`, `smolvlm-a`, `clip-a`. Tested: beside one other case alone both forms give the same bits; nobody stands in
//! for itself; on colour questions of the shapes world picture, words and interaction matter beyond drawn signs, and to a model whose picture is cut off the picture does not, to the bit.
//!
//! # Reference
//! As [`modality-effects`](super::modality_effects). Intervals: Efron: Bootstrap Methods. Annals of Statistics 1979. <https://doi.org/10.1214/aos/1176344552>; signs: Fisher: The Design of Experiments. 1935.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, ManyCases, Picture, Sample, from_fn};
//! use mmlens_design::{ModalityEffectsOverCases, modality_effects_over_cases::Settings};
//! let picture = |i: usize| Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([40 * i as u8; 3])));
//! let asked = from_fn("greys", 4, move |i| Ok(Case::new(Sample::prompt(vec![picture(i)], format!("#ab{}", ["", "c", "d", "cd"][i])))));
//! let finding = ModalityEffectsOverCases::new(Settings::default())?.run(&mmlens_testkit::Toy::curved(1), &ManyCases::over(asked)?)?;
//! println!("{:?}", finding.table("effect")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::check::{at_least_one, input};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Cases, Cost, HookError, Leaf, ManyCases, On, Sample,
    Seed, caution,
};
use mmlens_engine::{Pictures, Progress, Wording, drawn_order, mean_interval, sign_flips};
use serde::{Deserialize, Serialize};

use super::design::{
    Crossed, Effects, Exchange, Found, Measured, Observed, cell_axis, effect_axis, narrow, shares,
};
use super::modality_effects::crossed_target;

/// What this method is.
pub const CARD: Card = Card {
    id: "modality-effects-over-cases",
    short: "do-often",
    name: "Effects of modalities over cases",
    question: "How much of the answers of a data set do pictures make, words, and both only together?",
    citation: "Pearl: Direct and Indirect Effects. UAI 2001. https://arxiv.org/abs/1301.2300",
    leaf: Leaf::Architecture,
    cost: "1 forward for each case, and 3 for each of its draws",
    needs: &[Capability::Answer],
    misleads: &[
        "An effect is of this exchange: what stands there instead is a part of the question.",
        "A mean of effects of both signs says little of any case.",
        "Cases that share a picture or a question exchange it for itself.",
    ],
    first: false,
};

/// Fewer cases than this are cautioned of.
const FEW: usize = 20;

/// What is exchanged for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What stands in the place of pictures.
    pub pictures: Pictures,
    /// What stands in the place of words.
    pub words: Wording,
    /// How many stand-ins each case has.
    pub draws: usize,
    /// What is measured; `None` for log-odds where the objective is about tokens.
    pub measured: Option<Measured>,
    /// The seed of draws.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        let (pictures, words) = (Pictures::Another, Wording::Another);
        Self { pictures, words, draws: 2, measured: None, seed: Seed(0) }
    }
}

/// Effects of modalities over cases, with checked settings.
#[derive(Debug, Clone)]
pub struct ModalityEffectsOverCases {
    settings: Settings,
}

impl ModalityEffectsOverCases {
    /// What is exchanged: what all cases hold.
    fn exchange(&self, data: &dyn Cases) -> Result<Exchange, AnalysisError> {
        let asked = Exchange { pictures: Some(self.settings.pictures), words: Some(self.settings.words) };
        let mut all: Option<Exchange> = None;
        for index in 0..data.len() {
            let own = asked.held(&CARD, &data.case(index)?.sample)?;
            match all {
                Some(before) if before != own => {
                    let found = format!("case {index} holds others than those before");
                    return Err(input(&CARD, "cases that all hold a modality, or none of them", found));
                }
                _ => all = Some(own),
            }
        }
        all.ok_or_else(|| input(&CARD, "at least two cases", format!("`{}` has none", data.name())))
    }

    fn crossed(&self, data: &dyn Cases) -> Result<Crossed<'_>, AnalysisError> {
        let exchange = self.exchange(data)?;
        let draws = if exchange.drawn() { self.settings.draws } else { 1 };
        if data.len() < 2 || (exchange.drawn() && data.len() <= draws) {
            let found = format!("`{}` has {}, and each has {draws} stand-ins", data.name(), data.len());
            return Err(input(&CARD, "at least two cases, and more than stand-ins", found));
        }
        Ok(Crossed { card: &CARD, exchange, measured: self.settings.measured, draws })
    }

    /// The cases whose pictures and whose words stand in for a case, in a draw.
    #[must_use]
    pub fn stand_ins(seed: Seed, cases: usize, case: usize, draw: usize) -> [usize; 2] {
        let order = drawn_order(cases, seed);
        let own = order.iter().position(|at| *at == case).unwrap_or_default();
        let behind = |steps: usize| {
            // Of two cases the other, however far.
            let steps = 1 + (steps - 1) % (cases.max(2) - 1);
            order.get((own + steps) % cases.max(1)).copied().unwrap_or_default()
        };
        [behind(draw + 1), behind(draw + 2)]
    }

    fn others(&self, data: &dyn Cases, case: usize, draw: usize) -> Result<[Sample; 2], AnalysisError> {
        let [seen, said] = Self::stand_ins(self.settings.seed, data.len(), case, draw);
        Ok([data.case(seen)?.sample, data.case(said)?.sample])
    }
}

impl Analysis for ModalityEffectsOverCases {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "draws", settings.draws)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, many: &ManyCases) -> Result<Cost, AnalysisError> {
        let data = many.data();
        let crossed = self.crossed(data)?;
        let (mut forward, mut bytes) = (0, 0);
        for index in 0..data.len() {
            let case = data.case(index)?;
            let others = |draw| self.others(data, index, draw);
            let (rows, need) = crossed.rows(on, &case.sample, &crossed_target(&case), &others)?;
            forward += case.settling() + rows;
            bytes = u64::max(bytes, need); // no NaN: whole numbers
        }
        Ok(Cost::rows(forward).taking(bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, many: &ManyCases) -> Result<Answer, AnalysisError> {
        let data = many.data();
        let crossed = self.crossed(data)?;
        let exchange = crossed.exchange;
        let mut progress = Progress::new(on.watch(), CARD.id, data.len() * crossed.steps());
        let (mut found, mut unit): (Vec<Found>, Option<(Unit, Measured)>) = (Vec::new(), None);
        for index in 0..data.len() {
            let case = data.case(index)?;
            let asked = Observed::new(on, &case, self.settings.measured)?;
            asked.fits(&CARD, exchange, self.settings.measured)?;
            match unit.replace((asked.unit, asked.measured())) {
                Some(before) if before != (asked.unit, asked.measured()) => {
                    let found = format!("one is a {}, that of case {index} a {}", before.0, asked.unit);
                    return Err(input(&CARD, "objectives of one unit", found));
                }
                _ => {}
            }
            let others = |draw| self.others(data, index, draw);
            found.push(crossed.measure(on, (&case.sample, &asked), &others, &mut || progress.advance(1))?);
        }
        let (unit, measured) = unit.ok_or(HookError::NoObjective)?;
        let (tables, cautions) = self.tables(exchange, &found, unit)?;
        let answer = Answer::new(tables, exchange.sites(on))
            .against(exchange.describe(on))
            .cautioned(cautions)
            .settled("measured", serde_json::json!(measured));
        Ok(answer.seeded(self.settings.seed))
    }
}

impl ModalityEffectsOverCases {
    fn tables(
        &self,
        exchange: Exchange,
        found: &[Found],
        unit: Unit,
    ) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let n = found.len();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let of_cell =
            |at: usize| -> Vec<f64> { found.iter().filter_map(|own| own.means().get(at).copied()).collect() };
        let cells: Vec<f64> = (0..exchange.cells().len()).map(|at| mean(&of_cell(at))).collect();
        let effects = Effects::of(&cells)?;
        let by_case: Vec<Effects> = found.iter().map(Found::effects).collect::<Result<_, _>>()?;
        let of_effect =
            |at: usize| -> Vec<f64> { by_case.iter().filter_map(|own| own.total.get(at).copied()).collect() };
        let (axis, names) = (effect_axis(exchange), Axis::names(Role::Concept, exchange.names()));
        let (mut intervals, mut flips, mut cautions) = (Vec::new(), Vec::new(), Vec::new());
        for (at, effect) in effects.total.iter().enumerate() {
            let (own, seed) = (of_effect(at), self.settings.seed.at(at as u64));
            let few = || input(&CARD, "at least two cases", format!("there are {n}"));
            intervals.extend(mean_interval(&own, seed).ok_or_else(few)?);
            let chance = sign_flips(&own, seed).ok_or_else(few)?;
            flips.push(chance);
            let name = axis.label(at).unwrap_or_default();
            let whole = cells.first().copied().unwrap_or_default() as f32;
            let nothing = caution::rounding(&narrow(own), (unit, whole), &format!("effects of the {name}"));
            if nothing.is_none() && effect.abs() <= chance {
                let text = format!(
                    "the effect of the {name} is {effect:.3} in the mean, no more than the {chance:.3} that signs drawn by chance come to: cases do not agree on it, or are too few"
                );
                let share = effect.abs() / chance;
                cautions.push(Caution::new(CautionKind::Chance, share as f32, text));
            }
            cautions.extend(nothing);
        }
        if n < FEW {
            let text = format!("{n} cases: intervals of so few are too narrow");
            cautions.push(Caution::new(CautionKind::FewRows, n as f32, text));
        }
        let ends = Axis::names(Role::Rank, ["2.5 %", "97.5 %"]);
        let mut tables = vec![
            Labelled::numbers("effect", unit, vec![axis.clone()], narrow(effects.total.clone()))?,
            Labelled::numbers("interval", unit, vec![axis.clone(), ends], narrow(intervals))?,
            Labelled::numbers("sign flips", unit, vec![axis.clone()], narrow(flips))?,
            Labelled::numbers("cell", unit, vec![cell_axis(exchange)], narrow(cells.clone()))?,
            Labelled::numbers("alone", unit, vec![names], narrow(effects.alone.clone()))?,
            Labelled::scalar("joint", unit, effects.joint as f32),
        ];
        let own = cells.first().copied().unwrap_or_default();
        if effects.joint.abs() >= caution::least_difference(unit, own.abs()) {
            tables.extend(shares(exchange, &effects)?);
        }
        let axes = vec![Axis::count(Role::Sample, n), axis];
        let values = narrow(by_case.iter().flat_map(|own| own.total.iter().copied()));
        tables.push(Labelled::numbers("effect by case", unit, axes, values)?.aside());
        Ok((tables, cautions))
    }
}
