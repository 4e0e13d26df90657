//! What was said of all cases, as tables.

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{AnalysisError, caution};

use super::{Said, Without};

/// What was said of all cases.
pub(super) struct Found {
    pub(super) whole: Vec<Said>,
    pub(super) without: Vec<Without>,
    pub(super) unit: Unit,
    pub(super) orders: Vec<Vec<usize>>,
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// The standard error of the mean of some values.
fn standard_error(values: &[f64]) -> f64 {
    let (n, mean) = (values.len() as f64, mean(values.iter().copied()));
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (n - 1.0)).sqrt() / n.sqrt()
}

impl Found {
    /// An axis of the modalities, or of those that are permuted alone.
    fn axis(&self, permuted: bool) -> Axis {
        let some = self.without.iter().filter(|own| !permuted || own.replaced.permuted());
        Axis::names(Role::Concept, some.map(|own| own.replaced.name()))
    }

    /// What a number of each repeat is over all of them: the mean of each modality, and the error of those that are permuted.
    fn over_repeats(&self, of: impl Fn(&[Said]) -> f64) -> (Vec<f64>, Vec<f32>) {
        let (mut means, mut errors) = (Vec::new(), Vec::new());
        for own in &self.without {
            let values: Vec<f64> = own.said.iter().map(|said| of(said)).collect();
            means.push(mean(values.iter().copied()));
            if own.replaced.permuted() {
                errors.push(standard_error(&values) as f32);
            }
        }
        (means, errors)
    }

    fn objective(&self) -> f64 {
        mean(self.whole.iter().map(|said| said.objective))
    }

    /// By how much the objective of each case is lower, mean over repeats.
    fn by_case(&self, own: &Without) -> Vec<f32> {
        let one = |(case, whole): (usize, &Said)| {
            let values = own.said.iter().filter_map(|said| said.get(case)).map(|said| said.objective);
            let values: Vec<f64> = values.collect();
            (whole.objective - mean(values.into_iter())) as f32
        };
        self.whole.iter().enumerate().map(one).collect()
    }

    pub(super) fn changes(&self) -> Result<(Vec<Labelled>, Vec<Caution>), AnalysisError> {
        let whole = self.objective();
        let (means, errors) = self.over_repeats(|said| whole - mean(said.iter().map(|said| said.objective)));
        let mut cautions = Vec::new();
        for own in &self.without {
            let what = format!("changes by the {}", own.replaced.name());
            cautions.extend(caution::rounding(&self.by_case(own), (self.unit, whole as f32), &what));
        }
        let means: Vec<f32> = means.into_iter().map(|value| value as f32).collect();
        let mut tables = vec![
            Labelled::numbers("change", self.unit, vec![self.axis(false)], means)?,
            Labelled::scalar("objective", self.unit, whole as f32),
        ];
        if !errors.is_empty() {
            tables.push(Labelled::numbers("standard error", self.unit, vec![self.axis(true)], errors)?);
        }
        Ok((tables, cautions))
    }

    /// Accuracies, scores, and what speaks against them.
    pub(super) fn scores(
        &self,
        labels: &[Option<usize>],
        classes: usize,
    ) -> Result<(Vec<Labelled>, Option<Caution>), AnalysisError> {
        let labelled = labels.iter().flatten().count() as f64;
        let accuracy = |chosen: &dyn Fn(usize) -> Option<usize>| {
            let right =
                labels.iter().enumerate().filter(|(i, label)| label.is_some() && chosen(*i) == **label);
            right.count() as f64 / labelled
        };
        let of = |said: &[Said]| accuracy(&|i| said.get(i)?.chosen);
        let whole = of(&self.whole);
        let (replaced, errors) = self.over_repeats(of);
        let shuffled = self.orders.iter().map(|order| accuracy(&|i| self.whole.get(*order.get(i)?)?.chosen));
        let shuffled = mean(shuffled);
        let counts = (0..classes).map(|class| labels.iter().filter(|label| **label == Some(class)).count());
        let frequent = counts.max().unwrap_or(0) as f64 / labelled;
        let mut names = vec!["as they are".to_owned()];
        names.extend(self.without.iter().map(|own| format!("other {}", own.replaced.name())));
        names.extend(["shuffled answers", "most frequent answer", "chance"].map(str::to_owned));
        let mut values = vec![whole];
        values.extend(&replaced);
        values.extend([shuffled, frequent, 1.0 / classes as f64]);
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let accuracies = Labelled::numbers(
            "accuracy",
            Unit::Ratio,
            vec![Axis::names(Role::Concept, names)],
            narrow(&values),
        )?;
        let by = [("difference", 1.0), ("by accuracy", whole), ("by headroom", 1.0 - frequent)];
        let by: Vec<(&str, f64)> = by.into_iter().filter(|(_, of)| *of > 0.0).collect();
        let scores: Vec<f64> =
            replaced.iter().flat_map(|own| by.iter().map(move |(_, of)| (whole - own) / of)).collect();
        let columns = Axis::names(Role::Rank, by.iter().map(|(name, _)| *name));
        let axes = vec![self.axis(false), columns];
        let mut tables =
            vec![accuracies, Labelled::numbers("perceptual score", Unit::Ratio, axes, narrow(&scores))?];
        if !errors.is_empty() {
            tables.push(Labelled::numbers("score error", Unit::Ratio, vec![self.axis(true)], errors)?);
        }
        let flipped = |said: &[Said]| {
            let pairs = said.iter().zip(&self.whole);
            mean(pairs.map(|(own, whole)| f64::from(u8::from(own.chosen != whole.chosen))))
        };
        let (flips, _) = self.over_repeats(flipped);
        tables.push(Labelled::numbers("flips", Unit::Ratio, vec![self.axis(false)], narrow(&flips))?);
        let caution = (whole <= frequent).then(|| {
            let text = format!(
                "the model chooses {:.1} % rightly, and who always said the most frequent answer would {:.1} %: scores share out next to nothing",
                100.0 * whole,
                100.0 * frequent
            );
            Caution::new(CautionKind::NoBetter, (whole - frequent) as f32, text)
        });
        Ok((tables, caution))
    }

    pub(super) fn asides(&self) -> Result<Vec<Labelled>, AnalysisError> {
        let (n, samples) = (self.whole.len(), || Axis::count(Role::Sample, self.whole.len()));
        let by_case: Vec<Vec<f32>> = self.without.iter().map(|own| self.by_case(own)).collect();
        let values = (0..n).flat_map(|case| by_case.iter().filter_map(move |own| own.get(case).copied()));
        let axes = vec![samples(), self.axis(false)];
        let mut tables =
            vec![Labelled::numbers("change by case", self.unit, axes, values.collect())?.aside()];
        if self.without.iter().any(|own| own.replaced.permuted()) {
            let values = self.orders.concat().into_iter().map(|case| case as f32).collect();
            let axes = vec![Axis::count(Role::Step, self.orders.len()), samples()];
            tables.push(Labelled::numbers("stood in", Unit::Count, axes, values)?.aside());
        }
        Ok(tables)
    }
}
