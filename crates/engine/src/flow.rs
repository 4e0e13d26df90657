//! Attention weights read as shares that flow from position to position, layer by layer.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Tensor, TensorData};
use mmlens_core::{
    AnalysisError, AnyTensor, Copies, HookError, Inputs, Memory, Plan, Point, Site, State, Strip, Subject,
};

use crate::numbers;

/// How the heads of a layer become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heads {
    /// Their mean.
    #[default]
    Mean,
    /// The largest weight of any head.
    Max,
    /// The smallest weight of any head.
    Min,
}

impl Heads {
    /// Its name in findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Min => "min",
        }
    }
}

/// How the heads of a layer, and the stream that passes them by, become one matrix of shares.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixing {
    /// How heads become one.
    pub heads: Heads,
    /// The share of the stream that passes the layer by, in [0, 1].
    pub residual: f32,
    /// Positions that nothing is taken from: as keys they have no weight.
    pub without: Vec<usize>,
}

impl Mixing {
    /// Some rows of `(1 - r) heads + r identity`, `[row, query, key]`, divided by their sums, from weights `[row, head, query,
    /// key]` that lie at a strip, those of keys that are left out as if they were zero. A row whose heads share no key is the identity's.
    ///
    /// # Errors
    /// [`HookError::Rank`], or [`HookError::Values`] for a pattern that is not square.
    pub fn mix(&self, strip: &Strip, pattern: &AnyTensor) -> Result<Tensor<3>, HookError> {
        let pattern: Tensor<4> = pattern.clone().rank_of("attn.pattern")?;
        let ([rows, _, queries, keys], [_, all, seen]) = (pattern.dims(), strip.of);
        if all != seen {
            return Err(HookError::Values { dims: pattern.dims().to_vec(), given: all * all });
        }
        let fused: Tensor<3> = match self.heads {
            Heads::Mean => pattern.mean_dim(1),
            Heads::Max => pattern.max_dim(1),
            Heads::Min => pattern.min_dim(1),
        }
        .squeeze_dim(1);
        let fused = match self.without.as_slice() {
            [] => fused,
            out => {
                let stays = |key: usize| f32::from(u8::from(!out.contains(&(strip.keys.start + key))));
                let stays = TensorData::new((0..keys).map(stays).collect(), [1, 1, keys]);
                let stays = Tensor::<3>::from_data(stays, &fused.device());
                fused * stays
            }
        };
        let own = |at: usize| {
            f32::from(u8::from(strip.queries.start + at / keys.max(1) == strip.keys.start + at % keys.max(1)))
        };
        let identity = TensorData::new((0..queries * keys).map(own).collect(), [1, queries, keys]);
        let identity = Tensor::<3>::from_data(identity, &fused.device());
        let mixed = fused.mul_scalar(1.0 - self.residual) + identity.clone().mul_scalar(self.residual);
        let sums = mixed.clone().sum_dim(2);
        let empty = sums.clone().lower_equal_elem(0.0);
        let all = [rows, queries, keys];
        let mixed = mixed.mask_where(empty.clone().expand(all), identity.expand(all));
        Ok(mixed / sums.mask_fill(empty, 1.0))
    }
}

/// How shares flow, and what the passes may take.
#[derive(Debug, Clone)]
pub struct FlowSettings {
    /// How layers become shares.
    pub mixing: Mixing,
    /// The whole product of the layers is held up to so many positions.
    pub whole: usize,
    /// What may be taken.
    pub memory: Memory,
    /// Whose passes they are.
    pub method: &'static str,
}

/// Shares that flow through the layers of one part: what each position behind the last layer is mixed of.
pub struct Flow<'a> {
    subject: &'a dyn Subject,
    inputs: &'a Inputs,
    sites: Vec<Site>,
    settings: FlowSettings,
    rows: usize,
    positions: usize,
    /// The product of the layers, later ones from the left, row-major, of every row of the batch.
    product: Option<Vec<f32>>,
}

impl std::fmt::Debug for Flow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sites, rows, positions, .. } = self;
        write!(f, "a flow through {} layers of {rows} x {positions} positions", sites.len())
    }
}

