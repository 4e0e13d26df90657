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

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{
    AnyTensor, AxisName, HookError, Inputs, Objective, Part, Plan, Seed, Site, SiteSpec, Subject,
    SubjectError, Trace, WeightKind, WeightSpec,
};

use crate::Projection;

/// Products of a subject of which gradients are taken.
#[derive(Debug, Clone)]
pub struct WeightGradients {
    products: Vec<Covered>,
}

/// A product, and the sites that it reads and writes as the subject publishes them.
#[derive(Debug, Clone)]
struct Covered {
    product: Projection,
    read: SiteSpec,
    written: SiteSpec,
}

impl Covered {
    fn of(subject: &dyn Subject, name: &str) -> Result<Self, SubjectError> {
        let product = Projection::of(subject, name)?;
        let (read, written) = product.places()?;
        let [read, written] = [read, written].map(|site| SiteSpec::among(subject.sites(), site).cloned());
        Ok(Self { product, read: read?, written: written? })
    }

    /// Whether a pass over these inputs computes both its sites.
    fn is_computed(&self, inputs: &Inputs) -> bool {
        inputs.computes(&self.read) && inputs.computes(&self.written)
    }

    /// What its gradient is made of. One that reads what a tower gives and writes rows reads what each row is shown or played.
    fn factors(&self, inputs: &Inputs, trace: &Trace) -> Result<WeightFactors, HookError> {
        let across = self.read.tower().filter(|_| self.written.axis(AxisName::Batch).is_some());
        let [read, behind] = match across.and_then(|tower| inputs.entries(tower)) {
            Some(entries) => {
                let own = |row| entries.of_row(row).first().copied().ok_or(HookError::NoObjective);
                let of_rows = (0..inputs.rows()).map(own).collect::<Result<Vec<usize>, _>>()?;
                self.product.factors_across(trace, &of_rows)?
            }
            None => self.product.factors(trace)?,
        };
        Ok(WeightFactors { read, behind })
    }
}

/// What the gradient of one weight is made of, of one case.
#[derive(Debug, Clone)]
pub struct WeightFactors {
    /// What it is given, `[n, in]`.
    pub read: Tensor<2>,
    /// The gradients of what it gives, `[n, out]`.
    pub behind: Tensor<2>,
}

