//! The same sweep over every case of a data set, one after the other, in a file that survives its process.

use std::path::{Path, PathBuf};

use mmlens_core::finding::{Axis, Labelled, Role, TableError, Unit};
use mmlens_core::{AnalysisError, Case, Cases, Inputs, Memory, Subject, Watch};
use mmlens_files::Journal;
use serde::{Deserialize, Serialize};

use super::{Sweep, Swept};
use crate::Progress;

const METHOD: &str = "sweep over a data set";

/// Why a data set was not swept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The journal cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The journal holds something else.
    #[error("{} line {line}: {found}; expected {expected}", path.display())]
    Broken {
        /// The journal.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// Cases whose sweeps are not alike.
    #[error("case {case} sweeps {found}, case 0 swept {expected}")]
    Unlike {
        /// Which.
        case: usize,
        /// Its axes and metrics.
        found: String,
        /// Those of the first case.
        expected: String,
    },
    /// A sweep that failed, or was cancelled.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
}

/// What every case has in common: the first line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    /// What the user says is swept.
    about: String,
    /// What the data set is called.
    #[serde(default)]
    data: String,
    subject: String,
    weights: String,
    alterations: Vec<String>,
    /// What decides how many variants share a pass, and the path of the kernels: they decide the last digits.
    memory: Memory,
    kernels: Option<String>,
    metrics: Vec<(String, Unit)>,
    axes: Vec<Axis>,
}

impl Head {
    fn of((about, data): (&str, &str), subject: &dyn Subject, memory: &Memory, swept: &Swept) -> Self {
        Self {
            about: about.to_owned(),
            data: data.to_owned(),
            subject: subject.name().to_owned(),
            weights: subject.weights_hash(),
            alterations: subject.alterations().to_vec(),
            memory: *memory,
            kernels: subject.kernels(),
            metrics: swept.measured.iter().map(|m| (m.metric.name(), m.metric.unit())).collect(),
            axes: swept.axes.clone(),
        }
    }

    fn shown(&self) -> String {
        let axes: Vec<String> = self.axes.iter().map(Axis::to_string).collect();
        let metrics: Vec<&str> = self.metrics.iter().map(|(name, _)| name.as_str()).collect();
        format!(
            "{} of `{}` ({}) over {axes:?} about `{}` in `{}`",
            metrics.join(", "),
            self.subject,
            self.weights,
            self.about,
            self.data
        )
    }

    /// Whether values of another case may stand beside those of the first: the model, what the user says, the metrics'
    /// units, and how long the axes are. Labels (of tokens, say) may differ, and so may what a metric is called.
    fn like(&self, other: &Self) -> bool {
        let lens = |head: &Self| head.axes.iter().map(Axis::len).collect::<Vec<_>>();
        let units = |head: &Self| head.metrics.iter().map(|(_, unit)| *unit).collect::<Vec<_>>();
        (&self.about, &self.data, &self.subject, &self.weights, &self.alterations)
            == (&other.about, &other.data, &other.subject, &other.weights, &other.alterations)
            && (lens(self), units(self)) == (lens(other), units(other))
    }
}

/// One case: every line of a journal but the first.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    case: usize,
    /// For each metric, without edits and for every variant. What is no number is written as null.
    unedited: Vec<Option<f32>>,
    values: Vec<Vec<Option<f32>>>,
}

/// What a sweep measured over a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSwept {
    head: Head,
    /// For each metric, of each case, without edits.
    unedited: Vec<Vec<f32>>,
    /// For each metric, `[case, variants]`.
    values: Vec<Vec<f32>>,
}

/// Makes of a case the inputs, and what is swept over them.
pub type Prepare<'a> = dyn FnMut(&Case) -> Result<(Inputs, Sweep), AnalysisError> + 'a;

