//! What differs from draw to draw: mean and deviation of every number of the tables that are found again and again.

use mmlens_core::HookError;
use mmlens_core::finding::{Labelled, TableError};

/// Mean and sum of squared differences from it, of every number of some tables (Welford 1962).
pub(crate) struct Moments {
    first: Vec<Labelled>,
    count: f64,
    /// For each table.
    moments: Vec<Vec<(f64, f64)>>,
}

impl Moments {
    /// Of one draw.
    pub(crate) fn of(first: Vec<Labelled>) -> Self {
        let own = |table: &Labelled| {
            table.as_numbers().unwrap_or_default().iter().map(|value| (f64::from(*value), 0.0)).collect()
        };
        let moments = first.iter().map(own).collect();
        Self { first, count: 1.0, moments }
    }

    /// One draw more, in tables of the same names.
    ///
    /// # Errors
    /// [`HookError::Values`] for a table that is not there, or of another length.
    pub(crate) fn add(&mut self, tables: &[Labelled]) -> Result<(), HookError> {
        self.count += 1.0;
        for (table, moments) in self.first.iter().zip(&mut self.moments) {
            let same = tables.iter().find(|own| own.name() == table.name());
            let values = same.and_then(Labelled::as_numbers).unwrap_or_default();
            if values.len() != moments.len() {
                return Err(HookError::Values { dims: vec![moments.len()], given: values.len() });
            }
            for ((mean, squares), value) in moments.iter_mut().zip(values) {
                let away = f64::from(*value) - *mean;
                *mean += away / self.count;
                *squares += away * (f64::from(*value) - *mean);
            }
        }
        Ok(())
    }

    /// The tables with the means of their numbers.
    pub(crate) fn means(&self) -> Result<Vec<Labelled>, TableError> {
        let mean = |(table, moments): (&Labelled, &Vec<(f64, f64)>)| {
            if table.as_numbers().is_none() {
                return Ok(table.clone());
            }
            let means = moments.iter().map(|(mean, _)| *mean as f32).collect();
            let mean = Labelled::numbers(table.name(), table.unit(), table.axes().to_vec(), means)?;
            Ok(if table.is_aside() { mean.aside() } else { mean })
        };
        self.first.iter().zip(&self.moments).map(mean).collect()
    }

    /// Aside, how far draws lie from their mean: tables `T deviation`, divided by the number of draws.
    pub(crate) fn deviations(&self) -> Result<Vec<Labelled>, TableError> {
        self.spread("deviation", |_| true, |squares, count| (squares / count).sqrt())
    }

    /// Aside, standard errors of the means of the tables that stand in the front: `T error`. None of a single draw.
    pub(crate) fn errors(&self) -> Result<Vec<Labelled>, TableError> {
        if self.count < 2.0 {
            return Ok(Vec::new());
        }
        let error = |squares: f64, count: f64| (squares / (count - 1.0) / count).sqrt();
        self.spread("error", |table| !table.is_aside(), error)
    }

    fn spread(
        &self,
        what: &str,
        whose: impl Fn(&Labelled) -> bool,
        spread: impl Fn(f64, f64) -> f64,
    ) -> Result<Vec<Labelled>, TableError> {
        let tables = self.first.iter().zip(&self.moments);
        let own = tables.filter(|(table, _)| table.as_numbers().is_some() && whose(table));
        let made = |(table, moments): (&Labelled, &Vec<(f64, f64)>)| {
            let values = moments.iter().map(|(_, squares)| spread(*squares, self.count) as f32).collect();
            let name = format!("{} {what}", table.name());
            Ok(Labelled::numbers(name, table.unit(), table.axes().to_vec(), values)?.aside())
        };
        own.map(made).collect()
    }
}
