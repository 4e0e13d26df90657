//! From scores of cases to a finding: means, intervals, and who is ahead of whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mmlens_core::finding::{
    Axis, BesideRecord, Caution, CautionKind, DataRecord, Finding, InputRecord, Labelled, Provenance, Role,
    Unit, fixed,
};
use mmlens_core::{AnalysisError, On, Seed, fields};
use mmlens_engine::quantile;
use serde_json::Value;

use crate::journal::{EvaluationError, Line};
use crate::metric::{Better, Column, NoScore};
use crate::run::{EvaluationSettings, ID};

/// Scores, `[case][row][column]`; `None` where there is none.
struct Scores {
    values: Vec<Option<f64>>,
    rows: usize,
    columns: usize,
    cases: usize,
}

impl Scores {
    fn of(lines: &[Line], rows: usize, columns: &[Vec<Column>]) -> Self {
        let mut values = Vec::new();
        for line in lines {
            for (cell, own) in line.cells.iter().zip(columns) {
                match cell {
                    Ok(scores) => values.extend(scores.iter().copied().map(Some)),
                    Err(_) => values.extend(own.iter().map(|_| None)),
                }
            }
        }
        let count = columns.iter().map(Vec::len).sum();
        Self { values, rows, columns: count, cases: lines.len() / rows.max(1) }
    }

    fn at(&self, case: usize, row: usize, column: usize) -> Option<f64> {
        self.values.get((case * self.rows + row) * self.columns + column).copied().flatten()
    }

    fn of_row(&self, row: usize, column: usize) -> Vec<f64> {
        (0..self.cases).filter_map(|case| self.at(case, row, column)).collect()
    }

    /// One row less another, on the cases that have both.
    fn apart(&self, [row, other]: [usize; 2], column: usize) -> Vec<f64> {
        let both = |case| Some(self.at(case, row, column)? - self.at(case, other, column)?);
        (0..self.cases).filter_map(both).collect()
    }
}

/// A mean with its interval; NaN where there is none.
#[derive(Clone, Copy)]
struct Told {
    mean: f64,
    low: f64,
    high: f64,
}

const NOTHING: Told = Told { mean: f64::NAN, low: f64::NAN, high: f64::NAN };

impl Told {
    /// Of some values; cases are drawn with replacement.
    fn of(values: &[f64], settings: &EvaluationSettings) -> Self {
        let n = values.len();
        let sum: f64 = values.iter().sum();
        let mean = sum / n as f64;
        match n {
            0 => NOTHING,
            1 => Self { mean, ..NOTHING },
            _ => {
                let seed = Seed(settings.seed).at(u64::MAX - 1);
                let drawn = |draw: usize| {
                    let own = seed.at(draw as u64);
                    let pick = |i: usize| values.get((own.at(i as u64).value() % n as u64) as usize);
                    (0..n).filter_map(pick).sum::<f64>() / n as f64
                };
                let mut means: Vec<f64> = (0..settings.resamples).map(drawn).collect();
                means.sort_by(f64::total_cmp);
                let out = (1.0 - settings.level) / 2.0;
                let at = |share| quantile(&means, share).unwrap_or(f64::NAN);
                Self { mean, low: at(out), high: at(1.0 - out) }
            }
        }
    }
}