/// Sweeps every case of a data set, each prepared by `prepare`, or those of them that a journal does not have yet. Every
/// case must sweep as many variants along as many axes.
///
/// Each case is entered in the journal when it is done. A process that is killed loses the case it was at; the same call
/// goes on with it, and what comes back in the end is the same, bit for bit. `about` says what is swept, in the user's
/// words: a journal about something else, of another data set by its name, of another model, of sweeps unlike those of
/// the cases that follow, or of another way to compute (budget, rows of a pass, path of the kernels) is refused.
///
/// # Errors
/// [`DataError`]; with [`AnalysisError::Cancelled`] the journal keeps what is done.
///
/// # Cost
/// Memory: one case, and the numbers of all.
pub fn sweep_data(
    subject: &dyn Subject,
    about: &str,
    data: &dyn Cases,
    prepare: &mut Prepare<'_>,
    memory: &Memory,
    journal: Option<&Path>,
    watch: &dyn Watch,
) -> Result<DataSwept, DataError> {
    let (mut file, mut found) = match journal {
        Some(path) => {
            let (file, lines) = Journal::open(path).map_err(io(path))?;
            (Some((path, file)), parse(path, &lines)?)
        }
        None => (None, None),
    };
    let done = found.as_ref().map_or(0, DataSwept::cases);
    let began_before = found.is_some();
    if let (Some((path, _)), Some(swept)) = (&file, &found) {
        let head = &swept.head;
        let wrong = |found: String, expected: String| {
            Err(DataError::Broken { path: path.to_path_buf(), line: 1, found, expected })
        };
        let now = (about, data.name(), subject.name(), subject.weights_hash(), subject.alterations());
        if now != (&head.about, &head.data, &head.subject, head.weights.clone(), &head.alterations) {
            let said = |about: &str, data: &str, subject: &str, weights: &str| {
                format!("about `{about}` in `{data}` of {subject} ({weights})")
            };
            let found = said(&head.about, &head.data, &head.subject, &head.weights);
            let expected = said(about, data.name(), subject.name(), &subject.weights_hash());
            let (found, expected) = (format!("a sweep {found}"), format!("one {expected}"));
            return wrong(found, expected);
        }
        // Bits would differ from case to case.
        let way = |memory: &Memory, kernels: Option<&str>| {
            let (bytes, rows) = (memory.budget(), memory.most_rows());
            let path = kernels.map_or_else(String::new, |path| format!(" with the kernels' path `{path}`"));
            format!("a sweep within {bytes} bytes and {rows} rows a pass{path}")
        };
        let kernels = subject.kernels();
        if (memory, &kernels) != (&head.memory, &head.kernels) {
            return wrong(way(&head.memory, head.kernels.as_deref()), way(memory, kernels.as_deref()));
        }
    }
    let count = data.len();
    let mut progress = Progress::new(watch, METHOD, count);
    progress.advance(done.min(count))?;
    for index in done..count {
        let (inputs, sweep) = prepare(&data.case(index).map_err(AnalysisError::from)?)?;
        let mut inner = Progress::new(&mmlens_core::Unwatched, METHOD, sweep.len());
        let swept = sweep.run(subject, &inputs, memory, &mut inner)?;
        let head = Head::of((about, data.name()), subject, memory, &swept);
        let line = Line::of(index, &swept);
        let all = match &mut found {
            Some(all) if !all.head.like(&head) => {
                let (now, first) = (head.shown(), all.head.shown());
                // What the first case swept was read, not seen: the journal may be what is wrong.
                return Err(match &file {
                    Some((path, _)) if began_before => {
                        let (found, expected) =
                            (format!("a sweep of {first}"), format!("case {index} sweeps {now}"));
                        DataError::Broken { path: path.to_path_buf(), line: 1, found, expected }
                    }
                    _ => DataError::Unlike { case: index, found: now, expected: first },
                });
            }
            Some(all) => all,
            None => {
                if let Some((path, file)) = &mut file {
                    file.append(&text(path, &head)?).map_err(io(path))?;
                }
                found.insert(DataSwept::empty(head))
            }
        };
        if let Some((path, file)) = &mut file {
            file.append(&text(path, &line)?).map_err(io(path))?;
        }
        all.push(&line);
        progress.advance(1)?;
    }
    let expected = "at least one case";
    let none =
        || AnalysisError::Setting { method: METHOD, setting: "cases", found: "0".to_owned(), expected };
    let mut found = found.ok_or_else(none)?;
    found.truncate(count);
    Ok(found)
}

/// A line of the journal.
fn text(path: &Path, line: &impl Serialize) -> Result<String, DataError> {
    serde_json::to_string(line).map_err(|error| io(path)(std::io::Error::other(error)))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> DataError + '_ {
    |source| DataError::Io { path: path.to_owned(), source }
}

