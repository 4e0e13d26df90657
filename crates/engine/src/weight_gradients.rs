//! Gradients of many weights of one case: made of the sites that products read and write, compared without being made, and sketched.
//!
//! The gradient of a product's weight is `G = sum_n b_n r_n^T`, over all rows and positions `n` of the case, of what it is given `r` and
//! the gradient `b` of what it gives. So
//!
//! ```text
//! <G, G'>  = sum_{n,m} (b_n . b'_m) (r_n . r'_m)
//! sketch_c = 1/sqrt(k) sum_n (b_n . u_c) (r_n . v_c),    u_c, v_c of +1 and -1 by chance
//! ```
//!
//! and the inner product of two sketches is that of the gradients in the mean over the signs.

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{
    AnyTensor, HookError, Inputs, Objective, Plan, Seed, Site, Subject, SubjectError, Trace, WeightKind,
    WeightSpec,
};

use crate::Projection;

/// Products of a subject of which gradients are taken.
#[derive(Debug, Clone)]
pub struct WeightGradients {
    products: Vec<Projection>,
}

/// What the gradient of one weight is made of, of one case.
#[derive(Debug, Clone)]
pub struct WeightFactors {
    /// What it is given, `[n, in]`.
    pub read: Tensor<2>,
    /// The gradients of what it gives, `[n, out]`.
    pub behind: Tensor<2>,
}

/// Positions of a case whose shares in gradients are told apart: of the weights of a part all, or those at its pictures and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// What they are called.
    pub names: Vec<String>,
    /// Of each weight which share each of its `n` is of.
    of: Vec<Vec<usize>>,
}

impl Shares {
    /// One share of all.
    fn whole(factors: &[WeightFactors]) -> Self {
        let of = factors.iter().map(|own| vec![0; own.read.dims()[0]]).collect();
        Self { names: vec!["all".to_owned()], of }
    }
}

/// Whether gradients of a weight are made of sites: a product between two sites that is no other weight too.
#[must_use]
pub fn is_covered(spec: &WeightSpec) -> bool {
    let product = matches!(spec.kind, WeightKind::Product { .. });
    product && spec.reads.is_some() && spec.writes.is_some() && spec.tied.is_none()
}

/// Whether a name is one that a pattern means: segments between dots, of which `*` is any, and fewer segments mean all that begin so.
fn means(pattern: &str, name: &str) -> bool {
    let mut own = name.split('.');
    pattern.split('.').all(|wanted| own.next().is_some_and(|found| wanted == "*" || wanted == found))
}

impl WeightGradients {
    /// Those that are covered and that some pattern means (`text.blocks.*.mlp`); without a pattern all that are covered.
    ///
    /// # Errors
    /// [`SubjectError::NoWeight`] for a pattern that means none; as [`Projection::of`].
    pub fn of(subject: &dyn Subject, patterns: &[String]) -> Result<Self, SubjectError> {
        let covered = || subject.weights().iter().filter(|spec| is_covered(spec));
        let idle = patterns.iter().find(|pattern| !covered().any(|spec| means(pattern, &spec.name)));
        if let Some(idle) = idle {
            return Err(SubjectError::no_weight(subject, idle));
        }
        let chosen = covered()
            .filter(|spec| patterns.is_empty() || patterns.iter().any(|pattern| means(pattern, &spec.name)));
        let products = chosen.map(|spec| Projection::of(subject, &spec.name)).collect::<Result<_, _>>()?;
        Ok(Self { products })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.products.iter().map(|product| product.spec().name.as_str())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.products.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }

