//! In what two findings differ: what was computed, and how.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::{Finding, Labelled};

/// One thing in which two findings differ.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// A field of their provenance.
    Provenance {
        /// The field, with those around it: `settings.steps`.
        field: String,
        /// What the first says.
        left: Value,
        /// What the second says.
        right: Value,
    },
    /// A table that one of them lacks.
    Missing {
        /// Its name.
        table: String,
    },
    /// A table with other axes, or another unit.
    Meaning {
        /// Its name.
        table: String,
        /// What differs.
        reason: String,
    },
    /// Numbers.
    Numbers {
        /// The table.
        table: String,
        /// How many of its numbers differ in some bit.
        count: usize,
        /// How many there are.
        of: usize,
        /// The largest difference; NaN where one of two is none.
        largest: f32,
    },
    /// Texts.
    Texts {
        /// The table.
        table: String,
        /// How many of its texts differ.
        count: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provenance { field, left, right } => write!(f, "{field}: {left} and {right}"),
            Self::Missing { table } => write!(f, "`{table}` is in one of them alone"),
            Self::Meaning { table, reason } => write!(f, "`{table}`: {reason}"),
            Self::Numbers { table, count, of, largest } => {
                write!(f, "`{table}`: {count} of {of} numbers differ, by at most {largest:e}")
            }
            Self::Texts { table, count } => write!(f, "`{table}`: {count} texts differ"),
        }
    }
}

impl Finding {
    /// In what two findings differ: first how they came to be, then what they say, table by table. Numbers are equal if all
    /// their bits are.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = made(self, other);
        for table in self.tables() {
            match other.find(table.name()) {
                Some(against) => found.extend(said(table, against)),
                None => found.push(Difference::Missing { table: table.name().to_owned() }),
            }
        }
        let extra = other.tables().iter().filter(|table| self.find(table.name()).is_none());
        found.extend(extra.map(|table| Difference::Missing { table: table.name().to_owned() }));
        found
    }
}

/// What their provenance says otherwise, field by field: `settings.steps`, `input.sample.pictures.0.sha256`.
pub(crate) fn made(left: &Finding, right: &Finding) -> Vec<Difference> {
    let fields = |finding: &Finding| serde_json::to_value(&finding.provenance).unwrap_or(Value::Null);
    let mut found = Vec::new();
    descend("", &fields(left), &fields(right), &mut found);
    found
}

fn descend(field: &str, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    let inner = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    match (left, right) {
        (left, right) if left == right => {}
        (Value::Object(ours), Value::Object(theirs)) => {
            let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let of = |fields: &serde_json::Map<String, Value>| {
                    fields.get(name).cloned().unwrap_or(Value::Null)
                };
                descend(&inner(name), &of(ours), &of(theirs), found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (left, right)) in ours.iter().zip(theirs).enumerate() {
                descend(&inner(&at.to_string()), left, right, found);
            }
        }
        (left, right) => found.push(Difference::Provenance {
            field: field.to_owned(),
            left: left.clone(),
            right: right.clone(),
        }),
    }
}

fn said(left: &Labelled, right: &Labelled) -> Option<Difference> {
    let table = || left.name().to_owned();
    if let Err(error) = crate::compare::same_meaning(left, right) {
        return Some(Difference::Meaning { table: table(), reason: error.to_string() });
    }
    match (left.as_numbers(), right.as_numbers()) {
        (Some(ours), Some(theirs)) => {
            let apart = ours.iter().zip(theirs).filter(|(a, b)| a.to_bits() != b.to_bits());
            let (mut count, mut largest) = (0, 0.0_f32);
            for (a, b) in apart {
                let gap = (a - b).abs();
                count += 1;
                if gap.is_nan() || (!largest.is_nan() && gap > largest) {
                    largest = gap;
                }
            }
            (count > 0).then(|| Difference::Numbers { table: table(), count, of: ours.len(), largest })
        }
        (None, None) => {
            let pairs = left.as_texts().into_iter().flatten().zip(right.as_texts().into_iter().flatten());
            let count = pairs.filter(|(a, b)| a != b).count();
            (count > 0).then(|| Difference::Texts { table: table(), count })
        }
        _ => Some(Difference::Meaning { table: table(), reason: "numbers and texts".to_owned() }),
    }
}
