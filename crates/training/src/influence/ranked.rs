//! Scores of training cases as tables: the highest, the lowest, and as many by chance.

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, TableError, Unit};
use mmlens_core::{AnalysisError, Answer, Case, Reply, Seed, Site, Words, caution};
use mmlens_engine::drawn_order;

/// The longest name of a case, in characters.
const LONG: usize = 72;

/// What a training case is called: its number, its class if it has one, its words, its answer, its first picture.
pub(super) fn name(index: usize, case: &Case, class: Option<&str>) -> String {
    let mut said = Vec::new();
    said.extend(class.map(|class| format!("[{class}]")));
    match &case.sample.words {
        Words::Question(text) | Words::Prompt(text) => said.push(text.clone()),
        Words::Texts(texts) => said.push(texts.join(" | ")),
        Words::Nothing => {}
    }
    if let Some(Reply::Text(text)) = &case.sample.reply {
        said.push(format!("-> {}", text.trim()));
    }
    said.extend(case.sample.pictures.first().map(|picture| format!("({})", picture.name)));
    let said = said.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = said.chars().take(LONG).collect();
    let cut = if short.len() < said.len() { "…" } else { "" };
    format!("{index}: {short}{cut}")
}

/// Numbers in descending order; of equal ones the first.
fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let score = |at: &usize| scores.get(*at).copied().unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.cmp(b))); // no NaN: products of finite numbers
    order
}

fn table(
    what: (&str, Unit),
    chosen: &[usize],
    names: &[String],
    scores: &[f64],
) -> Result<Labelled, TableError> {
    let called = chosen.iter().filter_map(|at| names.get(*at));
    let values = chosen.iter().filter_map(|at| scores.get(*at)).map(|score| *score as f32).collect();
    Labelled::numbers(what.0, what.1, vec![Axis::names(Role::Rank, called.cloned())], values)
}

/// What is told of training cases once they are learned: those that weigh the most for themselves, or have the longest representation.
pub(super) fn told(own: &[f64], influence: bool, names: &[String]) -> Result<Vec<Labelled>, AnalysisError> {
    let (short, all) = match influence {
        true => ("highest self-influence", "self-influence"),
        false => ("longest", "lengths"),
    };
    let first: Vec<usize> = order(own).into_iter().take(SHOWN).collect();
    let values = own.iter().map(|value| *value as f32).collect();
    let samples = vec![Axis::count(Role::Sample, own.len())];
    Ok(vec![
        table((short, Unit::Gradient), &first, names, own)?,
        Labelled::numbers(all, Unit::Gradient, samples, values)?.aside(),
    ])
}

/// So many cases are shown.
pub(super) const SHOWN: usize = 10;

/// What is shown of scores.
pub(super) struct Scores<'a> {
    pub(super) unit: Unit,
    pub(super) names: &'a [String],
    /// Of each share a score for every training case; the score of a case is their sum.
    pub(super) shares: Vec<(String, Vec<f64>)>,
    pub(super) shown: usize,
    pub(super) seed: Seed,
    pub(super) sites: Vec<Site>,
}

impl Scores<'_> {
    pub(super) fn all(&self) -> Vec<f64> {
        let sum = |at: usize| self.shares.iter().filter_map(|(_, scores)| scores.get(at)).sum();
        (0..self.names.len()).map(sum).collect()
    }

    pub(super) fn answer(self) -> Result<Answer, AnalysisError> {
        let (tables, caution) = self.tables()?;
        Ok(Answer::new(tables, self.sites).seeded(self.seed).cautioned(caution))
    }

    /// The tables of an answer, and what speaks against them.
    pub(super) fn tables(&self) -> Result<(Vec<Labelled>, Option<Caution>), AnalysisError> {
        let Self { unit, names, shown, seed, .. } = self;
        let (all, unit, shown) = (self.all(), *unit, (*shown).min(names.len()));
        let order = order(&all);
        let best: Vec<usize> = order.iter().copied().take(shown).collect();
        let worst: Vec<usize> = order.iter().rev().copied().take(shown).collect();
        let drawn: Vec<usize> = drawn_order(names.len(), *seed).into_iter().take(shown).collect();
        let n = all.len() as f64;
        let mean = all.iter().sum::<f64>() / n;
        let deviation = (all.iter().map(|own| (own - mean).powi(2)).sum::<f64>() / n).sqrt();
        let mut tables = vec![
            table(("highest", unit), &best, names, &all)?,
            table(("lowest", unit), &worst, names, &all)?,
        ];
        if self.shares.len() > 1 {
            let parts = self.shares.iter().map(|(name, _)| name.clone());
            let axes = vec![
                Axis::names(Role::Rank, best.iter().filter_map(|at| names.get(*at)).cloned()),
                Axis::names(Role::Concept, parts),
            ];
            let of = |at: &usize| {
                let at = *at;
                self.shares.iter().map(move |(_, scores)| scores.get(at).copied().unwrap_or_default() as f32)
            };
            let values = best.iter().flat_map(of).collect();
            tables.push(Labelled::numbers("by part", unit, axes, values)?);
        }
        tables.push(table(("by chance", unit), &drawn, names, &all)?);
        let spread = vec![Axis::names(Role::Metric, ["mean", "deviation"])];
        tables.push(Labelled::numbers("spread", unit, spread, vec![mean as f32, deviation as f32])?);
        let samples = vec![Axis::count(Role::Sample, all.len())];
        let values = all.iter().map(|score| *score as f32).collect();
        tables.push(Labelled::numbers("scores", unit, samples, values)?.aside());
        let top = best.first().and_then(|at| all.get(*at)).copied().unwrap_or_default();
        Ok((tables, plain(top, (mean, deviation), all.len())))
    }
}

/// That the highest score is no higher than the highest of as many draws of a normal distribution.
fn plain(top: f64, (mean, deviation): (f64, f64), count: usize) -> Option<Caution> {
    let chance = caution::largest_of_draws(count);
    let above = if deviation > 0.0 { (top - mean) / deviation } else { 0.0 };
    (above <= chance).then(|| {
        let text = format!(
            "the highest score lies {above:.2} deviations above the mean of all {count}, and of as many normal draws the highest lies about {chance:.2} above: no case stands out"
        );
        Caution::new(CautionKind::NoBetter, (above - chance) as f32, text)
    })
}