fn parse(path: &Path, lines: &[String]) -> Result<Option<DataSwept>, DataError> {
    let wrong = |line: usize, found: String, expected: &str| DataError::Broken {
        path: path.to_owned(),
        line: line + 1,
        found,
        expected: expected.to_owned(),
    };
    let Some((first, rest)) = lines.split_first() else { return Ok(None) };
    let head = mmlens_files::parse_json(first.as_bytes())
        .map_err(|e| wrong(0, e.to_string(), "the head of a sweep"))?;
    let mut swept = DataSwept::empty(head);
    let cells = swept.head.axes.iter().try_fold(1_usize, |cells, axis| cells.checked_mul(axis.len()));
    let cells = cells.ok_or_else(|| wrong(0, "more cells than can be counted".to_owned(), "a sweep"))?;
    for (case, text) in rest.iter().enumerate() {
        let line: Line = mmlens_files::parse_json(text.as_bytes())
            .map_err(|e| wrong(case + 1, e.to_string(), "a case"))?;
        let metrics = swept.head.metrics.len();
        let whole = line.unedited.len() == metrics
            && line.values.len() == metrics
            && line.values.iter().all(|values| values.len() == cells);
        if line.case != case || !whole {
            let expected = format!("case {case} with {metrics} metrics of {cells} values");
            return Err(wrong(case + 1, format!("case {} or other numbers", line.case), &expected));
        }
        swept.push(&line);
    }
    Ok(Some(swept))
}

impl Line {
    fn of(case: usize, swept: &Swept) -> Self {
        let number = |value: f32| value.is_finite().then_some(value);
        Self {
            case,
            unedited: swept.measured.iter().map(|m| number(m.unedited)).collect(),
            values: swept.measured.iter().map(|m| m.values.iter().map(|v| number(*v)).collect()).collect(),
        }
    }
}

impl DataSwept {
    fn empty(head: Head) -> Self {
        let none = vec![Vec::new(); head.metrics.len()];
        Self { head, unedited: none.clone(), values: none }
    }

    fn push(&mut self, line: &Line) {
        let number = |value: &Option<f32>| value.unwrap_or(f32::NAN);
        for (all, own) in self.unedited.iter_mut().zip(&line.unedited) {
            all.push(number(own));
        }
        for (all, own) in self.values.iter_mut().zip(&line.values) {
            all.extend(own.iter().map(number));
        }
    }

    fn truncate(&mut self, cases: usize) {
        let cells: usize = self.axes().iter().map(Axis::len).product();
        self.unedited.iter_mut().for_each(|all| all.truncate(cases));
        self.values.iter_mut().for_each(|all| all.truncate(cases * cells));
    }

    /// Cases there are.
    pub fn cases(&self) -> usize {
        self.unedited.first().map_or(0, Vec::len)
    }

    /// The axes swept in each case, with the labels of the first.
    pub fn axes(&self) -> &[Axis] {
        &self.head.axes
    }

    /// A metric's values, `[case, variants]` in row-major order, and those without edits, `[case]`. What was not finite
    /// is NaN.
    pub fn values(&self, metric: usize) -> Option<(&[f32], &[f32])> {
        Some((self.values.get(metric)?, self.unedited.get(metric)?))
    }

    /// For each metric a table of the values of every case, its mean over cases (`name/mean`) and the values without
    /// edits (`name/unedited`).
    ///
    /// # Errors
    /// [`TableError`] if the values do not fill the axes.
    pub fn tables(&self) -> Result<Vec<Labelled>, TableError> {
        let cases = Axis::count(Role::Sample, self.cases());
        let all: Vec<Axis> = std::iter::once(cases.clone()).chain(self.axes().iter().cloned()).collect();
        let cells: usize = self.axes().iter().map(Axis::len).product();
        let mut tables = Vec::new();
        for (metric, (name, unit)) in self.head.metrics.iter().enumerate() {
            let Some((values, unedited)) = self.values(metric) else { continue };
            let mean = (0..cells).map(|cell| {
                let of_cases = values.iter().skip(cell).step_by(cells.max(1));
                (of_cases.map(|v| f64::from(*v)).sum::<f64>() / self.cases() as f64) as f32
            });
            let mean =
                Labelled::numbers(format!("{name}/mean"), *unit, self.axes().to_vec(), mean.collect())?;
            tables.push(Labelled::numbers(name.clone(), *unit, all.clone(), values.to_vec())?);
            tables.push(mean);
            let unedited = unedited.to_vec();
            tables.push(Labelled::numbers(format!("{name}/unedited"), *unit, vec![cases.clone()], unedited)?);
        }
        Ok(tables)
    }
}