impl<'a> Flow<'a> {
    /// Through layers of one part, whose attention weights stand at `sites`, in their order. Of few enough positions the whole
    /// product is made, in one pass in which no more than some rows of one layer's weights are held.
    ///
    /// # Errors
    /// Whatever a pass reports; [`AnalysisError::Memory`]; [`HookError::Values`] for a pattern that is not square.
    pub fn through(
        subject: &'a dyn Subject,
        inputs: &'a Inputs,
        sites: Vec<Site>,
        settings: FlowSettings,
    ) -> Result<Self, AnalysisError> {
        let dims = match sites.first() {
            Some(site) => subject.dims(inputs, *site)?,
            None => Vec::new(),
        };
        let [rows, _, positions, keys] = *dims else {
            return Err(
                HookError::Rank { site: "attn.pattern".to_owned(), holds: dims.len(), asked: 4 }.into()
            );
        };
        if positions != keys {
            return Err(HookError::Values { given: positions * positions, dims }.into());
        }
        let mut flow = Self { subject, inputs, sites, settings, rows, positions, product: None };
        if positions <= flow.settings.whole {
            flow.product = Some(flow.multiplied()?);
        }
        Ok(flow)
    }

    /// Bytes that it takes at once through these layers, told before a pass: at most, with the shares that it carries.
    ///
    /// # Errors
    /// As [`Flow::through`], as far as it can be told before a pass.
    pub fn taken(
        subject: &dyn Subject,
        inputs: &Inputs,
        sites: &[Site],
        settings: FlowSettings,
    ) -> Result<u64, AnalysisError> {
        let Some(first) = sites.first() else { return Ok(0) };
        let [rows, _, positions, _] = *subject.dims(inputs, *first)? else { return Ok(0) };
        let mut plan = Plan::new();
        for site in sites {
            plan = plan.scan(*site, |_, _| Ok(()))?;
        }
        let pass = subject.need(inputs, &plan, Copies::ONE)?;
        if positions <= settings.whole {
            // Beside the product one that is made of it, and what is said of both.
            return Ok(pass.and(5 * rows * positions * positions).bytes);
        }
        let state = Site::block(first.part(), first.block_index().unwrap_or(0), Point::ResidPre);
        let states = match subject.sites().iter().any(|spec| spec.site == state) {
            true => 4 * (sites.len() * numbers(subject, inputs, &[state])?) as u64,
            false => 0,
        };
        Ok(pass.bytes.saturating_add(states))
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Number of rows of the batch, or of pictures.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The matrix of one row of the batch, row-major: what each position is mixed of. `None` for too many positions.
    pub fn matrix(&self, row: usize) -> Option<&[f32]> {
        let size = self.positions * self.positions;
        self.product.as_ref()?.get(row * size..(row + 1) * size)
    }

    /// Shares given to positions, of every row of the batch, as shares of what these are mixed of.
    ///
    /// # Errors
    /// [`HookError::Values`] for another number of rows, or of shares than there are positions; whatever a pass reports;
    /// [`AnalysisError::Memory`].
    ///
    /// # Cost
    /// None where the whole product is there. Else one pass that keeps states at block boundaries, and one through every block
    /// from the state before it, of which no more than some rows of the weights are held.
    pub fn carry(&self, shares: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, AnalysisError> {
        if shares.len() != self.rows || shares.iter().any(|own| own.len() != self.positions) {
            let given = shares.iter().map(Vec::len).sum();
            return Err(HookError::Values { dims: vec![self.rows, self.positions], given }.into());
        }
        let Some(product) = &self.product else { return self.carried(shares) };
        let through = |(shares, matrix): (&Vec<f32>, &[f32])| {
            let mut carried = vec![0.0_f64; self.positions];
            for (share, from) in shares.iter().zip(matrix.chunks(self.positions.max(1))) {
                for (sum, part) in carried.iter_mut().zip(from) {
                    *sum += f64::from(*share) * f64::from(*part);
                }
            }
            carried.into_iter().map(|sum| sum as f32).collect()
        };
        let size = self.positions * self.positions;
        Ok(shares.iter().zip(product.chunks(size.max(1))).map(through).collect())
    }

    /// The product of the layers: one pass.
    fn multiplied(&self) -> Result<Vec<f32>, AnalysisError> {
        let (rows, positions) = (self.rows, self.positions);
        let size = rows * positions * positions;
        let product: Arc<Mutex<Product>> = Arc::new(Mutex::new(Product::new(rows, positions)));
        let mut plan = Plan::new();
        for &site in &self.sites {
            let (product, mixing) = (product.clone(), self.settings.mixing.clone());
            plan = plan.scan(site, move |strip, pattern| {
                let mixed = mixing.mix(strip, pattern)?;
                product.lock().unwrap_or_else(PoisonError::into_inner).multiply(strip, mixed)
            })?;
        }
        let need = self.subject.need(self.inputs, &plan, Copies::ONE)?;
        // The product so far, that with one layer more, and a copy while one becomes the other.
        self.settings.memory.hold(self.settings.method, 0, need.and(3 * size))?;
        self.subject.run(self.inputs, plan)?;
        let product = std::mem::replace(
            &mut *product.lock().unwrap_or_else(PoisonError::into_inner),
            Product::new(0, 0),
        );
        Ok(product.whole()?)
    }

    /// Shares carried from the last layer to the first, a block at a time.
    fn carried(&self, shares: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, AnalysisError> {
        let FlowSettings { memory, method, .. } = self.settings;
        let mut carried: Vec<Vec<f64>> =
            shares.iter().map(|own| own.iter().map(|share| f64::from(*share)).collect()).collect();
        let held = self.states(&memory)?;
        let kept = held.values().map(|state| 4 * state.hidden.dims().iter().product::<usize>() as u64).sum();
        for site in self.sites.iter().rev() {
            let sum = Arc::new(Mutex::new(vec![vec![0.0_f64; self.positions]; carried.len()]));
            let given = Arc::new(std::mem::take(&mut carried));
            let (into, mixing) = (sum.clone(), self.settings.mixing.clone());
            let expected = [self.rows, self.positions, self.positions];
            let scan = move |strip: &Strip, pattern: &AnyTensor| {
                let mixed = AnyTensor::new(mixing.mix(strip, pattern)?).to_values()?;
                let mut sum = into.lock().unwrap_or_else(PoisonError::into_inner);
                let wide = strip.queries.len() * strip.keys.len();
                for (row, mixed) in strip.rows.clone().zip(mixed.chunks(wide.max(1))) {
                    for (query, from) in strip.queries.clone().zip(mixed.chunks(strip.keys.len().max(1))) {
                        let share = given.get(row).and_then(|own| own.get(query)).copied();
                        let into = sum.get_mut(row).and_then(|own| own.get_mut(strip.keys.clone()));
                        let (Some(share), Some(into)) = (share, into) else {
                            let given = strip.of.iter().product();
                            return Err(HookError::Values { dims: expected.to_vec(), given });
                        };
                        into.iter_mut().zip(from).for_each(|(sum, part)| *sum += share * f64::from(*part));
                    }
                }
                Ok(())
            };
            let before = held.range(..=site.block_index().unwrap_or(0)).next_back();
            let plan = before.map_or_else(Plan::new, |(_, state)| Plan::new().resume(state.clone()));
            let plan = plan.scan(*site, scan)?;
            memory.hold(method, kept, self.subject.need(self.inputs, &plan, Copies::ONE)?)?;
            self.subject.run(self.inputs, plan)?;
            carried = std::mem::take(&mut *sum.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(carried.into_iter().map(|own| own.into_iter().map(|share| share as f32).collect()).collect())
    }

    /// States before some blocks, as many as a half of the memory holds: from the one before a block a pass goes on to it.
    fn states(&self, memory: &Memory) -> Result<BTreeMap<usize, State>, AnalysisError> {
        let stream = |site: &Site| Site::block(site.part(), site.block_index().unwrap_or(0), Point::ResidPre);
        let all: Vec<Site> = self.sites.iter().map(stream).collect();
        let published = |site: &Site| self.subject.sites().iter().any(|spec| spec.site == *site);
        let Some(first) = all.first().filter(|_| all.iter().all(published)) else {
            return Ok(BTreeMap::new());
        };
        let each = 4 * numbers(self.subject, self.inputs, &[*first])? as u64;
        let fit = (memory.left() / 2 / each.max(1)).max(1) as usize;
        let apart = all.len().div_ceil(fit).max(1);
        let mut plan = Plan::new();
        let some: Vec<Site> = all.into_iter().step_by(apart).collect();
        for site in &some {
            plan = plan.read(*site)?;
        }
        memory.hold(self.settings.method, 0, self.subject.need(self.inputs, &plan, Copies::ONE)?)?;
        let trace = self.subject.run(self.inputs, plan)?;
        let state = |site: &Site| {
            let block = site.block_index().unwrap_or(0);
            Ok((block, trace.state(site.part(), block)?))
        };
        Ok(some.iter().map(state).collect::<Result<_, HookError>>()?)
    }
}

/// The product of layers, made row by row as their weights come.
struct Product {
    rows: usize,
    positions: usize,
    /// The product of the layers below, `[row, position, position]`; `None` for the identity.
    below: Option<Tensor<3>>,
    /// The same with the layer that is coming in, as far as it has come.
    above: Vec<f32>,
}

impl Product {
    fn new(rows: usize, positions: usize) -> Self {
        Self { rows, positions, below: None, above: Vec::new() }
    }

    /// Some queries of a layer, `[row, query, key]`.
    fn multiply(&mut self, strip: &Strip, mixed: Tensor<3>) -> Result<(), HookError> {
        let (rows, positions) = (self.rows, self.positions);
        let size = rows * positions * positions;
        let wrong =
            || HookError::Values { dims: vec![rows, positions, positions], given: strip.of.iter().product() };
        if strip.of != [rows, positions, positions] {
            return Err(wrong());
        }
        self.above.resize(size, 0.0);
        let device = mixed.device();
        let (range, keys) = (strip.rows.clone(), strip.keys.clone());
        let wide = match &self.below {
            None => keys.clone(),
            Some(_) => 0..positions,
        };
        let product = match &self.below {
            None => mixed,
            Some(below) => mixed.matmul(below.clone().narrow(0, range.start, range.len()).narrow(
                1,
                keys.start,
                keys.len(),
            )),
        };
        let values = AnyTensor::new(product).to_values()?;
        let mut lines = values.chunks(wide.len().max(1));
        for row in range {
            for query in strip.queries.clone() {
                let from = (row * positions + query) * positions;
                let into = self.above.get_mut(from + wide.start..from + wide.end).ok_or_else(wrong)?;
                let line = lines.next().filter(|line| line.len() == into.len()).ok_or_else(wrong)?;
                into.copy_from_slice(line);
            }
        }
        if (strip.rows.end, strip.queries.end) == (rows, positions) {
            let whole = TensorData::new(std::mem::take(&mut self.above), [rows, positions, positions]);
            self.below = Some(Tensor::from_data(whole, &device));
        }
        Ok(())
    }

    fn whole(self) -> Result<Vec<f32>, HookError> {
        match self.below {
            Some(product) => AnyTensor::new(product).to_values(),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use mmlens_core::{AnyTensor, Strip};

    use super::{Heads, Mixing, Product};

    fn pattern(values: &[f32], heads: usize) -> AnyTensor {
        AnyTensor::from_values(values.to_vec(), &[1, heads, 2, 2], &Device::default()).unwrap()
    }

    fn values(x: Tensor<3>) -> Vec<f32> {
        AnyTensor::new(x).to_values().unwrap()
    }

    fn mixed(mixing: &Mixing, values: &[f32], heads: usize) -> Tensor<3> {
        mixing.mix(&Strip::whole([1, 2, 2]), &pattern(values, heads)).unwrap()
    }

    fn product(layers: impl IntoIterator<Item = Tensor<3>>) -> Vec<f32> {
        let mut product = Product::new(1, 2);
        for layer in layers {
            product.multiply(&Strip::whole([1, 2, 2]), layer).unwrap();
        }
        product.whole().unwrap()
    }

    #[test]
    fn uniform_layers_give_the_value_worked_out_by_hand() {
        let mixing = &Mixing { heads: Heads::Mean, residual: 0.5, without: Vec::new() };
        let uniform = || mixed(mixing, &[0.5; 4], 1);
        // each layer with its skip is [3/4 1/4; 1/4 3/4]; squared, the diagonal is 9/16 + 1/16 = 5/8
        assert_eq!(product([uniform(), uniform()]), [0.625, 0.375, 0.375, 0.625]);
        assert!(product([]).is_empty());
    }

    #[test]
    fn later_layers_multiply_from_the_left() {
        let mixing = &Mixing { heads: Heads::Mean, residual: 0.0, without: Vec::new() };
        let swap = || mixed(mixing, &[0.0, 1.0, 1.0, 0.0], 1);
        let first = || mixed(mixing, &[1.0, 0.0, 1.0, 0.0], 1);
        // after the swap both rows of `first` still look at what was position 1
        assert_eq!(product([swap(), first()]), [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(product([first(), swap()]), [1.0, 0.0, 1.0, 0.0]);
    }

    /// A layer that comes in query by query, each with the keys that it sees, is the layer that comes at once.
    #[test]
    fn strips_make_up_their_layer() {
        let mixing = &Mixing { heads: Heads::Mean, residual: 0.25, without: Vec::new() };
        let causal = [1.0, 0.0, 0.75, 0.25];
        let whole = mixed(mixing, &causal, 1);
        let mut product = Product::new(1, 2);
        for _ in 0..2 {
            for (queries, keys, own) in [(0..1, 0..1, &causal[..1]), (1..2, 0..2, &causal[2..])] {
                let strip = Strip { rows: 0..1, queries, keys, of: [1, 2, 2] };
                let dims = [1, 1, 1, own.len()];
                let own = AnyTensor::from_values(own.to_vec(), &dims, &Device::default()).unwrap();
                product.multiply(&strip, mixing.mix(&strip, &own).unwrap()).unwrap();
            }
        }
        assert_eq!(product.whole().unwrap(), values(whole.clone().matmul(whole)));
    }

    #[test]
    fn heads_are_joined_and_rows_sum_to_one() {
        // heads [1 0; .5 .5] and [.5 .5; .5 .5]
        let both = [1.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5];
        let mix = |heads| values(mixed(&Mixing { heads, residual: 0.0, without: Vec::new() }, &both, 2));
        assert_eq!(mix(Heads::Mean), [0.75, 0.25, 0.5, 0.5]);
        // largest 1, .5 divided by 1.5
        let max = mix(Heads::Max);
        assert!((max[0] - 2.0 / 3.0).abs() < 1e-7 && (max[1] - 1.0 / 3.0).abs() < 1e-7);
        // smallest .5, 0 divided by .5
        assert_eq!(mix(Heads::Min), [1.0, 0.0, 0.5, 0.5]);
    }

    /// Keys that are left out have no weight; a row that has no other keeps to itself.
    #[test]
    fn keys_that_are_left_out_are_given_nothing() {
        let without = |key| Mixing { heads: Heads::Mean, residual: 0.5, without: vec![key] };
        // [1 0; .5 .5] without key 0: [0 0; 0 .5], with half the identity [.5 0; 0 .75]
        assert_eq!(values(mixed(&without(0), &[1.0, 0.0, 0.5, 0.5], 1)), [1.0, 0.0, 0.0, 1.0]);
        // without key 1: [1 0; .5 0], with half the identity [1 0; .25 .5]
        let found = values(mixed(&without(1), &[1.0, 0.0, 0.5, 0.5], 1));
        assert!((found[2] - 1.0 / 3.0).abs() < 1e-7 && (found[3] - 2.0 / 3.0).abs() < 1e-7, "{found:?}");
    }

    #[test]
    fn a_row_without_a_shared_key_keeps_to_itself() {
        let apart = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        let mixing = &Mixing { heads: Heads::Min, residual: 0.0, without: Vec::new() };
        assert_eq!(values(mixed(mixing, &apart, 2)), [1.0, 0.0, 0.0, 1.0]);
    }
}