impl WeightFactors {
    /// Rows times positions.
    fn rows(&self) -> usize {
        self.read.dims()[0]
    }
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
    fn whole(factors: &[Option<WeightFactors>]) -> Self {
        let of = factors.iter().map(|own| vec![0; own.as_ref().map_or(0, WeightFactors::rows)]).collect();
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
    /// Those that are covered and that some pattern means (`text.blocks.*.mlp`); without a pattern all that are covered. Blocks behind the
    /// last that is read (a LLaVA's tower has such) reach no answer, and are left out.
    ///
    /// # Errors
    /// [`SubjectError::NoWeight`] for a pattern that means none; [`SubjectError::Unsupported`] for one that means such blocks alone; as
    /// [`Projection::of`].
    pub fn of(subject: &dyn Subject, patterns: &[String]) -> Result<Self, SubjectError> {
        let covered = || subject.weights().iter().filter(|spec| is_covered(spec));
        let last: BTreeMap<Part, usize> = Part::ALL
            .into_iter()
            .filter_map(|part| Some((part, subject.read_behind(part).last().copied()?)))
            .collect();
        let reaches = |spec: &WeightSpec| {
            let site = spec.writes.as_ref().map(|port| port.site);
            let block = site.and_then(|site| Some((site.block_index()?, *last.get(&site.part())?)));
            block.is_none_or(|(block, read)| block < read)
        };
        for pattern in patterns {
            let mut meant = covered().filter(|spec| means(pattern, &spec.name)).peekable();
            if meant.peek().is_none() {
                return Err(SubjectError::no_weight(subject, pattern));
            }
            if !meant.any(reaches) {
                let what = format!("weights under `{pattern}` that reach an answer");
                return Err(SubjectError::Unsupported { subject: subject.name().to_owned(), what });
            }
        }
        let asked = |spec: &&WeightSpec| {
            patterns.is_empty() || patterns.iter().any(|pattern| means(pattern, &spec.name))
        };
        let chosen = covered().filter(asked).filter(|spec| reaches(spec));
        let products = chosen.map(|spec| Covered::of(subject, &spec.name)).collect::<Result<_, _>>()?;
        Ok(Self { products })
    }

    fn specs(&self) -> impl Iterator<Item = &WeightSpec> {
        self.products.iter().map(|own| own.product.spec())
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.specs().map(|spec| spec.name.as_str())
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
        self.specs().map(|spec| spec.dims().iter().product::<usize>()).sum()
    }

    /// The sites that are read and written, each once.
    #[must_use]
    pub fn sites(&self) -> Vec<Site> {
        let sites = self.products.iter().flat_map(|own| [own.read.site, own.written.site]);
        sites.collect::<BTreeSet<Site>>().into_iter().collect()
    }

    /// A pass over inputs that holds what gradients are made of. What such a pass does not compute, a tower of a prompt without pictures, is
    /// not asked for.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`].
    pub fn plan(&self, objective: &Objective, inputs: &Inputs) -> Result<Plan, HookError> {
        let computed = || self.products.iter().filter(|own| own.is_computed(inputs));
        let read: BTreeSet<Site> = computed().map(|own| own.read.site).collect();
        let written: BTreeSet<Site> = computed().map(|own| own.written.site).collect();
        let plan = read.iter().try_fold(Plan::new().objective(objective), |plan, site| plan.read(*site))?;
        written.iter().try_fold(plan, |plan, site| plan.grad(*site))
    }

    /// What the gradient of each weight is made of, in the order of [`WeightGradients::names`]; `None` where the pass did not compute it: that
    /// gradient is zero.
    ///
    /// # Errors
    /// As [`Projection::factors`].
    pub fn factors(&self, inputs: &Inputs, trace: &Trace) -> Result<Vec<Option<WeightFactors>>, HookError> {
        let of = |own: &Covered| own.is_computed(inputs).then(|| own.factors(inputs, trace)).transpose();
        self.products.iter().map(of).collect()
    }

    /// The shares of a case that are told apart: those of each part, and in the language model those at pictures and at words, where the
    /// case is one prompt.
    #[must_use]
    pub fn shares(&self, inputs: &Inputs, factors: &[Option<WeightFactors>]) -> Shares {
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
        for (spec, own) in self.specs().zip(factors) {
            let part = spec.name.split('.').next().unwrap_or_default();
            let rows = own.as_ref().map_or(0, WeightFactors::rows);
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
        factors: &[Option<WeightFactors>],
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
        for ((spec, factors), of) in self.specs().zip(factors).zip(&shares.of) {
            let Some(factors) = factors else {
                let numbers = spec.dims().iter().product::<usize>();
                all.iter_mut().for_each(|all| all.resize(all.len() + numbers, 0.0));
                continue;
            };
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
        factors: &[Option<WeightFactors>],
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
        for ((spec, factors), of) in self.specs().zip(factors).zip(&shares.of) {
            let Some(factors) = factors else { continue };
            let own = seed.at(number_of(&spec.name));
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
pub fn gradient_product(
    left: &[Option<WeightFactors>],
    right: &[Option<WeightFactors>],
) -> Result<f64, HookError> {
    if left.len() != right.len() {
        return Err(HookError::Values { dims: vec![left.len()], given: right.len() });
    }
    let mut sum = 0.0;
    for (left, right) in left.iter().zip(right) {
        let (Some(left), Some(right)) = (left, right) else { continue };
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
        let of = |read: f32, behind: [f32; 2]| {
            let read = Tensor::<2>::from_floats([[read]], &device);
            Some(WeightFactors { read, behind: Tensor::<2>::from_floats([behind], &device) })
        };
        let (one, other) = (of(3.0, [1.0, 2.0]), of(6.0, [4.0, 5.0]));
        assert_eq!(gradient_product(std::slice::from_ref(&one), &[other]).unwrap(), 252.0);
        assert_eq!(gradient_product(std::slice::from_ref(&one), &[None]).unwrap(), 0.0);
        assert!(gradient_product(&[one], &[]).is_err());
    }
}