    /// How many numbers a gradient of all of them has.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.products.iter().map(|product| product.spec().dims().iter().product::<usize>()).sum()
    }

    /// The sites that are read and written, each once.
    #[must_use]
    pub fn sites(&self) -> Vec<Site> {
        let (read, written) = self.ports();
        let mut all: Vec<Site> = read.into_iter().chain(written).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn ports(&self) -> (Vec<Site>, Vec<Site>) {
        let ports = |port: &dyn Fn(&WeightSpec) -> Option<Site>| {
            let mut sites: Vec<Site> = self.products.iter().filter_map(|own| port(own.spec())).collect();
            sites.sort_unstable();
            sites.dedup();
            sites
        };
        let read = ports(&|spec| spec.reads.as_ref().map(|port| port.site));
        (read, ports(&|spec| spec.writes.as_ref().map(|port| port.site)))
    }

    /// A pass that holds what gradients are made of.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`].
    pub fn plan(&self, objective: &Objective) -> Result<Plan, HookError> {
        let (read, written) = self.ports();
        let plan = read.iter().try_fold(Plan::new().objective(objective), |plan, site| plan.read(*site))?;
        written.iter().try_fold(plan, |plan, site| plan.grad(*site))
    }

    /// What the gradient of each weight is made of, in the order of [`WeightGradients::names`].
    ///
    /// # Errors
    /// As [`Projection::factors`].
    pub fn factors(&self, trace: &Trace) -> Result<Vec<WeightFactors>, HookError> {
        let of = |product: &Projection| {
            product.factors(trace).map(|[read, behind]| WeightFactors { read, behind })
        };
        self.products.iter().map(of).collect()
    }

    /// The shares of a case that are told apart: those of each part, and in the language model those at pictures and at words, where the
    /// case is one prompt.
    #[must_use]
    pub fn shares(&self, inputs: &Inputs, factors: &[WeightFactors]) -> Shares {
        let shown = |at: usize| {
            let token = inputs.map().tokens.get(at);
            token.is_some_and(|token| token.modality.is_perceived())
        };
        let mixed = inputs.rows() == 1 && (0..inputs.positions()).any(shown);
        let mut names: Vec<String> = Vec::new();
        let mut number = |name: String| {
            names.iter().position(|own| *own == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        };
        let mut of = Vec::with_capacity(factors.len());
        for (product, own) in self.products.iter().zip(factors) {
            let part = product.spec().name.split('.').next().unwrap_or_default();
            let rows = own.read.dims()[0];
            let by_position = part == "text" && mixed && rows == inputs.positions();
            let name = |at: usize| match by_position {
                true if shown(at) => format!("{part} at pictures"),
                true => format!("{part} at words"),
                false => part.to_owned(),
            };
            of.push((0..rows).map(|at| number(name(at))).collect());
        }
        Shares { names, of }
    }

    /// The gradient of each share, all weights one behind the other: `[share]` vectors of [`WeightGradients::numbers`].
    ///
    /// # Errors
    /// [`HookError::Read`].
    pub fn whole(
        &self,
        factors: &[WeightFactors],
        shares: Option<&Shares>,
    ) -> Result<Vec<Vec<f32>>, HookError> {
        let own;
        let shares = if let Some(shares) = shares {
            shares
        } else {
            own = Shares::whole(factors);
            &own
        };
        let mut all = vec![Vec::with_capacity(self.numbers()); shares.names.len()];
        for (factors, of) in factors.iter().zip(&shares.of) {
            for (share, all) in all.iter_mut().enumerate() {
                let chosen = of.iter().map(|own| f32::from(u8::from(*own == share))).collect();
                let mask = column(chosen, &factors.behind);
                let gradient = (factors.behind.clone() * mask).transpose().matmul(factors.read.clone());
                all.extend(AnyTensor::new(gradient).to_values()?);
            }
        }
        Ok(all)
    }

    /// The sketch of each share, `[share]` vectors of so many features. Signs depend on the seed and the name of a weight alone.
    ///
    /// # Errors
    /// [`HookError::Read`].
    ///
    /// # Memory
    /// The signs of one weight at a time: `features x (in + out)` numbers.
    pub fn sketch(
        &self,
        factors: &[WeightFactors],
        shares: Option<&Shares>,
        (features, seed): (usize, Seed),
    ) -> Result<Vec<Vec<f32>>, HookError> {
        let own;
        let shares = if let Some(shares) = shares {
            shares
        } else {
            own = Shares::whole(factors);
            &own
        };
        let mut all = vec![vec![0.0_f64; features]; shares.names.len()];
        for ((product, factors), of) in self.products.iter().zip(factors).zip(&shares.of) {
            let own = seed.at(number_of(&product.spec().name));
            let side = |x: &Tensor<2>, side: u64| {
                let signs = signs(x.dims()[1] * features, own.at(side));
                let data = TensorData::new(signs, [x.dims()[1], features]);
                x.clone().matmul(Tensor::<2>::from_data(data, &x.device()))
            };
            let each = side(&factors.behind, 0) * side(&factors.read, 1);
            let values = AnyTensor::new(each).to_values()?;
            for (row, share) in values.chunks(features.max(1)).zip(of) {
                let Some(sum) = all.get_mut(*share) else { continue };
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
        let scale = 1.0 / (features.max(1) as f64).sqrt();
        Ok(all.into_iter().map(|sum| sum.into_iter().map(|x| (x * scale) as f32).collect()).collect())
    }
}

/// The inner product of the gradients of two cases, of all weights together, in double precision: neither gradient is made.
///
/// # Errors
/// [`HookError::Read`]; [`HookError::Values`] for factors of other weights.
pub fn gradient_product(left: &[WeightFactors], right: &[WeightFactors]) -> Result<f64, HookError> {
    if left.len() != right.len() {
        return Err(HookError::Values { dims: vec![left.len()], given: right.len() });
    }
    let mut sum = 0.0;
    for (left, right) in left.iter().zip(right) {
        let gram = |a: &Tensor<2>, b: &Tensor<2>| {
            let (dims, given) = (a.dims(), b.dims());
            match dims[1] == given[1] {
                true => AnyTensor::new(a.clone().matmul(b.clone().transpose())).to_values(),
                false => Err(HookError::Values { dims: dims.to_vec(), given: given[1] }),
            }
        };
        let (written, read) = (gram(&left.behind, &right.behind)?, gram(&left.read, &right.read)?);
        sum += written.iter().zip(&read).map(|(b, r)| f64::from(*b) * f64::from(*r)).sum::<f64>();
    }
    Ok(sum)
}

fn column(values: Vec<f32>, like: &Tensor<2>) -> Tensor<2> {
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), &like.device())
}

/// A number that follows from a name.
fn number_of(name: &str) -> u64 {
    // FNV-1a.
    name.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |all, byte| (all ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// So many times +1 or -1: 64 to a draw.
fn signs(count: usize, seed: Seed) -> Vec<f32> {
    let mut signs = Vec::with_capacity(count);
    for word in 0..count.div_ceil(64) as u64 {
        let bits = seed.at(word).value();
        let left = 64.min(count - signs.len());
        signs.extend((0..left).map(|at| if (bits >> at) & 1 == 1 { 1.0 } else { -1.0 }));
    }
    signs
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use mmlens_core::Seed;

    use super::{WeightFactors, gradient_product, means, signs};

    #[test]
    fn patterns_mean_names_by_segments() {
        let name = "text.blocks.10.mlp.up";
        assert!(["text", "text.blocks.*.mlp", "*.blocks.10.mlp.up", name].iter().all(|own| means(own, name)));
        assert!(
            ["text.blocks.1", "vision", "text.blocks.*.up", "text.blocks.10.mlp.up.bias"]
                .iter()
                .all(|own| !means(own, name))
        );
    }

    #[test]
    fn signs_are_even_and_differ_by_seed() {
        let drawn = signs(10_000, Seed(3));
        assert_eq!(drawn.len(), 10_000);
        // Five standard deviations of the sum of so many signs.
        assert!(drawn.iter().sum::<f32>().abs() < 500.0);
        assert!(drawn.iter().all(|sign| sign.abs() == 1.0));
        assert_eq!(signs(100, Seed(3)), drawn[..100]);
        assert_ne!(signs(100, Seed(4)), drawn[..100]);
    }

    /// `(b r^T) . (b' r'^T)` of whole numbers: [1 2]^T [3] and [4 5]^T [6], 1 3 4 6 + 2 3 5 6 = 252.
    #[test]
    fn a_product_of_gradients_is_that_of_its_factors() {
        let device = Device::default();
        let of = |read: f32, behind: [f32; 2]| WeightFactors {
            read: Tensor::<2>::from_floats([[read]], &device),
            behind: Tensor::<2>::from_floats([behind], &device),
        };
        let (one, other) = (of(3.0, [1.0, 2.0]), of(6.0, [4.0, 5.0]));
        assert_eq!(gradient_product(std::slice::from_ref(&one), &[other]).unwrap(), 252.0);
        assert!(gradient_product(&[one], &[]).is_err());
    }
}
