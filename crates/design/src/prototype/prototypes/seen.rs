//! Cases as bags of patches, and how alike patches are.

use mmlens_engine::Classed;

/// How alike a patch and a prototype are.
pub(super) fn similarity(patch: &[f64], prototype: &[f64], (scale, epsilon): (f64, f64)) -> f64 {
    let apart: f64 = patch.iter().zip(prototype).map(|(x, p)| (x - p).powi(2)).sum::<f64>() / scale;
    ((apart + 1.0) / (apart + epsilon)).ln()
}

/// A case: its patches by their rows.
pub(super) struct Bag {
    pub(super) rows: Vec<usize>,
    pub(super) label: usize,
    pub(super) out: bool,
}

/// All cases, and how patches of them are compared.
pub(super) struct Seen {
    pub(super) wide: Vec<Vec<f64>>,
    pub(super) bags: Vec<Bag>,
    /// Mean squared distance from the mean patch, and epsilon.
    pub(super) scale: (f64, f64),
    pub(super) classes: usize,
}

/// A patch that stands for a class.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) row: usize,
    pub(super) class: usize,
    pub(super) distinctive: f64,
}

impl Seen {
    pub(super) fn patch(&self, row: usize) -> &[f64] {
        self.wide.get(row).map_or(&[], Vec::as_slice)
    }

    /// The activation of a prototype in a case, itself left out.
    pub(super) fn activation(&self, bag: &Bag, prototype: usize) -> f64 {
        let others = bag.rows.iter().filter(|row| **row != prototype);
        let each = others.map(|row| similarity(self.patch(*row), self.patch(prototype), self.scale));
        each.fold(f64::NEG_INFINITY, f64::max) // no NaN: patches are finite
    }

    pub(super) fn some(&self, out: bool) -> Vec<&Bag> {
        self.bags.iter().filter(|bag| bag.out == out).collect()
    }

    /// Activations of some patches in cases, one case after the other.
    pub(super) fn activations(&self, bags: &[&Bag], chosen: &[Chosen]) -> Classed {
        let values =
            bags.iter().flat_map(|bag| chosen.iter().map(|own| self.activation(bag, own.row))).collect();
        let labels = bags.iter().map(|bag| bag.label).collect();
        Classed { values, width: chosen.len(), labels, classes: self.classes }
    }

    /// The mean patch of each case.
    pub(super) fn means(&self, bags: &[&Bag]) -> Classed {
        let width = self.wide.first().map_or(0, Vec::len);
        let mean = |bag: &&Bag| {
            let mut mean = vec![0.0; width];
            for row in &bag.rows {
                mean.iter_mut().zip(self.patch(*row)).for_each(|(sum, x)| *sum += x / bag.rows.len() as f64);
            }
            mean
        };
        let labels = bags.iter().map(|bag| bag.label).collect();
        Classed { values: bags.iter().flat_map(mean).collect(), width, labels, classes: self.classes }
    }
}
