//! What is kept of training cases while they are passed through a model: a line for each, bit for bit.

use std::collections::VecDeque;
use std::path::Path;

use mmlens_core::finding::Unit;
use mmlens_core::{AnalysisError, Card};
use mmlens_files::{Journal, parse_json};
use serde::{Deserialize, Serialize};

/// What is kept of a case.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) values: Vec<f32>,
    pub(super) value: f64,
    pub(super) unit: Unit,
}

/// The same as a line: numbers by their bits.
#[derive(Serialize, Deserialize)]
struct Line {
    bits: Vec<u32>,
    value: u64,
    unit: Unit,
}

/// Rows that are there already, and a file for those to come.
pub(super) struct Kept {
    journal: Option<Journal>,
    rows: VecDeque<Row>,
    /// The number of the first of them.
    next: usize,
}

impl Kept {
    /// Nothing without a file. A file of other settings, cases or weights is begun anew.
    pub(super) fn open(card: &Card, path: Option<&Path>, about: &str) -> Result<Self, AnalysisError> {
        let Some(path) = path else { return Ok(Self { journal: None, rows: VecDeque::new(), next: 0 }) };
        let failed = |error: std::io::Error| refused(card, format!("{}: {error}", path.display()));
        let (mut journal, lines) = Journal::open(path).map_err(failed)?;
        let mut rows = VecDeque::new();
        if lines.first().is_some_and(|first| first == about) {
            for line in lines.iter().skip(1) {
                // A line that cannot be read, and all behind it, is made again.
                let Ok(Line { bits, value, unit }) = parse_json(line.as_bytes()) else { break };
                let values = bits.into_iter().map(f32::from_bits).collect();
                rows.push_back(Row { values, value: f64::from_bits(value), unit });
            }
            journal.keep(rows.len() + 1).map_err(failed)?;
        } else {
            journal.keep(0).and_then(|()| journal.append(about)).map_err(failed)?;
        }
        Ok(Self { journal: Some(journal), rows, next: 0 })
    }

    /// The row of a case, if it is there; cases are asked for in order.
    pub(super) fn take(&mut self, index: usize) -> Option<Row> {
        let row = if index == self.next { self.rows.pop_front() } else { None };
        self.next += usize::from(row.is_some());
        row
    }

    /// Keeps the row of the next case.
    pub(super) fn enter(&mut self, card: &Card, row: &Row) -> Result<(), AnalysisError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let bits = row.values.iter().map(|value| value.to_bits()).collect();
        let line = Line { bits, value: row.value.to_bits(), unit: row.unit };
        let line = serde_json::to_string(&line).map_err(|error| refused(card, error.to_string()))?;
        journal.append(&line).map_err(|error| refused(card, error.to_string()))
    }
}

fn refused(card: &Card, reason: String) -> AnalysisError {
    AnalysisError::Settings { method: card.id, reason }
}
