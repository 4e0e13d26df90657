//! Cautions, as JSON has them.

use mmlens::finding::{Caution, CautionKind};
use serde::{Deserialize, Serialize};

/// A caution: its kind, its number, and the sentence that says both.
#[derive(Serialize, Deserialize)]
pub(crate) struct ToldCaution {
    kind: CautionKind,
    /// Nothing in a file that holds the sentence alone.
    number: Option<f32>,
    pub(crate) text: String,
}

impl From<&Caution> for ToldCaution {
    fn from(Caution { kind, number, text }: &Caution) -> Self {
        Self { kind: *kind, number: number.is_finite().then_some(*number), text: text.clone() }
    }
}
