//! In what two findings differ: what was computed, and how.

use std::fmt;

use serde_json::Value;

use crate::{Finding, Labelled};

/// One thing in which two findings differ.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// A field of their provenance.
    Provenance {
        /// The field; of settings with the name.
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

/// What their provenance says otherwise, settings one by one.
fn made(left: &Finding, right: &Finding) -> Vec<Difference> {
    let fields = |finding: &Finding| match serde_json::to_value(&finding.provenance) {
        Ok(Value::Object(mut fields)) => {
            let settings = fields.remove("settings");
            let named = settings.as_ref().and_then(Value::as_object).into_iter().flatten();
            let named: Vec<_> = named.map(|(name, v)| (format!("settings.{name}"), v.clone())).collect();
            fields.extend(named);
            fields
        }
        _ => serde_json::Map::new(),
    };
    let (left, right) = (fields(left), fields(right));
    let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |fields: &serde_json::Map<String, Value>, name: &String| {
        fields.get(name).cloned().unwrap_or(Value::Null)
    };
    let differ = names.into_iter().filter(|name| left.get(*name) != right.get(*name));
    differ
        .map(|name| Difference::Provenance {
            field: name.clone(),
            left: of(&left, name),
            right: of(&right, name),
        })
        .collect()
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
