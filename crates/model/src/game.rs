//! Parts of a sample as players of a game: what a share-out of the objective among them is told as.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{AnalysisError, Answer, Case, Copies, HookError, On, Plan, Seed, caution};
use mmlens_engine::shapley::Shares;
use mmlens_engine::{Coalition, Hiding, Progress, Spoken};

use crate::parts::{Called, PartSettings, Parts};

/// The scores of some coalitions.
pub(crate) type Score<'a> = dyn FnMut(&[Coalition]) -> Result<Vec<f32>, AnalysisError> + 'a;

/// Whether shares rest on draws.
pub(crate) struct Drawn(pub(crate) bool);

/// From how many players and their scores to shares. It asks for the same coalitions whatever their scores are.
pub(crate) type Solve<'a> = dyn Fn(usize, &mut Score<'_>) -> Result<(Shares, Drawn), AnalysisError> + 'a;

/// What the players are, and how they are scored.
pub(crate) struct Game<'a> {
    pub(crate) parts: PartSettings<'a>,
    pub(crate) rows: NonZeroUsize,
    pub(crate) seed: Seed,
}

/// What came of a game.
pub(crate) struct Played {
    pub(crate) answer: Answer,
    pub(crate) shares: Shares,
}

impl Game<'_> {
    /// Scores what `solve` asks for, of how many players it says how many coalitions that are (`total`), and tells the shares.
    pub(crate) fn played(
        &self,
        on: &On<'_>,
        case: &Case,
        (solve, total): (&Solve<'_>, &dyn Fn(usize) -> usize),
    ) -> Result<Played, AnalysisError> {
        let method = self.parts.card.id;
        let (inputs, objective) = on.open(case)?;
        let parts = self.parts.of(on.subject(), case, &inputs)?;
        let memory = on.memory().at_most(self.rows);
        let plan = Plan::new().objective(&objective);
        memory.hold(method, 0, on.subject().need(&inputs, &plan, Copies::ONE)?)?;
        let units = parts.units.clone();
        let hiding =
            Hiding::new(on.subject(), &case.sample, &inputs, units).map_err(|error| error.of(method))?;
        let players = hiding.units().len();
        let mut progress = Progress::new(on.watch(), method, total(players));
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let metrics = spoken.beside(&objective);
        // What was measured of the tokens of an answer while the whole was: coalitions are the same for all.
        let mut beside: Vec<VecDeque<Vec<f32>>> = vec![VecDeque::new(); spoken.objectives().len()];
        let mut score = |some: &[Coalition]| {
            let mut measured = hiding.measure(&metrics, some, &memory, &mut progress)?.into_iter();
            let whole = measured.next().ok_or(HookError::NoObjective)?;
            beside.iter_mut().zip(measured).for_each(|(own, measured)| own.push_back(measured.values));
            Ok::<_, AnalysisError>(whole.values)
        };
        let (shares, Drawn(drawn)) = solve(players, &mut score)?;
        let unit = objective.unit();
        let shown = |shares: &Shares| -> Result<Vec<Labelled>, AnalysisError> {
            let called = Called { picture: "picture", tokens: "tokens" };
            let mut tables = parts.tables(&called, unit, &shares.values)?;
            tables.extend(by_modality(&parts, &shares.values)?);
            Ok(tables)
        };
        let of_token = |mut measured: VecDeque<Vec<f32>>| {
            let mut again =
                |_: &[Coalition]| Ok::<_, AnalysisError>(measured.pop_front().ok_or(HookError::NoObjective)?);
            shown(&solve(players, &mut again)?.0)
        };
        let mut tables =
            spoken.with_each(std::iter::once(shown(&shares)).chain(beside.into_iter().map(of_token)))?;
        let sum: f64 = shares.values.iter().map(|share| f64::from(*share)).sum();
        let gap = sum - (f64::from(shares.all) - f64::from(shares.none));
        tables.extend([
            Labelled::scalar("objective", unit, shares.all),
            Labelled::scalar("objective of nothing", unit, shares.none),
            Labelled::scalar("efficiency gap", unit, gap as f32),
        ]);
        let called = Called { picture: "picture error", tokens: "tokens error" };
        tables.extend(parts.tables(&called, unit, &shares.errors)?.into_iter().map(Labelled::aside));
        let (with, without) = ((shares.all, "with all parts"), (shares.none, "without any"));
        let rounding = |(name, which): (&str, Vec<usize>)| {
            let own: Vec<f32> = which.iter().filter_map(|at| shares.values.get(*at).copied()).collect();
            let what =
                if name == "words" { "values of words".to_owned() } else { format!("values of the {name}") };
            caution::rounding(&own, (unit, shares.all), &what)
        };
        let nothing = parts.by_kind().into_iter().map(rounding);
        let contrast = caution::contrast(&objective, with, without);
        let cautions = nothing.into_iter().flatten().chain(contrast);
        let answer = Answer::new(tables, parts.sites()).explaining(&objective).against(hiding.baseline());
        let answer = answer.cautioned(hiding.louder()?);
        let answer = answer.cautioned(cautions);
        let answer = if drawn { answer.seeded(self.seed) } else { answer };
        Ok(Played { answer, shares })
    }
}

/// Of all shares' magnitudes those of pictures, of recordings and of words, where there are several of these.
fn by_modality(parts: &Parts, shares: &[f32]) -> Result<Option<Labelled>, AnalysisError> {
    let magnitude = |which: &[usize]| {
        which.iter().filter_map(|at| shares.get(*at)).map(|share| f64::from(share.abs())).sum::<f64>()
    };
    let kinds: Vec<(&str, Vec<usize>)> =
        parts.by_kind().into_iter().filter(|(_, which)| !which.is_empty()).collect();
    if kinds.len() < 2 {
        return Ok(None);
    }
    let sums: Vec<f64> = kinds.iter().map(|(_, which)| magnitude(which)).collect();
    let all: f64 = sums.iter().sum();
    let ratios = sums.iter().map(|part| if all == 0.0 { 0.0 } else { (part / all) as f32 }).collect();
    let axis = Axis::names(Role::Concept, kinds.iter().map(|(name, _)| *name));
    Ok(Some(Labelled::numbers("by modality", Unit::Ratio, vec![axis], ratios)?))
}
