//! What a method is, for people and programs that choose one.

use std::fmt;

use crate::{AnalysisError, Capability, Need, Subject};

/// What a method is. Everything that lists, offers or documents methods reads it from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// Its name in findings.
    pub id: &'static str,
    /// A short name, for command lines and the names of files.
    pub short: &'static str,
    /// Its name in the literature.
    pub name: &'static str,
    /// The question it answers.
    pub question: &'static str,
    /// Authors, title, venue, year, link.
    pub citation: &'static str,
    /// The leaf of the survey it belongs to.
    pub leaf: Leaf,
    /// Passes as a formula; [`Analysis::cost`](crate::Analysis::cost) says them in numbers.
    pub cost: &'static str,
    /// What a subject must offer.
    pub needs: &'static [Capability],
    /// When it misleads.
    pub misleads: &'static [&'static str],
    /// Whether it runs where nobody named a method: cheap, and of few numbers.
    pub first: bool,
}

impl Card {
    /// That a subject offers what the method needs. This decides which methods a model allows, and is asked before any of them runs.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] with the first need that is not met, and why not.
    pub fn allows(&self, subject: &dyn Subject) -> Result<(), AnalysisError> {
        self.needs.iter().try_for_each(|need| need.check(self, subject))
    }
}

/// A leaf of the survey "Explainable and Interpretable Multimodal Large Language Models" (Dang et al., arXiv 2412.02104).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Leaf {
    /// Data: what goes in.
    Input,
    /// Data: what comes out.
    Output,
    /// Data: benchmarks and scores.
    Benchmark,
    /// Data: more modalities than pictures and words.
    Modality,
    /// Model: tokens, of pictures and of words.
    Token,
    /// Model: features, the directions of embeddings.
    Feature,
    /// Model: neurons.
    Neuron,
    /// Model: layers, heads and what flows between them.
    Layer,
    /// Model: architectures, analysed and designed.
    Architecture,
    /// Training.
    Training,
    /// Inference.
    Inference,
}

impl Leaf {
    /// All of them, in the order of the survey.
    pub const ALL: [Self; 11] = [
        Self::Input,
        Self::Output,
        Self::Benchmark,
        Self::Modality,
        Self::Token,
        Self::Feature,
        Self::Neuron,
        Self::Layer,
        Self::Architecture,
        Self::Training,
        Self::Inference,
    ];

    /// The perspective it belongs to, and its own name.
    #[must_use]
    pub const fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::Input => ("data", "input"),
            Self::Output => ("data", "output"),
            Self::Benchmark => ("data", "benchmark"),
            Self::Modality => ("data", "modality"),
            Self::Token => ("model", "token"),
            Self::Feature => ("model", "feature"),
            Self::Neuron => ("model", "neuron"),
            Self::Layer => ("model", "layer"),
            Self::Architecture => ("model", "architecture"),
            Self::Training => ("training and inference", "training"),
            Self::Inference => ("training and inference", "inference"),
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (perspective, leaf) = self.path();
        write!(f, "{perspective}: {leaf}")
    }
}

/// What a method costs on an input, told before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Rows that pass through the model, at most: a pass of eight variants is eight rows. One that goes on from a saved state counts
    /// as a whole one.
    pub forward: u64,
    /// Rows of which gradients are taken.
    pub backward: u64,
    /// Bytes that it takes at once beside the model and its inputs, at most: what its widest pass may need, within its budget.
    pub bytes: u64,
}

impl Cost {
    /// So many rows through the model.
    #[must_use]
    pub const fn rows(forward: usize) -> Self {
        Self { forward: forward as u64, backward: 0, bytes: 0 }
    }

    /// With so many of which gradients are taken.
    #[must_use]
    pub const fn with_gradients(self, backward: usize) -> Self {
        Self { backward: backward as u64, ..self }
    }

    /// With passes of so many rows, which take so much each.
    #[must_use]
    pub fn at_once(self, rows: usize, of_a_row: Need, budget: u64) -> Self {
        self.taking(of_a_row.bytes.saturating_mul(rows as u64), budget)
    }

    /// With so many bytes at once, passes and all that is held beside them, as far as the budget goes.
    #[must_use]
    pub fn taking(self, bytes: u64, budget: u64) -> Self {
        Self { bytes: bytes.min(budget), ..self }
    }

    /// How long it may take, where one row takes so many seconds: a backward pass counts as two forward passes.
    #[must_use]
    pub fn seconds(&self, of_a_row: f64) -> f64 {
        (self.forward as f64 + 2.0 * self.backward as f64) * of_a_row
    }
}
