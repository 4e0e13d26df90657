//! Weights by name: what a subject computes with, and between which of its sites.
//!
//! A product `written = read W + bias` is told by the site it reads, the site it writes, and what lies between a site and the
//! product itself: a norm, a cap. That is enough to read a weight against activations, and to make its gradient without tracking it:
//! the gradient where it writes, times the value where it reads.

use serde::Serialize;

use crate::{AxisName, Part, Site};

/// What a weight does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub enum WeightKind {
    /// A product. Its first axes are those of what it gives, its last `summed` axes those of what it is given.
    Product {
        /// How many axes are summed over.
        summed: usize,
    },
    /// Added to what the weight of the same name without `.bias` gives.
    Bias,
    /// The gain `g` of a norm over the last axis: `g (x - mean) / sqrt(mean((x - mean)^2) + eps)`, or without the means.
    Gain {
        /// Whether the mean is subtracted (layer norm), or not (RMS norm).
        centred: bool,
        /// Added under the root.
        eps: f64,
    },
    /// A table of which a row is looked up: by a token, or by a position counted without padding.
    Table,
}

/// What lies between a weight and a site.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Through {
    /// A norm, by the name of its gain.
    Norm(String),
    /// A factor (Gemma's token vectors).
    Scale(f32),
    /// `x` becomes `cap tanh(x / cap)`.
    Cap(f32),
}

/// Where a weight reads or writes: a site, and what lies between it and the weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Port {
    /// The place.
    pub site: Site,
    /// What lies between.
    pub through: Option<Through>,
}

impl Port {
    /// A site with nothing between it and the weight.
    pub fn at(site: Site) -> Self {
        Self { site, through: None }
    }

    /// A site with something between it and the weight.
    pub fn through(site: Site, through: Through) -> Self {
        Self { site, through: Some(through) }
    }
}

/// A published weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightSpec {
    /// `text.blocks.3.attn.o`: the same for every family.
    pub name: String,
    /// What it does.
    pub kind: WeightKind,
    /// Each axis with its length. A product has those of the site it writes, then those of the site it reads, without batch and
    /// position.
    pub axes: Vec<(AxisName, usize)>,
    /// Where it reads; `None` for a bias, for a table, and where no site holds what it reads.
    pub reads: Option<Port>,
    /// Where it writes; `None` where no site holds what it gives. A table's rows are part of the sum there.
    pub writes: Option<Port>,
    /// The weight that this one is, too: an unembedding that is the embedding.
    pub tied: Option<String>,
}

/// Axes with their lengths.
type Axes<'a> = &'a [(AxisName, usize)];

impl WeightSpec {
    /// A product from one place to another; the axes it gives, then those it is given.
    pub fn product(
        name: impl Into<String>,
        (gives, given): (Axes<'_>, Axes<'_>),
        reads: Option<Port>,
        writes: Option<Port>,
    ) -> Self {
        let axes = [gives, given].concat();
        Self {
            name: name.into(),
            kind: WeightKind::Product { summed: given.len() },
            axes,
            reads,
            writes,
            tied: None,
        }
    }

    /// A table whose rows are added where it writes.
    pub fn table(name: impl Into<String>, axes: [(AxisName, usize); 2], writes: Port) -> Self {
        let (axes, writes) = (axes.to_vec(), Some(writes));
        Self { name: name.into(), kind: WeightKind::Table, axes, reads: None, writes, tied: None }
    }

    /// The gain of a norm.
    pub fn gain(
        name: impl Into<String>,
        (centred, eps): (bool, f64),
        axis: (AxisName, usize),
        reads: Option<Port>,
        writes: Option<Port>,
    ) -> Self {
        let kind = WeightKind::Gain { centred, eps };
        Self { name: name.into(), kind, axes: vec![axis], reads, writes, tied: None }
    }

    /// The bias that belongs to a product or a norm: named after it, with the axes of what it gives.
    #[must_use]
    pub fn bias(&self) -> Self {
        let summed = if let WeightKind::Product { summed } = self.kind { summed } else { 0 };
        let axes = self.axes.iter().take(self.axes.len().saturating_sub(summed)).copied().collect();
        let (name, writes) = (format!("{}.bias", self.name), self.writes.clone());
        Self { name, kind: WeightKind::Bias, axes, reads: None, writes, tied: None }
    }

    /// The same, tied to another.
    #[must_use]
    pub fn tied(self, other: impl Into<String>) -> Self {
        Self { tied: Some(other.into()), ..self }
    }

    /// Length of each axis.
    pub fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|(_, len)| *len).collect()
    }

    /// Whether it belongs to a part.
    pub fn is_in(&self, part: Part) -> bool {
        self.name.split('.').next() == Some(part.name())
    }

    /// Whether it is a product that reads one site and writes another.
    pub fn carries(&self, from: Site, to: Site) -> bool {
        let stands = |port: &Option<Port>, site| port.as_ref().is_some_and(|port| port.site == site);
        matches!(self.kind, WeightKind::Product { .. })
            && stands(&self.reads, from)
            && stands(&self.writes, to)
    }
}