/// The finding of all that was scored. `names` tells of every row whether it is a baseline.
pub(crate) fn finding(
    settings: &EvaluationSettings,
    (names, columns): (&[(String, bool)], &[Vec<Column>]),
    lines: &[Line],
    (on, about, data): (&On<'_>, Value, DataRecord),
) -> Result<Finding, EvaluationError> {
    let scores = Scores::of(lines, names.len(), columns);
    let flat: Vec<&Column> = columns.iter().flatten().collect();
    let methods = || Axis::names(Role::Method, names.iter().map(|(name, _)| name.as_str()));
    let metrics = || Axis::names(Role::Metric, flat.iter().map(|column| column.name.as_str()));
    let cells: Vec<(usize, usize)> =
        (0..names.len()).flat_map(|row| (0..flat.len()).map(move |column| (row, column))).collect();
    let told: Vec<Told> =
        cells.iter().map(|(row, column)| Told::of(&scores.of_row(*row, *column), settings)).collect();
    let table = |name: &str, unit, values: Vec<f32>| {
        Labelled::numbers(name, unit, vec![methods(), metrics()], values)
    };
    let of = |pick: fn(&Told) -> f64| told.iter().map(|told| pick(told) as f32).collect::<Vec<f32>>();
    let counts: Vec<f32> =
        cells.iter().map(|(row, column)| scores.of_row(*row, *column).len() as f32).collect();
    // For every column which metric it is of.
    let owner: Vec<usize> =
        columns.iter().enumerate().flat_map(|(at, own)| own.iter().map(move |_| at)).collect();
    let why = |row: usize, column: usize| -> Vec<&NoScore> {
        let own = lines.iter().skip(row).step_by(names.len().max(1));
        let metric = owner.get(column).copied().unwrap_or(usize::MAX);
        own.filter_map(|line| line.cells.get(metric)?.as_ref().err()).collect()
    };
    let cost = cells
        .iter()
        .map(|(row, column)| why(*row, *column).iter().filter(|why| ***why == NoScore::Cost).count() as f32);
    let without = cells.iter().map(|(row, column)| {
        let all = why(*row, *column);
        let first = all.iter().find(|why| ***why != NoScore::Cost).or(all.first());
        first.map_or_else(String::new, |first| format!("{first} ({} of {} cases)", all.len(), scores.cases))
    });
    let mut empty: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for ((row, column), count) in cells.iter().zip(&counts) {
        let method = names.get(*row).is_some_and(|(_, baseline)| !baseline);
        if let Some(first) = why(*row, *column).first().filter(|_| method && *count == 0.0) {
            empty.entry(first.to_string()).or_default().push((*row, *column));
        }
    }
    let both = vec![methods(), metrics()];
    let mut tables = vec![
        table("score", Unit::None, of(|told| told.mean))?,
        table("low", Unit::None, of(|told| told.low))?,
        table("high", Unit::None, of(|told| told.high))?,
        table("n", Unit::Count, counts)?,
        table("not run (cost)", Unit::Count, cost.collect())?,
        Labelled::texts("without", both, without.collect())?,
        Labelled::texts("better", vec![metrics()], flat.iter().map(|c| c.better.to_string()).collect())?,
    ];
    tables.push(passes(names, columns, lines)?);
    let ahead = Ahead::of(&scores, (names, &flat), settings);
    tables.extend(ahead.tables((names, &flat))?);
    let cautions = [scoreless(&empty, (names, &flat)), ahead.cautions((names, &flat), scores.cases)].concat();
    tables.extend(Caution::tables(&cautions)?);
    let values = (0..scores.values.len()).map(|at| scores.values.get(at).copied().flatten());
    let values: Vec<f32> = values.map(|value| value.map_or(f32::NAN, |value| value as f32)).collect();
    let axes = vec![Axis::count(Role::Sample, scores.cases), methods(), metrics()];
    tables.push(Labelled::numbers("cases", Unit::None, axes, values)?.aside());
    Ok(Finding::new(provenance(settings, on, about, data)?, tables)?)
}

fn passes(
    names: &[(String, bool)],
    columns: &[Vec<Column>],
    lines: &[Line],
) -> Result<Labelled, EvaluationError> {
    let items = columns.len() + 1;
    let mut sums = vec![0_u64; names.len() * items];
    for line in lines {
        let own = sums.iter_mut().skip(line.row * items).take(items);
        own.zip(&line.spent).for_each(|(sum, own)| *sum += own);
    }
    let metric =
        |own: &Vec<Column>| own.first().map_or_else(|| "nothing".to_owned(), |column| column.name.clone());
    // A metric of no column has a name of its own.
    let mut labels: Vec<String> = columns.iter().map(metric).collect();
    labels.push("maps".to_owned());
    let axes = vec![
        Axis::names(Role::Method, names.iter().map(|(name, _)| name.as_str())),
        Axis::names(Role::Metric, labels),
    ];
    let values = sums.into_iter().map(|sum| sum as f32).collect();
    Ok(Labelled::numbers("passes", Unit::Count, axes, values)?.aside())
}

/// Means over fewer cases than this are cautioned.
const FEW: usize = 20;
/// Scores that should be equal differ by no more than this.
const ROUNDING: f64 = 1e-9;

/// How far each row is ahead of each baseline, in each metric that judges.
struct Ahead {
    baselines: Vec<usize>,
    /// The column of each, and which way it is turned.
    judged: Vec<(usize, f64)>,
    /// `[row][baseline][metric]`.
    told: Vec<Told>,
}

impl Ahead {
    fn of(
        scores: &Scores,
        (names, columns): (&[(String, bool)], &[&Column]),
        settings: &EvaluationSettings,
    ) -> Self {
        let baselines: Vec<usize> =
            names.iter().enumerate().filter(|(_, (_, baseline))| *baseline).map(|(row, _)| row).collect();
        let judged: Vec<(usize, f64)> = columns
            .iter()
            .enumerate()
            .filter_map(|(at, column)| match column.better {
                Better::Higher => Some((at, 1.0)),
                Better::Lower => Some((at, -1.0)),
                Better::Neither => None,
            })
            .collect();
        let mut told = Vec::new();
        for row in 0..names.len() {
            for other in &baselines {
                for (column, sign) in &judged {
                    let apart = scores.apart([row, *other], *column);
                    told.push(Told::of(
                        &apart.into_iter().map(|apart| sign * apart).collect::<Vec<_>>(),
                        settings,
                    ));
                }
            }
        }
        Self { baselines, judged, told }
    }

    fn tables(
        &self,
        (names, columns): (&[(String, bool)], &[&Column]),
    ) -> Result<Vec<Labelled>, EvaluationError> {
        let name = |row: &usize| names.get(*row).map_or("", |(name, _)| name.as_str());
        let column = |(at, _): &(usize, f64)| columns.get(*at).map_or("", |column| column.name.as_str());
        let axes = || {
            vec![
                Axis::names(Role::Method, names.iter().map(|(name, _)| name.as_str())),
                Axis::names(Role::Method, self.baselines.iter().map(name)),
                Axis::names(Role::Metric, self.judged.iter().map(column)),
            ]
        };
        let of = |title: &str, pick: fn(&Told) -> f64| {
            let values = self.told.iter().map(|told| pick(told) as f32).collect();
            Ok::<_, EvaluationError>(Labelled::numbers(title, Unit::None, axes(), values)?.aside())
        };
        Ok(vec![of("ahead", |t| t.mean)?, of("ahead low", |t| t.low)?, of("ahead high", |t| t.high)?])
    }

    /// That there are few cases, and of every method which baselines beat it: where the interval of the difference lies on their side of zero, but for
    /// metrics at which a map that looks at nothing is at its best.
    fn cautions(&self, (names, columns): (&[(String, bool)], &[&Column]), cases: usize) -> Vec<Caution> {
        let few = (cases < FEW).then(|| {
            let text = format!("scores are means over {cases} cases, and intervals of so few say little");
            Caution::new(CautionKind::FewRows, cases as f32, text)
        });
        let each = self.baselines.len() * self.judged.len();
        let methods = names.iter().zip(self.told.chunks(each.max(1))).filter(|((_, baseline), _)| !baseline);
        let beaten = methods.filter_map(|((method, _), told)| {
            let mut said = Vec::new();
            let mut count = 0;
            for (other, told) in self.baselines.iter().zip(told.chunks(self.judged.len().max(1))) {
                let behind = self.judged.iter().zip(told).filter_map(|((at, _), told)| {
                    let column = columns.get(*at).filter(|column| !column.blind)?;
                    (told.high < -ROUNDING).then(|| format!("{} by {:.3}", column.name, -told.mean))
                });
                let behind: Vec<String> = behind.collect();
                count += behind.len();
                let baseline = names.get(*other).map_or("", |(name, _)| name.as_str());
                if !behind.is_empty() {
                    said.push(format!("`{baseline}` in {}", behind.join(", ")));
                }
            }
            let text = || format!("`{method}` is beaten by what looks at less: by {}", said.join("; by "));
            (count > 0).then(|| Caution::new(CautionKind::Other, count as f32, text()))
        });
        few.into_iter().chain(beaten).collect()
    }
}

/// That methods have no score at all, and the first reason, for every reason.
fn scoreless(
    empty: &BTreeMap<String, Vec<(usize, usize)>>,
    (names, columns): (&[(String, bool)], &[&Column]),
) -> Vec<Caution> {
    let of = |(why, cells): (&String, &Vec<(usize, usize)>)| {
        let quoted = |all: BTreeSet<&str>| {
            all.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let methods = cells.iter().filter_map(|(row, _)| Some(names.get(*row)?.0.as_str()));
        let metrics = cells.iter().filter_map(|(_, column)| Some(columns.get(*column)?.name.as_str()));
        let text = format!(
            "no case has a score of {} for {}: {why}",
            quoted(metrics.collect()),
            quoted(methods.collect())
        );
        Caution::new(CautionKind::Other, cells.len() as f32, text)
    };
    empty.iter().map(of).collect()
}

fn provenance(
    settings: &EvaluationSettings,
    on: &On<'_>,
    about: Value,
    data: DataRecord,
) -> Result<Provenance, AnalysisError> {
    let subject = on.subject();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let random = about.get("random");
    let beside = BesideRecord {
        subject: text(random.and_then(|random| random.get(0))),
        weights_hash: text(random.and_then(|random| random.get(1))),
        dtype: subject.dtype(),
        device: subject.device(),
        kernels: subject.kernels(),
        ..BesideRecord::default()
    };
    let kept = ["metrics", "methods", "cascade", "each"];
    let told = kept.iter().filter_map(|name| Some(((*name).to_owned(), about.get(*name)?.clone())));
    Ok(Provenance {
        settings: fields(ID, settings)?.into_iter().chain(told).collect(),
        input: Some(InputRecord { data: Some(data), beside: Some(beside), ..InputRecord::default() }),
        weights_hash: subject.weights_hash(),
        alterations: subject.alterations().to_vec(),
        seed: Some(settings.seed),
        dtype: subject.dtype(),
        device: subject.device(),
        kernels: subject.kernels(),
        memory: Some(on.memory().budget()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Provenance::new(ID, subject.name())
    })
}

/// The scores of an evaluation as a table in Markdown: of every cell the mean, its interval and `n`, or why there is no mean. `None` for a finding of something else.
#[must_use]
pub fn league(finding: &Finding) -> Option<String> {
    let [score, low, high, n, cost] =
        ["score", "low", "high", "n", "not run (cost)"].map(|name| finding.find(name));
    let (score, better) = (score?, finding.find("better")?);
    let [methods, metrics] = score.axes() else { return None };
    let mut out = "| |".to_owned();
    for column in 0..metrics.len() {
        let arrow = match better.get_text(&[column])? {
            "higher" => " ↑",
            "lower" => " ↓",
            _ => "",
        };
        let _ = write!(out, " {}{arrow} |", metrics.label(column)?);
    }
    let _ = write!(out, "\n|---|{}\n", "---|".repeat(metrics.len()));
    for row in 0..methods.len() {
        let _ = write!(out, "| {} |", methods.label(row)?);
        for column in 0..metrics.len() {
            let at = [row, column];
            let (count, left) = (n?.get(&at)?, cost?.get(&at)?);
            let mean = score.get(&at)?;
            let (low, high) = (low?.get(&at)?, high?.get(&at)?);
            let cell = match (count > 0.0, low.is_finite()) {
                (true, true) => format!("{} [{}, {}]", fixed(mean, 3), fixed(low, 3), fixed(high, 3)),
                (true, false) => fixed(mean, 3),
                (false, _) if left > 0.0 => "not run (cost)".to_owned(),
                (false, _) => "none".to_owned(),
            };
            let _ = write!(out, " {cell} n={count} |");
        }
        out.push('\n');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_the_mean_and_needs_two() {
        let settings = EvaluationSettings::default();
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let told = Told::of(&values, &settings);
        // The deviation of 0 to 99 is 28.87, that of a mean of 100 of them 2.89: 1.96 of it on each side.
        assert_eq!(told.mean, 49.5);
        assert!(
            (told.low - 43.84).abs() < 0.6 && (told.high - 55.16).abs() < 0.6,
            "{} {}",
            told.low,
            told.high
        );
        assert!(Told::of(&[1.0], &settings).low.is_nan() && Told::of(&[], &settings).mean.is_nan());
        let same = Told::of(&[2.0; 5], &settings);
        assert_eq!((same.low, same.high), (2.0, 2.0));
    }
}
